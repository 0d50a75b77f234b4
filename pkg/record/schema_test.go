package record_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// guide is the page that analysts read.
const guide = "../../docs/analysts.md"

// described are the types whose fields the guide lists, each in a table behind a line
// "<!-- fields: Name -->". The fields of Header are listed once, for all records.
var described = map[string]reflect.Type{
	"Header":     reflect.TypeFor[record.Header](),
	"Message":    reflect.TypeFor[record.Message](),
	"Notice":     reflect.TypeFor[record.Notice](),
	"Moderation": reflect.TypeFor[record.Moderation](),
	"RoomState":  reflect.TypeFor[record.RoomState](),
	"Viewers":    reflect.TypeFor[record.Viewers](),
	"Session":    reflect.TypeFor[record.Session](),
	"Change":     reflect.TypeFor[record.Change](),
	"Coverage":   reflect.TypeFor[record.Coverage](),
	"Dropped":    reflect.TypeFor[record.Dropped](),
	"Donation":   reflect.TypeFor[record.Donation](),
	"Amount":     reflect.TypeFor[record.Amount](),
	"Answer":     reflect.TypeFor[record.Answer](),
	"Correction": reflect.TypeFor[record.Correction](),
	"Goal":       reflect.TypeFor[record.Goal](),
	"Statistics": reflect.TypeFor[record.Statistics](),
	"Event":      reflect.TypeFor[record.Event](),
	"Channel":    reflect.TypeFor[record.Channel](),
	"Mark":       reflect.TypeFor[record.Mark](),
	"Progress":   reflect.TypeFor[record.Progress](),
}

// field is one row of the guide, or one field of a type: its BSON type in the guide's words, and
// whether it is always there.
type field struct {
	kind   string
	always bool
}

// The guide names every field with its type and whether it can be absent, and no other.
func TestGuideListsEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := fieldTables(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range described {
		table, ok := tables[name]
		if !ok {
			t.Errorf("%s has no table of fields for %s", guide, name)
			continue
		}
		want := map[string]field{}
		if err := collect(typ, "", want); err != nil {
			t.Fatal(err)
		}
		for path, f := range want {
			switch row, ok := table[path]; {
			case !ok:
				t.Errorf("%s: the table of %s lacks %s", guide, name, path)
			case row != f:
				t.Errorf("%s: %s of %s is %+v there and %+v in the code", guide, path, name, row, f)
			}
		}
		for path := range table {
			if _, ok := want[path]; !ok {
				t.Errorf("%s: the table of %s names %s, which does not exist", guide, name, path)
			}
		}
	}
	for name := range tables {
		if _, ok := described[name]; !ok {
			t.Errorf("%s: a table for %s, which is no document type", guide, name)
		}
	}
}

// No document type is left out of the test above: each has an _id of its own or a Header.
func TestGuideKnowsEveryType(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "custody.go" { // the latter is the operators'
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && isDocument(s) {
				found++
				if _, ok := described[spec.Name.Name]; !ok {
					t.Errorf("%s is a document type that %s does not list: add it there and to this test", spec.Name.Name, guide)
				}
			}
			return true
		})
	}
	if found != len(described) {
		t.Errorf("%d document types were found, %d are described", found, len(described))
	}
}

func isDocument(s *ast.StructType) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
		return f.Tag != nil && (strings.Contains(f.Tag.Value, `bson:"_id"`) || strings.Contains(f.Tag.Value, `bson:",inline"`))
	})
}

// The guide shows all kinds, and its example documents have only fields that it lists.
func TestGuideShowsEveryKind(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []record.Kind{
		record.KindMessage, record.KindNotice, record.KindModeration, record.KindRoomState,
		record.KindViewers, record.KindSession, record.KindChange, record.KindCoverage, record.KindDropped,
		record.KindDonation, record.KindAmount, record.KindAnswer,
	} {
		if !strings.Contains(string(text), "\n### "+string(kind)+"\n") {
			t.Errorf("%s has no section for the kind %s", guide, kind)
		}
		if !strings.Contains(string(text), fmt.Sprintf(`"kind": %q`, string(kind))) {
			t.Errorf("%s shows no example of the kind %s", guide, kind)
		}
	}
	known := map[string]field{}
	for _, typ := range described {
		if err := collect(typ, "", known); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	for path := range known {
		names[path[strings.LastIndexByte(path, '.')+1:]] = true
	}
	params := regexp.MustCompile(`"params": \{[^}]*\}`)
	key := regexp.MustCompile(`"([A-Za-z_]+)":`)
	// What queries answer is made up by them.
	documents, _, _ := strings.Cut(string(text), "\n## Queries")
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(documents, -1) {
		for _, m := range key.FindAllStringSubmatch(params.ReplaceAllString(block[1], `"params": 0`), -1) {
			if !names[m[1]] {
				t.Errorf("%s: an example has the field %s, which does not exist", guide, m[1])
			}
		}
	}
}

// Links within the documentation lead somewhere.
func TestLinksOfTheDocumentation(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	root := "../.."
	pages := []string{filepath.Join(root, "CHANGELOG.md"), filepath.Join(root, "CONTRIBUTING.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}

var (
	marker = regexp.MustCompile(`^<!-- fields: (\w+) -->$`)
	row    = regexp.MustCompile("^\\| `([a-z_.]+)` \\| ([^|]+) \\| ([^|]+) \\| .+ \\|$")
)

// fieldTables reads the tables of a page, by the type that they describe.
func fieldTables(text string) (map[string]map[string]field, error) {
	tables := map[string]map[string]field{}
	var table map[string]field
	for n, line := range strings.Split(text, "\n") {
		if m := marker.FindStringSubmatch(line); m != nil {
			if tables[m[1]] != nil {
				return nil, fmt.Errorf("line %d: a second table for %s", n+1, m[1])
			}
			table = map[string]field{}
			tables[m[1]] = table
			continue
		}
		switch {
		case table == nil:
		case !strings.HasPrefix(line, "|"):
			table = nil
		case strings.HasPrefix(line, "| field |"), strings.HasPrefix(line, "|---"):
		default:
			m := row.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("line %d is no row of a table of fields: %s", n+1, line)
			}
			if _, twice := table[m[1]]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", n+1, m[1])
			}
			table[m[1]] = field{kind: m[2], always: m[3] == "always"}
		}
	}
	return tables, nil
}

// collect lists the fields of a document type by their paths, as the driver encodes them. A Header
// is left out of the types that embed it.
func collect(typ reflect.Type, prefix string, into map[string]field) error {
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag := strings.Split(f.Tag.Get("bson"), ",")
		if slices.Contains(tag[1:], "inline") {
			if f.Type != reflect.TypeFor[record.Header]() {
				return fmt.Errorf("%s.%s is inline and no Header", typ, f.Name)
			}
			continue
		}
		if !f.IsExported() || tag[0] == "-" {
			continue
		}
		if tag[0] == "" {
			return fmt.Errorf("%s.%s has no bson name", typ, f.Name)
		}
		path := prefix + tag[0]
		kind, inner := bsonType(f.Type)
		if kind == "" {
			return fmt.Errorf("%s.%s has a type that this test does not know", typ, f.Name)
		}
		into[path] = field{kind: kind, always: !slices.Contains(tag[1:], "omitempty")}
		if inner != nil {
			if err := collect(inner, path+".", into); err != nil {
				return err
			}
		}
	}
	return nil
}

// bsonType is how the driver encodes a type, in the guide's words, and the struct in it.
func bsonType(typ reflect.Type) (kind string, inner reflect.Type) {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "date", nil
	case typ == reflect.TypeFor[[]byte]():
		return "binData", nil
	case typ == reflect.TypeFor[record.Params]():
		return "object", nil
	}
	switch typ.Kind() {
	case reflect.String:
		return "string", nil
	case reflect.Bool:
		return "bool", nil
	case reflect.Int:
		return "int", nil
	case reflect.Int64:
		return "long", nil
	case reflect.Float64:
		return "double", nil
	case reflect.Pointer:
		return bsonType(typ.Elem())
	case reflect.Struct:
		return "object", typ
	case reflect.Slice:
		if kind, inner = bsonType(typ.Elem()); kind == "" {
			return "", nil
		}
		return "array of " + kind, inner
	default:
		return "", nil
	}
}
