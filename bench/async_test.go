package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/client"
)

// Every section is in the everyday run, or is a question of its own.
func TestNoSectionIsForgotten(t *testing.T) {
	asked := strings.Split(everyday+",change,crashes", ",")
	for i, s := range sections {
		if i >= len(asked) || asked[i] != s.name {
			t.Fatalf("section %d is %s, which %v does not have in its place", i, s.name, asked)
		}
	}
}

func TestSizeBelow(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"a": 3, "sub/b": 4} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := sizeBelow(dir); err != nil || got != 7 {
		t.Errorf("%d bytes, %v, want 7", got, err)
	}
	if _, err := sizeBelow(filepath.Join(dir, "missing")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

func TestWhenTheCallsOfAFunctionEnded(t *testing.T) {
	start := time.Now()
	calls := make([]lofn.CallStatus, backlogCalls)
	for i := range calls {
		ended := start.Add(time.Duration(backlogCalls-i) * time.Second)
		calls[i] = lofn.CallStatus{ID: fmt.Sprint(i), State: lofn.CallSucceeded, EndedAt: &ended}
	}
	first, last, err := ends(calls, start)
	if err != nil || first != time.Second || last != backlogCalls*time.Second {
		t.Errorf("%v, %v, %v", first, last, err)
	}
	if _, _, err := ends(calls[1:], start); err == nil {
		t.Error("no error though a call is missing")
	}
	calls[3].State = lofn.CallDead
	if _, _, err := ends(calls, start); err == nil || !strings.Contains(err.Error(), "call 3 is dead") {
		t.Errorf("error %v, want one that names the call", err)
	}
}

// queueOf is a platform whose queue says these things about calls.
func queueOf(t *testing.T, states map[string]lofn.CallState) *platform {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := filepath.Base(r.URL.Path)
		if states[id] == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"id":%q,"state":%q,"reason":"so it is"}`, id, states[id])
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &platform{Client: c}
}

func TestCallsThatAreLostAreFound(t *testing.T) {
	p := queueOf(t, map[string]lofn.CallState{"once": lofn.CallSucceeded, "twice": lofn.CallSucceeded, "thrice": lofn.CallSucceeded,
		"never came": lofn.CallSucceeded, "dead": lofn.CallDead, "queued": lofn.CallQueued})
	s := &survival{deliveries: map[string]int{"once": 1, "twice": 2, "thrice": 3, "dead": 10, "forgotten": 1},
		accepted: map[string]bool{"once": true, "twice": true, "thrice": true, "never came": true, "dead": true, "queued": true, "forgotten": true}}
	if err := s.verify(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if s.lost != 4 || s.settled != 5 || s.once != 1 || s.twice != 1 || s.more != 1 {
		t.Errorf("%d lost, %d have an outcome; %d, %d and %d came once, twice and more often", s.lost, s.settled, s.once, s.twice, s.more)
	}
}

func TestALongCallThatFails(t *testing.T) {
	p := queueOf(t, map[string]lofn.CallState{"good": lofn.CallSucceeded, "bad": lofn.CallFailed})
	if err := p.succeeded(t.Context(), "good"); err != nil {
		t.Error(err)
	}
	if err := p.succeeded(t.Context(), "bad"); err == nil || !strings.Contains(err.Error(), "so it is") {
		t.Errorf("error %v, want the reason", err)
	}
}
