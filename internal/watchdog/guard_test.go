package watchdog_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"lofn/internal/watchdog"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// issuer is a gateway that issues tokens.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []map[string]string
	fetches int
	ec      *ecdsa.PrivateKey
	rsa     *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	var err error
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	i.keys = []map[string]string{
		{"kid": "ec", "kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
		{"kid": "rsa", "kty": "RSA", "n": encode(i.rsa.N.Bytes()), "e": encode(big.NewInt(int64(i.rsa.E)).Bytes())},
		{"kid": "unusable", "kty": "oct", "k": "AAAA"},
		{"kid": "off the curve", "kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[1:33])},
	}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
		case "/keys":
			i.fetches++
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

// token signs claims. header may say things that are not so.
func (i *issuer) token(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	signed := encode(h) + "." + encode(c)
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	switch header["alg"] {
	case "ES256":
		r, s, err := ecdsa.Sign(rand.Reader, i.ec, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case "RS256":
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, digest[:]); err != nil {
			t.Fatal(err)
		}
	case "HS256": // with what is public as the secret
		mac := hmac.New(sha256.New, i.rsa.N.Bytes())
		mac.Write([]byte(signed))
		signature = mac.Sum(nil)
	}
	return signed + "." + encode(signature)
}

type object = map[string]any

func (i *issuer) claims(changes object) object {
	c := object{
		"iss": i.URL, "aud": []string{i.URL}, "exp": time.Now().Add(time.Hour).Unix(),
		"function": object{"permissions": []string{"dev:env"}},
	}
	for name, value := range changes {
		c[name] = value
	}
	return c
}

func (i *issuer) guard(t *testing.T) (*watchdog.Guard, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{}
	g, err := watchdog.NewGuard(t.Context(), watchdog.GuardConfig{Authority: i.URL + "/", Namespace: "dev", Name: "env"}, i.Client(),
		func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) })
	if err != nil {
		t.Fatal(err)
	}
	return g, log
}

func admit(g *watchdog.Guard, authorization string) (bool, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/path", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return g.Admit(w, r), w
}

func permissions(list ...string) object {
	return object{"function": object{"permissions": list}}
}

func TestTokens(t *testing.T) {
	i := newIssuer(t)
	g, _ := i.guard(t)
	es, rs := object{"alg": "ES256", "kid": "ec"}, object{"alg": "RS256", "kid": "rsa"}
	for _, c := range []struct {
		name   string
		header object
		claims object
		status int
		text   string
	}{
		{"ES256", es, nil, 200, ""},
		{"RS256", rs, nil, 200, ""},
		{"audience as a string", es, object{"aud": i.URL}, 200, ""},
		{"all functions", es, permissions("*"), 200, ""},
		{"all functions of the namespace", es, permissions("other:x", "dev:*"), 200, ""},
		{"a wildcard inside", es, permissions("d*:e*v"), 200, ""},
		{"the function is in the audience", es, object{"function": object{"permissions": []string{"*"}, "audience": []string{"dev:env"}}}, 200, ""},
		{"expired within the leeway", es, object{"exp": float64(time.Now().UnixMilli())/1000 - 0.2}, 200, ""},
		{"without end", es, object{"exp": nil}, 200, ""},

		{"no permissions", es, permissions(), 403, "insufficient permissions\n"},
		{"another function", es, permissions("dev:environment", "dev:en", "xdev:env", "dev:env2"), 403, "insufficient permissions\n"},
		{"another audience", es, object{"function": object{"permissions": []string{"*"}, "audience": []string{"dev:other"}}}, 403, "insufficient permissions\n"},
		{"expired", es, object{"exp": time.Now().Add(-5 * time.Second).Unix()}, 401, "expired"},
		{"not yet", es, object{"nbf": time.Now().Add(time.Hour).Unix()}, 401, "not valid yet"},
		{"another issuer", es, object{"iss": "http://evil"}, 401, "its issuer is"},
		{"for somebody else", es, object{"aud": []string{"http://other"}}, 401, "its audience is"},
		{"for nobody", es, object{"aud": nil}, 401, "its audience is"},
		{"unsigned", object{"alg": "none", "kid": "ec"}, nil, 401, `signed by "none"`},
		{"public key as a secret", object{"alg": "HS256", "kid": "rsa"}, nil, 401, `signed by "HS256"`},
		{"the algorithm of another key", object{"alg": "RS256", "kid": "ec"}, nil, 401, "the key is for ES256"},
		{"a key that was not understood", object{"alg": "HS256", "kid": "unusable"}, nil, 401, "is not the issuer's"},
		{"a key off the curve", object{"alg": "ES256", "kid": "off the curve"}, nil, 401, "is not the issuer's"},
		{"an unknown key", object{"alg": "ES256", "kid": "new"}, nil, 401, "is not the issuer's"},
		{"no key", object{"alg": "ES256"}, nil, 401, "is not the issuer's"},
		{"extensions", object{"alg": "ES256", "kid": "ec", "crit": []string{"b64"}}, nil, 401, "asks for extensions"},
		{"an audience that makes no sense", es, object{"aud": 7}, 401, "failed to parse"},
	} {
		ok, w := admit(g, "Bearer "+i.token(t, c.header, i.claims(c.claims)))
		if w.Code != c.status || ok != (c.status == 200) || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s: %v, %d %q; want %d %q", c.name, ok, w.Code, w.Body.String(), c.status, c.text)
		}
		realm := w.Header().Get("WWW-Authenticate")
		if c.status == 401 && realm != "Bearer realm=IAM function invoke" || c.status != 401 && realm != "" {
			t.Errorf("%s: WWW-Authenticate %q", c.name, realm)
		}
		if !ok && w.Header().Get("X-OpenFaaS-Internal") != "faas-middleware" {
			t.Errorf("%s: not marked as the platform's", c.name)
		}
	}
}

func TestTokensThatAreNone(t *testing.T) {
	i := newIssuer(t)
	g, log := i.guard(t)
	good := i.token(t, object{"alg": "ES256", "kid": "ec"}, i.claims(nil))
	parts := strings.Split(good, ".")
	forged, _ := json.Marshal(i.claims(permissions("*")))
	for name, authorization := range map[string]string{
		"none":                 "",
		"basic":                "Basic YTpi",
		"two parts":            "Bearer " + parts[0] + "." + parts[1],
		"four parts":           "Bearer " + good + ".x",
		"empty":                "Bearer ..",
		"not base64":           "Bearer " + parts[0] + "." + parts[1] + ".!!",
		"not JSON":             "Bearer " + encode([]byte("{")) + "." + parts[1] + "." + parts[2],
		"other claims":         "Bearer " + parts[0] + "." + encode(forged) + "." + parts[2],
		"no signature":         "Bearer " + parts[0] + "." + parts[1] + ".",
		"half a signature":     "Bearer " + parts[0] + "." + parts[1] + "." + parts[2][:43],
		"signature and a zero": "Bearer " + parts[0] + "." + parts[1] + "." + parts[2] + "AAAA",
	} {
		if ok, w := admit(g, authorization); ok || w.Code != 401 {
			t.Errorf("%s: %v, %d %q", name, ok, w.Code, w.Body.String())
		}
	}
	if !strings.Contains(log.String(), "POST /path - 401 ACCESS DENIED - (") {
		t.Errorf("log: %s", log)
	}
	if ok, _ := admit(g, "Bearer "+good); !ok {
		t.Error("the good one was refused")
	}
}

// The issuer may change its key; who makes up key names does not make the
// guard ask all the time.
func TestKeysChange(t *testing.T) {
	i := newIssuer(t)
	g, _ := i.guard(t)
	renamed := "Bearer " + i.token(t, object{"alg": "ES256", "kid": "next"}, i.claims(nil))
	for range 20 {
		if ok, _ := admit(g, renamed); ok {
			t.Fatal("an unknown key was taken")
		}
	}
	i.mu.Lock()
	if i.fetches != 1 {
		t.Errorf("%d fetches", i.fetches)
	}
	i.keys[0]["kid"] = "next"
	i.mu.Unlock()
	g.Age(time.Minute)
	if ok, w := admit(g, renamed); !ok {
		t.Errorf("the new key was not fetched: %s", w.Body)
	}
	if ok, _ := admit(g, "Bearer "+i.token(t, object{"alg": "ES256", "kid": "ec"}, i.claims(nil))); ok {
		t.Error("the old key is good still")
	}
}

// FuzzMatches holds patterns to what they mean as regular expressions.
func FuzzMatches(f *testing.F) {
	f.Add("dev:*", "dev:env")
	f.Add("*a*b*", "xaybz")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || strings.Contains(name, "\n") || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		expression := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
		if want := regexp.MustCompile(expression).MatchString(name); watchdog.Matches(pattern, name) != want {
			t.Errorf("%q and %q: want %v", pattern, name, want)
		}
	})
}

func TestIssuersThatFail(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"not there": http.NotFound,
		"no JSON":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") },
		"no keys":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"issuer":"x"}`) },
		"a key less": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"x","jwks_uri":"http://%s/k"}`, r.Host)
		},
	} {
		server := httptest.NewServer(handler)
		_, err := watchdog.NewGuard(context.Background(), watchdog.GuardConfig{Authority: server.URL}, server.Client(), t.Logf)
		if err == nil || !strings.HasPrefix(err.Error(), "jwt_auth: ") {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}

func TestGuardedWatchdog(t *testing.T) {
	i := newIssuer(t)
	g, _ := i.guard(t)
	server, w, _ := serve(t, watchdog.Options{Guard: g.Admit}, "mode=streaming", "fprocess="+script(t, "env | grep -c Http_X_Auth_Seconds=0"))
	if got := do(t, request(t, "POST", server.URL, "")); got.StatusCode != 401 {
		t.Errorf("without a token: %d %q", got.StatusCode, got.body)
	}
	token := i.token(t, object{"alg": "ES256", "kid": "ec"}, i.claims(nil))
	if got := do(t, request(t, "POST", server.URL, "", "Authorization", "Bearer "+token)); got.StatusCode != 200 || got.body != "1\n" {
		t.Errorf("with one: %d %q", got.StatusCode, got.body)
	}
	probes := httptest.NewServer(&watchdog.Probes{Watchdog: w, Healthy: func() bool { return true }})
	defer probes.Close()
	for _, path := range []string{"/_/health", "/_/ready"} {
		if got := do(t, request(t, "GET", probes.URL+path, "")); got.StatusCode != 200 {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
}
