package helix_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

// talks is the chat that a sweeper asks.
type talks struct {
	mu   sync.Mutex
	rate float64
}

func (c *talks) set(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = rate
}

func (c *talks) of(string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rate
}

// Where Twitch lists nobody and chat goes on, nothing is sampled until it lists someone again.
func TestChatRefutesEmptyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		chat := &talks{rate: 2}
		s := startSweeps(t, 4, func(c *helix.SweeperConfig) { c.ChatRate = chat.of })
		defer s.stop()
		for _, id := range span(4) {
			s.fake.goLive(id, "s"+id, 10, slot(-5))
		}
		upTo(1)
		s.take(t)
		if live := s.Live(); len(live) != 4 || live["1000"] != 10 {
			t.Errorf("live: %v", live)
		}
		before := len(s.fake.seen("/streams"))
		saved := map[string]stream{}
		s.fake.change(func(f *twitch) {
			for id, live := range f.live {
				saved[id] = live
			}
			clear(f.live)
		})
		chat.set(1)
		upTo(2)
		if n := len(s.fake.seen("/streams")) - before; n != 3 {
			t.Errorf("asked %d times", n)
		}
		upTo(5)
		same(t, s.take(t))
		if c := s.Conditions(); len(c) != 1 || c[0].Name != "helix-empty" || !c[0].Since.Equal(slot(2)) || !strings.Contains(c[0].Detail, "unsampled") {
			t.Errorf("%+v", c)
		}
		s.fake.change(func(f *twitch) { f.live["1000"] = saved["1000"] })
		upTo(6)
		same(t, s.take(t, record.KindViewers),
			"viewers 1000@6 true 10 s1000", "viewers 1001@6 false 0 ", "viewers 1002@6 false 0 ", "viewers 1003@6 false 0 ")
		if c := s.Conditions(); len(c) != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// Where chat has all but ceased too, they are offline at once; people who linger are no witnesses.
func TestSilentChatConfirmsEmptyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		chat := &talks{rate: 2}
		s := startSweeps(t, 3, func(c *helix.SweeperConfig) { c.ChatRate = chat.of })
		defer s.stop()
		for _, id := range span(3) {
			s.fake.goLive(id, "s"+id, 10, slot(-5))
		}
		upTo(1)
		s.take(t)
		s.fake.change(func(f *twitch) { clear(f.live) })
		chat.set(0.4)
		upTo(2)
		same(t, s.take(t), "viewers 1000@2 false 0 ", "viewers 1001@2 false 0 ", "viewers 1002@2 false 0 ")
		if c := s.Conditions(); len(c) != 0 || len(s.Live()) != 0 {
			t.Errorf("%+v, live %v", c, s.Live())
		}
	})
}

// An answer that is empty once is asked for again, with another client id, and what that says counts.
func TestAnotherClientIDIsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		var mu sync.Mutex
		var docs []record.Document
		sweeper, err := helix.NewSweeper(client(t, fake, two), helix.SweeperConfig{
			Emit: func(_ context.Context, found []record.Document) error {
				mu.Lock()
				defer mu.Unlock()
				docs = append(docs, found...)
				return nil
			},
			ChatRate: (&talks{rate: 1}).of, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		var assigned []control.AssignedChannel
		for _, id := range span(3) {
			fake.goLive(id, "s"+id, 10, slot(-5))
			assigned = append(assigned, control.AssignedChannel{Channel: id, Events: []string{"ev"}})
			fake.users[id] = user{ID: id, Login: "login" + id}
		}
		sweeper.Set(assigned, []control.AssignedEvent{{Slug: "ev", Start: midnight, End: slot(100)}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- sweeper.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		upTo(1)
		fake.change(func(f *twitch) {
			f.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/helix/streams" || r.Header.Get("Client-Id") != "one" {
					return false
				}
				reply(w, 200, map[string]any{"data": []stream{}, "pagination": map[string]string{}})
				return true
			}
		})
		upTo(2)
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, d := range docs {
			if v, ok := d.(*record.Viewers); ok && v.Time.Equal(slot(2)) && v.Live && !v.Received.After(slot(2).Add(5*time.Second)) {
				n++
			}
		}
		var ids []string
		for _, r := range fake.seen("/streams") {
			ids = append(ids, r.client)
		}
		if n != 3 || len(sweeper.Conditions()) != 0 || !slices.Equal(ids, []string{"one", "one", "two"}) {
			t.Errorf("%d live samples, conditions %v, asked with %v", n, sweeper.Conditions(), ids)
		}
	})
}

// A lookup that knows none of the accounts is not believed, and told.
func TestEmptyLookups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startSweeps(t, 3, nil)
		defer s.stop()
		upTo(1)
		s.take(t)
		users := map[string]user{}
		s.fake.change(func(f *twitch) {
			for id, u := range f.users {
				users[id] = u
			}
			clear(f.users)
		})
		before := len(s.fake.seen("/users"))
		upTo(10)
		if c := s.Conditions(); len(c) != 1 || c[0].Name != "helix-empty" || c[0].Subject != "users" {
			t.Errorf("%+v", c)
		}
		if n := len(s.fake.seen("/users")) - before; n != 3 {
			t.Errorf("asked %d times", n)
		}
		s.fake.change(func(f *twitch) {
			for id, u := range users {
				f.users[id] = u
			}
		})
		upTo(11)
		if c := s.Conditions(); len(c) != 0 {
			t.Errorf("%+v", c)
		}
	})
}
