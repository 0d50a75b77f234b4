//nolint:contextcheck,sqlclosecheck // what is begun is finished, whoever waits; statements are closed with the writer
package local

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// rowsPerStatement is how many rows one INSERT writes: the cost of a statement spread over
	// many, while a rest is soon written one by one.
	rowsPerStatement = 50
	// groupJobs is the most calls that are committed together.
	groupJobs = 32
	// groupTime is for how long calls are taken into a commit: the first of them waits for it.
	groupTime = 200 * time.Millisecond
	// deleteRows is the most rows that one transaction deletes, so that inserts wait but shortly.
	deleteRows = 2000
)

// job is one call's work, done within a transaction that may hold others'.
type job struct {
	ctx  context.Context //nolint:containedctx // the call's own, looked at before it is begun
	work func(*writer) error
	// rejected is what work returned: an answer, such as a conflict, that leaves the transaction
	// whole.
	rejected error
	done     chan error
}

// answer is an error that is an answer to the caller and no failure of the transaction: the work
// has changed nothing.
type answer struct{ error }

func (a answer) Unwrap() error { return a.error }

// do has the writer do some work and waits until it is durable.
func (s *Store) do(ctx context.Context, doing string, work func(*writer) error) error {
	return s.doBy(ctx, s.jobs, doing, work)
}

// doBy hands the work to the writer by one of its two queues.
func (s *Store) doBy(ctx context.Context, jobs chan<- *job, doing string, work func(*writer) error) error {
	if s.readOnly {
		return fmt.Errorf("%s %s: %w", doing, s.path, ErrReadOnly)
	}
	j := &job{ctx: ctx, work: work, done: make(chan error, 1)}
	select {
	case <-s.closing:
		return fmt.Errorf("%s %s: %w", doing, s.path, ErrClosed)
	default:
	}
	select {
	case jobs <- j:
	case <-s.closing:
		return fmt.Errorf("%s %s: %w", doing, s.path, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", doing, s.path, ctx.Err())
	}
	settle := func(err error) error {
		var a answer
		switch {
		case err == nil:
			return nil
		case errors.As(err, &a):
			return a.error
		default:
			return s.explain(doing, err)
		}
	}
	select {
	case err := <-j.done:
		return settle(err)
	case <-s.finished:
		select {
		case err := <-j.done:
			return settle(err)
		default: // the job came in when the writer had gone
		}
		return fmt.Errorf("%s %s: %w", doing, s.path, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w; it may have been done", doing, s.path, ctx.Err())
	}
}

// writer owns the connection that writes.
type writer struct {
	store *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	args  []any
}

func newWriter(ctx context.Context, s *Store, conn *sql.Conn) (*writer, error) {
	w := &writer{store: s, conn: conn, stmts: map[string]*sql.Stmt{}}
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return nil, err
	}
	if mode != "wal" {
		return nil, fmt.Errorf("the file system allows no write-ahead log (journal mode %s): use a local disk", mode)
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	version, err := checkVersion(ctx, conn)
	if err == nil && version < schemaVersion {
		var sqls []string
		sqls, err = schema()
		for _, q := range sqls {
			if err == nil {
				err = w.exec(q)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.exec("ROLLBACK"))
	}
	if err := w.exec("COMMIT"); err != nil {
		return nil, err
	}
	return w, nil
}

// exec runs SQL that is used once. The writer's statements don't take a caller's context: what is
// begun is finished.
func (w *writer) exec(query string) error {
	_, err := w.conn.ExecContext(context.Background(), query)
	return err
}

// stmt returns the prepared statement of a query.
func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if s, ok := w.stmts[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.stmts[query] = s
	return s, nil
}

// change runs a prepared statement and returns how many rows it changed.
func (w *writer) change(query string, args ...any) (int, error) {
	s, err := w.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// run does jobs until the store is closed, several to a transaction when they queue up.
func (w *writer) run() {
	defer func() {
		for _, s := range w.stmts {
			_ = s.Close() // the connection goes next
		}
		_ = w.conn.Close() // back to the pool, whose Close reports errors
		close(w.store.finished)
	}()
	for {
		if j := w.next(); j != nil {
			w.group(j)
			continue
		}
		select {
		case j := <-w.store.urgent:
			w.group(j)
		case j := <-w.store.jobs:
			w.group(j)
		case <-w.store.closing:
			j := w.next()
			if j == nil {
				return
			}
			w.group(j)
		}
	}
}

// next is the job that is to be done next, urgent ones first, or nil when none waits.
func (w *writer) next() *job {
	select {
	case j := <-w.store.urgent:
		return j
	default:
	}
	select {
	case j := <-w.store.urgent:
		return j
	case j := <-w.store.jobs:
		return j
	default:
		return nil
	}
}

// group does a job and those that wait behind it in one transaction. If that fails, it fails for
// all of them: none is stored.
func (w *writer) group(first *job) {
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		first.done <- err
		return
	}
	var (
		done  []*job
		began = time.Now()
	)
	fail := func(err error) {
		// SQLite has rolled back by itself after some errors, and then this one fails.
		_ = w.exec("ROLLBACK")
		for _, j := range done {
			j.done <- err
		}
	}
	for j := first; j != nil; {
		done = append(done, j)
		j.rejected = j.ctx.Err()
		if j.rejected == nil {
			if err := j.work(w); err != nil {
				var a answer
				if !errors.As(err, &a) {
					fail(err)
					return
				}
				j.rejected = err
			}
		} else {
			j.rejected = answer{j.rejected}
		}
		j = nil
		if len(done) < groupJobs && time.Since(began) < groupTime {
			j = w.next()
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		fail(err)
		return
	}
	for _, j := range done {
		j.done <- j.rejected
	}
}

// touch writes a page, so that the commit has something to make durable.
func (w *writer) touch() error {
	if err := w.exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	return w.exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
}

func insertSQL(verb, table string, rows int) string {
	return verb + " INTO " + table + " (key, event, kind, channel, time, doc) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?,?,?,?,?,?),", rows), ",")
}

// Insert writes records in one transaction.
func (s *Store) Insert(ctx context.Context, records []record.Record) ([]store.Result, error) {
	results := make([]store.Result, len(records))
	entries := make([]entry, 0, len(records))
	index := make([]int, 0, len(records)) // entry to record
	for i := range records {
		if err := (store.Doc{ID: records[i].ID, Raw: records[i].Doc}).Validate(); err != nil {
			results[i] = store.Result{Outcome: store.Refused, Err: err}
			continue
		}
		entries = append(entries, entryOfRecord(&records[i]))
		index = append(index, i)
	}
	if len(entries) == 0 {
		return results, ctx.Err()
	}
	existed := make([]bool, len(entries))
	err := s.do(ctx, fmt.Sprintf("insert %d records into", len(entries)), func(w *writer) error {
		return w.insert(string(store.Records), entries, existed)
	})
	if err != nil {
		return nil, err
	}
	for i, was := range existed {
		if was {
			results[index[i]].Outcome = store.Existed
		}
	}
	return results, nil
}

// insert writes the entries that aren't there and marks the others.
func (w *writer) insert(table string, entries []entry, existed []bool) error {
	for len(entries) > 0 {
		n := 1
		if len(entries) >= rowsPerStatement {
			n = rowsPerStatement
		}
		if err := w.insertChunk(table, entries[:n], existed[:n]); err != nil {
			return err
		}
		entries, existed = entries[n:], existed[n:]
	}
	return nil
}

func (w *writer) insertChunk(table string, entries []entry, existed []bool) error {
	var last int64
	if len(entries) > 1 {
		top, err := w.stmt("SELECT coalesce(max(row), 0) FROM " + table)
		if err != nil {
			return err
		}
		if err := top.QueryRowContext(context.Background()).Scan(&last); err != nil {
			return err
		}
	}
	w.args = w.args[:0]
	for i := range entries {
		e := &entries[i]
		w.args = append(w.args, e.key[:], e.event, e.kind, e.channel, e.time, []byte(e.doc))
	}
	inserted, err := w.change(insertSQL("INSERT OR IGNORE", table, len(entries)), w.args...)
	clear(w.args) // don't hold on to the documents
	if err != nil || inserted == len(entries) {
		return err
	}
	if inserted == 0 {
		for i := range existed {
			existed[i] = true
		}
		return nil
	}
	// New rows got numbers above the last, which tells them from those that were there.
	fresh, err := w.keysAfter(table, last, inserted)
	if err != nil {
		return err
	}
	for i := range entries {
		if fresh[entries[i].key] {
			delete(fresh, entries[i].key) // its double in the same call has found it there
		} else {
			existed[i] = true
		}
	}
	return nil
}

// keysAfter returns the keys of the rows above a number.
func (w *writer) keysAfter(table string, last int64, n int) (map[[keySize]byte]bool, error) {
	query, err := w.stmt("SELECT key FROM " + table + " WHERE row > ?")
	if err != nil {
		return nil, err
	}
	rows, err := query.QueryContext(context.Background(), last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	keys := make(map[[keySize]byte]bool, n)
	for rows.Next() {
		var key sql.RawBytes
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		if len(key) != keySize {
			return nil, fmt.Errorf("a key of %d bytes in %s", len(key), table)
		}
		keys[[keySize]byte(key)] = true
	}
	return keys, rows.Err()
}

// put writes an entry, whatever is there.
func (w *writer) put(table string, e *entry) error {
	_, err := w.change(insertSQL("INSERT", table, 1)+` ON CONFLICT (key) DO UPDATE SET
		event = excluded.event, kind = excluded.kind, channel = excluded.channel, time = excluded.time,
		doc = excluded.doc`,
		e.key[:], e.event, e.kind, e.channel, e.time, []byte(e.doc))
	return err
}

// get reads a document by its key; nil where there is none.
func (w *writer) get(table, id string) ([]byte, error) {
	key := keyOf(id)
	s, err := w.stmt("SELECT doc FROM " + table + " WHERE key = ?")
	if err != nil {
		return nil, err
	}
	var doc []byte
	if err := s.QueryRowContext(context.Background(), key[:]).Scan(&doc); errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return doc, nil
}

// CompareAndSet reads and writes within one transaction.
func (s *Store) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	t, err := tableOf(c)
	if err != nil {
		return err
	}
	if err := d.ValidateRevision(rev); err != nil {
		return fmt.Errorf("write to %s: %w", c, err)
	}
	e := entryOfDoc(d)
	// Leases are kept by this: a leader must not lose its own behind a queue of inserts.
	return s.doBy(ctx, s.urgent, fmt.Sprintf("write %s of %s to", d.ID, c), func(w *writer) error {
		stored, err := w.get(t.name, d.ID)
		if err != nil {
			return err
		}
		if stored == nil && rev != 0 || stored != nil && (rev == 0 || !hasInt(stored, "rev", rev)) {
			return answer{fmt.Errorf("write %s of %s at revision %d: %w", d.ID, c, rev, store.ErrConflict)}
		}
		return w.put(t.name, &e)
	})
}

// Put writes documents in one transaction.
func (s *Store) Put(ctx context.Context, c store.Collection, docs []store.Doc) error {
	return s.putAll(ctx, c, docs, store.Doc.Validate, func(*writer, table, store.Doc) (bool, error) { return true, nil })
}

// PutFenced writes documents in one transaction.
func (s *Store) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	validate := func(d store.Doc) error { return d.ValidateEpoch(epoch) }
	fenced := 0
	err := s.putAll(ctx, c, docs, validate, func(w *writer, t table, d store.Doc) (bool, error) {
		stored, err := w.get(t.name, d.ID)
		if err != nil {
			return false, err
		}
		if e, ok := intOf(stored, "epoch"); ok && e > epoch {
			fenced++
			return false, nil
		}
		return true, nil
	})
	if err == nil && fenced > 0 {
		return fmt.Errorf("write %d documents to %s in epoch %d: %d of them: %w", len(docs), c, epoch, fenced, store.ErrFenced)
	}
	return err
}

// Replace compares and writes within one transaction.
func (s *Store) Replace(ctx context.Context, c store.Collection, changes []store.Change) error {
	docs, old := make([]store.Doc, len(changes)), make(map[string]bson.Raw, len(changes))
	for i, change := range changes {
		if err := change.Validate(); err != nil {
			return fmt.Errorf("write to %s: %w", c, err)
		}
		docs[i], old[change.ID] = store.Doc{ID: change.ID, Raw: change.New}, change.Old
	}
	others := 0
	err := s.putAll(ctx, c, docs, store.Doc.Validate, func(w *writer, t table, d store.Doc) (bool, error) {
		stored, err := w.get(t.name, d.ID)
		if err != nil || bytes.Equal(stored, old[d.ID]) {
			return err == nil, err
		}
		others++
		return false, nil
	})
	if err == nil && others > 0 {
		return fmt.Errorf("replace %d documents of %s: %d of them: %w", len(docs), c, others, store.ErrConflict)
	}
	return err
}

// putAll writes those documents for which may says so.
func (s *Store) putAll(ctx context.Context, c store.Collection, docs []store.Doc,
	validate func(store.Doc) error, may func(*writer, table, store.Doc) (bool, error),
) error {
	t, err := tableOf(c)
	if err != nil {
		return err
	}
	entries := make([]entry, len(docs))
	for i, d := range docs {
		if err := validate(d); err != nil {
			return fmt.Errorf("write to %s: %w", c, err)
		}
		entries[i] = entryOfDoc(d)
	}
	if len(docs) == 0 {
		return ctx.Err()
	}
	return s.do(ctx, fmt.Sprintf("write %d documents of %s to", len(docs), c), func(w *writer) error {
		for i, d := range docs {
			ok, err := may(w, t, d)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := w.put(t.name, &entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteIf reads and deletes within one transaction.
func (s *Store) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (bool, error) {
	t, err := tableOf(c)
	if err != nil {
		return false, err
	}
	deleted := false
	err = s.do(ctx, fmt.Sprintf("delete %s of %s from", id, c), func(w *writer) error {
		stored, err := w.get(t.name, id)
		if err != nil || !hasString(stored, field, value) {
			return err
		}
		key := keyOf(id)
		n, err := w.change("DELETE FROM "+t.name+" WHERE key = ?", key[:])
		deleted = n > 0
		return err
	})
	if err != nil {
		return false, err // the writer may still be at it: deleted is not ours yet
	}
	return deleted, nil
}

// Delete deletes in transactions of a bounded size.
func (s *Store) Delete(ctx context.Context, q store.Query) (int, error) {
	t, err := tableOf(q.Collection)
	if err != nil {
		return 0, err
	}
	p := planOf(t, q)
	where, args := p.sql()
	query := "DELETE FROM " + t.name + " WHERE row IN (SELECT row FROM " + p.from + where + fmt.Sprintf(" LIMIT %d)", deleteRows)
	total := 0
	for {
		n := 0
		err := s.do(ctx, fmt.Sprintf("delete %s from", q.Collection), func(w *writer) error {
			var err error
			n, err = w.change(query, args...)
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
		if n < deleteRows {
			return total, nil
		}
	}
}

func millis(t time.Time) int64 {
	// A bound within a millisecond is the next whole one: stored times have no fractions.
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
