package export

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/tungstene/tungstene/pkg/record"
)

// The formats.
const (
	CSV     = "csv"     // RFC 4180 with a header line, UTF-8; what is not known is empty
	JSONL   = "jsonl"   // one JSON object a line, without what is not known
	Parquet = "parquet" // zstd
)

// Formats lists them.
func Formats() []string { return []string{CSV, JSONL, Parquet} }

// sink takes the rows of one file. finish writes what is left; it does not close what is beneath.
type sink interface {
	write(row []value) error
	finish() error
}

func newSink(format string, t *table, w io.Writer) (sink, error) {
	switch format {
	case CSV:
		s := &csvSink{w: csv.NewWriter(w), columns: t.columns, cells: make([]string, len(t.columns))}
		for i, c := range t.columns {
			s.cells[i] = c.name
		}
		return s, s.w.Write(s.cells)
	case JSONL:
		return newJSONSink(t, w), nil
	default:
		return newParquetSink(t, w), nil
	}
}

type csvSink struct {
	w       *csv.Writer
	columns []column
	cells   []string
}

func (s *csvSink) write(row []value) error {
	for i, v := range row {
		s.cells[i] = ""
		if !v.set {
			continue
		}
		switch s.columns[i].typ {
		case typeInteger:
			s.cells[i] = strconv.FormatInt(v.i, 10)
		case typeNumber:
			s.cells[i] = strconv.FormatFloat(v.f, 'f', -1, 64)
		case typeBoolean:
			s.cells[i] = strconv.FormatBool(v.i == 1)
		case typeTime:
			s.cells[i] = time.UnixMilli(v.i).UTC().Format(record.JSONTime)
		default:
			s.cells[i] = v.text
		}
	}
	return s.w.Write(s.cells)
}

func (s *csvSink) finish() error {
	s.w.Flush()
	return s.w.Error()
}

type jsonSink struct {
	w       *bufio.Writer
	columns []column
	names   []string // as JSON, with the colon
	line    []byte
}

func newJSONSink(t *table, w io.Writer) *jsonSink {
	s := &jsonSink{w: bufio.NewWriterSize(w, 1<<16), columns: t.columns, names: make([]string, len(t.columns))}
	for i, c := range t.columns {
		s.names[i] = string(append(record.AppendJSONText(nil, c.name), ':'))
	}
	return s
}

func (s *jsonSink) write(row []value) error {
	b := s.line[:0]
	b = append(b, '{')
	for i, v := range row {
		if !v.set {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, s.names[i]...)
		switch s.columns[i].typ {
		case typeInteger:
			b = strconv.AppendInt(b, v.i, 10)
		case typeNumber:
			b = record.AppendJSONNumber(b, v.f)
		case typeBoolean:
			b = strconv.AppendBool(b, v.i == 1)
		case typeTime:
			b = append(time.UnixMilli(v.i).UTC().AppendFormat(append(b, '"'), record.JSONTime), '"')
		case typeJSON:
			b = append(b, v.text...)
		default:
			b = record.AppendJSONText(b, v.text)
		}
	}
	b = append(b, '}', '\n')
	s.line = b
	_, err := s.w.Write(b)
	return err
}

func (s *jsonSink) finish() error { return s.w.Flush() }

// The bounds of what a Parquet file holds in memory: rows on their way to it, and the rows and bytes of text
// of a row group. A row may have megabytes (an answer), and the writer keeps a text several times.
const (
	parquetBatch    = 512
	parquetRowGroup = 65_536
	parquetText     = 8 << 20
)

type parquetSink struct {
	w       *parquet.GenericWriter[any]
	columns []column
	rows    []parquet.Row
	waiting int // bytes of text in rows
	group   int // and in the row group
}

func newParquetSink(t *table, w io.Writer) *parquetSink {
	fields := make([]reflect.StructField, len(t.columns))
	for i, c := range t.columns {
		f := reflect.StructField{Name: "F" + strconv.Itoa(i)}
		options := ""
		switch c.typ {
		case typeInteger:
			f.Type = reflect.TypeFor[int64]()
		case typeNumber:
			f.Type = reflect.TypeFor[float64]()
		case typeBoolean:
			f.Type = reflect.TypeFor[bool]()
		case typeTime:
			f.Type, options = reflect.TypeFor[time.Time](), ",timestamp(millisecond)"
		case typeJSON:
			f.Type, options = reflect.TypeFor[string](), ",json"
		default:
			f.Type, options = reflect.TypeFor[string](), ",dict"
		}
		f.Tag = reflect.StructTag(fmt.Sprintf("parquet:%q", c.name+",optional"+options))
		fields[i] = f
	}
	schema := parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface())
	return &parquetSink{
		w: parquet.NewGenericWriter[any](w, schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
			parquet.MaxRowsPerRowGroup(parquetRowGroup), parquet.CreatedBy("tungstene", "", "")),
		columns: t.columns,
	}
}

func (s *parquetSink) write(row []value) error {
	out := make(parquet.Row, len(row))
	for i, v := range row {
		if !v.set {
			out[i] = parquet.NullValue().Level(0, 0, i)
			continue
		}
		var cell parquet.Value
		switch s.columns[i].typ {
		case typeInteger, typeTime:
			cell = parquet.Int64Value(v.i)
		case typeNumber:
			cell = parquet.DoubleValue(v.f)
			if math.IsNaN(v.f) {
				out[i] = parquet.NullValue().Level(0, 0, i)
				continue
			}
		case typeBoolean:
			cell = parquet.BooleanValue(v.i == 1)
		default:
			cell = parquet.ByteArrayValue([]byte(v.text))
			s.waiting += len(v.text)
		}
		out[i] = cell.Level(0, 1, i)
	}
	if s.rows = append(s.rows, out); len(s.rows) < parquetBatch && s.group+s.waiting < parquetText {
		return nil
	}
	return s.flush()
}

// flush writes the rows, and ends the row group where it has its bytes.
func (s *parquetSink) flush() error {
	if _, err := s.w.WriteRows(s.rows); err != nil {
		return err
	}
	s.rows, s.group, s.waiting = s.rows[:0], s.group+s.waiting, 0
	if s.group < parquetText {
		return nil
	}
	s.group = 0
	return s.w.Flush()
}

func (s *parquetSink) finish() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.w.Close()
}
