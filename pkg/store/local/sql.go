package local

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"modernc.org/sqlite"

	"github.com/tungstene/tungstene/pkg/record"
)

// registered adds the function doc_json to what SQLite knows. The driver has one set of functions for
// the whole program, and refuses one twice.
//
//nolint:gochecknoglobals // the driver's own registry is global
var registered = sync.OnceValue(func() error {
	return sqlite.RegisterDeterministicScalarFunction("doc_json", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		switch doc := args[0].(type) {
		case nil:
			return nil, nil
		case []byte:
			text, err := record.JSON(bson.Raw(doc))
			if err != nil {
				return nil, fmt.Errorf("doc_json: %w", err)
			}
			return string(text), nil
		default:
			return nil, fmt.Errorf("doc_json: %T is no document: give it a column doc", doc)
		}
	})
})

// SQL is the file for queries in SQL; writing fails. Each collection is a table of its name with the
// columns event, kind, channel ("" for none), time (Unix milliseconds) and doc, the document in BSON,
// which the function doc_json turns into JSON for SQLite's own functions: doc_json(doc) ->> 'messages'.
func (s *Store) SQL() *sql.DB { return s.read }
