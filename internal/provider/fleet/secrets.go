package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"lofn"
)

// secretSource holds the values that functions are given as files.
type secretSource interface {
	// Secret returns the value, or an error with code NotFound.
	Secret(ctx context.Context, namespace, name string) ([]byte, error)
}

// Secrets gives replicas the values of their secrets, and new ones to those that
// run. Its methods are safe for concurrent use.
type Secrets struct {
	source secretSource
	// syncing orders updates, so that an older value cannot overwrite a newer
	// one.
	syncing sync.Mutex
	// synced counts updates: a replica that was given its secrets before one and
	// was not among the running ones yet is given them again.
	synced atomic.Int64
}

// Given is what a replica was given.
type Given struct {
	// Values are by name.
	Values map[string][]byte
	synced int64
}

// NewSecrets returns the Secrets of a source.
func NewSecrets(source secretSource) *Secrets { return &Secrets{source: source} }

// Read returns the values of the function's secrets. An error names the one
// that is missing.
func (s *Secrets) Read(ctx context.Context, fn lofn.Function) (Given, error) {
	given := Given{synced: s.synced.Load(), Values: make(map[string][]byte, len(fn.Spec.Secrets))}
	for _, name := range fn.Spec.Secrets {
		value, err := s.source.Secret(ctx, fn.Namespace, name)
		if lofn.CodeOf(err) == lofn.NotFound {
			return Given{}, lofn.Errorf(lofn.NotFound, "secret %q does not exist in namespace %s: create it and the function starts", name, fn.Namespace)
		}
		if err != nil {
			return Given{}, fmt.Errorf("secret %q: %w", name, err)
		}
		given.Values[name] = value
	}
	return given, nil
}

// CatchUp gives a replica its secrets again if some may have changed since they
// were read for it. Sync must find the replica by then.
func (s *Secrets) CatchUp(ctx context.Context, fn lofn.Function, given Given, write func(name string, value []byte) error) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if len(given.Values) == 0 || given.synced == s.synced.Load() {
		return nil
	}
	now, err := s.Read(ctx, fn)
	for name, value := range now.Values {
		err = errors.Join(err, write(name, value))
	}
	return err
}

// Sync has deliver give the running replicas of the functions that use a secret
// its value. Where the secret is gone they keep what they were started with.
func (s *Secrets) Sync(ctx context.Context, namespace, name string, deliver func(uses func(lofn.Function) bool, value []byte) error) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	value, err := s.source.Secret(ctx, namespace, name)
	if lofn.CodeOf(err) == lofn.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	s.synced.Add(1) // before it is looked which replicas run
	return deliver(func(fn lofn.Function) bool {
		return fn.Namespace == namespace && slices.Contains(fn.Spec.Secrets, name)
	}, value)
}
