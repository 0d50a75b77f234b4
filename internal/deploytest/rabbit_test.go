package deploytest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
		// RabbitMQ 3 has no limit of deliveries and refuses -1, which is how 4 says so.
		for _, p := range definitions["policies"].([]any) {
			d := p.(map[string]any)["definition"].(map[string]any)
			if _, ok := d["delivery-limit"]; ok {
				d["delivery-limit"] = 1_000_000
			}
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
	for _, user := range []string{"declare", "master", "collector", "consumer"} {
		secret, err := os.ReadFile(filepath.Join(dir, "rabbitmq-"+user+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		passwords[user] = strings.TrimSpace(string(secret))
	}
	return passwords
}

// The users of the broker may do what their roles do, and nothing else.
func TestRabbitPermissions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	b := testrabbit.Start(t)
	passwords := seed(t, b)

	config := func(user string) rabbit.Config {
		return rabbit.Config{Addresses: []string{b.Address}, User: user, Password: passwords[user], Name: user}
	}
	if err := rabbit.Declare(t.Context(), config("declare")); err != nil {
		t.Fatal(err)
	}
	open := func(user string) *rabbit.Queue {
		q, err := rabbit.Open(t.Context(), config(user))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := q.Check(t.Context()); err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		return q
	}
	collector, consumer, master := open("collector"), open("consumer"), open("master")

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
		if n, err := master.Depth(t.Context(), name); err != nil || n != want {
			t.Errorf("the master sees %d in %s (%v), want %d", n, name, err, want)
		}
	}

	// The policies are in force: nothing that is kept is bounded, what is lossy is.
	policies, err := b.Ctl(t.Context(), "list_queues", "--no-table-headers", "name", "policy")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(policies), "\n") {
		name, policy, _ := strings.Cut(line, "\t")
		want := "tungstene-kept"
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
		{"collector", "read the store queue", consume(queue.Store)},
		{"collector", "read dead letters", consume(queue.Dead)},
		{"collector", "read the live feed", listen},
		{"collector", "empty the store queue", purge(queue.Store)},
		{"collector", "declare a queue", declare("other")},
		{"collector", "delete the store queue", remove(queue.Store)},
		{"consumer", "read dead letters", consume(queue.Dead)},
		{"consumer", "send to the live feed", send("live", "")},
		{"consumer", "declare a queue", declare("other")},
		{"consumer", "delete the store queue", remove(queue.Store)},
		{"consumer", "delete the live feed", func(ch *amqp.Channel) error { return ch.ExchangeDelete("live", false, false) }},
		{"master", "publish to the store queue", send("", queue.Store)},
		{"master", "send to the live feed", send("live", "")},
		{"master", "read the store queue", consume(queue.Store)},
		{"master", "read the live feed", listen},
		{"master", "declare a queue", declare("other")},
		{"declare", "declare another queue", declare("other")},
		{"declare", "read the store queue", consume(queue.Store)},
		{"declare", "publish to the store queue", send("", queue.Store)},
	} {
		conn, err := amqp.Dial("amqp://" + c.user + ":" + passwords[c.user] + "@" + b.Address + "/")
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
	if conn, err := amqp.Dial("amqp://collector:wrong@" + b.Address + "/"); err == nil {
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

func listen(ch *amqp.Channel) error {
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	return ch.QueueBind(q.Name, "", "live", false, nil)
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
