// Package chat reads Twitch chat (IRC) and turns its lines into records.
//
// A Reader keeps as many anonymous connections as the channels need, each with a nick of its own.
// Lines are parsed by github.com/gempir/go-twitch-irc/v4; the connections are this package's own,
// because the library's client ends a connection the moment it reads RECONNECT, which rules out
// joining elsewhere first, and drops what it had read but not parsed.
package chat

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	twitch "github.com/gempir/go-twitch-irc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/clock"
)

// DefaultAddress is Twitch's chat server, over TLS.
const DefaultAddress = "irc.chat.twitch.tv:6697"

// MaxPerConnection is the most channels of one connection, whatever the budget says. Twitch lets an
// account be in 100 channels at once; whether that holds for anonymous readers is not documented.
const MaxPerConnection = 90

// Channel is a channel to read. Its login is what is joined; its id is what records carry.
type Channel struct {
	ID    string
	Login string
}

// Line is one line of chat that concerns a channel.
type Line struct {
	// Connection is the name of the connection that it came over.
	Connection string
	// Channel is the one that was joined by this name. After its PART the id is the line's
	// room-id, where it has one.
	Channel Channel
	// Received is when the line was read, by the event clock.
	Received time.Time
	// Late says that nothing had been read for a while before: the line may have waited in the
	// system's buffers, and its lag tells nothing.
	Late bool
	// Message is the parsed line. The State of a *twitch.RoomStateMessage is whole: what the line
	// left out is as it was told before.
	Message twitch.Message
}

// Stamp is the time that Twitch stamped the line with, zero where there is none, and whether it is of
// the kinds that come from people, not with a JOIN.
func (l Line) Stamp() (sent time.Time, people bool) { return stampOf(l.Message) }

// Span says that a connection was reading a set of channels from From (inclusive) to To
// (exclusive), by the event clock in milliseconds: every line that Twitch sent there in that time
// was handed to the sink. It lies within one minute.
type Span struct {
	Connection string
	// Channels are sorted ids. The slice is shared: don't change it.
	Channels []string
	From, To time.Time
}

// Stats counts what was read since the start.
type Stats struct {
	// Lines counts every line, PING and PONG among them; Messages the PRIVMSGs.
	Lines    int64
	Messages int64
	// Malformed counts lines that could not be parsed.
	Malformed int64
}

// Config is a Reader's configuration. Its zero value reads Twitch.
type Config struct {
	// Address is the server's host and port. Default DefaultAddress.
	Address string
	// TLS says that the server speaks TLS. Default false where Address is set, true where it isn't.
	TLS bool
	// TLSConfig is used with TLS. Default: TLS 1.2 or newer, the system's roots, the address' host.
	TLSConfig *tls.Config
	// Dial opens the connection below TLS. Default: a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Collector is the first part of connections' names. Default "chat".
	Collector string
	// Clock is the event's clock, which lines and spans are stamped by. Default clock.System.
	Clock clock.Clock
	// KeepAlive is the time between two PINGs on a connection. A connection on which nothing at
	// all is received for two and a half times as long is replaced. Default 10 s.
	KeepAlive time.Duration
	// DialTimeout bounds opening a connection, from dialling to Twitch's welcome. Default 15 s.
	DialTimeout time.Duration
	// JoinTimeout is how long a JOIN's echo is waited for before it is tried again. Default 10 s.
	JoinTimeout time.Duration
	// JoinTries is the number of unanswered JOINs after which a channel is reported as a condition.
	// It is tried on all the same. Default 3.
	JoinTries int
	// MinBackoff and MaxBackoff bound the time until a lost connection is dialled again, or an
	// unanswered JOIN sent again: it is random between nothing and a bound that doubles with every
	// failure. Default 1 s and 1 min.
	MinBackoff, MaxBackoff time.Duration
	// HealthyAfter is how long a connection must have lived for the doubling to begin anew.
	// Default 1 min.
	HealthyAfter time.Duration
	// RetireTimeout is the longest that a connection which was told to RECONNECT is kept while its
	// channels are joined anew. Default 3 min.
	RetireTimeout time.Duration
	// Logger gets what happens to connections. Default: discarded.
	Logger *slog.Logger
	// Registerer gets the metrics. Default: none.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.Address == "" {
		c.Address, c.TLS = DefaultAddress, true
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	if c.Collector == "" {
		c.Collector = "chat"
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.KeepAlive, 10 * time.Second},
		{&c.DialTimeout, 15 * time.Second},
		{&c.JoinTimeout, 10 * time.Second},
		{&c.MinBackoff, time.Second},
		{&c.MaxBackoff, time.Minute},
		{&c.HealthyAfter, time.Minute},
		{&c.RetireTimeout, 3 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
	if c.JoinTries <= 0 {
		c.JoinTries = 3
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// silence is how long nothing may be received. A PONG is due within every KeepAlive, so one lost
// in the noise is forgiven and two are not.
func (c *Config) silence() time.Duration { return c.KeepAlive * 5 / 2 }

// Parse parses a raw line without its line end. The library panics on badges and emotes that are
// not as it expects: then only the message's Tags have them. A line that can't be parsed at all
// gives an error.
func Parse(raw string) (twitch.Message, error) {
	m, err := parse(raw)
	if err == nil {
		return m, nil
	}
	mended, fragile := withoutFragileTags(raw)
	if len(fragile) == 0 {
		return nil, err
	}
	if m, err = parse(mended); err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *twitch.PrivateMessage:
		maps.Copy(m.Tags, fragile)
	case *twitch.UserNoticeMessage:
		maps.Copy(m.Tags, fragile)
	}
	return m, nil
}

func parse(raw string) (m twitch.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("parse a line of %d bytes: %v", len(raw), p)
		}
	}()
	return twitch.ParseMessage(raw), nil
}

// withoutFragileTags takes the tags out of a raw line on which the library can panic.
func withoutFragileTags(raw string) (mended string, fragile map[string]string) {
	tags, rest, ok := strings.Cut(raw, " ")
	if !ok || !strings.HasPrefix(tags, "@") {
		return raw, nil
	}
	fragile = map[string]string{}
	kept := slices.DeleteFunc(strings.Split(tags[1:], ";"), func(tag string) bool {
		name, value, _ := strings.Cut(tag, "=")
		switch name {
		case "badges", "source-badges", "emotes":
			fragile[name] = value
			return true
		}
		return false
	})
	// With no tag left the library still needs one to make the map.
	return "@" + strings.Join(kept, ";") + " " + rest, fragile
}
