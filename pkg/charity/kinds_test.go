package charity_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

const twitchSource = `
  - name: twitch
    kind: twitch
    url: https://twitch.example/helix
    auth_url: https://twitch.example/validate
    token_files: {aducine: aducine.token}
`

// twitch answers as Twitch does to a broadcaster's token.
func twitch(t testing.TB, validation *string) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /validate", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "OAuth oauth-token-of-aducine" || *validation == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, *validation)
	})
	get := func(file string) http.HandlerFunc {
		text := answer(t, file)
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer oauth-token-of-aducine" || r.Header.Get("Client-Id") != "client" || r.URL.Query().Get("broadcaster_id") != "44842076" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, text)
		}
	}
	mux.HandleFunc("GET /helix/charity/campaigns", get("answers/twitch-campaigns.json"))
	mux.HandleFunc("GET /helix/charity/donations", get("answers/twitch-donations.json"))
	return mux
}

const validated = `{"client_id":"client","login":"aducine","scopes":["channel:read:charity"],"user_id":"44842076","expires_in":5000}`

func TestTwitch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		validation := validated
		w := open(t, 10*time.Second, sourcesAt(t, twitchSource), twitch(t, &validation))
		w.run(2 * time.Minute)
		if got := samples(w); !strings.HasPrefix(got, "18:00:30 44842076/ 86000 EUR\n18:01:00 44842076/ 86000 EUR\n") {
			t.Errorf("samples\n%s", got)
		}
		donations := of[*record.Donation](w)
		if len(donations) != 2 {
			t.Fatalf("%d donations", len(donations))
		}
		// Twitch tells no time: it is when they were seen first. Donors are chatters.
		d := donations[1]
		if d.Time != begin.Add(15*time.Second) || d.Money.Cents != 10000 || d.Channel != "44842076" || d.Member != "44842076" ||
			d.Donor != w.events[0].Pseudonyms.User("8765") || strings.Contains(d.Raw, "ool_") || !strings.Contains(d.Raw, `"user_id":"`+d.Donor+`"`) {
			t.Errorf("donation %+v", d)
		}
		if got := w.covered(); got != "18:01:00-18:02:00" {
			t.Errorf("covered %s", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
		before := len(donations)
		w.restart(sourcesAt(t, twitchSource))
		w.run(time.Minute)
		if n := len(of[*record.Donation](w)); n != before {
			t.Errorf("%d donations after a restart", n)
		}
	})
}

func TestTwitchTokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ validation, detail string }{
		"refused":  {"", "Twitch does not take the token of aducine"},
		"scope":    {strings.Replace(validated, "channel:read:charity", "chat:read", 1), "the token of aducine does not allow channel:read:charity"},
		"somebody": {strings.Replace(validated, "aducine", "elodie", 1), "the token in the file of aducine is that of elodie"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				validation := c.validation
				w := open(t, 10*time.Second, sourcesAt(t, twitchSource), twitch(t, &validation))
				w.run(time.Minute)
				if got := w.conditions(); !strings.Contains(got, "source-refused twitch/donations/aducine, source-refused twitch/totals/aducine") ||
					!strings.Contains(w.detail("source-refused"), c.detail) {
					t.Errorf("conditions %s: %s", got, w.detail("source-refused"))
				}
				if n := w.count(); n != 0 {
					t.Errorf("%d documents: an answer about a token is kept", n)
				}
				for _, c := range w.poller.Conditions() {
					if strings.Contains(c.Detail, "oauth-token") {
						t.Error(c.Detail)
					}
				}
			})
		})
	}
}

const tiltifySource = `
  - name: tiltify
    kind: tiltify
    url: https://tiltify.example/api/public
    auth_url: https://tiltify.example/oauth/token
    team_campaign: 0a1b-2c
    client_id_file: tiltify-id
    client_secret_file: tiltify-secret
`

// tiltifyAPI answers as Tiltify does; tokens last for some requests.
type tiltifyAPI struct {
	t      testing.TB
	tokens int
	life   int // requests that a token is good for
	used   int
	pages  map[string]string // of donations, by cursor
}

func (a *tiltifyAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token" {
		if r.Method != http.MethodPost || r.FormValue("client_id") != "s3cret-id" || r.FormValue("client_secret") != "s3cret-key" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.tokens++
		a.used = 0
		fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":7200,"token_type":"bearer"}`, a.tokens)
		return
	}
	if a.used++; r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", a.tokens) || a.used > a.life {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/api/public/team_campaigns/0a1b-2c", "/api/public/campaigns/42":
		fmt.Fprint(w, answer(a.t, "answers/tiltify-campaign.json"))
	case "/api/public/team_campaigns/0a1b-2c/supporting_campaigns":
		fmt.Fprint(w, answer(a.t, "answers/tiltify-members.json"))
	case "/api/public/team_campaigns/0a1b-2c/donations", "/api/public/campaigns/42/donations":
		if a.pages != nil {
			fmt.Fprint(w, a.pages[r.URL.Query().Get("after")])
			return
		}
		fmt.Fprint(w, answer(a.t, "answers/tiltify-donations.json"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestTiltifyTeam(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &tiltifyAPI{t: t, life: 6}
		w := open(t, 70*time.Second, sourcesAt(t, tiltifySource), api)
		w.run(2 * time.Minute)
		if got := samples(w); !strings.HasPrefix(got, "18:01:30 / 118232 EUR\n18:01:30 44842076/ 10000 EUR\n18:01:30 /c-2 8232 EUR\n") {
			t.Errorf("samples\n%s", got)
		}
		var got []string
		for _, d := range of[*record.Donation](w) {
			got = append(got, fmt.Sprint(d.Donation, " ", d.Channel, " ", d.Member, " ", d.Money.Cents, " ", d.Time.Format("15:04:05")))
		}
		if s := strings.Join(got, ", "); s != "d1 44842076 c-1 8295 18:00:59, d2  c-9 500 18:00:50" {
			t.Errorf("donations %s", s)
		}
		if got := w.covered(); got != "18:00:00-18:03:00" {
			t.Errorf("covered %s", got)
		}
		if c := w.conditions(); c != "source-unmatched tiltify/donations, source-unmatched tiltify/members" {
			t.Errorf("conditions %s", c)
		}
		if api.tokens < 2 {
			t.Errorf("%d tokens: it was not renewed when it was refused", api.tokens)
		}
		for _, a := range of[*record.Answer](w) {
			if strings.Contains(a.Body, "token-") || strings.Contains(a.Request, "oauth") {
				t.Errorf("kept %+v", a)
			}
		}
	})
}

func TestTiltifyRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := strings.Replace(tiltifySource, "client_secret_file: tiltify-secret", "client_secret_file: tiltify-id", 1)
		w := open(t, 70*time.Second, sourcesAt(t, source), &tiltifyAPI{t: t, life: 6})
		w.run(time.Minute)
		if d := w.detail("source-refused"); !strings.Contains(d, "check the client id and secret") || strings.Contains(d, "s3cret") {
			t.Errorf("%s: %s", w.conditions(), d)
		}
	})
}

// A single campaign of many pages; its owner is in the sources file.
func TestTiltifyCampaign(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &tiltifyAPI{t: t, life: 1000, pages: map[string]string{}}
		page := func(from, to int, next string) string {
			var rows []string
			for i := from; i >= to; i-- {
				rows = append(rows, fmt.Sprintf(`{"amount":{"currency":"EUR","value":"1.00"},"campaign_id":"42","created_at":"2026-09-04T18:00:%02dZ","donor_name":"A","id":"d%d"}`, i, i))
			}
			return `{"data":[` + strings.Join(rows, ",") + `],"metadata":{"after":` + next + `}}`
		}
		api.pages[""] = page(30, 21, `"a"`)
		api.pages["a"] = page(20, 11, `"b"`)
		api.pages["b"] = page(10, 1, "null")
		source := strings.Replace(tiltifySource, "team_campaign: 0a1b-2c", "campaign: 42\n    members: {\"42\": elodie}", 1)
		w := open(t, 70*time.Second, sourcesAt(t, source), api)
		w.run(time.Minute)
		if got := w.total(); got["52130765"] != 3000 || len(got) != 1 {
			t.Errorf("totals %v", got)
		}
		if got := w.covered(); got != "18:00:00-18:02:00" {
			t.Errorf("covered %s", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

const ownSource = `
  - name: own
    kind: json
    header_files: {Authorization: authorization}
    totals:
      url: https://own.example/totals?year=2026
      list: streamers
      streamer_id: id
      streamer: login
      streamer_twitch_id: twitch
      amount: raised.amount
      unit: decimal
      currency: raised.currency
      total: total[0].amount
      total_currency: total[0].currency
    donations:
      url: https://own.example/donations
      list: $
      id: id
      amount: amount
      unit: cents
      currency: currency
      time: at
      time_layout: unix_ms
      donor_id: user.id
      donor: user.name
      text: text
      country: country
      streamer: to.login
      pagination: {by: none, all: true}
`

func TestOwnJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		totals, donations := answer(t, "answers/json-totals.json"), answer(t, "answers/json-donations.json")
		w := open(t, 70*time.Second, sourcesAt(t, ownSource), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer abc" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			if r.URL.Path == "/totals" {
				fmt.Fprint(w, totals)
				return
			}
			fmt.Fprint(w, donations)
		}))
		w.run(time.Minute)
		if got := samples(w); !strings.HasPrefix(got, "18:01:30 / 1250 EUR\n18:01:30 44842076/ 1250 EUR\n") {
			t.Errorf("samples\n%s", got)
		}
		d := of[*record.Donation](w)[0]
		if d.Donation != "9" || d.Money.Cents != 1250 || d.Channel != "44842076" || d.Donor != w.events[0].Pseudonyms.User("own:77") ||
			d.Country != "FR" || d.Length != 5 || d.Text != "" {
			t.Errorf("donation %+v", d)
		}
		if want := `{"id":9,"amount":1250,"currency":"EUR","at":1788544860000,"user":{"id":"` + d.Donor + `","name":"` +
			w.events[0].Pseudonyms.Name("jeanne durand") + `"},"text":"[5]","country":"FR","to":{"id":1,"login":"aducine","twitch":"` +
			w.events[0].Pseudonyms.Name("44842076") + `"}}`; d.Raw != want {
			t.Errorf("raw %s, want %s", d.Raw, want)
		}
		if got := w.covered(); got != "18:00:00-18:02:00" {
			t.Errorf("covered %s", got)
		}
		if a := of[*record.Answer](w)[0]; a.Request != "/totals?year=2026" {
			t.Errorf("request %s", a.Request)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

// A list that shows the newest few only: what is missing between two polls can't be had, and is not
// claimed.
func TestWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var newest atomic.Int64
		newest.Store(3)
		source := strings.Replace(ownSource, "pagination: {by: none, all: true}", "schedule: '@every 10s'", 1)
		w := open(t, 65*time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/totals" {
				fmt.Fprint(w, answer(t, "answers/json-totals.json"))
				return
			}
			var rows []string
			last := newest.Load()
			for i := last; i > last-3; i-- {
				rows = append(rows, fmt.Sprintf(`{"id":%d,"amount":100,"currency":"EUR","at":%d}`, i, begin.Add(time.Minute).UnixMilli()))
			}
			fmt.Fprint(w, "["+strings.Join(rows, ",")+"]")
		}))
		time.AfterFunc(62*time.Second, func() { newest.Store(5) })
		time.AfterFunc(122*time.Second, func() { newest.Store(9) })
		time.AfterFunc(128*time.Second, func() {
			if c := w.conditions(); c != "source-incomplete own/donations" {
				t.Errorf("conditions %s", c)
			}
		})
		w.run(4 * time.Minute)
		if n := len(of[*record.Donation](w)); n != 8 {
			t.Errorf("%d donations", n)
		}
		if got := w.covered(); got != "18:02:00-18:03:00 18:04:00-18:05:00" {
			t.Errorf("covered %s", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

func TestCurrencies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := strings.Replace(teamSource, "team: 42", "team: 42\n    currency: USD", 1)
		s := &team{size: 30, step: 5}
		s.many(3, begin)
		w := open(t, time.Minute, sourcesAt(t, source), s)
		w.run(time.Minute)
		if c := w.conditions(); c != "source-currency team/donations, source-currency team/donations/backfill" ||
			!strings.Contains(w.detail("source-currency"), "EUR where USD was expected") {
			t.Errorf("conditions %s: %s", c, w.detail("source-currency"))
		}
		if n := len(of[*record.Donation](w)); n != 3 {
			t.Errorf("%d donations: the currency is what the source says", n)
		}
	})
}
