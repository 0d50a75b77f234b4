// Package queries runs the queries of the analysts' guide, docs/analysts.md, on the sample that the guide
// names: those for MongoDB as they stand there, in Node on an engine that speaks its language, those in
// SQL on the embedded store. Both must give the answer that is printed.
//
//	go test ./internal/queries -update
//
// writes the answers into the guide anew. On a real MongoDB they run by hand: 'tungstene sample --config'
// with the guide's arguments fills it, and mongosh takes the blocks as they are.
package queries_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/sample"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

var update = flag.Bool("update", false, "write the answers into the guide")

const guidePath = "../../docs/analysts.md"

// want is how many queries the guide promises.
const want = 25

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// query is one query of the guide.
type query struct {
	title   string
	js, sql string
	answer  string
	from    int // of the answer in the guide
}

// guide is what the guide says.
type guide struct {
	text    string
	sample  sample.Config
	scope   string // the names that all queries use
	queries []query
}

var (
	titles = regexp.MustCompile(`(?m)^\*\*(\d+)\. (.+?)\*\*`)
	fences = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	made   = regexp.MustCompile("(?m)^ +tungstene sample (.*)$")
)

func readGuide(t *testing.T) guide {
	t.Helper()
	raw, err := os.ReadFile(guidePath)
	if err != nil {
		t.Fatal(err)
	}
	g := guide{text: string(raw)}
	start := strings.Index(g.text, "\n## Queries\n")
	if start < 0 {
		t.Fatal("the guide has no section Queries")
	}
	end := len(g.text)
	if n := strings.Index(g.text[start+1:], "\n## "); n >= 0 {
		end = start + 1 + n
	}
	section := g.text[start:end]
	args := made.FindStringSubmatch(section)
	if args == nil {
		t.Fatal("the guide does not say how its sample is made")
	}
	g.sample = configOf(t, strings.Fields(args[1]))
	heads := titles.FindAllStringSubmatchIndex(section, -1)
	if len(heads) == 0 {
		t.Fatal("the guide has no queries")
	}
	for _, f := range fences.FindAllStringSubmatch(section[:heads[0][0]], -1) {
		if f[1] == "js" {
			g.scope += f[2]
		}
	}
	for i, h := range heads {
		until := len(section)
		if i+1 < len(heads) {
			until = heads[i+1][0]
		}
		q := query{title: section[h[2]:h[3]] + ". " + section[h[4]:h[5]]}
		if section[h[2]:h[3]] != strconv.Itoa(i+1) {
			t.Errorf("query %q comes at place %d", q.title, i+1)
		}
		for _, f := range fences.FindAllStringSubmatchIndex(section[h[0]:until], -1) {
			body := section[h[0]+f[4] : h[0]+f[5]]
			switch section[h[0]+f[2] : h[0]+f[3]] {
			case "js":
				q.js += body
			case "sql":
				q.sql += body
			case "json":
				q.answer, q.from = body, start+h[0]+f[4]
			}
		}
		if q.js == "" || q.sql == "" || q.from == 0 {
			t.Errorf("query %q lacks one of js, sql and json", q.title)
		}
		g.queries = append(g.queries, q)
	}
	if len(g.queries) != want {
		t.Errorf("the guide has %d queries, it promises %d", len(g.queries), want)
	}
	return g
}

// configOf reads the arguments of 'tungstene sample'.
func configOf(t *testing.T, args []string) sample.Config {
	t.Helper()
	fs := flag.NewFlagSet("sample", flag.ContinueOnError)
	var c sample.Config
	fs.String("data", "", "")
	fs.IntVar(&c.Channels, "channels", 0, "")
	fs.IntVar(&c.Hours, "hours", 0, "")
	fs.Int64Var(&c.Messages, "messages", 0, "")
	fs.Uint64Var(&c.Seed, "seed", 0, "")
	if err := fs.Parse(args); err != nil || fs.NArg() > 0 {
		t.Fatalf("the arguments of the guide's sample: %v", err)
	}
	return c
}

func TestGuide(t *testing.T) {
	g := readGuide(t)
	s, err := local.Open(filepath.Join(t.TempDir(), "store.db"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := sample.Fill(t.Context(), s, g.sample, false, nil); err != nil {
		t.Fatal(err)
	}
	bySQL := make([]rows, len(g.queries))
	for i, q := range g.queries {
		if bySQL[i], err = ask(t, s.SQL(), q.sql); err != nil {
			t.Errorf("%s, in SQL: %v", q.title, err)
		}
	}
	byJS := runJS(t, s, g)
	if *update {
		if byJS == nil {
			t.Fatal("the answers are those of MongoDB's language: it needs node")
		}
		write(t, g, byJS, bySQL)
		g = readGuide(t)
	}
	for i, q := range g.queries {
		printed, err := parse([]byte(q.answer))
		if err != nil {
			t.Errorf("%s: the answer in the guide: %v", q.title, err)
			continue
		}
		if len(printed) == 0 {
			t.Errorf("%s: there is no answer", q.title)
		}
		for _, by := range []struct {
			name string
			rows rows
		}{{"SQL", bySQL[i]}, {"MongoDB's language", byJS[i]}} {
			if by.rows == nil {
				continue
			}
			if why := differ(printed, by.rows); why != "" {
				t.Errorf("%s: the answer in %s is not what the guide prints: %s\n%s", q.title, by.name, why, by.rows)
			}
		}
	}
}

// needNode skips the test where what it needs is not here; with CI set it fails.
func needNode(t *testing.T) bool {
	t.Helper()
	why := ""
	if _, err := exec.LookPath("node"); err != nil {
		why = "node is not here"
	} else if _, err := os.Stat("node/node_modules/mingo"); err != nil {
		why = "internal/queries/node has no node_modules"
	}
	if why == "" {
		return true
	}
	if os.Getenv("CI") != "" {
		t.Errorf("%s: scripts/test-deps installs it", why)
	} else {
		t.Logf("the queries for MongoDB are not run: %s; scripts/test-deps installs it", why)
	}
	return false
}

// runJS runs the queries for MongoDB. Without node it returns an empty map.
func runJS(t *testing.T, s store.Store, g guide) map[int]rows {
	t.Helper()
	if !needNode(t) {
		return nil
	}
	dir := t.TempDir()
	for _, c := range store.Collections() {
		dump(t, s, c, filepath.Join(dir, string(c)+".jsonl"))
	}
	blocks := []string{g.scope}
	for _, q := range g.queries {
		blocks = append(blocks, q.js)
	}
	in, err := json.Marshal(blocks)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", "run.mjs", dir)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "node", bytes.NewReader(in), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var answers []struct {
		Value   json.RawMessage `json:"value"`
		Printed []string        `json:"printed"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &answers); err != nil {
		t.Fatal(err)
	}
	if len(answers) != len(blocks) {
		t.Fatalf("%d answers to %d queries", len(answers), len(blocks))
	}
	out := map[int]rows{}
	for i, a := range answers[1:] {
		if len(a.Printed) > 0 {
			t.Errorf("%s: it prints %q: what the answer is, is its last value", g.queries[i].title, a.Printed)
		}
		if out[i], err = parse(a.Value); err != nil {
			t.Errorf("%s: %v", g.queries[i].title, err)
		}
	}
	return out
}

// dump writes a collection as lines of Extended JSON, sketches left out.
func dump(t *testing.T, s store.Store, c store.Collection, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for raw, err := range s.Find(t.Context(), store.Query{Collection: c}) {
		if err != nil {
			t.Fatal(err)
		}
		var d bson.D
		if err := bson.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		for i := range d {
			if sub, ok := d[i].Value.(bson.D); ok && d[i].Key == "chatters" {
				d[i].Value = slices.DeleteFunc(sub, func(e bson.E) bool { return e.Key == "sketch" })
			}
		}
		line, err := bson.MarshalExtJSON(d, false, false)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(line)
		w.WriteByte('\n')
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// rows is an answer: each row a list of named values, in the order of its columns.
type rows [][]cell

type cell struct {
	name  string
	value any // string, float64, bool or nil
}

func (r rows) String() string {
	var b strings.Builder
	for _, row := range r {
		b.WriteString("{")
		for i, c := range row {
			if i > 0 {
				b.WriteString(", ")
			}
			v, err := json.Marshal(c.value)
			if err != nil {
				v = []byte(err.Error())
			}
			fmt.Fprintf(&b, "%q: %s", c.name, v)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// parse reads an answer: an array of documents, documents after each other, or one value. Documents
// within documents become names with dots.
func parse(raw []byte) (rows, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var out rows
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if tok == json.Delim('[') {
			for dec.More() {
				row, err := parseRow(dec, nil)
				if err != nil {
					return nil, err
				}
				out = append(out, row)
			}
			if _, err := dec.Token(); err != nil {
				return nil, err
			}
			continue
		}
		row, err := parseRow(dec, tok)
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

func parseRow(dec *json.Decoder, tok json.Token) ([]cell, error) {
	if tok == nil {
		var err error
		if tok, err = dec.Token(); err != nil {
			return nil, err
		}
	}
	var row []cell
	var object func(prefix string) error
	object = func(prefix string) error {
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			value, err := dec.Token()
			if err != nil {
				return err
			}
			switch value {
			case json.Delim('{'):
				if err := object(prefix + name + "."); err != nil {
					return err
				}
			case json.Delim('['):
				return fmt.Errorf("%s is an array: an answer is flat", name)
			default:
				row = append(row, cell{prefix + name, value})
			}
		}
		_, err := dec.Token()
		return err
	}
	if tok == json.Delim('{') {
		err := object("")
		return row, err
	}
	return []cell{{"", tok}}, nil
}

// ask runs a query in SQL.
func ask(t *testing.T, db *sql.DB, text string) (out rows, err error) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), text)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	names, err := found.Columns()
	if err != nil {
		return nil, err
	}
	out = rows{}
	for found.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			return nil, err
		}
		var row []cell
		for i, v := range values {
			switch n := v.(type) {
			case int64:
				v = float64(n)
			case []byte:
				v = string(n)
			}
			row = append(row, cell{names[i], v})
		}
		out = append(out, row)
	}
	return out, found.Err()
}

// differ says how two answers differ; nothing where they don't. The order of columns is of no matter. A single value has no name, and SQL has
// numbers for true and false.
func differ(want, have rows) string {
	if len(want) != len(have) {
		return fmt.Sprintf("%d rows instead of %d", len(have), len(want))
	}
	for i := range want {
		if len(want[i]) != len(have[i]) {
			return fmt.Sprintf("row %d has %d values instead of %d", i+1, len(have[i]), len(want[i]))
		}
		for _, w := range want[i] {
			j := slices.IndexFunc(have[i], func(h cell) bool { return h.name == w.name })
			if len(want[i]) == 1 {
				j = 0
			}
			if j < 0 {
				return fmt.Sprintf("row %d has no %q", i+1, w.name)
			}
			h := have[i][j]
			if !same(w.value, h.value) {
				return fmt.Sprintf("row %d has %s %v instead of %v", i+1, w.name, h.value, w.value)
			}
		}
	}
	return ""
}

func same(a, b any) bool {
	number := func(v any) (float64, bool) {
		switch v := v.(type) {
		case float64:
			return v, true
		case bool:
			if v {
				return 1, true
			}
			return 0, true
		}
		return 0, false
	}
	x, isX := number(a)
	y, isY := number(b)
	if isX && isY {
		return math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y))
	}
	return a == b
}

// write puts the answers into the guide, columns in SQL's order.
func write(t *testing.T, g guide, answers map[int]rows, columns []rows) {
	t.Helper()
	text := g.text
	for i, q := range slices.Backward(g.queries) {
		for j, row := range answers[i] {
			if j >= len(columns[i]) {
				break
			}
			place := func(c cell) int {
				return slices.IndexFunc(columns[i][j], func(d cell) bool { return d.name == c.name })
			}
			slices.SortStableFunc(row, func(a, b cell) int { return place(a) - place(b) })
		}
		answer := answers[i].String()
		text = text[:q.from] + answer + text[q.from+len(q.answer):]
	}
	if err := os.WriteFile(guidePath, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
