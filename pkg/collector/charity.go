package collector

import (
	"context"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// assembleCharity makes the poller of charity sources, where there are any.
func (c *Collector) assembleCharity() (err error) {
	cfg := c.cfg.Charity
	if len(cfg.Sources) == 0 {
		return nil
	}
	cfg.Dir = c.cfg.Dir
	cfg.Collector, cfg.Clock, cfg.Logger, cfg.Registerer = c.cfg.Name, c.cfg.Clock, c.cfg.Logger, c.cfg.Registerer
	cfg.Emit, cfg.Events = c.donations, c.charityEvents
	c.poller, err = charity.NewPoller(cfg)
	return err //nolint:wrapcheck // it says what it is of
}

// charityEvents are the events that sources are polled for.
func (c *Collector) charityEvents() []charity.Event {
	events := c.plan.Load().events
	out := make([]charity.Event, len(events))
	for i, ev := range events {
		out[i] = ev.charity
	}
	return out
}

// donations takes what a source answered. Who opted out is taken out of it. It returns when the records
// wait for the next tick: they get to the disk in the order in which they came here, so that no
// coverage gets there before the donations that it speaks of.
func (c *Collector) donations(ctx context.Context, docs []record.Document) error {
	p := c.plan.Load()
	records := make([]record.Record, 0, len(docs))
	for _, d := range docs {
		r, err := record.Encode(d)
		if err != nil {
			return err //nolint:wrapcheck // it says which document
		}
		if ev := p.event(r.Event); ev != nil && len(ev.excluded) > 0 {
			var done record.Redaction
			if r, done = record.Redact(r, ev.excludes); done == record.Removed {
				c.metrics.excluded.Inc()
				continue
			}
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil
	}
	return c.batch.add(ctx, time.Time{}, records...)
}

// event is a planned event by its slug; nil for one that is not planned.
func (p *plan) event(slug string) *plannedEvent {
	for _, ev := range p.events {
		if ev.slug == slug {
			return ev
		}
	}
	return nil
}

// Polls reports whether charity sources are polled for an event, once it begins.
func (c *Collector) Polls(event string) bool {
	ev := c.plan.Load().event(event)
	return c.poller != nil && ev != nil && ev.charity.Pseudonyms != nil
}

// LastPoll is the slot up to which every charity source has been polled, whether it answered or not; zero
// before the first, and without sources.
func (c *Collector) LastPoll() time.Time {
	if c.poller == nil {
		return time.Time{}
	}
	var least time.Time
	for i, s := range c.poller.Status() {
		if i == 0 || s.LastSlot.Before(least) {
			least = s.LastSlot
		}
	}
	return least
}

func sourcesOf(list []charity.SourceStatus) []control.Source {
	out := make([]control.Source, len(list))
	for i, s := range list {
		out[i] = control.Source{
			Name: s.Source, Kind: string(s.Kind), Events: s.Events, LastSlot: s.LastSlot, LastSuccess: s.LastSuccess,
			CompleteUntil: s.CompleteUntil, Backfilling: s.Backfilling, Donations: s.Donations, Outside: s.Outside,
			Requests: s.Requests, Failures: s.Failures,
		}
	}
	return out
}
