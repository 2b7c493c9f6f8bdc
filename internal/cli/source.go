package cli

import (
	"errors"
	"path"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/stack"
)

// sourceFlags say which functions a command is about: those of a stack file,
// or one that is described by flags.
type sourceFlags struct {
	p                          *program
	image, name, handler, lang string
	tag                        string
}

func (s *sourceFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.image, "image", "", "image of a function without a stack file; needs --name")
	flags.StringVar(&s.name, "name", "", "name of a function without a stack file")
	flags.StringVar(&s.handler, "handler", "", "folder of a function without a stack file")
	flags.StringVar(&s.lang, "lang", "", "template of a function without a stack file")
	_ = cmd.MarkFlagDirname("handler")
	addTag(cmd, &s.tag)
	s.p.addEnvsubst(cmd)
}

// load returns the functions. Flags that describe one win over a stack file
// that only happens to be in the folder.
func (s *sourceFlags) load(cmd *cobra.Command) (*stack.Stack, error) {
	if s.p.stack.file == "" && s.name != "" && (s.image != "" || s.handler != "") {
		if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: s.name}).Validate(); err != nil {
			return nil, err
		}
		image := s.image
		if image == "" {
			image = s.name
		}
		return &stack.Stack{Functions: []stack.Function{{Name: s.name, Image: image, Handler: s.handler, Lang: s.lang}}}, nil
	}
	if s.p.stack.file == "" && (s.name != "" || s.image != "" || s.handler != "") {
		return nil, errors.New("without a stack file give --name and --image, and --handler and --lang to build; with one select functions by --filter")
	}
	return s.p.loadStack(cmd)
}

// isDockerfile reports whether a function brings its own Dockerfile instead of
// a template.
func isDockerfile(f stack.Function) bool { return path.Base(f.Lang) == "dockerfile" }
