package ledger

// records counts how much of each record of the log is still live.
type records struct {
	// first is the number of the first one that is kept.
	first uint64
	sizes []recordSize
	// bytes and live are those of all.
	bytes, live int64
	// small is what is not worth to be made smaller.
	small int64
}

type recordSize struct{ bytes, live uint32 }

// overhead is what a record costs beside its data, when it is read: the same as
// so many bytes. Small records are worth to be copied together.
const overhead = 1 << 10

// add makes the next record known.
func (r *records) add(number uint64, bytes int) {
	bytes += overhead
	if len(r.sizes) == 0 {
		r.first = number
	}
	r.sizes = append(r.sizes, recordSize{bytes: uint32(bytes)})
	r.bytes += int64(bytes)
}

func (r *records) pin(p place)   { r.change(p, int64(p.length)) }
func (r *records) unpin(p place) { r.change(p, -int64(p.length)) }

func (r *records) change(p place, by int64) {
	if p.none() || p.record < r.first {
		return
	}
	size := &r.sizes[p.record-r.first]
	size.live = uint32(int64(size.live) + by)
	r.live += by
}

// dead returns the number of the first record with anything live in it, and how
// many bytes are before it.
func (r *records) dead() (before uint64, bytes int64) {
	before = r.first
	for _, size := range r.sizes {
		if size.live > 0 {
			break
		}
		before++
		bytes += int64(size.bytes)
	}
	return before, bytes
}

// trim forgets the records before a number.
func (r *records) trim(before uint64) {
	n := int(before - r.first)
	for _, size := range r.sizes[:n] {
		r.bytes -= int64(size.bytes)
	}
	r.sizes = append(r.sizes[:0], r.sizes[n:]...)
	r.first = before
}

// sparse reports whether so little of the log is live that copying that is
// worth what it frees.
func (r *records) sparse() bool {
	return r.bytes > r.small && r.live < r.bytes/2
}
