package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"lofn"
)

// keptSteps says which steps need not run again.
type keptSteps struct {
	// inputs has the digest of what each step with outputs to keep depends on.
	inputs map[string]string
	// done are the steps whose outputs are still there.
	done map[string]bool
	// outputs are the paths that stay.
	outputs []string
}

func (v *variant) kept(f *folder, run *runner) (keptSteps, error) {
	kept := keptSteps{inputs: map[string]string{}, done: map[string]bool{}}
	for _, s := range run.template.recipe.Steps {
		if s.Keep == nil || len(s.Keep.Outputs) == 0 {
			continue
		}
		digest, err := run.inputs(s, v.sources)
		if err != nil {
			return kept, err
		}
		kept.inputs[s.Name] = digest
		if !v.NoCache && f.memo.Steps[s.Name] == digest && run.exists(s.Keep.Outputs[0]) {
			kept.done[s.Name] = true
			kept.outputs = append(kept.outputs, s.Keep.Outputs...)
		}
	}
	return kept, nil
}

// checkTools asks no tool twice for its version: that may take as long as the
// build of a small function.
func (f *folder) checkTools(ctx context.Context, run *runner) error {
	for _, t := range run.template.recipe.Toolchain {
		key := toolIdentity(t.Program) + " " + t.Version
		if f.memo.Tools[key] {
			continue
		}
		if err := run.check(ctx, t); err != nil {
			return err
		}
		f.memo.Tools[key] = true
	}
	return nil
}

func (f *folder) runSteps(ctx context.Context, run *runner, kept keptSteps) error {
	for _, s := range run.template.recipe.Steps {
		if kept.done[s.Name] {
			continue
		}
		holds, err := run.holds(s.When)
		if err != nil {
			return err
		}
		if !holds {
			continue
		}
		if err := run.run(ctx, s); err != nil {
			return err
		}
		if digest, ok := kept.inputs[s.Name]; ok {
			f.memo.Steps[s.Name] = digest
		}
	}
	return nil
}

// pack stores the layers, and takes those from the last build that hold only
// what it kept.
func (v *variant) pack(f *folder, kept keptSteps) ([]layer, error) {
	at, err := sourceTime()
	if err != nil {
		return nil, err
	}
	var layers []layer
	taken := map[string]bool{}
	known := f.memo.Layers
	f.memo.Layers = map[string]layer{}
	maps.Copy(f.memo.Layers, known)
	maps.DeleteFunc(f.memo.Layers, func(key string, _ layer) bool { return !strings.HasPrefix(key, systemKey) })
	for _, recipe := range v.template.recipe.Image.Layers {
		recipe, err := f.present(recipe)
		if err != nil {
			return nil, err
		}
		if len(recipe.Paths) == 0 {
			continue
		}
		key := kept.layerKey(v.template, recipe, at)
		l, ok := known[key]
		if key == "" || !ok || !v.Images.has(l.Digest, l.Size) {
			l, err = v.Images.addLayer(func(w io.Writer) (layer, error) {
				return pack(w, at, func(p *packer) error { return p.paths(f.path, recipe, taken) })
			})
			if err != nil {
				return nil, err
			}
		}
		for from := range recipe.Paths {
			taken[from] = true
		}
		if key != "" {
			f.memo.Layers[key] = l
		}
		layers = append(layers, l)
	}
	return layers, f.writeMemo()
}

// present returns the recipe with the paths that are there.
func (f *folder) present(recipe layerRecipe) (layerRecipe, error) {
	found := layerRecipe{Paths: map[string]string{}}
	run := runner{folder: f.path}
	for from, to := range recipe.Paths {
		switch {
		case run.exists(from):
			found.Paths[from] = to
		case !recipe.Optional:
			return found, lofn.Errorf(lofn.Invalid, "the build did not make %s", from)
		}
	}
	return found, nil
}

// layerKey returns what identifies the content of a layer that only has kept
// outputs, or "" for any other layer.
func (k keptSteps) layerKey(t *Template, recipe layerRecipe, at time.Time) string {
	h := sha256.New()
	for from, to := range recipe.Paths {
		i := slices.IndexFunc(t.recipe.Steps, func(s step) bool {
			return s.Keep != nil && slices.Contains(s.Keep.Outputs, from)
		})
		if i < 0 || len(recipe.Paths) > 1 {
			return ""
		}
		fmt.Fprintf(h, "%s %s %s %d", k.inputs[t.recipe.Steps[i].Name], from, to, at.Unix())
	}
	return hex.EncodeToString(h.Sum(nil))
}
