package charity

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/record"
)

// person draws somebody: parts that must never get through.
func person(t *rapid.T) (name, email, number string) {
	part := rapid.StringMatching(`[b-df-hj-np-tv-xz]{7,10}`)
	first, last := part.Draw(t, "first"), part.Draw(t, "last")
	name = rapid.SampledFrom([]string{first + " " + last, first, first + "_" + last, "É" + first, first + "é 🎉 " + last, last + ", " + first}).Draw(t, "name")
	return name, first + "." + last + "@" + last + ".org", rapid.StringMatching(`[1-9][0-9]{7,14}`).Draw(t, "number")
}

// Nothing of a donor gets through, wherever in an answer it stands, and however broken that is.
func TestScrubLetsNobodyThrough(t *testing.T) {
	t.Parallel()
	p := testPseudonyms(t)
	type kind struct {
		file string
		s    *scrubber
	}
	var kinds []kind
	sources := parseAll(t)
	for file, name := range map[string]string{
		"streamlabs": "streamlabs", "streamlabs-data": "streamlabs", "twitch-donations": "twitch", "tiltify-donations": "tiltify",
		"json-donations": "own-page", "zevent": "zevent",
	} {
		pl := sources[name].plan()
		for _, f := range slices.Concat(pl.totals, pl.donations) {
			kinds = append(kinds, kind{file, f.scrub})
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(kinds).Draw(t, "kind")
		b, err := os.ReadFile("testdata/answers/" + k.file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		name, email, number := person(t)
		quoted, _ := json.Marshal(name) //nolint:errchkjson // a string
		inner := string(quoted[1 : len(quoted)-1])
		in := string(b)
		for _, was := range []string{"Jeanne Durand", "Courage @aducine, de Jeanne", "Cool_User2", "cool_user2", "Rerum quo necessitatibus", "salut"} {
			in = strings.ReplaceAll(in, was, rapid.SampledFrom([]string{inner, email, inner + " " + email, "@" + inner, `\"` + inner + `\"`}).Draw(t, "who"))
		}
		in = strings.ReplaceAll(in, "jean.dupont@example.org", email)
		in = strings.ReplaceAll(in, "8765", number)
		if rapid.Bool().Draw(t, "another member") {
			// A field that nobody knows yet.
			at := strings.IndexByte(in, '{') + 1
			who := rapid.SampledFrom([]string{
				`"donor":{"full_name":"` + inner + `","phone":` + number + `},`, `"` + inner + `":1,`, `"` + email + `":{"` + inner + `":"x"},`,
				`"x":["` + inner + `",["` + email + `"],` + number + `],`, `"message":"` + inner + `",`, `"text":{"author":"` + inner + `"},`,
			}).Draw(t, "member")
			in = in[:at] + who + in[at:]
		}
		if !json.Valid([]byte(in)) {
			t.Fatalf("not JSON: %s", in)
		}
		check := func(in string, sound bool) {
			out := k.s.scrub([]byte(in), "", p)
			if !utf8.Valid(out) || sound && !json.Valid(out) {
				t.Fatalf("scrub(%s) is %q", in, out)
			}
			low := strings.ToLower(string(out))
			for _, s := range strings.FieldsFunc(strings.ToLower(name+" "+email), func(r rune) bool { return r < 'a' || r > 'z' }) {
				if len(s) >= 6 && strings.Contains(low, s) {
					t.Fatalf("%s is in scrub(%s):\n%s", s, in, out)
				}
			}
			if strings.Contains(low, number) {
				t.Fatalf("%s is in scrub(%s):\n%s", number, in, out)
			}
		}
		check(in, true)
		check(in[:rapid.IntRange(0, len(in)).Draw(t, "cut")], false)
		at := rapid.IntRange(0, len(in)-9).Draw(t, "at")
		check(in[:at]+in[at+rapid.IntRange(1, 8).Draw(t, "gap"):], false)
		check(in[:at]+rapid.SampledFrom([]string{`"`, `\`, `{`, `}`, `]`, `:`, `,`, "\xff", "\x00", "<", `""`, "null", "1"}).Draw(t, "insert")+in[at:], false)
	})
}

func parseAll(t testing.TB) map[string]*Source {
	t.Helper()
	list, err := LoadSources("testdata/right/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*Source{}
	for i := range list {
		out[list[i].Name] = &list[i]
	}
	return out
}

// Where nothing is known to be harmless nothing gets through, whatever the bytes are.
func FuzzScrub(f *testing.F) {
	for _, pattern := range []string{"testdata/answers/*", "testdata/broken/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(strings.NewReplacer("Jeanne Durand", "jeannedurand", "aducine", "jeannedurand").Replace(string(b))))
		}
	}
	for _, s := range []string{
		`{"jeannedurand":1}`, `"jeannedurand`, `jeannedurand`, `{"a":jeannedurand}`, `{"text":{"jeannedurand":"jeannedurand"}}`,
		`[{"a":"b"}"jeannedurand"]`, `{"a" "jeannedurand":1}`, "\ufeff\"jeannedurand\"", `{"a.b":"jeannedurand"}`, `"\u006aeannedurand"`, strings.Repeat("[", 70) + `"jeannedurand"`,
	} {
		f.Add([]byte(s))
	}
	p := testPseudonyms(f)
	nothing := newScrubber("team:", nil)
	some := newScrubber("team:", map[string]class{"data.id": public, "data.amount": figure, "data.at": moment, "data.currency": currency})
	f.Fuzz(func(t *testing.T, b []byte) {
		out := nothing.scrub(b, "", p)
		if !utf8.Valid(out) || json.Valid(b) && !json.Valid(out) {
			t.Fatalf("scrub(%q) is %q", b, out)
		}
		if strings.Contains(strings.ToLower(string(out)), "jeannedurand") {
			t.Fatalf("scrub(%q) is %q", b, out)
		}
		if out = some.scrub(b, "data", p); !utf8.Valid(out) || json.Valid(b) && !json.Valid(out) {
			t.Fatalf("scrub(%q) is %q", b, out)
		}
	})
}

// A whole ZEvent of donations is known in little memory.
func TestKnownDonationsAreSmall(t *testing.T) {
	const donations = 1_084_119
	begin := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	cfg := &Config{Collector: "one", Clock: clock.NewScaled(begin, 1), Emit: func(context.Context, []record.Document) error {
		return errors.New("none of them is in the event")
	}, Events: func() []Event {
		return []Event{{
			Slug: "zevent", Start: begin, End: begin.Add(time.Hour), Pseudonyms: testPseudonyms(t), Channels: map[string]Channel{"44842076": {Login: "aducine"}},
		}}
	}}
	pub, err := NewPoller(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := newPoller(*parseAll(t)["streamlabs"], &pub.cfg, nil, m)
	f := p.plan.donations[0]
	events := p.events(begin, true)
	f.prepare(events)
	before := heap()
	r := &reading{rows: make([]row, 0, 3000)}
	for i := 0; i < donations; i += 3000 {
		r.rows = r.rows[:0]
		for n := i; n < min(i+3000, donations); n++ {
			r.rows = append(r.rows, row{
				id: strconv.Itoa(100_000_000_000 + n), money: record.Money{Cents: int64(n), Currency: "EUR"}, time: begin.Add(2*time.Hour + time.Duration(n)*time.Millisecond),
				member: member{names: []string{"aducine"}},
			})
		}
		if err := p.donations(t.Context(), f, events[0], begin, r, false); err != nil {
			t.Fatal(err)
		}
	}
	if used := heap() - before; used > 100<<20 {
		t.Errorf("%d MiB", used>>20)
	} else {
		t.Logf("%d donations are known in %d MiB", f.knows(), used>>20)
	}
	if f.knows() != donations || f.outside != donations {
		t.Errorf("%d known, %d outside the event", f.knows(), f.outside)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkScrubRow(b *testing.B) {
	body, err := os.ReadFile("testdata/answers/streamlabs.json")
	if err != nil {
		b.Fatal(err)
	}
	p := testPseudonyms(b)
	f := parseAll(b)["streamlabs"].plan().donations[0]
	r := f.mapping.read(body, "", true)
	b.SetBytes(int64(len(r.rows[0].raw)))
	b.ReportAllocs()
	for b.Loop() {
		f.scrub.scrub(r.rows[0].raw, f.base, p)
	}
}

func BenchmarkReadPage(b *testing.B) {
	body, err := os.ReadFile("testdata/answers/streamlabs.json")
	if err != nil {
		b.Fatal(err)
	}
	rows := strings.TrimSuffix(strings.TrimPrefix(string(body), "["), "]")
	page := []byte("[" + strings.TrimSuffix(strings.Repeat(rows+",", 1000), ",") + "]")
	f := parseAll(b)["streamlabs"].plan().donations[0]
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		f.mapping.read(page, "", true)
	}
}
