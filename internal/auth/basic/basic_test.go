package basic_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/auth"
	"lofn/internal/auth/basic"
)

func TestLoadGeneratesOnceAndKeeps(t *testing.T) {
	dir := t.TempDir()
	first, err := basic.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Generated || first.User != "admin" || len(first.Password) < 20 {
		t.Errorf("first load: %+v", first)
	}
	second, err := basic.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second.Generated || second.Password != first.Password {
		t.Error("the second load did not keep the first one's password")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 2 {
		t.Errorf("files: %v, want two", files)
	}
	for _, f := range files {
		if info, _ := os.Stat(f); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f, info.Mode())
		}
	}
}

func TestLoadRefusesAnEmptyPassword(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "basic-auth-password")
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := basic.Load(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error naming %s", err, path)
	}
}

func TestAuthenticate(t *testing.T) {
	c := basic.Credentials{User: "admin", Password: "s3cret"}
	seen := auth.Identity{}
	h := auth.Require(c, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = auth.From(r.Context()) }))
	for _, tc := range []struct {
		name, user, password string
		want                 int
	}{
		{"right", "admin", "s3cret", 200},
		{"wrong password", "admin", "S3cret", 401},
		{"wrong user", "root", "s3cret", 401},
		{"empty", "", "", 401},
	} {
		r := httptest.NewRequest("GET", "/system/functions", nil)
		r.SetBasicAuth(tc.user, tc.password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%s: status %d, want %d", tc.name, w.Code, tc.want)
		}
		if got := w.Header().Get("WWW-Authenticate"); tc.want == 401 && got != `Basic realm="Restricted"` {
			t.Errorf("%s: WWW-Authenticate is %q", tc.name, got)
		}
	}
	if seen.Subject != "admin" || seen.Method != "basic" {
		t.Errorf("the handler saw %+v", seen)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 401 || w.Body.String() != "invalid credentials\n" {
		t.Errorf("without header: %d %q", w.Code, w.Body)
	}
}
