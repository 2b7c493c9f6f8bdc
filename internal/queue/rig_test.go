package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lofn"
	"lofn/internal/pool"
	"lofn/internal/queue"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// rig is a worker on a queue in memory, with a handler for the gateway.
type rig struct {
	testing.TB
	pool   *pool.Pool
	queue  *ledger.Ledger
	worker *queue.Worker
	// wrap, if it is set, stands between the queue and the worker's deliveries.
	wrap func(lofn.Delivery) lofn.Delivery
	// failing is how many more times the queue cannot be asked.
	failing atomic.Int64
	// stop has the worker take nothing more.
	stop context.CancelFunc
	// statuses and callbacks are what the hooks were told.
	mu        sync.Mutex
	statuses  []int
	callbacks []lofn.CallState
}

// start runs a worker, which is drained at the end of the test.
func start(t testing.TB, c queue.Config) *rig {
	t.Helper()
	b := &rig{TB: t, pool: pool.New(pool.Config{})}
	c.Log = slog.New(slog.DiscardHandler)
	if c.Functions == nil {
		c.Functions = b.pool
	}
	c.Release = "test"
	c.Attempted = func(_ lofn.Ref, status int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.statuses = append(b.statuses, status)
	}
	c.CalledBack = func(_ lofn.Ref, state lofn.CallState) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.callbacks = append(b.callbacks, state)
	}
	b.worker = queue.New(c)
	var err error
	if b.queue, err = mem.New(lofn.DefaultQueueLimits, b.worker.Poke); err != nil {
		t.Fatal(err)
	}
	b.run()
	t.Cleanup(func() {
		b.stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.worker.Drain(ctx); err != nil {
			t.Error(err)
		}
		if err := b.queue.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// run has the worker take deliveries until stop.
func (b *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		b.worker.Run(ctx, b)
		close(ended)
	}()
	b.stop = func() {
		cancel()
		<-ended
	}
}

// Take is the queue's, with what wraps its deliveries.
func (b *rig) Take(ctx context.Context, lane lofn.Lane, most int) ([]lofn.Delivery, error) {
	if b.failing.Add(-1) >= 0 {
		return nil, errors.New("the queue cannot be read")
	}
	deliveries, err := b.queue.Take(ctx, lane, most)
	for i, d := range deliveries {
		if b.wrap != nil {
			deliveries[i] = b.wrap(d)
		}
	}
	return deliveries, err
}

// declare makes a function known, with so many ready replicas.
func (b *rig) declare(ref lofn.Ref, replicas int, spec lofn.Spec) {
	b.pool.Declare(lofn.Function{Ref: ref, Replicas: replicas, Spec: spec})
	for i := range replicas {
		b.pool.Update(lofn.Replica{Function: ref, ID: fmt.Sprint(ref.Name, i), State: lofn.Ready})
	}
}

func annotated(pairs ...string) lofn.Spec {
	s := lofn.Spec{Annotations: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Annotations[pairs[i]] = pairs[i+1]
	}
	return s
}

// submit puts a call into the queue and returns its id.
func (b *rig) submit(call lofn.Call, body string) string {
	b.Helper()
	if call.Function == (lofn.Ref{}) {
		call.Function = echo
	}
	if call.Method == "" {
		call.Method, call.Path = http.MethodPost, "/"
	}
	call.Accepted = time.Now()
	status, err := b.queue.Enqueue(context.Background(), lofn.Submission{Call: call, Body: strings.NewReader(body)})
	if err != nil {
		b.Fatal(err)
	}
	return status.ID
}

func (b *rig) status(id string) lofn.CallStatus {
	b.Helper()
	s, err := b.queue.Status(context.Background(), id)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// await polls until the call's status is as wanted.
func (b *rig) await(id, what string, is func(lofn.CallStatus) bool) lofn.CallStatus {
	b.Helper()
	pause := time.Millisecond
	for end := time.Now().Add(48 * time.Hour); time.Now().Before(end); pause = min(pause+pause/8, time.Second) {
		s := b.status(id)
		if is(s) {
			return s
		}
		select {
		case <-time.After(pause):
		case <-b.Context().Done():
			b.FailNow()
		}
	}
	b.Fatalf("call %s is never %s: %+v", id, what, b.status(id))
	return lofn.CallStatus{}
}

func (b *rig) outcome(id string) lofn.CallStatus {
	b.Helper()
	return b.await(id, "over", func(s lofn.CallStatus) bool { return s.State.Final() })
}

func (b *rig) result(id string) (lofn.Result, string) {
	b.Helper()
	r, err := b.queue.Result(context.Background(), id)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	return r, string(body)
}

// answers is a handler that gives one answer after the other, and the last one
// again and again.
func answers(list ...func(http.ResponseWriter, *http.Request)) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list[min(int(n.Add(1))-1, len(list)-1)](w, r)
	})
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "body of %d", code)
	}
}
