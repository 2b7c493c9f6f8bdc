package watchdog

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// ahead keeps processes that were started before their calls and wait for their
// standard input. Each gets one call. There are as many as there were calls at
// once of late, within bounds, and at least one. A nil *ahead keeps none.
type ahead struct {
	most   int
	launch func() (*process, error)
	say    func(format string, args ...any)
	events events        // the ends of the processes that wait, and alarm
	alarm  alarm         // rings when the next process shall start
	poke   chan struct{} // something changed for keep
	closed chan struct{} // closed by stop
	over   chan struct{} // closed when keep has returned

	mu      sync.Mutex
	waiting []*process
	armed   bool // alarm will ring
	busy    int  // calls at work
	peak    int  // most calls at work since the last look
	early   int  // processes in a row that ended before their call
	epoch   int  // counts renewals
	stopped bool
}

// lookInterval is how often it is considered whether fewer processes would do.
const lookInterval = 10 * time.Second

func (w *Watchdog) startAhead() (*ahead, error) {
	apart := w.config.Mode != Classic || !w.config.CombineOutput
	a := &ahead{
		most: w.config.Prestart, say: w.lines.Printf,
		poke: make(chan struct{}, 1), closed: make(chan struct{}), over: make(chan struct{}),
	}
	a.launch = func() (*process, error) {
		return w.launch(w.options.Env, strings.NewReader(""), apart)
	}
	err := a.alarm.open()
	if err == nil {
		err = a.events.open()
	}
	if err == nil {
		err = a.events.add(a.alarm.fd, alarmKey)
	}
	if err != nil {
		return nil, err
	}
	go a.watch()
	go a.keep()
	return a, nil
}

// alarmKey is the key of the alarm in the events; processes have their numbers.
const alarmKey = 0

// keep has processes waiting until stop.
func (a *ahead) keep() {
	defer close(a.over)
	var look <-chan time.Time
	for {
		for a.fill() {
		}
		if look == nil && a.plenty() {
			look = time.After(lookInterval)
		}
		select {
		case <-a.poke:
		case <-look:
			look = nil
			a.shrink()
		case <-a.closed:
			return
		}
	}
}

// plenty reports whether there may be too many later.
func (a *ahead) plenty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(len(a.waiting), a.target()) > 1
}

// target is how many shall wait; a.mu is held.
func (a *ahead) target() int {
	if a.stopped || a.early >= earlyMost {
		return 0
	}
	return min(a.most, max(a.peak, 1))
}

// fill starts a process if there are too few, and reports whether to look
// again. One that cannot be started is left to the next call, which tells.
func (a *ahead) fill() bool {
	a.mu.Lock()
	epoch, enough := a.epoch, len(a.waiting) >= a.target()
	a.mu.Unlock()
	if enough {
		return false
	}
	p, err := a.launch()
	if err != nil {
		return false
	}
	a.mu.Lock()
	stale := a.stopped || a.epoch != epoch
	if !stale {
		a.waiting = append(a.waiting, p)
		_ = a.events.add(p.exit.fd, int32(p.cmd.Process.Pid)) // else take finds out
	}
	a.mu.Unlock()
	if stale {
		p.discard()
	}
	return true
}

// earlyMost is how many processes in a row may end without having been given a
// call before there are no more: the program does not wait for its input.
const earlyMost = 3

// patient is how long a process must have waited for its call to show that the
// program does.
const patient = time.Second

// watch waits for the alarm, and for processes that end while they wait.
func (a *ahead) watch() {
	defer a.alarm.close()
	var ready [16]event
	for {
		n, err := a.events.await(ready[:])
		if err != nil {
			return // stop has closed it
		}
		for _, e := range ready[:n] {
			if e.Fd == alarmKey {
				a.ring()
			} else {
				a.lose(int(e.Fd))
			}
		}
	}
}

func (a *ahead) ring() {
	a.mu.Lock()
	a.armed = false
	a.alarm.seen()
	a.mu.Unlock()
	a.nudge()
}

// lose drops a process that has ended, if it still waits.
func (a *ahead) lose(pid int) {
	a.mu.Lock()
	i := slices.IndexFunc(a.waiting, func(p *process) bool { return p.cmd.Process.Pid == pid })
	if i < 0 {
		a.mu.Unlock()
		return
	}
	p := a.pick(i)
	a.early++
	givenUp := a.early == earlyMost
	a.mu.Unlock()
	p.discard()
	if givenUp {
		a.say("lofn: %d processes ended before they were given a call (the last one: %s): from now on they start with their calls. prestart is for programs that begin by reading their standard input",
			earlyMost, p.cmd.ProcessState)
	}
	a.nudge()
}

// pick takes a process from those that wait; a.mu is held.
func (a *ahead) pick(i int) *process {
	p := a.waiting[i]
	a.waiting = slices.Delete(a.waiting, i, i+1)
	a.events.remove(p.exit.fd)
	return p
}

// shrink ends processes that were not needed of late.
func (a *ahead) shrink() {
	a.mu.Lock()
	var surplus []*process
	for len(a.waiting) > a.target() {
		surplus = append(surplus, a.pick(0))
	}
	a.peak = a.busy
	a.mu.Unlock()
	discardAll(surplus)
}

func discardAll(all []*process) {
	var ends sync.WaitGroup
	for _, p := range all {
		ends.Go(p.discard)
	}
	ends.Wait()
}

func (a *ahead) nudge() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// take notes that a call begins, until release, and returns a process for it,
// or nil if none waits.
func (a *ahead) take() *process {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy++
	a.peak = max(a.peak, a.busy)
	if !a.armed && !a.stopped {
		a.armed = true
		a.alarm.set(courtesy)
	}
	for i, p := range slices.Backward(a.waiting) {
		if hasExited(p.cmd.Process.Pid) {
			continue // watch sees to it
		}
		a.pick(i)
		if time.Since(p.started) >= patient {
			a.early = 0
		}
		return p
	}
	return nil
}

func (a *ahead) release() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy--
}

// courtesy is how long the start of the next process is held back, lest it take
// the processor from the call that just got one. Most are answered by then.
const courtesy = time.Millisecond

// renew ends the processes that wait. Others take their place.
func (a *ahead) renew() {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.epoch++
	var old []*process
	for len(a.waiting) > 0 {
		old = append(old, a.pick(0))
	}
	a.mu.Unlock()
	discardAll(old)
	a.nudge()
}

// stop ends the processes that wait, for good, and returns when they are gone.
func (a *ahead) stop() {
	if a == nil {
		return
	}
	a.mu.Lock()
	if !a.stopped {
		a.stopped = true
		close(a.closed)
	}
	a.mu.Unlock()
	a.renew()
	<-a.over
	a.events.close()
}
