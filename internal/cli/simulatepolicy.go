package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/schedule"
	"lofn/internal/simulate"
	"lofn/internal/stack"
)

// deployments are the functions of a stack file.
type deployments struct {
	file      string
	order     []lofn.Ref
	functions map[lofn.Ref]lofn.Function
}

func (d deployments) refs() []lofn.Ref { return d.order }

// stacked reads the stack file if one was named.
func (s *simulation) stacked(cmd *cobra.Command) (deployments, error) {
	d := deployments{functions: map[lofn.Ref]lofn.Function{}}
	if s.p.stack.file == "" {
		return d, nil
	}
	file, err := s.p.loadStack(cmd)
	if err != nil {
		return d, err
	}
	d.file = file.File
	for _, entry := range file.Functions {
		fn, err := deployed(entry)
		if err != nil {
			return d, err
		}
		d.order = append(d.order, fn.Ref)
		d.functions[fn.Ref] = fn
	}
	return d, nil
}

// deployed is a function as the stack file has it.
func deployed(entry stack.Function) (lofn.Function, error) {
	deployment, err := entry.Deployment("")
	if err != nil {
		return lofn.Function{}, err
	}
	ref := lofn.Ref{Namespace: deployment.Namespace, Name: deployment.Service}
	if ref.Namespace == "" {
		ref.Namespace = lofn.DefaultNamespace
	}
	return lofn.Function{Ref: ref, Spec: lofn.Spec{
		Env: deployment.EnvVars, Labels: deployment.Labels, Annotations: deployment.Annotations,
		Limits: deployment.Limits, Requests: deployment.Requests,
	}}, nil
}

// policy is a name for settings, those of all functions.
type policy struct {
	name                     string
	labels, annotations, env map[string]string
	stacked                  deployments
}

// deploy returns the function with the settings on top of those that it has.
func (c policy) deploy(ref lofn.Ref) lofn.Function {
	fn := c.stacked.functions[ref]
	fn.Spec.Labels = merged(fn.Spec.Labels, c.labels)
	fn.Spec.Annotations = merged(fn.Spec.Annotations, c.annotations)
	fn.Spec.Env = merged(fn.Spec.Env, c.env)
	return fn
}

// policies are those that are compared, or the one that there is.
func (s *simulation) policies(stacked deployments) ([]policy, error) {
	given := policy{name: "as given", labels: map[string]string{}, annotations: map[string]string{}, env: map[string]string{}, stacked: stacked}
	for _, label := range s.labels {
		if err := given.set(label); err != nil {
			return nil, fmt.Errorf("--label: %w", err)
		}
	}
	for _, annotation := range s.annotations {
		if err := given.set(annotation); err != nil {
			return nil, fmt.Errorf("--annotation: %w", err)
		}
	}
	if s.inflight != 0 {
		given.env[lofn.EnvMaxInflight] = strconv.Itoa(s.inflight)
	}
	if len(s.compare) == 0 {
		return []policy{given}, nil
	}
	var all []policy
	for _, text := range s.compare {
		next, err := given.but(text)
		if err != nil {
			return nil, fmt.Errorf("--compare: %w", err)
		}
		if slices.ContainsFunc(all, func(c policy) bool { return c.name == next.name }) {
			return nil, fmt.Errorf("--compare: there are two that are called %q: give each a name of its own", next.name)
		}
		all = append(all, next)
	}
	return all, nil
}

// but is the policy with other settings, from NAME=SETTING,SETTING.
func (c policy) but(text string) (policy, error) {
	name, settings, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return c, fmt.Errorf("%q must have the form NAME=SETTING,SETTING, such as short=zero=true,zero-duration=2m", text)
	}
	c.name = name
	c.labels, c.annotations, c.env = maps.Clone(c.labels), maps.Clone(c.annotations), maps.Clone(c.env)
	for _, setting := range splitSettings(settings) {
		if err := c.set(setting); err != nil {
			return c, err
		}
	}
	return c, nil
}

// splitSettings splits at the commas between settings, not at those in a value,
// as cron expressions have them.
func splitSettings(text string) (settings []string) {
	for part := range strings.SplitSeq(text, ",") {
		switch {
		case strings.Contains(part, "="):
			settings = append(settings, part)
		case len(settings) > 0:
			settings[len(settings)-1] += "," + part
		case part != "":
			settings = append(settings, part) // set says what is wrong with it
		}
	}
	return settings
}

// scaleSettings are the labels that matter to a simulation, and annotations are
// the same for those.
var (
	scaleSettings = []string{
		lofn.LabelScaleMin, lofn.LabelScaleMax, lofn.LabelScaleType, lofn.LabelScaleTarget, lofn.LabelScaleProportion,
		lofn.LabelScaleZero, lofn.LabelScaleZeroDuration, lofn.LabelScaleDownWindow, lofn.LabelScaleFactor,
	}
	callSettings = []string{lofn.AnnotationWarm, lofn.AnnotationMaxQueue}
)

// set takes NAME=VALUE. A name that means nothing here is a slip: it would be
// worse to report what comes without it.
func (c policy) set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q must have the form NAME=VALUE", text)
	}
	for _, label := range scaleSettings {
		if name == label || "com.openfaas.scale."+name == label {
			c.labels[label] = value
			return nil
		}
	}
	for _, annotation := range callSettings {
		if name == annotation || "lofn.dev/"+name == annotation {
			c.annotations[annotation] = value
			return nil
		}
	}
	if name == lofn.EnvMaxInflight || name == lofn.EnvTimeout {
		c.env[name] = value
		return nil
	}
	return fmt.Errorf("%q is not a setting that a simulation knows: use min, max, type, target, target-proportion, zero, zero-duration, down.window, warm, max-queue, %s or %s",
		name, lofn.EnvMaxInflight, lofn.EnvTimeout)
}

// warmWindow reads when a function is kept warm, as the platform does.
func warmWindow(text string) (simulate.Window, error) {
	windows, err := schedule.Parse(text, time.Local)
	if err != nil {
		return nil, err
	}
	return windows, nil
}
