package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is one that systemd runs, in namespaces of this one. Its disk is a
// copy of this one's.
type machine struct {
	*testing.T
	dir, group string
	init       *exec.Cmd
	ended      chan struct{}
	output     bytes.Buffer
	client     *http.Client
}

// powerOff is SIGRTMIN+4, which systemd(1) takes for it.
const powerOff = syscall.Signal(34 + 4)

// newMachine makes a machine that is off, or skips the test where there can be
// none.
func newMachine(t *testing.T) *machine {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run systemd in namespaces")
	}
	for _, program := range []string{"/lib/systemd/systemd", "systemctl", "nsenter", "unshare", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs systemd and util-linux: %v", err)
		}
	}
	// Not below the root of this machine's disk, which is the lower part.
	dir, err := os.MkdirTemp("/dev/shm", "lofn-machine-")
	if err != nil {
		t.Skipf("needs a file system in memory: %v", err)
	}
	m := &machine{T: t, dir: dir, group: filepath.Base(dir)}
	m.client = m.newClient(false)
	t.Cleanup(m.remove)
	m.write("console", "")
	text, err := os.ReadFile("testdata/systemd/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	m.write("boot.sh", string(text))
	return m
}

// newClient reaches the machine. Connections that are kept have a grace when the
// platform stops, which is not what most tests are about.
func (m *machine) newClient(keep bool) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: m.dial, DisableKeepAlives: !keep}, Timeout: time.Minute}
}

func (m *machine) write(name, text string) {
	m.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
}

// boot starts the machine and returns when its services have.
func (m *machine) boot() {
	m.Helper()
	script := filepath.Join(m.dir, "boot.sh")
	mounted := filepath.Join(m.dir, "mounted")
	_ = os.Remove(mounted)
	m.init = exec.Command("/bin/sh", script, m.dir, m.group)
	m.init.Stdout, m.init.Stderr = &m.output, &m.output
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL, Setsid: true,
	}
	if err := m.init.Start(); err != nil {
		m.Skipf("needs namespaces: %v", err)
	}
	m.ended = make(chan struct{})
	go func() {
		defer close(m.ended)
		_ = m.init.Wait()
	}()
	m.eventually("the machine is up", func() bool {
		select {
		case <-m.ended:
			if _, err := os.Stat(mounted); err != nil {
				m.Skipf("needs mounts and control groups that this machine does not permit:\n%s", m.output.String())
			}
			m.Fatalf("systemd ended at once:\n%s", m.console())
		default:
		}
		out, _ := m.try("systemctl", "is-system-running")
		return slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(out))
	})
}

// off turns the machine off as its administrator would.
func (m *machine) off() {
	m.Helper()
	_ = m.init.Process.Signal(powerOff)
	m.eventually("the machine is off", func() bool {
		select {
		case <-m.ended:
			return true
		default:
			return false
		}
	})
}

// remove leaves nothing of the machine.
func (m *machine) remove() {
	if m.init != nil {
		_ = m.init.Process.Kill()
		<-m.ended
	}
	if m.Failed() {
		m.Logf("the machine's console:\n%s", m.console())
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.Error(err)
	}
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + m.group)
	for _, root := range append(roots, "/sys/fs/cgroup/"+m.group) {
		m.eventually("control groups of the machine are gone", func() bool { return removeGroups(root) == nil })
	}
}

// removeGroups removes a control group with all below it.
func removeGroups(path string) error {
	entries, err := os.ReadDir(path)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			_ = removeGroups(filepath.Join(path, e.Name()))
		}
	}
	return syscall.Rmdir(path)
}

func (m *machine) console() string {
	text, _ := os.ReadFile(filepath.Join(m.dir, "console"))
	return m.output.String() + string(text)
}

// try runs a program on the machine and returns what it wrote.
func (m *machine) try(name string, arguments ...string) (string, error) {
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(m.init.Process.Pid), "--all", "env", "--chdir=/root", name}, arguments...)...)
	cmd.Env = []string{"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func (m *machine) run(name string, arguments ...string) string {
	m.Helper()
	out, err := m.try(name, arguments...)
	if err != nil {
		m.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
	return out
}

// fails is try for what must not succeed.
func (m *machine) fails(name string, arguments ...string) string {
	m.Helper()
	out, err := m.try(name, arguments...)
	if err == nil {
		m.Fatalf("%s %s did not fail:\n%s", name, strings.Join(arguments, " "), out)
	}
	return out
}

// sh runs a script for the shell, which must succeed.
func (m *machine) sh(script string) string {
	m.Helper()
	return m.run("bash", "-euc", script)
}

// within runs do in the machine's network. The thread comes back from there: were
// it thrown away, what it has started would be told of its death.
func (m *machine) within(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.init.Process.Pid))
	if err != nil {
		return err
	}
	defer theirs.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // nothing that runs on this thread would be right
		}
	}()
	return do()
}

func (m *machine) dial(_ context.Context, network, address string) (conn net.Conn, err error) {
	err = m.within(func() (err error) {
		conn, err = net.Dial(network, address)
		return err
	})
	return conn, err
}

// listen takes a port of the machine.
func (m *machine) listen(address string) (listener net.Listener) {
	m.Helper()
	if err := m.within(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		m.Fatal(err)
	}
	return listener
}

// call asks the platform on the machine, at its usual address.
func (m *machine) call(path string) (string, error) { return call(m.client, path) }

func call(client *http.Client, path string) (string, error) {
	response, err := client.Get("http://127.0.0.1:8080" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

func (m *machine) eventually(what string, condition func() bool) {
	m.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); {
		if time.Now().After(deadline) {
			m.Fatalf("not within two minutes: %s\n%s", what, m.console())
		}
		<-time.After(50 * time.Millisecond)
	}
}
