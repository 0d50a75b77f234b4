// Package verify compares what was sent with what is stored: a ledger of messages with the records
// and the closed minute documents of an event.
package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
)

// Store is the part of a store that is read.
type Store interface {
	Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error]
	Get(ctx context.Context, c store.Collection, id string) (bson.Raw, error)
}

// Result is what a comparison found. Its JSON is the last line that `demo --json` and
// `verify --json` print.
type Result struct {
	// Sent counts the ledger's messages within the event; a shared-chat copy is no message.
	Sent int64 `json:"sent"`
	// Stored counts those of them that the store has.
	Stored int64 `json:"stored"`
	// Lost is Sent less Stored, lost copies included.
	Lost int64 `json:"lost"`
	// Duplicates counts stored records of a message beyond its first.
	Duplicates int64 `json:"duplicates"`
	// RollupMessages is the sum over the event's closed minute documents.
	RollupMessages    int64   `json:"rollup_messages"`
	MessagesPerSecond float64 `json:"messages_per_second"`
	// The latencies are from when a message was sent until it could be read in the store, where
	// that was measured (demo); else until the collector received it.
	LatencyP50 float64 `json:"latency_ms_p50"`
	LatencyP99 float64 `json:"latency_ms_p99"`
	Channels   int     `json:"channels"`
	Collectors int     `json:"collectors"`
	// Seconds is the time between the first and the last message.
	Seconds float64 `json:"seconds"`

	Event string `json:"event"`
	// Outside counts messages of the ledger whose time lies outside of the event; nothing keeps
	// them. Unexpected counts stored messages that the ledger does not have.
	Outside    int64 `json:"outside"`
	Unexpected int64 `json:"unexpected"`
	// MinutesCompared counts closed minute documents of channels, MinutesDiffering those that
	// don't say what the ledger says, MinutesOpen the event's minutes with messages that are not
	// closed.
	MinutesCompared  int64 `json:"minutes_compared"`
	MinutesDiffering int64 `json:"minutes_differing"`
	MinutesOpen      int64 `json:"minutes_open"`
	// Examples are some of what is wrong, in words.
	Examples []string `json:"examples,omitempty"`
}

// OK reports whether nothing is lost or doubled and no closed minute differs.
func (r Result) OK() bool {
	return r.Lost == 0 && r.Duplicates == 0 && r.MinutesDiffering == 0
}

// maxExamples bounds what is told in words.
const maxExamples = 10

func (r *Result) example(format string, args ...any) {
	if len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, fmt.Sprintf(format, args...))
	}
}

// key is a message of the ledger, hashed so that millions fit into memory.
type key [16]byte

func keyOf(id string) key {
	s := sha256.Sum256([]byte(id))
	return key(s[:16])
}

// What the ledger says of a message, and whether the store has it.
const (
	told   uint8 = 1 << iota // in the ledger
	shared                   // a shared-chat copy
	found                    // in the store
)

// cell is a channel's minute.
type cell struct {
	channel string
	minute  int64 // Unix
}

type count struct{ messages, emotes int64 }

// comparison is one run.
type comparison struct {
	Result
	event    record.Event
	byLogin  map[string]string
	ledger   map[key]uint8 // of told, shared, found
	expected map[cell]count
	emotes   bool // the ledger tells emotes
	first    int64
	last     int64
}

// Run compares a ledger with an event in a store. An empty event means the only one there is.
func Run(ctx context.Context, s Store, event string, ledger iter.Seq2[sim.Entry, error]) (Result, error) {
	ev, err := FindEvent(ctx, s, event)
	if err != nil {
		return Result{}, err
	}
	c := &comparison{
		event: ev, byLogin: map[string]string{}, ledger: map[key]uint8{}, expected: map[cell]count{},
		first: math.MaxInt64,
	}
	c.Event = ev.Slug
	for _, step := range []func() error{
		func() error { return c.readChannels(ctx, s) },
		func() error { return c.readLedger(ledger) },
		func() error { return c.readRecords(ctx, s) },
		func() error { return c.readMinutes(ctx, s) },
		func() error { return c.readCollectors(ctx, s) },
	} {
		if err := step(); err != nil {
			return c.Result, err
		}
	}
	return c.Result, nil
}

// ErrSeveral says that the store has several events and none was named.
var ErrSeveral = errors.New("the store has several events: name one with --event")

// FindEvent returns the event of a slug, or the only one there is for an empty slug.
func FindEvent(ctx context.Context, s Store, slug string) (record.Event, error) {
	var ev record.Event
	if slug != "" {
		raw, err := s.Get(ctx, store.Events, slug)
		if err != nil {
			return ev, fmt.Errorf("event %s: %w", slug, err)
		}
		err = record.Decode(raw, &ev)
		return ev, err
	}
	n := 0
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Events, Limit: 2}) {
		if err != nil {
			return ev, fmt.Errorf("list events: %w", err)
		}
		if err := record.Decode(raw, &ev); err != nil {
			return ev, err
		}
		n++
	}
	switch n {
	case 0:
		return ev, fmt.Errorf("the store has no event: %w", store.ErrNotFound)
	case 1:
		return ev, nil
	}
	return ev, ErrSeveral
}

func (c *comparison) readChannels(ctx context.Context, s Store) error {
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Channels, Event: c.Event}) {
		if err != nil {
			return fmt.Errorf("list channels: %w", err)
		}
		var ch record.Channel
		if err := record.Decode(raw, &ch); err != nil {
			return err
		}
		if ch.Channel != "" {
			c.byLogin[ch.Login] = ch.Channel
		}
	}
	return nil
}

func (c *comparison) readLedger(ledger iter.Seq2[sim.Entry, error]) error {
	channels := map[string]bool{}
	for e, err := range ledger {
		if err != nil {
			return err
		}
		at := time.UnixMilli(e.SentMS)
		if at.Before(c.event.Start) || !at.Before(c.event.End) {
			c.Outside++
			continue
		}
		k := keyOf(e.ID)
		if c.ledger[k] != 0 {
			continue // told twice
		}
		c.ledger[k] = told
		if e.Shared {
			c.ledger[k] |= shared
		}
		channels[e.Channel] = true
		c.emotes = c.emotes || e.Emotes > 0
		if e.Shared {
			continue
		}
		c.Sent++
		c.first, c.last = min(c.first, e.SentMS), max(c.last, e.SentMS)
		channel := e.Room
		if channel == "" {
			channel = c.byLogin[e.Channel]
		}
		at = record.Minute(at)
		n := c.expected[cell{channel, at.Unix()}]
		n.messages++
		n.emotes += int64(e.Emotes)
		c.expected[cell{channel, at.Unix()}] = n
	}
	c.Channels = len(channels)
	if c.Sent > 0 {
		c.Seconds = float64(c.last-c.first) / 1000
	}
	if c.Seconds > 0 {
		c.MessagesPerSecond = math.Round(float64(c.Sent)/c.Seconds*10) / 10
	}
	return nil
}

func (c *comparison) readRecords(ctx context.Context, s Store) error {
	var latency Latency
	q := store.Query{Collection: store.Records, Event: c.Event, Kind: record.KindMessage}
	for raw, err := range s.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the stored messages: %w", err)
		}
		id, _ := raw.Lookup("message").StringValueOK()
		k := keyOf(id)
		m := c.ledger[k]
		switch {
		case m == 0:
			c.Unexpected++
		case m&found != 0:
			c.Duplicates++
			c.example("message %s is stored more than once", id)
		default:
			c.ledger[k] = m | found
			if m&shared == 0 {
				c.Stored++
			}
			at, ok := raw.Lookup("time").DateTimeOK()
			received, ok2 := raw.Lookup("received").DateTimeOK()
			if ok && ok2 {
				latency.Add(time.Duration(received-at) * time.Millisecond)
			}
		}
	}
	for _, m := range c.ledger {
		if m&found == 0 {
			c.Lost++
		}
	}
	if c.Lost > 0 {
		c.example("%d of %d messages of the ledger are not in the store", c.Lost, len(c.ledger))
	}
	c.LatencyP50, c.LatencyP99 = latency.Quantile(0.5), latency.Quantile(0.99)
	return nil
}

func (c *comparison) readMinutes(ctx context.Context, s Store) error {
	closed := map[int64]bool{}
	got := map[cell]count{}
	sums := map[int64]int64{}
	events := map[int64]int64{}
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Minutes, Event: c.Event}) {
		if err != nil {
			return fmt.Errorf("read the minute documents: %w", err)
		}
		var d record.Statistics
		if err := record.Decode(raw, &d); err != nil {
			return err
		}
		if d.State != record.StateClosed {
			continue
		}
		at := d.Time.Unix()
		closed[at] = true
		if d.Channel == record.AllChannels {
			c.RollupMessages += d.Messages
			events[at] = d.Messages
			continue
		}
		got[cell{d.Channel, at}] = count{d.Messages, d.Emotes.Total}
		sums[at] += d.Messages
	}
	open := map[int64]bool{}
	for _, at := range slices.SortedFunc(maps.Keys(c.expected), byMinute) {
		if !closed[at.minute] {
			open[at.minute] = true
			continue
		}
		if _, ok := got[at]; !ok {
			got[at] = count{}
		}
	}
	c.MinutesOpen = int64(len(open))
	for _, at := range slices.SortedFunc(maps.Keys(got), byMinute) {
		c.MinutesCompared++
		want, have := c.expected[at], got[at]
		when := time.Unix(at.minute, 0).UTC().Format(time.RFC3339)
		if have.messages != want.messages {
			c.MinutesDiffering++
			c.example("channel %s, minute %s: %d messages in the closed document, %d in the ledger",
				at.channel, when, have.messages, want.messages)
		} else if c.emotes && have.emotes != want.emotes {
			c.MinutesDiffering++
			c.example("channel %s, minute %s: %d emotes in the closed document, %d in the ledger",
				at.channel, when, have.emotes, want.emotes)
		}
	}
	for at, n := range events {
		if n != sums[at] {
			c.MinutesDiffering++
			c.example("minute %s: %d messages in the event's document, %d in those of its channels",
				time.Unix(at, 0).UTC().Format(time.RFC3339), n, sums[at])
		}
	}
	return nil
}

func byMinute(a, b cell) int {
	return cmp.Or(cmp.Compare(a.minute, b.minute), cmp.Compare(a.channel, b.channel))
}

func (c *comparison) readCollectors(ctx context.Context, s Store) error {
	for raw, err := range s.Find(ctx, store.Query{Collection: store.Members}) {
		if err != nil {
			return fmt.Errorf("list members: %w", err)
		}
		if role, ok := raw.Lookup("role").StringValueOK(); ok && role == control.RoleCollector {
			c.Collectors++
		}
	}
	return nil
}
