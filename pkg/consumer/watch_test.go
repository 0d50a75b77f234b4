package consumer_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/queue"
	queuelocal "github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/store"
)

// mute is a queue whose subscriptions deliver nothing as long as deaf is set.
type mute struct {
	*queuelocal.Queue
	deaf atomic.Bool
	subs atomic.Int64
}

func (q *mute) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	if name == queue.Store {
		q.subs.Add(1)
		if q.deaf.Load() {
			out := make(chan queue.Delivery)
			context.AfterFunc(ctx, func() { close(out) })
			return out, nil
		}
	}
	return q.Queue.Subscribe(ctx, name, prefetch)
}

func stalls(tb testing.TB, reg *prometheus.Registry) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tungstene_consumer_stalls_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	tb.Fatal("no such metric")
	return 0
}

// TestStalledQueue: a subscription that delivers nothing of what waits is told of and replaced.
func TestStalledQueue(t *testing.T) {
	t.Parallel()
	f := open(t)
	q := &mute{Queue: f.queue}
	q.deaf.Store(true)
	reg := prometheus.NewPedanticRegistry()
	publish(t, f.queue, batch(t, message(t, 1, now)))
	defer run(t, consumer.Config{Store: f.store, Queue: q, Clock: still(now), Stall: 50 * time.Millisecond, Registerer: reg})()
	eventually(t, "the condition shows", func() bool {
		m := member(t, f.store)
		return strings.Contains(condition(m, "consumer-stalled"), "1 in the queue") && m.Consumer.Held == 0 && m.Consumer.Depth == 1
	})
	eventually(t, "it has subscribed anew", func() bool { return q.subs.Load() > 1 && stalls(t, reg) > 0 })
	q.deaf.Store(false)
	eventually(t, "it is stored", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	eventually(t, "the condition is gone", func() bool {
		m := member(t, f.store)
		return condition(m, "consumer-stalled") == "" && m.Consumer.Depth == 0 && !m.Consumer.Acked.IsZero()
	})
}

// TestStalledInsert: an insert that never returns is given up, and what it held comes again.
func TestStalledInsert(t *testing.T) {
	t.Parallel()
	f := open(t)
	var once sync.Once
	s := &hooked{Store: f.store, before: func(ctx context.Context, op string, _ store.Collection) error {
		if op == "insert" {
			once.Do(func() { <-ctx.Done() })
		}
		return ctx.Err()
	}}
	reg := prometheus.NewPedanticRegistry()
	stop := run(t, consumer.Config{Store: s, Queue: f.queue, Clock: still(now), Stall: 50 * time.Millisecond, Prefetch: 2, Registerer: reg})
	defer stop()
	for i := range 10 {
		publish(t, f.queue, batch(t, message(t, i, now)))
	}
	eventually(t, "all is stored", func() bool { return depth(t, f.queue, queue.Store) == 0 })
	if n := count(t, f.store, store.Records); n != 10 || stalls(t, reg) == 0 {
		t.Errorf("%d records after %v stalls", n, stalls(t, reg))
	}
	stop()
	if m := member(t, f.store); m.Consumer.Held != 0 {
		t.Errorf("%d batches are still in hand", m.Consumer.Held)
	}
}

// TestOutageIsNoStall: what is known to fail is told by its name, and not begun anew.
func TestOutageIsNoStall(t *testing.T) {
	t.Parallel()
	f := open(t)
	s := &faulty{Store: f.store}
	s.down.Store(true)
	q := &mute{Queue: f.queue}
	reg := prometheus.NewPedanticRegistry()
	defer run(t, consumer.Config{Store: s, Queue: q, Clock: still(now), Stall: 100 * time.Millisecond, Registerer: reg})()
	publish(t, f.queue, batch(t, message(t, 1, now)))
	eventually(t, "it has tried for several times as long", func() bool { return s.failed.Load() >= 5 })
	if n := q.subs.Load(); n != 1 || stalls(t, reg) > 0 {
		t.Errorf("%d subscriptions", n)
	}
	s.down.Store(false)
	eventually(t, "it is stored", func() bool { return depth(t, f.queue, queue.Store) == 0 })
}
