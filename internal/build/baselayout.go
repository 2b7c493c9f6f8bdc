package build

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"lofn"
)

// layoutPlace is an image in a folder with the OCI image layout.
type layoutPlace struct {
	index      v1.ImageIndex
	descriptor v1.Descriptor
}

// layoutAt finds the image that path, perhaps with ":name" at its end, means.
func layoutAt(abs func(string) string, path string) (place, error) {
	folder, name := splitPath(abs, path)
	p, err := openLayout(folder, name)
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "base image oci:%s: %w", path, err)
	}
	return p, nil
}

func openLayout(folder, name string) (*layoutPlace, error) {
	index, err := layout.ImageIndexFromPath(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, lofn.Errorf(lofn.NotFound, "%s is not there: name a folder in the OCI image layout", filepath.Join(folder, "index.json"))
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s is not a folder in the OCI image layout: %w", folder, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s is damaged: %w", filepath.Join(folder, "index.json"), err)
	}
	d, err := pick(m.Manifests, name)
	return &layoutPlace{index, d}, err
}

// pick returns the entry of that name; without one, the only entry.
func pick(all []v1.Descriptor, name string) (v1.Descriptor, error) {
	var names []string
	for _, d := range all {
		if d.Annotations[annotationName] != "" {
			names = append(names, d.Annotations[annotationName])
		}
	}
	isIt := func(d v1.Descriptor) bool { return d.Annotations[annotationName] == name }
	if i := slices.IndexFunc(all, isIt); name != "" && i >= 0 {
		return all[i], nil
	}
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	return v1.Descriptor{}, notOne(len(all), name, names)
}

// notOne is the error for a name that selects no image of several.
func notOne(count int, name string, names []string) error {
	switch {
	case count == 0:
		return lofn.Errorf(lofn.NotFound, "there is no image in it")
	case name == "":
		return lofn.Errorf(lofn.Invalid, "there are %d images in it: add a colon and the name of one: %s", count, strings.Join(names, ", "))
	}
	return lofn.Errorf(lofn.NotFound, "there is no image %q in it: it has %s", name, strings.Join(names, ", "))
}

func (p *layoutPlace) key() string { return "oci:" + p.descriptor.Digest.String() }

func (p *layoutPlace) open(context.Context) (artifact, func(), error) {
	var a artifact
	var err error
	if p.descriptor.MediaType.IsIndex() {
		a, err = p.index.ImageIndex(p.descriptor.Digest)
	} else {
		a, err = p.index.Image(p.descriptor.Digest)
	}
	if err == nil {
		var got v1.Hash
		if got, err = a.Digest(); err == nil && got != p.descriptor.Digest {
			err = wrongDigest(p.descriptor.Digest, got)
		}
	}
	return a, func() {}, err
}

func (p *layoutPlace) explain(err error) error { return coded(lofn.Invalid, err) }
