package charity

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/robfig/cron/v3"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// sourcesDecoder collects all that is wrong with a sources file.
type sourcesDecoder struct {
	path string
	errs []error
}

func (d *sourcesDecoder) badAt(line int, field, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s: %s", d.path, line, field, fmt.Sprintf(format, args...)))
}

// file is the mapping that the file consists of; nil, and told, where it is none.
func (d *sourcesDecoder) file(b []byte) (top *fieldMap) {
	const whole = "the file"
	defer func() {
		// What the YAML parser cannot stand is no sources file.
		if what := recover(); what != nil {
			d.badAt(1, whole, "not YAML: %v", what)
			top = nil
		}
	}()
	tree, err := parser.ParseBytes(b, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, message := 1, err.Error()
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			line, message = syntax.GetToken().Position.Line, syntax.GetMessage()
		}
		d.badAt(line, whole, "not YAML: %s", message)
		return nil
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		d.badAt(1, whole, "one YAML document with sources is wanted, found %d", len(tree.Docs))
		return nil
	}
	n := &fieldNode{d: d, node: tree.Docs[0].Body, field: "", line: 1}
	return n.mapping()
}

// fieldNode is a value in the file, with its name.
type fieldNode struct {
	d     *sourcesDecoder
	node  ast.Node
	field string
	line  int
}

func (n *fieldNode) bad(format string, args ...any) {
	field := n.field
	if field == "" {
		field = "the file"
	}
	n.d.badAt(n.line, field, format, args...)
}

// fieldMap is a mapping in the file whose fields are taken one by one.
type fieldMap struct {
	*fieldNode
	names  []string // of all fields, in order
	fields map[string]*fieldNode
	taken  []string // of the fields that there can be
}

// mapping is the node as a mapping; nil, and told, where it is none.
func (n *fieldNode) mapping() *fieldMap {
	var entries []*ast.MappingValueNode
	switch v := n.node.(type) {
	case *ast.MappingNode:
		entries = v.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{v}
	default:
		n.bad("a mapping of fields to values is wanted, found %s", kindOf(n.node))
		return nil
	}
	m := &fieldMap{fieldNode: n, fields: map[string]*fieldNode{}}
	for _, e := range entries {
		if e == nil || e.Key == nil || e.Key.GetToken() == nil {
			continue
		}
		name := e.Key.GetToken().Value
		line := e.Key.GetToken().Position.Line
		field := name
		if n.field != "" {
			field = n.field + "." + name
		}
		if before, twice := m.fields[name]; twice {
			n.d.badAt(line, field, "it is at line %d too", before.line)
			continue
		}
		m.fields[name] = &fieldNode{d: n.d, node: e.Value, field: field, line: line}
		m.names = append(m.names, name)
	}
	return m
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	}
	return "something else"
}

// list is the node's elements; none, and told, where it is no list.
func (n *fieldNode) list() []*fieldNode {
	seq, ok := n.node.(*ast.SequenceNode)
	if !ok {
		n.bad("a list is wanted, found %s", kindOf(n.node))
		return nil
	}
	out := make([]*fieldNode, 0, len(seq.Values))
	for i, v := range seq.Values {
		line := n.line
		if v != nil && v.GetToken() != nil {
			line = v.GetToken().Position.Line
		}
		if m, ok := v.(*ast.MappingNode); ok && len(m.Values) > 0 && m.Values[0].Key != nil && m.Values[0].Key.GetToken() != nil {
			line = m.Values[0].Key.GetToken().Position.Line
		}
		out = append(out, &fieldNode{d: n.d, node: v, field: fmt.Sprintf("%s[%d]", n.field, i), line: line})
	}
	return out
}

// scalar is the node as text. Numbers are taken only where numerals says so.
func (n *fieldNode) scalar(numerals bool) (string, bool) {
	switch v := n.node.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(v.Value.Value), true
	case *ast.IntegerNode:
		if numerals {
			return v.GetToken().Value, true
		}
	}
	n.bad("text is wanted, found %s", kindOf(n.node))
	return "", false
}

// has reports whether the file has a field.
func (m *fieldMap) has(name string) bool { return m.fields[name] != nil }

// take is a field; nil where it is not there.
func (m *fieldMap) take(name string) *fieldNode {
	m.taken = append(m.taken, name)
	return m.fields[name]
}

func (m *fieldMap) missing(name string) { m.fieldNode.bad("%s is missing", name) }

// bad tells what is wrong with a field that is there.
func (m *fieldMap) bad(name, format string, args ...any) {
	if n := m.fields[name]; n != nil {
		n.bad(format, args...)
	}
}

// rest tells of the fields that were never taken.
func (m *fieldMap) rest() {
	for _, name := range m.names {
		if !slices.Contains(m.taken, name) {
			m.fields[name].bad("no such field; there are %s", strings.Join(m.taken, ", "))
		}
	}
}

// wanted is a field as text; empty where it is not there, which is told if it must.
func (m *fieldMap) wanted(name string, must, numerals bool) (string, *fieldNode) {
	n := m.take(name)
	if n == nil {
		if must {
			m.missing(name)
		}
		return "", nil
	}
	s, ok := n.scalar(numerals)
	if !ok {
		return "", nil
	}
	if strings.TrimSpace(s) == "" {
		n.bad("it is empty")
		return "", nil
	}
	return s, n
}

func (m *fieldMap) slug(name string, must bool) string {
	s, n := m.wanted(name, must, true)
	if n != nil && !record.ValidSlug(s) {
		n.bad("%q: use 1 to 64 of a to z, 0 to 9 and dash", s)
		return ""
	}
	return s
}

func (m *fieldMap) slugs(name string) []string {
	n := m.take(name)
	if n == nil {
		return nil
	}
	var out []string
	list := n.list()
	if seq, ok := n.node.(*ast.SequenceNode); ok && len(seq.Values) == 0 {
		n.bad("it is empty: leave it out for every live event")
	}
	for _, e := range list {
		s, ok := e.scalar(true)
		switch {
		case !ok:
		case !record.ValidSlug(s):
			e.bad("%q is no slug of an event: use 1 to 64 of a to z, 0 to 9 and dash", s)
		case slices.Contains(out, s):
			e.bad("%q is in the list twice", s)
		default:
			out = append(out, s)
		}
	}
	return out
}

func (m *fieldMap) oneOf(name string, must bool, words ...string) string {
	s, n := m.wanted(name, must, false)
	if n != nil && !slices.Contains(words, s) {
		n.bad("%q: use %s or %s", s, strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
		return ""
	}
	return s
}

// id is what a source calls a thing by: letters, digits, dash and underscore.
func (m *fieldMap) id(name string, must bool) string {
	s, n := m.wanted(name, must, true)
	if n != nil && (len(s) > maxID || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})) {
		n.bad("%q is no id: use letters, digits, dash and underscore", s)
		return ""
	}
	return s
}

func (m *fieldMap) duration(name string, otherwise time.Duration) time.Duration {
	s, n := m.wanted(name, false, false)
	if n == nil {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 100*time.Millisecond || d > 5*time.Minute {
		n.bad("%q: use a time from 100ms to 5m, like 10s", s)
		return otherwise
	}
	return d
}

func (m *fieldMap) currency(name string) string {
	s, n := m.wanted(name, false, false)
	if n == nil {
		return ""
	}
	if _, ok := money.Digits(s); !ok {
		n.bad("%q: use a code of ISO 4217, like EUR", s)
		return ""
	}
	return s
}

func (m *fieldMap) members(name string) map[string]string {
	n := m.take(name)
	if n == nil {
		return nil
	}
	entries := n.mapping()
	if entries == nil {
		return nil
	}
	out := make(map[string]string, len(entries.names))
	for _, key := range entries.names {
		entry := entries.fields[key]
		login, ok := entry.scalar(true)
		key, login = strings.ToLower(key), strings.ToLower(login)
		switch {
		case !ok:
		case !isLogin(login):
			entry.bad("%q is no login of Twitch", login)
		case out[key] != "":
			entry.bad("it is there twice: case does not matter")
		default:
			out[key] = login
		}
	}
	return out
}

func isLogin(s string) bool {
	return s != "" && len(s) <= 25 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

func (m *fieldMap) url(name, otherwise string) string {
	s, n := m.wanted(name, otherwise == "", false)
	if n == nil {
		return otherwise
	}
	if err := checkURL(s); err != nil {
		n.bad("%v", err)
		return otherwise
	}
	return s
}

// schedules reads when something is polled, of a source whose answers are known.
func (m *fieldMap) schedules(name, otherwise string) *section {
	return &section{schedule: m.schedule(name, otherwise)}
}

func (m *fieldMap) schedule(name, otherwise string) cron.Schedule {
	s, n := m.wanted(name, false, false)
	if n == nil {
		s = otherwise
	}
	schedule, err := parseSchedule(s)
	if err != nil {
		n.bad("%v", err)
	}
	return schedule
}

func (m *fieldMap) secret(s *Source, name string, must bool) secretFile {
	file, n := m.wanted(name, must, false)
	if n == nil {
		return ""
	}
	return m.d.secret(s, n, file)
}

func (d *sourcesDecoder) secret(s *Source, n *fieldNode, file string) secretFile {
	f := d.relative(file)
	s.secrets = append(s.secrets, namedSecret{file: f, line: n.line, field: n.field})
	return f
}

func (m *fieldMap) secrets(s *Source, name string, logins bool) map[string]secretFile {
	n := m.take(name)
	if n == nil {
		if logins {
			m.missing(name)
		}
		return nil
	}
	entries := n.mapping()
	if entries == nil {
		return nil
	}
	out := make(map[string]secretFile, len(entries.names))
	for _, key := range entries.names {
		file, at := entries.wanted(key, true, false)
		if at == nil {
			continue
		}
		if logins {
			if key = strings.ToLower(key); !isLogin(key) {
				at.bad("%q is no login of Twitch", key)
				continue
			}
		}
		out[key] = m.d.secret(s, at, file)
	}
	return out
}

func (m *fieldMap) path(name string) path {
	s, n := m.wanted(name, false, false)
	if n == nil {
		return nil
	}
	p, err := parsePath(s)
	if err != nil {
		n.bad("%v", err)
		return path{}
	}
	return p
}

func (m *fieldMap) wantPath(name string) path {
	if !m.has(name) {
		m.missing(name)
	}
	return m.path(name)
}

func (m *fieldMap) paths(name string) []path {
	if p := m.path(name); p != nil {
		return []path{p}
	}
	return nil
}

func (m *fieldMap) wantPaths(name string) []path {
	if !m.has(name) {
		m.missing(name)
	}
	return m.paths(name)
}

func (m *fieldMap) unit(name string) unit {
	return unit(m.oneOf(name, true, string(unitCents), string(unitDecimal)))
}

func (m *fieldMap) boolean(name string) bool {
	n := m.take(name)
	if n == nil {
		return false
	}
	b, ok := n.node.(*ast.BoolNode)
	if !ok {
		n.bad("true or false is wanted, found %s", kindOf(n.node))
		return false
	}
	return b.Value
}

func (m *fieldMap) integer(name string, otherwise int) int {
	n := m.take(name)
	if n == nil {
		return otherwise
	}
	v, ok := n.node.(*ast.IntegerNode)
	if !ok {
		n.bad("a number is wanted, found %s", kindOf(n.node))
		return otherwise
	}
	i, err := strconv.Atoi(v.GetToken().Value)
	if err != nil || i < 0 || i > 1000 {
		n.bad("%s: use 0 to 1000", v.GetToken().Value)
		return otherwise
	}
	return i
}

func (m *fieldMap) word(name, otherwise string) string {
	if s := m.id(name, false); s != "" {
		return s
	}
	return otherwise
}
