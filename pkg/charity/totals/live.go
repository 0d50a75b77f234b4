package totals

import (
	"context"
	"fmt"
	"maps"
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
	single *singles                      // nil until they are read
	tight  map[string]map[int64]struct{} // channel to hours whose minutes are read
}

// singles are the single donations of a source, by id the version that counts, whatever its channel.
type singles struct {
	of     map[string]single
	fund   Fund
	asOf   map[string]given // what the documents told, if what was read is just that
	last   time.Time
	loaded time.Time // when all was read
}

type single struct {
	goals.Single
	record.DonationVersion

	currency string
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

// readSingles reads the single donations of the channels that have goals which they decide.
func (l *Live) readSingles(ctx context.Context, e record.Event, cur *Current, list []record.Goal, board *goals.Board, now time.Time) error {
	wanted := map[string]struct{}{}
	for i := range list {
		switch list[i].Category {
		case record.GoalEqual, record.GoalMoreThan, record.GoalLargest:
			if !list[i].Deleted {
				wanted[list[i].Channel] = struct{}{}
			}
		}
	}
	if len(wanted) == 0 || cur.Singles == (Fund{}) {
		return nil // no source tells single donations
	}
	if err := l.updateSingles(ctx, e, cur, now); err != nil {
		return err
	}
	all := map[string][]goals.Single{}
	for _, x := range l.single.of {
		if x.currency != cur.Singles.Currency {
			continue
		}
		for _, c := range [...]string{x.Channel, record.AllChannels} {
			if _, ok := wanted[c]; ok {
				all[c] = append(all[c], x.Single)
			}
		}
	}
	for c := range wanted {
		board.SetSingles(c, all[c])
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
		s = &singles{of: map[string]single{}, fund: cur.Singles, loaded: now}
	}
	l.single = nil // until it is whole
	q := store.Query{Collection: store.Records, Event: e.Slug, Kind: record.KindDonation}
	if !s.last.IsZero() {
		q.From = s.last.Add(-late)
	}
	for raw, err := range l.store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the donations of event %s: %w", e.Slug, err)
		}
		var d struct {
			Channel  string       `bson:"channel"`
			Time     time.Time    `bson:"time"`
			Received time.Time    `bson:"received"`
			Source   string       `bson:"source"`
			Donation string       `bson:"donation"`
			Version  string       `bson:"version"`
			Money    record.Money `bson:"money"`
		}
		if err := bson.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("decode a donation of event %s: %w", e.Slug, err)
		}
		if d.Source != cur.Singles.Source {
			continue
		}
		if d.Time.After(s.last) {
			s.last = d.Time.UTC()
		}
		v := record.DonationVersion{Channel: d.Channel, Received: d.Received.UnixMilli(), Version: d.Version}
		if old, ok := s.of[d.Donation]; ok && record.CompareVersions(v, old.DonationVersion) < 0 {
			continue
		}
		s.of[d.Donation] = single{goals.Single{Time: d.Time.UTC(), Cents: d.Money.Cents}, v, d.Money.Currency}
	}
	s.asOf = nil
	if maps.Equal(s.given(), cur.given) {
		s.asOf = cur.given
	}
	l.single = s
	return nil
}

// given is what was read, as the documents tell it.
func (s *singles) given() map[string]given {
	out := map[string]given{}
	for _, x := range s.of {
		if x.currency != s.fund.Currency {
			continue
		}
		for _, c := range []string{x.Channel, record.AllChannels} {
			if c == "" {
				continue
			}
			g := out[c]
			out[c] = given{g.count + 1, g.cents + x.Cents, max(g.largest, x.Cents)}
		}
	}
	return out
}
