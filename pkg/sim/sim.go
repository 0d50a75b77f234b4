// Package sim is a stand-in for Twitch.
package sim

import (
	"context"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

// Sim is a simulated Twitch.
type Sim struct{ cfg Config }

// Channel is one of its channels.
type Channel struct {
	ID    string `json:"id"`
	Login string `json:"login"`
	Name  string `json:"name"`
}

// Counts is what was sent to those who had joined: of one channel in one minute, or a sum.
type Counts struct {
	// Messages counts messages without shared-chat copies; Copies counts those.
	Messages int `json:"messages"`
	Copies   int `json:"copies"`
	Chatters int `json:"chatters"`
	First    int `json:"first"`
	Emotes   int `json:"emotes"`
	Bits     int `json:"bits"`
	Cheers   int `json:"cheers"`
	Subs, Resubs, Gifts, GiftBombs, Raids, RaidViewers, Notices int
	Bans, Timeouts, Deletes int
}

// New listens on both addresses, so that they are known; Run serves. Close it if it is never run.
func New(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sim{cfg: cfg}, nil
}

// Run serves until the context ends.
func (s *Sim) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Close lets go of a simulator that is not running.
func (s *Sim) Close() error { return nil }

// IRCAddress is host:port of the chat server.
func (s *Sim) IRCAddress() string { return "" }

// HelixURL is the base address of Helix: http://host:port/helix.
func (s *Sim) HelixURL() string { return "" }

// AuthURL is the base address of the OAuth host: http://host:port/oauth2.
func (s *Sim) AuthURL() string { return "" }

// Clock is the event time.
func (s *Sim) Clock() clock.Clock { return s.cfg.Clock }

// Channels are all channels, live or not.
func (s *Sim) Channels() []Channel { return nil }

// Logins are the channels' logins.
func (s *Sim) Logins() []string { return nil }

// Begin starts the traffic. Servers answer before.
func (s *Sim) Begin() {}

// End stops the traffic and waits until all that was sent is written to the sockets and the ledger.
func (s *Sim) End(ctx context.Context) error { return nil }

// Done is closed when the traffic has ended: after End, or when a replay is over.
func (s *Sim) Done() <-chan struct{} { return nil }

// Sent is how many messages the ledger has: shared-chat copies among them.
func (s *Sim) Sent() int64 { return 0 }

// Totals sums all that was sent.
func (s *Sim) Totals() Counts { return Counts{} }

// Minute is what was sent in the minute, by channel id; nil when the minute is none of the newest
// kept or nothing was sent in it.
func (s *Sim) Minute(minute time.Time) map[string]Counts { return nil }

// Sweeps is how many answers to Get Streams were given in the minute of event time.
func (s *Sim) Sweeps(minute time.Time) int { return 0 }

// SetFaults changes what goes wrong from now on.
func (s *Sim) SetFaults(f Faults) error { return nil }

// DropConnections closes connections whose nick starts with the prefix and returns how many. What
// was queued for them is delivered first.
func (s *Sim) DropConnections(nick string) int { return 0 }

// SendReconnect sends RECONNECT to connections whose nick starts with the prefix, closes them after
// Limits.ReconnectGrace, and returns how many.
func (s *Sim) SendReconnect(nick string) int { return 0 }

// Freeze makes connections whose nick starts with the prefix silent: open, but without a line,
// until Thaw. It returns how many. Messages that only they would get are not in the ledger.
func (s *Sim) Freeze(nick string) int { return 0 }

// Thaw ends every Freeze.
func (s *Sim) Thaw() {}

// RenameChannel gives the channel with the login a new one.
func (s *Sim) RenameChannel(login, to string) error { return nil }

// SetLive starts or ends a channel's stream.
func (s *Sim) SetLive(login string, live bool) error { return nil }
