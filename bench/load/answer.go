package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// answer reads one answer after the other, in pieces as they come.
type answer struct {
	part part
	// line has what came of a head, or of a line between chunks, that was not
	// whole yet.
	line    []byte
	status  int
	phrase  string // the status as the server put it, if it is not a success
	close   bool   // the server announced that it closes the connection
	chunked bool
	left    int64 // of the body, or of the chunk
	// excerpt is the start of a body that tells of a failure.
	excerpt []byte
}

// part is what comes next.
type part int

const (
	partHead part = iota
	partBody
	partChunkSize
	partChunk
	partChunkEnd
	partTrailer
)

func (a *answer) success() bool { return a.status >= 200 && a.status <= 299 }

// begun reports whether anything came of an answer yet.
func (a *answer) begun() bool { return a.part != partHead || len(a.line) > 0 }

// feed takes the next bytes from the server. done tells that the answer is
// complete; used is how many bytes were its own.
func (a *answer) feed(b []byte) (used int, done bool, err error) {
	for used < len(b) {
		n, done, err := a.step(b[used:])
		used += n
		if done || err != nil {
			return used, done, err
		}
	}
	return used, false, nil
}

func (a *answer) step(b []byte) (n int, done bool, err error) {
	switch a.part {
	case partHead:
		head, n := a.until(b, "\r\n\r\n")
		if head == nil {
			return n, false, nil
		}
		err := a.begin(head)
		return n, a.part == partBody && a.left == 0, err
	case partBody, partChunk:
		return a.body(b)
	}
	line, n := a.until(b, "\r\n")
	if line == nil {
		return n, false, nil
	}
	done, err = a.between(bytes.TrimSuffix(line, []byte("\r\n")))
	return n, done, err
}

// until returns what there is up to and with the end, nil if that has not
// come, and how many bytes of b it used.
func (a *answer) until(b []byte, end string) (whole []byte, used int) {
	if len(a.line) == 0 {
		if i := bytes.Index(b, []byte(end)); i >= 0 {
			return b[:i+len(end)], i + len(end)
		}
	}
	before := len(a.line)
	a.line = append(a.line, b...)
	i := bytes.Index(a.line[max(0, before-len(end)):], []byte(end))
	if i < 0 {
		return nil, len(b)
	}
	whole = a.line[:max(0, before-len(end))+i+len(end)]
	a.line = a.line[:0]
	return whole, len(whole) - before
}

// begin reads the head.
func (a *answer) begin(head []byte) (err error) {
	first, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(first) < len("HTTP/1.1 200") || !bytes.HasPrefix(first, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("an answer that begins with %q", first)
	}
	if a.status, err = strconv.Atoi(string(first[9:12])); err != nil {
		return fmt.Errorf("an answer that begins with %q", first)
	}
	a.part, a.left, a.close, a.chunked, a.phrase, a.excerpt = partBody, -1, false, false, "", nil
	if !a.success() {
		a.phrase = string(first[9:])
	}
	for len(rest) > 2 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		if err := a.header(name, bytes.TrimSpace(value)); err != nil {
			return err
		}
	}
	switch {
	case a.chunked:
		a.part = partChunkSize
	case a.status == 204 || a.status == 304:
		a.left = 0
	case a.left < 0:
		return errors.New("an answer that does not say how long it is")
	}
	return nil
}

func (a *answer) header(name, value []byte) (err error) {
	switch {
	case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
		a.left, err = strconv.ParseInt(string(value), 10, 64)
	case len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding")):
		a.chunked = bytes.EqualFold(value, []byte("chunked"))
	case len(name) == 10 && bytes.EqualFold(name, []byte("Connection")):
		a.close = bytes.EqualFold(value, []byte("close"))
	}
	return err
}

// body passes over the bytes of a body or of a chunk.
func (a *answer) body(b []byte) (n int, done bool, err error) {
	n = int(min(int64(len(b)), a.left))
	a.left -= int64(n)
	if room := 200 - len(a.excerpt); !a.success() && room > 0 {
		a.excerpt = append(a.excerpt, b[:min(n, room)]...)
	}
	if a.left > 0 {
		return n, false, nil
	}
	if a.part == partChunk {
		a.part = partChunkEnd
		return n, false, nil
	}
	return n, true, nil
}

// between reads a line that belongs to the chunks.
func (a *answer) between(line []byte) (done bool, err error) {
	switch a.part {
	case partChunkSize:
		size, _, _ := bytes.Cut(line, []byte(";"))
		if a.left, err = strconv.ParseInt(string(size), 16, 64); err != nil {
			return false, fmt.Errorf("a chunk that begins with %q", line)
		}
		a.part = partChunk
		if a.left == 0 {
			a.part = partTrailer
		}
	case partChunkEnd:
		a.part = partChunkSize
	case partTrailer:
		return len(line) == 0, nil
	}
	return false, nil
}

// next makes ready for the next answer.
func (a *answer) next() { a.part, a.line = partHead, a.line[:0] }
