package watchdog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"lofn"
)

// serialize reads the whole body, runs a process, and answers when it ended.
func (w *Watchdog) serialize(rw http.ResponseWriter, r *http.Request) {
	rec := rw.(*recorder)
	out := &spool{dir: w.options.TempDir}
	defer out.Close()
	err := w.runBuffered(rec, r, out)
	rec.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
	if err != nil {
		w.fail(rec, err, http.StatusInternalServerError)
		return
	}
	rec.Header().Set("Content-Type", w.config.ContentType)
	w.send(rec, http.StatusOK, "", out)
}

// classic does the same with the manners of OpenFaaS' first watchdog.
func (w *Watchdog) classic(rw http.ResponseWriter, r *http.Request) {
	rec := rw.(*recorder)
	if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, r.Method) {
		rec.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if w.config.DebugHeaders {
		w.debugHeaders("in", r.Header)
	}
	w.lines.Printf("Forking fprocess.")
	out := &spool{dir: w.options.TempDir}
	defer out.Close()
	err := w.runBuffered(rec, r, out)
	rec.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
	if contentType := w.classicType(r); contentType != "" {
		rec.Header().Set("Content-Type", contentType)
	}
	w.answerClassic(rec, out, err)
	if w.config.DebugHeaders {
		w.debugHeaders("out", rec.Header())
	}
	w.lines.Printf("Wrote %d Bytes - Duration: %fs", rec.written, time.Since(rec.started).Seconds())
}

func (w *Watchdog) debugHeaders(direction string, header http.Header) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		w.lines.Printf("[%s] %s=%s", direction, name, header[name])
	}
}

func (w *Watchdog) answerClassic(rec *recorder, out *spool, err error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		w.send(rec, http.StatusOK, "", out)
	case errors.As(err, &exit):
		w.lines.Printf("%v", exit)
		rec.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.send(rec, http.StatusInternalServerError, exit.Error()+"\n", out)
	case errors.Is(err, context.DeadlineExceeded):
		w.lines.Printf("Killed process: %v", err)
		rec.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rec.WriteHeader(http.StatusRequestTimeout)
		_, _ = io.WriteString(rec, "Killed process.\n")
	default:
		w.lines.Printf("%v", err)
		w.fail(rec, err, http.StatusRequestTimeout)
	}
}

func (w *Watchdog) classicType(r *http.Request) string {
	if w.config.ContentType != "" {
		return w.config.ContentType
	}
	return r.Header.Get("Content-Type")
}

// send answers with a first line, if any, and the output.
func (w *Watchdog) send(rec *recorder, status int, first string, out *spool) {
	r, err := out.reader()
	if err != nil {
		w.fail(rec, err, status)
		return
	}
	rec.Header().Set("Content-Length", strconv.FormatInt(int64(len(first))+out.size, 10))
	rec.WriteHeader(status)
	_, _ = io.WriteString(rec, first)
	if _, err := io.Copy(rec, r); err != nil {
		w.lines.Printf("lofn: the answer was broken off: %v", err)
		w.abandon(rec)
	}
}

// runBuffered runs a process on the whole body.
func (w *Watchdog) runBuffered(rec *recorder, r *http.Request, out *spool) error {
	ctx, cancel := w.within(r)
	defer cancel()
	in := &spool{dir: w.options.TempDir}
	defer in.Close()

	size, err := w.readInput(ctx, in, rec.body, r.Header)
	if err != nil {
		return err
	}
	stdin, err := in.reader()
	if err != nil {
		return err
	}
	j := job{env: w.environ(r, size), stdin: stdin, stdout: out}
	if w.config.Mode != Classic || !w.config.CombineOutput {
		stderr := w.childLog()
		defer stderr.Close()
		j.stderr = stderr
	}
	err = w.run(ctx, j)
	w.debugBodies(in, out)
	return err
}

// readInput puts the body, or the document around it, into the spool and
// returns the body's own size.
func (w *Watchdog) readInput(ctx context.Context, in *spool, body *incoming, header http.Header) (int64, error) {
	if w.config.Mode == Classic && w.config.MarshalRequest {
		return marshal(ctx, in, header, body)
	}
	return body.readTo(ctx, in)
}

// marshal writes {"header":…,"body":{"raw":"base64"}}.
func marshal(ctx context.Context, to io.Writer, header http.Header, body *incoming) (int64, error) {
	names, err := json.Marshal(header)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(to, `{"header":%s,"body":{"raw":"`, names); err != nil {
		return 0, err
	}
	encoder := base64.NewEncoder(base64.StdEncoding, to)
	size, err := body.readTo(ctx, encoder)
	if err == nil {
		err = encoder.Close()
	}
	if err == nil {
		_, err = io.WriteString(to, `"}}`)
	}
	return size, err
}

// debugBodies writes what the process was given and answered to the log.
func (w *Watchdog) debugBodies(in, out *spool) {
	if w.config.Mode != Classic || !w.config.WriteDebug {
		return
	}
	log := w.options.Stderr()
	defer log.Close()
	for _, s := range []*spool{in, out} {
		if r, err := s.reader(); err == nil {
			_, _ = io.Copy(log, r)
			_, _ = io.WriteString(log, "\n")
		}
	}
}
