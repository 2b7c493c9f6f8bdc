package process

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"lofn"
)

// standby keeps interpreters that have started and wait to become a replica, of
// each kind that deployed functions use. They are made one after the other, and
// only while no replica starts: whoever waits for a function comes first.
type standby struct {
	machine *linux
	stop    context.CancelFunc
	stopped chan struct{}
	// news tells the maker that there may be something to do.
	news chan struct{}

	mu sync.Mutex
	// functions are those that are deployed, with their stock once a start has
	// shown which kind of interpreter they need.
	functions map[lofn.Ref]*stock
	stocks    map[kind]*stock
	starts    int
	// ending are those that nobody can get any more.
	ending sync.WaitGroup
}

// stock is the interpreters of one kind.
type stock struct {
	kind    kind
	users   int
	waiting []*waiting
	// lost counts those that ended before their time, one after the other.
	lost int
}

// Bounds for what a machine keeps ready, and for what it puts up with until it
// makes no more of a kind.
const (
	mostKinds = 8
	mostLost  = 3
)

func newStandby(m *linux) *standby {
	ctx, cancel := context.WithCancel(context.Background())
	b := &standby{
		machine: m, stop: cancel, stopped: make(chan struct{}), news: make(chan struct{}, 1),
		functions: make(map[lofn.Ref]*stock), stocks: make(map[kind]*stock),
	}
	go b.keep(ctx)
	return b
}

// expect notes that the function is deployed.
func (b *standby) expect(ref lofn.Ref) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.functions[ref]
	if !known {
		b.functions[ref] = nil
	}
	return !known
}

// forget notes that it is not any more.
func (b *standby) forget(ref lofn.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.use(ref, nil)
	delete(b.functions, ref)
}

// use notes which stock a deployed function takes from; b.mu is held.
func (b *standby) use(ref lofn.Ref, s *stock) {
	last, deployed := b.functions[ref]
	if !deployed || last == s {
		return
	}
	if b.functions[ref] = s; s != nil {
		s.users++
	}
	if last == nil {
		return
	}
	if last.users--; last.users == 0 {
		delete(b.stocks, last.kind)
		b.discard(last.waiting...)
		last.waiting = nil
	}
}

// discard ends interpreters that nobody can get any more.
func (b *standby) discard(all ...*waiting) {
	for _, w := range all {
		b.ending.Go(w.discard)
	}
}

// starting notes that a replica starts, until the function that it returns is
// called.
func (b *standby) starting() (started func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starts++
	var once sync.Once
	done := func() { once.Do(b.started) }
	patience := time.AfterFunc(slowReplica, done)
	return func() {
		patience.Stop()
		done()
	}
}

// A replica that takes longer to start does not keep interpreters from being
// made: it may never get ready.
const slowReplica = 2 * time.Second

func (b *standby) started() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starts--
	b.wake()
}

func (b *standby) wake() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// become returns a replica for the program, made of an interpreter that waited,
// or nil if there is none that could be it.
func (b *standby) become(p *program) *server {
	if b.machine.Standby <= 0 || !b.machine.isolated() {
		return nil
	}
	k := b.machine.kindOf(p)
	for w := b.take(p.fn.Ref, k); w != nil; w = b.take(p.fn.Ref, k) {
		s, err := b.machine.inherit(w, p)
		if err == nil {
			b.machine.Log.Debug("a replica was on standby", "function", p.fn.Ref, "instance", p.id)
			return s
		}
		b.machine.Log.Warn("an interpreter on standby was of no use, so another one is started", "function", p.fn.Ref, "instance", p.id, "reason", err)
		w.discard()
	}
	return nil
}

// inherit makes the interpreter a replica with a port.
func (m *linux) inherit(w *waiting, p *program) (*server, error) {
	port, err := m.ports.acquire()
	if err != nil {
		return nil, err
	}
	s, err := w.become(p, port)
	if err != nil {
		m.ports.release(port)
	}
	return s, err
}

// take notes which kind the function needs, and returns an interpreter of the
// kind, or nil.
func (b *standby) take(ref lofn.Ref, k kind) *waiting {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, deployed := b.functions[ref]; !deployed {
		return nil
	}
	s := b.stockOf(k)
	b.use(ref, s)
	for s != nil && len(s.waiting) > 0 {
		w := s.waiting[0]
		s.waiting = s.waiting[1:]
		if w.usable(k.exec) {
			s.lost = 0
			return w
		}
		b.discard(w)
	}
	return nil
}

// stockOf returns nil for no kind, and for one too many.
func (b *standby) stockOf(k kind) *stock {
	s := b.stocks[k]
	if s == nil && k != (kind{}) && len(b.stocks) < mostKinds {
		s = &stock{kind: k}
		b.stocks[k] = s
	}
	return s
}

// keep makes interpreters until ctx ends.
func (b *standby) keep(ctx context.Context) {
	defer close(b.stopped)
	for {
		select {
		case <-b.news:
		case <-ctx.Done():
			return
		}
		for s := b.lacking(); s != nil && ctx.Err() == nil; s = b.lacking() {
			b.add(ctx, s)
		}
	}
}

// lacking returns a stock in which one is missing, if this is the time to make
// it.
func (b *standby) lacking() *stock {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.starts > 0 {
		return nil
	}
	for _, s := range b.stocks {
		if s.users > 0 && s.lost < mostLost && len(s.waiting) < b.machine.Standby {
			return s
		}
	}
	return nil
}

// add makes one more.
func (b *standby) add(ctx context.Context, s *stock) {
	w, err := b.machine.hold(ctx, s.kind)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case ctx.Err() != nil, s.users == 0:
		b.discard(w)
	case err != nil:
		b.discard(w)
		b.lose(s, err)
	default:
		s.waiting = append(s.waiting, w)
		go b.watch(s, w)
	}
}

// lose counts an interpreter that was of no use; b.mu is held.
func (b *standby) lose(s *stock, reason error) {
	if s.lost++; s.lost == mostLost {
		b.machine.Log.Warn("no interpreter is kept on standby any more, so functions wait until theirs has started", "command", s.kind, "reason", reason)
	}
}

// watch replaces an interpreter that ends before a function had use for it.
func (b *standby) watch(s *stock, w *waiting) {
	<-w.child.exited
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(s.waiting, w)
	if i < 0 {
		return
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	b.lose(s, errors.New("it "+w.child.fate()))
	b.discard(w)
	b.wake()
}

// close ends all that wait. No replica starts any more.
func (b *standby) close() {
	b.stop()
	<-b.stopped
	b.mu.Lock()
	for ref := range b.functions {
		b.use(ref, nil)
	}
	b.mu.Unlock()
	b.ending.Wait()
}
