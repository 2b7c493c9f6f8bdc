package simulate

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// Trace is a record of calls, or what makes one up. It can be read more than
// once, and need not be held in memory.
type Trace interface {
	// Functions are those that are called.
	Functions() []Function
	// Start is when the trace begins, zero if it does not say.
	Start() time.Time
	// Length is the time from the beginning to the end.
	Length() time.Duration
	// Open returns the calls, in the order in which they come.
	Open() (Calls, error)
}

// Function is a function that a trace is about.
type Function struct {
	lofn.Ref
	// Memory is what a replica takes in bytes, 0 if the trace does not say.
	Memory int64
}

// Call is one call of a trace.
type Call struct {
	// At is when it comes, from the beginning of the trace on.
	At time.Duration
	// Function is its place in the trace's Functions.
	Function int
	// Duration is how long a replica works on it.
	Duration time.Duration
}

// Calls are the calls of a trace, one after the other. Next ends with io.EOF.
type Calls interface {
	Next() (Call, error)
	Close() error
}

// Recorded is a trace in memory. Its calls are in the order in which they come.
type Recorded struct {
	Of    []Function
	Calls []Call
	Began time.Time
}

// Functions implements Trace.
func (r *Recorded) Functions() []Function { return r.Of }

// Start implements Trace.
func (r *Recorded) Start() time.Time { return r.Began }

// Length implements Trace.
func (r *Recorded) Length() time.Duration {
	if len(r.Calls) == 0 {
		return 0
	}
	return r.Calls[len(r.Calls)-1].At
}

// Open implements Trace.
func (r *Recorded) Open() (Calls, error) { return &replay{rest: r.Calls}, nil }

// replay goes through recorded calls.
type replay struct{ rest []Call }

// Next implements Calls.
func (r *replay) Next() (Call, error) {
	if len(r.rest) == 0 {
		return Call{}, io.EOF
	}
	call := r.rest[0]
	r.rest = r.rest[1:]
	return call, nil
}

func (*replay) Close() error { return nil }

// Write writes a trace as CSV, as OpenFile reads it.
func Write(w io.Writer, t Trace) error {
	calls, err := t.Open()
	if err != nil {
		return err
	}
	defer calls.Close()
	out := bufio.NewWriterSize(w, 1<<16)
	functions := t.Functions()
	memory := slices.ContainsFunc(functions, func(f Function) bool { return f.Memory > 0 })
	head := "arrival,function,duration"
	if memory {
		head += ",memory"
	}
	_, _ = fmt.Fprintln(out, head)
	names := fields(functions)
	for line := []byte(nil); ; line = line[:0] {
		call, err := calls.Next()
		if err == io.EOF {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		f := functions[call.Function]
		line = appendSeconds(line, call.At)
		line = append(append(append(line, ','), names[call.Function]...), ',')
		line = appendSeconds(line, call.Duration)
		if memory {
			line = append(line, ',')
		}
		if f.Memory > 0 {
			line = strconv.AppendInt(line, f.Memory, 10)
		}
		_, _ = out.Write(append(line, '\n')) // Flush has the error
	}
}

// fields are the functions' names as fields of CSV, without the namespace that
// nobody writes.
func fields(functions []Function) (names []string) {
	for _, f := range functions {
		name := f.Host()
		if f.Namespace == lofn.DefaultNamespace && lofn.ParseHost(f.Name) == f.Ref {
			name = f.Name
		}
		var quoted strings.Builder
		w := csv.NewWriter(&quoted)
		_ = w.Write([]string{name}) // a strings.Builder takes everything
		w.Flush()
		names = append(names, strings.TrimSuffix(quoted.String(), "\n"))
	}
	return names
}

// appendSeconds writes a duration in seconds, to the nanosecond.
func appendSeconds(to []byte, d time.Duration) []byte {
	return strconv.AppendFloat(to, d.Seconds(), 'f', 9, 64)
}
