package template_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"testing"

	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
)

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
			return fmt.Appendf(nil, `<path d="M0 %[2]g L%[3]g 20 L%[1]g %[2]g" stroke="%[4]s" stroke-width="4"/><text x="%[3]g" y="60" text-anchor="middle" font-size="14" fill="#fff">peak</text>`, p.Box.Width, p.Box.Height, p.Box.Width/2, p.Fill), nil
		}},
		Rows: map[string][]template.Values{"goals": {
			{Text: map[string]string{"goal": "Je mange un citron 🍋", "amount": "1 000 €"}},
			{Text: map[string]string{"goal": "Concert surprise avec toute l'équipe et beaucoup d'invités en direct du plateau", "amount": "250 000 €"}},
		}},
	}
}

func TestSpike(t *testing.T) {
	r, err := render.New(t.Context(), render.Options{CacheDir: "/tmp/e/cache"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	svg, err := os.ReadFile("testdata/card.svg")
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := template.Parse("card.svg", svg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tpl.Placeholders() {
		t.Logf("%+v", p)
	}
	for i, v := range []template.Values{values("Zératoi", "Speedrun"), values("AntoineDanielLeGrandStreamerDeLaNuit 🎉", "Un très long titre de stream qui raconte toute la vie de l'événement, avec des accents éèà et une fin qu'on ne verra pas")} {
		for _, p := range tpl.Check(r, v, []string{"total", "nothere"}) {
			t.Log(p)
		}
		out, err := tpl.Fill(r, v)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(fmt.Sprintf("/tmp/e/card%d.svg", i), out, 0o644)
		png, err := r.PNG(t.Context(), out, 0)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(fmt.Sprintf("/tmp/e/card%d.png", i), png, 0o644)
	}
}
