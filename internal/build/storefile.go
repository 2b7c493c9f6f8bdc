package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"lofn"
)

// DefaultTemplateStore lists the templates that OpenFaaS' community keeps.
const DefaultTemplateStore = "https://raw.githubusercontent.com/openfaas/store/master/templates.json"

// StoreTemplate is an entry of a template store.
type StoreTemplate struct {
	Name        string `json:"template"`
	Platform    string `json:"platform"`
	Language    string `json:"language"`
	Source      string `json:"source"`
	Description string `json:"description"`
	Repository  string `json:"repo"`
	// Official is "true" or "false".
	Official    string `json:"official"`
	Recommended bool   `json:"recommended"`
}

// TemplateStore reads a store's JSON from an http, https or file URL or a path.
func TemplateStore(ctx context.Context, location string) ([]StoreTemplate, error) {
	file, err := openStore(ctx, location)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []StoreTemplate
	if err := json.NewDecoder(io.LimitReader(file, 16<<20)).Decode(&all); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template store %s: is not a list of templates in JSON: %w", location, err)
	}
	return all, nil
}

func openStore(ctx context.Context, location string) (io.ReadCloser, error) {
	if !strings.HasPrefix(location, "http://") && !strings.HasPrefix(location, "https://") {
		file, err := os.Open(strings.TrimPrefix(location, "file://"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, lofn.Errorf(lofn.NotFound, "template store %s does not exist", location)
		}
		if err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "template store: %w", err)
		}
		return file, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template store: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "template store: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, lofn.Errorf(lofn.Unavailable, "template store %s: the server answered %s", location, resp.Status)
	}
	return resp.Body, nil
}

// FindStoreTemplate returns the entry called name, or source/name where
// several sources have one of that name.
func FindStoreTemplate(all []StoreTemplate, name string) (StoreTemplate, error) {
	var matches []StoreTemplate
	for _, t := range all {
		if t.Name == name || t.Source+"/"+t.Name == name {
			matches = append(matches, t)
		}
	}
	switch {
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) == 0:
		return StoreTemplate{}, lofn.Errorf(lofn.NotFound, "the template store has no template %q: lofn template store list shows what it has", name)
	}
	sources := make([]string, len(matches))
	for i, t := range matches {
		if t.Official == "true" {
			return t, nil
		}
		sources[i] = t.Source + "/" + t.Name
	}
	return StoreTemplate{}, lofn.Errorf(lofn.Invalid, "the template store has %d templates %q: choose one of %s", len(matches), name, strings.Join(sources, ", "))
}
