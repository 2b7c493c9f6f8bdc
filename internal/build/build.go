// Package build turns a function's handler and a template into an OCI image,
// with the machine's own tools and without a container builder, and keeps and
// pushes such images.
package build

import (
	"io"
	"time"
)

// Request describes one build. Name, Lang and Handler are required.
type Request struct {
	// Name is the function's name.
	Name string
	// Lang is the template's name or alias, perhaps with "@ref" at its end.
	Lang string
	// Handler is the folder with the function's own files.
	Handler string
	// Image is the full name, with its tag, under which the image is stored;
	// see Tag. The default is Name with the tag latest.
	Image string
	// Dir is the working folder: it holds template/ and gets build/, and
	// relative paths start there. The default is the current folder.
	Dir string
	// Copy lists files and folders inside Dir that are copied into the handler
	// folder of the build.
	Copy []string
	// Args reach the template's build steps as environment variables.
	Args map[string]string
	// Options are names of build options that the template knows.
	Options []string
	// Labels are put on the image.
	Labels map[string]string
	// Platform is what the image is for, such as "linux/arm64"; the default is
	// linux on this machine's processor.
	Platform string
	// NoCache runs every step and installs every dependency anew.
	NoCache bool
	// Shrinkwrap stops when the build folder is assembled.
	Shrinkwrap bool
	// Images is where the image is put; it may be nil with Shrinkwrap.
	Images *Images
	// Log, if not nil, gets a line for every step as it begins and the lines
	// that the tools write, each in one call of Write. It is not called from
	// two goroutines at once.
	Log io.Writer
}

// Result describes a finished build.
type Result struct {
	Image string
	// Digest is the image's, "sha256:…"; empty with Shrinkwrap.
	Digest string
	// Folder is the assembled build folder.
	Folder string
	// Size is that of the image's layers as stored, in bytes.
	Size int64
	// Process is the template's command line, as template.yml has it.
	Process string
	// Cached says that nothing had changed since the last build.
	Cached  bool
	Elapsed time.Duration
}
