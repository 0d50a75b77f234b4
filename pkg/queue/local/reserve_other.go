//go:build !linux

package local

import "os"

// allocate makes the bytes of a file from one place to another take room on the disk.
func allocate(f *os.File, from, to int64) error { return fill(f, from, to) }
