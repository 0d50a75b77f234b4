package master

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

// Vault is what must stay apart from the database besides the pseudonym keys: who opted out, whom
// events have forgotten, and the key that manifests are signed with. All masters of a store must see
// the same one.
type Vault interface {
	Keys
	// Destroy overwrites and removes an event's key. It is no error when there is none.
	Destroy(ctx context.Context, event string) error
	// Signer returns the key that manifests are signed with, and makes it when there is none.
	Signer(ctx context.Context) (ed25519.PrivateKey, error)
	// OptOut returns who opted out, in the order of the list.
	OptOut(ctx context.Context) ([]control.Person, error)
	// ChangeOptOut writes what change makes of the list. No other change comes between.
	ChangeOptOut(ctx context.Context, change func([]control.Person) []control.Person) error
	// Forgotten returns whom an event has forgotten, oldest first.
	Forgotten(ctx context.Context, event string) ([]Pseudonym, error)
	// AddForgotten adds those that are not there yet.
	AddForgotten(ctx context.Context, event string, list []Pseudonym) error
}

// Pseudonym is a person by the two names that records have of them.
type Pseudonym struct {
	User, Name string
	// Asked is when it was asked to forget them.
	Asked time.Time
}

const (
	optOutFile = "optout"
	// signerFile holds a dot in its name as no event's slug can, so it is no event's key.
	signerFile = "manifest.ed25519.key"
	// maxVaultFile bounds what is read of a list, in bytes: half a million people.
	maxVaultFile = 32 << 20
)

// Destroy overwrites the key where it lies before the name goes, so that the file system's free
// blocks don't hold it; on media that write elsewhere (flash, copies on write, snapshots) that is
// not certain.
func (k *FileKeys) Destroy(_ context.Context, event string) error {
	path, err := k.path(event)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		return fmt.Errorf("destroy the pseudonym key of event %s (is the key directory writable?): %w", event, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail(err)
	}
	overwrite := func() error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		noise := make([]byte, max(info.Size(), 2*record.KeyBytes+1))
		for _, fill := range []func(){func() { rand.Read(noise) }, func() { clear(noise) }} {
			fill()
			if _, err := f.WriteAt(noise, 0); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(overwrite(), f.Close()); err != nil {
		return fail(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if err := k.syncDir(); err != nil {
		return fail(err)
	}
	return nil
}

func (k *FileKeys) syncDir() error {
	dir, err := os.Open(k.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// create writes a new file whole or not at all, and never over one that is there.
func (k *FileKeys) create(path, text string) (err error) {
	f, err := os.CreateTemp(k.dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, werr := f.WriteString(text)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link fails where the name is taken: another master was first.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return k.syncDir()
}

// replace writes a file whole or not at all, over one that may be there.
func (k *FileKeys) replace(path, text string) (err error) {
	f, err := os.CreateTemp(k.dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, werr := f.WriteString(text)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if err := k.syncDir(); err != nil {
		// The new file is in its place: only its lasting is not known.
		return fmt.Errorf("sync %s: %w", k.dir, err)
	}
	return nil
}

// Signer reads manifest.ed25519.key: the seed, as 64 hexadecimal characters.
func (k *FileKeys) Signer(context.Context) (ed25519.PrivateKey, error) {
	path := filepath.Join(k.dir, signerFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		if err := k.create(path, hex.EncodeToString(seed)+"\n"); err != nil {
			return nil, fmt.Errorf("make the key of manifests (is the key directory writable?): %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key of manifests: %w", err)
	}
	// The decoder's own error would show a part of the key.
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("key of manifests: %s does not hold %d hexadecimal characters", path, 2*ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// locked runs change while no other master, and nobody else here, is in it. The lock goes with the
// process, so none is left behind.
func (k *FileKeys) locked(ctx context.Context, change func() error) error {
	path := filepath.Join(k.dir, ".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the key directory: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("lock %s: %w", path, ctx.Err()), f.Close())
		}
	}
	return errors.Join(change(), f.Close())
}

// readList reads a file's lines that are not empty and no comments; no file is no lines. It opens
// the file each time: that is when network file systems look for what others wrote.
func (k *FileKeys) readList(name string, line func(n int, fields []string) error) error {
	f, err := os.Open(filepath.Join(k.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	scan := bufio.NewScanner(io.LimitReader(f, maxVaultFile+1))
	read := 0
	for n := 1; scan.Scan(); n++ {
		if read += len(scan.Bytes()) + 1; read > maxVaultFile {
			return fmt.Errorf("%s is larger than %d bytes", f.Name(), maxVaultFile)
		}
		text, _, _ := strings.Cut(scan.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if err := line(n, fields); err != nil {
			return fmt.Errorf("%s: line %d: %w", f.Name(), n, err)
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}

var (
	idPattern        = regexp.MustCompile(`^[0-9]{1,18}$`)
	pseudonymPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
)

// OptOut reads the file optout: a line a person, id and login apart by a space, "-" for what is not
// known, and the display name where it is another word.
func (k *FileKeys) OptOut(context.Context) ([]control.Person, error) {
	list := []control.Person{}
	err := k.readList(optOutFile, func(_ int, fields []string) error {
		p, err := parseOptOut(fields)
		if err == nil {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opt-out list: %w", err)
	}
	return list, nil
}

// parseOptOut says nothing of the person in its errors: they reach logs.
func parseOptOut(fields []string) (control.Person, error) {
	var p control.Person
	if len(fields) < 2 || len(fields) > 3 {
		return p, errors.New("want an id and a login, - for what is not known")
	}
	if fields[0] != "-" {
		p.ID = fields[0]
	}
	if fields[1] != "-" {
		p.Login = strings.ToLower(fields[1])
	}
	if len(fields) == 3 {
		p.Name = fields[2]
	}
	switch {
	case p.ID == "" && p.Login == "":
		return p, errors.New("neither an id nor a login")
	case p.ID != "" && !idPattern.MatchString(p.ID):
		return p, errors.New("the first word is no Twitch id: up to 18 digits, or -")
	case p.Login != "" && !loginPattern.MatchString(p.Login):
		return p, errors.New("the second word is no login: up to 25 letters a-z, digits and underscores, or -")
	}
	return p, nil
}

// ChangeOptOut replaces the file.
func (k *FileKeys) ChangeOptOut(ctx context.Context, change func([]control.Person) []control.Person) error {
	return k.locked(ctx, func() error {
		old, err := k.OptOut(ctx)
		if err != nil {
			return err
		}
		list := change(slices.Clone(old))
		if slices.Equal(list, old) {
			return nil
		}
		var b strings.Builder
		b.WriteString("# Who opted out: Twitch id and login. Change it with: tungstene optout add, remove\n")
		for _, p := range list {
			b.WriteString(orDash(p.ID) + " " + orDash(p.Login))
			if p.Name != "" {
				b.WriteString(" " + p.Name)
			}
			b.WriteByte('\n')
		}
		if err := k.replace(filepath.Join(k.dir, optOutFile), b.String()); err != nil {
			return fmt.Errorf("write the opt-out list (is the key directory writable?): %w", err)
		}
		return nil
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (k *FileKeys) forgottenFile(event string) (string, error) {
	if !record.ValidSlug(event) {
		return "", fmt.Errorf("event %q is not a slug", event)
	}
	return event + ".tombstones", nil
}

// Forgotten reads EVENT.tombstones: a line a person, the two pseudonyms and the time.
func (k *FileKeys) Forgotten(_ context.Context, event string) ([]Pseudonym, error) {
	name, err := k.forgottenFile(event)
	if err != nil {
		return nil, err
	}
	list := []Pseudonym{}
	err = k.readList(name, func(_ int, fields []string) error {
		if len(fields) != 3 {
			return errors.New("want two pseudonyms and a time")
		}
		p := Pseudonym{User: fields[0]}
		if fields[1] != "-" {
			p.Name = fields[1]
		}
		asked, err := time.Parse(time.RFC3339, fields[2])
		if err != nil || !pseudonymPattern.MatchString(p.User) || (p.Name != "" && !pseudonymPattern.MatchString(p.Name)) {
			return errors.New("want two pseudonyms of 22 characters, - for none, and a time as 2006-01-02T15:04:05Z")
		}
		p.Asked = asked
		list = append(list, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tombstones of event %s: %w", event, err)
	}
	return list, nil
}

// AddForgotten replaces the file.
func (k *FileKeys) AddForgotten(ctx context.Context, event string, add []Pseudonym) error {
	name, err := k.forgottenFile(event)
	if err != nil {
		return err
	}
	return k.locked(ctx, func() error {
		list, err := k.Forgotten(ctx, event)
		if err != nil {
			return err
		}
		had := len(list)
		for _, a := range add {
			if !slices.ContainsFunc(list, func(p Pseudonym) bool { return p.User == a.User && p.Name == a.Name }) {
				list = append(list, a)
			}
		}
		if len(list) == had {
			return nil
		}
		var b strings.Builder
		b.WriteString("# Whom event " + event + " has forgotten, so that a restored database is told again\n")
		for _, p := range list {
			fmt.Fprintf(&b, "%s %s %s\n", p.User, orDash(p.Name), p.Asked.UTC().Format(time.RFC3339))
		}
		if err := k.replace(filepath.Join(k.dir, name), b.String()); err != nil {
			return fmt.Errorf("write the tombstones of event %s (is the key directory writable?): %w", event, err)
		}
		return nil
	})
}
