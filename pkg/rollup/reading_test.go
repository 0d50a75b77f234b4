package rollup

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// TestTotalsWhileMinutesAreWritten reads what was raised between any two writes of a leader: each time the
// total of the event and that of each channel are what they were at some slot, and none ever goes back.
func TestTotalsWhileMinutesAreWritten(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 9, 4, 18, 58, 0, 0, time.UTC)
	e := record.Event{Slug: "e", State: record.EventLive, Start: from, End: from.Add(time.Hour)}
	const slots = 10 // two a minute
	s := &view{memory: newMemory()}
	sums := []int64{}
	given := map[string]int64{}
	put := func(d record.Document) {
		t.Helper()
		r, err := record.Encode(d)
		if err == nil {
			_, err = s.Insert(t.Context(), []record.Record{r})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for c := range 5 {
		raw, err := bson.Marshal(record.Channel{ID: fmt.Sprint("e/", c), Event: "e", Channel: strconv.Itoa(c)})
		if err == nil {
			err = s.Put(t.Context(), store.Channels, []store.Doc{{ID: fmt.Sprint("e/", c), Raw: raw}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for slot := range slots {
		sum := int64(0)
		for c := range 5 {
			h := record.Header{Event: "e", Channel: strconv.Itoa(c), Time: from.Add(time.Duration(slot) * 30 * time.Second)}
			cents := int64(1000*(c+1) + 7*slot)
			sum += cents
			put(&record.Amount{Header: h, Source: "s", Money: record.Money{Cents: cents, Currency: "EUR"}})
			put(&record.Donation{Header: h, Source: "single", Donation: fmt.Sprint(slot, c), Money: record.Money{Cents: 100, Currency: "EUR"}})
			given[h.Channel] += 100
		}
		sums = append(sums, sum)
	}
	reads, last, alone := 0, int64(0), map[string]int64{}
	now := from
	look := func() error {
		reads++
		outside := &view{memory: s.memory}
		cur, err := totals.ReadCurrent(context.Background(), outside, e, "s", now)
		if err != nil {
			return err
		}
		if got := cur.Event; got.Channel != "" && (!slices.Contains(sums, got.Raw) || got.Raw < last) {
			t.Errorf("after %d writes %+v, before %d", reads, got, last)
		}
		if cur.Event.Channel == "" && last > 0 {
			t.Errorf("after %d writes nothing is known of the event", reads)
		}
		last = max(last, cur.Event.Raw)
		if cur, err = totals.ReadCurrent(context.Background(), outside, e, "single", now); err != nil {
			return err
		}
		for c, got := range cur.Channels {
			if got.Raw < alone[c] || got.Raw > given[c] {
				t.Errorf("after %d writes %d of channel %s, before %d", reads, got.Raw, c, alone[c])
			}
			alone[c] = got.Raw
		}
		return nil
	}
	for epoch := range int64(slots / 2) {
		now = from.Add(time.Duration(epoch+1)*time.Minute + testGrace)
		c := closing(t, s, e, epoch, now)
		s.gate = look
		finish(t, c)
		s.gate = nil
	}
	if last != sums[slots-1] || reads < 100 {
		t.Errorf("%d at the end of %d reads, want %d", last, reads, sums[slots-1])
	}
	for c, n := range given {
		if alone[c] != n {
			t.Errorf("channel %s has %d, want %d", c, alone[c], n)
		}
	}
}
