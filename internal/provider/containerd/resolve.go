package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"lofn"
	"lofn/internal/provider/containerd/cgroup"
	"lofn/internal/provider/containerd/content"
)

// Resolve implements lofn.Resolver.
func (p *Provider) Resolve(ctx context.Context, fn lofn.Function) (lofn.Resolution, error) {
	image, err := p.Look(ctx, fn)
	if err != nil {
		return lofn.Resolution{}, err
	}
	return p.Admit(ctx, fn, image)
}

// Look is the first half of Resolve: it finds the function's image, and reads
// what that says about itself.
func (p *Provider) Look(ctx context.Context, fn lofn.Function) (lofn.Image, error) {
	policy, credentials, err := p.pull(ctx, fn)
	if err != nil {
		return lofn.Image{}, err
	}
	return p.images.Resolve(ctx, fn.Spec.Image, policy, credentials)
}

// Admit is the second half of Resolve: it checks that the function could run
// from the image.
func (p *Provider) Admit(_ context.Context, fn lofn.Function, image lofn.Image) (lofn.Resolution, error) {
	if err := p.supports(fn.Spec); err != nil {
		return lofn.Resolution{}, err
	}
	if err := suits(fn.Spec.Image, image); err != nil {
		return lofn.Resolution{}, err
	}
	return lofn.Resolution{Digest: image.Digest, Defaults: image.Defaults(), Runtime: lofn.RuntimeContainer}, nil
}

// pull returns how the function's image is to be had.
func (p *Provider) pull(ctx context.Context, fn lofn.Function) (policy lofn.Pull, credentials []byte, err error) {
	wants, err := fn.Spec.Container()
	if err != nil {
		return "", nil, err
	}
	credentials, err = p.credentials(ctx, fn.Namespace, wants.PullSecret)
	return cmp.Or(wants.Pull, p.config.Pull), credentials, err
}

// suits reports whether an image has a file system of its own.
func suits(name string, image lofn.Image) error {
	if image.Labels[lofn.LabelRuntime] == lofn.RuntimeHost {
		return lofn.Errorf(lofn.Invalid, "image: %s is for processes and has no file system of its own: build it with `lofn build --runtime container`, or leave out the annotation %s", name, lofn.AnnotationRuntime)
	}
	return nil
}

// supports reports whether the machine can keep to the function's limits.
func (p *Provider) supports(s lofn.Spec) error {
	memory, err := s.Limits.MemoryBytes()
	if err != nil {
		return err
	}
	cpu, err := s.Limits.MilliCPU()
	if err != nil {
		return err
	}
	if memory > 0 {
		if err := p.groups.Supports(cgroup.Memory); err != nil {
			return lofn.Errorf(lofn.Invalid, "limits: memory: %w", err)
		}
	}
	if cpu > 0 {
		if err := p.groups.Supports(cgroup.CPU); err != nil {
			return lofn.Errorf(lofn.Invalid, "limits: cpu: %w", err)
		}
	}
	return nil
}

// credentials returns those for registries that a secret holds, nil without one.
func (p *Provider) credentials(ctx context.Context, namespace, secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	value, err := p.config.Secrets.Secret(ctx, namespace, secret)
	if lofn.CodeOf(err) == lofn.NotFound {
		return nil, lofn.Errorf(lofn.Invalid, "annotations: %s: there is no secret %q in namespace %s: create it from a Docker config.json", lofn.AnnotationPullSecret, secret, namespace)
	}
	return value, err
}

// image returns the image of a function, on this machine.
func (p *Provider) image(ctx context.Context, fn lofn.Function, progress func(string)) (content.Image, error) {
	policy, credentials, err := p.pull(ctx, fn)
	if err != nil {
		return content.Image{}, err
	}
	image, err := p.images.Ensure(ctx, fn.Spec.Image, fn.Digest, policy, credentials, progress)
	if err != nil {
		return content.Image{}, err
	}
	return image, suits(fn.Spec.Image, image.Image)
}

// SyncSecret implements lofn.SecretSyncer: running replicas see the new value,
// and those that failed for want of it try again at once.
func (p *Provider) SyncSecret(ctx context.Context, namespace, name string) error {
	return p.secrets.Sync(ctx, namespace, name, func(uses func(lofn.Function) bool, value []byte) error {
		var failures []error
		for _, c := range p.all() {
			if !uses(c.fn) {
				continue
			}
			if err := c.writeSecret(name, value); err != nil && !c.ended() {
				failures = append(failures, fmt.Errorf("secret %s of %s: %w", name, c.id, err))
			}
		}
		p.Retry(uses)
		return errors.Join(failures...)
	})
}
