package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"lofn"
)

func describeMachine(p *platform) {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release := "unknown"
	if info, err := p.Info(context.Background()); err == nil {
		release = info.Version.Release
	}
	fmt.Printf("lofn %s on %s, %d cores, %s/%s. The load generator shares the machine.\n\n", release, model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}

// measureCalls loads the function on its own socket, through nginx and through
// the gateway, in turn and in several rounds.
func measureCalls(ctx context.Context, p *platform, o options) error {
	status, err := p.Function(ctx, benchRef())
	if err != nil {
		return err
	}
	if len(status.Instances) == 0 {
		return fmt.Errorf("the platform lists no instance of %s", benchRef())
	}
	own := target{name: "the function's own socket", network: status.Instances[0].Network, address: status.Instances[0].Address, path: "/"}
	// The platform may reach the socket through a folder that it keeps open,
	// which is its own under this name.
	own.address = strings.Replace(own.address, "/proc/self/", fmt.Sprintf("/proc/%d/", p.process.Process.Pid), 1)
	gateway, err := url.Parse(p.url)
	if err != nil {
		return err
	}
	targets := []target{own, {name: "lofn's gateway", network: "tcp", address: gateway.Host, path: "/function/bench"}}
	proxy, err := startNginx(ctx, p.dir, own)
	if err != nil {
		return err
	}
	if proxy != nil {
		defer proxy.stop()
		targets = append(targets, target{name: "nginx as reverse proxy", network: "tcp", address: proxy.address, path: "/"})
	}
	for _, connections := range []int{1, o.connections} {
		if err := compare(ctx, targets, connections, o); err != nil {
			return err
		}
	}
	if proxy == nil {
		fmt.Print("nginx is not installed, so it was not measured.\n\n")
	}
	return nil
}

// compare prints a table of the targets; ratios are to the first.
func compare(ctx context.Context, targets []target, connections int, o options) error {
	rounds := make([][]result, len(targets))
	for range o.rounds {
		for i, t := range targets {
			r, err := load(ctx, t, connections, o.duration)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], r)
		}
	}
	fmt.Printf("### Calls, %s\n\nA Go function that answers `ok`; %d rounds of %s for each, the median round counts.\n\n", counted(connections, "connection"), o.rounds, o.duration)
	fmt.Println("| Way to the function | calls/s | of the first | p50 | p99 |")
	fmt.Println("|---|---:|---:|---:|---:|")
	first := median(rounds[0])
	for i, t := range targets {
		r := median(rounds[i])
		fmt.Printf("| %s | %.0f | %.0f %% | %s | %s |\n", t.name, r.rate(), 100*r.rate()/first.rate(), micro(r.p50), micro(r.p99))
	}
	fmt.Println()
	return nil
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func micro(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// measureColdCalls times calls to a function that has no replica.
func measureColdCalls(ctx context.Context, p *platform, o options) error {
	gateway, err := url.Parse(p.url)
	if err != nil {
		return err
	}
	cold := target{name: "a cold call", network: "tcp", address: gateway.Host, path: "/function/bench"}
	var times []time.Duration
	for range o.coldCalls {
		if err := p.Scale(ctx, benchRef(), 0); err != nil {
			return err
		}
		if _, err := p.ready(ctx, benchRef(), 0); err != nil {
			return err
		}
		r, err := load(ctx, cold, 1, 0)
		if err != nil {
			return err
		}
		times = append(times, r.p50)
	}
	slices.Sort(times)
	fmt.Printf("### Cold calls\n\n%d calls to the same function at zero replicas, each until its answer was complete: median %s, slowest %s.\n\n",
		len(times), times[len(times)/2].Round(100*time.Microsecond), times[len(times)-1].Round(100*time.Microsecond))
	return nil
}

// measureDeployments deploys many functions of the same image, and asks the
// kernel what they cost.
func measureDeployments(ctx context.Context, p *platform, o options) error {
	before, err := memoryOf(p.process.Process.Pid)
	if err != nil {
		return err
	}
	refs := make([]lofn.Ref, o.functions)
	accepted := make([]time.Duration, o.functions)
	start := time.Now()
	for i := range refs {
		refs[i] = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("bench-%d", i)}
		began := time.Now()
		if err := p.Create(ctx, lofn.Deployment{Service: refs[i].Name, Namespace: refs[i].Namespace, Image: p.image}); err != nil {
			return err
		}
		accepted[i] = time.Since(began)
	}
	if err := p.allReady(ctx, refs); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := memoryOf(p.process.Process.Pid)
	if err != nil {
		return err
	}
	slices.Sort(accepted)
	n := float64(o.functions)
	fmt.Printf("### %d functions of one image\n\nDeployed one after the other, each with one replica.\n\n| | |\n|---|---:|\n", o.functions)
	fmt.Printf("| a deployment accepted and on disk, median | %s |\n", accepted[len(accepted)/2].Round(100*time.Microsecond))
	fmt.Printf("| all deployed and ready | %s, %s each |\n", took.Round(10*time.Millisecond), (took / time.Duration(o.functions)).Round(100*time.Microsecond))
	fmt.Printf("| memory of a function's processes (PSS) | %s |\n", mebibytes(float64(after.functions-before.functions)/n))
	fmt.Printf("| memory of the platform for each function (PSS) | %s |\n", mebibytes(float64(after.platform-before.platform)/n))
	fmt.Printf("| memory of the platform (PSS), with %d functions and with 1 | %s, %s |\n\n", o.functions+1, mebibytes(float64(after.platform)), mebibytes(float64(before.platform)))
	return nil
}

// allReady waits for one available replica of each function, looking at one
// after the other, so that looking is not what takes the time.
func (p *platform) allReady(ctx context.Context, refs []lofn.Ref) error {
	for _, ref := range refs {
		if _, err := p.ready(ctx, ref, 1); err != nil {
			return err
		}
	}
	return nil
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.2f MiB", bytes/(1<<20)) }
