package gateway_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lofn"
)

// deploy puts a function with limits and waits until only replicas that it
// holds for take calls.
func (p *platform) deploy(fn lofn.Function, inflight, queue string) {
	p.Helper()
	fn.Spec.Image = fn.Name
	fn.Spec.Env = map[string]string{lofn.EnvMaxInflight: inflight}
	fn.Spec.Annotations = map[string]string{lofn.AnnotationMaxQueue: queue}
	if err := fn.Validate(); err != nil {
		p.Fatal(err)
	}
	p.redeploy(fn)
}

// redeploy puts a function and waits until nothing else of it runs.
func (p *platform) redeploy(fn lofn.Function) {
	p.Helper()
	isOf := func(id string) bool { return strings.HasPrefix(id, fn.Name+"-") }
	before := p.provider.Running()
	record, _ := p.functions.Get(p.Context(), fn.Ref)
	fn.Generation = record.Value.Generation + 1
	p.put(fn)
	p.eventually("the new replicas run alone", func() bool {
		n := 0
		for _, id := range p.provider.Running() {
			if isOf(id) && slices.Contains(before, id) {
				return false
			}
			if isOf(id) {
				n++
			}
		}
		return n == fn.Replicas
	})
}

// quiet waits until no call of echo is under way, and returns how many
// goroutines are left when no connection is kept either.
func (p *platform) quiet(clients *http.Transport) int {
	p.Helper()
	p.eventually("all leases are given back", func() bool {
		inFlight, waiting := p.pool.Load(echo)
		return inFlight == 0 && waiting == 0
	})
	clients.CloseIdleConnections()
	p.caller.Close()
	return runtime.NumGoroutine()
}

// TestOverload offers a function, which takes four calls at a time and lets
// sixteen wait, many times as many. All real: sockets, HTTP, work for a CPU.
func TestOverload(t *testing.T) { eachDoor(t, testOverload) }

func testOverload(t *testing.T, d door) {
	const inflight, queue, clients, calls = 4, 16, 64, 30
	var inside atomic.Int32
	var most atomic.Int32
	crowded := make(chan struct{})
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			return
		}
		n := inside.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-crowded
		sum := sha256.Sum256(make([]byte, 1<<20))
		inside.Add(-1) // before the caller can know that it is over
		fmt.Fprintf(w, "%x", sum[:4])
	}))
	p.deploy(lofn.Function{Ref: echo, Replicas: 1}, strconv.Itoa(inflight), strconv.Itoa(queue))
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	base := p.quiet(transport)

	var answered, refused atomic.Int64
	open := sync.OnceFunc(func() { close(crowded) })
	var crowd sync.WaitGroup
	for range clients {
		crowd.Go(func() {
			for range calls {
				resp, err := transport.RoundTrip(p.request("POST", "/function/echo", strings.NewReader("work")))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusOK:
					answered.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
					if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 || !strings.Contains(string(body), "echo.openfaas-fn") {
						t.Errorf("Retry-After %q, %s", resp.Header.Get("Retry-After"), body)
					}
					open()
				default:
					t.Errorf("got %d %s", resp.StatusCode, body)
				}
				if _, waiting := p.pool.Load(echo); waiting > queue {
					t.Errorf("%d calls wait, at most %d may", waiting, queue)
				}
			}
		})
	}
	crowd.Wait()
	if most.Load() > inflight {
		t.Errorf("%d calls were in the function at a time, at most %d may", most.Load(), inflight)
	}
	if answered.Load() < inflight+queue || refused.Load() == 0 {
		t.Errorf("%d answered and %d refused", answered.Load(), refused.Load())
	}
	w := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if want := fmt.Sprintf("gateway_function_queue_refused_total{function_name=\"echo.openfaas-fn\"} %d\n", refused.Load()); !strings.Contains(w.Body.String(), want) {
		t.Errorf("the metrics lack %s", want)
	}
	// With the door its connections to the function close, for each of which
	// the function's server, in this process too, has a goroutine.
	p.quiet(transport)
	p.closeDoor()
	p.eventually("the goroutines are as few as before", func() bool { return p.quiet(transport) <= base })
}

// TestAThousandCallsAtOnceOfAFunctionAtZero all succeed: the queue has room.
func TestAThousandCallsAtOnceOfAFunctionAtZero(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "awake") }))
		p.put(lofn.Function{Ref: echo, Generation: 1, Spec: lofn.Spec{Image: "echo"}})
		p.eventually("no replica is left", func() bool { return len(p.provider.Running()) == 0 })
		release := p.provider.Hold(echo)
		defer release()
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		var crowd sync.WaitGroup
		for range 1000 {
			crowd.Go(func() {
				resp, err := transport.RoundTrip(p.request("GET", "/function/echo", nil))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(body) != "awake" {
					t.Errorf("got %d %s (%v)", resp.StatusCode, body, err)
				}
			})
		}
		p.eventually("all wait", func() bool {
			_, waiting := p.pool.Load(echo)
			return waiting == 1000
		})
		release()
		crowd.Wait()
	})
}

// TestNeighboursDoNotFeelAFlood has one function hang with all that it takes
// and more, and one that takes any number hang with many; a third goes on.
func TestNeighboursDoNotFeelAFlood(t *testing.T) { eachDoor(t, testNeighboursDoNotFeelAFlood) }

func testNeighboursDoNotFeelAFlood(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
		fmt.Fprint(w, "fine")
	}))
	narrow := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "narrow"}
	open := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "open"}
	p.deploy(lofn.Function{Ref: narrow, Replicas: 1}, "2", "100")
	p.deploy(lofn.Function{Ref: open, Replicas: 1}, "0", "100")

	ctx, leave := context.WithCancel(t.Context())
	transport := &http.Transport{}
	var flood sync.WaitGroup
	var refused atomic.Int32
	for i := range 500 {
		flood.Go(func() {
			name := []string{"narrow", "open"}[i%2]
			resp, err := transport.RoundTrip(p.request("GET", "/function/"+name+"/hang", nil).WithContext(ctx))
			if err != nil {
				return // it left
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusTooManyRequests || name == "open" {
				t.Errorf("%s: got %d", name, resp.StatusCode)
			}
			refused.Add(1)
		})
	}
	p.eventually("the flood has settled", func() bool {
		inFlight, waiting := p.pool.Load(narrow)
		all, none := p.pool.Load(open)
		return inFlight == 2 && waiting == 100 && refused.Load() == 148 && all == 250 && none == 0
	})
	for range 200 {
		if resp, body := p.do(p.request("POST", "/function/echo", strings.NewReader("x"))); resp.StatusCode != http.StatusOK || body != "fine" {
			t.Fatalf("the neighbour answers %d %s", resp.StatusCode, body)
		}
	}
	leave()
	flood.Wait()
	p.eventually("the flood is over", func() bool {
		a, b := p.pool.Load(narrow)
		c, d := p.pool.Load(open)
		return a+b+c+d == 0
	})
}

// TestTheDeadlineCountsWhileACallWaits is about who is to blame.
func TestTheDeadlineCountsWhileACallWaits(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		goOn, began := make(chan struct{}), make(chan struct{})
		p := start(t, d, slowly(goOn, began))
		p.deploy(lofn.Function{Ref: echo, Replicas: 1}, "1", "1")
		first := make(chan int)
		go func() {
			resp, _ := p.do(p.request("GET", "/function/echo/slow", nil))
			first <- resp.StatusCode
		}()
		<-began
		req := p.request("GET", "/function/echo/late", nil)
		req.Header.Set("X-Timeout", "60ms")
		resp, body := p.do(req)
		if resp.StatusCode != http.StatusGatewayTimeout || !strings.Contains(body, "time ran out while it waited for a free replica, for ") {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
		close(goOn)
		if status := <-first; status != http.StatusOK {
			t.Errorf("the call that it waited for got %d", status)
		}
	})
}
