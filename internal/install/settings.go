package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// Setting is a variable of the settings' file.
type Setting struct {
	// Name is the variable's, Usage says what it is for, and Default is what
	// holds without it.
	Name, Usage, Default string
	// Value is what was asked for, if Given is set.
	Value string
	Given bool
}

const settingsHead = `# Settings of the lofn service. This file is yours: lofn install made it, and
# will never write to it again. After a change: systemctl restart lofn
#
# Each setting is a flag of lofn serve. A line with # in front says what holds
# without it. Other variables may stand here too, such as HTTPS_PROXY.
`

// render returns the text of the settings' file.
func render(settings []Setting) string {
	var b strings.Builder
	b.WriteString(settingsHead)
	for _, s := range settings {
		b.WriteString("\n")
		for _, line := range wrap(s.Usage, 78) {
			b.WriteString("# " + line + "\n")
		}
		if s.Given {
			fmt.Fprintf(&b, "%s=%s\n", s.Name, quote(s.Value))
		} else {
			fmt.Fprintf(&b, "#%s=%s\n", s.Name, quote(s.Default))
		}
	}
	return b.String()
}

// wrap breaks a text at spaces into lines of so many bytes, if it can.
func wrap(text string, width int) (lines []string) {
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// bare is a value that needs no quotes.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:,@%+=-]*$`)

// quote writes a value as systemd.exec(5) reads it from an EnvironmentFile.
func quote(value string) string {
	if bare.MatchString(value) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// Settings reads the settings' file. Without one there are none, and ok is
// false.
func (p Place) Settings() (values map[string]string, ok bool, err error) {
	text, err := os.ReadFile(p.under(settingsPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return parse(string(text)), true, nil
}

// parse reads variables as systemd does, which ignores lines that are none.
func parse(text string) map[string]string {
	values := make(map[string]string)
	text = strings.ReplaceAll(text, "\\\n", "")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if ok && line[0] != '#' && line[0] != ';' {
			values[strings.TrimSpace(name)] = unquote(strings.TrimSpace(value))
		}
	}
	return values
}

// unquote takes quotes and backslashes off a value.
func unquote(text string) string {
	var b strings.Builder
	var open byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == open && open != 0:
			open = 0
		case open == 0 && (c == '\'' || c == '"'):
			open = c
		case c == '\\' && open != '\'' && i+1 < len(text) && (open == 0 || strings.IndexByte("\"\\`$", text[i+1]) >= 0):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// differences says in what the file is not what would be written now.
func differences(settings []Setting, text string) (notes []string) {
	have := parse(text)
	var unknown []string
	for _, s := range settings {
		value, ok := have[s.Name]
		is := "is not set"
		if ok {
			is = "is " + quote(value)
		}
		if s.Given && value != s.Value {
			notes = append(notes, fmt.Sprintf("%s is kept, where %s %s and not %s: edit it, then run systemctl restart lofn", settingsPath, s.Name, is, quote(s.Value)))
		} else if !ok && !strings.Contains(text, "#"+s.Name+"=") {
			unknown = append(unknown, s.Name)
		}
	}
	if len(unknown) > 0 {
		notes = append(notes, fmt.Sprintf("%s is kept, and does not mention %s: see lofn serve --help", settingsPath, strings.Join(unknown, ", ")))
	}
	return notes
}
