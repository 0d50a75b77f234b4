package goals

import (
	"errors"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// The columns of a CSV list.
const (
	columnAmount = iota
	columnText
	columnCategory
	columnChannel
	columnID
	columnLinks
	columnAccomplished
	columns
)

// headers are what columns are called.
func headers() [columns][]string {
	return [columns][]string{
		columnAmount:       {"amount", "montant", "palier", "somme", "prix", "price", "value", "valeur", "euros", "money"},
		columnText:         {"text", "texte", "name", "nom", "goal", "donation goal", "objectif", "description", "titre", "title", "libellé", "défi", "challenge"},
		columnCategory:     {"category", "catégorie", "categorie", "type"},
		columnChannel:      {"channel", "chaîne", "chaine", "streamer", "login", "twitch"},
		columnID:           {"id", "uuid"},
		columnLinks:        {"link", "links", "lien", "liens", "url"},
		columnAccomplished: {"accomplished", "done", "fait", "réalisé", "accompli"},
	}
}

// row is one line of a CSV list. quoted says of each cell whether it was.
type row struct {
	line   int
	cells  []string
	quoted []bool
}

// rows splits a list. A quote that is never closed is a problem, and its line is left out.
func (r *reader) rows(text string, separator byte, tell bool) []row {
	var out []row
	line := 1
	for i := 0; i < len(text); {
		now := row{line: line}
		begin := i
		broken := false
		for {
			cell, quoted, next, ok := field(text, i, separator)
			if !ok {
				broken = true
				break
			}
			line += strings.Count(text[i:next], "\n")
			now.cells, now.quoted = append(now.cells, cell), append(now.quoted, quoted)
			i = next
			if i >= len(text) || text[i] != separator {
				break
			}
			i++
		}
		if broken {
			if tell {
				r.problem(now.line, firstLine(text[begin:]), "a quote is opened and never closed")
			}
			i, line = begin+len(firstLine(text[begin:])), now.line
			now.cells = nil
		}
		if i < len(text) {
			i++ // the line's end
			line++
		}
		blank := !slices.ContainsFunc(now.cells, func(c string) bool { return strings.TrimSpace(c) != "" })
		if !blank && (now.quoted[0] || !strings.HasPrefix(strings.TrimSpace(now.cells[0]), "#")) {
			out = append(out, now)
		}
	}
	return out
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// field reads one cell that begins at i, and returns where it ends: at a separator, a line's end or the
// end of all.
func field(text string, i int, separator byte) (cell string, quoted bool, next int, ok bool) {
	j := i
	for j < len(text) && text[j] == ' ' {
		j++
	}
	end := func(j int) int {
		for j < len(text) && text[j] != separator && text[j] != '\n' {
			j++
		}
		return j
	}
	if j < len(text) && text[j] == '"' {
		var b strings.Builder
		for j++; ; {
			k := strings.IndexByte(text[j:], '"')
			if k < 0 {
				return "", true, i, false
			}
			b.WriteString(text[j : j+k])
			j += k + 1
			if j < len(text) && text[j] == '"' {
				b.WriteByte('"')
				j++
				continue
			}
			break
		}
		if k := end(j); strings.TrimSpace(text[j:k]) == "" {
			return b.String(), true, k, true
		}
		// `"Hello" he says`: quotes that are part of the text.
	}
	k := end(i)
	return text[i:k], false, k, true
}

// csv reads a list of lines.
func (r *reader) csv(text string) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	separator, header := r.layout(text)
	list := r.rows(text, separator, true)
	at := [columns]int{columnAmount: 0, columnText: 1, columnCategory: -1, columnChannel: -1, columnID: -1, columnLinks: -1, columnAccomplished: -1}
	width := 0
	if header && len(list) > 0 {
		width = len(list[0].cells)
		at = places(list[0].cells)
		for i, c := range list[0].cells {
			if !slices.Contains(at[:], i) && strings.TrimSpace(c) != "" {
				r.problem(list[0].line, c, "is no column that is known: amount, text, category, channel, id, links, accomplished")
			}
		}
		if at[columnText] < 0 {
			r.problem(list[0].line, "", "the header has no column text")
			return
		}
		list = list[1:]
	}
	for _, x := range list {
		r.line(x, at, separator, width)
	}
}

// line reads one goal; width is how many columns the header has, 0 without one.
func (r *reader) line(x row, at [columns]int, separator byte, width int) {
	last := max(slices.Max(at[:]), width-1)
	if separator == ',' && !x.quoted[0] && len(x.cells) > last+1 && at[columnAmount] == 0 && split(x.cells, r.currency) {
		r.problem(x.line, x.cells[0]+","+x.cells[1], "can be read in two ways: write the amount without a comma in it, or put ; between the columns")
		return
	}
	cell := func(column int) string {
		i := at[column]
		if i < 0 || i >= len(x.cells) {
			return ""
		}
		if i == last && column == columnText {
			return strings.Join(x.cells[i:], string(separator))
		}
		return x.cells[i]
	}
	if len(x.cells) > last+1 && at[columnText] != last && strings.TrimSpace(strings.Join(x.cells[last+1:], "")) != "" {
		r.problem(x.line, x.cells[last+1], "the line has more columns than the header: quote texts with %q in them", string(separator))
		return
	}
	if len(x.cells) == 1 && width == 0 {
		r.problem(x.line, x.cells[0], "has no separator: write an amount, a ; or , and a text")
		return
	}
	e := Entry{
		Line: x.line, ID: cell(columnID), Channel: cell(columnChannel), Category: strings.ToLower(strings.TrimSpace(cell(columnCategory))),
		Name: cell(columnText), Links: strings.Fields(strings.ReplaceAll(cell(columnLinks), "|", " ")),
	}
	faulty := false
	amount := strings.TrimSpace(cell(columnAmount))
	if amount != "" || e.Category != record.GoalIncentive {
		n, err := money.Parse(amount, r.currency)
		if err != nil {
			faulty = true
			r.problem(x.line, amount, "is no amount in %s: %s", r.currency, reason(err))
		}
		e.Money.Cents = n
	}
	var ok bool
	if e.Accomplished, ok = truth(cell(columnAccomplished)); !ok {
		faulty = true
		r.problem(x.line, cell(columnAccomplished), "is neither yes nor no")
	}
	r.add(e, faulty)
}

// reason is what an error of money says, without the text that it is about.
func reason(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, `" `); i >= 0 {
		return s[i+2:]
	}
	return s
}

// split reports whether the first two cells may be one amount that a separator cut: "1,000,A song".
func split(cells []string, currency string) bool {
	second := strings.TrimSpace(cells[1])
	if second == "" || second[0] < '0' || second[0] > '9' {
		return false
	}
	return amountLike(cells[0]+","+second, currency)
}

// amountLike reports whether a text is an amount, be it one that can be read in two ways.
func amountLike(text, currency string) bool {
	_, err := money.Parse(text, currency)
	return err == nil || errors.Is(err, money.ErrAmbiguous)
}

// layout finds the separator, and whether the list has a header.
func (r *reader) layout(text string) (separator byte, header bool) {
	best := 0
	separator = ';'
	for _, s := range []byte{'\t', ';', ','} {
		list := r.rows(text, s, false)
		if len(list) == 0 {
			continue
		}
		if at := places(list[0].cells); at[columnAmount] >= 0 && len(list[0].cells) > 1 {
			return s, true
		}
		n := 0
		for _, x := range list {
			if len(x.cells) > 1 {
				n++
				if amountLike(x.cells[0], r.currency) {
					n++
				}
			}
		}
		if n > best {
			best, separator = n, s
		}
	}
	return separator, false
}

// places finds columns by a header; -1 for one that is not there.
func places(cells []string) [columns]int {
	var at [columns]int
	for column, names := range headers() {
		at[column] = slices.IndexFunc(cells, func(c string) bool {
			return slices.Contains(names, strings.ToLower(strings.TrimSpace(strings.Trim(c, "\""))))
		})
	}
	return at
}
