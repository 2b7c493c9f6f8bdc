package ledger

import (
	"encoding/binary"
	"time"
)

// A record is a page of entries: a version, who wrote it, its number among
// those of the same writer, when, and then for each entry its length, its kind
// and itself.
const pageVersion = 1

// title is what a page begins with.
type title struct {
	writer string
	number uint64
	at     int64
}

func appendTitle(b []byte, t title) []byte {
	b = appendText(append(b, pageVersion), t.writer)
	return binary.AppendVarint(binary.AppendUvarint(b, t.number), t.at)
}

// place is where an entry is: its kind and itself are so many bytes from an
// offset on in a record's data.
type place struct {
	record         uint64
	offset, length uint32
}

func (p place) none() bool { return p.record == 0 }

// readPage returns the title of a record's data, and calls each with every
// entry.
func readPage(number uint64, data []byte, each func(entry, place)) (title, error) {
	if len(data) == 0 || data[0] != pageVersion {
		return title{}, errCorrupt
	}
	d := decoder{data: data[1:]}
	t := title{writer: d.text(), number: d.uint(), at: d.int()}
	for len(d.data) > 0 {
		one := d.bytes()
		if len(one) == 0 {
			return t, errCorrupt
		}
		e, err := readEntry(kind(one[0]), one[1:])
		if err != nil {
			return t, err
		}
		// What is left tells where in the data it was.
		end := len(data) - len(d.data)
		each(e, place{record: number, offset: uint32(end - len(one)), length: uint32(len(one))})
	}
	return t, d.err()
}

// entryAt reads one entry of a record's data.
func entryAt(data []byte, p place) (entry, error) {
	end := uint64(p.offset) + uint64(p.length)
	if p.length == 0 || end > uint64(len(data)) {
		return nil, errCorrupt
	}
	one := data[p.offset:end]
	return readEntry(kind(one[0]), one[1:])
}

// page is a record that is being made.
type page struct {
	data  []byte
	steps []step
	// ids and keys are those that its entries are about: another step of the
	// same call has to wait for the next page.
	ids  map[string]struct{}
	keys map[string]struct{}
	// new counts the calls that it accepts, by function.
	new map[*function]int
	all int
	// taken are the calls that were taken out of their lanes for it.
	taken []*call
	// urgent says that nothing in it takes more room than it frees.
	urgent bool
}

// step is an entry of a page, and where it will be.
type step struct {
	entry entry
	place place
}

func newPage(t title) *page {
	return &page{
		data: appendTitle(make([]byte, 0, 4<<10), t), urgent: true,
		ids: make(map[string]struct{}), keys: make(map[string]struct{}), new: make(map[*function]int),
	}
}

// add writes an entry to the page.
func (p *page) add(e entry, ids ...string) {
	var scratch [binary.MaxVarintLen32]byte
	start := len(p.data)
	p.data = append(p.data, scratch[:]...)
	body := len(p.data)
	p.data = e.append(append(p.data, byte(e.kind())))
	length := len(p.data) - body
	// The length comes before what it is the length of.
	prefix := binary.PutUvarint(scratch[:], uint64(length))
	copy(p.data[start:], scratch[:prefix])
	copy(p.data[start+prefix:], p.data[body:])
	p.data = p.data[:start+prefix+length]
	p.steps = append(p.steps, step{e, place{offset: uint32(start + prefix), length: uint32(length)}})
	for _, id := range ids {
		p.ids[id] = struct{}{}
	}
}

func (p *page) touches(id string) bool {
	_, ok := p.ids[id]
	return ok
}

// mark is a point that a page can go back to.
type mark struct{ data, steps, taken int }

func (p *page) mark() mark { return mark{len(p.data), len(p.steps), len(p.taken)} }

// back undoes what was added since the mark, and returns the calls that were
// taken since. That their ids stay touched makes nobody wait for long.
func (p *page) back(m mark) []*call {
	taken := p.taken[m.taken:]
	p.data, p.steps, p.taken = p.data[:m.data], p.steps[:m.steps], p.taken[:m.taken]
	return taken
}

// moment is the time of Unix nanoseconds, the zero time of 0.
func moment(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// instant is the way back.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
