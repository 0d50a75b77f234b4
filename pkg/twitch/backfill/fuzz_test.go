package backfill_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/backfill"
)

// check holds what goes for every file: all lines are accounted for, each record can be read back,
// is of the target, and is the same when the file comes in chunks.
func check(t *testing.T, f backfill.Format, file []byte, size uint16) {
	t.Helper()
	to := target(t)
	whole := convert(t, f, string(file), to)
	for _, r := range whole.Records {
		back, err := record.Parse(r.Doc)
		if err != nil {
			t.Fatal(err)
		}
		if back.Event != to.Event.Slug || back.Channel != to.Channel.ID || back.ID != r.ID || back.Time.IsZero() {
			t.Fatalf("%+v", back)
		}
		var h record.Header
		if err := record.Decode(r.Doc, &h); err != nil {
			t.Fatal(err)
		}
		if h.Origin != to.Origin || !h.Received.Equal(h.Time) {
			t.Fatalf("%+v", h)
		}
	}
	for _, p := range whole.Problems {
		if p.Line < 1 || p.Line > whole.Lines || p.Reason == "" {
			t.Fatalf("%+v of %d lines", p, whole.Lines)
		}
	}
	for _, size := range []int{0, int(size)} {
		if got := chunked(t, f, bytes.NewReader(file), size, to); !reflect.DeepEqual(got, whole) {
			t.Fatalf("in chunks of %d: %+v\nwhole: %+v", size, got, whole)
		}
	}
}

func FuzzIRC(f *testing.F) {
	lines := recorded(f)
	for i := 0; i+5 < len(lines); i += 500 {
		f.Add([]byte(strings.Join(lines[i:i+5], "\n")), uint16(1000))
	}
	for _, prefix := range []string{"", "[2026-09-04 18:00:01] ", "2026-09-04T18:00:01Z ", "1788544800001 "} {
		f.Add([]byte(prefix+said+"\r\nPING :x\n\n"), uint16(100))
	}
	f.Add([]byte(":alice!alice@alice.tmi.twitch.tv PRIVMSG #xqcow :hello"), uint16(0))
	f.Fuzz(func(t *testing.T, file []byte, size uint16) { check(t, backfill.IRC, file, size) })
}

func FuzzVOD(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		file, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file, uint16(1000))
		for line := range bytes.Lines(file) {
			f.Add([]byte(`{"comments":[`+strings.TrimRight(string(line), ",\n")+`]}`), uint16(0))
		}
	}
	for _, file := range []string{
		``, `{}`, `{"comments":[`, `{"comments":[null,1,"x",[{}]]}`, `{"streamer":{"id":"9"},"comments":[{"_id":1}]}`,
		`{"comments":{"edges":[{"node":{"node":{"id":"1"}}}]}}`, `{"comments":[{"_id":"1","message":{"fragments":[{"text":"a","emoticon":{"emoticon_id":"1"}}]}}]}`,
	} {
		f.Add([]byte(file), uint16(0))
	}
	f.Fuzz(func(t *testing.T, file []byte, size uint16) { check(t, backfill.VOD, file, size) })
}

func FuzzOpen(f *testing.F) {
	for _, file := range []string{
		said, "\uFEFF" + said, "[18:00] " + said, `[{"data":{}}]`, "\xff\xfe{", "", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := backfill.Detect(file); err != nil && !errors.Is(err, backfill.ErrFormat) {
			t.Fatal(err)
		}
		r, format, err := backfill.Open(bytes.NewReader(file))
		if err != nil {
			return
		}
		// What is opened can be cut, whatever it unpacks to, and whoever reads it ends.
		n := 0
		for chunk, err := range backfill.Chunks(io.LimitReader(r, 4<<20), format, 64<<10) {
			if err != nil {
				return
			}
			n += convert(t, format, string(chunk), target(t)).Lines
		}
		if n == 0 && format == backfill.IRC {
			t.Fatal("a log without a line")
		}
	})
}
