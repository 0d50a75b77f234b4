package collector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// plan is an assignment made ready for use. It is never changed.
type plan struct {
	assignment control.Assignment
	events     []*plannedEvent
	byChannel  map[string]*plannedChannel // by Twitch id
}

type plannedEvent struct {
	slug       string
	start, end time.Time
	chat       chat.Event
	channels   map[string]*since // the ids read for this event
	excluded   map[string]bool   // pseudonyms of those of whom nothing is recorded
	charity    charity.Event
}

func (e *plannedEvent) excludes(pseudonym string) bool { return e.excluded[pseudonym] }

// since is from when on a channel's lines are recorded for an event: the moment that the first plan
// with both took effect, in Unix milliseconds; 0 as long as it has not.
type since struct{ at atomic.Int64 }

// covered splits what a connection covered by when each channel's part in the event began: lines
// that came before, on a channel that was read for another event, were not recorded for this one.
func (e *plannedEvent) covered(s chat.Span) map[time.Time][]string {
	var out map[time.Time][]string
	for _, id := range s.Channels {
		began := e.channels[id]
		if began == nil || began.at.Load() == 0 {
			continue
		}
		from := s.From
		for _, t := range []time.Time{e.start, time.UnixMilli(began.at.Load())} {
			if from.Before(t) {
				from = t
			}
		}
		if out == nil {
			out = make(map[time.Time][]string, 1)
		}
		from = record.Millis(from)
		out[from] = append(out[from], id)
	}
	return out
}

type plannedChannel struct {
	login  string
	events []*plannedEvent
}

// contains reports whether the event takes a record of time t: [start, end).
func (e *plannedEvent) contains(t time.Time) bool { return !t.Before(e.start) && t.Before(e.end) }

// newPlan makes a plan that follows another. Call begin when it has taken effect.
func newPlan(a control.Assignment, before *plan) (*plan, error) {
	p := &plan{assignment: a, byChannel: make(map[string]*plannedChannel, len(a.Channels))}
	bySlug := make(map[string]*plannedEvent, len(a.Events))
	for _, e := range a.Events {
		pseudonyms, err := record.NewPseudonyms(e.Key, e.Public)
		if err != nil {
			return nil, fmt.Errorf("assignment of event %s: %w", e.Slug, err)
		}
		ev := &plannedEvent{
			slug: e.Slug, start: e.Start, end: e.End, channels: map[string]*since{},
			chat: chat.Event{Slug: e.Slug, KeepText: e.KeepText, Pseudonyms: pseudonyms},
		}
		ev.charity = charity.Event{
			Slug: e.Slug, Start: e.Start, End: e.End, KeepText: e.KeepText, Pseudonyms: pseudonyms,
			Channels: make(map[string]charity.Channel, len(e.Public)),
		}
		for id, login := range e.Public {
			ev.charity.Channels[id] = charity.Channel{Login: login, Name: e.Names[id]}
		}
		if len(e.Excluded) > 0 {
			ev.excluded = make(map[string]bool, len(e.Excluded))
			for _, pseudonym := range e.Excluded {
				ev.excluded[pseudonym] = true
			}
		}
		bySlug[e.Slug] = ev
		p.events = append(p.events, ev)
	}
	for _, c := range a.Channels {
		pc := &plannedChannel{login: c.Login}
		for _, slug := range c.Events {
			ev := bySlug[slug]
			if ev == nil {
				return nil, fmt.Errorf("assignment of channel %s names event %q, which it does not describe", c.Login, slug)
			}
			ev.channels[c.Channel] = before.since(slug, c.Channel)
			pc.events = append(pc.events, ev)
		}
		p.byChannel[c.Channel] = pc
	}
	return p, nil
}

// since is the part of a channel in an event that the plan has already, or a new one.
func (p *plan) since(slug, channel string) *since {
	for _, ev := range p.events {
		if s := ev.channels[channel]; s != nil && ev.slug == slug {
			return s
		}
	}
	return &since{}
}

// begin notes that every line read from now on is recorded by this plan.
func (p *plan) begin(now time.Time) {
	for _, ev := range p.events {
		for _, s := range ev.channels {
			s.at.CompareAndSwap(0, now.UnixMilli()+1)
		}
	}
}

func (p *plan) chatChannels() []chat.Channel {
	out := make([]chat.Channel, len(p.assignment.Channels))
	for i, c := range p.assignment.Channels {
		out[i] = chat.Channel{ID: c.Channel, Login: c.Login}
	}
	return out
}

const assignmentFile = "assignment.json"

// loadAssignment reads the assignment that was in effect when the collector last ran; nil when
// there was none.
func loadAssignment(dir string) (*control.Assignment, error) {
	path := filepath.Join(dir, assignmentFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is a normal answer
	}
	if err != nil {
		return nil, fmt.Errorf("read the last assignment: %w", err)
	}
	var a control.Assignment
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("read the last assignment: %s: %w; delete the file to go on without it", path, err)
	}
	return &a, nil
}

// saveAssignment writes it so that after a crash either the old or the new one is there. It holds
// pseudonym keys: only the owner may read it.
func saveAssignment(dir string, a control.Assignment) (err error) {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("save the assignment: %w", err)
	}
	tmp, err := os.CreateTemp(dir, assignmentFile+".*") // made with 0600
	if err != nil {
		return fmt.Errorf("save the assignment: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the assignment: %w", errors.Join(err, os.Remove(tmp.Name())))
		}
	}()
	if _, err = tmp.Write(b); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err = tmp.Sync(); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, assignmentFile))
}
