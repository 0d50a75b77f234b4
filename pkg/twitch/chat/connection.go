package chat

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	twitch "github.com/gempir/go-twitch-irc/v4"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

const (
	maxLineBytes  = 64 << 10 // Twitch's own bound is 8,191 bytes of tags and 512 of the rest
	joinsPerLine  = 10       // of at most 25 bytes each: far below the 510 bytes of a line
	writeTimeout  = 10 * time.Second
	drainTimeout  = 5 * time.Second
	partingExpiry = 10 * time.Second
	mostMissed    = 10 // JOINs without any echo, after which a connection without a channel is replaced
	mostPings     = 32 // PINGs without an answer that are remembered
	// stall is how long nothing may have been read for what is read then to count as fresh; see prove.
	stall = time.Second
	// wakeup is how long a connection whose deadline has passed is looked at once more: a process that
	// was stopped wakes with its deadlines past, and with lines to read.
	wakeup = 250 * time.Millisecond
)

// What ended a connection.
var (
	errDial    = errors.New("connect to chat")
	errSilent  = errors.New("nothing received")
	errRefused = errors.New("chat refused the connection")
)

// generation is one connection of a slot. All but conn, the writing and behind (the reading goroutine's
// own, as is the writing of lastLine) is under the Reader's mutex.
type generation struct {
	r       *Reader
	slot    *slot
	name    string
	nick    string
	cancel  context.CancelFunc
	wake    chan struct{} // has one element when the keeper has something to send
	started time.Time

	writing sync.Mutex
	conn    net.Conn

	welcomed  time.Time // when 001 came
	lastLine  time.Time
	reconnect bool // the server asked for it
	retireBy  time.Time
	seen      int64     // lines
	replaced  bool      // it was our own wish
	closing   time.Time // since when its last line is waited for
	drained   int64     // lines seen until then
	drainedAt time.Time // when, by the event clock
	pinged    bool      // a PING went out to have one
	closeAt   time.Time // when the supervisor must look again
	ended     bool
	err       error

	members map[string]*member   // asked or joined, by login
	parting map[string]time.Time // PARTs whose echo has not come
	joined  int
	missed  int // JOINs that timed out since the last echo
	pace    pace
	line    timeline
	behind  bool   // what is read may have come long ago, see prove
	pings   []ping // that were not answered
	number  int    // of PINGs sent
}

// ping is a PING on its way.
type ping struct {
	text string
	sent time.Time // by the machine's clock
	at   time.Time // by the event's
}

// member is a channel on a connection.
type member struct {
	channel Channel
	joined  bool
	asked   time.Time
	modes   map[string]int // its room state, whole
}

func (g *generation) touch() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run is the connection's life. It returns why it ended; nil when we closed it.
func (g *generation) run(ctx context.Context) error {
	conn, err := g.dial(ctx)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errDial, g.r.cfg.Address, err)
	}
	g.conn = conn
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// Without the capability membership we are told of our own coming and going only.
	err = g.write("CAP REQ :twitch.tv/tags twitch.tv/commands", "PASS SCHMOOPIIE", "NICK "+g.nick)
	if err != nil {
		return err
	}
	var (
		keeper  sync.WaitGroup
		keepErr error
	)
	keeping, done := context.WithCancel(ctx)
	keeper.Go(func() {
		if keepErr = g.keep(keeping); keepErr != nil {
			conn.Close() // ends the reading
		}
	})
	err = g.read(conn)
	done()
	conn.Close() // ends a write that hangs
	keeper.Wait()
	return cmp.Or(keepErr, err)
}

func (g *generation) dial(ctx context.Context) (net.Conn, error) {
	cfg := &g.r.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	conn, err := cfg.Dial(ctx, "tcp", cfg.Address)
	if err != nil || !cfg.TLS {
		return conn, err
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLSConfig != nil {
		tlsConfig = cfg.TLSConfig.Clone()
	}
	if tlsConfig.ServerName == "" {
		host, _, err := net.SplitHostPort(cfg.Address)
		if err != nil {
			host = cfg.Address
		}
		tlsConfig.ServerName = host
	}
	secure := tls.Client(conn, tlsConfig)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// write sends lines at once. PONGs, JOINs and PINGs share it; none waits for more than a write.
func (g *generation) write(lines ...string) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write to chat: %w", err)
	}
	if _, err := g.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		return fmt.Errorf("write to chat: %w", err)
	}
	return nil
}

// keep sends PINGs, and JOINs and PARTs as they are planned.
func (g *generation) keep(ctx context.Context) error {
	pings := time.NewTicker(g.r.cfg.KeepAlive)
	defer pings.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var lines []string
		ping := false
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		case <-timer.C:
		case <-pings.C:
			ping = true
		}
		g.r.mu.Lock()
		now := time.Now()
		if ping {
			lines = append(lines, g.ping(now))
		}
		more, next := g.plan(now)
		useless := g.joined == 0 && len(g.slot.wants) > 1 && g.missed >= mostMissed
		g.r.mu.Unlock()
		if useless {
			return fmt.Errorf("%w: none of %d JOINs was answered", errRefused, mostMissed)
		}
		if lines = append(lines, more...); len(lines) > 0 {
			if err := g.write(lines...); err != nil {
				return err
			}
		}
		timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

// plan decides which PARTs and JOINs to send, and when to look again.
func (g *generation) plan(now time.Time) (lines []string, next time.Time) {
	next = now.Add(idle)
	if g.welcomed.IsZero() || g.ended {
		return nil, next
	}
	if g.isClosing() && !g.pinged {
		g.pinged = true
		lines = append(lines, g.ping(now))
	}
	lines = append(lines, g.planParts(now)...)
	if g.reconnect || g.isClosing() {
		return lines, next
	}
	soonest := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	// A JOIN that was not answered is forgotten here; its echo counts all the same if it comes.
	for login, m := range g.members {
		w := g.r.wants[login]
		switch due := m.asked.Add(g.r.cfg.JoinTimeout); {
		case m.joined:
		case now.Before(due):
			soonest(due)
		default:
			delete(g.members, login)
			if w != nil && w.slot == g.slot {
				g.missed++
				g.unanswered(w, m.asked, now)
			}
		}
	}
	var candidates []*want
	for _, w := range g.slot.wants {
		switch {
		case g.members[w.channel.Login] != nil:
		case now.Before(w.next):
			soonest(w.next)
		default:
			candidates = append(candidates, w)
		}
	}
	// Those that never answered wait for those that were not asked yet.
	slices.SortStableFunc(candidates, func(a, b *want) int { return cmp.Compare(a.tries, b.tries) })
	g.pace.most, g.pace.window = g.r.budget.Joins, g.r.budget.JoinWindow
	held := false
	if allowed := g.pace.allowed(now); len(candidates) > allowed {
		candidates, held = candidates[:allowed], true
	}
	g.pace.take(now, len(candidates))
	if held {
		soonest(g.pace.free(now))
	}
	g.r.metrics.joins.Add(float64(len(candidates)))
	names := make([]string, 0, len(candidates))
	for _, w := range candidates {
		g.members[w.channel.Login] = &member{channel: w.channel, asked: now}
		names = append(names, w.channel.Login)
		soonest(now.Add(g.r.cfg.JoinTimeout))
	}
	return appendCommands(lines, "JOIN", names), next
}

// planParts leaves the channels that are not wanted here any more. One that has moved to another
// slot is left only when it is joined there.
func (g *generation) planParts(now time.Time) []string {
	var names []string
	left := false
	for login, m := range g.members {
		w := g.r.wants[login]
		if w != nil && w.channel == m.channel && (w.slot == g.slot || m.joined && !w.slot.reads(login)) {
			continue
		}
		delete(g.members, login)
		g.parting[login] = now
		names = append(names, login)
		if m.joined {
			g.joined--
			left = true
		}
	}
	if left {
		// The server reads the PART no earlier than now, so all it sent before is covered as soon
		// as any line, the PART's echo at the latest, follows it.
		g.line.change(g.r.cfg.Clock.Now(), g.ids())
		g.r.touch()
	}
	slices.Sort(names)
	return appendCommands(nil, "PART", names)
}

func appendCommands(lines []string, command string, logins []string) []string {
	for chunk := range slices.Chunk(logins, joinsPerLine) {
		lines = append(lines, command+" #"+strings.Join(chunk, ",#"))
	}
	return lines
}

func (g *generation) unanswered(w *want, asked, now time.Time) {
	if w.tries == 0 {
		w.since = asked
	}
	w.tries++
	w.next = now.Add(g.r.backoff(w.tries))
	g.r.metrics.unanswered.Inc()
	if w.tries == g.r.cfg.JoinTries {
		g.r.cfg.Logger.Warn("channel does not answer JOIN", slog.String("collector", g.r.cfg.Collector),
			slog.String("channel", w.channel.Login), slog.Int("tries", w.tries), slog.String("refusal", w.refusal))
	}
}

// drain closes the connection when one more line has come that proves it was read until now, to which
// a PING gives occasion: what it covered then reaches past the moment from which the next connection
// covers the same channels.
func (g *generation) drain(now time.Time) {
	if g.closing.IsZero() {
		g.closing, g.drained, g.drainedAt = now, g.seen, record.Millis(g.r.cfg.Clock.Now())
		g.closeAt = now.Add(drainTimeout)
		g.touch()
	}
	covered := g.seen > g.drained && (len(g.line.segments) == 0 || !g.line.to.Before(g.drainedAt))
	if g.welcomed.IsZero() || !now.Before(g.closeAt) || covered {
		g.cancel()
		g.closeAt = now.Add(idle)
	}
}

func (g *generation) isClosing() bool { return !g.closing.IsZero() }

// deadlineReader reads with a deadline that begins when it starts to wait, so that time which the
// sink takes is no silence.
type deadlineReader struct {
	conn    net.Conn
	timeout func() time.Duration
}

func (d *deadlineReader) Read(p []byte) (int, error) {
	if err := d.conn.SetReadDeadline(time.Now().Add(d.timeout())); err != nil {
		return 0, err
	}
	n, err := d.conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
		if err := d.conn.SetReadDeadline(time.Now().Add(wakeup)); err != nil {
			return 0, err
		}
		return d.conn.Read(p)
	}
	return n, err
}

func (g *generation) read(conn net.Conn) error {
	welcomed, begun := false, time.Now()
	source := &deadlineReader{conn: conn, timeout: func() time.Duration {
		if !welcomed {
			return time.Until(begun.Add(g.r.cfg.DialTimeout))
		}
		return g.r.cfg.silence()
	}}
	lines := bufio.NewReaderSize(source, maxLineBytes)
	for {
		raw, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			g.r.malformed.Add(1)
			g.r.metrics.malformed.Inc()
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			if err == nil {
				continue
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !welcomed {
				return fmt.Errorf("%w: no welcome within %v", errSilent, g.r.cfg.DialTimeout)
			}
			return fmt.Errorf("%w for %v", errSilent, g.r.cfg.silence())
		}
		if err != nil {
			return fmt.Errorf("read from chat: %w", err)
		}
		line := strings.TrimRight(string(raw), "\r\n")
		if line == "" {
			continue
		}
		if err := g.handle(line); err != nil {
			return err
		}
		if !welcomed {
			g.r.mu.Lock()
			welcomed = !g.welcomed.IsZero()
			g.r.mu.Unlock()
		}
	}
}

// handle deals with one line.
func (g *generation) handle(raw string) error {
	read, at := time.Now(), g.r.cfg.Clock.Now()
	if apart(g.lastLine, read) > stall {
		g.behind = true
	}
	g.r.lines.Add(1)
	g.r.metrics.lines.Inc()
	message, err := Parse(raw)
	if err != nil {
		g.r.malformed.Add(1)
		g.r.metrics.malformed.Inc()
		g.r.cfg.Logger.Warn("a line of chat can't be parsed", slog.String("collector", g.r.cfg.Collector),
			slog.String("connection", g.name), slog.Any("err", err))
	}
	var login, room string
	switch m := message.(type) {
	case *twitch.PrivateMessage:
		g.r.messages.Add(1)
		login, room = m.Channel, m.RoomID
	case *twitch.UserNoticeMessage:
		login, room = m.Channel, m.RoomID
	case *twitch.ClearChatMessage:
		login, room = m.Channel, m.RoomID
	case *twitch.ClearMessage:
		login, room = m.Channel, m.Tags["room-id"]
	case *twitch.RoomStateMessage:
		login, room = m.Channel, m.RoomID
		g.roomState(m, at)
	case *twitch.NoticeMessage:
		if err := g.notice(m); err != nil {
			return err
		}
		if m.Channel != "*" {
			login, room = m.Channel, m.Tags["room-id"]
		}
	case *twitch.UserJoinMessage:
		if m.User == g.nick {
			g.echo(m.Channel, at)
		}
	case *twitch.UserPartMessage:
		if m.User == g.nick {
			g.parted(m.Channel, at)
		}
	case *twitch.ReconnectMessage:
		g.r.mu.Lock()
		if !g.reconnect {
			g.reconnect = true
			g.r.touch()
		}
		g.r.mu.Unlock()
	case *twitch.PingMessage:
		// The whole text goes back; the library keeps its first word only.
		_, text, _ := strings.Cut(raw, "PING")
		if err := g.write("PONG" + text); err != nil {
			return err
		}
	case *twitch.RawMessage:
		if err := g.other(m, raw); err != nil {
			return err
		}
	}
	if login != "" {
		g.r.sink(Line{Connection: g.name, Channel: g.channel(login, room), Received: at, Late: g.behind, Message: message})
	}
	g.r.mu.Lock()
	g.lastLine = time.Now()
	g.seen++
	g.prove(message, at, read)
	if apart(read, g.lastLine) > stall {
		g.behind = true // the sink took its time
	}
	if g.isClosing() {
		g.r.touch()
	}
	g.r.mu.Unlock()
	return nil
}

// apart is how long passed between two readings of the machine's clock; 0 when the first was never
// taken. A machine that sleeps stops its monotonic clock and not its calendar.
func apart(before, after time.Time) time.Duration {
	if before.IsZero() {
		return 0
	}
	return max(after.Sub(before), after.Round(0).Sub(before.Round(0)))
}

// prove notes how far a line that was handed over proves the connection to have been read. As a rule
// that is the moment when it was received. But after nothing was read for a while, because nothing
// came, or the process was stopped, or the sink had no room, lines may have lain in the system's
// buffers for as long; and when the server has closed the connection meanwhile, nothing follows them
// of what it sent later. So from then on a line proves no more than the stamp that Twitch gave it, and
// a PONG no more than when its PING was sent, until a PONG or an echo is quick: then there is nothing
// before it that was not read.
func (g *generation) prove(m twitch.Message, at, read time.Time) {
	if pong, ok := m.(*twitch.PongMessage); ok {
		p, known := g.answered(pong.Message)
		switch {
		case !known && g.behind:
			return
		case known && apart(p.sent, read) <= stall:
			g.behind = false
		case known:
			at = p.at
		}
	} else if g.behind {
		// Zero where there is no stamp: that proves nothing.
		if stamp, _ := stampOf(m); stamp.Before(at) {
			at = stamp
		}
	}
	if len(g.line.segments) > 0 && !at.IsZero() {
		g.line.advance(at)
	}
}

// stampOf is the time that Twitch stamped a message with, zero where there is none, and whether it is
// of the kinds that come from people.
func stampOf(m twitch.Message) (sent time.Time, people bool) {
	var tags map[string]string
	switch m := m.(type) {
	case *twitch.PrivateMessage:
		tags = m.Tags
	case *twitch.UserNoticeMessage:
		tags = m.Tags
	case *twitch.ClearChatMessage:
		tags = m.Tags
	case *twitch.ClearMessage:
		tags = m.Tags
	default:
		return time.Time{}, false
	}
	return sentAt(tags["tmi-sent-ts"], time.Time{}), true
}

// ping makes a PING.
func (g *generation) ping(now time.Time) string {
	g.number++
	p := ping{text: fmt.Sprintf("tungstene-%d", g.number), sent: now, at: g.r.cfg.Clock.Now()}
	if len(g.pings) >= mostPings {
		g.pings = g.pings[1:]
	}
	g.pings = append(g.pings, p)
	return "PING :" + p.text
}

// answered finds the PING that a PONG answers. Answers come in order.
func (g *generation) answered(text string) (ping, bool) {
	i := slices.IndexFunc(g.pings, func(p ping) bool { return p.text == text })
	if i < 0 {
		return ping{}, false
	}
	p := g.pings[i]
	g.pings = g.pings[i+1:]
	return p, true
}

// other deals with the commands that the library does not know.
func (g *generation) other(m *twitch.RawMessage, raw string) error {
	switch m.RawType {
	case "001":
		g.r.mu.Lock()
		if g.welcomed.IsZero() {
			g.welcomed = time.Now()
			g.touch()
			g.r.touch()
		}
		g.r.mu.Unlock()
	case "CAP":
		if strings.Contains(raw, " NAK ") {
			return fmt.Errorf("%w: it does not know the capabilities for tags and commands", errRefused)
		}
	}
	return nil
}

func (g *generation) channel(login, room string) Channel {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if m := g.members[login]; m != nil && m.channel.ID != "" {
		return m.channel
	}
	return Channel{ID: room, Login: login}
}

// echo takes note that a channel is joined.
func (g *generation) echo(login string, at time.Time) {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	g.joinedNow(login, at)
}

func (g *generation) joinedNow(login string, at time.Time) *member {
	if left, ok := g.parting[login]; ok {
		if time.Since(left) < partingExpiry {
			return nil // sent before our PART was read
		}
		delete(g.parting, login)
	}
	m := g.members[login]
	if m == nil {
		w := g.r.wants[login]
		m = &member{joined: false}
		if w != nil && w.slot == g.slot {
			m.channel = w.channel // the echo of a JOIN that was given up
		}
		g.members[login] = m
	}
	if m.joined {
		return m
	}
	if !m.asked.IsZero() && apart(m.asked, time.Now()) <= stall {
		g.behind = false
	}
	m.joined = true
	g.joined++
	g.missed = 0
	g.line.change(at, g.ids())
	if w := g.r.wants[login]; w != nil && w.channel == m.channel {
		w.tries, w.next, w.refusal = 0, time.Time{}, ""
		if w.slot != nil {
			// Another connection may have waited for it: an old one, or one with too many.
			for _, s := range g.r.slots {
				for _, other := range s.generations() {
					if other != g {
						other.touch()
					}
				}
			}
		}
	}
	g.touch()
	g.r.touch()
	return m
}

// parted takes note that the connection has left a channel.
func (g *generation) parted(login string, at time.Time) {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if _, ok := g.parting[login]; ok {
		delete(g.parting, login)
		return
	}
	m := g.members[login]
	if m == nil {
		return
	}
	// Twitch made us leave. It is joined again as if it had not been.
	delete(g.members, login)
	if m.joined {
		g.joined--
		g.line.change(at, g.ids())
	}
	if w := g.r.wants[login]; w != nil && w.slot == g.slot {
		g.unanswered(w, at, time.Now())
	}
	g.touch()
	g.r.touch()
}

// roomState is an echo too, and makes the state whole.
func (g *generation) roomState(m *twitch.RoomStateMessage, at time.Time) {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	member := g.joinedNow(m.Channel, at)
	if member == nil {
		return
	}
	if member.modes == nil {
		member.modes = map[string]int{
			modeEmoteOnly: 0, modeUnique: 0, modeSubscribersOnly: 0, modeFollowersOnly: -1, modeSlow: 0,
		}
	}
	maps.Copy(member.modes, m.State)
	m.State = maps.Clone(member.modes)
	if w := g.r.wants[m.Channel]; w != nil && w.channel == member.channel && w.channel.ID != "" {
		switch {
		case m.RoomID == "":
		case m.RoomID == w.channel.ID:
			w.room = ""
		case w.room == "":
			w.room, w.roomTime = m.RoomID, time.Now()
		}
	}
}

// notice looks for refusals, of the connection or of a JOIN.
func (g *generation) notice(m *twitch.NoticeMessage) error {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if m.Channel == "*" {
		if g.welcomed.IsZero() {
			return fmt.Errorf("%w: %s", errRefused, m.Message)
		}
		return nil
	}
	member := g.members[m.Channel]
	if member == nil || member.joined || !strings.HasPrefix(m.MsgID, "msg_") {
		return nil
	}
	delete(g.members, m.Channel)
	if w := g.r.wants[m.Channel]; w != nil && w.slot == g.slot {
		w.refusal = m.MsgID
		g.unanswered(w, member.asked, time.Now())
	}
	g.touch()
	return nil
}

// ids are the sorted ids of the channels that are joined.
func (g *generation) ids() []string {
	ids := g.appendIDs(make([]string, 0, g.joined))
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (g *generation) appendIDs(ids []string) []string {
	for _, m := range g.members {
		if m.joined && m.channel.ID != "" {
			ids = append(ids, m.channel.ID)
		}
	}
	return ids
}

// The states of a connection.
const (
	stateConnecting = "connecting"
	stateJoining    = "joining"
	stateReady      = "ready"
	stateClosing    = "closing"
)

func (g *generation) status() control.Connection {
	c := control.Connection{
		Name: g.name, Nick: g.nick, Channels: len(g.slot.wants), Joined: g.joined, LastLine: g.lastLine,
	}
	switch {
	case g.ended || g.reconnect || g.isClosing():
		c.State, c.Channels = stateClosing, len(g.members)
	case g.welcomed.IsZero():
		c.State = stateConnecting
	case g.joined < len(g.slot.wants):
		c.State = stateJoining
	default:
		c.State = stateReady
	}
	return c
}
