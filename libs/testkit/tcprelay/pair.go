package tcprelay

import (
	"net"
	"sync"
	"time"
)

// Pair is a client's connection and, after Dial, the connection to the server that belongs to it.
type Pair struct {
	Number uint64 // counts the clients of a relay from 1
	Client *net.TCPConn

	upstream string
	gone     chan struct{}

	mu     sync.Mutex
	server *net.TCPConn
	broken bool // or closed
}

// Dial connects to the server. It gives up after 10 s.
func (p *Pair) Dial() (*net.TCPConn, error) {
	// Not DialContext: when cancelled, it closes a new connection, where a reset is needed.
	c, err := net.DialTimeout("tcp", p.upstream, 10*time.Second)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = c.(*net.TCPConn)
	if p.broken {
		reset(p.server)
	}
	return p.server, nil
}

// Gone returns a channel that is closed when the connections are closed.
func (p *Pair) Gone() <-chan struct{} { return p.gone }

// Reset breaks both connections at once; data not yet sent is lost. On a pair
// that is already broken or closed, it does nothing.
func (p *Pair) Reset() { p.end(reset) }

func (p *Pair) close() { p.end(func(c *net.TCPConn) { c.Close() }) }

func (p *Pair) end(how func(*net.TCPConn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return
	}
	p.broken = true
	close(p.gone)
	how(p.Client)
	if p.server != nil {
		how(p.server)
	}
}

func reset(c *net.TCPConn) {
	if c.SetLinger(0) == nil {
		c.Close()
	}
}
