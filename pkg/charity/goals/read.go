package goals

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// Entry is one goal as it stands in a list. It becomes a record.Goal when an event and a channel are
// known.
type Entry struct {
	// Line is where it begins in a CSV or YAML list, from 1; of JSON its number in the list.
	Line int `json:"line"`
	// ID is the id that it has in its list; empty where it has none.
	ID string `json:"id,omitempty"`
	// Key is what names it in its list across imports, of one channel: ID, else a hash of category and
	// name (of several alike, also of which of them it is).
	Key string `json:"key"`
	// Channel is the streamer as the list names it: Twitch id, login or display name; empty where it
	// doesn't, record.AllChannels for a goal of the event.
	Channel      string       `json:"channel,omitempty"`
	Category     string       `json:"category"`
	Name         string       `json:"name"`
	Money        record.Money `json:"money"`
	Links        []string     `json:"links,omitempty"`
	Accomplished bool         `json:"accomplished,omitempty"`
}

// Problem is what is wrong in one place of a list.
type Problem struct {
	// Line is as an Entry's; 0 for what concerns the whole list.
	Line    int    `json:"line"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
}

func (p Problem) String() string {
	where := ""
	if p.Line > 0 {
		where = fmt.Sprintf("line %d: ", p.Line)
	}
	if p.Value != "" {
		where += fmt.Sprintf("%q: ", p.Value)
	}
	return where + p.Message
}

// The formats of lists of goals.
const (
	FormatCSV  = "csv"
	FormatYAML = "yaml"
	FormatJSON = "json"
)

// Bounds of lists and of goals.
const (
	MaxBytes     = 1 << 20
	MaxEntries   = 5000
	MaxNameBytes = 500
	MaxLinks     = 20
	MaxLinkBytes = 500
	// MaxCents is the largest amount of a goal.
	MaxCents = record.MaxCents
	// maxProblems is how many are told.
	maxProblems = 200
)

// Categories are those of record.Goal.
func Categories() []string {
	return []string{
		record.GoalDonation, record.GoalGlobal, record.GoalEqual, record.GoalMoreThan, record.GoalLargest, record.GoalRecurrent,
		record.GoalIncentive,
	}
}

// Read reads a list of goals in one of the formats; empty: by its looks. Amounts are in the currency.
// It returns all that is wrong at once; entries with a problem are left out. Lists of more than
// MaxEntries, and of more than MaxBytes, are one problem.
//
// CSV has an amount and a text on each line, "1 000 €;I shave my head", between them ; , or a tab, as
// the list itself shows. A header is optional and allows any order, and the columns category, channel,
// id, links and accomplished. Amounts are as people write them (money.Parse); a text may have
// separators in it, quoted or not, where it is the last column. Empty lines and those that begin with #
// are left out.
//
// YAML is a list of goals, or has them under goals, and under channels lists by streamer:
//
//	goals:
//	  - {amount: 1 000 000 €, text: We sleep, category: global}
//	channels:
//	  zerator:
//	    - {amount: 100, text: A song, category: donation_more_than, links: ["https://…"]}
//
// JSON is that of the donation-goal list's own API, and of everything that has objects with
// donation_goals in it: amounts are in the smallest unit (cents), ids strings or numbers; a goal's
// streamer is that of the object around it (twitch_id, login, display_name, …).
func Read(data []byte, format, currency string) ([]Entry, []Problem) {
	whole := func(message string, args ...any) ([]Entry, []Problem) {
		return nil, []Problem{{Message: fmt.Sprintf(message, args...)}}
	}
	if _, ok := money.Digits(currency); !ok {
		return whole("%q is no ISO 4217 code, such as EUR", currency)
	}
	if len(data) > MaxBytes {
		return whole("the list has %d bytes, the most is %d", len(data), MaxBytes)
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) || !utf8.Valid(data) {
		return whole("the list is not UTF-8: save it again as UTF-8 (in a spreadsheet: CSV UTF-8)")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.IndexByte(data, 0) >= 0 {
		return whole("the list is not text")
	}
	r := &reader{currency: currency}
	if format == "" {
		format = looksLike(data)
	}
	switch format {
	case FormatCSV:
		r.csv(string(data))
	case FormatYAML:
		r.yaml(data)
	case FormatJSON:
		r.json(data)
	default:
		return whole("%q is no format of goals: use csv, yaml or json", format)
	}
	if len(r.entries) > MaxEntries {
		return whole("the list has more than %d goals", MaxEntries)
	}
	if len(r.entries)+len(r.problems) == 0 {
		return whole("the list has no goals")
	}
	if len(r.problems) > maxProblems {
		more := len(r.problems) - maxProblems
		r.problems = append(r.problems[:maxProblems], Problem{Message: fmt.Sprintf("and %d more", more)})
	}
	r.name()
	return r.entries, r.problems
}

// Format is the format that a list has by its looks.
func Format(data []byte) string { return looksLike(bytes.TrimPrefix(data, []byte("\ufeff"))) }

// looksLike guesses a format: JSON begins with a bracket, YAML has a line that says goals, channels or
// begins an item.
func looksLike(data []byte) string {
	text := strings.TrimSpace(string(data))
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return FormatJSON
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" || line == "---" {
			continue
		}
		if line == "-" || strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "goals:") ||
			strings.HasPrefix(line, "channels:") || strings.HasPrefix(line, "currency:") {
			return FormatYAML
		}
		break
	}
	return FormatCSV
}

// reader gathers what a list says.
type reader struct {
	currency string
	entries  []Entry
	problems []Problem
}

func (r *reader) problem(line int, value, message string, args ...any) {
	if len(value) > 80 {
		value = strings.ToValidUTF8(value[:80], "") + "…"
	}
	r.problems = append(r.problems, Problem{Line: line, Value: value, Message: fmt.Sprintf(message, args...)})
}

// add completes and checks one goal; faulty says that something was wrong with it already.
func (r *reader) add(e Entry, faulty bool) {
	e.Name = strings.Join(strings.Fields(e.Name), " ")
	e.ID = strings.TrimSpace(e.ID)
	e.Channel = strings.TrimSpace(e.Channel)
	if e.Category == "" {
		e.Category = record.GoalDonation
	}
	if e.Channel == "" && e.Category == record.GoalGlobal {
		e.Channel = record.AllChannels
	}
	e.Money.Currency = r.currency
	if faulty {
		return
	}
	faults := Check(record.Goal{Category: e.Category, Name: e.Name, Money: e.Money, Links: e.Links})
	if len(e.Channel) > 200 || len(e.ID) > 200 {
		faults = append(faults, Fault{Message: "its channel or id is longer than 200 bytes"})
	}
	for _, f := range faults {
		r.problem(e.Line, f.Value, "%s", f.Message)
	}
	if len(faults) == 0 {
		r.entries = append(r.entries, e)
	}
}

// name gives entries their keys.
func (r *reader) name() {
	seen := map[string]int{}
	for i := range r.entries {
		e := &r.entries[i]
		if e.ID != "" {
			e.Key = e.ID
			continue
		}
		alike := e.Channel + "\x00" + e.Category + "\x00" + e.Name
		e.Key = record.Hash(e.Category, e.Name, strconv.Itoa(seen[alike]))
		seen[alike]++
	}
}

// Fault is what is wrong with one element of a goal.
type Fault struct {
	Field   string
	Value   string
	Message string
}

// Check says what is wrong with what a person writes of a goal: category, name, money and links.
func Check(g record.Goal) []Fault {
	var faults []Fault
	if !slices.Contains(Categories(), g.Category) {
		faults = append(faults, Fault{"category", g.Category, "is no category of goals: use " + strings.Join(Categories(), ", ")})
	}
	switch {
	case strings.TrimSpace(g.Name) == "":
		faults = append(faults, Fault{"name", "", "a goal needs a text"})
	case len(g.Name) > MaxNameBytes:
		faults = append(faults, Fault{"name", g.Name[:40], fmt.Sprintf("its text has %d bytes, the most is %d", len(g.Name), MaxNameBytes)})
	case !utf8.ValidString(g.Name) || strings.ContainsFunc(g.Name, unicode.IsControl):
		faults = append(faults, Fault{"name", "", "its text has characters that are none"})
	}
	free := g.Category == record.GoalIncentive || g.Category == record.GoalLargest
	switch {
	case g.Money.Cents < 0 || g.Money.Cents == 0 && !free:
		faults = append(faults, Fault{"amount", money.Decimal(g.Money.Cents, g.Money.Currency), "its amount must be more than 0"})
	case g.Money.Cents > MaxCents:
		faults = append(faults, Fault{
			"amount", money.Decimal(g.Money.Cents, g.Money.Currency),
			"its amount is too large, the most is " + money.Decimal(MaxCents, g.Money.Currency),
		})
	}
	if len(g.Links) > MaxLinks {
		faults = append(faults, Fault{"links", "", fmt.Sprintf("it has %d links, the most is %d", len(g.Links), MaxLinks)})
	}
	for _, l := range g.Links {
		if u, err := url.Parse(l); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || len(l) > MaxLinkBytes {
			faults = append(faults, Fault{"links", l[:min(len(l), 80)], fmt.Sprintf("is no address of a page (https://…) of at most %d bytes", MaxLinkBytes)})
		}
	}
	return faults
}

// truth reads yes or no as people write it.
func truth(s string) (yes, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "0", "false", "no", "non", "n", "faux":
		return false, true
	case "1", "true", "yes", "oui", "y", "o", "x", "vrai", "done", "fait", "✓", "✔":
		return true, true
	}
	return false, false
}
