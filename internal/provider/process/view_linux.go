package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"lofn"
)

// view is what a replica's processes see differently from the machine.
type view struct {
	app      string // folder shown at /home/app
	hide     []string
	readOnly bool
	tmpBytes int64
	secrets  map[string][]byte
	owner    int // user who may use the folder for the socket
}

// handles are what the platform keeps of a view. Each is -1 if there is none.
type handles struct {
	// sockets is the folder that the function sees at socketDir.
	sockets int
	// secrets is the folder that it sees at lofn.SecretsPath, through a mount
	// that can be written to.
	secrets int
	// namespace is the view's mount namespace.
	namespace int
}

func noHandles() handles { return handles{-1, -1, -1} }

func (h handles) close() {
	for _, fd := range []int{h.sockets, h.secrets, h.namespace} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// separate gives the current thread, which is in the base namespace, a new one
// and returns a handle on it.
func separate() (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("a mount namespace: %w", err)
	}
	return namespace()
}

// furnish makes the view in the namespace of the current thread, which looks
// like the base so far.
func (v view) furnish() (h handles, err error) {
	h = noHandles()
	defer func() {
		if err != nil {
			h.close()
			h = noHandles()
		}
	}()
	if err := v.mountApp(); err != nil {
		return h, err
	}
	if err := v.cover(); err != nil {
		return h, err
	}
	if h.sockets, err = v.mountScratch(); err != nil {
		return h, err
	}
	h.secrets, err = v.mountSecrets()
	return h, err
}

func (v view) mountApp() error {
	if info, err := os.Stat(v.app); err != nil || !info.IsDir() {
		return nil // an image without files, such as one that runs `cat`
	}
	if err := mount(v.app, lofn.AppDir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return readOnly(lofn.AppDir)
}

// cover hides the platform's folders, and makes all read-only if asked to.
func (v view) cover() error {
	for _, dir := range v.hide {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if err := mount(emptyDir, dir, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if !v.readOnly {
		return nil
	}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("readOnlyRootFilesystem needs Linux 5.12 or newer")
	}
	if err != nil {
		return fmt.Errorf("readOnlyRootFilesystem: %w", err)
	}
	// The platform writes the user IDs of a new process there.
	if err := unix.MountSetattr(unix.AT_FDCWD, "/proc", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("readOnlyRootFilesystem: /proc: %w", err)
	}
	return nil
}

// mountScratch mounts one bounded file system in memory and shows its folders
// where programs write.
func (v view) mountScratch() (sockets int, err error) {
	options := "mode=755,size=" + strconv.FormatInt(v.tmpBytes, 10)
	if err := mount("lofn", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return -1, err
	}
	if err := os.Mkdir("/tmp/run", 0o700); err != nil {
		return -1, err
	}
	if err := os.Chown("/tmp/run", v.owner, v.owner); err != nil {
		return -1, err
	}
	if err := mount("/tmp/run", socketDir, "", unix.MS_BIND, ""); err != nil {
		return -1, err
	}
	for _, at := range []string{"/dev/shm", "/var/tmp", "/tmp"} {
		if info, err := os.Lstat(at); err != nil || !info.IsDir() {
			continue
		}
		own := filepath.Join("/tmp", strings.ReplaceAll(at[1:], "/", "-"))
		if err := os.Mkdir(own, 0o777); err != nil {
			return -1, err
		}
		if err := os.Chmod(own, 0o777|os.ModeSticky); err != nil {
			return -1, err
		}
		if err := mount(own, at, "", unix.MS_BIND, ""); err != nil {
			return -1, err
		}
	}
	return unix.Open(socketDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// mountSecrets mounts a file system in memory twice: below, writable, for the
// platform's handle, and over it, read-only, for the function.
func (v view) mountSecrets() (dir int, err error) {
	if len(v.secrets) == 0 {
		return -1, nil
	}
	const at = lofn.SecretsPath
	if err := mount("lofn", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return -1, err
	}
	if dir, err = unix.Open(at, unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, err
	}
	for name, value := range v.secrets {
		if err := replaceFile(dir, name, value); err != nil {
			unix.Close(dir)
			return -1, err
		}
	}
	if err := errors.Join(mount(at, at, "", unix.MS_BIND, ""), readOnly(at)); err != nil {
		unix.Close(dir)
		return -1, err
	}
	return dir, nil
}

// replaceFile gives a file in the folder new content in one step.
func replaceFile(dir int, name string, content []byte) error {
	next := ".next-" + name
	if len(next) > unix.NAME_MAX {
		next = next[:unix.NAME_MAX]
	}
	fd, err := unix.Openat(dir, next, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o444), file.Close())
	if err == nil {
		err = unix.Renameat(dir, next, dir, name)
	}
	if err != nil {
		err = errors.Join(err, unix.Unlinkat(dir, next, 0))
	}
	return err
}

// readOnly makes a bind mount read-only. Flags that it has from the mount
// underneath must be repeated: in a user namespace they cannot be dropped.
func readOnly(at string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		return err
	}
	keep := uintptr(fs.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	return mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, "")
}
