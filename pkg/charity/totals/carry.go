package totals

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// carrier makes the event's sums of its channels' totals whole: a channel that an answer lacks has not
// lost what it had. Members who are no channel are in a sum as of its slot; a channel that was removed
// from the event is one of them since.
type carrier struct {
	store Store
	event string
	fund  Fund
	known map[string]record.Donations   // by channel what was said of it since the event's start
	last  map[string]corrections.Sample // by channel the last sample that was read
	here  map[string]bool               // whether a channel is one of the event's; of those that were asked for
}

func newCarrier(s Store, event string, f Fund, known map[string]record.Donations) *carrier {
	c := &carrier{
		store: s, event: event, fund: f, known: map[string]record.Donations{}, last: map[string]corrections.Sample{}, here: map[string]bool{},
	}
	maps.Copy(c.known, known)
	return c
}

// sampled takes a channel's last sample of a span.
func (c *carrier) sampled(channel string, d record.Donations) {
	if d.Samples == 0 {
		return
	}
	if _, ok := c.known[channel]; !ok {
		c.known[channel] = d
	}
	c.last[channel] = corrections.Sample{Time: d.TotalAt, Cents: d.Total}
}

// sum is a sum of channels' totals with what those channels had last that it lacks; whole where it lacks
// none. The spans up to it must have been read.
func (c *carrier) sum(ctx context.Context, own record.Donations) (cents int64, whole bool, err error) {
	sampled, absent := int64(0), map[string]int64{}
	for channel, d := range c.known {
		s, ok := c.last[channel]
		if !ok && d.FirstAt.Before(own.SumAt) {
			if s, err = c.before(ctx, channel, d, own.SumAt); err != nil {
				return 0, false, err
			}
			c.last[channel], ok = s, true
		}
		switch {
		case !ok: // it begins later
		case s.Time.Before(own.SumAt):
			absent[channel] = s.Cents
		default:
			sampled++
		}
	}
	cents, whole = own.Sum, true
	for channel, total := range absent {
		if own.Channels > sampled { // a member is among them, who may be this one
			here, err := c.isHere(ctx, channel)
			if err != nil {
				return 0, false, err
			}
			if !here {
				continue
			}
		}
		cents, whole = cents+total, false
	}
	return cents, whole, nil
}

// before is a channel's last sample before a moment; d is what was said of it up to now.
func (c *carrier) before(ctx context.Context, channel string, d record.Donations, at time.Time) (corrections.Sample, error) {
	if d.TotalAt.Before(at) {
		return corrections.Sample{Time: d.TotalAt, Cents: d.Total}, nil
	}
	q := store.Query{Collection: store.Minutes, Event: c.event, Channel: channel, To: at, Descending: true}
	for m, err := range scan(ctx, c.store, q) {
		if err != nil {
			return corrections.Sample{}, err
		}
		if d, ok := Pick(m.Donations, c.fund); ok && d.Samples > 0 && d.TotalAt.Before(at) {
			return corrections.Sample{Time: d.TotalAt, Cents: d.Total}, nil
		}
	}
	return corrections.Sample{}, nil
}

func (c *carrier) isHere(ctx context.Context, channel string) (bool, error) {
	here, asked := c.here[channel]
	if asked {
		return here, nil
	}
	_, err := c.store.Get(ctx, store.Channels, c.event+"/"+channel)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("read channel %s of event %s: %w", channel, c.event, err)
	}
	c.here[channel] = err == nil
	return err == nil, nil
}

// whole yields documents of minutes, or of hours, of all channels in the order of time, the event's sums
// made whole; that of the event comes after those of the channels then.
func (c *carrier) whole(ctx context.Context, docs iter.Seq2[document, error]) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		var event *document
		flush := func() bool {
			if event == nil {
				return true
			}
			d := *event
			event = nil
			for i, said := range d.Donations {
				if (Fund{said.Source, said.Currency}) != c.fund {
					continue
				}
				var err error
				if d.Donations[i].Sum, _, err = c.sum(ctx, said); err != nil {
					yield(d, err)
					return false
				}
			}
			return yield(d, nil)
		}
		for d, err := range docs {
			if err != nil {
				yield(d, err)
				return
			}
			if event != nil && !d.Time.Equal(event.Time) && !flush() {
				return
			}
			said, ok := Pick(d.Donations, c.fund)
			switch {
			case !ok:
			case d.Channel != record.AllChannels:
				c.sampled(d.Channel, said)
			case said.Samples == 0 && !said.SumAt.IsZero():
				event = &d
				continue
			}
			if !yield(d, nil) {
				return
			}
		}
		flush()
	}
}

// samplesOf is by channel what a fund's total documents say, of those that were sampled.
func samplesOf(ctx context.Context, s Store, event string, f Fund) (map[string]record.Donations, error) {
	known := map[string]record.Donations{}
	for d, err := range scan(ctx, s, store.Query{Collection: store.Totals, Event: event}) {
		if err != nil {
			return nil, err
		}
		if said, ok := Pick(d.Donations, f); ok && said.Samples > 0 && d.Channel != record.AllChannels {
			known[d.Channel] = said
		}
	}
	return known, nil
}
