//go:build linux

package process_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lofn"
	"lofn/internal/provider/process"
)

// platform is a whole platform, as far as this package goes, for tests that
// end it: it runs functions that try to outlive it and prints their replicas.
func platform() int {
	if os.Getenv("LOFN_TEST_PLAIN") == "" {
		if status, started := process.Isolate(); started {
			return status
		}
	}
	images := &shelf{images: make(map[string]lofn.Image)}
	images.put("self", hostImage(os.Getenv("LOFN_TEST_IMAGE"), []string{"mode=http", "fprocess=./handler", "act=serve"}))
	rig := &rig{images: images, logs: make(map[string]string)}
	p, err := process.New(process.Config{RunDir: os.Getenv("LOFN_TEST_PLATFORM"), Images: images, Secrets: rig, Logs: rig, Standby: 1})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	defer p.Close(context.Background())
	for _, fn := range []lofn.Function{
		function("server", "self"),
		function("forks", "self", "mode=streaming", "fprocess=/bin/sh", "prestart=1"),
		function("waits", "self", "fprocess=python3 index.py"),
	} {
		if err := p.Ensure(context.Background(), fn); err != nil {
			fmt.Println("error:", err)
			return 1
		}
	}
	for r := range p.Watch(context.Background()) {
		if r.State != lofn.Ready || r.Function.Name == "waits" {
			continue
		}
		fmt.Println(r.ID)
		path, script := "/run", "setsid sleep 2001 >/dev/null 2>&1 &\nsleep 2002 >/dev/null 2>&1 &"
		if r.Function.Name == "forks" {
			path, script = "/", "setsid sleep 2003 >/dev/null 2>&1 &\nsleep 2004"
		}
		go call(context.Background(), r, path, script)
	}
	return 0
}

// startPlatform starts a platform in a process of its own and returns it, once
// all its functions' processes run, with the IDs of the replicas. The image is
// made in the folder.
func startPlatform(t *testing.T, command func(binary string) *exec.Cmd, folder, runDir string) (*exec.Cmd, []string) {
	t.Helper()
	image := selfImage(t, folder)
	cmd := command(filepath.Join(image, lofn.AppDir, "handler"))
	cmd.Env = append(cmd.Environ(), "LOFN_TEST_PLATFORM="+runDir, "LOFN_TEST_IMAGE="+image)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var ids []string
	for lines := bufio.NewScanner(out); len(ids) < 2 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "error:") {
			t.Fatal(lines.Text())
		}
		ids = append(ids, lines.Text())
	}
	if len(ids) != 2 {
		t.Fatal("the platform ended")
	}
	for _, id := range ids {
		want := 3
		if strings.HasPrefix(id, "forks") {
			want++ // one waits for a call
		}
		eventually(t, "the processes of "+id+" to run", func() bool { return len(processes(id)) >= want })
	}
	return cmd, ids
}

func TestNothingOutlivesAKilledPlatform(t *testing.T) {
	newRig(t) // skips where functions cannot run
	runDir := filepath.Join(t.TempDir(), "run")
	for range 3 {
		cmd, ids := startPlatform(t, func(binary string) *exec.Cmd { return exec.Command(binary) }, t.TempDir(), runDir)
		must(t, cmd.Process.Kill())
		cmd.Wait()
		if os.Getenv("LOFN_TEST_PLAIN") != "" {
			// Without isolation what escaped ends when the next one starts.
			newRig(t, func(c *process.Config) { c.RunDir = runDir })
		}
		for _, id := range ids {
			eventually(t, "no process of "+id+" to be left", func() bool { return len(processes(id)) == 0 })
		}
	}
	r := newRig(t, func(c *process.Config) { c.RunDir = runDir })
	r.self()
	r.deploy(function("next", "self"))
	entries, err := os.ReadDir(runDir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "forks") {
			t.Errorf("%s is left of an earlier run", e.Name())
		}
	}
}

func TestNoInterpreterOutlivesAKilledPlatform(t *testing.T) {
	newRig(t).isolated()
	found(t, "python3")
	dir := t.TempDir()
	app := filepath.Join(dir, lofn.AppDir)
	must(t, os.MkdirAll(app, 0o755))
	must(t, os.WriteFile(filepath.Join(app, "index.py"), []byte("import os, socket, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['LOFN_SOCKET'])\ns.listen()\ntime.sleep(2005)\n"), 0o644))
	cmd, _ := startPlatform(t, func(binary string) *exec.Cmd { return exec.Command(binary) }, dir, filepath.Join(t.TempDir(), "run"))
	eventually(t, "an interpreter to wait", func() bool { return len(onStandby(cmd.Process.Pid)) == 1 })
	waiting := onStandby(cmd.Process.Pid)
	must(t, cmd.Process.Kill())
	cmd.Wait()
	eventually(t, "it to end", func() bool {
		return !slices.ContainsFunc(waiting, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	})
}

// The rest needs root, to become somebody else.

const nobody = 65534

// asNobody returns a command that runs as a user without rights.
func asNobody(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/"}
	return cmd
}

// openFolder is a folder that everybody reaches and nobody owns.
func openFolder(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 || ownNamespace() {
		t.Skip("needs root, to become another user")
	}
	dir, err := os.MkdirTemp("", "lofn-test")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o755))
	must(t, os.Chown(filepath.Join(dir, "tmp"), nobody, nobody))
	return dir
}

func TestNothingOutlivesAKilledSupervisor(t *testing.T) {
	newRig(t) // skips where functions cannot run
	dir := openFolder(t)
	command := func(binary string) *exec.Cmd { return asNobody(binary) }
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		cmd, ids := startPlatform(t, command, filepath.Join(dir, sig.String()), filepath.Join(dir, "tmp", sig.String()))
		must(t, cmd.Process.Signal(sig))
		cmd.Wait()
		// The supervisor passes SIGTERM on, of which the platform dies, and
		// returns what became of it.
		if sig == syscall.SIGTERM && cmd.ProcessState.ExitCode() != 128+int(sig) {
			t.Errorf("exit status %d", cmd.ProcessState.ExitCode())
		}
		for _, id := range ids {
			eventually(t, "no process of "+id+" to be left", func() bool { return len(processes(id)) == 0 })
		}
	}
}

// TestAsOrdinaryUser runs tests of this package as another user: once with the
// user namespace that Isolate makes, once without any isolation.
func TestAsOrdinaryUser(t *testing.T) {
	for name, test := range map[string]struct{ env, run string }{
		"Isolated": {"LOFN_TEST_PLAIN=", "ConformanceServers|Secret|Temporary|Image|User|Outlive|Reasons|Port|Usage|Standby(Keeps|Cannot|IsKilled)|Interpreter"},
		"Blind":    {"LOFN_TEST_BLIND=1", "ConformanceServers/(Ensure|Scale)|Port|Foreign|Late|Took"},
		"Plain":    {"LOFN_TEST_PLAIN=1", "ConformanceServers/(Remove|Update)|Reasons|Outlive|Environment|Long|Usage|StandbyNeeds"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := openFolder(t)
			binary := filepath.Join(dir, "process.test")
			self, err := os.Executable()
			must(t, err)
			content, err := os.ReadFile(self)
			must(t, err)
			must(t, os.WriteFile(binary, content, 0o755))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := asNobody(binary, "-test.run="+test.run)
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(dir, "tmp"), test.env)
			out := new(strings.Builder)
			cmd.Stdout, cmd.Stderr = out, out
			must(t, cmd.Start())
			stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGQUIT) })
			defer stop()
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
