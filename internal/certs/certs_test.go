package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lofn/internal/certs"
)

// files are a certificate and its key.
type files struct{ cert, key string }

// issue writes a certificate for the names, good from an hour ago until then.
func (f files) issue(t *testing.T, serial int64, until time.Duration, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv6loopback},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	write(t, f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// write replaces a file as those do who renew certificates.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func serial(t *testing.T, c *tls.Config) int64 {
	t.Helper()
	cert, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.SerialNumber.Int64()
}

func TestARenewalNeedsNoRestart(t *testing.T) {
	f := newFiles(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f.issue(t, 1, 24*time.Hour, "faas.example.org")
		loaded, err := certs.Load(f.cert, f.key, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		config := loaded.Config()
		expect := func(want int64, says string) {
			t.Helper()
			time.Sleep(2 * time.Second) // of the bubble's clock
			log.Reset()
			if got := serial(t, config); got != want || !strings.Contains(log.String(), says) {
				t.Errorf("serial %d, want %d; the log, which should say %q: %s", got, want, says, log.String())
			}
			log.Reset()
			time.Sleep(2 * time.Second)
			if serial(t, config) != want || log.Len() > 0 {
				t.Errorf("it was read again though nothing changed: %s", log.String())
			}
		}
		expect(1, "")
		f.issue(t, 2, 24*time.Hour, "faas.example.org")
		expect(2, "was renewed")
		write(t, f.key, []byte("half a ke"))
		expect(2, "is not used")
		if err := os.Remove(f.cert); err != nil {
			t.Fatal(err)
		}
		expect(2, "no such file")
		f.issue(t, 3, -time.Minute)
		expect(2, "expired")
		f.issue(t, 4, 24*time.Hour)
		expect(4, "was renewed")
	})
}

func TestBadFilesAreNamed(t *testing.T) {
	good, other := newFiles(t), newFiles(t)
	good.issue(t, 1, time.Hour)
	other.issue(t, 2, time.Hour)
	old := newFiles(t)
	old.issue(t, 3, -time.Minute)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	write(t, empty, nil)
	for _, tc := range []struct{ cert, key, want string }{
		{"/not/there.pem", good.key, "TLS certificate: open /not/there.pem: no such file"},
		{good.cert, "/not/there.pem", "TLS key: open /not/there.pem: no such file"},
		{good.cert, other.key, "do not make a pair"},
		{empty, good.key, empty},
		{good.key, good.key, good.key},
	} {
		if _, err := certs.Load(tc.cert, tc.key, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s and %s: %v, want %q", tc.cert, tc.key, err, tc.want)
		}
	}
	var log bytes.Buffer
	if _, err := certs.Load(old.cert, old.key, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "expired") {
		t.Errorf("one that has expired: %v, and the log says %q", err, log.String())
	}
}

func TestTheHostThatTheCertificateIsFor(t *testing.T) {
	f := newFiles(t)
	f.issue(t, 1, time.Hour, "*.example.org", "faas.example.org")
	loaded, err := certs.Load(f.cert, f.key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{"::1": "::1", "127.0.0.1": "faas.example.org"} {
		if got := loaded.Host(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
