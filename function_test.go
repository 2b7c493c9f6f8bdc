package lofn_test

import (
	"strings"
	"testing"

	"lofn"
)

func TestParseHost(t *testing.T) {
	for host, want := range map[string]lofn.Ref{
		"echo":             {Namespace: "openfaas-fn", Name: "echo"},
		"echo.staging":     {Namespace: "staging", Name: "echo"},
		"my.echo.staging":  {Namespace: "staging", Name: "my.echo"},
		".staging":         {Namespace: "staging"},
		"echo.openfaas-fn": {Namespace: "openfaas-fn", Name: "echo"},
	} {
		if got := lofn.ParseHost(host); got != want {
			t.Errorf("%q is %+v, want %+v", host, got, want)
		}
	}
	ref := lofn.Ref{Namespace: "staging", Name: "echo"}
	if back := lofn.ParseHost(ref.Host()); back != ref {
		t.Errorf("%+v came back as %+v", ref, back)
	}
}

func TestFunctionValidate(t *testing.T) {
	valid := func() lofn.Function {
		return lofn.Function{
			Ref:  lofn.Ref{Namespace: "openfaas-fn", Name: "echo"},
			Spec: lofn.Spec{Image: "echo:latest"},
		}
	}
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spoil func(*lofn.Function)
		want  string
	}{
		"no name":            {func(f *lofn.Function) { f.Name = "" }, "function name: is required"},
		"capitals":           {func(f *lofn.Function) { f.Name = "My_Echo" }, `such as "my-echo"`},
		"long name":          {func(f *lofn.Function) { f.Name = strings.Repeat("a", 64) }, "at most 63"},
		"hyphen first":       {func(f *lofn.Function) { f.Name = "-echo" }, `"-echo" is invalid`},
		"namespace":          {func(f *lofn.Function) { f.Namespace = "a/b" }, "namespace:"},
		"no image":           {func(f *lofn.Function) { f.Spec.Image = "" }, "image: is required"},
		"image":              {func(f *lofn.Function) { f.Spec.Image = "a b" }, "image:"},
		"env name":           {func(f *lofn.Function) { f.Spec.Env = map[string]string{"A=B": ""} }, "envVars:"},
		"env value":          {func(f *lofn.Function) { f.Spec.Env = map[string]string{"A": "x\x00y"} }, "value of A"},
		"secret":             {func(f *lofn.Function) { f.Spec.Secrets = []string{"../etc"} }, "secret name:"},
		"memory":             {func(f *lofn.Function) { f.Spec.Limits = &lofn.Resources{Memory: "lots"} }, "limits.memory:"},
		"memory of zero":     {func(f *lofn.Function) { f.Spec.Limits = &lofn.Resources{Memory: "0"} }, "limits.memory:"},
		"cpu":                {func(f *lofn.Function) { f.Spec.Requests = &lofn.Resources{CPU: "-1"} }, "requests.cpu:"},
		"timeout":            {func(f *lofn.Function) { f.Spec.Env = map[string]string{"exec_timeout": "soon"} }, "exec_timeout"},
		"inflight":           {func(f *lofn.Function) { f.Spec.Env = map[string]string{"max_inflight": "few"} }, "envVars: max_inflight"},
		"negative inflight":  {func(f *lofn.Function) { f.Spec.Env = map[string]string{"max_inflight": "-1"} }, "envVars: max_inflight"},
		"image's inflight":   {func(f *lofn.Function) { f.Defaults = map[string]string{"max_inflight": "few"} }, "image: max_inflight"},
		"image's timeout":    {func(f *lofn.Function) { f.Defaults = map[string]string{"exec_timeout": "soon"} }, "image: exec_timeout"},
		"queue":              {annotated(lofn.AnnotationMaxQueue, "long"), "annotations: lofn.dev/max-queue"},
		"endless queue":      {annotated(lofn.AnnotationMaxQueue, "1000001"), "annotations: lofn.dev/max-queue"},
		"body":               {annotated(lofn.AnnotationMaxBody, "big"), "annotations: lofn.dev/max-body"},
		"body of zero":       {annotated(lofn.AnnotationMaxBody, "0"), "annotations: lofn.dev/max-body"},
		"body of millibytes": {annotated(lofn.AnnotationMaxBody, "10m"), "annotations: lofn.dev/max-body"},
		"origin":             {annotated(lofn.AnnotationOrigins, "https://a.example, b.example"), `annotations: lofn.dev/cors-origins: "b.example"`},
		"origin with path":   {annotated(lofn.AnnotationOrigins, "https://a.example/"), "annotations: lofn.dev/cors-origins"},
		"origin in capitals": {annotated(lofn.AnnotationOrigins, "https://A.example"), "annotations: lofn.dev/cors-origins"},
		"scale order": {func(f *lofn.Function) {
			f.Spec.Labels = map[string]string{lofn.LabelScaleMin: "3", lofn.LabelScaleMax: "2"}
		}, lofn.LabelScaleMax},
		"scale":    {func(f *lofn.Function) { f.Spec.Labels = map[string]string{lofn.LabelScaleMin: "many"} }, lofn.LabelScaleMin},
		"replicas": {func(f *lofn.Function) { f.Replicas = -1 }, "replicas:"},
	} {
		t.Run(name, func(t *testing.T) {
			fn := valid()
			tc.spoil(&fn)
			err := fn.Validate()
			if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an invalid field with %q", err, tc.want)
			}
		})
	}
}

func annotated(name, value string) func(*lofn.Function) {
	return func(f *lofn.Function) { f.Spec.Annotations = map[string]string{name: value} }
}

func TestResources(t *testing.T) {
	for text, want := range map[string]int64{
		"128Mi": 128 << 20, "1Gi": 1 << 30, "1G": 1e9, "1.5Gi": 3 << 29, "5000000": 5_000_000, "64000k": 64_000_000, "8192Ki": 8 << 20,
	} {
		if got, err := (&lofn.Resources{Memory: text}).MemoryBytes(); err != nil || got != want {
			t.Errorf("memory %q is %d (%v), want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]int64{"500m": 500, "0.5": 500, "2": 2000, "100m": 100, "1.25": 1250, "1m": 1} {
		if got, err := (&lofn.Resources{CPU: text}).MilliCPU(); err != nil || got != want {
			t.Errorf("cpu %q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"Mi", "1e3", "1/2", "1 Gi", "0x10", "-5Mi", "1mi", ".", "99999999999P", "NaN", "1", "1Ki", "4095Ki"} {
		if got, err := (&lofn.Resources{Memory: text}).MemoryBytes(); err == nil {
			t.Errorf("memory %q was taken for %d bytes", text, got)
		}
	}
	if n, err := (*lofn.Resources)(nil).MemoryBytes(); n != 0 || err != nil {
		t.Errorf("no resources are %d bytes (%v), want 0", n, err)
	}
}

func TestClonesShareNothing(t *testing.T) {
	fn := lofn.Function{Defaults: map[string]string{"a": "1"}, Spec: lofn.Spec{
		Env: map[string]string{"a": "1"}, Labels: map[string]string{"a": "1"}, Annotations: map[string]string{"a": "1"},
		Secrets: []string{"a"}, Constraints: []string{"a"}, Limits: &lofn.Resources{CPU: "1"}, Requests: &lofn.Resources{CPU: "1"},
	}}
	clone := fn.Clone()
	clone.Defaults["a"] = "2"
	c := clone.Spec
	c.Env["a"], c.Labels["a"], c.Annotations["a"], c.Secrets[0], c.Constraints[0] = "2", "2", "2", "b", "b"
	c.Limits.CPU, c.Requests.CPU = "2", "2"
	s := fn.Spec
	for _, got := range []string{fn.Defaults["a"], s.Env["a"], s.Labels["a"], s.Annotations["a"], s.Limits.CPU, s.Requests.CPU} {
		if got != "1" {
			t.Errorf("the original changed with its clone: %+v", s)
		}
	}
	if s.Secrets[0] != "a" || s.Constraints[0] != "a" {
		t.Errorf("the original changed with its clone: %+v", s)
	}
}

func TestErrorf(t *testing.T) {
	inner := lofn.Errorf(lofn.NotFound, "no such file")
	err := lofn.Errorf(lofn.Invalid, "image: %w", inner)
	if err.Error() != "image: no such file" {
		t.Errorf("text is %q", err)
	}
	if lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("the outermost code does not win: %v", lofn.CodeOf(err))
	}
}
