package clock_test

import (
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 4, 18, 0, 30, 5, time.UTC)
	for spec, want := range map[string]string{
		"* * * * *":                      "18:01:00",
		"*/20 * * * * *":                 "18:00:40",
		"@every 1m":                      "18:01:00",
		"@every 20s":                     "18:00:40",
		"@hourly":                        "19:00:00",
		"CRON_TZ=Asia/Kolkata 0 * * * *": "18:30:00",
	} {
		s, err := clock.ParseSchedule(spec)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := s.Next(at).UTC().Format(time.TimeOnly); got != want {
			t.Errorf("%s: %s", spec, got)
		}
	}
	for _, spec := range []string{"", "x", "TZ=UTC", "CRON_TZ=Mars/Olympus * * * * *", "@every 1ms", "@every 90.5s", "@every -1m", "@every x", "61 * * * *"} {
		if _, err := clock.ParseSchedule(spec); err == nil {
			t.Errorf("%q was taken", spec)
		}
	}
}
