package stack

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"lofn"
)

// Deployment returns f as the body of a deployment request, with the
// environment files, which are relative to dir ("" for the current folder),
// merged over the environment in order, so that the last file wins. It shares
// nothing with f.
func (f *Function) Deployment(dir string) (lofn.Deployment, error) {
	env, err := f.environment(dir)
	if err != nil {
		return lofn.Deployment{}, err
	}
	spec := lofn.Spec{
		Labels: f.Labels, Annotations: f.Annotations, Limits: f.Limits, Requests: f.Requests,
		Secrets: f.Secrets, Constraints: f.Constraints,
	}.Clone()
	return lofn.Deployment{
		Service:                f.Name,
		Image:                  f.Image,
		Namespace:              f.Namespace,
		EnvProcess:             f.Process,
		EnvVars:                env,
		Constraints:            spec.Constraints,
		Secrets:                spec.Secrets,
		Labels:                 spec.Labels,
		Annotations:            spec.Annotations,
		Limits:                 spec.Limits,
		Requests:               spec.Requests,
		ReadOnlyRootFilesystem: f.ReadOnlyRootFilesystem,
	}, nil
}

func (f *Function) environment(dir string) (map[string]string, error) {
	env := maps.Clone(f.Environment)
	for _, file := range f.EnvironmentFiles {
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		more, err := readEnvironment(file)
		if err != nil {
			return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: environment_file: %w", f.Name, err)
		}
		if env == nil {
			env = map[string]string{}
		}
		maps.Copy(env, more)
	}
	return env, nil
}

func readEnvironment(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, lofn.Errorf(lofn.NotFound, "%s does not exist", file)
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%w", err)
	}
	p := &parser{file: file}
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	var env map[string]string
	p.fields(root, "", map[string]reader{
		"environment": func(path string, v value) { env = p.stringMap(path, v, checkVariable) },
	})
	return env, p.err()
}

// sortedKeys returns a map's keys in order, for messages.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
