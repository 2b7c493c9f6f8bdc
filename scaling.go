package lofn

import "strconv"

// Labels by which a function says how it wants to be scaled.
const (
	LabelScaleMin = "com.openfaas.scale.min"
	LabelScaleMax = "com.openfaas.scale.max"
)

// Scaling bounds the number of replicas of a function.
type Scaling struct {
	// Min is the count that a fresh deployment starts with, 1 by default.
	Min int
	// Max is the most that a scaler or a person may ask for; 0 means no bound.
	Max int
}

// Scaling reads the scaling labels.
func (s Spec) Scaling() (Scaling, error) {
	lowest, err := countLabel(s.Labels, LabelScaleMin, 1)
	if err != nil {
		return Scaling{}, err
	}
	highest, err := countLabel(s.Labels, LabelScaleMax, 0)
	if err != nil {
		return Scaling{}, err
	}
	if highest != 0 && highest < lowest {
		return Scaling{}, Errorf(Invalid, "labels: %s (%d) is below %s (%d)", LabelScaleMax, highest, LabelScaleMin, lowest)
	}
	return Scaling{Min: lowest, Max: highest}, nil
}

func countLabel(labels map[string]string, name string, missing int) (int, error) {
	text, ok := labels[name]
	if !ok {
		return missing, nil
	}
	return count("labels", name, text, maxReplicas)
}

// count reads a number of things, in the field and by the name given.
func count(field, name, text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, Errorf(Invalid, "%s: %s: %q is not a count: use a whole number from 0 to %d", field, name, text, most)
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
	highest := maxReplicas
	if scaling.Max > 0 {
		highest = scaling.Max
	}
	if n < 0 || n > highest {
		return Errorf(Invalid, "replicas: must be from 0 to %d, not %d", highest, n)
	}
	return nil
}
