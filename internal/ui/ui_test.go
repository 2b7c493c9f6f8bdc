package ui_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/auth"
	"lofn/internal/auth/basic"
	"lofn/internal/store/mem"
	"lofn/internal/ui"
)

// broken runs every function with one replica that does not start.
type broken struct{}

func (broken) Wanted(lofn.Ref) int { return 1 }
func (broken) Replicas(ref lofn.Ref) []lofn.Replica {
	return []lofn.Replica{{Function: ref, State: lofn.Failed, Reason: "no <python3> here"}}
}

func page(t *testing.T, a auth.Authenticator, names ...string) *httptest.ResponseRecorder {
	t.Helper()
	functions := mem.New[lofn.Function]()
	for _, name := range names {
		ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name}
		if _, err := functions.Put(context.Background(), ref, lofn.Function{Ref: ref, Spec: lofn.Spec{Image: "x"}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	ui.New(ui.Config{
		Functions: functions, Replicas: broken{}, Auth: a, Release: "1.0", Log: slog.New(slog.DiscardHandler),
	}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ui/", nil))
	return w
}

func TestThePageShowsWhatIsWrong(t *testing.T) {
	text := page(t, auth.None{}, "echo").Body.String()
	for _, want := range []string{"echo", "0 of 1", "no &lt;python3&gt; here", "lofn 1.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

func TestThePageWithoutFunctionsSaysHowToBegin(t *testing.T) {
	if text := page(t, auth.None{}).Body.String(); !strings.Contains(text, "lofn new") {
		t.Errorf("got %s", text)
	}
}

func TestThePageNeedsALogin(t *testing.T) {
	if w := page(t, basic.Credentials{User: "a", Password: "b"}, "echo"); w.Code != 401 || strings.Contains(w.Body.String(), "echo") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
