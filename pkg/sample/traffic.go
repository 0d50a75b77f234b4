package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// How often things happen, per message.
const (
	replyShare     = 0.05
	cheerShare     = 0.004
	rewardShare    = 0.003
	returningShare = 0.02
	noticeShare    = 0.008
	banShare       = 0.001
	timeoutShare   = 0.006
	deleteShare    = 0.003
	clearShare     = 0.00002
	newcomers      = 15 // of a hundred chatters
	subscribers    = 35
)

// firstChatter is the user id of chatter 0.
const firstChatter = 100_000_000

// minute makes the records of a minute, ordered by time.
func (w *world) minute(n int) ([]record.Record, error) {
	w.out = make([]record.Record, 0, 2*len(w.channels)+int(w.chat[n])/(n+1))
	if n == 0 {
		w.opening()
	}
	w.move(n)
	w.cover(n)
	w.sample(n)
	w.write(n)
	w.money.minute(w, n)
	slices.SortFunc(w.out, func(a, b record.Record) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	return w.out, w.err
}

// add takes a record in. Its header is filled in here; received is delay after its time.
func (w *world) add(d record.Document, h *record.Header, c *channel, ms int64, delay int64) {
	h.Event, h.Time = w.cfg.Event, w.instant(ms)
	if c != nil {
		h.Channel = c.id
	}
	if l := w.faults.late; c != nil && c.set == 0 && ms >= l.from && ms < l.to {
		delay += l.to - ms // the collector's outbox was full of it until then
	}
	h.Received = h.Time.Add(time.Duration(delay) * time.Millisecond)
	r, err := record.Encode(d)
	if err != nil {
		w.err = cmp.Or(w.err, fmt.Errorf("sample: %w", err))
		return
	}
	w.out = append(w.out, r)
}

// opening tells what is found when collecting begins.
func (w *world) opening() {
	for _, c := range w.channels {
		w.change(c, 0, record.FieldLogin, "", c.login, "")
		w.change(c, 0, record.FieldName, "", c.name, "")
		w.change(c, 0, record.FieldPicture, "", c.picture, "")
		w.roomState(c, 40+int64(c.index))
	}
}

func (w *world) change(c *channel, ms int64, field, from, to, id string) {
	d := &record.Change{Field: field, From: from, To: to, ToID: id}
	w.add(d, &d.Header, c, ms, 1_100)
}

func (w *world) roomState(c *channel, ms int64) {
	d := &record.RoomState{FollowersOnly: -1}
	if c.slow {
		d.Slow = 10
	}
	w.add(d, &d.Header, c, ms, 0)
}

// move lets streams begin and end, titles and names change, and spreads the audience.
func (w *world) move(n int) {
	slot := int64(n) * 60_000
	for _, c := range w.channels {
		c.drift = max(0.3, c.drift+0.03*(1-c.drift)+0.02*w.rng.NormFloat64())
		c.guests *= 0.97
		c.heat = 1 + (c.heat-1)*0.7
		if c.live && n >= c.streams[0].to {
			w.end(c, n)
		}
		if !c.live && len(c.streams) > 0 && n >= c.streams[0].from {
			w.begin(c, n)
		}
		if c.live && n >= c.retitle {
			title, category := c.title, c.category
			w.entitle(c)
			c.retitle = n + 60 + w.rng.IntN(240)
			if c.title != title {
				w.change(c, slot, record.FieldTitle, title, c.title, "")
			}
			if c.category != category {
				w.change(c, slot, record.FieldCategory, categories[category].name, categories[c.category].name, categories[c.category].id)
			}
		}
		if n == c.rename {
			login, name := c.login, c.name
			c.login, c.name = "le_"+login, "Le_"+name
			w.change(c, slot, record.FieldLogin, login, c.login, "")
			w.change(c, slot, record.FieldName, name, c.name, "")
		}
	}
	sum := 0.0
	for _, c := range w.channels {
		if c.live {
			sum += c.size * c.drift
		}
	}
	chat, gifts := 0.0, 0.0
	for i, c := range w.channels {
		c.viewers = 0
		if c.live {
			c.viewers = int(w.audience[n]*c.size*c.drift/sum + c.guests)
			chat += math.Pow(float64(c.viewers)+1, 0.95) * c.chatty * c.heat
			gifts += w.money.pull(c)
		} else {
			chat += 0.002 * float64(c.pool)
			gifts += 0.01 * c.size * w.audience[n]
		}
		w.weights[i], w.purses[i] = chat, gifts
	}
}

// draw picks a channel by summed weights.
func (w *world) draw(sums []float64) *channel {
	u := w.rng.Float64() * sums[len(sums)-1]
	i, _ := slices.BinarySearchFunc(sums, u, cmp.Compare[float64])
	return w.channels[min(i, len(sums)-1)]
}

func (w *world) begin(c *channel, n int) {
	w.streams++
	from := int64(n)*60_000 - int64(w.rng.IntN(55))*1000
	if c.streams[0].from < 0 {
		from = int64(c.streams[0].from) * 60_000
	}
	c.live, c.started = true, w.instant(from).Truncate(time.Second)
	c.streamID = strconv.FormatUint(41_000_000_000+mix(w.cfg.Seed)%1_000_000_000+w.streams, 10)
	c.retitle = n + 30 + w.rng.IntN(180)
	if n > 0 {
		title, category := c.title, c.category
		w.entitle(c)
		if c.title != title {
			w.change(c, int64(n)*60_000, record.FieldTitle, title, c.title, "")
		}
		if c.category != category {
			w.change(c, int64(n)*60_000, record.FieldCategory, categories[category].name, categories[c.category].name, categories[c.category].id)
		}
	} else {
		w.change(c, 0, record.FieldTitle, "", c.title, "")
		w.change(c, 0, record.FieldCategory, "", categories[c.category].name, categories[c.category].id)
	}
	d := &record.Session{
		Stream: c.streamID, Phase: record.PhaseStart, Started: c.started, Category: categories[c.category].name,
		Title: c.title, Language: c.language,
	}
	w.add(d, &d.Header, c, c.started.Sub(w.start).Milliseconds(), int64(n)*60_000-from+1_100)
}

func (w *world) end(c *channel, n int) {
	slot := int64(n) * 60_000
	d := &record.Session{
		Stream: c.streamID, Phase: record.PhaseEnd, Started: c.started, Category: categories[c.category].name,
		Title: c.title, Language: c.language,
	}
	w.add(d, &d.Header, c, slot, 60_900) // seen at the next slot
	c.live, c.streams = false, c.streams[1:]
	guests := int(float64(c.viewers) * (0.5 + 0.45*w.rng.Float64()))
	c.guests = 0
	if w.rng.Float64() < 0.3 || guests == 0 {
		return
	}
	for range 8 {
		to := w.draw(w.weights)
		ms := slot + int64(w.rng.IntN(40_000))
		if to == c || !to.live || to.streams[0].to < n+10 || !w.heard(to.set, ms) {
			continue
		}
		w.raid(to, ms, guests, c)
		return
	}
}

// raid brings guests; from is nil for a channel outside of the event.
func (w *world) raid(to *channel, ms int64, guests int, from *channel) {
	d := &record.Notice{NoticeID: w.uuid(), Type: "raid", Raid: &record.Raid{Viewers: guests}}
	if from != nil {
		d.Raid.Channel, d.Raid.Login = from.id, from.login
		d.Chatter = w.names.User(from.id)
	} else {
		d.Chatter = w.names.User(strconv.FormatUint(firstChatter-1-uint64(w.rng.IntN(10_000)), 10))
	}
	w.add(d, &d.Header, to, ms, 60)
	w.result.Raids++
	to.guests += float64(guests)
	to.heat += 3
}

// cover says which collector read what.
func (w *world) cover(n int) {
	for set := range w.sets {
		for _, c := range readers(set) {
			for i, s := range w.reading(c, set, n) {
				d := &record.Coverage{
					Source: record.SourceChat, To: w.instant(s.to), Collector: "sample-" + strconv.Itoa(c+1),
					Connection: fmt.Sprintf("sample-%d-%d.1", c+1, set+1), Set: w.setHash[set],
				}
				if i == 0 {
					d.Channels = w.setIDs[set]
				}
				w.add(d, &d.Header, nil, s.from, s.to-s.from+180)
			}
		}
	}
	if lost := w.faults.chat[0][0]; lost.from/60_000 == int64(n) {
		d := &record.Dropped{
			To: w.instant(lost.from), Collector: "sample-1", Reason: record.DroppedUnwritable, Records: 3, Messages: 3,
			Channels: []record.DroppedChannel{{Channel: w.sets[0][0].id, Records: 3, Messages: 3}},
		}
		w.add(d, &d.Header, nil, lost.from-900, lost.to-lost.from)
	}
}

// sample tells how many viewers each channel has.
func (w *world) sample(n int) {
	slot := int64(n) * 60_000
	if f := w.faults.samples; slot >= f.from && slot < f.to {
		return
	}
	for _, c := range w.channels {
		d := &record.Viewers{Source: record.SourceHelix, Live: c.live, Viewers: c.viewers}
		if c.live {
			d.Stream = c.streamID
		}
		w.add(d, &d.Header, c, slot, 700+int64(c.index))
		w.result.Viewers++
	}
}

// write makes the chat of a minute, evenly spread.
func (w *world) write(n int) {
	count := w.chat[n]
	if n > 0 {
		count -= w.chat[n-1]
	}
	for i := range count {
		ms := int64(n)*60_000 + int64((float64(i)+w.rng.Float64())*60_000/float64(count))
		ms = min(ms, int64(n+1)*60_000-1)
		c := w.draw(w.weights)
		for range 20 {
			if w.heard(c.set, ms) {
				break
			}
			c = w.draw(w.weights)
		}
		for !w.heard(c.set, ms) { // most of the channels were not read at that moment
			c = w.channels[w.rng.IntN(len(w.channels))]
			ms = int64(n)*60_000 + int64(w.rng.IntN(60_000))
		}
		w.message(c, n, ms)
	}
}

// chatter draws who writes: few write much, some are known in other channels too, and the audience grows.
func (w *world) chatter(c *channel, n int) (rank int, number uint64) {
	grown := 0.3 + 0.7*math.Sqrt(float64(n+1)/float64(w.minutes))
	u := w.rng.Float64()
	rank = min(int(float64(c.pool)*grown*u*u), c.pool-1)
	h := mix(uint64(c.index)<<32 | uint64(rank))
	switch h % 10 {
	case 0, 1: // known everywhere
		return rank, w.people + h/10%w.crowd
	case 2, 3: // known in some
		return rank, w.people + w.crowd*uint64(1+c.index%6) + h/10%w.crowd
	}
	return rank, c.base + uint64(rank)
}

func (w *world) user(number uint64) string {
	return w.names.User(strconv.FormatUint(firstChatter+number, 10))
}

// months is how long a chatter has been subscribed to a channel; 0 for not.
func months(c *channel, number uint64) int {
	h := mix(uint64(c.index)<<40 ^ number)
	if h%100 >= subscribers {
		return 0
	}
	return 1 + int(h/100%48)
}

func badges(rank, months int, more []string) []string {
	var out []string
	if rank < 4 {
		out = append(out, "moderator/1")
	}
	if months > 0 {
		version := 0
		for _, v := range [...]int{2, 3, 6, 9, 12, 18, 24, 30, 36, 42, 48} {
			if months >= v {
				version = v
			}
		}
		out = append(out, "subscriber/"+strconv.Itoa(version))
	}
	return append(out, more...)
}

// message makes one chat message, and what comes with it.
func (w *world) message(c *channel, n int, ms int64) {
	rank, number := w.chatter(c, n)
	t := &w.texts[w.rng.IntN(len(w.texts))]
	d := &record.Message{
		MessageID: w.uuid(), Chatter: w.user(number), Length: t.Length, Text: t.Body, Action: t.Action, Emotes: t.Emotes,
		Subscriber: months(c, number),
	}
	d.Badges = badges(rank, d.Subscriber, w.texts[mix(number)%uint64(len(w.texts))].Badges)
	if word, bit := rank/64, uint64(1)<<(rank%64); c.seen[word]&bit == 0 {
		c.seen[word] |= bit
		d.First = mix(uint64(c.index)^mix(uint64(rank)^w.cfg.Seed))%100 < newcomers
	}
	d.Returning = !d.First && w.rng.Float64() < returningShare
	prefix := ""
	switch p := w.rng.Float64(); {
	case p < replyShare && c.sent > 0:
		to := c.recent[w.rng.IntN(min(c.sent, len(c.recent)))]
		d.Reply = &record.Reply{Message: to.id, Chatter: to.chatter, Thread: to.id}
	case p > 1-cheerShare:
		d.Bits = [...]int{1, 10, 50, 100, 100, 100, 500, 1000}[w.rng.IntN(8)]
		prefix = "Cheer" + strconv.Itoa(d.Bits) + " "
	case p > 1-cheerShare-rewardShare:
		d.Reward = w.uuid()
	}
	d.Text = w.names.Text(prefix + d.Text)
	d.Length += len(prefix)
	delay := int64(40 + w.rng.IntN(120))
	w.add(d, &d.Header, c, ms, delay)
	w.result.Messages++
	c.recent[c.sent%len(c.recent)] = written1{id: d.MessageID, chatter: d.Chatter}
	c.sent++
	for _, s := range w.shared {
		if n < s.from || n >= s.to || c.index != s.a && c.index != s.b {
			continue
		}
		other := w.channels[s.a+s.b-c.index]
		if !w.heard(other.set, ms) {
			continue
		}
		copied := *d
		copied.Header = record.Header{}
		copied.MessageID, copied.First, copied.Returning, copied.Reply, copied.Reward = w.uuid(), false, false, nil, ""
		copied.Source = &record.Source{Channel: c.id, Message: d.MessageID}
		w.add(&copied, &copied.Header, other, ms, delay)
		w.result.Copies++
	}
	w.accompany(c, n, ms)
}

// accompany makes what happens beside a message now and then.
func (w *world) accompany(c *channel, n int, ms int64) {
	target := &c.recent[w.rng.IntN(min(c.sent, len(c.recent)))]
	d := &record.Moderation{Chatter: target.chatter}
	p := w.rng.Float64()
	for _, may := range [...]struct {
		share float64
		do    func() bool
	}{
		{banShare, func() bool { d.Action = record.ActionBan; return true }},
		{timeoutShare, func() bool {
			d.Action, d.Seconds = record.ActionTimeout, [...]int{1, 10, 60, 600, 600, 86_400}[w.rng.IntN(6)]
			return true
		}},
		{deleteShare, func() bool {
			d.Action, d.Message = record.ActionDelete, target.id
			was := target.deleted
			target.deleted = true
			return !was
		}},
		{clearShare, func() bool { d.Action, d.Chatter = record.ActionClear, ""; return true }},
		{clearShare, func() bool { c.slow = !c.slow; w.roomState(c, ms); return false }},
		{noticeShare, func() bool { w.notice(c, n, ms); return false }},
	} {
		if p < may.share {
			if may.do() {
				w.add(d, &d.Header, c, ms, 90)
			}
			return
		}
		p -= may.share
	}
}

// notice makes one notice, or the announcement of several gifts and the gifts.
func (w *world) notice(c *channel, n int, ms int64) {
	_, number := w.chatter(c, n)
	d := &record.Notice{NoticeID: w.uuid(), Chatter: w.user(number), Tier: "1000"}
	switch p := w.rng.IntN(100); {
	case p < 40:
		d.Tier = "prime"
	case p >= 97:
		d.Tier = "3000"
	case p >= 92:
		d.Tier = "2000"
	}
	switch p := w.rng.IntN(100); {
	case p < 26:
		d.Type, d.Months = "sub", 1
	case p < 62:
		d.Type, d.Months = "resub", 2+w.rng.IntN(47)
		d.Streak = 1 + w.rng.IntN(d.Months)
		d.Text = w.names.Text(w.texts[w.plain[w.rng.IntN(len(w.plain))]].Body)
	case p < 76:
		w.gift(c, n, ms, d, "")
		return
	case p < 84:
		w.gifts(c, n, ms, d)
		return
	case p < 85 && c.live:
		w.raid(c, ms, 5+w.rng.IntN(400), nil)
		return
	case p < 91:
		d.Type, d.Tier, d.Params = "announcement", "", record.Params{"color": "PRIMARY"}
		d.Text = "Le prochain objectif est tout près, merci à tous"
	case p < 94:
		d.Type, d.Tier = "viewermilestone", ""
		d.Params = record.Params{"category": "watch-streak", "value": strconv.Itoa(3 + w.rng.IntN(20))}
	case p < 97:
		d.Type, d.Tier, d.Params = "bitsbadgetier", "", record.Params{"threshold": "1000"}
	default:
		d.Type = "giftpaidupgrade"
	}
	w.add(d, &d.Header, c, ms, 70)
}

// gift makes a single gift: of someone, with a community one of several.
func (w *world) gift(c *channel, n int, ms int64, by *record.Notice, community string) {
	_, to := w.chatter(c, n)
	d := &record.Notice{
		NoticeID: w.uuid(), Type: "subgift", Chatter: by.Chatter, Anonymous: by.Anonymous, Recipient: w.user(to), Tier: "1000",
		Months: 1 + w.rng.IntN(12), Community: community,
	}
	w.add(d, &d.Header, c, ms, 75)
}

// gifts announces several gifts and makes each.
func (w *world) gifts(c *channel, n int, ms int64, d *record.Notice) {
	count := [...]int{1, 1, 5, 5, 5, 10, 20, 50}[w.rng.IntN(8)]
	if w.rng.IntN(100) < 15 {
		d.Anonymous, d.Chatter = true, w.names.User("274598607") // Twitch's one account for all who are anonymous
	}
	d.Type, d.Tier, d.Gifts, d.Community = "submysterygift", "1000", count, strconv.FormatUint(w.rng.Uint64(), 10)
	w.add(d, &d.Header, c, ms, 70)
	for i := range count {
		w.gift(c, n, min(ms+int64(i)*3, ms/60_000*60_000+59_999), d, d.Community)
	}
	c.heat += float64(count) / 10
}
