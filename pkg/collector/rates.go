package collector

import (
	"context"
	"math"
	"sync"
	"time"
)

// rateSeconds is the span that rates are taken over.
const rateSeconds = 10

// rates counts messages per channel and second.
type rates struct {
	mu       sync.Mutex
	channels map[string]*[rateSeconds]int64
	slot     int
}

func newRates() *rates { return &rates{channels: map[string]*[rateSeconds]int64{}} }

func (r *rates) count(channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.channels[channel]
	if c == nil {
		c = new([rateSeconds]int64)
		r.channels[channel] = c
	}
	c[r.slot]++
}

// keep forgets channels that are not read any more.
func (r *rates) keep(channels map[string]*plannedChannel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.channels {
		if channels[id] == nil {
			delete(r.channels, id)
		}
	}
}

// run moves on to the next second's slot, every second.
func (r *rates) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		r.mu.Lock()
		r.slot = (r.slot + 1) % rateSeconds
		for _, c := range r.channels {
			c[r.slot] = 0
		}
		r.mu.Unlock()
	}
}

// now is the messages per second of all channels, and of each that has at least 0.1.
func (r *rates) now() (total float64, byChannel map[string]float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byChannel = make(map[string]float64, len(r.channels))
	for id, slots := range r.channels {
		var n int64
		for _, v := range slots {
			n += v
		}
		rate := math.Round(float64(n)/rateSeconds*10) / 10
		total += float64(n) / rateSeconds
		if rate >= 0.1 {
			byChannel[id] = rate
		}
	}
	return math.Round(total*10) / 10, byChannel
}
