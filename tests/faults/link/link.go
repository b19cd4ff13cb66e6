// Package link puts a link between a service and a server that can be cut, made to
// lose everything in one or both directions, slowed, and healed.
//
// Toxiproxy is not enough: its black hole lets the closing of a connection
// through, it can't reset an idle connection, and healing waits for a receiver
// that does not read.
package link

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"lavka/libs/testkit/tcprelay"
)

// Direction is a direction of a link, or both.
type Direction int

// The directions.
const (
	Up   Direction = 1 << iota // from the client to the server
	Down                       // from the server to the client
	Both = Up | Down
)

// Link is a link to a server. Through returns the URL that leads through it, Reset
// breaks all connections, Close ends it.
type Link struct {
	*tcprelay.Relay

	mu              sync.Mutex
	mute            Direction
	latency, jitter time.Duration
	changed         chan struct{} // closed when the latency changes
	lost            map[*tcprelay.Pair]Direction
}

// New returns a working link to a server at host:port.
func New(upstream string) (*Link, error) {
	l := &Link{changed: make(chan struct{}), lost: map[*tcprelay.Pair]Direction{}}
	var err error
	l.Relay, err = tcprelay.New(upstream, l.serve)
	return l, err
}

// Cut refuses new connections and resets the existing ones.
func (l *Link) Cut() error {
	err := l.Shut()
	l.Reset()
	return err
}

// Blackhole discards everything sent in a direction, including the closing or
// reset of a connection. Connections stay open. New connections are accepted but
// not passed on to the server. A connection that has lost data stays broken until
// Heal resets it.
func (l *Link) Blackhole(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = d
}

// Slow delays everything by latency plus or minus jitter in each direction, in
// order. With a latency of an hour it holds everything until Heal, like a network
// that loses packets for a while and retransmits them.
func (l *Link) Slow(latency, jitter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow(latency, jitter)
}

// Heal ends all faults: new connections are accepted, delayed data is sent at
// once, and connections that have lost data are reset.
func (l *Link) Heal() error {
	l.mu.Lock()
	l.mute = 0
	l.slow(0, 0)
	for p := range l.lost {
		p.Reset()
	}
	l.mu.Unlock()
	return l.Open()
}

func (l *Link) slow(latency, jitter time.Duration) {
	l.latency, l.jitter = latency, jitter
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) serve(p *tcprelay.Pair) {
	defer l.forget(p)
	if l.swallows(p, Both) {
		// The error does not matter: the client gives up, or Heal resets the connection.
		_, _ = io.Copy(io.Discard, p.Client)
		return
	}
	server, err := p.Dial()
	if err != nil {
		p.Reset()
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { l.carry(p, Up, p.Client, server) })
	ways.Go(func() { l.carry(p, Down, server, p.Client) })
	ways.Wait()
}

// chunk is the result of one read: data, or the end of the stream.
type chunk struct {
	data []byte
	end  error
	at   time.Time
	luck float64 // its fraction of the jitter, from -1 to 1
}

// maxChunks limits the chunks in flight in one direction of a connection; beyond
// it the sender waits.
const maxChunks = 64

func read(from *net.TCPConn, to chan<- chunk) {
	defer close(to)
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		now, luck := time.Now(), 2*rand.Float64()-1
		if n > 0 {
			to <- chunk{data: append([]byte(nil), buf[:n]...), at: now, luck: luck}
		}
		if err != nil {
			to <- chunk{end: err, at: now, luck: luck}
			return
		}
	}
}

func (l *Link) carry(p *tcprelay.Pair, d Direction, from, to *net.TCPConn) {
	chunks := make(chan chunk, maxChunks)
	go read(from, chunks)
	for c := range chunks {
		l.hold(p, c)
		switch {
		case l.swallows(p, d):
		case errors.Is(c.end, io.EOF):
			// An error means that the receiver has already closed the connection.
			_ = to.CloseWrite()
		case c.end != nil:
			p.Reset()
		default:
			// The reset of a closed receiver travels in the other direction.
			if _, err := to.Write(c.data); err != nil && !l.swallows(p, Both&^d) {
				p.Reset()
			}
		}
	}
}

// hold waits until a chunk has been delayed for long enough.
func (l *Link) hold(p *tcprelay.Pair, c chunk) {
	for {
		l.mu.Lock()
		changed, due := l.changed, c.at.Add(l.latency+time.Duration(c.luck*float64(l.jitter)))
		l.mu.Unlock()
		left := time.Until(due)
		if left <= 0 {
			return
		}
		select {
		case <-changed:
		case <-p.Gone():
			return
		case <-time.After(left):
			return
		}
	}
}

// swallows reports whether data in a direction is lost, and marks the connection:
// later data must not be delivered as if nothing were missing.
func (l *Link) swallows(p *tcprelay.Pair, d Direction) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (l.mute|l.lost[p])&d == 0 {
		return false
	}
	l.lost[p] |= d
	return true
}

func (l *Link) forget(p *tcprelay.Pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lost, p)
}
