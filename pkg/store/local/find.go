package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// A page is what one read transaction reads: at most so many rows, and bytes but for its last
	// document.
	pageRows  = 1024
	pageBytes = 2 << 20
	// groupBytes bounds what is sorted at once of documents of the same time.
	groupBytes = 8 << 20
)

// plan is the part of a query's SQL that doesn't change from page to page.
type plan struct {
	table string
	from  string // the table and its index
	where []cond // of equality
	// lower and upper bound the time; nil for none.
	lower, upper *cond
	desc         bool
}

// cond is a condition and its arguments.
type cond struct {
	sql  string
	args []any
}

// sql puts the conditions together.
func (p plan) sql() (where string, args []any) {
	conds := p.where
	for _, c := range [...]*cond{p.lower, p.upper} {
		if c != nil {
			conds = append(slices.Clip(conds), *c)
		}
	}
	if len(conds) == 0 {
		return "", nil
	}
	sqls := make([]string, len(conds))
	for i, c := range conds {
		sqls[i] = c.sql
		args = append(args, c.args...)
	}
	return " WHERE " + strings.Join(sqls, " AND "), args
}

// after is the plan for what comes after a position. It takes the place of a bound of the time:
// with both, SQLite would begin at the bound, and read all that lies between again.
func (p plan) after(at position) plan {
	if p.desc {
		p.upper = &cond{"(time, row) < (?, ?)", []any{at.time, at.row}}
	} else {
		p.lower = &cond{"(time, row) > (?, ?)", []any{at.time, at.row}}
	}
	return p
}

// planOf chooses the index. SQLite has no statistics to choose by, and its guess is wrong for wide
// time ranges.
func planOf(t table, q store.Query) plan {
	p := plan{table: t.name, from: t.name, desc: q.Descending}
	given := map[string]string{"event": q.Event, "kind": string(q.Kind), "channel": q.Channel}
	for _, i := range t.indexes {
		if slices.ContainsFunc(i.columns, func(c string) bool { return given[c] == "" }) ||
			i.kinds != nil && (q.Channel != "" || !slices.Contains(i.kinds, q.Kind)) {
			continue
		}
		p.from, p.where = t.name+" INDEXED BY "+t.indexName(i.columns), nil // the later are the more specific
		if where := i.where(); where != "" {
			p.where = []cond{{sql: where}}
		}
	}
	for _, column := range [...]string{"event", "kind", "channel"} {
		if given[column] != "" {
			p.where = append(p.where, cond{column + " = ?", []any{given[column]}})
		}
	}
	if !q.From.IsZero() {
		p.lower = &cond{"time >= ?", []any{millis(q.From)}}
	} else if !q.To.IsZero() {
		p.lower = &cond{"time > ?", []any{int64(noTime)}}
	}
	if !q.To.IsZero() {
		p.upper = &cond{"time < ?", []any{millis(q.To)}}
	}
	return p
}

// position is where a page begins, itself left out.
type position struct{ time, row int64 }

// row is a document in a page.
type row struct {
	position
	id  string
	doc bson.Raw
}

// page reads the rows that come after a position (nil: from the start) by time and row number, at
// most limit, and reports whether there may be more.
func (s *Store) page(ctx context.Context, p plan, after *position, limit int) (rows []row, more bool, err error) {
	order := ""
	if p.desc {
		order = " DESC"
	}
	if after != nil {
		p = p.after(*after)
	}
	where, args := p.sql()
	query := "SELECT time, row, doc FROM " + p.from + where + //nolint:gosec // of constants; values are arguments
		" ORDER BY time" + order + ", row" + order + fmt.Sprintf(" LIMIT %d", limit)
	found, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	bytes := 0
	for found.Next() {
		var (
			r   row
			doc sql.RawBytes
		)
		if err := found.Scan(&r.time, &r.row, &doc); err != nil {
			return nil, false, err
		}
		r.doc = bson.Raw(slices.Clone(doc))
		rows = append(rows, r)
		if bytes += len(doc); bytes >= pageBytes {
			return rows, true, nil
		}
	}
	return rows, len(rows) == limit, found.Err()
}

// Find reads page by page: no transaction is open while the caller looks at a document. The index
// gives the order of time; documents of the same time are put into the order of their _id here, so
// that the index needs no room for it.
func (s *Store) Find(ctx context.Context, q store.Query) iter.Seq2[bson.Raw, error] {
	return func(yield func(bson.Raw, error) bool) {
		t, err := tableOf(q.Collection)
		if err != nil {
			yield(nil, err)
			return
		}
		f := finder{store: s, ctx: ctx, plan: planOf(t, q), left: math.MaxInt, yield: yield}
		if q.Limit > 0 {
			f.left = q.Limit
		}
		if err := f.run(); err != nil {
			yield(nil, s.explain(fmt.Sprintf("find %s in", q.Collection), err))
		}
	}
}

// finder is one Find under way.
type finder struct {
	store *Store
	ctx   context.Context //nolint:containedctx // it lives as long as the call
	plan  plan
	left  int // how many documents may still be yielded
	yield func(bson.Raw, error) bool
}

func (f *finder) run() error {
	var (
		after *position
		group []row // of the same time, not yet complete
		size  int   // its bytes
	)
	for {
		limit := pageRows
		if f.left < pageRows/2 {
			limit = f.left + 16 // some more, to see the end of the last group
		}
		rows, more, err := f.store.page(f.ctx, f.plan, after, limit)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(group) > 0 && group[0].time != r.time {
				if !f.emit(group) {
					return nil
				}
				group, size = group[:0], 0
			}
			group = append(group, r)
			size += len(r.doc)
		}
		if !more {
			f.emit(group)
			return nil
		}
		after = &rows[len(rows)-1].position
		if size > groupBytes {
			at := group[0].time
			if ok, err := f.emitLarge(at); !ok || err != nil {
				return err
			}
			group, size = group[:0], 0
			after = &position{time: at, row: math.MaxInt64}
			if f.plan.desc {
				after.row = 0
			}
		}
	}
}

// compare puts rows of the same time into order.
func (f *finder) compare(a, b row) int {
	if f.plan.desc {
		return strings.Compare(b.id, a.id)
	}
	return strings.Compare(a.id, b.id)
}

// emit yields a group that is complete, and reports whether to go on.
func (f *finder) emit(group []row) bool {
	if len(group) > 1 {
		for i := range group {
			group[i].id = store.DocID(group[i].doc)
		}
		slices.SortFunc(group, f.compare)
	}
	for i := range group {
		if f.left == 0 || !f.yield(group[i].doc, nil) {
			return false
		}
		f.left--
	}
	return f.left > 0
}

// emitLarge yields all documents of one time where they are too many to sort at once: it goes over
// them as often as needed, each time for those that come next.
func (f *finder) emitLarge(at int64) (bool, error) {
	p := f.plan
	// As a bound and not as an equality, so that a page can begin within it.
	p.lower, p.upper = &cond{"time >= ?", []any{at}}, &cond{"time <= ?", []any{at}}
	var last row
	for first := true; ; first = false {
		var (
			next  []row
			size  int
			after *position
			// ceiling is set when some were left for the next pass: none above it belongs to this.
			ceiling *row
		)
		for more := true; more; {
			rows, m, err := f.store.page(f.ctx, p, after, pageRows)
			if err != nil {
				return false, err
			}
			for _, r := range rows {
				r.id = store.DocID(r.doc)
				if !first && f.compare(r, last) <= 0 || ceiling != nil && f.compare(r, *ceiling) > 0 {
					continue
				}
				next = append(next, r)
				size += len(r.doc)
			}
			if size > 2*groupBytes {
				slices.SortFunc(next, f.compare)
				keep := 0
				for size = 0; keep < len(next) && size <= groupBytes; keep++ {
					size += len(next[keep].doc)
				}
				clear(next[keep:])
				next = next[:keep]
				ceiling = &row{id: next[keep-1].id}
			}
			if more = m; more {
				after = &rows[len(rows)-1].position
			}
		}
		if len(next) == 0 {
			return true, nil
		}
		slices.SortFunc(next, f.compare)
		last = next[len(next)-1]
		if !f.emit(next) {
			return false, nil
		}
		if ceiling == nil {
			return true, nil
		}
	}
}

// Get reads one document.
func (s *Store) Get(ctx context.Context, c store.Collection, id string) (bson.Raw, error) {
	t, err := tableOf(c)
	if err != nil {
		return nil, err
	}
	key := keyOf(id)
	var doc []byte
	err = s.read.QueryRowContext(ctx, "SELECT doc FROM "+t.name+" WHERE key = ?", key[:]).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("get %s of %s: %w", id, c, store.ErrNotFound)
	}
	if err != nil {
		return nil, s.explain(fmt.Sprintf("get %s of %s from", id, c), err)
	}
	return doc, nil
}

// Count counts by the index.
func (s *Store) Count(ctx context.Context, q store.Query) (int, error) {
	t, err := tableOf(q.Collection)
	if err != nil {
		return 0, err
	}
	p := planOf(t, q)
	where, args := p.sql()
	query := "SELECT count(*) FROM " + p.from + where
	if q.Limit > 0 {
		query = "SELECT count(*) FROM (SELECT 1 FROM " + p.from + where + fmt.Sprintf(" LIMIT %d)", q.Limit)
	}
	n := 0
	if err := s.read.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, s.explain(fmt.Sprintf("count %s in", q.Collection), err)
	}
	return n, nil
}

func intOf(doc bson.Raw, field string) (int64, bool) {
	if doc == nil {
		return 0, false
	}
	return doc.Lookup(field).AsInt64OK()
}

func hasInt(doc bson.Raw, field string, want int64) bool {
	got, ok := intOf(doc, field)
	return ok && got == want
}

func hasString(doc bson.Raw, field, want string) bool {
	if doc == nil {
		return false
	}
	got, ok := doc.Lookup(field).StringValueOK()
	return ok && got == want
}
