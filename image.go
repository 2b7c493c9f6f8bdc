package lofn

// Image is a function's image, unpacked on this machine.
type Image struct {
	// Digest is that of the image's manifest, "sha256:…".
	Digest string
	// Root is the folder that holds the image's file system. It is shared by
	// all replicas and must not be written to. Empty until unpacked.
	Root string
	// Env, WorkingDir, Process and Labels are those of the image's
	// configuration; Process is its command line.
	Env        []string
	WorkingDir string
	Process    []string
	Labels     map[string]string
	// OS and Architecture are as in runtime.GOOS and runtime.GOARCH.
	OS, Architecture string
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
