package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"lofn"
)

// visits are what the function of a test does, seen from outside of all that
// can be killed: it notes every call of it, and holds those that are to be held.
type visits struct {
	*httptest.Server
	mu sync.Mutex
	// attempts are the numbers that the calls came with, by their ids.
	attempts map[string][]string
	// holds are closed to let the calls that are held go on, and broken counts
	// those that were broken off.
	holds  map[string]chan struct{}
	broken map[string]int
}

func newVisits(t *testing.T) *visits {
	v := &visits{attempts: make(map[string][]string), holds: make(map[string]chan struct{}), broken: make(map[string]int)}
	v.Server = httptest.NewServer(v)
	t.Cleanup(func() {
		v.CloseClientConnections()
		v.Close()
	})
	return v
}

// ServeHTTP answers with the call's body and the status in the query.
func (v *visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(lofn.HeaderCallID)
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	v.attempts[id] = append(v.attempts[id], r.Header.Get(lofn.HeaderRetry))
	hold := v.holds[id]
	v.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			v.mu.Lock()
			defer v.mu.Unlock()
			v.broken[id]++
			return
		}
	}
	status := http.StatusOK
	_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// hold keeps the calls with the ids from being answered until go is called.
func (v *visits) hold(ids ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.holds[id] = make(chan struct{})
	}
}

// free lets the calls be answered, those to come too.
func (v *visits) free(ids ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		close(v.holds[id])
	}
}

// of returns the numbers of the attempts at a call, and how many of them were
// broken off.
func (v *visits) of(id string) (attempts []string, broken int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.attempts[id]...), v.broken[id]
}

// path is where to call the function so that it visits.
func (v *visits) path(function string, status int) string {
	there := url.QueryEscape(fmt.Sprintf("%s/?status=%d", v.URL, status))
	return "/async-function/" + function + "/visit?url=" + there
}

// visiting deploys a function for calls of visits, once its image is there.
func (p *platform) visiting(name string, labels map[string]string) {
	p.Helper()
	body, err := json.Marshal(lofn.Deployment{
		Service: name, Image: "fn:latest", Labels: labels, EnvVars: map[string]string{"marker": p.marker()},
		Annotations: map[string]string{lofn.AnnotationRetryAttempts: "1000", lofn.AnnotationRetryMinWait: "100ms", lofn.AnnotationRetryMaxWait: "1s"},
	})
	if err != nil {
		p.Fatal(err)
	}
	p.must(202, "POST", "/system/functions", string(body))
}

// submit submits a call that wishes to have the id. Without an answer the
// status is 0.
func (p *platform) submit(id, path, body string) (status int, answer string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), http.MethodPost, p.URL+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	req.Header.Set(lofn.HeaderCallID, id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if got := resp.Header.Get(lofn.HeaderCallID); resp.StatusCode == http.StatusAccepted && got != id {
		p.Errorf("call %s was accepted as %s", id, got)
	}
	return resp.StatusCode, string(data)
}

// accept submits calls that have to be accepted.
func (p *platform) accept(path, body string, ids ...string) {
	p.Helper()
	for _, id := range ids {
		if status, answer := p.submit(id, path, body); status != http.StatusAccepted {
			p.Fatalf("call %s: %d %s", id, status, answer)
		}
	}
}

// call asks how a call goes, "" being the state of one that is not known.
func (p *platform) call(id string) (s lofn.CallStatus) {
	p.Helper()
	status, answer := p.do("GET", "/async-function/calls/"+id, "")
	if status == http.StatusNotFound {
		return s
	}
	if status != http.StatusOK {
		p.Errorf("the status of call %s: %d %s", id, status, answer)
		return s
	}
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		p.Error(err)
	}
	return s
}

// comeTo waits until all the calls have the state.
func (p *platform) comeTo(state lofn.CallState, ids ...string) {
	p.Helper()
	for _, id := range ids {
		p.eventually(fmt.Sprintf("call %s is %s", id, state), func() bool { return p.call(id).State == state })
	}
}

// numbered are ids that begin with a word.
func numbered(word string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%d", word, i))
	}
	return ids
}
