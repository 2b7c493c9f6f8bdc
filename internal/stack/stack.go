// Package stack reads and extends stack files: the YAML in which people list
// their functions, in the format of faas-cli's stack.yml.
//
// A mistake is reported with its line, the key as a path from the top, and
// what would be right; all mistakes of a file are reported together. Keys that
// start with "x-" are the author's own and are passed over at any level.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"lofn"
)

// Stack is the content of a stack file.
type Stack struct {
	// File is the name that the file was read under, for messages.
	File     string
	Provider Provider
	// Functions are in the order of the file.
	Functions     []Function
	Configuration Configuration
}

// DefaultProvider is the provider of a file that names none. There is no other
// for faas-cli, so a file without one means the same.
const DefaultProvider = "openfaas"

// Provider says which platform the functions are for.
type Provider struct {
	// Name is DefaultProvider, or "lofn", which means the same.
	Name string
	// Gateway is the URL of the platform, empty if the file names none.
	Gateway string
}

// Configuration holds what concerns building.
type Configuration struct {
	Templates []TemplateSource
	// Copy lists folders that are copied into the handler folder of every
	// build.
	Copy []string
}

// TemplateSource says where a template comes from: a git URL that may end in
// "#ref", or the template store if Source is empty.
type TemplateSource struct {
	Name   string
	Source string
}

// Function is an entry of a stack file. Paths are relative to the folder in
// which the command runs, as in faas-cli, and not to the stack file.
type Function struct {
	Name string
	// Line is that of the function's name in the file, 0 if it was not read
	// from one.
	Line int
	// Lang is the name of a template, perhaps with "@ref" at its end.
	Lang    string
	Handler string
	// Image defaults to the function's name.
	Image   string
	Process string
	// Environment is that of the file alone; Deployment merges the files in
	// EnvironmentFiles over it.
	Environment            map[string]string
	EnvironmentFiles       []string
	Secrets                []string
	SkipBuild              bool
	Constraints            []string
	Labels                 map[string]string
	Annotations            map[string]string
	Limits                 *lofn.Resources
	Requests               *lofn.Resources
	ReadOnlyRootFilesystem bool
	BuildOptions           []string
	BuildArgs              map[string]string
	// BuildSecrets maps the id of a secret to the path of its file.
	BuildSecrets map[string]string
	// Platforms is a comma-separated list such as "linux/amd64,linux/arm64".
	Platforms string
	Namespace string
}

// Options say how a stack file is read. The zero value reads all of it as it
// stands.
type Options struct {
	// Envsubst replaces ${NAME} and its relatives before parsing, with values
	// from LookupEnv; a variable that is not set becomes empty.
	Envsubst bool
	// LookupEnv defaults to os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// Filter, a glob, or Regex select functions by name. Giving both, or one
	// that selects nothing, is an error.
	Filter string
	Regex  string
	// Client fetches stack files that are named by URL; the default is
	// http.DefaultClient.
	Client *http.Client
}

// DefaultFiles are the names under which a stack file is looked for, in order.
func DefaultFiles() []string { return []string{"stack.yaml", "stack.yml"} }

// Find returns the path of the stack file in dir ("" for the current folder):
// the first of DefaultFiles that is there, or a NotFound error.
func Find(dir string) (string, error) {
	for _, name := range DefaultFiles() {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
	}
	return "", lofn.Errorf(lofn.NotFound, "no stack.yaml or stack.yml in this folder: name another file with -f, or make a first function with: lofn new NAME --lang python3-http")
}

// Load reads the stack file at a path or at an http or https URL.
func Load(ctx context.Context, location string, opts Options) (*Stack, error) {
	data, err := read(ctx, location, opts.Client)
	if err != nil {
		return nil, err
	}
	return Parse(location, data, opts)
}

func read(ctx context.Context, location string, client *http.Client) ([]byte, error) {
	if strings.HasPrefix(location, "http://") || strings.HasPrefix(location, "https://") {
		return fetch(ctx, location, client)
	}
	data, err := os.ReadFile(location)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, lofn.Errorf(lofn.NotFound, "stack file %q does not exist", location)
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "stack file: %w", err)
	}
	return data, nil
}

// maxFile bounds what is fetched, so that a wrong URL cannot fill the memory.
const maxFile = 16 << 20

func fetch(ctx context.Context, url string, client *http.Client) ([]byte, error) {
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "stack file: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "stack file: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, lofn.Errorf(lofn.NotFound, "stack file %s: the server answered %s", url, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "stack file %s: %w", url, err)
	}
	if len(data) > maxFile {
		return nil, lofn.Errorf(lofn.Invalid, "stack file %s: is larger than %d MiB", url, maxFile>>20)
	}
	return data, nil
}

// Function returns the function of that name, or nil.
func (s *Stack) Function(name string) *Function {
	for i := range s.Functions {
		if s.Functions[i].Name == name {
			return &s.Functions[i]
		}
	}
	return nil
}

// selected returns the functions that opts ask for.
func (opts Options) selected(functions []Function) ([]Function, error) {
	matches, err := opts.matcher()
	if err != nil || matches == nil {
		return functions, err
	}
	var chosen []Function
	for _, f := range functions {
		if matches(f.Name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return nil, lofn.Errorf(lofn.NotFound, "no function of the stack file matches %q: it has %s", opts.Filter+opts.Regex, names(functions))
	}
	return chosen, nil
}

func (opts Options) matcher() (func(name string) bool, error) {
	switch {
	case opts.Filter != "" && opts.Regex != "":
		return nil, lofn.Errorf(lofn.Invalid, "--filter and --regex cannot be given together: use one of them")
	case opts.Filter != "":
		if _, err := path.Match(opts.Filter, ""); err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "--filter: %q is not a pattern: use * for any characters and ? for one", opts.Filter)
		}
		return func(name string) bool { ok, _ := path.Match(opts.Filter, name); return ok }, nil
	case opts.Regex != "":
		re, err := regexp.Compile(opts.Regex)
		if err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "--regex: %w", err)
		}
		return re.MatchString, nil
	}
	return nil, nil
}

func names(functions []Function) string {
	if len(functions) == 0 {
		return "no functions"
	}
	list := make([]string, len(functions))
	for i, f := range functions {
		list[i] = f.Name
	}
	return fmt.Sprintf("the functions %s", strings.Join(list, ", "))
}
