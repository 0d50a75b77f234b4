package charity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// validateEvery is Twitch's rule: tokens are validated hourly.
	validateEvery = time.Hour
	// renewAhead is how long before its end a token is renewed, at most a tenth of its life.
	renewAhead = 10 * time.Minute
	// refusedFor is how long a token that was refused is not tried again; another one is at once.
	refusedFor = 10 * time.Minute
	// tokenLife is assumed where none is told.
	tokenLife = time.Hour
	// charityScope is what a broadcaster's token must allow.
	charityScope = "channel:read:charity"
)

// credentials are what goes with a request.
type credentials struct {
	headers map[string]string
	// user is the Twitch id of whose they are.
	user string
}

// authority gives a feed its credentials.
type authority interface {
	// credentials returns what to send, or why there is nothing to send: then ok is false.
	credentials(ctx context.Context, client *http.Client, timeout time.Duration) (c credentials, why response, ok bool)
	// refused says that the source did not take what credentials gave last. It reports whether others may
	// be had at once.
	refused() bool
}

func noSecret(err error) response {
	return response{reason: reasonRefused, detail: err.Error()}
}

// headerFiles sends headers that stand in files.
type headerFiles map[string]secretFile

func (h headerFiles) credentials(context.Context, *http.Client, time.Duration) (credentials, response, bool) {
	c := credentials{headers: make(map[string]string, len(h))}
	for name, file := range h {
		v, err := file.read()
		if err != nil {
			return c, noSecret(err), false
		}
		c.headers[name] = v
	}
	return c, response{}, true
}

func (headerFiles) refused() bool { return false }

// clientCredentials is the application's own token (OAuth 2, client credentials), as Tiltify has it.
type clientCredentials struct {
	url        string
	id, secret secretFile

	mu    sync.Mutex
	token string
	renew time.Time
	fresh bool // it was had for this very request
}

func (a *clientCredentials) credentials(ctx context.Context, client *http.Client, timeout time.Duration) (credentials, response, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fresh = false
	if a.token == "" || !time.Now().Before(a.renew) {
		if why, ok := a.get(ctx, client, timeout); !ok {
			return credentials{}, why, false
		}
		a.fresh = true
	}
	return credentials{headers: map[string]string{"Authorization": "Bearer " + a.token}}, response{}, true
}

// refused throws the token away; a new one that is refused at once is no help.
func (a *clientCredentials) refused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
	return !a.fresh
}

func (a *clientCredentials) get(ctx context.Context, client *http.Client, timeout time.Duration) (response, bool) {
	id, err := a.id.read()
	if err != nil {
		return noSecret(err), false
	}
	secret, err := a.secret.read()
	if err != nil {
		return noSecret(err), false
	}
	asked := time.Now()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"public"}}
	body, why := authenticate(ctx, client, timeout, http.MethodPost, a.url, strings.NewReader(form.Encode()), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded",
	})
	if why.reason != reasonOK {
		if why.reason == reasonStatus && why.status == http.StatusBadRequest {
			why.reason = reasonRefused // "invalid client"
		}
		why.detail = "the token endpoint says " + why.detail + ": check the client id and secret"
		return why, false
	}
	root, _, err := parseJSON(body)
	token := root.get("access_token")
	if err != nil || token.kind != text || token.text == "" || strings.ContainsFunc(token.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return response{reason: reasonShape, detail: "the token endpoint's answer has no access_token: check auth_url"}, false
	}
	life := tokenLife
	if n, err := whole(root.get("expires_in").text); err == nil && n > 0 {
		life = time.Duration(min(n, 1e9)) * time.Second
	}
	a.token, a.renew = token.text, asked.Add(life-min(renewAhead, life/10))
	return response{}, true
}

// authenticate makes a request whose answer is a secret: it is never kept.
func authenticate(ctx context.Context, client *http.Client, timeout time.Duration, method, address string, body io.Reader,
	headers map[string]string,
) ([]byte, response) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, response{reason: reasonStatus, detail: "that auth_url can't be asked"}
	}
	req.Header.Set("User-Agent", "tungstene")
	req.Header.Set("Accept", "application/json")
	for name, v := range headers {
		req.Header.Set(name, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, unanswered(ctx, timeout, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	out := response{status: resp.StatusCode}
	switch {
	case resp.StatusCode != http.StatusOK:
		out.judge(resp)
		out.answered = false
	case err != nil:
		out.reason, out.detail = reasonShape, "an answer that broke off"
	default:
		out.reason = reasonOK
	}
	return b, out
}

// broadcasterToken is a broadcaster's user token, in a file that who renews it writes anew.
type broadcasterToken struct {
	url   string
	login string
	file  secretFile

	mu    sync.Mutex
	token string // the last one that was validated
	held  credentials
	until time.Time
	bad   string // one that was refused: it is not tried again before retry
	retry time.Time
}

func (a *broadcasterToken) credentials(ctx context.Context, client *http.Client, timeout time.Duration) (credentials, response, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token, err := a.file.read()
	if err != nil {
		return credentials{}, noSecret(err), false
	}
	token = strings.TrimPrefix(token, "oauth:")
	switch {
	case token == a.bad && time.Now().Before(a.retry):
		return credentials{}, noSecret(errors.New("Twitch does not take the token of " + a.login +
			" any more: put a new one with " + charityScope + " into its file")), false
	case token == a.token && time.Now().Before(a.until):
		return a.held, response{}, true
	}
	asked := time.Now()
	body, why := authenticate(ctx, client, timeout, http.MethodGet, a.url, http.NoBody, map[string]string{"Authorization": "OAuth " + token})
	if why.reason != reasonOK {
		if why.reason == reasonRefused {
			a.bad, a.retry = token, time.Now().Add(refusedFor)
			why.detail = "Twitch does not take the token of " + a.login + ": put a new one with " + charityScope + " into its file"
		}
		return credentials{}, why, false
	}
	root, _, _ := parseJSON(body)
	id, user, login := root.get("client_id"), root.get("user_id"), root.get("login")
	if id.kind != text || user.kind != text || login.kind != text || strings.ContainsFunc(id.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return credentials{}, response{reason: reasonShape, detail: "the answer to the token's validation has no client_id, login and user_id: check auth_url"}, false
	}
	scopes := root.get("scopes").items
	switch {
	case !strings.EqualFold(login.text, a.login):
		return credentials{}, noSecret(fmt.Errorf("the token in the file of %s is that of %s", a.login, cut(login.text, 25))), false
	case !slices.ContainsFunc(scopes, func(v value) bool { return v.text == charityScope }):
		return credentials{}, noSecret(fmt.Errorf("the token of %s does not allow %s: let the broadcaster grant one that does",
			a.login, charityScope)), false
	}
	a.token, a.until = token, asked.Add(validateEvery)
	a.held = credentials{headers: map[string]string{"Authorization": "Bearer " + token, "Client-Id": id.text}, user: user.text}
	return a.held, response{}, true
}

// refused has the token validated anew: that tells why.
func (a *broadcasterToken) refused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := time.Until(a.until) > validateEvery-time.Minute
	a.until = time.Time{}
	return !fresh
}
