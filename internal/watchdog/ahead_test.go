package watchdog_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"lofn/internal/watchdog"
)

// starts is a file in which each process writes its number when it starts.
type starts struct{ file string }

func newStarts(t *testing.T) starts { return starts{filepath.Join(t.TempDir(), "starts")} }

func (s starts) note() string { return "echo $$ >>" + s.file + "; " }

func (s starts) all() (pids []int) {
	b, _ := os.ReadFile(s.file)
	for _, word := range strings.Fields(string(b)) {
		pid, _ := strconv.Atoi(word)
		pids = append(pids, pid)
	}
	return pids
}

// living waits until so many of the processes live, and returns them.
func (s starts) living(t *testing.T, count int) (pids []int) {
	t.Helper()
	eventually(t, strconv.Itoa(count)+" processes", func() bool {
		pids = slices.DeleteFunc(s.all(), func(pid int) bool { return !alive(t, pid) })
		return len(pids) == count
	})
	return pids
}

func TestProcessesAheadServeOneCallEach(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streaming", "serializing", "classic"} {
		s := newStarts(t)
		server, _, _ := serve(t, watchdog.Options{}, "mode="+mode, "prestart=4", "fprocess="+script(t, s.note()+`read line; echo "$$ $line"; env | grep -i ^http_; echo $BASE`))
		for range 3 {
			waiting := s.living(t, 1)[0]
			got := do(t, request(t, "POST", server.URL, "hello\n", "X-Some", "header"))
			if want := strconv.Itoa(waiting) + " hello\nkept\n"; got.StatusCode != 200 || got.body != want {
				t.Errorf("%s: got %d %q, want %q", mode, got.StatusCode, got.body, want)
			}
		}
	}
}

// A call finds no process waiting, a large body, or none: it makes no
// difference.
func TestCallsThatProcessesAheadGet(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streaming", "serializing", "classic"} {
		s := newStarts(t)
		server, _, _ := serve(t, watchdog.Options{}, "mode="+mode, "prestart=2", "fprocess="+script(t, s.note()+"exec cat"))
		for _, body := range []string{"", "x", strings.Repeat("y", 3<<20)} {
			s.living(t, 1)
			if got := do(t, request(t, "POST", server.URL, body)); got.StatusCode != 200 || got.body != body {
				t.Errorf("%s: got %d with %d bytes, want %d", mode, got.StatusCode, len(got.body), len(body))
			}
		}
		if got := do(t, request(t, "DELETE", server.URL, "")); got.StatusCode != 200 || got.body != "" {
			t.Errorf("%s: got %d %q", mode, got.StatusCode, got.body)
		}
	}
}

// There are as many as calls at once, and not more than asked for; later, when
// there were fewer calls, one is enough.
func TestHowManyProcessesWait(t *testing.T) {
	t.Parallel()
	s := newStarts(t)
	folder := t.TempDir()
	server, w, _ := serve(t, watchdog.Options{}, "prestart=3", "fprocess="+script(t, s.note()+"cat; touch "+folder+"/$$; while ! [ -e "+folder+"/go ]; do sleep 0.01; done"))
	s.living(t, 1)
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if got := do(t, request(t, "POST", server.URL, "body")); got.StatusCode != 200 || got.body != "body" {
				t.Errorf("got %d %q", got.StatusCode, got.body)
			}
		})
	}
	eventually(t, "five calls at work", func() bool { all, _ := os.ReadDir(folder); return len(all) == 5 })
	s.living(t, 5+3)
	if err := os.WriteFile(filepath.Join(folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	s.living(t, 3)
	w.Look() // at a time with five calls
	s.living(t, 3)
	w.Look() // at a time without
	s.living(t, 1)
}

func TestDeadlineOfAProcessAhead(t *testing.T) {
	t.Parallel()
	s := newStarts(t)
	server, _, _ := serve(t, watchdog.Options{}, "prestart=1", "exec_timeout=100ms", "fprocess="+script(t, s.note()+"read line; sleep 1000 & echo $! >>"+s.file+"; wait"))
	first := s.living(t, 1)[0]
	if got := do(t, request(t, "POST", server.URL, "x\n")); got.StatusCode != 504 {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
	if left := s.living(t, 1)[0]; left == first {
		t.Error("the process lives on")
	}
}

// A program that does not wait for its input runs for calls only, once that is
// known.
func TestProgramThatDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newStarts(t)
	server, _, log := serve(t, watchdog.Options{}, "prestart=2", "fprocess="+script(t, s.note()+"echo out; exit 5"))
	eventually(t, "a line in the log", func() bool {
		return strings.Contains(log.String(), "lofn: 3 processes ended before they were given a call (the last one: exit status 5)")
	})
	for range 2 {
		if got := do(t, request(t, "POST", server.URL, "")); got.StatusCode != 200 || got.body != "out\n" {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
	}
	if ran := len(s.all()); ran != 3+2 {
		t.Errorf("it ran %d times, for two calls", ran)
	}
}

func TestProcessKilledWhileItWaits(t *testing.T) {
	t.Parallel()
	s := newStarts(t)
	server, _, _ := serve(t, watchdog.Options{}, "prestart=1", "fprocess="+script(t, s.note()+"exec cat"))
	waiting := s.living(t, 1)[0]
	_ = syscall.Kill(waiting, syscall.SIGKILL)
	eventually(t, "its end", func() bool { return !alive(t, waiting) })
	if got := do(t, request(t, "POST", server.URL, "body")); got.StatusCode != 200 || got.body != "body" {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
	if s.living(t, 1)[0] == waiting {
		t.Error("it is still there")
	}
}

// Who waits when the watchdog ends, or is renewed, does not take that for an
// empty request.
func TestEndOfProcessesAhead(t *testing.T) {
	t.Parallel()
	s := newStarts(t)
	seen := filepath.Join(t.TempDir(), "seen")
	_, w, _ := serve(t, watchdog.Options{}, "prestart=1", "fprocess="+script(t, s.note()+"cat; touch "+seen))
	before := s.living(t, 1)[0]
	w.Renew()
	if alive(t, before) {
		t.Error("it outlived being renewed")
	}
	after := s.living(t, 1)[0]
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if alive(t, after) {
		t.Error("it outlived the watchdog")
	}
	if _, err := os.Stat(seen); err == nil {
		t.Error("a process got a request that nobody made")
	}
}
