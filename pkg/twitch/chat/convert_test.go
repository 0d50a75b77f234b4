package chat_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	twitch "github.com/gempir/go-twitch-irc/v4"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

var update = flag.Bool("update", false, "write the golden files anew")

var received = time.Date(2026, 9, 4, 18, 0, 0, 500e6, time.UTC)

// pseudonyms knows one public channel besides the recorded one: raider (id 4242).
func pseudonyms(tb testing.TB) *record.Pseudonyms {
	tb.Helper()
	p, err := record.NewPseudonyms(make([]byte, record.KeyBytes), map[string]string{"71092938": "xqcow", "4242": "raider"})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func event(tb testing.TB, keepText bool) chat.Event {
	tb.Helper()
	return chat.Event{Slug: "zevent-2026", KeepText: keepText, Pseudonyms: pseudonyms(tb)}
}

func line(tb testing.TB, raw string) chat.Line {
	tb.Helper()
	m, err := chat.Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return chat.Line{Connection: "c-1.1", Channel: chat.Channel{ID: "71092938", Login: "xqcow"}, Received: received, Message: m}
}

func convert[D record.Document](tb testing.TB, raw string, keepText bool) D {
	tb.Helper()
	d, err := chat.Convert(line(tb, raw), event(tb, keepText))
	if err != nil {
		tb.Fatal(err)
	}
	doc, ok := d.(D)
	if !ok {
		tb.Fatalf("%s became %T", raw, d)
	}
	if _, err := record.Encode(doc); err != nil {
		tb.Fatal(err)
	}
	return doc
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
	for s := bufio.NewScanner(z); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

func TestConvertRecordedLines(t *testing.T) {
	ev := event(t, true)
	kinds := map[record.Kind]int{}
	emotes, ids := 0, map[string]bool{}
	for _, raw := range recorded(t) {
		l := line(t, raw)
		d, err := chat.Convert(l, ev)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		r, err := record.Encode(d)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		kinds[r.Kind]++
		ids[r.ID] = true
		if m, ok := d.(*record.Message); ok {
			for _, e := range m.Emotes {
				emotes += e.Count
				if e.Name == "" {
					t.Errorf("no name for emote %s of %s", e.ID, raw)
				}
			}
		}
		var login, display, id string
		switch m := l.Message.(type) {
		case *twitch.PrivateMessage:
			login, display, id = m.User.Name, m.User.DisplayName, m.User.ID
		case *twitch.UserNoticeMessage:
			login, display, id = m.Tags["login"], m.User.DisplayName, m.User.ID
		case *twitch.ClearChatMessage:
			login, id = m.TargetUsername, m.TargetUserID
		}
		for _, value := range values(t, r.Doc) {
			for word := range strings.FieldsFuncSeq(strings.ToLower(value), notWord) {
				if word == login || word == strings.ToLower(display) || word == id {
					t.Errorf("%q of %s gives away %q", value, raw, word)
				}
			}
		}
	}
	want := map[record.Kind]int{record.KindMessage: 4933, record.KindModeration: 58, record.KindNotice: 9}
	for kind, n := range want {
		if kinds[kind] != n {
			t.Errorf("%d records of kind %s, want %d", kinds[kind], kind, n)
		}
	}
	if want := emoteTags(t); emotes != want {
		t.Errorf("%d emotes, the tags have %d", emotes, want)
	}
}

// emoteTags counts the ranges in the tags of the recorded messages, in its own simple way.
func emoteTags(t *testing.T) int {
	t.Helper()
	n := 0
	for _, raw := range recorded(t) {
		if !strings.Contains(raw, " PRIVMSG ") {
			continue
		}
		_, rest, _ := strings.Cut(raw, ";emotes=")
		tag, _, _ := strings.Cut(rest, ";")
		if tag != "" {
			n += strings.Count(tag, ",") + strings.Count(tag, "/") + 1
		}
	}
	return n
}

func notWord(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && r < 0x80
}

// values are all strings in a document.
func values(tb testing.TB, doc bson.Raw) []string {
	tb.Helper()
	var out []string
	var walk func(v bson.RawValue)
	walk = func(v bson.RawValue) {
		switch v.Type {
		case bson.TypeString:
			out = append(out, v.StringValue())
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			elements, err := bson.Raw(v.Value).Elements()
			if err != nil {
				tb.Fatal(err)
			}
			for _, e := range elements {
				walk(e.Value())
			}
		default: // nothing to read
		}
	}
	walk(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc})
	return out
}

const (
	reply        = `@badge-info=founder/3;badges=founder/0,vip/1;bits=100;client-nonce=x;color=;custom-reward-id=5aa0d1b3-4a10-4f3f-8f7b-0d4cf3f5a6f1;display-name=Amélie_Écoute;emotes=25:29-33,41-45/305954156:35-39;first-msg=1;id=b0c1d2e3-0000-4000-8000-000000000001;mod=0;reply-parent-display-name=BobLeGrand;reply-parent-msg-body=bonjour;reply-parent-msg-id=b0c1d2e3-0000-4000-8000-000000000000;reply-parent-user-id=5551234;reply-parent-user-login=boblegrand;reply-thread-parent-msg-id=b0c1d2e3-0000-4000-8000-00000000000f;reply-thread-parent-user-login=boblegrand;returning-chatter=1;room-id=71092938;source-id=0f0f0f0f-0000-4000-8000-000000000001;source-room-id=999;subscriber=1;tmi-sent-ts=1788890400123;turbo=0;user-id=98765432;user-type= :amelie_ecoute!amelie_ecoute@amelie_ecoute.tmi.twitch.tv PRIVMSG #xqcow :@BobLeGrand 💜 bob, amelie_ec Kappa PogCh Kappa @xqcow amelie_ecoute`
	gift         = `@badge-info=;badges=;color=;display-name=AnAnonymousGifter;emotes=;flags=;id=c0000000-0000-4000-8000-000000000001;login=ananonymousgifter;mod=0;msg-id=subgift;msg-param-community-gift-id=8611042378;msg-param-fun-string=FunStringFive;msg-param-gift-months=1;msg-param-months=4;msg-param-origin-id=8f\s2b\s01;msg-param-recipient-display-name=LuckyOne;msg-param-recipient-id=777888999;msg-param-recipient-user-name=luckyone;msg-param-sub-plan-name=Abonnement\s(xqcow);msg-param-sub-plan=1000;room-id=71092938;subscriber=0;system-msg=An\sanonymous\suser\sgifted\sLuckyOne;tmi-sent-ts=1788890400456;user-id=274598607;user-type=;vip=0 :tmi.twitch.tv USERNOTICE #xqcow`
	bomb         = `@badge-info=;badges=;display-name=Generous;emotes=;id=c0000000-0000-4000-8000-000000000002;login=generous;msg-id=submysterygift;msg-param-community-gift-id=8611042378;msg-param-mass-gift-count=5;msg-param-origin-id=8f\s2b\s01;msg-param-sender-count=25;msg-param-sub-plan=1000;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400400;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow`
	donate       = `@badge-info=;badges=;display-name=Generous;emotes=;id=c0000000-0000-4000-8000-000000000003;login=generous;msg-id=charitydonation;msg-param-charity-name=Médecins;msg-param-donation-amount=1234567;msg-param-donation-currency=EUR;msg-param-exponent=2;room-id=71092938;system-msg=Generous:\sdonated;tmi-sent-ts=1788890400500;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow`
	raided       = `@badge-info=;badges=;display-name=Raider;emotes=;id=c0000000-0000-4000-8000-000000000004;login=raider;msg-id=raid;msg-param-displayName=Raider;msg-param-login=raider;msg-param-profileImageURL=https://static-cdn.jtvnw.net/jtv_user_pictures/raider.png;msg-param-viewerCount=15432;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400600;user-id=4242 :tmi.twitch.tv USERNOTICE #xqcow`
	novel        = `@badge-info=;badges=;display-name=Someone_New;emotes=;id=c0000000-0000-4000-8000-000000000005;login=someone_new;msg-id=confetticannon2031;msg-param-winner-id=66554433;msg-param-winner-name=TheWinner;msg-param-owner-login=raider;msg-param-avatar-url=https://x/someone_new;msg-param-headline=TheWinner\sbeat\sSOMEONE_NEW's\s66554433\sand\s@passerby;msg-param-link=https://twitch.tv/xsomeone_newx;msg-param-odd.$key=1;room-id=71092938;system-msg=TheWinner\sbeat\sSomeone_New;tmi-sent-ts=1788890400700;user-id=11223344 :tmi.twitch.tv USERNOTICE #xqcow :gg thewinner from someone_new`
	comboOver    = `@badge-info=;badges=;display-name=XQCow;emotes=;id=c0000000-0000-4000-8000-000000000006;login=xqcow;msg-id=onetapstreakexpired;msg-param-channel-display-name=xQcOW;msg-param-contributor-1=TopTapper;msg-param-contributor-1-taps=120;msg-param-contributor-2=88776655;msg-param-contributor-2-taps=70;msg-param-contributor-3=Élodie42;msg-param-contributor-3-taps=1500;msg-param-gift-id=heart;msg-param-largest-contributor-count=3;msg-param-streak-size-bits=26000;msg-param-streak-size-taps=1690;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400900;user-id=71092938 :tmi.twitch.tv USERNOTICE #xqcow`
	comboBegun   = `@badge-info=;badges=;display-name=xQcOW;emotes=;id=c0000000-0000-4000-8000-000000000007;login=xqcow;msg-id=onetapstreakstarted;msg-param-gift-id=dino;msg-param-ms-remaining=60000;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400910;user-id=71092938 :tmi.twitch.tv USERNOTICE #xqcow`
	comboReached = `@badge-info=;badges=;display-name=xQcOW;emotes=;id=c0000000-0000-4000-8000-000000000008;login=xqcow;msg-id=onetapbreakpointachieved;msg-param-breakpoint-number=2;msg-param-breakpoint-threshold-bits=50000;msg-param-gift-id=awww;msg-param-user-display-name=TopTapper;msg-param-bits-spent=12000;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400920;user-id=71092938 :tmi.twitch.tv USERNOTICE #xqcow`
	milestone    = `@badge-info=;badges=;display-name=Generous;emotes=;id=c0000000-0000-4000-8000-000000000009;login=generous;msg-id=viewermilestone;msg-param-category=watch-streak;msg-param-copoReward=450;msg-param-id=5aa0d1b3-4a10-4f3f-8f7b-0d4cf3f5a6f1;msg-param-value=15;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400930;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow`
	forward      = `@badge-info=;badges=;display-name=Generous;emotes=;id=c0000000-0000-4000-8000-00000000000a;login=generous;msg-id=communitypayforward;msg-param-prior-gifter-anonymous=false;msg-param-prior-gifter-display-name=LuckyOne;msg-param-prior-gifter-id=777888999;msg-param-prior-gifter-user-name=luckyone;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400940;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow`
	matched      = `@badge-info=;badges=;display-name=Generous;emotes=;id=c0000000-0000-4000-8000-00000000000b;login=generous;msg-id=submysterygift;msg-param-community-gift-id=8611042379;msg-param-gift-match=extra;msg-param-gift-match-extra-count=5;msg-param-gift-match-gifter-display-name=LuckyOne;msg-param-gift-theme=party;msg-param-goal-contribution-type=SUB_POINTS;msg-param-goal-current-contributions=40000;msg-param-goal-description=Merci\s@LuckyOne;msg-param-goal-target-contributions=50000;msg-param-goal-user-contributions=5000;msg-param-mass-gift-count=5;msg-param-origin-id=8f\s2b\s02;msg-param-sender-count=1234;msg-param-sub-plan=1000;room-id=71092938;system-msg=x;tmi-sent-ts=1788890400950;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow`
)

func TestGoldenDocuments(t *testing.T) {
	for name, raw := range map[string]string{
		"reply": reply, "gift": gift, "bomb": bomb, "donation": donate, "raid": raided, "novel": novel,
		"combo": comboOver, "breakpoint": comboReached, "milestone": milestone, "forward": forward, "matched": matched,
		"resub":   recordedWith(t, "USERNOTICE #xqcow :I love you"),
		"timeout": recordedWith(t, " CLEARCHAT "),
		"delete":  `@login=ronni;room-id=;target-msg-id=abc-123-def;tmi-sent-ts=1788890400800 :tmi.twitch.tv CLEARMSG #xqcow :HeyGuys`,
		"modes":   `@emote-only=0;followers-only=-1;r9k=1;rituals=0;room-id=71092938;slow=30;subs-only=0 :tmi.twitch.tv ROOMSTATE #xqcow`,
	} {
		t.Run(name, func(t *testing.T) {
			d, err := chat.Convert(line(t, raw), event(t, true))
			if err != nil {
				t.Fatal(err)
			}
			r, err := record.Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			extended, err := bson.MarshalExtJSONIndent(r.Doc, false, false, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := string(extended) + "\n"
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func recordedWith(t *testing.T, part string) string {
	t.Helper()
	for _, raw := range recorded(t) {
		if strings.Contains(raw, part) {
			return raw
		}
	}
	t.Fatalf("no recorded line with %q", part)
	return ""
}

func TestNothingNamesAPerson(t *testing.T) {
	people := []string{
		"amelie", "amélie", "écoute", "boblegrand", "98765432", "5551234", "luckyone", "777888999", "ananonymous", "274598607",
		"generous", "31415926", "someone_new", "thewinner", "66554433", "11223344", "passerby",
		"toptapper", "88776655", "élodie", "elodie",
	}
	for _, raw := range []string{
		reply, gift, bomb, donate, raided, novel, comboOver, comboBegun, comboReached, milestone, forward, matched,
	} {
		d, err := chat.Convert(line(t, raw), event(t, false))
		if err != nil {
			t.Fatal(err)
		}
		r, err := record.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range values(t, r.Doc) {
			for _, person := range people {
				if strings.Contains(strings.ToLower(value), person) {
					t.Errorf("%q holds %q", value, person)
				}
			}
		}
	}
}

// What a parameter's value becomes, by its name: N a name's pseudonym, U an id's, = itself.
func TestParametersOfNotices(t *testing.T) {
	p := pseudonyms(t)
	for _, c := range []struct{ name, value, want string }{
		// Of those that clients have seen.
		{"contributor-1", "TopTapper", "N"},
		{"contributor-1", "12345", "N"},
		{"contributor-1", "true", "N"},
		{"contributor-12", "99", "N"},
		{"contributor-1-taps", "15000", "="},
		{"largest-contributor-count", "2", "="},
		{"streak-size-bits", "123456789", "="},
		{"ms-remaining", "60000", "="},
		{"channel-display-name", "Raider", "raider"},
		{"channel-display-name", "Stranger", "N"},
		{"user-display-name", "4242", "N"},
		{"copoReward", "4500", "="},
		{"sender-count", "12345", "="},
		{"goal-user-contributions", "12345", "="},
		{"goal-description", "Merci à tous", "="},
		{"prior-gifter-anonymous", "true", "="},
		{"was-gifted", "false", "="},
		{"gift-month-being-redeemed", "7", "="},
		{"gift-theme", "showlove", "="},
		{"gift-id", "heart", "="},
		{"color", "PRIMARY", "="},
		{"ritual-name", "new_chatter", "="},
		{"category", "watch-streak", "="},
		{"sub-plan", "Custom", "="},
		{"sub-plan-name", "Les copains du dimanche", "="},
		{"id", "5aa0d1b3-4a10-4f3f-8f7b-0d4cf3f5a6f1", "U"},
		{"gifter-id", "4242", "="}, // of a public channel
		{"gifter-id", "77", "U"},
		{"gift-match", "extra", "N"},
		// Of those that may come.
		{"hero", "SomeOne", "N"},
		{"hero", "some words", "N"},
		{"hero", "12345", "U"},
		{"hero", "4242", "="},
		{"hero", "123", "="},
		{"hero", "-5", "="},
		{"hero", "12.50", "="},
		{"hero", "12.50.1", "N"},
		{"hero", "1e5", "N"},
		{"hero", "", "="},
		{"user", "55667788", "U"},
		{"userID", "55667788", "U"},
		{"recipientid", "12", "U"},
		{"total-ids", "55667788,55667789", "U"},
		{"sentBy", "55667788", "N"},
		{"viewers", "15432", "U"},
		{"viewerTotal", "15432", "="},
		{"most-bits-user-name", "55667788", "N"},
		{"Gift-Theme", "party", "="},
	} {
		raw := "@id=1;msg-id=of-2031;msg-param-" + c.name + "=" + strings.ReplaceAll(c.value, " ", `\s`) + ";user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow"
		want := c.want
		switch want {
		case "N":
			want = p.Name(c.value)
		case "U":
			want = p.User(c.value)
		case "=":
			want = c.value
		}
		if got := convert[*record.Notice](t, raw, false).Params[c.name]; got != want {
			t.Errorf("%s=%s became %q, want %s (%q)", c.name, c.value, got, c.want, want)
		}
	}
	avatar := "@id=1;msg-id=of-2031;msg-param-heroAvatarURL=https://x/someone;user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow"
	if n := convert[*record.Notice](t, avatar, false); n.Params != nil {
		t.Errorf("%v", n.Params)
	}
}

// Whatever a parameter of the future is called: a login, a display name or an id that no other tag
// has is not in the document.
func TestNoParameterNamesAStranger(t *testing.T) {
	words := []string{
		"contributor", "hero", "top", "1", "user", "display", "name", "ID", "login", "gift", "theme", "kind", "link",
		"new", "best", "text", "fun", "tapper", "By", "from",
	}
	value := rapid.OneOf(
		rapid.StringMatching(`[a-z][a-z0-9_]{3,24}`), rapid.StringMatching(`[A-Z][a-zA-Z0-9_]{3,24}`), rapid.StringMatching(`[0-9]{4,12}`),
		rapid.StringMatching(`[ぁ-ん]{2,12}`), rapid.StringMatching(`https://twitch\.tv/[a-z]{6,20}`),
		rapid.StringMatching(`[A-Z][a-z]{5,12} (beat|sent) [A-Z][a-z]{5,12}`),
	).Filter(func(s string) bool {
		return s != "true" && s != "false" && s != "4242" && s != "71092938" && s != "xqcow" && s != "raider"
	})
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(rt, "name")
		name := strings.Join(parts, rapid.SampledFrom([]string{"-", "_", ""}).Draw(rt, "between"))
		if name == "gift-theme" || name == "gift-ID" {
			rt.Skip("Twitch's own words")
		}
		stranger := value.Draw(rt, "value")
		raw := "@id=1;msg-id=of-2031;msg-param-" + name + "=" + strings.ReplaceAll(stranger, " ", `\s`) + ";user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow"
		n := convert[*record.Notice](t, raw, rapid.Bool().Draw(rt, "text"))
		for name, got := range n.Params {
			if strings.Contains(strings.ToLower(got), strings.ToLower(stranger)) {
				rt.Fatalf("%s=%s is kept as %q", name, stranger, got)
			}
		}
	})
}

func TestMessageFields(t *testing.T) {
	p := pseudonyms(t)
	m := convert[*record.Message](t, reply, false)
	if m.Text != "" {
		t.Errorf("text %q is kept", m.Text)
	}
	if m.Chatter != p.User("98765432") || m.Reply == nil || m.Reply.Chatter != p.User("5551234") {
		t.Errorf("chatter %s, reply %+v", m.Chatter, m.Reply)
	}
	if m.Source == nil || m.Source.Channel != "999" {
		t.Errorf("source %+v", m.Source)
	}
	if m.Bits != 100 || m.Subscriber != 3 || !m.First || !m.Returning {
		t.Errorf("%+v", m)
	}
	want := []record.Emote{{ID: "25", Name: "Kappa", Count: 2}, {ID: "305954156", Name: "PogCh", Count: 1}}
	if len(m.Emotes) != 2 || m.Emotes[0] != want[0] || m.Emotes[1] != want[1] {
		t.Errorf("emotes %+v, want %+v", m.Emotes, want)
	}
	own := convert[*record.Message](t, strings.Replace(reply, "source-room-id=999", "source-room-id=71092938", 1), false)
	if own.Source != nil {
		t.Errorf("the original has a source: %+v", own.Source)
	}
}

func TestEmotesOfBadTags(t *testing.T) {
	for _, c := range []struct {
		tag, text, want string
	}{
		{"", "Kappa", `null`},
		{"25:0-4", "Kappa", `[{"id":"25","name":"Kappa","count":1}]`},
		{"25:1-5,7-11", "💜Kappa Kappa", `[{"id":"25","name":"Kappa","count":2}]`},
		{"a:6-10/b:0-4", "first other", `[{"id":"b","name":"first","count":1},{"id":"a","name":"other","count":1}]`},
		{"25:0-4/25:6-10", "Kappa Kappa", `[{"id":"25","name":"Kappa","count":2}]`},
		{"25:0-400", "Kappa", `[{"id":"25","name":"","count":1}]`},
		{"25:0-400,0-4", "Kappa", `[{"id":"25","name":"Kappa","count":2}]`},
		{"25:-5--1", "Kappa", `null`},
		{"25:4-0", "Kappa", `null`},
		{"25:", "Kappa", `null`},
		{":0-4", "Kappa", `null`},
		{"///,,,:::", "Kappa", `null`},
		{"25:99999999999999999999-5", "Kappa", `null`},
		{"25:0-4", "", `[{"id":"25","name":"","count":1}]`},
		{"25:0-8", "two words", `[{"id":"25","name":"","count":1}]`},
		{"25:0-6", "WhoIsIt", `[{"id":"25","name":"","count":1}]`},
	} {
		raw := "@badges=;display-name=whoisit;emotes=" + c.tag + ";id=1;room-id=1;user-id=22 :whoisit!whoisit@x PRIVMSG #xqcow :" + c.text
		m := convert[*record.Message](t, raw, false)
		got, err := json.Marshal(m.Emotes)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("emotes=%s of %q: %s, want %s", c.tag, c.text, got, c.want)
		}
	}
}

func TestCharityAmounts(t *testing.T) {
	for _, c := range []struct {
		amount, exponent, currency string
		want                       *record.Money
	}{
		{"500", "2", "USD", &record.Money{Cents: 500, Currency: "USD"}},
		{"500", "0", "JPY", &record.Money{Cents: 500, Currency: "JPY"}},
		{"5", "0", "EUR", &record.Money{Cents: 500, Currency: "EUR"}},
		{"12345", "3", "eur", &record.Money{Cents: 1235, Currency: "EUR"}},
		{"12344", "3", "EUR", &record.Money{Cents: 1234, Currency: "EUR"}},
		{"9007199254740993", "2", "EUR", &record.Money{Cents: 9007199254740993, Currency: "EUR"}},
		{"9223372036854775807", "0", "EUR", nil},
		{"9223372036854775807", "18", "EUR", &record.Money{Cents: 922, Currency: "EUR"}},
		{"9223372036854775807", "20", "EUR", nil},
		{"-5", "2", "EUR", nil},
		{"5.00", "2", "EUR", nil},
		{"5", "", "EUR", nil},
		{"5", "2", "EURO", nil},
		{"5", "2", "", nil},
	} {
		raw := "@id=1;msg-id=charitydonation;msg-param-donation-amount=" + c.amount + ";msg-param-exponent=" + c.exponent +
			";msg-param-donation-currency=" + c.currency + ";user-id=31415926 :tmi.twitch.tv USERNOTICE #xqcow"
		n := convert[*record.Notice](t, raw, false)
		switch {
		case c.want == nil:
			if n.Charity != nil || n.Params["donation-amount"] != c.amount {
				t.Errorf("%+v: %+v, params %v", c, n.Charity, n.Params)
			}
		case n.Charity == nil || *n.Charity != *c.want:
			t.Errorf("%+v: %+v", c, n.Charity)
		}
	}
}

func TestRaidOfAStranger(t *testing.T) {
	stranger := strings.NewReplacer("4242", "5151", "aider", "andom").Replace(raided)
	n := convert[*record.Notice](t, stranger, false)
	if n.Raid == nil || n.Raid.Viewers != 15432 || n.Raid.Login != "" || n.Raid.Channel != "" {
		t.Errorf("%+v", n.Raid)
	}
	if n.Chatter != pseudonyms(t).User("5151") || n.Params != nil {
		t.Errorf("%+v", n)
	}
}

func TestAnonymousGifts(t *testing.T) {
	anonymous := pseudonyms(t).User(chat.AnonymousGifter)
	old := strings.NewReplacer("msg-id=subgift", "msg-id=anonsubgift", "274598607", "71092938").Replace(gift)
	for _, raw := range []string{gift, old} {
		n := convert[*record.Notice](t, raw, false)
		if !n.Anonymous || n.Chatter != anonymous || n.Community != "8611042378" || n.Months != 4 || n.Tier != "1000" {
			t.Errorf("%+v", n)
		}
	}
	if n := convert[*record.Notice](t, bomb, false); n.Anonymous || n.Gifts != 5 || n.Community != "8611042378" {
		t.Errorf("%+v", n)
	}
}

func TestModeration(t *testing.T) {
	p := pseudonyms(t)
	for raw, want := range map[string]record.Moderation{
		"@room-id=1;target-user-id=77;tmi-sent-ts=1788890400000 :tmi.twitch.tv CLEARCHAT #xqcow :bad":                  {Action: record.ActionBan, Chatter: p.User("77")},
		"@ban-duration=600;room-id=1;target-user-id=77;tmi-sent-ts=1788890400000 :tmi.twitch.tv CLEARCHAT #xqcow :bad": {Action: record.ActionTimeout, Chatter: p.User("77"), Seconds: 600},
		"@room-id=1;tmi-sent-ts=1788890400000 :tmi.twitch.tv CLEARCHAT #xqcow :bad":                                    {Action: record.ActionBan, Chatter: p.Name("bad")},
		"@room-id=1;tmi-sent-ts=1788890400000 :tmi.twitch.tv CLEARCHAT #xqcow":                                         {Action: record.ActionClear},
		"@login=bad;target-msg-id=m;tmi-sent-ts=1788890400000 :tmi.twitch.tv CLEARMSG #xqcow :rude":                    {Action: record.ActionDelete, Chatter: p.Name("bad"), Message: "m"},
	} {
		got := convert[*record.Moderation](t, raw, false)
		if got.Action != want.Action || got.Chatter != want.Chatter || got.Seconds != want.Seconds || got.Message != want.Message {
			t.Errorf("%s: %+v", raw, got)
		}
	}
}

func TestTimes(t *testing.T) {
	for tag, want := range map[string]time.Time{
		"1788890400123":         time.UnixMilli(1788890400123),
		"":                      received,
		"yesterday":             received,
		"0":                     received,
		"-5":                    received,
		"99999999999999999":     received,
		"999999999999999999999": received,
	} {
		m := convert[*record.Message](t, "@id=1;tmi-sent-ts="+tag+";user-id=2 :a!a@a PRIVMSG #xqcow :x", false)
		if !m.Time.Equal(want) || !m.Received.Equal(received) {
			t.Errorf("tmi-sent-ts=%s: %s", tag, m.Time)
		}
	}
}

func TestNoRecords(t *testing.T) {
	for _, raw := range []string{
		"PING :tmi.twitch.tv", ":a!a@a JOIN #xqcow", "@msg-id=subs_on :tmi.twitch.tv NOTICE #xqcow :on", ":tmi.twitch.tv RECONNECT", "nonsense",
		"@room-id=1;slow=10 :tmi.twitch.tv ROOMSTATE #xqcow",
	} {
		if d, err := chat.Convert(line(t, raw), event(t, false)); d != nil || err != nil {
			t.Errorf("%s: %v, %v", raw, d, err)
		}
	}
	if _, err := chat.Convert(line(t, ":a!a@a PRIVMSG #xqcow :x"), event(t, false)); err == nil {
		t.Error("a message without an id is a record")
	}
}

// The library panics on each of these.
func TestParseMalformedTags(t *testing.T) {
	for _, raw := range []string{
		"@badges=nothing;id=1;user-id=2 :a!a@a PRIVMSG #xqcow :x",
		"@emotes=25:-9--8;id=1;user-id=2 :a!a@a PRIVMSG #xqcow :x",
		"@emotes=25:5-1;id=1;user-id=2 :a!a@a PRIVMSG #xqcow :xxxxxxxx",
		"@source-badges=b;source-id=1;id=1;user-id=2 :a!a@a PRIVMSG #xqcow :x",
	} {
		m := convert[*record.Message](t, raw, false)
		if m.MessageID != "1" || m.Length == 0 {
			t.Errorf("%s: %+v", raw, m)
		}
	}
	for _, raw := range []string{"PRIVMSG", "@id=1 :x CLEARCHAT"} {
		if _, err := chat.Parse(raw); err == nil {
			t.Errorf("%s was parsed", raw)
		}
	}
}

// Whatever comes in, nothing panics, what is encoded can be parsed, and the people whom the tags
// name are nowhere in the document. (Ids of messages and rewards, badges and types are Twitch's
// own words: they are kept as they are, and a line that puts a person there proves nothing.)
func FuzzConvert(f *testing.F) {
	lines := recorded(f)
	for i := 0; i < len(lines); i += 50 {
		f.Add(lines[i], i%100 == 0)
	}
	for _, raw := range []string{
		reply, gift, bomb, donate, raided, novel, comboOver, comboBegun, comboReached, milestone, forward, matched,
	} {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	const login, display, id, targetLogin, targetID = "zqcanary_one", "ZqCanary_One", "990001777001", "zqcanary_two", "990001777002"
	const stranger, strangerID = "zqcanary_three", "990001777003" // in no other tag
	f.Fuzz(func(t *testing.T, raw string, keepText bool) {
		m, err := chat.Parse(raw)
		if err != nil {
			return
		}
		ev := event(t, keepText)
		l := chat.Line{Channel: chat.Channel{ID: "71092938", Login: "xqcow"}, Received: received, Message: m}
		encode(l, ev)

		// Once more, with people whom we know.
		raw = strings.ToLower(raw)
		if strings.Contains(raw, "canary") || strings.Contains(raw, "990001777") {
			return
		}
		tags := map[string]string{
			"login": login, "display-name": display, "user-id": id, "reply-parent-user-id": targetID,
			"reply-parent-user-login": targetLogin, "reply-parent-display-name": targetLogin, "target-user-id": targetID,
		}
		text := "x " + login + " and " + display + ", @" + targetLogin + ": " + targetID
		switch m := m.(type) {
		case *twitch.PrivateMessage:
			add(m.Tags, tags)
			m.User.Name, m.Message = login, m.Message+text
		case *twitch.UserNoticeMessage:
			add(m.Tags, tags)
			m.Message += text
			for name, value := range m.MsgParams {
				m.MsgParams[name] = value + id + login + display
			}
			m.MsgParams["msg-param-new-recipient-login"] = targetLogin
			m.MsgParams["msg-param-new-recipient-id"] = targetID
			m.MsgParams["msg-param-sentence"] = text
			m.MsgParams["msg-param-contributor-1"] = stranger
			m.MsgParams["msg-param-novelty"] = stranger
			m.MsgParams["msg-param-oddity"] = strangerID
			delete(m.MsgParams, "msg-param-origin-id")
			delete(m.MsgParams, "msg-param-community-gift-id")
		case *twitch.ClearChatMessage:
			add(m.Tags, tags)
			m.TargetUsername = targetLogin
		case *twitch.ClearMessage:
			m.Login = targetLogin
		}
		r, ok := encode(l, ev)
		if !ok {
			return
		}
		for _, value := range values(t, r.Doc) {
			value = strings.ToLower(value)
			for _, identity := range []string{login, id, targetLogin, targetID, stranger, strangerID} {
				for word := range strings.FieldsFuncSeq(value, notWord) {
					if word == identity {
						t.Fatalf("%q is in %q", identity, value)
					}
				}
				if !keepText && strings.Contains(value, identity) {
					t.Fatalf("%q is in %q", identity, value)
				}
			}
		}
	})
}

func add(to, from map[string]string) {
	for k, v := range from {
		to[k] = v
	}
}

// encode gives the record of a line, if it has one that can be encoded.
func encode(l chat.Line, ev chat.Event) (record.Record, bool) {
	d, err := chat.Convert(l, ev)
	if err != nil || d == nil {
		return record.Record{}, false
	}
	r, err := record.Encode(d)
	if err != nil {
		return record.Record{}, false
	}
	if _, err := record.Parse(r.Doc); err != nil {
		panic(err)
	}
	return r, true
}

func BenchmarkParse(b *testing.B) {
	lines := recorded(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := chat.Parse(lines[i%len(lines)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	lines := recorded(b)
	parsed := make([]chat.Line, len(lines))
	for i, raw := range lines {
		parsed[i] = line(b, raw)
	}
	for _, keepText := range []bool{false, true} {
		name := "without text"
		if keepText {
			name = "with text"
		}
		b.Run(name, func(b *testing.B) {
			ev := event(b, keepText)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := chat.Convert(parsed[i%len(parsed)], ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
