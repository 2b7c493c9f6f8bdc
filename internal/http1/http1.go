// Package http1 reads and writes the plain part of HTTP/1.1 without copying
// it: heads of requests and responses that leave nothing to interpretation.
// Whatever is out of the ordinary it refuses with ErrUnusual, for net/http to
// deal with; so a message that is accepted here means the same to everybody
// who may read it after.
package http1

import (
	"bytes"
	"errors"
)

var (
	// ErrIncomplete asks for more bytes.
	ErrIncomplete = errors.New("http1: the head is not complete")
	// ErrUnusual refuses a head. It may be valid; net/http knows.
	ErrUnusual = errors.New("http1: the head is out of the ordinary")
)

// Header is one header line. Both parts point into the buffer that was parsed.
type Header struct {
	Name, Value []byte
	// Kind is what the name means to a proxy.
	Kind Kind
}

// Kind sorts the headers that a proxy must look at from the others.
type Kind uint8

// The kinds of headers.
const (
	// Other headers are passed on as they are.
	Other Kind = iota
	// Hop headers concern one connection and are never passed on.
	Hop
	Host
	ContentLength
	ContentType
	UserAgent
	Date
	CallID
	StartTime
	ServedBy
	Duration
	ForwardedFor
	ForwardedHost
	Timeout
	TransferEncoding
	// Odd headers change how the message is to be read or answered.
	Odd
)

// maxHeaders bounds the headers of a head that is not unusual.
const maxHeaders = 64

// kinds is the table of header names, in lower case.
var kinds = map[string]Kind{
	"host": Host, "content-length": ContentLength, "content-type": ContentType, "user-agent": UserAgent, "date": Date,
	"x-call-id": CallID, "x-start-time": StartTime, "x-served-by": ServedBy, "x-duration-seconds": Duration,
	"x-forwarded-for": ForwardedFor, "x-forwarded-host": ForwardedHost, "x-timeout": Timeout,
	"connection": Hop, "keep-alive": Hop,
	"transfer-encoding": TransferEncoding, "upgrade": Odd, "expect": Odd, "te": Odd, "trailer": Odd, "http2-settings": Odd,
	"proxy-connection": Odd, "proxy-authorization": Odd, "proxy-authenticate": Odd,
}

// longestKnown is the length of the longest name in kinds.
const longestKnown = len("proxy-authorization")

// Value returns the value of the first header of a kind, nil if there is none.
func Value(headers []Header, kind Kind) []byte {
	for _, h := range headers {
		if h.Kind == kind {
			return h.Value
		}
	}
	return nil
}

// kindOf looks a name up without allocating.
func kindOf(name []byte) Kind {
	if len(name) > longestKnown {
		return Other
	}
	var lower [longestKnown]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return kinds[string(lower[:len(name)])]
}

// class says in which parts of a head a byte may stand.
type class uint8

const (
	token  class = 1 << iota // header names, methods (RFC 9110, 5.6.2)
	text                     // header values: printable, spaces and beyond ASCII
	target                   // the path and query (RFC 3986, pchar, '/', '?')
	host                     // a host and port without user, in brackets or not
)

// classes is the table of classes for every byte.
var classes = makeClasses()

func makeClasses() (table [256]class) {
	for c := range 256 {
		switch {
		case c == '\t', c >= ' ' && c != 0x7f:
			table[c] |= text
		}
	}
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for _, set := range []struct {
		bytes string
		class class
	}{
		{alphanumeric + "!#$%&'*+-.^_`|~", token},
		{alphanumeric + "-._~!$&'()*+,;=:@/?%", target},
		{alphanumeric + ".-_:[]", host},
	} {
		for _, c := range []byte(set.bytes) {
			table[c] |= set.class
		}
	}
	return table
}

func all(b []byte, of class) bool {
	for _, c := range b {
		if classes[c]&of == 0 {
			return false
		}
	}
	return len(b) > 0
}

// line returns the first line of buf without its CRLF, and what follows it. A
// bare CR or LF is unusual; where they stand, every reader sees another line.
func line(buf []byte) (first, rest []byte, err error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		return nil, nil, ErrIncomplete
	}
	if end == 0 || buf[end-1] != '\r' {
		return nil, nil, ErrUnusual
	}
	return buf[:end-1], buf[end+1:], nil
}

// headers parses header lines up to the empty one, appending to list.
func headers(list []Header, buf []byte) (_ []Header, rest []byte, err error) {
	for {
		l, next, err := line(buf)
		if err != nil {
			return list, nil, err
		}
		buf = next
		if len(l) == 0 {
			return list, buf, nil
		}
		colon := bytes.IndexByte(l, ':')
		if colon < 0 || len(list) == maxHeaders || !all(l[:colon], token) {
			return list, nil, ErrUnusual
		}
		value := trim(l[colon+1:])
		if len(value) > 0 && !all(value, text) {
			return list, nil, ErrUnusual
		}
		list = append(list, Header{Name: l[:colon], Value: value, Kind: kindOf(l[:colon])})
	}
}

// trim cuts optional white space (RFC 9110, 5.6.3) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// framing is what the headers of a message say about its body and connection.
type framing struct {
	length    int64 // -1 if not given
	chunked   bool
	keepAlive bool
}

// frame reads the headers that say where a message ends.
func frame(list []Header) (framing, error) {
	f := framing{length: -1, keepAlive: true}
	for _, h := range list {
		switch h.Kind {
		case Odd:
			return f, ErrUnusual
		case ContentLength:
			if f.length >= 0 {
				return f, ErrUnusual
			}
			n, ok := decimal(h.Value)
			if !ok {
				return f, ErrUnusual
			}
			f.length = n
		case TransferEncoding:
			if f.chunked || !equalFold(h.Value, "chunked") {
				return f, ErrUnusual
			}
			f.chunked = true
		case Hop:
			switch {
			case equalFold(h.Name, "keep-alive"):
			case equalFold(h.Value, "keep-alive"):
			case equalFold(h.Value, "close"):
				f.keepAlive = false
			default:
				return f, ErrUnusual
			}
		}
	}
	return f, nil
}

// decimal reads up to 18 digits, which fit an int64, without leading zeros: not
// everybody takes those for decimal.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// equalFold compares with a word in lower case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
