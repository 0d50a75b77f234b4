package charity_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/record"
)

// From the first poll on, all donations are known, and coverage says so for the event's whole time.
func TestStreamlabsFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(200, begin.Add(-10*time.Second)) // ten of them before the event
		s.add(gift{cents: 5000, at: begin.Add(3 * time.Minute), member: "elodie", donor: "Jeanne Durand", comment: "Courage @jean !"})
		s.add(gift{cents: 700, at: begin.Add(3 * time.Minute)}) // for nobody
		w := open(t, 5*time.Minute+time.Second, sourcesAt(t, teamSource), s)
		w.run(time.Minute)
		if got := w.total(); got["44842076"] != 19000 || got["52130765"] != 5000 || got[""] != 700 || len(got) != 3 {
			t.Errorf("totals %v", got)
		}
		if got := w.covered(); got != "18:00:00-18:06:00" {
			t.Errorf("covered %s", got)
		}
		st := w.poller.Status()[0]
		if st.Donations != 202 || st.Outside != 10 || st.Backfilling || st.CompleteUntil != begin.Add(6*time.Minute) || st.LastSlot != begin.Add(6*time.Minute) ||
			st.LastSuccess != st.LastSlot || st.Failures != 0 || len(st.Conditions) != 0 || st.Events[0] != "zevent" {
			t.Errorf("status %+v", st)
		}
		// Pages are stepped over as far as they overlap.
		if n := len(w.requests()); n > 25 {
			t.Errorf("%d requests: %v", n, w.requests())
		}
		for _, d := range of[*record.Donation](w) {
			if d.Money.Cents != 5000 {
				continue
			}
			p := event(t, "zevent").Pseudonyms
			want := record.Donation{
				Header: d.Header, Source: "team", Donation: "201", Money: record.Money{Cents: 5000, Currency: "EUR"}, Donor: p.Name("Jeanne Durand"),
				Member: "m-elodie", Country: "France", Length: 15, Version: d.Version, Raw: `{"id":201,"donation":{"id":201,"display_name":"` +
					p.Name("Jeanne Durand") + `","converted_amount":5000,"converted_currency":"EUR","created_at":"2026-09-04T18:03:00+00:00",` +
					`"comment":{"text":"[15]"},"country":"France"},"member":{"id":"m-elodie","user":{"display_name":"ELODIE","slug":"elodie"}}}`,
			}
			if *d != want || d.Time != begin.Add(3*time.Minute) || d.Event != "zevent" || d.Channel != "52130765" {
				t.Errorf("donation\n%+v, want\n%+v", *d, want)
			}
		}
	})
}

func TestTextIsKeptWhereTheEventSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.add(gift{cents: 5000, at: begin, donor: "Anonymous", comment: "Courage @jean et @aducine !"})
		w := open(t, time.Minute, sourcesAt(t, teamSource), s)
		w.events[0].KeepText = true
		w.run(time.Minute)
		d := of[*record.Donation](w)[0]
		if want := "Courage @" + w.events[0].Pseudonyms.Name("jean") + " et @aducine !"; d.Text != want || d.Length != 27 || d.Donor != "" {
			t.Errorf("text %q of %d, want %q; donor %q", d.Text, d.Length, want, d.Donor)
		}
		if strings.Contains(d.Raw, "Courage") {
			t.Errorf("raw %s", d.Raw)
		}
	})
}

// What is new is emitted once, what has changed is another version, and a member that is found to be a
// channel is too.
func TestDonationsAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(40, begin)
		s.add(gift{cents: 900, at: begin.Add(time.Minute), member: "newcomer", donor: "x"})
		w := open(t, 2*time.Minute+time.Second, sourcesAt(t, teamSource), s)
		next := func(d time.Duration, do func()) {
			time.AfterFunc(d, do)
		}
		next(61*time.Second, func() {
			if n := len(of[*record.Donation](w)); n != 41 {
				t.Errorf("%d donations", n)
			}
			if c := w.conditions(); c != "source-unmatched team/donations" || !strings.Contains(w.detail("source-unmatched"), "NEWCOMER") {
				t.Errorf("conditions %s: %s", c, w.detail("source-unmatched"))
			}
			s.many(7, begin.Add(150*time.Second))
			s.mu.Lock()
			s.gifts[40].cents = 950
			s.mu.Unlock()
		})
		next(91*time.Second, func() {
			if n := len(of[*record.Donation](w)); n != 49 {
				t.Errorf("%d donations and versions, want 49", n)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			channels := people()
			channels["7"] = struct{ Login, Name string }{"newcomer", ""}
			w.events[0].Channels = channels
		})
		w.run(3 * time.Minute)
		if got := w.total(); got["7"] != 950 || got["44842076"] != 4700 || len(got) != 2 {
			t.Errorf("totals %v", got)
		}
		if n := len(of[*record.Donation](w)); n != 50 {
			t.Errorf("%d donations and versions, want 50", n)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
		if got := w.covered(); got != "18:00:00-18:05:00" {
			t.Errorf("covered %s", got)
		}
		// Nothing was emitted twice.
		if all, once := 0, len(of[*record.Donation](w)); true {
			for _, d := range w.docs {
				if _, ok := d.(*record.Donation); ok {
					all++
				}
			}
			if all != once {
				t.Errorf("%d donations were emitted, %d of them once", all, once)
			}
		}
	})
}

// Where more came than polls look at, all are read again, and nothing is claimed until they are.
func TestHole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 12, step: 10}
		s.many(30, begin)
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(62*time.Second, func() {
			if got := w.covered(); got != "18:00:00-18:02:00" {
				t.Errorf("covered %s before", got)
			}
			s.many(400, begin.Add(110*time.Second)) // more than 20 pages
		})
		held := ""
		w.before = func(r *http.Request) {
			if r.URL.Query().Get("order") == "asc" && r.URL.Query().Get("page") == "30" {
				held = w.conditions()
			}
		}
		w.run(3 * time.Minute)
		if held != "source-incomplete team/donations" {
			t.Errorf("conditions while all were read: %q", held)
		}
		if got := w.total()["44842076"]; got != 43000 {
			t.Errorf("total %d", got)
		}
		if got := w.covered(); got != "18:00:00-18:04:00" {
			t.Errorf("covered %s", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

// After a poll that failed half way its donations prove nothing.
func TestPollThatBreaksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 10, step: 10}
		s.many(9, begin)
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(61*time.Second, func() {
			s.many(35, begin.Add(100*time.Second))
			s.mu.Lock()
			defer s.mu.Unlock()
			// The first page is answered, the second not, nor when it is tried again.
			s.fail = map[int]int{}
			for i := range attemptsAndMore {
				s.fail[s.requests+2+i] = http.StatusBadGateway
			}
		})
		time.AfterFunc(80*time.Second, func() {
			if c := w.conditions(); c != "source-unreachable team/donations" {
				t.Errorf("conditions %s", c)
			}
			if st := w.poller.Status()[0]; st.CompleteUntil.After(begin.Add(2 * time.Minute)) {
				t.Errorf("complete until %s", st.CompleteUntil)
			}
		})
		w.run(3 * time.Minute)
		if got := w.total()["44842076"]; got != 4400 {
			t.Errorf("total %d", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
		if got := w.covered(); got != "18:00:00-18:04:00" {
			t.Errorf("covered %s", got)
		}
	})
}

// attemptsAndMore is how often a page is tried in one poll.
const attemptsAndMore = 3

// What Emit does not take is emitted again.
func TestUnkeptDonations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(100, begin)
		w := open(t, 2*time.Minute+time.Second, sourcesAt(t, teamSource), s)
		w.refuse = func(call int) error {
			if call <= 5 {
				return errors.New("no room")
			}
			return nil
		}
		w.run(3 * time.Minute)
		if got := w.total()["44842076"]; got != 10000 {
			t.Errorf("total %d", got)
		}
		if got := w.covered(); got != "18:00:00-18:05:00" {
			t.Errorf("covered %s", got)
		}
	})
}

// The last donations of an event are polled for after its end, and then no more.
func TestEndOfAnEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(10, begin)
		w := open(t, 2*time.Minute+time.Second, sourcesAt(t, teamSource), s)
		w.events[0].End = begin.Add(3*time.Minute + 5*time.Second)
		time.AfterFunc(62*time.Second, func() {
			s.add(gift{cents: 1, at: begin.Add(3*time.Minute + 4*time.Second), member: "elodie"})
			s.add(gift{cents: 1, at: begin.Add(3*time.Minute + 5*time.Second), member: "elodie"}) // too late
		})
		w.run(5 * time.Minute)
		if got := w.total(); got["52130765"] != 1 {
			t.Errorf("totals %v", got)
		}
		if got := w.covered(); got != "18:00:00-18:03:05" {
			t.Errorf("covered %s", got)
		}
		if n := len(w.requests()); n > 12 {
			t.Errorf("%d requests: it is polled after all is known", n)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

// After a restart the same claims and donations have the same ids.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(100, begin)
		w := open(t, 2*time.Minute+20*time.Second, sourcesAt(t, teamSource), s)
		w.run(time.Minute)
		donations, claims := len(of[*record.Donation](w)), len(of[*record.Coverage](w))
		w.restart(sourcesAt(t, teamSource))
		w.run(35 * time.Second)
		if n := len(of[*record.Donation](w)); n != donations {
			t.Errorf("%d donations after the restart, %d before", n, donations)
		}
		if n := len(of[*record.Coverage](w)); n != claims {
			t.Errorf("%d claims after the restart, %d before", n, claims)
		}
		for _, c := range of[*record.Coverage](w) {
			if c.Source != "team" || c.Connection != "team" || c.Collector != "one" || c.Set != "" || len(c.Channels) != 0 || c.Channel != "" {
				t.Errorf("claim %+v", c)
			}
		}
	})
}

// A row that can't be read is kept, told, and not claimed to be counted.
func TestUnreadableDonation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(10, begin)
		s.add(gift{cents: 5, at: begin.Add(90 * time.Second), broken: true, donor: "Jeanne Durand", comment: "Jeanne"})
		w := open(t, 3*time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(70*time.Second, func() {
			if c := w.conditions(); c != "source-shape team/donations, source-shape team/donations/backfill" {
				t.Errorf("conditions %s", c)
			}
			if d := w.detail("source-shape"); !strings.Contains(d, "data[0].donation.converted_amount: an amount was expected, found text that is none") ||
				!strings.Contains(d, "10 rows were read, 1 not") {
				t.Errorf("detail %s", d)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gifts[10].broken = false
		})
		w.run(40 * time.Minute)
		if got := w.covered(); got != "18:00:00-18:01:00 18:02:00-18:43:00" {
			t.Errorf("covered %s", got)
		}
		answers := of[*record.Answer](w)
		if len(answers) != 1 { // the same row once an hour, whether polls or the backfill saw it
			t.Fatalf("%d answers", len(answers))
		}
		a := answers[0]
		if !strings.HasPrefix(a.Body, `[{"id":11,"donation":{"id":11,"display_name":"`) || strings.Contains(a.Body, "Jeanne") || a.Problem == "" ||
			a.Status != 200 || a.Source != "team" || !strings.HasPrefix(a.Request, "/api/v1/teams/42/donations?order=") || a.Channel != "" {
			t.Errorf("answer %+v", a)
		}
		if got := w.total()["44842076"]; got != 1000 {
			t.Errorf("total %d", got)
		}
		if got := w.total()[""]; got != 5 {
			t.Errorf("the row that was mended is %d", got)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
	})
}

// An empty list where there were donations is not believed.
func TestListThatIsEmptied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(10, begin)
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(61*time.Second, func() { s.mu.Lock(); s.hidden = 10; s.mu.Unlock() })
		time.AfterFunc(121*time.Second, func() {
			if c := w.conditions(); c != "source-shape team/donations, source-stale team/donations" || !strings.Contains(w.detail("source-shape"), "an empty list where 10 donations") {
				t.Errorf("conditions %s", c)
			}
			s.mu.Lock()
			s.hidden = 0
			s.mu.Unlock()
		})
		w.run(3 * time.Minute)
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
		if got := w.covered(); got != "18:00:00-18:04:00" {
			t.Errorf("covered %s", got)
		}
	})
}

// Pages that do not overlap prove nothing.
func TestPagesThatDoNotOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 10, step: 11} // one is left out between two pages
		s.many(40, begin)
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		w.run(2 * time.Minute)
		if c := w.conditions(); c != "source-incomplete team/donations" {
			t.Errorf("conditions %s", c)
		}
		if got := w.covered(); got != "" {
			t.Errorf("covered %s", got)
		}
		if st := w.poller.Status()[0]; !st.CompleteUntil.IsZero() {
			t.Errorf("complete until %s", st.CompleteUntil)
		}
	})
}

// Who waits for an event's last donations, as a freeze does, sees in the status when nothing of it is asked
// for any more: when all are known, or else after an hour, after a restart too.
func TestEventsAreLeft(t *testing.T) {
	t.Parallel()
	const slow = `
  - name: slow
    kind: json
    totals: {url: "https://slow.example/totals", total: total, unit: decimal, schedule: "0 20 * * *", currency: currency}
    donations: {url: "https://slow.example/donations", list: $, id: id, amount: amount, unit: cents, schedule: "0 20 * * *"}
    currency: EUR
`
	end := begin.Add(3*time.Minute + 5*time.Second)
	at := func(w *world) string { return strings.Join(w.poller.Status()[0].Events, " ") }
	for name, c := range map[string]struct {
		source  string
		fails   bool
		restart time.Duration // after the end
		// until the event is asked for; from when on it must not be.
		asked, left time.Duration
	}{
		"totals":            {source: zeventSource, asked: -time.Second, left: time.Second},
		"donations":         {source: teamSource, asked: time.Second, left: 30 * time.Second},
		"unreachable":       {source: teamSource, fails: true, asked: 59 * time.Minute, left: time.Hour + 3*time.Minute},
		"restart":           {source: teamSource, restart: 40 * time.Minute, asked: 40*time.Minute + time.Second, left: 41 * time.Minute},
		"restart, no avail": {source: teamSource, fails: true, restart: 40 * time.Minute, asked: 59 * time.Minute, left: time.Hour + 3*time.Minute},
		"no slot comes":     {source: slow, asked: 59 * time.Minute, left: time.Hour + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &team{size: 30, step: 5}
				s.many(10, begin)
				var h http.Handler = s
				switch {
				case c.fails:
					h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
				case c.source != teamSource:
					h = body(answer(t, "answers/zevent.json"))
				}
				w := open(t, 2*time.Minute+time.Second, sourcesAt(t, c.source), h)
				w.events[0].End = end
				if c.restart > 0 {
					w.run(end.Add(c.restart).Sub(w.clock.Now()))
					w.restart(sourcesAt(t, c.source))
				}
				time.AfterFunc(end.Add(c.asked).Sub(w.clock.Now()), func() {
					if got := at(w); got != "zevent" {
						t.Errorf("%s after the end it is asked for %q", c.asked, got)
					}
				})
				w.run(end.Add(c.left).Sub(w.clock.Now()))
				if got := at(w); got != "" {
					t.Errorf("%s after the end it is still asked for %q", c.left, got)
				}
			})
		})
	}
}

// Whose a donation is, and how much, is what was told last: also what had been told before, by the same run or by
// one before it.
func TestWhatIsToldLastCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cents atomic.Int64
		cents.Store(100)
		w := open(t, time.Minute+time.Second, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `[{"id":1,"amount":%d,"to":"m","at":"2026-09-04T18:00:01Z"}]`, cents.Load())
		}))
		w.dir = t.TempDir()
		mapped := func(login string) []charity.Source {
			return sourcesAt(t, `
  - name: own
    kind: json
    currency: EUR
    members: {m: `+login+`}
    donations: {url: "https://own.example/d", list: $, id: id, amount: amount, unit: cents, streamer: to, time: at, pagination: {by: none, all: true}}
`)
		}
		const a, b = "44842076", "52130765"
		for i, step := range []struct {
			login string
			cents int64
			want  map[string]int64
		}{
			{"aducine", 100, map[string]int64{a: 100}},
			{"elodie", 100, map[string]int64{b: 100}},
			{"aducine", 100, map[string]int64{a: 100}},
			{"elodie", 100, map[string]int64{b: 100}},
			{"", 200, map[string]int64{b: 200}},
			{"", 100, map[string]int64{b: 100}},
			{"", 200, map[string]int64{b: 200}},
			{"aducine", 200, map[string]int64{a: 200}},
		} {
			cents.Store(step.cents)
			if step.login != "" {
				w.restart(mapped(step.login))
			}
			n := w.count()
			w.run(20 * time.Second)
			if got := w.counted(); !maps.Equal(got, step.want) {
				t.Errorf("%d: %v, want %v", i, got, step.want)
			}
			if step.login == "" || i == 0 {
				continue
			}
			// The same again is no news.
			records := len(of[*record.Donation](w))
			w.restart(mapped(step.login))
			w.run(20 * time.Second)
			if got := len(of[*record.Donation](w)); got != records || w.count() == n {
				t.Errorf("%d: %d records after a restart, %d before", i, got, records)
			}
		}
	})
}

// What a source lists late, or changes, further down than the newest page is read when the event is over, before
// its donations are said to be all there.
func TestAllAreReadAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(100, begin)
		w := open(t, 57*time.Minute, sourcesAt(t, teamSource), s)
		time.AfterFunc(time.Minute, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gifts[3].cents += 77
			s.gifts = slices.Insert(s.gifts, 5, gift{id: 7000, cents: 5000, at: begin.Add(5 * time.Second), member: "aducine"})
		})
		w.run(2 * time.Minute)
		before := w.total()["44842076"]
		w.run(2 * time.Minute)
		if got := w.total()["44842076"]; got != before+5077 {
			t.Errorf("%d at the end, %d before", got, before)
		}
		if e := w.poller.Status()[0].Events; len(e) != 0 {
			t.Errorf("still polled for %q", e)
		}
	})
}

// Donations that come between two requests move those before them to later pages: by a whole page too, and then
// one page looks like the one before it.
func TestListThatMovesByAPage(t *testing.T) {
	t.Parallel()
	const source = `
  - name: own
    kind: json
    currency: EUR
    donations: {url: "https://own.example/d", list: $, id: id, amount: amount, unit: cents, time: at, pagination: {by: page}}
`
	for name, clamps := range map[string]bool{"empty after the last page": false, "the last page again after it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rows = 10
				var listed, moves atomic.Int64
				listed.Store(30)
				w := open(t, time.Minute+time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					page, err := strconv.Atoi(r.URL.Query().Get("page"))
					if err != nil {
						t.Error(err)
					}
					if page == 2 && moves.Load() < 2 { // while all are read, and while the newest are
						moves.Add(1)
						listed.Add(rows)
					}
					size := int(listed.Load())
					if clamps {
						page = min(page, (size+rows-1)/rows)
					}
					var list []string
					for id := size - (page-1)*rows; id > max(0, size-page*rows); id-- {
						list = append(list, fmt.Sprintf(`{"id":%d,"amount":100,"at":"2026-09-04T18:00:01Z"}`, id))
					}
					fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
				}))
				time.AfterFunc(20*time.Second, func() { listed.Add(rows + 5) })
				w.run(time.Minute)
				if n := len(of[*record.Donation](w)); int64(n) != listed.Load() || moves.Load() != 2 {
					t.Errorf("%d of %d donations, moved %d times", n, listed.Load(), moves.Load())
				}
				if got := w.covered(); got != "18:00:00-18:02:00" {
					t.Errorf("covered %s", got)
				}
			})
		})
	}
}

// counted is what closed minutes say: of each record the first that came is stored, and of each donation of a
// minute one version counts.
func (w *world) counted() map[string]int64 {
	type place struct {
		minute   time.Time
		donation string
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	stored, last := map[string]bool{}, map[place]*record.Donation{}
	for _, doc := range w.docs {
		d, ok := doc.(*record.Donation)
		if !ok {
			continue
		}
		r, err := record.Encode(d)
		if err != nil {
			w.t.Fatal(err)
		}
		at := place{record.Minute(d.Time), d.Source + "/" + d.Donation}
		if before := last[at]; !stored[r.ID] && (before == nil || record.CompareVersions(d.Versioned(), before.Versioned()) > 0) {
			last[at] = d
		}
		stored[r.ID] = true
	}
	out := map[string]int64{}
	for _, d := range last {
		out[d.Channel] += d.Money.Cents
	}
	return out
}

// A donation of a source without times is counted once, whatever becomes of it and however often its
// collector starts: what was there at the first look stays as it was found and is said to be from earlier; what
// came since is followed at the time that it was seen first.
func TestDonationsWithoutTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const source = `
  - name: own
    kind: json
    currency: EUR
    donations: {url: "https://own.example/d", list: $, id: id, amount: amount, unit: cents, streamer: to, pagination: {by: none, all: true}}
`
		var list atomic.Value
		says := func(rows ...string) { list.Store("[" + strings.Join(rows, ",") + "]") }
		says(`{"id":1,"amount":500,"to":"newcomer"}`, `{"id":2,"amount":700,"to":"aducine"}`)
		w := open(t, time.Minute+time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, list.Load())
		}))
		check := func(when string, earlier int, want map[string]int64) {
			t.Helper()
			if got := w.counted(); !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
			n := 0
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, d := range w.docs {
				if d, ok := d.(*record.Donation); ok && d.Earlier {
					n++
				}
			}
			if n != earlier {
				t.Errorf("%s: %d are from earlier, want %d", when, n, earlier)
			}
		}
		time.AfterFunc(20*time.Second, func() {
			says(`{"id":1,"amount":600,"to":"newcomer"}`, `{"id":2,"amount":700,"to":"elodie"}`, `{"id":3,"amount":10,"to":"newcomer"}`)
		})
		time.AfterFunc(62*time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			channels := people()
			channels["7"] = charity.Channel{Login: "newcomer"}
			w.events[0].Channels = channels
		})
		w.run(2 * time.Minute)
		check("at first", 2, map[string]int64{"": 500, "44842076": 700, "7": 10})
		says(`{"id":1,"amount":600,"to":"newcomer"}`, `{"id":2,"amount":700,"to":"elodie"}`, `{"id":3,"amount":20,"to":"newcomer"}`)
		w.run(time.Minute)
		check("another amount", 2, map[string]int64{"": 500, "44842076": 700, "7": 20})
		w.restart(sourcesAt(t, source))
		w.run(time.Minute)
		check("after a restart", 5, map[string]int64{"": 500, "44842076": 700, "7": 20})
		says(`{"id":1,"amount":900,"to":"aducine"}`, `{"id":2,"amount":7,"to":"elodie"}`, `{"id":3,"amount":30,"to":"newcomer"}`, `{"id":4,"amount":1,"to":"aducine"}`)
		w.run(time.Minute)
		check("changed after it", 5, map[string]int64{"": 500, "44842076": 701, "7": 20})
	})
}

// Another time of a donation is no other version; one that comes into the event by the event's own times is
// recorded.
func TestDonationsTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.many(3, begin)
		s.add(gift{cents: 900, at: begin.Add(-time.Minute), member: "aducine"})
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(40*time.Second, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gifts[0].at = begin.Add(30 * time.Second)
		})
		w.run(time.Minute)
		if n := w.count() - len(of[*record.Coverage](w)); n != 3 {
			t.Errorf("%d donations were emitted, want 3", n)
		}
		w.mu.Lock()
		w.events[0].Start = begin.Add(-time.Hour)
		w.mu.Unlock()
		w.run(time.Minute)
		if got := w.total()["44842076"]; got != 1200 {
			t.Errorf("total %d", got)
		}
	})
}

// Of a list that shows the newest few, a poll claims nothing of the time before it where there was nothing to
// overlap with: not when channels change, not when an event comes, not after a list without donations.
func TestWindowClaims(t *testing.T) {
	t.Parallel()
	const source = `
  - name: own
    kind: json
    currency: EUR
    donations: {url: "https://own.example/d", list: $, id: id, amount: amount, unit: cents, time: at, time_layout: unix_ms, schedule: "@every 10s"}
`
	for name, c := range map[string]struct {
		first   int64
		shows   int64 // from 18:02:02 on
		change  func(t *testing.T, w *world)
		covered string
	}{
		"channels, with a hole": {first: 3, shows: 9, change: func(_ *testing.T, w *world) {
			w.events[0].Channels = map[string]charity.Channel{"7": {Login: "newcomer"}}
		}, covered: "18:01:00-18:02:00 18:03:00-18:04:00"},
		"channels, without": {first: 3, shows: 5, change: func(_ *testing.T, w *world) {
			w.events[0].Channels = map[string]charity.Channel{"7": {Login: "newcomer"}}
		}, covered: "18:01:00-18:04:00"},
		"an event":   {first: 3, shows: 9, change: func(t *testing.T, w *world) { w.events = append(w.events, event(t, "another")) }, covered: "18:01:00-18:02:00 18:03:00-18:04:00"},
		"the first":  {first: 0, shows: 9, change: func(*testing.T, *world) {}, covered: "18:01:00-18:02:00 18:03:00-18:04:00"},
		"no hole":    {first: 3, shows: 5, change: func(*testing.T, *world) {}, covered: "18:01:00-18:04:00"},
		"never more": {first: 0, shows: 0, change: func(*testing.T, *world) {}, covered: "18:01:00-18:04:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var newest atomic.Int64
				newest.Store(c.first)
				w := open(t, 55*time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					var rows []string
					last := newest.Load()
					for i := last; i > max(last-3, 0); i-- {
						rows = append(rows, fmt.Sprintf(`{"id":%d,"amount":100,"at":%d}`, i, begin.Add(time.Minute).UnixMilli()))
					}
					fmt.Fprint(w, "["+strings.Join(rows, ",")+"]")
				}))
				time.AfterFunc(67*time.Second, func() {
					newest.Store(c.shows)
					w.mu.Lock()
					defer w.mu.Unlock()
					c.change(t, w)
				})
				w.run(3*time.Minute + 10*time.Second)
				if got := w.covered(); got != c.covered {
					t.Errorf("covered %s, want %s", got, c.covered)
				}
				if got := w.conditions(); got != "" {
					t.Errorf("conditions %s", got)
				}
			})
		})
	}
}

// What stands where a country belongs is kept where it has the form of one, in the record and in its raw row.
func TestCountries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const source = `
  - name: own
    kind: json
    currency: EUR
    donations: {url: "https://own.example/d", list: $, id: id, amount: amount, unit: cents, country: from, pagination: {by: none, all: true}}
`
		wants := map[string]bool{
			"FR": true, "FRA": true, "France": true, "Côte d'Ivoire": true, "Guinea-Bissau": true, "日本": true, "United Kingdom": true,
			"12 rue de la Paix": false, "jean@example.org": false, "Durand, Jeanne": false, "@jean": false, "Paris;France": false,
			"Jean_Dupont": false, "https://example.org": false, "+33": false, strings.Repeat("a", 57): false, strings.Repeat("é", 56): true,
		}
		var rows, names []string
		for s := range wants {
			names = append(names, s)
			rows = append(rows, fmt.Sprintf(`{"id":"%d","amount":1,"from":%q}`, len(rows), s))
		}
		w := open(t, time.Minute, sourcesAt(t, source), body("["+strings.Join(rows, ",")+"]"))
		w.run(time.Minute)
		list := of[*record.Donation](w)
		if len(list) != len(wants) {
			t.Fatalf("%d donations", len(list))
		}
		for i, d := range list {
			want := ""
			if wants[names[i]] {
				want = names[i]
			}
			if d.Country != want || strings.Contains(d.Raw, names[i]) != wants[names[i]] {
				t.Errorf("%q: country %q, raw %s", names[i], d.Country, d.Raw)
			}
		}
	})
}

// Who is no channel is still told after another was added.
func TestUnmatchedStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &team{size: 30, step: 5}
		s.add(gift{cents: 100, at: begin, member: "newcomer"}, gift{cents: 100, at: begin, member: "stranger"})
		w := open(t, time.Minute+time.Second, sourcesAt(t, teamSource), s)
		time.AfterFunc(31*time.Second, func() {
			if d := w.detail("source-unmatched"); !strings.Contains(d, "NEWCOMER, STRANGER:") {
				t.Errorf("before: %s", d)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events[0].Channels = map[string]charity.Channel{"7": {Login: "newcomer"}}
		})
		w.run(2 * time.Minute)
		if d := w.detail("source-unmatched"); !strings.Contains(d, "that of STRANGER:") {
			t.Errorf("%s: %s", w.conditions(), d)
		}
	})
}
