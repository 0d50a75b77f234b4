package sim_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/pkg/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// start runs a simulator until the test's end. Limits on JOINs are lifted unless the test sets them.
func start(tb testing.TB, cfg sim.Config) *sim.Sim {
	tb.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Limits.Joins == 0 {
		cfg.Limits.Joins = -1
	}
	if cfg.Limits.ChannelsPerAccount == 0 {
		cfg.Limits.ChannelsPerAccount = -1
	}
	s, err := sim.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	return s
}

// client is a chat client on a raw socket.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dial(tb testing.TB, s *sim.Sim) *client {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", s.IRCAddress())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return &client{tb, conn, bufio.NewReaderSize(conn, 64<<10)}
}

// login dials, asks for all capabilities and reads the welcome.
func login(tb testing.TB, s *sim.Sim, nick string) *client {
	tb.Helper()
	c := dial(tb, s)
	c.send("CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership", "PASS oauth:nothing", "NICK "+nick)
	c.until(" 376 ")
	return c
}

func (c *client) send(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line() (string, error) {
	l, err := c.r.ReadString('\n')
	return strings.TrimRight(l, "\r\n"), err
}

// until reads to the first line that holds the text and returns it.
func (c *client) until(text string) string {
	c.t.Helper()
	for {
		l, err := c.line()
		if err != nil {
			c.t.Fatalf("waiting for %q: %v", text, err)
		}
		if strings.Contains(l, text) {
			return l
		}
	}
}

// sync returns what came before the answer to a PING.
func (c *client) sync() []string {
	c.t.Helper()
	c.send("PING :sync")
	var got []string
	for {
		l, err := c.line()
		if err != nil {
			c.t.Fatalf("waiting for PONG: %v", err)
		}
		if strings.HasSuffix(l, " PONG tmi.twitch.tv :sync") {
			return got
		}
		got = append(got, l)
	}
}

// rest reads until the connection ends.
func (c *client) rest() ([]string, error) {
	var got []string
	for {
		l, err := c.line()
		if l != "" {
			got = append(got, l)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return got, err
		}
	}
}

func (c *client) join(logins ...string) {
	c.t.Helper()
	for _, l := range logins {
		c.send("JOIN #" + l)
	}
	for _, l := range logins {
		c.until("JOIN #" + l)
	}
	c.sync()
}

// parsed is a chat line taken apart.
type parsed struct {
	tags    map[string]string
	command string
	channel string
	text    string
}

func parse(tb testing.TB, l string) parsed {
	tb.Helper()
	p := parsed{tags: map[string]string{}}
	if strings.HasPrefix(l, "@") {
		var tags string
		tags, l, _ = strings.Cut(l[1:], " ")
		for kv := range strings.SplitSeq(tags, ";") {
			k, v, ok := strings.Cut(kv, "=")
			if !ok {
				tb.Fatalf("tag %q in %q", kv, l)
			}
			p.tags[k] = v
		}
	}
	f := strings.SplitN(l, " ", 4)
	if len(f) > 1 {
		p.command = f[1]
	}
	if len(f) > 2 {
		p.channel = strings.TrimPrefix(f[2], "#")
	}
	if len(f) > 3 {
		p.text = strings.TrimPrefix(f[3], ":")
	}
	return p
}

// emotes counts the emotes of a message and fails where a place is not in its text.
func emotes(tb testing.TB, p parsed) int {
	tb.Helper()
	if p.tags["emotes"] == "" {
		return 0
	}
	text := strings.TrimSuffix(strings.TrimPrefix(p.text, "\x01ACTION "), "\x01")
	n, runes := 0, []rune(text)
	for e := range strings.SplitSeq(p.tags["emotes"], "/") {
		_, places, _ := strings.Cut(e, ":")
		name := ""
		for place := range strings.SplitSeq(places, ",") {
			var a, b int
			if _, err := fmt.Sscanf(place, "%d-%d", &a, &b); err != nil || a > b || b >= len(runes) {
				tb.Fatalf("emote place %q in %q", place, p.text)
			}
			if got := string(runes[a : b+1]); name != "" && got != name {
				tb.Fatalf("one emote is %q and %q in %q", name, got, p.text)
			} else {
				name = got
			}
			n++
		}
	}
	return n
}

func ledgerOf(tb testing.TB, b []byte) map[string]sim.Entry {
	tb.Helper()
	out := map[string]sim.Entry{}
	for e, err := range sim.ReadLedger(bytes.NewReader(b)) {
		if err != nil {
			tb.Fatal(err)
		}
		if _, ok := out[e.ID]; ok {
			tb.Fatalf("the ledger has %s twice", e.ID)
		}
		out[e.ID] = e
	}
	return out
}

// eventually polls a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not in %v: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 3})
	ch := s.Channels()[0]
	c := dial(t, s)
	c.send("JOIN #"+ch.Login, "CAP LS 302", "CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership", "CAP REQ :nonsense",
		"nick justinfan123", "\x00\xff\xfe", "@broken", ":", "NICK another", "WHAT is this")
	got := strings.Join(c.sync(), "\n")
	for _, want := range []string{
		"CAP * LS :twitch.tv/commands", "CAP * ACK :twitch.tv/tags twitch.tv/commands twitch.tv/membership", "CAP * NAK :nonsense",
		" 001 justinfan123 :Welcome, GLHF!", " 002 ", " 003 ", " 004 ", " 375 ", " 372 ", " 376 ", " 421 justinfan123 WHAT :Unknown command",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "JOIN") || strings.Contains(got, "another") {
		t.Errorf("a JOIN before NICK, or a second NICK, was heard:\n%s", got)
	}
	c.send("JOIN #" + ch.Login + ",#nobody_at_all,,bad name,#" + strings.ToUpper(s.Channels()[1].Login) + ",#" + ch.Login)
	joined := c.sync()
	want := []string{
		":justinfan123!justinfan123@justinfan123.tmi.twitch.tv JOIN #" + ch.Login,
		"@emote-only=0;followers-only=-1;r9k=0;room-id=" + ch.ID + ";slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE #" + ch.Login,
		":justinfan123.tmi.twitch.tv 353 justinfan123 = #" + ch.Login + " :justinfan123",
		":justinfan123.tmi.twitch.tv 366 justinfan123 #" + ch.Login + " :End of /NAMES list",
	}
	if len(joined) != 8 || strings.Join(joined[:4], "\n") != strings.Join(want, "\n") {
		t.Errorf("JOIN was answered by\n%s", strings.Join(joined, "\n"))
	}
	c.send("PART #"+ch.Login, "PART #"+ch.Login, "PART #nobody_at_all")
	if got := c.sync(); len(got) != 1 || !strings.HasSuffix(got[0], " PART #"+ch.Login) {
		t.Errorf("PART was answered by %q", got)
	}
	if st := s.Status(); st.Joined != 1 || st.Joins != 1 || st.Connections != 1 {
		t.Errorf("after the PART: %+v", st)
	}
	c.send("QUIT")
	if got, err := c.rest(); len(got) != 0 || err != nil {
		t.Errorf("QUIT was answered by %q, %v", got, err)
	}
	eventually(t, "the connection is forgotten", func() bool { return s.Status().Connections == 0 })
}

func TestTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer web.Close()
	reg := prometheus.NewRegistry()
	s := start(t, sim.Config{Channels: 1, Rate: 500, Registerer: reg, TLS: &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.IRCAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &client{t, conn, bufio.NewReader(conn)}
	c.send("NICK justinfan1")
	c.join(s.Logins()...)
	s.Begin()
	c.until("PRIVMSG")
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.DropConnections("")
	if got, err := c.rest(); err != nil || int64(len(got)+1) != s.Sent() {
		t.Errorf("%d messages of %d, %v", len(got)+1, s.Sent(), err)
	}
	families, err := reg.Gather()
	if err != nil || len(families) == 0 {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tungstene_sim_messages_total" && f.GetMetric()[0].GetCounter().GetValue() != float64(s.Sent()) {
			t.Errorf("%v of %d messages are in the metrics", f.GetMetric(), s.Sent())
		}
	}
	if _, err := sim.New(sim.Config{Registerer: reg}); err == nil {
		t.Error("metrics were registered twice")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1})
	for name, tc := range map[string]struct{ send, want string }{
		"no password":  {"NICK somebody", "Login authentication failed"},
		"no token":     {"PASS secret\r\nNICK somebody", "Login authentication failed"},
		"no such nick": {"NICK some-body", "Invalid NICK"},
		"endless line": {strings.Repeat("x", 64<<10), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, s)
			c.send(tc.send)
			got, _ := c.rest() // the endless line is answered by a reset
			if !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("answered by %q, want %q", got, tc.want)
			}
		})
	}
	login(t, s, "somebody").sync() // and with a token it is let in
}

func TestJoinLimit(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 30, Limits: sim.Limits{Joins: 20}})
	logins := s.Logins()
	a, b, other := login(t, s, "justinfan1"), login(t, s, "justinfan1"), login(t, s, "justinfan2")
	a.join(logins[:19]...)
	b.send("JOIN #" + logins[19])
	b.until("JOIN #" + logins[19])
	b.send("JOIN #" + logins[20]) // the 21st of the account
	got, err := b.rest()
	if err != nil || strings.Contains(strings.Join(got, "\n"), "JOIN") {
		t.Errorf("the 21st JOIN: %q, %v", got, err)
	}
	a.sync() // only the connection that asked is closed
	other.send("JOIN #" + strings.Join(logins[:20], ",#"))
	other.until("JOIN #" + logins[19])
	other.sync()
}

func TestChannelsPerAccount(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 110, Limits: sim.Limits{ChannelsPerAccount: 100}})
	logins := s.Logins()
	a, b := login(t, s, "justinfan1"), login(t, s, "justinfan1")
	a.join(logins[:60]...)
	b.join(logins[60:100]...)
	b.send("JOIN #" + logins[100])
	if got := b.sync(); len(got) != 0 {
		t.Errorf("the 101st channel was answered: %q", got)
	}
	a.send("PART #" + logins[0])
	a.sync()
	b.join(logins[100])
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Limits: sim.Limits{PingEvery: 20 * time.Millisecond, PongWithin: 2 * time.Second}})
	c := login(t, s, "justinfan1")
	for range 3 { // a client that answers stays
		c.until("PING :tmi.twitch.tv")
		c.send("PONG :tmi.twitch.tv")
	}
	if got, err := c.rest(); err != nil { // and one that doesn't goes
		t.Errorf("%q, %v", got, err)
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	var book bytes.Buffer
	s := start(t, sim.Config{Channels: 40, Rate: 4000, Burst: 3, SharedChat: 0.02, Ledger: &book})
	a, b := login(t, s, "justinfan1"), login(t, s, "justinfan2")
	logins := s.Logins()
	a.join(logins...)
	b.join(logins[:35]...)
	silent := dial(t, s) // without capabilities
	silent.send("NICK justinfan3", "JOIN #"+logins[0])
	silent.until(" 366 ")
	s.Begin()
	eventually(t, "12,000 messages", func() bool { return s.Sent() > 12_000 })
	lines := make([][]string, 3)
	var wg sync.WaitGroup
	for i, c := range []*client{a, b, silent} {
		wg.Go(func() { lines[i], _ = c.rest() })
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.DropConnections(""); n != 3 {
		t.Errorf("%d connections were dropped", n)
	}
	wg.Wait()
	entries := ledgerOf(t, book.Bytes())
	if int64(len(entries)) != s.Sent() {
		t.Errorf("the ledger has %d messages, %d were sent", len(entries), s.Sent())
	}
	ids := map[string]string{}
	for _, ch := range s.Channels() {
		ids[ch.Login] = ch.ID
	}
	var got sim.Counts
	chatters := map[string]struct{}{}
	types := map[string]int{}
	seen := map[string]parsed{}
	for _, l := range lines[0] {
		p := parse(t, l)
		if p.command != "PING" && p.tags["room-id"] != ids[p.channel] && p.command != "CLEARMSG" {
			t.Fatalf("room-id of %q", l)
		}
		switch p.command {
		case "PRIVMSG":
			e, ok := entries[p.tags["id"]]
			if _, again := seen[e.ID]; !ok || again || e.Channel != p.channel || strconv.FormatInt(e.SentMS, 10) != p.tags["tmi-sent-ts"] ||
				e.Emotes != emotes(t, p) || e.Room != p.tags["room-id"] {
				t.Fatalf("%q is in the ledger as %+v", l, e)
			}
			seen[e.ID] = p
			if source := p.tags["source-room-id"]; source != "" && source != p.tags["room-id"] {
				if got.Copies++; !e.Shared {
					t.Fatalf("a copy is not marked: %q", l)
				}
				continue
			}
			got.Messages++
			got.Emotes += e.Emotes
			if n, err := strconv.Atoi(p.tags["bits"]); err == nil {
				got.Bits += n
				got.Cheers++
				if !strings.HasPrefix(p.text, "Cheer"+p.tags["bits"]+" ") {
					t.Errorf("a cheer: %q", l)
				}
			}
			if p.tags["first-msg"] == "1" {
				got.First++
			}
			if parent := p.tags["reply-parent-msg-id"]; parent != "" {
				types["reply"]++
				if !strings.HasPrefix(p.text, "@"+p.tags["reply-parent-display-name"]+" ") {
					t.Errorf("a reply: %q", l)
				}
			}
			chatters[p.tags["user-id"]] = struct{}{}
		case "USERNOTICE":
			got.Notices++
			types[p.tags["msg-id"]]++
			switch p.tags["msg-id"] {
			case "sub":
				got.Subs++
			case "resub":
				got.Resubs++
			case "subgift":
				got.Gifts++
			case "submysterygift":
				got.GiftBombs++
			case "raid":
				n, _ := strconv.Atoi(p.tags["msg-param-viewerCount"])
				got.Raids++
				got.RaidViewers += n
			}
		case "CLEARCHAT":
			if p.tags["ban-duration"] != "" {
				got.Timeouts++
			} else {
				got.Bans++
			}
		case "CLEARMSG":
			got.Deletes++
		}
		if !utf8.ValidString(l) {
			t.Errorf("not UTF-8: %q", l)
		}
	}
	want := s.Totals()
	got.Chatters = want.Chatters // by minute and channel; looked at below
	if got != want {
		t.Errorf("received %+v\nsent     %+v", got, want)
	}
	if len(seen) != len(entries) {
		t.Errorf("%d messages received of %d", len(seen), len(entries))
	}
	if n := len(chatters); n < 1000 || want.Chatters < n {
		t.Errorf("%d different chatters; %d by minute and channel", n, want.Chatters)
	}
	for _, kind := range []string{"sub", "resub", "subgift", "submysterygift", "raid", "announcement", "onetapgiftredeemed", "reply"} {
		if types[kind] == 0 {
			t.Errorf("no %s among %v", kind, types)
		}
	}
	both := 0
	for _, l := range lines[1] {
		if p := parse(t, l); p.command == "PRIVMSG" {
			if both++; seen[p.tags["id"]].text != p.text {
				t.Fatalf("the second connection got %q", l)
			}
		}
	}
	wantBoth := 0
	for _, p := range seen {
		for _, l := range logins[:35] {
			if p.channel == l {
				wantBoth++
			}
		}
	}
	if both != wantBoth {
		t.Errorf("the second connection got %d messages of %d", both, wantBoth)
	}
	for _, l := range lines[2] {
		if p := parse(t, l); len(p.tags) > 0 || p.command != "PRIVMSG" && p.command != "PING" {
			t.Fatalf("without capabilities: %q", l)
		}
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	rows, err := sim.AGDQ2020()
	if err != nil {
		t.Fatal(err)
	}
	// A hole in the recording lies in the slice.
	from := time.Date(2020, 1, 6, 23, 40, 0, 0, time.UTC)
	var book bytes.Buffer
	var mu sync.Mutex
	asked := map[time.Time]int{}
	s := start(t, sim.Config{
		Ledger: &book,
		Faults: sim.Faults{Disorder: 0.05, Duplicate: 0.02},
		Replay: &sim.Replay{Rows: rows, From: from, For: 5 * time.Minute, Speed: 300, Gate: func(m time.Time) bool {
			mu.Lock()
			defer mu.Unlock()
			asked[m]++
			return asked[m] >= 3
		}},
	})
	if now := s.Clock().Now(); !now.Equal(from.Add(-time.Second)) {
		t.Fatalf("before Begin the clock is at %s", now)
	}
	c := login(t, s, "justinfan1")
	c.join(s.Logins()...)
	s.Begin()
	var lines []string
	var wg sync.WaitGroup
	wg.Go(func() { lines, _ = c.rest() })
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("the replay does not end")
	}
	s.DropConnections("")
	wg.Wait()
	messages, uses, seen := map[time.Time]int{}, map[time.Time]int{}, map[string]bool{}
	doubled := 0
	for _, l := range lines {
		p := parse(t, l)
		if p.command != "PRIVMSG" {
			continue
		}
		if seen[p.tags["id"]] {
			doubled++
			continue
		}
		seen[p.tags["id"]] = true
		ms, _ := strconv.ParseInt(p.tags["tmi-sent-ts"], 10, 64)
		m := time.UnixMilli(ms).UTC().Truncate(time.Minute)
		messages[m]++
		uses[m] += emotes(t, p)
	}
	n, total := 0, 0
	for _, row := range rows {
		if row.Time.Before(from) || !row.Time.Before(from.Add(5*time.Minute)) {
			continue
		}
		n, total = n+1, total+row.Messages
		if messages[row.Time] != row.Messages || uses[row.Time] != row.Emotes {
			t.Errorf("%s: %d messages with %d emotes, recorded were %d and %d", row.Time, messages[row.Time], uses[row.Time], row.Messages,
				row.Emotes)
		}
		if c := s.Minute(row.Time)[s.Channels()[0].ID]; c.Messages != row.Messages || c.Emotes != row.Emotes {
			t.Errorf("%s: counted as %+v", row.Time, c)
		}
		mu.Lock()
		if asked[row.Time] < 3 {
			t.Errorf("%s did not wait for its gate", row.Time)
		}
		mu.Unlock()
	}
	if n != 4 || len(seen) != total || len(ledgerOf(t, book.Bytes())) != total || doubled == 0 {
		t.Errorf("%d minutes, %d messages, %d in the ledger, %d doubled; want 4, %d", n, len(seen), len(ledgerOf(t, book.Bytes())), doubled, total)
	}
	end := from.Add(6 * time.Minute)
	if err := s.Clock().Until(t.Context(), end); err != nil {
		t.Errorf("after the replay the clock stands: %v", err)
	}
}

func TestReplayHoldsTheClock(t *testing.T) {
	t.Parallel()
	from := time.Date(2020, 1, 6, 12, 0, 0, 0, time.UTC)
	open := make(chan struct{})
	reached := make(chan struct{})
	var once sync.Once
	var s *sim.Sim
	s = start(t, sim.Config{Replay: &sim.Replay{
		Rows: []sim.Minute{{Time: from, Viewers: 5, Messages: 3, Emotes: 46}, {Time: from.Add(time.Minute), Viewers: -1, Messages: 1, Emotes: 46}},
		// As fast as this, a clock that is not held would be years away.
		Speed: 10_000, GateTimeout: time.Hour,
		Gate: func(time.Time) bool {
			if s.Clock().Now().Equal(from.Add(20 * time.Second)) {
				once.Do(func() { close(reached) })
			}
			select {
			case <-open:
				return true
			default:
				return false
			}
		},
	}})
	s.Begin()
	<-reached
	if now := s.Clock().Now(); !now.Equal(from.Add(20 * time.Second)) {
		t.Errorf("the clock is at %s before the gate opens", now)
	}
	close(open)
	<-s.Done()
}

func TestReplayGateTimesOut(t *testing.T) {
	t.Parallel()
	from := time.Date(2020, 1, 6, 12, 0, 0, 0, time.UTC)
	s := start(t, sim.Config{Replay: &sim.Replay{
		Rows:  []sim.Minute{{Time: from, Viewers: 5, Messages: 3, Emotes: 46}},
		Speed: 1000, GateTimeout: time.Millisecond, Gate: func(time.Time) bool { return false },
	}})
	s.Begin()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("a gate that stays shut holds the replay for ever")
	}
}

// recorded plays a few minutes and returns the messages in the order of arrival.
func recorded(t *testing.T, seed uint64) []string {
	t.Helper()
	from := time.Date(2020, 1, 6, 12, 0, 0, 0, time.UTC)
	rows := []sim.Minute{
		{Time: from, Viewers: 5, Messages: 300, Emotes: 400}, {Time: from.Add(time.Minute), Viewers: 6, Messages: 200, Emotes: -1},
	}
	s := start(t, sim.Config{Seed: seed, Replay: &sim.Replay{Rows: rows, Speed: 2000}})
	c := login(t, s, "justinfan1")
	c.join(s.Logins()...)
	s.Begin()
	<-s.Done()
	s.DropConnections("")
	lines, err := c.rest()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestSeed(t *testing.T) {
	t.Parallel()
	a, b, other := recorded(t, 7), recorded(t, 7), recorded(t, 8)
	if len(a) < 500 || strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("one seed gave different chats of %d and %d lines", len(a), len(b))
	}
	if strings.Join(a, "\n") == strings.Join(other, "\n") {
		t.Error("two seeds gave one chat")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	var book bytes.Buffer
	s := start(t, sim.Config{Channels: 5, Rate: 3000, Burst: 1, Ledger: &book, Faults: sim.Faults{Duplicate: 0.1, Disorder: 0.1}})
	c := login(t, s, "justinfan1")
	c.join(s.Logins()...)
	s.Begin()
	eventually(t, "3,000 messages", func() bool { return s.Sent() > 3000 })
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.DropConnections("")
	lines, err := c.rest()
	if err != nil {
		t.Fatal(err)
	}
	entries, seen, doubled, disorder, last := ledgerOf(t, book.Bytes()), map[string]int{}, 0, 0, ""
	for _, l := range lines {
		p := parse(t, l)
		if p.command != "PRIVMSG" {
			continue
		}
		if seen[p.tags["id"]]++; seen[p.tags["id"]] == 2 {
			doubled++
		}
		if p.tags["tmi-sent-ts"] < last {
			disorder++
		}
		last = p.tags["tmi-sent-ts"]
	}
	if len(seen) != len(entries) || doubled == 0 || disorder == 0 {
		t.Errorf("%d messages of %d, %d doubled, %d out of order", len(seen), len(entries), doubled, disorder)
	}
}

func TestJoinLoss(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 2, Faults: sim.Faults{JoinLoss: 1}})
	c := login(t, s, "justinfan1")
	c.send("JOIN #" + s.Logins()[0])
	if got := c.sync(); len(got) != 0 {
		t.Errorf("a lost JOIN was answered: %q", got)
	}
	if err := s.SetFaults(sim.Faults{}); err != nil {
		t.Fatal(err)
	}
	c.join(s.Logins()[0])
	if err := s.SetFaults(sim.Faults{JoinLoss: 2}); err == nil {
		t.Error("a probability of 2 was taken")
	}
}

func TestConnectionFaults(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 1, Rate: 500, Burst: 1, Limits: sim.Limits{ReconnectGrace: 50 * time.Millisecond}})
	name := s.Logins()[0]
	a, b := login(t, s, "justinfan11"), login(t, s, "justinfan22")
	a.join(name)
	b.join(name)
	s.Begin()
	if n := s.Freeze("justinfan1"); n != 1 {
		t.Fatalf("%d connections were frozen", n)
	}
	a.send("PING :anybody")
	sent := s.Sent()
	eventually(t, "messages for the other", func() bool { return s.Sent() > sent+100 })
	b.until("PRIVMSG")
	s.Freeze("")
	sent = s.Sent()
	<-time.After(20 * time.Millisecond) // longer than a tick of the traffic
	if s.Sent() != sent {
		t.Error("messages that nobody gets are counted as sent")
	}
	s.Thaw()
	a.until("PRIVMSG")
	for l := range strings.SplitSeq(strings.Join(a.sync(), "\n"), "\n") {
		if strings.Contains(l, "anybody") {
			t.Error("a frozen connection answered")
		}
	}
	if n := s.SendReconnect("justinfan2"); n != 1 {
		t.Errorf("%d were told to reconnect", n)
	}
	b.until(":tmi.twitch.tv RECONNECT")
	if got, err := b.rest(); err != nil {
		t.Errorf("after RECONNECT: %d lines, %v", len(got), err)
	}
	if n := s.DropConnections("justinfan1"); n != 1 {
		t.Errorf("%d were dropped", n)
	}
	if _, err := a.rest(); err != nil {
		t.Error(err)
	}
	if err := s.SetFaults(sim.Faults{ReconnectEvery: sim.Duration(time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	login(t, s, "justinfan33").until("RECONNECT")
}

// Twitch stops sending one channel to a connection, which stays joined and is sent all else.
func TestMute(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := start(t, sim.Config{Channels: 2, Rate: 500, Burst: 1, Ledger: &b})
	quiet, other := s.Logins()[0], s.Logins()[1]
	a, c := login(t, s, "justinfan11"), login(t, s, "justinfan22")
	a.join(quiet, other)
	s.Begin()
	a.until("PRIVMSG #" + quiet)
	if n, err := s.Mute(quiet, "justinfan2", 0); n != 0 || err != nil {
		t.Errorf("muted %d that are not in the channel, %v", n, err)
	}
	if n, err := s.Mute(quiet, "", 1); n != 1 || err != nil {
		t.Fatalf("muted %d, %v", n, err)
	}
	a.sync()
	eventually(t, "messages are withheld", func() bool { return s.Status().Withheld > 20 })
	a.until("PRIVMSG #" + other)
	for _, l := range a.sync() {
		if strings.Contains(l, "#"+quiet) {
			t.Fatalf("sent to a muted connection: %s", l)
		}
	}
	c.join(quiet) // and is not muted
	withheld := s.Status().Withheld
	for range 20 {
		c.until("PRIVMSG #" + quiet)
	}
	if now := s.Status().Withheld; now != withheld {
		t.Errorf("%d messages that one connection got count as withheld", now-withheld)
	}
	if err := s.Unmute(quiet); err != nil {
		t.Fatal(err)
	}
	a.until("PRIVMSG #" + quiet)
	if n, err := s.Mute(quiet, "", 0); n != 2 || err != nil {
		t.Errorf("muted %d, %v", n, err)
	}
	a.send("PART #" + quiet)
	a.until("PART #" + quiet)
	a.join(quiet) // ends it
	a.until("PRIVMSG #" + quiet)
	for _, bad := range []func() error{
		func() error { _, err := s.Mute("nobody", "", 0); return err },
		func() error { _, err := s.Mute(quiet, "", -1); return err },
		func() error { return s.Unmute("nobody") },
	} {
		if bad() == nil {
			t.Error("what can't be was taken")
		}
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := int64(len(ledgerOf(t, b.Bytes()))); got != s.Sent() {
		t.Errorf("the ledger has %d messages of %d", got, s.Sent())
	}
}

// TestSlowReader: who does not read is cut off, and what nobody hears then is in the ledger, apart from the rest.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := start(t, sim.Config{Channels: 2, Rate: 20_000, Burst: 1, Ledger: &b, Limits: sim.Limits{WriteBuffer: 16 << 10}})
	c := login(t, s, "justinfan1")
	c.join(s.Logins()[0])
	s.Begin()
	eventually(t, "the connection is cut off", func() bool { return s.Status().Connections == 0 })
	eventually(t, "nobody hears a message", func() bool { return s.Status().Unheard > 0 })
	sent := s.Sent()
	again := login(t, s, "justinfan2")
	again.join(s.Logins()[0])
	eventually(t, "it is heard again", func() bool { return s.Sent() > sent })
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	heard := ledgerOf(t, b.Bytes())
	if int64(len(heard)) != s.Sent() {
		t.Errorf("%d messages are told to have been heard, want %d", len(heard), s.Sent())
	}
	n := 0
	for e, err := range sim.ReadUnheard(bytes.NewReader(b.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		if _, told := heard[e.ID]; told || !e.Unheard || e.Channel != s.Logins()[0] { // nobody ever was in the other
			t.Errorf("unheard: %+v, told twice: %v", e, told)
		}
		n++
	}
	if int64(n) != s.Status().Unheard {
		t.Errorf("%d messages are told to have been sent to nobody, want %d", n, s.Status().Unheard)
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	s := start(t, sim.Config{Channels: 2, Rate: 500, Burst: 1})
	ch := s.Channels()[0]
	c := login(t, s, "justinfan1")
	c.join(ch.Login)
	s.Begin()
	c.until("PRIVMSG")
	for _, to := range []string{"Not A Login", s.Logins()[1], ""} {
		if err := s.RenameChannel(ch.Login, to); err == nil {
			t.Errorf("renamed to %q", to)
		}
	}
	if err := s.RenameChannel(ch.Login, "renamed_sim"); err != nil {
		t.Fatal(err)
	}
	c.sync()
	c.send("JOIN #" + ch.Login)
	if got := c.sync(); len(got) != 0 {
		t.Errorf("the old name was answered: %q", got)
	}
	c.send("JOIN #renamed_sim")
	if l := c.until("PRIVMSG #renamed_sim"); parse(t, l).tags["room-id"] != ch.ID {
		t.Errorf("after the rename: %q", l)
	}
	if got := s.Channels()[0]; got.ID != ch.ID || got.Login != "renamed_sim" || got.Name != "Renamed_Sim" {
		t.Errorf("renamed is %+v", got)
	}
	if err := s.RenameChannel(ch.Login, "somebody"); err == nil {
		t.Error("a channel that is not there was renamed")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestLedgerThatFails(t *testing.T) {
	t.Parallel()
	s, err := sim.New(sim.Config{Channels: 1, Rate: 500, Ledger: failingWriter{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	c := login(t, s, "justinfan1")
	c.join(s.Logins()...)
	s.Begin()
	c.until("PRIVMSG")
	if err := s.End(t.Context()); err == nil || !strings.Contains(err.Error(), "write ledger") {
		t.Errorf("End: %v", err)
	}
	cancel()
	if err := <-ran; err == nil || !strings.Contains(err.Error(), "write ledger") {
		t.Errorf("Run: %v", err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	at := time.Date(2020, 1, 6, 12, 0, 0, 0, time.UTC)
	rows := []sim.Minute{{Time: at, Viewers: 1, Messages: 1, Emotes: 1}}
	for _, tc := range []struct {
		cfg  sim.Config
		want string
	}{
		{sim.Config{Channels: -1}, "-1 channels: use 1 to 100,000"},
		{sim.Config{Rate: -5}, "rate -5: use more than 0"},
		{sim.Config{Burst: 0.5}, "burst 0.5: use 1 (steady) to 18"},
		{sim.Config{SharedChat: 2}, "shared chat 2: use a share"},
		{sim.Config{Limits: sim.Limits{PageSize: -1}}, "the page size is negative"},
		{sim.Config{Faults: sim.Faults{Duplicate: -1}}, "fault duplicate is -1"},
		{sim.Config{Faults: sim.Faults{Helix429: 0.6, Helix5xx: 0.6}}, "add up to 1.2"},
		{sim.Config{IRCListen: "256.0.0.1:1"}, "chat: "},
		{sim.Config{HTTPListen: "256.0.0.1:1"}, "HTTP: "},
		{sim.Config{Replay: &sim.Replay{}}, "no recorded minutes"},
		{sim.Config{Replay: &sim.Replay{Rows: rows, From: at.Add(time.Hour)}}, "nothing was recorded from 2020-01-06T13:00:00Z"},
		{sim.Config{Replay: &sim.Replay{Rows: rows, From: at.Add(time.Second)}}, "use the start of a minute"},
		{sim.Config{Replay: &sim.Replay{Rows: rows, Speed: -1}}, "speed -1"},
		{sim.Config{Replay: &sim.Replay{Rows: rows, For: time.Second}}, "whole minutes"},
		{sim.Config{Replay: &sim.Replay{Rows: rows, Login: "A B"}}, `login "A B"`},
		{sim.Config{Replay: &sim.Replay{Rows: append(rows, rows...)}}, "give each once, in order"},
		{sim.Config{Replay: &sim.Replay{Rows: []sim.Minute{{Time: at, Messages: 1, Emotes: 500}}}}, "at most 120 emotes"},
	} {
		s, err := sim.New(tc.cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.cfg, err, tc.want)
		}
	}
	s, err := sim.New(sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Channels()); n != 350 {
		t.Errorf("%d channels by default", n)
	}
	seen := map[string]bool{}
	for _, ch := range s.Channels() {
		if seen[ch.ID] || seen[ch.Login] || !strings.EqualFold(ch.Login, ch.Name) {
			t.Errorf("channel %+v", ch)
		}
		seen[ch.ID], seen[ch.Login] = true, true
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
