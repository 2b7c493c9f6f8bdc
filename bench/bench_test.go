package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func targetOf(t *testing.T, h http.HandlerFunc) target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return target{name: "test", network: "tcp", address: strings.TrimPrefix(server.URL, "http://"), path: "/x?y=z"}
}

func TestLoadCountsEveryCall(t *testing.T) {
	calls := make(chan string, 1000)
	of := targetOf(t, func(w http.ResponseWriter, r *http.Request) {
		calls <- r.URL.String()
		// Longer than one buffer, so that the answer comes in chunks.
		_, _ = w.Write(make([]byte, 10_000))
	})
	got, err := load(t.Context(), of, 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.calls < 3 || got.calls != len(calls) {
		t.Errorf("counted %d calls, the server %d, want the same and one for each connection", got.calls, len(calls))
	}
	if url := <-calls; url != "/x?y=z" {
		t.Errorf("called %s", url)
	}
	if got.p50 <= 0 || got.p50 > got.p99 || got.p99 > got.elapsed {
		t.Errorf("latencies out of order: %+v", got)
	}
}

func TestLoadFailsWithTheAnswersStatus(t *testing.T) {
	of := targetOf(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if _, err := load(t.Context(), of, 2, time.Minute); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("error %v, want one with 503", err)
	}
	if _, err := load(t.Context(), target{name: "nobody", network: "unix", address: "/nonexistent"}, 1, 0); err == nil {
		t.Error("no error where nobody listens")
	}
}

func TestMedian(t *testing.T) {
	rounds := []result{{calls: 5, elapsed: time.Second}, {calls: 1, elapsed: time.Second}, {calls: 3, elapsed: time.Second}}
	if got := median(rounds); got.calls != 3 {
		t.Errorf("the median round has %d calls, want 3", got.calls)
	}
	if rounds[0].calls != 5 {
		t.Error("the rounds were sorted in place")
	}
}

func TestMemoryOfAProcessAndItsChildren(t *testing.T) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip("this system has no /proc/self/smaps_rollup")
	}
	before, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("cat")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	defer stdin.Close()
	after, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.functions != 0 || after.functions == 0 || after.platform == 0 {
		t.Errorf("before %+v, with a child %+v", before, after)
	}
}
