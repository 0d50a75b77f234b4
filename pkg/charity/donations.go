package charity

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/record"
)

const (
	// maxPollPages bounds the pages of one poll: where they don't overlap with what is known, all is read
	// again.
	maxPollPages = 20
	// maxFillPages bounds the pages of reading all: 50 million donations.
	maxFillPages = 100_000
	// fillAgain is when all is read again although it was just read: some of it could not be.
	fillAgain = 30 * time.Minute
	// cursorTries is how often a cursor is tried before all is read from the beginning.
	cursorTries = 3
	// lastRepeats is how many pages in a row must have nothing new to be the last one, again and again: a
	// single one is so too where as many donations as a page has came between two requests.
	lastRepeats = 2
	// maxBad bounds what is remembered of rows that can't be read.
	maxBad = 10_000
)

// donationsState is what a feed of donations knows.
type donationsState struct {
	// known are the donations by the hash of their id, with the hash of their version, by event.
	known map[string]map[uint64]uint64
	// times are when donations were seen first, by event, where the source tells no times; looked are the
	// events of which all that was there at the first look has been seen.
	times  map[string]map[uint64]sight
	looked map[string]bool
	marks  map[string]uint64 // of the events that known is of
	// tentative are donations of polls that have not been proven to overlap with what was known before.
	tentative map[uint64]bool
	bad       map[uint64]bool // rows that can't be read
	seed      maphash.Seed
	fill      *filling // nil while following
	refill    time.Time
	// begun says that one poll was complete since the first one for a new event: the next must overlap.
	begun bool
	// etag and modified are those of the newest page of a poll that was complete.
	newETag, newModified string
	outside              int64
	unmatchedMembers     map[string]string // label by id
	torn                 bool              // pages of the last filling did not overlap
}

// sight is when a donation was seen first, in Unix milliseconds; earlier that it was there at the first look.
type sight struct {
	at      int64
	earlier bool
}

// filling is how far reading all donations is.
type filling struct {
	pos      position
	pages    int
	failures int
	// last is the last page that was read, keys its donations with their place in it, tail the last one.
	last int
	keys map[uint64]int
	tail uint64
	// repeats is how many pages in a row had nothing that the one before had not.
	repeats int
	// stride is how many pages are stepped over at once, measured by how much pages overlap.
	stride int
	// torn says that two pages did not overlap although they should; spoilt that rows could not be read.
	torn, spoilt bool
}

// outcome is how a poll of one feed ended.
type outcome int

const (
	pollFailed   outcome = iota
	pollPending          // good, but nothing is proven
	pollHole             // nothing overlapped with what was known
	pollComplete         // between this poll and the last nothing is missing
)

func (f *feed) fills() bool { return f.paging.by != pagingNone && f.paging.by != "" }

// prepare makes room for the events, and has all donations read when an event is new or has changed.
func (f *feed) prepare(events []*eventView) {
	if f.known == nil {
		f.known, f.marks = map[string]map[uint64]uint64{}, map[string]uint64{}
		f.times, f.looked = map[string]map[uint64]sight{}, map[string]bool{}
		f.tentative, f.bad, f.seed = map[uint64]bool{}, map[uint64]bool{}, maphash.MakeSeed()
		f.unmatchedMembers = map[string]string{}
	}
	again := false
	for _, e := range events {
		if f.known[e.Slug] == nil {
			f.known[e.Slug], f.times[e.Slug] = map[uint64]uint64{}, map[uint64]sight{}
			if !f.fills() {
				f.begun = false // nothing can overlap with what is known to it
			}
		}
		again = again || f.marks[e.Slug] != e.mark
		f.marks[e.Slug] = e.mark
	}
	for slug := range f.known {
		if !slices.ContainsFunc(events, func(e *eventView) bool { return e.Slug == slug }) {
			delete(f.known, slug)
			delete(f.times, slug)
			delete(f.looked, slug)
			delete(f.marks, slug)
		}
	}
	if again {
		f.startFill()
	}
}

func (f *feed) startFill() {
	f.newETag, f.newModified = "", ""
	clear(f.unmatchedMembers)
	if f.fills() {
		f.fill = &filling{pos: position{page: f.paging.first, oldest: f.paging.order != ""}, stride: 1}
	}
}

func (f *feed) key(id string) uint64 { return maphash.String(f.seed, id) }

// version is a hash of what a Donation's Version is of, and of whether it is recorded at all: of the channel
// in its lower half, of the rest in the upper one. It is never 0, which is a row that can't be read.
func (f *feed) version(r *row, channel string, inside bool) uint64 {
	b := make([]byte, 0, 64)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.money.Cents))
	b = append(b, r.money.Currency...)
	if inside {
		b = append(b, '+')
	}
	return maphash.Bytes(f.seed, b)<<32 | uint64(uint32(maphash.String(f.seed, channel))|1)
}

// seen is when a donation of a source that tells no times was seen first in this run.
func (f *feed) seen(e *eventView, key uint64, slot time.Time) sight {
	s, ok := f.times[e.Slug][key]
	if !ok {
		s = sight{at: slot.UnixMilli(), earlier: !f.looked[e.Slug]}
		f.times[e.Slug][key] = s
	}
	return s
}

// looks notes that all donations that were there have been seen.
func (f *feed) looks() {
	for slug := range f.known {
		f.looked[slug] = true
	}
}

// settled reports whether a donation was known before, to every event.
func (f *feed) settled(key uint64) bool {
	if f.tentative[key] {
		return false
	}
	for _, known := range f.known {
		if _, ok := known[key]; !ok {
			return false
		}
	}
	return true
}

// pollDonations asks every feed for the newest donations, and goes on reading all of those that must be
// read from the beginning, until the next slot.
func (p *poller) pollDonations(ctx context.Context, slot, next time.Time) {
	events := p.events(slot, true)
	if len(events) == 0 {
		p.rested(p.plan.donations)
		p.progress(events, slot)
		return
	}
	p.polls(loopDonations, events)
	defer p.polls(loopDonations, nil)
	p.readDirectory(ctx, events, slot)
	defer func() { p.rounds[loopDonations]++ }()
	outcomes := make([]outcome, len(p.plan.donations))
	unproven := make([]bool, len(outcomes))
	p.each(loopDonations, p.plan.donations, func(i int, f *feed) {
		if ctx.Err() != nil {
			return
		}
		p.began(f, slot, next)
		f.prepare(events)
		if !f.refill.IsZero() && !slot.Before(f.refill) && f.fill == nil {
			f.refill = time.Time{}
			f.startFill()
		}
		begun, knew := f.begun, f.knows()
		o := p.poll(ctx, f, events, slot)
		// Without anything to overlap with:
		unproven[i] = o == pollComplete && !f.fills() && !f.paging.all && (!begun || knew == 0 && f.knows() > 0)
		if ctx.Err() != nil {
			return
		}
		if o != pollFailed {
			p.succeeded(f, slot)
		}
		p.concluded(f, o)
		outcomes[i] = o
		p.unmatched(f, f.unmatchedMembers)
	})
	if ctx.Err() != nil {
		return
	}
	if slices.Contains(unproven, true) {
		p.blind(events, slot)
	}
	p.cover(ctx, events, slot, outcomes)
	p.progress(events, slot)
	p.each(loopDonations, p.plan.donations, func(i int, f *feed) {
		for outcomes[i] != pollFailed && f.fill != nil && ctx.Err() == nil && !p.allGivenUp(events) {
			if !p.fillPage(ctx, f, events, slot) || !next.IsZero() && !p.now().Before(next) {
				break
			}
		}
		p.unmatched(f, f.unmatchedMembers)
	})
	p.progress(events, slot)
}

// readDirectory learns who the members are before the first donations that name them by id alone.
func (p *poller) readDirectory(ctx context.Context, events []*eventView, slot time.Time) {
	p.mu.Lock()
	known := p.members != nil
	p.mu.Unlock()
	for _, f := range p.plan.totals {
		if f.directory && !known {
			p.learnFirst(ctx, f, events, slot)
		}
	}
	// Who was learnt since may be whom donations were given to.
	for _, f := range p.plan.donations {
		for key := range f.unmatchedMembers {
			m, ok := p.learnt(key)
			if ok && f.fill == nil && slices.ContainsFunc(events, func(e *eventView) bool { return p.channel(e, f, m) != "" }) {
				f.startFill()
				break
			}
		}
	}
}

// learnFirst reads a directory with a feed of its own, since the loop of totals has the other.
func (p *poller) learnFirst(ctx context.Context, f *feed, events []*eventView, slot time.Time) {
	own := &feed{
		name: f.name, url: f.url, auth: f.auth, mapping: f.mapping, paging: f.paging, scrub: f.scrub, base: f.base, directory: true,
		kept: map[string]keptAnswer{},
	}
	p.mu.Lock()
	p.health[own] = &health{}
	p.mu.Unlock()
	p.readTotals(ctx, own, events, slot)
	p.mu.Lock()
	delete(p.health, own)
	p.mu.Unlock()
}

// concluded raises and clears source-incomplete, and has all read again after a hole.
func (p *poller) concluded(f *feed, o outcome) {
	switch o {
	case pollComplete:
		f.begun = true
		f.looks()
		clear(f.tentative)
		if !f.torn {
			p.set(ConditionIncomplete, f.name, "")
		}
	case pollHole:
		detail := "the newest pages do not overlap with what was known: donations may be missing in between; all are read again now"
		if !f.fills() {
			detail = "the answer does not overlap with the one before: donations are missing in between; poll more often (schedule), " +
				"or ask for more of them at once"
			f.begun = true
			clear(f.tentative)
		} else if f.fill == nil {
			f.startFill()
		}
		p.set(ConditionIncomplete, f.name, detail)
		p.log.Warn("donations may be missing: polls do not overlap", "feed", f.name)
	case pollFailed, pollPending:
	}
}

// poll asks for the newest pages until one overlaps with what is known.
func (p *poller) poll(ctx context.Context, f *feed, events []*eventView, slot time.Time) outcome {
	var (
		pos            = position{page: f.paging.first}
		knew           = f.knows()
		seen           = map[uint64]bool{}
		repeats        int
		etag, modified string
	)
	for page := range maxPollPages {
		var ask request
		if page == 0 && f.fill == nil {
			ask.etag, ask.modified = f.newETag, f.newModified
		}
		resp, shown := p.ask(ctx, f, pos, ask)
		if resp.reason == reasonUnmodified && (ask.etag != "" || ask.modified != "") {
			return pollComplete // it is the page that was complete before
		}
		if page == 0 {
			etag, modified = resp.etag, resp.modified
			f.newETag, f.newModified = "", ""
		}
		r, ok := p.take(ctx, f, events, slot, asking{subject: f.name, shown: shown, first: page == 0, polled: true}, resp)
		if !ok {
			return pollFailed
		}
		if r.listed == 0 && page == 0 && knew > 0 {
			p.set(ConditionShape, f.name, fmt.Sprintf("%s: an empty list where %d donations were known: not believed", f.mapping.list, knew))
			return pollFailed
		}
		keys := f.keys(r)
		end := r.listed == 0
		switch f.paging.by {
		case pagingPage:
			pos.page++
			if slices.ContainsFunc(keys, func(k uint64) bool { return !seen[k] }) {
				repeats = 0
			} else {
				repeats++
			}
			end = end || repeats >= lastRepeats
		case pagingCursor:
			end = end || r.next == "" || r.next == pos.cursor
			pos.cursor = r.next
		default:
			end = end || f.paging.all
		}
		for _, k := range keys {
			seen[k] = true
		}
		switch {
		case !r.whole:
			return pollFailed
		case f.fill != nil && end:
			f.fill = nil // there are no more to be read
			return pollComplete
		case f.fill != nil:
			return pollPending
		case end || f.overlaps(keys, knew):
			f.newETag, f.newModified = etag, modified
			return pollComplete
		case !f.fills():
			return pollHole
		}
	}
	return pollHole
}

// overlaps reports whether a page reaches down to what was known. A list in pages is ordered: its last
// one decides. Of a list that comes in one piece it is enough that one of them was known.
func (f *feed) overlaps(keys []uint64, knew int) bool {
	if f.fills() {
		return len(keys) > 0 && f.settled(keys[len(keys)-1])
	}
	return !f.begun || knew == 0 || slices.ContainsFunc(keys, f.settled)
}

// knows is how many donations are known.
func (f *feed) knows() int {
	most := 0
	for _, known := range f.known {
		most = max(most, len(known))
	}
	return most
}

// keys are the hashes of the ids in an answer, in its order.
func (f *feed) keys(r *reading) []uint64 {
	out := make([]uint64, 0, len(r.ids))
	for _, id := range r.ids {
		out = append(out, f.key(id))
	}
	return out
}

// asking is why a page was asked for.
type asking struct {
	subject string // of conditions
	shown   string
	first   bool // it is the first page of several
	polled  bool // by a poll, not while all are read
}

// take reads a page, tells what is wrong with it, keeps what can't be read and emits what can. It reports
// whether there was a list.
func (p *poller) take(ctx context.Context, f *feed, events []*eventView, slot time.Time, by asking, resp response) (*reading, bool) {
	if !resp.answered {
		return nil, false
	}
	if resp.reason != reasonOK && resp.reason != reasonShape {
		// What it is has been told; what it says may tell more.
		a := record.Answer{Request: by.shown, Status: resp.status, Type: resp.kind, Problem: resp.detail}
		_ = p.keep(ctx, f, events, slot, a, resp.body, true) // it is asked for again in any case
		return nil, false
	}
	r := f.mapping.read(resp.body, p.src.Currency, true)
	if resp.reason != reasonOK {
		r.problem("%s", resp.detail)
	}
	if p.troubled(ctx, f, events, slot, by.subject, by.shown, resp, &r, by.first) != nil {
		return nil, false
	}
	for _, e := range events {
		if p.donations(ctx, f, e, slot, &r, by.polled) != nil {
			return nil, false
		}
	}
	p.spoilt(f, events, slot, &r, by.polled)
	return &r, r.found
}

// donations emits what is new of a page to an event.
func (p *poller) donations(ctx context.Context, f *feed, e *eventView, slot time.Time, r *reading, polled bool) error {
	var (
		known = f.known[e.Slug]
		docs  []record.Document
		fresh []version
	)
	flush := func() error {
		if len(docs) > 0 {
			if err := p.emit(ctx, docs); err != nil {
				return err
			}
			p.metrics.donations.WithLabelValues(p.src.Name).Add(float64(len(docs)))
		}
		for _, v := range fresh {
			known[v.key] = v.hash
		}
		docs, fresh = docs[:0:0], fresh[:0]
		return nil
	}
	for i := range r.rows {
		row := &r.rows[i]
		var (
			key, t = f.key(row.id), row.time
			first  sight
		)
		if f.mapping.timeless {
			first = f.seen(e, key, slot)
			t = clamp(time.UnixMilli(first.at).UTC(), e)
		}
		inside := !t.Before(e.Start) && t.Before(e.End)
		channel := p.channel(e, f, row.member)
		v := version{key: key, hash: f.version(row, channel, inside)}
		before, ok := known[v.key]
		switch {
		case !polled:
			delete(f.tentative, v.key)
		case !ok:
			f.tentative[v.key] = true
		}
		if key := f.memberKey(row, channel); inside && channel == "" && key != "" && len(f.unmatchedMembers) < 1000 {
			f.unmatchedMembers[key] = row.member.label()
			if f.member != "" {
				f.unmatchedMembers[key] = f.member
			}
		}
		if before == v.hash || first.earlier && before != 0 {
			continue // another version of what was there earlier would be of another time, and count beside the first
		}
		fresh = append(fresh, v)
		if !inside {
			if !ok {
				f.outside++
			}
			continue
		}
		d := p.donation(f, e, row, channel, t)
		salt := p.owners.since(e.Slug, cmp.Or(f.member, row.member.key()), channel, slot)
		if before != 0 && uint32(before) == uint32(v.hash) {
			salt = slot.UnixMilli() // it may have been what it is now before, and that record is there already
		}
		if salt != 0 {
			d.Version = record.Hash(strconv.FormatInt(d.Money.Cents, 10), d.Money.Currency, d.Channel, d.Member, strconv.FormatInt(salt, 10))
		}
		if f.mapping.timeless && before == 0 {
			// The same record whenever it is seen for the first time, in whatever run: another one would be of
			// another time, and count beside it.
			d.Version, d.Earlier = record.FirstVersion, first.earlier
		}
		docs = append(docs, d)
		if len(docs) >= emitMost {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// version is a donation that is known, and as what.
type version struct{ key, hash uint64 }

// memberKey is what a donation's Member is.
func (f *feed) memberKey(r *row, channel string) string {
	if f.member != "" {
		return cmp.Or(channel, f.member)
	}
	return r.member.key()
}

// donation makes the record of a donation.
func (p *poller) donation(f *feed, e *eventView, r *row, channel string, t time.Time) *record.Donation {
	d := &record.Donation{
		Header: record.Header{Event: e.Slug, Channel: channel, Time: t, Received: p.now()},
		Source: p.src.Name, Donation: r.id, Money: r.money, Member: f.memberKey(r, channel), Country: r.country,
		Length: utf8.RuneCountInString(r.text),
		Raw:    cut(string(f.scrub.scrub(r.raw, f.base, e.Pseudonyms)), maxRawBytes),
	}
	switch {
	case r.donorID != "":
		d.Donor = e.Pseudonyms.User(p.src.donors() + r.donorID)
	case r.donor != "" && !isAnonymous(r.donor):
		d.Donor = e.Pseudonyms.Name(r.donor)
	}
	if e.KeepText {
		d.Text = e.Pseudonyms.Text(r.text)
	}
	return d
}

// isAnonymous reports whether a donor's name says that there is none: many are not one person.
func isAnonymous(name string) bool {
	switch strings.ToLower(name) {
	case "anonymous", "anonyme", "anonym", "anon", "anonymous donor", "donateur anonyme":
		return true
	}
	return false
}

// spoilt notes donations that can't be read: for their minutes, or where that can't be told for the whole
// time since the last poll, nothing is said to be complete.
func (p *poller) spoilt(f *feed, events []*eventView, slot time.Time, r *reading, polled bool) {
	p.spoiling.Lock()
	defer p.spoiling.Unlock()
	for _, b := range r.bad {
		k := maphash.Bytes(f.seed, b.raw)
		if b.id != "" {
			for _, known := range f.known {
				if _, ok := known[f.key(b.id)]; !ok {
					known[f.key(b.id)] = 0
					if polled {
						f.tentative[f.key(b.id)] = true
					}
				}
			}
		}
		if !polled && f.fill != nil {
			f.fill.spoilt = true
		}
		if f.bad[k] {
			continue
		}
		if len(f.bad) > maxBad {
			clear(f.bad)
		}
		f.bad[k] = true
		if !b.time.IsZero() && len(p.badTimes) < maxBad {
			p.badTimes[record.Minute(b.time)] = true
			continue
		}
		p.blind(events, slot)
	}
}

// blind notes that up to a slot donations may be missing from what was read.
func (p *poller) blind(events []*eventView, slot time.Time) {
	for _, e := range events {
		p.coverOf(e.Slug).blind = slot
	}
}

func (p *poller) coverOf(slug string) *cover {
	c := p.covers[slug]
	if c == nil {
		c = &cover{}
		p.covers[slug] = c
	}
	return c
}

// cover emits coverage for the time up to a slot, where every feed's poll was complete.
func (p *poller) cover(ctx context.Context, events []*eventView, slot time.Time, outcomes []outcome) {
	complete := !slices.ContainsFunc(outcomes, func(o outcome) bool { return o != pollComplete })
	fromStart := true
	for i, f := range p.plan.donations {
		complete = complete && f.fill == nil && !f.torn
		fromStart = fromStart && (f.fills() || f.paging.all) && !f.mapping.timeless
		if outcomes[i] == pollHole && !f.fills() {
			p.blind(events, slot)
		}
	}
	if !complete {
		return
	}
	again := false
	for _, e := range events {
		c := p.coverOf(e.Slug)
		switch {
		case fromStart && (c.from.IsZero() || e.Start.Before(c.from)):
			c.from, c.done = e.Start, e.Start
		case c.from.IsZero():
			c.from, c.done = slot, slot
		}
		if c.blind.After(c.done) {
			c.done = c.blind
		}
		c.until = slot
		switch {
		case !p.claim(ctx, e, c):
		case slot.Before(e.End):
			c.again = false
		case !c.again:
			// What the source listed late, or changed, however far down, is known before nobody asks any more.
			c.again, again = true, true
		default:
			p.mu.Lock()
			p.finished[e.Slug] = slot
			p.mu.Unlock()
		}
	}
	if again {
		for _, f := range p.plan.donations {
			f.startFill()
		}
	}
}

// claim emits the coverage of the whole minutes that are complete and not dealt with yet. Whole minutes
// are the same claims after a restart. It reports whether all were kept.
func (p *poller) claim(ctx context.Context, e *eventView, c *cover) bool {
	until := c.until
	if e.End.Before(until) {
		until = e.End
	}
	var docs []record.Document
	done := c.done
	for m := record.Minute(c.done); ; m = m.Add(time.Minute) {
		from, to := m, m.Add(time.Minute)
		if e.Start.After(from) {
			from = e.Start
		}
		if e.End.Before(to) {
			to = e.End
		}
		if to.After(until) || !from.Before(to) {
			break
		}
		if from.Before(c.done) {
			continue // only a part of the minute is complete
		}
		done = to
		if !p.badTimes[m] {
			docs = append(docs, &record.Coverage{
				Header: record.Header{Event: e.Slug, Time: from, Received: p.now()}, To: to,
				Source: p.src.Name, Collector: p.cfg.Collector, Connection: p.src.Name,
			})
		}
	}
	for chunk := range slices.Chunk(docs, emitMost) {
		if p.emit(ctx, chunk) != nil {
			return false
		}
	}
	c.done = done
	return true
}

// progress updates the status.
func (p *poller) progress(events []*eventView, slot time.Time) {
	var until time.Time
	for i, e := range events {
		c := p.covers[e.Slug]
		if c == nil {
			until = time.Time{}
			break
		}
		if i == 0 || c.until.Before(until) {
			until = c.until
		}
	}
	var known, outside int64
	filling := false
	for _, f := range p.plan.donations {
		known += int64(f.knows())
		outside += f.outside
		filling = filling || f.fill != nil
	}
	for slug := range p.covers {
		if !slices.ContainsFunc(events, func(e *eventView) bool { return e.Slug == slug }) && slot.Sub(p.covers[slug].until) > 24*time.Hour {
			delete(p.covers, slug)
		}
	}
	p.forget(slot)
	if err := p.owners.save(); err != nil {
		p.log.Warn("a member who is given back to an earlier channel after a restart may stay with the later one", "err", err)
	}
	p.metrics.completed(p.src.Name, until)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Donations, p.status.Outside, p.status.Backfilling = known, outside, filling
	if len(events) > 0 {
		p.status.CompleteUntil = until
	}
}

// forget drops what is known of events that ended long ago.
func (p *poller) forget(slot time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for slug, at := range p.finished {
		if slot.Sub(at) > 24*time.Hour {
			delete(p.finished, slug)
			p.owners.forget(slug)
		}
	}
}

// allGivenUp reports whether nobody waits for the donations of any of these events any more.
func (p *poller) allGivenUp(events []*eventView) bool {
	now := p.now()
	return !slices.ContainsFunc(events, func(e *eventView) bool { return now.Before(e.End.Add(givenUp)) })
}

// fillPage reads one page of all donations, and reports whether there is more to be done at once.
func (p *poller) fillPage(ctx context.Context, f *feed, events []*eventView, slot time.Time) bool {
	fl := f.fill
	resp, shown := p.ask(ctx, f, fl.pos, request{})
	r, ok := p.take(ctx, f, events, slot, asking{subject: f.name + "/backfill", shown: shown, first: fl.pages == 0}, resp)
	if !ok || !r.whole {
		if fl.failures++; fl.failures >= cursorTries && fl.pos.cursor != "" && ctx.Err() == nil {
			f.startFill() // a cursor can grow old
		}
		return false
	}
	fl.failures = 0
	fl.pages++
	keys := f.keys(r)
	now := make(map[uint64]int, len(keys))
	fresh := false
	for i, k := range keys {
		now[k] = i
		if _, ok := fl.keys[k]; !ok {
			fresh = true
		}
	}
	first := fl.pages == 1
	_, overlaps := now[fl.tail]
	end := r.listed == 0 || fl.pages >= maxFillPages
	switch {
	case f.paging.by == pagingCursor:
		end = end || r.next == "" || r.next == fl.pos.cursor
		fl.pos.cursor = r.next
	case !fl.pos.oldest:
		if fl.repeats++; first || fresh {
			fl.repeats = 0
		}
		end = end || fl.repeats >= lastRepeats
		fl.pos.page++
	case !first && fl.stride > 1 && !overlaps:
		// Stepped too far, or past the end: go on by single pages from the last one that is sure.
		fl.stride, fl.pos.page = 1, fl.last+1
		return true
	default:
		end = end || !first && !fresh
		if !first && !overlaps && !end {
			fl.torn = true
		}
		if !first && len(keys) > 0 && len(keys) >= len(fl.keys) {
			// How far pages advance tells how many can be stepped over with a sixth of a page to spare.
			if i, ok := fl.keys[keys[0]]; ok && i > 0 && fl.stride == 1 {
				fl.stride = max(1, len(keys)*5/6/i)
			}
		}
		fl.last = fl.pos.page
		fl.pos.page += fl.stride
	}
	if !end {
		fl.keys = now
		if len(keys) > 0 {
			fl.tail = keys[len(keys)-1]
		}
		return true
	}
	p.filled(f, fl, slot)
	return false
}

// filled concludes reading all.
func (p *poller) filled(f *feed, fl *filling, slot time.Time) {
	f.fill = nil
	f.begun = true
	f.looks()
	if fl.pos.oldest {
		clear(f.tentative) // whatever was polled meanwhile came before the end that was read
	}
	f.torn = fl.torn
	if fl.torn || fl.spoilt {
		f.refill = slot.Add(fillAgain)
	}
	if fl.torn {
		p.set(ConditionIncomplete, f.name, "the pages of all donations do not overlap with each other: donations may be missing in between; "+
			"all are read again every half hour")
	}
	p.log.Info("all donations were read", "feed", f.name, "donations", f.knows(), "pages", fl.pages)
}
