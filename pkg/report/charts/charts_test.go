package charts_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
)

var start = time.Date(2026, 9, 4, 16, 0, 0, 0, time.UTC)

func canvas(w, h float64) charts.Canvas { return charts.Canvas{Width: w, Height: h} }

func span(hours int) charts.Span {
	return charts.Span{From: start, To: start.Add(time.Duration(hours) * time.Hour)}
}

type element struct {
	name string
	attr map[string]string
	text string
}

// elements reads a fragment; one that is no XML fails the test.
func elements(t interface {
	Helper()
	Fatalf(string, ...any)
}, fragment string,
) []element {
	t.Helper()
	var out []element
	dec := xml.NewDecoder(strings.NewReader("<svg>" + fragment + "</svg>"))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %s", err, fragment)
		}
		switch e := token.(type) {
		case xml.StartElement:
			one := element{name: e.Name.Local, attr: map[string]string{}}
			for _, a := range e.Attr {
				one.attr[a.Name.Local] = a.Value
			}
			out = append(out, one)
		case xml.CharData:
			if len(out) > 0 {
				out[len(out)-1].text += string(e)
			}
		}
	}
}

func hourly(values ...float64) charts.Series {
	s := charts.Series{Every: time.Hour}
	for i, v := range values {
		s.Points = append(s.Points, charts.Point{Time: start.Add(time.Duration(i) * time.Hour), Value: v, Known: v >= 0})
	}
	return s
}

func TestGapsStayGaps(t *testing.T) {
	const unknown = -1
	out := canvas(600, 200).Curve(charts.Curve{Span: span(6), Series: []charts.Series{hourly(5, 6, unknown, unknown, 7, 8)}})
	lines := 0
	for _, e := range elements(t, out) {
		if e.name == "path" && e.attr["stroke-linecap"] == "round" {
			lines += strings.Count(e.attr["d"], "M")
		}
	}
	if lines != 2 {
		t.Errorf("the line has %d parts, want 2: what is not known is not joined", lines)
	}
	if bare := canvas(600, 200).Curve(charts.Curve{Span: span(6), Series: []charts.Series{hourly(5, 6, 0, 0, 7, 8)}}); strings.Count(bare, "stroke-linecap") != 1 {
		t.Error("zeros are no gap")
	}
}

func TestAPointMissingIsAGap(t *testing.T) {
	s := hourly(5, 6, 7, 8)
	s.Points = append(s.Points[:1], s.Points[2:]...)
	for _, e := range elements(t, canvas(600, 200).Curve(charts.Curve{Span: span(4), Series: []charts.Series{s}})) {
		if e.name == "path" && e.attr["stroke-linecap"] == "round" && strings.Count(e.attr["d"], "M") != 2 {
			t.Errorf("the hour without a point is joined: %s", e.attr["d"])
		}
	}
}

func TestPeaksStay(t *testing.T) {
	s := charts.Series{Every: time.Minute}
	for i := range 55 * 60 {
		v := 10.0
		if i == 1234 {
			v = 1000
		}
		s.Points = append(s.Points, charts.Point{Time: start.Add(time.Duration(i) * time.Minute), Value: v, Known: true})
	}
	out := canvas(300, 200).Curve(charts.Curve{Span: span(55), Series: []charts.Series{s}})
	if !strings.Contains(out, " 10L") && !strings.Contains(out, " 10 ") && strings.Count(out, "L") < 200 {
		t.Errorf("a minute's peak is lost in 300 pixels: %s", out)
	}
}

// TestLabelsDoNotCollide draws markers at random moments: no two labels touch, and none is outside.
func TestLabelsDoNotCollide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var marks []charts.Marker
		for i := range rapid.IntRange(0, 14).Draw(t, "markers") {
			at := start.Add(time.Duration(rapid.IntRange(0, 55*60-1).Draw(t, "minute")) * time.Minute)
			marks = append(marks, charts.Marker{Time: at, Kind: charts.MarkGoal, Label: "mark " + strconv.Itoa(i*rapid.IntRange(1, 99999).Draw(t, "label"))})
		}
		width := float64(rapid.IntRange(200, 1800).Draw(t, "width"))
		c := canvas(width, 300)
		type label struct{ left, right, y float64 }
		var seen []label
		for _, e := range elements(t, c.Curve(charts.Curve{Span: span(55), Series: []charts.Series{hourly(1, 2, 3)}, Markers: marks})) {
			if e.name != "text" || !strings.HasPrefix(e.text, "mark ") {
				continue
			}
			x, errX := strconv.ParseFloat(e.attr["x"], 64)
			y, errY := strconv.ParseFloat(e.attr["y"], 64)
			if errX != nil || errY != nil {
				t.Fatalf("a label at %q, %q", e.attr["x"], e.attr["y"])
			}
			l := label{x, x + c.LabelWidth(e.text), y}
			if l.left < 0 || l.right > width+1 {
				t.Fatalf("%q is outside: %+v of %v", e.text, l, width)
			}
			for _, o := range seen {
				if o.y == l.y && l.left < o.right && o.left < l.right {
					t.Fatalf("%q collides", e.text)
				}
			}
			seen = append(seen, l)
		}
	})
}

// TestAxesAreRound draws curves of any height: the labels of the axis are few, and each a round number.
func TestAxesAreRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := rapid.Float64Range(0.001, 1e12).Draw(t, "top")
		var labels []float64
		c := charts.Curve{Span: span(2), Series: []charts.Series{hourly(top, top/2)}, Tick: func(v, _ float64) string {
			labels = append(labels, v)
			return "x"
		}}
		elements(t, canvas(500, 300).Curve(c))
		if len(labels) < 2 || len(labels) > 7 || labels[0] != 0 || labels[len(labels)-1] < top*0.999999 || labels[1] <= 0 {
			t.Fatalf("%v for %v", labels, top)
		}
		digits := strings.TrimRight(strings.Split(strconv.FormatFloat(labels[1], 'e', 6, 64), "e")[0], "0")
		if digits = strings.Trim(digits, "."); digits != "1" && digits != "2" && digits != "2.5" && digits != "5" {
			t.Fatalf("steps of %v are not round", labels[1])
		}
	})
}

func TestTicksWhenTheClocksChange(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	c := charts.Canvas{Width: 2000, Height: 100, Locale: locale.Locale{Language: locale.French, Zone: paris}}
	for _, day := range []time.Time{time.Date(2026, 3, 28, 23, 0, 0, 0, paris), time.Date(2026, 10, 24, 23, 0, 0, 0, paris)} {
		seen := map[string]int{}
		for _, e := range elements(t, c.Bars(charts.Bars{Span: charts.Span{From: day, To: day.Add(26 * time.Hour)}})) {
			if e.name == "text" {
				seen[e.text]++
			}
		}
		if seen["dim."] != 1 || seen["12\u00a0h"] != 1 || seen["21\u00a0h"] > 1 {
			t.Errorf("%s: %v", day, seen)
		}
	}
}

// TestAnythingIsDrawn draws every chart of nothing, of little and of odd things: it is XML, and has no
// number that is none.
func TestAnythingIsDrawn(t *testing.T) {
	nasty := `<&"'>` + "\x00\u200d👩\u200d🚀 שלום"
	for _, c := range []charts.Canvas{canvas(0, 0), canvas(1, 1), canvas(300, 40), canvas(900, 500)} {
		for _, s := range []charts.Span{{}, span(1), span(55), {From: start, To: start.Add(-time.Hour)}} {
			bars := []charts.Bar{{From: start, To: start.Add(time.Hour), Value: 3, Known: true, Partial: true}, {From: start.Add(time.Hour), To: start.Add(2 * time.Hour)}}
			for name, out := range map[string]string{
				"curve": c.Curve(charts.Curve{Span: s, Series: []charts.Series{hourly(1, -1, 3)}, Markers: []charts.Marker{{Time: start, Label: nasty}}}),
				"steps": c.Curve(charts.Curve{Span: s, Series: []charts.Series{hourly(1, -1, 3), {}}, Steps: true, Counts: true, NoAxis: true}),
				"bars":  c.Bars(charts.Bars{Span: s, Bars: bars, Label: func(charts.Bar) string { return nasty }}),
				"share": c.Share(2, ""), "spark": c.Spark(hourly(1, 2), s), "heat": c.Heat(charts.Heat{Span: s, Bars: bars}),
				"segments": c.Segments(s, []charts.Segment{{From: start, To: start.Add(time.Hour), Name: nasty}}, "other"),
				"bump":     c.Bump(charts.Bump{Times: []time.Time{start}, Lanes: []charts.Lane{{Name: nasty, Places: []int{1}}, {Places: []int{0}}}}),
				"network":  c.Network([]charts.Node{{ID: "a", Name: nasty, Weight: 1}, {ID: "b"}}, []charts.Edge{{A: "a", B: "b", Strength: 1}, {A: "a", B: "c", Strength: 2}}),
				"nobody":   c.Network(nil, nil), "no race": c.Bump(charts.Bump{}),
			} {
				elements(t, out)
				if strings.Contains(out, "NaN") || strings.Contains(out, "Inf") {
					t.Errorf("%s: %s", name, out)
				}
			}
		}
	}
}

func TestNetworkIsTheSameEachTime(t *testing.T) {
	nodes := []charts.Node{{ID: "a", Weight: 3}, {ID: "b", Weight: 2}, {ID: "c", Weight: 1}}
	edges := []charts.Edge{{A: "a", B: "b", Strength: 2}, {A: "b", B: "c", Strength: 1}}
	c := canvas(400, 300)
	if first := c.Network(nodes, edges); first != c.Network([]charts.Node{nodes[2], nodes[0], nodes[1]}, []charts.Edge{edges[1], edges[0]}) {
		t.Error("the order of what is given changes the drawing")
	}
}

// TestNodesShowWhoTheyAre draws a node with a picture, and one without.
func TestNodesShowWhoTheyAre(t *testing.T) {
	pixel := []byte("\x89PNG\r\n\x1a\n")
	out := canvas(400, 300).Network([]charts.Node{{ID: "a", Weight: 2, Picture: pixel, Initials: "A"}, {ID: "b", Weight: 1, Initials: "BB"}}, []charts.Edge{{A: "a", B: "b", Strength: 1}})
	if !strings.Contains(out, "data:image/png;base64,iVBORw0KGgo=") || strings.Contains(out, ">A<") || !strings.Contains(out, ">BB<") {
		t.Error(out)
	}
}

// TestNothingToShow draws charts of nothing: they say so, and their axis has no numbers.
func TestNothingToShow(t *testing.T) {
	tick := func(float64, float64) string { return "number" }
	for name, out := range map[string]string{
		"unknown": canvas(600, 200).Curve(charts.Curve{Span: span(3), Series: []charts.Series{hourly(-1, -1)}, Tick: tick, Empty: "nothing"}),
		"zero":    canvas(600, 200).Curve(charts.Curve{Span: span(3), Series: []charts.Series{hourly(0, 0)}, Tick: tick, Empty: "nothing"}),
		"no bars": canvas(600, 200).Bars(charts.Bars{Span: span(3), Tick: tick, Empty: "nothing"}),
	} {
		if !strings.Contains(out, ">nothing<") || strings.Contains(out, "number") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out := canvas(600, 200).Curve(charts.Curve{Span: span(3), Series: []charts.Series{hourly(1)}, Empty: "nothing"}); strings.Contains(out, ">nothing<") {
		t.Errorf("one value is something: %s", out)
	}
}

// TestHeatFillsItsWidth draws cells up to the edge, on whole pixels.
func TestHeatFillsItsWidth(t *testing.T) {
	var bars []charts.Bar
	for i := range 48 {
		bars = append(bars, charts.Bar{From: start.Add(time.Duration(i) * time.Hour), To: start.Add(time.Duration(i+1) * time.Hour), Value: 1, Known: true})
	}
	right := 0.0
	for _, e := range elements(t, canvas(731, 300).Heat(charts.Heat{Span: span(48), Bars: bars})) {
		if e.name != "rect" {
			continue
		}
		x, errX := strconv.ParseFloat(e.attr["x"], 64)
		w, errW := strconv.ParseFloat(e.attr["width"], 64)
		if errX != nil || errW != nil || e.attr["rx"] == "3" && (x != math.Trunc(x) || w != math.Trunc(w)) {
			t.Fatalf("a cell at %q of %q", e.attr["x"], e.attr["width"])
		}
		right = max(right, x+w)
	}
	if right != 730 {
		t.Errorf("the cells end at %v of 731", right)
	}
}

// TestHeatOfAnHour names no hour that the event has not.
func TestHeatOfAnHour(t *testing.T) {
	out := canvas(900, 300).Heat(charts.Heat{Span: span(2), Bars: []charts.Bar{{From: start, To: start.Add(time.Hour), Value: 1, Known: true}}})
	hours := 0
	for _, e := range elements(t, out) {
		if e.name == "text" && strings.Contains(e.text, ":00") {
			hours++
		}
	}
	if hours != 2 {
		t.Errorf("%d hours are named, want 2: %s", hours, out)
	}
}

// TestTheHourThatGoesOn draws the bar of an hour of which ten minutes are counted: it ends there.
func TestTheHourThatGoesOn(t *testing.T) {
	s := span(1)
	bars := []charts.Bar{{From: s.From, To: s.To, Value: 7, Known: true}}
	width := func() float64 {
		for _, e := range elements(t, canvas(600, 200).Bars(charts.Bars{Span: s, Bars: bars, Colour: "#123456"})) {
			if e.name == "rect" && e.attr["fill"] == "#123456" {
				w, err := strconv.ParseFloat(e.attr["width"], 64)
				if err != nil {
					t.Fatal(err)
				}
				return w
			}
		}
		t.Fatal("there is no bar")
		return 0
	}
	whole := width()
	s.Until = s.From.Add(10 * time.Minute)
	if part := width(); part < whole/8 || part > whole/5 {
		t.Errorf("the bar is %.0f pixels wide after ten minutes, %.0f after the hour", part, whole)
	}
	s.Until = s.From
	if part := width(); part <= 0 || part > whole/50 {
		t.Errorf("the bar is %.0f pixels wide at the start", part)
	}
}

// TestWhatIsToComeIsNoGap draws an event of which half is counted: nothing is missing after that.
func TestWhatIsToComeIsNoGap(t *testing.T) {
	const unknown = -1
	s := span(6)
	series := hourly(5, unknown, 6, unknown, unknown, unknown)
	var bars []charts.Bar
	for _, p := range series.Points {
		bars = append(bars, charts.Bar{From: p.Time, To: p.Time.Add(time.Hour), Value: p.Value, Known: p.Known})
	}
	for name, draw := range map[string]func(s charts.Span) string{
		"curve": func(s charts.Span) string {
			return canvas(600, 200).Curve(charts.Curve{Span: s, Series: []charts.Series{series}})
		},
		"bars": func(s charts.Span) string { return canvas(600, 200).Bars(charts.Bars{Span: s, Bars: bars}) },
		"heat": func(s charts.Span) string { return canvas(600, 200).Heat(charts.Heat{Span: s, Bars: bars}) },
	} {
		hatched := func(s charts.Span) (width float64) {
			for _, e := range elements(t, draw(s)) {
				if e.name == "rect" && e.attr["fill-opacity"] == "0.35" {
					w, err := strconv.ParseFloat(e.attr["width"], 64)
					if err != nil {
						t.Fatal(err)
					}
					width += w
				}
			}
			return width
		}
		s.Until = time.Time{}
		whole := hatched(s)
		s.Until = start.Add(3 * time.Hour)
		if half := hatched(s); half < whole/5 || half > whole/3 {
			t.Errorf("%s: %.0f pixels are hatched of an event that runs, %.0f of one that is over", name, half, whole)
		}
	}
}
