package chat_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	twitch "github.com/gempir/go-twitch-irc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// 85 channels on one connection of a server that disconnects whoever sends too many JOINs. PINGs
// are answered at once all the while, with their whole text.
func TestJoinsArePacedAndPongsAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{strict: true}
		g := start(t, s, chat.Config{})
		defer g.stop()
		list := channels(85)
		slices.Reverse(list) // the order given is kept, whatever the names are
		g.Set(list, control.Budget{})
		await(t, "a connection", time.Second, func() bool { return s.count() == 1 })
		p := s.peer(0)
		for i := range 50 {
			synctest.Wait()
			text := fmt.Sprintf("PING :tmi.twitch.tv and more %d", i)
			p.out <- text
			synctest.Wait()
			if pongs := p.commands("PONG"); len(pongs) != i+1 || pongs[i] != strings.Replace(text, "PING", "PONG", 1) {
				t.Fatalf("PONGs %q after %q", pongs, text)
			}
			time.Sleep(time.Second)
		}
		g.awaitJoined(t, 85, 10*time.Second)
		if s.count() != 1 || !p.isOpen() {
			t.Errorf("%d connections, open: %v", s.count(), p.isOpen())
		}
		joins, _ := p.state()
		for i := 20; i < len(joins); i++ {
			if d := joins[i].Sub(joins[i-20]); d < 12500*time.Millisecond {
				t.Errorf("JOINs %d to %d within %v", i-20, i, d)
			}
		}
		if first := p.commands("JOIN")[0]; !strings.HasPrefix(first, "JOIN #channel084,#channel083,") {
			t.Errorf("first JOIN: %s", first)
		}
	})
}

func TestChannelsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{Registerer: prometheus.NewRegistry()})
		defer g.stop()
		g.Set(channels(350), generous)
		g.awaitJoined(t, 350, 10*time.Second)
		nicks := map[string]bool{}
		for _, c := range g.Connections() {
			nicks[c.Nick] = true
			if c.State != "ready" || c.Joined > 90 || c.Joined < 80 {
				t.Errorf("%+v", c)
			}
		}
		if len(nicks) != 4 {
			t.Errorf("nicks %v, want 4", nicks)
		}
	})
}

func TestSmallSetsKeepOneConnectionAndChangesAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		list := channels(40)
		g.Set(list[:30], generous)
		g.awaitJoined(t, 30, time.Second)
		g.Set(list[10:], generous)
		await(t, "the new set", time.Second, func() bool {
			joined := g.Joined()
			return len(joined) == 30 && joined[0] == "9010"
		})
		synctest.Wait()
		if joins, in := s.peer(0).state(); s.count() != 1 || len(joins) != 40 || in != 30 {
			t.Errorf("%d connections, %d JOINs, %d channels", s.count(), len(joins), in)
		}
		// Off and on again at once: the echo of the old PART must not undo the new JOIN.
		g.Set(nil, generous)
		g.Set(list[:5], generous)
		g.awaitJoined(t, 5, 10*time.Second)
		g.Set(list[:4], generous)
		synctest.Wait()
		g.Set(list[:5], generous)
		await(t, "five again", 30*time.Second, func() bool {
			live := s.live()
			if len(g.Joined()) != 5 || len(live) != 1 {
				return false
			}
			_, in := live[0].state()
			return in == 5
		})
		g.Set(nil, generous)
		await(t, "no connection", 30*time.Second, func() bool { return len(s.live()) == 0 && len(g.Connections()) == 0 })
	})
}

// A smaller budget moves channels to other connections, each joined there before it is left here.
func TestSmallerBudgetMovesChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(80), generous)
		g.awaitJoined(t, 80, time.Second)
		begin := time.Now()
		small := generous
		small.PerConnection = 30
		g.Set(channels(80), small)
		await(t, "three connections", 30*time.Second, func() bool {
			c := g.Connections()
			return len(c) == 3 && c[0].Joined == 30 && c[1].Joined == 25 && c[2].Joined == 25
		})
		time.Sleep(30 * time.Second)
		end := time.Now().Add(-10 * time.Second)
		g.stop()
		for c, d := range checkSpans(t, g.spans, begin, end) {
			if d != end.Sub(begin) {
				t.Errorf("%s was covered for %v of %v", c, d, end.Sub(begin))
			}
		}
	})
}

func TestUnansweredJoinIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{unknown: map[string]bool{"channel007": true}}
		g := start(t, s, chat.Config{})
		defer g.stop()
		list := append(channels(20), chat.Channel{ID: "1", Login: "no such,#login\r\nQUIT"})
		g.Set(list, generous)
		g.awaitJoined(t, 19, time.Second)
		await(t, "the condition", 5*time.Minute, func() bool {
			return slices.Contains(names(g.Conditions()), "join-unanswered channel007")
		})
		want := []string{"join-unanswered channel007", "login-invalid no such,#login\r\nquit"}
		if got := names(g.Conditions()); !slices.Equal(got, want) {
			t.Errorf("conditions %q, want %q", got, want)
		}
		p := s.peer(0)
		if n := len(p.commands("JOIN")); n < 4 || n > 6 {
			t.Errorf("JOINs %q", p.commands("JOIN"))
		}
		// It is created after all.
		s.set(func() { s.unknown = nil })
		g.awaitJoined(t, 20, 5*time.Minute)
		if got := names(g.Conditions()); !slices.Equal(got, want[1:]) {
			t.Errorf("conditions %q", got)
		}
		g.Set(list[:10], generous)
		if got := g.Conditions(); len(got) != 0 {
			t.Errorf("conditions %q", got)
		}
	})
}

func TestRefusedJoinSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{unknown: map[string]bool{"channel001": true}}
		g := start(t, s, chat.Config{JoinTries: 1})
		defer g.stop()
		g.Set(channels(2), generous)
		g.awaitJoined(t, 1, time.Second)
		s.peer(0).out <- "@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE #channel001 :This channel does not exist or has been suspended."
		synctest.Wait()
		if c := g.Conditions(); len(c) != 1 || !strings.Contains(c[0].Detail, "msg_channel_suspended") {
			t.Errorf("conditions %+v", c)
		}
	})
}

// Nothing at all comes any more, and the socket does not say so.
func TestSilentConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(3), generous)
		g.awaitJoined(t, 3, time.Second)
		time.Sleep(time.Minute)
		if s.count() != 1 {
			t.Fatal("a connection with PONGs was replaced")
		}
		fell := time.Now()
		s.set(func() { s.deaf = true; s.peers[0].silent = true })
		await(t, "the condition", time.Minute, func() bool { return slices.Contains(names(g.Conditions()), "connection-silent c-1") })
		if d := time.Since(fell); d < 14*time.Second || d > 26*time.Second {
			t.Errorf("noticed after %v", d)
		}
		s.set(func() { s.deaf = false })
		g.awaitJoined(t, 3, 2*time.Minute)
		await(t, "all is well again", 61*time.Second, func() bool { return len(g.Conditions()) == 0 })
		time.Sleep(30 * time.Second)
		now := time.Now()
		g.stop()
		for c, d := range checkSpans(t, g.spans, fell, now) {
			if d > now.Sub(fell)-25*time.Second || d < 20*time.Second {
				t.Errorf("%s was covered for %v of %v", c, d, now.Sub(fell))
			}
		}
	})
}

func TestBlockedSinkIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(3), generous)
		g.awaitJoined(t, 3, time.Second)
		hold := make(chan struct{})
		g.mu.Lock()
		g.hold = hold
		g.mu.Unlock()
		stuck := time.Now()
		s.peer(0).out <- message("channel000", "m1")
		time.Sleep(5 * time.Minute)
		g.cut()
		for _, span := range g.spans {
			if span.To.After(stuck) {
				t.Errorf("a line whose sink call has not returned counts as covered: %+v", span)
			}
		}
		g.mu.Lock()
		g.hold = nil
		g.mu.Unlock()
		close(hold)
		time.Sleep(15 * time.Second)
		if s.count() != 1 {
			t.Error("the connection was replaced")
		}
	})
}

// RECONNECT in the midst of many lines: all are read, those after it too, and the channels are
// joined anew before the old connection is closed.
func TestReconnectMakesBeforeItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(60), control.Budget{})
		g.awaitJoined(t, 60, time.Minute)
		time.Sleep(2 * time.Minute)
		begin := time.Now()
		old := s.peer(0)
		var want []string
		send := func(p *peer, n int) {
			for range n {
				messageID := fmt.Sprintf("m%05d", len(want))
				want = append(want, messageID)
				p.out <- message("channel001", messageID)
			}
		}
		send(old, 500)
		old.out <- ":tmi.twitch.tv RECONNECT"
		send(old, 500)
		await(t, "a second connection", time.Minute, func() bool { return s.count() == 2 })
		for len(s.peer(1).commands("JOIN")) < 6 {
			if !old.isOpen() {
				t.Fatal("the old connection was closed before the new one had joined")
			}
			send(old, 1)
			time.Sleep(time.Second)
		}
		await(t, "the old connection closed", time.Minute, func() bool { return !old.isOpen() })
		send(s.peer(1), 10)
		time.Sleep(15 * time.Second)
		end := time.Now().Add(-10 * time.Second)
		g.stop()
		if got := g.messages(); !slices.Equal(got, want) {
			t.Errorf("%d messages, want %d", len(got), len(want))
		}
		covered := checkSpans(t, g.spans, begin, end)
		for _, c := range channels(60) {
			if covered[c.ID] != end.Sub(begin) {
				t.Errorf("%s was covered for %v of %v", c.ID, covered[c.ID], end.Sub(begin))
			}
		}
	})
}

// A server that asks at once every time is not dialled in a circle.
func TestReconnectLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{RetireTimeout: time.Second})
		defer g.stop()
		g.Set(channels(1), generous)
		for range 600 {
			for _, p := range s.live() {
				p.out <- ":tmi.twitch.tv RECONNECT"
			}
			time.Sleep(time.Second)
		}
		if n := s.count(); n > 60 || n < 10 {
			t.Errorf("%d connections in 10 minutes", n)
		}
	})
}

func TestLostConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(100), generous)
		g.awaitJoined(t, 100, time.Second)
		other := s.peer(1)
		s.peer(0).conn.Close()
		await(t, "a third connection", 5*time.Second, func() bool { return s.count() == 3 })
		g.awaitJoined(t, 100, 5*time.Second)
		if n := len(other.commands("JOIN")); n != 5 || len(other.commands("PART")) != 0 || s.count() != 3 {
			t.Errorf("the other connection was touched: %d JOINs, %d connections", n, s.count())
		}
		var got []string
		for _, c := range g.Connections() {
			got = append(got, c.Name)
		}
		if !slices.Equal(got, []string{"c-1.2", "c-2.1"}) && !slices.Equal(got, []string{"c-1.1", "c-2.2"}) {
			t.Errorf("connections %q", got)
		}
	})
}

func TestDialFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{refuse: true}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(3), generous)
		time.Sleep(10 * time.Minute)
		n := 0
		s.set(func() { n = len(s.dials) })
		if n < 10 || n > 80 {
			t.Errorf("%d dials in 10 minutes", n)
		}
		c := g.Conditions()
		if len(c) != 1 || c[0].Name != "connect-failing" || !strings.Contains(c[0].Detail, "refused") {
			t.Errorf("conditions %+v", c)
		}
		s.set(func() { s.refuse = false })
		g.awaitJoined(t, 3, 2*time.Minute)
		if c := g.Conditions(); len(c) != 0 {
			t.Errorf("conditions %+v", c)
		}
	})
}

// The spans of quiet minutes are whole: PONGs prove that nothing was missed.
func TestSpansChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(5), generous)
		g.awaitJoined(t, 5, time.Second)
		begin := time.Now()
		for range 5 * 200 {
			time.Sleep(200 * time.Millisecond)
			for _, span := range g.Cut(time.Now()) {
				if span.To.After(time.Now()) {
					t.Errorf("%+v is not over", span)
				}
				g.spans = append(g.spans, span)
			}
		}
		end := time.Now().Add(-10 * time.Second)
		// Once a second at most, and once more at the end of a minute.
		if n := len(g.spans); n > 30 {
			t.Errorf("%d spans", n)
		}
		for c, d := range checkSpans(t, g.spans, begin, end) {
			if d != end.Sub(begin) {
				t.Errorf("%s was covered for %v of %v", c, d, end.Sub(begin))
			}
		}
	})
}

// What was sent before the server read a PART is covered; what Twitch parts is joined again.
func TestPartsCutCoverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		begin := time.Now()
		g.Set(channels(3), generous)
		g.awaitJoined(t, 3, time.Second)
		time.Sleep(4500 * time.Millisecond)
		parted := time.Now()
		g.Set(channels(2), generous)
		time.Sleep(5500 * time.Millisecond)
		p := s.peer(0)
		forced := time.Now()
		s.set(func() { delete(p.in, "channel001") })
		p.out <- fmt.Sprintf(":%[1]s!%[1]s@%[1]s.tmi.twitch.tv PART #channel001", p.nick)
		synctest.Wait()
		if got := g.Joined(); !slices.Equal(got, []string{"9000"}) {
			t.Errorf("joined %q", got)
		}
		g.awaitJoined(t, 2, time.Minute)
		g.stop()
		for channel, want := range map[string]time.Duration{"9002": parted.Sub(begin), "9001": forced.Sub(begin)} {
			if got := checkSpans(t, g.spans, begin, forced)[channel]; got != want {
				t.Errorf("%s was covered for %v, want %v", channel, got, want)
			}
		}
	})
}

func TestRoomStatesAreWholeAndRoomsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set([]chat.Channel{{ID: "5", Login: "channel000"}}, generous)
		g.awaitJoined(t, 1, time.Second)
		s.peer(0).out <- "@room-id=9000;slow=10 :tmi.twitch.tv ROOMSTATE #channel000"
		s.peer(0).out <- "@room-id=9000;subs-only=1 :tmi.twitch.tv ROOMSTATE #channel000"
		synctest.Wait()
		g.mu.Lock()
		last := g.got[len(g.got)-1]
		g.mu.Unlock()
		m, ok := last.Message.(*twitch.RoomStateMessage)
		if !ok || m.State["slow"] != 10 || m.State["subs-only"] != 1 || m.State["followers-only"] != -1 {
			t.Errorf("%+v", last.Message)
		}
		if last.Channel.ID != "5" {
			t.Errorf("channel %+v", last.Channel)
		}
		if got := names(g.Conditions()); !slices.Equal(got, []string{"room-id-mismatch channel000"}) {
			t.Errorf("conditions %q", got)
		}
	})
}

// A server that accepts and then says nothing, or refuses, does not keep Run from ending.
func TestDeafServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{deaf: true}
		g := start(t, s, chat.Config{})
		g.Set(channels(3), generous)
		time.Sleep(time.Minute)
		if s.count() < 2 {
			t.Error("the connection was not given up")
		}
		for _, p := range s.live() {
			p.out <- ":tmi.twitch.tv NOTICE * :Login authentication failed"
		}
		time.Sleep(time.Second)
		if c := g.Conditions(); len(c) != 1 || !strings.Contains(c[0].Detail, "Login authentication failed") {
			t.Errorf("conditions %+v", c)
		}
		g.stop()
	})
}

// A server that answers PINGs but never welcomes is given up.
func TestNoWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{curt: true}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(3), generous)
		await(t, "another connection", time.Minute, func() bool { return s.count() >= 2 && !s.peer(0).isOpen() })
	})
}

// A connection that answers PINGs and no JOIN is replaced.
func TestConnectionWithoutEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unknown := map[string]bool{}
		for _, c := range channels(30) {
			unknown[c.Login] = true
		}
		s := &server{unknown: unknown}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(30), generous)
		await(t, "another connection", time.Minute, func() bool { return s.count() == 2 })
		s.set(func() { s.unknown = nil })
		g.awaitJoined(t, 30, 3*time.Minute)
	})
}

// A peer that never reads: writes hang, and end all the same.
func TestHangingWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		var theirs []net.Conn
		g := start(t, s, chat.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			theirs = append(theirs, b)
			return a, nil
		}})
		g.Set(channels(3), generous)
		time.Sleep(5 * time.Second)
		g.stop()
		if len(theirs) != 1 {
			t.Errorf("%d connections", len(theirs))
		}
	})
}

func TestForeignLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(1), generous)
		g.awaitJoined(t, 1, time.Second)
		p := s.peer(0)
		p.out <- "PRIVMSG"
		p.out <- ""
		p.out <- "@badges=x;id=odd;room-id=9000;user-id=1 :a!a@a PRIVMSG #channel000 :hi"
		p.out <- "@x=" + strings.Repeat("y", 200_000) + " :a!a@a PRIVMSG #channel000 :long"
		p.out <- message("channel000", "last")
		await(t, "the last message", time.Second, func() bool { return slices.Contains(g.messages(), "last") })
		if got := g.messages(); !slices.Equal(got, []string{"odd", "last"}) {
			t.Errorf("messages %q", got)
		}
		if n := g.Stats().Malformed; n != 2 || s.count() != 1 {
			t.Errorf("%d malformed, %d connections", n, s.count())
		}
	})
}

// Every room of a shared chat gets a copy: one of them is the message.
func TestSharedChatIsCountedOnce(t *testing.T) {
	originals := 0
	for _, room := range []string{"1", "2", "3"} {
		raw := fmt.Sprintf("@id=copy-%[1]s;room-id=%[1]s;source-room-id=2;source-id=copy-2;user-id=7 :a!a@a PRIVMSG #room%[1]s :hi", room)
		l := line(t, raw)
		l.Channel = chat.Channel{ID: room, Login: "room" + room}
		d, err := chat.Convert(l, event(t, false))
		if err != nil {
			t.Fatal(err)
		}
		m, ok := d.(*record.Message)
		if !ok {
			t.Fatalf("%T", d)
		}
		if m.Source == nil {
			originals++
		} else if m.Source.Channel != "2" || m.Source.Message != "copy-2" {
			t.Errorf("%+v", m.Source)
		}
	}
	if originals != 1 {
		t.Errorf("%d originals", originals)
	}
}
