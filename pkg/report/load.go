package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
	"github.com/tungstene/tungstene/pkg/store"
)

// Loading says what is read of an event.
type Loading struct {
	// Store is where the event is.
	Store store.Store
	// Event is its slug. Default: the only one in the store.
	Event string
	// Channels are ids, logins or names of those whose pictures are wanted. Default: all. The rest of
	// the event is read all the same.
	Channels []string
	// Edition is an earlier edition by minutes, to compare with; nil for none.
	Edition *statistics.Curve
	// Workers is how many streamers are read at once. Default 4.
	Workers int
	// Now is the time that goals are estimated at. Default: that of the call.
	Now time.Time
	// Cache is a folder where what takes long to count is kept between runs. Default: nowhere.
	Cache string
	// Avatars fetches the streamers' pictures while the rest is being read; nil for none.
	Avatars *Avatars
	// Progress is told how many streamers of how many are read; nil for nobody.
	Progress func(done, all int)
}

// curveStep is that of streamers' curves: fine enough for a picture, and 350 of them fit in memory.
const curveStep = 10 * time.Minute

// burstsOfEach is how many bursts of one streamer are kept.
const burstsOfEach = 3

// overlapsOfEach is how many shared audiences of one streamer are kept.
const overlapsOfEach = 10

// Load reads what pictures are made of. Errors wrap statistics.ErrUnknown where there is no such event
// or channel.
func Load(ctx context.Context, o Loading) (*Data, error) {
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	r, err := statistics.Open(ctx, o.Store, o.Event)
	if err != nil {
		return nil, err
	}
	l := &loader{Loading: o, reader: r, board: goals.NewBoard(goals.Config{End: r.Event().End}), data: &Data{
		Event: r.Event(), Range: r.Whole(), Boards: map[string]statistics.Board{},
	}}
	l.data.Over = !r.Event().End.IsZero() && !r.Through().IsZero() && !r.Through().Add(time.Minute).Before(r.Event().End)
	if !l.data.Over {
		l.data.Until = l.data.Range.From
		if through := r.Through(); through.After(l.data.Until) {
			l.data.Until = through.Add(time.Minute)
		}
		l.data.Axis = axisOf(l.data.Range, l.data.Until)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer l.fetching.Wait() // even after an error
	defer cancel()
	for _, step := range []func(context.Context) error{
		l.event, l.summaries, l.wanted, l.streamers, l.boards, l.facts, l.goals, l.audience, l.edition,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	l.fetching.Wait()
	return l.data, nil
}

// axisOf is what charts of a running event show: all of it, and of one that has hardly begun what there is
// until the end of the hour, for the rest would be an empty axis.
func axisOf(whole statistics.Range, until time.Time) statistics.Range {
	const begun = 24 // a 24th of the event: two hours of a weekend
	end := until.Truncate(time.Hour).Add(time.Hour)
	if until.Sub(whole.From) < whole.Length()/begun && end.Before(whole.To) {
		whole.To = end
	}
	return whole
}

type loader struct {
	Loading
	reader *statistics.Reader
	data   *Data

	fetching sync.WaitGroup // of avatars

	mu    sync.Mutex // of what follows
	board *goals.Board
}

func (l *loader) event(ctx context.Context) (err error) {
	if _, err = l.reader.Raids(ctx); err != nil { // from now on summaries tell of raids
		return err
	}
	if l.data.Summary, err = l.reader.Summary(ctx, record.AllChannels, l.data.Range); err != nil {
		return err
	}
	if l.data.Minutes, err = l.reader.Curve(ctx, record.AllChannels, l.data.Range, time.Minute); err != nil {
		return err
	}
	if l.data.Hours, err = l.reader.Curve(ctx, record.AllChannels, l.data.Range, time.Hour); err != nil {
		return err
	}
	l.board.Set(record.AllChannels, totalsOf(l.data.Minutes))
	return nil
}

// totalsOf are the running totals of a curve, for goals.
func totalsOf(c statistics.Curve) []goals.Point {
	var out []goals.Point
	for _, p := range c.Points {
		if p.Corrected.Known() {
			out = append(out, goals.Point{Time: p.Time, Cents: p.Corrected.N})
		}
	}
	return out
}

func (l *loader) summaries(ctx context.Context) error {
	summaries, err := l.reader.Summaries(ctx, l.data.Range)
	if err != nil {
		return err
	}
	for i := range summaries {
		l.data.Streamers = append(l.data.Streamers, &Streamer{Summary: summaries[i]})
	}
	return nil
}

// streamers reads the rest of all of them, several at once.
func (l *loader) streamers(ctx context.Context) error {
	if l.Avatars != nil {
		l.fetching.Go(func() { l.data.Avatars = l.Avatars.Load(ctx, l.data.Streamers) })
	}
	observed, err := l.observed(ctx)
	if err != nil {
		return err
	}
	l.data.Observed = observed[record.AllChannels]
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(l.Workers)
	done := 0
	for _, s := range l.data.Streamers {
		s.Observed = observed[s.Channel]
		group.Go(func() error {
			if err := l.streamer(ctx, s); err != nil {
				return fmt.Errorf("streamer %s: %w", cmp.Or(s.Login, s.Channel), err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			done++
			if l.Progress != nil {
				l.Progress(done, len(l.data.Streamers))
			}
			return nil
		})
	}
	return group.Wait()
}

func (l *loader) streamer(ctx context.Context, s *Streamer) error {
	minutes, err := l.reader.Curve(ctx, s.Channel, l.data.Range, time.Minute)
	if err != nil {
		return err
	}
	s.Curve = coarse(minutes, curveStep)
	// Hours are counted by themselves: one in which a source is sampled now and then is complete.
	if s.Hours, err = l.reader.Curve(ctx, s.Channel, l.data.Range, time.Hour); err != nil {
		return err
	}
	bursts := statistics.Ranked(statistics.BurstsOf(minutes, statistics.OfMessages, nil, statistics.BurstConfig{}), burstsOfEach)
	totals := totalsOf(minutes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data.Bursts = append(l.data.Bursts, bursts...)
	if len(totals) > 0 {
		l.board.Set(s.Channel, totals)
	}
	return nil
}

// coarse puts minutes together into steps: the highest peak, the mean of viewers, the sums, the last
// total. A step is known where a minute of it is, and complete where all are.
func coarse(c statistics.Curve, step time.Duration) statistics.Curve {
	out := c
	out.Step, out.Points = step, nil
	for i := 0; i < len(c.Points); {
		begin := c.Points[i].Time.Truncate(step)
		p, n := c.Points[i], 1
		live := 0
		if p.Viewers.Known() {
			live = 1
		}
		for i++; i < len(c.Points) && c.Points[i].Time.Truncate(step).Equal(begin); i++ {
			q := c.Points[i]
			n++
			if q.Viewers.Known() {
				live++
				p.Viewers.N += q.Viewers.N
			}
			p.Viewers.Coverage = both(p.Viewers.Coverage, q.Viewers.Coverage)
			p.Peak = statistics.Count{N: max(p.Peak.N, q.Peak.N), Coverage: both(p.Peak.Coverage, q.Peak.Coverage)}
			p.Messages = add(p.Messages, q.Messages)
			p.RaisedCorrected = add(p.RaisedCorrected, q.RaisedCorrected)
			p.Raised = add(p.Raised, q.Raised)
			if q.Corrected.Known() {
				p.Corrected = q.Corrected
			}
			if q.Total.Known() {
				p.Total = q.Total
			}
		}
		if live > 0 {
			p.Viewers.N /= float64(live)
		}
		out.Points = append(out.Points, p)
	}
	return out
}

func add(a, b statistics.Count) statistics.Count {
	return statistics.Count{N: a.N + b.N, Coverage: both(a.Coverage, b.Coverage)}
}

// both is the coverage of two times together.
func both(a, b string) string {
	if a == b {
		return a
	}
	return record.Partial
}

// observed is the share of its time that each channel's chat was read.
func (l *loader) observed(ctx context.Context) (map[string]float64, error) {
	out := map[string]float64{}
	for raw, err := range l.Store.Find(ctx, store.Query{Collection: store.Totals, Event: l.data.Event.Slug}) {
		if err != nil {
			return nil, fmt.Errorf("read the coverage of event %s: %w", l.data.Event.Slug, err)
		}
		var t struct {
			Channel  string         `bson:"channel"`
			Coverage record.Covered `bson:"coverage"`
		}
		if err := bson.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("read total %s: %w", store.DocID(raw), err)
		}
		if t.Coverage.Expected > 0 {
			out[t.Channel] = min(t.Coverage.Seconds/t.Coverage.Expected, 1)
		}
	}
	return out, nil
}

// boards are the leaderboards, with what has changed in the last day, or the last half of the event.
func (l *loader) boards(ctx context.Context) error {
	races, err := l.reader.Races(ctx)
	if err != nil {
		return err
	}
	summaries := make([]statistics.Summary, 0, len(l.data.Streamers))
	for _, s := range l.data.Streamers {
		summaries = append(summaries, s.Summary)
	}
	for i := range races {
		b, err := statistics.BoardOf(races[i].By, summaries)
		if err != nil {
			return err
		}
		if n := len(races[i].Times); n > 1 {
			b = b.Since(races[i].At(n - 1 - min(24, n/2)))
		}
		l.data.Boards[races[i].By] = b
	}
	by := statistics.ByWatchTime
	if _, ok := raised(&l.data.Summary); ok {
		by = statistics.ByDonated
	}
	for _, race := range races {
		if race.By == by {
			l.data.Race = race
		}
	}
	return nil
}

func (l *loader) facts(ctx context.Context) (err error) {
	if l.data.Raids, err = l.reader.Raids(ctx); err != nil {
		return err
	}
	if l.data.Feats, err = l.reader.Feats(ctx); err != nil {
		return err
	}
	if l.data.Categories, err = l.reader.Categories(ctx, record.AllChannels, l.data.Range); err != nil {
		return err
	}
	l.played()
	l.data.Bursts = statistics.Ranked(l.data.Bursts, boardRowsMost)
	return nil
}

// played gives each streamer the categories that it streamed, longest first.
func (l *loader) played() {
	for _, k := range l.data.Categories {
		of := map[string]*statistics.Category{}
		for _, stint := range k.Stints {
			mine := of[stint.Channel]
			if mine == nil {
				mine = &statistics.Category{ID: k.ID, Name: k.Name, Channels: 1}
				of[stint.Channel] = mine
			}
			mine.Time += stint.Length()
			mine.Stints = append(mine.Stints, stint)
		}
		for channel, mine := range of {
			if s := l.data.streamer(channel); s != nil {
				s.Categories = append(s.Categories, *mine)
			}
		}
	}
	for _, s := range l.data.Streamers {
		slices.SortStableFunc(s.Categories, func(a, b statistics.Category) int { return cmp.Compare(b.Time, a.Time) })
		s.settle()
	}
}

// settle makes the times of the categories no longer together than what was streamed: a stream begins
// before its first sample and ends after its last one, which stream minutes don't count.
func (s *Streamer) settle() {
	var whole time.Duration
	for i := range s.Categories {
		whole += s.Categories[i].Time
	}
	streamed := time.Duration(s.StreamMinutes.N) * time.Minute
	if !s.StreamMinutes.Known() || whole <= streamed {
		return
	}
	for i := range s.Categories {
		share := s.Categories[i].Time.Seconds() / whole.Seconds()
		s.Categories[i].Time = time.Duration(math.Round(share*streamed.Minutes())) * time.Minute
	}
}

func (l *loader) goals(ctx context.Context) error {
	list, err := l.reader.Goals(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	if slices.ContainsFunc(list, func(g record.Goal) bool {
		return g.Category == record.GoalEqual || g.Category == record.GoalMoreThan || g.Category == record.GoalLargest
	}) {
		if err := l.singles(ctx); err != nil {
			return err
		}
	}
	now := l.Now
	if through := l.reader.Through().Add(time.Minute); through.Before(now) {
		now = through // what has been counted until then is known, and nothing after it
	}
	l.data.Goals = l.board.Evaluate(list, now)
	for _, g := range l.data.Goals.Goals {
		if s := l.data.streamer(g.Goal.Channel); s != nil {
			s.Goals = append(s.Goals, g)
		}
	}
	return nil
}

// singles tells the board of single donations, of each the version that counts, of the source that tells some.
func (l *loader) singles(ctx context.Context) error {
	latest := map[string]record.Donation{}
	q := store.Query{Collection: store.Records, Event: l.data.Event.Slug, Kind: record.KindDonation}
	for raw, err := range l.Store.Find(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the donations of event %s: %w", l.data.Event.Slug, err)
		}
		var d record.Donation
		if err := bson.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("read donation %s: %w", store.DocID(raw), err)
		}
		if d.Source != l.data.Minutes.Singles {
			continue
		}
		d.Raw, d.Text = "", ""
		old, ok := latest[d.Donation]
		if !ok || record.CompareVersions(d.Versioned(), old.Versioned()) > 0 {
			latest[d.Donation] = d
		}
	}
	byChannel := map[string][]goals.Single{}
	for _, d := range latest {
		if d.Money.Currency != l.data.Minutes.Currency {
			continue
		}
		one := goals.Single{Time: d.Time.UTC(), Cents: d.Money.Cents}
		byChannel[record.AllChannels] = append(byChannel[record.AllChannels], one)
		if d.Channel != "" {
			byChannel[d.Channel] = append(byChannel[d.Channel], one)
		}
	}
	for channel, list := range byChannel {
		l.board.SetSingles(channel, list)
	}
	return nil
}

// networkLeast is how many chatters two channels share at least to be joined in the network.
const networkLeast = 3

// audience is who shares chatters. Where the records are erased nobody can tell any more.
func (l *loader) audience(ctx context.Context) error {
	if !l.data.Event.RecordsErased.IsZero() {
		return nil
	}
	a, err := l.census(ctx)
	if err != nil {
		return err
	}
	l.data.Overlaps, l.data.Emotes = a.Overlaps, a.Emotes
	l.data.Network = statistics.NetworkOf(a, l.data.Raids, networkLeast)
	shareOverlaps(l.data)
	return nil
}

// census counts who chats where, from every message: most of the time that loading takes. It is kept
// where Cache is set, for as long as nothing more is counted of the event.
func (l *loader) census(ctx context.Context) (a statistics.Audience, err error) {
	path := ""
	if l.Cache != "" && l.data.Over {
		e := &l.data.Event
		sum := sha256.Sum256(fmt.Appendf(nil, "1 %s %s %s %d %d %v", e.Slug, e.Start, e.End, l.reader.Through().UnixNano(), l.data.Summary.Messages.N, l.data.Observed))
		path = filepath.Join(l.Cache, "audience-"+hex.EncodeToString(sum[:8])+".json")
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &a) == nil {
			return a, nil
		}
	}
	if a, err = l.reader.Audience(ctx, l.data.Range); err != nil {
		return a, err
	}
	if path == "" {
		return a, nil
	}
	data, err := json.Marshal(a)
	if err != nil {
		return a, fmt.Errorf("keep who shares chatters: %w", err)
	}
	if err := os.MkdirAll(l.Cache, 0o755); err != nil { //nolint:gosec // numbers only
		return a, fmt.Errorf("keep who shares chatters: %w", err)
	}
	return a, writeFile(path, data)
}

// shareOverlaps gives each streamer the pairs that it is in, those that share most first.
func shareOverlaps(d *Data) {
	for _, o := range d.Overlaps {
		for _, channel := range []string{o.A, o.B} {
			if s := d.streamer(channel); s != nil && len(s.Overlaps) < overlapsOfEach {
				s.Overlaps = append(s.Overlaps, o)
			}
		}
	}
}

func (l *loader) edition(ctx context.Context) error {
	if l.Edition == nil {
		return nil
	}
	c, err := statistics.Compare(l.data.Minutes, *l.Edition, curveStep)
	if err != nil {
		return fmt.Errorf("compare with %s: %w", l.Edition.Name, err)
	}
	l.data.Comparison = &c
	return nil
}

// wanted leaves those streamers whose pictures are to be made.
func (l *loader) wanted(ctx context.Context) error {
	l.data.Pictured = l.data.Streamers
	if len(l.Channels) == 0 {
		return nil
	}
	l.data.Pictured = nil
	for _, name := range l.Channels {
		who, err := l.reader.Find(ctx, name)
		if err != nil {
			return err
		}
		s := l.data.streamer(who.Channel)
		if s == nil {
			return fmt.Errorf("%w: nothing is counted yet of channel %s", statistics.ErrUnknown, name)
		}
		if !slices.Contains(l.data.Pictured, s) {
			l.data.Pictured = append(l.data.Pictured, s)
		}
	}
	return nil
}
