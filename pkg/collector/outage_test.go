package collector_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/collector"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
)

func condition(c *collector.Collector, t *testing.T, name string) (control.Condition, bool) {
	t.Helper()
	all := c.Status(t.Context()).Conditions
	i := slices.IndexFunc(all, func(c control.Condition) bool { return c.Name == name })
	if i < 0 {
		return control.Condition{}, false
	}
	return all[i], true
}

func (q *target) dropped(t *testing.T) (out []record.Dropped) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	seen := map[string]bool{}
	for _, r := range q.records {
		if r.Kind != record.KindDropped || seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		var d record.Dropped
		if err := record.Decode(r.Doc, &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// faultless has the simulator send every message once and in order.
func (w *world) faultless() {
	w.t.Helper()
	if err := w.sim.SetFaults(sim.Faults{}); err != nil {
		w.t.Fatal(err)
	}
}

// read waits until a collector has read what was sent: its sockets hold much at these rates.
func (w *world) read(c *collector.Collector) {
	w.t.Helper()
	lines, same := int64(-1), 0
	eventually(w.t, "it reads on and on", func() bool {
		if n := c.Status(w.t.Context()).Lines; n != lines {
			lines, same = n, 0
		}
		same++
		return same > 50
	})
}

func dropping(c *collector.Config) {
	c.OutboxFull, c.OutboxBytes, c.WaitingRecords = collector.Drop, 1<<20, 1000
}

// With the policy drop a collector reads on when its outbox is full. What is in the outbox stays;
// what is missing is counted, message by message, and covered by nothing.
func TestDropWhenFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10, 2000)
	w.faultless()
	w.queue.set(true)
	w.edit = dropping
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is dropped", func() bool { return c.Status(t.Context()).Dropped > 2000 })
	if _, ok := condition(c, t, "records-dropped"); !ok {
		t.Error("that records are dropped is not told")
	}
	if full, ok := condition(c, t, "outbox-unwritable"); !ok || !strings.Contains(full.Detail, "of 1 MiB are taken") {
		t.Errorf("%+v", full)
	}
	if got := c.Joined(); got != 10 {
		t.Errorf("%d of 10 channels are read", got)
	}
	w.queue.set(false)
	eventually(t, "no word of what was dropped", func() bool { return len(w.queue.dropped(t)) > 0 })
	want := w.sent()
	w.read(c)
	stop()

	got, messages, records := w.queue.messages(t), 0, 0
	words, full := w.queue.dropped(t), false
	for _, d := range words {
		sum := 0
		for _, ch := range d.Channels {
			sum += ch.Messages
		}
		full = full || d.Reason == record.DroppedFull // a disk that is too slow drops too
		if d.Collector != "c1" || sum != d.Messages || d.Event != "test" {
			t.Errorf("%+v", d)
		}
		messages += d.Messages
		records += d.Records
	}
	if !full {
		t.Errorf("no word names the full outbox: %+v", words)
	}
	if missing := len(want) - len(got); messages != missing || missing == 0 {
		t.Errorf("%d messages are missing, %d are told of in %d words", missing, messages, len(words))
	}
	if s := c.Status(t.Context()); s.Dropped != int64(records) {
		t.Errorf("the status tells of %d records, the words of %d", s.Dropped, records)
	}
	// Whatever is missing was received soon after it was sent: that time is not covered, on any
	// connection.
	const soon = 10 * time.Second
	chains := map[string][]record.Coverage{}
	for _, cov := range w.queue.coverage(t) {
		chains[cov.Connection] = append(chains[cov.Connection], cov)
	}
	for name, chain := range chains {
		slices.SortFunc(chain, func(a, b record.Coverage) int { return a.Time.Compare(b.Time) })
		var pieces []record.Coverage // without holes
		for _, cov := range chain {
			if n := len(pieces); n > 0 && !cov.Time.After(pieces[n-1].To) {
				pieces[n-1].To = cov.To
			} else {
				pieces = append(pieces, cov)
			}
		}
		if len(pieces) < 2 {
			t.Errorf("the coverage of %s has no hole", name)
		}
		for id := range want {
			if got[id] > 0 {
				continue
			}
			at := w.ledger.sent[id]
			if slices.ContainsFunc(pieces, func(p record.Coverage) bool { return !p.Time.After(at) && p.To.After(at.Add(soon)) }) {
				t.Fatalf("%s, sent at %s, is missing, and %s covers that time", id, at, name)
			}
		}
	}
}

// A collector that stops while it drops leaves word of all that it could not keep.
func TestStopWhileDropping(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10, 2000)
	w.faultless()
	w.drain = time.Second
	w.queue.set(true)
	w.edit = dropping
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is dropped", func() bool { return c.Status(t.Context()).Dropped > 500 })
	want := w.sent()
	w.read(c)
	stop()
	w.queue.set(false)
	w.edit = nil
	c, stop = w.start()
	eventually(t, "the outbox is not emptied", func() bool {
		n, err := c.Pending(t.Context())
		return err == nil && n == 0
	})
	stop()
	messages := 0
	for _, d := range w.queue.dropped(t) {
		messages += d.Messages
	}
	if missing := len(want) - len(w.queue.messages(t)); messages != missing || missing == 0 {
		t.Errorf("%d messages are missing, %d are told of", missing, messages)
	}
}

// An outbox whose oldest batch is too old is full, however little is in it; emptied it is not.
func TestOutboxIsBoundInAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, 50)
	w.queue.set(true)
	w.edit = func(c *collector.Config) { c.OutboxAge = time.Second }
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "the age is not told", func() bool {
		full, ok := condition(c, t, "outbox-unwritable")
		return ok && strings.Contains(full.Detail, "collector.outbox_age")
	})
	w.queue.set(false)
	eventually(t, "it stays full", func() bool {
		_, ok := condition(c, t, "outbox-unwritable")
		return !ok
	})
	want := w.sent()
	w.read(c)
	stop()
	w.arrived(want)
}

// A backlog is sent at its pace and in order, and what comes live stands behind it.
func TestDrainIsPacedAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, 1500)
	w.faultless()
	w.queue.set(true)
	w.edit = func(c *collector.Config) { c.DrainRate = 500 << 10 }
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	var backlog int64
	eventually(t, "there is no backlog", func() bool {
		s := c.Status(t.Context())
		backlog = s.OutboxBytes
		return s.OutboxBatches > 0 && time.Since(s.OutboxOldest) > 6*time.Second && backlog > 1<<20
	})
	want := w.sent()
	begun := time.Now()
	w.queue.set(false)
	w.arrived(want)
	// A quarter of a second goes at once, and what is left when the oldest is young.
	if least := time.Duration(float64(backlog-(500<<10)) / (4 * 500 << 10) * float64(time.Second)); time.Since(begun) < least {
		t.Errorf("%d bytes were sent within %v, at least %v was due", backlog, time.Since(begun), least)
	}
	stop()
	last := map[string]time.Time{}
	for _, r := range w.queue.records {
		if r.Kind != record.KindMessage {
			continue
		}
		if r.Time.Before(last[r.Channel]) {
			t.Fatalf("a message of %s arrived after one of %s", r.Time, last[r.Channel])
		}
		last[r.Channel] = r.Time
	}
}

// Of those who are excluded nothing is recorded, and the time is covered all the same.
func TestExcludedAreNotRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, 400)
	w.faultless()
	registry := prometheus.NewRegistry()
	w.edit = func(c *collector.Config) { c.Registerer = registry }
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing arrives", func() bool { return len(w.queue.messages(t)) > 3000 })
	by := map[string]bool{}
	w.queue.mu.Lock()
	for _, r := range w.queue.records {
		if r.Kind == record.KindMessage {
			var m record.Message
			if err := record.Decode(r.Doc, &m); err != nil {
				t.Error(err)
			}
			by[m.Chatter] = true
		}
	}
	w.queue.mu.Unlock()
	var excluded []string
	for chatter := range by {
		excluded = append(excluded, chatter)
	}
	w.master.change(func(m *master) {
		next := *m.assignment
		next.Revision++
		next.Events = slices.Clone(next.Events)
		next.Events[0].Excluded = excluded
		m.assignment = &next
	})
	eventually(t, "the assignment is not in effect", func() bool { return w.master.heartbeat().Revision == 2 })
	from := time.Now()
	excludedNow := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "tungstene_collector_excluded_total" {
				return f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return 0
	}
	eventually(t, "nobody who is excluded talks", func() bool { return excludedNow() > 20 })
	want := w.sent()
	w.read(c)
	stop()
	if missing := len(want) - len(w.queue.messages(t)); missing == 0 || float64(missing) > excludedNow() {
		t.Errorf("%d messages are missing, %v records are of the excluded", missing, excludedNow())
	}
	for _, r := range w.queue.records {
		switch r.Kind {
		case record.KindMessage, record.KindNotice, record.KindModeration:
		default:
			continue
		}
		people := func(p string) bool { return slices.Contains(excluded, p) }
		var h record.Header
		if err := record.Decode(r.Doc, &h); err != nil {
			t.Fatal(err)
		}
		if _, done := record.Redact(r, people); done != record.Kept && h.Received.After(from) {
			t.Errorf("%s speaks of someone who is excluded", r.ID)
		}
	}
	// No hole.
	until := map[string]time.Time{}
	list := w.queue.coverage(t)
	slices.SortFunc(list, func(a, b record.Coverage) int { return a.Time.Compare(b.Time) })
	for _, cov := range list {
		if at, ok := until[cov.Connection]; ok && cov.Time.After(at) {
			t.Errorf("%s is not covered from %s to %s", cov.Connection, at, cov.Time)
		}
		until[cov.Connection] = cov.To
	}
}
