package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// signed is what commands need that change something with its author's name.
type signed struct {
	operator
	Event  string `help:"The event's slug."                                        placeholder:"EVENT" required:""`
	Author string `env:"TUNGSTENE_AUTHOR" help:"Who says so, kept with it. Default: the name of the user of this machine." placeholder:"NAME"`
}

// author is who says so: the flag, else the user of the machine.
func (s *signed) author() (string, error) {
	if s.Author != "" {
		return s.Author, nil
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username, nil
	}
	if name := os.Getenv("USER"); name != "" {
		return name, nil
	}
	return "", app.Usage("--author: say who you are")
}

// place names a channel, or the event.
type place struct {
	Channel string `help:"Twitch id or login of the streamer's channel."        placeholder:"CHANNEL" xor:"place"`
	Global  bool   `help:"Of the event as a whole." xor:"place"`
}

func (p place) name() string {
	if p.Global {
		return record.AllChannels
	}
	return p.Channel
}

func (p place) required() (string, error) {
	if p.name() == "" {
		return "", app.Usage("name the channel with --channel, or say --global for the event")
	}
	return p.name(), nil
}

// centsOf reads an amount as people write it, in the currency of the event's money.
func centsOf(ctx context.Context, m *control.Client, event, source, amount string) (int64, error) {
	t, err := m.Totals(ctx, event, source)
	if err != nil {
		return 0, err
	}
	currency := t.Currency
	if currency == "" {
		e, err := m.Event(ctx, event)
		if err != nil {
			return 0, err
		}
		currency = e.Currency
	}
	return amountIn(currency, amount)
}

func amountIn(currency, amount string) (int64, error) {
	n, err := money.Parse(amount, currency)
	if err != nil {
		return 0, app.Usage("--amount: %w", err)
	}
	return n, nil
}

type correctionCmd struct {
	Add      correctionAddCmd      `cmd:"" help:"Say what is wrong with a total."`
	List     correctionListCmd     `cmd:"" help:"List the corrections, and the totals that they are of."`
	Withdraw correctionWithdrawCmd `cmd:"" help:"Take a correction back."`
	Suspects correctionSuspectsCmd `cmd:"" help:"Point out what looks wrong in the totals."`
}

func (correctionCmd) Help() string {
	return `What a charity source said is never changed: a correction lies beside it, with author and reason, and both totals are shown. A correction that was wrong is withdrawn by another; none is ever changed or deleted.

Examples:
  tungstene correction suspects --event zevent-2026
  tungstene correction add --event zevent-2026 --channel zerator --kind mirror --time 2026-09-05T20:14:00+02:00 --to 2026-09-05T20:31:00+02:00 --reason "showed the total of another"
  tungstene correction list --event zevent-2026`
}

type correctionAddCmd struct {
	signed
	place
	Source string    `help:"Charity source whose total is wrong. Default: the event's own." placeholder:"SOURCE"`
	Kind   string    `enum:"amount,double,mirror,reset" help:"amount: --amount is added; double: --amount was counted twice; mirror: the total showed another's from --time to --to; reset: the source began anew from zero at --time." placeholder:"KIND" required:""`
	Time   time.Time `help:"From when on it holds, such as 2026-09-05T20:14:00+02:00."     placeholder:"TIME" required:""`
	To     time.Time `help:"First moment at which a mirror was over; left out while it goes on." placeholder:"TIME"`
	Amount string    `help:"Amount in the event's currency, such as 1234.50 or \"1 234,50 €\"; may be negative." placeholder:"AMOUNT"`
	Total  bool      `help:"The total that the source itself shows for the event is wrong by the same."`
	Reason string    `help:"Why, in a sentence." required:""`
	DryRun bool      `help:"Only tell what it would do."`
}

func (correctionAddCmd) Help() string {
	return `Examples:
  tungstene correction add --event zevent-2026 --channel zerator --kind amount --amount=-50 --time 2026-09-05T20:14:00+02:00 --reason "taken back by the donor"
  tungstene correction add --event zevent-2026 --channel zerator --kind reset --time 2026-09-05T20:14:00+02:00 --reason "new campaign" --dry-run`
}

func (c *correctionAddCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	channel, err := c.required()
	if err != nil {
		return err
	}
	n := control.NewCorrection{
		Channel: channel, Source: c.Source, Kind: c.Kind, Time: c.Time, To: c.To, Total: c.Total, Author: author, Reason: c.Reason, DryRun: c.DryRun,
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.CorrectionDone, error) {
		if c.Amount != "" {
			if n.Cents, err = centsOf(ctx, m, c.Event, c.Source, c.Amount); err != nil {
				return control.CorrectionDone{}, err
			}
		}
		return m.AddCorrection(ctx, c.Event, n)
	}, showCorrected)
}

func showCorrected(w io.Writer, d control.CorrectionDone) {
	what := "added"
	switch {
	case d.DryRun:
		what = "not added (dry run)"
	case d.Correction.Withdraws != "":
		what = "withdrawn by " + bareID(d.Correction.ID)
	}
	id := bareID(cmp.Or(d.Correction.Withdraws, d.Correction.ID))
	fmt.Fprintf(w, "%s  %s\n", id, what)
	if !d.Known {
		fmt.Fprintln(w, "the total that it is of is not known yet")
		return
	}
	show := func(n int64) string { return money.Format(n, d.Correction.Currency, money.English) }
	fmt.Fprintf(w, "raw         %s\ncorrected   %s → %s\nthe event   %s → %s\n",
		show(d.Raw), show(d.Before), show(d.After), show(d.EventBefore), show(d.EventAfter))
}

// bareID is an id without its event.
func bareID(id string) string {
	_, rest, ok := strings.Cut(id, "/")
	if !ok {
		return id
	}
	return rest
}

type correctionListCmd struct {
	operator
	Event string `help:"The event's slug." placeholder:"EVENT" required:""`
}

func (correctionListCmd) Help() string {
	return "Example:\n  tungstene correction list --event zevent-2026 --json"
}

func (c *correctionListCmd) Run(ctx context.Context, env app.Env) error {
	zone := ""
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.Corrections, error) {
		e, err := m.Event(ctx, c.Event)
		if err != nil {
			return control.Corrections{}, err
		}
		zone = e.TimeZone
		return m.Corrections(ctx, c.Event)
	}, func(w io.Writer, list control.Corrections) {
		if len(list.Totals) == 0 {
			fmt.Fprintln(w, "no totals: no charity source has said anything yet")
		} else {
			table(w, "TOTAL\t>RAW\t>CORRECTED\tAT\tCOVERAGE", func(add func(...any)) {
				for _, t := range list.Totals {
					add(whose(t.Login, t.Channel), money.Format(t.Raw, list.Currency, money.English), money.Format(t.Corrected, list.Currency, money.English),
						showTime(t.At, zone), t.Coverage)
				}
			})
		}
		if len(list.Corrections) == 0 {
			fmt.Fprintln(w, "\nno corrections")
			return
		}
		fmt.Fprintln(w)
		table(w, "ID\tSTATE\tCHANNEL\tSOURCE\tKIND\tFROM\tTO\t>EFFECT NOW", func(add func(...any)) {
			for _, x := range list.Corrections {
				kind, effect, said := x.Kind, money.Format(x.Effect, x.Currency, money.English), x.Reason
				if x.Withdraws != "" {
					kind, effect, said = "-", "-", "withdraws "+bareID(x.Withdraws)[:8]+": "+said
				}
				add(bareID(x.ID)[:8], x.State, whose(x.Login, x.Channel), x.Source, kind, shortTime(x.Time, zone), shortTime(x.To, zone), effect)
				add("  " + x.Author + ": " + said)
			}
		})
	})
}

// whose names the channel of a total, or the event.
func whose(login, channel string) string {
	if channel == record.AllChannels {
		return "the event"
	}
	return cmp.Or(login, channel)
}

// shortTime writes a moment of an event in its time zone.
func shortTime(t time.Time, zone string) string {
	if t.IsZero() {
		return "-"
	}
	if loc, err := time.LoadLocation(zone); err == nil {
		t = t.In(loc)
	}
	return t.Format("2 Jan 15:04:05")
}

type correctionWithdrawCmd struct {
	signed
	ID     string `arg:"" help:"The correction's id, or its beginning."`
	Reason string `help:"Why, in a sentence." required:""`
}

func (correctionWithdrawCmd) Help() string {
	return "Example:\n  tungstene correction withdraw --event zevent-2026 1994e25a --reason \"the donor gave it again\""
}

func (c *correctionWithdrawCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.CorrectionDone, error) {
		return m.WithdrawCorrection(ctx, c.Event, c.ID, control.Withdrawal{Author: author, Reason: c.Reason})
	}, showCorrected)
}

type correctionSuspectsCmd struct {
	operator
	Event  string    `help:"The event's slug." placeholder:"EVENT" required:""`
	Source string    `help:"Charity source. Default: the event's own." placeholder:"SOURCE"`
	From   time.Time `help:"Since when to look. Default: 6 hours before --to." placeholder:"TIME"`
	To     time.Time `help:"Until when to look, at most 72 hours later. Default: now." placeholder:"TIME"`
	All    bool      `help:"Those too that a correction speaks of already."`
}

func (correctionSuspectsCmd) Help() string {
	return `Mirrors, resets, double counts and steps that are implausible by the total's own usual growth. Nothing is changed; what would take it out is printed ready to run.

Examples:
  tungstene correction suspects --event zevent-2026
  tungstene correction suspects --event zevent-2026 --from 2026-09-05T00:00:00+02:00 --to 2026-09-06T00:00:00+02:00 --json`
}

func (c *correctionSuspectsCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.Suspicions, error) {
		return m.Suspects(ctx, c.Event, control.SuspectQuery{From: c.From, To: c.To, Source: c.Source, Answered: c.All})
	}, func(w io.Writer, s control.Suspicions) {
		if len(s.Suspicions) == 0 {
			fmt.Fprintf(w, "nothing looks wrong from %s to %s\n", s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
		}
		for _, x := range s.Suspicions {
			answered := ""
			if x.Answered {
				answered = " (a correction speaks of it)"
			}
			fmt.Fprintf(w, "%s%s: %s\n", x.Kind, answered, x.Evidence)
			if x.Suggestion != nil && !x.Answered {
				fmt.Fprintf(w, "  %s\n", suggested(c.Event, x, s.Currency))
			}
		}
	})
}

// suggested is the command that would take out what looks wrong.
func suggested(event string, x control.Suspicion, currency string) string {
	n := x.Suggestion
	where := "--channel " + cmp.Or(x.Login, n.Channel)
	if n.Channel == record.AllChannels {
		where = "--global"
	}
	line := fmt.Sprintf("tungstene correction add --event %s %s --source %s --kind %s --time %s", event, where, n.Source, n.Kind, n.Time.Format(time.RFC3339Nano))
	if !n.To.IsZero() {
		line += " --to " + n.To.Format(time.RFC3339Nano)
	}
	if n.Cents != 0 {
		line += " --amount=" + money.Decimal(n.Cents, currency)
	}
	return line + " --reason '" + strings.ReplaceAll(n.Reason, "'", "’") + "'"
}
