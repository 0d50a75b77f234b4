// Package queuetest is the proof of the contract in package queue: one suite that every
// implementation passes.
package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
)

// Patience is how long the suite waits for what must happen. It is long for slow machines; nothing
// waits for it that goes well.
const Patience = 60 * time.Second

// Harness is what an implementation brings along for one test.
type Harness struct {
	// Queue is open, with empty queues queue.Store and queue.Dead, and with nobody else at them.
	// The test closes it.
	Queue queue.Queue
	// Restart restarts the broker, or closes the file and opens it, and gives the queue to go on
	// with, which may be the same.
	Restart func(t *testing.T) queue.Queue
	// Cut breaks all connections to the broker, once, without a word. Nil where there are none.
	Cut func(t *testing.T)
}

// Run runs the suite. open is called once per test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"messages arrive whole and in order", inOrder},
		{"what is published survives a restart", durable},
		{"subscribers compete", competing},
		{"no more than prefetch are held", prefetch},
		{"what was not acknowledged comes again", redelivery},
		{"an acknowledgement after the end is stale", stale},
		{"an unknown queue is an error", unroutable},
		{"large bodies", large},
		{"many publishers at once", concurrent},
		{"contexts that have ended", cancelled},
		{"depth", depth},
		{"the live feed reaches every listener", liveFeed},
		{"the live feed waits for nobody", liveSlow},
		{"closing", closing},
		{"broken connections lose nothing", cut},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			q := h.Queue
			t.Cleanup(func() {
				if err := q.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, h)
		})
	}
}

// Receive takes the next value from a channel, and ends the test when none comes.
func Receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case v, ok := <-c:
		if !ok {
			tb.Fatal("the channel is closed")
		}
		return v
	case <-timer.C:
		tb.Fatal("nothing arrives")
	}
	panic("unreachable")
}

// Drained reads a channel until it is closed, and ends the test when it is not.
func Drained[T any](tb testing.TB, c <-chan T) []T {
	tb.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	var all []T
	for {
		select {
		case v, ok := <-c:
			if !ok {
				return all
			}
			all = append(all, v)
		case <-timer.C:
			tb.Fatal("the channel is not closed")
		}
	}
}

// Eventually waits for a condition, and ends the test when it does not come true.
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(Patience)
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("still not so: %s", what)
		}
		<-tick.C
	}
}

// Numbered makes n messages whose ids are prefix and number.
func Numbered(prefix string, n int) []queue.Message {
	messages := make([]queue.Message, n)
	for i := range messages {
		id := prefix + strconv.Itoa(i)
		messages[i] = queue.Message{ID: id, Body: []byte("body of " + id)}
	}
	return messages
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wants(tb testing.TB, what string, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Errorf("%s: %v, want %v", what, err, target)
	}
}

func subscribe(tb testing.TB, q queue.Queue, name string, prefetch int) (<-chan queue.Delivery, context.CancelFunc) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	deliveries, err := q.Subscribe(ctx, name, prefetch)
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	return deliveries, cancel
}

// end ends a subscription and waits for it.
func end(tb testing.TB, deliveries <-chan queue.Delivery, cancel context.CancelFunc) {
	tb.Helper()
	cancel()
	Drained(tb, deliveries)
}

func same(tb testing.TB, got, want queue.Message) {
	tb.Helper()
	if got.ID != want.ID || !bytes.Equal(got.Body, want.Body) || len(got.Headers) != len(want.Headers) {
		tb.Fatalf("received %q (%d bytes, headers %v), want %q (%d bytes, headers %v)",
			got.ID, len(got.Body), got.Headers, want.ID, len(want.Body), want.Headers)
	}
	for k, v := range want.Headers {
		if got.Headers[k] != v {
			tb.Fatalf("header %q of %q is %q, want %q", k, want.ID, got.Headers[k], v)
		}
	}
}

func depthBecomes(tb testing.TB, q queue.Queue, name string, want int) {
	tb.Helper()
	got := -1
	Eventually(tb, fmt.Sprintf("queue %s holds %d messages", name, want), func() bool {
		n, err := q.Depth(tb.Context(), name)
		must(tb, err)
		got = n
		return got == want
	})
}

func inOrder(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	must(t, q.Check(ctx))
	must(t, q.Publish(ctx, queue.Store)) // nothing
	sent := append(Numbered("a", 40),
		queue.Message{ID: "empty"},
		queue.Message{},
		queue.Message{ID: "héaders", Body: []byte{0, 1, 255}, Headers: map[string]string{"reason": "ünlesbar, \"quoted\"\n", "origin": ""}},
	)
	must(t, q.Publish(ctx, queue.Store, sent[:10]...))
	must(t, q.Publish(ctx, queue.Dead, queue.Message{ID: "elsewhere"}))
	for _, m := range sent[10:20] {
		must(t, q.Publish(ctx, queue.Store, m))
	}
	deliveries, cancel := subscribe(t, q, queue.Store, 7)
	defer cancel()
	must(t, q.Publish(ctx, queue.Store, sent[20:]...)) // and while somebody waits
	for i, want := range sent {
		d := Receive(t, deliveries)
		same(t, d.Message, want)
		if d.Redelivered {
			t.Fatalf("message %d is marked as delivered before", i)
		}
		must(t, d.Ack(ctx))
	}
	depthBecomes(t, q, queue.Store, 0)
	depthBecomes(t, q, queue.Dead, 1)
}

func durable(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	sent := Numbered("d", 30)
	must(t, q.Publish(ctx, queue.Store, sent...))
	must(t, q.Publish(ctx, queue.Dead, sent[0]))
	deliveries, cancel := subscribe(t, q, queue.Store, 10)
	defer cancel()
	for i := range 10 { // 0-4 are dealt with, 5-9 are only held
		d := Receive(t, deliveries)
		same(t, d.Message, sent[i])
		if i < 5 {
			must(t, d.Ack(ctx))
		}
	}
	end(t, deliveries, cancel) // so that the acknowledgements are taken note of
	q = h.Restart(t)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	depthBecomes(t, q, queue.Dead, 1)
	deliveries, cancel = subscribe(t, q, queue.Store, 100)
	defer cancel()
	for _, want := range sent[5:] {
		d := Receive(t, deliveries)
		same(t, d.Message, want)
		must(t, d.Ack(ctx))
	}
	depthBecomes(t, q, queue.Store, 0)
	must(t, q.Publish(ctx, queue.Store, queue.Message{ID: "after"}))
	d := Receive(t, deliveries)
	same(t, d.Message, queue.Message{ID: "after"})
	must(t, d.Ack(ctx))
}

func competing(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	const n = 120
	var mu sync.Mutex
	seen := make(map[string]int)
	var subscribers sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	defer stop()
	for range 3 {
		deliveries, err := q.Subscribe(running, queue.Store, 5)
		must(t, err)
		subscribers.Go(func() {
			for d := range deliveries {
				mu.Lock()
				seen[d.ID]++
				mu.Unlock()
				if err := d.Ack(ctx); err != nil {
					t.Errorf("acknowledge %s: %v", d.ID, err)
				}
			}
		})
	}
	must(t, q.Publish(ctx, queue.Store, Numbered("c", n)...))
	Eventually(t, "all are delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == n
	})
	depthBecomes(t, q, queue.Store, 0)
	stop()
	subscribers.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was delivered %d times", id, times)
		}
	}
}

func prefetch(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	sent := Numbered("p", 10)
	must(t, q.Publish(ctx, queue.Store, sent...))
	first, cancelFirst := subscribe(t, q, queue.Store, 3)
	defer cancelFirst()
	held := []queue.Delivery{Receive(t, first), Receive(t, first), Receive(t, first)}
	// If the first were given more than three, the second would not get all the others.
	second, cancelSecond := subscribe(t, q, queue.Store, 100)
	defer cancelSecond()
	for _, want := range sent[3:] {
		d := Receive(t, second)
		same(t, d.Message, want)
		must(t, d.Ack(ctx))
	}
	end(t, second, cancelSecond)
	// Room again for one.
	must(t, q.Publish(ctx, queue.Store, Numbered("q", 2)...))
	must(t, held[1].Ack(ctx))
	same(t, Receive(t, first).Message, Numbered("q", 1)[0])
	if _, err := q.Subscribe(ctx, queue.Store, 0); err == nil {
		t.Error("a prefetch of 0 is no error")
	}
}

func redelivery(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	sent := Numbered("r", 6)
	must(t, q.Publish(ctx, queue.Store, sent...))
	first, cancel := subscribe(t, q, queue.Store, 4)
	defer cancel()
	for i := range 4 {
		d := Receive(t, first)
		same(t, d.Message, sent[i])
		if i == 1 {
			must(t, d.Ack(ctx))
		}
	}
	end(t, first, cancel)
	second, cancel := subscribe(t, q, queue.Store, 10)
	defer cancel()
	for _, i := range []int{0, 2, 3, 4, 5} {
		d := Receive(t, second)
		same(t, d.Message, sent[i])
		// The fifth may have been on its way to the first subscriber.
		if again := i <= 3; again && !d.Redelivered || i == 5 && d.Redelivered {
			t.Errorf("message %d: redelivered is %v", i, d.Redelivered)
		}
		must(t, d.Ack(ctx))
	}
	depthBecomes(t, q, queue.Store, 0)
}

func stale(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	sent := Numbered("s", 2)
	must(t, q.Publish(ctx, queue.Store, sent...))
	deliveries, cancel := subscribe(t, q, queue.Store, 2)
	defer cancel()
	acknowledged, kept := Receive(t, deliveries), Receive(t, deliveries)
	must(t, acknowledged.Ack(ctx))
	must(t, acknowledged.Ack(ctx)) // does nothing, and breaks nothing
	end(t, deliveries, cancel)
	wants(t, "acknowledgement after the subscription", kept.Ack(ctx), queue.ErrStale)
	must(t, acknowledged.Ack(ctx))
	deliveries, cancel = subscribe(t, q, queue.Store, 2)
	defer cancel()
	d := Receive(t, deliveries)
	same(t, d.Message, sent[1])
	wants(t, "acknowledgement of another's message", kept.Ack(ctx), queue.ErrStale)
	must(t, d.Ack(ctx))
	depthBecomes(t, q, queue.Store, 0)
}

func unroutable(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	wants(t, "publish", q.Publish(ctx, "nowhere", Numbered("u", 3)...), queue.ErrUnroutable)
	_, err := q.Subscribe(ctx, "nowhere", 1)
	wants(t, "subscribe", err, queue.ErrUnroutable)
	_, err = q.Depth(ctx, "nowhere")
	wants(t, "depth", err, queue.ErrUnroutable)
	must(t, q.Publish(ctx, queue.Store, Numbered("u", 3)...))
	depthBecomes(t, q, queue.Store, 3)
}

func large(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	body := make([]byte, queue.MaxBodyBytes)
	for i := range body {
		body[i] = byte(i * i >> 8)
	}
	biggest := queue.Message{
		ID: string(bytes.Repeat([]byte("i"), queue.MaxIDBytes)), Body: body,
		Headers: map[string]string{"reason": string(bytes.Repeat([]byte("r"), queue.MaxHeaderBytes-6))},
	}
	must(t, q.Publish(ctx, queue.Store, biggest))
	wants(t, "body", q.Publish(ctx, queue.Store, queue.Message{Body: make([]byte, queue.MaxBodyBytes+1)}), queue.ErrTooLarge)
	wants(t, "id", q.Publish(ctx, queue.Store, queue.Message{ID: biggest.ID + "i"}), queue.ErrTooLarge)
	wants(t, "headers", q.Publish(ctx, queue.Store, queue.Message{Headers: map[string]string{"reasons": biggest.Headers["reason"]}}), queue.ErrTooLarge)
	wants(t, "live", q.Send(ctx, queue.Message{Body: make([]byte, queue.MaxBodyBytes+1)}), queue.ErrTooLarge)
	deliveries, cancel := subscribe(t, q, queue.Store, 1)
	defer cancel()
	d := Receive(t, deliveries)
	same(t, d.Message, biggest)
	must(t, d.Ack(ctx))
	depthBecomes(t, q, queue.Store, 0)
}

func concurrent(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	const publishers, calls, each = 8, 10, 3
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			messages := Numbered(fmt.Sprintf("%d-", p), calls*each)
			for chunk := range slices.Chunk(messages, each) {
				if err := q.Publish(ctx, queue.Store, chunk...); err != nil {
					t.Errorf("publisher %d: %v", p, err)
				}
			}
		})
	}
	deliveries, cancel := subscribe(t, q, queue.Store, 50)
	defer cancel()
	next := make(map[int]int)
	for range publishers * calls * each {
		d := Receive(t, deliveries)
		var p, n int
		if _, err := fmt.Sscanf(d.ID, "%d-%d", &p, &n); err != nil {
			t.Fatalf("id %q: %v", d.ID, err)
		}
		if n != next[p] {
			t.Fatalf("publisher %d: message %d arrives where %d is due", p, n, next[p])
		}
		next[p]++
		must(t, d.Ack(ctx))
	}
	publishing.Wait()
	depthBecomes(t, q, queue.Store, 0)
}

func cancelled(t *testing.T, h Harness) {
	q := h.Queue
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wants(t, "publish", q.Publish(over, queue.Store, Numbered("x", 1)...), context.Canceled)
	wants(t, "send", q.Send(over, queue.Message{ID: "x"}), context.Canceled)
	_, err := q.Subscribe(over, queue.Store, 1)
	wants(t, "subscribe", err, context.Canceled)
	_, err = q.Listen(over, 1)
	wants(t, "listen", err, context.Canceled)
	depthBecomes(t, q, queue.Store, 0)

	must(t, q.Publish(t.Context(), queue.Store, Numbered("x", 3)...))
	deliveries, stop := subscribe(t, q, queue.Store, 3)
	defer stop()
	d := Receive(t, deliveries)
	wants(t, "acknowledge", d.Ack(over), context.Canceled)
	must(t, d.Ack(t.Context())) // still ours
	// Ends although messages wait that nobody takes.
	end(t, deliveries, stop)
	depthBecomes(t, q, queue.Store, 2)
}

func depth(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	depthBecomes(t, q, queue.Store, 0)
	must(t, q.Publish(ctx, queue.Store, Numbered("n", 12)...))
	depthBecomes(t, q, queue.Store, 12)
	depthBecomes(t, q, queue.Dead, 0)
	deliveries, cancel := subscribe(t, q, queue.Store, 2)
	defer cancel()
	for range 5 {
		must(t, Receive(t, deliveries).Ack(ctx))
	}
	end(t, deliveries, cancel)
	depthBecomes(t, q, queue.Store, 7)
}

func liveFeed(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	must(t, q.Send(ctx, queue.Message{ID: "before anyone"}))
	// That one may still be on its way: listeners begin when it is certain to have arrived.
	for range 2 {
		first, cancel := context.WithCancel(ctx)
		c, err := q.Listen(first, 10)
		must(t, err)
		must(t, q.Send(ctx, queue.Message{ID: "marker"}))
		for Receive(t, c).ID != "marker" {
			continue
		}
		cancel()
		Drained(t, c)
	}
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	one, err := q.Listen(listening, 100)
	must(t, err)
	two, err := q.Listen(ctx, 100)
	must(t, err)
	sent := Numbered("l", 30)
	sent[7].Headers = map[string]string{"event": "zevent"}
	for _, m := range sent {
		must(t, q.Send(ctx, m))
	}
	for _, c := range []<-chan queue.Message{one, two} {
		for _, want := range sent {
			same(t, Receive(t, c), want)
		}
	}
	cancel()
	Drained(t, one)
	must(t, q.Send(ctx, queue.Message{ID: "for one"}))
	same(t, Receive(t, two), queue.Message{ID: "for one"})
	depthBecomes(t, q, queue.Store, 0)
}

func liveSlow(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	const n, buffer = 200, 8
	slow, err := q.Listen(ctx, buffer)
	must(t, err)
	quick, err := q.Listen(ctx, n)
	must(t, err)
	for _, m := range Numbered("", n) {
		must(t, q.Send(ctx, m)) // though nobody reads
		if len(slow) > buffer {
			t.Fatalf("%d messages are held, the bound is %d", len(slow), buffer)
		}
	}
	for i := range n {
		if m := Receive(t, quick); m.ID != strconv.Itoa(i) {
			t.Fatalf("the quick listener received %s where %d is due", m.ID, i)
		}
	}
	Eventually(t, "the slow listener's buffer is full", func() bool { return len(slow) == buffer })
	for last := -1; last < n-1; { // the newest is kept
		m := Receive(t, slow)
		i, err := strconv.Atoi(m.ID)
		must(t, err)
		if i <= last {
			t.Fatalf("message %d after %d", i, last)
		}
		last = i
	}
}

func closing(t *testing.T, h Harness) {
	q, ctx := h.Queue, t.Context()
	must(t, q.Publish(ctx, queue.Store, Numbered("z", 5)...))
	deliveries, err := q.Subscribe(ctx, queue.Store, 2)
	must(t, err)
	d := Receive(t, deliveries)
	feed, err := q.Listen(ctx, 1)
	must(t, err)
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := q.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	closers.Wait()
	must(t, q.Close())
	Drained(t, deliveries)
	Drained(t, feed)
	wants(t, "acknowledge", d.Ack(ctx), queue.ErrStale)
	wants(t, "publish", q.Publish(ctx, queue.Store, Numbered("z", 1)...), queue.ErrClosed)
	wants(t, "send", q.Send(ctx, queue.Message{}), queue.ErrClosed)
	wants(t, "check", q.Check(ctx), queue.ErrClosed)
	_, err = q.Subscribe(ctx, queue.Store, 1)
	wants(t, "subscribe", err, queue.ErrClosed)
	_, err = q.Listen(ctx, 1)
	wants(t, "listen", err, queue.ErrClosed)
	_, err = q.Depth(ctx, queue.Store)
	wants(t, "depth", err, queue.ErrClosed)
}

func cut(t *testing.T, h Harness) {
	if h.Cut == nil {
		t.Skip("there are no connections to break")
	}
	q, ctx := h.Queue, t.Context()
	const calls, each, cuts = 40, 25, 4
	deliveries, cancel := subscribe(t, q, queue.Store, 20)
	defer cancel()
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for chunk := range slices.Chunk(Numbered("", calls*each), each) {
			if err := q.Publish(ctx, queue.Store, chunk...); err != nil {
				t.Errorf("publish: %v", err)
			}
		}
	})
	seen := make(map[string]bool)
	for due := 0; due < calls*each; {
		d := Receive(t, deliveries)
		if !seen[d.ID] {
			// Others may come twice, but each for the first time in its order.
			if d.ID != strconv.Itoa(due) {
				t.Fatalf("message %s arrives where %d is due", d.ID, due)
			}
			seen[d.ID] = true
			due++
			if due%(calls*each/(cuts+1)) == 0 && due < calls*each {
				h.Cut(t)
			}
		}
		if err := d.Ack(ctx); err != nil && !errors.Is(err, queue.ErrStale) {
			t.Fatal(err)
		}
	}
	publishing.Wait()
	// The rest are duplicates: a stale acknowledgement, or a message sent again.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for d := range deliveries {
			if !seen[d.ID] {
				t.Errorf("message %s was never sent", d.ID)
			}
			if err := d.Ack(ctx); err != nil && !errors.Is(err, queue.ErrStale) {
				t.Errorf("acknowledge: %v", err)
			}
		}
	}()
	depthBecomes(t, q, queue.Store, 0)
	cancel()
	<-drained
	Eventually(t, "both connections stand again", func() bool { return q.Check(ctx) == nil })
}
