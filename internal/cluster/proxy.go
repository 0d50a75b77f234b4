package cluster

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/store"
)

// Proxy stands between programs and a server. It can cut the connections and refuse new ones.
type Proxy struct {
	listener net.Listener
	target   string
	carry    func(client, server net.Conn)

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
	done  sync.WaitGroup
}

// NewProxy carries bytes in both directions.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	return startProxy(tb, target, func(client, server net.Conn) {
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(client, server) // until either side ends
			_ = client.Close()
		})
		_, _ = io.Copy(server, client)
		_ = server.Close()
		back.Wait()
	})
}

func startProxy(tb testing.TB, target string, carry func(client, server net.Conn)) *Proxy {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, carry: carry, conns: map[net.Conn]struct{}{}}
	p.done.Go(p.accept)
	tb.Cleanup(func() {
		p.Cut()
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
		p.done.Wait()
	})
	return p
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	if !p.hold(client) {
		return
	}
	defer p.drop(client)
	server, err := (&net.Dialer{}).Dial("tcp", p.to()) // on loopback; the connection ends with cut
	if err != nil {
		return // as an unreachable server would
	}
	defer func() { _ = server.Close() }()
	if !p.hold(server) {
		return
	}
	defer p.drop(server)
	p.carry(client, server)
}

func (p *Proxy) to() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// Retarget has new connections go to another server, and breaks those to the old one.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for c := range p.conns {
		_ = c.Close() // that is the point
	}
}

// hold takes note of a connection, unless the proxy is cut.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		p.conns[c] = struct{}{}
	}
	return !p.down
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Cut breaks all connections and refuses new ones until heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close() // that is the point
	}
}

// Heal lets connections through again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// NewGate stands before FerretDB and gives it two things that MongoDB has.
//
// FerretDB finds a document and replaces it in two steps: of two processes that compare and set at
// once both would win. And it lets one writer at a time into its file and the others try again, which
// some never get to. Here writes happen one after the other; reads pass freely.
//
// And a client that goes away with a cursor open, because it was killed, would leave it with a
// connection to SQLite that sees the past for ever, and whose writes fail. Here cursors are closed
// first.
func NewGate(tb testing.TB, target string) *Proxy {
	tb.Helper()
	g := &gate{}
	return startProxy(tb, target, func(client, server net.Conn) {
		requests, answers := bufio.NewReader(client), bufio.NewReader(server)
		open := cursors{}
		for {
			request, err := readMessage(requests)
			if err != nil {
				break
			}
			answer, err := g.exchange(request, server, answers)
			if err != nil {
				return // the server has gone
			}
			open.follow(request, answer)
			if _, err := client.Write(answer); err != nil {
				break
			}
		}
		open.kill(server, answers)
	})
}

// cursors are those that a connection has open, with the namespace of each.
type cursors map[int64]string

// follow takes note of what an exchange has opened and closed.
func (c cursors) follow(request, answer []byte) {
	if asked := bodyOf(request); asked != nil {
		if id, ok := asked.Lookup("getMore").Int64OK(); ok {
			delete(c, id) // the answer says whether there is more
		}
	}
	if told := bodyOf(answer); told != nil {
		id, _ := told.Lookup("cursor", "id").Int64OK()
		if ns, ok := told.Lookup("cursor", "ns").StringValueOK(); ok && id != 0 {
			c[id] = ns
		}
	}
}

// kill closes them. An error means that the server has gone, and they with it.
func (c cursors) kill(server io.Writer, answers io.Reader) {
	for id, ns := range c {
		database, collection, _ := strings.Cut(ns, ".")
		body, err := bson.Marshal(bson.D{{Key: "killCursors", Value: collection}, {Key: "cursors", Value: bson.A{id}}, {Key: "$db", Value: database}})
		if err != nil {
			return
		}
		m := make([]byte, headerBytes+5, headerBytes+5+len(body))
		m = append(m, body...)
		binary.LittleEndian.PutUint32(m, uint32(len(m)))
		binary.LittleEndian.PutUint32(m[12:], opMessage)
		if _, err := server.Write(m); err != nil {
			return
		}
		if _, err := readMessage(answers); err != nil {
			return
		}
	}
}

// gate has the writes of all connections pass one by one. Bulk waits for its turn among bulk first,
// so that a lease waits for no more than what is under way.
type gate struct{ bulk, writing sync.Mutex }

func (g *gate) exchange(request []byte, server io.Writer, answers *bufio.Reader) (answer []byte, err error) {
	switch command, collection := commandOf(request); command {
	case "insert", "update", "delete", "findAndModify", "createIndexes":
		if collection == string(store.Records) || collection == string(store.Minutes) {
			g.bulk.Lock()
			defer g.bulk.Unlock()
		}
		g.writing.Lock()
		defer g.writing.Unlock()
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	if isMessage(request) && binary.LittleEndian.Uint32(request[headerBytes:])&moreToCome != 0 {
		return nil, nil // no answer is wanted
	}
	return readMessage(answers)
}

// The parts of MongoDB's wire protocol that are looked at.
const (
	headerBytes = 16
	opMessage   = 2013
	moreToCome  = 1 << 1
	maxMessage  = 64 << 20
)

func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < headerBytes || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	copy(b, size[:])
	_, err := io.ReadFull(r, b[len(size):])
	return b, err
}

func isMessage(b []byte) bool {
	return len(b) > headerBytes+4 && binary.LittleEndian.Uint32(b[12:]) == opMessage
}

// commandOf is the name of a request's command and the collection that it speaks of, if any; both
// are empty for the old handshake.
func commandOf(b []byte) (command, collection string) {
	e, err := bodyOf(b).IndexErr(0)
	if err != nil {
		return "", ""
	}
	collection, _ = e.Value().StringValueOK()
	return e.Key(), collection
}

// bodyOf is the document that says what is asked or answered; nil where there is none.
func bodyOf(b []byte) bson.Raw {
	if !isMessage(b) {
		return nil
	}
	for rest := b[headerBytes+4:]; len(rest) > 5; {
		size := int(binary.LittleEndian.Uint32(rest[1:]))
		if size < 4 || size > len(rest)-1 {
			return nil
		}
		if rest[0] == 0 { // the body; a 1 is a sequence of documents
			return bson.Raw(rest[1 : 1+size])
		}
		rest = rest[1+size:]
	}
	return nil
}
