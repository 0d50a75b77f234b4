package local

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
)

// How long a subscription waits after the file could not be read.
const (
	minReadPause = 100 * time.Millisecond
	maxReadPause = 5 * time.Second
)

// subscription is one subscriber. The queue's mutex guards held and over.
type subscription struct {
	box      *box
	prefetch int
	out      chan queue.Delivery
	poked    chan struct{}
	held     map[*claim]struct{}
	over     bool
}

// claim is a message that a subscription holds.
//
//	held ──Ack──► acknowledging ──written──► acknowledged
//	  │                 └──not written──► held
//	  └──subscription ends──► gone (the message is free for another)
//
// A subscription that ends while it is acknowledging leaves the outcome to that.
type claim struct {
	seq       int64
	size      int64
	delivered bool

	ack   sync.Mutex // one Ack at a time
	state claimState // guarded by the queue's mutex
}

type claimState int

const (
	held claimState = iota
	acknowledging
	acknowledged
	gone
)

func (s *subscription) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// Subscribe delivers the messages of a queue. A message whose bytes in the file are broken is left
// where it is, logged and counted, and the next one is delivered.
func (q *Queue) Subscribe(ctx context.Context, name string, prefetch int) (<-chan queue.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if prefetch < 1 {
		return nil, fmt.Errorf("subscribe to queue %q: a prefetch of %d: use at least 1", name, prefetch)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	b, err := q.box(name)
	if err != nil {
		return nil, err
	}
	s := &subscription{
		box: b, prefetch: prefetch,
		out:   make(chan queue.Delivery),
		poked: make(chan struct{}, 1),
		held:  make(map[*claim]struct{}),
	}
	b.subs[s] = struct{}{}
	q.running.Go(func() { q.deliver(ctx, s) })
	return s.out, nil
}

func (q *Queue) deliver(ctx context.Context, s *subscription) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.running.Go(func() { // so that Close interrupts a read
		select {
		case <-q.done:
			cancel()
		case <-ctx.Done():
		}
	})
	defer close(s.out)
	defer q.end(s)
	pause := minReadPause
	for {
		c := q.claim(s)
		if c == nil {
			select {
			case <-s.poked:
				continue
			case <-ctx.Done():
				return
			}
		}
		m, size, err := q.file.message(ctx, s.box, c.seq)
		switch {
		case err == nil:
			pause = minReadPause
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrDamaged):
			q.metrics.damaged.Inc()
			q.log.Error("a message can't be read: it stays in the file and is not delivered",
				"queue", s.box.name, "number", c.seq, "err", err)
			q.setAside(s, c)
			continue
		default:
			q.log.Error("a queue file can't be read, trying again", "queue", s.box.name, "pause", pause, "err", err)
			q.release(s, c)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause = min(2*pause, maxReadPause)
			continue
		}
		d := queue.Delivery{Message: m, Ack: func(ctx context.Context) error { return q.ack(ctx, s, c) }}
		q.mu.Lock()
		c.size = size
		_, d.Redelivered = s.box.again[c.seq]
		c.delivered = true // before it is: who receives it may acknowledge at once
		q.mu.Unlock()
		select {
		case s.out <- d:
			q.metrics.delivered.WithLabelValues(s.box.name).Inc()
			if d.Redelivered {
				q.metrics.redelivered.WithLabelValues(s.box.name).Inc()
			}
		case <-ctx.Done():
			q.mu.Lock()
			c.delivered = false
			q.mu.Unlock()
			return
		}
	}
}

// claim takes the next message for a subscription that has room, or gives nil.
func (q *Queue) claim(s *subscription) *claim {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(s.held) >= s.prefetch {
		return nil
	}
	c := &claim{}
	switch b := s.box; {
	case len(b.returned) > 0:
		c.seq = heap.Pop(&b.returned).(int64) //nolint:forcetypeassert // only numbers are pushed
	case !b.fresh.empty():
		c.seq = b.fresh.pop()
	default:
		return nil
	}
	s.held[c] = struct{}{}
	return c
}

// release gives a claim up: its message is free again.
func (q *Queue) release(s *subscription, c *claim) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free(s, c)
}

// setAside gives a claim up for good without freeing its message.
func (q *Queue) setAside(s *subscription, c *claim) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(s.held, c)
	c.state = gone
}

// free makes a claim's message available. The caller holds the mutex.
func (q *Queue) free(s *subscription, c *claim) {
	delete(s.held, c)
	c.state = gone
	heap.Push(&s.box.returned, c.seq)
	if c.delivered {
		s.box.again[c.seq] = struct{}{}
	}
	for other := range s.box.subs {
		other.poke()
	}
}

// end frees everything that a subscription holds.
func (q *Queue) end(s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.over = true
	delete(s.box.subs, s)
	for c := range s.held {
		if c.state == held {
			q.free(s, c)
		}
	}
}

func (q *Queue) ack(ctx context.Context, s *subscription, c *claim) error {
	c.ack.Lock()
	defer c.ack.Unlock()
	q.mu.Lock()
	switch c.state {
	case acknowledged:
		q.mu.Unlock()
		return nil
	case gone:
		q.mu.Unlock()
		return fmt.Errorf("acknowledge a message of queue %q: %w", s.box.name, queue.ErrStale)
	case held, acknowledging: // acknowledging can't be: the lock above is held throughout
	}
	if err := ctx.Err(); err != nil {
		q.mu.Unlock()
		return err
	}
	c.state = acknowledging
	q.mu.Unlock()

	err := q.acknowledge(ctx, s.box, c.seq, c.size)

	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err == nil:
		c.state = acknowledged
		delete(s.held, c)
		s.poke()
	case s.over:
		q.free(s, c)
	default:
		c.state = held
	}
	return err
}
