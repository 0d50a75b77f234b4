package render

import "testing"

func TestShippedFonts(t *testing.T) {
	l, err := newLibrary(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l.faces {
		t.Logf("%s %d %d-%d italic %v color %v", f.family, f.weight, f.minWeight, f.maxWeight, f.italic, f.colors != nil)
	}
	ts := newTypesetter(l)
	for _, text := range []string{"Hello Wörld", "AVATAR", "👨‍👩‍👧‍👦🇫🇷1️⃣❤️⭐", "محمد عربي", "日本語", "a محمد 12 b"} {
		ln := ts.line(text, Style{Size: 1}, false)
		t.Logf("%q %.3f clusters %d runs %d missing %q fallback %q", text, ln.width, ln.clusters, len(ln.runs), ln.missing, ln.fallback)
	}
}
