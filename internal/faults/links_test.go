package faults_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/tungstene/tungstene/internal/cluster"
)

// links are the network between programs and services: one proxy for each pair.
type links struct {
	t      *testing.T
	server *toxiproxy.ApiServer

	mu    sync.Mutex
	links map[string]*toxiproxy.Proxy // by program/service
}

func newLinks(t *testing.T) *links {
	t.Helper()
	l := &links{
		t: t, links: map[string]*toxiproxy.Proxy{},
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
	}
	t.Cleanup(func() {
		for _, p := range l.links {
			p.Stop()
		}
	})
	return l
}

// via is cluster.Options.Via: it gives the address of the link, made the first time.
func (l *links) via(program, service, address string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := program + "/" + service
	p := l.links[key]
	if p == nil {
		p = toxiproxy.NewProxy(l.server, key, cluster.Reserve(l.t), address)
		if err := p.Start(); err != nil {
			l.t.Fatalf("link %s: %v", key, err)
		}
		l.links[key] = p
	}
	return p.Listen
}

// each calls do for the links of the programs whose names begin so, to services that begin so.
func (l *links) each(program, service string, do func(*toxiproxy.Proxy) error) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key, p := range l.links {
		who, what, _ := strings.Cut(key, "/")
		if !strings.HasPrefix(who, program) || !strings.HasPrefix(what, service) {
			continue
		}
		if err := do(p); err != nil {
			l.t.Fatalf("link %s: %v", key, err)
		}
		n++
	}
	if n == 0 {
		l.t.Fatalf("no link of %s to %s", program, service)
	}
}

// cut breaks the connections and refuses new ones, as a dead server does.
func (l *links) cut(program, service string) { l.enable(program, service, false) }

// mend ends a cut.
func (l *links) mend(program, service string) { l.enable(program, service, true) }

func (l *links) enable(program, service string, on bool) {
	l.t.Helper()
	l.each(program, service, func(p *toxiproxy.Proxy) error {
		return p.Update(&toxiproxy.Proxy{Listen: p.Listen, Upstream: p.Upstream, Enabled: on})
	})
}

// swallow lets connections stand and be made, and nothing through, as a network that drops packets.
func (l *links) swallow(program, service string) {
	l.t.Helper()
	l.poison(program, service, "timeout", map[string]int{"timeout": 0})
}

// slow delays what passes, and lets through so many kB/s at the most, both ways.
func (l *links) slow(program, service string, delay time.Duration, rate int) {
	l.t.Helper()
	l.poison(program, service, "latency", map[string]int{"latency": int(delay.Milliseconds()), "jitter": int(delay.Milliseconds() / 4)})
	l.poison(program, service, "bandwidth", map[string]int{"rate": rate})
}

func (l *links) poison(program, service, kind string, attributes map[string]int) {
	l.t.Helper()
	l.each(program, service, func(p *toxiproxy.Proxy) error {
		for _, stream := range []string{"upstream", "downstream"} {
			toxic, err := json.Marshal(map[string]any{
				"name": kind + "-" + stream, "type": kind, "stream": stream, "attributes": attributes,
			})
			if err != nil {
				return err
			}
			if _, err := p.Toxics.AddToxicJson(bytes.NewReader(toxic)); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
		return nil
	})
}

// clean lets everything through as it comes.
func (l *links) clean(program, service string) {
	l.t.Helper()
	l.each(program, service, func(p *toxiproxy.Proxy) error {
		p.Toxics.ResetToxics(l.t.Context())
		return nil
	})
}
