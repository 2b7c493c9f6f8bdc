package containerd

import (
	"container/list"
	"context"
	"strings"
	"sync"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
)

// spares are containers that have been made and not started, one for each of
// the functions that were used last. They are made one at a time, when nothing
// has been asked for a while: they must not be in the way of what is wanted now.
type spares struct {
	p *Provider

	mu sync.Mutex
	// wanted are functions by how recently they were used, the last one first;
	// places are their elements by name.
	wanted *list.List
	places map[lofn.Ref]*list.Element
	// promised are the spares whose ID a replica has got and which will be taken.
	promised map[string]*container
	paused   bool
	// last is when something was started.
	last time.Time
	// making is nil unless one is being made; cancel gives that up, and making is
	// closed when it has ended.
	making chan struct{}
	cancel context.CancelFunc
}

// spare is a function with the container that waits for it, if there is one.
type spare struct {
	fn lofn.Function
	c  *container
	// named is set once the function was ensured.
	named bool
	// tried is set once a container was made or could not be made: who asks for
	// the function will learn why.
	tried bool
}

func newSpares(p *Provider) *spares {
	return &spares{p: p, wanted: list.New(), places: make(map[lofn.Ref]*list.Element), promised: make(map[string]*container)}
}

// want notes that there is a function, in this generation.
func (s *spares) want(fn lofn.Function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.places[fn.Ref]
	if place == nil {
		place = s.wanted.PushBack(&spare{fn: fn})
		s.places[fn.Ref] = place
	}
	w := place.Value.(*spare)
	w.named = true
	if w.fn.Generation != fn.Generation {
		s.dismiss(w)
		w.fn, w.tried = fn, false
		s.wanted.MoveToFront(place)
	}
	s.next()
}

// used notes that a replica of the function was started.
func (s *spares) used(fn lofn.Function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	if place := s.places[fn.Ref]; place != nil {
		s.wanted.MoveToFront(place)
		place.Value.(*spare).tried = false
	}
	s.next()
}

// drop notes that there is no such function any more.
func (s *spares) drop(ref lofn.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if place := s.places[ref]; place != nil {
		s.dismiss(place.Value.(*spare))
		s.wanted.Remove(place)
		delete(s.places, ref)
	}
}

// name implements fleet.Config: the ID of a new replica is that of the spare, if
// there is one.
func (s *spares) name(fn lofn.Function) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	if place := s.places[fn.Ref]; place != nil {
		w := place.Value.(*spare)
		if c := w.c; c != nil && w.fn.Generation == fn.Generation && !c.ended() {
			w.c = nil
			s.promised[c.id] = c
			return c.id
		}
	}
	return newID(fn)
}

// newID returns an ID that containerd takes, which no two dashes in a row are.
func newID(fn lofn.Function) string {
	id := fleet.NewID(fn)
	for strings.Contains(id, "--") {
		id = strings.ReplaceAll(id, "--", "-")
	}
	return id
}

// take returns the spare with the ID, nil if there is none.
func (s *spares) take(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.promised[id]
	delete(s.promised, id)
	if c == nil || c.ended() {
		return nil
	}
	return c
}

// forgo implements fleet.Config.
func (s *spares) forgo(id string) {
	if c := s.take(id); c != nil {
		c.kill()
	}
}

// put adopts a spare that an earlier provider made.
func (s *spares) put(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places[c.fn.Ref] == nil {
		s.places[c.fn.Ref] = s.wanted.PushBack(&spare{fn: c.fn, c: c, tried: true})
		return
	}
	c.kill()
}

// dismiss ends what waits. It is called with the lock held.
func (s *spares) dismiss(w *spare) {
	if w.c != nil {
		w.c.kill()
		w.c = nil
	}
}

// clear ends all that wait.
func (s *spares) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range s.places {
		s.dismiss(place.Value.(*spare))
	}
}

// settle ends the spares of functions that nobody has named.
func (s *spares) settle() {
	s.mu.Lock()
	var lost []lofn.Ref
	for ref, place := range s.places {
		if !place.Value.(*spare).named {
			lost = append(lost, ref)
		}
	}
	s.mu.Unlock()
	for _, ref := range lost {
		s.drop(ref)
	}
}

// pause has none made until resume. When it returns none is being made.
func (s *spares) pause() {
	s.mu.Lock()
	s.paused = true
	making := s.making
	if making != nil {
		s.cancel()
	}
	s.mu.Unlock()
	if making != nil {
		<-making
	}
}

func (s *spares) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	s.next()
}

// quiet is how long nothing must have been started before a spare is made: what
// starts shall have the processors to itself.
const quiet = 250 * time.Millisecond

// next has spares made if some are lacking. It is called with the lock held.
func (s *spares) next() {
	if s.paused || s.making != nil || s.p.life.Err() != nil || s.lacking() == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.p.life)
	s.making, s.cancel = make(chan struct{}), cancel
	s.p.background.Go(func() {
		defer cancel()
		s.make(ctx)
	})
}

// lacking returns the function that shall have a spare next, nil if there is
// none.
func (s *spares) lacking() (lacks *spare) {
	n := 0
	for place := s.wanted.Front(); place != nil; place = place.Next() {
		w := place.Value.(*spare)
		if w.c != nil && w.c.ended() {
			w.c, w.tried = nil, false
		}
		if n++; n > s.p.config.Standby {
			s.dismiss(w)
		} else if w.c == nil && !w.tried && lacks == nil {
			lacks = w
		}
	}
	return lacks
}

// make makes a container for the function that lacks one, when it is quiet.
func (s *spares) make(ctx context.Context) {
	w, fn := s.choose(ctx)
	var c *container
	err := ctx.Err()
	if w != nil {
		c, err = s.p.make(ctx, fn, newID(fn), func(string) {})
	}
	if err != nil && ctx.Err() == nil {
		s.p.config.Log.Debug("no container waits for a function", "function", fn.Ref, "reason", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.making)
	s.making = nil
	switch {
	case w == nil:
	case err != nil:
		w.tried = ctx.Err() == nil
	case ctx.Err() != nil || !s.lacks(w, fn):
		c.kill()
	default:
		w.c = c
	}
	s.next()
}

// choose waits until it is quiet, and returns the function that lacks a spare
// most then; nil if none does, or ctx ended.
func (s *spares) choose(ctx context.Context) (*spare, lofn.Function) {
	for {
		s.mu.Lock()
		rest := quiet - time.Since(s.last)
		if rest <= 0 || ctx.Err() != nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
	}
	defer s.mu.Unlock()
	w := s.lacking()
	if w == nil || ctx.Err() != nil {
		return nil, lofn.Function{}
	}
	w.tried = true
	return w, w.fn
}

// lacks reports whether the spare is still what is wanted of the function. It is
// called with the lock held.
func (s *spares) lacks(w *spare, fn lofn.Function) bool {
	place := s.places[fn.Ref]
	return place != nil && place.Value == w && w.fn.Generation == fn.Generation
}
