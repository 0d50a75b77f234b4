package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/clock"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// Config is the configuration of every role. Each field is a key of the YAML file (its path is
// that of the field, in snake case), a flag (its path joined by dashes) and an environment variable
// (TUNGSTENE_ and the flag in upper case). A flag beats the environment, which beats the file.
//
// Secrets are never values here: they are read from the file that a …_file field names, or from an
// environment variable.
type Config struct {
	Data   string `default:"data"           help:"Folder for everything that is kept on disk: outboxes, the last assignment, and with the embedded kinds the queue and the store."`
	Listen string `default:"127.0.0.1:8080" help:"Address of this process's HTTP server: status page, API (where there is a master), /metrics, /healthz, /readyz."`
	Name   string `help:"Name of this process among its like, lasting over restarts. Default: the host's name."`
	Node   string `help:"Machine that this process runs on; replicas of a channel go to different ones. Default: the host's name."`

	ListenTLS ListenTLSConfig `embed:"" prefix:"listen-tls-"`
	Log       LogConfig       `embed:"" prefix:"log-"`
	Queue     QueueConfig     `embed:"" prefix:"queue-"`
	Store     StoreConfig     `embed:"" prefix:"store-"`
	Twitch    TwitchConfig    `embed:"" prefix:"twitch-"`
	Master    MasterConfig    `embed:"" prefix:"master-"`
	Collector CollectorConfig `embed:"" prefix:"collector-"`
	Charity   CharityConfig   `embed:"" prefix:"charity-"`
	Consumer  ConsumerConfig  `embed:"" prefix:"consumer-"`
	Rollup    RollupConfig    `embed:"" prefix:"rollup-"`
	Custody   CustodyConfig   `embed:"" prefix:"custody-"`
}

// LogConfig is what is logged, to standard error.
type LogConfig struct {
	Level  string `default:"info" enum:"debug,info,warn,error" help:"Least level that is logged: debug, info, warn or error."`
	Format string `default:"text" enum:"text,json"             help:"Form of the log: text or json."`
}

// ListenTLSConfig is TLS of this process's HTTP server.
type ListenTLSConfig struct {
	CertFile     string `help:"PEM file of the certificate of this process's HTTP server, with those in between; the server then speaks HTTPS only. Read again when it changes." name:"cert-file"`
	KeyFile      string `help:"PEM file of that certificate's key." name:"key-file"`
	ClientCAFile string `help:"PEM file of the authorities of client certificates. When it is set, everything under /v1 needs a client certificate of theirs; page, metrics and health don't." name:"client-ca-file"`
}

// TLSConfig is TLS towards a server.
type TLSConfig struct {
	Enabled  bool   `help:"Use TLS."`
	CAFile   string `help:"PEM file of the authorities to trust. Default: the system's."         name:"ca-file"`
	CertFile string `help:"PEM file of the client certificate, where the server asks for one. Read again when it changes."   name:"cert-file"`
	KeyFile  string `help:"PEM file of the client certificate's key."                            name:"key-file"`
}

// QueueConfig chooses the queue.
type QueueConfig struct {
	Kind         string    `default:"local"          enum:"local,rabbit"                                                                                         help:"Queue: local (one SQLite file, all roles in one process) or rabbit (RabbitMQ)."`
	Addresses    []string  `default:"127.0.0.1:5672" help:"RabbitMQ: addresses of the nodes, host:port, tried in turn."`
	VHost        string    `default:"/"              help:"RabbitMQ: virtual host."                                                                              name:"vhost"`
	User         string    `default:"guest"          help:"RabbitMQ: user."`
	PasswordFile string    `help:"RabbitMQ: file with the password. Or the environment variable TUNGSTENE_QUEUE_PASSWORD." name:"password-file"`
	Prefix       string    `help:"RabbitMQ: put before the names of all queues and exchanges, for several installations on one broker."`
	Declare      bool      `help:"RabbitMQ: declare the queues at start. Else 'tungstene queue declare' does it, once, and roles need no right to configure."`
	TLS          TLSConfig `embed:""                 prefix:"tls-"`
}

// StoreConfig chooses the store.
type StoreConfig struct {
	Kind         string    `default:"local"                     enum:"local,mongo"                                                                      help:"Store: local (one SQLite file, all roles in one process) or mongo (MongoDB)."`
	URI          string    `default:"mongodb://127.0.0.1:27017" help:"MongoDB: connection string, without the password."                                name:"uri"`
	Database     string    `default:"tungstene"                 help:"MongoDB: database."`
	User         string    `help:"MongoDB: user; empty for none."`
	PasswordFile string    `help:"MongoDB: file with the password. Or the environment variable TUNGSTENE_STORE_PASSWORD." name:"password-file"`
	TLS          TLSConfig `embed:""                            prefix:"tls-"`
}

// TwitchConfig is where Twitch is and who we are there.
type TwitchConfig struct {
	IRC     string            `default:"irc.chat.twitch.tv:6697"     help:"Address of the chat servers."                                                                                                                    name:"irc"`
	IRCTLS  bool              `default:"true"                        help:"Use TLS to the chat servers."                                                                                                                    name:"irc-tls"         negatable:""`
	Helix   string            `default:"https://api.twitch.tv/helix" help:"Base URL of Helix."`
	Auth    string            `default:"https://id.twitch.tv"        help:"Base URL of Twitch's OAuth host."`
	Clients map[string]string `help:"Client ids of the application, each with the file that holds its secret; they are preferred in the order of the ids. Or, for one, the environment variables TUNGSTENE_TWITCH_CLIENT_ID and TUNGSTENE_TWITCH_CLIENT_SECRET." mapsep:","`

	KeepAlive     time.Duration `default:"10s"       help:"How often a chat connection is pinged; one that is silent for 25 s at the default is replaced." name:"keep-alive"`
	Sweep         string        `default:"* * * * *" help:"When viewers are sampled: a cron expression (a sixth, leading field is seconds)."`
	Users         string        `default:"*/10 * * * *" help:"When names and pictures are looked up: a cron expression."`
	HelixPoints   int           `default:"800"       help:"Helix points a minute of each client id, shared by the collectors."                           name:"helix-points"`
	Joins         int           `default:"20"        help:"JOINs per account in a window."`
	JoinWindow    time.Duration `default:"12.5s"   help:"The window that JOINs are counted in. Twitch's is 10 s; 12.5 s is the safe one."               name:"join-window"`
	PerConnection int           `default:"90"        help:"Channels of one chat connection, at most 90."                                                 name:"per-connection"`
}

// MasterConfig is the master, and how it is reached.
type MasterConfig struct {
	URLs               []string      `help:"Base URLs of the masters, for collectors and the command line. Default: this process's own, else http://127.0.0.1:8080." name:"urls"`
	OperatorTokenFile  string        `help:"File with the operators' bearer tokens, one a line; the first is the one that this tool presents. Or the environment variable TUNGSTENE_OPERATOR_TOKEN. Default: DATA/operator.token, made when missing." name:"operator-token-file"`
	CollectorTokenFile string        `help:"File with the collectors' bearer tokens, one a line; the first is the one that a collector presents. Or the environment variable TUNGSTENE_COLLECTOR_TOKEN. Default: DATA/collector.token, made when missing by up." name:"collector-token-file"`
	KeysDir            string        `help:"Folder of the events' pseudonym keys, shared by the masters and by nobody else. Default: DATA/keys." name:"keys-dir"`
	CAFile             string        `help:"PEM file of the authority of the masters' certificates, where their URLs are https and it is not a public one." name:"ca-file"`
	CertFile           string        `help:"PEM file of the certificate that collectors and the command line present to the masters, where those ask for one (listen_tls.client_ca_file). Read again when it changes." name:"cert-file"`
	KeyFile            string        `help:"PEM file of that certificate's key." name:"key-file"`
	HeartbeatTimeout   time.Duration `default:"3s"  help:"Silence after which a collector is judged dead and its channels are moved." name:"heartbeat-timeout"`
	LeadTime           time.Duration `default:"1h" help:"How long before the start of a scheduled event its channels are joined." name:"lead-time"`
}

// CollectorConfig is a collector's.
type CollectorConfig struct {
	Capacity    int           `default:"500"   help:"Channels that a collector takes at most; 0 for one that reads no chat and only polls charity.sources. That one needs no account at Twitch."`
	Tick        time.Duration `default:"200ms" help:"How long records wait at most before they are on disk."`
	TickRecords int           `default:"500"   help:"Records that end a tick early, and the most of a batch."                                                       name:"tick-records"`
	Compression string        `default:"none"  enum:"none,zstd"                                                                                                     help:"Compression of batches: none or zstd. zstd makes a batch more than five times smaller and costs about a microsecond a record."`
	OutboxBytes int64         `default:"8589934592" help:"Bytes that the outbox may take on disk; when it is full, outbox_full says what happens, and a condition is raised."         name:"outbox-bytes"`
	OutboxAge   time.Duration `default:"72h" help:"How long records may wait in the outbox: when its oldest are older it counts as full, however few they are. 0 is for ever." name:"outbox-age"`
	Waiting     int           `default:"20000" help:"Records that wait in memory when the outbox is full or can't be written; then it goes by outbox_full." name:"waiting-records"`
	OutboxFull  string        `default:"stop" enum:"stop,drop" help:"What happens when the outbox is full or can't be written: stop (nothing more is read; Twitch then ends the connections, and what it sends meanwhile is a gap) or drop (reading goes on, what arrives is dropped and counted, and is a gap). What is in the outbox is never dropped." name:"outbox-full"`
	DrainRate   int64         `default:"16777216" help:"Bytes a second at which a backlog of the outbox is sent to the queue after an outage, at least twice what comes in meanwhile; without a backlog nothing is slowed. 0 is as fast as it goes." name:"drain-rate"`
	Heartbeat   time.Duration `default:"1s"    help:"How often a collector asks the master."`
	Handover    time.Duration `default:"30s"   help:"How long a collector that is stopped goes on reading at the most, while its channels move to others; it stops earlier when nobody takes any. Without effect where all roles run in one process."`
}

// CharityConfig is where donations are read from.
type CharityConfig struct {
	Sources string `help:"YAML file that describes the charity sources; docs/donations.md tells its fields. A collector that is given one polls them; up runs one more collector for them, called NAME-charity. Read at the start: start the collector again after a change."`
}

// ConsumerConfig is a consumer's.
type ConsumerConfig struct {
	Prefetch   int           `default:"64"   help:"Batches that a consumer holds at most."`
	MaxRecords int           `default:"2000" help:"Records of one insert at most."                                                                              name:"max-records"`
	Skew       time.Duration `default:"5s"   help:"How far the clocks of the machines may be apart; records that come nearer than this to their minute's closing mark it for a recount."`
}

// RollupConfig is the rollup's. Consumers need the same grace.
type RollupConfig struct {
	Grace     time.Duration `default:"20s" help:"How long after its end a minute is closed. Records that come later make it be counted again."`
	LiveEvery time.Duration `default:"2s"  help:"How often open minutes are written."                                                            name:"live-every"`
}

// CustodyConfig is what looks after stored events: it runs beside the rollup.
type CustodyConfig struct {
	Retention string `default:"17 * * * *"   help:"When it is looked for texts and records whose time is over: a cron expression."`
	Reconcile string `default:"*/10 * * * *" help:"When some closed minutes are compared with their records: a cron expression."`
}

// minKeepAlive is the shortest time between two PINGs on a connection.
const minKeepAlive = 100 * time.Millisecond

// FieldError is a value that can't be used. Field is its path, as in the YAML file.
type FieldError struct {
	Field string
	Err   error
	// Environment says that the value is right in itself, and what it names is not as it should be:
	// a port is taken, a file can't be read.
	Environment bool
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Check checks what a type alone can't. It returns every FieldError, joined.
func (c *Config) Check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	within := func(field string, v, least, most time.Duration) {
		if v < least || v > most {
			bad(field, "%s is out of range: use %s to %s", v, least, most)
		}
	}
	count := func(field string, v, least, most int64) {
		if v < least || v > most {
			bad(field, "%d is out of range: use %d to %d", v, least, most)
		}
	}
	if c.Data == "" {
		bad("data", "name a folder")
	}
	if c.Name != "" && !control.ValidName(c.Name) {
		bad("name", "%q: use 1 to %d of a-z, 0-9, dot and dash, with a letter or digit at both ends",
			c.Name, control.MaxNameBytes)
	}
	for field, raw := range map[string]string{
		"twitch.helix": c.Twitch.Helix, "twitch.auth": c.Twitch.Auth,
	} {
		if err := plainURL(raw, "http", "https"); err != nil {
			bad(field, "%w", err)
		}
	}
	for _, raw := range c.Master.URLs {
		if err := plainURL(raw, "http", "https"); err != nil {
			bad("master.urls", "%w", err)
		}
	}
	if c.Store.Kind == "mongo" {
		if err := plainURL(c.Store.URI, "mongodb", "mongodb+srv"); err != nil {
			bad("store.uri", "%w", err)
		}
	}
	if c.Queue.Kind == "rabbit" && len(c.Queue.Addresses) == 0 {
		bad("queue.addresses", "name at least one host:port")
	}
	for _, a := range c.Queue.Addresses {
		if strings.Contains(a, "/") || strings.Contains(a, "@") {
			bad("queue.addresses", "%q: use host:port; user, password and virtual host are fields of their own", redact(a))
		} else if err := address(a, 1); err != nil {
			bad("queue.addresses", "%w", err)
		}
	}
	if err := address(c.Listen, 0); err != nil {
		bad("listen", "%w", err)
	}
	if err := address(c.Twitch.IRC, 1); err != nil {
		bad("twitch.irc", "%w", err)
	}
	if !plainName(c.Queue.Prefix) || len(c.Queue.Prefix) > 100 {
		bad("queue.prefix", "%q: use at most 100 letters, digits, dots, dashes and underscores", c.Queue.Prefix)
	}
	if c.Store.Database == "" || len(c.Store.Database) > 63 || !plainName(c.Store.Database) || strings.Contains(c.Store.Database, ".") {
		bad("store.database", "%q: use 1 to 63 letters, digits, dashes and underscores", c.Store.Database)
	}
	for field, t := range map[string]TLSConfig{
		"queue.tls": c.Queue.TLS, "store.tls": c.Store.TLS,
		"master": {Enabled: true, CertFile: c.Master.CertFile, KeyFile: c.Master.KeyFile},
	} {
		if (t.CertFile == "") != (t.KeyFile == "") {
			bad(field+".cert_file", "a client certificate needs cert_file and key_file, both")
		}
		if !t.Enabled && (t.CAFile != "" || t.CertFile != "") {
			bad(field+".enabled", "is false, and there are files for it: set it to true, or take them out")
		}
	}
	if (c.ListenTLS.CertFile == "") != (c.ListenTLS.KeyFile == "") {
		bad("listen_tls.cert_file", "a server needs cert_file and key_file, both")
	}
	if c.ListenTLS.ClientCAFile != "" && c.ListenTLS.CertFile == "" {
		bad("listen_tls.client_ca_file", "client certificates need TLS: set listen_tls.cert_file and listen_tls.key_file")
	}
	for field, spec := range map[string]string{
		"twitch.sweep": c.Twitch.Sweep, "twitch.users": c.Twitch.Users,
		"custody.retention": c.Custody.Retention, "custody.reconcile": c.Custody.Reconcile,
	} {
		if _, err := clock.ParseSchedule(spec); err != nil {
			bad(field, "%w", err)
		}
	}
	within("twitch.keep_alive", c.Twitch.KeepAlive, minKeepAlive, 4*time.Minute)
	within("twitch.join_window", c.Twitch.JoinWindow, time.Second, 5*time.Minute)
	count("twitch.joins", int64(c.Twitch.Joins), 1, 2000)
	count("twitch.per_connection", int64(c.Twitch.PerConnection), 1, 90)
	count("twitch.helix_points", int64(c.Twitch.HelixPoints), 1, 100_000)
	within("master.heartbeat_timeout", c.Master.HeartbeatTimeout, time.Second, 10*time.Minute)
	within("master.lead_time", c.Master.LeadTime, 0, 7*24*time.Hour)
	within("collector.heartbeat", c.Collector.Heartbeat, 100*time.Millisecond, time.Minute)
	if c.Collector.Heartbeat*2 > c.Master.HeartbeatTimeout {
		bad("collector.heartbeat", "%s is more than half of master.heartbeat_timeout (%s): one lost heartbeat would move channels",
			c.Collector.Heartbeat, c.Master.HeartbeatTimeout)
	}
	within("collector.handover", c.Collector.Handover, 0, 10*time.Minute)
	within("collector.tick", c.Collector.Tick, 10*time.Millisecond, 10*time.Second)
	count("collector.tick_records", int64(c.Collector.TickRecords), 1, record.MaxBatchRecords)
	count("collector.capacity", int64(c.Collector.Capacity), 0, 100_000)
	if c.Collector.Capacity == 0 && c.Charity.Sources == "" {
		bad("collector.capacity", "0 is for a collector that only polls charity sources: name their file in charity.sources, or let it take channels")
	}
	count("collector.outbox_bytes", c.Collector.OutboxBytes, 1<<20, 1<<50)
	if c.Collector.OutboxAge != 0 {
		within("collector.outbox_age", c.Collector.OutboxAge, time.Minute, 10_000*time.Hour)
	}
	count("collector.waiting_records", int64(c.Collector.Waiting), 1, 10_000_000)
	if c.Collector.DrainRate != 0 {
		count("collector.drain_rate", c.Collector.DrainRate, 64<<10, 1<<40)
	}
	count("consumer.prefetch", int64(c.Consumer.Prefetch), 1, 10_000)
	count("consumer.max_records", int64(c.Consumer.MaxRecords), 1, 100_000)
	within("consumer.skew", c.Consumer.Skew, time.Millisecond, 5*time.Minute)
	within("rollup.grace", c.Rollup.Grace, time.Second, 10*time.Minute)
	within("rollup.live_every", c.Rollup.LiveEvery, 100*time.Millisecond, time.Minute)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// address checks a host:port; ports below least are wrong.
func address(a string, least int) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q: use host:port", a)
	}
	if n, err := strconv.Atoi(port); err != nil || n < least || n > 65535 {
		return fmt.Errorf("%q: the port is not a number from %d to 65535", a, least)
	}
	if least > 0 && host == "" {
		return fmt.Errorf("%q: the host is missing", a)
	}
	return nil
}

// plainName reports whether s has letters, digits, dots, dashes and underscores only.
func plainName(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func plainURL(raw string, schemes ...string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%q is no URL", redact(raw)) // the parser's error would repeat what it can't read
	}
	if !slices.Contains(schemes, u.Scheme) || u.Host == "" {
		return fmt.Errorf("%q: use %s://host", redact(raw), strings.Join(schemes, ":// or "))
	}
	if _, has := u.User.Password(); has {
		return fmt.Errorf("%q holds a password: put it into a file and name that", u.Redacted())
	}
	return nil
}

// redact hides what stands before an "@".
func redact(s string) string {
	if i := strings.LastIndex(s, "@"); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// hostName is the machine's name as a slug.
func hostName() string {
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	h, _, _ = strings.Cut(strings.ToLower(h), ".")
	h = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, h)
	if h = strings.Trim(h, "-"); !control.ValidName(h) {
		return "localhost"
	}
	return h
}

// Secret reads a secret from a file, or from an environment variable where no file is named. Neither
// is fine: the secret is then empty. The error names the flag or field.
func Secret(field, file, variable string) (string, error) { return secret(field, file, variable) }

// secret reads a secret from a file, or from an environment variable where no file is named.
// Neither is fine: the secret is then empty.
func secret(field, file, variable string) (string, error) {
	if file == "" {
		return os.Getenv(variable), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", &FieldError{Field: field, Err: err, Environment: true}
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", &FieldError{Field: field, Err: fmt.Errorf("%s is empty", file)}
	}
	return s, nil
}

// client makes a TLS configuration; nil when TLS is off.
func (t TLSConfig) client(field string, logger *slog.Logger) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil //nolint:nilnil // no TLS is a normal answer
	}
	return ClientTLS(field, t.CAFile, t.CertFile, t.KeyFile, logger)
}
