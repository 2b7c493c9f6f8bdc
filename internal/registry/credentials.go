package registry

import (
	"encoding/json"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"lofn"
)

// keychain is the credentials that came with a call, and behind them those that
// are on the machine.
type keychain struct {
	auths map[string]authn.AuthConfig
}

// parseCredentials reads the file that docker login writes, of which Podman's
// has the same form. Programs that it names are not run: what a deployer gave
// does not choose what the platform executes.
func parseCredentials(text []byte) (*keychain, error) {
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
		Store string                      `json:"credsStore"`
	}
	if len(text) == 0 {
		return &keychain{}, nil
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "the registry credentials are not what docker login writes to config.json: %w", err)
	}
	if len(file.Auths) == 0 {
		why := "they have no auths in them"
		if file.Store != "" {
			why = "they are kept by the program " + file.Store + ", and only their owner can ask it"
		}
		return nil, lofn.Errorf(lofn.Invalid, "the registry credentials are of no use: %s: put {\"auths\": {\"REGISTRY\": {\"username\": …, \"password\": …}}} into the secret", why)
	}
	k := &keychain{auths: make(map[string]authn.AuthConfig)}
	for key, auth := range file.Auths {
		k.auths[normalKey(key)] = auth
	}
	return k, nil
}

// normalKey is the key of credentials as host[/path]: Docker once wrote URLs,
// and Docker Hub has several names.
func normalKey(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimRight(key, "/")
	for _, version := range []string{"/v1", "/v2"} {
		key = strings.TrimSuffix(key, version)
	}
	host, path, _ := strings.Cut(key, "/")
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		host = "index.docker.io"
	}
	return strings.TrimSuffix(host+"/"+path, "/")
}

// Resolve implements authn.Keychain. The longest key that the repository is at
// or below wins, as in Podman.
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for key := normalKey(target.String()); key != ""; {
		if auth, ok := k.auths[key]; ok {
			return authn.FromConfig(auth), nil
		}
		cut := strings.LastIndexByte(key, '/')
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return authn.DefaultKeychain.Resolve(target)
}
