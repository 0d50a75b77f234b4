package statistics

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Audience is who chatted where, counted exactly from the messages of a range. It knows people by
// pseudonym while it counts and tells none of them. Spread, Reach and Emotes are as complete as the
// messages beside them.
type Audience struct {
	Event string `json:"event"`
	Range
	// Chatters is how many people wrote, in all channels together, Messages how much.
	Chatters Count `json:"chatters"`
	Messages Count `json:"messages"`
	// Authorless counts messages whose author is not known (filled in from a broadcast); they are in
	// Messages and no one's.
	Authorless int64 `json:"authorless"`
	// Channels are those with a message, by their number of chatters, most first.
	Channels []ChannelAudience `json:"channels"`
	// Overlaps are the pairs of channels that share a chatter, those that share most first.
	Overlaps []Overlap `json:"overlaps"`
	// Hours are clock hours, Days days of the event's time zone. The times are their starts.
	Hours []Crowd `json:"hours"`
	Days  []Crowd `json:"days"`
	// Spread is how many chatters wrote how much, Reach how many wrote in how many channels.
	Spread []Bucket `json:"spread"`
	Reach  []Bucket `json:"reach"`
	// Emotes are all emotes that were used, exactly, most used first.
	Emotes []record.Emote `json:"emotes"`
}

// ChannelAudience is the audience of one channel.
type ChannelAudience struct {
	Streamer
	Chatters Count `json:"chatters"`
	Messages Count `json:"messages"`
	// Only wrote in no other channel: as complete as all channels are. Newcomers wrote here first of all
	// channels of the event: as complete as those are since its start.
	Only      Count `json:"only"`
	Newcomers Count `json:"newcomers"`
	// Spread is how many of its chatters wrote how much in it.
	Spread []Bucket `json:"spread"`
}

// Overlap is how many people chatted in both of two channels.
type Overlap struct {
	A string `json:"a"` // channel ids, the smaller audience's second
	B string `json:"b"`
	// Shared is their number; OfA and OfB the shares of either audience; Jaccard Shared by all who
	// chatted in A or B.
	Shared  int64   `json:"shared"`
	OfA     float64 `json:"of_a"`
	OfB     float64 `json:"of_b"`
	Jaccard float64 `json:"jaccard"`
	// Coverage is of both channels.
	Coverage string `json:"coverage"`
}

// Crowd is the chatters of one hour or day.
type Crowd struct {
	Time time.Time `json:"time"`
	// Chatters wrote in it: Newcomers had never written in the event before, Returning had, before this
	// hour or day. Those two are as complete as all is since the event's start: who wrote in a gap is new.
	Chatters  Count `json:"chatters"`
	Newcomers Count `json:"newcomers"`
	Returning Count `json:"returning"`
}

// Bucket is how many chatters have from Min to Max of something; Max is 0 for no limit.
type Bucket struct {
	Min      int64 `json:"min"`
	Max      int64 `json:"max"`
	Chatters int64 `json:"chatters"`
	// Messages are what those wrote.
	Messages int64 `json:"messages"`
}

// Network is which streamers have to do with each other.
type Network struct {
	Nodes []Node `json:"nodes"`
	Links []Link `json:"links"`
}

// Node is one streamer in a Network.
type Node struct {
	Streamer
	Chatters Count `json:"chatters"`
	RaidsIn  int64 `json:"raids_in"`
	RaidsOut int64 `json:"raids_out"`
}

// Link is what joins two streamers: shared chatters and raids, with the viewers that were sent.
type Link struct {
	A         string  `json:"a"`
	B         string  `json:"b"`
	Shared    int64   `json:"shared"`
	Jaccard   float64 `json:"jaccard"`
	RaidsAB   int64   `json:"raids_ab"`
	ViewersAB int64   `json:"raid_viewers_ab"`
	RaidsBA   int64   `json:"raids_ba"`
	ViewersBA int64   `json:"raid_viewers_ba"`
}
