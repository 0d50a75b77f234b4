package totals

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// window is how far back speeds are measured, margin what is read before it.
	window = 30 * time.Minute
	margin = 6 * time.Minute
	// reload is how often everything is read again: minutes that were recounted show by then.
	reload = 10 * time.Minute
	// looseness is how far apart two points may be for the time of a goal to be told as it is.
	looseness = 2 * time.Minute
	// late is how late a donation may come to be seen without all of its channel being read again.
	late = 15 * time.Minute
)

// Live keeps what is needed to say how far an event's goals are, and reads from one call to the next
// only what is new. It is not safe for concurrent use.
type Live struct {
	store   Store
	history bool

	fund   Fund
	by     map[string]string             // channel to what its total is
	raw    map[string]map[int64]int64    // channel to time (ms) to raw total
	sums   map[string]map[int64]int64    // of sums: channel to minute (ms) to what was given in it
	bases  map[string]int64              // of sums: what was given before from
	from   time.Time                     // minutes since then are in raw or sums
	until  time.Time                     // and up to then
	loaded time.Time                     // when all was read
	single *singles                      // nil until they are asked for
	tight  map[string]map[int64]struct{} // channel to hours whose minutes are read
}

// singles are the single donations of a source, by id the version that counts, whatever its channel.
type singles struct {
	of      map[string]single
	fund    Fund
	sums    map[string]given  // by channel what they add up to; recount says that a largest one may be gone
	asOf    map[string]given  // what the documents told, if what was read is just that
	names   map[string]string // texts that many have, each once
	recount bool
	last    time.Time
	loaded  time.Time // when all was read
}

type single struct {
	record.DonationVersion

	at, cents int64 // at in Unix milliseconds
	currency  string
}

func (x single) single() goals.Single {
	return goals.Single{Time: time.UnixMilli(x.at).UTC(), Cents: x.cents}
}

// NewLive makes one that has read nothing. With history it knows when goals were reached, to the
// minute; without, it reads no more than the last minutes.
func NewLive(s Store, history bool) *Live {
	return &Live{store: s, history: history}
}

// Overview reads what is new and says how far the goals are, and what was raised.
func (l *Live) Overview(ctx context.Context, e record.Event, list []record.Goal, now time.Time) (goals.Overview, *Current, error) {
	cur, err := readCurrent(ctx, l.store, e, "", now)
	if err != nil {
		return goals.Overview{}, nil, err
	}
	board := goals.NewBoard(goals.Config{Window: window, End: e.End, Currency: cur.Fund.Currency})
	if !cur.Known {
		board = goals.NewBoard(goals.Config{Window: window, End: e.End})
		return board.Evaluate(list, now), cur, nil
	}
	if err := l.read(ctx, e, cur, now); err != nil {
		l.loaded = time.Time{} // what was read of it is not whole
		return goals.Overview{}, nil, err
	}
	for c := range l.by {
		l.put(board, cur, c, now)
	}
	if err := l.readSingles(ctx, e, cur, list, board, now); err != nil {
		return goals.Overview{}, nil, err
	}
	o := board.Evaluate(list, now)
	if l.history {
		again, err := l.refine(ctx, e, cur, board, o, now)
		if err != nil {
			return goals.Overview{}, nil, err
		}
		if again {
			o = board.Evaluate(list, now)
		}
	}
	return o, cur, nil
}

// read brings the series up to date.
func (l *Live) read(ctx context.Context, e record.Event, cur *Current, now time.Time) error {
	by := map[string]string{}
	for c, t := range cur.Channels {
		by[c] = t.By
	}
	if cur.Event.By != "" {
		by[record.AllChannels] = cur.Event.By
	}
	whole := l.loaded.IsZero() || now.Sub(l.loaded) >= reload || now.Before(l.loaded) || l.fund != cur.Fund || !maps.Equal(l.by, by)
	from := l.until.Add(-2 * time.Minute)
	if whole {
		l.fund, l.by, l.loaded = cur.Fund, by, now
		l.raw, l.sums, l.bases, l.tight = map[string]map[int64]int64{}, map[string]map[int64]int64{}, map[string]int64{}, map[string]map[int64]struct{}{}
		from = record.Minute(now.Add(-window - margin))
		summed := slices.Contains(slices.Collect(maps.Values(by)), ByDonations)
		if summed {
			from = from.Truncate(time.Hour)
		}
		l.from = from
		if l.history || summed {
			if err := l.readHours(ctx, e.Slug, cur, from); err != nil {
				return err
			}
		}
	}
	l.until = now
	q := store.Query{Collection: store.Minutes, Event: e.Slug, From: from, To: now.Add(2 * time.Minute)}
	for d, err := range cur.carrier(l.store, e.Slug, false).whole(ctx, scan(ctx, l.store, q)) {
		if err != nil {
			return err
		}
		l.take(d)
	}
	return nil
}

// readHours takes what the hours say, and of sums what was given before from.
func (l *Live) readHours(ctx context.Context, event string, cur *Current, from time.Time) error {
	hours := scan(ctx, l.store, store.Query{Collection: store.Hours, Event: event})
	for d, err := range cur.carrier(l.store, event, false).whole(ctx, hours) {
		if err != nil {
			return err
		}
		said, ok := Pick(d.Donations, l.fund)
		if !ok {
			continue
		}
		if l.by[d.Channel] != ByDonations {
			l.points(d.Channel, samples(said, l.by[d.Channel], d.Time, 0))
			continue
		}
		if d.Time.Before(from) {
			l.bases[d.Channel] += said.Cents
			l.points(d.Channel, []corrections.Sample{{Time: d.Time.Add(time.Hour - time.Millisecond), Cents: l.bases[d.Channel]}})
		}
	}
	return nil
}

func (l *Live) points(channel string, list []corrections.Sample) {
	for _, s := range list {
		if l.raw[channel] == nil {
			l.raw[channel] = map[int64]int64{}
		}
		l.raw[channel][s.Time.UnixMilli()] = s.Cents
	}
}

func (l *Live) take(d document) {
	said, ok := Pick(d.Donations, l.fund)
	if !ok {
		return
	}
	if by := l.by[d.Channel]; by != ByDonations {
		l.points(d.Channel, samples(said, by, d.Time, 0))
		return
	}
	if l.sums[d.Channel] == nil {
		l.sums[d.Channel] = map[int64]int64{}
	}
	l.sums[d.Channel][d.Time.UnixMilli()] = said.Cents
}

// put gives a channel's corrected series to the board. Where a total is a sum, it has a point for each
// minute.
func (l *Live) put(board *goals.Board, cur *Current, channel string, now time.Time) {
	points := make([]goals.Point, 0, len(l.raw[channel])+64)
	add := func(t time.Time, cents int64) {
		points = append(points, goals.Point{Time: t, Cents: cents + cur.Effects.At(channel, t)})
	}
	for ms, cents := range l.raw[channel] {
		add(time.UnixMilli(ms).UTC(), cents)
	}
	total := cur.Channels[channel]
	if channel == record.AllChannels {
		total = cur.Event
	}
	if l.by[channel] != ByDonations {
		add(total.At, total.Raw) // which may be older than what is read
		for _, x := range cur.Effects.Of(channel) {
			if at := x.Correction.Time; at.After(total.At) && !at.After(now) {
				points = append(points, goals.Point{Time: at, Cents: total.Raw + cur.Effects.On(channel, total.At, at)})
			}
		}
	} else {
		sum := total.Raw // less the last minutes: what came late is in no hour that was read
		for _, cents := range l.sums[channel] {
			sum -= cents
		}
		for m := l.from; !m.After(now); m = m.Add(time.Minute) {
			sum += l.sums[channel][m.UnixMilli()]
			if end := m.Add(time.Minute - time.Millisecond); end.After(now) {
				add(now, sum)
			} else {
				add(end, sum)
			}
		}
	}
	board.Set(channel, points)
}

// refine reads the minutes in which goals were reached, where only the hour is known.
func (l *Live) refine(ctx context.Context, e record.Event, cur *Current, board *goals.Board, o goals.Overview, now time.Time) (bool, error) {
	changed := map[string]struct{}{}
	for i := range o.Goals {
		s := &o.Goals[i]
		channel := s.Goal.Channel
		switch s.Goal.Category {
		case record.GoalGlobal:
			channel = record.AllChannels
		case record.GoalDonation, record.GoalRecurrent:
		default:
			continue
		}
		if !s.Reached {
			continue
		}
		from := e.Start
		if before, ok := board.Before(channel, s.ReachedAt); ok {
			from = before.Time
		}
		hour := s.ReachedAt.Truncate(time.Hour)
		if from = from.Truncate(time.Minute); from.Before(hour) {
			from = hour
		}
		if s.ReachedAt.Sub(from) <= looseness {
			continue
		}
		if _, ok := l.tight[channel][hour.UnixMilli()]; ok {
			continue
		}
		if l.tight[channel] == nil {
			l.tight[channel] = map[int64]struct{}{}
		}
		base := l.before(channel, hour)
		q := store.Query{Collection: store.Minutes, Event: e.Slug, Channel: channel, From: hour, To: hour.Add(time.Hour)}
		docs := scan(ctx, l.store, q)
		if l.by[channel] == ByChannels {
			q.Channel = ""
			docs = cur.carrier(l.store, e.Slug, false).whole(ctx, scan(ctx, l.store, q))
		}
		for d, err := range docs {
			if err != nil {
				return false, err
			}
			if said, ok := Pick(d.Donations, l.fund); ok && d.Channel == channel {
				base += said.Cents
				l.points(channel, samples(said, l.by[channel], d.Time, base))
			}
		}
		l.tight[channel][hour.UnixMilli()] = struct{}{}
		changed[channel] = struct{}{}
	}
	for c := range changed {
		l.put(board, cur, c, now)
	}
	return len(changed) > 0, nil
}

// before is a channel's last raw total before a moment, as far as it is known; 0 where none is.
func (l *Live) before(channel string, at time.Time) int64 {
	var newest, cents int64 = -1 << 62, 0
	for ms, n := range l.raw[channel] {
		if ms < at.UnixMilli() && ms > newest {
			newest, cents = ms, n
		}
	}
	return cents
}

// bySingle reports whether single donations decide a goal.
func bySingle(g record.Goal) bool {
	switch g.Category {
	case record.GoalEqual, record.GoalMoreThan, record.GoalLargest:
		return !g.Deleted
	}
	return false
}

// readSingles reads the single donations of the channels that have goals which they decide.
func (l *Live) readSingles(ctx context.Context, e record.Event, cur *Current, list []record.Goal, board *goals.Board, now time.Time) error {
	if !slices.ContainsFunc(list, bySingle) || cur.Singles == (Fund{}) {
		return nil // no source tells single donations
	}
	if err := l.updateSingles(ctx, e, cur, now); err != nil {
		return err
	}
	for c, list := range l.single.deciding(list) {
		board.SetSingles(c, list)
	}
	return nil
}

// updateSingles reads what is new of the source's single donations: all of them again where what was read
// is not what the documents tell, since one that came late, or was changed, may be of any time.
func (l *Live) updateSingles(ctx context.Context, e record.Event, cur *Current, now time.Time) error {
	s := l.single
	if s != nil && s.fund == cur.Singles && maps.Equal(s.asOf, cur.given) {
		return nil
	}
	if s == nil || s.fund != cur.Singles || now.Before(s.loaded) || s.asOf == nil && now.Sub(s.loaded) >= reload {
		s = &singles{of: map[string]single{}, sums: map[string]given{}, names: map[string]string{}, fund: cur.Singles, loaded: now}
	}
	l.single, s.asOf = s, nil // where reading is given up in the middle, it goes on from there
	q := store.Query{Collection: store.Records, Event: e.Slug, Kind: record.KindDonation}
	if !s.last.IsZero() {
		q.From = s.last.Add(-late)
	}
	for raw, err := range l.store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the donations of event %s: %w", e.Slug, err)
		}
		s.add(raw)
	}
	if s.recount {
		s.sums, s.recount = map[string]given{}, false
		for _, x := range s.of {
			s.count(x, 1)
		}
	}
	if maps.Equal(s.sums, cur.given) {
		s.asOf = cur.given
	}
	return nil
}

// add takes a version of a donation. Of a million of them little may be kept, and little time be taken.
func (s *singles) add(raw bson.Raw) {
	text := func(key ...string) string {
		v, _ := raw.Lookup(key...).StringValueOK()
		return v
	}
	once := func(v string) string {
		if s.names[v] == "" {
			s.names[v] = v
		}
		return s.names[v]
	}
	if text("source") != s.fund.Source {
		return
	}
	at, _ := raw.Lookup("time").DateTimeOK()
	received, _ := raw.Lookup("received").DateTimeOK()
	cents, _ := raw.Lookup("money", "cents").AsInt64OK()
	x := single{
		at: at, cents: cents, currency: once(text("money", "currency")),
		DonationVersion: record.DonationVersion{Channel: once(text("channel")), Received: received, Version: text("version")},
	}
	if t := time.UnixMilli(at).UTC(); t.After(s.last) {
		s.last = t
	}
	id := text("donation")
	old, twice := s.of[id]
	if twice {
		if record.CompareVersions(x.DonationVersion, old.DonationVersion) <= 0 {
			return
		}
		s.count(old, -1)
	}
	s.of[id] = x
	s.count(x, 1)
}

// count adds a donation to what its channel's, and the event's, add up to, or takes it away.
func (s *singles) count(x single, times int64) {
	if x.currency != s.fund.Currency {
		return
	}
	for _, c := range [...]string{x.Channel, record.AllChannels} {
		if c == "" {
			continue
		}
		g := s.sums[c]
		s.recount = s.recount || times < 0 && x.cents == g.largest
		g.count, g.cents = g.count+times, g.cents+times*x.cents
		if times > 0 {
			g.largest = max(g.largest, x.cents)
		}
		if s.sums[c] = g; g.count == 0 {
			delete(s.sums, c)
		}
	}
}

// deciding are by channel the donations that can decide goals: those of the amounts that are wanted, those at
// or above the least that is, and the largest of all, the first of it.
func (s *singles) deciding(list []record.Goal) map[string][]goals.Single {
	type wanted struct {
		equal   map[int64]struct{}
		above   int64
		largest single
	}
	of, out := map[string]*wanted{}, map[string][]goals.Single{}
	for i := range list {
		g := &list[i]
		if !bySingle(*g) {
			continue
		}
		w := of[g.Channel]
		if w == nil {
			w = &wanted{equal: map[int64]struct{}{}, above: math.MaxInt64}
			of[g.Channel], out[g.Channel] = w, nil
		}
		switch g.Category {
		case record.GoalEqual:
			w.equal[g.Money.Cents] = struct{}{}
		case record.GoalMoreThan:
			w.above = min(w.above, g.Money.Cents)
		}
	}
	for _, x := range s.of {
		if x.currency != s.fund.Currency {
			continue
		}
		for _, c := range [...]string{x.Channel, record.AllChannels} {
			w := of[c]
			if w == nil {
				continue
			}
			if w.largest.at == 0 || x.cents > w.largest.cents || x.cents == w.largest.cents && x.at < w.largest.at {
				w.largest = x
			}
			if _, ok := w.equal[x.cents]; ok || x.cents >= w.above {
				out[c] = append(out[c], x.single())
			}
		}
	}
	for c, w := range of {
		_, ok := w.equal[w.largest.cents]
		if w.largest.at != 0 && !ok && w.largest.cents < w.above {
			out[c] = append(out[c], w.largest.single())
		}
	}
	return out
}
