package watchdog

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"time"

	"lofn"
)

// lastWords is how long an answer may still take to reach a slow client when
// the call's time has run out.
const lastWords = 5 * time.Second

// stream runs a process between the request's body and the answer's.
func (w *Watchdog) stream(rw http.ResponseWriter, r *http.Request) {
	rec := rw.(*recorder)
	ctx, cancel := w.within(r)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { rec.hurry(lastWords) })
	defer stop()

	stderr := w.childLog()
	defer stderr.Close()
	out := &streamWriter{rec: rec, control: http.NewResponseController(rec), contentType: w.config.ContentType}
	j := job{env: w.environ(r, r.ContentLength), stdout: out, flush: out.flush, stderr: stderr}
	if rec.body != nil {
		rec.body.openBothWays()
		j.stdin = rec.body
	}
	w.endStream(rec, out, w.run(ctx, j))
}

func (w *Watchdog) endStream(rec *recorder, out *streamWriter, err error) {
	var exit *exec.ExitError
	exited := errors.As(err, &exit)
	switch {
	case !out.begun && err != nil:
		rec.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
		// The deadline for writing this answer must not be the next one's.
		rec.Header().Set("Connection", "close")
		w.fail(rec, err, http.StatusGatewayTimeout)
	case !out.begun:
		rec.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
		out.begin()
	case err != nil && !exited:
		w.lines.Printf("lofn: the answer was broken off: %v", err)
		w.abandon(rec)
	default:
		if exited {
			w.lines.Printf("lofn: the process failed after it began its answer: %v", err)
		}
		rec.Header().Set(http.TrailerPrefix+lofn.HeaderDurationSeconds, rec.duration())
	}
}

// streamWriter sends output, and the headers before the first piece.
type streamWriter struct {
	rec         *recorder
	control     *http.ResponseController
	contentType string
	begun       bool
}

func (s *streamWriter) begin() {
	s.begun = true
	s.rec.Header().Set("Content-Type", s.contentType)
	s.rec.WriteHeader(http.StatusOK)
}

func (s *streamWriter) Write(b []byte) (int, error) {
	if !s.begun {
		// So that there is a trailer though the answer may be short.
		s.rec.Header().Set(http.TrailerPrefix+lofn.HeaderDurationSeconds, "")
		s.begin()
	}
	return s.rec.Write(b)
}

// flush sends what was written.
func (s *streamWriter) flush() error {
	if !s.begun {
		return nil
	}
	return s.control.Flush()
}
