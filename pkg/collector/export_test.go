package collector

import (
	"log/slog"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
)

// Pulse is how one channel talks; tests beat it by hand.
type Pulse = pulse

// Beat notes a message.
func (p *pulse) Beat(now time.Time) { p.beat(now) }

// Judge reports whether it is silent.
func (p *pulse) Judge(now time.Time) bool {
	silent, _ := p.judge(now)
	return silent
}

// Forgive begins its silence anew.
func (p *pulse) Forgive(now time.Time) { p.forgive(now) }

// Listener judges channels.
type Listener = listener

// NewListener makes one.
func NewListener(r repairs) *Listener { return newListener(r, slog.New(slog.DiscardHandler)) }

// Hear, Look and Conditions are what the collector calls.
var (
	Hear       = (*listener).hear
	Look       = (*listener).look
	Conditions = (*listener).conditions
)

// Lags compares clocks.
type Lags = lags

// What the collector calls of them.
var (
	AddLag     = (*lags).add
	JudgeLags  = (*lags).judge
	LagTrouble = (*lags).trouble
)

// Fill is how an outbox grows.
type Fill = fill

// What the outbox calls of it.
var (
	Observe = (*fill).observe
	Left    = (*fill).left
)

// Says is what an outbox of these bounds tells.
func Says(f *Fill, bytes int64, age time.Duration, full Policy) []control.Condition {
	o := &outbox{bytes: bytes, age: age, fill: *f}
	return o.conditions(full)
}
