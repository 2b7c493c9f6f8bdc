package registry

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
	"lofn/internal/flight"
)

// ImagesConfig is what Images needs.
type ImagesConfig struct {
	// Registry serves the images whose name has no registry in it. It is
	// called in this process, without credentials.
	Registry http.Handler
	// Hosts are other names of that registry, "host:port", under which its
	// users reach it. An image named by one of them is read in this process.
	Hosts []string
	// Dir is the folder that images are unpacked in. It is created if missing.
	// No two Images may share one.
	Dir string
	// Transport reaches the other registries; nil means over the network, by the
	// proxy that the environment names.
	Transport http.RoundTripper
	// Patience is how long another registry may say nothing, before the answer
	// or within it; 0 means 30 seconds. How long an answer takes is not bounded.
	Patience time.Duration
	Log      *slog.Logger
}

// Images finds images by name, and keeps those that are in use unpacked. All
// methods are safe for concurrent use.
//
// An unpacked image is the folder Dir/sha256-HEX: its file system in rootfs,
// its configuration in config.json. It appears whole or not at all.
type Images struct {
	registry http.Handler
	hosts    []string
	dir      string
	log      *slog.Logger
	others   *patient
	unpacks  flight.Group[lofn.Image]
}

// Names inside Images' folder. What begins with a dot is unfinished, or being
// removed.
const (
	rootName   = "rootfs"
	configName = "config.json"
	unfinished = "."
)

// NewImages opens the folder, and clears what an earlier process left behind.
func NewImages(cfg ImagesConfig) (*Images, error) {
	patience := cmp.Or(cfg.Patience, defaultPatience)
	others := &patient{inner: cfg.Transport, patience: patience}
	if others.inner == nil {
		others.inner = network(patience)
	}
	im := &Images{others: others, registry: cfg.Registry, hosts: cfg.Hosts, dir: cfg.Dir, log: cfg.Log}
	err := os.MkdirAll(cfg.Dir, 0o755)
	if err == nil {
		// Functions run as other users and read through this folder.
		err = os.Chmod(cfg.Dir, 0o755)
	}
	if err == nil {
		err = im.clearUnfinished()
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the folder for unpacked images %s cannot be used: %w", cfg.Dir, err)
	}
	return im, nil
}

func (im *Images) clearUnfinished() error {
	entries, err := os.ReadDir(im.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := os.RemoveAll(filepath.Join(im.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Resolve finds the image that a name means now, and reads what it says about
// itself, but not its files. A name without a registry's host means the
// built-in registry. Of an image for several platforms it returns the one for
// this machine. Errors have code Invalid if the name is at fault or there is no
// such image, and Unavailable if its registry is.
func (im *Images) Resolve(ctx context.Context, name string) (lofn.Image, error) {
	return im.ResolveWith(ctx, name, nil)
}

// ResolveWith is Resolve with credentials for registries: the content of a
// config.json of Docker's, or an auth.json of Podman's. Where they say nothing
// about the image's registry, and if there are none, it is the files on this
// machine that count. Other registries are spoken to by TLS, save those at this
// machine's own addresses, at private ones and at names that end in .local,
// which may do without.
func (im *Images) ResolveWith(ctx context.Context, name string, credentials []byte) (lofn.Image, error) {
	r, err := im.parse(name, credentials)
	if err != nil {
		return lofn.Image{}, err
	}
	image, err := r.get(ctx)
	if err != nil {
		return lofn.Image{}, err
	}
	digest, err := image.Digest()
	if err != nil {
		return lofn.Image{}, r.explain(ctx, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return lofn.Image{}, r.explain(ctx, err)
	}
	return describe(digest.String(), config), nil
}

// Unpack returns the image with that digest, unpacked. The first call reads it
// from the registry of name; calls at the same time wait for that one, and
// later ones need no registry. The work is given up when nobody waits for it.
// Errors are as those of Resolve; after one nothing is left on the disk.
func (im *Images) Unpack(ctx context.Context, name, digest string) (lofn.Image, error) {
	if !digestPattern.MatchString(digest) {
		return lofn.Image{}, lofn.Errorf(lofn.Invalid, "image: %q is not a digest: it is sha256: and 64 hexadecimal digits", digest)
	}
	r, err := im.parse(name, nil)
	if err != nil {
		return lofn.Image{}, err
	}
	if image, err := im.unpacked(digest); !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	image, err := im.unpacks.Join(ctx, digest, func(ctx context.Context, _ func(string)) (lofn.Image, error) {
		// Another flight may have landed since.
		if image, err := im.unpacked(digest); !errors.Is(err, fs.ErrNotExist) {
			return image, err
		}
		r.Reference = r.Context().Digest(digest)
		return im.fetch(ctx, r, digest)
	}, nil)
	if err != nil && err == ctx.Err() {
		return image, lofn.Errorf(lofn.DeadlineExceeded, "image: %q was not unpacked in time: %w", name, err)
	}
	return image, err
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// path is where an image is unpacked.
func (im *Images) path(digest string) string {
	return filepath.Join(im.dir, strings.Replace(digest, ":", "-", 1))
}

// unpacked returns an image that is unpacked, or an error that wraps
// fs.ErrNotExist.
func (im *Images) unpacked(digest string) (lofn.Image, error) {
	f, err := os.Open(filepath.Join(im.path(digest), configName))
	if err != nil {
		return lofn.Image{}, err
	}
	defer f.Close()
	config, err := v1.ParseConfigFile(f)
	if err != nil {
		return lofn.Image{}, lofn.Errorf(lofn.Internal, "the unpacked image in %s is damaged: remove the folder, and it is unpacked again: %w", im.path(digest), err)
	}
	image := describe(digest, config)
	image.Root = filepath.Join(im.path(digest), rootName)
	return image, nil
}

func describe(digest string, config *v1.ConfigFile) lofn.Image {
	return lofn.Image{
		Digest:       digest,
		Env:          config.Config.Env,
		User:         config.Config.User,
		WorkingDir:   config.Config.WorkingDir,
		Process:      append(append([]string{}, config.Config.Entrypoint...), config.Config.Cmd...),
		Labels:       config.Config.Labels,
		OS:           config.OS,
		Architecture: config.Architecture,
	}
}

// Prune removes the unpacked images that keep does not want. Images that are
// being unpacked stay.
func (im *Images) Prune(ctx context.Context, keep func(digest string) bool) error {
	entries, err := os.ReadDir(im.dir)
	if err != nil {
		return lofn.Errorf(lofn.Unavailable, "the folder for unpacked images %s cannot be read: %w", im.dir, err)
	}
	var failed error
	for _, e := range entries {
		digest := strings.Replace(e.Name(), "-", ":", 1)
		if ctx.Err() != nil || !digestPattern.MatchString(digest) || keep(digest) {
			continue
		}
		failed = errors.Join(failed, im.remove(digest))
	}
	return errors.Join(failed, ctx.Err())
}

// remove makes the image's folder disappear in one step, so that no half of it
// is ever taken for the whole.
func (im *Images) remove(digest string) error {
	doomed, err := os.MkdirTemp(im.dir, unfinished+"remove-*")
	if err != nil {
		return err
	}
	im.unpacks.Flying(digest, func(flying bool) {
		if !flying {
			err = os.Rename(im.path(digest), filepath.Join(doomed, "image"))
		}
	})
	return errors.Join(err, os.RemoveAll(doomed))
}
