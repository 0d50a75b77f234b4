package custody

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Values are shown to people: numbers as they are written.
func TestShow(t *testing.T) {
	for want, value := range map[string]any{
		"1080": int64(1080), "7": int32(7), "0.25": 0.25, `"closed"`: "closed", "true": true,
		"2026-09-04T18:00:00Z":     time.Date(2026, 9, 4, 18, 0, 0, 0, time.UTC),
		`{"chat":"whole","n":3}`:   bson.D{{Key: "chat", Value: "whole"}, {Key: "n", Value: int64(3)}},
		`[1,2]`:                    bson.A{int64(1), int32(2)},
		"3 bytes, n4bQgYhMfWWaL-q": bson.Binary{Data: []byte{1, 2, 3}},
	} {
		raw, err := bson.Marshal(bson.D{{Key: "v", Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		got := show(bson.Raw(raw).Lookup("v"))
		if _, binary := value.(bson.Binary); binary {
			if got[:7] != want[:7] {
				t.Errorf("%v is shown as %s", value, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%v is shown as %s, want %s", value, got, want)
		}
	}
	if got := show(bson.RawValue{}); got != "nothing" {
		t.Errorf("nothing is shown as %s", got)
	}
}
