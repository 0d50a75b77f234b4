package charity

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tungstene/tungstene/pkg/record"
)

func testPseudonyms(t testing.TB) *record.Pseudonyms {
	t.Helper()
	p, err := record.NewPseudonyms(bytes.Repeat([]byte{7}, record.KeyBytes), map[string]string{"44842076": "aducine"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScrub(t *testing.T) {
	t.Parallel()
	p := testPseudonyms(t)
	s := newScrubber("team:", map[string]class{
		"data.id": public, "data.amount": figure, "data.at": moment, "data.currency": currency, "data.donor.id": donorID,
		"data.member.name": public, "data.donor.country": place, "data.state": word,
	})
	for _, c := range []struct{ name, in, want string }{
		{
			"known", `{"data": [ {"id":"a-1","amount":"5.00","at":"2026-09-04T18:01:00+00:00","currency":"EUR","member":{"name":"Élodie"},"state":"paid"} ]}`,
			`{"data":[{"id":"a-1","amount":"5.00","at":"2026-09-04T18:01:00+00:00","currency":"EUR","member":{"name":"Élodie"},"state":"paid"}]}`,
		},
		{
			"donor", `{"data":[{"donor":{"id":12,"name":"Jean","country":"France"}}]}`,
			`{"data":[{"donor":{"id":"` + p.User("team:12") + `","name":"` + p.Name("jean") + `","country":"France"}}]}`,
		},
		{"comment", `{"comment":{"text":"Bon courage, je suis Jean"},"donor_comment":"é"}`, `{"comment":{"text":"[25]"},"donor_comment":"[1]"}`},
		{
			"misplaced", `{"data":[{"id":"1","amount":"Jean","at":"Jean","currency":"Jean","state":"Jean D"}]}`,
			`{"data":[{"id":"1","amount":"` + p.Name("Jean") + `","at":"` + p.Name("Jean") + `","currency":"` + p.Name("Jean") + `","state":"` + p.Name("Jean D") + `"}]}`,
		},
		{"names as keys", `{"Jean Dupont":5,"jeandupont":6,"top_donor":7}`, `{"` + p.Name("Jean Dupont") + `":5,"` + p.Name("jeandupont") + `":6,"top_donor":7}`},
		{"numbers", `{"user_id":123456,"count":12345,"x":-1.5}`, `{"user_id":"` + p.Name("123456") + `","count":12345,"` + p.Name("x") + `":-1.5}`},
		{"dotted key", `{"data":{"member.name":"Jean"}}`, `{"data":{"` + p.Name("member.name") + `":"` + p.Name("Jean") + `"}}`},
		{"truncated", `{"data":[{"id":"1","donor":{"name":"Je`, `{"data":[{"id":"1","donor":{"name":"[2]"`},
		{"html", `<html><body>Jean Dupont</body>`, `"[16]""[13]"`},
		{"broken, then nothing is let pass", `{"data":[{"id":"1"} {"id":"Jean"}]}`, `{"data":[{"id":"1"}{"[2]":"[4]"}]}`},
		{"bare", `{"data":[{"id":Jean Dupont}]}`, `{"data":[{"id":"[4]""[6]"}]}`},
		{"nan", `{"data":[{"amount":NaN}]}`, `{"data":[{"amount":NaN}]}`},
		{"bytes", "{\"data\":[{\"id\":\"\xff\\u0007\\\"\"}]}", "{\"data\":[{\"id\":\"\ufffd\\u0007\\\"\"}]}"},
		{"channel", `{"streamer":"Aducine"}`, `{"streamer":"aducine"}`},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := string(s.scrub([]byte(c.in), "", p))
			if got != c.want {
				t.Errorf("scrub(%s)\n  = %s\nwant %s", c.in, got, c.want)
			}
			if json.Valid([]byte(c.in)) && !json.Valid([]byte(got)) {
				t.Errorf("%s is no JSON any more: %s", c.in, got)
			}
		})
	}
}
