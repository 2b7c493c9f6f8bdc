package jetstream_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/store/jetstream"
)

// crashDir is the environment variable that turns the test binary into the
// process that a test kills.
const crashDir = "LOFN_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	for variable, run := range map[string]func(string) error{crashDir: writeInChild, lendDir: lendInChild} {
		if dir := os.Getenv(variable); dir != "" {
			if err := run(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

const crashWriters = 4

// writeInChild lets several writers put and delete, each its own record, until
// the process is killed. Each acknowledged change is printed: the writer, the
// count that the record now has, or -1 if it was deleted, and the revision.
func writeInChild(dir string) error {
	ctx := context.Background()
	engine, err := jetstream.Open(ctx, jetstream.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	store, err := jetstream.NewStore(ctx, engine, "functions", jetstream.JSON[lofn.Function]())
	if err != nil {
		return err
	}
	fmt.Println("started 0 0")
	failed := make(chan error)
	for w := range crashWriters {
		go func() { failed <- writeForEver(ctx, store, w) }()
	}
	return <-failed
}

func crashRef(writer int) lofn.Ref {
	return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("w%d", writer)}
}

func writeForEver(ctx context.Context, store lofn.Store[lofn.Function], writer int) error {
	ref := crashRef(writer)
	for {
		record, err := store.Get(ctx, ref)
		if err != nil && lofn.CodeOf(err) != lofn.NotFound {
			return err
		}
		if record.Value.Replicas%10 == 9 {
			if err := store.Delete(ctx, ref, record.Revision); err != nil {
				return err
			}
			fmt.Println(ref.Name, -1, record.Revision)
			continue
		}
		record.Value.Ref = ref
		record.Value.Replicas++
		revision, err := store.Put(ctx, ref, record.Value, record.Revision)
		if err != nil {
			return err
		}
		fmt.Println(ref.Name, record.Value.Replicas, revision)
	}
}

// ack is the last change of a record that was acknowledged before the kill.
type ack struct {
	count    int
	revision lofn.Revision
}

// TestKilledWhileWriting kills a process at random moments and checks, after
// each, that everything that it was promised is there.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[string]ack)
	rounds := 30
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		killChild(t, dir, acked)
		checkAcked(t, round, dir, acked)
	}
	if len(acked) != crashWriters {
		t.Errorf("%d of %d writers were ever acknowledged", len(acked), crashWriters)
	}
}

// startChild starts the test binary as another process, and waits until it says
// something.
func startChild(t *testing.T, variable, dir string) (child *exec.Cmd, lines *bufio.Scanner, failure *bytes.Buffer) {
	t.Helper()
	child = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), variable+"="+dir)
	failure = new(bytes.Buffer)
	child.Stderr = failure
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if lines = bufio.NewScanner(output); !lines.Scan() {
		t.Fatalf("the child did not start: %v, %s", child.Wait(), failure.String())
	}
	return child, lines, failure
}

func killChild(t *testing.T, dir string, acked map[string]ack) {
	t.Helper()
	child, lines, failure := startChild(t, crashDir, dir)
	kill := time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = child.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		var name string
		var a ack
		if n, err := fmt.Sscan(lines.Text(), &name, &a.count, &a.revision); n == 3 && err == nil {
			acked[name] = a
		}
	}
	if err := child.Wait(); err == nil || failure.Len() > 0 {
		t.Fatalf("the child ended by itself: %v, %s", err, failure.String())
	}
}

// checkAcked compares the store with the last acknowledged changes. The one
// that was under way may have happened too.
func checkAcked(t *testing.T, round int, dir string, acked map[string]ack) {
	t.Helper()
	engine := openEngine(t, dir)
	defer engine.Close()
	store := openFunctions(t, engine)
	for w := range crashWriters {
		ref := crashRef(w)
		last, ok := acked[ref.Name]
		if !ok {
			continue
		}
		record, err := store.Get(t.Context(), ref)
		deleted := lofn.CodeOf(err) == lofn.NotFound && err != nil
		if err != nil && !deleted {
			t.Fatalf("round %d: %v", round, err)
		}
		if !follows(last, record, deleted) {
			t.Fatalf("round %d: %s was acknowledged with %d at %d; there is %d at %d, deleted: %t",
				round, ref, last.count, last.revision, record.Value.Replicas, record.Revision, deleted)
		}
		if last.count > 0 && last.revision != record.Revision {
			checkStale(t, store, ref, last.revision)
		}
		// The next process goes on from here, acknowledged or not.
		acked[ref.Name] = ack{count: record.Value.Replicas, revision: record.Revision}
		if deleted {
			acked[ref.Name] = ack{count: -1, revision: last.revision}
		}
	}
}

// follows reports whether the record is as acknowledged, or one change later.
func follows(last ack, record lofn.Record[lofn.Function], deleted bool) bool {
	switch {
	case last.count == -1:
		return deleted || record.Value.Replicas == 1 && record.Revision > last.revision
	case deleted:
		return last.count == 9
	case record.Revision == last.revision:
		return record.Value.Replicas == last.count
	default:
		return record.Value.Replicas == last.count+1 && record.Revision > last.revision
	}
}

// checkStale reports whether a revision from before the kill still loses.
func checkStale(t *testing.T, store lofn.Store[lofn.Function], ref lofn.Ref, stale lofn.Revision) {
	t.Helper()
	if _, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref}, stale); lofn.CodeOf(err) != lofn.Conflict {
		t.Fatalf("Put of %s at a stale revision: %v, want code Conflict", ref, err)
	}
}

// TestManyWritersThenReopen keeps many writers going at once, as a deploy
// of a whole stack does.
func TestManyWritersThenReopen(t *testing.T) {
	dir := t.TempDir()
	engine := openEngine(t, dir)
	store := openFunctions(t, engine)
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("f%d", i)}
			if _, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref}, 0); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	engine.Close()
	if records, err := readAll(t, dir); err != nil || len(records) != 200 {
		t.Errorf("%d records, %v, want 200", len(records), err)
	}
}
