package charity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of requests.
const (
	// maxAnswerBytes is the most that is read of an answer, unpacked; a page of 3,000 donations has about
	// 1.5 MB.
	maxAnswerBytes = 8 << 20
	// maxErrorBytes is the most that is read of an answer which is an error.
	maxErrorBytes = 64 << 10
	maxRedirects  = 3
	// attempts is how often a request is tried within one slot when it fails for reasons that pass.
	attempts = 3
	// firstPause doubles from attempt to attempt; half of it is random.
	firstPause = 500 * time.Millisecond
	// firstBackoff doubles up to longestBackoff while polls fail; half of it is random.
	firstBackoff   = 4 * time.Second
	longestBackoff = 2 * time.Minute
	// longestRetryAfter is the most that a source can make us wait.
	longestRetryAfter = time.Hour
)

// reason is why a request gave no usable answer; metrics have it as a label.
type reason string

const (
	reasonOK          reason = "ok"
	reasonUnmodified  reason = "not_modified"
	reasonUnreachable reason = "unreachable" // no answer, or 5xx
	reasonLimited     reason = "rate_limited"
	reasonRefused     reason = "refused" // 401, 403
	reasonStatus      reason = "status"  // any other status
	reasonShape       reason = "shape"   // too large, cut off, not what was expected
	reasonCanceled    reason = "canceled"
)

// request is one thing to ask of a source.
type request struct {
	url     string
	headers map[string]string
	// validators make the source say when nothing has changed.
	etag, modified string
}

// response is an answer, or why there is none.
type response struct {
	status   int
	kind     string // the content type
	body     []byte
	etag     string
	modified string
	// answered says that there is a body, if perhaps a part of one.
	answered bool
	reason   reason
	detail   string
	// after is how long the source wants to be left alone.
	after time.Duration
}

// show is a request's address as records and conditions name it: path and query, without the values of
// parameters that may be secret.
func show(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	q := u.Query()
	hidden := false
	for name := range q {
		if isSecretName(name) {
			q.Set(name, "hidden")
			hidden = true
		}
	}
	if hidden {
		u.RawQuery = q.Encode()
	}
	out := u.EscapedPath()
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return cut(out, 512)
}

// newHTTPClient makes the client of all sources.
func newHTTPClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		own := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if shared, ok := http.DefaultTransport.(*http.Transport); ok {
			own = shared.Clone()
		}
		transport = own
	}
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		// A token must not follow to another host, nor out of TLS.
		before := via[len(via)-1].URL
		if len(via) > maxRedirects || req.URL.Host != before.Host || before.Scheme == "https" && req.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

var errSlow = errors.New("the request took too long")

// fetch makes one request. It never returns an answer of more than maxAnswerBytes.
func fetch(ctx context.Context, client *http.Client, timeout time.Duration, r request) response {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return response{reason: reasonStatus, detail: "the address can't be asked: check url in the sources file"}
	}
	req.Header.Set("User-Agent", "tungstene")
	req.Header.Set("Accept", "application/json")
	for name, v := range r.headers {
		req.Header.Set(name, v)
	}
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	if r.modified != "" {
		req.Header.Set("If-Modified-Since", r.modified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return unanswered(ctx, timeout, err)
	}
	defer resp.Body.Close()
	out := response{
		status: resp.StatusCode, kind: cut(strings.ToValidUTF8(resp.Header.Get("Content-Type"), "?"), 100),
		etag: resp.Header.Get("ETag"), modified: resp.Header.Get("Last-Modified"), answered: true,
	}
	most := int64(maxAnswerBytes)
	if resp.StatusCode != http.StatusOK {
		most = maxErrorBytes
	}
	out.body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow):
		return response{reason: reasonCanceled}
	case resp.StatusCode != http.StatusOK:
		out.body = out.body[:min(int64(len(out.body)), most)]
		out.judge(resp)
	case err != nil:
		out.reason = reasonShape
		out.detail = fmt.Sprintf("the answer broke off after %d bytes", len(out.body))
		if errors.Is(context.Cause(ctx), errSlow) {
			out.detail += fmt.Sprintf(" and %s: set timeout higher if that is how slow it is", timeout)
		}
	case int64(len(out.body)) > most:
		out.body = out.body[:most]
		out.reason = reasonShape
		out.detail = fmt.Sprintf("the answer has more than %d MiB", most>>20)
	default:
		out.reason = reasonOK
	}
	return out
}

func unanswered(ctx context.Context, timeout time.Duration, err error) response {
	out := response{reason: reasonUnreachable}
	// The URL is told elsewhere, without what may be secret in it.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(context.Cause(ctx), errSlow):
		out.detail = fmt.Sprintf("no answer in %s", timeout)
	case ctx.Err() != nil:
		out.reason = reasonCanceled
	default:
		out.detail = cut(strings.ToValidUTF8(err.Error(), "?"), 200)
	}
	return out
}

// judge says why an answer of another status than 200 is none.
func (r *response) judge(resp *http.Response) {
	status := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	switch s := r.status; {
	case s == http.StatusNotModified:
		r.reason, r.answered = reasonUnmodified, false
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		r.reason = reasonRefused
		r.detail = status
	case s == http.StatusTooManyRequests:
		r.reason = reasonLimited
		r.detail = status
		r.after = retryAfter(resp.Header, time.Now())
	case s >= 500 || s == http.StatusRequestTimeout:
		r.reason = reasonUnreachable
		r.detail = status
		r.after = retryAfter(resp.Header, time.Now())
	case s >= 300 && s < 400:
		r.reason = reasonStatus
		r.detail = status + " to another place, which is not followed"
		if to, err := resp.Location(); err == nil {
			r.detail = fmt.Sprintf("%s to %s, which is not followed: if the source has moved there, set its url",
				status, cut(strings.ToValidUTF8(to.Scheme+"://"+to.Host, "?"), 100))
		}
	case s == http.StatusNoContent:
		r.reason = reasonShape
		r.detail = "an answer without content (204)"
	default:
		r.reason = reasonStatus
		r.detail = status + ": check the address, the team and the campaign in the sources file"
	}
}

// retryAfter is how long a source wants to be left alone: seconds, or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if s == "" {
		s = strings.TrimSpace(h.Get("Ratelimit-Reset")) // Twitch: a moment
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 1e9 {
			return min(max(time.Unix(n, 0).Sub(now), 0), longestRetryAfter)
		}
		return 0
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(min(max(n, 0), int64(longestRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return min(max(t.Sub(now), 0), longestRetryAfter)
	}
	return 0
}

// backoff is how long to wait after n failures in a row, half of it by chance.
func backoff(first, longest time.Duration, n int) time.Duration {
	d := first << min(max(n-1, 0), 16)
	d = min(d, longest)
	return d/2 + rand.N(d/2+1)
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
