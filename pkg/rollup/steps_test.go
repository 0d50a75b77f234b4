package rollup

import (
	"context"
	"iter"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// hanging is a store of which some calls don't return, while the others do.
type hanging struct {
	*view
	reads, writes atomic.Bool
}

func (h *hanging) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	if q.Collection == store.Records && h.reads.Load() {
		return func(yield func(bson.Raw, error) bool) {
			<-ctx.Done()
			yield(nil, ctx.Err())
		}
	}
	return h.view.Find(ctx, q)
}

func (h *hanging) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	if h.writes.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.view.PutFenced(ctx, c, epoch, docs)
}

// TestStepsStandStill: a leader whose work hangs goes on beating, and its steps say that it does nothing. Of one
// that has nothing to do they grow.
func TestStepsStandStill(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]func(h *hanging){
		"a read hangs":  func(h *hanging) { h.reads.Store(true) },
		"a write hangs": func(h *hanging) { h.writes.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &hanging{view: &view{memory: newMemory()}}
				now := time.Now().UTC()
				raw, err := bson.Marshal(record.Event{Slug: "e", State: record.EventLive, Start: now, End: now.Add(time.Hour)})
				if err == nil {
					err = h.Put(t.Context(), store.Events, []store.Doc{{ID: "e", Raw: raw}})
				}
				if err != nil {
					t.Fatal(err)
				}
				r, err := New(Config{Store: h, Name: "r", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				told := func() (m control.Member) {
					raw, err := h.Get(t.Context(), store.Members, "rollup/r")
					if err == nil {
						err = bson.Unmarshal(raw, &m)
					}
					if err != nil {
						t.Fatal(err)
					}
					return m
				}
				time.Sleep(10 * time.Second)
				for range 45 { // idle, then closing
					before := told()
					time.Sleep(2 * control.BeatEvery)
					if after := told(); !after.Rollup.Leader || after.Rollup.Steps <= before.Rollup.Steps {
						t.Fatalf("%+v, then %+v", before.Rollup, after.Rollup)
					}
				}
				hang(h)
				time.Sleep(time.Minute + 5*time.Second) // until it has something to close
				before := told()
				time.Sleep(30 * time.Second)
				if after := told(); after.Beat <= before.Beat || !after.Rollup.Leader || after.Rollup.Steps != before.Rollup.Steps {
					t.Errorf("beat %d with %+v, then beat %d with %+v", before.Beat, before.Rollup, after.Beat, after.Rollup)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
