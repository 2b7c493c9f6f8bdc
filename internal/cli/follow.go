package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"lofn"
	"lofn/client"
)

// How a broken log stream is taken up again.
const (
	// overlap is how far behind the last line a new stream begins: instances
	// do not write in step, so a line may arrive after one that is younger.
	overlap = 2 * time.Second
	// remembered is for how long lines are kept to know them again.
	remembered = 5 * overlap
	// The pause between two attempts grows from the first to the last.
	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
)

// followLogs yields the lines of a function as they are written, over breaks
// of the stream and restarts of the gateway, each line once. It ends with the
// context or the function, or when the gateway refuses.
func (p *program) followLogs(ctx context.Context, c *client.Client, query lofn.LogQuery) iter.Seq2[lofn.LogMessage, error] {
	return func(yield func(lofn.LogMessage, error) bool) {
		var seen seenLines
		for wait := firstPause; ; wait = min(2*wait, lastPause) {
			broke, began := error(nil), seen.last
			for message, err := range c.Logs(ctx, query) {
				if err != nil {
					broke = err
					break
				}
				if seen.before(message) {
					continue
				}
				if !yield(message, nil) {
					return
				}
			}
			if over, err := followOver(ctx, broke, seen.connected); over {
				if err != nil {
					yield(lofn.LogMessage{}, err)
				}
				return
			}
			if !began.Equal(seen.last) {
				wait = firstPause
			}
			if broke != nil && wait == firstPause {
				p.notef("log stream broke: %v; connecting again\n", broke)
			}
			if !pause(ctx, wait) {
				yield(lofn.LogMessage{}, ctx.Err())
				return
			}
			seen.connected = true
			query = seen.resume(query)
		}
	}
}

// followOver reports whether a stream that ended is not to be taken up again,
// and with which error.
func followOver(ctx context.Context, broke error, connected bool) (bool, error) {
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	if broke == nil {
		return false, nil
	}
	switch lofn.CodeOf(broke) {
	case lofn.NotFound:
		if connected {
			// The function was removed: that is the end of its log.
			return true, nil
		}
		return true, broke
	case lofn.Unavailable, lofn.Unreachable, lofn.DeadlineExceeded, lofn.Internal:
		// A gateway that never answered is an error; one that did comes back.
		unreachable, ok := errors.AsType[*client.UnreachableError](broke)
		return !connected && (!ok || !unreachable.Midway), broke
	}
	return true, broke
}

// seenLines knows the lines that were printed lately.
type seenLines struct {
	last time.Time
	// lines counts how often each line was seen, and replayed how often since
	// the stream was taken up again.
	lines, replayed map[lineKey]int
	connected       bool
}

type lineKey struct {
	at       int64
	instance string
	// text is a digest: a line may be as long as it likes.
	text [sha256.Size]byte
}

// before records a line and reports whether it was printed before the stream
// was taken up again. Equal lines of the same instant are told apart by number.
func (s *seenLines) before(m lofn.LogMessage) bool {
	s.connected = true
	key := lineKey{m.Timestamp.UnixNano(), m.Instance, sha256.Sum256([]byte(m.Text))}
	if s.replayed[key] < s.lines[key] {
		s.replayed[key]++
		return true
	}
	if s.lines == nil {
		s.lines, s.replayed = map[lineKey]int{}, map[lineKey]int{}
	}
	s.lines[key]++
	s.replayed[key]++
	if m.Timestamp.After(s.last) {
		s.last = m.Timestamp
	}
	if len(s.lines)%1024 == 0 {
		s.forget()
	}
	return false
}

func (s *seenLines) forget() {
	horizon := s.last.Add(-remembered).UnixNano()
	for key := range s.lines {
		if key.at < horizon {
			delete(s.lines, key)
			delete(s.replayed, key)
		}
	}
}

// resume is the query with which to take up the stream.
func (s *seenLines) resume(query lofn.LogQuery) lofn.LogQuery {
	clear(s.replayed)
	if s.last.IsZero() {
		return query
	}
	if since := s.last.Add(-overlap); since.After(query.Since) {
		query.Since = since
	}
	query.Tail = 0
	return query
}

// jsonLine is a message as one line of JSON.
func jsonLine(m lofn.LogMessage) string {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(m); err != nil {
		return errors.Join(errors.New("encode the line"), err).Error()
	}
	return string(bytes.TrimSuffix(line.Bytes(), []byte("\n")))
}
