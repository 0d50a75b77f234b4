package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
)

// Bounds of a dead letter's parts, so that it fits into every queue.
const (
	maxReasonBytes = 4 << 10
	maxHeaderBytes = 1 << 10 // the value of another of our headers; a record's id is shorter
)

// letter is a dead letter: what was refused, why, and what is known of it.
type letter struct {
	id     string
	body   []byte
	came   map[string]string // the headers of the message that it was in
	reason string
	code   string
	record string // the _id of the record, if it is of one
}

// bury publishes as dead letters the batches that could not be read and the records that the store
// refused. It returns when the queue has confirmed them.
func (c *Consumer) bury(ctx, work context.Context, g *group) error {
	letters := c.letters(g)
	if len(letters) == 0 {
		return nil
	}
	messages := make([]queue.Message, len(letters))
	for i := range letters {
		m, cut := letters[i].message()
		if cut {
			c.noteCut(&letters[i], nil)
		}
		messages[i] = m
	}
	publish := func(messages ...queue.Message) error {
		return c.retry(ctx, work, "publish dead letters", func() error {
			err := c.cfg.Queue.Publish(work, queue.Dead, messages...)
			if errors.Is(err, queue.ErrTooLarge) {
				return final{err} // the same message again would be useless
			}
			return err
		})
	}
	err := publish(messages...)
	if errors.Is(err, queue.ErrTooLarge) {
		err = nil
		for i := range letters {
			if err = publish(messages[i]); errors.Is(err, queue.ErrTooLarge) {
				// It held to the queue's own bounds, and this is far below them.
				c.noteCut(&letters[i], err)
				err = c.retry(ctx, work, "publish dead letters", func() error {
					return c.cfg.Queue.Publish(work, queue.Dead, letters[i].stub())
				})
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("publish %d dead letters: %w", len(letters), err)
	}
	c.metrics.dead.Add(float64(len(letters)))
	c.status.dead.Add(int64(len(letters)))
	return nil
}

// noteCut takes note of a letter that does not reach the dead letters whole.
func (c *Consumer) noteCut(l *letter, err error) {
	c.metrics.cut.Inc()
	c.cfg.Logger.Error("a dead letter is too large for the queue and is cut",
		"message", cutText(l.id, queue.MaxIDBytes), "bytes", len(l.body), "reason", cutText(l.reason, maxReasonBytes), "err", err)
}

func (c *Consumer) letters(g *group) []letter {
	var out []letter
	for _, p := range g.poison {
		d := &g.deliveries[p.delivery]
		c.cfg.Logger.Error("a batch can't be read; it goes to the dead letters", "message", d.ID, "err", p.err)
		out = append(out, letter{id: d.ID, body: d.Body, came: d.Headers, reason: p.err.Error(), code: record.CodeUnreadable})
	}
	for i := 0; i < len(g.load.fates); i++ {
		switch g.load.fates[i] {
		case refused:
			rec, why := &g.records[i], g.load.reasons[i]
			c.cfg.Logger.Error("the store refuses a record; it goes to the dead letters",
				"event", rec.Event, "channel", rec.Channel, "record", rec.ID, "err", why)
			out = append(out, newLetter(&g.deliveries[g.origin[i]], why.Error(), record.CodeRefused, g.records[i:i+1]))
		case frozen:
			// What a batch holds of the event is one letter.
			first := i
			for i+1 < len(g.records) && g.load.fates[i+1] == frozen &&
				g.origin[i+1] == g.origin[first] && g.records[i+1].Event == g.records[first].Event {
				i++
			}
			event := g.records[first].Event
			c.cfg.Logger.Warn("records of a frozen event go to the dead letters", "event", event, "records", i+1-first)
			out = append(out, newLetter(&g.deliveries[g.origin[first]],
				fmt.Sprintf("event %s is frozen: it takes no more records", event), record.CodeFrozen, g.records[first:i+1]))
		default: // stored, or not to be kept
		}
	}
	return out
}

// newLetter makes a letter of records that came in one delivery.
func newLetter(d *queue.Delivery, reason, code string, records []record.Record) letter {
	l := letter{id: d.ID, came: d.Headers, reason: reason, code: code}
	if len(records) == 1 {
		l.id, l.record = records[0].ID, records[0].ID
	}
	var err error
	if l.body, err = record.EncodeBatch(records, record.None); err != nil {
		// As they came: of no use to replay, but nothing is lost.
		for i := range records {
			l.body = append(l.body, records[i].Doc...)
		}
		l.reason = fmt.Sprintf("%s; documents alone, for they can't be made a batch: %v", reason, err)
	}
	return l
}

// message makes a message that holds to the bounds of every queue, and reports whether something of
// the body or of the headers that came had to be left out for that. An id that is too long is
// shortened, and a long reason too; the record's id is whole in its header.
func (l *letter) message() (m queue.Message, cut bool) {
	m = queue.Message{ID: shortID(l.id), Body: l.body}
	reason := l.reason
	if len(m.Body) > queue.MaxBodyBytes {
		cut = true
		reason = fmt.Sprintf("the first %d of %d bytes; %s", queue.MaxBodyBytes, len(m.Body), reason)
		m.Body = m.Body[:queue.MaxBodyBytes]
	}
	m.Headers = l.headers(reason)
	size := 0
	for name, value := range m.Headers {
		size += len(name) + len(value)
	}
	for _, name := range slices.Sorted(maps.Keys(l.came)) {
		if _, ours := m.Headers[name]; ours || name == HeaderRecord {
			continue
		}
		n := len(name) + len(l.came[name])
		if len(name) > queue.MaxIDBytes || size+n > queue.MaxHeaderBytes {
			cut = true
			continue
		}
		size += n
		m.Headers[name] = l.came[name]
	}
	return m, cut
}

// stub is the message for a queue that does not even take message's.
func (l *letter) stub() queue.Message {
	h := l.headers("its content was too large for the queue of dead letters: " + l.reason)
	h[HeaderReason] = cutText(h[HeaderReason], queue.MaxIDBytes)
	return queue.Message{ID: record.Hash(l.id), Headers: h}
}

// headers are those that are ours. Of a message that was replayed from the dead letters those stay
// that say when it failed first, and where.
func (l *letter) headers(reason string) map[string]string {
	h := map[string]string{
		HeaderReason: cutText(reason, maxReasonBytes),
		HeaderCode:   l.code,
		HeaderFailed: l.came[HeaderFailed],
		HeaderQueue:  cutText(l.came[HeaderQueue], maxHeaderBytes),
	}
	if _, err := time.Parse(time.RFC3339, h[HeaderFailed]); err != nil || len(h[HeaderFailed]) > maxHeaderBytes {
		h[HeaderFailed] = time.Now().UTC().Format(time.RFC3339Nano) // fails now, or says no time
	}
	if h[HeaderQueue] == "" {
		h[HeaderQueue] = queue.Store
	}
	if l.record != "" {
		h[HeaderRecord] = cutText(l.record, maxHeaderBytes)
	}
	times, err := strconv.Atoi(l.came[HeaderCount])
	if err != nil || times < 0 {
		times = 0 // never dead-lettered, or by something else
	}
	h[HeaderCount] = strconv.Itoa(times + 1)
	return h
}

// shortID is an id that a message may have: the id itself, or its beginning and a hash of all of it.
func shortID(id string) string {
	if len(id) <= queue.MaxIDBytes {
		return id
	}
	hash := "~" + record.Hash(id)
	return cutText(id, queue.MaxIDBytes-len(hash)) + hash
}

// cutText is at most n bytes of s, in valid UTF-8.
func cutText(s string, n int) string {
	if len(s) > n+3 {
		s = s[:n+3] // whatever follows is cut off all the same
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	const more = "…"
	end := n - len(more)
	for end > 0 && s[end]&0xC0 == 0x80 { // within a character
		end--
	}
	return s[:end] + more
}
