package lofn

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Annotations by which a function says how its asynchronous calls are made.
// Those of OpenFaaS Pro are in the contract, 4.5.
const (
	AnnotationRetryAttempts = "com.openfaas.retry.attempts"
	AnnotationRetryCodes    = "com.openfaas.retry.codes"
	AnnotationRetryMinWait  = "com.openfaas.retry.min_wait"
	AnnotationRetryMaxWait  = "com.openfaas.retry.max_wait"
	// AnnotationMaxBacklog is how many calls may wait or run.
	AnnotationMaxBacklog = "lofn.dev/max-backlog"
	// AnnotationCallbackSecret names the secret that callbacks are signed with.
	AnnotationCallbackSecret = "lofn.dev/callback-secret"
)

// Defaults of the retry annotations, those that OpenFaaS Pro documents; the
// codes are those of its chart.
const (
	DefaultRetryAttempts = 10
	DefaultRetryMinWait  = 10 * time.Second
	DefaultRetryMaxWait  = 2 * time.Minute
)

// Async is what a function says about its asynchronous calls.
type Async struct {
	// Attempts is how often a call is made at most.
	Attempts int
	// Codes are the statuses after which it is made again, in order.
	Codes []int
	// MinWait and MaxWait bound the wait between two attempts.
	MinWait, MaxWait time.Duration
	// MaxBacklog is how many calls may wait or run, 0 for the queue's own bound.
	MaxBacklog int
	// CallbackSecret names the secret that callbacks are signed with, "" if they
	// are not.
	CallbackSecret string
}

// Async reads what the function says about its asynchronous calls. The error
// names the first annotation that makes no sense; such a one counts as absent.
func (s Spec) Async() (Async, error) {
	a := annotations{of: s.Annotations}
	async := Async{
		Attempts:       a.count(AnnotationRetryAttempts, DefaultRetryAttempts, 1, 10_000),
		Codes:          a.codes(AnnotationRetryCodes, []int{408, 429, 500, 502, 503, 504}),
		MinWait:        a.duration(AnnotationRetryMinWait, DefaultRetryMinWait),
		MaxWait:        a.duration(AnnotationRetryMaxWait, DefaultRetryMaxWait),
		MaxBacklog:     a.count(AnnotationMaxBacklog, 0, 0, math.MaxInt32),
		CallbackSecret: a.secret(AnnotationCallbackSecret),
	}
	if async.MaxWait < async.MinWait {
		if _, both := s.Annotations[AnnotationRetryMaxWait]; both && a.err == nil {
			a.err = Errorf(Invalid, "annotations: %s (%v) is below %s (%v)", AnnotationRetryMaxWait, async.MaxWait, AnnotationRetryMinWait, async.MinWait)
		}
		async.MaxWait = async.MinWait
	}
	return async, a.err
}

// Retries reports whether a call that was answered with the status is to be
// made again.
func (a Async) Retries(status int) bool {
	_, found := slices.BinarySearch(a.Codes, status)
	return found
}

// annotations reads values and keeps the first error.
type annotations struct {
	of  map[string]string
	err error
}

func (a *annotations) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *annotations) count(name string, missing, least, most int) int {
	text, ok := a.of[name]
	if !ok {
		return missing
	}
	n, err := count("annotations", name, text, least, most)
	if err != nil {
		a.fail(err)
		return missing
	}
	return n
}

func (a *annotations) duration(name string, missing time.Duration) time.Duration {
	text, ok := a.of[name]
	if !ok {
		return missing
	}
	d, err := ParseSeconds(text)
	if err != nil {
		a.fail(Errorf(Invalid, "annotations: %s: %w", name, err))
		return missing
	}
	return d
}

func (a *annotations) codes(name string, missing []int) []int {
	text, ok := a.of[name]
	if !ok {
		return missing
	}
	var codes []int
	for field := range strings.SplitSeq(text, ",") {
		code, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || code < 100 || code > 999 {
			a.fail(Errorf(Invalid, "annotations: %s: %q is not a list of HTTP statuses: separate them by commas, such as 408,429,503", name, text))
			return missing
		}
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (a *annotations) secret(name string) string {
	text, ok := a.of[name]
	if !ok {
		return ""
	}
	if err := ValidateSecretName(text); err != nil {
		a.fail(Errorf(Invalid, "annotations: %s: %w", name, err))
		return ""
	}
	return text
}
