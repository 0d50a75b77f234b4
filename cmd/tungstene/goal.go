package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

type goalCmd struct {
	Import     goalImportCmd     `cmd:"" help:"Add and change goals by a list."`
	List       goalListCmd       `cmd:"" help:"List the goals, and how far they are."`
	Show       goalShowCmd       `cmd:"" help:"Show a goal."`
	Add        goalAddCmd        `cmd:"" help:"Add a goal."`
	Edit       goalEditCmd       `cmd:"" help:"Change a goal; what it was stays in its history."`
	Accomplish goalAccomplishCmd `cmd:"" help:"Say that a promise was kept, or take that back."`
	Delete     goalDeleteCmd     `cmd:"" help:"Take a goal out of the list; its history stays."`
	History    goalHistoryCmd    `cmd:"" help:"Show what was changed of a goal."`
}

func (goalCmd) Help() string {
	return `Donation goals of streamers and of the event. That one is reached follows from the totals, corrections included; that it was accomplished a person says.

Examples:
  tungstene goal import --event zevent-2026 --channel zerator goals.csv
  tungstene goal list --event zevent-2026
  tungstene goal accomplish --event zevent-2026 1994e25a`
}

type goalImportCmd struct {
	signed
	place
	List    string `arg:"" help:"File with the goals: CSV (amount,text), YAML, or the JSON of the donation-goal list; - for standard input."`
	Format  string `default:"" enum:",csv,yaml,json" help:"csv, yaml or json. Default: by the file's name, else by its looks." placeholder:"FORMAT"`
	Origin  string `help:"Names the list: its goals are compared with those imported by the same name. Default: the format." placeholder:"NAME"`
	Replace bool   `help:"Delete goals of the same list and channels that are not in it any more."`
	DryRun  bool   `help:"Change nothing, and tell what would be."`
}

func (goalImportCmd) Help() string {
	return `The same list again changes nothing. If anything in it is wrong, all of that is told and nothing is done.

Examples:
  tungstene goal import --event zevent-2026 --channel zerator goals.csv
  tungstene goal import --event zevent-2026 --global global.yaml --dry-run
  tungstene goal import --event zevent-2026 overview.json --replace`
}

func (c *goalImportCmd) Run(ctx context.Context, env app.Env) (err error) {
	author, err := c.author()
	if err != nil {
		return err
	}
	in := io.Reader(os.Stdin)
	if c.List != "-" {
		f, err := os.Open(c.List)
		if err != nil {
			return app.Usage("open the list: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	list, err := io.ReadAll(io.LimitReader(in, control.MaxGoalsBytes+1))
	if err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	if len(list) > control.MaxGoalsBytes {
		return app.Usage("the list is larger than %d bytes", control.MaxGoalsBytes)
	}
	if c.Format == "" {
		switch strings.ToLower(filepath.Ext(c.List)) {
		case ".csv", ".tsv":
			c.Format = "csv"
		case ".yaml", ".yml":
			c.Format = "yaml"
		case ".json":
			c.Format = "json"
		}
	}
	failed := false
	how := control.GoalImport{Channel: c.name(), Format: c.Format, Origin: c.Origin, Author: author, Replace: c.Replace, DryRun: c.DryRun}
	err = with(&c.operator, env.Stdout, func(m *control.Client) (control.GoalsImported, error) {
		r, err := m.ImportGoals(ctx, c.Event, how, list)
		failed = len(r.Problems) > 0
		return r, err
	}, func(w io.Writer, r control.GoalsImported) {
		for _, p := range r.Problems {
			where, value := "", ""
			if p.Line > 0 {
				where = fmt.Sprintf("line %d: ", p.Line)
			}
			if p.Value != "" {
				value = fmt.Sprintf("%q: ", p.Value)
			}
			fmt.Fprintf(w, "%s%s%s\n", where, value, p.Message)
		}
		if len(r.Problems) > 0 {
			fmt.Fprintln(w, "nothing was imported")
			return
		}
		dry := ""
		if r.DryRun {
			dry = " (dry run: nothing was changed)"
		}
		fmt.Fprintf(w, "%d added, %d changed, %d unchanged, %d deleted%s\n", r.Added, r.Changed, r.Unchanged, r.Deleted, dry)
	})
	if err == nil && failed {
		return app.ErrReported // a script must notice
	}
	return err
}

type goalListCmd struct {
	operator
	place
	Event string `help:"The event's slug." placeholder:"EVENT" required:""`
	Next  bool   `help:"Only the next one to fall of each channel, and of the event."`
}

func (goalListCmd) Help() string {
	return "Examples:\n  tungstene goal list --event zevent-2026 --channel zerator\n  tungstene goal list --event zevent-2026 --next"
}

func (c *goalListCmd) Run(ctx context.Context, env app.Env) error {
	zone := ""
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.Goals, error) {
		e, err := m.Event(ctx, c.Event)
		if err != nil {
			return control.Goals{}, err
		}
		zone = e.TimeZone
		list, err := m.Goals(ctx, c.Event, c.name())
		if c.Next {
			list.Goals = slices.DeleteFunc(list.Goals, func(g control.GoalView) bool { return !slices.Contains(list.Next, bareID(g.ID)) })
		}
		return list, err
	}, func(w io.Writer, list control.Goals) {
		if len(list.Goals) == 0 {
			fmt.Fprintln(w, "no goals")
			return
		}
		table(w, "ID\tCHANNEL\tCATEGORY\t>AMOUNT\tSTATE\t>MISSING\tETA\tGOAL", func(add func(...any)) {
			for i := range list.Goals {
				g := &list.Goals[i]
				missing := "-"
				if g.Known && g.Missing > 0 {
					missing = money.Format(g.Missing, g.Money.Currency, money.English)
				}
				id := bareID(g.ID)
				add(id[:min(8, len(id))], whose(g.Login, g.Channel), g.Category, money.Format(g.Money.Cents, g.Money.Currency, money.English),
					goalState(g), missing, showETA(g.ETA, zone), g.Name)
			}
		})
	})
}

// goalState is how far a goal is, in a word or two.
func goalState(g *control.GoalView) string {
	switch {
	case g.Deleted:
		return "deleted"
	case !g.Accomplished.IsZero():
		return "accomplished"
	case g.Category == record.GoalIncentive:
		return "open"
	case !g.Known:
		return "unknown"
	case g.Category == record.GoalRecurrent:
		return fmt.Sprintf("%d times", g.Times)
	case g.Reached:
		return "reached"
	}
	return fmt.Sprintf("%d.%d%%", g.Progress/10, g.Progress%10)
}

// showETA is when a goal falls, and how sure that is.
func showETA(e control.Estimate, zone string) string {
	if e.At.IsZero() {
		return "-"
	}
	clock := func(t time.Time) string {
		if loc, err := time.LoadLocation(zone); err == nil {
			t = t.In(loc)
		}
		return t.Format("2 Jan 15:04")
	}
	until := "later"
	if !e.To.IsZero() {
		until = clock(e.To)
	}
	return fmt.Sprintf("%s (%s: %s to %s)", clock(e.At), e.Certainty, clock(e.From), until)
}

// goalArg names one goal.
type goalArg struct {
	ID string `arg:"" help:"The goal's id, or its beginning."`
}

type goalShowCmd struct {
	operator
	goalArg
	Event string `help:"The event's slug." placeholder:"EVENT" required:""`
}

func (goalShowCmd) Help() string {
	return "Example:\n  tungstene goal show --event zevent-2026 1994e25a"
}

func (c *goalShowCmd) Run(ctx context.Context, env app.Env) error {
	return showOne(ctx, &c.operator, env, c.Event, c.ID, func(w io.Writer, g control.GoalView, zone string) {
		fmt.Fprintf(w, "%s  %s\nchannel       %s\ncategory      %s\namount        %s\nstate         %s\n",
			bareID(g.ID), g.Name, whose(g.Login, g.Channel), g.Category, money.Format(g.Money.Cents, g.Money.Currency, money.English), goalState(&g))
		if g.Known && g.Category != record.GoalIncentive {
			fmt.Fprintf(w, "current       %s\nmissing       %s\n",
				money.Format(g.Current, g.Money.Currency, money.English), money.Format(g.Missing, g.Money.Currency, money.English))
		}
		if g.Reached {
			fmt.Fprintf(w, "reached       %s\n", showTime(g.ReachedAt, zone))
		}
		if !g.ETA.At.IsZero() {
			fmt.Fprintf(w, "expected      %s\n", showETA(g.ETA, zone))
		}
		fmt.Fprintf(w, "accomplished  %s\n", showTime(g.Accomplished, zone))
		for _, l := range g.Links {
			fmt.Fprintf(w, "link          %s\n", l)
		}
		if g.Origin != "" {
			fmt.Fprintf(w, "imported by   %s\n", g.Origin)
		}
	})
}

// showOne reads a goal and shows it.
func showOne(ctx context.Context, o *operator, env app.Env, event, id string, show func(io.Writer, control.GoalView, string)) error {
	zone := ""
	return with(o, env.Stdout, func(m *control.Client) (control.GoalView, error) {
		e, err := m.Event(ctx, event)
		if err != nil {
			return control.GoalView{}, err
		}
		zone = e.TimeZone
		return m.Goal(ctx, event, id)
	}, func(w io.Writer, g control.GoalView) { show(w, g, zone) })
}

type goalHistoryCmd struct {
	operator
	goalArg
	Event string `help:"The event's slug." placeholder:"EVENT" required:""`
}

func (goalHistoryCmd) Help() string {
	return "Example:\n  tungstene goal history --event zevent-2026 1994e25a"
}

func (c *goalHistoryCmd) Run(ctx context.Context, env app.Env) error {
	return showOne(ctx, &c.operator, env, c.Event, c.ID, func(w io.Writer, g control.GoalView, zone string) {
		table(w, "TIME\tAUTHOR\tWHAT\tFROM\tTO", func(add func(...any)) {
			for _, h := range g.History {
				add(showTime(h.Time, zone), h.Author, h.Field, h.From, h.To)
			}
		})
	})
}

type goalAddCmd struct {
	signed
	place
	Amount   string   `help:"Amount in the event's currency, such as 1500 or \"1 500 €\"." placeholder:"AMOUNT"`
	Text     string   `arg:"" help:"What is promised."`
	Category string   `default:"donation" enum:"donation,global,donation_equal,donation_more_than,donation_largest,recurent,incentive" help:"donation: the channel's total; global: the event's; donation_equal, donation_more_than, donation_largest: a single donation; recurent: each time the total has grown by the amount; incentive: a person decides."`
	Link     []string `help:"Address of what was promised; can be repeated." placeholder:"URL" sep:"none"`
}

func (goalAddCmd) Help() string {
	return "Example:\n  tungstene goal add --event zevent-2026 --channel zerator --amount 15000 \"I shave my head\""
}

func (c *goalAddCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	if c.Category == record.GoalGlobal && c.name() == "" {
		c.Global = true
	}
	channel, err := c.required()
	if err != nil {
		return err
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Goal, error) {
		n := control.NewGoal{Channel: channel, Category: c.Category, Name: c.Text, Links: c.Link, Author: author}
		if n.Cents, err = goalCents(ctx, m, c.Event, c.Amount); err != nil {
			return record.Goal{}, err
		}
		return m.AddGoal(ctx, c.Event, n)
	}, showGoal)
}

// goalCents reads the amount of a goal, in the event's currency; none is 0.
func goalCents(ctx context.Context, m *control.Client, event, amount string) (int64, error) {
	if amount == "" {
		return 0, nil
	}
	e, err := m.Event(ctx, event)
	if err != nil {
		return 0, err
	}
	return amountIn(e.Currency, amount)
}

func showGoal(w io.Writer, g record.Goal) {
	state := ""
	if !g.Accomplished.IsZero() {
		state = ", accomplished"
	}
	fmt.Fprintf(w, "%s  %s  %s: %s%s\n", bareID(g.ID), g.Category, money.Format(g.Money.Cents, g.Money.Currency, money.English), g.Name, state)
}

type goalEditCmd struct {
	signed
	goalArg
	Amount   *string  `help:"Amount in the event's currency." placeholder:"AMOUNT"`
	Text     *string  `help:"What is promised." placeholder:"TEXT"`
	Category *string  `help:"As of goal add." placeholder:"CATEGORY"`
	Link     []string `help:"Addresses, in place of those that there are; can be repeated." placeholder:"URL" sep:"none"`
	NoLinks  bool     `help:"Take all addresses away."`
}

func (goalEditCmd) Help() string {
	return "Example:\n  tungstene goal edit --event zevent-2026 1994e25a --amount 20000 --text \"I shave my head and my beard\""
}

func (c *goalEditCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	if c.Amount == nil && c.Text == nil && c.Category == nil && len(c.Link) == 0 && !c.NoLinks {
		return app.Usage("nothing to change: give at least one flag")
	}
	p := control.GoalPatch{Category: c.Category, Name: c.Text, Author: author}
	if len(c.Link) > 0 || c.NoLinks {
		links := append([]string{}, c.Link...)
		p.Links = &links
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Goal, error) {
		if c.Amount != nil {
			n, err := goalCents(ctx, m, c.Event, *c.Amount)
			if err != nil {
				return record.Goal{}, err
			}
			p.Cents = &n
		}
		return m.ChangeGoal(ctx, c.Event, c.ID, p)
	}, showGoal)
}

type goalAccomplishCmd struct {
	signed
	goalArg
	Undo bool `help:"Take it back."`
}

func (goalAccomplishCmd) Help() string {
	return "Examples:\n  tungstene goal accomplish --event zevent-2026 1994e25a\n  tungstene goal accomplish --event zevent-2026 1994e25a --undo"
}

func (c *goalAccomplishCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	done := !c.Undo
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Goal, error) {
		return m.ChangeGoal(ctx, c.Event, c.ID, control.GoalPatch{Accomplished: &done, Author: author})
	}, showGoal)
}

type goalDeleteCmd struct {
	signed
	goalArg
}

func (goalDeleteCmd) Help() string {
	return "Example:\n  tungstene goal delete --event zevent-2026 1994e25a"
}

func (c *goalDeleteCmd) Run(ctx context.Context, env app.Env) error {
	author, err := c.author()
	if err != nil {
		return err
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (map[string]string, error) {
		return map[string]string{"deleted": c.ID}, m.DeleteGoal(ctx, c.Event, c.ID, author)
	}, func(w io.Writer, _ map[string]string) { fmt.Fprintf(w, "%s  deleted\n", c.ID) })
}
