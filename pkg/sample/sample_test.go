package sample_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sample"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/store/mongo"
)

func TestMain(m *testing.M) {
	if raceEnabled { // what the command line says goes before it
		if err := flag.Set("rapid.checks", "15"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func small() sample.Config {
	if raceEnabled {
		return sample.Config{Channels: 5, Hours: 1, Messages: 1500, Seed: 7}
	}
	return sample.Config{Channels: 12, Hours: 2, Messages: 6000, Seed: 7}
}

func open(tb testing.TB) store.Store {
	tb.Helper()
	s, err := local.Open(filepath.Join(tb.TempDir(), "store.db"), local.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func fill(tb testing.TB, s store.Store, cfg sample.Config) sample.Result {
	tb.Helper()
	r, err := sample.Fill(tb.Context(), s, cfg, false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// each decodes the documents of a query.
func each[T any](tb testing.TB, s store.Store, q store.Query) []T {
	tb.Helper()
	var out []T
	for raw, err := range s.Find(tb.Context(), q) {
		if err != nil {
			tb.Fatal(err)
		}
		var d T
		if err := bson.Unmarshal(raw, &d); err != nil {
			tb.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

func total(tb testing.TB, s store.Store) record.Statistics {
	tb.Helper()
	raw, err := s.Get(tb.Context(), store.Totals, "sample/*")
	if err != nil {
		tb.Fatal(err)
	}
	var d record.Statistics
	if err := bson.Unmarshal(raw, &d); err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestStatisticsAreThoseOfTheRecords(t *testing.T) {
	many := sample.Config{Channels: 200, Hours: 1, Messages: 3000, Seed: 3}
	if raceEnabled {
		many.Channels = 30
	}
	for _, cfg := range []sample.Config{small(), many} {
		s := open(t)
		r := fill(t, s, cfg)
		rep, err := custody.Reconcile(t.Context(), s, "sample", time.Time{}, time.Time{}, func(d custody.Drift) { t.Error(d) })
		if err != nil {
			t.Fatal(err)
		}
		if rep.Minutes != 60*cfg.Hours || rep.Hours != cfg.Hours || rep.Pending != 0 {
			t.Errorf("compared: %+v", rep)
		}
		d := total(t, s)
		if d.Messages != cfg.Messages || r.Messages != cfg.Messages || d.SharedCopies != r.Copies || d.Raids != r.Raids {
			t.Errorf("%d messages, %d copies, %d raids are counted; made were %+v", d.Messages, d.SharedCopies, d.Raids, r)
		}
		if d.Coverage.Chat != record.Partial || d.Coverage.Viewers != record.Partial {
			t.Errorf("coverage %+v: a sample has gaps", d.Coverage)
		}
	}
}

func TestTheSameSeedMakesTheSameDocuments(t *testing.T) {
	sum := func(cfg sample.Config) string {
		s := open(t)
		fill(t, s, cfg)
		h := sha256.New()
		for _, c := range store.Collections() {
			for raw, err := range s.Find(t.Context(), store.Query{Collection: c}) {
				if err != nil {
					t.Fatal(err)
				}
				h.Write(raw)
			}
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	cfg := small()
	one := sum(cfg)
	if two := sum(cfg); one != two {
		t.Error("two samples of one seed differ")
	}
	cfg.Seed++
	if other := sum(cfg); other == one {
		t.Error("another seed makes the same sample")
	}
}

// What both sources say in the end is what was given: the one by its single donations, the other by its
// running totals and the corrections.
func TestDonations(t *testing.T) {
	for _, cfg := range []sample.Config{small(), {Channels: 2, Hours: 1, Messages: 100, Donations: 200, Cents: 123_456, Seed: 9}, {Channels: 20, Hours: 2, Messages: 500, Donations: 4000}} {
		s := open(t)
		r := fill(t, s, cfg)
		if cfg.Cents > 0 && r.Cents != cfg.Cents {
			t.Errorf("%d cents were given, %d were asked for", r.Cents, cfg.Cents)
		}
		var (
			singles, totals int64
			raw             = map[string][]corrections.Sample{}
		)
		for _, d := range total(t, s).Donations {
			switch d.Source {
			case sample.Singles:
				singles += d.Cents
				if d.Count != r.Gifts {
					t.Errorf("%d donations are counted, %d were made", d.Count, r.Gifts)
				}
			case sample.Totals:
				totals = d.Total
			}
		}
		if singles != r.Cents {
			t.Errorf("the single donations are %d cents, %d were given", singles, r.Cents)
		}
		for _, a := range each[record.Amount](t, s, store.Query{Collection: store.Records, Event: "sample", Kind: record.KindAmount}) {
			key := a.Channel
			if key == "" && a.Member == "" {
				key = record.AllChannels
			}
			raw[key] = append(raw[key], corrections.Sample{Time: a.Time, Cents: a.Money.Cents})
		}
		said := each[record.Correction](t, s, store.Query{Collection: store.Corrections, Event: "sample"})
		var effects []corrections.Effect
		for channel, samples := range raw {
			if channel == record.AllChannels || channel == "" {
				continue
			}
			_, of := corrections.Apply(samples, corrections.Of(said, channel, sample.Totals, sample.Currency))
			effects = append(effects, of...)
		}
		corrected, _ := corrections.Event(raw[record.AllChannels], false, corrections.Of(said, record.AllChannels, sample.Totals, sample.Currency), effects)
		if n := len(corrected); n == 0 || corrected[n-1].Cents != r.Cents {
			t.Errorf("the corrected total is %+v, %d were given", corrected[max(0, n-1):], r.Cents)
		}
		if totals == r.Cents {
			t.Error("the total that the source shows is right: nothing is left to correct")
		}
		for i := 1; i < len(corrected); i++ {
			if corrected[i].Cents < corrected[i-1].Cents {
				t.Errorf("the corrected total falls from %+v to %+v", corrected[i-1], corrected[i])
			}
		}
	}
}

func TestEverythingIsThere(t *testing.T) {
	s := open(t)
	cfg := small()
	cfg.Hours, cfg.Messages, cfg.Channels = 4, 10_000, 24
	r := fill(t, s, cfg)
	for _, k := range []record.Kind{
		record.KindMessage, record.KindNotice, record.KindModeration, record.KindRoomState, record.KindViewers, record.KindSession,
		record.KindChange, record.KindCoverage, record.KindDropped, record.KindDonation, record.KindAmount, record.KindAnswer,
	} {
		if n, err := s.Count(t.Context(), store.Query{Collection: store.Records, Event: "sample", Kind: k}); err != nil || n == 0 {
			t.Errorf("%d records of kind %s, %v", n, k, err)
		}
	}
	d := total(t, s)
	for what, n := range map[string]int64{
		"raids": d.Raids, "subs": d.Subs, "resubs": d.Resubs, "gifts": d.Gifts, "gift bombs": d.GiftBombs, "bits": d.Bits,
		"timeouts": d.Timeouts, "bans": d.Bans, "deletes": d.Deletes, "copies": d.SharedCopies, "newcomers": d.FirstMessages,
		"emotes": d.Emotes.Total, "viewers": d.Viewers.Peak,
	} {
		if n == 0 {
			t.Errorf("there are no %s", what)
		}
	}
	fields := map[string]bool{}
	for _, c := range each[record.Change](t, s, store.Query{Collection: store.Records, Event: "sample", Kind: record.KindChange}) {
		if c.From != "" {
			fields[c.Field] = true
		}
	}
	for _, f := range []string{record.FieldTitle, record.FieldCategory, record.FieldLogin, record.FieldName} {
		if !fields[f] {
			t.Errorf("no %s changes", f)
		}
	}
	goals := each[record.Goal](t, s, store.Query{Collection: store.Goals, Event: "sample"})
	categories := map[string]int{}
	for _, g := range goals {
		categories[g.Category]++
	}
	if len(goals) != r.Goals || categories[record.GoalDonation] < cfg.Channels || categories[record.GoalGlobal] == 0 || len(categories) < 5 {
		t.Errorf("%d goals: %v", len(goals), categories)
	}
	// The event is whole when it says that it has ended, and its end lies behind the last record.
	e := each[record.Event](t, s, store.Query{Collection: store.Events})
	if len(e) != 1 || e[0].State != record.EventEnded || e[0].End.Sub(e[0].Start) != time.Duration(cfg.Hours)*time.Hour {
		t.Errorf("events %+v", e)
	}
	for _, q := range []store.Query{
		{Collection: store.Records, Event: "sample", From: e[0].End},
		{Collection: store.Records, Event: "sample", To: e[0].Start},
	} {
		for _, h := range each[record.Header](t, s, q) {
			if h.Kind != record.KindSession {
				t.Errorf("%s is at %s, outside of the event", h.ID, h.Time)
			}
		}
	}
}

func TestReplace(t *testing.T) {
	s := open(t)
	cfg := small()
	cfg.Hours, cfg.Messages = 1, 500
	fill(t, s, cfg)
	if _, err := sample.Fill(t.Context(), s, cfg, false, nil); !errors.Is(err, sample.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	cfg.Messages = 300
	if _, err := sample.Fill(t.Context(), s, cfg, true, nil); err != nil {
		t.Fatal(err)
	}
	if d := total(t, s); d.Messages != 300 {
		t.Errorf("%d messages after the replacement", d.Messages)
	}
	if rep, err := custody.Reconcile(t.Context(), s, "sample", time.Time{}, time.Time{}, nil); err != nil || rep.Drifts > 0 || rep.Minutes != 60 {
		t.Errorf("%+v, %v", rep, err)
	}

	e, err := sample.Event(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []func(*record.Event){
		func(e *record.Event) { e.Name = "A real event" },
		func(e *record.Event) { e.State = record.EventFrozen },
		func(e *record.Event) { e.Start = e.Start.Add(time.Hour) },
	} {
		e := e
		e.Slug = "real"
		other(&e)
		raw, err := bson.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), store.Events, []store.Doc{{ID: e.Slug, Raw: raw}}); err != nil {
			t.Fatal(err)
		}
		cfg.Event = "real"
		if _, err := sample.Fill(t.Context(), s, cfg, true, nil); !errors.Is(err, sample.ErrForeign) {
			t.Errorf("event %+v is replaced: %v", e, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	s := open(t)
	cfg := small()
	if _, err := sample.Fill(t.Context(), failing{s}, cfg, false, nil); !errors.Is(err, errFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	e := each[record.Event](t, s, store.Query{Collection: store.Events})
	if len(e) != 1 || e[0].State != record.EventDraft {
		t.Errorf("what is there in part is %+v, not a draft", e)
	}
	if _, err := sample.Fill(t.Context(), s, cfg, false, nil); !errors.Is(err, sample.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := sample.Fill(t.Context(), s, cfg, true, nil); err != nil {
		t.Error(err)
	}
}

var errFull = errors.New("the disk is full")

// failing is a store that takes no totals.
type failing struct{ store.Store }

func (f failing) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	if c == store.Totals {
		return errFull
	}
	return f.Store.PutFenced(ctx, c, epoch, docs)
}

func TestConfig(t *testing.T) {
	for _, cfg := range []sample.Config{
		{Event: "Not a slug"},
		{Channels: 1},
		{Channels: 5001},
		{Hours: 97},
		{Hours: -1},
		{Messages: -1},
		{Messages: 1e9},
		{Donations: -1},
		{Cents: 5},
		{Cents: 1 << 60},
		{Goals: 1e6},
	} {
		if _, err := sample.Event(cfg); !errors.Is(err, sample.ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	e, err := sample.Event(sample.Config{})
	if err != nil || e.End.Sub(e.Start) != 55*time.Hour {
		t.Errorf("the default is %+v, %v", e, err)
	}
}

// Whatever is asked for, as many messages and as much money are made, and what is counted is what the
// records say.
func TestAnyConfig(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		cfg := sample.Config{
			Channels: rapid.IntRange(2, 20).Draw(r, "channels"), Hours: 1,
			Messages: rapid.Int64Range(1, 400).Draw(r, "messages"), Donations: rapid.Int64Range(1, 400).Draw(r, "donations"),
			Goals: rapid.IntRange(1, 200).Draw(r, "goals"), Seed: rapid.Uint64().Draw(r, "seed"),
		}
		cfg.Cents = rapid.Int64Range(100*int64(cfg.Channels), 1e9).Draw(r, "cents")
		s, err := local.Open(filepath.Join(t.TempDir(), "store.db"), local.Options{})
		if err != nil {
			r.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		res, err := sample.Fill(t.Context(), s, cfg, false, nil)
		if err != nil {
			r.Fatal(err)
		}
		if res.Messages != cfg.Messages || res.Cents != cfg.Cents {
			r.Fatalf("%+v was made", res)
		}
	})
}

// In MongoDB there are the same documents.
func TestMongoDB(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs a MongoDB")
	}
	server := testmongo.Run(t)
	m, err := mongo.Open(t.Context(), mongo.Config{URI: server.URI(), Database: server.Database(), MaxPoolSize: server.MaxPoolSize()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := m.Declare(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := open(t)
	cfg := sample.Config{Channels: 2, Hours: 1, Messages: 30, Donations: 40, Goals: 4}
	fill(t, m, cfg)
	fill(t, l, cfg)
	for _, c := range store.Collections() {
		one, two := each[bson.D](t, m, store.Query{Collection: c}), each[bson.D](t, l, store.Query{Collection: c})
		if len(one) != len(two) {
			t.Errorf("%d %s in MongoDB, %d in a file", len(one), c, len(two))
			continue
		}
		for i := range one {
			x, err := bson.Marshal(one[i])
			if err != nil {
				t.Fatal(err)
			}
			y, err := bson.Marshal(two[i])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(x, y) {
				t.Errorf("%s: in MongoDB %v, in a file %v", c, one[i], two[i])
			}
		}
	}
}
