package jetstream_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
	store "lofn/internal/store/jetstream"
)

// crashDir is the environment variable that turns the test binary into the
// process that a test kills.
const crashDir = "LOFN_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := workInChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// openQueue opens the queue in a folder, as the only process.
func openQueue(ctx context.Context, dir string, log *slog.Logger) (*store.Engine, *ledger.Ledger, error) {
	engine, err := store.Open(ctx, store.Config{Dir: filepath.Join(dir, "engine"), Log: log})
	if err != nil {
		return nil, nil, err
	}
	l, err := jetstream.Open(ctx, jetstream.Config{Engine: engine, Log: log})
	if err != nil {
		return nil, nil, err
	}
	bodies, err := jetstream.OpenDir(filepath.Join(dir, "bodies"))
	if err != nil {
		return nil, nil, err
	}
	q, err := ledger.Open(ctx, ledger.Config{
		Log: l, Blobs: bodies, Limits: lofn.DefaultQueueLimits, Worker: "w", Logger: log,
		Dead: func(string) bool { return true }, CleanAbove: 256 << 10,
	})
	return engine, q, err
}

// workInChild submits calls and makes some of them until the process is killed.
// What was confirmed is printed: the call, the state that it is in, and how
// large its body is.
func workInChild(dir string) error {
	ctx := context.Background()
	_, q, err := openQueue(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	fmt.Println("started started 0")
	failed := make(chan error)
	for range 4 {
		go func() { failed <- submitForEver(ctx, q) }()
		go func() { failed <- makeForEver(ctx, q) }()
	}
	return <-failed
}

func submitForEver(ctx context.Context, q lofn.Queue) error {
	for {
		size := rand.IntN(1000)
		if rand.IntN(20) == 0 {
			size += 100 << 10
		}
		s, err := q.Enqueue(ctx, lofn.Submission{
			Call: lofn.Call{Function: echo, Method: http.MethodPost, Path: "/"}, Body: bytes.NewReader(pattern(size)),
		})
		if err != nil {
			return err
		}
		fmt.Println(s.ID, lofn.CallQueued, size)
	}
}

// makeForEver makes every second call.
func makeForEver(ctx context.Context, q lofn.Queue) error {
	for {
		taken, err := q.Take(ctx, lofn.Lane{Function: echo}, 2)
		if err != nil {
			return err
		}
		for i, d := range taken {
			if i > 0 {
				continue
			}
			size := int(d.Call().Size)
			answer := d.Spool()
			if _, err := answer.Write(pattern(size)); err != nil {
				return err
			}
			if err := d.Settle(ctx, lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Body: answer}); err != nil {
				return err
			}
			fmt.Println(d.Call().ID, lofn.CallSucceeded, size)
		}
	}
}

// promise is what was confirmed of a call.
type promise struct {
	state lofn.CallState
	size  int64
}

// TestKilledProcess kills a process at random moments and checks, after each,
// that everything that it was promised is there.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	promises := make(map[string]promise)
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		killChild(t, dir, promises)
		checkPromises(t, dir, promises)
	}
	done := 0
	for _, p := range promises {
		if p.state == lofn.CallSucceeded {
			done++
		}
	}
	t.Logf("%d calls were accepted, %d of them made", len(promises), done)
	if done == 0 || done == len(promises) {
		t.Errorf("%d of %d calls were made", done, len(promises))
	}
}

func killChild(t *testing.T, dir string, promises map[string]promise) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	var failure bytes.Buffer
	child.Stderr = &failure
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	if !lines.Scan() {
		t.Fatalf("the child did not start: %v, %s", child.Wait(), failure.String())
	}
	kill := time.AfterFunc(rand.N(300*time.Millisecond), func() { _ = child.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		var id string
		var p promise
		if n, err := fmt.Sscan(lines.Text(), &id, &p.state, &p.size); n != 3 || err != nil {
			continue // cut off
		}
		// The lines of one call may have changed places.
		if promises[id].state != lofn.CallSucceeded {
			promises[id] = p
		}
	}
	if err := child.Wait(); err == nil || failure.Len() > 0 {
		t.Fatalf("the child ended by itself: %v, %s", err, failure.String())
	}
}

func checkPromises(t *testing.T, dir string, promises map[string]promise) {
	t.Helper()
	engine, q, err := openQueue(t.Context(), dir, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	defer q.Abandon()
	for id, p := range promises {
		got, err := q.Status(t.Context(), id)
		if err != nil {
			t.Fatalf("what is known of call %s, which was promised to be %s: %v", id, p.state, err)
		}
		switch {
		case got.State == lofn.CallSucceeded:
			if got.ResultSize == nil || *got.ResultSize != p.size {
				t.Errorf("call %s has an answer of %v bytes, want %d", id, got.ResultSize, p.size)
			}
		case p.state == lofn.CallSucceeded || got.State != lofn.CallQueued:
			t.Errorf("call %s is %s, promised was %s", id, got.State, p.state)
		default:
			if c, err := q.Request(t.Context(), id); err != nil || c.Size != p.size {
				t.Errorf("call %s has %d bytes, %v, want %d", id, c.Size, err, p.size)
			}
		}
	}
	checkDelivered(t, q, promises)
}

// checkDelivered reads the bodies of some calls that are to be made.
func checkDelivered(t *testing.T, q lofn.Queue, promises map[string]promise) {
	t.Helper()
	taken, err := q.Take(t.Context(), lofn.Lane{Function: echo}, 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range taken {
		p, ok := promises[d.Call().ID]
		if !ok {
			continue // it was accepted at the last moment, and nobody knows
		}
		body, err := d.Body(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(body); err != nil || !bytes.Equal(got.Bytes(), pattern(int(p.size))) {
			t.Errorf("the body of %s has %d bytes, %v, want %d", d.Call().ID, got.Len(), err, p.size)
		}
		_ = body.Close()
	}
}
