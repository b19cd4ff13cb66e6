// Package natsproxy is a fault-injecting NATS proxy: between a service and the
// server, it drops, duplicates, delays and so reorders messages. It forwards
// everything else unchanged and in order.
//
// It does not support TLS, and it works with a single server only: the INFO of a
// cluster names the other servers, and a client could reconnect to one of them,
// past the proxy.
package natsproxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"lavka/libs/testkit/tcprelay"
)

// Proxy is a fault-injecting proxy for a NATS server. Through returns the URL to
// connect to, Reset breaks all connections, Close stops the proxy.
type Proxy struct {
	*tcprelay.Relay
	seed uint64

	rules atomic.Pointer[[]Rule]

	mu     sync.Mutex
	pipes  map[*pipe]struct{}
	counts Counts
}

// Counts counts the messages so far, by what happened to them.
type Counts struct {
	Passed     int // forwarded unchanged
	Dropped    int
	Duplicated int // forwarded twice
	Delayed    int // held back; each duplicate counts
}

// New starts a proxy for the server at host:port, without any rules. The seed
// determines what happens to the n-th message of a connection.
func New(upstream string, seed uint64) (*Proxy, error) {
	p := &Proxy{seed: seed, pipes: map[*pipe]struct{}{}}
	p.rules.Store(&[]Rule{})
	var err error
	p.Relay, err = tcprelay.New(upstream, p.serve)
	return p, err
}

// Set replaces all rules. Messages that are held back stay held back.
func (p *Proxy) Set(rules ...Rule) { p.rules.Store(&rules) }

// Clear removes all rules and forwards the messages that are held back, in the
// order in which they arrived. It does not wait for a receiver that has stalled.
func (p *Proxy) Clear() {
	p.Set()
	p.mu.Lock()
	defer p.mu.Unlock()
	for pipe := range p.pipes {
		go pipe.releaseAll()
	}
}

// Counts returns the counts since the start. A test should check them: if its
// rules affected no message, it proves nothing.
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
