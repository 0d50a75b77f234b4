package charity_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/record"
)

const zeventSource = `
  - name: zevent
    kind: zevent
    url: https://zevent.example/api/
`

func answer(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// samples are the amounts as text, in order.
func samples(w *world) string {
	var b strings.Builder
	for _, a := range of[*record.Amount](w) {
		fmt.Fprintf(&b, "%s %s/%s %d %s\n", a.Time.Format("15:04:05"), a.Channel, a.Member, a.Money.Cents, a.Money.Currency)
	}
	return b.String()
}

func TestZEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, 10*time.Second, sourcesAt(t, zeventSource), body(answer(t, "answers/zevent.json")))
		w.run(time.Minute)
		const want = `18:00:30 / 163098 EUR
18:00:30 44842076/ 81549 EUR
18:00:30 52130765/ 81549 EUR
18:01:00 / 163098 EUR
18:01:00 44842076/ 81549 EUR
18:01:00 52130765/ 81549 EUR
`
		if got := samples(w); got != want {
			t.Errorf("samples\n%s, want\n%s", got, want)
		}
		if c := w.conditions(); c != "" {
			t.Errorf("conditions %s", c)
		}
		// The answer is kept before what was read out of it, and the same one not again.
		answers := of[*record.Answer](w)
		if _, first := w.docs[0].(*record.Answer); !first || len(answers) != 1 {
			t.Fatalf("%d answers, first %T", len(answers), w.docs[0])
		}
		a := answers[0]
		if a.Request != "/api/" || a.Status != 200 || a.Type != "application/json" || a.Part != 0 || a.Problem != "" ||
			a.Bytes != len(answer(t, "answers/zevent.json")) || a.Time != begin.Add(30*time.Second) {
			t.Errorf("answer %+v", a)
		}
		for _, s := range []string{`"twitch":"aducine"`, `"display":"Élodie"`, `"number":815.4899999999999`, `"game":"ZEVENT"`, `"websiteMode":"online"`} {
			if !strings.Contains(a.Body, s) {
				t.Errorf("%s is gone from %s", s, a.Body)
			}
		}
		if !json.Valid([]byte(a.Body)) {
			t.Errorf("no JSON: %s", a.Body)
		}
		if st := w.poller.Status()[0]; st.LastSlot != begin.Add(time.Minute) || st.LastSuccess != st.LastSlot || st.Requests != 2 ||
			!st.CompleteUntil.IsZero() || st.Kind != charity.SourceZEvent {
			t.Errorf("status %+v", st)
		}
	})
}

// An answer that is the same is kept once an hour, another at once.
func TestAnswersAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := open(t, 10*time.Second, sourcesAt(t, zeventSource), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			total := 1
			if n == 3 {
				total = 2
			}
			fmt.Fprintf(w, `{"donationAmount":{"number":%d},"live":[]}`, total)
		}))
		w.events[0].End = begin.Add(3 * time.Hour)
		w.run(2 * time.Hour)
		var at []string
		for _, a := range of[*record.Answer](w) {
			at = append(at, a.Time.Format("15:04:05"))
		}
		if got := strings.Join(at, " "); got != "18:00:30 18:01:30 18:02:00 19:02:00" {
			t.Errorf("kept at %s", got)
		}
	})
}

// The source says by an ETag, or a date, that nothing has changed: samples go on.
func TestUnmodified(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"ETag", "Last-Modified"} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				full := 0
				text := answer(t, "answers/zevent.json")
				w := open(t, 10*time.Second, sourcesAt(t, zeventSource), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					value := map[string]string{"ETag": `"v1"`, "Last-Modified": "Fri, 04 Sep 2026 18:00:00 GMT"}[header]
					if r.Header.Get(map[string]string{"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[header]) == value {
						w.WriteHeader(http.StatusNotModified)
						return
					}
					full++
					w.Header().Set(header, value)
					fmt.Fprint(w, text)
				}))
				w.run(2 * time.Minute)
				if n := len(of[*record.Amount](w)); n != 4*3 || full != 1 {
					t.Errorf("%d samples, %d full answers", n, full)
				}
				if c := w.conditions(); c != "" {
					t.Errorf("conditions %s", c)
				}
			})
		})
	}
}

// What comes too late for its slot is the sample of the newest that has passed, and none comes after the end.
func TestLateTotals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sources := sourcesAt(t, zeventSource+"    timeout: 1m\n")
		n := 0
		w := open(t, 10*time.Second, sources, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			fmt.Fprintf(w, `{"donationAmount":{"number":%d},"live":[]}`, n)
		}))
		w.events[0].End = begin.Add(3*time.Minute + 55*time.Second)
		w.before = func(*http.Request) { time.Sleep(31 * time.Second) }
		w.run(5 * time.Minute)
		if got := samples(w); got != "18:01:00 / 100 EUR\n18:02:00 / 200 EUR\n18:03:00 / 300 EUR\n" {
			t.Errorf("samples\n%s", got)
		}
	})
}

// Many broadcasters are asked at once, and each has its samples: at each slot, or where requests are slow in
// each round; a slot has one sample of each.
func TestManyBroadcasters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		broadcasters int
		pause        time.Duration // of each request
		samples      int           // at least
	}{
		"quick": {350, 100 * time.Millisecond, 8},
		"slow":  {60, 4 * time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var source strings.Builder
			source.WriteString(strings.Replace(twitchSource, "    token_files: {aducine: aducine.token}\n", "    token_files:\n", 1))
			for i := range c.broadcasters {
				file := fmt.Sprintf("%s/%d", dir, i)
				if err := os.WriteFile(file, fmt.Appendf(nil, "b%d", i), 0o600); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&source, "      b%d: %s\n", i, file)
			}
			synctest.Test(t, func(t *testing.T) {
				var under, most, total atomic.Int64
				w := open(t, 10*time.Second, sourcesAt(t, source.String()), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					most.Store(max(most.Load(), under.Add(1)))
					time.Sleep(c.pause)
					under.Add(-1)
					_, who, _ := strings.Cut(r.Header.Get("Authorization"), " ")
					switch r.URL.Path {
					case "/validate":
						fmt.Fprintf(w, `{"client_id":"client","login":%q,"scopes":["channel:read:charity"],"user_id":"id-%s"}`, who, who)
					case "/helix/charity/campaigns":
						fmt.Fprintf(w, `{"data":[{"broadcaster_id":"id-%s","current_amount":{"value":%d,"decimal_places":2,"currency":"EUR"}}]}`, who, total.Add(1))
					default:
						fmt.Fprint(w, `{"data":[],"pagination":{}}`)
					}
				}))
				w.run(4*time.Minute + 15*time.Second)
				by, facts := map[string]int{}, map[string]bool{}
				for _, d := range w.docs {
					a, ok := d.(*record.Amount)
					if !ok {
						continue
					}
					by[a.Member]++
					fact := a.Member + a.Time.String()
					if facts[fact] {
						t.Errorf("two samples: %s", fact)
					}
					facts[fact] = true
				}
				for i := range c.broadcasters {
					if n := by[fmt.Sprintf("id-b%d", i)]; n < c.samples {
						t.Errorf("broadcaster %d has %d samples", i, n)
					}
				}
				if most.Load() != 8 {
					t.Errorf("%d requests at once", most.Load())
				}
			})
		})
	}
}

func TestEventsOfASource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, 10*time.Second, sourcesAt(t, zeventSource+"    events: [other, third]\n"), body(answer(t, "answers/zevent.json")))
		later := event(t, "third")
		later.Start = begin.Add(time.Minute)
		w.events = append(w.events, event(t, "other"), later)
		w.run(time.Minute)
		events := map[string]int{}
		for _, a := range of[*record.Amount](w) {
			events[a.Event]++
		}
		if len(events) != 2 || events["other"] != 6 || events["third"] != 3 {
			t.Errorf("samples by event %v", events)
		}
		if st := w.poller.Status()[0]; strings.Join(st.Events, " ") != "other third" {
			t.Errorf("events %v", st.Events)
		}
	})
}

// A source that belongs to no event now is not asked, and misses nothing.
func TestNoEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, 2*time.Hour, sourcesAt(t, zeventSource+teamSource), body("{}"))
		w.run(10 * time.Minute)
		if n := len(w.requests()); n != 0 || w.conditions() != "" {
			t.Errorf("%d requests, conditions %s", n, w.conditions())
		}
		for _, st := range w.poller.Status() {
			if st.LastSlot.Before(begin.Add(2*time.Hour+9*time.Minute)) || !st.LastSuccess.IsZero() {
				t.Errorf("status %+v", st)
			}
		}
	})
}

// Members are found by what the sources file says, by Twitch id, by login, slug or name.
func TestMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		row := func(member string, n int) string {
			return fmt.Sprintf(`{%s,"donationAmount":{"number":%d}}`, member, n)
		}
		list := strings.Join([]string{
			row(`"twitch_id":"44842076"`, 1),
			row(`"twitch_id":"999","twitch":"ELODIE"`, 2),
			row(`"display":"Zoé","streamlabsId":123`, 3),
			row(`"twitch":"unknown","display":"Unknown One"`, 4),
			row(`"display":"élodie"`, 5),
		}, ",")
		sources := sourcesAt(t, zeventSource+"    members: {\"123\": aducine}\n")
		w := open(t, 20*time.Second, sources, body(`{"donationAmount":{"number":15},"live":[`+list+`]}`))
		w.run(15 * time.Second)
		const want = `18:00:30 / 1500 EUR
18:00:30 44842076/ 400 EUR
18:00:30 52130765/ 700 EUR
18:00:30 /unknown 400 EUR
`
		if got := samples(w); got != want {
			t.Errorf("samples\n%s, want\n%s", got, want)
		}
		if c := w.conditions(); c != "source-unmatched zevent/totals" || !strings.Contains(w.detail("source-unmatched"), "that of Unknown One:") {
			t.Errorf("conditions %s: %s", c, w.detail("source-unmatched"))
		}
	})
}

// Whatever is wrong with an answer is told by one condition that goes away by itself, what can be read is
// used, the answer is kept, and no person is in it.
func TestBrokenAnswersAreKept(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(answer(t, "broken/want.tsv")) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		file, kind := f[0], f[1]
		if kind != "zevent" && kind != "streamlabs" {
			continue // the same in kinds of several requests
		}
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := map[string]string{"zevent": zeventSource, "streamlabs": teamSource}[kind]
				bad, good := answer(t, "broken/"+file), answer(t, "answers/"+kind+".json")
				var mended atomic.Bool
				w := open(t, 2*time.Minute+20*time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if mended.Load() {
						fmt.Fprint(w, good)
						return
					}
					fmt.Fprint(w, bad)
				}))
				time.AfterFunc(45*time.Second, func() {
					if c := w.conditions(); !strings.Contains(c, "source-shape ") {
						t.Errorf("conditions %q", c)
					}
					answers := of[*record.Answer](w)
					if len(answers) == 0 {
						t.Error("no answer was kept") // Fatal is for the test's own goroutine
						return
					}
					a := answers[0]
					if a.Problem == "" || a.Status != 200 || a.Hash == "" {
						t.Errorf("answer %+v", a)
					}
					for _, person := range []string{"Jeanne", "Durand", "jean.dupont", "Courage"} {
						if strings.Contains(a.Body+a.Problem+w.detail("source-shape"), person) {
							t.Errorf("%s is in %+v", person, a)
						}
					}
					mended.Store(true)
				})
				w.run(50 * time.Minute)
				if c := strings.ReplaceAll(w.conditions(), "source-unmatched team/donations", ""); c != "" {
					t.Errorf("conditions %s: %s", c, w.detail("source-shape"))
				}
			})
		})
	}
}

// An answer that is larger than a record is kept in parts.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := `{"donationAmount":{"number":15},"live":[` + strings.TrimSuffix(strings.Repeat(`{"game":"`+strings.Repeat("é", 200)+`"},`, 18000), ",") + `]}`
		w := open(t, 20*time.Second, sourcesAt(t, zeventSource), body(text))
		w.run(15 * time.Second)
		answers := of[*record.Answer](w)
		var whole strings.Builder
		for i, a := range answers {
			if a.Part != i+1 || a.Bytes != len(text) || a.Hash != answers[0].Hash {
				t.Errorf("part %d: %d of %d bytes", i, a.Part, a.Bytes)
			}
			whole.WriteString(a.Body)
		}
		if len(answers) != 3 || whole.String() != text {
			t.Errorf("%d parts of %d bytes together, want %d", len(answers), whole.Len(), len(text))
		}
	})
}

// The total of a channel of several rows is the same fact whatever their order, one of each currency.
func TestOneTotalOfAChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const source = `
  - name: own
    kind: json
    currency: EUR
    totals: {url: "https://own.example/t", list: rows, streamer_id: id, amount: n, unit: cents, currency: c}
    members: {a: aducine, b: aducine, c: aducine, d: aducine}
`
		rows := []string{`{"id":"a","n":1,"c":"EUR"}`, `{"id":"b","n":20,"c":"USD"}`, `{"id":"c","n":300,"c":"USD"}`, `{"id":"d","n":4000,"c":"EUR"}`}
		n := 0
		w := open(t, 10*time.Second, sourcesAt(t, source), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n++; n == 2 {
				slices.Reverse(rows)
			}
			fmt.Fprintf(w, `{"rows":[%s]}`, strings.Join(rows, ","))
		}))
		w.run(time.Minute)
		if got := samples(w); got != "18:00:30 44842076/ 4001 EUR\n18:00:30 44842076/ 320 USD\n18:01:00 44842076/ 4001 EUR\n18:01:00 44842076/ 320 USD\n" {
			t.Errorf("samples\n%s", got)
		}
		for _, a := range of[*record.Amount](w) {
			if want := map[string]string{"EUR": "a d", "USD": "b c"}[a.Money.Currency]; strings.Join(a.Members, " ") != want {
				t.Errorf("of %q in %s, want %q", a.Members, a.Money.Currency, want)
			}
		}
	})
}
