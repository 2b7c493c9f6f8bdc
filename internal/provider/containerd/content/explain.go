package content

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"lofn"
)

// explain turns an error of containerd into one for the deployer. Those that
// have a code keep it; nil stays nil.
func (s *Store) explain(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	if coded, ok := errors.AsType[*lofn.Error](err); ok {
		if strings.HasPrefix(coded.Text, "image: ") {
			return coded
		}
		return lofn.Errorf(coded.Code, "image: %q: %w", name, coded)
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return lofn.Errorf(lofn.DeadlineExceeded, "image: %q was not here in time: %w", name, err)
	case ctx.Err() != nil:
		return lofn.Errorf(lofn.Unavailable, "image: pulling %q was broken off: %w", name, err)
	case noSpace(err):
		return lofn.Errorf(lofn.Full, "image: there is no space on the disk of containerd's folder %s for %q: make room there, or remove functions that are not needed: %w", s.folder(ctx), name, err)
	case damaged(err):
		return lofn.Errorf(lofn.Invalid, "image: %q is damaged: push it again: %w", name, err)
	case errdefs.IsUnavailable(err) || errdefs.IsCanceled(err):
		return lofn.Errorf(lofn.Unavailable, "image: containerd does not answer, so %q cannot be had: see `systemctl status containerd`: %w", name, err)
	}
	return lofn.Errorf(lofn.Unavailable, "image: %q cannot be kept in containerd: %w", name, err)
}

// noSpace reads the text: containerd's answers have no code for this.
func noSpace(err error) bool {
	text := err.Error()
	return strings.Contains(text, "no space left on device") || strings.Contains(text, "disk quota exceeded")
}

// damaged reports whether the registry, or who built the image, is at fault. The
// first is containerd's word when a layer is not what the configuration says,
// the others are for layers that cannot be unpacked at all.
func damaged(err error) bool {
	text := err.Error()
	for _, words := range []string{"wrong diff id", "unexpected EOF", "invalid tar header", "gzip: invalid", "unexpected commit digest"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// folderPatience bounds the question for a folder's name, which is only to make
// an error more useful.
const folderPatience = 5 * time.Second

// folder is where containerd keeps things.
func (s *Store) folder(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), folderPatience)
	defer cancel()
	answer, err := s.Client.IntrospectionService().Plugins(ctx, `type==io.containerd.content.v1`)
	if err == nil {
		for _, p := range answer.Plugins {
			if root := p.Exports["root"]; root != "" {
				return filepath.Dir(root)
			}
		}
	}
	return "(/var/lib/containerd, by default)"
}
