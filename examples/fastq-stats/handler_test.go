package function_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	function "handler/function"
)

// call sends a body to the function and returns status and answer.
func call(t *testing.T, target, accept string, body io.Reader) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, body)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	function.Handle(w, r)
	return w.Code, w.Body.String()
}

func summary(t *testing.T, body io.Reader) function.Summary {
	t.Helper()
	code, answer := call(t, "/", "", body)
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, answer)
	}
	var s function.Summary
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	return s
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// two reads whose statistics can be worked out by hand: qualities 40 40 40 40
// and 10 10 20 30 40 40.
const two = "@r1 first\nGGCC\n+\nIIII\n@r2\nATNUgR\n+r2\n++5?II\n"

func TestStatisticsWorkedOutByHand(t *testing.T) {
	got := summary(t, strings.NewReader(two))
	meanError := (6*1e-4 + 2*1e-1 + 1e-2 + 1e-3) / 10
	want := function.Summary{
		Reads: 2, Bases: 10,
		Length:    function.Length{Min: 4, Mean: 5, Max: 6},
		GCContent: 0.625, N: 1, Ambiguous: 1,
		Quality: function.Quality{
			MeanArithmetic:         31,
			MeanByErrorProbability: math.Round(-10*math.Log10(meanError)*1e6) / 1e6,
			Q20:                    0.8, Q30: 0.7,
		},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTheSameFileInOtherShapes(t *testing.T) {
	want := fmt.Sprint(summary(t, strings.NewReader(two)))
	first, second, _ := strings.Cut(two, "@r2")
	for name, body := range map[string]string{
		"gzip":                  string(zipped(t, two)),
		"gzip of two members":   string(zipped(t, first)) + string(zipped(t, "@r2"+second)),
		"CRLF":                  strings.ReplaceAll(two, "\n", "\r\n"),
		"no end of last line":   strings.TrimSuffix(two, "\n"),
		"blank lines at end":    two + "\n\r\n\n",
		"gzip, CRLF, no end":    string(zipped(t, strings.TrimSuffix(strings.ReplaceAll(two, "\n", "\r\n"), "\r\n"))),
		"lower case nucleotide": strings.Replace(two, "GGCC", "ggcc", 1),
	} {
		if got := fmt.Sprint(summary(t, strings.NewReader(body))); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

func TestQualityLineMayStartLikeAName(t *testing.T) {
	got := summary(t, strings.NewReader("@a\nAC\n+\n@I\n@b\nAC\n+\n+I\n"))
	if got.Reads != 2 || got.Bases != 4 {
		t.Errorf("got %d reads, %d bases, want 2 and 4", got.Reads, got.Bases)
	}
}

func TestReadsWithoutBases(t *testing.T) {
	for _, end := range []string{"\n\n", "\n", ""} {
		got := summary(t, strings.NewReader("@a\nAC\n+\nII\n@trimmed\n\n+"+end))
		if got.Reads != 2 || got.Length.Min != 0 || got.Length.Max != 2 {
			t.Errorf("end %q: got %+v", end, got)
		}
	}
	got := summary(t, strings.NewReader("@trimmed\n\n+\n\n"))
	if got.Reads != 1 || got.Bases != 0 || got.Quality != (function.Quality{}) {
		t.Errorf("got %+v", got)
	}
}

// Lines around the size of the reader's buffer, with the carriage return on
// either side of its edge.
func TestLongLines(t *testing.T) {
	const buffer = 64 << 10
	for _, length := range []int{buffer - 2, buffer - 1, buffer, buffer + 1, 3*buffer - 1, 3 * buffer} {
		for _, end := range []string{"\n", "\r\n"} {
			record := "@" + strings.Repeat("n", length-1) + end + strings.Repeat("G", length) + end + "+" + end + strings.Repeat("I", length) + end
			got := summary(t, strings.NewReader(record+record))
			if got.Reads != 2 || got.Bases != uint64(2*length) || got.GCContent != 1 || got.Quality.MeanArithmetic != 40 {
				t.Errorf("length %d, end %q: got %+v", length, end, got)
			}
		}
	}
}

// endless is a FASTQ file with one read of any length, made on the way.
func endless(bases int64) io.Reader {
	line := func(c byte) io.Reader { return io.LimitReader(repeat(c), bases) }
	return io.MultiReader(strings.NewReader("@long\n"), line('A'), strings.NewReader("\n+\n"), line('I'), strings.NewReader("\n"))
}

type repeat byte

func (c repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

func TestMemoryDoesNotGrowWithTheFile(t *testing.T) {
	allocated := func(bases int64) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got := summary(t, endless(bases)); got.Bases != uint64(bases) {
			t.Fatalf("got %d bases, want %d", got.Bases, bases)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := allocated(1<<20), allocated(16<<20)
	if large > small+64<<10 {
		t.Errorf("%d bytes allocated for 1 Mb, %d for 16 Mb", small, large)
	}
}

func TestErrorsNameRecordAndLine(t *testing.T) {
	const good = "@a\nACGT\n+\nIIII\n"
	for _, c := range []struct{ name, body, want string }{
		{"not FASTQ", ">a\nACGT\n", `record 1, line 1: a record starts with '@', not with '>'`},
		{"name missing", good + "ACGT\n", `record 2, line 5: a record starts with '@', not with 'A'`},
		{"no sequence", good + "@b x\n", `record 2 ("@b x"), line 6: the file ends before the sequence`},
		{"digit in sequence", good + "@b\nAC1T\n+\nIIII\n", `record 2 ("@b"), line 6: column 3: '1' is not a base`},
		{"wrapped sequence", "@b\nACGT\nACGT\n+\nIIII\nIIII\n", `record 1 ("@b"), line 3: the third line of a record starts with '+', not with 'A': sequences over several lines are not supported`},
		{"empty separator", "@b\nACGT\n\nIIII\n", `record 1 ("@b"), line 3: the third line of a record starts with '+', this one is empty`},
		{"no separator", "@b\nACGT\n", `record 1 ("@b"), line 3: the file ends before the '+' line`},
		{"no qualities", "@b\nACGT\n+\n", `record 1 ("@b"), line 4: the file ends before the qualities`},
		{"too few qualities", good + good + "@b\nACGT\n+\nIII\n", `record 3 ("@b"), line 12: 3 qualities for 4 bases`},
		{"too many qualities", "@b\nACGT\n+\nIIIII\n", `record 1 ("@b"), line 4: 5 qualities for 4 bases`},
		{"space in qualities", "@b\nACGT\n+\nII I\n", `record 1 ("@b"), line 4: column 3: ' ' is not a quality, which are '!' to '~'`},
		{"blank line between", good + "\n" + good, `record 2, line 5: the line is empty, and more lines follow`},
		{"gzip cut off", string(zipped(t, good))[:len(zipped(t, good))-8], `record 2, line 5: the file is cut off`},
		{"gzip in name only", "\x1f\x8bACGT", `the body starts like a gzip file but is none`},
		{"empty", "", "the body has no reads"},
		{"long name is shortened", "@" + strings.Repeat("x", 1000) + "\nA\n+\n\n", `record 1 ("@` + strings.Repeat("x", 59) + `"), line 4`},
	} {
		code, answer := call(t, "/", "", strings.NewReader(c.body))
		if code != http.StatusBadRequest || !strings.HasPrefix(answer, c.want) {
			t.Errorf("%s: status %d, %q\nwant 400, %q", c.name, code, answer, c.want)
		}
	}
}

func TestWarnsOfPhred64(t *testing.T) {
	for qualities, warned := range map[string]bool{
		"hhhgffB@": true,  // Illumina 1.5
		"IIIHFF#5": false, // Phred+33
		"~~~~~~~K": false, // long, accurate reads
	} {
		got := summary(t, strings.NewReader("@a\nACGTACGT\n+\n"+qualities+"\n"))
		if (len(got.Warnings) > 0) != warned {
			t.Errorf("qualities %s: warnings %q, want any: %v", qualities, got.Warnings, warned)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct{ target, accept, want string }{
		{"/", "", "{"},
		{"/", "*/*", "{"},
		{"/", "application/json, text/plain", "{"},
		{"/", "text/plain", "reads"},
		{"/", "text/html, text/plain;q=0.9, */*;q=0.1", "reads"},
		{"/?format=text", "application/json", "reads"},
		{"/?format=json", "text/plain", "{"},
	} {
		if _, answer := call(t, c.target, c.accept, strings.NewReader(two)); !strings.HasPrefix(answer, c.want) {
			t.Errorf("%s, Accept %q: %q does not start with %q", c.target, c.accept, answer, c.want)
		}
	}
	if code, answer := call(t, "/?format=xml", "", strings.NewReader(two)); code != http.StatusBadRequest {
		t.Errorf("format=xml: status %d, %q", code, answer)
	}
}
