package charity

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// unit is what the number of an amount counts.
type unit string

const (
	unitCents   unit = "cents"   // the currency's smallest unit
	unitDecimal unit = "decimal" // the currency, with decimals: 815.49
)

// The layouts of times, as the sources file names them.
const (
	layoutRFC3339 = "rfc3339"
	layoutUnix    = "unix"
	layoutMillis  = "unix_ms"
)

// Bounds of what is taken from an answer.
const (
	maxID = 128
	// maxCents bounds an amount, either way: a hundred billion euros.
	maxCents = 10_000_000_000_000
	// maxCountry, in code points, and maxText bound what a donor says. The longest name of a country has 56.
	maxCountry = 56
	maxText    = 16 << 10
	// maxProblems bounds how many problems of one answer are told one by one.
	maxProblems = 3
)

// mapping says where an answer has what is read out of it. Where several paths are given for a thing,
// the first that leads to something is taken. Paths of rows begin at the row.
type mapping struct {
	// list is where the rows are; nil where there are none. single says that one row stands there.
	list   path
	single bool
	// quiet leads to a value which says that a missing list is none: of ZEvent websiteMode, when it is
	// quietValue.
	quiet      path
	quietValue string

	id             []path
	amount         []path
	unit           unit
	decimals       path // how many decimals amount has, of unit cents (Twitch)
	currency       []path
	time           []path
	layout         string
	timeless       bool // the source tells no time of a donation
	memberID       []path
	memberTwitch   []path
	memberNames    []path // logins, slugs and display names
	donorID, donor []path
	text           []path
	country        []path

	// total is where the event's own total is, in the unit of the rows.
	total         []path
	totalCurrency []path
	// next is where the cursor of the next page is.
	next path
}

// member is a streamer, as the source names him.
type member struct {
	id, twitch string
	names      []string
}

func (m member) known() bool { return m.id != "" || m.twitch != "" || len(m.names) > 0 }

// key identifies a member among those of its source.
func (m member) key() string {
	for _, s := range append([]string{m.id, m.twitch}, m.names...) {
		if s != "" {
			return s
		}
	}
	return ""
}

// label is how people know a member.
func (m member) label() string {
	for i := len(m.names) - 1; i >= 0; i-- {
		if m.names[i] != "" {
			return m.names[i]
		}
	}
	return m.key()
}

// row is one donation, or one streamer's total.
type row struct {
	id             string
	money          record.Money
	time           time.Time
	member         member
	donorID, donor string
	text           string
	country        string
	raw            []byte
}

// badRow is a row that cannot be read.
type badRow struct {
	id   string
	time time.Time // zero where that can't be read
	raw  []byte
}

func (b *badRow) identity() string {
	if b == nil {
		return ""
	}
	return b.id
}

// reading is what was read out of an answer.
type reading struct {
	rows []row
	bad  []badRow
	// ids are those of all rows that have one, in the answer's order; listed counts the rows.
	ids    []string
	listed int
	// total is the event's own, where the source tells one.
	total *record.Money
	next  string
	// found says that the list was there; whole that the answer is sound JSON to its end.
	found, whole bool
	// problems are what could not be read, the first maxProblems of them; trouble counts all.
	problems []string
	trouble  int
	// currencies are what is odd with currencies, in the same way.
	currencies []string
}

func (r *reading) problem(format string, args ...any) {
	r.trouble++
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

// summary is the problems in a sentence; empty where there are none.
func (r *reading) summary() string {
	if r.trouble == 0 {
		return ""
	}
	s := strings.Join(r.problems, "; ")
	if more := r.trouble - len(r.problems); more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// read takes out of an answer what the mapping says. currency is that of amounts that come without
// one; donations says that rows are single donations, which need an id, a time and an amount that is not
// negative, and not totals.
func (m *mapping) read(body []byte, currency string, donations bool) (r reading) {
	// Whatever an answer does, it is kept.
	defer func() {
		if what := recover(); what != nil {
			r = reading{}
			r.problem("the answer can't be read: %v", what)
		}
	}()
	root, sound, err := parseJSON(body)
	switch {
	case root.kind != object && root.kind != list:
		r.problem("%s", notJSON(body))
		return r
	case err != nil:
		r.problem("the answer is not all JSON: %s", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	r.whole = sound
	m.readTotal(root, &r, currency)
	rows, ok := m.rows(root, &r)
	r.found, r.listed = ok, len(rows)
	seen := make(map[string]record.Money, len(rows))
	for i, v := range rows {
		where := m.where(i)
		var raw []byte
		if v.end <= len(body) {
			raw = body[v.start:v.end]
		}
		row, bad := m.readRow(v, where, &r, currency, donations)
		if id := cmp.Or(row.id, bad.identity()); id != "" {
			r.ids = append(r.ids, id)
		}
		if bad != nil {
			bad.raw = raw
			r.bad = append(r.bad, *bad)
			continue
		}
		key := row.id
		if !donations {
			key = row.member.key()
		}
		if before, twice := seen[key]; twice {
			if before != row.money {
				r.problem("%s: %s is in the answer twice, with different amounts: the first counts", where, key)
				r.bad = append(r.bad, badRow{id: row.id, time: row.time, raw: raw})
			}
			continue
		}
		seen[key] = row.money
		row.raw = raw
		r.rows = append(r.rows, row)
	}
	if len(m.next) > 0 {
		if v := m.next.of(root); v.kind == text || v.kind == number {
			r.next = v.text
		}
	}
	return r
}

// notJSON says what an answer is instead.
func notJSON(body []byte) string {
	s := strings.TrimSpace(string(body[:min(len(body), 256)]))
	switch {
	case s == "":
		return "the answer is empty"
	case strings.HasPrefix(s, "<"):
		return "the answer is HTML or XML, not JSON"
	case s == "null":
		return "the answer is null"
	}
	return "the answer is not JSON"
}

func (m *mapping) where(i int) string {
	switch {
	case m.single:
		return m.list.String()
	case len(m.list) == 0:
		return fmt.Sprintf("[%d]", i)
	}
	return fmt.Sprintf("%s[%d]", m.list, i)
}

func (m *mapping) rows(root value, r *reading) ([]value, bool) {
	if m.list == nil {
		return nil, true
	}
	v := m.list.of(root)
	if root.kind == list && len(m.list) > 0 && m.list[0].name != "" {
		v = root // the rows without what they are wrapped in elsewhere
	}
	switch {
	case m.single && v.kind == object:
		return []value{v}, true
	case m.single:
		r.problem("%s: an object was expected, found %s", m.list, v.kind)
		return nil, false
	case v.kind == list:
		return v.items, true
	case m.quiet != nil && (v.kind == absent || v.kind == null) && m.quiet.of(root).text == m.quietValue:
		return nil, true
	}
	r.problem("%s: a list was expected, found %s", m.list, v.kind)
	return nil, false
}

func (m *mapping) readTotal(root value, r *reading, currency string) {
	if len(m.total) == 0 {
		return
	}
	v, at := first(root, m.total)
	if v.kind == absent && !r.whole {
		return // it may have stood where the answer is cut off
	}
	c := m.readCurrency(root, m.totalCurrency, at.String(), r, currency)
	if c == "" {
		return
	}
	cents, err := m.cents(root, v, c)
	switch {
	case err != nil:
		r.problem("%s: %v", at, err)
	case cents < 0:
		r.problem("%s: a total that is not negative was expected, found %s", at, v.text)
	default:
		r.total = &record.Money{Cents: cents, Currency: c}
	}
}

// first is the first value that is there, and its path; else that of the first path.
func first(v value, paths []path) (value, path) {
	for _, p := range paths {
		if found := p.of(v); found.kind != absent && found.kind != null {
			return found, p
		}
	}
	if len(paths) == 0 {
		return value{}, nil
	}
	return paths[0].of(v), paths[0]
}

func (m *mapping) readRow(v value, where string, r *reading, currency string, donation bool) (row, *badRow) {
	var (
		out row
		bad bool
	)
	if v.kind != object && v.kind != list {
		r.problem("%s: an object was expected, found %s", where, v.kind)
		return out, &badRow{}
	}
	at := func(p path) string { return where + "." + p.String() }
	if donation {
		id, p := first(v, m.id)
		if out.id = identity(id); out.id == "" {
			r.problem("%s: an id was expected, found %s", at(p), id.kind)
			bad = true
		}
		if !m.timeless {
			t, p := first(v, m.time)
			var err error
			if out.time, err = readTime(t, m.layout); err != nil {
				r.problem("%s: %v", at(p), err)
				bad = true
			}
		}
	}
	a, p := first(v, m.amount)
	c := m.readCurrency(v, m.currency, where, r, currency)
	switch cents, err := m.cents(v, a, c); {
	case c == "":
		bad = true
	case err != nil:
		r.problem("%s: %v", at(p), err)
		bad = true
	case cents < 0:
		r.problem("%s: an amount that is not negative was expected, found %s", at(p), a.text)
		bad = true
	default:
		out.money = record.Money{Cents: cents, Currency: c}
	}
	out.member = m.readMember(v)
	if !donation && !out.member.known() && len(m.memberID)+len(m.memberTwitch)+len(m.memberNames) > 0 {
		r.problem("%s: a streamer's id or name was expected, found none", where)
		bad = true
	}
	if bad {
		return out, &badRow{id: out.id, time: out.time}
	}
	id, _ := first(v, m.donorID)
	out.donorID = identity(id)
	out.donor = firstText(v, m.donor)
	out.text = cut(firstText(v, m.text), maxText)
	if c := firstText(v, m.country); isPlace(c) {
		out.country = c // anything else may be an address, or who lives there
	}
	return out, nil
}

func (m *mapping) readMember(v value) member {
	var out member
	id, _ := first(v, m.memberID)
	out.id = identity(id)
	id, _ = first(v, m.memberTwitch)
	out.twitch = identity(id)
	for _, p := range m.memberNames {
		if s := firstText(v, []path{p}); s != "" && len(s) <= maxID {
			out.names = append(out.names, s)
		}
	}
	return out
}

func firstText(v value, paths []path) string {
	for _, p := range paths {
		if found := p.of(v); found.kind == text {
			if s := strings.TrimSpace(found.text); s != "" {
				return s
			}
		}
	}
	return ""
}

// cut is s of at most n bytes, whole runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// identity is an id as text, whether it came as a number or a string; empty for what can't be one.
func identity(v value) string {
	switch v.kind {
	case text:
		s := strings.TrimSpace(v.text)
		if len(s) > maxID || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == utf8.RuneError }) {
			return ""
		}
		return s
	case number:
		if digits, rest := digitsOf(v.text); rest == "" && len(digits) <= maxID {
			return digits
		}
	case absent, null, boolean, list, object, odd:
	}
	return ""
}

// readCurrency is the currency of a row; empty, and told, where there is none.
func (m *mapping) readCurrency(v value, paths []path, where string, r *reading, otherwise string) string {
	odd := func(format string, args ...any) {
		if len(r.currencies) < maxProblems {
			r.currencies = append(r.currencies, fmt.Sprintf(format, args...))
		}
	}
	found, p := first(v, paths)
	code := ""
	if found.kind == text {
		code = strings.ToUpper(strings.TrimSpace(found.text))
	}
	if _, ok := money.Digits(code); ok {
		if otherwise != "" && code != otherwise {
			odd("%s: %s where %s was expected", where, code, otherwise)
		}
		return code
	}
	if found.kind != absent && found.kind != null {
		odd("%s: %s is no currency code", where, p)
	} else if otherwise == "" {
		odd("%s: no currency", where)
	}
	if otherwise == "" {
		r.problem("%s: a currency code was expected, found %s", where, found.kind)
	}
	return otherwise
}

// cents reads an amount exactly. Numbers whose digits go past those of the currency, as floats that
// were added up have them, are read to the nearest cent.
func (m *mapping) cents(row, v value, currency string) (int64, error) {
	if v.kind != number && v.kind != text {
		return 0, fmt.Errorf("an amount was expected, found %s", v.kind)
	}
	s := strings.TrimSpace(v.text)
	if !isNumber(s) {
		return 0, fmt.Errorf("an amount was expected, found %s that is none", v.kind)
	}
	var (
		cents int64
		err   error
	)
	switch {
	case m.unit == unitDecimal:
		cents, _, err = money.Round(s, currency)
	case m.decimals != nil:
		d := m.decimals.of(row)
		places, bad := strconv.Atoi(d.text)
		if d.kind != number || bad != nil || places < 0 || places > 6 {
			return 0, fmt.Errorf("the number of its decimals was expected at %s, found %s", m.decimals, d.kind)
		}
		var n int64
		if n, err = whole(s); err == nil {
			cents, err = money.ParseNumber(strconv.FormatInt(n, 10)+"e-"+strconv.Itoa(places), currency)
		}
	default:
		cents, err = whole(s)
	}
	if err != nil {
		return 0, fmt.Errorf("an amount was expected: %w", err)
	}
	if cents > maxCents || cents < -maxCents {
		return 0, fmt.Errorf("an amount was expected, found one beyond all measure (%.40s)", s)
	}
	return cents, nil
}

// noDecimals is a currency of which an amount is an integer.
const noDecimals = "JPY"

// whole reads an integer, exactly, however it is written: 5000, 5000.0, 5e3.
func whole(s string) (int64, error) {
	return money.ParseNumber(s, noDecimals)
}

// readTime reads the time of a donation.
func readTime(v value, layout string) (time.Time, error) {
	var t time.Time
	switch layout {
	case layoutUnix, layoutMillis:
		n, err := whole(v.text)
		if v.kind != number && v.kind != text || err != nil {
			return t, fmt.Errorf("a time in %s was expected, found %s", cmp.Or(map[string]string{
				layoutUnix: "seconds since 1970", layoutMillis: "milliseconds since 1970",
			}[layout], layout), v.kind)
		}
		if layout == layoutUnix {
			n = min(max(n, -maxCents), maxCents) * 1000
		}
		t = time.UnixMilli(n).UTC()
	default:
		if v.kind != text {
			return t, fmt.Errorf("a time like 2026-09-04T18:01:00Z was expected, found %s", v.kind)
		}
		var err error
		if t, err = time.Parse(time.RFC3339, strings.TrimSpace(v.text)); err != nil {
			return t, errors.New("a time like 2026-09-04T18:01:00Z was expected, found other text")
		}
		t = t.UTC()
	}
	if y := t.Year(); y < 2000 || y > 2200 {
		return time.Time{}, fmt.Errorf("a time of our days was expected, found the year %d", y)
	}
	return record.Millis(t), nil
}
