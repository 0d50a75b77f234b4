package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// view is what the template renders: one snapshot in one language. The script renders the same from
// the same numbers; the page without it is this.
type view struct {
	locale
	Lang, Other, OtherName string
	Assets                 string
	Version                string
	Snap                   *Snapshot
	// Texts is the language's catalogue for the script.
	Texts map[string]string
}

func newView(lang string, s *site, p *published, version string) *view {
	v := &view{
		locale: locale{lang: lang, texts: s.texts.in(lang), zone: time.UTC},
		Lang:   lang, Other: french, OtherName: "Français", Assets: s.version, Version: version,
	}
	v.Texts = v.texts
	if lang == french {
		v.Other, v.OtherName = english, "English"
	}
	if p == nil {
		return v
	}
	v.Snap = p.snap
	if e := p.snap.Event; e != nil {
		if zone, err := time.LoadLocation(e.TimeZone); err == nil {
			v.zone = zone
		}
	}
	return v
}

// T is a text of the page.
func (v *view) T(key string, pairs ...string) string { return v.text(key, pairs...) }

// Role is the name of a role; one that is not known here speaks for itself.
func (v *view) Role(role string) string {
	if name, ok := v.texts["role."+role]; ok {
		return name
	}
	return role
}

// figure is one of the big numbers.
type figure struct {
	Key, Value, Of, Note string
	Approximate          bool
	// Quality is a record completeness, Provisional as in Number.
	Quality     string
	Provisional bool
}

// Figures are the big numbers, the first biggest.
func (v *view) Figures() []figure {
	n := unknownNumbers()
	if v.Snap != nil {
		n = v.Snap.Now
	}
	value := func(x Number, format func(float64) string) string {
		if x.Value == nil {
			return "–"
		}
		return format(*x.Value)
	}
	exact := v.text("now.exact.none")
	if n.Through != nil {
		exact = v.text("now.exact", "n", v.count(float64(n.Closed)), "time", v.clock(n.Through.Add(time.Minute)))
	}
	peak := v.text("now.peak.none")
	if n.Peak.Value != nil && n.Peak.At != nil {
		peak = v.text("now.peak", "n", v.count(*n.Peak.Value), "time", v.clock(*n.Peak.At))
	}
	sketch := v.text("now.error.none")
	if n.Chatters.Error > 0 {
		sketch = v.text("now.error", "n", v.percent(n.Chatters.Error))
	}
	live := v.text("now.live.none")
	if n.Live != nil {
		live = v.text("now.live", "n", v.count(float64(*n.Live)))
	}
	dead := v.text("now.dead.none")
	if n.Dead != nil {
		dead = v.text("now.dead", "n", v.count(float64(*n.Dead)))
	}
	read, up := record.Complete, record.Complete
	if n.Read < n.Channels {
		read = record.Partial
	}
	if n.Up < n.Collectors {
		up = record.Partial
	}
	return []figure{
		{
			Key: "rate", Value: value(n.Rate, v.rate), Note: v.text("now.window"), Quality: n.Rate.Quality,
			Provisional: n.Rate.Provisional,
		},
		{
			Key: "messages", Value: value(n.Messages, v.count), Note: exact, Quality: n.Messages.Quality,
			Provisional: n.Messages.Provisional,
		},
		{
			Key: "viewers", Value: value(n.Viewers, v.count), Note: peak, Quality: n.Viewers.Quality,
			Provisional: n.Viewers.Provisional,
		},
		{
			Key: "chatters", Value: value(n.Chatters, v.count), Note: sketch, Quality: n.Chatters.Quality,
			Approximate: n.Chatters.Value != nil, Provisional: n.Chatters.Provisional,
		},
		{
			Key: "channels", Value: v.count(float64(n.Read)), Of: v.text("of", "n", v.count(float64(n.Channels))), Note: live,
			Quality: read,
		},
		{
			Key: "collectors", Value: v.count(float64(n.Up)), Of: v.text("of", "n", v.count(float64(n.Collectors))), Note: dead,
			Quality: up,
		},
	}
}

// stageView is one stage in words.
type stageView struct {
	Name, Health, Value, Unit string
	Facts                     []string
}

// Stages are the pipeline in words.
func (v *view) Stages() []stageView {
	if v.Snap == nil {
		return nil
	}
	var all []stageView
	for _, s := range v.Snap.Stages {
		out := stageView{Name: s.Name, Health: s.Health, Value: "–"}
		fact := func(key string, pairs ...string) { out.Facts = append(out.Facts, v.text(key, pairs...)) }
		if s.Up != nil && s.Of != nil {
			fact("fact.up", "n", v.count(float64(*s.Up)), "of", v.count(float64(*s.Of)))
		}
		lag := ""
		if s.Lag != nil {
			lag = v.span(*s.Lag)
		}
		switch s.Name {
		case StageCollectors, StageConsumers, StageStore:
			if s.Rate != nil {
				out.Value = v.rate(*s.Rate)
			}
			switch s.Name {
			case StageCollectors:
				out.Unit = v.text("unit.messages")
				fact("fact.replicas")
			case StageStore:
				out.Unit = v.text("unit.documents")
				if lag != "" {
					fact("fact.read", "age", lag)
				}
			default:
				out.Unit = v.text("unit.records")
				if lag != "" {
					fact("fact.lag", "age", lag)
				}
			}
		case StageOutbox, StageQueue:
			out.Unit = v.text("unit.batches")
			if s.Depth != nil {
				out.Value = v.count(float64(*s.Depth))
			}
			if s.Bytes != nil {
				fact("fact.bytes", "n", v.bytes(float64(*s.Bytes)))
			}
			if s.Name == StageOutbox && lag != "" {
				fact("fact.oldest", "age", lag)
			}
			if s.Name == StageQueue && v.Snap.Now.Dead != nil {
				fact("fact.dead", "n", v.count(float64(*v.Snap.Now.Dead)))
			}
		case StageRollup:
			out.Unit = v.text("unit.behind")
			if lag != "" {
				out.Value = lag
			}
			if s.Depth != nil {
				fact("fact.marks", "n", v.count(float64(*s.Depth)))
			}
		}
		all = append(all, out)
	}
	return all
}

// troubleView is one condition in words.
type troubleView struct {
	Health, Title, Detail, Where, Since string
	// Do says in the page's language what a condition means that somebody else tells; Detail is then
	// that one's own words.
	Do string
	// Foreign says that Detail is in English whatever the page's language is.
	Foreign bool
}

// Troubles are the conditions in words.
func (v *view) Troubles() []troubleView {
	if v.Snap == nil {
		return nil
	}
	var all []troubleView
	for _, c := range v.Snap.Conditions {
		t := troubleView{Health: c.Health, Title: c.Name, Detail: c.Detail, Foreign: true}
		if _, ok := v.texts["cond."+c.Name]; ok && c.Detail == "" {
			t.Title = v.text("cond."+c.Name, "n", v.count(float64(c.Count)), "subject", c.Subject)
			t.Detail = v.text("cond."+c.Name+".do", "n", v.count(float64(c.Count)), "subject", c.Subject)
			t.Foreign = false
		} else {
			t.Title = strings.ReplaceAll(c.Name, "-", " ")
			if title, ok := v.texts["told."+c.Name]; ok {
				t.Title, t.Do = title, v.text("told."+c.Name+".do")
			}
			t.Where = strings.Join(nonEmpty(c.Member, c.Subject), " · ")
		}
		if c.Since != nil {
			t.Since = v.text("trouble.since", "time", v.clock(*c.Since))
		}
		all = append(all, t)
	}
	return all
}

func nonEmpty(all ...string) []string {
	var out []string
	for _, s := range all {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Gaps are the gaps in words.
func (v *view) Gaps() []gapView {
	if v.Snap == nil {
		return nil
	}
	var all []gapView
	for _, g := range v.Snap.Gaps {
		out := gapView{
			Quality: g.Quality, When: v.clock(g.From) + "–" + v.clock(g.To),
			Covered: v.text("gaps.unknown"), Names: strings.Join(g.Names, ", "),
		}
		switch g.Channels {
		case 1:
			out.Channels = v.text("gaps.one")
		case g.Of:
			out.Channels, out.Names = v.text("gaps.all", "n", v.count(float64(g.Of))), ""
		default:
			out.Channels = v.text("gaps.some", "n", v.count(float64(g.Channels)), "of", v.count(float64(g.Of)))
		}
		if g.Quality != record.Unknown && g.Covered != nil {
			out.Covered = v.text("gaps.covered", "n", v.percent(*g.Covered))
		}
		if out.Names != "" && g.Channels > len(g.Names) {
			out.Names += ", …"
		}
		all = append(all, out)
	}
	return all
}

type gapView struct{ Quality, When, Channels, Covered, Names string }

// Newest are the newest minutes, newest first, as many as the page lists.
func (v *view) Newest() []Minute {
	if v.Snap == nil {
		return nil
	}
	var all []Minute
	for i := len(v.Snap.Minutes) - 1; i >= 0 && len(all) < 15; i-- {
		all = append(all, v.Snap.Minutes[i])
	}
	return all
}

// Count, Rate, Span, Clock, Day and Percent format for the template.
func (v *view) Count(x any) string {
	switch n := x.(type) {
	case int:
		return v.count(float64(n))
	case int64:
		return v.count(float64(n))
	case float64:
		return v.count(n)
	case *float64:
		if n != nil {
			return v.count(*n)
		}
	}
	return "–"
}

// Rate formats a rate.
func (v *view) Rate(x float64) string { return v.rate(x) }

// Ratio formats n of of.
func (v *view) Ratio(n, of int) string {
	return v.text("ratio", "n", v.count(float64(n)), "of", v.count(float64(of)))
}

// Ago formats an age in seconds.
func (v *view) Ago(s float64) string {
	if s < 5 {
		return v.text("ago.now")
	}
	return v.text("ago", "age", v.span(s))
}

// Clock formats a time of day.
func (v *view) Clock(t time.Time) string { return v.clock(t) }

// Day formats a day and time.
func (v *view) Day(t time.Time) string { return v.day(t) }

// Covered formats a completeness with its share.
func (v *view) Covered(q string, share *float64) string {
	if q == record.Partial && share != nil {
		return v.percent(*share)
	}
	return v.text(q)
}

// Progress is the share of the event that is over, in per cent.
func (v *view) Progress() string {
	if v.Snap == nil || v.Snap.Event == nil {
		return "0%"
	}
	e := v.Snap.Event
	whole := e.End.Sub(e.Start).Seconds()
	if whole <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%.2f%%", 100*min(1, max(0, v.Snap.At.Sub(e.Start).Seconds()/whole)))
}

// EventNote says how far the event is.
func (v *view) EventNote() string {
	if v.Snap == nil || v.Snap.Event == nil {
		return ""
	}
	e, at := v.Snap.Event, v.Snap.At
	switch {
	case at.Before(e.Start):
		return v.text("event.begins", "age", v.span(e.Start.Sub(at).Seconds()))
	case !at.Before(e.End):
		return v.text("event.over")
	}
	return v.text("event.elapsed", "done", v.span(at.Sub(e.Start).Seconds()), "left", v.span(e.End.Sub(at).Seconds()))
}

// DemoNote says how far the demonstration is.
func (v *view) DemoNote() string {
	if v.Snap == nil || v.Snap.Demo == nil {
		return ""
	}
	d := v.Snap.Demo
	parts := []string{v.text("demo." + d.Phase), v.text("demo.sent", "n", v.count(float64(d.Sent)))}
	if d.Elapsed > 0 {
		parts = append(parts, v.text("demo.elapsed", "age", v.span(d.Elapsed)))
	}
	if d.Remaining > 0 {
		parts = append(parts, v.text("demo.remaining", "age", v.span(d.Remaining)))
	}
	return strings.Join(parts, " · ")
}

// Columns are those of the table of channels.
func (*view) Columns() []string {
	return []string{"name", "rate", "messages", "trend", "viewers", "chatters", "coverage", "readby"}
}
