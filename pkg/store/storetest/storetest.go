// Package storetest is the suite that every implementation of store.Store passes: the proof of the
// contract in the comments of package store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// base is the moment that the suite's times count from.
var base = time.Date(2025, 9, 4, 18, 0, 0, 0, time.UTC)

// Run runs the suite. open gives an empty store each time and closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"InsertTellsNewFromExisting", insertTellsNewFromExisting},
		{"InsertLeavesExistingAlone", insertLeavesExistingAlone},
		{"InsertDoublesInOneCall", insertDoublesInOneCall},
		{"InsertNothing", insertNothing},
		{"InsertRefuses", insertRefuses},
		{"InsertKeepsBytes", insertKeepsBytes},
		{"InsertConcurrently", insertConcurrently},
		{"InsertCancelled", insertCancelled},
		{"FindOrder", findOrder},
		{"FindKinds", findKinds},
		{"FindManyOfOneTime", findManyOfOneTime},
		{"FindFilters", findFilters},
		{"FindRangeIsHalfOpen", findRangeIsHalfOpen},
		{"FindLimit", findLimit},
		{"FindPages", findPages},
		{"FindWithoutTime", findWithoutTime},
		{"FindStopsEarly", findStopsEarly},
		{"FindWhileWriting", findWhileWriting},
		{"FindCancelled", findCancelled},
		{"FindKeepsDocuments", findKeepsDocuments},
		{"Get", get},
		{"EveryCollection", everyCollection},
		{"CompareAndSet", compareAndSet},
		{"CompareAndSetOneWins", compareAndSetOneWins},
		{"CompareAndSetCounts", compareAndSetCounts},
		{"Put", put},
		{"PutMany", putMany},
		{"PutConcurrently", putConcurrently},
		{"PutFenced", putFenced},
		{"PutFencedTriesAll", putFencedTriesAll},
		{"PutFencedConcurrently", putFencedConcurrently},
		{"Replace", replace},
		{"ReplaceTriesAll", replaceTriesAll},
		{"ReplaceOneWins", replaceOneWins},
		{"InvalidDocuments", invalidDocuments},
		{"RewriteRecords", rewriteRecords},
		{"DeleteIf", deleteIf},
		{"DeleteIfOneWins", deleteIfOneWins},
		{"Delete", deleteQuery},
		{"Count", count},
		{"Unicode", unicode},
		{"LargeDocuments", largeDocuments},
		{"UnknownCollection", unknownCollection},
		{"Check", check},
		{"Model", model},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// message is a record with a fact of its own.
func message(tb testing.TB, event, channel, fact string, at time.Time) record.Record {
	tb.Helper()
	r, err := record.Encode(&record.Message{
		Header:    record.Header{Event: event, Channel: channel, Time: at, Received: at.Add(30 * time.Millisecond)},
		MessageID: fact, Chatter: "c" + fact, Length: 12,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// Messages are n records of an event, a millisecond apart, in turn on so many channels.
func Messages(tb testing.TB, event string, from, n, channels int) []record.Record {
	tb.Helper()
	out := make([]record.Record, n)
	for i := range out {
		k := from + i
		out[i] = message(tb, event, strconv.Itoa(1000+k%channels), fmt.Sprintf("m%08d", k), base.Add(time.Duration(k)*time.Millisecond))
	}
	return out
}

func doc(tb testing.TB, id string, elements ...bson.E) store.Doc {
	tb.Helper()
	raw, err := bson.Marshal(append(bson.D{{Key: "_id", Value: id}}, elements...))
	if err != nil {
		tb.Fatal(err)
	}
	return store.Doc{ID: id, Raw: raw}
}

func el(key string, value any) bson.E { return bson.E{Key: key, Value: value} }

func outcomes(results []store.Result) []store.Outcome {
	out := make([]store.Outcome, len(results))
	for i, r := range results {
		out[i] = r.Outcome
	}
	return out
}

func insert(t *testing.T, s store.Store, records ...record.Record) []store.Outcome {
	t.Helper()
	results, err := s.Insert(t.Context(), records)
	if err != nil {
		t.Fatalf("insert: %v", err)
	}
	if len(results) != len(records) {
		t.Fatalf("insert: %d results for %d records", len(results), len(records))
	}
	for i, r := range results {
		if (r.Outcome == store.Refused) != (r.Err != nil) {
			t.Fatalf("result %d: outcome %v with error %v", i, r.Outcome, r.Err)
		}
	}
	return outcomes(results)
}

func find(t *testing.T, s store.Store, q store.Query) []string {
	t.Helper()
	var ids []string
	for raw, err := range s.Find(t.Context(), q) {
		if err != nil {
			t.Fatalf("find %+v: %v", q, err)
		}
		ids = append(ids, store.DocID(raw))
	}
	return ids
}

func countOf(t *testing.T, s store.Store, q store.Query) int {
	t.Helper()
	n, err := s.Count(t.Context(), q)
	if err != nil {
		t.Fatalf("count %+v: %v", q, err)
	}
	return n
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		if len(got)+len(want) > 40 {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("%s: %d elements, want %d; the first that differs is %d: %v, want %v", what, len(got), len(want), i, got[i], want[i])
				}
			}
			t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
		}
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func ids(records []record.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = r.ID
	}
	return out
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	fresh = store.Inserted
	there = store.Existed
)

func insertTellsNewFromExisting(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 6, 2)
	same(t, "first", insert(t, s, records[:3]...), []store.Outcome{fresh, fresh, fresh})
	same(t, "again", insert(t, s, records[:3]...), []store.Outcome{there, there, there})
	mixed := []record.Record{records[3], records[0], records[4], records[2], records[5]}
	same(t, "mixed", insert(t, s, mixed...), []store.Outcome{fresh, there, fresh, there, fresh})
	same(t, "stored", find(t, s, store.Query{Collection: store.Records, Event: "e1"}), ids(records))

	// Batches larger than any statement or command, every third record there already.
	records = Messages(t, "e2", 0, 1307, 7)
	var some []record.Record
	for i := 0; i < len(records); i += 3 {
		some = append(some, records[i])
	}
	insert(t, s, some...)
	want := make([]store.Outcome, len(records))
	for i := 0; i < len(want); i += 3 {
		want[i] = there
	}
	same(t, "a large batch", insert(t, s, records...), want)
	same(t, "a large batch stored", find(t, s, store.Query{Collection: store.Records, Event: "e2"}), ids(records))
}

func insertLeavesExistingAlone(t *testing.T, s store.Store) {
	first := message(t, "e1", "1", "a", base)
	other := message(t, "e1", "2", "a", base.Add(time.Hour)) // the same fact, told otherwise
	if first.ID != other.ID {
		t.Fatal("the ids should be the same")
	}
	insert(t, s, first)
	same(t, "other", insert(t, s, other), []store.Outcome{there})
	raw, err := s.Get(t.Context(), store.Records, first.ID)
	must(t, err)
	if string(raw) != string(first.Doc) {
		t.Fatalf("the document has changed to %s", raw)
	}
	same(t, "by its channel", find(t, s, store.Query{Collection: store.Records, Event: "e1", Kind: record.KindMessage, Channel: "2"}), nil)
}

func insertDoublesInOneCall(t *testing.T, s store.Store) {
	r := Messages(t, "e1", 0, 3, 1)
	got := insert(t, s, r[0], r[1], r[0], r[2], r[0], r[1])
	tally := map[string][2]int{}
	for i, x := range []string{"0", "1", "0", "2", "0", "1"} {
		n := tally[x]
		n[got[i]]++
		tally[x] = n
	}
	for x, want := range map[string][2]int{"0": {1, 2}, "1": {1, 1}, "2": {1, 0}} {
		if tally[x] != want {
			t.Errorf("record %s: inserted and existed %v times, want %v", x, tally[x], want)
		}
	}
	// Doubles that lie far apart in a large call.
	r = Messages(t, "e2", 0, 600, 3)
	got = insert(t, s, append(slices.Clone(r), r...)...)
	if n := len(slices.DeleteFunc(got, func(o store.Outcome) bool { return o != fresh })); n != len(r) {
		t.Errorf("%d of %d doubled records are inserted", n, len(r))
	}
	same(t, "stored", find(t, s, store.Query{Collection: store.Records, Event: "e2"}), ids(r))
}

func insertNothing(t *testing.T, s store.Store) {
	results, err := s.Insert(t.Context(), nil)
	if len(results) != 0 || err != nil {
		t.Fatalf("results %v, error %v", results, err)
	}
}

func insertRefuses(t *testing.T, s store.Store) {
	good := Messages(t, "e1", 0, 3, 1)
	large := message(t, "e1", "1", "large", base)
	large.Doc = doc(t, large.ID, el("text", strings.Repeat("x", store.MaxDocumentBytes))).Raw
	cut := message(t, "e1", "1", "cut", base)
	cut.Doc = cut.Doc[:len(cut.Doc)-3]
	wrong := message(t, "e1", "1", "wrong", base)
	wrong.ID += "x"
	got := insert(t, s, good[0], large, good[1], cut, wrong, good[2])
	same(t, "outcomes", got, []store.Outcome{fresh, store.Refused, fresh, store.Refused, store.Refused, fresh})
	same(t, "stored", find(t, s, store.Query{Collection: store.Records, Event: "e1"}), ids(good))
}

func insertKeepsBytes(t *testing.T, s store.Store) {
	// Elements of every type, in an order of their own, and a number type that re-encoding changes.
	r := message(t, "e1", "1", "bytes", base)
	raw, err := bson.Marshal(bson.D{
		el("_id", r.ID), el("kind", "message"), el("event", "e1"), el("channel", "1"), el("time", base),
		el("z", int32(1)), el("a", int64(1)), el("f", 1.0), el("n", nil), el("b", []byte{0, 1, 2}), el("t", true),
		el("list", bson.A{int32(1), "two", bson.D{el("three", 3.5)}}), el("empty", bson.D{}), el("none", bson.A{}),
	})
	must(t, err)
	r.Doc = raw
	insert(t, s, r)
	got, err := s.Get(t.Context(), store.Records, r.ID)
	must(t, err)
	if string(got) != string(raw) {
		t.Fatalf("got\n%s, want\n%s", got, bson.Raw(raw))
	}
}

func insertConcurrently(t *testing.T, s store.Store) {
	const inserters, size = 6, 50
	records := Messages(t, "e1", 0, 400, 5)
	var (
		wg    sync.WaitGroup
		wins  = make([]atomic.Int32, len(records))
		fails atomic.Pointer[error]
	)
	for n := range inserters {
		wg.Go(func() {
			for k := range len(records) / size {
				// Each begins elsewhere, so that they meet in every way.
				from := (k + n*3) % (len(records) / size) * size
				results, err := s.Insert(t.Context(), records[from:from+size])
				if err != nil {
					fails.Store(&err)
					return
				}
				for i, r := range results {
					if r.Outcome == fresh {
						wins[from+i].Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := fails.Load(); err != nil {
		t.Fatal(*err)
	}
	for i := range wins {
		if n := wins[i].Load(); n != 1 {
			t.Fatalf("record %d is inserted %d times", i, n)
		}
	}
	same(t, "stored", find(t, s, store.Query{Collection: store.Records, Event: "e1"}), ids(records))
}

func insertCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Insert(ctx, Messages(t, "e1", 0, 3, 1))
	is(t, err, context.Canceled)
	// The call can be repeated.
	if got := insert(t, s, Messages(t, "e1", 0, 3, 1)...); slices.Contains(got, store.Refused) {
		t.Fatalf("outcomes %v", got)
	}
}

func findOrder(t *testing.T, s store.Store) {
	// Inserted in an order that is neither that of time nor that of the ids.
	var records []record.Record
	for i, at := range []int{5, 1, 3, 1, 5, 1, 2, 1} {
		records = append(records, message(t, "e1", "1", fmt.Sprintf("%c", 'h'-i), base.Add(time.Duration(at)*time.Millisecond)))
	}
	insert(t, s, records...)
	slices.SortFunc(records, func(a, b record.Record) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	q := store.Query{Collection: store.Records, Event: "e1"}
	same(t, "ascending", find(t, s, q), ids(records))
	q.Kind, q.Channel = record.KindMessage, "1"
	same(t, "ascending by channel", find(t, s, q), ids(records))
	q.Descending = true
	slices.Reverse(records)
	same(t, "descending by channel", find(t, s, q), ids(records))
	q.Kind, q.Channel = "", ""
	same(t, "descending", find(t, s, q), ids(records))
	for n := 1; n <= len(records); n++ {
		q.Limit = n
		same(t, fmt.Sprint("descending, limit ", n), find(t, s, q), ids(records)[:n])
	}
}

// findKinds asks for one kind of all channels: by an index where it is a rare one.
func findKinds(t *testing.T, s store.Store) {
	var notices, donations []record.Record
	for i := range 40 {
		at := base.Add(time.Duration(i*i%17) * time.Second)
		h := record.Header{Event: "e1", Channel: []string{"1", "2", ""}[i%3], Time: at, Received: at}
		d, err := record.Encode(&record.Donation{
			Header: h, Source: "s", Donation: strconv.Itoa(i), Money: record.Money{Cents: int64(i), Currency: "EUR"},
		})
		must(t, err)
		n, err := record.Encode(&record.Notice{Header: h, NoticeID: strconv.Itoa(i), Type: "sub"})
		must(t, err)
		donations, notices = append(donations, d), append(notices, n)
	}
	messages := Messages(t, "e1", 0, 20, 2)
	insert(t, s, slices.Concat(messages, notices, donations, Messages(t, "e2", 0, 5, 1))...)
	for kind, want := range map[record.Kind][]record.Record{
		record.KindDonation: donations, record.KindNotice: notices, record.KindMessage: messages, record.KindAnswer: nil,
	} {
		slices.SortFunc(want, func(a, b record.Record) int {
			if c := a.Time.Compare(b.Time); c != 0 {
				return c
			}
			return strings.Compare(a.ID, b.ID)
		})
		q := store.Query{Collection: store.Records, Event: "e1", Kind: kind}
		same(t, string(kind), find(t, s, q), ids(want))
		within := slices.DeleteFunc(slices.Clone(want), func(r record.Record) bool {
			return r.Time.Before(base.Add(2*time.Second)) || !r.Time.Before(base.Add(9*time.Second))
		})
		q.From, q.To = base.Add(2*time.Second), base.Add(9*time.Second)
		same(t, string(kind)+" in a span", find(t, s, q), ids(within))
		if n := countOf(t, s, q); n != len(within) {
			t.Errorf("%s: %d are counted, want %d", kind, n, len(within))
		}
		q.Descending = true
		slices.Reverse(within)
		same(t, string(kind)+" in a span, descending", find(t, s, q), ids(within))
		if len(within) > 3 {
			q.Limit = 3
			same(t, string(kind)+" in a span, limited", find(t, s, q), ids(within[:3]))
			q.Limit = 0
		}
		q.Channel = "2"
		for _, id := range find(t, s, q) {
			if !slices.Contains(ids(within), id) {
				t.Errorf("%s of a channel: %s is none", kind, id)
			}
		}
	}
	n, err := s.Delete(t.Context(), store.Query{Collection: store.Records, Event: "e1", Kind: record.KindDonation, To: base.Add(5 * time.Second)})
	must(t, err)
	left := slices.DeleteFunc(donations, func(r record.Record) bool { return r.Time.Before(base.Add(5 * time.Second)) })
	same(t, "what a delete left", find(t, s, store.Query{Collection: store.Records, Event: "e1", Kind: record.KindDonation}), ids(left))
	if n != 40-len(left) {
		t.Errorf("%d deleted, %d left of 40", n, len(left))
	}
}

func findManyOfOneTime(t *testing.T, s store.Store) {
	// More of one time than fit a page, with others around them.
	var records []record.Record
	for i := range 2600 {
		at := base.Add(time.Second)
		switch {
		case i < 20:
			at = base
		case i >= 2580:
			at = base.Add(2 * time.Second)
		}
		records = append(records, message(t, "e1", "1", fmt.Sprintf("%06d", i), at))
	}
	shuffled := slices.Clone(records)
	for i := range shuffled {
		j := i * 7919 % len(shuffled)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	insert(t, s, shuffled...)
	q := store.Query{Collection: store.Records, Event: "e1"}
	same(t, "ascending", find(t, s, q), ids(records))
	q.Limit = 1500
	same(t, "limit", find(t, s, q), ids(records)[:1500])
	q.Limit, q.Descending = 0, true
	slices.Reverse(records)
	same(t, "descending", find(t, s, q), ids(records))
}

// mixed are records of two events, two kinds and three channels.
func mixed(t *testing.T) []record.Record {
	t.Helper()
	var out []record.Record
	for i := range 60 {
		h := record.Header{
			Event: fmt.Sprint("e", i%2), Channel: fmt.Sprint("c", i%3),
			Time: base.Add(time.Duration(i) * time.Second), Received: base,
		}
		var d record.Document = &record.Message{Header: h, MessageID: fmt.Sprintf("%03d", i)}
		if i%5 == 0 {
			d = &record.Notice{Header: h, NoticeID: fmt.Sprintf("%03d", i), Type: "sub"}
		}
		r, err := record.Encode(d)
		must(t, err)
		out = append(out, r)
	}
	return out
}

// matches is what a query means.
func matches(q store.Query, r record.Record) bool {
	return (q.Event == "" || q.Event == r.Event) && (q.Kind == "" || q.Kind == r.Kind) &&
		(q.Channel == "" || q.Channel == r.Channel) &&
		(q.From.IsZero() || !r.Time.Before(q.From)) && (q.To.IsZero() || r.Time.Before(q.To))
}

// queries are all combinations of restrictions.
func queries() []store.Query {
	var out []store.Query
	for _, event := range []string{"", "e0", "e1", "e9"} {
		for _, kind := range []record.Kind{"", record.KindNotice} {
			for _, channel := range []string{"", "c1"} {
				for _, from := range []time.Time{{}, base.Add(13 * time.Second)} {
					for _, to := range []time.Time{{}, base.Add(44 * time.Second)} {
						out = append(out, store.Query{
							Collection: store.Records, Event: event, Kind: kind, Channel: channel, From: from, To: to,
						})
					}
				}
			}
		}
	}
	return out
}

func findFilters(t *testing.T, s store.Store) {
	records := mixed(t)
	insert(t, s, records...)
	for _, q := range queries() {
		var want []string
		for _, r := range records {
			if matches(q, r) {
				want = append(want, r.ID)
			}
		}
		same(t, fmt.Sprintf("%+v", q), find(t, s, q), want)
		if n := countOf(t, s, q); n != len(want) {
			t.Fatalf("count of %+v: %d, want %d", q, n, len(want))
		}
		q.Descending = true
		slices.Reverse(want)
		same(t, fmt.Sprintf("%+v", q), find(t, s, q), want)
	}
}

func findRangeIsHalfOpen(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 5, 1)
	insert(t, s, records...)
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		from, to time.Time
		want     []record.Record
	}{
		{at(1), at(3), records[1:3]},
		{at(0), at(5), records},
		{at(2), at(2), nil},
		{at(3), at(1), nil},
		{at(4), time.Time{}, records[4:]},
		{time.Time{}, at(1), records[:1]},
		{at(1).Add(time.Nanosecond), at(3).Add(time.Nanosecond), records[2:4]},
		{at(1).In(time.FixedZone("", 7200)), at(3).In(time.FixedZone("", -7200)), records[1:3]},
		{at(-100), at(0), nil},
	} {
		q := store.Query{Collection: store.Records, Event: "e1", From: c.from, To: c.to}
		same(t, fmt.Sprint(c.from, " to ", c.to), find(t, s, q), ids(c.want))
	}
}

func findLimit(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 30, 1)
	insert(t, s, records...)
	for _, n := range []int{1, 2, 29, 30, 31, 1000} {
		q := store.Query{Collection: store.Records, Event: "e1", Limit: n}
		same(t, fmt.Sprint("limit ", n), find(t, s, q), ids(records)[:min(n, 30)])
		if got := countOf(t, s, q); got != min(n, 30) {
			t.Errorf("count with limit %d: %d", n, got)
		}
	}
}

func findPages(t *testing.T, s store.Store) {
	// Several pages or batches, with groups of the same time across their ends.
	var records []record.Record
	for i := range 5000 {
		records = append(records, message(t, "e1", strconv.Itoa(i%3), fmt.Sprintf("%06d", i), base.Add(time.Duration(i/7)*time.Millisecond)))
	}
	for chunk := range slices.Chunk(records, 1000) {
		insert(t, s, chunk...)
	}
	q := store.Query{Collection: store.Records, Event: "e1"}
	same(t, "ascending", find(t, s, q), ids(records))
	q.Limit = 3003
	same(t, "limit", find(t, s, q), ids(records)[:3003])
	q.Limit, q.Descending = 0, true
	slices.Reverse(records)
	same(t, "descending", find(t, s, q), ids(records))
}

func findWithoutTime(t *testing.T, s store.Store) {
	var docs []store.Doc
	for i := range 40 {
		docs = append(docs, doc(t, fmt.Sprintf("e1/%02d", i*7%40), el("event", "e1"), el("n", int64(i))))
	}
	must(t, s.Put(t.Context(), store.Channels, docs))
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("e1/%02d", i))
	}
	same(t, "by _id", find(t, s, store.Query{Collection: store.Channels, Event: "e1"}), want)
	same(t, "all", find(t, s, store.Query{Collection: store.Channels}), want)
	same(t, "limit", find(t, s, store.Query{Collection: store.Channels, Limit: 7}), want[:7])
	same(t, "no document without a time lies before one", find(t, s, store.Query{Collection: store.Channels, To: base}), nil)
	same(t, "nor after it", find(t, s, store.Query{Collection: store.Channels, From: base}), nil)
	// Those with a time come after those without.
	must(t, s.Put(t.Context(), store.Channels, []store.Doc{doc(t, "a", el("time", time.Unix(-1e9, 0)))}))
	same(t, "with one that has a time", find(t, s, store.Query{Collection: store.Channels}), append(want, "a"))
}

func findStopsEarly(t *testing.T, s store.Store) {
	insert(t, s, Messages(t, "e1", 0, 3000, 1)...)
	for range 8 { // more than there are connections
		n := 0
		for _, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1"}) {
			must(t, err)
			if n++; n == 5 {
				break
			}
		}
	}
}

func findWhileWriting(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 1500, 1)
	insert(t, s, records...)
	n := 0
	for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1"}) {
		must(t, err)
		if n%500 == 0 {
			// Neither waits for the other.
			insert(t, s, Messages(t, "e2", n, 10, 1)...)
			if _, err := s.Get(t.Context(), store.Records, store.DocID(raw)); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if n != len(records) {
		t.Fatalf("%d of %d documents", n, len(records))
	}
}

func findCancelled(t *testing.T, s store.Store) {
	insert(t, s, Messages(t, "e1", 0, 3000, 1)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, errs := 0, []error{}
	for _, err := range s.Find(ctx, store.Query{Collection: store.Records, Event: "e1"}) {
		if err != nil {
			errs = append(errs, err)
			continue // nothing may come after an error
		}
		if n++; n == 10 {
			cancel()
		}
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) || n >= 3000 {
		t.Fatalf("%d documents, errors %v", n, errs)
	}
}

func findKeepsDocuments(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 2500, 1)
	insert(t, s, records...)
	var kept []bson.Raw
	for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1"}) {
		must(t, err)
		kept = append(kept, raw)
	}
	for i, raw := range kept {
		if string(raw) != string(records[i].Doc) {
			t.Fatalf("document %d has changed since it was yielded", i)
		}
	}
}

func get(t *testing.T, s store.Store) {
	_, err := s.Get(t.Context(), store.Records, "nothing")
	is(t, err, store.ErrNotFound)
	r := message(t, "e1", "1", "a", base)
	insert(t, s, r)
	raw, err := s.Get(t.Context(), store.Records, r.ID)
	must(t, err)
	if string(raw) != string(r.Doc) {
		t.Fatalf("got %s, want %s", raw, r.Doc)
	}
	_, err = s.Get(t.Context(), store.Minutes, r.ID)
	is(t, err, store.ErrNotFound)
}

func everyCollection(t *testing.T, s store.Store) {
	for _, c := range store.Collections() {
		d := doc(t, "x", el("event", "e1"), el("of", string(c)))
		must(t, s.Put(t.Context(), c, []store.Doc{d}))
	}
	for _, c := range store.Collections() {
		raw, err := s.Get(t.Context(), c, "x")
		must(t, err)
		if got := raw.Lookup("of").StringValue(); got != string(c) {
			t.Fatalf("%s holds the document of %s", c, got)
		}
		same(t, string(c), find(t, s, store.Query{Collection: c, Event: "e1"}), []string{"x"})
	}
}

func compareAndSet(t *testing.T, s store.Store) {
	ctx := t.Context()
	at := func(rev int64, v string) store.Doc { return doc(t, "x", el("rev", rev), el("v", v)) }
	value := func() string {
		raw, err := s.Get(ctx, store.Events, "x")
		must(t, err)
		return raw.Lookup("v").StringValue()
	}
	is(t, s.CompareAndSet(ctx, store.Events, 3, at(4, "no such document")), store.ErrConflict)
	_, err := s.Get(ctx, store.Events, "x")
	is(t, err, store.ErrNotFound)
	must(t, s.CompareAndSet(ctx, store.Events, 0, at(1, "first")))
	is(t, s.CompareAndSet(ctx, store.Events, 0, at(1, "there is one")), store.ErrConflict)
	must(t, s.CompareAndSet(ctx, store.Events, 1, at(2, "second")))
	is(t, s.CompareAndSet(ctx, store.Events, 1, at(2, "too late")), store.ErrConflict)
	is(t, s.CompareAndSet(ctx, store.Events, 5, at(6, "too early")), store.ErrConflict)
	if v := value(); v != "second" {
		t.Fatalf("stored %q", v)
	}
	// The document is written whole.
	must(t, s.CompareAndSet(ctx, store.Events, 2, doc(t, "x", el("rev", int64(3)))))
	raw, err := s.Get(ctx, store.Events, "x")
	must(t, err)
	if _, err := raw.LookupErr("v"); err == nil {
		t.Fatalf("an element of the document before is left: %s", raw)
	}
}

func compareAndSetOneWins(t *testing.T, s store.Store) {
	for rev := range int64(5) {
		var (
			wg   sync.WaitGroup
			wins atomic.Int32
			bad  atomic.Pointer[error]
		)
		for n := range 8 {
			wg.Go(func() {
				err := s.CompareAndSet(t.Context(), store.Leases, rev, doc(t, "lease", el("rev", rev+1), el("holder", strconv.Itoa(n))))
				switch {
				case err == nil:
					wins.Add(1)
				case !errors.Is(err, store.ErrConflict):
					bad.Store(&err)
				}
			})
		}
		wg.Wait()
		if err := bad.Load(); err != nil {
			t.Fatal(*err)
		}
		if n := wins.Load(); n != 1 {
			t.Fatalf("revision %d: %d have won", rev, n)
		}
	}
}

func compareAndSetCounts(t *testing.T, s store.Store) {
	// A counter that many increment by reading, writing and trying again loses nothing.
	const writers, each = 4, 8
	var (
		wg  sync.WaitGroup
		bad atomic.Pointer[error]
	)
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				var rev int64
				raw, err := s.Get(t.Context(), store.Progress, "n")
				if err == nil {
					rev = raw.Lookup("rev").AsInt64()
				} else if !errors.Is(err, store.ErrNotFound) {
					bad.Store(&err)
					return
				}
				switch err := s.CompareAndSet(t.Context(), store.Progress, rev, doc(t, "n", el("rev", rev+1))); {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					bad.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := bad.Load(); err != nil {
		t.Fatal(*err)
	}
	raw, err := s.Get(t.Context(), store.Progress, "n")
	must(t, err)
	if n := raw.Lookup("rev").AsInt64(); n != writers*each {
		t.Fatalf("counted to %d, want %d", n, writers*each)
	}
}

func put(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.Put(ctx, store.Minutes, nil))
	first := doc(t, "e1/1/60", el("event", "e1"), el("channel", "1"), el("time", base), el("a", int32(1)))
	must(t, s.Put(ctx, store.Minutes, []store.Doc{first}))
	must(t, s.Put(ctx, store.Minutes, []store.Doc{first}))
	// Whole, with the elements that queries go by.
	second := doc(t, "e1/1/60", el("event", "e2"), el("channel", "2"), el("time", base.Add(time.Minute)), el("b", "β"))
	must(t, s.Put(ctx, store.Minutes, []store.Doc{second}))
	raw, err := s.Get(ctx, store.Minutes, "e1/1/60")
	must(t, err)
	if string(raw) != string(second.Raw) {
		t.Fatalf("stored %s, want %s", raw, second.Raw)
	}
	same(t, "where it was", find(t, s, store.Query{Collection: store.Minutes, Event: "e1"}), nil)
	same(t, "where it is", find(t, s, store.Query{Collection: store.Minutes, Event: "e2", Channel: "2", From: base.Add(time.Minute)}),
		[]string{"e1/1/60"})
	// The last of one _id in one call stays.
	must(t, s.Put(ctx, store.Minutes, []store.Doc{second, first}))
	raw, err = s.Get(ctx, store.Minutes, "e1/1/60")
	must(t, err)
	if string(raw) != string(first.Raw) {
		t.Fatalf("stored %s, want %s", raw, first.Raw)
	}
}

func putMany(t *testing.T, s store.Store) {
	for round := range 2 {
		var docs []store.Doc
		for i := range 351 {
			docs = append(docs, doc(t, fmt.Sprintf("e1/%03d/0", i), el("event", "e1"), el("channel", strconv.Itoa(i)), el("time", base),
				el("round", int64(round))))
		}
		must(t, s.Put(t.Context(), store.Minutes, docs))
		n := 0
		for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Minutes, Event: "e1"}) {
			must(t, err)
			if got := raw.Lookup("round").AsInt64(); got != int64(round) {
				t.Fatalf("%s is of round %d", store.DocID(raw), got)
			}
			n++
		}
		if n != len(docs) {
			t.Fatalf("%d of %d documents", n, len(docs))
		}
	}
}

func putConcurrently(t *testing.T, s store.Store) {
	// Those who write a document for the first time at once get in each other's way.
	var (
		wg  sync.WaitGroup
		bad atomic.Pointer[error]
	)
	for n := range 6 {
		wg.Go(func() {
			for i := range 10 {
				if err := s.Put(t.Context(), store.Marks, []store.Doc{doc(t, strconv.Itoa(i), el("by", strconv.Itoa(n)))}); err != nil {
					bad.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := bad.Load(); err != nil {
		t.Fatal(*err)
	}
	if n := countOf(t, s, store.Query{Collection: store.Marks}); n != 10 {
		t.Fatalf("%d documents, want 10", n)
	}
}

func putFenced(t *testing.T, s store.Store) {
	ctx := t.Context()
	at := func(epoch int64, v string) []store.Doc {
		return []store.Doc{doc(t, "x", el("epoch", epoch), el("v", v))}
	}
	value := func() string {
		raw, err := s.Get(ctx, store.Minutes, "x")
		must(t, err)
		v, _ := raw.Lookup("v").StringValueOK()
		return v
	}
	must(t, s.PutFenced(ctx, store.Minutes, 3, nil))
	for _, c := range []struct {
		epoch  int64
		fenced bool
		want   string
	}{
		{3, false, "3"}, // new
		{3, false, "3"}, // the same leader again
		{2, true, "3"},  // an earlier one
		{7, false, "7"}, // a later one
		{6, true, "7"},
		{8, false, "8"},
	} {
		err := s.PutFenced(ctx, store.Minutes, c.epoch, at(c.epoch, strconv.FormatInt(c.epoch, 10)))
		if c.fenced {
			is(t, err, store.ErrFenced)
		} else {
			must(t, err)
		}
		if v := value(); v != c.want {
			t.Fatalf("after epoch %d: stored %s, want %s", c.epoch, v, c.want)
		}
	}
	// A document without an epoch has been written by no leader.
	must(t, s.Put(ctx, store.Minutes, []store.Doc{doc(t, "x", el("v", "none"))}))
	must(t, s.PutFenced(ctx, store.Minutes, 1, at(1, "1")))
	if v := value(); v != "1" {
		t.Fatalf("stored %s", v)
	}
}

func putFencedTriesAll(t *testing.T, s store.Store) {
	ctx := t.Context()
	at := func(epoch int64) []store.Doc {
		var docs []store.Doc
		for i := range 120 {
			docs = append(docs, doc(t, fmt.Sprintf("%03d", i), el("epoch", epoch), el("n", int64(i))))
		}
		return docs
	}
	later := at(5)
	must(t, s.PutFenced(ctx, store.Minutes, 5, []store.Doc{later[7], later[70], later[119]}))
	is(t, s.PutFenced(ctx, store.Minutes, 4, at(4)), store.ErrFenced)
	for i := range 120 {
		raw, err := s.Get(ctx, store.Minutes, fmt.Sprintf("%03d", i))
		must(t, err)
		want := int64(4)
		if i == 7 || i == 70 || i == 119 {
			want = 5
		}
		if e := raw.Lookup("epoch").AsInt64(); e != want {
			t.Fatalf("document %d is of epoch %d, want %d", i, e, want)
		}
	}
}

func putFencedConcurrently(t *testing.T, s store.Store) {
	// Leaders of many epochs write at once: whatever the order, the highest stays.
	const leaders = 8
	var (
		wg  sync.WaitGroup
		bad atomic.Pointer[error]
	)
	for n := range leaders {
		wg.Go(func() {
			epoch := int64(n + 1)
			var docs []store.Doc
			for i := range 5 {
				docs = append(docs, doc(t, strconv.Itoa(i), el("epoch", epoch)))
			}
			err := s.PutFenced(t.Context(), store.Totals, epoch, docs)
			if err != nil && (!errors.Is(err, store.ErrFenced) || epoch == leaders) {
				bad.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := bad.Load(); err != nil {
		t.Fatal(*err)
	}
	for i := range 5 {
		raw, err := s.Get(t.Context(), store.Totals, strconv.Itoa(i))
		must(t, err)
		if e := raw.Lookup("epoch").AsInt64(); e != leaders {
			t.Fatalf("document %d is of epoch %d, want %d", i, e, leaders)
		}
	}
}

func replace(t *testing.T, s store.Store) {
	ctx := t.Context()
	// One element of every kind that a record has.
	whole := func(text string, more ...bson.E) store.Doc {
		return doc(t, "x", append([]bson.E{
			el("kind", "message"), el("event", "e1"), el("time", base), el("text", text), el("length", int64(5)), el("share", 0.25),
			el("live", true), el("key", []byte{1, 0, 255}), el("reply", bson.D{el("message", "m"), el("chatter", "c")}),
			el("badges", bson.A{"vip", "sub/12"}), el("none", bson.A{}), el("roles", bson.A{bson.D{el("name", "a")}, bson.D{el("name", "b")}}),
		}, more...)...)
	}
	change := func(old, now store.Doc) []store.Change { return []store.Change{{ID: "x", Old: old.Raw, New: now.Raw}} }
	stored := func() string {
		raw, err := s.Get(ctx, store.Records, "x")
		if errors.Is(err, store.ErrNotFound) {
			return ""
		}
		must(t, err)
		return string(raw)
	}
	first, second := whole("hello"), whole("")
	must(t, s.Replace(ctx, store.Records, nil))
	is(t, s.Replace(ctx, store.Records, change(first, second)), store.ErrConflict)
	if got := stored(); got != "" {
		t.Fatalf("what is not there was written: %s", bson.Raw(got))
	}
	must(t, s.Put(ctx, store.Records, []store.Doc{first}))
	must(t, s.Replace(ctx, store.Records, change(first, second)))
	if got := stored(); got != string(second.Raw) {
		t.Fatalf("stored %s, want %s", bson.Raw(got), second.Raw)
	}
	for name, old := range map[string]store.Doc{
		"what it was before":    first,
		"another element":       whole("", el("more", 1)),
		"another value within":  doc(t, "x", append(elements(t, second, "reply"), el("reply", bson.D{el("message", "m"), el("chatter", "d")}))...),
		"one element within":    doc(t, "x", append(elements(t, second, "reply"), el("reply", bson.D{el("message", "m")}))...),
		"another order of list": doc(t, "x", append(elements(t, second, "badges"), el("badges", bson.A{"sub/12", "vip"}))...),
		"another bytes":         doc(t, "x", append(elements(t, second, "key"), el("key", []byte{1, 0, 254}))...),
	} {
		t.Run(name, func(t *testing.T) {
			is(t, s.Replace(ctx, store.Records, change(old, first)), store.ErrConflict)
			if got := stored(); got != string(second.Raw) {
				t.Errorf("stored %s, want %s", bson.Raw(got), second.Raw)
			}
		})
	}
	must(t, s.Replace(ctx, store.Records, change(second, second)))
	must(t, s.Replace(ctx, store.Records, change(second, doc(t, "x", el("event", "e2"), el("time", base)))))
	if got := find(t, s, store.Query{Collection: store.Records, Event: "e2", From: base}); len(got) != 1 {
		t.Errorf("found by its new elements: %v", got)
	}
	if _, err := s.DeleteIf(ctx, store.Records, "x", "event", "e2"); err != nil {
		t.Fatal(err)
	}
	is(t, s.Replace(ctx, store.Records, change(doc(t, "x", el("event", "e2"), el("time", base)), first)), store.ErrConflict)
	if got := stored(); got != "" {
		t.Errorf("what was deleted was written again: %s", bson.Raw(got))
	}
}

// elements are those of a document, without its _id and another.
func elements(t *testing.T, d store.Doc, without string) []bson.E {
	t.Helper()
	var all bson.D
	must(t, bson.Unmarshal(d.Raw, &all))
	return slices.DeleteFunc([]bson.E(all), func(e bson.E) bool { return e.Key == "_id" || e.Key == without })
}

func replaceTriesAll(t *testing.T, s store.Store) {
	ctx := t.Context()
	changes := make([]store.Change, 120)
	docs := make([]store.Doc, len(changes))
	for i := range changes {
		id := fmt.Sprintf("%03d", i)
		docs[i] = doc(t, id, el("v", "old"))
		changes[i] = store.Change{ID: id, Old: docs[i].Raw, New: doc(t, id, el("v", "new")).Raw}
	}
	docs[7] = doc(t, "007", el("v", "another"))
	must(t, s.Put(ctx, store.Records, slices.Delete(slices.Clone(docs), 70, 71)))
	is(t, s.Replace(ctx, store.Records, changes), store.ErrConflict)
	for i := range changes {
		raw, err := s.Get(ctx, store.Records, fmt.Sprintf("%03d", i))
		if i == 70 {
			is(t, err, store.ErrNotFound)
			continue
		}
		must(t, err)
		want := "new"
		if i == 7 {
			want = "another"
		}
		if v := raw.Lookup("v").StringValue(); v != want {
			t.Errorf("document %d is %s, want %s", i, v, want)
		}
	}
}

func replaceOneWins(t *testing.T, s store.Store) {
	// All have read the same; whoever comes later is told so.
	const writers = 8
	old := doc(t, "x", el("v", "old"))
	must(t, s.Put(t.Context(), store.Records, []store.Doc{old}))
	var (
		wg   sync.WaitGroup
		wins atomic.Int64
		bad  atomic.Pointer[error]
	)
	for n := range writers {
		wg.Go(func() {
			now := doc(t, "x", el("v", strconv.Itoa(n)))
			switch err := s.Replace(t.Context(), store.Records, []store.Change{{ID: "x", Old: old.Raw, New: now.Raw}}); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, store.ErrConflict):
				bad.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := bad.Load(); err != nil {
		t.Fatal(*err)
	}
	if wins.Load() != 1 {
		t.Errorf("%d have replaced it, want 1", wins.Load())
	}
}

func invalidDocuments(t *testing.T, s store.Store) {
	ctx := t.Context()
	good := doc(t, "x", el("rev", int64(1)), el("epoch", int64(1)))
	for name, d := range map[string]store.Doc{
		"no bytes":     {ID: "x"},
		"no BSON":      {ID: "x", Raw: bson.Raw("abcdefgh")},
		"another id":   {ID: "y", Raw: good.Raw},
		"empty id":     doc(t, ""),
		"trailing":     {ID: "x", Raw: append(slices.Clone(good.Raw), 0)},
		"too large":    doc(t, "x", el("rev", int64(1)), el("epoch", int64(1)), el("b", make([]byte, store.MaxDocumentBytes))),
		"id not first": {ID: "x", Raw: mustRaw(t, bson.D{el("rev", int64(1)), el("epoch", int64(1)), el("_id", "x")})},
	} {
		t.Run(name, func(t *testing.T) {
			is(t, s.Put(ctx, store.Events, []store.Doc{d}), store.ErrInvalid)
			is(t, s.CompareAndSet(ctx, store.Events, 0, d), store.ErrInvalid)
			is(t, s.PutFenced(ctx, store.Events, 1, []store.Doc{d}), store.ErrInvalid)
			is(t, s.Replace(ctx, store.Events, []store.Change{{ID: d.ID, Old: d.Raw, New: good.Raw}}), store.ErrInvalid)
			is(t, s.Replace(ctx, store.Events, []store.Change{{ID: d.ID, Old: good.Raw, New: d.Raw}}), store.ErrInvalid)
		})
	}
	is(t, s.CompareAndSet(ctx, store.Events, 1, good), store.ErrInvalid)
	is(t, s.CompareAndSet(ctx, store.Events, -1, doc(t, "x", el("rev", int64(0)))), store.ErrInvalid)
	is(t, s.CompareAndSet(ctx, store.Events, 0, doc(t, "x")), store.ErrInvalid)
	is(t, s.PutFenced(ctx, store.Events, 2, []store.Doc{good}), store.ErrInvalid)
	if n := countOf(t, s, store.Query{Collection: store.Events}); n != 0 {
		t.Fatalf("%d documents are stored", n)
	}
}

func mustRaw(t *testing.T, v any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(v)
	must(t, err)
	return raw
}

// rewriteRecords deletes and rewrites records while they are read, as the erasing of people does.
func rewriteRecords(t *testing.T, s store.Store) {
	records := Messages(t, "e1", 0, 300, 2)
	insert(t, s, records...)
	var (
		batch []store.Change
		kept  []string
		n     int
	)
	flush := func() {
		must(t, s.Replace(t.Context(), store.Records, batch))
		batch = nil
	}
	for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1"}) {
		must(t, err)
		r, err := record.Parse(raw)
		must(t, err)
		if n++; n%3 == 0 {
			deleted, err := s.DeleteIf(t.Context(), store.Records, r.ID, "event", "e1")
			must(t, err)
			if !deleted {
				t.Fatalf("%s was not deleted", r.ID)
			}
			continue
		}
		kept = append(kept, r.ID)
		d := bson.D{
			el("_id", r.ID), el("kind", string(r.Kind)), el("event", r.Event), el("channel", r.Channel),
			el("time", r.Time), el("rewritten", true),
		}
		batch = append(batch, store.Change{ID: r.ID, Old: raw, New: mustRaw(t, d)})
		if len(batch) == 40 {
			flush()
		}
	}
	flush()
	if n != len(records) {
		t.Fatalf("%d records were read, want %d", n, len(records))
	}
	// What was rewritten is left alone when it comes again; what was deleted is new.
	got := insert(t, s, records...)
	if n := len(slices.DeleteFunc(slices.Clone(got), func(o store.Outcome) bool { return o != fresh })); n != len(records)-len(kept) {
		t.Errorf("%d records are new, want %d", n, len(records)-len(kept))
	}
	rewritten := 0
	for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1", Kind: record.KindMessage}) {
		must(t, err)
		if is, ok := raw.Lookup("rewritten").BooleanOK(); ok && is {
			rewritten++
		}
	}
	if rewritten != len(kept) {
		t.Errorf("%d records are rewritten, want %d", rewritten, len(kept))
	}
}

func deleteIf(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.Put(ctx, store.Marks, []store.Doc{doc(t, "x", el("mark", "one"), el("n", int64(1)))}))
	for _, c := range []struct {
		id, field, value string
		want             bool
	}{
		{"x", "mark", "two", false},
		{"x", "other", "one", false},
		{"x", "n", "1", false},
		{"y", "mark", "one", false},
		{"x", "mark", "one", true},
		{"x", "mark", "one", false},
	} {
		got, err := s.DeleteIf(ctx, store.Marks, c.id, c.field, c.value)
		must(t, err)
		if got != c.want {
			t.Fatalf("%+v: %v", c, got)
		}
	}
	_, err := s.Get(ctx, store.Marks, "x")
	is(t, err, store.ErrNotFound)
}

func deleteIfOneWins(t *testing.T, s store.Store) {
	must(t, s.Put(t.Context(), store.Marks, []store.Doc{doc(t, "x", el("mark", "m"))}))
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
	)
	for range 6 {
		wg.Go(func() {
			if ok, err := s.DeleteIf(t.Context(), store.Marks, "x", "mark", "m"); ok && err == nil {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wins.Load(); n != 1 {
		t.Fatalf("%d have deleted it", n)
	}
}

func deleteQuery(t *testing.T, s store.Store) {
	records := mixed(t)
	for _, q := range queries() {
		insert(t, s, records...)
		var left []string
		for _, r := range records {
			if !matches(q, r) {
				left = append(left, r.ID)
			}
		}
		q.Limit, q.Descending = 1, true // don't count
		n, err := s.Delete(t.Context(), q)
		must(t, err)
		if n != len(records)-len(left) {
			t.Fatalf("%+v: %d deleted, want %d", q, n, len(records)-len(left))
		}
		same(t, fmt.Sprintf("after %+v", q), find(t, s, store.Query{Collection: store.Records}), left)
	}
	// Many, and their ids are free again.
	many := Messages(t, "many", 0, 4500, 2)
	insert(t, s, many...)
	n, err := s.Delete(t.Context(), store.Query{Collection: store.Records, Event: "many"})
	must(t, err)
	if n != len(many) {
		t.Fatalf("%d deleted, want %d", n, len(many))
	}
	same(t, "again", insert(t, s, many[:2]...), []store.Outcome{fresh, fresh})
}

func count(t *testing.T, s store.Store) {
	if n := countOf(t, s, store.Query{Collection: store.Records, Event: "e1"}); n != 0 {
		t.Fatalf("an empty store counts %d", n)
	}
	insert(t, s, Messages(t, "e1", 0, 1200, 3)...)
	insert(t, s, Messages(t, "e2", 0, 10, 3)...)
	for _, c := range []struct {
		q    store.Query
		want int
	}{
		{store.Query{}, 1210},
		{store.Query{Event: "e1"}, 1200},
		{store.Query{Event: "e1", Limit: 7}, 7},
		{store.Query{Event: "e1", Kind: record.KindMessage, Channel: "1001"}, 400},
		{store.Query{Event: "e1", Channel: "1001", From: base.Add(3 * time.Millisecond), To: base.Add(9 * time.Millisecond)}, 2},
	} {
		c.q.Collection = store.Records
		if n := countOf(t, s, c.q); n != c.want {
			t.Errorf("%+v: %d, want %d", c.q, n, c.want)
		}
	}
}

func unicode(t *testing.T, s store.Store) {
	for i, text := range []string{"é", "日本語", "👩‍👩‍👧‍👦", "a\x00b", "'; DROP TABLE records; --", "$ne", "a.b", `"\%_`, "\u202e"} {
		d := doc(t, "id "+strings.ReplaceAll(text, "\x00", ""), el("event", text), el("text", text), el("time", base.Add(time.Duration(i))))
		must(t, s.Put(t.Context(), store.Marks, []store.Doc{d}))
		raw, err := s.Get(t.Context(), store.Marks, d.ID)
		must(t, err)
		if string(raw) != string(d.Raw) {
			t.Fatalf("%q comes back as %s", text, raw)
		}
		same(t, text, find(t, s, store.Query{Collection: store.Marks, Event: text}), []string{d.ID})
		ok, err := s.DeleteIf(t.Context(), store.Marks, d.ID, "text", text)
		must(t, err)
		if !ok {
			t.Fatalf("%q is not deleted", text)
		}
	}
	// Ids are ordered by their bytes.
	var want []string
	for _, id := range []string{"A", "Z", "a", "b", "z", "é", "日", "👩"} {
		must(t, s.Put(t.Context(), store.Events, []store.Doc{doc(t, id)}))
		want = append(want, id)
	}
	same(t, "order", find(t, s, store.Query{Collection: store.Events}), want)
}

func largeDocuments(t *testing.T, s store.Store) {
	// Together more than a page or a command may hold.
	var (
		records []record.Record
		text    = strings.Repeat("x", 3<<20)
	)
	for i := range 7 {
		r, err := record.Encode(&record.Message{
			Header:    record.Header{Event: "e1", Channel: "1", Time: base, Received: base},
			MessageID: strconv.Itoa(i), Text: text,
		})
		must(t, err)
		records = append(records, r)
	}
	backwards := slices.Clone(records)
	slices.Reverse(backwards)
	for _, o := range insert(t, s, backwards...) {
		if o != fresh {
			t.Fatalf("outcome %v", o)
		}
	}
	for _, desc := range []bool{false, true} {
		n := 0
		order := records
		if desc {
			order = backwards
		}
		for raw, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "e1", Descending: desc}) {
			must(t, err)
			if n >= len(order) || string(raw) != string(order[n].Doc) {
				t.Fatalf("document %d is another, or has changed", n)
			}
			n++
		}
		if n != len(order) {
			t.Fatalf("%d documents, want %d", n, len(order))
		}
	}
}

func unknownCollection(t *testing.T, s store.Store) {
	const c = store.Collection("elsewhere")
	ctx := t.Context()
	_, getErr := s.Get(ctx, c, "x")
	_, countErr := s.Count(ctx, store.Query{Collection: c})
	_, deleteErr := s.Delete(ctx, store.Query{Collection: c})
	_, deleteIfErr := s.DeleteIf(ctx, c, "x", "a", "b")
	var findErr error
	for _, err := range s.Find(ctx, store.Query{Collection: c}) {
		findErr = err
	}
	for what, err := range map[string]error{
		"get": getErr, "count": countErr, "delete": deleteErr, "delete if": deleteIfErr, "find": findErr,
		"put":        s.Put(ctx, c, []store.Doc{doc(t, "x")}),
		"replace":    s.Replace(ctx, c, []store.Change{{ID: "x", Old: doc(t, "x").Raw, New: doc(t, "x").Raw}}),
		"put fenced": s.PutFenced(ctx, c, 1, []store.Doc{doc(t, "x", el("epoch", int64(1)))}),
		"cas":        s.CompareAndSet(ctx, c, 0, doc(t, "x", el("rev", int64(1)))),
	} {
		if err == nil || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("%s: error %v does not name the collection", what, err)
		}
	}
}

func check(t *testing.T, s store.Store) {
	must(t, s.Check(t.Context()))
	for _, c := range store.Collections() {
		if n := countOf(t, s, store.Query{Collection: c}); n != 0 {
			t.Errorf("the check has left %d documents in %s", n, c)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Check(ctx) == nil {
		t.Error("a check that was cancelled is fine")
	}
	must(t, s.Close())
	must(t, s.Close())
	if s.Check(t.Context()) == nil {
		t.Error("a store that was closed is fine")
	}
	if _, err := s.Insert(t.Context(), Messages(t, "e1", 0, 1, 1)); err == nil {
		t.Error("a store that was closed takes records")
	}
	for _, err := range s.Find(t.Context(), store.Query{Collection: store.Events}) {
		if err == nil {
			t.Error("a store that was closed finds documents")
		}
	}
}
