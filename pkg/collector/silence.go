package collector

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
)

// The judgement of silence. A channel whose last message is T ago is silent when
//
//   - T is at least silenceLeast, and at its own rate silenceExpected messages were to be expected in T;
//   - and T is silenceGap times the longest gap between two of its messages lately, or silenceMost on
//     a channel of silenceRate or more;
//   - and the rate is known, from silenceKnown of reading and silenceMessages messages.
//
// If messages were independent of each other the first would do: e^-26 is never. They are not: chat
// comes in bursts and rests, so a channel's own gaps speak too.
//
// Measured by TestFalseAlarms. With the gaps of a recorded channel, in their order, stretched to any rate
// from 0.1 to 10 messages a second: at most 2 false alarms in 1,000 hours of a channel, at 0.3 messages a
// second, none at 0.5 and above. Where the rate itself falls from one minute to the next, as it did in a
// recorded week of a marathon (AGDQ), 0 to 17 in 170 hours. What a false alarm costs is a JOIN and a PART;
// the channel is read all the while.
//
// How long it takes until a channel that falls silent is judged so, in 99 of 100 cases: of independent
// messages, within 57 s at 0.5 messages a second. With recorded bursts 131 to 135 s at 0.5, and at most
// 55 s from 0.7 on.
const (
	silenceLeast    = 15 * time.Second
	silenceExpected = 26
	silenceGap      = 3
	silenceRate     = 0.45
	silenceMost     = 55 * time.Second
	silenceKnown    = 2 * time.Minute
	silenceMessages = 30

	// rateSpan is what a channel's own rate is taken over: what is older counts less and less.
	rateSpan = 10 * time.Minute
	// recentSpan is the same for the rate of now.
	recentSpan = time.Minute
	// gapSpan, and as many messages, is how long the longest gap is remembered, to twice as long.
	gapSpan     = 5 * time.Minute
	gapMessages = 500

	// repairEvery is the least time between two repairs of a channel; it doubles while they don't
	// help, up to repairMost.
	repairEvery = 5 * time.Minute
	repairMost  = 80 * time.Minute
	// replaceEvery is the least time between two replacements of connections.
	replaceEvery = 15 * time.Second

	// sweepsTell is how old a sweep may be for a channel to be taken for live by it.
	sweepsTell = 5 * time.Minute
	// asleep is a pause between two looks that is long enough to doubt one's own ears.
	asleep = 5 * time.Second
)

// pulse is how one channel talks.
type pulse struct {
	begun    time.Time
	last     time.Time
	messages int
	rate     decayed
	recent   decayed
	// longest is the longest gap of this span of gapSpan and of the one before, which began at turned.
	longest [2]time.Duration
	turned  time.Time
	turn    int // messages since

	home string // the connection that it is read over

	silent time.Time // since when it is judged silent; zero: it is not
	of     float64   // its rate then
	tries  int       // repairs of this silence
	wait   time.Duration
	next   time.Time // not before this is it repaired again
}

// decayed counts what happened, less and less the longer ago: each weighs e^(-age/span).
type decayed struct {
	n  float64
	at time.Time
}

func (d *decayed) add(now time.Time, span time.Duration) {
	d.n, d.at = d.value(now, span)+1, now
}

func (d *decayed) value(now time.Time, span time.Duration) float64 {
	if d.at.IsZero() {
		return 0
	}
	return d.n * math.Exp(-float64(max(now.Sub(d.at), 0))/float64(span))
}

// perSecond is the rate, of something that has been counted since begun.
func (d *decayed) perSecond(now, begun time.Time, span time.Duration) float64 {
	seen := 1 - math.Exp(-float64(max(now.Sub(begun), time.Second))/float64(span))
	return d.value(now, span) / (span.Seconds() * seen)
}

// beat notes a message.
func (p *pulse) beat(now time.Time) {
	if p.begun.IsZero() {
		p.begun, p.turned = now, now
	} else {
		p.longest[0] = max(p.longest[0], now.Sub(p.last))
	}
	if p.turn++; now.Sub(p.turned) > gapSpan && p.turn > gapMessages {
		p.longest[1], p.longest[0], p.turned, p.turn = p.longest[0], 0, now, 0
	}
	p.last = now
	p.messages++
	p.rate.add(now, rateSpan)
	p.recent.add(now, recentSpan)
}

// forgive begins its silence anew: what lies between was not the channel's doing.
func (p *pulse) forgive(now time.Time) {
	if !p.begun.IsZero() {
		p.last = now
	}
}

// judge reports whether it is silent, and the rate that it had.
func (p *pulse) judge(now time.Time) (silent bool, rate float64) {
	if p.begun.IsZero() || p.messages < silenceMessages || p.last.Sub(p.begun) < silenceKnown {
		return false, 0
	}
	quiet := now.Sub(p.last)
	rate = p.rate.perSecond(p.last, p.begun, rateSpan)
	longest := max(p.longest[0], p.longest[1])
	if quiet < silenceLeast || rate*quiet.Seconds() < silenceExpected {
		return false, rate
	}
	return quiet >= silenceGap*longest || rate >= silenceRate && quiet >= silenceMost, rate
}

// repairs are what can be done about silence; *chat.Reader does it.
type repairs interface {
	Homes() map[string]string
	Rejoin(channel string) bool
	Replace(connection string) bool
}

// listener judges channels by their own rates, and has those that are silent read anew.
//
//	heard ──silent longer than its rate and its gaps explain──► silent ──► rejoined (or, with most of its
//	  ▲                                                           │         connection, replaced)
//	  └───────────────a message, or the channel goes offline──────┘        again after 5 min, 10 min, …
type listener struct {
	reader repairs
	logger *slog.Logger

	mu       sync.Mutex
	pulses   map[string]*pulse
	looked   time.Time
	replaced time.Time
	told     []control.Condition
}

func newListener(reader repairs, logger *slog.Logger) *listener {
	return &listener{reader: reader, logger: logger, pulses: map[string]*pulse{}}
}

// hear notes a message of a channel.
func (l *listener) hear(channel string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pulses[channel]
	if p == nil {
		p = &pulse{}
		l.pulses[channel] = p
	}
	p.beat(now)
	p.silent = time.Time{}
}

// keep forgets channels that are not read any more.
func (l *listener) keep(channels map[string]*plannedChannel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.pulses, func(id string, _ *pulse) bool { return channels[id] == nil })
}

// recent is a channel's messages per second of about the last minute.
func (l *listener) recent(channel string) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pulses[channel]
	if p == nil {
		return 0
	}
	now := time.Now()
	return p.recent.perSecond(now, p.begun, recentSpan)
}

// look judges the channels that are live, by their viewers, and repairs. logins are those of the
// channels that are to be judged at all. deaf says that nothing is read just now for reasons of our
// own. Call it every second.
func (l *listener) look(now time.Time, live map[string]int, logins map[string]string, deaf bool) {
	homes := l.reader.Homes()
	l.mu.Lock()
	defer l.mu.Unlock()
	deaf = deaf || !l.looked.IsZero() && now.Sub(l.looked) > asleep
	l.looked = now
	l.told = nil
	type crowd struct {
		live        int
		silent, due []string
	}
	connections := map[string]*crowd{}
	for _, id := range slices.Sorted(maps.Keys(l.pulses)) {
		p := l.pulses[id]
		if home := homes[id]; deaf || home == "" || home != p.home {
			p.forgive(now)
			p.home = home
		}
		if p.silent.IsZero() {
			if silent, rate := p.judge(now); silent && live[id] > 0 && logins[id] != "" && !deaf {
				if now.After(p.next.Add(p.wait)) {
					p.wait = 0 // what helped last was long ago
				}
				p.silent, p.of, p.tries = now, rate, 0
				l.logger.Warn("a live channel is silent", slog.String("channel", logins[id]),
					slog.Duration("since", now.Sub(p.last)), slog.Float64("rate", rate))
			}
		} else if live[id] == 0 || logins[id] == "" {
			p.silent = time.Time{}
		}
		if home := homes[id]; home != "" && live[id] > 0 && logins[id] != "" {
			c := connections[home]
			if c == nil {
				c = &crowd{}
				connections[home] = c
			}
			c.live++
			if !p.silent.IsZero() {
				c.silent = append(c.silent, id)
				if !now.Before(p.next) {
					c.due = append(c.due, id)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(connections)) {
		c := connections[name]
		switch {
		case len(c.due) == 0 || deaf:
		case len(c.silent) >= 2 && 2*len(c.silent) > c.live:
			if now.Sub(l.replaced) >= replaceEvery && l.reader.Replace(name) {
				l.replaced = now
				l.logger.Warn("most live channels of a chat connection are silent: it is replaced",
					slog.String("connection", name), slog.Int("silent", len(c.silent)), slog.Int("live", c.live))
				for _, id := range c.silent {
					l.pulses[id].repaired(now)
				}
			}
		default:
			for _, id := range c.due {
				if l.reader.Rejoin(id) {
					l.pulses[id].repaired(now)
				}
			}
		}
	}
	for id, p := range l.pulses {
		if p.silent.IsZero() {
			continue
		}
		done := "it is read anew as soon as that can be done again"
		if p.tries > 0 {
			done = fmt.Sprintf("it was read anew over another connection, %d times", p.tries)
		}
		l.told = append(l.told, control.Condition{
			Name: "channel-silent", Subject: logins[id], Since: p.silent,
			Detail: fmt.Sprintf("no message while it is live with %d viewers and had %.2g messages a second; %s. "+
				"Look at its page: if chat goes on there, Twitch does not send it to us", live[id], p.of, done),
		})
	}
	slices.SortFunc(l.told, func(a, b control.Condition) int { return cmp.Compare(a.Subject, b.Subject) })
}

// repaired notes a repair, and when the next may be.
func (p *pulse) repaired(now time.Time) {
	p.tries++
	p.wait = min(max(2*p.wait, repairEvery), repairMost)
	p.next = now.Add(p.wait)
}

// conditions is channel-silent.
func (l *listener) conditions() []control.Condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}
