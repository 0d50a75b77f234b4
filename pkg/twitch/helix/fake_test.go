package helix_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twitch is a scripted Twitch. It answers without a network, so that it works with a fake clock.
type twitch struct {
	mu       sync.Mutex
	requests []request
	tokens   int
	valid    map[string]string // token to client id
	secrets  map[string]string
	life     int // expires_in
	pageSize int
	live     map[string]stream
	users    map[string]user

	// Each may answer instead; false leaves it to the fake.
	onAPI   func(w http.ResponseWriter, r *http.Request) bool
	onToken func(w http.ResponseWriter, r *http.Request) bool
}

type request struct {
	path, client, token string
	at                  time.Time
	query               map[string][]string
}

type stream struct {
	ID       string `json:"id"`
	Channel  string `json:"user_id"`
	Login    string `json:"user_login"`
	Game     string `json:"game_id"`
	GameName string `json:"game_name"`
	Type     string `json:"type"`
	Title    string `json:"title"`
	Viewers  int    `json:"viewer_count"`
	Started  string `json:"started_at"`
	Language string `json:"language"`
}

type user struct {
	ID      string `json:"id"`
	Login   string `json:"login"`
	Name    string `json:"display_name"`
	Picture string `json:"profile_image_url"`
	Created string `json:"created_at"`
}

func newTwitch() *twitch {
	return &twitch{
		valid: map[string]string{}, life: 5_000_000, pageSize: 100,
		secrets: map[string]string{"one": "s3cret-one", "two": "s3cret-two"},
		live:    map[string]stream{}, users: map[string]user{},
	}
}

func (t *twitch) goLive(channel, id string, viewers int, started time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[channel] = stream{
		ID: id, Channel: channel, Login: "login" + channel, Type: "live", Title: "title", Game: "7", GameName: "Chess",
		Viewers: viewers, Started: started.UTC().Format(time.RFC3339), Language: "fr",
	}
}

func (t *twitch) change(do func(t *twitch)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do(t)
}

func (t *twitch) seen(path string) []request {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []request
	for _, r := range t.requests {
		if strings.HasSuffix(r.path, path) {
			out = append(out, r)
		}
	}
	return out
}

// RoundTrip implements http.RoundTripper.
func (t *twitch) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (t *twitch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	t.mu.Lock()
	t.requests = append(t.requests, request{
		path: r.URL.Path, client: r.Header.Get("Client-Id"), token: token, at: time.Now(), query: r.URL.Query(),
	})
	onAPI, onToken := t.onAPI, t.onToken
	t.mu.Unlock()
	switch r.URL.Path {
	case "/oauth2/token":
		if onToken == nil || !onToken(w, r) {
			t.grant(w, r)
		}
	case "/oauth2/validate":
		t.mu.Lock()
		id, life := t.valid[token], t.life
		t.mu.Unlock()
		if id == "" || scheme != "OAuth" {
			reply(w, 401, map[string]any{"status": 401, "message": "invalid access token"})
			return
		}
		reply(w, 200, map[string]any{"client_id": id, "expires_in": life})
	case "/helix/streams", "/helix/users":
		if onAPI != nil && onAPI(w, r) {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if id := t.valid[token]; id == "" || id != r.Header.Get("Client-Id") || scheme != "Bearer" {
			reply(w, 401, map[string]any{"status": 401, "error": "Unauthorized", "message": "Invalid OAuth token"})
			return
		}
		t.list(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (t *twitch) grant(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form := formOf(string(body))
	t.mu.Lock()
	defer t.mu.Unlock()
	switch secret, ok := t.secrets[form["client_id"]]; {
	case r.Method != http.MethodPost || r.URL.RawQuery != "" || form["grant_type"] != "client_credentials":
		reply(w, 400, map[string]any{"status": 400, "message": "missing grant type"})
	case !ok:
		reply(w, 400, map[string]any{"status": 400, "message": "invalid client"})
	case secret != form["client_secret"]:
		reply(w, 403, map[string]any{"status": 403, "message": "invalid client secret " + form["client_secret"]})
	default:
		t.tokens++
		token := fmt.Sprintf("token%d", t.tokens)
		t.valid[token] = form["client_id"]
		reply(w, 200, map[string]any{"access_token": token, "expires_in": t.life, "token_type": "bearer"})
	}
}

func formOf(body string) map[string]string {
	out := map[string]string{}
	for _, kv := range strings.Split(body, "&") {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

func (t *twitch) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ids, logins := q["user_id"], q["login"]
	if r.URL.Path == "/helix/users" {
		ids = q["id"]
	}
	if n := len(ids) + len(logins); n == 0 || n > 100 {
		reply(w, 400, map[string]any{"status": 400, "message": "too many or no ids"})
		return
	}
	for _, id := range ids {
		if strings.HasPrefix(id, "bad") {
			reply(w, 400, map[string]any{"status": 400, "message": "Invalid ids"})
			return
		}
	}
	if r.URL.Path == "/helix/users" {
		data := []user{}
		for _, u := range t.users {
			if contains(ids, u.ID) || contains(logins, u.Login) {
				data = append(data, u)
			}
		}
		reply(w, 200, map[string]any{"data": data})
		return
	}
	data := []stream{}
	for _, id := range ids {
		if s, ok := t.live[id]; ok {
			data = append(data, s)
		}
	}
	from, _ := strconv.Atoi(q.Get("after"))
	page := map[string]string{}
	if from+t.pageSize < len(data) {
		page["cursor"] = strconv.Itoa(from + t.pageSize)
	}
	reply(w, 200, map[string]any{"data": data[min(from, len(data)):min(from+t.pageSize, len(data))], "pagination": page})
}

func contains(s []string, v string) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// limits writes the headers of the rate limit.
func limits(w http.ResponseWriter, remaining int, reset time.Time) {
	w.Header().Set("Ratelimit-Limit", "800")
	w.Header().Set("Ratelimit-Remaining", strconv.Itoa(remaining))
	w.Header().Set("Ratelimit-Reset", strconv.FormatInt(reset.Unix(), 10))
}

func client(t *testing.T, fake *twitch, edit func(*helix.Config)) *helix.Client {
	t.Helper()
	cfg := helix.Config{
		Clients:   []helix.Credential{{ClientID: "one", Secret: "s3cret-one"}},
		APIURL:    "http://twitch.test/helix",
		AuthURL:   "http://twitch.test",
		Transport: fake,
		Logger:    slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := helix.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func two(cfg *helix.Config) {
	cfg.Clients = append(cfg.Clients, helix.Credential{ClientID: "two", Secret: "s3cret-two"})
}

func outcomes(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				key = append(key, l.GetValue())
			}
			out[strings.Join(key, "/")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func conditions(c interface {
	Conditions() []control.Condition
},
) map[string]string {
	out := map[string]string{}
	for _, cond := range c.Conditions() {
		out[cond.Name] += cond.Subject + " "
	}
	return out
}

func span(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = strconv.Itoa(1000 + i)
	}
	return ids
}
