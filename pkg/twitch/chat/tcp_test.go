package chat_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/twitch/chat"
)

// Over a real socket with TLS, end to end.
func TestTLS(t *testing.T) {
	// Only for its certificate.
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	certificate := web.TLS.Certificates[0]
	leaf := web.Certificate()
	web.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.set(func() { s.serve(conn) })
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan chat.Line, 100)
	r := chat.New(chat.Config{
		Address: listener.Addr().String(), TLS: true, TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}, func(l chat.Line) { got <- l })
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.Set(channels(1), control.Budget{})
	for len(r.Joined()) == 0 {
		select {
		case <-got: // its ROOMSTATE
		case <-time.After(20 * time.Second):
			t.Fatal("not joined")
		}
	}
	s.peer(0).out <- message("channel000", "m1")
	for l := range got {
		d, err := chat.Convert(l, chat.Event{Slug: "e", Pseudonyms: nobody})
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := d.(*record.Message); ok {
			if m.MessageID != "m1" || m.Channel != "9000" {
				t.Errorf("%+v", m)
			}
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	s.wg.Wait()
}

// BenchmarkReader is a line's way from a socket through parser and Convert to its document, two
// connections at once.
func BenchmarkReader(b *testing.B) {
	lines := recorded(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var number atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go feed(conn, lines, &number, int64(b.N))
		}
	}()
	ctx, cancel := context.WithCancel(b.Context())
	ev := event(b, false)
	var seen atomic.Int64
	all := make(chan struct{})
	r := chat.New(chat.Config{Address: listener.Addr().String()}, func(l chat.Line) {
		d, err := chat.Convert(l, ev)
		if err != nil || d == nil {
			b.Errorf("%v, %v", d, err)
			return
		}
		if _, err := record.Encode(d); err != nil {
			b.Error(err)
		}
		if seen.Add(1) == int64(b.N) {
			close(all)
		}
	})
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.ReportAllocs()
	b.ResetTimer()
	r.Set(channels(2), control.Budget{PerConnection: 1})
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	b.StopTimer()
	cancel()
	<-done
	listener.Close()
}

// feed sends its share of n lines as soon as a JOIN comes.
func feed(conn net.Conn, lines []string, number *atomic.Int64, n int64) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	for in.Scan() {
		if nick, ok := strings.CutPrefix(in.Text(), "NICK "); ok {
			fmt.Fprintf(conn, ":tmi.twitch.tv 001 %s :Welcome\r\n", nick)
		}
		if strings.HasPrefix(in.Text(), "JOIN ") {
			break
		}
	}
	out := bufio.NewWriterSize(conn, 64<<10)
	for i := number.Add(1); i <= n; i = number.Add(1) {
		out.WriteString(lines[i%int64(len(lines))])
		out.WriteString("\r\n")
	}
	out.Flush()
	for in.Scan() {
	}
}
