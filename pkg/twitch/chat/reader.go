package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
)

// Reader reads a set of channels. Its channels are spread over slots; a slot holds at most
// MaxPerConnection of them and has one connection at a time, a generation:
//
//	                 ┌────────────── backoff ◄── lost, silent, refused ──┐
//	                 ▼                                                   │
//	slot: empty ► connecting ► joining ► ready ──── RECONNECT ───► closing (old generation)
//	                              ▲                     │                │ until the next one has
//	                              └── next generation ◄─┘                ▼ every echo
//	                                                                   closed
//
// A channel stays in its slot as long as the budget allows, so that no one's coming or going makes
// others part and join again.
type Reader struct {
	cfg     Config
	sink    func(Line)
	metrics *metrics
	wake    chan struct{} // has one element when the supervisor has something to see to

	lines, messages, malformed atomic.Int64

	mu      sync.Mutex
	budget  control.Budget
	wants   map[string]*want // by login
	invalid map[string]time.Time
	slots   []*slot
	dials   pace
	nicks   map[string]bool
	ended   []Span // what connections that are gone had covered
	shown   struct{ connections, joined int }
	running sync.WaitGroup
}

// want is one channel that is to be read.
type want struct {
	channel Channel
	order   int
	slot    *slot
	// since is when the first JOIN went out that was not answered, tries how many were not.
	since time.Time
	tries int
	next  time.Time // not before this is it tried again
	// refusal is what Twitch said about it, room the id that it said in its place.
	refusal  string
	room     string
	roomTime time.Time
}

// slot is a place for one connection.
type slot struct {
	number     int
	generation int
	wants      []*want // in order
	current    *generation
	old        []*generation // told to RECONNECT, read until the current one has their channels
	failures   int           // in a row
	dialAt     time.Time
	failure    error
	failing    time.Time
	fellSilent time.Time // the last time
}

// New makes a Reader. The sink is called with each line on the goroutine that reads its
// connection, several at once: while it blocks, its connection is not read, and what it was given
// before counts as covered as soon as it returns.
func New(cfg Config, sink func(Line)) *Reader {
	cfg = cfg.withDefaults()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		cfg.Logger.Error("chat metrics are incomplete", slog.String("collector", cfg.Collector), slog.Any("err", err))
	}
	r := &Reader{
		cfg: cfg, sink: sink, metrics: m, wake: make(chan struct{}, 1),
		wants: map[string]*want{}, invalid: map[string]time.Time{}, nicks: map[string]bool{},
		// Twitch takes 20 authentications in 10 s.
		dials: pace{most: 20, window: 12500 * time.Millisecond},
	}
	r.budget = withDefaults(control.Budget{})
	return r
}

func withDefaults(b control.Budget) control.Budget {
	if b.Joins <= 0 {
		b.Joins = 20
	}
	if b.JoinWindow <= 0 {
		b.JoinWindow = 12500 * time.Millisecond
	}
	if b.PerConnection <= 0 || b.PerConnection > MaxPerConnection {
		b.PerConnection = MaxPerConnection
	}
	return b
}

// Set says which channels to read from now on, those to join first in front, and what share of
// Twitch's limits may be used; zeros of the budget stand for 20 JOINs in 12.5 s and
// MaxPerConnection. It returns at once. A channel whose login can't be one is reported as a
// condition and not joined.
func (r *Reader) Set(channels []Channel, budget control.Budget) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.budget = withDefaults(budget)
	wants := make(map[string]*want, len(channels))
	invalid := map[string]time.Time{}
	now := time.Now()
	for i, c := range channels {
		c.Login = strings.ToLower(c.Login)
		if !validLogin(c.Login) {
			invalid[c.Login] = now
			if since, ok := r.invalid[c.Login]; ok {
				invalid[c.Login] = since
			}
			continue
		}
		if wants[c.Login] != nil {
			continue
		}
		w := r.wants[c.Login]
		if w == nil || w.channel != c {
			w = &want{channel: c}
		}
		w.order = i
		wants[c.Login] = w
	}
	r.wants, r.invalid = wants, invalid
	r.place()
	r.touch()
	for _, s := range r.slots {
		for _, g := range s.generations() {
			g.touch()
		}
	}
}

func validLogin(s string) bool {
	if s == "" || len(s) > 25 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// place gives each want a slot and each slot its wants. Wants stay where they are unless their
// slot holds too many.
func (r *Reader) place() {
	limit := r.budget.PerConnection
	for _, s := range r.slots {
		s.wants = s.wants[:0]
	}
	var homeless []*want
	for _, w := range r.sorted() {
		switch {
		case w.slot == nil:
			homeless = append(homeless, w)
		case len(w.slot.wants) >= limit:
			w.slot = nil
			homeless = append(homeless, w)
		default:
			w.slot.wants = append(w.slot.wants, w)
		}
	}
	needed := (len(r.wants) + limit - 1) / limit
	for number := 1; len(homeless) > 0 && len(r.slots) < needed; number++ {
		if !slices.ContainsFunc(r.slots, func(s *slot) bool { return s.number == number }) {
			r.slots = append(r.slots, &slot{number: number})
		}
	}
	slices.SortFunc(r.slots, func(a, b *slot) int { return a.number - b.number })
	for _, w := range homeless {
		// The first that has the fewest, so that large channels do not share one connection.
		w.slot = slices.MinFunc(r.slots, func(a, b *slot) int { return len(a.wants) - len(b.wants) })
		w.slot.wants = append(w.slot.wants, w)
	}
	for _, s := range r.slots {
		slices.SortFunc(s.wants, byOrder)
	}
}

func byOrder(a, b *want) int { return a.order - b.order }

func (r *Reader) sorted() []*want { return slices.SortedFunc(maps.Values(r.wants), byOrder) }

func (r *Reader) touch() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run keeps the connections until the context ends, then closes them and returns nil when the last
// call of the sink has returned. What they covered can still be had from Cut. It runs once.
func (r *Reader) Run(ctx context.Context) error {
	defer r.running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
			r.running.Wait() // the generations end with the context
			r.mu.Lock()
			r.reap()
			r.show()
			r.mu.Unlock()
			return nil
		}
		r.mu.Lock()
		next := r.supervise(ctx, time.Now())
		r.mu.Unlock()
		timer.Reset(next)
	}
}

// idle is the longest that anything waits without looking.
const idle = 10 * time.Second

// supervise brings slots and connections to what they should be, and says when to look again.
func (r *Reader) supervise(ctx context.Context, now time.Time) time.Duration {
	next := now.Add(idle)
	soonest := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	r.reap()
	for _, s := range r.slots {
		for _, g := range s.old {
			r.retire(g, now)
			soonest(g.closeAt)
		}
		switch g := s.current; {
		case g != nil && len(s.wants) == 0:
			if g.joined == 0 {
				g.drain(now)
				soonest(g.closeAt)
			}
		case g != nil && g.isClosing():
			// It has been drained for want of channels and is wanted again.
			s.current, s.old = nil, append(s.old, g)
			soonest(now)
		case g == nil && len(s.wants) > 0:
			at := s.dialAt
			if free := r.dials.free(now); free.After(at) {
				at = free
			}
			if at.After(now) {
				soonest(at)
				continue
			}
			r.dials.take(now, 1)
			r.start(ctx, s, now)
		}
	}
	r.slots = slices.DeleteFunc(r.slots, func(s *slot) bool {
		return len(s.wants) == 0 && s.current == nil && len(s.old) == 0
	})
	r.show()
	return max(next.Sub(now), time.Millisecond)
}

// reap takes leave of the generations that have ended.
func (r *Reader) reap() {
	for _, s := range r.slots {
		s.old = slices.DeleteFunc(s.old, func(g *generation) bool {
			if g.ended {
				r.bury(g)
			}
			return g.ended
		})
		g := s.current
		if g == nil {
			continue
		}
		now := time.Now()
		switch {
		case g.ended:
			r.bury(g)
			s.current = nil
			if g.err == nil {
				continue // closed by us
			}
			s.fail(g, g.err, now, r.backoff)
		case g.reconnect:
			if !g.replaced {
				r.cfg.Logger.Info("chat server asks to reconnect",
					slog.String("collector", r.cfg.Collector), slog.String("connection", g.name))
			}
			s.current, s.old = nil, append(s.old, g)
			g.retireBy = now.Add(r.cfg.RetireTimeout)
			if now.Sub(g.welcomed) < r.cfg.HealthyAfter {
				// One that asks at once again must not be dialled in a circle.
				s.fail(g, nil, now, r.backoff)
			} else {
				s.failures, s.dialAt = 0, now
			}
		case !g.welcomed.IsZero() && s.failure != nil:
			s.failure = nil
		}
	}
}

func (s *slot) fail(g *generation, err error, now time.Time, backoff func(int) time.Duration) {
	if !g.welcomed.IsZero() && now.Sub(g.welcomed) >= g.r.cfg.HealthyAfter {
		s.failures = 0
	}
	s.dialAt = now.Add(backoff(s.failures))
	s.failures++
	if err != nil {
		if s.failure == nil {
			s.failing = now
		}
		s.failure = err
		if errors.Is(err, errSilent) {
			s.fellSilent = now
		}
	}
}

// backoff is exponential with full jitter.
func (r *Reader) backoff(failures int) time.Duration {
	bound := r.cfg.MaxBackoff
	if shifted := r.cfg.MinBackoff << min(failures, 20); shifted > 0 && shifted < bound {
		bound = shifted
	}
	return rand.N(bound) + 1
}

func (r *Reader) bury(g *generation) {
	r.ended = g.line.cut(g.name, time.Time{}, true, r.ended)
	delete(r.nicks, g.nick)
	reason := endReconnect
	switch {
	case g.replaced:
		reason = endReplaced
	case !g.reconnect:
		reason = reasonOf(g.err)
	}
	r.metrics.ends.WithLabelValues(reason).Inc()
	if g.err == nil || g.reconnect {
		return
	}
	r.cfg.Logger.Warn("chat connection ended", slog.String("collector", r.cfg.Collector),
		slog.String("connection", g.name), slog.Any("err", g.err))
}

func reasonOf(err error) string {
	switch {
	case err == nil:
		return endClosed
	case errors.Is(err, errDial):
		return endDial
	case errors.Is(err, errSilent):
		return endSilent
	case errors.Is(err, errRefused):
		return endRefused
	}
	return endLost
}

// retire closes an old generation when the current one has all its channels.
func (r *Reader) retire(g *generation, now time.Time) {
	if g.isClosing() {
		g.drain(now)
		return
	}
	if now.Before(g.retireBy) {
		for login, m := range g.members {
			if w := r.wants[login]; m.joined && w != nil && w.channel == m.channel && !w.slot.reads(login) {
				g.closeAt = g.retireBy
				return
			}
		}
	}
	g.drain(now)
}

// reads reports whether the slot's current connection is in a channel.
func (s *slot) reads(login string) bool {
	if s == nil || s.current == nil || s.current.ended {
		return false
	}
	m := s.current.members[login]
	return m != nil && m.joined
}

func (s *slot) generations() []*generation {
	all := slices.Clone(s.old)
	if s.current != nil {
		all = append(all, s.current)
	}
	return all
}

func (r *Reader) start(ctx context.Context, s *slot, now time.Time) {
	s.generation++
	nick := ""
	for nick == "" || r.nicks[nick] {
		nick = fmt.Sprintf("justinfan%d", 1_000_000+rand.IntN(9_000_000))
	}
	r.nicks[nick] = true
	ctx, cancel := context.WithCancel(ctx)
	g := &generation{
		r: r, slot: s, name: s.name(r.cfg.Collector), nick: nick, cancel: cancel, started: now,
		members: map[string]*member{}, parting: map[string]time.Time{}, wake: make(chan struct{}, 1),
		pace: pace{most: r.budget.Joins, window: r.budget.JoinWindow},
	}
	s.current = g
	r.running.Go(func() {
		defer cancel()
		err := g.run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if ctx.Err() != nil {
			err = nil
		}
		g.ended, g.err = true, err
		r.touch()
	})
}

func (s *slot) name(collector string) string {
	return fmt.Sprintf("%s-%d.%d", collector, s.number, s.generation)
}

// show brings the gauges up to date. Readers may share them, so each adds its difference.
func (r *Reader) show() {
	connections, joined := 0, 0
	for _, s := range r.slots {
		for _, g := range s.generations() {
			if !g.welcomed.IsZero() && !g.ended {
				connections++
			}
		}
		if s.current != nil && !s.current.ended {
			joined += s.current.joined
		}
	}
	r.metrics.connections.Add(float64(connections - r.shown.connections))
	r.metrics.joined.Add(float64(joined - r.shown.joined))
	r.shown.connections, r.shown.joined = connections, joined
}

// Cut is what was covered since the last Cut, and not after now. A span ends at the last line
// received whose sink call has returned; a channel is in a span only if its JOIN was echoed before
// it began. The spans of a connection follow each other without a hole. One that could still grow
// is held back until it has a second.
func (r *Reader) Cut(now time.Time) []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.ended
	r.ended = nil
	for _, s := range r.slots {
		for _, g := range s.generations() {
			out = g.line.cut(g.name, now, false, out)
		}
	}
	return out
}

// Rejoin reads a channel anew over another connection: one that has room, else a new one. The channel
// is joined there, within that connection's share of JOINs, before it is left where it was. It
// reports whether that was begun: not for a channel that is not being read, or that is moving already.
func (r *Reader) Rejoin(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var w *want
	for _, candidate := range r.wants {
		if candidate.channel.ID == id {
			w = candidate
		}
	}
	if w == nil || !w.slot.reads(w.channel.Login) {
		return false
	}
	from := w.slot
	var to *slot
	for _, s := range r.slots {
		if s != from && len(s.wants) < r.budget.PerConnection && (to == nil || len(s.wants) < len(to.wants)) {
			to = s
		}
	}
	if to == nil {
		number := 1
		for slices.ContainsFunc(r.slots, func(s *slot) bool { return s.number == number }) {
			number++
		}
		to = &slot{number: number}
		r.slots = append(r.slots, to)
		slices.SortFunc(r.slots, func(a, b *slot) int { return a.number - b.number })
	}
	from.wants = slices.DeleteFunc(from.wants, func(other *want) bool { return other == w })
	w.slot, to.wants = to, append(to.wants, w)
	slices.SortFunc(to.wants, byOrder)
	r.touch()
	for _, s := range []*slot{from, to} {
		for _, g := range s.generations() {
			g.touch()
		}
	}
	return true
}

// Replace opens a new connection in the place of one, by its name; the old one is left when the new
// one has its channels, as after a RECONNECT. It reports whether that was begun: not for a connection
// that is gone, or is being replaced already.
func (r *Reader) Replace(connection string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if g := s.current; g != nil && g.name == connection && !g.welcomed.IsZero() && !g.reconnect && !g.ended && !g.isClosing() {
			g.reconnect, g.replaced = true, true
			r.touch()
			return true
		}
	}
	return false
}

// Homes are the names of the connections that channels are read over, by the channels' ids.
func (r *Reader) Homes() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	homes := make(map[string]string, len(r.wants))
	for login, w := range r.wants {
		if w.channel.ID != "" && w.slot.reads(login) {
			homes[w.channel.ID] = w.slot.current.name
		}
	}
	return homes
}

// Joined are the sorted ids of the channels that are being read: their JOIN was echoed.
func (r *Reader) Joined() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, s := range r.slots {
		for _, g := range s.generations() {
			if !g.ended {
				ids = g.appendIDs(ids)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Connections are the connections as they stand, those that are being dialled and those that wait
// for it among them. LastLine is by the machine's clock.
func (r *Reader) Connections() []control.Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]control.Connection, 0, len(r.slots))
	for _, s := range r.slots {
		for _, g := range s.generations() {
			out = append(out, g.status())
		}
		if s.current == nil && len(s.wants) > 0 {
			name := (&slot{number: s.number, generation: s.generation + 1}).name(r.cfg.Collector)
			out = append(out, control.Connection{Name: name, State: stateConnecting, Channels: len(s.wants)})
		}
	}
	return out
}

// The conditions of chat.
const (
	conditionUnanswered = "join-unanswered"
	conditionSilent     = "connection-silent"
	conditionFailing    = "connect-failing"
	conditionRoom       = "room-id-mismatch"
	conditionLogin      = "login-invalid"
)

// toldSilent is how long it is told at least that a connection fell silent.
const toldSilent = time.Minute

// Conditions is what is wrong now: channels that don't answer (join-unanswered), are another one
// than was thought (room-id-mismatch) or can't exist (login-invalid), and connections that fell
// silent (connection-silent) or can't be had (connect-failing) and have not been replaced yet. That one
// fell silent is told for a minute at least: it is replaced sooner than anybody would see it.
func (r *Reader) Conditions() []control.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []control.Condition
	for _, s := range r.slots {
		if s.failure == nil {
			if !s.fellSilent.IsZero() && time.Since(s.fellSilent) < toldSilent {
				out = append(out, control.Condition{
					Name: conditionSilent, Subject: fmt.Sprintf("%s-%d", r.cfg.Collector, s.number), Since: s.fellSilent,
					Detail: fmt.Sprintf("nothing was received over it for %v; it was replaced by itself. Check the network if this comes again.",
						r.cfg.silence()),
				})
			}
			continue
		}
		c := control.Condition{Name: conditionFailing, Subject: fmt.Sprintf("%s-%d", r.cfg.Collector, s.number), Since: s.failing}
		if errors.Is(s.failure, errSilent) {
			c.Name = conditionSilent
		} else if s.failures < 2 {
			continue // it happens
		}
		c.Detail = fmt.Sprintf("%d failures in a row, the last: %v; %d channels are not read over it. "+
			"Check the network and the chat address; it is dialled again by itself.", s.failures, s.failure, len(s.wants))
		out = append(out, c)
	}
	for _, w := range r.sorted() {
		if w.tries >= r.cfg.JoinTries {
			reason := ""
			if w.refusal != "" {
				reason = fmt.Sprintf(" (Twitch says: %s)", w.refusal)
			}
			out = append(out, control.Condition{
				Name: conditionUnanswered, Subject: w.channel.Login, Since: w.since,
				Detail: fmt.Sprintf("%d JOINs without an echo%s. Check that the channel exists under this login; it is tried again by itself.",
					w.tries, reason),
			})
		}
		if w.room != "" {
			out = append(out, control.Condition{
				Name: conditionRoom, Subject: w.channel.Login, Since: w.roomTime,
				Detail: fmt.Sprintf("chat says that this login is Twitch id %s, not %s: the channel was renamed and its login taken by another. "+
					"Look the channel up again.", w.room, w.channel.ID),
			})
		}
	}
	for _, login := range slices.Sorted(maps.Keys(r.invalid)) {
		out = append(out, control.Condition{
			Name: conditionLogin, Subject: login, Since: r.invalid[login],
			Detail: "this can't be a Twitch login (1 to 25 of a-z, 0-9 and _); it is not joined. Correct it in the event's channels.",
		})
	}
	slices.SortStableFunc(out, func(a, b control.Condition) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// Stats is what was read since the start.
func (r *Reader) Stats() Stats {
	return Stats{Lines: r.lines.Load(), Messages: r.messages.Load(), Malformed: r.malformed.Load()}
}

// pace allows at most so many in any window of time. It never sleeps.
type pace struct {
	most   int
	window time.Duration
	recent []time.Time
}

// allowed is how many may go now.
func (p *pace) allowed(now time.Time) int {
	p.recent = slices.DeleteFunc(p.recent, func(t time.Time) bool { return now.Sub(t) >= p.window })
	return max(0, p.most-len(p.recent))
}

// free is when the next may go.
func (p *pace) free(now time.Time) time.Time {
	if p.allowed(now) > 0 {
		return now
	}
	return p.recent[len(p.recent)-p.most].Add(p.window)
}

func (p *pace) take(now time.Time, n int) {
	for range n {
		p.recent = append(p.recent, now)
	}
}
