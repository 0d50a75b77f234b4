package store

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
)

// ReopenManifest has the checksums of an event made again, for a cause, if it has any. Whoever changes
// what is sealed calls it before the change, and those whom nobody waits for once more after it. It
// reports whether there were checksums.
//
// Checksums that are being made are not finished, either: the manifest gets another revision of its
// document, so that whoever has read a part of what is about to change can't write its sum.
func ReopenManifest(ctx context.Context, s Store, event, cause string) (reopened bool, err error) {
	for {
		raw, err := s.Get(ctx, Manifests, event)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the manifest of event %s: %w", event, err)
		}
		var m record.Manifest
		if err := bson.Unmarshal(raw, &m); err != nil {
			return false, fmt.Errorf("read the manifest of event %s: %w", event, err)
		}
		reopened := m.Reopen(cause)
		if !reopened && m.State != record.FreezeChecksums {
			return false, nil
		}
		m.Rev++
		if raw, err = bson.Marshal(&m); err != nil {
			return false, fmt.Errorf("encode the manifest of event %s: %w", event, err)
		}
		err = s.CompareAndSet(ctx, Manifests, m.Rev-1, Doc{ID: event, Raw: raw})
		if errors.Is(err, ErrConflict) {
			continue // it may have been sealed just now
		}
		if err != nil {
			return false, fmt.Errorf("reopen the manifest of event %s: %w", event, err)
		}
		return reopened, nil
	}
}
