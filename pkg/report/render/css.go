package render

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// textStyle is what a text inherits.
type textStyle struct {
	family    string
	size      float64
	weight    int
	italic    bool
	spacing   float64
	anchor    string
	baseline  string
	shift     float64
	preserve  bool
	tabular   bool
	vertical  bool
	underline bool
	strike    bool
	fill      string
}

func defaultStyle() textStyle { return textStyle{size: 16, weight: 400} }

func (s textStyle) style() Style {
	return Style{Family: s.family, Size: s.size, Weight: s.weight, Italic: s.italic, LetterSpacing: s.spacing}
}

// declaration is a property with its value.
type declaration struct{ name, value string }

// textOnly says whether a property is about setting type: outlines have no use for it.
func textOnly(name string) bool {
	switch name {
	case "letter-spacing", "word-spacing", "text-anchor", "dominant-baseline", "alignment-baseline",
		"baseline-shift", "white-space", "text-decoration", "text-decoration-line", "writing-mode", "direction",
		"line-height", "text-rendering", "space":
		return true
	}
	return strings.HasPrefix(name, "font")
}

// declarations lists what is said of an element, the strongest last: attributes, style sheets, its own
// style.
func declarations(el xml.StartElement, rules []cssRule) []declaration {
	var list []declaration
	for _, a := range el.Attr {
		switch {
		case a.Name.Local == "style":
		case a.Name.Local == "space" && a.Name.Space != "":
			list = append(list, declaration{"xml:space", a.Value})
		case a.Name.Space == "" && (textOnly(a.Name.Local) || a.Name.Local == "fill"):
			list = append(list, declaration{a.Name.Local, a.Value})
		}
	}
	return append(list, styleDeclarations(el, rules)...)
}

// styleDeclarations lists what style sheets and the style attribute say.
func styleDeclarations(el xml.StartElement, rules []cssRule) []declaration {
	var list []declaration
	if len(rules) > 0 {
		var id, class string
		for _, a := range el.Attr {
			switch a.Name.Local {
			case "id":
				id = a.Value
			case "class":
				class = a.Value
			}
		}
		classes := strings.Fields(class)
		for _, r := range rules {
			if (r.element == "" || r.element == el.Name.Local) && (r.id == "" || r.id == id) &&
				!slices.ContainsFunc(r.classes, func(c string) bool { return !slices.Contains(classes, c) }) {
				list = append(list, r.declarations...)
			}
		}
	}
	for _, a := range el.Attr {
		if a.Name.Local == "style" && a.Name.Space == "" {
			list = append(list, parseDeclarations(a.Value)...)
		}
	}
	return list
}

func parseDeclarations(s string) []declaration {
	var list []declaration
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		value = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "!important"))
		if ok && name != "" && value != "" {
			list = append(list, declaration{name, value})
		}
	}
	return list
}

// apply returns the style of an element from what it inherits and what is said of it. A value that
// can't be read changes nothing, as in CSS.
func (s textStyle) apply(list []declaration) textStyle {
	parent := s
	s.baseline, s.shift = parent.baseline, parent.shift
	var spacing string
	for _, d := range list {
		v := d.value
		switch d.name {
		case "font":
			s.shorthand(v, parent)
		case "font-family":
			s.family = v
		case "font-size":
			s.setSize(v, parent)
		case "font-weight":
			s.setWeight(v, parent)
		case "font-style":
			s.italic = strings.HasPrefix(v, "italic") || strings.HasPrefix(v, "oblique")
		case "font-variant-numeric":
			s.tabular = strings.Contains(v, "tabular-nums")
		case "font-feature-settings":
			s.tabular = strings.Contains(v, "tnum") && !strings.Contains(v, `"tnum" 0`) && !strings.Contains(v, "'tnum' 0")
		case "letter-spacing":
			spacing = v
		case "text-anchor":
			s.anchor = v
		case "fill":
			s.fill = v
		case "dominant-baseline", "alignment-baseline":
			s.baseline = v
		case "baseline-shift":
			switch n, ok := length(v, s.size, s.size); {
			case v == "sub":
				s.shift -= 0.2 * parent.size
			case v == "super":
				s.shift += 0.4 * parent.size
			case ok:
				s.shift += n
			}
		case "xml:space":
			s.preserve = v == "preserve"
		case "white-space":
			s.preserve = strings.HasPrefix(v, "pre") || v == "break-spaces"
		case "writing-mode":
			s.vertical = strings.HasPrefix(v, "tb") || strings.HasPrefix(v, "vertical")
		case "text-decoration", "text-decoration-line":
			s.underline = strings.Contains(v, "underline")
			s.strike = strings.Contains(v, "line-through")
		}
	}
	// Letter spacing in em is of the font size, whichever comes first.
	switch n, ok := length(spacing, s.size, s.size); {
	case spacing == "normal":
		s.spacing = 0
	case ok:
		s.spacing = n
	}
	return s
}

func (s *textStyle) setSize(v string, parent textStyle) {
	if n, ok := length(v, parent.size, parent.size); ok && n >= 0 && n <= 1e5 {
		s.size = n
		return
	}
	for i, word := range []string{"xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large"} {
		if v == word {
			s.size = []float64{9, 10, 13, 16, 18, 24, 32}[i]
		}
	}
}

func (s *textStyle) setWeight(v string, parent textStyle) {
	switch v {
	case "normal":
		s.weight = 400
	case "bold":
		s.weight = 700
	case "bolder":
		s.weight = min(max(parent.weight+300, 400), 900)
	case "lighter":
		s.weight = max(parent.weight-300, 100)
	default:
		if n, err := strconv.Atoi(v); err == nil && n >= 1 && n <= 1000 {
			s.weight = n
		}
	}
}

// shorthand reads CSS's font: words of style and weight, the size, then the families.
func (s *textStyle) shorthand(v string, parent textStyle) {
	fields := strings.Fields(v)
	for i, f := range fields {
		size, _, _ := strings.Cut(f, "/")
		if _, ok := length(size, parent.size, parent.size); ok && (i > 0 || strings.ContainsAny(size, "pem%")) {
			if n, err := strconv.Atoi(size); err == nil && n >= 100 && i+1 < len(fields) {
				s.setWeight(size, parent)
				continue
			}
			s.setSize(size, parent)
			s.family = strings.Join(fields[i+1:], " ")
			return
		}
		switch f {
		case "italic", "oblique":
			s.italic = true
		case "bold", "bolder", "lighter":
			s.setWeight(f, parent)
		default:
			s.setWeight(f, parent)
		}
	}
}

// cssRule is a simple selector with its declarations: an element, classes, an id.
type cssRule struct {
	element, id  string
	classes      []string
	specificity  int
	declarations []declaration
}

// survey reads the file once before it is drawn: its style sheets, and the clips that cut nothing off.
// Selectors that look at other elements are left to the drawing module, which knows them for shapes;
// for text they say nothing.
func (o *outliner) survey() error {
	dec := xml.NewDecoder(bytes.NewReader(o.in))
	var sheet bytes.Buffer
	var stack []string
	var clip clipSurvey
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("not well-formed: %w", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(stack) == 0 {
				clip.view = viewOf(tok)
			}
			clip.start(tok)
			stack = append(stack, tok.Name.Local)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			clip.end(tok)
		case xml.CharData:
			if n := len(stack); n > 0 && stack[n-1] == "style" {
				sheet.Write(tok)
			}
		}
	}
	rules, err := parseSheet(sheet.String())
	if err != nil {
		return err
	}
	o.rules, o.idleClips = rules, clip.idle
	return nil
}

func parseSheet(sheet string) ([]cssRule, error) {
	for {
		before, rest, ok := strings.Cut(sheet, "/*")
		if !ok {
			break
		}
		_, after, _ := strings.Cut(rest, "*/")
		sheet = before + after
	}
	var rules []cssRule
	for sheet != "" {
		selectors, rest, ok := strings.Cut(sheet, "{")
		if strings.Contains(selectors, "@import") {
			return nil, fmt.Errorf("@import in a style sheet: %w", ErrExternal)
		}
		if !ok {
			break
		}
		body, after, _ := strings.Cut(rest, "}")
		sheet = after
		if strings.Contains(selectors, "@") {
			// Blocks within blocks (@media) and fonts of the file's own are passed over.
			if depth := strings.Count(body, "{"); depth > 0 {
				_, sheet, _ = strings.Cut(sheet, "}")
			}
			continue
		}
		declarations := parseDeclarations(body)
		for _, d := range declarations {
			if strings.Contains(d.value, "url(") && !strings.Contains(d.value, "url(#") && !strings.Contains(d.value, `url("#`) && !strings.Contains(d.value, `url('#`) {
				return nil, fmt.Errorf("%s in a style sheet: %w", short(d.value), ErrExternal)
			}
		}
		for sel := range strings.SplitSeq(selectors, ",") {
			if r, ok := parseSelector(strings.TrimSpace(sel)); ok {
				r.declarations = declarations
				rules = append(rules, r)
			}
		}
	}
	slices.SortStableFunc(rules, func(a, b cssRule) int { return a.specificity - b.specificity })
	return rules, nil
}

func parseSelector(sel string) (cssRule, bool) {
	if sel == "" || strings.ContainsAny(sel, " >+~[:\t\n") {
		return cssRule{}, false
	}
	var r cssRule
	for sel != "" {
		kind := byte(0)
		if sel[0] == '.' || sel[0] == '#' {
			kind, sel = sel[0], sel[1:]
		}
		end := strings.IndexAny(sel, ".#")
		if end < 0 {
			end = len(sel)
		}
		name := sel[:end]
		sel = sel[end:]
		switch {
		case name == "":
			return cssRule{}, false
		case kind == '.':
			r.classes = append(r.classes, name)
			r.specificity += 10
		case kind == '#':
			r.id = name
			r.specificity += 100
		case name != "*":
			r.element = name
			r.specificity++
		}
	}
	return r, true
}
