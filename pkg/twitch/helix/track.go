package helix

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// manyLive is how many channels must have been live for an answer that lists none to be suspect.
const manyLive = 3

// answer is what Twitch said of some channels at once.
type answer struct {
	ids      []string
	streams  []Stream
	received time.Time
}

// swept is what a sweep came to.
type swept struct {
	docs          []record.Document
	taken         int // channels sampled, those released included
	withheld      int // channels whose offline sample waits to be confirmed
	doubted       int // channels left unsampled, because chat goes on where nobody is listed
	discarded     int // of the sweep before, not confirmed
	live, viewers int
	confirmed     bool // what had been withheld is released
}

// tracker turns answers into documents. It is pure: times come in, and a clone forgets nothing.
//
// A channel's session:
//
//	none ──listed──► under way ──offline──► doubtful ──offline again──► none (ended at the first)
//	                   ▲  ▲ └──listed with another id: ended, and the next is under way
//	                   │  └──listed with an older start, once: a stale cache, ignored
//	                   └──────listed── doubtful
//
// A stream that is listed again after its end starts again, with the id of its first start: the
// store keeps the first of each.
type tracker struct {
	channels map[string]*tracked
	events   map[string]control.AssignedEvent
}

type tracked struct {
	login  string // as assigned
	events []string

	// live is what the last accepted sample said, viewers how many it counted.
	live    bool
	viewers int
	// chat is the rate of its chat at the last sample that had it live.
	chat float64
	// session is the stream under way, as last listed, but for Started.
	session Stream
	// offline is the first slot at which a session under way was not listed; else zero.
	offline time.Time
	// stale is the id of a stream that started before session and was listed in its place.
	stale string
	// withheld is the slot of a suspect offline sample; else zero.
	withheld, withheldReceived time.Time

	user User // ID empty: not seen
	gone int  // lookups in a row that did not list it

	reported map[string]reported
}

// reported is what an event's records say of a channel.
type reported struct {
	stream               string
	title                string
	category, categoryID string
	login, name, picture string
}

func newTracker() *tracker {
	return &tracker{channels: map[string]*tracked{}, events: map[string]control.AssignedEvent{}}
}

func (t *tracker) clone() *tracker {
	c := &tracker{channels: make(map[string]*tracked, len(t.channels)), events: t.events}
	for id, ch := range t.channels {
		copied := *ch
		copied.reported = maps.Clone(ch.reported)
		c.channels[id] = &copied
	}
	return c
}

// set changes which channels are followed. Nothing more is known of one that is left out; its
// session does not end by that.
func (t *tracker) set(channels []control.AssignedChannel, events []control.AssignedEvent) {
	next := make(map[string]*tracked, len(channels))
	for _, c := range channels {
		if c.Channel == "" {
			continue
		}
		ch := t.channels[c.Channel]
		if ch == nil {
			ch = &tracked{}
		}
		ch.login = c.Login
		ch.events = slices.Clone(c.Events)
		slices.Sort(ch.events)
		ch.events = slices.Compact(ch.events)
		kept := make(map[string]reported, len(ch.events))
		for _, e := range ch.events {
			kept[e] = ch.reported[e]
		}
		ch.reported = kept
		next[c.Channel] = ch
	}
	t.channels = next
	t.events = make(map[string]control.AssignedEvent, len(events))
	for _, e := range events {
		t.events[e.Slug] = e
	}
}

func (t *tracker) ids() []string { return slices.Sorted(maps.Keys(t.channels)) }

// unseen are the channels that Users has not told of.
func (t *tracker) unseen() []string {
	var ids []string
	for id, ch := range t.channels {
		if ch.user.ID == "" && ch.gone == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// within reports whether an event holds a moment.
func (t *tracker) within(event string, at time.Time) bool {
	e, ok := t.events[event]
	return ok && !at.Before(e.Start) && at.Before(e.End)
}

// suspects are the answers that list none of the channels that were live, where those were many: in
// the answer, or in all together where all are so. Each is named by its first channel.
func (t *tracker) suspects(answers []answer) map[string]bool {
	all, wereLive := true, 0
	gone := make([]bool, len(answers))
	for i, a := range answers {
		gone[i] = true
		for j := range a.streams {
			if ch := t.channels[a.streams[j].Channel]; ch != nil && ch.live {
				gone[i] = false
			}
		}
		all = all && gone[i]
		wereLive += t.liveOf(a.ids)
	}
	out := map[string]bool{}
	for i, a := range answers {
		if gone[i] && (t.liveOf(a.ids) >= manyLive || all && wereLive >= manyLive) {
			out[a.ids[0]] = true
		}
	}
	return out
}

// The chat of a channel that was live is a witness when it had leastChat messages a second; it goes
// on when it has still a part of that, chatGoesOn. After a stream's end people linger for a while.
const (
	leastChat  = 0.02
	chatGoesOn = 0.25
)

// chatting asks the chat of the channels that were live. known is false where there is no witness.
func (t *tracker) chatting(answers []answer, suspects map[string]bool, chat func(string) float64) (on, known bool) {
	if chat == nil {
		return false, false
	}
	witnesses, going := 0, 0
	for _, a := range answers {
		if !suspects[a.ids[0]] {
			continue
		}
		for _, id := range a.ids {
			if ch := t.channels[id]; ch != nil && ch.live && ch.chat >= leastChat {
				witnesses++
				if chat(id) >= chatGoesOn*ch.chat {
					going++
				}
			}
		}
	}
	return 2*going >= witnesses, witnesses > 0
}

// sweep takes the answers of one slot. Channels in none of them are unsampled. Chat is the present
// rate of a channel's chat; nil when nothing is known of it.
func (t *tracker) sweep(slot time.Time, answers []answer, chat func(string) float64) swept {
	var out swept
	slices.SortFunc(answers, func(a, b answer) int { return cmp.Compare(strings.Join(a.ids, " "), strings.Join(b.ids, " ")) })
	suspects := t.suspects(answers)
	on, known := t.chatting(answers, suspects, chat)
	for _, a := range answers {
		empty := len(a.streams) == 0
		suspect := suspects[a.ids[0]] && (on || !known)
		listed := make(map[string]*Stream, len(a.streams))
		for i := range a.streams {
			listed[a.streams[i].Channel] = &a.streams[i]
		}
		for _, id := range a.ids {
			ch := t.channels[id]
			if ch == nil {
				continue
			}
			s := listed[id]
			switch {
			case suspect && known && s == nil:
				ch.withheld = time.Time{}
				out.doubted++
				continue
			case !ch.withheld.IsZero() && empty:
				out.docs = t.accept(out.docs, id, ch.withheld, ch.withheldReceived, nil)
				out.taken++
				out.confirmed = true
				ch.withheld = time.Time{}
			case !ch.withheld.IsZero():
				// Twitch lists channels again: what it said before is worth nothing.
				ch.withheld = time.Time{}
				out.discarded++
			case suspect && s == nil:
				ch.withheld, ch.withheldReceived = slot, a.received
				out.withheld++
				continue
			}
			out.docs = t.accept(out.docs, id, slot, a.received, s)
			out.taken++
			if s != nil {
				if chat != nil {
					ch.chat = chat(id)
				}
				out.live++
				out.viewers += s.Viewers
			}
		}
	}
	return out
}

// viewers are those of the channels that were live when last sampled, and had any.
func (t *tracker) viewers() map[string]int {
	out := make(map[string]int, len(t.channels))
	for id, ch := range t.channels {
		if ch.live && ch.viewers > 0 {
			out[id] = ch.viewers
		}
	}
	return out
}

func (t *tracker) liveOf(ids []string) int {
	n := 0
	for _, id := range ids {
		if ch := t.channels[id]; ch != nil && ch.live {
			n++
		}
	}
	return n
}

// accept takes one channel's sample; s is nil when it is offline.
func (t *tracker) accept(docs []record.Document, id string, slot, received time.Time, s *Stream) []record.Document {
	ch := t.channels[id]
	ch.live, ch.viewers = s != nil, 0
	if s != nil {
		ch.viewers = s.Viewers
	}
	for _, event := range ch.events {
		if !t.within(event, slot) {
			continue
		}
		v := &record.Viewers{Header: header(event, id, slot, received), Source: record.SourceHelix}
		if s != nil {
			v.Live, v.Viewers, v.Stream = true, s.Viewers, s.ID
		}
		docs = append(docs, v)
	}
	switch {
	case s == nil:
		ch.stale = ""
		switch {
		case ch.session.ID == "":
		case ch.offline.IsZero():
			ch.offline = slot
		default:
			docs = t.end(docs, id, ch.offline, received)
		}
		return docs
	case ch.session.ID != "" && s.ID != ch.session.ID && s.Started.Before(ch.session.Started) && ch.stale != s.ID:
		ch.stale = s.ID
		return docs
	case ch.session.ID != "" && s.ID != ch.session.ID:
		at := slot
		if !ch.offline.IsZero() {
			at = ch.offline
		}
		docs = t.end(docs, id, at, received)
	}
	started := s.Started
	if ch.session.ID == s.ID {
		started = ch.session.Started
	}
	ch.session = *s
	ch.session.Started, ch.offline, ch.stale = started, time.Time{}, ""
	return t.report(docs, id, slot, received)
}

// end ends the session under way.
func (t *tracker) end(docs []record.Document, id string, at, received time.Time) []record.Document {
	ch := t.channels[id]
	s := ch.session
	for _, event := range ch.events {
		r := ch.reported[event]
		if r.stream != s.ID || !t.within(event, at) {
			continue
		}
		docs = append(docs, &record.Session{
			Header: header(event, id, at, received), Stream: s.ID, Phase: record.PhaseEnd,
			Started: s.Started, Category: s.Category, Title: s.Title, Language: s.Language,
		})
		r.stream = ""
		ch.reported[event] = r
	}
	ch.session, ch.offline = Stream{}, time.Time{}
	return docs
}

// report writes what each event's records don't say yet of a live channel.
func (t *tracker) report(docs []record.Document, id string, slot, received time.Time) []record.Document {
	ch := t.channels[id]
	s := ch.session
	for _, event := range ch.events {
		if !t.within(event, slot) {
			continue
		}
		r := ch.reported[event]
		if r.stream != s.ID {
			docs = append(docs, &record.Session{
				Header: header(event, id, s.Started, received), Stream: s.ID, Phase: record.PhaseStart,
				Started: s.Started, Category: s.Category, Title: s.Title, Language: s.Language,
			})
			r.stream = s.ID
		}
		h := header(event, id, slot, received)
		docs = change(docs, h, record.FieldTitle, &r.title, s.Title, "")
		if r.categoryID != s.CategoryID && r.category == s.Category {
			r.category = "" // another category of the same name
		}
		docs = change(docs, h, record.FieldCategory, &r.category, s.Category, s.CategoryID)
		r.categoryID = s.CategoryID
		ch.reported[event] = r
	}
	return t.reportUser(docs, id, slot, received)
}

// users takes an answer about accounts. Those asked for that it doesn't list are gone.
func (t *tracker) users(slot, received time.Time, asked []string, users []User) (docs []record.Document, renamed []User) {
	found := make(map[string]User, len(users))
	for _, u := range users {
		found[u.ID] = u
	}
	for _, id := range asked {
		ch := t.channels[id]
		if ch == nil {
			continue
		}
		u, ok := found[id]
		if !ok {
			ch.gone++
			continue
		}
		known := cmp.Or(ch.user.Login, ch.login)
		if known != "" && !strings.EqualFold(known, u.Login) {
			renamed = append(renamed, User{ID: id, Login: u.Login, Name: known})
		}
		ch.user, ch.gone = u, 0
		docs = t.reportUser(docs, id, slot, received)
	}
	return docs, renamed
}

// reportUser writes what each event's records don't say yet of a channel's account.
func (t *tracker) reportUser(docs []record.Document, id string, slot, received time.Time) []record.Document {
	ch := t.channels[id]
	if ch.user.ID == "" {
		return docs
	}
	for _, event := range ch.events {
		if !t.within(event, slot) {
			continue
		}
		r, h := ch.reported[event], header(event, id, slot, received)
		docs = change(docs, h, record.FieldLogin, &r.login, ch.user.Login, "")
		docs = change(docs, h, record.FieldName, &r.name, ch.user.Name, "")
		docs = change(docs, h, record.FieldPicture, &r.picture, ch.user.Picture, "")
		ch.reported[event] = r
	}
	return docs
}

func change(docs []record.Document, h record.Header, field string, old *string, value, valueID string) []record.Document {
	if *old == value {
		return docs
	}
	docs = append(docs, &record.Change{Header: h, Field: field, From: *old, To: value, ToID: valueID})
	*old = value
	return docs
}

func header(event, channel string, at, received time.Time) record.Header {
	return record.Header{Event: event, Channel: channel, Time: at, Received: received}
}
