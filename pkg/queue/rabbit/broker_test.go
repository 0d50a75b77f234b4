package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
)

func TestWrongConfigurationIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  rabbit.Config
		want string
	}{
		"nothing":         {rabbit.Config{}, "give at least one host:port"},
		"a URL":           {rabbit.Config{Addresses: []string{"a:1", "amqp://u:geheim@host:5672/"}}, "address 2 is not host:port (user, password"},
		"no host":         {rabbit.Config{Addresses: []string{":5672"}}, "not host:port"},
		"a port":          {rabbit.Config{Addresses: []string{"h:70000"}}, "not host:port"},
		"nonsense":        {rabbit.Config{Addresses: []string{"a:b:c:d]"}}, "not host:port"},
		"window":          {rabbit.Config{Addresses: []string{"h"}, ConfirmWindow: -1}, "confirm window -1"},
		"heartbeat":       {rabbit.Config{Addresses: []string{"h"}, Heartbeat: time.Millisecond}, "heartbeat 1ms"},
		"negative pause":  {rabbit.Config{Addresses: []string{"h"}, MaxBackoff: -1}, "largest pause"},
		"crossing pauses": {rabbit.Config{Addresses: []string{"h"}, MinBackoff: time.Minute}, "longer than the largest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rabbit.Open(t.Context(), test.cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Open: %v, want %q in it", err, test.want)
			}
			if declared := rabbit.Declare(t.Context(), test.cfg); declared == nil || declared.Error() != err.Error() {
				t.Errorf("Declare: %v, want %v", declared, err)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	cfg := rabbit.Config{Addresses: []string{"127.0.0.1:1"}, User: "u", Password: "geheim", DialTimeout: time.Second}
	q := open(t, cfg) // nobody is there, which is no error
	for _, text := range []string{
		fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprintf("%v", &cfg),
		cfg.LogValue().String(), q.Check(t.Context()).Error(), rabbit.Declare(t.Context(), cfg).Error(),
	} {
		if strings.Contains(text, "geheim") || !strings.Contains(text, "127.0.0.1:1") {
			t.Errorf("%q", text)
		}
	}
}

func TestWrongPasswordIsNamed(t *testing.T) {
	cfg := config(t)
	cfg.Password = "geheim"
	for _, err := range []error{rabbit.Declare(t.Context(), cfg), open(t, cfg).Check(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), `user "guest": check name, password`) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v", err)
		}
	}
}

func TestBrokerAway(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	q := open(t, rabbit.Config{Addresses: []string{nobody}, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	if err := q.Send(t.Context(), queue.Message{ID: "x"}); !errors.Is(err, rabbit.ErrDropped) {
		t.Errorf("Send: %v", err)
	}
	over, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := q.Publish(over, queue.Store, queue.Message{ID: "x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish: %v", err)
	}
	if _, err := q.Subscribe(over, queue.Store, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Subscribe: %v", err)
	}
	if _, err := q.Depth(over, queue.Store); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Depth: %v", err)
	}
	feed, err := q.Listen(t.Context(), 1)
	if err != nil {
		t.Errorf("Listen: %v", err)
	}
	publishing := make(chan error, 1)
	go func() { publishing <- q.Publish(t.Context(), queue.Store, queue.Message{ID: "x"}) }()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := queuetest.Receive(t, publishing); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Publish, then Close: %v", err)
	}
	queuetest.Drained(t, feed)
}

func TestOneOfSeveralAddresses(t *testing.T) {
	cfg := config(t)
	declare(t, cfg)
	cfg.Addresses = []string{"127.0.0.1:1", "127.0.0.1:2", cfg.Addresses[0]}
	q := open(t, cfg)
	if err := q.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTopology(t *testing.T) {
	cfg := config(t)
	q := open(t, cfg)
	if err := q.Check(t.Context()); !errors.Is(err, queue.ErrUnroutable) || !strings.Contains(err.Error(), cfg.Prefix) {
		t.Errorf("Check before Declare: %v", err)
	}
	declare(t, cfg)
	if err := q.Publish(t.Context(), queue.Store, queuetest.Numbered("x", 2)...); err != nil {
		t.Fatal(err)
	}
	declare(t, cfg) // again: nothing changes
	queuetest.Eventually(t, "two messages", func() bool {
		n, err := q.Depth(t.Context(), queue.Store)
		return err == nil && n == 2
	})
	if err := q.Check(t.Context()); err != nil {
		t.Error(err)
	}
	// The live feed comes up by itself once its exchange is there.
	queuetest.Eventually(t, "the live feed is up", func() bool { return q.Send(t.Context(), queue.Message{ID: "l"}) == nil })
}

func TestDeclareRefusesOtherKinds(t *testing.T) {
	cfg := config(t)
	conn, err := amqp.DialConfig("amqp://"+cfg.Addresses[0], amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: cfg.User, Password: cfg.Password}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // only for the set-up
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(cfg.Prefix+queue.Store, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Declare(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "is not a plain quorum queue") {
		t.Errorf("a classic queue: %v", err)
	}
	if _, err := ch.QueueDelete(cfg.Prefix+queue.Store, false, false, false); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare(cfg.Prefix+"live", amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Declare(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "is not a durable fanout exchange") {
		t.Errorf("a topic exchange: %v", err)
	}
}

func TestFullQueueRefuses(t *testing.T) {
	cfg := config(t)
	declare(t, cfg)
	q := open(t, cfg)
	b := broker.Get(t)
	if _, err := b.Ctl(t.Context(), "set_policy", "--apply-to", "queues", cfg.Prefix, "^"+strings.ReplaceAll(cfg.Prefix, ".", `\.`),
		`{"max-length": 5, "overflow": "reject-publish"}`); err != nil {
		t.Fatal(err)
	}
	// Policies take effect a little later, and a few more than the limit are taken.
	var err error
	sent := 0
	queuetest.Eventually(t, "a publish is refused", func() bool {
		err = q.Publish(t.Context(), queue.Store, queue.Message{ID: "x"})
		sent++
		return err != nil
	})
	if !errors.Is(err, rabbit.ErrRefused) {
		t.Errorf("got %v after %d", err, sent)
	}
	if err := q.Publish(t.Context(), queue.Dead, queue.Message{ID: "elsewhere"}); err != nil {
		t.Errorf("the other queue: %v", err)
	}
}

func TestBlockedBrokerIsWaitedFor(t *testing.T) {
	cfg := config(t)
	declare(t, cfg)
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	q := open(t, cfg)
	b := broker.Get(t)
	deliveries, err := q.Subscribe(t.Context(), queue.Store, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), queue.Store, queue.Message{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	before := queuetest.Receive(t, deliveries)
	if _, err := b.Ctl(t.Context(), "set_vm_memory_high_watermark", "absolute", "1"); err != nil {
		t.Fatal(err)
	}
	// The broker tells only who publishes.
	publishing := make(chan error, 1)
	go func() { publishing <- q.Publish(t.Context(), queue.Store, queue.Message{ID: "during"}) }()
	queuetest.Eventually(t, "publishers are blocked", func() bool { _, blocked := q.Blocked(); return blocked })
	if reason, _ := q.Blocked(); !strings.Contains(reason, "memory") {
		t.Errorf("reason %q", reason)
	}
	if err := q.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "blocked publishers: low on memory") {
		t.Errorf("Check: %v", err)
	}
	if err := q.Send(t.Context(), queue.Message{ID: "live"}); !errors.Is(err, rabbit.ErrDropped) {
		t.Errorf("Send: %v", err)
	}
	over, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := q.Publish(over, queue.Store, queue.Message{ID: "too late"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish while blocked: %v", err)
	}
	if err := before.Ack(t.Context()); err != nil { // goes over the other connection
		t.Errorf("acknowledge while blocked: %v", err)
	}
	if n := gauge(t, registry, "tungstene_queue_rabbit_blocked"); n != 1 {
		t.Errorf("the metric is %v", n)
	}
	if _, err := b.Ctl(t.Context(), "set_vm_memory_high_watermark", "absolute", "1GB"); err != nil {
		t.Fatal(err)
	}
	if err := queuetest.Receive(t, publishing); err != nil {
		t.Errorf("the publish that waited: %v", err)
	}
	if d := queuetest.Receive(t, deliveries); d.ID != "during" {
		t.Errorf("received %s", d.ID)
	}
	queuetest.Eventually(t, "it is over", func() bool { _, blocked := q.Blocked(); return !blocked })
}

// A broker whose connections stand and which confirms nothing: the leader of the queue is stopped.
func TestForgottenConfirmations(t *testing.T) {
	cfg := config(t)
	declare(t, cfg)
	registry := prometheus.NewRegistry()
	cfg.Registerer, cfg.ConfirmTimeout = registry, 500*time.Millisecond
	q := open(t, cfg)
	b := broker.Get(t)
	leader := fmt.Sprintf("'%%2F_%sstore'", cfg.Prefix)
	if _, err := b.Ctl(t.Context(), "eval", "sys:suspend("+leader+")."); err != nil {
		t.Fatal(err)
	}
	publishing := make(chan error, 1)
	go func() { publishing <- q.Publish(t.Context(), queue.Store, queue.Message{ID: "again"}) }()
	queuetest.Eventually(t, "the connection is given up", func() bool {
		return gauge(t, registry, "tungstene_queue_rabbit_confirms_missing_total") > 0
	})
	if _, err := b.Ctl(t.Context(), "eval", "sys:resume("+leader+")."); err != nil {
		t.Fatal(err)
	}
	if err := queuetest.Receive(t, publishing); err != nil {
		t.Errorf("the publish that was not confirmed at first: %v", err)
	}
}

func gauge(tb testing.TB, g prometheus.Gatherer, name string) float64 {
	tb.Helper()
	families, err := g.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	tb.Fatalf("no metric %s", name)
	return 0
}

func TestMetricsOfTwoClientsNeedNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := rabbit.Config{Addresses: []string{"127.0.0.1:1"}, Registerer: registry}
	one := open(t, cfg)
	if _, err := rabbit.Open(t.Context(), cfg); err == nil {
		t.Error("two clients of one name are no error")
	}
	cfg.Name = "other"
	open(t, cfg)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Name = ""
	open(t, cfg)
}

// A broker that dies as in a power cut, while one publishes and another consumes.
func TestKilledBrokerLosesNothing(t *testing.T) {
	cfg := config(t)
	declare(t, cfg)
	q := open(t, cfg)
	b := broker.Get(t)
	deliveries, err := q.Subscribe(t.Context(), queue.Store, 50)
	if err != nil {
		t.Fatal(err)
	}
	const n, each = 2000, 20
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for chunk := range slices.Chunk(queuetest.Numbered("k", n), each) {
			if err := q.Publish(t.Context(), queue.Store, chunk...); err != nil {
				t.Errorf("publish: %v", err)
			}
		}
	})
	seen := make(map[string]bool)
	for len(seen) < n {
		d := queuetest.Receive(t, deliveries)
		seen[d.ID] = true
		if err := d.Ack(t.Context()); err != nil && !errors.Is(err, queue.ErrStale) {
			t.Fatal(err)
		}
		if len(seen) == n/4 {
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := b.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	publishing.Wait()
}

// BenchmarkPublish sends batches of 500 records of 300 B, from 4 publishers, each waiting for its
// confirmation, and receives and acknowledges them.
func BenchmarkPublish(b *testing.B) {
	cfg := config(b)
	declare(b, cfg)
	queuetest.BenchmarkPublish(b, open(b, cfg))
}
