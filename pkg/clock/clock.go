// Package clock is the time that records, slots and grace are measured in. In production it is the
// system's; in a replay one scaled clock, set by the simulator, drives every role. What concerns
// the machine and not the event (time-outs, back-off, heartbeats, leases) uses package time.
package clock

import (
	"context"
	"math"
	"sync"
	"time"
)

// Clock tells event time and waits for it.
type Clock interface {
	// Now is the present moment of the event's time.
	Now() time.Time
	// Until blocks until Now is not before t, or the context ends, whose error it returns.
	Until(ctx context.Context, t time.Time) error
}

// System is the machine's clock.
type System struct{}

// Now is time.Now.
func (System) Now() time.Time { return time.Now() }

// Until waits for t.
func (System) Until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Scaled starts at a moment and runs at a multiple of real time. It can be held at a limit, which
// only grows: it stops there and goes on from there, at its speed, when the limit is raised.
type Scaled struct {
	mu      sync.Mutex
	speed   float64
	base    time.Time // event time at real
	real    time.Time
	limit   time.Time // zero: none
	changed chan struct{}
}

// NewScaled makes a clock that shows start now and runs speed times as fast as real time.
func NewScaled(start time.Time, speed float64) *Scaled {
	return &Scaled{speed: speed, base: start, real: time.Now(), changed: make(chan struct{})}
}

// Speed is how many times faster than real time the clock runs.
func (c *Scaled) Speed() float64 { return c.speed }

// Now is the scaled time, at most the limit.
func (c *Scaled) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Scaled) now() time.Time {
	t := c.base.Add(time.Duration(float64(time.Since(c.real)) * c.speed))
	if !c.limit.IsZero() && t.After(c.limit) {
		return c.limit
	}
	return t
}

// Hold sets the moment that the clock won't pass. A limit in the past of the last one is ignored;
// the zero time takes the limit away.
func (c *Scaled) Hold(limit time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !limit.IsZero() && !c.limit.IsZero() && limit.Before(c.limit) {
		return
	}
	// Time goes on from where it stood, without making up for the wait.
	c.base, c.real = c.now(), time.Now()
	c.limit = limit
	close(c.changed)
	c.changed = make(chan struct{})
}

// Until waits until the scaled time reaches t.
func (c *Scaled) Until(ctx context.Context, t time.Time) error {
	for {
		c.mu.Lock()
		now, changed := c.now(), c.changed
		reachable := c.limit.IsZero() || !t.After(c.limit)
		c.mu.Unlock()
		if !now.Before(t) {
			return nil
		}
		wait := time.Duration(math.MaxInt64)
		if reachable {
			wait = time.Duration(float64(t.Sub(now))/c.speed) + time.Microsecond
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
