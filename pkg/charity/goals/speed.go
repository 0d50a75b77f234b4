package goals

import (
	"math"
	"slices"
	"time"
)

// What times are estimated by.
const (
	// stale is how old the last point may be: of what is older, no speed is told.
	stale = 5 * time.Minute
	// leastSteps is how many steps a window must have.
	leastSteps = 6
	// steady is how many times the lower quartile the upper one may be, and far how many windows ahead a
	// time may lie, for it to be likely.
	steady = 4
	far    = 4
)

// Speed is how fast a channel's total has grown in the window before its last point, which must be no
// older than five minutes; false where nothing can be told. Growth is measured by the minute; where
// there is none in many of them, by steps of a sixth of the window. Steps whose ends no point is near
// are left out; of the rest there must be half.
func (b *Board) Speed(channel string, now time.Time) (Speed, bool) {
	t := b.tracks[channel]
	if t == nil || len(t.points) == 0 || now.Sub(t.points[len(t.points)-1].Time) > stale {
		return Speed{}, false
	}
	s := b.speed(t)
	return s, s.Steps > 0
}

// speed is measured once after each change of a track.
func (b *Board) speed(t *track) Speed {
	if t.fast {
		return t.speed
	}
	t.speed, t.fast = Speed{}, true
	for _, step := range []time.Duration{time.Minute, b.cfg.Window / leastSteps} {
		if step < time.Minute || b.cfg.Window/step < leastSteps {
			continue
		}
		s, ok := b.measure(t.points, step)
		if !ok {
			continue
		}
		t.speed = s
		if s.Low > 0 {
			break
		}
	}
	return t.speed
}

// measure takes the growth of each step of the window.
func (b *Board) measure(points []Point, step time.Duration) (Speed, bool) {
	expected := int(b.cfg.Window / step)
	grown := make([]int64, 0, expected)
	at := points[len(points)-1].Time
	near := max(step/2, time.Minute)
	i := len(points) - 1 // the last point at or before at
	later, known := points[i].Cents, true
	for range expected {
		at = at.Add(-step)
		for i >= 0 && points[i].Time.After(at) {
			i--
		}
		if i < 0 {
			break
		}
		ok := at.Sub(points[i].Time) <= near
		if ok && known {
			grown = append(grown, later-points[i].Cents)
		}
		later, known = points[i].Cents, ok
	}
	if len(grown)*2 < expected || len(grown) < leastSteps/2 {
		return Speed{}, false
	}
	slices.Sort(grown)
	perHour := func(share float64) int64 {
		n := grown[int(math.Round(share*float64(len(grown)-1)))]
		return int64(float64(n) * (float64(time.Hour) / float64(step))) // an estimate
	}
	return Speed{
		PerHour: perHour(0.5), Low: perHour(0.25), High: perHour(0.75), Step: step, Steps: len(grown), Expected: expected,
	}, true
}

// estimate is when a total has grown by so much.
func (b *Board) estimate(t *track, missing int64, now time.Time) Estimate {
	none := Estimate{Certainty: Unsure}
	last := t.points[len(t.points)-1].Time
	if now.Sub(last) > stale || !b.cfg.End.IsZero() && !now.Before(b.cfg.End) {
		return none
	}
	s := b.speed(t)
	at, ok := b.arrival(last, missing, s.PerHour, now)
	if !ok {
		return none
	}
	e := Estimate{Certainty: Possible, At: at}
	e.From, _ = b.arrival(last, missing, s.High, now)
	e.To, _ = b.arrival(last, missing, s.Low, now)
	if s.Steps*5 >= s.Expected*4 && s.Low > 0 && s.High <= steady*s.Low && at.Sub(now) <= far*b.cfg.Window && !e.To.IsZero() {
		e.Certainty = Likely
	}
	return e
}

// arrival is when a speed has brought so much; false where that is beyond the horizon or the end.
func (b *Board) arrival(last time.Time, missing, perHour int64, now time.Time) (time.Time, bool) {
	if perHour <= 0 {
		return time.Time{}, false
	}
	hours := float64(missing) / float64(perHour)
	if hours > (b.cfg.Horizon + stale).Hours() {
		return time.Time{}, false
	}
	at := last.Add(time.Duration(hours * float64(time.Hour))).Truncate(time.Second)
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > b.cfg.Horizon || !b.cfg.End.IsZero() && !at.Before(b.cfg.End) {
		return time.Time{}, false
	}
	return at, true
}
