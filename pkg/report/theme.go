package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/report/charts"
)

// ThemeName is the file of a template set that says how its charts look.
const ThemeName = "theme.json"

// look is what a set says of its charts.
type look struct {
	// Font is the family of their labels. Default: Inter.
	Font string `json:"font"`
	// Colours are by theme and name; those that are not there stay.
	Colours map[string]map[string]string `json:"colours"`
}

// readLook reads the file of a set. There may be none.
func readLook(files fs.FS) (l look, err error) {
	if files == nil {
		return l, nil
	}
	data, err := fs.ReadFile(files, ThemeName)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the theme: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, fmt.Errorf("%s: %w", ThemeName, err)
	}
	for name, colours := range l.Colours {
		t, ok := Theme(name)
		if !ok {
			return l, fmt.Errorf("%s: there is no theme %q: use one of %s", ThemeName, name, strings.Join(themeNames(), ", "))
		}
		if _, err := t.With(colours); err != nil {
			return l, fmt.Errorf("%s: %s: %w", ThemeName, name, err)
		}
	}
	return l, nil
}

// over is a theme in the set's colours.
func (l look) over(t charts.Theme) charts.Theme {
	own, err := t.With(l.Colours[t.Name])
	if err != nil {
		return t // it was read without one
	}
	return own
}

// family is the list of families of labels.
func (l look) family() string {
	if l.Font == "" {
		return chartFamily
	}
	return strings.Join(slices.Compact([]string{l.Font, chartFamily}), ", ")
}
