package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/store"
	"github.com/tungstene/tungstene/pkg/store/mongo"
)

// The commands are what MongoDB takes.
func TestPermissionCommands(t *testing.T) {
	d := mongo.Grant{Database: "zevent", UserPrefix: "z-"}.Definitions()
	encode := func(command bson.D) string {
		t.Helper()
		b, err := bson.MarshalExtJSON(command, false, false)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	role := d.Roles[3]
	const privileges = `"privileges":[{"resource":{"db":"zevent","collection":""},"actions":["find","listCollections","listIndexes","collStats"]}],"roles":[]}`
	user := d.Users[3]
	for _, c := range []struct {
		got  bson.D
		want string
	}{
		{role.Command(false), `{"createRole":"zeventOperator",` + privileges},
		{role.Command(true), `{"updateRole":"zeventOperator",` + privileges},
		{user.Command(false, "hunter2"), `{"createUser":"z-operator","pwd":"hunter2","roles":[{"role":"zeventOperator","db":"admin"}]}`},
		{user.Command(true, "hunter2"), `{"updateUser":"z-operator","pwd":"hunter2","roles":[{"role":"zeventOperator","db":"admin"}]}`},
		{user.Command(true, ""), `{"updateUser":"z-operator","roles":[{"role":"zeventOperator","db":"admin"}]}`},
	} {
		if got := encode(c.got); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if len(d.Roles) != len(d.Users) {
		t.Errorf("%d roles, %d users", len(d.Roles), len(d.Users))
	}
}

// Rights are least: none is given twice, none outside of the collections that there are, none to
// run the server; those who only read may write nothing.
func TestPermissionsAreLeast(t *testing.T) {
	allowed := []string{"find", "insert", "update", "remove", "listCollections", "listIndexes", "collStats", "createCollection", "createIndex"}
	for _, p := range mongo.Permissions() {
		if p.Does == "" {
			t.Errorf("%s: it is not said what for", p.Role)
		}
		seen := map[store.Collection]bool{}
		for _, v := range p.Privileges {
			if seen[v.Collection] {
				t.Errorf("%s: %q is named twice", p.Role, v.Collection)
			}
			seen[v.Collection] = true
			if v.Collection != "" && !slices.Contains(store.Collections(), v.Collection) {
				t.Errorf("%s: there is no collection %q", p.Role, v.Collection)
			}
			for _, a := range v.Actions {
				if !slices.Contains(allowed, a) {
					t.Errorf("%s may %s", p.Role, a)
				}
				write := slices.Contains([]string{"insert", "update", "remove", "createCollection", "createIndex"}, a)
				if write && (p.Role == mongo.RoleAnalyst || p.Role == mongo.RoleOperator) {
					t.Errorf("%s may %s in %q", p.Role, a, v.Collection)
				}
				if v.Collection == "" && slices.Contains([]string{"insert", "update", "remove"}, a) {
					t.Errorf("%s may %s everywhere", p.Role, a)
				}
			}
		}
		// Letters hold batches as they came, tombstones tell who was forgotten.
		if p.Role == mongo.RoleAnalyst && (seen[store.Letters] || seen[store.Tombstones] || seen[store.Members]) {
			t.Errorf("an analyst reads %v", seen)
		}
	}
}

func TestGrantsPrintNoPasswords(t *testing.T) {
	g := mongo.Grant{Passwords: map[string]string{mongo.RoleMaster: "hunter2"}}
	if text := fmt.Sprintf("%v %+v %#v %s", g, g, g, g); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}

func TestApplyRefusesUnknownRoles(t *testing.T) {
	_, err := mongo.Apply(t.Context(), mongo.Config{URI: "mongodb://127.0.0.1:1/"}, mongo.Grant{Passwords: map[string]string{"nobody": "hunter2"}})
	if err == nil || !strings.Contains(err.Error(), `no role "nobody"`) {
		t.Error(err)
	}
	cfg := mongo.Config{URI: "mongodb://127.0.0.1:1/", SelectTimeout: 50 * time.Millisecond, Username: "root", Password: "hunter2"}
	_, err = mongo.Apply(t.Context(), cfg, mongo.Grant{Passwords: map[string]string{mongo.RoleMaster: "hunter3"}})
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
}

// On MongoDB itself, with users, each role can do its work and no more.
func TestPermissionsOnMongoDB(t *testing.T) {
	s, database := server, config(t).Database
	if !s.Real() {
		t.Skip("the stand-in has no roles; TUNGSTENE_TEST_MONGODB_URI names a MongoDB that has")
	}
	g := mongo.Grant{Database: database, UserPrefix: database + "-", Passwords: map[string]string{}}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := s.Drop(ctx, database); err != nil {
			t.Error(err)
		}
		admin := client(t).Database("admin")
		for _, u := range g.Definitions().Users {
			err := errors.Join(admin.RunCommand(ctx, bson.D{{Key: "dropUser", Value: u.User}}).Err(),
				admin.RunCommand(ctx, bson.D{{Key: "dropRole", Value: u.Role}}).Err())
			if err != nil {
				t.Error(err)
			}
		}
	})
	for _, p := range mongo.Permissions() {
		g.Passwords[p.Role] = "a-password-of-" + p.Role
	}
	for _, want := range []string{mongo.Created, mongo.Updated} {
		changes, err := mongo.Apply(t.Context(), mongo.Config{URI: s.URI()}, g)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Outcome != want {
				t.Errorf("%+v, want %s", c, want)
			}
		}
	}
	open := func(role string) *mongo.Store {
		st, err := mongo.Open(t.Context(), mongo.Config{URI: s.URI(), Database: database, Username: g.UserPrefix + role, Password: g.Passwords[role]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
		return st
	}
	for _, role := range []string{mongo.RoleMaster, mongo.RoleConsumer} {
		st := open(role)
		if err := errors.Join(st.Declare(t.Context()), st.Check(t.Context())); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	anybody, err := mongo.Open(t.Context(), mongo.Config{URI: s.URI(), Database: database})
	if err != nil {
		t.Fatal(err)
	}
	enforced := errors.Is(anybody.Check(t.Context()), mongo.ErrRights)
	if err := anybody.Close(); err != nil {
		t.Error(err)
	}
	for _, role := range []string{mongo.RoleAnalyst, mongo.RoleOperator} {
		st := open(role)
		for _, err := range st.Find(t.Context(), store.Query{Collection: store.Records, Limit: 1}) {
			if err != nil {
				t.Errorf("%s can't read records: %v", role, err)
			}
		}
		if err := st.Check(t.Context()); enforced && !errors.Is(err, mongo.ErrRights) {
			t.Errorf("%s may write: %v", role, err)
		}
	}
	for _, err := range open(mongo.RoleAnalyst).Find(t.Context(), store.Query{Collection: store.Letters, Limit: 1}) {
		if enforced && !errors.Is(err, mongo.ErrRights) {
			t.Errorf("an analyst may read letters: %v", err)
		}
	}
}
