// Package templates holds the built-in function templates, one folder each,
// in the layout that people keep under ./template: template.yml, lofn.yml,
// entry point files, and function/ with what a new function starts from.
//
// Some files carry the suffix ".embed": Go sources and module files would
// otherwise count as packages and modules of this tree. Files cuts it off.
package templates

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed golang-middleware python3-http python3 node22 bash-streaming dockerfile
var embedded embed.FS

const suffix = ".embed"

// Files returns the templates, one folder each at the top. It may be used from
// several goroutines.
func Files() fs.FS { return plain{embedded} }

// plain shows a file system without the suffix.
type plain struct{ files embed.FS }

func (p plain) Open(name string) (fs.File, error) {
	file, err := p.files.Open(name)
	if err != nil {
		if file, hidden := p.files.Open(name + suffix); hidden == nil {
			return file, nil
		}
	}
	return file, err
}

func (p plain) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := p.files.ReadDir(name)
	for i, e := range entries {
		entries[i] = entry{e, strings.TrimSuffix(e.Name(), suffix)}
	}
	return entries, err
}

type entry struct {
	fs.DirEntry
	name string
}

func (e entry) Name() string { return e.name }
