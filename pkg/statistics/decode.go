package statistics

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// parts says what of a statistics document is decoded beside its plain numbers.
type parts uint

const (
	withSketch parts = 1 << iota
	withEmotes
	onlyDonations // identity, coverage and donations; nothing else

	everything = withSketch | withEmotes
)

var errMalformed = errors.New("it is no statistics document")

// decode reads a statistics document as bson.Unmarshal does, in a tenth of its time. The sketch is a part
// of raw. An element that is not known, or of another type, is left out.
func decode(raw bson.Raw, into *record.Statistics, want parts) error {
	*into = record.Statistics{}
	d := decoder{into: into, want: want}
	if !d.walk(raw, d.top) || into.ID == "" {
		return fmt.Errorf("read %s: %w", store.DocID(raw), errMalformed)
	}
	return nil
}

type decoder struct {
	into *record.Statistics
	want parts
}

// walk calls f for each element; false where the document is malformed.
func (decoder) walk(doc []byte, f func(key []byte, v bsoncore.Value)) bool {
	length, rest, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) || length < 5 {
		return false
	}
	for len(rest) > 1 {
		elem, tail, ok := bsoncore.ReadElement(rest)
		if !ok {
			return false
		}
		i := 1
		for i < len(elem) && elem[i] != 0 {
			i++
		}
		if i >= len(elem) {
			return false
		}
		f(elem[1:i], bsoncore.Value{Type: bsoncore.Type(elem[0]), Data: elem[i+1:]})
		rest = tail
	}
	return true
}

func text(v bsoncore.Value) string {
	if v.Type != bsoncore.TypeString || len(v.Data) < 5 {
		return ""
	}
	s, _ := v.StringValueOK()
	return s
}

func whole(v bsoncore.Value) int64 {
	switch v.Type {
	case bsoncore.TypeInt32:
		n, _ := v.Int32OK()
		return int64(n)
	case bsoncore.TypeInt64:
		n, _ := v.Int64OK()
		return n
	default:
		return 0
	}
}

func fraction(v bsoncore.Value) float64 {
	if n, ok := v.DoubleOK(); ok {
		return n
	}
	return float64(whole(v))
}

func moment(v bsoncore.Value) time.Time {
	ms, ok := v.DateTimeOK()
	if !ok || ms <= yearOne {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// yearOne is the zero time in Unix milliseconds.
const yearOne = -62135596800000

func (d decoder) top(key []byte, v bsoncore.Value) {
	s := d.into
	switch string(key) { // does not allocate
	case "_id":
		s.ID = text(v)
		return
	case "event":
		s.Event = text(v)
		return
	case "channel":
		s.Channel = text(v)
		return
	case "time":
		s.Time = moment(v)
		return
	case "through":
		s.Through = moment(v)
		return
	case "state":
		s.State = text(v)
		return
	case "minutes":
		s.Minutes = int(whole(v))
		return
	case "coverage":
		d.walk(v.Data, d.coverage)
		return
	case "donations":
		d.walk(v.Data, d.donations)
		return
	}
	if d.want&onlyDonations == 0 {
		d.number(key, v)
	}
}

func (d decoder) number(key []byte, v bsoncore.Value) {
	s := d.into
	switch string(key) {
	case "epoch":
		s.Epoch = whole(v)
	case "counted":
		s.Counted = moment(v)
	case "messages":
		s.Messages = whole(v)
	case "shared_copies":
		s.SharedCopies = whole(v)
	case "first_messages":
		s.FirstMessages = whole(v)
	case "chatters":
		d.walk(v.Data, d.chatters)
	case "emotes":
		d.walk(v.Data, d.emotes)
	case "bits":
		s.Bits = whole(v)
	case "cheers":
		s.Cheers = whole(v)
	case "subs":
		s.Subs = whole(v)
	case "resubs":
		s.Resubs = whole(v)
	case "gifts":
		s.Gifts = whole(v)
	case "gift_bombs":
		s.GiftBombs = whole(v)
	case "upgrades":
		s.Upgrades = whole(v)
	case "raids":
		s.Raids = whole(v)
	case "raid_viewers":
		s.RaidViewers = whole(v)
	case "notices":
		s.Notices = whole(v)
	case "bans":
		s.Bans = whole(v)
	case "timeouts":
		s.Timeouts = whole(v)
	case "deletes":
		s.Deletes = whole(v)
	case "clears":
		s.Clears = whole(v)
	case "viewers":
		d.walk(v.Data, d.viewers)
	}
}

func (d decoder) chatters(key []byte, v bsoncore.Value) {
	c := &d.into.Chatters
	switch string(key) {
	case "estimate":
		c.Estimate = whole(v)
	case "error":
		c.Error = fraction(v)
	case "sketch":
		if d.want&withSketch != 0 {
			_, c.Sketch, _ = v.BinaryOK()
		}
	}
}

func (d decoder) emotes(key []byte, v bsoncore.Value) {
	e := &d.into.Emotes
	switch string(key) {
	case "total":
		e.Total = whole(v)
	case "truncated":
		e.Truncated, _ = v.BooleanOK()
	case "top":
		if d.want&withEmotes == 0 {
			return
		}
		d.walk(v.Data, func(_ []byte, v bsoncore.Value) {
			var one record.Emote
			d.walk(v.Data, func(key []byte, v bsoncore.Value) {
				switch string(key) {
				case "id":
					one.ID = text(v)
				case "name":
					one.Name = text(v)
				case "count":
					one.Count = int(whole(v))
				}
			})
			e.Top = append(e.Top, one)
		})
	}
}

func (d decoder) viewers(key []byte, v bsoncore.Value) {
	a := &d.into.Viewers
	switch string(key) {
	case "average":
		a.Average = fraction(v)
	case "peak":
		a.Peak = whole(v)
	case "peak_at":
		a.PeakAt = moment(v)
	case "watch_minutes":
		a.WatchMinutes = fraction(v)
	case "live_minutes":
		a.LiveMinutes = whole(v)
	case "sampled_minutes":
		a.SampledMinutes = whole(v)
	case "span_minutes":
		a.SpanMinutes = whole(v)
	}
}

func (d decoder) coverage(key []byte, v bsoncore.Value) {
	c := &d.into.Coverage
	switch string(key) {
	case "chat":
		c.Chat = text(v)
	case "seconds":
		c.Seconds = fraction(v)
	case "expected":
		c.Expected = fraction(v)
	case "viewers":
		c.Viewers = text(v)
	}
}

func (d decoder) donations(_ []byte, v bsoncore.Value) {
	var one record.Donations
	d.walk(v.Data, func(key []byte, v bsoncore.Value) {
		switch string(key) {
		case "source":
			one.Source = text(v)
		case "currency":
			one.Currency = text(v)
		case "count":
			one.Count = whole(v)
		case "cents":
			one.Cents = whole(v)
		case "largest":
			one.Largest = whole(v)
		case "samples":
			one.Samples = whole(v)
		case "first":
			one.First = whole(v)
		case "first_at":
			one.FirstAt = moment(v)
		case "total":
			one.Total = whole(v)
		case "total_at":
			one.TotalAt = moment(v)
		case "sum":
			one.Sum = whole(v)
		case "sum_at":
			one.SumAt = moment(v)
		case "channels":
			one.Channels = whole(v)
		case "seconds":
			one.Seconds = fraction(v)
		}
	})
	d.into.Donations = append(d.into.Donations, one)
}

// amount reads a sample of a running total, as decode does.
func amount(raw bson.Raw) (a record.Amount) {
	decoder{}.walk(raw, func(key []byte, v bsoncore.Value) {
		switch string(key) {
		case "time":
			a.Time = moment(v)
		case "source":
			a.Source = text(v)
		case "member":
			a.Member = text(v)
		case "money":
			decoder{}.walk(v.Data, func(key []byte, v bsoncore.Value) {
				switch string(key) {
				case "cents":
					a.Money.Cents = whole(v)
				case "currency":
					a.Money.Currency = text(v)
				}
			})
		}
	})
	return a
}
