package content

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"lofn"
)

// LabelPulled is on the records of images that a Store made. Its value is the
// image's name as its function has it.
const LabelPulled = "lofn.dev/image"

// labelPlatform is on records and leases; its value is Config.Platform.
const labelPlatform = "lofn.dev/platform"

// known is an image that was whole when it was looked at.
type known struct {
	image Image
	used  time.Time
}

// recordName is that of the record by which a Store keeps an image.
func (s *Store) recordName(name, digest string) string {
	return s.Platform + "/" + name + "@" + digest
}

// Ensure returns the image of a name that has the digest of a manifest, when it
// is in containerd and unpacked. What is missing it pulls, unless the policy is
// PullNever; a registry that is not needed is not asked. Calls at the same time share the work, which is given
// up when nobody waits for it. Of an image that is there it makes sure with two
// quick questions to containerd.
//
// Progress gets a line such as "pulling echo:1: 12.0 of 81.4 MiB" five times a
// second at most, from within the call. After an error nothing half-made stays,
// save layers that were complete when their registry failed, for the next try. Errors are as those of Resolve; a full disk has code Full.
func (s *Store) Ensure(ctx context.Context, name, digest string, policy lofn.Pull, credentials []byte, progress func(string)) (Image, error) {
	id, err := parseDigest(digest)
	if err != nil {
		return Image{}, s.explain(ctx, name, err)
	}
	image, err := s.recall(ctx, s.recordName(name, digest))
	if err == nil || !errdefs.IsNotFound(err) {
		return image, s.explain(ctx, name, err)
	}
	image, err = s.pulls.Join(ctx, s.recordName(name, digest), func(ctx context.Context, report func(string)) (Image, error) {
		p := &pull{Store: s, name: name, digest: id, policy: policy, credentials: credentials, report: report}
		image, err := p.run(ctx)
		return image, s.explain(ctx, name, err)
	}, progress)
	return image, s.explain(ctx, name, err)
}

func parseDigest(text string) (digest.Digest, error) {
	id, err := digest.Parse(text)
	if err != nil {
		return "", lofn.Errorf(lofn.Invalid, "%q is not a digest: it is sha256: and 64 hexadecimal digits: %w", text, err)
	}
	return id, nil
}

// recall returns an image that is known, if it is still there.
func (s *Store) recall(ctx context.Context, record string) (Image, error) {
	s.mu.Lock()
	k := s.known[record]
	s.mu.Unlock()
	if k == nil {
		return Image{}, errdefs.ErrNotFound
	}
	if err := s.still(ctx, k.image); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.known[record] == k && errdefs.IsNotFound(err) {
			delete(s.known, record)
		}
		return Image{}, err
	}
	s.remember(record, k.image)
	return k.image, nil
}

// still looks whether nobody has removed an image, by hand or by a prune.
func (s *Store) still(ctx context.Context, image Image) error {
	var noRecord, noSnapshot error
	var questions sync.WaitGroup
	questions.Go(func() {
		var r images.Image
		r, noRecord = s.Client.ImageService().Get(ctx, image.Record.Name())
		if noRecord == nil && r.Target.Digest != image.Record.Target().Digest {
			noRecord = errdefs.ErrNotFound
		}
	})
	_, noSnapshot = s.Client.SnapshotService(s.Snapshotter).Stat(ctx, image.Parent)
	questions.Wait()
	return cmp.Or(noRecord, noSnapshot)
}

func (s *Store) remember(record string, image Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[record] = &known{image: image, used: time.Now()}
}

// lastUse is when Ensure returned the image of a record, as far as known.
func (s *Store) lastUse(record string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.known[record]; k != nil {
		return k.used
	}
	return time.Time{}
}
