// Package master is the control plane: it keeps events and channels, hears the collectors, deals
// channels and budgets to them, and serves the HTTP API. Several masters may run on one store; all
// of them serve, one leads.
package master

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Master is one master. The states of the events that it keeps:
//
//	┌───────┐  schedule  ┌───────────┐ start, or its  ┌──────┐ stop, or its End  ┌───────┐       ┌────────┐
//	│ draft ├───────────►│ scheduled ├───────────────►│ live ├──────────────────►│ ended ├──────►│ frozen │
//	│       │◄───────────┤           │ Start comes    └──────┘ and grace passed  └───┬───┘       └────────┘
//	└───┬───┘ unschedule └───────────┘                  ▲  ▲                         │
//	    │ start                                         │  └─────────────────────────┘
//	    └───────────────────────────────────────────────┘  start, when the End lies ahead
type Master struct {
	cfg     Config
	log     *slog.Logger
	run     string
	started time.Time
	elector *store.Elector

	operators, collectors *tokenSet
	handler               http.Handler
	api                   huma.API
	limits                map[string]time.Duration // of operations that may last longer, by pattern
	metrics               *metrics
	goals                 goalWatch

	// wake has the leader look at once, resolve has it look up logins at once; each holds at
	// most one nudge.
	wake, resolve chan struct{}

	beat  atomic.Int64
	moves atomic.Int64

	mu         sync.Mutex
	conditions map[string][]control.Condition // by who raised them
	unassigned []string
	optOut     []control.Person // as read last; nil when it never was
}

// New checks the configuration and the token sources. Nothing runs until Run, but the handler
// serves.
func New(cfg Config) (*Master, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Master{
		cfg: cfg, log: cfg.Logger, run: rand.Text(), started: time.Now().UTC(),
		wake: make(chan struct{}, 1), resolve: make(chan struct{}, 1),
		conditions: make(map[string][]control.Condition),
	}
	if m.operators, err = newTokenSet(cfg.OperatorTokens); err != nil {
		return nil, fmt.Errorf("master: operator tokens: %w", err)
	}
	if m.collectors, err = newTokenSet(cfg.CollectorTokens); err != nil {
		return nil, fmt.Errorf("master: collector tokens: %w", err)
	}
	m.elector, err = store.NewElector(store.ElectorConfig{
		Store: cfg.Store, Name: "master", Holder: cfg.Name + "/" + m.run, TTL: cfg.LeaseTTL, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("master: %w", err)
	}
	if m.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("master: %w", err)
	}
	m.handler = m.newHandler()
	return m, nil
}

// Handler serves the API under /v1 and its description at /openapi.json and /openapi.yaml. It may
// be served before Run and without it.
func (m *Master) Handler() http.Handler { return m.handler }

// Leading reports whether this master leads.
func (m *Master) Leading() bool { return m.elector.Leading() }

// Run takes part in the election, leads when elected, and writes the member document, until the
// context ends. It then gives up the lease and returns nil.
func (m *Master) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { m.announce(ctx) })
	err := m.elector.Run(ctx, m.lead)
	wg.Wait()
	return err
}

// announce checks what this master needs for itself, leader or not, and writes the member document
// that tells of it, until the context ends.
func (m *Master) announce(ctx context.Context) {
	ticker := time.NewTicker(m.cfg.MemberInterval)
	defer ticker.Stop()
	failing := make(map[string]bool)
	report := func(task string, err error) {
		if err != nil && !failing[task] && ctx.Err() == nil {
			m.log.Warn("a regular task of this master fails; trying again", "task", task, "err", err)
		}
		failing[task] = err != nil
	}
	for {
		m.checkTokens()
		m.checkOptOut(ctx)
		report("check the pseudonym keys", m.checkKeys(ctx))
		report("write the member document", m.writeMember(ctx, false))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if err := m.writeMember(context.WithoutCancel(ctx), true); err != nil {
				m.log.Warn("cannot write that this master has stopped; it will be told as silent", "err", err)
			}
			return
		}
	}
}

func (m *Master) checkTokens() {
	var list []control.Condition
	for _, s := range []struct {
		role string
		set  *tokenSet
	}{{"operator", m.operators}, {"collector", m.collectors}} {
		if err := s.set.failing(); err != nil {
			list = append(list, control.Condition{
				Name: "tokens-unreadable", Subject: s.role,
				Detail: "The tokens can't be read, the last good ones stay valid: " + err.Error() + ".",
			})
		}
	}
	m.raise("tokens", list)
}

// checkKeys looks whether this master can deal the keys of all events that collectors may need now
// or soon. When the events can't be read, what was found last stands.
func (m *Master) checkKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(m.cfg.MemberInterval, time.Second))
	defer cancel()
	events, err := m.events(ctx)
	if err != nil {
		return err
	}
	var list []control.Condition
	for _, e := range events {
		if e.State != record.EventScheduled && !collected(e, m.cfg.Clock.Now(), m.cfg.LeadTime, m.cfg.EndGrace) {
			continue
		}
		_, err := m.cfg.Keys.Key(ctx, e.Slug)
		if ctx.Err() != nil {
			return fmt.Errorf("pseudonym key of event %s: %w", e.Slug, ctx.Err()) // says nothing of the key
		}
		if err != nil {
			list = append(list, control.Condition{
				Name: "key-unreadable", Subject: e.Slug,
				Detail: "This master can't deal the event's pseudonym key, so collectors get no new assignment from it: " + err.Error() + ".",
			})
		}
	}
	m.raise("keys", list)
	return nil
}

func (m *Master) writeMember(ctx context.Context, left bool) error {
	ctx, cancel := context.WithTimeout(ctx, max(m.cfg.MemberInterval, time.Second))
	defer cancel()
	member := m.member()
	member.Left = left
	raw, err := bson.Marshal(member)
	if err != nil {
		return fmt.Errorf("encode member: %w", err)
	}
	err = m.cfg.Store.Put(ctx, store.Members, []store.Doc{{ID: memberID(control.RoleMaster, m.cfg.Name), Raw: raw}})
	if err != nil {
		return fmt.Errorf("write member: %w", err)
	}
	return nil
}

func (m *Master) member() control.Member {
	epoch := m.elector.Epoch()
	status := &control.MasterStatus{Leader: epoch != 0, Epoch: epoch, Moves: m.moves.Load()}
	m.mu.Lock()
	if epoch != 0 {
		status.Unassigned = m.unassigned
	}
	m.mu.Unlock()
	return control.Member{
		ID: memberID(control.RoleMaster, m.cfg.Name), Role: control.RoleMaster, Name: m.cfg.Name,
		Node: m.cfg.Node, Run: m.run, Version: m.cfg.Version, Started: m.started,
		Seen: time.Now().UTC(), Beat: m.beat.Add(1), Conditions: m.raised(), Master: status,
	}
}

func memberID(role, name string) string { return role + "/" + name }

// raise replaces the conditions of one part of the master. Those that stay keep their Since.
func (m *Master) raise(part string, list []control.Condition) {
	now := time.Now().UTC()
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.conditions[part]
	for i := range list {
		list[i].Since = now
		fresh := true
		for _, o := range old {
			if o.Name == list[i].Name && o.Subject == list[i].Subject {
				list[i].Since, fresh = o.Since, false
			}
		}
		if fresh {
			m.log.Warn("condition raised", "condition", list[i].Name, "subject", list[i].Subject, "detail", list[i].Detail)
		}
	}
	for _, o := range old {
		gone := true
		for _, n := range list {
			gone = gone && (o.Name != n.Name || o.Subject != n.Subject)
		}
		if gone {
			m.log.Info("condition is over", "condition", o.Name, "subject", o.Subject, "lasted", now.Sub(o.Since))
		}
	}
	m.conditions[part] = list
	m.metrics.conditions(m.conditions)
}

func (m *Master) raised() []control.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []control.Condition
	for _, part := range []string{"tokens", "keys", "lead", "plan", "resolve", "optout", "privacy", "watch"} {
		all = append(all, m.conditions[part]...)
	}
	return all
}
