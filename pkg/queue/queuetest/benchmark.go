package queuetest

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue"
)

// The batch that benchmarks send.
const (
	batchRecords = 500
	recordBytes  = 300
	publishers   = 4
)

// BenchmarkPublish sends b.N batches of 500 records of 300 B from four publishers, each waiting for
// the last, while one subscriber receives and acknowledges them, and reports records per second from
// end to end.
func BenchmarkPublish(b *testing.B, q queue.Queue) {
	b.Helper()
	body := make([]byte, batchRecords*recordBytes)
	if _, err := rand.Read(body); err != nil {
		b.Fatal(err)
	}
	deliveries, err := q.Subscribe(b.Context(), queue.Store, 64)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	var sent atomic.Int64
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				if err := q.Publish(b.Context(), queue.Store, queue.Message{ID: "b", Body: body}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for range b.N {
		if err := Receive(b, deliveries).Ack(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	publishing.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)*batchRecords/b.Elapsed().Seconds(), "records/s")
}
