package ledger

import (
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
)

// Numbers are written as varints, texts with their length before them. A field
// that was added later comes last, and is missing in older entries: a decoder
// that has come to the end reads zeros.

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func appendBool(b []byte, value bool) []byte {
	if value {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, text := range texts {
		b = appendText(b, text)
	}
	return b
}

// appendHeader writes the names in order, so that the same header is always
// the same bytes.
func appendHeader(b []byte, h http.Header) []byte {
	names := make([]string, 0, 24)
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendTexts(appendText(b, name), h[name])
	}
	return b
}

// decoder reads what the functions above wrote. It never reads beyond its data;
// once something made no sense, all that follows is zero.
type decoder struct {
	data []byte
	bad  bool
}

var errCorrupt = errors.New("a record of the queue makes no sense: it is damaged, or from a later lofn")

func (d *decoder) err() error {
	if d.bad {
		return errCorrupt
	}
	return nil
}

func (d *decoder) fail() {
	d.data, d.bad = nil, true
}

func (d *decoder) uint() uint64 {
	value, n := binary.Uvarint(d.data)
	d.pass(n)
	return value
}

func (d *decoder) int() int64 {
	value, n := binary.Varint(d.data)
	d.pass(n)
	return value
}

// pass goes on after a number of n bytes. Without data there are none.
func (d *decoder) pass(n int) {
	switch {
	case n > 0:
		d.data = d.data[n:]
	case len(d.data) > 0:
		d.fail()
	}
}

func (d *decoder) bool() bool { return d.uint() != 0 }

// bytes returns a part of the data itself.
func (d *decoder) bytes() []byte {
	length := d.uint()
	if length > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	part := d.data[:length:length]
	d.data = d.data[length:]
	return part
}

func (d *decoder) text() string { return string(d.bytes()) }

// count reads how many elements follow, of at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.data)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) texts() []string {
	texts := make([]string, 0, d.count())
	for range cap(texts) {
		texts = append(texts, d.text())
	}
	return texts
}

func (d *decoder) header() http.Header {
	n := d.count()
	if n == 0 {
		return nil
	}
	h := make(http.Header, n)
	for range n {
		name := d.text()
		h[name] = d.texts()
	}
	return h
}
