package sim

import "time"

// keptMinutes is how many of the newest minutes the simulator knows the counts of.
const keptMinutes = 180

// Counts is what was sent to those who had joined: of one channel in one minute, or summed up. What
// the ledger has is Messages and Copies.
type Counts struct {
	// Messages counts messages, shared-chat copies left out; Copies counts those. First, Emotes
	// (uses), Bits, Cheers (messages with bits) and Chatters (distinct) are of Messages.
	Messages int `json:"messages"`
	Copies   int `json:"copies"`
	Chatters int `json:"chatters"`
	First    int `json:"first"`
	Emotes   int `json:"emotes"`
	Bits     int `json:"bits"`
	Cheers   int `json:"cheers"`
	// Notices counts all notices; those of some types are counted again below.
	Notices     int `json:"notices"`
	Subs        int `json:"subs"`
	Resubs      int `json:"resubs"`
	Gifts       int `json:"gifts"`
	GiftBombs   int `json:"gift_bombs"`
	Raids       int `json:"raids"`
	RaidViewers int `json:"raid_viewers"`
	Bans        int `json:"bans"`
	Timeouts    int `json:"timeouts"`
	Deletes     int `json:"deletes"`
}

func (c *Counts) add(o Counts) {
	c.Messages += o.Messages
	c.Copies += o.Copies
	c.Chatters += o.Chatters
	c.First += o.First
	c.Emotes += o.Emotes
	c.Bits += o.Bits
	c.Cheers += o.Cheers
	c.Notices += o.Notices
	c.Subs += o.Subs
	c.Resubs += o.Resubs
	c.Gifts += o.Gifts
	c.GiftBombs += o.GiftBombs
	c.Raids += o.Raids
	c.RaidViewers += o.RaidViewers
	c.Bans += o.Bans
	c.Timeouts += o.Timeouts
	c.Deletes += o.Deletes
}

type chatterKey struct {
	channel int
	chatter uint64
}

type minuteCounts struct {
	channels map[int]*Counts
	chatters map[chatterKey]struct{} // nil for minutes long past
}

// counts keeps the newest minutes and the sum of those forgotten.
type counts struct {
	minutes map[int64]*minuteCounts
	newest  int64
	past    Counts
}

func (c *counts) minute(ms int64) *minuteCounts {
	n := ms / 60_000
	m := c.minutes[n]
	if m != nil {
		return m
	}
	m = &minuteCounts{channels: map[int]*Counts{}, chatters: map[chatterKey]struct{}{}}
	c.minutes[n] = m
	c.newest = max(c.newest, n)
	for at, old := range c.minutes {
		if at < c.newest-2 {
			old.chatters = nil
		}
		if at <= c.newest-keptMinutes && at != n {
			for _, counts := range old.channels {
				c.past.add(*counts)
			}
			delete(c.minutes, at)
		}
	}
	return m
}

func (c *counts) of(ch *channel, ms int64) *Counts {
	m := c.minute(ms)
	counts := m.channels[ch.index]
	if counts == nil {
		counts = &Counts{}
		m.channels[ch.index] = counts
	}
	return counts
}

// chatter says whether the chatter is new in the channel's minute.
func (c *counts) chatter(ch *channel, ms int64, chatter uint64) bool {
	m, key := c.minute(ms), chatterKey{ch.index, chatter}
	if _, ok := m.chatters[key]; ok || m.chatters == nil {
		return false
	}
	m.chatters[key] = struct{}{}
	return true
}

// Totals sums all that was sent over channels and minutes; Chatters is then of no use, a chatter
// being counted in each minute.
func (s *Sim) Totals() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.counts.past
	for _, m := range s.counts.minutes {
		for _, c := range m.channels {
			sum.add(*c)
		}
	}
	return sum
}

// Minute is what was sent with a stamp in the minute, by channel id: channels without anything are
// missing. The newest 180 minutes are kept.
func (s *Sim) Minute(minute time.Time) map[string]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.counts.minutes[minute.Unix()/60]
	if m == nil {
		return nil
	}
	out := make(map[string]Counts, len(m.channels))
	for i, c := range m.channels {
		out[s.model.channels[i].ID] = *c
	}
	return out
}
