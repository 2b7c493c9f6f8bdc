package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"lofn"
)

// Where a function finds what the platform gives it, in its view.
const (
	socketDir = "/var/openfaas/run"
	emptyDir  = "/var/openfaas/empty"
)

// sandbox is the threads that make views and start processes in them, and the
// mount namespace that every view starts from.
type sandbox struct {
	jobs chan func()
	log  *slog.Logger
	// base is the namespace with the machine's file system and the mount
	// points that a view needs, or -1 if there can be none.
	base int
}

// A process dies with the thread that started it, so the threads live as long
// as the provider. More than two gain nothing: the runtime starts one process
// at a time.
const threads = 2

// newSandbox returns a sandbox without isolation, along with the reason, where
// mount namespaces are not permitted.
func newSandbox(stage string, log *slog.Logger) (s *sandbox, denied error) {
	s = &sandbox{jobs: make(chan func()), log: log, base: -1}
	for range threads {
		ready := make(chan struct{})
		onThread(func() {
			denied = errors.Join(denied, s.settle(stage))
			close(ready)
			for job := range s.jobs {
				job()
			}
		})
		<-ready
	}
	if denied != nil && s.base >= 0 {
		_ = unix.Close(s.base)
		s.base = -1
	}
	return s, denied
}

// onThread runs f on a thread of its own that ends with f. It is never the
// main thread: /proc/self shows that one's view of the file system.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // still locked, so that the runtime ends the thread
		}
		started := make(chan struct{})
		onThread(func() {
			close(started)
			f()
		})
		<-started
		runtime.UnlockOSThread()
	}()
}

// settle prepares the current thread: what it starts cannot gain privileges,
// and its mounts and working directory are not those of other threads.
func (s *sandbox) settle(stage string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	unix.Umask(0o022)
	if s.base >= 0 {
		return unix.Setns(s.base, unix.CLONE_NEWNS)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	if err := s.makeBase(stage); err != nil {
		return err
	}
	var err error
	s.base, err = namespace()
	return err
}

// namespace returns a handle on the mount namespace of the current thread.
func namespace() (int, error) {
	return unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// do runs f on one of the threads.
func (s *sandbox) do(f func() error) error {
	done := make(chan error, 1)
	s.jobs <- func() { done <- f() }
	return <-done
}

// within runs f on one of the threads, in the mount namespace.
func (s *sandbox) within(ns int, f func() error) error {
	return s.do(func() error {
		if s.base < 0 {
			return f()
		}
		if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the mount namespace: %w", err)
		}
		// Whoever comes next says where it wants to be; going back only lets
		// go of a view that may end.
		defer func() { _ = unix.Setns(s.base, unix.CLONE_NEWNS) }()
		return f()
	})
}

func (s *sandbox) close() {
	close(s.jobs)
	if s.base >= 0 {
		unix.Close(s.base)
	}
}

// makeBase gives the thread's mount namespace a new root, on which all that
// the machine has is mounted, and the mount points of a view besides: folders
// that may not exist on the machine, and that must not be made there.
func (s *sandbox) makeBase(stage string) error {
	// Slaves follow what the machine mounts and unmounts later, so that a
	// function neither misses a new disk nor keeps one from being removed.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := mount("lofn", stage, "tmpfs", 0, "mode=755,size=1m"); err != nil {
		return err
	}
	// Unbindable, or the mount of the folder that stage is in would have the
	// new root in it again.
	if err := mount("", stage, "", unix.MS_UNBINDABLE, ""); err != nil {
		return err
	}
	if err := s.populate(stage); err != nil {
		return err
	}
	// Views mount folders of it. Before Linux 6.17 their copies of it are
	// unbindable as well.
	if err := mount("", stage, "", unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	old := filepath.Join(stage, ".old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(stage, old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := os.Remove("/.old"); err != nil {
		return err
	}
	// Functions of an ordinary user are that user, and could write to what all
	// of them see.
	return mount("", "/", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// populate mounts what the machine has at the new root. The folders that get
// mount points of a view are made anew, with the machine's entries in them.
func (s *sandbox) populate(root string) error {
	s.mirror("/", root, "home", "var")
	for dir, own := range map[string]string{"/home": "app", "/var": "openfaas"} {
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			return err
		}
		s.mirror(dir, root+dir, own)
	}
	for _, dir := range []string{lofn.AppDir, lofn.SecretsPath, socketDir, emptyDir, loaderDir, "/tmp"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			return err
		}
	}
	return placeLoaders(root + loaderDir)
}

// mirror mounts each entry of the folder from in the folder to, with what is
// mounted below it. One that cannot be mounted, such as another user's own
// file system, is missing then.
func (s *sandbox) mirror(from, to string, except ...string) {
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("functions will not see all of a folder", "folder", from, "reason", err)
	}
	for _, e := range entries {
		if slices.Contains(except, e.Name()) {
			continue
		}
		path := filepath.Join(from, e.Name())
		if err := mirrorOne(path, filepath.Join(to, e.Name())); err != nil {
			s.log.Warn("functions will not see a folder or file", "path", path, "reason", err)
		}
	}
}

func mirrorOne(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case info.IsDir():
		err = os.Mkdir(to, 0o755)
	default:
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}
