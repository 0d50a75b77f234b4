package rollup

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/axiomhq/hyperloglog"

	"github.com/tungstene/tungstene/pkg/record"
)

// sumEmotes is how many emotes a sum keeps between additions. The documents that it is made of list
// at most TopEmotes each, so that it takes long to get there; it bounds the memory of an event's
// totals.
const sumEmotes = 2000

// Merge joins the documents of two spans of one channel, or of all, that have no minute in common,
// of an event that starts at start. It is commutative and associative, except that counts of
// Emotes.Top are lower bounds once a list was truncated, and that sums of fractions (WatchMinutes,
// Coverage, Seconds of Donations) round. Coverage is that of the two spans, not of what lies between. ID is a's; Counted,
// Epoch and Through are the later ones; State is closed when both are. It fails when a sketch can't
// be read.
func Merge(start time.Time, a, b record.Statistics) (record.Statistics, error) {
	s := newSum(a.Channel)
	for _, d := range [...]*record.Statistics{&a, &b} {
		if err := s.add(d); err != nil {
			return record.Statistics{}, err
		}
	}
	m := s.statistics()
	m.ID, m.Event = a.ID, a.Event
	m.Time = a.Time
	if b.Time.Before(m.Time) {
		m.Time = b.Time
	}
	m.State = record.StateClosed
	if a.State != record.StateClosed || b.State != record.StateClosed {
		m.State = record.StateOpen
	}
	m.Epoch = max(a.Epoch, b.Epoch)
	m.Counted = later(a.Counted, b.Counted)
	m.Through = later(a.Through, b.Through)
	m.Coverage = coverage(m.Coverage.Seconds, m.Coverage.Expected, 0, 0)
	m.Coverage.Viewers = together(viewersOf(start, &a), viewersOf(start, &b))
	return m, nil
}

// viewersOf is how complete a document's viewers are; empty where that says nothing: it is of no
// minute, or of none that a sample is expected of, and has none.
func viewersOf(start time.Time, d *record.Statistics) string {
	if d.Coverage.Viewers == record.Unknown && d.Through.Before(start) {
		return ""
	}
	return d.Coverage.Viewers
}

// together judges two spans of which each is judged.
func together(a, b string) string {
	switch {
	case a == b && a != "", b == "" && a != "":
		return a
	case a == "" && b != "":
		return b
	case a == "":
		return record.Unknown
	}
	return record.Partial
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sum adds up documents of one channel or of one event. Its result depends on the order of the
// documents by rounding and truncation only; those who want the same document whatever way it came
// about add in the order of time.
type sum struct {
	total  record.Statistics // counts and viewers; neither chatters nor emotes
	sketch *hyperloglog.Sketch
	// chatters says that the sketch is not empty.
	chatters bool
	emotes   map[string]emote
	uses     int64 // of all emotes, listed or not
	more     bool  // some list was truncated
}

func newSum(channel string) *sum {
	s := &sum{sketch: newSketch(precisionOf(channel)), emotes: map[string]emote{}}
	s.total.Channel = channel
	return s
}

func precisionOf(channel string) uint8 {
	if channel == record.AllChannels {
		return eventPrecision
	}
	return channelPrecision
}

func (s *sum) add(d *record.Statistics) error {
	if len(d.Chatters.Sketch) > 0 {
		var k hyperloglog.Sketch
		if err := k.UnmarshalBinary(d.Chatters.Sketch); err != nil {
			return fmt.Errorf("sketch of %s: %w", d.ID, err)
		}
		if err := s.sketch.Merge(&k); err != nil {
			return fmt.Errorf("sketch of %s: %w", d.ID, err)
		}
		s.chatters = true
	}
	addCounts(&s.total, d)
	s.total.Donations = mergeDonations(s.total.Donations, d.Donations)
	s.total.Minutes += d.Minutes
	addAudience(&s.total.Viewers, &d.Viewers)
	s.total.Coverage.Seconds += d.Coverage.Seconds
	s.total.Coverage.Expected += d.Coverage.Expected
	s.uses += d.Emotes.Total
	s.more = s.more || d.Emotes.Truncated
	for _, e := range d.Emotes.Top {
		addEmote(s.emotes, e.ID, emote{name: e.Name, count: int64(e.Count)})
	}
	if len(s.emotes) > sumEmotes {
		list, _ := top(s.emotes, sumEmotes/2)
		clear(s.emotes)
		for _, e := range list {
			s.emotes[e.ID] = emote{name: e.Name, count: int64(e.Count)}
		}
		s.more = true
	}
	return nil
}

// clone is a copy that can be added to.
func (s *sum) clone() *sum {
	c := *s
	c.sketch = s.sketch.Clone()
	c.emotes = maps.Clone(s.emotes)
	return &c
}

// statistics is the sum without what identifies it: ID, Event, Time, State, Epoch, Counted, Through;
// its Coverage is not judged.
func (s *sum) statistics() record.Statistics {
	d := s.total
	d.Chatters = record.Chatters{Error: sketchError(precisionOf(d.Channel))}
	if s.chatters {
		d.Chatters = estimate(s.sketch, precisionOf(d.Channel), true)
	}
	d.Emotes.Top, d.Emotes.Truncated = nil, s.more
	if len(s.emotes) > 0 {
		list, cut := top(s.emotes, TopEmotes)
		d.Emotes.Top = slices.Clip(list)
		d.Emotes.Truncated = s.more || cut
	}
	d.Emotes.Total = s.uses
	return d
}

// addCounts adds the fields that simply add up.
func addCounts(s, d *record.Statistics) {
	s.Messages += d.Messages
	s.SharedCopies += d.SharedCopies
	s.FirstMessages += d.FirstMessages
	s.Bits += d.Bits
	s.Cheers += d.Cheers
	s.Subs += d.Subs
	s.Resubs += d.Resubs
	s.Gifts += d.Gifts
	s.GiftBombs += d.GiftBombs
	s.Upgrades += d.Upgrades
	s.Raids += d.Raids
	s.RaidViewers += d.RaidViewers
	s.Notices += d.Notices
	s.Bans += d.Bans
	s.Timeouts += d.Timeouts
	s.Deletes += d.Deletes
	s.Clears += d.Clears
}

func addAudience(v, w *record.Audience) {
	switch {
	case w.SpanMinutes == 0: // nothing was live
	case v.SpanMinutes == 0, w.Peak > v.Peak, w.Peak == v.Peak && w.PeakAt.Before(v.PeakAt):
		v.Peak, v.PeakAt = w.Peak, w.PeakAt
	}
	v.WatchMinutes += w.WatchMinutes
	v.LiveMinutes += w.LiveMinutes
	v.SampledMinutes += w.SampledMinutes
	v.SpanMinutes += w.SpanMinutes
	v.Average = 0
	if v.SpanMinutes > 0 {
		v.Average = v.WatchMinutes / float64(v.SpanMinutes)
	}
}
