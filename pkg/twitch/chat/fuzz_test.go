package chat_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// Whatever a server says in the middle of a conversation, the reader goes on: it joins what it is
// to join, and ends when it is told to.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"PING :tmi.twitch.tv", "PING", "PONG", ":tmi.twitch.tv RECONNECT", ":tmi.twitch.tv NOTICE * :Login unsuccessful",
		":tmi.twitch.tv NOTICE * :Improperly formatted auth", "@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE #channel000 :gone",
		":x!x@x JOIN #channel000", "JOIN", ":x PART", ":tmi.twitch.tv 001", ":tmi.twitch.tv 353 x = #channel000 :a b", "353",
		"@room-id=9000;slow=x :tmi.twitch.tv ROOMSTATE #channel000", "@slow=5 :tmi.twitch.tv ROOMSTATE #channel000", "ROOMSTATE",
		message("channel000", "1"), message("channel009", "1"), "", " ", ":", "@", "@=;= : ", "CAP * NAK :x", "\x00", strings.Repeat("x", 70_000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		synctest.Test(t, func(t *testing.T) {
			s := &server{}
			g := start(t, s, chat.Config{KeepAlive: time.Second, MaxBackoff: 2 * time.Second, RetireTimeout: 5 * time.Second})
			defer g.stop()
			g.Set(channels(2), generous)
			g.awaitJoined(t, 2, time.Minute)
			s.peer(0).out <- said
			s.peer(0).out <- message("channel000", "the last")
			time.Sleep(10 * time.Second)
			g.awaitJoined(t, 2, 5*time.Minute)
			checkSpans(t, append(g.spans, g.Cut(time.Now())...), time.Time{}, time.Now())
		})
	})
}
