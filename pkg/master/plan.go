package master

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
)

const (
	// rebalanceSkew is how far above the mean a load must be for rebalanceAfter before channels
	// are moved because of rates alone. It is well above maxSkew, so that moving ends it.
	rebalanceSkew = 0.3
	// rateHalfLife is how long it takes for half of a change of a channel's rate to show in its
	// weight.
	rateHalfLife = 3 * time.Minute
	// forgetAfter is how old a heartbeat may be, by the wall clock, for a new leader to count its
	// collector among those that could have fallen silent together.
	forgetAfter = 10 * time.Minute
	// settleMost bounds the wait for new collectors, in units of Settle.
	settleMost = 5
	// handoverPatience is how long a collector that is full may keep channels for others while it
	// can't take its own.
	handoverPatience = time.Minute
)

// planConfig is what a planner goes by, all of it from Config.
type planConfig struct {
	timeout, settle, rebalanceAfter time.Duration
	budget                          control.Budget
}

// wanted is all that is to be read now.
type wanted struct {
	events   map[string]wantedEvent // by slug
	late     map[string]wantedEvent // by slug: those that ended lately, for who polls charity sources
	channels []control.AssignedChannel
	replicas map[ChannelID]int
}

type wantedEvent struct {
	control.AssignedEvent
	// public stands for what is dealt but not stored, the event's public list and who is excluded:
	// it changes when they do.
	public string
}

// plan is what a step has found.
type plan struct {
	// writes are the assignments that have changed. Their Epoch is not set.
	writes     []control.Assignment
	unassigned []ChannelID
	conditions []control.Condition
	moves      int
	// alive and silent count the collectors.
	alive, silent int
}

// planner turns heartbeats and wishes into assignments, one step after another, during one term of
// a leader. It reads no clock and does no input or output: the time is an argument, and it judges
// collectors by when it has seen their beats change, never by what they say of the time.
//
//	                    beat changes
//	         ┌────────────────────────────────┐
//	         ▼                                │
//	     ┌───────┐ no beat for timeout    ┌────────┐ few enough are   ┌──────┐
//	────►│ alive │───────────────────────►│ silent │─────────────────►│ gone │
//	     └───────┘                        └────────┘ silent: its      └──────┘
//	         ▲                                       channels go          │
//	         └────────────────────────────────────────────────────────────┘
//	                    beat changes
//
// A silent collector keeps its channels while too many are silent. One that is gone and then comes
// back is treated as new.
type planner struct {
	cfg   planConfig
	began time.Time
	last  time.Time // of the last step

	collectors map[string]*heard
	docs       map[string]control.Assignment // as written last
	publics    map[string]map[string]string  // collector to event to wantedEvent.public, as written last
	target     Assignment
	rates      map[ChannelID]*rate
	planned    map[string]bool // who took part in the last plan

	settling  time.Time // since when plans wait for new collectors; zero when they don't
	massive   time.Time // when most were silent last
	skewSince time.Time
	crowded   map[string]time.Time // collector to since when it is too full for its own channels
}

// heard is a collector as its heartbeats tell.
type heard struct {
	name, node, run string
	capacity        int
	leaving         bool
	charity         bool
	joined          map[ChannelID]bool
	rates           map[ChannelID]float64

	beat   int64
	seen   time.Time // when the beat changed last
	first  time.Time // when it appeared or came back
	beaten bool      // the beat has changed under our eyes
	gone   bool
}

// newPlanner begins a term with the assignments as the last leader left them.
func newPlanner(cfg planConfig, now time.Time, docs []control.Assignment) *planner {
	p := &planner{
		cfg: cfg, began: now, last: now,
		collectors: make(map[string]*heard), docs: make(map[string]control.Assignment),
		publics: make(map[string]map[string]string), target: make(Assignment),
		rates: make(map[ChannelID]*rate), planned: make(map[string]bool), crowded: make(map[string]time.Time),
	}
	for _, d := range docs {
		p.docs[d.Collector] = d
		if len(d.Channels) > 0 {
			p.planned[d.Collector] = true
		}
		for _, c := range d.Channels {
			p.target[c.Channel] = append(p.target[c.Channel], d.Collector)
		}
	}
	return p
}

// step looks at the members, and once it may judge them, plans. Members are those of the role
// collector.
func (p *planner) step(now time.Time, members []control.Member, want wanted) plan {
	p.hear(now, members)
	var out plan
	if now.Sub(p.began) < p.cfg.timeout {
		for _, h := range p.collectors {
			if h.beaten {
				out.alive++
			}
		}
		p.wait(want, &out)
		return out
	}

	alive, held, gone := p.judge(now, &out)
	if !p.settled(now, alive, gone) {
		p.wait(want, &out)
		return out
	}
	p.assign(now, alive, held, gone, want, &out)
	p.write(now, slices.Concat(alive, held), want, &out)
	out.unassigned = slices.DeleteFunc(out.unassigned, p.readOn)
	p.report(want, &out)
	return out
}

// wait is a step without a plan.
func (p *planner) wait(want wanted, out *plan) {
	for _, id := range want.ids() {
		if len(p.target[id]) == 0 {
			out.unassigned = append(out.unassigned, id)
		}
	}
}

// hear takes in what the heartbeats say.
func (p *planner) hear(now time.Time, members []control.Member) {
	// Time in which this leader was blind, because the store was away or its process stood still,
	// is nobody's silence.
	if blind := now.Sub(p.last); blind > p.cfg.timeout/2 {
		for _, h := range p.collectors {
			h.seen = h.seen.Add(blind)
		}
	}
	start := now.Equal(p.began) || len(p.collectors) == 0 && now.Sub(p.began) < p.cfg.timeout
	p.last = now
	present := make(map[string]bool, len(members))
	for _, m := range members {
		if m.Collector == nil {
			continue
		}
		present[m.Name] = true
		h := p.collectors[m.Name]
		switch {
		case h == nil:
			h = &heard{name: m.Name, seen: now, first: now, beaten: !start}
			if start {
				// It was there before this term. It takes part from the beginning if it beats.
				h.first = p.began
				if len(p.docs[m.Name].Channels) == 0 || time.Since(m.Seen) > forgetAfter {
					h.gone = true
				}
			}
			p.collectors[m.Name] = h
		case h.beat == m.Beat && h.run == m.Run:
			continue
		default:
			if h.gone && now.Sub(p.began) >= p.cfg.timeout {
				h.first = now
			}
			h.seen, h.beaten, h.gone = now, true, false
		}
		h.beat, h.run, h.node = m.Beat, m.Run, m.Node
		h.capacity, h.leaving, h.rates = m.Collector.Capacity, m.Collector.Leaving, m.Collector.Status.Rates
		h.charity = m.Collector.Charity
		h.joined = make(map[ChannelID]bool, len(m.Collector.Joined))
		for _, id := range m.Collector.Joined {
			h.joined[id] = true
		}
	}
	for name := range p.collectors {
		if !present[name] {
			delete(p.collectors, name) // forgotten by an operator
		}
	}
	// Who left an assignment but no member document can't be heard; it counts as forgotten.
}

// judge says which collectors are alive, whose channels are held although they are silent, and
// whether some have just gone.
func (p *planner) judge(now time.Time, out *plan) (alive, held []*heard, gone bool) {
	var silent []*heard
	late := 0
	for _, name := range slices.Sorted(maps.Keys(p.collectors)) {
		h := p.collectors[name]
		quiet := now.Sub(h.seen)
		switch {
		case h.gone:
			continue
		case quiet >= p.cfg.timeout:
			silent = append(silent, h)
		default:
			alive = append(alive, h)
			if quiet >= p.cfg.timeout/2 {
				late++
			}
		}
	}
	known := len(alive) + len(silent)
	out.alive, out.silent = len(alive), len(silent)
	if len(silent) == 0 {
		return alive, nil, false
	}
	mass := known >= 2 && 2*len(silent) > known
	if mass {
		out.conditions = append(out.conditions, control.Condition{
			Name: "mass-silence",
			Detail: fmt.Sprintf("%d of %d collectors (%s) fell silent together, so nothing is moved: the fault is likely between them and the masters or the store. "+
				"If they won't come back, forget them and their channels go to others.", len(silent), known, names(silent)),
		})
	}
	if mass {
		p.massive = now
	}
	// When they fall silent one after the other within a timeout, the first must not be judged
	// alone; nor the last when they come back one after the other.
	if mass || (known >= 2 && 2*(len(silent)+late) > known) ||
		(!p.massive.IsZero() && now.Sub(p.massive) < p.cfg.timeout) {
		return alive, silent, false
	}
	for _, h := range silent {
		h.gone = true
	}
	return alive, nil, true
}

func names(list []*heard) string {
	const most = 10
	var b strings.Builder
	for i, h := range list {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(list)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(h.name)
	}
	return b.String()
}

// settled says whether to plan now, or to wait for more collectors because some are new.
func (p *planner) settled(now time.Time, alive []*heard, gone bool) bool {
	if p.cfg.settle <= 0 || gone {
		p.settling = time.Time{}
		return true
	}
	for _, h := range alive {
		if !p.planned[h.name] && now.Sub(h.first) < p.cfg.settle {
			if p.settling.IsZero() {
				p.settling = now
			}
			return now.Sub(p.settling) >= settleMost*p.cfg.settle
		}
	}
	p.settling = time.Time{}
	return true
}

// assign computes the target: who is to read what in the end.
func (p *planner) assign(now time.Time, alive, held []*heard, gone bool, want wanted, out *plan) {
	channels := p.weigh(now, alive, want)
	var collectors []Collector
	rebalance := false
	planned := make(map[string]bool)
	for _, h := range alive {
		c := Collector{Name: h.name, Node: h.node, Capacity: h.capacity}
		if h.leaving {
			c.Capacity = 0
		} else {
			planned[h.name] = true
			rebalance = rebalance || !p.planned[h.name] && h.capacity > 0
		}
		collectors = append(collectors, c)
	}
	previous := p.previous(want)
	for _, h := range held {
		// It keeps what it has and gets nothing more.
		n := 0
		for _, on := range previous {
			if slices.Contains(on, h.name) {
				n++
			}
		}
		collectors = append(collectors, Collector{Name: h.name, Node: h.node, Capacity: n})
		planned[h.name] = true
		rebalance = false
	}
	if len(held) > 0 {
		// Those who appear while nothing is moved get their share later.
		for name := range planned {
			if !p.planned[name] {
				delete(planned, name)
			}
		}
	}
	// Channels that nobody can take now, because nobody is there, stay where they were.
	next, unassigned := assign(channels, collectors, previous, rebalance)
	if !rebalance && len(held) == 0 && !gone {
		next, unassigned = p.even(now, channels, collectors, next, unassigned)
	}
	for id, on := range next {
		added, removed := 0, 0
		for _, name := range on {
			if !slices.Contains(previous[id], name) {
				added++
			}
		}
		for _, name := range previous[id] {
			if !slices.Contains(on, name) {
				removed++
			}
		}
		out.moves += min(added, removed)
	}
	if len(collectors) > 0 {
		p.planned = planned
	}
	p.target, out.unassigned = next, unassigned
}

// previous is the last target, and where that has nobody, who holds the channel.
func (p *planner) previous(want wanted) Assignment {
	previous := make(Assignment, len(p.target))
	for _, id := range want.ids() {
		if on := p.target[id]; len(on) > 0 {
			previous[id] = on
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.docs)) {
		for _, c := range p.docs[name].Channels {
			if len(p.target[c.Channel]) == 0 {
				previous[c.Channel] = append(previous[c.Channel], name)
			}
		}
	}
	return previous
}

// even moves channels because of their rates, but only when loads have been far apart for long.
func (p *planner) even(now time.Time, channels []Channel, collectors []Collector, next Assignment, unassigned []ChannelID) (Assignment, []ChannelID) {
	if p.cfg.rebalanceAfter < 0 || !skewed(channels, collectors, next, rebalanceSkew) {
		p.skewSince = time.Time{}
		return next, unassigned
	}
	if p.skewSince.IsZero() {
		p.skewSince = now
	}
	if now.Sub(p.skewSince) < p.cfg.rebalanceAfter {
		return next, unassigned
	}
	// If this helps nothing, because one channel outweighs all, it is tried again as late.
	p.skewSince = time.Time{}
	return assign(channels, collectors, next, true)
}

// rate is a channel's rate, smoothed.
type rate struct {
	value float64
	at    time.Time
}

// weigh takes the rates that collectors tell into the weights.
func (p *planner) weigh(now time.Time, alive []*heard, want wanted) []Channel {
	observed := make(map[ChannelID]float64)
	for _, h := range alive {
		for id := range h.joined {
			observed[id] = max(observed[id], h.rates[id])
		}
	}
	list := make([]Channel, 0, len(want.channels))
	weights := make(map[ChannelID]*rate, len(want.channels))
	for _, c := range want.channels {
		r, known := p.rates[c.Channel]
		now64, seen := observed[c.Channel]
		switch {
		case !known && !seen:
			r = &rate{at: now}
		case !known:
			r = &rate{value: now64, at: now}
		case seen:
			keep := math.Exp2(-now.Sub(r.at).Seconds() / rateHalfLife.Seconds())
			r.value, r.at = r.value*keep+now64*(1-keep), now
		default:
			r.at = now // nobody reads it: what was known stands
		}
		if known || seen {
			weights[c.Channel] = r
		}
		list = append(list, Channel{ID: c.Channel, Weight: r.value, Replicas: want.replicas[c.Channel]})
	}
	p.rates = weights
	return list
}

// write makes the assignments out of the target and what the collectors still hold, and keeps those
// that differ from what was written.
func (p *planner) write(now time.Time, there []*heard, want wanted, out *plan) {
	byName := make(map[string]*heard, len(there))
	working := 0
	for _, h := range there {
		byName[h.name] = h
		if !h.leaving && h.capacity > 0 {
			working++
		}
	}
	budget := p.cfg.budget
	budget.HelixPoints = max(1, budget.HelixPoints/max(working, 1))

	everyone := make(map[string]bool)
	for name := range p.docs {
		everyone[name] = true
	}
	for name := range byName {
		everyone[name] = true
	}
	mine := make(map[string][]control.AssignedChannel)
	for _, name := range slices.Sorted(maps.Keys(everyone)) {
		mine[name] = p.hold(now, name, byName, want)
	}
	for _, name := range slices.Sorted(maps.Keys(everyone)) {
		old, existed := p.docs[name]
		next := control.Assignment{Collector: name, Channels: mine[name], Budget: budget}
		if byName[name] == nil && existed {
			next.Budget = old.Budget // nobody needs a new one
		}
		publics := make(map[string]string)
		for _, c := range next.Channels {
			for _, slug := range c.Events {
				if _, ok := publics[slug]; !ok {
					publics[slug] = want.events[slug].public
				}
			}
		}
		dealt := want.events
		if h := p.collectors[name]; h != nil && h.charity { // one that is gone too: it may come back
			dealt = maps.Clone(want.events)
			maps.Copy(dealt, want.late)
			for slug, e := range dealt {
				publics[slug] = e.public
			}
		}
		for _, slug := range slices.Sorted(maps.Keys(publics)) {
			next.Events = append(next.Events, dealt[slug].AssignedEvent)
		}
		// A new leader doesn't know which lists were served; the new epoch has them served anyway.
		served, known := p.publics[name]
		if existed && same(old, next) && (!known || maps.Equal(served, publics)) {
			p.publics[name] = publics
			continue
		}
		next.Revision = old.Revision + 1
		next.Rev = next.Revision
		out.writes = append(out.writes, next)
		p.docs[name], p.publics[name] = next, publics
	}
}

// hold is what a collector is to read now: its share, and what it reads until those who are to read
// it do so. One that is gone keeps what nobody else can take.
func (p *planner) hold(now time.Time, name string, there map[string]*heard, want wanted) []control.AssignedChannel {
	h := there[name]
	had := make(map[ChannelID]bool)
	for _, c := range p.docs[name].Channels {
		had[c.Channel] = true
	}
	var old, kept, fresh []control.AssignedChannel
	for _, c := range want.channels {
		on := p.target[c.Channel]
		switch {
		case slices.Contains(on, name):
			if had[c.Channel] {
				old = append(old, c)
			} else {
				fresh = append(fresh, c)
			}
		case had[c.Channel] && len(on) == 0:
			kept = append(kept, c)
		case had[c.Channel] && h != nil && h.joined[c.Channel] && !allJoined(on, c.Channel, p.collectors):
			kept = append(kept, c)
		}
	}
	list := slices.Concat(old, kept)
	room := len(fresh)
	if h != nil && !h.leaving {
		room = h.capacity - len(list)
		if room < len(fresh) && len(kept) > 0 {
			if p.crowded[name].IsZero() {
				p.crowded[name] = now
			}
			if now.Sub(p.crowded[name]) >= handoverPatience {
				give := min(len(kept), len(fresh)-room)
				list = slices.Concat(old, kept[:len(kept)-give])
				room += give
			}
		} else {
			delete(p.crowded, name)
		}
	}
	list = append(list, fresh[:min(len(fresh), max(room, 0))]...)
	if h != nil && !h.leaving && len(list) > h.capacity {
		list = list[:max(h.capacity, 0)]
	}
	slices.SortFunc(list, func(a, b control.AssignedChannel) int { return strings.Compare(a.Channel, b.Channel) })
	return list
}

// allJoined reports whether all of them read the channel already.
func allJoined(on []string, id ChannelID, collectors map[string]*heard) bool {
	for _, name := range on {
		if h := collectors[name]; h == nil || !h.joined[id] {
			return false
		}
	}
	return true
}

func same(a, b control.Assignment) bool {
	return a.Budget == b.Budget &&
		slices.EqualFunc(a.Channels, b.Channels, func(x, y control.AssignedChannel) bool {
			return x.Channel == y.Channel && x.Login == y.Login && slices.Equal(x.Events, y.Events)
		}) &&
		slices.EqualFunc(a.Events, b.Events, func(x, y control.AssignedEvent) bool {
			return x.Slug == y.Slug && x.Start.Equal(y.Start) && x.End.Equal(y.End) && x.KeepText == y.KeepText
		})
}

// readOn reports whether a collector that leaves still reads a channel which nobody else can take: it
// does so until somebody can, or until it is gone.
func (p *planner) readOn(id ChannelID) bool {
	for name, h := range p.collectors {
		if h.leaving && !h.gone && h.joined[id] &&
			slices.ContainsFunc(p.docs[name].Channels, func(c control.AssignedChannel) bool { return c.Channel == id }) {
			return true
		}
	}
	return false
}

// room is what to do where collectors lack room.
func (p *planner) room() string {
	for _, h := range p.collectors {
		if h.leaving && !h.gone {
			return "Start another collector, raise their capacity, or take a drain back: tungstene drain NAME --undo."
		}
	}
	return "Start another collector or raise their capacity."
}

// report adds the conditions about channels.
func (p *planner) report(want wanted, out *plan) {
	for _, name := range slices.Sorted(maps.Keys(p.docs)) {
		h := p.collectors[name]
		if n := len(p.docs[name].Channels); n > 0 && h != nil && h.gone {
			out.conditions = append(out.conditions, control.Condition{
				Name: "collector-silent", Subject: name,
				Detail: fmt.Sprintf("No heartbeat for more than %v, and nobody can take %d of its channels. Start it again, or another one.", p.cfg.timeout, n),
			})
		}
	}
	if len(want.events) > 0 {
		for _, name := range slices.Sorted(maps.Keys(p.collectors)) {
			if h := p.collectors[name]; h.charity && h.gone && len(p.docs[name].Channels) == 0 {
				out.conditions = append(out.conditions, control.Condition{
					Name: "collector-silent", Subject: name,
					Detail: fmt.Sprintf("No heartbeat for more than %v, and it polls charity sources: running totals of this time can't be had later. "+
						"Start it again; if another one polls them now, forget it: tungstene collectors forget %s.", p.cfg.timeout, name),
				})
			}
		}
	}
	if len(want.channels) == 0 {
		return
	}
	if out.alive == 0 {
		out.conditions = append(out.conditions, control.Condition{
			Name:   "no-collectors",
			Detail: fmt.Sprintf("%d channels are to be read and no collector is heard. Start collectors, and look at their logs if they run.", len(want.channels)),
		})
		return
	}
	if n := len(out.unassigned); n > 0 {
		out.conditions = append(out.conditions, control.Condition{
			Name:   "channels-unassigned",
			Detail: fmt.Sprintf("%d of %d channels found no collector with room. %s", n, len(want.channels), p.room()),
		})
	}
	lacking := 0
	for _, id := range want.ids() {
		if n := len(p.target[id]); n > 0 && n < want.replicas[id] {
			lacking++
		}
	}
	if lacking > 0 {
		out.conditions = append(out.conditions, control.Condition{
			Name:   "replicas-missing",
			Detail: fmt.Sprintf("%d channels are read by fewer collectors than their event asks for. %s", lacking, p.room()),
		})
	}
}

func (w wanted) ids() []ChannelID {
	ids := make([]ChannelID, len(w.channels))
	for i, c := range w.channels {
		ids[i] = c.Channel
	}
	return ids
}

// unwritten takes back that an assignment was written: the store did not answer, so it may have
// been or not. The next step writes it again, under a revision of its own.
func (p *planner) unwritten(collector string) {
	p.publics[collector] = map[string]string{"": "unwritten"}
}
