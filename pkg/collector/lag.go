package collector

import (
	"slices"
	"sync"
	"time"
)

const (
	// lagSpan is what lags are judged over.
	lagSpan = time.Minute
	// lagLines is how many lines a judgement needs, lagKept how many of each channel are kept.
	lagLines, lagKept = 20, 64
	// A line can't be received before it was sent: a lag below leastLag is our clock's. Nor does
	// every channel come mostLag late.
	leastLag, mostLag = -time.Second, 10 * time.Second
)

// lags compares our clock with the stamps that Twitch gave to lines which were received at once.
type lags struct {
	mu    sync.Mutex
	begun time.Time
	lines int
	kept  map[string][]time.Duration // by channel

	lag time.Duration // of the last judgement
	off time.Time     // since when it is out of bounds; zero: it is not
}

// add notes how long after its stamp a channel's line was received.
func (l *lags) add(channel string, lag time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		l.kept = map[string][]time.Duration{}
	}
	if k := l.kept[channel]; len(k) < lagKept {
		l.kept[channel] = append(k, lag)
		l.lines++
	}
}

// judge looks at what was gathered, when a span of it is full.
func (l *lags) judge(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun.IsZero() {
		l.begun = now
	}
	if now.Sub(l.begun) < lagSpan {
		return
	}
	lines, kept := l.lines, l.kept
	l.begun, l.lines, l.kept = now, 0, nil
	if lines < lagLines {
		l.off = time.Time{} // nothing is known
		return
	}
	medians := make([]time.Duration, 0, len(kept))
	for _, k := range kept {
		medians = append(medians, median(k))
	}
	l.lag = median(medians)
	switch off := l.lag < leastLag || slices.Min(medians) > mostLag; {
	case !off:
		l.off = time.Time{}
	case l.off.IsZero():
		l.off = now
	}
}

// trouble says since when our clock and Twitch's are apart, and by how much.
func (l *lags) trouble() (since time.Time, lag time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off, l.lag
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
