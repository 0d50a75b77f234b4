// Package sample fills a store with a whole event that never happened: a charity weekend of hundreds of
// channels, with everything that Tungstene collects and counts. The shape of its audience and its chat is
// that of a recorded marathon, what people write is recorded chat, all else is modelled; people and
// channels are invented.
//
// The same Config gives the same documents, byte for byte. Statistics are counted by the rollup's own
// code, so that they are what the leading rollup would have written.
package sample

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Name is the name of every sample event: what Fill may replace is told by it.
const Name = "Sample event"

// The sources of donations.
const (
	// Totals is the source that shows running totals, of each channel and of the event.
	Totals = "zevent"
	// Singles is the source that lists single donations.
	Singles = "streamlabs"
)

// Currency is that of all money.
const Currency = "EUR"

// Bounds of a Config.
const (
	MaxChannels  = 5000
	MaxHours     = 96
	MaxMessages  = 100_000_000
	MaxDonations = 10_000_000
)

const (
	fullChannels = 350
	fullHours    = 55
	fullCents    = 16_000_000_00
	fullGoals    = 800
	fullViewers  = 750_000 // at the peak
)

// Config says what is made. The zero value of a field is its default.
type Config struct {
	// Event is the slug. Default: sample.
	Event string
	// Channels is 2 to MaxChannels. Default: 350.
	Channels int
	// Hours is the event's length, 1 to MaxHours. Default: 55.
	Hours int
	// Messages is how many chat messages are counted, at most MaxMessages; copies in shared chat come on
	// top. Default: 2,000,000.
	Messages int64
	// Donations is about how many single donations there are, at most MaxDonations. Default: a tenth of
	// Messages.
	Donations int64
	// Cents is what is given in all, at least a euro a channel. Default: 16 million euros for 350 channels
	// and 55 hours, in proportion.
	Cents int64
	// Goals is about how many donation goals there are. Default: 800 for 350 channels, in proportion.
	Goals int
	// Seed is what everything that is drawn is drawn by. Default: 1.
	Seed uint64
}

// ErrConfig is wrapped by the errors about a Config that can't be.
var ErrConfig = errors.New("invalid sample")

func (c Config) withDefaults() (Config, error) {
	if c.Event == "" {
		c.Event = "sample"
	}
	if c.Channels == 0 {
		c.Channels = fullChannels
	}
	if c.Hours == 0 {
		c.Hours = fullHours
	}
	if c.Messages == 0 {
		c.Messages = 2_000_000
	}
	if c.Donations == 0 {
		c.Donations = min(max(c.Messages/10, 1), MaxDonations)
	}
	if c.Cents == 0 {
		c.Cents = fullCents / fullChannels / fullHours * int64(c.Channels) * int64(c.Hours)
		if c.Channels == fullChannels && c.Hours == fullHours {
			c.Cents = fullCents
		}
	}
	if c.Goals == 0 {
		c.Goals = max(c.Channels*fullGoals/fullChannels, 1)
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	switch {
	case !record.ValidSlug(c.Event):
		return c, fmt.Errorf("%w: event %q: use 1 to %d lower-case letters, digits and dashes", ErrConfig, c.Event, record.MaxSlugBytes)
	case c.Channels < 2 || c.Channels > MaxChannels:
		return c, fmt.Errorf("%w: %d channels: use 2 to %d", ErrConfig, c.Channels, MaxChannels)
	case c.Hours < 1 || c.Hours > MaxHours:
		return c, fmt.Errorf("%w: %d hours: use 1 to %d", ErrConfig, c.Hours, MaxHours)
	case c.Messages < 0 || c.Messages > MaxMessages:
		return c, fmt.Errorf("%w: %d messages: use 1 to %d", ErrConfig, c.Messages, MaxMessages)
	case c.Donations < 0 || c.Donations > MaxDonations:
		return c, fmt.Errorf("%w: %d donations: use 1 to %d", ErrConfig, c.Donations, MaxDonations)
	case c.Cents < 100*int64(c.Channels) || c.Cents > record.MaxCents/int64(c.Channels):
		return c, fmt.Errorf("%w: %d cents in all: use a euro a channel at least, and at most %d", ErrConfig, c.Cents, record.MaxCents/int64(c.Channels))
	case c.Goals < 0 || c.Goals > 100*c.Channels:
		return c, fmt.Errorf("%w: %d goals: use at most 100 a channel", ErrConfig, c.Goals)
	}
	return c, nil
}

// Start is when every sample event starts: 18:00 in Paris, on the first Friday of September 2026.
func Start() time.Time { return time.Date(2026, 9, 4, 16, 0, 0, 0, time.UTC) }

// Event is the event that a Config makes, ended.
func Event(c Config) (record.Event, error) {
	c, err := c.withDefaults()
	if err != nil {
		return record.Event{}, err
	}
	return c.event(), nil
}

func (c Config) event() record.Event {
	return record.Event{
		Slug: c.Event, Rev: 3, Name: Name, State: record.EventEnded,
		Start: Start(), End: Start().Add(time.Duration(c.Hours) * time.Hour),
		TimeZone: "Europe/Paris", Currency: Currency, Donations: Totals, KeepText: true, Replicas: 2,
		Created: Start().AddDate(0, 0, -30),
	}
}

// Key is the pseudonym key of a sample's invented people. It is no secret: it follows from the seed.
func Key(seed uint64) []byte {
	sum := sha256.Sum256([]byte("tungstene sample " + strconv.FormatUint(seed, 10)))
	return sum[:]
}

// mix scrambles a number: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
