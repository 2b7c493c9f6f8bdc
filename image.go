package lofn

import (
	"context"
	"io"
	"strings"
)

// Image is a function's image, unpacked on this machine.
type Image struct {
	// Digest is that of the image's manifest, "sha256:…".
	Digest string
	// Root is the folder that holds the image's file system. It is shared by
	// all replicas and must not be written to. Empty until unpacked.
	Root string
	// Env, User, WorkingDir, Process and Labels are those of the image's
	// configuration; Process is its command line.
	Env        []string
	User       string
	WorkingDir string
	Process    []string
	Labels     map[string]string
	// OS and Architecture are as in runtime.GOOS and runtime.GOARCH.
	OS, Architecture string
}

// Defaults returns those variables of the image's environment that the platform
// itself acts on where a function does not say otherwise.
func (i Image) Defaults() map[string]string {
	defaults := make(map[string]string)
	for _, pair := range i.Env {
		name, value, _ := strings.Cut(pair, "=")
		if value != "" && (name == EnvTimeout || name == EnvStreamTimeout || name == EnvMaxInflight) {
			defaults[name] = value
		}
	}
	return defaults
}

// RemoteImage is an image as a registry has it.
type RemoteImage struct {
	// Manifest is the image's manifest, byte by byte, and MediaType what it says
	// that it is: an image for one platform, never an index of several.
	Manifest  []byte
	MediaType string
	// Blob reads what the manifest refers to: the configuration, or a layer, as
	// compressed as it is there. Reading ends with an error if it is not what
	// the digest says. It is safe for concurrent use; errors have a code.
	Blob func(ctx context.Context, digest string) (io.ReadCloser, error)
}

// LabelRuntime is the image label by which `lofn build` says what the image
// needs around it: RuntimeHost means the machine's own interpreters and
// libraries, so that the image can run as plain processes.
const (
	LabelRuntime = "lofn.runtime"
	RuntimeHost  = "host"
	// LabelArchitecture is ArchitectureAny on images without machine code.
	LabelArchitecture = "lofn.architecture"
	ArchitectureAny   = "any"
)

// AppDir is where a function's files are, in an image and in the function's
// view of the file system.
const AppDir = "/home/app"
