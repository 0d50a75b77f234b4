package record

import (
	"strconv"
	"time"
)

// Mark is one document of the collection marks: it says that records of a closed minute, or of one
// about to close, were stored, so that the minute has to be counted (again). Whoever stores records
// writes it after them and before acknowledging them, whole, with a fresh nonce; the rollup deletes
// it after counting if it still has the nonce seen before.
type Mark struct {
	// ID is event and minute in Unix seconds joined by "/".
	ID    string `bson:"_id"`
	Event string `bson:"event"`
	// Channel is always empty: a mark is of all channels.
	Channel string `bson:"channel"`
	// Time is the start of the minute.
	Time time.Time `bson:"time"`
	// Nonce is different in each mark that was ever written.
	Nonce string `bson:"nonce"`
}

// NewMark makes the mark of t's minute.
func NewMark(event string, t time.Time, nonce string) Mark {
	t = Minute(t)
	return Mark{ID: event + "/" + strconv.FormatInt(t.Unix(), 10), Event: event, Time: t, Nonce: nonce}
}

// Progress is one document of the collection progress: how far an event's minutes are closed.
type Progress struct {
	// ID is the event's slug.
	ID    string `bson:"_id"   json:"event"`
	Epoch int64  `bson:"epoch" json:"epoch"`
	// ClosedThrough is the start of the last closed minute; the zero time when there is none.
	ClosedThrough time.Time `bson:"closed_through" json:"closed_through"`
	// Start and End are the event's as they were when its minutes were counted.
	Start time.Time `bson:"start" json:"start"`
	End   time.Time `bson:"end"   json:"end"`
	// Counted is when it was written.
	Counted time.Time `bson:"counted" json:"counted"`
}

// StatisticsID is the _id of a minute or hour document that starts at t; of a total, with the zero
// time.
func StatisticsID(event, channel string, t time.Time) string {
	if t.IsZero() {
		return event + "/" + channel
	}
	return event + "/" + channel + "/" + strconv.FormatInt(t.Unix(), 10)
}
