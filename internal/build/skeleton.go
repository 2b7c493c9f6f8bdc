package build

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
)

var errSoon = lofn.Errorf(lofn.Unimplemented, "not built yet")

// Build makes the image; concurrent builds of different functions are safe.
func Build(ctx context.Context, req Request) (Result, error) { return Result{}, errSoon }

// Images is the local image store.
type Images struct{ dir string }

// OpenImages opens the store in dir, "" for $XDG_DATA_HOME/lofn/images.
func OpenImages(dir string) (*Images, error) { return nil, errSoon }

// StoredImage is an entry of the store.
type StoredImage struct {
	Name   string
	Digest string
	Size   int64
}

// Put stores image under name.
func (s *Images) Put(name string, image v1.Image) (digest string, err error) { return "", errSoon }

// Get returns an image.
func (s *Images) Get(name string) (v1.Image, error) { return nil, errSoon }

// List returns all images by name.
func (s *Images) List() ([]StoredImage, error) { return nil, errSoon }

// PushOptions says where short names go.
type PushOptions struct {
	// Gateway is the platform's URL: names without a registry host go to its
	// registry, with these credentials.
	Gateway            string
	Username, Password string
	// Insecure accepts any certificate.
	Insecure bool
	Log      io.Writer
}

// Push uploads the image stored under name and returns its digest.
func Push(ctx context.Context, images *Images, name string, opts PushOptions) (string, error) {
	return "", errSoon
}

// Tag returns the image name for a --tag mode: "", latest, sha, branch,
// describe or digest.
func Tag(ctx context.Context, mode, image, dir, handler string) (string, error) { return "", errSoon }

// Template is a template that can be built from or scaffolded.
type Template struct {
	Name           string
	Aliases        []string
	Language       string
	Process        string
	WelcomeMessage string
	HandlerFolder  string
	BuiltIn        bool
	// Buildable is false for a template that has only a Dockerfile.
	Buildable bool
}

// ListTemplates returns the templates of dir/template and the built-in ones.
func ListTemplates(dir string) ([]Template, error) { return nil, errSoon }

// FindTemplate returns the template of that name or alias.
func FindTemplate(dir, lang string) (*Template, error) { return nil, errSoon }

// PullRequest describes a template pull.
type PullRequest struct {
	// URL is a git repository, path or file:// URL, perhaps with "#ref".
	URL string
	Dir string
	// Keep leaves templates alone that are there already (--overwrite=false).
	Keep bool
	Log  io.Writer
}

// Pull copies a repository's templates into Dir/template and returns their names.
func Pull(ctx context.Context, req PullRequest) ([]string, error) { return nil, errSoon }

// StoreTemplate is an entry of a template store.
type StoreTemplate struct {
	Name        string `json:"template"`
	Platform    string `json:"platform"`
	Language    string `json:"language"`
	Source      string `json:"source"`
	Description string `json:"description"`
	Repository  string `json:"repo"`
	Official    string `json:"official"`
	Recommended bool   `json:"recommended"`
}

// TemplateStore reads the store at a URL or path.
func TemplateStore(ctx context.Context, location string) ([]StoreTemplate, error) {
	return nil, errSoon
}

// ScaffoldRequest describes a new function.
type ScaffoldRequest struct {
	Name, Lang string
	// Handler is the folder to make; the default is Name.
	Handler string
	Dir     string
}

// Scaffold is what NewFunction made.
type Scaffold struct {
	Handler        string
	Files          []string
	WelcomeMessage string
}

// NewFunction makes the handler folder from the template's starter files and
// adds to .gitignore. It refuses a folder that exists.
func NewFunction(req ScaffoldRequest) (Scaffold, error) { return Scaffold{}, errSoon }
