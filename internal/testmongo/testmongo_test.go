package testmongo_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/tungstene/tungstene/internal/testmongo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	s := testmongo.Run(t)
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	name := s.Database()
	if _, err := client.Database(name).Collection("c").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := client.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if s.Real() != (s.MaxPoolSize() == 0) {
		t.Errorf("%s: real %v, pool of %d", s, s.Real(), s.MaxPoolSize())
	}
	for range 2 { // and once more by Run
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
