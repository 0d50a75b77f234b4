package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"sync"
)

// Entry is one line of a ledger: a message that was sent to someone who had joined. This simulator
// writes one for each message (PRIVMSG) that it queued for at least one connection that had been
// sent the echo of its JOIN and was neither frozen, muted in the channel nor closed at that moment: one line however many
// connections got it and however often. What a connection that is cut off for not reading had not
// yet taken is in the ledger all the same.
//
// A message of a channel that somebody was in before and nobody is in any more is written too, as
// Unheard: it is what those who should be there miss.
//
// Other writers' ledgers need the first three fields; all others may be missing.
type Entry struct {
	// Channel is the channel's login at that time.
	Channel string `json:"channel"`
	// ID is the message's Twitch id.
	ID string `json:"id"`
	// SentMS is the message's tmi-sent-ts, Unix milliseconds.
	SentMS int64 `json:"sent_ms"`
	// Emotes is how often Twitch emotes are used in it, Bits the number of bits cheered.
	Emotes int `json:"emotes,omitempty"`
	Bits   int `json:"bits,omitempty"`
	// Shared says that it is a shared-chat copy of another channel's message.
	Shared bool `json:"shared,omitempty"`
	// Room is the channel's Twitch id.
	Room string `json:"room,omitempty"`
	// Unheard says that it was sent to nobody.
	Unheard bool `json:"unheard,omitempty"`
}

// ErrLedger is wrapped by every error about a line that is no ledger's.
var ErrLedger = errors.New("invalid ledger")

// maxLedgerLine bounds a line of a ledger, in bytes.
const maxLedgerLine = 1 << 20

// ReadLedger yields the entries of a ledger, but for those that nobody heard. A line that is not a JSON object with a channel, an id
// and a time above 0 yields an error that wraps ErrLedger and names the line, and ends it; so does a
// last line without its end, which a writer that was stopped half-way leaves. Empty lines are
// skipped, and fields that are not known are ignored.
func ReadLedger(r io.Reader) iter.Seq2[Entry, error] { return readEntries(r, false) }

// ReadUnheard yields, as ReadLedger does, the entries of messages that nobody heard.
func ReadUnheard(r io.Reader) iter.Seq2[Entry, error] { return readEntries(r, true) }

func readEntries(r io.Reader, unheard bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range readLines(r, parseEntry) {
			if err == nil && e.Unheard != unheard {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// readLines yields what a file of JSON lines holds.
func readLines[T any](r io.Reader, parse func([]byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		br := bufio.NewReaderSize(r, 64<<10)
		var long []byte
		for n := 1; ; n++ {
			long = long[:0]
			line, err := br.ReadSlice('\n')
			for errors.Is(err, bufio.ErrBufferFull) {
				if long = append(long, line...); len(long) > maxLedgerLine {
					yield(none, fmt.Errorf("%w: line %d: longer than %d bytes", ErrLedger, n, maxLedgerLine))
					return
				}
				line, err = br.ReadSlice('\n')
			}
			if len(long) > 0 {
				long = append(long, line...)
				line = long
			}
			end := errors.Is(err, io.EOF)
			if err != nil && !end {
				yield(none, fmt.Errorf("read ledger: line %d: %w", n, err))
				return
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				e, err := parse(line)
				if err != nil {
					if end {
						err = fmt.Errorf("%w (the last line has no end: was its writer stopped?)", err)
					}
					yield(none, fmt.Errorf("%w: line %d: %w", ErrLedger, n, err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
			if end {
				return
			}
		}
	}
}

func parseEntry(line []byte) (Entry, error) {
	// Only what the contract names is required to have its type: another writer's "shared" may
	// be a word.
	var raw struct {
		Channel *string         `json:"channel"`
		ID      *string         `json:"id"`
		SentMS  *int64          `json:"sent_ms"`
		Emotes  json.RawMessage `json:"emotes"`
		Bits    json.RawMessage `json:"bits"`
		Shared  json.RawMessage `json:"shared"`
		Room    json.RawMessage `json:"room"`
		Unheard json.RawMessage `json:"unheard"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("not a ledger's JSON object: %w", err)
	}
	switch {
	case raw.Channel == nil || *raw.Channel == "":
		return Entry{}, errors.New(`"channel" is missing or empty`)
	case raw.ID == nil || *raw.ID == "":
		return Entry{}, errors.New(`"id" is missing or empty`)
	case raw.SentMS == nil || *raw.SentMS <= 0:
		return Entry{}, errors.New(`"sent_ms" is missing or not above 0`)
	}
	e := Entry{Channel: *raw.Channel, ID: *raw.ID, SentMS: *raw.SentMS}
	optional(raw.Emotes, &e.Emotes)
	optional(raw.Bits, &e.Bits)
	optional(raw.Shared, &e.Shared)
	optional(raw.Room, &e.Room)
	optional(raw.Unheard, &e.Unheard)
	return e, nil
}

// Donated is one line of a ledger of donations.
type Donated struct {
	// Donation is its id at every source.
	Donation string `json:"donation"`
	// Channel is the login of the channel it was given to, Room its Twitch id; both are empty for one
	// that was given to the event as a whole.
	Channel string `json:"channel,omitempty"`
	Room    string `json:"room,omitempty"`
	// Cents and Currency are the amount.
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
	// CreatedMS is when it was made, as the sources say it: Unix milliseconds, whole seconds.
	CreatedMS int64 `json:"created_ms"`
	// Donor is the name of who gave it; empty for one who does not say.
	Donor string `json:"donor,omitempty"`
}

// ReadDonations yields the lines of a ledger of donations, as ReadLedger does those of messages. A line
// without an id, a currency, a time above 0 and an amount above 0 is an error.
func ReadDonations(r io.Reader) iter.Seq2[Donated, error] {
	return readLines(r, func(line []byte) (d Donated, err error) {
		if err := json.Unmarshal(line, &d); err != nil {
			return d, fmt.Errorf("not a JSON object of a ledger of donations: %w", err)
		}
		switch {
		case d.Donation == "":
			err = errors.New(`"donation" is missing or empty`)
		case d.Cents <= 0:
			err = errors.New(`"cents" is missing or not above 0`)
		case d.Currency == "":
			err = errors.New(`"currency" is missing or empty`)
		case d.CreatedMS <= 0:
			err = errors.New(`"created_ms" is missing or not above 0`)
		}
		return d, err
	})
}

// donated appends one line.
func (l *ledger) donated(d *Donated) {
	if l == nil {
		return
	}
	b, err := json.Marshal(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.w.Write(append(b, '\n'))
	}
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("write ledger of donations: %w", err)
	}
}

// optional reads a field that another writer may use for something else: then it stays zero.
func optional[T any](raw json.RawMessage, into *T) {
	var v T
	if len(raw) > 0 && json.Unmarshal(raw, &v) == nil {
		*into = v
	}
}

// ledger writes entries through a buffer. The first error stays and is told by every flush.
type ledger struct {
	mu   sync.Mutex
	w    *bufio.Writer
	line []byte
	err  error
}

func newLedger(w io.Writer) *ledger {
	if w == nil {
		return nil
	}
	return &ledger{w: bufio.NewWriterSize(w, 256<<10)}
}

// write appends one line. The strings are the simulator's own, plain ASCII without anything that
// JSON would escape.
func (l *ledger) write(e *Entry) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.line[:0]
	b = append(b, `{"channel":"`...)
	b = append(b, e.Channel...)
	b = append(b, `","id":"`...)
	b = append(b, e.ID...)
	b = append(b, `","sent_ms":`...)
	b = strconv.AppendInt(b, e.SentMS, 10)
	if e.Emotes > 0 {
		b = append(b, `,"emotes":`...)
		b = strconv.AppendInt(b, int64(e.Emotes), 10)
	}
	if e.Bits > 0 {
		b = append(b, `,"bits":`...)
		b = strconv.AppendInt(b, int64(e.Bits), 10)
	}
	if e.Shared {
		b = append(b, `,"shared":true`...)
	}
	b = append(b, `,"room":"`...)
	b = append(b, e.Room...)
	b = append(b, '"')
	if e.Unheard {
		b = append(b, `,"unheard":true`...)
	}
	b = append(b, "}\n"...)
	l.line = b
	if _, err := l.w.Write(b); err != nil && l.err == nil {
		l.err = fmt.Errorf("write ledger: %w", err)
	}
}

func (l *ledger) flush() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.w.Flush(); err != nil && l.err == nil {
		l.err = fmt.Errorf("write ledger: %w", err)
	}
	return l.err
}
