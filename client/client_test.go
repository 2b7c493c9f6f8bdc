package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/client"
	"lofn/client/clienttest"
)

func newGateway(t *testing.T) *clienttest.Gateway {
	t.Helper()
	gateway := clienttest.NewGateway()
	t.Cleanup(gateway.Close)
	return gateway
}

func newClient(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesWhatIsNoGateway(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8080", "ftp://host", "http://", "://"} {
		if _, err := client.New(client.Config{URL: address}); lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("New(%q): got %v, want an error with code Invalid", address, err)
		}
	}
}

func TestDeployCreatesThenUpdates(t *testing.T) {
	c := newClient(t, client.Config{URL: newGateway(t).URL})
	deployment := lofn.Deployment{Service: "echo", Image: "echo:1", Namespace: "dev"}

	created, err := c.Deploy(t.Context(), deployment)
	if err != nil || !created {
		t.Fatalf("first deploy: got created=%v, %v", created, err)
	}
	deployment.Image = "echo:2"
	created, err = c.Deploy(t.Context(), deployment)
	if err != nil || created {
		t.Fatalf("second deploy: got created=%v, %v", created, err)
	}
	function, err := c.Function(t.Context(), lofn.Ref{Namespace: "dev", Name: "echo"})
	if err != nil || function.Image != "echo:2" {
		t.Fatalf("got %+v, %v", function, err)
	}
	if err := c.Create(t.Context(), deployment); lofn.CodeOf(err) != lofn.Exists {
		t.Errorf("create of what exists: got %v, want code Exists", err)
	}
}

func TestFunctionsOfANamespace(t *testing.T) {
	c := newClient(t, client.Config{URL: newGateway(t).URL})
	empty, err := c.Functions(t.Context(), "")
	if err != nil || empty == nil || len(empty) != 0 {
		t.Fatalf("got %v, %v, want an empty list", empty, err)
	}
	for _, namespace := range []string{"", "dev"} {
		if _, err := c.Deploy(t.Context(), lofn.Deployment{Service: "f", Image: "f", Namespace: namespace}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Functions(t.Context(), "dev")
	if err != nil || len(list) != 1 || list[0].Namespace != "dev" {
		t.Fatalf("got %+v, %v", list, err)
	}
	if err := c.Scale(t.Context(), lofn.Ref{Namespace: "dev", Name: "f"}, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(t.Context(), lofn.Ref{Namespace: "dev", Name: "f"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(t.Context(), lofn.Ref{Namespace: "dev", Name: "f"}); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("removing twice: got %v, want code NotFound", err)
	}
}

func TestSecretsKeepEveryByte(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	name := client.SecretName{Name: "key", Namespace: "dev"}
	for _, value := range []string{"plain", "two\nlines\n", "\x00\xff\xfe", ""} {
		_ = c.RemoveSecret(t.Context(), name)
		if err := c.CreateSecret(t.Context(), name, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, _ := gateway.Secret("dev", "key"); string(got) != value {
			t.Errorf("got %q, want %q", got, value)
		}
	}
	if err := c.CreateSecret(t.Context(), name, nil); lofn.CodeOf(err) != lofn.Exists {
		t.Errorf("got %v, want code Exists", err)
	}
	missing := client.SecretName{Name: "missing"}
	if err := c.UpdateSecret(t.Context(), missing, nil); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v, want code NotFound", err)
	}
	list, err := c.Secrets(t.Context(), "dev")
	if err != nil || len(list) != 1 || list[0] != name {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestNamespaces(t *testing.T) {
	c := newClient(t, client.Config{URL: newGateway(t).URL})
	if err := c.CreateNamespace(t.Context(), lofn.Namespace{Name: "dev", Labels: map[string]string{"team": "a"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateNamespace(t.Context(), lofn.Namespace{Name: "dev"}); lofn.CodeOf(err) != lofn.Exists {
		t.Errorf("got %v, want code Exists", err)
	}
	namespace, err := c.Namespace(t.Context(), "dev")
	if err != nil || namespace.Labels["team"] != "a" || namespace.Labels["openfaas"] != "1" || namespace.Annotations["openfaas"] != "1" {
		t.Errorf("got %+v, %v", namespace, err)
	}
	names, err := c.Namespaces(t.Context())
	if err != nil || len(names) != 2 {
		t.Errorf("got %v, %v", names, err)
	}
	if err := c.RemoveNamespace(t.Context(), "dev"); err != nil {
		t.Error(err)
	}
	if err := c.UpdateNamespace(t.Context(), lofn.Namespace{Name: "dev"}); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v, want code NotFound", err)
	}
}

func TestCredentials(t *testing.T) {
	gateway := newGateway(t)
	gateway.Require("admin", "s3cret")
	for name, test := range map[string]struct {
		config client.Config
		want   lofn.Code
	}{
		"none":  {client.Config{}, lofn.Unauthenticated},
		"wrong": {client.Config{User: "admin", Password: "no"}, lofn.Unauthenticated},
		"token": {client.Config{User: "admin", Password: "s3cret", Token: "t"}, lofn.Unauthenticated},
	} {
		test.config.URL = gateway.URL
		_, err := newClient(t, test.config).Functions(t.Context(), "")
		if lofn.CodeOf(err) != test.want || err.Error() != "invalid credentials" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	right := newClient(t, client.Config{URL: gateway.URL + "/", User: "admin", Password: "s3cret"})
	if _, err := right.Info(t.Context()); err != nil {
		t.Error(err)
	}
}

// Functions must not see the credentials of the control API.
func TestInvokeSendsNoCredentials(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL, Token: "secret"})
	if _, err := c.Deploy(t.Context(), lofn.Deployment{Service: "f", Image: "f"}); err != nil {
		t.Fatal(err)
	}
	res, err := c.Invoke(t.Context(), client.Call{
		Function: lofn.Ref{Name: "f"}, Path: "/sub", Query: url.Values{"a": {"1"}}, Method: http.MethodPut,
		Header: http.Header{"X-Test": {"yes"}}, Body: strings.NewReader("body"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, _ := io.ReadAll(res.Body)
	if want := "PUT /sub?a=1\nX-Test: yes\n\nbody"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The answer arrives while the body is still being sent.
func TestInvokeStreamsBothWays(t *testing.T) {
	c := newClient(t, client.Config{URL: echoServer(t)})
	reader, writer := io.Pipe()
	res, err := c.Invoke(t.Context(), client.Call{Function: lofn.Ref{Name: "f"}, Body: reader})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(writer, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != line {
			t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
	_ = writer.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}

func echoServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		buffer := make([]byte, 1024)
		for {
			n, err := r.Body.Read(buffer)
			_, _ = w.Write(buffer[:n])
			_ = control.Flush()
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestErrorsNameTheGateway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	_ = listener.Close()
	_, err = newClient(t, client.Config{URL: address}).Functions(t.Context(), "")
	if want := "cannot reach " + address + ": connection refused"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var unreachable *client.UnreachableError
	if !errors.As(err, &unreachable) || lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("got %#v, want an UnreachableError with code Unavailable", err)
	}
}

func TestDeadline(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := newClient(t, client.Config{URL: server.URL}).Info(ctx)
	if lofn.CodeOf(err) != lofn.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want code DeadlineExceeded", err)
	}
}

func TestAnswersOfOtherServers(t *testing.T) {
	for name, test := range map[string]struct {
		status      int
		contentType string
		body, want  string
		code        lofn.Code
	}{
		"web page":     {200, "text/html", "<html>", "is this the address of a gateway?", lofn.Internal},
		"web page 404": {404, "text/html; charset=utf-8", "<html>", "answered 404 Not Found with a web page", lofn.NotFound},
		"empty":        {501, "", "", "answered 501 Not Implemented", lofn.Unimplemented},
		"redirect":     {308, "", "", "points to https://elsewhere/", lofn.Internal},
		"long":         {500, "text/plain", strings.Repeat("x", 1<<20), "xxx", lofn.Internal},
		"unknown 4xx":  {418, "text/plain", "short and stout\n", "short and stout", lofn.Invalid},
		"broken JSON":  {200, "application/json", `[{"name":`, "closed", lofn.Unavailable},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", test.contentType)
			w.Header().Set("Location", "https://elsewhere/")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		_, err := newClient(t, client.Config{URL: server.URL}).Functions(t.Context(), "")
		server.Close()
		if err == nil || !strings.Contains(err.Error(), test.want) || lofn.CodeOf(err) != test.code || len(err.Error()) > 10_000 {
			t.Errorf("%s: got %.200v (code %d), want %q (code %d)", name, err, lofn.CodeOf(err), test.want, test.code)
		}
	}
}

func TestLogsOfAnyLength(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	if _, err := c.Deploy(t.Context(), lofn.Deployment{Service: "f", Image: "f"}); err != nil {
		t.Fatal(err)
	}
	long := string(bytes.Repeat([]byte("y"), 5<<20))
	start := time.Unix(1700000000, 5)
	for i, text := range []string{"first", long, "last"} {
		gateway.Log(lofn.LogMessage{
			Name: "f", Namespace: lofn.DefaultNamespace, Instance: "f-1", Text: text, Timestamp: start.Add(time.Duration(i)),
		})
	}
	query := lofn.LogQuery{Function: lofn.Ref{Name: "f"}, Since: start.Add(1)}
	var got []string
	for message, err := range c.Logs(t.Context(), query) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, message.Text)
	}
	if len(got) != 2 || got[0] != long || got[1] != "last" {
		t.Errorf("got %d lines, want the long and the last", len(got))
	}
}

func TestLogsFollow(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "f"}
	if _, err := c.Deploy(t.Context(), lofn.Deployment{Service: "f", Image: "f"}); err != nil {
		t.Fatal(err)
	}
	gateway.Log(lofn.LogMessage{Name: ref.Name, Namespace: ref.Namespace, Text: "one"})
	var got []string
	for message, err := range c.Logs(t.Context(), lofn.LogQuery{Function: ref, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, message.Text)
		if message.Text == "one" {
			gateway.Log(lofn.LogMessage{Name: ref.Name, Namespace: ref.Namespace, Text: "two"})
		} else if err := c.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(got, " ") != "one two" {
		t.Errorf("got %q", got)
	}
	for _, err := range c.Logs(t.Context(), lofn.LogQuery{Function: ref}) {
		if lofn.CodeOf(err) != lofn.NotFound {
			t.Errorf("logs of what was removed: got %v, want code NotFound", err)
		}
	}
}
