package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lofn"
)

// untilTheEnd serves until ctx ends, a server fails or another process has
// taken over, and returns when no call is under way. What is done after that
// may take until the context that it returns ends.
func (p *platform) untilTheEnd(ctx context.Context, d *doors) (context.Context, error) {
	for {
		select {
		case <-ctx.Done():
			return p.stop(d), nil
		case err := <-d.failed:
			return p.stop(d), err
		case <-p.options.Upgrade:
			p.log.Info("upgrading")
			p.tell("RELOADING=1")
			successor, err := p.upgrade(ctx, d)
			if err == nil {
				return p.leave(ctx, d, successor)
			}
			p.log.Error("the upgrade failed, this process goes on", "error", err)
			p.tellFailed(err)
		}
	}
}

// stop ends all at once, but for the calls under way.
func (p *platform) stop(d *doors) context.Context {
	p.log.Info("stopping: no new calls, those in flight may finish", "within", p.options.DrainTime)
	p.tell("STOPPING=1")
	p.before.hurry()
	p.streams.stop()
	p.async.taking.stop()
	drain, cancel := context.WithTimeout(context.Background(), p.options.DrainTime)
	context.AfterFunc(drain, cancel)
	if d.close(drain, stopGrace) != nil {
		p.log.Warn("some calls did not finish in time and were cut off", "after", p.options.DrainTime)
	}
	_ = d.metrics.Close()
	return drain
}

// leave lets the calls under way finish, however long they take, while another
// process serves: until it, or this one, is told to stop.
func (p *platform) leave(ctx context.Context, d *doors, successor *heir) (context.Context, error) {
	p.log.Info("another process has taken over; calls under way finish in this one", "successor", successor.Pid())
	p.name(successor.Pid())
	p.gate.lead(newForward(addressOf(d.listen), p.certificate != nil, p.log))

	drain, cancel := context.WithCancel(context.Background())
	hurry := func() {
		p.before.hurry()
		time.AfterFunc(p.options.DrainTime, cancel)
	}
	context.AfterFunc(ctx, hurry)
	told := p.serveUnder(successor, hurry)
	p.closeMetrics(d.metrics)
	go p.release(drain)
	if err := d.close(drain, upgradeGrace); err != nil {
		p.log.Warn("some calls did not finish in time and were cut off")
	}
	select {
	case isStop := <-told:
		if !isStop {
			return drain, errLost
		}
	default:
	}
	return drain, nil
}

// name tells those who watch over this process which one they are to watch
// over from now on.
func (p *platform) name(successor int) {
	if p.warden == nil {
		// What an upgrade that failed had to say is over, too.
		p.tell(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=", successor))
		return
	}
	p.tell("READY=1")
	if err := p.warden.Follow(successor); err != nil {
		p.log.Error("signals will not reach the new process", "error", err)
	}
}

// closeMetrics lets a reading under way end; the next one is the other
// process's.
func (p *platform) closeMetrics(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), p.options.DrainTime)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		p.log.Debug("a reading of the metrics was cut off", "error", errors.Join(err, s.Close()))
	}
}

// release stops the functions that have no call any more, so that those with
// long ones do not keep all the others in memory. None gets a new call, but
// what was read of a request may be on its way to one: so it must be without
// for a while. Containers are the other process's by now.
func (p *platform) release(ctx context.Context) {
	idle := make(map[lofn.Ref]bool)
	look := time.NewTicker(2 * upgradeGrace)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		for _, c := range p.reconciler.Counts() {
			inFlight, waiting := p.pool.Load(c.Function)
			was := idle[c.Function]
			idle[c.Function] = inFlight+waiting == 0
			if was && idle[c.Function] {
				if err := p.process.Remove(ctx, c.Function); err != nil {
					p.log.Debug("a function without calls runs on", "function", c.Function, "error", err)
				}
			}
		}
	}
}
