package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
	"lofn/internal/app"
)

func TestFromPushToRemoval(t *testing.T) {
	marker := "marker=" + strconv.FormatInt(time.Now().UnixNano(), 36)
	p := newPlatform(t)
	p.start()
	if !p.FirstStart {
		t.Error("the first start does not say that it is one")
	}
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/secrets", `{"name":"token","value":"one\n"}`)
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "v1", marker[len("marker="):], "token"))
	if got := p.must(200, "POST", "/function/fn.openfaas-fn/x?y=z", " body"); got != "v1 body" {
		t.Errorf("the function answered %q", got)
	}
	if got := p.must(200, "GET", "/function/fn/secret/token", ""); got != "one\n" {
		t.Errorf("the secret is %q in the function", got)
	}

	p.must(202, "PUT", "/system/secrets", `{"name":"token","value":"two"}`)
	p.eventually("the changed secret reaches the running function", func() bool {
		_, got := p.do("GET", "/function/fn/secret/token", "")
		return got == "two"
	})

	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":3}`)
	p.eventually("three replicas are ready", func() bool { return status(p, "fn").AvailableReplicas == 3 })
	p.must(202, "PUT", "/system/functions", deployment("fn", "fn:latest", "v2", marker[len("marker="):], "token"))
	p.eventually("the update answers", func() bool {
		return p.must(200, "GET", "/function/fn", "") == "v2"
	})
	p.eventually("the old replicas are gone", func() bool {
		s := status(p, "fn")
		return len(s.Instances) == 3 && s.AvailableReplicas == 3 && s.Instances[0].Generation == s.Generation
	})

	logs := p.must(200, "GET", "/system/logs?name=fn&tail=-1", "")
	var line lofn.LogMessage
	if err := json.Unmarshal([]byte(strings.SplitN(logs, "\n", 2)[0]), &line); err != nil || line.Text != "function listens" || line.Instance == "" {
		t.Errorf("the first line of the log is %+v (%v)", line, err)
	}

	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":0}`)
	p.eventually("nothing runs", func() bool { return len(processesWith(marker)) == 0 })
	if got := p.must(200, "GET", "/function/fn", ""); got != "v2" {
		t.Errorf("woken, the function answered %q", got)
	}
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.eventually("nothing is left of the function", func() bool { return len(processesWith(marker)) == 0 })
	p.must(404, "GET", "/function/fn", "")

	if code := p.stop(); code != 0 {
		t.Errorf("after SIGTERM the exit code is %d", code)
	}
}

func TestUnusedImagesAreCollected(t *testing.T) {
	p := newPlatform(t)
	p.start()
	version := func(version string) func(*v1.Config, *v1.ConfigFile) {
		return func(c *v1.Config, _ *v1.ConfigFile) { c.Labels["version"] = version }
	}
	p.push("fn:latest", version("1"))
	p.push("fn:latest", version("2"))
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "v2", "unused"))
	p.push("fn:latest", version("3"))
	p.stop()
	p.ageImages()
	p.start()
	manifests := filepath.Join(p.data, "registry/docker/registry/v2/repositories/fn/_manifests/revisions/sha256/*/link")
	p.eventually("the version that is neither tagged nor deployed is gone", func() bool {
		left, err := filepath.Glob(manifests)
		return err == nil && len(left) == 2
	})
	// The deployed one can still be unpacked.
	p.stop()
	if err := os.RemoveAll(filepath.Join(p.data, "images")); err != nil {
		t.Fatal(err)
	}
	p.start()
	if got := p.must(200, "GET", "/function/fn", ""); got != "v2" {
		t.Errorf("the function answered %q", got)
	}
}

func status(p *platform, name string) lofn.FunctionStatus {
	p.Helper()
	var s lofn.FunctionStatus
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/function/"+name, "")), &s); err != nil {
		p.Fatal(err)
	}
	return s
}

// metrics returns those of the platform, or nothing if it does not answer.
func metrics(p *platform) string {
	resp, err := http.Get(p.MetricsURL + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return string(data)
}

func TestStoppingLetsCallsFinishAndEndsStreams(t *testing.T) {
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "done", ""))
	p.must(200, "GET", "/function/fn", "")

	follow, err := http.NewRequestWithContext(t.Context(), "GET", p.URL+"/system/logs?name=fn&follow=true&tail=-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	follow.SetBasicAuth(p.User, p.Password)
	stream, err := http.DefaultClient.Do(follow)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()

	body, finish := io.Pipe()
	answered := make(chan string)
	go func() {
		resp, err := http.Post(p.URL+"/function/fn", "text/plain", body)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		answered <- string(data)
	}()
	if _, err := io.WriteString(finish, " half"); err != nil {
		t.Fatal(err)
	}
	p.eventually("the call is under way", func() bool {
		return strings.Contains(metrics(p), `gateway_function_invocation_inflight{function_name="fn.openfaas-fn"} 1`)
	})
	stopped := make(chan int)
	go func() { stopped <- p.stop() }()
	p.eventually("no new call is taken", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the followed log did not end cleanly: %v", err)
	}
	if _, err := io.WriteString(finish, " and half"); err != nil {
		t.Fatal(err)
	}
	finish.Close()
	if got := <-answered; got != "done half and half" {
		t.Errorf("the call in flight was answered %q", got)
	}
	if code := <-stopped; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestWhatAStartTookIsReported(t *testing.T) {
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "here", ""))
	p.must(200, "GET", "/function/fn", "")
	instances := status(p, "fn").Instances
	if len(instances) != 1 || instances[0].Startup.Total() <= 0 {
		t.Errorf("instances: %+v", instances)
	}
	p.eventually("the start is counted", func() bool {
		return strings.Contains(metrics(p), `lofn_cold_start_seconds_count{function_name="fn.openfaas-fn",part="total"} 1`)
	})
}

func TestWhatCannotBeDeployedIsRefusedAndChangesNothing(t *testing.T) {
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	p.push("foreign:latest", func(_ *v1.Config, f *v1.ConfigFile) { f.Architecture = "s390x" })
	p.push("container:latest", func(c *v1.Config, _ *v1.ConfigFile) { c.Labels = nil })
	p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "v1", ""))
	for image, want := range map[string]string{
		"missing:latest":   "missing:latest",
		"foreign:latest":   "s390x",
		"container:latest": "container",
	} {
		status, answer := p.do("PUT", "/system/functions", deployment("fn", image, "v2", ""))
		if status != 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: got %d %q, want 400 with %q", image, status, answer, want)
		}
	}
	if got := p.must(200, "GET", "/function/fn", ""); got != "v1" {
		t.Errorf("after the refused updates the function answered %q", got)
	}
}

func TestWhatKeepsThePlatformFromStarting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	running := newPlatform(t)
	running.start()
	for name, tc := range map[string]struct {
		change func(*app.Options)
		want   []string
	}{
		"port taken":           {func(o *app.Options) { o.Listen = taken.Addr().String() }, []string{taken.Addr().String(), "address already in use", "another lofn", "--listen"}},
		"no port":              {func(o *app.Options) { o.Listen = "127.0.0.1" }, []string{"--listen 127.0.0.1: ", "missing port in address: choose", "such as 127.0.0.1:8080"}},
		"metrics port taken":   {func(o *app.Options) { o.MetricsListen = taken.Addr().String() }, []string{"--metrics-listen"}},
		"no such address":      {func(o *app.Options) { o.Listen = "nonsense" }, []string{"--listen nonsense"}},
		"data is a file":       {func(o *app.Options) { o.Data = file }, []string{file, "--data"}},
		"data folder is taken": {func(o *app.Options) { o.Data = running.data }, []string{running.data, "in use by another lofn"}},
		"unknown provider":     {func(o *app.Options) { o.Provider = "vm" }, []string{"--provider", "vm"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := app.Options{
				Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", Data: shortTempDir(t), Provider: "process",
				Release: "test", Commit: "test", Log: slog.New(slog.DiscardHandler),
				Ready: func(app.Info) { t.Error("it says that it serves") },
			}
			tc.change(&o)
			err := app.Run(context.Background(), o)
			if err == nil {
				t.Fatal("it started")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not mention %q", err, part)
				}
			}
		})
	}
	running.must(200, "GET", "/healthz", "")
}
