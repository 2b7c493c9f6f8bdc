package lofn

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
)

// EnvMaxInflight is the environment variable by which a function says how many
// calls one of its replicas takes at a time; 0 means without limit.
const EnvMaxInflight = "max_inflight"

// Annotations by which a function says how it may be called.
const (
	// AnnotationMaxQueue is how many calls may wait until a replica is free.
	AnnotationMaxQueue = "lofn.dev/max-queue"
	// AnnotationMaxBody is how large the body of a request may be.
	AnnotationMaxBody = "lofn.dev/max-body"
	// AnnotationOrigins lists the web origins whose pages may call it.
	AnnotationOrigins = "lofn.dev/cors-origins"
)

// DefaultMaxQueue is how many calls may wait if their function says nothing:
// a thousand that come at one instant to a function without a replica are
// nothing out of the ordinary.
const DefaultMaxQueue = 2000

// maxMaxQueue bounds the memory that one function's waiting calls may take.
const maxMaxQueue = 1_000_000

// Policy is what a function says about its calls.
type Policy struct {
	// Timeout is how long a call may take, 0 for no limit, and TimeoutBy names
	// what says so.
	Timeout   time.Duration
	TimeoutBy string
	// StreamTimeout and StreamTimeoutBy are the same for calls without an end of
	// their own.
	StreamTimeout   time.Duration
	StreamTimeoutBy string
	// MaxInflight is how many calls a replica takes at a time, 0 for no limit.
	MaxInflight int
	// MaxQueue is how many calls may wait until a replica is free.
	MaxQueue int
	// MaxBody bounds the body of a request in bytes, 0 for no limit.
	MaxBody int64
	// Async is about calls that nobody waits for.
	Async Async
	// Origins are the pages that may call it. While there are none, such calls
	// are the function's own business.
	Origins Origins
}

// Policy reads what the function says about its calls. A value that makes no
// sense counts as absent; the error is about the first such value.
func (f Function) Policy() (Policy, error) {
	var p Policy
	var err, streamErr error
	p.Timeout, p.TimeoutBy, err = f.duration(EnvTimeout, DefaultTimeout)
	p.StreamTimeout, p.StreamTimeoutBy, streamErr = f.duration(EnvStreamTimeout, 0)
	var asyncErr error
	p.Async, asyncErr = f.Spec.Async()
	return p, cmp.Or(err, streamErr, p.readInflight(f), p.readQueue(f), p.readBody(f), p.readOrigins(f), asyncErr)
}

// variable returns a variable of the function's environment, or else of its
// image's, and the field that it comes from, "" if there is none.
func (f Function) variable(name string) (value, field string) {
	if value, ok := f.Spec.Env[name]; ok {
		return value, "envVars"
	}
	if value, ok := f.Defaults[name]; ok {
		return value, "image"
	}
	return "", ""
}

// duration reads a variable and tells what says so.
func (f Function) duration(name string, missing time.Duration) (d time.Duration, by string, err error) {
	text, field := f.variable(name)
	if field == "" {
		return missing, "the default of " + name, nil
	}
	if d, err = ParseSeconds(text); err != nil {
		return missing, "the default of " + name, Errorf(Invalid, "%s: %s: %w", field, name, err)
	}
	if field == "image" {
		return d, "its image's " + name, nil
	}
	return d, "its " + name, nil
}

func (p *Policy) readInflight(f Function) (err error) {
	if text, field := f.variable(EnvMaxInflight); text != "" {
		p.MaxInflight, err = count(field, EnvMaxInflight, text, 0, math.MaxInt32)
	}
	return err
}

func (p *Policy) readQueue(f Function) error {
	a := annotations{of: f.Spec.Annotations}
	p.MaxQueue = a.count(AnnotationMaxQueue, DefaultMaxQueue, 0, maxMaxQueue)
	return a.err
}

func (p *Policy) readBody(f Function) error {
	text, ok := f.Spec.Annotations[AnnotationMaxBody]
	if !ok {
		return nil
	}
	n, err := parseQuantity(text, 1)
	// As a quantity "10m" is a hundredth of a byte, which nobody means.
	if err != nil || n == 0 || strings.HasSuffix(text, "m") {
		return Errorf(Invalid, "annotations: %s: %q is not a size: use bytes with a unit, such as 512Ki or 10Mi", AnnotationMaxBody, text)
	}
	p.MaxBody = n
	return nil
}

func (p *Policy) readOrigins(f Function) error {
	var origins Origins
	for text := range strings.SplitSeq(f.Spec.Annotations[AnnotationOrigins], ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if !isOrigin(text) {
			return Errorf(Invalid, "annotations: %s: %q is not an origin: use scheme, host and perhaps port as browsers send them, such as https://app.example, or *", AnnotationOrigins, text)
		}
		origins = append(origins, text)
	}
	p.Origins = origins
	return nil
}

// Origins are web origins such as "https://app.example:8443", or "*" for any.
type Origins []string

func isOrigin(text string) bool {
	if text == anyOrigin {
		return true
	}
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != "" && text == strings.ToLower(u.Scheme+"://"+u.Host)
}

const anyOrigin = "*"

// Allows returns by which name a page's origin may read answers, "" if it may
// not. Only an origin that is named itself may send its user's credentials.
func (o Origins) Allows(origin string) (name string, credentials bool) {
	switch {
	case slices.Contains(o, origin) && origin != anyOrigin:
		return origin, true
	case slices.Contains(o, anyOrigin):
		return anyOrigin, false
	}
	return "", false
}
