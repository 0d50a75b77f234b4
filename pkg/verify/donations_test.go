package verify_test

import (
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/verify"
)

// purse is a world with a ledger of donations.
type purse struct {
	*world
	given []sim.Donated
}

func (p *purse) give(id, channel string, cents int64, when time.Time) {
	p.given = append(p.given, sim.Donated{Donation: id, Room: channel, Cents: cents, Currency: "EUR", CreatedMS: when.UnixMilli()})
}

// keep stores a version of a donation.
func (p *purse) keep(source, id, channel string, cents int64, when, received time.Time) {
	p.t.Helper()
	r, err := record.Encode(&record.Donation{
		Header: record.Header{Event: "test", Channel: channel, Time: when, Received: received},
		Source: source, Donation: id, Version: record.Hash(channel, time.Duration(cents).String()), Money: record.Money{Cents: cents, Currency: "EUR"},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.store.Insert(p.t.Context(), []record.Record{r}); err != nil {
		p.t.Fatal(err)
	}
}

// closed writes a closed minute document.
func (p *purse) closed(channel string, minute int, count, cents int64) {
	p.t.Helper()
	id := record.StatisticsID("test", channel, at(minute, 0))
	p.put(store.Minutes, id, record.Statistics{
		ID: id, Event: "test", Channel: channel, Time: at(minute, 0), State: record.StateClosed,
		Donations: []record.Donations{
			{Source: "other", Currency: "EUR", Count: 7, Cents: 7},
			{Source: "team", Currency: "EUR", Count: count, Cents: cents, Samples: 1, Total: 1000 * int64(minute+1)},
		},
	})
}

func (p *purse) run(source string) (verify.Donations, error) {
	return verify.RunDonations(p.t.Context(), p.store, "", source, func(yield func(sim.Donated, error) bool) {
		for _, d := range p.given {
			if !yield(d, nil) {
				return
			}
		}
	})
}

func newPurse(t *testing.T) *purse {
	p := &purse{world: newWorld(t)}
	for _, d := range []struct {
		id, channel string
		cents       int64
		when        time.Time
	}{{"1", "1", 500, at(0, 3)}, {"2", "", 700, at(0, 4)}, {"3", "2", 900, at(1, 59)}} {
		p.give(d.id, d.channel, d.cents, d.when)
		p.keep("team", d.id, d.channel, d.cents, d.when, d.when.Add(time.Second))
	}
	p.closed("1", 0, 1, 500)
	p.closed(record.AllChannels, 0, 2, 1200)
	p.closed("2", 1, 1, 900)
	p.closed(record.AllChannels, 1, 1, 900)
	return p
}

func TestDonationsThatAreRight(t *testing.T) {
	p := newPurse(t)
	p.give("early", "1", 100, at(0, 0).Add(-time.Second))
	p.give("open", "1", 100, at(4, 0))
	p.keep("team", "open", "1", 100, at(4, 0), at(4, 1))
	// An earlier version that said something else.
	p.keep("team", "3", "", 950, at(1, 59), at(1, 59))
	d, err := p.run("")
	if err != nil || !d.OK() || d.Source != "team" || d.Donations != 4 || d.RaisedCents != 2200 || d.Stored != 4 || d.Versions != 1 ||
		d.Counted != 3 || d.CountedCents != 2100 || d.Outside != 1 || d.MinutesOpen != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDonationsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *purse)
		want  func(d verify.Donations) bool
		says  string
	}{
		{"one is lost", func(p *purse) { p.give("4", "1", 100, at(3, 0)) }, func(d verify.Donations) bool { return d.Lost == 1 && d.MinutesDiffering == 0 }, "donation 4 (100 cents to 1) is not"},
		{"one has another amount", func(p *purse) { p.keep("team", "3", "2", 901, at(1, 59), at(2, 30)) }, func(d verify.Donations) bool { return d.Wrong == 1 }, "donation 3 is stored as 901"},
		{"one has another channel", func(p *purse) { p.keep("team", "3", "1", 900, at(1, 59), at(2, 30)) }, func(d verify.Donations) bool { return d.Wrong == 1 }, `to "1"`},
		{"one is stored that nobody gave", func(p *purse) { p.keep("team", "5", "1", 900, at(1, 59), at(2, 30)) }, func(d verify.Donations) bool { return d.Unexpected == 1 }, "donation 5"},
		{"a minute counts one twice", func(p *purse) { p.closed("2", 1, 2, 1800) }, func(d verify.Donations) bool { return d.MinutesDiffering == 1 }, "2 donations of 1800 cents in the closed document, 1 of 900"},
		{"the event's document lacks one", func(p *purse) { p.closed(record.AllChannels, 0, 1, 500) }, func(d verify.Donations) bool { return d.MinutesDiffering == 1 && d.CountedCents == 1400 }, "channel " + record.AllChannels},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPurse(t)
			c.spoil(p)
			d, err := p.run("team")
			if err != nil || d.OK() || !c.want(d) || !strings.Contains(strings.Join(d.Examples, "\n"), c.says) {
				t.Errorf("got %+v, %v; want %q", d, err, c.says)
			}
		})
	}
}

func TestDonationsOfSeveralSources(t *testing.T) {
	p := newPurse(t)
	p.keep("other", "1", "1", 500, at(0, 3), at(0, 4))
	if _, err := p.run(""); !errors.Is(err, verify.ErrSources) || !strings.Contains(err.Error(), "other, team") {
		t.Errorf("no source named: %v", err)
	}
	if d, err := p.run("team"); err != nil || !d.OK() {
		t.Errorf("%+v, %v", d, err)
	}
	p.give("1", "1", 500, at(0, 3))
	if _, err := p.run("team"); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a ledger that tells one twice: %v", err)
	}
	broken := func(yield func(sim.Donated, error) bool) { yield(sim.Donated{}, errors.New("unreadable")) }
	if _, err := verify.RunDonations(t.Context(), p.store, "", "team", iter.Seq2[sim.Donated, error](broken)); err == nil {
		t.Error("an unreadable ledger is no error")
	}
}

func TestRecordedTotals(t *testing.T) {
	p := newPurse(t)
	rows := []sim.Minute{
		{Time: at(0, 0).Add(-time.Minute), Cents: 1}, {Time: at(0, 0), Cents: 1000}, {Time: at(1, 0), Cents: 2000}, {Time: at(2, 0), Cents: sim.NotRecorded},
	}
	r, err := verify.Totals(t.Context(), p.store, "", "team", rows)
	if err != nil || r.Compared != 2 || r.Differing != 0 || r.LastCents != 2000 {
		t.Errorf("%+v, %v", r, err)
	}
	rows[2].Cents++
	rows = append(rows, sim.Minute{Time: at(3, 0), Cents: 2001})
	r, err = verify.Totals(t.Context(), p.store, "", "team", rows)
	said := strings.Join(r.Examples, "\n")
	if err != nil || r.Compared != 3 || r.Differing != 2 || !strings.Contains(said, "2000 cents, recorded 2001") || !strings.Contains(said, "no minute document") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := verify.Totals(t.Context(), p.store, "", "other", rows[:2]); err != nil || r.Differing != 1 || !strings.Contains(r.Examples[0], "no total was sampled") {
		t.Errorf("%+v, %v", r, err)
	}
}
