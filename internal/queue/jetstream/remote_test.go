package jetstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	nativejs "github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
)

// While there is no connection an Append fails and is not sent, not even later.
func TestNothingIsSentLater(t *testing.T) {
	server := startServer(t)
	l := server.open(t)
	mustAppend(t, l, 0, "a")
	server.kill()
	wait(t, "the connection is lost", func() bool {
		_, err := l.Append(t.Context(), 1, []byte("lost"), false)
		return lofn.CodeOf(err) == lofn.Unavailable && err != nil
	})
	server.start(t)
	wait(t, "it is connected again", func() bool {
		_, err := l.Get(t.Context(), 1)
		return err == nil
	})
	// Whatever was kept back would have been sent before this.
	mustAppend(t, l, 1, "b")
	mustRead(t, l, 1, "1:a", "2:b")
}

// A server that says nothing leaves it open what became of a record, and the log
// tells.
func TestSilentServer(t *testing.T) {
	server := startServer(t)
	l := server.open(t)
	mustAppend(t, l, 0, "a")
	if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, 1, []byte("b"), false); err == nil || lofn.CodeOf(err) != lofn.DeadlineExceeded {
		t.Errorf("Append: %v, want code DeadlineExceeded", err)
	}
	if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	last := appendSomehow(t, l, 1)
	mustRead(t, l, 1, "1:a", "2:b", "3:after")
	mustBeBehind(t, l, last-1)
}

// In a cluster a server that has not caught up may refuse a record that the one
// that leads takes. Here somebody else plays that one: an Append must not say
// that nothing was recorded when it was.
func TestServerThatHasNotCaughtUp(t *testing.T) {
	server := startServer(t)
	l := server.open(t)
	last := mustAppend(t, l, 0, "x")
	conn, err := nats.Connect(server.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Subscribe(jetstream.DefaultStream, func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 0"},"stream":"LOFN_CALLS","seq":0}`))
	}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the other one is quicker", func() bool {
		_, err := l.Append(t.Context(), last, []byte("x"), false)
		last++
		if err != nil && lofn.CodeOf(err) != lofn.DeadlineExceeded {
			t.Fatalf("Append: %v, want that it is unknown", err)
		}
		return err != nil
	})
	wait(t, "the record is there all the same", func() bool { return lastOf(t, l) == last })
}

// A server is killed again and again while somebody appends: what was
// acknowledged is there, in its order, and what was said not to have been
// recorded is not.
func TestKilledServer(t *testing.T) {
	server := startServer(t)
	l := server.open(t)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range rounds {
			before := lastOf(t, l)
			wait(t, "records are appended", func() bool { return lastOf(t, l) > before+20 })
			server.kill()
			server.start(t)
		}
	}()
	acked, refused := make(map[uint64]string), make(map[string]bool)
	last := uint64(0)
	for i := 0; ; i++ {
		select {
		case <-done:
			checkKilled(t, l, acked, refused)
			return
		default:
		}
		text := fmt.Sprint("record ", i)
		number, err := l.Append(t.Context(), last, []byte(text), false)
		switch code := lofn.CodeOf(err); {
		case err == nil:
			acked[number] = text
			last = number
			continue
		case errors.Is(err, ledger.ErrBehind), code == lofn.Unavailable:
			refused[text] = true
		case code != lofn.DeadlineExceeded:
			t.Errorf("Append: %v", err)
		}
		for r, err := range l.Read(t.Context(), last+1) {
			if err == nil {
				last = r.Number
			}
		}
	}
}

// lastOf is how far the log has come, as far as can be told.
func lastOf(t *testing.T, l *jetstream.Log) (last uint64) {
	for r, err := range l.Read(t.Context(), 1) {
		if err == nil {
			last = r.Number
		}
	}
	return last
}

func checkKilled(t *testing.T, l *jetstream.Log, acked map[uint64]string, refused map[string]bool) {
	t.Helper()
	records := make(map[uint64]string)
	for r, err := range l.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		records[r.Number] = string(r.Data)
		if refused[string(r.Data)] {
			t.Errorf("record %d is %q, which was refused", r.Number, r.Data)
		}
	}
	for number, text := range acked {
		if records[number] != text {
			t.Errorf("record %d is %q, acknowledged was %q", number, records[number], text)
		}
	}
	t.Logf("%d records, %d acknowledged, %d refused", len(records), len(acked), len(refused))
}

// wantError checks what a person is told when the log cannot be opened.
func wantError(t *testing.T, c jetstream.Config, code lofn.Code, words ...string) {
	t.Helper()
	c.Log = testLog(t)
	l, err := jetstream.Open(t.Context(), c)
	if err == nil {
		l.Close()
		t.Fatal("it was opened")
	}
	if lofn.CodeOf(err) != code {
		t.Errorf("%v: code %d, want %d", err, lofn.CodeOf(err), code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestServersThatWillNotDo(t *testing.T) {
	down := prepareServer(t)
	withPassword := strings.Replace(down.url, "//", "//user:geheim@", 1)
	wantError(t, jetstream.Config{URL: withPassword}, lofn.Unavailable, "cannot be reached", "user:xxxxx@")
	wantError(t, jetstream.Config{URL: "nats://[bad"}, lofn.Invalid, "cannot be reached")
	wantError(t, jetstream.Config{URL: down.url, Credentials: "/nowhere/creds"}, lofn.Invalid, "/nowhere/creds")
	wantError(t, jetstream.Config{URL: down.url, CA: "/nowhere/ca.pem"}, lofn.Invalid, "/nowhere/ca.pem")

	plain := startServer(t, "")
	wantError(t, jetstream.Config{URL: plain.url}, lofn.Unimplemented, "no JetStream", "-js", plain.url)

	dir := t.TempDir()
	small := startServer(t, "max_payload: 100KB", fmt.Sprintf("jetstream { store_dir: %q }", dir))
	wantError(t, jetstream.Config{URL: small.url}, lofn.Invalid, "max_payload", small.url)

	single := startServer(t)
	wantError(t, jetstream.Config{URL: single.url, Replicas: 3}, lofn.Invalid, "3 copies", "cluster")
	wantError(t, jetstream.Config{URL: single.url, Stream: "a b"}, lofn.Invalid, "letters")
	single.open(t)
	wantError(t, jetstream.Config{URL: single.url, Replicas: 3}, lofn.Invalid, "3 copies", "cluster")

	closed := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()), "authorization { user: lofn, password: geheim }")
	wantError(t, jetstream.Config{URL: closed.url}, lofn.Unauthenticated, closed.url)
	openLog(t, jetstream.Config{URL: strings.Replace(closed.url, "//", "//lofn:geheim@", 1), Log: testLog(t)})

	accounts := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()), `
accounts {
	WITHOUT { users: [ { user: without, password: p } ] }
	WITH { jetstream: enabled, users: [ { user: with, password: p } ] }
}`)
	wantError(t, jetstream.Config{URL: strings.Replace(accounts.url, "//", "//without:p@", 1)}, lofn.Unimplemented, "account", "JetStream")
	openLog(t, jetstream.Config{URL: strings.Replace(accounts.url, "//", "//with:p@", 1), Log: testLog(t)})
}

// raw is a client of the server that knows nothing of lofn.
func raw(t *testing.T, server *natsServer) nativejs.JetStream {
	t.Helper()
	conn, err := nats.Connect(server.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := nativejs.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestStreamsThatWillNotDo(t *testing.T) {
	server := startServer(t)
	js := raw(t, server)
	for word, c := range map[string]nativejs.StreamConfig{
		"memory":   {Storage: nativejs.MemoryStorage, AllowDirect: true},
		"old":      {MaxAge: time.Hour, AllowDirect: true},
		"subjects": {Subjects: []string{"other"}, AllowDirect: true},
		"read":     {Retention: nativejs.WorkQueuePolicy, AllowDirect: true},
		"direct":   {},
	} {
		c.Name = strings.ToUpper(word)
		if c.Subjects == nil {
			c.Subjects = []string{c.Name}
		}
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantError(t, jetstream.Config{URL: server.url, Stream: c.Name}, lofn.Invalid, word, c.Name)
	}
}

// A record that is missing between two others is damage, and so is an end that
// is not as far as it was.
func TestDamagedLog(t *testing.T) {
	server := startServer(t)
	js := raw(t, server)
	stream, err := js.CreateStream(t.Context(), nativejs.StreamConfig{
		Name: "LOG", Subjects: []string{"LOG"}, Discard: nativejs.DiscardNew, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, jetstream.Config{URL: server.url, Stream: "LOG", Log: testLog(t)})
	for i := range uint64(5) {
		mustAppend(t, l, i, "x")
	}
	for _, number := range []uint64{5, 3} {
		if err := stream.DeleteMsg(t.Context(), number); err != nil {
			t.Fatal(err)
		}
		checkDamaged(t, l, 1, number-1, fmt.Sprintf("record %d is missing", number))
	}
	if err := js.DeleteStream(t.Context(), "LOG"); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, jetstream.Config{URL: server.url, Stream: "LOG", Log: testLog(t)})
	checkDamaged(t, l, 6, 0, "record 5 was there")
}

func checkDamaged(t *testing.T, l *jetstream.Log, from, good uint64, word string) {
	t.Helper()
	last, failed := uint64(0), false
	for r, err := range l.Read(t.Context(), from) {
		if err == nil {
			last = r.Number
			continue
		}
		failed = true
		if lofn.CodeOf(err) != lofn.Internal || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("Read: %v, want %q and what to do", err, word)
		}
	}
	if !failed || last != good {
		t.Errorf("Read yields records up to %d and fails: %t, want %d and an error", last, failed, good)
	}
}

// A server that may not take more says so; what is there stays, and it goes on
// when there is room.
func TestFullServer(t *testing.T) {
	server := startServer(t, fmt.Sprintf("jetstream { store_dir: %q, max_file_store: 4MB }", t.TempDir()))
	l := server.open(t)
	large := strings.Repeat("x", 512<<10)
	last := uint64(0)
	for {
		number, err := l.Append(t.Context(), last, []byte(large), false)
		if err != nil {
			if lofn.CodeOf(err) != lofn.Full {
				t.Fatalf("Append: %v, want code Full", err)
			}
			break
		}
		last = number
	}
	if last < 2 || len(read(t, l, 1)) != int(last) {
		t.Fatalf("%d records were taken", last)
	}
	if err := l.Trim(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, last, large)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := selfSigned(t, dir)
	server := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }\ntls { cert_file: %q, key_file: %q }", dir, certificate, key))
	secure := strings.Replace(server.url, "nats://", "tls://", 1)
	l := openLog(t, jetstream.Config{URL: secure, CA: certificate, Log: testLog(t)})
	mustAppend(t, l, 0, "a")
	wantError(t, jetstream.Config{URL: secure}, lofn.Invalid, "certificate")
}

// selfSigned makes a certificate for the loopback address.
func selfSigned(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
