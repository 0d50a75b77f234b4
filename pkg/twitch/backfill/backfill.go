// Package backfill turns recorded chat of one channel into records: raw lines of IRC, or the JSON
// export of a broadcast's chat. A line gives the same record as it does live, with the same _id, so
// what is stored already is left alone; only Received, which is the record's own time here, and
// Origin differ.
//
// A big file is cut by Chunks, and each chunk converted on its own; the Results are added up.
package backfill

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

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
	MaxOthers       = 5         // other channels that a Result names
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

// Result is what became of a chunk. Lines is the number of Records and of all the others together.
type Result struct {
	// Records may hold one fact twice, when the file does.
	Records []record.Record
	// Lines counts the lines of IRC, or a VOD's comments; that a VOD is cut off counts as one more.
	Lines int
	// Outside counts those before Start or from End on.
	Outside int
	// OtherChannel counts those of other channels, Others are the first MaxOthers of these, by login, or
	// by Twitch id where no login is told.
	OtherChannel int
	Others       []string
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
	for _, c := range next.Others {
		r.other(c)
	}
	r.Records = append(r.Records, next.Records...)
	r.Lines += next.Lines
	r.Outside += next.Outside
	r.OtherChannel += next.OtherChannel
	r.Ignored += next.Ignored
	r.Faulty += next.Faulty
}

// other notes the name of another channel.
func (r *Result) other(name string) {
	if len(r.Others) < MaxOthers && name != "" && len(name) <= 64 && !slices.Contains(r.Others, name) {
		r.Others = append(r.Others, name)
	}
}

// Convert makes the records of a chunk, or of a whole file that is not compressed. Whatever is wrong
// with a line or a comment is one of the Result's problems, and so is a VOD that is cut off: what
// comes before the cut is used. Problems quote nothing of the file. The error is about the target or
// the format.
func Convert(f Format, chunk []byte, to Target) (Result, error) {
	c := converter{to: to}
	if err := c.check(); err != nil {
		return Result{}, err
	}
	switch f {
	case IRC:
		c.irc(chunk)
	case VOD:
		c.vod(chunk)
	default:
		return Result{}, fmt.Errorf("%w %q: use %s or %s", ErrFormat, f, IRC, VOD)
	}
	return c.out, nil
}

type converter struct {
	to  Target
	out Result
}

func (c *converter) check() error {
	to := &c.to
	switch {
	case !record.ValidSlug(to.Event.Slug):
		return fmt.Errorf("backfill for event %.80q: it is no slug", to.Event.Slug)
	case to.Event.Pseudonyms == nil:
		return fmt.Errorf("backfill for event %s: it has no pseudonyms", to.Event.Slug)
	case to.Channel.ID == "" || to.Channel.Login == "":
		return fmt.Errorf("backfill for event %s: a channel with its id and its login is needed", to.Event.Slug)
	case to.Origin == "" || !utf8.ValidString(to.Origin):
		return fmt.Errorf("backfill for event %s: origin %q is empty or not UTF-8", to.Event.Slug, to.Origin)
	case !to.Start.IsZero() && !to.End.IsZero() && !to.Start.Before(to.End):
		return fmt.Errorf("backfill for event %s: it starts at %s and ends at %s", to.Event.Slug, to.Start, to.End)
	}
	return nil
}

// faulty counts the line that was counted last as one that can't be used.
func (c *converter) faulty(reason string) {
	c.out.Faulty++
	if len(c.out.Problems) < MaxProblems {
		c.out.Problems = append(c.out.Problems, Problem{Line: c.out.Lines, Reason: reason})
	}
}

const noTime = "says no time that can be true (tmi-sent-ts, or created_at)"

// store makes the record of a message of the channel.
func (c *converter) store(line chat.Line) {
	// Without the time at which a line was received, one that carries no time has none.
	line.Channel, line.Received = c.to.Channel, time.Time{}
	d, err := chat.Convert(line, c.to.Event)
	if err != nil {
		c.faulty(err.Error())
		return
	}
	var h *record.Header
	switch d := d.(type) {
	case *record.Message:
		h = &d.Header
	case *record.Notice:
		h = &d.Header
	case *record.Moderation:
		h = &d.Header
	default:
		// A ROOMSTATE among them: it has no time of its own.
		c.out.Ignored++
		return
	}
	switch {
	case h.Time.IsZero():
		c.faulty(noTime)
		return
	case !c.to.Start.IsZero() && h.Time.Before(c.to.Start), !c.to.End.IsZero() && !h.Time.Before(c.to.End):
		c.out.Outside++
		return
	}
	h.Received, h.Origin = h.Time, c.to.Origin
	r, err := record.Encode(d)
	if err != nil {
		c.faulty(err.Error())
		return
	}
	c.out.Records = append(c.out.Records, r)
}
