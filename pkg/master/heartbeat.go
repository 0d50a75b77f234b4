package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// maxCapacity bounds what a collector can claim to take.
	maxCapacity = 100_000
	// maxText bounds a heartbeat's single texts, in bytes.
	maxText = 253
	// maxSources bounds the charity sources of a collector.
	maxSources = 10_000
)

// parseHeartbeat reads a heartbeat as leniently as possible: collectors and masters of different
// versions meet while one of them is upgraded.
func parseHeartbeat(name string, body []byte) (control.Heartbeat, error) {
	var h control.Heartbeat
	if err := json.Unmarshal(body, &h); err != nil {
		return h, badValue("body", "%s", err.Error())
	}
	switch {
	case !control.ValidName(name):
		return h, badValue("name", "%.80q: use 1 to %d of a-z, 0-9, dot and dash, with a letter or digit at both ends", name, control.MaxNameBytes)
	case h.Collector != name:
		return h, badValue("body.collector", "%.80q is not the name in the path, %q", h.Collector, name)
	case h.Run == "" || len(h.Run) > maxText:
		return h, badValue("body.run", "1 to %d bytes are needed to tell one run from another", maxText)
	case len(h.Node) > maxText || len(h.Version) > maxText:
		return h, badValue("body.node", "node and version have at most %d bytes", maxText)
	case h.Capacity < 0 || h.Capacity > maxCapacity:
		return h, badValue("body.capacity", "%d: use 0 to %d", h.Capacity, maxCapacity)
	case len(h.Joined) > maxCapacity:
		return h, badValue("body.joined", "%d channels are more than any collector takes", len(h.Joined))
	}
	for _, id := range h.Joined {
		if id == "" || len(id) > maxText {
			return h, badValue("body.joined", "%.80q is no channel id", id)
		}
	}
	if len(h.Status.Sources) > maxSources {
		return h, badValue("body.status.sources", "%d are more than the %d that a collector polls", len(h.Status.Sources), maxSources)
	}
	for id, r := range h.Status.Rates {
		if r < 0 || r > maxWeight || math.IsNaN(r) {
			return h, badValue("body.status.rates", "%.80q has the rate %v", id, r)
		}
	}
	return h, nil
}

// heartbeat writes what a collector tells and answers with its assignment where it has an older
// one. Any master can do it, leader or not.
func (m *Master) heartbeat(ctx context.Context, h control.Heartbeat) (control.Answer, error) {
	now := time.Now().UTC()
	out := control.Answer{Now: now}
	id := memberID(control.RoleCollector, h.Collector)
	var old struct {
		Beat int64 `bson:"beat"`
	}
	raw, err := m.cfg.Store.Get(ctx, store.Members, id)
	if err == nil {
		err = bson.Unmarshal(raw, &old)
	} else if errors.Is(err, store.ErrNotFound) {
		m.log.Info("a new collector", "collector", h.Collector, "node", h.Node, "capacity", h.Capacity)
		err = nil
	}
	if err != nil {
		return out, fmt.Errorf("member %s: %w", id, err)
	}
	member := control.Member{
		ID: id, Role: control.RoleCollector, Name: h.Collector, Node: h.Node, Run: h.Run,
		Version: h.Version, Started: h.Started, Seen: now, Beat: old.Beat + 1,
		Conditions: h.Status.Conditions,
		Collector: &control.CollectorMember{
			Capacity: h.Capacity, Charity: h.Charity, Epoch: h.Epoch, Revision: h.Revision, Joined: h.Joined,
			Leaving: h.Leaving, Status: h.Status,
		},
	}
	doc, err := bson.Marshal(member)
	if err != nil {
		return out, fmt.Errorf("encode member %s: %w", id, err)
	}
	if err := m.cfg.Store.Put(ctx, store.Members, []store.Doc{{ID: id, Raw: doc}}); err != nil {
		return out, fmt.Errorf("write member %s: %w", id, err)
	}
	m.metrics.heartbeats.Inc()

	raw, err = m.cfg.Store.Get(ctx, store.Assignments, h.Collector)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("assignment of %s: %w", h.Collector, err)
	}
	var a control.Assignment
	if err := bson.Unmarshal(raw, &a); err != nil {
		return out, fmt.Errorf("decode assignment of %s: %w", h.Collector, err)
	}
	if a.Epoch == h.Epoch && a.Revision == h.Revision {
		return out, nil
	}
	if err := m.join(ctx, &a); err != nil {
		return out, err
	}
	out.Assignment = &a
	return out, nil
}

// join adds to an assignment what is not stored with it: keys, public lists and who is excluded. It is given whole
// or not at all. That a key can't be read is told by checkKeys, whether a collector asks or not.
func (m *Master) join(ctx context.Context, a *control.Assignment) error {
	for i := range a.Events {
		e := &a.Events[i]
		key, err := m.cfg.Keys.Key(ctx, e.Slug)
		if err != nil {
			return fmt.Errorf("assignment of %s: %w", a.Collector, err)
		}
		list, err := m.channelsOf(ctx, e.Slug)
		if err != nil {
			return err
		}
		if e.Excluded, err = m.excluded(ctx, e.Slug); err != nil {
			return fmt.Errorf("assignment of %s: %w", a.Collector, err)
		}
		e.Key, e.Public, e.Names = key, public(list), displayNames(list)
	}
	if a.Channels == nil {
		a.Channels = []control.AssignedChannel{}
	}
	if a.Events == nil {
		a.Events = []control.AssignedEvent{}
	}
	return nil
}
