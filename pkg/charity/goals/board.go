package goals

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Board keeps the corrected totals of an event's channels, and says how far the goals are. It is not
// safe for concurrent use. A new total costs a look at that channel's window alone.
type Board struct {
	cfg    Config
	tracks map[string]*track
}

// track is what is known of one channel.
type track struct {
	points []Point // by time
	// peaks are the points that are higher than all before them.
	peaks   []Point
	singles *singles
	// speed is that of points, where fast says that it was measured.
	speed Speed
	fast  bool
}

// singles are single donations, ready to be asked.
type singles struct {
	peaks []Single           // higher than all before them
	sizes []int64            // of all, ascending
	equal map[int64]sameSize // by cents
}

type sameSize struct {
	first time.Time
	count int64
}

// NewBoard makes a board without totals.
func NewBoard(cfg Config) *Board {
	if cfg.Window <= 0 {
		cfg.Window = 30 * time.Minute
	}
	if cfg.Horizon <= 0 {
		cfg.Horizon = 12 * cfg.Window
	}
	return &Board{cfg: cfg, tracks: make(map[string]*track)}
}

func (b *Board) track(channel string) *track {
	t := b.tracks[channel]
	if t == nil {
		t = &track{}
		b.tracks[channel] = t
	}
	return t
}

// Set replaces all that is known of a channel's corrected running total (of the event's:
// record.AllChannels), in any order; of several points at one moment the highest counts. Times are
// estimated from points that are no further apart than a minute or two; older ones may be sparse.
func (b *Board) Set(channel string, points []Point) {
	t := b.track(channel)
	t.points = slices.Clone(points)
	slices.SortFunc(t.points, func(x, y Point) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(y.Cents, x.Cents))
	})
	t.points = slices.CompactFunc(t.points, func(x, y Point) bool { return x.Time.Equal(y.Time) })
	t.peaks, t.fast = nil, false
	for _, p := range t.points {
		t.rise(p)
	}
}

func (t *track) rise(p Point) {
	if len(t.peaks) == 0 || p.Cents > t.peaks[len(t.peaks)-1].Cents {
		t.peaks = append(t.peaks, p)
	}
}

// Add adds a point to a channel's total; one that is not later than the last is put in its place in
// time.
func (b *Board) Add(channel string, p Point) {
	t := b.track(channel)
	if n := len(t.points); n > 0 && !p.Time.After(t.points[n-1].Time) {
		b.Set(channel, append(t.points, p))
		return
	}
	t.points, t.fast = append(t.points, p), false
	t.rise(p)
}

// Latest is the last point of a channel's total; false where there is none.
func (b *Board) Latest(channel string) (Point, bool) {
	t := b.tracks[channel]
	if t == nil || len(t.points) == 0 {
		return Point{}, false
	}
	return t.points[len(t.points)-1], true
}

// SetSingles replaces the single donations of a channel (of the event: record.AllChannels), in any
// order. Where none are set, goals that they decide are not known; an empty list says that there were
// none.
func (b *Board) SetSingles(channel string, list []Single) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y Single) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Cents, y.Cents)) })
	s := &singles{equal: make(map[int64]sameSize)}
	for _, x := range list {
		if len(s.peaks) == 0 || x.Cents > s.peaks[len(s.peaks)-1].Cents {
			s.peaks = append(s.peaks, x)
		}
		same := s.equal[x.Cents]
		if same.count == 0 {
			same.first = x.Time
		}
		same.count++
		s.equal[x.Cents] = same
		s.sizes = append(s.sizes, x.Cents)
	}
	slices.Sort(s.sizes)
	b.track(channel).singles = s
}

// Evaluate says how far goals are. It depends on nothing but the board, the goals and now; of their
// order it doesn't.
func (b *Board) Evaluate(goals []record.Goal, now time.Time) Overview {
	list := make([]*record.Goal, 0, len(goals))
	for i := range goals {
		if !goals[i].Deleted {
			list = append(list, &goals[i])
		}
	}
	slices.SortFunc(list, order)
	out := Overview{Goals: make([]Status, len(list)), Next: make(map[string]Status)}
	for i, g := range list {
		b.status(&out.Goals[i], g, now)
	}
	next := make(map[string]int)
	for i := range out.Goals {
		s := &out.Goals[i]
		if !falls(s) {
			continue
		}
		if j, ok := next[s.Goal.Channel]; !ok || s.Missing < out.Goals[j].Missing {
			next[s.Goal.Channel] = i
		}
	}
	for c, i := range next {
		out.Next[c] = out.Goals[i]
	}
	return out
}

// falls reports whether a goal can be the next to fall: a total decides it, and has not yet.
func falls(s *Status) bool {
	switch s.Goal.Category {
	case record.GoalDonation, record.GoalGlobal:
		return s.Known && !s.Reached && s.Goal.Accomplished.IsZero()
	case record.GoalRecurrent:
		return s.Known
	}
	return false
}

// order is that of Overview: the event's goals first.
func order(x, y *record.Goal) int {
	if x.Channel != y.Channel {
		return cmp.Compare(x.Channel, y.Channel) // "*" comes before digits
	}
	return cmp.Or(cmp.Compare(x.Category, y.Category), cmp.Compare(x.Money.Cents, y.Money.Cents), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
}

// Channels are those that something is known of, sorted.
func (b *Board) Channels() []string { return slices.Sorted(maps.Keys(b.tracks)) }

func (b *Board) status(s *Status, g *record.Goal, now time.Time) {
	s.Goal, s.ETA.Certainty = *g, Unsure
	s.Goal.History = nil
	channel := g.Channel
	if g.Category == record.GoalGlobal {
		channel = record.AllChannels
	}
	if g.Category == record.GoalIncentive {
		s.Known = true
		return
	}
	t := b.tracks[channel]
	amount := g.Money.Cents
	if t == nil || amount <= 0 && g.Category != record.GoalLargest || b.cfg.Currency != "" && g.Money.Currency != b.cfg.Currency {
		return
	}
	switch g.Category {
	case record.GoalDonation, record.GoalGlobal:
		if len(t.points) > 0 {
			b.byTotal(s, t, amount, now)
		}
	case record.GoalRecurrent:
		if len(t.points) > 0 {
			b.again(s, t, amount, now)
		}
	case record.GoalEqual, record.GoalMoreThan, record.GoalLargest:
		if t.singles != nil {
			b.bySingle(s, t.singles, amount, now)
		}
	}
}

// byTotal is a goal that falls once.
func (b *Board) byTotal(s *Status, t *track, amount int64, now time.Time) {
	s.Known = true
	s.Current = t.points[len(t.points)-1].Cents
	s.Progress = permille(s.Current, amount)
	if s.Current >= amount {
		s.Reached, s.Times, s.ReachedAt = true, 1, t.reached(amount)
		return
	}
	s.Missing = amount - s.Current
	s.ETA = b.estimate(t, s.Missing, now)
}

// again is a goal that falls at each multiple of its amount.
func (b *Board) again(s *Status, t *track, amount int64, now time.Time) {
	s.Known = true
	total := max(t.points[len(t.points)-1].Cents, 0)
	s.Times, s.Current = total/amount, total%amount
	if s.Times > 0 {
		s.Reached, s.ReachedAt = true, t.reached(s.Times*amount)
	}
	s.Missing = amount - s.Current
	s.Progress = permille(s.Current, amount)
	s.ETA = b.estimate(t, s.Missing, now)
}

func (b *Board) bySingle(s *Status, of *singles, amount int64, now time.Time) {
	s.Known = true
	if s.Goal.Category == record.GoalEqual {
		same := of.equal[amount]
		s.Times, s.Reached, s.ReachedAt = same.count, same.count > 0, same.first
		if s.Missing = amount; s.Reached {
			s.Current, s.Missing, s.Progress = amount, 0, 1000
		}
		return
	}
	if n := len(of.peaks); n > 0 {
		s.Current = of.peaks[n-1].Cents
	}
	s.Missing = max(amount-s.Current, 0)
	s.Progress = permille(s.Current, amount)
	if s.Missing > 0 || len(of.peaks) == 0 {
		return
	}
	first, _ := slices.BinarySearchFunc(of.peaks, amount, func(x Single, n int64) int { return cmp.Compare(x.Cents, n) })
	if s.Goal.Category == record.GoalMoreThan {
		i, _ := slices.BinarySearch(of.sizes, amount)
		s.Reached, s.ReachedAt, s.Times = true, of.peaks[first].Time, int64(len(of.sizes)-i)
		return
	}
	// A larger one can come until the end.
	if b.cfg.End.IsZero() || now.Before(b.cfg.End) {
		s.Progress = 999
		return
	}
	s.Reached, s.Times, s.ReachedAt = true, 1, of.peaks[len(of.peaks)-1].Time
}

// reached is the time of the first point of at least so much.
func (t *track) reached(cents int64) time.Time {
	i, _ := slices.BinarySearchFunc(t.peaks, cents, func(p Point, n int64) int { return cmp.Compare(p.Cents, n) })
	if i == len(t.peaks) {
		return time.Time{}
	}
	return t.peaks[i].Time
}

// Before is the last point of a channel's total before a moment; false where there is none. With
// Status.ReachedAt it says in which span a goal fell.
func (b *Board) Before(channel string, at time.Time) (Point, bool) {
	t := b.tracks[channel]
	if t == nil {
		return Point{}, false
	}
	i, _ := slices.BinarySearchFunc(t.points, at, func(p Point, at time.Time) int { return p.Time.Compare(at) })
	if i == 0 {
		return Point{}, false
	}
	return t.points[i-1], true
}

// permille is the share of the whole in thousandths: 1000 only if all of it is there.
func permille(part, whole int64) int {
	switch {
	case part <= 0:
		return 0
	case part >= whole:
		return 1000
	}
	return int(float64(part) / float64(whole) * 1000) //nolint:mnd // for display
}
