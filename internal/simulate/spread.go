package simulate

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"lofn"
)

// Spread is a time that is left to chance. The zero value is always 0.
type Spread struct {
	// from and to bound a time that is equally likely anywhere between them.
	from, to time.Duration
	// p50 and p99, if set, are those of a log-normal distribution.
	p50, p99 time.Duration
}

// Exactly is always the same.
func Exactly(d time.Duration) Spread { return Spread{from: d, to: d} }

// LogNormal has that median, and one in a hundred is longer than p99.
func LogNormal(p50, p99 time.Duration) Spread { return Spread{p50: p50, p99: p99} }

// ParseSpread reads "250ms", "100ms-300ms" for anything in between, or
// "p50=120ms,p99=900ms" for a log-normal distribution.
func ParseSpread(text string) (Spread, error) {
	if first, second, ok := strings.Cut(text, ","); ok || strings.HasPrefix(text, "p") {
		p50, err := percentile(text, first, "p50=")
		if err != nil {
			return Spread{}, err
		}
		p99, err := percentile(text, second, "p99=")
		if err == nil && (p50 <= 0 || p99 < p50) {
			err = badSpread(text, "p50 must be above 0, and p99 not below it")
		}
		return LogNormal(p50, p99), err
	}
	first, second, ok := strings.Cut(text, "-")
	if !ok {
		second = first
	}
	from, err := time.ParseDuration(first)
	if err != nil {
		return Spread{}, badSpread(text, "")
	}
	to, err := time.ParseDuration(second)
	if err != nil || from < 0 || to < from {
		return Spread{}, badSpread(text, "")
	}
	return Spread{from: from, to: to}, nil
}

func percentile(text, part, name string) (time.Duration, error) {
	value, ok := strings.CutPrefix(part, name)
	d, err := time.ParseDuration(value)
	if !ok || err != nil {
		return 0, badSpread(text, "")
	}
	return d, nil
}

func badSpread(text, why string) error {
	if why == "" {
		why = "use a duration such as 250ms, two for anything between them (100ms-300ms), or percentiles (p50=120ms,p99=900ms)"
	}
	return lofn.Errorf(lofn.Invalid, "%q is not a time: %s", text, why)
}

// z99 is how many standard deviations the 99th percentile of a normal
// distribution is above its middle.
const z99 = 2.3263478740408408

func (s Spread) draw(r *rand.Rand) time.Duration {
	switch {
	case s.p50 > 0:
		sigma := math.Log(float64(s.p99)/float64(s.p50)) / z99
		return seconds(s.p50.Seconds() * math.Exp(sigma*r.NormFloat64()))
	case s.to > s.from:
		return s.from + time.Duration(r.Int64N(int64(s.to-s.from)))
	}
	return s.from
}

// longest is more than any trace has.
const longest = 10 * 365 * 24 * time.Hour

// seconds is a duration of so many seconds, within bounds.
func seconds(s float64) time.Duration {
	return time.Duration(math.Round(min(s, longest.Seconds()) * float64(time.Second)))
}
