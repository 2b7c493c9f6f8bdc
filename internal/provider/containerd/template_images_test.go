package containerd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn/internal/provider/containerd/containerdtest"
)

// The user that the official templates make, with the numbers that Alpine gives
// it.
const appUID, appGID = 100, 101

// templateImage returns an image as the Dockerfiles of the official templates
// make them: the watchdog, a user, its home with the function in it, and
// variables that say how the function runs.
func templateImage(t testing.TB, watchdog []byte, env []string, files ...containerdtest.File) v1.Image {
	t.Helper()
	config := v1.Config{
		User: "app", WorkingDir: "/home/app", Cmd: []string{"fwatchdog"},
		Env:          append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, env...),
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Healthcheck:  &v1.HealthConfig{Test: []string{"CMD-SHELL", "[ -e /tmp/.lock ] || exit 1"}, Interval: 5e9},
	}
	return containerdtest.Image(t, config, append([]containerdtest.File{
		{Path: "usr/bin/fwatchdog", Mode: 0o755, Content: watchdog},
		{Path: "etc/passwd", Mode: 0o644, Content: fmt.Appendf(nil, "root:x:0:0:root:/root:/bin/sh\napp:x:%d:%d:Linux User,,,:/home/app:/sbin/nologin\n", appUID, appGID)},
		{Path: "etc/group", Mode: 0o644, Content: fmt.Appendf(nil, "root:x:0:\napp:x:%d:app\n", appGID)},
		{Path: "tmp/", Mode: 0o1777},
		{Path: "home/app/", Mode: 0o755, UID: appUID, GID: appGID},
	}, files...)...)
}

// appFile is a file of the function in the user's home.
func appFile(name, content string) containerdtest.File {
	return containerdtest.File{Path: "home/app/" + name, Mode: 0o755, Content: []byte(content), UID: appUID, GID: appGID}
}

// busybox returns the machine's, with links for what functions here use.
func busybox(t testing.TB) []containerdtest.File {
	t.Helper()
	content, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("SKIPPED: %v: on Debian, apt install busybox-static", err)
	}
	files := []containerdtest.File{{Path: "bin/busybox", Mode: 0o755, Content: content}}
	for _, name := range []string{"sh", "cat", "env", "id", "pwd", "sleep", "wc"} {
		files = append(files, containerdtest.File{Path: "bin/" + name, Link: "busybox"})
	}
	return files
}

// interpreter is the machine's own, of the distribution: one in a home folder
// could need anything.
const interpreter = "/usr/bin/python3"

// listModules prints the files of the modules that a server needs.
const listModules = `
import sys, http.server, json, os, pwd, threading, urllib.parse, encodings.idna, encodings.latin_1
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None):
        print(module.__file__)
`

// python returns the interpreter with its libraries and modules, each where it is
// on the machine.
func python(t testing.TB) []containerdtest.File {
	t.Helper()
	program, err := filepath.EvalSymlinks(interpreter)
	if err != nil {
		t.Skipf("SKIPPED: %v: on Debian, apt install python3", err)
	}
	listed, err := exec.Command(interpreter, "-I", "-S", "-c", listModules).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []containerdtest.File{{Path: "usr/bin/python", Link: program}}
	seen := make(map[string]bool)
	for _, path := range append(strings.Fields(string(listed)), program) {
		for _, path := range append(libraries(path), path) {
			if content, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			} else if !seen[path] {
				seen[path] = true
				files = append(files, containerdtest.File{Path: strings.TrimPrefix(path, "/"), Mode: 0o755, Content: content})
			}
		}
	}
	return files
}

// libraries lists those that a program or module is linked with: none if it is
// no such file.
func libraries(path string) (list []string) {
	if strings.HasSuffix(path, ".py") {
		return nil
	}
	output, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil
	}
	for _, word := range strings.Fields(string(output)) {
		if filepath.IsAbs(word) {
			list = append(list, word)
		}
	}
	return list
}

// index is what stands between the watchdog and the handler in a template for
// mode http: a server on port 5000.
const index = `
import json, os, pwd
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from function import handler

class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        status, text = handler.handle(self, body.decode())
        self.send_response(status)
        self.send_header("X-Function", "index")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
    do_GET = do_POST

ThreadingHTTPServer(("127.0.0.1", 5000), Server).serve_forever()
`

// handler says what it was asked and as whom it runs.
const handler = `
import os, pwd, sys, threading

def handle(request, body):
    if request.path == "/hang":
        threading.Event().wait()
    if request.path == "/secret":
        return 200, open("/var/openfaas/secrets/key").read()
    if request.path == "/home":
        open("/home/app/kept", "w").write("x")
        return 200, os.getcwd()
    print("asked for", request.path, file=sys.stderr, flush=True)
    user = pwd.getpwuid(os.getuid()).pw_name
    return 201, f"{request.command} {request.path} {body} {user} {os.getgid()}"
`

// pythonImage is one of the python3-http kind.
func pythonImage(t testing.TB, watchdog []byte, env ...string) v1.Image {
	t.Helper()
	files := append(python(t), appFile("index.py", index), appFile("function/__init__.py", ""), appFile("function/handler.py", handler))
	return templateImage(t, watchdog, append([]string{
		"fprocess=python index.py", "cgi_headers=true", "mode=http", "upstream_url=http://127.0.0.1:5000",
	}, env...), files...)
}
