package export_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/report/export"
	"github.com/tungstene/tungstene/pkg/sample"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// sampled is a store with a small sample event, of two days in the event's time zone, and a record of a
// kind that nobody knows.
func sampled(t *testing.T) store.Store {
	t.Helper()
	s, err := local.Open(filepath.Join(t.TempDir(), "store.db"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := sample.Fill(t.Context(), s, sample.Config{Channels: 4, Hours: 8, Messages: 1500}, false, nil); err != nil {
		t.Fatal(err)
	}
	at := sample.Start().Add(time.Hour)
	doc, err := bson.Marshal(bson.D{
		{Key: "_id", Value: "sample/raffle/1"},
		{Key: "kind", Value: "raffle"},
		{Key: "event", Value: "sample"},
		{Key: "channel", Value: "1"},
		{Key: "time", Value: at},
		{Key: "received", Value: at},
		{Key: "prize", Value: bson.A{"a", int32(2)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(t.Context(), []record.Record{r}); err != nil {
		t.Fatal(err)
	}
	return s
}

// rows are the rows of a table in all of its files, cells as text; what is empty is left out.
func rows(t *testing.T, dir string, m export.Manifest, table string) []map[string]string {
	t.Helper()
	var out []map[string]string
	for _, f := range m.Files {
		if f.Table != table {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		var got []map[string]string
		switch m.Format {
		case export.CSV:
			got = csvRows(t, path)
		case export.JSONL:
			got = jsonRows(t, path)
		default:
			got = parquetRows(t, path)
		}
		if int64(len(got)) != f.Rows {
			t.Errorf("%s has %d rows, the manifest says %d", f.Name, len(got), f.Rows)
		}
		out = append(out, got...)
	}
	return out
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func csvRows(t *testing.T, path string) (out []map[string]string) {
	t.Helper()
	all, err := csv.NewReader(open(t, path)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, c := range cells {
			if c != "" {
				row[all[0][i]] = c
			}
		}
		out = append(out, row)
	}
	return out
}

func jsonRows(t *testing.T, path string) (out []map[string]string) {
	t.Helper()
	lines := bufio.NewScanner(open(t, path))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var cells map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &cells); err != nil {
			t.Fatal(err)
		}
		row := map[string]string{}
		for name, c := range cells {
			var s string
			var f float64
			if json.Unmarshal(c, &s) != nil {
				s = string(c)
				if strings.Contains(s, "e") && json.Unmarshal(c, &f) == nil {
					s = strconv.FormatFloat(f, 'f', -1, 64) // JSON may have an exponent, CSV has none
				}
			}
			if s != "" {
				row[name] = s
			}
		}
		out = append(out, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func parquetRows(t *testing.T, path string) (out []map[string]string) {
	t.Helper()
	f := open(t, path)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	fields := file.Schema().Fields()
	r := parquet.NewReader(file)
	defer r.Close()
	buffer := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(buffer)
		for _, cells := range buffer[:n] {
			row := map[string]string{}
			for i, v := range cells {
				if s := parquetText(fields[i], v); s != "" {
					row[fields[i].Name()] = s
				}
			}
			out = append(out, row)
		}
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func parquetText(f parquet.Field, v parquet.Value) string {
	switch {
	case v.IsNull():
		return ""
	case f.Type().LogicalType() != nil && strings.HasPrefix(f.Type().String(), "TIMESTAMP"):
		return time.UnixMilli(v.Int64()).UTC().Format(record.JSONTime)
	case v.Kind() == parquet.Int64:
		return strconv.FormatInt(v.Int64(), 10)
	case v.Kind() == parquet.Double:
		return strconv.FormatFloat(v.Double(), 'f', -1, 64)
	case v.Kind() == parquet.Boolean:
		return strconv.FormatBool(v.Boolean())
	default:
		return string(v.ByteArray())
	}
}

// Every document is in its table once, with the same cells in every format, in the file of its day, and
// the checksums are those of the files.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string][]map[string]string{}
	for _, format := range export.Formats() {
		dir := filepath.Join(t.TempDir(), "out")
		m, err := export.Write(t.Context(), export.Options{Store: s, Dir: dir, Format: format, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		checkSums(t, dir, m)
		got[format] = map[string][]map[string]string{}
		for _, table := range export.Tables() {
			got[format][table] = rows(t, dir, m, table)
		}
		days := map[string]bool{}
		for _, f := range m.Files {
			if f.Day == "" {
				continue
			}
			days[f.Day] = true
			for _, row := range rows(t, dir, export.Manifest{Format: m.Format, Files: []export.File{f}}, f.Table) {
				at, err := time.Parse(record.JSONTime, row["time"])
				if err != nil || at.In(paris).Format(time.DateOnly) != f.Day {
					t.Fatalf("%s has a row of %s (%v)", f.Name, row["time"], err)
				}
			}
		}
		if !days["2026-09-04"] || !days["2026-09-05"] {
			t.Errorf("the days are %v", days)
		}
	}
	for table, want := range got[export.CSV] {
		for _, format := range []string{export.JSONL, export.Parquet} {
			have := got[format][table]
			if len(have) != len(want) {
				t.Fatalf("%s has %d rows in %s, %d in csv", table, len(have), format, len(want))
			}
			for i := range want {
				if fmt.Sprint(have[i]) != fmt.Sprint(want[i]) {
					t.Fatalf("row %d of %s is\n%v in %s\n%v in csv", i, table, have[i], format, want[i])
				}
			}
		}
	}
	checkComplete(t, s, got[export.CSV])
}

// What a Parquet file gathers in memory is bounded by bytes too: a day of answers is gigabytes.
func TestParquetRowGroups(t *testing.T) {
	t.Parallel()
	const answers, each = 24, 1 << 20
	s := sampled(t)
	for i := range answers {
		at := sample.Start().Add(time.Duration(i) * time.Minute)
		r, err := record.Encode(&record.Answer{
			Header: record.Header{Event: "sample", Time: at, Received: at}, Source: "big", Request: "/", Status: 200,
			Bytes: each, Hash: strconv.Itoa(i), Body: strings.Repeat(strconv.Itoa(i%10), each),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Insert(t.Context(), []record.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "out")
	m, err := export.Write(t.Context(), export.Options{Store: s, Dir: dir, Format: export.Parquet, Tables: []string{"answer"}})
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, filepath.FromSlash(m.Files[0].Name)))
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Metadata().RowGroups {
		if g.NumRows > 16 {
			t.Errorf("a row group of %d rows in %d", g.NumRows, g.TotalByteSize)
		}
	}
	big := 0
	for _, row := range rows(t, dir, m, "answer") {
		if row["source"] == "big" && len(row["body"]) == each {
			big++
		}
	}
	if big != answers {
		t.Errorf("%d answers of %d", big, answers)
	}
}

func checkSums(t *testing.T, dir string, m export.Manifest) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"SHA256SUMS": true, "export.json": true}
	for line := range strings.Lines(string(raw)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if have := sha256.Sum256(content); hex.EncodeToString(have[:]) != sum {
			t.Errorf("the sum of %s is wrong", name)
		}
		listed[name] = true
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err == nil && !d.IsDir() && !listed[filepath.ToSlash(name)] {
			t.Errorf("%s is in no list", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !m.Complete {
		t.Error("it does not say that it is complete")
	}
}

func checkComplete(t *testing.T, s store.Store, tables map[string][]map[string]string) {
	t.Helper()
	ids := map[string]bool{}
	for _, list := range tables {
		for _, row := range list {
			ids[row["id"]] = true
		}
	}
	for doc, err := range s.Find(t.Context(), store.Query{Collection: store.Records, Event: "sample"}) {
		if err != nil {
			t.Fatal(err)
		}
		if id := doc.Lookup("_id").StringValue(); !ids[id] {
			t.Fatalf("%s is in no table", id)
		}
	}
	for c, table := range map[store.Collection]string{
		store.Minutes: "minutes", store.Hours: "hours", store.Totals: "totals", store.Goals: "goals", store.Channels: "channels",
	} {
		n, err := s.Count(t.Context(), store.Query{Collection: c, Event: "sample"})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || n != len(tables[table]) {
			t.Errorf("%d rows of %d %s", len(tables[table]), n, c)
		}
	}
	other := tables["other"]
	if len(other) != 1 || !strings.Contains(other[0]["document"], `"prize":["a",2]`) {
		t.Errorf("of kinds that are not known: %v", other)
	}
	if len(tables["summaries"]) != 5 || tables["summaries"][0]["channel"] != record.AllChannels || tables["summaries"][0]["messages"] != "1500" {
		t.Errorf("summaries: %v", tables["summaries"])
	}
}

func TestWithoutText(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	dir := t.TempDir()
	m, err := export.Write(t.Context(), export.Options{Store: s, Dir: dir, Format: export.CSV, NoText: true})
	if err != nil {
		t.Fatal(err)
	}
	lengths := 0
	for _, table := range []string{"message", "notice", "donation", "answer"} {
		list := rows(t, dir, m, table)
		if len(list) == 0 {
			t.Errorf("no %s", table)
		}
		for _, row := range list {
			if row["text"] != "" || row["raw"] != "" || row["body"] != "" {
				t.Fatalf("%v", row)
			}
			if row["length"] != "" {
				lengths++
			}
		}
	}
	if lengths == 0 {
		t.Error("the lengths are gone too")
	}
}

func TestTablesAndSpan(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	dir := t.TempDir()
	from, to := sample.Start().Add(time.Hour), sample.Start().Add(2*time.Hour)
	m, err := export.Write(t.Context(), export.Options{
		Store: s, Dir: dir, Format: export.JSONL, Tables: []string{"message", "minutes"}, From: from, To: to,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if f.Table != "message" && f.Table != "minutes" {
			t.Errorf("%s was not asked for", f.Name)
		}
	}
	for _, table := range []string{"message", "minutes"} {
		list := rows(t, dir, m, table)
		for _, row := range list {
			if at, err := time.Parse(record.JSONTime, row["time"]); err != nil || at.Before(from) || !at.Before(to) {
				t.Fatalf("%s: a row of %s", table, row["time"])
			}
		}
		if len(list) == 0 {
			t.Errorf("no %s", table)
		}
	}
}

// A folder that holds something is not written over, an export only when that is said.
func TestOccupied(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	opts := export.Options{Store: s, Dir: t.TempDir(), Format: export.CSV, Tables: []string{"totals"}}
	if _, err := export.Write(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Write(t.Context(), opts); !errors.Is(err, export.ErrOccupied) {
		t.Errorf("a second export into the folder: %v", err)
	}
	opts.Replace, opts.Format = true, export.JSONL
	if _, err := export.Write(t.Context(), opts); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, "totals.csv")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the earlier export is still there: %v", err)
	}
	opts.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(opts.Dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Write(t.Context(), opts); !errors.Is(err, export.ErrOccupied) {
		t.Errorf("an export into somebody's folder: %v", err)
	}
}

// An export that is interrupted leaves whole files only, does not say that it is complete, and can be
// done again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	opts := export.Options{Store: s, Dir: t.TempDir(), Format: export.Parquet}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	opts.Progress = func(int64, time.Time) { once.Do(cancel) }
	if _, err := export.Write(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	var names []string
	err := filepath.WalkDir(opts.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".partial") }) {
		t.Errorf("%v (%v)", names, err)
	}
	opts.Progress = nil
	m, err := export.Write(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, opts.Dir, m)
}

func TestWrongOptions(t *testing.T) {
	t.Parallel()
	s := sampled(t)
	for name, opts := range map[string]export.Options{
		`format "xlsx": use csv, jsonl, parquet`: {Format: "xlsx"},
		`there is no table "chat": use amount`:   {Format: export.CSV, Tables: []string{"chat"}},
		"the end must be later":                  {Format: export.CSV, From: sample.Start(), To: sample.Start()},
		"unknown":                                {Format: export.CSV, Event: "other"},
	} {
		opts.Store, opts.Dir = s, t.TempDir()
		if _, err := export.Write(t.Context(), opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}
