package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Bounds of what people write about money.
const (
	// MaxAuthor and MaxReason are in characters.
	MaxAuthor = 100
	MaxReason = 1000
	// MaxGoalsBytes is the most of a list of goals.
	MaxGoalsBytes = 1 << 20
)

// Fund is one charity source's money in one currency: what is never added to another.
type Fund struct {
	Source   string `json:"source"`
	Currency string `json:"currency"`
}

// Total is what was raised for one channel, or for the event (Channel is "*").
type Total struct {
	Channel string `json:"channel" doc:"Twitch id; * for the event"`
	Login   string `json:"login,omitempty"`
	Name    string `json:"name,omitempty"`
	// By is samples (the total that the source shows), channels (of the event: the sum of those that it
	// shows of channels) or donations (the sum of single donations).
	By        string    `json:"by" enum:"samples,channels,donations"`
	Raw       int64     `json:"raw" doc:"In cents, as the source says it"`
	Corrected int64     `json:"corrected" doc:"In cents, with the corrections that hold"`
	At        time.Time `json:"at" doc:"When it was last sampled"`
	Coverage  string    `json:"coverage" enum:"complete,partial"`
	// Count and Largest are of single donations.
	Count   int64 `json:"count,omitempty"`
	Largest int64 `json:"largest,omitempty" doc:"In cents"`
}

// Totals is what was raised so far.
type Totals struct {
	Fund

	// Known is false where no charity source has said anything yet.
	Known bool `json:"known"`
	// Through is the start of the last closed minute; what came after it is in the totals too.
	Through time.Time `json:"through,omitzero"`
	Event   Total     `json:"event"`
	// Channels are by corrected total, highest first.
	Channels []Total `json:"channels"`
}

// The states of a correction.
const (
	CorrectionStanding  = "standing"  // it holds
	CorrectionWithdrawn = "withdrawn" // another took it back
	WithdrawalState     = "withdrawal"
)

// CorrectionView is a correction as people see it.
type CorrectionView struct {
	record.Correction

	State string `json:"state" enum:"standing,withdrawn,withdrawal"`
	// WithdrawnBy is the id of the one that takes it back.
	WithdrawnBy string `json:"withdrawn_by,omitempty"`
	// Effect is what it adds to the channel's total now, in cents.
	Effect int64  `json:"effect"`
	Login  string `json:"login,omitempty"`
}

// Corrections are all of an event, by when they were made, with the totals of the channels that any of
// them is of, and of the event.
type Corrections struct {
	Fund

	Corrections []CorrectionView `json:"corrections"`
	Totals      []Total          `json:"totals"`
}

// NewCorrection is what a person says is wrong with what a source said.
type NewCorrection struct {
	Channel string `json:"channel" minLength:"1" maxLength:"200" doc:"Twitch id or login; * for the event's own total"`
	Source  string `json:"source,omitempty" maxLength:"64" doc:"Charity source; the event's own when left out"`
	Kind    string `json:"kind" enum:"amount,double,mirror,reset"`
	// Time is from when on it holds; To ends the time of a mirror, which goes on without.
	Time  time.Time `json:"time" doc:"From when on it holds"`
	To    time.Time `json:"to,omitzero" doc:"First moment at which a mirror's total is right again; left out while it goes on"`
	Cents int64     `json:"cents,omitempty" doc:"Of an amount what is added, of a double what is taken away"`
	Total bool      `json:"total,omitempty" doc:"The source's own total of the event is wrong by the same"`

	Author string `json:"author" minLength:"1" maxLength:"100"`
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
	// DryRun asks what it would do.
	DryRun bool `json:"dry_run,omitempty"`
}

// CorrectionDone is what a correction does, or would do, to the total that it is of.
type CorrectionDone struct {
	Correction record.Correction `json:"correction"`
	// Before and After are the channel's, EventBefore and EventAfter the event's corrected totals, in
	// cents; Raw is the channel's raw one. Known is false where the channel has no total yet.
	Known       bool  `json:"known"`
	Raw         int64 `json:"raw"`
	Before      int64 `json:"before"`
	After       int64 `json:"after"`
	EventBefore int64 `json:"event_before"`
	EventAfter  int64 `json:"event_after"`
	DryRun      bool  `json:"dry_run,omitempty"`
}

// Withdrawal takes a correction back.
type Withdrawal struct {
	Author string `json:"author" minLength:"1" maxLength:"100"`
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
}

// Suspicion is something in a running total that looks wrong.
type Suspicion struct {
	Kind    string    `json:"kind" enum:"mirror,reset,double,jump"`
	Channel string    `json:"channel"`
	Login   string    `json:"login,omitempty"`
	Other   string    `json:"other,omitempty" doc:"The channel whose total a mirror shows"`
	Time    time.Time `json:"time"`
	To      time.Time `json:"to,omitzero"`
	Before  int64     `json:"before"`
	After   int64     `json:"after"`
	// Evidence is in English, EvidenceFR in French.
	Evidence   string `json:"evidence"`
	EvidenceFR string `json:"evidence_fr"`
	// Suggestion is the correction that would take it out: add author, and send it as it is.
	Suggestion *NewCorrection `json:"suggestion,omitempty"`
	// Answered says that a standing correction speaks of it.
	Answered bool `json:"answered"`
}

// Suspicions are what looks wrong in a range.
type Suspicions struct {
	Fund

	From       time.Time   `json:"from"`
	To         time.Time   `json:"to"`
	Suspicions []Suspicion `json:"suspicions"`
}

// SuspectQuery says where to look. The zero From is 6 hours before To, the zero To now.
type SuspectQuery struct {
	From, To time.Time
	Source   string
	// Answered asks for those too that a correction speaks of.
	Answered bool
}

// Estimate is when a goal falls if things go on as they do.
type Estimate struct {
	// Certainty is likely, possible or unknown; with unknown the rest is empty.
	Certainty string    `json:"certainty" enum:"likely,possible,unknown"`
	At        time.Time `json:"at,omitzero" doc:"By the median speed of the last half hour"`
	From      time.Time `json:"from,omitzero" doc:"By the upper quartile of the speeds"`
	To        time.Time `json:"to,omitzero" doc:"By the lower quartile; left out where it can't be told"`
}

// GoalView is a goal and how far it is.
type GoalView struct {
	record.Goal

	Login string `json:"login,omitempty"`
	// Known is false where what decides the goal is not known; then all that follows is empty.
	Known     bool      `json:"known"`
	Reached   bool      `json:"reached" doc:"As of now: a correction can take it back"`
	ReachedAt time.Time `json:"reached_at,omitzero"`
	Times     int64     `json:"times" doc:"How often it was reached"`
	Current   int64     `json:"current" doc:"What counts towards it, in cents"`
	Missing   int64     `json:"missing" doc:"In cents"`
	Progress  int       `json:"progress_permille" doc:"In thousandths; 1000 only when reached"`
	ETA       Estimate  `json:"eta"`
}

// Goals are those of an event, or of one channel.
type Goals struct {
	Fund

	// Goals are by channel, the event's first, then category and amount. Their history is left out.
	Goals []GoalView `json:"goals"`
	// Next are the ids of the next goals to fall, of the event and then by channel.
	Next []string `json:"next"`
}

// NewGoal is a goal to add.
type NewGoal struct {
	Channel  string   `json:"channel" minLength:"1" maxLength:"200" doc:"Twitch id or login; * for the event"`
	Category string   `json:"category,omitempty" default:"donation" enum:"donation,global,donation_equal,donation_more_than,donation_largest,recurent,incentive"`
	Name     string   `json:"name" minLength:"1" maxLength:"500"`
	Cents    int64    `json:"cents,omitempty" minimum:"0" doc:"In the event's currency"`
	Links    []string `json:"links,omitempty" maxItems:"20"`
	Author   string   `json:"author" minLength:"1" maxLength:"100"`
}

// GoalPatch changes some of a goal. Nil fields stay as they are.
type GoalPatch struct {
	Category *string   `json:"category,omitempty" enum:"donation,global,donation_equal,donation_more_than,donation_largest,recurent,incentive"`
	Name     *string   `json:"name,omitempty" minLength:"1" maxLength:"500"`
	Cents    *int64    `json:"cents,omitempty" minimum:"0"`
	Links    *[]string `json:"links,omitempty" maxItems:"20"`
	// Accomplished says that the promise was kept, or takes that back.
	Accomplished *bool  `json:"accomplished,omitempty"`
	Author       string `json:"author" minLength:"1" maxLength:"100"`
}

// GoalImport says how a list of goals is imported.
type GoalImport struct {
	// Channel is whose goals they are, an id or login, "*" for the event; where empty, the list must say.
	Channel string
	// Format is csv, yaml or json; empty: by its looks.
	Format string
	// Origin names the list: goals are compared with those imported by the same. Default: the format.
	Origin string
	Author string
	// Replace deletes goals of the same origin (and channels) that are not in the list any more.
	Replace bool
	// DryRun changes nothing.
	DryRun bool
}

// GoalsImported is what became of a list of goals, or would become.
type GoalsImported struct {
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Deleted   int `json:"deleted"`
	// Problems are all that is wrong with the list; if there are any, nothing was done.
	Problems []ImportLine `json:"problems"`
	DryRun   bool         `json:"dry_run,omitempty"`
}

// Totals tells what was raised so far, by the event's own charity source or the one that is named.
func (c *Client) Totals(ctx context.Context, slug, source string) (Totals, error) {
	q := url.Values{}
	set(q, "source", source)
	return answerOf[Totals](ctx, c, http.MethodGet, withQuery(eventPath(slug, "totals"), q), nil, "read totals of event %s", slug)
}

// Corrections lists the corrections of an event.
func (c *Client) Corrections(ctx context.Context, slug string) (Corrections, error) {
	return answerOf[Corrections](ctx, c, http.MethodGet, eventPath(slug, "corrections"), nil, "list corrections of event %s", slug)
}

// AddCorrection adds one, or with DryRun tells what it would do.
func (c *Client) AddCorrection(ctx context.Context, slug string, n NewCorrection) (CorrectionDone, error) {
	return answerOf[CorrectionDone](ctx, c, http.MethodPost, eventPath(slug, "corrections"), n, "correct a total of event %s", slug)
}

// WithdrawCorrection takes one back. Its id may be shortened to a beginning that only it has.
func (c *Client) WithdrawCorrection(ctx context.Context, slug, id string, w Withdrawal) (CorrectionDone, error) {
	return answerOf[CorrectionDone](ctx, c, http.MethodPost, eventPath(slug, "corrections", id, "withdraw"), w,
		"withdraw correction %s of event %s", id, slug)
}

// Suspects points out what looks wrong in the totals.
func (c *Client) Suspects(ctx context.Context, slug string, q SuspectQuery) (Suspicions, error) {
	v := url.Values{}
	set(v, "source", q.Source)
	if !q.From.IsZero() {
		v.Set("from", q.From.Format(time.RFC3339))
	}
	if !q.To.IsZero() {
		v.Set("to", q.To.Format(time.RFC3339))
	}
	if q.Answered {
		v.Set("answered", "true")
	}
	return answerOf[Suspicions](ctx, c, http.MethodGet, withQuery(eventPath(slug, "corrections", "suspects"), v), nil,
		"look for what is wrong in totals of event %s", slug)
}

// Goals lists the goals of an event, or of one channel of it.
func (c *Client) Goals(ctx context.Context, slug, channel string) (Goals, error) {
	q := url.Values{}
	set(q, "channel", channel)
	return answerOf[Goals](ctx, c, http.MethodGet, withQuery(eventPath(slug, "goals"), q), nil, "list goals of event %s", slug)
}

// Goal reads one goal, deleted or not, with its history. Its id may be shortened.
func (c *Client) Goal(ctx context.Context, slug, id string) (GoalView, error) {
	return answerOf[GoalView](ctx, c, http.MethodGet, eventPath(slug, "goals", id), nil, "read goal %s of event %s", id, slug)
}

// AddGoal adds a goal.
func (c *Client) AddGoal(ctx context.Context, slug string, n NewGoal) (record.Goal, error) {
	return answerOf[record.Goal](ctx, c, http.MethodPost, eventPath(slug, "goals"), n, "add a goal to event %s", slug)
}

// ChangeGoal changes a goal; what it was stays in its history.
func (c *Client) ChangeGoal(ctx context.Context, slug, id string, p GoalPatch) (record.Goal, error) {
	return answerOf[record.Goal](ctx, c, http.MethodPatch, eventPath(slug, "goals", id), p, "change goal %s of event %s", id, slug)
}

// DeleteGoal takes a goal out of the list; it stays readable with its history.
func (c *Client) DeleteGoal(ctx context.Context, slug, id, author string) error {
	q := url.Values{}
	set(q, "author", author)
	return c.operate(ctx, http.MethodDelete, withQuery(eventPath(slug, "goals", id), q), nil, nil, "delete goal %s of event %s", id, slug)
}

// ImportGoals adds and changes goals by a list.
func (c *Client) ImportGoals(ctx context.Context, slug string, how GoalImport, list []byte) (GoalsImported, error) {
	q := url.Values{}
	set(q, "channel", how.Channel)
	set(q, "format", how.Format)
	set(q, "origin", how.Origin)
	set(q, "author", how.Author)
	if how.Replace {
		q.Set("replace", strconv.FormatBool(true))
	}
	if how.DryRun {
		q.Set("dry_run", strconv.FormatBool(true))
	}
	var out GoalsImported
	err := c.do(ctx, call{
		method: http.MethodPost, path: withQuery(eventPath(slug, "goals", "import"), q), body: list, contentType: "application/octet-stream",
		timeout: operatorTimeout, retry: away,
	}, &out)
	if err != nil {
		return out, fmt.Errorf("import goals into event %s: %w", slug, err)
	}
	return out, nil
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}
