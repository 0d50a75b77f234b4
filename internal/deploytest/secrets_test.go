package deploytest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// makeSecrets runs deploy/make-secrets into a folder.
func makeSecrets(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(root(t), "deploy", "make-secrets"), dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("deploy/make-secrets: %v: %s", err, out)
	}
}

func TestMakeSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	makeSecrets(t, dir)

	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v; want it closed to others", info.Mode(), err)
	}
	// Root gives each file to its reader. Others can't, and the closed folder keeps it.
	mode := fs.FileMode(0o444)
	if os.Getuid() == 0 {
		mode = 0o400
	}
	values := map[string]string{}
	for _, sh := range shapes(t) {
		for name, s := range sh.project.Secrets {
			file := filepath.Base(s.File)
			b, err := os.ReadFile(filepath.Join(dir, file))
			if file == "twitch-client-secret.txt" {
				if err == nil {
					t.Error("a secret of Twitch's was made up")
				}
				continue
			}
			if err != nil {
				t.Errorf("secret %s is not made: %v", name, err)
				continue
			}
			info, err := os.Stat(filepath.Join(dir, file))
			if err != nil || info.Mode() != mode {
				t.Errorf("%s: mode %v (%v), want %v", file, info.Mode(), err, mode)
			}
			if len(b) < 64 {
				t.Errorf("%s has %d characters", file, len(b))
			}
			values[file] = string(b)
		}
	}
	seen := map[string]string{}
	for file, v := range values {
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s hold the same", file, other)
		}
		seen[v] = file
	}

	// Again: what is there stays, and a secret of Twitch's is handed over.
	twitch := filepath.Join(dir, "twitch-client-secret.txt")
	if err := os.WriteFile(twitch, []byte("of-twitch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeSecrets(t, dir)
	for file, v := range values {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || file != "rabbitmq-users.json" && string(b) != v {
			t.Errorf("%s has changed (%v)", file, err)
		}
	}
	if info, err := os.Stat(twitch); err != nil || info.Mode() != mode {
		t.Errorf("the secret of Twitch's: %v, %v", info.Mode(), err)
	}
}
