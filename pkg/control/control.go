// Package control is the protocol between the master and those it leads, and what every role tells
// of itself. A collector asks the master once a second: its heartbeat goes up, its assignment
// comes down when it has changed.
package control

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Heartbeat is what a collector tells the master.
type Heartbeat struct {
	// Collector is the collector's name, unique and lasting: it names the outbox too.
	Collector string `json:"collector"`
	// Node is the machine or Kubernetes node; replicas of a channel go to different ones.
	Node string `json:"node"`
	// Run is made anew at every start of the process.
	Run     string    `json:"run"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Capacity is the most channels that it takes; 0 for one that reads no chat.
	Capacity int `json:"capacity"`
	// Charity says that it polls charity sources: it wants every event that is collected, and those that
	// have just ended, whether it reads their channels or not.
	Charity bool `json:"charity,omitempty"`
	// Epoch and Revision are those of the assignment in effect; 0 when it has none.
	Epoch    int64 `json:"epoch"`
	Revision int64 `json:"revision"`
	// Joined are the ids of the channels whose JOIN was echoed and that are being read.
	Joined []string `json:"joined"`
	// Leaving says that it is being drained: it wants to be left without channels.
	Leaving bool            `json:"leaving,omitempty"`
	Status  CollectorStatus `json:"status"`
}

// Answer is what the master answers to a heartbeat.
type Answer struct {
	// Now is the master's clock, for the collector to notice that its own is off.
	Now time.Time `json:"now"`
	// Assignment is nil when the one in effect is still right.
	Assignment *Assignment `json:"assignment,omitempty"`
}

// Assignment is all that a collector needs to work, with or without the master. Collectors keep it
// on disk (0600) and refuse one whose epoch is lower than that in effect.
type Assignment struct {
	Collector string `bson:"_id"      json:"collector"`
	Rev       int64  `bson:"rev"      json:"-"`
	Epoch     int64  `bson:"epoch"    json:"epoch"`
	Revision  int64  `bson:"revision" json:"revision"`
	// Events are those that any of the channels belongs to; for one that polls charity sources, all that
	// are collected, and those that ended a while ago, for donations that are told late.
	Events   []AssignedEvent   `bson:"events"   json:"events"`
	Channels []AssignedChannel `bson:"channels" json:"channels"`
	Budget   Budget            `bson:"budget"   json:"budget"`
}

// AssignedEvent is what a collector must know of an event.
type AssignedEvent struct {
	Slug     string    `bson:"slug"      json:"slug"`
	Start    time.Time `bson:"start"     json:"start"`
	End      time.Time `bson:"end"       json:"end"`
	KeepText bool      `bson:"keep_text" json:"keep_text"`
	// Key is the event's pseudonym key. It is not stored with the assignment.
	Key []byte `bson:"-" json:"key"`
	// Public are all channels of the event, id to login; Names are their display names, by id, of those
	// that are known.
	Public map[string]string `bson:"-" json:"public"`
	Names  map[string]string `bson:"-" json:"names,omitempty"`
	// Excluded are the pseudonyms, by id and by login, of those who opted out or were forgotten:
	// nothing of them is recorded.
	Excluded []string `bson:"-" json:"excluded,omitempty"`
}

// AssignedChannel is a channel to read, and the slugs of the events that it is read for.
type AssignedChannel struct {
	Channel string   `bson:"channel" json:"channel"`
	Login   string   `bson:"login"   json:"login"`
	Events  []string `bson:"events"  json:"events"`
}

// Budget is the share of Twitch's limits that the collector may use.
type Budget struct {
	// Joins is the most JOINs per account (connection) within JoinWindow.
	Joins      int           `bson:"joins"       json:"joins"`
	JoinWindow time.Duration `bson:"join_window" json:"join_window"`
	// PerConnection is the most channels of one connection.
	PerConnection int `bson:"per_connection" json:"per_connection"`
	// HelixPoints is the most points a minute, of each client id.
	HelixPoints int `bson:"helix_points" json:"helix_points"`
}

// The roles.
const (
	RoleMaster    = "master"
	RoleCollector = "collector"
	RoleConsumer  = "consumer"
	RoleRollup    = "rollup"
	RoleCustody   = "custody"
)

// Member is one running process's role, as it stands in the collection members. It is written
// every few seconds; whoever reads it judges by Seen.
type Member struct {
	// ID is role and name joined by "/".
	ID      string    `bson:"_id"     json:"id"`
	Role    string    `bson:"role"    json:"role"`
	Name    string    `bson:"name"    json:"name"`
	Node    string    `bson:"node"    json:"node"`
	Run     string    `bson:"run"     json:"run"`
	Version string    `bson:"version" json:"version"`
	Started time.Time `bson:"started" json:"started"`
	Seen    time.Time `bson:"seen"    json:"seen"`
	// Beat counts heartbeats: whoever judges a member watches it change, by its own clock.
	Beat int64 `bson:"beat" json:"beat"`
	// Left says that it has stopped in good order: its silence is no failure.
	Left bool `bson:"left,omitempty" json:"left,omitempty"`

	Conditions []Condition `bson:"conditions,omitempty" json:"conditions,omitempty"`

	// One of these is set, by role.
	Collector *CollectorMember `bson:"collector,omitempty" json:"collector,omitempty"`
	Consumer  *ConsumerStatus  `bson:"consumer,omitempty"  json:"consumer,omitempty"`
	Rollup    *RollupStatus    `bson:"rollup,omitempty"    json:"rollup,omitempty"`
	Master    *MasterStatus    `bson:"master,omitempty"    json:"master,omitempty"`
	Custody   *CustodyStatus   `bson:"custody,omitempty"   json:"custody,omitempty"`
}

// Condition is something that is wrong and lasts. It goes away when it is right again.
type Condition struct {
	// Name is a short constant in kebab case: "helix-unauthorized", "outbox-filling", …
	Name string `bson:"name" json:"name"`
	// Subject is what it concerns: a channel's login, a connection, a client id.
	Subject string    `bson:"subject,omitempty" json:"subject,omitempty"`
	Since   time.Time `bson:"since"             json:"since,omitzero"`
	// Detail says what was seen and what to do, in a sentence.
	Detail string `bson:"detail" json:"detail"`
}

// CollectorMember is what the master keeps of a collector's last heartbeat.
type CollectorMember struct {
	Capacity int             `bson:"capacity" json:"capacity"`
	Charity  bool            `bson:"charity"  json:"charity"`
	Epoch    int64           `bson:"epoch"    json:"epoch"`
	Revision int64           `bson:"revision" json:"revision"`
	Joined   []string        `bson:"joined"   json:"joined"`
	Leaving  bool            `bson:"leaving"  json:"leaving"`
	Status   CollectorStatus `bson:"status"   json:"status"`
}

// CollectorStatus is how a collector is doing.
type CollectorStatus struct {
	// Assigned is how many channels it is to read.
	Assigned    int          `bson:"assigned"    json:"assigned"`
	Connections []Connection `bson:"connections" json:"connections"`
	// Lines counts what chat sent since the start, Records what was written to the outbox.
	Lines   int64 `bson:"lines"   json:"lines"`
	Records int64 `bson:"records" json:"records"`
	// Rate is chat messages per second over the last ten seconds, Rates the same by channel id,
	// those of at least 0.1.
	Rate  float64            `bson:"rate"            json:"rate"`
	Rates map[string]float64 `bson:"rates,omitempty" json:"rates,omitempty"`
	// Waiting is how many records wait in memory because the outbox does not take them: for longer than
	// a second, not just for the next write.
	Waiting int `bson:"waiting" json:"waiting"`
	// Outbox is what waits on disk for the queue. OutboxBatches is -1 when that can't be told.
	OutboxBatches int64     `bson:"outbox_batches" json:"outbox_batches"`
	OutboxBytes   int64     `bson:"outbox_bytes"   json:"outbox_bytes"`
	OutboxOldest  time.Time `bson:"outbox_oldest"  json:"outbox_oldest,omitzero"`
	// OutboxLeft is how long the outbox still takes what comes at the rate it has filled with lately,
	// by its bound in bytes or in age, whichever is nearer; 0 when it is not filling.
	OutboxLeft time.Duration `bson:"outbox_left" json:"outbox_left"`
	// Dropped counts records that the outbox had no room for, where its policy is to drop.
	Dropped int64 `bson:"dropped" json:"dropped"`
	// Viewers is the sum over the live channels of the last sweep, Live their number.
	Viewers   int       `bson:"viewers"    json:"viewers"`
	Live      int       `bson:"live"       json:"live"`
	LastSweep time.Time `bson:"last_sweep" json:"last_sweep,omitzero"`
	// Sources are the charity sources that it polls, in the order of their file.
	Sources []Source `bson:"sources,omitempty" json:"sources,omitempty"`
	// ClockOffset is the collector's clock less the master's.
	ClockOffset time.Duration `bson:"clock_offset"         json:"clock_offset"`
	Conditions  []Condition   `bson:"conditions,omitempty" json:"conditions,omitempty"`
}

// Source is a charity source, as the collector that polls it tells. Counts are since its start.
type Source struct {
	// Name is the source's, Kind what it is: zevent, streamlabs, twitch, tiltify or json.
	Name string `bson:"name" json:"name"`
	Kind string `bson:"kind" json:"kind"`
	// Events are the slugs of the events that it is polled for now.
	Events []string `bson:"events,omitempty" json:"events,omitempty"`
	// LastSlot is the slot that was polled last, LastSuccess the last one with a usable answer.
	LastSlot    time.Time `bson:"last_slot"    json:"last_slot,omitzero"`
	LastSuccess time.Time `bson:"last_success" json:"last_success,omitzero"`
	// CompleteUntil is up to when the single donations are known to be all there are; zero where they are
	// not, and where the source tells totals only.
	CompleteUntil time.Time `bson:"complete_until" json:"complete_until,omitzero"`
	// Backfilling says that all donations are being read again, from the first on.
	Backfilling bool `bson:"backfilling,omitempty" json:"backfilling,omitempty"`
	// Donations is how many single donations are known, Outside how many of them lie in no event.
	Donations int64 `bson:"donations" json:"donations"`
	Outside   int64 `bson:"outside"   json:"outside"`
	// Requests counts requests, Failures those without a usable answer.
	Requests int64 `bson:"requests" json:"requests"`
	Failures int64 `bson:"failures" json:"failures"`
}

// Connection is one chat connection.
type Connection struct {
	// Name is the connection's name: collector, number and generation.
	Name string `bson:"name" json:"name"`
	Nick string `bson:"nick" json:"nick"`
	// State is connecting, joining, ready or closing.
	State    string    `bson:"state"     json:"state"`
	Channels int       `bson:"channels"  json:"channels"`
	Joined   int       `bson:"joined"    json:"joined"`
	LastLine time.Time `bson:"last_line" json:"last_line,omitzero"`
}

// ConsumerStatus is how a consumer is doing.
type ConsumerStatus struct {
	Batches  int64 `bson:"batches"  json:"batches"`
	Inserted int64 `bson:"inserted" json:"inserted"`
	Existed  int64 `bson:"existed"  json:"existed"`
	Dead     int64 `bson:"dead"     json:"dead"`
	Marks    int64 `bson:"marks"    json:"marks"`
	// Rate is records per second over the last ten seconds.
	Rate float64 `bson:"rate" json:"rate"`
	// Lag is the age, by event time, of the newest record of the last write.
	Lag time.Duration `bson:"lag" json:"lag"`
	// Held is how many batches it has in hand, Depth how many wait in the queue "store"; -1 when that
	// can't be told. Acked is when it acknowledged one last.
	Held  int       `bson:"held"  json:"held"`
	Depth int       `bson:"depth" json:"depth"`
	Acked time.Time `bson:"acked" json:"acked,omitzero"`
	// Filed counts the dead letters that it took out of their queue and filed in the store, Replayed
	// those that it put back into the queue "store". Letters is how many are filed, counted up to
	// 10,000.
	Filed    int64 `bson:"filed"    json:"filed"`
	Replayed int64 `bson:"replayed" json:"replayed"`
	Letters  int   `bson:"letters"  json:"letters"`
}

// RollupStatus is how a rollup is doing.
type RollupStatus struct {
	Leader bool  `bson:"leader" json:"leader"`
	Epoch  int64 `bson:"epoch"  json:"epoch"`
	// Steps counts what it has read and written in this run. It grows every second of a leader, whether
	// there is a minute to close or not; one whose steps stand still is stalled.
	Steps  int64         `bson:"steps"  json:"steps"`
	Events []RollupEvent `bson:"events" json:"events"`
}

// RollupEvent is how far a rollup is with an event.
type RollupEvent struct {
	Event string `bson:"event" json:"event"`
	// Closed is the start of the last closed minute.
	Closed time.Time `bson:"closed" json:"closed,omitzero"`
	// Marks is how many minutes wait for a recount.
	Marks int `bson:"marks" json:"marks"`
	// Live is the event's provisional numbers of the newest open minute.
	Live *record.Statistics `bson:"live,omitempty" json:"live,omitempty"`
}

// CustodyStatus is how custody is doing: what erases, freezes and compares.
type CustodyStatus struct {
	Leader bool  `bson:"leader" json:"leader"`
	Epoch  int64 `bson:"epoch"  json:"epoch"`
	// Doing says what it is at, in a few words; empty when it waits for something to do.
	Doing string `bson:"doing,omitempty" json:"doing,omitempty"`
	// Pending is how many forgotten people are still being erased.
	Pending int `bson:"pending" json:"pending"`
}

// MasterStatus is how a master is doing.
type MasterStatus struct {
	Leader bool  `bson:"leader" json:"leader"`
	Epoch  int64 `bson:"epoch"  json:"epoch"`
	// Unassigned are ids of channels that found no collector with room.
	Unassigned []string `bson:"unassigned,omitempty" json:"unassigned,omitempty"`
	Moves      int64    `bson:"moves"                json:"moves"`
}
