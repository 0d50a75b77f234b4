package master_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/local"
)

// withVault gives the world a key directory that the test can look into.
func (w *world) withVault(dir string) {
	w.t.Helper()
	keys, err := master.NewFileKeys(dir)
	w.must(err)
	w.keys = keys
}

func (w *world) pseudonyms(event string) *record.Pseudonyms {
	w.t.Helper()
	key, err := w.keys.Key(w.ctx, event)
	w.must(err)
	p, err := record.NewPseudonyms(key, nil)
	w.must(err)
	return p
}

func persons(list ...string) control.Persons { return control.Persons{Persons: list} }

func (w *world) excludedAt(collector, event string) []string {
	for _, e := range w.collectors[collector].assignment().Events {
		if e.Slug == event {
			return e.Excluded
		}
	}
	return nil
}

// privacyConditions leaves out that no rollup runs here.
func (w *world) privacyConditions() string {
	w.t.Helper()
	list := strings.Split(w.conditions(), ", ")
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, "rollup-") }), ", ")
}

func sorted(list ...string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// all are the pseudonyms under which a person with id and login is left out.
func all(p *record.Pseudonyms, id, login string) []string {
	return []string{p.User(id), p.Name(login), p.User("login:" + login)}
}

func TestOptOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.twitch.users["77"] = master.User{ID: "77", Login: "hana", Name: "はな"}
		w.startMaster("m1")
		w.live("one", 2, 1)
		w.live("two", 1, 1)
		w.startCollector("c0", "n0", 50)
		w.sleep(10 * time.Second)
		if got := w.excludedAt("c0", "one"); len(got) != 0 {
			t.Errorf("somebody is left out before anybody asked: %v", got)
		}

		r, err := w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("@Login5", "1006", "nobody_there", "99:gone", "hana")})
		w.must(err)
		if len(r.Changed) != 5 || len(r.Unchanged) != 0 || !slices.Equal(r.Incomplete, []control.Person{{Login: "nobody_there"}}) ||
			!strings.Contains(r.Detail, "Twitch knows no such account now") {
			t.Errorf("added %+v", r)
		}
		want := []control.Person{
			{ID: "1005", Login: "login5"},
			{ID: "1006", Login: "login6"},
			{Login: "nobody_there"},
			{ID: "99", Login: "gone"},
			{ID: "77", Login: "hana", Name: "はな"},
		}
		list, err := w.op.OptOutList(w.ctx)
		w.must(err)
		if !slices.Equal(list, want) {
			t.Errorf("the list is %v", list)
		}
		info, err := os.Stat(filepath.Join(dir, "optout"))
		w.must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the list has mode %v", info.Mode())
		}

		// A heartbeat or two later the collector knows, of both events.
		w.sleep(3 * time.Second)
		for _, event := range []string{"one", "two"} {
			p := w.pseudonyms(event)
			want := sorted(slices.Concat(all(p, "1005", "login5"), all(p, "1006", "login6"),
				[]string{p.Name("nobody_there"), p.User("login:nobody_there"), p.Name("はな")},
				all(p, "99", "gone"), all(p, "77", "hana"))...)
			if got := w.excludedAt("c0", event); !slices.Equal(got, want) {
				t.Errorf("%s leaves out %v, want %v", event, got, want)
			}
		}

		// A streamer opts out as a chatter: the channel stays.
		_, err = w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("login0")})
		w.must(err)
		w.sleep(3 * time.Second)
		got := w.excludedAt("c0", "one")
		if !slices.Contains(got, w.pseudonyms("one").User("1000")) || slices.Contains(got, "login0") || slices.Contains(got, "1000") {
			t.Errorf("a streamer who opted out: %v", got)
		}
		if n := len(w.collectors["c0"].joined()); n != 2 {
			t.Errorf("%d channels are read", n)
		}

		// The same again changes nothing; what Twitch tells later is taken in.
		w.twitch.set(func(f *twitch) {
			f.users["4711"] = master.User{ID: "4711", Login: "nobody_there", Name: "Nobody_There"}
			f.users["1005"] = master.User{ID: "1005", Login: "other5", Name: "other5"}
		})
		r, err = w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("login6")})
		w.must(err)
		if len(r.Changed) != 0 || len(r.Unchanged) != 1 {
			t.Errorf("added again: %+v", r)
		}
		w.sleep(11 * time.Minute)
		list, err = w.op.OptOutList(w.ctx)
		w.must(err)
		if list[0] != (control.Person{ID: "1005", Login: "other5"}) || list[2] != (control.Person{ID: "4711", Login: "nobody_there"}) {
			t.Errorf("after the look-up: %v", list)
		}

		// Out by the old login's id, by a login, and one who is not there.
		r, err = w.op.RemoveOptOut(w.ctx, []string{"1005", "login6", "login200"})
		w.must(err)
		if len(r.Changed) != 2 || len(r.Unchanged) != 1 || r.Unchanged[0].Login != "login200" {
			t.Errorf("removed %+v", r)
		}
		w.sleep(3 * time.Second)
		if slices.Contains(w.excludedAt("c0", "one"), w.pseudonyms("one").User("1006")) {
			t.Error("who was taken out is still left out")
		}

		// Without Twitch it is kept by what is known.
		w.twitch.set(func(f *twitch) { f.down = true })
		r, err = w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("login8")})
		w.must(err)
		if len(r.Incomplete) != 1 || !strings.Contains(r.Detail, "503 from Helix") {
			t.Errorf("without Twitch: %+v", r)
		}

		// A list that somebody broke: the last good one stands.
		w.sleep(3 * time.Second)
		w.must(os.WriteFile(filepath.Join(dir, "optout"), []byte("12x34 somebody\n"), 0o600))
		w.sleep(5 * time.Second)
		if got := w.conditions(); !strings.Contains(got, "optout-unreadable") {
			t.Errorf("conditions: %s", got)
		}
		if got := w.excludedAt("c0", "one"); !slices.Contains(got, w.pseudonyms("one").Name("login8")) {
			t.Errorf("with a broken list: %v", got)
		}
		if _, err := w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("1009:login9")}); err == nil || !strings.Contains(err.Error(), "line 1: the first word is no Twitch id") ||
			strings.Contains(err.Error(), "somebody") {
			t.Errorf("added to a broken list: %v", err)
		}
		if _, err := w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("not a login")}); err == nil || !strings.Contains(err.Error(), "not a login") {
			t.Errorf("added nonsense: %v", err)
		}
	})
}

func TestForget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.startMaster("m1")
		w.live("one", 1, 1)
		w.live("two", 1, 1)
		w.startCollector("c0", "n0", 50)
		w.sleep(10 * time.Second)
		one, two := w.pseudonyms("one"), w.pseudonyms("two")

		list, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"login5"}, Event: "one"})
		w.must(err)
		if len(list) != 1 || len(list[0].Tombstones) != 2 || len(list[0].Warnings) != 0 {
			t.Fatalf("forgotten: %+v", list)
		}
		stone := list[0].Tombstones[0]
		if stone.ID != "one/"+one.User("1005") || stone.User != one.User("1005") || stone.Name != one.Name("login5") ||
			stone.State != record.TombstonePending || stone.Event != "one" || stone.Rev != 1 {
			t.Errorf("the tombstone is %+v", stone)
		}
		if s := list[0].Tombstones[1]; s.User != one.User("login:login5") || s.Name != s.User {
			t.Errorf("a streamer's deleted messages: %+v", s)
		}
		w.sleep(3 * time.Second)
		if got := w.excludedAt("c0", "one"); !slices.Equal(got, sorted(one.User("1005"), one.Name("login5"), one.User("login:login5"))) {
			t.Errorf("one leaves out %v", got)
		}
		if got := w.excludedAt("c0", "two"); len(got) != 0 {
			t.Errorf("two leaves out %v", got)
		}
		b, err := os.ReadFile(filepath.Join(dir, "one.tombstones"))
		w.must(err)
		if !strings.Contains(string(b), one.User("1005")+" "+one.Name("login5")) || strings.Contains(string(b), "login5") {
			t.Errorf("beside the keys: %s", b)
		}

		// Asking again changes nothing while it is pending, and begins anew when it was done.
		again := func() record.Tombstone {
			t.Helper()
			list, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"1005"}, Event: "one"})
			w.must(err)
			return list[0].Tombstones[0]
		}
		if got := again(); !reflect.DeepEqual(got, stone) {
			t.Errorf("asked again: %+v", got)
		}
		stone.State, stone.Records, stone.Finished, stone.Remains = record.TombstoneDone, 7, stone.Time, "a sketch"
		stone.Rev = 2
		w.put(store.Tombstones, 1, stone.ID, stone)
		if got := again(); got.State != record.TombstonePending || got.Rev != 3 || !got.Finished.IsZero() || got.Remains != "" {
			t.Errorf("asked again when it was done: %+v", got)
		}

		// Another login later: both names are left out.
		w.twitch.set(func(f *twitch) { f.users["1005"] = master.User{ID: "1005", Login: "fresh5", Name: "五"} })
		list, err = w.op.Forget(w.ctx, control.NewForget{Persons: []string{"fresh5"}, AllEvents: true})
		w.must(err)
		stones, err := w.op.Tombstones(w.ctx, "one")
		w.must(err)
		var users []string
		for _, s := range stones {
			users = append(users, s.User)
		}
		if slices.Sort(users); !slices.Equal(users, sorted(one.User("1005"), one.User("login:login5"), one.Name("fresh5"),
			one.User("login:fresh5"), one.Name("五"))) || len(list[0].Tombstones) != 7 {
			t.Errorf("after a rename: %+v, stored %+v", list, stones)
		}

		// One whom Twitch doesn't know is found by name only, and that is said.
		list, err = w.op.Forget(w.ctx, control.NewForget{Persons: []string{"gone"}, Event: "two"})
		w.must(err)
		if s := list[0].Tombstones[0]; s.User != two.Name("gone") || s.Name != two.Name("gone") || len(list[0].Warnings) != 1 {
			t.Errorf("an unknown login: %+v", list)
		}

		// A database that was restored from a backup is told again.
		n, err := w.store.Delete(w.ctx, store.Query{Collection: store.Tombstones})
		w.must(err)
		if n == 0 {
			t.Fatal("no tombstones were stored")
		}
		w.sleep(61 * time.Second)
		back, err := w.op.Tombstones(w.ctx, "one")
		w.must(err)
		for _, s := range back {
			if s.State != record.TombstonePending {
				t.Errorf("came back as %+v", s)
			}
		}
		if len(back) != len(stones) {
			t.Errorf("%d of %d came back", len(back), len(stones))
		}
		// One that was restored without the name gets it again, and is erased by it.
		i := slices.IndexFunc(back, func(s record.Tombstone) bool { return s.User == one.User("1005") })
		nameless := back[i]
		nameless.Name, nameless.State, nameless.Rev = "", record.TombstoneDone, back[i].Rev+1
		w.put(store.Tombstones, back[i].Rev, nameless.ID, nameless)
		w.sleep(61 * time.Second)
		back, err = w.op.Tombstones(w.ctx, "one")
		w.must(err)
		if s := back[i]; s.Name != one.Name("login5") || s.State != record.TombstonePending || len(back) != len(stones) {
			t.Errorf("restored without a name: %+v", s)
		}
		// Restored as done, they are erased again when somebody says so.
		for _, s := range back {
			s.State, s.Rev = record.TombstoneDone, s.Rev+1
			w.put(store.Tombstones, s.Rev-1, s.ID, s)
		}
		anew, err := w.op.ForgetAgain(w.ctx, "one")
		w.must(err)
		back, err = w.op.Tombstones(w.ctx, "one")
		w.must(err)
		if anew.Tombstones != len(back) || slices.ContainsFunc(back, func(s record.Tombstone) bool { return s.State != record.TombstonePending }) {
			t.Errorf("forgotten again: %+v, %+v", anew, back)
		}
		// And the other way round.
		w.must(os.Remove(filepath.Join(dir, "one.tombstones")))
		w.sleep(61 * time.Second)
		saved, err := w.keys.Forgotten(w.ctx, "one")
		w.must(err)
		if len(saved) != len(stones) {
			t.Errorf("beside the keys came back %v", saved)
		}
		// Nobody erases here.
		old := back[0]
		old.Rev, old.Time = old.Rev+1, old.Time.Add(-2*time.Hour)
		w.put(store.Tombstones, old.Rev-1, old.ID, old)
		w.sleep(61 * time.Second)
		if got := w.conditions(); !strings.Contains(got, "forget-waiting one") {
			t.Errorf("conditions: %s", got)
		}

		w.twitch.set(func(f *twitch) { f.down = true })
		for _, tc := range []struct {
			in   control.NewForget
			want string
		}{
			{control.NewForget{Persons: []string{"login5"}}, "name one event, or set all_events"},
			{control.NewForget{Persons: []string{"login5"}, Event: "one", AllEvents: true}, "name one event, or set all_events"},
			{control.NewForget{Event: "one"}, "name somebody: persons, or donors"},
			{control.NewForget{Donors: []string{" "}, Event: "one"}, "a donor is 1 to"},
			{control.NewForget{Persons: []string{"1:login5"}, Event: "nope"}, "there is no event nope"},
			{control.NewForget{Persons: []string{"login7"}, Event: "one"}, "give both as ID:LOGIN"},
		} {
			if _, err := w.op.Forget(w.ctx, tc.in); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v gives %v, want %s", tc.in, err, tc.want)
			}
		}
		if _, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"1007:login7"}, Event: "one"}); err != nil {
			t.Errorf("with both: %v", err)
		}
		// A donor is found by the source's id or by the name that it shows, whichever this is; Twitch is not asked.
		given, err := w.op.Forget(w.ctx, control.NewForget{Donors: []string{" streamlabs:12 ", "Jean D"}, Event: "one"})
		w.must(err)
		if len(given) != 2 || given[0].Donor != "streamlabs:12" || len(given[0].Tombstones) != 1 ||
			given[0].Tombstones[0].User != one.User("streamlabs:12") || given[1].Tombstones[0].Name != one.Name("jean d") {
			t.Errorf("donors: %+v", given)
		}
		// A read-only directory: it is erased, and said what is missing.
		w.must(os.Remove(filepath.Join(dir, "two.tombstones")))
		w.must(os.Mkdir(filepath.Join(dir, "two.tombstones"), 0o700))
		list, err = w.op.Forget(w.ctx, control.NewForget{Persons: []string{"1008:login8"}, Event: "two"})
		w.must(err)
		if len(list[0].Warnings) != 1 || !strings.Contains(list[0].Warnings[0], "After a restore") {
			t.Errorf("where nothing can be written: %+v", list)
		}
		w.sleep(61 * time.Second)
		if got := w.conditions(); !strings.Contains(got, "tombstones-unsaved two") {
			t.Errorf("conditions: %s", got)
		}
	})
}

// put writes a document as another role would.
func (w *world) put(c store.Collection, rev int64, id string, v any) {
	w.t.Helper()
	raw, err := bson.Marshal(v)
	w.must(err)
	w.must(w.store.CompareAndSet(w.ctx, c, rev, store.Doc{ID: id, Raw: raw}))
}

func TestDestroyKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.startMaster("m1")
		w.live("one", 1, 1)
		w.startCollector("c0", "n0", 50)
		w.sleep(10 * time.Second)
		refused := func(want string) {
			t.Helper()
			if _, err := w.op.DestroyKey(w.ctx, "one"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("destroyed: %v, want %s", err, want)
			}
		}
		refused("event one is live")
		_, err := w.op.SetState(w.ctx, "one", control.Stop)
		w.must(err)
		refused("event one is still collected until")
		w.sleep(2 * time.Minute)

		backup, err := os.ReadFile(filepath.Join(dir, "one.key"))
		w.must(err)
		link := filepath.Join(dir, "second-name") // sees what becomes of the bytes
		w.must(os.Link(filepath.Join(dir, "one.key"), link))
		k, err := w.op.DestroyKey(w.ctx, "one")
		w.must(err)
		if k.Event != "one" || k.Destroyed.IsZero() || len(k.Remaining) != 1 {
			t.Errorf("answered %+v", k)
		}
		if events := w.collectors["c0"].assignment().Events; len(events) != 0 {
			t.Errorf("the collector still has %d events", len(events))
		}
		left, err := os.ReadFile(link)
		w.must(err)
		if len(bytes.Trim(left, "\x00")) != 0 {
			t.Errorf("the bytes are still there: %q", left)
		}
		if _, err := os.Stat(filepath.Join(dir, "one.key")); !os.IsNotExist(err) {
			t.Errorf("the file: %v", err)
		}
		again, err := w.op.DestroyKey(w.ctx, "one")
		w.must(err)
		if !again.Destroyed.Equal(k.Destroyed) {
			t.Errorf("destroyed again: %+v", again)
		}

		// One that comes back with a backup is destroyed as well.
		w.must(os.WriteFile(filepath.Join(dir, "one.key"), backup, 0o600))
		w.sleep(61 * time.Second)
		if _, err := os.Stat(filepath.Join(dir, "one.key")); !os.IsNotExist(err) {
			t.Errorf("the restored file: %v", err)
		}

		if _, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"login5"}, Event: "one"}); err == nil ||
			!strings.Contains(err.Error(), "nobody can be found in it any more") {
			t.Errorf("forgotten: %v", err)
		}
		list, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"login5"}, AllEvents: true})
		w.must(err)
		if !slices.Equal(list[0].Skipped, []string{"one"}) || len(list[0].Tombstones) != 0 {
			t.Errorf("of all events: %+v", list)
		}
		_, err = w.op.SetState(w.ctx, "one", control.Start)
		_, perr := w.op.UpdateEvent(w.ctx, "one", control.EventPatch{End: new(time.Now().Add(time.Hour))})
		for _, err := range []error{err, perr} {
			if err == nil || !strings.Contains(err.Error(), "it can't be collected again") {
				t.Errorf("collected again: %v", err)
			}
		}
		if got := w.privacyConditions(); got != "" {
			t.Errorf("conditions: %s", got)
		}
		// An event that is collected goes on beside it.
		w.live("two", 2, 1)
		w.sleep(10 * time.Second)
		w.wantReaders(2, 1)
	})
}

func TestDestroyKeyNamesWhoHasItStill(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		w.live("one", 1, 1)
		c := w.startCollector("c0", "n0", 50)
		w.sleep(10 * time.Second)
		c.set(func(f *fake) { f.silent = true })
		_, err := w.op.SetState(w.ctx, "one", control.Stop)
		w.must(err)
		w.sleep(2 * time.Minute)
		k, err := w.op.DestroyKey(w.ctx, "one")
		w.must(err)
		if len(k.Remaining) != 2 || !strings.Contains(k.Remaining[1], "Collector c0 (silent)") {
			t.Errorf("answered %+v", k)
		}
	})
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.startMaster("m1")
		w.live("one", 1, 1)
		refused := func(err error, want string) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("answered %v, want %s", err, want)
			}
		}
		_, err := w.op.Freeze(w.ctx, "one", control.NewFreeze{})
		refused(err, "event one is live: only an ended event can be frozen")
		_, err = w.op.SetState(w.ctx, "one", control.Stop)
		w.must(err)
		_, err = w.op.Freeze(w.ctx, "one", control.NewFreeze{})
		refused(err, "event one is collected until")
		_, err = w.op.Manifest(w.ctx, "one")
		refused(err, "event one has no manifest")
		_, err = w.op.Freeze(w.ctx, "nope", control.NewFreeze{})
		refused(err, "there is no event nope")
		refused(w.op.CancelFreeze(w.ctx, "one"), "event one has no manifest")
		w.sleep(2 * time.Minute)

		f, err := w.op.Freeze(w.ctx, "one", control.NewFreeze{})
		w.must(err)
		if f.State != record.FreezeWaiting || f.Revision != 1 || f.Cause != "freeze" || f.Force {
			t.Errorf("the manifest is %+v", f)
		}
		same, err := w.op.Freeze(w.ctx, "one", control.NewFreeze{})
		w.must(err)
		forced, err := w.op.Freeze(w.ctx, "one", control.NewFreeze{Force: true})
		w.must(err)
		if same.Rev != 1 || !forced.Force || forced.Rev != 2 || !forced.Requested.Equal(f.Requested) {
			t.Errorf("again %+v, forced %+v", same, forced)
		}
		_, err = w.op.SetState(w.ctx, "one", control.Start)
		refused(err, "event one is to be frozen: cancel that first")
		_, err = w.op.UpdateEvent(w.ctx, "one", control.EventPatch{End: new(time.Now().Add(time.Hour))})
		refused(err, "event one is to be frozen: cancel that first")
		w.must(w.op.CancelFreeze(w.ctx, "one"))
		refused(w.op.CancelFreeze(w.ctx, "one"), "event one has no manifest")

		f, err = w.op.Freeze(w.ctx, "one", control.NewFreeze{})
		w.must(err)
		w.sleep(11 * time.Minute)
		if got := w.privacyConditions(); got != "freeze-waiting one" {
			t.Errorf("conditions: %s", got)
		}

		// What custody does.
		e, err := w.op.Event(w.ctx, "one")
		w.must(err)
		e.State, e.Rev = record.EventFrozen, e.Rev+1
		w.put(store.Events, e.Rev-1, "one", e)
		refused(w.op.CancelFreeze(w.ctx, "one"), "event one is frozen already")
		f.State, f.Rev, f.Frozen, f.Sum = record.FreezeUnsigned, f.Rev+1, record.Millis(time.Now()), strings.Repeat("ab", 32)
		f.Parts = []record.ManifestPart{{Collection: "records", Day: "2000-01-01", Documents: 3, SHA256: strings.Repeat("cd", 32)}}
		w.put(store.Manifests, f.Rev-1, "one", f)
		w.sleep(5 * time.Second)
		f, err = w.op.Manifest(w.ctx, "one")
		w.must(err)
		w.must(f.Verify(""))
		w.must(f.Verify(f.PublicKey))
		if f.State != record.FreezeDone || f.Signed.IsZero() {
			t.Errorf("the manifest is %+v", f)
		}
		if got := w.privacyConditions(); got != "" {
			t.Errorf("conditions: %s", got)
		}
		info, err := os.Stat(filepath.Join(dir, "manifest.ed25519.key"))
		w.must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the key has mode %v", info.Mode())
		}
		done, err := w.op.Freeze(w.ctx, "one", control.NewFreeze{Force: true})
		w.must(err)
		if done.Rev != f.Rev {
			t.Errorf("frozen once more: %+v", done)
		}

		// Another revision is signed by the same key.
		first := f
		f.State, f.Rev, f.Revision, f.Cause, f.Sum, f.Signature = record.FreezeUnsigned, f.Rev+1, 2, "forget", strings.Repeat("ef", 32), ""
		w.put(store.Manifests, f.Rev-1, "one", f)
		w.sleep(5 * time.Second)
		f, err = w.op.Manifest(w.ctx, "one")
		w.must(err)
		w.must(f.Verify(first.PublicKey))

		// Nothing is done to a frozen event any more.
		for _, a := range []control.Action{control.Schedule, control.Unschedule, control.Start, control.Stop} {
			_, err = w.op.SetState(w.ctx, "one", a)
			refused(err, "event one is frozen")
		}
		_, err = w.op.UpdateEvent(w.ctx, "one", control.EventPatch{Name: new("Other")})
		refused(err, "event one is frozen")
		_, err = w.op.ImportChannels(w.ctx, "one", "text/plain", []byte("login9\n"))
		refused(err, "event one is frozen")
		refused(w.op.RemoveChannel(w.ctx, "one", "login0"), "event one is frozen")
		_, err = w.op.ResolveChannels(w.ctx, "one")
		refused(err, "event one is frozen")
		if _, err := w.op.DestroyKey(w.ctx, "one"); err != nil {
			t.Errorf("the key of a frozen event: %v", err)
		}

		// One that can't be signed says so.
		w.must(os.WriteFile(filepath.Join(dir, "manifest.ed25519.key"), []byte("nonsense\n"), 0o600))
		f.State, f.Rev = record.FreezeUnsigned, f.Rev+1
		w.put(store.Manifests, f.Rev-1, "one", f)
		w.sleep(5 * time.Second)
		if got := w.privacyConditions(); got != "manifest-unsigned one" {
			t.Errorf("conditions: %s", got)
		}
	})
}

func TestRetentionSettings(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.startMaster("m1")
		e, err := w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "a", Donations: "zevent", TextDays: 30, AnswerDays: 90, RecordDays: 365})
		w.must(err)
		if e.TextDays != 30 || e.AnswerDays != 90 || e.RecordDays != 365 || e.Donations != "zevent" {
			t.Errorf("created %+v", e)
		}
		if _, err := w.op.CreateEvent(w.ctx, control.NewEvent{Slug: "b", TextDays: 3651}); err == nil || !strings.Contains(err.Error(), "text_days") {
			t.Errorf("3651 days: %v", err)
		}
		change := func(want string, text, records *int) {
			t.Helper()
			_, err := w.op.UpdateEvent(w.ctx, "a", control.EventPatch{TextDays: text, RecordDays: records})
			if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("changed: %v, want %q", err, want)
			}
		}
		for want, p := range map[string]control.EventPatch{
			"answer_days: 366: the records go 365 days after the end, and the answers of charity sources with them": {AnswerDays: new(366)},
			`donations: " zevent" begins or ends with a space`:                                                      {Donations: new(" zevent")},
			"answer_days": {AnswerDays: new(3651)},
		} {
			if _, err := w.op.UpdateEvent(w.ctx, "a", p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("changed: %v, want %q", err, want)
			}
		}
		change("", new(0), new(400))
		e, err = w.op.Event(w.ctx, "a")
		w.must(err)
		e.State, e.Rev = record.EventFrozen, e.Rev+1
		e.Start, e.End = record.Millis(time.Now()), record.Millis(time.Now().Add(time.Hour))
		w.put(store.Events, e.Rev-1, "a", e)
		change("", new(10), nil)
		change("text_days can only become shorter than 10 days", new(11), nil)
		change("text_days can only become shorter than 10 days", new(0), nil)
		change("record_days can only become shorter than 400 days", new(5), new(401))
		if _, err := w.op.UpdateEvent(w.ctx, "a", control.EventPatch{AnswerDays: new(91)}); err == nil || !strings.Contains(err.Error(), "answer_days can only become shorter than 90 days") {
			t.Errorf("longer: %v", err)
		}
		if e, err := w.op.UpdateEvent(w.ctx, "a", control.EventPatch{AnswerDays: new(60)}); err != nil || e.AnswerDays != 60 {
			t.Errorf("shorter: %+v, %v", e, err)
		}
		change("", new(10), new(100))
		if e, err = w.op.Event(w.ctx, "a"); err != nil || e.TextDays != 10 || e.RecordDays != 100 {
			t.Errorf("in the end %+v, %v", e, err)
		}
	})
}

// lockedBuffer takes logs of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Neither logs nor the database say who opted out, or was forgotten, and neither has a key.
func TestPrivacyKeepsSecrets(t *testing.T) {
	t.Parallel()
	var logs lockedBuffer
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.configure = func(c *master.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		w.startMaster("m1")
		w.live("one", 1, 1)
		w.startCollector("c0", "n0", 50)
		w.sleep(10 * time.Second)
		_, err := w.op.AddOptOut(w.ctx, control.NewOptOut{Persons: persons("login123", "1124"), Forget: true})
		w.must(err)
		_, err = w.op.Forget(w.ctx, control.NewForget{Persons: []string{"login125"}, AllEvents: true})
		w.must(err)
		w.twitch.set(func(f *twitch) { f.down = true })
		if _, err = w.op.Forget(w.ctx, control.NewForget{Persons: []string{"login126"}, Event: "one"}); err == nil {
			t.Error("forgotten without Twitch")
		}
		if status, _, _ := w.call(http.MethodPost, "/v1/forget", operatorToken, "application/json", `{"persons":["login 127"],"event":"one"}`); status != http.StatusUnprocessableEntity {
			t.Errorf("nonsense: %d", status)
		}
		_, err = w.op.RemoveOptOut(w.ctx, []string{"login123"})
		w.must(err)
		w.sleep(12 * time.Minute)
		key, err := w.keys.Key(w.ctx, "one")
		w.must(err)
		_, err = w.keys.Signer(w.ctx)
		w.must(err)
		seed, err := os.ReadFile(filepath.Join(dir, "manifest.ed25519.key"))
		w.must(err)
		secrets := []string{"login12", "1123", "1124", "1125", hex.EncodeToString(key), string(key), strings.TrimSpace(string(seed)), operatorToken, collectorToken}
		for _, s := range secrets {
			if strings.Contains(logs.String(), s) {
				t.Errorf("the logs say %q", s)
			}
		}
		for _, c := range store.Collections() {
			for raw, err := range w.store.Find(w.ctx, store.Query{Collection: c}) {
				w.must(err)
				for _, s := range secrets {
					if bytes.Contains(raw, []byte(s)) {
						t.Errorf("a document of %s says %q", c, s)
					}
				}
			}
		}
	})
}

// Whatever is asked for: an event leaves out exactly those who opted out and those whom it has
// forgotten, and no other event's.
func TestExcludedProperty(t *testing.T) {
	t.Parallel()
	base, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, strconv.Itoa(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		s, err := local.Open(filepath.Join(dir, "store.db"), local.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		keys, err := master.NewFileKeys(filepath.Join(dir, "keys"))
		if err != nil {
			rt.Fatal(err)
		}
		m, err := master.New(master.Config{
			Store: s, Keys: keys, Name: "m1", Logger: slog.New(slog.DiscardHandler),
			OperatorTokens: master.StaticTokens(operatorToken), CollectorTokens: master.StaticTokens(collectorToken),
		})
		if err != nil {
			rt.Fatal(err)
		}
		op, err := control.New([]string{"http://m1"}, func() (string, error) { return operatorToken, nil },
			&http.Client{Transport: &wire{hosts: map[string]http.Handler{"m1": m.Handler()}}})
		if err != nil {
			rt.Fatal(err)
		}
		events := []string{"one", "two"}
		out := map[int]bool{}
		forgotten := map[string]map[int]bool{"one": {}, "two": {}}
		for _, e := range events {
			if _, err := op.CreateEvent(t.Context(), control.NewEvent{Slug: e}); err != nil {
				rt.Fatal(err)
			}
		}
		who := func(n int) control.Persons { return persons(fmt.Sprintf("%d:login%d", 1000+n, n)) }
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			n := rapid.IntRange(0, 4).Draw(rt, "person")
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				_, err = op.AddOptOut(t.Context(), control.NewOptOut{Persons: who(n)})
				out[n] = true
			case 1:
				_, err = op.RemoveOptOut(t.Context(), who(n).Persons)
				delete(out, n)
			case 2:
				e := rapid.SampledFrom(events).Draw(rt, "event")
				_, err = op.Forget(t.Context(), control.NewForget{Persons: who(n).Persons, Event: e})
				forgotten[e][n] = true
			case 3:
				_, err = op.Forget(t.Context(), control.NewForget{Persons: who(n).Persons, AllEvents: true})
				forgotten["one"][n], forgotten["two"][n] = true, true
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		for _, e := range events {
			key, err := keys.Key(t.Context(), e)
			if err != nil {
				rt.Fatal(err)
			}
			p, err := record.NewPseudonyms(key, nil)
			if err != nil {
				rt.Fatal(err)
			}
			want := []string{}
			for n := range 5 {
				id, login := strconv.Itoa(1000+n), fmt.Sprint("login", n)
				if out[n] || forgotten[e][n] {
					want = append(want, all(p, id, login)...)
				}
			}
			got, err := m.Excluded(t.Context(), e)
			if err != nil {
				rt.Fatal(err)
			}
			if !slices.Equal(got, sorted(want...)) {
				rt.Fatalf("event %s leaves out %v, want %v", e, got, want)
			}
		}
	})
}

// Several masters change the list at once: nothing is lost.
func TestOptOutOfSeveralMasters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const each = 20
	var wg sync.WaitGroup
	for i := range 3 {
		keys, err := master.NewFileKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for j := range each {
				err := keys.ChangeOptOut(t.Context(), func(list []control.Person) []control.Person {
					return append(list, control.Person{ID: strconv.Itoa(100*i + j)})
				})
				if err != nil {
					t.Error(err)
				}
				if err := keys.AddForgotten(t.Context(), "one", []master.Pseudonym{{User: record.Hash(fmt.Sprint(i, j)), Asked: time.Now()}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	keys, err := master.NewFileKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.OptOut(t.Context())
	if err != nil || len(list) != 3*each {
		t.Errorf("%d people, %v", len(list), err)
	}
	forgotten, err := keys.Forgotten(t.Context(), "one")
	if err != nil || len(forgotten) != 3*each {
		t.Errorf("%d forgotten, %v", len(forgotten), err)
	}
}

// sealed is a store that takes no tombstones, and says which.
type sealed struct{ store.Store }

func (s sealed) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	if c == store.Tombstones {
		return fmt.Errorf("set %s: %w", d.ID, errTripped)
	}
	return s.Store.CompareAndSet(ctx, c, rev, d)
}

// A tombstone's id is a pseudonym: where one can't be written, neither the condition nor the answer
// has it.
func TestPseudonymsStayOutOfConditions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bubble(t, func(w *world) {
		w.withVault(dir)
		w.store = sealed{w.store}
		w.startMaster("m1")
		w.live("one", 1, 1)
		one := w.pseudonyms("one")
		_, err := w.op.Forget(w.ctx, control.NewForget{Persons: []string{"1005:login5"}, Event: "one"})
		if err == nil || strings.Contains(err.Error(), one.User("1005")) {
			t.Errorf("the answer is %v", err)
		}
		w.must(w.keys.AddForgotten(w.ctx, "one", []master.Pseudonym{{User: one.User("1005"), Name: one.Name("login5"), Asked: time.Now()}}))
		w.sleep(2 * time.Minute)
		h, err := w.op.Health(w.ctx)
		w.must(err)
		i := slices.IndexFunc(h.Conditions, func(c control.Condition) bool { return c.Name == "tombstones-unsaved" })
		if i < 0 || !strings.Contains(h.Conditions[i].Detail, "the store refuses it") || strings.Contains(h.Conditions[i].Detail, one.User("1005")) {
			t.Errorf("conditions: %+v", h.Conditions)
		}
	})
}
