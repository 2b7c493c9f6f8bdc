// Package content keeps the images of functions in containerd: it asks their
// registries, brings their content here, unpacks it into snapshots, and gives
// the space back when no function uses them any more.
//
// An image that was pulled has a record in containerd's namespace, called after
// the platform and the image's name and digest, with the label LabelPulled.
// Records without the label are somebody else's: they are used, and left alone.
package content

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"

	"lofn"
	"lofn/internal/flight"
)

// DefaultSnapshotter is the one that every containerd on Linux has.
const DefaultSnapshotter = "overlayfs"

// Source finds images where they come from. Credentials are those of a function,
// as Docker's config.json has them; nil means those of the platform. Errors have
// a code, and a text that begins with "image: " and has the name in it.
type Source interface {
	// ResolveWith finds the image that a name means now.
	ResolveWith(ctx context.Context, name string, credentials []byte) (lofn.Image, error)
	// Open finds the image of a name that has this digest.
	Open(ctx context.Context, name, digest string, credentials []byte) (lofn.RemoteImage, error)
}

// Config is what a Store needs.
type Config struct {
	// Client is connected to containerd, and has the default namespace in which
	// the images are.
	Client *client.Client
	// Source is asked for what is not there.
	Source Source
	// Platform tells the images of this platform from those of another in the
	// same namespace; "" means "lofn". It must stay the same.
	Platform string
	// Snapshotter is where images are unpacked; "" means DefaultSnapshotter.
	Snapshotter string
	// Keep is how long after its last use an image stays that no function uses:
	// a deployment may be under way, or somebody may go back to the version
	// before. 0 means an hour.
	Keep time.Duration
	// Log receives what fails behind the scenes; nil discards it.
	Log *slog.Logger
}

// Store keeps images in containerd. Its methods are safe for concurrent use.
type Store struct {
	Config
	// id tells what this Store does in containerd from what others do.
	id    string
	pulls flight.Group[Image]
	// blobs are being written.
	blobs locks

	mu sync.Mutex
	// known are the images that Ensure found or made, by digest.
	known map[string]*known
}

// New returns a Store. It does not speak to containerd yet.
func New(c Config) *Store {
	if c.Snapshotter == "" {
		c.Snapshotter = DefaultSnapshotter
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Platform = cmp.Or(c.Platform, "lofn")
	if c.Keep <= 0 {
		c.Keep = time.Hour
	}
	return &Store{Config: c, id: "lofn-" + rand.Text(), known: make(map[string]*known)}
}

// Image is an image whose files are in containerd's snapshotter.
type Image struct {
	// Image is what the image says about itself; its Root is empty.
	lofn.Image
	// Record is the image for containerd's client, as for client.WithImage and
	// oci.WithImageConfig. It carries the image's configuration with it, so
	// that reading that asks nobody.
	Record client.Image
	// Parent is the name of the committed snapshot with the image's files, in
	// the Store's snapshotter.
	Parent string
}
