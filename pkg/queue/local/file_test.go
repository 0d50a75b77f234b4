package local_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/local"
	"github.com/tungstene/tungstene/pkg/queue/queuetest"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "queue ?%23#.db")
	must(t, os.MkdirAll(filepath.Join(filepath.Dir(filepath.Dir(path))), 0o755))
	q := open(t, path, local.Options{})
	must(t, q.Publish(t.Context(), queue.Store, queue.Message{ID: "x"}))
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v %v", info.Mode(), err)
	}
	files := 0
	must(t, filepath.WalkDir(filepath.Dir(path), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", p, info.Mode())
		}
		return err
	}))
	if files < 2 {
		t.Errorf("%d files beside each other", files)
	}
	must(t, q.Close())
	if left, err := filepath.Glob(filepath.Dir(path) + "/*"); err != nil || len(left) != 3 { // the file, its lock, its reserve
		t.Errorf("after Close there are %q (%v)", left, err)
	}
	must(t, os.Chmod(path, 0o644))
	open(t, path, local.Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("after opening one that others could read: %v %v", info.Mode(), err)
	}
}

func TestOneFileIsOpenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, local.Options{})
	if _, err := local.Open(path, local.Options{}); !errors.Is(err, local.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	must(t, q.Publish(t.Context(), queue.Store, queue.Message{ID: "x"})) // not disturbed
	must(t, q.Close())
	open(t, path, local.Options{})
}

func TestFilesThatAreNoQueue(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"text": func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("this is not a database\n", 1000)), 0o600))
		},
		"of something else": func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			must(t, err)
			_, err = db.ExecContext(t.Context(), "CREATE TABLE people (name TEXT)")
			must(t, err)
			must(t, db.Close())
		},
		"damaged": func(t *testing.T, path string) {
			q := open(t, path, local.Options{})
			must(t, q.Publish(t.Context(), queue.Store, queuetest.Numbered("x", 500)...))
			must(t, q.Close())
			b, err := os.ReadFile(path)
			must(t, err)
			for i := 4096; i < len(b); i++ {
				b[i] = 0xa5
			}
			must(t, os.WriteFile(path, b, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			prepare(t, path)
			before, err := os.ReadFile(path)
			must(t, err)
			for range 2 { // and it is let go of
				_, err = local.Open(path, local.Options{})
				if !errors.Is(err, local.ErrDamaged) || !strings.Contains(err.Error(), path) {
					t.Fatalf("got %v", err)
				}
			}
			after, err := os.ReadFile(path)
			must(t, err)
			if name != "damaged" && string(before) != string(after) { // what is not ours is left alone
				t.Error("the file was changed")
			}
		})
	}
}

func TestFolderThatCanNotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := local.Open(filepath.Join(file, "queue.db"), local.Options{}); err == nil || !strings.Contains(err.Error(), "make its folder") {
		t.Errorf("got %v", err)
	}
}

func TestWrongOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	for _, opts := range []local.Options{{MaxBytes: -1}, {Queues: []string{"a", ""}}} {
		if _, err := local.Open(path, opts); err == nil {
			t.Errorf("%+v is taken", opts)
		}
	}
}

func TestQueuesOfTheFileStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, local.Options{Queues: []string{"outbox"}})
	must(t, q.Publish(t.Context(), "outbox", queue.Message{ID: "x"}))
	if err := q.Publish(t.Context(), queue.Store, queue.Message{}); !errors.Is(err, queue.ErrUnroutable) {
		t.Errorf("a queue that was not declared: %v", err)
	}
	must(t, q.Close())
	q = open(t, path, local.Options{})
	if n, err := q.Depth(t.Context(), "outbox"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	must(t, q.Publish(t.Context(), queue.Store, queue.Message{}))
}

func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	opts := local.Options{Queues: []string{"outbox"}, MaxBytes: 1000}
	q := open(t, path, opts)
	ctx := t.Context()
	body := make([]byte, 400)
	must(t, q.Publish(ctx, "outbox", queue.Message{ID: "1", Body: body}))
	must(t, q.Publish(ctx, "outbox", queue.Message{ID: "2", Body: body}))
	for _, m := range [][]queue.Message{{{ID: "3", Body: body}}, {{ID: "s"}, {ID: "3", Body: body}}} {
		if err := q.Publish(ctx, "outbox", m...); !errors.Is(err, local.ErrFull) {
			t.Fatalf("got %v", err)
		}
	}
	if n, bytes, oldest, err := q.Stats(ctx); n != 2 || bytes != 802 || err != nil || oldest.IsZero() || time.Since(oldest) > queuetest.Patience {
		t.Errorf("%d messages, %d bytes, oldest %v, %v", n, bytes, oldest, err)
	}
	must(t, q.Publish(ctx, "outbox", queue.Message{ID: "small"})) // fits
	must(t, q.Close())
	q = open(t, path, opts)
	if err := q.Publish(ctx, "outbox", queue.Message{ID: "3", Body: body}); !errors.Is(err, local.ErrFull) {
		t.Fatalf("after opening it again: %v", err)
	}
	deliveries, err := q.Subscribe(ctx, "outbox", 1)
	must(t, err)
	must(t, queuetest.Receive(t, deliveries).Ack(ctx))
	must(t, q.Publish(ctx, "outbox", queue.Message{ID: "3", Body: body}))
	for _, want := range []string{"2", "small", "3"} {
		d := queuetest.Receive(t, deliveries)
		if d.ID != want {
			t.Fatalf("%s where %s is due", d.ID, want)
		}
		must(t, d.Ack(ctx))
	}
	if n, bytes, oldest, err := q.Stats(ctx); n != 0 || bytes != 0 || err != nil || !oldest.IsZero() {
		t.Errorf("%d messages, %d bytes, oldest %v, %v", n, bytes, oldest, err)
	}
}

func TestDrainedFileGetsSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, local.Options{})
	ctx := t.Context()
	const n = 500
	for i := range n {
		must(t, q.Publish(ctx, queue.Store, queue.Message{ID: strconv.Itoa(i), Body: make([]byte, 100_000)}))
	}
	size := func() (total int64) {
		for _, p := range []string{path, path + "-wal"} {
			info, err := os.Stat(p)
			if err == nil {
				total += info.Size()
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		return total
	}
	if full := size(); full < n*100_000 {
		t.Fatalf("the full file has %d bytes", full)
	}
	deliveries, err := q.Subscribe(ctx, queue.Store, 20)
	must(t, err)
	for range n {
		must(t, queuetest.Receive(t, deliveries).Ack(ctx))
	}
	queuetest.Eventually(t, "the file is small again", func() bool { return size() < 8<<20 })
	must(t, q.Publish(ctx, queue.Store, queue.Message{ID: "on"}))
	if d := queuetest.Receive(t, deliveries); d.ID != "on" {
		t.Errorf("received %s", d.ID)
	}
}

func TestSlowListenerLosesTheOldest(t *testing.T) {
	registry := prometheus.NewRegistry()
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), local.Options{Registerer: registry})
	slow, err := q.Listen(t.Context(), 3)
	must(t, err)
	for _, m := range queuetest.Numbered("", 10) {
		must(t, q.Send(t.Context(), m))
	}
	for _, want := range []string{"7", "8", "9"} {
		if m := queuetest.Receive(t, slow); m.ID != want {
			t.Errorf("%s where %s is due", m.ID, want)
		}
	}
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "tungstene_queue_local_live_lost_total" {
			if n := f.GetMetric()[0].GetCounter().GetValue(); n != 7 {
				t.Errorf("%v lost messages are counted", n)
			}
			return
		}
	}
	t.Error("no metric of lost messages")
}

func TestMetricsOfTwoFilesNeedNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	one := open(t, filepath.Join(t.TempDir(), "queue.db"), local.Options{Registerer: registry})
	other := filepath.Join(t.TempDir(), "queue.db")
	if _, err := local.Open(other, local.Options{Registerer: registry}); err == nil {
		t.Error("two files of one name are no error")
	}
	open(t, other, local.Options{Registerer: registry, Name: "other"})
	must(t, one.Close())
	open(t, filepath.Join(t.TempDir(), "queue.db"), local.Options{Registerer: registry})
}

// What a queue does, step by step, is what a list would do.
func TestLikeAList(t *testing.T) {
	folder, files := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		files++
		path := filepath.Join(folder, strconv.Itoa(files)+".db")
		q, err := local.Open(path, local.Options{})
		must(t, err)
		defer func() { must(t, q.Close()) }()
		var waiting []string        // not acknowledged, in their order
		var heldIDs []string        // delivered to the subscription
		var held []queue.Delivery   // the same
		var c <-chan queue.Delivery // nil: nobody subscribes
		cancel := context.CancelFunc(func() {})
		next := 0
		unsubscribe := func() {
			cancel()
			if c != nil {
				queuetest.Drained(t, c)
			}
			c, held, heldIDs = nil, nil, nil
		}
		defer func() { unsubscribe() }()
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				n := rapid.IntRange(1, 5).Draw(rt, "n")
				messages := queuetest.Numbered(strconv.Itoa(next)+"-", n)
				next++
				must(t, q.Publish(t.Context(), queue.Store, messages...))
				for _, m := range messages {
					waiting = append(waiting, m.ID)
				}
			},
			"subscribe": func(rt *rapid.T) {
				unsubscribe()
				var ctx context.Context
				ctx, cancel = context.WithCancel(t.Context())
				var err error
				c, err = q.Subscribe(ctx, queue.Store, 1000)
				must(t, err)
			},
			"receive": func(rt *rapid.T) {
				if c == nil || len(held) == len(waiting) {
					rt.Skip()
				}
				d := queuetest.Receive(t, c)
				if want := waiting[len(held)]; d.ID != want {
					rt.Fatalf("received %s where %s is due", d.ID, want)
				}
				held, heldIDs = append(held, d), append(heldIDs, d.ID)
			},
			"acknowledge": func(rt *rapid.T) {
				if len(held) == 0 {
					rt.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(rt, "i")
				must(t, held[i].Ack(t.Context()))
				for j, id := range waiting {
					if id == heldIDs[i] {
						waiting = append(waiting[:j:j], waiting[j+1:]...)
						break
					}
				}
				held = append(held[:i:i], held[i+1:]...)
				heldIDs = append(heldIDs[:i:i], heldIDs[i+1:]...)
			},
			"unsubscribe": func(*rapid.T) { unsubscribe() },
			"open again": func(*rapid.T) {
				unsubscribe()
				must(t, q.Close())
				var err error
				q, err = local.Open(path, local.Options{})
				must(t, err)
			},
			"": func(rt *rapid.T) {
				if n, err := q.Depth(t.Context(), queue.Store); err != nil || n != len(waiting) {
					rt.Fatalf("%d messages, want %d (%v)", n, len(waiting), err)
				}
			},
		})
	})
}

// BenchmarkPublish is the broker of `tungstene up` at work.
func BenchmarkPublish(b *testing.B) {
	queuetest.BenchmarkPublish(b, open(b, filepath.Join(b.TempDir(), "queue.db"), local.Options{}))
}

// BenchmarkPublishOneByOne is the outbox at its busiest: one publisher that waits for each batch.
func BenchmarkPublishOneByOne(b *testing.B) {
	q := open(b, filepath.Join(b.TempDir(), "queue.db"), local.Options{})
	deliveries, err := q.Subscribe(b.Context(), queue.Store, 64)
	must(b, err)
	body := make([]byte, 500*300)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		must(b, q.Publish(b.Context(), queue.Store, queue.Message{ID: "b", Body: body}))
		must(b, queuetest.Receive(b, deliveries).Ack(b.Context()))
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
}
