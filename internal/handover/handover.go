// Package handover starts the successor of this process: the program that is
// now at the path by which this one was started, with the same arguments, with
// files that it inherits, and with a line to it over which the two agree on
// when the one goes and the other comes. What they say to each other is their
// own affair.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// variable tells a successor how many files it inherits behind the line.
const variable = "LOFN_HANDOVER"

// firstFile is the descriptor of the line; the files follow it.
const firstFile = 3

// FileNumber is the descriptor that the successor finds file i of Start at.
func FileNumber(i int) int { return firstFile + 1 + i }

// Successor is a process that this one started to take its place.
type Successor struct {
	*Line
	process *os.Process
	exited  chan struct{}
	fate    string // set when exited is closed
}

// Start starts the successor, which inherits the files, and the environment
// with more variables.
func Start(files []syscall.Conn, environment ...string) (*Successor, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	line, err := newLine(ours)
	if err != nil {
		return nil, err
	}
	process, err := launch(append([]syscall.Conn{theirs}, files...),
		append(append(os.Environ(), variable+"="+strconv.Itoa(len(files))), environment...))
	if err != nil {
		return nil, errors.Join(err, line.Close())
	}
	s := &Successor{Line: line, process: process, exited: make(chan struct{})}
	go func() {
		defer close(s.exited)
		state, err := process.Wait()
		if s.fate = state.String(); err != nil {
			s.fate = err.Error()
		}
	}()
	return s, nil
}

// pair returns the two ends of a line.
func pair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range ends {
		syscall.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(ends[0]), "line"), os.NewFile(uintptr(ends[1]), "line"), nil
}

// launch starts the program with the files behind the standard ones. It does
// without os/exec, for which every file would have to be one that blocks: the
// mode belongs to what is shared, so the listeners of this process would block
// as well.
func launch(files []syscall.Conn, env []string) (*os.Process, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil, err
	}
	descriptors := []uintptr{0, 1, 2}
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		// The caller keeps it open.
		if err := raw.Control(func(fd uintptr) { descriptors = append(descriptors, fd) }); err != nil {
			return nil, err
		}
	}
	pid, _, err := syscall.StartProcess(path, os.Args, &syscall.ProcAttr{Env: env, Files: descriptors})
	runtime.KeepAlive(files)
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	return os.FindProcess(pid)
}

// Pid is the successor's process ID.
func (s *Successor) Pid() int { return s.process.Pid }

// Exited is closed when the successor has ended.
func (s *Successor) Exited() <-chan struct{} { return s.exited }

// Kill ends the successor, if it has not ended by itself, and says how it
// ended. It leaves nothing of it behind.
func (s *Successor) Kill() (fate string) {
	// One that broke the line off is about to end, with a status that says
	// more than that it was killed.
	select {
	case <-s.exited:
	case <-time.After(time.Second):
		_ = s.process.Kill()
		<-s.exited
	}
	_ = s.Line.Close()
	return s.fate
}

// Inherit returns, in a successor, the line to the process that it is to take
// the place of, and the files. In any other process the line is nil.
func Inherit() (*Line, []*os.File, error) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return nil, nil, nil
	}
	_ = os.Unsetenv(variable)
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", variable, err)
	}
	files := make([]*os.File, n)
	for i := range files {
		syscall.CloseOnExec(FileNumber(i))
		files[i] = os.NewFile(uintptr(FileNumber(i)), "inherited")
	}
	line, err := newLine(os.NewFile(firstFile, "line"))
	return line, files, err
}

// Line is what two processes talk over, in messages that have a JSON form. Send
// is safe for concurrent use; one goroutine at a time may Receive.
type Line struct {
	net.Conn
	in *json.Decoder

	mu  sync.Mutex
	out *json.Encoder
}

// newLine takes the file over.
func newLine(file *os.File) (*Line, error) {
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return &Line{Conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}, nil
}

// Send sends a message. It waits while the other side does not receive.
func (l *Line) Send(message any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Encode(message)
}

// Receive waits for the next message. An error is the context's, or says that
// the other side is gone; the line is of no use then.
func (l *Line) Receive(ctx context.Context, message any) error {
	defer context.AfterFunc(ctx, func() { _ = l.SetReadDeadline(time.Unix(1, 0)) })()
	err := l.in.Decode(message)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
