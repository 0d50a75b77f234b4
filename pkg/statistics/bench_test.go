package statistics_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sample"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/store/mongo"
)

// benchStore is a store with a whole weekend: 350 channels, 55 hours, and 10 million messages where
// TUNGSTENE_BENCH_STORE names a folder, or a MongoDB by its connection string (the event sample in it
// is used again, or made); else 100,000 in a new folder, which is the same to all that doesn't read
// messages. TUNGSTENE_BENCH_MESSAGES is another number of them.
func benchStore(b *testing.B) *counted {
	b.Helper()
	if testing.Short() {
		b.Skip("fills a store")
	}
	place, cfg := os.Getenv("TUNGSTENE_BENCH_STORE"), sample.Config{Messages: 10_000_000, Donations: 1_000_000}
	if place == "" {
		place, cfg = b.TempDir(), sample.Config{Messages: 100_000, Donations: 100_000}
	}
	if n, err := strconv.ParseInt(os.Getenv("TUNGSTENE_BENCH_MESSAGES"), 10, 64); err == nil {
		cfg.Messages = n
	}
	open := func(cacheBytes int) (store.Store, error) {
		if strings.HasPrefix(place, "mongodb") {
			s, err := mongo.Open(b.Context(), mongo.Config{URI: place, Database: "tungstene_bench"})
			if err == nil {
				err = s.Declare(b.Context())
			}
			return s, err
		}
		return local.Open(filepath.Join(place, "store.db"), local.Options{CacheBytes: cacheBytes})
	}
	s, err := open(512 << 20)
	if err == nil {
		_, err = sample.Fill(b.Context(), s, cfg, false, nil)
		if errors.Is(err, sample.ErrExists) {
			err = nil
		}
		err = errors.Join(err, s.Close())
	}
	if err == nil {
		s, err = open(0)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return &counted{Store: s}
}

// counted counts what is read of a store: how long that takes depends on the store, how much not.
type counted struct {
	store.Store
	finds, documents atomic.Int64
}

func (c *counted) Get(ctx context.Context, of store.Collection, id string) (bson.Raw, error) {
	c.finds.Add(1)
	c.documents.Add(1)
	return c.Store.Get(ctx, of, id)
}

func (c *counted) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	c.finds.Add(1)
	return func(yield func(bson.Raw, error) bool) {
		for raw, err := range c.Store.Find(ctx, q) {
			c.documents.Add(1)
			if !yield(raw, err) {
				return
			}
		}
	}
}

// BenchmarkReader reads a whole weekend. Each summary opens the event anew, as for a page that is asked
// for.
func BenchmarkReader(b *testing.B) {
	s := benchStore(b)
	open := func(b *testing.B) *statistics.Reader {
		r, err := statistics.Open(b.Context(), s, "sample")
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	r := open(b)
	streamers, err := r.Streamers(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	summaries, err := r.Summaries(b.Context(), r.Whole())
	if err != nil {
		b.Fatal(err)
	}
	board, err := statistics.BoardOf(statistics.ByMessages, summaries)
	if err != nil {
		b.Fatal(err)
	}
	big := board.Rows[0].Channel
	whole := r.Whole()
	part := statistics.Range{From: whole.From.Add(95 * time.Minute), To: whole.To.Add(-95 * time.Minute)}
	run := func(name string, f func(b *testing.B) error) {
		b.Run(name, func(b *testing.B) {
			finds, documents := s.finds.Load(), s.documents.Load()
			for b.Loop() {
				if err := f(b); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.finds.Load()-finds)/float64(b.N), "finds/op")
			b.ReportMetric(float64(s.documents.Load()-documents)/float64(b.N), "documents/op")
		})
	}
	for name, channel := range map[string]string{"streamer": big, "event": record.AllChannels} {
		for span, rg := range map[string]statistics.Range{"whole": whole, "part": part} {
			run("summary/"+name+"/"+span, func(b *testing.B) error {
				_, err := open(b).Summary(b.Context(), channel, rg)
				return err
			})
		}
		for _, step := range []time.Duration{time.Hour, time.Minute} {
			run(fmt.Sprintf("curve/%s/%s", name, step), func(b *testing.B) error {
				_, err := r.Curve(b.Context(), channel, whole, step)
				return err
			})
		}
	}
	run("summaries", func(b *testing.B) error {
		_, err := open(b).Summaries(b.Context(), whole)
		return err
	})
	run("bursts/streamer", func(b *testing.B) error {
		_, err := r.Bursts(b.Context(), big, whole, statistics.BurstConfig{})
		return err
	})
	run("races", func(b *testing.B) error {
		_, err := r.Races(b.Context())
		return err
	})
	run("feats", func(b *testing.B) error {
		_, err := open(b).Feats(b.Context())
		return err
	})
	run("categories", func(b *testing.B) error {
		_, err := open(b).Categories(b.Context(), record.AllChannels, whole)
		return err
	})
	run("raids", func(b *testing.B) error {
		_, err := open(b).Raids(b.Context())
		return err
	})
	run("audience", func(b *testing.B) error {
		a, err := r.Audience(b.Context(), whole)
		b.ReportMetric(float64(a.Messages.N), "messages")
		return err
	})
	b.Logf("%d streamers, %d messages of the biggest", len(streamers), board.Rows[0].Value.N)
}

// BenchmarkCensus counts 10 million messages of a million people in 350 channels, without a store.
func BenchmarkCensus(b *testing.B) {
	e := record.Event{Slug: slug, Start: utc("2026-09-04T16:00:00Z"), End: utc("2026-09-06T23:00:00Z"), TimeZone: "Europe/Paris"}
	const people, channels, messages = 1_000_000, 350, 10_000_000
	r, err := record.Encode(&record.Message{
		Header: record.Header{Event: slug, Channel: "1", Time: e.Start}, MessageID: "1", Chatter: "AAAAAAAAAAAAAAAAAAAAAA", Length: 12, Text: "a dozen ones",
	})
	if err != nil {
		b.Fatal(err)
	}
	// The author's characters are written over: what else is in the document does not change.
	doc := []byte(r.Doc)
	author := bytes.Index(doc, []byte("AAAAAAAAAAAAAAAAAAAAAA"))
	for b.Loop() {
		c := statistics.NewCensus(&e, statistics.Range{From: e.Start, To: e.End})
		random := uint64(1)
		for channel := range channels {
			p := c.Poll(strconv.Itoa(channel))
			for range messages / channels {
				random = random*6364136223846793005 + 1442695040888963407
				var key [8]byte
				binary.BigEndian.PutUint64(key[:], (random>>33)%people)
				const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				for i := range 16 {
					doc[author+i] = alphabet[key[i/2]>>(4*(i%2))&15]
				}
				p.Add(doc)
			}
			p.Close()
		}
		b.StopTimer()
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB")
		b.StartTimer()
		if a := c.Audience(nil, read); a.Chatters.N < people*9/10 {
			b.Fatal(a.Chatters)
		}
	}
	b.ReportMetric(float64(messages)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
