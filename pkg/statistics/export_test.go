package statistics

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/record"
)

// Decode is decode of everything.
func Decode(raw bson.Raw) (d record.Statistics, err error) {
	return d, decode(raw, &d, everything)
}
