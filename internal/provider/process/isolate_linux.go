package process

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnvIsolated in the environment keeps Isolate from doing anything: the
// process was started by one that has the rights, or knows that there are none
// to be had.
const EnvIsolated = "LOFN_ISOLATED"

// Isolate gives the program the rights that New needs to isolate functions, if
// it has not: an ordinary user has them in a user namespace of its own, which
// only a fresh process can enter. So Isolate starts the program again in one,
// with the same arguments, passes signals on to it, and when that has ended
// returns its exit status and true: the caller then exits with the status. The
// process that is watched over may name another one in its place, by Warden.
//
// With false, the caller is to go on itself: it has the rights, or the machine
// does not permit user namespaces, which New will find out and say.
//
// A program calls it first of all, before it opens or starts anything.
func Isolate() (status int, started bool) {
	if os.Getenv(EnvIsolated) != "" || privileged() {
		_ = os.Unsetenv(EnvIsolated)
		return 0, false
	}
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	w, err := again()
	if err != nil {
		return 0, false
	}
	go func() {
		for s := range signals {
			w.signal(s.(syscall.Signal))
		}
	}()
	status, err = w.wait()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return status, true
}

// again starts this program in a user namespace.
func again() (*watch, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w, theirs, err := newWatch()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), EnvIsolated+"=1", EnvWarden+"=3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		// In a group of its own it gets Ctrl-C once, from here, and not from
		// the terminal as well.
		Setpgid:     true,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		_ = w.from.Close()
		return nil, err
	}
	w.pid = cmd.Process.Pid
	return w, nil
}

// privileged reports whether this process may make mount namespaces.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[unix.CAP_SYS_ADMIN/32].Effective&(1<<(unix.CAP_SYS_ADMIN%32)) != 0
}
