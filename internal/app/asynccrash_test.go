package app_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
)

// promises are the calls that were accepted, and those that were submitted
// without an answer, with the state that each is to come to.
type promises struct {
	*visits
	// away says that the platform, or its queue, may be away for a while.
	away          bool
	mu            sync.Mutex
	kept, unknown map[string]lofn.CallState
}

func newPromises(v *visits) *promises {
	return &promises{visits: v, kept: make(map[string]lofn.CallState), unknown: make(map[string]lofn.CallState)}
}

// submit submits calls from several clients at once until the platform gives no
// answer, or over is closed.
func (s *promises) submit(p *platform, prefix string, over <-chan struct{}) {
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for n := 0; s.submitOne(p, fmt.Sprintf("%s-%d-%d", prefix, c, n)); n++ {
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	clients.Wait()
}

// submitOne reports whether there was an answer. Some calls fail, and some have
// bodies that are files.
func (s *promises) submitOne(p *platform, id string) bool {
	want, path, body := lofn.CallSucceeded, s.path("fn", http.StatusOK), "small"
	switch rand.IntN(8) {
	case 0:
		want, path = lofn.CallFailed, s.path("fn", http.StatusTeapot)
	case 1:
		body = strings.Repeat("large ", 10_000)
	}
	status, answer := p.submit(id, path, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == http.StatusAccepted:
		s.kept[id] = want
	case s.away && (status == 0 || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout):
		s.unknown[id] = want
	default:
		p.Errorf("call %s: %d %s", id, status, answer)
	}
	return status != 0
}

// verify waits until every accepted call has come to its state, and returns how
// each ended, and how many were made more than once.
func (s *promises) verify(p *platform) (ends map[string]lofn.CallStatus, twice int) {
	p.Helper()
	ends = make(map[string]lofn.CallStatus)
	for id, want := range s.kept {
		p.comeTo(want, id)
		ends[id] = p.call(id)
	}
	for id, want := range s.unknown {
		p.eventually("a call without an answer is done, or was never accepted", func() bool {
			state := p.call(id).State
			return state == "" || state == want
		})
	}
	for id := range ends {
		attempts, _ := s.of(id)
		if len(attempts) == 0 {
			p.Errorf("call %s is said to be done, and was never made", id)
		}
		if len(attempts) > 1 {
			twice++
		}
	}
	return ends, twice
}

// TestKilledAtAnyMomentNoAcceptedCallIsLost kills the platform again and again
// while calls are submitted and made. LOFN_CRASH_ROUNDS sets how often.
func TestKilledAtAnyMomentNoAcceptedCallIsLost(t *testing.T) {
	rounds := 4
	if text := os.Getenv("LOFN_CRASH_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("LOFN_CRASH_ROUNDS: %v", err)
		}
	}
	if testing.Short() {
		rounds = 2
	}
	p, s := newPlatform(t), newPromises(newVisits(t))
	s.away = true
	p.start()
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	for round := range rounds {
		p.must(200, "GET", "/function/fn", "") // so that calls are made, too
		submitted := make(chan struct{})
		go func() {
			defer close(submitted)
			s.submit(p, fmt.Sprint("round", round), nil)
		}()
		<-time.After(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		p.kill()
		<-submitted
		p.start()
	}
	ends, twice := s.verify(p)
	t.Logf("%d calls were accepted, of %d it is not known; %d were made more than once", len(ends), len(s.unknown), twice)
	p.kill()
	p.start()
	for id, end := range ends {
		if again := p.call(id); again.State != end.State || again.Attempts != end.Attempts || !again.EndedAt.Equal(*end.EndedAt) {
			t.Errorf("call %s ended as %+v, and after a kill as %+v", id, end, again)
		}
	}
}
