package charity

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// The schedules that a source has by default.
const (
	DefaultTotalsSchedule    = "*/30 * * * * *"
	DefaultDonationsSchedule = "*/15 * * * * *"
)

// never is the schedule of what is not polled.
const never = "never"

// parseSchedule reads a schedule as schedules are read everywhere: cron's five fields, six with seconds
// first, or @every and its like, in UTC unless CRON_TZ= says otherwise. The slots of @every are
// multiples of its span, so that two collectors have the same ones. "never" is nil.
func parseSchedule(spec string) (cron.Schedule, error) {
	spec = strings.TrimSpace(spec)
	if spec == never {
		return nil, nil //nolint:nilnil // no schedule is what never is
	}
	if span, ok := strings.CutPrefix(spec, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(span))
		if err != nil || d < time.Second || d%time.Second != 0 {
			return nil, fmt.Errorf("schedule %q: use whole seconds, like @every 30s", spec)
		}
		return aligned(d), nil
	}
	// cron panics on a time zone without fields.
	if strings.Contains(spec, "TZ=") && !strings.Contains(spec, " ") {
		return nil, fmt.Errorf("schedule %q: the time zone is not followed by a schedule", spec)
	}
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	s, err := parser.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", spec, err)
	}
	if s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("schedule %q never comes: write never if that is meant", spec)
	}
	return s, nil
}

type aligned time.Duration

// Next implements cron.Schedule.
func (d aligned) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(d)).Add(time.Duration(d))
}
