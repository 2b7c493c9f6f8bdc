// Package certs keeps a TLS certificate that is renewed under it: the files
// are read again when they have changed, so that a renewal needs no restart.
package certs

import (
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"lofn"
)

// Files is a certificate, with its chain, and its key, in PEM. It is safe for
// concurrent use.
type Files struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]os.FileInfo
	looked  time.Time
}

// Load reads the files. An error names the file at fault. A certificate that
// has expired is better than no platform, and only worth a warning.
func Load(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log, now: time.Now}
	var err error
	if f.current, err = f.read(); err != nil {
		return nil, err
	}
	if expired := f.expired(f.current); expired != nil {
		log.Warn("clients will refuse to connect", "error", expired)
	}
	return f, nil
}

// Config returns the configuration of a server that uses the certificate. The
// rest of it is what crypto/tls thinks best.
func (f *Files) Config() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.certificate(), nil }}
}

// Host returns the address by which a client on this machine reaches a server
// and believes the certificate: the one given, or else a name in it.
func (f *Files) Host(address string) string {
	leaf := f.certificate().Leaf
	if leaf.VerifyHostname(address) == nil {
		return address
	}
	for _, name := range leaf.DNSNames {
		if !strings.Contains(name, "*") {
			return name
		}
	}
	return address
}

// interval is how long a look at the files is good for.
const interval = time.Second

// certificate returns the certificate, read anew if the files have changed. A
// bad renewal leaves the old one in use.
func (f *Files) certificate() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= interval {
		f.looked = now
		if f.changed() {
			f.renew()
		}
	}
	return f.current
}

func (f *Files) renew() {
	pair, err := f.read()
	if err == nil {
		err = f.expired(pair)
	}
	if err != nil {
		f.log.Error("a changed TLS certificate is not used, and the old one goes on", "error", err, "expires", f.current.Leaf.NotAfter)
		return
	}
	f.current = pair
	f.log.Info("the TLS certificate was renewed", "file", f.cert, "expires", pair.Leaf.NotAfter)
}

// changed reports whether the files are others than those that were read last,
// well or not. Symbolic links are followed.
func (f *Files) changed() bool {
	seen := f.look()
	for i, info := range seen {
		was := f.seen[i]
		if (info == nil) != (was == nil) || info != nil && (!os.SameFile(info, was) || info.Size() != was.Size() || !info.ModTime().Equal(was.ModTime())) {
			return true
		}
	}
	return false
}

func (f *Files) look() (seen [2]os.FileInfo) {
	for i, path := range []string{f.cert, f.key} {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// read notes what the files are before it reads them: what changes in between
// is read again.
func (f *Files) read() (*tls.Certificate, error) {
	f.seen = f.look()
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "TLS certificate: %w", err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "TLS key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "TLS certificate %s and key %s do not make a pair: %w", f.cert, f.key, err)
	}
	return &pair, nil
}

func (f *Files) expired(pair *tls.Certificate) error {
	if f.now().After(pair.Leaf.NotAfter) {
		return lofn.Errorf(lofn.Invalid, "TLS certificate %s expired %s", f.cert, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}
