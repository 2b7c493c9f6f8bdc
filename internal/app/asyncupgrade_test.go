package app_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"lofn"
)

// once fails the test if a call was not made just once.
func (v *visits) once(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if attempts, broken := v.of(id); len(attempts) != 1 || broken != 0 {
			t.Errorf("call %s was made as attempts %v, of which %d were broken off", id, attempts, broken)
		}
	}
}

// keepSubmitting submits calls until the function that it returns is called.
func (s *promises) keepSubmitting(p *platform, prefix string) (end func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.submit(p, prefix, over)
	}()
	return func() {
		close(over)
		<-done
	}
}

// TestUpgradesNeitherLoseNorRepeatCalls upgrades twice while calls are submitted,
// and while some are made that end much later, in the process that made them.
func TestUpgradesNeitherLoseNorRepeatCalls(t *testing.T) {
	p, s := newUpgradable(t), newPromises(newVisits(t))
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	p.must(200, "GET", "/function/fn", "")
	path := s.path("fn", http.StatusOK)
	s.hold("first", "second", "cancelled", "large")
	p.accept(path, "first", "first", "cancelled")
	p.accept(path, strings.Repeat("x", 1<<20), "large")
	p.comeTo(lofn.CallRunning, "first", "cancelled", "large")

	end := s.keepSubmitting(p, "during")
	olds := []int{p.upgrade()}
	p.comeTo(lofn.CallRunning, "first", "cancelled", "large")
	p.accept(path, "second", "second")
	p.comeTo(lofn.CallRunning, "second")
	olds = append(olds, p.upgrade())
	end()
	p.comeTo(lofn.CallRunning, "first", "second", "cancelled", "large")

	p.must(202, "DELETE", "/async-function/calls/cancelled", "")
	p.comeTo(lofn.CallCancelled, "cancelled")
	p.eventually("the function of the process before the last notices", func() bool {
		_, broken := s.of("cancelled")
		return broken == 1
	})
	s.free("first", "second", "large")
	p.comeTo(lofn.CallSucceeded, "first", "second", "large")
	for id, want := range map[string]string{"first": "first", "second": "second", "large": strings.Repeat("x", 1<<20)} {
		if got := p.must(200, "GET", "/async-function/calls/"+id+"/result", ""); got != want {
			t.Errorf("the answer to the %s call has %d bytes: %.20q", id, len(got), got)
		}
	}
	s.once(t, "first", "second", "large")
	ends, _ := s.verify(p)
	answers := []string{"large"}
	for id, end := range ends {
		s.once(t, id)
		if *end.ResultSize > 32<<10 {
			answers = append(answers, id)
		}
	}
	t.Logf("around two upgrades %d calls were accepted", len(ends))
	for _, old := range olds {
		p.eventually("the processes before are gone", func() bool { return isGone(old) })
	}
	p.eventually("of the bodies only the answers are left", func() bool { return len(p.bodies()) == len(answers) })
}

func TestAfterAFailedUpgradeCallsGoOn(t *testing.T) {
	p, s := newUpgradable(t), newPromises(newVisits(t))
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	path := s.path("fn", http.StatusOK)
	end := s.keepSubmitting(p, "during")
	for name, replace := range map[string]func(){
		"ends":      func() { p.script("exit 3") },
		"ends late": func() { p.script(`echo '{"Step":"waiting"}' >&3; head -c 1 <&3 >/dev/null; exit 4`) },
	} {
		held, failed := numbered(name[:4]+fmt.Sprint(len(name)), 2), strings.Count(p.stderr.String(), "the upgrade failed")
		s.hold(held...)
		p.accept(path, "", held...)
		p.comeTo(lofn.CallRunning, held...)
		replace()
		p.hup()
		p.eventually(name+": it says that the upgrade failed", func() bool {
			return strings.Count(p.stderr.String(), "the upgrade failed") > failed
		})
		p.must(202, "DELETE", "/async-function/calls/"+held[0], "")
		s.free(held[1])
		p.comeTo(lofn.CallCancelled, held[0])
		p.comeTo(lofn.CallSucceeded, held[1])
		s.once(t, held[1])
	}
	// One that has the data, and had opened the queue, is killed.
	s.hold("middle")
	p.accept(path, "", "middle")
	p.comeTo(lofn.CallRunning, "middle")
	killInTheMiddle(p, nil)
	end()
	s.free("middle")
	p.comeTo(lofn.CallSucceeded, "middle")
	s.once(t, "middle")
	ends, _ := s.verify(p)
	for id := range ends {
		s.once(t, id)
	}
	p.install(os.Args[0])
	p.upgrade()
	p.accept(path, "", "after") // which comes through the process before, on a kept connection
	p.comeTo(lofn.CallSucceeded, "after")
}
