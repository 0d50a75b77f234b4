package master

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tungstene/tungstene/pkg/record"
)

// ErrNoKey says that the event has no pseudonym key here.
var ErrNoKey = errors.New("no pseudonym key")

// Keys keeps the pseudonym keys of events, apart from what is collected: whoever has a key and the
// data can find a person in it, and whoever destroys the key has made that impossible for good.
// They are kept away from the database, so that a copy of it does not hold both.
type Keys interface {
	// Key returns an event's key of record.KeyBytes, or ErrNoKey.
	Key(ctx context.Context, event string) ([]byte, error)
	// Create makes an event's key if it has none. Of several calls at once, on any master, one
	// makes it and all see the same.
	Create(ctx context.Context, event string) error
}

// FileKeys keeps each key in a file of its own in one directory, as 64 hexadecimal characters,
// readable by the owner only. Several masters share the directory through a mounted volume; a
// read-only one works when the files of all events were put there before, but then nobody can opt
// out or be forgotten.
//
// Beside them lie the other files of a Vault: optout, EVENT.tombstones and manifest.ed25519.key,
// all 0600.
type FileKeys struct{ dir string }

// NewFileKeys makes the directory (0700) if there is none.
func NewFileKeys(dir string) (*FileKeys, error) {
	if dir == "" {
		return nil, errors.New("key directory is required")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("key directory: %w", err)
	}
	return &FileKeys{dir: dir}, nil
}

func (k *FileKeys) path(event string) (string, error) {
	if !record.ValidSlug(event) {
		return "", fmt.Errorf("event %q is not a slug", event)
	}
	return filepath.Join(k.dir, event+".key"), nil
}

// Key reads the event's file.
func (k *FileKeys) Key(_ context.Context, event string) ([]byte, error) {
	path, err := k.path(event)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w of event %s: %s does not exist; mount the directory that the other masters use, or restore it",
			ErrNoKey, event, path)
	}
	if err != nil {
		return nil, fmt.Errorf("pseudonym key of event %s: %w", event, err)
	}
	// The decoder's own error would show a part of the key.
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != record.KeyBytes {
		return nil, fmt.Errorf("pseudonym key of event %s: %s does not hold %d hexadecimal characters",
			event, path, 2*record.KeyBytes)
	}
	return key, nil
}

// Create writes the file whole or not at all, and never over one that is there.
func (k *FileKeys) Create(_ context.Context, event string) (err error) {
	path, err := k.path(event)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create pseudonym key of event %s (is the key directory writable?): %w", event, err)
		}
	}()
	return k.create(path, hex.EncodeToString(record.NewKey())+"\n")
}
