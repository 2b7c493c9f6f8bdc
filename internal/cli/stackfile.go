package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/build"
	"lofn/internal/stack"
)

// loadStack reads the stack file and the functions that --filter or --regex
// select. It is an error with code NotFound if there is no stack file.
func (p *program) loadStack(cmd *cobra.Command) (*stack.Stack, error) {
	location, err := p.stackLocation()
	if err != nil {
		return nil, err
	}
	opts := p.stackOptions()
	opts.Filter, opts.Regex = p.stack.filter, p.stack.regex
	return stack.Load(cmd.Context(), location, opts)
}

func (p *program) stackLocation() (string, error) {
	if p.stack.file != "" {
		return p.stack.file, nil
	}
	return stack.Find("")
}

func (p *program) stackOptions() stack.Options {
	return stack.Options{
		Envsubst: p.stack.envsubst,
		LookupEnv: func(name string) (string, bool) {
			value := p.Getenv(name)
			return value, value != ""
		},
	}
}

// glance reads all of the stack file for a command that could do without. One
// that was named with -f must be right; one that only happens to be in the
// folder is passed over if it is not.
func (p *program) glance(cmd *cobra.Command) (*stack.Stack, error) {
	location, err := p.stackLocation()
	if err != nil {
		return nil, nil //nolint:nilerr // there is no stack file here
	}
	s, err := stack.Load(cmd.Context(), location, p.stackOptions())
	if err != nil && p.stack.file == "" {
		return nil, nil
	}
	return s, err
}

func (p *program) stackGateway(cmd *cobra.Command) (gateway, file string, err error) {
	s, err := p.glance(cmd)
	if s == nil || err != nil {
		return "", "", err
	}
	return s.Provider.Gateway, s.File, nil
}

// stackNamespace is the namespace that the stack file gives a function, or "".
func (p *program) stackNamespace(cmd *cobra.Command, name string) (string, error) {
	s, err := p.glance(cmd)
	if s == nil || err != nil {
		return "", err
	}
	if function := s.Function(name); function != nil {
		return function.Namespace, nil
	}
	return "", nil
}

// image is the full name of a function's image, after the rules of --tag.
func (p *program) image(cmd *cobra.Command, f stack.Function, mode string) (string, error) {
	image, err := build.Tag(cmd.Context(), mode, f.Image, "", f.Handler)
	if err != nil {
		return "", lofn.Errorf(lofn.CodeOf(err), "%s: --tag %s: %w", f.Name, mode, err)
	}
	return image, nil
}

// addTag adds --tag.
func addTag(cmd *cobra.Command, mode *string) {
	const modes = "latest, sha, branch, describe or digest"
	cmd.Flags().StringVar(mode, "tag", "latest", "tag of the image: "+modes)
	completeFlag(cmd, "tag", strings.Fields("latest sha branch describe digest")...)
}
