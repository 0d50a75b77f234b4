package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tungstene/tungstene/pkg/queue"
)

const (
	// applicationID marks our files: "TnQu".
	applicationID = 0x546e5175
	schemaVersion = 1

	// keepPages free pages stay in the file for what is published next; beyond them, and beyond a
	// quarter of the file, they are given back to the disk, shrinkPages at a time.
	keepPages   = 1024
	shrinkPages = 256

	// walBytes is the size that the write-ahead log is cut back to.
	walBytes = 16 << 20

	// probeBytes is how much may be published before it is seen to that the file has room for it.
	probeBytes = 4 << 20
	// pageBytes is a page and its header in the log.
	pageBytes = 4096 + 24
	// touchBytes is as much as a batch needs: a byte fits on a full disk too.
	touchBytes = 64 << 10
)

// file is the SQLite file: one connection that writes, others that read, and a lock beside it that
// keeps every other process out. The write methods are the writer's alone.
//
// A removal has to be written too, and so has the end of the log that everything is written to
// first; so a queue that fills its disk could not be emptied any more. Therefore there is a reserve
// beside it, always as large as what the file itself still has to grow by for what is in the log
// and for the transaction at hand, and reserveMargin more. Nothing is published without it.
//
//	held ──a write found no room──► given up: the log is copied into the file and cut to nothing;
//	  ▲                                │      a removal is written into the room, and copied too
//	  └────────at once, as much of it as there is room for
//
// What the log is cut by is at least what the file grew by, so the reserve's room is still there
// after that, and it goes on like this from removal to removal unless another program takes the
// room in that moment. Free pages go back to the disk whenever there is nothing to write.
type file struct {
	reserve reserve
	pending int64 // the most that the file has to grow by for what is in the log
	// starved says that there was no room, until something was published again.
	starved bool

	path    string
	lock    *sql.DB
	writer  *sql.DB
	conn    *sql.Conn // the writer's only connection
	readers *sql.DB
	freed   bool // something was removed since free pages were counted last
	// statements are closed before their connections: SQLite would keep those open otherwise, and
	// not tidy the log away.
	statements []*sql.Stmt
}

func dsn(path string, pragmas ...string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/… on Windows
	}
	u := url.URL{Scheme: "file", Path: slashed, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}

func openFile(path string, queues []string) (*file, map[string]*box, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	f, boxes, err := tryOpenFile(path, queues)
	if left := (&reserve{path: path + reserveSuffix}); noRoom(err) && left.find() == nil && left.size > 0 {
		// Opening writes a little too, and more after a crash.
		if err := left.release(); err != nil {
			return nil, nil, err
		}
		f, boxes, err = tryOpenFile(path, queues)
	}
	return f, boxes, err
}

func tryOpenFile(path string, queues []string) (f *file, boxes map[string]*box, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, fmt.Errorf("make its folder: %w", err)
	}
	// SQLite gives the files beside it (the log, its index) the same mode.
	for _, p := range []string{path, path + ".lock"} {
		if err := private(p); err != nil {
			return nil, nil, err
		}
	}
	f = &file{path: path, reserve: reserve{path: path + reserveSuffix}}
	defer func() {
		if err != nil {
			err = errors.Join(explain(err), f.close())
			f, boxes = nil, nil
		}
	}()
	ctx := context.Background()
	if err := f.open(ctx); err != nil {
		return f, nil, err
	}
	if err := f.prepareSchema(ctx, queues); err != nil {
		return f, nil, err
	}
	if err := f.openReserve(ctx); err != nil {
		return f, nil, err
	}
	boxes, err = f.load(ctx)
	return f, boxes, err
}

// openReserve makes the reserve, or takes up the one that is there. Without room for it the queue
// can be emptied all the same.
func (f *file) openReserve(ctx context.Context) error {
	if err := f.reserve.find(); err != nil {
		return err
	}
	if err := f.checkpoint(ctx, "PASSIVE"); err != nil { // what a crash has left
		if !noRoom(err) || f.reserve.size > 0 {
			return err
		}
		_ = f.relieve(ctx, nil) // what is wrong is known
		return nil
	}
	size := max(minReserve, f.pending+reserveMargin)
	if err := f.reserve.shrink(size); err != nil {
		return err
	}
	if err := f.reserve.hold(size); err != nil {
		if !noRoom(err) {
			return err
		}
		_ = f.relieve(ctx, nil) // what is wrong is known
	}
	return nil
}

// private makes a file that only its owner may read when it is not there, and takes the others'
// rights away when it is.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // the path is the operator's
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

func (f *file) open(ctx context.Context) (err error) {
	// A lock in the file itself would keep our own readers out too. That of an SQLite file works on
	// every system and ends with the process, however it ends.
	if f.lock, err = sql.Open("sqlite", dsn(f.path+".lock")); err != nil {
		return err
	}
	f.lock.SetMaxOpenConns(1)
	if _, err := f.lock.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		if code(err) == sqlite3.SQLITE_BUSY {
			return ErrInUse
		}
		return fmt.Errorf("lock it: %w", err)
	}
	if f.writer, err = sql.Open("sqlite", dsn(f.path, "busy_timeout(5000)")); err != nil {
		return err
	}
	f.writer.SetMaxOpenConns(1)
	if f.conn, err = f.writer.Conn(ctx); err != nil {
		return err
	}
	var id, version, tables int
	for pragma, to := range map[string]*int{"application_id": &id, "user_version": &version} {
		if err := f.conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(to); err != nil {
			return err
		}
	}
	if err := f.conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	switch {
	case tables > 0 && id != applicationID:
		return fmt.Errorf("%w: it is an SQLite file of something else", ErrDamaged)
	case version > schemaVersion:
		return fmt.Errorf("it was written by a newer version (schema %d, this program knows %d): use that", version, schemaVersion)
	}
	// The order matters: auto_vacuum is settled by the first page, which journal_mode writes.
	for _, pragma := range []string{
		"auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL",
		fmt.Sprintf("journal_size_limit = %d", walBytes),
	} {
		if _, err := f.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	f.readers, err = sql.Open("sqlite", dsn(f.path, "busy_timeout(5000)", "query_only(1)"))
	if err != nil {
		return err
	}
	f.readers.SetMaxOpenConns(4)
	f.readers.SetMaxIdleConns(4)
	return nil
}

// prepareSchema makes what is not there, in one transaction.
func (f *file) prepareSchema(ctx context.Context, queues []string) error {
	statements := []string{
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", schemaVersion),
		"CREATE TABLE IF NOT EXISTS queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
		"CREATE TABLE IF NOT EXISTS touched (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, filling BLOB NOT NULL)",
	}
	return f.within(ctx, func() error {
		for _, s := range statements {
			if _, err := f.conn.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		for _, name := range queues {
			if _, err := f.conn.ExecContext(ctx, "INSERT OR IGNORE INTO queues (name) VALUES (?)", name); err != nil {
				return err
			}
			var id int64
			if err := f.conn.QueryRowContext(ctx, "SELECT id FROM queues WHERE name = ?", name).Scan(&id); err != nil {
				return err
			}
			// The index answers how much there is without reading the bodies.
			for _, s := range []string{
				"CREATE TABLE IF NOT EXISTS messages_%[1]d (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, size INTEGER NOT NULL, id TEXT NOT NULL, headers BLOB, body BLOB NOT NULL)",
				"CREATE INDEX IF NOT EXISTS sizes_%[1]d ON messages_%[1]d (seq, size)",
			} {
				if _, err := f.conn.ExecContext(ctx, fmt.Sprintf(s, id)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// load reads which queues and messages there are.
func (f *file) load(ctx context.Context) (map[string]*box, error) {
	ids, err := f.queues(ctx)
	if err != nil {
		return nil, err
	}
	boxes := make(map[string]*box, len(ids))
	for name, id := range ids {
		b := &box{name: name, next: 1, again: make(map[int64]struct{}), subs: make(map[*subscription]struct{})}
		if err := f.index(ctx, b, id); err != nil {
			return nil, err
		}
		table := fmt.Sprintf("messages_%d", id)
		for _, p := range []struct {
			statement **sql.Stmt
			on        preparer
			text      string
		}{
			{&b.insert, f.conn, "INSERT INTO " + table + " (seq, at, size, id, headers, body) VALUES (?, ?, ?, ?, ?, ?)"},
			{&b.remove, f.conn, "DELETE FROM " + table + " WHERE seq = ?"},
			{&b.read, f.readers, "SELECT size, id, headers, body FROM " + table + " WHERE seq = ?"},
			{&b.oldest, f.readers, "SELECT at FROM " + table + " ORDER BY seq LIMIT 1"},
		} {
			if *p.statement, err = p.on.PrepareContext(ctx, p.text); err != nil { //nolint:sqlclosecheck // closed with the file
				return nil, err
			}
			f.statements = append(f.statements, *p.statement)
		}
		boxes[name] = b
	}
	return boxes, nil
}

// queues reads the queues' names and numbers.
func (f *file) queues(ctx context.Context) (map[string]int64, error) {
	rows, err := f.conn.QueryContext(ctx, "SELECT id, name FROM queues")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ids := make(map[string]int64)
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, err
		}
		ids[name] = id
	}
	return ids, rows.Err()
}

// index reads the numbers and sizes of a queue's messages.
func (f *file) index(ctx context.Context, b *box, id int64) error {
	rows, err := f.conn.QueryContext(ctx,
		fmt.Sprintf("SELECT seq, size FROM messages_%[1]d INDEXED BY sizes_%[1]d ORDER BY seq", id))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, size int64
		if err := rows.Scan(&seq, &size); err != nil {
			return err
		}
		b.fresh.push(seq)
		b.messages++
		b.bytes += size
		b.next = seq + 1
	}
	return rows.Err()
}

// within runs do in a transaction.
func (f *file) within(ctx context.Context, do func() error) error {
	if _, err := f.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = f.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		if _, back := f.conn.ExecContext(ctx, "ROLLBACK"); back != nil && !strings.Contains(back.Error(), "no transaction is active") {
			// SQLite rolls some failures back by itself; any other answer is worth telling.
			err = errors.Join(err, back)
		}
	}
	return err
}

// transact does all of a group or nothing of it. It returns when that is on the disk. A group of
// removals is written on a full disk too, see file.
func (f *file) transact(group []*request, at time.Time) error {
	ctx := context.Background() // what the writer has taken is seen through
	growth := int64(0)
	for _, r := range group {
		growth += r.growth()
	}
	if growth > 0 {
		if err := f.reserve.hold(max(minReserve, f.pending+growth+reserveMargin)); err != nil {
			f.starved = f.starved || noRoom(err)
			return explain(err)
		}
	}
	apply := func() error { return f.apply(ctx, group, at) }
	err := apply()
	switch {
	case noRoom(err) && growth > 0:
		err = errors.Join(err, f.relieve(ctx, nil))
	case noRoom(err):
		err = f.relieve(ctx, apply)
	}
	if err != nil {
		return explain(err)
	}
	if growth > 0 {
		f.starved = false
		f.pending += growth
	}
	return nil
}

// probe copies the log into the file when much was published since the last time. SQLite does so
// by itself but does not say when it fails; here the reserve is given for it. What is in the log is
// safe there, whatever comes of this.
func (f *file) probe() error {
	if f.pending < probeBytes {
		return nil
	}
	ctx := context.Background()
	err := f.checkpoint(ctx, "PASSIVE")
	if noRoom(err) {
		err = f.relieve(ctx, nil)
	}
	return explain(err)
}

// checkpoint copies the log into the file, and finds out how much of it remains to be copied.
func (f *file) checkpoint(ctx context.Context, mode string) error {
	var busy, frames, copied int64
	if err := f.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &copied); err != nil {
		return err
	}
	f.pending = max(0, frames-copied) * pageBytes
	return nil
}

// relieve makes room on a full disk, see file: it gives up the reserve for as long as it takes to
// copy the log into the file and, if there is something to do, to do that. It returns the error of
// that or, with nothing to do, of the copying.
func (f *file) relieve(ctx context.Context, do func() error) error {
	f.starved = true
	err := errors.Join(f.reserve.release(), f.checkpoint(ctx, "TRUNCATE"))
	if do != nil {
		if failed := do(); failed != nil {
			err = errors.Join(failed, err)
		} else {
			err = nil
			// For the room that the log takes. What can't be copied stays in it, to be copied later.
			_ = f.checkpoint(ctx, "TRUNCATE")
		}
	}
	// As much of it as can be had, before others take the room.
	for size := max(minReserve, f.pending+reserveMargin); size >= scarceReserve; size /= 2 {
		if f.reserve.hold(size) == nil {
			break
		}
	}
	return err
}

// apply is the transaction of a group.
func (f *file) apply(ctx context.Context, group []*request, at time.Time) error {
	next := make(map[*box]int64)
	err := f.within(ctx, func() error {
		for _, r := range group {
			switch r.kind {
			case publishing:
				if _, ok := next[r.box]; !ok {
					next[r.box] = r.box.next
				}
				for i := range r.rows {
					row := &r.rows[i]
					row.seq = next[r.box]
					next[r.box]++
					var headers any
					if row.headers != nil {
						headers = row.headers
					}
					if _, err := r.box.insert.ExecContext(ctx, row.seq, at.UnixMilli(), row.size, row.id, headers, row.body); err != nil {
						return err
					}
				}
			case removing:
				if _, err := r.box.remove.ExecContext(ctx, r.seq); err != nil {
					return err
				}
				f.freed = true
			case touching:
				if _, err := f.conn.ExecContext(ctx, "INSERT OR REPLACE INTO touched (id, at, filling) VALUES (1, ?, zeroblob(?))", at.UnixMilli(), touchBytes); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for b, n := range next {
		b.next = n
	}
	return nil
}

// slack says whether enough of the file is free to give some of it back.
func (f *file) slack() bool {
	if !f.freed {
		return false
	}
	free, pages := 0, 0
	ctx := context.Background()
	if f.conn.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free) != nil ||
		f.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages) != nil {
		free = 0 // it is only housekeeping: what is wrong with the file shows elsewhere
	}
	keep := max(keepPages, pages/4)
	if f.starved {
		keep = 0
	}
	f.freed = free > keep
	return f.freed
}

// shrink gives some free pages back.
func (f *file) shrink() error {
	ctx := context.Background()
	f.freed = false // not again before the next removal if this fails
	err := f.vacuum(ctx)
	if noRoom(err) {
		err = f.relieve(ctx, func() error { return f.vacuum(ctx) })
	}
	if err != nil {
		return err
	}
	f.freed = true
	if f.slack() {
		return nil
	}
	return f.checkpoint(ctx, "TRUNCATE") // the file itself gets smaller only now
}

func (f *file) vacuum(ctx context.Context) error {
	rows, err := f.conn.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", shrinkPages))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // each step frees a page
	}
	return rows.Err()
}

func (f *file) ping(ctx context.Context) error {
	var n int
	return f.readers.QueryRowContext(ctx, "SELECT count(*) FROM queues").Scan(&n)
}

func (f *file) oldest(ctx context.Context, b *box) (time.Time, error) {
	var at int64
	err := b.oldest.QueryRowContext(ctx).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, explain(err)
	}
	return time.UnixMilli(at).UTC(), nil
}

// message reads one message and its size.
func (f *file) message(ctx context.Context, b *box, seq int64) (m queue.Message, size int64, err error) {
	var headers []byte
	err = b.read.QueryRowContext(ctx, seq).Scan(&size, &m.ID, &headers, &m.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return m, 0, fmt.Errorf("%w: message %d is not in the file", ErrDamaged, seq)
	}
	if err != nil {
		return m, 0, explain(err)
	}
	if len(headers) > 0 {
		if err := json.Unmarshal(headers, &m.Headers); err != nil {
			return m, 0, fmt.Errorf("%w: headers of message %d: %w", ErrDamaged, seq, err)
		}
	}
	return m, size, nil
}

// close lets go of whatever is open.
func (f *file) close() error {
	var errs []error
	for _, s := range f.statements {
		errs = append(errs, s.Close())
	}
	if f.readers != nil {
		errs = append(errs, f.readers.Close())
	}
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
	}
	if f.writer != nil {
		errs = append(errs, f.writer.Close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}

// code is SQLite's primary result code, 0 for another error.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// noRoom reports whether an error says that the disk, a quota or a limit on the size of files left
// no room. SQLite calls only the first of these full; the others are errors of writing to it.
func noRoom(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_IOERR_WRITE || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE) {
		return true
	}
	return code(err) == sqlite3.SQLITE_FULL || noRoomOutside(err)
}

// explain adds the remedy to errors that an operator can do something about.
func explain(err error) error {
	if noRoom(err) {
		return fmt.Errorf("the disk is full, make room (or raise the quota, if that is what it is): %w", err)
	}
	switch code(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w (keep a copy of the file and of those beside it, then move them away to start with an empty one): %w", ErrDamaged, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("check the rights on the file and its folder: %w", err)
	}
	return err
}
