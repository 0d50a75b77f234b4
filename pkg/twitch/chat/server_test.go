package chat_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// server is a scripted Twitch whose connections are pipes, so that tests run on synctest's time.
type server struct {
	mu      sync.Mutex
	peers   []*peer
	refuse  bool            // dials fail
	deaf    bool            // new peers answer nothing, not even the welcome
	unknown map[string]bool // channels whose JOIN is not answered
	curt    bool            // welcomes no one, and answers PINGs all the same
	strict  bool            // disconnects who sends more than 20 JOINs in 10 s
	dials   []time.Time
	wg      sync.WaitGroup
}

// peer is one connection, from the server's side.
type peer struct {
	s    *server
	conn net.Conn
	out  chan string
	gone chan struct{}

	// under the server's mutex
	nick   string
	silent bool
	open   bool
	in     map[string]bool
	got    []string
	joins  []time.Time
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, time.Now())
	if s.refuse {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	s.serve(ours)
	return theirs, nil
}

func (s *server) serve(conn net.Conn) {
	p := &peer{
		s: s, conn: conn, out: make(chan string, 100_000), gone: make(chan struct{}), open: true, silent: s.deaf, in: map[string]bool{},
	}
	s.peers = append(s.peers, p)
	s.wg.Go(p.read)
	s.wg.Go(p.write)
}

func (p *peer) write() {
	for {
		select {
		case line := <-p.out:
			if _, err := p.conn.Write([]byte(line + "\r\n")); err != nil {
				return
			}
		case <-p.gone:
			return
		}
	}
}

func (p *peer) read() {
	defer func() {
		p.conn.Close()
		p.s.mu.Lock()
		p.open = false
		p.s.mu.Unlock()
		close(p.gone)
	}()
	for lines := bufio.NewScanner(p.conn); lines.Scan(); {
		if !p.command(lines.Text()) {
			return
		}
	}
}

func (p *peer) command(line string) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.got = append(p.got, line)
	verb, args, _ := strings.Cut(line, " ")
	if verb == "NICK" {
		p.nick = args
	}
	if p.silent {
		return true
	}
	switch verb {
	case "CAP":
		p.out <- ":tmi.twitch.tv CAP * ACK " + strings.TrimPrefix(args, "REQ ")
	case "NICK":
		if p.s.curt {
			return true
		}
		p.out <- ":tmi.twitch.tv 001 " + args + " :Welcome, GLHF!"
		p.out <- ":tmi.twitch.tv 376 " + args + " :>"
	case "PING":
		p.out <- ":tmi.twitch.tv PONG tmi.twitch.tv " + args
	case "JOIN":
		for name := range strings.SplitSeq(args, ",") {
			p.joins = append(p.joins, time.Now())
			login := strings.TrimPrefix(name, "#")
			if p.s.unknown[login] {
				continue
			}
			p.in[login] = true
			p.out <- fmt.Sprintf(":%[1]s!%[1]s@%[1]s.tmi.twitch.tv JOIN #%[2]s", p.nick, login)
			p.out <- fmt.Sprintf("@emote-only=0;followers-only=-1;r9k=0;rituals=0;room-id=%s;slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE #%s", id(login), login)
		}
		n := len(p.joins)
		if p.s.strict && n > 20 && p.joins[n-1].Sub(p.joins[n-21]) < 10*time.Second {
			return false
		}
	case "PART":
		for name := range strings.SplitSeq(args, ",") {
			delete(p.in, strings.TrimPrefix(name, "#"))
			p.out <- fmt.Sprintf(":%[1]s!%[1]s@%[1]s.tmi.twitch.tv PART %[2]s", p.nick, name)
		}
	}
	return true
}

func id(login string) string { return "9" + strings.TrimPrefix(login, "channel") }

func message(login, messageID string) string {
	return fmt.Sprintf("@badges=;display-name=Someone;emotes=;id=%s;room-id=%s;tmi-sent-ts=1788890400000;user-id=12 "+
		":someone!someone@someone.tmi.twitch.tv PRIVMSG #%s :hello", messageID, id(login), login)
}

// peer is the nth connection.
func (s *server) peer(n int) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[n]
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

func (s *server) live() (open []*peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if p.open {
			open = append(open, p)
		}
	}
	return open
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// commands are those that a peer got, of one verb.
func (p *peer) commands(verb string) (out []string) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, line := range p.got {
		if line == verb || strings.HasPrefix(line, verb+" ") {
			out = append(out, line)
		}
	}
	return out
}

// state is when JOINs came, each channel one, and how many channels it is in.
func (p *peer) state() (joins []time.Time, in int) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return slices.Clone(p.joins), len(p.in)
}

func (p *peer) isOpen() bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.open
}

// rig is a running Reader on a scripted server.
type rig struct {
	*chat.Reader
	s     *server
	spans []chat.Span

	mu   sync.Mutex
	got  []chat.Line
	hold chan struct{} // while set, the sink waits for it
	stop func()
}

func start(t *testing.T, s *server, cfg chat.Config) *rig {
	t.Helper()
	g := &rig{s: s}
	cfg.Address, cfg.Collector = "chat.test:6667", "c"
	if cfg.Dial == nil {
		cfg.Dial = s.dial
	}
	g.Reader = chat.New(cfg, func(l chat.Line) {
		g.mu.Lock()
		hold := g.hold
		g.got = append(g.got, l)
		g.mu.Unlock()
		if hold != nil {
			<-hold
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		s.wg.Wait()
		g.cut()
	})
	return g
}

func (g *rig) cut() { g.spans = append(g.spans, g.Cut(time.Now().Add(time.Hour))...) }

func (g *rig) messages() (ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.got {
		if d, err := chat.Convert(l, chat.Event{Slug: "e", Pseudonyms: nobody}); err == nil {
			if m, ok := d.(*record.Message); ok {
				ids = append(ids, m.MessageID)
			}
		}
	}
	return ids
}

var nobody = func() *record.Pseudonyms {
	p, err := record.NewPseudonyms(make([]byte, record.KeyBytes), nil)
	if err != nil {
		panic(err)
	}
	return p
}()

// await waits for a condition on synctest's time.
func await(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func (g *rig) awaitJoined(t *testing.T, n int, within time.Duration) {
	t.Helper()
	await(t, fmt.Sprintf("%d channels joined", n), within, func() bool { return len(g.Joined()) == n })
}

func channels(n int) []chat.Channel {
	out := make([]chat.Channel, n)
	for i := range out {
		login := fmt.Sprintf("channel%03d", i)
		out[i] = chat.Channel{ID: id(login), Login: login}
	}
	return out
}

var generous = control.Budget{Joins: 1000, JoinWindow: time.Second}

// checkSpans holds the spans to what Span promises, and tells how long each channel was covered by
// any connection between two moments.
func checkSpans(t *testing.T, spans []chat.Span, from, to time.Time) map[string]time.Duration {
	t.Helper()
	last := map[string]time.Time{}
	byChannel := map[string][]chat.Span{}
	for _, s := range spans {
		if !s.From.Before(s.To) || !record.Minute(s.From).Equal(record.Minute(s.To.Add(-time.Millisecond))) {
			t.Errorf("%s: %s to %s is empty or crosses a minute", s.Connection, s.From, s.To)
		}
		if !s.From.Equal(record.Millis(s.From)) || !s.To.Equal(record.Millis(s.To)) {
			t.Errorf("%s: %s to %s is not in milliseconds", s.Connection, s.From, s.To)
		}
		if at, ok := last[s.Connection]; ok && !at.Equal(s.From) {
			t.Errorf("%s goes on at %s, it had come to %s", s.Connection, s.From, at)
		}
		last[s.Connection] = s.To
		if !slices.IsSorted(s.Channels) || len(s.Channels) == 0 {
			t.Errorf("%s: channels %v", s.Connection, s.Channels)
		}
		for _, c := range s.Channels {
			byChannel[c] = append(byChannel[c], s)
		}
	}
	covered := map[string]time.Duration{}
	for c, spans := range byChannel {
		slices.SortFunc(spans, func(a, b chat.Span) int { return a.From.Compare(b.From) })
		at := from
		for _, s := range spans {
			start, end := s.From, s.To
			if start.Before(at) {
				start = at
			}
			if end.After(to) {
				end = to
			}
			if start.Before(end) {
				covered[c] += end.Sub(start)
				at = end
			}
		}
	}
	return covered
}

func names(conditions []control.Condition) (out []string) {
	for _, c := range conditions {
		out = append(out, c.Name+" "+c.Subject)
	}
	return out
}
