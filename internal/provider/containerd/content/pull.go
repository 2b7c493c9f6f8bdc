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
	policy      lofn.Pull
	credentials []byte
	report      func(string)
	// remote is set when the registry was asked, for which opening is held.
	opening sync.Mutex
	remote  *lofn.RemoteImage
	// read and total are bytes of what was missing.
	read  atomic.Int64
	total int64
}

func (p *pull) record() string { return p.recordName(p.name, p.digest.String()) }

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
		remote, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		text := remote.Manifest
		return parseManifest(ocispec.Descriptor{MediaType: remote.MediaType, Digest: p.digest, Size: int64(len(text))}, text)
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
func (p *pull) open(ctx context.Context) (*lofn.RemoteImage, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	if p.remote != nil {
		return p.remote, nil
	}
	if p.policy == lofn.PullNever {
		return nil, p.absent(p.name + "@" + p.digest.String())
	}
	remote, err := p.Source.Open(ctx, p.name, p.digest.String(), p.credentials)
	if err != nil {
		return nil, err
	}
	p.remote = &remote
	return p.remote, nil
}

// parts brings the configuration and the layers that are missing, and puts all
// under the lease.
func (p *pull) parts(ctx context.Context, w *whole) error {
	seen := make(map[digest.Digest]bool)
	var once []ocispec.Descriptor
	for _, part := range w.parts() {
		if seen[part.Digest] {
			continue
		}
		seen[part.Digest] = true
		once = append(once, part)
		_, err := p.Client.ContentStore().Info(ctx, part.Digest)
		if errdefs.IsNotFound(err) {
			p.total += part.Size
		} else if err != nil {
			return err
		}
	}
	return p.each(ctx, once)
}

// each gets parts in parallel. After an error no further one is begun; those under
// way end too, unless it is the registry's passing trouble: what they bring then
// is there for the next try.
func (p *pull) each(ctx context.Context, parts []ocispec.Descriptor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	var failed atomic.Pointer[error]
	places := make(chan struct{}, parallel)
	for _, part := range parts {
		places <- struct{}{}
		if failed.Load() != nil {
			break
		}
		workers.Go(func() {
			defer func() { <-places }()
			err := p.part(ctx, part)
			if err != nil && failed.CompareAndSwap(nil, &err) && lofn.CodeOf(err) != lofn.Unavailable {
				cancel()
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
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
		remote, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		blob, err := remote.Blob(ctx, d.Digest.String())
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
	if err = fill(ctx, w, d, labels, open); err != nil {
		w.Close()
		p.drop(ctx, ref)
	}
	return err
}

// fill writes a blob, of which containerd may have all: under another namespace.
func fill(ctx context.Context, w content.Writer, d ocispec.Descriptor, labels map[string]string, open func() (io.ReadCloser, error)) error {
	status, err := w.Status()
	if err != nil {
		return err
	}
	if d.Size > 0 && status.Offset == d.Size {
		err := w.Commit(ctx, d.Size, d.Digest, content.WithLabels(labels))
		if errdefs.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	source, err := open()
	if err != nil {
		return err
	}
	defer source.Close()
	return content.Copy(ctx, w, source, d.Size, d.Digest, content.WithLabels(labels))
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
		remote, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		written = true
		return io.NopCloser(bytes.NewReader(remote.Manifest)), nil
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
	of := images.Image{Name: p.record(), Target: w.target, Labels: map[string]string{LabelPulled: p.name, labelPlatform: p.Platform}}
	image := Image{Image: w.describe(), Record: w.record(p.Client, of), Parent: w.parent()}
	if err := p.unpack(ctx, image); err != nil {
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

// unpack makes the snapshots that are missing. One that was there and belonged to
// nothing may be collected until the configuration refers to it, which is the
// last that containerd's client does: then what was missed is done again.
func (p *pull) unpack(ctx context.Context, image Image) error {
	var err error
	for range 3 {
		if err = image.Record.Unpack(ctx, p.Snapshotter); err == nil {
			_, err = p.Client.SnapshotService(p.Snapshotter).Stat(ctx, image.Parent)
		}
		if !errdefs.IsNotFound(err) {
			break
		}
	}
	return err
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
