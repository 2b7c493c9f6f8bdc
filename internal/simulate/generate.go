package simulate

import (
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"time"

	"lofn"
)

// Load describes a trace that is made up: calls that come by chance, and
// independently of each other, at a rate that changes over time.
type Load struct {
	// Kind is one of Kinds.
	Kind string
	// Functions are called; empty means Count of them, f1 and so on.
	Functions []lofn.Ref
	Count     int
	// Rate is how many calls come in a second to all functions together: on
	// average, or during the step. 0 means as many as is usual for the kind.
	Rate float64
	// Duration is how long calls take. In KindAzure zero means that it differs from
	// one function to the next.
	Duration Spread
	Length   time.Duration
	Seed     uint64
	// Bursts of KindBursty come Every so often to each function and last for
	// Burst, with Factor times the calls that come between them.
	Every, Burst time.Duration
	Factor       float64
}

// The kinds of loads.
const (
	// KindSteady has the same rate all the time.
	KindSteady = "steady"
	// KindDiurnal goes up and down once a day, from a tenth of the most at midnight.
	KindDiurnal = "diurnal"
	// KindBursty has bursts, each function at times of its own.
	KindBursty = "bursty"
	// KindStep has calls in the middle third only.
	KindStep = "step"
	// KindAzure has the shape of the workload in Shahrad et al., "Serverless in the
	// Wild" (USENIX ATC 2020): a few functions have nearly all calls.
	KindAzure = "azure"
)

// Kinds are the kinds of loads there are.
func Kinds() []string { return []string{KindSteady, KindDiurnal, KindBursty, KindStep, KindAzure} }

// Usual is a load of the kind with what is left out of l filled in.
func (l Load) usual() Load {
	usual := Load{Rate: 10, Length: time.Hour, Count: 1, Every: time.Minute, Burst: 5 * time.Second, Factor: 10}
	switch l.Kind {
	case KindDiurnal:
		usual.Length = 24 * time.Hour
	case KindStep:
		usual.Length = 15 * time.Minute
	case KindAzure:
		usual.Length, usual.Count, usual.Rate = 24*time.Hour, 100, 0
	}
	l.Rate, l.Length, l.Count = or(l.Rate, usual.Rate), or(l.Length, usual.Length), or(l.Count, usual.Count)
	l.Every, l.Burst, l.Factor = or(l.Every, usual.Every), or(l.Burst, usual.Burst), or(l.Factor, usual.Factor)
	if l.Kind != KindAzure && l.Duration == (Spread{}) {
		l.Duration = LogNormal(100*time.Millisecond, time.Second)
	}
	return l
}

func or[T comparable](value, usual T) T {
	if value == *new(T) {
		return usual
	}
	return value
}

// most functions that are made up.
const mostFunctions = 1_000_000

func (l Load) validate() error {
	switch {
	case !slices.Contains(Kinds(), l.Kind):
		return lofn.Errorf(lofn.Invalid, "%q is not a kind of load: use steady, diurnal, bursty, step or azure", l.Kind)
	case l.Count < 1 || l.Count > mostFunctions:
		return lofn.Errorf(lofn.Invalid, "functions: %d is not a number of functions: use 1 to %d", l.Count, mostFunctions)
	case !(l.Rate >= 0 && l.Rate <= 1e7):
		return lofn.Errorf(lofn.Invalid, "rate: %v is not a rate: use calls per second, above 0 and up to 10 million", l.Rate)
	case l.Length < 0 || l.Length > longest:
		return lofn.Errorf(lofn.Invalid, "length: %v is not a length: use a duration such as 24h", l.Length)
	case l.Burst < 0 || l.Burst > l.Every:
		return lofn.Errorf(lofn.Invalid, "bursts: one that lasts %v cannot come every %v", l.Burst, l.Every)
	case !(l.Factor >= 1):
		return lofn.Errorf(lofn.Invalid, "bursts: the factor %v would make them less than what is between: use 1 or more", l.Factor)
	}
	return nil
}

// Generate returns the trace. It is made anew, and the same, each time that it
// is read.
func Generate(l Load) (Trace, error) {
	if l = l.usual(); len(l.Functions) > 0 {
		l.Count = len(l.Functions)
	}
	if err := l.validate(); err != nil {
		return nil, err
	}
	for i := len(l.Functions); i < l.Count; i++ {
		l.Functions = append(l.Functions, lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "f" + strconv.Itoa(i+1)})
	}
	g := &generated{Load: l, durations: make([]Spread, l.Count), phases: make([]time.Duration, l.Count)}
	random := rand.New(rand.NewPCG(l.Seed, 2))
	rates := slices.Repeat([]float64{1}, l.Count)
	for i := range l.Count {
		g.durations[i] = l.Duration
		g.phases[i] = time.Duration(random.Int64N(int64(l.Every)))
	}
	if l.Kind == KindAzure {
		rates = g.azure(random)
	}
	g.weigh(rates)
	return g, nil
}

// generated is a Load as a trace.
type generated struct {
	Load
	durations []Spread
	// phases are when in Every a function has its bursts.
	phases []time.Duration
	// shares add up the functions' parts of all calls, to 1.
	shares []float64
	// peak is the rate at the busiest time.
	peak float64
}

func (g *generated) weigh(rates []float64) {
	total := 0.0
	for _, rate := range rates {
		total += rate
		g.shares = append(g.shares, total)
	}
	for i := range g.shares {
		g.shares[i] /= total
	}
	if g.Rate == 0 {
		g.Rate = total
	}
	g.peak = g.Rate / g.mean()
}

// Functions implements Trace.
func (g *generated) Functions() []Function {
	functions := make([]Function, g.Count)
	for i, ref := range g.Load.Functions {
		functions[i].Ref = ref
	}
	return functions
}

// Start implements Trace.
func (*generated) Start() time.Time { return time.Time{} }

// Length implements Trace.
func (g *generated) Length() time.Duration { return g.Load.Length }

// Open implements Trace.
func (g *generated) Open() (Calls, error) {
	return &chance{generated: g, random: rand.New(rand.NewPCG(g.Seed, 3))}, nil
}

// chance draws the calls: a Poisson process at the peak's rate, of which so many
// are left out that the rest has the rate of the moment.
type chance struct {
	*generated
	random *rand.Rand
	at     float64 // seconds
}

// Next implements Calls.
func (c *chance) Next() (Call, error) {
	for {
		c.at += c.random.ExpFloat64() / c.peak
		at := seconds(c.at)
		if at >= c.Load.Length {
			return Call{}, io.EOF
		}
		function := 0
		if c.Count > 1 {
			function = min(sort.SearchFloat64s(c.shares, c.random.Float64()), c.Count-1)
		}
		if part := c.part(at, function); part < 1 && c.random.Float64() >= part {
			continue
		}
		return Call{At: at, Function: function, Duration: c.durations[function].draw(c.random)}, nil
	}
}

func (*chance) Close() error { return nil }

// Rates at the quietest time of a day, as parts of the busiest. That of Azure is
// from the paper's Figure 4.
const (
	nightly      = 0.1
	azureNightly = 0.5
)

// part is how much of its peak's rate a function has at a time.
func (g *generated) part(at time.Duration, function int) float64 {
	switch g.Kind {
	case KindDiurnal:
		return daily(at, nightly)
	case KindAzure:
		return daily(at, azureNightly)
	case KindBursty:
		if (at+g.phases[function])%g.Every >= g.Burst {
			return 1 / g.Factor
		}
	case KindStep:
		if third := g.Load.Length / 3; at < third || at >= 2*third {
			return 0
		}
	}
	return 1
}

// daily goes from its lowest at midnight to 1 at noon and back.
func daily(at time.Duration, lowest float64) float64 {
	return lowest + (1-lowest)*(1-math.Cos(2*math.Pi*at.Hours()/24))/2
}

// mean is the average of part; that of a step is while it lasts.
func (g *generated) mean() float64 {
	switch g.Kind {
	case KindDiurnal:
		return (1 + nightly) / 2
	case KindAzure:
		return (1 + azureNightly) / 2
	case KindBursty:
		bursting := float64(g.Burst) / float64(g.Every)
		return bursting + (1-bursting)/g.Factor
	}
	return 1
}
