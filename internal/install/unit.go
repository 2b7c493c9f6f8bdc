package install

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"regexp"
	"strings"
)

// unitText is the unit, with names in braces for what is different from one
// machine to another.
//
//go:embed lofn.service
var unitText string

// unitHead is the unit's first line, up to the checksum of what follows it.
const unitHead = "# lofn install wrote this; checksum "

// unit returns the unit of a service.
func unit(program string, s Service) string {
	wants := "network-online.target"
	if s.Containerd != "" {
		wants += " containerd.service"
	}
	body := strings.NewReplacer(
		"{program}", program, "{settings}", settingsPath, "{wants}", wants, "{data}", unitQuote(s.Data),
	).Replace(unitText)
	return unitHead + checksum(body) + "\n" + body
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// isUnedited reports whether a unit is one that an installation wrote, and
// nobody has changed since.
func isUnedited(unit string) bool {
	head, body, _ := strings.Cut(unit, "\n")
	sum, ours := strings.CutPrefix(head, unitHead)
	return ours && sum == checksum(body)
}

// unitQuote writes a path as systemd.syntax(7) has it.
func unitQuote(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(path) + `"`
}

// execStart finds the program that a unit starts.
var execStart = regexp.MustCompile(`(?m)^ExecStart=[@:+!-]*(\S+)`)

// programOf is the program that a unit starts, or empty.
func programOf(unit string) string {
	if found := execStart.FindStringSubmatch(unit); found != nil {
		return found[1]
	}
	return ""
}
