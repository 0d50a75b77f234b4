package mongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

func TestIsDuplicateID(t *testing.T) {
	raw := func(keys ...string) bson.Raw {
		pattern := keysOf(keys...)
		b, err := bson.Marshal(bson.D{{Key: "code", Value: 11000}, {Key: "keyPattern", Value: pattern}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		e    driver.WriteError
		want bool
	}{
		"by pattern":         {driver.WriteError{Code: 11000, Raw: raw("_id")}, true},
		"another by pattern": {driver.WriteError{Code: 11000, Raw: raw("chatter")}, false},
		"compound":           {driver.WriteError{Code: 11000, Raw: raw("_id", "event")}, false},
		"by text": {driver.WriteError{Code: 11000, Message: `E11000 duplicate key error collection: t.records ` +
			`index: _id_ dup key: { _id: "x index: y" }`}, true},
		"another by text": {driver.WriteError{Code: 11000, Message: `E11000 duplicate key error collection: t.records ` +
			`index: chatter_1 dup key: { chatter: "_id_ " }`}, false},
		"without an index": {driver.WriteError{Code: 11000, Message: "E11000 duplicate key error collection: t.records"}, true},
		"another error":    {driver.WriteError{Code: 121, Message: "Document failed validation"}, false},
	} {
		if got := isDuplicateID(c.e); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHasDuplicateID(t *testing.T) {
	double := driver.WriteError{Code: 11000}
	other := driver.WriteError{Code: 121}
	late := &driver.WriteConcernError{Code: 64, Message: "waiting for replication timed out"}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"one":             {driver.WriteException{WriteErrors: driver.WriteErrors{double}}, true},
		"one, not stored": {driver.WriteException{WriteErrors: driver.WriteErrors{double}, WriteConcernError: late}, false},
		"one of another":  {driver.WriteException{WriteErrors: driver.WriteErrors{other}}, false},
		"many":            {driver.BulkWriteException{WriteErrors: []driver.BulkWriteError{{WriteError: double}, {WriteError: double}}}, true},
		"many, mixed":     {driver.BulkWriteException{WriteErrors: []driver.BulkWriteError{{WriteError: double}, {WriteError: other}}}, false},
		"many, late":      {driver.BulkWriteException{WriteConcernError: late}, false},
		"none":            {nil, false},
	} {
		if got := hasDuplicateID(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
