package master

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// letterPage is how many dead letters a page has where nobody asks for more.
	letterPage = 100
	// letterBytes bounds the documents that a letter is shown with, as text.
	letterBytes = 4 << 20
	// letterHex bounds what is shown of a body that can't be read, in bytes of the body.
	letterHex = 4 << 10
	// letterTime bounds the work of one call on all letters; what is left is for the next.
	letterTime = 10 * time.Second
)

type lettersInput struct {
	Event string `query:"event" maxLength:"64" doc:"Only of this event"`
	Code  string `query:"code" enum:"unreadable,refused,frozen" doc:"Only of this code: unreadable, refused, frozen"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most of one page"`
	After string `query:"after" maxLength:"200" doc:"The field next of the page before"`
}

type letterInput struct {
	ID        string `path:"id" maxLength:"200" doc:"The letter's id, or a beginning of it of at least 6 characters that no other has"`
	Documents int    `query:"documents" minimum:"0" maximum:"500" doc:"How many of its records to show"`
}

type letterChoiceInput struct{ Body control.LetterChoice }

// letterCursor is the place of a letter in their order: newest first, then by id downwards.
type letterCursor struct {
	time time.Time
	id   string
}

func (c letterCursor) String() string {
	return strconv.FormatInt(c.time.UnixMilli(), 10) + "-" + c.id
}

func parseLetterCursor(s string) (letterCursor, error) {
	if s == "" {
		return letterCursor{}, nil
	}
	ms, id, ok := strings.Cut(s, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if !ok || err != nil || id == "" {
		return letterCursor{}, badValue("after", "%.80q is not the field next of an answer", s)
	}
	return letterCursor{time: time.UnixMilli(n).UTC(), id: id}, nil
}

// scanLetters yields the dead letters of a filter, newest first, from behind the cursor on.
func (m *Master) scanLetters(ctx context.Context, event, code string, after letterCursor) iter.Seq2[record.Letter, error] {
	q := store.Query{Collection: store.Letters, Event: event, Descending: true}
	if after.id != "" {
		q.To = after.time.Add(time.Millisecond)
	}
	return func(yield func(record.Letter, error) bool) {
		for raw, err := range m.cfg.Store.Find(ctx, q) {
			if err != nil {
				yield(record.Letter{}, fmt.Errorf("read dead letters: %w", err))
				return
			}
			var l record.Letter
			if err := bson.Unmarshal(raw, &l); err != nil {
				yield(l, fmt.Errorf("decode dead letter %s: %w", store.DocID(raw), err))
				return
			}
			if code != "" && l.Code != code || after.id != "" && !l.Time.Before(after.time) && l.ID >= after.id {
				continue
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

func (m *Master) listLetters(ctx context.Context, in *lettersInput) (control.LetterPage, error) {
	out := control.LetterPage{Letters: []record.Letter{}}
	after, err := parseLetterCursor(in.After)
	if err != nil {
		return out, err
	}
	limit := in.Limit
	if limit <= 0 {
		limit = letterPage
	}
	for l, err := range m.scanLetters(ctx, in.Event, in.Code, after) {
		if err != nil {
			return out, err
		}
		if len(out.Letters) == limit {
			last := out.Letters[limit-1]
			out.Next = letterCursor{last.Time, last.ID}.String()
			break
		}
		l.Body = nil // a page of them would be large, and is not shown
		out.Letters = append(out.Letters, l)
	}
	if len(out.Letters) == 0 && after == (letterCursor{}) {
		return out, m.known(ctx, in.Event)
	}
	return out, nil
}

// known is an error where an event is named that there is not.
func (m *Master) known(ctx context.Context, event string) error {
	if event == "" {
		return nil
	}
	_, err := m.event(ctx, event)
	return err
}

func (m *Master) showLetter(ctx context.Context, in *letterInput) (control.LetterView, error) {
	var out control.LetterView
	ids, err := m.letterIDs(ctx, []string{in.ID})
	if err != nil {
		return out, err
	}
	if out.Letter, err = m.letter(ctx, ids[0]); err != nil {
		return out, err
	}
	out.Bytes = len(out.Body)
	if in.Documents > 0 {
		showBody(&out, in.Documents)
	}
	return out, nil
}

// showBody adds what a letter holds: its documents, or where it is no batch, a document that it
// consists of, or else its first bytes.
func showBody(v *control.LetterView, most int) {
	docs := []bson.Raw{}
	records, err := record.DecodeBatch(v.Body)
	switch {
	case err == nil:
		for _, r := range records {
			docs = append(docs, r.Doc)
		}
	case len(v.Body) > 0 && bson.Raw(v.Body).Validate() == nil:
		docs = append(docs, v.Body)
	default:
		v.Unreadable = err.Error()
		v.Hex = hex.EncodeToString(v.Body[:min(len(v.Body), letterHex)])
		v.Cut = len(v.Body) > letterHex
		return
	}
	size := 0
	for i, d := range docs {
		text, err := bson.MarshalExtJSON(d, false, false)
		if err != nil || !json.Valid(text) {
			v.Unreadable = fmt.Sprintf("record %d can't be shown as JSON: %v", i+1, err)
			v.Hex = hex.EncodeToString(d[:min(len(d), letterHex)])
			return
		}
		if size += len(text); i == most || size > letterBytes {
			v.Cut = true
			return
		}
		v.Documents = append(v.Documents, text)
	}
}

func (m *Master) letter(ctx context.Context, id string) (record.Letter, error) {
	var l record.Letter
	raw, err := m.cfg.Store.Get(ctx, store.Letters, id)
	if errors.Is(err, store.ErrNotFound) {
		return l, absent("there is no dead letter %s", id)
	}
	if err == nil {
		err = bson.Unmarshal(raw, &l)
	}
	if err != nil {
		return l, fmt.Errorf("dead letter %s: %w", id, err)
	}
	return l, nil
}

// letterIDs turns ids, which may be shortened, into whole ones. All must be there.
func (m *Master) letterIDs(ctx context.Context, short []string) ([]string, error) {
	whole := make([]string, len(short))
	open := 0
	for i, id := range short {
		if len(id) < control.MinLetterID {
			return nil, badValue("id", "%q: use at least %d characters of an id", id, control.MinLetterID)
		}
		_, err := m.cfg.Store.Get(ctx, store.Letters, id)
		switch {
		case err == nil:
			whole[i] = id
		case errors.Is(err, store.ErrNotFound):
			open++
		default:
			return nil, fmt.Errorf("dead letter %s: %w", id, err)
		}
	}
	if open == 0 {
		return whole, nil
	}
	exact := make([]bool, len(short))
	for i := range whole {
		exact[i] = whole[i] != ""
	}
	for l, err := range m.scanLetters(ctx, "", "", letterCursor{}) {
		if err != nil {
			return nil, err
		}
		for i, id := range short {
			if exact[i] || !strings.HasPrefix(l.ID, id) || whole[i] == l.ID {
				continue
			}
			if whole[i] != "" {
				return nil, badValue("id", "%s is the beginning of several dead letters (%s, %s): use more characters", id, whole[i], l.ID)
			}
			whole[i] = l.ID
		}
	}
	for i, id := range whole {
		if id == "" {
			return nil, absent("there is no dead letter %s (any more): nothing was changed", short[i])
		}
	}
	return whole, nil
}

// replayLetters gives dead letters back: whoever files them sends those in state replay into the
// queue "store" and deletes them.
func (m *Master) replayLetters(ctx context.Context, in control.LetterChoice) (control.LetterOutcome, error) {
	out, err := m.eachLetter(ctx, in, m.replayLetter)
	if out.Changed > 0 {
		m.log.Info("dead letters are given back for replay", "letters", out.Changed)
	}
	return out, err
}

// dropLetters deletes dead letters, but not those that are being replayed.
func (m *Master) dropLetters(ctx context.Context, in control.LetterChoice) (control.LetterOutcome, error) {
	out, err := m.eachLetter(ctx, in, m.dropLetter)
	if out.Changed > 0 {
		m.log.Info("dead letters are dropped", "letters", out.Changed)
	}
	return out, err
}

// eachLetter does something to every letter of a choice. What it is told to do says whether it has
// changed the letter; one that is neither changed nor gone waits for its replay. A stateError is about
// that letter alone.
func (m *Master) eachLetter(ctx context.Context, in control.LetterChoice, do func(context.Context, string) (letterFate, error)) (control.LetterOutcome, error) {
	var out control.LetterOutcome
	ids, next, err := m.chosenLetters(ctx, in)
	if err != nil {
		return out, err
	}
	began := time.Now()
	for i, id := range ids {
		if in.All && i > 0 && time.Since(began) > letterTime {
			next = ids[i-1]
			break
		}
		fate, err := do(ctx, id.id)
		var refused *stateError
		if errors.As(err, &refused) {
			if out.Refused++; len(out.Problems) < control.MaxLetterProblems {
				out.Problems = append(out.Problems, refused.msg)
			}
			continue
		}
		if err != nil {
			return out, err
		}
		switch fate {
		case letterChanged:
			out.Changed++
		case letterWaits:
			out.Already++
		case letterGone:
		}
	}
	if next.id != "" {
		out.Next = next.String()
	}
	return out, nil
}

// letterFate is what was found of a letter.
type letterFate int

const (
	letterGone letterFate = iota // somebody else was faster
	letterChanged
	letterWaits
)

// chosenLetters are the letters of a choice. Of all letters they are as many as one call deals with;
// next is then the last of them. Letters that come back meanwhile are newer, and so never met twice.
func (m *Master) chosenLetters(ctx context.Context, in control.LetterChoice) (list []letterCursor, next letterCursor, err error) {
	if in.All == (len(in.IDs) > 0) {
		return nil, next, badValue("ids", "name dead letters, or all of them")
	}
	if !in.All {
		ids, err := m.letterIDs(ctx, in.IDs)
		for _, id := range ids {
			list = append(list, letterCursor{id: id})
		}
		return list, next, err
	}
	after, err := parseLetterCursor(in.After)
	if err != nil {
		return nil, next, err
	}
	for l, err := range m.scanLetters(ctx, in.Event, in.Code, after) {
		if err != nil {
			return nil, next, err
		}
		if len(list) == control.MaxLetters {
			return list, list[len(list)-1], nil
		}
		list = append(list, letterCursor{l.Time, l.ID})
	}
	if len(list) == 0 && after == (letterCursor{}) {
		err = m.known(ctx, in.Event)
	}
	return list, next, err
}

func (m *Master) replayLetter(ctx context.Context, id string) (letterFate, error) {
	for {
		l, err := m.letter(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return letterGone, nil
		}
		if err != nil {
			return letterGone, err
		}
		if l.State == record.LetterReplay {
			return letterWaits, nil
		}
		if err := m.replayable(ctx, l); err != nil {
			return letterGone, err
		}
		rev := l.Rev
		l.Rev, l.State, l.Replay = rev+1, record.LetterReplay, rand.Text()
		err = m.setDoc(ctx, store.Letters, rev, id, l)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return letterGone, err
		}
		return letterChanged, nil
	}
}

// replayable refuses, with a stateError, to replay what would come back at once.
func (m *Master) replayable(ctx context.Context, l record.Letter) error {
	if _, err := record.DecodeBatch(l.Body); err != nil {
		return conflict("%s can't be replayed, since it can't be read (%s): drop it, or keep it", l.ID, err)
	}
	if l.Event == "" {
		return nil
	}
	e, err := m.event(ctx, l.Event)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if e.State == record.EventFrozen {
		return conflict("%s can't be replayed: event %s is frozen, and nothing is added to it any more", l.ID, l.Event)
	}
	return nil
}

func (m *Master) dropLetter(ctx context.Context, id string) (letterFate, error) {
	deleted, err := m.cfg.Store.DeleteIf(ctx, store.Letters, id, "state", record.LetterDead)
	if err != nil {
		return letterGone, fmt.Errorf("drop dead letter %s: %w", id, err)
	}
	if deleted {
		return letterChanged, nil
	}
	_, err = m.letter(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return letterGone, nil
	}
	return letterWaits, err
}
