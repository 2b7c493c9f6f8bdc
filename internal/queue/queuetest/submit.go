package queuetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"lofn"
)

func testSubmission(t *testing.T, s Storage) {
	q := s.open(t)
	want := lofn.Call{
		ID: "my-id", Function: ref("echo"), Method: "PATCH", Path: "/a%2Fb", Query: "x=1&y", Host: "example.com", Remote: "10.0.0.1:99",
		Header: http.Header{"X-One": {"1"}, "X-Two": {"2", "3"}, "X-None": {""}}, Callback: "http://callback/", Accepted: time.Now().UTC().Round(0),
	}
	status, err := q.Enqueue(t.Context(), lofn.Submission{Call: want, Body: strings.NewReader("hello")})
	if err != nil {
		t.Fatal(err)
	}
	if status.ID != "my-id" || status.Function != want.Function.Host() || status.State != lofn.CallQueued || !status.AcceptedAt.Equal(want.Accepted) {
		t.Errorf("Enqueue returned %+v", status)
	}
	status = wantState(t, q, "my-id", lofn.CallQueued)
	if status.Callback == nil || status.Callback.URL != want.Callback || status.Callback.State != lofn.CallbackWaiting || status.Attempts != 0 {
		t.Errorf("its status is %+v, callback %+v", status, status.Callback)
	}
	want.Size = 5
	d := take(t, q, lane("echo"), "my-id")
	if got := d.Call(); !reflect.DeepEqual(got, want) {
		t.Errorf("delivered is %+v, want %+v", got, want)
	}
	for range 2 {
		body, err := d.Body(t.Context())
		if got := text(t, body, err); got != "hello" {
			t.Errorf("its body is %q", got)
		}
	}
	if got, err := q.Request(t.Context(), "my-id"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Request returned %+v, %v, want %+v", got, err, want)
	}
}

func testTakenID(t *testing.T, s Storage) {
	q := s.open(t)
	one := submission("echo", "1")
	one.ID = "same"
	first, second := mustEnqueue(t, q, one), mustEnqueue(t, q, one)
	if first != "same" || second == "same" {
		t.Errorf("the IDs are %q and %q, want the first to be %q", first, second, "same")
	}
	if third := submit(t, q, "echo"); third == second {
		t.Errorf("two calls have the ID %q", third)
	}
	if taken := takeAll(t, q, lane("echo")); len(taken) != 3 {
		t.Errorf("%d of 3 calls were delivered", len(taken))
	}
}

func testKey(t *testing.T, s Storage) {
	q := s.open(t)
	one := func(function, path, body string) lofn.Submission {
		s := submission(function, body)
		s.Key, s.Path = "key", path
		return s
	}
	first := mustEnqueue(t, q, one("echo", "/", "a"))
	if again := mustEnqueue(t, q, one("echo", "/", "a")); again != first {
		t.Errorf("the same submit is another call, %s and not %s", again, first)
	}
	_, err := q.Enqueue(t.Context(), one("echo", "/", "b"))
	wantCode(t, "the key with another body", err, lofn.Unprocessable)
	_, err = q.Enqueue(t.Context(), one("echo", "/other", "a"))
	wantCode(t, "the key with another path", err, lofn.Unprocessable)
	if other := mustEnqueue(t, q, one("other", "/", "a")); other == first {
		t.Error("the key of another function is the same call")
	}
	succeeded(t, take(t, q, lane("echo"), first), "done")
	status, err := q.Enqueue(t.Context(), one("echo", "/", "a"))
	if err != nil || status.ID != first || status.State != lofn.CallSucceeded {
		t.Errorf("the same submit after the outcome: %+v, %v", status, err)
	}
	wantNone(t, q, lane("echo"))
	q.Abandon()
	q = s.open(t)
	if again := mustEnqueue(t, q, one("echo", "/", "a")); again != first {
		t.Errorf("the same submit in the next process is another call, %s and not %s", again, first)
	}
}

func testKeyRace(t *testing.T, s Storage) {
	q := s.open(t)
	ids := make(chan string, 20)
	var group sync.WaitGroup
	for range cap(ids) {
		group.Go(func() {
			one := submission("echo", "body")
			one.Key = "key"
			status, err := q.Enqueue(t.Context(), one)
			if err != nil {
				t.Error(err)
			}
			ids <- status.ID
		})
	}
	group.Wait()
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("one key has the calls %s and %s", first, id)
		}
	}
	if taken := takeAll(t, q, lane("echo")); len(taken) != 1 {
		t.Errorf("%d calls were accepted, want 1", len(taken))
	}
}

func wantOverloaded(t *testing.T, what string, err error) {
	t.Helper()
	wantCode(t, what, err, lofn.Overloaded)
	if e, ok := errors.AsType[*lofn.Error](err); !ok || e.RetryAfter <= 0 {
		t.Errorf("%s: %v does not say when to try again", what, err)
	}
}

func testBounds(t *testing.T, s Storage) {
	q := s.open(t, limits(lofn.QueueLimits{Backlog: 4, FunctionBacklog: 3, Keep: time.Hour, KeepCount: 100}))
	try := func(function string, most int) error {
		one := submission(function, "")
		one.MaxBacklog = most
		_, err := q.Enqueue(t.Context(), one)
		return err
	}
	first := submit(t, q, "a")
	wantOverloaded(t, "a second call with a bound of 1", try("a", 1))
	submit(t, q, "a")
	submit(t, q, "a")
	wantOverloaded(t, "a fourth call of the function", try("a", 0))
	submit(t, q, "b")
	wantOverloaded(t, "a fifth call", try("b", 0))
	d := take(t, q, lane("a"), first)
	wantOverloaded(t, "a fifth call while one runs", try("b", 0))
	mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 200})
	if err := try("b", 0); err != nil {
		t.Errorf("a call after one has ended: %v", err)
	}
	wantOverloaded(t, "one more", try("b", 0))
}

func testBoundRace(t *testing.T, s Storage) {
	const most = 10
	q := s.open(t)
	results := make(chan error, 4*most)
	for range cap(results) {
		go func() {
			one := submission("echo", "")
			one.MaxBacklog = most
			_, err := q.Enqueue(t.Context(), one)
			results <- err
		}()
	}
	accepted := 0
	for range cap(results) {
		if err := <-results; err == nil {
			accepted++
		} else {
			wantOverloaded(t, "one too many", err)
		}
	}
	if taken := takeAll(t, q, lane("echo")); accepted != most || len(taken) != most {
		t.Errorf("%d calls were accepted and %d delivered, want %d", accepted, len(taken), most)
	}
}

// pattern is content in which no part is like another.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i, x := 0, uint32(n); i < n; i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// checkBody reads a body, and compares it with the pattern.
func checkBody(t *testing.T, what string, body io.ReadCloser, err error, size int) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s of %d bytes: %v", what, size, err)
	}
	defer body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, body)
	want := sha256.Sum256(pattern(size))
	if err != nil || n != int64(size) || !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("%s of %d bytes came back as %d others, %v", what, size, n, err)
	}
}

func testBodies(t *testing.T, s Storage) {
	q := s.open(t)
	sizes := []int{0, 1, 1000, 32<<10 - 1, 32 << 10, 32<<10 + 1, 128 << 10, 1 << 20, 10 << 20}
	ids := make([]string, len(sizes))
	for i, size := range sizes {
		one := submission("echo", "")
		// A reader that can do nothing but be read, and not all at once.
		one.Body = iotest.HalfReader(bytes.NewReader(pattern(size)))
		ids[i] = mustEnqueue(t, q, one)
	}
	for i, size := range sizes {
		d := take(t, q, lane("echo"), ids[i])
		if got := d.Call().Size; got != int64(size) {
			t.Errorf("a body of %d bytes has the size %d", size, got)
		}
		body, err := d.Body(t.Context())
		checkBody(t, "a request", body, err, size)
		spool := d.Spool()
		if _, err := io.Copy(struct{ io.Writer }{spool}, bytes.NewReader(pattern(size))); err != nil || spool.Size() != int64(size) {
			t.Fatalf("%d of %d bytes were spooled, %v", spool.Size(), size, err)
		}
		mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Body: spool})
	}
	q.Abandon()
	q = s.open(t)
	for i, size := range sizes {
		r, err := q.Result(t.Context(), ids[i])
		if err == nil && r.Size != int64(size) {
			t.Errorf("an answer of %d bytes has the size %d", size, r.Size)
		}
		checkBody(t, "an answer", r.Body, err, size)
	}
}

func testBrokenBody(t *testing.T, s Storage) {
	q := s.open(t)
	broken := errors.New("the client went away")
	for _, size := range []int64{0, 100, 1 << 20} {
		one := submission("echo", "")
		one.Body = io.MultiReader(io.LimitReader(bytes.NewReader(pattern(1<<20)), size), iotest.ErrReader(broken))
		if _, err := q.Enqueue(t.Context(), one); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v, want that %v", size, err, broken)
		}
	}
	wantNone(t, q, lane("echo"))
	id := submit(t, q, "echo")
	d := take(t, q, lane("echo"), id)
	spool := d.Spool()
	if _, err := spool.Write(pattern(1 << 20)); err != nil {
		t.Fatal(err)
	}
	spool.Discard()
	mustSettle(t, d, lofn.Settlement{State: lofn.CallFailed, Status: 502, Reason: "broke off"})
	_, err := q.Result(t.Context(), id)
	wantCode(t, "the result that broke off", err, lofn.NotFound)
}

func testEndedContext(t *testing.T, s Storage) {
	q := s.open(t)
	id := submit(t, q, "echo")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Enqueue(ctx, submission("echo", "")); err == nil {
		t.Error("Enqueue with an ended context returned no error")
	}
	if _, err := q.Take(ctx, lane("echo"), 1); err == nil {
		t.Error("Take with an ended context returned no error")
	}
	if _, err := q.Cancel(ctx, id); err == nil {
		t.Error("Cancel with an ended context returned no error")
	}
	// Whether or not that came to anything, the queue goes on.
	next := submit(t, q, "next")
	succeeded(t, take(t, q, lane("next"), next), "done")
}

func testUnknown(t *testing.T, s Storage) {
	q := s.open(t)
	submit(t, q, "echo")
	for _, id := range []string{"", "unknown", "*", "../x", strings.Repeat("x", 10_000)} {
		_, err := q.Status(t.Context(), id)
		wantCode(t, fmt.Sprintf("Status(%.20q)", id), err, lofn.NotFound)
		_, err = q.Request(t.Context(), id)
		wantCode(t, fmt.Sprintf("Request(%.20q)", id), err, lofn.NotFound)
		_, err = q.Result(t.Context(), id)
		wantCode(t, fmt.Sprintf("Result(%.20q)", id), err, lofn.NotFound)
		_, err = q.Cancel(t.Context(), id)
		wantCode(t, fmt.Sprintf("Cancel(%.20q)", id), err, lofn.NotFound)
		_, err = q.Redrive(t.Context(), id)
		wantCode(t, fmt.Sprintf("Redrive(%.20q)", id), err, lofn.NotFound)
		wantCode(t, fmt.Sprintf("Drop(%.20q)", id), q.Drop(t.Context(), id), lofn.NotFound)
	}
	wantNone(t, q, lane("unknown"))
}
