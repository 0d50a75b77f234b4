// Package record defines what Tungstene collects: the kinds of records, their ids, their BSON
// documents and the encoding of a batch. It imports no other package of this module.
//
// A record is encoded once, by the collector that saw the fact, and its bytes are passed on
// unchanged through the outbox, the queue and the consumer into the store. A document's first five
// elements are always _id, kind, event, channel and time, in this order, so that whoever passes it
// on reads them without decoding the rest.
package record

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Kind says what a record speaks of. Kinds are open: a reader passes on those it does not know.
type Kind string

// The kinds that collectors write.
const (
	KindMessage    Kind = "message"    // one chat message (PRIVMSG)
	KindNotice     Kind = "notice"     // one USERNOTICE: sub, gift, raid, announcement, …
	KindModeration Kind = "moderation" // CLEARCHAT or CLEARMSG: ban, timeout, clear, delete
	KindRoomState  Kind = "roomstate"  // ROOMSTATE: the chat modes of a channel
	KindViewers    Kind = "viewers"    // a sample of one channel's viewer count
	KindSession    Kind = "session"    // a stream began or ended
	KindChange     Kind = "change"     // a title, category, login or display name changed
	KindCoverage   Kind = "coverage"   // which channels a connection was reading, from when to when
	KindDropped    Kind = "dropped"    // what a collector had no room for
	KindDonation   Kind = "donation"   // one donation, as a charity source tells it
	KindAmount     Kind = "amount"     // a sample of the running total that a charity source shows
	KindAnswer     Kind = "answer"     // an answer of a charity source, as it came
)

// Counted reports whether statistics speak of records of this kind: whether one more can change a
// statistics document. Of a kind that is not known they don't.
func (k Kind) Counted() bool {
	switch k {
	case KindMessage, KindNotice, KindModeration, KindViewers, KindCoverage, KindDonation, KindAmount:
		return true
	case KindRoomState, KindSession, KindChange, KindDropped, KindAnswer:
		return false
	}
	return false
}

// Bounds that Validate and Parse hold to.
const (
	MaxDocumentBytes = 4 << 20 // one record's document; MongoDB's own limit is 16 MiB
	MaxSlugBytes     = 64      // an event's slug, a kind
	MaxIDBytes       = 512     // a whole _id
	MaxNesting       = 100     // documents and arrays within each other; MongoDB's own limit
)

// Header is the part that every document has. It is embedded inline and comes first.
type Header struct {
	// ID is event, kind and fact joined by "/". Encode sets it.
	ID string `bson:"_id"`
	// Kind is set by Encode.
	Kind Kind `bson:"kind"`
	// Event is the slug of the event: lower-case letters, digits and dashes.
	Event string `bson:"event"`
	// Channel is the Twitch id of the channel; empty where the record speaks of several (coverage).
	Channel string `bson:"channel"`
	// Time is when it happened, UTC, in milliseconds: tmi-sent-ts, or the sample's scheduled slot.
	Time time.Time `bson:"time"`
	// Received is when the collector had it, by the collector's clock.
	Received time.Time `bson:"received"`
	// Origin is empty for what was collected live, else says where it came from ("backfill:…").
	Origin string `bson:"origin,omitempty"`
}

func (h *Header) header() *Header { return h }

// Record is one encoded document with its header read out of it.
// Doc is shared, never changed.
type Record struct {
	ID      string
	Kind    Kind
	Event   string
	Channel string
	Time    time.Time
	Doc     bson.Raw
}

// Document is one of this package's document types. What identifies a document within its event
// and kind is its fact: two documents of the same fact are the same record.
type Document interface {
	header() *Header
	kind() Kind
	// fact returns what identifies the document within its event and kind, from Twitch's own id
	// where there is one.
	fact() string
}

// checked is a Document with more to check than that its header is whole.
type checked interface{ check() error }

// ErrInvalid is wrapped by every error about a document that can't be a record.
var ErrInvalid = errors.New("invalid record")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Encode completes the document's header (id, kind, times in UTC milliseconds) and encodes it.
func Encode(d Document) (Record, error) {
	h := d.header()
	h.Kind = d.kind()
	if c, ok := d.(checked); ok {
		if err := c.check(); err != nil {
			return Record{}, err
		}
	}
	fact := d.fact()
	if fact == "" {
		return Record{}, invalid("a %s of event %q has no fact to identify it", h.Kind, h.Event)
	}
	var err error
	if h.ID, err = ID(h.Event, h.Kind, fact); err != nil {
		return Record{}, err
	}
	if h.Time.IsZero() {
		return Record{}, invalid("%s has no time", h.ID)
	}
	h.Time = Millis(h.Time)
	h.Received = Millis(h.Received)
	doc, err := bson.Marshal(d)
	if err != nil {
		return Record{}, fmt.Errorf("encode %s: %w", h.ID, err)
	}
	if len(doc) > MaxDocumentBytes {
		return Record{}, invalid("%s has %d bytes, the most is %d", h.ID, len(doc), MaxDocumentBytes)
	}
	if !validText(doc) {
		return Record{}, invalid("%s holds text that is not UTF-8", h.ID)
	}
	return Record{ID: h.ID, Kind: h.Kind, Event: h.Event, Channel: h.Channel, Time: h.Time, Doc: doc}, nil
}

// validText reports whether all text in a well-formed document is UTF-8. The driver encodes any
// bytes, and readers fail on them much later.
func validText(doc bsoncore.Document) bool {
	_, rest, _ := bsoncore.ReadLength(doc)
	for len(rest) > 1 {
		elem, after, ok := bsoncore.ReadElement(rest)
		if !ok || !utf8.Valid(elem.KeyBytes()) {
			return false
		}
		switch value := elem.Value(); value.Type {
		case bsoncore.TypeString:
			if !utf8.Valid(value.Data[4 : len(value.Data)-1]) {
				return false
			}
		case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
			if !validText(value.Data) {
				return false
			}
		default: // no text
		}
		rest = after
	}
	return true
}

// sound reports whether a document, and whatever is within it, is well-formed BSON that is nested no
// deeper than MaxNesting. The driver's own Validate looks at the outermost one alone.
func sound(doc bsoncore.Document, depth int) error {
	if depth > MaxNesting {
		return fmt.Errorf("it is nested deeper than %d", MaxNesting)
	}
	if err := doc.Validate(); err != nil {
		return err //nolint:wrapcheck // Parse says what it is about
	}
	_, rest, _ := bsoncore.ReadLength(doc)
	for len(rest) > 1 {
		elem, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			return bsoncore.NewInsufficientBytesError(doc, rest)
		}
		switch value := elem.Value(); value.Type {
		case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
			if err := sound(value.Data, depth+1); err != nil {
				return err
			}
		case bsoncore.TypeString:
			// One of no length, without even its end, passes Validate and panics whoever reads it.
			if n := len(value.Data); n < 5 || value.Data[n-1] != 0 {
				return fmt.Errorf("string %.80q has no end", elem.Key())
			}
		default: // Validate has looked at it
		}
		rest = after
	}
	return nil
}

// Parse reads the header out of an encoded document, which it checks to be well-formed BSON with
// the five leading elements. It keeps doc, without copying.
func Parse(doc []byte) (Record, error) {
	if len(doc) > MaxDocumentBytes {
		return Record{}, invalid("a document of %d bytes, the most is %d", len(doc), MaxDocumentBytes)
	}
	if err := sound(doc, 1); err != nil {
		return Record{}, invalid("not BSON: %v", err)
	}
	length, rest, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) {
		return Record{}, invalid("the document says %d bytes and has %d", length, len(doc))
	}
	var (
		r    Record
		text [4]string
	)
	for i, key := range [...]string{"_id", "kind", "event", "channel"} {
		var (
			elem bsoncore.Element
			ok   bool
		)
		elem, rest, ok = bsoncore.ReadElement(rest)
		if !ok || elem.Key() != key {
			return Record{}, invalid("element %d is not %s", i+1, key)
		}
		if text[i], ok = elem.Value().StringValueOK(); !ok {
			return Record{}, invalid("%s is not a string", key)
		}
	}
	elem, _, ok := bsoncore.ReadElement(rest)
	if !ok || elem.Key() != "time" {
		return Record{}, invalid("element 5 is not time")
	}
	ms, ok := elem.Value().DateTimeOK()
	if !ok {
		return Record{}, invalid("time is not a date")
	}
	r = Record{
		ID: text[0], Kind: Kind(text[1]), Event: text[2], Channel: text[3],
		Time: time.UnixMilli(ms).UTC(), Doc: bson.Raw(doc),
	}
	prefix := r.Event + "/" + string(r.Kind) + "/"
	if !strings.HasPrefix(r.ID, prefix) || len(r.ID) == len(prefix) || len(r.ID) > MaxIDBytes || !utf8.ValidString(r.ID) {
		return Record{}, invalid("_id %.80q is not its event, kind and a fact, or is too long", r.ID)
	}
	if !validSlug(r.Event) || !validSlug(string(r.Kind)) {
		return Record{}, invalid("event %.80q or kind %.80q is not a slug", r.Event, r.Kind)
	}
	return r, nil
}

// Decode fills one of this package's document types from an encoded record.
func Decode(doc bson.Raw, into any) error {
	if err := bson.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	return nil
}

// ID joins event, kind and fact into a record's _id.
func ID(event string, kind Kind, fact string) (string, error) {
	if !validSlug(event) {
		return "", invalid("event %.80q: use 1 to %d lower-case letters, digits and dashes", event, MaxSlugBytes)
	}
	if !validSlug(string(kind)) {
		return "", invalid("kind %.80q: use 1 to %d lower-case letters, digits and dashes", kind, MaxSlugBytes)
	}
	id := event + "/" + string(kind) + "/" + fact
	if len(id) > MaxIDBytes || !utf8.ValidString(fact) || strings.ContainsRune(fact, 0) {
		return "", invalid("fact %.80q: use valid UTF-8 of less than %d bytes", fact, MaxIDBytes)
	}
	return id, nil
}

// ValidSlug reports whether s can name an event: 1 to 64 of a-z, 0-9 and dash.
func ValidSlug(s string) bool { return validSlug(s) }

func validSlug(s string) bool {
	if s == "" || len(s) > MaxSlugBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Hash makes a fact out of parts where Twitch gives no id: 22 characters of URL-safe base64, from
// the first 128 bits of a SHA-256 over the parts with their lengths.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Millis is t in UTC, cut to milliseconds, as every stored time is.
func Millis(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

// Minute is the start of t's minute, UTC.
func Minute(t time.Time) time.Time { return t.UTC().Truncate(time.Minute) }
