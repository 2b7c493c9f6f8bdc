package content

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"lofn"
)

// Collect gives disk space back: it removes the records of images that a Store of
// this platform pulled, that used does not want, by the digests of their
// manifests, and that were neither pulled nor returned by Ensure for as long as
// Config.Keep says; then it has containerd remove what belongs to no image and no
// container. Other images stay: it is not known what else they are for. What
// pulls have left that came to no end goes after that time, too.
func (s *Store) Collect(ctx context.Context, used func(digest string) bool) error {
	records, err := s.Client.ImageService().List(ctx, s.ours(LabelPulled))
	if err != nil {
		return s.collectError(err)
	}
	var failed error
	removed := 0
	for _, r := range records {
		if ctx.Err() != nil || used(r.Target.Digest.String()) {
			continue
		}
		ok, err := s.remove(ctx, r)
		failed = errors.Join(failed, err)
		if ok {
			removed++
		}
	}
	ended, err := s.collectLeases(ctx)
	failed = errors.Join(failed, err, ctx.Err())
	if removed+ended > 0 {
		failed = errors.Join(failed, s.sweep(ctx))
		s.Log.Info("images: removed those that no function uses", "images", removed, "unfinished", ended)
	}
	return s.collectError(failed)
}

// ours selects what has the label, and is this platform's.
func (s *Store) ours(label string) string {
	return fmt.Sprintf("labels.%q,labels.%q==%q", label, labelPlatform, s.Platform)
}

func (s *Store) collectError(err error) error {
	if err == nil {
		return nil
	}
	return lofn.Errorf(lofn.Unavailable, "images that no function uses cannot be removed from containerd: %w", err)
}

// remove removes a record, unless it is young or being pulled. Nothing is pulled
// while it makes up its mind.
func (s *Store) remove(ctx context.Context, r images.Image) (removed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tidyPatience)
	defer cancel()
	s.pulls.Flying(r.Name, func(flying bool) {
		since := time.Now().Add(-s.Keep)
		if flying || r.UpdatedAt.After(since) || s.lastUse(r.Name).After(since) {
			return
		}
		err = s.Client.ImageService().Delete(ctx, r.Name)
		removed = err == nil
	})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return removed, err
}

// collectLeases ends those of pulls that failed, or whose process was killed.
func (s *Store) collectLeases(ctx context.Context) (ended int, err error) {
	manager := s.Client.LeasesService()
	all, err := manager.List(ctx, s.ours(labelPull))
	ctx, cancel := context.WithTimeout(ctx, tidyPatience)
	defer cancel()
	for _, l := range all {
		s.pulls.Flying(l.Labels[labelPull], func(flying bool) {
			if flying || l.CreatedAt.After(time.Now().Add(-s.Keep)) {
				return
			}
			switch e := manager.Delete(ctx, l); {
			case e == nil:
				ended++
			case !errdefs.IsNotFound(e):
				err = errors.Join(err, e)
			}
		})
	}
	return ended, err
}

// sweep returns when containerd has removed what nothing refers to. By itself
// it does so when other things have changed, which on a quiet machine is never.
func (s *Store) sweep(ctx context.Context) error {
	manager := s.Client.LeasesService()
	l, err := manager.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseAge))
	if err != nil {
		return err
	}
	return manager.Delete(ctx, l, leases.SynchronousDelete)
}
