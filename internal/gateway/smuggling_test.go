package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestNothingIsSmuggled sends the corpus through both doors. Each request is
// refused, or it reaches the function in a form that leaves nothing to
// interpretation: as many requests as the client was answered, and those.
func TestNothingIsSmuggled(t *testing.T) {
	total := 0
	for _, of := range attempts {
		total += len(of)
	}
	if total < 150 {
		t.Fatalf("there are only %d attempts", total)
	}
	eachDoor(t, func(t *testing.T, d door) {
		next := make(chan attempt)
		var trying sync.WaitGroup
		for range 16 { // net/http waits half a second after each refusal
			function := new(recorder)
			p := besides(t, d, nil, raw(function.serve))
			trying.Go(func() {
				for a := range next {
					p.try(a, function)
				}
			})
		}
		for _, of := range attempts {
			for _, a := range of {
				next <- a
			}
		}
		close(next)
		trying.Wait()
	})
}

func (p *platform) try(a attempt, function *recorder) {
	p.Helper()
	statuses, got := p.attempt(strings.ReplaceAll(a.raw, "{}", "/function/echo"))
	reached, faults := function.take()
	if len(faults) > 0 {
		p.Errorf("%s: the function could not make sense of it: %q", a.what, faults)
	}
	if a.answers != "*" && strings.Join(statuses, " ") != a.answers {
		p.Errorf("%s: answered with %s, want %s", a.what, strings.Join(statuses, " "), a.answers)
	}
	if !slices.Equal(reached, got) {
		p.Errorf("%s: what reached the function\n%.300q\nis not what it answered\n%.300q", a.what, reached, got)
	}
	for _, request := range reached {
		if line, _, _ := strings.Cut(request, " \""); strings.Contains(line, "smuggled") {
			p.Errorf("%s: smuggled: %s", a.what, request)
		}
	}
}

// attempt sends bytes and then lastRequest, and returns the status of each
// answer, and what the function says that it got.
func (p *platform) attempt(sent string) (statuses, got []string) {
	p.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.Error(err)
		return nil, nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, sent+lastRequest) }() // refused before its end, maybe
	r := bufio.NewReader(conn)
	method, _, _ := strings.Cut(sent, " ")
	for {
		answer, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return statuses, got
		}
		if answer.StatusCode == http.StatusContinue {
			continue
		}
		method = "GET"
		_, _ = io.Copy(io.Discard, answer.Body)
		statuses = append(statuses, strconv.Itoa(answer.StatusCode))
		if request := answer.Header.Get("X-Got"); request != "" {
			got = append(got, request)
		}
	}
}
