package queue

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// backoff is how long to wait after so many attempts, without jitter: least
// after the first, twice as long after each further one, and most at most.
func backoff(made int, least, most time.Duration) time.Duration {
	wait := least
	for range made - 1 {
		if wait > most/2 {
			return most
		}
		wait *= 2
	}
	return min(wait, most)
}

// jitter shortens a wait by up to half of it, so that calls which failed
// together do not come back together.
func jitter(wait time.Duration) time.Duration {
	if wait <= 1 {
		return wait
	}
	return wait - rand.N(wait/2+1)
}

// longestRetry bounds what an answer can have us wait.
const longestRetry = time.Hour

// retryAfter is when an answer asks to be called again: with a number of
// seconds, or a date.
func retryAfter(status int, h http.Header, now time.Time) (wait time.Duration, asked bool) {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0, false
	}
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestRetry), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longestRetry), true
	}
	return 0, false
}
