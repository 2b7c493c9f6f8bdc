package problem_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/problem"
)

func TestEveryCodeHasItsStatus(t *testing.T) {
	for code, want := range map[lofn.Code]int{
		lofn.Internal: 500, lofn.Invalid: 400, lofn.Unprocessable: 422, lofn.NotFound: 404, lofn.Exists: 409, lofn.Conflict: 409,
		lofn.Unauthenticated: 401, lofn.Forbidden: 403, lofn.Overloaded: 429, lofn.Full: 507, lofn.Unavailable: 503,
		lofn.DeadlineExceeded: 504, lofn.Unreachable: 502, lofn.Unimplemented: 501,
	} {
		err := fmt.Errorf("around: %w", lofn.Errorf(code, "x"))
		if got := problem.Status(err); got != want {
			t.Errorf("code %d: status %d, want %d", code, got, want)
		}
	}
}

func TestABodyOverTheLimitIs413(t *testing.T) {
	_, err := io.ReadAll(http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader("12345")), 3))
	if got := problem.Status(lofn.Errorf(lofn.Invalid, "body: %w", err)); got != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", got)
	}
}

func TestAnOverloadSaysWhenToComeBack(t *testing.T) {
	for err, want := range map[error]string{
		lofn.Errorf(lofn.Overloaded, "full"):                                    "1",
		&lofn.Error{Code: lofn.Overloaded, RetryAfter: 2100 * time.Millisecond}: "3",
		lofn.Errorf(lofn.Unavailable, "asleep"):                                 "",
		&lofn.Error{Code: lofn.Unavailable, RetryAfter: time.Second}:            "1",
	} {
		w := httptest.NewRecorder()
		problem.Write(w, httptest.NewRequest("GET", "/", nil), slog.New(slog.DiscardHandler), fmt.Errorf("around: %w", err))
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%v: Retry-After is %q, want %q", err, got, want)
		}
	}
}

func TestOnlyFaultsOfThePlatformAreLogged(t *testing.T) {
	for err, logged := range map[error]bool{
		errors.New("disk on fire"):             true,
		lofn.Errorf(lofn.Invalid, "name: bad"): false,
	} {
		var log bytes.Buffer
		h := problem.Handle(slog.New(slog.NewTextHandler(&log, nil)), func(http.ResponseWriter, *http.Request) error { return err })
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/system/functions", nil))
		if w.Body.String() != err.Error()+"\n" {
			t.Errorf("body %q, want the error's line", w.Body)
		}
		if got := log.Len() > 0; got != logged {
			t.Errorf("%v: logged is %v, want %v", err, got, logged)
		}
	}
}
