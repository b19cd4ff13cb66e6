// Package natsproxy is a NATS server's bad company: it stands between a
// service and the server, and drops, duplicates and delays messages, so that
// they overtake each other. Everything else goes through as it came, byte for
// byte and in order.
//
// It reads no TLS, and it stands in front of one server: a cluster's INFO
// names others, to which a client might reconnect past the proxy.
package natsproxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"lavka/libs/testkit/tcprelay"
)

// Proxy is a faulty way to a NATS server. Through gives the URL that leads
// there, Reset breaks what is connected, Close ends it.
type Proxy struct {
	*tcprelay.Relay
	seed uint64

	rules atomic.Pointer[[]Rule]

	mu     sync.Mutex
	pipes  map[*pipe]struct{}
	counts Counts
}

// Counts is what became of the messages until now.
type Counts struct {
	Passed     int // went on as they came
	Dropped    int
	Duplicated int // went on twice
	Delayed    int // were held back, duplicates counted each
}

// New opens a way to the server at host:port. It has no rules yet. The seed
// decides what happens to the n-th message of a connection.
func New(upstream string, seed uint64) (*Proxy, error) {
	p := &Proxy{seed: seed, pipes: map[*pipe]struct{}{}}
	p.rules.Store(&[]Rule{})
	var err error
	p.Relay, err = tcprelay.New(upstream, p.serve)
	return p, err
}

// Set puts rules in the place of those that there are. What is held back stays
// so.
func (p *Proxy) Set(rules ...Rule) { p.rules.Store(&rules) }

// Clear takes the rules away and has what is held back sent on, in the order
// in which it came. It does not wait for a receiver that stands still.
func (p *Proxy) Clear() {
	p.Set()
	p.mu.Lock()
	defer p.mu.Unlock()
	for pipe := range p.pipes {
		go pipe.releaseAll()
	}
}

// Counts counts since the beginning. A test whose rules did nothing shows
// nothing.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

func (p *Proxy) count(c Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Passed += c.Passed
	p.counts.Dropped += c.Dropped
	p.counts.Duplicated += c.Duplicated
	p.counts.Delayed += c.Delayed
}

func (p *Proxy) serve(pair *tcprelay.Pair) {
	server, err := pair.Dial()
	if err != nil {
		pair.Reset()
		return
	}
	var allowed atomic.Int64
	up := newPipe(p, pair, ToServer, pair.Client, server)
	down := newPipe(p, pair, ToClient, server, pair.Client)
	p.add(up, down)
	defer p.remove(up, down)
	var ways sync.WaitGroup
	ways.Go(func() { up.run(&allowed) })
	ways.Go(func() { down.run(&allowed) })
	ways.Wait()
}

func (p *Proxy) random(pair *tcprelay.Pair, d Direction) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, pair.Number<<2|uint64(d)))
}

func (p *Proxy) add(pipes ...*pipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pipe := range pipes {
		p.pipes[pipe] = struct{}{}
	}
}

func (p *Proxy) remove(pipes ...*pipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pipe := range pipes {
		delete(p.pipes, pipe)
	}
}
