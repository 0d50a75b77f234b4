package sim_test

import (
	"io"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/sim"
)

// BenchmarkMessages is the most that the simulator can send: 350 channels, every message to two
// connections whose other ends only read.
func BenchmarkMessages(b *testing.B) {
	clk := &handClock{now: time.UnixMilli(1_795_317_660_000), changed: make(chan struct{})}
	s := start(b, sim.Config{Rate: 5000, Burst: 1, Clock: clk, Ledger: io.Discard})
	for _, nick := range []string{"justinfan1", "justinfan2"} {
		c := login(b, s, nick)
		c.join(s.Logins()...)
		if err := c.conn.SetDeadline(time.Time{}); err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, c.conn) }()
	}
	s.Begin()
	b.ReportAllocs()
	b.ResetTimer()
	// In steps, so that the buffers hold.
	for sent, want := int64(0), int64(0); sent < int64(b.N); sent = s.Sent() {
		if sent >= want {
			clk.advance(time.Second)
			want += 5000
		}
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(s.Sent())/b.Elapsed().Seconds(), "messages/s")
}
