package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// description is what `describe --json` prints: the API's fields, and what
// the command knows besides.
type description struct {
	lofn.FunctionStatus
	// InvocationCount is printed where it is 0 too, unlike the API's.
	InvocationCount int    `json:"invocationCount"`
	Status          string `json:"status"`
	// UpdateFailing says why the version that was deployed last does not
	// start, while the one before it serves.
	UpdateFailing string `json:"updateFailing,omitempty"`
	URL           string `json:"url"`
	AsyncURL      string `json:"asyncUrl"`
}

func (p *program) describeCommand() *cobra.Command {
	t, out, verbose := target{p: p}, output{}, false
	cmd := &cobra.Command{
		Use:               "describe NAME",
		Short:             "Show one function and each of its instances",
		Example:           "  lofn describe hello\n  lofn describe hello --namespace dev --json",
		Args:              oneFunction,
		ValidArgsFunction: t.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			d, err := t.describe(cmd, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return p.outJSON(d)
			}
			return p.printDescription(d, verbose)
		},
	}
	t.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print empty fields too")
	return cmd
}

// oneFunction is the argument check of commands about one function.
func oneFunction(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the name of one function, not %d", len(args))
	}
	return nil
}

func (t *target) describe(cmd *cobra.Command, name string) (description, error) {
	ref, err := t.ref(cmd, name)
	if err != nil {
		return description{}, err
	}
	c, err := t.connect(cmd)
	if err != nil {
		return description{}, err
	}
	ctx, cancel := apiContext(cmd)
	defer cancel()
	status, err := c.Function(ctx, ref)
	if err != nil {
		return description{}, noSuchFunction(err, ref)
	}
	// Only the list has the number of calls.
	functions, err := c.Functions(ctx, ref.Namespace)
	if err != nil {
		return description{}, err
	}
	for _, f := range functions {
		if f.Name == status.Name {
			status.InvocationCount = f.InvocationCount
		}
	}
	return describe(c, status), nil
}

func describe(c *client.Client, status lofn.FunctionStatus) description {
	ref := lofn.Ref{Namespace: status.Namespace, Name: status.Name}
	d := description{
		FunctionStatus: status, InvocationCount: int(status.InvocationCount), Status: "Not Ready",
		UpdateFailing: updateFailing(status), URL: functionURL(c, ref, "function"), AsyncURL: functionURL(c, ref, "async-function"),
	}
	d.Instances = slices.Clone(status.Instances)
	for i := range d.Instances {
		// How the gateway reaches an instance is between the two of them.
		d.Instances[i].Network, d.Instances[i].Address = "", ""
	}
	switch {
	case status.AvailableReplicas > 0:
		d.Status = "Ready"
	case status.Replicas == 0:
		d.Status = "Idle"
	}
	return d
}

// updateFailing is why the instances of the newest generation fail, if those of
// an older one serve instead.
func updateFailing(status lofn.FunctionStatus) string {
	reason := ""
	for _, instance := range newest(status) {
		if instance.State == lofn.Ready {
			return ""
		}
		if instance.State == lofn.Failed || instance.Restarts > 0 {
			reason = instance.Reason
		}
	}
	if status.AvailableReplicas == 0 {
		return ""
	}
	return reason
}

func functionURL(c *client.Client, ref lofn.Ref, road string) string {
	return c.URL() + "/" + road + "/" + display(ref)
}

// noSuchFunction names what was not found; other errors stay as they are.
func noSuchFunction(err error, ref lofn.Ref) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	where := "run \"lofn list\" to see what there is"
	if ref.Namespace != "" {
		where = fmt.Sprintf("run \"lofn list --namespace %s\" to see what there is", ref.Namespace)
	}
	return lofn.Errorf(lofn.NotFound, "no such function: %s; %s", display(ref), where)
}

// sheet prints fields under each other, and empty ones only if all is set.
type sheet struct {
	w   *tabwriter.Writer
	all bool
}

func newSheet(w io.Writer, all bool) sheet {
	return sheet{tabwriter.NewWriter(w, 0, 0, 1, ' ', 0), all}
}

func (s sheet) line(name, value string) {
	if value == "" {
		if !s.all {
			return
		}
		value = "<none>"
	}
	_, _ = fmt.Fprintf(s.w, "%s:\t%s\n", name, value)
}

func (s sheet) list(name string, values []string) {
	if len(values) == 0 {
		s.line(name, "")
		return
	}
	s.line(name, values[0])
	for _, value := range values[1:] {
		_, _ = fmt.Fprintf(s.w, "\t%s\n", value)
	}
}

func (s sheet) pairs(name string, values map[string]string) {
	lines := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, key+": "+values[key])
	}
	s.list(name, lines)
}

func (p *program) printDescription(d description, verbose bool) error {
	s := newSheet(p.Stdout, verbose)
	s.line("Name", d.Name)
	s.line("Namespace", d.Namespace)
	s.line("Status", d.state())
	s.line("Replicas", count(d.Replicas))
	s.line("Available Replicas", count(d.AvailableReplicas))
	s.list("Scaling", scaling(d.Scaling))
	s.line("Invocations", strconv.Itoa(d.InvocationCount))
	s.line("Image", d.Image)
	s.line("Digest", d.Digest)
	s.line("Runtime", d.Runtime)
	s.line("Function Process", orDefault(d.EnvProcess))
	s.line("URL", d.URL)
	s.line("Async URL", d.AsyncURL)
	if !d.CreatedAt.IsZero() {
		s.line("Created", d.CreatedAt.Format(time.RFC3339))
	}
	s.pairs("Labels", d.Labels)
	s.pairs("Annotations", d.Annotations)
	s.list("Constraints", d.Constraints)
	s.pairs("Environment", d.EnvVars)
	s.pairs("Image Defaults", d.Defaults)
	s.list("Secrets", d.Secrets)
	s.list("Requests", resources(d.Requests))
	s.list("Limits", resources(d.Limits))
	s.list("Usage", usage(d.Usage))
	if err := s.w.Flush(); err != nil {
		return err
	}
	return p.printInstances(d.Instances)
}

// state is the status in words.
func (d description) state() string {
	if d.UpdateFailing == "" {
		return d.Status
	}
	return d.Status + ", update failing: " + d.UpdateFailing
}

// scaling says how many replicas there shall be, and why.
func scaling(s *lofn.ScalingStatus) []string {
	if s == nil {
		return nil // an older platform
	}
	how := "not by load"
	if s.Type != "" {
		how = fmt.Sprintf("by %s, from %d to %d replicas", s.Type, s.Min, s.Max)
	}
	lines := []string{how, fmt.Sprintf("%d since %s: %s", s.Replicas, s.Since.Format(time.RFC3339), s.Reason)}
	if s.Problem != "" {
		lines = append(lines, "Problem: "+s.Problem)
	}
	return lines
}

func orDefault(process string) string {
	if process == "" {
		return "<default>"
	}
	return process
}

func resources(r *lofn.Resources) []string {
	var lines []string
	if r != nil && r.CPU != "" {
		lines = append(lines, "CPU: "+r.CPU)
	}
	if r != nil && r.Memory != "" {
		lines = append(lines, "Memory: "+r.Memory)
	}
	return lines
}

func usage(u *lofn.FunctionUsage) []string {
	if u == nil {
		return nil
	}
	return []string{
		fmt.Sprintf("CPU: %.0fm", u.CPU),
		fmt.Sprintf("Memory: %.1fMi", u.TotalMemoryBytes/(1<<20)),
	}
}

// printInstances tells of each replica what state it is in, and why.
func (p *program) printInstances(instances []lofn.Replica) error {
	if len(instances) == 0 {
		return nil
	}
	p.outf("Instances:\n")
	head := []string{"  Instance", "State", "Restarts", "Since"}
	timed := slices.ContainsFunc(instances, func(i lofn.Replica) bool { return i.Startup.Total() > 0 })
	if timed {
		head = append(head, "Started In")
	}
	explained := slices.ContainsFunc(instances, func(i lofn.Replica) bool { return i.Reason != "" })
	if explained {
		head = append(head, "Reason")
	}
	t := newTable(p.Stdout, head...)
	for _, i := range instances {
		since := ""
		if !i.Since.IsZero() {
			since = i.Since.Format(time.RFC3339)
		}
		row := []string{"  " + i.ID, string(i.State), strconv.Itoa(i.Restarts), since}
		if timed {
			row = append(row, startedIn(i.Startup))
		}
		if explained {
			row = append(row, i.Reason)
		}
		t.row(row...)
	}
	return t.flush()
}

// startedIn tells what a start took and of which parts that is made up, without
// those that would round to nothing.
func startedIn(s lofn.Startup) string {
	if s.Total() == 0 {
		return ""
	}
	in := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds()*1000, 'f', 1, 64) }
	var parts []string
	for name, took := range s.Parts() {
		if text := in(took); text != "0.0" {
			parts = append(parts, name+" "+text)
		}
	}
	total := in(s.Total()) + " ms"
	if s.Standby {
		total += " from standby"
	}
	return strings.TrimSuffix(total+": "+strings.Join(parts, ", "), ": ")
}
