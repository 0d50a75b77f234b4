package sample

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/sim"
)

// setChannels is how many channels a chat connection reads.
const setChannels = 80

// slots: viewers are sampled each minute, running totals each amountMinutes.
const (
	amountMinutes = 5
	quietMinutes  = 2 // at the end, in which nobody gives: the last samples show everything
)

// world is the event as it goes on. It moves minute by minute and draws in a fixed order.
type world struct {
	cfg     Config
	start   time.Time
	minutes int
	rng     *rand.Rand
	names   *record.Pseudonyms
	texts   []sim.Text
	plain   []int // texts without emotes
	result  Result

	channels []*channel // by size, the largest first
	sets     [][]*channel
	setIDs   [][]string
	setHash  []string
	faults   faults

	audience []float64 // viewers that all channels have together, by minute
	chat     []int64   // messages to be written by the end of a minute
	people   uint64    // number of the first chatter who is in many channels
	crowd    uint64    // how many of them there are
	weights  []float64 // of channels, summed up: who gets the next message
	purses   []float64 // the same of donations
	shared   []sharing
	streams  uint64

	money money

	out []record.Record
	err error
}

// channel is one channel.
type channel struct {
	id, login, name, picture string
	index                    int // place in world.channels
	set                      int
	language                 string

	size     float64 // share of the audience
	drift    float64 // what viewers are multiplied by, drifting around 1
	chatty   float64
	generous float64
	guests   float64 // viewers that raids brought
	heat     float64 // above 1 when something has just happened there

	streams  []stream // that are to come, by time; the first may be under way
	live     bool
	viewers  int
	streamID string
	started  time.Time
	title    string
	category int
	retitle  int // minute at which the title changes next
	rename   int // minute at which it takes another name; -1 never
	slow     bool

	pool   int    // how many chatters it has
	base   uint64 // number of its first one
	seen   []uint64
	recent [8]written1
	sent   int

	funds funds
}

// written1 is a message that can be answered or deleted.
type written1 struct {
	id, chatter string
	deleted     bool
}

// stream is from when to when a channel streams, in minutes of the event.
type stream struct{ from, to int }

// sharing is a time in which two channels share their chats.
type sharing struct{ a, b, from, to int }

// span is a span of time in milliseconds of the event.
type span struct{ from, to int64 }

// faults are what was not observed.
type faults struct {
	chat    [][]span // by collector: it did not read
	blinks  []span   // the first set was not read by anyone
	samples span     // no viewer samples
	amounts span     // the source of totals did not answer
	late    span     // what collector 1 read came late
}

const collectors = 3

//nolint:gochecknoglobals // tables of words, never changed
var (
	categories = []struct{ id, name string }{
		{"509658", "Just Chatting"},
		{"26936", "Music"},
		{"32982", "Grand Theft Auto V"},
		{"27471", "Minecraft"},
		{"21779", "League of Legends"},
		{"33214", "Fortnite"},
		{"516575", "VALORANT"},
		{"1469308723", "Software and Game Development"},
		{"743", "Chess"},
		{"509660", "Art"},
		{"512980", "Fall Guys"},
		{"504461", "Super Smash Bros. Ultimate"},
		{"491487", "Dead by Daylight"},
		{"369418", "GeoGuessr"},
	}
	titleStarts = []string{"ÉVÉNEMENT CARITATIF", "Jour 2", "Jour 3", "Dernière ligne droite", "Week-end caritatif", "Toute la nuit", "Marathon", "❤️ Ensemble"}
	titleEnds   = []string{
		"chaque don compte", "objectif suivant : le grand quiz", "découverte à l'aveugle", "on cuisine à 3 h", "tournoi entre amis",
		"la roue décide", "on ne dort pas avant l'objectif", "karaoké", "100 % des dons reversés", "objectifs dans les panneaux",
	}
	languages = []string{"fr", "fr", "fr", "fr", "fr", "fr", "fr", "en", "es"}
	// foreign are display names that are no spelling of the login, as Twitch allows in some languages.
	foreign = []string{"がびぶ", "나비솔", "小橘子", "ゾルテ_ch", "밤하늘", "雪見"}
)

func newWorld(cfg Config) (*world, error) {
	texts, err := sim.Texts()
	if err != nil {
		return nil, err
	}
	recorded, err := sim.AGDQ2020()
	if err != nil {
		return nil, err
	}
	w := &world{
		cfg: cfg, start: Start(), minutes: cfg.Hours * 60, texts: texts,
		rng: rand.New(rand.NewPCG(cfg.Seed, 0x73616d706c65)),
	}
	for i := range texts {
		if len(texts[i].Emotes) == 0 {
			w.plain = append(w.plain, i)
		}
	}
	w.plan(recorded)
	w.cast()
	public := make(map[string]string, len(w.channels))
	for _, c := range w.channels {
		public[c.id] = c.login
	}
	if w.names, err = record.NewPseudonyms(Key(cfg.Seed), public); err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	w.money.plan(w)
	return w, nil
}

// at is the start of a minute.
func (w *world) at(minute int) time.Time { return w.start.Add(time.Duration(minute) * time.Minute) }

// instant is a moment of the event.
func (w *world) instant(ms int64) time.Time { return w.start.Add(time.Duration(ms) * time.Millisecond) }

// part is the minute that lies at a share of the event.
func (w *world) part(share float64) int { return int(share * float64(w.minutes)) }

// plan takes the curves from the recording: its last hours up to where the show was over. Minutes that
// were not recorded are between their neighbours.
func (w *world) plan(recorded []sim.Minute) {
	last := len(recorded) - 1
	for recorded[last].Viewers < 100_000 {
		last--
	}
	rows := recorded[max(0, last+1-w.minutes) : last+1]
	viewers, messages := make([]float64, w.minutes), make([]float64, w.minutes)
	at := rows[len(rows)-1].Time.Add(-time.Duration(w.minutes-1) * time.Minute)
	var known sim.Minute
	for n := range w.minutes {
		for len(rows) > 0 && !rows[0].Time.After(at.Add(time.Duration(n)*time.Minute)) {
			r := rows[0]
			rows = rows[1:]
			if r.Viewers > 0 {
				known.Viewers = r.Viewers
			}
			if r.Messages >= 0 {
				known.Messages = r.Messages
			}
		}
		viewers[n], messages[n] = float64(max(known.Viewers, 1)), float64(known.Messages)+5
	}
	f := &w.faults
	f.chat = make([][]span, collectors)
	minutes := func(from int, length time.Duration) span {
		s := int64(from)*60_000 + 17_250
		return span{s, s + length.Milliseconds()}
	}
	f.chat[1] = []span{minutes(w.part(0.22), 14*time.Minute)} // another read the same
	together := minutes(w.part(0.47), 4*time.Minute+20*time.Second)
	f.chat[0] = []span{together}
	f.chat[1] = append(f.chat[1], together) // nobody read the sets that both had
	f.blinks = []span{minutes(w.part(0.71), 20*time.Second)}
	f.samples = span{int64(w.part(0.35)) * 60_000, int64(w.part(0.35)+3) * 60_000}
	f.amounts = span{int64(w.part(0.6)) * 60_000, int64(w.part(0.6)+20) * 60_000}
	f.late = minutes(w.part(0.8), 8*time.Minute)

	peak := float64(fullViewers) * float64(w.cfg.Channels) / fullChannels / slices.Max(viewers)
	for n := range viewers {
		viewers[n] *= peak
	}
	w.audience = viewers
	w.sets = make([][]*channel, (w.cfg.Channels+setChannels-1)/setChannels)
	for n := range messages {
		read := int64(0)
		for set := range w.sets {
			read += w.read(set, n)
		}
		messages[n] *= float64(read) / float64(60_000*len(w.sets))
	}
	w.chat = shares(messages, w.cfg.Messages)
}

// shares spreads a whole number over parts by their weights: the sum up to each part. All of it is given
// out.
func shares(weights []float64, n int64) []int64 {
	total := 0.0
	for _, v := range weights {
		total += v
	}
	out, sum := make([]int64, len(weights)), 0.0
	for i, v := range weights {
		sum += v
		out[i] = min(n, int64(math.Round(float64(n)*(sum/total))))
	}
	last := len(out) - 1
	for last > 0 && weights[last] == 0 {
		last--
	}
	for i := last; i < len(out); i++ {
		out[i] = n
	}
	return out
}

// readers are the two collectors of a set.
func readers(set int) [2]int { return [2]int{set % collectors, (set + 1) % collectors} }

// reading is when a collector was reading a set in a minute, in milliseconds of the event.
func (w *world) reading(collector, set, minute int) []span {
	in := []span{{int64(minute) * 60_000, int64(minute+1) * 60_000}}
	cut := w.faults.chat[collector]
	if set == 0 {
		cut = append(slices.Clone(cut), w.faults.blinks...)
	}
	for _, c := range cut {
		var out []span
		for _, s := range in {
			if left := (span{s.from, min(s.to, c.from)}); left.from < left.to {
				out = append(out, left)
			}
			if right := (span{max(s.from, c.to), s.to}); right.from < right.to {
				out = append(out, right)
			}
		}
		in = out
	}
	return in
}

// heard reports whether anyone read a set at a moment.
func (w *world) heard(set int, ms int64) bool {
	for _, c := range readers(set) {
		for _, s := range w.reading(c, set, int(ms/60_000)) {
			if s.from <= ms && ms < s.to {
				return true
			}
		}
	}
	return false
}

// read is for how many milliseconds of a minute a set was read by anyone.
func (w *world) read(set, minute int) int64 {
	var all []span
	for _, c := range readers(set) {
		all = append(all, w.reading(c, set, minute)...)
	}
	slices.SortFunc(all, func(a, b span) int { return int(a.from - b.from) })
	var sum, end int64
	for _, s := range all {
		if s.to > end {
			sum += s.to - max(s.from, end)
			end = s.to
		}
	}
	return sum
}

func zipf(i int) float64 { return 1 / math.Pow(float64(i)+2, 1.05) }

// cast makes the channels.
func (w *world) cast() {
	total := 0.0
	for i := range w.cfg.Channels {
		total += zipf(i)
	}
	ids := w.rng.Perm(w.cfg.Channels) // the largest has not the lowest id
	perChannel := float64(w.cfg.Messages) / float64(w.cfg.Channels)
	for i := range w.cfg.Channels {
		n := mix(w.cfg.Seed)%200_000 + uint64(ids[i])*7
		login := sim.Name(n) + "_sim"
		c := &channel{
			id: strconv.Itoa(910_000_000 + ids[i]*7919 + int(mix(w.cfg.Seed+1)%1000)), login: login, name: display(login),
			index: i, set: i % len(w.sets), language: languages[w.rng.IntN(len(languages))],
			size: zipf(i) / total, drift: 1, heat: 1, rename: -1,
			chatty: math.Exp(0.35 * w.rng.NormFloat64()), generous: math.Exp(0.5 * w.rng.NormFloat64()),
		}
		if i%37 == 20 {
			c.name = foreign[i/37%len(foreign)]
		}
		c.picture = "https://example.org/sample/" + c.id + ".png"
		c.pool = 12 + int(perChannel*float64(w.cfg.Channels)*c.size*0.2)
		c.base = w.people
		w.people += uint64(c.pool)
		c.seen = make([]uint64, (c.pool+63)/64)
		w.entitle(c)
		w.schedule(c)
		w.channels = append(w.channels, c)
		w.sets[c.set] = append(w.sets[c.set], c)
	}
	w.crowd = max(w.people/12, 20)
	for _, i := range []int{w.cfg.Channels / 3, w.cfg.Channels / 2, w.cfg.Channels - 1} {
		w.channels[i].rename = w.part(0.25 + 0.5*w.rng.Float64())
	}
	for set := range w.sets {
		var all []string
		for _, c := range w.sets[set] {
			all = append(all, c.id)
		}
		slices.Sort(all)
		w.setIDs, w.setHash = append(w.setIDs, all), append(w.setHash, record.ChannelSet(all))
	}
	for n := range max(1, w.cfg.Channels/60) {
		from := w.part(0.05 + 0.8*w.rng.Float64())
		s := sharing{a: 3*n + 1, b: 3*n + 3, from: from, to: from + 30 + w.rng.IntN(90)}
		if s.b < w.cfg.Channels {
			w.shared = append(w.shared, s)
		}
	}
	w.weights, w.purses = make([]float64, w.cfg.Channels), make([]float64, w.cfg.Channels)
}

// display is a display name for a login.
func display(login string) string {
	b := []byte(login)
	for i := range b {
		if (i == 0 || b[i-1] == '_') && b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// schedule draws when a channel streams: from the start for most, with nights and breaks.
func (w *world) schedule(c *channel) {
	at := -w.rng.IntN(120) // the stream was running when the event began
	if w.rng.Float64() < 0.15 && c.index > 1 {
		at = w.rng.IntN(max(1, min(w.minutes/2, 300)))
	}
	for at < w.minutes {
		length := 60 + int(390*math.Exp(0.5*w.rng.NormFloat64()))
		if c.index < max(2, w.cfg.Channels/20) {
			length *= 2
		}
		to := at + length
		c.streams = append(c.streams, stream{from: at, to: to})
		hour := (18*60 + to) / 60 % 24 // in Paris
		if hour >= 22 || hour < 8 {
			at = to + ((32-hour)%24+1)*60 + w.rng.IntN(180)
		} else {
			at = to + 30 + w.rng.IntN(180)
		}
	}
}

func (w *world) entitle(c *channel) {
	c.title = titleStarts[w.rng.IntN(len(titleStarts))] + " | " + titleEnds[w.rng.IntN(len(titleEnds))]
	if c.category == 0 || w.rng.IntN(3) > 0 {
		c.category = w.rng.IntN(len(categories))
	}
}

// uuid draws an id of the form that Twitch gives messages.
func (w *world) uuid() string {
	var raw uuid.UUID
	binary.LittleEndian.PutUint64(raw[:8], w.rng.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], w.rng.Uint64())
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	return raw.String()
}

// channelDocs are the channels as they are known last.
func (w *world) channelDocs() []record.Channel {
	out := make([]record.Channel, 0, len(w.channels))
	for _, c := range w.channels {
		out = append(out, record.Channel{
			ID: w.cfg.Event + "/" + c.id, Rev: 1, Event: w.cfg.Event, Channel: c.id, Login: c.login, Name: c.name,
			Picture: c.picture, Status: record.ChannelActive, Added: w.start.AddDate(0, 0, -20),
		})
	}
	return out
}
