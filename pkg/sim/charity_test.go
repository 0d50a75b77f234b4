package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/sim"
)

// giversClock is moved by hand; who waits for it waits until the end, so that nobody chats.
type giversClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *giversClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *giversClock) Until(ctx context.Context, _ time.Time) error {
	<-ctx.Done()
	return ctx.Err()
}

func (c *giversClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var eventStart = time.Date(2026, 9, 4, 16, 0, 0, 0, time.UTC)

// giving is a simulator whose donations are looked at.
type giving struct {
	*sim.Sim
	t      *testing.T
	clock  *giversClock
	ledger *bytes.Buffer
	http   *http.Client
}

func startGiving(t *testing.T, cfg sim.Config) *giving {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	g := &giving{t: t, clock: &giversClock{now: eventStart}, ledger: &bytes.Buffer{}, http: &http.Client{Transport: transport, Timeout: patience}}
	if cfg.Clock = g.clock; cfg.Replay != nil {
		cfg.Clock = nil
	}
	cfg.Charity.Ledger = g.ledger
	g.Sim = start(t, cfg)
	return g
}

func (g *giving) get(path string, header ...string) (status int, body []byte) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.URL()+path, http.NoBody)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := g.http.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	body, err = io.ReadAll(res.Body)
	if err := res.Body.Close(); err != nil {
		g.t.Fatal(err)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return res.StatusCode, body
}

func (g *giving) read(path string, into any, header ...string) {
	g.t.Helper()
	status, body := g.get(path, header...)
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(into); err != nil || status != http.StatusOK {
		g.t.Fatalf("%s: %d, %v: %.200s", path, status, err, body)
	}
}

// given ends the traffic and reads the ledger.
func (g *giving) given() (list []sim.Donated) {
	g.t.Helper()
	if err := g.End(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	for d, err := range sim.ReadDonations(bytes.NewReader(g.ledger.Bytes())) {
		if err != nil {
			g.t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

type zeventNumber struct {
	Number json.Number `json:"number"`
}

type zeventAnswer struct {
	DonationAmount zeventNumber `json:"donationAmount"`
	Live           []struct {
		TwitchID       string       `json:"twitch_id"`
		Twitch         string       `json:"twitch"`
		DonationAmount zeventNumber `json:"donationAmount"`
	} `json:"live"`
}

func (g *giving) zevent() (event int64, byLogin map[string]int64) {
	g.t.Helper()
	var a zeventAnswer
	g.read("/api/", &a)
	byLogin = map[string]int64{}
	for _, l := range a.Live {
		byLogin[l.Twitch] = cents(g.t, l.DonationAmount.Number.String())
	}
	return cents(g.t, a.DonationAmount.Number.String()), byLogin
}

// cents reads a decimal number by its digits.
func cents(t *testing.T, s string) int64 {
	t.Helper()
	whole, rest, _ := strings.Cut(s, ".")
	if len(rest) > 2 {
		t.Fatalf("%q has more than two decimals", s)
	}
	n, err := strconv.ParseInt(whole+(rest + "00")[:2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type teamRow struct {
	Donation struct {
		ID              json.RawMessage `json:"id"`
		DisplayName     string          `json:"display_name"`
		ConvertedAmount int64           `json:"converted_amount"`
		Currency        string          `json:"converted_currency"`
		CreatedAt       time.Time       `json:"created_at"`
	} `json:"donation"`
	Member *struct {
		ID   json.RawMessage `json:"id"`
		User struct{ Slug string }
	} `json:"member"`
}

func unquote(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }

// Every source tells the same donations, each in its own shape, and the ledger has them all.
func TestSourcesAgree(t *testing.T) {
	t.Parallel()
	g := startGiving(t, sim.Config{Channels: 12, Charity: sim.Charity{Rate: 20}})
	g.Begin()
	g.clock.pass(10 * time.Minute)
	want := g.given()
	if len(want) < 9_000 || len(want) > 30_000 { // 20 a second, and more in bursts
		t.Fatalf("%d donations in 10 minutes at 20 a second", len(want))
	}
	var total int64
	byLogin, byID, whole := map[string]int64{}, map[string]sim.Donated{}, 0
	for _, d := range want {
		total += d.Cents
		if d.Channel == "" {
			whole++
		} else {
			byLogin[d.Channel] += d.Cents
		}
		if at := time.UnixMilli(d.CreatedMS); d.CreatedMS%1000 != 0 || at.Before(eventStart) || at.After(g.clock.Now()) {
			t.Fatalf("made at %s", at)
		}
		byID[d.Donation] = d
	}
	if len(byID) != len(want) || whole == 0 || len(byLogin) != 12 {
		t.Fatalf("%d ids of %d donations, %d to nobody, %d channels", len(byID), len(want), whole, len(byLogin))
	}
	if r := g.Raised(); r.Donations != int64(len(want)) || r.Cents != total || r.Shown != total || r.Currency != "EUR" {
		t.Errorf("raised %+v, want %d donations, %d cents", r, len(want), total)
	}

	event, shown := g.zevent()
	if event != total {
		t.Errorf("ZEvent shows %d of the event, want %d", event, total)
	}
	for login, c := range byLogin {
		if shown[login] != c {
			t.Errorf("ZEvent shows %d of %s, want %d", shown[login], login, c)
		}
	}

	for _, order := range []string{"asc", "desc"} {
		seen := map[string]bool{}
		numbers, back, last := 0, 0, time.Time{}
		for page := 1; ; page++ {
			var rows []teamRow
			g.read(fmt.Sprintf("/api/v1/teams/sim/donations?order=%s&page=%d", order, page), &rows)
			if len(rows) == 0 {
				break
			}
			if len(rows) > 3000 || page == 1 && len(rows) != 3000 {
				t.Fatalf("page %d has %d rows", page, len(rows))
			}
			for i, r := range rows {
				if i < 500 {
					if order == "asc" && r.Donation.CreatedAt.Before(last) {
						back++
					}
					last = r.Donation.CreatedAt
				}
				id := unquote(r.Donation.ID)
				if string(r.Donation.ID) == id {
					numbers++
				}
				d, ok := byID[id]
				if !ok || r.Donation.ConvertedAmount != d.Cents || r.Donation.Currency != "EUR" || r.Donation.CreatedAt.UnixMilli() != d.CreatedMS {
					t.Fatalf("row %+v, in the ledger %+v", r, d)
				}
				if (r.Member == nil) != (d.Channel == "") || r.Member != nil && r.Member.User.Slug != d.Channel {
					t.Fatalf("row %+v is of %q", r, d.Channel)
				}
				seen[id] = true
			}
		}
		if len(seen) != len(want) || numbers == 0 || order == "asc" && back == 0 {
			t.Errorf("%s: %d of %d donations, %d ids are numbers, %d times back in time", order, len(seen), len(want), numbers, back)
		}
	}

	g.twitchAgrees(byID, byLogin)
	g.tiltifyAgrees(byID, byLogin, total)
	g.goalsAgree(byLogin)
}

func (g *giving) twitchAgrees(byID map[string]sim.Donated, byLogin map[string]int64) {
	g.t.Helper()
	ch := g.Channels()[3]
	token, err := g.BroadcasterToken(ch.Login)
	if err != nil {
		g.t.Fatal(err)
	}
	header := []string{"Authorization", "Bearer " + token, "Client-Id", "us"}
	type amount struct {
		Value    int64
		Places   int `json:"decimal_places"`
		Currency string
	}
	var campaigns struct {
		Data []struct {
			ID      string
			Current amount `json:"current_amount"`
		}
	}
	g.read("/helix/charity/campaigns?broadcaster_id="+ch.ID, &campaigns, header...)
	if len(campaigns.Data) != 1 || campaigns.Data[0].Current != (amount{byLogin[ch.Login], 2, "EUR"}) {
		g.t.Errorf("Twitch's campaign: %+v, want %d", campaigns, byLogin[ch.Login])
	}
	var sum int64
	for after := ""; ; {
		var page struct {
			Data []struct {
				ID       string
				Campaign string `json:"campaign_id"`
				Amount   amount
			}
			Pagination struct{ Cursor string }
		}
		g.read("/helix/charity/donations?first=100&broadcaster_id="+ch.ID+"&after="+url.QueryEscape(after), &page, header...)
		for _, d := range page.Data {
			if byID[d.ID].Channel != ch.Login || d.Campaign != campaigns.Data[0].ID {
				g.t.Fatalf("Twitch lists %+v", d)
			}
			sum += d.Amount.Value
		}
		if after = page.Pagination.Cursor; after == "" {
			break
		}
	}
	if sum != byLogin[ch.Login] {
		g.t.Errorf("Twitch's donations sum up to %d, want %d", sum, byLogin[ch.Login])
	}
	var valid struct {
		UserID string `json:"user_id"`
		Login  string
		Scopes []string
	}
	g.read("/oauth2/validate", &valid, "Authorization", "OAuth "+token)
	if valid.UserID != ch.ID || valid.Login != ch.Login || !slices.Contains(valid.Scopes, "channel:read:charity") {
		g.t.Errorf("Twitch validates as %+v", valid)
	}
	for name, h := range map[string][]string{
		"no token":        {"Client-Id", "us"},
		"no client":       {"Authorization", "Bearer " + token},
		"another's token": {"Authorization", "Bearer nonsense", "Client-Id", "us"},
	} {
		if status, body := g.get("/helix/charity/campaigns?broadcaster_id="+ch.ID, h...); status != http.StatusUnauthorized {
			g.t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func (g *giving) tiltifyAgrees(byID map[string]sim.Donated, want map[string]int64, total int64) {
	g.t.Helper()
	if status, _ := g.get("/api/public/team_campaigns/sim"); status != http.StatusUnauthorized {
		g.t.Errorf("Tiltify without a token: %d", status)
	}
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.URL()+"/oauth/token",
		strings.NewReader("grant_type=client_credentials&client_id=us&client_secret=ours&scope=public"))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := g.http.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	err = json.NewDecoder(res.Body).Decode(&token)
	_ = res.Body.Close()
	if err != nil || token.AccessToken == "" || token.ExpiresIn <= 0 {
		g.t.Fatalf("%+v, %v", token, err)
	}
	type money struct{ Currency, Value string }
	var campaign struct {
		Data struct {
			Raised money `json:"total_amount_raised"`
		}
	}
	header := []string{"Authorization", "Bearer " + token.AccessToken}
	g.read("/api/public/team_campaigns/sim", &campaign, header...)
	if cents(g.t, campaign.Data.Raised.Value) != total {
		g.t.Errorf("Tiltify shows %+v, want %d", campaign, total)
	}
	var sum int64
	n := 0
	for after := ""; ; {
		var page struct {
			Data []struct {
				ID          string
				Amount      money
				CompletedAt time.Time `json:"completed_at"`
			}
			Metadata struct{ After *string }
		}
		g.read("/api/public/team_campaigns/sim/donations?limit=100&after="+after, &page, header...)
		for _, d := range page.Data {
			if d.CompletedAt.UnixMilli() != byID[d.ID].CreatedMS {
				g.t.Fatalf("Tiltify lists %+v", d)
			}
			sum, n = sum+cents(g.t, d.Amount.Value), n+1
		}
		if page.Metadata.After == nil {
			break
		}
		after = *page.Metadata.After
	}
	byLogin, pages := map[string]int64{}, 0
	for after := ""; ; pages++ {
		var page struct {
			Data []struct {
				ID    string
				Total money `json:"total_amount_raised"`
				User  struct{ Slug string }
			}
			Metadata struct{ After *string }
		}
		g.read("/api/public/team_campaigns/sim/supporting_campaigns?limit=5&after="+after, &page, header...)
		for _, c := range page.Data {
			byLogin[c.User.Slug] = cents(g.t, c.Total.Value)
		}
		if page.Metadata.After == nil {
			break
		}
		after = *page.Metadata.After
	}
	if !maps.Equal(byLogin, want) || pages != 2 {
		g.t.Errorf("Tiltify says that the channels raised %v on %d pages, want %v", byLogin, pages+1, want)
	}
	if sum != total || n != len(byID) {
		g.t.Errorf("Tiltify lists %d donations of %d cents, want %d of %d", n, sum, len(byID), total)
	}
}

func (g *giving) goalsAgree(byLogin map[string]int64) {
	g.t.Helper()
	type goal struct {
		ID, Name, Category    string
		Amount                int64
		Reached, Accomplished bool
	}
	var events []struct{ ID string }
	g.read("/events", &events)
	var overview []struct {
		ID       string
		Streamer struct {
			Login string `json:"twitch_login"`
		}
		Goals []goal `json:"donation_goals"`
	}
	g.read("/events/"+events[0].ID+"/donation_goals/overview", &overview)
	reached, all := 0, 0
	for _, p := range overview {
		var mine []goal
		g.read("/participations/"+p.ID+"/donation_goals", &mine)
		if !slices.Equal(mine, p.Goals) || len(mine) == 0 {
			g.t.Errorf("%s has the goals %v, in the overview %v", p.Streamer.Login, mine, p.Goals)
		}
		for _, k := range mine {
			all++
			if k.Reached {
				reached++
			}
			if k.Reached != (byLogin[p.Streamer.Login] >= k.Amount) || k.Amount <= 0 || k.Name == "" || k.Category != "donation" {
				g.t.Errorf("%s has %d cents and the goal %+v", p.Streamer.Login, byLogin[p.Streamer.Login], k)
			}
		}
	}
	if len(overview) != 12 || reached == 0 {
		g.t.Errorf("%d streamers, %d of %d goals are reached", len(overview), reached, all)
	}
}

// The same seed gives the same, however often it is looked at.
func TestDonationsGoBySeed(t *testing.T) {
	t.Parallel()
	ledger := func(seed uint64, looks int) string {
		g := startGiving(t, sim.Config{Channels: 30, Seed: seed, Charity: sim.Charity{Rate: 8}})
		g.Begin()
		for range looks {
			g.clock.pass(5 * time.Minute / time.Duration(looks))
			g.Raised()
		}
		g.given()
		return g.ledger.String()
	}
	first := ledger(5, 1)
	if first != ledger(5, 300) {
		t.Error("looking changes what is given")
	}
	if first == ledger(6, 1) {
		t.Error("the seed changes nothing")
	}
}

// A goal that falls makes donations burst.
func TestGoalsMakeBursts(t *testing.T) {
	t.Parallel()
	g := startGiving(t, sim.Config{Channels: 3, Charity: sim.Charity{Rate: 2}})
	g.Begin()
	g.clock.pass(2 * time.Hour)
	perMinute := map[int64]int{}
	for _, d := range g.given() {
		perMinute[d.CreatedMS/60_000]++
	}
	var sum, most float64
	for _, n := range perMinute {
		sum, most = sum+float64(n), math.Max(most, float64(n))
	}
	if mean := sum / 120; mean < 100 || mean > 260 || most < 2*mean {
		t.Errorf("%.0f donations a minute, %.0f at the most", sum/120, most)
	}
}

func TestTotalsGoWrong(t *testing.T) {
	t.Parallel()
	g := startGiving(t, sim.Config{Channels: 4, Charity: sim.Charity{Rate: 10}})
	chs := g.Channels()
	a, b := chs[0].Login, chs[1].Login
	if err := g.DoubleTotal(a); err == nil {
		t.Error("a donation that nobody made is doubled")
	}
	g.Begin()
	g.clock.pass(time.Minute)
	truth, by := g.zevent()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.MirrorTotal(a, b, time.Minute))
	if event, now := g.zevent(); now[a] != by[b] || now[b] != by[b] || event != truth-by[a]+by[b] {
		t.Errorf("a mirror: %d and %d of %d, want %d", now[a], now[b], event, by[b])
	}
	g.clock.pass(time.Minute)
	if _, now := g.zevent(); now[a] == now[b] {
		t.Error("the mirror stays")
	}
	_, by = g.zevent()
	must(g.ResetTotal(a))
	if _, now := g.zevent(); now[a] != 0 || now[b] != by[b] {
		t.Errorf("after a reset %v", now)
	}
	must(g.MendTotal(a))
	must(g.DoubleTotal(a))
	_, now := g.zevent()
	extra := now[a] - by[a]
	newest := int64(0)
	g.clock.pass(0)
	for _, d := range g.given() {
		if d.Channel == a {
			newest = d.Cents
		}
	}
	if extra != newest || extra <= 0 {
		t.Errorf("doubled by %d, the newest donation is %d", extra, newest)
	}
	if r := g.Raised(); r.Shown != r.Cents+extra {
		t.Errorf("raised %+v", r)
	}
	for _, err := range []error{g.MirrorTotal("nobody", a, 0), g.MirrorTotal(a, "nobody", 0), g.ResetTotal("nobody"), g.MirrorTotal(a, b, -1)} {
		if err == nil {
			t.Error("no error")
		}
	}
}

func TestCharityFaults(t *testing.T) {
	t.Parallel()
	g := startGiving(t, sim.Config{Channels: 2})
	g.Begin()
	for _, tc := range []struct {
		faults sim.Faults
		want   func(status int, body []byte) bool
	}{
		{sim.Faults{Charity429: 1}, func(s int, _ []byte) bool { return s == http.StatusTooManyRequests }},
		{sim.Faults{Charity5xx: 1}, func(s int, _ []byte) bool { return s >= 500 }},
		{sim.Faults{CharityOdd: 1}, func(s int, b []byte) bool {
			var a zeventAnswer
			return s == http.StatusOK && (json.Unmarshal(b, &a) != nil || a.Live == nil)
		}},
		{sim.Faults{}, func(s int, b []byte) bool { return s == http.StatusOK && bytes.Contains(b, []byte(`"live":[{`)) }},
	} {
		if err := g.SetFaults(tc.faults); err != nil {
			t.Fatal(err)
		}
		if status, body := g.get("/api/"); !tc.want(status, body) {
			t.Errorf("%+v: %d %.100s", tc.faults, status, body)
		}
	}
	if err := g.SetFaults(sim.Faults{CharityHang: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL()+"/api/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := g.http.Do(req); err == nil {
		_ = res.Body.Close()
		t.Errorf("an answer of %d, want none", res.StatusCode)
	}
	if g.SetFaults(sim.Faults{Charity429: 0.6, Charity5xx: 0.6}) == nil || g.SetFaults(sim.Faults{CharityDouble: 2}) == nil {
		t.Error("probabilities above 1 are taken")
	}
}

// A replay shows what was recorded, and its donations sum up to how the total has grown.
func TestReplayOfDonations(t *testing.T) {
	t.Parallel()
	rows, err := sim.AGDQ2020()
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2020, 1, 9, 18, 0, 0, 0, time.UTC)
	var first, last sim.Minute
	for _, r := range rows {
		if r.Time.Equal(from) {
			first = r
		}
		if r.Time.Equal(from.Add(9 * time.Minute)) {
			last = r
		}
	}
	if first.Cents <= 0 || last.Donations <= first.Donations {
		t.Fatalf("recorded %+v and %+v", first, last)
	}
	var looked sync.Map
	var g *giving
	g = startGiving(t, sim.Config{Replay: &sim.Replay{Rows: rows, From: from, For: 10 * time.Minute, Speed: 2000, Gate: func(m time.Time) bool {
		looked.Store(m, g.Raised().Shown)
		return true
	}}})
	g.Begin()
	<-g.Done()
	for _, r := range rows {
		if v, ok := looked.Load(r.Time); ok && r.Cents != sim.NotRecorded && v != r.Cents {
			t.Errorf("%s: %d cents are shown, %d were recorded", r.Time, v, r.Cents)
		}
	}
	var sum int64
	list := g.given()
	for _, d := range list {
		sum += d.Cents
		if d.Currency != "USD" || d.Cents <= 0 || d.CreatedMS < from.UnixMilli() {
			t.Fatalf("%+v", d)
		}
	}
	if int64(len(list)) != int64(last.Donations-first.Donations) || sum != last.Cents-first.Cents {
		t.Errorf("%d donations of %d cents, recorded were %d of %d", len(list), sum, last.Donations-first.Donations, last.Cents-first.Cents)
	}
	if r := g.Raised(); r.Shown != last.Cents || r.Cents != sum {
		t.Errorf("raised %+v, recorded %d", r, last.Cents)
	}
}

func TestReadDonations(t *testing.T) {
	t.Parallel()
	const good = `{"donation":"12","channel":"a","cents":500,"currency":"EUR","created_ms":1000}` + "\n"
	for name, tc := range map[string]struct{ text, want string }{
		"no id":       {good + `{"cents":500,"currency":"EUR","created_ms":1000}` + "\n", "line 2"},
		"no amount":   {`{"donation":"1","currency":"EUR","created_ms":1000}` + "\n", `"cents"`},
		"no currency": {`{"donation":"1","cents":1,"created_ms":1000}` + "\n", `"currency"`},
		"no time":     {`{"donation":"1","cents":1,"currency":"EUR"}` + "\n", `"created_ms"`},
		"no JSON":     {"x\n", "line 1"},
		"cut off":     {good + `{"donation":"1"`, "no end"},
	} {
		var last error
		for _, err := range sim.ReadDonations(strings.NewReader(tc.text)) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, last, tc.want)
		}
	}
	n := 0
	for d, err := range sim.ReadDonations(strings.NewReader(good + "\n" + good)) {
		if err != nil || d.Cents != 500 {
			t.Errorf("%+v, %v", d, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d lines", n)
	}
}

// wrote tells of the first write.
type wrote chan struct{}

func (w wrote) Write(b []byte) (int, error) {
	select {
	case w <- struct{}{}:
	default:
	}
	return len(b), nil
}

// The ledger is written as it goes, and giving goes on.
func TestLedgerOfDonationsGrows(t *testing.T) {
	t.Parallel()
	clk, ledger := &giversClock{now: eventStart}, make(wrote, 1)
	s := start(t, sim.Config{Channels: 3, Clock: clk, Charity: sim.Charity{Rate: 5, Ledger: ledger}})
	s.Begin()
	clk.pass(time.Minute)
	select {
	case <-ledger:
	case <-time.After(patience):
		t.Fatal("nothing is written")
	}
	before := s.Raised()
	clk.pass(time.Minute)
	if now := s.Raised(); now.Donations <= before.Donations || before.Donations == 0 {
		t.Errorf("%d donations, then %d", before.Donations, now.Donations)
	}
}
