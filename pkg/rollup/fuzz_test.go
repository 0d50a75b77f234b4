package rollup_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

// Whatever is found stored as statistics is summed up or refused with an error.
func FuzzMerge(f *testing.F) {
	a := rollup.NewAggregator(event, minute, start, end)
	drawn := rapid.Custom(func(t *rapid.T) []record.Document {
		docs := make([]record.Document, 40)
		for i := range docs {
			docs[i] = document(t, i)
		}
		return docs
	})
	for seed := range 3 {
		for _, d := range drawn.Example(seed) {
			a.Add(encode(f, d))
		}
	}
	var docs [][]byte
	for _, d := range a.Result() {
		b, err := bson.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		docs = append(docs, b)
	}
	for i := range docs {
		f.Add(docs[i], docs[(i+1)%len(docs)])
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		var x, y record.Statistics
		if bson.Unmarshal(one, &x) != nil || bson.Unmarshal(other, &y) != nil {
			return
		}
		sum, err := rollup.Merge(start, x, y)
		if err != nil {
			return
		}
		if _, err := bson.Marshal(sum); err != nil {
			t.Fatal(err)
		}
		// What was summed up can be summed up again.
		if _, err := rollup.Merge(start, sum, x); err != nil {
			t.Fatal(err)
		}
	})
}
