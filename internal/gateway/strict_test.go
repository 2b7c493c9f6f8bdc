package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// recorder is a function that reads requests by the letter of RFC 9112, as the
// strictest server might, and remembers what it read.
type recorder struct {
	mu       sync.Mutex
	requests []string
	faults   []string
}

// take returns what was read since it was last called.
func (r *recorder) take() (requests, faults []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests, faults = r.requests, r.faults
	r.requests, r.faults = nil, nil
	return requests, faults
}

func (r *recorder) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		head, err := readStrictHead(in)
		if err == io.EOF {
			return
		}
		var body string
		if err == nil {
			body, err = readStrictBody(in, head)
		}
		r.mu.Lock()
		if err != nil {
			// A body that the client cut off is cut off here too.
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				r.faults = append(r.faults, fmt.Sprintf("%v in %q", err, head))
			}
			r.mu.Unlock()
			return
		}
		got := fmt.Sprintf("%s %s %q", head.method, head.target, body)
		r.requests = append(r.requests, got)
		r.mu.Unlock()
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nX-Got: %s\r\n\r\n", got)
	}
}

type strictHead struct {
	method, target string
	headers        []string // "name: value", the names in lower case
}

func (h strictHead) values(name string) (values []string) {
	for _, header := range h.headers {
		if value, ok := strings.CutPrefix(header, name+": "); ok {
			values = append(values, value)
		}
	}
	return values
}

const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isToken(s string) bool { return s != "" && strings.Trim(s, tokenBytes) == "" }

// strictLine reads a line that ends with CRLF and has nothing in it that some
// reader might take for the end of another.
func strictLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err == io.EOF && line != "" {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", err
	}
	line, whole := strings.CutSuffix(line, "\r\n")
	if !whole || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return "", fmt.Errorf("the line %q", line)
	}
	return line, nil
}

func readStrictHead(in *bufio.Reader) (h strictHead, err error) {
	first, err := strictLine(in)
	if err != nil {
		return h, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || !isToken(parts[0]) || !strings.HasPrefix(parts[1], "/") || parts[2] != "HTTP/1.1" {
		return h, fmt.Errorf("the request line %q", first)
	}
	h.method, h.target = parts[0], parts[1]
	if h.headers, err = readStrictHeaders(in); err != nil {
		return h, err
	}
	for _, hop := range []string{"keep-alive", "proxy-connection", "proxy-authorization", "connection", "upgrade", "http2-settings"} {
		if v := h.values(hop); len(v) > 0 && (hop != "connection" && hop != "upgrade" || v[0] != "close" && len(h.values("upgrade")) != 1) {
			return h, fmt.Errorf("%s: %q came through", hop, v)
		}
	}
	if len(h.values("host")) != 1 {
		return h, fmt.Errorf("hosts %q", h.values("host"))
	}
	return h, nil
}

func readStrictHeaders(in *bufio.Reader) (headers []string, err error) {
	for {
		line, err := strictLine(in)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || line == "" {
			return headers, err
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || !isToken(name) || value != strings.TrimSpace(value) {
			return headers, fmt.Errorf("the header %q", line)
		}
		headers = append(headers, strings.ToLower(name)+": "+value)
	}
}

func readStrictBody(in *bufio.Reader, h strictHead) (string, error) {
	lengths, codings := h.values("content-length"), h.values("transfer-encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return "", fmt.Errorf("lengths %q and codings %q", lengths, codings)
	case len(codings) == 1 && codings[0] != "chunked":
		return "", fmt.Errorf("the coding %q", codings[0])
	case len(codings) == 1:
		return readStrictChunks(in)
	case len(lengths) == 0:
		return "", nil
	}
	n, err := strconv.ParseUint(lengths[0], 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != lengths[0] {
		return "", fmt.Errorf("the length %q", lengths[0])
	}
	body := make([]byte, n)
	if _, err = io.ReadFull(in, body); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return string(body), err
}

func readStrictChunks(in *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := strictLine(in)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return "", fmt.Errorf("the chunk size %q", line)
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, in, int64(n)); err != nil {
			return "", io.ErrUnexpectedEOF
		}
		if end, err := strictLine(in); err != nil || end != "" {
			return "", fmt.Errorf("%q after a chunk (%w)", end, err)
		}
	}
	trailers, err := readStrictHeaders(in)
	for _, trailer := range trailers {
		name, _, _ := strings.Cut(trailer, ":")
		if slices.Contains([]string{"content-length", "transfer-encoding", "host", "authorization", "trailer", "connection", "x-call-id"}, name) {
			return "", fmt.Errorf("the trailer %q", trailer)
		}
	}
	return body.String(), err
}
