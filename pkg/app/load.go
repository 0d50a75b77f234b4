package app

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// File is a configuration file: a kong resolver for the fields of Config that knows at which line
// each of its values stands.
type File struct {
	path   string
	fields []Field
	values map[string]fileValue // by field
}

type fileValue struct {
	value any // string, []any of string, or map[string]any of string
	line  int
}

var _ kong.Resolver = (*File)(nil)

// LoadFile reads a YAML file and checks that it holds nothing but fields of Config, each once. The
// errors name file, line and field.
func LoadFile(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parseFile(path, b)
}

func parseFile(path string, b []byte) (*File, error) {
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		line, what := 1, err
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			line, what = syntax.GetToken().Position.Line, errors.New(syntax.GetMessage())
		}
		return nil, fmt.Errorf("%s:%d: not YAML: %w", path, line, what)
	}
	f := &File{path: path, fields: Fields(), values: map[string]fileValue{}}
	if len(tree.Docs) > 1 {
		return nil, fmt.Errorf("%s: %d YAML documents in the file; use one", path, len(tree.Docs))
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return f, nil // an empty file is all defaults
	}
	kinds := map[string]reflect.Kind{}
	for _, field := range f.fields {
		kinds[field.Path] = field.Kind
	}
	var errs []error
	f.walk(tree.Docs[0].Body, "", kinds, &errs)
	return f, errors.Join(errs...)
}

func (f *File) walk(n ast.Node, path string, kinds map[string]reflect.Kind, errs *[]error) {
	bad := func(n ast.Node, field, format string, args ...any) {
		*errs = append(*errs, fmt.Errorf("%s:%d: %s: %s", f.path, n.GetToken().Position.Line, field, fmt.Sprintf(format, args...)))
	}
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode: // a mapping of one entry
		entries = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	case *ast.CommentGroupNode:
		return
	default:
		name := path
		if name == "" {
			name = "the file"
		}
		bad(n, name, "use a mapping of fields to values")
		return
	}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		field := key
		if path != "" {
			field = path + "." + key
		}
		kind, known := kinds[field]
		section := slices.ContainsFunc(sortedKeys(kinds), func(k string) bool { return strings.HasPrefix(k, field+".") })
		switch {
		case section:
			f.walk(e.Value, field, kinds, errs)
		case !known:
			bad(e.Key, field, "no such field%s", suggestion(field, kinds))
		default:
			v, err := plain(e.Value, kind)
			if err != nil {
				bad(e.Value, field, "%v", err)
				continue
			}
			if v != nil {
				f.values[field] = fileValue{value: v, line: e.Key.GetToken().Position.Line}
			}
		}
	}
}

// plain is a node's value as kong takes it; nil for null, which leaves the default.
func plain(n ast.Node, kind reflect.Kind) (any, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, nil //nolint:nilnil // null is no value
	case *ast.SequenceNode:
		if kind != reflect.Slice {
			return nil, errors.New("one value is wanted, not a list")
		}
		list := []any{}
		for _, v := range n.Values {
			s, err := scalar(v)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		return list, nil
	case *ast.MappingNode, *ast.MappingValueNode:
		if kind != reflect.Map {
			return nil, errors.New("one value is wanted, not a mapping")
		}
		entries := []*ast.MappingValueNode{}
		if m, ok := n.(*ast.MappingNode); ok {
			entries = m.Values
		} else if v, ok := n.(*ast.MappingValueNode); ok {
			entries = append(entries, v)
		}
		m := map[string]any{}
		for _, e := range entries {
			s, err := scalar(e.Value)
			if err != nil {
				return nil, err
			}
			m[e.Key.GetToken().Value] = s
		}
		return m, nil
	}
	s, err := scalar(n)
	if err != nil {
		return nil, err
	}
	switch kind { //nolint:exhaustive // the others take one value
	case reflect.Slice:
		return []any{s}, nil
	case reflect.Map:
		return nil, errors.New("a mapping is wanted")
	}
	return s, nil
}

func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", errors.New("a plain value is wanted")
}

// Validate checks every value of the file against the type of its field.
func (f *File) Validate(app *kong.Application) error {
	flags := map[string]*kong.Flag{}
	err := kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if flag, ok := n.(*kong.Flag); ok {
			if f, ok := fieldOf(f.fields, flag); ok {
				flags[f.Path] = flag
			}
		}
		return next(nil)
	})
	if err != nil {
		return err
	}
	var errs []error
	for field, v := range f.values {
		flag := flags[field]
		if flag == nil {
			continue // a field of another role
		}
		target := reflect.New(flag.Target.Type()).Elem()
		scan := kong.Scan().PushTyped(v.value, kong.FlagValueToken)
		if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.at(field), err))
			continue
		}
		if flag.Enum != "" && !slices.Contains(strings.Split(flag.Enum, ","), fmt.Sprint(target.Interface())) {
			errs = append(errs, fmt.Errorf("%s: %q: use one of %s", f.at(field), v.value, flag.Enum))
		}
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return errors.Join(errs...)
}

// Resolve gives kong the file's value of a flag, unless the environment has one.
func (f *File) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if os.Getenv(env) != "" {
			return nil, nil //nolint:nilnil // kong's word for "not from here"
		}
	}
	if field, ok := fieldOf(f.fields, flag); ok {
		if v, ok := f.values[field.Path]; ok {
			return v.value, nil
		}
	}
	return nil, nil //nolint:nilnil // kong's word for "not from here"
}

// at names the place of a field: file, line and field where the file has it.
func (f *File) at(field string) string {
	if f != nil {
		if v, ok := f.values[field]; ok {
			return fmt.Sprintf("%s:%d: %s", f.path, v.line, field)
		}
	}
	return fmt.Sprintf("%s (--%s, %s)", field, flagName(field), envName(field))
}

// Locate turns the FieldErrors in err into errors that name where the value came from.
func (f *File) Locate(err error) error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, f.Locate(e))
		}
		return errors.Join(out...)
	}
	var field *FieldError
	if errors.As(err, &field) {
		return fmt.Errorf("%s: %w", f.at(field.Field), field.Err)
	}
	return err
}

// Field describes one field of Config.
type Field struct {
	// Path is its place in the YAML file: sections joined by dots, in snake case.
	Path string
	// Flag and Env are its other two names.
	Flag, Env string
	Kind      reflect.Kind
	Type      string
	Default   string
	Enum      string
	Help      string
}

// Fields lists all fields of Config in their order.
func Fields() []Field {
	var out []Field
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for sf := range fields(t) {
			name := strings.ReplaceAll(sf.Tag.Get("name"), "-", "_")
			if name == "" {
				name = strings.ToLower(sf.Name)
			}
			if _, ok := sf.Tag.Lookup("embed"); ok {
				name = strings.ReplaceAll(strings.TrimSuffix(sf.Tag.Get("prefix"), "-"), "-", "_")
			}
			if path != "" {
				name = path + "." + name
			}
			if sf.Type.Kind() == reflect.Struct {
				walk(sf.Type, name)
				continue
			}
			out = append(out, Field{
				Path: name, Flag: flagName(name), Env: envName(name), Kind: sf.Type.Kind(), Type: typeName(sf.Type),
				Default: sf.Tag.Get("default"), Enum: sf.Tag.Get("enum"), Help: sf.Tag.Get("help"),
			})
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return out
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func typeName(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Map:
		return "mapping"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	}
	return "number"
}

func flagName(field string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(field)
}

func envName(field string) string {
	return "TUNGSTENE_" + strings.ToUpper(strings.NewReplacer(".", "_").Replace(field))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// suggestion names the known field that is nearest to a wrong one, if any is near.
func suggestion(field string, kinds map[string]reflect.Kind) string {
	best, at := "", 4
	for _, k := range sortedKeys(kinds) {
		section, _, _ := strings.Cut(k, ".")
		for _, candidate := range []string{k, section} {
			if d := distance(field, candidate); d < at {
				best, at = candidate, d
			}
		}
	}
	if best == "" {
		return "; docs/configuration.md lists all"
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is the Levenshtein distance of two short texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
