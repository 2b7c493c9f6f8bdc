package lofn_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one parsed Go file of the tree.
type source struct {
	path string // slash-separated, from the root of the module
	dir  string // the package's folder, "." for the root
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources returns every Go file of the module itself: functions that are only
// material for it (templates, examples, test data) have modules of their own.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || slices.Contains([]string{"testdata", "examples", "bin", "build"}, name) && path != "internal/build") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, "templates/") && strings.Count(path, "/") > 1 {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{path: filepath.ToSlash(path), dir: filepath.ToSlash(filepath.Dir(path)), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d files: the walk is broken", len(all))
	}
	return all
}

// partImports are the exceptions to the rule that a part imports no other
// part, by folder; docs/RATIONALE.md gives the reasons.
var partImports = map[string][]string{
	"internal/gateway": {"internal/problem", "internal/http1", "internal/outcome"},
	"internal/api":     {"internal/problem", "internal/auth", "internal/outcome"},
	"internal/ui":      {"internal/problem", "internal/auth"},
	"internal/cli":     {"client", "internal/build", "internal/stack", "internal/schedule", "internal/simulate", "internal/install", "templates"},
	"internal/build":   {"templates", "internal/stack", "internal/build/fwatchdog"},

	"internal/provider/process": {"internal/watchdog", "internal/provider/fleet"},
	"internal/provider/fake":    {"internal/provider/fleet"},
	// One adapter in four parts.
	"internal/provider/containerd": {
		"internal/provider/fleet", "internal/provider/containerd/content", "internal/provider/containerd/network", "internal/provider/containerd/cgroup",
	},
	"internal/provider/mux": {"internal/provider/fleet"},

	// The benchmark starts a containerd as the tests do, and is no test.
	"internal/provider/containerd/containerdtest": {"internal/provider/containerd/containerdtest/sandbox"},

	"internal/watchdog": {"internal/http1"},

	// Both bring an image here once for all replicas that wait for it.
	"internal/registry":                    {"internal/flight"},
	"internal/provider/containerd/content": {"internal/flight"},

	// The two queues are the same rules over different logs.
	"internal/queue/mem":       {"internal/queue/ledger"},
	"internal/queue/jetstream": {"internal/queue/ledger"},
	"internal/queue/queuetest": {"internal/queue/ledger"},

	// A simulation of parts that are not the real ones would show nothing.
	"internal/simulate": {"internal/scale", "internal/pool"},

	"cmd/lofn":      {"internal/cli", "internal/app"},
	"cmd/fwatchdog": {"internal/watchdog"},
}

func allowedImport(from, to string) bool {
	switch {
	case to == ".":
		return true
	case from == "internal/app":
		return strings.HasPrefix(to, "internal/")
	case strings.HasPrefix(to, "internal/auth") && strings.HasPrefix(from, "internal/auth/"):
		return to == "internal/auth"
	}
	return slices.Contains(partImports[from], to)
}

// TestImportsFormAStar executes the import rule of docs/ARCHITECTURE.md: parts
// know the root package and not each other. Tests may use more.
func TestImportsFormAStar(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || s.dir == "." || strings.HasPrefix(s.dir, "bench") {
			continue
		}
		for _, path := range imports(s) {
			to, ours := strings.CutPrefix(path, "lofn")
			if !ours || to != "" && to[0] != '/' {
				continue
			}
			to = strings.TrimPrefix(to, "/")
			if to == "" {
				to = "."
			}
			if !allowedImport(s.dir, to) {
				t.Errorf("%s imports %s: parts meet in the root package, or docs/RATIONALE.md and policy_test.go say why not", s.path, path)
			}
		}
	}
}

// standardOnly are the folders whose code imports nothing from outside the
// standard library and this module: the vocabulary, the engines and the client.
var standardOnly = []string{
	".", "client", "internal/invoke", "internal/pool", "internal/scale", "internal/simulate", "internal/deploy", "internal/queue", "internal/watchdog", "internal/logstore",
	"internal/problem", "internal/outcome", "internal/auth", "internal/auth/basic", "internal/api", "internal/ui", "internal/provider/fleet", "internal/provider/mux", "internal/flight", "internal/http1", "internal/certs", "internal/handover", "internal/promquery", "cmd/fwatchdog",
}

func TestEnginesUseTheStandardLibraryOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(standardOnly, s.dir) {
			continue
		}
		for _, path := range imports(s) {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s: libraries belong in adapters, telemetry, cli and build", s.path, path)
			}
		}
	}
}

// TestMetricsLibraryStaysInTelemetry keeps the metrics library replaceable.
func TestMetricsLibraryStaysInTelemetry(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range imports(s) {
			if strings.HasPrefix(path, "github.com/prometheus/") && s.dir != "internal/telemetry" {
				t.Errorf("%s imports %s, which only internal/telemetry may", s.path, path)
			}
		}
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	for _, s := range sources(t) {
		name := filepath.Base(s.dir)
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "helper", "misc", "shared"}, name) {
			t.Errorf("%s: a package called %q can hold anything: name it after what it does", s.path, name)
		}
	}
}

// TestNoInitAndNoMutablePackageVariables: what a package does depends on what
// it is given. Variables that are set once and never written, such as tables
// and compiled patterns, are fine; so their declarations must have a value.
func TestNoInitAndNoMutablePackageVariables(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s has a func init", s.path)
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVariables(t, s, d)
				}
			}
		}
	}
}

func checkVariables(t *testing.T, s source, d *ast.GenDecl) {
	t.Helper()
	if strings.Contains(d.Doc.Text(), "-ldflags") {
		return // set by the linker, once
	}
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		embedded := d.Doc != nil && strings.HasPrefix(d.Doc.List[len(d.Doc.List)-1].Text, "//go:embed")
		if len(v.Values) == 0 && !embedded {
			t.Errorf("%s: package variable %s has no value, so somebody writes it later: pass it in", s.path, v.Names[0])
		}
	}
}

// TestEverythingExportedIsExplained: every package and every exported name has
// a doc comment.
func TestEverythingExportedIsExplained(t *testing.T) {
	documented := map[string]bool{}
	all := sources(t)
	for _, s := range all {
		if !s.isTest() && s.file.Doc != nil {
			documented[s.dir] = true
		}
	}
	for _, s := range all {
		if s.isTest() {
			continue
		}
		if !documented[s.dir] {
			t.Errorf("package %s has no doc comment", s.dir)
			documented[s.dir] = true
		}
		for _, decl := range s.file.Decls {
			checkDocumented(t, s, decl)
		}
	}
}

func checkDocumented(t *testing.T, s source, decl ast.Decl) {
	t.Helper()
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !wellKnown[d.Name.Name] {
			t.Errorf("%s: %s has no doc comment", s.path, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch v := spec.(type) {
			case *ast.TypeSpec:
				if v.Name.IsExported() && d.Doc == nil && v.Doc == nil {
					t.Errorf("%s: %s has no doc comment", s.path, v.Name)
				}
			case *ast.ValueSpec:
				if v.Names[0].IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
					t.Errorf("%s: %s has no doc comment", s.path, v.Names[0])
				}
			}
		}
	}
}

// wellKnown are methods of the standard library's interfaces, which say
// nothing more by being documented again.
var wellKnown = map[string]bool{
	"String": true, "GoString": true, "Error": true, "ServeHTTP": true, "Close": true, "Read": true, "Write": true,
	"MarshalJSON": true, "UnmarshalJSON": true, "Len": true, "Less": true, "Swap": true,
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expr := d.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if index, ok := expr.(*ast.IndexExpr); ok {
		expr = index.X
	}
	name, ok := expr.(*ast.Ident)
	return ok && name.IsExported()
}

func imports(s source) []string {
	paths := make([]string, 0, len(s.file.Imports))
	for _, i := range s.file.Imports {
		paths = append(paths, strings.Trim(i.Path.Value, `"`))
	}
	return paths
}
