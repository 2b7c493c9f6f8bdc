package registry

import (
	"context"
	"errors"
	"iter"
	"path"
	"time"

	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"lofn"
)

const (
	// collectAge is how long after its last use something is not removed: the
	// push or the deployment that it belongs to may be under way.
	collectAge = time.Hour
	// collectRounds bounds how often Collect looks again because it was
	// disturbed. What it does not get to it removes the next time.
	collectRounds = 10
)

// Collect gives disk space back: it removes the manifests that no tag names,
// that belong to no index and that keep does not want, and then what no
// remaining manifest refers to. What was pushed or used within the last hour
// stays.
//
// The registry may serve meanwhile: a request waits for the removal of one blob
// at most, and what it finds stays. A Collect that is broken off, even by the
// end of the process, leaves every manifest whole and is continued by the next
// one. It writes nothing, so it works on a full disk. The first thing that
// cannot be read or removed ends it with an error of code Unavailable; ctx ends
// it with its own. Calls at the same time wait for each other.
func (r *Registry) Collect(ctx context.Context, keep func(digest string) bool) error {
	r.collecting.Lock()
	defer r.collecting.Unlock()
	for range collectRounds {
		undisturbed, err := r.collect(ctx, keep)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return lofn.Errorf(lofn.Unavailable, "the registry's folder %s cannot be cleared of what is no longer used: %w", r.layout.dir, err)
		}
		if undisturbed {
			break
		}
	}
	return nil
}

// collect reports false if something was used meanwhile, so that what it found
// to be garbage might not be.
func (r *Registry) collect(ctx context.Context, keep func(digest string) bool) (undisturbed bool, err error) {
	// With the lock no manifest is half written, so that each that the survey
	// may miss will count.
	r.uses.Lock()
	revived := r.uses.revived.Load()
	r.uses.Unlock()
	found, err := survey(ctx, r.layout, keep)
	if err != nil {
		return false, err
	}
	removed := 0
	for remove := range found.removals(ctx, r.driver) {
		if undisturbed, err = r.removeUnless(revived, remove); err != nil || !undisturbed || ctx.Err() != nil {
			return false, err
		}
		removed++
	}
	if removed > 0 {
		r.log.Info("registry: removed what no tag names and no function uses", "manifests", len(found.manifests), "bytes", found.bytes)
	}
	return true, nil
}

// removeUnless removes one thing, unless the count of what was revived moved
// on.
func (r *Registry) removeUnless(revived int64, remove func() error) (undisturbed bool, err error) {
	r.uses.Lock()
	defer r.uses.Unlock()
	if r.uses.revived.Load() != revived {
		return false, nil
	}
	err = remove()
	if _, gone := errors.AsType[driver.PathNotFoundError](err); gone {
		return true, nil
	}
	return err == nil, err
}

// garbage is what may be removed.
type garbage struct {
	manifests, layers []link
	blobs             []digest.Digest
	// bytes is the size of the blobs.
	bytes int64
}

// link is what makes a blob a manifest or a layer of a repository.
type link struct {
	repository string
	digest     digest.Digest
	// tags are all tags of a manifest's repository: they may have named it.
	tags []string
}

// removals are the steps of removing it, in the only order in which each of
// them leaves a consistent registry: what refers to something goes before it.
func (g *garbage) removals(ctx context.Context, files driver.StorageDriver) iter.Seq[func() error] {
	v := storage.NewVacuum(ctx, files)
	return func(yield func(func() error) bool) {
		for _, m := range g.manifests {
			if !yield(func() error { return v.RemoveManifest(m.repository, m.digest, m.tags) }) {
				return
			}
		}
		for _, l := range g.layers {
			// Vacuum would leave the link's folder.
			folder := path.Join(repositoriesPath, l.repository, layersName, "sha256", l.digest.Encoded())
			if !yield(func() error { return files.Delete(ctx, folder) }) {
				return
			}
		}
		for _, b := range g.blobs {
			if !yield(func() error { return v.RemoveBlob(b.String()) }) {
				return
			}
		}
	}
}
