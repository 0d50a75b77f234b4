package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Bounds of what is asked about dead letters.
const (
	// MinLetterID is the least number of characters that an id of a dead letter may be shortened to.
	MinLetterID = 6
	// MaxLetters is the most dead letters of one page, and the most ids of one call.
	MaxLetters = 1000
	// MaxLetterProblems is how many letters that can't be replayed are told one by one.
	MaxLetterProblems = 20
	// MaxLetterDocuments is the most documents that one dead letter is shown with.
	MaxLetterDocuments = 500
)

// LetterQuery says which dead letters are meant. Empty fields don't restrict.
type LetterQuery struct {
	Event string
	Code  string
	// Limit is the most of one page, 1 to MaxLetters; 0 is 100.
	Limit int
	// After is the Next of the page before; empty for the first.
	After string
}

// LetterPage is a page of dead letters, newest first.
type LetterPage struct {
	Letters []record.Letter `json:"letters"`
	// Next asks for the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// LetterView is one dead letter, with what it holds when that was asked for.
type LetterView struct {
	record.Letter

	// Bytes is the length of its body.
	Bytes int `json:"bytes" doc:"Length of the body"`
	// Documents are the first of its records, as relaxed extended JSON. Chatters are pseudonyms in
	// them, as they are in the store.
	Documents []json.RawMessage `json:"documents,omitempty" doc:"The first of its records, as extended JSON"`
	// Unreadable says why Documents is empty where it was asked for; Hex is then the beginning of
	// the body.
	Unreadable string `json:"unreadable,omitempty"`
	Hex        string `json:"hex,omitempty" doc:"The beginning of a body that can't be read, in hexadecimal"`
	// Cut says that there is more than Documents or Hex show.
	Cut bool `json:"cut,omitempty"`
}

// LetterChoice says which dead letters an operation is about: those of the ids, or all of a filter.
type LetterChoice struct {
	// IDs may be shortened to a beginning that only one letter has.
	IDs []string `json:"ids,omitempty" maxItems:"1000"`
	All bool     `json:"all,omitempty" doc:"All of event and code; ids must be empty"`
	// Event and Code restrict All.
	Event string `json:"event,omitempty" maxLength:"64"`
	Code  string `json:"code,omitempty" enum:"unreadable,refused,frozen"`
	// After is the Next of the answer before, when there was more to do than one call does.
	After string `json:"after,omitempty" maxLength:"200"`
}

// LetterOutcome is what became of a LetterChoice.
type LetterOutcome struct {
	// Changed is how many were given back for replay, or dropped.
	Changed int `json:"changed"`
	// Already is how many wait for their replay; they are not dropped.
	Already int `json:"already"`
	// Refused is how many can't be replayed, because they can't be read or their event is frozen; they
	// stay as they are. Problems says why, of the first MaxLetterProblems.
	Refused  int      `json:"refused,omitempty"`
	Problems []string `json:"problems,omitempty"`
	// Next says that there is more to do: the same call again, with After.
	Next string `json:"next,omitempty"`
}

// Rebuild asks for closed minutes to be counted again.
type Rebuild struct {
	// From (inclusive) and To (exclusive) must lie within the event; zero is its start or end. Whole
	// minutes are counted.
	From time.Time `json:"from,omitzero" doc:"Inclusive; the event's start when left out"`
	To   time.Time `json:"to,omitzero" doc:"Exclusive; the event's end when left out"`
	// Channel, an id or a login, has only those minutes counted in which it has records or documents.
	Channel string `json:"channel,omitempty" maxLength:"200" doc:"Only minutes in which this channel, a Twitch id or login, has records or documents"`
}

// Rebuilt is what a Rebuild has asked for.
type Rebuilt struct {
	// From and To are the minutes that were looked at; those not closed yet are left out, since they
	// are counted anyway.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Minutes is how many are marked.
	Minutes int `json:"minutes"`
	// Next says that there is more to mark: the same call again, with From set to it.
	Next time.Time `json:"next,omitzero"`
}

// RebuildState is how many minutes of a range wait for their recount, those that late records have
// marked among them.
type RebuildState struct {
	Marks int `json:"marks"`
}

// The formats of a backfill.
const (
	FormatIRC = "irc" // raw lines of IRC
	FormatVOD = "vod" // the chat of a broadcast, as JSON
)

// MaxBackfillBytes is the largest chunk of one call of Backfill.
const MaxBackfillBytes = 8 << 20

// BackfillChunk is a piece of recorded chat of one channel.
type BackfillChunk struct {
	Event string
	// Channel is a Twitch id or login.
	Channel string
	Format  string
	// Origin names the file; the records say "backfill:" and this name.
	Origin string
	Body   []byte
}

// Backfilled is what became of a chunk. Lines is the sum of all counts but Problems.
type Backfilled struct {
	// Lines counts lines of IRC, or comments of a VOD.
	Lines int `json:"lines"`
	// Inserted counts records that are new, Existed those that were stored already.
	Inserted int `json:"inserted"`
	Existed  int `json:"existed"`
	// Outside counts those outside of the event, OtherChannel those of other channels.
	Outside      int `json:"outside"`
	OtherChannel int `json:"other_channel"`
	// Excluded counts those of people who have opted out or were forgotten.
	Excluded int `json:"excluded"`
	// Others are the first of those other channels, by login or Twitch id.
	Others []string `json:"others,omitempty" doc:"Some of the other channels, by login or Twitch id"`
	// Ignored counts what is no record: empty lines, PINGs, JOINs.
	Ignored int `json:"ignored"`
	// Skipped counts those that can't be used, or that the store refused; Problems are the first.
	Skipped  int               `json:"skipped"`
	Problems []BackfillProblem `json:"problems,omitempty"`
}

// MaxBackfillOthers is how many other channels are named.
const MaxBackfillOthers = 5

// MaxBackfillProblems is how many problems are told one by one.
const MaxBackfillProblems = 20

// BackfillProblem says why a line, counted from 1 within its chunk, is not stored. Line is 0 where
// that can't be told.
type BackfillProblem struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// Add adds what became of the chunk that follows; its problems' lines are counted on.
func (b *Backfilled) Add(next Backfilled) {
	for _, p := range next.Problems {
		if len(b.Problems) == MaxBackfillProblems {
			break
		}
		if p.Line > 0 {
			p.Line += b.Lines
		}
		b.Problems = append(b.Problems, p)
	}
	for _, c := range next.Others {
		if len(b.Others) < MaxBackfillOthers && !slices.Contains(b.Others, c) {
			b.Others = append(b.Others, c)
		}
	}
	b.Lines += next.Lines
	b.Inserted += next.Inserted
	b.Existed += next.Existed
	b.Outside += next.Outside
	b.OtherChannel += next.OtherChannel
	b.Excluded += next.Excluded
	b.Ignored += next.Ignored
	b.Skipped += next.Skipped
}

// Letters lists dead letters, newest first.
func (c *Client) Letters(ctx context.Context, q LetterQuery) (LetterPage, error) {
	v := url.Values{}
	for name, value := range map[string]string{"event": q.Event, "code": q.Code, "after": q.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return answerOf[LetterPage](ctx, c, http.MethodGet, withQuery("/v1/letters", v), nil, "list dead letters")
}

// Letter returns one dead letter, by its id or a beginning of it, with up to so many of its
// documents.
func (c *Client) Letter(ctx context.Context, id string, documents int) (LetterView, error) {
	v := url.Values{}
	if documents != 0 {
		v.Set("documents", strconv.Itoa(documents))
	}
	return answerOf[LetterView](ctx, c, http.MethodGet, withQuery("/v1/letters/"+url.PathEscape(id), v), nil,
		"read dead letter %s", id)
}

// ReplayLetters has dead letters tried again. It can be repeated: a letter is replayed once.
func (c *Client) ReplayLetters(ctx context.Context, choice LetterChoice) (LetterOutcome, error) {
	return answerOf[LetterOutcome](ctx, c, http.MethodPost, "/v1/letters/replay", choice, "replay dead letters")
}

// DropLetters deletes dead letters for good.
func (c *Client) DropLetters(ctx context.Context, choice LetterChoice) (LetterOutcome, error) {
	return answerOf[LetterOutcome](ctx, c, http.MethodPost, "/v1/letters/drop", choice, "drop dead letters")
}

// Rebuild asks for closed minutes of an event to be counted again. It can be repeated.
func (c *Client) Rebuild(ctx context.Context, event string, r Rebuild) (Rebuilt, error) {
	return answerOf[Rebuilt](ctx, c, http.MethodPost, eventPath(event, "rebuild"), r, "rebuild minutes of event %s", event)
}

// RebuildState tells how many minutes of [from, to) still wait for a recount.
func (c *Client) RebuildState(ctx context.Context, event string, from, to time.Time) (RebuildState, error) {
	v := url.Values{}
	for name, t := range map[string]time.Time{"from": from, "to": to} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return answerOf[RebuildState](ctx, c, http.MethodGet, withQuery(eventPath(event, "rebuild"), v), nil,
		"read the rebuild of event %s", event)
}

// Drain has a collector left without channels, until Undrain, whatever restarts meanwhile. Its
// channels are read elsewhere before it leaves them.
func (c *Client) Drain(ctx context.Context, collector string) (Collector, error) {
	var out Collector
	if err := c.do(ctx, drainCall(http.MethodPut, collector), &out); err != nil {
		return out, fmt.Errorf("drain collector %s: %w", collector, err)
	}
	return out, nil
}

// Undrain lets a collector have channels again.
func (c *Client) Undrain(ctx context.Context, collector string) error {
	if err := c.do(ctx, drainCall(http.MethodDelete, collector), nil); err != nil {
		return fmt.Errorf("take back the drain of collector %s: %w", collector, err)
	}
	return nil
}

func drainCall(method, collector string) call {
	return call{
		method: method, path: "/v1/collectors/" + url.PathEscape(collector) + "/drain",
		timeout: operatorTimeout, retry: always, // twice is once
	}
}

// Backfill stores the records of a chunk of recorded chat. It can be repeated: what is stored
// already stays as it is.
func (c *Client) Backfill(ctx context.Context, b BackfillChunk) (Backfilled, error) {
	v := url.Values{"format": {b.Format}}
	if b.Origin != "" {
		v.Set("origin", b.Origin)
	}
	var out Backfilled
	err := c.do(ctx, call{
		method: http.MethodPost, path: withQuery(eventPath(b.Event, "channels", b.Channel, "backfill"), v),
		body: b.Body, contentType: "application/octet-stream", timeout: operatorTimeout, retry: always,
	}, &out)
	if err != nil {
		return out, fmt.Errorf("backfill channel %s of event %s: %w", b.Channel, b.Event, err)
	}
	return out, nil
}

func withQuery(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
