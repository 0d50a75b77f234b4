package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/store"
)

// User is a Twitch account as the Resolver tells it.
type User struct {
	ID      string
	Login   string
	Name    string
	Picture string
}

// Resolver looks up accounts at Twitch.
type Resolver interface {
	// Users returns the accounts of any of the ids and logins, in no order. Those that Twitch does
	// not know are left out. Ids and logins together are at most 100.
	Users(ctx context.Context, ids, logins []string) ([]User, error)
}

// Config configures a Master.
type Config struct {
	// Store keeps the state. Required.
	Store store.Store
	// Keys keeps the pseudonym keys and what else lies apart from the store. Required; all masters
	// of a store must see the same.
	Keys Vault
	// Name names this master among the members. Required, see control.ValidName.
	Name string
	// OperatorTokens and CollectorTokens give the bearer tokens of the two roles. Required.
	OperatorTokens, CollectorTokens TokenSource
	// Resolver turns logins into ids. Without one channels stay unresolved, and are not read.
	Resolver Resolver
	// Node is the machine or Kubernetes node that this runs on.
	Node string
	// Version is the program's.
	Version string

	// Rebuild marks the closed minutes of an event in [from, to) for the rollup to count them again,
	// those in which the channel of an id has records or documents, or any where it is empty, and
	// returns how many. Default none: minutes can't be rebuilt.
	Rebuild func(ctx context.Context, event string, from, to time.Time, channel string) (int, error)
	// Intake stores what is backfilled. Default none: nothing can be.
	Intake Intake

	// Clock is the time that events start and end by. Default clock.System.
	Clock clock.Clock
	// HeartbeatTimeout is how long a collector may be silent before its channels go to others; at
	// least two heartbeats. A new leader waits as long before it judges. Default 3 s.
	HeartbeatTimeout time.Duration
	// Settle is how long a planned move waits after a new collector appeared, so that several
	// which start together share one plan. Default 2 s; negative for none.
	Settle time.Duration
	// Interval is the time between two looks of the leader at the members. Default 500 ms.
	Interval time.Duration
	// MemberInterval is the time between two writes of this master's member document. Default 2 s.
	MemberInterval time.Duration
	// LeaseTTL is how long the leader's lease stands without renewal. Default 6 s.
	LeaseTTL time.Duration
	// LeadTime is how long before its start a scheduled event's channels are assigned, so that
	// all are joined in time: pacing allows 20 JOINs in 12.5 s on each connection. By Clock.
	// Default 10 min; negative for none.
	LeadTime time.Duration
	// EndGrace is how long after its end an event stays live, for what comes late. By Clock.
	// Default 1 min; negative for none.
	EndGrace time.Duration
	// RebalanceAfter is how long the loads of collectors must differ by much before channels are
	// moved for that reason alone. Default 10 min; negative for never.
	RebalanceAfter time.Duration
	// ResolveInterval is the time between two looks at Twitch for renames, and for the logins it
	// did not know. Default 10 min.
	ResolveInterval time.Duration
	// ResolveRetry is the time between two attempts to resolve logins that could not be looked
	// up. Default 30 s.
	ResolveRetry time.Duration
	// CloseGrace is how long after its end a minute is closed, as the rollup is told. Default 20 s.
	CloseGrace time.Duration
	// RequestTimeout bounds one request of the API. Default 30 s.
	RequestTimeout time.Duration

	// Budget is what may be used of Twitch's limits. HelixPoints is the points a minute of each
	// client id that all collectors share; the rest of the 800 is for the master's own look-ups.
	// Default 20 JOINs in 12.5 s, 90 channels a connection, 600 points.
	Budget control.Budget

	// Logger gets what happens. Default slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics. Default none.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	require(c.Store != nil, "store is required")
	require(c.Keys != nil, "keys are required")
	require(c.OperatorTokens != nil, "operator tokens are required")
	require(c.CollectorTokens != nil, "collector tokens are required")
	require(control.ValidName(c.Name), "name %q: use 1 to %d of a-z, 0-9, dot and dash, with a letter or digit at both ends",
		c.Name, control.MaxNameBytes)

	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
		negative bool // negative means none
	}{
		{"heartbeat timeout", &c.HeartbeatTimeout, 3 * time.Second, false},
		{"settle", &c.Settle, 2 * time.Second, true},
		{"interval", &c.Interval, 500 * time.Millisecond, false},
		{"member interval", &c.MemberInterval, 2 * time.Second, false},
		{"lease ttl", &c.LeaseTTL, 6 * time.Second, false},
		{"lead time", &c.LeadTime, 10 * time.Minute, true},
		{"end grace", &c.EndGrace, time.Minute, true},
		{"rebalance after", &c.RebalanceAfter, 10 * time.Minute, true},
		{"resolve interval", &c.ResolveInterval, 10 * time.Minute, false},
		{"resolve retry", &c.ResolveRetry, 30 * time.Second, false},
		{"close grace", &c.CloseGrace, 20 * time.Second, false},
		{"request timeout", &c.RequestTimeout, 30 * time.Second, false},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		require(*d.value > 0 || d.negative, "%s %v: use a time above 0", d.name, *d.value)
	}
	require(c.Interval <= c.HeartbeatTimeout/2, "interval %v is more than half of the heartbeat timeout %v: collectors could not be judged",
		c.Interval, c.HeartbeatTimeout)

	if c.Budget.Joins == 0 {
		c.Budget.Joins = 20
	}
	if c.Budget.JoinWindow == 0 {
		c.Budget.JoinWindow = 12500 * time.Millisecond
	}
	if c.Budget.PerConnection == 0 {
		c.Budget.PerConnection = 90
	}
	if c.Budget.HelixPoints == 0 {
		c.Budget.HelixPoints = 600
	}
	require(c.Budget.Joins > 0 && c.Budget.JoinWindow > 0 && c.Budget.PerConnection > 0 && c.Budget.HelixPoints > 0,
		"budget %+v: all must be above 0", c.Budget)
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("master: %w", err)
	}
	return c, nil
}
