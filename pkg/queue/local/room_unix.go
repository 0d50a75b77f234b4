//go:build unix

package local

import (
	"errors"
	"syscall"
)

// noRoomOutside reports whether an error that is not SQLite's says that there is no room.
func noRoomOutside(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
