// Package store is the seam to where records, statistics and state are kept. store/mongo
// implements it on MongoDB, store/local in one SQLite file; both keep the same documents.
// storetest is the suite that both pass.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
)

// Collection names a collection.
type Collection string

// The collections. Analysts read the first six.
const (
	Records  Collection = "records"  // every record, of all kinds; changed by forget and retention only
	Minutes  Collection = "minutes"  // record.Statistics of a minute
	Hours    Collection = "hours"    // record.Statistics of an hour
	Totals   Collection = "totals"   // record.Statistics of an event so far
	Events   Collection = "events"   // record.Event
	Channels Collection = "channels" // record.Channel

	Marks       Collection = "marks"       // dirty marks of minutes
	Progress    Collection = "progress"    // how far the rollup has closed each event
	Assignments Collection = "assignments" // what each collector is to read
	Members     Collection = "members"     // who is running, with heartbeats
	Leases      Collection = "leases"      // who leads

	Letters    Collection = "letters"    // record.Letter: dead letters, filed out of the queue "dead"
	Tombstones Collection = "tombstones" // record.Tombstone: who was forgotten
	Manifests  Collection = "manifests"  // record.Manifest: checksums of frozen events
	Drains     Collection = "drains"     // record.Drain: collectors that are to be left without channels

	Corrections Collection = "corrections" // record.Correction: what is wrong with what charity sources say
	Goals       Collection = "goals"       // record.Goal: donation goals
)

// Collections lists all of them.
func Collections() []Collection {
	return []Collection{
		Records, Minutes, Hours, Totals, Events, Channels,
		Marks, Progress, Assignments, Members, Leases,
		Letters, Tombstones, Manifests, Drains,
		Corrections, Goals,
	}
}

// RareKinds are the kinds of records that can be asked for by event, kind and time without naming a
// channel: all but chat messages, samples of viewers and coverage, whose number would make that index
// dear to every insert. Changing them changes the indexes that stores have.
func RareKinds() []record.Kind {
	return []record.Kind{
		record.KindNotice, record.KindModeration, record.KindRoomState, record.KindSession, record.KindChange,
		record.KindDropped, record.KindDonation, record.KindAmount, record.KindAnswer,
	}
}

// Outcome is what became of one record of an Insert.
type Outcome int

const (
	// Inserted means that it is new and durable.
	Inserted Outcome = iota
	// Existed means that a document of that id was there and was left alone.
	Existed
	// Refused means that the store won't take the document, now or later; Result.Err says why.
	Refused
)

// Result is the outcome of one record.
type Result struct {
	Outcome Outcome
	Err     error // only of Refused
}

// Query asks for documents of one collection by the elements event, kind, channel and time. Zero
// fields don't restrict.
//
// There are indexes by event and time; of records by event, kind, channel and time too, and of the
// RareKinds by event, kind and time; and of minutes, hours and totals by event, channel and time. A
// query of a large collection should name the event; whatever else it names and no index has is looked
// for in the documents.
type Query struct {
	Collection Collection
	Event      string
	Kind       record.Kind
	Channel    string
	// From and To bound the element time: [From, To). A document without a time is in no range.
	From, To time.Time
	// Descending turns the order around.
	Descending bool
	// Limit is the most documents returned; 0 is all.
	Limit int
}

// Doc is a document that has an _id.
type Doc struct {
	ID  string
	Raw bson.Raw
}

// Change is a document that takes the place of the one that was read under its _id.
type Change struct {
	ID       string
	Old, New bson.Raw
}

// Errors that callers tell apart. Every other error of a Store means that it could not be reached
// or did not answer: try again. ErrInvalid is the exception, the caller's own mistake.
var (
	// ErrNotFound: there is no such document.
	ErrNotFound = errors.New("no such document")
	// ErrConflict: the document is not what was expected, or not there; read it again.
	ErrConflict = errors.New("document has changed")
	// ErrFenced: a higher epoch has written the document; whoever gets it no longer leads.
	ErrFenced = errors.New("a later leader has written")
)

// Store keeps documents. It is safe for concurrent use. What it has answered is durable: on a
// replica set, by a majority.
type Store interface {
	// Insert writes records, in no order, their bytes as they are, and leaves those alone whose id is there already. It
	// returns a result for each record, in their order, or an error when it can't say: then any of
	// them may be stored, and the call can be repeated. Two records of one id in one call are
	// Inserted once and Existed once. When the context ends first, the records may still be stored.
	Insert(ctx context.Context, records []record.Record) ([]Result, error)

	// Find yields the documents of a query by time and then _id, those without a time first. It reads
	// by an index and in bounded memory, and is no snapshot: what is written meanwhile may be seen or
	// not. The documents are the caller's to keep. After an error it yields no more.
	Find(ctx context.Context, q Query) iter.Seq2[bson.Raw, error]

	// Get returns one document or ErrNotFound.
	Get(ctx context.Context, c Collection, id string) (bson.Raw, error)

	// CompareAndSet writes a whole document whose int64 element "rev" is rev+1, if the stored one
	// is at revision rev; rev 0 means that there must be none. Else it returns ErrConflict. Of any
	// number of callers with the same rev exactly one succeeds.
	CompareAndSet(ctx context.Context, c Collection, rev int64, d Doc) error

	// Put writes whole documents, whatever is there; of two of one id the last. After an error any of
	// them may be written.
	Put(ctx context.Context, c Collection, docs []Doc) error

	// PutFenced writes whole documents, each with an int64 element "epoch" of the given value,
	// unless a stored one has a higher epoch; one without an epoch has none. It tries all, and returns
	// ErrFenced if any was not written for that reason.
	PutFenced(ctx context.Context, c Collection, epoch int64, docs []Doc) error

	// Replace writes the new documents of changes, of different _ids, each if what is stored is still the old
	// one; whether an element was added to that since need not be seen. It tries all, and returns
	// ErrConflict if any was not written because it is another by now, or gone.
	Replace(ctx context.Context, c Collection, changes []Change) error

	// DeleteIf deletes the document if its string element field has the value, and reports
	// whether it did.
	DeleteIf(ctx context.Context, c Collection, id, field, value string) (bool, error)

	// Delete deletes what a query matches (its Limit and Descending don't count) and returns how
	// many there were. It isn't one step: after an error some are gone, and the call can be repeated.
	Delete(ctx context.Context, q Query) (int, error)

	// Count counts what a query matches, at most its Limit where it has one.
	Count(ctx context.Context, q Query) (int, error)

	// Check returns nil when the store answers and is writable. It leaves nothing behind.
	Check(ctx context.Context) error

	// Close lets go of everything; calls after it fail. It is safe to call twice.
	Close() error
}
