package collector_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/collector"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; only a failure takes as long.
const patience = 30 * time.Second

func eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ready() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %s: %s", patience, what)
		}
	}
}

// target is a queue that can be away. It keeps what was published, in order.
type target struct {
	mu      sync.Mutex
	away    bool
	records []record.Record
	live    int
	batches int
}

var errAway = errors.New("the broker is away")

func (q *target) Publish(_ context.Context, name string, messages ...queue.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away {
		return errAway
	}
	if name != queue.Store {
		return queue.ErrUnroutable
	}
	for _, m := range messages {
		records, err := record.DecodeBatch(m.Body)
		if err != nil {
			return err
		}
		q.records = append(q.records, records...)
		q.batches++
	}
	return nil
}

func (q *target) Send(context.Context, queue.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.live++
	return nil
}

func (q *target) set(away bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.away = away
}

// messages are the Twitch ids of the messages that arrived, and how often.
func (q *target) messages(t testing.TB) map[string]int {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	got := map[string]int{}
	for _, r := range q.records {
		if r.Kind == record.KindMessage {
			got[r.ID]++
		}
	}
	return got
}

func (q *target) coverage(t *testing.T) []record.Coverage {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []record.Coverage
	for _, r := range q.records {
		if r.Kind != record.KindCoverage {
			continue
		}
		var c record.Coverage
		if err := record.Decode(r.Doc, &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// master answers heartbeats with an assignment, or not at all.
type master struct {
	mu         sync.Mutex
	away       bool
	assignment *control.Assignment
	last       control.Heartbeat
	refused    int
}

func (m *master) Heartbeat(_ context.Context, h control.Heartbeat) (control.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return control.Answer{}, errors.New("no master")
	}
	m.last = h
	a := control.Answer{Now: time.Now()}
	if m.assignment != nil && (h.Epoch != m.assignment.Epoch || h.Revision != m.assignment.Revision) {
		if h.Epoch > m.assignment.Epoch {
			m.refused++
		}
		a.Assignment = m.assignment
	}
	return a, nil
}

func (m *master) change(f func(*master)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *master) heartbeat() control.Heartbeat {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// world is a simulated Twitch with a master and a queue.
type world struct {
	t      testing.TB
	dir    string
	sim    *sim.Sim
	ledger *ledger
	master *master
	queue  *target

	drain    time.Duration // the collector's
	full     bool          // the collector's outbox has hardly any room
	stops    bool          // it may say that it could not write everything
	handover time.Duration // the collector's
	edit     func(*collector.Config)
}

// ledger gathers what the simulator sent.
type ledger struct {
	io.Writer
	close func() error
	ids   chan map[string]bool
	sent  map[string]time.Time // by id, when ids has come
}

func newLedger(t testing.TB) *ledger {
	r, w := io.Pipe()
	l := &ledger{Writer: w, close: w.Close, ids: make(chan map[string]bool, 1), sent: map[string]time.Time{}}
	go func() {
		ids := map[string]bool{}
		for e, err := range sim.ReadLedger(r) {
			if err != nil {
				t.Error(err)
				break
			}
			ids["test/message/"+e.ID] = true
			l.sent["test/message/"+e.ID] = time.UnixMilli(e.SentMS)
		}
		l.ids <- ids
	}()
	return l
}

func newWorld(t testing.TB, channels int, rate float64) *world {
	t.Helper()
	w := &world{t: t, drain: patience, dir: t.TempDir(), ledger: newLedger(t), master: &master{}, queue: &target{}}
	var err error
	w.sim, err = sim.New(sim.Config{
		Channels: channels, Rate: rate, Burst: 1, Ledger: w.ledger,
		Limits: sim.Limits{Joins: -1, HelixPoints: 100_000},
		Faults: sim.Faults{Duplicate: 0.02, Disorder: 0.02},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.sim.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.ledger.close(); err != nil {
			t.Error(err)
		}
	})
	public := map[string]string{}
	a := &control.Assignment{
		Collector: "c1", Epoch: 3, Revision: 1,
		Budget: control.Budget{Joins: 1000, JoinWindow: time.Second, PerConnection: min(90, max(10, channels/4)), HelixPoints: 10_000},
	}
	for _, c := range w.sim.Channels() {
		public[c.ID] = c.Login
		a.Channels = append(a.Channels, control.AssignedChannel{Channel: c.ID, Login: c.Login, Events: []string{"test"}})
	}
	a.Events = []control.AssignedEvent{{
		Slug: "test", Start: time.Now().Add(-time.Hour), End: time.Now().Add(time.Hour), Key: record.NewKey(), Public: public,
	}}
	w.master.assignment = a
	return w
}

// start runs a collector and returns it with a function that stops it gracefully.
func (w *world) start() (*collector.Collector, func()) {
	w.t.Helper()
	api, err := helix.New(helix.Config{
		Clients: []helix.Credential{{ClientID: "id", Secret: "secret"}}, APIURL: w.sim.HelixURL(), AuthURL: w.sim.AuthURL(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var room int64
	if w.full {
		room = 1 << 20
	}
	cfg := collector.Config{
		OutboxBytes: room, Handover: w.handover, Drain: w.drain,
		Name: "c1", Dir: filepath.Join(w.dir, "c1"), Heartbeat: 50 * time.Millisecond, Tick: 20 * time.Millisecond,
		Master: w.master, Queue: w.queue, Chat: chat.Config{Address: w.sim.IRCAddress(), KeepAlive: 100 * time.Millisecond},
		Helix: api, Sweeps: helix.SweeperConfig{Schedule: "* * * * * *"},
	}
	if w.edit != nil {
		w.edit(&cfg)
	}
	c, err := collector.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !w.stops {
			w.t.Errorf("the collector ended with %v", err)
		}
		api.Close()
	}
	w.t.Cleanup(stop)
	return c, stop
}

func (w *world) joined(c *collector.Collector) {
	w.t.Helper()
	want := len(w.sim.Channels())
	eventually(w.t, "not all channels are joined", func() bool { return c.Joined() == want })
}

// sent ends the traffic and returns the ids of everything that was sent.
func (w *world) sent() map[string]bool {
	w.t.Helper()
	if err := w.sim.End(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.ledger.close(); err != nil {
		w.t.Fatal(err)
	}
	return <-w.ledger.ids
}

func (w *world) arrived(want map[string]bool) {
	w.t.Helper()
	eventually(w.t, "not everything that was sent has arrived", func() bool {
		got := w.queue.messages(w.t)
		for id := range want {
			if got[id] == 0 {
				return false
			}
		}
		return true
	})
	got := w.queue.messages(w.t)
	if len(got) != len(want) {
		w.t.Errorf("%d different messages arrived, %d were sent", len(got), len(want))
	}
}

func TestEverythingSentArrives(t *testing.T) {
	w := newWorld(t, 25, 400)
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 500 })
	want := w.sent()
	w.read(c)
	stop()
	w.arrived(want)

	kinds := map[record.Kind]int{}
	for _, r := range w.queue.records {
		kinds[r.Kind]++
	}
	for _, k := range []record.Kind{record.KindRoomState, record.KindViewers, record.KindSession, record.KindChange, record.KindCoverage} {
		if kinds[k] == 0 {
			t.Errorf("there is no %s among %v", k, kinds)
		}
	}
	if w.queue.live < w.queue.batches {
		t.Errorf("%d batches went to the live feed, %d to the queue", w.queue.live, w.queue.batches)
	}
	if s := w.master.heartbeat().Status; s.Lines == 0 || s.Records == 0 || len(s.Connections) != 3 || s.Viewers == 0 {
		t.Errorf("the last heartbeat told %+v", s)
	}
}

// The coverage of each connection is one chain without a hole, it covers every message, and its
// set is always known from the same minute.
func TestCoverageSpeaksOfTheRecords(t *testing.T) {
	w := newWorld(t, 12, 200)
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 600 })
	w.sent()
	stop()

	type key struct {
		set    string
		minute time.Time
	}
	sets := map[key][]string{}
	chains := map[string][]record.Coverage{}
	for _, cov := range w.queue.coverage(t) {
		if cov.Channels != nil {
			if record.ChannelSet(cov.Channels) != cov.Set {
				t.Errorf("%s names another set than it lists", cov.ID)
			}
			sets[key{cov.Set, record.Minute(cov.Time)}] = cov.Channels
		}
		chains[cov.Connection] = append(chains[cov.Connection], cov)
	}
	covered := map[string][]record.Coverage{} // by channel
	for name, chain := range chains {
		slices.SortFunc(chain, func(a, b record.Coverage) int { return a.Time.Compare(b.Time) })
		for i, cov := range chain {
			channels, ok := sets[key{cov.Set, record.Minute(cov.Time)}]
			if !ok {
				t.Errorf("the set of %s at %s is listed nowhere in its minute", name, cov.Time)
			}
			if i > 0 && cov.Time.Before(chain[i-1].To) {
				t.Errorf("%s: coverage from %s begins before the one before it ends, %s", name, cov.Time, chain[i-1].To)
			}
			for _, ch := range channels {
				covered[ch] = append(covered[ch], cov)
			}
		}
	}
	for _, r := range w.queue.records {
		if r.Kind != record.KindMessage {
			continue
		}
		var m record.Message
		if err := record.Decode(r.Doc, &m); err != nil {
			t.Fatal(err)
		}
		// A line is covered by when it was received; the last one by what ends with it.
		if !slices.ContainsFunc(covered[m.Channel], func(c record.Coverage) bool {
			return !m.Received.Before(c.Time) && !m.Received.After(c.To)
		}) {
			t.Errorf("message %s of %s, received at %s, is covered by nothing", m.MessageID, m.Channel, m.Received)
		}
	}
}

func TestRecordsWaitForTheQueue(t *testing.T) {
	w := newWorld(t, 10, 300)
	w.drain = time.Second
	w.queue.set(true)
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "the outage is not told", func() bool {
		s := c.Status(t.Context())
		return s.OutboxBatches > 3 && slices.ContainsFunc(s.Conditions, func(c control.Condition) bool { return c.Name == "queue-unavailable" })
	})
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 300 })

	if n := c.Status(t.Context()).Waiting; n != 0 {
		t.Errorf("%d records are said to wait for an outbox that takes them", n) // they wait for the tick alone
	}

	// It stops and starts again while the queue is away: nothing of the outbox is lost.
	want := w.sentWhileStopping(c, stop)
	if got := len(w.queue.messages(t)); got != 0 {
		t.Fatalf("%d messages reached a queue that is away", got)
	}
	w.queue.set(false)
	w.start()
	w.arrived(want)
}

// sentWhileStopping ends the traffic and stops the collector with its outbox full.
func (w *world) sentWhileStopping(c *collector.Collector, stop func()) map[string]bool {
	w.t.Helper()
	want := w.sent()
	w.read(c)
	stop()
	return want
}

func TestTheMasterMayBeAway(t *testing.T) {
	w := newWorld(t, 10, 200)
	c, stop := w.start()
	w.joined(c)
	stop()

	// Without any master the collector takes up what it had.
	w.master.change(func(m *master) { m.away = true })
	c, stop = w.start()
	w.joined(c)
	eventually(t, "the master's absence is not told", func() bool {
		return slices.ContainsFunc(c.Status(t.Context()).Conditions, func(c control.Condition) bool { return c.Name == "master-unreachable" })
	})
	w.sim.Begin()
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 200 })
	want := w.sent()
	w.read(c)
	stop()
	w.arrived(want)
}

func TestAnEarlierLeaderIsRefused(t *testing.T) {
	w := newWorld(t, 6, 10)
	c, _ := w.start()
	w.joined(c)
	w.master.change(func(m *master) {
		stale := *m.assignment
		stale.Epoch, stale.Revision, stale.Channels = 2, 9, nil
		m.assignment = &stale
	})
	eventually(t, "the earlier leader was not heard", func() bool {
		w.master.mu.Lock()
		defer w.master.mu.Unlock()
		return w.master.refused > 2
	})
	if got := c.Joined(); got != 6 {
		t.Errorf("an earlier leader's assignment left %d of 6 channels", got)
	}

	// A later one counts, and a move away parts.
	w.master.change(func(m *master) {
		next := *m.assignment
		next.Epoch, next.Channels = 4, nil
		for _, ch := range w.sim.Channels()[:2] {
			next.Channels = append(next.Channels, control.AssignedChannel{Channel: ch.ID, Login: ch.Login, Events: []string{"test"}})
		}
		m.assignment = &next
	})
	eventually(t, "the later assignment is not in effect", func() bool { return c.Joined() == 2 })
}

// A channel that was read for one event and is then read for another too is covered for the other
// only from the moment when its lines are recorded for it.
func TestCoverageOfAnEventThatJoinsLater(t *testing.T) {
	w := newWorld(t, 8, 400)
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "nothing is sent", func() bool { return w.sim.Sent() > 200 })
	w.master.change(func(m *master) {
		next := *m.assignment
		second := next.Events[0]
		second.Slug = "second"
		next.Revision++
		next.Events = append(slices.Clone(next.Events), second)
		next.Channels = slices.Clone(next.Channels)
		for i := range next.Channels {
			next.Channels[i].Events = []string{"test", "second"}
		}
		m.assignment = &next
	})
	eventually(t, "nothing is covered for the second event", func() bool {
		return slices.ContainsFunc(w.queue.coverage(t), func(c record.Coverage) bool { return c.Event == "second" })
	})
	w.sent()
	stop()

	var from time.Time
	for _, c := range w.queue.coverage(t) {
		if c.Event == "second" && (from.IsZero() || c.Time.Before(from)) {
			from = c.Time
		}
	}
	recorded := map[string]bool{}
	for _, r := range w.queue.records {
		recorded[r.ID] = true
	}
	for _, r := range w.queue.records {
		var m record.Message
		if r.Kind != record.KindMessage || r.Event != "test" {
			continue
		}
		if err := record.Decode(r.Doc, &m); err != nil {
			t.Fatal(err)
		}
		if id := "second/message/" + m.MessageID; !m.Received.Before(from) && !recorded[id] {
			t.Errorf("%s was received at %s and is not recorded, the event is covered from %s", id, m.Received, from)
		}
	}
}

// A collector that is stopped while its outbox is full ends all the same, and claims no coverage for
// what it could not take.
func TestStopWithAFullOutbox(t *testing.T) {
	w := newWorld(t, 10, 2000)
	w.drain = time.Second
	w.queue.set(true)
	w.full = true
	w.edit = func(c *collector.Config) { c.WaitingRecords = 1000 }
	c, stop := w.start()
	w.joined(c)
	w.sim.Begin()
	eventually(t, "the full outbox is not told", func() bool {
		return slices.ContainsFunc(c.Status(t.Context()).Conditions, func(c control.Condition) bool { return c.Name == "outbox-unwritable" })
	})
	eventually(t, "what waits in memory is not told", func() bool { return c.Status(t.Context()).Waiting > 0 })
	eventually(t, "too little is sent", func() bool { return w.sim.Sent() > 8000 })
	w.stops = true
	stop()
	if n := c.Status(t.Context()).OutboxBatches; n != -1 {
		t.Errorf("%d batches are told of an outbox that can't be asked", n)
	}
	if err := w.sim.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A collector that is stopped goes on reading until its channels are read elsewhere.
func TestHandover(t *testing.T) {
	w := newWorld(t, 6, 100)
	w.handover = patience
	c, stop := w.start()
	w.joined(c)
	left := make(chan struct{})
	go func() {
		defer close(left)
		stop()
	}()
	eventually(t, "it does not say that it leaves", func() bool { return w.master.heartbeat().Leaving })
	if got := c.Joined(); got != 6 {
		t.Errorf("it says that it leaves, and reads %d of 6 channels", got)
	}
	w.master.change(func(m *master) {
		next := *m.assignment
		next.Revision, next.Channels = 2, nil
		m.assignment = &next
	})
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("it does not stop when it has no channels left")
	}
}

func TestTheOutboxBelongsToOneProcess(t *testing.T) {
	w := newWorld(t, 1, 10)
	w.start()
	_, err := collector.New(collector.Config{Name: "c1", Dir: filepath.Join(w.dir, "c1"), Master: w.master, Queue: w.queue})
	if err == nil {
		t.Fatal("a second collector of the same folder was made")
	}
	t.Log(err)
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "C1", "a/b", "-a"} {
		if _, err := collector.New(collector.Config{Name: name, Dir: t.TempDir()}); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}
