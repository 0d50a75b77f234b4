package collector_test

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/collector"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// given is what the target has of a charity's records: the cents of each donation, and how many samples
// and answers.
func (q *target) given(t testing.TB) (donations map[string]record.Donation, samples, answers int) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	donations = map[string]record.Donation{}
	for _, r := range q.records {
		switch r.Kind {
		case record.KindAmount:
			samples++
		case record.KindAnswer:
			answers++
		case record.KindDonation:
			var d record.Donation
			if err := record.Decode(r.Doc, &d); err != nil {
				t.Fatal(err)
			}
			donations[d.Donation] = d
		default:
		}
	}
	return donations, samples, answers
}

// totals are the last that the target has, by channel; of the event under "all".
func (q *target) totals(t testing.TB) map[string]int64 {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	out, at := map[string]int64{}, map[string]time.Time{}
	for _, r := range q.records {
		var a record.Amount
		if r.Kind != record.KindAmount {
			continue
		}
		if err := record.Decode(r.Doc, &a); err != nil {
			t.Fatal(err)
		}
		whose := cmp.Or(a.Channel, a.Member, "all")
		if !a.Time.Before(at[whose]) {
			out[whose], at[whose] = a.Money.Cents, a.Time
		}
	}
	return out
}

// usual are sources of a simulator, whose address stands for URL, the login of a channel for LOGIN.
const usual = `
  - {name: zevent, kind: zevent, url: "URL/api/", totals: "* * * * * *"}
  - {name: team, kind: streamlabs, url: "URL/api/v1", team: sim, donations: "* * * * * *"}
`

// newCharityWorld is a world whose simulator is given donations, and whose collector polls for them and
// reads no chat.
func newCharityWorld(t *testing.T, of string) *world {
	t.Helper()
	w := &world{t: t, drain: patience, dir: t.TempDir(), master: &master{}, queue: &target{}}
	var err error
	w.sim, err = sim.New(sim.Config{Channels: 5, Rate: 1, Charity: sim.Charity{Rate: 30}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.sim.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	event := control.AssignedEvent{
		Slug: "test", Start: time.Now().Add(-time.Hour), End: time.Now().Add(time.Hour), Key: record.NewKey(),
		Public: map[string]string{}, Names: map[string]string{},
	}
	for _, c := range w.sim.Channels() {
		event.Public[c.ID], event.Names[c.ID] = c.Login, c.Name
	}
	w.master.assignment = &control.Assignment{Collector: "c1", Epoch: 3, Revision: 1, Events: []control.AssignedEvent{event}}
	file := filepath.Join(w.dir, "charity.yaml")
	login := w.sim.Channels()[0].Login
	text := "sources:" + strings.NewReplacer("URL", w.sim.URL(), "LOGIN", login).Replace(of)
	token, err := w.sim.BroadcasterToken(login)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "secret"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sources, err := charity.LoadSources(file)
	if err != nil {
		t.Fatal(err)
	}
	w.edit = func(cfg *collector.Config) {
		cfg.Capacity, cfg.Helix, cfg.Chat = collector.NoChannels, nil, chat.Config{}
		cfg.Charity = charity.Config{Sources: sources}
	}
	return w
}

// A collector without channels polls charity sources for the events that the master tells of, and goes on
// without it after a restart.
func TestCharityIsCollected(t *testing.T) {
	w := newCharityWorld(t, usual)
	w.sim.Begin()
	c, stop := w.start()
	eventually(t, "no donations arrive", func() bool {
		donations, samples, answers := w.queue.given(t)
		return len(donations) > 20 && samples > 5 && answers > 0
	})
	h := w.master.heartbeat()
	if !h.Charity || h.Capacity != 0 {
		t.Errorf("the heartbeat says %+v", h)
	}
	eventually(t, "the heartbeat does not tell how the sources are", func() bool {
		s := w.master.heartbeat().Status.Sources
		return len(s) == 2 && s[0].Name == "zevent" && s[1].Kind == "streamlabs" && s[1].Donations > 20 && !s[1].LastSuccess.IsZero() &&
			slices.Equal(s[1].Events, []string{"test"})
	})
	if c.LastPoll().IsZero() || !c.LastSweep().IsZero() {
		t.Errorf("the last poll was at %s, the last sweep at %s", c.LastPoll(), c.LastSweep())
	}
	stop()

	w.master.change(func(m *master) { m.away = true })
	before, _, _ := w.queue.given(t)
	_, stop = w.start()
	eventually(t, "nothing more arrives without the master", func() bool {
		donations, _, _ := w.queue.given(t)
		return len(donations) > len(before)+20
	})
	if err := w.sim.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	raised := w.sim.Raised()
	eventually(t, "not all donations arrive", func() bool {
		donations, _, _ := w.queue.given(t)
		return int64(len(donations)) == raised.Donations
	})
	stop()
	donations, _, _ := w.queue.given(t)
	var sum int64
	channels := map[string]bool{}
	for _, d := range donations {
		sum += d.Money.Cents
		channels[d.Channel] = true
	}
	if sum != raised.Cents || len(channels) < 3 {
		t.Errorf("%d cents arrived on %d channels, %d were given", sum, len(channels), raised.Cents)
	}
}

// A team of Tiltify: the totals of its members and their donations are the channels', which are known by the
// campaigns that support the team's.
func TestTiltifyTeamIsCollected(t *testing.T) {
	w := newCharityWorld(t, `
  - {name: tiltify, kind: tiltify, url: "URL/api/public", auth_url: "URL/oauth/token", team_campaign: sim,
     client_id_file: secret, client_secret_file: secret, totals: "* * * * * *", donations: "* * * * * *"}
`)
	w.sim.Begin()
	_, stop := w.start()
	eventually(t, "no donations arrive", func() bool {
		donations, samples, _ := w.queue.given(t)
		return len(donations) > 20 && samples > 5
	})
	if err := w.sim.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	raised := w.sim.Raised()
	byChannel := map[string]int64{}
	eventually(t, "the totals are not those of the donations", func() bool {
		clear(byChannel)
		donations, _, _ := w.queue.given(t)
		for _, d := range donations {
			byChannel[d.Channel] += d.Money.Cents
			byChannel["all"] += d.Money.Cents
		}
		delete(byChannel, "") // given to nobody in particular: there is no total of that
		return int64(len(donations)) == raised.Donations && maps.Equal(w.queue.totals(t), byChannel)
	})
	stop()
	if len(byChannel) != 6 || byChannel["all"] != raised.Cents {
		t.Errorf("%v, want %d", byChannel, raised.Cents)
	}
}

// Who opted out with a Twitch account gives under nobody's name: by Twitch's own charity feature, and elsewhere
// where the account's name is shown.
func TestOptedOutDonors(t *testing.T) {
	w := newCharityWorld(t, usual+
		`  - {name: twitch, kind: twitch, url: "URL/helix", auth_url: "URL/oauth2/validate", token_files: {LOGIN: secret}, donations: "* * * * * *"}
`)
	channel := w.sim.Channels()[0]
	token, err := w.sim.BroadcasterToken(channel.Login)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string, into any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.sim.URL()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Client-Id", "us")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	type given struct {
		UserID string `json:"user_id"`
		Login  string `json:"user_login"`
	}
	var list struct{ Data []given }
	w.sim.Begin()
	eventually(t, "nobody gives", func() bool {
		ask("/helix/charity/donations?broadcaster_id="+channel.ID, &list)
		list.Data = slices.DeleteFunc(list.Data, func(d given) bool { return d.Login == "" || d.UserID == "" })
		return len(list.Data) > 2
	})
	if err := w.sim.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As the master has it from the list.
	event, person := &w.master.assignment.Events[0], list.Data[0]
	names, err := record.NewPseudonyms(event.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	event.Excluded = []string{names.User(person.UserID), names.Name(person.Login)}
	_, stop := w.start()
	defer stop()
	all := func() (list []record.Donation) {
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		for _, r := range w.queue.records {
			var d record.Donation
			if r.Kind == record.KindDonation {
				if err := record.Decode(r.Doc, &d); err != nil {
					t.Fatal(err)
				}
				list = append(list, d)
			}
		}
		return list
	}
	eventually(t, "not all donations arrive", func() bool {
		n := map[string]int64{}
		for _, d := range all() {
			n[d.Source]++
		}
		return n["team"] == w.sim.Raised().Donations && n["twitch"] > 2
	})
	nobody, others := map[string]int{}, map[string]int{}
	for _, d := range all() {
		switch {
		case slices.Contains(event.Excluded, d.Donor) || strings.Contains(d.Raw, event.Excluded[0]) || strings.Contains(d.Raw, event.Excluded[1]):
			t.Errorf("%s of %s names who opted out", d.Donation, d.Source)
		case d.Donor == "" && d.Raw == "":
			nobody[d.Source]++
		case d.Donor != "":
			others[d.Source]++
		}
	}
	if nobody["twitch"] == 0 || nobody["team"] == 0 || others["twitch"] == 0 || others["team"] == 0 {
		t.Errorf("left out %v, not left out %v", nobody, others)
	}
}

// What sources say of who is forgotten is taken out: the money stays.
func TestForgottenDonors(t *testing.T) {
	w := newCharityWorld(t, usual)
	w.sim.Begin()
	_, stop := w.start()
	var donor string
	eventually(t, "no donor gives", func() bool {
		donations, _, _ := w.queue.given(t)
		for _, d := range donations {
			if d.Donor != "" {
				donor = d.Donor
			}
		}
		return donor != ""
	})
	stop()
	w.queue = &target{}
	w.master.change(func(m *master) {
		a := *m.assignment
		a.Revision++
		a.Events = slices.Clone(a.Events)
		a.Events[0].Excluded = []string{donor}
		m.assignment = &a
	})
	// It takes the new assignment up in the first run, and works by it in the second from the start.
	_, stop = w.start()
	eventually(t, "the assignment is not taken up", func() bool { return w.master.heartbeat().Revision == 2 })
	stop()
	w.queue = &target{}
	_, stop = w.start()
	if err := w.sim.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not all donations arrive", func() bool {
		donations, _, _ := w.queue.given(t)
		return int64(len(donations)) == w.sim.Raised().Donations
	})
	stop()
	donations, _, _ := w.queue.given(t)
	var sum int64
	for _, d := range donations {
		sum += d.Money.Cents
		if d.Donor == donor {
			t.Errorf("donation %s names the forgotten donor", d.Donation)
		}
	}
	if sum != w.sim.Raised().Cents {
		t.Errorf("%d cents arrived, %d were given", sum, w.sim.Raised().Cents)
	}
}

func TestChannelsNeedHelix(t *testing.T) {
	_, err := collector.New(collector.Config{Name: "c1", Dir: t.TempDir(), Capacity: 5})
	if err == nil {
		t.Error("a collector of channels starts without Helix")
	}
}
