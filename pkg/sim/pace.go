package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

const (
	tick = 4 * time.Millisecond
	// maxBatch is how many messages are made before the lock is let go.
	maxBatch = 250
	// drainWithin bounds, in real time, the wait for sockets to take what was sent.
	drainWithin = 5 * time.Second
	// gateAfter is the moment of each replayed minute that waits for the gate.
	gateAfter = 20 * time.Second
)

// delayed is a line held back by the fault of disorder.
type delayed struct {
	due  time.Time // real time
	ch   *channel
	line line
}

// sleep waits for real time; it is false when the context has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// play runs the model's traffic until the context ends. What is due is computed from the clock, not
// from the waits, so the rate does not drift; what the machine was too slow for is made up.
func (s *Sim) play(ctx context.Context) {
	clk := s.cfg.Clock
	s.mu.Lock()
	start := s.start
	s.mu.Unlock()
	for n := int64(0); ; {
		now := clk.Now()
		elapsed := now.Sub(start)
		s.mu.Lock()
		for range maxBatch {
			due := s.model.due(n)
			if due > elapsed || ctx.Err() != nil {
				break
			}
			for s.model.at+modelStep <= due {
				s.model.step(start)
			}
			s.produce(s.model.pick(due), nil, now)
			n++
		}
		next := s.model.due(n) - elapsed
		s.release(time.Now(), false)
		s.kick()
		waiting := len(s.delayed) > 0
		s.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return
		case next <= 0: // behind: at once
		case waiting || next < tick:
			if !sleep(ctx, tick) {
				return
			}
		default:
			if clk.Until(ctx, now.Add(next)) != nil {
				return
			}
		}
	}
}

// replay plays the recorded minutes. Event time is held so that it does not run away from what it
// stamps: it does not pass the 20th second of a minute before the gate has said yes or its time-out
// has passed, and it does not reach the next minute before all of the minute's messages are written
// to the sockets (a client that does not read is waited for drainWithin of real time, once a
// minute). At the end it is let go.
func (s *Sim) replay(ctx context.Context, clk *clock.Scaled) {
	r := s.cfg.Replay
	defer clk.Hold(time.Time{})
	rows := r.Rows
	for minute := r.From; minute.Before(r.From.Add(r.For)); minute = minute.Add(time.Minute) {
		row := Minute{Time: minute, Viewers: NotRecorded, Messages: NotRecorded, Emotes: NotRecorded, Donations: NotRecorded, Cents: NotRecorded}
		if len(rows) > 0 && rows[0].Time.Equal(minute) {
			row, rows = rows[0], rows[1:]
		}
		if !s.replayMinute(ctx, clk, row) {
			return
		}
	}
}

func (s *Sim) replayMinute(ctx context.Context, clk *clock.Scaled, row Minute) bool {
	r := s.cfg.Replay
	gate, end := row.Time.Add(gateAfter), row.Time.Add(time.Minute-time.Millisecond)
	open := r.Gate == nil
	if open {
		clk.Hold(end)
	} else {
		clk.Hold(gate)
	}
	s.mu.Lock()
	for s.model.at+modelStep <= row.Time.Sub(r.From) {
		s.model.step(r.From)
	}
	texts := s.spread(row)
	due := schedule(s.model.rng, row.Time, len(texts))
	s.mu.Unlock()
	var closed time.Time // when the gate was reached
	for sent := 0; ; {
		now := clk.Now()
		s.mu.Lock()
		for range maxBatch {
			if sent == len(due) || due[sent].After(now) || ctx.Err() != nil {
				break
			}
			s.produce(s.model.channels[0], texts[sent], due[sent])
			sent++
		}
		s.release(time.Now(), sent == len(due))
		s.kick()
		s.mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		if !open {
			if closed.IsZero() && !now.Before(gate) {
				closed = time.Now()
			}
			if open = r.Gate(row.Time); !open && !closed.IsZero() && time.Since(closed) >= r.GateTimeout {
				open = true
				s.log.Warn("a replayed minute went on without its gate", "minute", row.Time, "waited", r.GateTimeout)
			}
			if open {
				clk.Hold(end)
			}
		}
		if open && sent == len(due) {
			break
		}
		if sent < len(due) && !due[sent].After(now) {
			continue
		}
		wait := tick
		if open {
			// At high speeds the next message can be nearer, and with few messages far away.
			wait = max(500*time.Microsecond, min(100*time.Millisecond, time.Duration(float64(due[sent].Sub(now))/clk.Speed())))
		}
		if !sleep(ctx, wait) {
			return false
		}
	}
	// The minute may run out, but the next begins when the sockets have taken all of this one.
	if clk.Until(ctx, end) != nil {
		return false
	}
	if err := s.drain(ctx); err != nil {
		if ctx.Err() != nil {
			return false
		}
		s.log.Warn("a replayed minute went on before all was written", "minute", row.Time, "err", err)
	}
	return true
}

// schedule gives n moments of the minute, in order, at random but even distances.
func schedule(rng *rand.Rand, minute time.Time, n int) []time.Time {
	due := make([]time.Time, n)
	width := float64(time.Minute-10*time.Millisecond) / float64(max(n, 1))
	for i := range due {
		at := time.Duration((float64(i) + rng.Float64()) * width)
		due[i] = minute.Add(at.Truncate(time.Millisecond))
	}
	return due
}

// spread chooses the texts of a recorded minute: as many as messages were recorded, with as many
// emotes in all. Where emotes were not recorded they are drawn.
func (s *Sim) spread(row Minute) []*text {
	m := s.model
	if row.Messages <= 0 {
		return nil
	}
	out := make([]*text, row.Messages)
	if row.Emotes == NotRecorded {
		for i := range out {
			out[i] = &s.corpus.texts[m.rng.IntN(len(s.corpus.texts))]
		}
		return out
	}
	uses := make([]int, row.Messages)
	for left := row.Emotes; left > 0; {
		i := m.rng.IntN(len(uses))
		n := 1
		for n < 12 && m.rng.IntN(3) > 0 {
			n++
		}
		n = min(n, left, maxEmotes-uses[i])
		uses[i] += n
		left -= n
	}
	for i, n := range uses {
		out[i] = s.textWith(n)
	}
	return out
}

// textWith is a text with so many emotes: a real one, where there is one, else one made of emotes
// that fit into a message.
func (s *Sim) textWith(uses int) *text {
	m := s.model
	if known := s.corpus.byUses[uses]; len(known) > 0 && (uses < 3 || m.rng.IntN(3) == 0) {
		return &s.corpus.texts[known[m.rng.IntN(len(known))]]
	}
	fitting := s.fitting[:0]
	for _, e := range s.corpus.emotes {
		if (len(e.name)+1)*uses <= 500 {
			fitting = append(fitting, e)
		}
	}
	s.fitting = fitting
	fitting = append(fitting, emote{"425618", "LUL"})
	kinds := min(1+m.rng.IntN(3), uses)
	t := &text{uses: uses, only: true}
	var body strings.Builder
	for k := range kinds {
		e := fitting[m.rng.IntN(len(fitting))]
		n := uses / kinds
		if k == 0 {
			n += uses % kinds
		}
		i := slices.IndexFunc(t.emotes, func(u emoteUses) bool { return u.id == e.id })
		if i < 0 {
			i = len(t.emotes)
			t.emotes = append(t.emotes, emoteUses{id: e.id})
		}
		for range n {
			if body.Len() > 0 {
				body.WriteByte(' ')
			}
			at := body.Len() // names are ASCII: bytes are code points
			body.WriteString(e.name)
			t.emotes[i].at = append(t.emotes[i].at, [2]int{at, at + len(e.name) - 1})
		}
	}
	t.body = body.String()
	return t
}

// send sends a line, or holds it back, or sends it twice, as the faults say. Sim.mu is held.
func (s *Sim) send(ch *channel, l *line) {
	if f := &s.faults; l.message && (f.Disorder > 0 || f.Duplicate > 0) {
		if s.chance.Float64() < f.Disorder {
			held := delayed{due: time.Now().Add(time.Duration(s.chance.Int64N(int64(time.Second)))), ch: ch, line: *l}
			held.line.b = slices.Clone(l.b)
			s.delayed = append(s.delayed, held)
			return
		}
		if s.chance.Float64() < f.Duplicate {
			s.deliver(ch, l, true)
			s.metrics.duplicates.Inc()
			s.deliver(ch, l, false)
			return
		}
	}
	s.deliver(ch, l, true)
}

// release delivers what was held back long enough, or all.
func (s *Sim) release(now time.Time, all bool) {
	kept := s.delayed[:0]
	for i := range s.delayed {
		if d := &s.delayed[i]; all || !d.due.After(now) {
			s.deliver(d.ch, &d.line, true)
		} else {
			kept = append(kept, *d)
		}
	}
	clear(s.delayed[len(kept):])
	s.delayed = kept
}

// deliver queues a line for all that are in the channel, and accounts for it if somebody took it.
func (s *Sim) deliver(ch *channel, l *line, account bool) {
	taken, withheld := false, false
	for _, c := range ch.members {
		if !l.message && !c.commands {
			continue
		}
		if _, muted := c.muted[ch]; muted {
			withheld = true
			continue
		}
		b := l.b
		if !c.wantTags {
			b = b[l.tags:]
		}
		if !c.enqueue(b) {
			continue
		}
		taken = true
		if !c.touched {
			c.touched = true
			s.touched = append(s.touched, c)
		}
	}
	if withheld && !taken && account && l.message {
		s.withheld++
	}
	if !taken || !account {
		return
	}
	counts := s.counts.of(ch, l.entry.SentMS)
	switch {
	case !l.message:
		l.count(counts)
		return
	case l.entry.Shared:
		counts.Copies++
	default:
		counts.Messages++
		counts.Emotes += l.entry.Emotes
		counts.Bits += l.entry.Bits
		if l.entry.Bits > 0 {
			counts.Cheers++
		}
		if l.first {
			counts.First++
		}
		if s.counts.chatter(ch, l.entry.SentMS, l.chatter) {
			counts.Chatters++
		}
	}
	ch.heard = true
	s.sent++
	s.metrics.messages.Inc()
	s.ledger.write(&l.entry)
}

// kick wakes the writers of all that got lines.
func (s *Sim) kick() {
	for i, c := range s.touched {
		c.touched = false
		c.wake.Signal()
		s.touched[i] = nil
	}
	s.touched = s.touched[:0]
}
