package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/rollup"
	"github.com/tungstene/tungstene/pkg/store"
)

// outboxUnwritable is the condition of a collector that has records which it can't write down.
const outboxUnwritable = "outbox-unwritable"

// freezing is what is known of an event that is being frozen. Other events may be live meanwhile, and
// then outboxes, queue and consumers are never all empty at once. That isn't needed: what was seen empty
// of what came before it stays so.
type freezing struct {
	// resting are the collectors that don't read for the event, with the beat that told it first; clear
	// are those of them whose outbox was empty at a later beat, with their runs.
	resting map[string]int64
	clear   map[string]string
	// drained is when the queue was empty after all collectors had become clear, by the machine's time;
	// zero when it was not yet.
	drained time.Time
	// holding are the consumers that may have held something then, with their runs; those that held
	// nothing at a later beat go.
	holding map[string]string
	// marked says that all minutes were marked in this term.
	marked bool
	// texts and answers are the last sweeps for those, if there are to be none.
	texts, answers *sweep
}

// heard is what is known of a member: when its document last changed, by the machine's time.
type heard struct {
	run   string
	beat  int64
	first time.Time // looked at
	at    time.Time // last change; zero as long as there was none
}

// freeze goes on with the manifests that are not signed yet.
func (t *term) freeze(ctx context.Context) (more bool, err error) {
	var all []record.Manifest
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Manifests}) {
		if err != nil {
			return false, fmt.Errorf("read manifests: %w", err)
		}
		var m record.Manifest
		if err := bson.Unmarshal(raw, &m); err != nil {
			return false, fmt.Errorf("read manifest %s: %w", store.DocID(raw), err)
		}
		switch m.State {
		case record.FreezeWaiting, record.FreezeRecount, record.FreezeChecksums:
			all = append(all, m)
		}
	}
	for event := range t.freezes {
		if !slices.ContainsFunc(all, func(m record.Manifest) bool { return m.Event == event }) {
			delete(t.freezes, event)
		}
	}
	if len(all) == 0 {
		clear(t.heard) // nobody watches them
		return false, nil
	}
	var errs []error
	for i := range all {
		f := t.freezes[all[i].Event]
		if f == nil {
			f = &freezing{resting: map[string]int64{}, clear: map[string]string{}}
			t.freezes[all[i].Event] = f
		}
		again, err := t.freezeEvent(ctx, &all[i], f)
		if err != nil && !errors.Is(err, store.ErrConflict) { // who was faster, the next look tells
			errs = append(errs, fmt.Errorf("event %s: %w", all[i].Event, err))
		}
		more = more || again
	}
	return more, errors.Join(errs...)
}

// freezeEvent does the next step of one manifest.
func (t *term) freezeEvent(ctx context.Context, m *record.Manifest, f *freezing) (more bool, err error) {
	e, known, err := readEvent(ctx, t.store, m.Event)
	if err != nil {
		return false, err
	}
	if !known {
		return false, t.waitFor(ctx, m, []string{"There is no such event."})
	}
	switch m.State {
	case record.FreezeWaiting:
		return t.waitToFreeze(ctx, m, f, e)
	case record.FreezeRecount:
		if !f.marked {
			t.c.doing("marks all minutes of event " + e.Slug)
			defer t.c.doing("")
			n, err := rollup.Rebuild(ctx, t.store, e.Slug, e.Start, e.End, "")
			if err != nil {
				return false, err
			}
			f.marked = true
			t.log.Info("an event is frozen; its minutes are counted once more", "event", e.Slug, "minutes", n)
		}
		settled, err := rollup.Settled(ctx, t.store, e.Slug, e.End)
		if err != nil {
			return false, err
		}
		if !settled {
			n, err := t.store.Count(ctx, store.Query{Collection: store.Marks, Event: e.Slug})
			if err != nil {
				return false, fmt.Errorf("count marks of event %s: %w", e.Slug, err)
			}
			return false, t.waitFor(ctx, m, []string{fmt.Sprintf("%d minutes are still to be counted once more.", n)})
		}
		// Texts may have come after theirs were erased, and now nobody looks for them any more.
		if !e.TextErased.IsZero() && e.RecordsErased.IsZero() {
			if f.texts == nil {
				f.texts = &sweep{event: e.Slug}
			}
			if done, err := t.eraseTexts(ctx, e.Slug, f.texts); err != nil || !done {
				return err == nil, err
			}
		}
		if !e.AnswersErased.IsZero() && e.RecordsErased.IsZero() {
			if f.answers == nil {
				f.answers = donationsOf(e.Slug)
			}
			if done, err := t.eraseAnswers(ctx, e.Slug, f.answers); err != nil || !done {
				return err == nil, err
			}
		}
		m.State, m.Waiting = record.FreezeChecksums, nil
		return true, t.setManifest(ctx, m)
	case record.FreezeChecksums:
		return false, t.seal(ctx, m, e)
	}
	return false, nil
}

// waitFor tells what is waited for, where that is new.
func (t *term) waitFor(ctx context.Context, m *record.Manifest, what []string) error {
	if slices.Equal(m.Waiting, what) {
		return nil
	}
	m.Waiting = what
	return t.setManifest(ctx, m)
}

// waitToFreeze freezes the event when nothing of it is on its way any more. What is looked at comes in
// the order of the data: what left an outbox before is in the queue, what left the queue is in a
// consumer's hand, and what a consumer has let go is stored and its minute marked.
func (t *term) waitToFreeze(ctx context.Context, m *record.Manifest, f *freezing, e record.Event) (more bool, err error) {
	if e.State != record.EventFrozen {
		what, err := t.onItsWay(ctx, m, f, e)
		if err != nil {
			return false, err
		}
		if len(what) > 0 {
			return false, t.waitFor(ctx, m, what)
		}
		// Who takes the wish back deletes the manifest, then touches the event. It is there now, and if
		// the event is as it was read before, that is still to come: then the event is seen to be frozen.
		now, err := readManifest(ctx, t.store, m.Event)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Rev != m.Rev {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		e.State = record.EventFrozen
		if err := setEvent(ctx, t.store, e); err != nil {
			return false, err
		}
	}
	m.State, m.Waiting, m.Frozen = record.FreezeRecount, nil, record.Millis(t.cfg.Clock.Now())
	m.Revision, m.Cause = max(m.Revision, 1), record.CauseFreeze
	return true, t.setManifest(ctx, m)
}

// onItsWay says what an event waits for before it can be frozen, a sentence each.
func (t *term) onItsWay(ctx context.Context, m *record.Manifest, f *freezing, e record.Event) ([]string, error) {
	over := e.End.Add(t.cfg.EndGrace)
	switch {
	case e.State != record.EventEnded:
		f.anew()
		return []string{fmt.Sprintf("The event is %s: stop it first.", e.State)}, nil
	case t.cfg.Clock.Now().Before(over):
		f.anew()
		return []string{fmt.Sprintf("The event is collected until %s.", over.UTC().Format(time.RFC3339))}, nil
	case time.Now().Before(e.Held):
		return []string{"Corrections or goals of the event are being changed."}, nil
	}
	members, err := t.members(ctx)
	if err != nil {
		return nil, err
	}
	what, err := t.collecting(ctx, m, f, e, members)
	if err != nil {
		return nil, err
	}
	if len(what) > 0 {
		f.drained = time.Time{}
		return what, nil
	}
	if what, err = t.consuming(ctx, m, f, members); err != nil || len(what) > 0 {
		return what, err
	}
	settled, err := rollup.Settled(ctx, t.store, e.Slug, e.End)
	if err != nil {
		return nil, err
	}
	if !settled {
		return []string{"Not all minutes are closed and counted."}, nil
	}
	return nil, nil
}

// members reads the members, and takes note of which were heard.
func (t *term) members(ctx context.Context) ([]control.Member, error) {
	var (
		out []control.Member
		now = time.Now()
	)
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Members}) {
		if err != nil {
			return nil, fmt.Errorf("read members: %w", err)
		}
		var m control.Member
		if err := bson.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("read member %s: %w", store.DocID(raw), err)
		}
		h := t.heard[m.ID]
		switch {
		case h == nil:
			t.heard[m.ID] = &heard{run: m.Run, beat: m.Beat, first: now}
		case h.run != m.Run || h.beat != m.Beat:
			h.run, h.beat, h.at = m.Run, m.Beat, now
		}
		out = append(out, m)
	}
	return out, nil
}

// collecting says which collectors may still have something of an event.
func (t *term) collecting(
	ctx context.Context, m *record.Manifest, f *freezing, e record.Event, members []control.Member,
) ([]string, error) {
	channels := map[string]struct{}{}
	for raw, err := range t.store.Find(ctx, store.Query{Collection: store.Channels, Event: e.Slug}) {
		if err != nil {
			return nil, fmt.Errorf("read channels of event %s: %w", e.Slug, err)
		}
		if id, ok := raw.Lookup("channel").StringValueOK(); ok && id != "" {
			channels[id] = struct{}{}
		}
	}
	var (
		what []string
		now  = time.Now()
	)
	for i := range members {
		c := &members[i]
		if c.Role != control.RoleCollector {
			continue
		}
		n, asks := 0, false
		if c.Collector != nil {
			var err error
			if n, err = t.reads(ctx, c, e.Slug, channels); err != nil {
				return nil, err
			}
			// Donations are told late; a source that does not answer is not waited for with force.
			asks = !m.Force && slices.ContainsFunc(c.Collector.Status.Sources, func(s control.Source) bool { return slices.Contains(s.Events, e.Slug) })
		}
		if n > 0 || asks {
			delete(f.resting, c.ID)
			delete(f.clear, c.ID)
		}
		if run, ok := f.clear[c.ID]; ok && run == c.Run {
			continue
		}
		h := t.heard[c.ID]
		switch {
		case h.at.IsZero() && now.Sub(h.first) < t.cfg.Silence:
			what = append(what, fmt.Sprintf("Collector %s has not been heard since this look began.", c.Name))
			continue
		case h.at.IsZero() || now.Sub(h.at) >= t.cfg.Silence:
			if !m.Force {
				what = append(what, fmt.Sprintf(
					"Collector %s is silent and may have an outbox: start it, forget it, or freeze with force.", c.Name))
			}
			continue
		case c.Collector == nil:
			continue // no heartbeat of it yet: it has nothing
		}
		since, rests := f.resting[c.ID]
		if n > 0 {
			what = append(what, fmt.Sprintf("Collector %s still reads %s of the event.", c.Name, count(n, "channel", "channels")))
		}
		if asks {
			what = append(what, fmt.Sprintf("Collector %s still asks charity sources for the event's last donations.", c.Name))
		}
		if n == 0 && !asks && (!rests || c.Beat < since) {
			f.resting[c.ID], since = c.Beat, c.Beat
		}
		switch st := &c.Collector.Status; {
		case st.OutboxBatches > 0:
			what = append(what, fmt.Sprintf("Collector %s has %s in its outbox.", c.Name, count(st.OutboxBatches, "batch", "batches")))
		case st.OutboxBatches < 0:
			what = append(what, fmt.Sprintf("Collector %s can't tell what is in its outbox.", c.Name))
		case st.Waiting > 0:
			what = append(what, fmt.Sprintf("Collector %s has %s that its outbox does not take.", c.Name, count(st.Waiting, "record", "records")))
		case slices.ContainsFunc(st.Conditions, func(c control.Condition) bool { return c.Name == outboxUnwritable }):
			what = append(what, fmt.Sprintf("Collector %s can't write its outbox.", c.Name))
		case n > 0 || asks:
		case c.Beat == since: // what it read last may be on its way to the outbox
			what = append(what, fmt.Sprintf("Collector %s has just stopped reading the event.", c.Name))
		default:
			f.clear[c.ID] = c.Run
		}
	}
	return what, nil
}

// reads is how many of an event's channels a collector reads for it. Channels can belong to other
// events as well: where the assignment in effect says that a channel is read for others only, it doesn't count.
func (t *term) reads(ctx context.Context, c *control.Member, event string, channels map[string]struct{}) (int, error) {
	joined := slices.DeleteFunc(slices.Clone(c.Collector.Joined), func(id string) bool {
		_, ours := channels[id]
		return !ours
	})
	if len(joined) == 0 {
		return 0, nil
	}
	raw, err := t.store.Get(ctx, store.Assignments, c.Name)
	if errors.Is(err, store.ErrNotFound) {
		return len(joined), nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the assignment of collector %s: %w", c.Name, err)
	}
	var a control.Assignment
	if err := bson.Unmarshal(raw, &a); err != nil {
		return 0, fmt.Errorf("read the assignment of collector %s: %w", c.Name, err)
	}
	if a.Epoch != c.Collector.Epoch || a.Revision != c.Collector.Revision {
		return len(joined), nil // it has another one in effect, or a later one than this
	}
	n := 0
	for _, id := range joined {
		i := slices.IndexFunc(a.Channels, func(ch control.AssignedChannel) bool { return ch.Channel == id })
		if i < 0 || slices.Contains(a.Channels[i].Events, event) {
			n++
		}
	}
	return n, nil
}

// consuming says what is in the queue or in consumers' hands. The queue gives batches in their order:
// once it was empty, all that came before is in the hands of consumers; and of each that has held nothing
// since, all of it is stored. What one holds that is silent is in no queue: it may have lost the store, or
// be stopped, and keep its batches. What one held that has ended is in the queue again.
func (t *term) consuming(ctx context.Context, m *record.Manifest, f *freezing, members []control.Member) ([]string, error) {
	now := time.Now()
	if f.drained.IsZero() {
		depth, err := t.cfg.Queue.Depth(ctx, queue.Store)
		if err != nil {
			return nil, fmt.Errorf("look into the queue %q: %w", queue.Store, err)
		}
		if depth > 0 {
			return []string{count(depth, "batch is", "batches are") + " in the queue."}, nil
		}
		f.drained, f.holding = now, map[string]string{}
		for i := range members {
			if c := &members[i]; c.Role == control.RoleConsumer && !c.Left {
				f.holding[c.ID] = c.Run
			}
		}
	}
	var what []string
	if now.Sub(f.drained) < t.cfg.Quiet {
		what = append(what, "The queue has been empty for a moment only.")
	}
	for id, run := range f.holding {
		i := slices.IndexFunc(members, func(c control.Member) bool { return c.ID == id })
		if i < 0 || members[i].Left || members[i].Run != run {
			f.drained = time.Time{}
			return []string{"A consumer has ended: what it held is in the queue again."}, nil
		}
		c, h := &members[i], t.heard[id]
		since := h.at
		if since.IsZero() {
			since = h.first
		}
		switch {
		case now.Sub(since) >= t.cfg.Silence:
			// One that is dead has given back what it had: force says that it is.
			if !m.Force {
				what = append(what, fmt.Sprintf(
					"Consumer %s is silent and may hold batches: start it, or forget it (tungstene members forget consumer/%[1]s) when its process is gone for good.", c.Name))
			}
		case c.Consumer == nil || !h.at.After(f.drained):
			what = append(what, fmt.Sprintf("Consumer %s has not been heard since the queue was empty.", c.Name))
		case c.Consumer.Held > 0:
			what = append(what, fmt.Sprintf("Consumer %s holds %s.", c.Name, count(c.Consumer.Held, "batch", "batches")))
		default:
			delete(f.holding, id)
		}
	}
	slices.Sort(what)
	return what, nil
}

// anew forgets what was seen: the event is being read.
func (f *freezing) anew() {
	clear(f.resting)
	clear(f.clear)
	f.drained = time.Time{}
}

// count is a number with its noun.
func count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// seal makes the checksums, when nothing is going to change what they are of.
func (t *term) seal(ctx context.Context, m *record.Manifest, e record.Event) error {
	what, err := t.changing(ctx, e)
	if err != nil {
		return err
	}
	if len(what) > 0 {
		return t.waitFor(ctx, m, what)
	}
	t.c.doing("makes the checksums of event " + e.Slug)
	defer t.c.doing("")
	start := time.Now()
	parts, sum, err := Checksums(ctx, t.store, e.Slug)
	if err != nil {
		return err
	}
	// What has changed meanwhile is counted again: then this is done again, too.
	if what, err = t.changing(ctx, e); err != nil || len(what) > 0 {
		return err
	}
	m.State, m.Waiting, m.Parts, m.Sum = record.FreezeUnsigned, nil, parts, sum
	if err := t.setManifest(ctx, m); err != nil {
		return err
	}
	t.log.Info("the checksums of an event are made", "event", e.Slug, "revision", m.Revision, "parts", len(parts),
		"after", time.Since(start))
	return nil
}

// changing says what is still going to change a frozen event, a sentence each.
func (t *term) changing(ctx context.Context, e record.Event) ([]string, error) {
	pending, err := t.tombstones(ctx, record.TombstonePending)
	if err != nil {
		return nil, err
	}
	var what []string
	if n := len(pending[e.Slug]); n > 0 {
		what = append(what, fmt.Sprintf("%d people are being forgotten.", n))
	}
	if !e.RecordsErased.IsZero() {
		left, err := t.anyOf(ctx, e.Slug, record.PersonalKinds())
		if err != nil {
			return nil, err
		}
		if left {
			what = append(what, "The records are being erased.")
		}
		return what, nil
	}
	if t.textDue(e) {
		what = append(what, "The texts are being erased.")
	}
	if t.answersDue(e) {
		what = append(what, "The answers of charity sources are being erased.")
	}
	if t.donors[e.Slug] != nil {
		what = append(what, "What donations say of their donors is being erased.")
	}
	settled, err := rollup.Settled(ctx, t.store, e.Slug, e.End)
	if err != nil {
		return nil, err
	}
	if !settled {
		what = append(what, "Minutes are being counted again.")
	}
	return what, nil
}
