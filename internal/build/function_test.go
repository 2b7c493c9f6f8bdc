package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"lofn/internal/build"
)

// function is a built function as a provider would run it.
type function struct {
	root, dir string
	env       []string
	command   []string
}

// toolOf is the program without which a template cannot be built or run.
func toolOf(lang string) string {
	for prefix, tool := range map[string]string{"golang": "go", "python": "python3", "node": "node", "bash": "bash"} {
		if strings.HasPrefix(lang, prefix) {
			return tool
		}
	}
	return lang
}

func needs(t *testing.T, lang string) {
	t.Helper()
	if _, err := exec.LookPath(toolOf(lang)); err != nil {
		t.Skipf("needs %s on this machine", toolOf(lang))
	}
}

// workingFolder returns a folder with testdata/handlers/<lang> in it as fn.
func workingFolder(t *testing.T, lang string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "fn"), os.DirFS(filepath.Join("testdata", "handlers", lang))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openImages(t *testing.T) *build.Images {
	t.Helper()
	images, err := build.OpenImages(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// logLines passes a build's progress to the test's log.
type logLines struct{ t *testing.T }

func (l logLines) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func mustBuild(t *testing.T, req build.Request) build.Result {
	t.Helper()
	req.Log = logLines{t}
	result, err := build.Build(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// buildFunction builds testdata/handlers/<lang> and unpacks the image.
func buildFunction(t *testing.T, lang string) *function {
	t.Helper()
	needs(t, lang)
	images := openImages(t)
	result := mustBuild(t, build.Request{Name: "fn", Lang: lang, Handler: "./fn", Dir: workingFolder(t, lang), Images: images})
	return unpack(t, images, result.Image)
}

func unpack(t *testing.T, images *build.Images, name string) *function {
	t.Helper()
	image, err := images.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	f := &function{root: t.TempDir(), env: config.Config.Env}
	f.dir = filepath.Join(f.root, config.Config.WorkingDir)
	for _, pair := range f.env {
		if process, ok := strings.CutPrefix(pair, "fprocess="); ok {
			f.command = strings.Split(process, " ")
		}
	}
	extract(t, image, f.root)
	return f
}

func extract(t *testing.T, image v1.Image, root string) {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	for reader := tar.NewReader(stream); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(root, header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = errors.Join(os.MkdirAll(file, 0o755), os.Chmod(file, header.FileInfo().Mode()))
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, file)
		default:
			var data []byte
			if data, err = io.ReadAll(reader); err == nil {
				err = os.WriteFile(file, data, fs.FileMode(header.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *function) cmd(extra ...string) *exec.Cmd {
	name := f.command[0]
	if strings.HasPrefix(name, "./") {
		name = filepath.Join(f.dir, name)
	}
	cmd := exec.Command(name, f.command[1:]...)
	cmd.Dir = f.dir
	cmd.Env = append(append(os.Environ(), f.env...), extra...)
	return cmd
}

// server is a function's process that listens.
type server struct {
	*http.Client
	dial func() (net.Conn, error)
	cmd  *exec.Cmd
	log  *syncBuffer
	exit chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serve starts the function on a Unix socket.
func (f *function) serve(t *testing.T, env ...string) *server {
	t.Helper()
	folder, err := os.MkdirTemp("", "fn") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "s")
	return f.start(t, "unix", socket, append(env, "LOFN_SOCKET="+socket)...)
}

func (f *function) start(t *testing.T, network, address string, env ...string) *server {
	t.Helper()
	return start(t, f.cmd(env...), network, address)
}

// start runs a program that listens there, and waits until it does.
func start(t *testing.T, cmd *exec.Cmd, network, address string) *server {
	t.Helper()
	s := &server{log: &syncBuffer{}, cmd: cmd, exit: make(chan error, 1)}
	s.dial = func() (net.Conn, error) { return net.Dial(network, address) }
	s.Client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return s.dial() },
	}}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exit <- s.cmd.Wait() }()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log of the function:\n%s", s.log)
		}
	})
	eventually(t, "the function listens", func() bool {
		conn, err := s.dial()
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return s
}

func (s *server) call(t *testing.T, method, path string, body io.Reader, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://fn"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := s.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, data
}

// raw sends bytes as they are and returns the bytes of the answer up to the
// end of the connection.
func (s *server) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if closer, ok := conn.(interface{ CloseWrite() error }); ok {
		closer.CloseWrite()
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func (s *server) terminate(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func (s *server) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.exit:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the function does not end")
		return nil
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}
