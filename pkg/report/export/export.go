// Package export writes what is stored of an event into files that other tools read: CSV, JSON lines
// or Parquet, a table for each kind of record and for the statistics, in a file for each day.
//
// Documents are streamed: memory does not grow with the event. Chatters and donors are pseudonyms in
// the files as they are in the store.
package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
)

// The files beside the tables.
const (
	manifestFile   = "export.json"
	sumsFile       = "SHA256SUMS"
	dictionaryFile = "dictionary.csv"
)

// ErrOccupied is wrapped by errors about a folder that holds something else already.
var ErrOccupied = errors.New("the folder is not empty")

// Options say what is exported, and where to.
type Options struct {
	// Store is read only. Required.
	Store store.Store
	// Event is its slug. Default: the only one in the store.
	Event string
	// Dir takes the files; it is made where it isn't there. Required.
	Dir string
	// Format is CSV, JSONL or Parquet. Required.
	Format string
	// Tables are the names of those to write, see Tables. Default: all.
	Tables []string
	// From and To bound what has a time: [From, To). Default: everything that is stored.
	From, To time.Time
	// NoText leaves out what people wrote and what charity sources answered (the columns text, raw
	// and body).
	NoText bool
	// Replace deletes an earlier export in the folder first. Default: it is an error.
	Replace bool
	// Version is the program's, for the manifest.
	Version string
	// Progress is told now and then how many rows are written, and up to which time the records are.
	// Default: nobody is.
	Progress func(rows int64, through time.Time)
}

// Manifest is what export.json says of an export.
type Manifest struct {
	Event   string `json:"event"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Format  string `json:"format"`
	Version string `json:"version"`
	// TimeZone is what the days of the files go by.
	TimeZone string    `json:"time_zone"`
	From     time.Time `json:"from,omitzero"`
	To       time.Time `json:"to,omitzero"`
	// Through is the start of the last closed minute when it was made.
	Through time.Time `json:"through,omitzero"`
	Made    time.Time `json:"made"`
	// Complete is false while an export is being written, and after one that was interrupted.
	Complete bool  `json:"complete"`
	NoText   bool  `json:"no_text"`
	Rows     int64 `json:"rows"`
	Bytes    int64 `json:"bytes"`
	// Files are by name.
	Files []File `json:"files"`
}

// File is one file of an export.
type File struct {
	// Name is relative to the folder, with slashes.
	Name   string `json:"name"`
	Table  string `json:"table"`
	Day    string `json:"day,omitempty"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Tables are the names of all tables.
func Tables() []string {
	kinds, rest, other := tables()
	names := []string{other.name, summaryTable().name}
	for _, t := range kinds {
		names = append(names, t.name)
	}
	for _, t := range rest {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}

// Write exports an event. What it writes is complete when it returns nil; a file has its name only when
// it is whole, and the manifest says so when all are. It can be called again after an error.
func Write(ctx context.Context, opts Options) (Manifest, error) {
	if err := opts.check(); err != nil {
		return Manifest{}, err
	}
	r, err := statistics.Open(ctx, opts.Store, opts.Event)
	if err != nil {
		return Manifest{}, err
	}
	e := r.Event()
	x := &exporter{
		opts: opts, reader: r, event: e, zone: r.Location(),
		manifest: Manifest{
			Event: e.Slug, Name: e.Name, State: e.State, Format: opts.Format, Version: opts.Version, TimeZone: e.TimeZone,
			From: opts.From, To: opts.To, Through: r.Through(), Made: time.Now().UTC().Truncate(time.Second), NoText: opts.NoText,
		},
	}
	if err := x.clear(); err != nil {
		return Manifest{}, err
	}
	if err := x.run(ctx); err != nil {
		return Manifest{}, fmt.Errorf("export event %s: %w", e.Slug, err)
	}
	return x.manifest, nil
}

func (o *Options) check() error {
	if !slices.Contains(Formats(), o.Format) {
		return fmt.Errorf("format %q: use %s", o.Format, strings.Join(Formats(), ", "))
	}
	for _, t := range o.Tables {
		if err := CheckTable(t); err != nil {
			return err
		}
	}
	if !o.To.IsZero() && !o.From.Before(o.To) {
		return fmt.Errorf("from %s to %s: the end must be later", o.From.Format(time.RFC3339), o.To.Format(time.RFC3339))
	}
	return nil
}

type exporter struct {
	opts   Options
	reader *statistics.Reader
	event  record.Event
	zone   *time.Location

	mu       sync.Mutex // guards what follows
	manifest Manifest
	rows     int64
	through  time.Time
}

// clear makes the folder, and takes an earlier export out of it.
func (x *exporter) clear() error {
	dir := x.opts.Dir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the folder: %w; name another with --out", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("look into the folder: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%w: %s holds %s, which is no export; name a new folder", ErrOccupied, dir, entries[0].Name())
		}
		return x.sign()
	}
	var old Manifest
	if err == nil {
		err = json.Unmarshal(raw, &old)
	}
	if err != nil {
		return fmt.Errorf("read the export in the folder: %w", err)
	}
	if old.Complete && !x.opts.Replace {
		return fmt.Errorf("%w: %s holds an export of %s of %s; name a new folder, or replace it",
			ErrOccupied, dir, old.Event, old.Made.Format(time.RFC3339))
	}
	names := []string{sumsFile, dictionaryFile}
	for _, f := range old.Files {
		names = append(names, f.Name)
	}
	for _, name := range names {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("%s names the file %q, which is outside of the folder", manifestFile, name)
		}
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete the earlier export: %w", err)
		}
	}
	return x.sign()
}

// sign writes the manifest as it is.
func (x *exporter) sign() error {
	text, err := json.MarshalIndent(&x.manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	return x.small(manifestFile, append(text, '\n'))
}

// small writes a file at once, whole or not at all.
func (x *exporter) small(name string, content []byte) error {
	path := filepath.Join(x.opts.Dir, name)
	if err := os.WriteFile(path+partial, content, 0o640); err != nil { //nolint:gosec // as readable as the tables
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(path+partial, path); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// partial ends the name of a file that is being written.
const partial = ".partial"

func (x *exporter) wants(t *table) bool {
	return len(x.opts.Tables) == 0 || slices.Contains(x.opts.Tables, t.name)
}

// run writes the tables, two of the passes at the same time.
func (x *exporter) run(ctx context.Context) error {
	kinds, rest, other := tables()
	summaries := summaryTable()
	written := []*table{summaries, other}
	for _, t := range kinds {
		written = append(written, t)
	}
	for _, t := range rest {
		written = append(written, t)
	}
	written = slices.DeleteFunc(written, func(t *table) bool { return !x.wants(t) })
	if x.opts.NoText {
		for _, t := range written {
			t.without("text", "raw", "body")
		}
	}

	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	if slices.ContainsFunc(written, func(t *table) bool { return t == other || kinds[record.Kind(t.name)] == t }) {
		g.Go(func() error {
			return x.pass(ctx, store.Records, func(doc bson.Raw) *table {
				kind, _ := doc.Lookup("kind").StringValueOK()
				t := kinds[record.Kind(kind)]
				if t == nil {
					t = other
				}
				return t
			})
		})
	}
	for _, c := range []store.Collection{
		store.Minutes, store.Hours, store.Totals, store.Events, store.Channels, store.Goals, store.Corrections,
	} {
		if t := rest[c]; x.wants(t) {
			g.Go(func() error { return x.pass(ctx, c, func(bson.Raw) *table { return t }) })
		}
	}
	if x.wants(summaries) {
		g.Go(func() error { return x.summaries(ctx, summaries) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return x.finish(written)
}

// pass writes all documents of a collection, each into the table that it belongs to.
func (x *exporter) pass(ctx context.Context, c store.Collection, of func(bson.Raw) *table) (err error) {
	files := map[*table]*file{}
	defer func() {
		for _, f := range files {
			err = errors.Join(err, x.close(f, err == nil))
		}
	}()
	var row []value
	n := 0
	for doc, err := range x.documents(ctx, c) {
		if err != nil {
			return fmt.Errorf("read %s: %w", c, err)
		}
		t := of(doc)
		if !x.wants(t) {
			continue
		}
		day, at := "", time.Time{}
		if t.daily {
			ms, ok := doc.Lookup("time").DateTimeOK()
			if !ok {
				return fmt.Errorf("%s: document %s has no time", c, doc.Lookup("_id"))
			}
			at = time.UnixMilli(ms)
			day = at.In(x.zone).Format(time.DateOnly)
		}
		f := files[t]
		if f == nil || f.Day != day {
			if f != nil {
				delete(files, t)
				if err := x.close(f, true); err != nil {
					return err
				}
			}
			if f, err = x.create(t, day); err != nil {
				return err
			}
			files[t] = f
		}
		if row, err = t.row(doc, row); err != nil {
			return err
		}
		if t.name == otherTable {
			if err := t.whole(doc, row); err != nil {
				return err
			}
		}
		if err := f.put(row); err != nil {
			return err
		}
		if n++; n%tellEvery == 0 {
			x.tell(tellEvery, c == store.Records, at)
		}
	}
	x.tell(int64(n%tellEvery), false, time.Time{})
	return nil
}

// tellEvery is after how many rows progress is told.
const tellEvery = 5000

func (x *exporter) tell(rows int64, records bool, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows += rows
	if records {
		x.through = at
	}
	if x.opts.Progress != nil {
		x.opts.Progress(x.rows, x.through)
	}
}

// documents are those of the event in a collection, by time where they have one.
func (x *exporter) documents(ctx context.Context, c store.Collection) iter.Seq2[bson.Raw, error] {
	if c == store.Events {
		return func(yield func(bson.Raw, error) bool) { yield(x.opts.Store.Get(ctx, c, x.event.Slug)) }
	}
	q := store.Query{Collection: c, Event: x.event.Slug}
	switch c {
	case store.Records, store.Minutes, store.Hours:
		q.From, q.To = x.opts.From, x.opts.To
	default: // they are of the event as a whole
	}
	return x.opts.Store.Find(ctx, q)
}

func (x *exporter) summaries(ctx context.Context, t *table) (err error) {
	rg := x.reader.Whole()
	if !x.opts.From.IsZero() {
		rg.From = x.opts.From
	}
	if !x.opts.To.IsZero() {
		rg.To = x.opts.To
	}
	if _, err := x.reader.Raids(ctx); err != nil {
		return err
	}
	event, err := x.reader.Summary(ctx, record.AllChannels, rg)
	if err != nil {
		return err
	}
	list, err := x.reader.Summaries(ctx, rg)
	if err != nil {
		return err
	}
	f, err := x.create(t, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close(f, err == nil)) }()
	var row []value
	for _, s := range append([]statistics.Summary{event}, list...) {
		if row, err = summaryRow(&s, row); err != nil {
			return err
		}
		if err := f.put(row); err != nil {
			return err
		}
	}
	x.tell(int64(len(list)+1), false, time.Time{})
	return nil
}

// finish writes what describes the files.
func (x *exporter) finish(written []*table) error {
	dictionary, err := dictionaryOf(written)
	if err != nil {
		return err
	}
	if err := x.small(dictionaryFile, dictionary); err != nil {
		return err
	}
	m := &x.manifest
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var sums strings.Builder
	for _, f := range m.Files {
		m.Rows += f.Rows
		m.Bytes += f.Bytes
		fmt.Fprintf(&sums, "%s  %s\n", f.SHA256, f.Name)
	}
	sum := sha256.Sum256(dictionary)
	fmt.Fprintf(&sums, "%x  %s\n", sum, dictionaryFile)
	if err := x.small(sumsFile, []byte(sums.String())); err != nil {
		return err
	}
	m.Complete = true
	return x.sign()
}

// file is a table's file that is being written.
type file struct {
	File
	f    *os.File
	path string
	hash hash.Hash
	n    counter
	sink sink
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func (x *exporter) create(t *table, day string) (*file, error) {
	name := t.name + "." + x.opts.Format
	if day != "" {
		name = t.name + "/day=" + day + "/" + name
	}
	f := &file{File: File{Name: name, Table: t.name, Day: day}, path: filepath.Join(x.opts.Dir, filepath.FromSlash(name)), hash: sha256.New()}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", name, err)
	}
	var err error
	if f.f, err = os.OpenFile(f.path+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640); err != nil { //nolint:gosec // the folder is the caller's
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	if f.sink, err = newSink(x.opts.Format, t, io.MultiWriter(f.f, f.hash, &f.n)); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), f.f.Close())
	}
	return f, nil
}

func (f *file) put(row []value) error {
	if err := f.sink.write(row); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	f.Rows++
	return nil
}

// close ends a file; where it is whole it gets its name, else it is deleted.
func (x *exporter) close(f *file, whole bool) error {
	var err error
	if whole {
		err = f.sink.finish()
	}
	if err = errors.Join(err, f.f.Close()); err == nil && whole {
		err = os.Rename(f.path+partial, f.path)
	}
	if err != nil || !whole {
		if rm := os.Remove(f.path + partial); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	if !whole {
		return nil
	}
	f.Bytes, f.SHA256 = int64(f.n), hex.EncodeToString(f.hash.Sum(nil))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.manifest.Files = append(x.manifest.Files, f.File)
	return nil
}

// CheckTable reports whether there is a table of that name; the error lists those that there are.
func CheckTable(name string) error {
	if all := Tables(); !slices.Contains(all, name) {
		return fmt.Errorf("there is no table %q: use %s", name, strings.Join(all, ", "))
	}
	return nil
}
