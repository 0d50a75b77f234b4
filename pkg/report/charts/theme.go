package charts

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Theme is a set of colours, each "#rrggbb". Templates name them by the names of Colours.
type Theme struct {
	Name string
	// Ground is the picture's, Raised that of cards on it.
	Ground, Raised string
	// Ink is for what matters, Soft for what explains it. Both are read on Ground and Raised.
	Ink, Soft string
	// Line is for grids and rules, Strong for axes.
	Line, Strong string
	// Accent is the one colour that shines, for shapes and large text; AccentText for small text,
	// AccentFaint for what lies under it, OnAccent for text on it.
	Accent, AccentText, AccentFaint, OnAccent string
	// Glow is the light around what shines.
	Glow string
	// Second is for the other series of a chart, SecondFaint for the area under it.
	Second, SecondFaint string
	// Note is for what is to be taken with care: partial coverage.
	Note string
	// Good and Bad are for ranks won and lost.
	Good, Bad string
	// Series are for categories, to be told apart with any kind of colour vision.
	Series []string
	// Heat goes from least to most.
	Heat []string
}

// Colours are the theme's colours by the name that a template uses, as in var(--ink).
func (t Theme) Colours() map[string]string {
	c := map[string]string{
		"ground": t.Ground, "raised": t.Raised, "ink": t.Ink, "soft": t.Soft, "line": t.Line, "strong": t.Strong,
		"accent": t.Accent, "accent-text": t.AccentText, "accent-faint": t.AccentFaint, "on-accent": t.OnAccent,
		"glow": t.Glow, "second": t.Second, "second-faint": t.SecondFaint, "note": t.Note, "good": t.Good, "bad": t.Bad,
	}
	for i, s := range t.Series {
		c["series-"+strconv.Itoa(i+1)] = s
	}
	for i, s := range t.Heat {
		c["heat-"+strconv.Itoa(i+1)] = s
	}
	return c
}

// With is the theme with other colours, by the names of Colours. The error names the one that is wrong.
func (t Theme) With(colours map[string]string) (Theme, error) {
	t.Series, t.Heat = slices.Clone(t.Series), slices.Clone(t.Heat)
	places := map[string]*string{
		"ground": &t.Ground, "raised": &t.Raised, "ink": &t.Ink, "soft": &t.Soft, "line": &t.Line, "strong": &t.Strong,
		"accent": &t.Accent, "accent-text": &t.AccentText, "accent-faint": &t.AccentFaint, "on-accent": &t.OnAccent,
		"glow": &t.Glow, "second": &t.Second, "second-faint": &t.SecondFaint, "note": &t.Note, "good": &t.Good, "bad": &t.Bad,
	}
	for i := range t.Series {
		places["series-"+strconv.Itoa(i+1)] = &t.Series[i]
	}
	for i := range t.Heat {
		places["heat-"+strconv.Itoa(i+1)] = &t.Heat[i]
	}
	for _, name := range slices.Sorted(maps.Keys(colours)) {
		if places[name] == nil {
			return t, fmt.Errorf("there is no colour %q: use one of %s", name, strings.Join(slices.Sorted(maps.Keys(places)), ", "))
		}
		if _, _, _, err := rgb(colours[name]); err != nil {
			return t, fmt.Errorf("%s: %w", name, err)
		}
		*places[name] = strings.ToLower(colours[name])
	}
	return t, nil
}

// Dark is warm black under a glowing wire.
func Dark() Theme {
	return Theme{
		Name: "dark", Ground: "#13100e", Raised: "#1d1916", Ink: "#f4ebdf", Soft: "#b3a596", Line: "#332c26", Strong: "#75675b",
		Accent: "#ff9d3c", AccentText: "#ffb468", AccentFaint: "#4a2d14", OnAccent: "#1a0f05", Glow: "#46301a",
		Second: "#8db9d0", SecondFaint: "#24333b", Note: "#f1cf6b", Good: "#7cbb9c", Bad: "#ff8473",
		Series: []string{"#ff9d3c", "#8db9d0", "#2fae86", "#f0e08a", "#c45fa6", "#6f8ff0", "#b9683a", "#9a8f86"},
		Heat:   []string{"#2b2019", "#4a2d14", "#7a4517", "#bd6d20", "#ff9d3c", "#ffd9a8"},
	}
}

// Light is paper.
func Light() Theme {
	return Theme{
		Name: "light", Ground: "#f7f3ec", Raised: "#fffdf9", Ink: "#1e1916", Soft: "#655b52", Line: "#e2d9cc", Strong: "#9b8c7b",
		Accent: "#be5308", AccentText: "#9c4206", AccentFaint: "#f3d9bd", OnAccent: "#fffdf9", Glow: "#f6e3cd",
		Second: "#2f6480", SecondFaint: "#d3dfe5", Note: "#8a5a00", Good: "#2c7558", Bad: "#b3261e",
		Series: []string{"#ae4703", "#2f6480", "#178260", "#a98700", "#cf62a6", "#3f57c4", "#6b3410", "#7d746b"},
		Heat:   []string{"#efe5d6", "#f3d9bd", "#e9b27c", "#d98238", "#b3520b", "#6e2f04"},
	}
}

// Themes are all of them.
func Themes() []Theme { return []Theme{Dark(), Light()} }

// rgb reads "#rrggbb".
func rgb(colour string) (r, g, b float64, err error) {
	v, err := strconv.ParseUint(colour[min(1, len(colour)):], 16, 32)
	if err != nil || len(colour) != 7 || colour[0] != '#' {
		return 0, 0, 0, fmt.Errorf("colour %q: write it as #rrggbb", colour)
	}
	return float64(v >> 16), float64(v >> 8 & 255), float64(v & 255), nil
}

func linear(c float64) float64 {
	c /= 255
	if c <= 0.04045 {
		return c / 12.92
	}
	return math.Pow((c+0.055)/1.055, 2.4)
}

func luminance(colour string) (float64, error) {
	r, g, b, err := rgb(colour)
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b), err
}

// Contrast is the contrast ratio of two colours, from 1 to 21 (WCAG 2.2).
func Contrast(a, b string) (float64, error) {
	x, err := luminance(a)
	if err != nil {
		return 0, err
	}
	y, err := luminance(b)
	if err != nil {
		return 0, err
	}
	return (max(x, y) + 0.05) / (min(x, y) + 0.05), nil
}

// OnColour is the theme's text colour that is read best on a colour.
func (t Theme) OnColour(colour string) string {
	best, ratio := t.Ink, 0.0
	for _, c := range []string{t.Ink, t.Ground, t.OnAccent} {
		if r, err := Contrast(c, colour); err == nil && r > ratio {
			best, ratio = c, r
		}
	}
	return best
}
