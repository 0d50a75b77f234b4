package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	table(&out, "NAME\t>NUMBER\tTEXT", func(add func(...any)) {
		add("ゾルテ_ch", 1234, "")
		add("a note across the whole table")
		add("é", "≥ 5", "two\nlines, \x1b[31mred")
	})
	want := "NAME       NUMBER  TEXT\n" +
		"ゾルテ_ch    1234\n" +
		"a note across the whole table\n" +
		"é             ≥ 5  two lines,  [31mred\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestFolded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 0, "one two three"},
		{"one two three", 13, "one two three"},
		{"one two three", 12, "one two|three"},
		{"one two three", 3, "one|two|three"},
		{"ゾルテ ゾルテ", 7, "ゾルテ|ゾルテ"},
		{"", 5, ""},
	} {
		if got := strings.Join(folded(c.text, c.width), "|"); got != c.want {
			t.Errorf("%q in %d: %q, should be %q", c.text, c.width, got, c.want)
		}
	}
}
