package sim

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Charity is what the simulator's charity sources tell. One model of donations is behind all of them.
type Charity struct {
	// Rate is the mean number of donations per second of event time over all channels, bursts left out.
	// Negative: none are made. Default 5. In a replay the recording decides.
	Rate float64
	// Currency of all amounts. Default "EUR"; of a replay "USD".
	Currency string
	// Team is the id of the Streamlabs team, and of Tiltify's team campaign. Default "sim".
	Team string
	// Ledger gets a JSON line for each donation made, see Donated. Default nil, none.
	Ledger io.Writer
}

// Raised is how much was given.
type Raised struct {
	// Donations is how many single donations were made, Cents their sum: what the ledger has.
	Donations int64 `json:"donations"`
	Cents     int64 `json:"cents"`
	// Shown is the total that the sources show, in cents: what was recorded before a replay's slice is
	// in it, and what faults do to it.
	Shown    int64  `json:"shown"`
	Currency string `json:"currency"`
}

// nobody is the channel of a donation that was given to the event as a whole.
const nobody = -1

const (
	charityStep = time.Second
	// wholeEvent is the share of donations without a member.
	wholeEvent = 0.02
	// A goal that falls makes a channel's donations boost times as many, fading by half in each
	// boostHalf.
	boost     = 8.0
	boostHalf = 30 * time.Second
	boostTurn = 10 * time.Second // how often the fading is looked at
	// firstDonation is an id of the length that the sources' have: too long for a float64.
	firstDonation = 956_519_162_388_290_954
)

// donation is one donation. It is never changed.
type donation struct {
	id      uint64
	channel int32
	donor   uint32
	country uint8
	comment uint8 // 0: none
	cents   int64
	// created is what the sources say, in whole seconds; seen is when they begin to list it, in
	// milliseconds. Lists are in the order of seen, so created goes back and forth.
	created, seen int64
}

// charity is the donations of a run. Its mutex is taken before Sim.mu.
type charity struct {
	cfg    Charity
	sim    *Sim
	mu     sync.Mutex
	rng    *rand.Rand
	begun  bool
	ended  bool
	start  time.Time
	steps  int64
	list   []donation
	byWhom [][]int32  // indexes into list by channel
	ahead  []donation // of a replay: those still to come
	shown  []stair    // of a replay: the recorded running total

	total   []int64 // truth by channel
	whole   int64   // given to nobody in particular
	weights []float64
	cum     []float64
	heat    []float64 // what the weight of a channel is multiplied by, less one
	hot     int       // how many channels have heat
	turn    time.Time

	goals  [][]goal
	reach  []int // by channel: how many goals have fallen
	faulty map[int]*wrong
	ledger *ledger
}

// stair is a recorded value of the running total, from a moment on.
type stair struct {
	from  int64 // Unix milliseconds
	cents int64
}

type goal struct {
	id, name, category string
	cents              int64
}

// wrong is what the sources show of a channel instead of the truth.
type wrong struct {
	mirror  int       // the channel that is shown instead; nobody for none
	until   time.Time // of the mirror; zero for ever
	taken   int64     // since a reset
	doubled int64
}

func newCharity(s *Sim) *charity {
	c := &charity{
		cfg: s.cfg.Charity, sim: s, rng: rand.New(rand.NewPCG(s.cfg.Seed, 0x63686172697479)),
		faulty: map[int]*wrong{}, ledger: newLedger(s.cfg.Charity.Ledger),
	}
	n := len(s.model.channels)
	c.total, c.weights, c.heat, c.reach = make([]int64, n), make([]float64, n), make([]float64, n), make([]int, n)
	c.byWhom, c.goals = make([][]int32, n), make([][]goal, n)
	sum := 0.0
	for i, ch := range s.model.channels {
		// Big channels are given more by each viewer than small ones, but not in proportion.
		c.weights[i] = math.Pow(ch.size, 0.85) * (0.5 + c.rng.Float64())
		sum += c.weights[i]
	}
	for i := range c.weights {
		c.weights[i] /= sum
		c.goals[i] = c.promise(i)
	}
	c.weigh()
	if s.cfg.Replay != nil {
		c.record(s.cfg.Replay)
	}
	return c
}

// promise makes the goals of a channel: more and higher ones where more is given.
func (c *charity) promise(i int) []goal {
	var out []goal
	base := c.weights[i] * 40_000_000 // cents: the channel's part of 400,000
	n := 1 + c.rng.IntN(4)
	for k := range n {
		at := base * math.Pow(2.2, float64(k)) / 60
		g := goal{
			id:       strconv.Itoa(7000 + i*10 + k),
			category: "donation", cents: max(int64(at)/5000, 1) * 5000,
			name: promises[c.rng.IntN(len(promises))],
		}
		if k > 0 && g.cents <= out[k-1].cents {
			g.cents = out[k-1].cents + 5000
		}
		out = append(out, g)
	}
	return out
}

//nolint:gochecknoglobals // tables of words, never changed
var (
	promises = []string{
		"Karaoké pendant une heure", "Blind test avec le chat", "Teinture de cheveux", "Un marathon de plus", "Recette piquante",
		"Cosplay choisi par le chat", "Nuit blanche", "Dessin en direct", "Speedrun les yeux bandés", "Quiz de culture générale",
	}
	countries = []string{"France", "France", "France", "France", "France", "France", "Belgique", "Suisse", "Canada", "Maroc"}
	comments  = []string{
		"", "Merci à tous !", "Courage pour la nuit", "Pour la bonne cause ❤", "Bravo %s, continue", "De la part de %s et de sa famille",
		"gg", "On y croit 💪",
	}
	roundAmounts = []int64{100, 200, 300, 500, 500, 500, 500, 1000, 1000, 1000, 1000, 1500, 2000, 2000, 2000, 3000, 5000, 5000, 10_000}
)

// record makes the donations of a recording. Between two recorded running totals lie as many donations
// as the count has grown by, and their sum is what the total has grown by. Where only one of the two
// has grown, or one has shrunk, there are none, and only the total moves.
func (c *charity) record(r *Replay) {
	var last *Minute
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Cents != NotRecorded {
			c.shown = append(c.shown, stair{row.Time.UnixMilli(), row.Cents})
		}
		if row.Cents == NotRecorded || row.Donations == NotRecorded {
			continue
		}
		if last != nil {
			c.split(last.Time, row.Time, row.Donations-last.Donations, row.Cents-last.Cents)
		}
		last = row
	}
	if len(c.shown) > 0 {
		c.shown[0].from = math.MinInt64 // minutes before the first recorded have its value
	}
}

// split makes n donations of cents in all, evenly over [from, to).
func (c *charity) split(from, to time.Time, n int, cents int64) {
	n = int(min(int64(n), cents))
	if n <= 0 {
		return
	}
	shares := make([]float64, n)
	sum := 0.0
	for i := range shares {
		shares[i] = c.rng.ExpFloat64() + 0.2
		sum += shares[i]
	}
	left := cents - int64(n) // each gets one cent for certain
	for i, due := range spaced(c.rng, from, to, n) {
		part := int64(float64(cents-int64(n)) * shares[i] / sum)
		if i == n-1 {
			part = left
		}
		left -= part
		c.ahead = append(c.ahead, donation{
			channel: 0, cents: part + 1, seen: due.UnixMilli(), created: due.Unix(),
			donor: c.donor(), country: uint8(c.rng.IntN(len(countries))), comment: c.remark(),
		})
	}
}

// spaced gives n moments of [from, to), in order, at random but even distances.
func spaced(rng *rand.Rand, from, to time.Time, n int) []time.Time {
	due := make([]time.Time, n)
	width := float64(to.Sub(from)-10*time.Millisecond) / float64(n)
	for i := range due {
		due[i] = from.Add(time.Duration((float64(i) + rng.Float64()) * width).Truncate(time.Millisecond))
	}
	return due
}

// begin makes donations possible, from a moment of event time on.
func (c *charity) begin(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.start, c.turn = true, at, at
}

// end makes what is due until now, or in a replay until its end, and nothing after it.
func (c *charity) end() {
	at := c.sim.cfg.Clock.Now()
	if r := c.sim.cfg.Replay; r != nil && at.After(r.From.Add(r.For)) {
		at = r.From.Add(r.For)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(at)
	c.ended = true
}

// flush makes what is due, and writes the ledger out.
func (c *charity) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now()
	return c.ledger.flush()
}

// now brings the donations up to the present. mu is held.
func (c *charity) now() time.Time {
	now := c.sim.cfg.Clock.Now()
	c.advance(now)
	return now
}

func (c *charity) advance(now time.Time) {
	if !c.begun || c.ended {
		return
	}
	if c.sim.cfg.Replay != nil {
		for len(c.ahead) > 0 && c.ahead[0].seen <= now.UnixMilli() {
			c.give(c.ahead[0])
			c.ahead = c.ahead[1:]
		}
		return
	}
	if c.cfg.Rate < 0 {
		return
	}
	for {
		from := c.start.Add(time.Duration(c.steps) * charityStep)
		if from.Add(charityStep).After(now) {
			return
		}
		c.steps++
		c.cool(from)
		rate := c.cfg.Rate * c.cum[len(c.cum)-1] * charityStep.Seconds()
		for _, due := range spaced(c.rng, from, from.Add(charityStep), c.poisson(rate)) {
			c.give(c.draw(due))
		}
	}
}

// poisson draws how many happen where mean are expected.
func (c *charity) poisson(mean float64) int {
	if mean > 50 {
		return max(int(math.Round(mean+math.Sqrt(mean)*c.rng.NormFloat64())), 0)
	}
	n, p := -1, 1.0
	for limit := math.Exp(-mean); p > limit; n++ {
		p *= c.rng.Float64()
	}
	return n
}

// draw makes one donation.
func (c *charity) draw(due time.Time) donation {
	d := donation{
		seen: due.UnixMilli(), channel: nobody, cents: c.amount(),
		donor: c.donor(), country: uint8(c.rng.IntN(len(countries) + 1)), comment: c.remark(),
	}
	if c.rng.Float64() >= wholeEvent {
		u := c.rng.Float64() * c.cum[len(c.cum)-1]
		i, _ := slices.BinarySearchFunc(c.cum, u, cmp.Compare[float64])
		d.channel = int32(min(i, len(c.cum)-1))
	}
	// Payments take their time: most are listed at once, a few a minute after they were made.
	late := c.rng.IntN(3)
	switch p := c.rng.Float64(); {
	case p < 0.01:
		late = 20 + c.rng.IntN(70)
	case p < 0.1:
		late = 2 + c.rng.IntN(18)
	}
	d.created = max(due.Unix()-int64(late), c.start.Unix())
	return d
}

// amount draws cents: mostly round ones, many that are not, and few that are large.
func (c *charity) amount() int64 {
	switch p := c.rng.Float64(); {
	case p < 0.65:
		return roundAmounts[c.rng.IntN(len(roundAmounts))]
	case p < 0.995:
		return max(int64(800*math.Exp(0.9*c.rng.NormFloat64())), 100)
	default:
		return min(int64(10_000*math.Pow(1-c.rng.Float64(), -0.8)), 1_000_000)
	}
}

// donors is how many people give.
const donors = 200_000

func (c *charity) donor() uint32 {
	if c.rng.Float64() < 0.05 {
		return 0 // does not say
	}
	u := c.rng.Float64()
	return 1 + uint32(u*u*donors)
}

func (c *charity) remark() uint8 {
	if c.rng.Float64() < 0.6 {
		return 0
	}
	return uint8(c.rng.IntN(len(comments)))
}

// give takes a donation into the lists, totals and ledger. mu is held.
func (c *charity) give(d donation) {
	d.id = firstDonation + uint64(len(c.list))*4096 + mix(c.sim.cfg.Seed+uint64(len(c.list)))%4096
	entry := Donated{
		Donation: strconv.FormatUint(d.id, 10), Cents: d.cents, Currency: c.cfg.Currency, CreatedMS: d.created * 1000, Donor: donorName(d.donor),
	}
	if d.channel == nobody {
		c.whole += d.cents
	} else {
		i := int(d.channel)
		c.byWhom[i] = append(c.byWhom[i], int32(len(c.list)))
		c.total[i] += d.cents
		for c.reach[i] < len(c.goals[i]) && c.total[i] >= c.goals[i][c.reach[i]].cents {
			c.reach[i]++
			if c.heat[i] == 0 {
				c.hot++
			}
			c.heat[i] = boost - 1
			c.weigh()
		}
		c.sim.mu.Lock()
		ch := c.sim.model.channels[i].Channel
		if p := c.sim.faults.CharityDouble; p > 0 && c.sim.chance.Float64() < p {
			c.wrongOf(i).doubled += d.cents
		}
		c.sim.mu.Unlock()
		entry.Channel, entry.Room = ch.Login, ch.ID
	}
	c.list = append(c.list, d)
	c.sim.metrics.donations.Inc()
	c.ledger.donated(&entry)
}

// cool lets the excitement fade.
func (c *charity) cool(now time.Time) {
	if now.Sub(c.turn) < boostTurn {
		return
	}
	keep := math.Exp2(-now.Sub(c.turn).Seconds() / boostHalf.Seconds())
	c.turn = now
	if c.hot == 0 {
		return
	}
	for i, h := range c.heat {
		if h == 0 {
			continue
		}
		if c.heat[i] = h * keep; c.heat[i] < 0.05 {
			c.heat[i] = 0
			c.hot--
		}
	}
	c.weigh()
}

func (c *charity) weigh() {
	c.cum = c.cum[:0]
	sum := 0.0
	for i, w := range c.weights {
		sum += w * (1 + c.heat[i])
		c.cum = append(c.cum, sum)
	}
}

func (c *charity) wrongOf(i int) *wrong {
	w := c.faulty[i]
	if w == nil {
		w = &wrong{mirror: nobody}
		c.faulty[i] = w
	}
	return w
}

// truth is what a channel was given at a moment; in a replay, what was recorded. mu is held.
func (c *charity) truth(i int, now time.Time) int64 {
	if c.sim.cfg.Replay == nil {
		return c.total[i]
	}
	at, cents := now.UnixMilli(), int64(0)
	if c.ended {
		at = math.MaxInt64
	}
	for _, s := range c.shown {
		if s.from > at {
			break
		}
		cents = s.cents
	}
	return cents
}

// totals are what the sources show: of each channel, and of the event. mu is held.
func (c *charity) totals(now time.Time) (channels []int64, event int64) {
	channels = make([]int64, len(c.total))
	for i := range channels {
		channels[i] = c.truth(i, now)
	}
	for i, w := range c.faulty {
		if w.mirror != nobody && (w.until.IsZero() || now.Before(w.until)) {
			channels[i] = c.truth(w.mirror, now)
			continue
		}
		channels[i] += w.doubled - w.taken
	}
	event = c.whole
	for _, cents := range channels {
		event += cents
	}
	return channels, event
}

// Raised is how much was given until now.
func (s *Sim) Raised() Raised {
	c := s.charity
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	out := Raised{Donations: int64(len(c.list)), Cents: c.whole, Currency: c.cfg.Currency}
	for _, cents := range c.total {
		out.Cents += cents
	}
	_, out.Shown = c.totals(now)
	return out
}

// MirrorTotal has the sources show another channel's total as a channel's own for a time; 0 is until
// MendTotal. The ledger knows nothing of it.
func (s *Sim) MirrorTotal(login, other string, lasts time.Duration) error {
	return s.falsify(login, other, lasts, func(c *charity, i, j int, now time.Time) {
		w := c.wrongOf(i)
		w.mirror, w.until = j, time.Time{}
		if lasts > 0 {
			w.until = now.Add(lasts)
		}
	})
}

// ResetTotal has the sources begin a channel's total anew from zero.
func (s *Sim) ResetTotal(login string) error {
	return s.falsify(login, login, 0, func(c *charity, i, _ int, now time.Time) {
		w := c.wrongOf(i)
		w.mirror, w.doubled, w.taken = nobody, 0, c.truth(i, now)
	})
}

// DoubleTotal has the sources count the newest donation of a channel twice in its total, from now on.
func (s *Sim) DoubleTotal(login string) error {
	none := false
	err := s.falsify(login, login, 0, func(c *charity, i, _ int, _ time.Time) {
		if none = len(c.byWhom[i]) == 0; !none {
			c.wrongOf(i).doubled += c.list[c.byWhom[i][len(c.byWhom[i])-1]].cents
		}
	})
	if err == nil && none {
		err = fmt.Errorf("simulator: nobody has given %s anything yet", login)
	}
	return err
}

// MendTotal has the sources show the truth of a channel again.
func (s *Sim) MendTotal(login string) error {
	return s.falsify(login, login, 0, func(c *charity, i, _ int, _ time.Time) { delete(c.faulty, i) })
}

func (s *Sim) falsify(login, other string, lasts time.Duration, do func(c *charity, i, j int, now time.Time)) error {
	if lasts < 0 {
		return errors.New("simulator: a time below 0: use 0 (until it is mended) or more")
	}
	s.mu.Lock()
	ch, err := s.find(login)
	var of *channel
	if err == nil {
		of, err = s.find(other)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.charity.mu.Lock()
	defer s.charity.mu.Unlock()
	do(s.charity, ch.index, of.index, s.charity.now())
	return nil
}

// donorName is what a donor is called; empty for one who does not say.
func donorName(n uint32) string {
	if n == 0 {
		return ""
	}
	return string(appendTitle(nil, uint64(n)+40_000)) + "_" + strconv.FormatUint(mix(uint64(n))%1000, 10)
}

// commentOf is what a donor wrote; empty for nothing.
func commentOf(d *donation) string {
	text := comments[d.comment]
	if i := slices.Index([]byte(text), '%'); i >= 0 {
		return fmt.Sprintf(text, donorName(d.donor^1))
	}
	return text
}

// decimal writes cents as a decimal number, as JSON does a float: 81549 is 815.49, 5000 is 50.
func decimal(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	s := sign + strconv.FormatInt(cents/100, 10)
	switch rest := cents % 100; {
	case rest == 0:
		return s
	case rest%10 == 0:
		return s + "." + strconv.FormatInt(rest/10, 10)
	case rest < 10:
		return s + ".0" + strconv.FormatInt(rest, 10)
	default:
		return s + "." + strconv.FormatInt(rest, 10)
	}
}
