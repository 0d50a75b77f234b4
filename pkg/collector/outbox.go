package collector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
)

// outboxMargin is what the file takes beyond the outbox's bound: room for the word on what was
// dropped for lack of room.
const outboxMargin = 1 << 20

// outbox is the queue on disk with its bounds, and how fast it fills.
type outbox struct {
	*local.Queue
	bytes int64
	age   time.Duration // NoAge: no bound

	mu   sync.Mutex
	fill fill
}

// admit publishes what the bounds allow, from the front, and says how many messages that were. Beyond
// them the error wraps local.ErrFull.
func (o *outbox) admit(ctx context.Context, messages ...queue.Message) (n int, err error) {
	_, bytes, oldest, err := o.Stats(ctx)
	if err != nil {
		return 0, err
	}
	if o.age > 0 && !oldest.IsZero() && time.Since(oldest) > o.age {
		return 0, fmt.Errorf("%w: its oldest records have waited since %s, longer than %s (collector.outbox_age)",
			local.ErrFull, oldest.UTC().Format(time.DateTime), o.age)
	}
	fit := bytes
	for n < len(messages) && fit+int64(len(messages[n].Body)) <= o.bytes {
		fit += int64(len(messages[n].Body))
		n++
	}
	if n > 0 {
		if err := o.Publish(ctx, outboxQueue, messages[:n]...); err != nil {
			return 0, err
		}
	}
	if n < len(messages) {
		err = fmt.Errorf("%w: %s of %s are taken (collector.outbox_bytes)", local.ErrFull, bytesText(fit), bytesText(o.bytes))
	}
	return n, err
}

// observe looks at the outbox. Call it every second.
func (o *outbox) observe(ctx context.Context, now time.Time) {
	_, bytes, oldest, err := o.Stats(ctx)
	if err != nil {
		return // the batcher has the same trouble, and tells it
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fill.observe(now, bytes, oldest)
}

// left is how long the outbox takes what comes; 0 when it is not filling.
func (o *outbox) left() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	left, _ := o.fill.left(o.bytes, o.age)
	return left
}

// conditions is outbox-filling.
func (o *outbox) conditions(policy Policy) []control.Condition {
	o.mu.Lock()
	defer o.mu.Unlock()
	left, byAge := o.fill.left(o.bytes, o.age)
	if left == 0 {
		return nil
	}
	then := "nothing more is read then"
	if policy == Drop {
		then = "what arrives then is dropped"
	}
	last := o.fill.points[len(o.fill.points)-1]
	detail := fmt.Sprintf("the outbox holds %s of %s; at the present rate it is full in %s, and %s: see to the queue",
		bytesText(last.bytes), bytesText(o.bytes), roughly(left), then)
	if byAge {
		detail = fmt.Sprintf("the outbox holds %s of %s, its oldest records have waited for %s of %s; it counts as full in %s, and %s: see to the queue",
			bytesText(last.bytes), bytesText(o.bytes), roughly(last.at.Sub(o.fill.oldest)), roughly(o.age), roughly(left), then)
	}
	return []control.Condition{{Name: "outbox-filling", Since: o.fill.since(), Detail: detail}}
}

const (
	// fillAfter is how long the outbox must have grown to be called filling.
	fillAfter = 30 * time.Second
	// fillLook is how far back it is compared.
	fillLook = 15 * time.Second
	// fillWindow is what its rate is taken over, at the most.
	fillWindow = 5 * time.Minute
)

// fill is how an outbox grows: whenever it holds more than it did fillLook ago. What is emptied every
// moment has nothing old in it, and what is drained holds less and less.
type fill struct {
	begun  time.Time // of this growth; zero: none
	points []point   // the last fillWindow
	oldest time.Time // the oldest batch; zero: none
}

type point struct {
	at    time.Time
	bytes int64
}

func (f *fill) observe(now time.Time, bytes int64, oldest time.Time) {
	f.oldest = oldest
	f.points = append(f.points, point{now, bytes})
	if i := slices.IndexFunc(f.points, func(p point) bool { return now.Sub(p.at) <= fillWindow }); i > 0 {
		f.points = slices.Delete(f.points, 0, i)
	}
	before := f.at(now.Add(-fillLook))
	switch {
	case oldest.IsZero() || bytes <= before.bytes:
		f.begun = time.Time{}
	case f.begun.IsZero():
		f.begun = before.at
	}
}

// at is the first point at or after a moment. There is one.
func (f *fill) at(t time.Time) point {
	return f.points[slices.IndexFunc(f.points, func(p point) bool { return !p.at.Before(t) })]
}

// since is when the growth began.
func (f *fill) since() time.Time { return f.begun }

// left is how long it takes until a bound is reached, at least a second; 0 when it is not filling.
func (f *fill) left(bytes int64, age time.Duration) (left time.Duration, byAge bool) {
	if f.begun.IsZero() {
		return 0, false
	}
	last := f.points[len(f.points)-1]
	if last.at.Sub(f.begun) < fillAfter || last.at.Sub(f.oldest) < fillAfter {
		return 0, false
	}
	const longest = 1000 * time.Hour
	left = longest
	first := f.at(f.begun)
	if f.oldest.After(first.at) {
		first = f.at(f.oldest) // what was there before has been sent
	}
	if rate := float64(last.bytes-first.bytes) / last.at.Sub(first.at).Seconds(); rate > 0 {
		left = time.Duration(min(float64(bytes-last.bytes)/rate, longest.Seconds()) * float64(time.Second))
	}
	if age > 0 && age-last.at.Sub(f.oldest) < left {
		left, byAge = age-last.at.Sub(f.oldest), true
	}
	return max(left, time.Second), byAge
}

// bytesText is a size for people: 1.2 GiB.
func bytesText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	text := fmt.Sprintf("%.1f", v)
	if text[len(text)-2:] == ".0" {
		text = text[:len(text)-2]
	}
	return text + " " + units[u]
}

// roughly is a duration for people: 3h12m.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Round(time.Minute)/time.Minute))
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d/time.Hour), int(d%time.Hour/time.Minute))
}
