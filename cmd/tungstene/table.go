package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// tableWidth is how wide a table on a terminal is, as far as its last column can be broken into lines.
const tableWidth = 100

// table writes rows of cells below a header, whose cells are separated by tabs; ">" before one has its
// column stand to the right. A row of one cell is a line of its own across all columns.
func table(w io.Writer, header string, rows func(add func(cells ...any))) {
	head := strings.Split(header, "\t")
	right := make([]bool, len(head))
	for i, name := range head {
		head[i], right[i] = strings.CutPrefix(name, ">")
	}
	lines := [][]string{head}
	rows(func(cells ...any) {
		line := make([]string, len(cells))
		for i, c := range cells {
			line[i] = strings.Map(printable, fmt.Sprint(c))
		}
		lines = append(lines, line)
	})
	last, begin := len(head)-1, 0 // the last column, and where it begins
	widths := make([]int, len(head))
	for _, line := range lines {
		for i, c := range line {
			if len(line) == len(head) {
				widths[i] = max(widths[i], uniseg.StringWidth(c))
			}
		}
	}
	for _, n := range widths[:last] {
		begin += n + 2
	}
	room := 0
	if !right[last] && begin <= tableWidth*3/4 && isTerminal(w) {
		room = tableWidth - begin
	}
	var out strings.Builder
	for _, line := range lines {
		if len(line) < len(head) {
			fmt.Fprintln(&out, line[0])
			continue
		}
		var text strings.Builder
		for i, c := range line[:last] {
			pad := strings.Repeat(" ", widths[i]-uniseg.StringWidth(c))
			if right[i] {
				c, pad = pad+c, ""
			}
			text.WriteString(c + pad + "  ")
		}
		for n, part := range folded(line[last], room) {
			switch {
			case n > 0:
				text.WriteString("\n" + strings.Repeat(" ", begin))
			case right[last]:
				text.WriteString(strings.Repeat(" ", widths[last]-uniseg.StringWidth(part)))
			}
			text.WriteString(part)
		}
		fmt.Fprintln(&out, strings.TrimRight(text.String(), " "))
	}
	_, _ = io.WriteString(w, out.String()) // the terminal's own affair
}

// folded breaks a text between words into lines of a width, 0 for one line.
func folded(text string, width int) (lines []string) {
	if width == 0 || uniseg.StringWidth(text) <= width {
		return []string{text}
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && uniseg.StringWidth(line)+1+uniseg.StringWidth(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// printable keeps what would move a terminal's cursor, or worse, out of it: cells hold what people wrote.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// isTerminal reports whether people look at what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
