// Package containerdtest runs tests against a real containerd of their own. A
// package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }
//
// and its tests run in mount, network and process namespaces of their own, so
// that bridges, routes and mounts are theirs, and end with them. What they leave
// behind makes Main fail all the same.
package containerdtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The stages by which a test binary gets into its namespaces: it starts itself
// as the first process there, and that one the tests.
const (
	envStage   = "LOFN_CONTAINERDTEST"
	envRun     = "LOFN_CONTAINERDTEST_RUN"
	stageFirst = "first"
	stageTests = "tests"
)

// Main runs the tests of a package and returns what to exit with. Where there
// can be no containers the tests run as they are: Require skips those that need
// some.
func Main(m *testing.M) int {
	switch os.Getenv(envStage) {
	case stageFirst:
		return first()
	case stageTests:
		return tests(m)
	}
	if Missing() != "" {
		return m.Run()
	}
	return again(stageFirst, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	})
}

// Missing says what keeps tests from having a containerd, or is empty.
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

// Require skips a test where there can be no containerd.
func Require(t testing.TB) {
	t.Helper()
	if missing := Missing(); missing != "" {
		t.Skip("SKIPPED: " + missing)
	}
}

// again runs this program with the same arguments in another stage.
func again(stage string, attributes *syscall.SysProcAttr) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envStage+"="+stage)
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests' own namespaces:", err)
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
			fmt.Fprintln(os.Stderr, "the tests were ended by", status.Signal())
			return 1
		}
	}
}

// first prepares the namespaces, runs the tests and looks for what they left.
func first() int {
	if err := os.Setenv(envRun, strings.ToLower(rand.Text()[:10])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests' own namespaces:", err)
		return 1
	}
	before, err := traces()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := again(stageTests, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	left, err := remains(before)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if len(left) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: the tests left behind:\n  "+strings.Join(left, "\n  "))
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
	return up("lo")
}

// up switches a network interface on.
func up(name string) error {
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

func tests(m *testing.M) int {
	_ = os.Unsetenv(envStage)
	return m.Run()
}
