package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"lofn"
)

// argBase is the build argument that names another base image than the recipe.
const argBase = "BASE_IMAGE"

// scratch is the name of the base that has nothing in it.
const scratch = "scratch"

// base is what an image for containers begins with.
type base struct {
	// name is as it was asked for.
	name string
	// image is in the store; nil for scratch.
	image v1.Image
	// reference is its full name in a registry, "" if it comes from elsewhere.
	reference string
}

// digest is "" for scratch.
func (b *base) digest() (string, error) {
	if b.image == nil {
		return "", nil
	}
	digest, err := b.image.Digest()
	return digest.String(), err
}

// place is where a base image comes from.
type place interface {
	// key tells what is there from what else there could be, so far as that is
	// known without a look into it.
	key() string
	// open returns what is there: an image, or an index of several. It may be
	// read until ctx ends or close is called.
	open(ctx context.Context) (a artifact, close func(), err error)
	// explain puts an error of open, or of reading, in words.
	explain(err error) error
}

// placeOf reads the name of a base image other than scratch.
func (req *Request) placeOf(name string) (place, error) {
	if path, ok := strings.CutPrefix(name, "oci:"); ok {
		return layoutAt(req.path, path)
	}
	if path, ok := strings.CutPrefix(name, "tar:"); ok {
		return archiveAt(req.path, path, req.Images.dir)
	}
	return remoteAt(name, req.Patience)
}

// openBase returns a base image for a platform, which is in the store then.
func (req *Request) openBase(ctx context.Context, name string, platform v1.Platform, log *logger) (*base, error) {
	if name == scratch {
		return &base{name: name}, nil
	}
	from, err := req.placeOf(name)
	if err != nil {
		return nil, err
	}
	b := &base{name: name}
	if r, ok := from.(*remotePlace); ok {
		b.reference = strings.Replace(r.ref.Name(), "index.docker.io/", "docker.io/", 1)
	}
	b.image, err = req.Images.base(ctx, from, platform, req.Pull, func(size int64) *progress {
		if size > 0 {
			log.line("base image " + name + ": reading " + Size(size))
		}
		return &progress{log: log, what: "base image", total: size}
	})
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "base image %s: %w", name, err)
	}
	return b, nil
}

// annotationBase marks a base image in the store's index, with its key.
const annotationBase = "lofn.base"

// base returns what is at a place for a platform: from the store if it has it
// and nobody wants it fresh; else begin is told how much there is to read. Builds
// that want the same one wait for each other.
func (s *Images) base(ctx context.Context, from place, platform v1.Platform, fresh bool, begin func(size int64) *progress) (v1.Image, error) {
	key := from.key() + " " + platform.String()
	sum := sha256.Sum256([]byte(key))
	lock, err := lockFile(s.file("base-" + hex.EncodeToString(sum[:8]) + ".lock"))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer lock.Close()
	if !fresh {
		if image, ok := s.keptBase(key); ok {
			return image, nil
		}
	}
	descriptor, err := s.fetchBase(ctx, from, platform, begin)
	if err != nil {
		return nil, from.explain(err)
	}
	image, err := s.image(descriptor)
	if err != nil {
		return nil, err
	}
	return image, s.keepBase(key, descriptor)
}

func isBase(key string) func(v1.Descriptor) bool {
	return func(d v1.Descriptor) bool { return d.Annotations[annotationBase] == key }
}

// keptBase returns a base image of the store that is whole.
func (s *Images) keptBase(key string) (v1.Image, bool) {
	index, err := s.readIndex()
	if err != nil {
		return nil, false
	}
	i := slices.IndexFunc(index.Manifests, isBase(key))
	if i < 0 {
		return nil, false
	}
	if _, whole := s.whole(index.Manifests[i]); !whole {
		return nil, false
	}
	image, err := s.image(index.Manifests[i])
	if err != nil {
		return nil, false
	}
	// Its age tells sweep that somebody wants it; if that fails it is read again
	// one day.
	now := time.Now()
	_ = os.Chtimes(s.blob(index.Manifests[i].Digest), now, now)
	return image, true
}

// fetchBase puts what is at a place into the store, and returns it.
func (s *Images) fetchBase(ctx context.Context, from place, platform v1.Platform, begin func(size int64) *progress) (v1.Descriptor, error) {
	a, done, err := from.open(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer done()
	image, err := choose(a, platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := s.missing(image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	p := begin(size)
	stop := p.log.stillAtIt("")
	err = s.writeImage(image, p.add)
	stop()
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := partial.Descriptor(image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	// Where it lies elsewhere does not concern this store.
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, nil
}

// missing returns the size of those of an image's layers that are not here.
func (s *Images) missing(image v1.Image) (size int64, err error) {
	m, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	for _, l := range m.Layers {
		if !s.has(l.Digest, l.Size) {
			size += l.Size
		}
	}
	return size, nil
}

// keepBase notes a base image whose blobs are in the store.
func (s *Images) keepBase(key string, descriptor v1.Descriptor) error {
	lock, err := lockFile(s.file("lock"))
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer lock.Close()
	// Somebody who read for an hour may find that a sweep took the beginning.
	if _, whole := s.whole(descriptor); !whole {
		return errors.New("image store: the base image did not stay: try again")
	}
	descriptor.Annotations = map[string]string{annotationBase: key}
	return s.replace(isBase(key), descriptor)
}

// choose returns the image of an artifact that is for the platform.
func choose(a artifact, want v1.Platform) (v1.Image, error) {
	index, ok := a.(v1.ImageIndex)
	if !ok {
		return a.(v1.Image), checkPlatform(a.(v1.Image), want)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var others []string
	for _, d := range m.Manifests {
		switch {
		case d.MediaType.IsIndex() && len(m.Manifests) == 1:
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			return choose(inner, want)
		case d.Platform == nil && len(m.Manifests) > 1, !d.MediaType.IsImage():
			continue
		case d.Platform != nil && !d.Platform.Satisfies(want):
			others = append(others, d.Platform.String())
			continue
		}
		return indexed(index, d, want)
	}
	return nil, lofn.Errorf(lofn.Invalid, "it has no variant for %s: it has %s", want, strings.Join(others, ", "))
}

func indexed(index v1.ImageIndex, d v1.Descriptor, want v1.Platform) (v1.Image, error) {
	image, err := index.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	if got, err := image.Digest(); err != nil || got != d.Digest {
		return nil, errors.Join(err, wrongDigest(d.Digest, got))
	}
	return image, checkPlatform(image, want)
}

func checkPlatform(image v1.Image, want v1.Platform) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if have := (v1.Platform{OS: config.OS, Architecture: config.Architecture}); config.Architecture != "" && !have.Satisfies(want) {
		return lofn.Errorf(lofn.Invalid, "it is for %s, and the image is for %s", have, want)
	}
	return nil
}

// variables returns the environment that the base gives to its processes.
func (b *base) variables() (map[string]string, error) {
	if b.image == nil {
		return map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, nil
	}
	config, err := b.image.ConfigFile()
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, pair := range config.Config.Env {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all, nil
}

// splitPath cuts the name off a path that may end in ":name". A path that is
// there as a whole has none.
func splitPath(abs func(string) string, text string) (path, name string) {
	if _, err := os.Stat(abs(text)); err == nil {
		return abs(text), ""
	}
	for i, c := range text {
		if c != ':' {
			continue
		}
		if _, err := os.Stat(abs(text[:i])); err == nil {
			return abs(text[:i]), text[i+1:]
		}
	}
	return abs(text), ""
}
