package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/internal/cluster"
	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/queue"
	localqueue "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
	localstore "github.com/tungstene/tungstene/pkg/store/local"
)

// shifted is a machine's clock that is wrong.
type shifted struct{ by time.Duration }

func (s shifted) Now() time.Time { return time.Now().Add(s.by) }

func (s shifted) Until(ctx context.Context, t time.Time) error {
	return clock.System{}.Until(ctx, t.Add(-s.by))
}

// The clocks of consumers and rollups are apart by almost as much as consumer.skew allows. Minutes are
// closed too early or too late by the clock of whoever stored their records; records come late and
// twice, most of them around the moment of closing; the rollup changes to one with another clock. Every
// minute is exact in the end.
//
// Real consumers and rollups run on real files, in a time of its own that passes only when all of them
// wait: half an hour takes seconds, and no figure hangs on the machine's speed.
func TestClocksApart(t *testing.T) {
	for _, c := range []struct {
		name string
		// consumers and rollups are by how much the clock of each is off. The first rollup ends in the
		// middle, and the second takes over.
		consumers, rollups []time.Duration
	}{
		{"rollups behind", []time.Duration{2200 * time.Millisecond, 2200 * time.Millisecond}, []time.Duration{-2600 * time.Millisecond, 0}},
		{"rollups ahead", []time.Duration{-2200 * time.Millisecond, -2200 * time.Millisecond}, []time.Duration{2600 * time.Millisecond, 0}},
		{"from ahead to behind", []time.Duration{-2400 * time.Millisecond, 2400 * time.Millisecond}, []time.Duration{2400 * time.Millisecond, -2400 * time.Millisecond}},
		{"from behind to ahead", []time.Duration{-2400 * time.Millisecond, -2400 * time.Millisecond}, []time.Duration{-2400 * time.Millisecond, 2400 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOwnTime(t, func(t *testing.T, l *lab) {
				for i, by := range c.consumers {
					l.consumer("consumer-"+strconv.Itoa(i+1), by)
				}
				first := l.rollup("rollup-1", c.rollups[0])
				l.leads("rollup-1")
				l.rollup("rollup-2", c.rollups[1])
				l.feed(func(minute int) {
					if minute == labMinutes/2 {
						first()
						l.leads("rollup-2")
					}
				})
				l.settled()
				l.exact()
				l.soon()
			})
		})
	}
}

// The rollup's clock is 8 s ahead of the consumers', where consumer.skew allows 5 s: it closes minutes
// whose records are stored afterwards by consumers that don't think of marking them. This is what is not
// promised. The reconciliation finds it, tells of it, and has it counted again.
func TestClocksFurtherApartThanAllowed(t *testing.T) {
	inOwnTime(t, func(t *testing.T, l *lab) {
		l.consumer("consumer-1", -4*time.Second)
		end := l.rollup("rollup-1", 4*time.Second)
		l.feed(nil)
		l.settled()
		before := l.drifts()
		if len(before) == 0 {
			t.Fatal("nothing is wrong with clocks that are too far apart: what does this test show?")
		}
		minutes := map[time.Time]bool{}
		for _, d := range before {
			if d.Collection == store.Minutes {
				minutes[d.Time] = true
			}
		}
		t.Logf("%d of %d minutes lack records", len(minutes), labMinutes)
		end() // nothing is counted again before it was told
		l.custody("custody-1")
		l.until("the drift is told", func() error { return l.told(custody.CondDrift, true) })
		l.rollup("rollup-2", 4*time.Second)
		l.until("every minute is exact", func() error {
			if n := len(l.drifts()); n > 0 {
				return fmt.Errorf("%d differences", n)
			}
			return nil
		})
		l.until("the drift is told no more", func() error { return l.told(custody.CondDrift, false) })
		l.exact()
	})
}

const (
	labMinutes = 6
	labGrace   = 20 * time.Second
	labSkew    = 5 * time.Second
)

// lab is a pipeline from the queue on, without collectors, on files, in a time of its own.
type lab struct {
	t      *testing.T
	store  *localstore.Store
	queue  *localqueue.Queue
	logger *slog.Logger
	roles  sync.WaitGroup
	ends   []func()
	start  time.Time
	end    time.Time
	late   int                          // records that were sent after their minute was closed by some clock
	sent   map[time.Time]map[string]int // messages of each minute by channel
}

// inOwnTime runs do with a pipeline, in a bubble of testing/synctest.
func inOwnTime(t *testing.T, do func(t *testing.T, l *lab)) {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "tungstene-"); err == nil { //nolint:usetesting // syncing takes no time there, which is most of what there is
		dir = shm
		t.Cleanup(func() {
			if err := os.RemoveAll(shm); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := &lab{
			t: t, logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
			sent: map[time.Time]map[string]int{},
		}
		var err error
		if l.store, err = localstore.Open(filepath.Join(dir, "store.db"), localstore.Options{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.store.Close(); err != nil {
				t.Error(err)
			}
		}()
		if l.queue, err = localqueue.Open(filepath.Join(dir, "queue.db"), localqueue.Options{Logger: l.logger}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.queue.Close(); err != nil {
				t.Error(err)
			}
		}()
		defer l.roles.Wait()
		defer func() {
			for _, end := range l.ends {
				end()
			}
		}()
		l.start = record.Minute(time.Now()).Add(time.Minute)
		l.end = l.start.Add(labMinutes * time.Minute)
		raw, err := bson.Marshal(record.Event{Slug: event, Name: "The Marathon", State: record.EventLive, Start: l.start, End: l.end, Rev: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.store.Put(t.Context(), store.Events, []store.Doc{{ID: event, Raw: raw}}); err != nil {
			t.Fatal(err)
		}
		do(t, l)
	})
}

// run runs a role until the test ends, or what it returns is called.
func (l *lab) run(name string, role func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(background(l.t))
	ended := make(chan struct{})
	l.roles.Go(func() {
		defer close(ended)
		if err := role(ctx); err != nil && !errors.Is(err, context.Canceled) {
			l.t.Errorf("%s: %v", name, err)
		}
	})
	end = func() {
		cancel()
		<-ended
	}
	l.ends = append(l.ends, end)
	return end
}

func (l *lab) consumer(name string, by time.Duration) {
	c, err := consumer.New(consumer.Config{
		Store: l.store, Queue: l.queue, Clock: shifted{by}, Grace: labGrace, Skew: labSkew, Name: name, Prefetch: 2, Logger: l.logger,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.run(name, c.Run)
}

func (l *lab) rollup(name string, by time.Duration) (end func()) {
	r, err := rollup.New(rollup.Config{Store: l.store, Queue: l.queue, Clock: shifted{by}, Grace: labGrace, Name: name, Logger: l.logger})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.run(name, r.Run)
}

func (l *lab) custody(name string) {
	c, err := custody.New(custody.Config{
		Store: l.store, Queue: l.queue, Clock: shifted{}, Reconcile: cron.Every(20 * time.Second), Name: name, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.run(name, c.Run)
}

// wait lets time pass.
func (l *lab) wait(until time.Time) {
	if err := (clock.System{}).Until(l.t.Context(), until); err != nil {
		l.t.Fatal(err)
	}
}

// until asks every second, of a time that costs nothing, for half an hour.
func (l *lab) until(what string, met func() error) {
	l.t.Helper()
	for range 1800 {
		err := met()
		if err == nil {
			return
		}
		l.wait(time.Now().Add(time.Second))
		if l.t.Context().Err() != nil {
			l.t.Fatalf("%s: %v", what, err)
		}
	}
	l.t.Fatalf("not within half an hour: %s: %v", what, met())
}

// leads waits until a rollup leads.
func (l *lab) leads(name string) {
	l.t.Helper()
	l.until(name+" leads", func() error {
		m, err := l.member(control.RoleRollup + "/" + name)
		if err == nil && !m.Rollup.Leader {
			err = errors.New("it does not lead")
		}
		return err
	})
}

func (l *lab) member(id string) (m control.Member, err error) {
	raw, err := l.store.Get(l.t.Context(), store.Members, id)
	if err != nil {
		return m, err
	}
	return m, record.Decode(raw, &m)
}

// told is met when custody raises a condition, or does not.
func (l *lab) told(name string, raised bool) error {
	m, err := l.member(control.RoleCustody + "/custody-1")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(m.Conditions, func(c control.Condition) bool { return c.Name == name }) != raised {
		return fmt.Errorf("conditions: %+v", m.Conditions)
	}
	return nil
}

// lastComes is when the last record of a minute comes, after its closing by a right clock: whatever comes
// when the minute is marked hides that something before was missed, so of most minutes nothing does.
var lastComes = [labMinutes]time.Duration{
	-2000 * time.Millisecond, -500 * time.Millisecond, 10 * time.Second, -2000 * time.Millisecond, -500 * time.Millisecond, 4 * time.Second,
}

// feed publishes what collectors would, at the moments at which it would come: some records every other
// second, and from six seconds before the closing of each minute one batch after the other of records
// of that minute. A tenth of the batches comes again, at once, or half a minute later where records come
// late anyway.
func (l *lab) feed(at func(minute int)) {
	l.t.Helper()
	type due struct {
		at    time.Time
		batch []record.Record
	}
	var (
		r    = rand.New(rand.NewPCG(1, 2))
		plan []due
		n    int
	)
	add := func(at, stamp time.Time, last time.Duration) {
		var batch []record.Record
		for range 1 + r.IntN(3) {
			n++
			channel := strconv.Itoa(1 + r.IntN(2))
			batch = append(batch, l.record(&record.Message{
				Header:    record.Header{Event: event, Channel: channel, Time: stamp},
				MessageID: fmt.Sprintf("m-%d", n), Chatter: "chatter-" + strconv.Itoa(r.IntN(50)), Text: "hello",
				Emotes: []record.Emote{{ID: strconv.Itoa(r.IntN(5)), Name: "E", Count: 1 + r.IntN(3)}},
			}))
			minute := record.Minute(stamp)
			if l.sent[minute] == nil {
				l.sent[minute] = map[string]int{}
			}
			l.sent[minute][channel]++
			if !at.Before(minute.Add(time.Minute + labGrace - labSkew/2)) {
				l.late++
			}
		}
		plan = append(plan, due{at, batch})
		if r.IntN(10) == 0 {
			again := at
			if last > 0 {
				again = at.Add(time.Duration(r.IntN(2)) * 30 * time.Second)
			}
			plan = append(plan, due{again, batch})
		}
	}
	for i, last := range lastComes {
		minute := l.start.Add(time.Duration(i) * time.Minute)
		for second := range 30 {
			stamp := minute.Add(time.Duration(second)*2*time.Second + time.Duration(r.IntN(2000))*time.Millisecond)
			add(stamp.Add(300*time.Millisecond), stamp, last)
		}
		for after := -6 * time.Second; after <= last; after += 125 * time.Millisecond {
			stamp := minute.Add(time.Duration(r.IntN(60_000)) * time.Millisecond)
			add(minute.Add(time.Minute+labGrace+after), stamp, last)
		}
		for _, channel := range []string{"1", "2"} {
			plan = append(plan, due{minute.Add(time.Second), []record.Record{l.record(&record.Viewers{
				Header: record.Header{Event: event, Channel: channel, Time: minute}, Source: record.SourceHelix, Live: true, Viewers: 100 + r.IntN(900),
			})}})
		}
		set := []string{"1", "2"}
		plan = append(plan, due{minute.Add(time.Minute), []record.Record{l.record(&record.Coverage{
			Header: record.Header{Event: event, Time: minute}, Source: record.SourceChat, To: minute.Add(time.Minute),
			Collector: "collector-1", Connection: "1", Set: record.ChannelSet(set), Channels: set,
		})}})
	}
	slices.SortStableFunc(plan, func(a, b due) int { return a.at.Compare(b.at) })
	minute := 0
	for i, d := range plan {
		l.wait(d.at)
		for ; at != nil && minute < labMinutes && !d.at.Before(l.start.Add(time.Duration(minute)*time.Minute)); minute++ {
			at(minute)
		}
		body, err := record.EncodeBatch(d.batch, record.None)
		if err != nil {
			l.t.Fatal(err)
		}
		m := queue.Message{ID: "batch-" + strconv.Itoa(i), Body: body}
		if err := l.queue.Send(l.t.Context(), m); err != nil {
			l.t.Fatal(err)
		}
		if err := l.queue.Publish(l.t.Context(), queue.Store, m); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lab) record(d record.Document) record.Record {
	l.t.Helper()
	r, err := record.Encode(d)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// settled waits until everything is stored, and every minute closed, with none to be counted again.
func (l *lab) settled() {
	l.t.Helper()
	l.until("the queue is empty", func() error {
		n, err := l.queue.Depth(l.t.Context(), queue.Store)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d batches", n)
		}
		return err
	})
	l.until("all minutes are closed", func() error { return cluster.Settled(l.t.Context(), l.store, event, l.end) })
}

// drifts compares every minute, hour and total with what it is made of.
func (l *lab) drifts() (list []custody.Drift) {
	l.t.Helper()
	if _, err := custody.Reconcile(l.t.Context(), l.store, event, time.Time{}, time.Time{}, func(d custody.Drift) { list = append(list, d) }); err != nil {
		l.t.Fatal(err)
	}
	return list
}

// exact compares every document with the records, and the minutes with what was sent, too.
func (l *lab) exact() {
	l.t.Helper()
	for _, d := range l.drifts() {
		l.t.Errorf("%s %s of channel %s: %s is %s, want %s", d.Collection, d.Time.Format(time.TimeOnly), d.Channel, d.Field, d.Have, d.Want)
	}
	got := map[time.Time]map[string]int{}
	for raw, err := range l.store.Find(l.t.Context(), store.Query{Collection: store.Minutes, Event: event}) {
		var d record.Statistics
		if err == nil {
			err = record.Decode(raw, &d)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		if d.State != record.StateClosed {
			l.t.Errorf("%s is %s", d.ID, d.State)
		}
		if d.Channel == record.AllChannels {
			continue
		}
		at := d.Time.UTC()
		if got[at] == nil {
			got[at] = map[string]int{}
		}
		got[at][d.Channel] = int(d.Messages)
	}
	for minute, channels := range l.sent {
		for channel, want := range channels {
			if have := got[minute.UTC()][channel]; have != want {
				l.t.Errorf("minute %s of channel %s has %d messages, %d were sent", minute.Format(time.TimeOnly), channel, have, want)
			}
		}
	}
}

// soon fails the test if nothing of what it is about has happened.
func (l *lab) soon() {
	l.t.Helper()
	if l.late < labMinutes {
		l.t.Errorf("only %d records came late", l.late)
	}
}
