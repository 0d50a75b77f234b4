package record_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
)

// What retention takes out of a donation is gone, and the rest is as it was.
func TestWithout(t *testing.T) {
	t.Parallel()
	full := record.Donation{
		Header: redactable(), Source: "s", Donation: "d", Version: "v", Money: record.Money{Cents: 500, Currency: "EUR"},
		Donor: "donor", Member: "9", Country: "FR", Length: 12, Text: "bravo", Raw: `{"amount":5}`,
	}
	for name, c := range map[string]struct {
		without func(record.Record) (record.Record, bool)
		change  func(*record.Donation)
	}{
		"text":  {record.WithoutText, func(d *record.Donation) { d.Text = "" }},
		"raw":   {record.WithoutRaw, func(d *record.Donation) { d.Raw = "" }},
		"donor": {record.WithoutDonor, func(d *record.Donation) { d.Donor, d.Country, d.Length, d.Text, d.Raw = "", "", 0, "", "" }},
	} {
		in, bare := full, full
		c.change(&bare)
		r, want := encode(t, &in), encode(t, &bare)
		came := bytes.Clone(r.Doc)
		got, had := c.without(r)
		if !had || !bytes.Equal(got.Doc, want.Doc) || got.ID != want.ID {
			t.Errorf("%s: %v\n%s\nwant %s", name, had, got.Doc, want.Doc)
		}
		if !bytes.Equal(r.Doc, came) {
			t.Errorf("%s: the record that came was changed", name)
		}
		if again, had := c.without(got); had || !bytes.Equal(again.Doc, got.Doc) {
			t.Errorf("%s: the second time too", name)
		}
	}
	others := encode(t, &record.Answer{Header: redactable(), Source: "s", Hash: "h", Body: "raw donor text"})
	for _, without := range []func(record.Record) (record.Record, bool){record.WithoutText, record.WithoutRaw, record.WithoutDonor} {
		if got, had := without(others); had || !bytes.Equal(got.Doc, others.Doc) {
			t.Errorf("an answer became %s", got.Doc)
		}
	}
}

func encode(tb testing.TB, d record.Document) record.Record {
	tb.Helper()
	r, err := record.Encode(d)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// The pieces of a body are the body, are text each, hold whole pseudonyms, and fit a record.
func TestPieces(t *testing.T) {
	t.Parallel()
	p := pseudonyms(t, bytes.Repeat([]byte{7}, record.KeyBytes))
	who := p.User("1")
	for name, unit := range map[string]string{
		"rows":           `{"name":"` + who + `","amount":"12.50"},`,
		"accents":        "é",
		"one long word":  who,
		"wide letters":   "👩‍👩‍👧‍👦",
		"one byte":       "x",
		"a word of text": "日本語" + who,
	} {
		body := strings.Repeat(unit, 7<<20/len(unit))
		pieces := record.Pieces(body)
		if strings.Join(pieces, "") != body || len(pieces) < 3 {
			t.Errorf("%s: %d pieces are another body", name, len(pieces))
		}
		whole := 0
		for i, piece := range pieces {
			if !utf8.ValidString(piece) || len(piece) > record.MaxBodyBytes || piece == "" {
				t.Errorf("%s: piece %d of %d bytes is no text, too large or empty", name, i, len(piece))
			}
			whole += strings.Count(piece, who)
			r := encode(t, &record.Answer{Header: redactable(), Source: "s", Hash: "h", Part: i + 1, Body: piece})
			if _, err := record.EncodeBatch([]record.Record{r}, record.None); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if name != "one long word" && whole != strings.Count(body, who) {
			t.Errorf("%s: %d pseudonyms of %d are whole", name, whole, strings.Count(body, who))
		}
	}
	if got := record.Pieces(""); len(got) != 1 || got[0] != "" {
		t.Errorf("%q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.String().Draw(t, "body")
		if got := record.Pieces(body); len(got) != 1 || got[0] != body {
			t.Fatalf("%q", got)
		}
	})
}

func ExampleDonation() {
	at := time.Date(2026, 9, 4, 18, 31, 12, 0, time.UTC)
	given := func(cents int64, received time.Time) *record.Donation {
		return &record.Donation{
			Header: record.Header{Event: "zevent-2026", Channel: "41719107", Time: at, Received: received},
			Source: "streamlabs", Donation: "1084119", Money: record.Money{Cents: cents, Currency: "EUR"},
		}
	}
	first, _ := record.Encode(given(2500, at.Add(8*time.Second)))
	again, _ := record.Encode(given(2500, at.Add(time.Minute))) // the next poll overlaps
	changed, _ := record.Encode(given(250, at.Add(time.Hour)))  // the source corrects itself
	fmt.Println("the same record:", first.ID == again.ID)
	fmt.Println("another version:", first.ID != changed.ID)
	// Output:
	// the same record: true
	// another version: true
}

func ExampleAmount() {
	slot := time.Date(2026, 9, 4, 18, 31, 0, 0, time.UTC)
	a := &record.Amount{
		Header: record.Header{Event: "zevent-2026", Channel: "41719107", Time: slot, Received: slot.Add(90 * time.Millisecond)},
		Source: "zevent", Money: record.Money{Cents: 81549, Currency: "EUR"},
	}
	r, err := record.Encode(a)
	fmt.Println(r.Kind, r.Channel, err)
	// Output: amount 41719107 <nil>
}

func ExamplePieces() {
	body := `{"total":"815.49"}`
	for i, piece := range record.Pieces(body) {
		a := &record.Answer{
			Header: record.Header{Event: "zevent-2026", Time: time.UnixMilli(1788539460000)},
			Source: "zevent", Request: "/", Status: 200, Type: "application/json",
			Bytes: len(body), Hash: record.Hash(body), Body: piece,
		}
		if len(record.Pieces(body)) > 1 {
			a.Part = i + 1
		}
		r, err := record.Encode(a)
		fmt.Println(r.Kind, a.Part, err)
	}
	// Output: answer 0 <nil>
}
