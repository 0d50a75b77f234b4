package goals

import (
	"github.com/tungstene/tungstene/pkg/record"
)

// Entry is one goal as it stands in a list. It becomes a record.Goal when an event and a channel are
// known.
type Entry struct {
	// Line is where it begins in a CSV or YAML list, from 1; of JSON its number in the list.
	Line int
	// Key is what names it in its list across imports: the id that it has there, else a hash of
	// category and name (of several alike, also of which of them it is).
	Key string
	// Channel is the streamer as the list names it: Twitch id, login or display name; empty where it
	// doesn't, record.AllChannels for a goal of the event.
	Channel      string
	Category     string
	Name         string
	Money        record.Money
	Links        []string
	Accomplished bool
}

// Problem is what is wrong in one place of a list.
type Problem struct {
	Line    int    `json:"line"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
}

// The formats of lists of goals.
const (
	FormatCSV  = "csv"
	FormatYAML = "yaml"
	FormatJSON = "json"
)

// Read reads a list of goals in one of the formats; empty: by its looks. Amounts are in the currency.
// It returns all that is wrong at once; entries with a problem are left out. Lists of more than
// MaxEntries, and of more than MaxBytes, are one problem.
func Read(data []byte, format, currency string) ([]Entry, []Problem) { return nil, nil }

// Bounds of lists and of goals.
const (
	MaxBytes     = 1 << 20
	MaxEntries   = 5000
	MaxNameBytes = 500
	MaxLinks     = 20
	MaxLinkBytes = 500
	// MaxCents is the largest amount of a goal or correction, either way: ten trillion euros.
	MaxCents = 1_000_000_000_000_000
)
