package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"lofn"
)

// watched is a body that ends when nothing comes for too long.
type watched struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	watch    *time.Timer
	patience time.Duration
}

// Read implements io.Reader. The time between two reads does not count: it is
// the reader who takes it.
func (w *watched) Read(b []byte) (int, error) {
	w.watch.Reset(w.patience)
	n, err := w.ReadCloser.Read(b)
	w.watch.Stop()
	if err != nil && err != io.EOF {
		if silent, ok := errors.AsType[silence](context.Cause(w.ctx)); ok {
			err = silent
		}
	}
	return n, err
}

func (w *watched) Close() error {
	w.watch.Stop()
	defer w.cancel(nil)
	return w.ReadCloser.Close()
}

// lasting is the body of an answer that is continued when it breaks off.
type lasting struct {
	p    *patient
	req  *http.Request
	body io.ReadCloser
	// read is how many bytes have come, size how many should, or -1.
	read, size int64
	// failed counts tries since a byte came.
	failed int
}

func (l *lasting) Read(b []byte) (int, error) {
	for {
		n, err := l.body.Read(b)
		l.read += int64(n)
		if n > 0 {
			l.failed = 0
		}
		if err == io.EOF && l.read < l.size {
			err = io.ErrUnexpectedEOF
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil // a reader that failed fails again
		}
		if err := l.resume(err); err != nil {
			return 0, err
		}
	}
}

func (l *lasting) Close() error { return l.body.Close() }

// resume asks for what is missing, until an answer comes that continues.
func (l *lasting) resume(broken error) error {
	ctx := l.req.Context()
	for {
		l.failed++
		if l.failed >= tries || rest(ctx, firstPause<<(l.failed-1)) != nil {
			return l.cut(broken)
		}
		req := l.req.Clone(ctx)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", l.read))
		answer, err := l.p.once(req)
		if err != nil {
			continue
		}
		if l.continues(answer) {
			l.body.Close()
			l.body = answer.Body
			return nil
		}
		answer.Body.Close()
	}
}

// continues reports whether an answer goes on where the last one ended. One that
// begins anew is read up to there.
func (l *lasting) continues(answer *http.Response) bool {
	switch answer.StatusCode {
	case http.StatusPartialContent:
		var from int64
		_, err := fmt.Sscanf(answer.Header.Get("Content-Range"), "bytes %d-", &from)
		return err == nil && from == l.read
	case http.StatusOK:
		_, err := io.CopyN(io.Discard, answer.Body, l.read)
		return err == nil
	}
	return false
}

// cut is the error of a body whose rest cannot be had.
func (l *lasting) cut(broken error) error {
	of := ""
	if l.size >= 0 {
		of = fmt.Sprintf(" of %d", l.size)
	}
	return lofn.Errorf(lofn.Unavailable, "%s broke off after %d%s bytes, and did not send the rest when asked %d times: %w", l.req.URL.Host, l.read, of, l.failed-1, broken)
}
