package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lofn"
)

// waiting is an interpreter that has started, in surroundings of its own, and
// waits to become a replica. It knows nothing of any function, and becomes one
// replica only.
type waiting struct {
	*cell
	child *child
	// pump has nowhere to pump to yet.
	pump *pump
	// channel is the other end of the loader's.
	channel *os.File
}

// Bounds for an interpreter to start, and for one that waits to answer.
const (
	slowestStart  = 30 * time.Second
	slowestAnswer = 5 * time.Second
)

// hold starts an interpreter of the kind and returns it when it waits. With an
// error too, what it returns is to be discarded.
func (m *linux) hold(ctx context.Context, k kind) (w *waiting, err error) {
	w = &waiting{cell: &cell{machine: m, program: &program{id: "standby-" + strings.ToLower(rand.Text()[:10])}, handles: noHandles(), exec: k.exec}}
	if m.users != nil {
		id, ok := m.users.reserve()
		if !ok {
			return w, errors.New("no user ID is left for it")
		}
		w.uid = int(id)
	}
	// The limits come with the function.
	if w.group, err = m.cgroups.make(w.id, limit(k.memory, unlimitedMemory), limit(k.cpu, unlimitedCPU)); err != nil {
		return w, fmt.Errorf("limits: %w", err)
	}
	if err := m.sandbox.within(m.sandbox.base, func() (err error) {
		w.handles.namespace, err = separate()
		return err
	}); err != nil {
		return w, err
	}
	if err := w.launch(k); err != nil {
		return w, err
	}
	defer context.AfterFunc(ctx, w.kill)()
	if err := w.expect('w', slowestStart); err != nil {
		return w, err
	}
	if !w.usable(k.exec) {
		return w, fmt.Errorf("%s is not the interpreter itself", k.exec)
	}
	return w, nil
}

func (w *waiting) kill() { w.child.signal(w.child.pid, syscall.SIGKILL) }

// What a group is made with before its limits are known.
const unlimitedMemory, unlimitedCPU = 1 << 50, 1 << 20

func limit(is bool, value int64) int64 {
	if !is {
		return 0
	}
	return value
}

func (w *waiting) launch(k kind) error {
	p, output, err := newPump(nil)
	if err != nil {
		return err
	}
	defer output.Close()
	w.pump = p
	channel, err := w.connect()
	if err != nil {
		return err
	}
	defer channel.Close()
	attr := &syscall.ProcAttr{
		Dir:   lofn.AppDir,
		Files: []uintptr{w.machine.null.Fd(), output.Fd(), output.Fd(), channel.Fd()},
		Env:   strings.Split(k.env, "\x00"),
	}
	err = w.inside(func(sys *syscall.SysProcAttr) (err error) {
		attr.Sys = sys
		w.child, err = launch(k.exec, k.argv(), attr)
		return err
	})
	if err == nil {
		w.machine.adopt(w.child.pid)
	}
	return err
}

// connect makes the channel and returns the loader's end of it.
func (w *waiting) connect() (theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs = os.NewFile(uintptr(pair[1]), "channel")
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(pair[0]), theirs.Close())
	}
	w.channel = os.NewFile(uintptr(pair[0]), "channel")
	return theirs, nil
}

// expect waits for a letter of the loader.
func (w *waiting) expect(letter byte, within time.Duration) error {
	if err := w.channel.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	var got [1]byte
	switch _, err := io.ReadFull(w.channel, got[:]); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it did not answer within %s", within)
	case err != nil:
		return errors.New("it ended: " + w.words())
	case got[0] != letter:
		return fmt.Errorf("it answered %q", got)
	}
	return nil
}

// words is what the process has written, in one line.
func (w *waiting) words() string {
	var text [1024]byte
	_ = w.pump.from.SetReadDeadline(time.Now().Add(time.Second))
	n, _ := w.pump.from.Read(text[:])
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(text[:n]), "?")), " ")
}

// usable reports whether it still waits, and its program is the one that the
// machine has now.
func (w *waiting) usable(exec string) bool {
	select {
	case <-w.child.exited:
		return false
	default:
	}
	running, err := os.Stat(fmt.Sprintf("/proc/%d/exe", w.child.pid))
	if err != nil {
		return false
	}
	now, err := os.Stat(exec)
	return err == nil && os.SameFile(running, now)
}

// become makes it a replica that runs the program.
func (w *waiting) become(p *program, port int) (*server, error) {
	waitedAs := w.program
	w.program = p
	s := &server{cell: w.cell, child: w.child, port: port, done: make(chan struct{})}
	err := w.furnish(p)
	s.startup.Standby, s.startup.Prepare = true, time.Since(p.began)
	if err == nil {
		err = w.tell(append([]string{p.dir}, s.variables()...))
	}
	if err != nil {
		w.program = waitedAs
		return nil, err
	}
	_ = w.channel.Close()
	w.child.started = time.Now()
	s.startup.Exec = w.child.started.Sub(p.began) - s.startup.Prepare
	s.pump = w.pump
	s.pump.to = w.machine.Logs.Writer(p.fn.Ref, p.id)
	go s.pump.run(w.machine.buffers)
	return s, nil
}

// furnish puts the function's files and limits where the process is.
func (w *waiting) furnish(p *program) error {
	w.machine.warn(p)
	if err := w.group.set(p.memory, p.milliCPU); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	return w.isolate()
}

// tell sends the loader its message.
func (w *waiting) tell(message []string) error {
	if err := w.channel.SetDeadline(time.Now().Add(slowestAnswer)); err != nil {
		return err
	}
	if _, err := io.WriteString(w.channel, strings.Join(message, "\x00")); err != nil {
		return err
	}
	if err := w.shutdown(); err != nil {
		return err
	}
	return w.expect('b', slowestAnswer)
}

// shutdown ends what is said to the loader.
func (w *waiting) shutdown() error {
	conn, err := w.channel.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, failed)
}

// discard ends it.
func (w *waiting) discard() {
	if w.child != nil {
		w.kill()
		<-w.child.exited
	}
	if w.pump != nil {
		_ = w.pump.from.Close()
	}
	if w.channel != nil {
		_ = w.channel.Close()
	}
	w.close()
}
