// Package deploytest checks what is deployed: docker-compose.yml, the files of deploy/, the
// Dockerfile, and what the users of the broker may do there.
package deploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/charity"
	"github.com/tungstene/tungstene/pkg/queue/rabbit"
	"github.com/tungstene/tungstene/pkg/sim"
	"github.com/tungstene/tungstene/pkg/store/mongo"
)

const ourUser = "65532:65532"

// root is the project's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// load reads docker-compose.yml as docker compose would with that env file.
func load(t *testing.T, envFile string, env ...string) (*types.Project, error) {
	t.Helper()
	dir := root(t)
	opts, err := cli.NewProjectOptions([]string{filepath.Join(dir, "docker-compose.yml")},
		cli.WithWorkingDirectory(dir),
		cli.WithEnv(env),
		cli.WithEnvFiles(filepath.Join(dir, envFile)),
		cli.WithDotEnv,
		cli.WithDefaultProfiles(),
	)
	if err != nil {
		t.Fatal(err)
	}
	return opts.LoadProject(t.Context())
}

// shape is one way to start the installation.
type shape struct {
	name     string
	project  *types.Project
	services []string // those that run
}

func shapes(t *testing.T) []shape {
	t.Helper()
	production := []string{
		"collector-1", "collector-2", "collector-3", "consumer-1", "consumer-2", "declare",
		"master-1", "master-2", "mongodb", "mongodb-init", "rabbitmq",
	}
	out := []shape{
		{name: "production", services: production},
		{name: "demo", services: append(slices.Clone(production), "demo-event", "sim", "collector-charity")},
		{name: "tool", services: append(slices.Clone(production), "tool")},
		{name: "charity", services: append(slices.Clone(production), "collector-charity")},
	}
	for i, l := range []struct {
		file string
		env  []string
	}{
		{"deploy/example.env", []string{"TWITCH_CLIENT_ID=abc123"}},
		{"deploy/demo.env", nil},
		{"deploy/example.env", []string{"TWITCH_CLIENT_ID=abc123", "COMPOSE_PROFILES=tool"}},
		{"deploy/example.env", []string{"TWITCH_CLIENT_ID=abc123", "COMPOSE_PROFILES=charity"}},
	} {
		p, err := load(t, l.file, l.env...)
		if err != nil {
			t.Fatalf("%s: %v", out[i].name, err)
		}
		out[i].project = p
	}
	return out
}

// ours says whether a service runs our image.
func ours(s types.ServiceConfig) bool { return strings.HasPrefix(s.Image, "tungstene:") }

// once says whether a service does one thing and ends.
func once(s types.ServiceConfig) bool { return s.Restart == "no" }

func TestServices(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z]+:\d+\.\d+\.\d+(-management)?$`)
	for _, sh := range shapes(t) {
		t.Run(sh.name, func(t *testing.T) {
			names := sh.project.ServiceNames()
			slices.Sort(sh.services)
			if !slices.Equal(names, sh.services) {
				t.Errorf("services are %v, want %v", names, sh.services)
			}
			for name, s := range sh.project.Services {
				if !s.ReadOnly {
					t.Errorf("%s: its root file system can be written", name)
				}
				if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged {
					t.Errorf("%s: has capabilities", name)
				}
				if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
					t.Errorf("%s: may gain privileges", name)
				}
				uid, _, _ := strings.Cut(s.User, ":")
				if uid == "" || uid == "0" || uid == "root" {
					t.Errorf("%s: runs as %q", name, s.User)
				}
				if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
					t.Errorf("%s: its log is not bounded", name)
				}
				if s.Deploy == nil || s.Deploy.Resources.Limits == nil ||
					s.Deploy.Resources.Limits.MemoryBytes == 0 || s.Deploy.Resources.Limits.NanoCPUs.Value() == 0 {
					t.Errorf("%s: memory and processors are not bounded", name)
				}
				checked := s.HealthCheck != nil && !s.HealthCheck.Disable && len(s.HealthCheck.Test) > 0
				if !once(s) && (!checked || s.Restart != "unless-stopped") {
					t.Errorf("%s: has no health check, or is not restarted (%q)", name, s.Restart)
				}
				if ours(s) {
					if s.User != ourUser || s.Build == nil {
						t.Errorf("%s: user %q, built here: %t", name, s.User, s.Build != nil)
					}
				} else if !pinned.MatchString(s.Image) {
					t.Errorf("%s: image %q is not pinned to a version", name, s.Image)
				}
				for _, port := range s.Ports {
					if ip := net.ParseIP(port.HostIP); ip == nil || !ip.IsLoopback() {
						t.Errorf("%s: port %s is published on %q", name, port.Published, port.HostIP)
					}
				}
				if s.Build != nil && s.Build.Context != root(t) {
					t.Errorf("%s: is built from %s", name, s.Build.Context)
				}
			}
		})
	}
}

// The broker and the database are reached by those who need them and by nobody else.
func TestNetworks(t *testing.T) {
	for _, sh := range shapes(t) {
		for network, want := range map[string]string{
			"broker":   `^(rabbitmq|declare|(master|collector|consumer)-\d|collector-charity|tool)$`,
			"database": `^(mongodb|(master|consumer)-\d|tool)$`,
			"outside":  `^((master|collector)-\d|collector-charity|tool)$`,
		} {
			if got := sh.project.Networks[network].Internal; got != (network != "outside") {
				t.Errorf("network %s: internal is %t", network, got)
			}
			for name, s := range sh.project.Services {
				if _, in := s.Networks[network]; in && !regexp.MustCompile(want).MatchString(name) {
					t.Errorf("%s is in network %s", name, network)
				}
			}
		}
		for _, name := range []string{"rabbitmq", "mongodb"} {
			if s := sh.project.Services[name]; len(s.Ports) > 0 || len(s.Networks) != 1 {
				t.Errorf("%s: ports %v, networks %v", name, s.Ports, s.Networks)
			}
		}
	}
}

func TestDependencies(t *testing.T) {
	for _, sh := range shapes(t) {
		all := sh.project.AllServices()
		for name, s := range all {
			for on, d := range s.DependsOn {
				target, ok := all[on]
				switch {
				case !ok:
					t.Errorf("%s waits for %s, which is not there", name, on)
				case d.Condition == types.ServiceConditionCompletedSuccessfully && !once(target):
					t.Errorf("%s waits for the end of %s, which does not end", name, on)
				case d.Condition == types.ServiceConditionHealthy && once(target):
					t.Errorf("%s waits for the health of %s, which ends", name, on)
				case d.Condition == types.ServiceConditionStarted && s.NetworkMode == "":
					t.Errorf("%s waits for %s to be started, which says nothing", name, on)
				}
				if _, runs := sh.project.Services[on]; !runs && d.Required && slices.Contains(sh.services, name) {
					t.Errorf("%s needs %s, which does not run", name, on)
				}
			}
		}
	}
	// Where Twitch is simulated, nobody asks it before it is there.
	demo := shapes(t)[1].project
	for name, s := range demo.Services {
		if _, asks := s.Environment["TUNGSTENE_TWITCH_HELIX"]; asks && s.DependsOn["sim"].Condition != types.ServiceConditionHealthy {
			t.Errorf("%s does not wait for the simulator", name)
		}
	}
}

// Volumes that hold data outlive their container and are mounted where the image has a folder of
// our user.
func TestVolumes(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	for _, sh := range shapes(t) {
		keepers := map[string][]string{}
		for name, s := range sh.project.Services {
			for _, v := range s.Volumes {
				if v.Type != types.VolumeTypeVolume || v.Source == "" {
					t.Errorf("%s: %s is a %s without a name", name, v.Target, v.Type)
				}
				if _, ok := sh.project.Volumes[v.Source]; !ok {
					t.Errorf("%s: volume %s is not declared", name, v.Source)
				}
				if ours(s) && !v.ReadOnly && !strings.Contains(dockerfile, "/volumes"+v.Target) {
					t.Errorf("%s: the image has no folder %s, so root owns the volume", name, v.Target)
				}
				keepers[v.Source] = append(keepers[v.Source], name)
			}
		}
		for _, collector := range []string{"collector-1", "collector-2", "collector-3"} {
			if got := keepers[collector]; !slices.Equal(got, []string{collector}) {
				t.Errorf("the outbox of %s is mounted by %v", collector, got)
			}
		}
		if got := slices.Sorted(slices.Values(keepers["keys"])); !slices.Equal(got, []string{"master-1", "master-2"}) {
			t.Errorf("the pseudonym keys are mounted by %v", got)
		}
	}
	if got := shapes(t)[1].project.Name; got != "tungstene-demo" {
		t.Errorf("the demonstration is project %q, and could meet an event's data", got)
	}
}

// secretName is what hides a value in a name.
var secretName = regexp.MustCompile(`(?i)(password|secret|token|credential|passwd|_pass$)`)

func TestNoSecretIsShown(t *testing.T) {
	for _, sh := range shapes(t) {
		for name, s := range sh.project.Services {
			mounted := map[string]bool{}
			for _, sec := range s.Secrets {
				if _, ok := sh.project.Secrets[sec.Source]; !ok {
					t.Errorf("%s: secret %s is not declared", name, sec.Source)
				}
				mounted[path.Join("/run/secrets", sec.Target)] = true
				if sec.Target == "" {
					mounted[path.Join("/run/secrets", sec.Source)] = true
				}
				if path.IsAbs(sec.Target) {
					mounted[sec.Target] = true
				}
			}
			for k, v := range s.Environment {
				value := ""
				if v != nil {
					value = *v
				}
				if secretName.MatchString(k) && !strings.HasPrefix(value, "/run/secrets/") {
					t.Errorf("%s: %s holds a secret", name, k)
				}
				for _, file := range regexp.MustCompile(`/run/secrets/[a-z-]+`).FindAllString(value, -1) {
					if !mounted[file] {
						t.Errorf("%s: %s names %s, which is not mounted", name, k, file)
					}
				}
			}
			for _, word := range append(slices.Clone(s.Command), s.Entrypoint...) {
				if secretName.MatchString(word) {
					t.Errorf("%s: its command line says %q", name, word)
				}
			}
		}
		for name, sec := range sh.project.Secrets {
			if sec.Environment != "" || sec.Content != "" || !strings.HasPrefix(sec.File, filepath.Join(root(t), "deploy/secrets")+"/") {
				t.Errorf("secret %s is not a file of deploy/secrets: %q", name, sec.File)
			}
		}
		for name, cfg := range sh.project.Configs {
			if _, err := os.Stat(cfg.File); err != nil {
				t.Errorf("config %s: %v", name, err)
			}
		}
	}
	if !slices.Contains(strings.Split(read(t, ".gitignore"), "\n"), "/deploy/secrets/") {
		t.Error(".gitignore does not name /deploy/secrets/")
	}
	for _, line := range strings.Split(read(t, ".dockerignore"), "\n") {
		if strings.HasPrefix(line, "!") && !slices.Contains([]string{"!go.mod", "!go.sum", "!cmd", "!internal", "!pkg"}, line) {
			t.Errorf(".dockerignore lets %s into the build", line)
		}
	}
}

// Each role's configuration is that of deploy/tungstene.yaml and the service's environment, and is
// right.
func TestConfiguration(t *testing.T) {
	known := map[string]bool{"TUNGSTENE_CONFIG": true}
	for _, f := range app.Fields() {
		known[f.Env] = true
	}
	files, err := filepath.Glob(filepath.Join(root(t), "deploy", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no configuration in deploy/", err)
	}
	for _, file := range files {
		if _, err := app.LoadFile(file); err != nil {
			t.Error(err)
		}
	}
	for _, sh := range shapes(t) {
		for name, s := range sh.project.Services {
			if !ours(s) || s.Environment["TUNGSTENE_CONFIG"] == nil {
				continue
			}
			t.Run(sh.name+"/"+name, func(t *testing.T) {
				for k, v := range s.Environment {
					if !strings.HasPrefix(k, "TUNGSTENE_") {
						continue
					}
					if !known[k] {
						t.Errorf("%s is no field", k)
					}
					value := *v
					if k == "TUNGSTENE_CONFIG" {
						i := slices.IndexFunc(s.Configs, func(c types.ServiceConfigObjConfig) bool { return c.Target == value })
						if i < 0 {
							t.Fatalf("%s is not mounted", value)
						}
						value = sh.project.Configs[s.Configs[i].Source].File
					}
					t.Setenv(k, value)
				}
				var grammar struct{ app.Configured }
				var errs bytes.Buffer
				p := app.Program{Name: name, Grammar: &grammar, Stdout: io.Discard, Stderr: &errs}
				var cfg app.Config
				p.Run = func(context.Context) (err error) {
					cfg, err = grammar.Checked()
					return err
				}
				if code := p.Main(nil); code != app.ExitOK {
					t.Fatal(errs.String())
				}
				checkConfig(t, sh.name, s, cfg)
			})
		}
	}
}

func checkConfig(t *testing.T, shape string, s types.ServiceConfig, cfg app.Config) {
	t.Helper()
	role, _, _ := strings.Cut(s.Name, "-")
	is := func(what, got, want string) {
		if got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
	is("queue.kind", cfg.Queue.Kind, "rabbit")
	is("store.kind", cfg.Store.Kind, "mongo")
	is("listen", cfg.Listen, "0.0.0.0:8080")
	writable := slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == cfg.Data && !v.ReadOnly }) ||
		slices.ContainsFunc(s.Tmpfs, func(m string) bool { return strings.HasPrefix(m, cfg.Data+":uid=65532,") })
	if !writable {
		t.Errorf("nothing that can be written is mounted at %s", cfg.Data)
	}
	switch role {
	case "master", "collector", "consumer":
		is("name", cfg.Name, s.Name)
		is("node", cfg.Node, "host-1")
	}
	if user, ok := map[string]string{
		"master": rabbit.RoleMonitor, "collector": rabbit.RoleCollector, "consumer": rabbit.RoleConsumer,
		"declare": rabbit.RoleDeclarer, "tool": rabbit.RoleMonitor,
	}[role]; ok {
		is("queue.user", cfg.Queue.User, user)
		is("the secret of queue.user", sourceOf(s, "queue-password"), "rabbitmq-"+user)
	}
	if user, ok := map[string]string{"master": mongo.RoleMaster, "consumer": mongo.RoleConsumer, "tool": mongo.RoleOperator}[role]; ok {
		is("store.user", cfg.Store.User, user)
		is("the secret of store.user", sourceOf(s, "store-password"), "mongodb-"+user)
	}
	if role == "master" && !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Source == "keys" && v.Target == cfg.Master.KeysDir
	}) {
		t.Errorf("the volume of the keys is not at %s", cfg.Master.KeysDir)
	}
	for _, file := range []string{cfg.Master.OperatorTokenFile, cfg.Master.CollectorTokenFile} {
		used := role == "master" || role == "collector" && strings.Contains(file, "collector")
		if used && !slices.ContainsFunc(s.Secrets, func(sec types.ServiceSecretConfig) bool { return path.Base(file) == sec.Source }) {
			t.Errorf("%s is not mounted", file)
		}
	}
	for _, u := range cfg.Master.URLs {
		if u != "http://master-1:8080" && u != "http://master-2:8080" {
			t.Errorf("%s is no master", u)
		}
	}
	if role != "master" && role != "collector" && role != "tool" {
		return
	}
	if s.Name == "collector-charity" {
		checkCharity(t, s, cfg)
		return
	}
	if shape == "demo" {
		is("twitch.irc", cfg.Twitch.IRC, "sim:6667")
		is("twitch.helix", cfg.Twitch.Helix, "http://sim:6680/helix")
		is("twitch.auth", cfg.Twitch.Auth, "http://sim:6680")
	} else {
		is("twitch.irc", cfg.Twitch.IRC, "irc.chat.twitch.tv:6697")
		is("twitch.helix", cfg.Twitch.Helix, "https://api.twitch.tv/helix")
		is("twitch.auth", cfg.Twitch.Auth, "https://id.twitch.tv")
	}
	if cfg.Twitch.IRCTLS == (shape == "demo") {
		t.Errorf("twitch.irc_tls is %t", cfg.Twitch.IRCTLS)
	}
	if len(cfg.Twitch.Clients) != 1 {
		t.Errorf("twitch.clients is %v", cfg.Twitch.Clients)
	}
}

// checkCharity looks at the collector that only polls charity sources: it has their file, and nothing of
// Twitch's.
func checkCharity(t *testing.T, s types.ServiceConfig, cfg app.Config) {
	t.Helper()
	mounted := slices.ContainsFunc(s.Configs, func(c types.ServiceConfigObjConfig) bool {
		return c.Source == "charity" && c.Target == cfg.Charity.Sources
	})
	if cfg.Collector.Capacity != 0 || !mounted {
		t.Errorf("it takes %d channels; %s is mounted: %t", cfg.Collector.Capacity, cfg.Charity.Sources, mounted)
	}
	if len(cfg.Twitch.Clients) != 0 || sourceOf(s, "twitch-client-secret") != "" {
		t.Errorf("it has the client ids %v", cfg.Twitch.Clients)
	}
}

// The files of charity sources can be read, and that of the demonstration asks the simulator only.
func TestCharitySources(t *testing.T) {
	for _, file := range []string{"deploy/charity/sources.yaml", "deploy/demo/charity.yaml"} {
		list, err := charity.LoadSources(filepath.Join(root(t), file))
		if err != nil || len(list) == 0 {
			t.Errorf("%s: %d sources, %v", file, len(list), err)
		}
	}
	for _, line := range strings.Split(read(t, "deploy/demo/charity.yaml"), "\n") {
		if strings.Contains(line, "url:") && !strings.Contains(line, "http://sim:6680/") {
			t.Errorf("the demonstration asks %s", line)
		}
	}
}

// What is missing is said before anything starts.
func TestClientIDIsAsked(t *testing.T) {
	_, err := load(t, "deploy/example.env")
	if err == nil || !strings.Contains(err.Error(), "give the client id") {
		t.Errorf("without a client id: %v", err)
	}
}

// The event of the demonstration has the channels that the simulator makes.
func TestDemoChannels(t *testing.T) {
	s, err := sim.New(sim.Config{Channels: 350})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Run(ctx) // lets go of its ports
	})
	if got := strings.Fields(read(t, "deploy/demo/channels.txt")); !slices.Equal(got, s.Logins()) {
		t.Errorf("deploy/demo/channels.txt has %d channels that are not the simulator's %d: write it anew from GET /sim/channels",
			len(got), len(s.Logins()))
	}
}

// sourceOf is the secret that a service sees under a name.
func sourceOf(s types.ServiceConfig, target string) string {
	for _, sec := range s.Secrets {
		if sec.Target == target {
			return sec.Source
		}
	}
	return ""
}

// The rights that are loaded at the start are those of the code.
func TestRightsAreTheCodes(t *testing.T) {
	equal := func(file, command, text string, code any) {
		t.Helper()
		b, err := json.Marshal(code)
		if err != nil {
			t.Fatal(err)
		}
		var is, want any
		if err := errors.Join(json.Unmarshal([]byte(text), &is), json.Unmarshal(b, &want)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !reflect.DeepEqual(is, want) {
			t.Errorf("%s is not what '%s' prints", file, command)
		}
	}
	equal("deploy/rabbitmq/20-permissions.json", "tungstene permissions show --broker --json",
		read(t, "deploy/rabbitmq/20-permissions.json"), rabbit.Grant{MaxBytes: rabbit.DefaultMaxBytes}.Definitions(4))
	script := read(t, "deploy/mongodb/init.js")
	_, text, _ := strings.Cut(script, "/* rights */")
	text, _, ok := strings.Cut(text, "/* end of rights */")
	if !ok {
		t.Fatal("deploy/mongodb/init.js has no rights")
	}
	definitions := mongo.Grant{}.Definitions()
	equal("deploy/mongodb/init.js", "tungstene permissions show --database --json", text, definitions)
	secrets := []string{"mongodb-root"}
	for _, u := range definitions.Users {
		secrets = append(secrets, "mongodb-"+u.Password)
	}
	var mounted []string
	for _, s := range shapes(t)[0].project.Services["mongodb-init"].Secrets {
		mounted = append(mounted, s.Source)
	}
	if !slices.Equal(mounted, secrets) {
		t.Errorf("mongodb-init has the secrets %v, its users need %v", mounted, secrets)
	}
}

// A role may write what its code writes.
func TestRolesMayWriteWhatTheyWrite(t *testing.T) {
	// At revision 0 a compare-and-set is an insert.
	writes := regexp.MustCompile(`(?:setDoc|Put|PutFenced|Replace|DeleteIf|CompareAndSet|Mark)\(ctx, store\.([A-Z][a-z]+)(, 0,)?`)
	for role, folders := range map[string][]string{
		mongo.RoleMaster:   {"pkg/master"},
		mongo.RoleConsumer: {"pkg/consumer", "pkg/rollup", "pkg/custody"},
	} {
		granted := map[string]bool{}
		for _, p := range mongo.Permissions() {
			for _, v := range p.Privileges {
				if p.Role == role {
					for _, a := range v.Actions {
						granted[a+" "+string(v.Collection)] = true
					}
				}
			}
		}
		seen := 0
		for _, folder := range folders {
			files, err := filepath.Glob(filepath.Join(root(t), folder, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range writes.FindAllStringSubmatch(string(b), -1) {
					seen++
					action := "update "
					if m[2] != "" {
						action = "insert "
					}
					if !granted[action+strings.ToLower(m[1])] {
						t.Errorf("%s writes %s, which the role %s may not: see pkg/store/mongo/permissions.go", file, m[1], role)
					}
				}
			}
		}
		if seen == 0 {
			t.Errorf("no write was found in %v", folders)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	froms := regexp.MustCompile(`(?m)^FROM (.*)$`).FindAllStringSubmatch(text, -1)
	if len(froms) != 2 || froms[1][1] != "scratch" {
		t.Fatalf("stages are %q, want a build and one on scratch", froms)
	}
	base := regexp.MustCompile(`golang:(\d+\.\d+)\.\d+-[a-z]+ AS build$`).FindStringSubmatch(froms[0][1])
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if base == nil || language == nil || base[1] != language[1] {
		t.Errorf("%s is not pinned to go.mod's version %v", froms[0][1], language)
	}
	for _, want := range []string{
		"\nUSER " + ourUser + "\n", "--chown=" + ourUser + " /volumes /\n", "CGO_ENABLED=0", "-trimpath", "-X main.version=$VERSION", "ca-certificates.crt",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the Dockerfile", want)
		}
	}
	// The image has no zone database, so every program brings its own.
	for _, program := range []string{"master", "collector", "consumer", "tungstene"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/tungstene/tungstene/cmd/"+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.Fields(string(out)), "time/tzdata") {
			t.Errorf("cmd/%s does not bring the time zones", program)
		}
	}
	// What services start is in the image.
	for _, sh := range shapes(t) {
		for name, s := range sh.project.Services {
			if !ours(s) || len(s.Entrypoint) == 0 {
				continue
			}
			if dir, program := path.Split(s.Entrypoint[0]); dir != "/usr/local/bin/" || !isDir(filepath.Join(root(t), "cmd", program)) {
				t.Errorf("%s starts %s", name, s.Entrypoint[0])
			}
		}
	}
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
