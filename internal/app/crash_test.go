package app_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"lofn"
)

// accepted is what the platform said yes to, and what it was asked and did not
// answer before it was killed: of that either state is right.
type accepted struct {
	mu    sync.Mutex
	state map[string]string // "" for removed
	asked map[string]string
}

func (a *accepted) ask(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[key] = value
}

func (a *accepted) answer(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state[key] = value
	delete(a.asked, key)
}

// check reports whether the value found is one that is allowed, and takes it
// for the state from now on.
func (a *accepted) check(key, found string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked, open := a.asked[key]
	if found != a.state[key] && (!open || found != asked) {
		return fmt.Errorf("%s is %q, want %q (unanswered: %q %v)", key, found, a.state[key], asked, open)
	}
	a.state[key] = found
	delete(a.asked, key)
	return nil
}

// TestKilledAtAnyMomentNothingAcceptedIsLost kills the platform again and
// again in the middle of deployments, updates, removals and changes of
// secrets. LOFN_CRASH_ROUNDS sets how often.
func TestKilledAtAnyMomentNothingAcceptedIsLost(t *testing.T) {
	rounds := 8
	if text := os.Getenv("LOFN_CRASH_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("LOFN_CRASH_ROUNDS: %v", err)
		}
	}
	if testing.Short() {
		rounds = 2
	}
	marker := "marker=" + strconv.FormatInt(time.Now().UnixNano(), 36)
	p := newPlatform(t)
	known := &accepted{state: map[string]string{}, asked: map[string]string{}}
	p.start()
	p.push("fn:latest", nil)
	for round := range rounds {
		if round > 0 {
			p.start()
		}
		verify(p, known)
		churn(p, known, marker, 50+rand.IntN(400))
		p.eventually("no process of the killed platform is left", func() bool { return len(processesWith(marker)) == 0 })
	}
}

// churn changes things from several clients at once until the platform is
// killed, after so many milliseconds.
func churn(p *platform, known *accepted, marker string, millis int) {
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := 0; changeOne(p, known, c, i, marker); i++ {
			}
		})
	}
	<-time.After(time.Duration(millis) * time.Millisecond)
	p.kill()
	clients.Wait()
}

// changeOne makes one change to a function or secret that only this client
// touches, and reports whether it was answered.
func changeOne(p *platform, known *accepted, client, i int, marker string) bool {
	name := fmt.Sprintf("fn-%d-%d", client, rand.IntN(3))
	value := fmt.Sprintf("v%d-%d", i, rand.IntN(1<<30))
	method, path, body, key := "PUT", "/system/functions", deployment(name, "fn:latest", value, marker[len("marker="):]), "function "+name
	switch rand.IntN(6) {
	case 0:
		method, body, value = "DELETE", fmt.Sprintf(`{"functionName":%q}`, name), ""
	case 1, 2:
		path, key = "/system/secrets", "secret "+name
		body = fmt.Sprintf(`{"name":%q,"value":%q}`, name, value)
	}
	known.ask(key, value)
	status, answer := p.do(method, path, body)
	if status == 404 && method == "PUT" {
		status, answer = p.do("POST", path, body)
	}
	switch {
	case status == 202:
		known.answer(key, value)
	case status == 404 && method == "DELETE":
		known.answer(key, "")
	case status != 0:
		p.Errorf("%s %s: %d %s", method, key, status, answer)
		return false
	}
	return status != 0
}

// verify compares what the platform has with what it accepted, and calls every
// function.
func verify(p *platform, known *accepted) {
	p.Helper()
	var functions []lofn.FunctionStatus
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/functions", "")), &functions); err != nil {
		p.Fatal(err)
	}
	found := map[string]string{}
	for _, fn := range functions {
		found["function "+fn.Name] = fn.EnvVars["answer"]
		if status, body := p.do("GET", "/function/"+fn.Name, ""); status != 200 || body != fn.EnvVars["answer"] {
			p.Errorf("function %s: %d %q, want %q", fn.Name, status, body, fn.EnvVars["answer"])
		}
	}
	var secrets []lofn.SecretRequest
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/secrets", "")), &secrets); err != nil {
		p.Fatal(err)
	}
	for _, s := range secrets {
		found["secret "+s.Name] = secretOf(p, s.Name)
	}
	for client := range 4 {
		for n := range 3 {
			for _, kind := range []string{"function", "secret"} {
				key := fmt.Sprintf("%s fn-%d-%d", kind, client, n)
				if err := known.check(key, found[key]); err != nil {
					p.Error(err)
				}
			}
		}
	}
}

// secretOf reads a secret the only way there is: as a function that has it.
func secretOf(p *platform, name string) string {
	p.Helper()
	body := deployment("reader", "fn:latest", "", "", name)
	p.must(202, "POST", "/system/functions", body)
	value := p.must(200, "GET", "/function/reader/secret/"+name, "")
	p.must(202, "DELETE", "/system/functions", `{"functionName":"reader"}`)
	return value
}
