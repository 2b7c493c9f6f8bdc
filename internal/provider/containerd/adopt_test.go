package containerd_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd"
	"lofn/internal/provider/containerd/containerdtest"
)

// abandon has the provider let go of its containers, and returns once it has.
func (r *rig) abandon() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	if err := r.Detach(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func ids(replicas []lofn.Replica) (list []string) {
	for _, r := range replicas {
		list = append(list, r.ID)
	}
	slices.Sort(list)
	return list
}

// containers lists what containerd has, by ID.
func (r *rig) containers() []string {
	r.t.Helper()
	output, err := exec.Command("ctr", "--address", r.site.Socket, "--namespace", r.c.Namespace, "containers", "ls", "--quiet").Output()
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Fields(string(output))
}

// pid is the number of the replica's first process.
func (r *rig) pid(replica lofn.Replica) int {
	r.t.Helper()
	output, err := exec.Command("ctr", "--address", r.site.Socket, "--namespace", r.c.Namespace, "tasks", "ls").Output()
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == replica.ID {
			pid, err := strconv.Atoi(fields[1])
			if err != nil {
				r.t.Fatal(err)
			}
			return pid
		}
	}
	r.t.Fatalf("no task of %s in:\n%s", replica.ID, output)
	return 0
}

func TestContainersOutliveTheProvider(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("lasting"), s.push(t, "answer:1", containerdtest.Answer(t)), "ANSWER=still here")
	fn.Replicas = 2
	r.ensure(fn)
	before := r.ready(fn.Ref, 2)
	r.abandon()
	for _, replica := range before {
		if _, text := r.call(replica, "/"); text != "still here" {
			t.Errorf("without a provider it answers %q", text)
		}
	}
	r.call(before[0], "/print", "said while nobody listened\n")
	r.open()
	r.ensure(fn)
	if after := r.ready(fn.Ref, 2); !slices.Equal(ids(after), ids(before)) {
		t.Errorf("replicas %v became %v", ids(before), ids(after))
	}
	r.Settle()
	// What it leads it stops, too, and reads to the end.
	fn.Replicas = 0
	r.ensure(fn)
	r.ready(fn.Ref, 0)
	if log := r.logOf("lasting"); !strings.Contains(log, "said while nobody listened\n") {
		t.Errorf("log:\n%s", log)
	}
}

func TestWhatNobodyWantsIsCleared(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s, func(c *containerd.Config) { c.Standby = 0 })
	image := s.push(t, "answer:1", containerdtest.Answer(t))
	kept, lost := r.function(t, ref("kept"), image), r.function(t, ref("lost"), image)
	r.ensure(kept)
	r.ensure(lost)
	r.ready(kept.Ref, 1)
	r.ready(lost.Ref, 1)
	r.abandon()
	r.open()
	r.ensure(kept)
	r.Settle()
	survivor := r.ready(kept.Ref, 1)[0]
	containerdtest.Until(t, "only the container that is wanted is left", func() bool {
		return slices.Equal(r.containers(), []string{survivor.ID})
	})
}

func TestLifeAfterAReboot(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("phoenix"), s.push(t, "answer:1", containerdtest.Answer(t)), "ANSWER=risen")
	before := r.start(fn)
	r.abandon()
	// As after a reboot: containerd's records are there, and its data; no
	// process, no network, nothing in /run.
	s.Crash(r.c.RunDir)
	if err := os.RemoveAll(r.c.RunDir); err != nil {
		t.Fatal(err)
	}
	s.Start()
	r.open()
	r.ensure(fn)
	r.Settle()
	after := r.ready(fn.Ref, 1)[0]
	if _, text := r.call(after, "/"); text != "risen" {
		t.Errorf("it answers %q", text)
	}
	containerdtest.Until(t, "the container from before is cleared away", func() bool {
		return !slices.Contains(r.containers(), before.ID)
	})
}

func TestServesWhileContainerdIsAway(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("steady"), s.push(t, "answer:1", containerdtest.Answer(t)), "ANSWER=steady")
	replica := r.start(fn)
	s.Kill()
	if _, text := r.call(replica, "/"); text != "steady" {
		t.Errorf("without containerd it answers %q", text)
	}
	s.Start()
	fn.Replicas = 2
	r.ensure(fn)
	after := r.ready(fn.Ref, 2)
	if !slices.Contains(ids(after), replica.ID) {
		t.Errorf("%s is not among %v", replica.ID, ids(after))
	}
}

func TestKilledPartsAreReplaced(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "answer:1", containerdtest.Answer(t))
	for part, pid := range map[string]func(*rig, lofn.Replica) int{
		"first process": (*rig).pid,
		"shim":          func(r *rig, replica lofn.Replica) int { return containerdtest.Parent(t, r.pid(replica)) },
	} {
		t.Run(part, func(t *testing.T) {
			r := newRig(t, s)
			fn := r.function(t, ref("killed"), image)
			replica := r.start(fn)
			if err := unix.Kill(pid(r, replica), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.until(fn.Ref, "the replica is ready again", func(all []lofn.Replica) bool {
				return len(all) == 1 && all[0].State == lofn.Ready && all[0].Restarts > 0
			})
		})
	}
}
