package record_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	doc, err := bson.Marshal(bson.D{
		{Key: "text", Value: "é <b> & \"q\" \u2028 \x01"},
		{Key: "int", Value: int32(-7)},
		{Key: "long", Value: int64(math.MaxInt64)},
		{Key: "double", Value: 0.1},
		{Key: "nan", Value: math.NaN()},
		{Key: "yes", Value: true},
		{Key: "none", Value: nil},
		{Key: "at", Value: time.Date(2026, 9, 5, 18, 0, 0, 120e6, time.FixedZone("", 7200))},
		{Key: "bytes", Value: []byte{0, 255}},
		{Key: "list", Value: bson.A{int32(1), bson.D{{Key: "a", Value: ""}}, bson.A{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := record.JSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"text":"é <b> & \"q\" \u2028 \u0001","int":-7,"long":9223372036854775807,"double":0.1,"nan":null,"yes":true,` +
		`"none":null,"at":"2026-09-05T16:00:00.120Z","bytes":"AP8=","list":[1,{"a":""},[]]}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for n := range doc {
		if out, err := record.JSON(doc[:n]); err == nil {
			t.Fatalf("%d bytes of a document are %s", n, out)
		}
	}
}

// Whatever text goes in comes out of a JSON reader, with what is no UTF-8 replaced.
func TestJSONText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var back string
		if err := json.Unmarshal(record.AppendJSONText(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if back != s {
			t.Fatalf("%q became %q", s, back)
		}
	})
}

func FuzzJSON(f *testing.F) {
	doc, err := bson.Marshal(bson.D{{Key: "a", Value: bson.A{bson.D{{Key: "b", Value: 1.5}}, "x"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Fuzz(func(t *testing.T, doc []byte) {
		out, err := record.JSON(doc)
		if err == nil && !json.Valid(out) {
			t.Errorf("%s is no JSON", out)
		}
	})
}
