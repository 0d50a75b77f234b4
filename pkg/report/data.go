package report

import (
	"time"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// Data is what the pictures of an event show.
type Data struct {
	Event record.Event
	// Range is the whole event. Over says that all of it is counted.
	Range statistics.Range
	Over  bool
	// Until is when what is counted ends, while the event goes on; zero for its end.
	Until time.Time
	// Axis is what charts over time show of the Range. Default: all of it.
	Axis statistics.Range
	// Summary is the event's, Minutes and Hours its curves.
	Summary statistics.Summary
	Minutes statistics.Curve
	Hours   statistics.Curve
	// Streamers are those who have anything in the event, by login.
	Streamers []*Streamer
	// Pictured are those of them whose pictures are wanted.
	Pictured []*Streamer
	// Boards are by what they are of.
	Boards map[string]statistics.Board
	Race   statistics.Race
	// Overlaps are the pairs of channels that share most chatters, Network what joins them; both are
	// empty where the records are erased.
	Overlaps   []statistics.Overlap
	Network    statistics.Network
	Categories []statistics.Category
	Emotes     []record.Emote
	Bursts     []statistics.Burst
	Feats      []statistics.Feat
	Raids      []statistics.Raid
	Goals      goals.Overview
	// Observed is the share of the time in which chat was read, of the event.
	Observed float64
	// Comparison is with an earlier edition; nil without one.
	Comparison *statistics.Comparison
	// Avatars are picture files by channel.
	Avatars map[string][]byte

	byChannel map[string]*Streamer
}

// Streamer is what one streamer's picture shows.
type Streamer struct {
	statistics.Summary
	// Curve is by ten minutes, Hours by hour.
	Curve statistics.Curve
	Hours statistics.Curve
	// Categories are what was streamed, longest first.
	Categories []statistics.Category
	// Overlaps are with the channels that share most chatters, most first.
	Overlaps []statistics.Overlap
	// Goals are the channel's own, by amount.
	Goals []goals.Status
	// Observed is the share of the time in which its chat was read.
	Observed float64
}

// streamer is who has a channel; nil for one that is not known.
func (d *Data) streamer(channel string) *Streamer {
	if d.byChannel == nil {
		d.byChannel = make(map[string]*Streamer, len(d.Streamers))
		for _, s := range d.Streamers {
			d.byChannel[s.Channel] = s
		}
	}
	return d.byChannel[channel]
}
