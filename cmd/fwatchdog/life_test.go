package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// everyone is fwatchdog and those peers that variables name.
func everyone(t *testing.T) []peer {
	all := peersFromEnvironment(t, "classic-watchdog", "LOFN_PEER_CLASSIC_WATCHDOG")
	if path := os.Getenv("LOFN_PEER_OF_WATCHDOG"); path != "" {
		all = append(all, peer{name: "of-watchdog", path: path})
	}
	return all
}

// untilReleased writes a file when it runs, and ends when another appears.
const untilReleased = `touch $TMPDIR/hanging; until [ -e $TMPDIR/release ]; do sleep 0.02; done; echo done`

// handler returns the command line of a shell script.
func handler(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "handler")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "fprocess=sh " + file
}

func (d *dog) waitFile(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" is there", func() bool { return exists(filepath.Join(d.temp, name)) })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (d *dog) release(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.temp, "release"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// call makes a call and returns where its answer will be.
func (d *dog) call(t *testing.T, path string) <-chan answer {
	t.Helper()
	r := request(t, "POST", d.url+path, "")
	arrived := make(chan answer, 1)
	go func() { arrived <- do(t, r) }()
	return arrived
}

func TestSIGTERM(t *testing.T) {
	for _, p := range everyone(t) {
		t.Run(p.name, func(t *testing.T) {
			d := start(t, p, "healthcheck_interval=1s", handler(t, `[ "$Http_Path" = /quick ] && echo quick && exit; `+untilReleased))
			arrived := d.call(t, "/")
			d.waitFile(t, "hanging")
			d.signal(t, syscall.SIGTERM)
			d.waitLog(t, "SIGTERM: no new connections in 1s\n")
			d.waitLog(t, "Removing lock-file : "+d.lock()+"\n")
			eventually(t, "the lock file is gone", func() bool { return !exists(d.lock()) })
			if got := get(t, d.url+"/_/health"); got != "503 " {
				t.Errorf("health: %q", got)
			}
			if got := get(t, d.url+"/quick"); got != "200 quick\n" {
				t.Errorf("a call in healthcheck_interval: %q", got)
			}
			d.waitLog(t, "No new connections allowed, draining: 1 requests\n")
			d.release(t)
			if a := <-arrived; a.StatusCode != 200 || a.body != "done\n" {
				t.Errorf("the call at work: %d %q %v", a.StatusCode, a.body, a.err)
			}
			if status := d.exit(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			d.waitLog(t, "Exiting. Active connections: 0\n")
		})
	}
}

func TestSIGTERMReachesTheChildAtOnce(t *testing.T) {
	d := start(t, peer{}, "mode=http", "fprocess="+os.Args[0], "upstream_url=http://$UPSTREAM", "healthcheck_interval=1h")
	arrived := d.call(t, "/until")
	d.waitFile(t, "hanging")
	d.signal(t, syscall.SIGTERM)
	d.waitLog(t, "stdout: the function was asked to end\n")
	d.release(t)
	if a := <-arrived; a.StatusCode != 200 || a.body != "done" {
		t.Errorf("the call at work: %d %q %v", a.StatusCode, a.body, a.err)
	}
	// The child has ended, so there is nobody left to wait for.
	if status := d.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestAChildThatDoesNotWantToEnd(t *testing.T) {
	d := start(t, peer{}, "mode=http", "fprocess="+os.Args[0], "upstream_url=http://$UPSTREAM", "write_timeout=100ms", "exec_timeout=100ms", "function_stubborn=1")
	d.waitLog(t, "the function listens")
	d.signal(t, syscall.SIGTERM)
	if status := d.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if get := do(t, request(t, "GET", "http://"+d.upstream, "")); get.err == nil {
		t.Error("the child is still there")
	}
}

func TestWorkThatOutlivesTheDrain(t *testing.T) {
	d := start(t, peer{}, "write_timeout=100ms", handler(t, `echo $$ > $TMPDIR/pid; sleep 60 & touch $TMPDIR/hanging; wait`))
	arrived := d.call(t, "/")
	d.waitFile(t, "hanging")
	d.signal(t, syscall.SIGTERM)
	a := <-arrived
	if a.err == nil && a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
	if status := d.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	b, err := os.ReadFile(filepath.Join(d.temp, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	eventually(t, "the process group is gone", func() bool { return syscall.Kill(-pid, 0) != nil })
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	for _, mode := range []string{"classic", "http"} {
		d := start(t, peer{}, "mode="+mode, "fprocess="+os.Args[0], "upstream_url=http://$UPSTREAM", "healthcheck_interval=1h", "function_stubborn=1")
		if mode == "http" {
			d.waitLog(t, "the function listens")
		}
		d.signal(t, syscall.SIGTERM)
		d.waitLog(t, "no new connections in 1h")
		d.signal(t, syscall.SIGTERM)
		if status := d.exit(t); status != 0 {
			t.Errorf("%s: exit status %d", mode, status)
		}
	}
}

func TestTheChildEnds(t *testing.T) {
	for _, status := range []string{"3", "0"} {
		d := start(t, peer{}, "mode=http", "fprocess="+os.Args[0], "upstream_url=http://$UPSTREAM")
		d.waitLog(t, "the function listens")
		if a := do(t, request(t, "POST", d.url+"/exit/"+status, "")); a.StatusCode != 500 {
			t.Errorf("the call that ended it: %d %q %v", a.StatusCode, a.body, a.err)
		}
		if got := d.exit(t); got != 1 {
			t.Errorf("exit status %d", got)
		}
		d.waitLog(t, "Forked function has terminated: exit status "+status+"\n")
		if exists(d.lock()) {
			t.Error("the lock file is there still")
		}
	}
}

func TestStartsThatFail(t *testing.T) {
	taken := freeListener(t)
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"nothing to run":       {nil, "Error: fprocess: is required in mode classic"},
		"unknown mode":         {[]string{"fprocess=cat", "mode=afterburn"}, `Error: mode: "afterburn" is unknown`},
		"unknown program":      {[]string{"fprocess=no-such-program", "mode=http"}, `the function's process "no-such-program" could not be started`},
		"no static files":      {[]string{"mode=static", "static_path=/no/such/folder"}, "static_path: /no/such/folder cannot be opened"},
		"port taken":           {[]string{"fprocess=cat", "port=" + port(taken.Addr().String())}, "address already in use"},
		"lock cannot be made":  {[]string{"fprocess=cat", "TMPDIR=/proc/no"}, "To disable"},
		"write_timeout=0":      {[]string{"fprocess=cat", "write_timeout=0"}, "write_timeout: must be longer than 0"},
		"nobody issues tokens": {[]string{"fprocess=cat", "jwt_auth=true", "OPENFAAS_NAME=f", "OPENFAAS_NAMESPACE=n", "jwt_auth_authority=http://" + freeAddress(t)}, "jwt_auth: "},
	} {
		if name == "lock cannot be made" {
			c.want = "cannot write /proc/no/.lock"
		}
		d := launch(t, peer{}, c.env...)
		if status := d.exit(t); status != 1 {
			t.Errorf("%s: exit status %d", name, status)
		}
		if !strings.Contains(d.log.String(), c.want) {
			t.Errorf("%s: the log lacks %q:\n%s", name, c.want, d.log.String())
		}
	}
}

func TestMetricsPortTaken(t *testing.T) {
	taken := freeListener(t)
	d := start(t, peer{}, "fprocess=cat", "metrics_port="+port(taken.Addr().String()))
	d.waitLog(t, "Warning: there are no metrics: ")
	if got := get(t, d.url); got != "200 " {
		t.Errorf("got %q", got)
	}
}

func TestFlags(t *testing.T) {
	for _, p := range everyone(t) {
		program := p.path
		if p.ours() {
			program = os.Args[0]
		}
		temp := t.TempDir()
		run := func(flag string) (status int, output string) {
			cmd := &exec.Cmd{Path: program, Args: []string{"fwatchdog", flag}, Env: []string{"fprocess=cat", "LOFN_TEST_PART=watchdog", "TMPDIR=" + temp, "GOCOVERDIR=" + temp, "GORACE=atexit_sleep_ms=0"}}
			b, _ := cmd.CombinedOutput()
			return cmd.ProcessState.ExitCode(), string(b)
		}
		if status, output := run("--run-healthcheck"); status != 1 || !strings.HasSuffix(output, "unable to find lock file.\n") {
			t.Errorf("%s without a lock: %d %q", p.name, status, output)
		}
		if err := os.WriteFile(filepath.Join(temp, ".lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if status, output := run("--run-healthcheck"); status != 0 || strings.Contains(output, "unable") {
			t.Errorf("%s with a lock: %d %q", p.name, status, output)
		}
		if status, output := run("--version"); status != 0 || !strings.Contains(output, "Version: dev\tSHA: unknown\n") {
			t.Errorf("%s --version: %d %q", p.name, status, output)
		}
	}
}

// Process 1 of a container gets the orphans of all others.
func TestOrphansAreReaped(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare is not installed, which makes the container")
	}
	args := []string{"unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if out, err := exec.Command(unshare, append(args[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespaces for this user: %v: %s", err, out)
	}
	d := start(t, peer{path: unshare, args: append(args, os.Args[0])}, handler(t, `
		case $Http_Path in
		/make) (setsid true &); (setsid sleep 0.1 &);;
		/count) cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z 1 ';;
		esac; true`))
	for range 5 {
		if got := get(t, d.url+"/make"); got != "200 " {
			t.Fatalf("got %q", got)
		}
	}
	eventually(t, "no zombie is left", func() bool { return get(t, d.url+"/count") == "200 0\n" })
}

// Processes of calls, and those that wait for one, end with the watchdog too,
// however it ends.
func TestProcessesEndWithTheWatchdog(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		file := filepath.Join(t.TempDir(), "pids")
		d := start(t, peer{}, "mode=streaming", "prestart=4", "exec_timeout=1s", "write_timeout=1s",
			handler(t, "echo $$ >>"+file+"; read line; while :; do sleep 0.01; done"))
		pids := func() []string { b, _ := os.ReadFile(file); return strings.Fields(string(b)) }
		eventually(t, "a process waits", func() bool { return len(pids()) == 1 })
		arrived := d.call(t, "/")
		eventually(t, "another one waits", func() bool { return len(pids()) == 2 })
		d.signal(t, s)
		d.exit(t)
		<-arrived
		for _, pid := range pids() {
			eventually(t, "the end of a process after "+s.String(), func() bool {
				stat, err := os.ReadFile("/proc/" + pid + "/stat")
				return err != nil || strings.Contains(string(stat), ") Z ")
			})
		}
	}
}

// A watchdog that is killed takes the function with it.
func TestKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	d := inHTTPMode(t)
	d.signal(t, syscall.SIGKILL)
	d.exit(t)
	eventually(t, "the function has ended", func() bool {
		return do(t, request(t, "GET", "http://"+d.upstream, "")).err != nil
	})
}
