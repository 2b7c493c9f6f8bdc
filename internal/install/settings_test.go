package install_test

import (
	"strings"
	"testing"

	"lofn/internal/install"
)

// What is written is read again as it was. That systemd reads the same is for
// TestServer in cmd/lofn, which asks it.
func FuzzQuote(f *testing.F) {
	for _, value := range []string{"", "a", "127.0.0.1:8080", `a "b" 'c' \d`, "`$HOME`", " x ", "a=b#c;d", "é\xff", `\`} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\n\r\x00") {
			return // no setting is accepted with one of these
		}
		if got := install.Parse("X=" + install.Quote(value) + "\n")["X"]; got != value {
			t.Errorf("%q was written as %s and read as %q", value, install.Quote(value), got)
		}
	})
}

func TestParseReadsWhatAdministratorsWrite(t *testing.T) {
	got := install.Parse("\n# A=1\n; B=2\nC = 3 \n  D='x \\ \"y'\nE=\"a\\\"b\\$\\c\"\nF=a\\\nb\nno setting\nG=\nH=x\\ y\nC=4\r\n")
	want := map[string]string{"C": "4", "D": `x \ "y`, "E": `a"b$\c`, "F": "ab", "G": "", "H": "x y"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q and not %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestSettingsSayWhatHolds(t *testing.T) {
	text := install.Render([]install.Setting{
		{Name: "LOFN_A", Usage: strings.Repeat("word ", 40), Default: "1", Value: "2", Given: true},
		{Name: "LOFN_B", Usage: "what it is", Default: "a b"},
	})
	for _, want := range []string{"\nLOFN_A=2\n", "\n# what it is\n#LOFN_B=\"a b\"\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > 81 {
			t.Errorf("a line is %d bytes long: %s", len(line), line)
		}
	}
}
