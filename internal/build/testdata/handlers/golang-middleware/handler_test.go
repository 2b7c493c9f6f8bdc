package function

import (
	"net/http/httptest"
	"testing"
)

func TestStatus(t *testing.T) {
	w := httptest.NewRecorder()
	Handle(w, httptest.NewRequest("GET", "/status", nil))
	if w.Code != 418 {
		t.Fatalf("status %d", w.Code)
	}
}
