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
}

// NotRecorded stands in a Minute for a value that the recording doesn't have.
const NotRecorded = -1

// maxEmotes is the most emotes that are written into one message: what fits into the 500 characters
// of a chat message with some room.
const maxEmotes = 120

// ErrMinutes is wrapped by every error about a recording that can't be read.
var ErrMinutes = errors.New("invalid recording")

// ReadMinutes reads recorded minutes from CSV. The header names the columns: time (RFC 3339, the
// start of a minute) and any of viewers, chat_messages and emotes, in any order; others are ignored.
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
	if m.Emotes > maxEmotes*max(m.Messages, 0) {
		return m, fmt.Errorf("%d emotes in %d messages: a message holds at most %d", m.Emotes, max(m.Messages, 0), maxEmotes)
	}
	return m, nil
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
