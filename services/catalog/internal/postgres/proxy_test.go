package postgres_test

import (
	"bytes"
	"io"
	"net/url"
	"slices"
	"sync"
	"testing"

	"lavka/libs/testkit/tcprelay"
)

// fate is what becomes of a connection that says COMMIT.
type fate int

const (
	passes    fate = iota
	cutBefore      // the server never hears it
	cutAfter       // the server does it, and its answer is lost
	offAfter       // it is answered, and that was the last thing heard of the server
)

// proxy stands before Postgres and cuts connections at the worst moment.
type proxy struct {
	*tcprelay.Relay
	t *testing.T

	mu      sync.Mutex
	fates   []fate // of the next COMMITs; passes when there are no more
	before  func() // the next COMMIT, and what comes with it, reaches the server
	thenOff bool   // takes no connections once a COMMIT was cut
	commits int
}

// newProxy starts a proxy and returns a database URL that leads through it.
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

// next says what becomes of the next COMMITs.
func (p *proxy) next(thenOff bool, fates ...fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fates, p.thenOff, p.commits = fates, thenOff, 0
}

// meanwhile has something happen before the next COMMIT, and the writes that come
// with it.
func (p *proxy) meanwhile(happens func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = happens
}

// switchOff takes no connections any more, and breaks all but these.
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
			case cutAfter:
				<-answers
				return
			case offAfter:
				b := <-answers
				p.switchOff(pair)
				_, _ = pair.Client.Write(b) // or it is gone too
				return
			}
		}
	}
}

// read reads until the pair is gone.
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

// commits finds COMMITs in what a client sends: as a query, or as a prepared
// statement that is bound.
type commits struct{ name []byte }

func (c *commits) in(b []byte) bool {
	if i := bytes.Index(b, []byte("\x00commit\x00")); i >= 0 { // it is prepared
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
