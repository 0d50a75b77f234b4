package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func token() (string, error) { return "token-of-tests", nil }

// server answers everything alike and counts.
func server(t *testing.T, status int, contentType, body string) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("Authorization") != "Bearer token-of-tests" {
			t.Errorf("%s %s has the authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		if _, err := w.Write([]byte(body)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func newClient(t *testing.T, urls ...string) *control.Client {
	t.Helper()
	c, err := control.New(urls, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// dead is the address of a server that is gone.
func dead() string {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	return s.URL
}

func TestHeartbeatTriesTheNextMaster(t *testing.T) {
	t.Parallel()
	const problem = `{"title":"Service Unavailable","status":503,"detail":"the store does not answer"}`
	bad, badCalls := server(t, 503, "application/problem+json", problem)
	good, goodCalls := server(t, 200, "application/json", `{"now":"2026-09-04T18:00:00Z"}`)
	c := newClient(t, dead(), bad, good)
	for range 3 {
		a, err := c.Heartbeat(t.Context(), control.Heartbeat{Collector: "c0"})
		if err != nil || a.Now.IsZero() || a.Assignment != nil {
			t.Fatalf("answer %+v, %v", a, err)
		}
	}
	if badCalls.Load() != 1 || goodCalls.Load() != 3 {
		t.Errorf("%d calls to the bad one, %d to the good one: the last good one comes first", badCalls.Load(), goodCalls.Load())
	}

	c = newClient(t, dead(), bad)
	_, err := c.Heartbeat(t.Context(), control.Heartbeat{Collector: "c0"})
	var p *control.Problem
	if !errors.As(err, &p) || p.Status != 503 || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("all failed with %v", err)
	}
}

func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		create bool // a second master is asked to create the event
		list   bool // a second master is asked for the events
	}{
		{400, false, false},
		{401, true, true},
		{403, false, false},
		{404, false, false},
		{409, false, false},
		{422, false, false},
		{429, true, true},
		{500, false, true},
		{503, true, true},
	} {
		first, _ := server(t, tc.status, "application/problem+json", `{}`)
		second, calls := server(t, 200, "application/json", `[]`)
		_, err := newClient(t, first, second).Events(t.Context())
		if asked := calls.Swap(0) == 1; asked != tc.list || (err == nil) != tc.list {
			t.Errorf("list after %d: second asked %v, %v", tc.status, asked, err)
		}
		second, calls = server(t, 201, "application/json", `{"slug":"a"}`)
		_, err = newClient(t, first, second).CreateEvent(t.Context(), control.NewEvent{Slug: "a"})
		if asked := calls.Load() == 1; asked != tc.create || (err == nil) != tc.create {
			t.Errorf("create after %d: second asked %v, %v", tc.status, asked, err)
		}
	}
	second, _ := server(t, 201, "application/json", `{"slug":"a"}`)
	if _, err := newClient(t, dead(), second).CreateEvent(t.Context(), control.NewEvent{Slug: "a"}); err != nil {
		t.Errorf("create after a refused connection: %v", err)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status                  int
		contentType, body, want string
	}{
		{409, "application/problem+json", `{"status":409,"title":"Conflict","detail":"there is an event a already"}`, "read event a: there is an event a already"},
		{422, "application/problem+json", `{"title":"X","detail":"validation failed","errors":[{"message":"too long","location":"body.slug","value":"zzz"},{"message":"also"}]}`, "read event a: validation failed: body.slug: too long; also"},
		{404, "application/problem+json", `{"title":"Not Found"}`, "read event a: 404 not found"},
		{500, "application/problem+json", `nonsense`, "answered 500 Internal Server Error with an unreadable problem"},
		{200, "text/html", `<html>`, "is not a master's"},
		{404, "text/html", `<html>`, "is there a master at this address?"},
		{302, "text/html", ``, "answered 302 Found"},
	} {
		url, _ := server(t, tc.status, tc.contentType, tc.body)
		_, err := newClient(t, url).Event(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%d %s gives %v, want %s", tc.status, tc.body, err, tc.want)
		}
		var p *control.Problem
		if errors.As(err, &p) && p.Status != tc.status {
			t.Errorf("%d became a problem of status %d", tc.status, p.Status)
		}
	}
}

func TestPathsAreEscaped(t *testing.T) {
	t.Parallel()
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.EscapedPath()
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	if err := newClient(t, s.URL+"/api/").RemoveChannel(t.Context(), "a", "twitch.tv/x y"); err != nil {
		t.Fatal(err)
	}
	if want := "DELETE /api/v1/events/a/channels/twitch.tv%2Fx%20y"; got != want {
		t.Errorf("called %s, want %s", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		urls []string
		want string
	}{
		{nil, "no master"},
		{[]string{"master:8070"}, "master URL"},
		{[]string{"ftp://master"}, "use http://host:port"},
		{[]string{"http://me:secret@master"}, "use http://host:port"},
	} {
		_, err := control.New(tc.urls, token, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v gives %v, want %s", tc.urls, err, tc.want)
		}
	}
	if _, err := control.New([]string{"http://master"}, nil, nil); err == nil {
		t.Error("a client without a token was made")
	}
	c, err := control.New([]string{"http://master"}, func() (string, error) { return "", errors.New("no such file") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Events(t.Context()); err == nil || err.Error() != "list events: read token: no such file" {
		t.Errorf("without a token: %v", err)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	defer s.Close()
	go func() {
		<-arrived
		cancel()
	}()
	second, calls := server(t, 200, "application/json", `[]`)
	if _, err := newClient(t, s.URL, second).Events(ctx); !errors.Is(err, context.Canceled) || calls.Load() != 0 {
		t.Errorf("cancelled: %v, %d calls", err, calls.Load())
	}
}

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "collector-0": true, "tungstene-collector-0.eu": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a/b": false, "a b": false, "..": false, strings.Repeat("a", 64): false,
	} {
		if control.ValidName(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
}

// The key must reach collectors, and nothing that is stored.
func TestAssignmentOnTheWire(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(control.Assignment{Events: []control.AssignedEvent{{Slug: "a", Key: []byte("key")}}})
	if err != nil || !strings.Contains(string(b), `"key":"a2V5"`) {
		t.Errorf("%s, %v", b, err)
	}
}

// Plain HTTP to a master with TLS is told as such, and is no refusal of what was asked.
func TestPlainHTTPToTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().String()
	c, err := control.New([]string{"http://" + address}, func() (string, error) { return "token", nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Health(t.Context())
	var p *control.Problem
	if err == nil || errors.As(err, &p) || !strings.Contains(err.Error(), "use https://"+address) {
		t.Errorf("%v", err)
	}
}
