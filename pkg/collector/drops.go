package collector

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// errDropped says that a record was dropped, as the policy has it.
var errDropped = errors.New("no room for it: dropped")

const (
	// dropsEvery is how often a word on what was dropped of an event is written at the most.
	dropsEvery = time.Minute
	// dropsTold is how long the condition stays after the last drop.
	dropsTold = 10 * time.Minute
	// holesKept is how long a hole is remembered for coverage that was held back; see chat.Reader.Cut.
	holesKept = 2 * time.Minute
)

// drops is what was dropped and not yet told. The batcher's mutex guards it.
type drops struct {
	losses map[string]*loss     // by event
	told   map[string]time.Time // when the last word on an event was written
	// open is the hole in coverage that grows as long as there is no room, holes those before it.
	open  *hole
	holes []hole

	since, last time.Time // of the condition
	records     int64     // since the start
}

// hole is a span of receive times in which lines were dropped, both ends inclusive.
type hole struct {
	from, to time.Time
	closed   time.Time // by the machine's clock
}

// loss is what was dropped of one event since the last word on it.
type loss struct {
	from, to time.Time // of the records, inclusive
	reason   string
	channels map[string]*record.DroppedChannel
}

// drop counts records that there was no room for. They were received at a time, or, when that is
// zero, not over chat: then the next sweep emits sessions and changes again, and nothing claims that
// samples are there.
func (d *drops) drop(at time.Time, failure error, records []record.Record) (n int) {
	now := time.Now()
	if !at.IsZero() {
		if d.open == nil {
			d.open = &hole{from: at, to: at}
		}
		if at.Before(d.open.from) {
			d.open.from = at
		}
		if at.After(d.open.to) {
			d.open.to = at
		}
	}
	for i := range records {
		r := &records[i]
		switch r.Kind {
		case record.KindSession, record.KindChange, record.KindCoverage, record.KindDropped, record.KindDonation:
			continue
		default:
		}
		n++
		d.count(r, failure)
	}
	if n > 0 {
		if d.since.IsZero() {
			d.since = now
		}
		d.last = now
		d.records += int64(n)
	}
	return n
}

func (d *drops) count(r *record.Record, failure error) {
	l := d.losses[r.Event]
	if l == nil {
		l = &loss{from: r.Time, to: r.Time, channels: map[string]*record.DroppedChannel{}}
		if d.losses == nil {
			d.losses = map[string]*loss{}
		}
		d.losses[r.Event] = l
	}
	if r.Time.Before(l.from) {
		l.from = r.Time
	}
	if r.Time.After(l.to) {
		l.to = r.Time
	}
	l.reason = record.DroppedUnwritable
	if errors.Is(failure, local.ErrFull) {
		l.reason = record.DroppedFull
	}
	c := l.channels[r.Channel]
	if c == nil {
		c = &record.DroppedChannel{Channel: r.Channel}
		l.channels[r.Channel] = c
	}
	c.Records++
	if r.Kind == record.KindMessage {
		c.Messages++
	}
}

// room says that records are taken again: what comes from now on is no part of the hole.
func (d *drops) room() {
	if d.open != nil {
		d.open.closed = time.Now()
		d.holes = append(d.holes, *d.open)
		d.open = nil
	}
}

// without takes the holes out of spans. Call it after they were cut: whatever was dropped before
// that is in a hole by then.
func (d *drops) without(spans []chat.Span) []chat.Span {
	if d.open == nil && len(d.holes) == 0 {
		return spans
	}
	holes := slices.Clone(d.holes)
	if d.open != nil {
		holes = append(holes, *d.open)
	}
	for _, h := range holes {
		// Spans have milliseconds, and end before their end.
		from, to := record.Millis(h.from), record.Millis(h.to).Add(time.Millisecond)
		var left []chat.Span
		for _, s := range spans {
			before, after := s, s
			if from.Before(before.To) {
				before.To = from
			}
			if after.From.Before(to) {
				after.From = to
			}
			switch {
			case !from.Before(s.To) || !s.From.Before(to):
				left = append(left, s)
				continue
			case before.From.Before(before.To):
				left = append(left, before)
			}
			if after.From.Before(after.To) {
				left = append(left, after)
			}
		}
		spans = left
	}
	// What was cut now holds all that a hole of long ago could be in.
	now := time.Now()
	d.holes = slices.DeleteFunc(d.holes, func(h hole) bool { return now.Sub(h.closed) > holesKept })
	return spans
}

// words are the documents on what was dropped, of events that there was none on lately; at the end,
// of all.
func (d *drops) words(collector string, received time.Time, end bool) []record.Document {
	var out []record.Document
	now := time.Now()
	for _, event := range slices.Sorted(maps.Keys(d.losses)) {
		if told, ok := d.told[event]; ok && now.Sub(told) < dropsEvery && !end {
			continue
		}
		l := d.losses[event]
		doc := &record.Dropped{
			Header: record.Header{Event: event, Time: l.from, Received: received},
			To:     record.Millis(l.to).Add(time.Millisecond), Collector: collector, Reason: l.reason,
		}
		for _, id := range slices.Sorted(maps.Keys(l.channels)) {
			c := *l.channels[id]
			doc.Records += c.Records
			doc.Messages += c.Messages
			doc.Channels = append(doc.Channels, c)
		}
		out = append(out, doc)
		delete(d.losses, event)
		if d.told == nil {
			d.told = map[string]time.Time{}
		}
		d.told[event] = now
	}
	return out
}

// conditions is records-dropped.
func (d *drops) conditions(now time.Time) []control.Condition {
	if d.since.IsZero() {
		return nil
	}
	if now.Sub(d.last) > dropsTold && len(d.losses) == 0 {
		d.since = time.Time{}
		return nil
	}
	state := "there is room again; their time is a gap"
	if now.Sub(d.last) < 5*time.Second {
		state = "more are being dropped: see to the queue, and to the room on this collector's disk"
	}
	return []control.Condition{{
		Name: "records-dropped", Since: d.since,
		Detail: fmt.Sprintf("%d records were dropped since this collector started, the last at %s, because the outbox could not take them; %s",
			d.records, d.last.UTC().Format(time.TimeOnly), state),
	}}
}
