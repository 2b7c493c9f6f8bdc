package lofn_test

import (
	"strings"
	"testing"
	"time"

	"lofn"
)

func TestScalingOf(t *testing.T) {
	const prefix = "com.openfaas.scale."
	defaults := lofn.Scaling{
		Min: 1, Target: 50, Proportion: 0.9, ZeroDuration: 15 * time.Minute, DownWindow: 2 * time.Minute, Factor: 20,
	}
	for _, tc := range []struct {
		labels string // NAME=VALUE, separated by spaces, without the prefix
		edit   func(*lofn.Scaling)
	}{
		{"", func(*lofn.Scaling) {}},
		{"min=2 max=2", func(s *lofn.Scaling) { s.Min, s.Max = 2, 2 }},
		{"min=2 max=8", func(s *lofn.Scaling) { s.Min, s.Max, s.Type = 2, 8, "rps" }},
		{"max=8 factor=30", func(s *lofn.Scaling) { s.Max, s.Factor = 8, 30 }},
		{"target=7.5", func(s *lofn.Scaling) { s.Type, s.Target = "rps", 7.5 }},
		{"type=capacity target=100 target-proportion=1", func(s *lofn.Scaling) { s.Type, s.Target, s.Proportion = "capacity", 100, 1 }},
		{"type=cpu target=500", func(s *lofn.Scaling) { s.Type, s.Target = "cpu", 500 }},
		{"type=memory target=256Mi", func(s *lofn.Scaling) { s.Type, s.Target = "memory", 256<<20 }},
		{"type=kafka_lag", func(s *lofn.Scaling) { s.Type = "kafka_lag" }},
		{"zero=true zero-duration=5m", func(s *lofn.Scaling) { s.Zero, s.ZeroDuration = true, 5*time.Minute }},
		{"zero=true zero-duration=90", func(s *lofn.Scaling) { s.Zero, s.ZeroDuration = true, 90*time.Second }},
		{"down.window=3m", func(s *lofn.Scaling) { s.Type, s.DownWindow = "rps", 3*time.Minute }},
	} {
		want := defaults
		tc.edit(&want)
		got, err := lofn.Spec{Labels: labelsOf(prefix, tc.labels)}.Scaling()
		if err != nil || got != want {
			t.Errorf("%s: got %+v (%v), want %+v", tc.labels, got, err, want)
		}
	}
}

func labelsOf(prefix, text string) map[string]string {
	labels := make(map[string]string)
	for pair := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(pair, "=")
		labels[prefix+name] = value
	}
	return labels
}

func TestScalingThatMakesNoSense(t *testing.T) {
	const prefix = "com.openfaas.scale."
	for labels, want := range map[string]string{
		"min=3 max=2":                 "labels: com.openfaas.scale.max (2) is below com.openfaas.scale.min (3)",
		"min=-1":                      `com.openfaas.scale.min: "-1" is not a count`,
		"max=lots":                    `com.openfaas.scale.max: "lots" is not a count`,
		"type=":                       "use rps, capacity, queue, cpu, memory, or the name of a query to Prometheus",
		`type=a"b`:                    "is not a scaling type",
		"target=0":                    `com.openfaas.scale.target: "0" is not a load for each replica: use a number above 0`,
		"target=-5":                   "use a number above 0",
		"target=NaN":                  "use a number above 0",
		"target=many":                 "use a number above 0",
		"type=memory":                 "use bytes with a unit, such as 256Mi",
		"type=memory target=50":       "use bytes with a unit, such as 256Mi",
		"target-proportion=0":         "use a number above 0 and up to 1",
		"target-proportion=1.5":       "use a number above 0 and up to 1",
		"zero=perhaps":                `com.openfaas.scale.zero: "perhaps" is not a truth value`,
		"zero=true zero-duration=0":   "com.openfaas.scale.zero-duration: must be longer than 0",
		"zero-duration=soon":          `com.openfaas.scale.zero-duration: "soon" is not a duration`,
		"down.window=6m":              "com.openfaas.scale.down.window: 6m0s is too long: at most 5m0s",
		"factor=101":                  `com.openfaas.scale.factor: "101" is not a percentage: use a whole number from 0 to 100`,
		"factor=x zero=no type=!":     "is not a", // the first of several
		"type=rps max=30 min=1e3":     `"1e3" is not a count`,
		"type=capacity target=1e1000": "use a number above 0",
	} {
		fn := lofn.Function{Ref: lofn.Ref{Namespace: "n", Name: "f"}, Spec: lofn.Spec{Image: "x", Labels: labelsOf(prefix, labels)}}
		if err := fn.Validate(); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", labels, err, want)
		}
	}
	fn := lofn.Spec{Image: "x", Annotations: map[string]string{lofn.AnnotationScaleQuery: "up"}, Labels: labelsOf(prefix, "type=rps")}
	if err := fn.Validate(); err == nil || !strings.Contains(err.Error(), "lofn.dev/scale-query: needs a com.openfaas.scale.type of its own") {
		t.Errorf("got %v", err)
	}
}

func TestCapacityIsWithinWhatAReplicaTakes(t *testing.T) {
	fn := lofn.Function{Spec: lofn.Spec{Labels: map[string]string{lofn.LabelScaleType: "capacity"}, Env: map[string]string{lofn.EnvMaxInflight: "4"}}}
	if s, err := fn.Scaling(); err != nil || s.PerReplica() != 4 {
		t.Errorf("%v for each replica (%v), want 4", s.PerReplica(), err)
	}
	fn.Spec.Env[lofn.EnvMaxInflight] = "100"
	if s, err := fn.Scaling(); err != nil || s.PerReplica() != 45 {
		t.Errorf("%v for each replica (%v), want 45", s.PerReplica(), err)
	}
}
