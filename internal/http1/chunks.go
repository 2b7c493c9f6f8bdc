package http1

// Chunks decodes a chunked body (RFC 9112, 7.1) as it comes. It is strict about
// what tells where a chunk ends, since two readers who disagree about that
// disagree about all that follows. Extensions are dropped. The zero value is
// ready for the first byte of a body.
type Chunks struct {
	state    chunkState
	size     int64 // of the chunk, as far as it was read; then what is left of it
	length   int   // of the line so far, in bytes
	trailers []byte
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkPadding
	chunkExtension
	chunkSizeEnd // LF
	chunkData
	chunkDataEnd     // CR
	chunkDataEndLine // LF
	chunkTrailers
	chunkDone
)

const (
	// maxChunkLine bounds the line with a chunk's size and its extensions, as
	// net/http does.
	maxChunkLine = 4 << 10
	// maxTrailers bounds the lines after the last chunk.
	maxTrailers = 64 << 10
)

// Decode decodes p in place: the body's bytes are p[:n] when it returns, and
// the first used bytes of p belonged to it. done is set at the end of the body,
// trailers included. It fails with ErrUnusual, after which there is no way on.
func (c *Chunks) Decode(p []byte) (n, used int, done bool, err error) {
	for used < len(p) && c.state != chunkDone {
		switch c.state {
		case chunkData:
			m := int(min(c.size, int64(len(p)-used)))
			copy(p[n:], p[used:used+m])
			n, used, c.size = n+m, used+m, c.size-int64(m)
			if c.size == 0 {
				c.state = chunkDataEnd
			}
		case chunkTrailers:
			used += c.trailer(p[used:])
			if len(c.trailers) > maxTrailers {
				return n, used, false, ErrUnusual
			}
		default:
			if !c.step(p[used]) {
				return n, used, false, ErrUnusual
			}
			used++
		}
	}
	return n, used, c.state == chunkDone, nil
}

// step takes a byte of what is between the chunks, and reports whether it may
// stand there.
func (c *Chunks) step(b byte) bool {
	switch c.state {
	case chunkSize:
		return c.digit(b)
	case chunkPadding:
		return c.padding(b)
	case chunkExtension:
		return c.extension(b)
	case chunkSizeEnd:
		return c.begin(b)
	case chunkDataEnd:
		c.state = chunkDataEndLine
		return b == '\r'
	default:
		c.state, c.size, c.length = chunkSize, 0, 0
		return b == '\n'
	}
}

// digit takes a byte of a chunk's size: up to 15 digits, which fit an int64.
func (c *Chunks) digit(b byte) bool {
	digit, ok := unhex(b)
	switch {
	case ok && c.length < 15:
		c.size = c.size<<4 | int64(digit)
		c.length++
		return true
	case ok || c.length == 0:
		return false
	}
	return c.padding(b)
}

// padding takes white space after a size, which some servers send.
func (c *Chunks) padding(b byte) bool {
	switch b {
	case ' ', '\t':
		c.state = chunkPadding
		c.length++
		return c.length < maxChunkLine
	case ';', '\r':
		c.state = chunkExtension
		return c.extension(b)
	}
	return false
}

func (c *Chunks) extension(b byte) bool {
	c.length++
	if b == '\r' {
		c.state = chunkSizeEnd
		return true
	}
	return classes[b]&text != 0 && c.length < maxChunkLine
}

// begin takes the end of the line with a chunk's size.
func (c *Chunks) begin(b byte) bool {
	c.state = chunkData
	if c.size == 0 {
		c.state = chunkTrailers
	}
	return b == '\n'
}

// trailer takes bytes up to the end of a line of trailers.
func (c *Chunks) trailer(p []byte) (used int) {
	for used < len(p) {
		b := p[used]
		used++
		c.trailers = append(c.trailers, b)
		if b == '\n' {
			break
		}
	}
	if n := len(c.trailers); string(c.trailers) == "\r\n" || n >= 4 && string(c.trailers[n-4:]) == "\r\n\r\n" {
		c.state = chunkDone
	}
	return used
}

// Trailers returns the header lines after the last chunk of a body that is
// done. It fails with ErrUnusual if they are not plain.
func (c *Chunks) Trailers() ([]Header, error) {
	list, _, err := headers(nil, c.trailers)
	return list, err
}

func unhex(b byte) (digit byte, ok bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10, true
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}
