package sim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/clock"
)

// DesignLoad is the rate, in messages per second, that the default bursts stay under: six times
// the mean of an event with a million viewers.
const DesignLoad = 3500

// Config is what a simulator is made of. Its zero value is a good one.
type Config struct {
	// IRCListen is the address of the chat server. Default "127.0.0.1:0", any free port.
	IRCListen string
	// HTTPListen is the address of Helix, its OAuth host and the simulator's own control.
	// Default "127.0.0.1:0".
	HTTPListen string
	// TLS makes the chat server speak TLS. Default nil, plain TCP.
	TLS *tls.Config
	// Clock is the event time that messages are stamped with. A replay makes its own, a
	// clock.Scaled that Sim.Clock returns, and refuses one here. Default clock.System.
	Clock clock.Clock

	// Channels is how many channels there are; a replay has one. Default 350.
	Channels int
	// Rate is the mean number of messages per second of event time over all channels, bursts
	// included. Default 600.
	Rate float64
	// Burst is how many times Rate chat reaches in its bursts, of three seconds once a minute;
	// 1 is a steady flow, 18 the most. Default 6, and less where that would pass DesignLoad.
	Burst float64
	// SharedChat is the share of messages (0 to 1) that are copied into a second channel, as
	// Twitch's shared chat does. A copy is a line of its own in the ledger, marked shared. Default 0.
	SharedChat float64
	// Seed decides everything that is drawn: two simulators with the same seed and configuration
	// write the same messages in the same order. Default 1.
	Seed uint64

	// Replay plays recorded minutes instead of the model. Default nil.
	Replay *Replay

	// Ledger gets a JSON line for each message sent, see Entry. Default nil, none.
	Ledger io.Writer

	// Charity is what the charity sources tell.
	Charity Charity

	// Clients are the client ids and secrets that the OAuth host knows. Default nil: any id with
	// any secret.
	Clients map[string]string
	// Limits are Twitch's.
	Limits Limits
	// Faults are what goes wrong, nothing by default.
	Faults Faults

	// Logger is told of what the simulator does. Default slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics. Default nil, none.
	Registerer prometheus.Registerer
}

// Replay is a recording to play on one channel: in each recorded minute exactly the recorded
// number of messages, with exactly the recorded number of emotes, stamped inside that minute, and
// the recorded viewers.
type Replay struct {
	// Rows are the recorded minutes, as ReadMinutes gives them.
	Rows []Minute
	// From is the minute to start at. Default the first row's.
	From time.Time
	// For is how much to play, in whole minutes. Default all.
	For time.Duration
	// Speed is how many times faster than it happened. Default 1.
	Speed float64
	// Login is the channel's. Default "marathon_sim".
	Login string
	// Gate, when set, says whether those who sample viewers have done so in the minute. Event time
	// does not pass the minute's 20th second before it says yes, or GateTimeout has passed there.
	// It is asked every few milliseconds from the minute's start on, minutes without a row
	// included, and must not block. Sim.Sweeps helps to answer. Default nil, no wait.
	Gate func(minute time.Time) bool
	// GateTimeout is the most real time that a minute waits for Gate. Default 5 s.
	GateTimeout time.Duration
}

// Limits are the limits that Twitch holds clients to. They run on the machine's clock, not on
// event time.
type Limits struct {
	// Joins is the most JOINs of an account (nick) within JoinWindow; the connection that asks
	// for more is closed. Negative: no limit. Default 20.
	Joins int
	// JoinWindow is the time that Joins counts over. Default 10 s.
	JoinWindow time.Duration
	// ChannelsPerAccount is the most channels that an account is in at once, over all of its
	// connections; further JOINs get no answer. Negative: no limit. Default 100.
	ChannelsPerAccount int
	// WriteBuffer is how many bytes wait for a client that doesn't read before its connection is
	// closed. Those that the system has taken don't count; of a bound below 1 MiB it is asked to take
	// no more than that. Default 32 MiB.
	WriteBuffer int
	// PingEvery is how often a client is sent PING. Default 4 minutes.
	PingEvery time.Duration
	// PongWithin is how long it has for its PONG. Default 1 minute.
	PongWithin time.Duration
	// ReconnectGrace is the time between RECONNECT and the end of the connection. Default 2 s.
	ReconnectGrace time.Duration
	// HelixPoints is what a client id's bucket holds and gets back per minute. Default 800.
	HelixPoints int
	// PageSize is the largest page that Helix gives. Default 100.
	PageSize int
	// TokenLife is how long an app token is good for. Default 60 days.
	TokenLife time.Duration
}

// Faults are what goes wrong by itself, as probabilities from 0 to 1 unless said otherwise. None of
// them loses a message that the ledger has, or doubles a line in the ledger.
type Faults struct {
	// Duplicate is that of a message being delivered twice, by message.
	Duplicate float64 `json:"duplicate,omitempty"`
	// Disorder is that of a message being held back behind later ones, for up to a second.
	Disorder float64 `json:"disorder,omitempty"`
	// JoinLoss is that of a JOIN being ignored.
	JoinLoss float64 `json:"join_loss,omitempty"`
	// ReconnectEvery is how often one connection, drawn, gets RECONNECT. 0: never.
	ReconnectEvery Duration `json:"reconnect_every,omitempty"`
	// Helix429, Helix5xx, HelixOdd and HelixHang are those of a Helix request being refused with
	// 429, or with 500, 502 or 503, being answered 200 with a body that is no answer, or not being
	// answered for 30 s.
	Helix429  float64 `json:"helix_429,omitempty"`
	Helix5xx  float64 `json:"helix_5xx,omitempty"`
	HelixOdd  float64 `json:"helix_odd,omitempty"`
	HelixHang float64 `json:"helix_hang,omitempty"`
	// HelixEmpty is that of Get Streams being answered 200 with a list of nobody, whoever is live.
	HelixEmpty float64 `json:"helix_empty,omitempty"`
	// Charity429, Charity5xx, CharityOdd and CharityHang are the same of a request to any charity source.
	Charity429  float64 `json:"charity_429,omitempty"`
	Charity5xx  float64 `json:"charity_5xx,omitempty"`
	CharityOdd  float64 `json:"charity_odd,omitempty"`
	CharityHang float64 `json:"charity_hang,omitempty"`
	// CharityDouble is that of a donation being counted twice in the running totals.
	CharityDouble float64 `json:"charity_double,omitempty"`
}

// Duration is a time.Duration that is text ("90s") in JSON.
type Duration time.Duration

// MarshalText gives the text of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

func (f Faults) validate() error {
	for _, p := range []struct {
		name string
		p    float64
	}{
		{"duplicate", f.Duplicate},
		{"disorder", f.Disorder},
		{"join_loss", f.JoinLoss},
		{"helix_429", f.Helix429},
		{"helix_5xx", f.Helix5xx},
		{"helix_odd", f.HelixOdd},
		{"helix_hang", f.HelixHang},
		{"helix_empty", f.HelixEmpty},
		{"charity_429", f.Charity429},
		{"charity_5xx", f.Charity5xx},
		{"charity_odd", f.CharityOdd},
		{"charity_hang", f.CharityHang},
		{"charity_double", f.CharityDouble},
	} {
		if !(p.p >= 0 && p.p <= 1) {
			return fmt.Errorf("fault %s is %v: use a probability from 0 to 1", p.name, p.p)
		}
	}
	if sum := f.Helix429 + f.Helix5xx + f.HelixOdd + f.HelixHang + f.HelixEmpty; sum > 1 {
		return fmt.Errorf("the Helix faults add up to %v: use probabilities of at most 1 in all", sum)
	}
	if sum := f.Charity429 + f.Charity5xx + f.CharityOdd + f.CharityHang; sum > 1 {
		return fmt.Errorf("the faults of charity sources add up to %v: use probabilities of at most 1 in all", sum)
	}
	if f.ReconnectEvery < 0 {
		return fmt.Errorf("fault reconnect_every is %v: use 0 (never) or more", time.Duration(f.ReconnectEvery))
	}
	return nil
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func (c Config) withDefaults() (Config, error) {
	orElse(&c.IRCListen, "127.0.0.1:0")
	orElse(&c.HTTPListen, "127.0.0.1:0")
	orElse(&c.Channels, 350)
	orElse(&c.Rate, 600)
	orElse(&c.Seed, 1)
	if c.Channels < 1 || c.Channels > 100_000 {
		return c, fmt.Errorf("%d channels: use 1 to 100,000", c.Channels)
	}
	if !(c.Rate > 0 && c.Rate <= 1e6) {
		return c, fmt.Errorf("rate %v: use more than 0 and at most 1,000,000 messages per second", c.Rate)
	}
	orElse(&c.Burst, math.Min(6, math.Max(1, DesignLoad/c.Rate)))
	if !(c.Burst >= 1 && c.Burst <= 18) {
		return c, fmt.Errorf("burst %v: use 1 (steady) to 18 times the rate", c.Burst)
	}
	if !(c.SharedChat >= 0 && c.SharedChat <= 1) {
		return c, fmt.Errorf("shared chat %v: use a share from 0 to 1", c.SharedChat)
	}
	orElse(&c.Charity.Rate, 5)
	orElse(&c.Charity.Team, "sim")
	if !(c.Charity.Rate <= 10_000) {
		return c, fmt.Errorf("charity rate %v: use at most 10,000 donations per second, or a negative one for none", c.Charity.Rate)
	}
	if c.Replay != nil {
		orElse(&c.Charity.Currency, "USD")
	}
	orElse(&c.Charity.Currency, "EUR")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	l := &c.Limits
	orElse(&l.Joins, 20)
	orElse(&l.JoinWindow, 10*time.Second)
	orElse(&l.ChannelsPerAccount, 100)
	orElse(&l.WriteBuffer, 32<<20)
	orElse(&l.PingEvery, 4*time.Minute)
	orElse(&l.PongWithin, time.Minute)
	orElse(&l.ReconnectGrace, 2*time.Second)
	orElse(&l.HelixPoints, 800)
	orElse(&l.PageSize, 100)
	orElse(&l.TokenLife, 60*24*time.Hour)
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"join window", int64(l.JoinWindow)},
		{"write buffer", int64(l.WriteBuffer)},
		{"ping interval", int64(l.PingEvery)},
		{"pong time", int64(l.PongWithin)},
		{"reconnect grace", int64(l.ReconnectGrace)},
		{"Helix points", int64(l.HelixPoints)},
		{"page size", int64(l.PageSize)},
		{"token life", int64(l.TokenLife)},
	} {
		if n.value < 0 {
			return c, fmt.Errorf("limit: the %s is negative: use 0 for the default or more", n.name)
		}
	}
	if err := c.Faults.validate(); err != nil {
		return c, err
	}
	if c.Replay == nil {
		if c.Clock == nil {
			c.Clock = clock.System{}
		}
		return c, nil
	}
	if c.Clock != nil {
		return c, errors.New("a replay makes its own clock: leave Clock nil and ask the simulator for it")
	}
	r, err := c.Replay.withDefaults()
	if err != nil {
		return c, fmt.Errorf("replay: %w", err)
	}
	c.Replay, c.Channels = &r, 1
	return c, nil
}

// withDefaults also cuts the rows to the slice.
func (r Replay) withDefaults() (Replay, error) {
	orElse(&r.Speed, 1)
	orElse(&r.Login, "marathon_sim")
	orElse(&r.GateTimeout, 5*time.Second)
	if !(r.Speed > 0 && r.Speed <= 10_000) {
		return r, fmt.Errorf("speed %v: use more than 0 and at most 10,000", r.Speed)
	}
	if !validLogin(r.Login) {
		return r, fmt.Errorf("login %q: use 1 to 25 of a-z, 0-9 and _", r.Login)
	}
	if r.GateTimeout < 0 || r.For < 0 || r.For%time.Minute != 0 {
		return r, fmt.Errorf("gate timeout %v, for %v: use 0 or more, and whole minutes to play", r.GateTimeout, r.For)
	}
	if len(r.Rows) == 0 {
		return r, errors.New("no recorded minutes")
	}
	for i := 1; i < len(r.Rows); i++ {
		if !r.Rows[i].Time.After(r.Rows[i-1].Time) {
			return r, fmt.Errorf("the minute %s follows %s: give each once, in order",
				r.Rows[i].Time.Format(time.RFC3339), r.Rows[i-1].Time.Format(time.RFC3339))
		}
	}
	for _, m := range r.Rows {
		if !m.Time.Equal(m.Time.Truncate(time.Minute)) || m.Emotes > maxEmotes*max(m.Messages, 0) {
			return r, fmt.Errorf("the minute %s: use the start of a minute and at most %d emotes a message",
				m.Time.Format(time.RFC3339Nano), maxEmotes)
		}
	}
	first, last := r.Rows[0].Time, r.Rows[len(r.Rows)-1].Time
	if r.From.IsZero() {
		r.From = first
	}
	r.From = r.From.UTC()
	if !r.From.Equal(r.From.Truncate(time.Minute)) {
		return r, fmt.Errorf("from %s: use the start of a minute", r.From.Format(time.RFC3339Nano))
	}
	end := last.Add(time.Minute)
	if r.For > 0 {
		end = r.From.Add(r.For)
	}
	rows := make([]Minute, 0, len(r.Rows))
	for _, row := range r.Rows {
		if !row.Time.Before(r.From) && row.Time.Before(end) {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return r, fmt.Errorf("nothing was recorded from %s to %s: the recording is of %s to %s", r.From.Format(time.RFC3339),
			end.Format(time.RFC3339), first.Format(time.RFC3339), last.Add(time.Minute).Format(time.RFC3339))
	}
	r.Rows, r.For = rows, end.Sub(r.From)
	return r, nil
}

// validLogin says whether a name can be a Twitch login.
func validLogin(s string) bool {
	if s == "" || len(s) > 25 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
