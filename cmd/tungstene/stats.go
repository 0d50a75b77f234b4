package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
)

type statsCmd struct {
	Summary     statsSummaryCmd     `cmd:"" default:"withargs" help:"What a streamer, or the event, did in a span of time."`
	Curve       statsCurveCmd       `cmd:"" help:"The same step by step."`
	Leaderboard statsLeaderboardCmd `cmd:"" help:"Who has most of a number, and who went up or down."`
	Records     statsRecordsCmd     `cmd:"" help:"The records of the event: the most, the longest, the first."`
	Categories  statsCategoriesCmd  `cmd:"" help:"What was streamed, for how long, and how much it was watched."`
	Bursts      statsBurstsCmd      `cmd:"" help:"The moments when chat or donations exploded, and what happened then."`
	Overlap     statsOverlapCmd     `cmd:"" help:"Who chats where: audiences, what they share, newcomers. Counted from the messages."`
	Compare     statsCompareCmd     `cmd:"" help:"The event beside an earlier edition, by the time since the start."`
}

func (statsCmd) Help() string {
	return `Statistics of an event, straight from the store. Of what was observed in part, "≥" is before sums, counts and peaks (there was at least that), "~" before averages and what may also be less; "≈" is before approximate numbers. What was not observed at all is unknown.

Examples:
  tungstene stats --data ./data
  tungstene stats --data ./data --channel gamesdonequick --from 2026-09-05T00:00:00+02:00
  tungstene stats leaderboard --by messages --data ./data
  tungstene stats bursts --channel gamesdonequick --config tungstene.yaml --json`
}

// statsOf is what all views need.
type statsOf struct {
	app.Stored
	Event string `help:"Event. Default: the only one."`
	JSON  bool   `help:"Print JSON."                   name:"json"`
}

// statsIn is what views need that are of a span of time.
type statsIn struct {
	statsOf
	From time.Time `help:"Start, as in 2026-09-04T18:00:00+02:00. Default: the event's."`
	To   time.Time `help:"End (exclusive). Default: the event's."`
}

// with opens the store and calls f. Wrong use is told apart from what fails.
func (c *statsOf) with(ctx context.Context, f func(r *statistics.Reader, s store.Store) error) (err error) {
	s, err := openForReading(ctx, &c.Configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := statistics.Open(ctx, s, c.Event)
	if errors.Is(err, statistics.ErrUnknown) && c.Event == "" {
		return fmt.Errorf("%w (--event)", err)
	}
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	return f(r, s)
}

func (c *statsIn) check() error {
	if !c.From.IsZero() && !c.To.IsZero() && !c.From.Before(c.To) {
		return app.Usage("--from %s is not before --to %s", c.From.Format(time.RFC3339), c.To.Format(time.RFC3339))
	}
	return nil
}

// of is whom and which part of the event is asked for.
func (c *statsIn) of(ctx context.Context, r *statistics.Reader, channel string) (who statistics.Streamer, rg statistics.Range, err error) {
	if who, err = r.Find(ctx, channel); err != nil {
		if errors.Is(err, statistics.ErrUnknown) {
			err = fmt.Errorf("%w; 'tungstene stats leaderboard --by stream_minutes --top 0' names who streamed", err)
		}
		return who, rg, err
	}
	rg, err = c.in(r)
	return who, rg, err
}

// in is the part of the event that is asked for. It is wrong use to ask for none of it.
func (c *statsIn) in(r *statistics.Reader) (statistics.Range, error) {
	whole := r.Whole()
	rg := whole
	if !c.From.IsZero() {
		rg.From = c.From.UTC()
	}
	if !c.To.IsZero() {
		rg.To = c.To.UTC()
	}
	if rg == whole {
		return rg, nil
	}
	if rg = rg.Within(whole); rg.Length() >= time.Minute {
		return rg, nil
	}
	local := func(t time.Time) string { return t.In(r.Location()).Format(time.RFC3339) }
	span := fmt.Sprintf("is from %s to %s", local(whole.From), local(whole.To))
	if r.Event().End.IsZero() {
		span = fmt.Sprintf("began at %s and is counted until %s", local(whole.From), local(whole.To))
	}
	return rg, app.Usage("--from and --to leave less than a minute of event %s: it %s", r.Event().Slug, span)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// grouped writes a number with commas.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// What is before numbers of which a part was observed.
const (
	least = "≥ " // sums, counts and peaks: there was that much
	about = "~ " // averages, and what may also be less
)

// marked puts the marks of its coverage and error on a number; mark is that of a partial one.
func marked(mark, text, coverage string, relative float64) string {
	switch {
	case coverage != record.Complete && coverage != record.Partial:
		return "unknown"
	case relative > 0 && coverage == record.Partial:
		return fmt.Sprintf("≈ %s (±%.1f %%, of a part)", text, relative*100)
	case relative > 0:
		return fmt.Sprintf("≈ %s (±%.1f %%)", text, relative*100)
	case coverage == record.Partial:
		return mark + text
	}
	return text
}

func countText(v statistics.Count) string { return marked(least, grouped(v.N), v.Coverage, v.Error) }

func sumText(v statistics.Measure) string {
	return marked(least, groupedTo(v.N, 0), v.Coverage, v.Error)
}

func meanText(v statistics.Measure, decimals int) string {
	return marked(about, groupedTo(v.N, decimals), v.Coverage, v.Error)
}

func centsText(v statistics.Count, currency string) string {
	return marked(least, money.Format(v.N, currency, "en"), v.Coverage, v.Error)
}

// raisedText is of what was raised in a time: after a gap what was given in the gap is in it too.
func raisedText(v statistics.Count, currency string) string {
	return marked(about, money.Format(v.N, currency, "en"), v.Coverage, v.Error)
}

// groupedTo writes a number with commas and so many decimals.
func groupedTo(v float64, decimals int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', decimals, 64)
	whole, part, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil { // beyond what is counted
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	text = grouped(n)
	if part != "" {
		text += "." + part
	}
	if v < 0 && strings.Trim(text, "0.") != "" {
		text = "-" + text
	}
	return text
}

func minutesText(n int64) string { return fmt.Sprintf("%s h %02d", grouped(n/60), n%60) }

// lengthText writes a length in whole minutes.
func lengthText(d time.Duration) string { return minutesText(int64(d / time.Minute)) }

// when writes a moment in the event's time zone.
func when(r *statistics.Reader, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(r.Location()).Format("Mon 2 Jan 15:04")
}

type statsSummaryCmd struct {
	statsIn
	Channel string `help:"Login, display name or Twitch id. Default: the event."`
	Raids   bool   `help:"Tell of raids out too: all notices of the event are read for it."`
}

func (statsSummaryCmd) Help() string {
	return "Examples:\n  tungstene stats --data ./data\n  tungstene stats summary --channel gamesdonequick --raids --config tungstene.yaml --json"
}

func (c *statsSummaryCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		who, rg, err := c.of(ctx, r, c.Channel)
		if err != nil {
			return err
		}
		if c.Raids {
			if _, err := r.Raids(ctx); err != nil {
				return fmt.Errorf("read the raids: %w", err)
			}
		}
		s, err := r.Summary(ctx, who.Channel, rg)
		if err != nil {
			return fmt.Errorf("summarize: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, s)
		}
		showSummary(env.Stdout, r, &s)
		return nil
	})
}

func showSummary(w io.Writer, r *statistics.Reader, s *statistics.Summary) {
	const full = "Mon 2 Jan 2006 15:04"
	fmt.Fprintf(w, "%s, %s to %s (%s)\n", s.Name, s.From.In(r.Location()).Format(full), s.To.In(r.Location()).Format(full), r.Location())
	if s.Through.IsZero() {
		fmt.Fprintln(w, "Nothing is counted yet.")
		return
	}
	if end := s.Through.Add(time.Minute); end.Before(s.To) {
		fmt.Fprintf(w, "counted until %s\n", when(r, end))
	}
	fmt.Fprintln(w)
	table(w, "NUMBER\tVALUE", func(add func(...any)) {
		if s.Channel == record.AllChannels {
			add("channels", s.Channels)
		}
		add("streamed", marked(least, minutesText(s.StreamMinutes.N), s.StreamMinutes.Coverage, 0))
		add("watched, hours", sumText(statistics.Measure{N: s.WatchMinutes.N / 60, Coverage: s.WatchMinutes.Coverage}))
		add("viewers, average", meanText(s.AverageViewers, 0))
		add("viewers, peak", strings.TrimSpace(countText(s.PeakViewers)+"  "+when(r, s.PeakAt)))
		add("messages", countText(s.Messages))
		add("  a minute", meanText(s.MessagesPerMinute, 1))
		add("  an hour that someone watched", meanText(s.MessagesPerViewerHour, 2))
		add("  of first-time chatters", countText(s.FirstMessages))
		add("chatters", countText(s.Chatters))
		add("emotes", countText(s.Emotes))
		for i, e := range s.TopEmotes[:min(3, len(s.TopEmotes))] {
			coverage := s.Emotes.Coverage
			if !s.TopEmotesExact {
				coverage = record.Partial
			}
			add(fmt.Sprintf("  %d. %s", i+1, e.Name), marked(least, grouped(int64(e.Count)), coverage, 0))
		}
		add("subscriptions: new, renewed, given", countText(s.Subs)+", "+countText(s.Resubs)+", "+countText(s.Gifts))
		add("bits", countText(s.Bits))
		add("raids in, with viewers", countText(s.RaidsIn)+", "+countText(s.RaidInViewers))
		if s.RaidsOut.Known() {
			add("raids out, with viewers", countText(s.RaidsOut)+", "+countText(s.RaidOutViewers))
		}
		add("bans, timeouts, deletions", countText(s.Bans)+", "+countText(s.Timeouts)+", "+countText(s.Deletes))
		for _, d := range s.Donations {
			add("donations, "+d.Source, centsText(d.Corrected, d.Currency))
			if d.Corrected.N != d.Total.N {
				add("  without corrections", centsText(d.Total, d.Currency))
			}
			add("  in this time", raisedText(d.RaisedCorrected, d.Currency))
			if d.Count.Known() {
				add("  single ones, largest", countText(d.Count)+", "+centsText(d.Largest, d.Currency))
			}
		}
	})
	if s.Channel == record.AllChannels || len(s.Sessions) == 0 {
		return
	}
	fmt.Fprintln(w)
	table(w, "STREAM\tUNTIL\t>LENGTH\tCATEGORY\tTITLE", func(add func(...any)) {
		for _, one := range s.Sessions {
			from, until := when(r, one.From), when(r, one.To)
			if one.Started.Before(one.From) {
				from += " (began " + when(r, one.Started) + ")"
			}
			switch now := s.Through.Add(time.Minute); {
			case one.Ended.After(one.To):
				until += " (ended " + when(r, one.Ended) + ")"
			case one.Ended.IsZero() && one.To.Equal(now) && !now.Equal(r.Whole().To):
				until += " (running)"
			case one.Ended.IsZero():
				until += " (no end is known)"
			}
			add(from, until, lengthText(one.Length()), one.Category, one.Title)
		}
	})
}

type statsCurveCmd struct {
	statsIn
	Channel string        `help:"Login, display name or Twitch id. Default: the event."`
	Step    time.Duration `default:"1h"                                                 help:"Length of a step: 1m, or what divides an hour or is a multiple of one. Those longer than an hour follow from the event's start, days from midnight in its time zone."`
}

func (statsCurveCmd) Help() string {
	return "Examples:\n  tungstene stats curve --data ./data\n  tungstene stats curve --channel gamesdonequick --step 5m --config tungstene.yaml --json"
}

func (c *statsCurveCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		who, rg, err := c.of(ctx, r, c.Channel)
		if err != nil {
			return err
		}
		curve, err := r.Curve(ctx, who.Channel, rg, c.Step)
		if errors.Is(err, statistics.ErrStep) {
			return app.Usage("--step: %w", err)
		}
		if err != nil {
			return fmt.Errorf("make the curve: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, curve)
		}
		if len(curve.Points) == 0 {
			fmt.Fprintf(env.Stdout, "nothing is counted yet of %s to %s\n", when(r, rg.From), when(r, rg.To))
			return nil
		}
		table(env.Stdout, "TIME\t>MESSAGES\t>VIEWERS\t>PEAK\t>RAISED\t>TOTAL", func(add func(...any)) {
			for _, p := range curve.Points {
				span := when(r, p.Time)
				switch {
				case p.To.IsZero():
				case p.To.Sub(p.Time) < 24*time.Hour:
					span += p.To.In(r.Location()).Format(" to 15:04")
				default:
					span += " to " + when(r, p.To)
				}
				add(span, countText(p.Messages), meanText(p.Viewers, 0), countText(p.Peak),
					raisedText(p.RaisedCorrected, curve.Currency), centsText(p.Corrected, curve.Currency))
			}
		})
		return nil
	})
}

type statsLeaderboardCmd struct {
	statsIn
	By   string `help:"Number that it is by: donations, peak_viewers, average_viewers, watch_minutes, stream_minutes, messages, chatters, emotes, subs, bits, raid_in_viewers or first_messages. Default: donations; messages where nothing was donated."`
	Top  int    `default:"20" help:"Places that are shown; 0 for all."`
	Race bool   `help:"Print the standings over time; with --json those at the end of each hour."`
}

func (statsLeaderboardCmd) Help() string {
	return `Without --from and --to the changes are those of the last hour that is counted.

Examples:
  tungstene stats leaderboard --data ./data
  tungstene stats leaderboard --by chatters --top 0 --from 2026-09-05T00:00:00+02:00 --config tungstene.yaml
  tungstene stats leaderboard --by donations --race --data ./data --json`
}

func (c *statsLeaderboardCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.By != "" && !slices.Contains(statistics.Bys(), c.By) {
		return app.Usage("--by %q: use one of %s", c.By, strings.Join(statistics.Bys(), ", "))
	}
	ranged := !c.From.IsZero() || !c.To.IsZero()
	switch {
	case c.Top < 0:
		return app.Usage("--top %d: use 0 for all, or more", c.Top)
	case c.Race && ranged:
		return app.Usage("--race is of the whole event: it goes with neither --from nor --to")
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		bys := []string{c.By}
		if c.By == "" {
			bys = []string{statistics.ByDonated, statistics.ByMessages}
		}
		if ranged {
			b, err := c.between(ctx, r, bys)
			if err != nil {
				return err
			}
			return c.show(env.Stdout, r, b)
		}
		races, err := r.Races(ctx, bys...)
		if err != nil {
			return fmt.Errorf("make the leaderboard: %w", err)
		}
		race := races[0]
		if len(races) > 1 && len(race.Lanes) == 0 && len(races[1].Lanes) > 0 {
			race = races[1]
		}
		if !c.Race {
			return c.show(env.Stdout, r, race.Last())
		}
		if c.Top > 0 {
			race.Lanes = race.Lanes[:min(c.Top, len(race.Lanes))]
		}
		if c.JSON {
			return printJSON(env.Stdout, race)
		}
		if len(race.Lanes) == 0 {
			fmt.Fprintln(env.Stdout, nobody(race.By))
			return nil
		}
		showRace(env.Stdout, race)
		return nil
	})
}

// between is the leaderboard of a span: by the first of the numbers that somebody has.
func (c *statsLeaderboardCmd) between(ctx context.Context, r *statistics.Reader, bys []string) (b statistics.Board, err error) {
	rg, err := c.in(r)
	if err != nil {
		return b, err
	}
	summaries, err := r.Summaries(ctx, rg)
	if err != nil {
		return b, fmt.Errorf("summarize: %w", err)
	}
	whole, err := r.Summary(ctx, record.AllChannels, rg)
	if err != nil {
		return b, fmt.Errorf("summarize the event: %w", err)
	}
	summaries = append(summaries, whole) // what shares are of
	for i, by := range bys {
		next, err := statistics.BoardOf(by, summaries)
		if err != nil {
			return b, err //nolint:wrapcheck // it was checked
		}
		if i == 0 || len(b.Rows) == 0 && len(next.Rows) > 0 {
			b = next
		}
	}
	b.Range = rg
	return b, nil
}

// nobody says that a leaderboard is empty.
func nobody(by string) string {
	switch by {
	case statistics.ByDonated:
		return "no donations are recorded; try --by messages"
	case statistics.ByMessages:
		return "no messages are recorded"
	}
	return "no " + strings.ReplaceAll(by, "_", " ") + " are recorded; try --by messages"
}

// raceColumns is how many standings of a race stand beside each other.
const raceColumns = 11

// showRace shows the last standing, and those before it at equal steps.
func showRace(w io.Writer, race statistics.Race) {
	step := (len(race.Times) + raceColumns - 1) / raceColumns
	header, shown := []string{"STREAMER"}, []int{}
	for i := (len(race.Times) - 1) % step; i < len(race.Times); i += step {
		header = append(header, fmt.Sprintf(">%.0f H", math.Ceil(race.Times[i].Sub(race.From).Hours())))
		shown = append(shown, i)
	}
	fmt.Fprintf(w, "%s, places so many hours after the start\n\n", race.By)
	table(w, strings.Join(header, "\t"), func(add func(...any)) {
		for _, l := range race.Lanes {
			cells := []any{l.Name}
			for _, i := range shown {
				place := "."
				if l.Places[i] > 0 {
					place = strconv.Itoa(l.Places[i])
				}
				cells = append(cells, place)
			}
			add(cells...)
		}
	})
}

func (c *statsLeaderboardCmd) show(w io.Writer, r *statistics.Reader, b statistics.Board) error {
	if c.Top > 0 {
		b.Rows = b.Rows[:min(c.Top, len(b.Rows))]
	}
	if c.JSON {
		return printJSON(w, b)
	}
	if len(b.Rows) == 0 {
		fmt.Fprintln(w, nobody(b.By))
		return nil
	}
	fmt.Fprintf(w, "%s until %s\n\n", b.By, when(r, b.To))
	header := ">PLACE\t>CHANGE\tSTREAMER\t>VALUE"
	if b.Rows[0].Share > 0 {
		header += "\t>OF THE EVENT"
	}
	table(w, header, func(add func(...any)) {
		for _, row := range b.Rows {
			value, share, change := countText(row.Value), "", ""
			switch b.By {
			case statistics.ByDonated:
				value = centsText(row.Value, b.Currency)
			case statistics.ByAverage:
				value = marked(about, grouped(row.Value.N), row.Value.Coverage, 0)
			case statistics.ByWatchTime, statistics.ByStreamTime:
				value = marked(least, minutesText(row.Value.N), row.Value.Coverage, 0)
			}
			if row.Share > 0 {
				share = shareText(row.Share, row.Value.Coverage)
			}
			switch {
			case row.New && !b.Before.IsZero():
				change = "new"
			case row.Change != 0:
				change = fmt.Sprintf("%+d", row.Change)
			}
			cells := []any{row.Place, change, row.Name, value}
			if b.Rows[0].Share > 0 {
				cells = append(cells, share)
			}
			add(cells...)
		}
	})
	return nil
}

type statsRecordsCmd struct{ statsOf }

func (statsRecordsCmd) Help() string {
	return "Examples:\n  tungstene stats records --data ./data\n  tungstene stats records --event zevent-2026 --config tungstene.yaml --json"
}

func (c *statsRecordsCmd) Run(ctx context.Context, env app.Env) error {
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		feats, err := r.Feats(ctx)
		if err != nil {
			return fmt.Errorf("look for records: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, append([]statistics.Feat{}, feats...))
		}
		if len(feats) == 0 {
			fmt.Fprintln(env.Stdout, "no records: nothing is recorded yet")
			return nil
		}
		table(env.Stdout, "RECORD\t>VALUE\tWHO\tWHEN\tFROM", func(add func(...any)) {
			for _, f := range feats {
				value := countText(f.Value) + " " + f.Unit
				switch {
				case f.Name == statistics.MostRaised || f.Name == statistics.MostRaisedEvent:
					value = raisedText(f.Value, f.Currency)
				case f.Unit == "cents":
					value = centsText(f.Value, f.Currency)
				case strings.HasPrefix(f.Name, statistics.FirstTo): // in a gap before, it may have been earlier
					value = marked(about, minutesText(f.Value.N), f.Value.Coverage, 0)
				case f.Unit == "minutes":
					value = marked(least, minutesText(f.Value.N), f.Value.Coverage, 0)
				case f.Value.N == 1:
					value = countText(f.Value) + " " + strings.TrimSuffix(f.Unit, "s")
				}
				from, who := "", f.Streamer.Name
				if f.Other != nil {
					from = f.Other.Name
				}
				if f.Ties > 0 {
					who += fmt.Sprintf(" and %d more", f.Ties)
				}
				add(featText(f), value, who, when(r, f.At), from)
			}
		})
		return nil
	})
}

// featText is the name of a record in words: the amounts of its name with their currency, and whether it is the event's.
func featText(f statistics.Feat) string {
	amount, first := strings.CutPrefix(f.Name, statistics.FirstTo)
	amount, event := strings.CutSuffix(amount, "_event")
	units, err := strconv.ParseInt(amount, 10, 64)
	text := "first to " + money.FormatWhole(units*100, f.Currency, money.English)
	if !first || err != nil {
		text = strings.ReplaceAll(strings.TrimSuffix(f.Name, "_event"), "_", " ")
	}
	if event {
		text += ", event"
	}
	return text
}

type statsCategoriesCmd struct {
	statsIn
	Channel string `help:"Login, display name or Twitch id. Default: the event."`
}

func (statsCategoriesCmd) Help() string {
	return "Examples:\n  tungstene stats categories --data ./data\n  tungstene stats categories --channel gamesdonequick --config tungstene.yaml --json"
}

func (c *statsCategoriesCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		who, rg, err := c.of(ctx, r, c.Channel)
		if err != nil {
			return err
		}
		categories, err := r.Categories(ctx, who.Channel, rg)
		if err != nil {
			return fmt.Errorf("put the categories together: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, append([]statistics.Category{}, categories...))
		}
		if len(categories) == 0 {
			fmt.Fprintln(env.Stdout, "no streams are recorded")
			return nil
		}
		table(env.Stdout, "CATEGORY\t>CHANNELS\t>STREAMED\t>WATCHED, HOURS\t>MESSAGES\t>PEAK", func(add func(...any)) {
			for _, one := range categories {
				name := one.Name
				if name == "" {
					name = "(none)"
				}
				add(name, one.Channels, marked(about, lengthText(one.Time), one.StreamMinutes.Coverage, 0),
					sumText(statistics.Measure{N: one.WatchMinutes.N / 60, Coverage: one.WatchMinutes.Coverage}),
					countText(one.Messages), countText(one.Peak))
			}
		})
		return nil
	})
}

type statsBurstsCmd struct {
	statsIn
	Channel string `help:"Login, display name or Twitch id. Default: the event as a whole."`
	Top     int    `default:"20"                                                            help:"How many are shown."`
}

func (statsBurstsCmd) Help() string {
	return "Examples:\n  tungstene stats bursts --data ./data\n  tungstene stats bursts --channel gamesdonequick --top 5 --config tungstene.yaml --json"
}

func (c *statsBurstsCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Top < 1 {
		return app.Usage("--top %d: use 1 or more", c.Top)
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		who, rg, err := c.of(ctx, r, c.Channel)
		if err != nil {
			return err
		}
		curve, err := r.Curve(ctx, who.Channel, rg, time.Minute)
		if err != nil {
			return fmt.Errorf("make the curve: %w", err)
		}
		bursts, err := r.BurstsIn(ctx, curve, statistics.BurstConfig{Most: c.Top})
		if err != nil {
			return fmt.Errorf("look for bursts: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, append([]statistics.Burst{}, bursts...))
		}
		if len(bursts) == 0 {
			fmt.Fprintln(env.Stdout, "no bursts: neither chat nor donations stood out of their own level")
			return nil
		}
		table(env.Stdout, "WHEN\t>MINUTES\tOF\t>PEAK A MINUTE\t>BEFORE\tWHAT HAPPENED", func(add func(...any)) {
			for _, b := range bursts {
				peak, level := grouped(b.Peak), grouped(int64(b.Level))
				if b.Of == statistics.OfDonations {
					peak, level = money.Format(b.Peak, curve.Currency, "en"), money.Format(int64(b.Level), curve.Currency, "en")
				}
				peak, level = marked(least, peak, b.Coverage, 0), marked(about, level, b.Coverage, 0)
				what := make([]string, len(b.Moments))
				for i, m := range b.Moments {
					what[i] = momentText(m, curve.Currency)
				}
				add(when(r, b.PeakAt), int(b.Length()/time.Minute), b.Of, peak, level, strings.Join(what, "; "))
			}
		})
		return nil
	})
}

func momentText(m statistics.Moment, currency string) string {
	text := m.Kind
	switch m.Kind {
	case statistics.MomentGoal, statistics.MomentDonation:
		text += " " + money.Format(m.Number, currency, "en")
	case statistics.MomentRaid:
		text += " of " + grouped(m.Number)
	}
	if m.Text != "" {
		text += " (" + m.Text + ")"
	}
	return text
}

type statsOverlapCmd struct {
	statsIn
	Channel string `help:"Only the audience of this channel, and what it shares with others: login, display name or Twitch id."`
	Top     int    `default:"20"                                                           help:"How many pairs are shown; 0 for all."`
}

func (statsOverlapCmd) Help() string {
	return `Reads every message of the event until the end of the span: about a minute for ten million. Nobody is named.

Examples:
  tungstene stats overlap --data ./data
  tungstene stats overlap --channel gamesdonequick --top 0 --config tungstene.yaml --json`
}

func (c *statsOverlapCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Top < 0 {
		return app.Usage("--top %d: use 0 for all, or more", c.Top)
	}
	return c.with(ctx, func(r *statistics.Reader, _ store.Store) error {
		who, rg, err := c.of(ctx, r, c.Channel)
		if err != nil {
			return err
		}
		a, err := r.Audience(ctx, rg)
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		if who.Channel != record.AllChannels {
			return c.one(env.Stdout, r, &a, who)
		}
		if c.Top > 0 {
			a.Overlaps = a.Overlaps[:min(c.Top, len(a.Overlaps))]
		}
		if c.JSON {
			return printJSON(env.Stdout, a)
		}
		if a.Messages.N == 0 {
			fmt.Fprintf(env.Stdout, "no messages are recorded of %s to %s\n", when(r, a.From), when(r, a.To))
			return nil
		}
		showAudience(env.Stdout, r, &a)
		return nil
	})
}

// channelAudience is the audience of one channel and what it shares with others.
type channelAudience struct {
	Event string `json:"event"`
	statistics.Range
	statistics.ChannelAudience
	Overlaps []statistics.Overlap `json:"overlaps"`
}

// one shows the audience of one channel.
func (c *statsOverlapCmd) one(w io.Writer, r *statistics.Reader, a *statistics.Audience, who statistics.Streamer) error {
	// A channel without a message is not among those of an Audience.
	own := channelAudience{Event: a.Event, Range: a.Range, ChannelAudience: statistics.ChannelAudience{
		Streamer: who, Chatters: statistics.Count{Coverage: record.Unknown}, Messages: statistics.Count{Coverage: record.Unknown},
		Only: statistics.Count{Coverage: record.Unknown}, Newcomers: statistics.Count{Coverage: record.Unknown},
		Spread: []statistics.Bucket{},
	}, Overlaps: []statistics.Overlap{}}
	names := map[string]string{}
	for _, one := range a.Channels {
		names[one.Channel] = one.Name
		if one.Channel == who.Channel {
			own.ChannelAudience = one
		}
	}
	for _, o := range a.Overlaps {
		if o.A == who.Channel || o.B == who.Channel {
			own.Overlaps = append(own.Overlaps, o)
		}
	}
	if c.Top > 0 {
		own.Overlaps = own.Overlaps[:min(c.Top, len(own.Overlaps))]
	}
	if c.JSON {
		return printJSON(w, own)
	}
	if own.Messages.N == 0 {
		fmt.Fprintf(w, "no messages on %s are recorded of %s to %s\n", who.Name, when(r, a.From), when(r, a.To))
		return nil
	}
	fmt.Fprintf(w, "%s: %s chatters, %s messages, %s to %s\n", who.Name, countText(own.Chatters), countText(own.Messages), when(r, a.From), when(r, a.To))
	fmt.Fprintf(w, "%s wrote in no other channel, %s wrote here first\n\n",
		marked(about, grouped(own.Only.N), own.Only.Coverage, 0), marked(about, grouped(own.Newcomers.N), own.Newcomers.Coverage, 0))
	showSpread(w, own.Spread, own.Messages.Coverage)
	if len(own.Overlaps) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table(w, "WITH\t>SHARED\t>OF THIS CHANNEL\t>OF THE OTHER", func(add func(...any)) {
		for _, o := range own.Overlaps {
			other, here, there := o.B, o.OfA, o.OfB
			if o.B == who.Channel {
				other, here, there = o.A, o.OfB, o.OfA
			}
			add(names[other], marked(least, grouped(o.Shared), o.Coverage, 0), shareText(here, o.Coverage), shareText(there, o.Coverage))
		}
	})
	return nil
}

func shareText(share float64, coverage string) string {
	return marked(about, fmt.Sprintf("%.1f %%", share*100), coverage, 0)
}

// showSpread shows how many chatters wrote how much: who wrote in a gap too may belong into another class.
func showSpread(w io.Writer, spread []statistics.Bucket, coverage string) {
	table(w, "WROTE\t>CHATTERS\t>MESSAGES", func(add func(...any)) {
		for _, b := range spread {
			span := grouped(b.Min) + " to " + grouped(b.Max)
			switch b.Max {
			case 0:
				span = grouped(b.Min) + " or more"
			case b.Min:
				span = grouped(b.Min)
			}
			add(span, marked(about, grouped(b.Chatters), coverage, 0), marked(about, grouped(b.Messages), coverage, 0))
		}
	})
}

func showAudience(w io.Writer, r *statistics.Reader, a *statistics.Audience) {
	names := map[string]string{}
	for _, c := range a.Channels {
		names[c.Channel] = c.Name
	}
	fmt.Fprintf(w, "%s chatters, %s messages, %s to %s\n\n", countText(a.Chatters), countText(a.Messages), when(r, a.From), when(r, a.To))
	showSpread(w, a.Spread, a.Messages.Coverage)
	fmt.Fprintln(w)
	table(w, "DAY\t>CHATTERS\t>NEW\t>RETURNING", func(add func(...any)) {
		for _, d := range a.Days {
			add(d.Time.In(r.Location()).Format("Mon 2 Jan"), countText(d.Chatters),
				marked(about, grouped(d.Newcomers.N), d.Newcomers.Coverage, 0), countText(d.Returning)) // who wrote in a gap is new
		}
	})
	fmt.Fprintln(w)
	table(w, "CHANNELS\t\t>SHARED\t>OF THE FIRST\t>OF THE SECOND", func(add func(...any)) {
		for _, o := range a.Overlaps {
			add(names[o.A], names[o.B], marked(least, grouped(o.Shared), o.Coverage, 0), shareText(o.OfA, o.Coverage), shareText(o.OfB, o.Coverage))
		}
	})
}

type statsCompareCmd struct {
	statsOf
	With string        `help:"Earlier edition: another event of the store, or a CSV file of minutes (time, viewers, chat_messages, emotes, donations_count, donations_total_eur)." placeholder:"EVENT|FILE.csv" required:""`
	Step time.Duration `default:"1h"                                                                                                                                              help:"Length of a step, in whole minutes."`
}

func (statsCompareCmd) Help() string {
	return `Both are put on one axis, the time since their start. Where either was not observed there is no ratio.

Examples:
  tungstene stats compare --with zevent-2025 --event zevent-2026 --config tungstene.yaml
  tungstene stats compare --with agdq2020-minutes.csv --step 30m --data ./data --json`
}

func (c *statsCompareCmd) Run(ctx context.Context, env app.Env) error {
	if c.Step < time.Minute || c.Step%time.Minute != 0 {
		return app.Usage("--step %s: use whole minutes", c.Step)
	}
	if c.With == "" {
		return app.Usage("--with: name an event or a file")
	}
	return c.with(ctx, func(r *statistics.Reader, s store.Store) error {
		there, err := c.edition(ctx, s)
		if err != nil {
			return err
		}
		res, err := r.Compare(ctx, there, c.Step)
		if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		if c.JSON {
			return printJSON(env.Stdout, res)
		}
		fmt.Fprintf(env.Stdout, "%s beside %s\n\n", res.Here.Name, res.There.Name)
		amount := func(m statistics.Measure, currency string) string {
			return marked(least, money.FormatWhole(int64(m.N), currency, money.English), m.Coverage, 0)
		}
		after := lengthText
		if !slices.ContainsFunc(res.Points, func(p statistics.ComparisonPoint) bool { return p.After%time.Hour != 0 }) {
			after = func(d time.Duration) string { return fmt.Sprintf("%d h", d/time.Hour) }
		}
		times := func(m statistics.Measure) string {
			if !m.Known() {
				return "-"
			}
			if m.N >= 10 {
				return marked(about, fmt.Sprintf("×%.0f", m.N), m.Coverage, 0)
			}
			return marked(about, fmt.Sprintf("×%.2f", m.N), m.Coverage, 0)
		}
		table(env.Stdout, ">AFTER\t>VIEWERS\t>THERE\t>\t>MESSAGES\t>THERE\t>\t>TOTAL\t>THERE\t>", func(add func(...any)) {
			for _, p := range res.Points {
				add(after(p.After), meanText(p.Viewers.Here, 0), meanText(p.Viewers.There, 0), times(p.Viewers.Ratio),
					sumText(p.Messages.Here), sumText(p.Messages.There), times(p.Messages.Ratio),
					amount(p.Total.Here, res.Here.Currency), amount(p.Total.There, res.There.Currency), times(p.Total.Ratio))
			}
		})
		return nil
	})
}

// edition is what is compared with: a file where the name is one's.
func (c *statsCompareCmd) edition(ctx context.Context, s store.Store) (statistics.Curve, error) {
	if strings.HasSuffix(strings.ToLower(c.With), ".csv") {
		f, err := os.Open(filepath.Clean(c.With))
		if err != nil {
			return statistics.Curve{}, app.Usage("--with: %w", err)
		}
		curve, err := statistics.ReadEdition(f, strings.TrimSuffix(filepath.Base(c.With), filepath.Ext(c.With)))
		return curve, errors.Join(err, f.Close())
	}
	r, err := statistics.Open(ctx, s, c.With)
	if errors.Is(err, statistics.ErrUnknown) {
		return statistics.Curve{}, app.Usage("--with %s: there is neither such a file of minutes (its name ends in .csv) nor such an event", c.With)
	}
	if err != nil {
		return statistics.Curve{}, err //nolint:wrapcheck // it says all
	}
	curve, err := r.Curve(ctx, record.AllChannels, r.Whole(), time.Minute)
	if err != nil {
		return curve, fmt.Errorf("make the curve of event %s: %w", c.With, err)
	}
	return curve, nil
}
