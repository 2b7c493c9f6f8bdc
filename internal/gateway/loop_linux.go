package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
	peers   []*loop // all of the lane's
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
	spare    [][]byte // buffers for heads and small bodies
	wide     [][]byte // buffers of readSize
	random   *bufio.Reader
	// retired exchanges are used again from the next turn on, when nothing up
	// the stack can know of them; fresh are those that may be.
	fresh, retired []*exchange
	again          []*socket // have more to read than their turn allowed

	// door is where connections come from.
	door door
	// load is how many clients there are, for the other loops to see.
	load atomic.Int32

	mu      sync.Mutex
	posted  []func()
	wake    *os.File // end of a pipe that ends a wait
	waking  int32    // the other end
	stopped bool
	// empty is closed when there is no client after shutdown, ended when the
	// loop is over.
	draining, closing bool
	empty, ended      chan struct{}
}

const (
	// readSize is how much is read at once.
	readSize = 128 << 10
	// turn is how many reads a connection gets before others have theirs.
	turn = 8
	// maxSpare bounds the buffers and exchanges that a loop keeps for later.
	maxSpare = 64
)

// startLoops starts a loop for each processor that Go may use. There are none
// for a listener without a descriptor.
func startLoops(l *Lane, listener net.Listener) ([]*loop, error) {
	source, ok := listener.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, nil
	}
	loops := make([]*loop, runtime.GOMAXPROCS(0))
	for i := range loops {
		var err error
		if loops[i], err = newLoop(l); err != nil {
			return nil, err
		}
		if err = loops[i].open(source); err != nil {
			return nil, err
		}
	}
	for _, loop := range loops {
		loop.peers = loops
		go loop.run()
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
		wake: os.NewFile(uintptr(ends[1]), "wake"), waking: int32(ends[0]),
		empty: make(chan struct{}), ended: make(chan struct{}),
	}, p.add(int32(ends[0]), 0, reads)
}

// run serves until stop.
func (l *loop) run() {
	defer close(l.ended)
	for !l.isStopped() {
		events, err := l.events()
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
		l.fresh, l.retired = append(l.fresh, l.retired...), l.retired[:0]
	}
	l.end()
}

func (l *loop) events() ([]syscall.EpollEvent, error) {
	if len(l.again) > 0 {
		return l.poller.look()
	}
	return l.poller.wait(l.timers.next())
}

// deliver tells a socket of an event.
func (l *loop) deliver(e syscall.EpollEvent) {
	switch e.Fd {
	case l.waking:
		var b [64]byte
		_, _ = syscall.Read(int(l.waking), b[:])
		return
	case l.door.fd:
		l.guard(l.accept)
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
	l.wait()
}

// wait waits for the end of the loop.
func (l *loop) wait() { <-l.ended }

func (l *loop) closeAll() {
	for c := range l.clients {
		c.close()
	}
}

func (l *loop) end() {
	l.door.close()
	for _, h := range l.homes {
		h.closeAll()
	}
	l.poller.close()
	l.wake.Close()
	_ = syscall.Close(int(l.waking))
}

// attach returns a connection as package net has them.
func attach(fd int32) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "client")
	defer file.Close()
	return net.FileConn(file)
}

// drain accepts no more, and hands the connections that wait for a request to
// net/http.
func (l *loop) drain() {
	done := make(chan struct{})
	posted := l.post(func() {
		defer close(done)
		l.draining = true
		l.door.close()
		for c := range l.clients {
			c.step()
		}
	})
	if posted {
		<-done
	}
}

// shutdown accepts no more, and closes the connections that wait for a request.
func (l *loop) shutdown() {
	l.post(func() {
		l.closing = true
		l.door.close()
		for c := range l.clients {
			c.closeIfIdle()
		}
		l.left()
	})
}

// left is called when a client has left.
func (l *loop) left() {
	l.load.Store(int32(len(l.clients)))
	if l.closing && len(l.clients) == 0 {
		l.closing = false
		close(l.empty)
	}
}

// drained waits after shutdown until all clients have left, or for ctx.
func (l *loop) drained(ctx context.Context) bool {
	select {
	case <-l.empty:
		return true
	case <-ctx.Done():
		return false
	}
}

// adopt makes a socket of a descriptor and watches it.
func (l *loop) adopt(s *socket, fd int32, events uint32) error {
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

// exchange returns an empty one.
func (l *loop) exchange() *exchange {
	last := len(l.fresh) - 1
	if last < 0 {
		return new(exchange)
	}
	e := l.fresh[last]
	l.fresh[last], l.fresh = nil, l.fresh[:last]
	*e = exchange{}
	return e
}

// retire takes an exchange that is over for later ones.
func (l *loop) retire(e *exchange) {
	if !e.shared && len(l.fresh)+len(l.retired) < maxSpare {
		l.retired = append(l.retired, e)
	}
}

// buffer returns an empty buffer that can grow.
func (l *loop) buffer() []byte {
	if b, ok := pop(&l.spare); ok {
		return b[:0]
	}
	return make([]byte, 0, 1<<10)
}

// large returns a buffer of readSize.
func (l *loop) large() []byte {
	if b, ok := pop(&l.wide); ok {
		return b[:readSize]
	}
	return make([]byte, readSize)
}

// room returns an empty buffer for so many bytes, more or less.
func (l *loop) room(size int) []byte {
	if size > joinSize {
		return l.large()[:0]
	}
	return l.buffer()
}

func pop(list *[][]byte) ([]byte, bool) {
	last := len(*list) - 1
	if last < 0 {
		return nil, false
	}
	b := (*list)[last]
	(*list)[last], *list = nil, (*list)[:last]
	return b, true
}

// putBuffer keeps a buffer for later.
func (l *loop) putBuffer(b []byte) {
	switch {
	case b == nil:
	case cap(b) == readSize:
		if len(l.wide) < maxSpare {
			l.wide = append(l.wide, b)
		}
	case cap(b) <= headSize && len(l.spare) < maxSpare:
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
