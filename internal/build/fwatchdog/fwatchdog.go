// Package fwatchdog finds the watchdog's static binaries for Linux, which go
// into images: those that this program was compiled with, or else those that
// lie beside it.
package fwatchdog

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"lofn"
)

//go:embed files
var embedded embed.FS

// Binary is the watchdog for one processor.
type Binary struct {
	// Digest tells it from others, and is the same wherever it was found.
	Digest  string
	content []byte
}

// Size returns the number of its bytes.
func (b Binary) Size() int64 { return int64(len(b.content)) }

// Open returns its content.
func (b Binary) Open() io.Reader { return bytes.NewReader(b.content) }

// Find returns the watchdog for a processor, as in runtime.GOARCH. The folders
// come before what is inside this program, and its own folder after that; in
// them, the file is fwatchdog-linux-ARCH or, for this machine's processor,
// fwatchdog. If there is none the error has code Unavailable.
func Find(arch string, folders ...string) (Binary, error) {
	for _, folder := range folders {
		if b, err := find(folder, arch); !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	if b, err := unpack(arch); !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	own, err := os.Executable()
	if err == nil {
		if b, err := find(filepath.Dir(own), arch); !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return Binary{}, lofn.Errorf(lofn.Unavailable, "an image for containers needs fwatchdog for linux/%s, and this lofn was compiled without it: "+
		`use one that "make build" has made, or put fwatchdog-linux-%s into %s`, arch, arch, filepath.Dir(own))
}

func unpack(arch string) (Binary, error) {
	file, err := embedded.Open("files/" + fileName(arch) + ".gz")
	if err != nil {
		return Binary{}, err
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		return Binary{}, damaged(arch, err)
	}
	content, err := io.ReadAll(zip)
	if err != nil {
		return Binary{}, damaged(arch, err)
	}
	return binary(content), nil
}

func damaged(arch string, err error) error {
	return lofn.Errorf(lofn.Internal, "the fwatchdog for linux/%s that this lofn was compiled with is damaged: %w", arch, err)
}

// find returns an error that wraps fs.ErrNotExist if the folder has none.
func find(folder, arch string) (Binary, error) {
	names := []string{fileName(arch)}
	if arch == runtime.GOARCH {
		names = append(names, "fwatchdog")
	}
	for _, name := range names {
		file := filepath.Join(folder, name)
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Binary{}, lofn.Errorf(lofn.Invalid, "fwatchdog: %w", err)
		}
		return binary(content), check(file, arch, content)
	}
	return Binary{}, fs.ErrNotExist
}

func fileName(arch string) string { return "fwatchdog-linux-" + arch }

// check refuses a file that was put there by mistake: it would be found out
// when the function starts, on another machine.
func check(file, arch string, content []byte) error {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	program, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "%s is no program for Linux: %w", file, err)
	}
	if want, known := machines[arch]; known && program.Machine != want {
		return lofn.Errorf(lofn.Invalid, "%s is a program for %s, and not for %s", file, program.Machine, arch)
	}
	if program.Section(".interp") != nil {
		return lofn.Errorf(lofn.Invalid, "%s is not linked statically, so it does not run in every image: build it with CGO_ENABLED=0", file)
	}
	return nil
}

func binary(content []byte) Binary {
	sum := sha256.Sum256(content)
	return Binary{Digest: "sha256:" + hex.EncodeToString(sum[:]), content: content}
}
