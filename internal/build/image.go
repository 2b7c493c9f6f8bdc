package build

import (
	"compress/gzip"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// image puts an image together from its layers.
func (req *Request) image(t *Template, layers []layer) (v1.Image, error) {
	base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	base = mutate.ConfigMediaType(base, types.OCIConfigJSON)
	goos, arch, err := req.platform(layers)
	if err != nil {
		return nil, err
	}
	at, err := sourceTime()
	if err != nil {
		return nil, err
	}
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{
		OS: goos, Architecture: arch, Created: v1.Time{Time: at},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Env:        t.recipe.Image.environment(),
			WorkingDir: t.recipe.Image.workingDir(),
			Cmd:        []string{"fwatchdog"},
			Labels:     req.labels(layers),
		},
	})
	if err != nil {
		return nil, err
	}
	adds := make([]mutate.Addendum, len(layers))
	for i, l := range layers {
		adds[i] = mutate.Addendum{Layer: storedLayer{l, req.Images}, History: v1.History{CreatedBy: "lofn build", Created: v1.Time{Time: at}}}
	}
	return mutate.Append(base, adds...)
}

// platform returns what the image is for, after a look at the machine code in
// its layers: files for other processors only are a mistake, such as packages
// that this machine installed for itself.
func (req *Request) platform(layers []layer) (goos, arch string, err error) {
	goos, arch, _ = strings.Cut(req.Platform, "/")
	machines := machines(layers)
	if len(machines) > 0 && !slices.Contains(machines, arch) {
		return "", "", lofn.Errorf(lofn.Invalid, "function %q: its files have machine code for %s, and the image is for %s: build it on a machine of that kind",
			req.Name, strings.Join(machines, ", "), req.Platform)
	}
	return goos, arch, nil
}

func machines(layers []layer) []string {
	var all []string
	for _, l := range layers {
		all = append(all, l.Machines...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (req *Request) labels(layers []layer) map[string]string {
	labels := maps.Clone(req.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[lofn.LabelRuntime] = lofn.RuntimeHost
	delete(labels, lofn.LabelArchitecture)
	if len(machines(layers)) == 0 {
		labels[lofn.LabelArchitecture] = lofn.ArchitectureAny
	}
	return labels
}

func (r imageRecipe) environment() []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		env = append(env, name+"="+r.Env[name])
	}
	return env
}

func (r imageRecipe) workingDir() string {
	if r.WorkingDir != "" {
		return r.WorkingDir
	}
	return lofn.AppDir
}

// sourceTime is the time that everything in an image bears: SOURCE_DATE_EPOCH
// if it is set, as reproducible-builds.org has it, or the epoch itself.
func sourceTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, lofn.Errorf(lofn.Invalid, "SOURCE_DATE_EPOCH: %q is not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// storedLayer is a layer in the image store, as the image library wants it.
type storedLayer struct {
	layer
	images *Images
}

var _ v1.Layer = storedLayer{}

func (l storedLayer) Digest() (v1.Hash, error)            { return l.layer.Digest, nil }
func (l storedLayer) DiffID() (v1.Hash, error)            { return l.layer.DiffID, nil }
func (l storedLayer) Size() (int64, error)                { return l.layer.Size, nil }
func (l storedLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l storedLayer) Compressed() (io.ReadCloser, error) {
	return os.Open(l.images.blob(l.layer.Digest))
}
func (l storedLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }

func (l storedLayer) open() (io.ReadCloser, error) {
	file, err := os.Open(l.images.blob(l.layer.Digest))
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{zip, file}, nil
}
