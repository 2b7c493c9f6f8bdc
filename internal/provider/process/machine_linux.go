package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/fleet"
	"lofn/internal/watchdog"
)

// linux is the machine on Linux.
type linux struct {
	Config
	sandbox *sandbox
	// users is nil where functions run as the platform's own user.
	users   *users
	nested  *nested
	ports   ports
	cgroups *cgroups
	lookup  lookup
	// processes bounds how many processes a function may have.
	processes uint64
	// path is the PATH of functions that bring none.
	path    string
	run     *runDir
	buffers *fleet.Buffers
	// null is what servers have as their standard input.
	null    *os.File
	notices *notices
	habits  habits
	standby *standby
}

// nested is the user namespace that functions get where the platform has only
// one user ID to give: the IDs that it has inside.
type nested struct{ uid, gid int }

func newMachine(c Config) (machine, error) {
	m := &linux{Config: c, ports: ports{used: make(map[int]bool)}, buffers: fleet.NewBuffers(), processes: processBound()}
	// What whoever started the platform left open is not for functions. A
	// kernel before 5.11 does not know the call; then it stays as it was.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	run, stale, earlier, err := openRunDir(m.RunDir)
	if err != nil {
		return nil, err
	}
	m.run = run
	stage := filepath.Join(run.path, "root")
	if err := os.Mkdir(stage, 0o700); err != nil {
		return nil, errors.Join(err, run.close())
	}
	var denied error
	m.sandbox, denied = newSandbox(stage, m.Log)
	if err = m.choose(denied, earlier); err == nil {
		m.null, err = os.Open(os.DevNull)
	}
	if err != nil {
		m.sandbox.close()
		return nil, errors.Join(err, run.close())
	}
	for _, path := range stale {
		newCgroups(path)
	}
	m.cgroups = newCgroups(run.path)
	if m.notices, err = newNotices(); err != nil {
		m.Log.Warn("functions that start are looked at often: the kernel does not tell when their sockets are there, for want of fs.inotify.max_user_instances", "reason", err)
	}
	m.standby = newStandby(m)
	return m, nil
}

// choose settles who functions run as.
func (m *linux) choose(denied error, earlier []string) error {
	m.lookup.hidden = append([]string{"/tmp", "/var/tmp", "/dev/shm"}, m.Hide...)
	users := newUsers()
	switch {
	// In the user namespace of an ordinary user, who has but one ID, root is
	// nobody special.
	case denied != nil && os.Geteuid() == 0 && users != nil:
		return lofn.Errorf(lofn.Unimplemented, "this machine does not let lofn isolate functions (%w), and as root it runs none without: run it as an ordinary user, or in a container with --cap-add SYS_ADMIN and without a seccomp profile", denied)
	case denied != nil:
		m.Log.Warn("functions run without isolation and without secrets: this machine does not permit user namespaces", "isolation", "none", "reason", denied)
		m.lookup.hidden = nil
		sweep(earlier)
	default:
		m.users, m.lookup.others = users, users != nil
		if users == nil {
			m.nested = newNested()
			m.Log.Info("functions run isolated, as this user", "isolation", "user namespaces")
		} else {
			m.Log.Info("functions run isolated, each as a user of its own", "isolation", "namespaces")
		}
	}
	m.path = m.lookup.path(variable(m.Environ, "PATH"))
	return nil
}

func newNested() *nested {
	n := &nested{uid: 65534, gid: 65534}
	if uid, ok := outside("uid", 0); ok && uid != 0 {
		n.uid = int(uid)
	}
	if gid, ok := outside("gid", 0); ok && gid != 0 {
		n.gid = int(gid)
	}
	return n
}

func (m *linux) isolated() bool { return m.sandbox.base >= 0 }

func (m *linux) start(ctx context.Context, p *program) (instance, error) {
	if !m.isolated() && len(p.secrets) > 0 {
		return nil, errors.New("the function has secrets, and without user namespaces this machine has no place where only it could read them")
	}
	if p.watchdog.Mode == watchdog.HTTP {
		return m.startServer(ctx, p)
	}
	return m.startForks(p)
}

func (m *linux) deployed(ref lofn.Ref) (news bool) { return m.standby.expect(ref) }
func (m *linux) forget(ref lofn.Ref)               { m.standby.forget(ref) }

func (m *linux) close() error {
	m.standby.close()
	m.sandbox.close()
	m.cgroups.close()
	return errors.Join(m.notices.close(), m.null.Close(), m.run.close())
}

// attributes are those with which a function's processes start.
func (m *linux) attributes(uid int) *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if !m.isolated() {
		return sys
	}
	sys.Cloneflags = syscall.CLONE_NEWPID
	if m.users != nil {
		sys.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		return sys
	}
	sys.Cloneflags |= syscall.CLONE_NEWUSER
	sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: m.nested.uid, HostID: 0, Size: 1}}
	sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: m.nested.gid, HostID: 0, Size: 1}}
	sys.Credential = &syscall.Credential{Uid: uint32(m.nested.uid), Gid: uint32(m.nested.gid), NoSetGroups: true}
	return sys
}

// adopt bounds the harm that a process can do which has just been started.
func (m *linux) adopt(pid int) {
	// When memory runs out, a function goes before the platform does.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
	if m.users == nil {
		return // the limit would be on all that the user runs
	}
	bound := &unix.Rlimit{Cur: m.processes, Max: m.processes}
	_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, bound, nil)
}

// processBound is how many processes and threads a function may have, so that
// one that forks without end leaves room for others.
func processBound() uint64 {
	const fewest, usual = 1024, 32768
	content, err := os.ReadFile("/proc/sys/kernel/pid_max")
	limit, parsed := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || parsed != nil {
		limit = usual
	}
	return max(limit/8, fewest)
}

// variable returns the last value of the name among "NAME=value" pairs.
func variable(env []string, name string) (value string) {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}
