package charts_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/tungstene/tungstene/pkg/report/charts"
)

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	r, err := charts.Contrast(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestContrast holds the themes to WCAG AA: 4.5 for text, 3 for large text and for shapes.
func TestContrast(t *testing.T) {
	for _, th := range charts.Themes() {
		for _, ground := range []string{th.Ground, th.Raised} {
			for name, c := range map[string]string{
				"ink": th.Ink, "soft": th.Soft, "accent text": th.AccentText, "note": th.Note, "good": th.Good, "bad": th.Bad,
			} {
				if r := contrast(t, c, ground); r < 4.5 {
					t.Errorf("%s: %s on %s has contrast %.2f, want 4.5", th.Name, name, ground, r)
				}
			}
			for i, c := range append([]string{th.Accent, th.Second, th.Strong}, th.Series...) {
				want := 3.0
				if c == th.Strong {
					want = 2.8 // axes: what they say is in their labels as well
				}
				if r := contrast(t, c, ground); r < want {
					t.Errorf("%s: shape %d (%s) on %s has contrast %.2f, want %.1f", th.Name, i, c, ground, r, want)
				}
			}
		}
		for _, c := range append([]string{th.Accent}, append(th.Series, th.Heat...)...) {
			if r := contrast(t, th.OnColour(c), c); r < 4.5 {
				t.Errorf("%s: text on %s has contrast %.2f, want 4.5", th.Name, c, r)
			}
		}
		last := 0.0
		for i, c := range th.Heat {
			r := contrast(t, c, th.Ground)
			if r <= last {
				t.Errorf("%s: heat %d does not stand out more than the one before", th.Name, i+1)
			}
			last = r
		}
	}
}

// How colours look to people without one kind of cone (Machado, Oliveira and Fernandes 2009,
// severity 1), in linear RGB.
var blindness = map[string][9]float64{
	"any":          {1, 0, 0, 0, 1, 0, 0, 0, 1},
	"protanopia":   {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
	"deuteranopia": {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
	"tritanopia":   {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900},
}

func seen(t *testing.T, colour string, m [9]float64) (l, a, b float64) {
	t.Helper()
	v, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	lin := func(c uint64) float64 {
		x := float64(c) / 255
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	r, g, bl := lin(v>>16), lin(v>>8&255), lin(v&255)
	clamp := func(x float64) float64 { return max(0, min(1, x)) }
	x := clamp(m[0]*r + m[1]*g + m[2]*bl)
	y := clamp(m[3]*r + m[4]*g + m[5]*bl)
	z := clamp(m[6]*r + m[7]*g + m[8]*bl)
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}
	X := f((0.4124*x + 0.3576*y + 0.1805*z) / 0.95047)
	Y := f(0.2126*x + 0.7152*y + 0.0722*z)
	Z := f((0.0193*x + 0.1192*y + 0.9505*z) / 1.08883)
	return 116*Y - 16, 500 * (X - Y), 200 * (Y - Z)
}

// TestSeriesForAnyEye keeps the colours of the first six series apart for every kind of colour vision, as a
// difference in CIELAB of 10 (2.3 is just noticeable).
func TestSeriesForAnyEye(t *testing.T) {
	for _, th := range charts.Themes() {
		for name, m := range blindness {
			for i := range 6 {
				for j := range i {
					l1, a1, b1 := seen(t, th.Series[i], m)
					l2, a2, b2 := seen(t, th.Series[j], m)
					if d := math.Sqrt((l1-l2)*(l1-l2) + (a1-a2)*(a1-a2) + (b1-b2)*(b1-b2)); d < 10 {
						t.Errorf("%s, %s: series %d and %d are %.1f apart, want 10", th.Name, name, j+1, i+1, d)
					}
				}
			}
		}
	}
}
