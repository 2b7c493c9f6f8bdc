package gateway

import (
	"context"
	"time"

	"lofn"
)

// bound sets the call's one deadline: the function's timeout, or less if the
// client asked for less.
func (c *call) bound(policy *lofn.Policy, asked string) error {
	c.policy, c.timeout, c.setBy = policy, policy.Timeout, policy.TimeoutBy
	if c.stream {
		c.timeout, c.setBy = policy.StreamTimeout, policy.StreamTimeoutBy
	}
	d, err := askedTimeout(asked)
	c.shorten(d, "the caller's "+lofn.HeaderTimeout)
	return err
}

// askedTimeout reads the time that the client asks for, 0 if it does not.
func askedTimeout(asked string) (time.Duration, error) {
	if asked == "" {
		return 0, nil
	}
	d, err := lofn.ParseSeconds(asked)
	if err != nil {
		return 0, lofn.Errorf(lofn.Invalid, "%s: %w", lofn.HeaderTimeout, err)
	}
	return d, nil
}

// shorten takes d for the call's time if that is less.
func (c *call) shorten(d time.Duration, setBy string) {
	if d > 0 && (c.timeout == 0 || d < c.timeout) {
		c.timeout, c.setBy = d, setBy
	}
}

// context returns a context that carries the call and ends with its deadline.
func (c *call) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, callKey{}, c)
	if c.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, c.deadline())
}

// deadline is the end of the call's time, zero if there is none.
func (c *call) deadline() time.Time {
	if c.timeout == 0 {
		return time.Time{}
	}
	return c.start.Add(c.timeout)
}

// remaining is how much of the deadline is left, as a header for the function.
func (c *call) remaining() string {
	left := max(c.timeout-time.Since(c.start), time.Millisecond)
	return left.Round(time.Millisecond).String()
}

// expired is the error of a call whose deadline has passed.
func (c *call) expired() error {
	return lofn.Errorf(lofn.DeadlineExceeded, "gateway: function %s did not finish within %v, as %s allows", c.ref, c.timeout, c.setBy)
}
