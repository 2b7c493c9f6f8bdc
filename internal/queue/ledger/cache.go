package ledger

import (
	"context"
	"sync"
)

// cache keeps the records that were last written or read: most calls are made
// soon after they were accepted.
type cache struct {
	mu      sync.Mutex
	records map[uint64][]byte
	// order are the numbers as they came in.
	order []uint64
	bytes int
}

// cacheSize bounds what is kept, in bytes.
const cacheSize = 16 << 20

func newCache() *cache { return &cache{records: make(map[uint64][]byte)} }

func (c *cache) put(number uint64, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.records[number]; ok {
		return
	}
	c.records[number] = data
	c.order = append(c.order, number)
	c.bytes += cap(data)
	for c.bytes > cacheSize && len(c.order) > 1 {
		c.bytes -= cap(c.records[c.order[0]])
		delete(c.records, c.order[0])
		c.order = c.order[1:]
	}
}

func (c *cache) get(number uint64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records[number]
}

// record returns the data of a record.
func (l *Ledger) record(ctx context.Context, number uint64) ([]byte, error) {
	if data := l.cache.get(number); data != nil {
		return data, nil
	}
	data, err := l.Log.Get(ctx, number)
	if err == nil {
		l.cache.put(number, data)
	}
	return data, err
}

// lookup returns the entry at the place that where tells, which may change
// while it is being read: then the record may be gone.
func (l *Ledger) lookup(ctx context.Context, where func() (place, error)) (entry, error) {
	for {
		at, err := where()
		if err != nil {
			return nil, err
		}
		data, err := l.record(ctx, at.record)
		if err == nil {
			return entryAt(data, at)
		}
		if now, gone := where(); gone != nil || now == at {
			return nil, err
		}
	}
}
