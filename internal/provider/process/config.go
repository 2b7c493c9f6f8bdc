package process

import (
	"context"
	"io"
	"log/slog"
	"time"

	"lofn"
)

// Images finds the images of functions.
type Images interface {
	// Resolve returns the image that a name stands for now, not unpacked.
	Resolve(ctx context.Context, name string) (lofn.Image, error)
	// Unpack returns the image with its files on this machine. The digest
	// wins over the name where it is not empty.
	Unpack(ctx context.Context, name, digest string) (lofn.Image, error)
}

// Secrets holds the values that functions are given as files.
type Secrets interface {
	// Secret returns the value, or an error with code NotFound.
	Secret(ctx context.Context, namespace, name string) ([]byte, error)
}

// Logs keeps what functions write.
type Logs interface {
	// Writer takes what the processes of one replica write, to be cut into
	// lines.
	Writer(function lofn.Ref, instance string) io.WriteCloser
	// Append adds a line of the platform's own.
	Append(function lofn.Ref, instance, line string)
}

// Config is what a Provider works with.
type Config struct {
	// RunDir is a folder for sockets. It is made if it is missing. Each
	// provider has a folder of its own in it, and removes those whose provider
	// is gone; only one may be in New at a time.
	RunDir string
	// Hide are folders that functions shall see empty, as that of the
	// platform's own data.
	Hide    []string
	Images  Images
	Secrets Secrets
	Logs    Logs
	// Drain returns when no call is on the replica any more and none will be
	// sent to it, or when ctx ends. Nil returns at once.
	Drain func(ctx context.Context, r lofn.Replica) error
	// GatewayURL is where functions reach the gateway; empty tells them
	// nothing.
	GatewayURL string
	// Environ is the platform's environment, from which functions get PATH,
	// the locale, the time zone and the proxies. Nil means os.Environ().
	Environ []string
	// ReadyTimeout bounds how long a replica may take until it listens, where
	// the function's environment does not say ready_timeout. 0 means 30 s.
	ReadyTimeout time.Duration
	// TmpBytes bounds what a replica may keep in its /tmp; 0 means 1 GiB.
	TmpBytes int64
	// Standby is how many interpreters of a kind wait, started, for a function
	// that has use for one; 0 has all processes start when they are needed.
	Standby int
	// MaxStarts and Started are as in fleet.Config.
	MaxStarts int
	Started   func(r lofn.Replica)
	// Log receives what concerns the platform; nil discards it.
	Log *slog.Logger
}
