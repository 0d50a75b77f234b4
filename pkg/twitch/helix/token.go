package helix

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// validateEvery is Twitch's rule: an application validates its tokens hourly.
	validateEvery = time.Hour
	// renewAhead is how long before its end a token is renewed, at most a tenth of its life.
	renewAhead = 10 * time.Minute
	// retryToken is when a renewal that failed for reasons that pass is tried again.
	retryToken = time.Minute
)

// Run validates each client id's token at its start and every hour, and renews it ahead of its
// end, until ctx ends; it returns nil. Without it tokens are still had and renewed by the requests
// that need them.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, a := range c.accounts {
		wg.Go(func() {
			for ctx.Err() == nil {
				if sleep(ctx, c.tend(ctx, a)) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// tend sees to one client id's token and returns how long it can be left alone.
func (c *Client) tend(ctx context.Context, a *account) time.Duration {
	value, err := c.tokenOf(ctx, a, "")
	if err == nil {
		if err = c.validate(ctx, a, value); errors.Is(err, ErrUnauthorized) {
			if value, err = c.tokenOf(ctx, a, value); err == nil {
				if err = c.validate(ctx, a, value); errors.Is(err, ErrUnauthorized) {
					c.refuse(a, endpointValidate, err)
				}
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case err != nil && a.refusedUntil.After(now):
		return a.refusedUntil.Sub(now)
	case err != nil:
		return retryToken
	case !a.token.renew.IsZero():
		return max(min(a.token.renew.Sub(now), validateEvery), time.Second)
	default:
		return validateEvery
	}
}

// tokenOf returns the account's token, and gets a new one when there is none, when it nears its
// end, or when it is the one that was refused. One request at a time is made for it, each caller
// waits within its own context.
func (c *Client) tokenOf(ctx context.Context, a *account, refused string) (string, error) {
	if value, err := c.heldToken(a, refused); value != "" || err != nil {
		return value, err
	}
	select {
	case a.tokens <- struct{}{}:
		defer func() { <-a.tokens }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	// Whoever was before may have got one, or have been refused.
	if value, err := c.heldToken(a, refused); value != "" || err != nil {
		return value, err
	}
	t, err := c.requestToken(ctx, a)
	if err == nil {
		c.mu.Lock()
		a.token = t
		accepted := a.accept(endpointToken)
		c.mu.Unlock()
		if accepted {
			c.log.Info("twitch takes the client id again", "client", a.cred.ClientID)
		}
		return t.value, nil
	}
	if errors.Is(err, ErrUnauthorized) {
		c.refuse(a, endpointToken, err)
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); a.token.value != "" && a.token.value != refused && a.token.expires.After(now) {
		// The old one is good for a while yet.
		a.token.renew = now.Add(min(retryToken, a.token.expires.Sub(now)))
		return a.token.value, nil
	}
	return "", err
}

// heldToken is the token at hand, if it will do, or why there can't be one now.
func (c *Client) heldToken(a *account, refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if a.refusedUntil.After(now) {
		return "", a.refusal
	}
	if a.token.value == refused || (!a.token.renew.IsZero() && !a.token.renew.After(now)) {
		return "", nil
	}
	return a.token.value, nil
}

// requestToken asks for an app token by client credentials.
func (c *Client) requestToken(ctx context.Context, a *account) (token, error) {
	form := url.Values{
		"client_id": {a.cred.ClientID}, "client_secret": {a.cred.Secret}, "grant_type": {"client_credentials"},
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	asked := time.Now()
	// The form is in the body: URLs end up in logs of proxies.
	f := c.authenticate(ctx, a, endpointToken, http.MethodPost, "/oauth2/token", form.Encode(), "", &answer)
	if f == nil && (answer.AccessToken == "" || strings.ContainsFunc(answer.AccessToken, notInHeader)) {
		f = c.failure(a, endpointToken, http.StatusOK)
		f.reason, f.detail = reasonBody, "it has no access token"
	}
	c.count(endpointToken, f)
	if f != nil {
		return token{}, f
	}
	t := token{value: answer.AccessToken}
	t.lasts(asked, answer.ExpiresIn)
	return t, nil
}

func notInHeader(r rune) bool { return r <= ' ' || r > '~' }

// lasts sets the token's end. Twitch names seconds; none or 0 is no known end.
func (t *token) lasts(from time.Time, seconds float64) {
	if seconds <= 0 {
		t.expires, t.renew = time.Time{}, time.Time{}
		return
	}
	life := time.Duration(min(seconds, 1e9) * float64(time.Second))
	t.expires = from.Add(life)
	t.renew = t.expires.Add(-min(renewAhead, life/10))
}

// validate asks Twitch whether it takes a token, and for how long.
func (c *Client) validate(ctx context.Context, a *account, value string) error {
	var answer struct {
		ClientID  string  `json:"client_id"`
		ExpiresIn float64 `json:"expires_in"`
	}
	asked := time.Now()
	f := c.authenticate(ctx, a, endpointValidate, http.MethodGet, "/oauth2/validate", "", value, &answer)
	if f == nil && answer.ClientID != a.cred.ClientID {
		f = c.failure(a, endpointValidate, http.StatusOK)
		f.reason, f.detail = reasonBody, "it speaks of another client id"
	}
	c.count(endpointValidate, f)
	if f != nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.token.value == value {
		a.token.lasts(asked, answer.ExpiresIn)
	}
	a.accept(endpointValidate)
	return nil
}

func (c *Client) authenticate(ctx context.Context, a *account, endpoint, method, path, form, bearer string, into any) *failure {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errSlow)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.AuthURL+path, strings.NewReader(form))
	if err != nil {
		return c.broken(ctx, a, endpoint, err)
	}
	req.Header.Set("User-Agent", userAgent)
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "OAuth "+bearer)
	}
	status, body, f := c.roundTrip(req, a, endpoint)
	if f != nil {
		return f
	}
	if status != http.StatusOK {
		f = c.failure(a, endpoint, status)
		f.reason, f.detail = reasonOf(status), c.message(a, bearer, body)
		if f.reason == reasonRequest {
			f.reason = reasonUnauthorized // "invalid client"
		}
		return f
	}
	if err := json.Unmarshal(body, into); err != nil {
		f = c.failure(a, endpoint, status)
		f.reason, f.err = reasonBody, err
		return f
	}
	return nil
}

// refuse notes that Twitch doesn't take a client id, and tells it once.
func (c *Client) refuse(a *account, endpoint string, err error) {
	c.mu.Lock()
	news := a.refuse(time.Now(), endpoint, err)
	c.wake()
	c.mu.Unlock()
	if news {
		c.log.Error("twitch refuses the client id: check it and its secret", "client", a.cred.ClientID, "err", err)
	}
}

// sleep waits for d, and returns the context's error if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
