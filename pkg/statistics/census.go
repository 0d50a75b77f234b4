package statistics

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// ErrErased is wrapped by errors about what only records tell, of an event whose records were erased.
var ErrErased = errors.New("the event's records were erased")

// Census counts who wrote where out of messages, each once and in any order. What is before the range is
// needed too, to tell newcomers from those who return. It keeps about 60 bytes for each person and 10
// for each channel that a person wrote in: a million who wrote in ten channels each are about 200 MB.
//
// Polls of several channels may be filled at the same time.
type Census struct {
	event *record.Event
	rg    Range
	// edges are where clock hours and days begin; a slot reaches from one to the next. The first is what
	// lies before the range, and may be empty.
	edges []int64
	first int // the first slot of the range
	words int // of a chatter's slots

	mu       sync.Mutex
	people   map[person]uint32
	since    []int64  // the first message, Unix milliseconds
	where    []uint32 // its channel, in order
	order    []string // the channels as they were closed
	slots    []uint64 // words of each
	polls    []*Poll
	emotes   map[string]emote
	messages int64
	nobody   int64
}

// person is a pseudonym in 16 bytes.
type person [16]byte

type emote struct {
	name  string
	count int64
}

// NewCensus counts a range of an event.
func NewCensus(e *record.Event, rg Range) *Census {
	c := &Census{event: e, rg: Aligned(e, rg), people: map[person]uint32{}, emotes: map[string]emote{}}
	whole := Range{From: e.Start, To: e.End}
	if e.End.IsZero() {
		whole.To = c.rg.To
	}
	c.rg = c.rg.Within(whole)
	at := map[int64]struct{}{}
	for _, h := range Hours(c.rg) {
		at[h.From.UnixMilli()] = struct{}{}
	}
	for _, d := range Days(e, c.rg) {
		at[d.From.UnixMilli()] = struct{}{}
	}
	c.edges = slices.Sorted(maps.Keys(at))
	if e.Start.Before(c.rg.From) {
		c.edges = slices.Insert(c.edges, 0, e.Start.UnixMilli())
		c.first = 1
	}
	c.words = (len(c.edges) + 63) / 64
	return c
}

// Range is what is to be counted: from the event's start to the end of the range.
func (c *Census) Range() Range { return Range{From: c.event.Start, To: c.rg.To} }

// Poll is one channel's part of a Census. It is not safe for concurrent use.
type Poll struct {
	c       *Census
	channel string
	// What is known of each person: since the first message, how many in the range, and the slots.
	people   map[person]uint32
	since    []int64
	written  []uint32
	slots    []uint64
	emotes   map[string]emote
	messages int64
	nobody   int64
	slot     int
	// Once it is closed: who wrote in the range, and how much.
	who   []uint32
	count []uint32
}

// Poll begins with a channel; once for each.
func (c *Census) Poll(channel string) *Poll {
	return &Poll{c: c, channel: channel, people: map[person]uint32{}, emotes: map[string]emote{}}
}

// Add counts the document of a message of the channel. Copies from other channels, and messages outside
// of the Census's Range, don't count. A field that is missing or of another type counts as absent.
func (p *Poll) Add(doc bson.Raw) {
	var (
		chatter []byte
		emotes  []byte
		at      int64
		timed   bool
		copied  bool
	)
	decoder{}.walk(doc, func(key []byte, v bsoncore.Value) {
		switch string(key) { // does not allocate
		case "time":
			at, timed = v.DateTimeOK()
		case "chatter":
			if n := len(v.Data); v.Type == bsoncore.TypeString && n > 5 {
				chatter = v.Data[4 : n-1]
			}
		case "emotes":
			if v.Type == bsoncore.TypeArray {
				emotes = v.Data
			}
		case "source":
			copied = v.Type == bsoncore.TypeEmbeddedDocument
		}
	})
	c := p.c
	if copied || !timed || len(c.edges) == 0 || at < c.edges[0] || at >= c.rg.To.UnixMilli() {
		return
	}
	slot := p.slotOf(at)
	if slot >= c.first {
		p.messages++
		p.addEmotes(emotes)
		if chatter == nil {
			p.nobody++
		}
	}
	if chatter == nil {
		return
	}
	who := personOf(chatter)
	i, ok := p.people[who]
	if !ok {
		i = uint32(len(p.since))
		p.people[who] = i
		p.since, p.written = append(p.since, at), append(p.written, 0)
		p.slots = append(p.slots, make([]uint64, c.words)...)
	}
	p.since[i] = min(p.since[i], at)
	p.slots[int(i)*c.words+slot/64] |= 1 << (slot % 64)
	if slot >= c.first {
		p.written[i]++
	}
}

// slotOf begins where the last message was: they come about in the order of time.
func (p *Poll) slotOf(at int64) int {
	edges := p.c.edges
	if at < edges[p.slot] || p.slot+1 < len(edges) && at >= edges[p.slot+1] {
		i, found := slices.BinarySearch(edges, at)
		if !found {
			i--
		}
		p.slot = i
	}
	return p.slot
}

// personOf is exact for pseudonyms as they are made; of other texts it is a hash.
func personOf(chatter []byte) (p person) {
	var buf [18]byte
	if len(chatter) == 22 {
		if n, err := base64.RawURLEncoding.Strict().Decode(buf[:], chatter); err == nil && n == len(p) {
			copy(p[:], buf[:])
			return p
		}
	}
	sum := sha256.Sum256(chatter)
	copy(p[:], sum[:])
	return p
}

func (p *Poll) addEmotes(list []byte) {
	if list == nil {
		return
	}
	decoder{}.walk(list, func(_ []byte, v bsoncore.Value) {
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return
		}
		var (
			id, name string
			count    int64
		)
		decoder{}.walk(v.Data, func(key []byte, v bsoncore.Value) {
			switch string(key) {
			case "id":
				id = text(v)
			case "name":
				name = text(v)
			case "count":
				count = whole(v)
			}
		})
		if id != "" && count > 0 {
			addEmote(p.emotes, id, emote{name, count})
		}
	})
}

func addEmote(into map[string]emote, id string, e emote) {
	old, ok := into[id]
	if !ok || e.name < old.name {
		old.name = e.name // of several names the first, so that the order does not matter
	}
	old.count += e.count
	into[id] = old
}

// Close hands what was counted to the Census. The Poll is not to be used any more.
func (p *Poll) Close() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	me := uint32(len(c.order))
	c.polls, c.order = append(c.polls, p), append(c.order, p.channel)
	c.messages += p.messages
	c.nobody += p.nobody
	for id, e := range p.emotes {
		addEmote(c.emotes, id, e)
	}
	for who, j := range p.people {
		since, slots := p.since[j], p.slots[int(j)*c.words:(int(j)+1)*c.words]
		i, ok := c.people[who]
		if !ok {
			i = uint32(len(c.since))
			c.people[who] = i
			c.since, c.where = append(c.since, since), append(c.where, me)
			c.slots = append(c.slots, slots...)
		} else {
			if old := c.where[i]; since < c.since[i] || since == c.since[i] && p.channel < c.order[old] {
				c.since[i], c.where[i] = since, me
			}
			for w := range slots {
				c.slots[int(i)*c.words+w] |= slots[w]
			}
		}
		if p.written[j] > 0 {
			p.who, p.count = append(p.who, i), append(p.count, p.written[j])
		}
	}
	p.who, p.count = slices.Clip(p.who), slices.Clip(p.count)
	p.people, p.since, p.written, p.slots, p.emotes = nil, nil, nil, nil, nil
}

// Audience is what was counted; names are who the channels belong to, and read says how complete chat is of
// one of them, or of all (record.AllChannels), in a part of Range. All polls must have been closed.
func (c *Census) Audience(names map[string]Streamer, read func(channel string, rg Range) string) Audience {
	c.mu.Lock()
	defer c.mu.Unlock()
	coverage := filledIn(read(record.AllChannels, c.rg), c.messages)
	slices.SortFunc(c.polls, func(a, b *Poll) int { return cmp.Compare(a.channel, b.channel) })
	a := Audience{
		Event: c.event.Slug, Range: c.rg, Messages: count(c.messages, coverage), Authorless: c.nobody,
		Emotes: make([]record.Emote, 0, len(c.emotes)),
	}
	for id, e := range c.emotes {
		a.Emotes = append(a.Emotes, record.Emote{ID: id, Name: e.name, Count: int(e.count)})
	}
	slices.SortFunc(a.Emotes, func(x, y record.Emote) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.ID, y.ID))
	})
	t := c.tally()
	var chatters int64
	spread, reach := newBuckets(spreads()), newBuckets(reaches())
	for i, n := range t.written {
		if n > 0 {
			chatters++
			spread.add(n, n)
			reach.add(int64(t.start[i+1]-t.start[i]), n)
		}
	}
	a.Chatters, a.Spread, a.Reach = count(chatters, coverage), spread.list, reach.list
	c.channels(&a, t, names, read)
	c.overlaps(&a, t)
	a.Hours, a.Days = c.crowd(Hours(c.rg), read), c.crowd(Days(c.event, c.rg), read)
	return a
}

// filledIn is the coverage where there are messages: those are at least a part.
func filledIn(coverage string, messages int64) string {
	if coverage == record.Unknown && messages > 0 {
		return record.Partial
	}
	return coverage
}

// before says whether all is known of what lies before the range.
func (c *Census) before(read func(channel string, rg Range) string) bool {
	r := Range{From: c.event.Start, To: c.rg.From}
	return r.Empty() || read(record.AllChannels, r) == record.Complete
}

// tally is what each person wrote, and where: the polls of person i are in[start[i]:start[i+1]].
type tally struct {
	written []int64
	start   []uint32
	in      []uint16
}

func (c *Census) tally() *tally {
	t := &tally{written: make([]int64, len(c.since)), start: make([]uint32, len(c.since)+1)}
	pairs := 0
	for _, p := range c.polls {
		pairs += len(p.who)
		for _, i := range p.who {
			t.start[i+1]++
		}
	}
	for i := range len(c.since) {
		t.start[i+1] += t.start[i]
	}
	t.in = make([]uint16, pairs)
	next := slices.Clone(t.start)
	for n, p := range c.polls {
		for j, i := range p.who {
			t.in[next[i]] = uint16(n)
			next[i]++
			t.written[i] += int64(p.count[j])
		}
	}
	return t
}

func (c *Census) channels(a *Audience, t *tally, names map[string]Streamer, read func(channel string, rg Range) string) {
	all := a.Messages.Coverage
	since := all
	if !c.before(read) {
		since = worse(all, record.Partial)
	}
	newcomers := map[string]int64{}
	from := c.rg.From.UnixMilli()
	for i, at := range c.since {
		if at >= from && t.written[i] > 0 {
			newcomers[c.order[c.where[i]]]++
		}
	}
	for _, p := range c.polls {
		if p.messages == 0 {
			continue
		}
		one := ChannelAudience{Streamer: names[p.channel], Newcomers: count(newcomers[p.channel], since)}
		if one.Channel == "" {
			one.Streamer = Streamer{Channel: p.channel, Login: p.channel, Name: p.channel}
		}
		spread, only := newBuckets(spreads()), int64(0)
		for j, i := range p.who {
			if t.start[i+1]-t.start[i] == 1 {
				only++
			}
			spread.add(int64(p.count[j]), int64(p.count[j]))
		}
		coverage := filledIn(read(p.channel, c.rg), p.messages)
		one.Chatters, one.Messages = count(int64(len(p.who)), coverage), count(p.messages, coverage)
		one.Only, one.Spread = count(only, all), spread.list
		a.Channels = append(a.Channels, one)
	}
	slices.SortFunc(a.Channels, func(x, y ChannelAudience) int {
		return cmp.Or(cmp.Compare(y.Chatters.N, x.Chatters.N), cmp.Compare(x.Channel, y.Channel))
	})
}

// overlaps counts each pair of channels of each person.
func (c *Census) overlaps(a *Audience, t *tally) {
	coverage := make(map[string]string, len(a.Channels))
	for i := range a.Channels {
		coverage[a.Channels[i].Channel] = a.Channels[i].Messages.Coverage
	}
	n := len(c.polls)
	shared := make([]uint32, n*n)
	for i := range len(c.since) {
		in := t.in[t.start[i]:t.start[i+1]] // ascending
		for x, one := range in {
			row := shared[int(one)*n : (int(one)+1)*n]
			for _, other := range in[x+1:] {
				row[other]++
			}
		}
	}
	for x := range n {
		for y := x + 1; y < n; y++ {
			both := int64(shared[x*n+y])
			if both == 0 {
				continue
			}
			p, q := c.polls[x], c.polls[y]
			if len(q.who) > len(p.who) {
				p, q = q, p
			}
			of, other := len(p.who), len(q.who)
			a.Overlaps = append(a.Overlaps, Overlap{
				A: p.channel, B: q.channel, Shared: both, OfA: float64(both) / float64(of), OfB: float64(both) / float64(other),
				Jaccard:  float64(both) / float64(int64(of+other)-both),
				Coverage: worse(coverage[p.channel], coverage[q.channel]),
			})
		}
	}
	slices.SortFunc(a.Overlaps, func(x, y Overlap) int {
		return cmp.Or(cmp.Compare(y.Shared, x.Shared), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B))
	})
}

// crowd is the chatters of each of several spans that follow each other through the range.
func (c *Census) crowd(spans []Range, read func(channel string, rg Range) string) []Crowd {
	if len(spans) == 0 {
		return nil
	}
	of := make([]int, len(c.edges)) // slot to span; -1 before the range
	for slot, at := range c.edges {
		i, found := slices.BinarySearchFunc(spans, at, func(r Range, at int64) int { return cmp.Compare(r.From.UnixMilli(), at) })
		if !found {
			i--
		}
		of[slot] = i
		if slot < c.first {
			of[slot] = -1
		}
	}
	all, newcomers := make([]int64, len(spans)), make([]int64, len(spans))
	for i := range len(c.since) {
		last, seen := -1, false
		for slot := range c.edges {
			if c.slots[i*c.words+slot/64]&(1<<(slot%64)) == 0 {
				continue
			}
			span := of[slot]
			if span >= 0 && span != last {
				all[span]++
				if !seen {
					newcomers[span]++
				}
			}
			last, seen = span, true
		}
	}
	out := make([]Crowd, len(spans))
	whole := c.before(read)
	for i, r := range spans {
		coverage := filledIn(read(record.AllChannels, r), all[i])
		whole = whole && coverage == record.Complete
		since := coverage
		if !whole {
			since = worse(coverage, record.Partial)
		}
		out[i] = Crowd{
			Time: r.From, Chatters: count(all[i], coverage), Newcomers: count(newcomers[i], since),
			Returning: count(all[i]-newcomers[i], since),
		}
	}
	return out
}

// spreads and reaches are the lower ends of buckets.
func spreads() []int64 { return []int64{1, 2, 6, 21, 101, 501} }
func reaches() []int64 { return []int64{1, 2, 3, 6, 11, 21} }

type buckets struct{ list []Bucket }

func newBuckets(from []int64) *buckets {
	b := &buckets{list: make([]Bucket, len(from))}
	for i, n := range from {
		b.list[i].Min = n
		if i+1 < len(from) {
			b.list[i].Max = from[i+1] - 1
		}
	}
	return b
}

func (b *buckets) add(n, messages int64) {
	for i := len(b.list) - 1; i >= 0; i-- {
		if n >= b.list[i].Min {
			b.list[i].Chatters++
			b.list[i].Messages += messages
			return
		}
	}
}

// Audience counts who wrote where in a range, from the messages themselves: all of the event until the
// range's end are read. The error wraps ErrErased where they are gone.
func (r *Reader) Audience(ctx context.Context, rg Range) (Audience, error) {
	if !r.event.RecordsErased.IsZero() {
		return Audience{}, fmt.Errorf("count the audience of event %s: %w", r.event.Slug, ErrErased)
	}
	names, err := r.names(ctx)
	if err != nil {
		return Audience{}, err
	}
	rg = counted(&r.event, Aligned(&r.event, rg), r.through)
	c := NewCensus(&r.event, rg)
	if len(c.edges) > 0 {
		if _, err := ofEach(ctx, r, func(ctx context.Context, channel string) (struct{}, error) {
			return struct{}{}, r.poll(ctx, c, channel)
		}); err != nil {
			return Audience{}, err
		}
	}
	var failed error
	a := c.Audience(names, func(channel string, rg Range) string {
		coverage, err := r.chat(ctx, channel, rg)
		failed = cmp.Or(failed, err)
		return coverage
	})
	return a, failed
}

// poll counts the messages of a channel.
func (r *Reader) poll(ctx context.Context, c *Census, channel string) error {
	p := c.Poll(channel)
	whole := c.Range()
	q := store.Query{
		Collection: store.Records, Event: r.event.Slug, Kind: record.KindMessage, Channel: channel,
		From: whole.From, To: whole.To,
	}
	for raw, err := range r.store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the messages of channel %s: %w", channel, err)
		}
		p.Add(raw)
	}
	p.Close()
	return nil
}

// NetworkOf joins streamers by shared chatters and by raids between them. least is the fewest shared
// chatters of a link without raids; without limit that is nearly every pair.
func NetworkOf(a Audience, raids []Raid, least int64) Network {
	nodes := map[string]*Node{}
	node := func(s Streamer) *Node {
		if nodes[s.Channel] == nil {
			nodes[s.Channel] = &Node{Streamer: s}
		}
		return nodes[s.Channel]
	}
	for _, c := range a.Channels {
		node(c.Streamer).Chatters = c.Chatters
	}
	links := map[[2]string]*Link{}
	link := func(x, y string) *Link {
		k := [2]string{min(x, y), max(x, y)}
		if links[k] == nil {
			links[k] = &Link{A: k[0], B: k[1]}
		}
		return links[k]
	}
	for _, o := range a.Overlaps {
		l := link(o.A, o.B)
		l.Shared, l.Jaccard = o.Shared, o.Jaccard
	}
	for _, raid := range raids {
		if !a.Contains(raid.Time) {
			continue
		}
		bare := func(channel string) Streamer { return Streamer{Channel: channel, Login: channel, Name: channel} }
		node(bare(raid.To)).RaidsIn++
		if raid.From == "" || raid.From == raid.To {
			continue
		}
		node(bare(raid.From)).RaidsOut++
		if l := link(raid.From, raid.To); l.A == raid.From {
			l.RaidsAB++
			l.ViewersAB += raid.Viewers
		} else {
			l.RaidsBA++
			l.ViewersBA += raid.Viewers
		}
	}
	var n Network
	for _, channel := range slices.Sorted(maps.Keys(nodes)) {
		n.Nodes = append(n.Nodes, *nodes[channel])
	}
	for _, l := range links {
		if l.Shared >= least || l.RaidsAB+l.RaidsBA > 0 {
			n.Links = append(n.Links, *l)
		}
	}
	slices.SortFunc(n.Links, func(x, y Link) int {
		return cmp.Or(cmp.Compare(y.Shared, x.Shared), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B))
	})
	return n
}
