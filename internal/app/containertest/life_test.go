package containertest

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	hub "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

func annotated(name, value string) func(*lofn.Deployment) {
	return func(d *lofn.Deployment) { d.Annotations[name] = value }
}

func withEnv(name, value string) func(*lofn.Deployment) {
	return func(d *lofn.Deployment) { d.EnvVars[name] = value }
}

// TestLifeOfAContainer is what users do with one, from the deployment on.
func TestLifeOfAContainer(t *testing.T) {
	p := serving(t)
	var info lofn.Info
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/info", "")), &info); err != nil || info.Provider.Orchestration != "containerd" {
		t.Errorf("the platform says that it is %+v (%v)", info, err)
	}
	p.must(202, "POST", "/system/secrets", `{"name":"token","value":"s3cret"}`)
	image := p.push("answer:1", containerdtest.Answer(t, "ANSWER=hello"))
	p.deploy("fn", image, func(d *lofn.Deployment) {
		d.Secrets, d.Limits = []string{"token"}, &lofn.Resources{Memory: "48Mi"}
	})
	p.call("fn", "hello")
	p.call("fn/file"+lofn.SecretsPath+"/token", "s3cret")
	p.must(202, "PUT", "/system/secrets", `{"name":"token","value":"changed"}`)
	p.Until("the new secret is there", func() bool {
		_, answer := p.request("POST", "/function/fn/file"+lofn.SecretsPath+"/token", "")
		return answer == "changed"
	})
	p.must(200, "POST", "/function/fn/print", "a line of its own\n")
	p.Until("the log has what it wrote", func() bool { return strings.Contains(p.logs("fn"), "a line of its own") })
	s := p.status("fn")
	if s.Runtime != lofn.RuntimeContainer || s.Digest == "" || s.Usage == nil || s.Usage.TotalMemoryBytes == 0 {
		t.Errorf("describe: %s", text(s))
	}
	if startup := s.Instances[0].Startup; startup.Exec == 0 || startup.Listen == 0 || startup.Prepare == 0 {
		t.Errorf("describe does not say what the start took: %s", text(s))
	}

	p.scale("fn", 3)
	p.serves("fn", 3)
	p.runs(3)
	p.scale("fn", 0)
	p.runs(0)
	p.call("fn", "hello")
	p.serves("fn", 1)

	p.asynchronous("fn", "hello")
	p.outOfMemory("fn")

	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.runs(0)
	p.must(404, "POST", "/function/fn", "")
}

// asynchronous makes such a call and looks at its result.
func (p *platform) asynchronous(service, want string) {
	p.Helper()
	response, err := http.Post(p.URL+"/async-function/"+service, "text/plain", nil)
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	id := response.Header.Get(lofn.HeaderCallID)
	if response.StatusCode != 202 || id == "" {
		p.Fatalf("an asynchronous call: %s, %q", response.Status, id)
	}
	var code int
	var answer string
	p.Until("the call has a result", func() bool {
		code, answer = p.request("GET", "/async-function/calls/"+id+"/result", "")
		return code == 200
	})
	if answer != want {
		p.Errorf("the asynchronous call was answered %q", answer)
	}
}

// outOfMemory has a function use more than it may.
func (p *platform) outOfMemory(service string) {
	p.Helper()
	const told = "memory limit of 48Mi"
	if code, answer := p.request("POST", "/function/"+service+"/memory/200", ""); code < 500 {
		p.Errorf("a call that takes too much memory: %d %s", code, answer)
	}
	p.Until("describe tells of the memory", func() bool {
		s := p.status(service)
		return len(s.Instances) == 1 && strings.Contains(s.Instances[0].Reason, told)
	})
	if logs := p.logs(service); !strings.Contains(logs, told) {
		p.Errorf("the log does not tell of the memory:\n%s", logs)
	}
	p.call(service, "hello")
}

// TestProcessAndContainerCallEachOther has both in one platform, each of which
// calls the other one by the address that it is told.
func TestProcessAndContainerCallEachOther(t *testing.T) {
	p := serving(t)
	p.deploy("inside", p.push("inside:1", containerdtest.Answer(t, "ANSWER=container")))
	p.deploy("beside", p.push("beside:1", hostImage(t, "ANSWER=process")))
	for service, runtime := range map[string]string{"inside": lofn.RuntimeContainer, "beside": lofn.RuntimeProcess} {
		if got := p.status(service).Runtime; got != runtime {
			t.Errorf("%s is a %s, want %s", service, got, runtime)
		}
	}
	p.call("inside/get?http://gateway.openfaas:8080/function/beside", "process")
	p.call("inside/get?http://gateway:8080/function/beside", "process")
	gateway := p.must(200, "POST", "/function/beside/env/OPENFAAS_URL", "")
	p.call("beside/get?"+gateway+"/function/inside", "container")
	p.call("inside/get?"+p.must(200, "POST", "/function/inside/env/OPENFAAS_URL", "")+"/function/beside/get?"+gateway+"/function/inside", "container")
}

// TestPrivateRegistry deploys from one that asks who is there.
func TestPrivateRegistry(t *testing.T) {
	p := serving(t)
	registry := hub.New(hub.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "mine" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	image := host + "/private:1"
	pushPrivate(t, image, containerdtest.Answer(t, "ANSWER=private"))
	withSecret := annotated(lofn.AnnotationPullSecret, "hub")

	p.refuses(400, deployment("fn", image), image, lofn.AnnotationPullSecret)
	p.refuses(400, deployment("fn", image, withSecret), `"hub"`, lofn.AnnotationPullSecret)
	config := `{"auths":{"` + host + `":{"username":"me","password":"mine"}}}`
	p.must(202, "POST", "/system/secrets", text(lofn.SecretRequest{Name: "hub", Value: config}))
	p.deploy("fn", image, withSecret)
	p.call("fn", "private")
}

func pushPrivate(t *testing.T, image string, content v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err == nil {
		err = remote.Write(ref, content, remote.WithAuth(&authn.Basic{Username: "me", Password: "mine"}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refuses deploys what must be refused, with these parts in the answer.
func (p *platform) refuses(code int, deployment string, parts ...string) {
	p.Helper()
	got, answer := p.request("POST", "/system/functions", deployment)
	if got != code {
		p.Errorf("%s\nwas answered %d %s, want %d", deployment, got, answer, code)
	}
	for _, part := range parts {
		if !strings.Contains(answer, part) {
			p.Errorf("%s\nwas answered %q, in which %q is not", deployment, answer, part)
		}
	}
}
