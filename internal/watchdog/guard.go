package watchdog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"lofn"
)

// GuardConfig says how callers prove that they may call the function: by a
// token that the gateway issued (jwt_auth).
type GuardConfig struct {
	// Authority is the base URL of the issuer.
	Authority string
	// Namespace and Name are the function's.
	Namespace, Name string
	// Debug logs the keys, and what tokens claim.
	Debug bool
}

const (
	clusterAuthority = "http://gateway.openfaas:8080"
	localAuthority   = "http://127.0.0.1:8000"
	// namespaceFile is where Kubernetes says in which namespace a pod runs.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// guard reads what is about jwt_auth.
func (v *variables) guard() *GuardConfig {
	g := &GuardConfig{Authority: clusterAuthority, Debug: v.enabled("jwt_auth_debug")}
	if v.enabled("jwt_auth_local") {
		g.Authority = localAuthority
	}
	_, g.Authority = v.text(g.Authority, "jwt_auth_authority")
	g.Name, g.Namespace = v.values[lofn.EnvName], v.values[lofn.EnvNamespace]
	if g.Namespace == "" {
		b, _ := os.ReadFile(namespaceFile)
		g.Namespace = strings.TrimSpace(string(b))
	}
	if g.Name == "" || g.Namespace == "" {
		v.fail(lofn.Invalid, "jwt_auth: needs %s and %s, to know which permissions a caller must have", lofn.EnvName, lofn.EnvNamespace)
	}
	return g
}

// Guard lets in callers that show a token for this function. It is safe for
// concurrent use.
type Guard struct {
	config GuardConfig
	client *http.Client
	log    func(format string, args ...any)
	issuer string
	uri    string // of the keys

	mu      sync.Mutex
	keys    []key
	fetched time.Time
}

// NewGuard asks the issuer for its keys. The log is told of calls that are
// refused.
func NewGuard(ctx context.Context, config GuardConfig, client *http.Client, log func(format string, args ...any)) (*Guard, error) {
	g := &Guard{config: config, client: client, log: log}
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := g.get(ctx, strings.TrimSuffix(config.Authority, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "jwt_auth: %w", err)
	}
	if about.Issuer == "" || about.Keys == "" {
		return nil, lofn.Errorf(lofn.Unavailable, "jwt_auth: %s names no issuer, or no place of its keys", config.Authority)
	}
	g.issuer, g.uri = about.Issuer, about.Keys
	var err error
	if g.keys, err = g.fetch(ctx); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "jwt_auth: %w", err)
	}
	g.fetched = time.Now()
	return g, nil
}

// mostOfAnswer bounds what is read of an answer of the issuer.
const mostOfAnswer = 1 << 20

func (g *Guard) get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "openfaas-watchdog")
	response, err := g.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, mostOfAnswer)).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// fetch asks for the keys as they are now.
func (g *Guard) fetch(ctx context.Context) ([]key, error) {
	var set struct{ Keys []jwk }
	if err := g.get(ctx, g.uri, &set); err != nil {
		return nil, err
	}
	var keys []key
	for _, k := range set.Keys {
		if parsed, err := k.parse(); err == nil {
			keys = append(keys, parsed)
		} else if g.config.Debug {
			g.log("jwt_auth: key %q cannot be used: %v", k.ID, err)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key for ES256 or RS256", g.uri)
	}
	return keys, nil
}

// keyAge is how old the keys must be for a token with an unknown one to have
// them fetched again.
const keyAge = 10 * time.Second

// key returns the issuer's key of that name. While the keys are fetched again
// for the sake of one token, others are checked with those that are there.
func (g *Guard) key(ctx context.Context, id string, now time.Time) (key, error) {
	k, known, old := g.find(id, now)
	if !known && old {
		keys, err := g.fetch(ctx)
		if err != nil {
			g.log("jwt_auth: the keys could not be fetched again: %v", err)
		} else {
			g.mu.Lock()
			g.keys = keys
			g.mu.Unlock()
			k, known, _ = g.find(id, now)
		}
	}
	if !known {
		return key{}, fmt.Errorf("failed to parse JWT token: its key %q is not the issuer's", id)
	}
	return k, nil
}

// find looks among the keys that are there. If it is time to fetch them again,
// it says so to one caller.
func (g *Guard) find(id string, now time.Time) (k key, known, old bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.keys {
		if k.id == id {
			return k, true, false
		}
	}
	if now.Sub(g.fetched) < keyAge {
		return key{}, false, false
	}
	g.fetched = now
	return key{}, false, true
}

// functionRealm is what clients look for before they fetch a token.
const functionRealm = "Bearer realm=IAM function invoke"

// errNoPermission is the fault of a token that is good for something else.
var errNoPermission = errors.New("insufficient permissions")

// Admit reports whether a call may reach the function, and answers it with 401
// or 403 if not.
func (g *Guard) Admit(rw http.ResponseWriter, r *http.Request) bool {
	started := time.Now()
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	err := errors.New("Bearer must be present in Authorization header")
	if bearer != "" {
		err = g.check(r.Context(), bearer, started)
	}
	if err == nil {
		r.Header.Set("X-Auth-Seconds", seconds(time.Since(started)))
		return true
	}
	status := http.StatusUnauthorized
	if errors.Is(err, errNoPermission) {
		status = http.StatusForbidden
	} else {
		rw.Header().Set("WWW-Authenticate", functionRealm)
	}
	rw.Header().Set(lofn.HeaderInternal, "faas-middleware")
	http.Error(rw, err.Error(), status)
	g.log("%s %s - %d ACCESS DENIED - (%s)", r.Method, r.URL.Path, status, time.Since(started).Round(time.Millisecond))
	return false
}

func (g *Guard) check(ctx context.Context, bearer string, now time.Time) error {
	t, err := parseToken(bearer)
	if err != nil {
		return err
	}
	k, err := g.key(ctx, t.header.KeyID, now)
	if err != nil {
		return err
	}
	if err := t.verify(k); err != nil {
		return err
	}
	if g.config.Debug {
		g.log("jwt_auth: token of %s for %v, permissions %v", t.claims.Issuer, t.claims.Audience, t.claims.Function.Permissions)
	}
	if err := t.claims.valid(g.issuer, now); err != nil {
		return err
	}
	ref := g.config.Namespace + ":" + g.config.Name
	f := t.claims.Function
	if !matchesAny(f.Permissions, ref) || len(f.Audience) > 0 && !matchesAny(f.Audience, ref) {
		return errNoPermission
	}
	return nil
}
