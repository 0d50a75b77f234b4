package collector_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// An event that is stopped stays assigned for a grace, with the end that it then has. So its
// coverage, which ends at the last line received, reaches that end on every connection, without a
// hole.
func TestCoverageReachesTheEndOfAStoppedEvent(t *testing.T) {
	w := newWorld(t, 12, 200)
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 200 })
	end := record.Millis(time.Now())
	w.master.change(func(m *master) {
		next := *m.assignment
		next.Revision++
		next.Events = slices.Clone(next.Events)
		next.Events[0].End = end
		m.assignment = &next
	})
	// until tells how far each connection is covered without a hole.
	until := func() map[string]time.Time {
		list := w.queue.coverage(t)
		slices.SortFunc(list, func(a, b record.Coverage) int { return a.Time.Compare(b.Time) })
		to := map[string]time.Time{}
		for _, c := range list {
			if last, ok := to[c.Connection]; !ok || !c.Time.After(last) {
				to[c.Connection] = c.To
			}
		}
		return to
	}
	eventually(t, "the coverage does not reach the end", func() bool {
		to := until()
		for _, t := range to {
			if t.Before(end) {
				return false
			}
		}
		return len(to) > 1
	})
	w.sent()
	stop()
}
