package cli

import (
	"strings"
	"time"

	"lofn"
)

// crashes knows the lines of instances that crash at their start and are
// started again, to show a traceback once and not on every attempt.
type crashes map[string]*crash

// crash is one instance between two starts.
type crash struct {
	// before are the lines of the run that crashed, nil if it was none that
	// crashes again and again.
	before []string
	// now are the lines of the run that goes on, first is when it began to
	// write, and same says that it wrote what the one before did.
	now   []string
	first time.Time
	same  bool
}

const (
	// exitPrefix begins the line that the platform writes into the log when an
	// instance ends by itself.
	exitPrefix = "lofn: exited "
	// A run that writes for longer, or more lines, has started.
	longestStart, longestTrace = 5 * time.Second, 200
)

// repeats records a line and reports whether the run before wrote the same up
// to here.
func (c crashes) repeats(line lofn.LogMessage) bool {
	run := c[line.Instance]
	if run == nil {
		run = &crash{}
		c[line.Instance] = run
	}
	if strings.HasPrefix(line.Text, exitPrefix) {
		return run.end(line.Timestamp)
	}
	if len(run.now) == 0 {
		run.first, run.same = line.Timestamp, run.before != nil
	}
	at := len(run.now)
	run.same = run.same && at < len(run.before) && run.before[at] == line.Text
	if at < longestTrace {
		run.now = append(run.now, line.Text)
	}
	return run.same
}

// end ends a run and reports whether it was the one before over again.
func (r *crash) end(at time.Time) bool {
	again := r.same && len(r.now) == len(r.before) || r.before != nil && len(r.now)+len(r.before) == 0
	*r = crash{before: r.startOnly(at)}
	return again
}

// startOnly are the lines of a run that ended soon after its start, nil if it
// was none such.
func (r *crash) startOnly(at time.Time) []string {
	if len(r.now) >= longestTrace || len(r.now) > 0 && at.Sub(r.first) > longestStart {
		return nil
	}
	return append([]string{}, r.now...)
}
