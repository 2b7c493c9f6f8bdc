package app_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newUpgradable is a platform whose program can be replaced, and runs.
func newUpgradable(t *testing.T) *platform {
	p := newPlatform(t)
	p.replaceable()
	p.start()
	return p
}

// replaceable has the platform started from a program that can be replaced.
func (p *platform) replaceable() {
	p.Helper()
	p.program = filepath.Join(shortTempDir(p.T), "lofn")
	p.install(os.Args[0])
	p.Cleanup(func() {
		// The processes that were started later are not the test's children.
		if p.cmd != nil && p.PID != p.cmd.Process.Pid {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	})
}

// install puts a program in the place of the platform's.
func (p *platform) install(path string) {
	p.Helper()
	_ = os.Remove(p.program)
	if err := os.Symlink(path, p.program); err != nil {
		p.Fatal(err)
	}
}

// script puts a shell script in the place of the platform's program.
func (p *platform) script(lines string) {
	p.Helper()
	path := filepath.Join(p.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o755); err != nil {
		p.Fatal(err)
	}
	p.install(path)
}

func (p *platform) hup() {
	p.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGHUP); err != nil {
		p.Fatal(err)
	}
}

// upgrade replaces the process and returns when the next one serves.
func (p *platform) upgrade() (old int) {
	p.Helper()
	old = p.PID
	p.hup()
	select {
	case next, ok := <-p.later:
		if !ok {
			p.Fatalf("the platform ended:\n%s", tail(p.stderr.String(), 4000))
		}
		if next.URL != p.URL || next.MetricsURL != p.MetricsURL {
			p.Fatalf("the new process is at %s, not at %s", next.URL, p.URL)
		}
		p.PID = next.PID // others may be reading the rest
	case <-time.After(2 * time.Minute):
		p.Fatalf("no new process serves:\n%s", tail(p.stderr.String(), 4000))
	}
	return old
}

// startChanges creates secrets, one after the other, until the function that it
// returns is called, which says how many.
func startChanges(p *platform) (end func() int) {
	over, count := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				count <- n
				return
			default:
			}
			status, answer := p.do("POST", "/system/secrets", fmt.Sprintf(`{"name":"token%d","value":"x"}`, n))
			if status != http.StatusAccepted {
				p.Errorf("change %d: %d %s", n, status, answer)
			}
		}
	}()
	return func() int {
		close(over)
		return <-count
	}
}

// isGone reports whether a process has ended.
func isGone(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || bytes.Contains(status, []byte("State:\tZ"))
}

// serving deploys a function and returns the marker of its processes.
func (p *platform) serving() string {
	p.Helper()
	marker := strconv.FormatInt(time.Now().UnixNano(), 36)
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "v1", marker))
	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":2}`)
	p.eventually("the function serves", func() bool { return status(p, "fn").AvailableReplicas == 2 })
	return "marker=" + marker
}

// TestUpgradesUnderLoadLoseNoCall upgrades four times while clients call and
// change things. LOFN_UPGRADE_CALLS sets how many calls there are around each
// upgrade.
func TestUpgradesUnderLoadLoseNoCall(t *testing.T) {
	calls := int64(100)
	if text := os.Getenv("LOFN_UPGRADE_CALLS"); text != "" {
		var err error
		if calls, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatalf("LOFN_UPGRADE_CALLS: %v", err)
		}
	}
	p := newUpgradable(t)
	marker := p.serving()
	load := startLoad(p, 4)
	load.more(calls)
	long := p.begin()
	first := p.upgrade()
	load.more(calls)
	if isGone(first) {
		t.Error("the first process is gone, and a call is under way in it")
	}
	changes := startChanges(p)
	var olds []int
	for range 3 {
		olds = append(olds, p.upgrade())
		load.more(calls)
	}
	long.finish()
	secrets := changes()
	answered := load.end()
	t.Logf("around four upgrades %d calls and %d changes were answered", answered, secrets)
	for _, old := range append(olds, first) {
		p.eventually("the processes before are gone", func() bool { return isGone(old) })
	}
	p.eventually("only the last one's replicas run", func() bool { return len(processesWith(marker)) == 2 })
	if kept := strings.Count(p.must(200, "GET", "/system/secrets", ""), "token"); kept != secrets {
		t.Errorf("of %d secrets %d are there", secrets, kept)
	}
	p.eventually("the folders of the runs before are gone", func() bool {
		runs, err := os.ReadDir(filepath.Join(p.data, "run"))
		return err == nil && len(runs) == 1
	})
	logs := p.must(200, "GET", "/system/logs?name=fn&tail=-1", "")
	if n := strings.Count(logs, "function listens"); n != 2*5 {
		t.Errorf("the log has %d starts of 5 processes with 2 replicas", n)
	}
	if n := int64(strings.Count(logs, "called with")); n != answered {
		t.Errorf("the log has %d of %d calls", n, answered)
	}
}

// TestTheServiceManagerFollowsAnUpgrade listens in its place.
func TestTheServiceManagerFollowsAnUpgrade(t *testing.T) {
	p := newPlatform(t)
	p.notify = filepath.Join(shortTempDir(t), "notify")
	manager, err := net.ListenPacket("unixgram", p.notify)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func(want string) {
		t.Helper()
		buffer := make([]byte, 4096)
		n, _, err := manager.ReadFrom(buffer)
		if got := string(buffer[:n]); err != nil || got != want {
			t.Errorf("the service manager was told %q, %v, want %q", got, err, want)
		}
	}
	p.start()
	told("READY=1")
	p.upgrade()
	told("RELOADING=1")
	told(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=", p.PID))
	if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
}

func TestAFailedUpgradeChangesNothing(t *testing.T) {
	p := newUpgradable(t)
	p.serving()
	load := startLoad(p, 2)
	for name, replace := range map[string]func(){
		"missing":    func() { _ = os.Remove(p.program) },
		"no program": func() { p.install(filepath.Join(p.data, "lock")) },
		"ends":       func() { p.script("exit 3") },
		// It says that it is ready for the data, and ends when it gets it.
		"ends late": func() { p.script(`echo '{"Step":"waiting"}' >&3; head -c 1 <&3 >/dev/null; exit 4`) },
		"lies":      func() { p.script(`echo '{"Step":"ready"}' >&3; exec sleep 100`) },
	} {
		failed := strings.Count(p.stderr.String(), "the upgrade failed")
		replace()
		p.hup()
		p.eventually(name+": it says that the upgrade failed", func() bool {
			return strings.Count(p.stderr.String(), "the upgrade failed") > failed
		})
		load.more(50)
		if isGone(p.PID) {
			t.Fatalf("%s: the process that served is gone", name)
		}
		p.must(202, "POST", "/system/functions", deployment("later", "fn:latest", name, ""))
		if got := p.must(200, "GET", "/function/later", ""); got != name {
			t.Errorf("%s: a new function answers %q", name, got)
		}
		p.must(202, "DELETE", "/system/functions", `{"functionName":"later"}`)
	}
	killInTheMiddle(p, load)
	p.must(202, "POST", "/system/secrets", `{"name":"token","value":"x"}`)
	load.more(50)
	p.install(os.Args[0])
	p.upgrade()
	load.more(50)
	load.end()
	if secrets := p.must(200, "GET", "/system/secrets", ""); !strings.Contains(secrets, "token") {
		t.Errorf("the secret is lost: %s", secrets)
	}
}

// killInTheMiddle kills a new process that has the data, and gets no further
// than to the start of its replicas.
func killInTheMiddle(p *platform, load *load) {
	p.Helper()
	next := p.stall()
	if load != nil {
		load.more(50)
	}
	if err := syscall.Kill(next, syscall.SIGKILL); err != nil {
		p.Fatal(err)
	}
}

// stall starts an upgrade whose new process gets no further than that.
func (p *platform) stall() (next int) {
	p.Helper()
	before := len(p.stderr.String())
	p.script("TZ=" + neverReady + " exec " + os.Args[0] + ` "$@"`)
	p.hup()
	p.eventually("the new process has the data", func() bool {
		said := p.stderr.String()[before:]
		if _, text, found := strings.Cut(said, `msg="handing the data over" to=`); found {
			_, _ = fmt.Sscan(text, &next)
		}
		return next != 0 && strings.Contains(said, "isolation=")
	})
	return next
}

// TestUpgradeOfAnOrdinaryUsersPlatform has one process watch over the others,
// which are in a user namespace.
func TestUpgradeOfAnOrdinaryUsersPlatform(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	const nobody = 65534
	p := newPlatform(t)
	folder := shortTempDir(t)
	p.program = filepath.Join(folder, "lofn")
	content, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.WriteFile(p.program, content, 0o755), os.Chmod(folder, 0o755), os.Chown(p.data, nobody, nobody))
	}
	if err != nil {
		t.Fatal(err)
	}
	p.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	p.start()
	if !strings.Contains(p.stderr.String(), `isolation="user namespaces"`) {
		t.Skip("this machine does not permit user namespaces")
	}
	for range 2 {
		old := p.PID
		p.PID = p.cmd.Process.Pid // which passes the signal on
		p.upgrade()
		p.eventually("the process before is gone", func() bool { return isGone(old) })
		p.must(200, "GET", "/healthz", "")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !isGone(p.PID) {
		t.Error("the last process is still there")
	}
}
