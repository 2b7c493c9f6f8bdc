package lofn_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"lofn"
)

// FuzzParseHost: what a path names is told apart by its last dot, and a valid
// name comes back from its host name.
func FuzzParseHost(f *testing.F) {
	for _, host := range []string{"echo", "echo.staging", "a.b.c", ".", "", "echo.", "\x00.\xff"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		ref := lofn.ParseHost(host)
		if strings.Contains(host, ".") && ref.Host() != host {
			t.Errorf("%q is %+v, whose host name is %q", host, ref, ref.Host())
		}
		if strings.Contains(ref.Namespace, ".") {
			t.Errorf("%q has the namespace %q", host, ref.Namespace)
		}
		if ref.Validate() == nil && lofn.ParseHost(ref.Host()) != ref {
			t.Errorf("%+v came back as %+v", ref, lofn.ParseHost(ref.Host()))
		}
	})
}

// FuzzParseSeconds: a duration is never negative, and can be written as Go
// writes it.
func FuzzParseSeconds(f *testing.F) {
	for _, text := range []string{"30", "5m", "1h2m3.5s", "-1s", "+7", "0x10", "1e3s", "99999999999999", "", "µs", "1_0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := lofn.ParseSeconds(text)
		if err != nil {
			if lofn.CodeOf(err) != lofn.Invalid || d != 0 {
				t.Errorf("%q: %v with code %d", text, d, lofn.CodeOf(err))
			}
			return
		}
		if again, err := lofn.ParseSeconds(d.String()); err != nil || again != d || d < 0 {
			t.Errorf("%q is %v, which is %v (%v)", text, d, again, err)
		}
		if std, err := time.ParseDuration(text); err == nil && std != d {
			t.Errorf("%q is %v, and %v to package time", text, d, std)
		}
	})
}

// FuzzQuantity holds amounts of memory and CPU to exact arithmetic.
func FuzzQuantity(f *testing.F) {
	for _, text := range []string{"128Mi", "1.5Gi", "4000000", "500m", "0.1", "1e3", "8P", "9999999999P", ".", "1..2", "Mi", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for scale, parse := range map[int64]func() (int64, error){
			1:    (&lofn.Resources{Memory: text}).MemoryBytes,
			1000: (&lofn.Resources{CPU: text}).MilliCPU,
		} {
			got, err := parse()
			if err != nil && lofn.CodeOf(err) != lofn.Invalid || got < 0 {
				t.Errorf("%q: %d (%v)", text, got, err)
			}
			if err != nil || text == "" {
				continue
			}
			want := exact(t, text)
			want.Mul(want, big.NewRat(scale, 1))
			// Rounded up, and to what a float64 holds.
			slack := new(big.Rat).Add(big.NewRat(1, 1), new(big.Rat).Mul(want, big.NewRat(1, 1<<50)))
			if off := new(big.Rat).Sub(new(big.Rat).SetInt64(got), want); off.Abs(off).Cmp(slack) > 0 {
				t.Errorf("%q is %d, want %s", text, got, want.FloatString(3))
			}
		}
	})
}

// exact is the value of a quantity that was accepted.
func exact(t *testing.T, text string) *big.Rat {
	t.Helper()
	digits := strings.TrimRight(text, "KMGTPikm")
	value, ok := new(big.Rat).SetString(digits)
	if !ok {
		t.Fatalf("%q was accepted", text)
	}
	unit := text[len(digits):]
	base := big.NewInt(1000)
	if strings.HasSuffix(unit, "i") {
		base = big.NewInt(1024)
	}
	power := strings.Index("KMGTP", strings.ToUpper(strings.TrimSuffix(unit, "i"))) + 1
	switch unit {
	case "":
		return value
	case "m":
		return value.Mul(value, big.NewRat(1, 1000))
	}
	return value.Mul(value, new(big.Rat).SetInt(base.Exp(base, big.NewInt(int64(power)), nil)))
}
