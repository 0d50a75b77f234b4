package rollup

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/axiomhq/hyperloglog"
	"github.com/dgryski/go-metro"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/tungstene/tungstene/pkg/record"
)

// TopEmotes is the length of the top lists.
const TopEmotes = 50

// The precisions of the sketches: a sketch has 2^precision registers.
const (
	channelPrecision = 12
	eventPrecision   = 14
)

// sketchSeed is what hyperloglog.Sketch.Insert hashes with. Chatters are kept as these hashes, so
// that whoever decodes a sketch can insert pseudonyms into it.
const sketchSeed = 1337

// maxCount bounds what one odd document can add to a sum, so that none overflows.
const maxCount = 1 << 40

// Aggregator counts the records of one minute of one event. The order of Add does not matter, and
// its Result is a pure function of the set of records. It is not safe for concurrent use.
//
// The caller excludes duplicates: a scan of the store gives each id once; for the live feed there
// is Seen.
type Aggregator struct {
	event     string
	minute    time.Time
	from, to  int64 // the span in Unix milliseconds: the minute within the event's start and end
	expects   bool  // a viewer sample: the minute begins within the event
	channels  map[string]*tally
	sets      map[string][]string   // set hash to channels
	intervals map[string][]interval // set hash to covered time
	// changed are the channels with new numbers since live last wrote them. Coverage alone counts
	// only when it is a channel's first, or everything would be written again and again.
	changed map[string]struct{}
	charity charity
	ignored int64
}

// tally is what is counted for one channel.
type tally struct {
	messages, copies, first, bits, cheers int64
	subs, resubs, gifts, bombs, upgrades  int64
	raids, raidViewers, notices           int64
	bans, timeouts, deletes, clears       int64
	chatters                              map[uint64]struct{}
	emotes                                map[string]emote
	samples                               map[int64]sample // by slot
}

type emote struct {
	name  string
	count int64
}

type sample struct {
	live    bool
	viewers int64
}

// interval is [from, to) in Unix milliseconds.
type interval struct{ from, to int64 }

// NewAggregator counts the minute that starts at minute, of which only what lies within [start, end)
// belongs to the event.
func NewAggregator(event string, minute, start, end time.Time) *Aggregator {
	minute = record.Minute(minute)
	a := &Aggregator{
		event: event, minute: minute,
		from: minute.UnixMilli(), to: minute.Add(time.Minute).UnixMilli(),
		channels: map[string]*tally{}, sets: map[string][]string{}, intervals: map[string][]interval{},
		changed: map[string]struct{}{}, expects: !minute.Before(start),
	}
	a.from = max(a.from, start.UnixMilli())
	a.to = max(min(a.to, end.UnixMilli()), a.from)
	return a
}

// Ignored is the number of records that were not counted: of other minutes or events, of kinds that
// no statistic speaks of, or without what their kind needs.
func (a *Aggregator) Ignored() int64 { return a.ignored }

// Add counts a record. It never fails: a field that is missing or of another type counts as absent.
func (a *Aggregator) Add(r record.Record) {
	ms := r.Time.UnixMilli()
	if r.Event != a.event || ms < a.from || ms >= a.to || !r.Kind.Counted() {
		a.ignored++
		return
	}
	if r.Channel == record.AllChannels {
		a.ignored++
		return
	}
	var counted bool
	switch r.Kind {
	case record.KindCoverage:
		counted = a.addCoverage(r.Doc, ms)
	case record.KindDonation:
		counted = a.addDonation(r.Channel, r.Doc)
	case record.KindAmount:
		counted = a.addAmount(r.Channel, r.Doc, ms)
	default:
		counted = a.addOfChannel(r, ms)
	}
	if !counted {
		a.ignored++
	}
}

// addOfChannel counts a record of one of the kinds that speak of a channel.
func (a *Aggregator) addOfChannel(r record.Record, ms int64) bool {
	if r.Channel == "" {
		return false
	}
	switch r.Kind {
	case record.KindMessage:
		a.addMessage(a.tally(r.Channel), r.Doc)
	case record.KindNotice:
		a.addNotice(a.tally(r.Channel), r.Doc)
	case record.KindModeration:
		a.addModeration(a.tally(r.Channel), r.Doc)
	case record.KindViewers:
		a.addViewers(a.tally(r.Channel), r.Doc, ms)
	case record.KindCoverage, record.KindDonation, record.KindAmount, record.KindAnswer,
		record.KindRoomState, record.KindSession, record.KindChange, record.KindDropped:
		return false
	}
	a.changed[r.Channel] = struct{}{}
	return true
}

func (a *Aggregator) tally(channel string) *tally {
	t := a.channels[channel]
	if t == nil {
		t = &tally{}
		a.channels[channel] = t
	}
	return t
}

// elements walks over the elements of a document until it ends or is malformed. Key and data are
// parts of the document, data begins with the value.
func elements(doc []byte, yield func(key []byte, t bsoncore.Type, data []byte)) {
	if len(doc) < 5 {
		return
	}
	rest := doc[4:]
	for len(rest) > 1 && rest[0] != 0 {
		elem, tail, ok := bsoncore.ReadElement(rest)
		if !ok {
			return
		}
		i := 1
		for i < len(elem) && elem[i] != 0 {
			i++
		}
		if i >= len(elem) {
			return
		}
		yield(elem[1:i], bsoncore.Type(elem[0]), elem[i+1:])
		rest = tail
	}
}

// text is the bytes of a string value, without copying; nil for other types.
func text(t bsoncore.Type, data []byte) []byte {
	if t != bsoncore.TypeString || len(data) < 5 {
		return nil
	}
	n, rest, ok := bsoncore.ReadLength(data)
	if !ok || n < 1 || int(n) > len(rest) {
		return nil
	}
	return rest[:n-1]
}

// number is a numeric value between 0 and maxCount; 0 for other types.
func number(t bsoncore.Type, data []byte) int64 {
	var n int64
	switch t {
	case bsoncore.TypeInt32:
		v, _, ok := bsoncore.ReadInt32(data)
		if !ok {
			return 0
		}
		n = int64(v)
	case bsoncore.TypeInt64:
		v, _, ok := bsoncore.ReadInt64(data)
		if !ok {
			return 0
		}
		n = v
	case bsoncore.TypeDouble:
		v, _, ok := bsoncore.ReadDouble(data)
		if !ok || math.IsNaN(v) {
			return 0
		}
		n = int64(min(max(v, 0), maxCount))
	default:
		return 0
	}
	return min(max(n, 0), maxCount)
}

func boolean(t bsoncore.Type, data []byte) bool {
	return t == bsoncore.TypeBoolean && len(data) > 0 && data[0] == 1
}

func (a *Aggregator) addMessage(t *tally, doc []byte) {
	var (
		chatter, emotes []byte
		bits            int64
		first, copied   bool
	)
	elements(doc, func(key []byte, typ bsoncore.Type, data []byte) {
		switch string(key) { // does not allocate
		case "chatter":
			chatter = text(typ, data)
		case "first":
			first = boolean(typ, data)
		case "bits":
			bits = number(typ, data)
		case "emotes":
			if typ == bsoncore.TypeArray {
				emotes = data
			}
		case "source":
			copied = typ == bsoncore.TypeEmbeddedDocument
		}
	})
	if copied {
		t.copies++
		return
	}
	t.messages++
	if first {
		t.first++
	}
	if bits > 0 {
		t.bits += bits
		t.cheers++
	}
	if len(chatter) > 0 {
		if t.chatters == nil {
			t.chatters = map[uint64]struct{}{}
		}
		t.chatters[metro.Hash64(chatter, sketchSeed)] = struct{}{}
	}
	if emotes == nil {
		return
	}
	elements(emotes, func(_ []byte, typ bsoncore.Type, data []byte) {
		if typ == bsoncore.TypeEmbeddedDocument {
			t.addEmote(data)
		}
	})
}

func (t *tally) addEmote(doc []byte) {
	var (
		id, name []byte
		count    int64
	)
	elements(doc, func(key []byte, typ bsoncore.Type, data []byte) {
		switch string(key) {
		case "id":
			id = text(typ, data)
		case "name":
			name = text(typ, data)
		case "count":
			count = number(typ, data)
		}
	})
	if len(id) == 0 || count == 0 {
		return
	}
	if t.emotes == nil {
		t.emotes = map[string]emote{}
	}
	e, ok := t.emotes[string(id)]
	if !ok || string(name) < e.name {
		e.name = string(name) // of several names the first, so that the order does not matter
	}
	e.count += count
	t.emotes[string(id)] = e
}

func (a *Aggregator) addNotice(t *tally, doc []byte) {
	var (
		typ     []byte
		viewers int64
		copied  bool
	)
	elements(doc, func(key []byte, bt bsoncore.Type, data []byte) {
		switch string(key) {
		case "type":
			typ = text(bt, data)
		case "raid":
			if bt == bsoncore.TypeEmbeddedDocument {
				elements(data, func(key []byte, bt bsoncore.Type, data []byte) {
					if string(key) == "viewers" {
						viewers = number(bt, data)
					}
				})
			}
		case "source":
			copied = bt == bsoncore.TypeEmbeddedDocument
		}
	})
	if copied {
		return
	}
	t.notices++
	switch string(typ) {
	case "sub":
		t.subs++
	case "resub":
		t.resubs++
	case "subgift", "anonsubgift":
		t.gifts++
	case "submysterygift", "anonsubmysterygift":
		t.bombs++
	case "giftpaidupgrade", "anongiftpaidupgrade", "primepaidupgrade":
		t.upgrades++
	case "raid":
		t.raids++
		t.raidViewers += viewers
	}
}

func (a *Aggregator) addModeration(t *tally, doc []byte) {
	elements(doc, func(key []byte, typ bsoncore.Type, data []byte) {
		if string(key) != "action" {
			return
		}
		switch string(text(typ, data)) {
		case record.ActionBan:
			t.bans++
		case record.ActionTimeout:
			t.timeouts++
		case record.ActionClear:
			t.clears++
		case record.ActionDelete:
			t.deletes++
		}
	})
}

func (a *Aggregator) addViewers(t *tally, doc []byte, slot int64) {
	var s sample
	elements(doc, func(key []byte, typ bsoncore.Type, data []byte) {
		switch string(key) {
		case "live":
			s.live = boolean(typ, data)
		case "viewers":
			s.viewers = number(typ, data)
		}
	})
	if !s.live {
		s.viewers = 0
	}
	if t.samples == nil {
		t.samples = map[int64]sample{}
	}
	old := t.samples[slot]
	t.samples[slot] = sample{live: s.live || old.live, viewers: max(s.viewers, old.viewers)}
}

// addCoverage takes note of an interval of a set of channels, and of the set where it is listed; or of
// an interval of a charity source. A list that does not match the set's hash is not believed.
func (a *Aggregator) addCoverage(doc []byte, from int64) bool {
	var (
		to                 int64
		set, source, array []byte
	)
	elements(doc, func(key []byte, typ bsoncore.Type, data []byte) {
		switch string(key) {
		case "source":
			source = text(typ, data)
		case "to":
			if typ == bsoncore.TypeDateTime {
				to, _, _ = bsoncore.ReadDateTime(data)
			}
		case "set":
			set = text(typ, data)
		case "channels":
			if typ == bsoncore.TypeArray {
				array = data
			}
		}
	})
	to = min(to, a.to)
	if to <= from || len(source) == 0 {
		return false
	}
	if string(source) != record.SourceChat {
		a.cover(string(source), interval{from: from, to: to})
		return true
	}
	if len(set) == 0 {
		return false
	}
	hash := string(set)
	a.intervals[hash] = append(a.intervals[hash], interval{from: from, to: to})
	if len(a.intervals[hash]) >= 1024 {
		a.intervals[hash] = union(a.intervals[hash]) // keeps what many short intervals take small
	}
	if array != nil && a.sets[hash] == nil {
		var channels []string
		elements(array, func(_ []byte, typ bsoncore.Type, data []byte) {
			if c := text(typ, data); len(c) > 0 && string(c) != record.AllChannels {
				channels = append(channels, string(c))
			}
		})
		if record.ChannelSet(channels) == hash {
			a.sets[hash] = channels
			for _, c := range channels {
				a.changed[c] = struct{}{}
			}
		}
	}
	return true
}

// union sorts intervals and joins those that touch. It changes its argument.
func union(in []interval) []interval {
	slices.SortFunc(in, func(x, y interval) int { return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(x.to, y.to)) })
	out := in[:0]
	for _, v := range in {
		if n := len(out); n > 0 && v.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, v.to)
			continue
		}
		out = append(out, v)
	}
	return out
}

// covered is the covered time of each channel of a listed set, in milliseconds.
func (a *Aggregator) covered() map[string]int64 {
	spans := map[string][]interval{}
	for hash, in := range a.intervals {
		in = union(in)
		a.intervals[hash] = in
		for _, c := range a.sets[hash] {
			spans[c] = append(spans[c], in...)
		}
	}
	ms := make(map[string]int64, len(spans))
	for c, in := range spans {
		var sum int64
		for _, v := range union(in) {
			sum += v.to - v.from
		}
		ms[c] = sum
	}
	return ms
}

// Result is a document for each channel that anything was counted of or that was covered, ordered by
// channel, and first one of the event (record.AllChannels); none when there is none. Their State,
// Epoch and Counted are left to the caller. The Aggregator can be added to afterwards.
func (a *Aggregator) Result() []record.Statistics { return a.result(nil) }

// result is Result, of the event and those channels alone that only holds where it is not nil; then
// without the channels' sketches encoded.
func (a *Aggregator) result(only map[string]struct{}) []record.Statistics {
	covered := a.covered()
	names := make(map[string]struct{}, len(a.channels))
	for c := range a.channels {
		names[c] = struct{}{}
	}
	for c := range covered {
		names[c] = struct{}{}
	}
	donations := a.charity.donations()
	for c := range donations {
		names[c] = struct{}{}
	}
	if len(names) == 0 || a.to == a.from {
		return nil
	}
	delete(names, record.AllChannels) // of which there is a document anyway
	var (
		span     = float64(a.to-a.from) / 1000
		all      = a.blank(record.AllChannels)
		chatters = map[uint64]struct{}{}
		emotes   = map[string]emote{}
		slots    = a.slots()
		samples  = map[int64]sample{}
		ms       int64
		out      = make([]record.Statistics, 1, len(names)+1)
		nothing  = &tally{}
	)
	for _, c := range slices.Sorted(maps.Keys(names)) {
		t := a.channels[c]
		if t == nil {
			t = nothing
		}
		ms += covered[c]
		for h := range t.chatters {
			chatters[h] = struct{}{}
		}
		for id, e := range t.emotes {
			addEmote(emotes, id, e)
		}
		t.stand(samples, slots)
		s := a.blank(c)
		t.sum(&s)
		s.Donations = donations[c]
		s.Viewers = audience(t.samples)
		all.Viewers.LiveMinutes += s.Viewers.LiveMinutes
		all.Viewers.SampledMinutes += s.Viewers.SampledMinutes
		addCounts(&all, &s)
		_, wanted := only[c]
		if only != nil && !wanted {
			continue
		}
		s.Chatters = chattersOf(t.chatters, channelPrecision, only == nil)
		s.Emotes = emotesOf(t.emotes)
		s.Coverage = coverage(float64(covered[c])/1000, span, s.Viewers.SampledMinutes,
			a.expected(1, s.Viewers.SampledMinutes))
		out = append(out, s)
	}
	live, sampled := all.Viewers.LiveMinutes, all.Viewers.SampledMinutes
	all.Viewers = audience(samples)
	all.Viewers.LiveMinutes, all.Viewers.SampledMinutes = live, sampled
	all.Chatters = chattersOf(chatters, eventPrecision, only == nil)
	all.Emotes = emotesOf(emotes)
	all.Donations = donations[record.AllChannels]
	all.Coverage = coverage(float64(ms)/1000, span*float64(len(names)), sampled,
		a.expected(int64(len(names)), sampled))
	out[0] = all
	return out
}

// expected is of how many of so many channels the minute should have a sample. Where none is
// expected it is those that have one, so that they can't make up for one that is missed elsewhere.
func (a *Aggregator) expected(channels, sampled int64) int64 {
	if a.expects {
		return channels
	}
	return sampled
}

func (a *Aggregator) blank(channel string) record.Statistics {
	return record.Statistics{
		ID: record.StatisticsID(a.event, channel, a.minute), Event: a.event, Channel: channel,
		Time: a.minute, Through: a.minute, Minutes: 1,
	}
}

func (t *tally) sum(s *record.Statistics) {
	s.Messages, s.SharedCopies, s.FirstMessages = t.messages, t.copies, t.first
	s.Bits, s.Cheers = t.bits, t.cheers
	s.Subs, s.Resubs, s.Gifts, s.GiftBombs, s.Upgrades = t.subs, t.resubs, t.gifts, t.bombs, t.upgrades
	s.Raids, s.RaidViewers, s.Notices = t.raids, t.raidViewers, t.notices
	s.Bans, s.Timeouts, s.Deletes, s.Clears = t.bans, t.timeouts, t.deletes, t.clears
}

// slots are those at which any channel was sampled, in their order.
func (a *Aggregator) slots() []int64 {
	all := map[int64]struct{}{}
	for _, t := range a.channels {
		for slot := range t.samples {
			all[slot] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// stand adds a channel's samples to those of the event. At a slot that it has none of, the one before
// stands for it, or the first: who was sampled at other slots than the rest, or missed at one, has not
// lost its viewers.
func (t *tally) stand(event map[int64]sample, slots []int64) {
	i := slices.IndexFunc(slots, func(slot int64) bool { _, ok := t.samples[slot]; return ok })
	if i < 0 {
		return
	}
	now := t.samples[slots[i]]
	for _, slot := range slots {
		if s, ok := t.samples[slot]; ok {
			now = s
		}
		sum := event[slot]
		event[slot] = sample{live: sum.live || now.live, viewers: sum.viewers + now.viewers}
	}
}

// audience is what the samples of a minute say.
func audience(slots map[int64]sample) record.Audience {
	var (
		v    record.Audience
		sum  int64
		live bool
		at   int64
	)
	for slot, s := range slots {
		sum += s.viewers
		if !s.live {
			continue
		}
		if !live || s.viewers > v.Peak || s.viewers == v.Peak && slot < at {
			v.Peak, at = s.viewers, slot
		}
		live = true
	}
	if len(slots) > 0 {
		v.SampledMinutes = 1
	}
	if live {
		v.PeakAt = time.UnixMilli(at).UTC()
		v.LiveMinutes, v.SpanMinutes = 1, 1
		v.WatchMinutes = float64(sum) / float64(len(slots))
		v.Average = v.WatchMinutes
	}
	return v
}

// coverage judges covered and expected seconds, and sampled and expected channel-minutes.
func coverage(seconds, expected float64, sampled, minutes int64) record.Covered {
	c := record.Covered{Seconds: seconds, Expected: expected}
	// Half a millisecond is the dirt of sums; stored times have whole milliseconds.
	c.Chat = completeness(seconds, expected-0.0005)
	c.Viewers = completeness(float64(sampled), float64(minutes))
	return c
}

func completeness(have, want float64) string {
	switch {
	case have <= 0:
		return record.Unknown
	case have >= want:
		return record.Complete
	}
	return record.Partial
}

func addEmote(into map[string]emote, id string, e emote) {
	old, ok := into[id]
	if !ok || e.name < old.name {
		old.name = e.name
	}
	old.count += e.count
	into[id] = old
}

// emotesOf is the total and the top list.
func emotesOf(emotes map[string]emote) record.Emotes {
	var e record.Emotes
	if len(emotes) == 0 {
		return e
	}
	for _, v := range emotes {
		e.Total += v.count
	}
	e.Top, e.Truncated = top(emotes, TopEmotes)
	return e
}

// top is the n most used emotes, and whether there are more.
func top(emotes map[string]emote, n int) ([]record.Emote, bool) {
	list := make([]record.Emote, 0, len(emotes))
	for id, v := range emotes {
		list = append(list, record.Emote{ID: id, Name: v.name, Count: int(v.count)})
	}
	slices.SortFunc(list, func(x, y record.Emote) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.ID, y.ID))
	})
	if len(list) > n {
		return slices.Clone(list[:n]), true
	}
	return list, false
}

// newSketch never fails for the precisions used here.
func newSketch(precision uint8) *hyperloglog.Sketch {
	s, err := hyperloglog.NewSketch(precision, true)
	if err != nil {
		panic(err) // a constant out of range
	}
	return s
}

func sketchError(precision uint8) float64 { return 1.04 / math.Sqrt(float64(int64(1)<<precision)) }

func chattersOf(hashes map[uint64]struct{}, precision uint8, encode bool) record.Chatters {
	c := record.Chatters{Error: sketchError(precision)}
	if len(hashes) == 0 {
		return c
	}
	s := newSketch(precision)
	for h := range hashes {
		s.InsertHash(h)
	}
	return estimate(s, precision, encode)
}

// estimate reads a sketch. Estimate comes before encoding: it brings the sketch into its canonical
// form. A sketch is sparse as long as its list of keys, sorted and encoded, is no longer than its
// registers, which depends on the set of keys alone once Estimate has merged what was pending; and
// a dense sketch's registers are maxima. So equal sets of chatters, however they came together,
// give equal estimates and equal bytes.
func estimate(s *hyperloglog.Sketch, precision uint8, encode bool) record.Chatters {
	c := record.Chatters{Error: sketchError(precision)}
	c.Estimate = int64(min(s.Estimate(), math.MaxInt64))
	if encode {
		b, err := s.MarshalBinary()
		if err != nil {
			panic(err) // only for a sketch without precision
		}
		c.Sketch = b
	}
	return c
}

// Seen is a set of record ids that were counted already, as 64-bit hashes. Among a million ids a
// new one is taken for seen with a probability of 10^-13, which is why closed minutes don't use it.
type Seen struct {
	seed maphash.Seed
	ids  map[uint64]struct{}
}

// NewSeen makes an empty set.
func NewSeen() *Seen { return &Seen{seed: maphash.MakeSeed(), ids: map[uint64]struct{}{}} }

// Add adds an id and reports whether it is new.
func (s *Seen) Add(id string) bool {
	n := len(s.ids)
	s.ids[maphash.String(s.seed, id)] = struct{}{}
	return len(s.ids) > n
}

// Len is the number of ids.
func (s *Seen) Len() int { return len(s.ids) }
