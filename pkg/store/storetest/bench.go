package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Chat are n records as a chat makes them, about 300 bytes each: messages with Twitch's kind of
// ids, so many a second, in turn on 350 channels. from is the number of the first.
func Chat(tb testing.TB, event string, from, n, rate int) []record.Record {
	tb.Helper()
	out := make([]record.Record, n)
	for i := range out {
		k := from + i
		at := base.Add(time.Duration(k) * time.Second / time.Duration(rate))
		r, err := record.Encode(&record.Message{
			Header: record.Header{
				Event: event, Channel: strconv.Itoa(44842076 + k*7919%350), Time: at, Received: at.Add(80 * time.Millisecond),
			},
			// The first half is spread over all values, as random ones are.
			MessageID: fmt.Sprintf("%016x-%04x-%012x", uint64(k)*0x9e3779b97f4a7c15, k%65536, k),
			Chatter:   fmt.Sprintf("%022d", k%100_000), Length: 24,
			Emotes: []record.Emote{{ID: "25", Name: "Kappa", Count: 1 + k%3}},
			Badges: []string{"subscriber/12"}, Subscriber: 12,
		})
		if err != nil {
			tb.Fatal(err)
		}
		out[i] = r
	}
	return out
}

// Bench measures inserts in batches of so many records, and scans of a minute of minute records.
func Bench(b *testing.B, open func(b *testing.B) store.Store, batch, minute int) {
	b.Helper()
	b.Run(fmt.Sprintf("Insert/batch=%d", batch), func(b *testing.B) {
		s := open(b)
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			b.StopTimer()
			records := Chat(b, "bench", n, batch, 3500)
			b.StartTimer()
			results, err := s.Insert(b.Context(), records)
			if err != nil {
				b.Fatal(err)
			}
			if results[0].Outcome != store.Inserted || results[batch-1].Outcome != store.Inserted {
				b.Fatalf("outcomes %v and %v", results[0], results[batch-1])
			}
			n += batch
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run(fmt.Sprintf("InsertAgain/batch=%d", batch), func(b *testing.B) {
		s := open(b)
		records := Chat(b, "bench", 0, batch, 3500)
		if _, err := s.Insert(b.Context(), records); err != nil {
			b.Fatal(err)
		}
		n := 0
		for b.Loop() {
			if _, err := s.Insert(b.Context(), records); err != nil {
				b.Fatal(err)
			}
			n += batch
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run(fmt.Sprintf("Scan/minute=%d", minute), func(b *testing.B) {
		s := open(b)
		for from := 0; from < 2*minute; from += 1000 { // as much again after it
			if _, err := s.Insert(b.Context(), Chat(b, "bench", from, min(1000, 2*minute-from), max(minute/60, 1))); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			for raw, err := range s.Find(b.Context(), store.Query{Collection: store.Records, Event: "bench", From: base, To: base.Add(time.Minute)}) {
				if err != nil {
					b.Fatal(err)
				}
				if !strings.HasPrefix(store.DocID(raw), "bench/") {
					b.Fatal(raw)
				}
				n++
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	})
}
