package custody

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// sealed are the collections that a manifest speaks of, in its order.
func sealed() []store.Collection {
	return []store.Collection{store.Records, store.Minutes, store.Hours, store.Totals, store.Channels, store.Corrections, store.Goals}
}

// Checksums makes the checksums of all that is stored of an event: of each collection and each day,
// UTC, over the documents' bytes one after the other, by time and then _id; and the sum over these,
// which is the SHA-256, in hexadecimal, of the lines
//
//	tungstene manifest 1
//	event <slug>
//	<collection> <day, or - of documents without a time> <documents> <SHA-256>
//
// in the order of parts, each ended by a newline. It reads in constant memory.
func Checksums(ctx context.Context, s store.Store, event string) (parts []record.ManifestPart, sum string, err error) {
	for _, c := range sealed() {
		var (
			part record.ManifestPart
			h    hash.Hash
		)
		finish := func() {
			if h != nil {
				part.SHA256 = hex.EncodeToString(h.Sum(nil))
				parts = append(parts, part)
			}
		}
		for raw, err := range s.Find(ctx, store.Query{Collection: c, Event: event}) {
			if err != nil {
				return nil, "", fmt.Errorf("read %s of event %s: %w", c, event, err)
			}
			date := ""
			if ms, ok := raw.Lookup("time").DateTimeOK(); ok {
				date = time.UnixMilli(ms).UTC().Format(time.DateOnly)
			}
			if h == nil || date != part.Day {
				finish()
				h, part = sha256.New(), record.ManifestPart{Collection: string(c), Day: date}
			}
			h.Write(raw)
			part.Documents++
		}
		finish()
	}
	return parts, sumOf(event, parts), nil
}

func sumOf(event string, parts []record.ManifestPart) string {
	h := sha256.New()
	fmt.Fprintf(h, "tungstene manifest 1\nevent %s\n", event)
	for _, p := range parts {
		writePart(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writePart(w io.Writer, p record.ManifestPart) {
	date := p.Day
	if date == "" {
		date = "-"
	}
	fmt.Fprintf(w, "%s %s %d %s\n", p.Collection, date, p.Documents, p.SHA256)
}

// Difference is a part in which what is stored is not what the manifest says; nil is of a part that
// isn't there at all.
type Difference struct {
	Collection string               `json:"collection"`
	Day        string               `json:"day"`
	Manifest   *record.ManifestPart `json:"manifest"`
	Stored     *record.ManifestPart `json:"stored"`
}

// Check is what CheckManifest found.
type Check struct {
	Event    string `json:"event"`
	Revision int64  `json:"revision"`
	Cause    string `json:"cause"`
	// Sum is that of the manifest, Stored that of what is stored.
	Sum       string `json:"sum"`
	Stored    string `json:"stored"`
	Documents int64  `json:"documents"`
	PublicKey string `json:"public_key"`
	// Signature says what is wrong with the signature, or with the sum that it is of; empty when nothing.
	Signature   string       `json:"signature,omitempty"`
	Differences []Difference `json:"differences"`
}

// OK reports whether what is stored is what was signed.
func (c *Check) OK() bool { return c.Signature == "" && len(c.Differences) == 0 && c.Sum == c.Stored }

// CheckManifest compares what is stored of a frozen event with its manifest, and checks the signature
// by the public key, in base64, or where that is empty by the one that the manifest names. It only
// reads. An event without a manifest gives an error that wraps store.ErrNotFound.
func CheckManifest(ctx context.Context, s store.Store, event, publicKey string) (Check, error) {
	m, err := readManifest(ctx, s, event)
	if err != nil {
		return Check{}, err
	}
	c := Check{Event: event, Revision: m.Revision, Cause: m.Cause, Sum: m.Sum, PublicKey: m.PublicKey, Differences: []Difference{}}
	if m.Sum == "" {
		return c, fmt.Errorf("the manifest of event %s is not made yet: its state is %s", event, m.State)
	}
	if err := m.Verify(publicKey); err != nil {
		c.Signature = err.Error()
	} else if sumOf(event, m.Parts) != m.Sum {
		c.Signature = "the sum is not that of the manifest's parts"
	}
	parts, sum, err := Checksums(ctx, s, event)
	if err != nil {
		return c, err
	}
	c.Stored = sum
	type key struct{ collection, day string }
	have := map[key]record.ManifestPart{}
	for _, p := range parts {
		have[key{p.Collection, p.Day}] = p
		c.Documents += p.Documents
	}
	for _, p := range m.Parts {
		k := key{p.Collection, p.Day}
		stored, ok := have[k]
		delete(have, k)
		switch {
		case !ok:
			c.Differences = append(c.Differences, Difference{Collection: p.Collection, Day: p.Day, Manifest: &p})
		case stored != p:
			c.Differences = append(c.Differences, Difference{Collection: p.Collection, Day: p.Day, Manifest: &p, Stored: &stored})
		}
	}
	for _, p := range parts {
		if _, left := have[key{p.Collection, p.Day}]; left {
			c.Differences = append(c.Differences, Difference{Collection: p.Collection, Day: p.Day, Stored: &p})
		}
	}
	return c, nil
}

func readManifest(ctx context.Context, s store.Store, event string) (m record.Manifest, err error) {
	raw, err := s.Get(ctx, store.Manifests, event)
	if err != nil {
		return m, fmt.Errorf("read the manifest of event %s: %w", event, err)
	}
	if err := bson.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read the manifest of event %s: %w", event, err)
	}
	return m, nil
}

// setManifest writes a manifest that was read at revision m.Rev, which becomes that written.
func (t *term) setManifest(ctx context.Context, m *record.Manifest) error {
	next := *m
	next.Rev++
	raw, err := bson.Marshal(&next)
	if err != nil {
		return fmt.Errorf("encode the manifest of event %s: %w", m.Event, err)
	}
	if err := t.store.CompareAndSet(ctx, store.Manifests, m.Rev, store.Doc{ID: m.Event, Raw: raw}); err != nil {
		return fmt.Errorf("write the manifest of event %s: %w", m.Event, err)
	}
	*m = next
	return nil
}

// reopen has the checksums of a frozen event made again, for a cause. It is called before the first
// change of what they are of. Without a manifest, or with one that isn't made yet, it does nothing.
func (t *term) reopen(ctx context.Context, event, cause string) error {
	reopened, err := store.ReopenManifest(ctx, t.store, event, cause)
	if reopened {
		t.log.Info("a frozen event is changed; its manifest is made again", "event", event, "cause", cause)
	}
	return err
}
