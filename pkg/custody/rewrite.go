package custody

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// rewriteFor bounds a rewrite and the look after it.
const rewriteFor = 30 * time.Second

// rewrite replaces records of an event, and looks once more when that is done: a write has no fence, and a
// leader that was stopped before it may have been replaced meanwhile. What should be different by now, or
// should not be there any more, because another person was forgotten, or texts, answers or records erased, is
// changed again. Its minutes are marked before, lest we die in between, and after. All that is done even
// when the lease is lost.
func (t *term) rewrite(ctx context.Context, event string, records []record.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rewriteFor)
	defer cancel()
	dirty := map[int64]struct{}{}
	for len(records) > 0 {
		docs := make([]store.Doc, len(records))
		for i, r := range records {
			docs[i] = store.Doc{ID: r.ID, Raw: r.Doc}
		}
		putErr := t.store.Put(ctx, store.Records, docs) // it may have written some: these are looked at, too
		old, err := t.outdated(ctx, event, records)
		if err != nil {
			return err
		}
		for _, r := range slices.Concat(old.removed, old.changed) {
			dirty[record.Minute(r.Time).Unix()] = struct{}{}
		}
		if len(dirty) > 0 {
			if err := t.disturb(ctx, event, dirty, old.counted); err != nil {
				return err
			}
		}
		for _, r := range old.removed {
			if _, err := t.store.DeleteIf(ctx, store.Records, r.ID, "event", event); err != nil {
				return fmt.Errorf("delete a record of event %s again: %w", event, err)
			}
		}
		if putErr != nil {
			return fmt.Errorf("rewrite %d records of event %s: %w", len(docs), event, putErr)
		}
		if records = old.changed; len(records) == 0 && len(dirty) > 0 {
			return t.disturb(ctx, event, dirty, old.counted)
		}
	}
	return nil
}

// disturb says that what is stored of some minutes changes: they may have been counted and sealed.
func (t *term) disturb(ctx context.Context, event string, minutes map[int64]struct{}, counted bool) error {
	if err := t.reopen(ctx, event, record.CauseLate); err != nil || !counted {
		return err
	}
	return t.mark(ctx, event, times(minutes))
}

// outdated is what of some records is not as it should be.
type outdated struct {
	removed []record.Record // should not be stored
	changed []record.Record // as they should be
	counted bool            // the event has statistics that follow from them
}

// outdated looks what has become of an event meanwhile.
func (t *term) outdated(ctx context.Context, event string, records []record.Record) (out outdated, err error) {
	all, err := t.tombstones(ctx, "")
	if err != nil {
		return out, err
	}
	e, known, err := readEvent(ctx, t.store, event)
	if err != nil {
		return out, err
	}
	out.counted = counted(e, known)
	gone := map[string]struct{}{}
	for _, p := range all[event] {
		for _, name := range []string{p.User, p.Name} {
			if name != "" {
				gone[name] = struct{}{}
			}
		}
	}
	forgotten := func(s string) bool { _, ok := gone[s]; return ok }
	lapsed := e.Lapsed()
	lapsed.Texts = lapsed.Texts || t.textDue(e)
	lapsed.Answers = lapsed.Answers || t.answersDue(e)
	lapsed.Donors = lapsed.Donors || t.donors[event] != nil || t.over(e, e.RecordDays)
	for _, r := range records {
		now, what := record.Redact(r, forgotten)
		if what != record.Removed {
			var more record.Redaction
			now, more = lapsed.From(now)
			what = max(what, more)
		}
		switch what {
		case record.Removed:
			out.removed = append(out.removed, r)
		case record.Changed:
			out.changed = append(out.changed, now)
		case record.Kept:
		}
	}
	return out, nil
}
