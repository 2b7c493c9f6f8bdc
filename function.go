package lofn

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DefaultNamespace is where a function lives whose namespace nobody named.
// Clients of the OpenFaaS contract spell it out, so it cannot be renamed.
const DefaultNamespace = "openfaas-fn"

// Ref names a function: its namespace and its name in it.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// ParseHost splits "name.namespace" at its last dot, as the gateway's routes
// and the metrics do; without a dot the namespace is DefaultNamespace.
func ParseHost(host string) Ref {
	if i := strings.LastIndexByte(host, '.'); i >= 0 {
		return Ref{Namespace: host[i+1:], Name: host[:i]}
	}
	return Ref{Namespace: DefaultNamespace, Name: host}
}

// Host returns "name.namespace": the function's host name inside the platform
// and its label in metrics.
func (r Ref) Host() string { return r.Name + "." + r.Namespace }

func (r Ref) String() string { return r.Host() }

// Compare orders references by namespace, then by name.
func (r Ref) Compare(other Ref) int {
	if c := strings.Compare(r.Namespace, other.Namespace); c != 0 {
		return c
	}
	return strings.Compare(r.Name, other.Name)
}

// Validate reports whether both parts are DNS labels (RFC 1123): up to 63 of
// a-z, 0-9 and '-', with a letter or digit at both ends.
func (r Ref) Validate() error {
	if err := validateLabel("function name", r.Name); err != nil {
		return err
	}
	return validateLabel("namespace", r.Namespace)
}

// Function is a function as somebody wants it to be. It is a value: readers
// may share one, and whoever changes it copies it first with Clone.
type Function struct {
	Ref
	Spec Spec `json:"spec"`
	// Digest pins Spec.Image to the content that it named when it was accepted
	// ("sha256:…"), so that a restart or a new replica runs the same bytes.
	// It is empty where the provider pins images by itself.
	Digest string `json:"digest,omitempty"`
	// Defaults are the variables of the image's environment that the platform
	// itself acts on, read with the Digest; Spec.Env wins over them. It is nil
	// in functions that were stored by a lofn which did not keep them.
	Defaults map[string]string `json:"defaults,omitempty"`
	// Runtime is what its replicas are, RuntimeProcess or RuntimeContainer, as it
	// was settled when the function was accepted. It is empty in functions that
	// were stored by a lofn which knew processes only.
	Runtime string `json:"runtime,omitempty"`
	// Replicas is the wanted count as a person or a scaler last set it.
	Replicas  int       `json:"replicas"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Generation grows by one with each accepted deployment of the same
	// function, and not when only Replicas changes: replicas of different
	// generations are different programs.
	Generation int64 `json:"generation"`
}

// Clone returns a copy that shares nothing with f.
func (f Function) Clone() Function {
	f.Spec = f.Spec.Clone()
	f.Defaults = maps.Clone(f.Defaults)
	return f
}

// Validate reports the first field that cannot be accepted, by its name on the
// wire and with what would be right.
func (f Function) Validate() error {
	if err := f.Ref.Validate(); err != nil {
		return err
	}
	if f.Replicas < 0 {
		return Errorf(Invalid, "replicas: must be 0 or more, not %d", f.Replicas)
	}
	if err := f.Spec.Validate(); err != nil {
		return err
	}
	_, err := f.Policy()
	return err
}

// Spec is what a function runs and what it is given. Empty means default.
type Spec struct {
	// Image is the OCI image reference as the deployer wrote it.
	Image string `json:"image"`
	// Process is the command line to run, overriding the image's.
	Process                string            `json:"process,omitempty"`
	Env                    map[string]string `json:"env,omitempty"`
	Secrets                []string          `json:"secrets,omitempty"`
	Labels                 map[string]string `json:"labels,omitempty"`
	Annotations            map[string]string `json:"annotations,omitempty"`
	Constraints            []string          `json:"constraints,omitempty"`
	Limits                 *Resources        `json:"limits,omitempty"`
	Requests               *Resources        `json:"requests,omitempty"`
	ReadOnlyRootFilesystem bool              `json:"readOnlyRootFilesystem,omitempty"`
}

// Clone returns a copy that shares nothing with s.
func (s Spec) Clone() Spec {
	s.Env = maps.Clone(s.Env)
	s.Labels = maps.Clone(s.Labels)
	s.Annotations = maps.Clone(s.Annotations)
	s.Secrets = slices.Clone(s.Secrets)
	s.Constraints = slices.Clone(s.Constraints)
	s.Limits = s.Limits.clone()
	s.Requests = s.Requests.clone()
	return s
}

// Validate reports the first field that cannot be accepted.
func (s Spec) Validate() error {
	if s.Image == "" {
		return Errorf(Invalid, "image: is required")
	}
	if strings.ContainsAny(s.Image, " \t\r\n") {
		return Errorf(Invalid, "image: %q has white space in it", s.Image)
	}
	for name := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return Errorf(Invalid, "envVars: %q is not a name for an environment variable", name)
		}
	}
	for name, value := range s.Env {
		if strings.ContainsRune(value, 0) {
			return Errorf(Invalid, "envVars: the value of %s has a NUL byte in it", name)
		}
	}
	for _, name := range s.Secrets {
		if err := ValidateSecretName(name); err != nil {
			return err
		}
	}
	if err := s.Limits.validate("limits"); err != nil {
		return err
	}
	if err := s.Requests.validate("requests"); err != nil {
		return err
	}
	if err := s.validateAnnotations(); err != nil {
		return err
	}
	_, err := s.Scaling()
	if err == nil {
		_, err = s.Container()
	}
	return err
}

// annotationPrefix begins the names of lofn's own annotations.
const annotationPrefix = "lofn.dev/"

// ownAnnotations are all of lofn's.
var ownAnnotations = []string{
	AnnotationCallbackSecret, AnnotationMaxBacklog, AnnotationMaxBody, AnnotationMaxQueue, AnnotationNonRoot, AnnotationOrigins,
	AnnotationPids, AnnotationPull, AnnotationPullSecret, AnnotationRuntime, AnnotationScaleQuery, AnnotationWarm,
}

// validateAnnotations refuses what looks like an annotation of lofn's and is
// none: a slip in one that is about safety would go unnoticed.
func (s Spec) validateAnnotations() error {
	for _, name := range slices.Sorted(maps.Keys(s.Annotations)) {
		if strings.HasPrefix(name, annotationPrefix) && !slices.Contains(ownAnnotations, name) {
			return Errorf(Invalid, "annotations: %s is unknown: those of lofn are %s", name, strings.Join(ownAnnotations, ", "))
		}
	}
	return nil
}

var (
	labelPattern  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	secretPattern = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
)

// ValidateNamespace reports whether name can be a namespace: a DNS label.
func ValidateNamespace(name string) error { return validateLabel("namespace", name) }

// ValidateSecretName reports whether name can be a secret's: a DNS subdomain
// (RFC 1123) of up to 253 characters, which is also a safe file name.
func ValidateSecretName(name string) error {
	if len(name) > 253 || !secretPattern.MatchString(name) || strings.Contains(name, "..") {
		return Errorf(Invalid, "secret name: %q is invalid: use a-z, 0-9, '-' and '.', with a letter or digit at both ends", name)
	}
	return nil
}

func validateLabel(field, value string) error {
	switch {
	case value == "":
		return Errorf(Invalid, "%s: is required", field)
	case len(value) > 63:
		return Errorf(Invalid, "%s: %q has %d characters, at most 63 are allowed", field, value, len(value))
	case !labelPattern.MatchString(value):
		return Errorf(Invalid, "%s: %q is invalid: use a-z, 0-9 and '-', with a letter or digit at both ends%s", field, value, suggestLabel(value))
	}
	return nil
}

// suggestLabel proposes the nearest valid label, for the commonest slips:
// capitals and underscores.
func suggestLabel(value string) string {
	fixed := strings.Trim(strings.NewReplacer("_", "-", ".", "-", " ", "-").Replace(strings.ToLower(value)), "-")
	if !labelPattern.MatchString(fixed) {
		return ""
	}
	return fmt.Sprintf(", such as %q", fixed)
}
