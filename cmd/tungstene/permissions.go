package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
	"github.com/tungstene/tungstene/pkg/store/mongo"
)

type permissionsCmd struct {
	Show  permissionsShowCmd  `cmd:"" help:"Print what each role may do at the broker and in the database."`
	Apply permissionsApplyCmd `cmd:"" help:"Make users and rights, or bring them to what they should be."`
}

func (permissionsCmd) Help() string {
	return "Examples:\n  tungstene permissions show --broker\n  tungstene permissions apply --database --admin-user root --admin-password-file root.txt --password-file master=master.txt"
}

// permissionsTarget is what both commands are told.
type permissionsTarget struct {
	app.Configured
	Broker     bool   `help:"The rights at RabbitMQ, its limits (policies) among them."`
	Database   bool   `help:"The rights in MongoDB."`
	UserPrefix string `help:"Put before the names of the users, which are those of the roles."                                                     placeholder:"TEXT"`
	MaxBytes   int64  `default:"50000000000" help:"RabbitMQ: bytes that each of the queues that are kept may hold; what does not fit stays with the collectors. 0 is no limit."`
	JSON       bool   `help:"Print JSON."`
}

// Shown is what help shows of the configuration.
func (*permissionsTarget) Shown() []string {
	return []string{"queue.vhost", "queue.prefix", "store.uri", "store.database"}
}

func (t permissionsTarget) grants(cfg app.Config) (rabbit.Grant, mongo.Grant) {
	return rabbit.Grant{VHost: cfg.Queue.VHost, Prefix: cfg.Queue.Prefix, UserPrefix: t.UserPrefix, MaxBytes: t.MaxBytes},
		mongo.Grant{Database: cfg.Store.Database, UserPrefix: t.UserPrefix}
}

type permissionsShowCmd struct {
	permissionsTarget
	BrokerVersion int `default:"4" help:"RabbitMQ: its major version, which decides what its policies may say."`
}

func (permissionsShowCmd) Help() string {
	return `Reads the names of the virtual host, the database and the prefix from the configuration, and asks nobody. With --broker --json it prints definitions that RabbitMQ can load at its start.

Examples:
  tungstene permissions show
  tungstene permissions show --broker --json > deploy/rabbitmq/20-permissions.json`
}

func (c *permissionsShowCmd) Run(env app.Env) error {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	if c.BrokerVersion < 3 {
		return app.Usage("--broker-version %d: use 3 or more", c.BrokerVersion)
	}
	broker, database := c.grants(cfg)
	both := c.Broker == c.Database
	if !c.JSON {
		if both || c.Broker {
			showBroker(env.Stdout, broker, c.BrokerVersion)
		}
		if both {
			fmt.Fprintln(env.Stdout)
		}
		if both || c.Database {
			showDatabase(env.Stdout, database)
		}
		return nil
	}
	var v any = map[string]any{"broker": broker.Definitions(c.BrokerVersion), "database": database.Definitions()}
	switch {
	case both:
	case c.Broker:
		v = broker.Definitions(c.BrokerVersion)
	default:
		v = database.Definitions()
	}
	enc := json.NewEncoder(env.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func showBroker(w io.Writer, g rabbit.Grant, major int) {
	fmt.Fprintf(w, "RabbitMQ, virtual host %s\n\n", g.VHost)
	table(w, "USER\tCONFIGURE\tWRITE\tREAD\tFOR", func(add func(...any)) {
		for _, p := range rabbit.Permissions(g.Prefix) {
			add(g.UserPrefix+p.Role, p.Configure, p.Write, p.Read, p.Does)
		}
	})
	fmt.Fprintln(w)
	table(w, "POLICY\tQUEUES\tLIMITS", func(add func(...any)) {
		for _, p := range rabbit.Policies(g.Prefix, major, g.MaxBytes) {
			var limits []string
			for _, k := range slices.Sorted(maps.Keys(p.Definition)) {
				limits = append(limits, fmt.Sprintf("%s %v", k, p.Definition[k]))
			}
			add(p.Name, p.Pattern, strings.Join(limits, ", "))
		}
	})
}

func showDatabase(w io.Writer, g mongo.Grant) {
	fmt.Fprintf(w, "MongoDB, database %s (collectors have no access)\n\n", g.Database)
	d := g.Definitions()
	table(w, "USER\tROLE\tCOLLECTION\tACTIONS", func(add func(...any)) {
		for i, r := range d.Roles {
			user := d.Users[i].User
			for _, p := range r.Privileges {
				collection := p.Resource.Collection
				if collection == "" {
					collection = "(all)"
				}
				add(user, r.Role, collection, strings.Join(p.Actions, " "))
			}
		}
	})
}

type permissionsApplyCmd struct {
	permissionsTarget
	ManagementURL string            `default:"http://127.0.0.1:15672" help:"RabbitMQ: base URL of its management API."                                         name:"management-url"`
	ManagementCA  string            `help:"RabbitMQ: PEM file of the authority of the management API, where it is https and not a public one."                    name:"management-ca-file" placeholder:"FILE" type:"existingfile"`
	AdminUser     string            `help:"User who may make users: of the tag administrator at RabbitMQ, of the role userAdminAnyDatabase or root at MongoDB."   placeholder:"USER" required:""`
	AdminPassword string            `help:"File with that user's password. Or the environment variable TUNGSTENE_ADMIN_PASSWORD."                                  name:"admin-password-file" placeholder:"FILE"`
	Passwords     map[string]string `help:"Role and file with its password; several times, or separated by commas. A user without one must be there already and keeps its own. Or the environment variable TUNGSTENE_PASSWORD_ROLE." mapsep:"," name:"password-file" placeholder:"ROLE=FILE"`
}

func (permissionsApplyCmd) Help() string {
	return `Can be run again at any time: what is right already stays as it is, and users, roles and policies of others are not touched. Passwords are read from files or the environment, and never printed. At MongoDB address and TLS are those of the configuration (store.uri, store.tls).

Examples:
  tungstene permissions apply --broker --admin-user admin --admin-password-file admin.txt --password-file declarer=declarer.txt --password-file collector=collector.txt --password-file consumer=consumer.txt --password-file monitor=monitor.txt
  tungstene permissions apply --database --config tungstene.yaml --admin-user root --admin-password-file root.txt --password-file master=m.txt,consumer=c.txt,analyst=a.txt,operator=o.txt`
}

// permissionChange is what became of one user, role, permission or policy.
type permissionChange struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
}

func (c *permissionsApplyCmd) Run(ctx context.Context, env app.Env) error {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	if c.Broker == c.Database {
		return app.Usage("name one of --broker and --database: they have different administrators")
	}
	admin, err := app.Secret("--admin-password-file", c.AdminPassword, "TUNGSTENE_ADMIN_PASSWORD")
	if err != nil {
		return err
	}
	if admin == "" {
		return app.Usage("--admin-password-file: name the file with the password of %s, or set TUNGSTENE_ADMIN_PASSWORD", c.AdminUser)
	}
	broker, database := c.grants(cfg)
	roles := []string{}
	if c.Broker {
		for _, p := range rabbit.Permissions("") {
			roles = append(roles, p.Role)
		}
	} else {
		for _, p := range mongo.Permissions() {
			roles = append(roles, p.Role)
		}
	}
	passwords, err := c.passwords(roles)
	if err != nil {
		return err
	}
	changes := []permissionChange{}
	var failed error
	if c.Broker {
		broker.Passwords = passwords
		client, err := c.managementClient(env.Stderr)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		done, err := rabbit.Management{URL: c.ManagementURL, User: c.AdminUser, Password: admin, Client: client}.Apply(ctx, broker)
		failed = app.ExplainTLS("--management", err)
		for _, d := range done {
			changes = append(changes, permissionChange(d))
		}
	} else {
		database.Passwords = passwords
		mc, err := app.StoreConfigOf(cfg, c.AdminUser, admin)
		if err != nil {
			return c.Locate(err)
		}
		done, err := mongo.Apply(ctx, mc, database)
		failed = err
		for _, d := range done {
			changes = append(changes, permissionChange(d))
		}
	}
	if err := printChanges(env.Stdout, c.JSON, changes); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

func printChanges(w io.Writer, asJSON bool, changes []permissionChange) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(changes)
	}
	if len(changes) > 0 {
		table(w, "WHAT\tNAME\tOUTCOME", func(add func(...any)) {
			for _, c := range changes {
				add(c.Kind, c.Name, c.Outcome)
			}
		})
	}
	return nil
}

// passwords reads those that are named, and those of the environment.
func (c *permissionsApplyCmd) passwords(roles []string) (map[string]string, error) {
	out := map[string]string{}
	for role := range c.Passwords {
		if !slices.Contains(roles, role) {
			return nil, app.Usage("--password-file: there is no role %q: use %s", role, strings.Join(roles, ", "))
		}
	}
	for _, role := range roles {
		password, err := app.Secret("--password-file "+role, c.Passwords[role], "TUNGSTENE_PASSWORD_"+strings.ToUpper(role))
		if err != nil {
			return nil, err
		}
		if password != "" {
			out[role] = password
		}
	}
	return out, nil
}

// managementClient asks the management API; it warns where the administrator's password would be
// seen on the way.
func (c *permissionsApplyCmd) managementClient(stderr io.Writer) (*http.Client, error) {
	u, err := url.Parse(c.ManagementURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, app.Usage("--management-url: use http://host:port or https://host:port")
	}
	if u.User != nil {
		return nil, app.Usage("--management-url holds a user: name it with --admin-user, and its password with --admin-password-file")
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme == "http" && !local {
		fmt.Fprintf(stderr, "warning: %s is not encrypted: whoever listens on the way learns the administrator's password\n", c.ManagementURL)
	}
	config, err := app.ClientTLS("--management", c.ManagementCA, "", "", nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:       15 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
