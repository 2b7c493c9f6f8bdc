package content

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"lofn"
)

// Resolve finds the image that a name means now, and checks that it could run
// here: that it is for this machine and has a command. What decides is the
// policy; PullAlways is what an empty one means. Without a registry's answer an
// image of the name is one that was pulled before, or that somebody has put into
// containerd's namespace, under the name as it is written or as Docker completes
// it; of several it is the one that came last. Errors have code Invalid if the
// name or the image is at fault, else Unavailable.
func (s *Store) Resolve(ctx context.Context, name string, policy lofn.Pull, credentials []byte) (lofn.Image, error) {
	if policy == lofn.PullMissing || policy == lofn.PullNever {
		image, err := s.find(ctx, name)
		if err == nil || policy == lofn.PullNever || !errdefs.IsNotFound(err) && lofn.CodeOf(err) != lofn.Invalid {
			return image, err
		}
	}
	image, err := s.Source.ResolveWith(ctx, name, credentials)
	if err == nil {
		err = suits(name, image)
	}
	return image, err
}

// find returns the image of a name that is here.
func (s *Store) find(ctx context.Context, name string) (lofn.Image, error) {
	records, err := s.Client.ImageService().List(ctx, filters(name)...)
	if err != nil {
		return lofn.Image{}, s.explain(ctx, name, err)
	}
	slices.SortFunc(records, func(a, b images.Image) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	var failed error
	for _, r := range records {
		image, err := s.inspect(ctx, name, r)
		if err == nil {
			return image, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		failed = s.absent(name)
	}
	return lofn.Image{}, failed
}

// absent is the error of an image that must be here and is not.
func (s *Store) absent(name string) error {
	ns := s.Client.DefaultNamespace()
	return lofn.Errorf(lofn.Invalid, "image: %q is not in containerd's namespace %s, and its pull policy is %q: import it with `ctr -n %s images import FILE`, or change the policy", name, ns, lofn.PullNever, ns)
}

// inspect reads the image of a record, all of which must be here.
func (s *Store) inspect(ctx context.Context, name string, r images.Image) (lofn.Image, error) {
	w, err := s.read(ctx, r.Target)
	for i := 0; err == nil && i < len(w.manifest.Layers); i++ {
		_, err = s.Client.ContentStore().Info(ctx, w.manifest.Layers[i].Digest)
	}
	if errdefs.IsNotFound(err) {
		return lofn.Image{}, lofn.Errorf(lofn.Invalid, "image: %q is in containerd's namespace %s as %s, but not all of it is: import or pull it again: %w", name, s.Client.DefaultNamespace(), r.Name, err)
	}
	if err != nil {
		return lofn.Image{}, s.explain(ctx, name, err)
	}
	image := w.describe()
	return image, suits(name, image)
}

// filters select the records of a name, in containerd's language for that.
func filters(name string) []string {
	all := []string{
		fmt.Sprintf("labels.%q==%q", LabelPulled, name),
		fmt.Sprintf("name==%q", name),
	}
	// What only Docker would accept as a name has no other form.
	if full, err := reference.ParseDockerRef(name); err == nil {
		all = append(all, fmt.Sprintf("name==%q", full))
		if pinned, ok := full.(reference.Digested); ok {
			all = append(all, fmt.Sprintf("target.digest==%q", pinned.Digest()))
		}
	}
	return all
}
