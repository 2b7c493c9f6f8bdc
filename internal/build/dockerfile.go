package build

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"lofn"
)

// makeByBuilder has a container builder make the image, and takes it over.
func (v *variant) makeByBuilder(ctx context.Context, f *folder) (v1.Image, error) {
	if err := v.checkDockerfile(); err != nil {
		return nil, err
	}
	source := v.context()
	if source == v.folder {
		if err := f.assemble(v.sources, nil); err != nil || v.Shrinkwrap {
			return nil, err
		}
	}
	b, err := findBuilder(ctx, v.Builder)
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: %w", v.Name, err)
	}
	work, err := os.MkdirTemp(v.Images.dir, "builder-")
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer os.RemoveAll(work)
	archive, err := v.runBuilder(ctx, b, source, work)
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: %w", v.Name, err)
	}
	return v.takeOver(ctx, archive, work)
}

// context is the folder that the builder gets. A handler folder with a Dockerfile
// may be large, and its .dockerignore is the builder's to read, so it is copied
// only if there is more to it.
func (v *variant) context() string {
	if v.template.bare && len(v.Copy) == 0 && !v.Shrinkwrap {
		return v.path(v.Handler)
	}
	return v.folder
}

func (v *variant) checkDockerfile() error {
	if v.template.bare {
		return nil // the handler folder has one, or it would have been refused
	}
	if _, err := fs.Stat(v.template.files, "Dockerfile"); err != nil {
		return lofn.Errorf(lofn.Invalid, "function %q: template %s has neither a lofn.yml nor a Dockerfile, so there is no way to build it: add one, or use one of: %s",
			v.Name, v.template.Name, strings.Join(builtInNames(), ", "))
	}
	return nil
}

// runBuilder returns the archive that the image was saved to.
func (v *variant) runBuilder(ctx context.Context, b builder, source, work string) (string, error) {
	idFile, archive := filepath.Join(work, "id"), filepath.Join(work, "image.tar")
	args := append(slices.Clone(b.build), v.builderFlags()...)
	args = append(args, "--iidfile", idFile, source)
	if err := v.command(ctx, b.name, args); err != nil {
		return "", err
	}
	id, err := os.ReadFile(idFile)
	if err != nil {
		return "", lofn.Errorf(lofn.Internal, "%s did not say which image it made: %w", b.name, err)
	}
	return archive, v.command(ctx, b.name, b.save(strings.TrimSpace(string(id)), archive))
}

// builderFlags are those that all builders know. ADDITIONAL_PACKAGE is always
// given, as faas-cli does; TARGETPLATFORM and its kin come from the builder.
func (v *variant) builderFlags() []string {
	flags := []string{
		"--file", filepath.Join(v.context(), "Dockerfile"), "--tag", v.Image, "--platform", v.platform.String(),
		"--build-arg", "ADDITIONAL_PACKAGE=" + v.env["ADDITIONAL_PACKAGE"],
	}
	for _, name := range slices.Sorted(maps.Keys(v.Args)) {
		flags = append(flags, "--build-arg", name+"="+v.Args[name])
	}
	for _, name := range slices.Sorted(maps.Keys(v.labels)) {
		flags = append(flags, "--label", name+"="+v.labels[name])
	}
	for _, id := range slices.Sorted(maps.Keys(v.Secrets)) {
		flags = append(flags, "--secret", "id="+id+",src="+v.path(v.Secrets[id]))
	}
	if v.NoCache {
		flags = append(flags, "--no-cache")
	}
	if v.Pull {
		flags = append(flags, "--pull")
	}
	if v.template.mountSSH {
		flags = append(flags, "--ssh", "default")
	}
	return flags
}

// command runs the builder like a step: what it prints goes to the log.
func (v *variant) command(ctx context.Context, program string, args []string) error {
	v.log.line(program + " " + strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, program, args...)
	// Without attestations, which would make an index of an image.
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1", "BUILDX_NO_DEFAULT_ATTESTATIONS=1")
	return v.log.run(ctx, cmd, "base images are fetched, and packages installed", func(err error, output *lineWriter) error {
		return lofn.Errorf(lofn.Invalid, "%s %s failed: %w%s", program, args[0], err, advice(builderHints(), output, v.log))
	})
}

// builderHints are for what has to be set up once on a machine.
func builderHints() []hint {
	return []hint{
		{"short-name", `FROM has a name without a registry, which means docker.io to Docker; for buildah and podman write unqualified-search-registries = ["docker.io"] into /etc/containers/registries.conf`},
		{"exec format error", "a step runs programs of another processor, and this machine does not emulate it: apt install qemu-user-static, or build on a machine of that kind"},
	}
}

// takeOver puts what an archive holds into the store.
func (v *variant) takeOver(ctx context.Context, archive, work string) (v1.Image, error) {
	image, err := v.read(ctx, archive, work)
	if err == nil {
		var d *v1.Descriptor
		if d, err = partial.Descriptor(image); err == nil {
			return v.Images.image(*d)
		}
	}
	return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: what the builder made: %w", v.Name, coded(lofn.Invalid, err))
}

func (v *variant) read(ctx context.Context, archive, work string) (v1.Image, error) {
	info, err := os.Stat(archive)
	if err != nil {
		return nil, err
	}
	a, done, err := (&archivePlace{file: archive, info: info, work: work}).open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	image, err := choose(a, v.platform)
	if err != nil {
		return nil, err
	}
	return image, v.Images.writeImage(image, nil)
}
