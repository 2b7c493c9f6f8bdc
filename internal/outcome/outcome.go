// Package outcome is how the front doors answer with what a call came to: the
// answer that its function gave, as far as it can be passed on in another one's
// place.
package outcome

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"lofn"
)

// results has what calls came to.
type results interface {
	Result(ctx context.Context, id string) (lofn.Result, error)
}

// Write answers a request for the result of the call that has the status. It
// must be found out whether a call succeeded without mistaking this answer for
// the function's own, so it is always 200, and a header has the function's.
// Nothing is written before an error.
func Write(w http.ResponseWriter, r *http.Request, from results, status lofn.CallStatus) error {
	if !status.State.Final() {
		return lofn.Errorf(lofn.Conflict, "call %s is %s: it has no result yet", status.ID, status.State)
	}
	result, err := from.Result(r.Context(), status.ID)
	if err != nil {
		return err
	}
	defer result.Body.Close()
	describe(w.Header(), status, result)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if n, err := io.Copy(w, result.Body); err != nil || n != result.Size {
		// Too late to say so otherwise.
		panic(http.ErrAbortHandler)
	}
	return nil
}

func describe(h http.Header, status lofn.CallStatus, result lofn.Result) {
	// Who answered, if it was the platform. Not the function's other headers,
	// which would be about this answer here: a cookie, a redirect, how long to
	// cache it.
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", lofn.HeaderInternal} {
		if values := result.Header[name]; len(values) > 0 {
			h[name] = values
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain") // as for a call that somebody waits for
	}
	h.Set("Content-Length", strconv.FormatInt(result.Size, 10))
	h.Set("Cache-Control", "no-store")
	h.Set(lofn.HeaderCallID, status.ID)
	h.Set(lofn.HeaderStartTime, strconv.FormatInt(status.AcceptedAt.UnixNano(), 10))
	h.Set(lofn.HeaderFunctionName, status.Function)
	h.Set(lofn.HeaderFunctionStatus, strconv.Itoa(result.Status))
	h.Set(lofn.HeaderDurationSeconds, strconv.FormatFloat(result.Duration.Seconds(), 'f', 6, 64))
}
