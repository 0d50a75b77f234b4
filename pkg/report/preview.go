package report

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	filled "github.com/tungstene/tungstene/pkg/report/template"
)

//go:embed preview.html
var previewPage string

// Preview shows the pictures in a browser, on data that is read again, from templates that are read again
// when they change.
type Preview struct {
	// Files is the folder of templates. Default: the set that ships.
	Files fs.FS
	// Load reads the data: at the start, and again every Every (default a minute; it is not read again
	// once the event is over).
	Load  func(ctx context.Context) (*Data, error)
	Every time.Duration
	// Canvas draws.
	Canvas Canvas
	// Logger. Default: slog.Default.
	Logger *slog.Logger

	mu      sync.Mutex
	data    *Data
	loaded  int // counts what was loaded
	waiting map[chan struct{}]struct{}
}

// look is how often the templates are looked at for changes.
const lookEvery = 500 * time.Millisecond

// Run serves on a listener until the context ends.
func (p *Preview) Run(ctx context.Context, l net.Listener) error {
	if p.Logger == nil {
		p.Logger = slog.Default()
	}
	if p.Every == 0 {
		p.Every = time.Minute
	}
	if p.Files == nil {
		p.Files = Shipped()
	}
	p.waiting = map[chan struct{}]struct{}{}
	data, err := p.Load(ctx)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	p.data = data
	server := &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	group.Go(func() { p.watch(ctx) })
	group.Go(func() {
		<-ctx.Done()
		stopping, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer done()
		if err := server.Shutdown(stopping); err != nil {
			_ = server.Close() // the browser holds on to a stream
		}
	})
	err = server.Serve(l)
	cancel()
	group.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the preview: %w", err)
}

// watch tells the pages when templates change, and reads the data again.
func (p *Preview) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last, read := p.stamp(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := p.stamp(); now != last {
			last = now
			p.tell()
		}
		p.mu.Lock()
		over := p.data.Over
		p.mu.Unlock()
		if over || time.Since(read) < p.Every {
			continue
		}
		data, err := p.Load(ctx)
		read = time.Now()
		if err != nil {
			if ctx.Err() == nil {
				p.Logger.Warn("the data can't be read again; the preview shows what it has", "err", err)
			}
			continue
		}
		p.mu.Lock()
		p.data = data
		p.loaded++
		p.mu.Unlock()
		p.tell()
	}
}

// stamp changes when a template does.
func (p *Preview) stamp() string {
	var b strings.Builder
	for _, pattern := range []string{"*.svg", TextsName, ThemeName} {
		files, err := fs.Glob(p.Files, pattern)
		if err != nil {
			continue
		}
		for _, f := range files {
			if info, err := fs.Stat(p.Files, f); err == nil {
				fmt.Fprintf(&b, "%s %d %d\n", f, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}

func (p *Preview) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.waiting {
		select {
		case c <- struct{}{}:
		default: // it is about to be told
		}
	}
}

func (p *Preview) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("GET /picture.png", p.picture)
	mux.HandleFunc("GET /changes", p.changes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
		mux.ServeHTTP(w, r)
	})
}

func (p *Preview) snapshot() *Data {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data
}

// choice is what a request asks for; what it does not name is the first there is.
type choice struct {
	set                               *Set
	data                              *Data
	Template, Language, Theme, Sample string
	Channel                           string
}

func (p *Preview) choose(r *http.Request) (choice, error) {
	set, err := OpenSet(p.Files)
	if err != nil {
		return choice{}, err
	}
	q := r.URL.Query()
	c := choice{
		set: set, data: p.snapshot(), Template: q.Get("template"), Language: q.Get("language"), Theme: q.Get("theme"), Channel: q.Get("channel"),
		Sample: q.Get("sample"),
	}
	if slices.Contains(SampleNames(), c.Sample) {
		c.data = Sample(c.Sample)
	} else {
		c.Sample = ""
	}
	names := c.templates()
	if c.Template == "" {
		c.Template = names[0]
		if slices.Contains(names, firstShown) {
			c.Template = firstShown
		}
	}
	if !slices.Contains(set.Names(), c.Template) {
		return c, fmt.Errorf("%w: there is no template %q: use one of %s", errNotThere, c.Template, strings.Join(names, ", "))
	}
	for _, v := range []struct {
		what   string
		chosen *string
		all    []string
	}{{"language", &c.Language, locale.Languages()}, {"theme", &c.Theme, themeNames()}} {
		if *v.chosen == "" {
			*v.chosen = v.all[0]
		}
		if !slices.Contains(v.all, *v.chosen) {
			return c, fmt.Errorf("%w: %s %q: use one of %s", ErrConfig, v.what, *v.chosen, strings.Join(v.all, ", "))
		}
	}
	if c.data.streamer(c.Channel) == nil {
		c.Channel = ""
		if len(c.data.Streamers) > 0 {
			c.Channel = c.data.Streamers[0].Channel
		}
	}
	return c, nil
}

// firstShown is the template that the preview opens with.
const firstShown = "summary"

// errNotThere is wrapped by errors about a template that is not there.
var errNotThere = errors.New("not found")

// templates are those that are listed: without a comparison where there is nothing to compare with.
func (c choice) templates() []string {
	all := c.set.Names()
	names := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "comparison" && c.data.Comparison == nil && n != c.Template })
	if len(names) == 0 {
		return all
	}
	return names
}

// refuse answers a request that can't be met.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errNotThere):
		code = http.StatusNotFound
	case errors.Is(err, ErrConfig):
		code = http.StatusBadRequest
	}
	http.Error(w, err.Error(), code)
}

func (p *Preview) page(w http.ResponseWriter, r *http.Request) {
	c, err := p.choose(r)
	if err != nil {
		refuse(w, err)
		return
	}
	page, err := template.New("preview").Parse(previewPage)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	type option struct {
		Value, Label string
		Chosen       bool
	}
	options := func(chosen string, values ...string) []option {
		var out []option
		for _, v := range values {
			out = append(out, option{Value: v, Label: v, Chosen: v == chosen})
		}
		return out
	}
	samples := append([]option{{Label: "the event", Chosen: c.Sample == ""}}, options(c.Sample, SampleNames()...)...)
	var streamers []option
	for _, s := range c.data.Streamers {
		streamers = append(streamers, option{Value: s.Channel, Label: s.Name, Chosen: s.Channel == c.Channel})
	}
	view := map[string]any{
		"Event": c.data.Event.Name, "Templates": options(c.Template, c.templates()...), "Languages": options(c.Language, locale.Languages()...),
		"Themes": options(c.Theme, themeNames()...), "Samples": samples, "Streamers": streamers, "OfStreamer": OfStreamer(c.Template),
	}
	theme, _ := Theme(c.Theme)
	if t, err := c.set.Template(c.Template, theme); err != nil {
		view["Error"] = err.Error()
	} else {
		view["Problems"] = append(t.CheckDrawing(p.Canvas), t.Check(p.Canvas, c.values(theme, p.Canvas), nil)...)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, view); err != nil {
		p.Logger.Warn("the preview's page was not written whole", "err", err)
	}
}

func (c choice) values(theme charts.Theme, m filled.Measurer) filled.Values {
	look := c.set.Look(c.data, c.Language, theme, m)
	if s := c.data.streamer(c.Channel); s != nil && OfStreamer(c.Template) {
		return look.Streamer(c.data, s)
	}
	return look.Event(c.data)
}

func (p *Preview) picture(w http.ResponseWriter, r *http.Request) {
	c, err := p.choose(r)
	if err != nil {
		refuse(w, err)
		return
	}
	theme, _ := Theme(c.Theme)
	t, err := c.set.Template(c.Template, theme)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var picture []byte
	svg, err := t.Fill(p.Canvas, c.values(theme, p.Canvas))
	if err == nil {
		picture, err = p.Canvas.PNG(r.Context(), svg, 0)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(picture))
}

// changes is a stream of events: one whenever the page should be read again.
func (p *Preview) changes(w http.ResponseWriter, r *http.Request) {
	told := make(chan struct{}, 1)
	p.mu.Lock()
	p.waiting[told] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, told)
		p.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for n := 0; ; n++ {
		line, err := json.Marshal(n)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", line); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-told:
		}
	}
}
