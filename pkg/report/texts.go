package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/tungstene/tungstene/pkg/report/locale"
)

//go:embed texts.json
var textFile []byte

// TextsName is the file of a template set that adds to the texts, or replaces some.
const TextsName = "texts.json"

// texts are words by key and language.
type texts map[string]map[string]string

// readTexts reads the texts that ship, with those of a template set over them.
func readTexts(set fs.FS) (texts, error) {
	t, err := parseTexts(textFile)
	if err != nil || set == nil {
		return t, err
	}
	data, err := fs.ReadFile(set, TextsName)
	if err != nil {
		return t, nil //nolint:nilerr // a set need not have one
	}
	own, err := parseTexts(data)
	if err != nil {
		return nil, fmt.Errorf("%s of the template set: %w", TextsName, err)
	}
	maps.Copy(t, own)
	return t, nil
}

func parseTexts(data []byte) (texts, error) {
	var t texts
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("read the texts: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		for _, language := range locale.Languages() {
			if _, ok := t[key][language]; !ok {
				return nil, fmt.Errorf("text %q has nothing in the language %q: add it", key, language)
			}
		}
	}
	return t, nil
}

// in are the texts of one language by key.
func (t texts) in(language string) map[string]string {
	out := make(map[string]string, len(t))
	for key, by := range t {
		out[key] = by[language]
	}
	return out
}
