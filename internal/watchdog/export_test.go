package watchdog

import "time"

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
