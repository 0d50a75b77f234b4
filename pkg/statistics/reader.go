package statistics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// ErrUnknown is wrapped by errors about an event or a channel that is not there.
var ErrUnknown = errors.New("unknown")

// Reader fetches what statistics are computed from. It knows the event and its corrections as they
// were when it was opened: open another one to see what has changed. It is safe for concurrent use.
type Reader struct {
	store   store.Store
	event   record.Event
	through time.Time
	whole   record.Statistics   // the event's total, without sketch
	fixes   []record.Correction // that hold
	effects map[string]*cached[[]effect]

	streamers cached[map[string]Streamer]
	raids     cached[[]Raid]
	sessions  cached[map[string][]Session]
	changes   cached[map[string][]record.Change]
	goals     cached[[]record.Goal]
	known     cached[map[string][]Known] // by minutes
}

// cached is a value that is fetched once, by whoever needs it first; after an error by the next.
type cached[T any] struct {
	mu    sync.Mutex
	there bool
	value T
}

func (c *cached[T]) get(fetch func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.there {
		return c.value, nil
	}
	v, err := fetch()
	if err != nil {
		return v, err
	}
	c.value, c.there = v, true
	return v, nil
}

// peek is the value, if it has been fetched.
func (c *cached[T]) peek() (v T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.there
}

// Open is for one event; an empty slug names the only one in the store. Errors wrap ErrUnknown where
// there is no such event, or several and none was named.
func Open(ctx context.Context, s store.Store, slug string) (*Reader, error) {
	r := &Reader{store: s}
	if slug == "" {
		var err error
		if slug, err = only(ctx, s); err != nil {
			return nil, err
		}
	}
	raw, err := s.Get(ctx, store.Events, slug)
	if errors.Is(err, store.ErrNotFound) {
		if name, err := only(ctx, s); err == nil {
			return nil, fmt.Errorf("%w event %s: the only one in the store is %s", ErrUnknown, slug, name)
		} else if errors.Is(err, ErrUnknown) {
			return nil, fmt.Errorf("%s is no event: %w", slug, err)
		}
		return nil, fmt.Errorf("%w event %s", ErrUnknown, slug)
	}
	if err != nil {
		return nil, fmt.Errorf("read event %s: %w", slug, err)
	}
	if err := bson.Unmarshal(raw, &r.event); err != nil {
		return nil, fmt.Errorf("read event %s: %w", slug, err)
	}
	r.event.Start, r.event.End = r.event.Start.UTC(), r.event.End.UTC()
	if r.whole, err = r.total(ctx, record.AllChannels, 0); err != nil {
		return nil, err
	}
	r.through = r.whole.Through
	if raw, err = s.Get(ctx, store.Progress, slug); err == nil {
		var p record.Progress
		if err := bson.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("read the progress of event %s: %w", slug, err)
		}
		r.through = later(r.through, p.ClosedThrough.UTC())
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read the progress of event %s: %w", slug, err)
	}
	r.fixes, err = all[record.Correction](ctx, s, store.Query{Collection: store.Corrections, Event: slug})
	if err != nil {
		return nil, err
	}
	r.fixes, r.effects = corrections.Standing(r.fixes), map[string]*cached[[]effect]{}
	for _, c := range r.fixes {
		r.effects[c.Channel] = &cached[[]effect]{}
	}
	return r, nil
}

// only is the slug of the only event.
func only(ctx context.Context, s store.Store) (string, error) {
	var slugs []string
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Events}) {
		if err != nil {
			return "", fmt.Errorf("read the events: %w", err)
		}
		slugs = append(slugs, store.DocID(raw))
	}
	switch len(slugs) {
	case 0:
		return "", fmt.Errorf("%w event: there is none in the store", ErrUnknown)
	case 1:
		return slugs[0], nil
	}
	slices.Sort(slugs)
	return "", fmt.Errorf("%w event: name one of %s", ErrUnknown, strings.Join(slugs, ", "))
}

// all decodes what a query of a small collection finds.
func all[T any](ctx context.Context, s store.Store, q store.Query) ([]T, error) {
	var list []T
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read %s of event %s: %w", q.Collection, q.Event, err)
		}
		var one T
		if err := bson.Unmarshal(raw, &one); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", q.Collection, store.DocID(raw), err)
		}
		list = append(list, one)
	}
	return list, nil
}

// total is a channel's total; the zero document where there is none.
func (r *Reader) total(ctx context.Context, channel string, want parts) (record.Statistics, error) {
	var d record.Statistics
	id := record.StatisticsID(r.event.Slug, channel, time.Time{})
	raw, err := r.store.Get(ctx, store.Totals, id)
	if errors.Is(err, store.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read total %s: %w", id, err)
	}
	err = decode(raw, &d, want)
	return d, err
}

// Event is the event.
func (r *Reader) Event() record.Event { return r.event }

// Whole is the range from the event's start to its end; of an event without an end, to the last closed
// minute's.
func (r *Reader) Whole() Range {
	if r.event.End.IsZero() {
		return Range{From: r.event.Start, To: later(r.event.Start, r.through.Add(time.Minute))}
	}
	return Range{From: r.event.Start, To: r.event.End}
}

// Through is the start of the last closed minute; the zero time where none is.
func (r *Reader) Through() time.Time { return r.through }

// Location is the event's time zone.
func (r *Reader) Location() *time.Location { return location(&r.event) }

func location(e *record.Event) *time.Location {
	if l, err := time.LoadLocation(e.TimeZone); err == nil && e.TimeZone != "" {
		return l
	}
	return time.UTC
}

// Streamers are those who have a channel in the event or statistics of it, by login.
func (r *Reader) Streamers(ctx context.Context) ([]Streamer, error) {
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(names), func(a, b Streamer) int {
		return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.Channel, b.Channel))
	}), nil
}

// names are the streamers by channel.
func (r *Reader) names(ctx context.Context) (map[string]Streamer, error) {
	return r.streamers.get(func() (map[string]Streamer, error) {
		names := map[string]Streamer{}
		channels, err := all[record.Channel](ctx, r.store, store.Query{Collection: store.Channels, Event: r.event.Slug})
		if err != nil {
			return nil, err
		}
		for _, c := range channels {
			if c.Channel != "" {
				names[c.Channel] = Streamer{Channel: c.Channel, Login: c.Login, Name: cmp.Or(c.Name, c.Login), Picture: c.Picture}
			}
		}
		// A channel that was removed from the event has kept its statistics, and its names in the records.
		for raw, err := range r.store.Find(ctx, store.Query{Collection: store.Totals, Event: r.event.Slug}) {
			if err != nil {
				return nil, fmt.Errorf("read the totals of event %s: %w", r.event.Slug, err)
			}
			channel, _ := raw.Lookup("channel").StringValueOK()
			if _, ok := names[channel]; ok || channel == "" || channel == record.AllChannels {
				continue
			}
			if names[channel], err = r.named(ctx, channel); err != nil {
				return nil, err
			}
		}
		return names, nil
	})
}

// named looks in the records for what a channel was called last.
func (r *Reader) named(ctx context.Context, channel string) (Streamer, error) {
	s := Streamer{Channel: channel, Login: channel, Name: channel}
	changes, err := all[record.Change](ctx, r.store, store.Query{
		Collection: store.Records, Event: r.event.Slug, Kind: record.KindChange, Channel: channel,
	})
	if err != nil {
		return s, err
	}
	for _, c := range changes { // in the order of time
		switch c.Field {
		case record.FieldLogin:
			s.Login = c.To
		case record.FieldName:
			s.Name = c.To
		case record.FieldPicture:
			s.Picture = c.To
		}
	}
	if s.Name == channel {
		s.Name = s.Login
	}
	return s, nil
}

// Streamer is who a channel belongs to; of record.AllChannels the event.
func (r *Reader) Streamer(ctx context.Context, channel string) (Streamer, error) {
	if channel == record.AllChannels {
		return Streamer{Channel: channel, Login: r.event.Slug, Name: cmp.Or(r.event.Name, r.event.Slug)}, nil
	}
	raw, err := r.store.Get(ctx, store.Channels, r.event.Slug+"/"+channel)
	if err == nil {
		var c record.Channel
		if err := bson.Unmarshal(raw, &c); err != nil {
			return Streamer{}, fmt.Errorf("read channel %s: %w", channel, err)
		}
		return Streamer{Channel: channel, Login: c.Login, Name: cmp.Or(c.Name, c.Login), Picture: c.Picture}, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return Streamer{}, fmt.Errorf("read channel %s: %w", channel, err)
	}
	return r.named(ctx, channel)
}

// Find is the streamer of a Twitch id, login or display name, in any case; a login or name that a
// channel had earlier in the event finds it too. The error wraps ErrUnknown where there is none.
func (r *Reader) Find(ctx context.Context, name string) (Streamer, error) {
	if name == record.AllChannels || name == "" {
		return r.Streamer(ctx, record.AllChannels)
	}
	streamers, err := r.Streamers(ctx)
	if err != nil {
		return Streamer{}, err
	}
	for _, is := range []func(Streamer) bool{
		func(s Streamer) bool { return s.Channel == name },
		func(s Streamer) bool { return strings.EqualFold(s.Login, name) },
		func(s Streamer) bool { return strings.EqualFold(s.Name, name) },
	} {
		if i := slices.IndexFunc(streamers, is); i >= 0 {
			return streamers[i], nil
		}
	}
	changes, err := r.allChanges(ctx)
	if err != nil {
		return Streamer{}, err
	}
	for _, s := range streamers {
		for _, c := range changes[s.Channel] {
			if (c.Field == record.FieldLogin || c.Field == record.FieldName) && (strings.EqualFold(c.From, name) || strings.EqualFold(c.To, name)) {
				return s, nil
			}
		}
	}
	return Streamer{}, fmt.Errorf("%w channel %s in event %s", ErrUnknown, name, r.event.Slug)
}

// channels is how many channels are expected of a document of the channel, or of all.
func (r *Reader) channels(channel string) int {
	if channel != record.AllChannels {
		return 1
	}
	span := counted(&r.event, Aligned(&r.event, r.Whole()), r.through).Length().Seconds()
	if span <= 0 {
		return 0
	}
	return int(math.Round(r.whole.Coverage.Expected / span))
}

// isWhole reports whether a range has all in it that is counted of the event.
func (r *Reader) isWhole(rg Range) bool {
	return !rg.From.After(record.Minute(r.event.Start)) && !rg.To.Before(r.through.Add(time.Minute))
}

// documents are the fewest documents of a channel, or of all, that an aligned range is made of. The
// documents are closed and not empty.
func (r *Reader) documents(ctx context.Context, channel string, rg Range, want parts) ([]record.Statistics, error) {
	if r.through.IsZero() {
		return nil, nil
	}
	if r.isWhole(rg) {
		d, err := r.total(ctx, channel, want)
		if err != nil || d.ID == "" || d.Minutes == 0 {
			return nil, err
		}
		return []record.Statistics{d}, nil
	}
	first, end := record.Minute(r.event.Start), r.through.Add(time.Minute)
	rg = rg.Within(Range{From: first, To: end})
	if rg.Empty() {
		return nil, nil
	}
	from, to := rg.From.Truncate(time.Hour), rg.To.Truncate(time.Hour)
	if from.Before(rg.From) && !rg.From.Equal(first) {
		from = from.Add(time.Hour)
	}
	if rg.To.Equal(end) && to.Before(end) {
		to = to.Add(time.Hour) // nothing is counted of it beyond
	}
	var docs []record.Statistics
	if !from.Before(to) {
		return r.read(ctx, docs, store.Minutes, channel, rg, want)
	}
	for _, part := range []struct {
		collection store.Collection
		Range
	}{
		{store.Minutes, Range{rg.From, from}},
		{store.Hours, Range{from, to}},
		{store.Minutes, Range{to, rg.To}},
	} {
		if part.Empty() {
			continue
		}
		var err error
		if docs, err = r.read(ctx, docs, part.collection, channel, part.Range, want); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// read appends the closed documents of a collection that are not empty, by time; of all channels and the
// event where channel is empty.
func (r *Reader) read(
	ctx context.Context, docs []record.Statistics, c store.Collection, channel string, rg Range, want parts,
) ([]record.Statistics, error) {
	err := r.each(ctx, c, channel, rg, want, func(d *record.Statistics) error {
		docs = append(docs, *d)
		return nil
	})
	return docs, err
}

// each calls f for the same documents; d is f's until it returns.
func (r *Reader) each(
	ctx context.Context, c store.Collection, channel string, rg Range, want parts, f func(d *record.Statistics) error,
) error {
	q := store.Query{Collection: c, Event: r.event.Slug, Channel: channel, From: rg.From, To: rg.To}
	var d record.Statistics
	for raw, err := range r.store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read %s of event %s: %w", c, r.event.Slug, err)
		}
		if err := decode(raw, &d, want); err != nil {
			return err
		}
		if d.State != record.StateClosed || d.Minutes == 0 || d.Time.After(r.through) {
			continue
		}
		if err := f(&d); err != nil {
			return err
		}
	}
	return nil
}

// Summary is what a channel, or the event (record.AllChannels), did in a range. Sessions of the event are
// told once Sessions was asked for all of them, raids out once Raids was.
func (r *Reader) Summary(ctx context.Context, channel string, rg Range) (Summary, error) {
	m := Material{Event: r.event, Range: rg, Through: r.through, Channels: r.channels(channel)}
	var err error
	if m.Streamer, err = r.Streamer(ctx, channel); err != nil {
		return Summary{}, err
	}
	aligned := Aligned(&r.event, rg)
	if m.Documents, err = r.documents(ctx, channel, aligned, everything); err != nil {
		return Summary{}, err
	}
	if m.Funds, err = r.funds(ctx, channel, aligned); err != nil {
		return Summary{}, err
	}
	if _, fetched := r.sessions.peek(); fetched || channel != record.AllChannels {
		if m.Sessions, err = r.Sessions(ctx, channel); err != nil {
			return Summary{}, err
		}
	}
	if err := r.raided(ctx, &m, aligned); err != nil {
		return Summary{}, err
	}
	return Summarize(m)
}

// raided puts the raids into what a summary is made of, if they were asked for.
func (r *Reader) raided(ctx context.Context, m *Material, aligned Range) error {
	raids, ok := r.raids.peek()
	if !ok {
		return nil
	}
	if !r.event.RecordsErased.IsZero() {
		m.RaidsCoverage = record.Unknown
		return nil
	}
	var err error
	m.Raids = raids
	m.RaidsCoverage, err = r.chat(ctx, record.AllChannels, aligned)
	return err
}

// chat is how complete chat is of a channel, or of all, in a range.
func (r *Reader) chat(ctx context.Context, channel string, rg Range) (string, error) {
	rg = Aligned(&r.event, rg)
	docs, err := r.documents(ctx, channel, rg, 0)
	if err != nil {
		return record.Unknown, err
	}
	var sum record.Statistics
	for i := range docs {
		sum.Coverage.Seconds += docs[i].Coverage.Seconds
		sum.Messages += docs[i].Messages
		sum.Notices += docs[i].Notices
	}
	return chatCoverage(&sum, counted(&r.event, rg, r.through).Length().Seconds()*float64(r.channels(channel))), nil
}

// Summaries are the summaries of all streamers over a range, by login. Those of whom there are no
// statistics in it are not among them. Over the whole event they are made of one read of the totals.
func (r *Reader) Summaries(ctx context.Context, rg Range) ([]Summary, error) {
	if !r.isWhole(Aligned(&r.event, rg)) {
		return r.summariesIn(ctx, rg)
	}
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := r.allSessions(ctx)
	if err != nil {
		return nil, err
	}
	aligned := Aligned(&r.event, rg)
	known := knownOf(&r.event, []record.Statistics{r.whole})
	all := Material{}
	if err := r.raided(ctx, &all, aligned); err != nil {
		return nil, err
	}
	var out []Summary
	for raw, err := range r.store.Find(ctx, store.Query{Collection: store.Totals, Event: r.event.Slug}) {
		if err != nil {
			return nil, fmt.Errorf("read the totals of event %s: %w", r.event.Slug, err)
		}
		var d record.Statistics
		if err := decode(raw, &d, everything); err != nil {
			return nil, err
		}
		if d.Channel == record.AllChannels || d.Minutes == 0 || d.State != record.StateClosed {
			continue
		}
		m := Material{
			Event: r.event, Streamer: names[d.Channel], Range: rg, Through: r.through, Channels: 1,
			Documents: []record.Statistics{d}, Sessions: sessions[d.Channel],
			Raids: all.Raids, RaidsCoverage: all.RaidsCoverage,
		}
		if m.Streamer.Channel == "" { // it came after the names were read
			m.Streamer = Streamer{Channel: d.Channel, Login: d.Channel, Name: d.Channel}
		}
		if m.Funds, err = r.fundsIn(ctx, &d); err != nil {
			return nil, err
		}
		for i := range m.Funds {
			m.Funds[i].Known = known[m.Funds[i].Source]
		}
		s, err := Summarize(m)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	sortSummaries(out)
	return out, nil
}

func sortSummaries(list []Summary) {
	slices.SortFunc(list, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.Channel, b.Channel))
	})
}

// summariesIn asks for one after the other.
func (r *Reader) summariesIn(ctx context.Context, rg Range) ([]Summary, error) {
	byChannel, err := ofEach(ctx, r, func(ctx context.Context, channel string) (Summary, error) {
		return r.Summary(ctx, channel, rg)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Summary, 0, len(byChannel))
	for _, s := range byChannel {
		if s.Channels > 0 {
			out = append(out, s)
		}
	}
	sortSummaries(out)
	return out, nil
}

// knownOf is when single donations are known of, by source; the documents are the event's, by time.
func knownOf(e *record.Event, docs []record.Statistics) map[string][]Known {
	known := map[string][]Known{}
	for _, doc := range docs {
		of := map[string]float64{} // the same in each currency
		for _, d := range doc.Donations {
			of[d.Source] = max(of[d.Source], d.Seconds)
		}
		for source, s := range of {
			known[source] = append(known[source], Known{later(doc.Time, e.Start), s})
		}
	}
	return known
}

// MainFund is the event's own source and currency: the source that the event names; else the first by
// name that has running totals, else the first. Of several currencies it is the event's, else the first.
// ok is false where no source has said anything.
func MainFund(e *record.Event, whole []record.Donations) (f Fund, ok bool) {
	rank := func(d record.Donations) int {
		n := 0
		if d.Source == e.Donations && e.Donations != "" {
			n += 4
		}
		if d.Samples > 0 || !d.SumAt.IsZero() {
			n += 2
		}
		if d.Currency == e.Currency {
			n++
		}
		return n
	}
	list := slices.DeleteFunc(slices.Clone(whole), func(d record.Donations) bool { return d.Currency == "" })
	if len(list) == 0 {
		return Fund{}, false
	}
	// The source first, then its currency.
	best := slices.MinFunc(list, func(a, b record.Donations) int {
		return cmp.Or(cmp.Compare(rank(b)&^1, rank(a)&^1), cmp.Compare(a.Source, b.Source),
			cmp.Compare(rank(b), rank(a)), cmp.Compare(a.Currency, b.Currency))
	})
	return fund(best), true
}

// SinglesFund is the fund whose single donations are told beside the totals of the event's own: that
// itself where its source tells them, else the first by name in the same currency that does. ok is false
// where there is none.
func SinglesFund(e *record.Event, whole []record.Donations) (f Fund, ok bool) {
	main, ok := MainFund(e, whole)
	if !ok {
		return Fund{}, false
	}
	list := slices.DeleteFunc(slices.Clone(whole), func(d record.Donations) bool { return d.Currency != main.Currency || d.Count == 0 })
	if len(list) == 0 {
		return Fund{}, false
	}
	return fund(slices.MinFunc(list, func(a, b record.Donations) int {
		return cmp.Or(cmp.Compare(b2i(fund(b) == main), b2i(fund(a) == main)), cmp.Compare(a.Source, b.Source))
	})), true
}

// by is what a channel's totals of a fund are, by all that was said of it.
func by(d record.Donations) string {
	switch {
	case d.Samples > 0:
		return BySamples
	case !d.SumAt.IsZero():
		return ByChannels
	}
	return ByDonations
}

// fundsIn are the funds that a total speaks of, with the effects of corrections.
func (r *Reader) fundsIn(ctx context.Context, total *record.Statistics) ([]FundOf, error) {
	main, _ := MainFund(&r.event, r.whole.Donations)
	singles, _ := SinglesFund(&r.event, r.whole.Donations)
	final := counted(&r.event, Aligned(&r.event, r.Whole()), r.through).To
	until := final
	if r.event.State == record.EventEnded || r.event.State == record.EventFrozen {
		until = time.Time{}
	}
	var funds []FundOf
	for _, d := range total.Donations {
		if d.Currency == "" {
			continue
		}
		f := FundOf{Fund: fund(d), Main: fund(d) == main, Singles: fund(d) == singles, By: by(d), Final: final, Until: until}
		var err error
		if f.Effects, err = r.effectsOf(ctx, total.Channel, f.Fund, f.By); err != nil {
			return nil, err
		}
		funds = append(funds, f)
	}
	return funds, nil
}

// funds are those of a channel, or of the event, with what was before an aligned range and what is known
// of it.
func (r *Reader) funds(ctx context.Context, channel string, rg Range) ([]FundOf, error) {
	total := r.whole
	if channel != record.AllChannels {
		var err error
		if total, err = r.total(ctx, channel, onlyDonations); err != nil {
			return nil, err
		}
	}
	funds, err := r.fundsIn(ctx, &total)
	if err != nil || len(funds) == 0 {
		return nil, err
	}
	event := []record.Statistics{r.whole}
	if !r.isWhole(rg) {
		if event, err = r.documents(ctx, record.AllChannels, rg, onlyDonations); err != nil {
			return nil, err
		}
	}
	known := knownOf(&r.event, event)
	for i := range funds {
		funds[i].Known = known[funds[i].Source]
	}
	return funds, r.before(ctx, channel, rg, funds)
}

// before tells funds what was before an aligned range.
func (r *Reader) before(ctx context.Context, channel string, rg Range, funds []FundOf) error {
	before, err := r.documents(ctx, channel, Range{record.Minute(r.event.Start), earlier(rg.From, r.through.Add(time.Minute))}, onlyDonations)
	if err != nil {
		return err
	}
	for i := range funds {
		f := &funds[i]
		for j := range before {
			for _, d := range before[j].Donations {
				if fund(d) != f.Fund {
					continue
				}
				if f.By == ByDonations {
					f.Before.Cents += d.Cents
				} else if s, ok := f.standing(&d); ok && s.At.After(f.Before.At) {
					f.Before, f.Of = s, d.Channels
				}
			}
		}
		if f.By == ByChannels {
			if f.Rolls, err = r.rolls(ctx, f, rg.To); err != nil {
				return err
			}
		}
		if f.By == ByChannels && f.Before.At.IsZero() {
			if f.First, err = r.firstSum(ctx, f, rg); err != nil {
				return err
			}
		}
	}
	return nil
}

// rolls tell of how many channels' totals the sums up to a moment are: by hours, and the last by minutes.
func (r *Reader) rolls(ctx context.Context, f *FundOf, to time.Time) ([]Roll, error) {
	to = earlier(to, r.through.Add(time.Minute))
	start := record.Minute(r.event.Start).Truncate(time.Hour)
	docs, err := r.read(ctx, nil, store.Hours, record.AllChannels, Range{start, to.Truncate(time.Hour)}, onlyDonations)
	if err == nil {
		docs, err = r.read(ctx, docs, store.Minutes, record.AllChannels, Range{to.Add(-time.Hour), to}, onlyDonations)
	}
	return f.rolls(docs), err
}

// firstSum is the first sum of the channels' totals in a range in which it is the first of all.
func (r *Reader) firstSum(ctx context.Context, f *FundOf, rg Range) (first Standing, err error) {
	found := errors.New("found")
	in := func(c store.Collection, rg Range) error {
		err := r.each(ctx, c, record.AllChannels, rg, onlyDonations, func(d *record.Statistics) error {
			for _, said := range d.Donations {
				if s, ok := f.standing(&said); ok && fund(said) == f.Fund {
					first = s
					return found
				}
			}
			return nil
		})
		if errors.Is(err, found) {
			return nil
		}
		return err
	}
	if err := in(store.Hours, Range{rg.From.Truncate(time.Hour), rg.To}); err != nil || first.At.IsZero() {
		return first, err
	}
	hour := first.At.Truncate(time.Hour)
	first = Standing{}
	err = in(store.Minutes, rg.Within(Range{hour, hour.Add(time.Hour)}))
	return first, err
}

// effect is what a correction does to one channel's total in one fund.
type effect struct {
	Fund
	corrections.Effect
}

// effectsOf are the effects of the corrections of a total.
func (r *Reader) effectsOf(ctx context.Context, channel string, f Fund, by string) ([]corrections.Effect, error) {
	own, err := r.ownEffects(ctx, channel, f)
	if err != nil || channel != record.AllChannels {
		return own, err
	}
	var channels []corrections.Effect
	for _, c := range slices.Sorted(maps.Keys(r.effects)) {
		if c == record.AllChannels {
			continue
		}
		of, err := r.ownEffects(ctx, c, f)
		if err != nil {
			return nil, err
		}
		channels = append(channels, of...)
	}
	_, effects := corrections.Event(nil, by != BySamples, nil, channels)
	return append(slices.Clip(own), effects...), nil
}

// ownEffects are what the corrections of a channel's total (or the event's own) do to it.
func (r *Reader) ownEffects(ctx context.Context, channel string, f Fund) ([]corrections.Effect, error) {
	kept := r.effects[channel]
	if kept == nil {
		return nil, nil
	}
	list, err := kept.get(func() ([]effect, error) { return r.compute(ctx, channel) })
	if err != nil {
		return nil, err
	}
	var out []corrections.Effect
	for _, e := range list {
		if e.Fund == f {
			out = append(out, e.Effect)
		}
	}
	return out, nil
}

// compute applies a channel's corrections to its raw totals.
func (r *Reader) compute(ctx context.Context, channel string) (out []effect, err error) {
	total := r.whole
	if channel != record.AllChannels {
		if total, err = r.total(ctx, channel, onlyDonations); err != nil {
			return nil, err
		}
	}
	for _, d := range total.Donations {
		f := fund(d)
		fixes := corrections.Of(r.fixes, channel, f.Source, f.Currency)
		if len(fixes) == 0 || f.Currency == "" {
			continue
		}
		var series []corrections.Sample
		if len(corrections.Moments(fixes)) > 0 {
			if series, err = r.series(ctx, channel, f, by(d)); err != nil {
				return nil, err
			}
		}
		_, effects := corrections.Apply(series, fixes)
		for _, e := range effects {
			out = append(out, effect{f, e})
		}
	}
	return out, nil
}

// series are the raw running totals of a channel, or of the event: the samples themselves; where there
// are none, the sums at the ends of minutes.
func (r *Reader) series(ctx context.Context, channel string, f Fund, by string) ([]corrections.Sample, error) {
	if by != BySamples {
		var (
			list []corrections.Sample
			sum  int64
		)
		whole := Range{record.Minute(r.event.Start), r.through.Add(time.Minute)}
		err := r.each(ctx, store.Minutes, channel, whole, onlyDonations, func(d *record.Statistics) error {
			for _, said := range d.Donations {
				switch {
				case fund(said) != f:
				case by == ByDonations && said.Count > 0:
					sum += said.Cents
					list = append(list, corrections.Sample{Time: d.Time, Cents: sum})
				case by == ByChannels && !said.SumAt.IsZero():
					list = append(list, corrections.Sample{Time: said.SumAt, Cents: said.Sum})
				}
			}
			return nil
		})
		return list, err
	}
	query := store.Query{Collection: store.Records, Event: r.event.Slug, Kind: record.KindAmount, Channel: channel}
	if channel == record.AllChannels {
		return r.eventSeries(ctx, f)
	}
	type slot struct {
		member string
		at     int64
	}
	cents := map[slot]int64{}
	for raw, err := range r.store.Find(ctx, query) {
		if err != nil {
			return nil, fmt.Errorf("read the totals of channel %s: %w", channel, err)
		}
		a := amount(raw)
		if a.Source != f.Source || a.Money.Currency != f.Currency {
			continue
		}
		s := slot{a.Member, a.Time.UnixMilli()}
		if old, twice := cents[s]; !twice || a.Money.Cents > old {
			cents[s] = a.Money.Cents
		}
	}
	sums := map[int64]int64{}
	for s, n := range cents {
		sums[s.at] += n
	}
	list := make([]corrections.Sample, 0, len(sums))
	for at, n := range sums {
		list = append(list, corrections.Sample{Time: time.UnixMilli(at).UTC(), Cents: n})
	}
	slices.SortFunc(list, func(a, b corrections.Sample) int { return a.Time.Compare(b.Time) })
	return list, nil
}

// eventSeries are the first and the last sample of each minute of what a source says of the event: no
// index leads to the samples themselves.
func (r *Reader) eventSeries(ctx context.Context, f Fund) ([]corrections.Sample, error) {
	var list []corrections.Sample
	whole := Range{record.Minute(r.event.Start), r.through.Add(time.Minute)}
	err := r.each(ctx, store.Minutes, record.AllChannels, whole, onlyDonations, func(d *record.Statistics) error {
		for _, said := range d.Donations {
			if fund(said) == f && said.Samples > 0 {
				list = append(list, corrections.Sample{Time: said.FirstAt, Cents: said.First},
					corrections.Sample{Time: said.TotalAt, Cents: said.Total})
			}
		}
		return nil
	})
	return list, err
}
