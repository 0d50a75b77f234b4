package statistics

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Days cuts a range into the days of the event's time zone: from midnight to midnight, which is 23 or 25
// hours where the clocks change. The first and the last may be parts of a day.
func Days(e *record.Event, r Range) []Range {
	loc := location(e)
	var days []Range
	for r.From.Before(r.To) {
		next := earlier(nextDay(r.From, loc), r.To)
		days = append(days, Range{r.From.UTC(), next.UTC()})
		r.From = next
	}
	return days
}

func nextDay(t time.Time, loc *time.Location) time.Time {
	y, m, d := t.In(loc).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, loc).UTC()
}

// Hours cuts a range into clock hours (UTC). The first and the last may be parts of an hour.
func Hours(r Range) []Range {
	var hours []Range
	for r.From.Before(r.To) {
		next := earlier(r.From.Truncate(time.Hour).Add(time.Hour), r.To)
		hours = append(hours, Range{r.From, next})
		r.From = next
	}
	return hours
}
