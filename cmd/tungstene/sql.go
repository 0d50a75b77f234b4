package main

import (
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/store/local"
)

type sqlCmd struct {
	Data   string `default:"data" help:"Data folder of the run."`
	Query  string `arg:"" help:"The query; - reads it from standard input."`
	Format string `default:"table" enum:"table,csv,json" help:"What is printed: table, csv, or json (one object a line)."`
	JSON   bool   `help:"The same as --format json." name:"json"`
}

func (sqlCmd) Help() string {
	return `Each collection is a table with the columns event, kind, channel ("" for none), time (Unix milliseconds) and doc, the document in BSON. doc_json(doc) is the document as JSON, for SQLite's own functions. It only reads; a process may run on the same data. Ready queries are in docs/analysts.md.

Examples:
  tungstene sql --data ./data "SELECT channel, doc_json(doc) ->> 'messages' AS messages FROM totals ORDER BY messages + 0 DESC LIMIT 10"
  tungstene sql --data ./data --format csv - < query.sql > answer.csv`
}

func (c *sqlCmd) Run(ctx context.Context, env app.Env) (err error) {
	query := c.Query
	if query == "-" {
		raw, err := io.ReadAll(os.Stdin)
		if err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		query = string(raw)
	}
	if strings.TrimSpace(query) == "" {
		return app.Usage("the query is empty")
	}
	if n := statements(query); n != 1 {
		return app.Usage("%s in the query: one is answered at a time", some(n, "statement", "statements"))
	}
	s, err := local.Open(filepath.Join(c.Data, "store.db"), local.Options{ReadOnly: true, CacheBytes: 256 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rows, err := s.SQL().QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if len(columns) == 0 {
		return nil
	}
	format := c.Format
	if c.JSON {
		format = "json"
	}
	if err := printRows(env.Stdout, format, columns, rows); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}

// statements is how many statements a text of SQL has: what stands between the semicolons outside of quotes
// and comments, without what is blank.
func statements(query string) (n int) {
	blank := true
	for i := 0; i < len(query); i++ {
		rest := query[i:]
		end := ""
		switch c := query[i]; {
		case c == ';':
			blank = true
			continue
		case strings.ContainsRune(" \t\r\n\f", rune(c)):
			continue
		case strings.HasPrefix(rest, "--"):
			end = "\n"
		case strings.HasPrefix(rest, "/*"):
			end = "*/"
		}
		if end != "" { // a comment
			length := strings.Index(rest[2:], end)
			if length < 0 {
				return n
			}
			i += 2 + length + len(end) - 1
			continue
		}
		if blank {
			blank = false
			n++
		}
		switch query[i] {
		case '\'', '"', '`':
			end = query[i : i+1] // one that is doubled ends and begins again
		case '[':
			end = "]"
		default:
			continue
		}
		length := strings.Index(rest[1:], end)
		if length < 0 {
			return n
		}
		i += 1 + length
	}
	return n
}

func printRows(w io.Writer, format string, columns []string, rows *sql.Rows) error {
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	each := func(put func() error) error {
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return err
			}
			if err := put(); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	switch format {
	case "json":
		names := make([][]byte, len(columns))
		for i, name := range columns {
			var err error
			if names[i], err = json.Marshal(name); err != nil {
				return err
			}
		}
		return each(func() error {
			line := []byte{'{'}
			for i, v := range cells {
				if i > 0 {
					line = append(line, ',')
				}
				value, err := json.Marshal(v) // bytes in base64
				if err != nil {
					return err
				}
				line = append(append(append(line, names[i]...), ':'), value...)
			}
			_, err := w.Write(append(line, '}', '\n'))
			return err
		})
	case "csv":
		out, line := csv.NewWriter(w), make([]string, len(columns))
		if err := out.Write(columns); err != nil {
			return err
		}
		if err := each(func() error {
			for i, v := range cells {
				line[i] = cellText(v, "")
			}
			return out.Write(line)
		}); err != nil {
			return err
		}
		out.Flush()
		return out.Error()
	default:
		var err error
		table(w, strings.Join(columns, "\t"), func(add func(...any)) {
			line := make([]any, len(columns))
			err = each(func() error {
				for i, v := range cells {
					line[i] = short(cellText(v, "-"))
				}
				add(line...)
				return nil
			})
		})
		return err
	}
}

// cellText is a value of SQLite as text.
func cellText(v any, null string) string {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		return v
	case []byte:
		return fmt.Sprintf("(%d bytes)", len(v))
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}
