package stack

import (
	"os"
	"strings"

	"github.com/fluxcd/pkg/envsubst"

	"lofn"
)

// Parse reads a stack file's text; name is what messages call it. The error
// lists every mistake on a line of its own.
func Parse(name string, data []byte, opts Options) (*Stack, error) {
	text, err := opts.substitute(name, data)
	if err != nil {
		return nil, err
	}
	p := &parser{file: name}
	root, err := p.document(text)
	if err != nil {
		return nil, err
	}
	s := &Stack{File: name}
	p.stack(root, s)
	if err := p.err(); err != nil {
		return nil, err
	}
	s.Functions, err = opts.selected(s.Functions)
	return s, err
}

func (opts Options) substitute(name string, data []byte) ([]byte, error) {
	if !opts.Envsubst {
		return data, nil
	}
	lookup := opts.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	// A variable that is not set counts as an empty one; otherwise the library
	// refuses the file.
	text, err := envsubst.Eval(string(data), func(variable string) (string, bool) {
		v, _ := lookup(variable)
		return v, true
	})
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s: ${…} substitution: %w: write $${ for a literal ${, or turn it off with --envsubst=false", name, err)
	}
	return []byte(text), nil
}

func (p *parser) stack(root value, s *Stack) {
	s.Provider.Name = DefaultProvider
	if isNull(root) {
		p.fail(0, "", "is empty: make a first function with: lofn new NAME --lang python3-http")
	}
	p.fields(root, "", map[string]reader{
		"version": p.version,
		"provider": func(path string, v value) {
			p.fields(v, path, map[string]reader{
				"name":    func(path string, v value) { s.Provider.Name = p.provider(path, v) },
				"gateway": func(path string, v value) { s.Provider.Gateway = p.text(path, v) },
				"network": ignore,
			})
		},
		"functions": func(path string, v value) {
			for _, e := range p.entries(path, v, "a map of names to functions") {
				s.Functions = append(s.Functions, p.function(join(path, e.key), e))
			}
		},
		"configuration": func(path string, v value) { p.configuration(path, v, &s.Configuration) },
	})
}

// ignore passes over keys of old stack files that no longer mean anything.
func ignore(string, value) {}

func (p *parser) version(path string, v value) {
	if version := p.text(path, v); version != "1.0" && version != "" {
		p.fail(v.keyLine, path, "must be 1.0, not %s", version)
	}
}

func (p *parser) provider(path string, v value) string {
	name := p.text(path, v)
	if name != DefaultProvider && name != "lofn" {
		p.fail(v.keyLine, path, "must be %s, not %q", DefaultProvider, name)
	}
	return name
}

func (p *parser) configuration(path string, v value, c *Configuration) {
	p.fields(v, path, map[string]reader{
		"copy": func(path string, v value) { c.Copy = p.list(path, v, nil) },
		"templates": func(path string, v value) {
			for _, item := range p.sequence(path, v) {
				c.Templates = append(c.Templates, p.template(path, item))
			}
		},
	})
}

func (p *parser) template(path string, v value) TemplateSource {
	var t TemplateSource
	before := len(p.problems)
	p.fields(v, path, map[string]reader{
		"name":   func(path string, v value) { t.Name = p.text(path, v) },
		"source": func(path string, v value) { t.Source = p.text(path, v) },
	})
	if t.Name == "" && len(p.problems) == before {
		p.fail(v.keyLine, path, "a template needs a name")
	}
	return t
}

func (p *parser) function(path string, e entry) Function {
	f := Function{Name: e.key, Line: e.keyLine}
	if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: e.key}).Validate(); err != nil {
		p.fail(e.keyLine, "", "%v", err)
	}
	p.fields(e.value, path, p.functionFields(&f))
	if f.Image == "" {
		f.Image = f.Name
	}
	return f
}

func (p *parser) functionFields(f *Function) map[string]reader {
	return map[string]reader{
		"lang":                     p.into(&f.Lang),
		"handler":                  p.into(&f.Handler),
		"image":                    p.into(&f.Image),
		"fprocess":                 p.into(&f.Process),
		"platforms":                p.into(&f.Platforms),
		"namespace":                p.namespace(&f.Namespace),
		"environment":              p.intoMap(&f.Environment, checkVariable),
		"labels":                   p.intoMap(&f.Labels, nil),
		"annotations":              p.intoMap(&f.Annotations, nil),
		"build_args":               p.intoMap(&f.BuildArgs, checkVariable),
		"build_secrets":            p.intoMap(&f.BuildSecrets, nil),
		"environment_file":         p.intoList(&f.EnvironmentFiles, nil),
		"secrets":                  p.intoList(&f.Secrets, lofn.ValidateSecretName),
		"constraints":              p.intoList(&f.Constraints, nil),
		"build_options":            p.intoList(&f.BuildOptions, nil),
		"skip_build":               func(path string, v value) { f.SkipBuild = p.boolean(path, v) },
		"readonly_root_filesystem": func(path string, v value) { f.ReadOnlyRootFilesystem = p.boolean(path, v) },
		"limits":                   func(path string, v value) { f.Limits = p.resources(path, v) },
		"requests":                 func(path string, v value) { f.Requests = p.resources(path, v) },
		"network":                  ignore,
		"registry_auth":            ignore,
	}
}

func (p *parser) into(s *string) reader {
	return func(path string, v value) { *s = p.text(path, v) }
}

func (p *parser) intoMap(m *map[string]string, check func(string) error) reader {
	return func(path string, v value) { *m = p.stringMap(path, v, check) }
}

func (p *parser) intoList(list *[]string, check func(string) error) reader {
	return func(path string, v value) { *list = p.list(path, v, check) }
}

func (p *parser) namespace(s *string) reader {
	return func(path string, v value) {
		if *s = p.text(path, v); *s == "" {
			return
		}
		if err := lofn.ValidateNamespace(*s); err != nil {
			p.fail(v.keyLine, path, "%v", err)
		}
	}
}

func (p *parser) resources(path string, v value) *lofn.Resources {
	r := &lofn.Resources{}
	p.fields(v, path, map[string]reader{
		"memory": func(path string, v value) {
			r.Memory = p.text(path, v)
			if _, err := r.MemoryBytes(); err != nil {
				p.fail(v.keyLine, strings.TrimSuffix(path, ".memory"), "%v", err)
			}
		},
		"cpu": func(path string, v value) {
			r.CPU = p.text(path, v)
			if _, err := r.MilliCPU(); err != nil {
				p.fail(v.keyLine, strings.TrimSuffix(path, ".cpu"), "%v", err)
			}
		},
	})
	if *r == (lofn.Resources{}) {
		return nil
	}
	return r
}

func checkVariable(name string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return lofn.Errorf(lofn.Invalid, "%q is not a name for a variable", name)
	}
	return nil
}
