//go:build unix

package cluster

import (
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Reserve gives an address on loopback that nobody else is given until the test ends: connections
// to it are refused, except while a program of ours listens there. Go's listeners set SO_REUSEADDR,
// which lets them share a port with a socket that is bound and does not listen.
func Reserve(tb testing.TB) string {
	tb.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := syscall.Close(fd); err != nil {
			tb.Error(err)
		}
	})
	syscall.CloseOnExec(fd)
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		tb.Fatal(err)
	}
	in4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		tb.Fatalf("a socket of IPv4 has the address %v", name)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(in4.Port))
}
