package content

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"lofn"
)

// labelPull is on leases of pulls; its value is the name of the record that the
// pull is to make.
const labelPull = "lofn.dev/pull"

// leaseAge is when containerd itself drops a lease. It is longer than a pull.
const leaseAge = 24 * time.Hour

// tidyPatience bounds what is done to leave nothing behind.
const tidyPatience = 30 * time.Second

// lease protects what is written with the returned context. Release ends that,
// and when the error is none that the next try might outlive, it returns when
// what was written is gone.
func (s *Store) lease(ctx context.Context, record string) (leased context.Context, release func(error), err error) {
	manager := s.Client.LeasesService()
	// The name is that of the try before, whose complete layers are used.
	l := leases.Lease{ID: s.id + "-" + record}
	_, err = manager.Create(ctx, leases.WithID(l.ID), leases.WithExpiration(leaseAge), leases.WithLabels(map[string]string{labelPull: record, labelPlatform: s.Platform}))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, nil, err
	}
	return leases.WithLease(ctx, l.ID), func(cause error) {
		if ctx.Err() == nil && lofn.CodeOf(cause) == lofn.Unavailable {
			return // Only the registry's errors have this code yet.
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyPatience)
		defer cancel()
		var opts []leases.DeleteOpt
		if cause != nil {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := manager.Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
			s.Log.Warn("images: a lease was not ended, what it protects goes with it later", "lease", l.ID, "error", err)
		}
	}, nil
}

// drop removes a blob that is half written.
func (s *Store) drop(ctx context.Context, ref string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyPatience)
	defer cancel()
	if err := s.Client.ContentStore().Abort(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
		s.Log.Warn("images: an unfinished download was not removed, it goes with its lease", "ref", ref, "error", err)
	}
}
