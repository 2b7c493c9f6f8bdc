package gateway

import (
	"bufio"
	"crypto/rand"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"lofn/internal/http1"
)

// loop serves a share of the lane's connections, and keeps the connections to
// replicas that their calls use. All that belongs to a loop is touched by the
// goroutine of its run method alone; others reach it through post.
type loop struct {
	lane    *Lane
	poller  *poller
	sockets map[int32]*socket
	serial  int32
	timers  timers
	clients map[*client]struct{}
	// homes are the idle connections to replicas, by the replicas' IDs.
	homes map[string]*home
	// in is what is read into, out what is put together for writing; neither
	// keeps anything from one event to the next.
	in, out  []byte
	response http1.Response
	spare    [][]byte // buffers for requests
	random   *bufio.Reader
	again    []*socket // have more to read than their turn allowed

	mu      sync.Mutex
	posted  []func()
	wake    *os.File // end of a pipe that ends a wait
	waking  int32    // the other end
	stopped bool
	ended   chan struct{}
}

const (
	// readSize is how much is read at once.
	readSize = 64 << 10
	// turn is how many reads a connection gets before others have theirs.
	turn = 8
	// maxSpare bounds the buffers that a loop keeps for later requests.
	maxSpare = 64
)

// startLoops starts a loop for each processor that Go may use.
func startLoops(l *Lane) ([]*loop, error) {
	loops := make([]*loop, runtime.GOMAXPROCS(0))
	for i := range loops {
		var err error
		if loops[i], err = newLoop(l); err != nil {
			return nil, err
		}
		go loops[i].run()
	}
	return loops, nil
}

func newLoop(l *Lane) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	return &loop{
		lane: l, poller: p, sockets: make(map[int32]*socket), clients: make(map[*client]struct{}), homes: make(map[string]*home),
		in: make([]byte, readSize), random: bufio.NewReaderSize(rand.Reader, 1<<10),
		wake: os.NewFile(uintptr(ends[1]), "wake"), waking: int32(ends[0]), ended: make(chan struct{}),
	}, p.add(int32(ends[0]), 0, reads)
}

// run serves until stop.
func (l *loop) run() {
	defer close(l.ended)
	for !l.isStopped() {
		events, err := l.wait()
		if err != nil {
			l.lane.gateway.Log.Error("an event loop of the gateway broke", "error", err)
			panic(err)
		}
		for _, e := range events {
			l.deliver(e)
		}
		l.repeat()
		l.timers.expire(time.Now())
		l.runPosted()
	}
	l.end()
}

func (l *loop) wait() ([]syscall.EpollEvent, error) {
	if len(l.again) > 0 {
		return l.poller.look(), nil
	}
	return l.poller.wait(l.timers.next())
}

// deliver tells a socket of an event.
func (l *loop) deliver(e syscall.EpollEvent) {
	if e.Fd == l.waking {
		var b [64]byte
		_, _ = syscall.Read(int(l.waking), b[:])
		return
	}
	s := l.sockets[e.Fd]
	if s == nil || s.serial != e.Pad {
		return
	}
	if e.Events&syscall.EPOLLIN != 0 {
		s.readable = true
	}
	if e.Events&ends != 0 {
		s.readable, s.hungUp = true, true
	}
	if e.Events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		s.dead = true
	}
	l.guard(s.ready)
}

// repeat gives another turn to those that had more to read.
func (l *loop) repeat() {
	again := l.again
	l.again = nil
	for _, s := range again {
		if s.fd >= 0 {
			l.guard(s.ready)
		}
	}
}

// guard keeps a fault in one call from ending the platform, as net/http does.
func (l *loop) guard(f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			l.lane.gateway.Log.Error("a call met a fault of the gateway", "fault", fault, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// post has the loop call f soon, in its own goroutine. It reports whether there
// is a loop to do so.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	l.postLocked(f)
	return true
}

func (l *loop) postLocked(f func()) {
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		_, _ = l.wake.Write([]byte{0})
	}
}

func (l *loop) runPosted() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		l.guard(f)
	}
}

func (l *loop) isStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped && len(l.posted) == 0
}

// stop cuts off what is left and waits for the end of the loop.
func (l *loop) stop() {
	l.mu.Lock()
	l.stopped = true
	l.postLocked(l.closeAll)
	l.mu.Unlock()
	<-l.ended
}

func (l *loop) closeAll() {
	for c := range l.clients {
		c.close()
	}
}

func (l *loop) end() {
	for _, h := range l.homes {
		h.closeAll()
	}
	l.poller.close()
	l.wake.Close()
	_ = syscall.Close(int(l.waking))
}

// take makes a client of a new connection, or leaves it to net/http if it has no
// descriptor.
func (l *loop) take(conn net.Conn) {
	fd, err := detach(conn)
	if err != nil {
		l.lane.clients.Done()
		go l.lane.rest.put(conn)
		return
	}
	remote := conn.RemoteAddr().String()
	conn.Close()
	if !l.post(func() { l.serve(fd, remote) }) {
		_ = syscall.Close(int(fd))
		l.lane.clients.Done()
	}
}

// detach returns a descriptor for a connection that the runtime does not poll:
// each event would wake it for nothing.
func detach(conn net.Conn) (fd int32, err error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return -1, syscall.EINVAL
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlled := raw.Control(func(original uintptr) {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, original, syscall.F_DUPFD_CLOEXEC, 0)
		if fd = int32(n); errno != 0 {
			err = errno
		}
	})
	if controlled != nil {
		return -1, controlled
	}
	return fd, err
}

// attach returns a connection as package net has them.
func attach(fd int32) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "client")
	defer file.Close()
	return net.FileConn(file)
}

// closeIdle closes the connections that wait for a request.
func (l *loop) closeIdle() {
	l.post(func() {
		for c := range l.clients {
			c.closeIfIdle()
		}
	})
}

// open makes a socket of a descriptor and watches it.
func (l *loop) open(s *socket, fd int32, events uint32) error {
	l.serial++
	*s = socket{loop: l, fd: fd, serial: l.serial, ready: s.ready, watchingWrites: events&writes != 0}
	l.sockets[fd] = s
	return l.poller.add(fd, s.serial, events)
}

func (l *loop) forget(s *socket) {
	delete(l.sockets, s.fd)
	l.poller.remove(s.fd)
}

// later gives the socket another turn after the others.
func (l *loop) later(s *socket) { l.again = append(l.again, s) }

func (l *loop) buffer() []byte {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 1<<10)
}

func (l *loop) putBuffer(b []byte) {
	if len(l.spare) < maxSpare && cap(b) <= requestSize+headSize {
		l.spare = append(l.spare, b)
	}
}

// newID returns a call's ID, as uuid.NewString does without asking the kernel
// each time.
func (l *loop) newID() string {
	id, err := uuid.NewRandomFromReader(l.random)
	if err != nil {
		return uuid.NewString()
	}
	return id.String()
}
