package statistics

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Curve is what happened step by step. It has one point for each step of its range that is counted (until
// the last closed minute), also of those in which nothing was observed.
type Curve struct {
	Event string `json:"event"`
	Streamer
	Range
	// Step is a minute, or a divisor or a multiple of an hour. Up to an hour steps are those of the clock,
	// longer ones follow each other from the event's start, and multiples of a day begin at midnight in its
	// time zone. The first and the last may be shorter, and days where the clocks change are.
	Step time.Duration `json:"step"`
	// Source and Currency are those of the totals. Singles is the source of the single donations, in the
	// same currency: another one where that of the totals does not tell them.
	Source   string  `json:"source,omitempty"`
	Singles  string  `json:"singles,omitempty"`
	Currency string  `json:"currency,omitempty"`
	Points   []Point `json:"points"`
}

// Point is one step of a Curve. Offline is not unsampled: a channel that was sampled offline has 0
// viewers and is complete.
type Point struct {
	// Time is when the step starts, To its end where that is not Step later.
	Time     time.Time `json:"time"`
	To       time.Time `json:"to,omitzero"`
	Messages Count     `json:"messages"`
	Emotes   Count     `json:"emotes"`
	// Viewers is the average over the step's minutes with a live sample, Peak the highest number.
	Viewers      Measure `json:"viewers"`
	Peak         Count   `json:"peak"`
	WatchMinutes Measure `json:"watch_minutes"`
	// Subs are new, renewed and gifted subscriptions.
	Subs Count `json:"subs"`
	// Donations counts single donations, Given is their sum and Largest the largest of them. Total is the running total at
	// the end of the step, and Raised by how much it grew in it, as Donations.Raised; all in cents.
	// Total is unknown in a step without a sample.
	Donations       Count `json:"donations"`
	Given           Count `json:"given"`
	Largest         Count `json:"largest"`
	Total           Count `json:"total"`
	Corrected       Count `json:"corrected"`
	Raised          Count `json:"raised"`
	RaisedCorrected Count `json:"raised_corrected"`
}

// ErrStep is wrapped by errors about a step that no curve has.
var ErrStep = errors.New("invalid step")

// CurveOf makes a curve out of documents none of which reaches over the edge of a step (m.Sessions and
// m.Raids are not needed). The totals are those of the main fund. It fails for a step that is no
// minute, no divisor and no multiple of an hour.
func CurveOf(m Material, step time.Duration) (Curve, error) {
	if err := checkStep(step); err != nil {
		return Curve{}, err
	}
	c := Curve{Event: m.Event.Slug, Streamer: m.Streamer, Range: m.Range, Step: step}
	docs := slices.DeleteFunc(slices.Clone(m.Documents), func(d record.Statistics) bool {
		return d.State != record.StateClosed || d.Minutes == 0
	})
	slices.SortFunc(docs, func(a, b record.Statistics) int { return a.Time.Compare(b.Time) })
	var main, singles *FundOf
	for i := range m.Funds {
		if f := &m.Funds[i]; f.Main {
			main = f
			c.Source, c.Currency = f.Source, f.Currency
		}
		if f := &m.Funds[i]; f.Singles {
			singles = f
			c.Singles, c.Currency = f.Source, f.Currency
		}
	}
	money := purse{fund: main, singles: singles}
	if main != nil {
		money.last, money.of = main.Before, main.Of
	}
	for _, r := range stepsOf(&m.Event, m.Range, m.Through, step) {
		n := 0
		for n < len(docs) && docs[n].Time.Before(r.To) {
			n++
		}
		p := pointOf(&m, r.From, docs[:n], counted(&m.Event, r, m.Through), &money)
		if r.Length() != step {
			p.To = r.To
		}
		c.Points, docs = append(c.Points, p), docs[n:]
	}
	return c, nil
}

const day = 24 * time.Hour

func checkStep(step time.Duration) error {
	if step < time.Minute || step%time.Minute != 0 || time.Hour%step != 0 && step%time.Hour != 0 {
		return fmt.Errorf("%w %s: use a minute, or a divisor or a multiple of an hour", ErrStep, step)
	}
	return nil
}

// stepsOf cuts what is counted of a range into the steps of a curve.
func stepsOf(e *record.Event, r Range, through time.Time, step time.Duration) []Range {
	r = Aligned(e, r)
	if through.IsZero() {
		return nil
	}
	r.To = earlier(r.To, through.Add(time.Minute))
	if r.Empty() {
		return nil
	}
	out := make([]Range, 0, r.Length()/step+1)
	for next := nextStep(e, r.From, step); r.From.Before(r.To); {
		at := earlier(next(), r.To)
		out = append(out, Range{r.From, at})
		r.From = at
	}
	return out
}

// nextStep gives the edges between steps that are after a moment, one after the other.
func nextStep(e *record.Event, after time.Time, step time.Duration) func() time.Time {
	if step%day == 0 {
		loc, days := location(e), int(step/day)
		y, m, d := e.Start.In(loc).Date()
		midnight := func() time.Time { return time.Date(y, m, d, 0, 0, 0, 0, loc).UTC() }
		for midnight().After(after) { // before the event
			d -= days
		}
		return func() time.Time {
			d += days
			for !midnight().After(after) {
				d += days
			}
			return midnight()
		}
	}
	edge := after.Truncate(step)
	if step > time.Hour {
		start := record.Minute(e.Start)
		edge = start.Add(after.Sub(start).Truncate(step))
	}
	for edge.After(after) { // before the event
		edge = edge.Add(-step)
	}
	return func() time.Time {
		edge = edge.Add(step)
		return edge
	}
}

func pointOf(m *Material, at time.Time, docs []record.Statistics, clip Range, money *purse) Point {
	var sum record.Statistics
	var spans int64
	for i := range docs {
		d := &docs[i]
		sum.Messages += d.Messages
		sum.Notices += d.Notices
		sum.Emotes.Total += d.Emotes.Total
		sum.Subs += d.Subs + d.Resubs + d.Gifts
		sum.Coverage.Seconds += d.Coverage.Seconds
		sum.Viewers.WatchMinutes += d.Viewers.WatchMinutes
		sum.Viewers.Peak = max(sum.Viewers.Peak, d.Viewers.Peak)
		spans += d.Viewers.SpanMinutes
	}
	expected := clip.Length().Seconds() * float64(m.Channels)
	chat, viewers := chatCoverage(&sum, expected), viewersCoverage(&m.Event, docs, expected)
	p := Point{
		Time: at, Messages: count(sum.Messages, chat), Emotes: count(sum.Emotes.Total, chat), Subs: count(sum.Subs, chat),
		Peak: count(sum.Viewers.Peak, viewers), WatchMinutes: measure(sum.Viewers.WatchMinutes, viewers),
		Viewers: measure(0, viewers),
	}
	if spans > 0 {
		p.Viewers.N = sum.Viewers.WatchMinutes / float64(spans)
	}
	money.point(&p, docs, clip)
	return p
}

// purse is a running total on its way through the steps.
type purse struct {
	fund, singles *FundOf
	last          Standing
	of, most      int64 // how many channels' totals last is the sum of, and the most of the steps so far
}

// point sets what a step says of donations.
func (w *purse) point(p *Point, docs []record.Statistics, clip Range) {
	unknown := Count{Coverage: record.Unknown}
	p.Donations, p.Given, p.Largest = unknown, unknown, unknown
	p.Total, p.Corrected, p.Raised, p.RaisedCorrected = unknown, unknown, unknown, unknown
	if w.singles != nil {
		d := w.singles.donations(w.singles.said(docs), clip)
		p.Donations, p.Given, p.Largest = d.Count, d.Cents, d.Largest
	}
	if w.fund == nil {
		return
	}
	f := *w.fund
	said := f.said(docs)
	f.Before, f.First = w.last, Standing{said.First, said.FirstAt}
	if first := w.fund.First; f.By == ByChannels && !first.At.IsZero() {
		f.First = first // an hour's document has only the last
	}
	if f.By == ByChannels {
		before := w.most
		for _, r := range f.rolls(docs) {
			w.most = max(w.most, r.Channels)
		}
		f.Of, f.Rolls = w.of, append(slices.Clip(f.Rolls), Roll{clip.From, before}, Roll{clip.To, w.most})
	}
	d := f.donations(said, clip)
	p.Raised, p.RaisedCorrected = d.Raised, d.RaisedCorrected
	if now, ok := f.standing(&said); ok {
		w.last, w.of = now, said.Channels
		p.Total, p.Corrected = d.Total, d.Corrected
	}
	if f.late(w.last, clip) != 0 {
		p.Total, p.Corrected = d.Total, d.Corrected
	}
	if f.By == ByDonations {
		w.last = Standing{Cents: w.last.Cents + said.Cents}
		p.Total, p.Corrected = d.Total, d.Corrected
	}
}

// said is what documents, in the order of time, say of the fund together; First is the first standing.
func (f *FundOf) said(docs []record.Statistics) (said record.Donations) {
	for i := range docs {
		for _, d := range docs[i].Donations {
			if fund(d) != f.Fund {
				continue
			}
			said.Count += d.Count
			said.Cents += d.Cents
			said.Largest = max(said.Largest, d.Largest)
			if s, ok := f.standing(&d); ok && said.FirstAt.IsZero() {
				said.First, said.FirstAt = s.Cents, s.At
				if f.By == BySamples {
					said.First, said.FirstAt = d.First, d.FirstAt
				}
			}
			if d.Samples > 0 {
				said.Samples += d.Samples
				said.Total, said.TotalAt = d.Total, d.TotalAt
			}
			if !d.SumAt.IsZero() {
				said.Sum, said.SumAt, said.Channels = d.Sum, d.SumAt, d.Channels
			}
		}
	}
	return said
}
