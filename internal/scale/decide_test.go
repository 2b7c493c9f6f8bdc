package scale_test

import (
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/scale"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// rps are settings with a round number of calls for each replica.
func rps(edit ...func(*lofn.Scaling)) lofn.Scaling {
	s := lofn.Scaling{Min: 1, Max: 20, Type: lofn.ScaleByRequests, Target: 10, Proportion: 1, DownWindow: 30 * time.Second, ZeroDuration: time.Minute}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func TestDecide(t *testing.T) {
	capacity := func(s *lofn.Scaling) { s.Type = lofn.ScaleByCapacity }
	zero := func(s *lofn.Scaling) { s.Zero = true }
	fixed := func(s *lofn.Scaling) { s.Type = "" }
	atLeast := func(n int) func(*lofn.Scaling) { return func(s *lofn.Scaling) { s.Min = n } }
	known := func(wanted int, averages ...float64) scale.Load {
		l := scale.Load{Wanted: wanted, Known: true, Busy: noon, Called: true}
		copy(l.Averages[:], averages)
		return l
	}
	with := func(l scale.Load, edit func(*scale.Load)) scale.Load {
		edit(&l)
		return l
	}
	for _, tc := range []struct {
		name   string
		load   scale.Load
		of     lofn.Scaling
		want   int
		reason string
	}{
		{"nothing to do", known(1), rps(), 1, "load 0 calls/s, 10 calls/s planned for each replica"},
		{"just enough", known(1, 10, 10, 10), rps(), 1, ""},
		{"a trend counts from the first call too many", known(1, 10, 10, 10.1), rps(), 2, "load 10.1 calls/s"},
		{"six seconds count from a quarter more", known(2, 25, 25, 4), rps(), 2, ""},
		{"six seconds with more than that", known(2, 26, 26, 4), rps(), 3, "load 26 calls/s"},
		{"one second counts from double", known(2, 40, 10, 4), rps(), 2, ""},
		{"one second with more than that", known(2, 41, 10, 4), rps(), 5, "load 41 calls/s"},
		{"twenty times as much", known(1, 200, 40, 8), rps(), 20, ""},
		{"more than the most", known(1, 5000, 900, 200), rps(), 20, "500 would be needed, 20 is the most (com.openfaas.scale.max)"},
		{"no bound given", known(1, 5000, 900, 200), rps(func(s *lofn.Scaling) { s.Max = 0 }), lofn.DefaultScaleMax, ""},
		{"only part of the target is planned with", known(1, 9, 9, 9), rps(func(s *lofn.Scaling) { s.Proportion = 0.5 }), 2, "5 calls/s planned"},

		{"fewer", known(10, 10, 10, 10), rps(), 2, ""},
		{"fewer only with some room to spare", known(3, 0, 0, 19), rps(), 3, ""},
		{"fewer with it", known(3, 0, 0, 17.9), rps(), 2, ""},
		{"not fewer than a moment ago", with(known(10, 10, 10, 10), func(l *scale.Load) { l.Peak = 7 }), rps(), 7, "7 were needed within the last 30s"},
		{"a peak does not raise", with(known(3, 10, 10, 10), func(l *scale.Load) { l.Peak = 7 }), rps(), 3, ""},
		{"never below the least", known(10), rps(atLeast(4)), 4, ""},
		{"never below one", known(10), rps(atLeast(0)), 1, ""},

		{"an unknown load changes nothing", scale.Load{Wanted: 7, Busy: noon}, rps(), 7, "its load is not known"},
		{"an unknown load within bounds", scale.Load{Wanted: 70, Busy: noon}, rps(), 20, ""},

		{"calls at a time", known(1, 35, 6, 1), rps(capacity), 4, "load 35 calls at a time"},
		{"calls that wait are there", with(known(1, 20, 3, 1), func(l *scale.Load) { l.Load = lofn.Load{InFlight: 10, Waiting: 90} }), rps(capacity), 10, "load 100 calls"},
		{"calls in flight alone may be chance", with(known(1, 20, 3, 1), func(l *scale.Load) { l.Load = lofn.Load{InFlight: 100} }), rps(capacity), 1, ""},
		{"more of what fails does not help", with(known(1, 100, 100, 100), func(l *scale.Load) { l.Load = lofn.Load{Waiting: 100, Failing: true} }), rps(capacity), 1, "none gets ready"},
		{"fewer of what fails does not hurt", with(known(9, 1, 1, 1), func(l *scale.Load) { l.Failing = true }), rps(), 1, ""},

		{"at zero", scale.Load{Busy: noon.Add(-time.Hour)}, rps(zero), 0, "at zero until it is called"},
		{"woken", scale.Load{Called: true, Known: true}, rps(zero), 1, "woken by a call"},
		{"woken to the least", scale.Load{Called: true, Known: true}, rps(zero, atLeast(3)), 3, "woken by a call"},
		{"woken by a crowd", with(scale.Load{Called: true, Known: true}, func(l *scale.Load) { l.Averages[0] = 95 }), rps(zero), 10, "woken by a call: load 95 calls/s"},
		{"idle for not long enough", scale.Load{Wanted: 2, Known: true, Busy: noon.Add(-59 * time.Second)}, rps(zero), 1, ""},
		{"idle for long enough", scale.Load{Wanted: 2, Known: true, Busy: noon.Add(-time.Minute)}, rps(zero), 0, "no call for 1m0s (com.openfaas.scale.zero-duration)"},
		{"idle, and fixed otherwise", scale.Load{Wanted: 2, Base: 2, Busy: noon.Add(-time.Minute)}, rps(zero, fixed), 0, "no call for 1m0s"},
		{"idle, but not to go to zero", scale.Load{Wanted: 2, Known: true, Busy: noon.Add(-time.Hour)}, rps(), 1, ""},
		{"idle, but warm", scale.Load{Wanted: 2, Known: true, Warm: true, Busy: noon.Add(-time.Hour)}, rps(zero), 1, ""},
		{"at zero when it gets warm", scale.Load{Warm: true, Busy: noon.Add(-time.Hour)}, rps(zero, atLeast(2)), 2, "kept warm at this time (lofn.dev/warm)"},
		{"a call that lasts", scale.Load{Wanted: 1, Called: true, Known: true, Busy: noon}, rps(zero), 1, ""},

		{"as a person set it", scale.Load{Wanted: 3, Base: 3}, rps(fixed), 3, "as set"},
		{"below the least, as a person set it", scale.Load{Wanted: 1, Base: 1}, rps(fixed, atLeast(2)), 1, "as set"},
		{"set to zero by a person", scale.Load{}, rps(fixed), 0, "at zero until it is called"},
		{"set to zero by a person, and woken", scale.Load{Called: true}, rps(fixed, atLeast(2)), 2, "woken by a call"},
		{"woken, and not scaled by load", scale.Load{Wanted: 2, Called: true, Known: true}, rps(fixed, atLeast(2)), 2, ""},

		{"an alert", scale.Load{Wanted: 1, Base: 1, Asked: 5}, rps(fixed), 5, "an alert asks for them"},
		{"an alert and more load", with(known(1, 200, 100, 60), func(l *scale.Load) { l.Asked = 5 }), rps(), 20, "load 200"},
		{"an alert and less load", with(known(5, 10, 10, 10), func(l *scale.Load) { l.Asked = 5 }), rps(), 5, "an alert"},
		{"an alert wakes", scale.Load{Asked: 4}, rps(fixed), 4, "an alert"},
		{"an alert about a function that nobody calls", scale.Load{Wanted: 5, Base: 1, Asked: 5, Busy: noon.Add(-time.Hour)}, rps(fixed, zero), 0, "no call for"},

		{"a backlog that a query sees wakes", with(scale.Load{Known: true}, func(l *scale.Load) { l.Averages[0] = 25 }),
			rps(func(s *lofn.Scaling) { s.Type, s.Query = "backlog", "sum(rows)" }), 3, "load 25"},
		{"a backlog keeps awake", with(scale.Load{Wanted: 1, Known: true, Busy: noon.Add(-time.Hour)}, func(l *scale.Load) { l.Averages = [3]float64{1, 1, 1} }),
			rps(zero, func(s *lofn.Scaling) { s.Type, s.Query = "backlog", "sum(rows)" }), 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := scale.Decide(noon, tc.load, tc.of)
			if d.Replicas != tc.want || !strings.Contains(d.Reason, tc.reason) {
				t.Errorf("%d replicas (%s), want %d (%s)", d.Replicas, d.Reason, tc.want, tc.reason)
			}
			if d.Reason == "" {
				t.Error("no reason was given")
			}
		})
	}
}

// FuzzDecide looks for loads that lead out of the bounds.
func FuzzDecide(f *testing.F) {
	f.Add(1, 0, 0, 10.0, 10.0, 10.0, 0, 1, 20, 10.0, true, true, false)
	f.Fuzz(func(t *testing.T, wanted, base, asked int, a, b, c float64, waiting, least, most int, target float64, zero, called, failing bool) {
		if wanted < 0 || base < 0 || asked < 0 || least < 0 || most < least || waiting < 0 || !(target > 0) || !(a >= 0) || !(b >= 0) || !(c >= 0) {
			t.Skip()
		}
		s := rps(func(s *lofn.Scaling) {
			s.Min, s.Max, s.Target, s.Zero, s.Type = least, most, target, zero, lofn.ScaleByCapacity
		})
		l := scale.Load{Load: lofn.Load{Waiting: waiting, Failing: failing}, Wanted: wanted, Base: base, Asked: asked, Called: called, Busy: noon, Known: true, Averages: [3]float64{a, b, c}}
		d := scale.Decide(noon, l, s)
		if d.Replicas != 0 && (d.Replicas < max(least, 1) || d.Replicas > max(s.Most(), 1)) {
			t.Errorf("%+v, %+v: %d replicas", l, s, d.Replicas)
		}
		if called && d.Replicas == 0 {
			t.Errorf("%+v, %+v: none, though it is called", l, s)
		}
		if failing && d.Replicas > max(wanted, least, 1) && asked <= wanted {
			t.Errorf("%+v, %+v: %d replicas of what fails", l, s, d.Replicas)
		}
	})
}
