package content

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"lofn"
)

// parallel is how many parts of an image are read at the same time.
const parallel = 4

// pull makes one image whole.
type pull struct {
	*Store
	name        string
	digest      digest.Digest
	credentials []byte
	report      func(string)
	// remote is set when the registry was asked.
	remote *lofn.RemoteImage
	// read and total are bytes of what was missing.
	read  atomic.Int64
	total int64
}

func (p *pull) record() string { return recordName(p.name, p.digest.String()) }

// run does all of it under a lease, so that containerd's garbage collection
// takes nothing of it away before the record is there.
func (p *pull) run(ctx context.Context) (image Image, err error) {
	p.report("pulling " + p.name)
	ctx, release, err := p.lease(ctx, p.record())
	if err != nil {
		return Image{}, err
	}
	defer func() { release(err) }()
	w, err := p.manifest(ctx)
	if err != nil {
		return Image{}, err
	}
	if err := p.parts(ctx, w); err != nil {
		return Image{}, err
	}
	text, err := content.ReadBlob(ctx, p.Client.ContentStore(), w.manifest.Config)
	if err != nil {
		return Image{}, err
	}
	if err := w.setConfig(text); err != nil {
		return Image{}, err
	}
	if err := suits(p.name, w.describe()); err != nil {
		return Image{}, err
	}
	if err := p.tie(ctx, w); err != nil {
		return Image{}, err
	}
	return p.finish(ctx, w)
}

// manifest reads the manifest, from containerd if it is there.
func (p *pull) manifest(ctx context.Context) (*whole, error) {
	info, err := p.Client.ContentStore().Info(ctx, p.digest)
	if errdefs.IsNotFound(err) {
		if err := p.open(ctx); err != nil {
			return nil, err
		}
		text := p.remote.Manifest
		return parseManifest(ocispec.Descriptor{MediaType: p.remote.MediaType, Digest: p.digest, Size: int64(len(text))}, text)
	}
	if err != nil {
		return nil, err
	}
	target := ocispec.Descriptor{Digest: p.digest, Size: info.Size}
	text, err := content.ReadBlob(ctx, p.Client.ContentStore(), target)
	if err != nil {
		return nil, err
	}
	target.MediaType = manifestType(text)
	return parseManifest(target, text)
}

// open asks the registry for the image, once.
func (p *pull) open(ctx context.Context) error {
	if p.remote != nil {
		return nil
	}
	remote, err := p.Source.Open(ctx, p.name, p.digest.String(), p.credentials)
	if err == nil {
		p.remote = &remote
	}
	return err
}

// parts brings the configuration and the layers that are missing.
func (p *pull) parts(ctx context.Context, w *whole) error {
	var missing []ocispec.Descriptor
	seen := make(map[digest.Digest]bool)
	for _, part := range w.parts() {
		_, err := p.Client.ContentStore().Info(ctx, part.Digest)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err != nil && !seen[part.Digest] {
			p.total += part.Size
		}
		if !seen[part.Digest] {
			missing = append(missing, part)
		}
		seen[part.Digest] = true
	}
	if p.total > 0 {
		if err := p.open(ctx); err != nil {
			return err
		}
	}
	return p.each(ctx, missing)
}

// each gets parts in parallel. The first error ends them all.
func (p *pull) each(ctx context.Context, parts []ocispec.Descriptor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	places := make(chan struct{}, parallel)
	for _, part := range parts {
		places <- struct{}{}
		workers.Go(func() {
			defer func() { <-places }()
			if err := p.part(ctx, part); err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// part gets one blob, unless it is there or somebody gets it meanwhile.
func (p *pull) part(ctx context.Context, d ocispec.Descriptor) error {
	unlock, err := p.blobs.lock(ctx, d.Digest.String())
	if err != nil {
		return err
	}
	defer unlock()
	d = ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	return p.write(ctx, d, nil, func() (io.ReadCloser, error) {
		if p.remote == nil {
			return nil, fmt.Errorf("%s vanished from containerd meanwhile: %w", d.Digest, errdefs.ErrUnavailable)
		}
		blob, err := p.remote.Blob(ctx, d.Digest.String())
		return &metered{blob, p}, err
	})
}

// write puts a blob into containerd. That it is there already is no error, and
// puts it under the lease.
func (p *pull) write(ctx context.Context, d ocispec.Descriptor, labels map[string]string, open func() (io.ReadCloser, error)) error {
	blobs := p.Client.ContentStore()
	// What another process does under a name of its own is not waited for.
	ref := p.id + "-" + d.Digest.String()
	w, err := blobs.Writer(ctx, content.WithRef(ref), content.WithDescriptor(d))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	source, err := open()
	if err == nil {
		defer source.Close()
		err = content.Copy(ctx, w, source, d.Size, d.Digest, content.WithLabels(labels))
	}
	if err != nil {
		w.Close()
		p.drop(ctx, ref)
	}
	return err
}

// tie writes the manifest, with what tells the garbage collection to keep its
// parts for as long as it stays.
func (p *pull) tie(ctx context.Context, w *whole) error {
	labels := make(map[string]string)
	for i, part := range w.parts() {
		for _, key := range images.ChildGCLabels(part) {
			if key[len(key)-1] == '.' {
				key += fmt.Sprint(i)
			}
			labels[key] = part.Digest.String()
		}
	}
	written := false
	err := p.write(ctx, w.target, labels, func() (io.ReadCloser, error) {
		if p.remote == nil {
			return nil, fmt.Errorf("%s vanished from containerd meanwhile: %w", w.target.Digest, errdefs.ErrUnavailable)
		}
		written = true
		return io.NopCloser(bytes.NewReader(p.remote.Manifest)), nil
	})
	if err != nil || written {
		return err
	}
	var fields []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		fields = append(fields, "labels."+key)
	}
	_, err = p.Client.ContentStore().Update(ctx, content.Info{Digest: w.target.Digest, Labels: labels}, fields...)
	return err
}

// finish unpacks the image and makes the record that keeps it.
func (p *pull) finish(ctx context.Context, w *whole) (Image, error) {
	p.report("unpacking " + p.name)
	of := images.Image{Name: p.record(), Target: w.target, Labels: map[string]string{LabelPulled: p.name}}
	image := Image{Image: w.describe(), Record: w.record(p.Client, of), Parent: w.parent()}
	if err := image.Record.Unpack(ctx, p.Snapshotter); err != nil {
		return Image{}, err
	}
	records := p.Client.ImageService()
	_, err := records.Create(ctx, of)
	if errdefs.IsAlreadyExists(err) {
		_, err = records.Update(ctx, of)
	}
	if err != nil {
		return Image{}, err
	}
	p.remember(p.record(), image)
	return image, nil
}

// metered counts what is read for the report.
type metered struct {
	io.ReadCloser
	of *pull
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	read := m.of.read.Add(int64(n))
	const mib = 1 << 20
	m.of.report(fmt.Sprintf("pulling %s: %.1f of %.1f MiB", m.of.name, float64(read)/mib, float64(m.of.total)/mib))
	return n, err
}
