package statistics

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
)

// Comparison is two editions on one axis: the time since the start of each.
type Comparison struct {
	// Here is the edition in question, There the one that it is compared with.
	Here  Edition `json:"here"`
	There Edition `json:"there"`
	// Step is that of the points.
	Step   time.Duration     `json:"step"`
	Points []ComparisonPoint `json:"points"`
}

// Edition names an event that is compared.
type Edition struct {
	Name     string    `json:"name"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Currency string    `json:"currency,omitempty"`
}

// ComparisonPoint is one step of a Comparison.
type ComparisonPoint struct {
	// After is the time since the start at which the step begins, To when it ends where that is not a whole
	// step later: one step ends where the shorter edition does (the event, as far as it is counted), the
	// next one goes on from there, and the last ends with the longer edition.
	After time.Duration `json:"after"`
	To    time.Duration `json:"to,omitzero"`
	// Viewers is the average, Messages the sum in the step; Written is the sum of messages since the
	// start, and Total the running total (corrected) in cents, both at the end of the step.
	Viewers  Pair `json:"viewers"`
	Messages Pair `json:"messages"`
	Written  Pair `json:"written"`
	Total    Pair `json:"total"`
}

// Pair is one number of both editions.
type Pair struct {
	Here  Measure `json:"here"`
	There Measure `json:"there"`
	// Ratio is Here by There; unknown where either is, and where There is 0.
	Ratio Measure `json:"ratio"`
}

// Compare puts two curves of minutes on one axis, in steps of whole minutes. What one of them does not
// know in a step is unknown there, and so is the ratio.
func Compare(here, there Curve, step time.Duration) (Comparison, error) {
	if here.Step != time.Minute || there.Step != time.Minute || step < time.Minute || step%time.Minute != 0 {
		return Comparison{}, fmt.Errorf("%w: compare curves of minutes in steps of whole minutes, not %s and %s in steps of %s",
			ErrStep, here.Step, there.Step, step)
	}
	c := Comparison{Here: editionOf(here), There: editionOf(there), Step: step}
	edges := edgesOf(length(here), length(there), step)
	a, b := aligned(here, edges), aligned(there, edges)
	c.Points = make([]ComparisonPoint, len(a))
	for i := range c.Points {
		c.Points[i] = ComparisonPoint{
			After: edges[i], Viewers: pair(a[i].viewers, b[i].viewers), Messages: pair(a[i].messages, b[i].messages),
			Written: pair(a[i].written, b[i].written), Total: pair(a[i].total, b[i].total),
		}
		if edges[i+1]-edges[i] != step {
			c.Points[i].To = edges[i+1]
		}
	}
	return c, nil
}

func editionOf(c Curve) Edition {
	return Edition{Name: c.Name, Start: c.From, End: c.To, Currency: c.Currency}
}

// length is the time from a curve's start to the end of its last minute.
func length(c Curve) time.Duration {
	if len(c.Points) == 0 {
		return 0
	}
	return c.Points[len(c.Points)-1].Time.Add(time.Minute).Sub(record.Minute(c.From))
}

// edgesOf are where steps meet: those of both editions must be as long, so that one is cut where an edition
// ends.
func edgesOf(here, there, step time.Duration) []time.Duration {
	edges := []time.Duration{0, here, there}
	for at := step; at < max(here, there); at += step {
		edges = append(edges, at)
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// stride is one step of one edition.
type stride struct{ viewers, messages, written, total Measure }

func aligned(c Curve, edges []time.Duration) []stride {
	out := make([]stride, len(edges)-1)
	var (
		written float64
		gaps    bool
		points  = c.Points
	)
	for i := range out {
		unknown := Measure{Coverage: record.Unknown}
		out[i] = stride{unknown, unknown, unknown, unknown}
		var viewers, messages gathered
		for len(points) > 0 && points[0].Time.Sub(record.Minute(c.From)) < edges[i+1] {
			p := &points[0]
			points = points[1:]
			viewers.add(p.Viewers)
			messages.add(Measure{N: float64(p.Messages.N), Coverage: p.Messages.Coverage})
			written += float64(p.Messages.N)
			gaps = gaps || p.Messages.Coverage != record.Complete
			if p.Corrected.Known() {
				out[i].total = Measure{N: float64(p.Corrected.N), Coverage: p.Corrected.Coverage}
			}
		}
		out[i].viewers, out[i].messages = viewers.mean(), messages.sum()
		if messages.known > 0 {
			out[i].written = measure(written, completeUnless(gaps))
		}
	}
	return out
}

func completeUnless(gaps bool) string {
	if gaps {
		return record.Partial
	}
	return record.Complete
}

// gathered is several minutes' numbers.
type gathered struct {
	total       float64
	known, gaps int
}

func (g *gathered) add(v Measure) {
	if v.Coverage != record.Complete {
		g.gaps++
	}
	if v.Known() {
		g.total += v.N
		g.known++
	}
}

func (g *gathered) sum() Measure {
	if g.known == 0 {
		return Measure{Coverage: record.Unknown}
	}
	return measure(g.total, completeUnless(g.gaps > 0))
}

func (g *gathered) mean() Measure {
	m := g.sum()
	if g.known > 0 {
		m.N /= float64(g.known)
	}
	return m
}

func pair(here, there Measure) Pair {
	return Pair{Here: here, There: there, Ratio: ratio(here.N, there.N, worse(here.Coverage, there.Coverage))}
}

// maxRecording bounds a recording that is read.
const maxRecording = 64 << 20

// ErrRecording is wrapped by every error about a recording that can't be read.
var ErrRecording = errors.New("invalid recording")

// ReadEdition reads an earlier edition as minutes of CSV (see sim.ReadMinutes): time and any of viewers,
// chat_messages, emotes, donations_count and donations_total_ with the currency, as in
// donations_total_usd; the last two are running totals. Minutes that are missing, and fields that are
// empty, are unknown. Errors wrap ErrRecording.
func ReadEdition(r io.Reader, name string) (Curve, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxRecording+1))
	if err != nil {
		return Curve{}, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxRecording {
		return Curve{}, fmt.Errorf("%w %s: it is larger than %d MiB", ErrRecording, name, maxRecording>>20)
	}
	rows, err := sim.ReadMinutes(bytes.NewReader(data))
	if err != nil {
		return Curve{}, fmt.Errorf("%w %s: %w", ErrRecording, name, err)
	}
	given, currency, err := readDonations(data)
	if err != nil {
		return Curve{}, fmt.Errorf("%w %s: %w", ErrRecording, name, err)
	}
	from, to := rows[0].Time, rows[len(rows)-1].Time.Add(time.Minute)
	if to.Sub(from) > 366*24*time.Hour {
		return Curve{}, fmt.Errorf("%w %s: it is longer than a year", ErrRecording, name)
	}
	c := Curve{
		Streamer: Streamer{Channel: record.AllChannels, Login: name, Name: name},
		Range:    Range{from, to}, Step: time.Minute, Currency: currency,
	}
	next := 0
	var last recorded // the last known running totals
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		p := unknownPoint(at)
		if rows[next].Time.Equal(at) {
			row := rows[next]
			p.Messages, p.Emotes = orUnknown(row.Messages), orUnknown(row.Emotes)
			p.Peak = orUnknown(row.Viewers)
			p.Viewers = Measure{N: float64(p.Peak.N), Coverage: p.Peak.Coverage}
			p.WatchMinutes = p.Viewers
			given[next].into(&p, &last, at)
			next++
		}
		c.Points = append(c.Points, p)
	}
	return c, nil
}

func unknownPoint(at time.Time) Point {
	n := Count{Coverage: record.Unknown}
	m := Measure{Coverage: record.Unknown}
	return Point{
		Time: at, Messages: n, Emotes: n, Viewers: m, Peak: n, WatchMinutes: m, Subs: n, Donations: n, Given: n, Largest: n,
		Total: n, Corrected: n, Raised: n, RaisedCorrected: n,
	}
}

func orUnknown(n int) Count {
	if n == sim.NotRecorded {
		return Count{Coverage: record.Unknown}
	}
	return Count{N: int64(n), Coverage: record.Complete}
}

// recorded are the running totals of a row, and since when they are known.
type recorded struct {
	count, cents         int64
	hasCount, hasCents   bool
	countAt, centsAt     time.Time
	countOnce, centsOnce bool
}

// into sets what a row says of donations. What was there at the first row was not given in that minute.
func (d recorded) into(p *Point, last *recorded, at time.Time) {
	before := at.Add(-fresh)
	if d.hasCents {
		p.Total = Count{N: d.cents, Coverage: record.Complete}
		p.Corrected = p.Total
		p.Raised = Count{Coverage: record.Complete}
		if last.centsOnce {
			p.Raised.N = d.cents - last.cents
			if last.centsAt.Before(before) {
				p.Raised.Coverage = record.Partial
			}
		}
		p.RaisedCorrected = p.Raised
		last.cents, last.centsAt, last.centsOnce = d.cents, at, true
	}
	if d.hasCount {
		p.Donations = Count{Coverage: record.Complete}
		if last.countOnce {
			p.Donations.N = d.count - last.count
			if last.countAt.Before(before) {
				p.Donations.Coverage = record.Partial
			}
		}
		last.count, last.countAt, last.countOnce = d.count, at, true
	}
}

const totalColumn = "donations_total_"

// readDonations reads the columns of donations, a row each; zero where there are none.
func readDonations(data []byte) (rows []recorded, currency string, err error) {
	cr := csv.NewReader(bytes.NewReader(data))
	cr.ReuseRecord = true
	header, err := cr.Read()
	if err != nil {
		return nil, "", err //nolint:wrapcheck // the caller says what it is of
	}
	counts, totals := -1, -1
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if name == "donations_count" {
			counts = i
		}
		if code, ok := strings.CutPrefix(name, totalColumn); ok && totals < 0 {
			totals, currency = i, strings.ToUpper(code)
			if _, ok := money.Digits(currency); !ok {
				return nil, "", fmt.Errorf("line 1: the column %q does not end in a currency, as in donations_total_eur", name)
			}
		}
	}
	for {
		fields, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return rows, currency, nil
		}
		if err != nil {
			return nil, "", err //nolint:wrapcheck // the caller says what it is of
		}
		line, _ := cr.FieldPos(0)
		var d recorded
		if text := field(fields, counts); text != "" {
			if d.count, err = strconv.ParseInt(text, 10, 64); err != nil || d.count < 0 {
				return nil, "", fmt.Errorf("line %d: donations_count %q: use a whole number, or nothing", line, text)
			}
			d.hasCount = true
		}
		if text := field(fields, totals); text != "" {
			if d.cents, _, err = money.Round(text, currency); err != nil {
				return nil, "", fmt.Errorf("line %d: %w", line, err)
			}
			d.hasCents = true
		}
		rows = append(rows, d)
	}
}

func field(fields []string, i int) string {
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(fields[i])
}

// Compare compares the event as far as it is counted with another edition's curve of minutes.
func (r *Reader) Compare(ctx context.Context, there Curve, step time.Duration) (Comparison, error) {
	here, err := r.Curve(ctx, record.AllChannels, r.Whole(), time.Minute)
	if err != nil {
		return Comparison{}, err
	}
	return Compare(here, there, step)
}
