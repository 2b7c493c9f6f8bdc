package watchdog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// jwk is a public key as issuers publish it (RFC 7517).
type jwk struct {
	ID    string `json:"kid"`
	Kind  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
	N     string `json:"n"`
	E     string `json:"e"`
}

// key is an *ecdsa.PublicKey on P-256 or an *rsa.PublicKey. The key, not the
// token, says which algorithm is the right one.
type key struct {
	id        string
	algorithm string
	public    crypto.PublicKey
}

func (k jwk) parse() (key, error) {
	switch {
	case k.Kind == "EC" && k.Curve == "P-256":
		return k.elliptic()
	case k.Kind == "RSA":
		return k.rsa()
	}
	return key{}, fmt.Errorf("its kind is %s %s, neither EC P-256 nor RSA", k.Kind, k.Curve)
}

func (k jwk) elliptic() (key, error) {
	const size = 32
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if err := errors.Join(errX, errY); err != nil {
		return key{}, err
	}
	if len(x) != size || len(y) != size {
		return key{}, errors.New("its coordinates are not 32 bytes each")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	return key{k.ID, "ES256", public}, err
}

func (k jwk) rsa() (key, error) {
	n, errN := base64.RawURLEncoding.DecodeString(k.N)
	e, errE := base64.RawURLEncoding.DecodeString(k.E)
	if err := errors.Join(errN, errE); err != nil {
		return key{}, err
	}
	exponent := new(big.Int).SetBytes(e)
	if !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > math.MaxInt32 {
		return key{}, errors.New("its exponent makes no sense")
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
	if public.N.BitLen() < 2048 {
		return key{}, fmt.Errorf("it has %d bits, fewer than 2048", public.N.BitLen())
	}
	return key{k.ID, "RS256", public}, nil
}

// token is a JSON Web Token whose signature nobody has looked at yet.
type token struct {
	header struct {
		Algorithm string   `json:"alg"`
		KeyID     string   `json:"kid"`
		Critical  []string `json:"crit"`
	}
	claims    claims
	signed    string
	signature []byte
}

type claims struct {
	Issuer    string   `json:"iss"`
	Audience  audience `json:"aud"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	Function  struct {
		Permissions []string `json:"permissions"`
		Audience    []string `json:"audience"`
	} `json:"function"`
}

// audience is a list, or a string for a list of one.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

func parseToken(text string) (*token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errors.New("failed to parse JWT token: it does not have three parts")
	}
	t := &token{signed: parts[0] + "." + parts[1]}
	var err error
	if t.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return nil, fmt.Errorf("failed to parse JWT token: %w", err)
	}
	for i, into := range []any{&t.header, &t.claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			return nil, fmt.Errorf("failed to parse JWT token: %w", err)
		}
	}
	if len(t.header.Critical) > 0 {
		return nil, fmt.Errorf("failed to parse JWT token: it asks for extensions %v", t.header.Critical)
	}
	return t, nil
}

// verify checks the signature.
func (t *token) verify(k key) error {
	if t.header.Algorithm != k.algorithm {
		return fmt.Errorf("failed to parse JWT token: it is signed by %q, and the key is for %s", t.header.Algorithm, k.algorithm)
	}
	digest := sha256.Sum256([]byte(t.signed))
	good := false
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		if len(t.signature) == 64 {
			r, s := new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:])
			good = ecdsa.Verify(public, digest[:], r, s)
		}
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], t.signature) == nil
	}
	if !good {
		return errors.New("failed to parse JWT token: its signature is wrong")
	}
	return nil
}

// leeway is how far the issuer's clock may be off.
const leeway = time.Second

// valid checks whose token it is, for whom, and when.
func (c *claims) valid(issuer string, now time.Time) error {
	at := float64(now.UnixMilli()) / 1000
	switch {
	case c.Issuer != issuer:
		return fmt.Errorf("failed to parse JWT token: its issuer is %q, not %q", c.Issuer, issuer)
	case !slices.Contains(c.Audience, issuer):
		return fmt.Errorf("failed to parse JWT token: its audience is %q, not %q", []string(c.Audience), issuer)
	case c.Expires != nil && at >= *c.Expires+leeway.Seconds():
		return errors.New("failed to parse JWT token: it has expired")
	case c.NotBefore != nil && at < *c.NotBefore-leeway.Seconds():
		return errors.New("failed to parse JWT token: it is not valid yet")
	}
	return nil
}

// matchesAny reports whether a pattern, in which '*' stands for any text,
// matches the whole of the name.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	for _, part := range parts[:len(parts)-1] {
		_, after, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = after
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}
