package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// freezePatience is how long a freeze may wait before somebody is told.
const freezePatience = 10 * time.Minute

type freezeInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Body control.NewFreeze
}

func (m *Master) manifest(ctx context.Context, slug string) (record.Manifest, error) {
	var f record.Manifest
	raw, err := m.cfg.Store.Get(ctx, store.Manifests, slug)
	if errors.Is(err, store.ErrNotFound) {
		if _, err := m.event(ctx, slug); err != nil {
			return f, err
		}
		return f, absent("event %s has no manifest: it was not frozen", slug)
	}
	if err != nil {
		return f, fmt.Errorf("manifest of event %s: %w", slug, err)
	}
	if err := bson.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("decode the manifest of event %s: %w", slug, err)
	}
	return f, nil
}

// freeze writes the manifest that the freezing begins with. One that is there is left alone, but
// that a waiting one can become forced.
func (m *Master) freeze(ctx context.Context, slug string, in control.NewFreeze) (record.Manifest, error) {
	for {
		e, err := m.event(ctx, slug)
		if err != nil {
			return record.Manifest{}, err
		}
		f, err := m.manifest(ctx, slug)
		switch {
		case errors.Is(err, store.ErrNotFound):
			// An event that is frozen but lost its manifest gets another.
			if e.State != record.EventEnded && e.State != record.EventFrozen {
				return f, conflict("event %s is %s: only an ended event can be frozen", slug, e.State)
			}
			if over := e.End.Add(max(m.cfg.EndGrace, 0)); m.cfg.Clock.Now().Before(over) {
				return f, conflict("event %s is collected until %s: freeze it after that", slug, stamp(over))
			}
			f = record.Manifest{
				Event: slug, State: record.FreezeWaiting, Force: in.Force,
				Requested: record.Millis(m.cfg.Clock.Now()), Revision: 1, Cause: "freeze",
			}
		case err != nil:
			return f, err
		case f.State != record.FreezeWaiting || f.Force || !in.Force:
			return f, nil
		default:
			f.Force = true
		}
		f.Rev++
		err = m.setDoc(ctx, store.Manifests, f.Rev-1, slug, f)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return f, err
		}
		m.log.Info("event is to be frozen", "event", slug, "force", f.Force)
		return f, nil
	}
}

// cancelFreeze deletes a manifest that waits. Custody may be about to freeze the event all the same: it
// looks whether the manifest is there after it has read the event. So the event is touched after that is
// gone: either custody's change of the event fails, or ours does, and the manifest is put back.
func (m *Master) cancelFreeze(ctx context.Context, slug string) error {
	e, err := m.event(ctx, slug)
	if err != nil {
		return err
	}
	f, err := m.manifest(ctx, slug)
	if err != nil {
		return err
	}
	if e.State != record.EventFrozen {
		deleted, err := m.cfg.Store.DeleteIf(ctx, store.Manifests, slug, "state", record.FreezeWaiting)
		if err != nil {
			return fmt.Errorf("cancel the freezing of event %s: %w", slug, err)
		}
		if deleted {
			e, err := m.touchEvent(ctx, slug, time.Time{})
			if err != nil {
				return fmt.Errorf("cancel the freezing of event %s: %w", slug, err)
			}
			if e.State != record.EventFrozen {
				m.log.Info("the freezing was cancelled", "event", slug)
				return nil
			}
			if f, err = m.freeze(ctx, slug, control.NewFreeze{Force: f.Force}); err != nil {
				return fmt.Errorf("put back the manifest of event %s, which is frozen already: %w", slug, err)
			}
		}
	}
	return conflict("event %s is frozen already (%s): that can't be taken back", slug, f.State)
}

// touchEvent gives an event that is not frozen its next revision, and returns it as it is then. It is held
// until a moment, or as long as it is already.
func (m *Master) touchEvent(ctx context.Context, slug string, held time.Time) (record.Event, error) {
	for {
		e, err := m.event(ctx, slug)
		if err != nil || e.State == record.EventFrozen {
			return e, err
		}
		e.Rev++
		if held.After(e.Held) {
			e.Held = record.Millis(held)
		}
		if err := m.setDoc(ctx, store.Events, e.Rev-1, slug, e); !errors.Is(err, store.ErrConflict) {
			return e, err
		}
	}
}

// notFreezing refuses what would collect an event again that is to be frozen.
func (m *Master) notFreezing(ctx context.Context, slug string) error {
	f, err := m.manifest(ctx, slug)
	if errors.Is(err, store.ErrNotFound) {
		return nil // the event too may be absent; who changes it tells
	}
	if err == nil && f.State == record.FreezeWaiting {
		err = conflict("event %s is to be frozen: cancel that first, with tungstene event freeze %s --cancel", slug, slug)
	}
	if err != nil {
		return err
	}
	return nil // frozen: who changes it tells
}

// keepManifests signs what is to be signed and tells of freezes that wait for long.
func (m *Master) keepManifests(ctx context.Context) []control.Condition {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	list, err := find[record.Manifest](ctx, m.cfg.Store, store.Query{Collection: store.Manifests})
	if err != nil {
		return failingCondition("manifests-unread", err, "Manifests can't be read, and none is signed.")
	}
	var conditions []control.Condition
	have := map[string]struct{}{}
	for _, f := range list {
		have[f.Event] = struct{}{}
		switch f.State {
		case record.FreezeUnsigned:
			if err := m.signManifest(ctx, f); err != nil {
				conditions = append(conditions, control.Condition{
					Name: "manifest-unsigned", Subject: f.Event, Detail: "The manifest can't be signed: " + err.Error() + ".",
				})
			}
		case record.FreezeWaiting:
			if m.cfg.Clock.Now().Sub(f.Requested) > freezePatience {
				conditions = append(conditions, control.Condition{
					Name: "freeze-waiting", Subject: f.Event,
					Detail: fmt.Sprintf("The event was to be frozen more than %v ago. %s", freezePatience, waitingFor(f)),
				})
			}
		}
	}
	events, err := find[record.Event](ctx, m.cfg.Store, store.Query{Collection: store.Events})
	if err != nil {
		return append(conditions, failingCondition("manifests-unread", err, "Events can't be read, and it is not known which are frozen.")...)
	}
	for _, e := range events {
		if _, ok := have[e.Slug]; !ok && e.State == record.EventFrozen {
			conditions = append(conditions, control.Condition{
				Name: "manifest-missing", Subject: e.Slug,
				Detail: fmt.Sprintf("The event is frozen and has no manifest: have one made with tungstene event freeze %s.", e.Slug),
			})
		}
	}
	return conditions
}

func waitingFor(f record.Manifest) string {
	if len(f.Waiting) == 0 {
		return "Nobody works on it: does a consumer run?"
	}
	return "It waits: " + strings.Join(f.Waiting, " ")
}

func (m *Master) signManifest(ctx context.Context, f record.Manifest) error {
	key, err := m.cfg.Keys.Signer(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says which key
	}
	if err := f.Sign(key, m.cfg.Clock.Now()); err != nil {
		return err //nolint:wrapcheck // it names the event
	}
	f.Rev++
	err = m.setDoc(ctx, store.Manifests, f.Rev-1, f.Event, f)
	if errors.Is(err, store.ErrConflict) {
		return nil // it has changed, and is looked at again
	}
	if err == nil {
		m.log.Info("manifest signed", "event", f.Event, "revision", f.Revision, "sum", f.Sum)
	}
	return err
}
