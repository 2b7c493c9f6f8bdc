package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"lofn"
	"lofn/internal/http1"
)

// relay passes on an answer that is not plain: chunked, without a length,
// without a body, or preceded by interim answers. net/http reads it; every
// piece of the body is passed on as it comes.
func (e *exchange) relay(link lofn.Link) (keep, reuse bool, err error) {
	e.startWatching(link)
	begun := bytes.NewReader(e.in[:e.got])
	limited := &io.LimitedReader{R: io.MultiReader(begun, link), N: maxHead}
	source := bufio.NewReader(limited)
	resp, err := e.readFinal(source)
	if err != nil {
		return false, false, e.unreadable(err)
	}
	limited.N = math.MaxInt64
	defer resp.Body.Close()
	e.limitWrites()
	err = e.copyOut(resp)
	alive := e.stopWatching()
	e.end(resp.StatusCode)
	if err != nil || !alive {
		return false, false, errCutOff
	}
	reuse = !resp.Close && source.Buffered() == 0 && begun.Len() == 0
	return e.conn.request.KeepAlive, reuse, nil
}

const (
	// maxHead bounds what comes before the body of an answer, in bytes: what
	// the front door takes of a request.
	maxHead = 1 << 20
	// maxInterim bounds the interim answers, as net/http does.
	maxInterim = 5
)

// readFinal reads the head of an answer, and passes interim ones on.
func (e *exchange) readFinal(source *bufio.Reader) (*http.Response, error) {
	r := &http.Request{Method: string(e.conn.request.Method)}
	for interim := 0; ; interim++ {
		resp, err := http.ReadResponse(source, r)
		switch {
		case interim > maxInterim:
			return nil, errors.New("it sent interim answers without end")
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("it switched protocols, which nobody asked for")
		case resp.StatusCode >= 200:
			return resp, nil
		}
		var head bytes.Buffer
		writeHead(&head, resp)
		if _, err := e.conn.Write(head.Bytes()); err != nil {
			return nil, err
		}
	}
}

func writeHead(out *bytes.Buffer, resp *http.Response) {
	reason := strings.TrimPrefix(resp.Status, strconv.Itoa(resp.StatusCode))
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\n", resp.StatusCode, strings.TrimSpace(reason))
	_ = resp.Header.Write(out) // a bytes.Buffer takes everything
	out.WriteString("\r\n")
}

// unreadable is the error of a call whose answer made no sense, unless the
// client left or the time is over.
func (e *exchange) unreadable(err error) error {
	switch {
	case !e.stopWatching():
		return e.clientGone()
	case e.isExpired():
		return e.expired()
	}
	return fmt.Errorf("its answer cannot be read: %w", err)
}

// copyOut writes the answer to the client.
func (e *exchange) copyOut(resp *http.Response) error {
	chunked := resp.ContentLength < 0 && resp.Body != http.NoBody
	e.complete(resp, chunked)
	var head bytes.Buffer
	writeHead(&head, resp)
	if _, err := e.conn.Write(head.Bytes()); err != nil {
		return err
	}
	if resp.Body == http.NoBody {
		return nil
	}
	if !chunked {
		_, err := io.Copy(e.conn.Conn, resp.Body)
		return err
	}
	return e.copyChunks(resp)
}

// complete gives the answer the headers that Gateway.answer gives it.
func (e *exchange) complete(resp *http.Response, chunked bool) {
	h := resp.Header
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
	if h.Get("Content-Type") == "" && resp.ContentLength != 0 {
		h.Set("Content-Type", contentType(string(http1.Value(e.conn.request.Headers, http1.ContentType))))
	}
	setDefault(h, "Date", http1.Now())
	setDefault(h, lofn.HeaderDurationSeconds, e.took())
	e.conn.lane.gateway.sign(h, e.call)
	if chunked {
		h.Set("Transfer-Encoding", "chunked")
		for name := range resp.Trailer {
			h.Add("Trailer", name)
		}
	}
	if !e.conn.request.KeepAlive {
		h.Set("Connection", "close")
	}
}

// chunkHead is room for the size line of a chunk.
const chunkHead = len("ffffffff\r\n")

// copyChunks writes each piece that can be read as a chunk, and the trailers
// after the last.
func (e *exchange) copyChunks(resp *http.Response) error {
	in := e.conn.lane.ins.Get().(*[]byte)
	defer e.conn.lane.ins.Put(in)
	buf := *in
	for {
		n, err := resp.Body.Read(buf[chunkHead : len(buf)-2])
		if n > 0 {
			size := strconv.AppendInt(nil, int64(n), 16)
			start := chunkHead - len(size) - 2
			copy(buf[start:], size)
			copy(buf[chunkHead-2:], "\r\n")
			copy(buf[chunkHead+n:], "\r\n")
			if _, err := e.conn.Write(buf[start : chunkHead+n+2]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return e.writeTrailers(resp)
		case err != nil:
			return err
		}
	}
}

func (e *exchange) writeTrailers(resp *http.Response) error {
	var out bytes.Buffer
	out.WriteString("0\r\n")
	_ = resp.Trailer.Write(&out)
	out.WriteString("\r\n")
	_, err := e.conn.Write(out.Bytes())
	return err
}
