package consumer

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/queue"
)

// TestAgesOfASuspendedMachine: what was known before a machine was suspended is old, though the clock
// that measures durations stood still.
func TestAgesOfASuspendedMachine(t *testing.T) {
	t.Parallel()
	then := thisMoment()
	for _, c := range []struct {
		steady, wall time.Duration
		within       bool
	}{{time.Second, time.Second, true}, {time.Second, time.Hour, false}, {time.Hour, time.Second, false}} {
		now := moment{steady: then.steady.Add(c.steady), wall: then.wall.Add(c.wall)}
		if got := then.within(GateAge, now); got != c.within {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestLettersFit holds that every dead letter is one that every queue takes, whatever it is of.
func TestLettersFit(t *testing.T) {
	t.Parallel()
	text := func(t *rapid.T, label string) string {
		s := rapid.OneOf(rapid.String(), rapid.Just("\xff\xfe"), rapid.Just("é")).Draw(t, label)
		return strings.Repeat(s, rapid.SampledFrom([]int{1, 7, 300, 40_000}).Draw(t, label+" times"))
	}
	rapid.Check(t, func(t *rapid.T) {
		l := letter{id: text(t, "id"), reason: text(t, "reason"), code: "refused", record: text(t, "record"), came: map[string]string{}}
		for _, name := range []string{HeaderFailed, HeaderQueue, HeaderCount, HeaderRecord, HeaderReason, "a", text(t, "name")} {
			if rapid.Bool().Draw(t, "came") {
				l.came[name] = text(t, "header")
			}
		}
		if rapid.IntRange(0, 20).Draw(t, "body") == 0 {
			l.body = make([]byte, queue.MaxBodyBytes+1)
		}
		m, cut := l.message()
		if cut != (len(m.Body) < len(l.body) || len(m.Headers) < len(l.headers(""))+others(l.came)) {
			t.Fatalf("cut is %v", cut)
		}
		for _, m := range []queue.Message{m, l.stub()} {
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			if !utf8.ValidString(m.Headers[HeaderReason]) || m.Headers[HeaderFailed] == "" || m.Headers[HeaderCount] == "" {
				t.Fatalf("headers %v", m.Headers)
			}
		}
		if len(l.id) <= queue.MaxIDBytes && m.ID != l.id {
			t.Fatalf("id %q became %q", l.id, m.ID)
		}
	})
}

// others is how many headers came that are not ours.
func others(came map[string]string) int {
	n := 0
	for name := range came {
		switch name {
		case HeaderCode, HeaderFailed, HeaderQueue, HeaderCount, HeaderRecord, HeaderReason:
		default:
			n++
		}
	}
	return n
}
