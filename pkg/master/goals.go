package master

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/charity/money"
	"github.com/tungstene/tungstene/pkg/charity/totals"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// maxGoals bounds the goals of an event, deleted ones among them; maxHistory the changes of one, whose
	// oldest go then.
	maxGoals   = 20_000
	maxHistory = 500
	// heldGoals is how many goals an import writes while it holds the event once.
	heldGoals = 50
	// maxLive is how many events the goals of are kept at hand.
	maxLive = 4
)

// goalWatch keeps what is needed to evaluate the goals of the events that are asked for.
type goalWatch struct {
	mu   sync.Mutex
	live map[string]*goalLive
}

type goalLive struct {
	mu   sync.Mutex
	live *totals.Live
	used time.Time
}

// of is the one of an event, made where there is none.
func (w *goalWatch) of(slug string, s totals.Store) *goalLive {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live == nil {
		w.live = map[string]*goalLive{}
	}
	l := w.live[slug]
	if l == nil {
		if len(w.live) >= maxLive {
			oldest := slices.MinFunc(slices.Collect(maps.Keys(w.live)), func(a, b string) int { return w.live[a].used.Compare(w.live[b].used) })
			delete(w.live, oldest)
		}
		l = &goalLive{live: totals.NewLive(s, true)}
		w.live[slug] = l
	}
	l.used = time.Now()
	return l
}

type goalsInput struct {
	Slug    string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Channel string `query:"channel" maxLength:"200" doc:"Only of this channel, a Twitch id or login; * for those of the event"`
}

type goalInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	ID   string `path:"id" maxLength:"300" doc:"The goal, or a beginning that only it has"`
}

type deleteGoalInput struct {
	Slug   string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	ID     string `path:"id" maxLength:"300" doc:"The goal, or a beginning that only it has"`
	Author string `query:"author" required:"true" minLength:"1" maxLength:"100" doc:"Who deletes it"`
}

type changeGoalInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	ID   string `path:"id" maxLength:"300" doc:"The goal, or a beginning that only it has"`
	Body control.GoalPatch
}

type addGoalInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Body control.NewGoal
}

type importGoalsInput struct {
	Slug    string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Channel string `query:"channel" maxLength:"200" doc:"Whose goals they are, a Twitch id or login; * for the event; where the list says it, left out"`
	Format  string `query:"format" enum:"csv,yaml,json" doc:"By the list's looks when left out"`
	Origin  string `query:"origin" maxLength:"60" doc:"Names the list: goals are compared with those imported by the same; the format when left out"`
	Author  string `query:"author" required:"true" minLength:"1" maxLength:"100" doc:"Who imports them"`
	Replace bool   `query:"replace" doc:"Delete goals of the same origin and channels that are not in the list any more"`
	DryRun  bool   `query:"dry_run" doc:"Change nothing, and tell what would be"`
	RawBody []byte
}

func (m *Master) goalRoutes() {
	get, post := http.MethodGet, http.MethodPost
	notFound, taken := http.StatusNotFound, http.StatusConflict

	list := operation("list-goals", get, "/v1/events/{slug}/goals", "List the donation goals of an event, and how far they are", roleOperator, notFound)
	m.lasting(list, totalsTimeout)
	serve(m, list, m.listGoals)
	one := operation("get-goal", get, "/v1/events/{slug}/goals/{id}", "Read a goal with its history", roleOperator, notFound)
	m.lasting(one, totalsTimeout)
	serve(m, one, m.showGoal)
	add := operation("add-goal", post, "/v1/events/{slug}/goals", "Add a goal", roleOperator, notFound, taken)
	add.DefaultStatus = http.StatusCreated
	serve(m, add, func(ctx context.Context, in *addGoalInput) (record.Goal, error) {
		return m.addGoal(ctx, in.Slug, in.Body)
	})
	serve(m, operation("change-goal", http.MethodPatch, "/v1/events/{slug}/goals/{id}", "Change a goal, or say that it was accomplished", roleOperator, notFound, taken),
		func(ctx context.Context, in *changeGoalInput) (record.Goal, error) {
			return m.changeGoal(ctx, in.Slug, in.ID, in.Body)
		})
	huma.Register(m.api, operation("delete-goal", http.MethodDelete, "/v1/events/{slug}/goals/{id}", "Take a goal out of the list; its history stays", roleOperator, notFound, taken),
		func(ctx context.Context, in *deleteGoalInput) (*struct{}, error) {
			return nil, m.problem(m.deleteGoal(ctx, in.Slug, in.ID, in.Author))
		})
	imports := operation("import-goals", post, "/v1/events/{slug}/goals/import", "Add and change goals by a list: CSV, YAML or the donation-goal list's JSON", roleOperator, notFound, taken)
	imports.Description = "Goals that are in the event already stay as they are, changed ones are changed with history: twice is once. " +
		"If anything is wrong with the list, all of it is told and nothing is done."
	imports.MaxBodyBytes = control.MaxGoalsBytes + 1
	importBody(&imports)
	m.lasting(imports, totalsTimeout)
	serve(m, imports, m.importGoals)
}

func (m *Master) listGoals(ctx context.Context, in *goalsInput) (control.Goals, error) {
	o, cur, n, err := m.evaluate(ctx, in.Slug, nil)
	if err != nil {
		return control.Goals{}, err
	}
	channel := ""
	if in.Channel != "" {
		if channel, err = n.id(in.Channel); err != nil {
			return control.Goals{}, err
		}
	}
	out := control.Goals{Fund: control.Fund(cur.Fund), Goals: []control.GoalView{}, Next: []string{}}
	for i := range o.Goals {
		if s := &o.Goals[i]; channel == "" || s.Goal.Channel == channel {
			out.Goals = append(out.Goals, goalView(s, n))
		}
	}
	for _, c := range slices.Sorted(maps.Keys(o.Next)) { // "*" comes before digits
		if channel == "" || c == channel {
			out.Next = append(out.Next, bare(o.Next[c].Goal.ID))
		}
	}
	return out, nil
}

// evaluate says how far the goals of an event are; all of them where only is nil.
func (m *Master) evaluate(ctx context.Context, slug string, only *record.Goal) (goals.Overview, *totals.Current, roster, error) {
	var o goals.Overview
	e, err := m.event(ctx, slug)
	if err != nil {
		return o, nil, roster{}, err
	}
	n, err := m.roster(ctx, slug)
	if err != nil {
		return o, nil, n, err
	}
	list, err := totals.Goals(ctx, m.cfg.Store, slug)
	if err != nil {
		return o, nil, n, err
	}
	if only != nil {
		list = []record.Goal{*only}
	}
	l := m.goals.of(slug, m.cfg.Store)
	l.mu.Lock()
	defer l.mu.Unlock()
	o, cur, err := l.live.Overview(ctx, e, list, m.cfg.Clock.Now())
	return o, cur, n, err
}

func goalView(s *goals.Status, n roster) control.GoalView {
	return control.GoalView{
		Goal: s.Goal, Login: n.login(s.Goal.Channel), Known: s.Known, Reached: s.Reached, ReachedAt: s.ReachedAt, Times: s.Times,
		Current: s.Current, Missing: s.Missing, Progress: s.Progress,
		ETA: control.Estimate{Certainty: s.ETA.Certainty, At: s.ETA.At, From: s.ETA.From, To: s.ETA.To},
	}
}

// goal finds one by its id or a beginning of it.
func (m *Master) goal(ctx context.Context, slug, id string) (record.Goal, error) {
	if _, err := m.event(ctx, slug); err != nil {
		return record.Goal{}, err
	}
	list, err := totals.Goals(ctx, m.cfg.Store, slug)
	if err != nil {
		return record.Goal{}, err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	i, err := meant(slug, "goal", id, ids)
	if err != nil {
		return record.Goal{}, err
	}
	return list[i], nil
}

func (m *Master) showGoal(ctx context.Context, in *goalInput) (control.GoalView, error) {
	g, err := m.goal(ctx, in.Slug, in.ID)
	if err != nil {
		return control.GoalView{}, err
	}
	o, _, n, err := m.evaluate(ctx, in.Slug, &g)
	if err != nil {
		return control.GoalView{}, err
	}
	view := control.GoalView{Goal: g, Login: n.login(g.Channel), ETA: control.Estimate{Certainty: goals.Unsure}}
	if len(o.Goals) == 1 { // a deleted one is not evaluated
		view = goalView(&o.Goals[0], n)
		view.Goal = g
	}
	return view, nil
}

// checkGoal refuses what can't be a goal.
func checkGoal(g record.Goal) error {
	faults := goals.Check(g)
	if len(faults) == 0 {
		return nil
	}
	f := faults[0]
	if f.Field == "amount" {
		f.Field, f.Value = "cents", ""
	}
	return badValue(f.Field, "%s", strings.TrimSpace(f.Value+" "+f.Message))
}

func (m *Master) addGoal(ctx context.Context, slug string, in control.NewGoal) (record.Goal, error) {
	var g record.Goal
	e, err := m.event(ctx, slug)
	if err == nil {
		err = openForMoney(e)
	}
	if err != nil {
		return g, err
	}
	n, err := m.roster(ctx, slug)
	if err != nil {
		return g, err
	}
	author, err := person(in.Author)
	if err != nil {
		return g, err
	}
	now := record.Millis(m.cfg.Clock.Now())
	g = record.Goal{
		ID: slug + "/" + uuid.NewString(), Rev: 1, Event: slug, Category: cmp.Or(in.Category, record.GoalDonation),
		Name: strings.Join(strings.Fields(in.Name), " "), Money: record.Money{Cents: in.Cents, Currency: e.Currency}, Links: in.Links, Created: now,
		History: []record.GoalChange{{Time: now, Author: author, Field: "created"}},
	}
	if g.Channel, err = n.id(in.Channel); err != nil {
		return g, err
	}
	if err := checkGoal(g); err != nil {
		return g, err
	}
	count, err := m.cfg.Store.Count(ctx, store.Query{Collection: store.Goals, Event: slug, Limit: maxGoals})
	if err != nil {
		return g, err
	}
	if count >= maxGoals {
		return g, conflict("event %s has %d goals, deleted ones among them: that is the most", slug, maxGoals)
	}
	ctx, done, err := m.holdForMoney(ctx, slug)
	if err != nil {
		return g, err
	}
	defer done()
	return g, m.setDoc(ctx, store.Goals, 0, g.ID, g)
}

// edited is a goal after a change, with what changed added to its history; false where nothing did.
func edited(g, now record.Goal, author string, at time.Time) (record.Goal, bool) {
	at = record.Millis(at)
	changed := false
	note := func(field, from, to string) {
		if from != to {
			changed = true
			now.History = append(now.History, record.GoalChange{Time: at, Author: author, Field: field, From: from, To: to})
		}
	}
	when := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return stamp(t)
	}
	now.History = slices.Clone(g.History)
	note("channel", g.Channel, now.Channel)
	note("category", g.Category, now.Category)
	note("name", g.Name, now.Name)
	note("money", money.Decimal(g.Money.Cents, g.Money.Currency)+" "+g.Money.Currency, money.Decimal(now.Money.Cents, now.Money.Currency)+" "+now.Money.Currency)
	note("links", strings.Join(g.Links, " "), strings.Join(now.Links, " "))
	note("accomplished", when(g.Accomplished), when(now.Accomplished))
	yes := map[bool]string{true: "yes", false: "no"}
	note("deleted", yes[g.Deleted], yes[now.Deleted])
	note("origin", g.Origin, now.Origin)
	if n := len(now.History); n > maxHistory {
		now.History = now.History[n-maxHistory:]
	}
	now.Rev = g.Rev + 1
	return now, changed
}

// alter changes a goal by compare-and-set: what another wrote meanwhile is read again.
func (m *Master) alter(ctx context.Context, slug, id, author string, change func(g *record.Goal) error) (record.Goal, error) {
	author, err := person(author)
	if err != nil {
		return record.Goal{}, err
	}
	for {
		e, err := m.event(ctx, slug)
		if err == nil {
			err = openForMoney(e)
		}
		if err != nil {
			return record.Goal{}, err
		}
		g, err := m.goal(ctx, slug, id)
		if err != nil {
			return g, err
		}
		next := g
		next.Links = slices.Clone(g.Links)
		if err := change(&next); err != nil {
			return g, err
		}
		next, changed := edited(g, next, author, m.cfg.Clock.Now())
		if !changed {
			return g, nil
		}
		held, done, err := m.holdForMoney(ctx, slug)
		if err != nil {
			return g, err
		}
		err = m.setDoc(held, store.Goals, g.Rev, g.ID, next)
		done()
		if !errors.Is(err, store.ErrConflict) {
			return next, err
		}
	}
}

func (m *Master) changeGoal(ctx context.Context, slug, id string, p control.GoalPatch) (record.Goal, error) {
	return m.alter(ctx, slug, id, p.Author, func(g *record.Goal) error {
		if g.Deleted {
			return conflict("goal %s is deleted", bare(g.ID))
		}
		if p.Category != nil {
			g.Category = *p.Category
		}
		if p.Name != nil {
			g.Name = strings.Join(strings.Fields(*p.Name), " ")
		}
		if p.Cents != nil {
			g.Money.Cents = *p.Cents
		}
		if p.Links != nil {
			g.Links = *p.Links
		}
		switch {
		case p.Accomplished == nil:
		case !*p.Accomplished:
			g.Accomplished = time.Time{}
		case g.Accomplished.IsZero():
			g.Accomplished = record.Millis(m.cfg.Clock.Now())
		}
		return checkGoal(*g)
	})
}

func (m *Master) deleteGoal(ctx context.Context, slug, id, author string) error {
	_, err := m.alter(ctx, slug, id, author, func(g *record.Goal) error {
		g.Deleted = true
		return nil
	})
	return err
}

// plainID is an id of a list that can stand in an _id as it is.
var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// goalID is the _id that an entry of a list has, whenever it is imported. The ids of the donation-goal
// list's API are its own everywhere; those of other lists are of their channel.
func goalID(slug, origin, format, channel string, e goals.Entry) string {
	if format == goals.FormatJSON && plainID.MatchString(e.ID) {
		return slug + "/" + e.ID
	}
	return slug + "/g" + record.Hash(origin, channel, e.Key) // with a letter first, to be no flag of a command
}

func (m *Master) importGoals(ctx context.Context, in *importGoalsInput) (control.GoalsImported, error) {
	out := control.GoalsImported{Problems: []control.ImportLine{}, DryRun: in.DryRun}
	e, err := m.event(ctx, in.Slug)
	if err == nil {
		err = openForMoney(e)
	}
	if err != nil {
		return out, err
	}
	author, err := person(in.Author)
	if err != nil {
		return out, err
	}
	n, err := m.roster(ctx, in.Slug)
	if err != nil {
		return out, err
	}
	whose := ""
	if in.Channel != "" {
		if whose, err = n.id(in.Channel); err != nil {
			return out, err
		}
	}
	entries, problems := goals.Read(in.RawBody, in.Format, e.Currency)
	for _, p := range problems {
		out.Problems = append(out.Problems, control.ImportLine{Line: p.Line, Value: p.Value, Message: p.Message})
	}
	format := cmp.Or(in.Format, goals.Format(in.RawBody))
	wanted, scope := m.wantedGoals(e, n, whose, cmp.Or(in.Origin, format), format, entries, &out)
	if len(out.Problems) > 0 {
		return out, nil
	}
	have, err := totals.Goals(ctx, m.cfg.Store, in.Slug)
	if err != nil {
		return out, err
	}
	if len(have)+len(wanted) > maxGoals {
		return out, conflict("event %s would have more than %d goals, deleted ones among them", in.Slug, maxGoals)
	}
	docs := m.compareGoals(have, wanted, scope, cmp.Or(in.Origin, format), author, in.Replace, &out)
	if in.DryRun {
		return out, nil
	}
	for chunk := range slices.Chunk(docs, heldGoals) {
		if err := m.writeGoals(ctx, in.Slug, chunk); err != nil {
			return out, err
		}
	}
	m.log.Info("goals imported", "event", in.Slug, "author", author, "added", out.Added, "changed", out.Changed, "deleted", out.Deleted)
	return out, nil
}

// writeGoals writes some of the goals of a list.
func (m *Master) writeGoals(ctx context.Context, slug string, docs []record.Goal) error {
	ctx, done, err := m.holdForMoney(ctx, slug)
	if err != nil {
		return err
	}
	defer done()
	for _, g := range docs {
		if err := m.setDoc(ctx, store.Goals, g.Rev-1, g.ID, g); err != nil {
			if errors.Is(err, store.ErrConflict) {
				err = conflict("goal %s was changed meanwhile: import the list again, what is done already stays", bare(g.ID))
			}
			return err
		}
	}
	return nil
}

// wantedGoals are the goals that a list says, by _id, and the channels that it speaks of.
func (m *Master) wantedGoals(
	e record.Event, n roster, whose, origin, format string, entries []goals.Entry, out *control.GoalsImported,
) (wanted map[string]record.Goal, scope map[string]bool) {
	wanted, scope = map[string]record.Goal{}, map[string]bool{}
	if whose != "" {
		scope[whose] = true
	}
	now := record.Millis(m.cfg.Clock.Now())
	for _, x := range entries {
		channel := whose
		if x.Channel != "" && (whose == "" || x.Channel == record.AllChannels && x.Category != record.GoalGlobal) {
			id, err := n.id(x.Channel)
			if err != nil {
				message := err.Error()
				if v := (*valueError)(nil); errors.As(err, &v) {
					message = v.msg
				}
				out.Problems = append(out.Problems, control.ImportLine{Line: x.Line, Value: x.Name, Message: message})
				continue
			}
			channel = id
		}
		if channel == "" {
			out.Problems = append(out.Problems, control.ImportLine{
				Line: x.Line, Value: x.Name, Message: "whose goal is it? Name the channel with --channel, or --global for the event",
			})
			continue
		}
		id := goalID(e.Slug, origin, format, channel, x)
		if _, twice := wanted[id]; twice {
			out.Problems = append(out.Problems, control.ImportLine{Line: x.Line, Value: cmp.Or(x.ID, x.Name), Message: "is in the list twice"})
			continue
		}
		scope[channel] = true
		g := record.Goal{
			ID: id, Rev: 1, Event: e.Slug, Channel: channel, Category: x.Category, Name: x.Name, Money: x.Money, Links: x.Links,
			Origin: origin, Created: now,
		}
		if x.Accomplished {
			g.Accomplished = now
		}
		wanted[id] = g
	}
	return wanted, scope
}

// compareGoals says what an import writes, in the order of ids.
func (m *Master) compareGoals(
	have []record.Goal, wanted map[string]record.Goal, scope map[string]bool, origin, author string, replace bool, out *control.GoalsImported,
) []record.Goal {
	now := m.cfg.Clock.Now()
	var docs []record.Goal
	seen := map[string]bool{}
	for _, g := range have {
		next, ok := wanted[g.ID]
		switch {
		case ok:
			seen[g.ID] = true
			next.Created, next.Deleted = g.Created, false
			if next.Accomplished.IsZero() || !g.Accomplished.IsZero() {
				next.Accomplished = g.Accomplished // a list does not take back what a person said
			}
		case replace && !g.Deleted && g.Origin == origin && scope[g.Channel]:
			next = g
			next.Deleted = true
		default:
			continue
		}
		next, changed := edited(g, next, author, now)
		switch {
		case !changed:
			out.Unchanged++
			continue
		case ok:
			out.Changed++
		default:
			out.Deleted++
		}
		docs = append(docs, next)
	}
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		if !seen[id] {
			g := wanted[id]
			g.History = []record.GoalChange{{Time: g.Created, Author: author, Field: "created", To: origin}}
			out.Added++
			docs = append(docs, g)
		}
	}
	return docs
}
