package sim_test

import (
	"context"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	twitch "github.com/gempir/go-twitch-irc/v4"
	"github.com/nicklaw5/helix/v2"

	"github.com/tungstene/tungstene/pkg/sim"
)

// toOAuth sends what the library would send to id.twitch.tv to the simulator.
type toOAuth struct {
	base string
	http *http.Client
}

func (o toOAuth) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.String(), helix.AuthBaseURL) {
		u, err := url.Parse(o.base + strings.TrimPrefix(r.URL.String(), helix.AuthBaseURL))
		if err != nil {
			return nil, err
		}
		r.URL, r.Host = u, u.Host
	}
	return o.http.Do(r)
}

func helixClient(t *testing.T, s *sim.Sim, id, secret string) *helix.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := helix.NewClient(&helix.Options{
		ClientID: id, ClientSecret: secret, APIBaseURL: s.HelixURL(),
		HTTPClient: toOAuth{s.AuthURL(), &http.Client{Transport: transport, Timeout: patience}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authorized(t *testing.T, s *sim.Sim) *helix.Client {
	t.Helper()
	c := helixClient(t, s, "us", "secret")
	got, err := c.RequestAppAccessToken(nil)
	if err != nil || got.StatusCode != http.StatusOK || got.Data.AccessToken == "" || got.Data.ExpiresIn <= 0 {
		t.Fatalf("token: %+v, %v", got, err)
	}
	c.SetAppAccessToken(got.Data.AccessToken)
	return c
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Clients: map[string]string{"us": "secret"}})
	for _, tc := range []struct {
		id, secret string
		status     int
		message    string
	}{
		{"us", "wrong", 403, "invalid client secret"},
		{"them", "secret", 400, "invalid client"},
		{"us", "", 400, "missing client secret"},
	} {
		got, err := helixClient(t, s, tc.id, tc.secret).RequestAppAccessToken(nil)
		if err != nil || got.StatusCode != tc.status || got.ErrorStatus != tc.status || got.ErrorMessage != tc.message {
			t.Errorf("%s/%s: %+v, %v", tc.id, tc.secret, got, err)
		}
	}
	c := authorized(t, s)
	ok, v, err := c.ValidateToken(c.GetAppAccessToken())
	if err != nil || !ok || v.Data.ClientID != "us" || v.Data.ExpiresIn <= 0 {
		t.Errorf("validate: %+v, %v", v, err)
	}
	users := &helix.UsersParams{Logins: s.Logins()}
	if got, err := c.GetUsers(users); err != nil || len(got.Data.Users) != 1 {
		t.Errorf("users: %+v, %v", got, err)
	}
	other := helixClient(t, s, "someone", "else")
	other.SetAppAccessToken(c.GetAppAccessToken())
	if got, err := other.GetUsers(users); err != nil || got.StatusCode != http.StatusUnauthorized || got.ErrorMessage != "Client ID and OAuth token do not match" {
		t.Errorf("another's token: %+v, %v", got, err)
	}
	s.ExpireTokens()
	if got, err := c.GetUsers(users); err != nil || got.StatusCode != http.StatusUnauthorized || got.Error != "Unauthorized" || got.ErrorMessage != "Invalid OAuth token" {
		t.Errorf("an expired token: %+v, %v", got, err)
	}
	if ok, _, err := c.ValidateToken(c.GetAppAccessToken()); ok || err != nil {
		t.Errorf("an expired token is valid: %v", err)
	}
	none := helixClient(t, s, "us", "secret")
	if got, err := none.GetUsers(users); err != nil || got.StatusCode != http.StatusUnauthorized || got.ErrorMessage != "OAuth token is missing" {
		t.Errorf("no token: %+v, %v", got, err)
	}
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Limits: sim.Limits{TokenLife: time.Nanosecond}})
	c := helixClient(t, s, "anyone", "anything")
	got, err := c.RequestAppAccessToken(nil)
	if err != nil || got.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", got, err)
	}
	c.SetAppAccessToken(got.Data.AccessToken)
	if got, err := c.GetUsers(&helix.UsersParams{Logins: s.Logins()}); err != nil || got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token past its life: %+v, %v", got, err)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 250})
	c := authorized(t, s)
	for i, ch := range s.Channels() {
		if err := s.SetLive(ch.Login, i%5 != 4); err != nil {
			t.Fatal(err)
		}
	}
	chs := s.Channels()
	var ids, logins []string
	for _, ch := range chs[:100] {
		ids, logins = append(ids, ch.ID), append(logins, ch.Login)
	}
	for name, params := range map[string]*helix.StreamsParams{
		"ids":    {UserIDs: ids, First: 100},
		"logins": {UserLogins: logins, First: 100},
		"twice":  {UserLogins: logins, UserIDs: ids, First: 100},
	} {
		got, err := c.GetStreams(params)
		if err != nil || len(got.Data.Streams) != 80 || got.Data.Pagination.Cursor != "" {
			t.Errorf("by %s: %d streams, cursor %q, %v", name, len(got.Data.Streams), got.Data.Pagination.Cursor, err)
			continue
		}
		for i, v := range got.Data.Streams {
			if v.ViewerCount <= 0 || v.StartedAt.IsZero() || v.ID == "" || v.Type != "live" || v.Title == "" || v.GameName == "" || v.Language == "" {
				t.Errorf("stream %+v", v)
			}
			if i > 0 && v.ViewerCount > got.Data.Streams[i-1].ViewerCount {
				t.Errorf("stream %d has more viewers than that before", i)
			}
		}
	}
	seen, pages := map[string]bool{}, 0
	for after := ""; ; pages++ { // all of Twitch, in pages of 30
		got, err := c.GetStreams(&helix.StreamsParams{First: 30, After: after})
		if err != nil || got.StatusCode != http.StatusOK {
			t.Fatalf("page: %+v, %v", got, err)
		}
		for _, v := range got.Data.Streams {
			seen[v.UserID] = true
		}
		if after = got.Data.Pagination.Cursor; after == "" {
			break
		}
	}
	if len(seen) != 200 || pages != 6 {
		t.Errorf("%d streams after %d pages", len(seen), pages)
	}
	if got, err := c.GetStreams(&helix.StreamsParams{UserIDs: ids}); err != nil || len(got.Data.Streams) != 20 || got.Data.Pagination.Cursor == "" {
		t.Errorf("without first: %d streams, %v", len(got.Data.Streams), err)
	}
	for name, params := range map[string]*helix.StreamsParams{
		"101 ids":    {UserIDs: append(ids, "1")},
		"101 logins": {UserLogins: append(logins, "x")},
		"first":      {First: 101},
		"cursor":     {After: "!"},
	} {
		if got, err := c.GetStreams(params); err != nil || got.StatusCode != http.StatusBadRequest || got.Error != "Bad Request" || got.ErrorMessage == "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got := s.Sweeps(s.Clock().Now()) + s.Sweeps(s.Clock().Now().Add(-time.Minute)); got != 11 {
		t.Errorf("%d sweeps were counted", got)
	}
	if err := s.SetLive("nobody_there", true); err == nil {
		t.Error("a channel that is not there went live")
	}
}

func TestUsersAndChannels(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 3})
	c := authorized(t, s)
	chs := s.Channels()
	users, err := c.GetUsers(&helix.UsersParams{IDs: []string{chs[0].ID, "42"}, Logins: []string{strings.ToUpper(chs[1].Login), "nobody_there"}})
	if err != nil || len(users.Data.Users) != 2 {
		t.Fatalf("users: %+v, %v", users, err)
	}
	for i, u := range users.Data.Users {
		if u.ID != chs[i].ID || u.Login != chs[i].Login || u.DisplayName != chs[i].Name {
			t.Errorf("user %+v", u)
		}
		b, _ := get(t, u.ProfileImageURL, http.StatusOK)
		if img, err := png.Decode(strings.NewReader(b)); err != nil || img.Bounds().Dx() != 300 {
			t.Errorf("picture: %v, %q", err, b)
		}
	}
	info, err := c.GetChannelInformation(&helix.GetChannelInformationParams{BroadcasterIDs: []string{chs[2].ID, "42"}})
	if err != nil || len(info.Data.Channels) != 1 || info.Data.Channels[0].BroadcasterName != chs[2].Name || info.Data.Channels[0].Title == "" {
		t.Errorf("information: %+v, %v", info, err)
	}
	for name, params := range map[string]*helix.UsersParams{
		"none": {}, "bad id": {IDs: []string{"x"}}, "bad login": {Logins: []string{"a b"}},
		"too many": {IDs: strings.Split(strings.Repeat("1,", 100)+"1", ",")},
	} {
		if got, err := c.GetUsers(params); err != nil || got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Limits: sim.Limits{HelixPoints: 3}})
	c := authorized(t, s)
	users := &helix.UsersParams{Logins: s.Logins()}
	left := []int{}
	for {
		got, err := c.GetUsers(users)
		if err != nil || got.GetRateLimit() != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		if reset := time.Unix(int64(got.GetRateLimitReset()), 0); reset.Before(time.Now()) || reset.After(time.Now().Add(time.Minute+time.Second)) {
			t.Errorf("reset at %s", reset)
		}
		left = append(left, got.GetRateLimitRemaining())
		if got.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if len(left) < 4 || left[0] != 2 || left[len(left)-1] != 0 {
		t.Errorf("points left: %v", left)
	}
	other := helixClient(t, s, "them", "secret") // another client id has its own points
	token, err := other.RequestAppAccessToken(nil)
	if err != nil {
		t.Fatal(err)
	}
	other.SetAppAccessToken(token.Data.AccessToken)
	if got, err := other.GetUsers(users); err != nil || got.StatusCode != http.StatusOK {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHelixFaults(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Limits: sim.Limits{HelixPoints: 100_000}})
	c := authorized(t, s)
	users := &helix.UsersParams{Logins: s.Logins()}
	ask := func(f sim.Faults, ok func(*helix.UsersResponse, error) bool) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got, err := c.GetUsers(users); !ok(got, err) {
				t.Fatalf("%+v: %+v, %v", f, got, err)
			}
		}
	}
	ask(sim.Faults{Helix429: 1}, func(r *helix.UsersResponse, err error) bool {
		return err == nil && r.StatusCode == http.StatusTooManyRequests && r.GetRateLimitRemaining() == 0
	})
	ask(sim.Faults{Helix5xx: 1}, func(r *helix.UsersResponse, err error) bool { return err == nil && r.StatusCode >= 500 })
	ask(sim.Faults{HelixOdd: 1}, func(r *helix.UsersResponse, err error) bool {
		return err != nil || r.StatusCode == http.StatusOK && len(r.Data.Users) == 0
	})
	if err := s.SetFaults(sim.Faults{HelixHang: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HelixURL()+"/users?login="+s.Logins()[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.GetAppAccessToken())
	req.Header.Set("Client-Id", "us")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if res, err := (&http.Client{Transport: transport}).Do(req); err == nil {
		_ = res.Body.Close()
		t.Errorf("a request that hangs was answered: %s", res.Status)
	}
	ask(sim.Faults{}, func(r *helix.UsersResponse, err error) bool { return err == nil && len(r.Data.Users) == 1 })
	ask(sim.Faults{HelixEmpty: 1}, func(r *helix.UsersResponse, err error) bool { return err == nil && len(r.Data.Users) == 1 })
	streams := &helix.StreamsParams{UserLogins: s.Logins()}
	if got, err := c.GetStreams(streams); err != nil || got.StatusCode != http.StatusOK || len(got.Data.Streams) != 0 {
		t.Errorf("%+v, %v; want an empty list", got, err)
	}
	if err := s.SetFaults(sim.Faults{}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetStreams(streams); err != nil || len(got.Data.Streams) != 1 {
		t.Errorf("%+v, %v; want the stream again", got, err)
	}
}

func get(t *testing.T, address string, status int) (string, http.Header) {
	t.Helper()
	return do(t, http.MethodGet, address, "", status)
}

func do(t *testing.T, method, address, body string, status int) (string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Fatalf("%s %s: %s %q, %v", method, address, res.Status, b, err)
	}
	return string(b), res.Header
}

func TestControl(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 2, Rate: 1000})
	base := strings.TrimSuffix(s.HelixURL(), "/helix") + "/sim/"
	c := login(t, s, "justinfan1")
	name := s.Logins()[0]
	c.join(name)
	do(t, http.MethodPost, base+"begin", "", http.StatusOK)
	c.until("PRIVMSG")
	var st sim.Status
	b, _ := get(t, base+"status", http.StatusOK)
	if err := json.Unmarshal([]byte(b), &st); err != nil || !st.Begun || st.Done || st.Connections != 1 || st.Joined != 1 || st.Channels != 2 || st.Sent == 0 {
		t.Errorf("status %s, %v", b, err)
	}
	b, _ = get(t, base+"channels", http.StatusOK)
	if !strings.Contains(b, `"login":"`+name+`"`) {
		t.Errorf("channels %s", b)
	}
	var clk struct {
		Now   time.Time `json:"now"`
		Speed float64   `json:"speed"`
	}
	b, _ = get(t, base+"clock", http.StatusOK)
	if err := json.Unmarshal([]byte(b), &clk); err != nil || clk.Speed != 1 || clk.Now.IsZero() {
		t.Errorf("clock %s, %v", b, err)
	}
	for _, bad := range []string{"", "{", `{}`, `{"do":"dance"}`, `{"doo":"drop"}`, `{"do":"rename","login":"nobody","to":"x"}`, `{"do":"mute","login":"nobody"}`, `{"do":"unmute"}`, `{"faults":{"duplicate":7}}`} {
		do(t, http.MethodPost, base+"fault", bad, http.StatusBadRequest)
	}
	for _, good := range []string{
		`{"faults":{"duplicate":0.5,"reconnect_every":"1h"}}`, `{"do":"freeze","nick":"justinfan"}`, `{"do":"thaw"}`, `{"do":"mute","login":"` + name + `","most":1}`,
		`{"do":"unmute","login":"` + name + `"}`, `{"do":"offline","login":"` + name + `"}`,
		`{"do":"live","login":"` + name + `"}`, `{"do":"expire-tokens"}`, `{"do":"rename","login":"` + name + `","to":"renamed_sim"}`,
	} {
		do(t, http.MethodPost, base+"fault", good, http.StatusOK)
	}
	if st := s.Status(); st.Faults.Duplicate != 0.5 || time.Duration(st.Faults.ReconnectEvery) != time.Hour {
		t.Errorf("faults %+v", st.Faults)
	}
	b, _ = do(t, http.MethodPost, base+"fault", `{"do":"reconnect"}`, http.StatusOK)
	if strings.TrimSpace(b) != `{"connections":1}` {
		t.Errorf("reconnect: %s", b)
	}
	c.until("RECONNECT")
	do(t, http.MethodPost, base+"fault", `{"do":"drop"}`, http.StatusOK)
	b, _ = do(t, http.MethodPost, base+"end", "", http.StatusOK)
	if !strings.Contains(b, `"done":true`) {
		t.Errorf("end: %s", b)
	}
	if _, err := c.rest(); err != nil {
		t.Error(err)
	}
}

// TestReplayViewers asks Helix in each minute, and lets the minute go on only when it has answered.
func TestReplayViewers(t *testing.T) {
	t.Parallel()
	rows, err := sim.AGDQ2020()
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2020, 1, 5, 19, 0, 0, 0, time.UTC)
	want := map[time.Time]int{}
	for _, row := range rows {
		want[row.Time] = row.Viewers
	}
	var mu sync.Mutex
	sampled := map[time.Time]bool{}
	s := start(t, sim.Config{Replay: &sim.Replay{Rows: rows, From: from, For: 5 * time.Minute, Speed: 600, GateTimeout: patience, Gate: func(m time.Time) bool {
		mu.Lock()
		defer mu.Unlock()
		return sampled[m]
	}}})
	c := authorized(t, s)
	s.Begin()
	for m := from; m.Before(from.Add(5 * time.Minute)); m = m.Add(time.Minute) {
		if err := s.Clock().Until(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got, err := c.GetStreams(&helix.StreamsParams{UserLogins: s.Logins()})
		if err != nil || len(got.Data.Streams) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		if v := got.Data.Streams[0].ViewerCount; want[m] == sim.NotRecorded || v != want[m] {
			t.Errorf("%s: %d viewers, recorded were %d", m, v, want[m])
		}
		mu.Lock()
		sampled[m] = true
		mu.Unlock()
	}
	<-s.Done()
}

// TestChatLibrary reads a recording with the library that the collector uses.
func TestChatLibrary(t *testing.T) {
	t.Parallel()
	from := time.Date(2020, 1, 6, 12, 0, 0, 0, time.UTC)
	s := start(t, sim.Config{Replay: &sim.Replay{
		Rows: []sim.Minute{{Time: from, Viewers: 9000, Messages: 2000, Emotes: 5000}}, Speed: 60,
	}})
	name := s.Logins()[0]
	c := twitch.NewClient("justinfan77", "oauth:nothing")
	c.IrcAddress, c.TLS = s.IRCAddress(), false
	var mu sync.Mutex
	messages, emotes, notices := map[string]bool{}, 0, 0
	joined := make(chan struct{})
	c.OnSelfJoinMessage(func(twitch.UserJoinMessage) { close(joined) })
	c.OnPrivateMessage(func(m twitch.PrivateMessage) {
		mu.Lock()
		defer mu.Unlock()
		messages[m.ID] = true
		for _, e := range m.Emotes {
			if emotes += e.Count; strings.Contains(e.Name, " ") && !strings.Contains(m.Message, e.Name) {
				t.Errorf("emote %q in %q", e.Name, m.Message)
			}
		}
		if m.RoomID != s.Channels()[0].ID || m.Channel != name || m.User.ID == "" || m.User.Name != strings.ToLower(m.User.DisplayName) {
			t.Errorf("%+v", m)
		}
		if _, err := strconv.ParseUint(m.User.ID, 10, 64); err != nil || !m.Time.Truncate(time.Minute).Equal(from) {
			t.Errorf("%+v", m)
		}
	})
	c.OnUserNoticeMessage(func(twitch.UserNoticeMessage) { mu.Lock(); notices++; mu.Unlock() })
	c.Join(name)
	ended := make(chan error, 1)
	go func() { ended <- c.Connect() }()
	<-joined
	s.Begin()
	<-s.Done()
	eventually(t, "2,000 messages", func() bool { mu.Lock(); defer mu.Unlock(); return len(messages) == 2000 })
	if err := c.Disconnect(); err != nil {
		t.Error(err)
	}
	<-ended
	if emotes != 5000 || notices != s.Totals().Notices {
		t.Errorf("%d emotes, %d notices of %d", emotes, notices, s.Totals().Notices)
	}
}
