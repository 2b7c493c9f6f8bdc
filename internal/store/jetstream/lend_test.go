package jetstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	native "github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/store/jetstream"
)

// lendDir is the environment variable that turns the test binary into a process
// that opens an engine and lends it, until it is killed.
const lendDir = "LOFN_TEST_LEND_DIR"

func lendInChild(dir string) error {
	engine, err := jetstream.Open(context.Background(), jetstream.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := engine.Lend(); err != nil {
		return err
	}
	fmt.Println("lent")
	select {}
}

// startLender starts such a process, and waits until it lends.
func startLender(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	child, _, _ := startChild(t, lendDir, dir)
	return child
}

// user is a client of an engine that writes to a stream, wherever that is.
type user struct{ js native.JetStream }

func useEngine(t *testing.T, engine *jetstream.Engine) user {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(engine), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := native.New(conn, native.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return user{js}
}

// write waits until a message is written, and returns its number.
func (u user) write(t *testing.T) uint64 {
	t.Helper()
	limit, look := time.After(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for {
		ack, err := u.js.Publish(t.Context(), "S", []byte("x"))
		if err == nil {
			return ack.Sequence
		}
		select {
		case <-look.C:
		case <-limit:
			t.Fatalf("nothing is written: %v", err)
		}
	}
}

func makeStream(t *testing.T, engine *jetstream.Engine) user {
	t.Helper()
	u := useEngine(t, engine)
	if _, err := u.js.CreateStream(t.Context(), native.StreamConfig{Name: "S", Subjects: []string{"S"}}); err != nil {
		t.Fatal(err)
	}
	return u
}

// A process that handed its folder over goes on through the one that has it,
// also when that is killed and another one comes; and it can have it back.
func TestHandOverToAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	engine := openEngine(t, dir)
	u := makeStream(t, engine)
	before := u.write(t)
	engine.HandOver()
	for range 3 {
		child := startLender(t, dir)
		if after := u.write(t); after <= before {
			t.Errorf("after message %d comes %d", before, after)
		} else {
			before = after
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
	}
	if err := engine.TakeBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := u.write(t); after <= before {
		t.Errorf("after message %d comes %d", before, after)
	}
	store := openFunctions(t, engine)
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}
	if _, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref}, 0); err != nil {
		t.Errorf("a store of an engine that was taken back: %v", err)
	}
}

// Two processes may be waiting for the last calls of theirs when the third one
// has the folder; and a folder may have a long name.
func TestHandOverTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	first := openEngine(t, dir)
	u := makeStream(t, first)
	u.write(t)
	first.HandOver()
	second := openEngine(t, dir)
	if err := second.Lend(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lend(); err != nil {
		t.Errorf("Lend once more: %v", err)
	}
	u.write(t)
	v := useEngine(t, second)
	second.HandOver()
	third := openEngine(t, dir)
	if err := third.Lend(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "lent.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if n := u.write(t); n != 3 {
		t.Errorf("the first engine's user wrote message %d, want 3", n)
	}
	if n := v.write(t); n != 4 {
		t.Errorf("the second engine's user wrote message %d, want 4", n)
	}
	first.Close()
	second.Close()
	third.Close()
	if entries, err := filepath.Glob(filepath.Join(dir, "*.sock")); err != nil || len(entries) > 0 {
		t.Errorf("there are %v, %v", entries, err)
	}
	if _, err := third.InProcessConn(); err == nil {
		t.Error("a closed engine has connections")
	}
}

// A client that says nothing does not keep an engine from closing.
func TestSilentBorrower(t *testing.T) {
	dir := t.TempDir()
	engine := openEngine(t, dir)
	if err := engine.Lend(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", filepath.Join(dir, "lent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	engine.Close()
}

// An engine that was not handed over cannot be taken back.
func TestTakeBackOfNothing(t *testing.T) {
	engine := openEngine(t, t.TempDir())
	if err := engine.TakeBack(t.Context()); lofn.CodeOf(err) != lofn.Unavailable || err == nil {
		t.Errorf("TakeBack: %v, want code Unavailable", err)
	}
	openFunctions(t, engine)
}
