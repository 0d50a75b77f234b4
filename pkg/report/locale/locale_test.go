package locale_test

import (
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/report/locale"
)

func TestTexts(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	en, fr := locale.Locale{Language: locale.English, Zone: paris}, locale.Locale{Language: locale.French, Zone: paris}
	at := time.Date(2026, 9, 4, 19, 3, 0, 0, time.UTC)
	for _, tt := range []struct{ have, want string }{
		{en.Number(-1234567), "−1,234,567"},
		{fr.Number(1234567), "1\u202f234\u202f567"},
		{en.Number(12), "12"},
		{en.Compact(9999), "9,999"},
		{en.Compact(9999.7), "10K"},
		{en.Compact(12345), "12.3K"},
		{en.Compact(999999), "1M"},
		{fr.Compact(1234567), "1,23\u00a0M"},
		{fr.Compact(999.6), "1\u202f000"},
		{en.Compact(-45678), "−45.7K"},
		{en.Compact(2e9), "2B"},
		{fr.Tick(2.5), "2,5"},
		{fr.Tick(1500), "1,5\u00a0k"},
		{en.Tick(250000), "250K"},
		{en.Percent(0.934), "93%"},
		{en.Percent(0.9999), "99%"},
		{en.Percent(0.001), "<1%"},
		{fr.Percent(1), "100\u202f%"},
		{fr.Percent(0), "0\u202f%"},
		{en.Money(1617909649, "EUR"), "€16,179,096"},
		{fr.Money(1617909699, "EUR"), "16\u202f179\u202f096\u00a0€"},
		{en.Money(-150, "USD"), "-$1"},
		{en.Money(500, "CHF"), "CHF\u00a05"},
		{fr.MoneyCompact(1999999999, "CHF"), "19,9\u00a0MCHF"},
		{en.MoneyCompact(-9999999, "EUR"), "−€99.9K"},
		{en.MoneyCompact(99999900, "EUR"), "€999K"},
		{en.MoneyExact(-81549, "EUR"), "-€815.49"},
		{fr.MoneyExact(81549, "EUR"), "815,49\u00a0€"},
		{fr.MoneyCompact(123456789, "EUR"), "1,23\u00a0M€"},
		{en.MoneyCompact(123456789, "EUR"), "€1.23M"},
		{fr.MoneyTick(500, "EUR"), "500\u00a0€"},
		{fr.MoneyTick(2e6, "EUR"), "2\u00a0M€"},
		{en.Duration(54*time.Hour + 12*time.Minute), "54\u00a0h\u00a012\u00a0min"},
		{en.Duration(40 * time.Second), "40\u00a0s"},
		{en.Duration(0), "0\u00a0min"},
		{en.Duration(2 * time.Hour), "2\u00a0h"},
		{en.ShortDuration(12*time.Hour + 5*time.Minute), "12h\u00a05m"},
		{en.ShortDuration(40 * time.Minute), "40m"},
		{en.ShortDuration(19 * time.Hour), "19h"},
		{fr.ShortDuration(12*time.Hour + 5*time.Minute), "12\u00a0h\u00a005"},
		{fr.ShortDuration(40 * time.Minute), "40\u00a0min"},
		{fr.ShortDuration(19 * time.Hour), "19\u00a0h"},
		{en.Hours(3.25), "3.2\u00a0h"},
		{fr.Hours(1234567), "1\u202f235\u202f000\u00a0h"},
		{fr.Hours(12345678), "12,3\u00a0M\u00a0h"},
		{fr.HoursInColumn(90912, 957_000), "91\u202f000\u00a0h"},
		{fr.HoursInColumn(90912, 95_000), "90\u202f912\u00a0h"},
		{en.HoursInColumn(500, 957_000), "500\u00a0h"},
		{fr.InColumn(7162, 30_612), "7\u202f162"},
		{fr.InColumn(316_000, 4_200_000), "0,32\u00a0M"},
		{en.InColumn(12, 4_200_000), "<0.01M"},
		{fr.MoneyInColumn(9_500_00, 12_345_00, "EUR"), "9\u202f500\u00a0€"},
		{fr.MoneyInColumn(319_999_00, 1_234_567_00, "EUR"), "0,31\u00a0M€"},
		{en.MoneyInColumn(2_349_999_999_00, 2_349_999_999_00, "EUR"), "€2.34B"},
		{fr.MoneyUp(1_043_20, "EUR"), "1\u202f044\u00a0€"},
		{fr.MoneyUp(1_043_00, "EUR"), "1\u202f043\u00a0€"},
		{fr.TickOf(500, 1500), "500"},
		{fr.TickOf(1500, 1500), "1\u202f500"},
		{fr.TickOf(500, 15_000), "0,5\u00a0k"},
		{en.TickOf(0, 15_000), "0"},
		{en.MoneyTickOf(500_000, 2e6, "EUR"), "€0.5M"},
		{fr.Since(36 * time.Hour), "+36\u00a0h"},
		{fr.ShortDay(at), "4\u00a0sept."},
		{en.ShortDay(at), "4\u00a0Sep"},
		{en.Clock(at), "21:03"},
		{fr.Clock(at), "21\u00a0h\u00a003"},
		{en.Moment(at), "Fri\u00a021:03"},
		{fr.Moment(at), "ven.\u00a021\u00a0h\u00a003"},
		{fr.Moment(time.Time{}), ""},
		{fr.Dates(at, time.Date(2026, 9, 6, 23, 0, 0, 0, time.UTC)), "4–7 septembre 2026"},
		{fr.Dates(at, time.Date(2026, 9, 6, 22, 0, 0, 0, time.UTC)), "4–6 septembre 2026"},
		{en.Dates(at, at.AddDate(0, 0, 30)), "4 September – 4 October 2026"},
		{fr.Dates(at.AddDate(0, 0, -3), at.AddDate(0, 0, -3).Add(time.Hour)), "1er septembre 2026"},
		{en.Dates(at.AddDate(0, 3, 27), at.AddDate(0, 4, 0)), "31 December 2026 – 4 January 2027"},
		{en.Ordinal(1), "1st"},
		{en.Ordinal(12), "12th"},
		{en.Ordinal(22), "22nd"},
		{en.Ordinal(103), "103rd"},
		{fr.Ordinal(1), "1er"},
		{fr.Ordinal(22), "22e"},
		{en.Decimal(-1234.56, 1), "−1,234.6"},
		{fr.Decimal(0.25, 2), "0,25"},
		{en.Decimal(-0.01, 1), "0.0"},
		{fr.Weekday(at), "vendredi"},
		{fr.Hour(at), "21\u00a0h"},
		{fr.Clock(at.Add(-14 * time.Hour)), "7\u00a0h\u00a003"},
	} {
		if tt.have != tt.want {
			t.Errorf("have %q, want %q", tt.have, tt.want)
		}
	}
}
