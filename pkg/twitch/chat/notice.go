package chat

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

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
		p[sourceType] = tags[sourceType]
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
		switch judge(name, value) {
		case someID:
			who.id(value)
		case someName:
			who.name(value)
		case picture, words, quantity:
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

// judgement is what becomes of a parameter's value.
type judgement int

const (
	// someName is the judgement of everything that is not known to be something else.
	someName judgement = iota
	someID
	picture // a link to one: left out
	words   // Twitch's or the streamer's own
	quantity
)

// ownWords are the parameters whose texts are known to be Twitch's own (the name of a theme, of a
// colour) or the streamer's (of a subscription, a goal, a charity). They are what Twitch documents
// (https://dev.twitch.tv/docs/chat/irc/#usernotice-tags) and what clients have seen beyond that;
// names are in lower case here.
//
//nolint:gochecknoglobals // a table
var ownWords = map[string]bool{
	"category":               true,
	"charity-hashtag":        true,
	"charity-learn-more":     true,
	"charity-name":           true,
	"color":                  true,
	"domain":                 true,
	"donation-currency":      true,
	"fun-string":             true,
	"gift-id":                true, // the kind of a combo: "heart"
	"gift-theme":             true,
	"goal-contribution-type": true,
	"goal-description":       true,
	"promo-name":             true,
	"ritual-name":            true,
	sourceType:               true,
	"sub-plan":               true,
	"sub-plan-name":          true,
	"trigger-type":           true,
}

// sourceType is the parameter that a notice of shared chat gets from us.
const sourceType = "source-msg-id"

// The words in the names of parameters.
//
//nolint:gochecknoglobals // tables
var (
	pictureWords = []string{"profile", "avatar", "picture", "image"}
	// personWords are what someone is called whose name or id is the value.
	personWords = []string{
		"name", "login", "nick", "user", "sender", "recipient", "gifter", "raider", "viewer", "chatter", "member",
		"creator", "owner", "winner", "target", "author", "donor", "donator", "moderator", "broadcaster", "channel",
		"host", "streamer", "follower", "contributor", "subscriber", "supporter", "leader", "champion", "by", "from", "to",
	}
	// countWords say that a number is one.
	countWords = []string{
		"amount", "bits", "contributions", "count", "days", "duration", "exponent", "hours", "level", "minutes",
		"month", "months", "ms", "number", "percent", "points", "position", "quantity", "rank", "remaining", "reward",
		"seconds", "size", "streak", "taps", "tenure", "threshold", "total", "value", "years",
	}
)

// knownDigits is the length up to which a number says nothing of anyone whatever its parameter is
// called: ids and logins of digits alone are longer.
const knownDigits = 3

// judge says what a parameter's value is. What is not known to be harmless is taken for a name:
// Twitch adds types of notices without telling anyone, and they name people under any name (the
// combos of 2025 in contributor-1). In clear are only truth values, numbers, and the texts of
// ownWords. A number of digits alone may be an id, or the name of someone called 12345: it stays
// only under a name that counts something, or when it is too short for either.
func judge(name, value string) judgement {
	lower := strings.ToLower(name)
	switch {
	case slices.ContainsFunc(pictureWords, func(w string) bool { return strings.Contains(lower, w) }):
		return picture
	case ownWords[lower]:
		return words
	}
	parts := nameParts(name)
	last := ""
	if len(parts) > 0 {
		last = parts[len(parts)-1]
	}
	digits := value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' })
	switch {
	case isID(last):
		return someID
	case isPerson(last):
		if digits && (last == "user" || last == "channel") {
			return someID
		}
		return someName
	case value == "true", value == "false":
		return quantity
	case digits:
		if len(value) <= knownDigits || slices.ContainsFunc(parts, func(w string) bool { return slices.Contains(countWords, w) }) {
			return quantity
		}
		return someID
	case number(value):
		return quantity
	}
	return someName
}

func isID(word string) bool {
	for _, suffix := range [...]string{"id", "ids"} {
		if rest, ok := strings.CutSuffix(word, suffix); ok && (rest == "" || isPerson(rest)) {
			return true
		}
	}
	return false
}

func isPerson(word string) bool {
	return slices.ContainsFunc(personWords, func(w string) bool {
		return word == w || len(w) > shortestPart-1 && strings.HasSuffix(word, w)
	})
}

// nameParts are the words of a parameter's name in lower case, without numbers: viewerCount and
// viewer-count-1 are both "viewer", "count".
func nameParts(name string) []string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		switch {
		case unicode.IsUpper(r) && lower:
			b.WriteByte(' ')
		case !unicode.IsLetter(r):
			r = ' '
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Fields(b.String())
}

// number reports whether s is a decimal number that has a sign or a fraction, which neither ids nor
// names have.
func number(s string) bool {
	whole, fraction, fractional := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	digits := func(s string) bool {
		return s != "" && len(s) <= 18 && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	}
	return digits(whole) && (!fractional || digits(fraction))
}

// public is what may be kept of the parameters: see judge. Names and ids are pseudonyms but for
// those of the event's channels. In words, whoever is named in the notice's tags is replaced.
func (p params) public(who *identities) map[string]string {
	if len(p) == 0 {
		return nil
	}
	out := make(map[string]string, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		value := clean(p[name])
		switch judge(name, value) {
		case picture:
			continue
		case someID:
			if _, public := who.pseudonyms.PublicLogin(value); !public {
				value = who.pseudonyms.User(value)
			}
		case someName:
			value = who.pseudonyms.Name(value)
		case words:
			value = who.scrub(value)
		case quantity:
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
