package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/backfill"
)

// pollEvery is the time between two looks at something that is waited for.
const pollEvery = time.Second

// waiting tells how far something is: a line when it has changed, at most one each few seconds.
type waiting struct {
	w     io.Writer
	last  string
	told  time.Time
	quiet bool
}

func (p *waiting) tell(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if p.quiet || line == p.last || time.Since(p.told) < 2*pollEvery {
		return
	}
	p.last, p.told = line, time.Now()
	fmt.Fprintln(p.w, line)
}

// pause waits for the next look.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type deadletterCmd struct {
	List   deadletterListCmd   `cmd:"" help:"List the dead letters, newest first."`
	Show   deadletterShowCmd   `cmd:"" help:"Show a dead letter."`
	Replay deadletterReplayCmd `cmd:"" help:"Have dead letters tried again."`
	Drop   deadletterDropCmd   `cmd:"" help:"Delete dead letters for good."`
}

func (deadletterCmd) Help() string {
	return `Dead letters are batches and records that were refused: unreadable, refused by the store, or of a frozen event.

Examples:
  tungstene deadletter list --event zevent-2026
  tungstene deadletter show 3fK9aZ --body
  tungstene deadletter replay --all --code refused`
}

type deadletterListCmd struct {
	operator
	Event string `help:"Only of this event."`
	Code  string `default:"" enum:",unreadable,refused,frozen" help:"Only of this code: unreadable, refused or frozen."`
	Limit int    `default:"50"                                             help:"The most shown, 1 to 1000."`
	After string `help:"Go on behind a page: what its last line says."     placeholder:"PLACE"`
}

func (deadletterListCmd) Help() string {
	return "Example:\n  tungstene deadletter list --event zevent-2026 --code refused --limit 20"
}

func (c *deadletterListCmd) Run(ctx context.Context, env app.Env) error {
	if c.Limit < 1 || c.Limit > control.MaxLetters {
		return app.Usage("--limit %d: use 1 to %d", c.Limit, control.MaxLetters)
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.LetterPage, error) {
		return m.Letters(ctx, control.LetterQuery{Event: c.Event, Code: c.Code, Limit: c.Limit, After: c.After})
	}, func(w io.Writer, page control.LetterPage) {
		if len(page.Letters) == 0 {
			fmt.Fprintln(w, "no dead letters")
			return
		}
		table(w, "ID\tFIRST\t>COUNT\tCODE\tEVENT\t>RECORDS\tREASON", func(add func(...any)) {
			for _, l := range page.Letters {
				code := l.Code
				if l.State == record.LetterReplay {
					code += " (replay)"
				}
				add(l.ID, showTime(l.First, "UTC"), l.Count, code, cmp.Or(l.Event, "-"), l.Records, short(l.Reason))
			}
		})
		if page.Next != "" {
			fmt.Fprintf(w, "there are more: --after %s\n", page.Next)
		}
	})
}

// short is the beginning of a reason, on one line.
func short(s string) string {
	const most = 80
	text := []rune(s)
	for i, r := range text {
		if r < ' ' {
			text[i] = ' '
		}
	}
	if len(text) > most {
		return string(text[:most-1]) + "…"
	}
	return string(text)
}

type deadletterShowCmd struct {
	operator
	ID    string `arg:"" help:"Its id, or a beginning of it of at least 6 characters."`
	Body  bool   `help:"Show the records that it holds, as JSON, or the first bytes of a body that can't be read."`
	Limit int    `default:"20"                                                                                     help:"The most records shown, 1 to 500."`
}

func (deadletterShowCmd) Help() string {
	return "The records hold pseudonyms, as those in the store do.\n\nExample:\n  tungstene deadletter show 3fK9aZ --body"
}

func (c *deadletterShowCmd) Run(ctx context.Context, env app.Env) error {
	if c.Limit < 1 || c.Limit > control.MaxLetterDocuments {
		return app.Usage("--limit %d: use 1 to %d", c.Limit, control.MaxLetterDocuments)
	}
	documents := 0
	if c.Body {
		documents = c.Limit
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.LetterView, error) {
		return m.Letter(ctx, c.ID, documents)
	}, func(w io.Writer, l control.LetterView) {
		fmt.Fprintf(w, "id       %s\nstate    %s\ncode     %s\nreason   %s\nfirst    %s\nlast     %s\ncount    %d\n"+
			"event    %s\nchannel  %s\nkind     %s\nrecord   %s\nrecords  %d\nbytes    %d\nqueue    %s\nmessage  %s\n",
			l.ID, l.State, l.Code, l.Reason, showTime(l.First, "UTC"), showTime(l.Time, "UTC"), l.Count,
			cmp.Or(l.Event, "-"), cmp.Or(l.Channel, "-"), cmp.Or(string(l.Kind), "-"), cmp.Or(l.Record, "-"), l.Records, l.Bytes,
			cmp.Or(l.Queue, "-"), cmp.Or(l.Message, "-"))
		for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
			fmt.Fprintf(w, "header   %s: %s\n", name, l.Headers[name])
		}
		for _, d := range l.Documents {
			fmt.Fprintf(w, "%s\n", d)
		}
		if l.Unreadable != "" {
			fmt.Fprintf(w, "the body can't be read: %s\n", l.Unreadable)
		}
		for at := 0; at < len(l.Hex); at += 64 {
			fmt.Fprintf(w, "%06x  %s\n", at/2, l.Hex[at:min(at+64, len(l.Hex))])
		}
		if l.Cut {
			fmt.Fprintln(w, "there is more")
		}
	})
}

// letterChoice is which dead letters a command is about.
type letterChoice struct {
	IDs   []string `arg:"" help:"Ids, or beginnings of at least 6 characters." name:"id" optional:""`
	All   bool     `help:"All of them, or all that --event and --code say."`
	Event string   `help:"With --all: only of this event."`
	Code  string   `default:"" enum:",unreadable,refused,frozen" help:"With --all: only of this code."`
}

func (c *letterChoice) check() error {
	switch {
	case c.All && len(c.IDs) > 0:
		return app.Usage("name dead letters or use --all, not both")
	case !c.All && len(c.IDs) == 0:
		return app.Usage("name the dead letters, or use --all")
	case !c.All && (c.Event != "" || c.Code != ""):
		return app.Usage("--event and --code go with --all")
	}
	return nil
}

// each makes the calls that deal with all of the choice.
func (c *letterChoice) each(do func(control.LetterChoice) (control.LetterOutcome, error)) (control.LetterOutcome, error) {
	var sum control.LetterOutcome
	choices := []control.LetterChoice{{All: true, Event: c.Event, Code: c.Code}}
	if !c.All {
		choices = choices[:0]
		for ids := range slices.Chunk(c.IDs, control.MaxLetters) {
			choices = append(choices, control.LetterChoice{IDs: ids})
		}
	}
	for len(choices) > 0 {
		out, err := do(choices[0])
		sum.Changed, sum.Already, sum.Refused = sum.Changed+out.Changed, sum.Already+out.Already, sum.Refused+out.Refused
		sum.Problems = append(sum.Problems, out.Problems[:min(len(out.Problems), control.MaxLetterProblems-len(sum.Problems))]...)
		if err != nil {
			return sum, err
		}
		if out.Next == "" {
			choices = choices[1:]
		} else {
			choices[0].After = out.Next
		}
	}
	return sum, nil
}

type deadletterReplayCmd struct {
	operator
	letterChoice
}

func (deadletterReplayCmd) Help() string {
	return `A letter that is replayed goes back into the queue "store". What is refused again comes back with a higher count; what is stored already counts once. Doing it twice does no harm. What can't be read, and what is of a frozen event, is refused at once; exit code 1 then.

Examples:
  tungstene deadletter replay 3fK9aZ x81LmQ
  tungstene deadletter replay --all --event zevent-2026 --code refused`
}

func (c *deadletterReplayCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	refused := false
	err := with(&c.operator, env.Stdout, func(m *control.Client) (control.LetterOutcome, error) {
		out, err := c.each(func(choice control.LetterChoice) (control.LetterOutcome, error) { return m.ReplayLetters(ctx, choice) })
		refused = out.Refused > 0
		return out, err
	}, func(w io.Writer, out control.LetterOutcome) {
		fmt.Fprintf(w, "%d given back for replay, %d waited for it already", out.Changed, out.Already)
		if out.Refused > 0 {
			fmt.Fprintf(w, ", %d refused", out.Refused)
		}
		fmt.Fprintln(w)
		for _, p := range out.Problems {
			fmt.Fprintln(w, p)
		}
	})
	if err == nil && refused {
		return app.ErrReported
	}
	return err
}

type deadletterDropCmd struct {
	operator
	letterChoice
	Yes bool `help:"With --all: yes, all of them."`
}

func (deadletterDropCmd) Help() string {
	return `What a letter holds is then lost. One that is being replayed is not dropped.

Examples:
  tungstene deadletter drop 3fK9aZ
  tungstene deadletter drop --all --code unreadable --yes`
}

func (c *deadletterDropCmd) Run(ctx context.Context, env app.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.All && !c.Yes {
		return app.Usage("--all drops for good what may be the only copy: say --yes")
	}
	stay := 0
	err := with(&c.operator, env.Stdout, func(m *control.Client) (control.LetterOutcome, error) {
		out, err := c.each(func(choice control.LetterChoice) (control.LetterOutcome, error) { return m.DropLetters(ctx, choice) })
		stay = out.Already
		return out, err
	}, func(w io.Writer, out control.LetterOutcome) {
		fmt.Fprintf(w, "%d dropped\n", out.Changed)
		if out.Already > 0 {
			fmt.Fprintf(w, "%d are being replayed and stay\n", out.Already)
		}
	})
	if err == nil && stay > 0 {
		return app.ErrReported
	}
	return err
}

type rollupCmd struct {
	Rebuild rollupRebuildCmd `cmd:"" help:"Have closed minutes of an event counted again."`
}

func (rollupCmd) Help() string {
	return "Example:\n  tungstene rollup rebuild --event zevent-2026"
}

type rollupRebuildCmd struct {
	operator
	Event   string    `help:"The event's slug."                                                                     required:""`
	From    time.Time `help:"Begin at this time, such as 2026-09-04T18:00:00+02:00; the event's start by default." placeholder:"TIME"`
	To      time.Time `help:"End before this time; the event's end by default."                                     placeholder:"TIME"`
	Channel string    `help:"Only minutes in which this channel, a login or Twitch id, has records or documents."`
	Wait    bool      `default:"true"                                                                               help:"Wait until all are counted." negatable:""`
}

func (rollupRebuildCmd) Help() string {
	return `Closed minutes follow from the stored records; counting again changes nothing unless a document was damaged. Minutes that are not closed yet are left out.

Example:
  tungstene rollup rebuild --event zevent-2026 --from 2026-09-04T20:00:00+02:00 --to 2026-09-04T21:00:00+02:00`
}

// rebuilt is what the command prints as JSON.
type rebuilt struct {
	control.Rebuilt

	// Left is how many minutes still waited when the command ended.
	Left int `json:"left"`
}

func (c *rollupRebuildCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (rebuilt, error) {
		out := rebuilt{}
		ask := control.Rebuild{From: c.From, To: c.To, Channel: c.Channel}
		progress := waiting{w: env.Stderr, quiet: c.JSON}
		for {
			part, err := m.Rebuild(ctx, c.Event, ask)
			if err != nil {
				return out, err
			}
			if out.From.IsZero() {
				out.From = part.From
			}
			out.To = part.To
			out.Minutes += part.Minutes
			if part.Next.IsZero() {
				break
			}
			ask.From = part.Next
			progress.tell("%s", some(out.Minutes, "minute is marked", "minutes are marked"))
		}
		out.Left = out.Minutes
		for c.Wait && out.Left > 0 {
			state, err := m.RebuildState(ctx, c.Event, out.From, out.To)
			if err != nil {
				return out, err
			}
			if out.Left = state.Marks; out.Left == 0 {
				break
			}
			progress.tell("%d of %s to be counted", out.Left, some(out.Minutes, "minute waits", "minutes wait"))
			if err := pause(ctx, pollEvery); err != nil {
				return out, fmt.Errorf("wait for the recount, which goes on: %w", err)
			}
		}
		return out, nil
	}, func(w io.Writer, r rebuilt) {
		switch {
		case r.Minutes == 0:
			fmt.Fprintln(w, "no closed minute there has records or documents")
		case r.Left == 0:
			fmt.Fprintln(w, some(r.Minutes, "minute was counted again", "minutes were counted again"))
		default:
			fmt.Fprintln(w, some(r.Minutes, "minute is marked", "minutes are marked")+" and will be counted again")
		}
	})
}

type drainCmd struct {
	operator
	Collector string        `arg:""         help:"The collector's name."`
	Undo      bool          `help:"Let it have channels again."`
	Wait      bool          `default:"true" help:"Wait until it reads no channel and its outbox is empty." negatable:""`
	Timeout   time.Duration `default:"15m"  help:"Give up waiting after this; the drain goes on."`
}

func (drainCmd) Help() string {
	return `Each channel is read elsewhere before the collector leaves it. It stays drained, over restarts of anything, until --undo.

Examples:
  tungstene drain collector-3
  tungstene drain collector-3 --undo`
}

func (c *drainCmd) Run(ctx context.Context, env app.Env) error {
	if c.Timeout <= 0 {
		return app.Usage("--timeout %s: use more than 0", c.Timeout)
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.Collector, error) {
		if !c.Undo {
			k, err := m.Drain(ctx, c.Collector)
			if err != nil || !c.Wait {
				return k, err
			}
			return c.empty(ctx, env, m)
		}
		if err := m.Undrain(ctx, c.Collector); err != nil {
			return control.Collector{}, err
		}
		return findCollector(ctx, m, c.Collector)
	}, func(w io.Writer, k control.Collector) {
		switch {
		case c.Undo:
			fmt.Fprintf(w, "%s gets channels again\n", k.Name)
		case drained(k):
			fmt.Fprintf(w, "%s is drained: it reads no channel and its outbox is empty\n", k.Name)
		default:
			fmt.Fprintf(w, "%s is to be drained: %s\n", k.Name, drainState(k))
		}
	})
}

func drained(k control.Collector) bool {
	return k.Drained && k.State != control.CollectorSilent && k.Current && k.Assigned == 0 && k.Joined == 0 && k.Waiting == 0 && k.OutboxBatches == 0
}

func drainState(k control.Collector) string {
	s := fmt.Sprintf("%s assigned, %d read, ", some(k.Assigned, "channel", "channels"), k.Joined)
	if k.OutboxBatches < 0 {
		s += "its outbox can't be read"
	} else {
		s += some(int(k.OutboxBatches), "batch", "batches") + " in its outbox"
	}
	if k.Waiting > 0 {
		s += ", " + some(k.Waiting, "record", "records") + " in memory, which the outbox does not take"
	}
	if k.State == control.CollectorSilent {
		s += ", but it is silent: start it, or forget it"
	}
	return s
}

func findCollector(ctx context.Context, m *control.Client, name string) (control.Collector, error) {
	list, err := m.Collectors(ctx)
	if err != nil {
		return control.Collector{}, err
	}
	for _, k := range list {
		if k.Name == name {
			return k, nil
		}
	}
	return control.Collector{}, fmt.Errorf("there is no collector %s any more", name)
}

// empty waits until the collector is drained.
func (c *drainCmd) empty(ctx context.Context, env app.Env, m *control.Client) (control.Collector, error) {
	progress := waiting{w: env.Stderr, quiet: c.JSON}
	for end := time.Now().Add(c.Timeout); ; {
		k, err := findCollector(ctx, m, c.Collector)
		if err != nil || drained(k) {
			return k, err
		}
		if !k.Drained {
			return k, fmt.Errorf("the drain of %s was taken back", k.Name)
		}
		if time.Now().After(end) {
			return k, c.late(ctx, m, k)
		}
		progress.tell("%s: %s", k.Name, drainState(k))
		if err := pause(ctx, pollEvery); err != nil {
			return k, fmt.Errorf("wait for the drain of %s, which goes on: %w", k.Name, err)
		}
	}
}

// late says why a drain is not over in time, and what can be done.
func (c *drainCmd) late(ctx context.Context, m *control.Client, k control.Collector) error {
	why := ""
	h, err := m.Health(ctx)
	for _, cond := range h.Conditions {
		if cond.Subject == k.Name && cond.Name == "drain-waiting" {
			why = ". " + cond.Detail
		}
	}
	if err != nil || why == "" {
		why = ". The drain goes on: wait for longer with --timeout, see 'tungstene collectors', or take it back with: tungstene drain " + k.Name + " --undo"
	}
	return fmt.Errorf("%s is not drained after %s: %s%s", k.Name, c.Timeout, drainState(k), why)
}

type backfillCmd struct {
	operator
	Event   string `help:"The event's slug."                                                  required:""`
	Channel string `help:"The channel's login or Twitch id."                                  required:""`
	File    string `arg:""                                                                    help:"The file, plain or .gz; - for standard input."`
	Format  string `default:"auto"                                                            enum:"auto,irc,vod"                                  help:"irc: raw lines of IRC with their tags. vod: the chat of a broadcast as JSON. auto looks."`
	Origin  string `help:"Names the source in the records: backfill:NAME. Default the file's name." placeholder:"NAME"`
}

func (backfillCmd) Help() string {
	return `Stores what a recording of a channel's chat holds within the event. What is stored already stays as it is, so it can be repeated; minutes that get records are counted again. Exit code 1 when a line could not be used, or when the file holds nothing of that channel within the event. An event that lies wholly in the past is made with 'event create', 'channel import' and 'event stop'.

Examples:
  tungstene backfill --event zevent-2026 --channel zerator zerator.log.gz
  tungstene backfill --event zevent-2026 --channel zerator v2243.json --format vod --origin vod-2243`
}

const (
	// uploadBytes is the size of a chunk: what a slow line carries in the time of one request.
	uploadBytes = 1 << 20
	// uploadTries is how often a chunk is sent, once one has arrived, before the command gives up:
	// half a minute, in which another master takes over.
	uploadTries = 6
)

func (c *backfillCmd) Run(ctx context.Context, env app.Env) (err error) {
	in := io.Reader(os.Stdin)
	origin := cmp.Or(c.Origin, "stdin")
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return app.Usage("open the file: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in, origin = f, cmp.Or(c.Origin, filepath.Base(c.File))
	}
	lines, format, err := c.open(in)
	if err != nil {
		return app.Usage("%s: %w", c.File, err)
	}
	var (
		sum   control.Backfilled
		event record.Event
	)
	err = with(&c.operator, env.Stdout, func(m *control.Client) (control.Backfilled, error) {
		progress := waiting{w: env.Stderr, quiet: c.JSON}
		for chunk, err := range backfill.Chunks(lines, format, uploadBytes) {
			if err != nil {
				return sum, fmt.Errorf("read %s: %w", c.File, err)
			}
			tries := 1 // a wrong address is told at once
			if sum.Lines > 0 {
				tries = uploadTries
			}
			out, err := upload(ctx, m, tries, control.BackfillChunk{
				Event: c.Event, Channel: c.Channel, Format: string(format), Origin: origin, Body: chunk,
			})
			if err != nil {
				return sum, fmt.Errorf("after %d lines: %w", sum.Lines, err)
			}
			sum.Add(out)
			progress.tell("%d lines, %d stored, %d were there", sum.Lines, sum.Inserted, sum.Existed)
		}
		if unused(sum) && sum.Outside > 0 {
			e, err := m.Event(ctx, c.Event)
			if err != nil {
				return sum, err
			}
			event = e
		}
		return sum, nil
	}, func(w io.Writer, b control.Backfilled) {
		line, lines := "line", "lines"
		if format == backfill.VOD {
			line, lines = "comment", "comments"
		}
		fmt.Fprintf(w, "%s: %d stored, %d there already, %d outside of the event, %d of other channels, %d of excluded people, %d no records, %d skipped\n",
			some(b.Lines, line, lines), b.Inserted, b.Existed, b.Outside, b.OtherChannel, b.Excluded, b.Ignored, b.Skipped)
		for _, p := range b.Problems {
			if p.Line > 0 {
				fmt.Fprintf(w, "%s %d: %s\n", line, p.Line, p.Reason)
			} else {
				fmt.Fprintln(w, p.Reason)
			}
		}
	})
	if err == nil && unused(sum) {
		return fmt.Errorf("nothing of %s could be used%s", c.File, c.why(sum, event))
	}
	if err == nil && sum.Skipped > 0 {
		return app.ErrReported
	}
	return err
}

// unused says that a file has nothing that is wanted.
func unused(b control.Backfilled) bool { return b.Inserted+b.Existed+b.Excluded == 0 }

// why says what there is in a file that has nothing that is wanted.
func (c *backfillCmd) why(b control.Backfilled, e record.Event) string {
	var why []string
	if b.OtherChannel > 0 {
		others := ""
		if len(b.Others) > 0 {
			others = " (" + strings.Join(b.Others, ", ") + ")"
		}
		why = append(why, fmt.Sprintf("%d are of channels other than %s%s", b.OtherChannel, c.Channel, others))
	}
	if b.Outside > 0 {
		why = append(why, fmt.Sprintf("%d are outside of the event, which lasts from %s to %s",
			b.Outside, showTime(e.Start, e.TimeZone), showTime(e.End, e.TimeZone)))
	}
	if len(why) == 0 {
		return ""
	}
	return ": " + strings.Join(why, "; ")
}

// open unpacks the file and says what it holds.
func (c *backfillCmd) open(in io.Reader) (io.Reader, backfill.Format, error) {
	if c.Format == "auto" {
		return backfill.Open(in)
	}
	r := bufio.NewReader(in)
	head, err := r.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	if bytes.Equal(head, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(r)
		return unpacked, backfill.Format(c.Format), err
	}
	return r, backfill.Format(c.Format), nil
}

// upload sends a chunk, up to so many times until a master has answered: it can be repeated.
func upload(ctx context.Context, m *control.Client, tries int, chunk control.BackfillChunk) (control.Backfilled, error) {
	if len(chunk.Body) > control.MaxBackfillBytes {
		return control.Backfilled{Lines: 1, Skipped: 1, Problems: []control.BackfillProblem{{
			Line: 1, Reason: fmt.Sprintf("%d bytes are more than any line or comment has", len(chunk.Body)),
		}}}, nil
	}
	wait := pollEvery
	for try := 1; ; try++ {
		out, err := m.Backfill(ctx, chunk)
		var refused *control.Problem
		if err == nil || ctx.Err() != nil || try == tries ||
			errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests {
			return out, err
		}
		if err := pause(ctx, wait); err != nil {
			return out, err
		}
		wait *= 2
	}
}
