package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How a login proves who it is.
const (
	authBasic  = "basic"
	authBearer = "oauth2"
)

// login is an entry of the login file. The file is faas-cli's: logging in with
// one works for the other.
type login struct {
	Gateway string        `yaml:"gateway,omitempty"`
	Auth    string        `yaml:"auth,omitempty"`
	Token   string        `yaml:"token,omitempty"`
	Options []loginOption `yaml:"options,omitempty"`
}

type loginOption struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

func basicLogin(gateway, user, password string) login {
	token := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return login{Gateway: gateway, Auth: authBasic, Token: token}
}

func (l login) basic() (user, password string, err error) {
	decoded, err := base64.StdEncoding.DecodeString(l.Token)
	user, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return "", "", fmt.Errorf("the login file has broken credentials for %s: run \"lofn login --gateway %s\" again", l.Gateway, l.Gateway)
	}
	return user, password, nil
}

// logins is the login file as read.
type logins struct {
	path  string
	Auths []login `yaml:"auths"`
}

// openLogins reads the login file; a missing one is empty.
func (p *program) openLogins() (*logins, error) {
	path, err := p.loginPath()
	if err != nil {
		return nil, err
	}
	l := &logins{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the login file: %w", err)
	}
	if err := yaml.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("login file %s: %w; correct or remove it", path, err)
	}
	return l, nil
}

// loginPath is config.yml in OPENFAAS_CONFIG; where that is not set in
// .openfaas of the current folder under CI, else of the home folder.
func (p *program) loginPath() (string, error) {
	folder := p.Getenv("OPENFAAS_CONFIG")
	if ci := p.Getenv("CI"); folder == "" && (ci == "true" || ci == "1") {
		folder = ".openfaas"
	}
	if folder == "" {
		folder = "~/.openfaas"
	}
	if rest, ok := strings.CutPrefix(folder, "~"); ok && (rest == "" || rest[0] == '/') {
		home := p.Getenv("HOME")
		if home == "" {
			return "", errors.New("no login file: neither HOME nor OPENFAAS_CONFIG is set")
		}
		folder = home + rest
	}
	return filepath.Join(folder, "config.yml"), nil
}

func (l *logins) find(gateway string) (login, bool) {
	for _, entry := range l.Auths {
		if entry.Gateway == gateway {
			return entry, true
		}
	}
	return login{}, false
}

// put adds an entry or replaces that of the same gateway.
func (l *logins) put(entry login) {
	for i := range l.Auths {
		if l.Auths[i].Gateway == entry.Gateway {
			l.Auths[i] = entry
			return
		}
	}
	l.Auths = append(l.Auths, entry)
}

// remove reports whether there was an entry for the gateway.
func (l *logins) remove(gateway string) bool {
	for i := range l.Auths {
		if l.Auths[i].Gateway == gateway {
			l.Auths = append(l.Auths[:i], l.Auths[i+1:]...)
			return true
		}
	}
	return false
}

// save replaces the file in one step, readable by its owner only. A file that
// is a link stays one.
func (l *logins) save() error {
	var encoded bytes.Buffer
	encoder := yaml.NewEncoder(&encoded)
	encoder.SetIndent(2)
	if err := encoder.Encode(l); err != nil {
		return fmt.Errorf("encode the login file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("make the folder of the login file: %w", err)
	}
	path := l.path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := replaceFile(path, encoded.Bytes()); err != nil {
		return fmt.Errorf("write the login file: %w", err)
	}
	return nil
}

func replaceFile(path string, data []byte) error {
	// CreateTemp makes the file with mode 0600.
	file, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
