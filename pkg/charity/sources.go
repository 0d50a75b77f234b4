package charity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// SourceKind is what a source is.
type SourceKind string

// The kinds of sources.
const (
	SourceZEvent     SourceKind = "zevent"     // zevent.fr: running totals
	SourceStreamlabs SourceKind = "streamlabs" // a team of Streamlabs Charity: single donations
	SourceTwitch     SourceKind = "twitch"     // Twitch's own charity campaigns, by broadcaster
	SourceTiltify    SourceKind = "tiltify"    // a campaign or team campaign of Tiltify
	SourceJSON       SourceKind = "json"       // any JSON, by a mapping in the file
)

// The sources' own addresses.
const (
	DefaultZEventURL      = "https://zevent.fr/api/"
	DefaultStreamlabsURL  = "https://streamlabscharity.com/api/v1"
	DefaultTwitchURL      = "https://api.twitch.tv/helix"
	DefaultTwitchAuthURL  = "https://id.twitch.tv/oauth2/validate"
	DefaultTiltifyURL     = "https://v5api.tiltify.com/api/public"
	DefaultTiltifyAuthURL = "https://v5api.tiltify.com/oauth/token"
)

const (
	defaultTimeout = 10 * time.Second
	maxSecretBytes = 16 << 10
)

// Source is one source as the file describes it. It holds the names of the files that secrets are in,
// never the secrets.
type Source struct {
	// Name is in every record of the source.
	Name string
	Kind SourceKind
	// Events are the slugs of the events it belongs to; empty for every live event.
	Events []string
	// Timeout is the most that one request may take, its answer's body included.
	Timeout time.Duration
	// Currency is that of amounts that come without one.
	Currency string
	// Members maps a source's id, slug or name of a streamer, in lower case, to a Twitch login.
	Members map[string]string

	url, authURL           string
	team, campaign         string
	teamCampaign           bool // campaign is a team's
	clientID, clientSecret secretFile
	tokens                 map[string]secretFile // by login
	headers                map[string]secretFile // by name
	totals, donations      *section              // nil where the source has none
	secrets                []namedSecret         // in the order of the file
	line                   int
}

// section is what the file says of totals, or of donations.
type section struct {
	schedule cron.Schedule // nil: never
	url      string        // of the kind json
	mapping  mapping
	paging   paging
}

// pagingKind is how a list goes on.
type pagingKind string

const (
	pagingNone   pagingKind = "none"
	pagingPage   pagingKind = "page"   // ?page=2, newest first
	pagingCursor pagingKind = "cursor" // ?after=…, newest first
)

type paging struct {
	by        pagingKind
	parameter string
	first     int
	// all says that one answer has every donation (of pagingNone).
	all bool
	// order is the parameter, with its values, that turns the order round, where a source can.
	order, newest, oldest string
}

// secretFile is a file that holds a secret. It is read when the secret is needed, so that one that was
// renewed is taken without a restart.
type secretFile string

func (f secretFile) read() (string, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	s := string(bytes.TrimSpace(b))
	switch {
	case s == "":
		return "", fmt.Errorf("the file %s is empty: put the secret into it", f)
	case len(b) > maxSecretBytes:
		return "", fmt.Errorf("the file %s is too large for a secret", f)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", fmt.Errorf("the file %s holds more than one line, or signs that no secret has", f)
	}
	return s, nil
}

// namedSecret is where the file names a secret's file.
type namedSecret struct {
	file  secretFile
	line  int
	field string
}

// String is the source's name and kind.
func (s Source) String() string { return fmt.Sprintf("%s (%s)", s.Name, s.Kind) }

// GoString is the same for %#v.
func (s Source) GoString() string { return fmt.Sprintf("charity.Source{%q, %q}", s.Name, s.Kind) }

// LogValue is the same for logs.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is the same for JSON.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LoadSources reads the sources file. It is strict: a key that is not known, a value of the wrong
// type, a field that is missing and a name that is there twice are errors, which name file, line and
// field; all of them are returned at once. The files of secrets, whose paths are relative to the
// sources file's folder, must be readable.
func LoadSources(path string) ([]Source, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the charity sources: %w", err)
	}
	sources, err := ParseSources(path, b)
	errs := []error{err}
	for _, s := range sources {
		for _, secret := range s.secrets {
			if _, err := secret.file.read(); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %s: %w", path, secret.line, secret.field, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sources, nil
}

// ParseSources reads the content of a sources file as LoadSources does, but that it does not look at
// the files of secrets. The sources that it returns beside an error are for looking at only.
func ParseSources(path string, b []byte) ([]Source, error) {
	d := &sourcesDecoder{path: path}
	top := d.file(b)
	var sources []Source
	seen := map[string]int{}
	if top != nil {
		list := top.take("sources")
		top.rest()
		if list == nil {
			top.missing("sources")
		} else {
			for i, n := range list.list() {
				s, ok := d.source(n)
				if before, twice := seen[s.Name]; twice && s.Name != "" {
					d.badAt(s.line, fmt.Sprintf("sources[%d].name", i), "%q is the source at line %d too: use a name of its own", s.Name, before)
				}
				seen[s.Name] = s.line
				if ok {
					sources = append(sources, s)
				}
			}
		}
	}
	return sources, errors.Join(d.errs...)
}

// source reads one source. It reports false where not even its kind is known.
func (d *sourcesDecoder) source(n *fieldNode) (Source, bool) {
	var s Source
	m := n.mapping()
	if m == nil {
		return s, false
	}
	s.line = n.line
	s.Name = m.slug("name", true)
	if s.Name == "chat" || s.Name == "helix" {
		m.bad("name", "%q is the name of another source of records: use another", s.Name)
	}
	s.Kind = SourceKind(m.oneOf("kind", true, string(SourceZEvent), string(SourceStreamlabs), string(SourceTwitch),
		string(SourceTiltify), string(SourceJSON)))
	s.Events = m.slugs("events")
	s.Timeout = m.duration("timeout", defaultTimeout)
	s.Currency = m.currency("currency")
	s.Members = m.members("members")
	switch s.Kind {
	case SourceZEvent:
		s.url = m.url("url", DefaultZEventURL)
		s.totals = m.schedules("totals", DefaultTotalsSchedule)
		if s.Currency == "" {
			s.Currency = "EUR"
		}
	case SourceStreamlabs:
		s.url = m.url("url", DefaultStreamlabsURL)
		s.team = m.id("team", true)
		s.donations = m.schedules("donations", DefaultDonationsSchedule)
	case SourceTwitch:
		s.url = m.url("url", DefaultTwitchURL)
		s.authURL = m.url("auth_url", DefaultTwitchAuthURL)
		s.tokens = m.secrets(&s, "token_files", true)
		s.totals = m.schedules("totals", DefaultTotalsSchedule)
		s.donations = m.schedules("donations", DefaultDonationsSchedule)
	case SourceTiltify:
		s.url = m.url("url", DefaultTiltifyURL)
		s.authURL = m.url("auth_url", DefaultTiltifyAuthURL)
		s.campaign = m.id("campaign", false)
		if team := m.id("team_campaign", s.campaign == ""); team != "" {
			if s.campaign != "" {
				m.bad("team_campaign", "there is a campaign already: use one of them, and another source for the other")
			}
			s.campaign, s.teamCampaign = team, true
		}
		s.clientID = m.secret(&s, "client_id_file", true)
		s.clientSecret = m.secret(&s, "client_secret_file", true)
		s.totals = m.schedules("totals", DefaultTotalsSchedule)
		s.donations = m.schedules("donations", DefaultDonationsSchedule)
	case SourceJSON:
		s.headers = m.secrets(&s, "header_files", false)
		for _, name := range slices.Sorted(maps.Keys(s.headers)) {
			if !isHeader(name) {
				m.bad("header_files", "%q is no name of a header", name)
			}
		}
		s.totals = d.jsonTotals(m)
		s.donations = d.jsonDonations(m)
		if !m.has("totals") && !m.has("donations") {
			m.missing("totals or donations")
		}
	default:
		return s, false // which keys there are is not known
	}
	if !d.polled(s.totals) && !d.polled(s.donations) && (m.has("totals") || m.has("donations")) {
		m.fieldNode.bad("nothing of it is polled: let totals or donations have a schedule")
	}
	m.rest()
	return s, true
}

// polled reports whether a section has a schedule, or one that was told to be wrong.
func (d *sourcesDecoder) polled(s *section) bool {
	return s != nil && (s.schedule != nil || len(d.errs) > 0)
}

func isHeader(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func (d *sourcesDecoder) jsonTotals(m *fieldMap) *section {
	n := m.take("totals")
	if n == nil {
		return nil
	}
	x := n.mapping()
	if x == nil {
		return nil
	}
	s := &section{url: x.url("url", ""), schedule: x.schedule("schedule", DefaultTotalsSchedule), paging: paging{by: pagingNone}}
	p := mapping{
		list: x.path("list"), unit: x.unit("unit"), currency: x.paths("currency"),
		memberID: x.paths("streamer_id"), memberTwitch: x.paths("streamer_twitch_id"), memberNames: x.paths("streamer"),
		amount: x.paths("amount"), total: x.paths("total"), totalCurrency: x.paths("total_currency"),
	}
	switch {
	case p.list == nil && p.total == nil:
		x.missing("list or total")
	case p.list != nil && p.amount == nil:
		x.missing("amount")
	case p.list != nil && p.memberID == nil && p.memberTwitch == nil && p.memberNames == nil:
		x.missing("streamer, streamer_id or streamer_twitch_id")
	}
	s.mapping = p
	x.rest()
	return s
}

func (d *sourcesDecoder) jsonDonations(m *fieldMap) *section {
	n := m.take("donations")
	if n == nil {
		return nil
	}
	x := n.mapping()
	if x == nil {
		return nil
	}
	s := &section{url: x.url("url", ""), schedule: x.schedule("schedule", DefaultDonationsSchedule)}
	s.mapping = mapping{
		list: x.wantPath("list"), id: x.wantPaths("id"), amount: x.wantPaths("amount"), unit: x.unit("unit"),
		currency: x.paths("currency"), time: x.paths("time"), donorID: x.paths("donor_id"), donor: x.paths("donor"),
		text: x.paths("text"), country: x.paths("country"), memberID: x.paths("streamer_id"),
		memberTwitch: x.paths("streamer_twitch_id"), memberNames: x.paths("streamer"),
		layout: x.oneOf("time_layout", false, layoutRFC3339, layoutUnix, layoutMillis),
	}
	s.mapping.timeless = s.mapping.time == nil
	s.paging = x.paging(&s.mapping)
	x.rest()
	return s
}

func (m *fieldMap) paging(into *mapping) paging {
	p := paging{by: pagingNone}
	n := m.take("pagination")
	if n == nil {
		return p
	}
	x := n.mapping()
	if x == nil {
		return p
	}
	p.by = pagingKind(x.oneOf("by", true, string(pagingNone), string(pagingPage), string(pagingCursor)))
	switch p.by {
	case pagingNone:
		p.all = x.boolean("all")
	case pagingPage:
		p.parameter, p.first = x.word("parameter", "page"), x.integer("first", 1)
	case pagingCursor:
		p.parameter, into.next = x.word("parameter", "after"), x.wantPath("cursor")
	default:
		return p
	}
	x.rest()
	return p
}

// checkURL says what is wrong with an address.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("it is no address: use one like https://example.org/api")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("use http:// or https:// and a host, like https://example.org/api")
	case u.User != nil:
		return errors.New("a password in an address ends up in logs: use header_files")
	case u.Fragment != "":
		return errors.New("leave out what follows the #: it is never sent")
	}
	for name := range u.Query() {
		if isSecretName(name) {
			return fmt.Errorf("%s in an address ends up in logs: use header_files", name)
		}
	}
	return nil
}

// isSecretName reports whether a parameter of this name is likely to be a secret.
func isSecretName(name string) bool {
	name = strings.ToLower(name)
	for _, s := range [...]string{"token", "secret", "password", "passwd", "signature", "api_key", "apikey", "api-key", "credential"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return name == "key" || name == "auth"
}

// relative is a file's path, from the folder of the sources file.
func (d *sourcesDecoder) relative(file string) secretFile {
	if filepath.IsAbs(file) {
		return secretFile(file)
	}
	return secretFile(filepath.Join(filepath.Dir(d.path), file))
}
