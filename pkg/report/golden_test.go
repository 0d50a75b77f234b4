package report_test

import (
	"bytes"
	"flag"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tungstene/tungstene/pkg/report"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

// Goldens are small: what they hold is the layout.
const goldenWidth = 300

// TestGoldens draws every template at the shortest, a typical and the longest content, and compares the
// pictures with goldens that people have looked at.
func TestGoldens(t *testing.T) {
	if testing.Short() {
		t.Skip("draws forty pictures")
	}
	r, err := report.NewCanvas(t.Context(), render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Each sample in another dress, so that both languages and themes are seen of every template.
	for i, sample := range []string{report.SampleTypical, report.SampleLongest, report.SampleShortest} {
		d := report.Sample(sample)
		language := locale.Languages()[i%2]
		theme, _ := report.Theme([]string{"dark", "light"}[i%2])
		look := set.Look(d, language, theme, r)
		for _, name := range set.Names() {
			tmpl, err := set.Template(name, theme)
			if err != nil {
				t.Fatal(err)
			}
			values := look.Event(d)
			if report.OfStreamer(name) {
				values = look.Streamer(d, d.Streamers[0])
			}
			svg, err := tmpl.Fill(r, values)
			if err != nil {
				t.Fatal(err)
			}
			have, err := r.PNG(t.Context(), svg, goldenWidth)
			if err != nil {
				t.Fatalf("%s %s: %v", sample, name, err)
			}
			compare(t, filepath.Join("testdata", name+"."+sample+".png"), have)
		}
	}
}

// compare compares pictures: the mean difference of a channel at most 1.5 of 255, and no more than one
// pixel in fifty off by more than 48.
func compare(t *testing.T, golden string, have []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, have, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	file, err := os.ReadFile(golden)
	if err != nil {
		t.Errorf("%v; look at the picture, and run the test with -update", err)
		return
	}
	a, b := decode(t, have), decode(t, file)
	if a.Bounds() != b.Bounds() {
		t.Errorf("%s: %v, want %v", golden, a.Bounds(), b.Bounds())
		return
	}
	var sum float64
	off, n := 0, 0
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			r1, g1, b1, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			worst := 0.0
			for _, d := range []float64{float64(r1) - float64(r2), float64(g1) - float64(g2), float64(b1) - float64(b2)} {
				d = math.Abs(d) / 257
				sum += d
				worst = max(worst, d)
			}
			n++
			if worst > 48 {
				off++
			}
		}
	}
	if mean := sum / float64(3*n); mean > 1.5 || off > n/50 {
		path := filepath.Join(t.ArtifactDir(), filepath.Base(golden))
		if err := os.WriteFile(path, have, 0o600); err != nil {
			t.Error(err)
		}
		t.Errorf("%s: the picture differs by %.2f in the mean, %d of %d pixels by much: look at %s, and run the test with -update if it is right",
			golden, mean, off, n, path)
	}
}

func decode(t *testing.T, file []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestShippedTemplatesAreRight holds the shipped set to what 'report check' asks of every set.
func TestShippedTemplatesAreRight(t *testing.T) {
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := report.NewCanvas(t.Context(), render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	problems, err := report.Check(t.Context(), set, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Severity == "error" {
			t.Errorf("%s (%s, %s, %s)", p.Problem, p.Sample, p.Language, p.Theme)
		}
	}
}
