package app_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
)

// asks sends a request with a token from an address of loopback.
func asks(t *testing.T, from, url, token string) (code int, retry string) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Retry-After")
}

// Whoever guesses tokens is slowed down, and nobody else.
func TestGuessesAreLimited(t *testing.T) {
	in := install(t, nil)
	read, err := app.OperatorToken(in.cfg)
	if err != nil {
		t.Fatal(err)
	}
	token, err := read()
	if err != nil {
		t.Fatal(err)
	}
	const guesser, neighbour = "127.0.0.2", "127.0.0.3"
	if code, _ := asks(t, guesser, in.url, token); code != http.StatusOK {
		t.Fatalf("the right token: %d", code)
	}
	limited := 0
	for i := range 30 {
		switch code, retry := asks(t, guesser, in.url, fmt.Sprintf("a-guess-that-is-wrong-%d", i)); code {
		case http.StatusUnauthorized:
			if limited > 0 {
				t.Errorf("guess %d is looked at again", i)
			}
		case http.StatusTooManyRequests:
			limited++
			if n, err := strconv.Atoi(retry); err != nil || n < 1 || n > 60 {
				t.Errorf("Retry-After is %q", retry)
			}
		default:
			t.Fatalf("a wrong token: %d", code)
		}
	}
	if limited != 20 {
		t.Errorf("%d of 30 guesses were refused unseen, want 20", limited)
	}
	// Who was let in before goes on, from there too; and elsewhere nothing is known of it.
	if code, _ := asks(t, guesser, in.url, token); code != http.StatusOK {
		t.Errorf("the right token, known at that address: %d", code)
	}
	if code, _ := asks(t, neighbour, in.url, token); code != http.StatusOK {
		t.Errorf("the right token from elsewhere: %d", code)
	}
	if code, _ := asks(t, guesser, in.url, ""); code != http.StatusTooManyRequests {
		t.Errorf("no token: %d", code)
	}
	// The same wrong token is limited too, but not for long: it may become right.
	refused := 0
	for range 20 {
		if code, _ := asks(t, neighbour, in.url, "the-same-wrong-token-again"); code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d of 20 were refused", refused)
	}
	code, metrics := status(t, http.DefaultClient, in.url+"/metrics")
	if want := fmt.Sprintf("\ntungstene_app_requests_limited_total %d\n", limited+1+refused); code != http.StatusOK || !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %q", want)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A token that is replaced is taken up by masters and clients without a restart, even when all of
// them present the new one before the masters have read it.
func TestTokenIsRotated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(tokens ...string) {
		if err := os.WriteFile(file+".new", []byte(strings.Join(tokens, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("the-old-token-of-collectors")
	in := install(t, func(c *app.Config) {
		c.Master.CollectorTokenFile = file
		c.Collector.Heartbeat = 100 * time.Millisecond
	})
	token, err := app.OperatorToken(in.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := app.NewMasterClient(in.cfg, []string{in.url}, token)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	seen := func() time.Time {
		list, err := m.Collectors(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return time.Time{}
		}
		return list[0].Seen
	}
	eventually(t, "a heartbeat arrives", func() bool { return !seen().IsZero() })
	write("the-new-token-of-collectors")
	changed := seen()
	eventually(t, "heartbeats arrive with the new token", func() bool { return seen().Sub(changed) > 3*time.Second })
	eventually(t, "the old token is refused", func() bool {
		code, _ := asks(t, "127.0.0.4", in.url, "the-old-token-of-collectors")
		return code == http.StatusUnauthorized
	})
}
