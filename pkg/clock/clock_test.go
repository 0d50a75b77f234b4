package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

func TestSystemUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := (clock.System{}).Until(t.Context(), start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("waited %s, want 1h", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (clock.System{}).Until(ctx, start.Add(2*time.Hour)); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled wait gives %v", err)
		}
	})
}

func TestScaledRunsAtItsSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Date(2020, 1, 5, 13, 0, 0, 0, time.UTC)
		c, from := clock.NewScaled(begin, 60), time.Now()
		if err := c.Until(t.Context(), begin.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(from).Round(time.Millisecond); got != time.Minute {
			t.Errorf("an hour at 60x took %s", got)
		}
		if c.Now().Before(begin.Add(time.Hour)) {
			t.Errorf("Until returned at %s", c.Now())
		}
	})
}

func TestScaledHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Date(2020, 1, 5, 13, 0, 0, 0, time.UTC)
		c := clock.NewScaled(begin, 60)
		limit := begin.Add(time.Minute)
		c.Hold(limit)
		c.Hold(begin) // a limit never goes back
		<-time.After(time.Hour)
		if got := c.Now(); !got.Equal(limit) {
			t.Fatalf("after an hour the held clock shows %s, want %s", got, limit)
		}

		// Who waits beyond the limit waits until it is raised, and then at the clock's speed: the
		// time that it was held is not made up for.
		arrived := make(chan time.Duration)
		raised := time.Now()
		go func() {
			if err := c.Until(t.Context(), limit.Add(time.Minute)); err != nil {
				t.Error(err)
			}
			arrived <- time.Since(raised)
		}()
		synctest.Wait()
		c.Hold(time.Time{})
		if got := (<-arrived).Round(time.Millisecond); got != time.Second {
			t.Errorf("a minute at 60x after the hold took %s", got)
		}
	})
}
