package cli_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"lofn"
	"lofn/client/clienttest"
	"lofn/internal/cli"
)

// echoGateway answers every call with its body, line by line as it arrives.
func echoGateway(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			_, _ = io.WriteString(w, line)
			_ = control.Flush()
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// start runs a command line, whose standard input and output are returned.
func start(ctx context.Context, t *testing.T, gateway string, args ...string) (in io.WriteCloser, out *bufio.Reader, code <-chan int) {
	t.Helper()
	inReader, inWriter := io.Pipe()
	outReader, outWriter := io.Pipe()
	ended := make(chan int, 1)
	home := t.TempDir()
	go func() {
		code := cli.Main(ctx, cli.Env{
			Args: args, Stdin: inReader, Stdout: outWriter, Stderr: io.Discard,
			Getenv: func(name string) string { return map[string]string{"OPENFAAS_URL": gateway, "HOME": home}[name] },
		})
		_ = outWriter.Close()
		ended <- code
	}()
	return inWriter, bufio.NewReader(outReader), ended
}

// The body goes out while it is being written, and the answer is printed while
// it arrives.
func TestInvokeStreams(t *testing.T) {
	in, out, code := start(t.Context(), t, echoGateway(t), "invoke", "echo")
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(in, line); err != nil {
			t.Fatal(err)
		}
		if got, err := out.ReadString('\n'); got != line {
			t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
	_ = in.Close()
	if rest, _ := io.ReadAll(out); len(rest) != 0 {
		t.Errorf("got %q after the end", rest)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
}

// A user who interrupts a command is not told that something failed.
func TestInterrupt(t *testing.T) {
	gateway := clienttest.NewGateway()
	defer gateway.Close()
	deploy := cli.Env{
		Args: []string{"deploy", "--image", "f", "--name", "f", "-g", gateway.URL}, Stdin: strings.NewReader(""),
		Stdout: io.Discard, Stderr: os.Stderr, Getenv: func(string) string { return "/nonexistent" },
	}
	if code := cli.Main(t.Context(), deploy); code != 0 {
		t.Fatalf("deploy: exit code %d", code)
	}
	gateway.Log(lofn.LogMessage{Name: "f", Namespace: lofn.DefaultNamespace, Text: "line"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, out, code := start(ctx, t, gateway.URL, "logs", "f", "--time-format", "")
	if line, err := out.ReadString('\n'); line != "line\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	cancel()
	if got := <-code; got != 130 {
		t.Errorf("exit code %d, want 130", got)
	}
}

// An answer that breaks off is an error: half a file must not look like one.
func TestInvokeBrokenAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	var out, errs strings.Builder
	code := cli.Main(t.Context(), cli.Env{
		Args: []string{"invoke", "f", "-g", server.URL}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "/nonexistent" },
	})
	if code != 1 || out.String() != "half" || !strings.Contains(errs.String(), "f: the answer broke off after 4 bytes") {
		t.Errorf("exit code %d, out %q, err %q", code, out.String(), errs.String())
	}
}
