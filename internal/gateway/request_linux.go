package gateway

import (
	"bytes"
	"strconv"

	"lofn"
	"lofn/internal/http1"
)

// appendHead appends the head of the request as the function gets it, to the
// path given.
func (e *exchange) appendHead(b, path []byte) []byte {
	r := &e.client.request
	b = append(b, r.Method...)
	b = append(b, ' ')
	if len(path) == 0 || path[0] != '/' {
		b = append(b, '/')
	}
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\n"...)
	b, has := e.appendHeaders(b)
	if !has.length && mayHaveBody(r.Method) {
		b = append(b, "Content-Length: 0\r\n"...)
	}
	if !has.forwardedFor {
		b = appendText(b, lofn.HeaderForwardedFor, e.client.remote)
	}
	if !has.forwardedHost {
		b = appendHeader(b, []byte(lofn.HeaderForwardedHost), r.Host)
	}
	if !has.agent {
		b = appendText(b, "User-Agent", e.client.loop.lane.gateway.agent)
	}
	b = appendText(b, lofn.HeaderCallID, e.id)
	b = e.appendStarted(b)
	if e.timeout > 0 {
		b = appendText(b, lofn.HeaderTimeout, e.remaining())
		e.left = span{bytes.LastIndexByte(b, ' ') + 1, len(b) - len("\r\n")}
	}
	return append(b, "\r\n"...)
}

func (e *exchange) appendStarted(b []byte) []byte {
	b = append(b, lofn.HeaderStartTime+": "...)
	b = strconv.AppendInt(b, e.start.UnixNano(), 10)
	return append(b, "\r\n"...)
}

// present says which of the headers that the gateway adds were there.
type present struct{ agent, forwardedFor, forwardedHost, length bool }

// appendHeaders appends the client's headers that are passed on.
func (e *exchange) appendHeaders(b []byte) (_ []byte, has present) {
	for _, h := range e.client.request.Headers {
		switch h.Kind {
		case http1.Hop, http1.CallID, http1.StartTime:
			continue
		case http1.Timeout:
			if e.timeout > 0 {
				continue
			}
		case http1.UserAgent:
			has.agent = len(h.Value) > 0
		case http1.ContentLength:
			has.length = true
		case http1.ForwardedFor:
			has.forwardedFor = len(h.Value) > 0
		case http1.ForwardedHost:
			has.forwardedHost = len(h.Value) > 0
		case http1.ContentType:
			if e.contentType == (span{}) {
				start := len(b) + len(h.Name) + len(": ")
				e.contentType = span{start, start + len(h.Value)}
			}
		}
		b = appendHeader(b, h.Name, h.Value)
	}
	return b, has
}

// mayHaveBody reports whether a server may want to be told that there is none
// (RFC 9110, 8.6).
func mayHaveBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func appendHeader(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func appendText(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
