package statistics

import (
	"context"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Minutes are the closed minute documents of a channel, or of the event, in a range, by time, without
// sketches and lists of emotes.
func (r *Reader) Minutes(ctx context.Context, channel string, rg Range) ([]record.Statistics, error) {
	return r.read(ctx, nil, store.Minutes, channel, Aligned(&r.event, rg), 0)
}

// material fetches what curves are made of: minute documents, or where all edges between steps are those of
// clock hours the documents of hours.
func (r *Reader) material(ctx context.Context, channel string, rg Range, step time.Duration) (Material, error) {
	m := Material{Event: r.event, Range: rg, Through: r.through, Channels: r.channels(channel)}
	var err error
	if m.Streamer, err = r.Streamer(ctx, channel); err != nil {
		return m, err
	}
	aligned := Aligned(&r.event, rg)
	if r.hourly(rg, step) {
		m.Documents, err = r.inHours(ctx, channel, aligned, 0)
	} else {
		m.Documents, err = r.read(ctx, nil, store.Minutes, channel, aligned, 0)
	}
	if err != nil {
		return m, err
	}
	if m.Funds, err = r.funds(ctx, channel, aligned); err != nil {
		return m, err
	}
	if len(m.Funds) == 0 {
		return m, nil
	}
	known := knownOf(&r.event, m.Documents)
	if channel != record.AllChannels {
		if known, err = r.knownMinutes(ctx); err != nil {
			return m, err
		}
	}
	for i := range m.Funds {
		m.Funds[i].Known = known[m.Funds[i].Source]
	}
	return m, nil
}

// hourly reports whether all steps of a curve meet where clock hours do: not those of an event that starts
// within one, and not days of some time zones.
func (r *Reader) hourly(rg Range, step time.Duration) bool {
	if step%time.Hour != 0 {
		return false
	}
	steps := stepsOf(&r.event, rg, r.through, step)
	for i := 1; i < len(steps); i++ {
		if !steps[i].From.Equal(steps[i].From.Truncate(time.Hour)) {
			return false
		}
	}
	return true
}

// knownMinutes is when single donations are known of in all of the event.
func (r *Reader) knownMinutes(ctx context.Context) (map[string][]Known, error) {
	return r.known.get(func() (map[string][]Known, error) {
		docs, err := r.read(ctx, nil, store.Minutes, record.AllChannels, Aligned(&r.event, r.Whole()), onlyDonations)
		return knownOf(&r.event, docs), err
	})
}

// inHours are the documents of whole hours, and of the minutes at the edges.
func (r *Reader) inHours(ctx context.Context, channel string, rg Range, want parts) ([]record.Statistics, error) {
	if r.through.IsZero() {
		return nil, nil
	}
	if !r.isWhole(rg) {
		return r.documents(ctx, channel, rg, want)
	}
	return r.read(ctx, nil, store.Hours, channel, Range{rg.From.Truncate(time.Hour), rg.To}, want)
}

// Curve is what happened on a channel, or in the event, step by step.
func (r *Reader) Curve(ctx context.Context, channel string, rg Range, step time.Duration) (Curve, error) {
	if err := checkStep(step); err != nil {
		return Curve{}, err
	}
	m, err := r.material(ctx, channel, rg, step)
	if err != nil {
		return Curve{}, err
	}
	return CurveOf(m, step)
}
