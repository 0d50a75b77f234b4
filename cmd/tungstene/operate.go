package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// operator is what commands need that speak to the master.
type operator struct {
	File    app.ConfigFile   `env:"TUNGSTENE_CONFIG" help:"YAML file with the configuration." name:"config" placeholder:"FILE" short:"c"`
	Data    string           `config:"data" default:"data" help:"Data folder, where an 'up' on this machine keeps its operator token."`
	Listen  string           `config:"listen" default:"127.0.0.1:8080" help:"Address of the master on this machine, where master-urls names none."`
	TLSCert string           `config:"listen_tls.cert_file" help:"Certificate of the master on this machine: it is spoken to over HTTPS then." hidden:"" name:"listen-tls-cert-file"`
	Master  app.MasterConfig `embed:""               prefix:"master-"`
	JSON    bool             `help:"Print JSON."`
}

// Shown is what help shows of the configuration.
func (*operator) Shown() []string {
	return []string{"data", "listen", "master.urls", "master.operator_token_file", "master.ca_file", "master.cert_file", "master.key_file"}
}

func (o *operator) client() (*control.Client, error) {
	cfg := app.Config{Data: o.Data, Listen: o.Listen, ListenTLS: app.ListenTLSConfig{CertFile: o.TLSCert}, Master: o.Master}
	token, err := app.OperatorToken(cfg)
	if err != nil {
		return nil, o.File.Locate(err)
	}
	c, err := app.NewMasterClient(cfg, app.MasterURLs(cfg), token)
	return c, o.File.Locate(err)
}

// with calls the master and prints what it answered: as JSON, or as the command shows it.
func with[T any](o *operator, w io.Writer, call func(*control.Client) (T, error), show func(io.Writer, T)) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := call(c)
	if err != nil {
		return o.explain(err)
	}
	if o.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(answer)
	}
	show(w, answer)
	return nil
}

// explain adds to an error of a call what the operator can do about it, and says which flag or argument
// a master finds wrong.
func (o *operator) explain(err error) error {
	var (
		dial *net.OpError
		p    *control.Problem
	)
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("%w: is a master running there? Name it with --master-urls, or in master.urls of the configuration", err)
	case !errors.As(err, &p):
		return err
	case p.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w: the token comes from %s; name the masters' file with --master-operator-token-file, master.operator_token_file or TUNGSTENE_OPERATOR_TOKEN",
			err, app.OperatorTokenOrigin(app.Config{Data: o.Data, Master: o.Master}))
	case len(p.Errors) > 0 && p.Status < http.StatusInternalServerError:
		var found []string
		for _, d := range p.Errors {
			found = append(found, meant(d.Location)+": "+plainly(d.Message))
		}
		doing := strings.TrimSuffix(err.Error(), p.Error())
		if doing == err.Error() {
			return err // of several masters
		}
		return app.Usage("%s%s", doing, strings.Join(found, "; "))
	}
	return err
}

// meant is what an operator calls a part of a request.
func meant(location string) string {
	in, name, ok := strings.Cut(location, ".")
	if !ok {
		in, name = "", location
	}
	name, _, _ = strings.Cut(name, "[")
	switch {
	case name == "slug":
		return "the event's slug"
	case in == "path", name == "id", name == "body":
		return "the " + name
	case name == "ids":
		return "the id"
	case name == "cents":
		return "--amount"
	case name == "persons":
		return "the people"
	}
	return "--" + strings.ReplaceAll(name, "_", "-")
}

// plainly is what the check of a request says, without its jargon.
func plainly(message string) string {
	for _, m := range [...]struct{ found, said string }{
		{"expected string to be ", "use "},
		{"expected value to be one of ", "use one of "},
		{"expected length <= ", "too long, the most characters are "},
		{"expected length >= ", "too short, the least characters are "},
		{"expected number <= ", "use at most "},
		{"expected number >= ", "use at least "},
		{"expected array length <= ", "too many, the most are "},
	} {
		if rest, ok := strings.CutPrefix(message, m.found); ok {
			return m.said + rest
		}
	}
	return message
}

// some is a count of things: "1 minute", "2 minutes".
func some(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// showTime writes a moment in the event's time zone.
func showTime(t time.Time, zone string) string {
	if t.IsZero() {
		return "-"
	}
	if loc, err := time.LoadLocation(zone); err == nil {
		t = t.In(loc)
	}
	return t.Format("2006-01-02 15:04:05 -07:00")
}

type eventCmd struct {
	Create     eventCreateCmd     `cmd:"" help:"Create an event, as a draft."`
	List       eventListCmd       `cmd:"" help:"List the events."`
	Show       eventShowCmd       `cmd:"" help:"Show an event."`
	Set        eventSetCmd        `cmd:"" help:"Change an event."`
	Schedule   eventStateCmd      `cmd:"" help:"Have a draft begin by itself at its start."`
	Unschedule eventStateCmd      `cmd:"" help:"Take a scheduled event back: it is a draft again."`
	Start      eventStateCmd      `cmd:"" help:"Start collecting now."`
	Stop       eventStateCmd      `cmd:"" help:"Stop collecting now."`
	Freeze     eventFreezeCmd     `cmd:"" help:"Freeze an event that is over: nothing of it changes any more."`
	Manifest   eventManifestCmd   `cmd:"" help:"Show the checksums of a frozen event, and check their signature."`
	DestroyKey eventDestroyKeyCmd `cmd:"" help:"Destroy the pseudonym key of an event that is over, for good."`
	Apply      eventApplyCmd      `cmd:"" help:"Make an event of a list of channels and start it, if that is not done yet."`
}

func (eventCmd) Help() string {
	return `Example:
  tungstene event create zevent-2026 --name "ZEvent 2026" --start 2026-09-04T18:00:00+02:00 --end 2026-09-07T01:00:00+02:00 --time-zone Europe/Paris --replicas 2
  tungstene channel import zevent-2026 streamers.csv
  tungstene event schedule zevent-2026`
}

func showEvent(w io.Writer, e record.Event) {
	fmt.Fprintf(w, "%s  %s\nstate      %s\nstart      %s\nend        %s\ntime zone  %s\ncurrency   %s\nreplicas   %d\nkeep text  %t\n",
		e.Slug, e.Name, e.State, showTime(e.Start, e.TimeZone), showTime(e.End, e.TimeZone), e.TimeZone, e.Currency, e.Replicas, e.KeepText)
	if e.Donations != "" {
		fmt.Fprintf(w, "donations  of %s\n", e.Donations)
	}
	fmt.Fprintf(w, "texts      %s\n", showTexts(e))
	fmt.Fprintf(w, "answers    %s\n", showLapse(e, e.AnswerDays, e.AnswersErased))
	fmt.Fprintf(w, "records    %s\n", showDays(e.RecordDays, e.RecordsErased, e.TimeZone))
	if !e.KeyDestroyed.IsZero() {
		fmt.Fprintf(w, "key        destroyed %s\n", showTime(e.KeyDestroyed, e.TimeZone))
	}
}

// showTexts says how long texts are kept.
func showTexts(e record.Event) string {
	kept := showLapse(e, e.TextDays, e.TextErased)
	if !e.KeepText && e.TextErased.IsZero() {
		kept += " (none are stored: --keep-text)"
	}
	return kept
}

// showLapse says how long something is kept that goes with the records at the latest.
func showLapse(e record.Event, days int, erased time.Time) string {
	kept := showDays(days, erased, e.TimeZone)
	switch {
	case !erased.IsZero():
	case days == 0 && e.RecordDays > 0:
		kept = "as long as the records"
	case e.RecordDays > 0 && days > e.RecordDays:
		kept = "as long as the records, which go before " + kept
	}
	return kept
}

type eventCreateCmd struct {
	operator
	Event      string    `arg:""                  help:"Slug: lower-case letters, digits and dashes. It stands in ids and URLs, and never changes."`
	Name       string    `help:"Name shown to people."`
	Start      time.Time `help:"Start, such as 2026-09-04T18:00:00+02:00." placeholder:"TIME"`
	End        time.Time `help:"End."                                      placeholder:"TIME"`
	TimeZone   string    `default:"Europe/Paris"  help:"IANA time zone that days and displayed times go by."`
	Currency   string    `default:"EUR"           help:"ISO 4217 code of the currency shown."`
	Replicas   int       `default:"1"             help:"On how many collectors each channel is read: 1 or 2."`
	KeepText   bool      `help:"Store the text of messages."`
	Donations  string    `help:"Name of the charity source whose numbers are the event's, where there are several." placeholder:"SOURCE"`
	TextDays   int       `help:"Days after its end that texts are kept; 0 for as long as the records." placeholder:"DAYS"`
	AnswerDays int       `help:"Days after its end that the answers of charity sources are kept; 0 for as long as the records." placeholder:"DAYS"`
	RecordDays int       `help:"Days after its end that records which speak of chatters are kept, once it is frozen; 0 for ever." placeholder:"DAYS"`
}

func (eventCreateCmd) Help() string {
	return `Example:
  tungstene event create zevent-2026 --name "ZEvent 2026" --start 2026-09-04T18:00:00+02:00 --end 2026-09-07T01:00:00+02:00 --replicas 2`
}

func (c *eventCreateCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Event, error) {
		return m.CreateEvent(ctx, control.NewEvent{
			Slug: c.Event, Name: c.Name, Start: c.Start, End: c.End, TimeZone: c.TimeZone,
			Currency: c.Currency, KeepText: c.KeepText, Replicas: c.Replicas,
			Donations: c.Donations, TextDays: c.TextDays, AnswerDays: c.AnswerDays, RecordDays: c.RecordDays,
		})
	}, showEvent)
}

type eventListCmd struct{ operator }

func (eventListCmd) Help() string { return "Example:\n  tungstene event list --json" }

func (c *eventListCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]record.Event, error) { return m.Events(ctx) },
		func(w io.Writer, events []record.Event) {
			if len(events) == 0 {
				fmt.Fprintln(w, "no events; 'tungstene event create' makes one")
				return
			}
			table(w, "EVENT\tSTATE\tSTART\tEND\t>REPLICAS\tNAME", func(add func(...any)) {
				for _, e := range events {
					add(e.Slug, e.State, showTime(e.Start, e.TimeZone), showTime(e.End, e.TimeZone), e.Replicas, e.Name)
				}
			})
		})
}

type eventShowCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
}

func (eventShowCmd) Help() string { return "Example:\n  tungstene event show zevent-2026" }

func (c *eventShowCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Event, error) { return m.Event(ctx, c.Event) }, showEvent)
}

type eventSetCmd struct {
	operator
	Event      string     `arg:"" help:"The event's slug."`
	Name       *string    `help:"Name shown to people."`
	Start      *time.Time `help:"Start; not of an event that is live."            placeholder:"TIME"`
	End        *time.Time `help:"End."                                            placeholder:"TIME"`
	TimeZone   *string    `help:"IANA time zone."`
	Currency   *string    `help:"ISO 4217 code."`
	Replicas   *int       `help:"1 or 2."`
	KeepText   *bool      `help:"Store the text of messages." negatable:""`
	Donations  *string    `help:"Name of the charity source whose numbers are the event's; empty for the first that has running totals." placeholder:"SOURCE"`
	TextDays   *int       `help:"Days after its end that texts are kept; 0 for as long as the records." placeholder:"DAYS"`
	AnswerDays *int       `help:"Days after its end that the answers of charity sources are kept; 0 for as long as the records." placeholder:"DAYS"`
	RecordDays *int       `help:"Days after its end that records which speak of chatters are kept; 0 for ever." placeholder:"DAYS"`
}

func (eventSetCmd) Help() string {
	return "Example:\n  tungstene event set zevent-2026 --end 2026-09-07T02:00:00+02:00"
}

func (c *eventSetCmd) Run(ctx context.Context, env app.Env) error {
	patch := control.EventPatch{
		Name: c.Name, Start: c.Start, End: c.End, TimeZone: c.TimeZone, Currency: c.Currency, KeepText: c.KeepText, Replicas: c.Replicas,
		Donations: c.Donations, TextDays: c.TextDays, AnswerDays: c.AnswerDays, RecordDays: c.RecordDays,
	}
	if patch == (control.EventPatch{}) {
		return app.Usage("nothing to change: give at least one flag")
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Event, error) {
		return m.UpdateEvent(ctx, c.Event, patch)
	}, showEvent)
}

// eventStateCmd is schedule, unschedule, start and stop: the command's own name is the action.
type eventStateCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
}

func (eventStateCmd) Help() string {
	return "Examples:\n  tungstene event schedule zevent-2026\n  tungstene event unschedule zevent-2026\n  tungstene event start zevent-2026\n  tungstene event stop zevent-2026"
}

func (c *eventStateCmd) Run(ctx context.Context, env app.Env, at app.Command) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Event, error) {
		return m.SetState(ctx, c.Event, control.Action(at))
	}, showEvent)
}

type channelCmd struct {
	Import  channelImportCmd  `cmd:"" help:"Add the channels of a list to an event."`
	Add     channelAddCmd     `cmd:"" help:"Add channels to an event, live or not."`
	List    channelListCmd    `cmd:"" help:"List the channels of an event."`
	Remove  channelRemoveCmd  `cmd:"" help:"Take channels out of an event; what was collected stays."`
	Resolve channelResolveCmd `cmd:"" help:"Look all channels up at Twitch now."`
}

func (channelCmd) Help() string {
	return "Examples:\n  tungstene channel import zevent-2026 streamers.txt\n  tungstene channel add zevent-2026 zerator\n  tungstene channel list zevent-2026"
}

type channelImportCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
	List  string `arg:"" help:"File with the logins: a line each, CSV, or JSON; - for standard input."`
}

func (channelImportCmd) Help() string {
	return `A line may be a login, @login or a twitch.tv address; # begins a comment. CSV needs a column login, channel or name, or has them first. JSON is an array of logins, or of objects with a login.

Examples:
  tungstene channel import zevent-2026 streamers.csv
  printf 'zerator\n' | tungstene channel import zevent-2026 -`
}

// maxList bounds what is read of a list, in bytes.
const maxList = 4 << 20

func (c *channelImportCmd) Run(ctx context.Context, env app.Env) (err error) {
	in := io.Reader(os.Stdin)
	if c.List != "-" {
		f, err := os.Open(c.List)
		if err != nil {
			return app.Usage("open the list: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	list, err := io.ReadAll(io.LimitReader(in, maxList+1))
	if err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	if len(list) > maxList {
		return app.Usage("the list is larger than %d bytes", maxList)
	}
	kind := ""
	switch {
	case strings.HasSuffix(c.List, ".csv"):
		kind = "text/csv"
	case strings.HasSuffix(c.List, ".json"):
		kind = "application/json"
	case strings.HasSuffix(c.List, ".txt"):
		kind = "text/plain"
	}
	return importChannels(ctx, &c.operator, env, c.Event, kind, list)
}

func importChannels(ctx context.Context, o *operator, env app.Env, event, kind string, list []byte) error {
	failed := false
	err := with(o, env.Stdout, func(m *control.Client) (control.Imported, error) {
		res, err := m.ImportChannels(ctx, event, kind, list)
		failed = len(res.Invalid)+len(res.Unknown) > 0
		return res, err
	}, func(w io.Writer, r control.Imported) {
		fmt.Fprintf(w, "%d added, %d there already\n", len(r.Added), len(r.Existing))
		for _, l := range r.Duplicates {
			fmt.Fprintf(w, "line %d: %s: %s\n", l.Line, l.Value, l.Message)
		}
		for _, l := range r.Invalid {
			fmt.Fprintf(w, "line %d: %s: %s\n", l.Line, l.Value, l.Message)
		}
		for _, login := range r.Unknown {
			fmt.Fprintf(w, "%s: Twitch knows no such login; it stays in the list and is looked up again\n", login)
		}
		if len(r.Unresolved) > 0 {
			fmt.Fprintf(w, "%d not looked up yet: %s\n", len(r.Unresolved), r.Detail)
		}
	})
	if err == nil && failed {
		return app.ErrReported // a script must notice
	}
	return err
}

type channelAddCmd struct {
	operator
	Event  string   `arg:"" help:"The event's slug."`
	Logins []string `arg:"" help:"Logins."`
}

func (channelAddCmd) Help() string {
	return "Example:\n  tungstene channel add zevent-2026 zerator domingo"
}

func (c *channelAddCmd) Run(ctx context.Context, env app.Env) error {
	return importChannels(ctx, &c.operator, env, c.Event, "text/plain", []byte(strings.Join(c.Logins, "\n")))
}

type channelListCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
}

func (channelListCmd) Help() string { return "Example:\n  tungstene channel list zevent-2026 --json" }

func (c *channelListCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]record.Channel, error) { return m.Channels(ctx, c.Event) },
		func(w io.Writer, channels []record.Channel) {
			if len(channels) == 0 {
				fmt.Fprintln(w, "no channels; 'tungstene channel import' adds them")
				return
			}
			table(w, "LOGIN\tID\tNAME\tSTATUS", func(add func(...any)) {
				for _, ch := range channels {
					add(ch.Login, ch.Channel, ch.Name, ch.Status)
				}
			})
		})
}

type channelRemoveCmd struct {
	operator
	Event    string   `arg:"" help:"The event's slug."`
	Channels []string `arg:"" help:"Logins or Twitch ids."`
}

func (channelRemoveCmd) Help() string {
	return "Example:\n  tungstene channel remove zevent-2026 zerator"
}

func (c *channelRemoveCmd) Run(ctx context.Context, env app.Env) error {
	var failed error // the others are removed all the same
	err := with(&c.operator, env.Stdout, func(m *control.Client) ([]string, error) {
		removed := []string{}
		for _, ch := range c.Channels {
			if err := m.RemoveChannel(ctx, c.Event, ch); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			removed = append(removed, ch)
		}
		return removed, nil
	}, func(w io.Writer, removed []string) { fmt.Fprintf(w, "%d removed\n", len(removed)) })
	return errors.Join(err, failed)
}

type channelResolveCmd struct {
	operator
	Event string `arg:"" help:"The event's slug."`
}

func (channelResolveCmd) Help() string {
	return "Example:\n  tungstene channel resolve zevent-2026"
}

func (c *channelResolveCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (control.Resolved, error) { return m.ResolveChannels(ctx, c.Event) },
		func(w io.Writer, r control.Resolved) {
			fmt.Fprintf(w, "%d found, %d renamed, %d unknown, %d gone, %d not looked up\n",
				len(r.Resolved), len(r.Renamed), len(r.Unknown), len(r.Gone), len(r.Unresolved))
			for what, logins := range map[string][]string{"renamed": r.Renamed, "unknown": r.Unknown, "gone": r.Gone} {
				for _, l := range logins {
					fmt.Fprintf(w, "%s: %s\n", what, l)
				}
			}
			if r.Detail != "" {
				fmt.Fprintln(w, r.Detail)
			}
		})
}

type collectorsCmd struct {
	List   collectorsListCmd   `cmd:"" default:"withargs" help:"List the collectors."`
	Forget collectorsForgetCmd `cmd:"" help:"Tell the master that a collector won't come back."`
}

func (collectorsCmd) Help() string {
	return "Examples:\n  tungstene collectors\n  tungstene collectors forget collector-3"
}

type collectorsListCmd struct{ operator }

func (collectorsListCmd) Help() string {
	return `Below the table stands every condition that the master knows of: what is wrong, with whom, and what to do. With --json each collector has its own; all are in GET /v1/health, and in 'tungstene doctor'.

Example:
  tungstene collectors --json`
}

func (c *collectorsListCmd) Run(ctx context.Context, env app.Env) error {
	var health control.Health
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]control.Collector, error) {
		list, err := m.Collectors(ctx)
		if err == nil && !c.JSON {
			health, err = m.Health(ctx)
		}
		return list, err
	},
		func(w io.Writer, list []control.Collector) {
			table(w, "COLLECTOR\tNODE\tSTATE\t>JOINED\t>ASSIGNED\t>CAPACITY\t>MESSAGES/S\t>OUTBOX\tSEEN", func(add func(...any)) {
				for _, k := range list {
					state := k.State
					if k.Drained {
						state += " (drain)"
					}
					outbox := strconv.FormatInt(k.OutboxBatches, 10)
					if k.OutboxBatches < 0 {
						outbox = "?"
					}
					add(k.Name, k.Node, state, k.Joined, k.Assigned, k.Capacity, fmt.Sprintf("%.1f", k.Rate), outbox,
						time.Since(k.Seen).Round(time.Second).String()+" ago")
				}
			})
			listSources(w, list)
			var told []control.Condition
			for _, k := range list {
				for _, cond := range k.Conditions {
					fmt.Fprintf(w, "%s: %s\n", k.Name, app.ConditionText(cond))
				}
				told = append(told, k.Conditions...)
			}
			for _, cond := range health.Conditions {
				if !slices.ContainsFunc(told, func(x control.Condition) bool {
					return x.Name == cond.Name && x.Subject == cond.Subject && x.Detail == cond.Detail
				}) {
					fmt.Fprintln(w, app.ConditionText(cond))
				}
			}
		})
}

// listSources shows the charity sources that collectors poll, where any does.
func listSources(w io.Writer, list []control.Collector) {
	if !slices.ContainsFunc(list, func(k control.Collector) bool { return len(k.Sources) > 0 }) {
		return
	}
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return time.Since(t).Round(time.Second).String() + " ago"
	}
	fmt.Fprintln(w)
	table(w, "SOURCE\tKIND\tCOLLECTOR\tEVENTS\t>DONATIONS\tANSWERED\tCOMPLETE UNTIL\tFAILED", func(add func(...any)) {
		for _, k := range list {
			for _, s := range k.Sources {
				complete := "-"
				switch {
				case s.Backfilling:
					complete = "reading all again"
				case !s.CompleteUntil.IsZero():
					complete = ago(s.CompleteUntil)
				}
				add(s.Name, s.Kind, k.Name, strings.Join(s.Events, ","), s.Donations, ago(s.LastSuccess), complete,
					fmt.Sprintf("%d of %d", s.Failures, s.Requests))
			}
		}
	})
	fmt.Fprintln(w)
}

type collectorsForgetCmd struct {
	operator
	Name string `arg:"" help:"The collector's name."`
}

func (collectorsForgetCmd) Help() string {
	return "Example:\n  tungstene collectors forget collector-3"
}

func (c *collectorsForgetCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) (string, error) { return c.Name, m.ForgetCollector(ctx, c.Name) },
		func(w io.Writer, name string) { fmt.Fprintf(w, "%s is forgotten; its channels go to others\n", name) })
}

type membersCmd struct {
	List   membersListCmd   `cmd:"" default:"withargs" help:"List every running role with its last heartbeat."`
	Forget membersForgetCmd `cmd:"" help:"Tell the master that one won't come back."`
}

func (membersCmd) Help() string {
	return "Examples:\n  tungstene members\n  tungstene members forget consumer/consumer-7f9c"
}

type membersListCmd struct{ operator }

func (membersListCmd) Help() string { return "Example:\n  tungstene members --json" }

func (c *membersListCmd) Run(ctx context.Context, env app.Env) error {
	return with(&c.operator, env.Stdout, func(m *control.Client) ([]control.Member, error) { return m.Members(ctx) },
		func(w io.Writer, list []control.Member) {
			table(w, "MEMBER\tNODE\tVERSION\tSINCE\tSEEN", func(add func(...any)) {
				for _, k := range list {
					seen := time.Since(k.Seen).Round(time.Second).String() + " ago"
					if k.Left {
						seen += " (has left)"
					}
					add(k.ID, k.Node, k.Version, showTime(k.Started, "UTC"), seen)
				}
			})
		})
}

type membersForgetCmd struct {
	operator
	Member string `arg:"" help:"Role and name, as 'tungstene members' shows them." placeholder:"ROLE/NAME"`
}

func (membersForgetCmd) Help() string {
	return `Freezing an event waits for a consumer that was killed and has not come back, for it may hold batches. Of one whose process has ended the broker has them back: forget it.

Example:
  tungstene members forget consumer/consumer-7f9c`
}

func (c *membersForgetCmd) Run(ctx context.Context, env app.Env) error {
	role, name, ok := strings.Cut(c.Member, "/")
	if !ok || role == "" || name == "" {
		return app.Usage("%q: use ROLE/NAME, as 'tungstene members' shows them", c.Member)
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (string, error) { return c.Member, m.ForgetMember(ctx, role, name) },
		func(w io.Writer, member string) { fmt.Fprintf(w, "%s is forgotten\n", member) })
}
