package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// pollInterval is the time between two looks of the commands that wait.
const pollInterval = time.Second

// wait calls look until it says that it is done, or the context ends.
func wait(ctx context.Context, look func() (done bool, err error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		done, err := look()
		if done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("no longer waiting, it goes on by itself: %w", ctx.Err())
		}
	}
}

func showPerson(p control.Person) string {
	switch {
	case p.ID == "":
		return p.Login
	case p.Login == "":
		return p.ID
	default:
		return p.Login + " (" + p.ID + ")"
	}
}

type optOutCmd struct {
	Add    optOutAddCmd    `cmd:"" help:"Record nothing of people any more, in no event."`
	Remove optOutRemoveCmd `cmd:"" help:"Take people out of the list again."`
	List   optOutListCmd   `cmd:"" help:"List those who opted out."`
}

func (optOutCmd) Help() string {
	return `The list lies beside the pseudonym keys, never in the database. Collectors get pseudonyms only.

Examples:
  tungstene optout add somebody --forget
  tungstene optout list`
}

type optOutAddCmd struct {
	operator
	Persons []string `arg:"" help:"Logins, Twitch ids (digits), or both as ID:LOGIN, which is not looked up." name:"person"`
	Forget  bool     `help:"Erase what all events have of them, too; the same as 'tungstene forget --all-events'."`
}

func (optOutAddCmd) Help() string {
	return "Examples:\n  tungstene optout add somebody 44322889\n  tungstene optout add somebody --forget"
}

func (c *optOutAddCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.OptOut, error) {
		return m.AddOptOut(ctx, control.NewOptOut{Persons: control.Persons{Persons: c.Persons}, Forget: c.Forget})
	}, func(w io.Writer, r control.OptOut) {
		fmt.Fprintf(w, "%d added, %d there already\n", len(r.Changed), len(r.Unchanged))
		for _, p := range r.Incomplete {
			if p.ID == "" {
				fmt.Fprintf(w, "%s: kept by the login only, so that only mentions are left out: %s\n", p.Login, r.Detail)
			} else {
				fmt.Fprintf(w, "%s: kept by the id only, so that mentions are not left out: %s\n", p.ID, r.Detail)
			}
		}
		if c.Forget {
			showForgotten(w, r.Forgotten)
		}
	})
}

type optOutRemoveCmd struct {
	operator
	Persons []string `arg:"" help:"Logins or Twitch ids." name:"person"`
}

func (optOutRemoveCmd) Help() string { return "Example:\n  tungstene optout remove somebody" }

func (c *optOutRemoveCmd) Run(ctx context.Context, env app.Env) error {
	missing := false
	err := with(&c.operator, env.Stdout, func(m *control.Client) (control.OptOut, error) {
		r, err := m.RemoveOptOut(ctx, c.Persons)
		missing = len(r.Unchanged) > 0
		return r, err
	}, func(w io.Writer, r control.OptOut) {
		fmt.Fprintf(w, "%d removed\n", len(r.Changed))
		for _, p := range r.Unchanged {
			fmt.Fprintf(w, "%s: is not on the list\n", showPerson(p))
		}
	})
	if err == nil && missing {
		return app.ErrReported // a script must notice
	}
	return err
}

type optOutListCmd struct{ operator }

func (optOutListCmd) Help() string { return "Example:\n  tungstene optout list --json" }

func (c *optOutListCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]control.Person, error) { return m.OptOutList(ctx) },
		func(w io.Writer, list []control.Person) {
			if len(list) == 0 {
				fmt.Fprintln(w, "nobody has opted out")
				return
			}
			table(w, "ID\tLOGIN", func(add func(...any)) {
				for _, p := range list {
					add(orDash(p.ID), orDash(p.Login))
				}
			})
		})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type forgetCmd struct {
	Person forgetPersonCmd `cmd:"" default:"withargs" help:"Erase people."`
	List   forgetListCmd   `cmd:"" help:"List whom an event has forgotten, by their pseudonyms."`
	Again  forgetAgainCmd  `cmd:"" help:"After a restore of the database: erase once more everybody whom an event has forgotten."`
}

func (forgetCmd) Help() string {
	return `Records of which the person is the author or the recipient are deleted; donations stay without the person; records that name the person stay without the name; minutes are counted again; what comes later is not stored. What can't be erased, it says.

Examples:
  tungstene forget --event zevent-2026 --chatter somebody --wait
  tungstene forget --all-events --chatter 44322889
  tungstene forget --event zevent-2026 --donor streamlabs:1234 --donor "Jean D"
  tungstene forget list --event zevent-2026
  tungstene forget again --event zevent-2026`
}

type forgetPersonCmd struct {
	operator
	Event     string   `help:"The event's slug."                     xor:"which"`
	AllEvents bool     `help:"Of all events whose key is there."     xor:"which"`
	Chatter   []string `help:"Login, Twitch id (digits), or both as ID:LOGIN, which is not looked up." placeholder:"PERSON"`
	Donor     []string `help:"Donor, as SOURCE:ID, or by the name that the source shows; repeat the flag for names with commas." placeholder:"DONOR" sep:"none"`
	Wait      bool     `help:"Wait until it is done, and print what was erased and what remains."`
}

func (forgetPersonCmd) Help() string {
	return "Examples:\n  tungstene forget --event zevent-2026 --chatter somebody --wait\n  tungstene forget --all-events --chatter 44322889:somebody"
}

func (c *forgetPersonCmd) Run(ctx context.Context, env app.Env) error {
	if (c.Event == "") != c.AllEvents {
		return app.Usage("name one event with --event, or give --all-events")
	}
	if len(c.Chatter)+len(c.Donor) == 0 {
		return app.Usage("name somebody with --chatter or --donor")
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]control.Forgotten, error) {
		list, err := m.Forget(ctx, control.NewForget{
			Persons: c.Chatter, Donors: c.Donor, Event: c.Event, AllEvents: c.AllEvents,
		})
		if err != nil || !c.Wait {
			return list, err
		}
		return list, c.waitFor(ctx, env, m, list)
	}, func(w io.Writer, list []control.Forgotten) {
		showForgotten(w, list)
		if len(c.Chatter) > 0 {
			fmt.Fprintln(w, "Future events will record the person unless it opts out: tungstene optout add "+strings.Join(c.Chatter, " "))
		}
	})
}

// waitFor waits until all tombstones are done, and takes in what they say then.
func (c *forgetPersonCmd) waitFor(ctx context.Context, env app.Env, m *control.Client, list []control.Forgotten) error {
	last := -1
	return wait(ctx, func() (bool, error) {
		now := make(map[string]map[string]record.Tombstone)
		pending := 0
		for i := range list {
			for j, t := range list[i].Tombstones {
				if now[t.Event] == nil {
					stones, err := m.Tombstones(ctx, t.Event)
					if err != nil {
						return false, err
					}
					now[t.Event] = make(map[string]record.Tombstone, len(stones))
					for _, s := range stones {
						now[t.Event][s.ID] = s
					}
				}
				s, ok := now[t.Event][t.ID]
				if !ok {
					return false, fmt.Errorf("the tombstone of event %s is gone: was the database restored? Ask again", t.Event)
				}
				list[i].Tombstones[j] = s
				if s.State != record.TombstoneDone {
					pending++
				}
			}
		}
		if pending > 0 && pending != last {
			fmt.Fprintf(env.Stderr, "waiting for %s\n", some(pending, "erasure", "erasures"))
		}
		last = pending
		return pending == 0, nil
	})
}

func showForgotten(w io.Writer, list []control.Forgotten) {
	for _, f := range list {
		who := showPerson(f.Person)
		if f.Donor != "" {
			who = "donor " + f.Donor
		}
		fmt.Fprintf(w, "%s\n", who)
		said := ""
		for _, t := range f.Tombstones { // a person may have two: of the id, and of the name
			line := t.Event + ": is being erased"
			if t.State == record.TombstoneDone {
				line = fmt.Sprintf("%s: erased: %s deleted, %d left without the person, %s, %s counted again", t.Event, some(t.Records, "record", "records"),
					t.Redacted, some(t.Letters, "dead letter", "dead letters"), some(t.Minutes, "minute", "minutes"))
			}
			if line != said {
				fmt.Fprintf(w, "  %s\n", line)
			}
			if said = line; t.Remains != "" {
				fmt.Fprintf(w, "  %s: remains: %s\n", t.Event, t.Remains)
			}
		}
		for _, e := range f.Skipped {
			fmt.Fprintf(w, "  %s: its key was destroyed, nobody can be found in it\n", e)
		}
		for _, s := range f.Warnings {
			fmt.Fprintf(w, "  %s\n", s)
		}
	}
}

type forgetListCmd struct {
	operator
	Event string `help:"The event's slug." required:""`
}

func (forgetListCmd) Help() string {
	return "Example:\n  tungstene forget list --event zevent-2026 --json"
}

func (c *forgetListCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]record.Tombstone, error) { return m.Tombstones(ctx, c.Event) },
		func(w io.Writer, list []record.Tombstone) {
			if len(list) == 0 {
				fmt.Fprintln(w, "nobody was forgotten")
				return
			}
			table(w, "USER\tNAME\tASKED\tSTATE\t>DELETED\t>REDACTED\t>LETTERS\t>MINUTES\tREMAINS", func(add func(...any)) {
				for _, t := range list {
					add(t.User, orDash(t.Name), showTime(t.Time, "UTC"), t.State, t.Records, t.Redacted, t.Letters, t.Minutes, orDash(t.Remains))
				}
			})
		})
}

type forgetAgainCmd struct {
	operator
	Event string `help:"The event's slug." required:""`
}

func (forgetAgainCmd) Help() string {
	return `A restored database may have the records of people and tombstones that say that they are erased. This takes the tombstones that are kept beside the keys, and has all of them erased again. "forget list" tells how far that is.

Example:
  tungstene forget again --event zevent-2026`
}

func (c *forgetAgainCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.ForgottenAgain, error) {
		return m.ForgetAgain(ctx, c.Event)
	}, func(w io.Writer, r control.ForgottenAgain) {
		fmt.Fprintf(w, "%s: %d tombstones are pending; see: tungstene forget list --event %s\n", r.Event, r.Tombstones, r.Event)
	})
}

type eventDestroyKeyCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
	Yes   bool   `help:"Say that you mean it: it can't be undone."`
}

func (eventDestroyKeyCmd) Help() string {
	return `After this nobody can be found in the event by name, not to be looked up, and not to be erased. Statistics go on. Only of an event that is over.

Example:
  tungstene event destroy-key zevent-2026 --yes`
}

func (c *eventDestroyKeyCmd) Run(ctx context.Context, env app.Env) error {
	if !c.Yes {
		return app.Usage("it can't be undone: give --yes to destroy the pseudonym key of event %s", c.Event)
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.KeyDestroyed, error) {
		return m.DestroyKey(ctx, c.Event)
	}, func(w io.Writer, k control.KeyDestroyed) {
		if k.Before {
			fmt.Fprintf(w, "the pseudonym key of event %s was already destroyed on %s\n", k.Event, showTime(k.Destroyed, "UTC"))
		} else {
			fmt.Fprintf(w, "the pseudonym key of event %s is destroyed\n", k.Event)
		}
		for _, s := range k.Remaining {
			fmt.Fprintln(w, s)
		}
	})
}

type eventFreezeCmd struct {
	operator
	Event  string `arg:"" help:"The event's slug."`
	Force  bool   `help:"Don't wait for collectors that are not heard any more: what they still have on disk goes to the dead letters."`
	Wait   bool   `help:"Wait until the manifest is signed, and say what is waited for."`
	Cancel bool   `help:"Take the wish back, while it still waits."`
}

func (eventFreezeCmd) Help() string {
	return `Waits for empty outboxes and queues, counts every minute once more, and makes a signed manifest of checksums. Nothing of a frozen event changes any more, but by forget and retention.

Examples:
  tungstene event freeze zevent-2026 --wait
  tungstene event freeze zevent-2026 --cancel`
}

func (c *eventFreezeCmd) Run(ctx context.Context, env app.Env) error {
	if c.Cancel {
		if c.Force || c.Wait {
			return app.Usage("--cancel goes with neither --force nor --wait")
		}
		return with(&c.operator, env.Stdout, func(m *control.Client) (string, error) { return c.Event, m.CancelFreeze(ctx, c.Event) },
			func(w io.Writer, event string) { fmt.Fprintf(w, "event %s will not be frozen\n", event) })
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Manifest, error) {
		f, err := m.Freeze(ctx, c.Event, control.NewFreeze{Force: c.Force})
		if err != nil || !c.Wait {
			return f, err
		}
		said := ""
		err = wait(ctx, func() (bool, error) {
			if f, err = m.Manifest(ctx, c.Event); err != nil {
				var p *control.Problem
				if errors.As(err, &p) && p.Status == http.StatusNotFound {
					err = fmt.Errorf("the freezing of event %s was cancelled", c.Event)
				}
				return false, err
			}
			if now := strings.Join(append([]string{f.State}, f.Waiting...), "\n  "); now != said && f.State != record.FreezeDone {
				fmt.Fprintln(env.Stderr, now)
				said = now
			}
			return f.State == record.FreezeDone, nil
		})
		return f, err
	}, showManifest)
}

type eventManifestCmd struct {
	operator
	Event     string `arg:"" help:"The event's slug."`
	PublicKey string `help:"Public key that must have signed, in base64; without it the one that the manifest names." placeholder:"KEY"`
}

func (eventManifestCmd) Help() string {
	return `Checks the signature, too: exit code 1 when it is not good. Whether the checksums are those of what is stored, tungstene manifest check tells.

Example:
  tungstene event manifest zevent-2026 --public-key Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=`
}

func (c *eventManifestCmd) Run(ctx context.Context, env app.Env) error {
	if err := checkPublicKey(c.PublicKey); err != nil {
		return err
	}
	var checked error
	err := with(&c.operator, env.Stdout, func(m *control.Client) (record.Manifest, error) {
		f, err := m.Manifest(ctx, c.Event)
		if err == nil {
			checked = f.Verify(c.PublicKey)
		}
		return f, err
	}, showManifest)
	return errors.Join(err, checked)
}

func showManifest(w io.Writer, f record.Manifest) {
	fmt.Fprintf(w, "%s\nstate       %s\nrequested   %s\n", f.Event, f.State, showTime(f.Requested, "UTC"))
	for i, s := range f.Waiting {
		label := ""
		if i == 0 {
			label = "waits for"
		}
		fmt.Fprintf(w, "%-10s  %s\n", label, s)
	}
	if f.State == record.FreezeWaiting {
		return
	}
	fmt.Fprintf(w, "frozen      %s\nrevision    %d (%s)\n", showTime(f.Frozen, "UTC"), f.Revision, f.Cause)
	if f.State != record.FreezeDone {
		return
	}
	fmt.Fprintf(w, "sum         %s\nsigned      %s\nsignature   %s\npublic key  %s\n", f.Sum, showTime(f.Signed, "UTC"), f.Signature, f.PublicKey)
	if len(f.Parts) > 0 {
		fmt.Fprintln(w)
		table(w, "COLLECTION\tDAY\t>DOCUMENTS\tSHA-256", func(add func(...any)) {
			for _, p := range f.Parts {
				add(p.Collection, orDash(p.Day), p.Documents, p.SHA256)
			}
		})
	}
	for _, e := range slices.Backward(f.Earlier) {
		fmt.Fprintf(w, "before: revision %d (%s), signed %s: %s\n", e.Revision, e.Cause, showTime(e.Signed, "UTC"), e.Sum)
	}
}

// showDays says how long something is kept.
func showDays(days int, erased time.Time, zone string) string {
	switch {
	case !erased.IsZero():
		return "erased " + showTime(erased, zone)
	case days == 0:
		return "for ever"
	default:
		return some(days, "day", "days") + " after the end"
	}
}
