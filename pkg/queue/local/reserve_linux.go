package local

import (
	"errors"
	"os"
	"syscall"
)

// allocate makes the bytes of a file from one place to another take room on the disk.
func allocate(f *os.File, from, to int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		for {
			failed = syscall.Fallocate(int(fd), 0, from, to-from)
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	}); err != nil {
		return err
	}
	if errors.Is(failed, syscall.EOPNOTSUPP) || errors.Is(failed, syscall.ENOSYS) {
		return fill(f, from, to)
	}
	return failed
}
