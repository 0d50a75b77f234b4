package web

import (
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// The conditions that the page itself finds. Each has a title and a text in the catalogue.
const (
	condStore      = "store-unreachable"
	condNoEvent    = "no-event"
	condCollectors = "no-collectors"
	condSilent     = "member-silent"
	condUnread     = "channels-unread"
	condUnassigned = "channels-unassigned"
	condNotFound   = "logins-not-found"
	condConsumers  = "no-consumers"
	condQueue      = "queue-deep"
	condRollup     = "no-rollup"
	condDead       = "dead-letters"
)

func (b *builder) fillConditions(snap *Snapshot, members []member, rollup rollupState) {
	now := time.Now().UTC()
	found := map[string]time.Time{}
	add := func(name, health, subject string, count int) {
		key := name + "/" + subject
		since, ok := b.since[key]
		if !ok {
			since = now
		}
		found[key] = since
		snap.Conditions = append(snap.Conditions,
			Condition{Name: name, Health: health, Subject: subject, Since: &since, Count: count})
	}
	running := snap.Event != nil && snap.Event.State == record.EventLive
	if snap.Event == nil {
		add(condNoEvent, HealthWarn, "", 0)
	}
	if running {
		b.runningConditions(snap, rollup, add)
	}
	for _, m := range members {
		switch {
		case m.silent:
			key := condSilent + "/" + m.ID
			since := now.Add(-m.age)
			found[key] = since
			snap.Conditions = append(snap.Conditions,
				Condition{Name: condSilent, Health: HealthBad, Subject: m.ID, Since: &since})
		case m.Master != nil && m.Master.Leader && len(m.Master.Unassigned) > 0 && !snap.has(condCollectors):
			add(condUnassigned, HealthBad, "", len(m.Master.Unassigned))
		}
	}
	for _, m := range members {
		if m.silent {
			continue
		}
		all := slices.Clone(m.Conditions)
		if m.Collector != nil {
			all = append(all, m.Collector.Status.Conditions...)
		}
		for _, x := range all {
			if snap.shows(x) {
				continue
			}
			cond := Condition{Name: x.Name, Subject: x.Subject, Member: m.ID, Health: HealthWarn, Detail: x.Detail}
			if !x.Since.IsZero() {
				cond.Since = new(x.Since.UTC())
			}
			// A collector's may be told in both places.
			if !slices.ContainsFunc(snap.Conditions, func(y Condition) bool {
				return y.Name == cond.Name && y.Subject == cond.Subject && y.Member == cond.Member
			}) {
				snap.Conditions = append(snap.Conditions, cond)
			}
		}
	}
	if n := snap.Now.NotFound; n > 0 {
		var names []string
		for _, ch := range b.channels {
			if ch.Status == record.ChannelUnknown && len(names) < maxNames {
				names = append(names, ch.Login)
			}
		}
		add(condNotFound, HealthWarn, strings.Join(names, ", "), n)
	}
	if d := snap.Now.Dead; d != nil && *d > 0 {
		add(condDead, HealthWarn, "", *d)
	}
	b.since = found
	slices.SortStableFunc(snap.Conditions, func(a, b Condition) int {
		// Bad before warn: the word sorts so.
		return strings.Compare(a.Health, b.Health)
	})
}

// has says whether the page itself has found a condition.
func (s *Snapshot) has(name string) bool {
	return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.Name == name && c.Member == "" })
}

// shows says whether the page finds by itself what a member tells, and so would show it twice.
func (s *Snapshot) shows(told control.Condition) bool {
	switch told.Name {
	case condSilent, condDead:
		return true
	case condCollectors:
		return s.has(condCollectors)
	case condUnassigned:
		return s.has(condUnassigned) || s.has(condCollectors)
	case "channels-unknown":
		return s.Now.NotFound > 0 && s.Event != nil && told.Subject == s.Event.Slug
	}
	return false
}

// runningConditions are those that are wrong only while an event is live.
func (b *builder) runningConditions(
	snap *Snapshot, rollup rollupState, add func(name, health, subject string, count int),
) {
	switch n := snap.Now; {
	case n.Up == 0:
		add(condCollectors, HealthBad, "", 0)
	case n.Read < n.Channels:
		add(condUnread, HealthWarn, "", n.Channels-n.Read)
	}
	for _, s := range snap.Stages {
		switch {
		case s.Name == StageConsumers && *s.Up == 0:
			add(condConsumers, HealthBad, "", 0)
		case s.Name == StageQueue && (s.Health == HealthWarn || s.Health == HealthBad):
			add(condQueue, s.Health, "", int(*s.Depth))
		}
	}
	if !rollup.leader {
		add(condRollup, HealthBad, "", 0)
	}
}
