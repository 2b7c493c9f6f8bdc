package ledger

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lofn"
)

// Config is what a Ledger works with.
type Config struct {
	Log   Log
	Blobs Blobs
	// Limits bound what is kept.
	Limits lofn.QueueLimits
	// Worker names this process among those that share the log, in a way that
	// tells it from others and from those before it.
	Worker string
	// Dead reports whether another worker is known not to run any more, so that
	// its leases end at once. Nil says that nothing is known.
	Dead func(worker string) bool
	// LeaseTime is how long a worker may be silent before others take its calls,
	// DefaultLeaseTime if 0.
	LeaseTime time.Duration
	// Shared says that others may write to the log too. Without it nobody looks
	// for what they wrote, unless one is known to be there.
	Shared bool
	// Alone says that no other process writes blobs, so that those are garbage to
	// which nobody refers.
	Alone bool
	// CleanAbove is how long the log may become before what is live in it is
	// copied together, in bytes, DefaultCleanAbove if 0.
	CleanAbove int64
	// Mute keeps this process from extending its leases: for tests.
	Mute bool
	// Due is told, without a lock held, of a lane in which a delivery has become
	// due. It must not block.
	Due func(lofn.Lane)
	// Logger receives what people should know.
	Logger *slog.Logger
}

// DefaultLeaseTime is long enough for a process that the kernel did not run for
// a while, or a disk that stalls.
const DefaultLeaseTime = 30 * time.Second

// DefaultCleanAbove is what is read in no time at a start.
const DefaultCleanAbove = 64 << 20

// Ledger is a lofn.Queue over a log.
type Ledger struct {
	Config
	worker  string
	cache   *cache
	buffers *buffers
	queue   *opQueue
	done    chan struct{}
	stop    context.CancelFunc

	// shared says whether others may write to the log too.
	shared atomic.Int32

	// mu is held for writing by the committer while it changes the state, and
	// for reading by everybody who looks at it.
	mu    sync.RWMutex
	state *state

	// The committer's own.
	last    uint64 // number of the last record that was read
	written uint64 // number of the last page that was written
	at      time.Time
	trimmed time.Time
}

// Open reads the log and returns the queue that it describes.
func Open(ctx context.Context, c Config) (*Ledger, error) {
	if c.LeaseTime == 0 {
		c.LeaseTime = DefaultLeaseTime
	}
	if c.Due == nil {
		c.Due = func(lofn.Lane) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{Config: c, cache: newCache(), buffers: newBuffers(), queue: newOpQueue(), done: make(chan struct{})}
	l.worker = l.newName()
	if c.Shared {
		l.Share()
	}
	l.state = l.emptyState()
	if err := l.catchUp(ctx); err != nil {
		return nil, err
	}
	l.state.startCounting(nil)
	l.bury(ctx)
	l.sweep(ctx)
	life, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.run(life)
	return l, nil
}

// emptyState is what an empty log says.
func (l *Ledger) emptyState() *state {
	s := newState(l.Limits)
	s.records.small = cmp.Or(l.CleanAbove, DefaultCleanAbove)
	return s
}

// newName is a name that no lease was ever given to.
func (l *Ledger) newName() string { return l.Worker + "/" + uuid.NewString()[:8] }

// WorkerName returns the name under which this process has its leases.
func (l *Ledger) WorkerName() string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.worker
}

// Share has it look for what others write from now on, as Config.Shared does.
func (l *Ledger) Share() { l.shared.Store(shared) }

// Unshare says that the others are gone: what they wrote is looked for once more.
func (l *Ledger) Unshare() { l.shared.CompareAndSwap(shared, wasShared) }

// What is known of other processes that write to the log.
const (
	notShared = iota
	shared
	wasShared
)

// Close gives back what this process has leased, and ends it. The log stays
// open.
func (l *Ledger) Close(ctx context.Context) error {
	err := l.do(ctx, &op{firm: true, plan: func(p *page) error {
		if w := l.state.workers[l.worker]; w != nil && len(w.calls) > 0 {
			p.add(&voided{l.worker})
		}
		return nil
	}})
	l.Abandon()
	return err
}

// Abandon ends it as the end of the process would: what it has leased stays
// so, until the lease time is over.
func (l *Ledger) Abandon() {
	l.stop()
	<-l.done
}

var errLeaseLost = &lofn.Error{Code: lofn.Conflict, Text: "the lease on the call was lost: this process was taken for dead, and another one makes the call"}

// orphanAge is how long nothing was written to a blob that nobody refers to
// before it is one that a process left which has ended: one that is still being
// written belongs to a call that is not accepted yet.
const orphanAge = 24 * time.Hour

// sweep removes blobs that nobody refers to. It is called before this process
// writes any.
func (l *Ledger) sweep(ctx context.Context) {
	known := l.blobs()
	if l.Alone {
		orphans := l.orphans(ctx, known, 0)
		go l.removeBlobs(orphans)
		return
	}
	go func() { l.removeBlobs(l.orphans(context.Background(), known, orphanAge)) }()
}

// blobs are the ones that calls refer to.
func (l *Ledger) blobs() map[string]bool {
	names := make(map[string]bool)
	for _, c := range l.state.calls {
		known := c.known()
		names[known.body], names[known.result] = true, true
	}
	return names
}

// orphans are the blobs that are not known, and that old.
func (l *Ledger) orphans(ctx context.Context, known map[string]bool, age time.Duration) (names []string) {
	for name, touched := range l.Blobs.Names(ctx) {
		if !known[name] && (age == 0 || time.Since(touched) > age) {
			names = append(names, name)
		}
	}
	return names
}
