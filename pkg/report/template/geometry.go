package template

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

// matrix is an affine transform: x' = a x + c y + e, y' = b x + d y + f.
type matrix struct{ a, b, c, d, e, f float64 }

func identity() matrix { return matrix{a: 1, d: 1} }

func (m matrix) times(n matrix) matrix {
	return matrix{
		a: m.a*n.a + m.c*n.b, b: m.b*n.a + m.d*n.b,
		c: m.a*n.c + m.c*n.d, d: m.b*n.c + m.d*n.d,
		e: m.a*n.e + m.c*n.f + m.e, f: m.b*n.e + m.d*n.f + m.f,
	}
}

func (m matrix) apply(x, y float64) (float64, float64) {
	return m.a*x + m.c*y + m.e, m.b*x + m.d*y + m.f
}

// inverse is the identity for a transform that flattens everything.
func (m matrix) inverse() matrix {
	det := m.a*m.d - m.b*m.c
	if math.Abs(det) < 1e-12 {
		return identity()
	}
	return matrix{
		a: m.d / det, b: -m.b / det, c: -m.c / det, d: m.a / det,
		e: (m.c*m.f - m.d*m.e) / det, f: (m.b*m.e - m.a*m.f) / det,
	}
}

// box maps a rectangle to the one around it.
func (m matrix) box(b Box) Box {
	r := newBounds()
	for _, p := range [][2]float64{{b.X, b.Y}, {b.X + b.Width, b.Y}, {b.X, b.Y + b.Height}, {b.X + b.Width, b.Y + b.Height}} {
		r.add(m.apply(p[0], p[1]))
	}
	return r.box()
}

// parseTransform reads a transform attribute; what can't be read changes nothing.
func parseTransform(s string) matrix {
	m := identity()
	for {
		name, rest, ok := strings.Cut(s, "(")
		if !ok {
			return m
		}
		args, after, _ := strings.Cut(rest, ")")
		v := numbers(args)
		at := func(i int, otherwise float64) float64 {
			if i < len(v) {
				return v[i]
			}
			return otherwise
		}
		n := identity()
		switch strings.TrimLeft(strings.TrimSpace(name), ", ") {
		case "matrix":
			if len(v) == 6 {
				n = matrix{v[0], v[1], v[2], v[3], v[4], v[5]}
			}
		case "translate":
			n.e, n.f = at(0, 0), at(1, 0)
		case "scale":
			n.a = at(0, 1)
			n.d = at(1, n.a)
		case "rotate":
			sin, cos := math.Sincos(at(0, 0) * math.Pi / 180)
			x, y := at(1, 0), at(2, 0)
			n = matrix{e: x, f: y, a: 1, d: 1}.times(matrix{a: cos, b: sin, c: -sin, d: cos}).times(matrix{e: -x, f: -y, a: 1, d: 1})
		case "skewX":
			n.c = math.Tan(at(0, 0) * math.Pi / 180)
		case "skewY":
			n.b = math.Tan(at(0, 0) * math.Pi / 180)
		}
		m = m.times(n)
		s = after
	}
}

// bounds grows around points.
type bounds struct{ x0, y0, x1, y1 float64 }

func newBounds() *bounds {
	return &bounds{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
}

func (b *bounds) add(x, y float64) {
	b.x0, b.y0 = min(b.x0, x), min(b.y0, y)
	b.x1, b.y1 = max(b.x1, x), max(b.y1, y)
}

func (b *bounds) box() Box {
	if !(b.x1 >= b.x0) {
		return Box{}
	}
	return Box{b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0}
}

// shapeBox is the place that a shape takes, before its own transform. The curves of a path count with
// their control points.
func shapeBox(n *node) (Box, bool) {
	get := func(name string) float64 { v, _ := number(attr(n.el, name)); return v }
	var b Box
	switch n.el.Name.Local {
	case "rect", "image", "use":
		b = Box{get("x"), get("y"), get("width"), get("height")}
	case "circle":
		r := get("r")
		b = Box{get("cx") - r, get("cy") - r, 2 * r, 2 * r}
	case "ellipse":
		b = Box{get("cx") - get("rx"), get("cy") - get("ry"), 2 * get("rx"), 2 * get("ry")}
	case "path":
		b = pathBox(attr(n.el, "d"))
	case "polygon", "polyline":
		r := newBounds()
		v := numbers(attr(n.el, "points"))
		for i := 0; i+1 < len(v); i += 2 {
			r.add(v[i], v[i+1])
		}
		b = r.box()
	default:
		return Box{}, false
	}
	return b, b.Width > 0 && b.Height > 0
}

// pathBox is the rectangle around the points of a path.
func pathBox(d string) Box {
	r := newBounds()
	var x, y, startX, startY float64
	s := pathScanner{d: d}
	for {
		op, args, ok := s.next()
		if !ok {
			return r.box()
		}
		rel := unicode.IsLower(rune(op))
		at := func(i int) (float64, float64) {
			if rel {
				return x + args[i], y + args[i+1]
			}
			return args[i], args[i+1]
		}
		switch unicode.ToUpper(rune(op)) {
		case 'M':
			x, y = at(0)
			startX, startY = x, y
		case 'L', 'T':
			x, y = at(0)
		case 'H':
			if x = args[0] + x; !rel {
				x = args[0]
			}
		case 'V':
			if y = args[0] + y; !rel {
				y = args[0]
			}
		case 'C':
			r.add(at(0))
			r.add(at(2))
			x, y = at(4)
		case 'S', 'Q':
			r.add(at(0))
			x, y = at(2)
		case 'A':
			// The middle of the arc may stand out by as much as its height.
			fromX, fromY := x, y
			x, y = at(5)
			cx, cy := (fromX+x)/2, (fromY+y)/2
			if args[3] != 0 || math.Hypot(x-fromX, y-fromY) > 1.9*max(math.Abs(args[0]), math.Abs(args[1])) {
				r.add(cx-math.Abs(args[0]), cy-math.Abs(args[1]))
				r.add(cx+math.Abs(args[0]), cy+math.Abs(args[1]))
			}
		case 'Z':
			x, y = startX, startY
			continue
		}
		r.add(x, y)
	}
}

// pathScanner reads path data command by command; a command with more arguments than it takes is
// repeated. It stops at what it can't read.
type pathScanner struct {
	d   string
	op  byte
	pos int
}

func (s *pathScanner) next() (op byte, args []float64, ok bool) {
	s.skip()
	if s.pos >= len(s.d) {
		return 0, nil, false
	}
	if c := s.d[s.pos]; strings.IndexByte("MmLlHhVvCcSsQqTtAaZz", c) >= 0 {
		s.op = c
		s.pos++
	} else if s.op == 0 || s.op == 'Z' || s.op == 'z' {
		return 0, nil, false
	}
	count := map[byte]int{'M': 2, 'L': 2, 'T': 2, 'H': 1, 'V': 1, 'C': 6, 'S': 4, 'Q': 4, 'A': 7, 'Z': 0}[byte(unicode.ToUpper(rune(s.op)))]
	for i := range count {
		v, ok := s.number(s.op == 'A' || s.op == 'a' && (i == 3 || i == 4))
		if !ok {
			return 0, nil, false
		}
		args = append(args, v)
	}
	op = s.op
	switch s.op { // what follows a move without a letter is a line
	case 'M':
		s.op = 'L'
	case 'm':
		s.op = 'l'
	}
	return op, args, true
}

func (s *pathScanner) skip() {
	for s.pos < len(s.d) && (s.d[s.pos] == ' ' || s.d[s.pos] == ',' || s.d[s.pos] == '\n' || s.d[s.pos] == '\t' || s.d[s.pos] == '\r') {
		s.pos++
	}
}

// number reads one number; flags of arcs may stand without a space after them.
func (s *pathScanner) number(flag bool) (float64, bool) {
	s.skip()
	start := s.pos
	if flag && s.pos < len(s.d) && (s.d[s.pos] == '0' || s.d[s.pos] == '1') && (s.pos+1 == len(s.d) || s.d[s.pos+1] != '.') {
		s.pos++
		return float64(s.d[start] - '0'), true
	}
	dot, exp := false, false
	for ; s.pos < len(s.d); s.pos++ {
		c := s.d[s.pos]
		switch {
		case c >= '0' && c <= '9':
			continue
		case (c == '-' || c == '+') && (s.pos == start || s.d[s.pos-1] == 'e' || s.d[s.pos-1] == 'E'):
			continue
		case c == '.' && !dot && !exp:
			dot = true
			continue
		case (c == 'e' || c == 'E') && !exp && s.pos > start:
			exp = true
			continue
		}
		break
	}
	v, err := strconv.ParseFloat(s.d[start:s.pos], 64)
	return v, err == nil && math.Abs(v) < 1e9
}

// numbers reads a list of numbers, up to the first that is none.
func numbers(s string) []float64 {
	var out []float64
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		v, ok := number(f)
		if !ok {
			break
		}
		out = append(out, v)
	}
	return out
}

// number reads a length in user units.
func number(s string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "px"), 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > 1e9 {
		return 0, false
	}
	return v, true
}

// format writes a number with at most three decimals.
func format(v float64) string {
	s := strconv.FormatFloat(v, 'f', 3, 64)
	s = strings.TrimRight(s, "0")
	s = strings.TrimSuffix(s, ".")
	if s == "-0" {
		return "0"
	}
	return s
}
