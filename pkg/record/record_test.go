package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/record"
)

var (
	text  = rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return r != 0 }))
	slugs = rapid.StringMatching(`[a-z0-9-]{1,64}`)
	facts = rapid.StringMatching(`[a-zA-Z0-9:/_-]{1,100}`)
	// Milliseconds from 1970 to 2200, and what is lost below them.
	moments = rapid.Custom(func(t *rapid.T) time.Time {
		ms := rapid.Int64Range(0, 7_258_118_400_000).Draw(t, "ms")
		below := rapid.Int64Range(0, 999_999).Draw(t, "ns")
		return time.UnixMilli(ms).Add(time.Duration(below))
	})
)

func header(t *rapid.T) record.Header {
	return record.Header{
		Event: slugs.Draw(t, "event"), Channel: text.Draw(t, "channel"), Time: moments.Draw(t, "time"),
		Received: moments.Draw(t, "received"), Origin: text.Draw(t, "origin"),
	}
}

func maybe[T any](t *rapid.T, name string, g *rapid.Generator[T]) *T {
	if !rapid.Bool().Draw(t, name) {
		return nil
	}
	v := g.Draw(t, name)
	return &v
}

// some gives nil for none, as decoding does.
func some[T any](t *rapid.T, name string, g *rapid.Generator[T]) []T {
	s := rapid.SliceOfN(g, 0, 5).Draw(t, name)
	if len(s) == 0 {
		return nil
	}
	return s
}

var emotes = rapid.Custom(func(t *rapid.T) record.Emote {
	return record.Emote{ID: text.Draw(t, "id"), Name: text.Draw(t, "name"), Count: rapid.Int().Draw(t, "count")}
})

var sources = rapid.Custom(func(t *rapid.T) record.Source {
	return record.Source{Channel: text.Draw(t, "channel"), Message: text.Draw(t, "message")}
})

// documents has a generator for every document type.
var documents = map[record.Kind]func(*rapid.T) record.Document{
	record.KindMessage: func(t *rapid.T) record.Document {
		return &record.Message{
			Header: header(t), MessageID: facts.Draw(t, "message"), Chatter: text.Draw(t, "chatter"), Length: rapid.Int().Draw(t, "length"),
			Text: text.Draw(t, "text"), Action: rapid.Bool().Draw(t, "action"), Emotes: some(t, "emotes", emotes),
			Bits: rapid.Int().Draw(t, "bits"), Badges: some(t, "badges", text), Subscriber: rapid.Int().Draw(t, "subscriber"),
			First: rapid.Bool().Draw(t, "first"), Returning: rapid.Bool().Draw(t, "returning"), Reward: text.Draw(t, "reward"),
			Reply: maybe(t, "reply", rapid.Custom(func(t *rapid.T) record.Reply {
				return record.Reply{Message: text.Draw(t, "message"), Chatter: text.Draw(t, "chatter"), Thread: text.Draw(t, "thread")}
			})),
			Source: maybe(t, "source", sources),
		}
	},
	record.KindNotice: func(t *rapid.T) record.Document {
		n := &record.Notice{
			Header: header(t), NoticeID: facts.Draw(t, "notice"), Type: text.Draw(t, "type"), Chatter: text.Draw(t, "chatter"),
			Anonymous: rapid.Bool().Draw(t, "anonymous"), Recipient: text.Draw(t, "recipient"), Tier: text.Draw(t, "tier"),
			Months: rapid.Int().Draw(t, "months"), Streak: rapid.Int().Draw(t, "streak"), Gifts: rapid.Int().Draw(t, "gifts"),
			Community: text.Draw(t, "community"), Text: text.Draw(t, "text"), Emotes: some(t, "emotes", emotes),
			Raid: maybe(t, "raid", rapid.Custom(func(t *rapid.T) record.Raid {
				return record.Raid{Viewers: rapid.Int().Draw(t, "viewers"), Channel: text.Draw(t, "channel"), Login: text.Draw(t, "login")}
			})),
			Charity: maybe(t, "charity", rapid.Custom(func(t *rapid.T) record.Money {
				return record.Money{Cents: rapid.Int64().Draw(t, "cents"), Currency: text.Draw(t, "currency")}
			})),
			CharityName: text.Draw(t, "charity_name"), Source: maybe(t, "source", sources),
		}
		if p := rapid.MapOf(text, text).Draw(t, "params"); len(p) > 0 {
			n.Params = p
		}
		return n
	},
	record.KindModeration: func(t *rapid.T) record.Document {
		return &record.Moderation{
			Header: header(t), Action: text.Draw(t, "action"), Chatter: text.Draw(t, "chatter"),
			Seconds: rapid.Int().Draw(t, "seconds"), Message: text.Draw(t, "message"),
		}
	},
	record.KindRoomState: func(t *rapid.T) record.Document {
		return &record.RoomState{
			Header: header(t), EmoteOnly: rapid.Bool().Draw(t, "emote_only"), Unique: rapid.Bool().Draw(t, "unique"),
			SubscribersOnly: rapid.Bool().Draw(t, "subs"), FollowersOnly: rapid.Int().Draw(t, "followers"), Slow: rapid.Int().Draw(t, "slow"),
		}
	},
	record.KindViewers: func(t *rapid.T) record.Document {
		h := header(t)
		h.Channel = facts.Draw(t, "id")
		return &record.Viewers{
			Header: h, Source: record.SourceHelix, Live: rapid.Bool().Draw(t, "live"), Viewers: rapid.Int().Draw(t, "viewers"), Stream: text.Draw(t, "stream"),
		}
	},
	record.KindSession: func(t *rapid.T) record.Document {
		return &record.Session{
			Header: header(t), Stream: facts.Draw(t, "stream"), Phase: rapid.SampledFrom([]string{record.PhaseStart, record.PhaseEnd}).Draw(t, "phase"),
			Started: record.Millis(moments.Draw(t, "started")), Category: text.Draw(t, "category"), Title: text.Draw(t, "title"),
			Language: text.Draw(t, "language"),
		}
	},
	record.KindChange: func(t *rapid.T) record.Document {
		return &record.Change{
			Header: header(t), Field: text.Draw(t, "field"), From: text.Draw(t, "from"), To: text.Draw(t, "to"), ToID: text.Draw(t, "to_id"),
		}
	},
	record.KindDropped: func(t *rapid.T) record.Document {
		h := header(t)
		return &record.Dropped{
			Header: h, To: h.Time.Add(time.Duration(rapid.IntRange(1, 1e9).Draw(t, "millis")) * time.Millisecond),
			Collector: text.Draw(t, "collector"), Reason: text.Draw(t, "reason"),
			Records: rapid.IntRange(1, 1<<30).Draw(t, "records"), Messages: rapid.Int().Draw(t, "messages"),
			Channels: some(t, "channels", rapid.Custom(func(t *rapid.T) record.DroppedChannel {
				return record.DroppedChannel{
					Channel: text.Draw(t, "channel"), Records: rapid.Int().Draw(t, "records"), Messages: rapid.Int().Draw(t, "messages"),
				}
			})),
		}
	},
	record.KindDonation: func(t *rapid.T) record.Document {
		return &record.Donation{
			Header: header(t), Source: facts.Draw(t, "source"), Donation: facts.Draw(t, "donation"), Version: text.Draw(t, "version"),
			Money: money(t, 0), Donor: text.Draw(t, "donor"), Member: text.Draw(t, "member"), Country: text.Draw(t, "country"),
			Length: rapid.Int().Draw(t, "length"), Text: text.Draw(t, "text"), Raw: text.Draw(t, "raw"),
		}
	},
	record.KindAmount: func(t *rapid.T) record.Document {
		return &record.Amount{
			Header: header(t), Source: facts.Draw(t, "source"), Member: text.Draw(t, "member"), Money: money(t, -record.MaxCents),
		}
	},
	record.KindAnswer: func(t *rapid.T) record.Document {
		return &record.Answer{
			Header: header(t), Source: facts.Draw(t, "source"), Request: text.Draw(t, "request"), Status: rapid.Int().Draw(t, "status"),
			Type: text.Draw(t, "type"), Bytes: rapid.Int().Draw(t, "bytes"), Hash: facts.Draw(t, "hash"),
			Problem: text.Draw(t, "problem"), Part: rapid.Int().Draw(t, "part"), Body: text.Draw(t, "body"),
		}
	},
	record.KindCoverage: func(t *rapid.T) record.Document {
		h := header(t)
		h.Channel = ""
		end := record.Minute(h.Time).Add(time.Minute)
		left := end.Sub(record.Millis(h.Time)).Milliseconds()
		return &record.Coverage{
			Header: h, Source: record.SourceChat, To: record.Millis(h.Time).Add(time.Duration(rapid.Int64Range(1, left).Draw(t, "ms")) * time.Millisecond),
			Collector: text.Draw(t, "collector"), Connection: text.Draw(t, "connection"), Set: text.Draw(t, "set"), Channels: some(t, "channels", text),
		}
	},
}

func money(t *rapid.T, least int64) record.Money {
	return record.Money{
		Cents:    rapid.Int64Range(least, record.MaxCents).Draw(t, "cents"),
		Currency: rapid.StringMatching(`[A-Z]{3}`).Draw(t, "currency"),
	}
}

func anyDocument(t *rapid.T) record.Document {
	return documents[rapid.SampledFrom(kinds).Draw(t, "kind")](t)
}

var kinds = []record.Kind{
	record.KindMessage, record.KindNotice, record.KindModeration, record.KindRoomState, record.KindViewers, record.KindSession,
	record.KindChange, record.KindCoverage, record.KindDropped, record.KindDonation, record.KindAmount, record.KindAnswer,
}

func TestDocumentsComeBack(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				d := documents[kind](t)
				r, err := record.Encode(d) // completes d's header
				if err != nil {
					t.Fatal(err)
				}
				parsed, err := record.Parse(r.Doc)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(parsed, r) {
					t.Fatalf("parsed %+v, encoded %+v", parsed, r)
				}
				if r.Kind != kind || !strings.HasPrefix(r.ID, r.Event+"/"+string(kind)+"/") {
					t.Fatalf("%s is no id of a %s", r.ID, kind)
				}
				back := reflect.New(reflect.TypeOf(d).Elem()).Interface()
				if err := record.Decode(r.Doc, back); err != nil {
					t.Fatal(err)
				}
				utc(reflect.ValueOf(back).Elem())
				if !reflect.DeepEqual(back, any(d)) {
					t.Fatalf("decoded %+v, encoded %+v", back, d)
				}
				again, err := record.Encode(d)
				if err != nil || !bytes.Equal(again.Doc, r.Doc) {
					t.Fatalf("encoded again it is another: %v", err)
				}
			})
		})
	}
}

// utc brings times to UTC: they are decoded in the local zone.
func utc(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if moment, ok := f.Interface().(time.Time); ok {
			f.Set(reflect.ValueOf(moment.UTC()))
		} else if f.Kind() == reflect.Struct {
			utc(f)
		}
	}
}

func TestBatchesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := make([]record.Record, rapid.IntRange(1, 30).Draw(t, "n"))
		for i := range records {
			var err error
			if records[i], err = record.Encode(anyDocument(t)); err != nil {
				t.Fatal(err)
			}
		}
		c := rapid.SampledFrom([]record.Compression{record.None, record.Zstd}).Draw(t, "compression")
		b, err := record.EncodeBatch(records, c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := record.DecodeBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, records) {
			t.Fatalf("decoded %+v, encoded %+v", back, records)
		}
		// Any damage is noticed.
		bit := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := record.DecodeBatch(b); !errors.Is(err, record.ErrBatch) {
			t.Fatalf("with bit %d turned: %v", bit, err)
		}
	})
}

// The ids of facts: two collectors that saw the same agree, and different facts differ.
func TestFacts(t *testing.T) {
	at := time.Date(2026, 9, 4, 18, 0, 30, 0, time.UTC)
	head := func(at time.Time) record.Header {
		return record.Header{Event: "e", Channel: "1", Time: at, Received: at.Add(time.Second)}
	}
	donation := func(at time.Time, cents int64, version string) record.Document {
		return &record.Donation{Header: head(at), Source: "s", Donation: "d", Version: version, Money: record.Money{Cents: cents, Currency: "EUR"}}
	}
	amount := func(at time.Time, currency string, cents int64) record.Document {
		return &record.Amount{Header: head(at), Source: "s", Money: record.Money{Cents: cents, Currency: currency}}
	}
	for name, c := range map[string]struct {
		a, b record.Document
		same bool
	}{
		"message seen twice": {
			&record.Message{Header: head(at), MessageID: "m"}, &record.Message{Header: head(at.Add(time.Hour)), MessageID: "m"}, true,
		},
		"two messages": {&record.Message{Header: head(at), MessageID: "m"}, &record.Message{Header: head(at), MessageID: "n"}, false},
		"a ban seen twice": {
			&record.Moderation{Header: head(at), Action: "ban", Chatter: "x"},
			&record.Moderation{Header: head(at.Add(time.Microsecond)), Action: "ban", Chatter: "x"}, true,
		},
		"ban and timeout": {
			&record.Moderation{Header: head(at), Action: "ban", Chatter: "x"}, &record.Moderation{Header: head(at), Action: "timeout", Chatter: "x"}, false,
		},
		"room states of a second": {
			&record.RoomState{Header: head(at.Truncate(time.Second))}, &record.RoomState{Header: head(at.Truncate(time.Second).Add(999 * time.Millisecond))}, true,
		},
		"room states of two seconds": {
			&record.RoomState{Header: head(at.Truncate(time.Second))}, &record.RoomState{Header: head(at.Truncate(time.Second).Add(time.Second))}, false,
		},
		"samples of a slot":                      {&record.Viewers{Header: head(at), Source: "helix", Viewers: 3}, &record.Viewers{Header: head(at), Source: "helix", Viewers: 4}, true},
		"samples of two sources":                 {&record.Viewers{Header: head(at), Source: "helix"}, &record.Viewers{Header: head(at), Source: "zevent"}, false},
		"start and end of a stream":              {&record.Session{Header: head(at), Stream: "s", Phase: "start"}, &record.Session{Header: head(at), Stream: "s", Phase: "end"}, false},
		"a donation seen twice, dated otherwise": {donation(at, 500, ""), donation(at.Add(time.Hour), 500, ""), true},
		"a donation of another amount":           {donation(at, 500, ""), donation(at, 501, ""), false},
		"a donation of a number of the source's": {donation(at, 500, "2"), donation(at, 500, "3"), false},
		"running totals of a slot":               {amount(at, "EUR", 5), amount(at, "EUR", 6), true},
		"running totals in two currencies":       {amount(at, "EUR", 5), amount(at, "USD", 5), false},
		"running totals of two slots":            {amount(at, "EUR", 5), amount(at.Add(time.Second), "EUR", 5), false},
		"pieces of an answer": {
			&record.Answer{Header: head(at), Source: "s", Hash: "h", Part: 1}, &record.Answer{Header: head(at), Source: "s", Hash: "h", Part: 2}, false,
		},
		"parts that would concatenate": {&record.Change{Header: head(at), Field: "a", To: "bc"}, &record.Change{Header: head(at), Field: "ab", To: "c"}, false},
	} {
		a, err := record.Encode(c.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := record.Encode(c.b)
		if err != nil {
			t.Fatal(err)
		}
		if (a.ID == b.ID) != c.same {
			t.Errorf("%s: %s and %s", name, a.ID, b.ID)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	at := time.Date(2026, 9, 4, 18, 0, 59, 900e6, time.UTC)
	good := record.Header{Event: "e", Channel: "1", Time: at}
	with := func(change func(*record.Header)) record.Header {
		h := good
		change(&h)
		return h
	}
	for name, d := range map[string]record.Document{
		"no fact":                         &record.Message{Header: good},
		"no time":                         &record.Message{Header: with(func(h *record.Header) { h.Time = time.Time{} }), MessageID: "m"},
		"no event":                        &record.Message{Header: with(func(h *record.Header) { h.Event = "" }), MessageID: "m"},
		"an event with /":                 &record.Message{Header: with(func(h *record.Header) { h.Event = "a/b" }), MessageID: "m"},
		"upper case":                      &record.Message{Header: with(func(h *record.Header) { h.Event = "ZEvent" }), MessageID: "m"},
		"a long event":                    &record.Message{Header: with(func(h *record.Header) { h.Event = strings.Repeat("e", 65) }), MessageID: "m"},
		"a long fact":                     &record.Message{Header: good, MessageID: strings.Repeat("m", 512)},
		"a fact with NUL":                 &record.Message{Header: good, MessageID: "m\x00"},
		"a fact not in UTF-8":             &record.Message{Header: good, MessageID: "m\xff"},
		"a large document":                &record.Message{Header: good, MessageID: "m", Text: strings.Repeat("x", record.MaxDocumentBytes)},
		"text not in UTF-8":               &record.Message{Header: good, MessageID: "m", Text: "x\xff"},
		"a channel not UTF-8":             &record.Message{Header: with(func(h *record.Header) { h.Channel = "\xff" }), MessageID: "m"},
		"empty coverage":                  &record.Coverage{Header: good, To: at},
		"coverage below a ms":             &record.Coverage{Header: good, To: at.Add(900 * time.Microsecond)},
		"a donation of less than nothing": &record.Donation{Header: good, Source: "s", Donation: "d", Money: record.Money{Cents: -1, Currency: "EUR"}},
		"a donation of too much":          &record.Donation{Header: good, Source: "s", Donation: "d", Money: record.Money{Cents: record.MaxCents + 1, Currency: "EUR"}},
		"a donation in euro":              &record.Donation{Header: good, Source: "s", Donation: "d", Money: record.Money{Cents: 1, Currency: "eur"}},
		"a donation in nothing":           &record.Donation{Header: good, Source: "s", Donation: "d", Money: record.Money{Cents: 1}},
		"a donation of no source":         &record.Donation{Header: good, Donation: "d", Money: record.Money{Cents: 1, Currency: "EUR"}},
		"a donation without an id":        &record.Donation{Header: good, Source: "s", Money: record.Money{Cents: 1, Currency: "EUR"}},
		"a total in euros":                &record.Amount{Header: good, Source: "s", Money: record.Money{Cents: 1, Currency: "EUROS"}},
		"a total below what can be":       &record.Amount{Header: good, Source: "s", Money: record.Money{Cents: -record.MaxCents - 1, Currency: "EUR"}},
		"a total of no source":            &record.Amount{Header: good, Money: record.Money{Cents: 1, Currency: "EUR"}},
		"an answer without a hash":        &record.Answer{Header: good, Source: "s"},
		"coverage of a minute":            &record.Coverage{Header: good, To: at.Add(101 * time.Millisecond)},
	} {
		if _, err := record.Encode(d); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	at := bson.NewDateTimeFromTime(time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC))
	good := bson.D{{Key: "_id", Value: "e/k/f"}, {Key: "kind", Value: "k"}, {Key: "event", Value: "e"}, {Key: "channel", Value: ""}, {Key: "time", Value: at}}
	encode := func(d bson.D) []byte {
		b, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := record.Parse(encode(good)); err != nil {
		t.Fatal(err)
	}
	with := func(i int, value any) []byte {
		d := append(bson.D(nil), good...)
		d[i].Value = value
		return encode(d)
	}
	for name, doc := range map[string][]byte{
		"nothing":               {},
		"an empty document":     {5, 0, 0, 0, 0},
		"another order":         encode(bson.D{good[1], good[0], good[2], good[3], good[4]}),
		"four elements":         encode(good[:4]),
		"a number for an id":    with(0, 5),
		"another kind's id":     with(0, "e/other/f"),
		"another event's id":    with(0, "f/k/f"),
		"no fact":               with(0, "e/k/"),
		"a long id":             with(0, "e/k/"+strings.Repeat("f", 512)),
		"a time that is text":   with(4, "now"),
		"bytes after it":        append(encode(good), 0),
		"cut off":               encode(good)[:20],
		"an event of slashes":   encode(bson.D{{Key: "_id", Value: "e/x/k/f"}, good[1], {Key: "event", Value: "e/x"}, good[3], good[4]}),
		"more than it may have": encode(append(append(bson.D(nil), good...), bson.E{Key: "x", Value: strings.Repeat("x", record.MaxDocumentBytes)})),
	} {
		if _, err := record.Parse(doc); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBatchRefuses(t *testing.T) {
	r := sample(t, 0)
	big := r
	big.Doc = make([]byte, record.MaxBatchBytes+1)
	for name, f := range map[string]func() ([]byte, error){
		"no records": func() ([]byte, error) { return record.EncodeBatch(nil, record.None) },
		"too many records": func() ([]byte, error) {
			return record.EncodeBatch(make([]record.Record, record.MaxBatchRecords+1), record.None)
		},
		"too many bytes": func() ([]byte, error) { return record.EncodeBatch([]record.Record{big}, record.None) },
		"compression":    func() ([]byte, error) { return record.EncodeBatch([]record.Record{r}, 7) },
	} {
		if _, err := f(); !errors.Is(err, record.ErrBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none, err := record.EncodeBatch([]record.Record{r, r}, record.None)
	if err != nil {
		t.Fatal(err)
	}
	body := none[:len(none)-4]
	// What zstd can make of little must not be taken at its word.
	bomb, err := record.EncodeBatch([]record.Record{sampleText(t, strings.Repeat("x", 1<<20))}, record.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(bomb, []byte{0x28, 0xb5, 0x2f, 0xfd}) // zstd's magic number
	for name, b := range map[string][]byte{
		"nothing":           nil,
		"another magic":     sum(append([]byte("XX"), body[2:]...)),
		"a newer version":   sum(append([]byte("TB\x02"), body[3:]...)),
		"a new compression": sum(append([]byte("TB\x01\x05"), body[4:]...)),
		"one more record":   sum(append([]byte("TB\x01\x00\x03"), body[5:]...)),
		"one record less":   sum(append([]byte("TB\x01\x00\x01"), body[5:]...)),
		"no records":        sum(append([]byte("TB\x01\x00\x00"), body[5:]...)),
		"a byte too much":   sum(append(bytes.Clone(body), 0)),
		"a byte too little": sum(body[:len(body)-1]),
		"cut off":           none[:len(none)-1],
		"an announced byte": sum(append([]byte("TB\x01\x01\x01\x01"), bomb[at:len(bomb)-4]...)),
		"not zstd":          sum(append([]byte("TB\x01\x01\x01\x05"), "hello"...)),
	} {
		if _, err := record.DecodeBatch(b); !errors.Is(err, record.ErrBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]record.Compression{"none": record.None, "zstd": record.Zstd} {
		if c, err := record.ParseCompression(name); err != nil || c != want {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	if _, err := record.ParseCompression("gzip"); err == nil {
		t.Error("gzip is a compression")
	}
}

// sum adds the checksum of a batch.
func sum(b []byte) []byte {
	b = bytes.Clone(b)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func sampleText(tb testing.TB, text string) record.Record {
	tb.Helper()
	r, err := record.Encode(&record.Message{
		Header: record.Header{Event: "zevent-2026", Channel: "1", Time: time.UnixMilli(1788890400000)}, MessageID: "m", Text: text,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// sample is a message as chat has them: fresh ids and chatters, few channels and badges, no text.
func sample(tb testing.TB, i int) record.Record {
	tb.Helper()
	at := time.UnixMilli(1788890400000 + int64(i)*7)
	m := &record.Message{
		Header:    record.Header{Event: "zevent-2026", Channel: strconv.Itoa(100_000_000 + i*i%350), Time: at, Received: at.Add(80 * time.Millisecond)},
		MessageID: fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(i*2654435761), i*40503&0xffff, i*31&0xfff, i*17&0xfff, uint64(i)*11400714819323198485>>16),
		Chatter:   record.Hash("chatter", strconv.Itoa(i*i%4000)),
		Length:    5 + i*13%90,
	}
	if i%2 == 0 {
		m.Badges, m.Subscriber = []string{fmt.Sprintf("subscriber/%d", i%24)}, i%24
	}
	if i%3 == 0 {
		m.Emotes = []record.Emote{{ID: strconv.Itoa(300_000_000 + i%60), Name: fmt.Sprintf("zeventEmote%d", i%60), Count: 1 + i%3}}
	}
	if i%20 == 0 {
		m.First = true
	}
	r, err := record.Encode(m)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample(f, 0).Doc))
	f.Add([]byte(sampleText(f, "héllo").Doc))
	f.Add([]byte{5, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := record.Parse(doc)
		if err != nil {
			if !errors.Is(err, record.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(r.Doc, doc) || !record.ValidSlug(r.Event) || !strings.HasPrefix(r.ID, r.Event+"/"+string(r.Kind)+"/") {
			t.Fatalf("%+v", r)
		}
		// A document that was parsed can be in a batch.
		b, err := record.EncodeBatch([]record.Record{r}, record.Zstd)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := record.DecodeBatch(b); err != nil || !reflect.DeepEqual(back, []record.Record{r}) {
			t.Fatalf("%+v, %v", back, err)
		}
	})
}

// The checksum is set right before each try, so that what lies behind it is tried too.
func FuzzDecodeBatch(f *testing.F) {
	for _, c := range []record.Compression{record.None, record.Zstd} {
		b, err := record.EncodeBatch([]record.Record{sample(f, 0), sample(f, 1), sample(f, 2)}, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-4], true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if right {
			b = sum(b)
		}
		records, err := record.DecodeBatch(b)
		if err != nil {
			if !errors.Is(err, record.ErrBatch) {
				t.Fatal(err)
			}
			return
		}
		again, err := record.EncodeBatch(records, record.None)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := record.DecodeBatch(again); err != nil || !reflect.DeepEqual(back, records) {
			t.Fatalf("%v", err)
		}
	})
}

func BenchmarkEncodeBatch(b *testing.B) {
	records := make([]record.Record, 500)
	for i := range records {
		records[i] = sample(b, i)
	}
	for name, c := range map[string]record.Compression{"none": record.None, "zstd": record.Zstd} {
		b.Run(name, func(b *testing.B) {
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, err = record.EncodeBatch(records, c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(out))/float64(len(records)), "bytes/record")
			b.ReportMetric(float64(b.N*len(records))/b.Elapsed().Seconds(), "records/s")
		})
		b.Run(name+" decode", func(b *testing.B) {
			in, err := record.EncodeBatch(records, c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.DecodeBatch(in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(records))/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	m := &record.Message{
		Header:    record.Header{Event: "zevent-2026", Channel: "1", Time: time.UnixMilli(1788890400000), Received: time.UnixMilli(1788890400080)},
		MessageID: "ca561310-6855-43b3-8325-3ea7418359a2", Chatter: record.Hash("x"), Length: 40, Badges: []string{"subscriber/3"}, Subscriber: 5,
		Emotes: []record.Emote{{ID: "25", Name: "Kappa", Count: 2}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Encode(m); err != nil {
			b.Fatal(err)
		}
	}
}
