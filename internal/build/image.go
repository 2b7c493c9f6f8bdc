package build

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// image puts an image together from its layers.
func (v *variant) image(f *folder, layers []layer) (v1.Image, error) {
	at, err := sourceTime()
	if err != nil {
		return nil, err
	}
	file := &v1.ConfigFile{
		OS: v.platform.OS, Architecture: v.platform.Architecture, Created: v1.Time{Time: at},
		RootFS: v1.RootFS{Type: "layers"}, Config: v.hostConfig(layers),
	}
	if v.base == nil {
		return assembled(file, v.addenda(layers, at))
	}
	system, err := v.systemLayer(f)
	if err != nil {
		return nil, err
	}
	if file.Config, err = v.containerConfig(); err != nil {
		return nil, err
	}
	below, err := v.base.addenda()
	if err != nil {
		return nil, err
	}
	image, err := assembled(file, append(below, v.addenda(append([]layer{system}, layers...), at)...))
	if err != nil || v.base.reference == "" {
		return image, err
	}
	digest, err := v.base.digest()
	return mutate.Annotations(image, map[string]string{annotationBaseName: v.base.reference, annotationBaseDigest: digest}).(v1.Image), err
}

// The annotations by which an image says what it stands on, as the OCI has them.
const (
	annotationBaseName   = "org.opencontainers.image.base.name"
	annotationBaseDigest = "org.opencontainers.image.base.digest"
)

func assembled(file *v1.ConfigFile, adds []mutate.Addendum) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, file)
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, adds...)
}

func (v *variant) addenda(layers []layer, at time.Time) []mutate.Addendum {
	adds := make([]mutate.Addendum, len(layers))
	for i, l := range layers {
		adds[i] = mutate.Addendum{Layer: storedLayer{l, v.Images}, History: v1.History{CreatedBy: "lofn build", Created: v1.Time{Time: at}}}
	}
	return adds
}

// addenda are the base's layers as they are. What their types are called changes
// from Docker's words to OCI's, so that the manifest speaks one language.
func (b *base) addenda() ([]mutate.Addendum, error) {
	if b.image == nil {
		return nil, nil
	}
	layers, err := b.image.Layers()
	if err != nil {
		return nil, err
	}
	config, err := b.image.ConfigFile()
	if err != nil {
		return nil, err
	}
	history := slices.DeleteFunc(slices.Clone(config.History), func(h v1.History) bool { return h.EmptyLayer })
	adds := make([]mutate.Addendum, len(layers))
	for i, l := range layers {
		adds[i].Layer = l
		if len(history) == len(layers) {
			adds[i].History = history[i]
		}
		mediaType, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		switch mediaType {
		case types.DockerLayer:
			adds[i].MediaType = types.OCILayer
		case types.DockerUncompressedLayer:
			adds[i].MediaType = types.OCIUncompressedLayer
		}
	}
	return adds, nil
}

// hostConfig is for images that are run as processes, by the platform's own
// watchdog.
func (v *variant) hostConfig(layers []layer) v1.Config {
	labels := maps.Clone(v.labels)
	labels[lofn.LabelRuntime] = lofn.RuntimeHost
	delete(labels, lofn.LabelArchitecture)
	if len(machines(layers)) == 0 {
		labels[lofn.LabelArchitecture] = lofn.ArchitectureAny
	}
	recipe := v.template.recipe.Image
	return v1.Config{Env: environ(recipe.Env), WorkingDir: recipe.workingDir(), Cmd: []string{"fwatchdog"}, Labels: labels}
}

// containerConfig is for images that are run as containers, on their base's
// environment. What the base has for a program of its own (its command, its
// health check, the signal that stops it, who made it) does not hold for the
// function.
func (v *variant) containerConfig() (v1.Config, error) {
	env, err := v.base.variables()
	if err != nil {
		return v1.Config{}, err
	}
	// The user's home belongs to root, and processes have this one too.
	env["HOME"] = "/tmp"
	recipe := v.template.recipe.Image
	maps.Copy(env, recipe.Env)
	user := strconv.Itoa(lofn.NonRootUser)
	c := v1.Config{
		Env: environ(env), WorkingDir: recipe.workingDir(), Entrypoint: []string{watchdogPath},
		User: user + ":" + user, ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: maps.Clone(v.labels),
	}
	delete(c.Labels, lofn.LabelRuntime)
	delete(c.Labels, lofn.LabelArchitecture)
	return c, nil
}

// machines are the processors that machine code in the layers is for, each with
// a file that has some.
func machines(layers []layer) map[string]string {
	all := map[string]string{}
	for _, l := range layers {
		maps.Copy(all, l.Machines)
	}
	return all
}

func environ(variables map[string]string) []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		env = append(env, name+"="+variables[name])
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
