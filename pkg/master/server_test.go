package master_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tungstene/tungstene/pkg/master"
)

// pipes is a listener of connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowAndLargeRequests: whoever takes his time with a request, or sends too much before it, is cut off.
func TestSlowAndLargeRequests(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 10\r\n"
	for name, c := range map[string]struct {
		sent   string
		after  time.Duration
		answer string // how it begins; empty: none
	}{
		"half of a header":   {head, 5 * time.Second, ""},
		"half of a body":     {head + "\r\nhalf", 30 * time.Second, "HTTP/1.1 408"},
		"a large header":     {head + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 0, "HTTP/1.1 431"},
		"nothing any more":   {head + "\r\n0123456789", 2 * time.Minute, "HTTP/1.1 204"},
		"nothing whatsoever": {"", 5 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				s := master.HTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						w.WriteHeader(http.StatusRequestTimeout)
						return
					}
					w.WriteHeader(http.StatusNoContent)
				}))
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(l) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				began := time.Now()
				go func() { _, _ = io.WriteString(ours, c.sent) }() // it may be cut off in it
				answer, err := io.ReadAll(bufio.NewReader(ours))
				if err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took < c.after || took > c.after+2*time.Second {
					t.Errorf("cut off after %v, want %v", took, c.after)
				}
				if c.answer == "" && len(answer) > 0 || !strings.HasPrefix(string(answer), c.answer) {
					t.Errorf("answered %q, want %q", answer, c.answer)
				}
				if err := errors.Join(ours.Close(), s.Close()); err != nil {
					t.Error(err)
				}
				if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}
