package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	english    = "en"
	french     = "fr"
	langCookie = "tungstene_lang"
)

// catalogue is every text of the page by key and language.
type catalogue map[string]map[string]string

func readCatalogue() (catalogue, error) {
	body, err := files.ReadFile("assets/texts.json")
	if err != nil {
		return nil, fmt.Errorf("status page: read the texts: %w", err)
	}
	var c catalogue
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("status page: decode the texts: %w", err)
	}
	return c, nil
}

// in returns the texts of one language by key.
func (c catalogue) in(lang string) map[string]string {
	texts := make(map[string]string, len(c))
	for key, by := range c {
		texts[key] = by[lang]
	}
	return texts
}

// language is what the viewer chose (?lang=, then the cookie), else what the browser prefers, else
// English.
func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == english || l == french {
		return l
	}
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == english || c.Value == french) {
		return c.Value
	}
	return accepted(r.Header.Get("Accept-Language"))
}

// accepted chooses by an Accept-Language header (RFC 9110, 12.5.4).
func accepted(header string) string {
	best, bestQ := english, 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(part, ";")
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				continue
			}
			q = f
		}
		if (tag == english || tag == french) && q > bestQ {
			best, bestQ = tag, q
		}
	}
	return best
}

// locale writes numbers and times as a language does; the page's script does the same.
type locale struct {
	lang  string
	texts map[string]string
	zone  *time.Location
}

// nbsp is the space that French groups digits with: the narrow one is all but invisible in the
// page's typeface.
const nbsp = "\u00a0"

// text is a text with its {names} replaced by the values that follow them.
func (l locale) text(key string, pairs ...string) string {
	t, ok := l.texts[key]
	if !ok {
		return key
	}
	if len(pairs) == 0 {
		return t
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		t = strings.ReplaceAll(t, "{"+pairs[i]+"}", pairs[i+1])
	}
	return t
}

// number writes v with decimals digits after the point.
func (l locale) number(v float64, decimals int) string {
	s := strconv.FormatFloat(math.Abs(v), 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	group, point := ",", "."
	if l.lang == french {
		group, point = nbsp, ","
	}
	var b strings.Builder
	if v < 0 && strings.Trim(s, "0.") != "" {
		b.WriteString("−")
	}
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(group)
		}
		b.WriteRune(d)
	}
	if fraction != "" {
		b.WriteString(point + fraction)
	}
	return b.String()
}

func (l locale) count(v float64) string { return l.number(math.Round(v), 0) }

// rate writes small rates with a decimal.
func (l locale) rate(v float64) string {
	if v < 9.95 {
		return l.number(v, 1)
	}
	return l.count(v)
}

// percent never rounds what is not whole up to 100.
func (l locale) percent(share float64) string {
	v := math.Floor(share*1000) / 10
	decimals := 1
	if v == math.Trunc(v) {
		decimals = 0
	}
	space := ""
	if l.lang == french {
		space = nbsp
	}
	return l.number(v, decimals) + space + "%"
}

// span writes a duration in its two largest units.
func (l locale) span(seconds float64) string {
	unit := func(n float64, key string) string { return l.number(n, 0) + nbsp + l.text(key) }
	switch s := max(0, seconds); {
	case s < 0.995:
		return unit(math.Round(s*1000), "unit.ms")
	case s < 9.95:
		return l.number(s, 1) + nbsp + l.text("unit.s")
	case s < 59.5:
		return unit(math.Round(s), "unit.s")
	default:
		whole := int64(math.Round(s))
		switch {
		case whole < 3600:
			return join(unit(float64(whole/60), "unit.min"), whole%60, func(n float64) string { return unit(n, "unit.s") })
		case whole < 48*3600:
			return join(unit(float64(whole/3600), "unit.h"), whole%3600/60, func(n float64) string { return unit(n, "unit.min") })
		default:
			return join(unit(float64(whole/86400), "unit.d"), whole%86400/3600, func(n float64) string { return unit(n, "unit.h") })
		}
	}
}

func join(first string, rest int64, second func(float64) string) string {
	if rest == 0 {
		return first
	}
	return first + nbsp + second(float64(rest))
}

// bytes writes a size in powers of a thousand.
func (l locale) bytes(n float64) string {
	units := []string{"unit.B", "unit.kB", "unit.MB", "unit.GB"}
	i := 0
	for n >= 999.5 && i < len(units)-1 {
		n /= 1000
		i++
	}
	decimals := 0
	if i > 0 && n < 9.95 {
		decimals = 1
	}
	return l.number(n, decimals) + nbsp + l.text(units[i])
}

func (l locale) clock(t time.Time) string { return t.In(l.zone).Format("15:04") }

// day writes day, month and time.
func (l locale) day(t time.Time) string {
	if l.lang == french {
		return t.In(l.zone).Format("02/01 15:04")
	}
	return t.In(l.zone).Format("2 Jan 15:04")
}
