package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The causes (context.Cause) of the end of a term's context, where it isn't the end of Run's own.
var (
	// ErrLeaseExpired: the lease could not be renewed in time.
	ErrLeaseExpired = errors.New("the lease was not renewed in time")
	// ErrLeaseLost: another holder has taken the lease.
	ErrLeaseLost = errors.New("another holder has the lease")
)

// ElectorConfig configures an Elector.
type ElectorConfig struct {
	// Store keeps the lease, in the collection leases. Required.
	Store Store
	// Name is the lease's document id: "master", "rollup". Required.
	Name string
	// Holder names this run of this process. It must be unique among all runs that there ever are,
	// restarts included: a lease that names the own holder is taken over at once. Required.
	Holder string
	// TTL is how long a lease that is not renewed stands. Default 6 s.
	TTL time.Duration
	// Renew is the time between renewals, and between a standby's looks at the lease. Default a
	// third of TTL.
	Renew time.Duration
	// Margin is how long before the end of the lease the leader stops leading: time for the work
	// in hand to stop, and for clocks that run at different speeds. Default a sixth of TTL.
	Margin time.Duration
	// Logger gets what happens in the election. Default slog.Default().
	Logger *slog.Logger
}

// Elector takes part in the election of one leader among processes that share a store. It writes
// one lease document by compare-and-set and trusts no wall clock, neither its own nor others'.
//
//	        no lease, released, ours, or          compare-and-set
//	        unchanged for TTL as seen here        succeeds, epoch+1
//	┌──────────┐               ┌───────────┐             ┌─────────┐ renewed
//	│ watching │──────────────►│ acquiring │────────────►│ leading │◄──────┐
//	└──────────┘               └───────────┘             └─────────┘───────┘
//	  ▲  ▲ │ the context ends        │ conflict            │  lead returned, the context
//	  │  │ ▼                         │ or error            │  ended, another has the lease, or
//	  │  │ end                       │                     ▼  TTL-Margin since the last renewal
//	  │  └───────────────────────────┘               ┌───────────────┐
//	  └──────────────────────────────────────────────│ stepping down │ cancels lead, waits for
//	                 pause of Renew                  └───────────────┘ it, releases if still ours
//
// A leader trusts its lease until TTL-Margin after it *sent* the last renewal that succeeded. A
// standby takes a lease that it has *seen* unchanged for TTL. The sending comes before the seeing,
// so the old leader's time ends Margin before the new one's begins, as long as both clocks run at
// about the same speed. A process that is stopped for long between its check and its write can
// break that; therefore every write of state carries the epoch (Store.PutFenced).
//
// The epoch grows by one with each acquisition and never otherwise. The lease document must not be
// deleted: epochs would begin anew.
type Elector struct {
	cfg ElectorConfig
	// epoch is that of the term in effect, 0 when not leading.
	epoch atomic.Int64
}

// lease is the document. Its times are for people to read; nothing judges by them.
type lease struct {
	ID       string    `bson:"_id"`
	Rev      int64     `bson:"rev"`
	Epoch    int64     `bson:"epoch"`
	Holder   string    `bson:"holder"`
	Released bool      `bson:"released"`
	TTLMS    int64     `bson:"ttl_ms"`
	Acquired time.Time `bson:"acquired"`
	Renewed  time.Time `bson:"renewed"`
}

// NewElector checks the configuration. Renew must be shorter than TTL less Margin.
func NewElector(cfg ElectorConfig) (*Elector, error) {
	if cfg.Store == nil || cfg.Name == "" || cfg.Holder == "" {
		return nil, errors.New("elector: store, name and holder are required")
	}
	if cfg.TTL == 0 {
		cfg.TTL = 6 * time.Second
	}
	if cfg.Renew == 0 {
		cfg.Renew = cfg.TTL / 3
	}
	if cfg.Margin == 0 {
		cfg.Margin = cfg.TTL / 6
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Renew <= 0 || cfg.Margin <= 0 || cfg.Renew >= cfg.TTL-cfg.Margin {
		return nil, fmt.Errorf("elector %s: renew %v must be shorter than ttl %v less margin %v, and all above 0",
			cfg.Name, cfg.Renew, cfg.TTL, cfg.Margin)
	}
	return &Elector{cfg: cfg}, nil
}

// Leading reports whether a term is in effect.
func (e *Elector) Leading() bool { return e.epoch.Load() != 0 }

// Epoch is the epoch of the term in effect, 0 when not leading.
func (e *Elector) Epoch() int64 { return e.epoch.Load() }

// Run takes part in the election until the context ends, and calls lead for each term that it
// wins. The context given to lead ends when the term must: at the latest TTL-Margin after the
// sending of the last renewal that succeeded; context.Cause says why. lead must return then. If it
// returns earlier, with or without an error, the lease is released, the error logged, and the
// election goes on after a pause of Renew.
//
// Run waits for lead to return, and releases the lease so that a standby takes over at once. It
// returns nil when the context ends, or the error that lead then returned if it isn't about the
// context's end.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context, epoch int64) error) error {
	for {
		held, won := e.acquire(ctx)
		if !won {
			return nil
		}
		err := e.term(ctx, held, lead)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			e.cfg.Logger.Error("leading failed; the election goes on", "lease", e.cfg.Name, "epoch", held.Epoch, "err", err)
		}
		// Others have a turn first. If the context ends meanwhile, acquire tells.
		_ = wait(ctx, e.cfg.Renew)
	}
}

// tenure is a lease that is held: the document as last written, and when its last renewal was sent.
type tenure struct {
	lease
	sent time.Time
}

// acquire watches the lease until it can be taken, and takes it. It does not if the context ends.
func (e *Elector) acquire(ctx context.Context) (tenure, bool) {
	var (
		seen    lease     // as last read
		since   time.Time // when this revision was first read
		failing bool
		log     = e.cfg.Logger.With("lease", e.cfg.Name)
	)
	for {
		pause := e.cfg.Renew
		current, err := e.read(ctx)
		// The moment counts from after the answer: the leader sent what was read before.
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return tenure{}, false
		case err != nil:
			if !failing {
				log.Warn("cannot read the lease; trying again", "err", err)
			}
			failing = true
		default:
			failing = false
			if since.IsZero() || current.Rev != seen.Rev || current.Epoch != seen.Epoch {
				if current.Holder != seen.Holder && current.Rev != 0 && !current.Released {
					log.Info("standing by", "leader", current.Holder, "epoch", current.Epoch)
				}
				seen, since = current, now
			}
			stands := max(e.cfg.TTL, time.Duration(current.TTLMS)*time.Millisecond)
			free := current.Rev == 0 || current.Released || current.Holder == e.cfg.Holder
			if !free {
				left := stands - now.Sub(since)
				free, pause = left <= 0, min(pause, max(left, 0))
			}
			if !free {
				break
			}
			pause = e.cfg.Renew
			next := lease{
				ID: e.cfg.Name, Rev: current.Rev + 1, Epoch: current.Epoch + 1, Holder: e.cfg.Holder,
				TTLMS: e.cfg.TTL.Milliseconds(), Acquired: now.UTC(), Renewed: now.UTC(),
			}
			sent := time.Now()
			err := e.write(ctx, current.Rev, next)
			if err == nil {
				return tenure{lease: next, sent: sent}, true
			}
			if !errors.Is(err, ErrConflict) && ctx.Err() == nil {
				log.Warn("cannot take the lease; trying again", "err", err)
			}
		}
		if wait(ctx, pause) != nil {
			return tenure{}, false
		}
	}
}

// term leads: it runs lead and renews the lease until one of them ends.
func (e *Elector) term(ctx context.Context, held tenure, lead func(context.Context, int64) error) error {
	var (
		log             = e.cfg.Logger.With("lease", e.cfg.Name, "epoch", held.Epoch)
		termCtx, cancel = context.WithCancelCause(ctx)
		trusted         = e.cfg.TTL - e.cfg.Margin
		// The end of the term does not wait for a store that hangs.
		expiry = time.AfterFunc(time.Until(held.sent.Add(trusted)), func() {
			e.epoch.Store(0)
			cancel(ErrLeaseExpired)
		})
		done = make(chan error, 1)
	)
	defer cancel(nil)
	defer expiry.Stop()
	e.epoch.Store(held.Epoch)
	defer e.epoch.Store(0)
	if time.Since(held.sent) >= trusted {
		// The store took so long to give the lease that it is worth nothing.
		log.Warn("the lease came too late to lead by it")
		return e.stepDown(ctx, &held, log, nil)
	}
	log.Info("leading")
	epoch := held.Epoch // held is the renewals' alone
	go func() { done <- lead(termCtx, epoch) }()

	pause := e.cfg.Renew
	for {
		timer := time.NewTimer(pause)
		select {
		case err := <-done:
			timer.Stop()
			cancel(nil)
			return e.stepDown(ctx, &held, log, err)
		case <-termCtx.Done():
			timer.Stop()
			e.epoch.Store(0)
			if cause := context.Cause(termCtx); ctx.Err() == nil {
				log.Warn("no longer leading", "err", cause)
			}
			return e.stepDown(ctx, &held, log, <-done)
		case <-timer.C:
		}
		switch err := e.renew(termCtx, &held); {
		case err == nil:
			pause = e.cfg.Renew
			if expiry.Stop() {
				expiry.Reset(time.Until(held.sent.Add(trusted)))
			} // else it has expired, and the context tells so
		case errors.Is(err, ErrLeaseLost):
			cancel(ErrLeaseLost)
		case termCtx.Err() == nil:
			log.Warn("cannot renew the lease; trying again", "err", err)
			pause = e.cfg.Renew / 4
		}
	}
}

// renew writes the lease anew. A renewal whose answer was lost may have been stored; then the
// stored revision is ours all the same, and is renewed.
func (e *Elector) renew(ctx context.Context, held *tenure) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Renew)
	defer cancel()
	for {
		sent := time.Now()
		next := held.lease
		next.Rev++
		next.Renewed = sent.UTC()
		err := e.write(ctx, held.Rev, next)
		if err == nil {
			held.lease, held.sent = next, sent
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		current, err := e.read(ctx)
		if err != nil {
			return err
		}
		if current.Holder != held.Holder || current.Epoch != held.Epoch || current.Released || current.Rev == held.Rev {
			return ErrLeaseLost
		}
		held.Rev = current.Rev
	}
}

// stepDown releases the lease if it is still ours, after lead has returned leadErr, and returns
// that error unless it says no more than that the term is over.
func (e *Elector) stepDown(ctx context.Context, held *tenure, log *slog.Logger, leadErr error) error {
	// A standby should not have to wait because our own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.Renew)
	defer cancel()
	err := e.release(ctx, held)
	switch {
	case errors.Is(err, ErrLeaseLost):
		// Somebody leads already.
	case err != nil:
		log.Warn("cannot release the lease; it expires by itself", "err", err)
	default:
		log.Info("released the lease")
	}
	if errors.Is(leadErr, context.Canceled) || errors.Is(leadErr, context.DeadlineExceeded) ||
		errors.Is(leadErr, ErrLeaseExpired) || errors.Is(leadErr, ErrLeaseLost) {
		return nil
	}
	if leadErr != nil {
		return fmt.Errorf("lead as %s in epoch %d: %w", e.cfg.Name, held.Epoch, leadErr)
	}
	return nil
}

func (e *Elector) release(ctx context.Context, held *tenure) error {
	held.Released = true
	return e.renew(ctx, held)
}

// read returns the lease, or a zero one where there is none.
func (e *Elector) read(ctx context.Context) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.TTL)
	defer cancel()
	raw, err := e.cfg.Store.Get(ctx, Leases, e.cfg.Name)
	if errors.Is(err, ErrNotFound) {
		return lease{}, nil
	}
	if err != nil {
		return lease{}, fmt.Errorf("read lease %s: %w", e.cfg.Name, err)
	}
	var l lease
	if err := bson.Unmarshal(raw, &l); err != nil {
		return lease{}, fmt.Errorf("decode lease %s: %w", e.cfg.Name, err)
	}
	return l, nil
}

func (e *Elector) write(ctx context.Context, rev int64, l lease) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.TTL)
	defer cancel()
	raw, err := bson.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode lease %s: %w", e.cfg.Name, err)
	}
	if err := e.cfg.Store.CompareAndSet(ctx, Leases, rev, Doc{ID: e.cfg.Name, Raw: raw}); err != nil {
		return fmt.Errorf("write lease %s: %w", e.cfg.Name, err)
	}
	return nil
}

// wait pauses for d or until the context ends, whose error it returns.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
