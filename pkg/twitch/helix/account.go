package helix

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	// window is the span that Twitch's points are counted over.
	window = time.Minute
	// longestExhaustion bounds what a reset header can make us wait.
	longestExhaustion = 2 * time.Minute
	// A refused client id is tried again after firstRefusal, doubling up to longestRefusal.
	firstRefusal   = 30 * time.Second
	longestRefusal = 5 * time.Minute
)

// account is one client id. But for tokens, Client.mu guards it.
//
//	ready ──429, no points left, budget spent──► exhausted ──reset──► ready
//	ready ──401 twice, secret refused──────────► refused ──30 s … 5 min──► ready (on trial)
type account struct {
	cred Credential
	// tokens admits one token request at a time.
	tokens chan struct{}
	token  token

	// refusal is why Twitch doesn't take it; it stays until a success, while refusedUntil says when
	// to try again.
	refusal      error
	refusedBy    string // the endpoint
	refusedAt    time.Time
	refusedUntil time.Time
	refusals     int // in a row

	limit, remaining int // -1: not known
	epoch            int64
	reset            time.Time // when remaining ceases to hold
	throttledUntil   time.Time // after a 429
	throttles        int       // in a row
	exhaustedAt      time.Time // zero: not exhausted
	inFlight         int
	spent            []time.Time // when points were used, oldest first
}

type token struct {
	value string
	// renew is when to get a new one, expires when this one ends; zero: not known.
	renew, expires time.Time
}

func newAccount(cred Credential) *account {
	return &account{cred: cred, tokens: make(chan struct{}, 1), limit: -1, remaining: -1}
}

// exhausted returns when the account has points again, or the zero time when it has some. budget 0
// is none of our own.
func (a *account) exhausted(now time.Time, budget int) time.Time {
	var until time.Time
	if a.throttledUntil.After(now) {
		until = a.throttledUntil
	}
	if a.remaining >= 0 && a.reset.After(now) && a.remaining-a.inFlight <= 0 && a.reset.After(until) {
		until = a.reset
	}
	old := 0
	for old < len(a.spent) && !a.spent[old].After(now.Add(-window)) {
		old++
	}
	a.spent = a.spent[old:]
	if budget > 0 && len(a.spent) >= budget {
		if free := a.spent[len(a.spent)-budget].Add(window); free.After(until) {
			until = free
		}
	}
	if until.IsZero() {
		a.exhaustedAt = time.Time{}
	} else if a.exhaustedAt.IsZero() {
		a.exhaustedAt = now
	}
	return until
}

// spend takes a point for a request that is about to be sent.
func (a *account) spend(now time.Time) {
	a.inFlight++
	a.spent = append(a.spent, now)
}

// observe reads the rate limit out of an answer. The reset is a Unix time by Twitch's clock, so the
// wait is reckoned from the answer's own Date: our clock may be off.
func (a *account) observe(now time.Time, status int, h http.Header) {
	if n, ok := headerInt(h, "Ratelimit-Limit"); ok {
		a.limit = int(min(n, math.MaxInt32))
	}
	wait := time.Duration(0)
	if epoch, ok := headerInt(h, "Ratelimit-Reset"); ok {
		twitch := now
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			twitch = date
		}
		if epoch < math.MaxInt32*2 {
			wait = min(max(time.Unix(epoch, 0).Sub(twitch), 0), longestExhaustion)
		}
		if n, ok := headerInt(h, "Ratelimit-Remaining"); ok {
			// Answers overtake each other: the one of the latest reset is the newest, and of one
			// reset the one with the fewest points.
			points, current := int(min(n, math.MaxInt32)), a.reset.After(now)
			if !current || epoch > a.epoch || (epoch == a.epoch && points < a.remaining) {
				a.remaining, a.epoch, a.reset = points, epoch, now.Add(wait)
			}
		}
	}
	if status != http.StatusTooManyRequests {
		a.throttles = 0
		return
	}
	if n, ok := headerInt(h, "Retry-After"); ok {
		wait = max(wait, min(time.Duration(min(n, 3600))*time.Second, longestExhaustion))
	}
	// A reset that has passed must not make us hammer.
	floor := min(time.Second<<min(a.throttles, 6), window)
	a.throttles++
	a.throttledUntil = now.Add(max(wait, floor))
}

func headerInt(h http.Header, key string) (int64, bool) {
	n, err := strconv.ParseInt(h.Get(key), 10, 64)
	return n, err == nil && n >= 0
}

// refuse notes that Twitch doesn't take the client id. It reports whether that is news.
func (a *account) refuse(now time.Time, by string, err error) bool {
	news := a.refusal == nil
	if news {
		a.refusedAt = now
	}
	a.refusal, a.refusedBy = err, by
	a.refusedUntil = now.Add(min(firstRefusal<<min(a.refusals, 5), longestRefusal))
	a.refusals++
	return news
}

// accept notes that Twitch took it at an endpoint, and reports whether that ends a refusal: a token
// that was granted does not prove that it is taken, nor one that is valid that Helix takes it.
func (a *account) accept(by string) bool {
	if a.refusal == nil || proof(by) < proof(a.refusedBy) {
		return false
	}
	a.refusal, a.refusedBy, a.refusals = nil, "", 0
	a.refusedUntil, a.refusedAt = time.Time{}, time.Time{}
	return true
}

func proof(endpoint string) int {
	switch endpoint {
	case endpointToken:
		return 0
	case endpointValidate:
		return 1
	default:
		return 2
	}
}
