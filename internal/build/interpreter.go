package build

import (
	"context"
	"os"
	"strings"

	"lofn"
)

// abi says on what the machine code depends that is installed for a program,
// such as an interpreter's packages in C.
type abi struct {
	// Variable is the environment variable in which base images say which
	// version they have. Steps and image.base see it with the version of this
	// machine, unless a build argument says otherwise.
	Variable string `yaml:"variable"`
	// Numbers is how many numbers of the version count, from the first.
	Numbers int `yaml:"numbers"`
}

// short cuts a version after the numbers that count.
func (a abi) short(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(a.Numbers, len(parts))], ".")
}

// baseName is the base image that is asked for.
func (v *variant) baseName(ctx context.Context) (string, error) {
	name := v.Base
	if name == "" {
		name = v.Args[argBase]
	}
	if name == "" {
		name = v.template.recipe.Image.Base
	}
	if name == "" {
		return "", lofn.Errorf(lofn.Invalid, "base image: template %s names none (image.base in its %s): name one with --base, or the build argument %s", v.template.Name, recipeFile, argBase)
	}
	run := &runner{function: v.Name, template: v.template, env: v.env, log: v.log}
	var failed error
	expanded := os.Expand(name, func(variable string) string {
		if value, ok := v.env[variable]; ok {
			return value
		}
		value, err := run.abiVersion(ctx, variable)
		if err != nil {
			failed = err
		}
		return value
	})
	return expanded, failed
}

// abiVersion is the version of this machine that a variable of the recipe
// stands for.
func (r *runner) abiVersion(ctx context.Context, variable string) (string, error) {
	for _, t := range r.template.recipe.Toolchain {
		if t.ABI != nil && t.ABI.Variable == variable {
			version, err := r.version(ctx, t)
			return t.ABI.short(version), err
		}
	}
	return "", lofn.Errorf(lofn.Invalid, "template %s: %s: image.base: ${%s} is no variable of the build", r.template.Name, recipeFile, variable)
}

// fitsBase compares the machine's interpreters, for which packages were
// installed, with those of the base image. code is a file of the function's with
// machine code, if there is one.
func (v *variant) fitsBase(ctx context.Context, run *runner, code string) error {
	variables, err := v.base.variables()
	if err != nil {
		return err
	}
	for _, t := range v.template.recipe.Toolchain {
		if t.ABI == nil {
			continue
		}
		mine, err := run.version(ctx, t)
		if err != nil {
			return err
		}
		mine = t.ABI.short(mine)
		theirs := t.ABI.short(variables[t.ABI.Variable])
		switch {
		case theirs == mine:
		case theirs == "" && code != "":
			v.log.line("the function has machine code (" + code + ") for " + t.Program + " " + mine + " of this machine, and base image " + v.base.name + " does not say which version it has: see that it is the same")
		case theirs != "" && code != "":
			return lofn.Errorf(lofn.Invalid, "it has machine code (%s), which was installed for %s %s of this machine, and base image %s has %s: take a base image with %s, or build on a machine with %s",
				code, t.Program, mine, v.base.name, theirs, mine, theirs)
		case theirs != "":
			v.log.line("base image " + v.base.name + " has " + t.Program + " " + theirs + ", and this machine, which installed and tested, has " + mine)
		}
	}
	return nil
}
