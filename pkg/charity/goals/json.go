package goals

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/record"
)

// json reads the shape of the donation-goal list's API.
func (r *reader) json(data []byte) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var all any
	if err := dec.Decode(&all); err != nil {
		end := len(data)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			end = min(int(syntax.Offset), end)
		}
		line := 1 + bytes.Count(data[:end], []byte("\n"))
		r.problem(line, "", "the list is not JSON: %v", err)
		return
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		r.problem(0, "", "the list has something after its end")
		return
	}
	number := 0
	if list, ok := all.([]any); ok && !slices.ContainsFunc(list, holdsGoals) {
		r.goals(list, "", &number)
		return
	}
	if !holdsGoals(all) {
		r.problem(0, "", "no goals are found: there is no donation_goals in it")
		return
	}
	r.walk(all, "", &number)
}

// goalLists are the names that lists of goals have.
func goalLists() []string { return []string{"donation_goals", "donationGoals", "goals"} }

// holdsGoals reports whether there is a list of goals somewhere within.
func holdsGoals(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range goalLists() {
			if _, ok := v[name].([]any); ok {
				return true
			}
		}
		for _, x := range v {
			if holdsGoals(x) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, holdsGoals)
	}
	return false
}

// walk finds the lists of goals, and whose they are.
func (r *reader) walk(v any, channel string, number *int) {
	switch v := v.(type) {
	case map[string]any:
		if c := streamer(v); c != "" {
			channel = c
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if list, ok := v[key].([]any); ok && slices.Contains(goalLists(), key) {
				r.goals(list, channel, number)
			} else {
				r.walk(v[key], channel, number)
			}
		}
	case []any:
		for _, x := range v {
			r.walk(x, channel, number)
		}
	}
}

// streamer is who an object of the API says that it is of; empty for one that is of nobody. The names of
// events and of goals are no streamers': only a participation's, a streamer's or a user's are.
func streamer(v map[string]any) string {
	for _, key := range []string{"twitch_id", "twitchId", "twitch_login", "twitch", "login", "channel", "display_name", "displayName", "slug"} {
		if s := text(v[key]); s != "" {
			return s
		}
	}
	for _, key := range []string{"streamer", "user", "channel", "member", "twitch"} {
		switch x := v[key].(type) {
		case map[string]any:
			if s := streamer(x); s != "" {
				return s
			}
			if s := text(x["name"]); s != "" {
				return s
			}
		case string:
			if x != "" {
				return x
			}
		}
	}
	return ""
}

// text is a string or a number as text; empty for anything else.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (r *reader) goals(list []any, channel string, number *int) {
	for _, v := range list {
		*number++
		g, ok := v.(map[string]any)
		if !ok {
			r.problem(*number, "", "goal %d is no object", *number)
			continue
		}
		e := Entry{Line: *number, ID: text(g["id"]), Channel: channel, Category: text(g["category"]), Name: text(g["name"])}
		if c := streamer(g); c != "" {
			e.Channel = c
		}
		if e.Category == record.GoalGlobal && channel == "" {
			e.Channel = record.AllChannels
		}
		faulty := false
		fault := func(value, message string) {
			faulty = true
			r.problem(*number, value, "%s", message)
		}
		if raw := text(g["amount"]); raw != "" || e.Category != record.GoalIncentive {
			// In cents: a currency without decimals reads them as they are.
			n, err := money.ParseNumber(strings.TrimSpace(raw), "XAF")
			if err != nil {
				fault(raw, "is no amount in cents")
			}
			e.Money.Cents = n
		}
		switch done := g["accomplished"].(type) {
		case nil:
		case bool:
			e.Accomplished = done
		default:
			fault("accomplished", "is neither true nor false")
		}
		switch links := g["links"].(type) {
		case nil:
		case []any:
			for _, l := range links {
				at := text(l)
				if o, ok := l.(map[string]any); ok {
					at = text(o["url"])
				}
				if at == "" {
					fault("links", "has something that is no address")
					continue
				}
				e.Links = append(e.Links, at)
			}
		default:
			fault("links", "is no list")
		}
		r.add(e, faulty)
	}
}
