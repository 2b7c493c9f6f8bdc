package lofn

import (
	"strconv"
)

// Annotations that say how a function runs.
const (
	// AnnotationRuntime is RuntimeProcess or RuntimeContainer. Without it, it is
	// the image that decides.
	AnnotationRuntime = "lofn.dev/runtime"
	// AnnotationPull is a Pull.
	AnnotationPull = "lofn.dev/image-pull-policy"
	// AnnotationPullSecret names a secret of the function's namespace that holds
	// credentials for registries, as Docker's config.json has them.
	AnnotationPullSecret = "lofn.dev/image-pull-secret"
	// AnnotationNonRoot is true or false: whether the function's container runs
	// as NonRootUser, whoever its image names.
	AnnotationNonRoot = "lofn.dev/non-root"
	// AnnotationPids is how many processes and threads a container may have.
	AnnotationPids = "lofn.dev/pids-limit"
)

// Runtimes: what a function's replicas are.
const (
	RuntimeProcess   = "process"
	RuntimeContainer = "container"
)

// NonRootUser is the user and group that containers run as which may not be
// root. It is the one that OpenFaaS' chart has for setNonRootUser.
const NonRootUser = 12000

// DefaultPids is far more than a function needs, and few enough that a fork
// bomb does not take the machine down.
const DefaultPids = 4096

// Pull says when the registry of an image is asked for it. That happens when a
// function is deployed: from then on it has a digest, and that is what runs.
type Pull string

const (
	// PullAlways asks the registry what the name means now.
	PullAlways Pull = "always"
	// PullMissing asks it if no image of that name is on this machine.
	PullMissing Pull = "missing"
	// PullNever never does; the image must be here, imported by hand.
	PullNever Pull = "never"
)

// ParsePull reads a Pull; the names that Kubernetes has for them are accepted.
func ParsePull(text string) (Pull, error) {
	switch text {
	case "always", "Always":
		return PullAlways, nil
	case "missing", "IfNotPresent":
		return PullMissing, nil
	case "never", "Never":
		return PullNever, nil
	}
	return "", Errorf(Invalid, "%q is no pull policy: use always, missing or never", text)
}

// Container is how a function wants to be contained.
type Container struct {
	// Runtime is "" if the image decides.
	Runtime string
	// Pull is "" for the platform's own policy.
	Pull Pull
	// PullSecret is "" if registries are asked with the platform's credentials.
	PullSecret string
	// NonRoot is nil if the platform decides.
	NonRoot *bool
	// Pids is how many processes and threads there may be.
	Pids int
}

// maxPids is the most that Linux has on 64-bit machines (PID_MAX_LIMIT).
const maxPids = 1 << 22

// Container reads the annotations, with defaults where there is none. It
// returns what it could read, too, beside an error with code Invalid.
func (s Spec) Container() (Container, error) {
	a := annotations{of: s.Annotations}
	c := Container{Pids: a.count(AnnotationPids, DefaultPids, 1, maxPids)}
	switch text := s.Annotations[AnnotationRuntime]; text {
	case "", RuntimeProcess, RuntimeContainer:
		c.Runtime = text
	default:
		a.fail(Errorf(Invalid, "annotations: %s: %q is no runtime: use %s or %s", AnnotationRuntime, text, RuntimeProcess, RuntimeContainer))
	}
	if text, ok := s.Annotations[AnnotationPull]; ok {
		var err error
		if c.Pull, err = ParsePull(text); err != nil {
			a.fail(Errorf(Invalid, "annotations: %s: %w", AnnotationPull, err))
		}
	}
	if name, ok := s.Annotations[AnnotationPullSecret]; ok {
		c.PullSecret = name
		if err := ValidateSecretName(name); err != nil {
			a.fail(Errorf(Invalid, "annotations: %s: %w", AnnotationPullSecret, err))
		}
	}
	if text, ok := s.Annotations[AnnotationNonRoot]; ok {
		yes, err := strconv.ParseBool(text)
		if err != nil {
			a.fail(Errorf(Invalid, "annotations: %s: %q is neither true nor false", AnnotationNonRoot, text))
		}
		c.NonRoot = &yes
	}
	return c, a.err
}
