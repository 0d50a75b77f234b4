package mongo_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/testmongo"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/mongo"
	"github.com/tungstene/tungstene/pkg/store/storetest"
)

// server is one for all tests of the package.
var (
	server    *testmongo.Server
	errServer error
)

func TestMain(m *testing.M) {
	server, errServer = testmongo.Start(context.Background())
	if errServer == nil && !server.Real() {
		// It takes milliseconds where a database takes microseconds. The command line overrules it.
		if err := flag.Set("rapid.checks", "20"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if server != nil {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}), goleak.IgnoreCurrent())
}

func config(tb testing.TB) mongo.Config {
	tb.Helper()
	if errServer != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal(errServer)
		}
		tb.Skip(errServer)
	}
	return mongo.Config{URI: server.URI(), Database: server.Database(), MaxPoolSize: server.MaxPoolSize()}
}

func open(tb testing.TB, cfg mongo.Config) *mongo.Store {
	tb.Helper()
	s, err := mongo.Open(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Declare(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
		if err := server.Drop(context.Background(), cfg.Database); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	cfg := config(t)
	t.Logf("the suite runs on %s", server)
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		cfg := cfg
		cfg.Database = server.Database()
		return open(t, cfg)
	})
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  mongo.Config
		want string
	}{
		"nothing":          {mongo.Config{}, "mongodb://"},
		"another scheme":   {mongo.Config{URI: "postgres://h/"}, "mongodb://"},
		"password":         {mongo.Config{URI: "mongodb://u:hunter2@h1,h2/db"}, "password file"},
		"careless":         {mongo.Config{URI: "mongodb://u:hunter2/@x@h1:1,h2:2/db?a=b"}, "password file"},
		"srv":              {mongo.Config{URI: "mongodb+srv://u:hunter2@h/"}, "password file"},
		"two users":        {mongo.Config{URI: "mongodb://u@h/", Username: "v", Password: "hunter2"}, "the uri holds a user"},
		"key password":     {mongo.Config{URI: "mongodb://h/?tlsCertificateKeyFilePassword=hunter2"}, "tlsCertificateKeyFilePassword"},
		"token":            {mongo.Config{URI: "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2"}, "authMechanismProperties"},
		"password alone":   {mongo.Config{URI: "mongodb://h/", Password: "hunter2"}, "without a username"},
		"negative":         {mongo.Config{URI: "mongodb://h/", Timeout: -1}, "negative"},
		"batch":            {mongo.Config{URI: "mongodb://h/", FindBatch: 1 << 20}, "find batch"},
		"malformed option": {mongo.Config{URI: "mongodb://h/?a=%zz"}, "not well-formed"},
		"unknown value":    {mongo.Config{URI: "mongodb://h/?connectTimeoutMS=soon", Username: "u", Password: "hunter2"}, "connectTimeoutMS"},
		"no host":          {mongo.Config{URI: "mongodb:///"}, "host"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := mongo.Open(t.Context(), c.cfg)
			if err == nil {
				t.Fatal(s.Close())
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q does not say %q, or tells the secret", err, c.want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	// A port that was free a moment ago.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := mongo.Open(t.Context(), mongo.Config{
		URI: "mongodb://" + l.Addr().String() + "/", Username: "u", Password: "hunter2", SelectTimeout: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatalf("a store can be opened before its server is there: %v", err)
	}
	var findErr error
	for _, err := range s.Find(t.Context(), store.Query{Collection: store.Events}) {
		findErr = err
	}
	results, insertErr := s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 3, 1))
	if results != nil {
		t.Errorf("results %v", results)
	}
	_, getErr := s.Get(t.Context(), store.Events, "x")
	for what, err := range map[string]error{
		"check": s.Check(t.Context()), "declare": s.Declare(t.Context()), "find": findErr, "insert": insertErr, "get": getErr,
	} {
		if err == nil || errors.Is(err, store.ErrNotFound) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestDeclare(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	for range 2 {
		if err := s.Declare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	db := client(t).Database(cfg.Database)
	specs, err := db.Collection(string(store.Records)).Indexes().ListSpecifications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, spec := range specs {
		names = append(names, spec.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "_id_ event_kind_channel_time event_kind_time event_time" {
		t.Errorf("indexes %s", got)
	}

	// Somebody's index of our name and other keys.
	cfg.Database = server.Database()
	db = client(t).Database(cfg.Database)
	if _, err := db.Collection(string(store.Minutes)).Indexes().CreateOne(t.Context(), driver.IndexModel{
		Keys: bson.D{{Key: "state", Value: 1}}, Options: options.Index().SetName("event_time"),
	}); err != nil {
		t.Fatal(err)
	}
	other, err := mongo.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Declare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "declare index event_time of minutes: there is another") {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(other.Close(), server.Drop(t.Context(), cfg.Database)); err != nil {
		t.Error(err)
	}
}

// client is one beside the store's.
func client(t *testing.T) *driver.Client {
	t.Helper()
	c, err := driver.Connect(options.Client().ApplyURI(server.URI()).SetMaxPoolSize(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestRefusalsOfTheServer(t *testing.T) {
	cfg := config(t)
	if !server.Real() {
		t.Skipf("%s has no validators, and does not say which index refuses a document", server)
	}
	s := open(t, cfg)
	db := client(t).Database(cfg.Database)
	if _, err := db.Collection(string(store.Records)).Indexes().CreateOne(t.Context(), driver.IndexModel{
		Keys: bson.D{{Key: "chatter", Value: 1}}, Options: options.Index().SetUnique(true),
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.RunCommand(t.Context(), bson.D{
		{Key: "collMod", Value: string(store.Records)},
		{Key: "validator", Value: bson.D{{Key: "length", Value: bson.D{{Key: "$lt", Value: 1000}}}}},
	}).Err(); err != nil {
		t.Fatal(err)
	}
	records := storetest.Messages(t, "e1", 0, 4, 1)
	long, err := record.Encode(&record.Message{
		Header: record.Header{Event: "e1", Channel: "1", Time: time.Unix(1, 0)}, MessageID: "long", Chatter: "x", Length: 5000,
	})
	if err != nil {
		t.Fatal(err)
	}
	double, err := record.Encode(&record.Message{
		Header: record.Header{Event: "e1", Channel: "1", Time: time.Unix(1, 0)}, MessageID: "double", Chatter: "cm00000001",
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Insert(t.Context(), []record.Record{records[0], records[1], long, records[2], double, records[0]})
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Outcome{store.Inserted, store.Inserted, store.Refused, store.Inserted, store.Refused, store.Existed}
	for i, r := range results {
		if r.Outcome != want[i] || (r.Err != nil) != (want[i] == store.Refused) {
			t.Errorf("record %d: %+v, want %v", i, r, want[i])
		}
	}
}

func TestQueriesUseIndexes(t *testing.T) {
	cfg := config(t)
	if !server.Real() {
		t.Skipf("%s uses no index", server)
	}
	s := open(t, cfg)
	if _, err := s.Insert(t.Context(), storetest.Messages(t, "e1", 0, 5000, 20)); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2025, 9, 4, 18, 0, 1, 0, time.UTC)
	for index, filter := range map[string]bson.D{
		"event_time": {{Key: "event", Value: "e1"}, {Key: "time", Value: bson.D{{Key: "$gte", Value: from}}}},
		"event_kind_channel_time": {
			{Key: "event", Value: "e1"},
			{Key: "kind", Value: "message"},
			{Key: "channel", Value: "1001"},
			{Key: "time", Value: bson.D{{Key: "$gte", Value: from}}},
		},
	} {
		raw, err := client(t).Database(cfg.Database).RunCommand(t.Context(), bson.D{{Key: "explain", Value: bson.D{
			{Key: "find", Value: "records"},
			{Key: "filter", Value: filter},
			{Key: "sort", Value: bson.D{{Key: "time", Value: 1}, {Key: "_id", Value: 1}}},
		}}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		plan := raw.Lookup("queryPlanner", "winningPlan").String()
		if !strings.Contains(plan, `"`+index+`"`) || strings.Contains(plan, `"SORT"`) {
			t.Errorf("not by the index %s, or sorted in memory: %s", index, plan)
		}
	}
}

func Benchmark(b *testing.B) {
	if errServer != nil {
		b.Skip(errServer)
	}
	minute := 200_000
	if !server.Real() {
		minute = 2000 // it uses no index
	}
	b.Logf("on %s", server)
	storetest.Bench(b, func(b *testing.B) store.Store {
		b.Helper()
		cfg := config(b)
		cfg.Database = server.Database()
		return open(b, cfg)
	}, 500, minute)
}
