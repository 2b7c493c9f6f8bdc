package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lofn"
	"lofn/internal/queue"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
)

// QueueOptions say where asynchronous calls are kept, and how many.
type QueueOptions struct {
	// URL is that of a NATS server, or several, separated by commas; if it is
	// empty, the engine in the data folder keeps them.
	URL string
	// Credentials and CA are files for it, Stream is the name of the queue there,
	// and Replicas how many servers of a cluster keep a copy. All may be empty.
	Credentials, CA, Stream string
	Replicas                int
	// Limits are the default ones if they are zero.
	Limits lofn.QueueLimits
}

// async is what makes the calls that nobody waits for.
type async struct {
	queue  *lateQueue
	worker *queue.Worker
	// log is the queue's, nil until it is open.
	log *jetstream.Log
	// identity is what names of this platform's workers begin with.
	identity string
	taking   *work
	// succeeded says that another process has the data folder, or is about to.
	succeeded atomic.Bool
	// sharing is held while the queue is told who else writes to it.
	sharing sync.Mutex
	// opening is under way while a server elsewhere does not answer.
	opening *work
}

// openAsync opens the queue. A server elsewhere that does not answer is asked
// again in the background.
func (p *platform) openAsync(ctx context.Context) (err error) {
	a := &p.async
	if a.identity, err = p.data.identity(); err != nil {
		return err
	}
	a.worker = queue.New(queue.Config{
		Functions: p.pool, Gateway: p.gateway, Front: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }),
		Secrets: secretValues{p.secrets}, Release: p.options.Release, Log: p.log,
		Attempted: p.metrics.Attempted, CalledBack: p.metrics.CalledBack,
	})
	a.taking = &work{run: func(ctx context.Context) { a.worker.Run(ctx, a.queue) }}
	a.opening = &work{run: p.keepOpening}
	err = p.openQueue(ctx)
	if p.options.Queue.URL != "" && lofn.CodeOf(err) == lofn.Unavailable {
		p.log.Error("asynchronous calls are refused until their server answers", "error", err)
		a.queue.excuse(err)
		a.opening.start()
		return nil
	}
	return err
}

// keepOpening tries to open the queue until it is.
func (p *platform) keepOpening(ctx context.Context) {
	for {
		select {
		case <-time.After(reopenPause):
		case <-ctx.Done():
			return
		}
		err := p.openQueue(ctx)
		if err == nil {
			p.log.Info("asynchronous calls are possible now")
			return
		}
		p.async.queue.excuse(err)
		if lofn.CodeOf(err) != lofn.Unavailable {
			p.log.Error("asynchronous calls are refused", "error", err)
		}
	}
}

func (p *platform) openQueue(ctx context.Context) error {
	o, a := p.options.Queue, &p.async
	config := jetstream.Config{URL: o.URL, Credentials: o.Credentials, CA: o.CA, Stream: o.Stream, Replicas: o.Replicas, Log: p.log}
	if o.URL == "" {
		config.Engine = p.engine
	}
	log, err := jetstream.Open(ctx, config)
	if err != nil {
		return err
	}
	q, err := p.openLedger(ctx, log)
	if err != nil {
		log.Close()
		return err
	}
	a.log = log
	a.queue.attach(q)
	if p.before != nil {
		go func() {
			<-p.before.gone
			p.share()
		}()
	}
	return nil
}

func (p *platform) openLedger(ctx context.Context, log *jetstream.Log) (*ledger.Ledger, error) {
	blobs, err := p.blobs(ctx, log)
	if err != nil {
		return nil, err
	}
	embedded := p.options.Queue.URL == ""
	return ledger.Open(ctx, ledger.Config{
		Log: log, Blobs: blobs, Limits: cmp.Or(p.options.Queue.Limits, lofn.DefaultQueueLimits), Worker: p.async.identity, Dead: p.isGone,
		Shared: !embedded || p.before != nil, Alone: embedded && p.before == nil, Due: p.async.worker.Poke, Logger: p.log,
	})
}

// blobs is where large bodies go: to the queue's server, or to files.
func (p *platform) blobs(ctx context.Context, log *jetstream.Log) (ledger.Blobs, error) {
	if p.options.Queue.URL != "" {
		return log.Bucket(ctx)
	}
	return jetstream.OpenDir(p.data.join("bodies"))
}

// isGone reports whether a worker is a process before this one that has ended:
// only one at a time has the data folder. The one that comes after it may work
// already.
func (p *platform) isGone(worker string) bool {
	if p.async.succeeded.Load() {
		return false
	}
	if !strings.HasPrefix(worker, p.async.identity+"/") {
		return p.options.Queue.URL == "" // the folder was copied
	}
	return p.before == nil || !slices.Contains(p.before.estate.Workers, worker)
}

// workers are the names under which this process, and those before it, make
// calls.
func (p *platform) workers() (names []string) {
	if p.before != nil {
		names = slices.Clone(p.before.estate.Workers)
	}
	if q, err := p.async.queue.current(); err == nil {
		names = append(names, q.WorkerName())
	}
	return names
}

// restAsync takes no more calls from the queue. Those under way go on, and are
// settled in whatever process has the queue then.
func (p *platform) restAsync() {
	p.async.succeeded.Store(true)
	p.async.opening.stop()
	p.async.taking.stop()
	p.share()
}

// share tells the queue whether other processes write to it: the one that has
// the data folder, or the one that had it before, which clients may still ask to
// submit calls.
func (p *platform) share() {
	a := &p.async
	a.sharing.Lock()
	defer a.sharing.Unlock()
	q, err := a.queue.current()
	switch {
	case err != nil:
	case a.succeeded.Load():
		q.Share()
	case p.options.Queue.URL == "" && p.before.isGone():
		q.Unshare()
	}
}

// resumeAsync takes calls again, after another process failed to.
func (p *platform) resumeAsync() {
	p.async.succeeded.Store(false)
	p.share()
	p.async.taking.start()
	if _, err := p.async.queue.current(); err != nil {
		p.async.opening.start()
	}
}

// drainAsync waits for the calls that were taken from the queue, until ctx ends,
// and closes it.
// What cannot be written down then, because the queue's server is away, is no
// failure of the stop: those calls are made again.
func (p *platform) drainAsync(ctx context.Context) {
	a := &p.async
	if a.worker == nil {
		return
	}
	a.opening.stop()
	a.taking.stop()
	err := a.worker.Drain(ctx)
	if q, closed := a.queue.current(); closed == nil {
		closing, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		err = errors.Join(err, q.Close(closing))
		a.log.Close()
	}
	if err != nil {
		p.log.Warn("the queue was not told of all calls that this process had: they are made again after the next start", "error", err)
	}
	a.worker = nil
}

// closeTime is how long the queue may take to give back what it has leased.
const closeTime = 5 * time.Second

// identity is what tells this data folder from others, made at its first use.
func (d *dataDir) identity() (string, error) {
	path := d.join("identity")
	text, err := os.ReadFile(path)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("data folder: %w", err)
	}
	host, _ := os.Hostname()
	name := strings.Trim(host+"-"+uuid.NewString()[:8], "-")
	if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return name, nil
}
