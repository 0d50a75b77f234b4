// Package report makes the pictures of an event: one of each streamer and several of the event, as PNG
// and SVG, in French and English, dark and light. What they look like is in templates (SVG files with
// placeholders, see package template), what they show in the statistics, and Look puts one into the other.
package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
)

// The formats.
const (
	PNG = "png"
	SVG = "svg"
)

// Formats lists them.
func Formats() []string { return []string{PNG, SVG} }

// Canvas is what draws: a *render.Renderer.
type Canvas interface {
	template.Measurer
	PNG(ctx context.Context, svg []byte, width int) ([]byte, error)
	Outline(svg []byte) ([]byte, error)
}

// Config says which pictures are made, and where to.
type Config struct {
	// Out is the folder. Pictures are LANGUAGE-THEME/NAME.png there, those of streamers
	// LANGUAGE-THEME/streamers/LOGIN-ID.png.
	Out string
	// Languages are of locale.Languages, Themes of charts.Themes, Formats of Formats. Defaults: French,
	// dark, PNG.
	Languages, Themes, Formats []string
	// Set has the templates. Default: the set that ships.
	Set *Set
	// Canvas draws.
	Canvas Canvas
	// StreamersOnly leaves out the pictures of the event.
	StreamersOnly bool
	// Force makes pictures again that have not changed.
	Force bool
	// Workers is how many pictures are made at once. Default: the number of processors.
	Workers int
	// Progress is told after each picture; nil for nobody.
	Progress func(Progress)
	// Logger. Default: slog.Default.
	Logger *slog.Logger
}

// Progress is how far a run is, in pictures.
type Progress struct {
	Done, All, Skipped, Failed int
}

// Result is what a run has done.
type Result struct {
	Event string `json:"event"`
	Out   string `json:"out"`
	// Pictures is how many there are; Made were drawn, Skipped have not changed, Failed could not be made.
	Pictures int       `json:"pictures"`
	Made     int       `json:"made"`
	Skipped  int       `json:"skipped"`
	Failed   []Failure `json:"failed"`
	// Files is how many files were written.
	Files   int     `json:"files"`
	Seconds float64 `json:"seconds"`
}

// Failure is a picture that could not be made.
type Failure struct {
	Picture string `json:"picture"`
	Error   string `json:"error"`
}

// ErrConfig is wrapped by errors about a Config.
var ErrConfig = errors.New("invalid choice of pictures")

func (c Config) withDefaults() (Config, error) {
	if len(c.Languages) == 0 {
		c.Languages = []string{locale.French}
	}
	if len(c.Themes) == 0 {
		c.Themes = []string{charts.Dark().Name}
	}
	if len(c.Formats) == 0 {
		c.Formats = []string{PNG}
	}
	if c.Workers < 1 {
		c.Workers = runtime.NumCPU()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Set == nil {
		var err error
		if c.Set, err = OpenSet(nil); err != nil {
			return c, err
		}
	}
	for _, check := range []struct {
		what      string
		have, all []string
	}{
		{"language", c.Languages, locale.Languages()}, {"theme", c.Themes, themeNames()}, {"format", c.Formats, Formats()},
	} {
		for _, have := range check.have {
			if !slices.Contains(check.all, have) {
				return c, fmt.Errorf("%w: %s %q: use one of %s", ErrConfig, check.what, have, strings.Join(check.all, ", "))
			}
		}
	}
	return c, nil
}

func themeNames() []string {
	var out []string
	for _, t := range charts.Themes() {
		out = append(out, t.Name)
	}
	return out
}

// Theme is the theme of a name.
func Theme(name string) (charts.Theme, bool) {
	for _, t := range charts.Themes() {
		if t.Name == name {
			return t, true
		}
	}
	return charts.Theme{}, false
}

func zone(name string) *time.Location {
	if l, err := time.LoadLocation(name); err == nil && name != "" {
		return l
	}
	return time.UTC
}

// job is one picture.
type job struct {
	file     string // without its ending, with slashes
	template *template.Template
	values   func() template.Values
}

// Run makes the pictures. What was made of the same values before is left as it is. A picture that can't
// be made does not keep others from being made: Result lists it. An error means that the run as a whole
// could not go on; what is done stays done, and the next run goes on from there.
func Run(ctx context.Context, d *Data, cfg Config) (Result, error) {
	began := time.Now()
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	res := Result{Event: d.Event.Slug, Out: cfg.Out, Failed: []Failure{}}
	jobs, err := plan(d, cfg)
	if err != nil {
		return res, err
	}
	res.Pictures = len(jobs)
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil { //nolint:gosec // pictures are public
		return res, fmt.Errorf("make the folder of the pictures: %w", err)
	}
	notes, err := openManifest(cfg.Out, d.Event.Slug)
	if err != nil {
		return res, err
	}
	if err := folders(cfg.Out, jobs); err != nil {
		return res, err
	}
	var mu sync.Mutex
	done := func(files int, skipped bool, failed *Failure) {
		mu.Lock()
		defer mu.Unlock()
		res.Files += files
		switch {
		case failed != nil:
			res.Failed = append(res.Failed, *failed)
		case skipped:
			res.Skipped++
		default:
			res.Made++
		}
		if cfg.Progress != nil {
			cfg.Progress(Progress{Done: res.Made + res.Skipped + len(res.Failed), All: len(jobs), Skipped: res.Skipped, Failed: len(res.Failed)})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cfg.Workers)
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			files, skipped, err := j.make(ctx, cfg, notes)
			var fatal *fatalError
			switch {
			case errors.As(err, &fatal), err != nil && ctx.Err() != nil:
				return err
			case err != nil:
				done(files, false, &Failure{Picture: j.file, Error: err.Error()})
			default:
				done(files, skipped, nil)
			}
			return nil
		})
	}
	err = errors.Join(group.Wait(), notes.close())
	slices.SortFunc(res.Failed, func(a, b Failure) int { return strings.Compare(a.Picture, b.Picture) })
	res.Seconds = time.Since(began).Seconds()
	if err == nil {
		err = ctxError(ctx, res)
	}
	return res, err
}

// ctxError is that of a context that ended before all was done.
func ctxError(ctx context.Context, res Result) error {
	if res.Made+res.Skipped+len(res.Failed) < res.Pictures {
		return ctx.Err()
	}
	return nil
}

// fatalError ends a run: the disk is full, the folder is gone.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// plan lists the pictures: those of the event first.
func plan(d *Data, cfg Config) ([]job, error) {
	var first, rest []job
	for _, language := range cfg.Languages {
		for _, name := range cfg.Themes {
			theme, _ := Theme(name)
			look := cfg.Set.Look(d, language, theme, cfg.Canvas)
			folder := language + "-" + name
			event := sync.OnceValue(func() template.Values { return look.Event(d) })
			for _, n := range cfg.Set.Names() {
				if !OfStreamer(n) && (cfg.StreamersOnly || !shows(n, d)) {
					continue
				}
				t, err := cfg.Set.Template(n, theme)
				if err != nil {
					return nil, err
				}
				if !OfStreamer(n) {
					first = append(first, job{file: path.Join(folder, n), template: t, values: event})
					continue
				}
				suffix := strings.TrimPrefix(n, "streamer")
				for _, s := range d.Pictured {
					rest = append(rest, job{
						file: path.Join(folder, "streamers", fileName(s.Login, s.Channel)+suffix), template: t,
						values: func() template.Values { return look.Streamer(d, s) },
					})
				}
			}
		}
	}
	return append(first, rest...), nil
}

// fileName names a streamer's picture: the login for people, the id for those who rename themselves.
func fileName(login, id string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, login+"-"+id)
	return safe
}

// folders makes the folders of the pictures, and takes away what a run that was killed has not finished.
func folders(out string, jobs []job) error {
	dirs := []string{out, filepath.Join(out, CacheName)}
	for _, j := range jobs {
		dir := filepath.Join(out, filepath.FromSlash(path.Dir(j.file)))
		if slices.Contains(dirs, dir) {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // pictures are public
			return fmt.Errorf("make the folder of the pictures: %w", err)
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		rest, err := filepath.Glob(filepath.Join(dir, unfinished+"*"))
		if err != nil {
			return fmt.Errorf("look for unfinished files: %w", err)
		}
		for _, file := range rest {
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("remove an unfinished file: %w", err)
			}
		}
	}
	return nil
}

// make makes one picture's files, unless they are there already.
func (j job) make(ctx context.Context, cfg Config, notes *manifest) (files int, skipped bool, err error) {
	svg, err := j.template.Fill(cfg.Canvas, j.values())
	if err != nil {
		return 0, false, fmt.Errorf("fill the template: %w", err)
	}
	sum := sha256.Sum256(svg)
	input := hex.EncodeToString(sum[:])
	var want []string
	for _, format := range cfg.Formats {
		if cfg.Force || !notes.has(cfg.Out, j.file+"."+format, input) {
			want = append(want, format)
		}
	}
	if len(want) == 0 {
		return 0, true, nil
	}
	outlined, err := cfg.Canvas.Outline(svg)
	if err != nil {
		return 0, false, fmt.Errorf("set the text: %w", err)
	}
	for _, format := range want {
		data := outlined
		if format == PNG {
			if data, err = cfg.Canvas.PNG(ctx, outlined, 0); err != nil {
				return files, false, fmt.Errorf("draw: %w", err)
			}
		}
		file := j.file + "." + format
		if err := writeFile(filepath.Join(cfg.Out, filepath.FromSlash(file)), data); err != nil {
			return files, false, &fatalError{err}
		}
		if err := notes.put(file, picture{Input: input, Bytes: int64(len(data))}); err != nil {
			return files, false, &fatalError{err}
		}
		files++
	}
	return files, false, nil
}

// NewCanvas makes what draws pictures. cache keeps what takes time to prepare; empty for none.
func NewCanvas(ctx context.Context, o render.Options) (*render.Renderer, error) {
	r, err := render.New(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("prepare the drawing of pictures: %w", err)
	}
	return r, nil
}
