package chat_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// kernel is a connection with a system between its ends: what the server sends is taken off the wire
// at once, however long the process that it is for can't run.
type kernel struct {
	net.Conn

	mu       sync.Mutex
	changed  chan struct{}
	buffer   []byte
	err      error
	stopped  bool
	deadline time.Time
}

func newKernel(wire net.Conn) *kernel {
	k := &kernel{Conn: wire, changed: make(chan struct{})}
	go func() {
		p := make([]byte, 4096)
		for {
			n, err := wire.Read(p)
			k.change(func() { k.buffer, k.err = append(k.buffer, p[:n]...), err })
			if err != nil {
				return
			}
		}
	}()
	return k
}

func (k *kernel) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
}

// Read does nothing while the process is stopped. When it wakes, a deadline that has passed goes
// first, as in package net.
func (k *kernel) Read(p []byte) (int, error) {
	for {
		k.mu.Lock()
		changed, wait := k.changed, time.Until(k.deadline)
		switch {
		case k.stopped:
			wait = time.Hour
		case wait <= 0:
			k.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(k.buffer) > 0:
			n := copy(p, k.buffer)
			k.buffer = k.buffer[n:]
			k.mu.Unlock()
			return n, nil
		case k.err != nil:
			defer k.mu.Unlock()
			return 0, k.err
		}
		k.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Write waits while the process is stopped. Its deadline was set after that, then.
func (k *kernel) Write(p []byte) (int, error) {
	for waited := false; ; waited = true {
		k.mu.Lock()
		changed, stopped := k.changed, k.stopped
		k.mu.Unlock()
		if !stopped {
			if waited {
				if err := k.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					return 0, err
				}
			}
			return k.Conn.Write(p)
		}
		<-changed
	}
}

func (k *kernel) SetReadDeadline(t time.Time) error {
	k.change(func() { k.deadline = t })
	return nil
}

func (k *kernel) Close() error {
	err := k.Conn.Close()
	k.change(func() { k.err = net.ErrClosed })
	return err
}

func stamped(login, messageID string, at time.Time) string {
	return fmt.Sprintf("@badges=;display-name=Someone;emotes=;id=%s;room-id=%s;tmi-sent-ts=%d;user-id=12 "+
		":someone!someone@someone.tmi.twitch.tv PRIVMSG #%s :hello", messageID, id(login), at.UnixMilli(), login)
}

// later goes past the year from which stamps are believed: synctest begins before it.
func later() { time.Sleep(10 * 365 * 24 * time.Hour) }

// A process that is stopped reads, when it wakes, what the system has kept for it. The server gave the
// connection up meanwhile: of the time after its last line nothing is claimed, though that line was
// read much later.
func TestStoppedProcessClaimsNoMoreThanItRead(t *testing.T) {
	for _, test := range []struct {
		name    string
		stopped time.Duration
		lines   bool // came before the server gave up
		given   bool // the server gave up
	}{
		{"for less than silence, lost", 20 * time.Second, true, true},
		{"for longer, lost", 5 * time.Minute, true, true},
		{"lost before any line", 5 * time.Minute, false, true},
		{"for less than silence, kept", 20 * time.Second, true, false},
		{"for longer, kept", 5 * time.Minute, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				later()
				s := &server{}
				var k *kernel
				g := start(t, s, chat.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := s.dial(ctx, network, address)
					if err != nil || k != nil {
						return conn, err
					}
					k = newKernel(conn)
					return k, nil
				}})
				defer g.stop()
				g.Set(channels(1), generous)
				g.awaitJoined(t, 1, time.Second)
				for range 30 {
					time.Sleep(100 * time.Millisecond)
					s.peer(0).out <- stamped("channel000", strconv.FormatInt(time.Now().UnixMilli(), 10), time.Now())
				}
				synctest.Wait()
				stop := time.Now()
				k.change(func() { k.stopped = true })
				last := stop
				if test.lines {
					for i := range 5 {
						time.Sleep(time.Second)
						last = time.Now()
						s.peer(0).out <- stamped("channel000", fmt.Sprint("late", i), last)
					}
				}
				synctest.Wait()
				if test.given {
					s.peer(0).conn.Close()
				}
				time.Sleep(time.Until(stop.Add(test.stopped)))
				k.change(func() { k.stopped = false })
				woke := time.Now()
				if test.given {
					await(t, "a new connection", time.Minute, func() bool { return s.count() == 2 && len(g.Joined()) == 1 })
				}
				time.Sleep(30 * time.Second)
				g.stop()
				if got := g.messages(); test.lines && !slices.Contains(got, "late4") {
					t.Errorf("what the system kept was not read: %v", got[len(got)-1])
				}
				covered := checkSpans(t, g.spans, stop, woke)["9000"]
				want := last.Sub(stop)
				if !test.given {
					want = woke.Sub(stop) // nothing was lost
				}
				if d := covered - want; d < -time.Second || d > 0 {
					t.Errorf("%v of the %v that it was stopped for are covered, want %v", covered, test.stopped, want)
				}
			})
		})
	}
}

// A sink that takes its time is no different: what waited in the system meanwhile counts by its stamp.
func TestBlockedSinkClaimsNoMoreThanItRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later()
		s := &server{}
		var k *kernel
		g := start(t, s, chat.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.dial(ctx, network, address)
			if err != nil || k != nil {
				return conn, err
			}
			k = newKernel(conn)
			return k, nil
		}})
		defer g.stop()
		g.Set(channels(1), generous)
		g.awaitJoined(t, 1, time.Second)
		blocked := make(chan struct{})
		g.mu.Lock()
		g.hold = blocked
		g.mu.Unlock()
		from := time.Now()
		s.peer(0).out <- stamped("channel000", "first", from)
		time.Sleep(3 * time.Second)
		s.peer(0).out <- stamped("channel000", "second", time.Now())
		synctest.Wait()
		s.peer(0).conn.Close()
		time.Sleep(5 * time.Minute)
		g.mu.Lock()
		g.hold = nil
		g.mu.Unlock()
		close(blocked)
		to := time.Now()
		await(t, "a new connection", time.Minute, func() bool { return s.count() == 2 && len(g.Joined()) == 1 })
		g.stop()
		if got := checkSpans(t, g.spans, from, to)["9000"]; got > 3*time.Second || got < 2*time.Second {
			t.Errorf("%v are covered, want 3 s", got)
		}
	})
}

// A channel is read anew over another connection, joined there before it is left here; and again, back.
func TestRejoinMakesBeforeItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		if g.Rejoin("9000") {
			t.Error("a channel that is not read was joined anew")
		}
		g.Set(channels(3), generous)
		g.awaitJoined(t, 3, time.Second)
		from := time.Now()
		time.Sleep(time.Second)
		was := g.Homes()
		if len(was) != 3 || was["9000"] != "c-1.1" || !g.Rejoin("9000") || g.Rejoin("9000") {
			t.Errorf("not begun, or begun twice: %v", was)
		}
		await(t, "the new home", 5*time.Second, func() bool { return g.Homes()["9000"] == "c-2.1" })
		await(t, "that the old one is left", 5*time.Second, func() bool { return len(s.peer(0).commands("PART")) == 1 })
		if joins := s.peer(1).commands("JOIN"); s.count() != 2 || len(joins) != 1 || joins[0] != "JOIN #channel000" {
			t.Errorf("%d connections, JOINs %v", s.count(), joins)
		}
		if homes := g.Homes(); homes["9001"] != "c-1.1" || homes["9002"] != "c-1.1" {
			t.Errorf("others moved: %v", homes)
		}
		// It stays, whatever is set.
		g.Set(channels(4), generous)
		g.awaitJoined(t, 4, 5*time.Second)
		if home := g.Homes()["9000"]; home != "c-2.1" {
			t.Errorf("%s after a Set", home)
		}
		time.Sleep(20 * time.Second)
		if !g.Rejoin("9000") {
			t.Error("not a second time")
		}
		await(t, "its first home", 20*time.Second, func() bool { return g.Homes()["9000"] == "c-1.1" })
		time.Sleep(20 * time.Second)
		to := time.Now()
		time.Sleep(20 * time.Second)
		g.stop()
		for channel, covered := range checkSpans(t, g.spans, from, to) {
			if channel != "9003" && covered != to.Sub(from) {
				t.Errorf("%s is covered for %v of %v", channel, covered, to.Sub(from))
			}
		}
	})
}

func TestReplaceMakesBeforeItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(30), generous)
		g.awaitJoined(t, 30, time.Second)
		from := time.Now()
		time.Sleep(2 * time.Minute)
		if g.Replace("c-2.1") || !g.Replace("c-1.1") || g.Replace("c-1.1") {
			t.Error("another was replaced, or this one not, or twice")
		}
		await(t, "a new connection", 10*time.Second, func() bool { return g.Homes()["9029"] == "c-1.2" && len(s.live()) == 1 })
		time.Sleep(20 * time.Second)
		to := time.Now()
		time.Sleep(20 * time.Second)
		g.stop()
		if got := g.Conditions(); len(got) != 0 {
			t.Error(got)
		}
		for channel, covered := range checkSpans(t, g.spans, from, to) {
			if covered != to.Sub(from) {
				t.Errorf("%s is covered for %v of %v", channel, covered, to.Sub(from))
			}
		}
	})
}

// A connection on which nothing comes is replaced within a minute, and told.
func TestSilentConnectionIsToldAndReplacedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		g := start(t, s, chat.Config{})
		defer g.stop()
		g.Set(channels(20), generous)
		g.awaitJoined(t, 20, time.Second)
		begun := time.Now()
		s.set(func() { s.peers[0].silent = true })
		await(t, "the condition", time.Minute, func() bool { return slices.Contains(names(g.Conditions()), "connection-silent c-1") })
		await(t, "a new connection", time.Minute, func() bool { return g.Homes()["9000"] == "c-1.2" })
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
