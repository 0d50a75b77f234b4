package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// The traffic model: channels of very unequal size (Zipf), viewers that drift, streams that begin
// and end, titles and categories that change. It moves in steps of event time that lie on a fixed
// grid, so that what it draws depends on the seed and not on when it is asked.

const (
	modelStep = 5 * time.Second
	// viewersPerMessage is how many viewers write one message a second: 3.6 messages a minute
	// per 100 viewers.
	viewersPerMessage = 100 * 60 / 3.6
	recentMessages    = 8
	// The burst of chat once in each cycle.
	cycleSeconds = 60.0
	burstSeconds = 3.0
	hotChannels  = 3
)

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
		{"29307", "Path of Exile"},
		{"18122", "World of Warcraft"},
		{"743", "Chess"},
		{"509660", "Art"},
		{"29452", "Virtual Casino Night"},
		{"512980", "Fall Guys"},
		{"504461", "Super Smash Bros. Ultimate"},
		{"491487", "Dead by Daylight"},
	}
	titleStarts = []string{"MARATHON", "Day 1", "Day 2", "Final hours", "Charity weekend", "All night", "Back again", "Together"}
	titleEnds   = []string{
		"road to the next goal", "every donation counts", "blind run", "quiz with the viewers", "cooking at 3 am",
		"tournament", "the big wheel", "no sleep until the goal", "goals in the panels", "karaoke",
	}
	languages = []string{"fr", "fr", "fr", "fr", "fr", "en", "en", "es", "de"}
)

// channel is one channel. All of it is guarded by Sim.mu.
type channel struct {
	Channel

	index    int
	language string
	size     float64 // its share of the audience
	drift    float64 // what viewers are multiplied by, drifting around 1
	phase    float64
	guests   float64 // viewers that a raid brought
	live     bool
	stream   string
	started  time.Time
	title    string
	category int

	base   uint64 // number of its first chatter
	pool   int    // how many chatters it has
	seen   []uint64
	recent [recentMessages]recentMessage
	sent   int // messages made, for recent

	lastClear int64 // stamp of the last CLEARCHAT
	members   []*conn
	heard     bool // somebody was sent a message of it
}

// recentMessage is a message that can be answered or deleted.
type recentMessage struct {
	id      [36]byte
	chatter uint64
	text    int32
	deleted bool
}

// viewers is what Helix tells.
func (c *channel) viewers() int {
	if !c.live {
		return 0
	}
	return int(c.size*c.drift + c.guests)
}

type model struct {
	rng      *rand.Rand
	seed     uint64
	channels []*channel
	rate     float64
	burst    float64
	at       time.Duration // of the last step
	streams  uint64        // stream ids given
	cum      []float64     // of the channels' weights
	hot      []int         // channels of the present burst
	hotCycle int
	shared   uint64 // first of the chatters who are in many channels
}

// sharedChatters is how many chatters are in many channels.
const sharedChatters = 20_000

func newModel(cfg *Config, start time.Time) *model {
	m := &model{
		rng: rand.New(rand.NewPCG(cfg.Seed, 0x7477697463682d31)), seed: cfg.Seed,
		rate: cfg.Rate, burst: cfg.Burst, hotCycle: -1,
	}
	total := 0.0
	for i := range cfg.Channels {
		total += zipf(i)
	}
	audience := cfg.Rate * viewersPerMessage
	for i := range cfg.Channels {
		// The biggest channel is not the first in any list.
		name := string(appendName(nil, mix(cfg.Seed)%names+uint64(i)*7)) + "_sim"
		c := &channel{
			Channel:  Channel{ID: strconv.Itoa(900_000_000 + i*7919 + int(mix(cfg.Seed+1)%1000)), Login: name, Name: capital(name)},
			index:    i,
			language: languages[m.rng.IntN(len(languages))],
			size:     audience * zipf(i) / total,
			drift:    1,
			phase:    m.rng.Float64() * 2 * math.Pi,
		}
		c.base = m.shared
		c.pool = 20 + int(c.size*0.15)
		m.shared += uint64(c.pool)
		c.seen = make([]uint64, (c.pool+63)/64)
		m.entitle(c)
		if m.rng.Float64() < 0.92 || i == 0 {
			m.goLive(c, start.Add(-time.Duration(m.rng.IntN(6*3600))*time.Second))
		}
		m.channels = append(m.channels, c)
	}
	m.weigh()
	return m
}

func zipf(i int) float64 { return 1 / math.Pow(float64(i)+2, 1.05) }

// capital is a display name for a login.
func capital(login string) string {
	b := []byte(login)
	for i := range b {
		if (i == 0 || b[i-1] == '_') && b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func (m *model) entitle(c *channel) {
	c.title = titleStarts[m.rng.IntN(len(titleStarts))] + " | " + titleEnds[m.rng.IntN(len(titleEnds))]
	c.category = m.rng.IntN(len(categories))
}

func (m *model) goLive(c *channel, at time.Time) {
	m.streams++
	c.live, c.started = true, at.UTC().Truncate(time.Second)
	c.stream = strconv.FormatUint(40_000_000_000+mix(m.seed)%1_000_000_000+m.streams, 10)
}

// step moves the model by modelStep.
func (m *model) step(start time.Time) {
	m.at += modelStep
	now := start.Add(m.at)
	t := m.at.Seconds()
	for _, c := range m.channels {
		wave := 1 + 0.2*math.Sin(c.phase+t/900)
		c.drift = max(0.3, c.drift+0.05*(wave-c.drift)+0.01*m.rng.NormFloat64())
		c.guests *= 0.995
		switch p := m.rng.Float64(); {
		case c.live && p < 0.0006 && c.index != 0:
			c.live = false
		case !c.live && p < 0.01:
			m.goLive(c, now)
		case c.live && p > 0.998:
			m.entitle(c)
		}
	}
	m.weigh()
}

// weigh computes how chat is spread over the channels: by viewers; who is offline keeps a little.
func (m *model) weigh() {
	m.cum = m.cum[:0]
	sum := 0.0
	for _, c := range m.channels {
		if c.live {
			sum += c.size*c.drift + c.guests
		} else {
			sum += c.size * 0.02
		}
		m.cum = append(m.cum, sum)
	}
}

// pick draws the channel of a message at the moment t. In a burst, half of the messages are in a
// few hot channels.
func (m *model) pick(t time.Duration) *channel {
	u := m.rng.Float64()
	if cycle, inBurst := m.inBurst(t); inBurst && m.burst > 1 {
		if cycle != m.hotCycle {
			m.hotCycle = cycle
			m.hot = m.hot[:0]
			for range hotChannels {
				m.hot = append(m.hot, m.draw(m.rng.Float64()))
			}
		}
		if u < 0.5 {
			return m.channels[m.hot[int(u*2*hotChannels)]]
		}
		u = u*2 - 1
	}
	return m.channels[m.draw(u)]
}

func (m *model) draw(u float64) int {
	i, _ := slices.BinarySearchFunc(m.cum, u*m.cum[len(m.cum)-1], cmp.Compare[float64])
	return min(i, len(m.cum)-1)
}

func (m *model) burstStart(cycle int) float64 {
	return 5 + float64(mix(m.seed^uint64(cycle)*0x9e37)%4500)/100
}

func (m *model) inBurst(t time.Duration) (cycle int, in bool) {
	s := t.Seconds()
	cycle = int(s / cycleSeconds)
	b := m.burstStart(cycle)
	s -= float64(cycle) * cycleSeconds
	return cycle, s >= b && s < b+burstSeconds
}

// due is when message n, counted from 0, is to be sent. Each cycle holds exactly its share of the
// rate: burst times the rate for burstSeconds, and evenly what is left for the rest.
func (m *model) due(n int64) time.Duration {
	x := float64(n) + 0.5
	perCycle := m.rate * cycleSeconds
	cycle := math.Floor(x / perCycle)
	y := x - cycle*perCycle
	b := m.burstStart(int(cycle))
	high := m.rate * m.burst
	low := (perCycle - high*burstSeconds) / (cycleSeconds - burstSeconds)
	var s float64
	switch {
	case y < b*low:
		s = y / low
	case y < b*low+high*burstSeconds:
		s = b + (y-b*low)/high
	default:
		s = b + burstSeconds + (y-b*low-high*burstSeconds)/low
	}
	return time.Duration((cycle*cycleSeconds + s) * float64(time.Second))
}

// chatter draws who writes. Few write much; one in five is known in other channels too.
func (m *model) chatter(c *channel) (rank int, id uint64) {
	u := m.rng.Float64()
	rank = min(int(float64(c.pool)*u*u), c.pool-1)
	return rank, m.chatterOf(c, rank)
}

func (m *model) chatterOf(c *channel, rank int) uint64 {
	h := mix(uint64(c.index)<<32 | uint64(rank))
	if h%5 == 0 {
		return m.shared + h/5%sharedChatters
	}
	return c.base + uint64(rank)
}

// uuid draws an id of the form that Twitch gives messages.
func (m *model) uuid() (id [36]byte) {
	const hex = "0123456789abcdef"
	var raw [16]byte
	a, b := m.rng.Uint64(), m.rng.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	at := 0
	for i, v := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			id[at] = '-'
			at++
		}
		id[at], id[at+1] = hex[v>>4], hex[v&15]
		at += 2
	}
	return id
}
