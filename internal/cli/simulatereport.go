package cli

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"lofn/internal/simulate"
)

// outcome is what came of one policy.
type outcome struct {
	Policy string `json:"policy"`
	simulate.Report
}

// simulate tries all policies, as many at a time as there are processors.
func (s *simulation) simulate(ctx context.Context, c simulate.Config, policies []policy) ([]outcome, error) {
	outcomes, errs := make([]outcome, len(policies)), make([]error, len(policies))
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, policy := range policies {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			c := c
			c.Deploy = policy.deploy
			report, err := simulate.Run(ctx, c)
			report.Functions = report.Functions[:min(len(report.Functions), max(s.perFunction, 0))]
			outcomes[i], errs[i] = outcome{policy.name, report}, err
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && len(policies) > 1 {
			return nil, fmt.Errorf("%s: %w", policies[i].name, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// figuresHead names the columns of row.
var figuresHead = []string{"Calls", "Cold", "Wait p50", "p99", "max", "Refused", "Replica-h", "GiB-h", "Peak", "Changes/h"}

// row are figures as cells of a table.
func row(f simulate.Figures, length time.Duration) []string {
	const gibHour = float64(1<<30) * 3600
	peak := "-"
	if f.PeakReplicas > 0 {
		peak = strconv.Itoa(f.PeakReplicas)
	}
	return []string{
		number(f.Calls), fmt.Sprintf("%d (%s)", f.ColdStarts, percent(f.ColdStarts, f.Calls)),
		briefly(f.Wait.P50), briefly(f.Wait.P99), briefly(f.Wait.Max), number(f.Refused),
		decimal(f.ReplicaSeconds / 3600), decimal(f.MemorySeconds / gibHour), peak, decimal(float64(f.Changes) / length.Hours()),
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func decimal(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func percent(part, of uint64) string {
	share := 100 * float64(part) / float64(max(of, 1))
	if part > 0 && share < 0.001 {
		return "<0.001%"
	}
	return strconv.FormatFloat(share, 'g', 2, 64) + "%"
}

// briefly is a duration with three digits or so.
func briefly(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func (s *simulation) print(outcomes []outcome) error {
	t := newTable(s.p.Stdout, append([]string{"Settings"}, figuresHead...)...)
	for _, o := range outcomes {
		t.row(append([]string{o.Policy}, row(o.Total, o.Length)...)...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	s.remark(outcomes)
	for _, o := range outcomes {
		if err := s.printFunctions(o); err != nil {
			return err
		}
	}
	s.p.outf("\n%s", sparks(outcomes))
	return nil
}

// remark says what is out of the ordinary.
func (s *simulation) remark(outcomes []outcome) {
	for _, o := range outcomes {
		for _, fact := range []struct {
			n    uint64
			text string
		}{
			{o.Total.Late, "calls waited so long that their time (exec_timeout) would have run out"},
			{o.Total.Stranded, "calls still waited when nothing more could happen: there is no room for a replica"},
			{o.Total.Delayed, "starts of replicas had to wait until a machine had room"},
			{o.Total.Flaps, "times a function got replicas back that it had lost within the minute before"},
		} {
			if fact.n > 0 {
				s.p.outf("%s: %d %s\n", o.Policy, fact.n, fact.text)
			}
		}
	}
}

func (s *simulation) printFunctions(o outcome) error {
	if len(o.Functions) == 0 {
		return nil
	}
	s.p.outf("\n%s, by function:\n", o.Policy)
	t := newTable(s.p.Stdout, append([]string{"Function"}, figuresHead...)...)
	for _, f := range o.Functions {
		t.row(append([]string{f.Function}, row(f.Figures, o.Length)...)...)
	}
	return t.flush()
}

// curves are what is drawn of a series.
var curves = []struct {
	name string
	// same says that it does not depend on the settings.
	same bool
	of   func(simulate.Point) float64
}{
	{"calls/s", true, func(p simulate.Point) float64 { return p.Calls }},
	{"replicas", false, func(p simulate.Point) float64 { return float64(p.Replicas) }},
	{"waiting", false, func(p simulate.Point) float64 { return float64(p.Waiting) }},
}

// sparkWidth is how many characters a curve has.
const sparkWidth = 72

// sparks draws the series in characters, each kind of curve to one scale.
func sparks(outcomes []outcome) string {
	var b strings.Builder
	width := 0
	for _, o := range outcomes {
		width = max(width, len(o.Policy))
	}
	for _, curve := range curves {
		most := highest(outcomes, curve.of)
		for i, o := range outcomes {
			label := o.Policy
			if curve.same {
				label = ""
			}
			if curve.same && i > 0 {
				continue
			}
			fmt.Fprintf(&b, "%-8s  %-*s  %s  %s\n", curve.name, width, label, spark(o.Series, curve.of, most),
				decimal(highest([]outcome{o}, curve.of)))
		}
	}
	return b.String()
}

// highest is the most that a curve has in any of the series.
func highest(outcomes []outcome, of func(simulate.Point) float64) float64 {
	most := 0.0
	for _, o := range outcomes {
		for _, p := range o.Series {
			most = max(most, of(p))
		}
	}
	return most
}

// spark draws a curve; each character is the highest of its points.
func spark(points []simulate.Point, of func(simulate.Point) float64, most float64) string {
	levels := []rune(" ▁▂▃▄▅▆▇█")
	width := min(sparkWidth, len(points))
	line := make([]rune, width)
	for i := range width {
		high := 0.0
		for _, p := range points[i*len(points)/width : (i+1)*len(points)/width] {
			high = max(high, of(p))
		}
		level := 0
		if high > 0 {
			level = 1 + int(high/most*float64(len(levels)-2))
		}
		line[i] = levels[min(level, len(levels)-1)]
	}
	return string(line)
}
