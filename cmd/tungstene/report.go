package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/report"
	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
)

type reportCmd struct {
	Make  reportMakeCmd  `cmd:"" default:"withargs" help:"Make the pictures, or show them in a browser while templates are worked on."`
	Check reportCheckCmd `cmd:"" help:"Try templates at the shortest and the longest content, and say what is missing or does not fit."`
}

func (reportCmd) Help() string {
	return `Makes one picture of each streamer and several of the event: summary, timeline, leaderboards, goals, records, race, network, rhythm.

Examples:
  tungstene report --data ./data --out ./pictures
  tungstene report --config tungstene.yaml --out ./pictures --language fr,en --theme dark,light --format png,svg
  tungstene report --data ./data --preview --templates ./templates
  tungstene report check --templates ./templates`
}

type reportMakeCmd struct {
	app.Stored
	Event       string   `help:"Event. Default: the only one."`
	Out         string   `help:"Folder for the pictures. What is in it and has not changed is left as it is." placeholder:"DIR"`
	Language    []string `help:"Languages: fr, en. Default: fr."`
	Theme       []string `help:"Themes: dark, light. Default: dark."`
	Format      []string `help:"Formats: png, svg. Default: png."`
	Templates   string   `help:"Folder of templates (*.svg). Default: those that ship." placeholder:"DIR"`
	Channel     []string `help:"Only the pictures of these channels: login, display name or Twitch id."`
	Edition     string   `help:"An earlier edition to compare with: a CSV file of minutes, or another event in the store."`
	EditionName string   `help:"What the earlier edition is called in the pictures. Default: the name of its file or event." name:"edition-name" placeholder:"NAME"`
	Force       bool     `help:"Make all pictures again, also those that have not changed."`
	Avatars     bool     `default:"true" help:"Fetch the streamers' pictures; without, initials are shown." negatable:""`
	SystemFonts bool     `default:"true" help:"Take scripts that the shipped fonts don't have (Chinese, Japanese, Korean, Thai, …) from the machine's fonts." name:"system-fonts" negatable:""`
	Fonts       string   `help:"Folder of further fonts for templates: TTF, OTF." placeholder:"DIR"`
	Preview     bool     `help:"Show the pictures in a browser, at the address of --listen, and again when a template or the data changes."`
	JSON        bool     `help:"Print the result as one JSON object." name:"json"`
}

// Shown is what help shows of the configuration.
func (*reportMakeCmd) Shown() []string { return []string{"data", "listen"} }

func (reportMakeCmd) Help() string {
	return `Reads an event once and draws its pictures in parallel: DIR/LANGUAGE-THEME/summary.png and so on, those of streamers DIR/LANGUAGE-THEME/streamers/LOGIN-ID.png. A run that is broken off goes on where it was when it is started again: manifest.json in the folder knows what each picture was made of, and what has not changed is not drawn again. One picture that can't be made doesn't keep the others from being made; exit code 1 then, with a list.

Examples:
  tungstene report --data ./data --out ./pictures
  tungstene report --config tungstene.yaml --event zevent-2026 --out ./pictures --language fr,en --theme dark,light --format png,svg
  tungstene report --data ./data --out ./pictures --channel zerator --channel antoinedaniel
  tungstene report --data ./data --out ./pictures --edition testdata/agdq2020-minutes.csv
  tungstene report --data ./data --preview --templates ./templates --listen 127.0.0.1:0`
}

// fonts makes what pictures are drawn with.
func (c *reportMakeCmd) canvas(ctx context.Context) (*render.Renderer, error) {
	o := render.Options{SystemFonts: c.SystemFonts, CacheDir: reportCache()}
	if c.Fonts != "" {
		o.Fonts = os.DirFS(c.Fonts)
	}
	return report.NewCanvas(ctx, o)
}

// reportCache is where the drawing module's compiled form is kept; empty where the machine has no place for it.
func reportCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "tungstene", "render")
}

// cache is a folder for what later runs need again; empty for none.
func (c *reportMakeCmd) cache() string {
	if c.Out == "" {
		return ""
	}
	return filepath.Join(c.Out, report.CacheName)
}

// templateFiles is a folder of templates; nil for those that ship.
func templateFiles(dir string) (fs.FS, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // those that ship
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, app.Usage("--templates %s: it is no folder", dir)
	}
	return os.DirFS(dir), nil
}

// chosen checks a list of flags.
func chosen(flag string, have, all []string) error {
	for _, h := range have {
		if !slices.Contains(all, h) {
			return app.Usage("--%s %s: use one of %s", flag, h, strings.Join(all, ", "))
		}
	}
	return nil
}

func (c *reportMakeCmd) check() error {
	if c.Out == "" && !c.Preview {
		return app.Usage("say with --out where the pictures are to be written, or use --preview")
	}
	var themes []string
	for _, t := range charts.Themes() {
		themes = append(themes, t.Name)
	}
	if c.Out != "" {
		if err := report.CheckOut(c.Out, c.Data); errors.Is(err, report.ErrOut) {
			return app.Usage("--out: %v", err)
		} else if err != nil {
			return err
		}
	}
	return cmp.Or(chosen("language", c.Language, locale.Languages()), chosen("theme", c.Theme, themes), chosen("format", c.Format, report.Formats()))
}

func (c *reportMakeCmd) Run(ctx context.Context, env app.Env) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	files, err := templateFiles(c.Templates)
	if err != nil {
		return err
	}
	set, err := report.OpenSet(files)
	if err != nil {
		return err
	}
	s, err := openForReading(ctx, &c.Configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	canvas, err := c.canvas(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, canvas.Close()) }()
	if c.Preview {
		return c.show(ctx, env, s, canvas, files)
	}
	return c.make(ctx, env, s, canvas, set)
}

func (c *reportMakeCmd) make(ctx context.Context, env app.Env, s store.Store, canvas *render.Renderer, set *report.Set) error {
	if err := os.MkdirAll(c.Out, 0o755); err != nil { //nolint:gosec // pictures are public
		return fmt.Errorf("make the folder of the pictures: %w; name another with --out", err)
	}
	bar := newBar(env.Stderr, c.JSON)
	began := time.Now()
	d, err := c.load(ctx, s, bar, c.avatars())
	if err != nil {
		return err
	}
	read := time.Since(began)
	res, err := report.Run(ctx, d, report.Config{
		Out: c.Out, Languages: c.Language, Themes: c.Theme, Formats: c.Format, Set: set, Canvas: canvas,
		StreamersOnly: len(c.Channel) > 0, Force: c.Force,
		Progress: func(p report.Progress) { bar.at("pictures", p.Done, p.All, p.Failed) },
	})
	bar.end()
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("broken off after %d of %d pictures; the same command goes on from there: %w", res.Made+res.Skipped, res.Pictures, ctx.Err())
		}
		return err
	}
	if err := c.tell(env.Stdout, res, read); err != nil {
		return err
	}
	if len(res.Failed) > 0 {
		return app.ErrReported
	}
	return nil
}

func (c *reportMakeCmd) tell(w io.Writer, res report.Result, read time.Duration) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(struct {
			report.Result
			ReadSeconds float64 `json:"read_seconds"`
		}{res, read.Seconds()})
	}
	fmt.Fprintf(w, "event       %s\npictures    %s: %d drawn, %d unchanged, %d failed\nfiles       %d in %s\nseconds     %.1f to read, %.1f to draw\n",
		res.Event, some(res.Pictures, "picture", "pictures"), res.Made, res.Skipped, len(res.Failed), res.Files, res.Out, read.Seconds(), res.Seconds)
	for i, f := range res.Failed {
		same := func(o report.Failure) bool { return o.Error == f.Error }
		if first := slices.IndexFunc(res.Failed, same); first < i {
			continue // told with the first
		}
		more := -1
		for _, o := range res.Failed {
			if same(o) {
				more++
			}
		}
		picture := f.Picture
		if more > 0 {
			picture += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(w, "  - %s: %s\n", picture, f.Error)
	}
	if len(res.Failed) > 0 && c.Templates != "" {
		fmt.Fprintf(w, "what is wrong with a template, and in which layer: tungstene report check --templates %s\n", c.Templates)
	}
	return nil
}

// avatars is what fetches the streamers' pictures; nil when they are not wanted.
func (c *reportMakeCmd) avatars() *report.Avatars {
	if !c.Avatars {
		return nil
	}
	return &report.Avatars{Dir: c.cache()}
}

func (c *reportMakeCmd) load(ctx context.Context, s store.Store, bar *bar, avatars *report.Avatars) (*report.Data, error) {
	o := report.Loading{
		Store: s, Event: c.Event, Channels: c.Channel, Workers: 2 * runtime.NumCPU(), Cache: c.cache(), Avatars: avatars,
		Progress: func(done, all int) { bar.at("streamers read", done, all, 0) },
	}
	if c.Edition != "" {
		edition, err := readEdition(ctx, s, c.Edition)
		if err != nil {
			return nil, err
		}
		edition.Name = cmp.Or(c.EditionName, edition.Name)
		o.Edition = &edition
	}
	d, err := report.Load(ctx, o)
	bar.end()
	if err != nil {
		return nil, err
	}
	return d, nil
}

// readEdition is an earlier edition: a file of minutes, or another event of the store.
func readEdition(ctx context.Context, s store.Store, name string) (curve statistics.Curve, err error) {
	f, err := os.Open(name)
	if err == nil {
		defer func() { err = errors.Join(err, f.Close()) }()
		return statistics.ReadEdition(f, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return curve, fmt.Errorf("read the edition: %w", err)
	}
	r, err := statistics.Open(ctx, s, name)
	if errors.Is(err, statistics.ErrUnknown) {
		return curve, app.Usage("--edition %s: there is neither such a file nor such an event", name)
	}
	if err != nil {
		return curve, err
	}
	return r.Curve(ctx, record.AllChannels, r.Whole(), time.Minute)
}

// show serves the preview until the context ends.
func (c *reportMakeCmd) show(ctx context.Context, env app.Env, s store.Store, canvas *render.Renderer, files fs.FS) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("show the pictures: %w; choose another address with --listen, 127.0.0.1:0 for any free one", err)
	}
	fmt.Fprintf(env.Stderr, "reading the event; the pictures are at http://%s until Ctrl-C\n", listener.Addr())
	avatars := c.avatars() // those that it has are not fetched again
	p := &report.Preview{
		Files: files, Canvas: canvas, Logger: slog.Default(),
		Load: func(ctx context.Context) (*report.Data, error) {
			return c.load(ctx, s, newBar(env.Stderr, true), avatars)
		},
	}
	return p.Run(ctx, listener)
}

type reportCheckCmd struct {
	Templates   string `help:"Folder of templates (*.svg). Default: those that ship." placeholder:"DIR"`
	Fonts       string `help:"Folder of further fonts for templates: TTF, OTF." placeholder:"DIR"`
	SystemFonts bool   `default:"true" help:"Take scripts that the shipped fonts don't have from the machine's fonts." name:"system-fonts" negatable:""`
	JSON        bool   `help:"Print the problems as JSON." name:"json"`
}

func (reportCheckCmd) Help() string {
	return `Fills every template with the shortest and the longest content that can be, in all languages and themes, and tells with file, line and layer: what is not drawn, placeholders that have no value, texts that are cut even at their smallest size (names at their usual length) or run into others, fonts and characters that are missing, and that the note about partial data is nowhere. Exit code 1 when anything is an error; warnings alone are fine.

Examples:
  tungstene report check
  tungstene report check --templates ./templates --fonts ./fonts --json`
}

func (c *reportCheckCmd) Run(ctx context.Context, env app.Env) (err error) {
	files, err := templateFiles(c.Templates)
	if err != nil {
		return err
	}
	set, err := report.OpenSet(files)
	if err != nil {
		return err
	}
	m := reportMakeCmd{Fonts: c.Fonts, SystemFonts: c.SystemFonts}
	canvas, err := m.canvas(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, canvas.Close()) }()
	problems, err := report.Check(ctx, set, canvas)
	if err != nil {
		return err
	}
	errs := 0
	type line struct {
		File     string `json:"file"`
		Line     int    `json:"line"`
		Layer    string `json:"layer"`
		Severity string `json:"severity"`
		Message  string `json:"message"`
		Sample   string `json:"sample"`
		Language string `json:"language"`
		Theme    string `json:"theme"`
	}
	lines := []line{}
	for _, p := range problems {
		if p.Severity == template.Error {
			errs++
		}
		lines = append(lines, line{p.File, p.Line, p.ID, string(p.Severity), p.Message, p.Sample, p.Language, p.Theme})
		if !c.JSON {
			where := ""
			if p.Sample != "" {
				where = fmt.Sprintf(" (%s, %s, %s)", p.Sample, p.Language, p.Theme)
			}
			fmt.Fprintf(env.Stdout, "%s: %s%s\n", p.Severity, p.Problem, where)
		}
	}
	if c.JSON {
		if err := json.NewEncoder(env.Stdout).Encode(lines); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(env.Stdout, "%s checked: %s, %s\n", some(len(set.Names()), "template", "templates"),
			some(errs, "error", "errors"), some(len(problems)-errs, "warning", "warnings"))
	}
	if errs > 0 {
		return app.ErrReported
	}
	return nil
}

// bar shows how far something is, on a terminal only.
type bar struct {
	mu    sync.Mutex
	w     io.Writer // nil where nobody looks
	shown time.Time
	width int
}

func newBar(w io.Writer, quiet bool) *bar {
	f, ok := w.(*os.File)
	if !ok || quiet {
		return &bar{}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &bar{}
	}
	return &bar{w: w}
}

// barEvery is how often the bar changes.
const barEvery = 100 * time.Millisecond

func (b *bar) at(what string, done, all, failed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w == nil || time.Since(b.shown) < barEvery && done < all {
		return
	}
	b.shown = time.Now()
	text := fmt.Sprintf("%d of %d %s", done, all, what)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	const cells = 30
	full := 0
	if all > 0 {
		full = done * cells / all
	}
	text = "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "] " + text
	fmt.Fprintf(b.w, "\r%s%s", text, strings.Repeat(" ", max(b.width-len(text), 0)))
	b.width = len(text)
}

// end goes to the next line.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.width > 0 {
		fmt.Fprintln(b.w)
	}
	b.width, b.shown = 0, time.Time{}
}
