package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A watchdog listens before its function does, and says so.
func TestFirstAnswerIsASuccess(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if _, err := firstAnswer(t.Context(), time.Now(), server.Listener.Addr().String(), "/"); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestBareSpecIsOfTheSameContainerElsewhere(t *testing.T) {
	var spec map[string]any
	if err := json.Unmarshal([]byte(`{
		"process": {"args": ["/fwatchdog"]},
		"root": {"path": "/somewhere"},
		"linux": {"cgroupsPath": "/lofn/x", "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/x"}]},
		"mounts": [{"type": "proc", "destination": "/proc"}, {"type": "bind", "destination": "/etc/hosts"}]
	}`), &spec); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(bareSpec(spec, &netns{path: "/mine"}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"linux":{"cgroupsPath":"` + cgroupParent() + `/runc","namespaces":[{"type":"pid"},{"path":"/mine","type":"network"}]},"mounts":[{"destination":"/proc","type":"proc"}],"process":{"args":["/fwatchdog"]},"root":{"path":"rootfs"}}`
	if got := string(text); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestQuotients(t *testing.T) {
	got := quotients([]time.Duration{3, 8}, []time.Duration{2, 4})
	if len(got) != 2 || got[0] != 1.5 || got[1] != 2 {
		t.Errorf("%v", got)
	}
}
