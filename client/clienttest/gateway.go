// Package clienttest holds a gateway for tests: it answers the control API as
// the contract says, from memory, and runs no functions. Use it where a test
// is about a client; a test about functions needs the platform.
package clienttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"lofn"
)

// Gateway is an HTTP server that keeps the contract. Its methods are safe for
// concurrent use.
type Gateway struct {
	*httptest.Server

	mu             sync.Mutex
	user, password string
	followers      int

	functions  map[lofn.Ref]*lofn.FunctionStatus
	namespaces map[string]lofn.Namespace
	secrets    map[lofn.Ref][]byte
	logs       map[lofn.Ref][]lofn.LogMessage
	// calls are those of the queue, in the order in which they were accepted.
	calls []*queued
	// answered counts the requests of the control API by their paths.
	answered map[string]int
	// changed is closed and replaced whenever the state changes.
	changed chan struct{}
	// cut is closed and replaced to end all log streams.
	cut   chan struct{}
	fault *fault
	// held are paths whose requests wait until the channel is closed.
	held map[string]chan struct{}
	// starting is what the instances of functions say one after the other, each
	// time that somebody looks, until they are ready.
	starting []string
	// down keeps new functions without a ready replica, for this reason.
	down string
}

type fault struct {
	path   string
	status int
	text   string
}

// NewGateway starts a gateway on a free port of the loopback interface. The
// caller closes it.
func NewGateway() *Gateway {
	g := &Gateway{
		functions:  map[lofn.Ref]*lofn.FunctionStatus{},
		namespaces: map[string]lofn.Namespace{lofn.DefaultNamespace: {Name: lofn.DefaultNamespace}},
		secrets:    map[lofn.Ref][]byte{},
		logs:       map[lofn.Ref][]lofn.LogMessage{},
		answered:   map[string]int{},
		held:       map[string]chan struct{}{},
		changed:    make(chan struct{}),
		cut:        make(chan struct{}),
	}
	g.Server = httptest.NewServer(g.routes())
	return g
}

// Require makes the control API ask for basic credentials.
func (g *Gateway) Require(user, password string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.user, g.password = user, password
}

// Followers is the number of log streams that are open and have sent all that
// there is.
func (g *Gateway) Followers() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.followers
}

// Fail makes every request to path answer with status and text, until it is
// called with an empty path.
func (g *Gateway) Fail(path string, status int, text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = &fault{path, status, text}
	if path == "" {
		g.fault = nil
	}
}

// Hold has requests to path wait until release is called.
func (g *Gateway) Hold(path string) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := make(chan struct{})
	g.held[path] = wait
	return func() { close(wait) }
}

// Await returns when so many more requests to path have been answered. One that
// is under way counts.
func (g *Gateway) Await(path string, requests int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for want := g.answered[path] + requests; g.answered[path] < want; {
		changed := g.changed
		g.mu.Unlock()
		<-changed
		g.mu.Lock()
	}
}

// FailReplicas makes the replicas of functions that are deployed from now on
// fail for a reason, or be ready again where it is empty.
func (g *Gateway) FailReplicas(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = reason
}

// Start has the next instance that is looked at be starting for these reasons,
// one at each look.
func (g *Gateway) Start(reasons ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.starting = reasons
}

// Secret returns the value of a secret.
func (g *Gateway) Secret(namespace, name string) (value []byte, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	value, ok = g.secrets[lofn.Ref{Namespace: namespace, Name: name}]
	return value, ok
}

// Log appends lines to a function's log.
func (g *Gateway) Log(lines ...lofn.LogMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, line := range lines {
		ref := lofn.Ref{Namespace: line.Namespace, Name: line.Name}
		g.logs[ref] = append(g.logs[ref], line)
	}
	g.signal()
}

// CutLogs ends every log stream that is open.
func (g *Gateway) CutLogs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.cut)
	g.cut = make(chan struct{})
}

// signal tells those who wait that the state changed. The caller holds g.mu.
func (g *Gateway) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *Gateway) routes() http.Handler {
	mux := http.NewServeMux()
	control := func(pattern string, handler func(http.ResponseWriter, *http.Request)) {
		mux.HandleFunc(pattern, g.guard(handler))
	}
	control("GET /system/functions", g.listFunctions)
	control("POST /system/functions", g.createFunction)
	control("PUT /system/functions", g.updateFunction)
	control("DELETE /system/functions", g.removeFunction)
	control("GET /system/function/{name}", g.getFunction)
	control("POST /system/scale-function/{name}", g.scaleFunction)
	control("GET /system/info", g.info)
	control("GET /system/namespaces", g.listNamespaces)
	control("POST /system/namespace/", g.createNamespace)
	control("GET /system/namespace/{name}", g.getNamespace)
	control("PUT /system/namespace/{name}", g.updateNamespace)
	control("DELETE /system/namespace/{name}", g.removeNamespace)
	control("GET /system/secrets", g.listSecrets)
	control("POST /system/secrets", g.createSecret)
	control("PUT /system/secrets", g.updateSecret)
	control("DELETE /system/secrets", g.removeSecret)
	control("GET /system/logs", g.serveLogs)
	control("GET /system/queue", g.countCalls)
	control("GET /system/queue/calls", g.listCalls)
	control("GET /system/queue/calls/{id}", g.aboutCall(showCall))
	control("DELETE /system/queue/calls/{id}", g.aboutCall(g.dropCall))
	control("GET /system/queue/calls/{id}/result", g.aboutCall(answerOf))
	control("POST /system/queue/calls/{id}/redrive", g.aboutCall(redriveCall))
	control("POST /system/queue/calls/{id}/cancel", g.aboutCall(cancelCall))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/function/{name}", g.call)
	mux.HandleFunc("/function/{name}/{rest...}", g.call)
	mux.HandleFunc("/async-function/{name}", g.callAsync)
	mux.HandleFunc("/async-function/{name}/{rest...}", g.callAsync)
	return mux
}

// guard asks for credentials and makes the answers fail that a test wants to.
func (g *Gateway) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer g.countAnswer(r.URL.Path)
		user, password, _ := r.BasicAuth()
		g.mu.Lock()
		refused := g.user != "" && (user != g.user || password != g.password)
		g.mu.Unlock()
		if refused {
			w.Header().Set("WWW-Authenticate", `Basic realm="Restricted"`)
			http.Error(w, "invalid credentials", http.StatusUnauthorized)
			return
		}
		g.mu.Lock()
		f, held := g.fault, g.held[r.URL.Path]
		g.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
		if f != nil && f.path == r.URL.Path {
			http.Error(w, f.text, f.status)
			return
		}
		next(w, r)
	}
}

func (g *Gateway) countAnswer(path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered[path]++
	g.signal()
}

// call answers with the call itself, so that a test sees what arrived. A
// function whose name is a status code, such as "s500", answers with it.
func (g *Gateway) call(w http.ResponseWriter, r *http.Request) {
	ref := lofn.ParseHost(r.PathValue("name"))
	g.mu.Lock()
	_, ok := g.functions[ref]
	g.mu.Unlock()
	w.Header().Set(lofn.HeaderCallID, "test-call")
	if !ok {
		w.Header().Set(lofn.HeaderInternal, "gateway")
		http.Error(w, fmt.Sprintf("error finding function %s: not found", ref), http.StatusNotFound)
		return
	}
	body, _ := io.ReadAll(r.Body)
	var status int
	if _, err := fmt.Sscanf(ref.Name, "s%d", &status); err == nil && status >= 100 && status < 600 {
		w.WriteHeader(status)
	}
	_, _ = fmt.Fprintf(w, "%s /%s?%s\n", r.Method, r.PathValue("rest"), r.URL.RawQuery)
	for _, name := range []string{"Content-Type", "X-Test", "X-Signature", "Authorization"} {
		if value := r.Header.Get(name); value != "" {
			_, _ = fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	_, _ = fmt.Fprintf(w, "\n%s", body)
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// decode reads a body and answers 400 itself if it cannot.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
		return false
	}
	return true
}

// namespaceOf is the namespace that a request names, in its body or query.
func namespaceOf(r *http.Request, inBody string) string {
	if inBody != "" {
		return inBody
	}
	if inQuery := r.URL.Query().Get("namespace"); inQuery != "" {
		return inQuery
	}
	return lofn.DefaultNamespace
}
