package deploytest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tungstene/tungstene/internal/testrabbit"
	"github.com/tungstene/tungstene/pkg/queue"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
)

// seed gives a broker the users, permissions and policies of docker-compose.yml, and returns the
// users' passwords.
func seed(t *testing.T, b *testrabbit.Broker) map[string]string {
	t.Helper()
	dir := t.TempDir()
	makeSecrets(t, dir)
	var definitions map[string]any
	if err := json.Unmarshal([]byte(read(t, "deploy/rabbitmq/20-permissions.json")), &definitions); err != nil {
		t.Fatal(err)
	}
	version, err := b.Ctl(t.Context(), "version")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(version, "3.") {
		// RabbitMQ 3 has no limit of deliveries, and refuses -1, which is how 4 says so.
		for _, p := range definitions["policies"].([]any) {
			d := p.(map[string]any)["definition"].(map[string]any)
			delete(d, "delivery-limit")
		}
	}
	text, err := json.Marshal(definitions)
	if err != nil {
		t.Fatal(err)
	}
	permissions := filepath.Join(dir, "permissions.json")
	if err := os.WriteFile(permissions, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "rabbitmq-users.json"), permissions} {
		if _, err := b.Ctl(t.Context(), "import_definitions", file); err != nil {
			t.Fatal(err)
		}
	}
	passwords := map[string]string{}
	for _, user := range []string{"declarer", "monitor", "collector", "consumer"} {
		secret, err := os.ReadFile(filepath.Join(dir, "rabbitmq-"+user+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		passwords[user] = strings.TrimSpace(string(secret))
	}
	return passwords
}

// installation is where rights are held against a broker.
type installation struct {
	vhost, prefix, userPrefix string
	passwords                 map[string]string // by role
}

func (i installation) config(b *testrabbit.Broker, role string) rabbit.Config {
	return rabbit.Config{
		Addresses: []string{b.Address}, VHost: i.vhost, Prefix: i.prefix,
		User: i.userPrefix + role, Password: i.passwords[role], Name: role,
	}
}

// The users of the broker may do what their roles do, and nothing else: with the files of
// docker-compose.yml, and as 'tungstene permissions apply' makes them.
func TestRabbitPermissions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	b := testrabbit.Start(t)
	management, err := b.Manage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("loaded", func(t *testing.T) {
		holds(t, b, installation{vhost: "/", passwords: seed(t, b)})
	})
	t.Run("applied", func(t *testing.T) {
		if _, err := b.Ctl(t.Context(), "add_vhost", "two/rooms"); err != nil {
			t.Fatal(err)
		}
		holds(t, b, applied(t, b, management, "two/rooms"))
	})
}

// applied makes users and rights with the tool, as an operator would, and changes them.
func applied(t *testing.T, b *testrabbit.Broker, management, vhost string) installation {
	t.Helper()
	dir := t.TempDir()
	tool := filepath.Join(dir, "tungstene")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "./cmd/tungstene")
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v: %s", err, out)
	}
	in := installation{vhost: vhost, prefix: "zevent.26-", userPrefix: "z26-", passwords: map[string]string{}}
	secret := func(name, value string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	common := []string{
		"permissions", "apply", "--broker", "--json", "--management-url", management, "--admin-user", b.User,
		"--queue-vhost", vhost, "--queue-prefix", in.prefix, "--user-prefix", in.userPrefix,
	}
	run := func(wantCode int, args ...string) map[string]string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, append(slices.Clone(common), args...)...)
		cmd.Dir = dir
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != wantCode {
			t.Fatalf("%v: %v, want exit code %d: %s%s", args, err, wantCode, out.String(), errs.String())
		}
		for role, p := range in.passwords {
			if strings.Contains(out.String()+errs.String(), p) {
				t.Errorf("%v prints the password of %s", args, role)
			}
		}
		var changes []struct {
			Kind    string `json:"kind"`
			Name    string `json:"name"`
			Outcome string `json:"outcome"`
		}
		if err := json.Unmarshal(out.Bytes(), &changes); err != nil && wantCode == 0 {
			t.Fatalf("%v: %v: %s", args, err, out.String())
		}
		got := map[string]string{}
		for _, c := range changes {
			got[c.Kind+" "+c.Name] = c.Outcome
		}
		return got
	}
	admin := []string{"--admin-password-file", secret("admin", b.Password)}
	var files []string
	for _, p := range rabbit.Permissions("") {
		in.passwords[p.Role] = rand.Text()
		files = append(files, "--password-file", p.Role+"="+secret(p.Role, in.passwords[p.Role]))
	}
	all := func(outcome string, others map[string]string) map[string]string {
		want := map[string]string{"policy tungstene-zevent.26-kept": outcome, "policy tungstene-live": outcome}
		for role := range in.passwords {
			want["user z26-"+role], want["permission z26-"+role] = outcome, outcome
		}
		maps.Copy(want, others)
		return want
	}
	check := func(what string, got, want map[string]string) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}

	run(1, admin...) // new users have no password
	run(1, append([]string{"--admin-password-file", secret("wrong", "not it")}, files...)...)
	run(2, append([]string{"--password-file", "nobody=" + secret("nobody", "x")}, admin...)...)
	// The policies stand since the first attempt.
	check("the first time", run(0, append(admin, files...)...), all("created", map[string]string{
		"policy tungstene-zevent.26-kept": "unchanged", "policy tungstene-live": "unchanged",
	}))
	check("again", run(0, append(admin, files...)...), all("unchanged", nil))
	check("again without passwords", run(0, admin...), all("unchanged", nil))
	if _, err := b.Ctl(t.Context(), "set_permissions", "-p", vhost, "z26-collector", ".*", ".*", ".*"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ctl(t.Context(), "set_user_tags", "z26-monitor", "administrator"); err != nil {
		t.Fatal(err)
	}
	in.passwords[rabbit.RoleConsumer] = rand.Text()
	secret(rabbit.RoleConsumer, in.passwords[rabbit.RoleConsumer])
	check("after changes", run(0, append(append(admin, files...), "--max-bytes", "1000000")...), all("unchanged", map[string]string{
		"permission z26-collector": "updated", "user z26-monitor": "updated", "user z26-consumer": "updated",
		"policy tungstene-zevent.26-kept": "updated",
	}))
	return in
}

// holds is what every user may do, and must not.
func holds(t *testing.T, b *testrabbit.Broker, in installation) {
	t.Helper()
	if err := rabbit.Declare(t.Context(), in.config(b, "declarer")); err != nil {
		t.Fatal(err)
	}
	open := func(role string) *rabbit.Queue {
		q, err := rabbit.Open(t.Context(), in.config(b, role))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := q.Check(t.Context()); err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		return q
	}
	collector, consumer, monitor := open("collector"), open("consumer"), open("monitor")

	// What the roles do.
	live, err := consumer.Listen(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	if err := collector.Send(t.Context(), queue.Message{ID: "live", Body: []byte("copy")}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, live); got.ID != "live" {
		t.Errorf("the live feed gave %q", got.ID)
	}
	if err := collector.Publish(t.Context(), queue.Store, queue.Message{ID: "batch", Body: []byte("batch")}); err != nil {
		t.Fatal(err)
	}
	deliveries, err := consumer.Subscribe(t.Context(), queue.Store, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := receive(t, deliveries)
	if err := consumer.Publish(t.Context(), queue.Dead, queue.Message{ID: "letter", Body: d.Body}); err != nil {
		t.Fatal(err)
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{queue.Store: 0, queue.Dead: 1} {
		if n, err := monitor.Depth(t.Context(), name); err != nil || n != want {
			t.Errorf("the monitor sees %d in %s (%v), want %d", n, name, err, want)
		}
	}

	// A letter is taken back, and replayed.
	letters, err := consumer.Subscribe(t.Context(), queue.Dead, 1)
	if err != nil {
		t.Fatal(err)
	}
	letter := receive(t, letters)
	if err := errors.Join(consumer.Publish(t.Context(), queue.Store, letter.Message), letter.Ack(t.Context())); err != nil {
		t.Fatal(err)
	}
	if again := receive(t, deliveries); again.ID != "letter" || again.Ack(t.Context()) != nil {
		t.Errorf("%q came out of the replay", again.ID)
	}

	// The policies are in force.
	policies, err := b.Ctl(t.Context(), "list_queues", "-p", in.vhost, "--no-table-headers", "name", "policy")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(policies), "\n") {
		name, policy, _ := strings.Cut(line, "\t")
		want := "tungstene-" + in.prefix + "kept"
		if strings.HasPrefix(name, "amq.gen-") {
			want = "tungstene-live"
		}
		if policy != want {
			t.Errorf("queue %s has policy %q, want %q", name, policy, want)
		}
	}

	// What they must not do.
	for _, c := range []struct {
		user, what string
		do         func(*amqp.Channel) error
	}{
		{"collector", "read the store queue", consume(in.prefix + queue.Store)},
		{"collector", "read dead letters", consume(in.prefix + queue.Dead)},
		{"collector", "read the live feed", listen(in.prefix)},
		{"collector", "empty the store queue", purge(in.prefix + queue.Store)},
		{"collector", "declare a queue", declare("other")},
		{"collector", "delete the store queue", remove(in.prefix + queue.Store)},
		{"consumer", "send to the live feed", send(in.prefix+"live", "")},
		{"consumer", "declare a queue", declare("other")},
		{"consumer", "delete the store queue", remove(in.prefix + queue.Store)},
		{"consumer", "delete the live feed", func(ch *amqp.Channel) error { return ch.ExchangeDelete(in.prefix+"live", false, false) }},
		{"monitor", "publish to the store queue", send("", in.prefix+queue.Store)},
		{"monitor", "send to the live feed", send(in.prefix+"live", "")},
		{"monitor", "read the store queue", consume(in.prefix + queue.Store)},
		{"monitor", "read the live feed", listen(in.prefix)},
		{"monitor", "declare a queue", declare("other")},
		{"declarer", "declare another queue", declare("other")},
		{"declarer", "read the store queue", consume(in.prefix + queue.Store)},
		{"declarer", "publish to the store queue", send("", in.prefix+queue.Store)},
	} {
		conn, err := amqp.DialConfig("amqp://"+b.Address, amqp.Config{Vhost: in.vhost, SASL: []amqp.Authentication{
			&amqp.PlainAuth{Username: in.userPrefix + c.user, Password: in.passwords[c.user]},
		}})
		if err != nil {
			t.Fatal(err)
		}
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		err = c.do(ch)
		var refused *amqp.Error
		if !errors.As(err, &refused) || refused.Code != amqp.AccessRefused {
			t.Errorf("%s may %s: %v", c.user, c.what, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if conn, err := amqp.Dial("amqp://" + in.userPrefix + "collector:wrong@" + b.Address + "/"); err == nil {
		conn.Close()
		t.Error("any password will do")
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatal("ended instead of delivering")
		}
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing was delivered within a minute")
	}
	panic("unreachable")
}

func consume(name string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.Consume(name, "", false, false, false, false, nil)
		return err
	}
}

func purge(name string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.QueuePurge(name, false)
		return err
	}
}

func remove(name string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	}
}

func declare(name string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, nil)
		return err
	}
}

func listen(prefix string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return err
		}
		return ch.QueueBind(q.Name, "", prefix+"live", false, nil)
	}
}

// send publishes with confirmations: a refusal closes the channel.
func send(exchange, key string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		closes := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := ch.Confirm(false); err != nil {
			return err
		}
		confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{})
		if err != nil {
			return err
		}
		select {
		case e := <-closes:
			if e == nil {
				return nil
			}
			return e
		case <-confirm.Done():
			return nil
		}
	}
}
