package sim

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// How often things happen, per message.
const (
	replyShare      = 0.05
	cheerShare      = 0.004
	rewardShare     = 0.003
	returningShare  = 0.02
	noticeShare     = 0.012
	banShare        = 0.001
	timeoutShare    = 0.006
	deleteShare     = 0.003
	newcomerPercent = 15
	subPercent      = 35
	moderators      = 4 // of each channel, its first chatters
)

const (
	anonymousGifter      = "274598607"
	anonymousGifterLogin = "ananonymousgifter"
	firstChatter         = 100_000_000 // id of chatter 0
)

// message is a chat message before it is a line.
type message struct {
	ch        *channel
	id        [36]byte
	chatter   uint64
	rank      int
	text      *text
	prefix    string // "@someone " of a reply, "Cheer100 " of a cheer
	bits      int
	first     bool
	returning bool
	reply     *recentMessage
	reward    [36]byte // zero: none
	// source is set in shared chat, on the original and on the copy.
	source   *channel
	sourceID [36]byte
}

// line is something to send to those who are in a channel.
type line struct {
	b    []byte // with the tags and the CR LF
	tags int    // how many bytes of b the tags are
	// message says that it is one, with the ledger's facts; else command must have been asked for.
	message bool
	entry   Entry
	count   func(*Counts) // counts what a notice or a moderation is
	chatter uint64
	first   bool
}

// produce makes the message of the moment t of the traffic, and what comes with it, and sends it,
// stamped at. A text that is nil is drawn. Sim.mu is held.
func (s *Sim) produce(ch *channel, t *text, at time.Time) {
	m := s.model
	msg := &s.scratch
	*msg = message{ch: ch, id: m.uuid()}
	msg.rank, msg.chatter = m.chatter(ch)
	index := int32(-1)
	if t == nil {
		index = int32(m.rng.IntN(len(s.corpus.texts)))
		t = &s.corpus.texts[index]
	}
	msg.text = t
	if word, bit := msg.rank/64, uint64(1)<<(msg.rank%64); ch.seen[word]&bit == 0 {
		ch.seen[word] |= bit
		msg.first = mix(uint64(ch.index)^mix(uint64(msg.rank)^m.seed))%100 < newcomerPercent
	}
	msg.returning = !msg.first && m.rng.Float64() < returningShare
	switch p := m.rng.Float64(); {
	case t.action:
	case p < replyShare:
		if ch.sent > 0 {
			msg.reply = &ch.recent[m.rng.IntN(min(ch.sent, recentMessages))]
			msg.prefix = "@" + string(appendTitle(nil, msg.reply.chatter)) + " "
		}
	case p < replyShare+cheerShare:
		msg.bits = []int{1, 10, 50, 100, 100, 100, 500, 1000}[m.rng.IntN(8)]
		msg.prefix = "Cheer" + strconv.Itoa(msg.bits) + " "
	case p < replyShare+cheerShare+rewardShare:
		msg.reward = m.uuid()
	}
	partner := s.partner(ch)
	if partner != nil {
		msg.source, msg.sourceID = ch, msg.id
	}
	s.sendMessage(msg, at)
	if partner != nil {
		clone := *msg
		clone.ch, clone.id, clone.first, clone.returning, clone.reply = partner, m.uuid(), false, false, nil
		clone.reward = [36]byte{}
		s.sendMessage(&clone, at)
	}
	ch.recent[ch.sent%recentMessages] = recentMessage{id: msg.id, chatter: msg.chatter, text: index}
	ch.sent++
	s.accompany(ch, at)
}

// partner is the channel that shares the message, drawn; nil for none.
func (s *Sim) partner(ch *channel) *channel {
	if s.cfg.SharedChat == 0 || s.model.rng.Float64() >= s.cfg.SharedChat {
		return nil
	}
	if i := ch.index ^ 1; i < len(s.model.channels) {
		return s.model.channels[i]
	}
	return nil
}

func (s *Sim) sendMessage(msg *message, at time.Time) {
	alone := len(msg.ch.members) == 0
	if alone && !msg.ch.heard {
		return
	}
	entry := Entry{
		Channel: msg.ch.Login, ID: string(msg.id[:]), SentMS: at.UnixMilli(), Emotes: msg.text.uses, Bits: msg.bits,
		Shared: msg.source != nil && msg.source != msg.ch, Room: msg.ch.ID, Unheard: alone,
	}
	if alone {
		s.ledger.write(&entry)
		s.unheard++
		return
	}
	l := &s.line
	*l = line{b: l.b[:0], message: true, chatter: msg.chatter, first: msg.first, entry: entry}
	l.b, l.tags = s.appendMessage(l.b, msg, at.UnixMilli())
	s.send(msg.ch, l)
}

func appendEscaped(b []byte, v string) []byte {
	for i := range len(v) {
		switch v[i] {
		case ';':
			b = append(b, `\:`...)
		case ' ':
			b = append(b, `\s`...)
		case '\\':
			b = append(b, `\\`...)
		case '\r':
			b = append(b, `\r`...)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, v[i])
		}
	}
	return b
}

func appendFlag(b []byte, on bool) []byte {
	if on {
		return append(b, '1')
	}
	return append(b, '0')
}

func appendChatterID(b []byte, chatter uint64) []byte {
	return strconv.AppendUint(b, firstChatter+chatter, 10)
}

// subscribed is how many months a chatter has been subscribed to a channel; 0 for not.
func subscribed(ch *channel, chatter uint64) int {
	h := mix(uint64(ch.index)<<40 ^ chatter)
	if h%100 >= subPercent {
		return 0
	}
	return 1 + int(h/100%48)
}

// appendBadges appends the tags badge-info and badges.
func (s *Sim) appendBadges(b []byte, ch *channel, chatter uint64, rank int, prefix string) []byte {
	months := subscribed(ch, chatter)
	b = append(b, prefix...)
	b = append(b, "badge-info="...)
	if months > 0 {
		b = append(b, "subscriber/"...)
		b = strconv.AppendInt(b, int64(months), 10)
	}
	b = append(b, ';')
	b = append(b, prefix...)
	b = append(b, "badges="...)
	at := len(b)
	if rank < moderators {
		b = append(b, "moderator/1,"...)
	}
	if months > 0 {
		version := 0
		for _, v := range []int{2, 3, 6, 9, 12, 18, 24, 30, 36, 42, 48} {
			if months >= v {
				version = v
			}
		}
		b = append(b, "subscriber/"...)
		b = strconv.AppendInt(b, int64(version), 10)
		b = append(b, ',')
	}
	if badges := s.styleOf(chatter).badges; badges != "" {
		b = append(b, badges...)
	} else if len(b) > at {
		b = b[:len(b)-1]
	}
	return append(b, ';')
}

func (s *Sim) styleOf(chatter uint64) *style {
	return &s.corpus.styles[mix(chatter)%uint64(len(s.corpus.styles))]
}

// appendMessage appends the whole line and returns how long its tags are.
func (s *Sim) appendMessage(b []byte, m *message, stamp int64) ([]byte, int) {
	start := len(b)
	st := s.styleOf(m.chatter)
	b = append(b, '@')
	b = s.appendBadges(b, m.ch, m.chatter, m.rank, "")
	if m.bits > 0 {
		b = append(b, "bits="...)
		b = strconv.AppendInt(b, int64(m.bits), 10)
		b = append(b, ';')
	}
	b = append(b, "color="...)
	b = append(b, st.color...)
	if m.reward[0] != 0 {
		b = append(b, ";custom-reward-id="...)
		b = append(b, m.reward[:]...)
	}
	b = append(b, ";display-name="...)
	b = appendTitle(b, m.chatter)
	if m.text.only && m.prefix == "" {
		b = append(b, ";emote-only=1"...)
	}
	b = append(b, ";emotes="...)
	shift := utf8.RuneCountInString(m.prefix)
	for i := range m.text.emotes {
		e := &m.text.emotes[i]
		if i > 0 {
			b = append(b, '/')
		}
		b = append(b, e.id...)
		for j, at := range e.at {
			b = append(b, ":,"[min(j, 1)])
			b = strconv.AppendInt(b, int64(at[0]+shift), 10)
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(at[1]+shift), 10)
		}
	}
	b = append(b, ";first-msg="...)
	b = appendFlag(b, m.first)
	b = append(b, ";flags=;id="...)
	b = append(b, m.id[:]...)
	b = append(b, ";mod="...)
	b = appendFlag(b, m.rank < moderators)
	if r := m.reply; r != nil {
		b = append(b, ";reply-parent-display-name="...)
		b = appendTitle(b, r.chatter)
		b = append(b, ";reply-parent-msg-body="...)
		if r.text >= 0 {
			b = appendEscaped(b, s.corpus.texts[r.text].body)
		}
		b = append(b, ";reply-parent-msg-id="...)
		b = append(b, r.id[:]...)
		b = append(b, ";reply-parent-user-id="...)
		b = appendChatterID(b, r.chatter)
		b = append(b, ";reply-parent-user-login="...)
		b = appendName(b, r.chatter)
		b = append(b, ";reply-thread-parent-msg-id="...)
		b = append(b, r.id[:]...)
		b = append(b, ";reply-thread-parent-user-login="...)
		b = appendName(b, r.chatter)
	}
	b = append(b, ";returning-chatter="...)
	b = appendFlag(b, m.returning)
	b = append(b, ";room-id="...)
	b = append(b, m.ch.ID...)
	if m.source != nil {
		b = s.appendBadges(append(b, ';'), m.source, m.chatter, m.rank, "source-")
		b = append(b, "source-id="...)
		b = append(b, m.sourceID[:]...)
		if m.source != m.ch {
			b = append(b, ";source-only=0"...)
		}
		b = append(b, ";source-room-id="...)
		b = append(b, m.source.ID...)
	}
	b = append(b, ";subscriber="...)
	b = appendFlag(b, subscribed(m.ch, m.chatter) > 0)
	b = append(b, ";tmi-sent-ts="...)
	b = strconv.AppendInt(b, stamp, 10)
	b = append(b, ";turbo="...)
	b = appendFlag(b, strings.Contains(st.badges, "turbo/"))
	b = append(b, ";user-id="...)
	b = appendChatterID(b, m.chatter)
	b = append(b, ";user-type="...)
	if m.rank < moderators {
		b = append(b, "mod"...)
	}
	b = append(b, ' ')
	tags := len(b) - start
	b = append(b, ':')
	at := len(b)
	b = appendName(b, m.chatter)
	login := b[at:len(b):len(b)]
	b = append(b, '!')
	b = append(b, login...)
	b = append(b, '@')
	b = append(b, login...)
	b = append(b, ".tmi.twitch.tv PRIVMSG #"...)
	b = append(b, m.ch.Login...)
	b = append(b, " :"...)
	if m.text.action {
		b = append(b, "\x01ACTION "...)
	}
	b = append(b, m.prefix...)
	b = append(b, m.text.body...)
	if m.text.action {
		b = append(b, '\x01')
	}
	return append(b, "\r\n"...), tags
}

// accompany sends what happens beside a message now and then: moderation and notices.
func (s *Sim) accompany(ch *channel, at time.Time) {
	switch p := s.model.rng.Float64(); {
	case p < banShare:
		s.clearChat(ch, 0, at)
	case p < banShare+timeoutShare:
		s.clearChat(ch, []int{1, 10, 60, 600, 600, 86_400}[s.model.rng.IntN(6)], at)
	case p < banShare+timeoutShare+deleteShare:
		s.clearMessage(ch, at)
	case p < banShare+timeoutShare+deleteShare+noticeShare:
		s.notice(ch, at)
	}
}

func (s *Sim) recent(ch *channel) *recentMessage {
	return &ch.recent[s.model.rng.IntN(min(ch.sent, recentMessages))]
}

// clearChat sends a ban, or a timeout of so many seconds. Twitch gives it no id; two in the same
// millisecond are therefore not sent.
func (s *Sim) clearChat(ch *channel, seconds int, at time.Time) {
	target := s.recent(ch).chatter
	if at.UnixMilli() == ch.lastClear {
		return
	}
	ch.lastClear = at.UnixMilli()
	b := s.line.b[:0]
	b = append(b, '@')
	if seconds > 0 {
		b = append(b, "ban-duration="...)
		b = strconv.AppendInt(b, int64(seconds), 10)
		b = append(b, ';')
	}
	b = append(b, "room-id="...)
	b = append(b, ch.ID...)
	b = append(b, ";target-user-id="...)
	b = appendChatterID(b, target)
	b = append(b, ";tmi-sent-ts="...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, ' ')
	tags := len(b)
	b = append(b, ":tmi.twitch.tv CLEARCHAT #"...)
	b = append(b, ch.Login...)
	b = append(b, " :"...)
	b = appendName(b, target)
	count := func(c *Counts) { c.Bans++ }
	if seconds > 0 {
		count = func(c *Counts) { c.Timeouts++ }
	}
	s.sendOther(ch, append(b, "\r\n"...), tags, at, count)
}

// clearMessage deletes a message. Twitch leaves room-id empty here, and so does this.
func (s *Sim) clearMessage(ch *channel, at time.Time) {
	target := s.recent(ch)
	if target.deleted {
		return
	}
	target.deleted = true
	b := s.line.b[:0]
	b = append(b, "@login="...)
	b = appendName(b, target.chatter)
	b = append(b, ";room-id=;target-msg-id="...)
	b = append(b, target.id[:]...)
	b = append(b, ";tmi-sent-ts="...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, ' ')
	tags := len(b)
	b = append(b, ":tmi.twitch.tv CLEARMSG #"...)
	b = append(b, ch.Login...)
	b = append(b, " :"...)
	if target.text >= 0 {
		b = append(b, s.corpus.texts[target.text].body...)
	}
	s.sendOther(ch, append(b, "\r\n"...), tags, at, func(c *Counts) { c.Deletes++ })
}

// param is a msg-param-* tag.
type param struct{ key, value string }

// usernotice is a USERNOTICE before it is a line.
type usernotice struct {
	kind      string
	id, login string // of who caused it
	name      string
	months    int
	params    []param
	system    string
	text      string
	count     func(*Counts)
}

func (s *Sim) someone(ch *channel) usernotice {
	_, chatter := s.model.chatter(ch)
	return usernotice{
		id:    string(appendChatterID(nil, chatter)),
		login: string(appendName(nil, chatter)), name: string(appendTitle(nil, chatter)),
	}
}

// notice sends one USERNOTICE, or the announcement of several gifts and the gifts. Its texts have no
// emotes, so that a recorded minute has exactly as many as were recorded.
func (s *Sim) notice(ch *channel, at time.Time) {
	m := s.model
	n := s.someone(ch)
	plan, tier := "1000", "Tier 1"
	switch p := m.rng.IntN(100); {
	case p < 40:
		plan, tier = "Prime", "Prime"
	case p >= 97:
		plan, tier = "3000", "Tier 3"
	case p >= 92:
		plan, tier = "2000", "Tier 2"
	}
	months := 2 + m.rng.IntN(47)
	planName := param{"sub-plan-name", "Channel Subscription (" + ch.Login + ")"}
	switch p := m.rng.IntN(100); {
	case p < 25:
		n.kind, n.months = "sub", 1
		n.params = []param{{"cumulative-months", "1"}, {"months", "0"}, {"should-share-streak", "0"}, planName, {"sub-plan", plan}}
		n.system = n.name + " subscribed with " + tier + "."
		n.count = func(c *Counts) { c.Subs++ }
	case p < 60:
		n.kind, n.months = "resub", months
		n.params = []param{
			{"cumulative-months", strconv.Itoa(months)},
			{"months", "0"},
			{"should-share-streak", "1"},
			{"streak-months", strconv.Itoa(1 + m.rng.IntN(months))},
			planName,
			{"sub-plan", plan},
		}
		n.system = n.name + " subscribed with " + tier + ". They've subscribed for " + strconv.Itoa(months) + " months!"
		n.text = s.corpus.texts[s.corpus.plain[m.rng.IntN(len(s.corpus.plain))]].body
		n.count = func(c *Counts) { c.Resubs++ }
	case p < 74:
		s.gift(ch, n, "", planName, at)
		return
	case p < 82:
		s.giftBomb(ch, n, planName, at)
		return
	case p < 85:
		s.raid(ch, at)
		return
	case p < 90:
		n.kind = "announcement"
		n.params = []param{{"color", "PRIMARY"}}
		n.text = "The next goal is close, thank you all"
	case p < 92:
		n.kind = "viewermilestone"
		streak := strconv.Itoa(3 + m.rng.IntN(20))
		n.params = []param{{"category", "watch-streak"}, {"copoReward", "350"}, {"id", n.id + "-" + streak}, {"value", streak}}
		n.system = n.name + " watched " + streak + " consecutive streams this month and sparked a watch streak!"
	case p < 94:
		n.kind = "bitsbadgetier"
		n.params = []param{{"threshold", "1000"}}
		n.system = "bits badge tier notification"
	case p < 96:
		n.kind = "giftpaidupgrade"
		by := s.someone(ch)
		n.params = []param{{"sender-login", by.login}, {"sender-name", by.name}}
		n.system = n.name + " is continuing the Gift Sub they got from " + by.name + "!"
	case p < 98:
		n.kind = "charitydonation"
		amount := 100 * (1 + m.rng.IntN(100))
		n.params = []param{
			{"charity-name", "Simulated Charity"},
			{"donation-amount", strconv.Itoa(amount)},
			{"donation-currency", "EUR"},
			{"exponent", "2"},
		}
		n.system = n.name + ": Donated EUR " + strconv.Itoa(amount/100) + " to support Simulated Charity"
	default:
		// A type that nobody has heard of: there are new ones every year.
		n.kind = "onetapgiftredeemed"
		n.params = []param{{"gift-id", "simulated-gift"}, {"user-display-name", n.name}, {"bits-spent", "5"}}
		n.system = n.name + " sent a gift"
	}
	s.sendNotice(ch, &n, at)
}

// gift sends a subgift; with a community, one of several.
func (s *Sim) gift(ch *channel, n usernotice, community string, planName param, at time.Time) {
	to := s.someone(ch)
	n.kind, n.months = "subgift", 0
	n.params = nil
	if community != "" {
		n.params = append(n.params, param{"community-gift-id", community})
	}
	n.params = append(n.params,
		param{"gift-months", "1"}, param{"months", "1"}, param{"origin-id", community}, param{"recipient-display-name", to.name},
		param{"recipient-id", to.id}, param{"recipient-user-name", to.login}, planName, param{"sub-plan", "1000"})
	n.system = n.name + " gifted a Tier 1 sub to " + to.name + "!"
	n.count = func(c *Counts) { c.Gifts++ }
	s.sendNotice(ch, &n, at)
}

// giftBomb announces several gifts and sends each.
func (s *Sim) giftBomb(ch *channel, n usernotice, planName param, at time.Time) {
	m := s.model
	gifts := []int{1, 1, 5, 5, 5, 10, 20, 50}[m.rng.IntN(8)]
	if m.rng.IntN(100) < 15 {
		n.id, n.login, n.name = anonymousGifter, anonymousGifterLogin, "AnAnonymousGifter"
	}
	community := strconv.FormatUint(m.rng.Uint64(), 10)
	n.kind = "submysterygift"
	n.params = []param{
		{"community-gift-id", community}, {"mass-gift-count", strconv.Itoa(gifts)}, {"origin-id", community}, {"sub-plan", "1000"},
	}
	n.system = n.name + " is gifting " + strconv.Itoa(gifts) + " Tier 1 Subs to " + ch.Login + "'s community!"
	n.count = func(c *Counts) { c.GiftBombs++ }
	s.sendNotice(ch, &n, at)
	for range gifts {
		s.gift(ch, n, community, planName, at)
	}
}

// raid brings the viewers of another live channel, which ends its stream. A lone channel is raided
// by someone who is none of the simulator's.
func (s *Sim) raid(ch *channel, at time.Time) {
	m := s.model
	n := s.someone(ch)
	viewers := 1 + m.rng.IntN(400)
	if from := m.channels[m.rng.IntN(len(m.channels))]; from != ch && from.live && from.index != 0 {
		n.id, n.login, n.name = from.ID, from.Login, from.Name
		viewers = max(1, from.viewers())
		from.live = false
		if ch.live {
			ch.guests += float64(viewers)
		}
		m.weigh()
	}
	n.kind = "raid"
	n.params = []param{
		{"displayName", n.name}, {"login", n.login}, {"profileImageURL", ""}, {"viewerCount", strconv.Itoa(viewers)},
	}
	n.system = strconv.Itoa(viewers) + " raiders from " + n.name + " have joined!"
	n.count = func(c *Counts) { c.Raids++; c.RaidViewers += viewers }
	s.sendNotice(ch, &n, at)
}

func (s *Sim) sendNotice(ch *channel, n *usernotice, at time.Time) {
	id := s.model.uuid()
	b := s.line.b[:0]
	b = append(b, "@badge-info="...)
	if n.months > 0 {
		b = append(b, "subscriber/"...)
		b = strconv.AppendInt(b, int64(n.months), 10)
	}
	b = append(b, ";badges="...)
	if n.months > 0 {
		b = append(b, "subscriber/0"...)
	}
	b = append(b, ";color=;display-name="...)
	b = append(b, n.name...)
	b = append(b, ";emotes=;flags=;id="...)
	b = append(b, id[:]...)
	b = append(b, ";login="...)
	b = append(b, n.login...)
	b = append(b, ";mod=0;msg-id="...)
	b = append(b, n.kind...)
	for _, p := range n.params {
		b = append(b, ";msg-param-"...)
		b = append(b, p.key...)
		b = append(b, '=')
		b = appendEscaped(b, p.value)
	}
	b = append(b, ";room-id="...)
	b = append(b, ch.ID...)
	b = append(b, ";subscriber="...)
	b = appendFlag(b, n.months > 0)
	b = append(b, ";system-msg="...)
	b = appendEscaped(b, n.system)
	b = append(b, ";tmi-sent-ts="...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, ";user-id="...)
	b = append(b, n.id...)
	b = append(b, ";user-type= "...)
	tags := len(b)
	b = append(b, ":tmi.twitch.tv USERNOTICE #"...)
	b = append(b, ch.Login...)
	if n.text != "" {
		b = append(b, " :"...)
		b = append(b, n.text...)
	}
	more := n.count
	s.sendOther(ch, append(b, "\r\n"...), tags, at, func(c *Counts) {
		c.Notices++
		if more != nil {
			more(c)
		}
	})
}

func (s *Sim) sendOther(ch *channel, b []byte, tags int, at time.Time, count func(*Counts)) {
	s.line = line{b: b, tags: tags, count: count, entry: Entry{SentMS: at.UnixMilli()}}
	s.send(ch, &s.line)
}
