package goals

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// yaml reads a list, or a mapping with goals and channels.
func (r *reader) yaml(data []byte) {
	var tree *ast.File
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil { // what the parser cannot stand is no list of goals
				err = errors.New("it can't be read")
			}
		}()
		tree, err = parser.ParseBytes(data, 0)
		return err
	}()
	if err != nil {
		line, message := 1, err.Error()
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			line, message = syntax.GetToken().Position.Line, syntax.GetMessage()
		}
		r.problem(line, "", "the list is not YAML: %s", message)
		return
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		r.problem(0, "", "one YAML document with goals is wanted, found %d", len(tree.Docs))
		return
	}
	top := tree.Docs[0].Body
	if _, ok := top.(*ast.SequenceNode); ok {
		r.yamlGoals(top, "")
		return
	}
	fields, ok := mapping(top)
	if !ok {
		r.problem(lineOf(top), "", "a list of goals is wanted, or a mapping with goals and channels")
		return
	}
	for _, f := range fields {
		switch name := key(f); name {
		case "goals":
			r.yamlGoals(f.Value, "")
		case "channels":
			of, ok := mapping(f.Value)
			if !ok {
				r.problem(lineOf(f.Value), name, "a mapping of streamers to lists of goals is wanted")
			}
			for _, c := range of {
				r.yamlGoals(c.Value, key(c))
			}
		case "currency":
			if s, ok := scalar(f.Value); !ok || s != r.currency {
				r.problem(lineOf(f.Value), s, "the event's money is %s", r.currency)
			}
		default:
			r.problem(lineOf(f), name, "is no field of a list of goals: use goals and channels")
		}
	}
}

func (r *reader) yamlGoals(n ast.Node, channel string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.problem(lineOf(n), "", "a list of goals is wanted")
		return
	}
	for _, v := range seq.Values {
		r.yamlGoal(v, channel)
	}
}

func (r *reader) yamlGoal(n ast.Node, channel string) {
	fields, ok := mapping(n)
	if !ok {
		r.problem(lineOf(n), "", "a goal is a mapping, such as {amount: 100, text: A song}")
		return
	}
	e := Entry{Line: lineOf(n), Channel: channel}
	faulty, amounted := false, false
	fault := func(at ast.Node, value, message string, args ...any) {
		faulty = true
		r.problem(lineOf(at), value, message, args...)
	}
	for i, f := range fields {
		name := key(f)
		if i == 0 {
			e.Line = lineOf(f)
		}
		if name == "links" {
			if seq, ok := f.Value.(*ast.SequenceNode); ok {
				for _, v := range seq.Values {
					l, ok := scalar(v)
					if !ok {
						fault(v, name, "a list of addresses is wanted")
					}
					e.Links = append(e.Links, l)
				}
				continue
			}
		}
		s, ok := scalar(f.Value)
		if !ok {
			fault(f, name, "one value is wanted")
			continue
		}
		switch name {
		case "amount":
			amounted = true
			n, err := money.Parse(s, r.currency)
			if err != nil {
				fault(f, s, "is no amount in %s: %s", r.currency, reason(err))
			}
			e.Money.Cents = n
		case "text", "name":
			e.Name = s
		case "category":
			e.Category = strings.ToLower(s)
		case "channel":
			e.Channel = s
		case "id":
			e.ID = s
		case "links", "link":
			e.Links = append(e.Links, strings.Fields(s)...)
		case "accomplished":
			if e.Accomplished, ok = truth(s); !ok {
				fault(f, s, "is neither true nor false")
			}
		default:
			fault(f, name, "is no field of a goal: use amount, text, category, channel, id, links, accomplished")
		}
	}
	if !amounted && !faulty && e.Category != record.GoalIncentive {
		fault(n, "", "a goal needs an amount")
	}
	r.add(e, faulty)
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch v := n.(type) {
	case *ast.MappingNode:
		return v.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}, true
	}
	return nil, false
}

func key(f *ast.MappingValueNode) string {
	if f.Key == nil || f.Key.GetToken() == nil {
		return ""
	}
	return f.Key.GetToken().Value
}

func lineOf(n ast.Node) int {
	if f, ok := n.(*ast.MappingValueNode); ok && f.Key != nil {
		n = f.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

// scalar is a value as it is written: a number is not made one.
func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return strings.TrimSpace(n.GetToken().Value), true
	case *ast.NullNode:
		return "", true
	}
	return "", false
}
