package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// give puts this test binary, which is a lofn too, on the machine. What is
// added to its end makes it another version.
func (m *machine) give(path, more string) {
	m.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		m.Fatal(err)
	}
	path = filepath.Join(m.dir, "upper", path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, more...), 0o755); err != nil {
		m.Fatal(err)
	}
}

// expect looks for lines, or parts of them, in what a program wrote.
func expect(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in:\n%s", part, out)
		}
	}
}

// property asks systemd about the service.
func (m *machine) property(name string) string {
	m.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "--property="+name, "lofn.service"))
}

func (m *machine) answers(want string) {
	m.Helper()
	m.eventually("the function answers "+want, func() bool {
		got, err := m.call("/function/f")
		return err == nil && got == want
	})
}

// leftovers are what an installation makes, as far as it is there.
func (m *machine) leftovers() string {
	return m.sh("ls -d /usr/local/bin/*lofn* /usr/local/bin/.lofn* /etc/systemd/system/*lofn* /etc/systemd/system/.lofn* /etc/systemd/system/*/lofn* /etc/lofn /var/lib/lofn 2>/dev/null || true")
}

// TestServer is the life of a server, from its installation to its end, under a
// real systemd.
func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	m := newMachine(t)
	m.give("root/lofn", "")
	m.give("root/new/lofn", "version 2")
	m.give("root/broken/lofn", "version 3")
	m.boot()

	for _, step := range []struct {
		name string
		do   func(*machine)
	}{
		{"refused", refusedInstall},
		{"failed start", failedInstall},
		{"install", install},
		{"deploy", deployOnMachine},
		{"killed", killed},
		{"stopped", stopped},
		{"upgrade", upgradeUnderCalls},
		{"failed upgrade", failedUpgrade},
		{"restart", restart},
		{"reboot", reboot},
		{"uninstall", uninstall},
	} {
		before := m.T
		if !t.Run(step.name, func(t *testing.T) {
			m.T = t
			defer func() { m.T = before }()
			step.do(m)
		}) {
			return
		}
	}
}

func refusedInstall(m *machine) {
	if out := m.leftovers(); out != "" {
		m.Fatalf("the machine is not new:\n%s", out)
	}
	m.sh("cp /root/lofn /tmp/lofn") // where others than root find it
	listener := m.listen("127.0.0.1:8080")
	out := m.fails("/root/lofn", "install", "--metrics-listen", "192.0.2.1:1")
	listener.Close()
	expect(m.T, out, "--listen 127.0.0.1:8080: ", "ss -ltnp 'sport = :8080'", "--metrics-listen 192.0.2.1:1: ")
	expect(m.T, m.fails("/root/lofn", "install", "--provider", "pods"), `--provider: "pods" is unknown`)
	expect(m.T, m.fails("/root/lofn", "install", "--standby", "many"), `"many" is not a number`)
	m.sh("echo '#!/bin/sh' > /usr/local/bin/lofn")
	expect(m.T, m.fails("/root/lofn", "install"), "/usr/local/bin/lofn is there and is not lofn")
	m.sh("rm /usr/local/bin/lofn")
	m.sh("mkdir /srv/small /srv/fixed; mount -t tmpfs -o size=1m tmpfs /srv/small; mount -t tmpfs -o ro tmpfs /srv/fixed")
	expect(m.T, m.fails("/root/lofn", "install", "--data", "/srv/small/lofn", "--prefix", "/srv/fixed"),
		"the disk of /srv/small has 1 MiB left, and 256 MiB are needed", "/srv/fixed cannot be written to: read-only file system")
	m.sh("umount /srv/small /srv/fixed")
	expect(m.T, m.fails("unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run/systemd && /root/lofn install"), "this machine does not run systemd")
	expect(m.T, m.fails("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "/tmp/lofn", "install"), "only root may: run it with sudo")
	expect(m.T, m.fails("flock", "/etc/systemd/system", "/root/lofn", "install"), "another lofn install or uninstall is at work")
	expect(m.T, m.run("/root/lofn", "install", "--dry-run"),
		"would make /var/lib/lofn\n", "would write /etc/lofn/lofn.env\n", "would run systemctl enable --now lofn")
	expect(m.T, m.run("/root/lofn", "uninstall"), "Nothing to do: lofn is not installed.")
	if out := m.leftovers(); out != "" {
		m.Errorf("what was refused left:\n%s", out)
	}
}

func failedInstall(m *machine) {
	m.sh("touch /root/none.pem")
	out := m.fails("/root/lofn", "install", "--tls-cert", "none.pem", "--tls-key", "none.pem")
	expect(m.T, out, "TLS certificate", "/root/none.pem", "everything is as it was before")
	if out := m.leftovers(); out != "" {
		m.Errorf("a failed installation left:\n%s", out)
	}
}

func install(m *machine) {
	out := m.run("/root/lofn", "install")
	expect(m.T, out, "Copy /root/lofn to /usr/local/bin/lofn\n", "lofn serves at http://127.0.0.1:8080 (data in /var/lib/lofn, ",
		"To log in: lofn login --gateway http://127.0.0.1:8080 --username admin --password-stdin < /var/lib/lofn/secrets/basic-auth-password\n")
	if got := m.sh("stat -c '%a %U' /var/lib/lofn /etc/lofn/lofn.env /usr/local/bin/lofn /etc/systemd/system/lofn.service"); got != "700 root\n600 root\n755 root\n644 root\n" {
		m.Errorf("modes and owners:\n%s", got)
	}
	if got := m.run("systemctl", "is-enabled", "lofn"); got != "enabled\n" {
		m.Errorf("the service is %s", got)
	}
	if out := m.run("systemd-analyze", "verify", "--man=no", "lofn.service"); out != "" {
		m.Errorf("systemd says of the unit:\n%s", out)
	}
	expect(m.T, m.run("/root/lofn", "install"), "Nothing to do: lofn ")
	// What is the administrator's is kept, and what differs is said.
	out = m.run("/root/lofn", "install", "--listen", "0.0.0.0:80")
	expect(m.T, out, "Nothing to do: lofn ", "/etc/lofn/lofn.env is kept, where LOFN_LISTEN is not set and not 0.0.0.0:80")
}

func deployOnMachine(m *machine) {
	m.sh(`lofn login --password-stdin < /var/lib/lofn/secrets/basic-auth-password
		mkdir f long && printf '#!/bin/bash\necho one\n' > f/handler.sh && printf '#!/bin/bash\necho begun\ncat\n' > long/handler.sh
		printf 'provider: {name: openfaas}\nfunctions:\n  f: {lang: bash, handler: ./f, limits: {memory: 64Mi}}\n  long: {lang: bash-streaming, handler: ./long}\n' > stack.yml
		lofn up`)
	m.answers("one\n")
}

func killed(m *machine) {
	before := m.property("MainPID")
	m.run("kill", "-9", before)
	m.answers("one\n")
	if now := m.property("MainPID"); now == before || m.property("NRestarts") != "1" {
		m.Errorf("the main process was %s and is %s after %s restarts", before, now, m.property("NRestarts"))
	}
}

// stopped is a stop that systemd was not asked for: it is none that it undoes.
func stopped(m *machine) {
	m.run("kill", m.property("MainPID"))
	m.eventually("the service has stopped", func() bool { return m.property("ActiveState") == "inactive" })
	if result := m.property("Result"); result != "success" {
		m.Errorf("the stop is taken for %s", result)
	}
	expect(m.T, m.run("lofn", "install"), "Run systemctl enable --now lofn")
	m.answers("one\n")
}

// load calls the function until the function that it returns is called.
func load(m *machine) (end func() (calls int)) {
	t, client := m.T, m.newClient(true)
	over, calls := make(chan struct{}), 0
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if got, err := call(client, "/function/f"); err != nil || got != "one\n" {
				t.Errorf("call %d: %q, %v", calls, got, err)
			}
			calls++
		}
	})
	return func() int {
		close(over)
		running.Wait()
		client.CloseIdleConnections()
		return calls
	}
}

func upgradeUnderCalls(m *machine) {
	before := m.property("MainPID")
	end := load(m)
	out := m.run("/root/new/lofn", "install")
	if calls := end(); calls == 0 {
		m.Error("there was no call during the upgrade")
	}
	expect(m.T, out, "Run systemctl reload lofn, and wait until the new version answers\n", "lofn serves at ")
	m.sh("cmp /root/new/lofn /usr/local/bin/lofn && cmp /root/new/lofn /proc/$(systemctl show --value -p MainPID lofn)/exe")
	if now := m.property("MainPID"); now == before || m.property("NRestarts") != "0" || m.property("ActiveState") != "active" {
		m.Errorf("the main process was %s and is %s after %s restarts, %s", before, now, m.property("NRestarts"), m.property("ActiveState"))
	}
	expect(m.T, m.run("/root/new/lofn", "install"), "Nothing to do: lofn ")
}

func failedUpgrade(m *machine) {
	before := m.property("MainPID")
	m.sh("touch " + brokenFile)
	end := load(m)
	out := m.fails("/root/broken/lofn", "install")
	if calls := end(); calls == 0 {
		m.Error("there was no call during the upgrade")
	}
	expect(m.T, out, "the upgrade failed at ", "the version before goes on", "exit status 3", "everything is as it was before")
	m.sh("rm " + brokenFile + "; cmp /root/new/lofn /usr/local/bin/lofn")
	if now := m.property("MainPID"); now != before || m.property("ActiveState") != "active" {
		m.Errorf("the main process was %s and is %s, %s", before, now, m.property("ActiveState"))
	}
	if out := m.sh("ls -A /usr/local/bin /etc/lofn /etc/systemd/system | grep '^[.]lofn' || true"); out != "" {
		m.Errorf("the installation left:\n%s", out)
	}
}

// begin makes a call that ends when the function that it returns is called, which
// looks whether it went well.
func begin(m *machine) (end func()) {
	m.Helper()
	body, more := io.Pipe()
	response, err := m.client.Post("http://127.0.0.1:8080/function/long", "text/plain", body)
	if err != nil {
		m.Fatal(err)
	}
	answer := bufio.NewReader(response.Body)
	if line, err := answer.ReadString('\n'); line != "begun\n" || err != nil {
		m.Fatalf("the call answered %q, %v", line, err)
	}
	return func() {
		defer response.Body.Close()
		_, _ = io.WriteString(more, "the end")
		more.Close()
		if rest, err := io.ReadAll(answer); string(rest) != "the end" || err != nil {
			m.Errorf("a call that was under way ended with %q, %v", rest, err)
		}
	}
}

// restart is after an upgrade, with calls in both processes: the main one is none
// that systemd started, the other is not the main one.
func restart(m *machine) {
	// What quotes a setting needs, systemd knows.
	odd := `nats://user:p$ss "w'rd" \ ` + "`x`" + `#;=@10.0.0.1`
	m.run("lofn", "install", "--root", "/root/odd", "--nats-url", odd)
	m.sh("sed -n s/^LOFN_NATS_URL=/LOFN_TEST_ODD=/p /root/odd/etc/lofn/lofn.env >> /etc/lofn/lofn.env")

	before := begin(m)
	m.run("/root/lofn", "install") // another upgrade
	now := begin(m)
	m.run("systemctl", "restart", "--no-block", "lofn")
	m.eventually("the service stops", func() bool { return m.property("ActiveState") == "deactivating" })
	before()
	now()
	m.eventually("the service is back", func() bool { return m.property("ActiveState") == "active" })
	m.answers("one\n")
	expect(m.T, m.sh("tr '\\0' '\\n' < /proc/$(systemctl show --value -p MainPID lofn)/environ"), "LOFN_TEST_ODD="+odd+"\n")
}

func reboot(m *machine) {
	m.off()
	m.boot()
	m.answers("one\n")
}

func uninstall(m *machine) {
	expect(m.T, m.run("lofn", "uninstall", "--dry-run"), "would run systemctl disable --now lofn", "would remove /usr/local/bin/lofn\n", "kept: /var/lib/lofn, /etc/lofn/lofn.env")
	m.answers("one\n")
	out := m.run("lofn", "uninstall")
	expect(m.T, out, "kept: /var/lib/lofn, /etc/lofn/lofn.env; a later install goes on with it")
	if out := m.leftovers(); out != "/etc/lofn\n/var/lib/lofn\n" {
		m.Errorf("there is still:\n%s", out)
	}
	if _, err := m.call("/healthz"); err == nil {
		m.Error("the platform still answers")
	}
	if out := m.sh("pgrep -a -f '[h]andler.sh|lofn [s]erve' || true; find /sys/fs/cgroup -name 'lofn*'"); out != "" {
		m.Errorf("there is still:\n%s", out)
	}
	expect(m.T, m.run("/root/lofn", "uninstall"), "Nothing to do: lofn is not installed.\n", "kept: ")

	// A later installation goes on with what was kept.
	m.run("/root/lofn", "install")
	m.answers("one\n")
	expect(m.T, m.fails("lofn", "uninstall", "--purge"), "give --yes, too")
	m.run("lofn", "uninstall", "--purge", "--yes")
	if out := m.leftovers(); out != "" {
		m.Errorf("there is still:\n%s", out)
	}
}
