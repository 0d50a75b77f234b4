package record

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxCents is the most, either way, that a Money of a Donation or an Amount can be.
const MaxCents = 1 << 50

// MaxBodyBytes is the most that Body of one Answer can hold, so that its document and a batch of it
// alone stay within their bounds.
const MaxBodyBytes = 3 << 20

// FirstVersion is the Version of a Donation of a source that tells no times, as it is seen first.
const FirstVersion = "first"

// Donation is one donation, as a charity source tells it. Its fact is source, donation and version:
// when the source changes what it says of a donation, that is another record of the same Donation.
// Which of them counts, CompareVersions tells: one with a Channel rather than one without, of those the
// one received last, of several received at once the one with the highest Version.
//
// A version without a Channel says no more than that the streamer was unknown when it was read: a
// channel that is removed leaves its donations with it, and one that is added again has them still,
// though the records that say so are there since before.
//
// Time is when the source first said that it was given. It is no part of the version: a source that
// says another time later says nothing new, so that no donation is counted in two minutes.
type Donation struct {
	Header `bson:",inline"`
	// Source is the name of the charity source, as in the configuration.
	Source string `bson:"source"`
	// Donation is the source's id of it, as text whether it came as a number or a string.
	Donation string `bson:"donation"`
	// Version is a hash of what the statistics count of it: amount, currency, and channel (Member where
	// there is none); where the source has changed it, of when too, since it may be what it was before. Encode
	// sets it where it is empty. Of a source that tells no time it is FirstVersion as
	// long as nothing is known to have changed: another record would be of another time, and count beside
	// the first.
	Version string `bson:"version"`
	// Earlier says that the source tells no time, and had it when the collector first looked: it was given
	// at some time before Time, and may be recorded already, with the time of a look before.
	Earlier bool `bson:"earlier,omitempty"`
	// Money is what was given: at least 0, at most MaxCents.
	Money Money `bson:"money"`
	// Donor is the pseudonym of who gave; empty where the source does not say.
	Donor string `bson:"donor,omitempty"`
	// Member is the source's own id of the streamer it was given to; set too where Channel is empty
	// because no channel of the event is known to be that member's.
	Member string `bson:"member,omitempty"`
	// Country is where the donor says to be from, as the source writes it.
	Country string `bson:"country,omitempty"`
	// Length is the number of Unicode code points of what the donor wrote with it, Text that text, under
	// the same rule as a Message's.
	Length int    `bson:"length,omitempty"`
	Text   string `bson:"text,omitempty"`
	// Raw is the source's row as it came, but that whatever can name a person is a pseudonym, and texts
	// that people wrote are left out.
	Raw string `bson:"raw,omitempty"`
}

func (*Donation) kind() Kind { return KindDonation }

// Versioned is what CompareVersions needs of the donation.
func (d *Donation) Versioned() DonationVersion {
	return DonationVersion{Channel: d.Channel, Received: d.Received.UnixMilli(), Version: d.Version}
}

// DonationVersion is what decides which version of a Donation counts.
type DonationVersion struct {
	Channel  string
	Received int64 // Unix milliseconds
	Version  string
}

// CompareVersions is above 0 where of two versions of the same Donation the first one counts, below it
// where the second does, and 0 where they are the same version.
func CompareVersions(a, b DonationVersion) int {
	switch {
	case a.Channel != "" && b.Channel == "":
		return 1
	case a.Channel == "" && b.Channel != "":
		return -1
	}
	return cmp.Or(cmp.Compare(a.Received, b.Received), cmp.Compare(a.Version, b.Version))
}

func (d *Donation) check() error {
	if d.Money.Cents < 0 {
		return invalid("donation %.80q of %s is of %d cents, less than nothing", d.Donation, d.Source, d.Money.Cents)
	}
	if err := d.Money.check(); err != nil {
		return fmt.Errorf("donation %.80q of %s: %w", d.Donation, d.Source, err)
	}
	if d.Version == "" {
		to := "channel:" + d.Channel
		if d.Channel == "" {
			to = "member:" + d.Member
		}
		d.Version = Hash(strconv.FormatInt(d.Money.Cents, 10), d.Money.Currency, to)
	}
	return nil
}

func (d *Donation) fact() string {
	if d.Source == "" || d.Donation == "" || d.Version == "" {
		return ""
	}
	return Hash(d.Source, d.Donation, d.Version)
}

// check holds the amount to its bounds, and the currency to the form of an ISO 4217 code.
func (m Money) check() error {
	if m.Cents < -MaxCents || m.Cents > MaxCents {
		return invalid("%d cents, the most is %d", m.Cents, int64(MaxCents))
	}
	if len(m.Currency) != 3 || strings.Trim(m.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return invalid("currency %.80q is not three upper-case letters", m.Currency)
	}
	return nil
}

// Amount is a sample of the running total that a charity source shows at a scheduled slot, of one
// channel; of a member who is no channel of the event; or where Channel and Member are empty, of the
// event. Its fact is source, channel, member, currency and slot. A channel's is one Amount without a
// Member, the sum where several members are one channel: of several Amounts of one channel and slot the
// highest counts.
type Amount struct {
	Header `bson:",inline"`
	// Source and Member are as a Donation's.
	Source string `bson:"source"`
	Member string `bson:"member,omitempty"`
	// Members are those whose totals a channel's is the sum of, sorted: another collector, that knows of no
	// channel yet, may tell the same totals as theirs.
	Members []string `bson:"members,omitempty"`
	// Money is the running total: at most MaxCents either way.
	Money Money `bson:"money"`
}

func (*Amount) kind() Kind { return KindAmount }

func (a *Amount) check() error {
	if err := a.Money.check(); err != nil {
		return fmt.Errorf("running total of %s: %w", a.Source, err)
	}
	return nil
}

func (a *Amount) fact() string {
	if a.Source == "" {
		return ""
	}
	return Hash(a.Source, a.Channel, a.Member, a.Money.Currency, strconv.FormatInt(a.Time.UnixMilli(), 10))
}

// Answer is an answer of a charity source as it came, but that whatever can name a person is a
// pseudonym: kept before anything is read out of it. Time is the slot that it was asked for.
type Answer struct {
	Header `bson:",inline"`
	// Source is as a Donation's.
	Source string `bson:"source"`
	// Request is what was asked for: path and query, without anything secret.
	Request string `bson:"request"`
	// Status is the HTTP status.
	Status int `bson:"status"`
	// Type is the content type, as the source says.
	Type string `bson:"type,omitempty"`
	// Bytes is the length of the answer as it came, Hash that of it.
	Bytes int    `bson:"bytes"`
	Hash  string `bson:"hash"`
	// Problem says why the answer could not be read, or not all of it; empty for one that was.
	Problem string `bson:"problem,omitempty"`
	// Body is the answer, or where that is longer than MaxBodyBytes one of the Pieces of it; Part then
	// numbers them, from 1.
	Part int    `bson:"part,omitempty"`
	Body string `bson:"body"`
}

func (*Answer) kind() Kind { return KindAnswer }

func (a *Answer) fact() string {
	if a.Source == "" || a.Hash == "" {
		return ""
	}
	return Hash(a.Source, a.Request, a.Hash, strconv.Itoa(a.Part), strconv.FormatInt(a.Time.UnixMilli(), 10))
}

// Pieces cuts a body into pieces of at most MaxBodyBytes: between characters, and where the text allows
// it not within a word, so that no pseudonym lies in two pieces.
func Pieces(body string) []string {
	var out []string
	for len(body) > MaxBodyBytes {
		cut := MaxBodyBytes
		for cut > MaxBodyBytes-4096 && (!utf8.RuneStart(body[cut]) || pseudonymByte(body[cut])) {
			cut--
		}
		if cut == MaxBodyBytes-4096 {
			for cut = MaxBodyBytes; !utf8.RuneStart(body[cut]) && cut > MaxBodyBytes-utf8.UTFMax; {
				cut--
			}
		}
		out, body = append(out, body[:cut]), body[cut:]
	}
	return append(out, body)
}

// Donations is what one charity source says of a span, in one currency.
type Donations struct {
	Source string `bson:"source" json:"source"`
	// Currency is the ISO 4217 code; empty where the source says that nothing was given in the span.
	Currency string `bson:"currency" json:"currency"`
	// Count is the number of single donations, Cents their sum, Largest the largest of them.
	Count   int64 `bson:"count"   json:"count"`
	Cents   int64 `bson:"cents"   json:"cents"`
	Largest int64 `bson:"largest" json:"largest"`
	// Samples counts the samples of the running total. First is it by the first of them, at FirstAt, and
	// Total by the last, at TotalAt; all zero where there is none. Of the event it is what the source
	// itself says of the event.
	Samples int64     `bson:"samples"  json:"samples"`
	First   int64     `bson:"first"    json:"first"`
	FirstAt time.Time `bson:"first_at" json:"first_at,omitzero"`
	Total   int64     `bson:"total"    json:"total"`
	TotalAt time.Time `bson:"total_at" json:"total_at,omitzero"`
	// Sum, only of the event, is the sum of the channels' running totals at SumAt, the last slot of the span
	// at which any channel was sampled, and Channels how many were. Members who are no channel of the event
	// are among them.
	Sum      int64     `bson:"sum,omitempty"      json:"sum,omitempty"`
	SumAt    time.Time `bson:"sum_at,omitempty"   json:"sum_at,omitzero"`
	Channels int64     `bson:"channels,omitempty" json:"channels,omitempty"`
	// Seconds, only of the event, is how much of the span is known to have no single donation but those
	// counted. It is the source's, so the same in each currency, and holds for each channel too.
	Seconds float64 `bson:"seconds" json:"seconds"`
}

// The kinds of a Correction.
const (
	// CorrectionAmount adds Cents, which may be negative, from Time on.
	CorrectionAmount = "amount"
	// CorrectionDouble takes Cents away from Time on: they were counted twice.
	CorrectionDouble = "double"
	// CorrectionMirror takes out what the running total moved by between Time and To: the source showed
	// another's total in that time. What it went back by itself leaves nothing; without To it still does.
	CorrectionMirror = "mirror"
	// CorrectionReset adds what the running total was before Time: the source began anew from zero.
	CorrectionReset = "reset"
)

// Correction is one document of the collection corrections: something that a person says is wrong with
// what a source said. Corrections are only ever added; one that was wrong is withdrawn by another. The
// samples themselves stay as they are, and both numbers are shown.
type Correction struct {
	// ID is event and a UUID joined by "/".
	ID    string `bson:"_id"   json:"id"`
	Rev   int64  `bson:"rev"   json:"rev"`
	Event string `bson:"event" json:"event"`
	// Channel is the Twitch id of the channel whose total is corrected; AllChannels for the event's own.
	Channel string `bson:"channel" json:"channel"`
	// Source is the name of the charity source.
	Source string `bson:"source" json:"source"`
	Kind   string `bson:"correction" json:"kind"`
	// Time is from when on it holds. To ends the time of a mirror (exclusive).
	Time time.Time `bson:"time"         json:"time"`
	To   time.Time `bson:"to,omitempty" json:"to,omitzero"`
	// Cents is the amount, of the kinds that have one.
	Cents    int64  `bson:"cents"    json:"cents"`
	Currency string `bson:"currency" json:"currency"`
	// Event totals that are sums of channels follow their channels. Total says that a total which the
	// source itself shows for the event was wrong by the same.
	Total bool `bson:"total" json:"total"`
	// Author is who says so, Reason why, Created when.
	Author  string    `bson:"author"  json:"author"`
	Reason  string    `bson:"reason"  json:"reason"`
	Created time.Time `bson:"created" json:"created"`
	// Withdraws is the ID of the correction that this one takes back; then Kind is empty.
	Withdraws string `bson:"withdraws,omitempty" json:"withdraws,omitempty"`
}

// The categories of a Goal, in the words of the donation-goal list that streamers know.
const (
	GoalDonation  = "donation"           // the channel's total reaches the amount
	GoalGlobal    = "global"             // the event's total reaches the amount
	GoalEqual     = "donation_equal"     // a single donation of exactly the amount
	GoalMoreThan  = "donation_more_than" // a single donation of at least the amount
	GoalLargest   = "donation_largest"   // for who gave the largest single donation
	GoalRecurrent = "recurent"           // each time that the channel's total has grown by the amount (spelt as there)
	GoalIncentive = "incentive"          // no amount decides; a person does
)

// Goal is one document of the collection goals: what a streamer, or the event as a whole, promises for
// an amount. Whether it is reached is not stored: it follows from the totals.
type Goal struct {
	// ID is event and a UUID, or the id it was imported by, joined by "/".
	ID    string `bson:"_id"   json:"id"`
	Rev   int64  `bson:"rev"   json:"rev"`
	Event string `bson:"event" json:"event"`
	// Channel is the Twitch id of the streamer's channel; AllChannels for a goal of the event.
	Channel  string `bson:"channel"  json:"channel"`
	Category string `bson:"category" json:"category"`
	Name     string `bson:"name"     json:"name"`
	Money    Money  `bson:"money"    json:"money"`
	// Links are addresses of what was promised or done.
	Links []string `bson:"links,omitempty" json:"links,omitempty"`
	// Accomplished is when a person said that the promise was kept; zero as long as nobody did.
	Accomplished time.Time `bson:"accomplished,omitempty" json:"accomplished,omitzero"`
	// Deleted goals are kept for their history, and shown nowhere else.
	Deleted bool `bson:"deleted,omitempty" json:"deleted,omitempty"`
	// Origin is where it was imported from; empty for one made by hand.
	Origin  string    `bson:"origin,omitempty" json:"origin,omitempty"`
	Created time.Time `bson:"created"          json:"created"`
	// History is what was changed, oldest first.
	History []GoalChange `bson:"history,omitempty" json:"history,omitempty"`
}

// GoalChange is one change of one field of a Goal.
type GoalChange struct {
	Time   time.Time `bson:"time"   json:"time"`
	Author string    `bson:"author" json:"author"`
	// Field is the element that changed; "created" for the beginning.
	Field string `bson:"field" json:"field"`
	From  string `bson:"from"  json:"from"`
	To    string `bson:"to"    json:"to"`
}
