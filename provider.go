package lofn

import (
	"context"
	"iter"
)

// Provider runs functions: as processes, containers or pods. It is told what
// should be and works towards it on its own, restarting with a growing pause
// what fails. All methods are safe for concurrent use.
//
// internal/provider/providertest is the specification as tests, and
// internal/provider/fake the smallest implementation that passes them.
type Provider interface {
	// Ensure makes fn run with exactly fn.Replicas replicas of fn.Generation.
	// It returns when the wish is recorded, not when it is fulfilled; calling
	// it again with the same function changes nothing. Replicas of an older
	// generation stop, each after it finished the calls it has, only when as
	// many of the new one as are wanted are ready; while the new one fails
	// they stay in service. A lower generation than the current one is an
	// error with code Conflict.
	Ensure(ctx context.Context, fn Function) error

	// Remove stops all replicas of a function, letting them finish the calls
	// they have. Removing what does not run is not an error.
	Remove(ctx context.Context, ref Ref) error

	// Watch yields every replica that exists and then every change to one, in
	// order for each replica, until the context ends. A slow reader may miss
	// intermediate states of a replica, never its last.
	Watch(ctx context.Context) iter.Seq[Replica]
}

// Resolver is a Provider that checks, before a function is accepted, that it
// could run: the image exists, is meant for this machine and this kind of
// provider.
type Resolver interface {
	// Resolve returns what the function's image is now, or an error with code
	// Invalid that names the field at fault.
	Resolve(ctx context.Context, fn Function) (Resolution, error)
}

// Resolution is what an image's name stood for when its function was accepted:
// what Function.Digest, Function.Defaults and Function.Runtime shall be.
type Resolution struct {
	Digest   string
	Defaults map[string]string
	Runtime  string
}

// LogStreamer is a Provider that keeps what replicas write.
type LogStreamer interface {
	// Logs yields the lines that q selects, oldest first. An error ends the
	// sequence.
	Logs(ctx context.Context, q LogQuery) iter.Seq2[LogLine, error]
}

// UsageReporter is a Provider that can tell what a function consumes.
type UsageReporter interface {
	Usage(ctx context.Context, ref Ref) (Usage, error)
}

// SecretSyncer is a Provider that hands secrets to replicas as files and wants
// to know when one was created or changed, so that running replicas see it.
type SecretSyncer interface {
	SyncSecret(ctx context.Context, namespace, name string) error
}
