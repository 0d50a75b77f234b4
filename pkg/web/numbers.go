package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// statistics is the part of record.Statistics that is shown: without sketches and emotes, which are
// most of a document's bytes.
type statistics struct {
	Channel  string    `bson:"channel"`
	Time     time.Time `bson:"time"`
	State    string    `bson:"state"`
	Counted  time.Time `bson:"counted"`
	Minutes  int       `bson:"minutes"`
	Through  time.Time `bson:"through"`
	Messages int64     `bson:"messages"`
	Chatters struct {
		Estimate int64   `bson:"estimate"`
		Error    float64 `bson:"error"`
	} `bson:"chatters"`
	Emotes struct {
		Total int64 `bson:"total"`
	} `bson:"emotes"`
	Bits     int64           `bson:"bits"`
	Subs     int64           `bson:"subs"`
	Resubs   int64           `bson:"resubs"`
	Gifts    int64           `bson:"gifts"`
	Raids    int64           `bson:"raids"`
	Viewers  record.Audience `bson:"viewers"`
	Coverage record.Covered  `bson:"coverage"`
}

// cell is one channel in one closed minute.
type cell struct {
	messages, chatters int64
	err                float64
	viewers            record.Audience
	coverage           record.Covered
}

// minuteChannels are the channels of one closed minute, as counted then.
type minuteChannels struct {
	counted time.Time
	cells   map[string]cell
}

// span is the minutes that the page looks at: the last hour, or the event's last.
func (b *builder) span(now time.Time) (from, to time.Time) {
	to = record.Minute(now).Add(time.Minute)
	if end := b.event.End; !end.IsZero() && end.Before(to) {
		to = record.Minute(end.Add(time.Minute - time.Millisecond))
	}
	from = to.Add(-window * time.Minute)
	if start := record.Minute(b.event.Start); start.After(from) {
		from = start
	}
	return from, to
}

// readEvent reads the event's total and newest minutes, and its channels from time to time.
func (b *builder) readEvent(ctx context.Context, now time.Time) (*statistics, error) {
	slug := b.event.Slug
	if b.round%rereadEvery == 0 || len(b.channels) == 0 {
		channels, err := read[record.Channel](ctx, b.cfg.Store,
			store.Query{Collection: store.Channels, Event: slug, Limit: maxChannels})
		if err != nil {
			return nil, err
		}
		b.channels = channels
	}
	from, to := b.span(now)
	q := store.Query{
		Collection: store.Minutes, Event: slug, Channel: record.AllChannels,
		From: from, To: to, Descending: true, Limit: window,
	}
	if b.round%rereadEvery != 0 {
		// All that may have changed since: from the first that was not closed then.
		q.From = b.settled(from, to)
	}
	minutes, err := read[statistics](ctx, b.cfg.Store, q)
	if err != nil {
		return nil, err
	}
	for _, m := range minutes {
		m.Time = m.Time.UTC()
		b.minutes[m.Time] = m
	}
	maps.DeleteFunc(b.minutes, func(t time.Time, _ statistics) bool { return t.Before(from) || !t.Before(to) })
	maps.DeleteFunc(b.cells, func(t time.Time, _ minuteChannels) bool { return t.Before(from) || !t.Before(to) })
	if err := b.readCells(ctx); err != nil {
		return nil, err
	}
	raw, err := b.cfg.Store.Get(ctx, store.Totals, slug+"/"+record.AllChannels)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // an event without a closed minute has no total
	}
	if err != nil {
		return nil, fmt.Errorf("read the total of event %s: %w", slug, err)
	}
	var total statistics
	if err := bson.Unmarshal(raw, &total); err != nil {
		return nil, fmt.Errorf("read the total of event %s: decode: %w", slug, err)
	}
	return &total, nil
}

// settled is the first minute in [from, to) that is not known to be closed.
func (b *builder) settled(from, to time.Time) time.Time {
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		if m, ok := b.minutes[t]; !ok || m.State != record.StateClosed {
			return t
		}
	}
	return to.Add(-time.Minute)
}

// readCells reads the channels of closed minutes that are new or were counted again, newest first.
func (b *builder) readCells(ctx context.Context) error {
	left := perTick
	for _, t := range slices.SortedFunc(maps.Keys(b.minutes), func(a, b time.Time) int { return b.Compare(a) }) {
		m := b.minutes[t]
		if m.State != record.StateClosed {
			continue
		}
		if have, ok := b.cells[t]; ok && have.counted.Equal(m.Counted) {
			continue
		}
		if left == 0 {
			return nil
		}
		left--
		docs, err := read[statistics](ctx, b.cfg.Store, store.Query{
			Collection: store.Minutes, Event: b.event.Slug, From: t, To: t.Add(time.Minute), Limit: maxChannels + 1,
		})
		if err != nil {
			return err
		}
		cells := make(map[string]cell, len(docs))
		for _, d := range docs {
			if d.Channel != record.AllChannels {
				cells[d.Channel] = cell{d.Messages, d.Chatters.Estimate, d.Chatters.Error, d.Viewers, d.Coverage}
			}
		}
		b.cells[t] = minuteChannels{m.Counted, cells}
	}
	return nil
}

// readBy tells which collectors are reading each channel now.
func (b *builder) readBy(members []member) map[string][]string {
	by := map[string][]string{}
	for _, m := range members {
		if m.Collector == nil || m.silent {
			continue
		}
		for _, id := range m.Collector.Joined {
			by[id] = append(by[id], m.Name)
		}
	}
	return by
}

// share is seconds of expected, or nil when nothing was expected.
func share(v record.Covered) *float64 {
	if v.Expected <= 0 {
		return nil
	}
	s := min(1, v.Seconds/v.Expected)
	return &s
}

func quality(q string) string {
	if q == "" {
		return record.Unknown
	}
	return q
}

func (b *builder) fillMinutes(snap *Snapshot, now time.Time, rollup rollupState) {
	if b.event == nil || b.event.State == record.EventDraft || b.event.State == record.EventScheduled && len(b.minutes) == 0 {
		return
	}
	from, to := b.span(now)
	// A minute without a document is missing only once it should have one.
	due := rollup.closed
	if late := record.Minute(now).Add(-3 * time.Minute); due.Before(late) {
		due = late
	}
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		m, ok := b.minutes[t]
		if !ok {
			if t.After(due) {
				continue
			}
			snap.Minutes = append(snap.Minutes, Minute{Time: t, State: StateMissing, Chat: record.Unknown, Sampled: record.Unknown})
			continue
		}
		out := Minute{
			Time: t, State: m.State, Messages: m.Messages, Chatters: m.Chatters.Estimate, Error: m.Chatters.Error,
			Emotes: m.Emotes.Total, Subs: m.Subs + m.Resubs + m.Gifts, Bits: m.Bits, Raids: m.Raids,
			Chat: quality(m.Coverage.Chat), Sampled: quality(m.Coverage.Viewers), Covered: share(m.Coverage),
		}
		if l := rollup.live; l != nil && m.State == record.StateOpen && l.Time.Equal(t) && l.Messages > m.Messages {
			out.Messages, out.Chatters, out.Error = l.Messages, l.Chatters.Estimate, l.Chatters.Error
		}
		if m.Viewers.SampledMinutes > 0 {
			out.Viewers = new(m.Viewers.Average)
		}
		snap.Minutes = append(snap.Minutes, out)
	}
}

func (b *builder) fillChannels(snap *Snapshot, readBy map[string][]string) {
	times := slices.SortedFunc(maps.Keys(b.cells), func(a, b time.Time) int { return b.Compare(a) })
	for _, ch := range b.channels {
		info := ChannelInfo{
			ID: ch.Channel, Login: ch.Login, Name: cmp.Or(ch.Name, ch.Login), Status: ch.Status,
			ReadBy: readBy[ch.Channel], Stream: StreamUnsampled, Chat: record.Unknown, Trend: []int64{},
		}
		if info.ReadBy == nil {
			info.ReadBy = []string{}
		}
		if len(times) > 0 && ch.Channel != "" {
			newest := times[0]
			info.Minute = &newest
			if v, ok := b.cells[newest].cells[ch.Channel]; ok {
				info.Messages, info.Chatters, info.Error = v.messages, v.chatters, v.err
				info.Chat, info.Covered = quality(v.coverage.Chat), share(v.coverage)
				switch {
				case v.viewers.LiveMinutes > 0:
					info.Stream, info.Viewers = StreamLive, v.viewers.Average
				case v.viewers.SampledMinutes > 0:
					info.Stream = StreamOffline
				}
			}
			info.Trend = b.trend(ch.Channel, newest)
		}
		snap.Channels = append(snap.Channels, info)
	}
	slices.SortFunc(snap.Channels, func(a, b ChannelInfo) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(b.Viewers, a.Viewers),
			strings.Compare(a.Login, b.Login))
	})
}

// trend is a channel's messages in the minutes up to newest, as far back as there is any.
func (b *builder) trend(channel string, newest time.Time) []int64 {
	out := make([]int64, 0, trend)
	for i := range trend {
		t := newest.Add(time.Duration(i-trend+1) * time.Minute)
		v, ok := b.cells[t].cells[channel]
		switch {
		case ok && v.coverage.Chat != record.Unknown:
			out = append(out, v.messages)
		case len(out) > 0:
			out = append(out, -1)
		}
	}
	return out
}

func unknownNumbers() Numbers {
	n := Number{Quality: record.Unknown}
	return Numbers{Rate: n, Messages: n, Viewers: n, Peak: n, Chatters: n}
}

func (b *builder) fillNumbers(
	snap *Snapshot, members []member, readBy map[string][]string, total *statistics, rollup rollupState,
) {
	n := &snap.Now
	for _, ch := range b.channels {
		switch ch.Status {
		case record.ChannelUnresolved:
			n.Unresolved++
		case record.ChannelUnknown:
			n.NotFound++
		default:
			n.Channels++
			if len(readBy[ch.Channel]) > 0 {
				n.Read++
			}
		}
	}
	b.fillRate(snap, members, readBy)
	if total != nil {
		n.Messages = Number{Value: new(float64(total.Messages)), Quality: quality(total.Coverage.Chat)}
		n.Closed, n.Through = total.Messages, new(total.Through.UTC())
		n.Chatters = Number{
			Value: new(float64(total.Chatters.Estimate)), Quality: quality(total.Coverage.Chat), Error: total.Chatters.Error,
		}
		if total.Viewers.Peak > 0 {
			n.Peak = Number{
				Value: new(float64(total.Viewers.Peak)), Quality: quality(total.Coverage.Viewers),
				At: new(total.Viewers.PeakAt.UTC()),
			}
		}
	}
	b.addOpen(snap, rollup)
	// Viewers are of the newest minute that was sampled whole; of the newest sampled at all when
	// there is no such minute among the last five.
	for i, m := range slices.Backward(snap.Minutes) {
		if i < len(snap.Minutes)-5 {
			break
		}
		if m.Viewers == nil {
			continue
		}
		if n.Viewers.Value == nil || m.Sampled == record.Complete {
			n.Viewers = Number{
				Value: m.Viewers, Quality: m.Sampled, Provisional: m.State == record.StateOpen, At: new(m.Time),
			}
		}
		if m.Sampled == record.Complete {
			break
		}
	}
	live, sampled := 0, false
	for _, ch := range snap.Channels {
		sampled = sampled || ch.Stream != StreamUnsampled
		if ch.Stream == StreamLive {
			live++
		}
	}
	if sampled {
		n.Live = &live
	}
}

// addOpen adds the minutes that the total doesn't hold yet.
func (b *builder) addOpen(snap *Snapshot, rollup rollupState) {
	n := &snap.Now
	add := func(messages, chatters int64, e float64, q string) {
		if n.Messages.Value == nil {
			n.Messages = Number{Value: new(0.0), Quality: q}
		}
		n.Messages.Value = new(*n.Messages.Value + float64(messages))
		n.Messages.Provisional = true
		// Sketches don't add up: the event's chatters are at least those of any of its minutes.
		if n.Chatters.Value == nil || float64(chatters) > *n.Chatters.Value {
			n.Chatters = Number{Value: new(float64(chatters)), Quality: q, Error: e, Provisional: true}
		}
	}
	seen := false
	for _, m := range snap.Minutes {
		if m.State == StateMissing || n.Through != nil && !m.Time.After(*n.Through) {
			continue
		}
		add(m.Messages, m.Chatters, m.Error, m.Chat)
		seen = seen || rollup.live != nil && m.Time.Equal(rollup.live.Time)
	}
	if l := rollup.live; l != nil && !seen && (n.Through == nil || l.Time.After(*n.Through)) {
		add(l.Messages, l.Chatters.Estimate, l.Chatters.Error, quality(l.Coverage.Chat))
	}
}

// fillRate adds up collectors' rates without counting a channel twice that two of them read: of each
// channel the highest rate counts, and what is left over, the channels too quiet to be listed, is
// divided by how often a channel is read on average.
func (b *builder) fillRate(snap *Snapshot, members []member, readBy map[string][]string) {
	var rest float64
	var joined int
	heard := false
	for _, m := range members {
		if m.Collector == nil {
			continue
		}
		snap.Now.Collectors++
		if m.silent {
			continue
		}
		heard = true
		snap.Now.Up++
		joined += len(m.Collector.Joined)
		listed := 0.0
		for id, r := range m.Collector.Status.Rates {
			listed += r
			snap.Rates[id] = max(snap.Rates[id], r)
		}
		rest += max(0, m.Collector.Status.Rate-listed)
	}
	if !heard {
		return
	}
	sum := 0.0
	for _, r := range snap.Rates {
		sum += r
	}
	if len(readBy) > 0 {
		rest /= max(1, float64(joined)/float64(len(readBy)))
	}
	q := record.Complete
	switch {
	case snap.Now.Read == 0:
		q = record.Unknown
	case snap.Now.Read < snap.Now.Channels:
		q = record.Partial
	}
	snap.Now.Rate = Number{Value: new(sum + rest), Quality: q, Provisional: true}
}

// fillGaps finds the channels whose chat was not covered whole, minute by minute, and joins
// neighbours that concern the same channels.
func (b *builder) fillGaps(snap *Snapshot) {
	active := map[string]record.Channel{}
	for _, ch := range b.channels {
		if ch.Status == record.ChannelActive && ch.Channel != "" {
			active[ch.Channel] = ch
		}
	}
	var open *Gap
	var set []string
	var seconds, expected float64
	flush := func() {
		if open == nil {
			return
		}
		if expected > 0 {
			open.Covered = new(min(1, seconds/expected))
		}
		snap.Gaps = append(snap.Gaps, *open)
		open, set, seconds, expected = nil, nil, 0, 0
	}
	for _, m := range snap.Minutes {
		if m.State == record.StateOpen {
			continue
		}
		mc, looked := b.cells[m.Time]
		if m.State == record.StateClosed && !looked {
			flush()
			continue
		}
		if snap.GapsFrom == nil {
			snap.GapsFrom = new(m.Time)
		}
		var missing []string
		var sec, exp float64
		for _, id := range slices.Sorted(maps.Keys(active)) {
			if active[id].Added.After(m.Time.Add(time.Minute)) {
				continue
			}
			v, ok := mc.cells[id]
			if ok && v.coverage.Chat == record.Complete {
				continue
			}
			missing = append(missing, id)
			if ok {
				sec += v.coverage.Seconds
				exp += v.coverage.Expected
			} else {
				exp += time.Minute.Seconds()
			}
		}
		if len(missing) == 0 {
			flush()
			continue
		}
		if open == nil || !slices.Equal(set, missing) || !open.To.Equal(m.Time) {
			flush()
			open = &Gap{From: m.Time, Channels: len(missing), Of: len(active), Names: []string{}, Quality: record.Unknown}
			set = missing
			for _, id := range missing[:min(maxNames, len(missing))] {
				open.Names = append(open.Names, cmp.Or(active[id].Name, active[id].Login, id))
			}
		}
		open.To = m.Time.Add(time.Minute)
		seconds, expected = seconds+sec, expected+exp
		if sec > 0 {
			open.Quality = record.Partial
		}
	}
	flush()
	slices.Reverse(snap.Gaps)
	snap.Gaps = snap.Gaps[:min(maxGaps, len(snap.Gaps))]
}
