package template_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

var shared = sync.OnceValues(func() (*render.Renderer, error) {
	dir, err := os.MkdirTemp("", "template")
	if err != nil {
		return nil, err
	}
	return render.New(context.Background(), render.Options{CacheDir: dir, Workers: 1})
})

func renderer(t testing.TB) *render.Renderer {
	t.Helper()
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// square measures every grapheme as wide as half its size, and knows no character above U+F0000.
type square struct{}

func (square) Measure(text string, s render.Style) render.Extent {
	n := uniseg.GraphemeClusterCount(text)
	e := render.Extent{Width: float64(n)*s.Size/2 + float64(max(n-1, 0))*s.LetterSpacing}
	for _, r := range text {
		if r > 0xF0000 {
			e.Missing = append(e.Missing, string(r))
		}
	}
	if s.Family == "Gotham" {
		e.Fallback = []string{"Inter"}
	}
	return e
}

func avatar() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 90, 60))
	for y := range 60 {
		for x := range 90 {
			img.Set(x, y, color.RGBA{uint8(x * 2), uint8(y * 4), 180, 255})
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img)
	return b.Bytes()
}

func values(name, title string) template.Values {
	return template.Values{
		Text: map[string]string{
			"streamer.name": name, "streamer.title": title, "total": "1 234 567,89 €", "donors": "12 345",
			"event": "ZEvent 2026", "hours": "54,5",
		},
		Images: map[string][]byte{"avatar": avatar()},
		Charts: map[string]template.Drawing{"viewers": func(p template.Placeholder) ([]byte, error) {
			return fmt.Appendf(nil, `<path d="M0 %[2]g L%[3]g 20 L%[1]g %[2]g" stroke="%[4]s" stroke-width="4"/><text x="%[3]g" y="60" text-anchor="middle" font-size="14" fill="#fff">peak</text>`,
				p.Box.Width, p.Box.Height, p.Box.Width/2, p.Fill), nil
		}},
		Rows: map[string][]template.Values{"goals": {
			{Text: map[string]string{"goal": "Je mange un citron 🍋", "amount": "1 000 €"}},
			{Text: map[string]string{"goal": "Concert surprise avec toute l'équipe et beaucoup d'invités en direct du plateau", "amount": "250 000 €"}},
		}},
	}
}

func load(t testing.TB, file string) *template.Template {
	t.Helper()
	svg, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := template.Parse(file, svg)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// TestPictures fills a template as Figma exports it, with the shortest and the longest content, and
// compares with pictures that were looked at.
func TestPictures(t *testing.T) {
	r := renderer(t)
	tpl := load(t, "card.svg")
	for name, v := range map[string]template.Values{
		"short": {
			Text:   map[string]string{"streamer.name": "Zo", "streamer.title": "", "total": "", "donors": "", "event": "Z", "hours": "1"},
			Images: map[string][]byte{"avatar": nil}, Charts: map[string]template.Drawing{"viewers": nil},
			Rows: map[string][]template.Values{"goals": nil},
		},
		"usual": values("Zératoi", "Speedrun any% avec Adrien"),
		"long":  values("AntoineDanielLeGrandStreamerDeLaNuit 🎉", "Un très long titre de stream qui raconte toute la vie de l'événement, avec des accents éèà et une fin qu'on ne verra pas"),
	} {
		t.Run(name, func(t *testing.T) {
			svg, err := tpl.Fill(r, v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.PNG(t.Context(), svg, 360)
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/card-" + name + ".png"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, want)
		})
	}
}

func compare(t *testing.T, got, want []byte) {
	t.Helper()
	a, err := png.Decode(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	b, err := png.Decode(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if a.Bounds() != b.Bounds() {
		t.Fatalf("the picture is %v, want %v", a.Bounds(), b.Bounds())
	}
	different := 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			for _, d := range [][2]uint32{{r1, r2}, {g1, g2}, {b1, b2}} {
				if max(d[0], d[1])-min(d[0], d[1]) > 16<<8 {
					different++
					break
				}
			}
		}
	}
	if most := a.Bounds().Dx() * a.Bounds().Dy() / 2000; different > most {
		t.Errorf("%d pixels are not as they were, %d may be: look at it, and run the test with -update", different, most)
	}
}

func TestPlaceholders(t *testing.T) {
	var got []string
	for _, p := range load(t, "card.svg").Placeholders() {
		got = append(got, fmt.Sprintf("%d %s %s/%s %g,%g %gx%g %s %g-%g %d", p.Line, p.Kind, p.Rows, p.Name, p.Box.X, p.Box.Y, p.Box.Width, p.Box.Height, p.Align, p.MinSize, p.Style.Size, p.Lines))
	}
	want := []string{
		"4 image /avatar 32,32 116x116  0-16 0",
		"5 text /streamer.name 172,40.9545 340x57.6 left 24-48 1",
		"6 text /streamer.title 172,100.273 340x48 left 12-20 2",
		"7 if /total 0,0 0x0  0-16 0",
		"10 text /total 52,190 436x86.4 center 30-72 1",
		"11 text /donors 169,272 0x21.6 center 10.8-18 1",
		"13 chart /viewers 32,330 476x120  0-16 0",
		"14 rows /goals 0,0 0x0  0-16 0",
		"17 text goals/goal 48,482.545 330x21.6 left 14-18 1",
		"18 text goals/amount 430,479 100x26.4 right 13.2-22 1",
	}
	for i, w := range want {
		w = regexp.MustCompile(`\s+`).ReplaceAllString(w, " ")
		if g := regexp.MustCompile(`\s+`).ReplaceAllString(round(got[i]), " "); g != w {
			t.Errorf("placeholder %d is\n%s, want\n%s", i, g, w)
		}
	}
	if len(got) != 15 {
		t.Errorf("%d placeholders", len(got))
	}
}

// round takes the noise off numbers like 57.599999.
func round(s string) string {
	return regexp.MustCompile(`\d+\.\d{5,}`).ReplaceAllStringFunc(s, func(n string) string {
		var v float64
		_, _ = fmt.Sscan(n, &v)
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", v), "0"), ".")
	})
}

const open = `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">`

func fill(t testing.TB, svg string, v template.Values) string {
	t.Helper()
	tpl, err := template.Parse("a.svg", []byte(open+svg+"</svg>"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := tpl.Fill(square{}, v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(out), open), "</svg>")
}

func TestFill(t *testing.T) {
	v := template.Values{
		Text: map[string]string{"a": "abc", "b": "<&\"é\x01", "long": "one two three four", "empty": ""},
		If:   map[string]bool{"yes": true, "no": false},
		Rows: map[string][]template.Values{"r": {{Text: map[string]string{"n": "1"}}, {Text: map[string]string{"n": "2", "a": "own"}}}, "none": nil},
		Charts: map[string]template.Drawing{"c": func(p template.Placeholder) ([]byte, error) {
			return fmt.Appendf(nil, `<x w="%g" h="%g" fill="%s"/>`, p.Box.Width, p.Box.Height, p.Fill), nil
		}},
	}
	const style = ` style="font-size:10px;text-anchor:start"`
	for name, tt := range map[string]struct{ svg, want string }{
		"nothing to fill stays byte for byte": {`<g  id='x'/><!-- c --><text >a &#x20ac;</text >`, `<g  id='x'/><!-- c --><text >a &#x20ac;</text >`},
		"the name of a layer":                 {`<text id="{{a}}" x="5" y="20" font-size="10">Sample</text>`, `<text id="{{a}}"` + style + `><tspan x="5" y="20">abc</tspan></text>`},
		"a second layer of the name":          {`<text id="{{ a }}_2" x="5" y="20" font-size="10">Sample</text>`, `<text id="{{ a }}_2"` + style + `><tspan x="5" y="20">abc</tspan></text>`},
		"words":                               {`<text x="5" y="20" font-size="10">= {{a}}!</text>`, `<text` + style + `><tspan x="5" y="20">= abc!</tspan></text>`},
		"escaped":                             {`<text x="5" y="20" font-size="10">{{b}}</text>`, `<text` + style + `><tspan x="5" y="20">&lt;&amp;&#34;é </tspan></text>`},
		"center of what the sample shows":     {`<text id="{{a|center}}" x="50" y="20" font-size="10">12345678</text>`, `<text id="{{a|center}}" style="font-size:10px;text-anchor:middle"><tspan x="70" y="20">abc</tspan></text>`},
		"smaller":                             {`<text id="{{long | width 70}}" x="5" y="20" font-size="10"/>`, `<text id="{{long | width 70}}" style="font-size:7.7px;text-anchor:start"><tspan x="5" y="20">one two three four</tspan></text>`},
		"cut":                                 {`<text id="{{long | width 30 | min 10}}" x="5" y="20" font-size="10"/>`, `<text id="{{long | width 30 | min 10}}"` + style + `><tspan x="5" y="20">one t…</tspan></text>`},
		"lines":                               {`<text id="{{long | width 50 | min 10 | lines 2}}" font-size="10" y="20"/>`, `<text id="{{long | width 50 | min 10 | lines 2}}"` + style + `><tspan x="0" y="20">one two</tspan><tspan x="0" y="32">three four</tspan></text>`},
		"a box":                               {`<g transform="translate(10 0)"><rect id="{{box:a}}" x="0" y="0" width="100" height="15"/></g><text id="{{a | right}}" x="5" y="20" font-size="10"/>`, `<g transform="translate(10 0)"></g><text id="{{a | right}}" style="font-size:10px;text-anchor:end"><tspan x="110" y="20">abc</tspan></text>`},
		"empty":                               {`<text id="{{empty}}">Sample</text>`, ``},
		"sections":                            {`<g id="{{if:yes}}"><b/></g><g id="{{if:no}}"><b/></g><g id="{{if:!no}}"><c/></g><g id="{{if:empty}}"/><g id="{{if:a}}"/>`, `<g id="{{if:yes}}"><b/></g><g id="{{if:!no}}"><c/></g><g id="{{if:a}}"/>`},
		"rows":                                {`<g id="{{rows:r}}"><rect/><g><text font-size="10">{{n}}{{a}}</text></g><g><text font-size="10">{{n}}{{a}}</text></g><g>3</g></g>`, `<g id="{{rows:r}}"><rect/><g><text` + style + `><tspan x="0" y="0">1abc</tspan></text></g><g><text` + style + `><tspan x="0" y="0">2own</tspan></text></g></g>`},
		"rows by step":                        {`<g id="{{rows:r | down 12}}"><g><text font-size="10">{{n}}</text></g></g>`, `<g id="{{rows:r | down 12}}"><g transform="translate(0 0)"><g><text` + style + `><tspan x="0" y="0">1</tspan></text></g></g><g transform="translate(0 12)"><g><text` + style + `><tspan x="0" y="0">2</tspan></text></g></g></g>`},
		"no rows":                             {`<g id="{{rows:none}}"><g id="{{row}}"/></g>`, `<g id="{{rows:none}}"></g>`},
		"a chart":                             {`<g id="{{chart:c}}" opacity="0.5"><rect x="3" y="4" width="20" height="10" fill="#123"/></g>`, `<g id="{{chart:c}}" opacity="0.5"><g transform="translate(3 4)"><x w="20" h="10" fill="#123"/></g></g>`},
		"parts of another look":               {`<text x="5" y="20" font-size="10">{{a}} <tspan font-weight="700" font-size="20">{{a}}</tspan></text>`, `<text x="5" y="20" font-size="10">abc <tspan font-weight="700" font-size="20">abc</tspan></text>`},
		"parts, the first of another look":    {`<text x="5" y="20" font-size="10"><tspan font-weight="700">{{long | width 50 | min 5}}</tspan> {{a}}</text>`, `<text x="5" y="20" style="font-size:5px"><tspan font-weight="700">one two three f…</tspan> abc</text>`},
		"parts that are too wide":             {`<text id="w" x="150" y="20" font-size="10">{{a | width 35}} <tspan font-size="20">{{a}}</tspan></text>`, `<text id="w" x="150" y="20" style="font-size:7px">abc <tspan style="font-size:14px">abc</tspan></text>`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fill(t, tt.svg, v); got != tt.want {
				t.Errorf("filled:\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

func TestImage(t *testing.T) {
	// A path with transform and stroke: the picture is cropped to the form, the stroke stays on top.
	got := fill(t, `<path id="{{p}}" transform="scale(2)" d="M10 0h20v10h-20z" fill="#ccc" stroke="red"/>`, template.Values{Images: map[string][]byte{"p": avatar()}})
	got = regexp.MustCompile(`base64,[^"]*`).ReplaceAllString(got, "base64,...")
	want := `<g id="{{p}}" transform="scale(2)"><clipPath id="tungstene-clip-1"><path d="M10 0h20v10h-20z"/></clipPath>` +
		`<image clip-path="url(#tungstene-clip-1)" x="10" y="0" width="20" height="10" preserveAspectRatio="xMidYMid slice" href="data:image/png;base64,..."/>` +
		`<path d="M10 0h20v10h-20z" stroke="red" fill="none"/></g>`
	if got != want {
		t.Errorf("filled:\n%s, want\n%s", got, want)
	}
	// A GIF and a picture far larger than its place become PNG.
	gif, err := base64.StdEncoding.DecodeString("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
	if err != nil {
		t.Fatal(err)
	}
	big := image.NewGray(image.Rect(0, 0, 900, 900))
	var b bytes.Buffer
	if err := png.Encode(&b, big); err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{gif, b.Bytes()} {
		got := fill(t, `<rect id="{{p}}" width="20" height="10"/>`, template.Values{Images: map[string][]byte{"p": data}})
		m := regexp.MustCompile(`data:image/png;base64,([^"]*)`).FindStringSubmatch(got)
		if m == nil {
			t.Fatalf("no PNG in %s", got)
		}
		data, err := base64.StdEncoding.DecodeString(m[1])
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := png.DecodeConfig(bytes.NewReader(data))
		if err != nil || cfg.Width > 40 {
			t.Errorf("the picture has %d pixels: %v", cfg.Width, err)
		}
	}
	tpl, err := template.Parse("a.svg", []byte(open+`<rect id="{{p}}" width="20" height="10"/></svg>`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpl.Fill(square{}, template.Values{Images: map[string][]byte{"p": []byte("nothing")}})
	if err == nil || !strings.Contains(err.Error(), "a.svg:1: {{p}}: the picture p: it is no PNG") {
		t.Errorf("a broken picture: %v", err)
	}
}

func TestChartErrors(t *testing.T) {
	tpl, err := template.Parse("a.svg", []byte(open+`<rect id="{{chart:c}}" width="20" height="10"/></svg>`))
	if err != nil {
		t.Fatal(err)
	}
	for fragment, says := range map[string]string{"<g>": "well-formed", "</g><g>": "closed", "<!DOCTYPE a>": "only elements", "": ""} {
		_, err := tpl.Fill(square{}, template.Values{Charts: map[string]template.Drawing{"c": func(template.Placeholder) ([]byte, error) { return []byte(fragment), nil }}})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v", fragment, err)
		}
	}
	wrong := errors.New("wrong")
	_, err = tpl.Fill(square{}, template.Values{Charts: map[string]template.Drawing{"c": func(template.Placeholder) ([]byte, error) { return nil, wrong }}})
	if !errors.Is(err, wrong) {
		t.Error(err)
	}
}

func TestParseErrors(t *testing.T) {
	for name, tt := range map[string]struct{ svg, says string }{
		"not SVG":        {"<html></html>", "a.svg: the file is no SVG: export it from the design program as SVG: it begins with <html>"},
		"no XML":         {"\x89PNG\r\n", "a.svg: the file is no SVG"},
		"words":          {"hello", "a.svg: the file is no SVG"},
		"empty":          {"", "a.svg: the file is no SVG"},
		"entities":       {"<?xml version='1.0'?>\n<!DOCTYPE svg [<!ENTITY ns 'http://www.w3.org/2000/svg'>]>\n<svg xmlns='&ns;'/>", "line 2: entities of a DOCTYPE are not read"},
		"not UTF-8":      {"<?xml version='1.0' encoding='ISO-8859-1'?>" + open + "</svg>", "must be saved as UTF-8"},
		"cut off":        {open, "a.svg: line 1: "},
		"crossed":        {open + "\n<g><a></g></a></svg>", "line 2"},
		"no size":        {`<svg xmlns="http://www.w3.org/2000/svg"/>`, "a.svg:1: the <svg> needs a width"},
		"open braces":    {open + "\n\n" + `<rect id="{{a"/></svg>`, "a.svg:3: {{a: the layer's name must be one"},
		"two":            {open + `<rect id="{{a}} {{b}}"/></svg>`, "must be one"},
		"option":         {open + `<text id="{{a | centered}}"/></svg>`, `"centered" is no option: left, center`},
		"option's value": {open + `<text id="{{a | width wide}}"/></svg>`, `"wide" is not a number`},
		"kind":           {open + `<rect id="{{graph:a}}"/></svg>`, `"graph" is no kind`},
		"name":           {open + `<text id="{{a b}}"/></svg>`, `"a b" is no name`},
		"outlined text":  {open + `<g id="{{text:a}}"><path d="M0 0h9v9"/></g></svg>`, "Outline text"},
		"no shape":       {open + `<g id="{{chart:a}}"></g></svg>`, "no shape with a size"},
		"rows":           {open + `<g id="{{rows:a}}"><rect/></g></svg>`, "no group inside"},
		"chart in words": {open + `<text>a {{chart:b}}</text></svg>`, "only texts"},
		"style":          {open + `<style>@import "x"</style></svg>`, "outside of itself"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := template.Parse("a.svg", []byte(tt.svg))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v, want one with %q", err, tt.says)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	check := func(svg string, v template.Values, expected ...string) string {
		tpl, err := template.Parse("a.svg", []byte(open+svg+"</svg>"))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, p := range tpl.Check(square{}, v, expected) {
			fmt.Fprintf(&b, "%s %s\n", p.Severity, p)
		}
		return b.String()
	}
	v := template.Values{
		Text:   map[string]string{"streamer.name": "x", "long": "a very long text", "odd": "\U000F0001"},
		Images: map[string][]byte{"avatar": nil}, If: map[string]bool{"no": false},
		Rows: map[string][]template.Values{"top": {{Text: map[string]string{"rank": "1"}}, {Text: map[string]string{"rank": "2"}}}},
	}
	for name, tt := range map[string]struct{ svg, want string }{
		"fine":            {`<text id="{{streamer.name}}"/><rect id="{{avatar}}" width="1" height="1"/>`, ``},
		"no placeholders": {`<text id="a"/>`, `error a.svg: there is no placeholder`},
		"a wrong name":    {"\n" + `<text id="{{streamr.name}}"/>`, `error a.svg:2: {{streamr.name}}: there is no text called "streamr.name": did you mean "streamer.name"?`},
		"far from any":    {`<rect id="{{sponsor}}" width="1" height="1"/>`, `error a.svg:1: {{sponsor}}: there is no picture called "sponsor": docs/reports.md lists the names`},
		"in a section":    {`<g id="{{if:no}}"><text id="{{longer}}"/></g>`, `there is no text called "longer": did you mean "long"?`},
		"condition":       {`<g id="{{if:nope}}"/>`, `there is no condition called "nope": did you mean "no"?`},
		"too long":        {`<text id="{{long | width 20}}" font-size="10"/>`, `warning a.svg:1: {{long | width 20}}: "a very long text" is cut: at the smallest size of 6 it does not fit a line of 20`},
		"no glyph":        {`<text id="{{odd}}"/>`, `warning a.svg:1: {{odd}}: no font has `},
		"no font":         {`<text id="{{long}}" font-family="Gotham" font-size="2"/>`, `warning a.svg:1: {{long}}: the font Gotham is not there and Inter is drawn`},
		"rows":            {`<g id="{{rows:top}}"><g id="{{row}}"><text id="{{rang}}"/></g></g>`, `there is no text called "rang": did you mean "rank"?`},
		"too many rows":   {`<g id="{{rows:top}}"><g id="{{row}}"><text id="{{rank}}"/></g></g>`, `warning a.svg:1: {{rows:top}}: 2 rows, and room for 1`},
		"into another":    {`<text id="{{long}}" x="5" y="50" font-size="10">abc</text><text x="60" y="50" font-size="10">€</text>`, `warning a.svg:1: {{long}}: "a very long text" runs into "€": give it the room that it has, as in {{long | width 55}}, or a {{box:long}}`},
		"parts into it":   {`<text x="5" y="50" font-size="10"><tspan font-weight="700">{{long}}</tspan>!</text><text x="60" y="50" font-size="10">€</text>`, `: "a very long text!" runs into "€": give it the room that it has, as in {{long | width 55}}`},
		"over its card":   {`<rect x="5" y="30" width="50" height="30" fill="#fff"/><text id="{{long}}" x="10" y="50" font-size="10">abc</text>`, `warning a.svg:1: {{long}}: "a very long text" runs 35 over the edge of the shape that it stands on: give it the room that it has, as in {{long | width 45}}`},
		"in its card":     {`<rect x="5" y="30" width="90" height="30" fill="#fff"/><text id="{{long}}" x="10" y="50" font-size="10">abc</text>`, ``},
		"as the designer": {`<text id="{{streamer.name}}" x="5" y="50" font-size="10">abcdefg</text><text x="20" y="50" font-size="10">over</text>`, ``},
		"a box for none":  {`<rect id="{{box:b}}" width="9" height="9"/><text id="{{long}}" font-size="2"/>`, `there is no text called "b" for this box`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := check(tt.svg, v); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("problems:\n%s, want\n%s", got, tt.want)
			}
		})
	}
	if got := check(`<text id="{{long}}" font-size="2"/>`, v, "long", "avatar"); got != "warning a.svg: no layer shows \"avatar\"\n" {
		t.Errorf("expected names: %s", got)
	}
}

// TestFigmaNames reads names as Figma writes them: bytes outside of ASCII one by one, quotes escaped.
func TestFigmaNames(t *testing.T) {
	got := fill(t, `<text id="{{&#195;&#169;quipe}}" font-size="10" y="1">x</text>`, template.Values{Text: map[string]string{"équipe": "ok"}})
	if !strings.Contains(got, ">ok<") {
		t.Error(got)
	}
}

// TestNamesOfOtherPrograms reads names as Inkscape and Illustrator write them, with options.
func TestNamesOfOtherPrograms(t *testing.T) {
	for name, attrs := range map[string]string{
		"Inkscape":              `id="text1" inkscape:label="{{a | width 30}}"`,
		"Illustrator":           `id="_x7B__x7B_a___x7C__width_30_x7D__x7D_"`,
		"Illustrator, a second": `id="_x7B__x7B_a___x7C__width_30_x7D__x7D__2_"`,
		"Illustrator, exported": `id="_a_width_30_" data-name="{{a | width 30}}"`,
	} {
		got := fill(t, `<text `+attrs+` font-size="10" y="1">x</text>`, template.Values{Text: map[string]string{"a": "abcdefgh"}})
		if !strings.Contains(got, "font-size:7.5px") || !strings.Contains(got, ">abcdefgh<") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestPicturesAreAsSharpAsThePage keeps the pixels of an avatar that a page in millimetres shows.
func TestPicturesAreAsSharpAsThePage(t *testing.T) {
	tpl, err := template.Parse("a.svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="210mm" height="210mm" viewBox="0 0 210 210"><circle id="{{p}}" r="5"/></svg>`))
	if err != nil {
		t.Fatal(err)
	}
	out, err := tpl.Fill(square{}, template.Values{Images: map[string][]byte{"p": avatar()}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), base64.StdEncoding.EncodeToString(avatar())) { // 38 pixels high: 60 are less than twice that
		t.Error("the avatar is made smaller than it is shown")
	}
}

// TestCheckDrawing says what is not drawn, and where that is.
func TestCheckDrawing(t *testing.T) {
	for name, tt := range map[string]struct{ svg, want string }{
		"fine":               {`<defs><linearGradient id="g"/></defs><rect id="a" fill="url(#g)"/><a href="#top"/>`, ``},
		"an address":         {"\n" + `<g id="logo"><image href="https://example.org/a.png"/></g>`, `error a.svg:2: logo: <image>: the picture https://example.org/a.png: the SVG refers to something outside of itself`},
		"a file":             {`<image id="logo" href="logo.png"/>`, `error a.svg:1: logo: <image>: the picture logo.png: the SVG refers to something outside of itself`},
		"a broken picture":   {`<image id="logo" href="data:image/png;base64,AAAA"/>`, `error a.svg:1: logo: <image>: the picture is broken`},
		"WebP":               {`<image id="logo" href="data:image/webp;base64,AAAA"/>`, `a picture of type image/webp is not drawn: use PNG, JPEG or GIF`},
		"vertical":           {`<text id="side" writing-mode="tb">a</text>`, `error a.svg:1: side: vertical text is not drawn`},
		"on a path":          {`<path id="p"/><text id="arc"><textPath href="#p">a</textPath></text>`, `error a.svg:1: arc: <textPath> in a text is not drawn`},
		"too much":           {`<g id="a"><rect/><rect/><rect/><rect/></g>` + doubled(20), `the picture is too large`},
		"a background blur":  {`<g id="card"><foreignObject><div xmlns="http://www.w3.org/1999/xhtml" style="backdrop-filter:blur(10px)"/></foreignObject></g>`, `warning a.svg:1: card: a background blur is not drawn`},
		"an angular fill":    {`<g id="disc"><foreignObject><div xmlns="http://www.w3.org/1999/xhtml" style="background:conic-gradient(red,blue)"/></foreignObject></g>`, `warning a.svg:1: disc: an angular or diamond gradient is not drawn`},
		"a script":           {`<script>x()</script>`, `warning a.svg:1: a script does nothing`},
		"a missing gradient": {`<rect id="a" style="fill:url(#gone)"/>`, `warning a.svg:1: a: it needs #gone, which is not in the file`},
		"an empty picture":   {`<image id="logo"/>`, `warning a.svg:1: logo: the picture is empty`},
	} {
		t.Run(name, func(t *testing.T) {
			tpl, err := template.Parse("a.svg", []byte(open+tt.svg+"</svg>"))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, p := range tpl.CheckDrawing(renderer(t)) {
				fmt.Fprintf(&b, "%s %s\n", p.Severity, p)
			}
			if got := b.String(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("problems:\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

// doubled draws #a two to the n times.
func doubled(n int) string {
	var b strings.Builder
	last := "a"
	for i := range n {
		next := fmt.Sprintf("a%d", i)
		fmt.Fprintf(&b, `<g id="%s"><use href="#%s"/><use href="#%[2]s"/></g>`, next, last)
		last = next
	}
	return b.String()
}

// TestFitting fills texts into boxes: no line is ever wider than the box, what is left of the text is
// a start of it cut between graphemes, and it is not smaller than asked for.
func TestFitting(t *testing.T) {
	r := renderer(t)
	rapid.Check(t, func(t *rapid.T) {
		var m template.Measurer = square{}
		if rapid.Bool().Draw(t, "real") {
			m = r
		}
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "AVATAR", "été", "l'événement", "👨‍👩‍👧‍👦", "🇫🇷🇫🇷", "e\u0301e\u0301", "incompréhensiblement", "—", "12 345,67 €"}), 1, 12).Draw(t, "words")
		value := strings.Join(words, " ")
		size := rapid.Float64Range(8, 80).Draw(t, "size")
		least := rapid.Float64Range(4, size).Draw(t, "min")
		width := rapid.Float64Range(3*size, 40*size).Draw(t, "width")
		lines := rapid.IntRange(1, 4).Draw(t, "lines")
		align := rapid.SampledFrom([]string{"left", "center", "right"}).Draw(t, "align")
		svg := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="1000"><text id="{{v | width %g | min %g | lines %d | %s}}" font-size="%g" letter-spacing="%g" x="400" y="300">Sample</text></svg>`,
			width, least, lines, align, size, rapid.SampledFrom([]float64{0, 0, 2, -1}).Draw(t, "spacing"))
		tpl, err := template.Parse("a.svg", []byte(svg))
		if err != nil {
			t.Fatal(err)
		}
		out, err := tpl.Fill(m, template.Values{Text: map[string]string{"v": value}})
		if err != nil {
			t.Fatal(err)
		}
		got, style := readLines(t, out)
		if len(got) == 0 || len(got) > lines {
			t.Fatalf("%d lines of %d: %s", len(got), lines, out)
		}
		if style.Size < least-0.01 || style.Size > size+0.01 {
			t.Fatalf("the size is %g, allowed are %g to %g", style.Size, least, size)
		}
		for _, l := range got {
			if w := m.Measure(l, style).Width; w > width+0.01 && uniseg.GraphemeClusterCount(l) > 1 {
				t.Fatalf("%q is %.2f wide in a box of %.2f", l, w, width)
			}
		}
		all := strings.ReplaceAll(strings.Join(got, ""), " ", "")
		whole := strings.ReplaceAll(value, " ", "")
		start, cut := strings.CutSuffix(all, "…")
		if !cut && all != whole || !strings.HasPrefix(whole, start) {
			t.Fatalf("%q became %q", value, got)
		}
		if cut && start != "" {
			rest := whole[len(start):]
			if r, _ := utf8.DecodeRuneInString(rest); uniseg.GraphemeClusterCount(start)+uniseg.GraphemeClusterCount(rest) != uniseg.GraphemeClusterCount(whole) {
				t.Fatalf("%q is cut before %q, within a grapheme", value, r)
			}
		}
	})
}

// readLines reads a filled text back.
func readLines(t *rapid.T, svg []byte) (lines []string, style render.Style) {
	dec := xml.NewDecoder(bytes.NewReader(svg))
	inherited := render.Root()
	inLine := false
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return lines, style
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			switch tok.Name.Local {
			case "text":
				style = render.Sheet{}.Inherit(inherited, tok).Style()
			case "tspan":
				inLine = true
				lines = append(lines, "")
			}
		case xml.EndElement:
			inLine = inLine && tok.Name.Local != "tspan"
		case xml.CharData:
			if inLine {
				lines[len(lines)-1] += string(tok)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	card, err := os.ReadFile("testdata/card.svg")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(card)
	f.Add([]byte(open + `<g id="{{rows:a | down 5}}"><g><text>{{b}} <tspan dy="1">{{c}}</tspan></text></g></g></svg>`))
	f.Add([]byte(open + `<path id="{{a}}" d="M0 0a1 1 0 015.5.5z"/><text id="{{&#195;&#169;}}"/></svg>`))
	f.Fuzz(func(t *testing.T, svg []byte) {
		tpl, err := template.Parse("fuzz.svg", svg)
		if err != nil {
			return
		}
		v := values("Zératoi & <co>", "a\nb")
		for _, p := range tpl.Placeholders() {
			switch p.Kind {
			case template.Text:
				v.Text[p.Name] = "é & 👨‍👩‍👧‍👦 text"
			case template.Image:
				v.Images[p.Name] = avatar()
			case template.Chart:
				v.Charts[p.Name] = v.Charts["viewers"]
			case template.Rows:
				v.Rows[p.Name] = []template.Values{{}, {}}
			case template.If:
			}
		}
		out, err := tpl.Fill(square{}, v)
		if err != nil {
			t.Fatalf("what was parsed can't be filled: %v", err)
		}
		// What comes out is a template again.
		if _, err := template.Parse("filled.svg", out); err != nil {
			t.Fatalf("filled: %v\n%s", err, out)
		}
		tpl.Check(square{}, template.Values{}, nil)
	})
}

func BenchmarkFill(b *testing.B) {
	r := renderer(b)
	tpl := load(b, "card.svg")
	v := values("AntoineDanielLeGrandStreamerDeLaNuit 🎉", "Un très long titre de stream qui raconte toute la vie de l'événement")
	for b.Loop() {
		if _, err := tpl.Fill(r, v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPicture is what one streamer's picture costs, from values to PNG at 1080 by 1350.
func BenchmarkPicture(b *testing.B) {
	r := renderer(b)
	tpl := load(b, "card.svg")
	v := values("Zératoi", "Speedrun any% avec Adrien")
	for b.Loop() {
		svg, err := tpl.Fill(r, v)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.PNG(b.Context(), svg, 1080); err != nil {
			b.Fatal(err)
		}
	}
}
