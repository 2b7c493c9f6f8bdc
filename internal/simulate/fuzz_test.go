package simulate_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lofn/internal/simulate"
)

// FuzzTrace: a file is either refused with its name and a place, or a trace whose
// calls are in order and the same when they are written and read again.
func FuzzTrace(f *testing.F) {
	for _, text := range []string{
		"arrival,function,duration\n0.25,hello,0.1\n3.5,resize.dev,1.2s\n",
		"function,memory,arrival,duration\nhello,64Mi,2026-03-02T09:15:00Z,1\nhello,,2026-03-02T09:15:00.5+01:00,1\n",
		"arrival,function,duration\n1e-9,\"a,b\",1h\n",
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, sort bool) {
		path := filepath.Join(t.TempDir(), "one.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		trace, err := simulate.OpenFile(path, sort)
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+":") {
				t.Fatalf("%v does not name the file", err)
			}
			return
		}
		all := calls(t, trace)
		if len(all) == 0 || all[0].At < 0 || !slices.IsSortedFunc(all, func(a, b simulate.Call) int { return int(a.At - b.At) }) {
			t.Fatalf("%v are not in order", all)
		}
		var again bytes.Buffer
		if err := simulate.Write(&again, trace); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(t.TempDir(), "two.csv")
		if err := os.WriteFile(path, again.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		second, err := simulate.OpenFile(path, false)
		if err != nil {
			t.Fatalf("cannot read %q: %v", again.Bytes(), err)
		}
		if got := calls(t, second); len(got) != len(all) || len(second.Functions()) != len(trace.Functions()) {
			t.Fatalf("%d calls became %d", len(all), len(got))
		}
	})
}
