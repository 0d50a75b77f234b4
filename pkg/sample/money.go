package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// guest is a member of the campaign who is no channel of the event.
const guest = "guest-association"

// money is what is given.
type money struct {
	cents, count []int64 // given by the end of a minute
	given        int64   // donations made
	sum          int64   // cents of them
	unmatched    int64   // cents for the guest
	donors       int
	mirror       mirror
	reset        reset
}

// funds is what a channel was given.
type funds struct {
	total int64
	// generosity moves after something happened.
	heat  float64
	goals []goal // that fall one after the other
	next  int
	other []goal
}

// goal is a promise; reached is the minute in which the total got there, -1 before.
type goal struct {
	category, name string
	cents          int64
	reached        int
}

// mirror: in [from, to) the source of totals shows of one channel what another has.
type mirror struct {
	of, shows *channel
	from, to  int // minutes
	last      int64
}

// reset: from a minute on the source counts a channel anew from zero.
type reset struct {
	of   *channel
	from int
	lost int64 // cents that it had shown before
}

//nolint:gochecknoglobals // tables of words, never changed
var promises = []string{
	"Karaoké en direct", "Teinture rose", "Saut à l'élastique", "24 h sur un jeu d'horreur", "Tatouage choisi par le chat",
	"Marathon de cuisine épicée", "Cosplay pendant une heure", "Speedrun à l'aveugle", "Visite surprise d'un invité", "On recommence le boss sans armure",
	"Concert acoustique", "Stream en forêt", "Épilation à la cire", "Quiz géant avec les viewers", "Lecture du pire scénario",
}

// plan spreads the money over the minutes, and promises something for it.
func (m *money) plan(w *world) {
	weights := make([]float64, w.minutes)
	for n := range weights {
		weights[n] = math.Pow(w.audience[n], 1.15)
	}
	for range max(2, w.cfg.Hours/2) { // moments in which everybody gives
		at, most := w.rng.IntN(w.minutes), 2+6*w.rng.Float64()
		for n := at; n < min(at+4+w.rng.IntN(4), w.minutes); n++ {
			weights[n] *= 1 + (most-1)*math.Pow(0.7, float64(n-at))
		}
	}
	for n := w.minutes - 60; n < w.minutes; n++ {
		weights[n] *= 1 + float64(n-w.minutes+60)/30 // the last hour
	}
	for n := w.minutes - quietMinutes; n < w.minutes; n++ {
		weights[n] = 0
	}
	m.cents, m.count = shares(weights, w.cfg.Cents), shares(weights, w.cfg.Donations)
	m.donors = 10 + int(w.cfg.Donations/3)

	// The one that is shown twice has the most, and a middling one shows it.
	rank := slices.Clone(w.channels)
	slices.SortStableFunc(rank, func(a, b *channel) int { return cmp.Compare(b.size*b.generous, a.size*a.generous) })
	m.mirror = mirror{
		of: rank[min(20, len(rank)-1)], shows: rank[0],
		from: slotOf(w.part(0.3)), to: slotOf(w.part(0.3) + max(8, min(40, w.minutes/10))),
	}
	m.reset = reset{of: rank[min(4, len(rank)-2)], from: slotOf(w.part(0.55))}

	total := 0.0
	for _, c := range w.channels {
		total += c.size * c.generous
	}
	each := w.cfg.Goals / len(w.channels)
	for i, c := range w.channels {
		c.funds.heat = 1
		expected := float64(w.cfg.Cents) * c.size * c.generous / total
		n := each
		if i < w.cfg.Goals%len(w.channels) {
			n++
		}
		for j := range n {
			g := goal{category: record.GoalDonation, name: promises[w.rng.IntN(len(promises))], reached: -1}
			if j > 0 && w.rng.IntN(6) == 0 {
				g.category = []string{
					record.GoalEqual, record.GoalMoreThan, record.GoalLargest, record.GoalRecurrent, record.GoalIncentive,
				}[w.rng.IntN(5)]
				g.cents = []int64{42_00, 500_00, 0, 1000_00, 0}[slices.Index(
					[]string{record.GoalEqual, record.GoalMoreThan, record.GoalLargest, record.GoalRecurrent, record.GoalIncentive}, g.category)]
				c.funds.other = append(c.funds.other, g)
				continue
			}
			g.cents = round(expected * (0.1 + 1.3*w.rng.Float64()))
			c.funds.goals = append(c.funds.goals, g)
		}
		slices.SortStableFunc(c.funds.goals, func(a, b goal) int { return cmp.Compare(a.cents, b.cents) })
	}
}

// slotOf is the next minute at which totals are sampled.
func slotOf(minute int) int { return (minute + amountMinutes - 1) / amountMinutes * amountMinutes }

// round makes an amount that one would promise something for: two digits and zeros, in whole euros.
func round(cents float64) int64 {
	euros := max(cents/100, 10)
	unit := math.Pow(10, math.Floor(math.Log10(euros))-1)
	return int64(math.Round(euros/unit)*unit) * 100
}

// pull is how strongly a live channel draws donations: more when a goal is near.
func (m *money) pull(c *channel) float64 {
	f := &c.funds
	f.heat = 1 + (f.heat-1)*0.6
	p := (float64(c.viewers) + 1) * c.generous * f.heat
	if f.next < len(f.goals) && f.total > f.goals[f.next].cents*95/100 {
		p *= 2.5
	}
	return p
}

// minute makes the donations of a minute, and the samples of totals that are due at its start.
func (m *money) minute(w *world, n int) {
	if n%amountMinutes == 0 || n == w.minutes-1 {
		m.sample(w, n)
	}
	if n%60 == 0 {
		m.answer(w, n)
	}
	d := &record.Coverage{
		Source: Singles, To: w.at(n + 1), Collector: "sample-charity", Connection: "sample-charity-" + Singles,
		Set: record.ChannelSet(nil),
	}
	w.add(d, &d.Header, nil, int64(n)*60_000, 75_000)
	cents, count := m.cents[n], m.count[n]
	if n > 0 {
		cents, count = cents-m.cents[n-1], count-m.count[n-1]
	}
	if cents == 0 {
		return
	}
	count = min(max(count, 1), max(cents/100, 1))
	sizes, sum := make([]float64, count), 0.0
	for i := range sizes {
		sizes[i] = math.Exp(1.3 * w.rng.NormFloat64())
		sum += sizes[i]
	}
	left := cents
	for i := range count {
		amount := left
		if i < count-1 {
			amount = int64(float64(cents) * sizes[i] / sum)
			amount = max(amount-amount%100, 100) // most give whole euros
			amount = min(amount, left-100*(count-1-i))
			if amount <= 0 {
				continue // what is left goes to the last
			}
		}
		left -= amount
		ms := int64(n)*60_000 + int64((float64(i)+w.rng.Float64())*60_000/float64(count))
		m.give(w, n, min(ms, int64(n+1)*60_000-1), amount)
	}
}

// give makes one donation.
func (m *money) give(w *world, n int, ms, cents int64) {
	m.given++
	m.sum += cents
	w.result.Gifts++
	w.result.Cents += cents
	d := &record.Donation{
		Source: Singles, Donation: strconv.FormatInt(70_000_000+m.given, 10), Money: record.Money{Cents: cents, Currency: Currency},
		Country: [...]string{"France", "France", "France", "France", "Belgique", "Suisse", "Canada", ""}[w.rng.IntN(8)],
	}
	u := w.rng.Float64()
	if u < 0.98 {
		d.Donor = w.names.Name("donor " + strconv.Itoa(int(float64(m.donors)*u*u)))
	}
	if w.rng.IntN(5) == 0 {
		t := &w.texts[w.plain[w.rng.IntN(len(w.plain))]]
		d.Length, d.Text = t.Length, w.names.Text(t.Body)
	}
	var c *channel
	if w.rng.IntN(250) == 0 {
		d.Member = guest
		m.unmatched += cents
	} else {
		c = w.draw(w.purses)
		d.Member = "member-" + strconv.Itoa(c.index+1)
		f := &c.funds
		f.total += cents
		for f.next < len(f.goals) && f.total >= f.goals[f.next].cents {
			f.goals[f.next].reached = n
			f.next++
			f.heat += 4
			c.heat += 5
		}
	}
	delay := int64(20_000 + w.rng.IntN(50_000))
	if m.given%997 == 500 { // the source first said another amount
		first := *d
		first.Header, first.Money.Cents = record.Header{}, cents*10
		w.add(&first, &first.Header, c, ms, delay)
		delay += 3_600_000
	}
	w.add(d, &d.Header, c, ms, delay)
}

// shown is what the source of totals says of a channel at a minute.
func (m *money) shown(c *channel, n int) int64 {
	if r := &m.reset; c == r.of && n >= r.from {
		return c.funds.total - r.lost
	}
	if r := m.mirror; c == r.of && n >= r.from && n < r.to {
		return r.shows.funds.total
	}
	return c.funds.total
}

// sample tells the running totals of all channels and of the event.
func (m *money) sample(w *world, n int) {
	slot := int64(n) * 60_000
	if n < m.reset.from { // what is given after the last sample before counts in the new total
		m.reset.lost = m.reset.of.funds.total
	}
	if f := w.faults.amounts; slot >= f.from && slot < f.to {
		return
	}
	if r := &m.mirror; n >= r.from && n <= r.to {
		if n == r.to && r.of.funds.total >= r.last {
			r.to += amountMinutes // a way back that leads up could not be told from counting on
		}
		if n < r.to {
			r.last = r.shows.funds.total
		}
	}
	amount := func(c *channel, member string, cents int64) {
		d := &record.Amount{Source: Totals, Member: member, Money: record.Money{Cents: cents, Currency: Currency}}
		w.add(d, &d.Header, c, slot, 400)
	}
	sum := m.unmatched
	for _, c := range w.channels {
		cents := m.shown(c, n)
		sum += cents
		amount(c, "", cents)
	}
	amount(nil, guest, m.unmatched)
	amount(nil, "", sum)
}

// answer keeps an answer of each source, as a collector keeps every one: here one an hour.
func (m *money) answer(w *world, n int) {
	for source, body := range map[string]string{
		Singles: `{"data":[]}`,
		Totals:  fmt.Sprintf(`{"donationAmount":{"number":%d.%02d},"live":[]}`, m.sum/100, m.sum%100),
	} {
		d := &record.Answer{
			Source: source, Request: "/", Status: 200, Type: "application/json", Bytes: len(body), Hash: record.Hash(body), Body: body,
		}
		w.add(d, &d.Header, nil, int64(n)*60_000, 350)
	}
}

// goalDocs are the goals. Those that were reached are accomplished some time later, most of them.
func (w *world) goalDocs() []record.Goal {
	var out []record.Goal
	add := func(channel string, g goal) {
		d := record.Goal{
			ID:  w.cfg.Event + "/" + w.uuid(),
			Rev: 1, Event: w.cfg.Event, Channel: channel, Category: g.category, Name: g.name,
			Money: record.Money{Cents: g.cents, Currency: Currency}, Origin: "sample", Created: w.start.AddDate(0, 0, -7),
		}
		d.History = []record.GoalChange{{Time: d.Created, Author: "sample", Field: "created", To: g.name}}
		if g.reached >= 0 {
			if at := g.reached + 20 + w.rng.IntN(600); at < w.minutes {
				d.Rev++
				d.Accomplished = w.at(at)
				d.History = append(d.History, record.GoalChange{
					Time: d.Accomplished, Author: "sample", Field: "accomplished", To: d.Accomplished.Format(time.RFC3339),
				})
				d.Links = []string{"https://example.org/sample/clip/" + strconv.Itoa(len(out))}
			}
		}
		out = append(out, d)
	}
	for _, share := range []float64{0.0625, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1, 1.25} {
		add(record.AllChannels, goal{
			category: record.GoalGlobal, name: "Tous ensemble : palier " + strings.ReplaceAll(fmt.Sprint(share*100), ".", ",") + " %",
			cents: round(float64(w.cfg.Cents) * share), reached: -1,
		})
	}
	for _, c := range w.channels {
		for _, g := range slices.Concat(c.funds.goals, c.funds.other) {
			add(c.id, g)
		}
	}
	return out
}

// correctionDocs say what was wrong with the totals; one was itself wrong, and was withdrawn.
func (w *world) correctionDocs() []record.Correction {
	var (
		out []record.Correction
		m   = &w.money
	)
	add := func(c record.Correction) string {
		c.ID, c.Rev, c.Event = w.cfg.Event+"/"+w.uuid(), 1, w.cfg.Event
		c.Source, c.Currency, c.Author = Totals, Currency, "operator"
		out = append(out, c)
		return c.ID
	}
	add(record.Correction{
		Channel: m.mirror.of.id, Kind: record.CorrectionMirror, Time: w.at(m.mirror.from), To: w.at(m.mirror.to), Total: true,
		Reason: "the source showed the total of " + m.mirror.shows.login, Created: w.at(m.mirror.to + 12),
	})
	wrong := add(record.Correction{
		Channel: w.channels[0].id, Kind: record.CorrectionAmount, Time: w.at(w.part(0.4)), Cents: 250_000,
		Reason: "a cheque that was handed over on stage", Created: w.at(w.part(0.4) + 5),
	})
	add(record.Correction{
		Channel: w.channels[0].id, Time: w.at(w.part(0.4)), Withdraws: wrong,
		Reason: "the association had counted the cheque itself", Created: w.at(w.part(0.4) + 30),
	})
	if m.reset.lost > 0 {
		add(record.Correction{
			Channel: m.reset.of.id, Kind: record.CorrectionReset, Time: w.at(m.reset.from), Total: true,
			Reason: "the streamer began a new campaign, the source counts from zero", Created: w.at(m.reset.from + 20),
		})
	}
	return out
}
