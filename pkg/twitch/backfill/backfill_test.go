package backfill_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/backfill"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

var update = flag.Bool("update", false, "write the golden files anew")

var channel = chat.Channel{ID: "71092938", Login: "xqcow"}

func target(tb testing.TB) backfill.Target {
	tb.Helper()
	p, err := record.NewPseudonyms(make([]byte, record.KeyBytes), map[string]string{channel.ID: channel.Login})
	if err != nil {
		tb.Fatal(err)
	}
	return backfill.Target{
		Event:   chat.Event{Slug: "zevent-2026", KeepText: true, Pseudonyms: p},
		Channel: channel,
		Origin:  "backfill:file",
	}
}

func recorded(tb testing.TB) []string {
	tb.Helper()
	f, err := os.Open("../../../testdata/chat-2019.txt.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	s := bufio.NewScanner(z)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		tb.Fatal(err)
	}
	return lines
}

func convert(tb testing.TB, f backfill.Format, file string, to backfill.Target) backfill.Result {
	tb.Helper()
	r, err := backfill.Convert(f, []byte(file), to)
	if err != nil {
		tb.Fatal(err)
	}
	if sum := len(r.Records) + r.Outside + r.OtherChannel + r.Ignored + r.Faulty; sum != r.Lines {
		tb.Fatalf("%d lines, but %d are accounted for: %+v", r.Lines, sum, r)
	}
	if len(r.Problems) != min(r.Faulty, backfill.MaxProblems) {
		tb.Fatalf("%d problems told of %d", len(r.Problems), r.Faulty)
	}
	return r
}

// chunked converts a file chunk by chunk.
func chunked(tb testing.TB, f backfill.Format, file io.Reader, maxBytes int, to backfill.Target) backfill.Result {
	tb.Helper()
	var all backfill.Result
	for chunk, err := range backfill.Chunks(file, f, maxBytes) {
		if err != nil {
			tb.Fatal(err)
		}
		all.Add(convert(tb, f, string(chunk), to))
	}
	return all
}

func fields(tb testing.TB, doc bson.Raw, without ...string) bson.D {
	tb.Helper()
	var d bson.D
	if err := bson.Unmarshal(doc, &d); err != nil {
		tb.Fatal(err)
	}
	return slices.DeleteFunc(d, func(e bson.E) bool { return slices.Contains(without, e.Key) })
}

// A line that is filled in is the record that it was live, but for when it was received and where
// it came from.
func TestLinesAsLive(t *testing.T) {
	t.Parallel()
	to := target(t)
	lines := recorded(t)
	r := convert(t, backfill.IRC, strings.Join(lines, "\r\n")+"\r\n", to)
	if r.Lines != len(lines) || len(r.Records) != len(lines) {
		t.Fatalf("%d records of %d lines: %+v", len(r.Records), len(lines), r.Problems)
	}
	for i, raw := range lines {
		m, err := chat.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		d, err := chat.Convert(chat.Line{Channel: channel, Received: time.UnixMilli(1), Message: m}, to.Event)
		if err != nil {
			t.Fatal(err)
		}
		live, err := record.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Records[i]
		if got.ID != live.ID || !got.Time.Equal(live.Time) || got.Channel != live.Channel {
			t.Fatalf("line %d: %s at %s, live %s at %s", i+1, got.ID, got.Time, live.ID, live.Time)
		}
		if a, b := fields(t, got.Doc, "received", "origin"), fields(t, live.Doc, "received"); !reflect.DeepEqual(a, b) {
			t.Fatalf("line %d: %v, live %v", i+1, a, b)
		}
		var h record.Header
		if err := record.Decode(got.Doc, &h); err != nil {
			t.Fatal(err)
		}
		if !h.Received.Equal(h.Time) || h.Origin != to.Origin {
			t.Fatalf("line %d: received %s, sent %s, origin %q", i+1, h.Received, h.Time, h.Origin)
		}
	}
}

const said = "@badge-info=;badges=;emotes=;id=1;room-id=71092938;tmi-sent-ts=1788544800000;user-id=12345 :alice!alice@alice.tmi.twitch.tv PRIVMSG #xqcow :hello"

func TestLines(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1788544800000)
	without := func(tag string) string { return strings.Replace(said, tag, "", 1) }
	for _, c := range []struct {
		name, line string
		to         func(*backfill.Target)
		want       string // record, outside, other, ignored, or the problem's reason
	}{
		{name: "plain", line: said, want: "record"},
		{name: "a logger's time", line: "[2026-09-04 18:00:01] " + said, want: "record"},
		{name: "with fraction and zone", line: "[2026-09-04 18:00:01.123 UTC]\t" + said, want: "record"},
		{name: "RFC 3339", line: "2026-09-04T18:00:01.5+02:00 " + said, want: "record"},
		{name: "RFC 3339 in UTC", line: "2026-09-04T18:00:01Z " + said, want: "record"},
		{name: "milliseconds", line: "1788544800001 " + said, want: "record"},
		{name: "time and sender", line: "2026-09-04 18:00:01 :tmi.twitch.tv 001 justinfan1 :Welcome, GLHF!", want: "ignored"},
		{name: "line end of Windows", line: said + "\r", want: "record"},
		{name: "empty", line: "  ", want: "ignored"},
		{name: "ping", line: "PING :tmi.twitch.tv", want: "ignored"},
		{name: "join", line: ":alice!alice@alice.tmi.twitch.tv JOIN #xqcow", want: "ignored"},
		{name: "room state", line: "@emote-only=0;followers-only=-1;r9k=0;room-id=71092938;slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE #xqcow", want: "ignored"},
		{name: "novel command", line: "@room-id=71092938 :tmi.twitch.tv NOVELTY #xqcow", want: "ignored"},
		{name: "other channel", line: strings.NewReplacer("71092938", "9", "#xqcow", "#bob").Replace(said), want: "other"},
		{name: "another's id under the login", line: strings.Replace(said, "71092938", "9", 1), want: "other"},
		{name: "renamed", line: strings.Replace(said, "#xqcow", "#before", 1), want: "record"},
		{name: "login in capitals", line: strings.Replace(without("room-id=71092938;"), "#xqcow", "#xQcOW", 1), want: "record"},
		{name: "deleted message", line: "@login=ronni;room-id=;target-msg-id=abc-123-def;tmi-sent-ts=1788544800000 :tmi.twitch.tv CLEARMSG #xqcow :HeyGuys", want: "record"},
		{name: "unknown notice", line: "@id=9;msg-id=of-2031;room-id=71092938;tmi-sent-ts=1788544800000;user-id=5 :tmi.twitch.tv USERNOTICE #xqcow", want: "record"},
		{name: "at the start", line: said, to: func(to *backfill.Target) { to.Start = at }, want: "record"},
		{name: "before the start", line: said, to: func(to *backfill.Target) { to.Start = at.Add(time.Millisecond) }, want: "outside"},
		{name: "before the end", line: said, to: func(to *backfill.Target) { to.End = at.Add(time.Millisecond) }, want: "record"},
		{name: "at the end", line: said, to: func(to *backfill.Target) { to.End = at }, want: "outside"},
		{name: "no tags", line: ":alice!alice@alice.tmi.twitch.tv PRIVMSG #xqcow :hello", want: "has no tags: without Twitch's id and time it can't be told from what is stored already"},
		{name: "no tags, other channel", line: ":alice!alice@alice.tmi.twitch.tv PRIVMSG #bob :hello", want: "other"},
		{name: "no id", line: without("id=1;"), want: "message in xqcow has no id"},
		{name: "no time", line: without("tmi-sent-ts=1788544800000;"), want: "says no time that can be true (tmi-sent-ts, or created_at)"},
		{name: "absurd time", line: strings.Replace(said, "1788544800000", "1788544800", 1), want: "says no time that can be true (tmi-sent-ts, or created_at)"},
		{name: "chat client's log", line: "[18:00:01] alice: hello", want: "is no raw line of IRC: use a log that keeps the lines as Twitch sends them, tags included"},
		{name: "cut off in the tags", line: said[:40], want: "has no command: cut off, perhaps"},
		{name: "library panics", line: "@id=1;room-id=71092938 :x CLEARCHAT", want: "parse a line of 35 bytes: runtime error: index out of range [0] with length 0"},
		{name: "too long", line: said + strings.Repeat("x", backfill.MaxLineBytes), want: "is longer than any line of IRC"},
		{name: "id too long", line: strings.Replace(said, "id=1;", "id="+strings.Repeat("1", 600)+";", 1), want: "invalid record: fact \"" + strings.Repeat("1", 80) + "\": use valid UTF-8 of less than 512 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := target(t)
			if c.to != nil {
				c.to(&to)
			}
			r := convert(t, backfill.IRC, c.line, to)
			got := ""
			switch {
			case r.Lines != 1:
				got = fmt.Sprintf("%d lines", r.Lines)
			case len(r.Records) == 1:
				got = "record"
			case r.Outside == 1:
				got = "outside"
			case r.OtherChannel == 1:
				got = "other"
			case r.Ignored == 1:
				got = "ignored"
			case len(r.Problems) == 1:
				got = r.Problems[0].Reason
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if len(r.Records) == 1 && !r.Records[0].Time.Equal(at) {
				t.Errorf("at %s, want %s", r.Records[0].Time, at)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	to := target(t)
	r := convert(t, backfill.IRC, said+"\n"+strings.Repeat("no line of IRC\n", 1000), to)
	if r.Faulty != 1000 || len(r.Problems) != backfill.MaxProblems || r.Problems[0].Line != 2 {
		t.Errorf("%d faulty, %d problems, the first %+v", r.Faulty, len(r.Problems), r.Problems[0])
	}
}

func TestGoldenVODs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"twitchdownloader", "graphql"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			to := target(t)
			to.Start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
			if name == "twitchdownloader" {
				to.Start = time.Time{}
			}
			r := convert(t, backfill.VOD, string(file), to)
			var out strings.Builder
			fmt.Fprintf(&out, "%d comments: %d records, %d outside, %d of other channels, %d ignored, %d faulty\n",
				r.Lines, len(r.Records), r.Outside, r.OtherChannel, r.Ignored, r.Faulty)
			for _, p := range r.Problems {
				fmt.Fprintf(&out, "comment %d %s\n", p.Line, p.Reason)
			}
			for _, rec := range r.Records {
				text, err := bson.MarshalExtJSONIndent(rec.Doc, false, false, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "%s\n", text)
			}
			golden := filepath.Join("testdata", name+".want")
			if *update {
				if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			for _, person := range []string{"amelie", "Amélie", "boblegrand", "BobLeGrand", "98765432", "LuckyOne", "tex3568", "5551234"} {
				if strings.Contains(out.String(), person) {
					t.Errorf("%s is named", person)
				}
			}
		})
	}
}

// The same message from a VOD and from a live line is one record.
func TestVODMeetsLive(t *testing.T) {
	t.Parallel()
	to := target(t)
	live := convert(t, backfill.IRC, said, to).Records[0]
	vod := convert(t, backfill.VOD, `{"comments":[{"_id":"1","created_at":"2026-09-04T18:00:00Z","commenter":{"_id":"12345","name":"alice","display_name":"Alice"},"message":{"body":"hello"}}]}`, to).Records[0]
	if vod.ID != live.ID {
		t.Fatalf("%s, live %s", vod.ID, live.ID)
	}
	if a, b := fields(t, vod.Doc), fields(t, live.Doc); !reflect.DeepEqual(a, b) {
		t.Errorf("%v\nlive %v", a, b)
	}
}

func TestVODs(t *testing.T) {
	t.Parallel()
	one := `{"_id":"1","created_at":"2026-09-04T18:00:00Z","message":{"body":"x"}}`
	for _, c := range []struct {
		name, file string
		records    int
		problems   []backfill.Problem
		other      int
	}{
		{name: "whole", file: `{"comments":[` + one + `]}`, records: 1},
		{name: "none", file: `{"comments":[]}`},
		{name: "no comments", file: `{"video":{"id":"1"}}`, problems: []backfill.Problem{{Line: 1, Reason: "the file holds no comments"}}},
		{name: "empty", file: ``, problems: []backfill.Problem{{Line: 1, Reason: "the file holds no comments"}}},
		{name: "cut off between", file: `{"comments":[` + one + `,`, records: 1, problems: []backfill.Problem{{Line: 2, Reason: "the file is cut off"}}},
		{name: "cut off within", file: `{"comments":[` + one + `,` + one[:50], records: 1, problems: []backfill.Problem{{Line: 2, Reason: "the file is cut off"}}},
		{name: "cut off after", file: `{"comments":[` + one + `],"embeddedData":{"data":"R0l`, records: 1, problems: []backfill.Problem{{Line: 2, Reason: "the file is cut off"}}},
		{name: "cut off before", file: `{"streamer":{"id":`, problems: []backfill.Problem{{Line: 1, Reason: "the file is cut off"}}},
		{name: "brackets do not fit", file: `{"comments":[` + one + `}`, records: 1, problems: []backfill.Problem{{Line: 2, Reason: "the file is not JSON from here on"}}},
		{name: "words", file: `{"comments":[` + one + `]} and then`, records: 1, problems: []backfill.Problem{{Line: 2, Reason: "the file is not JSON from here on"}}},
		{name: "too deep", file: strings.Repeat("[", 70), problems: []backfill.Problem{{Line: 1, Reason: "the file is not JSON from here on"}}},
		{name: "one is no object", file: `{"comments":["x",[1,{}],17,` + one + `]}`, records: 1, problems: []backfill.Problem{{Line: 1, Reason: "is no comment in JSON"}, {Line: 2, Reason: "is no comment in JSON"}, {Line: 3, Reason: "is no comment in JSON"}}},
		{name: "one is malformed", file: `{"comments":[{"_id":nothing},` + one + `]}`, records: 1, problems: []backfill.Problem{{Line: 1, Reason: "is no comment in JSON"}}},
		{name: "one is too long", file: `{"comments":[{"x":"` + strings.Repeat(`\"]}`, backfill.MaxCommentBytes/4) + `"},` + one + `]}`, records: 1, problems: []backfill.Problem{{Line: 1, Reason: "is longer than any comment"}}},
		{name: "byte order mark", file: "\uFEFF" + `{"comments":[` + one + `]}`, records: 1},
		{name: "of another", file: `{"streamer":{"name":"Bob","id":"9"},"comments":[` + one + `]}`, other: 1},
		{name: "of nobody", file: `{"streamer":{"name":"Bob","id":0},"comments":[` + one + `]}`, records: 1},
		{name: "nested comments are not", file: `{"a":[{"edges":[{}]}],"comments":[` + one + `]}`, records: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := target(t)
			r := convert(t, backfill.VOD, c.file, to)
			if len(r.Records) != c.records || r.OtherChannel != c.other || !slices.Equal(r.Problems, c.problems) {
				t.Errorf("%d records, %d of others, %+v", len(r.Records), r.OtherChannel, r.Problems)
			}
			for _, size := range []int{0, 100, 1 << 20} {
				if got := chunked(t, backfill.VOD, strings.NewReader(c.file), size, to); !reflect.DeepEqual(got, r) {
					t.Errorf("in chunks of %d: %+v, whole %+v", size, got, r)
				}
			}
		})
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	for body, notice := range map[string]bool{
		"Bob subscribed at Tier 1. They've subscribed for 12 months! hi":              true,
		"Bob subscribed with Prime.":                                                  true,
		"Bob is gifting 5 Tier 1 Subs to xqcow's community!":                          true,
		"Bob gifted a Tier 1 sub to Alice!":                                           true,
		"Bob is continuing the Gift Sub they got from an anonymous user! ":            true,
		"Bob is paying forward the Gift they got from Alice to the community":         true,
		"Bob converted from a Prime sub to a Tier 1 sub! ":                            true,
		"Bob watched 5 consecutive streams this month and sparked a watch streak! gg": true,
		"Bob: Donated EUR 5 to support Médecins":                                      true,
		"An anonymous user gifted a Tier 1 sub to Alice! ":                            true,
		"120 raiders from Bob have joined! ":                                          true,
		"bits badge tier notification ":                                               true,
		"We added 5 Gift Subs to Bob's gift! ":                                        true,
		"Alice gifted a Tier 1 sub to me":                                             false,
		"Bob is gifting":                                                              false,
		"I subscribed with Prime":                                                     false,
		"120 raiders":                                                                 false,
		"":                                                                            false,
	} {
		file := fmt.Sprintf(`{"comments":[{"_id":"1","created_at":"2026-09-04T18:00:00Z","commenter":{"_id":"1","name":"bob","display_name":"Bob"},"message":{"body":%q}}]}`, body)
		if r := convert(t, backfill.VOD, file, target(t)); (r.Ignored == 1) != notice || len(r.Records)+r.Ignored != 1 {
			t.Errorf("%q: %d ignored, %d records", body, r.Ignored, len(r.Records))
		}
	}
}

// However a file is cut into chunks, and however it is read, the result is that of the whole.
func TestChunks(t *testing.T) {
	t.Parallel()
	lines := recorded(t)
	to := target(t)
	vod, err := os.ReadFile("testdata/twitchdownloader.json")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := os.ReadFile("testdata/graphql.json")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		f, file := backfill.VOD, string(vod)
		switch rapid.IntRange(0, 2).Draw(rt, "file") {
		case 1:
			file = string(pages)
		case 2:
			from := rapid.IntRange(0, len(lines)-40).Draw(rt, "from")
			f, file = backfill.IRC, strings.Join(lines[from:from+40], "\n")
			file += rapid.SampledFrom([]string{"", "\n", "\nx\n\n"}).Draw(rt, "end")
		}
		if rapid.Bool().Draw(rt, "cut off") {
			file = file[:rapid.IntRange(0, len(file)).Draw(rt, "at")]
		}
		var in io.Reader = strings.NewReader(file)
		if rapid.Bool().Draw(rt, "slow") {
			in = iotest.OneByteReader(in)
		}
		size := rapid.IntRange(-1, 2*len(file)).Draw(rt, "size")
		want := convert(t, f, file, to)
		var got backfill.Result
		for chunk, err := range backfill.Chunks(in, f, size) {
			if err != nil {
				rt.Fatal(err)
			}
			r := convert(t, f, string(chunk), to)
			if len(chunk) > size && r.Lines > 2 {
				rt.Fatalf("%d bytes with %d lines in a chunk of at most %d", len(chunk), r.Lines, size)
			}
			got.Add(r)
		}
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("in chunks %+v\nwhole %+v", got, want)
		}
	})
}

func TestChunksEndWithTheReadersError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for f, text := range map[backfill.Format]string{backfill.IRC: said + "\n" + said, backfill.VOD: `{"comments":[{},{},`} {
		var got error
		chunks := 0
		for chunk, err := range backfill.Chunks(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), f, 1<<20) {
			if err == nil {
				chunks++
				if r := convert(t, f, string(chunk), target(t)); r.Lines < 2 {
					t.Errorf("%s: %+v", f, r)
				}
			}
			got = err
		}
		if chunks != 1 || !errors.Is(got, broken) {
			t.Errorf("%s: %d chunks and %v", f, chunks, got)
		}
	}
	for _, err := range backfill.Chunks(strings.NewReader(""), "csv", 1) {
		if !errors.Is(err, backfill.ErrFormat) {
			t.Error(err)
		}
	}
	n := 0
	for range backfill.Chunks(strings.NewReader(strings.Repeat(said+"\n", 10)), backfill.IRC, 1) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d chunks", n)
	}
}

// Memory stays flat, whatever the file holds beside its comments, and however long a line is.
func TestChunksOfBigFiles(t *testing.T) {
	t.Parallel()
	big := int64(64 << 20)
	vod := func(endless io.Reader) io.Reader {
		return io.MultiReader(strings.NewReader(`{"embeddedData":"`), io.LimitReader(endless, big), strings.NewReader(`","comments":[{"x":"`), io.LimitReader(endless, big), strings.NewReader(`"}]}`))
	}
	irc := func(endless io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(endless, big), strings.NewReader("\n"+said))
	}
	for f, file := range map[backfill.Format]func(io.Reader) io.Reader{backfill.VOD: vod, backfill.IRC: irc} {
		n := 0
		for chunk, err := range backfill.Chunks(file(filler{}), f, 1<<10) {
			if err != nil {
				t.Fatal(err)
			}
			if len(chunk) > backfill.MaxCommentBytes+100 {
				t.Errorf("%s: a chunk of %d bytes", f, len(chunk))
			}
			n += convert(t, f, string(chunk), target(t)).Faulty
		}
		if n != 1 {
			t.Errorf("%s: %d faulty", f, n)
		}
	}
}

type filler struct{}

func (filler) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestOpen(t *testing.T) {
	t.Parallel()
	zipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, c := range []struct {
		file string
		want backfill.Format
		err  string
	}{
		{file: said, want: backfill.IRC},
		{file: "\uFEFF" + said, want: backfill.IRC},
		{file: "# a log\n\n[2026-09-04 18:00:01] " + said, want: backfill.IRC},
		{file: ":tmi.twitch.tv 001 justinfan1 :Welcome, GLHF!", want: backfill.IRC},
		{file: zipped(said), want: backfill.IRC},
		{file: ` {"comments":[]}`, want: backfill.VOD},
		{file: "[\n{\"data\":null}]", want: backfill.VOD},
		{file: zipped(`{"comments":[]}`), want: backfill.VOD},
		{file: "", err: "unknown format: the file is empty"},
		{file: "time,user,text\n", err: "unknown format: the file holds neither raw lines of IRC nor a broadcast's chat as JSON"},
		{file: "[18:00:01] alice: hello\n", err: "unknown format: the file holds neither raw lines of IRC nor a broadcast's chat as JSON"},
		{file: "\xff\xfe{\x00", err: "unknown format: the file is UTF-16; save it as UTF-8"},
		{file: "\x1f\x8bxx", err: "unpack the chat: unexpected EOF"},
	} {
		r, f, err := backfill.Open(strings.NewReader(c.file))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%.20q: %v, want %s", c.file, err, c.err)
			}
			continue
		}
		if err != nil || f != c.want {
			t.Errorf("%.20q is %q, %v, want %q", c.file, f, err, c.want)
			continue
		}
		if all, err := io.ReadAll(r); err != nil || !strings.Contains(c.file+said+`{"comments":[]}`, string(all)) {
			t.Errorf("%.20q was read as %.20q, %v", c.file, all, err)
		}
	}
	if _, _, err := backfill.Open(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*backfill.Target){
		"slug":       func(to *backfill.Target) { to.Event.Slug = "Z Event" },
		"pseudonyms": func(to *backfill.Target) { to.Event.Pseudonyms = nil },
		"channel":    func(to *backfill.Target) { to.Channel.ID = "" },
		"login":      func(to *backfill.Target) { to.Channel.Login = "" },
		"origin":     func(to *backfill.Target) { to.Origin = "" },
		"times":      func(to *backfill.Target) { to.Start, to.End = time.UnixMilli(2), time.UnixMilli(1) },
	} {
		to := target(t)
		spoil(&to)
		if _, err := backfill.Convert(backfill.IRC, []byte(said), to); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := backfill.Convert("csv", nil, target(t)); !errors.Is(err, backfill.ErrFormat) {
		t.Error(err)
	}
}

func BenchmarkConvert(b *testing.B) {
	lines := recorded(b)
	vod, err := os.ReadFile("testdata/twitchdownloader.json")
	if err != nil {
		b.Fatal(err)
	}
	to := target(b)
	for f, file := range map[backfill.Format][]byte{backfill.IRC: []byte(strings.Join(lines, "\n")), backfill.VOD: vod} {
		b.Run(string(f), func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			n := 0
			for b.Loop() {
				r, err := backfill.Convert(f, file, to)
				if err != nil {
					b.Fatal(err)
				}
				n += r.Lines
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
