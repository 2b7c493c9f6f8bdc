package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"lofn/internal/http1"
)

// decode decodes a body that comes in pieces of the size given.
func decode(raw string, piece int) (body string, used int, done bool, err error) {
	var c http1.Chunks
	for used < len(raw) && !done {
		p := []byte(raw[used:min(used+piece, len(raw))])
		var n, m int
		n, m, done, err = c.Decode(p)
		body += string(p[:n])
		if used += m; err != nil {
			return body, used, false, err
		}
	}
	return body, used, done, nil
}

func TestChunksInPiecesOfAnySize(t *testing.T) {
	for raw, want := range map[string]string{
		"0\r\n\r\n":                                     "",
		"4\r\nbody\r\n0\r\n\r\n":                        "body",
		"04\r\nbody\r\n000\r\n\r\n":                     "body",
		"1\r\nb\r\n3\r\nody\r\n0\r\n\r\n":               "body",
		"A;a=b;c=\"d\"\r\n0123456789\r\n0;x\r\n\r\n":    "0123456789",
		"4 \t\r\nbody\r\n0\r\n\r\n":                     "body",
		"4\r\n\r\n\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n":    "\r\n\r\n",
		"4\r\nbody\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": "body",
	} {
		for piece := 1; piece <= len(raw); piece++ {
			body, used, done, err := decode(raw, piece)
			if err != nil || !done || body != want {
				t.Errorf("%q in pieces of %d: got %q, %v, %v", raw, piece, body, done, err)
			}
			if rest := raw[used:]; rest != "" && rest[0] != 'H' {
				t.Errorf("%q in pieces of %d: %q is left", raw, piece, rest)
			}
		}
	}
}

func TestChunksThatAreNotPlain(t *testing.T) {
	for _, raw := range []string{
		"\r\n", "x\r\n", "-4\r\nbody\r\n", "+4\r\nbody\r\n", "0x4\r\nbody\r\n", " 4\r\nbody\r\n", "4\nbody\r\n", "4\r\rbody", "4\r\nbodyX\n0\r\n\r\n",
		"4\r\nbody\n0\r\n\r\n", "4\r\nbody\rX", "ffffffffffffffff\r\n", "4;a\x00b\r\nbody\r\n", "4;" + strings.Repeat("a", 5000) + "\r\nbody\r\n",
		"4\r\nbodybody\r\n", "0\r\n" + strings.Repeat("A: b\r\n", 20_000) + "\r\n", "4 4\r\nbody\r\n",
	} {
		if body, _, done, err := decode(raw, 7); !errors.Is(err, http1.ErrUnusual) || done {
			t.Errorf("%.40q: got %.40q, done: %v, %v; want unusual", raw, body, done, err)
		}
	}
}

func TestTrailers(t *testing.T) {
	for raw, want := range map[string]string{
		"0\r\n\r\n":                 "",
		"0\r\nA: b\r\nC:d \r\n\r\n": "A=b C=d ",
		"0\r\nA : b\r\n\r\n":        "unusual",
		"0\r\nA: b\r\n c\r\n\r\n":   "unusual",
		"0\r\nno colon\r\n\r\n":     "unusual",
		"0\r\nA: b\x00\r\n\r\n":     "unusual",
		"0\r\nA: b\nC: d\r\n\r\n":   "unusual",
	} {
		var c http1.Chunks
		if _, _, done, err := c.Decode([]byte(raw)); err != nil || !done {
			t.Errorf("%q: done: %v, %v", raw, done, err)
			continue
		}
		got := ""
		list, err := c.Trailers()
		for _, h := range list {
			got += string(h.Name) + "=" + string(h.Value) + " "
		}
		if errors.Is(err, http1.ErrUnusual) {
			got = "unusual"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

// FuzzChunks holds Decode to net/http: what it accepts, net/http reads in the
// same way, and it matters to neither how the body is cut into pieces.
func FuzzChunks(f *testing.F) {
	for _, raw := range []string{"0\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n", "4;a=b\r\nbody\r\n0\r\nA: b\r\n\r\nX", "fffffffffffffff\r\nbody", "1\n\n0\n\n"} {
		f.Add(raw, 3)
	}
	f.Fuzz(func(t *testing.T, raw string, piece int) {
		if piece <= 0 {
			piece = 1
		}
		body, used, done, err := decode(raw, piece)
		whole, usedWhole, doneWhole, errWhole := decode(raw, len(raw)+1)
		if done != doneWhole || (err == nil) != (errWhole == nil) || err == nil && (body != whole || used != usedWhole) {
			t.Fatalf("in pieces of %d: %q %d %v %v; at once: %q %d %v %v", piece, body, used, done, err, whole, usedWhole, doneWhole, errWhole)
		}
		if !done {
			return
		}
		source := bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), strings.NewReader(raw)))
		resp, err := http.ReadResponse(source, nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(resp.Body)
		var c http1.Chunks
		_, _, _, _ = c.Decode([]byte(raw))
		if _, trailersErr := c.Trailers(); trailersErr != nil {
			return // refused all the same
		}
		left, _ := io.ReadAll(source)
		if err != nil || !bytes.Equal(theirs, []byte(body)) || len(left) != len(raw)-used {
			t.Fatalf("net/http read %q and left %d (%v), not %q and %d", theirs, len(left), err, body, len(raw)-used)
		}
	})
}
