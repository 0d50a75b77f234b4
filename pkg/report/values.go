package report

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/report/charts"
	"github.com/tungstene/tungstene/pkg/report/locale"
	"github.com/tungstene/tungstene/pkg/report/render"
	"github.com/tungstene/tungstene/pkg/report/template"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// Look is how pictures are dressed: in which language and colours.
type Look struct {
	locale  locale.Locale
	words   map[string]string
	theme   charts.Theme
	family  string // of the labels of charts
	measure func(text string, size float64, weight int) float64
}

// nothing is written where a number is not known.
const nothing = "–"

func (l Look) say(key string, args ...any) string {
	w, ok := l.words[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return w
	}
	return fmt.Sprintf(w, args...)
}

// count writes a number of things; an estimate with three digits, and a sign that it is one.
func (l Look) count(c statistics.Count) string {
	switch {
	case !c.Known():
		return nothing
	case c.Error > 0:
		return l.locale.Approximately(l.locale.Number(round3(c.N)))
	}
	return l.locale.Number(c.N)
}

// round3 leaves three digits of a number.
func round3(n int64) int64 {
	unit := int64(1)
	for n/unit >= 1000 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

func (l Look) measured(m statistics.Measure, digits int) string {
	if !m.Known() {
		return nothing
	}
	if m.N >= 100 {
		digits = 0
	}
	s := l.locale.Decimal(m.N, digits)
	if m.Error > 0 {
		return l.locale.Approximately(s)
	}
	return s
}

func (l Look) money(c statistics.Count, currency string) string {
	if !c.Known() {
		return nothing
	}
	return l.locale.Money(c.N, currency)
}

// numbers are the texts of a summary.
func (l Look) numbers(s *statistics.Summary) map[string]string {
	all := s.Subs
	all.N += s.Resubs.N + s.Gifts.N
	hours := s.WatchMinutes
	hours.N /= 60
	v := map[string]string{
		"viewers.peak": l.count(s.PeakViewers), "viewers.peak_at": l.locale.Moment(s.PeakAt),
		"viewers.average": l.measured(s.AverageViewers, 0), "viewers.peak_line": "",
		"watch_hours": nothing, "stream_time": nothing, "stream_hours": nothing,
		"messages": l.count(s.Messages), "messages.per_minute": l.measured(s.MessagesPerMinute, 1),
		"messages.per_chatter": l.measured(s.MessagesPerChatter, 1), "messages.first": l.count(s.FirstMessages),
		"messages.per_viewer_hour": l.measured(s.MessagesPerViewerHour, 1),
		"chatters":                 l.count(s.Chatters), "emotes.count": l.count(s.Emotes),
		"subs": l.count(all), "subs.new": l.count(s.Subs), "subs.renewed": l.count(s.Resubs), "subs.gifted": l.count(s.Gifts),
		"bits": l.count(s.Bits), "cheers": l.count(s.Cheers),
		"raids.in": l.count(s.RaidsIn), "raids.in_viewers": l.count(s.RaidInViewers),
		"raids.out": l.count(s.RaidsOut), "raids.out_viewers": l.count(s.RaidOutViewers),
		"bans": l.count(s.Bans), "timeouts": l.count(s.Timeouts), "deletes": l.count(s.Deletes),
		"donations": nothing, "donations.raw": nothing, "donations.source": "", "donations.count": nothing,
		"donations.mean": nothing, "donations.largest": nothing,
	}
	if hours.Known() {
		v["watch_hours"] = l.locale.Hours(hours.N)
	}
	if s.StreamMinutes.Known() {
		v["stream_time"] = l.locale.Duration(time.Duration(s.StreamMinutes.N) * time.Minute)
		v["stream_hours"] = l.locale.Hours(float64(s.StreamMinutes.N) / 60)
		if s.StreamMinutes.N < 60 {
			v["stream_hours"] = v["stream_time"]
		}
	}
	if s.PeakViewers.Known() && s.PeakViewers.N > 0 && !s.PeakAt.IsZero() {
		v["viewers.peak_line"] = l.say("line.peak", v["viewers.peak"], v["viewers.peak_at"])
	}
	if d, ok := s.MainDonations(); ok {
		v["donations"], v["donations.raw"], v["donations.source"] = l.money(d.Corrected, d.Currency), l.money(d.Total, d.Currency), d.Source
		v["donations.count"] = l.count(d.Count)
		if d.Mean.Known() {
			v["donations.mean"] = l.locale.MoneyExact(int64(math.Round(d.Mean.N)), d.Currency)
		}
		if d.Largest.Known() {
			v["donations.largest"] = l.locale.MoneyExact(d.Largest.N, d.Currency)
		}
	}
	return v
}

// raised is what was donated; ok is false where nothing is known, or it is nothing.
func raised(s *statistics.Summary) (d statistics.Donations, ok bool) {
	d, ok = s.MainDonations()
	return d, ok && d.Corrected.Known() && d.Corrected.N > 0
}

// begin are the values that every picture has.
func (l Look) begin(d *Data, s *statistics.Summary, observed float64) template.Values {
	v := template.Values{
		Text: l.numbers(s), Images: map[string][]byte{}, Charts: map[string]template.Drawing{},
		If: map[string]bool{}, Rows: map[string][]template.Values{},
	}
	for key, words := range l.words {
		if strings.HasPrefix(key, "text.") {
			v.Text[key] = words
		}
	}
	subs := s.Subs
	subs.N += s.Resubs.N + s.Gifts.N
	for key, n := range map[string]statistics.Count{
		"text.messages": s.Messages, "text.chatters": s.Chatters, "text.subs": subs, "text.peak_viewers": s.PeakViewers,
	} {
		if n.Known() && l.locale.One(n.N) {
			v.Text[key] = l.say(key + "_one")
		}
	}
	v.Text["event.name"] = cmp.Or(d.Event.Name, d.Event.Slug)
	v.Text["event.dates"] = l.locale.Dates(d.Range.From, d.Range.To)
	v.Text["made"] = l.say("made")
	v.Text["note"] = l.note(d, s, observed)
	_, v.If["donations"] = raised(&d.Summary)
	v.If["note"] = v.Text["note"] != ""
	v.If["hero.watched"] = false
	return v
}

// note says what is to be taken with care; empty where nothing is.
func (l Look) note(d *Data, s *statistics.Summary, observed float64) string {
	var parts []string
	switch {
	case !s.Messages.Known() && !s.PeakViewers.Known():
		parts = append(parts, l.say("note.unknown"))
	case s.Messages.Coverage != record.Complete || s.PeakViewers.Coverage != record.Complete:
		if observed > 0 && observed < 1 {
			parts = append(parts, l.say("note.partial", l.locale.Percent(observed)))
		} else {
			parts = append(parts, l.say("note.viewers"))
		}
	}
	if m, ok := s.MainDonations(); ok && m.Corrected.Coverage == record.Partial {
		parts = append(parts, l.say("note.donations"))
	}
	if !d.Over && !s.Through.IsZero() {
		parts = append(parts, l.say("note.until", l.locale.Moment(s.Through.Add(time.Minute))))
	}
	return strings.Join(parts, " · ")
}

// Event are the values of the pictures of the event.
func (l Look) Event(d *Data) template.Values {
	v := l.begin(d, &d.Summary, d.Observed)
	money, given := raised(&d.Summary)
	var notes []string
	if given {
		v.Text["hero.value"], v.Text["hero.label"] = l.money(money.Corrected, money.Currency), l.say("hero.donations")
	} else {
		l.watched(&v, d, &d.Summary)
	}
	v.Text["channels"] = l.locale.Number(int64(d.Summary.Channels))
	key := "hero.streamers"
	if d.Summary.Channels == 1 {
		key = "hero.streamer"
	}
	notes = append(notes, l.say(key, v.Text["channels"]))
	reached, all := reachedOf(d.Goals.Goals)
	if all > 0 {
		notes = append(notes, l.goalsNote(reached, all))
	}
	notes = l.rawNote(notes, money, given)
	v.Text["hero.note"] = strings.Join(notes, " · ")

	l.curves(&v, d, d.Hours, d.Summary.PeakAt, d.Summary.PeakViewers, statistics.Curve{})
	l.boards(&v, d)
	l.goals(&v, d)
	v.Rows["records"] = l.records(d)
	l.rhythm(&v, d)
	l.audience(&v, d)
	l.comparison(&v, d)
	settle(&v, OfTheEvent)
	return v
}

// watched is the number that matters most where nothing was raised.
func (l Look) watched(v *template.Values, d *Data, s *statistics.Summary) {
	v.Text["hero.value"], v.Text["hero.label"], v.If["hero.watched"] = v.Text["watch_hours"], l.say("hero.watched"), true
	switch {
	case s.WatchMinutes.Known() && s.WatchMinutes.N > 0:
	case d.Over:
		v.Text["hero.value"], v.Text["hero.label"] = nothing, l.say("chart.empty")
	default:
		v.Text["hero.value"], v.Text["hero.label"] = l.say("hero.soon"), l.say("hero.nothing")
	}
}

func (l Look) rawNote(notes []string, money statistics.Donations, given bool) []string {
	if given && money.Total.Known() && money.Total.N != money.Corrected.N {
		notes = append(notes, l.say("hero.raw", l.money(money.Total, money.Currency)))
	}
	return notes
}

func (l Look) goalsNote(reached, all int) string {
	key := "hero.goals"
	if reached < 2 {
		key = "hero.goal"
	}
	return l.say(key, l.locale.Number(int64(reached)), l.locale.Number(int64(all)))
}

// Streamer are the values of one streamer's picture.
func (l Look) Streamer(d *Data, s *Streamer) template.Values {
	v := l.begin(d, &s.Summary, s.Observed)
	for key, value := range l.who(d, s.Channel) {
		v.Text["streamer."+key] = value
	}
	v.Text["initials"] = v.Text["streamer.initials"]
	v.Images["avatar"] = d.Avatars[s.Channel]
	v.If["avatar"] = len(d.Avatars[s.Channel]) > 0
	line := []string{"@" + s.Login}
	switch {
	case !s.StreamMinutes.Known():
	case s.StreamMinutes.N > 0:
		line = append(line, l.say("line.live", v.Text["stream_time"]))
	case d.Over:
		line = append(line, l.say("line.was_not"))
	default:
		line = append(line, l.say("line.never"))
	}
	v.Text["streamer.line"] = strings.Join(line, " · ")

	var notes []string
	money, given := raised(&s.Summary)
	by, rank := statistics.ByDonated, "hero.rank"
	if given {
		v.Text["hero.value"], v.Text["hero.label"] = l.money(money.Corrected, money.Currency), l.say("hero.donations")
	} else {
		l.watched(&v, d, &s.Summary)
		by, rank = statistics.ByWatchTime, "hero.rank_watch"
	}
	for _, name := range statistics.Bys() {
		v.Text["rank."+name] = nothing
		for _, r := range d.Boards[name].Rows {
			if r.Channel == s.Channel {
				v.Text["rank."+name] = l.locale.Ordinal(r.Place)
			}
		}
	}
	if r := v.Text["rank."+by]; r != "" && r != nothing {
		notes = append(notes, l.say(rank, r, l.locale.Number(int64(len(d.Boards[by].Rows)))))
	}
	reached, all := reachedOf(s.Goals)
	v.Text["goals.reached"], v.Text["goals.count"] = l.locale.Number(int64(reached)), l.locale.Number(int64(all))
	if all > 0 {
		notes = append(notes, l.goalsNote(reached, all))
	}
	notes = l.rawNote(notes, money, given)
	v.Text["hero.note"] = strings.Join(notes, " · ")

	l.curves(&v, d, s.Hours, s.PeakAt, s.PeakViewers, s.Curve)
	v.Rows["emotes"] = l.emotes(s.TopEmotes)
	v.Rows["categories"] = l.played(s.Categories)
	v.Rows["overlaps"] = l.overlaps(d, s)
	v.Rows["goals"] = l.goalRows(d, s.Goals)
	v.Charts["categories"] = l.draw(func(c charts.Canvas, _ template.Placeholder) string {
		var segments []charts.Segment
		for _, k := range s.Categories {
			for _, t := range k.Stints {
				segments = append(segments, charts.Segment{From: t.From, To: t.To, Name: l.category(k.Name)})
			}
		}
		return c.Segments(spanOf(d), segments, l.say("text.other"))
	})
	settle(&v, OfStreamers)
	return v
}

// settle makes each name of rows a condition: that there are any.
func settle(v *template.Values, where string) {
	for _, n := range Names() {
		if n.Kind != template.Rows || strings.Contains(n.Name, "*") || n.Where != Everywhere && n.Where != where {
			continue
		}
		if _, ok := v.If[n.Name]; !ok {
			v.If[n.Name] = len(v.Rows[n.Name]) > 0
		}
		if v.Rows[n.Name] == nil {
			v.Rows[n.Name] = []template.Values{} // there are none, which is something else than no such name
		}
	}
}

// who are the texts that name a streamer.
func (l Look) who(d *Data, channel string) map[string]string {
	if s := d.streamer(channel); s != nil {
		name := cmp.Or(s.Name, s.Login, channel)
		return map[string]string{"name": name, "login": s.Login, "initials": initials(name)}
	}
	return map[string]string{"name": channel, "login": "", "initials": initials(channel)}
}

// initials are at most two letters for who has no picture.
func initials(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	if len(words) == 0 {
		return "?"
	}
	// Of "ZeratoR" the inner capitals are no words; of "AntoineDaniel" they are.
	if len(words) == 1 {
		runes := []rune(words[0])
		for i := 1; i+1 < len(runes); i++ {
			if unicode.IsLower(runes[i-1]) && unicode.IsUpper(runes[i]) && unicode.IsLower(runes[i+1]) {
				words = []string{string(runes[:i]), string(runes[i:])}
				break
			}
		}
	}
	var out strings.Builder
	for _, w := range words[:min(2, len(words))] {
		out.WriteString(strings.ToUpper(string([]rune(w)[:1])))
	}
	return out.String()
}

// row are the values of one row that names a streamer.
func (l Look) row(d *Data, channel string) template.Values {
	return template.Values{
		Text: l.who(d, channel), Images: map[string][]byte{"avatar": d.Avatars[channel]}, Charts: map[string]template.Drawing{},
		If: map[string]bool{"avatar": len(d.Avatars[channel]) > 0},
	}
}

// draw makes a drawing out of a chart.
func (l Look) draw(chart func(c charts.Canvas, p template.Placeholder) string) template.Drawing {
	return func(p template.Placeholder) ([]byte, error) {
		c := charts.Canvas{
			Width: p.Box.Width, Height: p.Box.Height, Theme: l.theme, Locale: l.locale, Measure: l.measure, Family: l.family,
		}
		return []byte(chart(c, p)), nil
	}
}

// lowChart is the height under which a chart has one row of labels.
const lowChart = 240

const chartFamily = "Inter, sans-serif"

// colour is the placeholder's own, where it has one.
func colour(p template.Placeholder, otherwise string) string {
	switch fill := p.Fill; {
	case fill == "white": // as Figma writes it
		return "#ffffff"
	case len(fill) == 7 && fill[0] == '#':
		return fill
	case len(fill) == 4 && fill[0] == '#':
		return string([]byte{'#', fill[1], fill[1], fill[2], fill[2], fill[3], fill[3]})
	}
	return otherwise
}

func (l Look) share(part, of float64) template.Drawing {
	return l.draw(func(c charts.Canvas, p template.Placeholder) string {
		if of <= 0 {
			return c.Share(0, colour(p, l.theme.Accent))
		}
		return c.Share(part/of, colour(p, l.theme.Accent))
	})
}

// spanOf is the time that charts show, with the end of what is counted.
func spanOf(d *Data) charts.Span {
	axis := d.Axis
	if axis.Empty() {
		axis = d.Range
	}
	return charts.Span{From: axis.From, To: axis.To, Until: d.Until}
}

// curves are the charts over time of the event, or of a streamer whose curve is by ten minutes.
func (l Look) curves(v *template.Values, d *Data, hours statistics.Curve, peakAt time.Time, peak statistics.Count, own statistics.Curve) {
	curve, span := own, spanOf(d)
	if len(own.Points) == 0 {
		curve = d.Minutes
	}
	series := func(c statistics.Curve, of func(statistics.Point) (float64, bool)) charts.Series {
		s := charts.Series{Every: c.Step, Points: make([]charts.Point, 0, len(c.Points))}
		for _, p := range c.Points {
			value, known := of(p)
			s.Points = append(s.Points, charts.Point{Time: p.Time, Value: value, Known: known})
		}
		return s
	}
	viewers := series(curve, func(p statistics.Point) (float64, bool) { return float64(p.Peak.N), p.Peak.Known() })
	messages := series(curve, func(p statistics.Point) (float64, bool) {
		return float64(p.Messages.N) / max(curve.Step.Minutes(), 1), p.Messages.Known()
	})
	if len(own.Points) == 0 && len(d.Minutes.Points) == 0 {
		viewers.Every, messages.Every = time.Hour, time.Hour
	}
	currency := cmp.Or(hours.Currency, d.Hours.Currency, d.Event.Currency, "EUR")
	var marks []charts.Marker
	if peak.Known() && peak.N > 0 && !peakAt.IsZero() {
		marks = append(marks, charts.Marker{Time: peakAt, Kind: charts.MarkPeak, Label: l.count(peak)})
	}
	marks = append(marks, l.moments(d, curve.Channel)...)
	v.Text["goals.legend"] = ""
	if slices.ContainsFunc(marks, func(m charts.Marker) bool { return m.Kind == charts.MarkGoal }) {
		v.Text["goals.legend"] = l.say("goals.legend")
	}
	plain := func(s charts.Series, marks []charts.Marker) template.Drawing {
		return l.draw(func(c charts.Canvas, p template.Placeholder) string {
			rows := 2
			if p.Box.Height < lowChart {
				rows = 1
			}
			line := s // pictures are drawn at the same time
			line.Colour = colour(p, l.theme.Accent)
			return c.Curve(charts.Curve{Span: span, Series: []charts.Series{line}, Counts: true, Markers: marks, Rows: rows, Gutter: l.gutter(c, currency), Empty: l.say("chart.empty")})
		})
	}
	v.Charts["viewers"] = plain(viewers, marks)
	v.Charts["messages"] = plain(messages, nil)
	v.Charts["viewers.spark"] = l.draw(func(c charts.Canvas, p template.Placeholder) string {
		line := viewers
		line.Colour = colour(p, l.theme.Accent)
		return c.Spark(line, span)
	})
	v.Text["messages.line"] = ""
	if at, most := highest(curve, func(p statistics.Point) statistics.Count { return p.Messages }); most > 0 && curve.Step == time.Minute {
		v.Text["messages.line"] = l.say("line.most", l.locale.Number(most), l.locale.Moment(at))
	}

	total := series(curve, func(p statistics.Point) (float64, bool) {
		return locale.Units(p.Corrected.N, currency), p.Corrected.Known()
	})
	total.Every = 0
	if curve.Step > 0 { // a total holds until the next sample, for as long as none is missed by much
		total.Every = max(curve.Step, 5*time.Minute)
	}
	total.Points = slices.DeleteFunc(total.Points, func(p charts.Point) bool { return !p.Known })
	v.Charts["donations"] = l.draw(func(c charts.Canvas, p template.Placeholder) string {
		line := total
		line.Colour = colour(p, l.theme.Accent)
		return c.Curve(charts.Curve{
			Span: span, Series: []charts.Series{line}, Steps: true, Gutter: l.gutter(c, currency),
			Tick: func(x, top float64) string { return l.locale.MoneyTickOf(x, top, currency) }, Empty: l.say("chart.empty"),
		})
	})

	donated := func(p statistics.Point) statistics.Count { return p.RaisedCorrected }
	written := func(p statistics.Point) statistics.Count { return p.Messages }
	inMoney := func(x, top float64) string { return l.locale.MoneyTickOf(x, top, currency) }
	v.Charts["hours.donations"] = l.bars(hours, span, donated, currency, currency, inMoney)
	v.Charts["hours.messages"] = l.bars(hours, span, written, "", currency, nil)
	key, chart := "text.messages_per_hour", "hours.messages"
	at, most := highest(hours, written)
	best := l.locale.Number(most)
	if a, m := highest(hours, donated); m > 0 {
		key, chart = "text.donations_per_hour", "hours.donations"
		at, most, best = a, m, l.locale.Money(m, currency)
	}
	v.Charts["hours"] = v.Charts[chart]
	v.Text["hours.title"], v.Text["hours.line"] = l.say(key), ""
	if most > 0 {
		v.Text["hours.line"] = l.say("line.hour", best, l.locale.Moment(at))
	}
	v.Charts["heat.messages"] = l.heat(hours, span, written, l.locale.Compact, "")
	v.Charts["heat.donations"] = l.heat(hours, span, donated, func(x float64) string {
		return l.locale.MoneyCompact(int64(x*float64(unitOf(currency))), currency)
	}, currency)
	v.Charts["heat.viewers"] = l.heat(hours, span, func(p statistics.Point) statistics.Count {
		return statistics.Count{N: int64(p.Viewers.N), Coverage: p.Viewers.Coverage}
	}, l.locale.Compact, "")
}

// gutter is the width of the labels of all charts over time, so that their axes stand in one line.
func (l Look) gutter(c charts.Canvas, currency string) float64 {
	return math.Ceil(c.LabelSize()*0.7 + max(
		c.LabelWidth(l.locale.MoneyTickOf(250e3, 250e3, currency)), c.LabelWidth(l.locale.MoneyTickOf(7500, 7500, currency)),
	))
}

// highest is the first point with the most of something.
func highest(c statistics.Curve, of func(statistics.Point) statistics.Count) (at time.Time, most int64) {
	for _, p := range c.Points {
		if n := of(p); n.Known() && n.N > most {
			at, most = p.Time, n.N
		}
	}
	return at, most
}

func bars(c statistics.Curve, end time.Time, of func(statistics.Point) statistics.Count, unit func(int64) float64) []charts.Bar {
	out := make([]charts.Bar, 0, len(c.Points))
	for _, p := range c.Points {
		to := p.Time.Truncate(c.Step).Add(c.Step) // also of the last one, with which the event may not end
		if c.Step == 0 || to.After(end) {
			to = end
		}
		n := of(p)
		out = append(out, charts.Bar{From: p.Time, To: to, Value: max(unit(n.N), 0), Known: n.Known(), Partial: n.Coverage == record.Partial})
	}
	return out
}

func (l Look) bars(
	c statistics.Curve, span charts.Span, of func(statistics.Point) statistics.Count, currency, axis string, tick charts.Tick,
) template.Drawing {
	unit := func(n int64) float64 { return float64(n) }
	if currency != "" {
		unit = func(n int64) float64 { return locale.Units(n, currency) }
	}
	list := bars(c, span.To, of, unit)
	return l.draw(func(canvas charts.Canvas, p template.Placeholder) string {
		return canvas.Bars(charts.Bars{
			Span: span, Bars: list, Tick: tick, Counts: currency == "", Colour: colour(p, l.theme.Accent),
			Gutter: l.gutter(canvas, axis), Empty: l.say("chart.empty"),
		})
	})
}

func (l Look) heat(
	c statistics.Curve, span charts.Span, of func(statistics.Point) statistics.Count, label func(float64) string, currency string,
) template.Drawing {
	unit := func(n int64) float64 { return float64(n) }
	if currency != "" {
		unit = func(n int64) float64 { return locale.Units(n, currency) }
	}
	list := bars(c, span.To, of, unit)
	return l.draw(func(canvas charts.Canvas, _ template.Placeholder) string {
		return canvas.Heat(charts.Heat{Span: span, Bars: list, Label: label})
	})
}

// moments are what is worth a marker: goals that were reached and raids that came in, the biggest
// first.
func (l Look) moments(d *Data, channel string) []charts.Marker {
	const most = 8
	own := channel
	if own == "" {
		own = record.AllChannels
	}
	var reached []goals.Status
	for _, g := range d.Goals.Goals {
		if g.Goal.Channel == own && g.Reached && !g.ReachedAt.IsZero() {
			reached = append(reached, g)
		}
	}
	slices.SortStableFunc(reached, func(a, b goals.Status) int { return cmp.Compare(b.Goal.Money.Cents, a.Goal.Money.Cents) })
	var marks []charts.Marker
	for _, g := range reached[:min(len(reached), most)] {
		if m := g.Goal.Money; m.Cents >= reached[0].Goal.Money.Cents/100 { // beside the others less is none to tell of
			marks = append(marks, charts.Marker{Time: g.ReachedAt, Kind: charts.MarkGoal, Label: l.locale.MoneyCompact(m.Cents, m.Currency)})
		}
	}
	var raids []statistics.Raid
	for _, r := range d.Raids {
		if r.To == channel {
			raids = append(raids, r)
		}
	}
	slices.SortStableFunc(raids, func(a, b statistics.Raid) int { return cmp.Compare(b.Viewers, a.Viewers) })
	for _, r := range raids[:min(len(raids), 3)] {
		marks = append(marks, charts.Marker{Time: r.Time, Kind: charts.MarkRaid, Label: l.say("mark.raid", l.locale.Number(r.Viewers))})
	}
	return marks
}

// boardValue writes a number of a leaderboard, in the unit of the largest, top.
func (l Look) boardValue(b statistics.Board, c statistics.Count, top int64) string {
	return l.valueOf(b.By, b.Currency, c, top)
}

func (l Look) valueOf(by, currency string, c statistics.Count, top int64) string {
	if !c.Known() {
		return nothing
	}
	switch by {
	case statistics.ByDonated:
		return l.locale.MoneyInColumn(c.N, top, currency)
	case statistics.ByWatchTime:
		return l.locale.HoursInColumn(float64(c.N)/60, float64(top)/60)
	case statistics.ByStreamTime:
		return l.locale.Duration(time.Duration(c.N) * time.Minute)
	}
	if c.Error > 0 {
		return l.locale.Approximately(l.locale.InColumn(float64(round3(c.N)), float64(top)))
	}
	return l.locale.InColumn(float64(c.N), float64(top))
}

// first is the leaderboard that matters most: donations where there are any.
func first(d *Data) string {
	if _, ok := raised(&d.Summary); ok {
		return statistics.ByDonated
	}
	return statistics.ByChatters
}

func (l Look) boards(v *template.Values, d *Data) {
	for _, by := range statistics.Bys() {
		v.Text["board."+by+".title"] = l.say("board." + by)
		v.Rows["board."+by] = l.boardRows(d, d.Boards[by])
	}
	by := first(d)
	v.Text["board.first.title"], v.Rows["board.first"] = l.say("board."+by), v.Rows["board."+by]
	if by != statistics.ByDonated {
		by = statistics.ByWatchTime
	}
	v.Text["top.title"], v.Rows["top"] = l.say("board."+by), v.Rows["board."+by]
	v.Text["board.since"] = ""
	if b := d.Boards[by]; !b.Before.IsZero() {
		v.Text["board.since"] = l.say("board.since", l.locale.Moment(b.Before))
	}
	v.Text["race.title"] = l.say("race." + by)
	v.Charts["race"] = l.draw(func(c charts.Canvas, _ template.Placeholder) string {
		bump := charts.Bump{Times: d.Race.Times}
		top := int64(0)
		for _, lane := range d.Race.Lanes {
			if n := len(lane.Values); n > 0 {
				top = max(top, lane.Values[n-1].N)
			}
		}
		for _, lane := range d.Race.Lanes {
			last := ""
			if n := len(lane.Values); n > 0 {
				last = l.valueOf(d.Race.By, d.Race.Currency, lane.Values[n-1], top)
			}
			bump.Lanes = append(bump.Lanes, charts.Lane{Name: cmp.Or(lane.Name, lane.Login), Places: lane.Places, Value: last})
		}
		return c.Bump(bump)
	})
}

// boardRowsMost is how many rows of a leaderboard a template can show.
const boardRowsMost = 50

func (l Look) boardRows(d *Data, b statistics.Board) []template.Values {
	most := int64(0)
	for _, r := range b.Rows {
		most = max(most, r.Value.N)
	}
	rows := []template.Values{}
	for _, r := range b.Rows[:min(len(b.Rows), boardRowsMost)] {
		if !r.Value.Known() || r.Value.N <= 0 {
			continue
		}
		v := l.row(d, r.Channel)
		v.Text["place"], v.Text["value"], v.Text["change"] = strconv.Itoa(r.Place), l.boardValue(b, r.Value, most), ""
		v.If["new"], v.If["up"], v.If["down"] = false, false, false // told, not to be looked for outside of the row
		switch {
		case b.Before.IsZero():
		case r.New:
			v.Text["change"], v.If["new"] = l.say("board.new"), true
		case r.Change > 0:
			v.Text["change"], v.If["up"] = "▲"+strconv.Itoa(r.Change), true
		case r.Change < 0:
			v.Text["change"], v.If["down"] = "▼"+strconv.Itoa(-r.Change), true
		}
		v.Charts["share"] = l.share(float64(r.Value.N), float64(most))
		rows = append(rows, v)
	}
	return rows
}

func reachedOf(list []goals.Status) (reached, all int) {
	for _, g := range list {
		if g.Goal.Deleted {
			continue
		}
		all++
		if g.Reached {
			reached++
		}
	}
	return reached, all
}

func (l Look) goals(v *template.Values, d *Data) {
	reached, all := reachedOf(d.Goals.Goals)
	kept := 0
	var global, latest, next []goals.Status
	for _, g := range d.Goals.Goals {
		if !g.Goal.Accomplished.IsZero() {
			kept++
		}
		switch {
		case g.Goal.Channel == record.AllChannels:
			global = append(global, g)
		case g.Reached && !g.ReachedAt.IsZero():
			latest = append(latest, g)
		}
	}
	slices.SortStableFunc(global, func(a, b goals.Status) int { return cmp.Compare(a.Goal.Money.Cents, b.Goal.Money.Cents) })
	slices.SortStableFunc(latest, func(a, b goals.Status) int { return b.ReachedAt.Compare(a.ReachedAt) })
	for channel, g := range d.Goals.Next {
		if channel != record.AllChannels && g.Known && !g.Reached && g.Progress > 0 {
			next = append(next, g)
		}
	}
	slices.SortFunc(next, func(a, b goals.Status) int {
		// Those of which a time can be told come first, by that time; then what has least to go.
		if a.ETA.At.IsZero() != b.ETA.At.IsZero() {
			if a.ETA.At.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.ETA.At.Compare(b.ETA.At), cmp.Compare(b.Progress, a.Progress), cmp.Compare(a.Goal.ID, b.Goal.ID))
	})
	v.Text["goals.reached"], v.Text["goals.count"] = l.locale.Number(int64(reached)), l.locale.Number(int64(all))
	v.Text["goals.line"] = l.say("goals.line", l.locale.Number(int64(all)))
	if all == 0 {
		v.Text["goals.line"] = l.say("goals.none")
	}
	v.Text["goals.kept_line"] = ""
	if kept == 1 {
		v.Text["goals.kept_line"] = l.say("goals.kept_one", l.locale.Number(1))
	} else if kept > 1 {
		v.Text["goals.kept_line"] = l.say("goals.kept", l.locale.Number(int64(kept)))
	}
	v.Text["goals.next_title"] = l.say("text.goals_next")
	if d.Over {
		v.Text["goals.next_title"] = l.say("text.goals_almost")
	}
	v.Charts["goals.share"] = l.share(float64(reached), float64(all))
	v.If["goals"] = all > 0
	// Of many goals of the event those around the next one are shown.
	from := slices.IndexFunc(global, func(g goals.Status) bool { return !g.Reached })
	if from < 0 {
		from = len(global)
	}
	from = max(min(from-3, len(global)-6), 0)
	v.Rows["goals.global"] = l.goalRows(d, global[from:])
	v.Rows["goals.latest"] = l.goalRows(d, latest[:min(len(latest), boardRowsMost)])
	v.Rows["goals.next"] = l.goalRows(d, next[:min(len(next), boardRowsMost)])
}

// almost is the longest bar of a goal that is not reached, of 1000: to be seen that it is not.
const almost = 970

func (l Look) goalRows(d *Data, list []goals.Status) []template.Values {
	var rows []template.Values
	for _, g := range list {
		v := l.row(d, g.Goal.Channel)
		v.Text["who"] = v.Text["name"]
		v.Text["name"] = g.Goal.Name
		v.Text["amount"] = "" // of a promise that is kept whatever comes in
		if g.Goal.Money.Cents > 0 {
			v.Text["amount"] = l.locale.Money(g.Goal.Money.Cents, g.Goal.Money.Currency)
		}
		status := nothing
		switch {
		case g.Reached && !g.ReachedAt.IsZero():
			status = l.say("goals.at", l.locale.Moment(g.ReachedAt))
		case g.Reached:
			status = l.say("goals.reached")
		case g.Known && g.Missing > 0:
			status = l.say("goals.missing", l.locale.MoneyUp(g.Missing, g.Goal.Money.Currency))
			if !g.ETA.At.IsZero() && !d.Over {
				status += " · " + l.say("goals.eta", l.locale.Moment(g.ETA.At))
			}
		}
		v.Text["status"] = status
		v.Text["line"] = status
		if g.Goal.Channel != record.AllChannels {
			v.Text["line"] = v.Text["who"] + " · " + status
		}
		v.If["reached"] = g.Reached
		progress := min(float64(g.Progress), almost)
		if g.Reached {
			progress = 1000
		}
		v.Charts["progress"] = l.share(progress, 1000)
		rows = append(rows, v)
	}
	return rows
}

// featOrder is which records are shown first.
var featOrder = []string{ //nolint:gochecknoglobals // a table
	statistics.HighestPeakEvent, statistics.LargestDonation, statistics.MostRaisedEvent, statistics.MostMessagesEvent,
	statistics.HighestPeak, statistics.MostRaised, statistics.MostMessages, statistics.BiggestRaid,
	statistics.LongestStream, statistics.MostGifts, statistics.FirstTo, statistics.MostEmotes,
	statistics.LongestWithout,
}

// eventFeat ends the names of records of the event itself.
const eventFeat = "_event"

func featRank(name string) int {
	for i, n := range featOrder {
		if name == n || n == statistics.FirstTo && strings.HasPrefix(name, n) && !strings.HasSuffix(name, eventFeat) {
			return i
		}
	}
	return len(featOrder)
}

func (l Look) records(d *Data) []template.Values {
	feats := slices.Clone(d.Feats)
	currency := cmp.Or(d.Hours.Currency, d.Event.Currency)
	slices.SortStableFunc(feats, func(a, b statistics.Feat) int { return cmp.Compare(featRank(a.Name), featRank(b.Name)) })
	// Of those who were first to an amount, the largest amount is the one that counts.
	amount := func(f statistics.Feat) int64 {
		rest, ok := strings.CutPrefix(f.Name, statistics.FirstTo)
		if !ok || strings.HasSuffix(f.Name, eventFeat) {
			return -1
		}
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	largest := int64(-1)
	for _, f := range feats {
		largest = max(largest, amount(f))
	}
	var rows []template.Values
	for _, f := range feats {
		if !f.Value.Known() || f.Value.N <= 0 || amount(f) >= 0 && amount(f) < largest ||
			strings.HasPrefix(f.Name, statistics.FirstTo) && strings.HasSuffix(f.Name, eventFeat) {
			continue
		}
		v := l.row(d, f.Channel)
		if f.Channel == record.AllChannels || f.Channel == "" {
			v.Text["name"], v.Text["login"], v.Text["initials"] = "", "", ""
		} else if d.streamer(f.Channel) == nil {
			v.Text["name"] = cmp.Or(f.Name, f.Login, f.Channel)
		}
		v.If["name"] = v.Text["name"] != ""
		v.Text["title"], v.Text["detail"] = l.say("record."+f.Name), ""
		v.Text["when"] = l.locale.Moment(f.At)
		switch {
		case amount(f) >= 0:
			v.Text["title"] = l.say("record.first_to", l.locale.MoneyCompact(amount(f)*unitOf(currency), currency))
			v.Text["value"] = l.say("record.after", l.locale.Duration(time.Duration(f.Value.N)*time.Minute))
		case f.Unit == "cents":
			v.Text["value"] = l.locale.Money(f.Value.N, cmp.Or(f.Currency, currency))
		case f.Unit == "minutes":
			v.Text["value"] = l.locale.Duration(time.Duration(f.Value.N) * time.Minute)
		default:
			v.Text["value"] = l.count(f.Value)
		}
		if f.Other != nil {
			v.Text["detail"] = l.say("record.from", cmp.Or(f.Other.Name, f.Other.Login))
		}
		v.If["detail"] = v.Text["detail"] != ""
		rows = append(rows, v)
	}
	return rows
}

func unitOf(currency string) int64 { return int64(math.Round(1 / locale.Units(1, currency))) }

func (l Look) category(name string) string { return cmp.Or(name, l.say("text.no_category")) }

// played are a streamer's categories by the time that they were streamed.
func (l Look) played(list []statistics.Category) []template.Values {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b statistics.Category) int { return cmp.Compare(b.Time, a.Time) })
	var rows []template.Values
	for _, k := range list {
		rows = append(rows, template.Values{
			Text:   map[string]string{"name": l.category(k.Name), "value": l.locale.ShortDuration(k.Time)},
			Charts: map[string]template.Drawing{"share": l.share(k.Time.Seconds(), list[0].Time.Seconds())},
		})
	}
	return rows
}

func (l Look) emotes(list []record.Emote) []template.Values {
	var rows []template.Values
	for _, e := range list[:min(len(list), boardRowsMost)] {
		rows = append(rows, template.Values{
			Text:   map[string]string{"name": e.Name, "value": l.locale.InColumn(float64(e.Count), float64(list[0].Count))},
			Charts: map[string]template.Drawing{"share": l.share(float64(e.Count), float64(list[0].Count))},
		})
	}
	return rows
}

// overlaps are whose chats a streamer's chatters wrote in too.
func (l Look) overlaps(d *Data, s *Streamer) []template.Values {
	var rows []template.Values
	for _, o := range s.Overlaps {
		other := o.A
		if other == s.Channel {
			other = o.B
		}
		v := l.row(d, other)
		v.Text["value"] = l.locale.InColumn(float64(o.Shared), float64(s.Overlaps[0].Shared))
		v.Charts["share"] = l.share(float64(o.Shared), float64(s.Overlaps[0].Shared))
		rows = append(rows, v)
	}
	return rows
}

func (l Look) rhythm(v *template.Values, d *Data) {
	watched := slices.DeleteFunc(slices.Clone(d.Categories), func(k statistics.Category) bool { return !k.WatchMinutes.Known() || k.WatchMinutes.N <= 0 })
	slices.SortStableFunc(watched, func(a, b statistics.Category) int { return cmp.Compare(b.WatchMinutes.N, a.WatchMinutes.N) })
	for _, k := range watched[:min(len(watched), boardRowsMost)] {
		v.Rows["categories"] = append(v.Rows["categories"], template.Values{
			Text:   map[string]string{"name": l.category(k.Name), "value": l.locale.HoursInColumn(k.WatchMinutes.N/60, watched[0].WatchMinutes.N/60)},
			Charts: map[string]template.Drawing{"share": l.share(k.WatchMinutes.N, watched[0].WatchMinutes.N)},
		})
	}
	emotes := d.Emotes
	if len(emotes) == 0 {
		emotes = d.Summary.TopEmotes
	}
	v.Rows["emotes"] = l.emotes(emotes)
	bursts := slices.DeleteFunc(slices.Clone(d.Bursts), func(b statistics.Burst) bool { return b.Of != statistics.OfMessages || b.Channel == record.AllChannels })
	slices.SortStableFunc(bursts, func(a, b statistics.Burst) int { return cmp.Compare(b.Ratio, a.Ratio) })
	for _, b := range bursts[:min(len(bursts), boardRowsMost)] {
		row := l.row(d, b.Channel)
		times := l.locale.Decimal(b.Ratio, 0)
		row.Text["value"], row.Text["when"] = "×"+times, l.locale.Moment(b.PeakAt)
		row.Text["detail"] = l.say("line.times", times)
		row.Charts["share"] = l.share(b.Ratio, bursts[0].Ratio)
		v.Rows["bursts"] = append(v.Rows["bursts"], row)
	}
}

// The bounds of the picture of the network: past these it is no picture.
const (
	networkNodes = 36
	networkLinks = 90
)

func (l Look) audience(v *template.Values, d *Data) {
	for _, o := range d.Overlaps[:min(len(d.Overlaps), boardRowsMost)] {
		row := l.row(d, o.A)
		row.Text["other"] = l.say("pairs.and", l.who(d, o.B)["name"])
		row.Text["value"] = l.locale.InColumn(float64(o.Shared), float64(d.Overlaps[0].Shared))
		row.Charts["share"] = l.share(float64(o.Shared), float64(d.Overlaps[0].Shared))
		v.Rows["pairs"] = append(v.Rows["pairs"], row)
	}
	v.Charts["network"] = l.draw(func(c charts.Canvas, _ template.Placeholder) string {
		nodes := slices.Clone(d.Network.Nodes)
		slices.SortStableFunc(nodes, func(a, b statistics.Node) int { return cmp.Compare(b.Chatters.N, a.Chatters.N) })
		nodes = nodes[:min(len(nodes), networkNodes)]
		shown, joined := map[string]bool{}, map[string]bool{}
		for _, n := range nodes {
			shown[n.Channel] = true
		}
		var edges []charts.Edge
		for _, k := range d.Network.Links {
			if shown[k.A] && shown[k.B] && k.Shared > 0 {
				edges = append(edges, charts.Edge{A: k.A, B: k.B, Strength: float64(k.Shared)})
			}
		}
		slices.SortStableFunc(edges, func(a, b charts.Edge) int { return cmp.Compare(b.Strength, a.Strength) })
		edges = edges[:min(len(edges), networkLinks)]
		for _, e := range edges {
			joined[e.A], joined[e.B] = true, true
		}
		var points []charts.Node
		for _, n := range nodes {
			if joined[n.Channel] { // one that nothing joins would push the others together
				name := cmp.Or(n.Name, n.Login, n.Channel)
				points = append(points, charts.Node{
					ID: n.Channel, Name: name, Weight: float64(n.Chatters.N), Picture: d.Avatars[n.Channel], Initials: initials(name),
				})
			}
		}
		return c.Network(points, edges)
	})
}

// comparison are the charts of two editions on the axis of this one.
func (l Look) comparison(v *template.Values, d *Data) {
	v.Text["compare.here"], v.Text["compare.there"] = "", ""
	c := d.Comparison
	v.If["compare"] = c != nil
	if c == nil {
		c = &statistics.Comparison{}
	}
	v.Text["compare.here"], v.Text["compare.there"] = legend(c.Here), legend(c.There)
	// Amounts of two currencies are on one axis, without the sign of either.
	foreign := c.There.Currency != "" && c.Here.Currency != c.There.Currency
	if foreign {
		v.Text["compare.here"] += " · " + c.Here.Currency
		v.Text["compare.there"] += " · " + c.There.Currency
	}
	pair := func(of func(statistics.ComparisonPoint) statistics.Pair, unit func(cents float64, currency string) float64) (here, there charts.Series) {
		here, there = charts.Series{Every: c.Step}, charts.Series{Every: c.Step, Line: true, Colour: l.theme.Second}
		for _, p := range c.Points {
			at, two := c.Here.Start.Add(p.After), of(p)
			here.Points = append(here.Points, charts.Point{Time: at, Value: unit(two.Here.N, c.Here.Currency), Known: two.Here.Known()})
			there.Points = append(there.Points, charts.Point{Time: at, Value: unit(two.There.N, c.There.Currency), Known: two.There.Known()})
		}
		return here, there
	}
	span := spanOf(d)
	span.Since = true
	if span.Until.IsZero() {
		span.Until = span.To // what only the longer edition has is no gap of this one
	}
	if n := len(c.Points); n > 0 {
		if end := c.Here.Start.Add(c.Points[n-1].After + c.Step); end.After(span.To) {
			span.To = end
		}
	}
	plain := func(x float64, _ string) float64 { return x }
	units := func(x float64, currency string) float64 { return locale.Units(int64(x), currency) }
	chart := func(of func(statistics.ComparisonPoint) statistics.Pair, unit func(float64, string) float64, tick charts.Tick) template.Drawing {
		here, there := pair(of, unit)
		return l.draw(func(canvas charts.Canvas, p template.Placeholder) string {
			line := here
			line.Colour = colour(p, l.theme.Accent)
			return canvas.Curve(charts.Curve{Span: span, Series: []charts.Series{line, there}, Tick: tick, Gutter: l.gutter(canvas, c.Here.Currency)})
		})
	}
	v.Charts["compare.viewers"] = chart(func(p statistics.ComparisonPoint) statistics.Pair { return p.Viewers }, plain, nil)
	v.Charts["compare.messages"] = chart(func(p statistics.ComparisonPoint) statistics.Pair { return p.Written }, plain, nil)
	v.Charts["compare.donations"] = chart(func(p statistics.ComparisonPoint) statistics.Pair { return p.Total }, units,
		func(x, top float64) string {
			if foreign {
				return l.locale.TickOf(x, top)
			}
			return l.locale.MoneyTickOf(x, top, c.Here.Currency)
		})
}

// legend is an edition's name; that of a file without its ending and what every such file is called.
func legend(e statistics.Edition) string {
	if e.Name == "" {
		return ""
	}
	name := filepath.Base(e.Name)
	if ext := filepath.Ext(name); strings.EqualFold(ext, ".csv") {
		name = strings.TrimSuffix(name, ext)
	}
	return cmp.Or(strings.TrimSuffix(name, "-minutes"), e.Name)
}

// measurer is what charts measure their labels with.
func measurer(m template.Measurer, family string) func(text string, size float64, weight int) float64 {
	if m == nil {
		return nil
	}
	return func(text string, size float64, weight int) float64 {
		return m.Measure(text, render.Style{Family: family, Size: size, Weight: weight}).Width
	}
}
