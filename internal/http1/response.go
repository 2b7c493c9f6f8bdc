package http1

// Response is the head of a response. Its parts point into the buffer that was
// parsed. Headers is kept from one Parse to the next for its memory.
type Response struct {
	Status int
	// Line is the status line without its CRLF.
	Line []byte
	// Body says how the end of the body is told, were the request no HEAD.
	Body Body
	// ContentLength is that of a Sized body.
	ContentLength int64
	// KeepAlive is false if the server closes the connection after the body.
	KeepAlive bool
	Headers   []Header
}

// Body is a way to tell where a body ends (RFC 9112, 6.3).
type Body uint8

// The ways that are not unusual.
const (
	// Sized bodies have a Content-Length.
	Sized Body = iota
	// Chunked bodies are what Chunks decodes.
	Chunked
	// Bodyless is a response whose status excludes a body: 204 and 304.
	Bodyless
)

// Parse reads the head at the start of buf and returns its length in bytes. It
// fails with ErrIncomplete or ErrUnusual, the latter also for interim responses
// and those whose end is the connection's.
func (r *Response) Parse(buf []byte) (n int, err error) {
	first, rest, err := line(buf)
	if err != nil {
		return 0, err
	}
	if err := r.start(first); err != nil {
		return 0, err
	}
	if r.Headers, rest, err = headers(r.Headers[:0], rest); err != nil {
		return 0, err
	}
	f, err := frame(r.Headers)
	if err != nil {
		return 0, err
	}
	switch {
	case r.Status == 304 && !f.chunked, r.Status == 204 && !f.chunked && f.length < 0:
		r.Body = Bodyless
	case r.Status == 304 || r.Status == 204:
		return 0, ErrUnusual
	case f.chunked && f.length < 0:
		r.Body = Chunked
	case !f.chunked && f.length >= 0:
		r.Body = Sized
	default:
		return 0, ErrUnusual
	}
	r.ContentLength, r.KeepAlive = f.length, f.keepAlive
	return len(buf) - len(rest), nil
}

func (r *Response) start(l []byte) error {
	const version, digits = "HTTP/1.1 ", 3
	if len(l) < len(version)+digits || string(l[:len(version)]) != version {
		return ErrUnusual
	}
	status, ok := decimal(l[len(version) : len(version)+digits])
	reason := l[len(version)+digits:]
	if !ok || status < 200 || status > 599 || len(reason) > 0 && (reason[0] != ' ' || !all(reason, text)) {
		return ErrUnusual
	}
	r.Status, r.Line = int(status), l
	return nil
}
