package statistics

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/record"
)

// Play is a time in which a channel streamed one category.
type Play struct {
	Stint
	// ID is Twitch's id of the category where it is known.
	ID, Name string
}

// PlaysOf are the categories of a channel's streams, by time: what a stream began with, and what changed
// while it ran. Changes are in the order of time. Where two meet, the next one begins.
func PlaysOf(sessions []Session, changes []record.Change) []Play {
	ids := map[string]string{}
	for _, c := range changes {
		if c.Field == record.FieldCategory && c.ToID != "" {
			ids[c.To] = c.ToID
		}
	}
	var out []Play
	for _, s := range sessions {
		now := Play{Stint: Stint{s.Channel, s.Range}, Name: s.Category}
		for _, c := range changes {
			switch {
			case c.Field != record.FieldCategory || c.To == now.Name || c.Time.Before(s.Started) || !c.Time.Before(s.To):
			case !c.Time.After(now.From):
				now.Name = c.To // before the part that is asked for
			default:
				next := now
				now.To = c.Time.UTC()
				out = append(out, now)
				next.From, next.Name = c.Time.UTC(), c.To
				now = next
			}
		}
		out = append(out, now)
	}
	out = slices.DeleteFunc(out, func(p Play) bool { return p.Empty() })
	for i := range out {
		out[i].ID = ids[out[i].Name]
	}
	slices.SortFunc(out, func(a, b Play) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Played is a Play and the documents of its minutes.
type Played struct {
	Play
	Documents []record.Statistics
}

// CategoriesOf puts together what was streamed, those that were watched most first. Of a play only what
// is counted (in e, through the start of the last closed minute) has minutes.
func CategoriesOf(e *record.Event, through time.Time, plays []Played) []Category {
	type sum struct {
		Category
		channels map[string]bool
		d        record.Statistics
		docs     []record.Statistics
		expected float64
	}
	sums := map[string]*sum{}
	for _, p := range plays {
		s := sums[p.Name]
		if s == nil {
			s = &sum{channels: map[string]bool{}, Category: Category{Name: p.Name}}
			sums[p.Name] = s
		}
		s.ID = cmp.Or(s.ID, p.ID)
		s.channels[p.Channel] = true
		s.Time += p.Length()
		s.Stints = append(s.Stints, p.Stint)
		s.expected += counted(e, Aligned(e, p.Range), through).Length().Seconds()
		for i := range p.Documents {
			d := &p.Documents[i]
			s.d.Messages += d.Messages
			s.d.Notices += d.Notices
			s.d.Coverage.Seconds += d.Coverage.Seconds
			s.d.Viewers.LiveMinutes += d.Viewers.LiveMinutes
			s.d.Viewers.WatchMinutes += d.Viewers.WatchMinutes
			if v := d.Viewers; v.SpanMinutes > 0 && (s.PeakAt.IsZero() || v.Peak > s.Peak.N ||
				v.Peak == s.Peak.N && (v.PeakAt.Before(s.PeakAt) || v.PeakAt.Equal(s.PeakAt) && p.Channel < s.PeakChannel)) {
				s.Peak.N, s.PeakAt, s.PeakChannel = v.Peak, v.PeakAt, p.Channel
			}
			s.docs = append(s.docs, *d)
		}
	}
	out := make([]Category, 0, len(sums))
	for _, s := range sums {
		chat, viewers := chatCoverage(&s.d, s.expected), viewersCoverage(e, s.docs, s.expected)
		c := s.Category
		c.Channels = len(s.channels)
		c.StreamMinutes = count(s.d.Viewers.LiveMinutes, viewers)
		c.WatchMinutes = measure(s.d.Viewers.WatchMinutes, viewers)
		c.Messages = count(s.d.Messages, chat)
		c.Peak = count(c.Peak.N, viewers)
		slices.SortFunc(c.Stints, func(a, b Stint) int {
			return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Channel, b.Channel))
		})
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Category) int {
		return cmp.Or(cmp.Compare(b.WatchMinutes.N, a.WatchMinutes.N), cmp.Compare(b.Time, a.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Categories are what a channel streamed in a range, or all of them (record.AllChannels), those that were
// watched most first. A minute in which the category changes belongs to the next.
func (r *Reader) Categories(ctx context.Context, channel string, rg Range) ([]Category, error) {
	sessions, err := r.Sessions(ctx, channel)
	if err != nil {
		return nil, err
	}
	rg = Aligned(&r.event, rg)
	byChannel := map[string][]Session{}
	for _, s := range sessions {
		if s.Range = s.Within(rg); !s.Empty() {
			byChannel[s.Channel] = append(byChannel[s.Channel], s)
		}
	}
	if channel == record.AllChannels {
		if _, err := r.allChanges(ctx); err != nil {
			return nil, err
		}
	}
	var plays []Played
	for c, of := range byChannel {
		changes, err := r.Changes(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, p := range PlaysOf(of, changes) {
			plays = append(plays, Played{Play: p})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanes)
	for i := range plays {
		g.Go(func() error {
			p := &plays[i]
			// Minutes are cut down at both ends, so that plays that meet share none.
			minutes := Aligned(&r.event, p.Range)
			var err error
			p.Documents, err = r.documents(ctx, p.Channel, minutes, 0)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // it says what it was about
	}
	return CategoriesOf(&r.event, r.through, plays), nil
}
