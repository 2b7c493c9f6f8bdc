package mux

import (
	"cmp"
	"context"

	"lofn"
)

// examiner is what a runtime does about a function before it is accepted, in
// two steps, for the image may show that it is the other runtime's.
type examiner interface {
	// Look finds the image of a function and reads what it says about itself.
	// The errors are those of lofn.Resolver.
	Look(ctx context.Context, fn lofn.Function) (lofn.Image, error)
	// Admit checks that the function could run from the image, and returns the
	// resolution, with this runtime, or an error with code Invalid that names the
	// field at fault.
	Admit(ctx context.Context, fn lofn.Function, image lofn.Image) (lofn.Resolution, error)
}

// Resolve implements lofn.Resolver. The runtime is that of the annotation
// lofn.AnnotationRuntime, or else the one that the image is made for; an image
// that is not made for what the annotation says is refused.
func (p *Provider) Resolve(ctx context.Context, fn lofn.Function) (lofn.Resolution, error) {
	wish, err := fn.Spec.Container()
	if err != nil {
		return lofn.Resolution{}, err
	}
	// Only a runtime of containers knows what was said about pulling images, and
	// it finds the others as well.
	image, err := p.runtimes[cmp.Or(wish.Runtime, lofn.RuntimeContainer)].Look(ctx, fn)
	if err != nil {
		return lofn.Resolution{}, err
	}
	runtime, err := settle(fn.Spec.Image, wish.Runtime, image)
	if err != nil {
		return lofn.Resolution{}, err
	}
	return p.runtimes[runtime].Admit(ctx, fn, image)
}

// settle returns the runtime for an image, "" being wanted if it is the image
// that decides.
func settle(name, wanted string, image lofn.Image) (string, error) {
	made := lofn.RuntimeContainer
	if image.Labels[lofn.LabelRuntime] == lofn.RuntimeHost {
		made = lofn.RuntimeProcess
	}
	switch {
	case wanted == "" || wanted == made:
		return made, nil
	case made == lofn.RuntimeProcess:
		return "", lofn.Errorf(lofn.Invalid, "annotations: %s: image %s uses the interpreters and libraries of the machine, so it cannot be a %s: leave the annotation out, or build the function for containers",
			lofn.AnnotationRuntime, name, wanted)
	default:
		return "", lofn.Errorf(lofn.Invalid, "annotations: %s: image %s brings its own file system, so it cannot be a %s of this machine: leave the annotation out, or build the function for processes",
			lofn.AnnotationRuntime, name, wanted)
	}
}
