package sim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	server      = "tmi.twitch.tv"
	maxLine     = 16 << 10 // bytes of a line that a client sends
	lingerAfter = time.Second
	writeWithin = 30 * time.Second
	smallBuffer = 1 << 20 // bytes; a smaller bound of what waits is asked of the system too
)

// conn is one chat connection. Its life:
//
//	open ──(PASS, NICK)──► registered ──► closing ──► closed
//
// Closing, it takes no more lines, is in no channel, delivers what was queued and then ends its
// half of the connection; closed, the socket is gone. A frozen connection is open and registered,
// takes no line and answers none.
type conn struct {
	s   *Sim
	net net.Conn
	log *slog.Logger

	// Guarded by Sim.mu.
	nick       string
	pass       string
	registered bool
	wantTags   bool
	commands   bool
	joined     map[*channel]struct{}
	muted      map[*channel]struct{} // of those joined
	touched    bool                  // has lines that its writer was not told of

	mu      sync.Mutex
	wake    *sync.Cond
	out     []byte
	writing bool
	frozen  bool
	closing bool
	closed  bool
	pinged  time.Time // when the PING without PONG was sent; zero: none
	ping    time.Time // when the next is due; zero: before NICK, never
	closeAt time.Time // after RECONNECT
}

// enqueue takes a line, or says that the connection takes none. It does not wake the writer.
func (c *conn) enqueue(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen || c.closing || c.closed {
		return false
	}
	if len(c.out)+len(b) > c.s.cfg.Limits.WriteBuffer {
		c.log.Warn("chat client does not read: closing its connection", "waiting_bytes", len(c.out))
		c.s.metrics.closed.WithLabelValues("slow").Inc()
		c.hardCloseLocked()
		return false
	}
	c.out = append(c.out, b...)
	return true
}

// reply is enqueue of whole lines, and wakes the writer.
func (c *conn) reply(lines ...string) {
	for _, l := range lines {
		c.enqueue([]byte(l + "\r\n"))
	}
	c.wake.Signal()
}

// finish begins the orderly end: what is queued is still delivered.
func (c *conn) finish(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.closed {
		return
	}
	c.closing, c.frozen = true, false
	c.s.metrics.closed.WithLabelValues(reason).Inc()
	c.wake.Broadcast()
}

// hardClose ends it at once.
func (c *conn) hardClose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hardCloseLocked()
}

func (c *conn) hardCloseLocked() {
	if c.closed {
		return
	}
	c.closed = true
	if err := c.net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("closing a chat connection", "err", err)
	}
	c.wake.Broadcast()
}

// drained says that all that was queued has been written to the socket, or never will be.
func (c *conn) drained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || len(c.out) == 0 && !c.writing
}

func (c *conn) write() {
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closing && !c.closed {
			c.wake.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		b := c.out
		c.out, c.writing = spare[:0], true
		c.mu.Unlock()
		if len(b) == 0 { // closing, and all is delivered
			c.halfClose()
			return
		}
		err := c.net.SetWriteDeadline(time.Now().Add(writeWithin))
		if err == nil {
			_, err = c.net.Write(b)
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
		if err != nil {
			c.log.Debug("writing to a chat client", "err", err)
			c.hardClose()
			return
		}
		if spare = b; cap(spare) > 1<<20 {
			spare = nil
		}
	}
}

// halfClose ends our half, so that the client reads all that was sent, and gives it a moment to end
// its own.
func (c *conn) halfClose() {
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err == nil && c.net.SetReadDeadline(time.Now().Add(lingerAfter)) == nil {
			return // the reader closes it
		}
	}
	c.hardClose()
}

func (c *conn) read() {
	br := bufio.NewReaderSize(c.net, maxLine)
	for {
		b, err := br.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				c.log.Warn("chat client sent a line without end: closing its connection", "bytes", len(b))
				c.s.metrics.closed.WithLabelValues("line").Inc()
			}
			c.s.leave(c)
			c.hardClose()
			return
		}
		c.mu.Lock()
		deaf := c.frozen || c.closing || c.closed
		c.mu.Unlock()
		if b = bytes.TrimRight(b, "\r\n"); len(b) > 0 && !deaf {
			c.handle(string(b))
		}
	}
}

// handle does what one line says. Lines that say nothing are answered as Twitch does, or not at all.
func (c *conn) handle(l string) {
	if strings.HasPrefix(l, "@") {
		_, l, _ = strings.Cut(l, " ")
	}
	if strings.HasPrefix(l, ":") {
		_, l, _ = strings.Cut(l, " ")
	}
	command, rest, _ := strings.Cut(strings.TrimLeft(l, " "), " ")
	switch strings.ToUpper(command) {
	case "CAP":
		c.capability(rest)
	case "PASS":
		c.s.mu.Lock()
		c.pass = strings.TrimPrefix(rest, ":")
		c.s.mu.Unlock()
	case "NICK":
		c.register(strings.ToLower(strings.TrimSpace(strings.TrimPrefix(rest, ":"))))
	case "USER", "PRIVMSG", "WHO", "": // a reader has nothing to say
	case "PING":
		c.reply(":" + server + " PONG " + server + " :" + strings.TrimPrefix(rest, ":"))
	case "PONG":
		c.mu.Lock()
		c.pinged = time.Time{}
		c.mu.Unlock()
	case "JOIN":
		c.s.join(c, rest)
	case "PART":
		c.s.part(c, rest)
	case "QUIT":
		c.s.leave(c)
		c.finish("quit")
	default:
		c.s.mu.Lock()
		nick := c.nick
		c.s.mu.Unlock()
		if nick == "" {
			nick = "you"
		}
		c.reply(":" + server + " 421 " + nick + " " + command + " :Unknown command")
	}
}

func (c *conn) capability(rest string) {
	sub, list, _ := strings.Cut(rest, " ")
	switch strings.ToUpper(sub) {
	case "LS":
		c.reply(":" + server + " CAP * LS :twitch.tv/commands twitch.tv/membership twitch.tv/tags")
	case "REQ":
		list = strings.TrimSpace(strings.TrimPrefix(list, ":"))
		var tags, commands bool
		for name := range strings.FieldsSeq(list) {
			switch name {
			case "twitch.tv/tags":
				tags = true
			case "twitch.tv/commands":
				commands = true
			case "twitch.tv/membership":
			default:
				c.reply(":" + server + " CAP * NAK :" + list)
				return
			}
		}
		c.s.mu.Lock()
		c.wantTags, c.commands = c.wantTags || tags, c.commands || commands
		c.s.mu.Unlock()
		c.reply(":" + server + " CAP * ACK :" + list)
	}
}

func (c *conn) register(nick string) {
	c.s.mu.Lock()
	again, pass := c.registered, c.pass
	c.s.mu.Unlock()
	if again {
		return
	}
	if !validLogin(nick) {
		c.reply(":" + server + " NOTICE * :Invalid NICK")
		c.finish("login")
		return
	}
	if !anonymous(nick) && (!strings.HasPrefix(pass, "oauth:") || pass == "oauth:") {
		c.reply(":" + server + " NOTICE * :Login authentication failed")
		c.finish("login")
		return
	}
	c.s.mu.Lock()
	c.nick, c.registered = nick, true
	c.s.mu.Unlock()
	c.mu.Lock()
	c.ping = time.Now().Add(c.s.cfg.Limits.PingEvery)
	c.mu.Unlock()
	to := ":" + server + " "
	c.reply(
		to+"001 "+nick+" :Welcome, GLHF!",
		to+"002 "+nick+" :Your host is "+server,
		to+"003 "+nick+" :This server is rather new",
		to+"004 "+nick+" :-",
		to+"375 "+nick+" :-",
		to+"372 "+nick+" :You are in a maze of twisty passages, all alike.",
		to+"376 "+nick+" :>",
	)
}

// anonymous says whether a nick is one of those that need no account: justinfan and digits.
func anonymous(nick string) bool {
	digits, ok := strings.CutPrefix(nick, "justinfan")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// account is what Twitch's limits are held to: a nick.
type account struct {
	joins    []time.Time // within the window
	channels int
}

// join answers JOIN #a,#b. What can't be joined gets no answer.
func (s *Sim) join(c *conn, list string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.registered {
		return
	}
	acc := s.account(c.nick)
	now := time.Now()
	for name := range strings.SplitSeq(list, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if limit := s.cfg.Limits.Joins; limit >= 0 {
			for len(acc.joins) > 0 && now.Sub(acc.joins[0]) >= s.cfg.Limits.JoinWindow {
				acc.joins = acc.joins[1:]
			}
			if len(acc.joins) >= limit {
				s.log.Warn("too many JOINs: closing the connection", "nick", c.nick, "limit", limit)
				s.leaveLocked(c)
				c.finish("joins")
				return
			}
			acc.joins = append(acc.joins, now)
		}
		ch := s.byLogin[strings.TrimPrefix(name, "#")]
		if ch == nil || !strings.HasPrefix(name, "#") {
			s.metrics.joins.WithLabelValues("unknown").Inc()
			continue
		}
		if _, ok := c.joined[ch]; ok {
			continue
		}
		if limit := s.cfg.Limits.ChannelsPerAccount; limit >= 0 && acc.channels >= limit {
			s.log.Warn("an account is in as many channels as it may: ignoring its JOIN", "nick", c.nick, "channel", ch.Login,
				"limit", limit)
			s.metrics.joins.WithLabelValues("limit").Inc()
			continue
		}
		if s.faults.JoinLoss > 0 && s.chance.Float64() < s.faults.JoinLoss {
			s.metrics.joins.WithLabelValues("lost").Inc()
			continue
		}
		s.metrics.joins.WithLabelValues("echoed").Inc()
		s.welcome(c, ch)
		c.joined[ch] = struct{}{}
		ch.members = append(ch.members, c)
		acc.channels++
	}
}

// welcome sends what a JOIN is answered with.
func (s *Sim) welcome(c *conn, ch *channel) {
	who := c.nick + "!" + c.nick + "@" + c.nick + "." + server
	lines := []string{":" + who + " JOIN #" + ch.Login}
	if c.commands {
		state := ":" + server + " ROOMSTATE #" + ch.Login
		if c.wantTags {
			state = "@emote-only=0;followers-only=-1;r9k=0;room-id=" + ch.ID + ";slow=0;subs-only=0 " + state
		}
		lines = append(lines, state)
	}
	name := ":" + c.nick + "." + server
	c.reply(append(lines,
		name+" 353 "+c.nick+" = #"+ch.Login+" :"+c.nick,
		name+" 366 "+c.nick+" #"+ch.Login+" :End of /NAMES list")...)
}

func (s *Sim) part(c *conn, list string) {
	list, _, _ = strings.Cut(list, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range strings.SplitSeq(list, ",") {
		ch := s.byLogin[strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "#")]
		if ch == nil {
			continue
		}
		if _, ok := c.joined[ch]; !ok {
			continue
		}
		s.partLocked(c, ch)
		c.reply(":" + c.nick + "!" + c.nick + "@" + c.nick + "." + server + " PART #" + ch.Login)
	}
}

func (s *Sim) partLocked(c *conn, ch *channel) {
	delete(c.joined, ch)
	delete(c.muted, ch)
	for i, m := range ch.members {
		if m == c {
			last := len(ch.members) - 1
			ch.members[i] = ch.members[last]
			ch.members[last] = nil
			ch.members = ch.members[:last]
			break
		}
	}
	s.account(c.nick).channels--
}

func (s *Sim) account(nick string) *account {
	acc := s.accounts[nick]
	if acc == nil {
		acc = &account{}
		s.accounts[nick] = acc
	}
	return acc
}

// leave takes a connection out of all channels and out of the list.
func (s *Sim) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(c)
	delete(s.conns, c)
	s.metrics.connections.Set(float64(len(s.conns)))
	if len(s.accounts) > 2*len(s.conns)+1000 { // clients with a new nick for each connection
		now := time.Now()
		maps.DeleteFunc(s.accounts, func(_ string, a *account) bool {
			return a.channels == 0 && (len(a.joins) == 0 || now.Sub(a.joins[len(a.joins)-1]) > s.cfg.Limits.JoinWindow)
		})
	}
}

func (s *Sim) leaveLocked(c *conn) {
	for ch := range c.joined {
		s.partLocked(c, ch)
	}
}

// accept serves chat connections until the listener is closed.
func (s *Sim) accept(ctx context.Context) error {
	for {
		nc, err := s.irc.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil //nolint:nilerr // the listener was closed on purpose
			}
			var temporary net.Error
			if errors.As(err, &temporary) {
				s.log.Warn("accepting a chat connection", "err", err)
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			return err
		}
		c := &conn{
			s: s, net: nc, log: s.log.With("client", nc.RemoteAddr().String()), joined: map[*channel]struct{}{}, muted: map[*channel]struct{}{},
		}
		c.wake = sync.NewCond(&c.mu)
		if tcp, ok := nc.(*net.TCPConn); ok && s.cfg.Limits.WriteBuffer < smallBuffer {
			if err := tcp.SetWriteBuffer(s.cfg.Limits.WriteBuffer); err != nil {
				c.log.Warn("the system bounds by itself what waits for a chat client", "err", err)
			}
		}
		s.mu.Lock()
		if s.stopped {
			s.mu.Unlock()
			c.hardClose()
			continue
		}
		s.conns[c] = struct{}{}
		s.metrics.connections.Set(float64(len(s.conns)))
		s.clients.Go(c.write)
		s.clients.Go(c.read)
		s.mu.Unlock()
	}
}

// tend sends PINGs, ends connections that did not answer or were sent RECONNECT, and sends
// RECONNECT by itself where the faults say so, until the context ends.
func (s *Sim) tend(ctx context.Context) {
	l := s.cfg.Limits
	tick := time.NewTicker(min(max(min(l.PingEvery, l.PongWithin, l.ReconnectGrace)/4, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	lastReconnect, lastFlush := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		s.mu.Lock()
		conns := s.connections("")
		every := time.Duration(s.faults.ReconnectEvery)
		var victim *conn
		if every > 0 && now.Sub(lastReconnect) >= every && len(conns) > 0 {
			victim, lastReconnect = conns[s.chance.IntN(len(conns))], now
		}
		s.mu.Unlock()
		if victim != nil {
			s.reconnect(victim)
		}
		for _, c := range conns {
			c.tend(now)
		}
		if now.Sub(lastFlush) >= time.Second {
			s.flush()
			lastFlush = now
		}
	}
}

func (c *conn) tend(now time.Time) {
	c.mu.Lock()
	ping, reason := false, ""
	switch {
	case c.frozen || c.closing || c.closed:
	case !c.closeAt.IsZero() && !now.Before(c.closeAt):
		reason = "reconnect"
	case !c.pinged.IsZero() && now.Sub(c.pinged) >= c.s.cfg.Limits.PongWithin:
		reason = "pong"
	case c.pinged.IsZero() && !c.ping.IsZero() && !now.Before(c.ping):
		ping, c.pinged, c.ping = true, now, now.Add(c.s.cfg.Limits.PingEvery)
	}
	c.mu.Unlock()
	if ping {
		c.reply("PING :" + server)
	}
	if reason == "" {
		return
	}
	c.s.mu.Lock()
	c.s.leaveLocked(c)
	c.finish(reason)
	c.s.mu.Unlock()
}

// reconnect announces the end of a connection.
func (s *Sim) reconnect(c *conn) {
	c.reply(":" + server + " RECONNECT")
	c.mu.Lock()
	if c.closeAt.IsZero() {
		c.closeAt = time.Now().Add(s.cfg.Limits.ReconnectGrace)
	}
	c.mu.Unlock()
}

// connections are those whose nick starts with the prefix. Sim.mu is held.
func (s *Sim) connections(nick string) []*conn {
	var out []*conn
	for c := range s.conns {
		if strings.HasPrefix(c.nick, nick) {
			out = append(out, c)
		}
	}
	return out
}
