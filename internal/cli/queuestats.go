package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// queueStats are the flags of `queue stats`.
type queueStats struct {
	target
	output
	watch    bool
	interval time.Duration
}

// shortestInterval keeps a live view from being a load of its own.
const shortestInterval = 100 * time.Millisecond

func (p *program) queueStatsCommand() *cobra.Command {
	s := queueStats{target: target{p: p}}
	cmd := &cobra.Command{
		Use:     "stats",
		Aliases: []string{"top"},
		Short:   "Show what is queued, running and dead of each function",
		Long: `Shows what the queue holds of each function. Accepted, done and retried count since
the platform started. With --watch it goes on, and shows how many calls come and
are done in a second: on a terminal in place, elsewhere a line for each function at
each interval. Ctrl-C ends it.`,
		Example: "  lofn queue stats\n  lofn queue stats --watch --interval 5s\n  lofn queue stats --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	s.addGateway(cmd)
	s.output.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&s.namespace, "namespace", "n", "", "only functions of this namespace")
	flags.BoolVarP(&s.watch, "watch", "w", false, "go on until Ctrl-C")
	flags.DurationVar(&s.interval, "interval", time.Second, "with --watch: how often to look")
	return cmd
}

func (s *queueStats) run(cmd *cobra.Command) error {
	asJSON, err := s.wantsJSON()
	if err != nil {
		return err
	}
	if s.interval < shortestInterval {
		return fmt.Errorf("--interval: %s is too short: use %s or more", s.interval, shortestInterval)
	}
	c, err := s.connect(cmd)
	if err != nil {
		return err
	}
	now, err := s.read(cmd.Context(), c)
	switch {
	case err != nil:
		return noQueue(err, c)
	case s.watch:
		return s.follow(cmd.Context(), c, now, s.printer(asJSON))
	case asJSON:
		return s.p.outJSON(now.counts)
	}
	t := newTable(s.p.Stdout, append(countHead, "Accepted", "Done", "Retried")...)
	for _, q := range now.counts {
		t.row(append(now.cells(q), count(q.Accepted), count(done(q)), count(q.Retries))...)
	}
	return t.flush()
}

// countHead are the columns of what there is of a function.
var countHead = []string{"Function", "Queued", "Running", "Dead", "Oldest", "Callbacks"}

// withRates puts what happens in a second where a narrow terminal shows it too.
func withRates(cells []string, came, ended string) []string {
	return slices.Insert(slices.Clone(cells), 3, came, ended)
}

// reading is what the queue held at a moment.
type reading struct {
	at     time.Time
	counts []lofn.QueueCounts
}

func (s *queueStats) read(ctx context.Context, c *client.Client) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	counts, err := c.QueueCounts(ctx, s.namespace)
	slices.SortFunc(counts, func(a, b lofn.QueueCounts) int { return cmp.Compare(a.Function, b.Function) })
	return reading{time.Now(), counts}, err
}

// cells are the values of the columns of countHead.
func (r reading) cells(q lofn.QueueCounts) []string {
	oldest := "-"
	if q.Oldest != nil {
		oldest = age(r.at.Sub(*q.Oldest))
	}
	return []string{
		display(lofn.ParseHost(q.Function)), strconv.Itoa(q.Queued), strconv.Itoa(q.Running), strconv.Itoa(q.Dead), oldest,
		strconv.Itoa(q.Callbacks),
	}
}

// done counts the outcomes.
func done(q lofn.QueueCounts) uint64 { return q.Succeeded + q.Failed + q.Died + q.Cancelled }

// rates are how many calls came and how many were done in a second between two
// readings, "-" if that cannot be told: there is no reading before, or the
// platform was started again in between.
func (r reading) rates(q lofn.QueueCounts, before reading) (came, ended string) {
	i, found := slices.BinarySearchFunc(before.counts, q.Function, func(q lofn.QueueCounts, name string) int { return cmp.Compare(q.Function, name) })
	seconds := r.at.Sub(before.at).Seconds()
	if !found || seconds <= 0 || q.Accepted < before.counts[i].Accepted || done(q) < done(before.counts[i]) {
		return "-", "-"
	}
	rate := func(now, then uint64) string { return strconv.FormatFloat(float64(now-then)/seconds, 'f', 1, 64) }
	return rate(q.Accepted, before.counts[i].Accepted), rate(done(q), done(before.counts[i]))
}

// follow shows the queue again and again until the context ends. While the
// gateway is away it goes on trying.
func (s *queueStats) follow(ctx context.Context, c *client.Client, now reading, show func(now, before reading, broke error)) error {
	show(now, reading{}, nil)
	var before reading
	for pause(ctx, s.interval) {
		next, err := s.read(ctx, c)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !passes(err):
			return err
		case err == nil:
			before, now = now, next
		}
		show(now, before, err)
	}
	return ctx.Err()
}

// printer returns how a reading is shown. broke is why it is the last and not
// the present one.
func (s *queueStats) printer(asJSON bool) func(now, before reading, broke error) {
	if !asJSON && s.p.canDraw(s.p.Stdout) {
		view := canvas{p: s.p, w: s.p.Stdout}
		return func(now, before reading, broke error) { view.draw(s.view(now, before, broke)) }
	}
	print := s.printLines
	if asJSON {
		print = s.printJSON
	}
	away := false
	return func(now, before reading, broke error) {
		switch {
		case broke == nil:
			print(now, before)
		case !away:
			s.p.notef("%v; trying again\n", broke)
		}
		away = broke != nil
	}
}

func (s *queueStats) printJSON(now, _ reading) {
	line, err := json.Marshal(now.counts)
	if err == nil {
		s.p.outf("%s\n", line)
	}
}

func (s *queueStats) printLines(now, before reading) {
	for _, q := range now.counts {
		cells := now.cells(q)
		came, ended := now.rates(q, before)
		s.p.outf("%s %s queued=%s running=%s in/s=%s done/s=%s dead=%s oldest=%s callbacks=%s\n",
			now.at.Format(time.RFC3339), cells[0], cells[1], cells[2], came, ended, cells[3], cells[4], cells[5])
	}
}

// view is what a terminal shows: as many functions as it has room for, those
// with most to do if that is not all.
func (s *queueStats) view(now, before reading, broke error) []string {
	width, height := terminalSize(s.p.Stdout)
	room := max(height-4, 1) // the others: head, total, what is left out, and where the cursor is
	counts, hidden := now.counts, 0
	if hidden = len(counts) - room; hidden > 0 {
		counts = slices.Clone(counts)
		slices.SortStableFunc(counts, func(a, b lofn.QueueCounts) int { return cmp.Compare(load(b), load(a)) })
		counts = counts[:room]
	}
	var text bytes.Buffer
	t := newTable(&text, withRates(countHead, "In/s", "Done/s")...)
	row := func(now, before reading, q lofn.QueueCounts) {
		came, ended := now.rates(q, before)
		cells := now.cells(q)
		cells[0] = clip(cells[0], max(width/3, 10))
		t.row(withRates(cells, came, ended)...)
	}
	for _, q := range counts {
		row(now, before, q)
	}
	if len(now.counts) > 1 {
		sum := now.sum()
		row(sum, before.sum(), sum.counts[0])
	}
	_ = t.flush()
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	switch {
	case broke != nil:
		lines = append(lines, fmt.Sprintf("%v; trying again since %s", broke, now.at.Format(time.TimeOnly)))
	case hidden > 0:
		lines = append(lines, fmt.Sprintf("and %s with less to do", plural(hidden, "function")))
	}
	return lines
}

// load is how much there is to do for a function.
func load(q lofn.QueueCounts) int { return q.Queued + q.Running + q.Callbacks }

// sum is a reading of all functions as if they were one.
func (r reading) sum() reading {
	if len(r.counts) == 0 {
		return r
	}
	total := lofn.QueueCounts{Function: "Total"}
	for _, q := range r.counts {
		total.Queued += q.Queued
		total.Running += q.Running
		total.Dead += q.Dead
		total.Callbacks += q.Callbacks
		total.Accepted += q.Accepted
		total.Succeeded += q.Succeeded
		total.Failed += q.Failed
		total.Died += q.Died
		total.Cancelled += q.Cancelled
		if q.Oldest != nil && (total.Oldest == nil || q.Oldest.Before(*total.Oldest)) {
			total.Oldest = q.Oldest
		}
	}
	return reading{r.at, []lofn.QueueCounts{total}}
}
