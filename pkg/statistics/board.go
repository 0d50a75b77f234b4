package statistics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// The numbers that leaderboards are by.
const (
	ByDonated     = "donations"       // cents, corrected, of the event's own source
	ByPeakViewers = "peak_viewers"    // viewers
	ByAverage     = "average_viewers" // viewers
	ByWatchTime   = "watch_minutes"   // minutes
	ByStreamTime  = "stream_minutes"  // minutes
	ByMessages    = "messages"        // messages
	ByChatters    = "chatters"        // people, approximate
	ByEmotes      = "emotes"          // uses
	BySubs        = "subs"            // new, renewed and gifted subscriptions
	ByBits        = "bits"            // bits
	ByRaids       = "raid_in_viewers" // viewers that raids brought
	ByFirst       = "first_messages"  // messages
)

// Board is a leaderboard: who has most of a number, in order.
type Board struct {
	By string `json:"by"`
	// Currency is that of cents.
	Currency string `json:"currency,omitempty"`
	// Range is what the numbers are of, Before the end of the earlier standing that Change compares
	// with; the zero time where there is none.
	Range
	Before time.Time `json:"before,omitzero"`
	Rows   []Rank    `json:"rows"`
}

// Rank is one row of a Board.
type Rank struct {
	// Place counts from 1; equals share a place and are in order of their channel's id.
	Place int `json:"place"`
	Streamer
	Value Count `json:"value"`
	// Share is of the event's number, or of the sum of all rows where that is not known or is less; 0 where
	// sums say nothing (peaks, averages, chatters).
	Share float64 `json:"share,omitempty"`
	// Change is by how many places it has gone up (positive) or down since Board.Before; New says that
	// it had no place then.
	Change int  `json:"change"`
	New    bool `json:"new,omitempty"`
}

// Race is a leaderboard hour by hour: the standings at the end of each hour since the start.
type Race struct {
	By       string `json:"by"`
	Currency string `json:"currency,omitempty"`
	// From is the event's start.
	From time.Time `json:"from"`
	// Times are the ends of the hours.
	Times []time.Time `json:"times"`
	Lanes []Lane      `json:"lanes"`
	// Event are the event's own numbers by Times: what shares are of.
	Event []Count `json:"event,omitempty"`
}

// Lane is one streamer's way through a Race; lanes are in the order of the last standing.
type Lane struct {
	Streamer
	// Places are by Race.Times, 0 where it had none yet; Values its numbers then.
	Places []int   `json:"places"`
	Values []Count `json:"values"`
}

// Bys are all numbers that leaderboards are by.
func Bys() []string {
	return []string{
		ByDonated, ByPeakViewers, ByAverage, ByWatchTime, ByStreamTime, ByMessages, ByChatters, ByEmotes,
		BySubs, ByBits, ByRaids, ByFirst,
	}
}

// additive reports whether the sum of a number over all streamers says anything.
func additive(by string) bool {
	return by != ByPeakViewers && by != ByAverage && by != ByChatters
}

// ErrBy is wrapped by errors about a number that no leaderboard is by.
var ErrBy = errors.New("no leaderboard")

func checkBys(bys []string) error {
	for _, by := range bys {
		if !slices.Contains(Bys(), by) {
			return fmt.Errorf("%w by %q: use one of %s", ErrBy, by, strings.Join(Bys(), ", "))
		}
	}
	return nil
}

// Number is what a leaderboard compares of a summary. Averages and watch time are whole numbers there.
func (s *Summary) Number(by string) Count {
	rounded := func(m Measure) Count { return Count{N: int64(math.Round(m.N)), Coverage: m.Coverage, Error: m.Error} }
	switch by {
	case ByDonated:
		if d, ok := s.MainDonations(); ok {
			return d.Corrected
		}
	case ByPeakViewers:
		return s.PeakViewers
	case ByAverage:
		return rounded(s.AverageViewers)
	case ByWatchTime:
		return rounded(s.WatchMinutes)
	case ByStreamTime:
		return s.StreamMinutes
	case ByMessages:
		return s.Messages
	case ByChatters:
		return s.Chatters
	case ByEmotes:
		return s.Emotes
	case BySubs:
		return Count{N: s.Subs.N + s.Resubs.N + s.Gifts.N, Coverage: s.Subs.Coverage}
	case ByBits:
		return s.Bits
	case ByRaids:
		return s.RaidInViewers
	case ByFirst:
		return s.FirstMessages
	}
	return Count{Coverage: record.Unknown}
}

// BoardOf is a leaderboard of summaries of streamers over one range. Who has none of the number, or of
// whom it is not known, has no place. The event's own summary may be among them: shares are then of its
// number. The order of the summaries changes nothing.
func BoardOf(by string, summaries []Summary) (Board, error) {
	if err := checkBys([]string{by}); err != nil {
		return Board{}, err
	}
	b, whole := Board{By: by}, Count{}
	for i := range summaries {
		s := &summaries[i]
		b.Range = s.Range
		if s.Channel == record.AllChannels {
			whole = s.Number(by)
			continue
		}
		if d, ok := s.MainDonations(); ok && by == ByDonated {
			b.Currency = d.Currency
		}
		b.Rows = append(b.Rows, Rank{Streamer: s.Streamer, Value: s.Number(by)})
	}
	b.Rows = placed(by, b.Rows, whole)
	return b, nil
}

// placed sorts rows, gives them places and shares, and leaves those out that have none. whole is the event's
// number.
func placed(by string, rows []Rank, whole Count) []Rank {
	rows = slices.DeleteFunc(rows, func(r Rank) bool { return !r.Value.Known() || r.Value.N <= 0 })
	slices.SortFunc(rows, func(a, b Rank) int {
		return cmp.Or(cmp.Compare(b.Value.N, a.Value.N), cmp.Compare(a.Channel, b.Channel))
	})
	var sum float64
	for i := range rows {
		sum += float64(rows[i].Value.N)
		rows[i].Place = i + 1
		if i > 0 && rows[i].Value.N == rows[i-1].Value.N {
			rows[i].Place = rows[i-1].Place
		}
	}
	if whole.Known() {
		sum = max(sum, float64(whole.N))
	}
	for i := range rows {
		if additive(by) {
			rows[i].Share = float64(rows[i].Value.N) / sum
		}
	}
	return rows
}

// Since tells each row by how many places it went up or down since an earlier leaderboard.
func (b Board) Since(before Board) Board {
	was := make(map[string]int, len(before.Rows))
	for _, r := range before.Rows {
		was[r.Channel] = r.Place
	}
	b.Before, b.Rows = before.To, slices.Clone(b.Rows)
	for i := range b.Rows {
		r := &b.Rows[i]
		place, ok := was[r.Channel]
		r.Change, r.New = place-r.Place, !ok
		if !ok {
			r.Change = 0
		}
	}
	return b
}

// At is the leaderboard at the end of one of the hours, with the changes since the hour before. The range
// begins with the first hour.
func (r *Race) At(i int) Board {
	b := r.at(i)
	if i > 0 {
		return b.Since(r.at(i - 1))
	}
	return b
}

// Last is the leaderboard at the end of the last hour that is counted; empty where none is.
func (r *Race) Last() Board {
	if len(r.Times) == 0 {
		return Board{By: r.By, Currency: r.Currency, Range: Range{From: r.From, To: r.From}}
	}
	return r.At(len(r.Times) - 1)
}

func (r *Race) at(i int) Board {
	b := Board{By: r.By, Currency: r.Currency, Range: Range{From: r.From, To: r.Times[i]}}
	for _, l := range r.Lanes {
		b.Rows = append(b.Rows, Rank{Streamer: l.Streamer, Value: l.Values[i]})
	}
	var whole Count
	if i < len(r.Event) {
		whole = r.Event[i]
	}
	b.Rows = placed(r.By, b.Rows, whole)
	return b
}

// Races are leaderboards hour by hour, by each of the numbers; of none, of all. They are made in one pass
// over the hour documents.
func (r *Reader) Races(ctx context.Context, bys ...string) ([]Race, error) {
	if len(bys) == 0 {
		bys = Bys()
	}
	if err := checkBys(bys); err != nil {
		return nil, err
	}
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	funds, _, err := r.mainFunds(ctx)
	if err != nil {
		return nil, err
	}
	whole := counted(&r.event, Aligned(&r.event, r.Whole()), r.through)
	hours := Hours(whole)
	races := make([]Race, len(bys))
	for i, by := range bys {
		races[i] = Race{By: by, From: r.event.Start, Times: make([]time.Time, len(hours))}
		for h := range hours {
			races[i].Times[h] = hours[h].To
		}
		if main, ok := MainFund(&r.event, r.whole.Donations); ok && by == ByDonated {
			races[i].Currency = main.Currency
		}
	}
	want := parts(0)
	if slices.Contains(bys, ByChatters) {
		want = withSketch
	}
	runs, known := map[string]*run{}, map[string][]Known{}
	values := make([]map[string][]Count, len(bys))
	for i := range values {
		values[i] = map[string][]Count{}
	}
	hour := 0
	snapshot := func() {
		for channel, t := range runs {
			s := t.summary(hours[hour], known, want)
			for i, by := range bys {
				if channel == record.AllChannels && !additive(by) {
					continue
				}
				if values[i][channel] == nil {
					values[i][channel] = slices.Repeat([]Count{{Coverage: record.Unknown}}, len(hours))
				}
				values[i][channel][hour] = s.Number(by)
			}
		}
	}
	err = r.each(ctx, store.Hours, "", Range{whole.From.Truncate(time.Hour), whole.To}, want, func(d *record.Statistics) error {
		for hour < len(hours)-1 && !d.Time.Before(hours[hour].To) {
			snapshot()
			hour++
		}
		if d.Channel == record.AllChannels {
			for source, pieces := range knownOf(&r.event, []record.Statistics{*d}) {
				known[source] = append(known[source], pieces...)
			}
		}
		t := runs[d.Channel]
		if t == nil {
			t = &run{event: &r.event, fold: rollup.NewFold(r.event.Start, d.Channel), fund: funds[d.Channel], channels: r.channels(d.Channel)}
			runs[d.Channel] = t
		}
		return t.add(d)
	})
	if err != nil {
		return nil, err
	}
	for ; hour < len(hours); hour++ {
		snapshot()
	}
	for i := range races {
		races[i].Event = values[i][record.AllChannels]
		delete(values[i], record.AllChannels)
		races[i].lanes(names, values[i])
	}
	return races, nil
}

// run is what a channel, or the event, has done so far.
type run struct {
	event    *record.Event
	channels int // that are expected
	fold     *rollup.Fold
	fund     *FundOf
	docs     []record.Statistics // without sketches and donations: what viewers are judged by
	money    record.Donations
	rolls    []Roll
}

func (t *run) add(d *record.Statistics) error {
	if err := t.fold.Add(d); err != nil {
		return fmt.Errorf("hour %s: %w", d.ID, err)
	}
	t.docs = append(t.docs, record.Statistics{Through: d.Through, Viewers: d.Viewers, Coverage: d.Coverage})
	if t.fund == nil {
		return nil
	}
	for _, said := range d.Donations {
		if fund(said) != t.fund.Fund {
			continue
		}
		t.money.Cents += said.Cents
		t.money.Count += said.Count
		if said.Samples > 0 {
			t.money.Samples += said.Samples
			t.money.Total, t.money.TotalAt = said.Total, said.TotalAt
		}
		if !said.SumAt.IsZero() {
			t.money.Sum, t.money.SumAt, t.money.Channels = said.Sum, said.SumAt, said.Channels
		}
	}
	t.rolls = append(t.rolls, t.fund.rolls([]record.Statistics{*d})...)
	return nil
}

// summary is what counts for leaderboards at the end of an hour.
func (t *run) summary(hour Range, known map[string][]Known, want parts) Summary {
	d := t.fold.Statistics()
	clip := Range{t.event.Start, hour.To}
	var s Summary
	expected := clip.Length().Seconds() * float64(t.channels)
	s.numbers(&d, chatCoverage(&d, expected), viewersCoverage(t.event, t.docs, expected))
	if want&withSketch == 0 {
		s.Chatters = Count{Coverage: record.Unknown}
	}
	if t.fund != nil {
		f := *t.fund
		f.Known, f.Rolls = known[f.Source], t.rolls
		s.Donations = []Donations{f.donations(t.money, clip)}
	}
	return s
}

// lanes puts the standings into a race.
func (r *Race) lanes(names map[string]Streamer, values map[string][]Count) {
	for channel, of := range values {
		s, ok := names[channel]
		if !ok {
			s = Streamer{Channel: channel, Login: channel, Name: channel}
		}
		r.Lanes = append(r.Lanes, Lane{Streamer: s, Values: of, Places: make([]int, len(of))})
	}
	slices.SortFunc(r.Lanes, func(a, b Lane) int { return cmp.Compare(a.Channel, b.Channel) })
	place := map[string]int{}
	for i := range r.Times {
		clear(place)
		for _, row := range r.at(i).Rows {
			place[row.Channel] = row.Place
		}
		for j := range r.Lanes {
			r.Lanes[j].Places[i] = place[r.Lanes[j].Channel]
		}
	}
	r.Lanes = slices.DeleteFunc(r.Lanes, func(l Lane) bool { return !slices.ContainsFunc(l.Places, func(p int) bool { return p > 0 }) })
	slices.SortStableFunc(r.Lanes, func(a, b Lane) int {
		x, y := a.Places[len(a.Places)-1], b.Places[len(b.Places)-1]
		if x == 0 || y == 0 {
			return cmp.Compare(b2i(x == 0), b2i(y == 0))
		}
		return cmp.Compare(x, y)
	})
}

// mainFunds are the channels' parts in the event's own fund, and in that of its single donations.
func (r *Reader) mainFunds(ctx context.Context) (main, singles map[string]*FundOf, err error) {
	main, singles = map[string]*FundOf{}, map[string]*FundOf{}
	for raw, err := range r.store.Find(ctx, store.Query{Collection: store.Totals, Event: r.event.Slug}) {
		if err != nil {
			return nil, nil, fmt.Errorf("read the totals of event %s: %w", r.event.Slug, err)
		}
		var d record.Statistics
		if err := decode(raw, &d, onlyDonations); err != nil {
			return nil, nil, err
		}
		of, err := r.fundsIn(ctx, &d)
		if err != nil {
			return nil, nil, err
		}
		for i := range of {
			if f := &of[i]; f.Main {
				main[d.Channel] = f
				if f.By == ByChannels {
					if f.First, err = r.firstSum(ctx, f, Aligned(&r.event, r.Whole())); err != nil {
						return nil, nil, err
					}
				}
			}
			if of[i].Singles {
				singles[d.Channel] = &of[i]
			}
		}
	}
	return main, singles, nil
}
