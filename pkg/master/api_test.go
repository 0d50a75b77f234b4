package master_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
)

// call makes a raw request to m1.
func (w *world) call(method, path, token, contentType, body string) (int, http.Header, string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.ctx, method, "http://m1"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	w.masters["m1"].Handler().ServeHTTP(rec, r)
	b, err := io.ReadAll(rec.Result().Body)
	w.must(err)
	return rec.Code, rec.Header(), string(b)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 1, 1)
		hb := `{"collector":"c0","run":"r","capacity":1}`
		for _, tc := range []struct {
			method, path, token, contentType, body string
			status                                 int
			detail                                 string
		}{
			{"GET", "/v1/events", "", "", "", 401, "a bearer token is needed"},
			{"GET", "/v1/events", operatorToken + "x", "", "", 401, "the token is not valid"},
			{"GET", "/v1/events", collectorToken, "", "", 403, "this needs the token of an operator"},
			{"POST", "/v1/collectors/c0/heartbeat", operatorToken, "application/json", hb, 403, "this needs the token of a collector"},
			{"POST", "/v1/collectors/c0/heartbeat", "", "application/json", hb, 401, "a bearer token is needed"},
			{"POST", "/v1/collectors/C_0/heartbeat", collectorToken, "application/json", hb, 422, "use 1 to 63 of a-z, 0-9, dot and dash"},
			{"POST", "/v1/collectors/c1/heartbeat", collectorToken, "application/json", hb, 422, "is not the name in the path"},
			{"POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json", `{"collector":"c0"}`, 422, "body.run"},
			{"POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json", `{"collector":`, 422, "unexpected end of JSON"},
			{"POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json", `{"collector":"c0","run":"r","capacity":-1}`, 422, "body.capacity"},
			{"POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json", `{"collector":"c0","run":"r","status":{"rates":{"1":-5}}}`, 422, "body.status.rates"},
			{"POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json", strings.Repeat(" ", 2<<20), 413, "too large"},
			{"GET", "/v1/nothing", operatorToken, "", "", 404, "nothing is served at /v1/nothing"},
			{"DELETE", "/v1/events", operatorToken, "", "", 405, "DELETE is not served at /v1/events"},
			{"GET", "/v1/events/nope", operatorToken, "", "", 404, "there is no event nope"},
			{"GET", "/v1/events/nope/channels", operatorToken, "", "", 404, "there is no event nope"},
			{"POST", "/v1/events/nope/start", operatorToken, "", "", 404, "there is no event nope"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"Z Event"}`, 422, "body.slug"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"zevent"}`, 409, "there is an event zevent already"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"a","time_zone":"Mars/Olympus"}`, 422, "no IANA time zone"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"a","replicas":3}`, 422, "body.replicas"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"a","begin":"2026-01-01T00:00:00Z"}`, 422, "body.begin"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"a","start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}`, 422, "is not after the start"},
			{"POST", "/v1/events", operatorToken, "application/json", `{"slug":"a","start":"2026-01-02T00:00:00Z","end":"2062-01-01T00:00:00Z"}`, 422, "more than a year after the start"},
			{"POST", "/v1/events/zevent/channels", operatorToken, "text/plain", "# none\n", 422, "the list is empty"},
			{"POST", "/v1/events/zevent/channels", operatorToken, "image/png", "x", 422, "use text/plain, text/csv or application/json"},
			{"POST", "/v1/events/zevent/channels", operatorToken, "text/plain", "", 400, "request body is required"},
		} {
			status, header, body := w.call(tc.method, tc.path, tc.token, tc.contentType, tc.body)
			if status != tc.status || !strings.Contains(body, tc.detail) {
				t.Errorf("%s %s with %.60q: %d %s, want %d with %q", tc.method, tc.path, tc.body, status, body, tc.status, tc.detail)
			}
			if got := header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s %s: content type %q", tc.method, tc.path, got)
			}
			if status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: no challenge", tc.method, tc.path)
			}
		}
		// A collector of a newer version says more than we know.
		status, _, body := w.call("POST", "/v1/collectors/c0/heartbeat", collectorToken, "application/json",
			`{"collector":"c0","run":"r","capacity":1,"mood":"fine","status":{"weather":7}}`)
		if status != 200 {
			t.Errorf("a newer collector's heartbeat: %d %s", status, body)
		}
	})
}

func TestStates(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		now := time.Now()
		do := func(slug string, a control.Action, want string) {
			t.Helper()
			e, err := w.op.SetState(w.ctx, slug, a)
			got := e.State
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s %s: %s, want %s", a, slug, got, want)
			}
		}
		create := func(e control.NewEvent) {
			t.Helper()
			_, err := w.op.CreateEvent(w.ctx, e)
			w.must(err)
		}
		patch := func(slug string, p control.EventPatch, want string) {
			t.Helper()
			_, err := w.op.UpdateEvent(w.ctx, slug, p)
			got := ""
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "change event "+slug+": ")
			}
			if got != want {
				t.Errorf("change %s: %s, want %s", slug, got, want)
			}
		}
		// One that lies wholly in the past ends without having been live.
		create(control.NewEvent{Slug: "past", Start: now.Add(-3 * time.Hour), End: now.Add(-2 * time.Hour)})
		do("past", control.Stop, "ended")
		if e, err := w.op.Event(w.ctx, "past"); err != nil || !e.End.Equal(record.Millis(now.Add(-2*time.Hour))) {
			t.Errorf("its end is %v, %v", e.End, err)
		}
		patch("past", control.EventPatch{TextDays: new(4), RecordDays: new(2)}, "the request has a value that can't be used: "+
			"text_days: 4: the records go 2 days after the end, and their texts with them: use 2 or less, or keep the records for longer")
		create(control.NewEvent{Slug: "a"})
		do("a", control.Schedule, "schedule event a: event a has no start and no end: run tungstene event set a --start TIME --end TIME first")
		do("a", control.Start, "start event a: event a has no end: run tungstene event set a --end TIME first")
		patch("a", control.EventPatch{End: new(now.Add(time.Hour))}, "")
		do("a", control.Schedule, "schedule event a: event a has no start: run tungstene event set a --start TIME first")
		do("a", control.Unschedule, "draft")
		do("a", control.Stop, "stop event a: event a is draft: only a live event can be stopped, or a draft whose end has passed")
		patch("a", control.EventPatch{Start: new(now.Add(-2 * time.Hour)), End: new(now.Add(-time.Hour))}, "")
		do("a", control.Schedule, "schedule event a: the end of event a, "+now.Add(-time.Hour).UTC().Format(time.RFC3339)+", has passed: set a later one first, or to fill it from files run tungstene event stop a")
		patch("a", control.EventPatch{Start: new(now.Add(time.Hour)), End: new(now.Add(10 * time.Hour))}, "")
		do("a", control.Schedule, "scheduled")
		do("a", control.Schedule, "scheduled")
		patch("a", control.EventPatch{Start: new(now.Add(-2 * time.Hour)), End: new(now.Add(-time.Hour))},
			"event a is scheduled: its end can only become a moment in the future (to take it back, unschedule it)")
		patch("a", control.EventPatch{End: new(now.Add(11 * time.Hour))}, "")
		do("a", control.Unschedule, "draft")
		do("a", control.Unschedule, "draft")
		do("a", control.Schedule, "scheduled")
		do("a", control.Start, "live")
		do("a", control.Unschedule, "unschedule event a: event a is live: only a scheduled event can become a draft again")
		do("a", control.Start, "live")
		do("a", control.Schedule, "schedule event a: event a is live: only a draft can be scheduled")
		e, err := w.op.Event(w.ctx, "a")
		w.must(err)
		if !e.Start.Equal(record.Millis(now)) {
			t.Errorf("started now, its start is %v", e.Start)
		}
		patch("a", control.EventPatch{Start: new(now.Add(time.Minute))}, "event a is live: its start can't change any more")
		patch("a", control.EventPatch{End: new(now.Add(-time.Minute))}, "event a is live: its end can only become a moment in the future (to end it now, stop it)")
		patch("a", control.EventPatch{Name: new("Zed"), Replicas: new(2), KeepText: new(true), Currency: new("USD"), TimeZone: new("Europe/Paris")}, "")
		patch("a", control.EventPatch{Currency: new("dollars")}, "validation failed: body.currency: expected string to be three capital letters, an ISO 4217 code such as EUR")
		w.sleep(time.Minute)
		do("a", control.Stop, "ended")
		do("a", control.Stop, "ended")
		do("a", control.Unschedule, "unschedule event a: event a is ended: only a scheduled event can become a draft again")
		if e, err = w.op.Event(w.ctx, "a"); err != nil || !e.End.Equal(record.Millis(now.Add(time.Minute))) {
			t.Errorf("stopped now, its end is %v, %v", e.End, err)
		}
		patch("a", control.EventPatch{Replicas: new(1)}, "event a is ended: nobody reads it any more")
		_, err = w.op.ImportChannels(w.ctx, "a", "", []byte("alpha"))
		if err == nil || err.Error() != "import channels into event a: event a is ended: its channels can't change any more" {
			t.Errorf("import into an ended event: %v", err)
		}
		do("a", control.Start, "start event a: the end of event a, "+e.End.Format(time.RFC3339)+", has passed: set a later one first")
		patch("a", control.EventPatch{End: new(now.Add(5 * time.Hour))}, "")
		do("a", control.Start, "live")
		if e, err = w.op.Event(w.ctx, "a"); err != nil || !e.Start.Equal(record.Millis(now)) || e.Name != "Zed" || e.Replicas != 2 {
			t.Errorf("started again: %+v, %v", e, err)
		}
		var p *control.Problem
		if _, err := w.op.Event(w.ctx, "b"); !errors.As(err, &p) || p.Status != 404 || p.Title != "Not Found" {
			t.Errorf("an event that isn't there: %v", err)
		}
		if list, err := w.op.Events(w.ctx); err != nil || len(list) != 2 {
			t.Errorf("events: %v, %v", list, err)
		}
	})
}

func TestKeysReachCollectorsOnly(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("zevent", 5, 1)
		c := w.startCollector("c0", "", 10)
		w.sleep(10 * time.Second)
		key := c.assignment().Events[0].Key
		want, err := w.keys.Key(w.ctx, "zevent")
		w.must(err)
		if string(key) != string(want) || len(key) != record.KeyBytes {
			t.Fatal("the collector has another key")
		}
		for _, path := range []string{
			"/v1/events", "/v1/events/zevent", "/v1/events/zevent/channels", "/v1/collectors", "/v1/members",
			"/v1/assignments", "/v1/health",
		} {
			status, _, body := w.call("GET", path, operatorToken, "", "")
			if status != 200 {
				t.Errorf("%s: %d %s", path, status, body)
			}
			for _, secret := range []string{
				base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), hex.EncodeToString(key),
				operatorToken, collectorToken, `"key"`,
			} {
				if strings.Contains(body, secret) {
					t.Errorf("%s tells a secret", path)
				}
			}
		}
	})
}

// A master without the key says so, and the client takes the other one.
func TestMasterWithoutTheKey(t *testing.T) {
	t.Parallel()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	bubble(t, func(w *world) {
		full, err := master.NewFileKeys(dirs[0])
		w.must(err)
		w.keys = full
		w.startMaster("m1")
		w.live("zevent", 5, 1)
		empty, err := master.NewFileKeys(dirs[1])
		w.must(err)
		w.keys = empty
		w.startMaster("m2")
		c := w.startCollector("c0", "", 10, func(f *fake) { f.client = w.client(collectorToken, "m2", "m1") })
		w.sleep(10 * time.Second)
		if n := len(c.joined()); n != 5 {
			t.Errorf("%d of 5 are read", n)
		}
		if got := w.conditions(); got != "key-unreadable zevent" {
			t.Errorf("conditions: %q", got)
		}
	})
}

// That a key can't be read is known before any collector asks for it, of each event by itself, and
// is over when the key is there, whether a collector asks again or not.
func TestKeysAreWatched(t *testing.T) {
	t.Parallel()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	bubble(t, func(w *world) {
		full, err := master.NewFileKeys(dirs[0])
		w.must(err)
		w.keys = full
		w.startMaster("m1")
		w.live("a", 2, 1)
		w.live("b", 4, 1)
		_, err = w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "c", Start: time.Now().Add(time.Hour), End: time.Now().Add(2 * time.Hour)})
		w.must(err)
		check := func(when, want string) {
			t.Helper()
			w.sleep(5 * time.Second)
			if got := w.conditions(); got != want {
				t.Errorf("%s: conditions %q, want %q", when, got, want)
			}
		}
		mount := func(slug string) {
			key, err := os.ReadFile(filepath.Join(dirs[0], slug+".key"))
			w.must(err)
			w.must(os.WriteFile(filepath.Join(dirs[1], slug+".key"), key, 0o600))
		}
		w.startCollector("c0", "", 10, func(f *fake) { f.client = w.client(collectorToken, "m1") })
		check("the other master has the keys", "")
		empty, err := master.NewFileKeys(dirs[1])
		w.must(err)
		w.keys = empty
		w.startMaster("m2")
		check("nobody asks the master without them", "key-unreadable a, key-unreadable b")
		_, err = w.op.SetState(w.ctx, "c", control.Schedule)
		w.must(err)
		check("one more is scheduled", "key-unreadable a, key-unreadable b, key-unreadable c")
		mount("a")
		check("one is mounted", "key-unreadable b, key-unreadable c")

		w.startCollector("c1", "", 10, func(f *fake) { f.client = w.client(collectorToken, "m2") })
		for range 5 {
			check("collectors ask", "key-unreadable b, key-unreadable c")
		}
		_, err = w.op.SetState(w.ctx, "c", control.Unschedule)
		w.must(err)
		check("a draft's key is not needed yet", "key-unreadable b")
		mount("b")
		check("all are mounted", "")
	})
}

func TestTokensAreReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(w *world, text string) {
		w.must(os.WriteFile(file, []byte(text), 0o600))
		w.sleep(5 * time.Second)
	}
	bubble(t, func(w *world) {
		old, fresh := "the-old-token-of-operators", "the-new-token-of-operators"
		write(w, "# operators\n"+old+"\n")
		w.configure = func(c *master.Config) { c.OperatorTokens = master.TokenFile(file) }
		w.startMaster("m1")
		check := func(when, token string, want int) {
			t.Helper()
			if status, _, _ := w.call("GET", "/v1/events", token, "", ""); status != want {
				t.Errorf("%s: %d, want %d", when, status, want)
			}
		}
		check("first", old, 200)
		check("not yet", fresh, 401)
		write(w, old+"\n"+fresh+"\n")
		check("overlap", old, 200)
		check("overlap", fresh, 200)
		write(w, fresh+"\n")
		check("rotated", old, 401)
		check("rotated", fresh, 200)
		write(w, "short\n")
		check("broken file", fresh, 200)
		_, _, body := w.call("GET", "/v1/members", fresh, "", "")
		if !strings.Contains(body, "tokens-unreadable") || strings.Contains(body, "short\\n") {
			t.Errorf("members: %s", body)
		}
		w.must(os.Remove(file))
		w.sleep(5 * time.Second)
		check("no file", fresh, 200)
	})
}

func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		file := func(text string) master.TokenSource {
			path := filepath.Join(dir, strconv.Itoa(len(text)))
			w.must(os.WriteFile(path, []byte(text), 0o600))
			return master.TokenFile(path)
		}
		for _, tc := range []struct {
			change func(*master.Config)
			want   string
		}{
			{func(c *master.Config) { c.Store = nil }, "store is required"},
			{func(c *master.Config) { c.Keys = nil }, "keys are required"},
			{func(c *master.Config) { c.Name = "M_1" }, `name "M_1": use 1 to 63`},
			{func(c *master.Config) { c.OperatorTokens = nil }, "operator tokens are required"},
			{func(c *master.Config) { c.HeartbeatTimeout = -1 }, "heartbeat timeout -1ns: use a time above 0"},
			{func(c *master.Config) { c.Interval = 2 * time.Second }, "interval 2s is more than half of the heartbeat timeout 3s"},
			{func(c *master.Config) { c.Budget.Joins = -1 }, "all must be above 0"},
			{func(c *master.Config) { c.OperatorTokens = master.TokenFile(filepath.Join(dir, "none")) }, "no such file"},
			{func(c *master.Config) { c.OperatorTokens = file("# only this\n") }, "no token in it: write one a line"},
			{func(c *master.Config) { c.OperatorTokens = file("\n\ntooshort\n") }, "line 3: token is shorter than 16 characters"},
			{func(c *master.Config) { c.OperatorTokens = file("long enough but has spaces\n") }, "line 1: token has a character that a header can't carry"},
			{func(c *master.Config) { c.CollectorTokens = master.StaticTokens() }, "collector tokens: no token"},
		} {
			cfg := w.config("m1")
			tc.change(&cfg)
			if _, err := master.New(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	bubble(t, func(w *world) {
		files, err := master.NewFileKeys(dir)
		w.must(err)
		if _, err := files.Key(w.ctx, "zevent"); !errors.Is(err, master.ErrNoKey) {
			t.Errorf("a key that isn't there: %v", err)
		}
		var wg sync.WaitGroup
		var got [8]string
		for i := range got {
			wg.Go(func() {
				if err := files.Create(w.ctx, "zevent"); err != nil {
					t.Error(err)
				}
				k, err := files.Key(w.ctx, "zevent")
				if err != nil {
					t.Error(err)
				}
				got[i] = string(k)
			})
		}
		wg.Wait()
		for _, k := range got {
			if k != got[0] || len(k) != record.KeyBytes {
				t.Error("eight at once made different keys")
			}
		}
		w.must(files.Create(w.ctx, "other"))
		other, err := files.Key(w.ctx, "other")
		w.must(err)
		if string(other) == got[0] {
			t.Error("two events share a key")
		}
		entries, err := os.ReadDir(dir)
		w.must(err)
		if len(entries) != 2 {
			t.Errorf("the directory holds %v", entries)
		}
		for _, e := range entries {
			info, err := e.Info()
			w.must(err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", e.Name(), info.Mode())
			}
		}
		w.must(os.WriteFile(filepath.Join(dir, "bad.key"), []byte("00112233zz"), 0o600))
		if _, err := files.Key(w.ctx, "bad"); err == nil || strings.Contains(err.Error(), "z") || strings.Contains(err.Error(), "0011") {
			t.Errorf("a bad key file: %v", err)
		}
		if _, err := files.Key(w.ctx, "../zevent"); err == nil {
			t.Error("a path was taken for an event")
		}
		if err := files.Create(w.ctx, "../zevent"); err == nil {
			t.Error("a path was taken for an event")
		}
	})
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	b, err := master.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	again, err := master.OpenAPI()
	if err != nil || string(again) != string(b) {
		t.Errorf("the description is another the second time, %v", err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Security    []map[string][]string
			Responses   map[string]struct {
				Content map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil { //nolint:musttag // the names match but for their case
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	n := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			n++
			if len(op.Security) != 1 || op.Summary == "" || op.OperationID == "" {
				t.Errorf("%s %s is open or not described: %+v", method, path, op)
			}
			if _, ok := op.Responses["401"].Content["application/problem+json"]; !ok {
				t.Errorf("%s %s does not describe its problems", method, path)
			}
		}
	}
	if n != 49 {
		t.Errorf("%d operations are described", n)
	}
	bubble(t, func(w *world) {
		w.startMaster("m1")
		for _, path := range []string{"/openapi.json", "/openapi.yaml"} {
			if status, _, body := w.call("GET", path, "", "", ""); status != 200 || !strings.Contains(body, "heartbeat") {
				t.Errorf("%s: %d", path, status)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		reg := prometheus.NewRegistry()
		w.configure = func(c *master.Config) { c.Registerer = reg }
		w.startMaster("m1")
		w.live("zevent", 5, 1)
		w.startCollector("c0", "", 3)
		w.sleep(10 * time.Second)
		families, err := reg.Gather()
		w.must(err)
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := []string{f.GetName()}
				for _, l := range m.GetLabel() {
					name = append(name, l.GetValue())
				}
				got[strings.Join(name, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		for name, want := range map[string]float64{
			"tungstene_master_leader": 1, "tungstene_master_channels assigned": 3, "tungstene_master_channels unassigned": 2,
			"tungstene_master_collectors alive": 1, "tungstene_master_conditions channels-unassigned": 1,
			"tungstene_master_requests_total 201 create-event": 1, "tungstene_master_moves_total": 0,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v (of %v)", name, got[name], want, got)
			}
		}
	})
}
