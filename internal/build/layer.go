package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
)

// layer describes a packed layer, whose blob is in the image store.
type layer struct {
	Digest v1.Hash `json:"digest"`
	// DiffID is the digest of the layer before compression.
	DiffID v1.Hash `json:"diffID"`
	Size   int64   `json:"size"`
	// Machines are the processors that machine code in the layer is for, as in
	// runtime.GOARCH, each with a file that has some.
	Machines map[string]string `json:"machines,omitempty"`
	// Dynamic is a program in the layer that needs a dynamic loader, if any does.
	Dynamic string `json:"dynamic,omitempty"`
}

// packer writes a layer: the same content gives the same bytes, whoever packs
// it, when and where.
type packer struct {
	tar      *tar.Writer
	time     time.Time
	machines map[string]string
	dynamic  string
	written  map[string]bool
}

// pack writes the layer that fill packs to w. Its entries are owned by root, with
// the time.
func pack(w io.Writer, at time.Time, fill func(*packer) error) (layer, error) {
	compressed, plain := sha256.New(), sha256.New()
	size := &counter{}
	// The fastest level: functions are packed far more often than they travel.
	zip, err := gzip.NewWriterLevel(io.MultiWriter(w, compressed, size), gzip.BestSpeed)
	if err != nil {
		return layer{}, err
	}
	p := &packer{tar: tar.NewWriter(io.MultiWriter(zip, plain)), time: at, machines: map[string]string{}, written: map[string]bool{}}
	err = fill(p)
	if err := errors.Join(err, p.tar.Close(), zip.Close()); err != nil {
		return layer{}, err
	}
	return layer{Digest: digestOf(compressed), DiffID: digestOf(plain), Size: size.n, Machines: p.machines, Dynamic: p.dynamic}, nil
}

func digestOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// paths packs what the recipe names, in the order of the names and with one of
// two modes, except for the build folder's paths that lower layers have taken.
func (p *packer) paths(folder string, recipe layerRecipe, taken map[string]bool) error {
	type item struct{ from, to string }
	var items []item
	for from, to := range recipe.Paths {
		items = append(items, item{path.Clean(from), path.Join(strings.TrimPrefix(lofn.AppDir, "/"), to)})
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.to, b.to) })
	for _, i := range items {
		if err := p.parents(i.to); err != nil {
			return err
		}
		if err := p.add(folder, i.from, i.to, taken); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) parents(name string) error {
	for i := range len(name) {
		if name[i] == '/' {
			if err := p.folder(name[:i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *packer) folder(name string) error {
	if p.written[name] {
		return nil
	}
	p.written[name] = true
	return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: p.time, Format: tar.FormatPAX})
}

func (p *packer) add(folder, from, to string, taken map[string]bool) error {
	if taken[from] || path.Base(from) == memoFile {
		return nil
	}
	file := filepath.Join(folder, filepath.FromSlash(from))
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return p.addFolder(folder, from, to, taken)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: to, Linkname: target, Mode: 0o777, ModTime: p.time, Format: tar.FormatPAX})
	case info.Mode().IsRegular():
		return p.addFile(file, to, info)
	}
	return fmt.Errorf("%s is neither a file nor a folder", file)
}

func (p *packer) addFolder(folder, from, to string, taken map[string]bool) error {
	if err := p.folder(to); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(folder, filepath.FromSlash(from)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := p.add(folder, path.Join(from, e.Name()), path.Join(to, e.Name()), taken); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) addFile(file, to string, info fs.FileInfo) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	header := &tar.Header{Typeflag: tar.TypeReg, Name: to, Size: info.Size(), Mode: int64(executable(info.Mode())), ModTime: p.time, Format: tar.FormatPAX}
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	start := make([]byte, 20)
	n, err := io.ReadFull(in, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if machine := machineOf(start[:n]); machine != "" {
		p.code(in, machine, "/"+to, info)
	}
	_, err = io.Copy(p.tar, io.MultiReader(bytes.NewReader(start[:n]), in))
	return err
}

// code notes a file with machine code.
func (p *packer) code(file io.ReaderAt, machine, name string, info fs.FileInfo) {
	if p.machines[machine] == "" {
		p.machines[machine] = name
	}
	if p.dynamic == "" && info.Mode()&0o111 != 0 && needsLoader(file) {
		p.dynamic = name
	}
}

// needsLoader reports whether a program is linked dynamically.
func needsLoader(file io.ReaderAt) bool {
	program, err := elf.NewFile(file)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// machineOf returns the processor that a file's machine code is for, by the
// file's first 20 bytes, or "" if it holds none.
func machineOf(start []byte) string {
	if len(start) < 20 {
		return ""
	}
	switch magic := binary.LittleEndian.Uint32(start); {
	case string(start[:4]) == elf.ELFMAG:
		return elfMachine(start)
	case magic == 0xfeedface || magic == 0xfeedfacf:
		return "macOS"
	}
	return ""
}

func elfMachine(start []byte) string {
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(start[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	machine := elf.Machine(order.Uint16(start[18:]))
	switch machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_386:
		return "386"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_PPC64:
		if order == binary.ByteOrder(binary.LittleEndian) {
			return "ppc64le"
		}
		return "ppc64"
	}
	return machine.String()
}
