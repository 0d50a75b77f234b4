package helix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	api "github.com/nicklaw5/helix/v2"

	"github.com/tungstene/tungstene/pkg/control"
)

const (
	// parallel is how many requests one Streams or Users has under way.
	parallel = 4
	// firstBackoff doubles up to longestBackoff; half of it is random.
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 10 * time.Second
	// failingAfter is how many requests in a row must fail for the condition helix-failing.
	failingAfter = 3
	// splits bounds the additional requests that look for what spoils a chunk.
	splits = 32
	// maxIDBytes bounds ids of channels and streams; Twitch's have about 12 digits.
	maxIDBytes = 64
	// clockTolerance is what Check lets a clock be off.
	clockTolerance = 5 * time.Second
)

// Client asks Helix. Its methods may be called at the same time.
//
// Requests wait while every client id that Twitch takes is exhausted, as long as their context
// lets them; when Twitch takes none they fail at once.
type Client struct {
	cfg               Config
	http              *http.Client
	log               *slog.Logger
	metrics           metrics
	apiHost, authHost string
	accounts          []*account

	mu      sync.Mutex
	budget  int
	changed chan struct{} // closed and replaced when an account's state changes
	stats   Stats
	hosts   map[string]*hostHealth
}

// hostHealth counts the requests to one host that failed in a row.
type hostHealth struct {
	failures int
	since    time.Time
	last     string
}

// New makes a client. It makes no request.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	transport := cfg.Transport
	if transport == nil {
		transport = ownTransport()
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger, budget: cfg.Budget,
		http: &http.Client{
			Transport: transport,
			// Twitch does not redirect, and a secret must not follow whoever does.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		apiHost: hostOf(cfg.APIURL), authHost: hostOf(cfg.AuthURL),
		changed: make(chan struct{}),
		hosts:   make(map[string]*hostHealth, 2),
	}
	for _, cred := range cfg.Clients {
		c.accounts = append(c.accounts, newAccount(cred))
	}
	if c.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	return c, nil
}

// ownTransport is net/http's default one, apart from that of whatever else runs in the process.
func ownTransport() *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if shared, ok := http.DefaultTransport.(*http.Transport); ok {
		t = shared.Clone()
	}
	t.MaxIdleConnsPerHost = 2 * parallel
	return t
}

func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	return u.Host
}

// Close closes idle connections. The client can be used again all the same.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// SetBudget sets the most points a minute, of each client id, that are used here: the share of
// Twitch's 800 that the master deals. 0 is what Twitch's headers allow. Any span of a minute holds
// to it.
func (c *Client) SetBudget(pointsPerMinute int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = max(pointsPerMinute, 0)
	c.wake()
}

// wake lets those who wait for points look again. c.mu is held.
func (c *Client) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Streams returns the live streams of the channels, in no order, one a channel. A channel that is
// offline, or that does not exist, is absent. When some channels could not be asked for, the error
// is a *PartialError and the streams are those of the others.
func (c *Client) Streams(ctx context.Context, ids []string) ([]Stream, error) {
	var (
		all    []Stream
		failed PartialError
	)
	c.eachStreams(ctx, ids, func(chunk []string, streams []Stream, err error) {
		all = append(all, streams...)
		if err != nil {
			failed.IDs = append(failed.IDs, chunk...)
			failed.Err = err
		}
	})
	if failed.Err != nil {
		return all, &failed
	}
	return all, nil
}

// eachStreams asks for the streams of the channels in chunks, and gives each chunk's answer to got,
// one at a time, as it arrives. Every channel is in exactly one chunk.
func (c *Client) eachStreams(ctx context.Context, ids []string, got func(chunk []string, streams []Stream, err error)) {
	var mu sync.Mutex
	c.inChunks(unique(ids), func(chunk []string) {
		left := splits
		bisect(chunk, &left, func(part []string) error {
			streams, err := c.chunkOfStreams(ctx, part)
			if spoiled(part, left, err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got(part, streams, err)
			return nil
		})
	})
}

// Users returns the accounts with these ids and these logins, in no order, each once. Those that do
// not exist are absent; so are logins that can't be one. When some could not be asked for, the
// error is a *PartialError and the users are the others.
func (c *Client) Users(ctx context.Context, ids, logins []string) ([]User, error) {
	// Ids have no such mark: a login can't hold it.
	const id = "#"
	keys := make([]string, 0, len(ids)+len(logins))
	for _, s := range unique(ids) {
		keys = append(keys, id+s)
	}
	for _, s := range logins {
		// One login that can't be one spoils the whole request.
		if s = strings.ToLower(strings.TrimSpace(s)); loginPattern.MatchString(s) {
			keys = append(keys, s)
		}
	}
	var (
		mu     sync.Mutex
		found  = make(map[string]User, len(keys))
		failed PartialError
	)
	c.inChunks(unique(keys), func(chunk []string) {
		left := splits
		bisect(chunk, &left, func(part []string) error {
			var params api.UsersParams
			for _, key := range part {
				if s, ok := strings.CutPrefix(key, id); ok {
					params.IDs = append(params.IDs, s)
				} else {
					params.Logins = append(params.Logins, key)
				}
			}
			users, err := c.chunkOfUsers(ctx, &params)
			if spoiled(part, left, err) {
				return err
			}
			if len(part) == 1 && isRequest(err) {
				c.log.Warn("twitch says that something asked for can't be an id or login", "err", err) // it may name a person
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, u := range users {
				found[u.ID] = u
			}
			if err != nil {
				failed.IDs, failed.Logins = append(failed.IDs, params.IDs...), append(failed.Logins, params.Logins...)
				failed.Err = err
			}
			return nil
		})
	})
	all := make([]User, 0, len(found))
	for _, u := range found {
		all = append(all, u)
	}
	if failed.Err != nil {
		return all, &failed
	}
	return all, nil
}

// loginPattern is what a login can be; old ones are shorter than today's four characters.
var loginPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_]{0,24}$`)

// unique returns the non-empty ones of s, each once, in order.
func unique(s []string) []string {
	seen := make(map[string]bool, len(s))
	out := make([]string, 0, len(s))
	for _, v := range s {
		if v != "" && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// inChunks calls do for each chunk of keys, some at the same time, and returns after the last.
func (c *Client) inChunks(keys []string, do func(chunk []string)) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, parallel)
	)
	for len(keys) > 0 {
		n := min(len(keys), ChunkSize)
		chunk := keys[:n:n]
		keys = keys[n:]
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(chunk)
		})
	}
	wg.Wait()
}

// bisect calls ask with the chunk, and with its halves, and so on, while ask says that something in
// it spoils the request. left counts down the requests that this may still add.
func bisect(chunk []string, left *int, ask func(part []string) error) {
	if ask(chunk) == nil {
		return
	}
	*left -= 2
	half := len(chunk) / 2
	bisect(chunk[:half], left, ask)
	bisect(chunk[half:], left, ask)
}

// spoiled reports whether a part should be divided: Twitch answers 400 to a whole request when one
// id or login in it can't be one.
func spoiled(part []string, left int, err error) bool {
	return len(part) > 1 && left > 1 && isRequest(err)
}

func isRequest(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.reason == reasonRequest
}

// chunkOfStreams asks for at most 100 channels, page after page.
func (c *Client) chunkOfStreams(ctx context.Context, ids []string) ([]Stream, error) {
	asked := make(map[string]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	found := make(map[string]Stream, len(ids))
	// Each page brings at least one channel that no page before it had, so this ends.
	for after := ""; ; {
		params := &api.StreamsParams{UserIDs: ids, First: ChunkSize, After: after}
		news, size := 0, 0
		err := c.call(ctx, endpointStreams, func(lib *api.Client) (string, error) {
			resp, err := lib.GetStreams(params)
			if err != nil {
				return "", err
			}
			after, size, news = resp.Data.Pagination.Cursor, len(resp.Data.Streams), 0
			for i := range resp.Data.Streams {
				if odd := oddStream(&resp.Data.Streams[i]); odd != "" {
					return odd, nil
				}
			}
			for i := range resp.Data.Streams {
				s := &resp.Data.Streams[i]
				old, again := found[s.UserID]
				if !asked[s.UserID] || (again && old.Started.After(s.StartedAt)) {
					continue
				}
				if !again {
					news++
				}
				found[s.UserID] = Stream{
					ID: s.ID, Channel: s.UserID, Login: s.UserLogin, Name: s.UserName,
					Category: s.GameName, CategoryID: s.GameID, Title: s.Title, Language: s.Language,
					Viewers: s.ViewerCount, Started: s.StartedAt.UTC(),
				}
			}
			if after != "" && size > 0 && news == 0 && len(found) < len(asked) {
				return "its pages repeat themselves", nil
			}
			return "", nil
		})
		if err != nil {
			return nil, err
		}
		if after == "" || size == 0 || len(found) == len(asked) {
			break
		}
	}
	out := make([]Stream, 0, len(found))
	for _, s := range found {
		out = append(out, s)
	}
	return out, nil
}

func oddStream(s *api.Stream) string {
	switch {
	case s.ID == "" || s.UserID == "" || len(s.ID) > maxIDBytes || len(s.UserID) > maxIDBytes:
		return "a stream has no id"
	case s.ViewerCount < 0:
		return fmt.Sprintf("stream %s has %d viewers", s.ID, s.ViewerCount)
	case s.StartedAt.IsZero():
		return fmt.Sprintf("stream %s has no start", s.ID)
	}
	return ""
}

func (c *Client) chunkOfUsers(ctx context.Context, params *api.UsersParams) ([]User, error) {
	var users []User
	err := c.call(ctx, endpointUsers, func(lib *api.Client) (string, error) {
		resp, err := lib.GetUsers(params)
		if err != nil {
			return "", err
		}
		users = users[:0]
		for i := range resp.Data.Users {
			u := &resp.Data.Users[i]
			if u.ID == "" || u.Login == "" || len(u.ID) > maxIDBytes {
				return "a user has no id or login", nil
			}
			users = append(users, User{ID: u.ID, Login: u.Login, Name: u.DisplayName, Picture: u.ProfileImageURL})
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	return users, nil
}

// question makes one request with a library client and takes what its answer holds. It returns what
// is odd about that, or the library's error.
type question func(lib *api.Client) (odd string, err error)

// call asks until there is an answer, with whichever client id can, or until it is no use.
func (c *Client) call(ctx context.Context, endpoint string, ask question) error {
	for attempt := 1; ; {
		a, err := c.acquire(ctx)
		if err != nil {
			return fmt.Errorf("helix %s: %w", endpoint, err)
		}
		err = c.authorized(ctx, a, endpoint, ask)
		if err == nil {
			return nil
		}
		var f *failure
		if !errors.As(err, &f) {
			return err // the context's
		}
		switch {
		case f.reason == reasonLimited && f.endpoint == endpoint, f.reason == reasonUnauthorized:
			// The account says so: on to the next, or wait for this one.
			continue
		case !f.reason.passes() && f.reason != reasonLimited, attempt >= c.cfg.Attempts:
			return err
		}
		backoff := min(firstBackoff<<min(attempt-1, 10), longestBackoff)
		backoff = backoff/2 + rand.N(backoff/2+1)
		if ended := sleep(ctx, backoff); ended != nil {
			return fmt.Errorf("%w, after %d tries: %w", ended, attempt, err)
		}
		attempt++
	}
}

// authorized makes one request with one client id; once more, with a new token, when its token was
// refused. It gives back what acquire reserved.
func (c *Client) authorized(ctx context.Context, a *account, endpoint string, ask question) error {
	defer c.release(a)
	refused := ""
	for {
		value, err := c.tokenOf(ctx, a, refused)
		if err != nil {
			return err
		}
		if refused != "" {
			c.mu.Lock()
			a.spent = append(a.spent, time.Now())
			c.mu.Unlock()
		}
		f := c.once(ctx, a, endpoint, value, ask)
		c.count(endpoint, f)
		switch {
		case f == nil:
			c.mu.Lock()
			a.accept(endpoint)
			c.mu.Unlock()
			return nil
		case !f.unauthorized():
			return f
		case refused != "":
			c.refuse(a, endpoint, f)
			return f
		}
		refused = value
	}
}

// once makes one request.
func (c *Client) once(ctx context.Context, a *account, endpoint, value string, ask question) *failure {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errSlow)
	defer cancel()
	x := &exchange{client: c, account: a, token: value, endpoint: endpoint}
	lib, err := api.NewClientWithContext(ctx, &api.Options{
		ClientID: a.cred.ClientID, AppAccessToken: value, UserAgent: userAgent,
		APIBaseURL: c.cfg.APIURL, HTTPClient: x,
	})
	odd := ""
	if err == nil {
		odd, err = ask(lib)
	}
	switch {
	case x.failed != nil:
		// The library's error has lost all but the text.
		return x.failed
	case err != nil || odd != "":
		f := c.failure(a, endpoint, http.StatusOK)
		f.reason, f.detail, f.err = reasonBody, odd, err
		return f
	}
	return nil
}

// preferred is the key of a context's value: how many client ids are passed over, in their order of
// preference, as long as those after them can be used. An answer that is hard to believe is asked for
// once more with another client id.
type preferred struct{}

// acquire chooses the first client id that is taken and has points, and reserves one point. It waits
// when all that are taken are exhausted.
func (c *Client) acquire(ctx context.Context) (*account, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		var (
			now     = time.Now()
			next    time.Time
			refused []error
		)
		first, _ := ctx.Value(preferred{}).(int)
		for i := range c.accounts {
			a := c.accounts[(first+i)%len(c.accounts)]
			if a.refusedUntil.After(now) {
				refused = append(refused, a.refusal)
				continue
			}
			until := a.exhausted(now, c.budget)
			if until.IsZero() {
				a.spend(now)
				c.mu.Unlock()
				return a, nil
			}
			if next.IsZero() || until.Before(next) {
				next = until
			}
		}
		changed := c.changed
		c.mu.Unlock()
		if next.IsZero() {
			return nil, errors.Join(refused...)
		}
		timer := time.NewTimer(next.Sub(now) + time.Millisecond)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("every client id is exhausted, the next has points at %s: %w",
				next.UTC().Format(time.TimeOnly), ctx.Err())
		}
		timer.Stop()
	}
}

func (c *Client) release(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.inFlight--
	c.wake()
}

// noteAnswer reads an answer's headers.
func (c *Client) noteAnswer(a *account, endpoint string, resp *http.Response) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if off, ok := offset(now, resp.Header); ok {
		c.stats.ClockOffset = off
	}
	if endpoint == endpointStreams || endpoint == endpointUsers {
		a.observe(now, resp.StatusCode, resp.Header)
		c.metrics.remaining(a.cred.ClientID, a.remaining)
	}
}

// count counts a request's outcome.
func (c *Client) count(endpoint string, f *failure) {
	outcome := reasonOK
	if f != nil {
		outcome = f.reason
	}
	c.metrics.request(endpoint, outcome)
	c.mu.Lock()
	defer c.mu.Unlock()
	host := c.authHost
	if endpoint == endpointStreams || endpoint == endpointUsers {
		host = c.apiHost
		c.stats.Requests++
		if f != nil {
			c.stats.Failures++
		}
	}
	health := c.hosts[host]
	if health == nil {
		health = new(hostHealth)
		c.hosts[host] = health
	}
	switch {
	case f == nil, outcome == reasonLimited, outcome == reasonUnauthorized:
		*health = hostHealth{} // it answers; the account's state says the rest
	case outcome == reasonCanceled, outcome == reasonRequest:
	default:
		if health.failures == 0 {
			health.since = time.Now()
		}
		health.failures++
		health.last = f.Error() + ": " + f.remedy()
	}
}

// Conditions are what is wrong now: helix-unauthorized and helix-exhausted of a client id,
// helix-failing of a host.
func (c *Client) Conditions() []control.Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []control.Condition
	now := time.Now()
	for _, a := range c.accounts {
		if a.refusal != nil {
			out = append(out, control.Condition{
				Name: "helix-unauthorized", Subject: a.cred.ClientID, Since: a.refusedAt,
				Detail: explain(a.refusal),
			})
			continue
		}
		if until := a.exhausted(now, c.budget); !until.IsZero() {
			out = append(out, control.Condition{
				Name: "helix-exhausted", Subject: a.cred.ClientID, Since: a.exhaustedAt,
				Detail: fmt.Sprintf("its points are used up until %s; raise its budget or add a client id if this lasts",
					until.UTC().Format(time.TimeOnly)),
			})
		}
	}
	hosts := []string{c.apiHost}
	if c.authHost != c.apiHost {
		hosts = append(hosts, c.authHost)
	}
	for _, host := range hosts {
		if h := c.hosts[host]; h != nil && h.failures >= failingAfter {
			out = append(out, control.Condition{
				Name: "helix-failing", Subject: host, Since: h.since,
				Detail: fmt.Sprintf("%d requests in a row failed: %s", h.failures, h.last),
			})
		}
	}
	return out
}

// explain is an error's text with what to do about it.
func explain(err error) string {
	text := err.Error()
	if f := (*failure)(nil); errors.As(err, &f) {
		if remedy := f.remedy(); remedy != "" {
			text += ": " + remedy
		}
	}
	return text
}

// Stats returns how the client is doing.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.stats
	now := time.Now()
	for _, a := range c.accounts {
		s := ClientStats{
			ClientID: a.cred.ClientID, State: StateReady, Limit: a.limit, Remaining: a.remaining,
			Until: a.exhausted(now, c.budget), TokenExpires: a.token.expires,
		}
		if !a.reset.After(now) {
			s.Remaining = -1
		}
		s.Spent = len(a.spent)
		switch {
		case a.refusedUntil.After(now):
			s.State, s.Until = StateRefused, a.refusedUntil
		case !s.Until.IsZero():
			s.State = StateExhausted
		}
		out.Clients = append(out.Clients, s)
	}
	return out
}

// Check tries each client id: a new token, its validation, one request of one point, and the clock.
// The error joins what is wrong, one error a client id and one of the clock, each saying how to
// mend it.
func (c *Client) Check(ctx context.Context) error {
	var errs []error
	for _, a := range c.accounts {
		if err := c.check(ctx, a); err != nil {
			if ctx.Err() != nil {
				return errors.Join(append(errs, fmt.Errorf("check client id %s: %w", a.cred.ClientID, err))...)
			}
			var f *failure
			if errors.As(err, &f) {
				err = fmt.Errorf("%w: %s", err, f.remedy())
			}
			errs = append(errs, err)
		}
	}
	if off := c.Stats().ClockOffset; off.Abs() > clockTolerance {
		errs = append(errs, fmt.Errorf("this machine's clock is off by %s from Twitch's: run an NTP client (systemd-timesyncd, chrony)",
			off.Round(time.Second)))
	}
	return errors.Join(errs...)
}

func (c *Client) check(ctx context.Context, a *account) error {
	t, err := c.requestToken(ctx, a)
	if err != nil {
		return err
	}
	if err := c.validate(ctx, a, t.value); err != nil {
		return err
	}
	c.mu.Lock()
	a.token = t
	a.spend(time.Now())
	c.mu.Unlock()
	defer c.release(a)
	f := c.once(ctx, a, endpointUsers, t.value, func(lib *api.Client) (string, error) {
		_, err := lib.GetUsers(&api.UsersParams{Logins: []string{"twitch"}})
		return "", err
	})
	c.count(endpointUsers, f)
	if f != nil {
		return f
	}
	c.mu.Lock()
	a.accept(endpointUsers)
	c.wake()
	c.mu.Unlock()
	return nil
}
