package store

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// MaxDocumentBytes is the largest document that a store takes: MongoDB's own limit.
const MaxDocumentBytes = 16 << 20

// ErrInvalid is wrapped by the errors about documents that no store takes.
var ErrInvalid = errors.New("invalid document")

// Validate checks what every implementation asks of a document: it is well-formed BSON of at most
// MaxDocumentBytes, and its first element is _id, a string, equal to ID and not empty.
func (d Doc) Validate() error {
	if len(d.Raw) > MaxDocumentBytes {
		return fmt.Errorf("%w: %.80q has %d bytes, the most is %d", ErrInvalid, d.ID, len(d.Raw), MaxDocumentBytes)
	}
	if err := bsoncore.Document(d.Raw).Validate(); err != nil {
		return fmt.Errorf("%w: %.80q is not BSON: %w", ErrInvalid, d.ID, err)
	}
	if n, _, ok := bsoncore.ReadLength(d.Raw); !ok || int(n) != len(d.Raw) {
		return fmt.Errorf("%w: %.80q says %d bytes and has %d", ErrInvalid, d.ID, n, len(d.Raw))
	}
	switch id := DocID(d.Raw); {
	case id == "":
		return fmt.Errorf("%w: %.80q does not begin with an _id, a string that is not empty", ErrInvalid, d.ID)
	case id != d.ID:
		return fmt.Errorf("%w: %.80q holds the _id %.80q", ErrInvalid, d.ID, id)
	}
	return nil
}

// ValidateRevision checks a document that CompareAndSet is to write: Validate, and its element rev
// is rev+1.
func (d Doc) ValidateRevision(rev int64) error {
	if rev < 0 {
		return fmt.Errorf("%w: %.80q expected at revision %d, the least is 0", ErrInvalid, d.ID, rev)
	}
	if err := d.Validate(); err != nil {
		return err
	}
	if got, ok := d.Raw.Lookup("rev").AsInt64OK(); !ok || got != rev+1 {
		return fmt.Errorf("%w: %.80q must have the element rev %d", ErrInvalid, d.ID, rev+1)
	}
	return nil
}

// ValidateEpoch checks a document that PutFenced is to write: Validate, and its element epoch is
// epoch.
func (d Doc) ValidateEpoch(epoch int64) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if got, ok := d.Raw.Lookup("epoch").AsInt64OK(); !ok || got != epoch {
		return fmt.Errorf("%w: %.80q must have the element epoch %d", ErrInvalid, d.ID, epoch)
	}
	return nil
}

// Validate checks both documents of a change.
func (c Change) Validate() error {
	return errors.Join(Doc{ID: c.ID, Raw: c.Old}.Validate(), Doc{ID: c.ID, Raw: c.New}.Validate())
}

// DocID returns the _id of a document whose first element is a string of that name, else "".
func DocID(raw bson.Raw) string {
	if len(raw) < 5 {
		return ""
	}
	elem, _, ok := bsoncore.ReadElement(raw[4:])
	if !ok || elem.Key() != "_id" {
		return ""
	}
	id, _ := elem.Value().StringValueOK()
	return id
}
