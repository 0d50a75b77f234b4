package template

import (
	"encoding/xml"
	"errors"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/render"
)

// Drawer says why an SVG can't be drawn. A *render.Renderer is one.
type Drawer interface {
	Outline(svg []byte) ([]byte, error)
}

// CheckDrawing says what of a template is not drawn, whatever it is filled with.
func (t *Template) CheckDrawing(d Drawer) []Problem {
	var problems []Problem
	tell := func(n *node, s Severity, msg string) {
		pr := Problem{File: t.name, Severity: s, Message: msg}
		if n != nil {
			pr.Line = n.line
			for ; n != nil && pr.ID == ""; n = n.parent {
				pr.ID = n.layer
			}
		}
		if !slices.Contains(problems, pr) {
			problems = append(problems, pr)
		}
	}
	if _, err := d.Outline(t.source); err != nil {
		var at *render.LineError
		if errors.As(err, &at) {
			i := slices.IndexFunc(t.nodes, func(n *node) bool { return int64(n.open) >= at.Offset })
			tell(t.nodes[max(i, 0)], Error, at.Err.Error())
		} else {
			tell(nil, Error, err.Error())
		}
	}
	known := map[string]bool{}
	for _, n := range t.nodes {
		known[attr(n.el, "id")] = true
	}
	for _, n := range t.nodes {
		switch n.el.Name.Local {
		case "foreignObject":
			tell(n, Warning, foreign(n))
		case "script":
			tell(n, Warning, "a script does nothing in a picture")
		case "image":
			if href(n.el) == "" {
				tell(n, Warning, "the picture is empty: put it in again, and export with it embedded")
			}
		}
		for _, id := range references(n.el) {
			if !known[id] {
				tell(n, Warning, "it needs #"+id+", which is not in the file")
			}
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return problems
}

// foreign says what of Figma's is in HTML, which is not drawn.
func foreign(n *node) string {
	var css strings.Builder
	find(n, func(c *node) bool { css.WriteString(attr(c.el, "style")); return false })
	switch {
	case strings.Contains(css.String(), "backdrop-filter"):
		return "a background blur is not drawn: the shape itself is"
	case strings.Contains(css.String(), "gradient("):
		return "an angular or diamond gradient is not drawn: use a linear or radial one, or a picture"
	}
	return "HTML in the SVG is not drawn"
}

func href(el xml.StartElement) string {
	for _, a := range el.Attr {
		if a.Name.Local == "href" {
			return a.Value
		}
	}
	return ""
}

// references are the ids that an element's attributes name.
func references(el xml.StartElement) []string {
	var ids []string
	if id, ok := strings.CutPrefix(href(el), "#"); ok && el.Name.Local != "a" {
		ids = append(ids, id)
	}
	for _, a := range el.Attr {
		for rest := a.Value; ; {
			_, after, ok := strings.Cut(rest, "url(")
			if !ok {
				break
			}
			target, left, _ := strings.Cut(after, ")")
			if id, ok := strings.CutPrefix(strings.Trim(strings.TrimSpace(target), `"'`), "#"); ok {
				ids = append(ids, id)
			}
			rest = left
		}
	}
	return ids
}
