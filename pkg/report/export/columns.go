package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
)

// The types of columns.
const (
	typeText    = "text"
	typeInteger = "integer" // 64 bits
	typeNumber  = "number"  // 64 bits of floating point
	typeBoolean = "boolean"
	typeTime    = "time" // UTC, milliseconds
	typeJSON    = "json" // an array or an object, as JSON text
)

// column is one column of a table. Its name is the path of the document's field, joined by "_".
type column struct {
	name string
	typ  string
	path string // as in the guide, joined by "."
}

// table is what one file, or one file a day, holds.
type table struct {
	name    string
	columns []column
	// by is the place of a top-level field's column, or of its first; within are those of the fields of
	// a nested document.
	root *node
	// daily says that there is one file for each day.
	daily bool
	// of are the names of the tables in the guide that describe its fields.
	of []string
}

// node is where the fields of a document go.
type node struct {
	column int // -1 for a document whose fields have columns of their own
	fields map[string]*node
}

// value is one cell; the zero value is an empty one.
type value struct {
	set  bool
	text string // of text and json
	i    int64  // of integers, booleans (0 or 1) and times (Unix milliseconds)
	f    float64
}

// newTable makes the table of a document type; extra are columns that no field is for.
func newTable(name string, daily bool, doc reflect.Type, extra ...column) *table {
	t := &table{name: name, daily: daily, root: &node{column: -1, fields: map[string]*node{}}}
	t.collect(doc, "", "", t.root)
	t.columns = append(t.columns, extra...)
	t.of = append(t.of, doc.Name())
	return t
}

func (t *table) collect(typ reflect.Type, prefix, path string, into *node) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("bson"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if slices.Contains(strings.Split(options, ","), "inline") {
			t.of = append(t.of, f.Type.Name())
			t.collect(f.Type, prefix, path, into)
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		n := &node{column: -1}
		if typ := columnType(inner); typ != "" {
			n.column = len(t.columns)
			t.columns = append(t.columns, column{name: strings.TrimPrefix(prefix+name, "_"), typ: typ, path: path + name})
		} else if inner.Kind() == reflect.Struct {
			n.fields = map[string]*node{}
			t.collect(inner, prefix+name+"_", path+name+".", n)
		} else {
			continue // bytes: sketches and the bodies of letters say nothing to a reader
		}
		into.fields[name] = n
	}
}

// columnType is the type of a column for a Go type; empty where it has none of its own.
func columnType(typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return typeTime
	case typ == reflect.TypeFor[[]byte]():
		return ""
	}
	switch typ.Kind() {
	case reflect.String:
		return typeText
	case reflect.Bool:
		return typeBoolean
	case reflect.Int, reflect.Int64:
		return typeInteger
	case reflect.Float64:
		return typeNumber
	case reflect.Slice, reflect.Map:
		return typeJSON
	default:
		return ""
	}
}

// tables are those of the kinds of records, and of the other collections that analysts read.
func tables() (kinds map[record.Kind]*table, rest map[store.Collection]*table, other *table) {
	kinds = map[record.Kind]*table{}
	for kind, doc := range map[record.Kind]reflect.Type{
		record.KindMessage: reflect.TypeFor[record.Message](), record.KindNotice: reflect.TypeFor[record.Notice](),
		record.KindModeration: reflect.TypeFor[record.Moderation](), record.KindRoomState: reflect.TypeFor[record.RoomState](),
		record.KindViewers: reflect.TypeFor[record.Viewers](), record.KindSession: reflect.TypeFor[record.Session](),
		record.KindChange: reflect.TypeFor[record.Change](), record.KindCoverage: reflect.TypeFor[record.Coverage](),
		record.KindDropped: reflect.TypeFor[record.Dropped](), record.KindDonation: reflect.TypeFor[record.Donation](),
		record.KindAmount: reflect.TypeFor[record.Amount](), record.KindAnswer: reflect.TypeFor[record.Answer](),
	} {
		kinds[kind] = newTable(string(kind), true, doc)
	}
	rest = map[store.Collection]*table{
		store.Minutes: newTable("minutes", true, reflect.TypeFor[record.Statistics]()),
		store.Hours:   newTable("hours", true, reflect.TypeFor[record.Statistics]()),
		store.Totals:  newTable("totals", false, reflect.TypeFor[record.Statistics]()),
		store.Events:  newTable("events", false, reflect.TypeFor[record.Event]()),

		store.Channels:    newTable("channels", false, reflect.TypeFor[record.Channel]()),
		store.Goals:       newTable("goals", false, reflect.TypeFor[record.Goal]()),
		store.Corrections: newTable("corrections", false, reflect.TypeFor[record.Correction]()),
	}
	// Kinds that a later version, or somebody else, has written.
	other = newTable(otherTable, true, reflect.TypeFor[record.Header](), column{name: "document", typ: typeJSON})
	return kinds, rest, other
}

// otherTable is the name of the table of kinds that have none of their own.
const otherTable = "other"

// whole puts a document into the last column.
func (t *table) whole(doc bson.Raw, row []value) error {
	text, err := record.JSON(doc)
	if err != nil {
		return fmt.Errorf("document %s: %w", doc.Lookup("_id"), err)
	}
	row[len(row)-1] = value{set: true, text: string(text)}
	return nil
}

// without takes out the columns of top-level fields.
func (t *table) without(fields ...string) {
	for _, name := range fields {
		if t.root == nil || t.root.fields[name] == nil || t.root.fields[name].column < 0 {
			continue
		}
		i := t.root.fields[name].column
		delete(t.root.fields, name)
		t.columns = slices.Delete(t.columns, i, i+1)
		t.root.shift(i)
	}
}

// shift moves what goes to columns behind one that was taken out.
func (n *node) shift(out int) {
	if n.column > out {
		n.column--
	}
	for _, f := range n.fields {
		f.shift(out)
	}
}

// row spreads a document over the columns of a table. What has another type than its column is left
// empty, as what is not there.
func (t *table) row(doc bson.Raw, into []value) ([]value, error) {
	into = slices.Grow(into[:0], len(t.columns))[:len(t.columns)]
	clear(into)
	if err := t.spread(bsoncore.Document(doc), t.root, into); err != nil {
		return nil, fmt.Errorf("document %s: %w", doc.Lookup("_id"), err)
	}
	return into, nil
}

func (t *table) spread(doc bsoncore.Document, n *node, into []value) error {
	elements, err := doc.Elements()
	if err != nil {
		return err
	}
	for _, e := range elements {
		f := n.fields[e.Key()]
		if f == nil {
			continue
		}
		v := e.Value()
		if f.fields != nil {
			if inner, ok := v.DocumentOK(); ok {
				if err := t.spread(inner, f, into); err != nil {
					return err
				}
			}
			continue
		}
		if into[f.column], err = cell(t.columns[f.column].typ, v); err != nil {
			return fmt.Errorf("field %s: %w", t.columns[f.column].path, err)
		}
	}
	return nil
}

// cell is a document's value as one of a column's type; empty where it is of another.
func cell(typ string, v bsoncore.Value) (value, error) {
	switch typ {
	case typeText:
		s, ok := v.StringValueOK()
		return value{set: ok, text: s}, nil
	case typeInteger:
		i, ok := v.AsInt64OK()
		return value{set: ok, i: i}, nil
	case typeNumber:
		f, ok := v.AsFloat64OK()
		return value{set: ok, f: f}, nil
	case typeBoolean:
		b, ok := v.BooleanOK()
		return value{set: ok, i: bit(b)}, nil
	case typeTime:
		// The zero time stands for none.
		ms, ok := v.DateTimeOK()
		return value{set: ok && ms != zeroTime, i: ms}, nil
	default:
		if v.Type != bsoncore.TypeArray && v.Type != bsoncore.TypeEmbeddedDocument {
			return value{}, nil
		}
		text, err := record.AppendJSON(nil, bson.RawValue{Type: bson.Type(v.Type), Value: v.Data})
		return value{set: true, text: string(text)}, err
	}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// zeroTime is time.Time's zero value in Unix milliseconds.
const zeroTime = -62135596800_000

// summaryTable is that of the statistics of the streamers and of the event: Value fields have a column
// for the number and one for its coverage, and where it is approximate one for its error.
func summaryTable() *table {
	t := &table{name: "summaries", of: []string{"Summary"}}
	t.summaryColumns(reflect.TypeFor[statistics.Summary]())
	main := func(name, typ string) {
		t.columns = append(t.columns, column{name: "donations_" + name, typ: typ, path: "donations_" + name})
	}
	main("source", typeText)
	main("currency", typeText)
	for _, name := range []string{"total", "corrected", "raised"} {
		main(name, typeInteger)
		t.columns = append(t.columns, column{name: "donations_" + name + "_coverage", typ: typeText, path: "donations_" + name + ".coverage"})
	}
	return t
}

func (t *table) summaryColumns(typ reflect.Type) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			t.summaryColumns(f.Type)
		case f.Type == reflect.TypeFor[statistics.Count](), f.Type == reflect.TypeFor[statistics.Measure]():
			number := typeInteger
			if f.Type == reflect.TypeFor[statistics.Measure]() {
				number = typeNumber
			}
			t.columns = append(t.columns, column{name: name, typ: number, path: name},
				column{name: name + "_coverage", typ: typeText, path: name + ".coverage"})
			if name == "chatters" {
				t.columns = append(t.columns, column{name: name + "_error", typ: typeNumber, path: name + ".error"})
			}
		default:
			t.columns = append(t.columns, column{name: name, typ: columnType(f.Type), path: name})
		}
	}
}

// summaryRow is a summary in the order of summaryTable's columns.
func summaryRow(s *statistics.Summary, into []value) ([]value, error) {
	into, err := summaryValues(reflect.ValueOf(s).Elem(), into[:0])
	if err != nil {
		return nil, err
	}
	d, ok := s.MainDonations()
	into = append(into, value{set: ok, text: d.Source}, value{set: ok, text: d.Currency})
	for _, n := range []statistics.Count{d.Total, d.Corrected, d.RaisedCorrected} {
		into = append(into, value{set: ok && n.Known(), i: n.N}, value{set: ok, text: n.Coverage})
	}
	return into, nil
}

func summaryValues(v reflect.Value, into []value) ([]value, error) {
	var err error
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i)
		switch x := f.Interface().(type) {
		case statistics.Count:
			into = append(into, value{set: x.Known(), i: x.N}, value{set: true, text: x.Coverage})
			into = withError(into, name, x.Error, x.Known())
		case statistics.Measure:
			into = append(into, value{set: x.Known(), f: x.N}, value{set: true, text: x.Coverage})
		case time.Time:
			into = append(into, value{set: !x.IsZero(), i: x.UnixMilli()})
		case string:
			into = append(into, value{set: x != "", text: x})
		case int:
			into = append(into, value{set: true, i: int64(x)})
		case bool:
			into = append(into, value{set: true, i: bit(x)})
		default:
			if name.Anonymous {
				if into, err = summaryValues(f, into); err != nil {
					return nil, err
				}
				continue
			}
			var text bytes.Buffer
			e := json.NewEncoder(&text)
			e.SetEscapeHTML(false)
			if err := e.Encode(x); err != nil {
				return nil, fmt.Errorf("summary: %s: %w", name.Name, err)
			}
			into = append(into, value{set: f.Len() > 0, text: strings.TrimSuffix(text.String(), "\n")})
		}
	}
	return into, nil
}

func withError(into []value, f reflect.StructField, e float64, known bool) []value {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == "chatters" {
		return append(into, value{set: known, f: e})
	}
	return into
}
