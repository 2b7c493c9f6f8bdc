package fleet

import (
	"bytes"
	"slices"
	"strings"
)

// Tail remembers the end of what a replica wrote. It is for one goroutine at a
// time.
type Tail struct{ last []byte }

// remembered is how much of the end of the output is kept.
const remembered = 4096

// Write takes in more output; it never fails.
func (t *Tail) Write(b []byte) (int, error) {
	t.last = append(t.last, b[max(0, len(b)-remembered):]...)
	if over := len(t.last) - remembered; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(b), nil
}

// LastWords is the line that best says why the replica ended: the last one that
// speaks of an error, or else the last that is not empty. It is shortened.
func (t *Tail) LastWords() string {
	const longest = 200
	lines := bytes.Split(bytes.TrimSpace(t.last), []byte("\n"))
	text := bytes.TrimSpace(lines[len(lines)-1])
	for _, l := range slices.Backward(lines) {
		if bytes.Contains(l, []byte("Error")) || bytes.Contains(l, []byte("error:")) || bytes.HasPrefix(l, []byte("panic:")) {
			text = bytes.TrimSpace(l)
			break
		}
	}
	return strings.ToValidUTF8(string(text[:min(len(text), longest)]), "?")
}
