package containertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// request makes a request; status 0 means that there was no answer.
func (p *platform) request(method, path, body string) (status int, answer string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, p.URL+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	req.SetBasicAuth("admin", p.password)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// must makes a request that has to be answered with the status.
func (p *platform) must(status int, method, path, body string) string {
	p.Helper()
	got, answer := p.request(method, path, body)
	if got != status {
		p.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, got, answer, status)
	}
	return answer
}

// call calls a function, which must answer so.
func (p *platform) call(path, want string) {
	p.Helper()
	if got := p.must(200, "POST", "/function/"+path, ""); got != want {
		p.Errorf("%s answered %q, want %q", path, got, want)
	}
}

// deploy deploys a function, changed by the functions, and waits until it
// serves.
func (p *platform) deploy(service, image string, change ...func(*lofn.Deployment)) {
	p.Helper()
	p.must(202, "POST", "/system/functions", deployment(service, image, change...))
	p.serves(service, 1)
}

// redeploy deploys it anew.
func (p *platform) redeploy(service, image string, change ...func(*lofn.Deployment)) {
	p.Helper()
	p.must(202, "PUT", "/system/functions", deployment(service, image, change...))
}

func deployment(service, image string, change ...func(*lofn.Deployment)) string {
	d := lofn.Deployment{Service: service, Image: image, Annotations: map[string]string{}, Labels: map[string]string{}, EnvVars: map[string]string{}}
	for _, f := range change {
		f(&d)
	}
	return text(d)
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (p *platform) scale(service string, n int) {
	p.Helper()
	p.must(202, "POST", "/system/scale-function/"+service, fmt.Sprintf(`{"serviceName":%q,"replicas":%d}`, service, n))
}

// serves waits until that many replicas of what was deployed last serve, and no
// others are left.
func (p *platform) serves(service string, n int) {
	p.Helper()
	var s lofn.FunctionStatus
	defer func() {
		if p.Failed() {
			p.Logf("%s: %s", service, text(s))
		}
	}()
	p.Until(fmt.Sprintf("%d of %s serve", n, service), func() bool {
		s = p.status(service)
		for _, r := range s.Instances {
			if r.State != lofn.Ready || r.Generation != s.Generation {
				return false
			}
		}
		return len(s.Instances) == n && s.AvailableReplicas == uint64(n)
	})
}

func (p *platform) status(service string) (s lofn.FunctionStatus) {
	p.Helper()
	code, answer := p.request("GET", "/system/function/"+service+"?usage=1", "")
	if code != 200 {
		return s
	}
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		p.Fatal(err)
	}
	return s
}

// logs are the lines of a function's log.
func (p *platform) logs(service string) string {
	p.Helper()
	return p.must(200, "GET", "/system/logs?name="+service+"&tail=-1", "")
}

// push puts an image into the platform's registry and returns its name.
func (p *platform) push(image string, content v1.Image) string {
	p.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(p.URL, "http://")+"/"+image, name.Insecure)
	if err == nil {
		err = remote.Write(ref, content, remote.WithAuth(&authn.Basic{Username: "admin", Password: p.password}))
	}
	if err != nil {
		p.Fatal(err)
	}
	return image
}

// hostImage is the function of containerdtest.Answer for a process.
func hostImage(t *testing.T, env ...string) v1.Image {
	t.Helper()
	return containerdtest.Image(t, v1.Config{
		WorkingDir: lofn.AppDir, Labels: map[string]string{lofn.LabelRuntime: lofn.RuntimeHost},
		Env: append(env, "mode=http", "fprocess=./handler"),
	}, containerdtest.File{Path: "home/app/handler", Mode: 0o755, Content: containerdtest.Program(t, answerPackage)})
}

// forArchitecture changes an image's.
func forArchitecture(t *testing.T, image v1.Image, architecture string) v1.Image {
	t.Helper()
	file, err := image.ConfigFile()
	if err == nil {
		file = file.DeepCopy()
		file.Architecture = architecture
		image, err = mutate.ConfigFile(image, file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}
