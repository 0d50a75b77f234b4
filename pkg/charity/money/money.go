// Package money reads and writes amounts of money as people and machines write them. Money is an
// int64 in the currency's smallest unit (cents, record.Money) all the way: no float is on it.
package money

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrInvalid is wrapped by every error of this package: a text is no amount, or none that the
// currency can hold exactly.
var ErrInvalid = errors.New("invalid amount")

// ErrAmbiguous is wrapped by the errors for amounts that can be read in two ways, beside ErrInvalid.
var ErrAmbiguous = fmt.Errorf("%w", ErrInvalid)

// The languages that Format knows; any other is written as English.
const (
	French  = "fr"
	English = "en"
)

// Digits is how many decimals an amount of the currency has, by ISO 4217 (0, 2 or 3; 2 for a code that
// is not known). It reports false where currency is not three capital letters.
func Digits(currency string) (int, bool) {
	if len(currency) != 3 || strings.ContainsFunc(currency, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return 2, false
	}
	if d, ok := digits[currency]; ok {
		return d, true
	}
	return 2, true
}

// Parse reads an amount that a person wrote: "815.49", "1 234,56 €", "€1,234.5", "16’179’096", "1e3".
// Spaces of any kind, apostrophes, commas and points may group the digits by three; a comma or point
// that can't be a group's begins the decimals. One point or comma with exactly three digits after it
// and one to three before is a thousand to some and one to others: "15.000" and "1,000" are refused,
// zeros or not (ErrAmbiguous). Known are a comma where the currency is written first ("€1,000"), which
// groups, and in currencies of three decimals a point, and a comma where the currency is written
// after, which begin them. The currency may stand before or after, as sign or code, and must then be
// this one. Every error wraps ErrInvalid: for what is no amount, what is ambiguous, what has more
// decimals than the currency (zeros apart), and what does not fit an int64.
func Parse(text, currency string) (int64, error) {
	return parse(text, currency)
}

// ParseNumber reads a JSON number ("815.49", "1e3", "-0.5", as json.Number holds it) exactly: no signs
// of currency, no groups. Errors are as Parse's.
func ParseNumber(text, currency string) (int64, error) {
	n, exact, err := Round(text, currency)
	if err == nil && !exact {
		d, _ := Digits(currency)
		return 0, fmt.Errorf("%w: %.40q has more than the %d decimals of %s", ErrInvalid, text, d, currency)
	}
	return n, err
}

// Round reads a JSON number whose decimals may go past those of the currency, as floats do that were
// added up ("815.4899999999999"): to the nearest cent, halves away from zero. It reports whether it
// was exact.
func Round(text, currency string) (cents int64, exact bool, err error) {
	return round(text, currency)
}

// Format writes an amount as people of the language do, with all its decimals: "16 179 096,00 €" with
// narrow no-break spaces between the groups and a no-break space before the sign in French,
// "€16,179,096.00" in English. Parse reads it back.
func Format(cents int64, currency, language string) string {
	return format(cents, currency, language, true)
}

// FormatWhole is Format without decimals: what is less than a whole unit is left out, never rounded up,
// so that no total looks as if it had reached what it has not.
func FormatWhole(cents int64, currency, language string) string {
	return format(cents, currency, language, false)
}

// Decimal writes an amount for machines: "-815.49", with a point and all its decimals, no currency.
// ParseNumber reads it back.
func Decimal(cents int64, currency string) string {
	d, _ := Digits(currency)
	sign, whole, rest := split(cents, d)
	if d == 0 {
		return sign + whole
	}
	return sign + whole + "." + rest
}

// Add adds amounts and reports whether the sum fits an int64; where it does not, the nearest that does.
func Add(a, b int64) (int64, bool) {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64, false
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64, false
	}
	return a + b, true
}
