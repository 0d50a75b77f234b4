package sim

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Minute is one recorded minute of an event. A value that was not recorded is NotRecorded.
type Minute struct {
	// Time is the minute's start, UTC.
	Time time.Time
	// Viewers is the number of viewers, Messages and Emotes those written in the minute.
	Viewers, Messages, Emotes int
	// Donations and Cents are running totals at the minute's start: the number of donations, and their
	// sum.
	Donations int
	Cents     int64
}

// NotRecorded stands in a Minute for a value that the recording doesn't have.
const NotRecorded = -1

// maxEmotes is the most emotes that are written into one message: what fits into the 500 characters
// of a chat message with some room.
const maxEmotes = 120

// ErrMinutes is wrapped by every error about a recording that can't be read.
var ErrMinutes = errors.New("invalid recording")

// ReadMinutes reads recorded minutes from CSV. The header names the columns: time (RFC 3339, the
// start of a minute) and any of viewers, chat_messages, emotes, donations_count and donations_total_usd
// (with at most two decimals), in any order; others are ignored.
// An empty field was not recorded; minutes may be missing but must be in order. Errors wrap
// ErrMinutes and name the line.
func ReadMinutes(r io.Reader) ([]Minute, error) {
	cr := csv.NewReader(r)
	cr.ReuseRecord = true
	header, err := cr.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is empty: the first line names the columns", ErrMinutes)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMinutes, err)
	}
	columns := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if _, ok := columns[name]; ok {
			return nil, fmt.Errorf("%w: line 1: the column %q is there twice", ErrMinutes, name)
		}
		columns[name] = i
	}
	if _, ok := columns["time"]; !ok {
		return nil, fmt.Errorf(`%w: line 1: no column is named "time"`, ErrMinutes)
	}
	var rows []Minute
	for {
		fields, err := cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMinutes, err)
		}
		line, _ := cr.FieldPos(0)
		m, err := parseMinute(fields, columns)
		if err == nil && len(rows) > 0 && !m.Time.After(rows[len(rows)-1].Time) {
			err = fmt.Errorf("the minute %s does not come after %s", m.Time.Format(time.RFC3339),
				rows[len(rows)-1].Time.Format(time.RFC3339))
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMinutes, line, err)
		}
		rows = append(rows, m)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: no minute follows the header", ErrMinutes)
	}
	return rows, nil
}

func parseMinute(fields []string, columns map[string]int) (Minute, error) {
	var m Minute
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(fields[columns["time"]]))
	if err != nil {
		return m, fmt.Errorf("time %q: use RFC 3339, as in 2020-01-05T13:00:00Z", fields[columns["time"]])
	}
	if m.Time = t.UTC(); !m.Time.Equal(m.Time.Truncate(time.Minute)) {
		return m, fmt.Errorf("time %q is not the start of a minute", fields[columns["time"]])
	}
	if m.Time.Unix() <= 0 || m.Time.Year() > 9999 {
		return m, fmt.Errorf("time %q: use one after 1970", fields[columns["time"]])
	}
	for _, c := range []struct {
		name string
		into *int
		most int
	}{
		{"viewers", &m.Viewers, 1 << 31},
		{"chat_messages", &m.Messages, 10_000_000},
		{"emotes", &m.Emotes, 1 << 31},
		{"donations_count", &m.Donations, 100_000_000},
	} {
		*c.into = NotRecorded
		i, ok := columns[c.name]
		if !ok || strings.TrimSpace(fields[i]) == "" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(fields[i]))
		if err != nil || n < 0 || n > c.most {
			return m, fmt.Errorf("%s %q: use a whole number from 0 to %d, or nothing", c.name, fields[i], c.most)
		}
		*c.into = n
	}
	m.Cents = NotRecorded
	if i, ok := columns["donations_total_usd"]; ok && strings.TrimSpace(fields[i]) != "" {
		var err error
		if m.Cents, err = parseCents(strings.TrimSpace(fields[i])); err != nil {
			return m, fmt.Errorf("donations_total_usd %q: %w", fields[i], err)
		}
	}
	if m.Emotes > maxEmotes*max(m.Messages, 0) {
		return m, fmt.Errorf("%d emotes in %d messages: a message holds at most %d", m.Emotes, max(m.Messages, 0), maxEmotes)
	}
	return m, nil
}

// parseCents reads a decimal number with at most two decimals that matter, as text.
func parseCents(s string) (int64, error) {
	whole, rest, _ := strings.Cut(s, ".")
	rest = strings.TrimRight(rest, "0")
	if whole == "" || len(whole) > 12 || len(rest) > 2 || strings.Trim(whole+rest, "0123456789") != "" {
		return 0, errors.New("use a number such as 30 or 815.49, below 1,000,000,000,000, or nothing")
	}
	return strconv.ParseInt(whole+(rest + "00")[:2], 10, 64) //nolint:wrapcheck // digits only, and few
}

//go:embed data/agdq2020-minutes.csv.gz
var agdq2020 []byte

// AGDQ2020 is the recording that the program carries: a charity marathon's week of January 2020,
// 10,242 minutes.
func AGDQ2020() ([]Minute, error) {
	z, err := gzip.NewReader(bytes.NewReader(agdq2020))
	if err != nil {
		return nil, fmt.Errorf("embedded recording: %w", err)
	}
	return ReadMinutes(z)
}
