package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	// minReserve is the size of a reserve in ordinary times.
	minReserve = 8 << 20
	// reserveMargin is what a reserve has beyond what the log may want of the disk: room for the
	// acknowledgements that come then.
	reserveMargin = 3 << 20
	// scarceReserve is the least that is kept when there is no room for more: enough for a removal.
	// It is not enough for something to be published.
	scarceReserve = 128 << 10

	reserveSuffix = ".reserve"
)

// reserve is a file beside the queue's that does nothing but take room on the disk. On a full disk
// nothing can be written, not even that something may be removed; then the reserve goes, and what
// it took is there for acknowledgements and for the log. See file for the whole of it.
type reserve struct {
	path string
	size int64 // 0: there is none
}

// find takes up the reserve that an earlier process left.
func (r *reserve) find() error {
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.size = 0
		return nil
	case err != nil:
		return err
	}
	r.size = info.Size()
	return nil
}

// hold makes the reserve at least size bytes large. When the disk has no room for that it stays as
// it was, and there is none if there was none.
func (r *reserve) hold(size int64) error {
	if size <= r.size {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600) // beside the operator's file
	if err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	if err = f.Chmod(0o600); err == nil {
		err = allocate(f, r.size, size)
	}
	if err != nil {
		err = fmt.Errorf("make a reserve of %d bytes: %w", size, err)
		if r.size > 0 {
			return errors.Join(err, f.Truncate(r.size), f.Close())
		}
		return errors.Join(err, f.Close(), os.Remove(r.path))
	}
	if err := f.Close(); err != nil {
		return errors.Join(fmt.Errorf("make a reserve of %d bytes: %w", size, err), r.release())
	}
	r.size = size
	return nil
}

// shrink makes the reserve size bytes large if it is larger.
func (r *reserve) shrink(size int64) error {
	if r.size <= size {
		return nil
	}
	if err := os.Truncate(r.path, size); err != nil {
		return err
	}
	r.size = size
	return nil
}

// release gives the reserve's room back to the disk.
func (r *reserve) release() error {
	r.size = 0
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give the reserve up: %w", err)
	}
	return nil
}

// fill writes a file's bytes from one place to another, so that they take room on any file system:
// one that compresses must not be able to.
func fill(f *os.File, from, to int64) error {
	block := make([]byte, 1<<20)
	for from < to {
		part := block[:min(int64(len(block)), to-from)]
		_, _ = rand.Read(part) // never fails
		if _, err := f.WriteAt(part, from); err != nil {
			return err
		}
		from += int64(len(part))
	}
	return f.Sync()
}
