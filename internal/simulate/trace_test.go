package simulate_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/simulate"
)

// written is a file with the text.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// calls are all calls of a trace.
func calls(t *testing.T, trace simulate.Trace) (all []simulate.Call) {
	t.Helper()
	open, err := trace.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for {
		call, err := open.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, call)
	}
}

func TestATraceIsReadFromAFile(t *testing.T) {
	trace, err := simulate.OpenFile(written(t, "\ufeffFunction, arrival,duration,memory\nhello,0.25,100ms,64Mi\nresize.dev,1,2,\nhello,1,0.000000001,1Gi\n"), false)
	if err != nil {
		t.Fatal(err)
	}
	dev := lofn.Ref{Namespace: "dev", Name: "resize"}
	if want := []simulate.Function{{Ref: hello, Memory: 1 << 30}, {Ref: dev}}; !slices.Equal(trace.Functions(), want) {
		t.Errorf("functions %v, want %v", trace.Functions(), want)
	}
	want := []simulate.Call{{At: 250 * time.Millisecond, Duration: 100 * time.Millisecond}, {At: time.Second, Function: 1, Duration: 2 * time.Second}, {At: time.Second, Duration: 1}}
	if got := calls(t, trace); !slices.Equal(got, want) || trace.Length() != time.Second || !trace.Start().IsZero() {
		t.Errorf("%v for %v from %v, want %v", got, trace.Length(), trace.Start(), want)
	}
}

func TestTimesOfDay(t *testing.T) {
	const lines = "arrival,function,duration\n2026-03-02T09:00:01+01:00,hello,1\n2026-03-02T08:00:00.5Z,hello,1\n"
	if _, err := simulate.OpenFile(written(t, lines), false); err == nil || !strings.Contains(err.Error(), ":3:1: comes before") {
		t.Errorf("out of order: %v", err)
	}
	trace, err := simulate.OpenFile(written(t, lines), true)
	if err != nil {
		t.Fatal(err)
	}
	if got := calls(t, trace); len(got) != 2 || got[0].At != 0 || got[1].At != 500*time.Millisecond {
		t.Errorf("sorted: %v", got)
	}
	if want := time.Date(2026, 3, 2, 8, 0, 0, 5e8, time.UTC); !trace.Start().Equal(want) {
		t.Errorf("begins at %v, want %v", trace.Start(), want)
	}
}

func TestBadTraces(t *testing.T) {
	const head = "arrival,function,duration\n"
	for text, want := range map[string]string{
		"":                                  "is empty: begin with the head",
		head:                                "has no calls",
		"arrival,function\n":                ":1:1: the head must name",
		"arrival,function,duration,mem\n":   `:1:27: "mem" is not a column`,
		"arrival,function,duration,arrival": `:1:27: "arrival" is not a column`,
		head + "0,hello,1\nx,hello,1\n":     `:3:1: arrival: "x" is not a time: use seconds`,
		head + "-1,hello,1\n":               `:2:1: arrival: "-1" is not a time`,
		head + "NaN,hello,1\n":              `:2:1: arrival: "NaN"`,
		head + "1e300,hello,1\n":            `:2:1: arrival: "1e300"`,
		head + "0,,1\n":                     `:2:3: function: "" is not a name`,
		head + "0,hello,fast\n":             `:2:9: duration: "fast" is not a duration: use seconds`,
		head + "0,hello,-1s\n":              `:2:9: duration: "-1s"`,
		head + "0,hello,NaN\n":              `:2:9: duration: "NaN"`,
		head + "0,hello\n":                  ":2:1: the line has not as many fields",
		head + "0,\"hello,1\n":              ":2:12: ", // the quote has no end
		head + "5,hello,1\n4.9,hello,1\n":   ":3:1: comes before the call of the line before: sort the lines by arrival, or give --sort",
		head + "0,hello,1\n2026-03-02T09:00:00Z,hello,1\n":                    `:3:1: arrival: "2026-03-02T09:00:00Z" is not a time`,
		head + "2026-03-02T09:00:00Z,hello,1\n5,hello,1\n":                    `:3:1: arrival: "5" is not a time like that of the first call`,
		"arrival,function,duration,memory\n0,hello,1,lots\n":                  `:2:11: memory: "lots" is not an amount of memory`,
		"arrival,function,duration\n0,hello,1\n\n7,hello,1,2,3\n":             ":4:1: the line has not as many fields",
		"arrival;function;duration\n0;hello;1\n":                              `"arrival;function;duration" is not a column`,
		head + "2006-03-02T09:00:00Z,hello,1\n2026-03-02T09:00:00Z,hello,1\n": `:3:1: arrival: 2026-03-02T09:00:00Z is years away`,
		"arrival,function,duration\n2026-03-02,hello,1\n":                     `:2:1: arrival: "2026-03-02" is not a time: use seconds`,
		"arrival,function,duration\n0,hello,1\n0.5,hello,\"1\n\",\n":          ":3:",
	} {
		path := written(t, text)
		_, err := simulate.OpenFile(path, false)
		if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) || lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := simulate.OpenFile("/no/such/file", false); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("no file: %v", err)
	}
	if _, err := simulate.OpenFile(t.TempDir(), false); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("a folder: %v", err)
	}
}

func TestAFileThatChangesIsAnError(t *testing.T) {
	path := written(t, "arrival,function,duration\n0,hello,1\n")
	trace, err := simulate.OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("arrival,function,duration\n0,other,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := simulate.Run(t.Context(), simulate.Config{Trace: trace}); err == nil || !strings.Contains(err.Error(), "do not change the file") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	for _, kind := range simulate.Kinds() {
		made := generate(t, simulate.Load{Kind: kind, Count: 30, Rate: 50, Length: time.Minute, Seed: 3})
		var text bytes.Buffer
		if err := simulate.Write(&text, made); err != nil {
			t.Fatal(err)
		}
		read, err := simulate.OpenFile(written(t, text.String()), false)
		if err != nil {
			t.Fatal(err)
		}
		named := func(trace simulate.Trace) (all []string) {
			functions := trace.Functions()
			for _, c := range calls(t, trace) {
				all = append(all, functions[c.Function].Name+" "+c.At.String()+" "+c.Duration.String())
			}
			return all
		}
		if !reflect.DeepEqual(named(made), named(read)) {
			t.Errorf("%s: what was read is not what was written", kind)
		}
	}
}

func TestLoadsHaveTheirRate(t *testing.T) {
	for _, kind := range simulate.Kinds() {
		l := simulate.Load{Kind: kind, Count: 50, Rate: 3, Length: 24 * time.Hour, Seed: 4}
		want := l.Rate
		if kind == simulate.KindStep {
			want /= 3
		}
		all := calls(t, generate(t, l))
		if got := float64(len(all)) / l.Length.Seconds(); math.Abs(got-want) > want/40 {
			t.Errorf("%s: %.2f calls/s, want %.2f", kind, got, want)
		}
		if !slices.IsSortedFunc(all, func(a, b simulate.Call) int { return int(a.At - b.At) }) {
			t.Errorf("%s is not in order", kind)
		}
	}
}

// TestAzureHasThePublishedShape holds the load to the figures of the paper.
func TestAzureHasThePublishedShape(t *testing.T) {
	const functions = 500
	trace := generate(t, simulate.Load{Kind: simulate.KindAzure, Count: functions, Length: 24 * time.Hour, Seed: 5, Rate: 50})
	counts, busy, total := make([]float64, functions), make([]float64, functions), 0.0
	open, _ := trace.Open()
	for {
		call, err := open.Next()
		if err != nil {
			break
		}
		counts[call.Function]++
		busy[call.Function] += call.Duration.Seconds()
		total++
	}
	var fast, called float64
	for i := range counts {
		if counts[i] > 0 {
			called++
		}
		if counts[i] > 0 && busy[i]/counts[i] < 1 {
			fast++
		}
	}
	slices.Sort(counts)
	top := 0.0
	for _, n := range counts[functions*81/100:] {
		top += n
	}
	if share := top / total; share < 0.99 || share > 0.999 {
		t.Errorf("the busiest 19 %% of the functions have %.2f %% of the calls, want 99 to 99.9", 100*share)
	}
	if part := fast / called; part < 0.4 || part > 0.55 {
		t.Errorf("%.0f %% of the functions take less than a second, want about half", 100*part)
	}
}

func TestBadLoads(t *testing.T) {
	for _, c := range []struct {
		load simulate.Load
		want string
	}{
		{simulate.Load{Kind: "weekly"}, "use steady, diurnal"},
		{simulate.Load{Kind: simulate.KindSteady, Count: -1}, "number of functions"},
		{simulate.Load{Kind: simulate.KindSteady, Rate: -1}, "rate"},
		{simulate.Load{Kind: simulate.KindSteady, Rate: math.NaN()}, "rate"},
		{simulate.Load{Kind: simulate.KindSteady, Length: -1}, "length"},
		{simulate.Load{Kind: simulate.KindBursty, Every: time.Second, Burst: time.Minute}, "bursts"},
		{simulate.Load{Kind: simulate.KindBursty, Every: -1}, "bursts"},
		{simulate.Load{Kind: simulate.KindBursty, Factor: 0.5}, "factor"},
	} {
		if _, err := simulate.Generate(c.load); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.load, err, c.want)
		}
	}
}

func TestSpreads(t *testing.T) {
	for text, want := range map[string]simulate.Spread{
		"250ms":               simulate.Exactly(250 * time.Millisecond),
		"p50=120ms,p99=900ms": simulate.LogNormal(120*time.Millisecond, 900*time.Millisecond),
	} {
		if got, err := simulate.ParseSpread(text); err != nil || got != want {
			t.Errorf("%q: %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "fast", "-1s", "2s-1s", "1s-", "p50=1s", "p50=2s,p99=1s", "p50=0s,p99=1s", "p50=1s,p95=2s", "1s,2s"} {
		if _, err := simulate.ParseSpread(text); lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSpreadsAreDrawnAsTheySay looks at the durations of made-up calls.
func TestSpreadsAreDrawnAsTheySay(t *testing.T) {
	for text, want := range map[string][2]time.Duration{ // p50, p99
		"100ms-300ms":      {200 * time.Millisecond, 298 * time.Millisecond},
		"p50=100ms,p99=1s": {100 * time.Millisecond, time.Second},
	} {
		spread, err := simulate.ParseSpread(text)
		if err != nil {
			t.Fatal(err)
		}
		var all []time.Duration
		for _, c := range calls(t, generate(t, simulate.Load{Kind: simulate.KindSteady, Rate: 100, Duration: spread, Seed: 6})) {
			all = append(all, c.Duration)
		}
		slices.Sort(all)
		for i, part := range []float64{0.5, 0.99} {
			if got := all[int(part*float64(len(all)))]; math.Abs(got.Seconds()/want[i].Seconds()-1) > 0.05 {
				t.Errorf("%s: of the durations %v are below %v, want %v", text, part, got, want[i])
			}
		}
	}
}
