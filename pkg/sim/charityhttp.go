package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// rowsPerPage is how many donations a page of the Streamlabs team has, pageStep how far the next
	// page's first row is from this one's.
	rowsPerPage, pageStep = 3000, 500
	// tiltifyLeast rows a page has where no limit is asked for, tiltifyMost at most.
	tiltifyLeast, tiltifyMost = 10, 100
	// charityScope is what a broadcaster must have granted for their charity campaign to be read.
	charityScope = "channel:read:charity"
	membersBase  = 420_000_000_000_000_001
)

// charityHandlers adds the charity sources to the mux.
//
//	GET /api/                                    ZEvent: totals per streamer and of the event
//	GET /api/v1/teams/{id}[/donations|/members]  Streamlabs Charity: the team, single donations
//	GET /helix/charity/campaigns|donations       Twitch, with the broadcaster's token
//	POST /oauth/token                            Tiltify's OAuth host
//	GET /api/public/campaigns/{id}[/donations]   Tiltify: a campaign per channel, by the channel's id
//	GET /api/public/team_campaigns/{id}[/donations|/supporting_campaigns]
//	GET /events, /events/{id}/donation_goals/overview, /participations/{id}/donation_goals
func (s *Sim) charityHandlers(ctx context.Context, mux *http.ServeMux) {
	get := func(endpoint string, h func(r *http.Request) charityAnswer) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if s.charityFault(ctx, w, r, endpoint) {
				return
			}
			a := h(r)
			if a.status == 0 {
				a.status = http.StatusOK
			}
			if a.age > 0 {
				w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(a.age))
			}
			s.answer(w, endpoint, a.status, a.body)
		}
	}
	mux.HandleFunc("GET /api/{$}", get("zevent", s.zevent))
	mux.HandleFunc("GET /api/v1/teams/{team}", get("streamlabs", s.team))
	mux.HandleFunc("GET /api/v1/teams/{team}/members", get("streamlabs", s.teamMembers))
	mux.HandleFunc("GET /api/v1/teams/{team}/donations", get("streamlabs", s.teamDonations))
	mux.HandleFunc("GET /helix/charity/campaigns", s.broadcasterGet(ctx, "campaigns", s.campaigns))
	mux.HandleFunc("GET /helix/charity/donations", s.broadcasterGet(ctx, "donations", s.campaignDonations))
	mux.HandleFunc("POST /oauth/token", s.tiltifyToken)
	for _, kind := range []string{"campaigns", "team_campaigns"} {
		mux.HandleFunc("GET /api/public/"+kind+"/{campaign}", get("tiltify", s.tiltify(s.tiltifyCampaign)))
		mux.HandleFunc("GET /api/public/"+kind+"/{campaign}/donations", get("tiltify", s.tiltify(s.tiltifyDonations)))
	}
	mux.HandleFunc("GET /api/public/team_campaigns/{campaign}/supporting_campaigns", get("tiltify", s.tiltify(s.tiltifySupporting)))
	mux.HandleFunc("GET /events", get("goals", s.goalEvents))
	mux.HandleFunc("GET /events/{event}/donation_goals/overview", get("goals", s.goalOverview))
	mux.HandleFunc("GET /participations/{participation}/donation_goals", get("goals", s.participationGoals))
}

type charityAnswer struct {
	status int // 0 is 200
	age    int // seconds that it may be kept
	body   any
}

func charityFailure(status int, message string) charityAnswer {
	return charityAnswer{status: status, body: struct {
		Message string `json:"message"`
	}{message}}
}

// charityFault lets a request fail as the faults say, and reports whether it did.
func (s *Sim) charityFault(ctx context.Context, w http.ResponseWriter, r *http.Request, endpoint string) bool {
	s.mu.Lock()
	f, p, which := s.faults, s.chance.Float64(), s.chance.IntN(4)
	s.mu.Unlock()
	for _, fault := range []struct {
		p    float64
		fail func()
	}{
		{f.Charity429, func() {
			w.Header().Set("Retry-After", "1")
			s.answer(w, endpoint, http.StatusTooManyRequests, charityFailure(0, "Too Many Attempts.").body)
		}},
		{f.Charity5xx, func() {
			status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}[which]
			s.metrics.helix.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
			http.Error(w, "<html><body><h1>"+http.StatusText(status)+"</h1></body></html>", status)
		}},
		{f.CharityOdd, func() {
			s.metrics.helix.WithLabelValues(endpoint, "odd").Inc()
			w.Header().Set("Content-Type", "application/json")
			odd := []string{"", "<html></html>", `[{"id":12,`, `{"maintenance":true}`}[which]
			if _, err := io.WriteString(w, odd); err != nil {
				s.log.Debug("writing an odd answer", "err", err)
			}
		}},
		{f.CharityHang, func() {
			s.metrics.helix.WithLabelValues(endpoint, "hang").Inc()
			timer := time.NewTimer(hangFor)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			case <-ctx.Done():
			}
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}},
	} {
		if p < fault.p {
			fault.fail()
			return true
		}
		p -= fault.p
	}
	return false
}

// donationRow is a donation with its channel as it is called now.
type donationRow struct {
	donation
	of Channel // of the zero value: the event as a whole
}

// rows copies donations: those of a channel, or of all (nobody). Order is that of listing, newest
// first if so asked; from and to cut that order.
func (s *Sim) rows(channel int, newest bool, from, to int) (rows []donationRow, all int) {
	c := s.charity
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now()
	all = len(c.list)
	at := func(i int) *donation { return &c.list[i] }
	if channel != nobody {
		mine := c.byWhom[channel]
		all = len(mine)
		at = func(i int) *donation { return &c.list[mine[i]] }
	}
	from, to = max(0, min(from, all)), max(0, min(to, all))
	if from >= to {
		return nil, all
	}
	rows = make([]donationRow, 0, to-from)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < to; i++ {
		n := i
		if newest {
			n = all - 1 - i
		}
		row := donationRow{donation: *at(n)}
		if row.channel != nobody {
			row.of = s.model.channels[row.channel].Channel
		}
		rows = append(rows, row)
	}
	return rows, all
}

// standing is what a source shows of one channel.
type standing struct {
	Channel
	index   int
	live    bool
	viewers int
	game    string
	cents   int64
}

// standings are what the sources show of all channels, and of the event.
func (s *Sim) standings() (list []standing, event int64, reach []int) {
	c := s.charity
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	channels, event := c.totals(now)
	reach = slices.Clone(c.reach)
	s.mu.Lock()
	defer s.mu.Unlock()
	list = make([]standing, len(s.model.channels))
	for i, ch := range s.model.channels {
		list[i] = standing{
			Channel: ch.Channel, index: i, live: ch.live, game: categories[ch.category].name, cents: channels[i],
		}
		if ch.live {
			list[i].viewers = s.viewersOf(ch, now)
		}
	}
	return list, event, reach
}

type zeventNumber struct {
	Number    json.Number `json:"number"`
	Formatted string      `json:"formatted"`
}

func euros(cents int64, currency string) zeventNumber {
	sign := " €"
	if currency == "USD" {
		sign = " $"
	}
	return zeventNumber{json.Number(decimal(cents)), spaced3(cents/100) + sign}
}

func count(n int) zeventNumber {
	return zeventNumber{json.Number(strconv.Itoa(n)), spaced3(int64(n))}
}

// spaced3 writes 1234567 as 1 234 567, with the spaces that French has.
func spaced3(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

type zeventLive struct {
	TwitchID     string       `json:"twitch_id"`
	Display      string       `json:"display"`
	Twitch       string       `json:"twitch"`
	ProfileURL   string       `json:"profileUrl"`
	Online       bool         `json:"online"`
	Game         string       `json:"game"`
	Viewers      zeventNumber `json:"viewersAmount"`
	StreamlabsID string       `json:"streamlabsId"`
	DonationURL  string       `json:"donationUrl"`
	Donations    zeventNumber `json:"donationAmount"`
}

// zevent is ZEvent's own API: running totals in the currency's unit, as floats.
func (s *Sim) zevent(r *http.Request) charityAnswer {
	list, event, _ := s.standings()
	var out struct {
		Donations zeventNumber `json:"donationAmount"`
		Viewers   zeventNumber `json:"viewersCount"`
		Mode      string       `json:"websiteMode"`
		Live      []zeventLive `json:"live"`
	}
	currency := s.cfg.Charity.Currency
	viewers := 0
	out.Live = make([]zeventLive, len(list))
	for i, ch := range list {
		viewers += ch.viewers
		out.Live[i] = zeventLive{
			TwitchID: ch.ID, Display: ch.Name, Twitch: ch.Login, ProfileURL: "http://" + r.Host + "/sim/picture/" + ch.ID + ".png",
			Online: ch.live, Game: ch.game, Viewers: count(ch.viewers), StreamlabsID: memberID(i),
			DonationURL: "https://streamlabscharity.invalid/" + ch.Login, Donations: euros(ch.cents, currency),
		}
	}
	out.Donations, out.Viewers, out.Mode = euros(event, currency), count(viewers), "online"
	return charityAnswer{age: 15, body: out}
}

// memberID is Streamlabs' id of a streamer.
func memberID(i int) string { return strconv.FormatUint(membersBase+uint64(i)*7919, 10) }

// anyID is an id that is a number in one row and text in the next, as Streamlabs' are.
func anyID(id string, n uint64) json.RawMessage {
	if n%3 == 0 {
		return json.RawMessage(id)
	}
	return json.RawMessage(strconv.Quote(id))
}

type teamUser struct {
	DisplayName string `json:"display_name"`
	Slug        string `json:"slug"`
}

type teamMember struct {
	ID   json.RawMessage `json:"id"`
	User teamUser        `json:"user"`
}

type teamComment struct {
	Text string `json:"text"`
}

type teamDonation struct {
	ID          json.RawMessage `json:"id"`
	DisplayName string          `json:"display_name"`
	Amount      int64           `json:"converted_amount"`
	Currency    string          `json:"converted_currency"`
	CreatedAt   string          `json:"created_at"`
	Comment     *teamComment    `json:"comment"`
	Country     *string         `json:"country"`
}

type teamRow struct {
	ID       json.RawMessage `json:"id"`
	Donation teamDonation    `json:"donation"`
	Member   *teamMember     `json:"member,omitempty"`
}

// teamDonations is the list of a team's donations.
func (s *Sim) teamDonations(r *http.Request) charityAnswer {
	if r.PathValue("team") != s.cfg.Charity.Team {
		return charityFailure(http.StatusNotFound, "No query results for model [Team].")
	}
	q := r.URL.Query()
	order := q.Get("order")
	if order != "" && order != "asc" && order != "desc" {
		return charityFailure(http.StatusUnprocessableEntity, "The selected order is invalid.")
	}
	page := 1
	if v := q.Get("page"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 1_000_000 {
			return charityFailure(http.StatusUnprocessableEntity, "The page must be an integer.")
		}
		page = max(n, 1)
	}
	from := (page - 1) * pageStep
	rows, _ := s.rows(nobody, order == "desc", from, from+rowsPerPage)
	out := make([]teamRow, len(rows))
	for i := range rows {
		d := &rows[i]
		id := strconv.FormatUint(d.id, 10)
		out[i] = teamRow{
			ID: anyID(strconv.FormatUint(d.id+1, 10), d.id),
			Donation: teamDonation{
				ID: anyID(id, mix(d.id)), DisplayName: donorOr(d.donor, "Anonymous"), Amount: d.cents, Currency: s.cfg.Charity.Currency,
				CreatedAt: time.Unix(d.created, 0).UTC().Format("2006-01-02T15:04:05+00:00"),
			},
		}
		if text := commentOf(&d.donation); text != "" {
			out[i].Donation.Comment = &teamComment{text}
		}
		if int(d.country) < len(countries) {
			out[i].Donation.Country = &countries[d.country]
		}
		if d.channel != nobody {
			out[i].Member = &teamMember{anyID(memberID(int(d.channel)), d.id/7), teamUser{d.of.Name, d.of.Login}}
		}
	}
	return charityAnswer{body: out}
}

func donorOr(n uint32, anonymous string) string {
	if name := donorName(n); name != "" {
		return name
	}
	return anonymous
}

// team tells the team's total, in cents.
func (s *Sim) team(r *http.Request) charityAnswer {
	if r.PathValue("team") != s.cfg.Charity.Team {
		return charityFailure(http.StatusNotFound, "No query results for model [Team].")
	}
	_, event, _ := s.standings()
	return charityAnswer{body: struct {
		ID           string `json:"id"`
		DisplayName  string `json:"display_name"`
		Slug         string `json:"slug"`
		AmountRaised int64  `json:"amount_raised"`
		Currency     string `json:"currency"`
	}{s.cfg.Charity.Team, "Simulated team", s.cfg.Charity.Team, event, s.cfg.Charity.Currency}}
}

// teamMembers lists the team's streamers.
func (s *Sim) teamMembers(r *http.Request) charityAnswer {
	if r.PathValue("team") != s.cfg.Charity.Team {
		return charityFailure(http.StatusNotFound, "No query results for model [Team].")
	}
	list, _, _ := s.standings()
	out := make([]teamMember, len(list))
	for i, ch := range list {
		out[i] = teamMember{anyID(memberID(i), uint64(i)), teamUser{ch.Name, ch.Login}}
	}
	return charityAnswer{body: out}
}

// broadcasterClient is the client id that broadcasters' tokens are of.
const broadcasterClient = "simulated"

// broadcasterOf finds whose broadcaster's token a request brings.
func (s *Sim) broadcasterOf(r *http.Request) (Channel, bool) {
	_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	id := value[strings.LastIndexByte(value, 'x')+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.byID[id]
	if ch == nil || value != broadcasterToken(id) {
		return Channel{}, false
	}
	return ch.Channel, true
}

// BroadcasterToken is a user token of a channel's broadcaster, with the scope that Twitch's charity
// endpoints ask for. It goes with any client id.
func (s *Sim) BroadcasterToken(login string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, err := s.find(login)
	if err != nil {
		return "", err
	}
	return broadcasterToken(ch.ID), nil
}

func broadcasterToken(id string) string {
	const prefix = "broadcaster"
	return prefix + strconv.FormatUint(mix(parseID(id)), 36) + "x" + id
}

func parseID(id string) uint64 {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// broadcasterGet is what Twitch's charity endpoints have in common: a broadcaster's own token.
func (s *Sim) broadcasterGet(ctx context.Context, endpoint string, get func(ch *channel, q url.Values) helixAnswer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
		id := r.URL.Query().Get("broadcaster_id")
		_, _, app := s.tokenOf(r)
		switch {
		case !ok || value == "" || !strings.EqualFold(scheme, "bearer"):
			s.fail(w, endpoint, http.StatusUnauthorized, "OAuth token is missing")
			return
		case r.Header.Get("Client-Id") == "":
			s.fail(w, endpoint, http.StatusUnauthorized, "Client ID is missing")
			return
		case id == "":
			s.fail(w, endpoint, http.StatusBadRequest, `Missing required parameter "broadcaster_id"`)
			return
		case app:
			s.fail(w, endpoint, http.StatusUnauthorized, "Missing scope: "+charityScope)
			return
		case value != broadcasterToken(id):
			s.fail(w, endpoint, http.StatusUnauthorized, "Invalid OAuth token")
			return
		}
		if s.charityFault(ctx, w, r, endpoint) {
			return
		}
		s.mu.Lock()
		ch := s.byID[id]
		s.mu.Unlock()
		if ch == nil {
			s.fail(w, endpoint, http.StatusUnauthorized, "Invalid OAuth token")
			return
		}
		a := get(ch, r.URL.Query())
		if a.status != http.StatusOK {
			s.fail(w, endpoint, a.status, a.message)
			return
		}
		s.answer(w, endpoint, a.status, a.body)
	}
}

type helixAmount struct {
	Value    int64  `json:"value"`
	Places   int    `json:"decimal_places"`
	Currency string `json:"currency"`
}

func (s *Sim) campaigns(ch *channel, _ url.Values) helixAnswer {
	list, _, _ := s.standings()
	st := list[ch.index]
	type campaign struct {
		ID          string      `json:"id"`
		Broadcaster string      `json:"broadcaster_id"`
		Name        string      `json:"broadcaster_name"`
		Login       string      `json:"broadcaster_login"`
		Charity     string      `json:"charity_name"`
		Description string      `json:"charity_description"`
		Logo        string      `json:"charity_logo"`
		Website     string      `json:"charity_website"`
		Current     helixAmount `json:"current_amount"`
		Target      helixAmount `json:"target_amount"`
	}
	currency := s.cfg.Charity.Currency
	return helixAnswer{status: http.StatusOK, body: struct {
		Data []campaign `json:"data"`
	}{[]campaign{{
		ID: "campaign-" + st.ID, Broadcaster: st.ID, Name: st.Name, Login: st.Login, Charity: "Simulated charity",
		Description: "Gives nothing to nobody.", Logo: "https://abc.invalid/logo.png", Website: "https://abc.invalid",
		Current: helixAmount{st.cents, 2, currency}, Target: helixAmount{1_000_000, 2, currency},
	}}}}
}

// campaignDonations lists a campaign's donations, newest first. The cursor counts from the oldest, so
// that new donations shift no page.
func (s *Sim) campaignDonations(ch *channel, q url.Values) helixAnswer {
	first := 20
	if v := q.Get("first"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > s.cfg.Limits.PageSize {
			return badRequest("The parameter \"first\" was malformed: the value must be between 1 and %d", s.cfg.Limits.PageSize)
		}
		first = n
	}
	rows, cursor, err := s.cursorPage(ch.index, q.Get("after"), first)
	if err != nil {
		return badRequest("The cursor specified in the after query parameter is not valid")
	}
	type donated struct {
		ID       string      `json:"id"`
		Campaign string      `json:"campaign_id"`
		UserID   string      `json:"user_id"`
		Login    string      `json:"user_login"`
		Name     string      `json:"user_name"`
		Amount   helixAmount `json:"amount"`
	}
	data := make([]donated, len(rows))
	for i := range rows {
		d := &rows[i]
		name := donorOr(d.donor, "AnAnonymousDonor")
		data[i] = donated{
			ID: strconv.FormatUint(d.id, 10), Campaign: "campaign-" + ch.ID, UserID: strconv.Itoa(700_000_000 + int(d.donor)),
			Login: strings.ToLower(name), Name: name, Amount: helixAmount{d.cents, 2, s.cfg.Charity.Currency},
		}
	}
	return helixAnswer{status: http.StatusOK, body: struct {
		Data       []donated  `json:"data"`
		Pagination pagination `json:"pagination"`
	}{data, pagination{cursor}}}
}

// cursorPage gives donations newest first, those before the cursor's, and the cursor of the next page;
// it is empty after the last.
func (s *Sim) cursorPage(channel int, after string, limit int) (rows []donationRow, cursor string, err error) {
	_, all := s.rows(channel, false, 0, 0)
	if after != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(after, "c"))
		if err != nil || n < 0 {
			return nil, "", strconv.ErrSyntax
		}
		all = min(n, all)
	}
	from := max(all-limit, 0)
	rows, _ = s.rows(channel, false, from, all)
	slices.Reverse(rows)
	if from > 0 {
		cursor = "c" + strconv.Itoa(from)
	}
	return rows, cursor, nil
}

// tiltifyToken deals Tiltify's tokens: client credentials, as a form or as JSON.
func (s *Sim) tiltifyToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, controlBody)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var ask map[string]string
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			s.failAuth(w, "tiltify-token", http.StatusBadRequest, "invalid JSON")
			return
		}
		r.Form = url.Values{}
		for k, v := range ask {
			r.Form.Set(k, v)
		}
	} else if err := r.ParseForm(); err != nil {
		s.failAuth(w, "tiltify-token", http.StatusBadRequest, "invalid form")
		return
	}
	id, secret := r.Form.Get("client_id"), r.Form.Get("client_secret")
	known, ok := s.cfg.Clients[id]
	if r.Form.Get("grant_type") != "client_credentials" || id == "" || secret == "" || s.cfg.Clients != nil && (!ok || known != secret) {
		s.answer(w, "tiltify-token", http.StatusUnauthorized, map[string]string{
			"error": "invalid_client", "error_description": "Client authentication failed",
		})
		return
	}
	t := s.newToken(id)
	s.answer(w, "tiltify-token", http.StatusOK, struct {
		AccessToken string  `json:"access_token"`
		CreatedAt   string  `json:"created_at"`
		ExpiresIn   int     `json:"expires_in"`
		Refresh     *string `json:"refresh_token"`
		Scope       string  `json:"scope"`
		TokenType   string  `json:"token_type"`
	}{t, time.Now().UTC().Format(time.RFC3339), int(min(s.cfg.Limits.TokenLife, 2*time.Hour) / time.Second), nil, "public", "bearer"})
}

// tiltify wants a token, and finds the campaign: a channel by its Twitch id, or the team's.
func (s *Sim) tiltify(get func(r *http.Request, campaign string, channel int) charityAnswer) func(*http.Request) charityAnswer {
	return func(r *http.Request) charityAnswer {
		if _, _, valid := s.tokenOf(r); !valid {
			return charityAnswer{status: http.StatusUnauthorized, body: struct {
				Error any `json:"error"`
			}{struct {
				Status  int    `json:"status"`
				Message string `json:"message"`
			}{http.StatusUnauthorized, "Unauthorized"}}}
		}
		id := r.PathValue("campaign")
		if team := strings.Contains(r.URL.Path, "/team_campaigns/"); team {
			if id != s.cfg.Charity.Team {
				return charityFailure(http.StatusNotFound, "Not Found")
			}
			return get(r, id, nobody)
		}
		s.mu.Lock()
		ch := s.byID[id]
		s.mu.Unlock()
		if ch == nil {
			return charityFailure(http.StatusNotFound, "Not Found")
		}
		return get(r, id, ch.index)
	}
}

type tiltifyMoney struct {
	Currency string `json:"currency"`
	Value    string `json:"value"`
}

func (s *Sim) money(cents int64) tiltifyMoney {
	text := decimal(cents)
	switch whole, rest, _ := strings.Cut(text, "."); len(rest) {
	case 0:
		text = whole + ".00"
	case 1:
		text += "0"
	}
	return tiltifyMoney{s.cfg.Charity.Currency, text}
}

type tiltifyUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Slug     string `json:"slug"`
}

type tiltifyFundraiser struct {
	ID       string       `json:"id"`
	LegacyID int          `json:"legacy_id"`
	Name     string       `json:"name"`
	Slug     string       `json:"slug"`
	Status   string       `json:"status"`
	Currency string       `json:"currency_code"`
	Raised   tiltifyMoney `json:"amount_raised"`
	Total    tiltifyMoney `json:"total_amount_raised"`
	Goal     tiltifyMoney `json:"goal"`
	User     tiltifyUser  `json:"user"`
}

func (s *Sim) fundraiser(id, name, slug string, own, total int64) tiltifyFundraiser {
	return tiltifyFundraiser{
		id, 1, name, slug, "published", s.cfg.Charity.Currency, s.money(own), s.money(total), s.money(1_000_000), tiltifyUser{id, name, slug},
	}
}

type tiltifyMetadata struct {
	After  *string `json:"after"`
	Before *string `json:"before"`
	Limit  int     `json:"limit"`
}

type tiltifyPage struct {
	Data     any             `json:"data"`
	Metadata tiltifyMetadata `json:"metadata"`
}

func tiltifyAnswer(data any, limit int, cursor string) charityAnswer {
	out := tiltifyPage{data, tiltifyMetadata{Limit: limit}}
	if cursor != "" {
		out.Metadata.After = &cursor
	}
	return charityAnswer{body: out}
}

// tiltifyLimit is how many rows a page is to have.
func tiltifyLimit(q url.Values) (int, bool) {
	v := q.Get("limit")
	if v == "" {
		return tiltifyLeast, true
	}
	n, err := strconv.Atoi(v)
	return n, err == nil && n >= 1 && n <= tiltifyMost
}

// tiltifyCampaign tells what a campaign raised; a team's total has what those raised who support it.
func (s *Sim) tiltifyCampaign(_ *http.Request, id string, channel int) charityAnswer {
	list, event, _ := s.standings()
	var out struct {
		Data tiltifyFundraiser `json:"data"`
	}
	if channel == nobody {
		own := event
		for _, ch := range list {
			own -= ch.cents
		}
		out.Data = s.fundraiser(id, "Simulated team", id, own, event)
	} else {
		ch := list[channel]
		out.Data = s.fundraiser(id, ch.Name, ch.Login, ch.cents, ch.cents)
	}
	return charityAnswer{body: out}
}

// tiltifySupporting lists the campaigns that support the team's: one of each channel.
func (s *Sim) tiltifySupporting(r *http.Request, _ string, _ int) charityAnswer {
	q := r.URL.Query()
	limit, ok := tiltifyLimit(q)
	if !ok {
		return charityFailure(http.StatusUnprocessableEntity, "limit: use 1 to 100")
	}
	list, _, _ := s.standings()
	from := 0
	if after := q.Get("after"); after != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(after, "c"))
		if err != nil || n < 0 || n > len(list) {
			return charityFailure(http.StatusUnprocessableEntity, "after: no cursor")
		}
		from = n
	}
	to := min(from+limit, len(list))
	data := make([]tiltifyFundraiser, 0, to-from)
	for _, ch := range list[from:to] {
		data = append(data, s.fundraiser(ch.ID, ch.Name, ch.Login, ch.cents, ch.cents))
	}
	cursor := ""
	if to < len(list) {
		cursor = "c" + strconv.Itoa(to)
	}
	return tiltifyAnswer(data, limit, cursor)
}

func (s *Sim) tiltifyDonations(r *http.Request, id string, channel int) charityAnswer {
	q := r.URL.Query()
	limit, ok := tiltifyLimit(q)
	if !ok {
		return charityFailure(http.StatusUnprocessableEntity, "limit: use 1 to 100")
	}
	rows, cursor, err := s.cursorPage(channel, q.Get("after"), limit)
	if err != nil {
		return charityFailure(http.StatusUnprocessableEntity, "after: no cursor")
	}
	type donated struct {
		ID          string       `json:"id"`
		LegacyID    int          `json:"legacy_id"`
		Campaign    string       `json:"campaign_id"`
		Amount      tiltifyMoney `json:"amount"`
		DonorName   string       `json:"donor_name"`
		Comment     *string      `json:"donor_comment"`
		CompletedAt string       `json:"completed_at"`
		CreatedAt   string       `json:"created_at"`
	}
	data := make([]donated, len(rows))
	for i := range rows {
		d := &rows[i]
		at := time.Unix(d.created, 0).UTC().Format("2006-01-02T15:04:05.000000Z")
		data[i] = donated{
			ID: strconv.FormatUint(d.id, 10), LegacyID: int(d.id % 1_000_000), Campaign: cmp.Or(d.of.ID, id), Amount: s.money(d.cents),
			DonorName: donorOr(d.donor, "Anonymous"), CompletedAt: at, CreatedAt: at,
		}
		if text := commentOf(&d.donation); text != "" {
			data[i].Comment = &text
		}
	}
	return tiltifyAnswer(data, limit, cursor)
}

// goalEvent is the id of the one event that the goals' API has.
const goalEvent = "1"

func (s *Sim) goalEvents(*http.Request) charityAnswer {
	return charityAnswer{body: []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}{{goalEvent, "Simulated event"}}}
}

type donationGoal struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Amount       int64    `json:"amount"`
	Category     string   `json:"category"`
	Reached      bool     `json:"reached"`
	Accomplished bool     `json:"accomplished"`
	Links        []string `json:"links"`
}

func (s *Sim) goalsOf(i int, reach []int) []donationGoal {
	goals := s.charity.goals[i] // never changed
	out := make([]donationGoal, len(goals))
	for k, g := range goals {
		out[k] = donationGoal{
			ID: g.id, Name: g.name, Amount: g.cents, Category: g.category, Reached: k < reach[i], Accomplished: k < reach[i]-1, Links: []string{},
		}
	}
	return out
}

type participant struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	TwitchID    string `json:"twitch_id"`
	TwitchLogin string `json:"twitch_login"`
}

func (s *Sim) goalOverview(r *http.Request) charityAnswer {
	if r.PathValue("event") != goalEvent {
		return charityFailure(http.StatusNotFound, "event not found")
	}
	list, _, reach := s.standings()
	type participation struct {
		ID    string         `json:"id"`
		Who   participant    `json:"streamer"`
		Goals []donationGoal `json:"donation_goals"`
	}
	out := make([]participation, len(list))
	for i, ch := range list {
		out[i] = participation{ch.ID, participant{ch.ID, ch.Name, ch.ID, ch.Login}, s.goalsOf(i, reach)}
	}
	return charityAnswer{body: out}
}

func (s *Sim) participationGoals(r *http.Request) charityAnswer {
	s.mu.Lock()
	ch := s.byID[r.PathValue("participation")]
	s.mu.Unlock()
	if ch == nil {
		return charityFailure(http.StatusNotFound, "participation not found")
	}
	_, _, reach := s.standings()
	return charityAnswer{body: s.goalsOf(ch.index, reach)}
}
