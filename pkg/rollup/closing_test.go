package rollup

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	storelocal "github.com/tungstene/tungstene/pkg/store/local"
)

// BenchmarkClose closes a minute of 350 channels and 36,000 messages: scan, minutes, hours, totals.
func BenchmarkClose(b *testing.B) {
	s, err := storelocal.Open(filepath.Join(b.TempDir(), "store.db"), storelocal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	metrics, err := newMetrics(nil)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC)
	now := start
	c := &closer{
		store: s, grace: testGrace, epoch: 1, now: func() time.Time { return now }, metrics: metrics,
		log: slog.New(slog.DiscardHandler), event: record.Event{Slug: "e", Start: start, End: start.Add(time.Hour * 55)},
	}
	const perMinute = 36_000
	n := 0
	for b.Loop() {
		b.StopTimer()
		minute := start.Add(time.Duration(n/perMinute) * time.Minute)
		for range perMinute / 2000 {
			records := make([]record.Record, 2000)
			for i := range records {
				records[i], err = record.Encode(&record.Message{
					Header: record.Header{
						Event: "e", Channel: strconv.Itoa(n % 350), Time: minute.Add(time.Duration(n%60_000) * time.Millisecond),
					},
					MessageID: fmt.Sprintf("%032x", n), Chatter: fmt.Sprintf("%022d", n%20_000), Length: 20,
				})
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if _, err := s.Insert(b.Context(), records); err != nil {
				b.Fatal(err)
			}
		}
		now = minute.Add(time.Minute + testGrace)
		b.StartTimer()
		if _, err := c.step(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if c.last == nil || c.last.Messages != perMinute {
		b.Fatalf("the last minute is %+v", c.last)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
