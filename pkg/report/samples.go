package report

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/goals"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/statistics"
)

// The samples: data that templates are tried on.
const (
	// SampleShortest is an event that has hardly begun: one-letter names, nothing raised, nothing known.
	SampleShortest = "shortest"
	// SampleTypical is a weekend as it should be.
	SampleTypical = "typical"
	// SampleLongest has the longest names and largest numbers, emoji, and gaps.
	SampleLongest = "longest"
)

// SampleNames lists them.
func SampleNames() []string { return []string{SampleShortest, SampleTypical, SampleLongest} }

// Sample is made-up data of a name; the same each time. It panics for a name that there is not.
func Sample(name string) *Data {
	switch name {
	case SampleShortest:
		return shortest()
	case SampleTypical:
		return invented{
			event: "Marathon 2026", zone: "Europe/Paris", names: typicalNames(), scale: 1, observed: 1, goals: typicalGoals(),
			emotes: []string{"PogChamp", "LUL", "Kappa", "BibleThump", "HeyGuys", "NotLikeThis", "CoolStoryBob", "SeemsGood"},
			played: []string{"Just Chatting", "Mario Kart 8", "Minecraft", "GeoGuessr", "Trackmania"},
		}.data()
	case SampleLongest:
		return invented{
			event: "Le Très Grand Marathon Caritatif International de la Francophonie 2026 🎉", zone: "America/Argentina/ComodRivadavia",
			names: longestNames(), scale: 60, observed: 0.934, goals: longestGoals(),
			emotes: []string{
				"lesplusgrandsmotsdumondeHypeClapLove", "superlongueemotesansfinOuiOuiOui", "encoreuneautreemotetreslongue123", "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
				"MMMMMMMMMMMMMMMMMMMMMMMM", "troisiemeemotetreslonguequidepasse", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
			},
			played: []string{
				"The Legend of Zelda: Tears of the Kingdom – Édition du dixième anniversaire", "ウマ娘 プリティーダービー", "Pools, Hot Tubs, and Beaches",
				"Phoenix Wright: Ace Attorney – Trials and Tribulations", "Sid Meier's Civilization VII", "I'm Only Sleeping", "Fast & Furious Crossroads", "Talk Shows & Podcasts",
			},
		}.data()
	}
	panic("report: there is no sample " + strconv.Quote(name))
}

func sampleEvent(name, zone string) record.Event {
	return record.Event{
		Slug: "marathon-2026", Name: name, State: record.EventEnded, TimeZone: zone, Currency: "EUR",
		Start: time.Date(2026, 9, 4, 16, 0, 0, 0, time.UTC), End: time.Date(2026, 9, 6, 23, 0, 0, 0, time.UTC),
	}
}

func unknown() statistics.Count { return statistics.Count{Coverage: record.Unknown} }

// nothingKnown is a summary of someone of whom nothing is known.
func nothingKnown() statistics.Summary {
	m := statistics.Measure{Coverage: record.Unknown}
	u := unknown()
	return statistics.Summary{
		StreamMinutes: u, WatchMinutes: m, AverageViewers: m, PeakViewers: u, Messages: u, SharedCopies: u, FirstMessages: u, Chatters: u,
		MessagesPerMinute: m, MessagesPerChatter: m, MessagesPerViewer: m, MessagesPerViewerHour: m, Emotes: u, Bits: u, Cheers: u,
		Subs: u, Resubs: u, Gifts: u, GiftBombs: u, Upgrades: u, RaidsIn: u, RaidInViewers: u, RaidsOut: u, RaidOutViewers: u,
		Bans: u, Timeouts: u, Deletes: u, Clears: u, ModerationPer1000: m,
	}
}

func shortest() *Data {
	e := sampleEvent("E", "UTC")
	e.State = record.EventLive
	r := statistics.Range{From: e.Start, To: e.End}
	whole := nothingKnown()
	whole.Streamer, whole.Range, whole.Channels = statistics.Streamer{Channel: record.AllChannels, Login: e.Slug, Name: e.Name}, r, 1
	one := nothingKnown()
	one.Streamer, one.Range, one.Channels = statistics.Streamer{Channel: "1", Login: "a", Name: "a"}, r, 1
	s := &Streamer{Summary: one, Curve: statistics.Curve{Streamer: one.Streamer, Range: r, Step: curveStep}}
	return &Data{
		Event: e, Range: r, Summary: whole, Minutes: statistics.Curve{Range: r, Step: time.Minute}, Hours: statistics.Curve{Range: r, Step: time.Hour},
		Streamers: []*Streamer{s}, Pictured: []*Streamer{s}, Boards: map[string]statistics.Board{},
	}
}

func typicalNames() []string {
	return []string{
		"Amandine", "BaptisteLive", "Chantal_TV", "DocteurVolt", "Éléonore", "FilamentFou", "GrandJoueur", "HélioStream", "Iris", "JulesEtCie",
		"KarimPlays", "LumièreRouge", "Maëlle", "NuitBlanche", "Oscar", "PetitPixel", "Quentin_42", "RoseDesVents", "SuperNova", "Théodore",
		"UrsuleGaming", "VoltAmpère", "WattElse", "Xéna", "YannTV", "Zoé",
	}
}

func longestNames() []string {
	list := []string{
		"Ébénézer_de_Châteauneuf👩‍🚀", "WWWWWWWWWWWWWWWWWWWWWWWWW", "ストリーマー名前長い日本語チャンネルですね", "스트리머이름이아주아주길어요스트리머",
		"اسم_المذيع_طويل_جدا_هنا", "🇫🇷🏳️‍🌈👨‍👩‍👧‍👦🎉🔥💛", "Наталья_Александровна_ТВ", "ÀÉÎÕÜàéîõüŒœÆæŠšŽžŸÿ",
	}
	for i := len(list); i < 24; i++ {
		list = append(list, fmt.Sprintf("UneChaîneAuNomTrèsLong%03d", i))
	}
	return list
}

func typicalGoals() []string {
	return []string{
		"Faire 100 pompes en direct", "Se teindre les cheveux en orange", "Speedrun de nuit", "Saut en parachute", "Karaoké avec le chat",
		"Un gâteau par abonné", "Jouer les yeux bandés", "Lire les dons en alexandrins", "Un concert surprise",
	}
}

func longestGoals() []string {
	return []string{
		"Traverser la France à vélo en dansant la bourrée auvergnate sur chaque place de village 🚴💃🇫🇷",
		"Se faire tatouer le plus petit des trois émotes que le tchat aura choisies à l’unanimité",
		"Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
		"Organiser un tournoi de pétanque intergalactique avec toutes et tous les streameuses et streamers",
	}
}

// invented makes up an event.
type invented struct {
	event, zone   string
	names         []string
	scale         float64 // of all numbers
	observed      float64
	goals         []string
	emotes        []string
	played        []string
	chance        *rand.Rand
	whole         record.Event
	span          statistics.Range
	coverage      string
	gapFrom, gaps time.Time
}

func (v invented) data() *Data {
	v.chance = rand.New(rand.NewPCG(2026, 9))
	v.whole = sampleEvent(v.event, v.zone)
	v.span = statistics.Range{From: v.whole.Start, To: v.whole.End}
	v.coverage = record.Complete
	if v.observed < 1 {
		v.coverage = record.Partial
		v.gapFrom, v.gaps = v.whole.Start.Add(20*time.Hour), v.whole.Start.Add(23*time.Hour+40*time.Minute)
	}
	d := &Data{
		Event: v.whole, Range: v.span, Over: true, Observed: v.observed, Boards: map[string]statistics.Board{},
		Minutes: statistics.Curve{Streamer: statistics.Streamer{Channel: record.AllChannels, Name: v.event}, Range: v.span, Step: time.Minute, Currency: "EUR", Source: "charity"},
		Hours:   statistics.Curve{Streamer: statistics.Streamer{Channel: record.AllChannels, Name: v.event}, Range: v.span, Step: time.Hour, Currency: "EUR", Source: "charity"},
	}
	d.Minutes.Points = v.points(time.Minute, 200_000, 90_000_00)
	d.Hours.Points = v.points(time.Hour, 200_000, 90_000_00)
	d.Summary = v.summary(statistics.Streamer{Channel: record.AllChannels, Login: v.whole.Slug, Name: v.event}, d.Hours.Points, d.Minutes.Points)
	d.Summary.Channels = 350
	var summaries []statistics.Summary
	for i, name := range v.names {
		weight := 1 / math.Pow(float64(i+1), 0.8)
		id := strconv.Itoa(1000 + i)
		who := statistics.Streamer{Channel: id, Login: "chaine_" + id, Name: name}
		curve := statistics.Curve{Streamer: who, Range: v.span, Step: curveStep, Currency: "EUR", Points: v.points(curveStep, 60_000*weight, 9_000_00*weight)}
		hours := statistics.Curve{Streamer: who, Range: v.span, Step: time.Hour, Currency: "EUR", Points: v.points(time.Hour, 60_000*weight, 9_000_00*weight)}
		s := &Streamer{Summary: v.summary(who, hours.Points, curve.Points), Curve: curve, Hours: hours, Observed: v.observed}
		s.Categories = v.categories(id)
		d.Streamers = append(d.Streamers, s)
		summaries = append(summaries, s.Summary)
	}
	d.Pictured, d.Avatars = d.Streamers, map[string][]byte{}
	for i, s := range d.Streamers {
		if i%3 != 2 { // some have none
			d.Avatars[s.Channel] = avatarOf(i)
		}
	}
	for _, by := range statistics.Bys() {
		b, err := statistics.BoardOf(by, summaries)
		if err != nil {
			panic(err) // all of Bys have one
		}
		before := b
		before.To, before.Rows = v.span.To.Add(-24*time.Hour), slices.Clone(b.Rows)
		for i := range before.Rows {
			before.Rows[i].Place = 1 + v.chance.IntN(len(before.Rows))
		}
		if len(before.Rows) > 6 {
			before.Rows = slices.Delete(before.Rows, 5, 6)
		}
		d.Boards[by] = b.Since(before)
	}
	v.edition(d)
	v.race(d)
	v.social(d)
	v.promise(d)
	v.feats(d)
	return d
}

// points are steps of a weekend: quiet at night, louder towards the end.
func (v *invented) points(step time.Duration, viewers, centsPerHour float64) []statistics.Point {
	var out []statistics.Point
	all := v.span.Length().Hours()
	var total int64
	phase := v.chance.Float64()
	for at := v.span.From; at.Before(v.span.To); at = at.Add(step) {
		h := at.Sub(v.span.From).Hours()
		day := 0.62 + 0.38*math.Sin((h+16-14)/24*2*math.Pi)
		loud := day * (0.7 + 0.5*h/all) * (1 + 0.08*math.Sin(h*3+phase*6) + 0.05*v.chance.Float64())
		if h < 1 {
			loud *= 0.4 + 0.6*h
		}
		people := int64(viewers * v.scale * loud)
		hours := step.Hours()
		money := int64(centsPerHour * v.scale * loud * loud * hours * (0.8 + 0.4*v.chance.Float64()))
		if all-h < 2 {
			money *= 3
		}
		total += money
		p := statistics.Point{
			Time: at, Messages: statistics.Count{N: int64(float64(people) * 0.036 * 60 * hours), Coverage: record.Complete},
			Viewers: statistics.Measure{N: float64(people) * 0.96, Coverage: record.Complete}, Peak: statistics.Count{N: people, Coverage: record.Complete},
			Total: statistics.Count{N: total, Coverage: record.Complete}, Corrected: statistics.Count{N: total, Coverage: record.Complete},
			Raised: statistics.Count{N: money, Coverage: record.Complete}, RaisedCorrected: statistics.Count{N: money, Coverage: record.Complete},
		}
		if !v.gaps.IsZero() && !at.Before(v.gapFrom) && at.Before(v.gaps) {
			p.Messages, p.Peak, p.Viewers = unknown(), unknown(), statistics.Measure{Coverage: record.Unknown}
			p.Total, p.Corrected, p.Raised, p.RaisedCorrected = unknown(), unknown(), unknown(), unknown()
		}
		out = append(out, p)
	}
	return out
}

func (v *invented) summary(who statistics.Streamer, hours, fine []statistics.Point) statistics.Summary {
	s := nothingKnown()
	s.Event, s.Streamer, s.Range, s.Through, s.Channels = v.whole.Slug, who, v.span, v.span.To.Add(-time.Minute), 1
	count := func(n float64) statistics.Count { return statistics.Count{N: int64(n), Coverage: v.coverage} }
	measure := func(n float64) statistics.Measure { return statistics.Measure{N: n, Coverage: v.coverage} }
	var messages, watch, total float64
	for _, p := range hours {
		messages += float64(p.Messages.N)
		watch += p.Viewers.N * 60
		total = max(total, float64(p.Corrected.N))
	}
	s.PeakViewers = count(0)
	for _, p := range fine {
		if p.Peak.N > s.PeakViewers.N {
			s.PeakViewers.N, s.PeakAt = p.Peak.N, p.Time
		}
	}
	s.StreamMinutes, s.WatchMinutes, s.AverageViewers = count(54*60+12), measure(watch), measure(watch/60/float64(max(len(hours), 1)))
	if who.Channel == record.AllChannels {
		s.StreamMinutes = count(12_431 * 60)
	}
	s.Messages, s.FirstMessages, s.Emotes = count(messages), count(messages/40), count(messages/3)
	s.Chatters = statistics.Count{N: int64(messages / 9), Coverage: v.coverage, Error: 0.016}
	s.MessagesPerMinute, s.MessagesPerChatter, s.MessagesPerViewerHour = measure(messages/55/60), measure(9), measure(2.1)
	s.Subs, s.Resubs, s.Gifts, s.Bits, s.Cheers = count(messages/400), count(messages/200), count(messages/300), count(messages/2), count(messages/500)
	s.RaidsIn, s.RaidInViewers, s.RaidsOut, s.RaidOutViewers = count(3), count(4210*v.scale), count(2), count(3100*v.scale)
	s.Bans, s.Timeouts, s.Deletes = count(messages/9000), count(messages/3000), count(messages/2500)
	for i, e := range v.emotes {
		s.TopEmotes = append(s.TopEmotes, record.Emote{ID: e, Name: e, Count: int(messages / 5 / float64(i+1))})
	}
	raw := total
	if v.observed < 1 {
		raw *= 1.37 // corrections took something away
	}
	s.Donations = []statistics.Donations{{
		Source: "charity", Currency: "EUR", Main: true, Total: count(raw), Corrected: count(total), By: statistics.BySamples, At: v.span.To,
		Raised: count(raw), RaisedCorrected: count(total), Count: count(total / 1800), Cents: count(total), Mean: measure(1800), Largest: count(1_234_567 * v.scale),
	}}
	return s
}

func (v *invented) categories(channel string) []statistics.Category {
	var out []statistics.Category
	at := v.span.From
	for i, name := range v.played {
		length := time.Duration(19-3*i) * time.Hour
		if length < time.Hour {
			length = time.Hour
		}
		end := at.Add(length)
		if end.After(v.span.To) {
			end = v.span.To
		}
		if !end.After(at) {
			break
		}
		minutes := end.Sub(at).Minutes()
		out = append(out, statistics.Category{
			Name: name, Channels: 1, Time: end.Sub(at), StreamMinutes: statistics.Count{N: int64(minutes), Coverage: record.Complete},
			WatchMinutes: statistics.Measure{N: minutes * 48_000 * v.scale * (1 - 0.1*float64(i)), Coverage: record.Complete},
			Stints:       []statistics.Stint{{Channel: channel, Range: statistics.Range{From: at, To: end}}},
		})
		at = end
	}
	return out
}

// edition is that of the year before, a little smaller.
func (v *invented) edition(d *Data) {
	there := d.Minutes
	there.Name, there.From, there.To = v.event+" – 2025", v.span.From.AddDate(-1, 0, 0), v.span.To.AddDate(-1, 0, 0)
	there.Points = slices.Clone(d.Minutes.Points)
	for i := range there.Points {
		p := &there.Points[i]
		p.Time = p.Time.AddDate(-1, 0, 0)
		p.Viewers.N *= 0.7
		p.Messages.N = p.Messages.N * 8 / 10
		p.Corrected.N = p.Corrected.N * 6 / 10
	}
	c, err := statistics.Compare(d.Minutes, there, curveStep)
	if err != nil {
		panic(err) // both are of minutes
	}
	d.Comparison = &c
}

// race is how the leaderboard came about: everyone wanders to where they end.
func (v *invented) race(d *Data) {
	board := d.Boards[statistics.ByDonated]
	d.Race = statistics.Race{By: statistics.ByDonated, Currency: "EUR", From: v.span.From}
	scores := make([]float64, len(board.Rows))
	for _, r := range board.Rows {
		d.Race.Lanes = append(d.Race.Lanes, statistics.Lane{Streamer: r.Streamer})
	}
	for at := v.span.From.Add(time.Hour); !at.After(v.span.To); at = at.Add(time.Hour) {
		share := at.Sub(v.span.From).Hours() / v.span.Length().Hours()
		d.Race.Times = append(d.Race.Times, at)
		order := make([]int, len(scores))
		for i := range scores {
			order[i] = i
			scores[i] = float64(board.Rows[i].Value.N) * share * (1 + (1-share)*1.4*math.Sin(float64(i)*1.7+share*5))
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
		for place, i := range order {
			lane := &d.Race.Lanes[i]
			lane.Places = append(lane.Places, place+1)
			lane.Values = append(lane.Values, statistics.Count{N: int64(max(scores[i], 0)), Coverage: v.coverage})
		}
	}
}

func (v *invented) social(d *Data) {
	d.Categories, d.Emotes = v.categories(""), d.Summary.TopEmotes
	for i, s := range d.Streamers {
		d.Network.Nodes = append(d.Network.Nodes, statistics.Node{Streamer: s.Streamer, Chatters: s.Chatters})
		for j := range i {
			if (i*7+j*3)%5 > 1 && j > 2 {
				continue
			}
			shared := int64(float64(min(s.Chatters.N, d.Streamers[j].Chatters.N)) * (0.1 + 0.5*v.chance.Float64()))
			a, b := d.Streamers[j].Channel, s.Channel
			d.Overlaps = append(d.Overlaps, statistics.Overlap{A: a, B: b, Shared: shared})
			d.Network.Links = append(d.Network.Links, statistics.Link{A: a, B: b, Shared: shared})
		}
		at := v.span.From.Add(time.Duration(3+7*i%50) * time.Hour)
		d.Bursts = append(d.Bursts, statistics.Burst{
			Streamer: s.Streamer, Of: statistics.OfMessages, Range: statistics.Range{From: at, To: at.Add(4 * time.Minute)},
			Peak: int64(4000 * v.scale), PeakAt: at, Level: 300, Ratio: 14 - float64(i)/3, Score: 40 - float64(i),
		})
		d.Raids = append(d.Raids, statistics.Raid{Time: at, From: d.Streamers[(i+3)%len(d.Streamers)].Channel, To: s.Channel, Viewers: int64(1800 * v.scale)})
	}
	slices.SortStableFunc(d.Overlaps, func(a, b statistics.Overlap) int { return cmp.Compare(b.Shared, a.Shared) })
	shareOverlaps(d)
}

// promise makes up goals, and sees which are reached.
func (v *invented) promise(d *Data) {
	board := goals.NewBoard(goals.Config{End: v.whole.End})
	var list []record.Goal
	add := func(channel, category, name string, cents int64, kept bool) {
		g := record.Goal{
			ID: v.whole.Slug + "/" + strconv.Itoa(len(list)), Event: v.whole.Slug, Channel: channel, Category: category, Name: name,
			Money: record.Money{Cents: cents, Currency: "EUR"}, Created: v.span.From,
		}
		if kept {
			g.Accomplished = v.span.To
		}
		list = append(list, g)
	}
	for i := range 9 {
		add(record.AllChannels, record.GoalGlobal, v.goals[(i*2)%len(v.goals)], d.Summary.Donations[0].Corrected.N*int64(i+1)/7, false)
	}
	board.Set(record.AllChannels, totalsOf(d.Minutes))
	for i, s := range d.Streamers {
		board.Set(s.Channel, totalsOf(s.Curve))
		for j := range 4 {
			add(s.Channel, record.GoalDonation, v.goals[(i+j)%len(v.goals)], s.Donations[0].Corrected.N/100_00*(25_00*int64(j+1)+int64(j/3)*27_00), j == 0 && i%2 == 0)
		}
	}
	d.Goals = board.Evaluate(list, v.span.To)
	for _, g := range d.Goals.Goals {
		if s := d.streamer(g.Goal.Channel); s != nil {
			s.Goals = append(s.Goals, g)
		}
	}
}

func (v *invented) feats(d *Data) {
	count := func(n float64) statistics.Count { return statistics.Count{N: int64(n), Coverage: v.coverage} }
	event := d.Summary.Streamer
	who := func(i int) statistics.Streamer { return d.Streamers[i%len(d.Streamers)].Streamer }
	at := v.span.From.Add(27 * time.Hour)
	other := who(5)
	d.Feats = []statistics.Feat{
		{Name: statistics.MostMessages, Streamer: who(0), Value: count(8421 * v.scale), Unit: "messages", At: at},
		{Name: statistics.MostMessagesEvent, Streamer: event, Value: count(45_012 * v.scale), Unit: "messages", At: at},
		{Name: statistics.MostEmotes, Streamer: who(1), Value: count(12_311 * v.scale), Unit: "emotes", At: at},
		{Name: statistics.MostGifts, Streamer: who(2), Value: count(500 * v.scale), Unit: "gifts", At: at},
		{Name: statistics.HighestPeak, Streamer: who(0), Value: d.Streamers[0].PeakViewers, Unit: "viewers", At: at},
		{Name: statistics.HighestPeakEvent, Streamer: event, Value: d.Summary.PeakViewers, Unit: "viewers", At: d.Summary.PeakAt},
		{Name: statistics.LargestDonation, Streamer: who(3), Value: count(12_345_00 * v.scale), Unit: "cents", Currency: "EUR", At: at},
		{Name: statistics.MostRaised, Streamer: who(4), Value: count(98_765_00 * v.scale), Unit: "cents", Currency: "EUR", At: at, To: at.Add(time.Hour)},
		{Name: statistics.MostRaisedEvent, Streamer: event, Value: count(1_234_567_00 * v.scale), Unit: "cents", Currency: "EUR", At: at, To: at.Add(time.Hour)},
		{Name: statistics.BiggestRaid, Streamer: who(6), Value: count(12_400 * v.scale), Unit: "viewers", At: at, Other: &other},
		{Name: statistics.LongestStream, Streamer: who(7), Value: count(54*60 + 58), Unit: "minutes", At: v.span.From, To: v.span.To},
		{Name: statistics.LongestWithout, Streamer: event, Value: count(4), Unit: "minutes", At: at},
		{Name: statistics.FirstTo + "100000", Streamer: who(1), Value: count(31*60 + 12), Unit: "minutes", At: at, Currency: "EUR"},
		{Name: statistics.FirstTo + "1000000" + eventFeat, Streamer: event, Value: count(9*60 + 2), Unit: "minutes", At: at, Currency: "EUR"},
	}
}

// avatarOf is a made-up picture.
func avatarOf(i int) []byte {
	const size = 96
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	hue := func(shift int) uint8 { return uint8(90 + (i*53+shift*71)%140) }
	sky, face := color.NRGBA{hue(0), hue(1), hue(2), 255}, color.NRGBA{hue(3), hue(4), hue(5), 255}
	for y := range size {
		for x := range size {
			img.SetNRGBA(x, y, sky)
			head := (x-48)*(x-48) + (y-38)*(y-38)
			body := (x-48)*(x-48) + (y-104)*(y-104)
			if head < 20*20 || body < 42*42 {
				img.SetNRGBA(x, y, face)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // memory takes all
	}
	return b.Bytes()
}
