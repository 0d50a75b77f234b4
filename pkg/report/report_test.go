package report_test

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/report"
	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// board stands in for the renderer: what is drawn is not what these tests are about.
type board struct {
	drawn  atomic.Int64
	refuse func(svg []byte) error
}

func (b *board) Measure(text string, s render.Style) render.Extent {
	return render.Extent{Width: float64(len([]rune(text))) * s.Size * 0.5, Ascent: s.Size * 0.8, Descent: s.Size * 0.2}
}

func (b *board) PNG(ctx context.Context, svg []byte, _ int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.refuse != nil {
		if err := b.refuse(svg); err != nil {
			return nil, err
		}
	}
	b.drawn.Add(1)
	return []byte("PNG of " + string(svg)), nil
}

func (b *board) Outline(svg []byte) ([]byte, error) { return svg, nil }

// small is a set of two templates.
func small(t *testing.T) *report.Set {
	t.Helper()
	set, err := report.OpenSet(fstest.MapFS{
		"streamer.svg": {Data: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><text id="{{streamer.name}}" y="20" fill="var(--ink)">a</text><text id="{{hero.value}}" y="40">1</text></svg>`)},
		"summary.svg":  {Data: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><text id="{{event.name}}" y="20">a</text><text id="{{text.mine}}" y="40">1</text></svg>`)},
		"texts.json":   {Data: []byte(`{"text.mine": {"en": "mine", "fr": "à moi"}}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, relErr := filepath.Rel(dir, path)
			out = append(out, filepath.ToSlash(rel))
			return relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func run(t *testing.T, d *report.Data, cfg report.Config) report.Result {
	t.Helper()
	res, err := report.Run(t.Context(), d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRunWritesEachPictureOnce(t *testing.T) {
	d, b := report.Sample(report.SampleTypical), &board{}
	cfg := report.Config{Out: t.TempDir(), Languages: []string{"fr", "en"}, Formats: []string{"png", "svg"}, Set: small(t), Canvas: b}
	var mu sync.Mutex
	var last report.Progress
	cfg.Progress = func(p report.Progress) {
		mu.Lock()
		defer mu.Unlock()
		last = p
	}
	n := 2 * (1 + len(d.Streamers))
	if res := run(t, d, cfg); res.Pictures != n || res.Made != n || res.Files != 2*n || len(res.Failed) != 0 {
		t.Fatalf("%+v, want %d pictures made", res, n)
	}
	if last.Done != n || last.All != n {
		t.Errorf("progress ended with %+v", last)
	}
	have := files(t, cfg.Out)
	for _, want := range []string{"fr-dark/summary.png", "en-dark/summary.svg", "fr-dark/streamers/chaine_1000-1000.png", "manifest.json"} {
		if !slices.Contains(have, want) {
			t.Errorf("there is no %s", want)
		}
	}
	page, err := os.ReadFile(filepath.Join(cfg.Out, "fr-dark", "summary.svg"))
	if err != nil || !bytes.Contains(page, []byte("à moi")) {
		t.Errorf("the set's own texts are not in the picture: %s", page)
	}
	// Again: nothing is drawn. What was deleted, cut or changed is drawn again, and only that.
	if res := run(t, d, cfg); res.Skipped != n || res.Files != 0 {
		t.Errorf("again: %+v, want all skipped", res)
	}
	if err := os.Remove(filepath.Join(cfg.Out, "fr-dark", "summary.png")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(cfg.Out, "en-dark", "summary.png"), 3); err != nil {
		t.Fatal(err)
	}
	d.Streamers[3].Name = "Renamed"
	if res := run(t, d, cfg); res.Made != 4 || res.Skipped != n-4 || res.Files != 2+2*2 {
		t.Errorf("after changes: %+v, want 4 pictures and 6 files", res)
	}
	cfg.Force = true
	if res := run(t, d, cfg); res.Made != n {
		t.Errorf("forced: %+v, want all made", res)
	}
}

func TestRunGoesOnAfterABreak(t *testing.T) {
	d := report.Sample(report.SampleTypical)
	ctx, cancel := context.WithCancel(t.Context())
	b := &board{}
	b.refuse = func([]byte) error {
		if b.drawn.Load() == 5 {
			cancel()
			return context.Canceled
		}
		return nil
	}
	cfg := report.Config{Out: t.TempDir(), Set: small(t), Canvas: b, Workers: 1}
	res, err := report.Run(ctx, d, cfg)
	if !errors.Is(err, context.Canceled) || res.Made != 5 {
		t.Fatalf("%+v, %v, want 5 pictures and context.Canceled", res, err)
	}
	b.refuse = nil
	if res := run(t, d, cfg); res.Skipped != 5 || res.Made != res.Pictures-5 {
		t.Errorf("%+v, want the first 5 skipped", res)
	}
	for _, f := range files(t, cfg.Out) {
		if strings.Contains(f, ".new-") {
			t.Errorf("%s was left behind", f)
		}
	}
}

func TestOnePictureThatFailsStopsNoOther(t *testing.T) {
	d := report.Sample(report.SampleTypical)
	b := &board{refuse: func(svg []byte) error {
		if bytes.Contains(svg, []byte("Iris")) {
			return errors.New("out of ink")
		}
		return nil
	}}
	res := run(t, d, report.Config{Out: t.TempDir(), Set: small(t), Canvas: b})
	if len(res.Failed) != 1 || res.Made != res.Pictures-1 || !strings.Contains(res.Failed[0].Error, "out of ink") {
		t.Errorf("%+v, want one failure", res)
	}
}

func TestChoicesAreChecked(t *testing.T) {
	d := report.Sample(report.SampleShortest)
	for _, cfg := range []report.Config{{Languages: []string{"de"}}, {Themes: []string{"pink"}}, {Formats: []string{"gif"}}} {
		cfg.Out, cfg.Canvas = t.TempDir(), &board{}
		if _, err := report.Run(t.Context(), d, cfg); !errors.Is(err, report.ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", cfg, err)
		}
	}
}

func TestTemplateSetsAreChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"empty":           {fstest.MapFS{}, "no file *.svg"},
		"theme":           {fstest.MapFS{"a.pink.svg": {}}, `no theme "pink"`},
		"texts":           {fstest.MapFS{"a.svg": {}, "texts.json": {Data: []byte(`{"text.a": {"en": "a"}}`)}}, `"fr"`},
		"json":            {fstest.MapFS{"a.svg": {}, "texts.json": {Data: []byte(`{`)}}, "texts.json"},
		"theme.json":      {fstest.MapFS{"a.svg": {}, "theme.json": {Data: []byte(`{"colors": {}}`)}}, `theme.json: json: unknown field "colors"`},
		"whose colours":   {fstest.MapFS{"a.svg": {}, "theme.json": {Data: []byte(`{"colours": {"pink": {}}}`)}}, `theme.json: there is no theme "pink": use one of dark, light`},
		"a colour's name": {fstest.MapFS{"a.svg": {}, "theme.json": {Data: []byte(`{"colours": {"dark": {"puce": "#123456"}}}`)}}, `theme.json: dark: there is no colour "puce": use one of accent,`},
		"no colour":       {fstest.MapFS{"a.svg": {}, "theme.json": {Data: []byte(`{"colours": {"dark": {"ink": "red"}}}`)}}, `theme.json: dark: ink: colour "red": write it as #rrggbb`},
		"colour":          {fstest.MapFS{"a.svg": {Data: []byte("<svg>\n<rect fill=\"var(--puce)\"/></svg>")}}, `a.svg:2: no theme has a colour "puce"`},
	} {
		set, err := report.OpenSet(tt.files)
		if err == nil {
			_, err = set.Template("a", charts.Dark())
		}
		if !errors.Is(err, report.ErrTemplates) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestASetDressesItsCharts draws a chart in the colours and the font of a set, in one theme only.
func TestASetDressesItsCharts(t *testing.T) {
	set, err := report.OpenSet(fstest.MapFS{
		"a.svg":      {Data: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300"><rect id="{{chart:viewers}}" width="600" height="300" fill="var(--accent)"/></svg>`)},
		"theme.json": {Data: []byte(`{"font": "Gotham", "colours": {"dark": {"soft": "#ABCDEF", "accent": "#fedcba"}}}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := report.Sample(report.SampleTypical)
	for _, theme := range charts.Themes() {
		tmpl, err := set.Template("a", theme)
		if err != nil {
			t.Fatal(err)
		}
		out, err := tmpl.Fill(&board{}, set.Look(d, locale.French, theme, &board{}).Event(d))
		if err != nil {
			t.Fatal(err)
		}
		dark := theme.Name == "dark"
		for _, want := range []string{`fill="#abcdef"`, `stroke="#fedcba"`} {
			if strings.Contains(string(out), want) != dark {
				t.Errorf("%s: %s is there: %v", theme.Name, want, !dark)
			}
		}
		if !strings.Contains(string(out), `font-family="Gotham, Inter, sans-serif"`) {
			t.Errorf("%s: the labels are not in the set's font", theme.Name)
		}
	}
}

// TestWhoWasNeverLive has no number that matters most: before the end there may be one yet, later not.
func TestWhoWasNeverLive(t *testing.T) {
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	zero := statistics.Count{Coverage: record.Complete}
	for over, want := range map[bool][3]string{
		true:  {"–", "rien de compté", "@chaine_1000 · sans direct"},
		false: {"à suivre", "rien n’est encore compté", "@chaine_1000 · pas encore en direct"},
	} {
		d := report.Sample(report.SampleTypical)
		d.Over = over
		s := d.Streamers[0]
		s.StreamMinutes, s.PeakViewers, s.WatchMinutes, s.Donations = zero, zero, statistics.Measure{Coverage: record.Complete}, nil
		v := set.Look(d, locale.French, charts.Dark(), nil).Streamer(d, s)
		if got := [3]string{v.Text["hero.value"], v.Text["hero.label"], v.Text["streamer.line"]}; got != want {
			t.Errorf("over %v: %q, want %q", over, got, want)
		}
	}
}

// TestAPromiseWithoutAnAmount shows none.
func TestAPromiseWithoutAnAmount(t *testing.T) {
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := report.Sample(report.SampleTypical)
	s := d.Streamers[0]
	s.Goals[0].Goal.Money.Cents = 0
	s.Goals[1].Goal.Money.Cents = 1_000_000_00
	rows := set.Look(d, locale.French, charts.Dark(), nil).Streamer(d, s).Rows["goals"]
	if rows[0].Text["amount"] != "" || rows[1].Text["amount"] != "1\u202f000\u202f000\u00a0€" {
		t.Errorf("%q and %q", rows[0].Text["amount"], rows[1].Text["amount"])
	}
}

// TestWhatAKilledRunLeaves is taken away: half a file is nobody's.
func TestWhatAKilledRunLeaves(t *testing.T) {
	out := t.TempDir()
	cfg := report.Config{Out: out, Set: small(t), Canvas: &board{}}
	run(t, report.Sample(report.SampleShortest), cfg)
	for _, file := range []string{".new-1", "fr-dark/.new-2", "fr-dark/streamers/.new-3"} {
		if err := os.WriteFile(filepath.Join(out, filepath.FromSlash(file)), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if res := run(t, report.Sample(report.SampleShortest), cfg); res.Made != 0 || res.Skipped != 2 {
		t.Errorf("%+v, want nothing made again", res)
	}
	for _, file := range files(t, out) {
		if strings.Contains(file, ".new-") {
			t.Errorf("%s is left", file)
		}
	}
}

func TestAvatars(t *testing.T) {
	t.Run("folder", func(t *testing.T) { avatars(t, t.TempDir()) })
	t.Run("memory", func(t *testing.T) { avatars(t, "") })
}

func avatars(t *testing.T, dir string) {
	t.Helper()
	typical := report.Sample(report.SampleTypical)
	var face []byte
	for _, a := range typical.Avatars {
		face = a
	}
	var asked atomic.Int64
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/face.png":
			_, _ = w.Write(face)
		case "/text.png":
			_, _ = w.Write([]byte("no picture"))
		case "/huge.png":
			_, _ = w.Write(make([]byte, 5<<20))
		default:
			http.NotFound(w, r)
		}
	}))
	defer host.Close()
	var list []*report.Streamer
	for i, address := range []string{"/face.png", "/text.png", "/huge.png", "/none.png"} {
		s := &report.Streamer{Summary: statistics.Summary{Streamer: statistics.Streamer{Channel: string(rune('a' + i)), Picture: host.URL + address}}}
		list = append(list, s)
	}
	list = append(list, &report.Streamer{Summary: statistics.Summary{Streamer: statistics.Streamer{Channel: "f", Picture: "file:///etc/hostname"}}})
	a := report.Avatars{Client: host.Client(), Dir: dir}
	got := a.Load(t.Context(), list)
	if len(got) != 1 || len(got["a"]) == 0 {
		t.Fatalf("%d pictures, want that of a alone", len(got))
	}
	if img, err := png.Decode(bytes.NewReader(got["a"])); err != nil || img.Bounds().Dx() != 96 {
		t.Errorf("the picture: %v, %v", img.Bounds(), err)
	}
	asked.Store(0)
	if got := a.Load(t.Context(), list[:1]); len(got) != 1 || asked.Load() != 0 {
		t.Errorf("a kept picture was asked for %d times", asked.Load())
	}
	host.Close() // offline: what is kept is there, the rest is missing
	if got := a.Load(t.Context(), list); len(got) != 1 {
		t.Errorf("offline: %d pictures, want 1", len(got))
	}
}

func TestPreview(t *testing.T) {
	templates := t.TempDir()
	write := func(text string) {
		t.Helper()
		svg := `<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><text id="{{streamer.name}}" y="20">` + text + `</text></svg>`
		if err := os.WriteFile(filepath.Join(templates, "streamer.svg"), []byte(svg), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	ctx, cancel := context.WithCancel(t.Context())
	p := &report.Preview{
		Files: os.DirFS(templates), Canvas: &board{}, Load: func(context.Context) (*report.Data, error) { return report.Sample(report.SampleTypical), nil },
	}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, l) }()
	base := "http://" + l.Addr().String()
	if body := get(t, base+"/"); !strings.Contains(body, "Marathon 2026") || !strings.Contains(body, "Amandine") {
		t.Errorf("the page: %s", body)
	}
	if body := get(t, base+"/picture.png?channel=1001"); !strings.Contains(body, "BaptisteLive") {
		t.Errorf("the picture: %s", body)
	}
	if body := get(t, base+"/picture.png?sample=shortest"); !strings.Contains(body, ">a<") {
		t.Errorf("the picture of the shortest: %s", body)
	}
	for query, want := range map[string]int{"template=nosuch": http.StatusNotFound, "language=xx": http.StatusBadRequest, "theme=pink": http.StatusBadRequest} {
		res := request(t, base+"/picture.png?"+query)
		if err := res.Body.Close(); err != nil || res.StatusCode != want {
			t.Errorf("%s: status %d, want %d (%v)", query, res.StatusCode, want, err)
		}
	}
	changed := follow(t, base+"/changes")
	<-changed // it begins with one
	write("something longer")
	<-changed
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestOnlyFoldersOfPicturesAreWrittenTo(t *testing.T) {
	made := t.TempDir()
	if _, err := report.Run(t.Context(), report.Sample(report.SampleShortest), report.Config{Out: made, Canvas: &board{}}); err != nil {
		t.Fatal(err)
	}
	broken, other, foreign := t.TempDir(), t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(broken, report.CacheName, "a"), filepath.Join(other, "thesis.txt"), filepath.Join(foreign, report.ManifestName)} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		dir, data string
		fine      bool
	}{
		"not there":                  {filepath.Join(other, "new"), "", true},
		"empty":                      {t.TempDir(), "", true},
		"of an earlier run":          {made, other, true},
		"broken off while reading":   {broken, "", true},
		"something else":             {other, "", false},
		"a manifest of something":    {foreign, "", false},
		"the data, also with a rest": {made + "/.", made, false},
		"a file":                     {filepath.Join(other, "thesis.txt"), "", false},
	} {
		if err := report.CheckOut(c.dir, c.data); (err == nil) != c.fine || err != nil && !errors.Is(err, report.ErrOut) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEditionsOfOtherCurrencies compares euros with dollars: no amount has the sign of the other.
func TestEditionsOfOtherCurrencies(t *testing.T) {
	set, err := report.OpenSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	theme, _ := report.Theme("dark")
	d := report.Sample(report.SampleTypical)
	d.Comparison.There.Name, d.Comparison.There.Currency = "testdata/agdq2020-minutes.csv", "USD"
	v := set.Look(d, locale.French, theme, nil).Event(d)
	if here, there := v.Text["compare.here"], v.Text["compare.there"]; here != "Marathon 2026 · EUR" || there != "agdq2020 · USD" {
		t.Errorf("the legend is %q and %q", here, there)
	}
	drawing, err := v.Charts["compare.donations"](template.Placeholder{Box: template.Box{Width: 1000, Height: 300}})
	if err != nil {
		t.Fatal(err)
	}
	if s := string(drawing); strings.ContainsAny(s, "€$") || !strings.Contains(s, "+24") {
		t.Errorf("the axes: %s", s)
	}
}
