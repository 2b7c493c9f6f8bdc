// Package sandbox lets a program have containers that are in nobody's way: it
// runs in mount, network and process namespaces of its own, with a containerd of
// its own, so that bridges, routes and mounts are its own and end with it. What
// it leaves behind makes it fail all the same.
//
// Its functions are for one goroutine.
package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The stages by which a program gets into its namespaces: it starts itself as
// the first process there, and that one the program.
const (
	envStage    = "LOFN_SANDBOX"
	envRun      = "LOFN_SANDBOX_RUN"
	stageFirst  = "first"
	stageInside = "inside"
)

// Run has the program that calls it started again in a sandbox, with the same
// arguments, and there calls inside. It returns what to exit with. Nothing that
// differs between the two may come before it.
func Run(inside func() int) int {
	switch os.Getenv(envStage) {
	case stageFirst:
		return first()
	case stageInside:
		_ = os.Unsetenv(envStage)
		return inside()
	}
	return again(stageFirst, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	})
}

// Inside reports whether this is a process that Run started. Until then it is
// to do nothing but call Run.
func Inside() bool { return os.Getenv(envStage) != "" }

// Missing says what keeps this machine from having a sandbox, or is empty.
func Missing() string {
	if os.Geteuid() != 0 {
		return "containers need root"
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed: on Debian, apt install containerd runc"
		}
	}
	return ""
}

// again runs this program with the same arguments in another stage.
func again(stage string, attributes *syscall.SysProcAttr) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envStage+"="+stage)
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "namespaces of its own:", err)
		return 1
	}
	// The test tool interrupts what takes too long, to have it tell where it is.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	return wait(cmd.Process.Pid)
}

// wait reaps until the process has ended: the first one in a process namespace
// inherits the orphans.
func wait(pid int) int {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1
		case ended == pid && status.Exited():
			return status.ExitStatus()
		case ended == pid && status.Signaled():
			fmt.Fprintln(os.Stderr, "the program was ended by", status.Signal())
			return 1
		}
	}
}

// first prepares the namespaces, runs the program and looks for what it left.
func first() int {
	if err := os.Setenv(envRun, strings.ToLower(rand.Text()[:10])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "namespaces of its own:", err)
		return 1
	}
	before, err := traces()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := again(stageInside, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	left, err := remains(before)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if len(left) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: left behind:\n  "+strings.Join(left, "\n  "))
		return 1
	}
	return status
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of their own: %w", err)
	}
	for _, at := range []struct{ kind, path string }{{"proc", "/proc"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(at.kind, at.path, at.kind, 0, ""); err != nil {
			return fmt.Errorf("%s: %w", at.path, err)
		}
	}
	return Up("lo")
}

// Up switches on an interface of the network that the calling thread is in.
func Up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}
