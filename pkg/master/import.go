package master

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tungstene/tungstene/pkg/control"
)

// maxImport is the most entries of one list. An event of that size is twenty times the largest
// there has been.
const maxImport = 10_000

// loginColumns are the names by which a list's column or element gives the login, best first.
//
//nolint:gochecknoglobals // a constant list
var loginColumns = []string{"login", "channel", "twitch", "name"}

var loginPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_]{0,24}$`)

// pages are first elements of twitch.tv's paths that are not channels.
//
//nolint:gochecknoglobals // a constant list
var pages = []string{
	"directory", "downloads", "jobs", "p", "search", "settings", "store", "subscriptions", "turbo", "videos", "wallet",
}

// loginList is a list of logins as read: what is good in its order, and what is not.
type loginList struct {
	Logins              []string
	Duplicates, Invalid []control.ImportLine
	seen                map[string]int // login to line
}

// parseLogins reads a list in the format that the content type names, or that it looks like where
// that says nothing. Entries that can't be logins are collected; the error is about the list as a
// whole.
func parseLogins(contentType string, body []byte) (*loginList, error) {
	body, err := checkText(body)
	if err != nil {
		return nil, err
	}
	l := &loginList{seen: make(map[string]int)}
	format, err := listFormat(contentType, body)
	if err != nil {
		return nil, err
	}
	switch format {
	case "application/json":
		err = l.readJSON(body)
	case "text/csv":
		err = l.readCSV(body)
	default:
		err = l.readText(body)
	}
	if err != nil {
		return nil, err
	}
	if len(l.seen)+len(l.Invalid) == 0 {
		return nil, errors.New("the list is empty: write one login a line")
	}
	return l, nil
}

func checkText(body []byte) ([]byte, error) {
	if bytes.HasPrefix(body, []byte{0xff, 0xfe}) || bytes.HasPrefix(body, []byte{0xfe, 0xff}) {
		return nil, errors.New("the list is in UTF-16: save it as UTF-8")
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if utf8.Valid(body) && !bytes.ContainsRune(body, 0) {
		return body, nil
	}
	line := 1
	for len(body) > 0 {
		r, n := utf8.DecodeRune(body)
		if r == 0 || (r == utf8.RuneError && n == 1) {
			break
		}
		if r == '\n' {
			line++
		}
		body = body[n:]
	}
	return nil, fmt.Errorf("line %d: the list is not text in UTF-8: save it as UTF-8", line)
}

// listFormat is text/plain, text/csv or application/json.
func listFormat(contentType string, body []byte) (string, error) {
	if contentType != "" {
		t, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return "", fmt.Errorf("content type %q: %w", contentType, err)
		}
		switch t {
		case "text/plain", "text/csv", "application/json":
			return t, nil
		// What curl and browsers say when they were told nothing.
		case "application/octet-stream", "application/x-www-form-urlencoded":
		default:
			return "", fmt.Errorf("content type %q: use text/plain, text/csv or application/json", t)
		}
	}
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) > 0 && (trimmed[0] == '[' || trimmed[0] == '{') {
		return "application/json", nil
	}
	if comma, _ := separator(body); comma != 0 {
		return "text/csv", nil
	}
	return "text/plain", nil
}

// separator is the one of the first line that is no comment, 0 where it has none.
func separator(body []byte) (comma rune, first string) {
	for line := range bytes.Lines(body) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		for _, c := range ",;\t" {
			if strings.ContainsRune(s, c) {
				return c, s
			}
		}
		return 0, s
	}
	return 0, ""
}

func (l *loginList) readText(body []byte) error {
	n := 0
	for raw := range bytes.Lines(body) {
		n++
		s := strings.TrimSpace(string(raw))
		if i := strings.IndexByte(s, '#'); i == 0 || (i > 0 && (s[i-1] == ' ' || s[i-1] == '\t')) {
			s = strings.TrimSpace(s[:i])
		}
		if s == "" {
			continue
		}
		if err := l.add(n, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *loginList) readCSV(body []byte) error {
	comma, first := separator(body)
	r := csv.NewReader(bytes.NewReader(body))
	r.Comment, r.FieldsPerRecord, r.ReuseRecord, r.TrimLeadingSpace = '#', -1, true, true
	r.Comma = ','
	if comma != 0 {
		r.Comma = comma
	}
	column, header := 0, true
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			return fmt.Errorf("line %d, column %d: %w", syntax.Line, syntax.Column, syntax.Err)
		}
		if err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		if header {
			header = false
			if c := loginColumn(row); c >= 0 {
				column = c
				continue
			}
			if len(row) > 1 && looksLikeHeader(row) {
				return fmt.Errorf("line 1: no column is named %s (have %q)", strings.Join(loginColumns, ", "), first)
			}
		}
		line, _ := r.FieldPos(0)
		value := ""
		if column < len(row) {
			value = strings.TrimSpace(row[column])
		}
		if value == "" {
			if strings.TrimSpace(strings.Join(row, "")) != "" {
				l.refuse(line, value, "no login in this line")
			}
			continue
		}
		if err := l.add(line, value); err != nil {
			return err
		}
	}
}

func loginColumn(row []string) int {
	for _, name := range loginColumns {
		for i, cell := range row {
			if strings.EqualFold(strings.TrimSpace(cell), name) {
				return i
			}
		}
	}
	return -1
}

// looksLikeHeader tells a first line of names from one of values by words that only a header has.
func looksLikeHeader(row []string) bool {
	return slices.ContainsFunc(row, func(cell string) bool {
		switch strings.ToLower(strings.TrimSpace(cell)) {
		case "id", "user", "username", "streamer", "url", "link", "display", "display_name", "followers", "team", "email":
			return true
		}
		return false
	})
}

func (l *loginList) readJSON(body []byte) error {
	lineAt := func(offset int64) int {
		return 1 + bytes.Count(body[:min(max(offset, 0), int64(len(body)))], []byte{'\n'})
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	// next is where the next element or token begins: the decoder tells where the last one ended.
	next := func() int64 {
		at := dec.InputOffset()
		for at < int64(len(body)) && strings.IndexByte(" \t\r\n,", body[at]) >= 0 {
			at++
		}
		return at
	}
	broken := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("line %d: the JSON ends too early", lineAt(int64(len(body))))
		}
		return fmt.Errorf("line %d: %w", lineAt(next()), err)
	}
	open, err := dec.Token()
	if err != nil {
		return broken(err)
	}
	if open != json.Delim('[') {
		return errors.New("the JSON must be an array of logins, or of objects with a login")
	}
	for dec.More() {
		start := next()
		line := lineAt(start)
		var element any
		if err := dec.Decode(&element); err != nil {
			return broken(err)
		}
		value, problem := elementLogin(element)
		if problem != "" {
			l.refuse(line, short(string(body[start:dec.InputOffset()])), problem)
			continue
		}
		if err := l.add(line, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return broken(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: something follows the array", lineAt(dec.InputOffset()))
	}
	return nil
}

func elementLogin(element any) (login, problem string) {
	switch v := element.(type) {
	case string:
		return strings.TrimSpace(v), ""
	case map[string]any:
		for _, name := range loginColumns {
			if s, ok := v[name].(string); ok && strings.TrimSpace(s) != "" {
				return strings.TrimSpace(s), ""
			}
		}
		return "", "the object has no text named " + strings.Join(loginColumns, ", ")
	default:
		return "", "neither a text nor an object"
	}
}

func short(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

func (l *loginList) refuse(line int, value, message string) {
	l.Invalid = append(l.Invalid, control.ImportLine{Line: line, Value: short(value), Message: message})
}

func (l *loginList) add(line int, value string) error {
	if len(l.seen)+len(l.Invalid)+len(l.Duplicates) >= maxImport {
		return fmt.Errorf("line %d: more than %d entries", line, maxImport)
	}
	login, problem := parseLogin(value)
	if problem != "" {
		l.refuse(line, value, problem)
		return nil
	}
	if before, ok := l.seen[login]; ok {
		l.Duplicates = append(l.Duplicates, control.ImportLine{
			Line: line, Value: short(value), Message: fmt.Sprintf("%s is in line %d already", login, before),
		})
		return nil
	}
	l.seen[login] = line
	l.Logins = append(l.Logins, login)
	return nil
}

// parseLogin makes a login of what people write for one: with @, in capitals, or as the address of
// the channel's page.
func parseLogin(value string) (login, problem string) {
	s := value
	if strings.Contains(s, "/") {
		address := s
		if !strings.Contains(address, "://") {
			address = "https://" + address
		}
		u, err := url.Parse(address)
		if err != nil {
			return "", "neither a login nor an address"
		}
		host := strings.ToLower(u.Hostname())
		if host != "twitch.tv" && !strings.HasSuffix(host, ".twitch.tv") {
			return "", "not an address on twitch.tv"
		}
		s, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if s == "" || slices.Contains(pages, strings.ToLower(s)) {
			return "", "a page of twitch.tv that is no channel"
		}
	}
	s = strings.ToLower(strings.TrimPrefix(s, "@"))
	if !loginPattern.MatchString(s) {
		return "", "not a login: logins have 1 to 25 letters a-z, digits and underscores, and begin with no underscore"
	}
	return s, ""
}
