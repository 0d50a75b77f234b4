package charity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// owners remembers which channel each member of a source is, and since when. Donations of a member who
// became another channel are other records than those of before: what was theirs and is again would else be
// a record that is there, received long ago. It is kept in a file, since mappings change between two runs;
// without the file, what it forgets is only that.
type owners struct {
	path string // empty: none is kept

	mu    sync.Mutex
	of    map[string]map[string]owner // by event and member
	dirty bool
}

type owner struct {
	Channel string `json:"channel"`
	// Since is the slot from which on it is, in Unix milliseconds; 0 for the first channel.
	Since int64 `json:"since,omitempty"`
}

// openOwners reads what the last run has kept. With an error it is empty, and can be used.
func openOwners(path string) (*owners, error) {
	o := &owners{path: path, of: map[string]map[string]owner{}}
	if path == "" {
		return o, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &o.of)
	}
	if err != nil || o.of == nil {
		o.of = map[string]map[string]owner{}
	}
	if err != nil {
		return o, fmt.Errorf("read which members were which channels: %w", err)
	}
	return o, nil
}

// since is from when on a member is a channel, as far as is known; 0 where it was no other before.
func (o *owners) since(event, member, channel string, slot time.Time) int64 {
	if member == "" || channel == "" {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now, known := o.of[event][member]
	if now.Channel == channel {
		return now.Since
	}
	now = owner{Channel: channel}
	if known {
		now.Since = slot.UnixMilli()
	}
	if o.of[event] == nil {
		o.of[event] = map[string]owner{}
	}
	o.of[event][member], o.dirty = now, true
	return now.Since
}

// forget drops an event.
func (o *owners) forget(event string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[event] != nil {
		delete(o.of, event)
		o.dirty = true
	}
}

// save writes what has changed.
func (o *owners) save() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.dirty || o.path == "" {
		return nil
	}
	b, err := json.Marshal(o.of)
	if err == nil {
		err = os.WriteFile(o.path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(o.path+".new", o.path)
	}
	if err != nil {
		return fmt.Errorf("keep which members are which channels: %w", err)
	}
	o.dirty = false
	return nil
}
