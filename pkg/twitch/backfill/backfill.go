// Package backfill turns recorded chat of one channel into records: raw lines of IRC, or the JSON
// export of a broadcast's chat. A line gives the same record as it does live, with the same _id, so
// what is stored already is left alone; only Received, which is the record's own time here, and
// Origin differ.
//
// A big file is cut by Chunks, and each chunk converted on its own; the Results are added up.
package backfill

import (
	"errors"
	"io"
	"iter"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// Format is what a file holds.
type Format string

// The formats.
const (
	// IRC is one raw line of IRC a line, with the tags that Twitch sends. A time that a logger wrote
	// before it ("[2026-09-04 18:00:01] ", or as RFC 3339) is passed over: tmi-sent-ts is the time.
	IRC Format = "irc"
	// VOD is the chat of a broadcast as JSON: as TwitchDownloader writes it, or pages of comments as
	// Twitch's GraphQL answers them.
	VOD Format = "vod"
)

// Bounds of a file. What is longer is a problem, and passed over.
const (
	MaxLineBytes    = 64 << 10  // a line of IRC; Twitch's own are at most 8.7 kB
	MaxCommentBytes = 256 << 10 // one comment of a VOD
	MaxProblems     = 20        // problems that a Result tells one by one
)

// ErrFormat is wrapped by the error about a file that is in neither format.
var ErrFormat = errors.New("unknown format")

// Target is what a file is converted for.
type Target struct {
	// Event is what records are made for; its Pseudonyms must know the event's channels.
	Event chat.Event
	// Channel is the one whose chat is wanted. Both fields must be set.
	Channel chat.Channel
	// Start (inclusive) and End (exclusive) are the times that are wanted; zero is without a bound.
	Start, End time.Time
	// Origin is what the records say of where they came from: "backfill:" and a name.
	Origin string
}

// Result is what became of a chunk. Lines is the sum of the records and of the other counts.
type Result struct {
	// Records may hold one fact twice, when the file does.
	Records []record.Record
	// Lines counts the lines of IRC, or a VOD's comments.
	Lines int
	// Outside counts those before Start or from End on.
	Outside int
	// OtherChannel counts those of other channels.
	OtherChannel int
	// Ignored counts those that are no record: empty lines, PINGs, JOINs, a VOD's notices.
	Ignored int
	// Faulty counts those that can't be used; Problems says why, of the first MaxProblems.
	Faulty   int
	Problems []Problem
}

// Problem says why a line is not used.
type Problem struct {
	// Line counts lines, or comments, from 1.
	Line   int
	Reason string
}

// Add adds the result of the chunk that follows: its problems' lines are counted on.
func (r *Result) Add(next Result) {
	for _, p := range next.Problems {
		if len(r.Problems) == MaxProblems {
			break
		}
		r.Problems = append(r.Problems, Problem{Line: r.Lines + p.Line, Reason: p.Reason})
	}
	r.Records = append(r.Records, next.Records...)
	r.Lines += next.Lines
	r.Outside += next.Outside
	r.OtherChannel += next.OtherChannel
	r.Ignored += next.Ignored
	r.Faulty += next.Faulty
}

// Open finds out what a file holds, which may be compressed with gzip. The reader gives the file
// from its beginning, unpacked. The error wraps ErrFormat when it is neither format.
func Open(r io.Reader) (io.Reader, Format, error) { return nil, "", ErrFormat }

// Detect tells the format by the beginning of a file, of which 4 KiB are enough. The error wraps
// ErrFormat.
func Detect(prefix []byte) (Format, error) { return "", ErrFormat }

// Convert makes the records of a chunk, or of a whole file. Whatever is wrong with a line or a
// comment is one of the Result's problems, and so is a VOD that is cut off: what comes before the
// cut is used. The error is about the target or the format.
func Convert(f Format, chunk []byte, to Target) (Result, error) { return Result{}, ErrFormat }

// Chunks cuts a file into pieces of whole lines or comments that Convert takes, each of at most
// maxBytes unless a single line or comment is longer. It holds little more than one of them in
// memory. A chunk is valid until the next one. After an error, which is the reader's, it ends.
func Chunks(r io.Reader, f Format, maxBytes int) iter.Seq2[[]byte, error] {
	return func(func([]byte, error) bool) {}
}
