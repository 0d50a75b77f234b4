package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
)

// Recording is how the closed minutes of a replayed event compare with the recorded rows.
type Recording struct {
	// Compared counts the rows of the event that have a value; Differing those whose closed minute
	// document is missing or says something else.
	Compared  int64    `json:"recorded_compared"`
	Differing int64    `json:"recorded_differing"`
	Examples  []string `json:"recorded_examples,omitempty"`
}

// Recorded compares every recorded row within the event with the event's closed minute document:
// messages, emotes and viewers, each where the row has a value.
func Recorded(ctx context.Context, s Store, event string, rows []sim.Minute) (Recording, error) {
	var r Recording
	ev, err := FindEvent(ctx, s, event)
	if err != nil {
		return r, err
	}
	for _, row := range rows {
		if row.Time.Before(ev.Start) || !row.Time.Before(ev.End) {
			continue
		}
		want := []struct {
			name string
			n    int
		}{{"messages", row.Messages}, {"emotes", row.Emotes}, {"viewers", row.Viewers}}
		recorded := false
		for _, w := range want {
			recorded = recorded || w.n != sim.NotRecorded
		}
		if !recorded {
			continue
		}
		r.Compared++
		differ := func(format string, args ...any) {
			if len(r.Examples) < maxExamples {
				r.Examples = append(r.Examples, row.Time.Format(time.RFC3339)+": "+fmt.Sprintf(format, args...))
			}
		}
		raw, err := s.Get(ctx, store.Minutes, record.StatisticsID(ev.Slug, record.AllChannels, row.Time))
		if errors.Is(err, store.ErrNotFound) {
			r.Differing++
			differ("there is no minute document")
			continue
		}
		if err != nil {
			return r, fmt.Errorf("read the minute %s: %w", row.Time, err)
		}
		var d record.Statistics
		if err := record.Decode(raw, &d); err != nil {
			return r, err
		}
		same := d.State == record.StateClosed
		if !same {
			differ("the minute is not closed")
		}
		got := []float64{float64(d.Messages), float64(d.Emotes.Total), d.Viewers.Average}
		for i, w := range want {
			if w.n != sim.NotRecorded && got[i] != float64(w.n) {
				same = false
				differ("%s %g, recorded %d", w.name, got[i], w.n)
			}
		}
		if !same {
			r.Differing++
		}
	}
	return r, nil
}
