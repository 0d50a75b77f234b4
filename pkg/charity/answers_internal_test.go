package charity

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// shapes are the mappings that the tests have answers of.
func shapes() map[string]struct {
	m         mapping
	donations bool
} {
	type shape = struct {
		m         mapping
		donations bool
	}
	own := mapping{
		list: at("streamers")[0], memberID: at("id"), memberNames: at("login"), memberTwitch: at("twitch"), amount: at("raised.amount"),
		unit: unitDecimal, currency: at("raised.currency"), total: at("total[0].amount"), totalCurrency: at("total[0].currency"),
	}
	ownDonations := mapping{
		list: path{}, id: at("id"), amount: at("amount"), unit: unitCents, currency: at("currency"), time: at("at"), layout: layoutMillis,
		donorID: at("user.id"), donor: at("user.name"), text: at("text"), country: at("country"), memberID: at("to.id"),
		memberNames: at("to.login"), memberTwitch: at("to.twitch"),
	}
	return map[string]shape{
		"zevent":            {zeventTotals(), false},
		"streamlabs":        {streamlabsDonations(), true},
		"twitch-campaigns":  {twitchTotals(), false},
		"twitch-donations":  {twitchDonations(), true},
		"tiltify-campaign":  {tiltifyTotal(), false},
		"tiltify-members":   {tiltifyMembers(), false},
		"tiltify-donations": {tiltifyDonations(true), true},
		"json-totals":       {own, false},
		"json-donations":    {ownDonations, true},
	}
}

// currencyOf is what the sources file says of amounts without a currency.
func currencyOf(kind string) string {
	if kind == "zevent" {
		return "EUR"
	}
	return ""
}

func render(r *reading) string {
	var b strings.Builder
	if r.total != nil {
		fmt.Fprintf(&b, "total %d %s\n", r.total.Cents, r.total.Currency)
	}
	for _, row := range r.rows {
		fmt.Fprintf(&b, "%d %s", row.money.Cents, row.money.Currency)
		for _, s := range []struct{ name, v string }{
			{"id", row.id},
			{"member", row.member.id},
			{"twitch", row.member.twitch},
			{"names", strings.Join(row.member.names, "/")},
			{"donor-id", row.donorID},
			{"donor", row.donor},
			{"text", row.text},
			{"country", row.country},
		} {
			if s.v != "" {
				fmt.Fprintf(&b, " %s=%q", s.name, s.v)
			}
		}
		if !row.time.IsZero() {
			b.WriteString(" " + row.time.Format("2006-01-02T15:04:05.999Z"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	const team = `5000 EUR id="101" member="956519162388290954" names="aducine/Aducine" donor="Jeanne Durand" text="Courage @aducine, de Jeanne" country="France" 2026-09-04T18:01:00Z
250 EUR id="102" member="7" names="elodie-fr/Élodie" donor="Anonymous" 2026-09-04T18:00:59Z
100 EUR id="103" donor="jean.dupont@example.org" country="Belgium" 2026-09-04T18:01:30Z
`
	for file, want := range map[string]string{
		"zevent": `total 163098 EUR
81549 EUR member="44842076" twitch="44842076" names="aducine/Aducine"
81549 EUR member="52130765" twitch="52130765" names="elodie/Élodie"
`,
		"zevent-offline":  "total 0 EUR\n",
		"streamlabs":      team,
		"streamlabs-data": team,
		"twitch-campaigns": `86000 EUR twitch="44842076" names="aducine/Aducine"
`,
		"twitch-donations": `500 EUR id="a1b2c3-aabb-4455-d1e2f3" donor-id="5678" donor="cool_user"
10000 EUR id="a1b2c3-aabb-4455-d1e2f4" donor-id="8765" donor="cool_user2"
`,
		"tiltify-campaign": "total 118232 EUR\n",
		"tiltify-members": `10000 EUR member="c-1" names="aducine/Aducine"
8232 EUR member="c-2" names="someone/Someone"
`,
		"tiltify-donations": `8295 EUR id="d1" member="c-1" donor="Jeanne Durand" text="Rerum quo necessitatibus" 2026-09-04T18:00:59Z
500 EUR id="d2" member="c-9" donor="Anonymous" 2026-09-04T18:00:50Z
`,
		"json-totals": `total 1250 EUR
1250 EUR member="1" twitch="44842076" names="aducine"
`,
		"json-donations": `1250 EUR id="9" member="1" twitch="44842076" names="aducine" donor-id="77" donor="Jeanne Durand" text="salut" country="FR" 2026-09-04T18:01:00Z
`,
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile("testdata/answers/" + file + ".json")
			if err != nil {
				t.Fatal(err)
			}
			kind := strings.TrimSuffix(strings.TrimSuffix(file, "-offline"), "-data")
			s := shapes()[kind]
			r := s.m.read(body, currencyOf(kind), s.donations)
			if got := render(&r); got != want || r.trouble > 0 || !r.whole || !r.found || len(r.currencies) > 0 {
				t.Errorf("read\n%s\nwant\n%s\nproblems %v, currencies %v", got, want, r.problems, r.currencies)
			}
		})
	}
}

// want is one line of testdata/broken/want.tsv.
type want struct {
	file, kind string
	rows       int
	problem    string
	total      string
}

func broken(t testing.TB) []want {
	t.Helper()
	b, err := os.ReadFile("testdata/broken/want.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []want
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		n, err := strconv.Atoi(f[2])
		if err != nil || len(f) != 5 {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, want{f[0], f[1], n, f[3], f[4]})
	}
	return out
}

// Of whatever a source answers, what can be read is, and what can't is told.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	all := broken(t)
	if len(all) < 40 {
		t.Fatalf("only %d answers", len(all))
	}
	for _, w := range all {
		t.Run(w.file, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile("testdata/broken/" + w.file)
			if err != nil {
				t.Fatal(err)
			}
			s := shapes()[w.kind]
			r := s.m.read(body, currencyOf(w.kind), s.donations)
			if len(r.rows) != w.rows || !strings.Contains(r.summary(), w.problem) || r.summary() == "" {
				t.Errorf("%d rows, %q; want %d and %q\n%s", len(r.rows), r.summary(), w.rows, w.problem, render(&r))
			}
			if (r.total != nil) != (w.total != "") || r.total != nil && strconv.FormatInt(r.total.Cents, 10) != w.total {
				t.Errorf("total %v, want %q", r.total, w.total)
			}
			for _, person := range []string{"Jeanne", "Durand", "jean.dupont"} {
				if strings.Contains(r.summary(), person) {
					t.Errorf("the problem names a person: %s", r.summary())
				}
			}
		})
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit     unit
		in       string
		currency string
		want     string
	}{
		{unitDecimal, `815.49`, "EUR", "81549"},
		{unitDecimal, `"815.49"`, "EUR", "81549"},
		{unitDecimal, `0.30000000000000004`, "EUR", "30"},
		{unitDecimal, `16179096.040000001`, "EUR", "1617909604"},
		{unitDecimal, `1.617909604e7`, "EUR", "1617909604"},
		{unitDecimal, `1E3`, "EUR", "100000"},
		{unitDecimal, `1500`, "JPY", "1500"},
		{unitDecimal, `0`, "EUR", "0"},
		{unitDecimal, `-1`, "EUR", "-100"},
		{unitDecimal, `1e9999999999`, "EUR", "error"},
		{unitDecimal, `1e-9999999999`, "EUR", "error"},
		{unitDecimal, `"1 234,50"`, "EUR", "error"},
		{unitDecimal, `"0x10"`, "EUR", "error"},
		{unitDecimal, `true`, "EUR", "error"},
		{unitCents, `5000`, "EUR", "5000"},
		{unitCents, `"5000"`, "EUR", "5000"},
		{unitCents, `5e3`, "EUR", "5000"},
		{unitCents, `5000.0`, "EUR", "5000"},
		{unitCents, `50.5`, "EUR", "error"},
		{unitCents, `9223372036854775808`, "EUR", "error"},
		{unitCents, `99999999999999`, "EUR", "error"},
	} {
		v, whole, err := parseJSON([]byte(`{"a":` + c.in + `}`))
		if err != nil || !whole {
			t.Fatal(c.in, err)
		}
		m := mapping{unit: c.unit}
		got := "error"
		if n, err := m.cents(v, v.get("a"), c.currency); err == nil {
			got = strconv.FormatInt(n, 10)
		}
		if got != c.want {
			t.Errorf("%s of %s in %s is %s, want %s", c.in, c.unit, c.currency, got, c.want)
		}
	}
}

// What is JSON is read as encoding/json reads it.
func TestParseJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in, err := json.Marshal(anyJSON(3).Draw(t, "value"))
		if err != nil {
			t.Skip(err)
		}
		v, whole, err := parseJSON(in)
		if err != nil || !whole {
			t.Fatalf("parseJSON(%s): %v", in, err)
		}
		if got, want := plainJSON(v), decoded(in); got != want {
			t.Fatalf("parseJSON(%s) is %s, want %s", in, got, want)
		}
		// And of any beginning of it no more than was there.
		cut := rapid.IntRange(0, len(in)).Draw(t, "cut")
		if _, whole, err := parseJSON(in[:cut]); json.Valid(in[:cut]) != (whole && err == nil) {
			t.Fatalf("parseJSON(%s): whole %v, %v", in[:cut], whole, err)
		}
	})
}

func anyJSON(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil),
		rapid.Custom(func(t *rapid.T) any {
			return json.Number(rapid.StringMatching(`-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "n"))
		}),
	}
	if depth > 0 {
		leaves = append(leaves, rapid.SliceOfN(anyJSON(depth-1), 0, 4).AsAny(), rapid.MapOfN(rapid.String(), anyJSON(depth-1), 0, 4).AsAny())
	}
	return rapid.OneOf(leaves...)
}

func decoded(b []byte) string {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%#v", v)
}

func plainJSON(v value) string {
	var plain func(v value) any
	plain = func(v value) any {
		switch v.kind {
		case text:
			return v.text
		case number:
			return json.Number(v.text)
		case boolean:
			return v.text == "true"
		case list:
			out := make([]any, 0, len(v.items))
			for _, i := range v.items {
				out = append(out, plain(i))
			}
			return out
		case object:
			out := map[string]any{}
			for i, k := range v.keys {
				out[k] = plain(v.items[i])
			}
			return out
		case absent, null, odd:
		}
		return nil
	}
	return fmt.Sprintf("%#v", plain(v))
}

func TestPaths(t *testing.T) {
	t.Parallel()
	v, _, err := parseJSON([]byte(`{"a":{"b":[{"c":"x"},["y"]]},"twice":1,"twice":2}`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"a.b[0].c": "x", "a.b[1][0]": "y", "a.b[2]": "", "a.b[0].d": "", "twice": "2", "$": "", "a[0]": "", "a.b.c": "",
	} {
		p, err := parsePath(in)
		if err != nil || p.String() != in || p.of(v).text != want {
			t.Errorf("%s: %v, %s leads to %q, want %q", in, err, p, p.of(v).text, want)
		}
	}
	for _, in := range []string{"", ".", "a.", ".a", "a[", "a[]", "a[-1]", "a[+1]", "a[1", "a]b", "a[1]b", "a[1].", "$.a[x]"} {
		if p, err := parsePath(in); err == nil {
			t.Errorf("path %q is %v", in, p)
		}
	}
}

// Whatever an answer is, reading it ends, and what is read of it is right: an amount that is not
// negative, with a currency; of a donation an id and a time.
func FuzzAnswers(f *testing.F) {
	kinds := []string{"zevent", "streamlabs", "twitch-campaigns", "twitch-donations", "tiltify-campaign", "tiltify-members", "tiltify-donations", "json-totals", "json-donations"}
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
			for i, kind := range kinds {
				if strings.HasPrefix(filepath.Base(file), kind) {
					f.Add(i, b)
				}
			}
		}
	}
	all := shapes()
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		kind := kinds[uint(i)%uint(len(kinds))]
		s := all[kind]
		r := s.m.read(b, currencyOf(kind), s.donations)
		for _, row := range r.rows {
			if row.money.Cents < 0 || row.money.Cents > maxCents || len(row.money.Currency) != 3 {
				t.Errorf("amount %v", row.money)
			}
			if s.donations && (row.id == "" || len(row.id) > maxID || row.time.IsZero() != s.m.timeless) {
				t.Errorf("donation %q at %v", row.id, row.time)
			}
		}
		if r.listed != len(r.rows)+len(r.bad) && r.trouble == 0 && r.whole {
			// Rows that are there twice are the only ones that go unsaid.
			ids := map[string]bool{}
			for _, id := range r.ids {
				ids[id] = true
			}
			if s.donations && r.listed == len(ids) {
				t.Errorf("%d rows, %d read, %d told", r.listed, len(r.rows), len(r.bad))
			}
		}
		if strings.Contains(r.summary(), "can't be read: runtime") {
			t.Error(r.summary())
		}
		if body := strings.TrimSpace(string(trimBOM(b))); json.Valid(trimBOM(b)) && !r.whole && strings.ContainsAny(body[:1], "{[") &&
			!strings.Contains(r.summary(), "nested deeper") {
			t.Errorf("sound JSON is told not to be: %s", r.summary())
		}
	})
}

func trimBOM(b []byte) []byte { return []byte(strings.TrimPrefix(string(b), "\ufeff")) }
