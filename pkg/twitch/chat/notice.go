package chat

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	twitch "github.com/gempir/go-twitch-irc/v4"

	"github.com/tungstene/tungstene/pkg/record"
)

const paramPrefix = "msg-param-"

// params are a notice's parameters that were not used yet, without their prefix.
type params map[string]string

// take uses a parameter up.
func (p params) take(name string) string {
	value := p[name]
	delete(p, name)
	return value
}

// number uses a parameter up if it is a number; one that is none stays to be seen.
func (p params) number(name string) int {
	n, err := strconv.Atoi(p[name])
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	delete(p, name)
	return n
}

// convertNotice makes the record of a USERNOTICE of any type. system-msg is not kept: it says in
// words what the tags say, with names.
func convertNotice(line Line, ev Event, m *twitch.UserNoticeMessage) (record.Document, error) {
	tags := m.Tags
	id := clean(tags["id"])
	if id == "" {
		return nil, fmt.Errorf("notice %.40q in %s %w", tags["msg-id"], line.Channel.Login, errNoID)
	}
	p := make(params, len(m.MsgParams))
	for name, value := range m.MsgParams {
		p[strings.TrimPrefix(name, paramPrefix)] = value
	}
	who := noticeIdentities(ev.Pseudonyms, m, p)
	d := &record.Notice{
		Header:    header(line, ev, tags),
		NoticeID:  id,
		Type:      clean(tags["msg-id"]),
		Chatter:   chatter(ev.Pseudonyms, tags["user-id"], tags["login"]),
		Anonymous: tags["user-id"] == AnonymousGifter,
		Emotes:    emotes(tags["emotes"], m.Message, &who),
		Source:    source(tags, line.Channel.ID),
	}
	if d.Type == "anonsubgift" || d.Type == "anonsubmysterygift" {
		// The older form: the sender is given as the channel itself.
		d.Anonymous, d.Chatter = true, ev.Pseudonyms.User(AnonymousGifter)
	}
	if ev.KeepText {
		d.Text = who.words(clean(m.Message))
	}
	subscription(d, p, ev.Pseudonyms)
	switch d.Type {
	case "raid":
		raid(d, p, tags, ev.Pseudonyms)
	case "charitydonation":
		if amount, ok := charity(p["donation-amount"], p["exponent"], p["donation-currency"]); ok {
			d.Charity = &amount
			p.take("donation-amount")
			p.take("exponent")
			p.take("donation-currency")
		}
		d.CharityName = who.scrub(clean(p.take("charity-name")))
	case "sharedchatnotice":
		// What it is in the channel that it comes from.
		p["source-msg-id"] = tags["source-msg-id"]
	}
	d.Params = p.public(&who)
	return d, nil
}

// noticeIdentities are all whom the tags of a notice name.
func noticeIdentities(pseudonyms *record.Pseudonyms, m *twitch.UserNoticeMessage, p params) identities {
	who := identities{pseudonyms: pseudonyms}
	who.fromTags(m.Tags)
	who.name(m.User.Name)
	for name, value := range p {
		switch personal(name) {
		case userID:
			who.id(value)
		case userName:
			who.name(value)
		case userPicture, impersonal:
		}
	}
	return who
}

// subscription reads what subscriptions and gifts have in common.
func subscription(d *record.Notice, p params, pseudonyms *record.Pseudonyms) {
	id, login := p.take("recipient-id"), p.take("recipient-user-name")
	if name := p.take("recipient-display-name"); login == "" {
		login = name
	}
	d.Recipient = chatter(pseudonyms, id, login)
	switch plan := p["sub-plan"]; plan {
	case "Prime", "1000", "2000", "3000":
		d.Tier = strings.ToLower(p.take("sub-plan"))
	}
	// The recipient of a gift has its months under another name; elsewhere that one is always 0.
	cumulative, own := p.number("cumulative-months"), p.number("months")
	if d.Months = cumulative; cumulative == 0 {
		d.Months = own
	}
	d.Streak = p.number("streak-months")
	d.Gifts = p.number("mass-gift-count")
	community, origin := clean(p.take("community-gift-id")), clean(p.take("origin-id"))
	if d.Community = community; community == "" {
		d.Community = origin
	}
}

func raid(d *record.Notice, p params, tags map[string]string, pseudonyms *record.Pseudonyms) {
	d.Raid = &record.Raid{Viewers: p.number("viewerCount")}
	p.take("displayName")
	p.take("login")
	if login, ok := pseudonyms.PublicLogin(tags["user-id"]); ok {
		d.Raid.Channel, d.Raid.Login = tags["user-id"], login
	}
}

// The currencies of ISO 4217 whose smallest unit is not a hundredth.
//
//nolint:gochecknoglobals // a table
var minorDigits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0,
	"UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// charity is the amount whose last exponent digits are decimals, in the currency's smallest unit,
// halves rounded up.
func charity(amount, exponent, currency string) (record.Money, bool) {
	n, err := strconv.ParseInt(amount, 10, 64)
	if err != nil || n < 0 {
		return record.Money{}, false
	}
	decimals, err := strconv.Atoi(exponent)
	if err != nil || decimals < 0 || decimals > 18 {
		return record.Money{}, false
	}
	currency = strings.ToUpper(currency)
	if len(currency) != 3 || strings.ContainsFunc(currency, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return record.Money{}, false
	}
	digits, special := minorDigits[currency]
	if !special {
		digits = 2
	}
	for ; decimals < digits; decimals++ {
		if n > math.MaxInt64/10 {
			return record.Money{}, false
		}
		n *= 10
	}
	if decimals > digits {
		divisor := int64(1)
		for ; decimals > digits; decimals-- {
			divisor *= 10
		}
		rest := n % divisor
		n /= divisor
		if rest >= divisor-rest {
			n++
		}
	}
	return record.Money{Cents: n, Currency: currency}, true
}

// person is what a parameter tells of people, by its name.
type person int

const (
	impersonal person = iota
	userID
	userName
	userPicture
)

// people are the words for people in the names of parameters.
//
//nolint:gochecknoglobals // a table
var people = []string{
	"user", "login", "sender", "recipient", "gifter", "raider", "viewer", "chatter", "member", "creator",
	"owner", "winner", "target", "author", "donor", "donator", "moderator", "broadcaster", "channel", "host",
	"streamer", "display", "follower", "nick",
}

// personal judges a parameter by its name, known and unknown ones alike. It rather takes too much
// for personal than too little.
func personal(name string) person {
	name = strings.ToLower(name)
	if slices.ContainsFunc([]string{"profile", "avatar", "picture", "image"}, func(s string) bool { return strings.Contains(name, s) }) {
		return userPicture
	}
	someone := slices.ContainsFunc(people, func(s string) bool { return strings.Contains(name, s) })
	switch {
	case !someone:
		if name == "name" {
			return userName
		}
		return impersonal
	case strings.HasSuffix(name, "id"):
		return userID
	case strings.Contains(name, "login"), strings.Contains(name, "name"), strings.Contains(name, "nick"),
		slices.Contains(people, name):
		return userName
	}
	return impersonal
}

// public is what may be kept of the parameters. Names and ids of people are pseudonyms but for
// those of the event's channels, links to their pictures are left out, and in all the rest
// whoever is named in the notice's tags is replaced.
func (p params) public(who *identities) map[string]string {
	if len(p) == 0 {
		return nil
	}
	out := make(map[string]string, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		value := clean(p[name])
		switch personal(name) {
		case userPicture:
			continue
		case userID:
			if _, public := who.pseudonyms.PublicLogin(value); !public {
				value = who.pseudonyms.User(value)
			}
		case userName:
			value = who.pseudonyms.Name(value)
		case impersonal:
			value = who.scrub(value)
		}
		out[paramName(clean(name))] = value
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// paramName makes a name that every store takes as a field.
func paramName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '$' {
			return '_'
		}
		return r
	}, name)
	if name == "" {
		return "_"
	}
	return name
}
