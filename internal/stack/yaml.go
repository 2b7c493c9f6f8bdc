package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"lofn"
)

// parser walks the nodes of a YAML document by hand, because decoding into a
// struct would drop unknown keys, change the text of scalars (1.10 to 1.1) and
// say little about where a mistake is.
type parser struct {
	file     string
	problems []problem
	// merged counts the entries that "<<" brought in, to bound what a small
	// file can blow up to.
	merged int
}

type problem struct {
	line int
	text string
}

// value is a node with the line of the key that it belongs to, which is where
// a person looks for it.
type value struct {
	*yaml.Node
	keyLine int
}

// reader takes the value found at a path such as "functions.echo.image".
type reader func(path string, v value)

func (p *parser) fail(line int, path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	p.problems = append(p.problems, problem{line, text})
}

// err returns all problems, a line each in the order of the file, or nil.
func (p *parser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(p.problems, func(a, b problem) int { return a.line - b.line })
	const most = 20
	var lines []string
	for _, problem := range p.problems[:min(most, len(p.problems))] {
		lines = append(lines, p.at(problem.line)+problem.text)
	}
	if more := len(p.problems) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more mistakes", p.file, more))
	}
	return lofn.Errorf(lofn.Invalid, "%s", strings.Join(lines, "\n"))
}

func (p *parser) at(line int) string {
	if line == 0 {
		return p.file + ": "
	}
	return fmt.Sprintf("%s:%d: ", p.file, line)
}

// document returns the root node of the only document in data.
func (p *parser) document(data []byte) (value, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return value{&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, 0}, nil
	}
	if err != nil {
		return value{}, p.syntax(err)
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		return value{}, lofn.Errorf(lofn.Invalid, "%sa second YAML document begins here: keep one in a file", p.at(second.Line))
	case !errors.Is(err, io.EOF):
		return value{}, p.syntax(err)
	}
	root := doc.Content[0]
	return value{root, root.Line}, nil
}

var syntaxLine = regexp.MustCompile(`^yaml: line (\d+): (?s:(.*))$`)

func (p *parser) syntax(err error) error {
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		return lofn.Errorf(lofn.Invalid, "%s:%s: not YAML: %s", p.file, m[1], m[2])
	}
	// The library does not count the first line.
	return lofn.Errorf(lofn.Invalid, "%s:1: not YAML: %s", p.file, strings.TrimPrefix(err.Error(), "yaml: "))
}

// entry is a key of a mapping and its value.
type entry struct {
	key string
	value
}

// entries returns the mapping's entries in order, with aliases followed and
// "<<" merged in. Nothing but null and a mapping is one; expected says what
// would have been right.
func (p *parser) entries(path string, v value, expected string) []entry {
	v = resolve(v)
	if isNull(v) {
		return nil
	}
	if v.Kind != yaml.MappingNode {
		p.fail(v.keyLine, path, "must be %s, not %s", expected, kind(v))
		return nil
	}
	return p.mapping(path, v, 0)
}

// maxMerges bounds nested and total "<<" entries; no honest file comes near.
const (
	maxMergeDepth   = 16
	maxMergeEntries = 10_000
)

func (p *parser) mapping(path string, v value, depth int) []entry {
	var own, merged []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(v.Content); i += 2 {
		key, val := v.Content[i], v.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, p.merge(path, value{val, key.Line}, depth)...)
			continue
		}
		key = resolve(value{key, key.Line}).Node
		if key.Kind != yaml.ScalarNode {
			p.fail(key.Line, path, "a key must be a plain name, not %s", kind(value{key, key.Line}))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			p.fail(key.Line, join(path, key.Value), "is given twice: first on line %d", first)
			continue
		}
		seen[key.Value] = key.Line
		own = append(own, entry{key.Value, value{val, key.Line}})
	}
	for _, e := range merged {
		if _, ok := seen[e.key]; !ok {
			seen[e.key] = e.keyLine
			own = append(own, e)
		}
	}
	return own
}

func (p *parser) merge(path string, v value, depth int) []entry {
	v = resolve(v)
	sources := []value{v}
	if v.Kind == yaml.SequenceNode {
		sources = sources[:0]
		for _, n := range v.Content {
			sources = append(sources, resolve(value{n, n.Line}))
		}
	}
	var all []entry
	for _, source := range sources {
		if source.Kind != yaml.MappingNode {
			p.fail(v.keyLine, join(path, "<<"), "must name a map, not %s", kind(source))
			return nil
		}
		if depth >= maxMergeDepth || p.merged > maxMergeEntries {
			p.fail(v.keyLine, join(path, "<<"), "merges too much into one place")
			return nil
		}
		p.merged += len(source.Content)/2 + 1
		all = append(all, p.mapping(path, source, depth+1)...)
	}
	return all
}

// fields reads a mapping whose keys are known. Others are mistakes, unless
// they start with "x-".
func (p *parser) fields(v value, path string, known map[string]reader) {
	for _, e := range p.entries(path, v, "a map with keys such as "+strings.Join(sortedKeys(known)[:min(3, len(known))], ", ")) {
		if strings.HasPrefix(e.key, "x-") {
			continue
		}
		read, ok := known[e.key]
		if !ok {
			p.fail(e.keyLine, path, "unknown key %q%s", e.key, suggestion(e.key, sortedKeys(known)))
			continue
		}
		read(join(path, e.key), e.value)
	}
}

// scalar returns the source text of a scalar: 0123 stays 0123, true stays true.
func (p *parser) scalar(path string, v value, expected string) (string, bool) {
	v = resolve(v)
	switch {
	case isNull(v):
		return "", true
	case v.Kind == yaml.ScalarNode:
		return v.Value, true
	}
	p.fail(v.keyLine, path, "must be %s, not %s", expected, kind(v))
	return "", false
}

func (p *parser) text(path string, v value) string {
	s, _ := p.scalar(path, v, "one value")
	return s
}

func (p *parser) boolean(path string, v value) bool {
	s, ok := p.scalar(path, v, "true or false")
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off", "":
		return false
	}
	if ok {
		p.fail(v.keyLine, path, "must be true or false, not %q", s)
	}
	return false
}

// stringMap reads a map of names to values; check, if any, judges the names.
func (p *parser) stringMap(path string, v value, check func(name string) error) map[string]string {
	var m map[string]string
	for _, e := range p.entries(path, v, "a map of names to values") {
		text, ok := p.scalar(join(path, e.key), e.value, "one value")
		if !ok {
			continue
		}
		if check != nil {
			if err := check(e.key); err != nil {
				p.fail(e.keyLine, path, "%v", err)
			}
		}
		if m == nil {
			m = map[string]string{}
		}
		m[e.key] = text
	}
	return m
}

// list reads a list of values; check, if any, judges each.
func (p *parser) list(path string, v value, check func(item string) error) []string {
	var items []string
	for i, item := range p.sequence(path, v) {
		text, ok := p.scalar(fmt.Sprintf("%s[%d]", path, i), item, "one value")
		if !ok {
			continue
		}
		if check != nil {
			if err := check(text); err != nil {
				p.fail(item.keyLine, path, "%v", err)
			}
		}
		items = append(items, text)
	}
	return items
}

func (p *parser) sequence(path string, v value) []value {
	v = resolve(v)
	switch {
	case isNull(v):
		return nil
	case v.Kind == yaml.ScalarNode:
		p.fail(v.keyLine, path, "must be a list, not one value: write [%s]", v.Value)
		return nil
	case v.Kind != yaml.SequenceNode:
		p.fail(v.keyLine, path, "must be a list, not %s", kind(v))
		return nil
	}
	items := make([]value, len(v.Content))
	for i, n := range v.Content {
		items[i] = value{n, n.Line}
	}
	return items
}

func resolve(v value) value {
	for v.Kind == yaml.AliasNode {
		v.Node = v.Alias
	}
	return v
}

func isNull(v value) bool { return v.Kind == yaml.ScalarNode && v.Tag == "!!null" }

func kind(v value) string {
	switch resolve(v).Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("the value %q", v.Value)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
