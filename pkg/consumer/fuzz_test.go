package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/consumer"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
)

// postbox is a queue that holds one message, in one of its queues, and keeps what is published as
// dead.
type postbox struct {
	name    string
	message queue.Message
	acked   chan struct{}
	dead    chan queue.Message
}

func newPostbox(name string, m queue.Message) *postbox {
	return &postbox{name: name, message: m, acked: make(chan struct{}, 1), dead: make(chan queue.Message, 10_000)}
}

func (p *postbox) Subscribe(ctx context.Context, name string, _ int) (<-chan queue.Delivery, error) {
	out := make(chan queue.Delivery, 1)
	if name == p.name {
		out <- queue.Delivery{Message: p.message, Ack: func(context.Context) error {
			select {
			case p.acked <- struct{}{}:
			default: // it was told before
			}
			return nil
		}}
	}
	context.AfterFunc(ctx, func() { close(out) })
	return out, nil
}

func (p *postbox) Publish(_ context.Context, _ string, messages ...queue.Message) error {
	for _, m := range messages {
		p.dead <- m
	}
	return nil
}

func (p *postbox) Depth(context.Context, string) (int, error) { return 0, nil }

// FuzzDeliveries holds that whatever comes out of a queue ends somewhere and is acknowledged: what
// is no batch, or not storable, as a dead letter that every queue takes, and a dead letter in the
// collection, with words that say why.
func FuzzDeliveries(f *testing.F) {
	good := batch(f, message(f, 1, now), message(f, 2, now))
	f.Add(false, good.ID, good.Body, "", "", "", "", "a", "b")
	f.Add(true, good.ID, good.Body, "the store refuses it", record.CodeRefused, "2", "2026-09-04T18:00:00Z", "a", "b")
	f.Add(true, "", []byte("no batch"), "", "", "-1", "yesterday", "", "")
	f.Add(true, "x", []byte(message(f, 3, now).Doc), "\xff", "\x00", "99999999999999999999", "0000-01-01T00:00:00Z", "a.b$c", "\x00\xff")
	f.Add(false, strings.Repeat("x", 300), good.Body[:40], "", "", "", "", strings.Repeat("n", 300), strings.Repeat("v", 40_000))
	file := f.TempDir() + "/store.db"
	f.Fuzz(func(t *testing.T, dead bool, id string, body []byte, reason, code, times, failed, name, value string) {
		s, err := storelocal.Open(file, storelocal.Options{CacheBytes: 1 << 20, Readers: 2})
		if err != nil {
			t.Fatal(err)
		}
		m := queue.Message{ID: id, Body: body, Headers: map[string]string{
			consumer.HeaderReason: reason, consumer.HeaderCode: code, consumer.HeaderCount: times, consumer.HeaderFailed: failed, name: value,
		}}
		from := queue.Store
		if dead {
			from = queue.Dead
		}
		p := newPostbox(from, m)
		stop := run(t, consumer.Config{Store: s, Queue: p, Clock: still(now)})
		defer func() {
			stop()
			for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Letters}) {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.DeleteIf(t.Context(), store.Letters, store.DocID(raw), "state", record.LetterDead); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-p.acked:
		case <-time.After(20 * time.Second):
			t.Fatal("it is not acknowledged")
		}
		if !dead {
			close(p.dead)
			for m := range p.dead {
				if err := m.Validate(); err != nil {
					t.Fatal(err)
				}
				if m.Headers[consumer.HeaderReason] == "" || m.Headers[consumer.HeaderCode] == "" {
					t.Fatalf("headers %v", m.Headers)
				}
			}
			return
		}
		for _, l := range letters(t, s, 1) {
			if l.State != record.LetterDead || l.Reason == "" || l.Code == "" || l.Count < 1 || l.First.IsZero() || l.First.After(l.Time) {
				t.Fatalf("%+v", l)
			}
			for _, text := range []string{l.Reason, l.Code, l.Queue, l.Message, l.Record, l.Event, l.Channel, string(l.Kind)} {
				if !utf8.ValidString(text) {
					t.Fatalf("%q", text)
				}
			}
			if string(l.Body) != string(body) {
				t.Fatalf("%d bytes became %d", len(body), len(l.Body))
			}
		}
	})
}
