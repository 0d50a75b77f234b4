package helix

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// The endpoints, as metrics name them.
const (
	endpointStreams  = "streams"
	endpointUsers    = "users"
	endpointToken    = "token"
	endpointValidate = "validate"
)

// reason is why a request gave no usable answer; metrics have it as a label.
type reason string

const (
	reasonOK           reason = "ok"
	reasonTimeout      reason = "timeout"
	reasonNetwork      reason = "network"
	reasonServer       reason = "server_error" // 5xx
	reasonBody         reason = "body"         // cut off, not JSON, of other types, too large
	reasonLimited      reason = "rate_limited" // 429
	reasonUnauthorized reason = "unauthorized" // 401, 403; at the token endpoint 400 too
	reasonRequest      reason = "bad_request"  // 400: an id or login that can't be one
	reasonStatus       reason = "status"       // any other
	reasonCanceled     reason = "canceled"     // the caller's context ended
)

// passes says that the same request may well succeed a little later.
func (r reason) passes() bool {
	return r == reasonTimeout || r == reasonNetwork || r == reasonServer || r == reasonBody
}

// failure is a request without a usable answer.
type failure struct {
	endpoint string
	host     string
	clientID string
	reason   reason
	status   int
	detail   string // what Twitch says, or what is odd
	err      error
}

func (f *failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "helix %s at %s, client id %s: ", f.endpoint, f.host, f.clientID)
	switch {
	case f.status != 0 && f.reason != reasonBody:
		fmt.Fprintf(&b, "%d %s", f.status, http.StatusText(f.status))
	case f.reason == reasonBody:
		b.WriteString("the answer can't be read")
	case f.reason == reasonTimeout:
		b.WriteString("no answer in time")
	}
	for _, s := range []string{f.detail, errText(f.err)} {
		if s == "" {
			continue
		}
		if !strings.HasSuffix(b.String(), ": ") {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	return b.String()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Unwrap gives ErrUnauthorized beside the cause, where it is that.
func (f *failure) Unwrap() []error {
	var errs []error
	if f.reason == reasonUnauthorized {
		errs = append(errs, ErrUnauthorized)
	}
	if f.err != nil {
		errs = append(errs, f.err)
	}
	return errs
}

func (f *failure) unauthorized() bool { return f.reason == reasonUnauthorized }

// remedy says what can be done about it.
func (f *failure) remedy() string {
	switch f.reason {
	case reasonUnauthorized:
		return "check the client id and set the secret that https://dev.twitch.tv/console shows for it"
	case reasonTimeout, reasonNetwork:
		var cert x509.CertificateInvalidError
		if errors.As(f.err, &cert) && cert.Reason == x509.Expired {
			return "the certificate is not valid by this machine's clock: check the clock first"
		}
		return "check the address, DNS, the firewall and HTTPS_PROXY"
	case reasonServer:
		return "the fault is on that side: try again later, see https://status.twitch.com"
	case reasonBody, reasonStatus, reasonRequest:
		return "check that the address is Helix's: something else seems to answer there"
	case reasonLimited:
		return "wait a minute; if it lasts, others use the same client id: take one of your own or add another"
	case reasonOK, reasonCanceled:
	}
	return ""
}

// exchange carries one request of the library, and lets only good answers through to it: the
// library reads bodies without a bound, loses the status of errors whose body is not JSON, takes
// an empty 5xx or 200 for an empty list, and panics on a body of null.
type exchange struct {
	client   *Client
	account  *account
	token    string
	endpoint string
	failed   *failure
}

// Do implements the library's HTTPClient.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	status, body, f := x.client.roundTrip(req, x.account, x.endpoint)
	if f == nil {
		f = x.judge(status, body)
	}
	if f != nil {
		x.failed = f
		return nil, f
	}
	return &http.Response{StatusCode: status, Request: req, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

func (x *exchange) judge(status int, body []byte) *failure {
	f := x.client.failure(x.account, x.endpoint, status)
	if status != http.StatusOK {
		f.reason = reasonOf(status)
		f.detail = x.client.message(x.account, x.token, body)
		return f
	}
	var list struct {
		Data json.RawMessage `json:"data"`
	}
	f.reason = reasonBody
	if err := json.Unmarshal(body, &list); err != nil {
		f.err = err
		return f
	}
	if len(list.Data) == 0 || list.Data[0] != '[' {
		// A list that is missing is not an empty one: nobody is offline because of it.
		f.detail = "it has no list of data"
		return f
	}
	return nil
}

func reasonOf(status int) reason {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return reasonUnauthorized
	case status == http.StatusTooManyRequests:
		return reasonLimited
	case status == http.StatusBadRequest:
		return reasonRequest
	case status == http.StatusRequestTimeout:
		return reasonTimeout
	case status >= 500:
		return reasonServer
	default:
		return reasonStatus
	}
}

// roundTrip sends a request and reads its answer whole.
func (c *Client) roundTrip(req *http.Request, a *account, endpoint string) (int, []byte, *failure) {
	resp, err := c.http.Do(req) //nolint:gosec // the address is the operator's
	if err != nil {
		return 0, nil, c.broken(req.Context(), a, endpoint, err)
	}
	defer resp.Body.Close()
	c.noteAnswer(a, endpoint, resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBytes+1))
	if err != nil {
		f := c.broken(req.Context(), a, endpoint, err)
		if f.reason == reasonNetwork {
			f.reason = reasonBody
		}
		f.status = resp.StatusCode
		return 0, nil, f
	}
	if len(body) > MaxAnswerBytes {
		f := c.failure(a, endpoint, resp.StatusCode)
		f.reason, f.detail = reasonBody, fmt.Sprintf("it has more than %d bytes", MaxAnswerBytes)
		return 0, nil, f
	}
	return resp.StatusCode, body, nil
}

func (c *Client) failure(a *account, endpoint string, status int) *failure {
	host := c.apiHost
	if endpoint == endpointToken || endpoint == endpointValidate {
		host = c.authHost
	}
	return &failure{endpoint: endpoint, host: host, clientID: a.cred.ClientID, status: status}
}

// broken is the failure of a request that was not answered.
func (c *Client) broken(ctx context.Context, a *account, endpoint string, err error) *failure {
	f := c.failure(a, endpoint, 0)
	f.reason = reasonNetwork
	// The URL would be a hundred ids long.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	f.err = err
	var slow interface{ Timeout() bool }
	switch {
	case errors.Is(context.Cause(ctx), errSlow):
		f.reason, f.err = reasonTimeout, fmt.Errorf("waited %s", c.cfg.Timeout)
	case ctx.Err() != nil:
		f.reason, f.err = reasonCanceled, ctx.Err()
	case errors.As(err, &slow) && slow.Timeout():
		f.reason = reasonTimeout
	}
	return f
}

// errSlow ends a request that takes longer than Config.Timeout.
var errSlow = errors.New("request timeout")

// message is what Twitch says in an error's body, cut and without secrets.
func (c *Client) message(a *account, token string, body []byte) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
	}
	text := ""
	if json.Unmarshal(body, &e) == nil {
		text = strings.Trim(string(e.Message), `"`)
		if text == "" {
			text = strings.Trim(string(e.Error), `"`)
		}
	}
	if text == "" {
		return ""
	}
	for _, secret := range []string{a.cred.Secret, token} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, redacted)
		}
	}
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return text
}

// offset is our clock less that of an answer's Date, which is cut to seconds.
func offset(now time.Time, h http.Header) (time.Duration, bool) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	return now.Sub(date.Add(500 * time.Millisecond)), true
}
