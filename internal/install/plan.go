package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// step is one change of the machine.
type step struct {
	// what is the change in the infinitive, as in "write /etc/x".
	what string
	do   func(ctx context.Context) error
	// undo takes it back, also after do has failed half-way. Nil where there is
	// nothing to take back.
	undo func(ctx context.Context) error
	// settle, if not nil, forgets what undo would need.
	settle func() error
}

// Plan is what is to be done, in order. Nothing of it has been done yet.
type Plan struct {
	// Notes are what the administrator should know, a sentence each.
	Notes []string
	steps []step
	// release gives back what keeps others from changing the same.
	release func()
}

// open claims the machine for the plan, if it is this one that is meant, and
// returns what there is of the service.
func (p *Plan) open(ctx context.Context, place Place) (was state, err error) {
	if !place.isMachine() {
		return state{}, nil
	}
	if err := checkMachine(); err != nil {
		return state{}, err
	}
	if p.release, err = lock(filepath.Dir(unitPath)); err != nil {
		return state{}, err
	}
	return look(ctx)
}

// Steps are what is to be done, in the infinitive.
func (p *Plan) Steps() (all []string) {
	for _, s := range p.steps {
		all = append(all, s.what)
	}
	return all
}

// Run does it. It says what it is about to do, one step at a time. When a step
// fails, or ctx ends, what had been done is taken back as far as it can be, and
// the error has the reason of all.
func (p *Plan) Run(ctx context.Context, say func(step string)) error {
	for i, s := range p.steps {
		say(s.what)
		if err := s.do(ctx); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.what, err), undo(p.steps[:i+1]))
		}
	}
	var errs []error
	for _, s := range p.steps {
		if s.settle != nil {
			errs = append(errs, s.settle())
		}
	}
	return errors.Join(errs...)
}

// Close ends the plan, run or not. Until then no other can be made.
func (p *Plan) Close() { p.release() }

// undo takes steps back, last first. It goes on after one that fails.
func undo(steps []step) error {
	var errs []error
	undone := false
	for i := len(steps) - 1; i >= 0; i-- {
		if s := steps[i]; s.undo != nil {
			undone = true
			if err := s.undo(context.Background()); err != nil {
				errs = append(errs, fmt.Errorf("take back: %s: %w", s.what, err))
			}
		}
	}
	if undone && len(errs) == 0 {
		return errors.New("everything is as it was before")
	}
	return errors.Join(errs...)
}
