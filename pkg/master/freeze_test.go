package master_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// hasty is a store in which custody freezes the event between the look of a master and its delete.
type hasty struct {
	store.Store
	freeze func()
}

func (s *hasty) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (bool, error) {
	if c == store.Manifests {
		s.freeze()
	}
	return s.Store.DeleteIf(ctx, c, id, field, value)
}

// TestCancelledTooLate: an event that is frozen while that is taken back keeps its manifest; one that has lost it is told.
func TestCancelledTooLate(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		s := &hasty{Store: w.store}
		w.store = s
		s.freeze = func() {
			e, err := w.op.Event(w.ctx, "one")
			w.must(err)
			e.State, e.Rev = record.EventFrozen, e.Rev+1
			w.put(store.Events, e.Rev-1, "one", e)
		}
		w.startMaster("m1")
		w.live("one", 1, 1)
		_, err := w.op.SetState(w.ctx, "one", control.Stop)
		w.must(err)
		w.sleep(2 * time.Minute)
		_, err = w.op.Freeze(w.ctx, "one", control.NewFreeze{Force: true})
		w.must(err)
		if err := w.op.CancelFreeze(w.ctx, "one"); err == nil || !strings.Contains(err.Error(), "is frozen already (waiting)") {
			t.Errorf("cancel: %v", err)
		}
		if f, err := w.op.Manifest(w.ctx, "one"); err != nil || f.State != record.FreezeWaiting || !f.Force {
			t.Errorf("the manifest is %+v, err %v", f, err)
		}
		if _, err := s.Store.DeleteIf(w.ctx, store.Manifests, "one", "state", record.FreezeWaiting); err != nil {
			t.Fatal(err)
		}
		w.sleep(5 * time.Second)
		if got := w.privacyConditions(); got != "manifest-missing one" {
			t.Errorf("conditions: %s", got)
		}
	})
}
