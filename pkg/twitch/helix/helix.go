// Package helix asks Twitch's Helix API which channels are live and who they are, and turns the
// answers into records.
//
// [Client] keeps an app token for each of several client ids, goes by the rate limits that Twitch
// sends in its headers, falls over to the next client id when one is exhausted or refused, and
// survives broken answers. [Sweeper] asks it at scheduled slots and emits viewer samples, stream
// sessions and changes of title, category, login, name and picture.
//
// Requests are built and decoded by github.com/nicklaw5/helix/v2. Each request has a library client
// of its own, which costs two small allocations: the library keeps one context and one token per
// client, and reads the token without its lock. Tokens are requested without the library, which
// puts the secret into the URL and knows only Twitch's own authentication host.
package helix

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Twitch's own addresses.
const (
	DefaultAPIURL  = "https://api.twitch.tv/helix"
	DefaultAuthURL = "https://id.twitch.tv"
)

// Bounds of a Client.
const (
	// ChunkSize is how many ids or logins Twitch takes in one request.
	ChunkSize = 100
	// MaxAnswerBytes is the most that is read of an answer; a full one has about 150 KB.
	MaxAnswerBytes = 1 << 20
)

const (
	defaultTimeout  = 10 * time.Second
	defaultAttempts = 6
	userAgent       = "tungstene"
	redacted        = "[redacted]"
)

// ErrUnauthorized is wrapped by errors that say that Twitch takes none of the client ids, or, of
// Check, not this one.
var ErrUnauthorized = errors.New("twitch refuses the client id or its secret")

// Credential is a client id with its secret, as https://dev.twitch.tv/console shows them. It prints
// without the secret.
type Credential struct {
	ClientID string
	Secret   string
}

// String is the client id.
func (c Credential) String() string { return c.ClientID + "/" + redacted }

// GoString keeps the secret out of %#v.
func (c Credential) GoString() string {
	return fmt.Sprintf("helix.Credential{%q, %s}", c.ClientID, redacted)
}

// LogValue keeps the secret out of logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText keeps the secret out of JSON.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Config configures a Client.
type Config struct {
	// Clients are the client ids in order of preference: the next is used while those before it
	// are exhausted or refused. At least one, each once.
	Clients []Credential
	// APIURL is where Helix is. Default https://api.twitch.tv/helix.
	APIURL string
	// AuthURL is where tokens are had; /oauth2/token is below it. Default https://id.twitch.tv.
	AuthURL string
	// Timeout is the most that one request may take, its answer's body included. Default 10 s.
	Timeout time.Duration
	// Attempts is how often one request is tried when it fails for reasons that pass: timeouts,
	// 5xx, answers that can't be read. Waiting for a rate limit is no attempt. Default 6, which
	// takes about 10 s when each fails at once.
	Attempts int
	// Budget is the most points a minute, of each client id, that are used here; see SetBudget.
	// Default 0: what Twitch's headers allow.
	Budget int
	// Transport carries the requests. Default a transport of its own, which goes by HTTPS_PROXY.
	Transport http.RoundTripper
	// Logger is where lasting trouble is told. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Default nil: none.
	Registerer prometheus.Registerer
}

func (c Config) complete() (Config, error) {
	if len(c.Clients) == 0 {
		return c, errors.New("helix: no client id: register an application at https://dev.twitch.tv/console and set its client id and secret")
	}
	seen := make(map[string]bool, len(c.Clients))
	for i, cred := range c.Clients {
		switch {
		case strings.TrimSpace(cred.ClientID) == "":
			return c, fmt.Errorf("helix: client %d has no client id", i+1)
		case strings.TrimSpace(cred.Secret) == "":
			return c, fmt.Errorf("helix: client id %s has no secret", cred.ClientID)
		case seen[cred.ClientID]:
			return c, fmt.Errorf("helix: client id %s is listed twice: its points are the same ones", cred.ClientID)
		}
		seen[cred.ClientID] = true
	}
	var err error
	if c.APIURL, err = baseURL("API", c.APIURL, DefaultAPIURL); err != nil {
		return c, err
	}
	if c.AuthURL, err = baseURL("authentication", c.AuthURL, DefaultAuthURL); err != nil {
		return c, err
	}
	c.AuthURL = strings.TrimSuffix(c.AuthURL, "/oauth2")
	if c.Timeout < 0 || c.Attempts < 0 || c.Budget < 0 {
		return c, fmt.Errorf("helix: timeout %s, %d attempts, budget %d: use 0 for the default or more", c.Timeout, c.Attempts, c.Budget)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Attempts == 0 {
		c.Attempts = defaultAttempts
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func baseURL(what, s, otherwise string) (string, error) {
	if s == "" {
		return otherwise, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("helix: %s URL: %w", what, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("helix: %s URL %q: use http:// or https://, a host and at most a path, like %s", what, u.Redacted(), otherwise)
	}
	return strings.TrimRight(s, "/"), nil
}

// Stream is a live stream.
type Stream struct {
	// ID is the stream session's id; Channel the broadcaster's.
	ID      string
	Channel string
	Login   string
	Name    string
	// Category is the category's or game's name; empty when none is set.
	Category   string
	CategoryID string
	Title      string
	Language   string
	Viewers    int
	Started    time.Time
}

// User is a Twitch account.
type User struct {
	ID      string
	Login   string
	Name    string
	Picture string
}

// PartialError says that some ids or logins could not be asked for: nothing is known of them, while
// what was returned beside the error is right for the rest.
type PartialError struct {
	IDs    []string
	Logins []string
	Err    error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("no answer for %d ids and logins: %v", len(e.IDs)+len(e.Logins), e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// Stats is how a Client is doing.
type Stats struct {
	// Requests counts Helix requests since the start, Failures those without a usable answer.
	Requests, Failures int64
	// ClockOffset is our clock less Twitch's, by the Date header of the last answer; good to about
	// a second.
	ClockOffset time.Duration
	Clients     []ClientStats
}

// The states of a client id.
const (
	StateReady     = "ready"
	StateExhausted = "exhausted"
	StateRefused   = "refused"
)

// ClientStats is how one client id is doing.
type ClientStats struct {
	ClientID string
	State    string
	// Limit and Remaining are points, as the last answer said; -1 when not known.
	Limit, Remaining int
	// Spent is points used here in the last minute.
	Spent int
	// Until is when an exhausted client id has points again, or a refused one is tried again.
	Until time.Time
	// TokenExpires is zero without a token, and where Twitch named no end.
	TokenExpires time.Time
}
