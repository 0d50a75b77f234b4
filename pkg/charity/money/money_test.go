package money_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/charity/money"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text, currency string
		want           int64
	}{
		{"815.49", "EUR", 81549},
		{"0", "EUR", 0},
		{"-0", "EUR", 0},
		{"815", "EUR", 81500},
		{"815.4", "EUR", 81540},
		{"815,4", "EUR", 81540},
		{"815.490", "EUR", -1},
		{"0.490", "EUR", 49},
		{"1815.490", "EUR", 181549},
		{"15.000", "EUR", -1},
		{"15.000 €", "EUR", -1},
		{"€15.000", "EUR", -1},
		{"-15.000", "EUR", -1},
		{"1.000", "JPY", -1},
		{"1,000", "JPY", -1},
		{"1,000", "EUR", -1},
		{"1,000 €", "EUR", -1},
		{"€1,000", "EUR", 100000},
		{"EUR 1,000", "EUR", 100000},
		{"1.500e3", "EUR", 150000},
		{"15.0000", "EUR", 1500},
		{"15.000,00", "EUR", 1500000},
		{".5", "EUR", 50},
		{",5 €", "EUR", 50},
		{"€.50", "EUR", 50},
		{"1 234,56 €", "EUR", 123456},
		{"1\u202f234,56\u00a0€", "EUR", 123456},
		{"1\u2009234,56€", "EUR", 123456},
		{"€1,234.5", "EUR", 123450},
		{"€ 1,234", "EUR", 123400},
		{"1,234", "EUR", -1},
		{"1,234,567", "EUR", 123456700},
		{"1.234.567", "EUR", 123456700},
		{"1.234,50", "EUR", 123450},
		{"1'234.50", "CHF", 123450},
		{"CHF 16’179’096.00", "CHF", 1617909600},
		{"16,179,096", "EUR", 1617909600},
		{"12,34,567", "EUR", -1},
		{"1e3", "EUR", 100000},
		{"1E+3", "EUR", 100000},
		{"1.5e1", "EUR", 1500},
		{"12345e-2", "EUR", 12345},
		{"12345e-3", "EUR", -1},
		{"12340e-3", "EUR", 1234},
		{"+5", "EUR", -1},
		{"-5,00 €", "EUR", -500},
		{"−5 €", "EUR", -500},
		{"-€5", "EUR", -500},
		{"€-5", "EUR", -500},
		{"5 EUR", "EUR", 500},
		{"5 euros", "EUR", 500},
		{"EUR 5", "EUR", 500},
		{"$5", "USD", 500},
		{"$5", "CAD", 500},
		{"US$5", "USD", 500},
		{"5 $US", "USD", 500},
		{"¥1,234", "JPY", 1234},
		{"1234", "JPY", 1234},
		{"1.0", "JPY", 1},
		{"1.5", "JPY", -1},
		{"1.234", "KWD", 1234},
		{"1,234", "KWD", -1},
		{"1,234 KWD", "KWD", 1234},
		{"KWD 1,234", "KWD", 1234000},
		{"1,5", "KWD", 1500},
		{"92233720368547758.07", "EUR", math.MaxInt64},
		{"-92233720368547758.07", "EUR", -math.MaxInt64},
		{"92233720368547758.08", "EUR", -1},
		{"1e16", "EUR", 1e18},
		{"1e17", "EUR", -1},
		{"1e9999", "EUR", -1},
		{"0e9999", "EUR", 0},
		{"1e-9999", "EUR", -1},
		{"0.000000000000000000000000000000000001", "EUR", -1},
		{"000000000000000000000000000000000001", "EUR", 100},
		{"1.234", "EUR", -1},
		{"0,123", "EUR", -1},
		{"1234,567", "EUR", -1},
		{"1 234,567", "EUR", -1},
		{"1 23", "EUR", -1},
		{"1  234", "EUR", -1},
		{"1 234.567,89", "EUR", -1},
		{"1,234.567,89", "EUR", -1},
		{"1,2,3.4.5", "EUR", -1},
		{"1.234,567.89", "EUR", -1},
		{"", "EUR", -1},
		{"  ", "EUR", -1},
		{"€", "EUR", -1},
		{"five", "EUR", -1},
		{"5 or 6", "EUR", -1},
		{"5 €", "USD", -1},
		{"€5 EUR", "EUR", -1},
		{"5%", "EUR", -1},
		{"5..", "EUR", -1},
		{"--5", "EUR", -1},
		{"-5-", "EUR", -1},
		{"5-", "EUR", -1},
		{"1e", "EUR", -1},
		{"e3", "EUR", -1},
		{"1e3.5", "EUR", -1},
		{"0x10", "EUR", -1},
		{"Inf", "EUR", -1},
		{"NaN", "EUR", -1},
		{"١٢٣", "EUR", -1},
		{"\ufeff5", "EUR", -1},
		{"5\x00", "EUR", -1},
		{"5", "eur", -1},
		{"5", "", -1},
		{strings.Repeat("1", 1000), "EUR", -1},
	} {
		got, err := money.Parse(tc.text, tc.currency)
		switch {
		case tc.want == -1 && err == nil:
			t.Errorf("%q in %s is %d, want an error", tc.text, tc.currency, got)
		case tc.want != -1 && (err != nil || got != tc.want):
			t.Errorf("%q in %s is %d, %v; want %d", tc.text, tc.currency, got, err, tc.want)
		case err != nil && (!errors.Is(err, money.ErrInvalid) || got != 0):
			t.Errorf("%q in %s: %d, %v", tc.text, tc.currency, got, err)
		}
	}
}

func TestWhatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, currency, remedy string }{
		{"15.000", "EUR", "write 15000 or 15.00"},
		{"15,000", "EUR", "write 15000 or 15.00"},
		{"1.234 €", "EUR", "write 1234 or 1.23"},
		{"1,000", "JPY", "write 1000 or 1"},
		{"1,234", "KWD", "write 1234 or 1.234"},
	} {
		_, err := money.Parse(tc.text, tc.currency)
		if !errors.Is(err, money.ErrAmbiguous) || !errors.Is(err, money.ErrInvalid) || !strings.HasSuffix(err.Error(), "can be read in two ways: "+tc.remedy) {
			t.Errorf("%q in %s: %v", tc.text, tc.currency, err)
		}
	}
	if _, err := money.Parse("1.2345", "EUR"); errors.Is(err, money.ErrAmbiguous) || err == nil {
		t.Error(err)
	}
	if n, err := money.ParseNumber("15.000", "EUR"); err != nil || n != 1500 {
		t.Errorf("a machine's 15.000 is %d, %v", n, err)
	}
}

func TestParseNumber(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text  string
		round int64
		exact bool
		ok    bool
	}{
		{"815.49", 81549, true, true},
		{"-815.490", -81549, true, true},
		{"815.4899999999999", 81549, false, true},
		{"815.485", 81549, false, true},
		{"815.4849999999999", 81548, false, true},
		{"-0.005", -1, false, true},
		{"0.004", 0, false, true},
		{"5e-3", 1, false, true},
		{"1e-400", 0, false, true},
		{"999999999999999.995", 100000000000000000, false, true},
		{"1e3", 100000, true, true},
		{"92233720368547758.075", 0, false, false},
		{"1,5", 0, false, false},
		{"1 000", 0, false, false},
		{"5 €", 0, false, false},
		{"+5", 0, false, false},
		{".5", 0, false, false},
		{"5.", 0, false, false},
		{"", 0, false, false},
		{"-", 0, false, false},
		{"null", 0, false, false},
	} {
		got, exact, err := money.Round(tc.text, "EUR")
		if (err == nil) != tc.ok || got != tc.round || exact != tc.exact {
			t.Errorf("%q is %d, %t, %v", tc.text, got, exact, err)
		}
		n, err := money.ParseNumber(tc.text, "EUR")
		if (err == nil) != (tc.ok && tc.exact) || err == nil && n != tc.round || err != nil && (n != 0 || !errors.Is(err, money.ErrInvalid)) {
			t.Errorf("%q is exactly %d, %v", tc.text, n, err)
		}
	}
}

// The same as Intl.NumberFormat of Node 20 (ICU 74) says, where that has the currency's sign.
func TestFormat(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cents                    int64
		currency                 string
		fr, en, frWhole, enWhole string
	}{
		{1617909600, "EUR", "16\u202f179\u202f096,00\u00a0€", "€16,179,096.00", "16\u202f179\u202f096\u00a0€", "€16,179,096"},
		{5, "EUR", "0,05\u00a0€", "€0.05", "0\u00a0€", "€0"},
		{-5, "EUR", "-0,05\u00a0€", "-€0.05", "0\u00a0€", "€0"},
		{-123456, "EUR", "-1\u202f234,56\u00a0€", "-€1,234.56", "-1\u202f234\u00a0€", "-€1,234"},
		{99999, "EUR", "999,99\u00a0€", "€999.99", "999\u00a0€", "€999"},
		{100000, "USD", "1\u202f000,00\u00a0$US", "$1,000.00", "1\u202f000\u00a0$US", "$1,000"},
		{100000, "GBP", "1\u202f000,00\u00a0£GB", "£1,000.00", "1\u202f000\u00a0£GB", "£1,000"},
		{100000, "CAD", "1\u202f000,00\u00a0$CA", "CA$1,000.00", "1\u202f000\u00a0$CA", "CA$1,000"},
		{100000, "CHF", "1\u202f000,00\u00a0CHF", "CHF\u00a01,000.00", "1\u202f000\u00a0CHF", "CHF\u00a01,000"},
		{1234, "JPY", "1\u202f234\u00a0JPY", "¥1,234", "1\u202f234\u00a0JPY", "¥1,234"},
		{1234567, "KWD", "1\u202f234,567\u00a0KWD", "KWD\u00a01,234.567", "1\u202f234\u00a0KWD", "KWD\u00a01,234"},
		{1234, "XYZ", "12,34\u00a0XYZ", "XYZ\u00a012.34", "12\u00a0XYZ", "XYZ\u00a012"},
		{1234, "", "12,34", "12.34", "12", "12"},
		{
			math.MinInt64, "EUR", "-92\u202f233\u202f720\u202f368\u202f547\u202f758,08\u00a0€", "-€92,233,720,368,547,758.08",
			"-92\u202f233\u202f720\u202f368\u202f547\u202f758\u00a0€", "-€92,233,720,368,547,758",
		},
	} {
		for _, x := range []struct{ got, want string }{
			{money.Format(tc.cents, tc.currency, money.French), tc.fr},
			{money.Format(tc.cents, tc.currency, money.English), tc.en},
			{money.Format(tc.cents, tc.currency, "tlh"), tc.en},
			{money.FormatWhole(tc.cents, tc.currency, money.French), tc.frWhole},
			{money.FormatWhole(tc.cents, tc.currency, money.English), tc.enWhole},
		} {
			if x.got != x.want {
				t.Errorf("%d %s: %q, want %q", tc.cents, tc.currency, x.got, x.want)
			}
		}
	}
	if got := money.Decimal(-81549, "EUR") + money.Decimal(5, "EUR") + money.Decimal(5, "JPY") + money.Decimal(5, "KWD"); got != "-815.490.0550.005" {
		t.Error(got)
	}
}

func currencies() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"EUR", "USD", "GBP", "JPY", "KRW", "KWD", "TND", "CAD", "CHF", "XPF", "BRL", "VND", "PLN"}),
		rapid.StringMatching(`[A-Z]{3}`))
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1_000_000, 1_000_000)).Draw(t, "cents")
		if n == math.MinInt64 {
			n++
		}
		currency := currencies().Draw(t, "currency")
		text := money.Format(n, currency, rapid.SampledFrom([]string{"fr", "en"}).Draw(t, "language"))
		if got, err := money.Parse(text, currency); err != nil || got != n {
			t.Fatalf("%d %s is written %q and read %d, %v", n, currency, text, got, err)
		}
		plain := money.Decimal(n, currency)
		for _, parse := range []func(string, string) (int64, error){money.Parse, money.ParseNumber} {
			if got, err := parse(plain, currency); err != nil || got != n {
				t.Fatalf("%d %s is written %q and read %d, %v", n, currency, plain, got, err)
			}
		}
		whole := money.FormatWhole(n, currency, money.English)
		if got, err := money.Parse(whole, currency); err != nil || abs(got) > abs(n) || abs(n)-abs(got) >= 1000 {
			t.Fatalf("%d %s is written %q and read %d, %v", n, currency, whole, got, err)
		}
	})
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"815.49", "1 234,56 €", "€1,234.5", "1e3", "-1’234.50", "\u22125", "1,234", ",5", "12e-2", "$US 5", "15.000", "1,000 €", "€1,000", "0.500"} {
		for _, c := range []string{"EUR", "USD", "JPY", "KWD"} {
			f.Add(s, c)
		}
	}
	f.Fuzz(func(t *testing.T, text, currency string) {
		n, err := money.Parse(text, currency)
		if err != nil {
			if !errors.Is(err, money.ErrInvalid) || n != 0 {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		for _, language := range []string{money.French, money.English} {
			if again, err := money.Parse(money.Format(n, currency, language), currency); err != nil || again != n {
				t.Fatalf("%q is %d, written again %d, %v", text, n, again, err)
			}
		}
		// What is a JSON number too is the same one.
		if again, err := money.ParseNumber(text, currency); err == nil && again != n {
			t.Fatalf("%q is %d, as a number %d", text, n, again)
		}
	})
}

func TestAdd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b, want int64
		ok         bool
	}{
		{1, 2, 3, true},
		{math.MaxInt64, 0, math.MaxInt64, true},
		{math.MaxInt64, 1, math.MaxInt64, false},
		{math.MinInt64, -1, math.MinInt64, false},
		{math.MinInt64, math.MaxInt64, -1, true},
	} {
		if got, ok := money.Add(tc.a, tc.b); got != tc.want || ok != tc.ok {
			t.Errorf("%d + %d = %d, %t", tc.a, tc.b, got, ok)
		}
	}
}
