package watchdog

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lofn"
)

// recorder remembers what was answered, for the log and the metrics, and
// bounds how long a client may take for each piece.
type recorder struct {
	http.ResponseWriter
	started time.Time
	status  int
	written int64
	body    *incoming // nil if there is none

	patience time.Duration // for each piece; 0 is no bound
	mu       sync.Mutex
	last     bool // the deadline for writing stays as it is
}

// record wraps a call's answer.
func (w *Watchdog) record(rw http.ResponseWriter, r *http.Request) *recorder {
	rec := &recorder{ResponseWriter: rw, started: time.Now()}
	var patience time.Duration
	if w.options.Impatient {
		rec.patience, patience = w.config.WriteTimeout, w.config.ReadTimeout
	}
	rec.body = newIncoming(rw, r, patience)
	return rec
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
		if r.body.pending() {
			r.Header().Set("Connection", "close")
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.extend()
	n, err := r.ResponseWriter.Write(b)
	r.written += int64(n)
	return n, err
}

// extend gives the client time for the next piece.
func (r *recorder) extend() {
	if r.patience == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last {
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(r.patience))
	}
}

// hurry gives the client this long for all that is still to be written.
func (r *recorder) hurry(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = true
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(d))
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// finalStatus is what net/http sent if nobody said anything.
func (r *recorder) finalStatus() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// duration is the value of X-Duration-Seconds.
func (r *recorder) duration() string { return seconds(time.Since(r.started)) }

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

// access writes the call's line to the log.
func (w *Watchdog) access(r *recorder, req *http.Request) {
	if w.config.Mode == Classic || strings.HasPrefix(req.UserAgent(), "kube-probe") {
		return
	}
	w.logCall(req.Method, req.RequestURI, req.Header.Get(lofn.HeaderCallID), r.finalStatus(), r.written, time.Since(r.started))
}

func (w *Watchdog) logCall(method, uri, id string, status int, size int64, took time.Duration) {
	w.lines.write(func(b []byte) []byte {
		b = append(append(append(append(b, method...), ' '), uri...), " - "...)
		b = strconv.AppendInt(b, int64(status), 10)
		if w.config.Mode == HTTP {
			b = append(append(b, ' '), http.StatusText(status)...)
		}
		b = appendSize(append(b, " - ContentLength: "...), size)
		b = strconv.AppendFloat(append(b, " ("...), took.Seconds(), 'f', 4, 64)
		b = append(b, "s)"...)
		if w.config.LogCallID {
			b = append(append(append(b, " ["...), cmp.Or(id, "none")...), ']')
		}
		return b
	})
}

// appendSize appends a size with four digits and a decimal unit, such as
// 1.049MB.
func appendSize(b []byte, bytes int64) []byte {
	size := float64(bytes)
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	i := 0
	for size >= 1000 && i < len(units)-1 {
		size /= 1000
		i++
	}
	return append(strconv.AppendFloat(b, size, 'g', 4, 64), units[i]...)
}
