package report

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/template"
)

//go:embed templates/*.svg
var shipped embed.FS

// Shipped is the template set that ships.
func Shipped() fs.FS {
	sub, err := fs.Sub(shipped, "templates")
	if err != nil {
		panic(err) // the folder is in the program
	}
	return sub
}

// Set is a folder of templates. A template is a file NAME.svg, or NAME.THEME.svg which is for one theme
// only and goes before the other. The one that is called streamer, and those that begin with
// "streamer-", are filled for each streamer; all others once.
type Set struct {
	files fs.FS
	texts texts
	look  look
	names []string
}

// ErrTemplates is wrapped by every error about a template set.
var ErrTemplates = errors.New("templates")

// OpenSet reads what is in a folder of templates. Default: the set that ships.
func OpenSet(files fs.FS) (*Set, error) {
	own := files
	if files == nil {
		files = Shipped()
	}
	s := &Set{files: files}
	var err error
	if s.texts, err = readTexts(own); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplates, err)
	}
	if s.look, err = readLook(own); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplates, err)
	}
	found, err := fs.Glob(files, "*.svg")
	if err != nil {
		return nil, fmt.Errorf("%w: list the folder: %w", ErrTemplates, err)
	}
	for _, file := range found {
		name, theme, themed := strings.Cut(strings.TrimSuffix(file, ".svg"), ".")
		if themed && !slices.ContainsFunc(charts.Themes(), func(t charts.Theme) bool { return t.Name == theme }) {
			return nil, fmt.Errorf("%w: %s: there is no theme %q: call it %s.svg, or %s.dark.svg", ErrTemplates, file, theme, name, name)
		}
		if !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	if len(s.names) == 0 {
		return nil, fmt.Errorf("%w: there is no file *.svg in the folder", ErrTemplates)
	}
	slices.Sort(s.names)
	return s, nil
}

// Names are the templates' names.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// OfStreamer reports whether a template is filled for each streamer.
func OfStreamer(name string) bool { return name == "streamer" || strings.HasPrefix(name, "streamer-") }

var (
	themeStyle = regexp.MustCompile(`(?s)<style id="theme">.*?</style>`)
	variable   = regexp.MustCompile(`var\(\s*--([A-Za-z0-9-]+)\s*(?:,[^()]*)?\)`)
)

// Template is a template in the colours of a theme.
func (s *Set) Template(name string, theme charts.Theme) (*template.Template, error) {
	file := name + "." + theme.Name + ".svg"
	src, err := fs.ReadFile(s.files, file)
	if errors.Is(err, fs.ErrNotExist) {
		file = name + ".svg"
		src, err = fs.ReadFile(s.files, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplates, err)
	}
	dressed, err := dress(file, src, s.look.over(theme))
	if err != nil {
		return nil, err
	}
	t, err := template.Parse(file, dressed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplates, err)
	}
	return t, nil
}

// dress puts a theme's colours where a template says var(--name). The style that makes the file look
// right in a browser goes.
func dress(file string, src []byte, theme charts.Theme) ([]byte, error) {
	// Lines stay where they are, for messages.
	src = themeStyle.ReplaceAllFunc(src, func(b []byte) []byte { return bytes.Repeat([]byte("\n"), bytes.Count(b, []byte("\n"))) })
	colours := theme.Colours()
	for _, m := range variable.FindAllSubmatchIndex(src, -1) {
		if name := string(src[m[2]:m[3]]); colours[name] == "" {
			return nil, fmt.Errorf("%w: %s:%d: no theme has a colour %q", ErrTemplates, file, 1+bytes.Count(src[:m[0]], []byte("\n")), name)
		}
	}
	return variable.ReplaceAllFunc(src, func(b []byte) []byte { return []byte(colours[string(variable.FindSubmatch(b)[1])]) }), nil
}

// Look is how pictures look in a language and theme. m measures the labels of charts.
func (s *Set) Look(d *Data, language string, theme charts.Theme, m template.Measurer) Look {
	return Look{
		locale: locale.Locale{Language: language, Zone: zone(d.Event.TimeZone)}, words: s.texts.in(language), theme: s.look.over(theme), family: s.look.family(),
		measure: measurer(m, s.look.family()),
	}
}

// shows says whether there is anything for one of the shipped pictures to show.
func shows(name string, d *Data) bool {
	switch name {
	case "goals":
		return len(d.Goals.Goals) > 0
	case "leaderboards":
		for _, b := range d.Boards {
			if len(b.Rows) > 0 {
				return true
			}
		}
		return false
	case "network":
		return len(d.Overlaps) > 0
	case "race":
		return len(d.Race.Times) > 1
	case "records":
		return len(d.Feats) > 0
	case "comparison":
		return d.Comparison != nil
	}
	return true
}
