package web

import "time"

// Snapshot is what the page knows at one moment. Numbers that could not be had are absent (null),
// never 0.
type Snapshot struct {
	// At is the event's present time, Speed how many times faster than real time it runs.
	At    time.Time `json:"at"`
	Speed float64   `json:"speed"`
	// Version is the program's.
	Version string     `json:"version,omitempty"`
	Store   StoreState `json:"store"`
	// Event is null while there is none.
	Event *EventInfo `json:"event"`
	Demo  *DemoInfo  `json:"demo,omitempty"`
	Now   Numbers    `json:"now"`
	// Raised is null where no charity source has said anything and there are no goals.
	Raised *Raised `json:"raised"`
	// Minutes are the newest of the event as a whole, at most 60, oldest first, without holes: one
	// that has no document is there with the state StateMissing.
	Minutes []Minute `json:"minutes"`
	// Stages are those of the pipeline, in the order of the data.
	Stages     []Stage         `json:"stages"`
	Collectors []CollectorInfo `json:"collectors"`
	// Members are all other roles.
	Members []MemberInfo `json:"members"`
	// Gaps are spans of the last hour that were not observed in full, newest first.
	Gaps []Gap `json:"gaps"`
	// GapsFrom is since when minutes have been looked through for gaps; null before the first.
	GapsFrom   *time.Time  `json:"gaps_from"`
	Conditions []Condition `json:"conditions"`
	// Rates are present messages per second by channel id, those of at least 0.1.
	Rates map[string]float64 `json:"rates"`
	// Channels are those of the event, busiest first. The stream sends them apart.
	Channels []ChannelInfo `json:"channels,omitempty"`
}

// StoreState says whether the numbers are fresh.
type StoreState struct {
	OK bool `json:"ok"`
	// Good is when the store last answered, by the machine's clock; null when it never has.
	Good *time.Time `json:"good"`
	// Seconds is how long reading took.
	Seconds float64 `json:"seconds"`
}

// EventInfo is the event that is shown.
type EventInfo struct {
	Slug     string    `json:"slug"`
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	TimeZone string    `json:"time_zone"`
	Replicas int       `json:"replicas"`
}

// DemoInfo is Demo in seconds.
type DemoInfo struct {
	Phase     string  `json:"phase"`
	Sent      int64   `json:"sent"`
	Elapsed   float64 `json:"elapsed"`
	Remaining float64 `json:"remaining"`
}

// Number is a number and how far it can be trusted.
type Number struct {
	// Value is null when nothing is known.
	Value *float64 `json:"value"`
	// Quality is record.Complete, record.Partial or record.Unknown.
	Quality string `json:"quality"`
	// Provisional says that it comes from the live feed and will still change.
	Provisional bool `json:"provisional,omitempty"`
	// Error is the relative standard error of an estimate; 0 for what was counted.
	Error float64 `json:"error,omitempty"`
	// At is the minute that it speaks of, or for a peak the moment.
	At *time.Time `json:"at,omitempty"`
}

// Numbers are those of the event as a whole.
type Numbers struct {
	// Rate is chat messages per second over the last ten seconds, replicas counted once.
	Rate Number `json:"rate"`
	// Messages counts all of the event: Closed exactly, the rest provisionally.
	Messages Number `json:"messages"`
	Closed   int64  `json:"closed"`
	// Through is the last minute that Closed holds; null when none is closed.
	Through *time.Time `json:"through"`
	Viewers Number     `json:"viewers"`
	Peak    Number     `json:"peak"`
	// Chatters is the number of different chatters of the event so far.
	Chatters Number `json:"chatters"`
	// Read is how many channels are being read, of Channels. Unresolved and NotFound are logins that
	// are not looked up yet and that Twitch doesn't know; they are in neither.
	Read       int `json:"read"`
	Channels   int `json:"channels"`
	Unresolved int `json:"unresolved"`
	NotFound   int `json:"not_found"`
	// Live is how many channels were live in their last sample; null when nothing was sampled.
	Live *int `json:"live"`
	// Up is how many collectors are heard of, of Collectors.
	Up         int `json:"up"`
	Collectors int `json:"collectors"`
	// Dead is how many dead letters there are, filed or still in their queue; null when that is unknown.
	Dead *int `json:"dead"`
}

// StateMissing is the state of a minute that has no document.
const StateMissing = "missing"

// Minute is one minute of the event.
type Minute struct {
	Time time.Time `json:"time"`
	// State is record.StateOpen, record.StateClosed or StateMissing.
	State    string  `json:"state"`
	Messages int64   `json:"messages"`
	Chatters int64   `json:"chatters"`
	Error    float64 `json:"error"`
	Emotes   int64   `json:"emotes"`
	// Subs are new, renewed and given subscriptions.
	Subs  int64 `json:"subs"`
	Bits  int64 `json:"bits"`
	Raids int64 `json:"raids"`
	// Viewers is the average; null when nothing was sampled.
	Viewers *float64 `json:"viewers"`
	// Chat and Sampled are the completeness of chat and of Viewers; Covered is the share of the
	// minute that was observed, 0 to 1, null where that is unknown.
	Chat    string   `json:"chat"`
	Sampled string   `json:"sampled"`
	Covered *float64 `json:"covered"`
}

// The health of a stage and of a member.
const (
	HealthOK      = "ok"
	HealthWarn    = "warn"
	HealthBad     = "bad"
	HealthUnknown = "unknown"
)

// The stages of the pipeline.
const (
	StageCollectors = "collectors"
	StageOutbox     = "outbox"
	StageQueue      = "queue"
	StageConsumers  = "consumers"
	StageStore      = "store"
	StageRollup     = "rollup"
)

// Stage is one stage of the pipeline. Fields that a stage doesn't have, or that are not known, are
// null.
type Stage struct {
	Name   string `json:"name"`
	Health string `json:"health"`
	// Up is how many members of the stage are heard of, of Of.
	Up *int `json:"up"`
	Of *int `json:"of"`
	// Rate is per second: messages of the collectors, records of the consumers, new documents of the
	// store.
	Rate *float64 `json:"rate"`
	// Depth is what waits: batches, or for the rollup minutes to recount. Bytes is its size.
	Depth *int64 `json:"depth"`
	Bytes *int64 `json:"bytes"`
	// Lag is in seconds: the age of the oldest batch, of the newest record written, of the end of
	// the last closed minute; for the store, the time that reading took.
	Lag *float64 `json:"lag"`
}

// CollectorInfo is one collector.
type CollectorInfo struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	Version string `json:"version"`
	Health  string `json:"health"`
	// Age is the seconds since it was last heard of; Silent says that this is too long.
	Age     float64   `json:"age"`
	Silent  bool      `json:"silent"`
	Leaving bool      `json:"leaving"`
	Started time.Time `json:"started"`
	// Joined is how many channels it reads, of Assigned; Capacity is the most it takes.
	Joined   int `json:"joined"`
	Assigned int `json:"assigned"`
	Capacity int `json:"capacity"`
	// Ready is how many of its chat Connections are ready.
	Ready       int     `json:"ready"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`
	Viewers     int     `json:"viewers"`
	Live        int     `json:"live"`
	// OutboxBatches is -1 when the outbox can't be asked. OutboxOldest is the age of the oldest waiting
	// batch in seconds.
	OutboxBatches int64   `json:"outbox_batches"`
	OutboxBytes   int64   `json:"outbox_bytes"`
	OutboxOldest  float64 `json:"outbox_oldest"`
}

// MemberInfo is a process of any other role.
type MemberInfo struct {
	Role    string  `json:"role"`
	Name    string  `json:"name"`
	Node    string  `json:"node"`
	Health  string  `json:"health"`
	Age     float64 `json:"age"`
	Silent  bool    `json:"silent"`
	Leader  bool    `json:"leader"`
	Epoch   int64   `json:"epoch,omitempty"`
	Version string  `json:"version"`
}

// Gap is a span in which some channels were not observed in full.
type Gap struct {
	// From and To bound it, whole minutes, [From, To).
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Quality is record.Unknown when nothing of them was observed, else record.Partial.
	Quality string `json:"quality"`
	// Channels is how many were concerned, of Of; Names are some of them.
	Channels int      `json:"channels"`
	Of       int      `json:"of"`
	Names    []string `json:"names"`
	// Covered is the share of their time that was observed; null where that is unknown.
	Covered *float64 `json:"covered"`
}

// Condition is something that is wrong.
type Condition struct {
	// Name is a constant in kebab case; those that the page itself finds have a text in its catalogue.
	Name    string `json:"name"`
	Subject string `json:"subject,omitempty"`
	// Member is whose condition it is, role/name; empty for one that the page found.
	Member string `json:"member,omitempty"`
	// Health is HealthWarn or HealthBad.
	Health string     `json:"health"`
	Since  *time.Time `json:"since"`
	// Detail says what was seen and what to do. It is empty where the catalogue has the text.
	Detail string `json:"detail,omitempty"`
	// Count is how many the text speaks of.
	Count int `json:"count,omitempty"`
}

// The states of a channel's stream.
const (
	StreamLive      = "live"
	StreamOffline   = "offline"
	StreamUnsampled = "unsampled"
)

// ChannelInfo is one channel, with its newest closed minute.
type ChannelInfo struct {
	ID    string `json:"id"`
	Login string `json:"login"`
	Name  string `json:"name"`
	// Status is the channel's: active, unresolved, unknown.
	Status string `json:"status"`
	// ReadBy names the collectors that are reading it.
	ReadBy []string `json:"read_by"`
	// Minute is the minute that the numbers below speak of; null when there is none: the numbers
	// mean nothing then.
	Minute   *time.Time `json:"minute"`
	Messages int64      `json:"messages"`
	Chatters int64      `json:"chatters"`
	Error    float64    `json:"error"`
	// Stream is one of the Stream constants; Viewers means something only when live.
	Stream  string   `json:"stream"`
	Viewers float64  `json:"viewers"`
	Chat    string   `json:"chat"`
	Covered *float64 `json:"covered"`
	// Trend is messages a minute, oldest first, up to Minute; -1 where nothing is known.
	Trend []int64 `json:"trend"`
}
