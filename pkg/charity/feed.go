package charity

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"
)

// feed is one list or object of a source that is asked for again and again.
type feed struct {
	// name is the source's, with what the feed is of: "team/donations".
	name string
	// url is its address; "{user}" stands for the Twitch id that the credentials are of.
	url     string
	auth    authority // nil: none
	mapping *mapping
	paging  paging
	scrub   *scrubber
	base    string // the path of a row, for scrub
	// member is whose donations they all are, where that is known; login of Twitch.
	member string
	// directory says that its rows tell who the members are that donations name by id alone.
	directory bool

	totalsState
	donationsState
	kept map[string]keptAnswer // by event and request
}

// position is where in a list a request begins.
type position struct {
	cursor string
	page   int
	oldest bool // oldest first
}

// address is the feed's address for a position.
func (f *feed) address(pos position, user string) string {
	base := strings.ReplaceAll(f.url, "{user}", url.QueryEscape(user))
	if f.paging.by == pagingNone || f.paging.by == "" {
		return base
	}
	q := url.Values{}
	switch f.paging.by {
	case pagingPage:
		if f.paging.order != "" {
			q.Set(f.paging.order, map[bool]string{false: f.paging.newest, true: f.paging.oldest}[pos.oldest])
		}
		q.Set(f.paging.parameter, strconv.Itoa(pos.page))
	case pagingCursor:
		if pos.cursor == "" {
			return base
		}
		q.Set(f.paging.parameter, pos.cursor)
	case pagingNone:
	}
	if strings.Contains(base, "?") {
		return base + "&" + q.Encode()
	}
	return base + "?" + q.Encode()
}

// at makes paths out of ours.
func at(paths ...string) []path {
	out := make([]path, len(paths))
	for i, s := range paths {
		p, err := parsePath(s)
		if err != nil {
			panic(err) // one of this file's
		}
		out[i] = p
	}
	return out
}

// places are the classes of what a mapping reads.
func (m *mapping) places() map[string]class {
	out := map[string]class{}
	names := func(p path) string {
		var parts []string
		for _, s := range p {
			if s.name != "" {
				parts = append(parts, s.name)
			}
		}
		return strings.Join(parts, ".")
	}
	base := names(m.list)
	if base != "" {
		base += "."
	}
	set := func(c class, prefix string, paths ...path) {
		for _, p := range paths {
			if n := names(p); n != "" {
				out[prefix+n] = c
			}
		}
	}
	set(figure, "", m.total...)
	set(currency, "", m.totalCurrency...)
	set(public, base, m.id...)
	set(figure, base, m.amount...)
	set(figure, base, m.decimals)
	set(currency, base, m.currency...)
	set(moment, base, m.time...)
	set(public, base, m.memberID...)
	set(public, base, m.memberTwitch...)
	set(public, base, m.memberNames...)
	// Who gave goes last: a mapping that gives one path to a streamer and a donor means the donor.
	set(place, base, m.country...)
	set(said, base, m.text...)
	set(denied, base, m.donor...)
	set(donorID, base, m.donorID...)
	return out
}

// basePath is a row's path without indexes, for a scrubber.
func (m *mapping) basePath() string {
	var parts []string
	for _, s := range m.list {
		if s.name != "" {
			parts = append(parts, s.name)
		}
	}
	return strings.Join(parts, ".")
}

func newFeed(s *Source, name, address string, sec section, auth authority, also map[string]class) *feed {
	m := sec.mapping
	places := m.places()
	for k, c := range also {
		if _, ok := places[k]; !ok {
			places[k] = c
		}
	}
	return &feed{
		name: s.Name + "/" + name, url: address, auth: auth, mapping: &m, paging: sec.paging,
		scrub: newScrubber(s.donors(), places), base: m.basePath(), kept: map[string]keptAnswer{},
	}
}

// donors is what donors' ids are prefixed with before they become pseudonyms. Twitch's are those of
// chatters: who asks to be forgotten there is forgotten here too.
func (s *Source) donors() string {
	if s.Kind == SourceTwitch {
		return ""
	}
	return s.Name + ":"
}

// plan is what is polled of a source, and when.
type plan struct {
	totals, donations     []*feed
	totalsBy, donationsBy cron.Schedule
}

// plan makes the feeds of a source.
func (s *Source) plan() plan {
	var p plan
	if s.totals != nil {
		p.totalsBy = s.totals.schedule
	}
	if s.donations != nil {
		p.donationsBy = s.donations.schedule
	}
	base := strings.TrimRight(s.url, "/")
	switch s.Kind {
	case SourceZEvent:
		p.totals = []*feed{newFeed(s, "totals", s.url, section{mapping: zeventTotals()}, nil, map[string]class{
			"websiteMode": word, "live.game": public, "live.display": public, "live.twitch": public, "live.profileUrl": public,
			"live.donationUrl": public, "live.location": word, "live.online": figure, "live.viewersAmount.number": figure,
			"viewersCount.number": figure,
		})}
	case SourceStreamlabs:
		p.donations = []*feed{newFeed(s, "donations", base+"/teams/"+url.PathEscape(s.team)+"/donations", section{
			mapping: streamlabsDonations(),
			paging: paging{
				by: pagingPage, parameter: "page", first: 1, order: "order", newest: "desc", oldest: "asc",
			},
		}, nil, map[string]class{"data.id": public})}
	case SourceTwitch:
		for _, login := range slices.Sorted(maps.Keys(s.tokens)) {
			auth := &broadcasterToken{url: s.authURL, login: login, file: s.tokens[login]}
			total := newFeed(s, "totals/"+login, base+"/charity/campaigns?broadcaster_id={user}", section{mapping: twitchTotals()}, auth,
				map[string]class{
					"data.id": public, "data.charity_name": public, "data.charity_website": public, "data.charity_logo": public,
					"data.target_amount.value": figure, "data.target_amount.currency": currency,
				})
			single := newFeed(s, "donations/"+login, base+"/charity/donations?broadcaster_id={user}&first=100", section{
				mapping: twitchDonations(), paging: paging{by: pagingCursor, parameter: "after"},
			}, auth, map[string]class{"data.campaign_id": public, "pagination.cursor": public})
			total.member, single.member = login, login
			p.totals, p.donations = append(p.totals, total), append(p.donations, single)
		}
	case SourceTiltify:
		s.tiltify(&p, base)
	case SourceJSON:
		var auth authority
		if len(s.headers) > 0 {
			auth = headerFiles(s.headers)
		}
		if s.totals != nil {
			p.totals = []*feed{newFeed(s, "totals", s.totals.url, *s.totals, auth, nil)}
		}
		if s.donations != nil {
			p.donations = []*feed{newFeed(s, "donations", s.donations.url, *s.donations, auth, nil)}
		}
	}
	if p.totalsBy == nil {
		p.totals = nil
	}
	if p.donationsBy == nil {
		p.donations = nil
	}
	return p
}

func (s *Source) tiltify(p *plan, base string) {
	auth := &clientCredentials{url: s.authURL, id: s.clientID, secret: s.clientSecret}
	path := base + "/campaigns/" + url.PathEscape(s.campaign)
	if s.teamCampaign {
		path = base + "/team_campaigns/" + url.PathEscape(s.campaign)
	}
	names := map[string]class{
		"data.id": public, "data.legacy_id": public, "data.campaign_id": public, "data.team_event_id": public, "data.cause_id": public,
		"data.name": public, "data.slug": public, "data.status": word, "data.currency_code": currency,
		"data.created_at": moment, "data.completed_at": moment, "data.inserted_at": moment, "data.updated_at": moment,
		"data.published_at": moment, "data.goal.value": figure, "data.goal.currency": currency,
		"data.amount_raised.value": figure, "data.amount_raised.currency": currency,
		"metadata.after": public, "metadata.before": public, "metadata.limit": figure,
	}
	p.totals = []*feed{newFeed(s, "totals", path, section{mapping: tiltifyTotal()}, auth, names)}
	if s.teamCampaign {
		members := newFeed(s, "members", path+"/supporting_campaigns?limit=100", section{
			mapping: tiltifyMembers(), paging: paging{by: pagingCursor, parameter: "after"},
		}, auth, names)
		members.directory = true
		p.totals = append(p.totals, members)
	}
	single := newFeed(s, "donations", path+"/donations?limit=100", section{
		mapping: tiltifyDonations(s.teamCampaign), paging: paging{by: pagingCursor, parameter: "after"},
	}, auth, names)
	if login, ok := s.Members[strings.ToLower(s.campaign)]; ok && !s.teamCampaign {
		single.member = login
	}
	p.donations = []*feed{single}
}

func zeventTotals() mapping {
	return mapping{
		list: at("live")[0], quiet: at("websiteMode")[0], quietValue: "offline",
		amount: at("donationAmount.number"), unit: unitDecimal,
		memberID: at("twitch_id", "streamlabsId"), memberTwitch: at("twitch_id"), memberNames: at("twitch", "display"),
		total: at("donationAmount.number"),
	}
}

func streamlabsDonations() mapping {
	return mapping{
		list: at("data")[0], id: at("donation.id"),
		amount: at("donation.converted_amount"), unit: unitCents, currency: at("donation.converted_currency"),
		time: at("donation.created_at"), layout: layoutRFC3339,
		memberID: at("member.id"), memberNames: at("member.user.slug", "member.user.display_name"),
		donor: at("donation.display_name"), text: at("donation.comment.text"), country: at("donation.country"),
	}
}

func twitchTotals() mapping {
	return mapping{
		list: at("data")[0], amount: at("current_amount.value"), unit: unitCents, decimals: at("current_amount.decimal_places")[0],
		currency: at("current_amount.currency"), memberTwitch: at("broadcaster_id"),
		memberNames: at("broadcaster_login", "broadcaster_name"),
	}
}

func twitchDonations() mapping {
	return mapping{
		list: at("data")[0], id: at("id"), amount: at("amount.value"), unit: unitCents, decimals: at("amount.decimal_places")[0],
		currency: at("amount.currency"), timeless: true, donorID: at("user_id"), donor: at("user_login"),
		next: at("pagination.cursor")[0],
	}
}

// tiltifyTotal reads a campaign: what it raised with all that supports it.
func tiltifyTotal() mapping {
	return mapping{
		unit:          unitDecimal,
		total:         at("data.total_amount_raised.value", "data.amount_raised.value"),
		totalCurrency: at("data.total_amount_raised.currency", "data.amount_raised.currency"),
	}
}

func tiltifyMembers() mapping {
	return mapping{
		list: at("data")[0], unit: unitDecimal,
		amount:   at("total_amount_raised.value", "amount_raised.value"),
		currency: at("total_amount_raised.currency", "amount_raised.currency"),
		memberID: at("id"), memberNames: at("user.slug", "user.username"), next: at("metadata.after")[0],
	}
}

func tiltifyDonations(team bool) mapping {
	m := mapping{
		list: at("data")[0], id: at("id"), amount: at("amount.value"), unit: unitDecimal, currency: at("amount.currency"),
		time: at("created_at", "completed_at"), layout: layoutRFC3339, donor: at("donor_name"), text: at("donor_comment"),
		next: at("metadata.after")[0],
	}
	if team {
		m.memberID = at("campaign_id")
	}
	return m
}
