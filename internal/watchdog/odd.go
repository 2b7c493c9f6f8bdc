package watchdog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"lofn"
)

// passOdd passes on an answer that is not plain: in chunks, without a length,
// type or body, or preceded by interim answers. net/http reads it; each piece
// is passed on as it comes.
func (e *exchange) passOdd() (keep, reuse bool) {
	e.startWatching()
	begun := bytes.NewReader(e.in[:e.got])
	source := bufio.NewReader(io.MultiReader(begun, e.up))
	response, err := e.readFinal(source)
	if err != nil {
		if !e.stopWatching() {
			err = errGone
		}
		return e.fail(err), false
	}
	defer response.Body.Close()
	e.status = response.StatusCode
	keep = e.keepsAlive()
	err = e.copyOut(response, keep)
	if !e.stopWatching() || err != nil {
		return false, false
	}
	return keep, !response.Close && source.Buffered() == 0 && begun.Len() == 0
}

// readFinal reads the head of an answer, and passes interim ones on.
func (e *exchange) readFinal(source *bufio.Reader) (*http.Response, error) {
	r := &http.Request{Method: string(e.front.request.Method)}
	for {
		response, err := http.ReadResponse(source, r)
		switch {
		case err != nil:
			return nil, fmt.Errorf("its answer cannot be read: %w", err)
		case response.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("it switched protocols, which nobody asked for")
		case response.StatusCode >= 200:
			return response, nil
		case response.StatusCode == http.StatusContinue:
			continue // the client did not ask whether it should
		}
		if !e.write(append(appendHead(nil, response), "\r\n"...)) {
			return nil, errGone
		}
	}
}

// appendHead appends status and headers, without the empty line at the end.
func appendHead(b []byte, response *http.Response) []byte {
	reason := strings.TrimPrefix(response.Status, strconv.Itoa(response.StatusCode))
	b = fmt.Appendf(b, "HTTP/1.1 %d %s\r\n", response.StatusCode, strings.TrimSpace(reason))
	out := bytes.NewBuffer(b)
	_ = response.Header.Write(out) // a bytes.Buffer takes everything
	return out.Bytes()
}

// hopByHop are the headers that concern one connection (RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func (e *exchange) copyOut(response *http.Response, keep bool) error {
	chunked := response.ContentLength < 0 && response.Body != http.NoBody
	buf := make([]byte, answerSize)
	var n int
	var err error
	if response.Body != http.NoBody {
		n, err = response.Body.Read(buf[chunkHead : len(buf)-2])
	} else {
		err = io.EOF
	}
	if !e.write(e.appendOddHead(nil, response, chunked, keep, buf[chunkHead:chunkHead+n])) {
		return errGone
	}
	for {
		if n > 0 && !e.write(piece(buf, n, chunked)) {
			return errGone
		}
		e.written += int64(n)
		switch {
		case err == io.EOF && chunked:
			e.end()
			return e.endChunks(response)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		n, err = response.Body.Read(buf[chunkHead : len(buf)-2])
	}
}

func (e *exchange) appendOddHead(b []byte, response *http.Response, chunked, keep bool, first []byte) []byte {
	h := response.Header
	length, sized := h["Content-Length"]
	for _, list := range h.Values("Connection") {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range append(hopByHop, lofn.HeaderDurationSeconds) {
		h.Del(name)
	}
	if sized && !chunked {
		h["Content-Length"] = length // Connection may name it, and without it there is no end
	}
	if _, typed := h["Content-Type"]; !typed && len(first) > 0 && h.Get("Content-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(first))
	}
	if chunked {
		h.Set("Transfer-Encoding", "chunked")
		for name := range response.Trailer {
			h.Add("Trailer", name)
		}
	}
	b = appendHead(b, response)
	return append(e.appendOwn(b, h.Get("Date") != "", keep), "\r\n"...)
}

// chunkHead is room for the size line of a chunk.
const chunkHead = len("ffffffff\r\n")

// piece returns n bytes of the body, which stand at buf[chunkHead:], as they
// are written.
func piece(buf []byte, n int, chunked bool) []byte {
	if !chunked {
		return buf[chunkHead : chunkHead+n]
	}
	size := strconv.AppendInt(nil, int64(n), 16)
	start := chunkHead - len("\r\n") - len(size)
	copy(buf[start:], size)
	copy(buf[chunkHead-len("\r\n"):], "\r\n")
	copy(buf[chunkHead+n:], "\r\n")
	return buf[start : chunkHead+n+len("\r\n")]
}

func (e *exchange) endChunks(response *http.Response) error {
	var out bytes.Buffer
	out.WriteString("0\r\n")
	_ = response.Trailer.Write(&out)
	out.WriteString("\r\n")
	if !e.write(out.Bytes()) {
		return errGone
	}
	return nil
}
