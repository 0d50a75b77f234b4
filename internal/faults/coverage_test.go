package faults_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// span is a time that a collector covered, in Unix milliseconds; to is exclusive.
type span struct {
	from, to  int64
	collector string
}

// covers are the spans of each channel, sorted.
type covers map[string][]span

// coverage reads what the collectors say that they have read of chat.
func (s *scenario) coverage() covers {
	s.T.Helper()
	type named struct {
		span
		set string
	}
	var spans []named
	sets := map[string][]string{}
	s.records(record.KindCoverage, func(raw bson.Raw) {
		var c record.Coverage
		if err := record.Decode(raw, &c); err != nil {
			s.T.Fatal(err)
		}
		if c.Source != record.SourceChat {
			return
		}
		if len(c.Channels) > 0 {
			sets[c.Set] = c.Channels
		}
		spans = append(spans, named{span{c.Time.UnixMilli(), c.To.UnixMilli(), c.Collector}, c.Set})
	})
	out := covers{}
	for _, n := range spans {
		if sets[n.set] == nil {
			s.T.Errorf("coverage names a set of channels that no document lists: %s", n.set)
		}
		for _, ch := range sets[n.set] {
			out[ch] = append(out[ch], n.span)
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	}
	return out
}

// within reports whether a moment, give or take some, is covered.
func (c covers) within(channel string, at, slack int64) bool {
	for _, s := range c[channel] {
		if at >= s.from-slack && at < s.to+slack {
			return true
		}
	}
	return false
}

// by names who covered a moment.
func (c covers) by(channel string, at int64) (who []string) {
	for _, s := range c[channel] {
		if at >= s.from && at < s.to && !slices.Contains(who, s.collector) {
			who = append(who, s.collector)
		}
	}
	return who
}

// ended is how far a collector had covered a channel before a moment, first when another, or the
// same again, began to after it; 0 where there is none.
func (c covers) around(channel, collector string, at int64) (ended, first int64) {
	for _, s := range c[channel] {
		if s.collector == collector && s.from < at {
			ended = max(ended, s.to)
		}
	}
	for _, s := range c[channel] {
		if s.from >= ended && (first == 0 || s.from < first) && s.to > at {
			first = s.from
		}
	}
	return ended, first
}

// ledger reads the simulator's, less what is not wanted.
func (s *scenario) ledger(want func(sim.Entry) bool) iter.Seq2[sim.Entry, error] {
	return s.book(sim.ReadLedger, want)
}

func (s *scenario) book(read func(io.Reader) iter.Seq2[sim.Entry, error], want func(sim.Entry) bool) iter.Seq2[sim.Entry, error] {
	return func(yield func(sim.Entry, error) bool) {
		f, err := os.Open(s.Sim.Ledger)
		if err != nil {
			yield(sim.Entry{}, err)
			return
		}
		defer func() { _ = f.Close() }() // only read
		for e, err := range read(f) {
			if err == nil && want != nil && !want(e) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// slackMS is how much coverage and ledger may be apart.
const slackMS = 1000

// onlyGapsLost ends the scenario and wants that what is missing, what nobody heard included, is exactly what
// the coverage says is missing, to the second; that everything else is stored once; and that every closed minute counts
// exactly what is stored and calls itself partial where something is missing.
func (s *scenario) onlyGapsLost() {
	s.T.Helper()
	s.end()
	all := s.verify()
	have, cover := s.stored(), s.coverage()

	missing := map[string]map[int64]int{} // by channel and minute
	claimed, hidden, total, unheard := 0, 0, 0, 0
	from, to := int64(0), int64(0)
	miss := func(e sim.Entry, how string) {
		if missing[e.Room] == nil {
			missing[e.Room] = map[int64]int{}
		}
		missing[e.Room][e.SentMS/60000*60]++
		if from == 0 || e.SentMS < from {
			from = e.SentMS
		}
		to = max(to, e.SentMS)
		// Coverage that ends at a message ends a millisecond after it.
		if cover.within(e.Room, e.SentMS, 0) && cover.within(e.Room, e.SentMS-slackMS, 0) && cover.within(e.Room, e.SentMS+slackMS, 0) {
			if hidden++; hidden <= 5 {
				s.T.Errorf("a message of %s at %s that %s lies within what %v claim to have read", e.Channel, clockOf(e.SentMS), how, cover.by(e.Room, e.SentMS))
			}
		}
	}
	for e, err := range s.ledger(nil) {
		if err != nil {
			s.T.Fatal(err)
		}
		if _, ok := have[e.ID]; ok {
			if !cover.within(e.Room, e.SentMS, slackMS) {
				if claimed++; claimed <= 5 {
					s.T.Errorf("a stored message of %s at %s lies more than a second outside of any coverage", e.Channel, clockOf(e.SentMS))
				}
			}
			continue
		}
		total++
		miss(e, "was lost")
	}
	for e, err := range s.book(sim.ReadUnheard, nil) {
		if err != nil {
			s.T.Fatal(err)
		}
		unheard++
		miss(e, "nobody heard")
	}
	if all.Duplicates != 0 || all.Unexpected != 0 || all.MinutesOpen != 0 || all.Outside != 0 {
		s.T.Errorf("not what was sent: %+v", all)
	}
	for err := range s.judgeStored(have) {
		s.T.Error(err)
	}
	wrong := 0
	s.minutes(func(d record.Statistics) {
		if missing[d.Channel][d.Time.Unix()] > 0 && d.Coverage.Chat == record.Complete {
			wrong++
		}
	})
	if wrong > 0 {
		s.T.Errorf("%d closed minutes call themselves complete and miss messages", wrong)
	}
	if total+unheard > 0 {
		s.measure("%d lost and %d that nobody heard, all between %s and %s, none inside of coverage", total, unheard, clockOf(from), clockOf(to))
	}
	s.unheard = unheard
	s.Sound()
}

// judgeStored verifies against the part of the ledger that is stored: nothing else may be counted.
func (s *scenario) judgeStored(have map[string]int64) iter.Seq[error] {
	return func(yield func(error) bool) {
		var r verify.Result
		err := s.Look(func(db store.Store) (err error) {
			r, err = verify.Run(s.T.Context(), db, event, s.ledger(func(e sim.Entry) bool { _, ok := have[e.ID]; return ok }))
			return err
		})
		if err == nil && (r.Lost != 0 || r.MinutesDiffering != 0 || r.RollupMessages != r.Stored) {
			err = errors.New("the closed minutes don't count what is stored: " + strings.Join(r.Examples, "; "))
		}
		if err != nil {
			yield(err)
		}
	}
}

func clockOf(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05.000") }

// handovers are how long each channel of a collector was covered by nobody after it was killed at a
// moment, by channel.
func (s *scenario) handovers(collector string, killed time.Time) map[string]time.Duration {
	s.T.Helper()
	out := map[string]time.Duration{}
	cover := s.coverage()
	for ch := range cover {
		ended, first := cover.around(ch, collector, killed.UnixMilli())
		if ended == 0 || ended < killed.Add(-15*time.Second).UnixMilli() {
			continue // it did not read this one
		}
		if first == 0 {
			s.T.Errorf("nobody took over channel %s of %s", ch, collector)
			continue
		}
		out[ch] = time.Duration(max(0, first-ended)) * time.Millisecond
	}
	if len(out) == 0 {
		s.T.Errorf("%s covered nothing before it was killed", collector)
	}
	return out
}

// weights are how many messages each channel was sent, by id.
func (s *scenario) weights() map[string]int {
	s.T.Helper()
	n := map[string]int{}
	for e, err := range s.ledger(nil) {
		if err != nil {
			s.T.Fatal(fmt.Errorf("read the ledger: %w", err))
		}
		n[e.Room]++
	}
	return n
}
