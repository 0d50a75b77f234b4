package master

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// drainDocument is a Drain with an element to compare when it is deleted.
type drainDocument struct {
	record.Drain `bson:",inline"`

	Name string `bson:"name"`
}

// drains are the collectors that operators want to be left without channels, by name.
func (m *Master) drains(ctx context.Context) (map[string]record.Drain, error) {
	list, err := find[record.Drain](ctx, m.cfg.Store, store.Query{Collection: store.Drains})
	if err != nil {
		return nil, err
	}
	by := make(map[string]record.Drain, len(list))
	for _, d := range list {
		by[d.Collector] = d
	}
	return by, nil
}

// drainCollector has a collector left without channels until undrainCollector. The wish outlives
// restarts of the collector and changes of the leader.
func (m *Master) drainCollector(ctx context.Context, name string) (control.Collector, error) {
	c, err := m.collector(ctx, name)
	if err != nil || c.Drained {
		return c, err
	}
	raw, err := bson.Marshal(drainDocument{Drain: record.Drain{Collector: name, Since: record.Millis(time.Now())}, Name: name})
	if err != nil {
		return c, fmt.Errorf("encode the drain of collector %s: %w", name, err)
	}
	if err := m.cfg.Store.Put(ctx, store.Drains, []store.Doc{{ID: name, Raw: raw}}); err != nil {
		return c, fmt.Errorf("drain collector %s: %w", name, err)
	}
	m.log.Info("collector is to be drained", "collector", name)
	m.nudge(m.wake)
	return m.collector(ctx, name)
}

func (m *Master) undrainCollector(ctx context.Context, name string) error {
	deleted, err := m.cfg.Store.DeleteIf(ctx, store.Drains, name, "name", name)
	if err != nil {
		return fmt.Errorf("take back the drain of collector %s: %w", name, err)
	}
	if !deleted {
		_, err := m.collector(ctx, name)
		return err // it was not drained: fine, if it exists
	}
	m.log.Info("collector is to have channels again", "collector", name)
	m.nudge(m.wake)
	return nil
}

func (m *Master) collector(ctx context.Context, name string) (control.Collector, error) {
	list, err := m.listCollectors(ctx)
	if err != nil {
		return control.Collector{}, err
	}
	i := slices.IndexFunc(list, func(c control.Collector) bool { return c.Name == name })
	if i < 0 {
		return control.Collector{}, absent("there is no collector %s", name)
	}
	return list[i], nil
}

// leave marks the drained among the members as leaving, for the planner.
func leave(members []control.Member, drains map[string]record.Drain) {
	for i, c := range members {
		if _, drained := drains[c.Name]; drained && c.Collector != nil {
			leaving := *c.Collector
			leaving.Leaving = true
			members[i].Collector = &leaving
		}
	}
}

// drainConditions tell of drained collectors whose channels nobody else can take.
func drainConditions(p *planner, drains map[string]record.Drain) []control.Condition {
	var list []control.Condition
	for _, name := range slices.Sorted(maps.Keys(drains)) {
		h := p.collectors[name]
		if h == nil || h.gone {
			continue // told as silent
		}
		stay := 0
		for _, c := range p.docs[name].Channels {
			if len(p.target[c.Channel]) == 0 {
				stay++
			}
		}
		if stay > 0 {
			list = append(list, control.Condition{
				Name: "drain-waiting", Subject: name,
				Detail: fmt.Sprintf("It is to be drained, but %d of its channels find no collector with room, so it goes on reading them. "+
					"Start another collector, raise a capacity, or run: tungstene drain %s --undo", stay, name),
			})
		}
	}
	return list
}
