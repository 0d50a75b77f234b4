package record

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Message is one chat message. Its fact is the message's Twitch id.
type Message struct {
	Header `bson:",inline"`
	// MessageID is Twitch's id of the message (the tag "id").
	MessageID string `bson:"message"`
	// Chatter is the pseudonym of who wrote it.
	Chatter string `bson:"chatter"`
	// Length is the number of Unicode code points of the text, kept even where the text is not.
	Length int `bson:"length"`
	// Text is kept only when the event says so; names of other chatters in it are pseudonyms.
	Text string `bson:"text,omitempty"`
	// Action says that it was written with /me.
	Action bool `bson:"action,omitempty"`
	// Emotes are Twitch's own emotes in order of first use, one entry each.
	Emotes []Emote `bson:"emotes,omitempty"`
	// Bits is the number of bits cheered.
	Bits int `bson:"bits,omitempty"`
	// Badges are "name/version", as in the tag.
	Badges []string `bson:"badges,omitempty"`
	// Subscriber is the number of months subscribed, from badge-info; 0 for who is not subscribed.
	Subscriber int `bson:"subscriber,omitempty"`
	// First says that it is the chatter's first message ever in this channel.
	First bool `bson:"first,omitempty"`
	// Returning is Twitch's mark of a chatter who came back.
	Returning bool `bson:"returning,omitempty"`
	// Reply is set when it answers another message.
	Reply *Reply `bson:"reply,omitempty"`
	// Reward is the id of the channel-points reward that was redeemed with it.
	Reward string `bson:"reward,omitempty"`
	// Source is set in shared chat when the message was written in another channel: it is a copy
	// and no statistic of this channel counts it.
	Source *Source `bson:"source,omitempty"`
}

// Emote is an emote and how often it was used.
type Emote struct {
	ID    string `bson:"id"    json:"id"`
	Name  string `bson:"name"  json:"name"`
	Count int    `bson:"count" json:"count"`
}

// Reply names the message that was answered.
type Reply struct {
	Message string `bson:"message"`
	Chatter string `bson:"chatter"`
	// Thread is the first message of the thread, where Twitch gives it.
	Thread string `bson:"thread,omitempty"`
}

// Source is the channel that a shared-chat copy came from, and the original's id.
type Source struct {
	Channel string `bson:"channel"`
	Message string `bson:"message,omitempty"`
}

func (*Message) kind() Kind     { return KindMessage }
func (m *Message) fact() string { return m.MessageID }

// Notice is one USERNOTICE. Its fact is the notice's Twitch id. A type that this version does not
// know is kept with its parameters.
type Notice struct {
	Header   `bson:",inline"`
	NoticeID string `bson:"notice"`
	// Type is Twitch's msg-id: sub, resub, subgift, submysterygift, raid, announcement, …
	Type string `bson:"type"`
	// Chatter is the pseudonym of whoever caused it; AnonymousGifter's for anonymous gifts.
	Chatter string `bson:"chatter,omitempty"`
	// Anonymous says that the gifter asked not to be named.
	Anonymous bool `bson:"anonymous,omitempty"`
	// Recipient is the pseudonym of who was given a subscription.
	Recipient string `bson:"recipient,omitempty"`
	// Tier is "prime", "1000", "2000" or "3000".
	Tier string `bson:"tier,omitempty"`
	// Months is the cumulative number of months of a subscription; Streak those in a row.
	Months int `bson:"months,omitempty"`
	Streak int `bson:"streak,omitempty"`
	// Gifts is the number announced by a submysterygift. Each gift of it follows as a subgift of
	// its own with the same Community, so gifts are counted from the subgifts alone.
	Gifts     int    `bson:"gifts,omitempty"`
	Community string `bson:"community,omitempty"`
	// Raid is set for a raid.
	Raid *Raid `bson:"raid,omitempty"`
	// Charity is set for a donation through Twitch's own charity feature.
	Charity *Money `bson:"charity,omitempty"`
	// CharityName is the charity's name, as Twitch gives it.
	CharityName string `bson:"charity_name,omitempty"`
	// Text is the message that came with it, under the same rule as a Message's.
	Text   string  `bson:"text,omitempty"`
	Emotes []Emote `bson:"emotes,omitempty"`
	// Source is as a Message's.
	Source *Source `bson:"source,omitempty"`
	// Params are the msg-param-* tags that no field above holds, without that prefix; whatever
	// can name a person is a pseudonym.
	Params Params `bson:"params,omitempty"`
}

// Params are named texts. They are encoded in the order of their names, so that the same fact is
// the same bytes wherever it was seen.
type Params map[string]string

// MarshalBSONValue encodes them as a document.
func (p Params) MarshalBSONValue() (typ byte, data []byte, err error) {
	d := make(bson.D, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		d = append(d, bson.E{Key: name, Value: p[name]})
	}
	t, data, err := bson.MarshalValue(d)
	return byte(t), data, err
}

// Raid is a raid's size and where it came from. A raider outside the event is a pseudonym in the
// notice's Chatter and has neither Channel nor Login here.
type Raid struct {
	Viewers int    `bson:"viewers"`
	Channel string `bson:"channel,omitempty"`
	Login   string `bson:"login,omitempty"`
}

// Money is an amount in the currency's smallest unit (cents) with its ISO 4217 code.
type Money struct {
	Cents    int64  `bson:"cents"    json:"cents"`
	Currency string `bson:"currency" json:"currency"`
}

func (*Notice) kind() Kind     { return KindNotice }
func (n *Notice) fact() string { return n.NoticeID }

// The actions of a Moderation.
const (
	ActionBan     = "ban"     // CLEARCHAT with a target and no duration
	ActionTimeout = "timeout" // CLEARCHAT with a target and a duration
	ActionClear   = "clear"   // CLEARCHAT of the whole chat
	ActionDelete  = "delete"  // CLEARMSG: one message
)

// Moderation is a CLEARCHAT or a CLEARMSG. Twitch gives no id: its fact is a hash of channel,
// command, target and time.
type Moderation struct {
	Header `bson:",inline"`
	Action string `bson:"action"`
	// Chatter is the pseudonym of whom it concerns; empty when the whole chat was cleared.
	Chatter string `bson:"chatter,omitempty"`
	// Seconds is the length of a timeout.
	Seconds int `bson:"seconds,omitempty"`
	// Message is the id of the message that was deleted.
	Message string `bson:"message,omitempty"`
}

func (*Moderation) kind() Kind { return KindModeration }

func (m *Moderation) fact() string {
	return Hash(m.Channel, m.Action, m.Chatter, m.Message, strconv.FormatInt(m.Time.UnixMilli(), 10))
}

// RoomState is the chat modes of a channel as Twitch last told them, whole. ROOMSTATE carries no
// time: Time is when it was received, and its fact a hash of channel, modes and second, so that
// two collectors that are told together agree.
type RoomState struct {
	Header `bson:",inline"`
	// EmoteOnly, Unique (r9k) and SubscribersOnly are switches; FollowersOnly is in minutes, -1
	// when off; Slow is in seconds, 0 when off.
	EmoteOnly       bool `bson:"emote_only"`
	Unique          bool `bson:"unique"`
	SubscribersOnly bool `bson:"subscribers_only"`
	FollowersOnly   int  `bson:"followers_only"`
	Slow            int  `bson:"slow"`
}

func (*RoomState) kind() Kind { return KindRoomState }

func (s *RoomState) fact() string {
	b := strconv.FormatBool
	return Hash(s.Channel, b(s.EmoteOnly), b(s.Unique), b(s.SubscribersOnly), strconv.Itoa(s.FollowersOnly),
		strconv.Itoa(s.Slow), strconv.FormatInt(s.Time.Unix(), 10))
}

// SourceHelix and SourceChat name where samples and coverage come from.
const (
	SourceHelix = "helix"
	SourceChat  = "chat"
)

// Viewers is a sample of one channel. Time is the sample's scheduled slot, and its fact the source,
// the channel and the slot, so that two collectors agree. A channel that is offline has a sample
// too, with Live false: offline is not the same as unsampled.
type Viewers struct {
	Header `bson:",inline"`
	Source string `bson:"source"`
	Live   bool   `bson:"live"`
	// Viewers is Twitch's viewer_count; 0 when not live.
	Viewers int `bson:"viewers"`
	// Stream is the id of the stream session; empty when not live.
	Stream string `bson:"stream,omitempty"`
}

func (*Viewers) kind() Kind { return KindViewers }

func (v *Viewers) fact() string {
	return v.Source + "/" + v.Channel + "/" + strconv.FormatInt(v.Time.UnixMilli(), 10)
}

// The phases of a Session.
const (
	PhaseStart = "start"
	PhaseEnd   = "end"
)

// Session says that a stream began or ended. Its fact is the stream's Twitch id and the phase.
// Time is the stream's started_at for a start; for an end, the first slot at which the channel was
// sampled offline, or on another stream.
type Session struct {
	Header `bson:",inline"`
	Stream string `bson:"stream"`
	Phase  string `bson:"phase"`
	// Started is the stream's started_at, in both phases.
	Started time.Time `bson:"started"`
	// Category and Title are those seen first (start) or last (end).
	Category string `bson:"category,omitempty"`
	Title    string `bson:"title,omitempty"`
	Language string `bson:"language,omitempty"`
}

func (*Session) kind() Kind     { return KindSession }
func (s *Session) fact() string { return s.Stream + "/" + s.Phase }

// The fields that a Change speaks of.
const (
	FieldTitle    = "title"
	FieldCategory = "category"
	FieldLogin    = "login"
	FieldName     = "display_name"
	FieldPicture  = "picture"
)

// Change says that a field of a channel has a new value. Its fact is subject (the channel), field,
// value and slot. A collector that has just started reports the value it finds, with From empty;
// two reports of the same value in a row are therefore no change.
type Change struct {
	Header `bson:",inline"`
	Field  string `bson:"field"`
	From   string `bson:"from,omitempty"`
	To     string `bson:"to"`
	// ToID is the value's id where it has one (category).
	ToID string `bson:"to_id,omitempty"`
}

func (*Change) kind() Kind { return KindChange }

func (c *Change) fact() string {
	return Hash(c.Channel, c.Field, c.To, strconv.FormatInt(c.Time.UnixMilli(), 10))
}

// Coverage says that one connection of one collector was reading a set of channels from Time to
// To: every line that Twitch sent there in that time is recorded or on its way. It lies within one
// minute, ends at the last line received, and is written in the batch of the records it speaks of.
//
// The channels of a connection seldom change, so they are listed only in the first document of
// each minute and of each new set; the others name the set by its hash. Channel is empty.
//
// Of a charity source it says that all single donations of that time are recorded or on their way, of
// whatever channel; Set and Channels are empty.
type Coverage struct {
	Header `bson:",inline"`
	// Source is SourceChat, or the name of a charity source.
	Source string `bson:"source"`
	// To is the end of the interval (exclusive).
	To time.Time `bson:"to"`
	// Collector and Connection say who was reading.
	Collector  string `bson:"collector"`
	Connection string `bson:"connection"`
	// Set is the hash of the sorted channel ids; empty of a charity source.
	Set string `bson:"set"`
	// Channels are the sorted channel ids, in the documents that list them.
	Channels []string `bson:"channels,omitempty"`
}

func (*Coverage) kind() Kind { return KindCoverage }

func (c *Coverage) fact() string {
	return Hash(c.Collector, c.Connection, c.Source, strconv.FormatInt(c.Time.UnixMilli(), 10))
}

func (c *Coverage) check() error {
	c.Time, c.To = Millis(c.Time), Millis(c.To)
	if !c.Time.Before(c.To) || !Minute(c.Time).Equal(Minute(c.To.Add(-time.Millisecond))) {
		return invalid("coverage of %s from %s to %s is empty or crosses a minute", c.Connection, c.Time, c.To)
	}
	c.To = Millis(c.To)
	return nil
}

// ChannelSet is the hash that a Coverage names its channels by. The ids must be sorted.
func ChannelSet(sorted []string) string { return Hash(sorted...) }

// The reasons of a Dropped.
const (
	// DroppedFull: the outbox had reached its bound in bytes or in age.
	DroppedFull = "outbox-full"
	// DroppedUnwritable: the outbox could not be written: its disk was full, broken or too slow.
	DroppedUnwritable = "outbox-unwritable"
)

// Dropped says that a collector had no room for some of an event's records and lost them, where its
// operator has chosen that before reading no more. Their time is a gap in the collector's coverage
// too; another collector may have read the same channels meanwhile. Channel is empty.
//
// Time is that of the earliest of the records, and To follows that of the latest: between them others
// may have been kept. Its fact is the collector and Time.
type Dropped struct {
	Header `bson:",inline"`
	// To is the end (exclusive).
	To        time.Time `bson:"to"`
	Collector string    `bson:"collector"`
	// Reason is DroppedFull or DroppedUnwritable.
	Reason string `bson:"reason"`
	// Records counts all, Messages the chat messages among them.
	Records  int `bson:"records"`
	Messages int `bson:"messages"`
	// Channels are the same counts of each channel, sorted by id.
	Channels []DroppedChannel `bson:"channels"`
}

// DroppedChannel is what was dropped of one channel.
type DroppedChannel struct {
	Channel  string `bson:"channel"`
	Records  int    `bson:"records"`
	Messages int    `bson:"messages"`
}

func (*Dropped) kind() Kind { return KindDropped }

func (d *Dropped) fact() string {
	return Hash(d.Collector, strconv.FormatInt(d.Time.UnixMilli(), 10))
}

func (d *Dropped) check() error {
	d.Time, d.To = Millis(d.Time), Millis(d.To)
	if !d.Time.Before(d.To) || d.Records <= 0 {
		return invalid("%d records dropped by %s from %s to %s", d.Records, d.Collector, d.Time, d.To)
	}
	return nil
}
