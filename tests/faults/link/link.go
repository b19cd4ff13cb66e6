// Package link puts a line between a service and a server that can be cut,
// made deaf or mute, slowed, and healed.
//
// It is our own. Toxiproxy's black hole lets the closing of a connection
// through, it can't reset one that is idle, and healing waits for a receiver
// that stands still.
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

// Direction is a way along the line.
type Direction int

// The directions.
const (
	Up   Direction = 1 << iota // from the client to the server
	Down                       // from the server to the client
	Both = Up | Down
)

// Link is a line to a server. Through gives the URL that leads along it, Reset
// breaks what is connected, Close ends it.
type Link struct {
	*tcprelay.Relay

	mu              sync.Mutex
	mute            Direction
	latency, jitter time.Duration
	changed         chan struct{} // closed when the latency changes
	lost            map[*tcprelay.Pair]Direction
}

// New lays a good line to a server at host:port.
func New(upstream string) (*Link, error) {
	l := &Link{changed: make(chan struct{}), lost: map[*tcprelay.Pair]Direction{}}
	var err error
	l.Relay, err = tcprelay.New(upstream, l.serve)
	return l, err
}

// Cut refuses new connections and resets those that there are.
func (l *Link) Cut() error {
	err := l.Shut()
	l.Reset()
	return err
}

// Blackhole swallows what goes in a direction, the news that somebody has
// closed or reset the connection too. The connections stay open. New ones are
// accepted, and the server never hears of them. A connection that has lost
// something stays as it is until Heal resets it.
func (l *Link) Blackhole(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = d
}

// Slow delays everything by latency, more or less jitter, each way; the order
// stays. With a latency of an hour it holds everything until Heal, as a
// network does that loses packets for a while and sends them again.
func (l *Link) Slow(latency, jitter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow(latency, jitter)
}

// Heal makes the line good again: new connections are let in, what was held is
// sent at once, and the connections that have lost something are reset.
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
		// Nobody cares how it ends: the client gives up, or Heal resets it.
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

// chunk is what was read at once, or the end of the stream.
type chunk struct {
	data []byte
	end  error
	at   time.Time
	luck float64 // which part of the jitter it gets, from -1 to 1
}

// maxChunks bounds what is under way in one direction of a connection; then
// the sender has to wait.
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
			// An error means that the receiver is gone, and it knows.
			_ = to.CloseWrite()
		case c.end != nil:
			p.Reset()
		default:
			// A receiver that is gone says so, in the other direction.
			if _, err := to.Write(c.data); err != nil && !l.swallows(p, Both&^d) {
				p.Reset()
			}
		}
	}
}

// hold returns when a chunk has been under way for long enough.
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

// swallows says whether what goes in a direction is lost, and remembers it:
// what comes later must not be taken for what follows.
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
