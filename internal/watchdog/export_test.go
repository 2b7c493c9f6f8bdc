package watchdog

import (
	"net/http"
	"time"
)

// Environ is environ with one variable to begin with, for tests.
func Environ(r *http.Request) []string { return environ([]string{"BASE=1"}, r, r.ContentLength) }

// Verifies reports whether a token is good for a key that signed nothing.
func Verifies(text string) bool {
	t, err := parseToken(text)
	if err != nil {
		return false
	}
	for _, k := range []jwk{
		{Kind: "EC", Curve: "P-256", X: "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", Y: "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},
	} {
		if parsed, err := k.parse(); err == nil && t.verify(parsed) == nil {
			return true
		}
	}
	return false
}

// Matches is matches, for tests.
func Matches(pattern, name string) bool { return matches(pattern, name) }

// Age makes the keys older than they are.
func (g *Guard) Age(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetched = g.fetched.Add(-d)
}

// Look has the watchdog consider whether fewer processes may wait.
func (w *Watchdog) Look() { w.ahead.shrink() }
