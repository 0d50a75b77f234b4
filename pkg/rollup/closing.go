package rollup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Bounds of one round of work on one event, after which progress is written, marks are read anew
// and live numbers get their turn.
const (
	roundMinutes = 10  // minutes with documents that are closed
	roundMarks   = 30  // marked minutes that are counted again
	readMarks    = 500 // marks that are read, the oldest first
	// fewChannels is up to how many channels are read one by one instead of all at once.
	fewChannels = 16
)

// closer closes the minutes of one event in one term, and counts marked ones again.
//
// # Why a closed minute ends up exact
//
// Let C be the closing time of minute M: its end plus the grace. The rollup closes M, or counts it
// again, by scanning the stored records of M, at or after C by its clock, and writing whole
// documents. A consumer stores a record, then reads its clock, and if that shows C less the allowed
// skew or later, writes a mark of M with a fresh nonce, and only then acknowledges. Records of kinds
// that are not counted change no document and need no mark.
//
//  1. No mark: the consumer's clock showed less than C-skew after the record was durable. The
//     clocks differ by less than skew, so at that moment the rollup's showed less than C, and every
//     scan of M began later: each has seen the record.
//  2. Mark: it is durable after the record. The mark stays until a leader that had read this nonce
//     has scanned M and written everything that follows from it. Reading the nonce comes before the
//     scan, so that scan has seen the record. A scan that began before and did not see it had read
//     another nonce or none, and DeleteIf leaves the mark alone.
//  3. The consumer dies between the insert and the mark, or before the acknowledgement: the batch is
//     delivered again, finds the record there, and is judged anew, as 1 or 2; the judgement does
//     not ask whether the record was new.
//
// A crash of the rollup repeats work, for marks are deleted, and progress is advanced, only after
// minutes, hours and totals are written; all of these are whole documents that follow from what is
// stored.
//
// A stale leader (paused, and replaced without knowing) is the rest. Its epoch is lower. A new
// leader writes the progress document with its epoch before it reads anything else, and every
// leader writes the progress document after its documents and before it deletes a mark:
//
//  4. The stale leader's progress went through: then all it wrote lay before the new leader's first
//     reading, which has taken it into account.
//  5. It was fenced: then it deletes no mark and advances nothing, so the new leader counts that
//     minute itself, with a scan that sees at least what the stale one saw, and writes every
//     document of the minute (and of its hour, and the totals) with the higher epoch, even where
//     the numbers are the same. Whatever the stale leader writes to them later is fenced.
//
// A frozen event is counted again where it is marked, and closes no minute any more; its manifest is
// reopened before that. Of one whose records were erased nothing is counted: see intact.
//
// So hour documents are believed only if this term has built them, or if no minute of them was
// marked: the first recount of an hour in a term builds it from all of its minutes.
type closer struct {
	store   store.Store
	grace   time.Duration
	epoch   int64
	now     func() time.Time
	metrics *metrics
	log     *slog.Logger

	event    record.Event
	loaded   bool // what follows is known; false after any error
	progress record.Progress
	// hourStart is the clock hour of progress.ClosedThrough; hour are the sums of its minutes up to
	// there, base those of all hours before, by channel.
	hourStart  time.Time
	hour, base map[string]*sum
	// early is how many samples the closed minute that the event starts in the middle of has, by
	// channel (see record.Audience); none where the event starts with a minute.
	early map[string]int64
	// built are the hours before hourStart whose documents this term has built or found unmarked
	// since it built them.
	built map[int64]struct{}
	// totals says that this term has written all totals.
	totals bool
	// marks is how many marks were there at the last look.
	marks int
	// last is the event's document of the minute closed last in this term.
	last *record.Statistics
}

// end is the event's end; events without one have none.
func (c *closer) end() time.Time {
	if c.event.End.IsZero() {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return c.event.End
}

// next is the first minute that is not closed; the last to close is before limit.
func (c *closer) next() time.Time {
	first := record.Minute(c.event.Start)
	if n := c.progress.ClosedThrough.Add(time.Minute); !c.progress.ClosedThrough.IsZero() && n.After(first) {
		return n
	}
	return first
}

// limit is the end (exclusive) of the minutes whose closing time has come.
func (c *closer) limit(now time.Time) time.Time {
	limit := record.Minute(now.Add(-c.grace))
	last := record.Minute(c.end().Add(-time.Millisecond)).Add(time.Minute)
	if last.Before(limit) {
		return last
	}
	return limit
}

// final reports whether no minute is closed any more: the event is frozen, or its records are gone.
func (c *closer) final() bool {
	return c.event.State == record.EventFrozen || !c.event.RecordsErased.IsZero()
}

// due reports whether there is anything to load or to close. Of a final event there is only what is
// marked.
func (c *closer) due() bool {
	return !c.final() && (!c.loaded || c.next().Before(c.limit(c.now())) || c.boundsChanged())
}

func (c *closer) boundsChanged() bool {
	return !c.progress.Start.Equal(c.event.Start) || !c.progress.End.Equal(c.event.End)
}

// step does one round: it closes minutes that are due and counts marked ones again. It reports
// whether there is more to do at once. After an error it starts over from what is stored.
func (c *closer) step(ctx context.Context) (more bool, err error) {
	defer func() {
		if err != nil {
			c.loaded = false
			if errors.Is(err, store.ErrFenced) {
				c.metrics.fenced.Inc()
			}
			if errors.Is(err, errErased) {
				c.event.RecordsErased = c.now() // the next round clears the marks
				more, err = true, nil
				return
			}
			err = fmt.Errorf("close minutes of event %s: %w", c.event.Slug, err)
		}
	}()
	if c.final() {
		if over, err := c.rest(ctx); over || err != nil {
			return false, err
		}
	}
	if !c.loaded {
		if err := c.load(ctx); err != nil {
			return false, err
		}
	}
	if c.boundsChanged() && !c.final() {
		if err := c.rebound(ctx); err != nil {
			return false, err
		}
	}
	// Marks are read before anything is scanned.
	marks, err := c.readMarks(ctx)
	if err != nil {
		return false, err
	}
	c.marks = len(marks)
	closed := c.progress.ClosedThrough
	moreMinutes := false
	if !c.final() {
		if moreMinutes, err = c.closeDue(ctx, marks); err != nil {
			return false, err
		}
	}
	moreMarks, err := c.recount(ctx, marks, closed)
	return moreMinutes || moreMarks, err
}

// rest looks whether a final event has anything to count, and reports that it hasn't. Marks of one
// whose records were erased are cleared: its statistics stay as they are. What was kept to count goes,
// for there may be many such events.
func (c *closer) rest(ctx context.Context) (over bool, err error) {
	marks, err := c.readMarks(ctx)
	if err != nil {
		return false, err
	}
	c.marks = len(marks)
	if !c.event.RecordsErased.IsZero() {
		for _, m := range marks {
			if err := c.clear(ctx, m); err != nil {
				return false, err
			}
			c.metrics.void.Inc()
		}
		c.marks = 0
	}
	if c.marks > 0 {
		return false, nil
	}
	c.loaded = false
	c.hour, c.base, c.built, c.early = nil, nil, nil, nil
	return true, nil
}

// errErased: the event's records were erased, or are about to be. What was scanned may be a part.
var errErased = errors.New("the records are erased")

// intact is asked between a scan and the writing of what was counted. The erasing of an event's records
// begins after the event says that they are erased; as long as it doesn't say so after the scan, the
// scan has seen all of them.
func (c *closer) intact(ctx context.Context) error {
	raw, err := c.store.Get(ctx, store.Events, c.event.Slug)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	var e record.Event
	if err := bson.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	if !e.RecordsErased.IsZero() {
		return errErased
	}
	return nil
}

func (c *closer) readMarks(ctx context.Context) ([]record.Mark, error) {
	var marks []record.Mark
	q := store.Query{Collection: store.Marks, Event: c.event.Slug, Limit: readMarks}
	for raw, err := range c.store.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read marks: %w", err)
		}
		var m record.Mark
		if err := bson.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("read mark %s: %w", store.DocID(raw), err)
		}
		marks = append(marks, m)
	}
	return marks, nil
}

// load takes over: it fences out earlier leaders, then reads what is closed.
func (c *closer) load(ctx context.Context) error {
	p := record.Progress{ID: c.event.Slug, Start: c.event.Start, End: c.event.End}
	raw, err := c.store.Get(ctx, store.Progress, c.event.Slug)
	switch {
	case err == nil:
		if err := bson.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("read progress: %w", err)
	}
	if err := c.writeProgress(ctx, &p); err != nil {
		return err
	}
	c.progress = p
	c.hourStart = time.Time{}
	c.early = map[string]int64{}
	c.hour, c.base, c.built, c.totals = map[string]*sum{}, map[string]*sum{}, map[int64]struct{}{}, false
	if !p.ClosedThrough.IsZero() {
		c.hourStart = p.ClosedThrough.Truncate(time.Hour)
		if c.base, err = c.fold(ctx, store.Hours, time.Time{}, c.hourStart, nil); err != nil {
			return err
		}
		if c.hour, err = c.fold(ctx, store.Minutes, c.hourStart, p.ClosedThrough.Add(time.Minute), nil); err != nil {
			return err
		}
		if err := c.loadEarly(ctx); err != nil {
			return err
		}
	}
	c.loaded = true
	return nil
}

// loadEarly takes up the samples of the minute that the event starts in, where that is closed.
func (c *closer) loadEarly(ctx context.Context) error {
	first := record.Minute(c.event.Start)
	if first.Equal(c.event.Start) || first.After(c.progress.ClosedThrough) {
		return nil
	}
	q := store.Query{Collection: store.Minutes, Event: c.event.Slug, From: first, To: first.Add(time.Minute)}
	var docs []record.Statistics
	for raw, err := range c.store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read minute %s: %w", first.Format(time.RFC3339), err)
		}
		var d record.Statistics
		if err := bson.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("read minute %s: %w", store.DocID(raw), err)
		}
		docs = append(docs, d)
	}
	c.noteEarly(first, docs)
	return nil
}

// noteEarly takes note of the samples of a minute that was counted, if that is the one that the
// event starts in the middle of.
func (c *closer) noteEarly(minute time.Time, docs []record.Statistics) {
	if first := record.Minute(c.event.Start); !minute.Equal(first) || first.Equal(c.event.Start) {
		return
	}
	clear(c.early)
	for i := range docs {
		if n := docs[i].Viewers.SampledMinutes; n > 0 && docs[i].State == record.StateClosed {
			c.early[docs[i].Channel] = n
		}
	}
}

// expected is of how many channel-minutes a document should have a sample: of those that begin within
// the event, of one channel or several, and of those before that have one.
func (c *closer) expected(channel string, start, through time.Time, minutes, channels int64) int64 {
	n := minutes * channels
	if first := record.Minute(c.event.Start); !record.Minute(start).After(first) && !through.Before(first) {
		n += c.early[channel]
	}
	return n
}

func (c *closer) writeProgress(ctx context.Context, p *record.Progress) error {
	p.Epoch, p.Counted = c.epoch, record.Millis(c.now())
	raw, err := bson.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	if err := c.store.PutFenced(ctx, store.Progress, c.epoch, []store.Doc{{ID: p.ID, Raw: raw}}); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return nil
}

// fold sums up the closed documents of a collection in [from, to), of all channels or of those
// named, in the order of time.
func (c *closer) fold(
	ctx context.Context, coll store.Collection, from, to time.Time, channels map[string]struct{},
) (map[string]*sum, error) {
	sums := map[string]*sum{}
	add := func(channel string) error {
		q := store.Query{Collection: coll, Event: c.event.Slug, Channel: channel, From: from, To: to}
		for raw, err := range c.store.Find(ctx, q) {
			if err != nil {
				return fmt.Errorf("read %s: %w", coll, err)
			}
			var d record.Statistics
			if err := bson.Unmarshal(raw, &d); err != nil {
				return fmt.Errorf("read %s %s: %w", coll, store.DocID(raw), err)
			}
			if _, wanted := channels[d.Channel]; channels != nil && !wanted || d.State != record.StateClosed || d.Minutes == 0 {
				continue
			}
			if err := include(sums, &d); err != nil {
				return err
			}
		}
		return nil
	}
	if channels == nil || len(channels) > fewChannels {
		return sums, add("")
	}
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		if err := add(channel); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

func include(sums map[string]*sum, d *record.Statistics) error {
	s := sums[d.Channel]
	if s == nil {
		s = newSum(d.Channel)
		sums[d.Channel] = s
	}
	return s.add(d)
}

// counted is the documents of one minute, of one count.
type counted struct {
	minute time.Time
	docs   []record.Statistics
}

// closeDue closes up to roundMinutes minutes that have records, and all without on the way. Marks of
// them that were read before are cleared. One find in the order of time serves all: it leaps over
// minutes without records by itself.
func (c *closer) closeDue(ctx context.Context, marks []record.Mark) (more bool, err error) {
	from, to := c.next(), c.limit(c.now())
	if !from.Before(to) {
		return false, nil
	}
	var (
		start   = time.Now()
		results []counted
		agg     *Aggregator
		reached = to // exclusive
		odd     int64
		scanned int
	)
	finish := func() {
		if agg == nil {
			return
		}
		odd += agg.Ignored()
		if docs := agg.Result(); len(docs) > 0 {
			results = append(results, counted{minute: agg.minute, docs: docs})
		}
	}
	q := store.Query{Collection: store.Records, Event: c.event.Slug, From: later(from, c.event.Start), To: earlier(to, c.end())}
	for raw, err := range c.store.Find(ctx, q) {
		if err != nil {
			return false, fmt.Errorf("scan records from %s: %w", from.Format(time.RFC3339), err)
		}
		r, err := record.Parse(raw)
		if err != nil {
			odd++ // not ours: no collector writes what Parse refuses
			continue
		}
		if m := record.Minute(r.Time); agg == nil || !m.Equal(agg.minute) {
			finish()
			agg = nil
			if len(results) >= roundMinutes {
				reached = m
				break
			}
			agg = NewAggregator(c.event.Slug, m, c.event.Start, c.end())
		}
		agg.Add(r)
		scanned++
	}
	finish()
	c.metrics.scan.Observe(time.Since(start).Seconds())
	c.metrics.scanned.Add(float64(scanned))
	c.metrics.ignored.Add(float64(odd))
	if err := c.intact(ctx); err != nil {
		return false, err
	}

	there, err := c.existing(ctx, from, reached)
	if err != nil {
		return false, err
	}
	for minute := range there {
		if !slices.ContainsFunc(results, func(r counted) bool { return r.minute.Unix() == minute }) {
			results = append(results, counted{minute: time.Unix(minute, 0).UTC()}) // provisional numbers only
		}
	}
	slices.SortFunc(results, func(x, y counted) int { return x.minute.Compare(y.minute) })
	for i := range results {
		r := &results[i]
		r.docs = c.complete(r.minute, r.docs, there[r.minute.Unix()])
		if err := c.take(ctx, *r); err != nil {
			return false, err
		}
	}
	through := reached.Add(-time.Minute)
	if err := c.turn(ctx, through); err != nil {
		return false, err
	}
	c.progress.ClosedThrough = through
	if err := c.sumUp(ctx, nil); err != nil {
		return false, err
	}
	c.metrics.closed.Add(float64(len(results)))
	for _, m := range marks {
		if m.Time.Before(from) || m.Time.After(through) {
			continue
		}
		if err := c.clear(ctx, m); err != nil {
			return false, err
		}
	}
	return reached.Before(to), nil
}

// take writes the documents of a minute that is closed, and adds them to the sums of its hour.
func (c *closer) take(ctx context.Context, r counted) error {
	c.noteEarly(r.minute, r.docs)
	if err := c.put(ctx, store.Minutes, r.docs); err != nil {
		return err
	}
	if err := c.turn(ctx, r.minute); err != nil {
		return err
	}
	for i := range r.docs {
		d := &r.docs[i]
		if d.Minutes == 0 {
			continue
		}
		if err := include(c.hour, d); err != nil {
			return err
		}
		if d.Channel == record.AllChannels {
			last := *d
			last.Chatters.Sketch = nil
			c.last = &last
		}
	}
	return nil
}

// turn makes hour the sums of the hour that minute lies in. Documents of hours that are over are
// written for the last time, unless a mark comes.
func (c *closer) turn(ctx context.Context, minute time.Time) error {
	h := minute.Truncate(time.Hour)
	if h.Equal(c.hourStart) {
		return nil
	}
	if len(c.hour) > 0 {
		docs := c.hourDocs(c.hourStart, c.hour, c.hourStart.Add(59*time.Minute))
		if err := c.put(ctx, store.Hours, docs); err != nil {
			return err
		}
		for i := range docs {
			if err := include(c.base, &docs[i]); err != nil {
				return err
			}
		}
		c.built[c.hourStart.Unix()] = struct{}{}
	}
	c.hourStart, c.hour = h, map[string]*sum{}
	return nil
}

// existing are the channels that have a document, of any state, in the minutes of [from, to), by
// minute.
func (c *closer) existing(ctx context.Context, from, to time.Time) (map[int64][]string, error) {
	there := map[int64][]string{}
	q := store.Query{Collection: store.Minutes, Event: c.event.Slug, From: from, To: to}
	for raw, err := range c.store.Find(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read minutes: %w", err)
		}
		channel, _ := raw.Lookup("channel").StringValueOK()
		ms, ok := raw.Lookup("time").DateTimeOK()
		if !ok || channel == "" {
			return nil, fmt.Errorf("read minutes: %s is no statistics document", store.DocID(raw))
		}
		minute := time.UnixMilli(ms).Unix()
		there[minute] = append(there[minute], channel)
	}
	return there, nil
}

// complete stamps a minute's documents, and adds empty ones for the channels that have a document
// of which the count found nothing.
func (c *closer) complete(minute time.Time, docs []record.Statistics, there []string) []record.Statistics {
	have := make(map[string]struct{}, len(docs))
	for i := range docs {
		have[docs[i].Channel] = struct{}{}
	}
	for _, channel := range there {
		if _, ok := have[channel]; !ok {
			docs = append(docs, c.empty(channel, minute, minute))
		}
	}
	for i := range docs {
		c.stamp(&docs[i])
	}
	return docs
}

// empty is the document that says that nothing was found where there had been something.
func (c *closer) empty(channel string, start, through time.Time) record.Statistics {
	seconds, minutes := c.span(start, through)
	return record.Statistics{
		ID: record.StatisticsID(c.event.Slug, channel, start), Event: c.event.Slug, Channel: channel,
		Time: start, Through: through,
		Chatters: record.Chatters{Error: sketchError(precisionOf(channel))},
		Coverage: coverage(0, seconds, 0, minutes),
	}
}

func (c *closer) stamp(d *record.Statistics) {
	d.State, d.Epoch, d.Counted = record.StateClosed, c.epoch, record.Millis(c.now())
}

// span is the length in seconds of what lies within the event between start and the end of the
// minute through, and how many minutes begin in it.
func (c *closer) span(start, through time.Time) (seconds float64, minutes int64) {
	from, to := later(start, c.event.Start), earlier(through.Add(time.Minute), c.end())
	if !from.Before(to) {
		return 0, 0
	}
	first := record.Minute(from)
	if first.Before(from) {
		first = first.Add(time.Minute)
	}
	if first.Before(to) {
		minutes = int64((to.Sub(first) + time.Minute - 1) / time.Minute)
	}
	return to.Sub(from).Seconds(), minutes
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// hourDocs are the documents of an hour that is closed through a minute.
func (c *closer) hourDocs(start time.Time, sums map[string]*sum, through time.Time) []record.Statistics {
	return c.finish(start, earlier(through, start.Add(59*time.Minute)), sums, func(channel string) string {
		return record.StatisticsID(c.event.Slug, channel, start)
	})
}

// finish makes documents of sums: of channels in their order, and of the event, whose expected time
// is the sum of theirs.
func (c *closer) finish(start, through time.Time, sums map[string]*sum, id func(string) string) []record.Statistics {
	seconds, minutes := c.span(start, through)
	docs := make([]record.Statistics, 0, len(sums))
	channels := len(sums)
	if _, ok := sums[record.AllChannels]; ok {
		channels--
	}
	for _, channel := range slices.Sorted(maps.Keys(sums)) {
		d := sums[channel].statistics()
		times := 1
		if channel == record.AllChannels {
			times = channels
		}
		expected := c.expected(channel, start, through, minutes, int64(times))
		d.ID, d.Event, d.Time, d.Through = id(channel), c.event.Slug, start, through
		d.Coverage = coverage(d.Coverage.Seconds, seconds*float64(times), d.Viewers.SampledMinutes, expected)
		c.stamp(&d)
		docs = append(docs, d)
	}
	return docs
}

// sumUp writes the documents of the current hour, the totals and the progress, in this order; of
// the channels named and the event, or of all where channels is nil. Everything else that this
// progress stands for must have been written.
func (c *closer) sumUp(ctx context.Context, channels map[string]struct{}) error {
	if !c.totals {
		channels = nil
	}
	through := c.progress.ClosedThrough
	hour := c.hourDocs(c.hourStart, c.hour, through)
	sums := maps.Clone(c.base)
	for i := range hour {
		d := &hour[i]
		if s := c.base[d.Channel]; s != nil {
			sums[d.Channel] = s.clone()
		}
		if err := include(sums, d); err != nil {
			return err
		}
	}
	total := c.finish(c.event.Start, through, sums, func(channel string) string {
		return record.StatisticsID(c.event.Slug, channel, time.Time{})
	})
	if channels != nil {
		other := func(d record.Statistics) bool {
			_, ok := channels[d.Channel]
			return !ok && d.Channel != record.AllChannels
		}
		hour, total = slices.DeleteFunc(hour, other), slices.DeleteFunc(total, other)
	}
	if err := c.put(ctx, store.Hours, hour); err != nil {
		return err
	}
	if err := c.put(ctx, store.Totals, total); err != nil {
		return err
	}
	if channels == nil {
		c.totals = true
	}
	return c.writeProgress(ctx, &c.progress)
}

// put writes documents of this epoch.
func (c *closer) put(ctx context.Context, coll store.Collection, docs []record.Statistics) error {
	return putStatistics(ctx, c.store, coll, c.epoch, docs)
}

// putStatistics writes documents, that of the event after those of the channels: who reads the event's
// first finds in the others all that it is the sum of.
func putStatistics(ctx context.Context, s store.Store, coll store.Collection, epoch int64, docs []record.Statistics) error {
	var event, channels []store.Doc
	for i := range docs {
		raw, err := bson.Marshal(&docs[i])
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", coll, docs[i].ID, err)
		}
		of := &channels
		if docs[i].Channel == record.AllChannels {
			of = &event
		}
		*of = append(*of, store.Doc{ID: docs[i].ID, Raw: raw})
	}
	for _, part := range [...][]store.Doc{channels, event} {
		if len(part) == 0 {
			continue
		}
		if err := s.PutFenced(ctx, coll, epoch, part); err != nil {
			return fmt.Errorf("write %d %s: %w", len(part), coll, err)
		}
	}
	return nil
}

// clear deletes a mark unless it is another than the one that was read.
func (c *closer) clear(ctx context.Context, m record.Mark) error {
	if _, err := c.store.DeleteIf(ctx, store.Marks, m.ID, "nonce", m.Nonce); err != nil {
		return fmt.Errorf("clear mark %s: %w", m.ID, err)
	}
	return nil
}

// recount counts marked minutes again that were closed through a minute before the marks were read.
// Marks of minutes outside of the event are cleared: there is nothing to count in them, now or when
// they would close. But a minute that the event's bounds have left keeps its documents until the
// recount that empties them.
func (c *closer) recount(ctx context.Context, marks []record.Mark, closed time.Time) (more bool, err error) {
	var (
		again []record.Mark
		first = record.Minute(c.event.Start)
	)
	for _, m := range marks {
		over := !m.Time.After(closed)
		if m.Time.Before(first) || !m.Time.Before(c.end()) {
			stays := false
			if over {
				if stays, err = c.hasDocuments(ctx, record.Minute(m.Time)); err != nil {
					return false, err
				}
			}
			if !stays {
				if err := c.clear(ctx, m); err != nil {
					return false, err
				}
				continue
			}
		}
		if over {
			again = append(again, m)
		}
	}
	if marks = again; len(marks) == 0 {
		return false, nil
	}
	if len(marks) > roundMarks {
		marks, more = marks[:roundMarks], true
	}
	if err := c.intact(ctx); err != nil {
		return false, err
	}
	// What is sealed is about to change. That is asked of any event, for it may have been frozen since it
	// was read. From now on nothing is sealed as long as the marks are there.
	reopened, err := store.ReopenManifest(ctx, c.store, c.event.Slug, record.CauseLate)
	if err != nil {
		return false, err
	}
	if reopened {
		c.log.Info("minutes of a frozen event are counted again; its manifest is made again", "minutes", len(marks))
	}
	hours := map[int64]map[string]struct{}{} // to the channels that changed in it
	for _, m := range marks {
		changed, err := c.recountMinute(ctx, record.Minute(m.Time))
		if err != nil {
			return false, err
		}
		h := m.Time.Truncate(time.Hour).Unix()
		if hours[h] == nil {
			hours[h] = map[string]struct{}{}
		}
		maps.Copy(hours[h], changed)
		c.metrics.recounts.Inc()
	}
	touched, rebase := map[string]struct{}{}, map[string]struct{}{}
	for _, h := range slices.Sorted(maps.Keys(hours)) {
		start := time.Unix(h, 0).UTC()
		changed, err := c.rebuildHour(ctx, start, hours[h])
		if err != nil {
			return false, err
		}
		maps.Copy(touched, changed)
		if start.Before(c.hourStart) {
			maps.Copy(rebase, changed)
		}
	}
	if len(rebase) > 0 {
		sums, err := c.fold(ctx, store.Hours, time.Time{}, c.hourStart, rebase)
		if err != nil {
			return false, err
		}
		for channel := range rebase {
			delete(c.base, channel)
		}
		maps.Copy(c.base, sums)
	}
	if err := c.dropTotals(ctx, touched); err != nil {
		return false, err
	}
	if err := c.sumUp(ctx, touched); err != nil {
		return false, err
	}
	for _, m := range marks {
		if err := c.clear(ctx, m); err != nil {
			return false, err
		}
	}
	return more, nil
}

// hasDocuments reports whether there are documents of a minute.
func (c *closer) hasDocuments(ctx context.Context, minute time.Time) (bool, error) {
	n, err := c.store.Count(ctx, store.Query{
		Collection: store.Minutes, Event: c.event.Slug, From: minute, To: minute.Add(time.Minute), Limit: 1,
	})
	if err != nil {
		return false, fmt.Errorf("count documents of minute %s: %w", minute.Format(time.RFC3339), err)
	}
	return n > 0, nil
}

// recountMinute counts a minute and writes those documents that differ from what is stored, or are
// of an earlier term. It returns the channels of those, and the event with them.
func (c *closer) recountMinute(ctx context.Context, minute time.Time) (map[string]struct{}, error) {
	var (
		start = time.Now()
		next  = minute.Add(time.Minute)
		agg   = NewAggregator(c.event.Slug, minute, c.event.Start, c.end())
		n     int
	)
	for raw, err := range c.store.Find(ctx, store.Query{Collection: store.Records, Event: c.event.Slug, From: minute, To: next}) {
		if err != nil {
			return nil, fmt.Errorf("scan records of %s: %w", minute.Format(time.RFC3339), err)
		}
		n++
		if r, err := record.Parse(raw); err == nil { // others are not ours, see closeDue
			agg.Add(r)
		}
	}
	c.metrics.scan.Observe(time.Since(start).Seconds())
	c.metrics.scanned.Add(float64(n))
	if err := c.intact(ctx); err != nil {
		return nil, err
	}

	stored := map[string]record.Statistics{}
	for raw, err := range c.store.Find(ctx, store.Query{Collection: store.Minutes, Event: c.event.Slug, From: minute, To: next}) {
		if err != nil {
			return nil, fmt.Errorf("read minute %s: %w", minute.Format(time.RFC3339), err)
		}
		var d record.Statistics
		if err := bson.Unmarshal(raw, &d); err != nil {
			return nil, fmt.Errorf("read minute %s: %w", store.DocID(raw), err)
		}
		stored[d.Channel] = d
	}
	docs := c.complete(minute, agg.Result(), slices.Sorted(maps.Keys(stored)))
	c.noteEarly(minute, docs)
	changed := map[string]struct{}{}
	write := docs[:0]
	for _, d := range docs {
		old, ok := stored[d.Channel]
		same, err := sameNumbers(old, d)
		if err != nil {
			return nil, err
		}
		if ok && same && old.Epoch == c.epoch {
			continue
		}
		// What an earlier leader wrote may have come after this term read the hour.
		changed[d.Channel] = struct{}{}
		write = append(write, d)
	}
	if len(changed) > 0 {
		changed[record.AllChannels] = struct{}{}
	}
	return changed, c.put(ctx, store.Minutes, write)
}

// sameNumbers reports whether two documents differ in nothing but who wrote them when.
func sameNumbers(a, b record.Statistics) (bool, error) {
	a.Epoch, a.Counted = b.Epoch, b.Counted
	x, err := bson.Marshal(&a)
	if err != nil {
		return false, fmt.Errorf("encode %s: %w", a.ID, err)
	}
	y, err := bson.Marshal(&b)
	if err != nil {
		return false, fmt.Errorf("encode %s: %w", b.ID, err)
	}
	return bytes.Equal(x, y), nil
}

// rebuildHour builds the sums of an hour anew from its minutes: those of the channels that changed,
// or of all when this term has not built the hour yet. Documents are written for hours before the
// current one, whose are written by sumUp. It returns the channels that were rebuilt.
func (c *closer) rebuildHour(ctx context.Context, start time.Time, changed map[string]struct{}) (map[string]struct{}, error) {
	current := start.Equal(c.hourStart)
	_, built := c.built[start.Unix()]
	if built || current {
		if len(changed) == 0 {
			return changed, nil
		}
	} else {
		changed = nil // all
	}
	to := earlier(start.Add(time.Hour), c.progress.ClosedThrough.Add(time.Minute))
	sums, err := c.fold(ctx, store.Minutes, start, to, changed)
	if err != nil {
		return nil, err
	}
	there, err := c.channelsIn(ctx, store.Hours, start, start.Add(time.Hour))
	if err != nil {
		return nil, err
	}
	through := earlier(start.Add(59*time.Minute), c.progress.ClosedThrough)
	var gone []record.Statistics
	for channel := range there {
		if _, of := changed[channel]; changed != nil && !of {
			continue
		}
		if sums[channel] == nil {
			d := c.empty(channel, start, through)
			c.stamp(&d)
			gone = append(gone, d)
		}
	}
	if err := c.put(ctx, store.Hours, gone); err != nil {
		return nil, err
	}
	rebuilt := changed
	if changed == nil {
		rebuilt = there
		for channel := range sums {
			rebuilt[channel] = struct{}{}
		}
	}
	if current {
		for channel := range rebuilt {
			delete(c.hour, channel)
		}
		maps.Copy(c.hour, sums)
		return rebuilt, nil
	}
	docs := c.hourDocs(start, sums, through)
	if changed != nil {
		// What the event expects depends on how many channels there are, changed or not.
		if err := c.expectEvent(ctx, start, through, docs); err != nil {
			return nil, err
		}
	}
	if err := c.put(ctx, store.Hours, docs); err != nil {
		return nil, err
	}
	c.built[start.Unix()] = struct{}{}
	return rebuilt, nil
}

// expectEvent corrects the event's document of an hour of which only some channels were rebuilt: its
// expected time is that of all channels with a document that is not empty.
func (c *closer) expectEvent(ctx context.Context, start, through time.Time, docs []record.Statistics) error {
	i := slices.IndexFunc(docs, func(d record.Statistics) bool { return d.Channel == record.AllChannels })
	if i < 0 {
		return nil
	}
	channels := map[string]struct{}{}
	for raw, err := range c.store.Find(ctx, store.Query{
		Collection: store.Hours, Event: c.event.Slug, From: start, To: start.Add(time.Hour),
	}) {
		if err != nil {
			return fmt.Errorf("read hours: %w", err)
		}
		channel, _ := raw.Lookup("channel").StringValueOK()
		if n, ok := raw.Lookup("minutes").AsInt64OK(); ok && n > 0 {
			channels[channel] = struct{}{}
		}
	}
	for _, d := range docs {
		channels[d.Channel] = struct{}{}
	}
	delete(channels, record.AllChannels)
	seconds, minutes := c.span(start, through)
	d, n := &docs[i], int64(len(channels))
	d.Coverage = coverage(d.Coverage.Seconds, seconds*float64(n), d.Viewers.SampledMinutes,
		c.expected(d.Channel, start, through, minutes, n))
	return nil
}

// channelsIn are the channels that have a document in [from, to).
func (c *closer) channelsIn(ctx context.Context, coll store.Collection, from, to time.Time) (map[string]struct{}, error) {
	there := map[string]struct{}{}
	for raw, err := range c.store.Find(ctx, store.Query{Collection: coll, Event: c.event.Slug, From: from, To: to}) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", coll, err)
		}
		if channel, ok := raw.Lookup("channel").StringValueOK(); ok {
			there[channel] = struct{}{}
		}
	}
	return there, nil
}

// dropTotals writes empty totals for rebuilt channels that have nothing left.
func (c *closer) dropTotals(ctx context.Context, rebuilt map[string]struct{}) error {
	var gone []record.Statistics
	for channel := range rebuilt {
		if c.base[channel] != nil || c.hour[channel] != nil {
			continue
		}
		d := c.empty(channel, c.event.Start, c.progress.ClosedThrough)
		d.ID = record.StatisticsID(c.event.Slug, channel, time.Time{})
		c.stamp(&d)
		gone = append(gone, d)
	}
	return c.put(ctx, store.Totals, gone)
}

// rebound takes over new bounds of the event. Closed minutes that they concern are marked, those
// which have records or documents; the new bounds are noted only then.
func (c *closer) rebound(ctx context.Context) error {
	if through := c.progress.ClosedThrough; !through.IsZero() {
		closed := through.Add(time.Minute)
		old := *c
		old.event.End = c.progress.End
		for _, r := range [][2]time.Time{
			{c.progress.Start, c.event.Start}, {old.end(), c.end()},
		} {
			from, to := earlier(r[0], r[1]), later(r[0], r[1])
			if from.Equal(to) {
				continue
			}
			to = earlier(record.Minute(to).Add(time.Minute), closed)
			if _, err := markMinutes(ctx, c.store, c.event.Slug, record.Minute(from), to, ""); err != nil {
				return err
			}
		}
		c.totals = false // their start may have moved
		clear(c.early)
		if err := c.loadEarly(ctx); err != nil {
			return err
		}
	}
	c.progress.Start, c.progress.End = c.event.Start, c.event.End
	return c.writeProgress(ctx, &c.progress)
}
