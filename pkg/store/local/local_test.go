package local_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
	"github.com/tungstene/tungstene/pkg/store/storetest"
)

// childEnv names the file that a child process of a test writes to.
const childEnv = "TUNGSTENE_LOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, insertForEver(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, path string, opts local.Options) *local.Store {
	tb.Helper()
	s, err := local.Open(path, opts)
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

func file(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "store.db")
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return open(t, file(t), local.Options{})
	})
}

// all is a query of every record of the tests here.
func all() store.Query { return store.Query{Collection: store.Records, Event: "e1"} }

func count(tb testing.TB, s store.Store) int {
	tb.Helper()
	n, err := s.Count(context.Background(), all())
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestReopen(t *testing.T) {
	path := file(t)
	for n := range 3 {
		s := open(t, path, local.Options{})
		if got := count(t, s); got != n*100 {
			t.Fatalf("%d records at opening %d", got, n)
		}
		if _, err := s.Insert(t.Context(), storetest.Messages(t, "e1", n*100, 100, 3)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, beside := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + beside); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left after Close: %v", beside, err)
		}
	}
}

// batch is how many records the child inserts at once.
const batch = 37

type discard struct{ testing.TB }

func (discard) Helper() {}

func (discard) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// insertForEver prints the number of each batch when the store has answered.
func insertForEver(path string) error {
	s, err := local.Open(path, local.Options{})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		results, err := s.Insert(context.Background(), storetest.Messages(discard{}, "e1", n*batch, batch, 5))
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Outcome == store.Refused {
				return r.Err
			}
		}
		fmt.Println(n)
	}
}

func TestKill(t *testing.T) {
	path := file(t)
	for round, after := range []int{3, 25, 60} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := -1
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if acknowledged == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || acknowledged < after {
			t.Fatalf("the child ended with %v after batch %d", err, acknowledged)
		}
		// Each batch is there whole or not at all, and those that were acknowledged are there. The
		// first look is by one who only reads, as the tool that verifies does.
		for _, opts := range []local.Options{{ReadOnly: true}, {}} {
			s := open(t, path, opts)
			n := count(t, s)
			if n%batch != 0 || n < (acknowledged+1)*batch {
				t.Fatalf("round %d, read-only %v: %d records are there, %d were acknowledged", round, opts.ReadOnly, n, (acknowledged+1)*batch)
			}
			i := 0
			want := storetest.Messages(t, "e1", 0, n, 5)
			for raw, err := range s.Find(t.Context(), all()) {
				if err != nil {
					t.Fatal(err)
				}
				if string(raw) != string(want[i].Doc) {
					t.Fatalf("round %d: record %d is another", round, i)
				}
				i++
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMode(t *testing.T) {
	path := file(t)
	s := open(t, path, local.Options{})
	if _, err := s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 10, 1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
}

func TestReadOnly(t *testing.T) {
	path := file(t)
	s := open(t, path, local.Options{})
	records := storetest.Messages(t, "e1", 0, 10, 1)
	if _, err := s.Insert(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	// Beside the one that writes, and after it.
	for _, when := range []string{"beside", "after"} {
		if when == "after" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r := open(t, path, local.Options{ReadOnly: true})
		if n := count(t, r); n != 10 {
			t.Fatalf("%s: %d records", when, n)
		}
		if _, err := r.Get(t.Context(), store.Records, records[3].ID); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, insertErr := r.Insert(t.Context(), records)
		_, deleteErr := r.Delete(t.Context(), all())
		for _, err := range []error{insertErr, deleteErr} {
			if !errors.Is(err, local.ErrReadOnly) {
				t.Errorf("%s: a write gets %v", when, err)
			}
		}
	}
}

// database makes a file by SQL.
func database(t *testing.T, path string, sqls ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range sqls {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// older makes a file with a record as the version before this one left it: of schema 2.
func older(t *testing.T, path string) {
	t.Helper()
	s, err := local.Open(path, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 1, 1))
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	database(t, path, "DROP TABLE corrections", "DROP TABLE goals", "DROP INDEX records_by_event_kind_time", "PRAGMA user_version = 2")
}

// oldest makes one of schema 1.
func oldest(t *testing.T, path string) {
	t.Helper()
	older(t, path)
	database(t, path, "DROP TABLE letters", "DROP TABLE tombstones", "DROP TABLE manifests", "DROP TABLE drains",
		"PRAGMA user_version = 1")
}

func TestUpgrade(t *testing.T) {
	for name, older := range map[string]func(*testing.T, string){"from 1": oldest, "from 2": older} {
		t.Run(name, func(t *testing.T) { upgrade(t, older) })
	}
}

func upgrade(t *testing.T, older func(*testing.T, string)) {
	t.Helper()
	path := file(t)
	older(t, path)
	for range 2 { // the second time it is up to date
		s, err := local.Open(path, local.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, s); n != 1 {
			t.Errorf("%d records, want 1", n)
		}
		for _, c := range store.Collections() {
			if _, err := s.Count(t.Context(), store.Query{Collection: c, Event: "e1"}); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		}
		if _, err := s.Count(t.Context(), store.Query{Collection: store.Records, Event: "e1", Kind: record.KindDonation}); err != nil {
			t.Errorf("donations: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	reading := open(t, path, local.Options{ReadOnly: true})
	if n := count(t, reading); n != 1 {
		t.Errorf("%d records to read, want 1", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		opts    local.Options
		want    string
	}{
		"newer": {prepare: func(t *testing.T, path string) {
			t.Helper()
			open(t, path, local.Options{})
			database(t, path, "PRAGMA user_version = 99")
		}, want: "written by a newer version"},
		"another program's": {prepare: func(t *testing.T, path string) {
			t.Helper()
			database(t, path, "CREATE TABLE bookmarks (url)")
		}, want: "of another program"},
		"no database": {prepare: func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "damaged or no store"},
		"no directory": {prepare: func(t *testing.T, path string) {
			t.Helper()
			if err := os.Symlink(filepath.Join(path, "none", "x"), path); err != nil {
				t.Fatal(err)
			}
		}, want: "directory must exist"},
		"nothing to read": {prepare: func(*testing.T, string) {}, opts: local.Options{ReadOnly: true}, want: "name the data directory"},
		"empty to read": {prepare: func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, opts: local.Options{ReadOnly: true}, want: "nothing has been stored"},
		"older to read":   {prepare: older, opts: local.Options{ReadOnly: true}, want: "brings it up to date"},
		"negative option": {prepare: func(*testing.T, string) {}, opts: local.Options{Readers: -1}, want: "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t)
			c.prepare(t, path)
			before, _ := os.ReadFile(path) // may not be there
			s, err := local.Open(path, c.opts)
			if err == nil {
				t.Fatal(s.Close())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			if c.want != "negative" && !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file has been changed")
			}
		})
	}
}

func TestLocked(t *testing.T) {
	path := file(t)
	s := open(t, path, local.Options{Busy: time.Millisecond})
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 5, 1))
	if err == nil || !strings.Contains(err.Error(), "locked by another process") {
		t.Fatalf("error %v", err)
	}
	if n := count(t, s); n != 0 {
		t.Fatalf("%d records; reading should go on", n)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 5, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	path := file(t)
	s := open(t, path, local.Options{MaxBytes: 1 << 20})
	stored, full := 0, error(nil)
	for n := 0; full == nil; n++ {
		if _, full = s.Insert(t.Context(), storetest.Messages(t, "e1", n*100, 100, 1)); full == nil {
			stored += 100
		}
	}
	if !strings.Contains(full.Error(), "the disk is full") {
		t.Fatalf("error %v", full)
	}
	if n := count(t, s); n != stored || n == 0 {
		t.Fatalf("%d records are there, %d were acknowledged", n, stored)
	}
	// With room again it goes on.
	if _, err := s.Delete(t.Context(), all()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 100, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestTwoProcesses(t *testing.T) {
	// A second one may write too; SQLite keeps them apart.
	path := file(t)
	a, b := open(t, path, local.Options{}), open(t, path, local.Options{})
	for rev := range int64(10) {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: "x"}, {Key: "rev", Value: rev + 1}})
		if err != nil {
			t.Fatal(err)
		}
		d := store.Doc{ID: "x", Raw: raw}
		errs := make(chan error, 2)
		for _, s := range []*local.Store{a, b} {
			go func() { errs <- s.CompareAndSet(t.Context(), store.Leases, rev, d) }()
		}
		one, two := <-errs, <-errs
		if (one == nil) == (two == nil) || !errors.Is(errors.Join(one, two), store.ErrConflict) {
			t.Fatalf("revision %d: %v and %v", rev, one, two)
		}
	}
}

func TestCloseWhileWriting(t *testing.T) {
	s := open(t, file(t), local.Options{})
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				if _, err := s.Insert(context.Background(), storetest.Messages(discard{}, "e1", w*1_000_000+n*10, 10, 1)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := <-errs; !errors.Is(err, local.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}

func TestManyLargeOfOneTime(t *testing.T) {
	// More bytes of one time than are sorted at once.
	s := open(t, file(t), local.Options{})
	at := time.Date(2025, 9, 4, 18, 0, 0, 0, time.UTC)
	const n = 70
	var docs []store.Doc
	for i := range n {
		k := i * 37 % n
		raw, err := bson.Marshal(bson.D{
			{Key: "_id", Value: fmt.Sprintf("e1/%03d", k)},
			{Key: "event", Value: "e1"},
			{Key: "time", Value: at},
			{Key: "pad", Value: strings.Repeat("x", 600<<10)},
		})
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, store.Doc{ID: fmt.Sprintf("e1/%03d", k), Raw: raw})
	}
	for _, d := range docs {
		if err := s.Put(t.Context(), store.Minutes, []store.Doc{d}); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []store.Query{
		{Collection: store.Minutes, Event: "e1"},
		{Collection: store.Minutes, Event: "e1", Descending: true},
		{Collection: store.Minutes, Event: "e1", Limit: 50},
		{Collection: store.Minutes},
	} {
		i := 0
		for raw, err := range s.Find(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("e1/%03d", i)
			if q.Descending {
				want = fmt.Sprintf("e1/%03d", n-1-i)
			}
			if id := store.DocID(raw); id != want {
				t.Fatalf("%+v: document %d is %s, want %s", q, i, id, want)
			}
			i++
		}
		if want := min(n, max(q.Limit, n*(1-min(q.Limit, 1)))); i != want {
			t.Fatalf("%+v: %d documents, want %d", q, i, want)
		}
	}
}

func Benchmark(b *testing.B) {
	for _, batch := range []int{500, 1000} {
		storetest.Bench(b, func(b *testing.B) store.Store {
			b.Helper()
			return open(b, file(b), local.Options{})
		}, batch, 210_000)
	}
}
