package clock_test

import (
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

// Whatever a schedule is, it is refused or has slots that go on.
func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{
		"* * * * *", "*/10 * * * *", "@every 1m", "@every 90s", "@hourly", "*/30 * * * * *",
		"CRON_TZ=Europe/Paris 0 18 * * 5", "TZ=", "TZ=UTC", "CRON_TZ= ", "0 0 31 2 *", "5-1 * * * *", "*/0 * * * *", "",
	} {
		f.Add(s)
	}
	at := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, spec string) {
		s, err := clock.ParseSchedule(spec)
		if err != nil {
			return
		}
		// A day that never comes, as February 30, is the zero time.
		if next := s.Next(at); !next.IsZero() && !next.After(at) {
			t.Errorf("%q comes next at %s", spec, next)
		}
	})
}
