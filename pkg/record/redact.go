package record

import (
	"encoding/binary"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Redaction is what Redact did to a record.
type Redaction int

const (
	// Kept means that the record speaks of none of these people.
	Kept Redaction = iota
	// Changed means that it mentions one of them, and that what Redact returned does not.
	Changed
	// Removed means that it is a record of one of them: it must not be stored at all.
	Removed
)

// Erased stands in texts where the pseudonym of a forgotten person was. Fields that were nothing but
// the pseudonym are empty instead.
const Erased = "[erased]"

// pseudonymBytes is the length of what Pseudonyms make.
const pseudonymBytes = 22

// Redact takes people out of a record that Encode, Parse or DecodeBatch gave. people reports whether a
// pseudonym, of an id or of a name, is that of one of them.
//
//   - A record of which one of them is the chatter (author, banned, whose message was deleted) or the
//     recipient is Removed, and comes back as it was.
//   - A donation of one of them stays, for the money was given, and keeps nothing of who gave it: neither
//     donor, country and text nor the source's row. It is Changed.
//   - A reply to one of them keeps that it is a reply, but not to whom, to which message and in which
//     thread. A reply to another keeps its thread: nothing tells who began that.
//   - Everywhere else (mentions in the text, the parameters of a notice, whatever field a later
//     version adds) a string that is the pseudonym becomes empty, and Erased replaces it within a longer
//     one. The header (_id, kind, event, channel, time) is never touched: it speaks of no chatter.
//
// Within longer strings only what has the form of a pseudonym is asked for, at any place: Twitch's
// texts have names within words. Doing it twice is doing it once, and the result is never larger.
func Redact(r Record, people func(pseudonym string) bool) (Record, Redaction) {
	_, body, _ := bsoncore.ReadLength(r.Doc)
	touched, gave := false, false
	for rest, n := body, 0; len(rest) > 1; n++ {
		elem, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			break
		}
		rest = after
		if n < headerElements {
			continue
		}
		switch key := elem.Key(); key {
		case "chatter", "recipient":
			if s, ok := elem.Value().StringValueOK(); ok && s != "" && people(s) {
				return r, Removed
			}
		case "donor":
			if s, ok := elem.Value().StringValueOK(); ok && s != "" && people(s) {
				gave = gave || r.Kind == KindDonation
			}
		}
		touched = touched || mentions(elem.Value(), people)
	}
	if !touched {
		return r, Kept
	}
	if gave {
		r.Doc, _ = without(r.Doc, ofDonor)
	}
	r.Doc = redactDocument(r.Doc, headerElements, people)
	return r, Changed
}

// WithoutText is a record without the text that somebody wrote, and whether it had one.
func WithoutText(r Record) (Record, bool) {
	switch r.Kind {
	case KindMessage, KindNotice, KindDonation:
		return r.without(func(key string) bool { return key == "text" })
	default:
		return r, false
	}
}

// WithoutRaw is a donation without the source's row, and whether it had one.
func WithoutRaw(r Record) (Record, bool) {
	if r.Kind != KindDonation {
		return r, false
	}
	return r.without(func(key string) bool { return key == "raw" })
}

// WithoutDonor is a donation without all that it says of who gave it, the source's row included, and
// whether it said anything.
func WithoutDonor(r Record) (Record, bool) {
	if r.Kind != KindDonation {
		return r, false
	}
	return r.without(ofDonor)
}

// ofDonor reports whether an element of a Donation speaks of who gave it.
func ofDonor(key string) bool {
	switch key {
	case "donor", "country", "length", "text", "raw":
		return true
	}
	return false
}

func (r Record) without(gone func(key string) bool) (Record, bool) {
	doc, had := without(r.Doc, gone)
	r.Doc = doc
	return r, had
}

// without is a document without some of the elements that come after the header's, and whether it had any.
func without(doc []byte, gone func(key string) bool) ([]byte, bool) {
	out := make([]byte, 4, len(doc))
	_, rest, _ := bsoncore.ReadLength(doc)
	had := false
	for n := 0; len(rest) > 1; n++ {
		elem, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			return doc, false // Parse has read it to its end
		}
		if n >= headerElements && gone(elem.Key()) {
			had = true
		} else {
			out = append(out, elem...)
		}
		rest = after
	}
	if !had {
		return doc, false
	}
	out = append(out, 0)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out, true
}

// headerElements is the number of leading elements that Parse reads.
const headerElements = 5

// mentions reports whether a value holds one of people anywhere.
func mentions(v bsoncore.Value, people func(string) bool) bool {
	switch v.Type {
	case bsoncore.TypeString:
		s, ok := v.StringValueOK()
		return ok && (s != "" && people(s) || find(s, people) >= 0)
	case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
		_, rest, _ := bsoncore.ReadLength(v.Data)
		for len(rest) > 1 {
			elem, after, ok := bsoncore.ReadElement(rest)
			if !ok {
				return false
			}
			if mentions(elem.Value(), people) {
				return true
			}
			rest = after
		}
	default: // nothing that could name someone
	}
	return false
}

// redactDocument rewrites all elements but the first skip.
func redactDocument(doc []byte, skip int, people func(string) bool) []byte {
	out := make([]byte, 4, len(doc))
	_, rest, _ := bsoncore.ReadLength(doc)
	for n := 0; len(rest) > 1; n++ {
		elem, after, ok := bsoncore.ReadElement(rest)
		if !ok {
			break
		}
		v := elem.Value()
		switch {
		case n < skip || !mentions(v, people):
			out = append(out, elem...)
		case v.Type == bsoncore.TypeString:
			out = bsoncore.AppendStringElement(out, elem.Key(), redactText(v.StringValue(), people))
		case skip > 0 && elem.Key() == "reply" && isReplyTo(v, people):
			out = bsoncore.AppendHeader(out, bsoncore.TypeEmbeddedDocument, "reply")
			out = bsoncore.BuildDocument(out, bsoncore.AppendStringElement(nil, "message", ""),
				bsoncore.AppendStringElement(nil, "chatter", ""))
		default:
			out = bsoncore.AppendHeader(out, v.Type, elem.Key())
			out = append(out, redactDocument(v.Data, 0, people)...)
		}
		rest = after
	}
	out = append(out, 0)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out
}

func isReplyTo(v bsoncore.Value, people func(string) bool) bool {
	d, ok := v.DocumentOK()
	if !ok {
		return false
	}
	to, ok := d.Lookup("chatter").StringValueOK()
	return ok && to != "" && people(to)
}

func redactText(s string, people func(string) bool) string {
	if people(s) {
		return ""
	}
	var b strings.Builder
	for {
		at := find(s, people)
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:at])
		b.WriteString(Erased)
		s = s[at+pseudonymBytes:]
	}
}

// find is where in s the first pseudonym of one of people begins, or -1.
func find(s string, people func(string) bool) int {
	run := 0 // bytes up to here that a pseudonym can consist of
	for i := range len(s) {
		c := s[i]
		if !pseudonymByte(c) {
			run = 0
			continue
		}
		if run++; run >= pseudonymBytes && people(s[i+1-pseudonymBytes:i+1]) {
			return i + 1 - pseudonymBytes
		}
	}
	return -1
}

// pseudonymByte reports whether a pseudonym can have this byte.
func pseudonymByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
