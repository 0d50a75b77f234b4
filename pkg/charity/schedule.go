package charity

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tungstene/tungstene/pkg/clock"
)

// The schedules that a source has by default.
const (
	DefaultTotalsSchedule    = "*/30 * * * * *"
	DefaultDonationsSchedule = "*/15 * * * * *"
)

// never is the schedule of what is not polled.
const never = "never"

// parseSchedule reads a schedule as clock.ParseSchedule does; "never" is nil.
func parseSchedule(spec string) (cron.Schedule, error) {
	if strings.TrimSpace(spec) == never {
		return nil, nil //nolint:nilnil // no schedule is what never is
	}
	s, err := clock.ParseSchedule(spec)
	if err != nil {
		return nil, err
	}
	if s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("schedule %q never comes: write never if that is meant", strings.TrimSpace(spec))
	}
	return s, nil
}
