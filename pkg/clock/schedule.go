package clock

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// ParseSchedule reads a schedule of cron: five fields, six with seconds first, or @every and its
// like (whole seconds). Fields are UTC unless CRON_TZ= says otherwise. Unlike cron's, the slots of @every are
// multiples of its span since the year 1, so that two collectors have the same ones.
func ParseSchedule(spec string) (cron.Schedule, error) {
	spec = strings.TrimSpace(spec)
	if span, ok := strings.CutPrefix(spec, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(span))
		if err != nil || d < time.Second || d%time.Second != 0 {
			return nil, fmt.Errorf("schedule %q: use whole seconds, like @every 1m", spec)
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
	return s, nil
}

type aligned time.Duration

// Next implements cron.Schedule.
func (d aligned) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(d)).Add(time.Duration(d))
}
