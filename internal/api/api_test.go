package api_test

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/api"
	"lofn/internal/auth/basic"
	"lofn/internal/pool"
	"lofn/internal/queue/ledger"
	queuemem "lofn/internal/queue/mem"
	"lofn/internal/scale"
	"lofn/internal/store/mem"
)

// nothingRuns is a platform whose functions have as many replicas as wanted,
// none of them ready.
type nothingRuns struct{ functions lofn.Store[lofn.Function] }

func (n nothingRuns) Wanted(ref lofn.Ref) int {
	record, err := n.functions.Get(context.Background(), ref)
	if err != nil {
		return 0
	}
	return record.Value.Replicas
}

func (n nothingRuns) Deployed(namespace string) (list []lofn.Function) {
	records, _ := n.functions.List(context.Background(), namespace)
	for _, record := range records {
		list = append(list, record.Value)
	}
	return list
}

func (nothingRuns) Await(context.Context, lofn.Ref, lofn.Revision, bool) {}
func (nothingRuns) Replicas(lofn.Ref) []lofn.Replica                     { return nil }
func (nothingRuns) Invocations(lofn.Ref) float64                         { return 3 }

// images resolves every name but missing:latest. What follows the colon is the
// image's max_inflight.
type images struct{}

func (images) Resolve(_ context.Context, fn lofn.Function) (lofn.Resolution, error) {
	if fn.Spec.Image == "missing:latest" {
		return lofn.Resolution{}, lofn.Errorf(lofn.Invalid, "image: %q does not exist", fn.Spec.Image)
	}
	_, tag, _ := strings.Cut(fn.Spec.Image, ":")
	image := lofn.Image{Env: []string{lofn.EnvMaxInflight + "=" + strings.TrimPrefix(tag, "latest")}}
	return lofn.Resolution{Digest: "sha256:" + fn.Spec.Image, Defaults: image.Defaults()}, nil
}

// oneLine is a log of one line for whoever asks.
type oneLine struct{}

func (oneLine) Logs(_ context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogLine, error] {
	return func(yield func(lofn.LogLine, error) bool) {
		yield(lofn.LogLine{Function: q.Function, Instance: "echo-1", Time: time.Unix(1, 5).UTC(), Text: "hello"}, nil)
	}
}

type server struct {
	*testing.T
	url       string
	functions lofn.Store[lofn.Function]
	secrets   lofn.Store[lofn.Secret]
	scaler    *alerted
	queue     *ledger.Ledger
}

func start(t *testing.T) server {
	t.Helper()
	s := server{T: t, functions: mem.New[lofn.Function](), secrets: mem.New[lofn.Secret](), scaler: &alerted{Scaler: scale.New(scale.Config{Pool: pool.New(pool.Config{})})}}
	var err error
	if s.queue, err = queuemem.New(lofn.DefaultQueueLimits, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.queue.Close(context.Background()) })
	namespaces := mem.New[lofn.Namespace]()
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: lofn.DefaultNamespace}
	if _, err := namespaces.Put(t.Context(), ref, lofn.Namespace{Name: ref.Name}, 0); err != nil {
		t.Fatal(err)
	}
	runs := nothingRuns{s.functions}
	ts := httptest.NewServer(api.New(api.Config{
		Functions: s.functions, Namespaces: namespaces, Secrets: s.secrets, Resolver: images{}, Logs: oneLine{},
		Replicas: runs, Scaler: s.scaler, Invocations: runs, Queue: s.queue, Auth: basic.Credentials{User: "admin", Password: "secret"},
		Info: lofn.Info{Arch: "x86_64"}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(ts.Close)
	s.url = ts.URL
	return s
}

// do makes a request with the right credentials.
func (s server) do(method, path, body string) (status int, answer string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.SetBasicAuth("admin", "secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// step is a request with the status and a part of the text of its answer.
type step struct {
	method, path, body string
	status             int
	contains           string
}

func (s server) run(steps []step) {
	s.Helper()
	for i, st := range steps {
		status, answer := s.do(st.method, st.path, st.body)
		if status != st.status || !strings.Contains(answer, st.contains) {
			s.Errorf("step %d: %s %s %s\n got %d %s\nwant %d with %q", i+1, st.method, st.path, st.body, status, answer, st.status, st.contains)
		}
	}
}

func TestFunctionsFromCreationToRemoval(t *testing.T) {
	start(t).run([]step{
		{"GET", "/system/functions", "", 200, "[]"},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:latest"}`, 404, `function "echo" does not exist`},
		{"POST", "/system/functions", `{"service":"echo","image":"echo:latest","labels":null,"network":"ignored"}`, 202, ""},
		{"POST", "/system/functions", `{"service":"echo","image":"echo:latest"}`, 409, "exists"},
		{"GET", "/system/functions", "", 200, `"invocationCount":3`},
		{"GET", "/system/function/echo", "", 200, `"labels":{},"annotations":{}`},
		{"GET", "/system/function/echo?namespace=openfaas-fn&usage=1", "", 200, `"digest":"sha256:echo:latest"`},
		{"GET", "/system/function/echo.openfaas-fn", "", 200, `"replicas":1`},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","envVars":{"a":"b"},"namespace":"openfaas-fn"}`, 202, ""},
		{"GET", "/system/function/echo", "", 200, `"image":"echo:2","envVars":{"a":"b"}`},
		{"GET", "/system/function/echo", "", 200, `"defaults":{"max_inflight":"2"}`},
		{"POST", "/system/scale-function/echo", `{"serviceName":"echo","replicas":4}`, 202, ""},
		{"GET", "/system/function/echo", "", 200, `"replicas":4`},
		{"POST", "/system/scale-function/echo?namespace=openfaas-fn", `{"replicas":0}`, 202, ""},
		{"GET", "/system/function/echo", "", 200, `"replicas":0`},
		{"DELETE", "/system/functions", `{"functionName":"echo"}`, 202, ""},
		{"DELETE", "/system/functions", `{"functionName":"echo"}`, 404, `function "echo" does not exist`},
		{"GET", "/system/function/echo", "", 404, `function "echo" does not exist`},
	})
}

func TestAnUpdateKeepsWhatItDoesNotName(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"POST", "/system/functions", `{"service":"echo","image":"echo:1"}`, 202, ""},
		{"POST", "/system/scale-function/echo", `{"replicas":5}`, 202, ""},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","labels":{"com.openfaas.scale.max":"3"}}`, 202, ""},
	})
	record, err := s.functions.Get(t.Context(), lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	fn := record.Value
	if fn.Generation != 2 || fn.Replicas != 3 || fn.CreatedAt.IsZero() || fn.Digest != "sha256:echo:2" {
		t.Errorf("after the update: %+v", fn)
	}
}

func TestBadDeploymentsChangeNothing(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"POST", "/system/functions", `{"service":"echo","image":"echo:1"}`, 202, ""},
		{"PUT", "/system/functions", ``, 400, "body: is empty"},
		{"PUT", "/system/functions", `{"service":"echo"`, 400, "not valid JSON"},
		{"PUT", "/system/functions", `{"service":"echo","image":5}`, 400, "image: must be a string, not a JSON number"},
		{"PUT", "/system/functions", `{"service":"echo","envVars":["a"]}`, 400, "envVars: must be an object"},
		{"PUT", "/system/functions", `{"image":"echo:2"}`, 400, "service: is required"},
		{"PUT", "/system/functions", `{"service":"echo"}`, 400, "image: is required"},
		{"PUT", "/system/functions", `{"service":"Echo","image":"echo:2"}`, 400, `such as "echo"`},
		{"PUT", "/system/functions", `{"service":"echo","image":"missing:latest"}`, 400, `"missing:latest" does not exist`},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","limits":{"memory":"lots"}}`, 400, "limits.memory"},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","envVars":{"max_inflight":"few"}}`, 400, `envVars: max_inflight: "few"`},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:few"}`, 400, `image: max_inflight: "few"`},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","annotations":{"lofn.dev/max-queue":"x"}}`, 400, "annotations: lofn.dev/max-queue"},
		{"PUT", "/system/functions", `{"service":"echo","image":"echo:2","secrets":["nope"]}`, 400, "lofn secret create nope"},
		{"POST", "/system/functions", `{"service":"x","image":"echo:2","namespace":"nowhere"}`, 400, "lofn namespace create nowhere"},
		{"POST", "/system/scale-function/echo", `{}`, 400, "replicas: is required"},
		{"POST", "/system/scale-function/echo", `{"replicas":-1}`, 400, "replicas: must be"},
		{"POST", "/system/scale-function/echo", `{"replicas":18446744073709551615}`, 400, "replicas: must be from 0"},
		{"POST", "/system/scale-function/echo", `{"serviceName":"other","replicas":1}`, 400, "path names"},
		{"POST", "/system/scale-function/nope", `{"replicas":1}`, 404, `function "nope"`},
		{"PATCH", "/system/functions", ``, 405, ""},
		{"GET", "/system/nothing", ``, 404, ""},
		{"GET", "/system/function/echo", "", 200, `"image":"echo:1"`},
		{"PUT", "/system/functions", `{"service":"echo","image":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "body"},
	})
}

func TestSecretsAndTheirValues(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"GET", "/system/secrets", "", 200, "[]"},
		{"PUT", "/system/secrets", `{"name":"token","value":"a"}`, 404, `secret "token"`},
		{"POST", "/system/secrets", `{"name":"token","value":"text","rawValue":"AAEC"}`, 202, ""},
		{"POST", "/system/secrets", `{"name":"token","value":"b"}`, 409, "exists"},
		{"POST", "/system/secrets", `{"name":"../x","value":"b"}`, 400, "secret name"},
		{"POST", "/system/secrets", `{"name":"x","value":"b","namespace":"nowhere"}`, 400, "namespace create nowhere"},
		{"POST", "/system/secrets", `{"name":"big","value":"` + strings.Repeat("x", 1<<20+1) + `"}`, 400, "at most 1048576"},
		{"GET", "/system/secrets?namespace=openfaas-fn", "", 200, `[{"name":"token","namespace":"openfaas-fn"}]`},
	})
	record, err := s.secrets.Get(t.Context(), lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "token"})
	if err != nil || string(record.Value.Value) != "\x00\x01\x02" {
		t.Errorf("stored %q (%v), want the raw value", record.Value.Value, err)
	}
	s.run([]step{
		{"PUT", "/system/secrets", `{"name":"token","value":" padded\n"}`, 202, ""},
		{"DELETE", "/system/secrets", `{"name":"token"}`, 202, ""},
		{"DELETE", "/system/secrets", `{"name":"token"}`, 404, `secret "token"`},
	})
}

func TestNamespaces(t *testing.T) {
	start(t).run([]step{
		{"GET", "/system/namespaces", "", 200, `["openfaas-fn"]`},
		{"POST", "/system/namespace/", `{"name":"staging","labels":{"openfaas":"1"}}`, 201, ""},
		{"POST", "/system/namespace/staging", `{"name":"staging"}`, 409, "exists"},
		{"POST", "/system/namespace/", `{"name":"kube-system"}`, 400, "reserved"},
		{"POST", "/system/namespace/", `{"name":"Bad"}`, 400, `such as "bad"`},
		{"POST", "/system/namespace/a", `{"name":"b"}`, 400, "path names"},
		{"GET", "/system/namespace/staging", "", 200, `{"name":"staging","labels":{"openfaas":"1"}}`},
		{"PUT", "/system/namespace/staging", `{"name":"staging","annotations":{"team":"x"}}`, 202, ""},
		{"GET", "/system/namespace/staging", "", 200, `"annotations":{"team":"x"}`},
		{"PUT", "/system/namespace/none", `{"name":"none"}`, 404, `"none"`},
		{"POST", "/system/functions", `{"service":"echo","image":"echo:1","namespace":"staging"}`, 202, ""},
		{"GET", "/system/functions?namespace=staging", "", 200, `"namespace":"staging"`},
		{"GET", "/system/functions", "", 200, `[]`},
		{"DELETE", "/system/namespace/staging", `{"name":"staging"}`, 409, "remove its 1 function first"},
		{"POST", "/system/functions", `{"service":"echo2","image":"echo:1","namespace":"staging"}`, 202, ""},
		{"POST", "/system/secrets", `{"name":"token","value":"a","namespace":"staging"}`, 202, ""},
		{"DELETE", "/system/namespace/staging", `{"name":"staging"}`, 409, "remove its 2 functions and 1 secret first"},
		{"DELETE", "/system/functions?namespace=staging", `{"functionName":"echo2"}`, 202, ""},
		{"DELETE", "/system/secrets", `{"name":"token","namespace":"staging"}`, 202, ""},
		{"DELETE", "/system/functions?namespace=staging", `{"functionName":"echo"}`, 202, ""},
		{"DELETE", "/system/namespace/staging", `{"name":"staging"}`, 202, ""},
		{"DELETE", "/system/namespace/staging", `{"name":"staging"}`, 404, `"staging"`},
		{"DELETE", "/system/namespace/openfaas-fn", `{}`, 400, "default"},
		{"GET", "/system/functions?namespace=staging", "", 404, `"staging"`},
	})
}

func TestLogs(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"GET", "/system/logs?name=echo", "", 404, `"echo"`},
		{"GET", "/system/logs", "", 400, "name: is required"},
		{"POST", "/system/functions", `{"service":"echo","image":"echo:1"}`, 202, ""},
		{"GET", "/system/logs?name=echo&tail=x", "", 422, "could not parse the log request"},
		{"GET", "/system/logs?name=echo&since=yesterday", "", 422, "could not parse the log request"},
	})
	status, body := s.do("GET", "/system/logs?name=other&name=echo&follow=0&tail=-1", "")
	var line lofn.LogMessage
	if err := json.Unmarshal([]byte(body), &line); status != 200 || err != nil {
		t.Fatalf("got %d %q (%v)", status, body, err)
	}
	want := lofn.LogMessage{Name: "echo", Namespace: "openfaas-fn", Instance: "echo-1", Timestamp: time.Unix(1, 5).UTC(), Text: "hello"}
	if line != want {
		t.Errorf("got %+v, want %+v", line, want)
	}
}

func TestOnlyHealthNeedsNoPassword(t *testing.T) {
	s := start(t)
	for path, want := range map[string]int{"/healthz": 200, "/system/functions": 401, "/system/info": 401, "/system/logs?name=x": 401} {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s without password: %d, want %d", path, resp.StatusCode, want)
		}
	}
	s.run([]step{{"GET", "/system/info", "", 200, `"arch":"x86_64"`}})
}
