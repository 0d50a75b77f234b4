package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/verify"
)

type demoCmd struct {
	Channels   int           `default:"350"            help:"Channels of the simulated Twitch."`
	Rate       float64       `default:"600"            help:"Chat messages a second, over all channels."`
	For        time.Duration `help:"How long messages are sent, from the moment when all channels are joined. Default: until Ctrl-C."`
	Collectors int           `default:"2"              help:"Collectors."`
	Replicas   int           `default:"2"              help:"On how many collectors each channel is read: 1 or 2."`
	Replay     string        `help:"CSV of recorded minutes to play instead of the model (columns time, viewers, chat_messages, emotes)." placeholder:"FILE" type:"existingfile"`
	Speed      float64       `default:"60"             help:"How many times faster than it happened a recording is played."`
	From       time.Time     `help:"Recorded minute to begin at, such as 2020-01-09T00:00:00Z. Default: the first." placeholder:"TIME"`
	Listen     string        `default:"127.0.0.1:8080" help:"Address of the status page."`
	Data       string        `help:"Folder to keep the data in. Default: a temporary one, removed at the end." placeholder:"DIR"`
	Duplicate  float64       `default:"0.001"          help:"Share of messages that the simulator sends twice, as Twitch may."`
	Disorder   float64       `default:"0.001"          help:"Share of messages that it sends late, behind others."`
	Donations  float64       `default:"5"              help:"Donations a second, over all channels, in bursts where a goal falls; 0 for none. A recording brings its own."`
	Open       bool          `help:"Open the page in a browser, where there is one."`
	JSON       bool          `help:"Print the result as one JSON object, on the last line."`
	Verbose    bool          `help:"Log what the roles do." short:"v"`
}

func (demoCmd) Help() string {
	return `Nothing is installed and no server is needed: queue and store are files, and Twitch is simulated on loopback. The demonstration ends, after --for or Ctrl-C, when the last minutes have closed, and compares what was sent with what is stored and counted.

Examples:
  tungstene demo
  tungstene demo --rate 5000 --for 5m --json
  tungstene demo --replay testdata/agdq2020-minutes.csv --from 2020-01-11T18:00:00Z --for 6m`
}

func (c *demoCmd) Run(ctx context.Context, env app.Env) error {
	switch {
	case c.Channels < 1 || c.Rate <= 0 || c.Collectors < 1 || c.For < 0:
		return app.Usage("--channels, --rate and --collectors must be above 0")
	case c.Replicas < 1 || c.Replicas > 2:
		return app.Usage("--replicas %d: use 1 or 2", c.Replicas)
	case c.Speed <= 0 || c.Speed > 600:
		return app.Usage("--speed %g: use more than 0, at most 600", c.Speed)
	case c.Replay == "" && !c.From.IsZero():
		return app.Usage("--from goes with --replay")
	case c.Replay != "" && c.For > 0 && time.Duration(float64(c.For)*c.Speed) < time.Minute:
		return app.Usage("--for %s at --speed %g is less than a recorded minute", c.For, c.Speed)
	case c.Duplicate < 0 || c.Duplicate > 1 || c.Disorder < 0 || c.Disorder > 1:
		return app.Usage("--duplicate and --disorder are shares: use 0 to 1")
	case c.Donations < 0 || c.Donations > maxDonations:
		return app.Usage("--donations %g: use 0 to %d", c.Donations, maxDonations)
	}
	var level slog.LevelVar
	if level.Set(slog.LevelWarn); c.Verbose {
		level.Set(slog.LevelInfo)
	}
	logger := slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: &level}))
	// The first Ctrl-C ends the traffic, the second everything.
	all, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		<-ctx.Done()
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		select {
		case <-again:
			cancel()
		case <-all.Done():
		}
	}()
	res, err := app.Demo(all, ctx, app.DemoOptions{
		Channels: c.Channels, Rate: c.Rate, For: c.For, Collectors: c.Collectors, Replicas: c.Replicas,
		Replay: c.Replay, Speed: c.Speed, From: c.From, Listen: c.Listen, Data: c.Data, Version: env.Version,
		Duplicate: c.Duplicate, Disorder: c.Disorder, Donations: cmp.Or(c.Donations, -1), Logger: logger,
		Running: func(url string) {
			fmt.Fprintf(env.Stderr, "status page: %s\n", url)
			if c.For == 0 && c.Replay == "" {
				fmt.Fprintln(env.Stderr, "Ctrl-C ends the traffic and counts; a second one stops at once")
			}
			if c.Open {
				openBrowser(ctx, url)
			}
		},
		Ended: func() {
			if !c.Verbose { // that all channels have fallen silent is no news
				level.Set(slog.LevelError)
			}
		},
	}, env.Stderr)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(env.Stdout).Encode(res); err != nil {
			return err
		}
	} else {
		printResult(env.Stdout, res.Result)
		if res.Recording != nil {
			fmt.Fprintf(env.Stdout, "recorded minutes   %d compared, %d differ\n", res.Recording.Compared, res.Recording.Differing)
			printExamples(env.Stdout, res.Recording.Examples)
		}
		if res.Gifts != nil {
			printDonations(env.Stdout, res.Donations)
			fmt.Fprintf(env.Stdout, "event's total      %s stored, %s shown at the end\n",
				amountText(res.TotalCents, res.Currency), amountText(res.ShownCents, res.Currency))
		}
		if t := res.RecordedTotals; t != nil {
			fmt.Fprintf(env.Stdout, "recorded totals    %d compared, %d differ; the last is %s\n", t.Compared, t.Differing, amountText(t.LastCents, res.Currency))
			printExamples(env.Stdout, t.Examples)
		}
		if res.MemoryBytes > 0 {
			fmt.Fprintf(env.Stdout, "memory             %d MB at the most, simulator included\n", res.MemoryBytes>>20)
		}
	}
	if !res.OK() {
		return app.ErrReported
	}
	return nil
}

// openBrowser shows the page where someone could look at it.
func openBrowser(ctx context.Context, url string) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil {
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, url) //nolint:gosec // our own address
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // the browser's own affair
	}
}

func printResult(w io.Writer, r verify.Result) {
	verdict := "nothing lost, nothing counted twice"
	if !r.OK() {
		verdict = "NOT what was sent"
	}
	fmt.Fprintf(w, `
event              %s: %s
sent               %d messages on %d channels in %.0f s (%.0f a second)
stored             %d
lost               %d
duplicates         %d
counted            %d in closed minutes; %d documents compared, %d differ, %d minutes still open
latency            p50 %.0f ms, p99 %.0f ms
collectors         %d
`, r.Event, verdict, r.Sent, r.Channels, r.Seconds, r.MessagesPerSecond, r.Stored, r.Lost, r.Duplicates,
		r.RollupMessages, r.MinutesCompared, r.MinutesDiffering, r.MinutesOpen, r.LatencyP50, r.LatencyP99, r.Collectors)
	printExamples(w, r.Examples)
}

// maxDonations is the most donations a second that the simulator is asked for.
const maxDonations = 1000

// minUnread is the least that the simulator has to keep for a client: what it welcomes one with.
const minUnread = 4096

func printDonations(w io.Writer, d verify.Donations) {
	verdict := "all stored and counted once"
	if !d.OK() {
		verdict = "NOT what was given"
	}
	fmt.Fprintf(w, "donations          %d of %s: %s\n"+
		"  stored           %d; lost %d, wrong %d, unexpected %d\n"+
		"  counted          %d of %s in closed minutes; %d documents differ, %d minutes still open\n",
		d.Donations, amountText(d.RaisedCents, d.Currency), verdict, d.Stored, d.Lost, d.Wrong, d.Unexpected,
		d.Counted, amountText(d.CountedCents, d.Currency), d.MinutesDiffering, d.MinutesOpen)
	printExamples(w, d.Examples)
}

// amountText writes an amount of money.
func amountText(cents int64, currency string) string {
	return money.Format(cents, currency, money.English)
}

func printExamples(w io.Writer, examples []string) {
	for _, e := range examples {
		fmt.Fprintf(w, "  - %s\n", e)
	}
}

type upCmd struct {
	app.Configured
	Collectors int `default:"1" help:"Collectors in this process."`
}

func (upCmd) Help() string {
	return `Runs master, collectors, consumer and status page in one process, by default on the embedded queue and store.

Example:
  tungstene up --config tungstene.yaml`
}

func (c *upCmd) Run(ctx context.Context, env app.Env) error {
	if c.Collectors < 1 {
		return app.Usage("--collectors %d: use 1 or more", c.Collectors)
	}
	return c.Configured.Run(ctx, app.Roles{Master: true, Collectors: c.Collectors, Consumer: true}, env.Version)
}

type simCmd struct {
	ListenIRC  string        `default:"127.0.0.1:6667" help:"Address of the chat server (plain TCP)."          name:"listen-irc"`
	ListenHTTP string        `default:"127.0.0.1:6680" help:"Address of Helix, its OAuth host and /sim."       name:"listen-http"`
	Channels   int           `default:"350"            help:"Channels."`
	Rate       float64       `default:"600"            help:"Chat messages a second, over all channels."`
	Seed       uint64        `default:"1"              help:"Decides all that is drawn."`
	Replay     string        `help:"CSV of recorded minutes to play instead of the model." placeholder:"FILE" type:"existingfile"`
	Speed      float64       `default:"1"              help:"How many times faster than it happened a recording is played."`
	From       time.Time     `help:"Recorded minute to begin at. Default: the first."      placeholder:"TIME"`
	For        time.Duration `help:"How long messages are sent. Default: until it is stopped, or the recording ends."`
	Ledger     string        `help:"File that gets a JSON line for each message sent to someone who had joined." placeholder:"FILE"`
	Donations  float64       `default:"5"              help:"Donations a second, over all channels; 0 for none. A recording brings its own."`
	Given      string        `help:"File that gets a JSON line for each donation made." placeholder:"FILE" name:"donations-ledger"`
	Joins      int           `default:"20"             help:"JOINs of an account within 10 s, as Twitch allows; --joins=-1 for no limit."`
	Unread     int           `default:"33554432"       help:"Bytes that wait for a client which does not read, before its connection is closed."`
	Duplicate  float64       `help:"Share of messages sent twice."`
	Disorder   float64       `help:"Share of messages sent late, behind others."`
}

func (simCmd) Help() string {
	return `Serves Twitch's IRC and Helix on loopback, and beside Helix charity sources that all tell the same donations: /api/ as ZEvent, /api/v1/teams/sim as Streamlabs Charity, /helix/charity as Twitch, /api/public as Tiltify, /events as the list of donation goals. The model's traffic begins at once, a recording when someone has joined its channel. SIGTERM or Ctrl-C ends the traffic, delivers what was sent, and flushes the ledger. GET /sim/status tells what is going on, POST /sim/fault breaks things.

Example:
  tungstene sim --listen-irc 127.0.0.1:6667 --listen-http 127.0.0.1:6680 --ledger ledger.jsonl`
}

func (c *simCmd) Run(ctx context.Context, env app.Env) (err error) {
	switch {
	case c.Channels < 1 || c.Rate <= 0 || c.For < 0:
		return app.Usage("--channels and --rate must be above 0")
	case c.Speed <= 0 || c.Speed > 600:
		return app.Usage("--speed %g: use more than 0, at most 600", c.Speed)
	case c.Replay == "" && !c.From.IsZero():
		return app.Usage("--from goes with --replay")
	case c.Joins == 0 || c.Joins < -1:
		return app.Usage("--joins %d: use a number above 0, or --joins=-1 for no limit", c.Joins)
	case c.Unread < minUnread:
		return app.Usage("--unread %d: use %d or more, what a JOIN is answered with has to fit", c.Unread, minUnread)
	case c.Duplicate < 0 || c.Duplicate > 1 || c.Disorder < 0 || c.Disorder > 1:
		return app.Usage("--duplicate and --disorder are shares: use 0 to 1")
	case c.Donations < 0 || c.Donations > maxDonations:
		return app.Usage("--donations %g: use 0 to %d", c.Donations, maxDonations)
	}
	logger, err := app.NewLogger(env.Stderr, app.LogConfig{Level: "info", Format: "text"})
	if err != nil {
		return err
	}
	return app.Simulate(ctx, app.SimOptions{
		Config: sim.Config{
			IRCListen: c.ListenIRC, HTTPListen: c.ListenHTTP, Channels: c.Channels, Rate: c.Rate, Seed: c.Seed,
			Limits:  sim.Limits{Joins: c.Joins, WriteBuffer: c.Unread},
			Faults:  sim.Faults{Duplicate: c.Duplicate, Disorder: c.Disorder},
			Charity: sim.Charity{Rate: cmp.Or(c.Donations, -1)},
			Logger:  logger,
		},
		Replay: c.Replay, Speed: c.Speed, From: c.From, For: c.For, Ledger: c.Ledger, Donations: c.Given,
		Listening: func(s *sim.Sim) {
			fmt.Fprintf(env.Stdout, "irc    %s\nhelix  %s\nauth   %s\ncharity %s\n", s.IRCAddress(), s.HelixURL(), s.AuthURL(), s.URL())
		},
	})
}

type verifyCmd struct {
	app.Stored
	Ledger    string `help:"Ledger: a JSON line for each message sent." placeholder:"FILE" required:"" type:"existingfile"`
	Donations string `help:"Ledger of donations: a JSON line for each donation made." placeholder:"FILE" type:"existingfile"`
	Source    string `help:"Charity source to compare the ledger of donations with. Default: the only one with single donations." name:"donations-source"`
	Event     string `help:"Event to compare with. Default: the only one."`
	JSON      bool   `help:"Print the result as one JSON object."`
}

func (verifyCmd) Help() string {
	return `Fails (exit code 1) when a message of the ledger is missing or stored twice, or a closed minute document says something else than the ledger; the same of donations, with a ledger of them.

Examples:
  tungstene verify --ledger ledger.jsonl --data ./data
  tungstene verify --ledger ledger.jsonl --donations donations.jsonl --data ./data
  tungstene verify --ledger ledger.jsonl --config tungstene.yaml --json`
}

func (c *verifyCmd) Run(ctx context.Context, env app.Env) (err error) {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	s, err := app.OpenStore(ctx, cfg, true)
	if err != nil {
		return c.Locate(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	f, err := os.Open(c.Ledger)
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	res, err := verify.Run(ctx, s, c.Event, sim.ReadLedger(f))
	if errors.Is(err, verify.ErrSeveral) {
		return app.Usage("%w", err)
	}
	if err != nil {
		return err
	}
	gifts, err := c.donations(ctx, s, res.Event)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(env.Stdout).Encode(struct {
			verify.Result
			*verify.Donations
		}{res, gifts}); err != nil {
			return err
		}
	} else {
		printResult(env.Stdout, res)
		if gifts != nil {
			printDonations(env.Stdout, *gifts)
		}
	}
	if !res.OK() || gifts != nil && !gifts.OK() {
		return app.ErrReported
	}
	return nil
}

// donations compares the ledger of donations, where there is one; nil where there is none.
func (c *verifyCmd) donations(ctx context.Context, s verify.Store, event string) (_ *verify.Donations, err error) {
	if c.Donations == "" {
		if c.Source != "" {
			return nil, app.Usage("--donations-source goes with --donations")
		}
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	f, err := os.Open(c.Donations)
	if err != nil {
		return nil, fmt.Errorf("open the ledger of donations: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	gifts, err := verify.RunDonations(ctx, s, event, c.Source, sim.ReadDonations(f))
	if errors.Is(err, verify.ErrSources) {
		return nil, app.Usage("%w", err)
	}
	return &gifts, err
}
