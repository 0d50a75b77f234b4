package helix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/robfig/cron/v3"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// The schedules that a Sweeper has by default.
const (
	DefaultStreamsSchedule = "* * * * *"
	DefaultUsersSchedule   = "*/10 * * * *"
)

// SweeperConfig configures a Sweeper.
type SweeperConfig struct {
	// Schedule is when channels are sampled, as clock.ParseSchedule reads it. Default every minute, at
	// its start.
	Schedule string
	// UsersSchedule is when logins, names and pictures are looked up: at the first slot at or after
	// each of its times. Default every ten minutes.
	UsersSchedule string
	// Clock is the event's time. Default clock.System.
	Clock clock.Clock
	// Emit takes the documents of a sweep and returns when they are kept. On an error the samples
	// are missed, while sessions and changes are emitted again with the next sweep; ids are made of
	// facts, so that is safe when some were kept. Required.
	Emit func(ctx context.Context, docs []record.Document) error
	// ChatRate is a channel's chat messages per second of about the last minute, by which an answer
	// that lists nobody is judged. Default nil: chat is no witness.
	ChatRate func(channel string) float64
	// Logger is where lasting trouble is told. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Default nil: none.
	Registerer prometheus.Registerer
}

// Sweeper samples channels at scheduled slots and emits a record.Viewers for every channel that
// Twitch answered for, record.Session when a stream began or ended, and record.Change when a title,
// category, login, name or picture is another. A slot's documents are emitted for an event only if
// the event holds the slot; a session's start is dated as Twitch dates it, which may be before the
// event.
//
// What Twitch did not answer within half the interval to the next slot stays unsampled. An answer
// that lists none of the channels that were live, three or more, is suspect: it is asked for twice
// more within seconds, with another client id where there is one. If it stays so, chat decides: where
// it goes on at most of them, they stay unsampled; where it has all but ceased, they are offline.
// Where chat is no witness, samples are withheld until the next sweep confirms them, and then emitted
// with their own slot.
//
// What was seen is kept in memory. After a restart, and in an event that has just begun, sessions
// under way are started again, with the same ids, and the values found are reported as changes from
// nothing.
type Sweeper struct {
	client   *Client
	cfg      SweeperConfig
	schedule cron.Schedule
	users    cron.Schedule
	log      *slog.Logger
	metrics  sweepMetrics
	wake     chan struct{}

	// Of Run alone.
	track    *tracker
	usersDue time.Time
	since    time.Time // of the condition helix-empty, in slots

	mu         sync.Mutex
	channels   []control.AssignedChannel
	events     []control.AssignedEvent
	dirty      bool // channels or events are newer than track
	status     SweepStatus
	conditions []control.Condition
	nobody     []control.Condition // of lookups
	gone       []control.Condition
	live       map[string]int // never changed
}

// SweepStatus is how a Sweeper is doing. Counts are since the start.
type SweepStatus struct {
	// Viewers is the sum over the channels that were live at LastSweep, Live their number.
	Viewers, Live int
	// LastSweep is the slot of the last sweep that Twitch answered, if only in part, and whose
	// documents were kept.
	LastSweep time.Time
	// Sweeps counts slots that were swept; Skipped those that were not, because the sweep before
	// took too long.
	Sweeps, Skipped int64
	// Taken and Missed count channels' samples; Discarded those of suspect answers that were not
	// confirmed.
	Taken, Missed, Discarded int64
}

// NewSweeper makes a sweeper that asks client.
func NewSweeper(client *Client, cfg SweeperConfig) (*Sweeper, error) {
	if client == nil || cfg.Emit == nil {
		return nil, errors.New("helix: a sweeper needs a client and Emit")
	}
	if cfg.Schedule == "" {
		cfg.Schedule = DefaultStreamsSchedule
	}
	if cfg.UsersSchedule == "" {
		cfg.UsersSchedule = DefaultUsersSchedule
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Sweeper{client: client, cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), track: newTracker()}
	for _, v := range []struct {
		name string
		spec string
		into *cron.Schedule
	}{{"sweeps", cfg.Schedule, &s.schedule}, {"users", cfg.UsersSchedule, &s.users}} {
		var err error
		if *v.into, err = clock.ParseSchedule(v.spec); err != nil {
			return nil, fmt.Errorf("helix: %s: %w", v.name, err)
		}
		if (*v.into).Next(cfg.Clock.Now().UTC()).IsZero() {
			return nil, fmt.Errorf("helix: %s: schedule %q never comes", v.name, v.spec)
		}
	}
	var err error
	if s.metrics, err = newSweepMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	return s, nil
}

// Set changes which channels are swept, and for which events, from the next slot on. Channels that
// stay keep their sessions. A channel's event that is not among events is not emitted for.
func (s *Sweeper) Set(channels []control.AssignedChannel, events []control.AssignedEvent) {
	s.mu.Lock()
	s.channels, s.events, s.dirty = slices.Clone(channels), slices.Clone(events), true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Status returns how the sweeper is doing.
func (s *Sweeper) Status() SweepStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Live are the channels that were live with viewers at the last sweep that told of them, and how many
// viewers each had. The map is shared: don't change it.
func (s *Sweeper) Live() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// Conditions are what is wrong now: helix-empty when an answer listed nobody where many had been
// live, or none of the accounts (subject "users"), channel-gone of a channel whose account Twitch does not list any more. They are apart from
// the client's.
func (s *Sweeper) Conditions() []control.Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.conditions, s.nobody, s.gone)
}

// Run sweeps at each slot until ctx ends, and returns nil. A sweep that is under way then is given
// up; it emits nothing.
func (s *Sweeper) Run(ctx context.Context) error {
	slot := s.schedule.Next(s.now())
	for {
		woken, err := s.until(ctx, slot)
		if err != nil {
			return nil //nolint:nilerr // the context ended: that is how Run ends
		}
		s.adopt()
		next := s.schedule.Next(slot)
		if woken {
			// New channels: who they are need not wait. Now's slot is the minute's.
			s.lookup(ctx, record.Minute(s.now()), slot, s.usersDue.IsZero())
			continue
		}
		deadline := slot.Add(next.Sub(slot) / 2)
		if s.now().After(deadline) {
			s.skip()
		} else {
			s.sweep(ctx, slot, deadline)
			s.lookup(ctx, slot, next, true)
		}
		slot = next
	}
}

// now is the clock's time in UTC, which schedules without a zone go by.
func (s *Sweeper) now() time.Time { return s.cfg.Clock.Now().UTC() }

// until waits for a slot, or for Set (woken), or for the context's end (an error).
func (s *Sweeper) until(ctx context.Context, slot time.Time) (woken bool, err error) {
	if !s.now().Before(slot) {
		return false, ctx.Err()
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.wake:
			woken = true
			cancel()
		case <-waiting.Done():
		}
	})
	err = s.cfg.Clock.Until(waiting, slot)
	cancel()
	wg.Wait()
	if woken || err == nil {
		return woken, ctx.Err()
	}
	return false, err
}

// adopt takes over what Set was given.
func (s *Sweeper) adopt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return
	}
	s.dirty = false
	s.track.set(s.channels, s.events)
	if len(s.track.channels) == 0 {
		s.status.Viewers, s.status.Live, s.conditions, s.gone, s.nobody, s.live = 0, 0, nil, nil, nil, nil
		s.since = time.Time{}
	}
}

func (s *Sweeper) skip() {
	s.mu.Lock()
	s.status.Skipped++
	s.status.Missed += int64(len(s.track.channels))
	s.mu.Unlock()
	s.metrics.skipped.Inc()
	s.metrics.samples.WithLabelValues("missed").Add(float64(len(s.track.channels)))
}

// before returns a context that ends when the clock passes a moment, and its end.
func (s *Sweeper) before(ctx context.Context, deadline time.Time) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.cfg.Clock.Until(ctx, deadline) == nil {
			cancel(errLate)
		}
	})
	return ctx, func() {
		cancel(context.Canceled)
		wg.Wait()
	}
}

var errLate = errors.New("the answer came too late for its slot")

// sweep samples all channels for a slot.
func (s *Sweeper) sweep(ctx context.Context, slot, deadline time.Time) {
	ids := s.track.ids()
	var (
		answers []answer
		failed  error
		missed  int
		began   = time.Now()
	)
	if len(ids) > 0 {
		asking, done := s.before(ctx, deadline)
		ask := func(ctx context.Context, ids []string) {
			s.client.eachStreams(ctx, ids, func(chunk []string, streams []Stream, err error) {
				received := s.now()
				if err == nil && received.After(deadline) {
					err = errLate
				}
				if err != nil {
					missed += len(chunk)
					failed = err
					return
				}
				answers = append(answers, answer{ids: chunk, streams: streams, received: received})
			})
		}
		ask(asking, ids)
		for again := 1; again <= asksAgain; again++ {
			suspects := s.track.suspects(answers)
			if len(suspects) == 0 || s.pause(asking, deadline) != nil {
				break
			}
			s.log.Info("twitch lists none of many channels that were live: asked again", "slot", slot, "time", again)
			var doubted []string
			answers = slices.DeleteFunc(answers, func(a answer) bool {
				if suspects[a.ids[0]] {
					doubted = append(doubted, a.ids...)
				}
				return suspects[a.ids[0]]
			})
			ask(context.WithValue(asking, preferred{}, again), doubted)
		}
		if errors.Is(context.Cause(asking), errLate) {
			failed = fmt.Errorf("%w (%w)", errLate, failed)
		}
		done()
		if ctx.Err() != nil {
			return
		}
		s.metrics.seconds.Observe(time.Since(began).Seconds())
	}
	next := s.track.clone()
	out := next.sweep(slot, answers, s.cfg.ChatRate)
	result := "complete"
	switch {
	case len(ids) == 0 || missed == 0:
	case len(answers) == 0:
		result = "failed"
	default:
		result = "partial"
	}
	if failed != nil {
		s.log.Warn("channels stay unsampled", "channels", missed, "slot", slot, "err", failed)
	}
	if len(out.docs) > 0 {
		if err := s.cfg.Emit(ctx, out.docs); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("a sweep could not be kept", "slot", slot, "documents", len(out.docs), "err", err)
			s.counted("unkept", swept{}, len(ids))
			return
		}
	}
	s.track = next
	s.counted(result, out, missed)
	s.judge(slot, out, len(ids))
	if len(answers) > 0 || len(ids) == 0 {
		s.mu.Lock()
		s.status.LastSweep = slot
		if out.taken > 0 {
			s.status.Live, s.status.Viewers = out.live, out.viewers
			s.live = next.viewers()
		}
		s.metrics.live.Set(float64(s.status.Live))
		s.metrics.viewers.Set(float64(s.status.Viewers))
		s.mu.Unlock()
	}
}

// asksAgain is how often an answer that is hard to believe is asked for again.
const asksAgain = 2

// askPause is the longest pause before that.
const askPause = 2 * time.Second

// pause waits before it is asked again: a part of what is left until a deadline.
func (s *Sweeper) pause(ctx context.Context, deadline time.Time) error {
	now := s.now()
	return s.cfg.Clock.Until(ctx, now.Add(min(askPause, deadline.Sub(now)/4)))
}

func (s *Sweeper) counted(result string, out swept, missed int) {
	s.metrics.sweeps.WithLabelValues(endpointStreams, result).Inc()
	for name, n := range map[string]int{"taken": out.taken, "missed": missed, "discarded": out.discarded} {
		s.metrics.samples.WithLabelValues(name).Add(float64(n))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Sweeps++
	s.status.Taken += int64(out.taken)
	s.status.Missed += int64(missed)
	s.status.Discarded += int64(out.discarded)
}

// emptyLasts is how long the condition stays once a second sweep has confirmed.
const emptyLasts = 10 * time.Minute

// judge raises and clears helix-empty.
func (s *Sweeper) judge(slot time.Time, out swept, channels int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var detail string
	switch {
	case out.doubted > 0:
		if s.since.IsZero() {
			s.since = slot
			s.log.Warn("twitch lists nobody where many were live, and chat goes on there: they stay unsampled",
				"slot", slot, "channels", out.doubted)
		}
		detail = fmt.Sprintf("Twitch lists nobody of %d channels of which many were live, asked again and again, while chat goes on there: "+
			"they stay unsampled until it lists some of them, or chat ceases", out.doubted)
	case out.withheld > 0:
		if s.since.IsZero() {
			s.since = slot
			s.log.Warn("twitch lists nobody where many were live: their samples are withheld until the next sweep",
				"slot", slot, "channels", out.withheld)
		}
		detail = fmt.Sprintf("Twitch lists nobody of %d channels of which many were live; they are not taken for offline "+
			"before a second sweep says so: look at their pages", out.withheld)
	case out.confirmed:
		detail = "two sweeps in a row list nobody where many were live: recorded as offline; if their pages say " +
			"otherwise, Twitch's API is at fault and the numbers from then on are too low"
	case s.since.IsZero() || out.discarded > 0 || out.live > 0 || channels == 0 || !slot.Before(s.since.Add(emptyLasts)):
		s.since, s.conditions = time.Time{}, nil
		return
	default:
		return // as it was
	}
	s.conditions = []control.Condition{{Name: "helix-empty", Since: s.since, Detail: detail}}
}

// lookup asks who the channels are: all of them when they are due, else those not seen yet. It gives
// up when the next slot comes; what it has not had by then it asks for after the next sweep.
func (s *Sweeper) lookup(ctx context.Context, slot, next time.Time, scheduled bool) {
	ids := s.track.unseen()
	due := scheduled && !slot.Before(s.usersDue)
	if due {
		ids = s.track.ids()
	}
	if len(ids) == 0 {
		return
	}
	asking, done := s.before(ctx, next)
	users, err := s.client.Users(asking, ids, nil)
	for again := 1; again <= asksAgain && err == nil && len(users) == 0 && len(ids) >= manyLive; again++ {
		if s.pause(asking, next) != nil {
			break
		}
		users, err = s.client.Users(context.WithValue(asking, preferred{}, again), ids, nil)
	}
	done()
	if ctx.Err() != nil {
		return
	}
	var partial *PartialError
	if errors.As(err, &partial) {
		ids = slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(partial.IDs, id) })
	}
	result := "complete"
	if err != nil {
		s.log.Warn("names of channels could not be looked up", "channels", len(s.track.channels)-len(ids), "err", err)
		result = "partial"
	}
	if len(users) == 0 && len(ids) >= manyLive {
		s.log.Warn("twitch knows none of the channels: not believed", "channels", len(ids))
		s.noteNobody(len(ids))
		ids, result = nil, "failed"
	} else if len(users) > 0 {
		s.noteNobody(0)
	}
	clone := s.track.clone()
	docs, renamed := clone.users(slot, s.now(), ids, users)
	if len(docs) > 0 {
		if err := s.cfg.Emit(ctx, docs); err != nil {
			if ctx.Err() == nil {
				s.log.Error("names of channels could not be kept", "documents", len(docs), "err", err)
				s.metrics.sweeps.WithLabelValues(endpointUsers, "unkept").Inc()
			}
			return
		}
	}
	s.metrics.sweeps.WithLabelValues(endpointUsers, result).Inc()
	for _, u := range renamed {
		s.log.Info("a channel has another login", "channel", u.ID, "from", u.Name, "to", u.Login)
	}
	s.track = clone
	if due && result == "complete" {
		s.usersDue = s.users.Next(slot)
	}
	s.noteGone()
}

// noteNobody raises helix-empty for accounts of which Twitch knows none, or takes it back.
func (s *Sweeper) noteNobody(asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked == 0 {
		s.nobody = nil
	} else if len(s.nobody) == 0 {
		s.nobody = []control.Condition{{
			Name: "helix-empty", Subject: "users", Since: time.Now(),
			Detail: fmt.Sprintf("Twitch knows none of %d accounts, asked again and again: not believed; what is known of them stays, "+
				"and they are looked up again after the next sweep", asked),
		}}
	}
}

// noteGone raises channel-gone for channels that two lookups in a row did not list.
func (s *Sweeper) noteGone() {
	var gone []control.Condition
	for _, id := range s.track.ids() {
		ch := s.track.channels[id]
		if ch.gone < 2 {
			continue
		}
		since := time.Now()
		s.mu.Lock()
		if i := slices.IndexFunc(s.gone, func(c control.Condition) bool { return c.Subject == ch.login }); i >= 0 {
			since = s.gone[i].Since
		}
		s.mu.Unlock()
		gone = append(gone, control.Condition{
			Name: "channel-gone", Subject: ch.login, Since: since,
			Detail: "Twitch does not list the account with id " + id + " any more: it is suspended or deleted",
		})
	}
	s.mu.Lock()
	s.gone = gone
	s.mu.Unlock()
}
