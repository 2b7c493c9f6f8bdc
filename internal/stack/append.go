package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"lofn"
)

// New returns the text of a stack file with one function.
func New(gateway string, f Function) ([]byte, error) {
	var b strings.Builder
	b.WriteString("version: 1.0\nprovider:\n  name: openfaas\n")
	if gateway != "" {
		fmt.Fprintf(&b, "  gateway: %s\n", quoted(gateway))
	}
	b.WriteString("functions:\n")
	text, err := f.yaml(2)
	if err != nil {
		return nil, err
	}
	return append([]byte(b.String()), text...), nil
}

// Append returns data, the text of the stack file called name, with f as its
// last function. Everything else stays as it is, comments too. A function of
// that name that is there already is an Exists error.
func Append(name string, data []byte, f Function) ([]byte, error) {
	p := &parser{file: name}
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	at, err := p.insertion(root, data, f.Name)
	if err != nil {
		return nil, err
	}
	text, err := f.yaml(at.indent)
	if err != nil {
		return nil, err
	}
	return at.apply(data, text), nil
}

// WriteFile replaces the file at path in one step, so that a reader sees the
// old text or the new.
func WriteFile(path string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".stack-*")
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "stack file: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Chmod(modeOf(path))
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "stack file: %w", err)
	}
	return nil
}

func modeOf(path string) os.FileMode {
	if info, err := os.Stat(path); err == nil {
		return info.Mode().Perm()
	}
	return 0o644
}

// insertion is where in a file's lines a function goes.
type insertion struct {
	// after is the number of lines that come before it.
	after  int
	indent int
	// header is a line that has to come first, "functions:".
	header string
	// replaces is the number of a line that goes away, an empty "functions:".
	replaces int
}

func (p *parser) insertion(root value, data []byte, name string) (insertion, error) {
	lines := bytes.Count(data, []byte("\n"))
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		lines++
	}
	if isNull(root) {
		return insertion{after: lines, indent: 2, header: "functions:"}, nil
	}
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 {
		return insertion{}, lofn.Errorf(lofn.Invalid, "%s is not a stack file that can be added to: it must be a map of one key a line", p.at(root.Line))
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i]; key.Value == "functions" {
			end := lines
			if i+2 < len(root.Content) {
				end = root.Content[i+2].Line - 1
			}
			return p.afterFunctions(key, root.Content[i+1], bytes.Split(data, []byte("\n"))[:end], name)
		}
	}
	return underNewKey(lines, root.Content[0]), nil
}

// underNewKey is a place for a function under a "functions:" of its own, which
// lines up with another key of the file.
func underNewKey(after int, beside *yaml.Node) insertion {
	margin := beside.Column - 1
	return insertion{after: after, indent: margin + 2, header: strings.Repeat(" ", margin) + "functions:"}
}

// afterFunctions finds the end of the functions, before the comments and blank
// lines that lead up to the next key. The lines are those up to that key.
func (p *parser) afterFunctions(key, functions *yaml.Node, lines [][]byte, name string) (insertion, error) {
	if isNull(value{functions, 0}) || functions.Kind == yaml.MappingNode && len(functions.Content) == 0 {
		at := underNewKey(key.Line, key)
		at.replaces = key.Line
		return at, nil
	}
	if functions.Kind != yaml.MappingNode || functions.Style&yaml.FlowStyle != 0 {
		return insertion{}, lofn.Errorf(lofn.Invalid, "%sfunctions: must be a map of one function a line to be added to", p.at(key.Line))
	}
	for i := 0; i < len(functions.Content); i += 2 {
		if functions.Content[i].Value == name {
			return insertion{}, lofn.Errorf(lofn.Exists, "%sfunctions.%s: is there already: choose another name", p.at(functions.Content[i].Line), name)
		}
	}
	after := len(lines)
	for after > 0 && leadsOn(lines[after-1]) {
		after--
	}
	return insertion{after: after, indent: functions.Content[0].Column - 1}, nil
}

// leadsOn reports whether a line before a top-level key belongs to that key: a
// blank one or a comment that is not indented.
func leadsOn(line []byte) bool {
	return len(bytes.TrimSpace(line)) == 0 || line[0] == '#' || bytes.Equal(bytes.TrimSpace(line), []byte("---"))
}

func (at insertion) apply(data, text []byte) []byte {
	lines := bytes.SplitAfter(data, []byte("\n"))
	var b bytes.Buffer
	for i, line := range lines[:min(at.after, len(lines))] {
		if i+1 == at.replaces {
			continue
		}
		b.Write(line)
		if !bytes.HasSuffix(line, []byte("\n")) && len(line) > 0 {
			b.WriteByte('\n')
		}
	}
	if at.header != "" {
		b.WriteString(at.header + "\n")
	} else {
		b.WriteByte('\n')
	}
	b.Write(text)
	for _, line := range lines[min(at.after, len(lines)):] {
		b.Write(line)
	}
	return b.Bytes()
}

// yaml returns f as an entry of "functions:", indented by that many columns.
func (f Function) yaml(indent int) ([]byte, error) {
	if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: f.Name}).Validate(); err != nil {
		return nil, err
	}
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	line := func(level int, key, text string) {
		fmt.Fprintf(&b, "%s%s%s: %s\n", margin, strings.Repeat("  ", level), key, quoted(text))
	}
	fmt.Fprintf(&b, "%s%s:\n", margin, quoted(f.Name))
	for _, field := range []struct{ key, text string }{
		{"lang", f.Lang}, {"handler", f.Handler}, {"image", f.Image}, {"fprocess", f.Process}, {"namespace", f.Namespace},
	} {
		if field.text != "" {
			line(1, field.key, field.text)
		}
	}
	for _, r := range []struct {
		key string
		*lofn.Resources
	}{{"limits", f.Limits}, {"requests", f.Requests}} {
		if r.Resources == nil || *r.Resources == (lofn.Resources{}) {
			continue
		}
		fmt.Fprintf(&b, "%s  %s:\n", margin, r.key)
		if r.Memory != "" {
			line(2, "memory", r.Memory)
		}
		if r.CPU != "" {
			line(2, "cpu", r.CPU)
		}
	}
	return []byte(b.String()), nil
}

// quoted returns text as a YAML scalar that reads back as the same string.
func quoted(text string) string {
	out, err := yaml.Marshal(text)
	if err != nil || bytes.ContainsRune(bytes.TrimSpace(out), '\n') {
		return fmt.Sprintf("%q", text)
	}
	return string(bytes.TrimSpace(out))
}
