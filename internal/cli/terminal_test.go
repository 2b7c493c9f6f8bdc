//go:build linux

package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"lofn/client/clienttest"
	"lofn/internal/cli"
)

// openTerminal returns both ends of a pseudo-terminal of 60 columns.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("unlock the pseudo-terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("open the pseudo-terminal: %v", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close(); _ = person.Close() })
	return person, program
}

// fwatchdogBeside puts the watchdog beside the program that this test is.
func fwatchdogBeside(t *testing.T) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(own), "fwatchdog")
	cmd := exec.Command("go", "build", "-o", file, "lofn/cmd/fwatchdog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Cleanup(func() { _ = os.Remove(file) })
}

// slowRegistry is a registry with an image bash:5, which sends half of a layer
// and the rest when it is told to go on.
func slowRegistry(t *testing.T, goOn <-chan struct{}) (host string) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			inner.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		inner.ServeHTTP(recorded, r)
		body := recorded.Body.Bytes()
		if len(body) < 1<<20 {
			_, _ = w.Write(body) // the configuration
			return
		}
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		_, _ = w.Write(body[len(body)/2:])
	}))
	t.Cleanup(server.Close)
	image, err := random.Image(1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	host = strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/bash:5")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return host
}

// How much of a base image has come is shown while it comes, and not kept.
func TestProgressOfABaseImage(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	fwatchdogBeside(t)
	goOn := make(chan struct{})
	host := slowRegistry(t, goOn)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("fn", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("fn/handler.sh", []byte("echo good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", dir)
	person, program := openTerminal(t)
	seen := make(chan bool, 1)
	go func() {
		var all []byte
		part := make([]byte, 4096)
		for shown := false; ; {
			n, err := person.Read(part)
			all = append(all, part[:n]...)
			// It goes on once the person has read how far it is.
			if !shown && bytes.Contains(all, []byte("base image: ")) && bytes.Contains(all, []byte(" of 1.0 MiB")) {
				shown = true
				close(goOn)
			}
			if err != nil {
				seen <- shown
				return
			}
		}
	}()
	var out strings.Builder
	code := cli.Main(t.Context(), cli.Env{
		Args:  []string{"build", "--name", "fn", "--handler", "fn", "--lang", "bash", "--runtime", "container", "--base", host + "/bash:5"},
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: program,
		Getenv: func(name string) string { return map[string]string{"HOME": dir}[name] },
	})
	_ = program.Close()
	if shown := <-seen; code != 0 || !shown || !strings.Contains(out.String(), "Built: fn (fn:latest") {
		t.Errorf("exit code %d, shown: %t, out %q", code, shown, out.String())
	}
}

// On a terminal a build is one line, drawn in place; when it fails, what the
// tools said is shown in full.
func TestProgressOnATerminal(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good/handler.sh", "echo good\n")
	write("bad/handler.sh", "if then\n")
	write("stack.yml", `
provider: {name: openfaas}
functions:
  good: {lang: bash, handler: ./good}
  bad: {lang: bash, handler: ./bad}
`)
	t.Setenv("XDG_DATA_HOME", dir)
	person, program := openTerminal(t)
	seen := make(chan string, 1)
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, person) // ends with an error when the other end closes
		seen <- all.String()
	}()
	var out strings.Builder
	code := cli.Main(t.Context(), cli.Env{
		Args: []string{"build", "--parallel", "1"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: program,
		Getenv: func(name string) string { return map[string]string{"HOME": dir}[name] },
	})
	_ = program.Close()
	screen := <-seen
	if code != 1 || !strings.Contains(out.String(), "Built: good (good:latest") {
		t.Errorf("exit code %d, out %q", code, out.String())
	}
	for _, want := range []string{"bad | ", "syntax error", "bad: not built: "} {
		if !strings.Contains(screen, want) {
			t.Errorf("the terminal does not show %q:\n%q", want, screen)
		}
	}
	if strings.Contains(screen, "good | ") {
		t.Errorf("the terminal shows the output of a build that went well:\n%q", screen)
	}
}

// On a terminal, what a start is waiting for is drawn in place, and gone in the
// end.
func TestAStartOnATerminal(t *testing.T) {
	gateway := clienttest.NewGateway()
	defer gateway.Close()
	reasons := make([]string, 7)
	for i := range reasons {
		reasons[i] = fmt.Sprintf("pulling slow:1: %d.0 of 8.0 MiB", i)
	}
	gateway.Start(reasons...)
	person, program := openTerminal(t)
	seen := make(chan string, 1)
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, person) // ends with an error when the other end closes
		seen <- all.String()
	}()
	var out strings.Builder
	code := cli.Main(t.Context(), cli.Env{
		Args: []string{"deploy", "--image", "slow:1", "--name", "slow", "--wait", "--gateway", gateway.URL}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: program,
		Getenv: func(name string) string { return map[string]string{"HOME": t.TempDir()}[name] },
	})
	_ = program.Close()
	screen := <-seen
	if code != 0 || !strings.Contains(out.String(), "Ready: slow (") {
		t.Errorf("exit code %d, out %q", code, out.String())
	}
	if !strings.Contains(screen, "slow  pulling slow:1: ") || strings.Contains(screen, "slow | ") {
		t.Errorf("the terminal shows %q", screen)
	}
	if !strings.HasSuffix(screen, "\x1b[J") {
		t.Errorf("something is left on the terminal: %q", screen)
	}
}
