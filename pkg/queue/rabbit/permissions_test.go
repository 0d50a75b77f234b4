package rabbit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/queue/rabbit"
)

// Rights are over the names with their prefix, and over no others.
func TestPermissionsHonourThePrefix(t *testing.T) {
	for _, prefix := range []string{"", "zevent.26-"} {
		for _, p := range rabbit.Permissions(prefix) {
			for kind, pattern := range map[string]string{"configure": p.Configure, "write": p.Write, "read": p.Read} {
				re, err := regexp.Compile(pattern)
				if err != nil {
					t.Fatal(err)
				}
				for _, foreign := range []string{"", "other", prefix + "storehouse", "x" + prefix + "store", "zeventx26-store", "amq.fanout"} {
					if foreign != "" && re.MatchString(foreign) {
						t.Errorf("prefix %q: %s may %s %q", prefix, p.Role, kind, foreign)
					}
				}
				if prefix != "" && re.MatchString("store") {
					t.Errorf("prefix %q: %s may %s the queue of another installation", prefix, p.Role, kind)
				}
			}
			if got := regexp.MustCompile(p.Read).MatchString(prefix + "dead"); got != (p.Role == rabbit.RoleConsumer) {
				t.Errorf("prefix %q: %s reads dead letters: %t", prefix, p.Role, got)
			}
		}
	}
}

func TestPoliciesByVersion(t *testing.T) {
	for _, c := range []struct {
		major int
		bytes int64
		want  string
	}{
		{3, 5, `{"max-length-bytes":5,"overflow":"reject-publish"}`},
		{4, 5, `{"delivery-limit":-1,"max-length-bytes":5,"overflow":"reject-publish"}`},
		{4, 0, `{"delivery-limit":-1}`},
		{3, 0, ``},
	} {
		policies := rabbit.Policies("", c.major, c.bytes)
		got := ""
		if policies[0].Name == "tungstene-kept" {
			b, err := json.Marshal(policies[0].Definition)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b)
		}
		if got != c.want {
			t.Errorf("version %d, %d bytes: %s, want %s", c.major, c.bytes, got, c.want)
		}
	}
}

// What is wrong is said, without any password.
func TestApplyTellsWhatIsWrong(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	moved := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	}
	grant := rabbit.Grant{Passwords: map[string]string{rabbit.RoleCollector: "hunter2"}}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		grant   rabbit.Grant
		want    string
	}{
		"not let in":     {answer(401, `{"error":"not_authorized"}`), grant, "check name and password of the administrator"},
		"other server":   {answer(200, "<html>"), grant, "is this the management API of RabbitMQ?"},
		"broken":         {answer(500, `{"reason":"out of disk"}`), grant, "out of disk"},
		"redirected":     {moved, grant, "302"},
		"no version":     {answer(200, `{"rabbitmq_version":"one"}`), grant, `its version is "one"`},
		"unknown role":   {answer(200, `{}`), rabbit.Grant{Passwords: map[string]string{"admin": "hunter2"}}, `no role "admin"`},
		"empty password": {answer(200, `{}`), rabbit.Grant{Passwords: map[string]string{rabbit.RoleCollector: ""}}, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			m := rabbit.Management{URL: s.URL, User: "admin", Password: "hunter3", Client: s.Client()}
			m.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			_, err := m.Apply(t.Context(), c.grant)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("it says %v, want %s", err, c.want)
			}
		})
	}
	_, err := rabbit.Management{URL: "http://admin:hunter3@127.0.0.1:1", User: "admin", Password: "hunter3"}.Apply(t.Context(), grant)
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
	m := rabbit.Management{URL: "http://127.0.0.1", User: "admin", Password: "hunter3"}
	if text := fmt.Sprintf("%v %+v %#v %v %+v %#v", m, m, m, grant, grant, grant); strings.Contains(text, "hunter") {
		t.Error(text)
	}
}
