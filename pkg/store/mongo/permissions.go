package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tungstene/tungstene/pkg/store"
)

// The users of a database, one a role. Collectors have none: they never see it.
const (
	RoleMaster   = "master"
	RoleConsumer = "consumer"
	RoleAnalyst  = "analyst"
	RoleOperator = "operator"
)

// Privilege is a right to do some actions on one collection; the empty name is all collections.
type Privilege struct {
	Collection store.Collection
	Actions    []string
}

// Permission is what the user of one role may do in the database, and nowhere else.
type Permission struct {
	Role string
	// Does says what the role needs it for.
	Does       string
	Privileges []Privilege
}

// everything is what masters and consumers may do with all collections: they read them, and declare
// them and their indexes at their start.
func everything() Privilege {
	return Privilege{Actions: []string{"find", "listCollections", "listIndexes", "createCollection", "createIndex"}}
}

func on(actions []string, collections ...store.Collection) []Privilege {
	out := make([]Privilege, len(collections))
	for i, c := range collections {
		out[i] = Privilege{c, actions}
	}
	return out
}

// Permissions lists the least that each role needs.
func Permissions() []Permission {
	var (
		write  = []string{"insert", "update", "remove"}
		change = []string{"insert", "update"}
		look   = []string{"find", "listIndexes", "collStats"}
	)
	return []Permission{
		{
			RoleMaster,
			"events, channels, assignments, members, leases, corrections, goals and the state documents of repair and privacy; records " +
				"that are uploaded and their marks; the readiness check removes from progress what is not there",
			slices.Concat([]Privilege{everything()},
				on(write, store.Events, store.Channels, store.Assignments, store.Members, store.Leases, store.Marks,
					store.Letters, store.Tombstones, store.Manifests, store.Drains, store.Goals),
				on([]string{"insert"}, store.Corrections),
				on([]string{"insert", "remove"}, store.Records),
				on([]string{"remove"}, store.Progress)),
		},
		{
			RoleConsumer,
			"stores, counts, erases and freezes; the control plane's own (channels, assignments, drains, corrections, goals) is only read",
			slices.Concat([]Privilege{everything()},
				on(write, store.Records, store.Minutes, store.Hours, store.Totals, store.Marks, store.Progress, store.Members, store.Leases,
					store.Letters, store.Tombstones, store.Manifests),
				on(change, store.Events)),
		},
		{
			RoleAnalyst,
			"reads what was collected and counted, and nothing of how it is run",
			slices.Concat([]Privilege{{Actions: []string{"listCollections"}}},
				on(look, store.Records, store.Minutes, store.Hours, store.Totals, store.Events, store.Channels, store.Progress, store.Manifests,
					store.Corrections, store.Goals)),
		},
		{
			RoleOperator,
			"the tool on an operator's machine (verify, reconcile, manifest check): reads all, writes nothing",
			[]Privilege{{Actions: []string{"find", "listCollections", "listIndexes", "collStats"}}},
		},
	}
}

// Grant says what is applied to a server.
type Grant struct {
	// Database is the database that the rights are in. Default: "tungstene". The roles are named by
	// it, so that several installations share a server.
	Database string
	// UserPrefix stands before the names of the users, which are those of the roles. Default: "".
	UserPrefix string
	// Passwords are by role. A user without one must be there already, and keeps its own.
	Passwords map[string]string
}

// String tells no password.
func (g Grant) String() string { return fmt.Sprintf("database %q users %q", g.Database, g.UserPrefix) }

// GoString is String.
func (g Grant) GoString() string { return g.String() }

func (g Grant) withDefaults() Grant {
	setDefault(&g.Database, "tungstene")
	return g
}

// Resource is what a privilege is about.
type Resource struct {
	DB         string `json:"db"         bson:"db"`
	Collection string `json:"collection" bson:"collection"`
}

// DefinedPrivilege is a privilege as the server takes it.
type DefinedPrivilege struct {
	Resource Resource `json:"resource" bson:"resource"`
	Actions  []string `json:"actions"  bson:"actions"`
}

// DefinedRole is a role of the server, in its database admin.
type DefinedRole struct {
	Role       string             `json:"role"`
	Does       string             `json:"does"`
	Privileges []DefinedPrivilege `json:"privileges"`
}

// DefinedUser is a user of the server, in its database admin.
type DefinedUser struct {
	User string `json:"user"`
	Role string `json:"role"`
	// Password names whose password it is, as Grant.Passwords does.
	Password string `json:"password"`
}

// Definitions are all roles and users of a grant.
type Definitions struct {
	Roles []DefinedRole `json:"roles"`
	Users []DefinedUser `json:"users"`
}

// Definitions are the grant's.
func (g Grant) Definitions() Definitions {
	g = g.withDefaults()
	var d Definitions
	for _, p := range Permissions() {
		role := DefinedRole{Role: g.Database + strings.ToUpper(p.Role[:1]) + p.Role[1:], Does: p.Does}
		for _, v := range p.Privileges {
			role.Privileges = append(role.Privileges, DefinedPrivilege{Resource{g.Database, string(v.Collection)}, v.Actions})
		}
		d.Roles = append(d.Roles, role)
		d.Users = append(d.Users, DefinedUser{User: g.UserPrefix + p.Role, Role: role.Role, Password: p.Role})
	}
	return d
}

// Command is the command that makes the role, or updates the one that is known.
func (r DefinedRole) Command(known bool) bson.D {
	name := "createRole"
	if known {
		name = "updateRole"
	}
	return bson.D{{Key: name, Value: r.Role}, {Key: "privileges", Value: r.Privileges}, {Key: "roles", Value: bson.A{}}}
}

// Command is the command that makes the user, or updates the one that is known. With an empty
// password it leaves a known user's as it is.
func (u DefinedUser) Command(known bool, password string) bson.D {
	name := "createUser"
	if known {
		name = "updateUser"
	}
	d := bson.D{{Key: name, Value: u.User}}
	if password != "" {
		d = append(d, bson.E{Key: "pwd", Value: password})
	}
	return append(d, bson.E{Key: "roles", Value: bson.A{bson.D{{Key: "role", Value: u.Role}, {Key: "db", Value: adminDatabase}}}})
}

const adminDatabase = "admin"

// The outcomes of a Change.
const (
	Created = "created"
	Updated = "updated"
)

// Change is what became of one role or user.
type Change struct {
	Kind    string `json:"kind"` // role or user
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
}

// Apply brings roles and users of a server to what the grant says, as the administrator that cfg
// logs in. It can be done again at any time; other roles and users are not touched. On an error the
// changes that were made are returned with it.
func Apply(ctx context.Context, cfg Config, g Grant) (changes []Change, err error) {
	g = g.withDefaults()
	d := g.Definitions()
	for _, role := range slices.Sorted(maps.Keys(g.Passwords)) {
		if !slices.ContainsFunc(d.Users, func(u DefinedUser) bool { return u.Password == role }) {
			return nil, fmt.Errorf("mongodb: there is no role %q", role)
		}
	}
	s, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, r := range d.Roles {
		known, err := s.known(ctx, "rolesInfo", "role", r.Role, "roles")
		if err == nil {
			err = s.administer(ctx, r.Command(known)).Err()
		}
		if err != nil {
			return changes, s.hide(g, err, "role "+r.Role)
		}
		changes = append(changes, Change{"role", r.Role, outcome(known)})
	}
	for _, u := range d.Users {
		known, err := s.known(ctx, "usersInfo", "user", u.User, "users")
		password := g.Passwords[u.Password]
		if err == nil && !known && password == "" {
			err = errors.New("it is new: name a file with its password")
		}
		if err == nil {
			err = s.administer(ctx, u.Command(known, password)).Err()
		}
		if err != nil {
			return changes, s.hide(g, err, "user "+u.User)
		}
		changes = append(changes, Change{"user", u.User, outcome(known)})
	}
	return changes, nil
}

func outcome(known bool) string {
	if known {
		return Updated
	}
	return Created
}

// known says whether there is a role or user of that name.
func (s *Store) known(ctx context.Context, command, key, name, list string) (bool, error) {
	answer, err := s.administer(ctx, bson.D{{Key: command, Value: bson.D{{Key: key, Value: name}, {Key: "db", Value: adminDatabase}}}}).Raw()
	if err != nil {
		return false, err
	}
	array, ok := answer.Lookup(list).ArrayOK()
	if !ok {
		return false, fmt.Errorf("the answer to %s has no %s: is this MongoDB?", command, list)
	}
	values, err := array.Values()
	if err != nil {
		return false, fmt.Errorf("read the answer to %s: %w", command, err)
	}
	return len(values) > 0, nil
}

func (s *Store) administer(ctx context.Context, command bson.D) *driver.SingleResult {
	ctx, cancel := s.exchange(ctx)
	defer cancel()
	return s.client.Database(adminDatabase).RunCommand(ctx, command)
}

// hide wraps an error of Apply without any of the passwords.
func (s *Store) hide(g Grant, err error, doing string) error {
	err = s.wrap(err, "%s", doing)
	text := err.Error()
	for _, secret := range g.Passwords {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
			text = strings.ReplaceAll(text, url.QueryEscape(secret), "[redacted]")
		}
	}
	return redacted{err: err, text: "mongodb: " + text}
}
