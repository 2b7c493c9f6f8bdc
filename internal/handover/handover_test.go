package handover_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"lofn/internal/handover"
)

// actVariable says what this test binary does as a successor.
const actVariable = "HANDOVER_TEST"

func TestMain(m *testing.M) {
	line, files, err := handover.Inherit()
	if err != nil {
		panic(err)
	}
	if line == nil {
		os.Exit(m.Run())
	}
	succeed(line, files)
}

// succeed accepts one connection on the inherited listener, once it was told
// what to greet with, and says that it did.
func succeed(line *handover.Line, files []*os.File) {
	if os.Getenv(actVariable) == "fail" {
		os.Exit(3)
	}
	listener, err := net.FileListener(files[0])
	if err != nil {
		panic(err)
	}
	var greeting string
	if err := line.Receive(context.Background(), &greeting); err != nil {
		panic(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, greeting)
	conn.Close()
	if err := line.Send("done"); err != nil {
		panic(err)
	}
	_ = line.Receive(context.Background(), &greeting) // until the other side is gone
	os.Exit(0)
}

func listen(t *testing.T) *net.TCPListener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.(*net.TCPListener)
}

func TestASuccessorAcceptsWhatItsPredecessorListenedOn(t *testing.T) {
	listener := listen(t)
	s, err := handover.Start([]syscall.Conn{listener}, actVariable+"=greet")
	if err != nil {
		t.Fatal(err)
	}
	// It is in the backlog before anybody accepts it.
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.Send("hello"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	var done string
	if err := s.Receive(t.Context(), &done); err != nil || done != "done" {
		t.Errorf("got %q, %v", done, err)
	}
	// This process's listener still works, and still does not block: closing
	// it ends an Accept.
	accepted := make(chan error)
	go func() {
		_, err := listener.Accept()
		accepted <- err
	}()
	listener.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	s.Close()
	<-s.Exited()
	if fate := s.Kill(); fate != "exit status 0" {
		t.Errorf("the successor's end: %s", fate)
	}
}

func TestASuccessorThatFails(t *testing.T) {
	s, err := handover.Start([]syscall.Conn{listen(t)}, actVariable+"=fail")
	if err != nil {
		t.Fatal(err)
	}
	var m string
	if err := s.Receive(t.Context(), &m); !errors.Is(err, io.EOF) {
		t.Errorf("received %q, %v", m, err)
	}
	if fate := s.Kill(); fate != "exit status 3" {
		t.Errorf("the successor's end: %s", fate)
	}
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	s, err := handover.Start([]syscall.Conn{listen(t)}, actVariable+"=greet")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("took too long"))
	var m string
	if err := s.Receive(ctx, &m); err == nil || err.Error() != "took too long" {
		t.Errorf("received %q, %v", m, err)
	}
	if fate := s.Kill(); !strings.Contains(fate, "killed") {
		t.Errorf("the successor's end: %s", fate)
	}
}
