package web

import (
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
)

func TestTextsAreWhole(t *testing.T) {
	c, err := readCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\{\w+\}`)
	for key, by := range c {
		if by[english] == "" || by[french] == "" || len(by) != 2 {
			t.Errorf("%s lacks a language or has too many: %v", key, by)
		}
		en, fr := names.FindAllString(by[english], -1), names.FindAllString(by[french], -1)
		slices.Sort(en)
		slices.Sort(fr)
		if !slices.Equal(en, fr) {
			t.Errorf("%s: the languages name different values: %v, %v", key, en, fr)
		}
	}
	for _, name := range []string{
		condStore, condNoEvent, condCollectors, condSilent, condUnread, condUnassigned, condNotFound, condConsumers,
		condQueue, condRollup, condDead,
	} {
		if c["cond."+name] == nil || c["cond."+name+".do"] == nil {
			t.Errorf("condition %s has no text", name)
		}
	}
	for _, name := range []string{
		charity.ConditionUnreachable, charity.ConditionRefused, charity.ConditionLimited, charity.ConditionShape, charity.ConditionStale,
		charity.ConditionIncomplete, charity.ConditionUnmatched, charity.ConditionCurrency,
	} {
		if c["told."+name] == nil {
			t.Errorf("condition %s of a charity source has no text", name)
		}
	}
	for key := range c {
		if strings.HasPrefix(key, "told.") && c[strings.TrimSuffix(key, ".do")+".do"] == nil {
			t.Errorf("%s has no text that says what to do", key)
		}
	}
}

// Every key that the page, the script and the views name is in the catalogue, and each key is named.
func TestTextsAreUsed(t *testing.T) {
	c, err := readCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range []string{"page.html", "app.js", "chart.js", "channels.js", "format.js"} {
		body, err := fs.ReadFile(files, "assets/"+name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(body)
		for _, m := range regexp.MustCompile(`(?:\btext\(|\bfact\(|\.T )"([a-z.]+[a-z])"`).FindAllStringSubmatch(string(body), -1) {
			if c[m[1]] == nil {
				t.Errorf("%s names %q, which has no text", name, m[1])
			}
		}
	}
	source := all.String()
	computed := regexp.MustCompile(`^(state|demo|health|stage|role|now|ch|min|cond|told|unit|link|money)\.|^(complete|partial|unknown|exact)$`)
	for key := range c {
		if !strings.Contains(source, `"`+key+`"`) && !computed.MatchString(key) {
			t.Errorf("nothing shows %q", key)
		}
	}
}

func TestFormats(t *testing.T) {
	c, err := readCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	en := locale{english, c.in(english), time.UTC}
	fr := locale{french, c.in(french), paris}
	at := time.Date(2026, 9, 4, 22, 5, 0, 0, time.UTC)
	for _, x := range []struct{ got, want string }{
		{en.count(0), "0"},
		{en.count(999), "999"},
		{en.count(1234567), "1,234,567"},
		{fr.count(1234567), "1\u00a0234\u00a0567"},
		{en.count(-1200), "−1,200"},
		{en.rate(9.94), "9.9"},
		{fr.rate(0.26), "0,3"},
		{en.rate(612.4), "612"},
		{en.percent(1), "100%"},
		{en.percent(0.99999), "99.9%"},
		{fr.percent(0.355), "35,5\u00a0%"},
		{en.span(0.0124), "12\u00a0ms"},
		{fr.span(1.25), "1,2\u00a0s"},
		{en.span(59), "59\u00a0s"},
		{en.span(60), "1\u00a0min"},
		{en.span(134), "2\u00a0min\u00a014\u00a0s"},
		{en.span(3600 * 5), "5\u00a0h"},
		{fr.span(86400*2 + 3*3600), "2\u00a0j\u00a03\u00a0h"},
		{en.span(-1), "0\u00a0ms"},
		{en.bytes(999), "999\u00a0B"},
		{fr.bytes(41200), "41\u00a0ko"},
		{en.bytes(1_500_000), "1.5\u00a0MB"},
		{en.clock(at), "22:05"},
		{fr.day(at), "05/09 00:05"},
		{en.text("of", "n", "{n}"), "of {n}"},
	} {
		if x.got != x.want {
			t.Errorf("%q, want %q", x.got, x.want)
		}
	}
	if s := en.span(math.MaxInt32); s == "" {
		t.Error("no span")
	}
}
