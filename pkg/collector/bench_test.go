package collector_test

import (
	"runtime"
	"testing"
)

// BenchmarkMemory is what a collector with 350 channels keeps in memory while it reads 1,000
// messages a second: the heap after a collection, the simulator beside it left out as far as
// what it had before the collector began.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		w := newWorld(b, 350, 1000)
		before := heap()
		c, stop := w.start()
		w.joined(c)
		w.sim.Begin()
		eventually(b, "nothing is sent", func() bool { return w.sim.Sent() > 5000 })
		b.ReportMetric(float64(heap()-before)/(1<<20), "MB")
		w.sent()
		stop()
		w.queue.records = nil
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
