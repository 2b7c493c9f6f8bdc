package build

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStillAtIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := make(lines, 4)
		stop := (&logger{to: written}).stillAtIt("it is the first time")
		for _, c := range []struct {
			at   time.Duration
			want string
		}{
			{9 * time.Second, ""},
			{11 * time.Second, "  still at it after 10s: it is the first time\n"},
			{19 * time.Second, ""},
			{21 * time.Second, "  still at it after 20s\n"},
			{39 * time.Second, ""},
			{81 * time.Second, "  still at it after 40s\n  still at it after 1m20s\n"},
		} {
			time.Sleep(c.at - time.Since(bubbleStart()))
			synctest.Wait()
			if got := written.drain(); got != c.want {
				t.Errorf("after %v: got %q, want %q", c.at, got, c.want)
			}
		}
		stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := written.drain(); got != "" {
			t.Errorf("after the end: %q", got)
		}
	})
}

// lines is a Writer whose reader is another goroutine: synctest.Wait orders what
// others did before it, not what is done after it.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lines) drain() (text string) {
	for len(l) > 0 {
		text += <-l
	}
	return text
}

// bubbleStart is when every synctest bubble's clock begins.
func bubbleStart() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func TestStillAtItWithoutALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := (&logger{}).stillAtIt("nobody is told")
		time.Sleep(time.Minute)
		stop()
	})
}

func TestShortStepsSayNothingMore(t *testing.T) {
	var written bytes.Buffer
	r := &runner{function: "fn", template: &Template{recipe: &recipe{}}, folder: t.TempDir(), log: &logger{to: &written}}
	if err := r.run(t.Context(), step{Name: "quick", Run: []string{"true"}, Slow: "never"}); err != nil {
		t.Fatal(err)
	}
	if got := written.String(); strings.Contains(got, "still at it") || got != "quick: true\n" {
		t.Errorf("got %q", got)
	}
}
