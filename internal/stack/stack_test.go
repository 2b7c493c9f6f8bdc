package stack_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/stack"
)

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func load(t *testing.T, file string, opts stack.Options) *stack.Stack {
	t.Helper()
	s, err := stack.Load(context.Background(), file, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryKey(t *testing.T) {
	s := load(t, "testdata/full.yml", stack.Options{Envsubst: true, LookupEnv: env()})
	want := []stack.Function{
		{
			Name: "second", Line: 13, Lang: "python3-http@1.2", Handler: "./second", Image: "docker.io/library/second:1.10", Process: "python3 index.py",
			Environment: map[string]string{
				"LEVEL": "debug", "LIMIT": "0123", "VERBOSE": "true", "VERSION": "1.10", "EMPTY": "", "DATE": "2024-01-02", "HEX": "0x1F",
			},
			EnvironmentFiles:       []string{"first.yml", "second.yml"},
			Secrets:                []string{"api-key", "db.password"},
			SkipBuild:              true,
			Constraints:            []string{"node.platform.os == linux"},
			Labels:                 map[string]string{"com.openfaas.scale.min": "2", "com.openfaas.scale.zero": "true"},
			Annotations:            map[string]string{"topic": "a,b", "x-kept": "yes"},
			Limits:                 &lofn.Resources{Memory: "128Mi", CPU: "500m"},
			Requests:               &lofn.Resources{Memory: "64Mi"},
			ReadOnlyRootFilesystem: true,
			BuildOptions:           []string{"dev"},
			BuildArgs:              map[string]string{"GO111MODULE": "on"},
			BuildSecrets:           map[string]string{"npm": "./npmrc"},
			Platforms:              "linux/amd64,linux/arm64",
			Namespace:              "staging",
		},
		{Name: "first", Line: 48, Lang: "go", Handler: "./first", Image: "first"},
	}
	if !reflect.DeepEqual(s.Functions, want) {
		t.Errorf("functions\n%+v\nwant\n%+v", s.Functions, want)
	}
	if s.Provider != (stack.Provider{Name: "openfaas", Gateway: "http://127.0.0.1:8080"}) {
		t.Errorf("provider %+v", s.Provider)
	}
	wantConfiguration := stack.Configuration{
		Copy:      []string{"./common", "./data"},
		Templates: []stack.TemplateSource{{Name: "one", Source: "https://example.com/templates.git#v1"}, {Name: "two"}},
	}
	if !reflect.DeepEqual(s.Configuration, wantConfiguration) {
		t.Errorf("configuration %+v", s.Configuration)
	}
	if f := s.Function("first"); f == nil || f.Lang != "go" || s.Function("third") != nil {
		t.Errorf("function first is %+v", f)
	}
}

func TestDeploymentMergesEnvironmentFiles(t *testing.T) {
	s := load(t, "testdata/full.yml", stack.Options{})
	f := s.Function("second")
	d, err := f.Deployment("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if d.EnvVars["LEVEL"] != "from-second" || d.EnvVars["ADDED"] != "1.50" || d.EnvVars["LIMIT"] != "0123" {
		t.Errorf("environment %v", d.EnvVars)
	}
	if d.Service != "second" || d.Namespace != "staging" || d.EnvProcess != "python3 index.py" || !d.ReadOnlyRootFilesystem || len(d.Secrets) != 2 || d.Limits.Memory != "128Mi" {
		t.Errorf("deployment %+v", d)
	}
	d.EnvVars["LEVEL"], d.Labels["new"], d.Limits.Memory = "changed", "", ""
	if f.Environment["LEVEL"] != "debug" || len(f.Labels) != 2 || f.Limits.Memory != "128Mi" {
		t.Error("the deployment shares its maps with the function")
	}
}

func TestEnvironmentFileErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.yml"), []byte("environment:\n  A: 1\nother: 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"gone.yml": `function "f": environment_file: ` + filepath.Join(dir, "gone.yml") + " does not exist",
		"bad.yml":  `function "f": environment_file: ` + filepath.Join(dir, "bad.yml") + `:3: unknown key "other"`,
	} {
		f := stack.Function{Name: "f", EnvironmentFiles: []string{file}}
		if _, err := f.Deployment(dir); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestProviderMayBeLeftOut(t *testing.T) {
	for text, gateway := range map[string]string{
		"functions: {f: {lang: go}}\n":            "",
		"provider:\nfunctions:\n":                 "",
		"provider: {gateway: 'http://gw:8080'}\n": "http://gw:8080",
	} {
		s, err := stack.Parse("s.yml", []byte(text), stack.Options{})
		if err != nil || s.Provider != (stack.Provider{Name: stack.DefaultProvider, Gateway: gateway}) {
			t.Errorf("%q: got %+v, %v", text, s, err)
		}
	}
}

// TestMistakes parses every file of testdata/bad up to "-- want --" and
// expects the errors that follow.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(data), "-- want --\n")
			_, err = stack.Parse(filepath.Base(file), []byte(text), stack.Options{})
			if err == nil || lofn.CodeOf(err) != lofn.Invalid || err.Error()+"\n" != want {
				t.Errorf("got\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestManyMistakesAreCutShort(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "wrong%d: 1\n", i)
	}
	_, err := stack.Parse("s.yml", []byte(b.String()), stack.Options{})
	if err == nil || strings.Count(err.Error(), "\n") != 20 || !strings.HasSuffix(err.Error(), "s.yml: and 980 more mistakes") {
		t.Errorf("got %v", err)
	}
}

// TestMergesAreBounded parses a file that would grow to 10^9 entries.
func TestMergesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &a0 {a: 1}\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d\n  <<: [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	b.WriteString("functions:\n  f:\n    environment: *a9\n")
	_, err := stack.Parse("s.yml", []byte(b.String()), stack.Options{})
	if err == nil || !strings.Contains(err.Error(), "merges too much into one place") {
		t.Errorf("got %v", err)
	}
}

func TestEnvsubst(t *testing.T) {
	text := []byte("provider: {name: openfaas}\nfunctions:\n  f:\n    image: ${PREFIX:-none}/f:${TAG}\n    environment:\n      A: $HOME\n      B: ${MISSING}\n      C: $${KEPT}\n")
	s, err := stack.Parse("s.yml", text, stack.Options{Envsubst: true, LookupEnv: env("PREFIX", "mine", "TAG", "v1")})
	if err != nil {
		t.Fatal(err)
	}
	f := s.Function("f")
	if want := map[string]string{"A": "$HOME", "B": "", "C": "${KEPT}"}; f.Image != "mine/f:v1" || !reflect.DeepEqual(f.Environment, want) {
		t.Errorf("image %s, environment %v", f.Image, f.Environment)
	}
	if s, err = stack.Parse("s.yml", text, stack.Options{}); err != nil || s.Function("f").Image != "${PREFIX:-none}/f:${TAG}" {
		t.Errorf("without: %+v, %v", s, err)
	}
	if _, err := stack.Parse("s.yml", []byte("a: ${A"), stack.Options{Envsubst: true}); err == nil || !strings.Contains(err.Error(), "s.yml: ${…} substitution: ") {
		t.Errorf("got %v", err)
	}
	t.Setenv("STACK_TEST_GATEWAY", "http://example.com")
	s, err = stack.Parse("s.yml", []byte("provider: {name: lofn, gateway: '${STACK_TEST_GATEWAY}'}"), stack.Options{Envsubst: true})
	if err != nil || s.Provider.Gateway != "http://example.com" {
		t.Errorf("from this process: %+v, %v", s, err)
	}
}

func TestSelection(t *testing.T) {
	text := []byte("provider: {name: openfaas}\nfunctions: {a-one: , a-two: , b: }\n")
	for _, c := range []struct{ filter, regex, want, problem string }{
		{"", "", "a-one a-two b", ""},
		{"a-*", "", "a-one a-two", ""},
		{"b", "", "b", ""},
		{"", "o$", "a-two", ""},
		{"c*", "", "", `matches "c*": it has the functions a-one, a-two, b`},
		{"", "(", "", "--regex: "},
		{"[", "", "", `--filter: "[" is not a pattern`},
		{"a", "a", "", "--filter and --regex cannot be given together"},
	} {
		s, err := stack.Parse("s.yml", text, stack.Options{Filter: c.filter, Regex: c.regex})
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%+v: got %v", c, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		var got []string
		for _, f := range s.Functions {
			got = append(got, f.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := stack.Find(dir); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"stack.yml", "stack.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := stack.Find(dir); err != nil || got != filepath.Join(dir, name) {
			t.Errorf("got %s, %v, want %s", got, err, name)
		}
	}
}

func TestLoadFromURL(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stack.yml":
			w.Write([]byte("provider: {name: openfaas}\nfunctions: {f: {lang: go}}\n"))
		case "/large.yml":
			w.Write([]byte(strings.Repeat("# a comment\n", 2<<20)))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	if s := load(t, server.URL+"/stack.yml", stack.Options{}); s.Function("f") == nil || s.File != server.URL+"/stack.yml" {
		t.Errorf("got %+v", s)
	}
	for path, want := range map[string]string{"/gone.yml": "the server answered 404 Not Found", "/large.yml": "is larger than 16 MiB"} {
		if _, err := stack.Load(context.Background(), server.URL+path, stack.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if _, err := stack.Load(context.Background(), "http://127.0.0.1:1/", stack.Options{}); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := stack.Load(context.Background(), filepath.Join(t.TempDir(), "gone.yml"), stack.Options{}); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "testdata/full.yml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, opts := range []stack.Options{{}, {Envsubst: true, LookupEnv: env("A", "b")}} {
			s, err := stack.Parse("s.yml", data, opts)
			if err != nil && lofn.CodeOf(err) != lofn.Invalid {
				t.Fatalf("code %d: %v", lofn.CodeOf(err), err)
			}
			if err != nil {
				continue
			}
			for _, function := range s.Functions {
				if err := (lofn.Ref{Namespace: "n", Name: function.Name}).Validate(); err != nil {
					t.Fatal(err)
				}
			}
		}
		// What can be added to is still a stack file afterwards.
		before, err := stack.Parse("s.yml", data, stack.Options{})
		if err != nil {
			return
		}
		text, err := stack.Append("s.yml", data, stack.Function{Name: "added-by-fuzz", Lang: "go", Image: "a: b"})
		if err != nil {
			return
		}
		after, err := stack.Parse("s.yml", text, stack.Options{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		added := after.Function("added-by-fuzz")
		if len(after.Functions) != len(before.Functions)+1 || added == nil || added.Image != "a: b" {
			t.Fatalf("%d functions became %d in\n%s", len(before.Functions), len(after.Functions), text)
		}
	})
}
