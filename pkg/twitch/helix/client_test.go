package helix_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	cred := helix.Credential{ClientID: "one", Secret: "s3cret"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credential", cred, "config", helix.Config{Clients: []helix.Credential{cred}})
	js, err := json.Marshal(cred)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(js) + fmt.Sprintf("%v %+v %#v %s", cred, cred, cred, cred)
	if strings.Contains(all, "s3cret") || !strings.Contains(all, "one") {
		t.Error(all)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := []helix.Credential{{ClientID: "one", Secret: "s"}}
	for name, tc := range map[string]struct {
		cfg  helix.Config
		want string
	}{
		"none":     {helix.Config{}, "no client id"},
		"no id":    {helix.Config{Clients: []helix.Credential{{Secret: "s"}}}, "client 1 has no client id"},
		"secret":   {helix.Config{Clients: []helix.Credential{{ClientID: "one"}}}, "client id one has no secret"},
		"twice":    {helix.Config{Clients: append(good, good...)}, "client id one is listed twice"},
		"scheme":   {helix.Config{Clients: good, APIURL: "ftp://x"}, "API URL"},
		"relative": {helix.Config{Clients: good, AuthURL: "id.twitch.tv"}, "authentication URL"},
		"query":    {helix.Config{Clients: good, AuthURL: "http://u:pass@h?x=1"}, "authentication URL"},
		"timeout":  {helix.Config{Clients: good, Timeout: -1}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := helix.New(tc.cfg)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "pass") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestStreamsInChunksAndPages(t *testing.T) {
	t.Parallel()
	fake := newTwitch()
	fake.pageSize = 30
	ids := span(250)
	for i, id := range ids {
		if i%2 == 0 {
			fake.goLive(id, "s"+id, i, time.Unix(1_700_000_000, 0))
		}
	}
	streams, err := client(t, fake, nil).Streams(t.Context(), append(ids, ids[:50]...))
	if err != nil || len(streams) != 125 {
		t.Fatal(len(streams), err)
	}
	slices.SortFunc(streams, func(a, b helix.Stream) int { return strings.Compare(a.Channel, b.Channel) })
	got := streams[1]
	want := helix.Stream{
		ID: "s1002", Channel: "1002", Login: "login1002", Category: "Chess", CategoryID: "7", Title: "title",
		Language: "fr", Viewers: 2, Started: time.Unix(1_700_000_000, 0).UTC(),
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
	if n := len(fake.seen("/streams")); n != 5 { // pages of 30: 2 each for the first 50, one for 25
		t.Errorf("%d requests", n)
	}
	if none, err := client(t, fake, nil).Streams(t.Context(), nil); err != nil || len(none) != 0 {
		t.Error(none, err)
	}
}

func TestUsersByIDAndLogin(t *testing.T) {
	t.Parallel()
	fake := newTwitch()
	var logins []string
	for _, id := range span(150) {
		fake.users[id] = user{ID: id, Login: "login" + id, Name: "Name" + id, Picture: "https://p/" + id}
		logins = append(logins, "Login"+id)
	}
	users, err := client(t, fake, nil).Users(t.Context(), span(20), append(logins, "nobody", "not a login", "", "é", logins[3]))
	if err != nil || len(users) != 150 {
		t.Fatal(len(users), err)
	}
	for _, u := range users {
		if u != (helix.User{ID: u.ID, Login: "login" + u.ID, Name: "Name" + u.ID, Picture: "https://p/" + u.ID}) {
			t.Errorf("%+v", u)
		}
	}
	if n := len(fake.seen("/users")); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// One id that can't be one makes Twitch refuse the whole request.
func TestOneBadIDDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	fake := newTwitch()
	ids := append(span(99), "bad")
	for _, id := range span(99) {
		fake.goLive(id, "s"+id, 1, time.Unix(1_700_000_000, 0))
		fake.users[id] = user{ID: id, Login: "l" + id}
	}
	c := client(t, fake, nil)
	streams, err := c.Streams(t.Context(), ids)
	var partial *helix.PartialError
	if len(streams) != 99 || !errors.As(err, &partial) || !slices.Equal(partial.IDs, []string{"bad"}) {
		t.Errorf("%d streams, %v", len(streams), err)
	}
	if n := len(fake.seen("/streams")); n > 20 {
		t.Errorf("%d requests", n)
	}
	users, err := c.Users(t.Context(), ids, nil)
	if len(users) != 99 || err != nil {
		t.Errorf("%d users, %v", len(users), err)
	}
	// Where everything is refused, the search is bounded.
	fake.onAPI = func(w http.ResponseWriter, _ *http.Request) bool { reply(w, 400, nil); return true }
	before := len(fake.seen("/streams"))
	if _, err := c.Streams(t.Context(), ids); !errors.As(err, &partial) || len(partial.IDs) != 100 {
		t.Error(err)
	}
	if n := len(fake.seen("/streams")) - before; n > 40 {
		t.Errorf("%d requests", n)
	}
}

func TestBrokenAnswersAreSurvived(t *testing.T) {
	t.Parallel()
	raw := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	item := func(s string) string { return `{"data":[` + s + `]}` }
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		reason string
		final  bool // trying again is no use
	}{
		"500":            {raw(500, ""), "server_error", false},
		"503 html":       {raw(503, "<html>busy</html>"), "server_error", false},
		"200 empty":      {raw(200, ""), "body", false},
		"200 html":       {raw(200, "<html>log in</html>"), "body", false},
		"truncated":      {raw(200, `{"data":[{"id":"1","user_id":"10`), "body", false},
		"null":           {raw(200, `null`), "body", false},
		"array":          {raw(200, `[]`), "body", false},
		"no data":        {raw(200, `{}`), "body", false},
		"data null":      {raw(200, `{"data":null}`), "body", false},
		"data object":    {raw(200, `{"data":{}}`), "body", false},
		"error in 200":   {raw(200, `{"error":"x","status":500}`), "body", false},
		"item null":      {raw(200, item(`null`)), "body", false},
		"wrong type":     {raw(200, item(`{"id":1}`)), "body", false},
		"viewers text":   {raw(200, item(`{"id":"1","user_id":"1000","viewer_count":"9"}`)), "body", false},
		"viewers below":  {raw(200, item(`{"id":"1","user_id":"1000","viewer_count":-9,"started_at":"2026-01-01T00:00:00Z"}`)), "body", false},
		"no start":       {raw(200, item(`{"id":"1","user_id":"1000","viewer_count":9}`)), "body", false},
		"start empty":    {raw(200, item(`{"id":"1","user_id":"1000","started_at":""}`)), "body", false},
		"pagination odd": {raw(200, `{"data":[],"pagination":[]}`), "body", false},
		"circular":       {raw(200, `{"data":[{"id":"1","user_id":"9","started_at":"2026-01-01T00:00:00Z"}],"pagination":{"cursor":"x"}}`), "body", false},
		"huge":           {raw(200, item(`"`+strings.Repeat("x", helix.MaxAnswerBytes)+`"`)), "body", false},
		"trailing":       {raw(200, `{"data":[]} x`), "body", false},
		"never":          {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout", false},
		"429":            {raw(429, "<html>slow down"), "rate_limited", false},
		"302":            {raw(302, ""), "status", true},
		"204":            {raw(204, ""), "status", true},
		"404":            {raw(404, "not here"), "status", true},
		"400 odd":        {raw(400, `{"message":17}`), "bad_request", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := newTwitch()
				fake.goLive("1000", "s", 5, time.Now())
				left := 2
				fake.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
					if left == 0 {
						return false
					}
					left--
					tc.answer(w, r)
					return true
				}
				reg := prometheus.NewRegistry()
				c := client(t, fake, func(cfg *helix.Config) { cfg.Registerer = reg })
				streams, err := c.Streams(t.Context(), []string{"1000"})
				if tc.final {
					if err == nil || len(streams) != 0 {
						t.Fatal(streams, err)
					}
					return
				}
				if err != nil || len(streams) != 1 {
					t.Fatal(streams, err)
				}
				m := outcomes(t, reg)
				if n := m["tungstene_helix_requests_total/streams/"+tc.reason]; n != 2 {
					t.Errorf("%v counted %v", n, m)
				}
				if s := c.Stats(); s.Requests != 3 || s.Failures != 2 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		fake.onAPI = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
		c := client(t, fake, func(cfg *helix.Config) { cfg.Attempts = 4 })
		_, err := c.Streams(t.Context(), []string{"1000"})
		if n := len(fake.seen("/streams")); err == nil || n != 4 {
			t.Error(n, err)
		}
		if got := conditions(c); got["helix-failing"] != "twitch.test " {
			t.Error(got)
		}
		fake.change(func(t *twitch) { t.onAPI = nil })
		if _, err := c.Streams(t.Context(), []string{"1000"}); err != nil {
			t.Error(err)
		}
		if got := conditions(c); len(got) != 0 {
			t.Error(got)
		}
		// The caller's deadline ends it sooner.
		fake.change(func(t *twitch) {
			t.onAPI = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Streams(ctx, []string{"1000"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "502") {
			t.Error(err)
		}
	})
}

func TestFallsOverAndBack(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"429": 429, "no points left": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := newTwitch()
				reset := time.Now().Add(40 * time.Second)
				// Twitch's clock is not ours: the wait is its reset less its Date.
				skew := time.Hour
				fake.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
					if r.Header.Get("Client-Id") != "one" || !time.Now().Before(reset) {
						limits(w, 700, time.Now().Add(skew+time.Minute))
						return false
					}
					limits(w, 0, reset.Add(skew))
					if status == 429 {
						w.WriteHeader(http.StatusTooManyRequests)
						return true
					}
					return false
				}
				c := client(t, fake, two)
				ask := func() string {
					if _, err := c.Streams(t.Context(), []string{"1000"}); err != nil {
						t.Fatal(err)
					}
					seen := fake.seen("/streams")
					return seen[len(seen)-1].client
				}
				if status == 200 {
					if got := ask(); got != "one" {
						t.Error(got)
					}
				}
				if got := ask(); got != "two" {
					t.Error(got)
				}
				if got := conditions(c); got["helix-exhausted"] != "one " {
					t.Error(got)
				}
				if s := c.Stats().Clients[0]; s.State != helix.StateExhausted || s.Remaining != 0 || s.Limit != 800 {
					t.Errorf("%+v", s)
				}
				n := len(fake.seen("/streams"))
				for range 5 {
					ask()
				}
				if got := len(fake.seen("/streams")); got != n+5 {
					t.Error("the exhausted one was asked")
				}
				time.Sleep(time.Until(reset) + time.Second)
				if got := ask(); got != "one" {
					t.Error(got)
				}
				if got := conditions(c); len(got) != 0 {
					t.Error(got)
				}
			})
		})
	}
}

func TestWaitsWhenAllAreExhausted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		start := time.Now()
		fake.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
			reset := start.Add(30 * time.Second)
			if r.Header.Get("Client-Id") == "one" {
				reset = start.Add(50 * time.Second)
			}
			if time.Now().Before(reset) {
				limits(w, 0, reset)
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			return false
		}
		c := client(t, fake, two)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.Streams(ctx, []string{"1000"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "exhausted") {
			t.Error(err)
		}
		if _, err := c.Streams(t.Context(), []string{"1000"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 31*time.Second {
			t.Error(took)
		}
		if n := len(fake.seen("/streams")); n != 3 {
			t.Errorf("%d requests", n)
		}
	})
}

// A 429 whose reset has passed, or that has none, must not be answered by hammering.
func TestRefusalsWithoutAResetAreSpaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		fake.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
			limits(w, 0, time.Now().Add(-time.Hour))
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err := client(t, fake, nil).Streams(ctx, []string{"1000"})
		if n := len(fake.seen("/streams")); err == nil || n < 5 || n > 20 {
			t.Error(n, err)
		}
	})
}

// In no span of a minute more points are used than the budget says.
func TestBudgetHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		budget := rapid.IntRange(1, 20).Draw(rt, "budget")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 20_000), 1, 60).Draw(rt, "pauses")
		calls := rapid.SliceOfN(rapid.IntRange(1, 350), len(pauses), len(pauses)).Draw(rt, "channels")
		var seen []request
		synctest.Test(t, func(t *testing.T) {
			fake := newTwitch()
			c := client(t, fake, two)
			c.SetBudget(budget)
			for i, pause := range pauses {
				time.Sleep(time.Duration(pause) * time.Millisecond)
				if _, err := c.Streams(t.Context(), span(calls[i])); err != nil {
					t.Error(err)
				}
			}
			seen = fake.seen("/streams")
		})
		at := map[string][]time.Time{}
		for _, r := range seen {
			at[r.client] = append(at[r.client], r.at)
			if times := at[r.client]; len(times) > budget && times[len(times)-1].Sub(times[len(times)-1-budget]) < time.Minute {
				rt.Fatalf("%d points within %s", budget+1, times[len(times)-1].Sub(times[len(times)-1-budget]))
			}
		}
	})
}

func TestTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		c := client(t, fake, nil)
		if _, err := c.Streams(t.Context(), span(350)); err != nil {
			t.Fatal(err)
		}
		if n := len(fake.seen("/token")); n != 1 {
			t.Errorf("%d tokens", n)
		}
		fake.change(func(t *twitch) { clear(t.valid) })
		if _, err := c.Streams(t.Context(), span(350)); err != nil {
			t.Fatal(err)
		}
		if n := len(fake.seen("/token")); n != 2 {
			t.Errorf("%d tokens", n)
		}
		// It is renewed before its end, too.
		time.Sleep(5_000_000*time.Second - 5*time.Minute)
		if _, err := c.Streams(t.Context(), span(1)); err != nil {
			t.Fatal(err)
		}
		if n := len(fake.seen("/token")); n != 3 {
			t.Errorf("%d tokens", n)
		}
	})
}

func TestRefusedClientIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		refused := true
		fake.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
			if refused && r.Header.Get("Client-Id") == "one" {
				reply(w, 401, map[string]any{"message": "no " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")})
				return true
			}
			return false
		}
		c := client(t, fake, two)
		for range 10 {
			if _, err := c.Streams(t.Context(), []string{"1000"}); err != nil {
				t.Fatal(err)
			}
		}
		ones := 0
		for _, r := range fake.seen("/streams") {
			if r.client == "one" {
				ones++
			}
		}
		if ones != 2 { // with its token and with a new one
			t.Errorf("asked %d times", ones)
		}
		cond := c.Conditions()
		if len(cond) != 1 || cond[0].Name != "helix-unauthorized" || cond[0].Subject != "one" || strings.Contains(cond[0].Detail, "token1") {
			t.Errorf("%+v", cond)
		}
		refused = false
		time.Sleep(time.Minute)
		if _, err := c.Streams(t.Context(), []string{"1000"}); err != nil || len(c.Conditions()) != 0 {
			t.Errorf("%v %+v", err, c.Conditions())
		}
	})
}

func TestAllRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		fake.secrets = map[string]string{"one": "another"}
		var log bytes.Buffer
		c := client(t, fake, func(cfg *helix.Config) { two(cfg); cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 5 {
			_, err := c.Streams(t.Context(), span(350))
			if !errors.Is(err, helix.ErrUnauthorized) || strings.Contains(err.Error(), "s3cret") {
				t.Error(err)
			}
		}
		if n := len(fake.seen("/token")); n != 2 {
			t.Errorf("%d token requests", n)
		}
		if got := conditions(c); got["helix-unauthorized"] != "one two " {
			t.Error(got)
		}
		if strings.Contains(log.String(), "s3cret") || !strings.Contains(log.String(), "client=two") {
			t.Error(log.String())
		}
	})
}

func TestTokenHostInTrouble(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"500":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"html":     func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"empty":    func(w http.ResponseWriter) { reply(w, 200, map[string]any{}) },
		"newlines": func(w http.ResponseWriter) { reply(w, 200, map[string]any{"access_token": "a\r\nb"}) },
		"types":    func(w http.ResponseWriter) { reply(w, 200, map[string]any{"access_token": 5, "expires_in": "x"}) },
		"429":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := newTwitch()
				left := 3
				fake.onToken = func(w http.ResponseWriter, _ *http.Request) bool {
					left--
					if left >= 0 {
						answer(w)
					}
					return left >= 0
				}
				if _, err := client(t, fake, nil).Streams(t.Context(), []string{"1000"}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRunValidatesHourlyAndRenewsAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		fake.life = 4 * 3600
		c := client(t, fake, two)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if n, m := len(fake.seen("/token")), len(fake.seen("/validate")); n != 2 || m != 2 {
			t.Error(n, m)
		}
		time.Sleep(2*time.Hour + time.Minute)
		if n, m := len(fake.seen("/token")), len(fake.seen("/validate")); n != 2 || m != 6 {
			t.Error(n, m)
		}
		// Revoked: noticed within the hour.
		fake.change(func(t *twitch) { clear(t.valid) })
		time.Sleep(time.Hour)
		if n := len(fake.seen("/token")); n != 4 {
			t.Error(n)
		}
		// The fake's tokens say four hours whenever they are validated; let them say less.
		fake.change(func(t *twitch) { t.life = 700 })
		time.Sleep(2 * time.Hour)
		if n := len(fake.seen("/token")); n < 10 {
			t.Error(n)
		}
		fake.change(func(t *twitch) { t.secrets = nil })
		time.Sleep(time.Hour)
		if got := conditions(c); got["helix-unauthorized"] != "one two " {
			t.Error(got)
		}
		fake.change(func(t *twitch) { t.secrets = newTwitch().secrets })
		time.Sleep(time.Hour)
		if got := conditions(c); len(got) != 0 {
			t.Error(got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit func(*twitch)
		want []string
	}{
		"fine":    {func(*twitch) {}, nil},
		"secret":  {func(t *twitch) { t.secrets["two"] = "other" }, []string{"client id two", "403", "invalid client secret", "dev.twitch.tv/console"}},
		"unknown": {func(t *twitch) { delete(t.secrets, "one") }, []string{"client id one", "invalid client"}},
		"down": {func(t *twitch) {
			t.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
		}, []string{"503", "try again"}},
		"not json": {func(t *twitch) {
			t.onToken = func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte("hi")); return true }
		}, []string{"can't be read", "something else"}},
		"silent": {func(t *twitch) {
			t.onAPI = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		}, []string{"no answer in time", "HTTPS_PROXY"}},
		"clock": {func(t *twitch) {
			t.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
				return false
			}
		}, []string{"clock is off by 1m0s", "NTP"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := newTwitch()
				tc.edit(fake)
				err := client(t, fake, two).Check(t.Context())
				if (err == nil) != (tc.want == nil) {
					t.Fatal(err)
				}
				for _, want := range tc.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q lacks %q", err, want)
					}
				}
				if err != nil && strings.Contains(err.Error(), "s3cret") {
					t.Error(err)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client(t, newTwitch(), nil).Check(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Over a real connection, from several sides at once: cut bodies, closed connections, two callers'
// contexts apart from each other.
func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	fake := newTwitch()
	for _, id := range span(350) {
		fake.goLive(id, "s"+id, 1, time.Unix(1_700_000_000, 0))
	}
	var (
		n       atomic.Int64
		refused atomic.Bool
	)
	fake.onAPI = func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) % 7 {
		case 1:
			panic(http.ErrAbortHandler)
		case 3:
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"data":[`))
			return true
		case 5:
			// Once: a second time, with the new token, would be a refusal.
			if r.URL.Query().Get("user_id") == "1000" && refused.CompareAndSwap(false, true) {
				reply(w, 401, nil)
				return true
			}
		}
		return false
	}
	srv := httptest.NewServer(fake)
	defer srv.Close()
	c := client(t, fake, func(cfg *helix.Config) {
		cfg.APIURL, cfg.AuthURL, cfg.Transport, cfg.Attempts = srv.URL+"/helix/", srv.URL+"/oauth2", nil, 20
	})
	defer c.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			streams, err := c.Streams(t.Context(), span(350))
			if err != nil || len(streams) != 350 {
				t.Error(len(streams), err)
			}
		})
	}
	wg.Go(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Streams(ctx, span(5)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	wg.Wait()
	srv.Close()
	if _, err := client(t, fake, func(cfg *helix.Config) {
		cfg.APIURL, cfg.AuthURL, cfg.Transport, cfg.Attempts = srv.URL, srv.URL, nil, 1
	}).Streams(t.Context(), span(1)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{`{"data":[]}`, `null`, `{"data":[null]}`, `{"data":[{"id":"1","user_id":"1000","started_at":"2026-01-01T00:00:00Z"}],"pagination":{"cursor":"a"}}`, `{"error":{}}`} {
		f.Add(200, s)
		f.Add(401, s)
		f.Add(500, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			fake := newTwitch()
			fake.onAPI = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
				return true
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c := client(t, fake, func(cfg *helix.Config) { cfg.Attempts = 1 })
			streams, err := c.Streams(ctx, []string{"1000"})
			if err == nil && status != 200 {
				t.Errorf("%d was believed", status)
			}
			for _, s := range streams {
				if s.Channel != "1000" || s.ID == "" || s.Viewers < 0 || s.Started.IsZero() {
					t.Errorf("%+v", s)
				}
			}
			if _, err := c.Users(ctx, []string{"1000"}, nil); err == nil && status != 200 && status != 400 {
				t.Errorf("%d was believed", status)
			}
		})
	})
}

// A token that validation refuses twice marks the client id; the next validation that succeeds
// clears it, without a request to Helix.
func TestRunClearsWhatValidationRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newTwitch()
		fake.onToken = func(w http.ResponseWriter, _ *http.Request) bool {
			reply(w, http.StatusOK, map[string]any{"access_token": "unheard-of", "expires_in": 3600})
			return true
		}
		c := client(t, fake, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if got := conditions(c); got["helix-unauthorized"] != "one " {
			t.Error(got)
		}
		fake.change(func(t *twitch) { t.onToken = nil })
		time.Sleep(10 * time.Minute)
		if got := conditions(c); len(got) != 0 || len(fake.seen("/streams")) != 0 {
			t.Error(got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkStreams is one sweep of 350 live channels, without a network.
func BenchmarkStreams(b *testing.B) {
	fake := newTwitch()
	for _, id := range span(350) {
		fake.goLive(id, "s"+id, 1, time.Unix(1_700_000_000, 0))
	}
	c, err := helix.New(helix.Config{
		Clients: []helix.Credential{{ClientID: "one", Secret: "s3cret-one"}},
		APIURL:  "http://twitch.test/helix", AuthURL: "http://twitch.test", Transport: fake,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Streams(b.Context(), span(350)); err != nil {
			b.Fatal(err)
		}
	}
}
