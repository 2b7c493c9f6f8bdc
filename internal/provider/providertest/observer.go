package providertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"lofn"
)

// observer follows a provider as the pool does: it keeps the latest state of
// each replica, sends calls to ready ones and lets them finish theirs.
type observer struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with each change
	replicas map[string]lofn.Replica
	gone     map[string]int
	faults   []string
	calls    map[string]int
	draining map[string]bool
}

func newObserver() *observer {
	return &observer{
		changed:  make(chan struct{}),
		replicas: make(map[string]lofn.Replica),
		gone:     make(map[string]int),
		calls:    make(map[string]int),
		draining: make(map[string]bool),
	}
}

// follow watches the provider to the end of the test, and then reports what
// was wrong with the replicas it yielded.
func (o *observer) follow(t *testing.T, p lofn.Provider) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range p.Watch(ctx) {
			o.see(r)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		for _, fault := range o.faults {
			t.Error(fault)
		}
	})
}

func (o *observer) see(r lofn.Replica) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, known := o.replicas[r.ID]
	o.check(before, known, r)
	if r.State == lofn.Gone {
		o.gone[r.ID]++
		delete(o.replicas, r.ID)
	} else {
		o.replicas[r.ID] = r
	}
	o.notify()
}

// check notes what lofn.Replica and lofn.Provider forbid.
func (o *observer) check(before lofn.Replica, known bool, r lofn.Replica) {
	fault := func(format string, args ...any) {
		o.faults = append(o.faults, fmt.Sprintf("replica %+v: ", r)+fmt.Sprintf(format, args...))
	}
	if r.ID == "" || r.Since.IsZero() || r.Function.Name == "" || r.Function.Namespace == "" {
		fault("has no ID, time or function")
	}
	if o.gone[r.ID] > 0 {
		fault("yielded after it was gone")
	}
	if known && (before.Function != r.Function || before.Generation != r.Generation) {
		fault("was of %s, generation %d, before", before.Function, before.Generation)
	}
	if known && before.State == lofn.Draining && r.State != lofn.Gone && r.State != lofn.Draining {
		fault("is in service again after it was draining")
	}
	switch r.State {
	case lofn.Ready:
		if r.Network == "" || r.Address == "" {
			fault("is ready without an address")
		}
	case lofn.Failed:
		if r.Reason == "" || strings.Contains(r.Reason, "\n") {
			fault("failed without a reason in one line")
		}
		fallthrough
	case lofn.Starting:
		if r.Address != "" {
			fault("has an address and is not ready")
		}
	}
}

func (o *observer) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// wait evaluates the condition after each change until it holds or ctx ends.
func (o *observer) wait(ctx context.Context, condition func() bool) bool {
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if condition() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// of returns the replicas of the function that are not gone, by ID.
func (o *observer) of(ref lofn.Ref) []lofn.Replica {
	o.mu.Lock()
	defer o.mu.Unlock()
	var replicas []lofn.Replica
	for _, r := range o.replicas {
		if r.Function == ref {
			replicas = append(replicas, r)
		}
	}
	slices.SortFunc(replicas, func(a, b lofn.Replica) int { return strings.Compare(a.ID, b.ID) })
	return replicas
}

func (o *observer) wasGone(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone[id] > 0
}

// lease returns a ready replica of the function, and a function that gives it
// back; ok is false if there is none.
func (o *observer) lease(ref lofn.Ref) (r lofn.Replica, release func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, r := range o.replicas {
		if r.Function == ref && r.State == lofn.Ready && !o.draining[id] {
			o.calls[id]++
			return r, func() { o.release(id) }, true
		}
	}
	return lofn.Replica{}, nil, false
}

func (o *observer) release(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls[id]--
	o.notify()
}

// drain is what the provider under test calls before it stops a replica.
func (o *observer) drain(ctx context.Context, r lofn.Replica) error {
	o.mu.Lock()
	o.draining[r.ID] = true
	o.mu.Unlock()
	o.wait(ctx, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.calls[r.ID] == 0
	})
	return ctx.Err()
}

func (o *observer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, r := range o.replicas {
		fmt.Fprintf(&b, "  %+v calls=%d\n", r, o.calls[r.ID])
	}
	return b.String()
}

// call sends one call to the replica and returns the body of its answer.
func call(ctx context.Context, r lofn.Replica) (string, error) {
	var dialer net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, r.Network, r.Address)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://replica/", strings.NewReader("question"))
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(body), err
}
