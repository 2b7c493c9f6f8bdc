package simulate

import (
	"cmp"
	"slices"
	"time"
)

// Report is what came of a simulation.
type Report struct {
	// Length is how much time was simulated.
	Length time.Duration `json:"length"`
	Total  Figures       `json:"total"`
	// Functions are those of the trace, the most called one first.
	Functions []FunctionFigures `json:"functions"`
	Series    []Point           `json:"series"`
}

// Figures say how callers and machines fared.
type Figures struct {
	// Calls came; each of them was Served, Refused because too many waited, or
	// Stranded: it still waited when nothing more could happen.
	Calls    uint64 `json:"calls"`
	Served   uint64 `json:"served"`
	Refused  uint64 `json:"refused"`
	Stranded uint64 `json:"stranded"`
	// ColdStarts are calls that waited for a replica which got ready after they
	// came, Waited all that waited for one.
	ColdStarts uint64 `json:"coldStarts"`
	Waited     uint64 `json:"waited"`
	// Late are calls that were served but waited so long that their time
	// (exec_timeout) would have run out; not those that take longer by themselves.
	Late uint64 `json:"late"`
	Wait Waits  `json:"wait"`
	// Starts of replicas; Delayed is how often one found no room at first.
	Starts  uint64 `json:"starts"`
	Delayed uint64 `json:"delayed"`
	// ReplicaSeconds and MemorySeconds (bytes times seconds) are counted from the
	// start of a replica to its end, BusySeconds are those of calls.
	ReplicaSeconds float64 `json:"replicaSeconds"`
	MemorySeconds  float64 `json:"memorySeconds"`
	BusySeconds    float64 `json:"busySeconds"`
	// PeakReplicas is the most there were at a time, PeakMemory in bytes. They are
	// 0 for single functions.
	PeakReplicas int   `json:"peakReplicas,omitempty"`
	PeakMemory   int64 `json:"peakMemory,omitempty"`
	// Changes are the scaler's; Flaps are those by which a function got replicas
	// back that it had lost within the minute before.
	Changes uint64 `json:"changes"`
	Flaps   uint64 `json:"flaps"`
}

// Waits are how long calls waited for a replica, those that did not included.
type Waits struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// FunctionFigures are those of one function.
type FunctionFigures struct {
	Function string `json:"function"`
	Figures
}

// report sums up. What still runs counts until now.
func (s *simulation) report() Report {
	r := Report{Length: s.now, Series: s.recorder.points}
	for _, f := range s.functions {
		for _, replica := range f.replicas {
			if replica.node != nil {
				f.figures.lived += s.now - replica.placed
			}
		}
		figures := f.figures.sum(f.need.memory)
		r.Total.add(figures)
		r.Functions = append(r.Functions, FunctionFigures{Function: f.deployed.Host(), Figures: figures})
	}
	slices.SortStableFunc(r.Functions, func(a, b FunctionFigures) int { return cmp.Compare(b.Calls, a.Calls) })
	r.Total.Wait = s.recorder.waits.summary(r.Total.Served)
	r.Total.ReplicaSeconds, r.Total.MemorySeconds = s.recorder.replicaTime, s.recorder.memoryTime
	r.Total.PeakReplicas, r.Total.PeakMemory = s.recorder.peak, s.recorder.peakMemory
	return r
}

func (w *waits) summary(calls uint64) Waits {
	return Waits{P50: w.percentile(0.50, calls), P99: w.percentile(0.99, calls), Max: w.max}
}

func (f *figures) sum(memory int64) Figures {
	return Figures{
		Calls: f.calls, Served: f.ended, Refused: f.refused, Stranded: f.calls - f.begun - f.refused,
		ColdStarts: f.cold, Waited: f.waits.n, Late: f.late, Wait: f.waits.summary(f.ended),
		Starts: f.starts, Delayed: f.delayed,
		ReplicaSeconds: f.lived.Seconds(), MemorySeconds: f.lived.Seconds() * float64(memory), BusySeconds: f.busy.Seconds(),
		Changes: f.changes, Flaps: f.flaps,
	}
}

func (t *Figures) add(f Figures) {
	t.Calls += f.Calls
	t.Served += f.Served
	t.Refused += f.Refused
	t.Stranded += f.Stranded
	t.ColdStarts += f.ColdStarts
	t.Waited += f.Waited
	t.Late += f.Late
	t.Starts += f.Starts
	t.Delayed += f.Delayed
	t.BusySeconds += f.BusySeconds
	t.Changes += f.Changes
	t.Flaps += f.Flaps
}
