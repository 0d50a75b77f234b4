package verify

import (
	"math"
	"sync"
	"time"
)

// Latency gathers durations in buckets that are one per cent apart, from 0.1 ms to a day. Its zero
// value is ready, and it is safe for concurrent use.
type Latency struct {
	mu      sync.Mutex
	buckets [latencyBuckets]int64
	n       int64
}

const (
	latencyBuckets = 2100
	latencyStep    = 1.01
	latencyLeast   = 0.1 // milliseconds
)

// Add takes one duration. Negative ones, of clocks that are apart, count as zero.
func (l *Latency) Add(d time.Duration) {
	ms := float64(d) / float64(time.Millisecond)
	i := 0
	if ms > latencyLeast {
		i = min(int(math.Log(ms/latencyLeast)/math.Log(latencyStep))+1, latencyBuckets-1)
	}
	l.mu.Lock()
	l.buckets[i]++
	l.n++
	l.mu.Unlock()
}

// Quantile is the q-quantile in milliseconds, at most one per cent too high; 0 when nothing was
// added.
func (l *Latency) Quantile(q float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == 0 {
		return 0
	}
	rank, seen := int64(math.Ceil(q*float64(l.n))), int64(0)
	for i, n := range &l.buckets {
		if seen += n; seen >= rank && n > 0 {
			return math.Round(latencyLeast*math.Pow(latencyStep, float64(i))*10) / 10
		}
	}
	return math.Inf(1)
}
