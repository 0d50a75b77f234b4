//go:build !unix

package local

import (
	"errors"
	"syscall"
)

// noRoomOutside reports whether an error that is not SQLite's says that there is no room.
func noRoomOutside(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}
