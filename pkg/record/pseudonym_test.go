package record_test

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
)

func pseudonyms(tb testing.TB, key []byte) *record.Pseudonyms {
	tb.Helper()
	p, err := record.NewPseudonyms(key, map[string]string{"42": "ZeratoR"})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPseudonyms(t *testing.T) {
	one, other := pseudonyms(t, bytes.Repeat([]byte{1}, record.KeyBytes)), pseudonyms(t, bytes.Repeat([]byte{2}, record.KeyBytes))
	shape := regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[0-9]{1,12}`).Draw(t, "id")
		u := one.User(id)
		if !shape.MatchString(u) {
			t.Fatalf("%q", u)
		}
		if u != one.User(id) || u == other.User(id) || u == one.Name(id) {
			t.Fatalf("%s of %s is not keyed, or mixes ids with names", u, id)
		}
	})
	if one.User("") != "" || one.Name("") != "" {
		t.Error("nobody has a pseudonym")
	}
	if one.Name("SomeOne") != one.Name("someone") {
		t.Error("case matters")
	}
	if got := one.Name("ZERATOR"); got != "zerator" {
		t.Errorf("the public channel is %q", got)
	}
	if login, ok := one.PublicLogin("42"); !ok || login != "ZeratoR" {
		t.Errorf("%q, %v", login, ok)
	}
	if _, ok := one.PublicLogin("43"); ok || one.IsPublic("other") || !one.IsPublic("zerator") {
		t.Error("who is public is wrong")
	}
	if one.User("42") == "42" {
		t.Error("a public author has no pseudonym")
	}
}

func TestMentions(t *testing.T) {
	p := pseudonyms(t, make([]byte, record.KeyBytes))
	for in, want := range map[string]string{
		"no one":                      "no one",
		"@zerator merci":              "@zerator merci",
		"@ZeratoR":                    "@zerator",
		"hi @Some_One, bye":           "hi @" + p.Name("some_one") + ", bye",
		"@a@b":                        "@" + p.Name("a") + "@" + p.Name("b"),
		"@漢字 and @":                   "@" + p.Name("漢字") + " and @",
		"mail x@example.org":          "mail x@" + p.Name("example") + ".org",
		"@" + strings.Repeat("x", 30): "@" + p.Name(strings.Repeat("x", 25)) + "xxxxx",
	} {
		if got := p.Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestPseudonymKeys(t *testing.T) {
	for _, n := range []int{0, 31, 33} {
		if _, err := record.NewPseudonyms(make([]byte, n), nil); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
	if a, b := record.NewKey(), record.NewKey(); len(a) != record.KeyBytes || bytes.Equal(a, b) {
		t.Error("keys are short or equal")
	}
	// The key is copied.
	key := record.NewKey()
	p := pseudonyms(t, key)
	before := p.User("1")
	clear(key)
	if p.User("1") != before {
		t.Error("the key changed under its pseudonyms")
	}
}

func TestPseudonymsTogether(t *testing.T) {
	p := pseudonyms(t, record.NewKey())
	want := p.User("1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if got := p.User("1"); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkUser(b *testing.B) {
	p := pseudonyms(b, record.NewKey())
	b.ReportAllocs()
	for b.Loop() {
		p.User("123456789")
	}
}
