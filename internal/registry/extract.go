package registry

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"syscall"

	"lofn"
)

// Whiteouts of the OCI image specification: a file with this prefix removes
// the one without it, and the opaque one empties the folder that it is in, of
// what earlier layers put there.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// maxLinks bounds the symbolic links on the way to one file, as the kernel
// does.
const maxLinks = 40

// extractor applies one layer to a root. Owners, extended attributes, setuid
// bits, devices and pipes are left out: the files are for any user to read,
// and for nobody to write.
type extractor struct {
	root *os.Root
	// made holds what this layer put there, which its whiteouts spare.
	made map[string]bool
}

// extract applies the layer in the tar stream to root. Nothing outside of root
// is touched, whatever the stream says: an entry that points outside is an
// error with code Invalid.
func extract(stream io.Reader, root *os.Root) error {
	x := &extractor{root: root, made: make(map[string]bool)}
	archive := tar.NewReader(stream)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) {
			return lofn.Errorf(lofn.Invalid, "a layer is not a tar archive: %w", err)
		}
		if err != nil {
			return err
		}
		if err := x.apply(header, archive); err != nil {
			return entryError(header.Name, err)
		}
	}
}

// entryError blames the image for what cannot be unpacked, unless the machine
// is at fault.
func entryError(name string, err error) error {
	if _, ok := errors.AsType[*lofn.Error](err); ok || !onDisk(err) || machineFault(err) {
		return err
	}
	return lofn.Errorf(lofn.Invalid, "%q in the image cannot be unpacked: %w", name, err)
}

// onDisk reports whether err comes from writing files.
func onDisk(err error) bool {
	if onNetwork(err) {
		return false // which are calls of the system, too
	}
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	_, call := errors.AsType[*os.SyscallError](err)
	return path || link || call
}

func onNetwork(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	return network
}

func machineFault(err error) bool {
	for _, number := range []syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS,
		syscall.EMFILE, syscall.ENFILE, syscall.EACCES, syscall.EPERM,
	} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

func (x *extractor) apply(header *tar.Header, content io.Reader) error {
	dir, base, err := x.place(header.Name)
	if err != nil || base == "" {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return x.whiteout(dir, base)
	}
	name := path.Join(dir, base)
	x.mark(name)
	switch header.Typeflag {
	case tar.TypeDir:
		return x.folder(name)
	case tar.TypeReg:
		return x.file(name, header, content)
	case tar.TypeSymlink:
		return x.symlink(name, header.Linkname)
	case tar.TypeLink:
		return x.link(name, header.Linkname)
	}
	return nil
}

// mark remembers that name, and so every folder above it, is of this layer.
func (x *extractor) mark(name string) {
	for ; name != "." && !x.made[name]; name = path.Dir(name) {
		x.made[name] = true
	}
}

// place returns the folder that an entry belongs in, made if missing and free
// of symbolic links, and the entry's name there; the name is empty for the
// root itself.
func (x *extractor) place(name string) (dir, base string, err error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == "." {
		return "", "", nil
	}
	if !fs.ValidPath(clean) || strings.ContainsRune(clean, 0) {
		return "", "", lofn.Errorf(lofn.Invalid, "%q points outside of the image", name)
	}
	dir, err = x.resolve(path.Dir(clean))
	if err != nil {
		return "", "", err
	}
	if err := x.mkdirAll(dir); err != nil {
		return "", "", err
	}
	return dir, path.Base(clean), nil
}

// mkdirAll makes a folder and those above it, open to any reader whatever the
// umask says.
func (x *extractor) mkdirAll(dir string) error {
	if info, err := x.root.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := x.mkdirAll(path.Dir(dir)); err != nil {
		return err
	}
	return x.folder(dir)
}

// resolve follows the symbolic links in a path as if the root were "/": an
// absolute link starts at the root, and ".." does not leave it.
func (x *extractor) resolve(name string) (string, error) {
	rest := strings.Split(name, "/")
	done := "."
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		target, err := x.root.Readlink(path.Join(done, element))
		if err != nil {
			// Not a link, or not there: the caller finds out.
			done = path.Join(done, element)
			continue
		}
		if links++; links > maxLinks {
			return "", lofn.Errorf(lofn.Invalid, "%q in the image leads through too many symbolic links", name)
		}
		if strings.HasPrefix(target, "/") {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

func (x *extractor) folder(name string) error {
	if info, err := x.root.Lstat(name); err == nil && !info.IsDir() {
		if err := x.root.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := x.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return x.root.Chmod(name, 0o755)
}

func (x *extractor) file(name string, header *tar.Header, content io.Reader) error {
	if err := x.root.RemoveAll(name); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if header.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	// Not all of the mode may have passed the umask.
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	// Interpreters compare the times of a file and of what they compiled it to.
	return x.root.Chtimes(name, header.ModTime, header.ModTime)
}

// symlink makes a link as it is: it may point anywhere, since nothing here
// follows it without resolve.
func (x *extractor) symlink(name, target string) error {
	if err := x.root.RemoveAll(name); err != nil {
		return err
	}
	return x.root.Symlink(target, name)
}

func (x *extractor) link(name, target string) error {
	dir, base, err := x.place(target)
	if err != nil {
		return err
	}
	source := path.Join(dir, base)
	if source == name {
		return nil
	}
	if err := x.root.RemoveAll(name); err != nil {
		return err
	}
	return x.root.Link(source, name)
}

func (x *extractor) whiteout(dir, base string) error {
	switch {
	case base == whiteoutOpaque:
		return x.removeOld(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return lofn.Errorf(lofn.Invalid, "%q in the image removes nothing that can be", path.Join(dir, base))
	}
	if name = path.Join(dir, name); x.made[name] {
		return nil
	}
	return x.root.RemoveAll(name)
}

// removeOld removes from a folder what this layer did not put there.
func (x *extractor) removeOld(dir string) error {
	entries, err := fs.ReadDir(x.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case !x.made[name]:
			err = x.root.RemoveAll(name)
		case e.IsDir():
			err = x.removeOld(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
