package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is also the lofn that scripts run: all of it, the platform
// too.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lofn": func() {
		if _, err := os.Stat(brokenFile); err == nil && os.Getenv("LOFN_HANDOVER") != "" {
			os.Exit(3)
		}
		main()
	}})
}

// TestScript runs every script in testdata/script. Each has an address of its
// own for the platform that it starts, in OPENFAAS_URL and LOFN_LISTEN.
func TestScript(t *testing.T) {
	if testing.Short() {
		t.Skip("builds functions and runs platforms")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			tool, ok := strings.CutPrefix(name, "tool:")
			if !ok {
				return false, errors.New("unknown condition " + name)
			}
			_, err := exec.LookPath(tool)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"until": until, "certificate": certificate},
	})
}

// brokenFile makes a lofn that takes over from another one fail.
const brokenFile = "/run/lofn-test-broken"

func setUp(env *testscript.Env) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, "home")
	module, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	// Sockets have short paths.
	data, err := os.MkdirTemp("", "lofn-test-*")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(data) })
	for name, value := range map[string]string{
		"HOME": home, "OPENFAAS_URL": "http://" + address, "LOFN_LISTEN": address,
		"LOFN_METRICS_LISTEN": "127.0.0.1:0", "LOFN_DATA": filepath.Join(data, "d"), "GOTOOLCHAIN": "local",
		"MODULE": module,
	} {
		env.Setenv(name, value)
	}
	// Go's caches are those of the machine, for they would be filled anew.
	for _, name := range []string{"GOCACHE", "GOPATH", "GOMODCACHE"} {
		if value, err := exec.Command("go", "env", name).Output(); err == nil {
			env.Setenv(name, strings.TrimSpace(string(value)))
		}
	}
	return os.MkdirAll(home, 0o700)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// until is the scripts' command to wait: it runs a program until its output
// matches.
//
//	until PATTERN PROGRAM ARGUMENTS...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM ARGUMENTS...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	program := args[1]
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := ts.Exec(program, args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && pattern.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %q did not match within 30 s:\n%s", strings.Join(args[1:], " "), args[0], out)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// certificate is the scripts' command to write a certificate for 127.0.0.1 that
// is its own authority, and its key.
//
//	certificate CERTIFICATE KEY
func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate CERTIFICATE KEY")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for i, block := range []pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: private}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[i]), pem.EncodeToMemory(&block), 0o600))
	}
}
