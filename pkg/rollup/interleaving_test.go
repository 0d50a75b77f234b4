package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	testGrace = 20 * time.Second
	testSkew  = 5 * time.Second
)

var errDead = errors.New("the process is dead")

// actor is a process that does one step of its program whenever the schedule says so.
type actor struct {
	waiting chan bool  // true at a step, false when its program has ended
	grant   chan error // nil lets it do the step, else it dies
	dead    error
	ended   bool
	offset  time.Duration // of its clock
}

func (a *actor) gate() error {
	if a.dead != nil {
		return a.dead
	}
	a.waiting <- true
	a.dead = <-a.grant
	return a.dead
}

// world is all actors, the queue and the clock. Everything is run by one goroutine at a time.
type world struct {
	t      *rapid.T
	store  *memory
	wg     sync.WaitGroup
	actors []*actor
	now    time.Time
	event  record.Event
	epoch  int64
	nonce  int

	feed      [][]record.Record // what the live feed may bring
	queue     [][]record.Record // waiting batches
	unacked   int
	consumers int
	leaders   int
}

// spawn starts a process and runs it up to its first step.
func (w *world) spawn(program func(a *actor)) {
	a := &actor{waiting: make(chan bool), grant: make(chan error)}
	a.offset = time.Duration(rapid.IntRange(-2400, 2400).Draw(w.t, "clock")) * time.Millisecond
	w.actors = append(w.actors, a)
	w.wg.Go(func() {
		program(a)
		a.dead = errDead
		a.waiting <- false
	})
	w.settle(a)
}

func (w *world) settle(a *actor) {
	if !<-a.waiting {
		a.ended = true
		for i := range w.actors {
			if w.actors[i] == a {
				w.actors = append(w.actors[:i], w.actors[i+1:]...)
				break
			}
		}
	}
}

// step lets an actor do one step, or kills it.
func (w *world) step(a *actor, err error) {
	a.grant <- err
	w.settle(a)
	for err != nil && !a.ended {
		a.grant <- err
		w.settle(a)
	}
}

func (w *world) view(a *actor) *view { return &view{memory: w.store, gate: a.gate} }

// consume is what a consumer does, to the letter of its contract.
func (w *world) consume(a *actor) {
	w.consumers++
	defer func() { w.consumers-- }()
	s := w.view(a)
	for {
		if a.gate() != nil {
			return
		}
		if len(w.queue) == 0 {
			continue
		}
		i := w.nonce % len(w.queue)
		w.nonce++
		batch := w.queue[i]
		w.queue = append(w.queue[:i], w.queue[i+1:]...)
		w.unacked++
		if !w.consumeOne(a, s, batch) {
			w.queue = append(w.queue, batch) // delivered again
			w.unacked--
			return
		}
		w.unacked--
	}
}

func (w *world) consumeOne(a *actor, s *view, batch []record.Record) bool {
	if _, err := s.Insert(context.Background(), batch); err != nil {
		return false
	}
	now := w.now.Add(a.offset) // judged after the insert
	for _, r := range batch {
		if now.Add(testSkew).Before(record.Minute(r.Time).Add(time.Minute + testGrace)) {
			continue
		}
		w.nonce++
		m := record.NewMark(r.Event, r.Time, strconv.Itoa(w.nonce))
		raw, err := bson.Marshal(m)
		if err != nil {
			return false
		}
		if s.Put(context.Background(), store.Marks, []store.Doc{{ID: m.ID, Raw: raw}}) != nil {
			return false
		}
	}
	return a.gate() == nil // the acknowledgement
}

// lead is a term of a rollup, which does not know when it is over.
func (w *world) lead(a *actor) {
	w.leaders++
	defer func() { w.leaders-- }()
	w.epoch++
	metrics, err := newMetrics(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	now := func() time.Time { return w.now.Add(a.offset) }
	c := &closer{
		store: w.view(a), grace: testGrace, epoch: w.epoch, now: now, metrics: metrics,
		log: slog.New(slog.DiscardHandler), event: w.event,
	}
	l := newLive(now, metrics)
	heard := len(w.feed)
	for a.dead == nil {
		if _, err := c.step(context.Background()); errors.Is(err, store.ErrFenced) {
			return
		} else if err != nil {
			continue
		}
		if l.follow(c.event, c.end(), c.progress.ClosedThrough) {
			if l.catchUp(context.Background(), c.store, c) != nil {
				l.forget(c.event.Slug)
				continue
			}
		}
		for ; heard < len(w.feed); heard++ {
			l.add(w.feed[heard])
		}
		if errors.Is(l.writeOpen(context.Background(), c.store, c), store.ErrFenced) {
			return
		}
	}
}

// batches draws the records of a few minutes around the end of an hour, in batches.
func batches(t *rapid.T, from time.Time) [][]record.Record {
	var out [][]record.Record
	for i := range rapid.IntRange(1, 14).Draw(t, "batches") {
		var batch []record.Record
		at := from.Add(time.Duration(rapid.IntRange(0, 330).Draw(t, "second")) * time.Second)
		for j := range rapid.IntRange(1, 3).Draw(t, "records") {
			h := record.Header{Event: "e", Channel: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "channel"), Time: at}
			var d record.Document = &record.Message{
				Header: h, MessageID: fmt.Sprint(i, "-", j), Chatter: strconv.Itoa(j),
				Emotes: []record.Emote{{ID: strconv.Itoa(j), Name: "E", Count: 1}},
			}
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				d = &record.Viewers{Header: h, Source: record.SourceHelix, Live: true, Viewers: at.Second()}
			case 1:
				h.Channel = ""
				set := []string{"1", "2"}
				d = &record.Coverage{
					Header: h, Source: record.SourceChat, To: record.Minute(at).Add(time.Minute), Collector: "c",
					Connection: fmt.Sprint(i, j), Set: record.ChannelSet(set), Channels: set,
				}
			}
			r, err := record.Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, r)
		}
		out = append(out, batch)
		if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			out = append(out, batch) // a publisher's resend
		}
	}
	return out
}

// TestAnyInterleavingEndsExact drives consumers and leaders, some of them stale, step by step in a
// random order with crashes of each, while their clocks differ and go on. In the end the documents
// are those that one undisturbed rollup would have written, and a plain count agrees.
func TestAnyInterleavingEndsExact(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 9, 4, 18, 57, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, store: newMemory(), now: from, event: record.Event{
			Slug: "e", Start: from.Add(10 * time.Second), End: from.Add(5*time.Minute + 20*time.Second),
		}}
		defer w.wg.Wait()
		defer func() {
			for len(w.actors) > 0 {
				w.step(w.actors[0], errDead)
			}
		}()
		w.queue = batches(t, from)
		all := append([][]record.Record(nil), w.queue...)
		w.spawn(w.consume)
		w.spawn(w.consume)
		w.spawn(w.lead)
		for range rapid.IntRange(0, 60).Draw(t, "turns") {
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0, 1:
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 45).Draw(t, "seconds")) * time.Second)
			case 2:
				w.feed = append(w.feed, all[rapid.IntRange(0, len(all)-1).Draw(t, "heard")])
			case 3: // a crash
				if len(w.actors) > 0 {
					w.step(w.actors[rapid.IntRange(0, len(w.actors)-1).Draw(t, "who")], errDead)
				}
			case 4: // another leader; those before don't know
				if w.leaders < 3 {
					w.spawn(w.lead)
				}
			case 5:
				if w.consumers < 3 {
					w.spawn(w.consume)
				}
			default:
				if len(w.actors) == 0 {
					continue
				}
				a := w.actors[rapid.IntRange(0, len(w.actors)-1).Draw(t, "who")]
				for range rapid.IntRange(1, 60).Draw(t, "steps") {
					if !a.ended {
						w.step(a, nil)
					}
				}
			}
		}
		// The last leader goes on, and the stale ones beside it; everything gets stored.
		w.spawn(w.lead)
		w.spawn(w.consume)
		w.now = from.Add(time.Hour)
		for round := 0; ; round++ {
			if round > 100_000 {
				t.Fatalf("does not settle: %d batches left, %d marks", len(w.queue), len(w.store.docs[store.Marks]))
			}
			for _, a := range append([]*actor(nil), w.actors...) {
				w.step(a, nil)
			}
			if len(w.queue) > 0 || w.unacked > 0 || round%200 > 0 {
				continue
			}
			ok, err := Settled(t.Context(), &view{memory: w.store}, "e", from.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if ok && w.closedBy(t) == w.epoch {
				break
			}
		}
		w.compare(t, all)
	})
}

// closedBy is the epoch of the progress document.
func (w *world) closedBy(t *rapid.T) int64 {
	var p record.Progress
	if err := bson.Unmarshal(w.store.docs[store.Progress]["e"], &p); err != nil {
		t.Fatal(err)
	}
	return p.Epoch
}

func (w *world) compare(t *rapid.T, all [][]record.Record) {
	// A rollup that finds everything stored, and nothing else.
	clean := newMemory()
	s := &view{memory: clean}
	for _, batch := range all {
		if _, err := s.Insert(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	metrics, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &closer{
		store: s, grace: testGrace, epoch: 1, now: func() time.Time { return w.now }, metrics: metrics,
		log: slog.New(slog.DiscardHandler), event: w.event,
	}
	for more := true; more; {
		if more, err = c.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, coll := range []store.Collection{store.Minutes, store.Hours, store.Totals} {
		want, err := clean.statistics(coll)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.store.statistics(coll)
		if err != nil {
			t.Fatal(err)
		}
		for id, d := range got {
			if d.State != record.StateClosed {
				t.Fatalf("%s %s is still open", coll, id)
			}
			if !reflect.DeepEqual(d, want[id]) {
				t.Fatalf("%s %s\n got %+v\nwant %+v", coll, id, d, want[id])
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d documents, want %d", coll, len(got), len(want))
		}
	}
	// The plainest count.
	messages := map[string]int64{}
	ids := map[string]bool{}
	for _, batch := range all {
		for _, r := range batch {
			if ids[r.ID] || r.Kind != record.KindMessage || r.Time.Before(w.event.Start) || !r.Time.Before(w.event.End) {
				continue
			}
			ids[r.ID] = true
			for _, c := range []string{r.Channel, record.AllChannels} {
				messages[record.StatisticsID("e", c, record.Minute(r.Time))]++
				messages[record.StatisticsID("e", c, r.Time.Truncate(time.Hour))+"h"]++
				messages[record.StatisticsID("e", c, time.Time{})]++
			}
		}
	}
	for coll, suffix := range map[store.Collection]string{store.Minutes: "", store.Hours: "h", store.Totals: ""} {
		got, err := w.store.statistics(coll)
		if err != nil {
			t.Fatal(err)
		}
		for id, d := range got {
			if d.Messages != messages[id+suffix] {
				t.Fatalf("%s %s: %d messages, want %d", coll, id, d.Messages, messages[id+suffix])
			}
			delete(messages, id+suffix)
		}
	}
	for id, n := range messages {
		t.Fatalf("no document %s, want %d messages", id, n)
	}
}
