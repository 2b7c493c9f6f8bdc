package registry_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// private lets in who has the password "right".
func private(w http.ResponseWriter, r *http.Request) bool {
	if user, password, _ := r.BasicAuth(); user == "me" && password == "right" {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

const (
	rightAuth = `{"username": "me", "password": "right"}`
	wrongAuth = `{"username": "me", "password": "wrong"}`
	// encodedAuth is me:right.
	encodedAuth = `{"auth": "bWU6cmlnaHQ="}`
)

func auths(pairs ...string) string {
	var fields []string
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, `"`+pairs[i]+`": `+pairs[i+1])
	}
	return `{"auths": {` + strings.Join(fields, ", ") + `}}`
}

// onMachine puts a file where docker login or podman login would, or nothing.
func onMachine(t *testing.T, path, content string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "DOCKER_CONFIG": "", "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": "", "REGISTRY_AUTH_FILE": ""} {
		t.Setenv(name, value)
	}
	if path == "" {
		return
	}
	path = filepath.Join(home, path)
	if filepath.Base(path) == "config.json" {
		t.Setenv("DOCKER_CONFIG", filepath.Dir(path)) // the client notes HOME once
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCredentials(t *testing.T) {
	const dockers, podmans = ".docker/config.json", ".config/containers/auth.json"
	for name, c := range map[string]struct {
		path, machine string
		call          string
		refused       bool
	}{
		"none":                                     {refused: true},
		"of the call":                              {call: auths("hub.example", rightAuth)},
		"of the call, encoded":                     {call: auths("hub.example", encodedAuth)},
		"by a URL":                                 {call: auths("https://hub.example/v1/", rightAuth)},
		"by the namespace, as Podman has them":     {call: auths("hub.example", wrongAuth, "hub.example/team", rightAuth)},
		"by the repository, as Podman has them":    {call: auths("hub.example/team", wrongAuth, "hub.example/team/echo", rightAuth)},
		"of another namespace":                     {call: auths("hub.example/other", rightAuth), refused: true},
		"of a namespace with a longer name":        {call: auths("hub.example/te", rightAuth), refused: true},
		"of another host":                          {call: auths("other.example", rightAuth), refused: true},
		"of the machine, by Docker":                {path: dockers, machine: auths("hub.example", rightAuth)},
		"of the machine, by Podman":                {path: podmans, machine: auths("hub.example", rightAuth)},
		"of the call before those of the machine":  {path: dockers, machine: auths("hub.example", wrongAuth), call: auths("hub.example", rightAuth)},
		"of the machine where the call's are none": {path: dockers, machine: auths("hub.example", rightAuth), call: auths("other.example", wrongAuth)},
		"of the call that are wrong":               {path: dockers, machine: auths("hub.example", rightAuth), call: auths("hub.example", wrongAuth), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			onMachine(t, c.path, c.machine)
			f := newFar(t, echo(t, 1))
			f.before = private
			image, err := f.images.ResolveWith(t.Context(), farName, []byte(c.call))
			if c.refused {
				if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "refuses access") {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			opened, err := f.images.Open(t.Context(), farName, image.Digest, []byte(c.call))
			if err != nil || len(opened.Manifest) == 0 {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

func TestCredentialsThatAreNone(t *testing.T) {
	onMachine(t, "", "")
	f := newFar(t, echo(t, 1))
	for text, says := range map[string]string{
		`me:right`:                   "docker login",
		`{"credsStore": "pass"}`:     "the program pass",
		`{}`:                         `{"auths"`,
		auths("hub", `{"auth":"%"}`): "docker login",
	} {
		_, err := f.images.ResolveWith(t.Context(), farName, []byte(text))
		if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), farName) {
			t.Errorf("%s: the error is %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "right") {
			t.Errorf("%s: the error tells a secret: %v", text, err)
		}
	}
}

// manifestOf answers with a manifest of a type.
func manifestOf(kind types.MediaType, text string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !manifestAsked(r) {
			return false
		}
		w.Header().Set("Content-Type", string(kind))
		_, _ = w.Write([]byte(text))
		return true
	}
}

func TestWhatIsNoImageForThisMachine(t *testing.T) {
	for name, c := range map[string]struct {
		kind types.MediaType
		text string
		says string
	}{
		"schema 1":            {types.DockerManifestSchema1Signed, `{"schemaVersion": 1, "name": "team/echo", "tag": "1"}`, "schema 1"},
		"for another machine": {types.OCIImageIndex, `{"schemaVersion": 2, "manifests": [{"platform": {"os": "plan9", "architecture": "mips"}}, {"platform": {"os": "unknown", "architecture": "unknown"}}]}`, "only for plan9/mips"},
	} {
		f := newFar(t, echo(t, 1))
		f.before = manifestOf(c.kind, c.text)
		_, err := f.images.Resolve(t.Context(), farName)
		if lofn.CodeOf(err) != lofn.Invalid || !strings.HasSuffix(err.Error(), c.says) && !strings.Contains(err.Error(), c.says+",") {
			t.Errorf("%s: the error is %v", name, err)
		}
		hash, _, err := v1.SHA256(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.images.Open(t.Context(), farName, hash.String(), nil); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), farName) {
			t.Errorf("%s: opened with %v", name, err)
		}
	}
}
