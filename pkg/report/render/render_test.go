package render

import (
	"os"
	"testing"
	"time"
)

func TestSpike(t *testing.T) {
	r, err := New(t.Context(), Options{CacheDir: "/tmp/e/cache"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	svg, err := os.ReadFile(os.Getenv("SVG"))
	if err != nil {
		t.Skip(err)
	}
	for range 3 {
		t0 := time.Now()
		png, err := r.PNG(t.Context(), svg, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(t0), len(png))
		os.WriteFile("/tmp/e/out.png", png, 0o644)
	}
}
