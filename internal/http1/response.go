package http1

// Response is the head of a response with a body of known length. Its parts
// point into the buffer that was parsed.
type Response struct {
	Status int
	// Line is the status line without its CRLF.
	Line          []byte
	ContentLength int64
	// KeepAlive is false if the server closes the connection after the body.
	KeepAlive bool
	Headers   []Header
}

// Parse reads the head at the start of buf and returns its length in bytes. It
// fails with ErrIncomplete or ErrUnusual, the latter for every response whose
// end is not told by its Content-Length.
func (r *Response) Parse(buf []byte) (n int, err error) {
	first, rest, err := line(buf)
	if err != nil {
		return 0, err
	}
	const version, digits = "HTTP/1.1 ", 3
	if len(first) < len(version)+digits || string(first[:len(version)]) != version {
		return 0, ErrUnusual
	}
	status, ok := decimal(first[len(version) : len(version)+digits])
	reason := first[len(version)+digits:]
	if !ok || status < 200 || status == 204 || status == 304 || status > 599 || len(reason) > 0 && (reason[0] != ' ' || !all(reason, text)) {
		return 0, ErrUnusual
	}
	if r.Headers, rest, err = headers(r.Headers[:0], rest); err != nil {
		return 0, err
	}
	f, err := frame(r.Headers)
	if err != nil || f.length < 0 {
		return 0, ErrUnusual
	}
	r.Status, r.Line, r.ContentLength, r.KeepAlive = int(status), first, f.length, f.keepAlive
	return len(buf) - len(rest), nil
}
