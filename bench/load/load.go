// Package load generates HTTP load: many kept connections from one thread, as
// lean as a program in Go can be, so that the machine is left to what is
// measured. It calls in a closed loop, each connection as fast as it is
// answered, or at a given rate, whether earlier calls were answered or not.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Target is where to send calls, and which.
type Target struct {
	// Name is what tables and errors call it.
	Name string
	// Network and Address are as for net.Dial: tcp with an IP address, or unix.
	Network, Address string
	// Method is GET if empty.
	Method, Path string
	Body         []byte
}

// request returns the bytes of a call; each is the same.
func (t Target) request() []byte {
	method := t.Method
	if method == "" {
		method = "GET"
	}
	b := []byte(method + " " + t.Path + " HTTP/1.1\r\nHost: bench\r\nUser-Agent: lofn-bench\r\n")
	if len(t.Body) > 0 || method == "POST" {
		b = append(b, "Content-Length: "+strconv.Itoa(len(t.Body))+"\r\n"...)
	}
	return append(append(b, "\r\n"...), t.Body...)
}

// Plan says how to call.
type Plan struct {
	Connections int
	// Rate is how many calls are due each second, evenly spaced, over all
	// connections together. A call waits for a free connection, and its
	// latency counts from the moment it was due. What fails is counted.
	//
	// With 0 every connection calls again as soon as it was answered, at
	// least once, and the first failure ends the run.
	Rate float64
	// For is how long calls are begun, or until Stop is closed.
	For  time.Duration
	Stop <-chan struct{}
	// Patience is how long answers are waited for after that; 0 means 10 s.
	Patience time.Duration
	// Drop gives up the calls that found no free connection up to the end.
	// Otherwise they are made late.
	Drop bool
}

// Result is what became of the calls.
type Result struct {
	// Calls were answered with a status from 200 to 299.
	Calls int
	// Elapsed ends with the time for beginning calls, or with the last answer
	// of a closed loop. InTime counts the Calls that were answered in it.
	Elapsed  time.Duration
	InTime   int
	P50, P99 time.Duration
	// Failed counts the calls that had no such answer, Reasons why, and
	// Examples has the first of each reason in full.
	Failed   int
	Reasons  map[string]int
	Examples []string
	// Unsent calls were due and found no free connection.
	Unsent int
	// Reopened counts the connections that the server closed while there was
	// no call on them, in time for the client to see it.
	Reopened int
}

// Rate is how many calls were answered with success each second.
func (r Result) Rate() float64 { return float64(r.InTime) / r.Elapsed.Seconds() }

// Total is the number of calls that were sent.
func (r Result) Total() int { return r.Calls + r.Failed }

// Err returns an error if a call failed.
func (r Result) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d calls failed, such as: %s", r.Failed, r.Total(), r.Examples[0])
}

// Run calls the target as planned, until ctx ends at the latest.
func Run(ctx context.Context, t Target, p Plan) (Result, error) {
	if p.Connections < 1 {
		return Result{}, errors.New("load: needs a connection at least")
	}
	if p.Patience == 0 {
		p.Patience = 10 * time.Second
	}
	result, err := run(ctx, t, p)
	if err != nil {
		return result, fmt.Errorf("%s: %w", t.Name, err)
	}
	return result, nil
}

// maxExamples bounds them, should every reason be another.
const maxExamples = 20

// failed counts a call that failed; detail may add to the reason.
func (r *Result) failed(reason, detail string) {
	r.Failed++
	if r.Reasons == nil {
		r.Reasons = map[string]int{}
	}
	r.Reasons[reason]++
	if r.Reasons[reason] == 1 && len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, reason+detail)
	}
}

// measured reads the latencies' percentiles.
func (r *Result) measured(latencies []time.Duration) {
	r.Calls = len(latencies)
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	r.P50, r.P99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
}
