package charity

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// maxTotalPages bounds the pages of one list of totals.
const maxTotalPages = 50

// totalsState is what a feed of totals knows.
type totalsState struct {
	etag, modified string
	last           *reading // that of the answer which etag and modified are of
	// sampled is the last slot that there is a sample of.
	sampled time.Time
}

// pollTotals samples the running totals for a slot.
func (p *poller) pollTotals(ctx context.Context, slot, next time.Time) {
	events := p.events(slot, false)
	if len(events) == 0 {
		p.rested(p.plan.totals)
		return
	}
	p.polls(loopTotals, events)
	defer p.polls(loopTotals, nil)
	var late atomic.Int64
	defer func() { p.rounds[loopTotals]++ }()
	p.each(loopTotals, p.plan.totals, func(_ int, f *feed) {
		if ctx.Err() != nil || !slot.After(f.sampled) {
			return // a late answer is this slot's sample already
		}
		p.began(f, slot, next)
		r, ok := p.readTotals(ctx, f, events, slot)
		if ctx.Err() != nil || !ok {
			return
		}
		at := p.passed(slot, next)
		if at.After(slot) {
			late.Add(1)
			p.metrics.late.WithLabelValues(p.src.Name).Inc()
		}
		// Even where it is not kept: another total of this slot may have been, in part.
		f.sampled = at
		if p.sample(ctx, f, events, at, r) {
			p.succeeded(f, at)
		}
	})
	if n := late.Load(); n > 0 {
		p.log.Warn("totals came too late for their slot: they are samples of the newest that had passed", "slot", slot, "requests", n)
	}
}

// passed is the newest slot of totals that has passed, of those from slot on; next follows it.
func (p *poller) passed(slot, next time.Time) time.Time {
	for now := p.now(); !next.IsZero() && !next.After(now); next = p.plan.totalsBy.Next(slot) {
		slot = next
	}
	return slot
}

// readTotals asks for all pages of a feed of totals, keeps the answers, and reports whether anything in
// them can be used.
func (p *poller) readTotals(ctx context.Context, f *feed, events []*eventView, slot time.Time) (*reading, bool) {
	all := &reading{found: true, whole: true}
	pos := position{page: f.paging.first}
	for page := range maxTotalPages {
		var ask request
		if page == 0 && f.last != nil && f.paging.by != pagingCursor {
			ask.etag, ask.modified = f.etag, f.modified
		}
		resp, shown := p.ask(ctx, f, pos, ask)
		switch {
		case resp.reason == reasonUnmodified && f.last != nil && (ask.etag != "" || ask.modified != ""):
			return f.last, true
		case resp.answered:
		default:
			return all, page > 0 // as far as it came
		}
		r := f.mapping.read(resp.body, p.src.Currency, false)
		if resp.reason != reasonOK {
			r.problem("%s", resp.detail)
		}
		a := record.Answer{Request: shown, Status: resp.status, Type: resp.kind, Problem: cut(r.summary(), 2000)}
		if p.keep(ctx, f, events, slot, a, resp.body, true) != nil {
			return nil, false
		}
		if resp.reason != reasonOK && resp.reason != reasonShape {
			return nil, false
		}
		if r.trouble > 0 || page == 0 {
			p.set(ConditionShape, f.name, shapeDetail(r.summary(), len(r.rows), len(r.bad)))
		}
		if len(r.currencies) > 0 || page == 0 {
			p.set(ConditionCurrency, f.name, currencyDetail(r.currencies))
		}
		all.rows = append(all.rows, r.rows...)
		all.total = r.total
		if page == 0 && f.paging.by != pagingCursor {
			f.etag, f.modified, f.last = "", "", nil
			if r.summary() == "" && (resp.etag != "" || resp.modified != "") {
				f.etag, f.modified, f.last = resp.etag, resp.modified, all
			}
		}
		if !r.found && r.total == nil {
			return nil, false
		}
		if r.next == "" || r.next == pos.cursor || f.paging.by != pagingCursor {
			break
		}
		pos.cursor = r.next
	}
	if f.directory {
		p.learn(all.rows)
	}
	return all, true
}

// learn notes who the members are that donations name by their id alone.
func (p *poller) learn(rows []row) {
	known := make(map[string]member, len(rows))
	for _, r := range rows {
		if r.member.id != "" {
			known[r.member.id] = r.member
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = known
}

// sample emits a sample of every total for every event, and reports whether they were kept.
func (p *poller) sample(ctx context.Context, f *feed, events []*eventView, slot time.Time, r *reading) bool {
	labels := map[string]string{}
	kept := true
	for _, e := range events {
		docs := p.amounts(f, e, slot, r, labels)
		if !slot.Before(e.End) {
			continue // it came late, and after the end
		}
		for chunk := range slices.Chunk(docs, emitMost) {
			if p.emit(ctx, chunk) != nil {
				kept = false
				break
			}
		}
		p.metrics.samples.WithLabelValues(p.src.Name).Add(float64(len(docs)))
	}
	p.unmatched(f, labels)
	return kept
}

// amounts are the samples of an answer. Totals of several members whose channel is the same are added
// up; of rows of the same member the first counts.
func (p *poller) amounts(f *feed, e *eventView, slot time.Time, r *reading, unmatched map[string]string) []record.Document {
	header := record.Header{Event: e.Slug, Time: slot, Received: p.now()}
	var docs []record.Document
	if r.total != nil {
		docs = append(docs, &record.Amount{Header: header, Source: p.src.Name, Money: *r.total})
	}
	type place struct{ channel, member, currency string }
	var (
		members  = map[string]bool{}
		channels = map[place]*record.Amount{}
	)
	for _, row := range r.rows {
		key := row.member.key()
		if members[key] {
			continue // a page later
		}
		members[key] = true
		channel := p.channel(e, f, row.member)
		at := place{channel: channel, currency: row.money.Currency}
		if channel == "" {
			at.member = key
			unmatched[key] = row.member.label()
		}
		if doc := channels[at]; doc != nil {
			doc.Money.Cents += row.money.Cents
			doc.Members = append(doc.Members, key)
			continue
		}
		h := header
		h.Channel = channel
		// A channel's total has no member: which of several came first may differ from collector to collector.
		doc := &record.Amount{Header: h, Source: p.src.Name, Member: at.member, Money: row.money}
		if channel != "" && key != "" {
			doc.Members = []string{key}
		}
		channels[at] = doc
		docs = append(docs, doc)
	}
	for _, doc := range channels {
		slices.Sort(doc.Members)
	}
	return docs
}
