package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// queueTime is how long the queue may take for one step of taking a call:
	// from one piece of its body to the next, and from the last to its word.
	queueTime = 30 * time.Second
	// clientTime is how long a client may take to send another piece.
	clientTime = 2 * time.Minute
)

// intake is the body of a call on its way into the queue. One clock runs, for
// whoever has to do the next step: the client while a Read waits for it, and
// otherwise the queue.
type intake struct {
	body    io.Reader
	control *http.ResponseController
	// ctx ends when the queue's time is over.
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer

	mu      sync.Mutex
	reading bool
	due     time.Time // when the time of the step is over
	ended   bool
	stalled bool
	failure error
}

// newIntake starts with the queue's turn.
func newIntake(body io.Reader, control *http.ResponseController) *intake {
	in := &intake{body: body, control: control, due: time.Now().Add(queueTime)}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	in.timer = time.AfterFunc(queueTime, in.expire)
	return in
}

// step begins the client's turn, or the queue's.
func (in *intake) step(reading bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return
	}
	allowed := queueTime
	if reading {
		allowed = clientTime
	}
	in.reading, in.due = reading, time.Now().Add(allowed)
	in.timer.Reset(allowed)
}

// expire ends the wait for whoever had the turn, unless it passed on meanwhile.
func (in *intake) expire() {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.ended || time.Now().Before(in.due):
	case in.reading:
		in.stalled = true
		_ = in.control.SetReadDeadline(past)
	default:
		in.cancel()
	}
}

func (in *intake) Read(p []byte) (int, error) {
	in.step(true)
	n, err := in.body.Read(p)
	in.step(false)
	if err != nil && err != io.EOF {
		in.mu.Lock()
		in.failure = err
		if in.stalled {
			in.failure = fmt.Errorf("nothing came of it for %v", clientTime)
		}
		in.mu.Unlock()
	}
	return n, err
}

// broken is why the body cannot be read, nil if it can.
func (in *intake) broken() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.failure
}

// end is to be called when the queue has had its say. A Read after it is
// without effect on the connection's next request.
func (in *intake) end() {
	in.mu.Lock()
	in.ended = true
	in.mu.Unlock()
	in.timer.Stop()
	in.cancel()
}
