package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

const (
	// heartbeatTimeout bounds one attempt at one master: a collector has several a heartbeat
	// timeout.
	heartbeatTimeout = 2 * time.Second
	// operatorTimeout bounds one attempt of an operator's call; an import may ask Twitch first.
	operatorTimeout = 60 * time.Second
	// maxAnswerBytes bounds what is read of an answer: 5,000 channels with everything are 2 MB.
	maxAnswerBytes = 32 << 20
)

// Problem is an error that a master answered (RFC 9457).
//
//nolint:errname // the name that RFC 9457 gives it
type Problem struct {
	Type   string          `json:"type,omitempty"`
	Status int             `json:"status"`
	Title  string          `json:"title"`
	Detail string          `json:"detail,omitempty"`
	Errors []ProblemDetail `json:"errors,omitempty"`
}

// ProblemDetail is one of several things that are wrong with a request.
type ProblemDetail struct {
	Message  string `json:"message,omitempty"`
	Location string `json:"location,omitempty"`
	Value    any    `json:"value,omitempty"`
}

// Error is the detail, or the title where there is none, and what is wrong in particular.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		fmt.Fprintf(&b, "%d %s", p.Status, strings.ToLower(p.Title))
	}
	for i, d := range p.Errors {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		if d.Location != "" {
			b.WriteString(d.Location + ": ")
		}
		b.WriteString(d.Message)
	}
	return b.String()
}

// Client talks to the masters, to whichever answers. It is safe for concurrent use.
type Client struct {
	bases []*url.URL
	token func() (string, error)
	http  *http.Client
	good  atomic.Int64 // index of the base that answered last
}

// New makes a client of the masters at the base URLs, such as http://master:8070. The token is
// asked for at each call, so that a rotated one is taken up. A nil HTTP client means one of its
// own with bounded connections; calls are bounded in time with either.
func New(baseURLs []string, token func() (string, error), client *http.Client) (*Client, error) {
	if len(baseURLs) == 0 {
		return nil, errors.New("no master: name at least one URL such as http://127.0.0.1:8070")
	}
	if token == nil {
		return nil, errors.New("no token for the master")
	}
	c := &Client{token: token, http: client}
	for _, s := range baseURLs {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("master URL: %w", err)
		}
		if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			return nil, fmt.Errorf("master URL %q: use http://host:port or https://host:port", u.Redacted())
		}
		c.bases = append(c.bases, u)
	}
	if c.http == nil {
		c.http = &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: heartbeatTimeout}).DialContext,
				TLSHandshakeTimeout:   heartbeatTimeout,
				ResponseHeaderTimeout: operatorTimeout,
				MaxIdleConnsPerHost:   4,
				IdleConnTimeout:       90 * time.Second,
			},
			// A token must not follow a redirection to somewhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Heartbeat tells the masters of a collector and returns the answer of the first that has one. It
// tries each once, the one that answered last first.
func (c *Client) Heartbeat(ctx context.Context, h Heartbeat) (Answer, error) {
	var a Answer
	body, err := json.Marshal(h)
	if err != nil {
		return a, fmt.Errorf("encode heartbeat: %w", err)
	}
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/collectors/" + url.PathEscape(h.Collector) + "/heartbeat",
		body: body, contentType: "application/json", timeout: heartbeatTimeout, retry: always,
	}, &a)
	if err != nil {
		return Answer{}, fmt.Errorf("heartbeat: %w", err)
	}
	return a, nil
}

// CreateEvent creates a draft.
func (c *Client) CreateEvent(ctx context.Context, e NewEvent) (record.Event, error) {
	return answerOf[record.Event](ctx, c, http.MethodPost, "/v1/events", e, "create event %s", e.Slug)
}

// Events lists all events.
func (c *Client) Events(ctx context.Context) ([]record.Event, error) {
	return answerOf[[]record.Event](ctx, c, http.MethodGet, "/v1/events", nil, "list events")
}

// Event returns one event.
func (c *Client) Event(ctx context.Context, slug string) (record.Event, error) {
	return answerOf[record.Event](ctx, c, http.MethodGet, eventPath(slug), nil, "read event %s", slug)
}

// UpdateEvent changes what the patch names.
func (c *Client) UpdateEvent(ctx context.Context, slug string, p EventPatch) (record.Event, error) {
	return answerOf[record.Event](ctx, c, http.MethodPatch, eventPath(slug), p, "change event %s", slug)
}

// SetState schedules, unschedules, starts or stops an event. It is no error when that is its state already.
func (c *Client) SetState(ctx context.Context, slug string, a Action) (record.Event, error) {
	return answerOf[record.Event](ctx, c, http.MethodPost, eventPath(slug, string(a)), nil, "%s event %s", a, slug)
}

// ImportChannels adds the logins of a list to an event. The content type is text/plain, text/csv
// or application/json; an empty one lets the master look at the list.
func (c *Client) ImportChannels(ctx context.Context, slug, contentType string, list []byte) (Imported, error) {
	var out Imported
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	err := c.do(ctx, call{
		method: http.MethodPost, path: eventPath(slug, "channels"), body: list, contentType: contentType,
		timeout: operatorTimeout, retry: away,
	}, &out)
	if err != nil {
		return out, fmt.Errorf("import channels into event %s: %w", slug, err)
	}
	return out, nil
}

// Channels lists an event's channels.
func (c *Client) Channels(ctx context.Context, slug string) ([]record.Channel, error) {
	return answerOf[[]record.Channel](ctx, c, http.MethodGet, eventPath(slug, "channels"), nil, "list channels of event %s", slug)
}

// RemoveChannel takes a channel, named by its id or login, out of an event.
func (c *Client) RemoveChannel(ctx context.Context, slug, channel string) error {
	return c.operate(ctx, http.MethodDelete, eventPath(slug, "channels", channel), nil, nil,
		"remove channel %s from event %s", channel, slug)
}

// ResolveChannels has the master look up all channels of an event at Twitch, now.
func (c *Client) ResolveChannels(ctx context.Context, slug string) (Resolved, error) {
	return answerOf[Resolved](ctx, c, http.MethodPost, eventPath(slug, "channels", "resolve"), nil,
		"look up channels of event %s", slug)
}

// Collectors lists the collectors that some master has heard of.
func (c *Client) Collectors(ctx context.Context) ([]Collector, error) {
	return answerOf[[]Collector](ctx, c, http.MethodGet, "/v1/collectors", nil, "list collectors")
}

// ForgetCollector tells the master that a collector won't come back: its channels go to others,
// even while most collectors are silent.
func (c *Client) ForgetCollector(ctx context.Context, name string) error {
	return c.operate(ctx, http.MethodDelete, "/v1/collectors/"+url.PathEscape(name), nil, nil,
		"forget collector %s", name)
}

// Members lists every running role.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	return answerOf[[]Member](ctx, c, http.MethodGet, "/v1/members", nil, "list members")
}

// ForgetMember tells the master that a consumer, a rollup, a custody or another master won't come back:
// nobody waits for it any more. Of a collector it is ForgetCollector.
func (c *Client) ForgetMember(ctx context.Context, role, name string) error {
	return c.operate(ctx, http.MethodDelete, "/v1/members/"+url.PathEscape(role)+"/"+url.PathEscape(name), nil, nil,
		"forget %s %s", role, name)
}

// Assignments lists what each collector is to read.
func (c *Client) Assignments(ctx context.Context) ([]AssignmentView, error) {
	return answerOf[[]AssignmentView](ctx, c, http.MethodGet, "/v1/assignments", nil, "list assignments")
}

// Health tells how the control plane is doing.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return answerOf[Health](ctx, c, http.MethodGet, "/v1/health", nil, "read health")
}

func eventPath(slug string, rest ...string) string {
	var p strings.Builder
	p.WriteString("/v1/events/" + url.PathEscape(slug))
	for _, r := range rest {
		p.WriteString("/" + url.PathEscape(r))
	}
	return p.String()
}

// answerOf makes an operator's call that has an answer.
func answerOf[T any](ctx context.Context, c *Client, method, path string, in any, doing string, args ...any) (T, error) {
	var out T
	err := c.operate(ctx, method, path, in, &out, doing, args...)
	return out, err
}

func (c *Client) operate(ctx context.Context, method, path string, in, out any, doing string, args ...any) error {
	q := call{method: method, path: path, timeout: operatorTimeout, retry: away}
	if method == http.MethodGet {
		q.retry = always
	}
	var err error
	if in != nil {
		q.contentType = "application/json"
		q.body, err = json.Marshal(in)
	}
	if err == nil {
		err = c.do(ctx, q, out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", fmt.Sprintf(doing, args...), err)
	}
	return nil
}

// retry says after which failures the next master is tried.
type retry int

const (
	// always: the call can be repeated.
	always retry = iota
	// away: only when the master surely did nothing.
	away
)

type call struct {
	method, path, contentType string
	body                      []byte
	timeout                   time.Duration
	retry                     retry
}

// do makes the call to one master after the other until one answers. What is wrong with the call
// itself is not asked twice.
func (c *Client) do(ctx context.Context, q call, out any) error {
	token, err := c.token()
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	first := int(c.good.Load())
	var errs []error
	for i := range c.bases {
		n := (first + i) % len(c.bases)
		err := c.attempt(ctx, c.bases[n], token, q, out)
		if err == nil {
			c.good.Store(int64(n))
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || !worthAnother(err, q.retry) {
			break
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func worthAnother(err error, r retry) bool {
	var p *Problem
	if errors.As(err, &p) {
		switch p.Status {
		case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			// A master that has not read a rotated token yet says unauthorized: another may have.
			return true
		}
		return r == always && p.Status >= http.StatusInternalServerError
	}
	if r == always {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *Client) attempt(ctx context.Context, base *url.URL, token string, q call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	target := strings.TrimSuffix(base.String(), "/") + q.path
	req, err := http.NewRequestWithContext(ctx, q.method, target, bytes.NewReader(q.body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err //nolint:wrapcheck // it names method and URL
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", base.Host, err)
	}
	if len(body) > maxAnswerBytes {
		return fmt.Errorf("answer of %s is larger than %d bytes", base.Host, maxAnswerBytes)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return problem(res, body, base.Host)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("answer of %s is not a master's: %w", base.Host, err)
	}
	return nil
}

func problem(res *http.Response, body []byte, host string) error {
	p := &Problem{}
	switch {
	case strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json"):
		if err := json.Unmarshal(body, p); err != nil {
			p = &Problem{Detail: fmt.Sprintf("%s answered %s with an unreadable problem", host, res.Status)}
		}
	case res.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte("HTTP request to an HTTPS server")):
		return fmt.Errorf("the master at %s speaks TLS: use https://%s", host, host)
	default:
		p.Detail = fmt.Sprintf("%s answered %s: is there a master at this address?", host, res.Status)
	}
	p.Status = res.StatusCode
	if p.Title == "" {
		p.Title = http.StatusText(res.StatusCode)
	}
	return p
}
