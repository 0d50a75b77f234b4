package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Bounds of what is read and shown.
const (
	window      = 60 // minutes
	trend       = 30 // minutes
	maxEvents   = 200
	maxChannels = 5000
	maxMembers  = 500
	// perTick is how many minutes' channel documents are read for one snapshot, so that a start in
	// the middle of an event fills the hour little by little.
	perTick = 2
	// Every so many snapshots the whole hour and the channels are read again: a minute that was
	// recounted and a channel that was added show within half a minute.
	rereadEvery = 30
	// A member that has not been heard of for so long has been taken away.
	forget = time.Hour
	// Gaps and names listed.
	maxGaps  = 40
	maxNames = 6
)

// The bounds of a stage's health. Batches are made up to five times a second by each collector: two
// hundred are some seconds of work, two thousand are minutes.
const (
	warnDepth, badDepth         = 200, 2000
	warnLag, badLag             = 10 * time.Second, time.Minute
	warnRollupLag, badRollupLag = 150 * time.Second, 10 * time.Minute
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

// beat is when a member's heartbeat was last seen to change, by this machine's clock: theirs may be
// off.
type beat struct {
	run  string
	n    int64
	seen time.Time
}

// collector builds snapshots. It belongs to one goroutine.
type collector struct {
	cfg   Config
	log   *slog.Logger
	speed float64

	round    int
	last     *Snapshot // the last whole one
	good     time.Time // when
	failing  bool
	event    *record.Event
	channels []record.Channel
	// minutes are those of the event as a whole in the window, cells those of its channels.
	minutes map[time.Time]statistics
	cells   map[time.Time]minuteChannels
	beats   map[string]beat
	// since is when a condition found by the page itself was first seen, by name and subject.
	since map[string]time.Time
	// inserted counts the documents that consumers have inserted while the page looked on; marks
	// are its values of the last ten seconds.
	inserted     int64
	insertedBy   map[string]insertedOf
	insertedAt   []insertedMark
	depthFailing bool

	live   *totals.Live
	raised *Raised
}

type insertedOf struct {
	run string
	n   int64
}

type insertedMark struct {
	at time.Time
	n  int64
}

func newCollector(cfg Config) *collector {
	c := &collector{cfg: cfg, log: cfg.Logger, speed: 1}
	if s, ok := cfg.Clock.(interface{ Speed() float64 }); ok {
		c.speed = s.Speed()
	}
	c.beats = map[string]beat{}
	c.since = map[string]time.Time{}
	c.insertedBy = map[string]insertedOf{}
	return c
}

// collect builds a snapshot. When the store does not answer it is the last one again, which says so.
func (c *collector) collect(ctx context.Context) *Snapshot {
	began := time.Now()
	snap, err := c.build(ctx, began)
	if err == nil {
		if c.failing {
			c.log.Info("status page: the store answers again")
		}
		c.failing, c.good, c.last = false, time.Now(), snap
		c.round++
		return snap
	}
	if !c.failing {
		c.log.Warn("status page: can't read the store, showing the last numbers", "err", err)
	}
	c.failing = true
	stale := Snapshot{Version: c.cfg.Version, Speed: c.speed, Now: unknownNumbers()}
	if c.last != nil {
		stale = *c.last
	}
	stale.At = c.cfg.Clock.Now().UTC()
	stale.Demo = c.demo()
	stale.Store = StoreState{Seconds: time.Since(began).Seconds()}
	if !c.good.IsZero() {
		good := c.good.UTC()
		stale.Store.Good = &good
	}
	stale.Stages = slices.Clone(stale.Stages)
	for i := range stale.Stages {
		stale.Stages[i].Health = HealthUnknown
		if stale.Stages[i].Name == StageStore {
			stale.Stages[i].Health = HealthBad
		}
	}
	stale.Conditions = slices.Clone(stale.Conditions)
	stale.Conditions = slices.DeleteFunc(stale.Conditions, func(x Condition) bool { return x.Name == condStore })
	stale.Conditions = slices.Insert(stale.Conditions, 0,
		Condition{Name: condStore, Health: HealthBad, Since: stale.Store.Good})
	return &stale
}

func (c *collector) demo() *DemoInfo {
	if c.cfg.Demo == nil {
		return nil
	}
	d := c.cfg.Demo()
	return &DemoInfo{Phase: d.Phase, Sent: d.Sent, Elapsed: d.Elapsed.Seconds(), Remaining: d.Remaining.Seconds()}
}

func (c *collector) build(ctx context.Context, began time.Time) (*Snapshot, error) {
	now := c.cfg.Clock.Now().UTC()
	if err := c.chooseEvent(ctx, now); err != nil {
		return nil, err
	}
	members, err := c.members(ctx)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{
		At: now, Speed: c.speed, Version: c.cfg.Version, Demo: c.demo(), Now: unknownNumbers(),
		Minutes: []Minute{}, Gaps: []Gap{}, Collectors: []CollectorInfo{}, Members: []MemberInfo{},
		Conditions: []Condition{}, Rates: map[string]float64{}, Channels: []ChannelInfo{},
	}
	var total *statistics
	rollup := rollupOf(members, "")
	if c.event != nil {
		e := c.event
		snap.Event = &EventInfo{
			Slug: e.Slug, Name: e.Name, State: e.State, Start: e.Start.UTC(), End: e.End.UTC(),
			TimeZone: e.TimeZone, Replicas: e.Replicas,
		}
		rollup = rollupOf(members, e.Slug)
		if total, err = c.readEvent(ctx, now); err != nil {
			return nil, err
		}
	}
	readBy := c.readBy(members)
	c.fillMinutes(snap, now, rollup)
	c.fillChannels(snap, readBy)
	c.fillNumbers(snap, members, readBy, total, rollup)
	if c.event != nil {
		if snap.Raised, err = c.readRaised(ctx, now); err != nil {
			return nil, err
		}
	}
	c.fillGaps(snap)
	c.fillMembers(snap, members, now)
	depth, dead := c.depth(ctx, queue.Store), c.depth(ctx, queue.Dead)
	letters, err := c.letters(ctx)
	if err != nil {
		return nil, err
	}
	if letters > 0 {
		if dead != nil {
			letters += *dead
		}
		dead = &letters
	}
	snap.Now.Dead = dead
	snap.Store = StoreState{OK: true, Seconds: time.Since(began).Seconds()}
	good := time.Now().UTC()
	snap.Store.Good = &good
	c.fillStages(snap, members, depth, rollup, now)
	c.fillConditions(snap, members, rollup)
	return snap, nil
}

// read collects what a query finds.
func read[T any](ctx context.Context, s Store, q store.Query) ([]T, error) {
	var all []T
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", q.Collection, err)
		}
		var t T
		if err := bson.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("read %s: decode a document: %w", q.Collection, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// chooseEvent reads the event to show; when it is another than before, all that was kept of the
// last one goes.
func (c *collector) chooseEvent(ctx context.Context, now time.Time) error {
	events, err := read[record.Event](ctx, c.cfg.Store, store.Query{Collection: store.Events, Limit: maxEvents})
	if err != nil {
		return err
	}
	chosen := choose(events, c.cfg.Event, now)
	if chosen == nil || c.event == nil || chosen.Slug != c.event.Slug {
		c.minutes, c.cells = map[time.Time]statistics{}, map[time.Time]minuteChannels{}
		c.channels, c.round = nil, 0
		c.live, c.raised = nil, nil
	}
	c.event = chosen
	return nil
}

// choose returns the event of the slug; without one, a live one (the last that began), else the next
// scheduled one, else the last that ended, else any.
func choose(events []record.Event, slug string, now time.Time) *record.Event {
	rank := func(e *record.Event) int {
		switch e.State {
		case record.EventLive:
			return 0
		case record.EventScheduled:
			return 1
		case record.EventEnded, record.EventFrozen:
			return 2
		}
		return 3
	}
	var best *record.Event
	for i := range events {
		e := &events[i]
		if slug != "" {
			if e.Slug == slug {
				return e
			}
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(rank(e), rank(best)),
			cmp.Compare(now.Sub(e.Start).Abs(), now.Sub(best.Start).Abs())) < 0 {
			best = e
		}
	}
	return best
}

// member is a Member and how long ago it was heard of.
type member struct {
	control.Member
	age    time.Duration
	silent bool
}

// members reads who is running. The first age is by the member's clock, those after by the change of
// its heartbeat.
func (c *collector) members(ctx context.Context) ([]member, error) {
	all, err := read[control.Member](ctx, c.cfg.Store, store.Query{Collection: store.Members, Limit: maxMembers})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var out []member
	known := make(map[string]beat, len(all))
	for _, m := range all {
		if m.Left {
			continue
		}
		b, ok := c.beats[m.ID]
		switch {
		case !ok:
			b = beat{m.Run, m.Beat, now.Add(-max(0, now.Sub(m.Seen)))}
		case b.run != m.Run || b.n != m.Beat:
			b = beat{m.Run, m.Beat, now}
		}
		known[m.ID] = b
		age := now.Sub(b.seen)
		if age > forget {
			continue
		}
		out = append(out, member{m, age, age > c.cfg.Silent})
	}
	c.beats = known
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// rollupState is what rollups tell of an event.
type rollupState struct {
	any    bool // some rollup is heard of
	leader bool // one that leads
	closed time.Time
	marks  int
	live   *record.Statistics
}

func rollupOf(members []member, event string) rollupState {
	var s rollupState
	var epoch int64 = -1
	for _, m := range members {
		if m.Rollup == nil || m.silent {
			continue
		}
		s.any = true
		if !m.Rollup.Leader || m.Rollup.Epoch < epoch {
			continue
		}
		s.leader, epoch = true, m.Rollup.Epoch
		for _, e := range m.Rollup.Events {
			if e.Event == event {
				s.closed, s.marks, s.live = e.Closed.UTC(), e.Marks, e.Live
			}
		}
	}
	return s
}

// span is the minutes that the page looks at: the last hour, or the event's last.
func (c *collector) span(now time.Time) (from, to time.Time) {
	to = record.Minute(now).Add(time.Minute)
	if end := c.event.End; !end.IsZero() && end.Before(to) {
		to = record.Minute(end.Add(time.Minute - time.Millisecond))
	}
	from = to.Add(-window * time.Minute)
	if start := record.Minute(c.event.Start); start.After(from) {
		from = start
	}
	return from, to
}

// readEvent reads the event's total and newest minutes, and its channels from time to time.
func (c *collector) readEvent(ctx context.Context, now time.Time) (*statistics, error) {
	slug := c.event.Slug
	if c.round%rereadEvery == 0 || len(c.channels) == 0 {
		channels, err := read[record.Channel](ctx, c.cfg.Store,
			store.Query{Collection: store.Channels, Event: slug, Limit: maxChannels})
		if err != nil {
			return nil, err
		}
		c.channels = channels
	}
	from, to := c.span(now)
	q := store.Query{
		Collection: store.Minutes, Event: slug, Channel: record.AllChannels,
		From: from, To: to, Descending: true, Limit: window,
	}
	if c.round%rereadEvery != 0 {
		// All that may have changed since: from the first that was not closed then.
		q.From = c.settled(from, to)
	}
	minutes, err := read[statistics](ctx, c.cfg.Store, q)
	if err != nil {
		return nil, err
	}
	for _, m := range minutes {
		m.Time = m.Time.UTC()
		c.minutes[m.Time] = m
	}
	maps.DeleteFunc(c.minutes, func(t time.Time, _ statistics) bool { return t.Before(from) || !t.Before(to) })
	maps.DeleteFunc(c.cells, func(t time.Time, _ minuteChannels) bool { return t.Before(from) || !t.Before(to) })
	if err := c.readCells(ctx); err != nil {
		return nil, err
	}
	raw, err := c.cfg.Store.Get(ctx, store.Totals, slug+"/"+record.AllChannels)
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
func (c *collector) settled(from, to time.Time) time.Time {
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		if m, ok := c.minutes[t]; !ok || m.State != record.StateClosed {
			return t
		}
	}
	return to.Add(-time.Minute)
}

// readCells reads the channels of closed minutes that are new or were counted again, newest first.
func (c *collector) readCells(ctx context.Context) error {
	left := perTick
	for _, t := range slices.SortedFunc(maps.Keys(c.minutes), func(a, b time.Time) int { return b.Compare(a) }) {
		m := c.minutes[t]
		if m.State != record.StateClosed {
			continue
		}
		if have, ok := c.cells[t]; ok && have.counted.Equal(m.Counted) {
			continue
		}
		if left == 0 {
			return nil
		}
		left--
		docs, err := read[statistics](ctx, c.cfg.Store, store.Query{
			Collection: store.Minutes, Event: c.event.Slug, From: t, To: t.Add(time.Minute), Limit: maxChannels + 1,
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
		c.cells[t] = minuteChannels{m.Counted, cells}
	}
	return nil
}

// readBy tells which collectors are reading each channel now.
func (c *collector) readBy(members []member) map[string][]string {
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

func (c *collector) fillMinutes(snap *Snapshot, now time.Time, rollup rollupState) {
	if c.event == nil || c.event.State == record.EventDraft || c.event.State == record.EventScheduled && len(c.minutes) == 0 {
		return
	}
	from, to := c.span(now)
	// A minute without a document is missing only once it should have one.
	due := rollup.closed
	if late := record.Minute(now).Add(-3 * time.Minute); due.Before(late) {
		due = late
	}
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		m, ok := c.minutes[t]
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

func (c *collector) fillChannels(snap *Snapshot, readBy map[string][]string) {
	times := slices.SortedFunc(maps.Keys(c.cells), func(a, b time.Time) int { return b.Compare(a) })
	for _, ch := range c.channels {
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
			if v, ok := c.cells[newest].cells[ch.Channel]; ok {
				info.Messages, info.Chatters, info.Error = v.messages, v.chatters, v.err
				info.Chat, info.Covered = quality(v.coverage.Chat), share(v.coverage)
				switch {
				case v.viewers.LiveMinutes > 0:
					info.Stream, info.Viewers = StreamLive, v.viewers.Average
				case v.viewers.SampledMinutes > 0:
					info.Stream = StreamOffline
				}
			}
			info.Trend = c.trend(ch.Channel, newest)
		}
		snap.Channels = append(snap.Channels, info)
	}
	slices.SortFunc(snap.Channels, func(a, b ChannelInfo) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(b.Viewers, a.Viewers),
			strings.Compare(a.Login, b.Login))
	})
}

// trend is a channel's messages in the minutes up to newest, as far back as there is any.
func (c *collector) trend(channel string, newest time.Time) []int64 {
	out := make([]int64, 0, trend)
	for i := range trend {
		t := newest.Add(time.Duration(i-trend+1) * time.Minute)
		v, ok := c.cells[t].cells[channel]
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

func (c *collector) fillNumbers(
	snap *Snapshot, members []member, readBy map[string][]string, total *statistics, rollup rollupState,
) {
	n := &snap.Now
	for _, ch := range c.channels {
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
	c.fillRate(snap, members, readBy)
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
	c.addOpen(snap, rollup)
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
func (c *collector) addOpen(snap *Snapshot, rollup rollupState) {
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
func (c *collector) fillRate(snap *Snapshot, members []member, readBy map[string][]string) {
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
func (c *collector) fillGaps(snap *Snapshot) {
	active := map[string]record.Channel{}
	for _, ch := range c.channels {
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
		mc, looked := c.cells[m.Time]
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

func (c *collector) fillMembers(snap *Snapshot, members []member, now time.Time) {
	for _, m := range members {
		health := HealthOK
		switch {
		case m.silent:
			health = HealthBad
		case len(m.Conditions) > 0:
			health = HealthWarn
		}
		if m.Collector == nil {
			info := MemberInfo{
				Role: m.Role, Name: m.Name, Node: m.Node, Health: health, Age: m.age.Seconds(), Silent: m.silent, Version: m.Version,
			}
			switch {
			case m.Master != nil:
				info.Leader, info.Epoch = m.Master.Leader && !m.silent, m.Master.Epoch
			case m.Rollup != nil:
				info.Leader, info.Epoch = m.Rollup.Leader && !m.silent, m.Rollup.Epoch
			case m.Custody != nil:
				info.Leader, info.Epoch = m.Custody.Leader && !m.silent, m.Custody.Epoch
			}
			snap.Members = append(snap.Members, info)
			continue
		}
		s := m.Collector.Status
		info := CollectorInfo{
			Name: m.Name, Node: m.Node, Version: m.Version, Health: health, Age: m.age.Seconds(), Silent: m.silent,
			Leaving: m.Collector.Leaving, Started: m.Started.UTC(),
			Joined: len(m.Collector.Joined), Assigned: s.Assigned, Capacity: m.Collector.Capacity,
			Connections: len(s.Connections), Rate: s.Rate, Viewers: s.Viewers, Live: s.Live,
			OutboxBatches: s.OutboxBatches, OutboxBytes: s.OutboxBytes, OutboxOldest: c.outboxAge(s, now),
		}
		for _, conn := range s.Connections {
			if conn.State == "ready" {
				info.Ready++
			}
		}
		if !m.silent && (info.Joined < info.Assigned || s.OutboxBatches < 0 || len(s.Conditions) > 0) {
			info.Health = HealthWarn
		}
		snap.Collectors = append(snap.Collectors, info)
	}
}

func (c *collector) outboxAge(s control.CollectorStatus, now time.Time) float64 {
	if s.OutboxBatches <= 0 || s.OutboxOldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.OutboxOldest).Seconds()/c.speed)
}

// depth asks for a queue's depth; nil when it can't be had.
func (c *collector) depth(ctx context.Context, name string) *int {
	if c.cfg.Depth == nil {
		return nil
	}
	n, err := c.cfg.Depth(ctx, name)
	if err != nil {
		if !c.depthFailing {
			c.log.Warn("status page: can't read the depth of a queue", "queue", name, "err", err)
		}
		c.depthFailing = true
		return nil
	}
	c.depthFailing = false
	return &n
}

// level is a health by two bounds.
func level[T cmp.Ordered](v, warn, bad T) string {
	switch {
	case v >= bad:
		return HealthBad
	case v >= warn:
		return HealthWarn
	}
	return HealthOK
}

func (c *collector) fillStages(snap *Snapshot, members []member, depth *int, rollup rollupState, now time.Time) {
	running := snap.Event != nil && snap.Event.State == record.EventLive
	collectors := Stage{Name: StageCollectors, Health: HealthOK, Up: new(snap.Now.Up), Of: new(snap.Now.Collectors)}
	outbox := Stage{Name: StageOutbox, Health: HealthUnknown}
	consumers := Stage{Name: StageConsumers, Health: HealthOK}
	var rate, consumed, oldest, lag float64
	var batches, bytes, up, of int
	for _, m := range members {
		if m.Collector != nil && !m.silent {
			s := m.Collector.Status
			rate += s.Rate
			batches += int(max(s.OutboxBatches, 0))
			bytes += int(s.OutboxBytes)
			oldest = max(oldest, c.outboxAge(s, now))
		}
		if m.Consumer != nil {
			of++
			if !m.silent {
				up++
				consumed += m.Consumer.Rate
				lag = max(lag, m.Consumer.Lag.Seconds()/c.speed)
			}
		}
	}
	switch {
	case snap.Now.Up == 0:
		collectors.Health = HealthBad
		if !running {
			collectors.Health = HealthUnknown
		}
	case snap.Now.Up < snap.Now.Collectors, running && snap.Now.Read < snap.Now.Channels:
		collectors.Health = HealthWarn
	}
	if snap.Now.Up > 0 {
		collectors.Rate = &rate
		outbox.Depth, outbox.Bytes, outbox.Lag = new(int64(batches)), new(int64(bytes)), &oldest
		outbox.Health = level(oldest, warnLag.Seconds(), badLag.Seconds())
	}
	q := Stage{Name: StageQueue, Health: HealthUnknown}
	if depth != nil {
		q.Depth, q.Health = new(int64(*depth)), level(*depth, warnDepth, badDepth)
	}
	consumers.Up, consumers.Of = &up, &of
	switch up {
	case 0:
		consumers.Health = HealthBad
		if !running {
			consumers.Health = HealthUnknown
		}
	default:
		consumers.Rate, consumers.Lag = &consumed, &lag
		// Without traffic the newest record is old, and nobody is late.
		if consumed > 0 {
			consumers.Health = level(lag, warnLag.Seconds(), badLag.Seconds())
		}
		if up < of && consumers.Health == HealthOK {
			consumers.Health = HealthWarn
		}
	}
	st := Stage{Name: StageStore, Health: level(snap.Store.Seconds, 1, 4), Lag: new(snap.Store.Seconds)}
	st.Rate = c.insertRate(members)
	roll := Stage{Name: StageRollup, Health: HealthUnknown}
	if rollup.any {
		roll.Depth, roll.Health = new(int64(rollup.marks)), HealthOK
		if !rollup.leader {
			roll.Health = HealthWarn
		}
		if !rollup.closed.IsZero() && running {
			behind := now.Sub(rollup.closed.Add(time.Minute))
			roll.Lag = new(max(0, behind.Seconds()/c.speed))
			// Minutes close by event time, whatever its speed.
			roll.Health = level(behind, warnRollupLag, badRollupLag)
			if c.speed > 1 {
				roll.Health = level(behind.Seconds()/c.speed, warnRollupLag.Seconds(), badRollupLag.Seconds())
			}
		}
	} else if running {
		roll.Health = HealthBad
	}
	snap.Stages = []Stage{collectors, outbox, q, consumers, st, roll}
}

// maxLetters bounds what is counted of the dead letters.
const maxLetters = 10_000

// letters counts the dead letters that were filed, up to a bound.
func (c *collector) letters(ctx context.Context) (int, error) {
	s, ok := c.cfg.Store.(interface {
		Count(ctx context.Context, q store.Query) (int, error)
	})
	if !ok {
		return 0, nil
	}
	n, err := s.Count(ctx, store.Query{Collection: store.Letters, Limit: maxLetters})
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// insertRate is how many new documents a second consumers have inserted over the last ten seconds;
// nil until two looks.
func (c *collector) insertRate(members []member) *float64 {
	now := time.Now()
	heard := false
	for _, m := range members {
		if m.Consumer == nil {
			continue
		}
		heard = true
		last, ok := c.insertedBy[m.ID]
		if ok && last.run == m.Run && m.Consumer.Inserted >= last.n {
			c.inserted += m.Consumer.Inserted - last.n
		}
		c.insertedBy[m.ID] = insertedOf{m.Run, m.Consumer.Inserted}
	}
	c.insertedAt = append(c.insertedAt, insertedMark{now, c.inserted})
	for len(c.insertedAt) > 2 && now.Sub(c.insertedAt[0].at) > 10*time.Second {
		c.insertedAt = c.insertedAt[1:]
	}
	first := c.insertedAt[0]
	d := now.Sub(first.at).Seconds()
	if !heard || d <= 0 {
		return nil
	}
	return new(float64(c.inserted-first.n) / d)
}

// The conditions that the page itself finds. Each has a title and a text in the catalogue.
const (
	condStore      = "store-unreachable"
	condNoEvent    = "no-event"
	condCollectors = "no-collectors"
	condSilent     = "member-silent"
	condUnread     = "channels-unread"
	condUnassigned = "channels-unassigned"
	condNotFound   = "logins-not-found"
	condConsumers  = "no-consumers"
	condQueue      = "queue-deep"
	condRollup     = "no-rollup"
	condDead       = "dead-letters"
)

func (c *collector) fillConditions(snap *Snapshot, members []member, rollup rollupState) {
	now := time.Now().UTC()
	found := map[string]time.Time{}
	add := func(name, health, subject string, count int) {
		key := name + "/" + subject
		since, ok := c.since[key]
		if !ok {
			since = now
		}
		found[key] = since
		snap.Conditions = append(snap.Conditions,
			Condition{Name: name, Health: health, Subject: subject, Since: &since, Count: count})
	}
	running := snap.Event != nil && snap.Event.State == record.EventLive
	if snap.Event == nil {
		add(condNoEvent, HealthWarn, "", 0)
	}
	if running {
		c.runningConditions(snap, rollup, add)
	}
	for _, m := range members {
		switch {
		case m.silent:
			key := condSilent + "/" + m.ID
			since := now.Add(-m.age)
			found[key] = since
			snap.Conditions = append(snap.Conditions,
				Condition{Name: condSilent, Health: HealthBad, Subject: m.ID, Since: &since})
		case m.Master != nil && m.Master.Leader && len(m.Master.Unassigned) > 0 && !snap.has(condCollectors):
			add(condUnassigned, HealthBad, "", len(m.Master.Unassigned))
		}
	}
	for _, m := range members {
		if m.silent {
			continue
		}
		all := slices.Clone(m.Conditions)
		if m.Collector != nil {
			all = append(all, m.Collector.Status.Conditions...)
		}
		for _, x := range all {
			if snap.shows(x) {
				continue
			}
			cond := Condition{Name: x.Name, Subject: x.Subject, Member: m.ID, Health: HealthWarn, Detail: x.Detail}
			if !x.Since.IsZero() {
				cond.Since = new(x.Since.UTC())
			}
			// A collector's may be told in both places.
			if !slices.ContainsFunc(snap.Conditions, func(y Condition) bool {
				return y.Name == cond.Name && y.Subject == cond.Subject && y.Member == cond.Member
			}) {
				snap.Conditions = append(snap.Conditions, cond)
			}
		}
	}
	if n := snap.Now.NotFound; n > 0 {
		var names []string
		for _, ch := range c.channels {
			if ch.Status == record.ChannelUnknown && len(names) < maxNames {
				names = append(names, ch.Login)
			}
		}
		add(condNotFound, HealthWarn, strings.Join(names, ", "), n)
	}
	if d := snap.Now.Dead; d != nil && *d > 0 {
		add(condDead, HealthWarn, "", *d)
	}
	c.since = found
	slices.SortStableFunc(snap.Conditions, func(a, b Condition) int {
		// Bad before warn: the word sorts so.
		return strings.Compare(a.Health, b.Health)
	})
}

// has says whether the page itself has found a condition.
func (s *Snapshot) has(name string) bool {
	return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.Name == name && c.Member == "" })
}

// shows says whether the page finds by itself what a member tells, and so would show it twice.
func (s *Snapshot) shows(told control.Condition) bool {
	switch told.Name {
	case condSilent, condDead:
		return true
	case condCollectors:
		return s.has(condCollectors)
	case condUnassigned:
		return s.has(condUnassigned) || s.has(condCollectors)
	case "channels-unknown":
		return s.Now.NotFound > 0 && s.Event != nil && told.Subject == s.Event.Slug
	}
	return false
}

// runningConditions are those that are wrong only while an event is live.
func (c *collector) runningConditions(
	snap *Snapshot, rollup rollupState, add func(name, health, subject string, count int),
) {
	switch n := snap.Now; {
	case n.Up == 0:
		add(condCollectors, HealthBad, "", 0)
	case n.Read < n.Channels:
		add(condUnread, HealthWarn, "", n.Channels-n.Read)
	}
	for _, s := range snap.Stages {
		switch {
		case s.Name == StageConsumers && *s.Up == 0:
			add(condConsumers, HealthBad, "", 0)
		case s.Name == StageQueue && (s.Health == HealthWarn || s.Health == HealthBad):
			add(condQueue, s.Health, "", int(*s.Depth))
		}
	}
	if !rollup.leader {
		add(condRollup, HealthBad, "", 0)
	}
}
