package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Help begins with a command's own flags, and shows those of the configuration that matter to it.
func TestHelpOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]struct {
		has  []string
		none string
	}{
		"stats leaderboard": {[]string{"--race", "Configuration (every other field", "--data", "$TUNGSTENE_DATA"}, "--twitch"},
		"stats":             {[]string{"--raids", "Configuration", "stats overlap"}, "--twitch"},
		"report":            {[]string{"--edition", "Configuration", "--listen", "report check"}, "--store"},
		"goal list":         {[]string{"--next", "Configuration:", "--master-urls"}, "--master-keys-dir"},
		"queue depth":       {[]string{"--json", "Configuration (every other field", "--queue-addresses"}, "--store"},
		"up":                {[]string{"--collectors", "Configuration:", "--twitch-clients", "--rollup-grace"}, "every other"},
	} {
		_, out, _ := run(t, append(strings.Fields(c), "--help")...)
		at := 0
		for _, text := range want.has {
			i := strings.Index(out[at:], text)
			if i < 0 {
				t.Errorf("%s --help: no %q, or not in this place:\n%s", c, text, out)
				break
			}
			at += i
		}
		if strings.Contains(out, want.none) {
			t.Errorf("%s --help: %q is in\n%s", c, want.none, out)
		}
	}
}

// Flags may stand anywhere, before the names of commands too. What follows one that takes a value is its value.
func TestFlagsAnywhere(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for args, want := range map[string]string{
		"stats --by money leaderboard":                `--by "money": use one of`,
		"stats --race leaderboard --top=-1 --by bits": "--top -1: use 0 for all",
		"stats --channel=x bursts --top 0":            "--top 0: use 1 or more",
		"--config nowhere.yaml stats overlap":         "nowhere.yaml",
		"-c nowhere.yaml stats overlap":               "nowhere.yaml",
		"stats --channel leaderboard --top 3":         "unknown flag --top",
		"stats --unknown leaderboard":                 "unknown flag --unknown",
		"deadletter --all drop":                       "say --yes",
		"report --templates nowhere check":            "--templates nowhere: it is no folder",
		"forget --chatter list":                       "name one event",
	} {
		if !strings.Contains(args, "config") && !strings.Contains(args, "-c ") && !strings.Contains(args, "check") {
			args = strings.Replace(args, " ", " --data "+data+" ", 1)
		}
		if code, _, errs := run(t, strings.Fields(args)...); code != app.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, want %q, got: %s", args, code, want, errs)
		}
	}
	if code, out, errs := run(t, "report", "--templates", "x", "--help", "check"); code != app.ExitOK || !strings.Contains(out, "tungstene report check") {
		t.Errorf("--help before a command: exit code %d, %s%s", code, out, errs)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for _, c := range []struct {
		args string
		want string
	}{
		{"", "expected one of"},
		{"dmo", "unexpected argument dmo"},
		{"stats --channel", "--channel: give it a value"},
		{"demo --replicas 3", "--replicas 3: use 1 or 2"},
		{"demo --rate 0", "must be above 0"},
		{"demo --from 2020-01-01T00:00:00Z", "--from goes with --replay"},
		{"demo --replay nowhere.csv", "nowhere.csv"},
		{"demo --duplicate 2", "use 0 to 1"},
		{"sim --rate 0", "must be above 0"},
		{"sim --joins=0", "--joins=-1 for no limit"},
		{"verify", "--ledger"},
		{"up --collectors 0", "--collectors 0"},
		{"up --config nowhere.yaml", "nowhere.yaml"},
		{"event set x --data " + data, "nothing to change"},
		{"event destroy-key x --data " + data, "it can't be undone: give --yes"},
		{"event freeze x --cancel --wait --data " + data, "--cancel goes with neither"},
		{"forget --chatter somebody --data " + data, "name one event with --event, or give --all-events"},
		{"forget --chatter somebody --event x --all-events --data " + data, "can't be used together"},
		{"forget --event x", "--chatter"},
		{"forget list", "--event"},
		{"optout add", "<person>"},
		{"queue depth --data " + data, "only the process that runs on it can tell"},
		{"queue declare --data " + data, "only rabbit has anything to declare"},
		{"channel import x nowhere.txt --data " + data, "nowhere.txt"},
		{"deadletter list --limit 0 --data " + data, "--limit 0: use 1 to 1000"},
		{"deadletter replay --data " + data, "name the dead letters, or use --all"},
		{"deadletter replay abcdef --all --data " + data, "not both"},
		{"deadletter replay abcdef --code frozen --data " + data, "go with --all"},
		{"deadletter drop --all --data " + data, "say --yes"},
		{"rollup rebuild --data " + data, "--event"},
		{"rollup rebuild --event x --from yesterday --data " + data, `--from: "yesterday" is no time with its offset: use a time such as 2026-12-04T18:00:00+01:00`},
		{"event set x --end 2026-12-04 --data " + data, "use a time such as 2026-12-04T18:00:00+01:00"},
		{"manifest check --event x --public-key AAAA --data " + data, `--public-key "AAAA": use the 44 characters of base64`},
		{"event manifest x --public-key AAAA --data " + data, `--public-key "AAAA": use the 44 characters of base64`},
		{"deadletter replay --all --code bogus --data " + data, "--code"},
		{"drain --data " + data, "<collector>"},
		{"drain c0 --timeout 0s --data " + data, "--timeout 0s"},
		{"backfill --event x --channel y nowhere.log --data " + data, "nowhere.log"},
		{"stats --from 2026-12-05T00:00:00Z --to 2026-12-04T00:00:00Z --data " + data, "is not before --to"},
		{"stats leaderboard --by money --data " + data, `--by "money": use one of donations,`},
		{"stats leaderboard --race --from 2026-12-05T00:00:00Z --data " + data, "--race is of the whole event"},
		{"stats bursts --top 0 --data " + data, "--top 0: use 1 or more"},
		{"stats compare --data " + data, "--with"},
		{"stats compare --with x --step 90s --data " + data, "--step 1m30s: use whole minutes"},
		{"backfill --event x --channel y nowhere.log --format xml --data " + data, "--format"},
	} {
		code, _, errs := run(t, strings.Fields(c.args)...)
		if code != app.ExitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q, got: %s", c.args, code, app.ExitUsage, c.want, errs)
		}
	}
}

// What could not be printed has failed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var errs strings.Builder
	p := program()
	p.Stdout, p.Stderr = full, &errs
	if code := p.Main([]string{"permissions", "show"}); code != app.ExitFailed || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// What the surroundings are to blame for names the field and the file all the same, and is a
// failure, not wrong use. Nothing panics, and what was opened is let go.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	clients := "twitch:\n  clients:\n    abc: " + write(t, "secret", "xyz") + "\n"
	for _, c := range []struct {
		name, config, want string
		code               int
	}{
		{"a port that is taken", "listen: " + taken.Addr().String() + "\n" + clients, "c.yaml:1: listen: ", app.ExitFailed},
		{"no client id", "listen: 127.0.0.1:0\n", "twitch.clients (--twitch-clients, TUNGSTENE_TWITCH_CLIENTS): no client id", app.ExitUsage},
		{
			"a secret that can't be read", "listen: 127.0.0.1:0\ntwitch:\n  clients:\n    abc: /nonexistent/secret\n",
			"c.yaml:3: twitch.clients: open /nonexistent/secret", app.ExitFailed,
		},
		{
			"a token that is too short", "listen: 127.0.0.1:0\nmaster:\n  operator_token_file: " + write(t, "token", "abc") + "\n" + clients,
			"c.yaml:3: master.operator_token_file: token file", app.ExitFailed,
		},
		{"a data folder that can't be made", "listen: 127.0.0.1:0\ndata: /proc/nowhere\n" + clients, "c.yaml:2: data: ", app.ExitFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.config
			if !strings.Contains(config, "data:") {
				config += "data: " + t.TempDir() + "\n"
			}
			code, _, errs := run(t, "up", "--config", write(t, "c.yaml", config))
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d, want %d and %q, got: %s", code, c.code, c.want, errs)
			}
			if strings.Contains(errs, "panic") || strings.Contains(errs, "xyz") {
				t.Errorf("it says: %s", errs)
			}
		})
	}
}

// A role's configuration does not change what a command is asked for.
func TestACommandsOwnFlags(t *testing.T) {
	t.Setenv("TUNGSTENE_NAME", "master-9")
	config := write(t, "c.yaml", "name: node-1\ndata: "+t.TempDir()+"\n")
	code, _, errs := run(t, "event", "set", "x", "--config", config)
	if code != app.ExitUsage || !strings.Contains(errs, "nothing to change") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// An operator's command finds the master of the configuration that it is given.
func TestTheMasterOfTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "operator.token"), []byte("abcdefghijklmnopqrstuvwxyz\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	code, _, errs := run(t, "event", "list", "--config", write(t, "c.yaml", "listen: "+address+"\ndata: "+dir+"\n"))
	if code != app.ExitFailed || !strings.Contains(errs, address) || !strings.Contains(errs, "is a master running there?") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
