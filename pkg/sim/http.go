package sim

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
)

const (
	maxIDs      = 100 // ids and logins of one request
	hangFor     = 30 * time.Second
	keptSweeps  = 16 // minutes
	controlBody = 64 << 10
)

func tlsListener(l net.Listener, c *tls.Config) net.Listener { return tls.NewListener(l, c) }

// helixState is what the HTTP side remembers.
type helixState struct {
	mu      sync.Mutex
	tokens  map[string]token
	buckets map[string]*bucket
	sweeps  map[int64]int // answers to Get Streams by minute of event time
	viewers []int         // of each minute of a replay
}

type token struct {
	client  string
	expires time.Time
}

// bucket holds the points of one client id. It fills continuously.
type bucket struct {
	points float64
	at     time.Time
}

func (h *helixState) init(cfg *Config) {
	h.tokens, h.buckets, h.sweeps = map[string]token{}, map[string]*bucket{}, map[int64]int{}
	r := cfg.Replay
	if r == nil {
		return
	}
	// A minute without a recorded value has the last one; minutes before the first, the first.
	h.viewers = make([]int, int(r.For/time.Minute))
	rows, last := r.Rows, 0
	if i := slices.IndexFunc(rows, func(m Minute) bool { return m.Viewers != NotRecorded }); i >= 0 {
		last = rows[i].Viewers
	}
	for i := range h.viewers {
		if len(rows) > 0 && rows[0].Time.Equal(r.From.Add(time.Duration(i)*time.Minute)) {
			if rows[0].Viewers != NotRecorded {
				last = rows[0].Viewers
			}
			rows = rows[1:]
		}
		h.viewers[i] = last
	}
}

// viewersOf is what Helix tells of a live channel at a moment. Sim.mu is held.
func (s *Sim) viewersOf(ch *channel, now time.Time) int {
	if r := s.cfg.Replay; r != nil {
		i := int(now.Sub(r.From) / time.Minute)
		return s.helix.viewers[max(0, min(i, len(s.helix.viewers)-1))]
	}
	return ch.viewers()
}

func (s *Sim) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", s.oauthToken)
	mux.HandleFunc("GET /oauth2/validate", s.oauthValidate)
	mux.HandleFunc("GET /helix/streams", s.helixGet(ctx, "streams", s.streams))
	mux.HandleFunc("GET /helix/users", s.helixGet(ctx, "users", s.users))
	mux.HandleFunc("GET /helix/channels", s.helixGet(ctx, "channels", s.channelInformation))
	mux.HandleFunc("/helix/", func(w http.ResponseWriter, _ *http.Request) { s.fail(w, "other", http.StatusNotFound, "") })
	mux.HandleFunc("GET /sim/clock", s.simClock)
	mux.HandleFunc("GET /sim/status", s.simStatus)
	mux.HandleFunc("GET /sim/channels", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, "sim", http.StatusOK, s.Channels()) })
	mux.HandleFunc("GET /sim/picture/{name}", picture)
	mux.HandleFunc("POST /sim/begin", func(w http.ResponseWriter, r *http.Request) { s.Begin(); s.simStatus(w, r) })
	mux.HandleFunc("POST /sim/end", func(w http.ResponseWriter, r *http.Request) {
		if err := s.End(r.Context()); err != nil {
			s.fail(w, "sim", http.StatusInternalServerError, err.Error())
			return
		}
		s.simStatus(w, r)
	})
	mux.HandleFunc("POST /sim/fault", s.simFault)
	s.charityHandlers(ctx, mux)
	return mux
}

func (s *Sim) answer(w http.ResponseWriter, endpoint string, status int, v any) {
	s.metrics.helix.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("encoding an answer", "endpoint", endpoint, "err", err)
		http.Error(w, "the answer can't be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write(append(b, '\n')); err != nil {
		s.log.Debug("writing an answer", "endpoint", endpoint, "err", err)
	}
}

// fail answers with Helix's form of an error.
func (s *Sim) fail(w http.ResponseWriter, endpoint string, status int, message string) {
	s.answer(w, endpoint, status, struct {
		Error   string `json:"error"`
		Status  int    `json:"status"`
		Message string `json:"message"`
	}{http.StatusText(status), status, message})
}

// failAuth answers with the OAuth host's form of an error.
func (s *Sim) failAuth(w http.ResponseWriter, endpoint string, status int, message string) {
	s.answer(w, endpoint, status, struct {
		Status  int    `json:"status"`
		Message string `json:"message"`
	}{status, message})
}

// oauthToken deals app tokens: the client credentials flow.
func (s *Sim) oauthToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, controlBody)
	if err := r.ParseForm(); err != nil {
		s.failAuth(w, "token", http.StatusBadRequest, "invalid form")
		return
	}
	id, secret := r.Form.Get("client_id"), r.Form.Get("client_secret")
	known, ok := s.cfg.Clients[id]
	switch {
	case id == "":
		s.failAuth(w, "token", http.StatusBadRequest, "missing client id")
	case s.cfg.Clients != nil && !ok:
		s.failAuth(w, "token", http.StatusBadRequest, "invalid client")
	case secret == "":
		s.failAuth(w, "token", http.StatusBadRequest, "missing client secret")
	case s.cfg.Clients != nil && known != secret:
		s.failAuth(w, "token", http.StatusForbidden, "invalid client secret")
	case r.Form.Get("grant_type") != "client_credentials":
		s.failAuth(w, "token", http.StatusBadRequest, "invalid grant type")
	default:
		t := s.newToken(id)
		s.answer(w, "token", http.StatusOK, struct {
			AccessToken string `json:"access_token"`
			ExpiresIn   int    `json:"expires_in"`
			TokenType   string `json:"token_type"`
		}{t, int(s.cfg.Limits.TokenLife / time.Second), "bearer"})
	}
}

// newToken deals a token to a client.
func (s *Sim) newToken(client string) string {
	var raw [15]byte
	rand.Read(raw[:])
	t := hex.EncodeToString(raw[:])
	now := time.Now()
	s.helix.mu.Lock()
	defer s.helix.mu.Unlock()
	for old, v := range s.helix.tokens {
		if now.After(v.expires) {
			delete(s.helix.tokens, old)
		}
	}
	s.helix.tokens[t] = token{client, now.Add(s.cfg.Limits.TokenLife)}
	return t
}

// ExpireTokens makes every app token that was dealt invalid, as a revocation does.
func (s *Sim) ExpireTokens() {
	s.helix.mu.Lock()
	defer s.helix.mu.Unlock()
	clear(s.helix.tokens)
}

// tokenOf finds the token of a request: "Bearer …" or "OAuth …".
func (s *Sim) tokenOf(r *http.Request) (t token, given, valid bool) {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || value == "" || !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "oauth") {
		return token{}, false, false
	}
	s.helix.mu.Lock()
	defer s.helix.mu.Unlock()
	t, ok = s.helix.tokens[value]
	return t, true, ok && time.Now().Before(t.expires)
}

func (s *Sim) oauthValidate(w http.ResponseWriter, r *http.Request) {
	t, given, valid := s.tokenOf(r)
	broadcaster, own := s.broadcasterOf(r)
	switch {
	case !given:
		s.failAuth(w, "validate", http.StatusUnauthorized, "missing authorization token")
	case own:
		s.answer(w, "validate", http.StatusOK, struct {
			ClientID  string   `json:"client_id"`
			Login     string   `json:"login"`
			Scopes    []string `json:"scopes"`
			UserID    string   `json:"user_id"`
			ExpiresIn int      `json:"expires_in"`
		}{broadcasterClient, broadcaster.Login, []string{charityScope}, broadcaster.ID, int(s.cfg.Limits.TokenLife / time.Second)})
	case !valid:
		s.failAuth(w, "validate", http.StatusUnauthorized, "invalid access token")
	default:
		s.answer(w, "validate", http.StatusOK, struct {
			ClientID  string   `json:"client_id"`
			Scopes    []string `json:"scopes"`
			ExpiresIn int      `json:"expires_in"`
		}{t.client, []string{}, int(time.Until(t.expires) / time.Second)})
	}
}

// take takes a point of the client id and says how many are left and when the bucket is full.
func (s *Sim) take(client string) (left int, reset time.Time, ok bool) {
	limit := float64(s.cfg.Limits.HelixPoints)
	now := time.Now()
	s.helix.mu.Lock()
	defer s.helix.mu.Unlock()
	b := s.helix.buckets[client]
	if b == nil {
		b = &bucket{points: limit, at: now}
		s.helix.buckets[client] = b
	}
	b.points = min(limit, b.points+now.Sub(b.at).Minutes()*limit)
	b.at = now
	if ok = b.points >= 1; ok {
		b.points--
	}
	full := time.Duration((limit - b.points) / limit * float64(time.Minute))
	return int(b.points), now.Add(full), ok
}

type helixAnswer struct {
	status  int
	message string // of an error
	body    any
}

func badRequest(format string, args ...any) helixAnswer {
	return helixAnswer{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// helixGet is what all Helix endpoints have in common: the token, the points and the faults.
func (s *Sim) helixGet(ctx context.Context, endpoint string, get func(url.Values, *http.Request) helixAnswer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		t, given, valid := s.tokenOf(r)
		client := r.Header.Get("Client-Id")
		switch {
		case !given:
			s.fail(w, endpoint, http.StatusUnauthorized, "OAuth token is missing")
			return
		case client == "":
			s.fail(w, endpoint, http.StatusUnauthorized, "Client ID is missing")
			return
		case !valid:
			s.fail(w, endpoint, http.StatusUnauthorized, "Invalid OAuth token")
			return
		case client != t.client:
			s.fail(w, endpoint, http.StatusUnauthorized, "Client ID and OAuth token do not match")
			return
		}
		left, reset, ok := s.take(client)
		h := w.Header()
		limit := strconv.Itoa(s.cfg.Limits.HelixPoints)
		tell := func(left int) {
			h.Set("Ratelimit-Limit", limit)
			h.Set("Ratelimit-Remaining", strconv.Itoa(left))
			h.Set("Ratelimit-Reset", strconv.FormatInt(int64(math.Ceil(float64(reset.UnixMilli())/1000)), 10))
		}
		tell(left)
		if !ok {
			s.fail(w, endpoint, http.StatusTooManyRequests, "")
			return
		}
		s.mu.Lock()
		f, p, which := s.faults, s.chance.Float64(), s.chance.IntN(3)
		s.mu.Unlock()
		switch {
		case p < f.Helix429:
			tell(0)
			s.fail(w, endpoint, http.StatusTooManyRequests, "")
			return
		case p < f.Helix429+f.Helix5xx:
			status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[which]
			if which == 1 { // a proxy answers
				s.metrics.helix.WithLabelValues(endpoint, "502").Inc()
				http.Error(w, "<html><body><h1>502 Bad Gateway</h1></body></html>", status)
				return
			}
			s.fail(w, endpoint, status, "")
			return
		case p < f.Helix429+f.Helix5xx+f.HelixOdd:
			s.metrics.helix.WithLabelValues(endpoint, "odd").Inc()
			h.Set("Content-Type", "application/json; charset=utf-8")
			if _, err := io.WriteString(w, []string{"", "<html></html>", `{"data":[{"id":12,`}[which]); err != nil {
				s.log.Debug("writing an odd answer", "err", err)
			}
			return
		case p < f.Helix429+f.Helix5xx+f.HelixOdd+f.HelixHang:
			s.metrics.helix.WithLabelValues(endpoint, "hang").Inc()
			timer := time.NewTimer(hangFor)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			case <-ctx.Done():
			}
			panic(http.ErrAbortHandler) // the connection ends without an answer
		case endpoint == "streams" && p < f.Helix429+f.Helix5xx+f.HelixOdd+f.HelixHang+f.HelixEmpty:
			s.answer(w, endpoint, http.StatusOK, streamsPage{Data: []stream{}})
			return
		}
		a := get(r.URL.Query(), r)
		if a.status != http.StatusOK {
			s.fail(w, endpoint, a.status, a.message)
			return
		}
		s.answer(w, endpoint, a.status, a.body)
	}
}

type stream struct {
	ID          string   `json:"id"`
	UserID      string   `json:"user_id"`
	UserLogin   string   `json:"user_login"`
	UserName    string   `json:"user_name"`
	GameID      string   `json:"game_id"`
	GameName    string   `json:"game_name"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Tags        []string `json:"tags"`
	ViewerCount int      `json:"viewer_count"`
	StartedAt   string   `json:"started_at"`
	Language    string   `json:"language"`
	Thumbnail   string   `json:"thumbnail_url"`
	TagIDs      []string `json:"tag_ids"`
	IsMature    bool     `json:"is_mature"`
}

type pagination struct {
	Cursor string `json:"cursor,omitempty"`
}

type streamsPage struct {
	Data       []stream   `json:"data"`
	Pagination pagination `json:"pagination"`
}

// streams is Get Streams: live channels only, by viewers, in pages.
func (s *Sim) streams(q url.Values, _ *http.Request) helixAnswer {
	ids, logins := q["user_id"], q["user_login"]
	if len(ids) > maxIDs || len(logins) > maxIDs {
		return badRequest("The number of user_id or user_login parameters must be at most %d", maxIDs)
	}
	first := min(20, s.cfg.Limits.PageSize)
	if v := q.Get("first"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > s.cfg.Limits.PageSize {
			return badRequest("The parameter \"first\" was malformed: the value must be between 1 and %d", s.cfg.Limits.PageSize)
		}
		first = n
	}
	from := 0
	if after := q.Get("after"); after != "" {
		raw, err := base64.RawURLEncoding.DecodeString(after)
		if err == nil {
			from, err = strconv.Atoi(strings.TrimPrefix(string(raw), "from:"))
		}
		if err != nil || from < 0 {
			return badRequest("The cursor specified in the after query parameter is not valid")
		}
	}
	now := s.cfg.Clock.Now()
	s.mu.Lock()
	var found []*channel
	if len(ids)+len(logins) == 0 {
		found = slices.Clone(s.model.channels)
	} else {
		found = s.lookup(ids, logins)
	}
	data := make([]stream, 0, len(found))
	for _, ch := range found {
		if !ch.live {
			continue
		}
		category := categories[ch.category]
		data = append(data, stream{
			ID: ch.stream, UserID: ch.ID, UserLogin: ch.Login, UserName: ch.Name, GameID: category.id, GameName: category.name,
			Type: "live", Title: ch.title, Tags: []string{"charity"}, ViewerCount: s.viewersOf(ch, now),
			StartedAt: ch.started.Format(time.RFC3339), Language: ch.language,
			Thumbnail: "https://static-cdn.invalid/live_user_" + ch.Login + "-{width}x{height}.jpg", TagIDs: []string{},
		})
	}
	s.mu.Unlock()
	s.helix.mu.Lock()
	minute := now.Unix() / 60
	s.helix.sweeps[minute]++
	for m := range s.helix.sweeps {
		if m < minute-keptSweeps {
			delete(s.helix.sweeps, m)
		}
	}
	s.helix.mu.Unlock()
	sort.SliceStable(data, func(i, j int) bool { return data[i].ViewerCount > data[j].ViewerCount })
	page := pagination{}
	data = data[min(from, len(data)):]
	if len(data) > first {
		data = data[:first]
		page.Cursor = base64.RawURLEncoding.EncodeToString([]byte("from:" + strconv.Itoa(from+first)))
	}
	return helixAnswer{status: http.StatusOK, body: streamsPage{data, page}}
}

// lookup finds channels, each once; unknown ones are left out. Sim.mu is held.
func (s *Sim) lookup(ids, logins []string) []*channel {
	var found []*channel
	seen := map[*channel]bool{}
	add := func(ch *channel) {
		if ch != nil && !seen[ch] {
			seen[ch] = true
			found = append(found, ch)
		}
	}
	for _, id := range ids {
		add(s.byID[id])
	}
	for _, login := range logins {
		add(s.byLogin[strings.ToLower(login)])
	}
	return found
}

type user struct {
	ID              string `json:"id"`
	Login           string `json:"login"`
	DisplayName     string `json:"display_name"`
	Type            string `json:"type"`
	BroadcasterType string `json:"broadcaster_type"`
	Description     string `json:"description"`
	ProfileImageURL string `json:"profile_image_url"`
	OfflineImageURL string `json:"offline_image_url"`
	ViewCount       int    `json:"view_count"`
	CreatedAt       string `json:"created_at"`
}

// users is Get Users. Its limit is of ids and logins together.
func (s *Sim) users(q url.Values, r *http.Request) helixAnswer {
	ids, logins := q["id"], q["login"]
	switch n := len(ids) + len(logins); {
	case n == 0:
		return badRequest("Must provide an ID, Login or OAuth Token")
	case n > maxIDs:
		return badRequest("The number of id and login parameters must be at most %d", maxIDs)
	}
	for _, id := range ids {
		if id == "" || strings.Trim(id, "0123456789") != "" {
			return badRequest("Invalid username(s), email(s), or ID(s). Bad Identifiers.")
		}
	}
	for _, login := range logins {
		if !validLogin(strings.ToLower(login)) {
			return badRequest("Invalid username(s), email(s), or ID(s). Bad Identifiers.")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := []user{}
	for _, ch := range s.lookup(ids, logins) {
		data = append(data, user{
			ID: ch.ID, Login: ch.Login, DisplayName: ch.Name, BroadcasterType: "partner",
			ProfileImageURL: "http://" + r.Host + "/sim/picture/" + ch.ID + ".png", CreatedAt: "2016-05-01T10:00:00Z",
		})
	}
	return helixAnswer{status: http.StatusOK, body: struct {
		Data []user `json:"data"`
	}{data}}
}

type information struct {
	ID       string   `json:"broadcaster_id"`
	Login    string   `json:"broadcaster_login"`
	Name     string   `json:"broadcaster_name"`
	Language string   `json:"broadcaster_language"`
	GameID   string   `json:"game_id"`
	GameName string   `json:"game_name"`
	Title    string   `json:"title"`
	Delay    int      `json:"delay"`
	Tags     []string `json:"tags"`
	Labels   []string `json:"content_classification_labels"`
	Branded  bool     `json:"is_branded_content"`
}

// channelInformation is Get Channel Information.
func (s *Sim) channelInformation(q url.Values, _ *http.Request) helixAnswer {
	ids := q["broadcaster_id"]
	switch {
	case len(ids) == 0:
		return badRequest("Missing required parameter \"broadcaster_id\"")
	case len(ids) > maxIDs:
		return badRequest("The number of broadcaster_id parameters must be at most %d", maxIDs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := []information{}
	for _, ch := range s.lookup(ids, nil) {
		category := categories[ch.category]
		data = append(data, information{
			ID: ch.ID, Login: ch.Login, Name: ch.Name, Language: ch.language, GameID: category.id, GameName: category.name,
			Title: ch.title, Tags: []string{"charity"}, Labels: []string{},
		})
	}
	return helixAnswer{status: http.StatusOK, body: struct {
		Data []information `json:"data"`
	}{data}}
}

// picture draws a channel's picture: a pattern of its id, of 300 by 300 pixels as Twitch has them.
func picture(w http.ResponseWriter, r *http.Request) {
	const cells, side = 5, 60
	h := uint64(14695981039346656037)
	for _, c := range []byte(r.PathValue("name")) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = mix(h)
	hue := float64(h % 360)
	img := image.NewPaletted(image.Rect(0, 0, cells*side, cells*side), color.Palette{hsl(hue, 0.45, 0.18), hsl(math.Mod(hue+40, 360), 0.7, 0.62)})
	for i := range img.Pix {
		x, y := i%(cells*side)/side, i/(cells*side)/side
		if x = min(x, cells-1-x); h>>(16+x+3*y)&1 == 1 { // the right half mirrors the left
			img.Pix[i] = 1
		}
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "max-age=86400")
	_ = png.Encode(w, img) // a client that went away needs no picture
}

// hsl is a colour of a hue in degrees, a saturation and a lightness.
func hsl(hue, saturation, lightness float64) color.RGBA {
	channel := func(n float64) uint8 {
		k := math.Mod(n+hue/30, 12)
		return uint8(math.Round(255 * (lightness - saturation*min(lightness, 1-lightness)*max(-1, min(k-3, 9-k, 1)))))
	}
	return color.RGBA{channel(0), channel(8), channel(4), 255}
}

func (s *Sim) simClock(w http.ResponseWriter, _ *http.Request) {
	speed := 1.0
	if c, ok := s.cfg.Clock.(*clock.Scaled); ok {
		speed = c.Speed()
	}
	s.answer(w, "sim", http.StatusOK, struct {
		Now   time.Time `json:"now"`
		Speed float64   `json:"speed"`
	}{s.cfg.Clock.Now().UTC(), speed})
}

// Status is what GET /sim/status tells.
type Status struct {
	Now   time.Time `json:"now"`
	Begun bool      `json:"begun"`
	Done  bool      `json:"done"`
	Sent  int64     `json:"sent"`
	// Unheard is how many messages the ledger has as sent to nobody.
	Unheard int64 `json:"unheard"`
	// Withheld is how many messages, none of which the ledger has, would have been sent if Mute had
	// not silenced them for everyone who had joined.
	Withheld    int64  `json:"withheld"`
	Totals      Counts `json:"totals"`
	Connections int    `json:"connections"`
	// Joined is how many channels somebody is in, Joins how many memberships there are.
	Joined   int `json:"joined"`
	Joins    int `json:"joins"`
	Channels int `json:"channels"`
	Live     int `json:"live"`
	Viewers  int `json:"viewers"`
	// Raised is what was given.
	Raised Raised `json:"raised"`
	// Faults are those in effect.
	Faults Faults `json:"faults"`
}

// Status is how the simulator is doing.
func (s *Sim) Status() Status {
	st := Status{Now: s.cfg.Clock.Now().UTC(), Begun: isClosed(s.begin), Done: isClosed(s.done), Totals: s.Totals(), Raised: s.Raised()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Sent, st.Unheard, st.Withheld, st.Faults = s.sent, s.unheard, s.withheld, s.faults
	st.Connections, st.Channels = len(s.conns), len(s.model.channels)
	for _, ch := range s.model.channels {
		if ch.live {
			st.Live++
			st.Viewers += s.viewersOf(ch, st.Now)
		}
		if len(ch.members) > 0 {
			st.Joined++
			st.Joins += len(ch.members)
		}
	}
	return st
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *Sim) simStatus(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, "sim", http.StatusOK, s.Status())
}

// simFault does one thing, {"do":"freeze","nick":"…"}, or sets what goes wrong by itself,
// {"faults":{"duplicate":0.01}}.
func (s *Sim) simFault(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Do     string   `json:"do"`
		Nick   string   `json:"nick"`
		Login  string   `json:"login"`
		To     string   `json:"to"`
		Most   int      `json:"most"`
		For    Duration `json:"for"`
		Faults *Faults  `json:"faults"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, controlBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		s.fail(w, "sim", http.StatusBadRequest, err.Error())
		return
	}
	n, err := 0, error(nil)
	switch ask.Do {
	case "":
		if ask.Faults == nil {
			err = errors.New(`nothing to do: give "do" or "faults"`)
		}
	case "drop":
		n = s.DropConnections(ask.Nick)
	case "reconnect":
		n = s.SendReconnect(ask.Nick)
	case "freeze":
		n = s.Freeze(ask.Nick)
	case "thaw":
		s.Thaw()
	case "mute":
		n, err = s.Mute(ask.Login, ask.Nick, ask.Most)
	case "unmute":
		err = s.Unmute(ask.Login)
	case "rename":
		err = s.RenameChannel(ask.Login, ask.To)
	case "live", "offline":
		err = s.SetLive(ask.Login, ask.Do == "live")
	case "expire-tokens":
		s.ExpireTokens()
	case "mirror-total":
		err = s.MirrorTotal(ask.Login, ask.To, time.Duration(ask.For))
	case "reset-total":
		err = s.ResetTotal(ask.Login)
	case "double-total":
		err = s.DoubleTotal(ask.Login)
	case "mend-total":
		err = s.MendTotal(ask.Login)
	default:
		err = fmt.Errorf("%q can't be done: use drop, reconnect, freeze, thaw, mute, unmute, rename, live, offline, expire-tokens, mirror-total, reset-total, double-total or mend-total", ask.Do)
	}
	if err == nil && ask.Faults != nil {
		err = s.SetFaults(*ask.Faults)
	}
	if err != nil {
		s.fail(w, "sim", http.StatusBadRequest, err.Error())
		return
	}
	s.answer(w, "sim", http.StatusOK, struct {
		Connections int `json:"connections"`
	}{n})
}
