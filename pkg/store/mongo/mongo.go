// Package mongo is the store on MongoDB. Every write waits for a majority of the replica set and
// its journal, every read sees what a majority has.
//
// The documents' bytes are passed on as they are, never decoded and built anew.
package mongo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// Config says where the database is and how it is spoken to.
type Config struct {
	// URI is a connection string without a password: mongodb://host1,host2/?replicaSet=rs0. Its
	// read preference, read concern and write concern are overruled. Required.
	URI string
	// Database is the database's name. Default tungstene.
	Database string
	// Username and Password log in. They come from elsewhere than the URI, which is seen in
	// process lists and configuration files. Default no login.
	Username string
	Password string
	// AuthSource is the database that the user is defined in. Default the URI's, else admin.
	AuthSource string
	// TLS is used where it is set, whatever the URI says. Default the URI's.
	TLS *tls.Config
	// Explain may add a remedy to why the server can't be reached. Default: none.
	Explain func(error) error
	// AppName is how the server's log and currentOp name this program. Default tungstene.
	AppName string
	// Timeout bounds one exchange with the server, the wait for the majority among it. When it is
	// over, the write may still be done by the server. Default 15 s.
	Timeout time.Duration
	// ConnectTimeout bounds the making of a connection. Default 5 s.
	ConnectTimeout time.Duration
	// SelectTimeout bounds the wait for a primary, longer than an election takes. Default 10 s.
	SelectTimeout time.Duration
	// MaxPoolSize is the most connections to a server. Default the URI's maxPoolSize, else 16.
	MaxPoolSize int
	// InsertChunk is the most records of one insert command. Default 1000.
	InsertChunk int
	// UpdateChunk is the most writes of whole documents in one command. FerretDB stops for ever at
	// more than 100. Default 50.
	UpdateChunk int
	// FindBatch is the most documents that one answer of a scan carries. Default 1000.
	FindBatch int
}

const defaultPoolSize = 16

// insertBytes bounds an insert command, far below the server's 48 MB.
const insertBytes = 8 << 20

// Store is a store.Store in a database of MongoDB.
type Store struct {
	cfg    Config
	client *driver.Client
	db     *driver.Database
	colls  map[store.Collection]*driver.Collection
}

var _ store.Store = (*Store)(nil)

// Open checks the configuration and prepares a client. It does not wait for the server: a role
// can start before its database; Check and Declare tell whether it is there.
func Open(_ context.Context, cfg Config) (*Store, error) {
	setDefault(&cfg.Database, "tungstene")
	setDefault(&cfg.AppName, "tungstene")
	setDefault(&cfg.Timeout, 15*time.Second)
	setDefault(&cfg.ConnectTimeout, 5*time.Second)
	setDefault(&cfg.SelectTimeout, 10*time.Second)
	setDefault(&cfg.InsertChunk, 1000)
	setDefault(&cfg.UpdateChunk, 50)
	setDefault(&cfg.FindBatch, 1000)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure mongodb: %w", err)
	}
	journal := true
	opts := options.Client().ApplyURI(cfg.URI).
		SetAppName(cfg.AppName).
		SetConnectTimeout(cfg.ConnectTimeout).
		SetServerSelectionTimeout(cfg.SelectTimeout).
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal})
	switch {
	case cfg.MaxPoolSize > 0:
		opts.SetMaxPoolSize(uint64(cfg.MaxPoolSize))
	case opts.MaxPoolSize == nil:
		opts.SetMaxPoolSize(defaultPoolSize)
	}
	if cfg.Username != "" {
		auth := options.Credential{Username: cfg.Username, Password: cfg.Password, PasswordSet: true, AuthSource: cfg.AuthSource}
		if opts.Auth != nil {
			auth.AuthMechanism, auth.AuthMechanismProperties = opts.Auth.AuthMechanism, opts.Auth.AuthMechanismProperties
			setDefault(&auth.AuthSource, opts.Auth.AuthSource)
		}
		setDefault(&auth.AuthSource, "admin")
		opts.SetAuth(auth)
	}
	if cfg.TLS != nil {
		opts.SetTLSConfig(cfg.TLS)
	}
	s := &Store{cfg: cfg, colls: map[store.Collection]*driver.Collection{}}
	client, err := driver.Connect(opts)
	if err != nil {
		return nil, s.wrap(err, "configure mongodb")
	}
	s.client, s.db = client, client.Database(cfg.Database)
	for _, c := range store.Collections() {
		s.colls[c] = s.db.Collection(string(c))
	}
	return s, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// check refuses what can't work, and passwords where they don't belong. It names no value that
// could be a secret.
func (c Config) check() error {
	scheme, rest, ok := strings.Cut(c.URI, "://")
	if !ok || scheme != "mongodb" && scheme != "mongodb+srv" {
		return errors.New("the uri must begin with mongodb:// or mongodb+srv://")
	}
	authority, query, _ := strings.Cut(rest, "?")
	authority, _, _ = strings.Cut(authority, "/")
	// The last @ is the separator: a careless password may hold another.
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user := rest[:at]
		if strings.Contains(user, ":") {
			return errors.New("the uri holds a password: take it out, and name a file that holds it (password file)")
		}
		if c.Username != "" && strings.Contains(authority, "@") {
			return errors.New("the uri holds a user and so does the configuration: take it out of the uri")
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the options of the uri (after ?) are not well-formed")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.Contains(strings.ToLower(name), "password") ||
			strings.EqualFold(name, "authMechanismProperties") && strings.Contains(strings.ToUpper(values.Get(name)), "TOKEN") {
			return fmt.Errorf("the uri holds a secret (%s): take it out", name)
		}
	}
	if c.Password != "" && c.Username == "" {
		return errors.New("a password without a username")
	}
	if c.Timeout < 0 || c.ConnectTimeout < 0 || c.SelectTimeout < 0 || c.MaxPoolSize < 0 || c.InsertChunk < 0 ||
		c.UpdateChunk < 0 || c.FindBatch < 0 || c.FindBatch > 100_000 {
		return errors.New("time-outs and sizes must not be negative, and the find batch at most 100000")
	}
	return nil
}

// index is one index of ours; with kinds, of the documents of those kinds alone.
type index struct {
	name  string
	keys  bson.D
	kinds []record.Kind
}

// model is how the index is declared: partial, or of a server that has no partial indexes, whole.
func (i index) model(partial bool) driver.IndexModel {
	opts := options.Index().SetName(i.name)
	if partial && i.kinds != nil {
		opts.SetPartialFilterExpression(bson.D{{Key: "kind", Value: bson.D{{Key: "$in", Value: i.kinds}}}})
	}
	return driver.IndexModel{Keys: i.keys, Options: opts}
}

func keysOf(names ...string) bson.D {
	d := make(bson.D, 0, len(names))
	for _, n := range names {
		d = append(d, bson.E{Key: n, Value: int32(1)})
	}
	return d
}

// indexes are those that queries need. They end with _id so that the order of Find is the index's,
// and nothing is sorted in memory.
func indexes(c store.Collection) []index {
	byTime := index{name: "event_time", keys: keysOf("event", "time", "_id")}
	switch c {
	case store.Records:
		return []index{
			byTime,
			{name: "event_kind_channel_time", keys: keysOf("event", "kind", "channel", "time", "_id")},
			{name: "event_kind_time", keys: keysOf("event", "kind", "time", "_id"), kinds: store.RareKinds()},
		}
	case store.Minutes, store.Hours, store.Totals:
		return []index{byTime, {name: "event_channel_time", keys: keysOf("event", "channel", "time", "_id")}}
	default:
		return []index{byTime}
	}
}

// Declare makes the indexes that aren't there. It can be called at every start, by many at once.
// An index of the same name or keys but different otherwise is an error, and left alone.
func (s *Store) Declare(ctx context.Context) error {
	for _, c := range store.Collections() {
		for _, i := range indexes(c) {
			// Building one over many documents takes longer than an exchange may.
			_, err := s.colls[c].Indexes().CreateOne(ctx, i.model(true))
			var e driver.ServerError
			if i.kinds != nil && errors.As(err, &e) && e.HasErrorCode(codeNotImplemented) {
				_, err = s.colls[c].Indexes().CreateOne(ctx, i.model(false))
			}
			if errors.As(err, &e) && (e.HasErrorCode(codeIndexOptionsConflict) || e.HasErrorCode(codeIndexKeySpecsConflict)) {
				return s.wrap(err, "declare index %s of %s: there is another of that name or those keys; look at db.%s.getIndexes() and drop it",
					i.name, c, c)
			}
			if err != nil {
				return s.wrap(err, "declare index %s of %s", i.name, c)
			}
		}
	}
	return nil
}

// collection returns a collection that is known.
func (s *Store) collection(c store.Collection) (*driver.Collection, error) {
	coll, ok := s.colls[c]
	if !ok {
		return nil, fmt.Errorf("there is no collection %q", c)
	}
	return coll, nil
}

// exchange bounds one exchange with the server.
func (s *Store) exchange(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// Check deletes a document that there isn't, which needs a primary, the right to write, and a
// majority that follows.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	if _, err := s.colls[store.Progress].DeleteOne(ctx, bson.D{{Key: "_id", Value: "check"}}); err != nil {
		return s.wrap(err, "check mongodb")
	}
	return nil
}

// Close ends the connections. It is safe to call twice.
func (s *Store) Close() error {
	ctx, cancel := s.exchange(context.Background())
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil && !errors.Is(err, driver.ErrClientDisconnected) {
		return s.wrap(err, "close mongodb")
	}
	return nil
}

// The codes of MongoDB that are told apart.
const (
	codeDuplicate             = 11000
	codeAuthenticationFailed  = 18
	codeUnauthorized          = 13
	codeIndexOptionsConflict  = 85
	codeIndexKeySpecsConflict = 86
	codeNotImplemented        = 238
)

// redacted is an error whose text has no secrets.
type redacted struct {
	err  error
	text string
}

// ErrRights says that the user may not do that.
var ErrRights = errors.New("the user lacks the right")

func (r redacted) Is(target error) bool {
	var e driver.ServerError
	return target == ErrRights && errors.As(r.err, &e) && e.HasErrorCode(codeUnauthorized)
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.err }

// wrap says what was being done, and takes the password out of what the driver says.
func (s *Store) wrap(err error, format string, args ...any) error {
	if s.cfg.Explain != nil {
		err = s.cfg.Explain(err)
	}
	text := err.Error()
	for _, secret := range []string{s.cfg.Password, url.QueryEscape(s.cfg.Password), url.PathEscape(s.cfg.Password)} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	var e driver.ServerError
	if errors.As(err, &e) {
		switch {
		case e.HasErrorCode(codeAuthenticationFailed):
			text = "the server refuses the login; check username, password and authentication database: " + text
		case e.HasErrorCode(codeUnauthorized):
			text = "the user lacks the right; 'tungstene permissions apply --database' gives each role what it needs in " + s.cfg.Database + ": " + text
		}
	}
	return redacted{err: err, text: fmt.Sprintf(format, args...) + ": " + text}
}
