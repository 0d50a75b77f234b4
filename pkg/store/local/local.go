// Package local is the store in one SQLite file, for one machine: no server, nothing to install.
// The documents are those that store/mongo keeps, byte for byte.
//
// Each collection is a table of the documents with the elements that queries go by beside them.
// The file is in WAL mode with synchronous=FULL: what a call has answered survives the loss of
// power. One goroutine writes, and commits together what has been waiting; scans read page by page
// on connections of their own, so neither waits for the other.
package local

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// schemaVersion is the file's user_version. Raise it with every change of the schema.
//
// 2 has the collections letters, tombstones, manifests and drains; 3 has corrections and goals, and the
// index of records by event, kind and time.
const schemaVersion = 3

// applicationID marks the file as ours ("TngS"), so that another program's database is refused.
const applicationID = 0x546e6753

// pageSize is SQLite's own.
const pageSize = 4096

var (
	// ErrReadOnly is what every write gets on a store that was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("the store was opened for reading only")
	// ErrClosed is what every call gets after Close.
	ErrClosed = errors.New("the store is closed")
)

// Options are how a file is opened. The zero value is right for most.
type Options struct {
	// ReadOnly opens an existing file for Find, Get and Count alone. Another process may have it
	// open for writing. Default false.
	ReadOnly bool
	// CacheBytes bounds the memory of the page caches together. Default 24 MiB.
	CacheBytes int
	// Readers is how many scans and reads run at the same time; more wait. Default 4.
	Readers int
	// Busy is how long to wait while another process writes to the file. Default 5 s.
	Busy time.Duration
	// MaxBytes bounds the size of the file; writes beyond it fail as on a full disk, until something
	// is deleted. Default 0: what the disk holds.
	MaxBytes int64
}

// Store is a store.Store in one file.
type Store struct {
	path     string
	readOnly bool

	write    *sql.DB // one connection, used by the writer alone; nil when read-only
	read     *sql.DB
	jobs     chan *job
	urgent   chan *job     // done before those
	closing  chan struct{} // closed to end the writer
	finished chan struct{} // closed when it has ended
	closed   sync.Once
	writer   sync.WaitGroup
	err      error // of Close, set once
}

var _ store.Store = (*Store)(nil)

// Open opens the file, and makes it, mode 0600, where it isn't there. It refuses the file of a
// newer version, a damaged one, and what is no store.
func Open(path string, opts Options) (*Store, error) {
	if opts.CacheBytes == 0 {
		opts.CacheBytes = 24 << 20
	}
	if opts.Readers == 0 {
		opts.Readers = 4
	}
	if opts.Busy == 0 {
		opts.Busy = 5 * time.Second
	}
	if path == "" || opts.CacheBytes < 0 || opts.Readers < 0 || opts.Busy < 0 || opts.MaxBytes < 0 {
		return nil, errors.New("open store: a path is required, and no option may be negative")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{
		path: abs, readOnly: opts.ReadOnly,
		jobs: make(chan *job, 64), urgent: make(chan *job, 16), closing: make(chan struct{}), finished: make(chan struct{}),
	}
	if err := s.prepareFile(); err != nil {
		return nil, err
	}
	if err := s.open(opts); err != nil {
		return nil, errors.Join(s.explain("open store", err), s.closeDBs())
	}
	return s, nil
}

// prepareFile makes the file with its mode before SQLite would make it with another. The files
// beside it (-wal, -shm) take their mode from it.
func (s *Store) prepareFile() error {
	if s.readOnly {
		if _, err := os.Stat(s.path); err != nil {
			return fmt.Errorf("open store: %w; name the data directory of a run that has stored something", err)
		}
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open store: %w; the directory must exist and be writable", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	return nil
}

// dsn is SQLite's name of the file with the settings of a connection.
func (s *Store) dsn(opts Options, cache int, pragmas ...string) string {
	v := url.Values{}
	// The time-out comes first: the other settings may have to wait too.
	v.Add("_pragma", "busy_timeout("+strconv.FormatInt(opts.Busy.Milliseconds(), 10)+")")
	v.Add("_pragma", "cache_size(-"+strconv.Itoa(max(cache>>10, 64))+")")
	v.Add("_pragma", "mmap_size(0)")
	v.Add("_pragma", "temp_store(1)") // sorters spill to files, not to memory
	for _, p := range pragmas {
		v.Add("_pragma", p)
	}
	if s.readOnly {
		v.Set("mode", "ro")
	}
	return (&url.URL{Scheme: "file", Path: s.path, RawQuery: v.Encode()}).String()
}

func (s *Store) open(opts Options) error {
	err := registered()
	if err != nil {
		return err
	}
	// Half of the memory is the writer's: its indexes are what a cache helps most.
	readCache := opts.CacheBytes / 2 / max(opts.Readers, 1)
	if s.read, err = sql.Open("sqlite", s.dsn(opts, readCache, "query_only(1)")); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(opts.Readers)
	s.read.SetMaxIdleConns(opts.Readers)
	ctx := context.Background()
	// Looked at before the writer's settings would change it: it may be somebody else's.
	conn, err := s.read.Conn(ctx)
	if err != nil {
		return err
	}
	version, err := checkVersion(ctx, conn)
	if err := errors.Join(err, conn.Close()); err != nil {
		return err
	}
	if s.readOnly {
		switch {
		case version == 0:
			return errors.New("nothing has been stored in it yet")
		case version < schemaVersion:
			return fmt.Errorf("it was written by an older version (schema %d, this program knows %d): start 'tungstene up' on it once, which brings it up to date",
				version, schemaVersion)
		}
		return nil
	}
	// secure_delete: what was erased is overwritten, not just let go of.
	pragmas := []string{"secure_delete(1)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"}
	if opts.MaxBytes > 0 {
		pragmas = append(pragmas, "max_page_count("+strconv.FormatInt(max(opts.MaxBytes/pageSize, 1), 10)+")")
	}
	s.write, err = sql.Open("sqlite", s.dsn(opts, opts.CacheBytes/2, pragmas...))
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	conn, err = s.write.Conn(ctx)
	if err != nil {
		return err
	}
	w, err := newWriter(ctx, s, conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.writer.Go(w.run)
	return nil
}

// checkVersion reads the file's version and refuses what isn't ours or is newer.
func checkVersion(ctx context.Context, conn *sql.Conn) (int, error) {
	var version, app, tables int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return 0, err
	}
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return 0, err
	}
	switch {
	case app != applicationID && tables > 0:
		return 0, errors.New("it is the database of another program: name another file")
	case version > schemaVersion:
		return 0, fmt.Errorf("it was written by a newer version (schema %d, this program knows %d): use that version or a later one",
			version, schemaVersion)
	case version == 0 && tables > 0:
		return 0, errors.New("it is an unfinished database: move it away")
	}
	return version, nil
}

// noTime is the time of a document without one: before all others.
const noTime = math.MinInt64

// table is how a collection is kept.
type table struct {
	name string
	// indexes are those beside the key.
	indexes []index
}

// index is by the columns of equality, and then time. A partial one has the rows of some kinds only.
type index struct {
	columns []string
	kinds   []record.Kind
}

// where is the condition of a partial index, which a query must repeat word by word to be answered by it.
func (i index) where() string {
	if i.kinds == nil {
		return ""
	}
	kinds := make([]string, len(i.kinds))
	for n, k := range i.kinds {
		kinds[n] = "'" + string(k) + "'"
	}
	return "kind IN (" + strings.Join(kinds, ", ") + ")"
}

// tableOf tells how a collection is kept. Records are looked for by event and time, and by event,
// kind, channel and time, of the rare kinds without channel too; statistics have no kind; the others are
// small.
func tableOf(c store.Collection) (table, error) {
	t := table{name: string(c), indexes: []index{{columns: []string{"event"}}}}
	switch c {
	case store.Records:
		t.indexes = append(t.indexes, index{[]string{"event", "kind"}, store.RareKinds()},
			index{columns: []string{"event", "kind", "channel"}})
	case store.Minutes, store.Hours, store.Totals:
		t.indexes = append(t.indexes, index{columns: []string{"event", "channel"}})
	case store.Events, store.Channels, store.Marks, store.Progress, store.Assignments, store.Members,
		store.Leases, store.Letters, store.Tombstones, store.Manifests, store.Drains, store.Corrections, store.Goals:
	default:
		return t, fmt.Errorf("there is no collection %q", c)
	}
	return t, nil
}

func (t table) indexName(columns []string) string {
	return t.name + "_by_" + strings.Join(columns, "_") + "_time"
}

// schema makes the tables that are not there yet. key is the first 16 bytes of the SHA-256 of the _id: a third of its
// size in the index that every insert has to search.
func schema() ([]string, error) {
	var sqls []string
	for _, c := range store.Collections() {
		t, err := tableOf(c)
		if err != nil {
			return nil, err
		}
		sqls = append(sqls, "CREATE TABLE IF NOT EXISTS "+t.name+` (
			row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, event TEXT NOT NULL, kind TEXT NOT NULL,
			channel TEXT NOT NULL, time INTEGER NOT NULL, doc BLOB NOT NULL) STRICT`)
		for _, i := range t.indexes {
			q := "CREATE INDEX IF NOT EXISTS " + t.indexName(i.columns) + " ON " + t.name + " (" + strings.Join(i.columns, ", ") + ", time)"
			if where := i.where(); where != "" {
				q += " WHERE " + where
			}
			sqls = append(sqls, q)
		}
	}
	return append(sqls,
		"PRAGMA application_id = "+strconv.Itoa(applicationID),
		"PRAGMA user_version = "+strconv.Itoa(schemaVersion)), nil
}

// keySize is the number of bytes of a key.
const keySize = 16

func keyOf(id string) [keySize]byte {
	sum := sha256.Sum256([]byte(id))
	return [keySize]byte(sum[:keySize])
}

// entry is a document with its columns.
type entry struct {
	key                  [keySize]byte
	event, kind, channel string
	time                 int64
	doc                  bson.Raw
}

func entryOfRecord(r *record.Record) entry {
	return entry{
		key: keyOf(r.ID), event: r.Event, kind: string(r.Kind), channel: r.Channel,
		time: r.Time.UnixMilli(), doc: r.Doc,
	}
}

func entryOfDoc(d store.Doc) entry {
	e := entry{key: keyOf(d.ID), time: noTime, doc: d.Raw}
	e.event, _ = d.Raw.Lookup("event").StringValueOK()
	e.kind, _ = d.Raw.Lookup("kind").StringValueOK()
	e.channel, _ = d.Raw.Lookup("channel").StringValueOK()
	if ms, ok := d.Raw.Lookup("time").DateTimeOK(); ok {
		e.time = ms
	}
	return e
}

// Check writes, durably, that the store is well. A store opened for reading only reads.
func (s *Store) Check(ctx context.Context) error {
	if s.readOnly {
		var one int
		if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&one); err != nil {
			return s.explain("check store", err)
		}
		return nil
	}
	return s.do(ctx, "check store", func(w *writer) error { return w.touch() })
}

// Close finishes what is being written and closes the file. Calls in flight that were not begun
// get ErrClosed. It is safe to call twice.
func (s *Store) Close() error {
	s.closed.Do(func() {
		close(s.closing)
		s.writer.Wait()
		s.err = s.closeDBs()
	})
	return s.err
}

func (s *Store) closeDBs() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close()) // the last connection folds the log into the file
	}
	if err := errors.Join(errs...); err != nil {
		return s.explain("close store", err)
	}
	return nil
}

// explain says what was being done to which file, and the remedy where there is one.
func (s *Store) explain(doing string, err error) error {
	remedy := ""
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			remedy = ": it is locked by another process; stop that one, or use another data directory"
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			remedy = ": it is damaged or no store; move it away, or put a copy in its place"
		case sqlite3.SQLITE_FULL:
			remedy = ": the disk is full; make room"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
			remedy = ": it cannot be opened or written; check the owner and the modes of the file and its directory"
		case sqlite3.SQLITE_IOERR:
			remedy = ": the disk fails or is full; look at the system's log"
		}
	}
	return fmt.Errorf("%s %s%s: %w", doing, s.path, remedy, err)
}
