package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lofn/bench/load"
)

func TestMedian(t *testing.T) {
	rounds := []load.Result{{InTime: 5, Elapsed: time.Second}, {InTime: 1, Elapsed: time.Second}, {InTime: 3, Elapsed: time.Second}}
	if got := medianOf(rounds, load.Result.Rate); got != 3 {
		t.Errorf("the median rate is %f, want 3", got)
	}
	if rounds[0].InTime != 5 {
		t.Error("the rounds were sorted in place")
	}
}

// Ratios are between results of the same round: a machine that is slow for a
// while is slow for all.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	round := func(rates ...int) (results []load.Result) {
		for _, r := range rates {
			results = append(results, load.Result{InTime: r, Elapsed: time.Second, P50: time.Duration(r) * time.Microsecond})
		}
		return results
	}
	targets := []load.Target{{Name: wayDirect}, {Name: wayGateway}}
	rounds := [][]load.Result{round(100, 10, 1000), round(50, 6, 400)}
	if got := ratio(targets, rounds, 1, wayDirect); got != "0.50 (0.40–0.60)" {
		t.Errorf("ratio %s", got)
	}
	if got := ratio(targets, rounds, 1, wayNginx); got != "" {
		t.Errorf("ratio %s to what was not measured", got)
	}
	if got := added(rounds[0], rounds[1], p50); got != "50 µs (4–600)" {
		t.Errorf("added %s", got)
	}
}

func TestTakeTurnsFailsWithACall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }))
	defer server.Close()
	targets := []load.Target{{Name: "busy", Network: "tcp", Address: server.Listener.Addr().String(), Path: "/"}}
	for _, plan := range []load.Plan{{Connections: 1}, {Connections: 1, Rate: 100, For: 20 * time.Millisecond}} {
		if _, err := takeTurns(t.Context(), targets, 1, plan); err == nil || !strings.Contains(err.Error(), "429") {
			t.Errorf("%+v: error %v, want one with 429", plan, err)
		}
	}
}

func TestChoose(t *testing.T) {
	name := func(s section) string { return s.name }
	got, err := choose(sections, name, "change,calls")
	if err != nil || len(got) != 2 || got[0].name != "calls" || got[1].name != "change" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose(sections, name, everyday); err != nil {
		t.Error(err)
	}
	if _, err := choose(sections, name, "calls,nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error %v, want one that names what is unknown", err)
	}
}

// startCat starts a process that waits until the test is over.
func startCat(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	child := exec.Command("cat")
	child.Env = env
	return startAndWait(t, child)
}

// startAndWait starts a process that ends with its input, as the test does.
func startAndWait(t *testing.T, child *exec.Cmd) *exec.Cmd {
	t.Helper()
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = child.Wait()
	})
	return child
}

func needProc(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip("this system has no /proc/self/smaps_rollup")
	}
}

func TestMemoryOfAProcessAndItsChildren(t *testing.T) {
	needProc(t)
	before, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	startCat(t)
	after, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.functions != 0 || after.functions == 0 || after.platform == 0 {
		t.Errorf("before %+v, with a child %+v", before, after)
	}
}

func TestProcessesThatServe(t *testing.T) {
	needProc(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "serve"), []byte("read line"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(data string) int {
		command := exec.Command("sh", "serve", "--data", data)
		command.Dir = folder
		return startAndWait(t, command).Process.Pid
	}
	first, _ := serve(folder), serve(folder+"2")
	second := serve(folder)
	got, err := servingAt(folder)
	if err != nil || !slices.Equal(got, []int{first, second}) {
		t.Errorf("got %v, %v, want %d and %d", got, err, first, second)
	}
}

func TestParseStat(t *testing.T) {
	const stat = "42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 20 3 0 0 0 0 0 0 1234 0 0\n"
	if got, err := parseStat(stat); err != nil || got != (process{pid: 42, parent: 7, started: 1234, used: 23}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseStat("42 (a) S 7"); err == nil {
		t.Error("no error for a line that is too short")
	}
}

func TestHowBusyTheMachineIs(t *testing.T) {
	needProc(t)
	if got := (ticks{all: 300, idle: 150}).since(ticks{all: 100, idle: 100}); got != 0.75 {
		t.Errorf("busy for %f of the time, want 0.75", got)
	}
	now, err := processorTime()
	if err != nil || now.idle == 0 || now.idle >= now.all {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestMemoryThatGrows(t *testing.T) {
	needProc(t)
	watch, err := watchMemory(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	grown := make([]byte, size)
	for i := 0; i < len(grown); i += 4096 {
		grown[i] = 1
	}
	got, err := watch.stop()
	if err != nil || got < size/2 {
		t.Errorf("grew by %d bytes: %v, want about %d", got, err, len(grown))
	}
}

func TestKillInstance(t *testing.T) {
	needProc(t)
	victim, bystander := startCat(t, "LOFN_INSTANCE=bench-a"), startCat(t, "LOFN_INSTANCE=bench-ab")
	if found, err := killInstance("bench-a"); err != nil || !found {
		t.Fatal(found, err)
	}
	if err := victim.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the instance ended with %v", err)
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another instance was killed too: %v", err)
	}
	if found, err := killInstance("bench-a"); found || err != nil {
		t.Error("found an instance that has no process", err)
	}
}

func TestStreamsAreWhole(t *testing.T) {
	const size = 3*streamBlock + 5
	var short atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int64(size)
		if short.Load() {
			n--
		}
		if r.Method == http.MethodPost {
			got, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintln(w, got-size+n)
			return
		}
		_, _ = w.Write(make([]byte, n))
	}))
	defer server.Close()
	target := load.Target{Network: "tcp", Address: server.Listener.Addr().String(), Path: "/"}
	if err := upload(t.Context(), target, size); err != nil {
		t.Error(err)
	}
	if err := download(t.Context(), target, size); err != nil {
		t.Error(err)
	}
	short.Store(true)
	if err := upload(t.Context(), target, size); err == nil {
		t.Error("no error for an upload of which a byte was lost")
	}
	if err := download(t.Context(), target, size); err == nil {
		t.Error("no error for a download of which a byte was lost")
	}
}
