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
		var written bytes.Buffer
		log := &logger{to: &written}
		stop := log.stillAtIt("it is the first time")
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
			if got := written.String(); got != c.want {
				t.Errorf("after %v: got %q, want %q", c.at, got, c.want)
			}
			written.Reset()
		}
		stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if written.Len() > 0 {
			t.Errorf("after the end: %q", written.String())
		}
	})
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
