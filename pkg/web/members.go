package web

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// beat is when a member's heartbeat was last seen to change, by this machine's clock: theirs may be
// off.
type beat struct {
	run  string
	n    int64
	seen time.Time
}

// member is a Member and how long ago it was heard of.
type member struct {
	control.Member
	age    time.Duration
	silent bool
}

// members reads who is running. The first age is by the member's clock, those after by the change of
// its heartbeat.
func (b *builder) members(ctx context.Context) ([]member, error) {
	all, err := read[control.Member](ctx, b.cfg.Store, store.Query{Collection: store.Members, Limit: maxMembers})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var out []member
	known := make(map[string]beat, len(all))
	for _, m := range all {
		if m.Left {
			continue
		}
		last, ok := b.beats[m.ID]
		switch {
		case !ok:
			last = beat{m.Run, m.Beat, now.Add(-max(0, now.Sub(m.Seen)))}
		case last.run != m.Run || last.n != m.Beat:
			last = beat{m.Run, m.Beat, now}
		}
		known[m.ID] = last
		age := now.Sub(last.seen)
		if age > forget {
			continue
		}
		out = append(out, member{m, age, age > b.cfg.Silent})
	}
	b.beats = known
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// rollupState is what rollups tell of an event.
type rollupState struct {
	any    bool // some rollup is heard of
	leader bool // one that leads
	closed time.Time
	marks  int
	live   *record.Statistics
}

func rollupOf(members []member, event string) rollupState {
	var s rollupState
	var epoch int64 = -1
	for _, m := range members {
		if m.Rollup == nil || m.silent {
			continue
		}
		s.any = true
		if !m.Rollup.Leader || m.Rollup.Epoch < epoch {
			continue
		}
		s.leader, epoch = true, m.Rollup.Epoch
		for _, e := range m.Rollup.Events {
			if e.Event == event {
				s.closed, s.marks, s.live = e.Closed.UTC(), e.Marks, e.Live
			}
		}
	}
	return s
}

func (b *builder) fillMembers(snap *Snapshot, members []member, now time.Time) {
	for _, m := range members {
		health := HealthOK
		switch {
		case m.silent:
			health = HealthBad
		case len(m.Conditions) > 0:
			health = HealthWarn
		}
		if m.Collector == nil {
			info := MemberInfo{
				Role: m.Role, Name: m.Name, Node: m.Node, Health: health, Age: m.age.Seconds(), Silent: m.silent, Version: m.Version,
			}
			switch {
			case m.Master != nil:
				info.Leader, info.Epoch = m.Master.Leader && !m.silent, m.Master.Epoch
			case m.Rollup != nil:
				info.Leader, info.Epoch = m.Rollup.Leader && !m.silent, m.Rollup.Epoch
			case m.Custody != nil:
				info.Leader, info.Epoch = m.Custody.Leader && !m.silent, m.Custody.Epoch
			}
			snap.Members = append(snap.Members, info)
			continue
		}
		s := m.Collector.Status
		info := CollectorInfo{
			Name: m.Name, Node: m.Node, Version: m.Version, Health: health, Age: m.age.Seconds(), Silent: m.silent,
			Leaving: m.Collector.Leaving, Started: m.Started.UTC(),
			Joined: len(m.Collector.Joined), Assigned: s.Assigned, Capacity: m.Collector.Capacity,
			Connections: len(s.Connections), Rate: s.Rate, Viewers: s.Viewers, Live: s.Live,
			OutboxBatches: s.OutboxBatches, OutboxBytes: s.OutboxBytes, OutboxOldest: b.outboxAge(s, now),
		}
		for _, conn := range s.Connections {
			if conn.State == "ready" {
				info.Ready++
			}
		}
		if !m.silent && (info.Joined < info.Assigned || s.OutboxBatches < 0 || len(s.Conditions) > 0) {
			info.Health = HealthWarn
		}
		snap.Collectors = append(snap.Collectors, info)
	}
}

func (b *builder) outboxAge(s control.CollectorStatus, now time.Time) float64 {
	if s.OutboxBatches <= 0 || s.OutboxOldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.OutboxOldest).Seconds()/b.speed)
}
