package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/master"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/store/mongo"
	"github.com/tungstene/tungstene/pkg/twitch/helix"
)

// The results of a Check.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// Check is one thing that the doctor has looked at.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	// Detail is what was found; when it is wrong, what to do about it.
	Detail string `json:"detail"`
}

// doctorTimeout bounds each check.
const doctorTimeout = 15 * time.Second

// Doctor looks at everything that the roles of a configuration depend on. Locate names where a
// wrong value stands.
func Doctor(ctx context.Context, cfg Config, locate func(error) error) []Check {
	d := doctor{cfg: cfg, locate: locate, logger: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		name  string
		check func(context.Context) (status, detail string)
	}{
		{"data folder", d.data},
		{"address", d.listen},
		{"tokens", d.tokens},
		{"keys", d.keys},
		{"queue", d.queue},
		{"store", d.store},
		{"chat", d.chat},
		{"helix", d.helix},
		{"charity", d.charity},
		{"clock", d.clock},
		{"master", d.master},
	} {
		timeout, cancel := context.WithTimeout(ctx, doctorTimeout)
		status, detail := c.check(timeout)
		cancel()
		d.checks = append(d.checks, Check{Name: c.name, Status: status, Detail: detail})
	}
	return d.checks
}

type doctor struct {
	cfg    Config
	locate func(error) error
	logger *slog.Logger
	client *helix.Client
	checks []Check
}

func (d *doctor) failed(err error, remedy string) (status, detail string) {
	detail = strings.ReplaceAll(d.locate(err).Error(), "\n", "; ")
	if remedy != "" {
		detail += ": " + remedy
	}
	return CheckFailed, detail
}

func (d *doctor) data(context.Context) (status, detail string) {
	if err := os.MkdirAll(d.cfg.Data, 0o700); err != nil {
		return d.failed(&FieldError{Field: "data", Err: err}, "name a folder that this user may write")
	}
	f, err := os.CreateTemp(d.cfg.Data, "doctor-*")
	if err != nil {
		return d.failed(&FieldError{Field: "data", Err: err}, "make it writable for this user")
	}
	_, err = f.WriteString("tungstene")
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		return d.failed(&FieldError{Field: "data", Err: err}, "is the disk full?")
	}
	path, err := filepath.Abs(d.cfg.Data)
	if err != nil {
		path = d.cfg.Data
	}
	return CheckOK, path + " is writable"
}

// listen tries the address. That it is taken may be right: by the process that is being checked.
func (d *doctor) listen(ctx context.Context) (status, detail string) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.cfg.Listen)
	if err != nil {
		_, detail = d.failed(&FieldError{Field: "listen", Err: err}, "fine if that is this installation, running; else choose another port")
		return CheckWarning, detail
	}
	if err := l.Close(); err != nil {
		return d.failed(&FieldError{Field: "listen", Err: err}, "")
	}
	return CheckOK, d.cfg.Listen + " is free"
}

// tokens reads the token files that are named. Those in the data folder are made when missing.
func (d *doctor) tokens(context.Context) (status, detail string) {
	var open []string
	for field, file := range map[string]string{
		"master.operator_token_file": d.cfg.Master.OperatorTokenFile, "master.collector_token_file": d.cfg.Master.CollectorTokenFile,
	} {
		if file == "" {
			continue
		}
		if _, err := master.TokenFile(file)(); err != nil {
			return d.failed(&FieldError{Field: field, Err: err}, "")
		}
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
			open = append(open, file)
		}
	}
	if len(open) > 0 {
		slices.Sort(open)
		return CheckWarning, strings.Join(open, ", ") + " can be read by everyone on this machine: chmod o-rwx"
	}
	return CheckOK, "the files that are named can be read"
}

// keys looks at the folder of the pseudonym keys.
func (d *doctor) keys(context.Context) (status, detail string) {
	dir := d.cfg.Master.KeysDir
	if dir == "" {
		dir = filepath.Join(d.cfg.Data, "keys")
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.cfg.Master.KeysDir == "":
		return CheckOK, dir + " is made by the first master"
	case err != nil:
		return d.failed(&FieldError{Field: "master.keys_dir", Err: err}, "make it, with 0700, for the masters alone")
	case !info.IsDir():
		return d.failed(&FieldError{Field: "master.keys_dir", Err: errors.New(dir + " is no folder")}, "")
	case info.Mode().Perm()&0o077 != 0:
		return CheckWarning, dir + " can be read by others than the masters' user: chmod 0700"
	}
	return CheckOK, dir + " is the masters' alone"
}

func (d *doctor) queue(ctx context.Context) (status, detail string) {
	if d.cfg.Queue.Kind == kindLocal {
		return CheckOK, "embedded, nothing to reach"
	}
	d.cfg.Queue.Declare = false // looking must not change anything
	q, err := OpenQueue(ctx, d.cfg, d.logger, nil)
	if err != nil {
		return d.failed(err, "")
	}
	defer func() { _ = q.Close() }()
	if err := q.Check(ctx); err != nil {
		if errors.Is(err, queue.ErrUnroutable) {
			return d.failed(err, "run 'tungstene queue declare' with a user who may configure")
		}
		return d.failed(err, "check queue.addresses, queue.user and the password, and that the broker runs")
	}
	n, err := q.Depth(ctx, queue.Store)
	if err != nil {
		return d.failed(err, "")
	}
	dead, err := q.Depth(ctx, queue.Dead)
	if err != nil {
		return d.failed(err, "")
	}
	if dead > 0 {
		return CheckWarning, fmt.Sprintf("batches that wait: %d; dead letters that need someone to look at them: %d", n, dead)
	}
	return CheckOK, fmt.Sprintf("reachable, declared, batches that wait: %d", n)
}

func (d *doctor) store(ctx context.Context) (status, detail string) {
	if d.cfg.Store.Kind == kindLocal {
		return CheckOK, "embedded, nothing to reach"
	}
	s, err := OpenStore(ctx, d.cfg, true)
	if err != nil {
		return d.failed(err, "")
	}
	defer func() { _ = s.Close() }()
	err = s.Check(ctx)
	if errors.Is(err, mongo.ErrRights) {
		return CheckOK, "reachable; " + d.cfg.Store.User + " may not write, as is right for the tool and wrong for a role"
	}
	if err != nil {
		return d.failed(err, "check store.uri, store.user and the password, and that a primary is elected")
	}
	return CheckOK, "reachable and writable"
}

// chat asks the chat server for its capabilities, without an account, as a collector does.
func (d *doctor) chat(ctx context.Context) (status, detail string) {
	if d.cfg.Collector.Capacity == 0 {
		return CheckOK, "not read: collector.capacity is 0"
	}
	start := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.cfg.Twitch.IRC)
	if err != nil {
		return d.failed(&FieldError{Field: "twitch.irc", Err: err}, "is the port open towards the outside?")
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return d.failed(err, "")
		}
	}
	if d.cfg.Twitch.IRCTLS {
		host, _, err := net.SplitHostPort(d.cfg.Twitch.IRC)
		if err != nil {
			return d.failed(&FieldError{Field: "twitch.irc", Err: err}, "use host:port")
		}
		t := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return d.failed(&FieldError{Field: "twitch.irc_tls", Err: err}, "is this a TLS port?")
		}
		conn = t
	}
	if _, err := io.WriteString(conn, "CAP REQ :twitch.tv/tags twitch.tv/commands\r\nNICK justinfan12345\r\n"); err != nil {
		return d.failed(err, "")
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if strings.Contains(lines.Text(), " 001 ") {
			return CheckOK, fmt.Sprintf("%s welcomes anonymous readers, %d ms", d.cfg.Twitch.IRC, time.Since(start).Milliseconds())
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return d.failed(&FieldError{Field: "twitch.irc", Err: err}, "it does not answer as Twitch's chat does")
}

func (d *doctor) helix(ctx context.Context) (status, detail string) {
	if d.cfg.Collector.Capacity == 0 {
		return CheckOK, "not asked: collector.capacity is 0"
	}
	c, err := newHelix(d.cfg, d.logger, nil)
	if err != nil {
		return d.failed(err, "")
	}
	if err := c.Check(ctx); err != nil {
		return d.failed(err, "")
	}
	d.client = c
	if n := len(c.Stats().Clients); n != 1 {
		return CheckOK, fmt.Sprintf("%d client ids, their tokens are valid", n)
	}
	return CheckOK, "1 client id, its token is valid"
}

// maxDoctorOffset is how far this clock may be off Twitch's, whose Date header has whole seconds.
const maxDoctorOffset = 2 * time.Second

func (d *doctor) clock(context.Context) (status, detail string) {
	if d.cfg.Collector.Capacity == 0 {
		return CheckOK, "not compared: Helix, whose clock it would be, is not asked"
	}
	if d.client == nil {
		return CheckWarning, "not compared: Helix could not be asked"
	}
	offset := d.client.Stats().ClockOffset
	if offset.Abs() > maxDoctorOffset {
		return CheckFailed, fmt.Sprintf("%s off Twitch's clock: start time synchronisation (chrony, systemd-timesyncd)", offset)
	}
	return CheckOK, fmt.Sprintf("within %s of Twitch's", maxDoctorOffset)
}

func (d *doctor) master(ctx context.Context) (status, detail string) {
	own := len(d.cfg.Master.URLs) == 0
	if _, port, err := net.SplitHostPort(d.cfg.Listen); own && (err != nil || port == "0") {
		return CheckOK, "master.urls is empty: this installation is its own"
	}
	urls := MasterURLs(d.cfg)
	token, err := OperatorToken(d.cfg)
	if err != nil && own && errors.Is(err, fs.ErrNotExist) {
		return CheckOK, "master.urls is empty: this installation is its own, and was not started yet"
	}
	if err != nil {
		return CheckWarning, "not asked: " + strings.ReplaceAll(d.locate(err).Error(), "\n", "; ")
	}
	c, err := NewMasterClient(d.cfg, urls, token)
	if err != nil {
		return d.failed(err, "")
	}
	defer c.Close()
	h, err := c.Health(ctx)
	var (
		problem *control.Problem
		dial    *net.OpError
	)
	switch {
	case err == nil:
	case own && errors.As(err, &dial) && dial.Op == "dial":
		return CheckOK, "master.urls is empty: this installation is its own, and does not run now at " + urls[0]
	case !errors.As(err, &problem):
		return d.failed(err, "check master.urls, and that a master runs")
	default:
		return d.failed(err, "is the token ("+OperatorTokenOrigin(d.cfg)+") one of the masters' operator tokens?")
	}
	leads := "nobody leads"
	if h.Leader != "" {
		leads = h.Leader + " leads"
	}
	collectors := "1 collector"
	if h.Collectors != 1 {
		collectors = fmt.Sprintf("%d collectors", h.Collectors)
	}
	told := []string{fmt.Sprintf("%s answers, %s, %s", h.Master, leads, collectors)}
	for _, k := range h.Conditions {
		told = append(told, ConditionText(k))
	}
	if !h.OK {
		return CheckWarning, strings.Join(told, "; ")
	}
	return CheckOK, strings.Join(told, "; ")
}

// ConditionText is a condition on a line.
func ConditionText(c control.Condition) string {
	name := c.Name
	if c.Subject != "" {
		name += " " + c.Subject
	}
	return name + ": " + strings.ReplaceAll(c.Detail, "\n", "; ")
}
