package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// look is how often the keeper looks even if nobody tells it to. Others change
// the rules of a machine's firewall, and what failed may succeed by then.
const look = time.Minute

// calm is how long the keeper waits when it is told to look: a container that
// starts shall have the machine to itself.
const calm = 200 * time.Millisecond

func (n *Networks) poke() {
	select {
	case n.wanted <- struct{}{}:
	default:
	}
}

// keep does what nobody shall wait for, until the Networks are closed.
func (n *Networks) keep() {
	defer close(n.kept)
	often := time.NewTicker(look)
	defer often.Stop()
	n.poke()
	for {
		select {
		case <-n.wanted:
		case <-often.C:
		case <-n.keeping.Done():
			return
		}
		select {
		case <-time.After(calm):
		case <-n.keeping.Done():
			return
		}
		n.tidy()
	}
}

func (n *Networks) tidy() {
	if err := errors.Join(n.refill(), n.bury(n.keeping)); err != nil && n.keeping.Err() == nil {
		n.Log.Warn("networks of containers are not as they should be; this is tried again", "in", look, "error", err)
	}
	if n.ConfList == "" {
		n.openFirewall()
	}
}

// refill makes networks that wait, one after the other, since nobody waits for
// them.
func (n *Networks) refill() error {
	for n.keeping.Err() == nil {
		spares, err := n.ledger.spares()
		if err != nil || len(spares) >= n.Spare {
			return err
		}
		made, err := n.make(n.keeping)
		if err != nil {
			return err
		}
		if err := n.ledger.offer(made.id); err != nil {
			return err
		}
	}
	return nil
}

// make makes a network, which is this process'.
func (n *Networks) make(ctx context.Context) (*Network, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.leave()
	id, err := n.ledger.begin()
	if err != nil {
		return nil, fmt.Errorf("network for a container: %w", err)
	}
	made, err := n.attach(ctx, id)
	if err == nil {
		err = made.write()
	}
	if err == nil {
		return made, nil
	}
	err = errors.Join(err, n.ledger.discard(id))
	n.poke()
	return nil, fmt.Errorf("network for a container: %w", err)
}

func (n *Networks) attach(ctx context.Context, id string) (*Network, error) {
	made := &Network{networks: n, id: id, path: n.path(id)}
	if err := makeNamespace(made.path); err != nil {
		return nil, err
	}
	lock, err := tryLock(n.ledger.mine(id))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	made.attachment, err = n.plugins.add(ctx, id, made.path, lock)
	return made, err
}

func (n *Networks) path(id string) string { return filepath.Join(n.Dir, namespacesDir, id) }

func (n *Networks) enter(ctx context.Context) error {
	select {
	case n.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *Networks) leave() { <-n.slots }

// bury removes all networks that are dead.
func (n *Networks) bury(ctx context.Context) error {
	ids, err := n.ledger.buriable()
	failures := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { failures[i] = n.dismantle(ctx, id) })
	}
	all.Wait()
	return errors.Join(append(failures, err)...)
}

// dismantle removes a network that is dead.
func (n *Networks) dismantle(ctx context.Context, id string) error {
	lock, err := n.await(ctx, n.ledger.dead(id))
	if lock == nil || err != nil {
		return err
	}
	defer lock.Close()
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	path := n.path(id)
	if !isNamespace(path) {
		path = ""
	}
	if err := n.plugins.remove(ctx, id, path, lock); err != nil {
		return fmt.Errorf("removal of the network %s: %w", id, err)
	}
	if err := removeNamespace(n.path(id)); err != nil {
		return err
	}
	return n.ledger.forget(id)
}

// await returns the locked marker of a network, or nil if somebody has removed
// it. Plugins that outlive the process that started them hold the lock; who holds
// it longer than plugins may take is waited for no more.
func (n *Networks) await(ctx context.Context, marker string) (*os.File, error) {
	patience, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	often := time.NewTicker(10 * time.Millisecond)
	defer often.Stop()
	for {
		lock, err := tryLock(marker)
		switch {
		case errors.Is(err, fs.ErrNotExist), lock != nil && unlinked(lock):
			lock.Close()
			return nil, nil
		case lock != nil || err != nil:
			return lock, err
		}
		select {
		case <-often.C:
		case <-patience.Done():
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return os.Open(marker)
		}
	}
}

// dropSpares declares dead all networks that wait.
func (n *Networks) dropSpares() error {
	for {
		id, err := n.ledger.claim()
		if id == "" || err != nil {
			return err
		}
		if err := n.ledger.discard(id); err != nil {
			return err
		}
	}
}
