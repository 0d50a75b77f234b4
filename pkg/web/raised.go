package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/record"
)

const (
	// raisedEvery is how many snapshots what was raised is shown for before it is read again.
	raisedEvery = 5
	// maxNext is how many of the next goals are shown.
	maxNext = 6
)

// Raised is what was raised, and which goals fall next.
type Raised struct {
	Source   string `json:"source"`
	Currency string `json:"currency"`
	// Digits is how many decimals the currency has: amounts are in its smallest unit.
	Digits int `json:"digits"`
	// Raw is the total as the source says it, Corrected with the corrections that hold; null where nothing
	// is known. They were sampled At.
	Raw       *int64     `json:"raw"`
	Corrected *int64     `json:"corrected"`
	At        *time.Time `json:"at"`
	// Quality is that of the total.
	Quality string `json:"quality"`
	// Next are the next goals to fall: of the event first, then those of channels, the soonest first,
	// and those without a time by what is missing. Goals is how many there are, Reached how many of them
	// are reached.
	Next    []NextGoal `json:"next"`
	Goals   int        `json:"goals"`
	Reached int        `json:"reached"`
}

// NextGoal is a goal that has not fallen yet.
type NextGoal struct {
	// Whose is the streamer's name; empty for the event.
	Whose   string `json:"whose"`
	Name    string `json:"name"`
	Amount  int64  `json:"amount"`
	Missing int64  `json:"missing"`
	// Progress is in thousandths.
	Progress int `json:"progress"`
	// Certainty is that of ETA: goals.Likely, goals.Possible or goals.Unsure. ETA is null with the last.
	Certainty string     `json:"certainty"`
	ETA       *time.Time `json:"eta"`
}

// readRaised reads what was raised, where that is due; nil where nobody gave anything and there are no
// goals.
func (b *builder) readRaised(ctx context.Context, now time.Time) (*Raised, error) {
	if b.live == nil {
		b.live = totals.NewLive(b.cfg.Store, false)
	} else if b.round%raisedEvery != 0 {
		return b.raised, nil
	}
	list, err := totals.Goals(ctx, b.cfg.Store, b.event.Slug)
	if err != nil {
		return nil, fmt.Errorf("read goals: %w", err)
	}
	o, cur, err := b.live.Overview(ctx, *b.event, list, now)
	if err != nil {
		return nil, fmt.Errorf("read what was raised: %w", err)
	}
	b.raised = b.raisedOf(o, cur)
	return b.raised, nil
}

func (b *builder) raisedOf(o goals.Overview, cur *totals.Current) *Raised {
	if !cur.Known && len(o.Goals) == 0 {
		return nil
	}
	r := &Raised{Source: cur.Fund.Source, Currency: cmp.Or(cur.Fund.Currency, b.event.Currency), Quality: record.Unknown, Next: []NextGoal{}, Goals: len(o.Goals)}
	r.Digits, _ = money.Digits(r.Currency)
	if t := cur.Event; cur.Known && t.Channel != "" {
		at := t.At
		r.Raw, r.Corrected, r.At, r.Quality = &t.Raw, &t.Corrected, &at, t.Coverage
	}
	for i := range o.Goals {
		if o.Goals[i].Reached || !o.Goals[i].Goal.Accomplished.IsZero() {
			r.Reached++
		}
	}
	next := make([]goals.Status, 0, len(o.Next))
	for _, s := range o.Next {
		next = append(next, s)
	}
	never := time.Unix(1<<40, 0)
	slices.SortFunc(next, func(a, b goals.Status) int {
		when := func(s goals.Status) time.Time {
			switch {
			case s.Goal.Channel == record.AllChannels:
				return time.Time{}
			case s.ETA.At.IsZero():
				return never
			}
			return s.ETA.At
		}
		return cmp.Or(when(a).Compare(when(b)), cmp.Compare(a.Missing, b.Missing), cmp.Compare(a.Goal.ID, b.Goal.ID))
	})
	for _, s := range next[:min(len(next), maxNext)] {
		g := NextGoal{
			Name: s.Goal.Name, Amount: s.Goal.Money.Cents, Missing: s.Missing, Progress: s.Progress, Certainty: s.ETA.Certainty,
		}
		if s.Goal.Channel != record.AllChannels {
			g.Whose = b.nameOf(s.Goal.Channel)
		}
		if at := s.ETA.At; !at.IsZero() {
			g.ETA = &at
		}
		r.Next = append(r.Next, g)
	}
	return r
}

// nameOf is what a channel is called.
func (b *builder) nameOf(id string) string {
	for _, ch := range b.channels {
		if ch.Channel == id {
			return cmp.Or(ch.Name, ch.Login, id)
		}
	}
	return id
}

// Money writes an amount in the currency of what was raised, whole units only.
func (v *view) Money(cents int64) string {
	return strings.ReplaceAll(money.FormatWhole(cents, v.Snap.Raised.Currency, v.lang), "\u202f", nbsp)
}

// RaisedTotal is what counts: the corrected total.
func (v *view) RaisedTotal() string {
	if r := v.Snap.Raised; r.Corrected != nil {
		return v.Money(*r.Corrected)
	}
	return "–"
}

// RaisedNote says what the total is, and what the source says where that is something else.
func (v *view) RaisedNote() string {
	r := v.Snap.Raised
	if r.Corrected == nil {
		return v.text("money.none")
	}
	parts := []string{v.text(r.Quality), v.text("money.at", "source", r.Source, "time", v.clock(*r.At))}
	if *r.Raw != *r.Corrected {
		parts = append(parts, v.text("money.raw", "n", v.Money(*r.Raw)))
	}
	return strings.Join(parts, " · ")
}

// GoalCount says how many goals are reached.
func (v *view) GoalCount() string {
	r := v.Snap.Raised
	if r.Goals == 0 {
		return v.text("money.nogoals")
	}
	return v.text("money.goals", "n", v.count(float64(r.Reached)), "of", v.count(float64(r.Goals)))
}

// GoalFacts say how far a goal is and when it falls.
func (v *view) GoalFacts(g NextGoal) string {
	parts := []string{v.text("money.missing", "n", v.Money(g.Missing), "of", v.Money(g.Amount))}
	if g.ETA != nil {
		parts = append(parts, v.text("money.eta", "time", v.clock(*g.ETA)), v.text("money.sure."+g.Certainty))
	} else {
		parts = append(parts, v.text("money.sure."+g.Certainty))
	}
	return strings.Join(parts, " · ")
}
