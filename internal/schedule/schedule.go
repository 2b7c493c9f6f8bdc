// Package schedule reads cron expressions. It is the only package that knows a
// library for them.
package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // a machine may have none, and expressions name zones

	cron "github.com/netresearch/go-cron"

	"lofn"
)

// Windows are times that come again. They are safe for concurrent use.
type Windows struct {
	of    []cron.Schedule
	local *time.Location
}

// form is that of crontab(5): five fields, and days of the month or of the week
// if both are restricted.
var form = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)

// Parse reads cron expressions, separated by semicolons. Each stands for the
// minutes that it matches: "* 8-17 * * mon-fri" for working hours. Its times
// are those of the location, unless it begins with CRON_TZ=Area/City. The error
// has code lofn.Invalid and says what would be right.
func Parse(text string, local *time.Location) (*Windows, error) {
	w := &Windows{local: local}
	for one := range strings.SplitSeq(text, ";") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		schedule, err := form.Parse(one)
		if err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "%q is not a cron expression (%w): give minute, hour, day, month and weekday, such as \"* 8-17 * * mon-fri\"", one, err)
		}
		if schedule.Next(time.Now()).IsZero() {
			return nil, lofn.Errorf(lofn.Invalid, "%q names a time that never comes", one)
		}
		w.of = append(w.of, schedule)
	}
	if len(w.of) == 0 {
		return nil, lofn.Errorf(lofn.Invalid, "%q holds no cron expression: give minute, hour, day, month and weekday, such as \"* 8-17 * * mon-fri\"", text)
	}
	return w, nil
}

// lookahead bounds how far At looks for the end of a window. What is open for
// longer is said to be open until then.
const lookahead = 24 * time.Hour

// At reports whether one of the windows is open now, and until when that holds
// at least.
func (w *Windows) At(now time.Time) (open bool, until time.Time) {
	minute := now.In(w.local).Truncate(time.Minute)
	if !w.matches(minute) {
		return false, w.next(minute)
	}
	end := minute.Add(time.Minute)
	for end.Sub(minute) < lookahead && w.matches(end) {
		end = end.Add(time.Minute)
	}
	return true, end
}

func (w *Windows) matches(minute time.Time) bool {
	for _, s := range w.of {
		if s.Next(minute.Add(-time.Second)).Equal(minute) {
			return true
		}
	}
	return false
}

// next is the first minute after that one matches.
func (w *Windows) next(minute time.Time) (first time.Time) {
	for _, s := range w.of {
		if t := s.Next(minute); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first
}
