package app

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"lofn/internal/handover"
	"lofn/internal/provider/process"
)

const (
	// upgradeTime is how long a new process may take until it serves.
	upgradeTime = 5 * time.Minute
	// changeTime is how long requests to change something may take to end
	// before an upgrade, and those that are about to begin are held.
	changeTime = 10 * time.Second
	// reopenPause is between attempts to open the data again.
	reopenPause = 5 * time.Second
)

// upgrade starts the program as it is now on the disk, hands the data over to
// it and returns when it takes calls. If it never does, this process has the
// data again, and the error says why.
func (p *platform) upgrade(told context.Context, doors *doors) (*heir, error) {
	ctx, cancel := context.WithTimeoutCause(told, upgradeTime, fmt.Errorf("it did not serve within %s", upgradeTime))
	defer cancel()
	successor, err := p.beget(doors)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, successor.Line, waiting); err != nil {
		return nil, fmt.Errorf("the new process failed before it took anything over: %w (%s)", err, successor.Kill())
	}
	p.log.Info("handing the data over", "to", successor.Pid())
	h := &heir{Successor: successor}
	confessing, stop := context.WithCancel(context.Background())
	err = p.letGo(ctx, successor.Line)
	if err == nil {
		go p.confess(confessing, h)
		err = p.attend(ctx, h, ready)
	}
	if err != nil {
		stop()
		err = fmt.Errorf("the new process failed: %w (%s)", err, successor.Kill())
		p.takeBack(told)
		return nil, err
	}
	context.AfterFunc(p.life, stop)
	return h, nil
}

// beget starts the new process, with what it inherits.
func (p *platform) beget(doors *doors) (*handover.Successor, error) {
	// In this order openPorts expects them.
	files := []syscall.Conn{doors.listen, doors.metricsListen}
	if doors.innerListen != nil {
		files = append(files, doors.innerListen)
	}
	// It is as isolated as this process.
	environment := []string{process.EnvIsolated + "=1"}
	if p.warden != nil {
		environment = append(environment, fmt.Sprintf("%s=%d", process.EnvWarden, handover.FileNumber(len(files))))
		files = append(files, p.warden.File())
	}
	return handover.Start(files, environment...)
}

// letGo closes all of the data that two processes cannot share, and hands it
// over. Calls go on.
func (p *platform) letGo(ctx context.Context, line *handover.Line) error {
	p.gate.set(holding) // first: a client that follows a log comes back at once
	p.streams.end()
	changes, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	p.gate.hold(changes)
	p.collecting.stop()
	p.settling.stop()
	p.containers.Pause()
	p.restAsync()
	p.functions.detach()
	p.namespaces.detach()
	p.secrets.detach()
	p.engine.HandOver()
	return p.journal.release(line, func() error {
		p.data.unlock()
		return line.Send(message{Estate: p.legacy()})
	})
}

// takeBack opens what letGo closed, and tries until it succeeds or ctx ends.
func (p *platform) takeBack(ctx context.Context) {
	err := p.reopen(ctx)
	p.containers.Resume() // with or without the data: nobody else has them
	for ; ctx.Err() == nil; err = p.reopen(ctx) {
		if err == nil {
			p.collecting.start()
			p.settling.start()
			p.resumeAsync()
			p.gate.set(passing)
			return
		}
		p.gate.set(refusing)
		p.log.Error("the data cannot be opened again: calls go on, changes are refused", "error", err, "again_in", reopenPause)
		select {
		case <-time.After(reopenPause):
		case <-ctx.Done():
		}
	}
}

func (p *platform) reopen(ctx context.Context) error {
	if err := p.data.lock(); err != nil {
		return err
	}
	err := p.openLogs()
	if err == nil {
		err = p.openStores(ctx)
	}
	if err != nil {
		p.data.unlock()
	}
	return err
}
