package rabbit_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between client and broker and can break the connections.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	done  sync.WaitGroup
}

func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: make(map[net.Conn]struct{})}
	p.done.Go(p.accept)
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := (&net.Dialer{}).Dial("tcp", p.target) // ends with cut
		if err != nil {
			_ = client.Close() // as an unreachable broker would
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
			p.done.Go(func() {
				_, _ = io.Copy(to, from) // until either side ends
				_ = from.Close()
				_ = to.Close()
				p.mu.Lock()
				delete(p.conns, from)
				p.mu.Unlock()
			})
		}
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // that is the point
	}
}
