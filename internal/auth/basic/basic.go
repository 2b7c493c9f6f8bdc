// Package basic authenticates with one user and password over HTTP Basic
// (RFC 7617), kept in two files as the OpenFaaS contract names them.
package basic

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"lofn/internal/auth"
)

const (
	userFile     = "basic-auth-user"
	passwordFile = "basic-auth-password"
	defaultUser  = "admin"
)

// Credentials is the one pair that is accepted.
type Credentials struct {
	User, Password string
	// Generated is set if the password was made by this Load.
	Generated bool
}

// Load reads the credentials from the folder; what is missing is generated and
// written with mode 0600. Somebody who has read access to the folder can log in.
func Load(dir string) (Credentials, error) {
	user, _, err := readOrCreate(filepath.Join(dir, userFile), func() string { return defaultUser })
	if err != nil {
		return Credentials{}, err
	}
	// rand.Text has at least 128 bits of randomness.
	password, generated, err := readOrCreate(filepath.Join(dir, passwordFile), rand.Text)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{User: user, Password: password, Generated: generated}, nil
}

func readOrCreate(path string, generate func() string) (value string, created bool, err error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		value = generate()
		return value, true, create(path, value)
	case err != nil:
		return "", false, err
	}
	value = strings.TrimSpace(string(data))
	if value == "" {
		return "", false, fmt.Errorf("%s is empty: write the value into it, or delete it to have one generated", path)
	}
	return value, false, nil
}

// create writes the file whole or not at all, so that a crash half-way does
// not leave an empty password.
func create(path, value string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(value + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// Authenticate accepts the credentials in the request's Authorization header,
// in a time that does not depend on how much of them is right.
func (c Credentials) Authenticate(w http.ResponseWriter, r *http.Request) (auth.Identity, bool) {
	user, password, ok := r.BasicAuth()
	if same(user, c.User)&same(password, c.Password) == 1 && ok {
		return auth.Identity{Subject: user, Method: "basic"}, true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="Restricted"`)
	http.Error(w, "invalid credentials", http.StatusUnauthorized)
	return auth.Identity{}, false
}

func same(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}
