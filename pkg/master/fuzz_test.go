package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// operationOf is one operation of the API.
type operationOf struct{ method, path string }

// operations are all that the API's description lists, so that none is forgotten here.
func operations(tb testing.TB) []operationOf {
	tb.Helper()
	b, err := master.OpenAPI()
	if err != nil {
		tb.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		tb.Fatal(err)
	}
	var list []operationOf
	for path, methods := range doc.Paths {
		for method := range methods {
			list = append(list, operationOf{strings.ToUpper(method), path})
		}
	}
	slices.SortFunc(list, func(a, b operationOf) int {
		return strings.Compare(a.path+" "+a.method, b.path+" "+b.method)
	})
	return list
}

// sink is an intake that takes everything.
type sink struct{}

func (sink) Write(_ context.Context, records []record.Record) (master.Taken, error) {
	return master.Taken{Inserted: len(records)}, nil
}

// plane is a control plane with a live event "fuzz", a draft and an event that is over, without what
// runs in the background.
type plane struct {
	h     http.Handler
	panic *bytes.Buffer
}

func newPlane(tb testing.TB, dir string) (_ plane, closeStore func()) {
	tb.Helper()
	s, err := local.Open(filepath.Join(dir, "store.db"), local.Options{CacheBytes: 1 << 20, Readers: 1})
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := master.NewFileKeys(filepath.Join(dir, "keys"))
	if err != nil {
		tb.Fatal(err)
	}
	people := &twitch{users: map[string]master.User{}}
	for i := range 10 {
		id := strconv.Itoa(1000 + i)
		people.users[id] = master.User{ID: id, Login: fmt.Sprint("login", i), Name: fmt.Sprint("Login", i)}
	}
	p := plane{panic: &bytes.Buffer{}}
	m, err := master.New(master.Config{
		Store: s, Keys: keys, Name: "m1", Resolver: people, Intake: sink{},
		Rebuild:        func(context.Context, string, time.Time, time.Time, string) (int, error) { return 1, nil },
		OperatorTokens: master.StaticTokens(operatorToken), CollectorTokens: master.StaticTokens(collectorToken),
		Logger: slog.New(slog.NewTextHandler(p.panic, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		tb.Fatal(err)
	}
	p.h = m.Handler()
	return p, func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	}
}

func (p plane) do(ctx context.Context, method, path, contentType string, body []byte) (int, string) {
	r := httptest.NewRequestWithContext(ctx, method, "http://m1/", bytes.NewReader(body))
	u, err := url.Parse("http://m1" + path)
	if err != nil {
		return http.StatusBadRequest, "no address" // net/http would not have let it in
	}
	r.URL = u
	r.Header.Set("Content-Type", contentType)
	token := operatorToken
	if strings.HasSuffix(path, "/heartbeat") {
		token = collectorToken
	}
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	p.h.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

// furnish makes the events that requests speak of.
func (p plane) furnish(ctx context.Context, tb testing.TB) {
	tb.Helper()
	now := time.Now()
	must := func(want int, method, path, contentType, body string) {
		tb.Helper()
		if code, answer := p.do(ctx, method, path, contentType, []byte(body)); code != want {
			tb.Fatalf("%s %s answers %d, want %d: %s", method, path, code, want, answer)
		}
	}
	for slug, actions := range map[string][]string{"fuzz": {"start"}, "draft": nil, "over": {"start", "stop"}} {
		b, err := json.Marshal(control.NewEvent{Slug: slug, Start: now, End: now.Add(time.Hour)})
		if err != nil {
			tb.Fatal(err)
		}
		must(http.StatusCreated, http.MethodPost, "/v1/events", "application/json", string(b))
		must(http.StatusOK, http.MethodPost, "/v1/events/"+slug+"/channels", "text/plain", "login0\nlogin1\n")
		for _, action := range actions {
			must(http.StatusOK, http.MethodPost, "/v1/events/"+slug+"/"+action, "", "")
		}
	}
	must(http.StatusOK, http.MethodPost, "/v1/collectors/c1/heartbeat", "application/json", `{"collector":"c1","run":"r","capacity":100}`)
}

// Whoever has a token can ask for anything in any words: the master never fails at it. Each request
// meets the same state, so that what is found can be found again.
func FuzzRequests(f *testing.F) {
	ops := operations(f)
	base := f.TempDir()
	p, closeStore := newPlane(f, base)
	p.furnish(f.Context(), f)
	closeStore()

	said := "@id=1;room-id=1000;tmi-sent-ts=1788544800000;user-id=5 :a!a@a PRIVMSG #login0 :hello\n"
	bodies := map[string][]string{
		"POST /v1/events": {
			`{"slug":"new","start":"2026-09-04T18:00:00Z","end":"2026-09-07T01:00:00Z"}`,
			`{"slug":"new","name":"New","start":"2026-09-04T18:00:00+02:00","end":"2026-09-07T01:00:00Z","time_zone":"Europe/Paris","replicas":2,"keep_text":true,"text_days":30,"record_days":365}`,
		},
		"PATCH /v1/events/{slug}":         {`{"name":"x","end":"2036-09-07T01:00:00Z","replicas":2}`, `{"time_zone":"Mars"}`, `{}`},
		"POST /v1/events/{slug}/channels": {"login2\n@login3 # x\n", `["login4",{"login":"login5"}]`, "login;name\nlogin6;x\n"},
		"POST /v1/events/{slug}/rebuild":  {`{}`, `{"from":"2026-09-04T18:00:00Z","to":"2026-09-04T19:00:00Z","channel":"login0"}`},
		"POST /v1/events/{slug}/freeze":   {`{}`, `{"force":true}`},
		"POST /v1/forget":                 {`{"persons":["login7","1008","77:someone"],"all_events":true}`, `{"persons":["@login7"],"event":"over"}`},
		"POST /v1/optout":                 {`{"persons":["login7"],"forget":true}`, `{"persons":["1008"]}`},
		"POST /v1/optout/remove":          {`{"persons":["login7"]}`},
		"POST /v1/letters/replay":         {`{"all":true}`, `{"ids":["abcdef"]}`},
		"POST /v1/letters/drop":           {`{"all":true,"event":"fuzz","code":"refused"}`},
		"POST /v1/collectors/{name}/heartbeat": {
			`{"collector":"c1","run":"r","capacity":100,"joined":["1000"],"status":{"rates":{"1000":1.5},"conditions":[{"name":"x"}],"outbox_left":5}}`,
		},
		"POST /v1/events/{slug}/channels/{channel}/backfill": {said, `{"comments":[{"_id":"1","created_at":"2026-09-04T18:00:00Z","message":{"body":"x"}}]}`},
	}
	for i, op := range ops {
		list := bodies[op.method+" "+op.path]
		for _, body := range append(list, "") {
			query := ""
			if strings.HasSuffix(op.path, "/backfill") {
				query = "format=irc&origin=f"
			}
			f.Add(uint8(i), "", query, uint8(0), []byte(body))
		}
	}
	f.Add(uint8(0), "over", "", uint8(1), []byte("login1"))
	f.Add(uint8(0), "%zz/..", "format=vod&limit=-1&documents=1e9&after=~&from=0001-01-01T00:00:00Z", uint8(3), []byte(said))

	types := []string{"application/json", "text/plain", "text/csv", "application/octet-stream", ""}
	copies, n := f.TempDir(), 0
	f.Fuzz(func(t *testing.T, op uint8, param, query string, contentType uint8, body []byte) {
		dir := filepath.Join(copies, strconv.Itoa(n))
		n++
		copyDir(t, base, dir)
		p, closeStore := newPlane(t, dir)
		defer func() {
			closeStore()
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}()
		o := ops[int(op)%len(ops)]
		path := o.path
		for name, usual := range map[string]string{"{slug}": "fuzz", "{name}": "c1", "{channel}": "login0", "{id}": "abcdef", "{role}": "consumer"} {
			if param != "" {
				usual = url.PathEscape(param)
			}
			path = strings.ReplaceAll(path, name, usual)
		}
		if strings.ContainsAny(path, "{}") {
			t.Fatalf("what is %s?", path)
		}
		if query != "" {
			path += "?" + query
		}
		code, answer := p.do(t.Context(), o.method, path, types[int(contentType)%len(types)], body)
		if code >= http.StatusInternalServerError && code != http.StatusServiceUnavailable {
			t.Errorf("%s %s answers %d: %s\n%s", o.method, path, code, answer, p.panic)
		}
		if code >= http.StatusBadRequest && !json.Valid([]byte(answer)) && answer != "no address" {
			t.Errorf("%s %s answers %d with %q", o.method, path, code, answer)
		}
	})
}

func copyDir(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
	// The copies of keys must be as private as the keys.
	err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		tb.Fatal(err)
	}
}
