package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/verify"
	"github.com/tungstene/tungstene/pkg/web"
)

// DemoOptions are what `tungstene demo` is asked for.
type DemoOptions struct {
	Channels   int
	Rate       float64
	For        time.Duration
	Collectors int
	Replicas   int
	// Replay is a CSV of recorded minutes; empty for the model.
	Replay string
	Speed  float64
	// From is the recorded minute to begin at; zero for the first.
	From    time.Time
	Listen  string
	Data    string
	Version string
	// Duplicate and Disorder are the shares of messages that the simulator sends twice, or late,
	// as Twitch may.
	Duplicate, Disorder float64
	// Donations is how many donations a second the simulator makes; negative: none, and no charity source
	// is polled. A recording brings its own. Default 5.
	Donations float64
	Logger    *slog.Logger
	// Running, if set, is called with the page's address when the demonstration serves it.
	Running func(url string)
	// Ended is called when the traffic has ended, and with it what channels are expected to say.
	Ended func()
}

// DemoResult is the last line of `demo --json`.
type DemoResult struct {
	verify.Result
	*verify.Recording
	// Gifts compares what was given, Totals the running totals of a recording that has them.
	*Gifts
	*verify.RecordedTotals
	// MemoryBytes is the most memory that the process has had resident until everything was
	// counted, the simulator included, the comparison left out; 0 where the system does not tell.
	MemoryBytes int64 `json:"memory_bytes"`
}

// OK reports whether everything that was sent was stored and counted, exactly once.
func (r DemoResult) OK() bool {
	return r.Result.OK() && r.RollupMessages == r.Sent && (r.Recording == nil || r.Recording.Differing == 0) &&
		(r.Gifts == nil || r.Gifts.OK()) && (r.RecordedTotals == nil || r.RecordedTotals.Differing == 0)
}

// Gifts is how the donations of a demonstration ended.
type Gifts struct {
	verify.Donations
	// ShownCents is the event's total as its own source showed it last, TotalCents the same as stored.
	ShownCents int64 `json:"shown_cents"`
	TotalCents int64 `json:"total_cents"`
}

// OK reports whether what was given was stored and counted, and the total is that of the source.
func (g Gifts) OK() bool {
	return g.Donations.OK() && g.Counted == g.Donations.Donations && g.CountedCents == g.RaisedCents && g.TotalCents == g.ShownCents
}

// The names of the demonstration's charity sources: one tells running totals, one single donations.
const (
	demoTotals    = "zevent"
	demoDonations = "streamlabs"
)

// demoEvent is the slug of the demonstration's event.
const demoEvent = "demo"

// DefaultConfig is the configuration of an empty file.
func DefaultConfig() (Config, error) {
	var c Config
	if err := kong.ApplyDefaults(&c); err != nil {
		return c, fmt.Errorf("defaults: %w", err)
	}
	return c, nil
}

// demo is a run of the whole pipeline against the simulator.
type demo struct {
	opts    DemoOptions
	cfg     Config
	sim     *sim.Sim
	process *Process
	client  *control.Client
	ledger  *os.File
	gifts   *os.File // the ledger of donations; nil without any
	rows    []sim.Minute
	out     *progress

	event   record.Event
	phase   atomic.Value // string
	begun   atomic.Int64 // Unix nanoseconds when traffic began; 0 before
	stored  atomic.Int64
	donated atomic.Int64
	latency verify.Latency
}

// Demo runs the whole pipeline in this process against the simulator, shows its progress, and ends
// when everything that was sent is stored and counted, or can't be. Traffic ends after
// DemoOptions.For, with the recording, or when stop ends; ctx ends everything at once.
func Demo(ctx, stop context.Context, opts DemoOptions, stderr io.Writer) (res DemoResult, err error) {
	d := &demo{opts: opts, out: newProgress(stderr)}
	d.phase.Store(web.PhaseJoining)
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return res, err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return d.sim.Run(running) })
	group.Go(func() error { return d.process.Run(running) })
	group.Go(func() error {
		defer cancel()
		var err error
		res, err = d.play(running, stop)
		return err
	})
	err = group.Wait()
	if ctx.Err() != nil {
		return res, errors.New("stopped before everything was counted")
	}
	return res, err
}

func (d *demo) open(ctx context.Context) (err error) {
	if d.opts.Data == "" {
		if d.opts.Data, err = os.MkdirTemp("", "tungstene-demo-"); err != nil {
			return fmt.Errorf("make a folder for the data: %w", err)
		}
		d.out.remove = d.opts.Data
	} else if _, err := os.Stat(StorePath(d.opts.Data)); err == nil {
		return fmt.Errorf("%s holds data already: name another folder, or remove it", d.opts.Data)
	}
	if err := os.MkdirAll(d.opts.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if d.ledger, err = os.OpenFile(d.ledgerPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("make the ledger: %w", err)
	}
	if d.opts.Donations >= 0 {
		if d.gifts, err = os.OpenFile(d.giftsPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return fmt.Errorf("make the ledger of donations: %w", err)
		}
	}
	if err := d.openSim(); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	d.process, err = New(ctx, d.cfg, Roles{Master: true, Collectors: d.opts.Collectors, Consumer: true}, Options{
		Version: d.opts.Version, Logger: d.opts.Logger, Clock: d.sim.Clock(), Demo: d.progress,
		Stored: d.count, Event: demoEvent,
	})
	if err != nil {
		return err
	}
	token, err := OperatorToken(d.cfg)
	if err != nil {
		return err
	}
	d.client, err = NewMasterClient(d.cfg, []string{d.process.URL()}, token)
	return err
}

func (d *demo) ledgerPath() string { return filepath.Join(d.opts.Data, "ledger.jsonl") }
func (d *demo) giftsPath() string  { return filepath.Join(d.opts.Data, "donations.jsonl") }

func (d *demo) openSim() (err error) {
	cfg := sim.Config{
		Channels: d.opts.Channels, Rate: d.opts.Rate, Ledger: d.ledger, Logger: d.opts.Logger,
		// Generous, so that nobody has to wait: Twitch's own limits take minutes to join 350
		// channels.
		Limits:  sim.Limits{Joins: -1, HelixPoints: 1_000_000},
		Faults:  sim.Faults{Duplicate: d.opts.Duplicate, Disorder: d.opts.Disorder},
		Charity: sim.Charity{Rate: d.opts.Donations},
	}
	if d.gifts != nil {
		cfg.Charity.Ledger = d.gifts
	}
	if d.opts.Replay != "" {
		f, err := os.Open(d.opts.Replay)
		if err != nil {
			return fmt.Errorf("open the recording: %w", err)
		}
		d.rows, err = sim.ReadMinutes(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", d.opts.Replay, err)
		}
		cfg.Channels, cfg.Rate = 0, 0
		cfg.Replay = &sim.Replay{Rows: d.rows, From: d.opts.From, Speed: d.opts.Speed, Gate: d.sampled}
		if d.opts.For > 0 {
			// The flag is in real time; the recording goes by its own.
			cfg.Replay.For = time.Duration(float64(d.opts.For) * d.opts.Speed).Truncate(time.Minute)
		}
	}
	d.sim, err = sim.New(cfg)
	return err
}

// sampled tells the simulator that every collector has taken its samples of viewers and of totals of a
// minute, so that event time may go on.
func (d *demo) sampled(minute time.Time) bool {
	for _, c := range d.process.collectors {
		at := c.LastSweep()
		if c == d.process.charity {
			at = c.LastPoll()
		}
		if at.Before(minute) {
			return false
		}
	}
	return true
}

func (d *demo) configure() (err error) {
	if d.cfg, err = DefaultConfig(); err != nil {
		return err
	}
	secretFile := filepath.Join(d.opts.Data, "twitch.secret")
	if err := os.WriteFile(secretFile, []byte("the simulator takes any\n"), 0o600); err != nil {
		return fmt.Errorf("write the simulator's client secret: %w", err)
	}
	c := &d.cfg
	c.Data, c.Listen, c.Name, c.Node = d.opts.Data, d.opts.Listen, demoEvent, demoEvent
	c.Twitch.IRC, c.Twitch.IRCTLS = d.sim.IRCAddress(), false
	c.Twitch.Helix, c.Twitch.Auth = d.sim.HelixURL(), d.sim.AuthURL()
	c.Twitch.Clients = map[string]string{"demo": secretFile}
	c.Twitch.Joins, c.Twitch.JoinWindow, c.Twitch.HelixPoints = 1000, time.Second, 100_000
	if d.opts.Replay != "" {
		// Event time runs faster than the machine's, which connections are kept alive by.
		c.Twitch.KeepAlive = max(time.Duration(float64(c.Twitch.KeepAlive)/d.opts.Speed), minKeepAlive)
	} else {
		c.Twitch.Sweep = "*/15 * * * * *" // a minute is long for who watches
	}
	if d.gifts != nil {
		if err := d.nameSources(); err != nil {
			return err
		}
	}
	// Each channel must find room on as many collectors as there are replicas.
	c.Collector.Capacity = max(c.Collector.Capacity, len(d.sim.Channels())*d.opts.Replicas/d.opts.Collectors+50)
	return nil
}

// nameSources writes the file of charity sources.
func (d *demo) nameSources() error {
	totals, donations := "*/15 * * * * *", "*/5 * * * * *"
	if d.opts.Replay != "" {
		// One sample a minute, at its start: the recording's clock waits for that one, and may have gone
		// on to the next minute when another is taken.
		totals, donations = "* * * * *", "*/20 * * * * *"
	}
	d.cfg.Charity.Sources = filepath.Join(d.opts.Data, "charity.yaml")
	text := fmt.Sprintf(`# The charity sources of the demonstration: the simulator's.
sources:
  - name: %s
    kind: zevent
    url: %s/api/
    currency: %s
    totals: %q
  - name: %s
    kind: streamlabs
    url: %s/api/v1
    team: %s
    donations: %q
`, demoTotals, d.sim.URL(), d.sim.Raised().Currency, totals, demoDonations, d.sim.URL(), d.sim.Team(), donations)
	if err := os.WriteFile(d.cfg.Charity.Sources, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the file of charity sources: %w", err)
	}
	return nil
}

// play creates the event, waits until everything is joined, lets the traffic run, waits until it
// is counted, and compares.
func (d *demo) play(ctx, stop context.Context) (res DemoResult, err error) {
	if err := d.createEvent(ctx); err != nil {
		return res, err
	}
	if d.opts.Running != nil {
		d.opts.Running(d.process.URL())
	}
	if err := d.join(ctx, stop); err != nil {
		return res, err
	}
	d.phase.Store(web.PhaseRunning)
	d.begun.Store(time.Now().UnixNano())
	d.sim.Begin()
	if err := d.run(ctx, stop); err != nil {
		return res, err
	}
	d.phase.Store(web.PhaseClosing)
	if d.opts.Ended != nil {
		d.opts.Ended()
	}
	if err := d.sim.End(ctx); err != nil {
		return res, fmt.Errorf("end the traffic: %w", err)
	}
	if err := d.settle(ctx); err != nil {
		return res, err
	}
	d.phase.Store(web.PhaseReconciling)
	res, err = d.reconcile(ctx)
	d.phase.Store(web.PhaseDone)
	d.out.end()
	return res, err
}

func (d *demo) createEvent(ctx context.Context) (err error) {
	start := record.Minute(d.sim.Clock().Now())
	if d.rows != nil {
		if start = d.opts.From; start.IsZero() {
			start = d.rows[0].Time
		}
	}
	e := control.NewEvent{
		Slug: demoEvent, Name: "Demonstration", Start: start, End: start.Add(30 * 24 * time.Hour),
		TimeZone: "Europe/Paris", Currency: d.sim.Raised().Currency, KeepText: true, Replicas: min(d.opts.Replicas, d.opts.Collectors),
	}
	if d.rows != nil {
		e.Name = "Replay of " + filepath.Base(d.opts.Replay)
		e.End = d.rows[len(d.rows)-1].Time.Add(time.Minute)
		if d.opts.For > 0 {
			if end := start.Add(time.Duration(float64(d.opts.For) * d.opts.Speed).Truncate(time.Minute)); end.Before(e.End) {
				e.End = end
			}
		}
	}
	// The process serves a moment after it was started.
	err = d.until(ctx, nil, func() (bool, error) {
		d.event, err = d.client.CreateEvent(ctx, e)
		var problem *control.Problem
		if errors.As(err, &problem) {
			return false, err
		}
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	list := strings.Join(d.sim.Logins(), "\n")
	imported, err := d.client.ImportChannels(ctx, demoEvent, "text/plain", []byte(list))
	if err != nil {
		return err
	}
	if n := len(imported.Unresolved) + len(imported.Unknown) + len(imported.Invalid); n > 0 {
		return fmt.Errorf("%d of the simulator's channels were not found at it: %s", n, imported.Detail)
	}
	if d.gifts != nil && d.rows == nil {
		if err := d.setGoals(ctx); err != nil {
			return err
		}
	}
	action := control.Start
	if d.rows != nil {
		// Event time stands a moment before the recording's first minute: starting now would make
		// that moment a part of the event.
		action = control.Schedule
	}
	_, err = d.client.SetState(ctx, demoEvent, action)
	return err
}

// setGoals gives the event and some of its channels goals that fall one after the other.
func (d *demo) setGoals(ctx context.Context) error {
	lists := map[string]string{record.AllChannels: `amount,text
500,Everybody says hello in a language of their own
2500,A karaoke with those who lost a bet
10000,The next game is chosen by chat
50000,A concert for one hour
250000,A night of board games
1000000,Next year again
`}
	for _, login := range d.sim.Logins()[:min(3, len(d.sim.Logins()))] {
		lists[login] = "amount,text\n25,A joke\n250,A dance\n2500,Blue hair\n"
	}
	for channel, list := range lists {
		if _, err := d.client.ImportGoals(ctx, demoEvent, control.GoalImport{Channel: channel, Format: "csv", Author: demoEvent}, []byte(list)); err != nil {
			return err
		}
	}
	return nil
}

// join waits until every channel is read by as many collectors as it should be, and whoever asks the charity
// sources knows of the event.
func (d *demo) join(ctx, stop context.Context) error {
	want := len(d.sim.Channels()) * d.event.Replicas
	return d.until(ctx, stop, func() (bool, error) {
		n := 0
		for _, c := range d.process.collectors {
			n += c.Joined()
		}
		d.out.line("joining channels: %d of %d", n, want)
		return n >= want && (d.process.charity == nil || d.process.charity.Polls(demoEvent)), nil
	})
}

// run lets the traffic run for its time.
func (d *demo) run(ctx, stop context.Context) error {
	begun := time.Now()
	return d.until(ctx, stop, func() (bool, error) {
		d.report(ctx, "")
		select {
		case <-d.sim.Done():
			return true, nil
		default:
		}
		return d.rows == nil && d.opts.For > 0 && time.Since(begun) >= d.opts.For, nil
	})
}

// polled waits until the charity sources were asked after the last donation was made.
func (d *demo) polled(ctx context.Context) error {
	c := d.process.charity
	if c == nil {
		return nil
	}
	ended := d.sim.Clock().Now()
	if ended.After(d.event.End) {
		ended = d.event.End // nothing is asked any more when it was asked after that
	}
	return d.until(ctx, nil, func() (bool, error) {
		d.report(ctx, "asking for the last donations")
		return !c.LastPoll().Before(ended), nil
	})
}

// settle waits until everything is stored, and every minute with a message closed.
func (d *demo) settle(ctx context.Context) error {
	if err := d.polled(ctx); err != nil {
		return err
	}
	err := d.until(ctx, nil, func() (bool, error) {
		d.report(ctx, "storing the last records")
		// A batch is in the queue before it leaves its outbox: looking in this order misses none.
		waiting := 0
		for _, c := range d.process.collectors {
			n, err := c.Pending(ctx)
			if err != nil {
				return false, err
			}
			waiting += n
		}
		n, err := d.process.queue.Depth(ctx, queue.Store)
		return waiting+n == 0, err
	})
	if err != nil {
		return err
	}
	clock := d.sim.Clock()
	last := clock.Now()
	if last.After(d.event.End) {
		last = d.event.End
	}
	closing := record.Minute(last.Add(-time.Nanosecond)).Add(time.Minute + d.cfg.Rollup.Grace)
	return d.until(ctx, nil, func() (bool, error) {
		left := closing.Sub(clock.Now())
		if left > 0 {
			d.report(ctx, fmt.Sprintf("the last minute closes in %s", left.Round(time.Second)))
			return false, nil
		}
		d.report(ctx, "counting the last minutes")
		return rollup.Settled(ctx, d.process.store, demoEvent, closing.Add(-d.cfg.Rollup.Grace))
	})
}

func (d *demo) reconcile(ctx context.Context) (res DemoResult, err error) {
	d.out.line("comparing what was sent with what is stored")
	res.MemoryBytes = peakMemory()
	f, err := os.Open(d.ledgerPath())
	if err != nil {
		return res, fmt.Errorf("read the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if res.Result, err = verify.Run(ctx, d.process.store, demoEvent, sim.ReadLedger(f)); err != nil {
		return res, err
	}
	res.LatencyP50, res.LatencyP99 = d.latency.Quantile(0.5), d.latency.Quantile(0.99)
	if d.rows != nil {
		recording, err := verify.Recorded(ctx, d.process.store, demoEvent, d.rows)
		if err != nil {
			return res, err
		}
		res.Recording = &recording
	}
	if d.gifts != nil {
		err = d.reconcileGifts(ctx, &res)
	}
	return res, err
}

// reconcileGifts compares what was given.
func (d *demo) reconcileGifts(ctx context.Context, res *DemoResult) (err error) {
	f, err := os.Open(d.giftsPath())
	if err != nil {
		return fmt.Errorf("read the ledger of donations: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	gifts := Gifts{ShownCents: d.sim.Raised().Shown}
	if gifts.Donations, err = verify.RunDonations(ctx, d.process.store, demoEvent, demoDonations, sim.ReadDonations(f)); err != nil {
		return err
	}
	current, err := totals.ReadCurrent(ctx, d.process.store, d.event, demoTotals, d.sim.Clock().Now())
	if err != nil {
		return fmt.Errorf("read the event's total: %w", err)
	}
	if current != nil {
		gifts.TotalCents = current.Event.Raw
	}
	res.Gifts = &gifts
	if d.rows == nil || !slices.ContainsFunc(d.rows, func(m sim.Minute) bool { return m.Cents != sim.NotRecorded }) {
		return nil
	}
	recorded, err := verify.Totals(ctx, d.process.store, demoEvent, demoTotals, d.rows)
	res.RecordedTotals = &recorded
	return err
}

// count is told of every record that has just become readable in the store.
func (d *demo) count(records []record.Record) {
	now, speed := d.sim.Clock().Now(), 1.0
	if d.rows != nil {
		speed = d.opts.Speed
	}
	for i := range records {
		switch records[i].Kind {
		case record.KindMessage:
			d.stored.Add(1)
			d.latency.Add(time.Duration(float64(now.Sub(records[i].Time)) / speed))
		case record.KindDonation:
			d.donated.Add(1)
		default:
		}
	}
}

// progress is what the status page tells of the demonstration.
func (d *demo) progress() web.Demo {
	p := web.Demo{Phase: d.phase.Load().(string), Sent: d.sim.Sent()} //nolint:forcetypeassert // only strings are stored
	if begun := d.begun.Load(); begun > 0 {
		p.Elapsed = time.Since(time.Unix(0, begun)).Round(time.Second)
		if d.opts.For > 0 {
			p.Remaining = max(d.opts.For-p.Elapsed, 0)
		}
	}
	return p
}

func (d *demo) report(ctx context.Context, note string) {
	var rate float64
	var outbox, viewers int
	for _, c := range d.process.collectors {
		s := c.Status(ctx)
		rate = max(rate, s.Rate)
		outbox += int(max(s.OutboxBatches, 0)) // -1 when it is stopped
		viewers += s.Viewers
	}
	if d.event.Replicas <= 1 {
		rate = 0
		for _, c := range d.process.collectors {
			rate += c.Status(ctx).Rate
		}
	} else {
		viewers /= d.event.Replicas
	}
	depth, err := d.process.queue.Depth(ctx, queue.Store)
	if err != nil {
		depth = -1
	}
	if note != "" {
		note = "  " + note
	}
	at := time.Since(time.Unix(0, d.begun.Load()))
	raised := ""
	if d.gifts != nil {
		r := d.sim.Raised()
		raised = fmt.Sprintf("  raised %s, %s donations stored", money.FormatWhole(r.Shown, r.Currency, money.English), thousands(d.donated.Load()))
	}
	d.out.line("%s  sent %s  stored %s  %.0f messages/s  %s viewers%s  outbox %d  queue %d%s",
		clockTime(at), thousands(d.sim.Sent()), thousands(d.stored.Load()), rate, thousands(int64(viewers)), raised, outbox, depth, note)
}

// until calls ready every quarter of a second until it says yes, or one of the contexts ends; the
// end of stop is a yes.
func (d *demo) until(ctx, stop context.Context, ready func() (bool, error)) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var stopped <-chan struct{}
	if stop != nil {
		stopped = stop.Done()
	}
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *demo) close() error {
	var errs []error
	if d.client != nil {
		d.client.Close()
	}
	if d.process != nil {
		errs = append(errs, d.process.Close())
	}
	if d.sim != nil {
		errs = append(errs, d.sim.Close())
	}
	if d.ledger != nil {
		errs = append(errs, d.ledger.Close())
	}
	if d.gifts != nil {
		errs = append(errs, d.gifts.Close())
	}
	d.out.end()
	if d.out.remove != "" {
		errs = append(errs, os.RemoveAll(d.out.remove))
	}
	return errors.Join(errs...)
}
