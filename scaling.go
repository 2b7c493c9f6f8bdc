package lofn

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Labels by which a function says how it wants to be scaled.
const (
	LabelScaleMin          = "com.openfaas.scale.min"
	LabelScaleMax          = "com.openfaas.scale.max"
	LabelScaleType         = "com.openfaas.scale.type"
	LabelScaleTarget       = "com.openfaas.scale.target"
	LabelScaleProportion   = "com.openfaas.scale.target-proportion"
	LabelScaleZero         = "com.openfaas.scale.zero"
	LabelScaleZeroDuration = "com.openfaas.scale.zero-duration"
	LabelScaleDownWindow   = "com.openfaas.scale.down.window"
	LabelScaleFactor       = "com.openfaas.scale.factor"
)

// Annotations that add to what the labels can say.
const (
	// AnnotationWarm names times at which a function that may be scaled to
	// zero keeps its replicas: cron expressions, separated by semicolons.
	AnnotationWarm = "lofn.dev/warm"
	// AnnotationScaleQuery is a PromQL expression for the load of a function
	// whose scaling type is a name of its own.
	AnnotationScaleQuery = "lofn.dev/scale-query"
)

// ScaleType names what a function's load is measured in.
type ScaleType string

// The types that the platform measures itself. Any other is the name of a
// query to Prometheus.
const (
	// ScaleByRequests counts calls that begin, per second.
	ScaleByRequests ScaleType = "rps"
	// ScaleByCapacity counts calls in flight, those that wait included.
	ScaleByCapacity ScaleType = "capacity"
	// ScaleByCPU is processor time in thousandths of a core.
	ScaleByCPU ScaleType = "cpu"
	// ScaleByMemory is resident memory in bytes.
	ScaleByMemory ScaleType = "memory"
	// ScaleByQueue counts asynchronous calls that wait or run.
	ScaleByQueue ScaleType = "queue"
)

// Measured reports whether the platform measures the type itself.
func (t ScaleType) Measured() bool {
	switch t {
	case ScaleByRequests, ScaleByCapacity, ScaleByCPU, ScaleByMemory, ScaleByQueue:
		return true
	}
	return false
}

// Defaults of the labels, those of OpenFaaS Pro but for the window: that one
// goes down at once.
const (
	DefaultScaleMax     = 20
	DefaultScaleTarget  = 50
	DefaultProportion   = 0.90
	DefaultZeroDuration = 15 * time.Minute
	DefaultDownWindow   = 2 * time.Minute
	DefaultScaleFactor  = 20 // percent of the most for each alert
)

// maxDownWindow is the bound that OpenFaaS sets.
const maxDownWindow = 5 * time.Minute

// Scaling is how a function wants to be scaled.
type Scaling struct {
	// Min is the count that a fresh deployment starts with, 1 by default, and
	// below which a scaler goes only to zero.
	Min int
	// Max is the most that a scaler or a person may ask for; 0 means that there
	// is no bound for persons. A scaler's is Most.
	Max int
	// Type is empty if the function is not scaled by its load.
	Type ScaleType
	// Target is the load that one replica is meant to have, in Type's unit, and
	// Proportion the part of it that is planned with.
	Target, Proportion float64
	// Zero lets the function go to zero replicas when it had no call for
	// ZeroDuration.
	Zero         bool
	ZeroDuration time.Duration
	// DownWindow is how far back the highest count counts when it goes down.
	DownWindow time.Duration
	// Factor is by how many percent of Most an alert raises the count; 0 means
	// that alerts are ignored.
	Factor int
	// Query measures a Type that the platform does not, "" for the series that
	// OpenFaaS' recording rules make.
	Query string
	// Warm is the text of AnnotationWarm.
	Warm string
}

// Most is the most replicas that a scaler asks for.
func (s Scaling) Most() int { return cmp.Or(s.Max, max(s.Min, DefaultScaleMax)) }

// PerReplica is the load of one replica that the count is planned with.
func (s Scaling) PerReplica() float64 { return s.Target * s.Proportion }

// Scaling reads what the function says about its scaling. Where it also says
// how many calls a replica takes, no more are planned with.
func (f Function) Scaling() (Scaling, error) {
	s, err := f.Spec.Scaling()
	if err != nil || s.Type != ScaleByCapacity {
		return s, err
	}
	policy, err := f.Policy()
	if limit := float64(policy.MaxInflight); limit > 0 && limit < s.PerReplica() {
		s.Target, s.Proportion = limit, 1
	}
	return s, err
}

// Scaling reads the labels and annotations about scaling. The error names the
// first that makes no sense.
func (s Spec) Scaling() (Scaling, error) {
	l := labels{of: s.Labels}
	scaling := Scaling{
		Min:          l.count(LabelScaleMin, 1),
		Max:          l.count(LabelScaleMax, 0),
		Zero:         l.bool(LabelScaleZero),
		ZeroDuration: l.duration(LabelScaleZeroDuration, DefaultZeroDuration),
		DownWindow:   l.duration(LabelScaleDownWindow, DefaultDownWindow),
		Factor:       l.percent(LabelScaleFactor, DefaultScaleFactor),
		Type:         l.scaleType(),
		Query:        strings.TrimSpace(s.Annotations[AnnotationScaleQuery]),
		Warm:         strings.TrimSpace(s.Annotations[AnnotationWarm]),
	}
	scaling.Target = l.target(scaling.Type)
	scaling.Proportion = l.proportion()
	return scaling, cmp.Or(l.err, scaling.contradiction())
}

// contradiction is about values that are fine each by itself.
func (s Scaling) contradiction() error {
	switch {
	case s.Max != 0 && s.Max < s.Min:
		return Errorf(Invalid, "labels: %s (%d) is below %s (%d)", LabelScaleMax, s.Max, LabelScaleMin, s.Min)
	case s.DownWindow > maxDownWindow:
		return Errorf(Invalid, "labels: %s: %v is too long: at most %v", LabelScaleDownWindow, s.DownWindow, maxDownWindow)
	case s.Zero && s.ZeroDuration == 0:
		return Errorf(Invalid, "labels: %s: must be longer than 0: a function that no call needs goes to zero after it", LabelScaleZeroDuration)
	case s.Query != "" && (s.Type == "" || s.Type.Measured()):
		return Errorf(Invalid, "annotations: %s: needs a %s of its own, with another name than rps, capacity, queue, cpu or memory", AnnotationScaleQuery, LabelScaleType)
	}
	return nil
}

// labels reads values and keeps the first error.
type labels struct {
	of  map[string]string
	err error
}

func (l *labels) fail(name, text, want string) {
	if l.err == nil {
		l.err = Errorf(Invalid, "labels: %s: %q is not %s", name, text, want)
	}
}

func (l *labels) count(name string, missing int) int {
	text, ok := l.of[name]
	if !ok {
		return missing
	}
	n, err := count("labels", name, text, 0, maxReplicas)
	l.err = cmp.Or(l.err, err)
	return n
}

func (l *labels) bool(name string) bool {
	text, ok := l.of[name]
	value, err := strconv.ParseBool(text)
	if ok && err != nil {
		l.fail(name, text, "a truth value: use true or false")
	}
	return value
}

func (l *labels) duration(name string, missing time.Duration) time.Duration {
	text, ok := l.of[name]
	if !ok {
		return missing
	}
	d, err := ParseSeconds(text)
	if err != nil {
		l.fail(name, text, "a duration: use a number with a unit, such as 30s or 5m")
	}
	return d
}

func (l *labels) percent(name string, missing int) int {
	text, ok := l.of[name]
	if !ok {
		return missing
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 100 {
		l.fail(name, text, "a percentage: use a whole number from 0 to 100")
	}
	return n
}

// scaleType is what the label says. A function that does not name a type is
// scaled by the requests that it gets, as OpenFaaS Pro does, if it says
// anything else about being scaled by load.
func (l *labels) scaleType() ScaleType {
	text, ok := l.of[LabelScaleType]
	if ok && !typePattern(text) {
		l.fail(LabelScaleType, text, fmt.Sprintf("a scaling type: use %s, %s, %s, %s, %s, or the name of a query to Prometheus",
			ScaleByRequests, ScaleByCapacity, ScaleByQueue, ScaleByCPU, ScaleByMemory))
	}
	if ok {
		return ScaleType(text)
	}
	for _, name := range []string{LabelScaleTarget, LabelScaleProportion, LabelScaleDownWindow} {
		if _, ok := l.of[name]; ok {
			return ScaleByRequests
		}
	}
	if _, byAlert := l.of[LabelScaleFactor]; !byAlert && l.count(LabelScaleMax, 0) > l.count(LabelScaleMin, 1) {
		return ScaleByRequests
	}
	return ""
}

// typePattern reports whether the text can be a label's value in a query.
func typePattern(text string) bool {
	return text != "" && len(text) <= 63 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

func (l *labels) target(t ScaleType) float64 {
	text, ok := l.of[LabelScaleTarget]
	if t == ScaleByMemory {
		return l.memoryTarget(text)
	}
	if !ok {
		return DefaultScaleTarget
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !(value > 0) || value > 1e15 {
		l.fail(LabelScaleTarget, text, "a load for each replica: use a number above 0")
	}
	return value
}

func (l *labels) memoryTarget(text string) float64 {
	n, err := parseQuantity(text, 1)
	if err != nil || n < minMemory {
		l.fail(LabelScaleTarget, text, "an amount of memory for each replica: use bytes with a unit, such as 256Mi, and at least 4Mi")
	}
	return float64(n)
}

func (l *labels) proportion() float64 {
	text, ok := l.of[LabelScaleProportion]
	if !ok {
		return DefaultProportion
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !(value > 0) || value > 1 {
		l.fail(LabelScaleProportion, text, "a part of the target: use a number above 0 and up to 1, such as 0.9")
	}
	return value
}

// count reads a number of things, in the field and by the name given.
func count(field, name, text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, Errorf(Invalid, "%s: %s: %q is not a count: use a whole number from %d to %d", field, name, text, least, most)
	}
	return n, nil
}

// maxReplicas bounds what one function may ask for, so that a slip of the
// finger cannot fill the machine's process table.
const maxReplicas = 10_000

// ValidateReplicas reports whether a person may ask for n replicas.
func (s Spec) ValidateReplicas(n int) error {
	scaling, err := s.Scaling()
	if err != nil {
		return err
	}
	highest := cmp.Or(scaling.Max, maxReplicas)
	if n < 0 || n > highest {
		return Errorf(Invalid, "replicas: must be from 0 to %d, not %d", highest, n)
	}
	return nil
}

// Load is how busy a function is, by the pool's own count.
type Load struct {
	// InFlight calls are on replicas, Waiting ones wait for a free one.
	InFlight, Waiting int
	// Backlog is how many asynchronous calls wait or run, counted for functions
	// that are scaled by it.
	Backlog int
	// Started counts the calls that came since the function was declared.
	Started uint64
	// Ready replicas take calls.
	Ready int
	// Failing says that no replica is ready, and that one has failed.
	Failing bool
}

// Calls is how many calls there are.
func (l Load) Calls() int { return l.InFlight + l.Waiting }

// ScalingStatus tells what a scaler last decided for a function, and from which
// numbers.
type ScalingStatus struct {
	Type ScaleType `json:"type,omitempty"`
	// Load is what was measured, of all replicas, and PerReplica what one is
	// planned with, in Type's unit.
	Load       float64 `json:"load"`
	PerReplica float64 `json:"perReplica,omitempty"`
	Min        int     `json:"min"`
	Max        int     `json:"max"`
	Replicas   int     `json:"replicas"`
	// Reason says in words why it is so many, and Since from when on it is.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Problem says what keeps the scaler from deciding, if something does: then
	// the last decision stands.
	Problem string `json:"problem,omitempty"`
}
