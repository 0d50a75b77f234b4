package statistics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Feat is a record of the event in the sense of sports: the most, the longest, the first of something.
type Feat struct {
	// Name is one of the constants below.
	Name string `json:"name"`
	Streamer
	// Value is unknown, and the rest empty, where nothing that would tell was observed. Where it is
	// partial, there may have been more.
	Value Count `json:"value"`
	// Unit is that of Value: messages, emotes, gifts, viewers, cents or minutes.
	Unit string `json:"unit"`
	// At is when; of something that lasts its start, and To its end.
	At time.Time `json:"at"`
	To time.Time `json:"to,omitzero"`
	// Ties is how many other streamers have as long a LongestStream, in whole minutes.
	Ties int `json:"ties,omitempty"`
	// Other is who a raid came from; nil for one from outside. Currency is that of cents, and of the
	// amount of a First.
	Other    *Streamer `json:"other,omitempty"`
	Currency string    `json:"currency,omitempty"`
}

// The names of feats. Those that end in _event are the event's, the others a channel's.
const (
	MostMessages      = "most_messages_in_a_minute"
	MostMessagesEvent = "most_messages_in_a_minute_event"
	MostEmotes        = "most_emotes_in_a_minute"
	MostGifts         = "most_gifts_in_a_minute"
	HighestPeak       = "highest_peak"
	HighestPeakEvent  = "highest_peak_event"
	LargestDonation   = "largest_donation"
	MostRaised        = "most_raised_in_an_hour"
	MostRaisedEvent   = "most_raised_in_an_hour_event"
	BiggestRaid       = "biggest_raid"
	LongestStream     = "longest_stream"
	LongestWithout    = "longest_without_a_donation_event"
	// FirstTo and an amount in whole units of the currency, as first_to_100000: which streamer's total got
	// there first, minutes after the event's start; FirstTo and an amount and _event: the event's.
	FirstTo = "first_to_"
)

// milestones are the amounts of FirstTo, in whole units.
func milestones() (channel, event []int64) {
	return []int64{10_000, 50_000, 100_000, 500_000, 1_000_000}, []int64{100_000, 1_000_000, 5_000_000, 10_000_000, 15_000_000}
}

// Feats are the records of the event, about in the order of the constants; those that nobody holds are
// left out.
func (r *Reader) Feats(ctx context.Context) ([]Feat, error) {
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	t := &track{r: r, names: names}
	if t.funds, t.singles, err = r.mainFunds(ctx); err != nil {
		return nil, err
	}
	if err := t.readHours(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		t.minutes, t.peaks, t.largestDonation, t.raised, t.raid, t.stream, t.without, t.firsts,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return t.feats, nil
}

// track is what feats are looked for in.
type track struct {
	r       *Reader
	names   map[string]Streamer
	funds   map[string]*FundOf
	singles map[string]*FundOf
	hours   []record.Statistics // of all channels and the event
	feats   []Feat
}

func (t *track) readHours(ctx context.Context) (err error) {
	whole := Aligned(&t.r.event, t.r.Whole())
	t.hours, err = t.r.read(ctx, nil, store.Hours, "", Range{whole.From.Truncate(time.Hour), whole.To}, 0)
	return err
}

func (t *track) streamer(channel string) Streamer {
	if channel == record.AllChannels {
		return Streamer{Channel: channel, Login: t.r.event.Slug, Name: cmp.Or(t.r.event.Name, t.r.event.Slug)}
	}
	if s, ok := t.names[channel]; ok {
		return s
	}
	return Streamer{Channel: channel, Login: channel, Name: channel}
}

// add takes note of a feat if it is one.
func (t *track) add(name, channel, unit string, v Count, at, to time.Time) *Feat {
	if !v.Known() || v.N <= 0 {
		return nil
	}
	f := Feat{Name: name, Streamer: t.streamer(channel), Value: v, Unit: unit, At: at.UTC(), To: to}
	if unit == "cents" {
		if main, ok := MainFund(&t.r.event, t.r.whole.Donations); ok {
			f.Currency = main.Currency
		}
	}
	t.feats = append(t.feats, f)
	return &t.feats[len(t.feats)-1]
}

// minute is the minute with most of a number among those of hours. An hour's number is at least that of
// each of its minutes, and none is below 0: hours that have less than the best minute need no look.
func (t *track) minute(
	ctx context.Context, hours []record.Statistics, number func(d *record.Statistics) int64,
) (best record.Statistics, err error) {
	hours = slices.Clone(hours)
	slices.SortFunc(hours, func(a, b record.Statistics) int {
		return cmp.Or(cmp.Compare(number(&b), number(&a)), a.Time.Compare(b.Time), cmp.Compare(a.Channel, b.Channel))
	})
	for i := range hours {
		h := &hours[i]
		if n := number(h); n <= 0 || n < number(&best) {
			break
		}
		err := t.r.each(ctx, store.Minutes, h.Channel, Range{h.Time, h.Time.Add(time.Hour)}, 0, func(d *record.Statistics) error {
			if n, most := number(d), number(&best); n > most || n == most && n > 0 &&
				(d.Time.Before(best.Time) || d.Time.Equal(best.Time) && d.Channel < best.Channel) {
				best = *d
			}
			return nil
		})
		if err != nil {
			return best, err
		}
	}
	return best, nil
}

// unit is how many cents a whole unit of the event's money has.
func (t *track) unit() int64 {
	main, _ := MainFund(&t.r.event, t.r.whole.Donations)
	digits, _ := money.Digits(main.Currency)
	n := int64(1)
	for range digits {
		n *= 10
	}
	return n
}

// of are the hours of the event, or those of its channels.
func (t *track) of(event bool) []record.Statistics {
	return slices.DeleteFunc(slices.Clone(t.hours), func(d record.Statistics) bool {
		return (d.Channel == record.AllChannels) != event
	})
}

// chat is how complete chat is of the event.
func (t *track) chat() string {
	return chatCoverage(&t.r.whole, t.r.whole.Coverage.Expected)
}

func (t *track) viewers() string { return t.r.whole.Coverage.Viewers }

func (t *track) minutes(ctx context.Context) error {
	for _, m := range []struct {
		name, unit string
		event      bool
		number     func(d *record.Statistics) int64
	}{
		{MostMessages, "messages", false, func(d *record.Statistics) int64 { return d.Messages }},
		{MostMessagesEvent, "messages", true, func(d *record.Statistics) int64 { return d.Messages }},
		{MostEmotes, "emotes", false, func(d *record.Statistics) int64 { return d.Emotes.Total }},
		{MostGifts, "gifts", false, func(d *record.Statistics) int64 { return d.Gifts }},
	} {
		best, err := t.minute(ctx, t.of(m.event), m.number)
		if err != nil {
			return err
		}
		t.add(m.name, best.Channel, m.unit, count(m.number(&best), t.chat()), best.Time, time.Time{})
	}
	return nil
}

func (t *track) peaks(context.Context) error {
	for _, event := range []bool{false, true} {
		var best record.Statistics
		for _, d := range t.of(event) {
			if v, old := d.Viewers, best.Viewers; v.Peak > old.Peak || v.Peak == old.Peak && v.Peak > 0 &&
				(v.PeakAt.Before(old.PeakAt) || v.PeakAt.Equal(old.PeakAt) && d.Channel < best.Channel) {
				best = d
			}
		}
		name := HighestPeak
		if event {
			name = HighestPeakEvent
		}
		t.add(name, best.Channel, "viewers", count(best.Viewers.Peak, t.viewers()), best.Viewers.PeakAt, time.Time{})
	}
	return nil
}

// largestDonation is that of any channel, or of the event where the channel is not known.
func (t *track) largestDonation(ctx context.Context) error {
	largest := func(d *record.Statistics) int64 {
		if f := t.singles[d.Channel]; f != nil {
			return f.said([]record.Statistics{*d}).Largest
		}
		return 0
	}
	best, err := t.minute(ctx, t.of(true), largest)
	if err != nil || largest(&best) == 0 {
		return err
	}
	minute := Range{best.Time, best.Time.Add(time.Minute)}
	channel := best.Channel
	err = t.r.each(ctx, store.Minutes, "", minute, 0, func(d *record.Statistics) error {
		if d.Channel != record.AllChannels && channel == record.AllChannels && largest(d) == largest(&best) {
			channel = d.Channel
		}
		return nil
	})
	if err != nil {
		return err
	}
	known := t.donations(t.singles).Largest.Coverage
	t.add(LargestDonation, channel, "cents", count(largest(&best), known), best.Time, time.Time{})
	return nil
}

// donations is what one of the funds says of all of the event.
func (t *track) donations(funds map[string]*FundOf) Donations {
	f := funds[record.AllChannels]
	if f == nil {
		return Donations{}
	}
	whole := []record.Statistics{t.r.whole}
	g := *f
	g.Known = knownOf(&t.r.event, whole)[f.Source]
	return g.donations(g.said(whole), counted(&t.r.event, Aligned(&t.r.event, t.r.Whole()), t.r.through))
}

// raised are the hours in which most was raised. What a total has at its first sample was raised before.
func (t *track) raised(context.Context) error {
	purses := map[string]*purse{}
	type hour struct {
		channel string
		at      time.Time
		Count
	}
	var channel, event hour
	for i := range t.hours {
		d := &t.hours[i]
		f := t.funds[d.Channel]
		if f == nil {
			continue
		}
		w := purses[d.Channel]
		if w == nil {
			w = &purse{fund: f}
			purses[d.Channel] = w
		}
		var p Point
		clip := counted(&t.r.event, Range{d.Time, d.Time.Add(time.Hour)}, t.r.through)
		w.point(&p, t.hours[i:i+1], clip)
		best := &channel
		if d.Channel == record.AllChannels {
			best = &event
		}
		if p.RaisedCorrected.Known() && p.RaisedCorrected.N > best.N {
			*best = hour{d.Channel, d.Time, p.RaisedCorrected}
		}
	}
	t.add(MostRaised, channel.channel, "cents", channel.Count, channel.at, channel.at.Add(time.Hour))
	t.add(MostRaisedEvent, event.channel, "cents", event.Count, event.at, event.at.Add(time.Hour))
	return nil
}

func (t *track) raid(ctx context.Context) error {
	raids, err := t.r.Raids(ctx)
	if err != nil || len(raids) == 0 {
		return err
	}
	best := raids[0]
	for _, raid := range raids { // by time
		if raid.Viewers > best.Viewers {
			best = raid
		}
	}
	f := t.add(BiggestRaid, best.To, "viewers", count(best.Viewers, t.chat()), best.Time, time.Time{})
	if f != nil && best.From != "" {
		from := t.streamer(best.From)
		f.Other = &from
	}
	return nil
}

// stream is the longest, by what lies within the event.
func (t *track) stream(ctx context.Context) error {
	sessions, err := t.r.Sessions(ctx, record.AllChannels)
	if err != nil || len(sessions) == 0 {
		return err
	}
	best := sessions[0]
	for _, s := range sessions {
		if s.Length() > best.Length() {
			best = s
		}
	}
	minutes := best.Length() / time.Minute
	ties := map[string]bool{}
	for _, s := range sessions {
		ties[s.Channel] = ties[s.Channel] || s.Channel != best.Channel && s.Length()/time.Minute == minutes
	}
	f := t.add(LongestStream, best.Channel, "minutes", count(int64(minutes), t.viewers()), best.From, best.To)
	for _, tie := range ties {
		if f != nil && tie {
			f.Ties++
		}
	}
	return nil
}

// without is the longest time in which the event's total, sampled all along, did not move.
func (t *track) without(ctx context.Context) error {
	c, err := t.r.Curve(ctx, record.AllChannels, t.r.Whole(), time.Minute)
	if err != nil {
		return err
	}
	best, from := Range{}, time.Time{}
	for _, p := range c.Points {
		end := p.Time.Add(time.Minute)
		if p.Raised.Coverage != record.Complete || p.Raised.N != 0 || p.Donations.N > 0 {
			from = end
		}
		if from.IsZero() {
			from = p.Time
		}
		if now := (Range{from, end}); now.Length() > best.Length() {
			best = now
		}
	}
	if best.Length() > time.Minute {
		t.add(LongestWithout, record.AllChannels, "minutes",
			count(int64(best.Length()/time.Minute), t.donations(t.funds).Raised.Coverage), best.From, best.To)
	}
	t.eventFirsts(c)
	return nil
}

// first is the point of a curve of minutes at which an amount is first reached; nil where it is not.
func first(c Curve, cents int64) *Point {
	for i := range c.Points {
		if p := &c.Points[i]; p.Corrected.Known() && p.Corrected.N >= cents {
			return p
		}
	}
	return nil
}

// firstTo takes note of a first. It is complete where it is known that the total was not there before.
func (t *track) firstTo(name, channel string, p *Point) {
	minutes, coverage := max(int64(p.Time.Sub(t.r.event.Start)/time.Minute), 1), record.Partial
	if p.Raised.Coverage == record.Complete {
		coverage = record.Complete
	}
	if f := t.add(name, channel, "minutes", count(minutes, coverage), p.Time, time.Time{}); f != nil {
		if main, ok := MainFund(&t.r.event, t.r.whole.Donations); ok {
			f.Currency = main.Currency
		}
	}
}

func (t *track) eventFirsts(c Curve) {
	_, amounts := milestones()
	for _, units := range amounts {
		if p := first(c, units*t.unit()); p != nil {
			t.firstTo(FirstTo+strconv.FormatInt(units, 10)+"_event", record.AllChannels, p)
		}
	}
}

// firsts looks for the hour in which the first channel got there, and then at its minutes.
func (t *track) firsts(ctx context.Context) error {
	amounts, _ := milestones()
	last := map[string]*purse{}
	for _, units := range amounts {
		clear(last)
		var hour time.Time
		var candidates []string
		for i := range t.hours {
			d := &t.hours[i]
			f := t.funds[d.Channel]
			if f == nil || d.Channel == record.AllChannels {
				continue
			}
			if !hour.IsZero() && d.Time.After(hour) {
				break
			}
			w := last[d.Channel]
			if w == nil {
				w = &purse{fund: f}
				last[d.Channel] = w
			}
			var p Point
			w.point(&p, t.hours[i:i+1], counted(&t.r.event, Range{d.Time, d.Time.Add(time.Hour)}, t.r.through))
			if p.Corrected.Known() && p.Corrected.N >= units*t.unit() {
				hour = d.Time
				candidates = append(candidates, d.Channel)
			}
		}
		var best *Point
		var who string
		for _, channel := range candidates {
			c, err := t.r.Curve(ctx, channel, Range{hour, hour.Add(time.Hour)}, time.Minute)
			if err != nil {
				return fmt.Errorf("first to %d: %w", units, err)
			}
			if p := first(c, units*t.unit()); p != nil && (best == nil || p.Time.Before(best.Time) || p.Time.Equal(best.Time) && channel < who) {
				best, who = p, channel
			}
		}
		if who != "" {
			t.firstTo(FirstTo+strconv.FormatInt(units, 10), who, best)
		}
	}
	return nil
}
