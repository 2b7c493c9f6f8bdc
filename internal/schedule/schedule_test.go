package schedule_test

import (
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/schedule"
)

func TestWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		when, err := time.ParseInLocation("Mon 2006-01-02 15:04:05", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tc := range []struct {
		windows, now string
		open         bool
		until        string
	}{
		{"* 8-17 * * mon-fri", "Wed 2026-11-25 07:59:59", false, "Wed 2026-11-25 08:00:00"},
		{"* 8-17 * * mon-fri", "Wed 2026-11-25 08:00:00", true, "Wed 2026-11-25 18:00:00"},
		{"* 8-17 * * mon-fri", "Wed 2026-11-25 17:59:59", true, "Wed 2026-11-25 18:00:00"},
		{"* 8-17 * * mon-fri", "Fri 2026-11-27 18:00:00", false, "Mon 2026-11-30 08:00:00"},
		{"* 8-11 * * *; * 13-16 * * *", "Wed 2026-11-25 12:30:00", false, "Wed 2026-11-25 13:00:00"},
		{"* 8-11 * * *; * 12-16 * * *;", "Wed 2026-11-25 11:30:00", true, "Wed 2026-11-25 17:00:00"},
		{"0-29 * * * *", "Wed 2026-11-25 23:10:20", true, "Wed 2026-11-25 23:30:00"},
		{"CRON_TZ=UTC * 8 * * *", "Wed 2026-11-25 09:00:00", true, "Wed 2026-11-25 10:00:00"},
		{"* * * * *", "Wed 2026-11-25 09:00:00", true, "Thu 2026-11-26 09:00:00"},
		// Days of the month or of the week, as crontab(5) has it.
		{"* * 25 * mon", "Wed 2026-11-25 09:00:00", true, "Thu 2026-11-26 00:00:00"},
	} {
		w, err := schedule.Parse(tc.windows, berlin)
		if err != nil {
			t.Errorf("%s: %v", tc.windows, err)
			continue
		}
		if open, until := w.At(at(tc.now)); open != tc.open || !until.Equal(at(tc.until)) {
			t.Errorf("%s at %s: open %v until %v, want %v until %s", tc.windows, tc.now, open, until, tc.open, tc.until)
		}
	}
}

func TestWhatIsNoWindow(t *testing.T) {
	for text, want := range map[string]string{
		"":             "holds no cron expression",
		" ; ":          "holds no cron expression",
		"8-17":         "give minute, hour, day, month and weekday",
		"* 25 * * *":   `"* 25 * * *" is not a cron expression`,
		"@every 5m":    "is not a cron expression",
		"* 8 * * *; x": `"x" is not a cron expression`,
		"* * 30 2 *":   "never comes",
	} {
		if _, err := schedule.Parse(text, time.UTC); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
