package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// upsertAttempts is how often a write of a whole document is tried when others write the same one
// for the first time: all but one of them get a duplicate key.
const upsertAttempts = 16

// refusals are the codes by which the server says that it won't take a document, ever. Any other
// error about a document may pass: the primary steps down, the disk is full, a quota is reached.
func isRefusal(code int) bool {
	return slices.Contains([]int{
		2,     // BadValue
		9,     // FailedToParse
		15,    // Overflow: nested too deeply
		22,    // InvalidBSON
		52,    // DollarPrefixedFieldName
		53,    // InvalidIdField
		56,    // EmptyFieldName
		57,    // DottedFieldName
		121,   // DocumentValidationFailure
		10334, // BSONObjectTooLarge
		17280, // KeyTooLong
		17419, // the resulting document is too large
		17420, // the document is too large
	}, code)
}

// Insert sends unordered insert commands of bounded size, one after the other.
func (s *Store) Insert(ctx context.Context, records []record.Record) ([]store.Result, error) {
	results := make([]store.Result, len(records))
	var (
		chunk []int // indexes of records
		size  int
	)
	flush := func() error {
		err := s.insert(ctx, records, chunk, results)
		chunk, size = chunk[:0], 0
		return err
	}
	for i := range records {
		r := &records[i]
		if err := (store.Doc{ID: r.ID, Raw: r.Doc}).Validate(); err != nil {
			results[i] = store.Result{Outcome: store.Refused, Err: err}
			continue
		}
		if len(chunk) > 0 && (len(chunk) == s.cfg.InsertChunk || size+len(r.Doc) > insertBytes) {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		chunk = append(chunk, i)
		size += len(r.Doc)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return results, ctx.Err()
}

// insert sends one command and fills the results of its records.
func (s *Store) insert(ctx context.Context, records []record.Record, chunk []int, results []store.Result) error {
	if len(chunk) == 0 {
		return nil
	}
	docs := make([]bson.Raw, len(chunk))
	for i, n := range chunk {
		docs[i] = records[n].Doc
	}
	exchange, cancel := s.exchange(ctx)
	defer cancel()
	_, err := s.colls[store.Records].InsertMany(exchange, docs, options.InsertMany().SetOrdered(false))
	if err == nil {
		return nil
	}
	var command driver.CommandError
	if errors.As(err, &command) && isRefusal(int(command.Code)) && !command.HasErrorLabel("RetryableWriteError") {
		// The command as a whole is refused because of some document in it: find out which.
		if len(chunk) == 1 {
			results[chunk[0]] = store.Result{Outcome: store.Refused, Err: s.wrap(err, "insert %.80q", records[chunk[0]].ID)}
			return nil
		}
		half := len(chunk) / 2
		if err := s.insert(ctx, records, chunk[:half], results); err != nil {
			return err
		}
		return s.insert(ctx, records, chunk[half:], results)
	}
	var bulk driver.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil || len(bulk.WriteErrors) == 0 {
		return s.wrap(err, "insert %d records", len(chunk))
	}
	for _, e := range bulk.WriteErrors {
		if e.Index < 0 || e.Index >= len(chunk) {
			return s.wrap(err, "insert %d records: the server speaks of record %d", len(chunk), e.Index)
		}
		n := chunk[e.Index]
		switch id := records[n].ID; {
		case isDuplicateID(e.WriteError):
			results[n] = store.Result{Outcome: store.Existed}
		case e.Code == codeDuplicate:
			results[n] = store.Result{Outcome: store.Refused, Err: s.wrap(e, "insert %.80q: a unique index that is not ours refuses it", id)}
		case isRefusal(e.Code):
			results[n] = store.Result{Outcome: store.Refused, Err: s.wrap(e, "insert %.80q", id)}
		default:
			return s.wrap(err, "insert %d records", len(chunk))
		}
	}
	return nil
}

// isDuplicateID tells a duplicate _id from that of another unique index.
func isDuplicateID(e driver.WriteError) bool {
	if e.Code != codeDuplicate {
		return false
	}
	if pattern, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok {
		elements, err := pattern.Elements()
		return err == nil && len(elements) == 1 && elements[0].Key() == "_id"
	}
	// Older servers only say it in the text; FerretDB not even there, and it means _id.
	_, after, ok := strings.Cut(e.Message, " index: ")
	return !ok || strings.HasPrefix(after, "_id_ ") || after == "_id_"
}

// hasDuplicateID reports whether a duplicate _id is all that is wrong.
func hasDuplicateID(err error) bool {
	var (
		one  driver.WriteException
		bulk driver.BulkWriteException
	)
	switch {
	case errors.As(err, &bulk):
		return bulk.WriteConcernError == nil && len(bulk.WriteErrors) > 0 &&
			!slices.ContainsFunc(bulk.WriteErrors, func(e driver.BulkWriteError) bool { return !isDuplicateID(e.WriteError) })
	case errors.As(err, &one):
		return one.WriteConcernError == nil && len(one.WriteErrors) > 0 &&
			!slices.ContainsFunc(one.WriteErrors, func(e driver.WriteError) bool { return !isDuplicateID(e) })
	}
	return false
}

// CompareAndSet inserts at revision 0, and else replaces the document of that _id and revision.
func (s *Store) CompareAndSet(ctx context.Context, c store.Collection, rev int64, d store.Doc) error {
	coll, err := s.collection(c)
	if err != nil {
		return err
	}
	if err := d.ValidateRevision(rev); err != nil {
		return fmt.Errorf("write to %s: %w", c, err)
	}
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	var conflict bool
	if rev == 0 {
		_, err = coll.InsertOne(ctx, d.Raw)
		conflict = hasDuplicateID(err)
	} else {
		var res *driver.UpdateResult
		res, err = coll.ReplaceOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "rev", Value: rev}}, d.Raw)
		conflict = err == nil && res.MatchedCount == 0
	}
	if conflict {
		return fmt.Errorf("write %s of %s at revision %d: %w", d.ID, c, rev, store.ErrConflict)
	}
	if err != nil {
		return s.wrap(err, "write %s of %s at revision %d", d.ID, c, rev)
	}
	return nil
}

// Put replaces or inserts whole documents.
func (s *Store) Put(ctx context.Context, c store.Collection, docs []store.Doc) error {
	coll, err := s.collection(c)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("write to %s: %w", c, err)
		}
	}
	filter := func(d store.Doc) bson.D { return bson.D{{Key: "_id", Value: d.ID}} }
	if err := s.replaceAll(ctx, coll, docs, filter, func(store.Doc) (bool, error) { return false, nil }); err != nil {
		return s.wrap(err, "write %d documents to %s", len(docs), c)
	}
	return ctx.Err()
}

// PutFenced replaces or inserts whole documents where no higher epoch is stored. The filter keeps
// it from matching a document of a higher epoch, and the insert that is then tried fails.
func (s *Store) PutFenced(ctx context.Context, c store.Collection, epoch int64, docs []store.Doc) error {
	coll, err := s.collection(c)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := d.ValidateEpoch(epoch); err != nil {
			return fmt.Errorf("write to %s: %w", c, err)
		}
	}
	fenced := 0
	filter := func(d store.Doc) bson.D {
		return bson.D{
			{Key: "_id", Value: d.ID},
			// $not $gt, not $lte: it matches a document without an epoch too.
			{Key: "epoch", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: epoch}}}}},
		}
	}
	// A duplicate _id means a higher epoch, or another that wrote it for the first time just then.
	isFenced := func(d store.Doc) (bool, error) {
		raw, err := s.Get(ctx, c, d.ID)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		stored, ok := raw.Lookup("epoch").AsInt64OK()
		if ok && stored > epoch {
			fenced++
			return true, nil
		}
		return false, nil
	}
	if err := s.replaceAll(ctx, coll, docs, filter, isFenced); err != nil {
		return s.wrap(err, "write %d documents to %s in epoch %d", len(docs), c, epoch)
	}
	if fenced > 0 {
		return fmt.Errorf("write %d documents to %s in epoch %d: %d of them: %w", len(docs), c, epoch, fenced, store.ErrFenced)
	}
	return ctx.Err()
}

// distinct leaves the last document of each _id: the writes of a command are in no order.
func distinct(docs []store.Doc) []store.Doc {
	last := make(map[string]int, len(docs))
	for i, d := range docs {
		last[d.ID] = i
	}
	if len(last) == len(docs) {
		return docs
	}
	out := make([]store.Doc, 0, len(last))
	for i, d := range docs {
		if last[d.ID] == i {
			out = append(out, d)
		}
	}
	return out
}

// replaceAll replaces or inserts what the filters match, chunk by chunk. Where one gets a duplicate
// _id, settled tells whether that is the last word; otherwise it is tried again.
func (s *Store) replaceAll(ctx context.Context, coll *driver.Collection, docs []store.Doc,
	filter func(store.Doc) bson.D, settled func(store.Doc) (bool, error),
) error {
	for chunk := range slices.Chunk(distinct(docs), s.cfg.UpdateChunk) {
		err := s.replace(ctx, coll, chunk, filter)
		if err == nil {
			continue
		}
		if !hasDuplicateID(err) {
			return err
		}
		// It happens seldom, so all are sent again, one by one: that does no harm, and does not rely on
		// the rest of a command being carried out, which FerretDB doesn't do.
		for _, d := range chunk {
			if err := s.replaceOne(ctx, coll, d, filter, settled); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) replaceOne(ctx context.Context, coll *driver.Collection, d store.Doc,
	filter func(store.Doc) bson.D, settled func(store.Doc) (bool, error),
) error {
	for attempt := 1; ; attempt++ {
		err := s.replace(ctx, coll, []store.Doc{d}, filter)
		if err == nil {
			return nil
		}
		if !hasDuplicateID(err) || attempt == upsertAttempts {
			return err
		}
		if done, err := settled(d); done || err != nil {
			return err
		}
	}
}

// replace sends one command.
func (s *Store) replace(ctx context.Context, coll *driver.Collection, docs []store.Doc, filter func(store.Doc) bson.D) error {
	models := make([]driver.WriteModel, len(docs))
	for i, d := range docs {
		models[i] = driver.NewReplaceOneModel().SetFilter(filter(d)).SetReplacement(d.Raw).SetUpsert(true)
	}
	_, err := s.update(ctx, coll, models)
	return err
}

// Replace replaces what has the _id and every element of the old document, chunk by chunk.
func (s *Store) Replace(ctx context.Context, c store.Collection, changes []store.Change) error {
	coll, err := s.collection(c)
	if err != nil {
		return err
	}
	models := make([]driver.WriteModel, len(changes))
	for i, change := range changes {
		if err := change.Validate(); err != nil {
			return fmt.Errorf("write to %s: %w", c, err)
		}
		models[i] = driver.NewReplaceOneModel().SetFilter(unchanged(change.Old)).SetReplacement(change.New)
	}
	others := len(changes)
	for chunk := range slices.Chunk(models, s.cfg.UpdateChunk) {
		n, err := s.update(ctx, coll, chunk)
		if err != nil {
			return s.wrap(err, "replace %d documents of %s", len(changes), c)
		}
		others -= n
	}
	if others > 0 {
		return fmt.Errorf("replace %d documents of %s: %d of them: %w", len(changes), c, others, store.ErrConflict)
	}
	return ctx.Err()
}

// unchanged matches a document that has every element of one that is valid, its _id first, as it was.
func unchanged(old bson.Raw) bson.D {
	var filter bson.D
	elements, _ := old.Elements() // Validate has read them
	for _, elem := range elements {
		filter = append(filter, bson.E{Key: elem.Key(), Value: bson.D{{Key: "$eq", Value: elem.Value()}}})
	}
	return filter
}

// update sends one command of writes that are in no order, and returns how many found their document.
func (s *Store) update(ctx context.Context, coll *driver.Collection, models []driver.WriteModel) (int, error) {
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	res, err := coll.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if err != nil {
		return 0, err
	}
	return int(res.MatchedCount), nil
}

// DeleteIf deletes by _id and value.
func (s *Store) DeleteIf(ctx context.Context, c store.Collection, id, field, value string) (bool, error) {
	coll, err := s.collection(c)
	if err != nil {
		return false, err
	}
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	res, err := coll.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: field, Value: value}})
	if err != nil {
		return false, s.wrap(err, "delete %s of %s", id, c)
	}
	return res.DeletedCount > 0, nil
}

// Delete is one command, bounded by the context alone.
func (s *Store) Delete(ctx context.Context, q store.Query) (int, error) {
	coll, err := s.collection(q.Collection)
	if err != nil {
		return 0, err
	}
	res, err := coll.DeleteMany(ctx, filterOf(q))
	if err != nil {
		return 0, s.wrap(err, "delete %s", q.Collection)
	}
	return int(res.DeletedCount), nil
}
