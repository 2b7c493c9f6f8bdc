package lofn

import (
	"iter"
	"time"
)

// State is where a replica is in its life.
type State string

const (
	// Starting replicas are being made, or are not accepting yet.
	Starting State = "starting"
	// Ready replicas accept calls.
	Ready State = "ready"
	// Draining replicas finish the calls that they have and take no new ones.
	Draining State = "draining"
	// Failed replicas ended by themselves or could not start; the provider
	// tries again after a pause. Reason says why.
	Failed State = "failed"
	// Gone replicas have ended for good. A provider reports it once, last.
	Gone State = "gone"
)

// Replica is one running copy of a function, as its provider sees it.
type Replica struct {
	Function Ref `json:"function"`
	// ID is unique among all replicas of the platform, over restarts too. It
	// is the "instance" of the log lines that the replica writes.
	ID string `json:"id"`
	// Generation is that of the Function which the replica runs.
	Generation int64 `json:"generation"`
	State      State `json:"state"`
	// Network and Address are what net.Dial takes to reach the replica's HTTP
	// server: "unix" and a path, or "tcp" and host:port. Empty before Ready.
	Network string `json:"network,omitempty"`
	Address string `json:"address,omitempty"`
	// Reason explains Starting and Failed to a person, in one line. On a
	// Ready replica that failed before it says how.
	Reason string `json:"reason,omitempty"`
	// Restarts counts how often the replica was started again after it failed.
	Restarts int `json:"restarts,omitempty"`
	// Failures counts how often it failed since it last served for a while.
	Failures int       `json:"failures,omitempty"`
	Since    time.Time `json:"since"`
	// Startup says of a replica that was Ready what its last start took.
	Startup Startup `json:"startup,omitzero"`
}

// Startup is how long the parts of a replica's start took, in nanoseconds and
// in their order. A part that its provider does not know is 0.
type Startup struct {
	// Wait is for its turn: only so many replicas start at one moment.
	Wait time.Duration `json:"wait,omitempty"`
	// Prepare is for what surrounds its processes.
	Prepare time.Duration `json:"prepare,omitempty"`
	// Exec is until its program was executed.
	Exec time.Duration `json:"exec,omitempty"`
	// Listen is the program's own time until it listened.
	Listen time.Duration `json:"listen,omitempty"`
	// Accept is until it was seen to accept connections.
	Accept time.Duration `json:"accept,omitempty"`
	// Standby is set if its process had started before it was needed.
	Standby bool `json:"standby,omitempty"`
}

// Parts yields the parts that are known, by name.
func (s Startup) Parts() iter.Seq2[string, time.Duration] {
	return func(yield func(string, time.Duration) bool) {
		for _, part := range []struct {
			name string
			took time.Duration
		}{{"wait", s.Wait}, {"prepare", s.Prepare}, {"exec", s.Exec}, {"listen", s.Listen}, {"accept", s.Accept}} {
			if part.took > 0 && !yield(part.name, part.took) {
				return
			}
		}
	}
}

// Total is what all parts took together.
func (s Startup) Total() (sum time.Duration) {
	for _, took := range s.Parts() {
		sum += took
	}
	return sum
}

// Lease is the right of one call to use one replica, from before its first
// byte is sent until its response has been read.
type Lease interface {
	Replica() Replica
	// Release ends the call. It may be called more than once.
	Release()
	// Refused ends the call and says that the replica took no connection, so
	// that others are preferred for a while.
	Refused()
}

// Usage is what the replicas of a function consume at the moment, summed.
type Usage struct {
	// MilliCPU is in thousandths of a core.
	MilliCPU    float64
	MemoryBytes float64
}

// LogLine is one line that a replica wrote to its standard output or error.
type LogLine struct {
	Function Ref
	Instance string
	Time     time.Time
	// Text is the line without its newline. It has no length limit.
	Text string
}

// LogQuery selects log lines of one function.
type LogQuery struct {
	Function Ref
	// Instance selects the lines of one replica, empty those of all.
	Instance string
	// Since leaves out lines that are older; zero means from the first kept.
	Since time.Time
	// Tail keeps the last so many of the lines selected; 0 or less means all.
	Tail int
	// Follow keeps the query going with lines as they are written, until the
	// context ends or the function is removed.
	Follow bool
}
