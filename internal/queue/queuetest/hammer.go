package queuetest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

const (
	hammerCalls      = 300
	hammerSubmitters = 4
	hammerWorkers    = 3
	// hammerFunctions is how many functions the calls are for.
	hammerFunctions = 3
)

// hammer is a queue that several processes use and that goes wrong in every way
// at random: calls are retried, refused, called off, made by processes that end;
// and the server is interrupted.
type hammer struct {
	*testing.T
	storage   Storage
	submitted sync.WaitGroup
	done      chan struct{} // closed when every call has its outcome

	mu       sync.Mutex
	handles  []*ledger.Ledger
	dead     map[string]bool // workers whose process has ended
	accepted map[string]bool
	// settled counts the outcomes that were confirmed, seen are the first ones
	// that somebody saw.
	settled map[string]int
	seen    map[string]lofn.CallState
}

func testHammer(t *testing.T, s Storage) {
	h := &hammer{
		T: t, storage: s, done: make(chan struct{}),
		dead: make(map[string]bool), accepted: make(map[string]bool), settled: make(map[string]int), seen: make(map[string]lofn.CallState),
	}
	for range 2 {
		h.handles = append(h.handles, h.open())
	}
	for i := range hammerSubmitters {
		h.submitted.Go(func() { h.submit(i) })
	}
	var working sync.WaitGroup
	for range hammerWorkers {
		for i := range h.handles {
			working.Go(func() { h.work(i) })
		}
	}
	working.Go(h.meddle)
	h.upset()
	h.submitted.Wait()
	h.await()
	close(h.done)
	working.Wait()
	h.check()
}

func (h *hammer) open() *ledger.Ledger {
	return h.storage.open(h.T, shared, leaseTime(10*time.Second), func(c *ledger.Config) { c.Dead = h.isDead })
}

func (h *hammer) isDead(worker string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead[worker]
}

// handle is the i-th process at this moment.
func (h *hammer) handle(i int) *ledger.Ledger {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.handles[i%len(h.handles)]
}

// submit submits calls until each is accepted, with a key, as somebody would
// who does not want them to be made twice.
func (h *hammer) submit(submitter int) {
	for i := submitter; i < hammerCalls; i += hammerSubmitters {
		id := fmt.Sprintf("call-%d", i)
		for attempt := 0; ; attempt++ {
			status, err := h.handle(submitter+attempt).Enqueue(h.Context(), lofn.Submission{
				Call: lofn.Call{ID: id, Function: ref(fmt.Sprint("f", i%hammerFunctions)), Method: http.MethodPost, Path: "/"},
				Body: strings.NewReader(h.body(i)), Key: id,
			})
			if err == nil {
				h.mu.Lock()
				h.accepted[status.ID] = true
				h.mu.Unlock()
				break
			}
			if code := lofn.CodeOf(err); code != lofn.Unavailable && code != lofn.DeadlineExceeded {
				h.Errorf("Enqueue of %s: %v", id, err)
				return
			}
			h.pause()
		}
	}
}

// body is small for most calls.
func (h *hammer) body(i int) string {
	if i%20 == 7 {
		return string(pattern(64<<10 + i))
	}
	return fmt.Sprint("body of ", i)
}

func (h *hammer) pause() { <-time.After(rand.N(5 * time.Millisecond)) }

func (h *hammer) finished() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// work makes calls of the i-th process.
func (h *hammer) work(i int) {
	for !h.finished() {
		q := h.handle(i)
		deliveries, err := q.Take(h.Context(), lane(fmt.Sprint("f", rand.IntN(hammerFunctions))), 1+rand.IntN(4))
		if err != nil && lofn.CodeOf(err) != lofn.Unavailable && lofn.CodeOf(err) != lofn.DeadlineExceeded {
			h.Errorf("Take: %v", err)
		}
		for _, d := range deliveries {
			h.make(d)
		}
		if len(deliveries) == 0 {
			h.pause()
		}
	}
}

// make makes one call, and comes to one of several ends.
func (h *hammer) make(d lofn.Delivery) {
	end := lofn.Settlement{State: lofn.CallSucceeded, Status: 200}
	switch rand.IntN(10) {
	case 0, 1, 2:
		end = lofn.Settlement{State: lofn.CallQueued, Due: time.Now().Add(rand.N(20 * time.Millisecond)), Status: 503}
	case 3:
		end = lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Refused: true, Status: 429}
	case 4:
		end = lofn.Settlement{State: lofn.CallDead, Status: 500, Reason: "it died"}
	case 5:
		end.Body = d.Spool()
		_, err := end.Body.Write(pattern(40 << 10))
		if err != nil {
			end = lofn.Settlement{State: lofn.CallQueued, Due: time.Now()}
		}
	}
	if d.Context().Err() != nil {
		end = lofn.Settlement{State: lofn.CallCancelled}
	}
	err := d.Settle(h.Context(), end)
	switch code := lofn.CodeOf(err); {
	case err == nil:
		// Called off meanwhile, it is no other attempt but cancelled.
		if end.State.Final() {
			h.mu.Lock()
			h.settled[d.Call().ID]++
			h.mu.Unlock()
		}
	case code != lofn.Unavailable && code != lofn.DeadlineExceeded && code != lofn.Conflict:
		h.Errorf("Settle: %v", err)
	}
}

// meddle calls calls off, and looks at them.
func (h *hammer) meddle() {
	for !h.finished() {
		q := h.handle(rand.IntN(2))
		id := fmt.Sprintf("call-%d", rand.IntN(hammerCalls))
		if rand.IntN(3) == 0 {
			if got, err := q.Cancel(h.Context(), id); err == nil && got.State == lofn.CallCancelled {
				h.mu.Lock()
				h.settled[id]++
				h.mu.Unlock()
			}
		}
		if got, err := q.Status(h.Context(), id); err == nil && got.State.Final() {
			h.see(got)
		}
		h.pause()
	}
}

// see checks that an outcome stays what it was.
func (h *hammer) see(got lofn.CallStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first, ok := h.seen[got.ID]; ok && first != got.State {
		h.Errorf("call %s was %s, and then %s", got.ID, first, got.State)
	}
	h.seen[got.ID] = got.State
}

// upset ends one of the processes without a word, and opens another one in its
// place; and it interrupts the server.
func (h *hammer) upset() {
	for round := range 4 {
		h.reach((round + 1) * hammerCalls / 8)
		if h.storage.Interrupt != nil && round%2 == 1 {
			h.storage.Interrupt(h.T)
		}
		old := h.handle(round)
		old.Abandon()
		h.mu.Lock()
		h.dead[old.WorkerName()] = true
		h.mu.Unlock()
		next := h.open()
		h.mu.Lock()
		h.handles[round%len(h.handles)] = next
		h.mu.Unlock()
	}
}

// reach waits until that many calls are accepted.
func (h *hammer) reach(calls int) {
	wait(h.T, "calls are accepted", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.accepted) >= calls || h.Failed()
	})
}

// await waits until every call has its outcome.
func (h *hammer) await() {
	wait(h.T, "every call has its outcome", func() bool {
		for i := range hammerFunctions {
			if c := counts(h.handle(0), fmt.Sprint("f", i)); c.Queued+c.Running > 0 {
				return false
			}
		}
		return true
	})
}

func (h *hammer) check() {
	if len(h.accepted) != hammerCalls {
		h.Errorf("%d of %d calls were accepted", len(h.accepted), hammerCalls)
	}
	last := h.open()
	states := make(map[lofn.CallState]int)
	for _, got := range survey(h.T, last) {
		if !h.accepted[got.ID] {
			h.Errorf("call %s was never accepted, or is there twice", got.ID)
		}
		delete(h.accepted, got.ID)
		h.see(got)
		states[got.State]++
		if !got.State.Final() {
			h.Errorf("call %s is %s at the end", got.ID, got.State)
		}
		if h.settled[got.ID] > 1 {
			h.Errorf("call %s has %d outcomes", got.ID, h.settled[got.ID])
		}
		for _, q := range h.handles {
			wait(h.T, "all processes agree", func() bool {
				there, err := q.Status(h.Context(), got.ID)
				return err == nil && there.State == got.State || h.Failed()
			})
		}
	}
	for id := range h.accepted {
		h.Errorf("call %s was accepted, and is lost", id)
	}
	h.Logf("outcomes: %v, of which %d were confirmed", states, len(h.settled))
}
