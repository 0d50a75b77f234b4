package record_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
)

// strings of a document, but for its header's.
func texts(tb testing.TB, doc bson.Raw) []string {
	tb.Helper()
	var (
		out  []string
		walk func(doc bson.Raw, skip int)
	)
	walk = func(doc bson.Raw, skip int) {
		elements, err := doc.Elements()
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range elements[min(skip, len(elements)):] {
			switch v := e.Value(); v.Type {
			case bson.TypeString:
				out = append(out, v.StringValue())
			case bson.TypeEmbeddedDocument, bson.TypeArray:
				walk(bson.Raw(v.Value), 0)
			default: // no text
			}
		}
	}
	walk(doc, 5)
	return out
}

// Of whatever can be a record, a person can be taken out: what is left is the same record, no
// larger, names the person nowhere, and is left alone the second time.
func FuzzRedact(f *testing.F) {
	const person = "AAAAAAAAAAAAAAAAAAAAAA"
	add := func(d record.Document) {
		r, err := record.Encode(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(r.Doc))
	}
	h := sampleText(f, "x")
	header := record.Header{Event: h.Event, Channel: h.Channel, Time: h.Time, Received: h.Time}
	add(&record.Message{Header: header, MessageID: "1", Chatter: person})
	add(&record.Message{Header: header, MessageID: "1", Chatter: "b", Text: "hi @" + person + "! " + person, Reply: &record.Reply{Message: "2", Chatter: person, Thread: "3"}})
	add(&record.Notice{Header: header, NoticeID: "1", Type: "new", Params: record.Params{"winner": person, "sentence": "x" + person + "x", "n": "5"}})
	add(&record.Notice{Header: header, NoticeID: "1", Type: "subgift", Recipient: person})
	add(&record.Moderation{Header: header, Action: record.ActionBan, Chatter: person})
	add(&record.Coverage{Header: header, To: header.Time.Add(1e6), Source: "chat", Channels: []string{person}})
	add(&record.Donation{
		Header: header, Source: "s", Donation: "d", Money: record.Money{Cents: 1, Currency: "EUR"}, Donor: person, Text: "x", Length: 1, Raw: person,
	})
	add(&record.Donation{Header: header, Source: "s", Donation: "d", Money: record.Money{Currency: "EUR"}, Raw: `{"a":"` + person + `"}`})
	add(&record.Answer{Header: header, Source: "s", Hash: "h", Body: `[{"name":"` + person + `"},{"na`})
	people := func(pseudonym string) bool { return pseudonym == person }
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := record.Parse(doc)
		if err != nil {
			return
		}
		before := string(doc)
		got, what := record.Redact(r, people)
		if string(doc) != before {
			t.Fatal("the document was changed in its place")
		}
		if what != record.Changed {
			if !reflect.DeepEqual(got, r) {
				t.Fatalf("%v, but %v became %v", what, r, got)
			}
			return
		}
		if len(got.Doc) > len(doc) {
			t.Fatalf("%d bytes became %d", len(doc), len(got.Doc))
		}
		back, err := record.Parse(got.Doc)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, got) || got.ID != r.ID || !got.Time.Equal(r.Time) {
			t.Fatalf("%+v became %+v", r, got)
		}
		for _, s := range texts(t, got.Doc) {
			if strings.Contains(s, person) {
				t.Fatalf("%q", s)
			}
		}
		if _, again := record.Redact(got, people); again != record.Kept {
			t.Fatalf("the second time: %v", again)
		}
	})
}

// What lies within a document is looked at too, as deep as a store takes it.
func TestParseLooksWithin(t *testing.T) {
	r := sampleText(t, "x")
	var d bson.D
	if err := bson.Unmarshal(r.Doc, &d); err != nil {
		t.Fatal(err)
	}
	within := func(inner any) []byte {
		b, err := bson.Marshal(append(d[:len(d):len(d)], bson.E{Key: "new", Value: inner}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var deep any = bson.D{}
	for range record.MaxNesting - 2 {
		deep = bson.A{deep}
	}
	for _, c := range []struct {
		doc []byte
		ok  bool
	}{
		{within(deep), true},
		{within(bson.A{deep}), false},
		{bytes.Replace(within(bson.D{{Key: "a", Value: "bcd"}}), []byte("\x04\x00\x00\x00bcd"), []byte("\x44\x00\x00\x00bcd"), 1), false},
		{within(bson.A{bson.D{{Key: "a", Value: "b"}}}), true},
	} {
		if _, err := record.Parse(c.doc); (err == nil) != c.ok || err != nil && !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%.200q: %v", c.doc, err)
		}
	}
}
