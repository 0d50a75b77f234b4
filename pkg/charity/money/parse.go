package money

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// maxText bounds what is looked at: no amount is longer.
const maxText = 80

func invalid(text, format string, args ...any) error {
	return fmt.Errorf("%w: %.40q %s", ErrInvalid, text, fmt.Sprintf(format, args...))
}

// decimal is a number as digits: its digits, of which scale are decimals.
type decimal struct {
	negative bool
	digits   string // without leading zeros
	scale    int    // how many of the digits are decimals; may be negative
}

// cents is the number in units of ten to the power of -places, rounded half away from zero.
func (d decimal) cents(text string, places int) (n int64, exact bool, err error) {
	digits, scale := strings.TrimRight(d.digits, "0"), d.scale
	scale -= len(d.digits) - len(digits)
	if digits == "" {
		return 0, true, nil
	}
	up := false
	exact = true
	if cut := scale - places; cut > 0 {
		exact = false
		if cut > len(digits) {
			return 0, false, nil
		}
		up = digits[len(digits)-cut] >= '5'
		digits = digits[:len(digits)-cut]
		if digits == "" {
			digits = "0"
		}
	} else if len(digits)-cut > 19 {
		return 0, false, invalid(text, "is too large")
	} else {
		digits += strings.Repeat("0", -cut)
	}
	u, err := strconv.ParseUint(digits, 10, 64)
	if err == nil && up {
		u++
	}
	if err != nil || u > math.MaxInt64 {
		return 0, false, invalid(text, "is too large")
	}
	n = int64(u)
	if d.negative {
		n = -n
	}
	return n, exact, nil
}

// scan reads digits with at most one point and an exponent: nothing else.
func scan(s string) (decimal, bool) {
	var d decimal
	d.negative = strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	mantissa, exponent, has := s, "", false
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent, has = s[:i], s[i+1:], true
	}
	whole, rest, pointed := strings.Cut(mantissa, ".")
	if whole == "" || pointed && rest == "" || !numeric(whole) || !numeric(rest) {
		return d, false
	}
	d.scale = len(rest)
	if has {
		bare := strings.TrimPrefix(strings.TrimPrefix(exponent, "+"), "-")
		if bare == "" || len(bare) > 4 || !numeric(bare) || len(exponent)-len(bare) > 1 {
			return d, false
		}
		e, err := strconv.Atoi(exponent)
		if err != nil {
			return d, false
		}
		d.scale -= e
	}
	d.digits = strings.TrimLeft(whole+rest, "0")
	return d, true
}

func numeric(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func places(currency string) (int, error) {
	d, ok := Digits(currency)
	if !ok {
		return 0, fmt.Errorf("%w: %.40q is no ISO 4217 code, such as EUR", ErrInvalid, currency)
	}
	return d, nil
}

func round(text, currency string) (int64, bool, error) {
	digits, err := places(currency)
	if err != nil {
		return 0, false, err
	}
	if len(text) > maxText {
		return 0, false, invalid(text, "is too long for an amount")
	}
	d, ok := scan(text)
	if !ok {
		return 0, false, invalid(text, "is not a number")
	}
	return d.cents(text, digits)
}

// written are signs that people write before or after an amount, and the currencies that they can mean.
//
//nolint:gochecknoglobals // a table
var written = map[string]string{
	"€": "EUR", "£": "GBP", "¥": "JPY CNY", "₹": "INR", "₩": "KRW", "₪": "ILS", "₫": "VND", "₽": "RUB", "₺": "TRY",
	"$": "USD CAD AUD NZD MXN HKD TWD SGD CLP COP ARS", "US$": "USD", "$US": "USD", "CA$": "CAD", "$CA": "CAD", "C$": "CAD",
	"A$": "AUD", "$AU": "AUD", "AU$": "AUD", "NZ$": "NZD", "$NZ": "NZD", "MX$": "MXN", "$MX": "MXN", "HK$": "HKD", "NT$": "TWD", "S$": "SGD",
	"R$": "BRL", "£GB": "GBP", "FCFP": "XPF", "CFPF": "XPF", "EURO": "EUR", "EUROS": "EUR", "FR.": "CHF",
}

// names reports whether the text around the digits names this currency, or none.
func names(word, currency string) bool {
	word = strings.ToUpper(word)
	if word == "" || word == currency {
		return true
	}
	return strings.Contains(written[word], currency)
}

func parse(text, currency string) (int64, error) {
	digits, err := places(currency)
	if err != nil {
		return 0, err
	}
	if len(text) > maxText {
		return 0, invalid(text, "is too long for an amount")
	}
	body := strings.TrimFunc(text, unicode.IsSpace)
	first := strings.IndexFunc(body, func(r rune) bool { return r >= '0' && r <= '9' })
	if first < 0 {
		return 0, invalid(text, "has no digits")
	}
	last := strings.LastIndexFunc(body, func(r rune) bool { return r >= '0' && r <= '9' }) + 1
	before, number, after := body[:first], body[first:last], body[last:]
	if strings.HasSuffix(before, ".") || strings.HasSuffix(before, ",") {
		// ".5": as people write it.
		number = "0" + before[len(before)-1:] + number
		before = before[:len(before)-1]
	}
	negative := false
	clean := func(s string) string {
		s = strings.Map(func(r rune) rune {
			switch {
			case unicode.IsSpace(r):
				return -1
			case r == '\u2212':
				return '-'
			}
			return r
		}, s)
		return s
	}
	before, after = clean(before), clean(after)
	for _, cut := range []func(string, string) (string, bool){strings.CutPrefix, strings.CutSuffix} {
		if rest, ok := cut(before, "-"); ok && !negative {
			before, negative = rest, true
		}
	}
	if before != "" && after != "" || !names(before, currency) || !names(after, currency) {
		return 0, invalid(text, "is not an amount in %s", currency)
	}
	plain, err := ungroup(text, number, digits, lone(digits, before, after))
	if err != nil {
		return 0, err
	}
	d, ok := scan(plain)
	if !ok {
		return 0, invalid(text, "is not a number")
	}
	d.negative = negative
	n, exact, err := d.cents(text, digits)
	if err != nil {
		return 0, err
	}
	if !exact {
		return 0, invalid(text, "has more than the %d decimals of %s", digits, currency)
	}
	return n, nil
}

// A comma that stands alone with three digits after it.
type loneComma int

const (
	groups   loneComma = iota // begins a group
	decimals                  // begins the decimals
	either                    // can be read in two ways
)

// lone says what such a comma means. Those who write the currency first group with commas. It is a
// thousand in English and one in French else, but where a currency has three decimals and stands after
// the number.
func lone(digits int, before, after string) loneComma {
	switch {
	case before != "":
		return groups
	case digits == 3 && after != "":
		return decimals
	}
	return either
}

// twoWays refuses whole and three digits after a point or comma, and says how to write either.
func twoWays(text, whole, rest string, digits int) error {
	cents := whole
	if digits > 0 {
		cents += "." + rest[:digits]
	}
	return fmt.Errorf("%w: %.40q can be read in two ways: write %s or %s", ErrAmbiguous, text, whole+rest, cents)
}

// ungroup writes a number with a point before its decimals and nothing between its groups.
func ungroup(text, number string, digits int, comma3 loneComma) (string, error) {
	mantissa, exponent := number, ""
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		mantissa, exponent = number[:i], number[i:]
	}
	// Spaces and apostrophes are one kind of separator each; points and commas may be decimals too.
	runes := []rune(mantissa)
	for i, r := range runes {
		switch {
		case unicode.IsSpace(r):
			runes[i] = ' '
		case r == '\u2019' || r == '\'' || r == '`':
			runes[i] = '\''
		case r >= '0' && r <= '9' || r == '.' || r == ',':
		default:
			return "", invalid(text, "is not a number")
		}
	}
	s := string(runes)
	point := -1 // where the decimals begin
	comma, dot := strings.LastIndexByte(s, ','), strings.LastIndexByte(s, '.')
	commas, dots := strings.Count(s, ","), strings.Count(s, ".")
	spaced := strings.ContainsAny(s, " '")
	// group reports whether the three digits after the separator at i may be a group.
	group := func(i int) bool { return len(s)-i-1 == 3 && i <= 3 && s[0] != '0' && !spaced && exponent == "" }
	switch {
	case commas > 0 && dots > 0:
		point = max(comma, dot)
		if commas > 1 && dots > 1 {
			return "", invalid(text, "has several commas and several points")
		}
		if strings.Count(s, string(s[point])) > 1 {
			return "", invalid(text, "has several decimal points")
		}
	case dots == 1:
		if digits < 3 && group(dot) {
			return "", twoWays(text, s[:dot], s[dot+1:], digits)
		}
		point = dot
	case commas == 1:
		grouping := group(comma)
		if grouping && comma3 == either {
			return "", twoWays(text, s[:comma], s[comma+1:], digits)
		}
		if !grouping || comma3 == decimals {
			point = comma
		}
	}
	whole, rest := s, ""
	if point >= 0 {
		whole, rest = s[:point], s[point+1:]
		if strings.ContainsAny(rest, " ',.") {
			return "", invalid(text, "has groups after its decimal point")
		}
	}
	if i := strings.IndexAny(whole, " ',."); i >= 0 {
		separator := whole[i : i+1]
		groups := strings.Split(whole, separator)
		for n, g := range groups {
			if n == 0 && (g == "" || len(g) > 3) || n > 0 && len(g) != 3 || !numeric(g) {
				return "", invalid(text, "is not grouped by three digits")
			}
		}
		whole = strings.Join(groups, "")
	}
	if point >= 0 {
		whole += "." + rest
	}
	return whole + exponent, nil
}
