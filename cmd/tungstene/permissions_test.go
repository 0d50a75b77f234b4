package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
)

func TestPermissionsShow(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, "permissions", "show", "--queue-prefix", "z-", "--user-prefix", "u-", "--store-database", "zevent")
	if code != app.ExitOK || errs != "" {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	for _, want := range []string{"u-collector", "^(z-store|z-dead|z-live)$", "tungstene-z-kept", "zeventMaster", "reject-publish"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %s:\n%s", want, out)
		}
	}
	for flag, keys := range map[string][]string{
		"--broker": {"vhosts", "permissions", "policies"}, "--database": {"roles", "users"}, "": {"broker", "database"},
	} {
		code, out, errs := run(t, strings.Fields("permissions show --json "+flag)...)
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != app.ExitOK || len(got) != len(keys) {
			t.Errorf("%s: exit code %d, %v, %s", flag, code, err, errs)
		}
		for _, k := range keys {
			if got[k] == nil {
				t.Errorf("%s: no %s", flag, k)
			}
		}
	}
}

func TestPermissionsApplyWrongUse(t *testing.T) {
	t.Setenv("TUNGSTENE_ADMIN_PASSWORD", "")
	password := write(t, "password", "hunter2\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--admin-user", "a"}, "name one of --broker and --database"},
		{[]string{"--admin-user", "a", "--broker", "--database"}, "name one of --broker and --database"},
		{[]string{"--broker"}, "--admin-user"},
		{[]string{"--broker", "--admin-user", "a"}, "set TUNGSTENE_ADMIN_PASSWORD"},
		{[]string{"--broker", "--admin-user", "a", "--admin-password-file", password, "--password-file", "analyst=" + password}, `no role "analyst": use declarer, collector, consumer, monitor`},
		{[]string{"--broker", "--admin-user", "a", "--admin-password-file", password, "--management-url", "127.0.0.1"}, "--management-url: use http://host:port"},
		{[]string{"--broker", "--admin-user", "a", "--admin-password-file", password, "--management-url", "http://a:hunter2@127.0.0.1"}, "--management-url holds a user"},
	} {
		code, out, errs := run(t, append([]string{"permissions", "apply"}, c.args...)...)
		if code != app.ExitUsage || !strings.Contains(errs, c.want) || strings.Contains(out+errs, "hunter2") {
			t.Errorf("%v: exit code %d, %s, want %s", c.args, code, errs, c.want)
		}
	}
	// Nobody is there, and nothing is told.
	code, out, errs := run(t, "permissions", "apply", "--broker", "--admin-user", "a", "--admin-password-file", password, "--management-url", "http://127.0.0.1:1")
	if code != app.ExitFailed || !strings.Contains(errs, "is the plugin rabbitmq_management enabled?") || strings.Contains(out+errs, "hunter2") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
