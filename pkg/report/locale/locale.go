// Package locale writes numbers, durations and times the way that people of a language read them.
package locale

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/money"
)

// The languages.
const (
	English = "en"
	French  = "fr"
)

// Languages lists them.
func Languages() []string { return []string{French, English} }

const (
	thin  = "\u202f" // narrow no-break space: groups of French numbers, and before %
	fixed = "\u00a0" // no-break space: between a number and its unit
	minus = "\u2212"
)

// Locale is a language and a time zone. The zero value is English and UTC.
type Locale struct {
	Language string
	Zone     *time.Location
}

func (l Locale) french() bool { return l.Language == French }

func (l Locale) in(t time.Time) time.Time {
	if l.Zone == nil {
		return t.UTC()
	}
	return t.In(l.Zone)
}

// In is a time in the locale's zone.
func (l Locale) In(t time.Time) time.Time { return l.in(t) }

// decimal puts the language's sign in place of a point.
func (l Locale) decimal(s string) string {
	if l.french() {
		return strings.Replace(s, ".", ",", 1)
	}
	return s
}

// Number writes a whole number with its thousands in groups: 1,234,567 or 1 234 567.
func (l Locale) Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = minus, rest
	}
	group := ","
	if l.french() {
		group = thin
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + group + digits[i:]
	}
	return sign + digits
}

// Compact writes a number in at most four digits: 815, 12.3K, 1.2M or 815, 12,3 k, 1,2 M. Numbers
// under 10,000 stay whole.
func (l Locale) Compact(v float64) string {
	if math.Abs(v) < 9999.5 {
		return l.Number(int64(math.Round(v)))
	}
	return l.scaled(v)
}

// TickOf writes a number of an axis that ends at top: all of them in the unit of the last one.
func (l Locale) TickOf(v, top float64) string {
	if math.Abs(top) < 10_000 {
		if v == math.Trunc(v) {
			return l.Number(int64(v))
		}
		return l.decimal(strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), "-", minus, 1))
	}
	for _, u := range l.units() {
		if math.Abs(top) >= u.size && v != 0 {
			s := strconv.FormatFloat(math.Round(v/u.size*1000)/1000, 'f', -1, 64)
			return l.decimal(strings.Replace(s, "-", minus, 1)) + u.sign
		}
	}
	return l.Number(int64(v))
}

// MoneyTickOf writes an amount of such an axis, given in whole units.
func (l Locale) MoneyTickOf(units, top float64, currency string) string {
	return l.dress(l.TickOf(units, top), currency)
}

// millions is where columns of numbers go over from whole numbers to millions.
const millions = 1e6

// InColumn writes a number of a column whose largest is top: whole numbers, and from a million on
// millions, so that all of a column are of one unit.
func (l Locale) InColumn(v, top float64) string {
	if math.Abs(top) < millions-0.5 {
		return l.Number(int64(math.Round(v)))
	}
	return l.part(v, top)
}

// part writes a number with two digits after the sign, in the unit of the largest.
func (l Locale) part(v, top float64) string {
	for _, u := range l.units() {
		if u.size < millions || math.Abs(top) < u.size*(1-1e-9) && u.size > millions {
			continue
		}
		if v > 0 && v < u.size/100 {
			return "<" + l.gap() + l.decimal("0.01") + u.sign
		}
		return l.Decimal(v/u.size, 2) + u.sign
	}
	return l.Number(int64(v))
}

// MoneyInColumn writes an amount of a column whose largest is top, both in cents, never rounded up.
func (l Locale) MoneyInColumn(cents, top int64, currency string) string {
	units, highest := cents/scale(currency), top/scale(currency)
	if highest < millions {
		return l.Money(cents, currency)
	}
	cut := int64(10_000)
	if highest >= 1e9 {
		cut = 10_000_000
	}
	if units >= cut {
		units = units / cut * cut
	}
	return l.dress(l.part(float64(units), float64(highest)), currency)
}

// MoneyUp writes an amount in whole units, rounded up: what is still missing.
func (l Locale) MoneyUp(cents int64, currency string) string {
	s := scale(currency)
	return l.Money((cents+s-1)/s*s, currency)
}

// HoursInColumn writes hours of a column whose largest is top.
func (l Locale) HoursInColumn(hours, top float64) string {
	switch {
	case top >= millions-500:
		return l.part(hours, max(top, millions)) + fixed + "h"
	case top >= 99_999.5 && hours >= 1000:
		return l.Number(int64(math.Round(hours/1000))*1000) + fixed + "h"
	case top < 10:
		return l.Decimal(hours, 1) + fixed + "h"
	}
	return l.Number(int64(math.Round(hours))) + fixed + "h"
}

// longest is from when hours are written in millions.
const longest = 10e6

// Since writes the time since a start: +12 h.
func (l Locale) Since(d time.Duration) string {
	h := int64(d / time.Hour)
	if h == 0 {
		return "0" + fixed + "h"
	}
	return "+" + l.Number(h) + fixed + "h"
}

// ShortDay writes a day of the month: 22 Nov or 22 nov.
func (l Locale) ShortDay(t time.Time) string {
	day := strconv.Itoa(l.in(t).Day()) + fixed
	if l.french() {
		return day + [...]string{
			"janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.",
		}[l.in(t).Month()-1]
	}
	return day + l.in(t).Format("Jan")
}

// Tick writes a number of an axis, as short as it goes: 0, 500, 1K, 2.5M.
func (l Locale) Tick(v float64) string {
	if math.Abs(v) < 1000 {
		return l.decimal(strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), "-", minus, 1))
	}
	for _, u := range l.units() {
		if math.Abs(v) >= u.size {
			s := strconv.FormatFloat(math.Round(v/u.size*100)/100, 'f', -1, 64)
			return l.decimal(strings.Replace(s, "-", minus, 1)) + u.sign
		}
	}
	return l.Number(int64(v))
}

type unit struct {
	size float64
	sign string
}

func (l Locale) units() []unit {
	if l.french() {
		return []unit{{1e9, fixed + "Md"}, {1e6, fixed + "M"}, {1e3, fixed + "k"}}
	}
	return []unit{{1e9, "B"}, {1e6, "M"}, {1e3, "K"}}
}

func (l Locale) scaled(v float64) string {
	units := l.units()
	for i := len(units) - 1; i >= 0; i-- {
		u := units[i]
		x := v / u.size
		digits := 0
		if math.Abs(x) < 99.95 {
			digits = 1
		}
		if math.Abs(x) < 9.995 {
			digits = 2
		}
		s := strconv.FormatFloat(x, 'f', digits, 64)
		if math.Abs(x) >= 999.5 && i > 0 {
			continue // the next unit says it shorter
		}
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return l.decimal(strings.Replace(s, "-", minus, 1)) + u.sign
	}
	return l.Number(int64(v))
}

// One reports whether a number takes the singular: 1, and in French also 0.
func (l Locale) One(n int64) bool { return n == 1 || n == 0 && l.french() }

// Decimal writes a number with a fixed number of digits after the decimal sign.
func (l Locale) Decimal(v float64, digits int) string {
	s := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, rest, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return l.decimal(s) // too large for groups
	}
	out := l.Number(n)
	if rest != "" {
		out += l.decimal("." + rest)
	}
	if v < 0 && strings.Trim(s, "0.") != "" {
		out = minus + out
	}
	return out
}

// Percent writes a share: 0.934 is 93% or 93 %. What is not all is never rounded up to 100, what is
// something never down to 0.
func (l Locale) Percent(share float64) string {
	p := math.Round(share * 100)
	switch {
	case p >= 100 && share < 1:
		p = 99
	case p <= 0 && share > 0:
		return "<" + l.gap() + "1" + l.percentSign()
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + l.percentSign()
}

func (l Locale) gap() string {
	if l.french() {
		return thin
	}
	return ""
}

func (l Locale) percentSign() string { return l.gap() + "%" }

// Money writes an amount in whole units, never rounded up: €16,179,096 or 16 179 096 €.
func (l Locale) Money(cents int64, currency string) string {
	return money.FormatWhole(cents, currency, l.Language)
}

// MoneyExact writes an amount with its cents.
func (l Locale) MoneyExact(cents int64, currency string) string {
	return money.Format(cents, currency, l.Language)
}

// MoneyCompact writes an amount in at most four digits, never rounded up: €1.23M or 1,23 M€.
func (l Locale) MoneyCompact(cents int64, currency string) string {
	units := cents / scale(currency)
	if units > -10000 && units < 10000 {
		return l.Money(cents, currency)
	}
	// Cut to what scaled shows, so that it has nothing to round.
	cut := int64(1)
	for units/cut >= 1000 || units/cut <= -1000 {
		cut *= 10
	}
	return l.dress(l.scaled(float64(units/cut*cut)), currency)
}

// MoneyTick writes an amount of an axis, given in whole units.
func (l Locale) MoneyTick(units float64, currency string) string {
	return l.dress(l.Tick(units), currency)
}

// scale is how many of the smallest units make a whole one.
func scale(currency string) int64 {
	n, _ := money.Digits(currency)
	s := int64(1)
	for range n {
		s *= 10
	}
	return s
}

// Units is an amount in whole units, for drawing.
func Units(cents int64, currency string) float64 { return float64(cents) / float64(scale(currency)) }

// dress puts the currency to a short number, where the language has it.
func (l Locale) dress(number, currency string) string {
	whole := money.FormatWhole(0, currency, l.Language)
	if rest, ok := strings.CutPrefix(number, minus); ok {
		return minus + strings.Replace(whole, "0", rest, 1)
	}
	if l.french() && strings.Contains(number, fixed) {
		return number + strings.TrimLeft(strings.TrimPrefix(whole, "0"), fixed) // "1,2 M€", as it is written
	}
	return strings.Replace(whole, "0", number, 1)
}

// Approximately marks a number as an estimate: ≈ 12,000.
func (l Locale) Approximately(number string) string { return "≈" + thin + number }

// Duration writes hours and minutes: 54 h 12 min, 12 min, 40 s.
func (l Locale) Duration(d time.Duration) string {
	if d > 0 && d < time.Minute {
		return strconv.Itoa(int(d.Round(time.Second).Seconds())) + fixed + "s"
	}
	minutes := int(d.Round(time.Minute).Minutes())
	h, m := minutes/60, minutes%60
	switch {
	case h == 0:
		return strconv.Itoa(m) + fixed + "min"
	case m == 0:
		return l.Number(int64(h)) + fixed + "h"
	}
	return l.Number(int64(h)) + fixed + "h" + fixed + strconv.Itoa(m) + fixed + "min"
}

// ShortDuration writes hours and minutes for a list: 54h 12m, 12m or 54 h 12, 12 min.
func (l Locale) ShortDuration(d time.Duration) string {
	minutes := int(d.Round(time.Minute).Minutes())
	h, m := minutes/60, minutes%60
	switch {
	case l.french() && h == 0, m == 0 && l.french():
		return l.Duration(d)
	case l.french():
		return l.Number(int64(h)) + fixed + "h" + fixed + fmt.Sprintf("%02d", m)
	case h == 0:
		return strconv.Itoa(m) + "m"
	case m == 0:
		return l.Number(int64(h)) + "h"
	}
	return l.Number(int64(h)) + "h" + fixed + strconv.Itoa(m) + "m"
}

// Hours writes a long time in hours: 3.2 h, 957,000 h, 12.3M h.
func (l Locale) Hours(hours float64) string {
	switch {
	case hours > 0 && hours < 10:
		return l.Decimal(hours, 1) + fixed + "h"
	case hours >= longest:
		return l.Compact(hours) + fixed + "h"
	}
	if hours >= 99_999.5 {
		hours = math.Round(hours/1000) * 1000
	}
	return l.Number(int64(math.Round(hours))) + fixed + "h"
}

// Clock writes the time of day: 09:03 or 9 h 03.
func (l Locale) Clock(t time.Time) string {
	if l.french() {
		return strconv.Itoa(l.in(t).Hour()) + fixed + "h" + fixed + l.in(t).Format("04")
	}
	return l.in(t).Format("15:04")
}

// Hour writes an hour of an axis: 21:00 or 21 h.
func (l Locale) Hour(t time.Time) string {
	if l.french() {
		return strconv.Itoa(l.in(t).Hour()) + fixed + "h"
	}
	return l.in(t).Format("15:04")
}

// Weekday writes a day's name: Friday or vendredi.
func (l Locale) Weekday(t time.Time) string {
	d := l.in(t).Weekday()
	if l.french() {
		return [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}[d]
	}
	return d.String()
}

// ShortWeekday writes it in three letters: Fri or ven.
func (l Locale) ShortWeekday(t time.Time) string {
	if l.french() {
		return [...]string{"dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."}[l.in(t).Weekday()]
	}
	return l.in(t).Format("Mon")
}

// Moment writes weekday and time: Fri 21:03 or ven. 21 h 03.
func (l Locale) Moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return l.ShortWeekday(t) + fixed + l.Clock(t)
}

func (l Locale) month(t time.Time) string {
	t = l.in(t)
	if l.french() {
		return [...]string{
			"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
		}[t.Month()-1]
	}
	return t.Format("January")
}

// Date writes a day: 5 September 2026 or 5 septembre 2026.
func (l Locale) Date(t time.Time) string {
	return l.dayOfMonth(t) + " " + l.month(t) + " " + strconv.Itoa(l.in(t).Year())
}

func (l Locale) dayOfMonth(t time.Time) string {
	day := strconv.Itoa(l.in(t).Day())
	if l.french() && day == "1" {
		return "1er"
	}
	return day
}

// Dates writes the days from one time to another (exclusive), what they share only once:
// 4–7 September 2026.
func (l Locale) Dates(from, to time.Time) string {
	a, b := l.in(from), l.in(to.Add(-time.Nanosecond))
	switch {
	case from.IsZero() || to.IsZero():
		return ""
	case a.Year() != b.Year():
		return l.Date(a) + " – " + l.Date(b)
	case a.Month() != b.Month():
		return l.dayOfMonth(a) + " " + l.month(a) + " – " + l.Date(b)
	case a.Day() != b.Day():
		return l.dayOfMonth(a) + "–" + l.dayOfMonth(b) + " " + l.month(b) + " " + strconv.Itoa(b.Year())
	}
	return l.Date(a)
}

// Ordinal writes a rank: 1st, 22nd or 1er, 22e.
func (l Locale) Ordinal(n int) string {
	s := strconv.Itoa(n)
	if l.french() {
		if n == 1 {
			return "1er"
		}
		return s + "e"
	}
	if n%100 >= 11 && n%100 <= 13 {
		return s + "th"
	}
	switch n % 10 {
	case 1:
		return s + "st"
	case 2:
		return s + "nd"
	case 3:
		return s + "rd"
	}
	return s + "th"
}
