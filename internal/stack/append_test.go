package stack_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/stack"
)

// TestAppend adds a function to every file of testdata/append up to
// "-- want --" and expects the text that follows.
func TestAppend(t *testing.T) {
	files, err := filepath.Glob("testdata/append/*.txt")
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
			got, err := stack.Append("s.yml", []byte(text), stack.Function{Name: "added", Lang: "go", Handler: "./added", Image: "added:latest"})
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestAppendErrors(t *testing.T) {
	for text, c := range map[string]struct {
		code lofn.Code
		want string
	}{
		"functions:\n  added:\n":      {lofn.Exists, "s.yml:2: functions.added: is there already"},
		"functions: {a: }\n":          {lofn.Invalid, "s.yml:1: functions: must be a map of one function a line"},
		"functions: [a]\n":            {lofn.Invalid, "s.yml:1: functions: must be a map of one function a line"},
		"{provider: {}}\n":            {lofn.Invalid, "is not a stack file that can be added to"},
		"a: b: c\n":                   {lofn.Invalid, "s.yml:1: not YAML: "},
		"functions:\n  a: &x {}\n---": {lofn.Invalid, ""},
	} {
		_, err := stack.Append("s.yml", []byte(text), stack.Function{Name: "added"})
		if err == nil && c.want == "" {
			continue
		}
		if err == nil || lofn.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", text, err, c.want)
		}
	}
	if _, err := stack.Append("s.yml", nil, stack.Function{Name: "Bad"}); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestNewReadsBack(t *testing.T) {
	want := stack.Function{
		Name: "fn", Lang: "python3-http", Handler: "./fn", Image: "${PREFIX}/fn:1.10", Process: `sh -c "a: b # c"`, Namespace: "staging",
		Limits: &lofn.Resources{Memory: "128Mi"}, Requests: &lofn.Resources{CPU: "0.5"},
	}
	text, err := stack.New("http://127.0.0.1:8080", want)
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.Parse("s.yml", text, stack.Options{})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := *s.Function("fn")
	got.Line = 0
	if !reflect.DeepEqual(got, want) || s.Provider.Gateway != "http://127.0.0.1:8080" {
		t.Errorf("got %+v from\n%s", got, text)
	}
}

func TestWriteFileKeepsTheMode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stack.yml")
	if err := stack.WriteFile(file, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stack.WriteFile(file, []byte("two")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != "two" {
		t.Errorf("got %q, %v", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("left behind %v, %v", entries, err)
	}
	if err := stack.WriteFile(filepath.Join(file, "x"), nil); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}
