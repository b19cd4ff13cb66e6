package postgres_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/url"
	"slices"
	"sync"
	"testing"

	"lavka/libs/testkit/tcprelay"
)

// fate is what the proxy does to a connection that sends COMMIT.
type fate int

const (
	passes    fate = iota
	cutBefore      // cuts it; the server never receives the COMMIT
	cutAfter       // lets the server commit, and cuts the connection before the response
	cutHeld        // cuts the connection while the COMMIT waits, see cutWhileHeld
	offAfter       // passes the response on, and then switches the proxy off
)

// proxy stands in front of Postgres and cuts connections around a COMMIT.
type proxy struct {
	*tcprelay.Relay
	t *testing.T

	mu      sync.Mutex
	fates   []fate // of the next COMMITs; passes for all after them
	before  func() // called before the next COMMIT, and what is sent with it, reaches the server
	held    func() // returns when a COMMIT waits that is to be cut then
	thenOff bool   // whether to refuse connections once a COMMIT was cut
	commits int
}

// newProxy starts a proxy and returns the database URL that goes through it.
func newProxy(t *testing.T, databaseURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t}
	if p.Relay, err = tcprelay.New(u.Host, p.serve); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.check(p.Close()) })
	through, err := p.Through(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return p, through
}

// next sets the fates of the next COMMITs.
func (p *proxy) next(thenOff bool, fates ...fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fates, p.thenOff, p.commits = fates, thenOff, 0
}

// cutWhileHeld cuts the connection of the next COMMIT when waits returns.
func (p *proxy) cutWhileHeld(waits func()) {
	p.next(false, cutHeld)
	p.held = waits
}

// beforeCommit calls f before the next COMMIT, and the writes that are sent with
// it, reach the server.
func (p *proxy) beforeCommit(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// switchOff refuses new connections, and breaks all existing ones except these.
func (p *proxy) switchOff(but ...*tcprelay.Pair) {
	p.check(p.Shut())
	p.Reset(but...)
}

func (p *proxy) switchOn() { p.check(p.Open()) }

func (p *proxy) check(err error) {
	if err != nil {
		p.t.Error(err)
	}
}

func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commits
}

func (p *proxy) serve(pair *tcprelay.Pair) {
	server, err := pair.Dial()
	if err != nil {
		return
	}
	requests, answers := make(chan []byte), make(chan []byte)
	go read(pair, pair.Client, requests)
	go read(pair, server, answers)
	var commits commits
	for {
		select {
		case b, ok := <-answers:
			if !ok {
				return
			}
			if _, err := pair.Client.Write(b); err != nil {
				return
			}
		case b, ok := <-requests:
			if !ok {
				return
			}
			if p.held != nil && isCancel(b) { // it would end the COMMIT that is to wait
				return
			}
			what := passes
			if commits.in(b) {
				what = p.decide()
			}
			if what == cutBefore {
				return
			}
			if _, err := server.Write(b); err != nil {
				return
			}
			switch what {
			case cutHeld:
				p.held()
				return
			case cutAfter:
				<-answers
				return
			case offAfter:
				b := <-answers
				p.switchOff(pair)
				_, _ = pair.Client.Write(b) // fails if the client is gone too
				return
			}
		}
	}
}

// read passes on what it reads until the pair is closed.
func read(pair *tcprelay.Pair, from io.Reader, to chan<- []byte) {
	defer close(to)
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		select {
		case to <- b[:n]:
		case <-pair.Gone():
			return
		}
	}
}

// isCancel reports whether a client asks to cancel what another connection does, as pgx
// does when that connection fails.
func isCancel(b []byte) bool { return len(b) == 16 && binary.BigEndian.Uint32(b[4:]) == 80877102 }

// commits detects COMMIT in the bytes that a client sends: as a query, or as a
// prepared statement that is bound.
type commits struct{ name []byte }

func (c *commits) in(b []byte) bool {
	if i := bytes.Index(b, []byte("\x00commit\x00")); i >= 0 { // only prepares it
		c.name = bytes.Clone(b[bytes.LastIndex(b[:i], []byte("stmtcache_")):i])
		return false
	}
	return bytes.Contains(b, []byte("commit\x00")) || c.name != nil && bytes.Contains(b, slices.Concat([]byte{0}, c.name, []byte{0}))
}

func (p *proxy) decide() fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits++
	if p.before != nil {
		p.before()
		p.before = nil
	}
	if len(p.fates) == 0 {
		return passes
	}
	f := p.fates[0]
	p.fates = p.fates[1:]
	if f != passes && p.thenOff {
		p.check(p.Shut())
	}
	return f
}
