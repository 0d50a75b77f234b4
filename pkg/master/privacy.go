package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Nothing in this file logs a login, an id, or an error that could hold one.

const (
	// privacyInterval is the time between two looks whether what lies beside the keys and what the
	// store says agree.
	privacyInterval = time.Minute
	// erasePatience is how long an erasure may take before somebody is told.
	erasePatience = time.Hour
)

// excluded are the pseudonyms of those of whom an event records nothing, sorted: by id and by name,
// of all who opted out and of those whom the event has forgotten. A channel of the event whose
// streamer opted out stays: as an author of messages the streamer is excluded.
func (m *Master) excluded(ctx context.Context, event string) ([]string, error) {
	key, err := m.cfg.Keys.Key(ctx, event)
	if err != nil {
		return nil, err
	}
	optedOut, err := m.optedOut(ctx)
	if err != nil {
		return nil, err
	}
	tombstones, err := m.tombstones(ctx, event)
	if err != nil {
		return nil, err
	}
	// Without the public list: with it the name of a channel would be its login, which must stay.
	names, err := record.NewPseudonyms(key, nil)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", event, err)
	}
	list := make([]string, 0, 3*len(optedOut)+2*len(tombstones))
	for _, p := range optedOut {
		list = append(list, names.User(p.ID), names.Name(p.Login), names.Name(p.Name))
		if p.Login != "" {
			// What a channel of the event is as an author where Twitch gives no id.
			list = append(list, names.User("login:"+p.Login))
		}
	}
	for _, t := range tombstones {
		list = append(list, t.User, t.Name)
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(s string) bool { return s == "" }), nil
}

// exclusion changes when what excluded returns does. It needs no key.
func (m *Master) exclusion(ctx context.Context, event string) (string, error) {
	optedOut, err := m.optedOut(ctx)
	if err != nil {
		return "", err
	}
	tombstones, err := m.tombstones(ctx, event)
	if err != nil {
		return "", err
	}
	parts := make([]string, 0, 3*len(optedOut)+2*len(tombstones))
	for _, p := range optedOut {
		parts = append(parts, p.ID, p.Login, p.Name)
	}
	for _, t := range tombstones {
		parts = append(parts, t.User, t.Name)
	}
	return record.Hash(parts...), nil
}

func (m *Master) tombstones(ctx context.Context, event string) ([]record.Tombstone, error) {
	return find[record.Tombstone](ctx, m.cfg.Store, store.Query{Collection: store.Tombstones, Event: event})
}

// optedOut is the opt-out list, read anew. When it can't be read the last good one stands, and
// checkOptOut tells; a master that never had a good one deals nothing rather than too much.
func (m *Master) optedOut(ctx context.Context) ([]control.Person, error) {
	list, err := m.cfg.Keys.OptOut(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.optOut = list
	}
	if m.optOut == nil {
		return nil, err
	}
	return m.optOut, nil
}

func (m *Master) checkOptOut(ctx context.Context) {
	var list []control.Condition
	if _, err := m.cfg.Keys.OptOut(ctx); err != nil && ctx.Err() == nil {
		list = append(list, control.Condition{
			Name:   "optout-unreadable",
			Detail: "The opt-out list can't be read; the last good one stays in force, if there was one: " + err.Error() + ".",
		})
	}
	m.raise("optout", list)
}

// maxDonorBytes bounds how a donor can be named.
const maxDonorBytes = 512

// found is what became of looking up people.
type found struct {
	people []control.Person
	// donors are people who are known by what a charity source says of them.
	donors []string
	// incomplete are those of people who lack an id or a login, detail says why in words.
	incomplete []control.Person
	detail     string
	// asked says that Twitch answered.
	asked bool
}

// lookUp finds the ids of logins and the logins of ids. Its error is about the words.
func (m *Master) lookUp(ctx context.Context, words []string) (found, error) {
	var out found
	for _, w := range words {
		p, err := parsePerson(w)
		if err != nil {
			return out, err
		}
		if !slices.Contains(out.people, p) {
			out.people = append(out.people, p)
		}
	}
	out.asked = true
	for chunk := range slices.Chunk(out.people, resolveChunk) {
		if err := m.complete(ctx, chunk); err != nil {
			out.asked, out.detail = false, err.Error()
			break
		}
	}
	for _, p := range out.people {
		if p.ID == "" || p.Login == "" {
			out.incomplete = append(out.incomplete, p)
		}
	}
	if len(out.incomplete) > 0 && out.detail == "" {
		out.detail = "Twitch knows no such account now: it was renamed, deleted or suspended, or there is a typing error"
	}
	return out, nil
}

// complete fills in what Twitch knows of those who lack an id or a login.
func (m *Master) complete(ctx context.Context, people []control.Person) error {
	var ids, logins []string
	for _, p := range people {
		switch {
		case p.ID == "":
			logins = append(logins, p.Login)
		case p.Login == "":
			ids = append(ids, p.ID)
		}
	}
	if len(ids)+len(logins) == 0 {
		return nil
	}
	users, err := m.users(ctx, ids, logins)
	if err != nil {
		return err
	}
	for i, p := range people {
		for _, u := range users {
			if (p.ID == "" && strings.EqualFold(p.Login, u.Login)) || (p.Login == "" && p.ID == u.ID) {
				people[i] = personOf(u)
			}
		}
	}
	return nil
}

func personOf(u User) control.Person {
	p := control.Person{ID: u.ID, Login: strings.ToLower(u.Login)}
	// Names in other scripts are other words; they have no blanks.
	if !strings.EqualFold(u.Name, u.Login) && !strings.ContainsAny(u.Name, " \t\r\n#") {
		p.Name = u.Name
	}
	return p
}

// parsePerson reads an id, a login, or both as ID:LOGIN.
func parsePerson(word string) (control.Person, error) {
	word = strings.TrimSpace(word)
	if idPattern.MatchString(word) {
		return control.Person{ID: word}, nil
	}
	id, rest, both := strings.Cut(word, ":")
	if both = both && idPattern.MatchString(id); both {
		word = rest
	} else {
		id = ""
	}
	login, problem := parseLogin(word)
	if problem != "" {
		return control.Person{}, badValue("body.persons", "%.80q: %s; an id is digits, and @ before a login of digits makes it one", word, problem)
	}
	return control.Person{ID: id, Login: login}, nil
}

// samePerson says that two entries are one person, as far as is known.
func samePerson(a, b control.Person) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return a.Login != "" && a.Login == b.Login
}

func (m *Master) listOptOut(ctx context.Context) ([]control.Person, error) {
	return m.cfg.Keys.OptOut(ctx) //nolint:wrapcheck // it names the file
}

func (m *Master) addOptOut(ctx context.Context, in control.NewOptOut) (control.OptOut, error) {
	out := control.OptOut{Changed: []control.Person{}, Unchanged: []control.Person{}, Incomplete: []control.Person{}}
	who, err := m.lookUp(ctx, in.Persons.Persons)
	if err != nil {
		return out, err
	}
	err = m.cfg.Keys.ChangeOptOut(ctx, func(list []control.Person) []control.Person {
		out.Changed, out.Unchanged = []control.Person{}, []control.Person{}
		for _, p := range who.people {
			i := slices.IndexFunc(list, func(o control.Person) bool { return samePerson(o, p) })
			switch {
			case i < 0:
				list = append(list, p)
				out.Changed = append(out.Changed, p)
			case merge(list[i], p) != list[i]:
				list[i] = merge(list[i], p)
				out.Changed = append(out.Changed, list[i])
			default:
				out.Unchanged = append(out.Unchanged, list[i])
			}
		}
		return list
	})
	if err != nil {
		return out, err
	}
	out.Incomplete, out.Detail = append(out.Incomplete, who.incomplete...), who.detail
	m.log.Info("the opt-out list was changed", "added", len(out.Changed), "incomplete", len(out.Incomplete))
	m.nudge(m.wake)
	if in.Forget {
		out.Forgotten, err = m.forget(ctx, who, "")
	}
	return out, err
}

// merge is what is known of a person after a look-up.
func merge(old, fresh control.Person) control.Person {
	out := control.Person{ID: cmp.Or(fresh.ID, old.ID), Login: cmp.Or(fresh.Login, old.Login), Name: fresh.Name}
	if fresh.ID == "" || fresh.Login == "" {
		out.Name = old.Name // nobody has asked
	}
	return out
}

func (m *Master) removeOptOut(ctx context.Context, in control.Persons) (control.OptOut, error) {
	out := control.OptOut{Changed: []control.Person{}, Unchanged: []control.Person{}, Incomplete: []control.Person{}}
	// A person may have another login by now, so the id counts where Twitch tells it.
	who, err := m.lookUp(ctx, in.Persons)
	if err != nil {
		return out, err
	}
	err = m.cfg.Keys.ChangeOptOut(ctx, func(list []control.Person) []control.Person {
		out.Changed, out.Unchanged = []control.Person{}, []control.Person{}
		for _, p := range who.people {
			had := len(list)
			list = slices.DeleteFunc(list, func(o control.Person) bool { return samePerson(o, p) })
			if len(list) < had {
				out.Changed = append(out.Changed, p)
			} else {
				out.Unchanged = append(out.Unchanged, p)
			}
		}
		return list
	})
	if err != nil {
		return out, err
	}
	m.log.Info("the opt-out list was changed", "removed", len(out.Changed))
	m.nudge(m.wake)
	return out, nil
}

// refreshOptOut looks up the people of the list: who has another login, and who was not known yet.
func (m *Master) refreshOptOut(ctx context.Context) error {
	if m.cfg.Resolver == nil {
		return nil
	}
	list, err := m.cfg.Keys.OptOut(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	var fresh []control.Person
	for chunk := range slices.Chunk(list, resolveChunk) {
		asked := slices.Clone(chunk)
		for i := range asked {
			if asked[i].ID != "" {
				asked[i].Login = ""
			}
		}
		if err := m.complete(ctx, asked); err != nil {
			return errors.New("Twitch could not be asked about those who opted out") //nolint:staticcheck // a name
		}
		fresh = append(fresh, asked...)
	}
	take := func(list []control.Person) []control.Person {
		for i, old := range list {
			for _, p := range fresh {
				if p.ID != "" && p.Login != "" && samePerson(old, p) {
					list[i] = merge(old, p)
				}
			}
		}
		return list
	}
	if slices.Equal(take(slices.Clone(list)), list) {
		return nil // nothing is to be written, and perhaps can't be
	}
	return m.cfg.Keys.ChangeOptOut(ctx, take) //nolint:wrapcheck // it names the file
}

// forgetPeople writes the tombstones of people, of one event or of all.
func (m *Master) forgetPeople(ctx context.Context, in control.NewForget) ([]control.Forgotten, error) {
	if (in.Event == "") != in.AllEvents {
		return nil, badValue("body.event", "name one event, or set all_events")
	}
	var donors []string
	for _, d := range in.Donors {
		if d = strings.TrimSpace(d); d == "" || len(d) > maxDonorBytes {
			return nil, badValue("body.donors", "a donor is 1 to %d bytes: SOURCE:ID, or the name that the source shows", maxDonorBytes)
		}
		donors = append(donors, d)
	}
	if len(in.Persons)+len(donors) == 0 {
		return nil, badValue("body.persons", "name somebody: persons, or donors")
	}
	who, err := m.lookUp(ctx, in.Persons)
	if err != nil {
		return nil, err
	}
	who.donors = donors
	if len(who.incomplete) > 0 && !who.asked {
		// Made here, so that nobody logs the detail, which may say whom.
		return nil, huma.Error503ServiceUnavailable("people can't be looked up: " + who.detail +
			"; try again, or give both as ID:LOGIN")
	}
	return m.forget(ctx, who, in.Event)
}

// forget writes the tombstones of people; an empty event is all events.
func (m *Master) forget(ctx context.Context, who found, event string) ([]control.Forgotten, error) {
	var events []record.Event
	if event != "" {
		e, err := m.event(ctx, event)
		if err != nil {
			return nil, err
		}
		if !e.KeyDestroyed.IsZero() {
			return nil, conflict("the pseudonym key of event %s was destroyed on %s: nobody can be found in it any more, so nobody can be erased, and need not be",
				event, stamp(e.KeyDestroyed))
		}
		events = []record.Event{e}
	} else {
		all, err := m.events(ctx)
		if err != nil {
			return nil, err
		}
		events = all
	}
	list := make([]control.Forgotten, 0, len(who.people)+len(who.donors))
	for _, p := range who.people {
		f := control.Forgotten{Person: p, Tombstones: []record.Tombstone{}}
		switch {
		case p.ID == "":
			f.Warnings = append(f.Warnings, "The Twitch id is not known, so what the person wrote can't be found, only where the login is named. Who knows the id can give both: ID:"+p.Login+".")
		case p.Login == "":
			f.Warnings = append(f.Warnings, "The login is not known, so where others name the person can't be found. Who knows the login can give both: "+p.ID+":LOGIN.")
		}
		list = append(list, f)
	}
	for _, d := range who.donors {
		list = append(list, control.Forgotten{Donor: d, Tombstones: []record.Tombstone{}})
	}
	for _, e := range events {
		if !e.KeyDestroyed.IsZero() {
			for i := range list {
				list[i].Skipped = append(list[i].Skipped, e.Slug)
			}
			continue
		}
		if err := m.forgetIn(ctx, e.Slug, list); err != nil {
			return nil, err
		}
		m.log.Info("people are to be forgotten", "event", e.Slug, "people", len(list))
	}
	m.nudge(m.wake)
	return list, nil
}

// forgetIn writes the tombstones of one event and adds them to the list.
func (m *Master) forgetIn(ctx context.Context, event string, list []control.Forgotten) error {
	key, err := m.cfg.Keys.Key(ctx, event)
	if err != nil {
		return err //nolint:wrapcheck // it names event and file
	}
	names, err := record.NewPseudonyms(key, nil)
	if err != nil {
		return fmt.Errorf("event %s: %w", event, err)
	}
	now := record.Millis(m.cfg.Clock.Now())
	var saved []Pseudonym
	for i := range list {
		who := pseudonymsOf(names, list[i].Person)
		if d := list[i].Donor; d != "" {
			who = []Pseudonym{{User: names.User(d), Name: names.Name(d)}}
		}
		for _, p := range who {
			p.Asked = now
			t, err := m.bury(ctx, event, p, true)
			if err != nil {
				return err
			}
			list[i].Tombstones = append(list[i].Tombstones, t)
			saved = append(saved, Pseudonym{User: t.User, Name: t.Name, Asked: now})
			if p.Name != "" && t.Name != p.Name {
				// Forgotten once under another login: this one gets a tombstone of its own.
				p.User = p.Name
				if t, err = m.bury(ctx, event, p, true); err != nil {
					return err
				}
				list[i].Tombstones = append(list[i].Tombstones, t)
				saved = append(saved, p)
			}
		}
	}
	if err := m.cfg.Keys.AddForgotten(ctx, event, saved); err != nil {
		// The erasing goes on all the same; keepTombstones tries again and raises a condition.
		for i := range list {
			list[i].Warnings = append(list[i].Warnings, "After a restore of the database nobody would know of this: "+err.Error()+".")
		}
	}
	return nil
}

// pseudonymsOf are a person's tombstones. One whose id is not known is found by name alone, and has
// it in the place of both. The display name has one of its own where it is another word, because
// mentions are made with it. And the login has one as what a streamer of the event is, or becomes,
// where Twitch gives no id: in deleted messages.
func pseudonymsOf(names *record.Pseudonyms, p control.Person) []Pseudonym {
	list := []Pseudonym{{User: cmp.Or(names.User(p.ID), names.Name(p.Login)), Name: names.Name(p.Login)}}
	if p.Login != "" {
		streamer := names.User("login:" + p.Login)
		list = append(list, Pseudonym{User: streamer, Name: streamer})
	}
	if p.Name != "" {
		list = append(list, Pseudonym{User: names.Name(p.Name), Name: names.Name(p.Name)})
	}
	return list
}

// veiled is an error about a tombstone. What caused it may name its id, which is a pseudonym, and so
// is not in the text.
type veiled struct {
	event string
	cause error
}

func (e *veiled) Error() string {
	why := "the store refuses it"
	switch {
	case errors.Is(e.cause, context.DeadlineExceeded):
		why = "the store does not answer in time"
	case errors.Is(e.cause, context.Canceled):
		why = "interrupted"
	}
	return fmt.Sprintf("a tombstone of event %s can't be read or written: %s; see its log", e.event, why)
}

func (e *veiled) Unwrap() error { return e.cause }

// bury writes a tombstone that is not there yet. One that is done becomes pending again when asked
// to.
func (m *Master) bury(ctx context.Context, event string, p Pseudonym, again bool) (record.Tombstone, error) {
	id := event + "/" + p.User
	for {
		var t record.Tombstone
		raw, err := m.cfg.Store.Get(ctx, store.Tombstones, id)
		switch {
		case err == nil:
			if err := bson.Unmarshal(raw, &t); err != nil {
				return t, &veiled{event, err}
			}
		case !errors.Is(err, store.ErrNotFound):
			return t, &veiled{event, err}
		}
		next := t
		switch {
		case t.Rev == 0:
			next = record.Tombstone{ID: id, Event: event, Time: p.Asked, User: p.User, Name: p.Name, State: record.TombstonePending}
		case t.Name == "" && p.Name != "":
			// The login is known now.
			next.Name, next.State, next.Time = p.Name, record.TombstonePending, p.Asked
		case again && t.State == record.TombstoneDone:
			next.State, next.Time = record.TombstonePending, p.Asked
		default:
			return t, nil
		}
		next.Rev = t.Rev + 1
		if next.State == record.TombstonePending {
			next.Finished, next.Remains = time.Time{}, ""
		}
		err = m.setDoc(ctx, store.Tombstones, t.Rev, id, next)
		switch {
		case errors.Is(err, store.ErrConflict):
		case err != nil:
			return t, &veiled{event, err}
		default:
			return next, nil
		}
	}
}

// forgetAgain has everybody erased once more whom an event has forgotten, for a database that came back
// from a backup with tombstones that say done, and records from before.
func (m *Master) forgetAgain(ctx context.Context, event string) (control.ForgottenAgain, error) {
	out := control.ForgottenAgain{Event: event}
	if _, err := m.event(ctx, event); err != nil {
		return out, err
	}
	if err := m.keepTombstonesOf(ctx, event); err != nil {
		return out, err
	}
	stones, err := m.tombstones(ctx, event)
	if err != nil {
		return out, err
	}
	now := record.Millis(m.cfg.Clock.Now())
	for _, t := range stones {
		if _, err := m.bury(ctx, event, Pseudonym{User: t.User, Name: t.Name, Asked: now}, true); err != nil {
			return out, err
		}
		out.Tombstones++
	}
	m.log.Info("everybody who was forgotten is to be forgotten again", "event", event, "tombstones", out.Tombstones)
	m.nudge(m.wake)
	return out, nil
}

// keepPrivacy does what a leader owes to people and to frozen events, until the term ends.
func (m *Master) keepPrivacy(ctx context.Context) error {
	ticker := time.NewTicker(m.cfg.MemberInterval)
	defer ticker.Stop()
	var tombstones, optOut time.Time
	var kept, refreshed []control.Condition
	for {
		now := time.Now()
		if tombstones.IsZero() || now.Sub(tombstones) >= privacyInterval {
			tombstones, kept = now, m.keepTombstones(ctx)
		}
		if optOut.IsZero() || now.Sub(optOut) >= m.cfg.ResolveInterval {
			optOut, refreshed = now, nil
			if err := m.refreshOptOut(ctx); err != nil {
				refreshed = failingCondition("optout-stale", err, "Renames of those who opted out go unnoticed; it is tried again.")
			}
		}
		signed := m.keepManifests(ctx)
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
		m.raise("privacy", slices.Concat(kept, refreshed, signed))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the end of the term
		}
	}
}

// keepTombstones brings the tombstones in the store and those beside the keys together: a database
// that was restored from a backup is told again whom it has forgotten. And it destroys keys once
// more that came back the same way.
func (m *Master) keepTombstones(ctx context.Context) []control.Condition {
	ctx, cancel := context.WithTimeout(ctx, privacyInterval/2)
	defer cancel()
	events, err := m.events(ctx)
	if err != nil {
		return failingCondition("tombstones-unchecked", err, "Whether everybody who was forgotten stays so can't be checked.")
	}
	var list []control.Condition
	for _, e := range events {
		if err := m.keepTombstonesOf(ctx, e.Slug); err != nil {
			list = append(list, control.Condition{
				Name: "tombstones-unsaved", Subject: e.Slug,
				Detail: "The tombstones in the store and those beside the keys can't be brought together: " + err.Error() + ".",
			})
		}
		waiting, err := m.tombstones(ctx, e.Slug)
		if err != nil {
			continue // said above
		}
		late := 0
		for _, t := range waiting {
			if t.State == record.TombstonePending && m.cfg.Clock.Now().Sub(t.Time) > erasePatience {
				late++
			}
		}
		if late > 0 {
			list = append(list, control.Condition{
				Name: "forget-waiting", Subject: e.Slug,
				Detail: fmt.Sprintf("%d people were to be forgotten more than %v ago and are not yet. Does a consumer run?", late, erasePatience),
			})
		}
		if e.KeyDestroyed.IsZero() {
			continue
		}
		if err := m.cfg.Keys.Destroy(ctx, e.Slug); err != nil {
			list = append(list, control.Condition{Name: "key-not-destroyed", Subject: e.Slug, Detail: "The event's key was to be destroyed: " + err.Error() + "."})
		}
	}
	return list
}

func (m *Master) keepTombstonesOf(ctx context.Context, event string) error {
	saved, err := m.cfg.Keys.Forgotten(ctx, event)
	if err != nil {
		return err //nolint:wrapcheck // it names event and file
	}
	stored, err := m.tombstones(ctx, event)
	if err != nil {
		return err
	}
	written := make(map[Pseudonym]bool, len(stored))
	revs := make(map[string]int64, len(stored))
	for _, t := range stored {
		written[Pseudonym{User: t.User, Name: t.Name}] = true
		revs[t.ID] = t.Rev
	}
	missing := 0
	for _, p := range saved {
		if key := (Pseudonym{User: p.User, Name: p.Name}); written[key] {
			delete(written, key)
			continue
		}
		t, err := m.bury(ctx, event, p, false)
		if err == nil && p.Name != "" && t.Name != p.Name {
			// It has another name in the store: this one has a tombstone of its own.
			t, err = m.bury(ctx, event, Pseudonym{User: p.Name, Name: p.Name, Asked: p.Asked}, false)
		}
		if err != nil {
			return err
		}
		if t.Rev != revs[t.ID] {
			revs[t.ID] = t.Rev
			missing++
		}
	}
	if missing > 0 {
		m.log.Warn("tombstones were missing in the store, as after a restore: they are written again", "event", event, "people", missing)
		m.nudge(m.wake)
	}
	if len(written) == 0 {
		return nil
	}
	add := make([]Pseudonym, 0, len(written))
	for _, t := range stored {
		if written[Pseudonym{User: t.User, Name: t.Name}] {
			add = append(add, Pseudonym{User: t.User, Name: t.Name, Asked: t.Time})
		}
	}
	return m.cfg.Keys.AddForgotten(ctx, event, add) //nolint:wrapcheck // it names event and file
}

// destroyKey makes it impossible for good to find a person in an event. The event is marked first:
// from then on nobody starts it, and what a crash leaves keepTombstones finishes.
func (m *Master) destroyKey(ctx context.Context, slug string) (control.KeyDestroyed, error) {
	out := control.KeyDestroyed{Event: slug, Remaining: []string{
		"Backups of the key directory hold the key until they are deleted.",
	}}
	e, err := m.changeEvent(ctx, slug, func(e record.Event) (record.Event, error) {
		if out.Before = !e.KeyDestroyed.IsZero(); out.Before {
			return e, nil
		}
		if e.State != record.EventEnded && e.State != record.EventFrozen {
			return e, conflict("event %s is %s: only the key of an ended or frozen event can be destroyed", slug, e.State)
		}
		if collected(e, m.cfg.Clock.Now(), m.cfg.LeadTime, m.cfg.EndGrace) {
			return e, conflict("event %s is still collected until %s: its key is needed until then", slug, stamp(e.End.Add(max(m.cfg.EndGrace, 0))))
		}
		e.KeyDestroyed = record.Millis(m.cfg.Clock.Now())
		return e, nil
	})
	if err != nil {
		return out, err
	}
	out.Destroyed = e.KeyDestroyed
	if err := m.cfg.Keys.Destroy(ctx, slug); err != nil {
		return out, fmt.Errorf("%w; the event is marked, and it is tried again every minute", err)
	}
	m.log.Info("pseudonym key destroyed", "event", slug)
	holders, err := m.holders(ctx, slug)
	if err != nil {
		return out, err
	}
	out.Remaining = append(out.Remaining, holders...)
	return out, nil
}

// holders are the collectors that may have an event's key in the file of their assignment.
func (m *Master) holders(ctx context.Context, slug string) ([]string, error) {
	collectors, err := m.listCollectors(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := m.assignments(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, c := range collectors {
		has := slices.ContainsFunc(docs, func(a control.Assignment) bool {
			return a.Collector == c.Name && slices.ContainsFunc(a.Events, func(e control.AssignedEvent) bool { return e.Slug == slug })
		})
		if has || !c.Current {
			list = append(list, fmt.Sprintf("Collector %s (%s) has not taken the assignment without the event yet: its file assignment.json may hold the key until it does, or is deleted.", c.Name, c.State))
		}
	}
	return list, nil
}

func (m *Master) privacyRoutes() {
	get, post := http.MethodGet, http.MethodPost
	type none struct{}

	serve(m, operation("list-optout", get, "/v1/optout", "List those who opted out", roleOperator),
		func(ctx context.Context, _ *none) ([]control.Person, error) { return m.listOptOut(ctx) })
	serve(m, operation("add-optout", post, "/v1/optout", "Put people on the opt-out list: no event records anything of them", roleOperator),
		func(ctx context.Context, in *struct{ Body control.NewOptOut }) (control.OptOut, error) {
			return m.addOptOut(ctx, in.Body)
		})
	serve(m, operation("remove-optout", post, "/v1/optout/remove", "Take people out of the opt-out list", roleOperator),
		func(ctx context.Context, in *struct{ Body control.Persons }) (control.OptOut, error) {
			return m.removeOptOut(ctx, in.Body)
		})
	serve(m, operation("forget", post, "/v1/forget", "Erase people, of one event or of all", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct{ Body control.NewForget }) ([]control.Forgotten, error) {
			return m.forgetPeople(ctx, in.Body)
		})
	serve(m, operation("forget-again", post, "/v1/events/{slug}/forget-again", "Erase once more, after a restore, everybody whom an event has forgotten", roleOperator, http.StatusNotFound),
		func(ctx context.Context, in *slugInput) (control.ForgottenAgain, error) {
			return m.forgetAgain(ctx, in.Slug)
		})
	serve(m, operation("list-tombstones", get, "/v1/events/{slug}/tombstones", "List whom an event has forgotten, by pseudonyms", roleOperator, http.StatusNotFound),
		func(ctx context.Context, in *slugInput) ([]record.Tombstone, error) {
			if _, err := m.event(ctx, in.Slug); err != nil {
				return nil, err
			}
			return m.tombstones(ctx, in.Slug)
		})
	serve(m, operation("destroy-key", post, "/v1/events/{slug}/destroy-key", "Destroy the pseudonym key of an event that is over, for good", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *slugInput) (control.KeyDestroyed, error) {
			return m.destroyKey(ctx, in.Slug)
		})
	serve(m, operation("freeze-event", post, "/v1/events/{slug}/freeze", "Freeze an event that is over: nothing of it changes any more", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *freezeInput) (record.Manifest, error) {
			return m.freeze(ctx, in.Slug, in.Body)
		})
	huma.Register(m.api, operation("cancel-freeze", http.MethodDelete, "/v1/events/{slug}/freeze", "Take back the wish to freeze an event, while it waits", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *slugInput) (*struct{}, error) {
			return nil, m.problem(m.cancelFreeze(ctx, in.Slug))
		})
	serve(m, operation("get-manifest", get, "/v1/events/{slug}/manifest", "Read the manifest of an event that is frozen or being frozen", roleOperator, http.StatusNotFound),
		func(ctx context.Context, in *slugInput) (record.Manifest, error) {
			return m.manifest(ctx, in.Slug)
		})
}
