package master

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tungstene/tungstene/pkg/charity/corrections"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// totalsTimeout bounds what reads the totals of many minutes.
	totalsTimeout = 60 * time.Second
	// suspectsRange is how far back suspects are looked for by default, maxSuspects the longest range: a
	// minute of 350 channels is 350 documents.
	suspectsRange = 6 * time.Hour
	maxSuspects   = 72 * time.Hour
	// moneyHold is how long an event is held for what is written of its money, moneyMargin how much sooner
	// that must be written: clocks differ, and a write may take effect after it was given up.
	moneyHold, moneyMargin = 30 * time.Second, 10 * time.Second
	// maxShown bounds the suspicions of one answer.
	maxShown = 500
)

type totalsInput struct {
	Slug   string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Source string `query:"source" maxLength:"64" doc:"Charity source; the event's own when left out"`
}

type suspectsInput struct {
	Slug     string    `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Source   string    `query:"source" maxLength:"64" doc:"Charity source; the event's own when left out"`
	From     time.Time `query:"from" doc:"Inclusive; 6 hours before the end of the range when left out"`
	To       time.Time `query:"to" doc:"Exclusive; now when left out"`
	Answered bool      `query:"answered" doc:"Those too that a standing correction speaks of"`
}

type withdrawInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	ID   string `path:"id" maxLength:"100" doc:"The correction, or a beginning that only it has"`
	Body control.Withdrawal
}

type correctInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Body control.NewCorrection
}

// charityRoutes registers what operators say of donations. Corrections are added and withdrawn by
// another: nothing changes or deletes one.
func (m *Master) charityRoutes() {
	get, post := http.MethodGet, http.MethodPost
	notFound, taken := http.StatusNotFound, http.StatusConflict

	read := operation("get-totals", get, "/v1/events/{slug}/totals", "Read what was raised, raw and corrected", roleOperator, notFound)
	m.lasting(read, totalsTimeout)
	serve(m, read, m.totals)
	list := operation("list-corrections", get, "/v1/events/{slug}/corrections", "List the corrections of an event, with the totals that they are of", roleOperator, notFound)
	m.lasting(list, totalsTimeout)
	serve(m, list, func(ctx context.Context, in *slugInput) (control.Corrections, error) {
		return m.listCorrections(ctx, in.Slug)
	})
	add := operation("add-correction", post, "/v1/events/{slug}/corrections", "Correct a total; what the source said stays as it is", roleOperator, notFound, taken)
	add.DefaultStatus = http.StatusCreated
	m.lasting(add, totalsTimeout)
	serve(m, add, func(ctx context.Context, in *correctInput) (control.CorrectionDone, error) {
		return m.addCorrection(ctx, in.Slug, in.Body)
	})
	back := operation("withdraw-correction", post, "/v1/events/{slug}/corrections/{id}/withdraw", "Take a correction back, by another that says so", roleOperator, notFound, taken)
	back.DefaultStatus = http.StatusCreated
	m.lasting(back, totalsTimeout)
	serve(m, back, m.withdrawCorrection)
	suspects := operation("list-suspects", get, "/v1/events/{slug}/corrections/suspects", "Point out mirrors, resets, double counts and jumps in the totals", roleOperator, notFound)
	m.lasting(suspects, totalsTimeout)
	serve(m, suspects, m.suspects)
	m.goalRoutes()
}

// openForMoney says whether corrections and goals of an event may change.
func openForMoney(e record.Event) error {
	if e.State == record.EventFrozen {
		return conflict("event %s is frozen: its corrections and goals can't change any more", e.Slug)
	}
	return nil
}

// holdForMoney comes just before corrections or goals of an event are written: what is written until the
// context that it returns ends is written before the event is frozen. The event gets its next revision, so
// that a freeze that has looked at it before fails and looks again. It refuses where the event is frozen.
func (m *Master) holdForMoney(ctx context.Context, slug string) (context.Context, context.CancelFunc, error) {
	until := time.Now().Add(moneyHold)
	e, err := m.touchEvent(ctx, slug, until)
	if err == nil {
		err = openForMoney(e)
	}
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, until.Add(-moneyMargin))
	return ctx, cancel, nil
}

// person checks who says something, and text what is said.
func person(author string) (string, error) {
	author, err := said("author", author, control.MaxAuthor)
	if err == nil && strings.ContainsFunc(author, unicode.IsControl) {
		err = badValue("author", "%q has characters that are none", author)
	}
	return author, err
}

func said(field, text string, most int) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", badValue(field, "say it: it is kept with the change")
	}
	if n := utf8.RuneCountInString(text); n > most || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", badValue(field, "use text of at most %d characters", most)
	}
	return text, nil
}

// roster is the channels of an event by id, and how people call them.
type roster struct {
	event  string
	byID   map[string]record.Channel
	lookup []record.Channel
}

func (m *Master) roster(ctx context.Context, slug string) (roster, error) {
	list, err := m.channelsOf(ctx, slug)
	n := roster{event: slug, byID: make(map[string]record.Channel, len(list)), lookup: list}
	for _, c := range list {
		if c.Channel != "" {
			n.byID[c.Channel] = c
		}
	}
	return n, err
}

// id finds a channel by its Twitch id, its login, or its display name; "*" is the event.
func (n roster) id(channel string) (string, error) {
	channel = strings.TrimSpace(channel)
	if channel == record.AllChannels {
		return channel, nil
	}
	if c, ok := n.byID[channel]; ok {
		return c.Channel, nil
	}
	login, _ := parseLogin(channel)
	for _, same := range []func(record.Channel) bool{
		func(c record.Channel) bool { return login != "" && c.Login == login },
		func(c record.Channel) bool { return c.Name != "" && strings.EqualFold(c.Name, channel) },
	} {
		if i := slices.IndexFunc(n.lookup, same); i >= 0 {
			if n.lookup[i].Channel == "" {
				return "", conflict("channel %s of event %s is not looked up at Twitch yet: run tungstene channel resolve %s", channel, n.event, n.event)
			}
			return n.lookup[i].Channel, nil
		}
	}
	return "", badValue("channel", "%q is no channel of event %s: use a Twitch id, a login, or * for the event", channel, n.event)
}

func (n roster) login(channel string) string { return n.byID[channel].Login }

// called is a channel's display name, or what there is.
func (n roster) called(channel string) string {
	if channel == record.AllChannels {
		return n.event
	}
	c := n.byID[channel]
	return cmp.Or(c.Name, c.Login, channel)
}

func (n roster) total(t totals.Total) control.Total {
	c := n.byID[t.Channel]
	return control.Total{
		Channel: t.Channel, Login: c.Login, Name: c.Name, By: t.By, Raw: t.Raw, Corrected: t.Corrected, At: t.At, Coverage: t.Coverage,
		Count: t.Count, Largest: t.Largest,
	}
}

// current reads an event, its channels' names and what was raised.
func (m *Master) current(ctx context.Context, slug, source string) (record.Event, roster, *totals.Current, error) {
	e, err := m.event(ctx, slug)
	if err != nil {
		return e, roster{}, nil, err
	}
	n, err := m.roster(ctx, slug)
	if err != nil {
		return e, n, nil, err
	}
	cur, err := totals.ReadCurrent(ctx, m.cfg.Store, e, source, m.cfg.Clock.Now())
	return e, n, cur, err
}

func (m *Master) totals(ctx context.Context, in *totalsInput) (control.Totals, error) {
	_, n, cur, err := m.current(ctx, in.Slug, in.Source)
	if err != nil {
		return control.Totals{}, err
	}
	out := control.Totals{Fund: control.Fund(cur.Fund), Known: cur.Known, Through: cur.Through, Event: n.total(cur.Event), Channels: []control.Total{}}
	for _, t := range cur.Channels {
		out.Channels = append(out.Channels, n.total(t))
	}
	slices.SortFunc(out.Channels, func(a, b control.Total) int {
		return cmp.Or(cmp.Compare(b.Corrected, a.Corrected), cmp.Compare(a.Channel, b.Channel))
	})
	return out, nil
}

func (m *Master) listCorrections(ctx context.Context, slug string) (control.Corrections, error) {
	e, n, cur, err := m.current(ctx, slug, "")
	if err != nil {
		return control.Corrections{}, err
	}
	list := cur.Corrections
	if !cur.Known {
		if list, err = totals.Corrections(ctx, m.cfg.Store, slug); err != nil {
			return control.Corrections{}, err
		}
	}
	out := control.Corrections{Fund: control.Fund(cur.Fund), Corrections: []control.CorrectionView{}, Totals: []control.Total{}}
	by := map[string]string{}
	for _, c := range list {
		if c.Withdraws != "" {
			by[c.Withdraws] = c.ID
		}
	}
	shown := map[string]bool{}
	for _, c := range list {
		v := control.CorrectionView{Correction: c, State: control.CorrectionStanding, WithdrawnBy: by[c.ID], Login: n.login(c.Channel)}
		switch {
		case c.Withdraws != "":
			v.State = control.WithdrawalState
		case v.WithdrawnBy != "":
			v.State = control.CorrectionWithdrawn
		default:
			v.Effect = effectNow(cur, c)
		}
		out.Corrections = append(out.Corrections, v)
		if t, ok := cur.Channels[c.Channel]; ok && !shown[c.Channel] {
			shown[c.Channel] = true
			out.Totals = append(out.Totals, n.total(t))
		}
	}
	slices.SortFunc(out.Totals, func(a, b control.Total) int { return cmp.Compare(a.Channel, b.Channel) })
	if cur.Known && cur.Event.Channel != "" {
		out.Totals = slices.Insert(out.Totals, 0, n.total(cur.Event))
	}
	out.Currency = cmp.Or(out.Currency, e.Currency)
	return out, nil
}

// effectNow is what a standing correction adds to its total as it is now.
func effectNow(cur *totals.Current, c record.Correction) int64 {
	t := cur.Channels[c.Channel]
	if c.Channel == record.AllChannels {
		t = cur.Event
	}
	for _, x := range cur.Effects.Of(c.Channel) {
		if x.Correction.ID == c.ID {
			return x.On(t.At, cur.Until)
		}
	}
	return 0
}

// addCorrection checks and adds a correction, or says what it would do.
func (m *Master) addCorrection(ctx context.Context, slug string, in control.NewCorrection) (control.CorrectionDone, error) {
	e, n, cur, err := m.current(ctx, slug, in.Source)
	if err != nil {
		return control.CorrectionDone{}, err
	}
	if err := openForMoney(e); err != nil {
		return control.CorrectionDone{}, err
	}
	c, err := m.newCorrection(e, n, cur, in)
	if err != nil {
		return control.CorrectionDone{}, err
	}
	standing, err := totals.Corrections(ctx, m.cfg.Store, slug)
	if err != nil {
		return control.CorrectionDone{}, err
	}
	if err := overlaps(c, standing); err != nil {
		return control.CorrectionDone{}, err
	}
	return m.keepCorrection(ctx, e, cur, c, append(standing, c), in.DryRun)
}

// newCorrection makes a correction of what a person says.
func (m *Master) newCorrection(e record.Event, n roster, cur *totals.Current, in control.NewCorrection) (record.Correction, error) {
	now := record.Millis(m.cfg.Clock.Now())
	c := record.Correction{
		ID: e.Slug + "/" + uuid.NewString(), Rev: 1, Event: e.Slug, Kind: in.Kind, Time: record.Millis(in.Time),
		Cents: in.Cents, Currency: cmp.Or(cur.Fund.Currency, e.Currency), Source: cmp.Or(in.Source, cur.Fund.Source), Total: in.Total, Created: now,
	}
	if !in.To.IsZero() {
		c.To = record.Millis(in.To)
	}
	var err error
	if c.Author, err = person(in.Author); err != nil {
		return c, err
	}
	if c.Reason, err = said("reason", in.Reason, control.MaxReason); err != nil {
		return c, err
	}
	if c.Channel, err = n.id(in.Channel); err != nil {
		return c, err
	}
	latest := now
	if e.End.After(latest) {
		latest = e.End
	}
	takes := c.Kind == record.CorrectionAmount || c.Kind == record.CorrectionDouble
	switch {
	case c.Source == "":
		return c, badValue("source", "no charity source of event %s has said anything yet: name the one whose total is wrong", e.Slug)
	case in.Time.IsZero():
		return c, badValue("time", "say from when on it holds")
	case c.Time.After(latest):
		return c, badValue("time", "%s lies in the future", stamp(c.Time))
	case !c.To.IsZero() && c.Kind != record.CorrectionMirror:
		return c, badValue("to", "only a mirror has an end")
	case !c.To.IsZero() && !c.To.After(c.Time):
		return c, badValue("to", "%s is not after %s", stamp(c.To), stamp(c.Time))
	case !takes && c.Cents != 0:
		return c, badValue("cents", "a %s has no amount: what it does follows from the total", c.Kind)
	case takes && c.Cents == 0:
		return c, badValue("cents", "%s of 0 changes nothing", oneOf(c.Kind))
	case c.Kind == record.CorrectionDouble && c.Cents < 0:
		return c, badValue("cents", "say what was counted twice as an amount above 0: it is taken away")
	case c.Cents > record.MaxCents || c.Cents < -record.MaxCents:
		return c, badValue("cents", "the most is %s", money.Format(record.MaxCents, c.Currency, money.English))
	case c.Total && c.Channel == record.AllChannels:
		return c, badValue("total", "a correction of the event's own total is of it anyway")
	}
	return c, nil
}

func oneOf(kind string) string {
	if kind == record.CorrectionAmount {
		return "an amount"
	}
	return "a " + kind
}

// overlaps refuses what would take out the same time of the same total twice.
func overlaps(c record.Correction, all []record.Correction) error {
	for _, x := range corrections.Of(all, c.Channel, c.Source, c.Currency) {
		if x.Kind != c.Kind {
			continue
		}
		switch {
		case c.Kind == record.CorrectionReset && x.Time.Equal(c.Time):
			return conflict("correction %s speaks of that reset already", bare(x.ID))
		case c.Kind == record.CorrectionMirror && (x.To.IsZero() || x.To.After(c.Time)) && (c.To.IsZero() || c.To.After(x.Time)):
			return conflict("correction %s takes that time out already, from %s: withdraw it first", bare(x.ID), stamp(x.Time))
		}
	}
	return nil
}

// bare is an id without its event.
func bare(id string) string {
	_, id, _ = strings.Cut(id, "/")
	return id
}

// keepCorrection writes a correction, the last of all, unless it is a dry run, and says what it does.
func (m *Master) keepCorrection(
	ctx context.Context, e record.Event, cur *totals.Current, c record.Correction, all []record.Correction, dry bool,
) (control.CorrectionDone, error) {
	out := control.CorrectionDone{Correction: c, DryRun: dry}
	t, ok := cur.Channels[c.Channel]
	if c.Channel == record.AllChannels {
		t, ok = cur.Event, cur.Event.Channel != ""
	}
	if out.Known = ok && cur.Known && cur.Fund.Source == c.Source; out.Known {
		after, err := totals.ReadEffects(ctx, m.cfg.Store, e.Slug, cur.Fund, cur.Event.By, all)
		if err != nil {
			return out, err
		}
		out.Raw, out.Before, out.EventBefore = t.Raw, t.Corrected, cur.Event.Corrected
		out.After = t.Raw + after.On(c.Channel, t.At, cur.Until)
		out.EventAfter = cur.Event.Raw + after.On(record.AllChannels, cur.Event.At, cur.Until)
	}
	if dry {
		return out, nil
	}
	ctx, done, err := m.holdForMoney(ctx, e.Slug)
	if err != nil {
		return out, err
	}
	defer done()
	if err := m.setDoc(ctx, store.Corrections, 0, c.ID, c); err != nil {
		if errors.Is(err, store.ErrConflict) && c.Withdraws != "" {
			err = conflict("correction %s is withdrawn already", bare(c.Withdraws))
		}
		return out, err
	}
	m.log.Info("total corrected", "event", e.Slug, "channel", c.Channel, "source", c.Source, "correction", bare(c.ID), "kind", c.Kind,
		"withdraws", c.Withdraws, "author", c.Author)
	return out, nil
}

func (m *Master) withdrawCorrection(ctx context.Context, in *withdrawInput) (control.CorrectionDone, error) {
	e, err := m.event(ctx, in.Slug)
	if err == nil {
		err = openForMoney(e)
	}
	if err != nil {
		return control.CorrectionDone{}, err
	}
	all, err := totals.Corrections(ctx, m.cfg.Store, in.Slug)
	if err != nil {
		return control.CorrectionDone{}, err
	}
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.ID
	}
	i, err := meant(in.Slug, "correction", in.ID, ids)
	if err != nil {
		return control.CorrectionDone{}, err
	}
	was := all[i]
	if was.Withdraws != "" {
		return control.CorrectionDone{}, conflict("%s is a withdrawal itself: add the correction again instead", bare(was.ID))
	}
	c := record.Correction{
		// One withdrawal of each: of two at once, one comes first.
		ID: was.ID + ".withdrawn", Rev: 1, Event: was.Event, Channel: was.Channel, Source: was.Source, Time: was.Time, Currency: was.Currency,
		Created: record.Millis(m.cfg.Clock.Now()), Withdraws: was.ID,
	}
	if slices.ContainsFunc(all, func(x record.Correction) bool { return x.Withdraws == was.ID }) {
		return control.CorrectionDone{}, conflict("correction %s is withdrawn already", bare(was.ID))
	}
	if c.Author, err = person(in.Body.Author); err != nil {
		return control.CorrectionDone{}, err
	}
	if c.Reason, err = said("reason", in.Body.Reason, control.MaxReason); err != nil {
		return control.CorrectionDone{}, err
	}
	cur, err := totals.ReadCurrent(ctx, m.cfg.Store, e, was.Source, m.cfg.Clock.Now())
	if err != nil {
		return control.CorrectionDone{}, err
	}
	return m.keepCorrection(ctx, e, cur, c, append(all, c), false)
}

// meant finds the one id that a person means: all of it, or a beginning of at least 4 characters that
// no other has. It returns its index.
func meant(slug, what, id string, ids []string) (int, error) {
	full := slug + "/" + strings.TrimPrefix(id, slug+"/")
	if i := slices.Index(ids, full); i >= 0 {
		return i, nil
	}
	found := -1
	for i, x := range ids {
		if !strings.HasPrefix(x, full) || len(full) < len(slug)+1+4 || strings.HasSuffix(x, ".withdrawn") {
			continue
		}
		if found >= 0 {
			return 0, conflict("several %ss of event %s begin with %s: give more of the id", what, slug, id)
		}
		found = i
	}
	if found < 0 {
		return 0, absent("event %s has no %s %s", slug, what, id)
	}
	return found, nil
}

func (m *Master) suspects(ctx context.Context, in *suspectsInput) (control.Suspicions, error) {
	var out control.Suspicions
	e, n, cur, err := m.current(ctx, in.Slug, in.Source)
	if err != nil {
		return out, err
	}
	out.Fund, out.Suspicions = control.Fund(cur.Fund), []control.Suspicion{}
	now := m.cfg.Clock.Now()
	if out.To = record.Millis(in.To); in.To.IsZero() {
		out.To = record.Millis(now)
		if !e.End.IsZero() && out.To.After(e.End) {
			out.To = e.End
		}
	}
	if out.From = record.Millis(in.From); in.From.IsZero() {
		out.From = out.To.Add(-suspectsRange)
	}
	if length := out.To.Sub(out.From); length <= 0 || length > maxSuspects {
		return out, badValue("from", "use a range of at most %d hours", int(maxSuspects.Hours()))
	}
	if !cur.Known {
		return out, nil
	}
	series, given, err := totals.SeriesOfAll(ctx, m.cfg.Store, e.Slug, cur.Fund, cur.Singles, out.From, out.To)
	if err != nil {
		return out, err
	}
	zone, err := time.LoadLocation(e.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	found := corrections.Detector{
		Event: e.Slug, Source: cur.Fund.Source, Currency: cur.Fund.Currency, Name: n.called, Zone: zone, Given: given,
	}.Suspects(series)
	of := slices.DeleteFunc(slices.Clone(cur.Corrections), func(c record.Correction) bool { return c.Withdraws == "" && c.Source != cur.Fund.Source })
	for _, s := range found {
		v := control.Suspicion{
			Kind: s.Kind, Channel: s.Channel, Login: n.login(s.Channel), Other: s.Other, Time: s.Time, To: s.To, Before: s.Before, After: s.After,
			Evidence: s.Evidence[money.English], EvidenceFR: s.Evidence[money.French], Answered: corrections.Answered(s, of),
		}
		if v.Answered && !in.Answered || len(out.Suspicions) == maxShown {
			continue
		}
		if c := s.Suggestion; c != nil {
			v.Suggestion = &control.NewCorrection{
				Channel: c.Channel, Source: c.Source, Kind: c.Kind, Time: c.Time, To: c.To, Cents: c.Cents, Reason: c.Reason,
			}
		}
		out.Suspicions = append(out.Suspicions, v)
	}
	return out, nil
}

// importBody is how a list of goals is described.
func importBody(op *huma.Operation) {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"text/csv": text, "application/yaml": text, "application/json": {Schema: &huma.Schema{}}, "application/octet-stream": text,
	}}
	op.SkipValidateBody = true // goals.Read does it, and says the line
}
