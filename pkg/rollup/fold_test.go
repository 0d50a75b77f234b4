package rollup_test

import (
	"bytes"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
)

func TestAFoldIsMergeOfMany(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	var docs []record.Statistics
	for i := range 7 {
		minute := start.Add(time.Duration(i-1) * time.Minute)
		a := rollup.NewAggregator("zevent", minute, minute, minute.Add(time.Hour))
		for j := range i * 3 {
			m := record.Message{
				Header:    record.Header{Event: "zevent", Channel: "1", Time: minute.Add(time.Duration(j) * time.Second)},
				MessageID: string(rune('a'+i)) + string(rune('a'+j)), Chatter: string(rune('a' + j)),
				Emotes: []record.Emote{{ID: string(rune('a' + j%5)), Name: "E", Count: 1}},
			}
			r, err := record.Encode(&m)
			if err != nil {
				t.Fatal(err)
			}
			a.Add(r)
		}
		if i != 4 {
			v := record.Viewers{
				Header: record.Header{Event: "zevent", Channel: "1", Time: minute},
				Source: record.SourceHelix, Live: i > 1, Viewers: 10 * i, Stream: "s",
			}
			r, err := record.Encode(&v)
			if err != nil {
				t.Fatal(err)
			}
			a.Add(r)
		}
		for _, d := range a.Result() {
			if d.Channel == "1" {
				d.State = record.StateClosed
				docs = append(docs, d)
			}
		}
	}
	merged := docs[0]
	f := rollup.NewFold(start, "1")
	for i := range docs {
		if i > 0 {
			var err error
			if merged, err = rollup.Merge(start, merged, docs[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Add(&docs[i]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue
		}
		folded := f.Statistics()
		have, err := bson.Marshal(&folded)
		if err != nil {
			t.Fatal(err)
		}
		want, err := bson.Marshal(&merged)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Fatalf("after %d documents:\n%v\n%v", i+1, bson.Raw(have), bson.Raw(want))
		}
	}
}
