package record_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
)

// forgotten are the pseudonyms of those who were forgotten.
type forgotten []string

func (f forgotten) has(pseudonym string) bool { return slices.Contains(f, pseudonym) }

func redactable() record.Header {
	at := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	return record.Header{Event: "zevent", Channel: "42", Time: at, Received: at}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	p := pseudonyms(t, bytes.Repeat([]byte{7}, record.KeyBytes))
	user, name := p.User("1"), p.Name("ann")
	other, otherName := p.User("2"), p.Name("bob")
	people := forgotten{user, name}.has
	message := func(change func(m *record.Message)) *record.Message {
		m := &record.Message{Header: redactable(), MessageID: "m", Chatter: other, Length: 9}
		change(m)
		return m
	}
	notice := func(change func(n *record.Notice)) *record.Notice {
		n := &record.Notice{Header: redactable(), NoticeID: "n", Type: "subgift", Chatter: other}
		change(n)
		return n
	}
	moderation := func(chatter string) *record.Moderation {
		return &record.Moderation{Header: redactable(), Action: record.ActionBan, Chatter: chatter}
	}
	donation := func(change func(d *record.Donation)) *record.Donation {
		d := &record.Donation{
			Header: redactable(), Source: "s", Donation: "d", Version: "v", Money: record.Money{Cents: 500, Currency: "EUR"},
			Member: "9", Country: "FR", Length: 12, Text: "bravo", Raw: `{"amount":5}`,
		}
		change(d)
		return d
	}
	answer := func(body string) *record.Answer {
		return &record.Answer{Header: redactable(), Source: "s", Hash: "h", Body: body}
	}
	for what, c := range map[string]struct {
		in, out record.Document // out: nil where it is the same
		want    record.Redaction
	}{
		"of another": {in: message(func(m *record.Message) { m.Text = "hi @" + otherName }), want: record.Kept},
		"written":    {in: message(func(m *record.Message) { m.Chatter = user }), want: record.Removed},
		"written without an id": {
			in: message(func(m *record.Message) { m.Chatter = name }), want: record.Removed,
		},
		"a reply": {
			in: message(func(m *record.Message) {
				m.Reply = &record.Reply{Message: "theirs", Chatter: user, Thread: "theirs"}
				m.Text = "yes"
			}),
			out:  message(func(m *record.Message) { m.Reply, m.Text = &record.Reply{}, "yes" }),
			want: record.Changed,
		},
		"a reply to another": {
			in:   message(func(m *record.Message) { m.Reply = &record.Reply{Message: "x", Chatter: other, Thread: "y"} }),
			want: record.Kept,
		},
		"a mention": {
			in:   message(func(m *record.Message) { m.Text = "hi @" + name + ", @" + otherName + "!" }),
			out:  message(func(m *record.Message) { m.Text = "hi @" + record.Erased + ", @" + otherName + "!" }),
			want: record.Changed,
		},
		"the whole text": {
			in:   message(func(m *record.Message) { m.Text = user; m.Bits = 3 }),
			out:  message(func(m *record.Message) { m.Text = ""; m.Bits = 3 }),
			want: record.Changed,
		},
		"an emote": {
			in: message(func(m *record.Message) {
				m.Emotes = []record.Emote{{ID: "25", Name: "Kappa", Count: 1}, {ID: "1", Name: "x" + name + user, Count: 2}}
			}),
			out: message(func(m *record.Message) {
				m.Emotes = []record.Emote{
					{ID: "25", Name: "Kappa", Count: 1},
					{ID: "1", Name: "x" + record.Erased + record.Erased, Count: 2},
				}
			}),
			want: record.Changed,
		},
		"given": {in: notice(func(n *record.Notice) { n.Recipient = user }), want: record.Removed},
		"gave":  {in: notice(func(n *record.Notice) { n.Chatter = user }), want: record.Removed},
		"named in": {
			in: notice(func(n *record.Notice) {
				n.Params = record.Params{"a": "1", "contributor-1": name, "sub-plan-name": "plan of " + user, "z": otherName}
				n.CharityName = "for " + name + "s"
			}),
			out: notice(func(n *record.Notice) {
				n.Params = record.Params{"a": "1", "contributor-1": "", "sub-plan-name": "plan of " + record.Erased, "z": otherName}
				n.CharityName = "for " + record.Erased + "s"
			}),
			want: record.Changed,
		},
		"donated": {
			in: donation(func(d *record.Donation) { d.Donor = user }), out: &record.Donation{
				Header: redactable(), Source: "s", Donation: "d", Version: "v", Money: record.Money{Cents: 500, Currency: "EUR"}, Member: "9",
			},
			want: record.Changed,
		},
		"donated by another": {in: donation(func(d *record.Donation) { d.Donor = other }), want: record.Kept},
		"a donation that mentions": {
			in: donation(func(d *record.Donation) { d.Donor, d.Text, d.Raw = other, "thanks @"+name, `{"to":"`+user+`"}` }),
			out: donation(func(d *record.Donation) {
				d.Donor, d.Text, d.Raw = other, "thanks @"+record.Erased, `{"to":"`+record.Erased+`"}`
			}),
			want: record.Changed,
		},
		"answered": {
			in:   answer(`[{"name":"` + name + `","id":"` + user + `"},{"name":"` + otherName + `"}]`),
			out:  answer(`[{"name":"` + record.Erased + `","id":"` + record.Erased + `"},{"name":"` + otherName + `"}]`),
			want: record.Changed,
		},
		"a piece of an answer": {
			in: answer(`e":"` + user + `"},{"name":"` + name), out: answer(`e":"` + record.Erased + `"},{"name":"` + record.Erased),
			want: record.Changed,
		},
		"an answer without them": {in: answer(`[{"name":"` + otherName + `"}]`), want: record.Kept},
		"a running total":        {in: &record.Amount{Header: redactable(), Source: "s", Money: record.Money{Currency: "EUR"}}, want: record.Kept},
		"banned":                 {in: moderation(user), want: record.Removed},
		"another banned":         {in: moderation(other), want: record.Kept},
		"cleared":                {in: &record.Moderation{Header: redactable(), Action: record.ActionClear}, want: record.Kept},
		"no chatter":             {in: &record.Viewers{Header: redactable(), Source: record.SourceHelix}, want: record.Kept},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in, err := record.Encode(c.in)
			if err != nil {
				t.Fatal(err)
			}
			came := bytes.Clone(in.Doc)
			out, got := record.Redact(in, people)
			if got != c.want {
				t.Fatalf("%v, want %v", got, c.want)
			}
			if !bytes.Equal(in.Doc, came) {
				t.Error("the record that came was changed")
			}
			want := in
			if c.out != nil {
				if want, err = record.Encode(c.out); err != nil {
					t.Fatal(err)
				}
			}
			if out.ID != want.ID || !equalDocs(t, out.Doc, want.Doc) {
				t.Errorf("%s\nwant %s", out.Doc, want.Doc)
			}
		})
	}
}

// equalDocs compares documents whose empty texts may be there or not.
func equalDocs(t *testing.T, a, b bson.Raw) bool {
	t.Helper()
	docs := make([]bson.M, 0, 2)
	for _, raw := range []bson.Raw{a, b} {
		var m bson.M
		if err := bson.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == "" })
		docs = append(docs, m)
	}
	return reflect.DeepEqual(docs[0], docs[1])
}

// TestRedactProperties: whatever a document is made of, nobody who was forgotten is in what is left,
// the header and everything that names nobody is as it was, and doing it again changes nothing.
func TestRedactProperties(t *testing.T) {
	t.Parallel()
	p := pseudonyms(t, bytes.Repeat([]byte{7}, record.KeyBytes))
	gone := forgotten{p.User("1"), p.Name("ann"), p.User("3")}
	texts := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[A-Za-z0-9_-]{20,70}`),
		rapid.SampledFrom([]string{p.User("2"), p.Name("bob"), "@" + p.Name("bob"), "b34ccfc7-4977-403a-8a94-33c6bac34fb8"}),
		rapid.SampledFrom(gone),
	)
	text := rapid.Custom(func(t *rapid.T) string {
		s := strings.Join(rapid.SliceOfN(texts, 1, 4).Draw(t, "parts"), rapid.SampledFrom([]string{"", " ", "@"}).Draw(t, "between"))
		return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		all := []*rapid.Generator[any]{text.AsAny(), text.AsAny(), rapid.Int32().AsAny(), rapid.Bool().AsAny()}
		if depth > 0 {
			key := rapid.SampledFrom([]string{"reply", "chatter", "recipient", "message", "x", "params"})
			all = append(all,
				rapid.Custom(func(t *rapid.T) any {
					d := bson.D{}
					for _, k := range rapid.SliceOfNDistinct(key, 0, 4, rapid.ID).Draw(t, "keys") {
						d = append(d, bson.E{Key: k, Value: value(depth-1).Draw(t, k)})
					}
					return d
				}),
				rapid.Custom(func(t *rapid.T) any { return bson.A(rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "array")) }))
		}
		return rapid.OneOf(all...)
	}
	rapid.Check(t, func(t *rapid.T) {
		fact := text.Filter(func(s string) bool { return s != "" && len(s) < 300 }).Draw(t, "fact")
		doc := bson.D{
			{Key: "_id", Value: "zevent/some/" + fact},
			{Key: "kind", Value: "some"},
			{Key: "event", Value: "zevent"},
			{Key: "channel", Value: gone[0]}, // the header speaks of no chatter
			{Key: "time", Value: time.UnixMilli(1_700_000_000_000)},
		}
		keys := rapid.SampledFrom([]string{"chatter", "recipient", "reply", "text", "a", "b", "params"})
		for _, k := range rapid.SliceOfNDistinct(keys, 0, 7, rapid.ID).Draw(t, "keys") {
			doc = append(doc, bson.E{Key: k, Value: value(3).Draw(t, k)})
		}
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		in, err := record.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		came := bytes.Clone(raw)
		out, what := record.Redact(in, gone.has)
		if !bytes.Equal(in.Doc, came) {
			t.Fatal("the document that came was changed")
		}
		parsed, err := record.Parse(out.Doc)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.ID != in.ID || !parsed.Time.Equal(in.Time) || parsed.Channel != in.Channel || len(out.Doc) > len(in.Doc) {
			t.Fatalf("%v became %v", in, parsed)
		}
		theirs := false
		for _, k := range []string{"chatter", "recipient"} {
			who, ok := in.Doc.Lookup(k).StringValueOK()
			theirs = theirs || ok && gone.has(who)
		}
		if theirs != (what == record.Removed) {
			t.Fatalf("of them: %v, and it is %v", theirs, what)
		}
		if what == record.Removed {
			return
		}
		if named := names(t, in.Doc, gone); named != (what == record.Changed) {
			t.Fatalf("names them: %v, and it is %v", named, what)
		}
		if what == record.Kept && !bytes.Equal(out.Doc, in.Doc) {
			t.Fatal("it is kept, and not the same")
		}
		if names(t, out.Doc, gone) {
			t.Fatalf("%s still names them", out.Doc)
		}
		if again, what := record.Redact(out, gone.has); what != record.Kept || !bytes.Equal(again.Doc, out.Doc) {
			t.Fatalf("doing it again: %v", what)
		}
		elements, err := in.Doc.Elements()
		if err != nil {
			t.Fatal(err)
		}
		left, err := out.Doc.Elements()
		if err != nil || len(left) != len(elements) {
			t.Fatalf("%d elements of %d, err %v", len(left), len(elements), err)
		}
		for i := range elements {
			if i < 5 || !names(t, document(t, elements[i]), gone) {
				if !bytes.Equal(elements[i], left[i]) {
					t.Fatalf("%s became %s", elements[i], left[i])
				}
			}
		}
	})
}

// document is one with an element behind a header's place.
func document(t *rapid.T, e bson.RawElement) bson.Raw {
	d := bson.D{}
	for i := range 5 {
		d = append(d, bson.E{Key: strconv.Itoa(i), Value: ""})
	}
	raw, err := bson.Marshal(append(d, bson.E{Key: e.Key(), Value: e.Value()}))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// names reports whether any text of a document, but for its first five elements, holds one of people.
func names(t *rapid.T, doc bson.Raw, people []string) bool {
	elements, err := doc.Elements()
	if err != nil {
		t.Fatal(err)
	}
	rest := bson.D{}
	for _, e := range elements[5:] {
		rest = append(rest, bson.E{Key: e.Key(), Value: e.Value()})
	}
	raw, err := bson.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(people, func(p string) bool { return bytes.Contains(raw, []byte(p)) })
}

func BenchmarkRedact(b *testing.B) {
	p := pseudonyms(b, bytes.Repeat([]byte{7}, record.KeyBytes))
	people := map[string]struct{}{p.User("1"): {}, p.Name("ann"): {}}
	r, err := record.Encode(&record.Message{
		Header: redactable(), MessageID: "b34ccfc7-4977-403a-8a94-33c6bac34fb8", Chatter: p.User("2"),
		Text: "hello @" + p.Name("bob") + ", how are you doing this fine evening of charity?", Badges: []string{"subscriber/12"},
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, what := record.Redact(r, func(s string) bool { _, ok := people[s]; return ok }); what != record.Kept {
			b.Fatal(what)
		}
	}
}
