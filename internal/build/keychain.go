package build

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"lofn"
)

// keychain finds credentials where docker login leaves them, with credential
// helpers, or else where podman, buildah and skopeo do.
func keychain() authn.Keychain {
	return authn.NewMultiKeychain(authn.DefaultKeychain, podmanKeychain{})
}

// podmanKeychain reads auth.json. The library's keychain does so only if there
// is no file of Docker's at all.
type podmanKeychain struct{}

// authFile is where containers-auth.json(5) says.
func authFile() string {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return file
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		file := filepath.Join(dir, "containers", "auth.json")
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "containers", "auth.json")
}

// Resolve returns the credentials of the longest key that the name begins with:
// keys may have parts of a repository's name after the host's.
func (podmanKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	data, err := os.ReadFile(authFile())
	if errors.Is(err, fs.ErrNotExist) {
		return authn.Anonymous, nil
	}
	var file struct {
		Auths map[string]struct {
			Auth string `json:"auth"`
		} `json:"auths"`
	}
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s: %w", authFile(), err)
	}
	for key := strings.Replace(r.String(), "index.docker.io/", "docker.io/", 1); key != ""; key = parent(key) {
		entry, ok := file.Auths[key]
		if !ok {
			continue
		}
		plain, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, found := strings.Cut(string(plain), ":")
		if err != nil || !found {
			return nil, lofn.Errorf(lofn.Invalid, "%s: the entry of %s is damaged: log in again", authFile(), key)
		}
		return authn.FromConfig(authn.AuthConfig{Username: user, Password: password}), nil
	}
	return authn.Anonymous, nil
}

var _ authn.Keychain = podmanKeychain{}

// parent cuts the last part off, "" if there is only one.
func parent(key string) string {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return ""
	}
	return key[:i]
}
