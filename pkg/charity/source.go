package charity

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

const (
	// emitMost bounds the documents of one call of Emit.
	emitMost = 1000
	// partBytes is the most of an answer's body that one record holds.
	partBytes = 3 << 20
	// maxRawBytes bounds Donation.Raw; a row has about 400.
	maxRawBytes = 32 << 10
	// keepAgain is how soon an answer that is the same as before is kept again.
	keepAgain = time.Hour
	// staleAfter is how many intervals without success make a source stale.
	staleAfter = 3
	// givenUp is how long after its end an event's last donations are waited for.
	givenUp = time.Hour
	// broadcastersAtOnce is how many requests are made at once of a source that has a feed of each broadcaster.
	broadcastersAtOnce = 8
)

// poller polls one source.
//
//	                      ┌── hole, or another set of channels ──┐
//	                      ▼                                      │
//	start ─► filling: all pages, from the first on ─► following: newest pages until one
//	         (the newest page is looked at too)       overlaps with what is known
//
// While following, a poll that overlapped proves that between it and the one before nothing is missing.
type poller struct {
	src     Source
	cfg     *Config
	client  *http.Client
	metrics *metrics
	log     *slog.Logger
	plan    plan
	gate    chan struct{} // holds as many requests as may be made at once

	// Under mu, for Status; what is written by one loop alone and read by no other is of that loop.
	mu         sync.Mutex
	conditions map[conditionKey]control.Condition
	status     SourceStatus
	slots      []time.Time // the last that was polled, by loop
	polling    [2][]string // the events that a poll is under way for now, of totals and of donations
	// finished are the ends of events whose donations were all there in a poll after it.
	finished map[string]time.Time
	limited  time.Time // until when the source wants to be left alone, by the machine's clock
	members  map[string]member
	health   map[*feed]*health

	rounds [2]int // by loop, of that loop alone

	// Of the loop of donations alone.
	owners   *owners
	covers   map[string]*cover
	badTimes map[time.Time]bool // minutes of donations that can't be read
	spoiling sync.Mutex         // held by spoilt, since feeds are polled at once
}

type conditionKey struct{ name, subject string }

// health is how a feed is doing.
type health struct {
	failures int
	until    time.Time // of the back-off, by the machine's clock
	since    time.Time // the slot that success is waited for from
	interval time.Duration
	success  time.Time // the last slot
}

// cover is how far an event's coverage is emitted.
type cover struct {
	from  time.Time // from when on claims hold; zero: nothing is complete
	done  time.Time // what is before was dealt with
	until time.Time // the last complete poll
	blind time.Time // up to here donations may be missing from what was read
	again bool      // the event is over, and all donations are read once more
}

// eventView is an event with its channels by whatever names them.
type eventView struct {
	Event
	channels map[string]string // "id:…" and "name:…" to the channel's id
	mark     uint64            // changes when anything that donations depend on does
}

func newPoller(src Source, cfg *Config, client *http.Client, m *metrics) *poller {
	width := 1
	if src.Kind == SourceTwitch {
		width = min(max(len(src.tokens), 1), broadcastersAtOnce)
	}
	p := &poller{
		src: src, cfg: cfg, client: client, metrics: m, log: cfg.Logger.With("source", src.Name), plan: src.plan(),
		gate: make(chan struct{}, width), conditions: map[conditionKey]control.Condition{},
		health: map[*feed]*health{}, covers: map[string]*cover{}, badTimes: map[time.Time]bool{},
		finished: map[string]time.Time{},
	}
	path := ""
	if cfg.Dir != "" {
		path = filepath.Join(cfg.Dir, "charity-"+src.Name+".json")
	}
	var err error
	if p.owners, err = openOwners(path); err != nil {
		p.log.Warn("a member who is given back to an earlier channel may stay with the later one", "err", err)
	}
	p.status = SourceStatus{Source: src.Name, Kind: src.Kind}
	for _, f := range slices.Concat(p.plan.totals, p.plan.donations) {
		p.health[f] = &health{}
	}
	return p
}

// each calls do for feeds, as many at once as requests may be made. Each round of a loop begins with
// another feed, so that none is always the last.
func (p *poller) each(loop int, feeds []*feed, do func(i int, f *feed)) {
	if len(feeds) == 0 {
		return
	}
	first := p.rounds[loop] % len(feeds)
	var (
		wg    sync.WaitGroup
		count atomic.Int64
	)
	for range min(cap(p.gate), len(feeds)) {
		wg.Go(func() {
			for n := int(count.Add(1)) - 1; n < len(feeds); n = int(count.Add(1)) - 1 {
				i := (first + n) % len(feeds)
				do(i, feeds[i])
			}
		})
	}
	wg.Wait()
}

func (p *poller) now() time.Time { return p.cfg.Clock.Now().UTC() }

// run polls until ctx ends.
func (p *poller) run(ctx context.Context) {
	var wg sync.WaitGroup
	type polling struct {
		by   cron.Schedule
		poll func(ctx context.Context, slot, next time.Time)
	}
	var loops []polling
	if len(p.plan.totals) > 0 {
		loops = append(loops, polling{p.plan.totalsBy, p.pollTotals})
	}
	if len(p.plan.donations) > 0 {
		loops = append(loops, polling{p.plan.donationsBy, p.pollDonations})
	}
	p.mu.Lock()
	p.slots = make([]time.Time, len(loops))
	p.mu.Unlock()
	for n, l := range loops {
		wg.Go(func() { p.loop(ctx, n, l.by, l.poll) })
	}
	wg.Wait()
}

// loop calls poll at each slot. Slots that have passed meanwhile are left out. It is the nth loop.
func (p *poller) loop(ctx context.Context, n int, schedule cron.Schedule, poll func(ctx context.Context, slot, next time.Time)) {
	slot := schedule.Next(p.now())
	for !slot.IsZero() {
		if p.cfg.Clock.Until(ctx, slot) != nil {
			return
		}
		next := schedule.Next(slot)
		for now := p.now(); !next.IsZero() && !next.After(now); next = schedule.Next(slot) {
			slot = next
		}
		poll(ctx, slot, next)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		p.slots[n] = slot
		p.status.LastSlot = slices.MinFunc(p.slots, time.Time.Compare)
		p.mu.Unlock()
		slot = next
	}
}

// The loops of a source, for polling.
const (
	loopTotals = iota
	loopDonations
)

// wants reports whether an event is polled for at a time: where it holds it, and where late is set after
// its end as well, until its last donations are known to be all there or are given up.
func (p *poller) wants(e *Event, at time.Time, late bool) bool {
	switch {
	case len(p.src.Events) > 0 && !slices.Contains(p.src.Events, e.Slug) || e.Pseudonyms == nil || at.Before(e.Start):
		return false
	case at.Before(e.End):
		return true
	case !late || !at.Before(e.End.Add(givenUp)):
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	done, ok := p.finished[e.Slug]
	return !ok || done.Before(e.End)
}

// events are those that the source is polled for at a slot.
func (p *poller) events(slot time.Time, late bool) []*eventView {
	var out []*eventView
	for _, e := range p.cfg.Events() {
		if p.wants(&e, slot, late) {
			out = append(out, p.view(e))
		}
	}
	slices.SortFunc(out, func(a, b *eventView) int { return strings.Compare(a.Slug, b.Slug) })
	return out
}

// polls notes for which events a loop's poll is under way.
func (p *poller) polls(loop int, events []*eventView) {
	var slugs []string
	for _, e := range events {
		slugs = append(slugs, e.Slug)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polling[loop] = slugs
}

// polled are the slugs of the events that the source is polled for, by the clock and not by the last
// slot: a schedule may be so slow that the next one is long after an event's end.
func (p *poller) polled(now time.Time) []string {
	var slugs []string
	for _, e := range p.cfg.Events() {
		if len(p.plan.totals) > 0 && p.wants(&e, now, false) || len(p.plan.donations) > 0 && p.wants(&e, now, true) {
			slugs = append(slugs, e.Slug)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, under := range p.polling {
		slugs = append(slugs, under...)
	}
	slices.Sort(slugs)
	return slices.Compact(slugs)
}

//nolint:gochecknoglobals // the seed of hashes that never leave the process
var viewSeed = maphash.MakeSeed()

func (p *poller) view(e Event) *eventView {
	v := &eventView{Event: e, channels: make(map[string]string, 3*len(e.Channels))}
	var h maphash.Hash
	h.SetSeed(viewSeed)
	fmt.Fprintln(&h, e.Slug, e.Start.UnixMilli(), e.End.UnixMilli())
	for _, id := range slices.Sorted(maps.Keys(e.Channels)) {
		c := e.Channels[id]
		v.channels["id:"+id] = id
		v.channels["login:"+strings.ToLower(c.Login)] = id
		fmt.Fprintln(&h, id, c.Login, c.Name)
		for _, name := range [...]string{c.Login, c.Name} {
			if name != "" {
				if _, taken := v.channels["name:"+strings.ToLower(name)]; !taken || name == c.Login {
					v.channels["name:"+strings.ToLower(name)] = id
				}
			}
		}
	}
	v.mark = h.Sum64()
	return v
}

// channel is the id of the channel of a member: by the sources file, by Twitch id, by login, slug or
// name. Empty where no channel of the event is his.
func (p *poller) channel(e *eventView, f *feed, m member) string {
	if f.member != "" {
		return e.channels["login:"+f.member]
	}
	if known, ok := p.learnt(m.id); ok {
		m.names = slices.Concat(m.names, known.names)
		if m.twitch == "" {
			m.twitch = known.twitch
		}
	}
	for _, key := range append([]string{m.id}, m.names...) {
		if login, ok := p.src.Members[strings.ToLower(key)]; ok && key != "" {
			return e.channels["login:"+login]
		}
	}
	if id := e.channels["id:"+m.twitch]; id != "" && m.twitch != "" {
		return id
	}
	for _, name := range m.names {
		if id := e.channels["name:"+strings.ToLower(name)]; id != "" {
			return id
		}
	}
	return ""
}

// learnt is what is known of a member beside his id.
func (p *poller) learnt(id string) (member, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.members[id]
	return m, ok && id != ""
}

// ask makes a request of a feed, when it is its turn: with what credentials it needs, and again when it
// fails for reasons that pass. It raises and clears the conditions of requests. A response that is not
// ok was dealt with; one that is answered is still to be kept.
func (p *poller) ask(ctx context.Context, f *feed, pos position, r request) (response, string) {
	select {
	case p.gate <- struct{}{}:
		defer func() { <-p.gate }()
	case <-ctx.Done():
		return response{reason: reasonCanceled}, ""
	}
	p.mu.Lock()
	h := p.health[f]
	waits := time.Now().Before(h.until) || time.Now().Before(p.limited)
	p.mu.Unlock()
	if waits {
		return response{reason: reasonCanceled}, "" // its condition stands
	}
	var (
		out     response
		address string
	)
	for attempt := 1; ; attempt++ {
		out, address = p.once(ctx, f, pos, r)
		if out.reason == reasonRefused && f.auth != nil && f.auth.refused() && attempt == 1 && ctx.Err() == nil {
			continue
		}
		if out.reason != reasonUnreachable || out.after > 0 || attempt >= attempts ||
			sleep(ctx, backoff(firstPause, longestBackoff, attempt)) != nil {
			break
		}
	}
	p.judge(f, h, out)
	return out, show(address)
}

func (p *poller) once(ctx context.Context, f *feed, pos position, r request) (response, string) {
	var c credentials
	if f.auth != nil {
		var (
			why response
			ok  bool
		)
		if c, why, ok = f.auth.credentials(ctx, p.client, p.src.Timeout); !ok {
			p.count(why)
			return why, ""
		}
	}
	r.url, r.headers = f.address(pos, c.user), c.headers
	out := fetch(ctx, p.client, p.src.Timeout, r)
	p.count(out)
	return out, r.url
}

func (p *poller) count(r response) {
	if r.reason == reasonCanceled {
		return
	}
	p.metrics.request(p.src.Name, r)
	p.mu.Lock()
	p.status.Requests++
	if r.reason != reasonOK && r.reason != reasonUnmodified {
		p.status.Failures++
	}
	p.mu.Unlock()
}

// judge raises and clears the conditions of requests.
func (p *poller) judge(f *feed, h *health, r response) {
	if r.reason == reasonCanceled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	raised := ""
	switch r.reason {
	case reasonUnreachable:
		raised = ConditionUnreachable
		p.raise(ConditionUnreachable, f.name, r.detail+"; asked again and again: check that the source is up, its url, and the way there")
	case reasonRefused:
		raised = ConditionRefused
		p.raise(ConditionRefused, f.name, r.detail+"; check that the source may be read, and the files that its tokens are in")
	case reasonStatus:
		raised = ConditionRefused
		p.raise(ConditionRefused, f.name, r.detail)
	case reasonLimited:
		raised = ConditionLimited
		p.limited = now.Add(max(r.after, backoff(firstBackoff, longestBackoff, h.failures+1)))
		p.raise(ConditionLimited, f.name, fmt.Sprintf("%s: left alone until %s; if it lasts, poll less often (schedule)",
			r.detail, p.limited.UTC().Format(time.TimeOnly)))
	case reasonShape:
		p.raise(ConditionShape, f.name, r.detail)
	case reasonOK, reasonUnmodified, reasonCanceled:
	}
	for _, name := range [...]string{ConditionUnreachable, ConditionRefused, ConditionLimited} {
		if name != raised {
			p.clear(name, f.name)
		}
	}
	if r.reason == reasonOK || r.reason == reasonUnmodified {
		h.failures, h.until = 0, time.Time{}
		return
	}
	h.failures++
	h.until = now.Add(max(r.after, backoff(firstBackoff, longestBackoff, h.failures)))
}

// raise sets a condition; one that stands keeps its beginning. p.mu is held.
func (p *poller) raise(name, subject, detail string) {
	key := conditionKey{name, subject}
	c, ok := p.conditions[key]
	if !ok {
		c = control.Condition{Name: name, Subject: subject, Since: time.Now().UTC()}
		p.log.Warn("a charity source is in trouble", "condition", name, "subject", subject, "detail", detail)
	}
	c.Detail = detail
	p.conditions[key] = c
}

// clear takes a condition back. p.mu is held.
func (p *poller) clear(name, subject string) {
	key := conditionKey{name, subject}
	if _, ok := p.conditions[key]; ok {
		delete(p.conditions, key)
		p.log.Info("a charity source is right again", "condition", name, "subject", subject)
	}
}

// set raises a condition, or with an empty detail clears it.
func (p *poller) set(name, subject, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if detail == "" {
		p.clear(name, subject)
		return
	}
	p.raise(name, subject, detail)
}

// began notes that a feed is polled at a slot.
func (p *poller) began(f *feed, slot, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[f]
	if h.since.IsZero() {
		h.since = slot
	}
	h.interval = next.Sub(slot)
}

// succeeded notes that a feed was answered usably.
func (p *poller) succeeded(f *feed, slot time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health[f].success = slot
	if slot.After(p.status.LastSuccess) {
		p.status.LastSuccess = slot
	}
	p.metrics.succeeded(p.src.Name, slot)
}

// rested notes that there is nothing to poll for: nobody waits for a success.
func (p *poller) rested(feeds []*feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range feeds {
		h := p.health[f]
		h.since, h.success = time.Time{}, time.Time{}
		for key := range p.conditions {
			if key.subject == f.name {
				delete(p.conditions, key)
			}
		}
	}
}

// snapshot is the source's status.
func (p *poller) snapshot() SourceStatus {
	now := p.now()
	events := p.polled(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	for f, h := range p.health {
		last := h.since
		if h.success.After(last) {
			last = h.success
		}
		if h.since.IsZero() || h.interval <= 0 || now.Sub(last) <= staleAfter*h.interval {
			p.clear(ConditionStale, f.name)
			continue
		}
		if _, ok := p.conditions[conditionKey{ConditionStale, f.name}]; !ok {
			p.raise(ConditionStale, f.name, fmt.Sprintf("no usable answer since %s: what is shown of it is that old; look at its other conditions",
				last.UTC().Format(time.DateTime)))
		}
	}
	out := p.status
	out.Events = events
	for _, c := range p.conditions {
		out.Conditions = append(out.Conditions, c)
	}
	slices.SortFunc(out.Conditions, func(a, b control.Condition) int {
		return strings.Compare(a.Name+" "+a.Subject, b.Name+" "+b.Subject)
	})
	return out
}

// keptAnswer is the last one that was kept of a request.
type keptAnswer struct {
	hash string
	at   time.Time
}

// keep emits an answer, or a part of one, for the events, unless the same was kept lately.
func (p *poller) keep(ctx context.Context, f *feed, events []*eventView, slot time.Time, a record.Answer, body []byte, whole bool) error {
	a.Source, a.Bytes, a.Hash = p.src.Name, len(body), record.Hash(string(body))
	base := f.base
	if whole && (len(body) == 0 || body[0] != '[') {
		base = ""
	}
	for _, e := range events {
		key := e.Slug + " " + f.keepKey(a.Request)
		if k := f.kept[key]; k.hash == a.Hash && slot.Sub(k.at) < keepAgain {
			continue
		}
		scrubbed := f.scrub.scrub(body, base, e.Pseudonyms)
		parts := (len(scrubbed) + partBytes - 1) / partBytes
		for part := range max(parts, 1) {
			piece := a
			piece.Header = record.Header{Event: e.Slug, Time: clamp(slot, e), Received: p.now()}
			piece.Body = cut(string(scrubbed), partBytes)
			scrubbed = scrubbed[len(piece.Body):]
			if parts > 1 || len(scrubbed) > 0 {
				piece.Part = part + 1
			}
			if err := p.emit(ctx, []record.Document{&piece}); err != nil {
				return err
			}
		}
		if len(f.kept) > 1000 {
			clear(f.kept)
		}
		f.kept[key] = keptAnswer{hash: a.Hash, at: slot}
	}
	return nil
}

// keepKey is a request without the place in the list.
func (f *feed) keepKey(request string) string {
	if f.paging.by == pagingNone || f.paging.by == "" {
		return request
	}
	path, _, _ := strings.Cut(request, "?")
	return path
}

// clamp is a slot within the event: its last donations are polled for after its end.
func clamp(slot time.Time, e *eventView) time.Time {
	if !slot.Before(e.End) {
		return e.End.Add(-time.Millisecond)
	}
	return slot
}

func (p *poller) emit(ctx context.Context, docs []record.Document) error {
	err := p.cfg.Emit(ctx, docs)
	if err != nil && ctx.Err() == nil {
		p.log.Error("what a charity source said could not be kept; it is asked for again", "documents", len(docs), "err", err)
	}
	return err
}

// troubled tells what could not be read of an answer, and keeps the parts of it. Bodies of which nothing
// can be read are kept whole; of others the rows that can't. Conditions are cleared by the first page of
// a list alone, not by those that follow.
func (p *poller) troubled(ctx context.Context, f *feed, events []*eventView, slot time.Time, subject, shown string, resp response, r *reading, first bool) error {
	problem := r.summary()
	if problem != "" || first {
		p.set(ConditionShape, subject, shapeDetail(problem, len(r.rows), len(r.bad)))
	}
	if len(r.currencies) > 0 || first {
		p.set(ConditionCurrency, subject, currencyDetail(r.currencies))
	}
	if problem == "" {
		return nil
	}
	a := record.Answer{Request: shown, Status: resp.status, Type: resp.kind, Problem: cut(problem, 2000)}
	if r.whole && r.found && len(r.bad) > 0 {
		body := []byte{'['}
		for i, b := range r.bad {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, b.raw...)
		}
		return p.keep(ctx, f, events, slot, a, append(body, ']'), false)
	}
	return p.keep(ctx, f, events, slot, a, resp.body, true)
}

func shapeDetail(problem string, rows, bad int) string {
	if problem == "" {
		return ""
	}
	return fmt.Sprintf("%s; %d rows were read, %d not, which are kept as they came: the source has changed, or is not what the sources file says",
		problem, rows, bad)
}

func currencyDetail(odd []string) string {
	if len(odd) == 0 {
		return ""
	}
	return strings.Join(odd, "; ") + ": set currency to what the source counts in"
}

// unmatched tells which members are no channels.
func (p *poller) unmatched(f *feed, labels map[string]string) {
	if len(labels) == 0 {
		p.set(ConditionUnmatched, f.name, "")
		return
	}
	names := slices.Sorted(maps.Values(labels))
	more := ""
	if len(names) > 10 {
		more = fmt.Sprintf(" and %d more", len(names)-10)
		names = names[:10]
	}
	p.set(ConditionUnmatched, f.name, fmt.Sprintf("no channel of the event is that of %s%s: what they are given counts for the event only; "+
		"add their channels, or map their ids to logins under members", strings.Join(names, ", "), more))
}
