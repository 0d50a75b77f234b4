package control

import (
	"regexp"
	"time"
)

// MaxNameBytes bounds the name of a member.
const MaxNameBytes = 63

var memberName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// ValidName reports whether s can name a collector or another member: 1 to MaxNameBytes of a-z,
// 0-9, dot and dash, with a letter or digit at both ends, as Kubernetes names its pods. Names
// stand in ids, paths and file names.
func ValidName(s string) bool { return memberName.MatchString(s) }

// NewEvent is what an operator says of an event to create. It begins as a draft.
type NewEvent struct {
	Slug string `json:"slug" maxLength:"64" minLength:"1" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"Names the event in ids, URLs and commands; lower-case letters, digits and dashes"`
	Name string `json:"name,omitempty" maxLength:"200" doc:"Shown to people; the slug when empty"`
	// Start and End may come later, but before the event is scheduled or started.
	Start     time.Time `json:"start,omitzero" doc:"First moment of the event, by event time"`
	End       time.Time `json:"end,omitzero" doc:"First moment after the event"`
	TimeZone  string    `json:"time_zone,omitempty" maxLength:"64" doc:"IANA name that days go by" default:"UTC" example:"Europe/Paris"`
	Currency  string    `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"three capital letters, an ISO 4217 code such as EUR" doc:"ISO 4217 code of the money shown" default:"EUR"`
	KeepText  bool      `json:"keep_text,omitempty" doc:"Store the text of messages"`
	Replicas  int       `json:"replicas,omitempty" minimum:"1" maximum:"2" default:"1" doc:"On how many collectors each channel is read"`
	Donations string    `json:"donations,omitempty" maxLength:"64" doc:"Name of the charity source whose numbers are the event's, where there are several; else the first that has running totals"`
	// TextDays, AnswerDays and RecordDays are retention: days after the end.
	TextDays   int `json:"text_days,omitempty" minimum:"0" maximum:"3650" doc:"Days after its end that texts of messages and donations are kept; 0 for as long as the records"`
	AnswerDays int `json:"answer_days,omitempty" minimum:"0" maximum:"3650" doc:"Days after its end that the answers of charity sources are kept; 0 for as long as the records"`
	RecordDays int `json:"record_days,omitempty" minimum:"0" maximum:"3650" doc:"Days after its end that records which speak of chatters are kept, of a frozen event; 0 for ever"`
}

// EventPatch changes some of an event. Nil fields stay as they are.
type EventPatch struct {
	Name     *string    `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Start    *time.Time `json:"start,omitempty" doc:"Only of an event that is not live yet"`
	End      *time.Time `json:"end,omitempty" doc:"Of an event that is no draft, a moment in the future"`
	TimeZone *string    `json:"time_zone,omitempty" minLength:"1" maxLength:"64"`
	Currency *string    `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"three capital letters, an ISO 4217 code such as EUR"`
	KeepText *bool      `json:"keep_text,omitempty" doc:"Only of an event that has not ended"`
	Replicas *int       `json:"replicas,omitempty" minimum:"1" maximum:"2" doc:"Only of an event that has not ended"`
	// Donations can be taken back by an empty text.
	Donations *string `json:"donations,omitempty" maxLength:"64" doc:"Name of the charity source whose numbers are the event's; empty for the first that has running totals"`
	// The retention of a frozen event can only become shorter.
	TextDays   *int `json:"text_days,omitempty" minimum:"0" maximum:"3650" doc:"Of a frozen event only fewer days than before"`
	AnswerDays *int `json:"answer_days,omitempty" minimum:"0" maximum:"3650" doc:"Of a frozen event only fewer days than before"`
	RecordDays *int `json:"record_days,omitempty" minimum:"0" maximum:"3650" doc:"Of a frozen event only fewer days than before"`
}

// MaxRetentionDays is the most days that TextDays, AnswerDays and RecordDays can be.
const MaxRetentionDays = 3650

// Action is what an operator does to the state of an event.
type Action string

// The actions.
const (
	// Schedule takes a draft to scheduled: collection begins by itself.
	Schedule Action = "schedule"
	// Unschedule takes a scheduled event back to draft: nothing begins by itself.
	Unschedule Action = "unschedule"
	// Start takes a draft, a scheduled or an ended event to live, now. A start in the future
	// becomes now; the end must lie ahead.
	Start Action = "start"
	// Stop takes a live event to ended, now. An end in the future becomes now. A draft whose end has
	// passed becomes an ended event too, to be filled from files.
	Stop Action = "stop"
)

// Imported is what became of a list of logins.
type Imported struct {
	// Added are the logins that are new to the event, unresolved and unknown ones among them.
	Added []string `json:"added"`
	// Existing are those that the event had already.
	Existing []string `json:"existing"`
	// Duplicates are lines that name a channel which an earlier line names.
	Duplicates []ImportLine `json:"duplicates"`
	// Invalid are lines that can't be logins. Nothing was done about them.
	Invalid []ImportLine `json:"invalid"`
	// Unknown are the logins that Twitch does not know. They stay in the list and are looked up
	// again from time to time.
	Unknown []string `json:"unknown"`
	// Unresolved are those that could not be looked up yet; the master goes on trying. Detail
	// says why.
	Unresolved []string `json:"unresolved"`
	Detail     string   `json:"detail,omitempty"`
}

// ImportLine is a line of a list that needs a person's attention.
type ImportLine struct {
	Line    int    `json:"line"`
	Value   string `json:"value"`
	Message string `json:"message"`
}

// Resolved is what became of looking up an event's channels.
type Resolved struct {
	// Resolved are the logins that now have their id, Renamed the channels that have another
	// login than before (as "old → new").
	Resolved []string `json:"resolved"`
	Renamed  []string `json:"renamed"`
	// Unknown and Unresolved are as in Imported; Gone are logins of channels that have an id
	// which Twitch no longer knows: suspended, deleted, or back later.
	Unknown    []string `json:"unknown"`
	Unresolved []string `json:"unresolved"`
	Gone       []string `json:"gone"`
	Detail     string   `json:"detail,omitempty"`
}

// The states of a collector, as Collector.State tells them.
const (
	CollectorAlive   = "alive"
	CollectorLeaving = "leaving"
	CollectorSilent  = "silent"
)

// Collector is a collector as operators see it.
type Collector struct {
	Name    string    `json:"name"`
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Started time.Time `json:"started,omitzero"`
	// Seen is when some master last had a heartbeat of it.
	Seen  time.Time `json:"seen,omitzero"`
	State string    `json:"state" enum:"alive,leaving,silent"`
	// Drained says that an operator wants it to be left without channels.
	Drained  bool `json:"drained"`
	Capacity int  `json:"capacity"`
	// Assigned is how many channels the master wants it to read, Joined how many it reads.
	Assigned int `json:"assigned"`
	Joined   int `json:"joined"`
	// Current says that it works by the newest assignment.
	Current bool    `json:"current"`
	Rate    float64 `json:"rate" doc:"Chat messages per second"`
	// Waiting is how many records wait in its memory because the outbox does not take them, OutboxBatches
	// and OutboxBytes what waits on its disk for the queue, as it told last.
	Waiting       int         `json:"waiting"`
	OutboxBatches int64       `json:"outbox_batches" doc:"-1 when that can't be told"`
	OutboxBytes   int64       `json:"outbox_bytes"`
	Sources       []Source    `json:"sources,omitempty" doc:"Charity sources that it polls"`
	Conditions    []Condition `json:"conditions"`
}

// AssignmentView is an assignment as operators see it: without keys.
type AssignmentView struct {
	Collector string            `json:"collector"`
	Epoch     int64             `json:"epoch"`
	Revision  int64             `json:"revision"`
	Events    []string          `json:"events"`
	Channels  []AssignedChannel `json:"channels"`
	Budget    Budget            `json:"budget"`
}

// Health is how the control plane is doing, as one master sees it.
type Health struct {
	// OK says that the store answers, a leader is there and no condition is raised.
	OK bool `json:"ok"`
	// Master is the name of the master that answered, Leader that of the one that leads, empty
	// when none does.
	Master     string      `json:"master"`
	Leader     string      `json:"leader"`
	Collectors int         `json:"collectors" doc:"Collectors that are heard"`
	Conditions []Condition `json:"conditions"`
}
