package build

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"lofn"
)

// builder is a program that builds images from Dockerfiles.
type builder struct {
	name string
	// probe are arguments with which it succeeds if it can build here.
	probe []string
	// build are arguments in front of those that all builders know.
	build []string
	// save returns the arguments that write an image to an archive.
	save func(image, file string) []string
	// install says how to get it, or to get it going.
	install string
}

// builders are those that are known, the first choice first. Those without a
// daemon come before those with one: they cannot be in a bad state, need no
// rights over the machine, and nobody has them by accident.
func builders() []builder {
	archive := func(image, file string) []string { return []string{"push", image, "oci-archive:" + file} }
	save := func(image, file string) []string { return []string{"save", "--output", file, image} }
	return []builder{
		{"buildah", []string{"info"}, []string{"build", "--layers"}, archive, "apt install buildah"},
		{"podman", []string{"info"}, []string{"build", "--layers"}, archive, "apt install podman"},
		{"docker", []string{"version"}, []string{"build", "--progress=plain"}, save, "start the Docker engine"},
		{"nerdctl", []string{"info"}, []string{"build", "--progress=plain"}, save, "start containerd and buildkitd"},
	}
}

// Builders are the names of the container builders that are known, the first
// choice first.
func Builders() []string {
	var names []string
	for _, b := range builders() {
		names = append(names, b.name)
	}
	return names
}

// findBuilder returns the builder of that name, or the first that works here if
// there is no name.
func findBuilder(ctx context.Context, name string) (builder, error) {
	var tried []string
	for _, b := range builders() {
		if name != "" && name != b.name {
			continue
		}
		err := b.check(ctx)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return builder{}, context.Cause(ctx)
		}
		tried = append(tried, err.Error())
	}
	switch {
	case len(tried) == 0:
		return builder{}, lofn.Errorf(lofn.Invalid, "builder: %q is not known: use one of %s", name, strings.Join(Builders(), ", "))
	case name != "":
		return builder{}, lofn.Errorf(lofn.Unavailable, "builder: %s", tried[0])
	}
	return builder{}, lofn.Errorf(lofn.Unavailable, "a Dockerfile needs a container builder, and none works here: %s", strings.Join(tried, "; "))
}

// probeTime is for daemons that accept connections and then say nothing.
const probeTime = 20 * time.Second

// check says why a builder cannot build here, and what to do about it.
func (b builder) check(ctx context.Context) error {
	if _, err := exec.LookPath(b.name); err != nil {
		return fmt.Errorf("%s is not installed%s", b.name, b.advice("apt install"))
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	output, err := exec.CommandContext(ctx, b.name, b.probe...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not answer (%s)", b.name, b.install)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return fmt.Errorf("%s is installed and does not work: %s%s", b.name, lines[len(lines)-1], b.advice("start"))
}

// advice is how to mend what is wrong, if the entry's way is of that kind.
func (b builder) advice(kind string) string {
	if !strings.HasPrefix(b.install, kind) {
		return ""
	}
	return " (" + b.install + ")"
}
