package chat

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// shortest is the shortest span that is cut off a connection that goes on with the same channels.
const shortest = time.Second

// timeline is what one connection was reading, and until when. Its segments follow each other
// without a hole: each ends where the next begins, the last at the last line received.
type timeline struct {
	segments []segment
	to       time.Time // the last line whose sink call has returned
}

type segment struct {
	from     time.Time
	channels []string // sorted ids, never changed
}

// change says that from at on the connection reads these channels. What went before it is proven
// only by the next line.
func (t *timeline) change(at time.Time, channels []string) {
	at = record.Millis(at)
	if at.Before(t.to) {
		at = t.to // the clock was set back
	}
	if n := len(t.segments); n > 0 {
		last := &t.segments[n-1]
		if !at.After(last.from) {
			last.channels = channels
			return
		}
	}
	t.segments = append(t.segments, segment{from: at, channels: channels})
}

// advance says that a line was received at a time, and handed over.
func (t *timeline) advance(at time.Time) {
	if at = record.Millis(at); at.After(t.to) {
		t.to = at
	}
}

// cut takes away what is covered before limit. Of a connection that has ended nothing is held back.
func (t *timeline) cut(connection string, limit time.Time, ended bool, out []Span) []Span {
	end := t.to
	if limit = record.Millis(limit); !ended && limit.Before(end) {
		end = limit
	}
	for len(t.segments) > 0 {
		s := &t.segments[0]
		until, closed := end, ended
		if len(t.segments) > 1 && !t.segments[1].from.After(end) {
			until, closed = t.segments[1].from, true
		}
		for s.from.Before(until) {
			to := record.Minute(s.from).Add(time.Minute)
			if until.Before(to) {
				if to = until; !closed && to.Sub(s.from) < shortest {
					return out
				}
			}
			if len(s.channels) > 0 {
				out = append(out, Span{Connection: connection, Channels: s.channels, From: s.from, To: to})
			}
			s.from = to
		}
		if len(t.segments) == 1 || t.segments[1].from.After(end) {
			return out
		}
		t.segments = t.segments[1:]
	}
	return out
}
