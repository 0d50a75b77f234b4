package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// stepTimeout bounds the store's part in one look of the leader.
const stepTimeout = 10 * time.Second

// lead is one term.
func (m *Master) lead(ctx context.Context, epoch int64) error {
	m.metrics.leader.Set(1)
	defer func() {
		m.metrics.leader.Set(0)
		m.metrics.collectors.Reset()
		m.metrics.channels.Reset()
		for _, part := range []string{"lead", "plan", "resolve", "privacy", "watch"} {
			m.raise(part, nil)
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.deal(ctx, epoch) })
	g.Go(func() error { return m.keepResolved(ctx) })
	g.Go(func() error { return m.watch(ctx) })
	g.Go(func() error { return m.keepPrivacy(ctx) })
	return g.Wait() //nolint:wrapcheck // each names itself
}

// deal assigns channels until the term ends. Its errors are that of the term and ErrFenced.
func (m *Master) deal(ctx context.Context, epoch int64) error {
	ticker := time.NewTicker(m.cfg.Interval)
	defer ticker.Stop()
	var p *planner
	for {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, stepTimeout)
			defer cancel()
			var err error
			if p == nil {
				p, err = m.takeOver(ctx, epoch)
			}
			if err == nil {
				err = m.dealOnce(ctx, epoch, p)
			}
			return err
		}()
		if errors.Is(err, store.ErrFenced) {
			return fmt.Errorf("assign channels: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
		m.raise("lead", failingCondition("assignment-failing", err,
			"Channels can't be assigned; collectors go on with what they have."))
		select {
		case <-ticker.C:
		case <-m.wake:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
	}
}

func failingCondition(name string, err error, meaning string) []control.Condition {
	if err == nil {
		return nil
	}
	return []control.Condition{{Name: name, Detail: meaning + " The error: " + err.Error() + "."}}
}

// takeOver reads the assignments and writes them anew with the own epoch, and nothing else changed:
// from then on no earlier leader can write them.
func (m *Master) takeOver(ctx context.Context, epoch int64) (*planner, error) {
	docs, err := m.assignments(ctx)
	if err != nil {
		return nil, err
	}
	for i := range docs {
		docs[i].Epoch = epoch
	}
	if err := m.writeAssignments(ctx, epoch, docs); err != nil {
		return nil, err
	}
	return newPlanner(planConfig{
		timeout: m.cfg.HeartbeatTimeout, settle: m.cfg.Settle,
		rebalanceAfter: m.cfg.RebalanceAfter, budget: m.cfg.Budget,
	}, time.Now(), docs), nil
}

func (m *Master) assignments(ctx context.Context) ([]control.Assignment, error) {
	return find[control.Assignment](ctx, m.cfg.Store, store.Query{Collection: store.Assignments})
}

func (m *Master) writeAssignments(ctx context.Context, epoch int64, list []control.Assignment) error {
	if len(list) == 0 {
		return nil
	}
	docs := make([]store.Doc, len(list))
	for i, a := range list {
		raw, err := bson.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode assignment of %s: %w", a.Collector, err)
		}
		docs[i] = store.Doc{ID: a.Collector, Raw: raw}
	}
	if err := m.cfg.Store.PutFenced(ctx, store.Assignments, epoch, docs); err != nil {
		return fmt.Errorf("write assignments: %w", err)
	}
	return nil
}

// dealOnce is one look: events by the clock, members, and the plan.
func (m *Master) dealOnce(ctx context.Context, epoch int64, p *planner) error {
	events, err := m.events(ctx)
	if err != nil {
		return err
	}
	if err := m.advance(ctx, events); err != nil {
		return err
	}
	want, trouble, err := m.wanted(ctx, events)
	if err != nil {
		return err
	}
	members, err := m.members(ctx)
	if err != nil {
		return err
	}
	drains, err := m.drains(ctx)
	if err != nil {
		return err
	}
	members = slices.DeleteFunc(members, func(c control.Member) bool { return c.Role != control.RoleCollector })
	leave(members, drains)
	out := p.step(time.Now(), members, want)
	for i := range out.writes {
		out.writes[i].Epoch = epoch
	}
	if err := m.writeAssignments(ctx, epoch, out.writes); err != nil {
		// The planner believes them written. Whoever leads next begins with what is stored, and so
		// must we.
		for _, a := range out.writes {
			p.unwritten(a.Collector)
		}
		return err
	}
	m.moves.Add(int64(out.moves))
	m.metrics.planned(len(want.channels), out)
	m.mu.Lock()
	m.unassigned = out.unassigned
	m.mu.Unlock()
	m.raise("plan", slices.Concat(out.conditions, drainConditions(p, drains), trouble))
	if len(out.writes) > 0 {
		m.log.Info("assigned", "epoch", epoch, "collectors", out.alive, "changed", len(out.writes),
			"moves", out.moves, "unassigned", len(out.unassigned))
	}
	return nil
}

func (m *Master) members(ctx context.Context) ([]control.Member, error) {
	return find[control.Member](ctx, m.cfg.Store, store.Query{Collection: store.Members})
}

// wanted is what is to be read now, and what stands in the way of more.
func (m *Master) wanted(ctx context.Context, events []record.Event) (wanted, []control.Condition, error) {
	want := wanted{events: make(map[string]wantedEvent), late: make(map[string]wantedEvent), replicas: make(map[ChannelID]int)}
	var trouble []control.Condition
	byID := make(map[ChannelID]*control.AssignedChannel)
	for _, e := range events {
		now := m.cfg.Clock.Now()
		reading := collected(e, now, m.cfg.LeadTime, m.cfg.EndGrace)
		if !reading && !endedLately(e, now) {
			continue
		}
		list, err := m.channelsOf(ctx, e.Slug)
		if err != nil {
			return want, nil, err
		}
		exclusion, err := m.exclusion(ctx, e.Slug)
		if err != nil {
			return want, nil, err
		}
		dealt := wantedEvent{
			AssignedEvent: control.AssignedEvent{Slug: e.Slug, Start: e.Start, End: e.End, KeepText: e.KeepText},
			public:        record.Hash(fingerprint(public(list), displayNames(list)), exclusion),
		}
		if !reading {
			want.late[e.Slug] = dealt
			continue
		}
		want.events[e.Slug] = dealt
		var unknown, unresolved []string
		for _, c := range list {
			switch c.Status {
			case record.ChannelActive:
			case record.ChannelUnknown:
				unknown = append(unknown, c.Login)
				continue
			default:
				unresolved = append(unresolved, c.Login)
				continue
			}
			a := byID[c.Channel]
			if a == nil {
				a = &control.AssignedChannel{Channel: c.Channel, Login: c.Login}
				byID[c.Channel] = a
			}
			a.Events = append(a.Events, e.Slug)
			want.replicas[c.Channel] = max(want.replicas[c.Channel], e.Replicas)
		}
		if len(unknown) > 0 {
			trouble = append(trouble, control.Condition{
				Name: "channels-unknown", Subject: e.Slug,
				Detail: "Twitch knows no such login: " + shortList(unknown) + ". Correct or remove them; they are looked up again from time to time.",
			})
		}
		if len(unresolved) > 0 {
			trouble = append(trouble, control.Condition{
				Name: "channels-unresolved", Subject: e.Slug,
				Detail: "Not looked up at Twitch yet, and not read: " + shortList(unresolved) + ".",
			})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		want.channels = append(want.channels, *byID[id])
	}
	return want, trouble, nil
}

func shortList(list []string) string {
	const most = 10
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// keepResolved looks up logins that have no id yet, and from time to time all channels, until the
// term ends.
func (m *Master) keepResolved(ctx context.Context) error {
	if m.cfg.Resolver == nil {
		return nil
	}
	retry, all := time.NewTicker(m.cfg.ResolveRetry), time.NewTicker(m.cfg.ResolveInterval)
	defer retry.Stop()
	defer all.Stop()
	everything := false
	for {
		m.resolveAll(ctx, everything)
		select {
		case <-all.C:
			everything = true
		case <-retry.C:
			everything = false
		case <-m.resolve:
			everything = false
			// Whoever nudged has just tried: leave Twitch a moment.
			select {
			case <-retry.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
	}
}

// resolveAll looks up the channels of events that have not ended: those without an id, or all.
func (m *Master) resolveAll(ctx context.Context, everything bool) {
	events, err := m.events(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.log.Warn("cannot look up channels; trying again", "err", err)
		}
		return
	}
	var conditions []control.Condition
	for _, e := range events {
		if editable(e) != nil {
			continue
		}
		res, err := m.resolveChannels(ctx, e.Slug, func(c record.Channel) bool {
			return everything || c.Status == record.ChannelUnresolved
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.log.Warn("cannot look up channels; trying again", "event", e.Slug, "err", err)
		}
		if detail := cmp.Or(res.Detail, errText(err)); detail != "" {
			conditions = append(conditions, control.Condition{
				Name: "look-up-failing", Subject: e.Slug,
				Detail: "Channels can't be looked up, renames go unnoticed: " + detail + ". It is tried again.",
			})
		}
		if len(res.Gone) > 0 {
			conditions = append(conditions, control.Condition{
				Name: "channels-gone", Subject: e.Slug,
				Detail: "Twitch no longer shows these channels (suspended or deleted): " + shortList(res.Gone) + ". They stay assigned in case they come back.",
			})
		}
	}
	if !everything {
		// Only a look at all channels can say that these are over.
		m.mu.Lock()
		for _, c := range m.conditions["resolve"] {
			if c.Name == "channels-gone" {
				conditions = append(conditions, c)
			}
		}
		m.mu.Unlock()
	}
	m.raise("resolve", conditions)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
