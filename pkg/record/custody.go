package record

import "time"

// The states of a Letter.
const (
	LetterDead   = "dead"   // waits for somebody to decide
	LetterReplay = "replay" // somebody asked for it to be tried again
)

// Letter is one document of the collection letters: a batch or a record that the store or a
// consumer refused, filed out of the queue of dead letters. A letter that is replayed goes back into
// the queue "store" and leaves the collection; if it is refused again it comes back with a higher
// Count and the First that it had.
type Letter struct {
	// ID is a hash of the body and the reason: the same letter twice is one.
	ID  string `bson:"_id" json:"id"`
	Rev int64  `bson:"rev" json:"rev"`
	// Event, Channel and Kind are those of the record; empty of a batch that could not be read.
	Event   string `bson:"event"   json:"event"`
	Channel string `bson:"channel" json:"channel"`
	Kind    Kind   `bson:"kind"    json:"kind"`
	// Time is when it was refused last, First when for the first time.
	Time  time.Time `bson:"time"  json:"time"`
	First time.Time `bson:"first" json:"first"`
	// Reason says why, Code is the same as a short constant.
	Reason string `bson:"reason" json:"reason"`
	Code   string `bson:"code"   json:"code"`
	// Count is how often it was refused, replays included.
	Count int `bson:"count" json:"count"`
	// Queue is the queue that it came from, Message the id of its message, Record the _id of the record.
	Queue   string `bson:"queue"   json:"queue"`
	Message string `bson:"message" json:"message"`
	Record  string `bson:"record,omitempty" json:"record,omitempty"`
	State   string `bson:"state"   json:"state"`
	// Replay names the wish to replay it, in the state replay: a new one each time.
	Replay string `bson:"replay,omitempty" json:"-"`
	// Body is the batch, as the queue carried it; Records how many it holds, 0 when it can't be read.
	Body    []byte `bson:"body"    json:"-"`
	Records int    `bson:"records" json:"records"`
	// Headers are the message's own.
	Headers map[string]string `bson:"headers,omitempty" json:"headers,omitempty"`
}

// The codes of a Letter.
const (
	CodeUnreadable = "unreadable" // the batch can't be decoded
	CodeRefused    = "refused"    // the store won't take the document
	CodeFrozen     = "frozen"     // the event is frozen
)

// The states of a Tombstone.
const (
	TombstonePending = "pending" // what is stored of the person is being erased
	TombstoneDone    = "done"
)

// Tombstone is one document of the collection tombstones: one person that an event has forgotten. It
// holds pseudonyms only. Consumers, backfill and restored copies obey it: what comes later of that
// person is not stored.
type Tombstone struct {
	// ID is event and User joined by "/".
	ID      string `bson:"_id"     json:"id"`
	Rev     int64  `bson:"rev"     json:"rev"`
	Event   string `bson:"event"   json:"event"`
	Channel string `bson:"channel" json:"channel"` // always empty: of all channels
	// Time is when it was asked for.
	Time time.Time `bson:"time" json:"time"`
	// User and Name are the person's two pseudonyms: by Twitch id, and by login. Name is empty when
	// the login is not known.
	User  string `bson:"user"  json:"user"`
	Name  string `bson:"name"  json:"name"`
	State string `bson:"state" json:"state"`
	// Dirty are the minutes of what is being erased right now, to be marked when whoever erases dies
	// before it could.
	Dirty []time.Time `bson:"dirty,omitempty" json:"-"`
	// What was erased, at the least: Records deleted, Redacted are those that stay without the person's pseudonym,
	// Letters are dead letters, Minutes those that were counted again.
	Records  int       `bson:"records"  json:"records"`
	Redacted int       `bson:"redacted" json:"redacted"`
	Letters  int       `bson:"letters"  json:"letters"`
	Minutes  int       `bson:"minutes"  json:"minutes"`
	Finished time.Time `bson:"finished,omitempty" json:"finished,omitzero"`
	// Remains says in a sentence what could not be erased; empty when nothing is left.
	Remains string `bson:"remains,omitempty" json:"remains,omitempty"`
}

// The states of a Manifest, in their order.
const (
	FreezeWaiting   = "waiting"   // for outboxes, queues and the closing of the last minute
	FreezeRecount   = "recount"   // the event is frozen; every minute is counted once more
	FreezeChecksums = "checksums" // the checksums are being made
	FreezeUnsigned  = "unsigned"  // the checksums wait for the master's signature
	FreezeDone      = "done"
)

// The causes of a Manifest.
const (
	CauseFreeze    = "freeze"
	CauseForget    = "forget"    // people were forgotten
	CauseRetention = "retention" // texts or records were erased whose time was over
	CauseLate      = "late"      // a minute was counted again, or a record that came too late taken out
)

// Manifest is one document of the collection manifests: how far the freezing of an event is, and in
// the end the checksums of all that is stored of it, signed by the master.
type Manifest struct {
	// Event is the event's slug.
	Event string `bson:"_id" json:"event"`
	Rev   int64  `bson:"rev" json:"rev"`
	State string `bson:"state" json:"state"`
	// Force says that collectors and consumers that are not heard any more are not waited for.
	Force     bool      `bson:"force,omitempty" json:"force,omitempty"`
	Requested time.Time `bson:"requested" json:"requested"`
	// Waiting says what is waited for, a sentence each.
	Waiting []string  `bson:"waiting,omitempty" json:"waiting,omitempty"`
	Frozen  time.Time `bson:"frozen,omitempty"  json:"frozen,omitzero"`
	// Revision counts the manifests of this event, Cause says why this one was made.
	Revision int64  `bson:"revision" json:"revision"`
	Cause    string `bson:"cause"    json:"cause"`
	// Parts are the checksums; Sum is the SHA-256 over them, in hexadecimal.
	Parts []ManifestPart `bson:"parts,omitempty" json:"parts,omitempty"`
	Sum   string         `bson:"sum,omitempty"   json:"sum,omitempty"`
	// Signature is that of Sum by the Ed25519 key whose public half is PublicKey; both base64.
	Signature string    `bson:"signature,omitempty"  json:"signature,omitempty"`
	PublicKey string    `bson:"public_key,omitempty" json:"public_key,omitempty"`
	Signed    time.Time `bson:"signed,omitempty"     json:"signed,omitzero"`
	// Earlier are the manifests before this one, oldest first.
	Earlier []ManifestVersion `bson:"earlier,omitempty" json:"earlier,omitempty"`
}

// Reopen makes a manifest that waits for its checksums again out of one that has them, for a cause, and
// keeps what was signed in Earlier. It reports false, and changes nothing, where there are none yet.
func (m *Manifest) Reopen(cause string) bool {
	if m.State != FreezeUnsigned && m.State != FreezeDone {
		return false
	}
	if m.State == FreezeDone {
		m.Earlier = append(m.Earlier, ManifestVersion{
			Revision: m.Revision, Cause: m.Cause, Sum: m.Sum, Signature: m.Signature, Signed: m.Signed,
		})
	}
	m.State, m.Cause = FreezeChecksums, cause
	m.Revision++
	m.Parts, m.Sum, m.Signature, m.PublicKey, m.Signed = nil, "", "", "", time.Time{}
	return true
}

// ManifestPart is the checksum of one day, UTC, of one collection.
type ManifestPart struct {
	Collection string `bson:"collection" json:"collection"`
	// Day is the date as 2006-01-02; empty of documents without a time.
	Day       string `bson:"day"       json:"day"`
	Documents int64  `bson:"documents" json:"documents"`
	// SHA256 is over the documents' bytes, by time and then _id, in hexadecimal.
	SHA256 string `bson:"sha256" json:"sha256"`
}

// ManifestVersion is what is kept of a manifest that another has followed.
type ManifestVersion struct {
	Revision  int64     `bson:"revision"  json:"revision"`
	Cause     string    `bson:"cause"     json:"cause"`
	Sum       string    `bson:"sum"       json:"sum"`
	Signature string    `bson:"signature" json:"signature"`
	Signed    time.Time `bson:"signed"    json:"signed,omitzero"`
}

// Drain is one document of the collection drains: an operator wants a collector to be left without
// channels, until the document is deleted.
type Drain struct {
	Collector string    `bson:"_id"   json:"collector"`
	Since     time.Time `bson:"since" json:"since"`
}
