package rabbit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/queue"
)

// The users of a broker, one a role.
const (
	RoleDeclarer  = "declarer"
	RoleCollector = "collector"
	RoleConsumer  = "consumer"
	RoleMonitor   = "monitor"
)

// Permission is what the user of one role may do on a virtual host: regular expressions over the
// names of queues and exchanges, as RabbitMQ matches them.
type Permission struct {
	Role string `json:"role"`
	// Does says what the role needs it for.
	Does      string `json:"does"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

const nothing = "^$"

// Permissions lists the least that each role needs, over names that begin with a prefix.
//
// RabbitMQ can't say which queue is written through the default exchange (amq.default): a collector
// could publish to "dead" too, and a consumer to "store". Queues that a listener of the live feed
// has for itself are named by the broker (amq.gen-…), without the prefix.
func Permissions(prefix string) []Permission {
	names := func(all ...string) string {
		for i, n := range all {
			if !strings.HasPrefix(n, `amq\.`) {
				all[i] = regexp.QuoteMeta(prefix + n)
			}
		}
		return "^(" + strings.Join(all, "|") + ")$"
	}
	const listeners = `amq\.gen-.*`
	return []Permission{
		{RoleDeclarer, "makes the queues and the exchange of the live feed", names(queue.Store, queue.Dead, liveExchange), nothing, nothing},
		{RoleCollector, "publishes to store through the default exchange, and copies to live; reads nothing", nothing, names(`amq\.default`, liveExchange), nothing},
		{
			RoleConsumer, "takes from store and dead, publishes to dead and replays to store, has a queue of its own for the live feed",
			"^" + listeners + "$", names(`amq\.default`, listeners), names(queue.Store, queue.Dead, liveExchange, listeners),
		},
		{RoleMonitor, "asks how deep the queues are (the masters and the tool): looking at a queue by its name needs no right", nothing, nothing, nothing},
	}
}

// Policy is a policy of the broker.
type Policy struct {
	Name       string         `json:"name"`
	Pattern    string         `json:"pattern"`
	ApplyTo    string         `json:"apply-to"`
	Priority   int            `json:"priority"`
	Definition map[string]any `json:"definition"`
}

const livePolicy = "tungstene-live"

// DefaultMaxBytes is how much each of the queues that are kept may hold.
const DefaultMaxBytes = 50_000_000_000

// Policies lists the limits of the queues, for a broker of that major version (4 and later lose
// messages that came back often unless they are told not to, 3 refuses to be told) and at most
// maxBytes in each queue that is kept; 0 is no limit.
func Policies(prefix string, major int, maxBytes int64) []Policy {
	kept := map[string]any{}
	if maxBytes > 0 {
		kept["max-length-bytes"] = maxBytes
		kept["overflow"] = "reject-publish" // what does not fit stays with the publisher
	}
	if major >= 4 {
		kept["delivery-limit"] = -1
	}
	var out []Policy
	if len(kept) > 0 { // the broker refuses one that says nothing
		out = append(out, Policy{
			Name:    "tungstene-" + prefix + "kept",
			Pattern: "^(" + regexp.QuoteMeta(prefix+queue.Store) + "|" + regexp.QuoteMeta(prefix+queue.Dead) + ")$",
			ApplyTo: "queues", Priority: 10, Definition: kept,
		})
	}
	return append(out, Policy{
		// The broker names these queues, so the installations of a virtual host share this one.
		Name: livePolicy, Pattern: `^amq\.gen-`, ApplyTo: "queues", Priority: 10,
		Definition: map[string]any{"max-length": 4096, "max-length-bytes": 64 << 20, "overflow": "drop-head"},
	})
}

// Definitions are permissions and policies in the form that a broker loads at its start
// (load_definitions). Users are not among them: they have passwords.
type Definitions struct {
	VHosts      []DefinedVHost      `json:"vhosts"`
	Permissions []DefinedPermission `json:"permissions"`
	Policies    []DefinedPolicy     `json:"policies"`
}

// DefinedVHost is a virtual host of Definitions.
type DefinedVHost struct {
	Name string `json:"name"`
}

// DefinedPermission is a permission of Definitions.
type DefinedPermission struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// DefinedPolicy is a policy of Definitions.
type DefinedPolicy struct {
	VHost string `json:"vhost"`
	Policy
}

// Grant says what is applied to a broker.
type Grant struct {
	// VHost is the virtual host, which must be there. Default: "/".
	VHost string
	// Prefix is Config.Prefix. Default: "".
	Prefix string
	// UserPrefix stands before the names of the users, which are those of the roles. Default: "".
	UserPrefix string
	// MaxBytes is how much each of the queues that are kept may hold; 0 is no limit.
	MaxBytes int64
	// Passwords are by role. A user without one must be there already, and keeps its own.
	Passwords map[string]string
}

// String tells no password.
func (g Grant) String() string {
	return fmt.Sprintf("vhost %q prefix %q users %q", g.VHost, g.Prefix, g.UserPrefix)
}

// GoString is String.
func (g Grant) GoString() string { return g.String() }

// Definitions are the grant's for a broker of that major version.
func (g Grant) Definitions(major int) Definitions {
	if g.VHost == "" {
		g.VHost = "/"
	}
	d := Definitions{VHosts: []DefinedVHost{{g.VHost}}}
	for _, p := range Permissions(g.Prefix) {
		d.Permissions = append(d.Permissions, DefinedPermission{g.UserPrefix + p.Role, g.VHost, p.Configure, p.Write, p.Read})
	}
	for _, p := range Policies(g.Prefix, major, g.MaxBytes) {
		d.Policies = append(d.Policies, DefinedPolicy{g.VHost, p})
	}
	return d
}

// Management is the HTTP API of a broker's plugin rabbitmq_management.
type Management struct {
	// URL is its base, such as http://127.0.0.1:15672.
	URL string
	// User and Password are an administrator's.
	User     string
	Password string
	// Client asks. Default: one with a time limit of 15 s an exchange.
	Client *http.Client
}

// String tells no password.
func (m Management) String() string { return fmt.Sprintf("%s as %q", m.URL, m.User) }

// GoString is String.
func (m Management) GoString() string { return m.String() }

// The outcomes of a Change.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged"
)

// Change is what became of one user, permission or policy.
type Change struct {
	Kind    string `json:"kind"` // user, permission or policy
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
}

const (
	managementTimeout = 15 * time.Second
	maxManagement     = 1 << 20 // bytes that are read of an answer
	hashing           = "rabbit_password_hashing_sha256"
	saltBytes         = 4
)

// Apply brings users, permissions and policies of a broker to what the grant says. What is right
// already is left alone, so it can be done again at any time; users and policies of others are not
// touched. Passwords travel as salted hashes. On an error the changes that were made are returned
// with it.
func (m Management) Apply(ctx context.Context, g Grant) ([]Change, error) {
	if m.Client == nil {
		m.Client = &http.Client{
			Timeout: managementTimeout,
			// The administrator's password must not follow a redirection to somewhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if g.VHost == "" {
		g.VHost = "/"
	}
	roles := map[string]bool{}
	for _, p := range Permissions(g.Prefix) {
		roles[p.Role] = true
	}
	for role, password := range g.Passwords {
		if !roles[role] {
			return nil, fmt.Errorf("rabbitmq: there is no role %q", role)
		}
		if password == "" {
			return nil, fmt.Errorf("rabbitmq: the password of %s is empty: with none, RabbitMQ would let nobody in", role)
		}
	}
	var overview struct {
		Version string `json:"rabbitmq_version"`
	}
	if _, err := m.get(ctx, "overview", &overview); err != nil {
		return nil, fmt.Errorf("rabbitmq: ask for the version: %w", err)
	}
	number, _, _ := strings.Cut(overview.Version, ".")
	major, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: the broker says that its version is %.20q", overview.Version)
	}
	if there, err := m.get(ctx, "vhosts/"+url.PathEscape(g.VHost), &struct{}{}); err != nil || !there {
		if err == nil {
			err = errors.New("there is none: make it first (rabbitmqctl add_vhost)")
		}
		return nil, fmt.Errorf("rabbitmq: virtual host %q: %w", g.VHost, err)
	}
	var changes []Change
	note := func(kind, name, outcome string, err error) error {
		if err != nil {
			return fmt.Errorf("rabbitmq: %s %s: %w", kind, name, err)
		}
		changes = append(changes, Change{kind, name, outcome})
		return nil
	}
	// Limits first: users who can publish come to queues that are bounded.
	for _, p := range Policies(g.Prefix, major, g.MaxBytes) {
		outcome, err := m.applyPolicy(ctx, g.VHost, p)
		if err := note("policy", p.Name, outcome, err); err != nil {
			return changes, err
		}
	}
	for _, p := range Permissions(g.Prefix) {
		name := g.UserPrefix + p.Role
		outcome, err := m.applyUser(ctx, name, g.Passwords[p.Role])
		if err := note("user", name, outcome, err); err != nil {
			return changes, err
		}
		outcome, err = m.applyPermission(ctx, g.VHost, name, p)
		if err := note("permission", name, outcome, err); err != nil {
			return changes, err
		}
	}
	return changes, nil
}

func (m Management) applyPolicy(ctx context.Context, vhost string, p Policy) (string, error) {
	path := "policies/" + url.PathEscape(vhost) + "/" + url.PathEscape(p.Name)
	var is Policy
	there, err := m.get(ctx, path, &is)
	if err != nil {
		return "", err
	}
	same, err := sameJSON(is.Definition, p.Definition)
	if err != nil {
		return "", err
	}
	same = same && is.Pattern == p.Pattern && is.ApplyTo == p.ApplyTo && is.Priority == p.Priority
	return m.bring(ctx, path, there, same, p)
}

func (m Management) applyUser(ctx context.Context, name, password string) (string, error) {
	path := "users/" + url.PathEscape(name)
	var is struct {
		Hash    string          `json:"password_hash"`
		Hashing string          `json:"hashing_algorithm"`
		Tags    json.RawMessage `json:"tags"` // a list, a string in old versions
	}
	there, err := m.get(ctx, path, &is)
	if err != nil {
		return "", err
	}
	if password == "" && !there {
		return "", errors.New("it is new: name a file with its password")
	}
	untagged := slices.Contains([]string{``, `""`, `[]`}, strings.TrimSpace(string(is.Tags)))
	same := is.Hashing == hashing && untagged && (password == "" || verifies(is.Hash, password))
	want := map[string]string{"password_hash": is.Hash, "hashing_algorithm": is.Hashing, "tags": ""}
	if password != "" {
		want["password_hash"], want["hashing_algorithm"] = hash(password), hashing
	}
	if password == "" {
		same = untagged
	}
	return m.bring(ctx, path, there, same, want)
}

func (m Management) applyPermission(ctx context.Context, vhost, user string, p Permission) (string, error) {
	path := "permissions/" + url.PathEscape(vhost) + "/" + url.PathEscape(user)
	var is Permission
	there, err := m.get(ctx, path, &is)
	if err != nil {
		return "", err
	}
	same := is.Configure == p.Configure && is.Write == p.Write && is.Read == p.Read
	return m.bring(ctx, path, there, same, map[string]string{"configure": p.Configure, "write": p.Write, "read": p.Read})
}

// bring puts what is wanted in the place of what is there, unless they are the same.
func (m Management) bring(ctx context.Context, path string, there, same bool, want any) (string, error) {
	if there && same {
		return Unchanged, nil
	}
	if err := m.put(ctx, path, want); err != nil {
		return "", err
	}
	if there {
		return Updated, nil
	}
	return Created, nil
}

func sameJSON(a, b any) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("compare definitions: %w", err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("compare definitions: %w", err)
	}
	return bytes.Equal(x, y), nil
}

// hash is a password as RabbitMQ keeps it: base64 of a salt and the SHA-256 of salt and password.
func hash(password string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // it never fails
	return base64.StdEncoding.EncodeToString(salted(salt, password))
}

func salted(salt []byte, password string) []byte {
	sum := sha256.Sum256(append(slices.Clone(salt), password...))
	return append(slices.Clone(salt), sum[:]...)
}

// verifies says whether a hash is the password's.
func verifies(encoded, password string) bool {
	b, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && len(b) == saltBytes+sha256.Size && subtle.ConstantTimeCompare(b, salted(b[:saltBytes], password)) == 1
}

// get reads what is at a path of the API, and whether there is anything.
func (m Management) get(ctx context.Context, path string, into any) (there bool, err error) {
	body, status, err := m.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return false, err
	}
	if status == http.StatusNotFound {
		return false, nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return false, fmt.Errorf("%s answers something else than JSON: is this the management API of RabbitMQ?", m.URL)
	}
	return true, nil
}

func (m Management) put(ctx context.Context, path string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, status, err := m.call(ctx, http.MethodPut, path, b)
	if err == nil && status == http.StatusNotFound {
		err = fmt.Errorf("%s: not found", m.URL)
	}
	return err
}

func (m Management) call(ctx context.Context, method, path string, body []byte) ([]byte, int, error) {
	base, err := url.Parse(m.URL)
	if err != nil || base.Host == "" || base.User != nil || base.Scheme != "http" && base.Scheme != "https" {
		return nil, 0, errors.New("the URL of the management API must be http://host:port or https://host:port")
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base.String(), "/")+"/api/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("make request: %w", err)
	}
	req.SetBasicAuth(m.User, m.Password)
	req.Header.Set("Content-Type", "application/json")
	res, err := m.Client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("ask the management API (is the plugin rabbitmq_management enabled?): %w", err)
	}
	defer func() { _ = res.Body.Close() }() // read as far as it was wanted
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxManagement))
	if err != nil {
		return nil, 0, fmt.Errorf("read the answer of %s: %w", m.URL, err)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return nil, 0, fmt.Errorf("%s answers %s: check name and password of the administrator %q, and that it has the tag administrator", m.URL, res.Status, m.User)
	case res.StatusCode == http.StatusNotFound:
		return nil, res.StatusCode, nil
	case res.StatusCode < 200 || res.StatusCode > 299:
		var why struct {
			Reason json.RawMessage `json:"reason"`
		}
		_ = json.Unmarshal(answer, &why) // the status says enough without it
		return nil, 0, fmt.Errorf("%s answers %s: %.300s", m.URL, res.Status, why.Reason)
	}
	return answer, res.StatusCode, nil
}
