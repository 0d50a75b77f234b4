package rollup_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	queuelocal "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipeline is a store and a queue in files of their own, and the event.
type pipeline struct {
	tb    testing.TB
	store *storelocal.Store
	queue *queuelocal.Queue
	clock *clock.Scaled
	event record.Event
	sent  map[string]int64 // messages by document id
	n     int
}

func open(tb testing.TB) *pipeline {
	tb.Helper()
	quiet := slog.New(slog.DiscardHandler)
	s, err := storelocal.Open(filepath.Join(tb.TempDir(), "store.db"), storelocal.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	q, err := queuelocal.Open(filepath.Join(tb.TempDir(), "queue.db"), queuelocal.Options{Logger: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(q.Close(), s.Close()); err != nil {
			tb.Error(err)
		}
	})
	p := &pipeline{
		tb: tb, store: s, queue: q, sent: map[string]int64{},
		event: record.Event{Slug: event, State: record.EventLive, Start: start, End: end},
		clock: clock.NewScaled(minute, 3600),
	}
	p.clock.Hold(minute)
	p.putEvent()
	return p
}

func (p *pipeline) putEvent() {
	p.tb.Helper()
	raw, err := bson.Marshal(&p.event)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := p.store.Put(context.Background(), store.Events, []store.Doc{{ID: p.event.Slug, Raw: raw}}); err != nil {
		p.tb.Fatal(err)
	}
}

// run runs a role until the returned function is called, which waits for it.
func (p *pipeline) run(role func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- role(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.tb.Errorf("run: %v", err)
		}
	})
}

func (p *pipeline) consumer() (stop func()) {
	p.tb.Helper()
	c, err := consumer.New(consumer.Config{
		Store: p.store, Queue: p.queue, Clock: p.clock, Name: "c", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	return p.run(c.Run)
}

func (p *pipeline) rollup(name string) (stop func()) {
	p.tb.Helper()
	r, err := rollup.New(rollup.Config{
		Store: p.store, Queue: p.queue, Clock: p.clock, Name: name, LiveEvery: 50 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	return p.run(r.Run)
}

// send publishes n messages of a channel in the minute of at, to the queue, the feed or both.
func (p *pipeline) send(channel string, at time.Time, n int, toQueue, toFeed bool) queue.Message {
	p.tb.Helper()
	records := make([]record.Record, n)
	for i := range records {
		p.n++
		records[i] = encode(p.tb, &record.Message{
			Header: header(channel, at), MessageID: fmt.Sprintf("%08d", p.n), Chatter: strconv.Itoa(p.n % 7), Length: 3,
		})
	}
	for _, c := range []string{channel, record.AllChannels} {
		p.sent[record.StatisticsID(event, c, record.Minute(at))] += int64(n)
	}
	m := p.batch(records...)
	if toFeed {
		p.feed(m)
	}
	if toQueue {
		p.publish(m)
	}
	return m
}

// batch is a message of the queue.
func (p *pipeline) batch(records ...record.Record) queue.Message {
	p.tb.Helper()
	body, err := record.EncodeBatch(records, record.Zstd)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.n++
	return queue.Message{ID: strconv.Itoa(p.n), Body: body}
}

func (p *pipeline) publish(m queue.Message) {
	p.tb.Helper()
	if err := p.queue.Publish(context.Background(), queue.Store, m); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *pipeline) feed(m queue.Message) {
	p.tb.Helper()
	if err := p.queue.Send(context.Background(), m); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *pipeline) eventually(what string, ok func() bool) {
	p.tb.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.tb.Fatalf("waited in vain until %s", what)
		}
	}
}

func (p *pipeline) settled(through time.Time) {
	p.tb.Helper()
	p.eventually("all is settled", func() bool {
		n, err := p.queue.Depth(context.Background(), queue.Store)
		if err != nil {
			p.tb.Fatal(err)
		}
		if n > 0 {
			return false
		}
		ok, err := rollup.Settled(context.Background(), p.store, event, through)
		if err != nil {
			p.tb.Fatal(err)
		}
		return ok
	})
}

func (p *pipeline) get(c store.Collection, id string) (record.Statistics, bool) {
	p.tb.Helper()
	raw, err := p.store.Get(context.Background(), c, id)
	if errors.Is(err, store.ErrNotFound) {
		return record.Statistics{}, false
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	var d record.Statistics
	if err := bson.Unmarshal(raw, &d); err != nil {
		p.tb.Fatal(err)
	}
	return d, true
}

// check compares all minutes with what was sent, and the totals.
func (p *pipeline) check() {
	p.tb.Helper()
	var sum int64
	for id, want := range p.sent {
		d, ok := p.get(store.Minutes, id)
		if !ok || d.State != record.StateClosed || d.Messages != want {
			p.tb.Errorf("minute %s: %d messages, %q, want %d, closed", id, d.Messages, d.State, want)
		}
		if d.Channel == record.AllChannels {
			sum += want
		}
	}
	var hours int64
	for raw, err := range p.store.Find(context.Background(), store.Query{
		Collection: store.Hours, Event: event, Channel: record.AllChannels,
	}) {
		if err != nil {
			p.tb.Fatal(err)
		}
		n, _ := raw.Lookup("messages").AsInt64OK()
		hours += n
	}
	total, _ := p.get(store.Totals, record.StatisticsID(event, record.AllChannels, time.Time{}))
	if total.Messages != sum || hours != sum || total.State != record.StateClosed {
		p.tb.Errorf("total %d messages, hours %d, want %d", total.Messages, hours, sum)
	}
	if n, err := p.store.Count(context.Background(), store.Query{Collection: store.Marks}); err != nil || n != 0 {
		p.tb.Errorf("%d marks left, err %v", n, err)
	}
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	p := open(t)
	defer p.consumer()()
	first := p.rollup("r1")
	defer first()
	p.eventually("r1 leads", func() bool { return p.member("r1").Leader })
	standby := p.rollup("r2")
	defer standby()

	// A minute is open, provisional, then closed.
	p.eventually("the feed is listened to", func() bool { return len(p.member("r1").Events) == 1 })
	m := p.send("1", minute, 5, true, false)
	id := record.StatisticsID(event, "1", minute)
	p.eventually("the open minute shows", func() bool {
		p.feed(m) // as often as it takes: only the first counts
		d, ok := p.get(store.Minutes, id)
		return ok && d.Messages == 5 && d.State == record.StateOpen
	})
	// So does a donation to nobody of the event, in the event's document alone.
	given := p.batch(encode(t, donationAt("", "x", 500, 0)))
	all := record.StatisticsID(event, record.AllChannels, minute)
	donated := func(state string) bool {
		d, ok := p.get(store.Minutes, all)
		return ok && d.State == state && len(d.Donations) == 1 && d.Donations[0].Count == 1 && d.Donations[0].Cents == 500
	}
	p.eventually("the donation shows in the open minute", func() bool {
		p.feed(given)
		return donated(record.StateOpen)
	})
	// What a collector finds at its first look at a source without times may be counted already.
	again := donationAt("", "y", 900, 0)
	again.Earlier = true
	p.feed(p.batch(encode(t, again), encode(t, donationAt("", "z", 30, 0))))
	p.eventually("the next donation shows in the open minute", func() bool {
		d, ok := p.get(store.Minutes, all)
		return ok && len(d.Donations) == 1 && d.Donations[0].Count != 1
	})
	if d, _ := p.get(store.Minutes, all); d.Donations[0].Count != 2 || d.Donations[0].Cents != 530 {
		t.Errorf("live %+v", d.Donations)
	}
	p.publish(given)
	ghost := p.send("3", minute, 2, false, true) // in the feed, and in the store only much later
	p.clock.Hold(minute.Add(90 * time.Second))
	p.settled(minute.Add(time.Minute))
	if d, ok := p.get(store.Minutes, id); !ok || d.State != record.StateClosed || d.Messages != 5 || d.Chatters.Estimate != 5 {
		t.Errorf("closed minute %+v", d)
	}
	if !donated(record.StateClosed) {
		t.Error("the closed minute has no donation")
	}
	if d, ok := p.get(store.Minutes, record.StatisticsID(event, "3", minute)); ok && d.State != record.StateClosed {
		t.Errorf("%+v is open in a closed minute", d)
	}

	// The leader goes, late records come, time goes on over hours without any, and two more minutes.
	first()
	p.publish(ghost)
	p.publish(ghost)
	p.send("2", minute, 3, true, false)
	p.send("1", minute.Add(-time.Hour), 4, true, false)
	far := minute.Add(5 * time.Hour)
	p.clock.Hold(far)
	p.eventually("r2 leads", func() bool { return p.member("r2").Leader })
	p.send("1", far, 7, true, true)
	p.send("2", far.Add(time.Minute), 8, true, true)
	p.clock.Hold(far.Add(3 * time.Minute))
	p.settled(far.Add(2 * time.Minute))
	p.check()

	// A recount on request changes nothing.
	n, err := rollup.Rebuild(t.Context(), p.store, event, start, end, "")
	if err != nil {
		t.Fatal(err)
	}
	if one, err := rollup.Rebuild(t.Context(), p.store, event, start, end, "2"); err != nil || one == 0 || one >= n {
		t.Errorf("%d minutes of one channel are marked, of %d: %v", one, n, err)
	}
	if none, err := rollup.Rebuild(t.Context(), p.store, event, start, end, "404"); err != nil || none != 0 {
		t.Errorf("%d minutes of a channel without any are marked: %v", none, err)
	}
	p.settled(far.Add(2 * time.Minute))
	p.check()

	hour, ok := p.get(store.Hours, record.StatisticsID(event, "1", far.Truncate(time.Hour)))
	if !ok || hour.Minutes != 1 || hour.Messages != 7 || hour.Coverage.Chat != record.Unknown {
		t.Errorf("hour %+v", hour)
	}
	total, ok := p.get(store.Totals, record.StatisticsID(event, "2", time.Time{}))
	if !ok || total.Minutes != 2 || total.Messages != 11 || !total.Through.Equal(far.Add(time.Minute)) ||
		total.Coverage.Expected != far.Add(2*time.Minute).Sub(start).Seconds() {
		t.Errorf("total %+v", total)
	}
}

func (p *pipeline) member(name string) control.RollupStatus {
	p.tb.Helper()
	raw, err := p.store.Get(context.Background(), store.Members, control.RoleRollup+"/"+name)
	if errors.Is(err, store.ErrNotFound) {
		return control.RollupStatus{}
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	var m control.Member
	if err := bson.Unmarshal(raw, &m); err != nil {
		p.tb.Fatal(err)
	}
	return *m.Rollup
}

// TestBoundsMove: closed minutes follow when the organizer changes the event's start and end.
func TestBoundsMove(t *testing.T) {
	t.Parallel()
	p := open(t)
	p.event.Start, p.event.End = minute.Add(30*time.Second), minute.Add(3*time.Minute)
	p.putEvent()
	for i := range 8 {
		p.send("1", minute.Add(time.Duration(i-2)*time.Minute+10*time.Second), 1+i, true, false)
	}
	stopConsumer := p.consumer()
	defer stopConsumer()
	p.clock.Hold(minute.Add(20 * time.Minute))
	defer p.rollup("r")()
	total := func() int64 {
		d, _ := p.get(store.Totals, record.StatisticsID(event, "1", time.Time{}))
		return d.Messages
	}
	p.eventually("minutes 1 and 2 count", func() bool { return total() == 4+5 })
	p.event.Start, p.event.End = minute.Add(-time.Minute), minute.Add(5*time.Minute)
	p.putEvent()
	p.eventually("minutes -1 to 4 count", func() bool { return total() == 2+3+4+5+6+7 })
	p.event.Start, p.event.End = minute.Add(time.Minute), minute.Add(2*time.Minute)
	p.putEvent()
	p.eventually("minute 1 counts", func() bool { return total() == 4 })
	p.settled(minute.Add(2 * time.Minute))
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	p := open(t)
	for what, cfg := range map[string]rollup.Config{
		"no store": {Name: "r"}, "no name": {Store: p.store}, "negative": {Store: p.store, Name: "r", Grace: -1},
		"lease": {Store: p.store, Name: "r", LeaseTTL: -1},
	} {
		if _, err := rollup.New(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
