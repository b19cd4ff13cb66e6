package postgres_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
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
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu      sync.Mutex
	fates   []fate // of the next COMMITs; passes when there are no more
	thenOff bool   // takes no connections once a COMMIT was cut
	off     bool
	commits int
	open    map[net.Conn]bool
}

// newProxy starts a proxy and returns a database URL that leads through it.
func newProxy(t *testing.T, databaseURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, open: map[net.Conn]bool{}}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		p.mu.Lock()
		for c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p, u.String()
}

// next says what becomes of the next COMMITs.
func (p *proxy) next(thenOff bool, fates ...fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fates, p.thenOff, p.commits = fates, thenOff, 0
}

func (p *proxy) switchOff(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = off
	for c := range p.open {
		c.Close()
	}
}

// goOff takes no connections any more and closes all but one.
func (p *proxy) goOff(but net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	for c := range p.open {
		if c != but {
			c.Close()
		}
	}
}

func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commits
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.keep(client) {
			client.Close()
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.off {
		p.open[c] = true
	}
	return !p.off
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(server) {
		return
	}
	answers := make(chan []byte)
	p.running.Go(func() {
		defer close(answers)
		for {
			b := make([]byte, 64<<10)
			n, err := server.Read(b)
			if err != nil {
				return
			}
			answers <- b[:n]
		}
	})
	requests := make(chan []byte)
	p.running.Go(func() {
		defer close(requests)
		for {
			b := make([]byte, 64<<10)
			n, err := client.Read(b)
			if err != nil {
				return
			}
			requests <- b[:n]
		}
	})
	defer drain(answers, server)
	defer drain(requests, client)
	var commits commits
	for {
		select {
		case b, ok := <-answers:
			if !ok {
				return
			}
			if _, err := client.Write(b); err != nil {
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
				p.goOff(client)
				client.Write(b) // or it is gone too
				return
			}
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

// drain lets a reader end.
func drain(from <-chan []byte, c io.Closer) {
	c.Close()
	for range from {
	}
}

func (p *proxy) decide() fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits++
	if len(p.fates) == 0 {
		return passes
	}
	f := p.fates[0]
	p.fates = p.fates[1:]
	if f != passes && p.thenOff {
		p.off = true
	}
	return f
}
