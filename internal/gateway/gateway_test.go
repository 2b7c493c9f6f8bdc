package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lofn"
	"lofn/internal/deploy"
	"lofn/internal/gateway"
	"lofn/internal/invoke"
	"lofn/internal/pool"
	"lofn/internal/provider/fake"
	"lofn/internal/scale"
	"lofn/internal/store/mem"
	"lofn/internal/telemetry"
)

// door serves a gateway and returns its URL.
type door func(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (url string, closeDoor func())

// wide is net/http's door, through which everything fits.
func wide(_ testing.TB, g *gateway.Gateway, _ *pool.Pool) (url string, closeDoor func()) {
	server := httptest.NewServer(g)
	return server.URL, server.Close
}

// fast is the lane, with net/http's door behind it for what does not fit.
func fast(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (url string, closeDoor func()) {
	return laneBefore(t, g, replicas, &http.Server{Handler: g})
}

// unsealed is fast with a door behind it that speaks HTTP/2 too, as the
// platform's does.
func unsealed(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (url string, closeDoor func()) {
	server := &http.Server{Handler: g, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return laneBefore(t, g, replicas, server)
}

func laneBefore(t testing.TB, g *gateway.Gateway, replicas *pool.Pool, server *http.Server) (url string, closeDoor func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lane := gateway.NewLane(g, replicas)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lane.Rest()) })
	serving.Go(func() { _ = lane.Serve(listener) })
	return "http://" + listener.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := lane.Shutdown(ctx); err != nil {
			t.Errorf("the lane did not shut down: %v", err)
		}
		_ = server.Shutdown(ctx)
		serving.Wait()
	}
}

// eachDoor runs a test through both doors, since a call must mean the same.
func eachDoor(t *testing.T, test func(*testing.T, door)) {
	t.Run("wide", func(t *testing.T) { test(t, wide) })
	t.Run("fast", func(t *testing.T) { test(t, fast) })
}

// platform is the road of a call from end to end, with functions that are Go
// handlers on real sockets.
type platform struct {
	testing.TB
	url       string
	functions lofn.Store[lofn.Function]
	provider  *fake.Provider
	metrics   *telemetry.Metrics
	pool      *pool.Pool
	caller    *invoke.Caller
	closeDoor func()
}

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

func start(t testing.TB, d door, handler http.Handler) *platform {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := &platform{TB: t, functions: mem.New[lofn.Function](), metrics: telemetry.New()}
	var reconciler *deploy.Reconciler
	var scaler *scale.Scaler
	replicas := pool.New(pool.Config{Poke: func(ref lofn.Ref) { scaler.Poke(ref) }})
	var err error
	p.provider, err = fake.New(fake.Config{
		Handler: func(lofn.Function, string) http.Handler { return handler },
		Drain:   replicas.Drain, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	scaler = scale.New(scale.Config{Pool: replicas, Log: log, Scale: func(ref lofn.Ref, revision lofn.Revision, n int) {
		reconciler.Scale(ref, revision, n)
	}})
	reconciler = deploy.New(deploy.Config{Functions: p.functions, Provider: p.provider, Pool: replicas, Scaler: scaler, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { reconciler.Run(ctx) })
	done.Go(func() { scaler.Run(ctx) })
	p.metrics.CountQueues(replicas.Queues)
	caller := invoke.NewCaller(replicas)
	p.pool, p.caller = replicas, caller
	front := gateway.New(gateway.Config{
		Caller: caller, Functions: replicas, Meter: p.metrics, Release: "test", Log: log,
	})
	p.url, p.closeDoor = d(t, front, replicas)
	p.closeDoor = sync.OnceFunc(p.closeDoor)
	t.Cleanup(func() {
		p.closeDoor()
		cancel()
		done.Wait()
		_ = p.provider.Close(context.Background())
		caller.Close()
	})
	p.put(lofn.Function{Ref: echo, Replicas: 1, Generation: 1, Spec: lofn.Spec{Image: "echo"}})
	p.eventually("the function answers", func() bool {
		resp, err := http.Get(p.url + "/function/echo/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode != http.StatusNotFound
	})
	return p
}

func (p *platform) put(fn lofn.Function) {
	p.Helper()
	record, _ := p.functions.Get(p.Context(), fn.Ref)
	if _, err := p.functions.Put(p.Context(), fn.Ref, fn, record.Revision); err != nil {
		p.Fatal(err)
	}
}

func (p *platform) eventually(what string, condition func() bool) {
	p.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			p.Fatalf("waited in vain until %s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-p.Context().Done():
			p.FailNow()
		}
	}
}

func (p *platform) do(req *http.Request) (*http.Response, string) {
	p.Helper()
	return roundTrip(p, req)
}

// roundTrip makes a request and reads all of its answer.
func roundTrip(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func (p *platform) request(method, path string, body io.Reader) *http.Request {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, p.url+path, body)
	if err != nil {
		p.Fatal(err)
	}
	return req
}

func TestTheRequestReachesTheFunctionAsItIs(t *testing.T) {
	eachDoor(t, testTheRequestReachesTheFunctionAsItIs)
}

func testTheRequestReachesTheFunctionAsItIs(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s body=%q a=%q", r.Method, r.RequestURI, r.Host, body, r.Header.Values("X-A"))
	}))
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "/function/echo", "GET / "},
		{"GET", "/function/echo/", "GET / "},
		{"GET", "/function/echo.openfaas-fn?x=1&y=;%00", "GET /?x=1&y=;%00 "},
		{"POST", "/function/echo/a/b", "POST /a/b "},
		{"DELETE", "/function/echo//a/../b/./c//", "DELETE //a/../b/./c// "},
		{"PATCH", "/function/echo/a%2Fb%20c?", "PATCH /a%2Fb%20c? "},
		{"OPTIONS", "/function/echo/*", "OPTIONS /* "},
		{"PROPFIND", "/function/echo/%E2%82%AC", "PROPFIND /%E2%82%AC "},
	} {
		req := p.request(tc.method, tc.path, strings.NewReader("data"))
		req.Host = "functions.example.org"
		req.Header["X-A"] = []string{"1", "2"}
		_, got := p.do(req)
		want := tc.want + `host=functions.example.org body="data" a=["1" "2"]`
		if got != want {
			t.Errorf("%s %s\n got %s\nwant %s", tc.method, tc.path, got, want)
		}
	}
}

func TestHeadersOfTheContract(t *testing.T) { eachDoor(t, testHeadersOfTheContract) }

func testHeadersOfTheContract(t *testing.T, d door) {
	seen := make(chan http.Header, 1)
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			seen <- r.Header
		}
		w.Header()["Content-Type"] = nil
		fmt.Fprint(w, "x")
	}))
	req := p.request("POST", "/function/echo", strings.NewReader("{}"))
	req.Header.Set("User-Agent", "")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "close, X-Secret-Hop")
	req.Header.Set("X-Secret-Hop", "1")
	resp, _ := p.do(req)
	got := <-seen
	for name, has := range map[string]string{
		"X-Forwarded-Host": strings.TrimPrefix(p.url, "http://"),
		"X-Forwarded-For":  "127.0.0.1:",
		"User-Agent":       "lofn-gateway/test",
		"X-Timeout":        "s",
		"X-Call-Id":        "-",
		"X-Start-Time":     "1",
	} {
		if !strings.Contains(got.Get(name), has) {
			t.Errorf("the function got %s %q, want %q in it", name, got.Get(name), has)
		}
	}
	if got.Get("X-Secret-Hop") != "" || got.Get("Connection") != "" {
		t.Errorf("hop-by-hop headers went through: %v", got)
	}
	if len(resp.Header.Get("X-Call-Id")) != 36 || resp.Header.Get("X-Call-Id") != got.Get("X-Call-Id") {
		t.Errorf("call id of the answer %q, of the request %q", resp.Header.Get("X-Call-Id"), got.Get("X-Call-Id"))
	}
	for name, want := range map[string]string{"X-Served-By": "lofn/test", "Content-Type": "application/json"} {
		if resp.Header.Get(name) != want {
			t.Errorf("answer's %s is %q, want %q", name, resp.Header.Get(name), want)
		}
	}
	if resp.Header.Get("X-Duration-Seconds") == "" || resp.Header.Get("X-Start-Time") != got.Get("X-Start-Time") {
		t.Errorf("answer's headers: %v", resp.Header)
	}

	req = p.request("GET", "/function/echo", nil)
	for name, value := range map[string]string{"X-Call-Id": "mine", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "outer", "User-Agent": "me"} {
		req.Header.Set(name, value)
	}
	resp, _ = p.do(req)
	got = <-seen
	for name, want := range map[string]string{"X-Call-Id": "mine", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "outer", "User-Agent": "me"} {
		if got.Get(name) != want {
			t.Errorf("the function got %s %q, want the client's %q", name, got.Get(name), want)
		}
	}
	if resp.Header.Get("X-Call-Id") != "mine" {
		t.Errorf("the client's call id came back as %q", resp.Header.Get("X-Call-Id"))
	}
}

func TestErrorsOfThePlatform(t *testing.T) { eachDoor(t, testErrorsOfThePlatform) }

func testErrorsOfThePlatform(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
		case "/break":
			panic(http.ErrAbortHandler)
		}
	}))
	for _, tc := range []struct {
		path, timeout string
		status        int
		contains      string
	}{
		{"/function/nope", "", 404, "error finding function nope.openfaas-fn"},
		{"/function/.openfaas-fn", "", 404, "error finding function"},
		{"/function/", "", 404, "error finding function"},
		{"/function/echo/hang", "50ms", 504, "function echo.openfaas-fn did not finish within 50ms, as the caller's X-Timeout allows"},
		{"/function/echo", "soon", 400, "X-Timeout"},
		{"/function/echo/break", "", 502, "function echo.openfaas-fn (replica echo-"},
	} {
		req := p.request("POST", tc.path, nil)
		if tc.timeout != "" {
			req.Header.Set("X-Timeout", tc.timeout)
		}
		resp, body := p.do(req)
		if resp.StatusCode != tc.status || !strings.Contains(body, tc.contains) {
			t.Errorf("%s: got %d %q, want %d with %q", tc.path, resp.StatusCode, body, tc.status, tc.contains)
		}
		if got := resp.Header.Get("X-Openfaas-Internal"); got != "gateway" {
			t.Errorf("%s: X-OpenFaaS-Internal is %q, want gateway", tc.path, got)
		}
	}
}

func TestAStreamArrivesAsItIsSent(t *testing.T) { eachDoor(t, testAStreamArrivesAsItIsSent) }

func testAStreamArrivesAsItIsSent(t *testing.T, d door) {
	next := make(chan struct{})
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
		w.Header().Set("X-Sum", "3")
	}))
	resp, err := http.DefaultTransport.RoundTrip(p.request("GET", "/function/echo/events", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("line %d is %q (%v)", i, line, err)
		}
		next <- struct{}{}
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	if resp.Trailer.Get("X-Sum") != "3" {
		t.Errorf("trailers: %v", resp.Trailer)
	}
}

func TestAnUpgradedConnectionCarriesBothWays(t *testing.T) {
	eachDoor(t, testAnUpgradedConnectionCarriesBothWays)
}

func testAnUpgradedConnectionCarriesBothWays(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /function/echo/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v (%v), want 101", resp, err)
	}
	for _, message := range []string{"hello\n", "again\n"} {
		fmt.Fprint(conn, message)
		if got, err := r.ReadString('\n'); got != message {
			t.Fatalf("sent %q, got %q (%v)", message, got, err)
		}
	}
}

func TestABodyOfAnySizeStreamsThrough(t *testing.T) { eachDoor(t, testABodyOfAnySizeStreamsThrough) }

func testABodyOfAnySizeStreamsThrough(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}))
	const size = 64 << 20
	req := p.request("POST", "/function/echo", io.LimitReader(zeros{}, size))
	if _, got := p.do(req); got != fmt.Sprint(size, error(nil)) {
		t.Errorf("the function read %s", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAClientThatLeavesEndsTheCall(t *testing.T) { eachDoor(t, testAClientThatLeavesEndsTheCall) }

func testAClientThatLeavesEndsTheCall(t *testing.T, d door) {
	ended := make(chan struct{})
	began := make(chan struct{})
	p := start(t, d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			return
		}
		close(began)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-began
		leave()
	}()
	_, err := http.DefaultTransport.RoundTrip(p.request("GET", "/function/echo/long", nil).WithContext(ctx))
	if err == nil {
		t.Error("the call was answered though nobody waited")
	}
	<-ended
}

func TestACallWakesAFunctionScaledToZero(t *testing.T) {
	eachDoor(t, testACallWakesAFunctionScaledToZero)
}

func testACallWakesAFunctionScaledToZero(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "awake") }))
	p.put(lofn.Function{Ref: echo, Replicas: 0, Generation: 1, Spec: lofn.Spec{Image: "echo"}})
	p.eventually("no replica is left", func() bool { return len(p.provider.Running()) == 0 })
	resp, body := p.do(p.request("GET", "/function/echo", nil))
	if resp.StatusCode != 200 || body != "awake" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestNoCallFailsWhileReplicasChange(t *testing.T) {
	eachDoor(t, testNoCallFailsWhileReplicasChange)
}

func testNoCallFailsWhileReplicasChange(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	var failed, calls atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				req := p.request("POST", "/function/echo", strings.NewReader("ping"))
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					failed.Add(1)
					continue
				}
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ping" {
					failed.Add(1)
				}
				resp.Body.Close()
				calls.Add(1)
			}
		})
	}
	fn := lofn.Function{Ref: echo, Replicas: 1, Generation: 1, Spec: lofn.Spec{Image: "echo"}}
	for round := range 12 {
		fn.Generation++
		fn.Replicas = 1 + round%3
		p.put(fn)
		before := calls.Load()
		p.eventually("more calls were made", func() bool { return calls.Load() > before+50 || failed.Load() > 0 })
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
}

func TestCallsAreCounted(t *testing.T) { eachDoor(t, testCallsAreCounted) }

func testCallsAreCounted(t *testing.T, d door) {
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/teapot" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	p.do(p.request("GET", "/function/echo/teapot", nil))
	p.do(p.request("GET", "/function/nope", nil))
	scrape := func() string {
		w := httptest.NewRecorder()
		p.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	p.eventually("the call is counted", func() bool {
		return strings.Contains(scrape(), `gateway_function_invocation_total{code="418",function_name="echo.openfaas-fn"} 1`)
	})
	text := scrape()
	if !strings.Contains(text, `gateway_function_invocation_inflight{function_name="echo.openfaas-fn"} 0`) {
		t.Error("a call is still in flight")
	}
	if strings.Contains(text, "nope") {
		t.Error("a function that does not exist has a metric: anybody could fill the memory")
	}
}
