package lofn_test

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"

	"lofn"
)

// TestEveryAnnotationIsKnown: a constant that names an annotation of lofn's is
// one that functions may have.
func TestEveryAnnotationIsKnown(t *testing.T) {
	found := 0
	for _, s := range sources(t) {
		if s.dir != "." || s.isTest() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING || !strings.HasPrefix(text.Value, `"lofn.dev/`) || text.Value == `"lofn.dev/"` {
				return true
			}
			found++
			name := strings.Trim(text.Value, `"`)
			err := lofn.Spec{Image: "echo", Annotations: map[string]string{name: ""}}.Validate()
			if err != nil && strings.Contains(err.Error(), "is unknown") {
				t.Errorf("%s: %v", s.path, err)
			}
			return true
		})
	}
	if found < 12 {
		t.Errorf("found only %d annotations: the search is broken", found)
	}
}

func TestUnknownAnnotationsOfOursAreRefused(t *testing.T) {
	spec := lofn.Spec{Image: "echo", Annotations: map[string]string{"example.org/any": "x", "lofn.dev/non-rot": "true"}}
	err := spec.Validate()
	if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "lofn.dev/non-rot is unknown") || !strings.Contains(err.Error(), lofn.AnnotationNonRoot) {
		t.Errorf("error %v", err)
	}
	delete(spec.Annotations, "lofn.dev/non-rot")
	if err := spec.Validate(); err != nil {
		t.Error(err)
	}
}
