package export

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// guideJSON are the rows of the tables of fields in docs/analysts.md and docs/exports.md, by the type
// that they describe and the field. A test holds it to those pages, and writes it with -update.
//
//go:embed guide.json
var guideJSON []byte

// guideRow is what the guide says of a field.
type guideRow struct {
	Type    string `json:"type,omitempty"`
	There   string `json:"there,omitempty"`
	Meaning string `json:"meaning"`
}

// dictionaryOf describes the columns of tables, as CSV.
func dictionaryOf(list []*table) ([]byte, error) {
	guide := map[string]map[string]guideRow{}
	if err := json.Unmarshal(guideJSON, &guide); err != nil {
		return nil, fmt.Errorf("read the guide: %w", err)
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *table) int { return strings.Compare(a.name, b.name) })
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	rows := [][]string{{"table", "column", "type", "field", "there", "meaning"}}
	for _, t := range list {
		for _, c := range t.columns {
			g := t.describe(guide, c)
			rows = append(rows, []string{t.name, c.name, c.typ, c.path, g.There, g.Meaning})
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write the dictionary: %w", err)
	}
	return out.Bytes(), nil
}

// describe is what the guide says of a column; its Meaning is empty where it says nothing.
func (t *table) describe(guide map[string]map[string]guideRow, c column) guideRow {
	switch {
	case t.name == otherTable && c.name == "document":
		return guideRow{There: "always", Meaning: "The whole document."}
	case strings.HasSuffix(c.path, ".coverage") && t.root == nil:
		return guideRow{There: "always", Meaning: "Whether that was observed: complete, partial (a lower bound) or unknown."}
	case strings.HasSuffix(c.path, ".error") && t.root == nil:
		return guideRow{There: "when known", Meaning: "Relative standard error of that estimate."}
	}
	for _, typ := range t.of {
		if g, ok := guide[typ][c.path]; ok {
			return g
		}
	}
	return guideRow{}
}
