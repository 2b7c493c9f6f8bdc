package app_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
	"lofn/internal/app"
)

// whole makes an image one for containers.
func whole(c *v1.Config, _ *v1.ConfigFile) { c.Labels = nil }

// contained has the platform run containers, and returns the marker of all
// processes of its functions.
func (p *platform) contained() (marker string) {
	p.Helper()
	p.containers, p.inner = shortTempDir(p.T), innerAddress()
	marker = strconv.FormatInt(time.Now().UnixNano(), 36) + strconv.Itoa(rand.IntN(1000))
	p.Cleanup(func() {
		p.kill()
		for _, pid := range processesWith("marker=" + marker) {
			n, _ := strconv.Atoi(pid)
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	})
	return marker
}

// innerAddress is one of this machine that no other test uses.
func innerAddress() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(200), rand.IntN(250), 1+rand.IntN(250))
}

// pids are the processes of the platform's containers.
func (p *platform) pids() (list []int) {
	p.Helper()
	paths, err := filepath.Glob(filepath.Join(p.containers, "*.json"))
	if err != nil {
		p.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		var f found
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			p.Fatal(err)
		}
		list = append(list, f.PID)
	}
	slices.Sort(list)
	return list
}

// deployContained deploys fn in two containers.
func (p *platform) deployContained(marker string) {
	p.Helper()
	p.push("whole:latest", whole)
	p.must(202, "POST", "/system/functions", deployment("fn", "whole:latest", "v1", marker))
	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":2}`)
	p.eventually("the function serves", func() bool { return status(p, "fn").AvailableReplicas == 2 })
}

func TestBothRuntimesInOnePlatform(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.start()
	p.push("host:latest", nil)
	p.deployContained(marker)
	p.must(202, "POST", "/system/functions", deployment("host", "host:latest", "v1", marker))
	for name, runtime := range map[string]string{"fn": lofn.RuntimeContainer, "host": lofn.RuntimeProcess} {
		if got := p.must(200, "POST", "/function/"+name, " body"); got != "v1 body" {
			t.Errorf("%s answered %q", name, got)
		}
		if got := status(p, name).Runtime; got != runtime {
			t.Errorf("%s is a %q, want %q", name, got, runtime)
		}
	}
	if n := len(p.pids()); n != 2 {
		t.Errorf("there are %d containers", n)
	}
	var info lofn.Info
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/info", "")), &info); err != nil || info.Provider.Orchestration != "containerd" {
		t.Errorf("the platform says that it is %+v (%v)", info, err)
	}
	if got := p.must(200, "GET", "/system/function/fn?usage=1", ""); !strings.Contains(got, strconv.Itoa(detachedMemory)) {
		t.Errorf("what the containers use is not in %s", got)
	}
	status, answer := p.do("POST", "/system/functions", `{"service":"odd","image":"host:latest","annotations":{"lofn.dev/runtime":"container"}}`)
	if status != 400 || !strings.Contains(answer, lofn.AnnotationRuntime) {
		t.Errorf("a host image as a container: %d %s", status, answer)
	}
}

// TestTheRuntimeChangesUnderLoad deploys a function as a process, as a container
// and as a process again.
func TestTheRuntimeChangesUnderLoad(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.start()
	p.push("host:latest", nil)
	p.deployContained(marker)
	load := startLoad(p, 4)
	load.more(50)
	for _, next := range []struct {
		image, runtime string
		containers     int
	}{{"host:latest", lofn.RuntimeProcess, 0}, {"whole:latest", lofn.RuntimeContainer, 2}, {"host:latest", lofn.RuntimeProcess, 0}} {
		p.must(202, "PUT", "/system/functions", deployment("fn", next.image, "v1", marker))
		p.eventually("only the new runtime serves as a "+next.runtime, func() bool {
			s := status(p, "fn")
			return s.Runtime == next.runtime && s.AvailableReplicas == 2 && len(s.Instances) == 2 &&
				s.Instances[0].Generation == s.Generation && s.Instances[1].Generation == s.Generation && len(p.pids()) == next.containers
		})
		load.more(50)
	}
	load.end()
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.eventually("nothing is left", func() bool { return len(processesWith("marker="+marker)) == 0 })
}

// TestContainersOutliveThePlatform stops it in order, and kills it.
func TestContainersOutliveThePlatform(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.start()
	p.deployContained(marker)
	before := p.pids()
	for _, end := range []struct {
		how string
		end func()
	}{
		{"stopped", func() {
			if code := p.stop(); code != 0 {
				t.Errorf("the stop ended with %d:\n%s", code, p.stderr.String())
			}
		}},
		{"killed", p.kill},
	} {
		end.end()
		for _, pid := range before {
			if isGone(pid) {
				t.Fatalf("a container ended when the platform was %s", end.how)
			}
		}
		p.start()
		p.eventually("they are adopted", func() bool { return status(p, "fn").AvailableReplicas == 2 })
		if got := p.must(200, "POST", "/function/fn", "!"); got != "v1!" {
			t.Errorf("after it was %s the function answered %q", end.how, got)
		}
		if after := p.pids(); !slices.Equal(after, before) {
			t.Errorf("after it was %s the containers are %v, not %v", end.how, after, before)
		}
	}
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.eventually("they end with their function", func() bool { return len(processesWith("marker="+marker)) == 0 })
}

// TestUpgradesKeepContainers upgrades under load, once in vain.
func TestUpgradesKeepContainers(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	before := p.pids()
	load := startLoad(p, 4)
	load.more(50)
	long := p.begin()
	olds := []int{p.upgrade()}
	load.more(50)
	p.script("exit 3")
	p.hup()
	p.eventually("the upgrade failed", func() bool { return strings.Contains(p.stderr.String(), "the upgrade failed") })
	p.install(os.Args[0])
	load.more(50)
	olds = append(olds, p.upgrade())
	load.more(50)
	long.finish()
	load.end()
	for _, old := range olds {
		p.eventually("the processes before are gone", func() bool { return isGone(old) })
	}
	if after := p.pids(); !slices.Equal(after, before) {
		t.Errorf("the containers are %v, not %v", after, before)
	}
	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":1}`)
	p.eventually("the last process leads them", func() bool { return len(p.pids()) == 1 })
}

// TestAProcessThatTookBackLeadsItsContainers has an upgrade fail after the data
// was handed over.
func TestAProcessThatTookBackLeadsItsContainers(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	before := p.pids()
	// The new process adopts the containers, and waits for this one's process.
	p.push("host:latest", nil)
	p.must(202, "POST", "/system/functions", deployment("host", "host:latest", "v1", marker))
	p.must(200, "POST", "/function/host", "")
	load := startLoad(p, 2)
	killInTheMiddle(p, load)
	load.more(50)
	load.end()
	if after := p.pids(); !slices.Equal(after, before) {
		t.Errorf("the containers are %v, not %v", after, before)
	}
	p.eventually("changes are taken again", func() bool {
		code, _ := p.do("POST", "/system/scale-function/fn", `{"replicas":3}`)
		return code == 202
	})
	p.eventually("it starts more", func() bool { return len(p.pids()) == 3 && status(p, "fn").AvailableReplicas == 3 })
}

// plant runs a container that no function claims.
func (p *platform) plant(marker string) (pid int) {
	p.Helper()
	d := &detached{dir: p.containers, digests: make(map[string]string)}
	fn := lofn.Function{Ref: lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "orphan"}}
	fn.Spec.Env = map[string]string{"marker": marker}
	i, err := starter{d}.Start(p.Context(), fn, "orphan-1", nil)
	if err != nil {
		p.Fatal(err)
	}
	return i.(*process).PID
}

func TestOrphansAreRemovedWhenNobodyCanHaveThem(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	p.stop()
	orphan := p.plant(marker)
	p.start()
	p.eventually("the orphan is gone", func() bool { return isGone(orphan) })

	long := p.begin()
	orphan = p.plant(marker)
	first := p.upgrade()
	p.must(200, "POST", "/function/fn", "")
	if isGone(orphan) {
		t.Error("a container was removed that the process before may have")
	}
	long.finish()
	p.eventually("the process before is gone", func() bool { return isGone(first) })
	p.eventually("the orphan is gone", func() bool { return isGone(orphan) })
	p.eventually("those of the function are left", func() bool { return len(p.pids()) == 2 })
}

// TestContainersCallThePlatform calls it where containers do, before and after
// an upgrade.
func TestContainersCallThePlatform(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	visit := "/function/fn/visit?url=" + url.QueryEscape("http://"+p.inner+":8080/function/fn")
	for range 2 {
		if got := p.must(200, "POST", visit, "?"); got != "v1?" {
			t.Errorf("by way of the platform the function answered %q", got)
		}
		p.upgrade()
	}
	if got := p.must(200, "POST", visit, "!"); got != "v1!" {
		t.Errorf("by way of the platform the function answered %q", got)
	}
	other := newPlatform(t)
	other.containers, other.inner = shortTempDir(t), p.inner
	said := other.startInVain()
	if !strings.Contains(said, p.inner+":8080") || !strings.Contains(said, "--container-subnet") {
		t.Errorf("a second platform with the same address says %q", said)
	}
}

func TestWhereContainersReachThePlatform(t *testing.T) {
	gateway := netip.MustParseAddr(innerAddress())
	inner := net.JoinHostPort(gateway.String(), "8080")
	for _, c := range []struct {
		listen  string
		gateway netip.Addr
		overTLS bool
		want    string
		says    string
	}{
		{"127.0.0.1:0", gateway, false, inner, ""},
		{"127.0.0.1:0", gateway, true, inner, ""},
		{"127.0.0.1:0", netip.Addr{}, false, "", ""},
		{inner, gateway, false, "", ""},
		{inner, gateway, true, "", "choose an address with another port for TLS"},
	} {
		got, err := app.Reach(c.listen, c.gateway, c.overTLS)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
	// An address that this machine does not have yet.
	if got, err := app.Reach("127.0.0.1:0", netip.MustParseAddr("192.0.2.1"), false); err != nil || got != "192.0.2.1:8080" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestWithoutContainers deploys a container where there are none, and one where
// there were.
func TestWithoutContainers(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.start()
	p.deployContained(marker)
	p.stop()
	p.containers = ""
	p.start()
	code, answer := p.do("POST", "/system/functions", deployment("new", "whole:latest", "v1", marker))
	if code != 400 || !strings.Contains(answer, "--provider containerd") {
		t.Errorf("a container where there are none: %d %s", code, answer)
	}
	p.eventually("the function says what it needs", func() bool {
		s := status(p, "fn")
		return len(s.Instances) > 0 && s.Instances[0].State == lofn.Failed && strings.Contains(s.Instances[0].Reason, "--provider containerd")
	})
	if logs := p.must(200, "GET", "/system/logs?name=fn", ""); !strings.Contains(logs, "--provider containerd") {
		t.Errorf("the log does not say what it needs: %s", logs)
	}
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
}
