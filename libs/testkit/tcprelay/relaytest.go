// Package tcprelay is what faulty wires have in common: an address of their
// own in front of a server, and two connections for each client.
package tcprelay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"lavka/libs/host/freeport"
)

// Relay takes clients in front of a server.
type Relay struct {
	addr, upstream string
	serve          func(*Pair)
	serving        sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while nobody is let in
	pairs    map[*Pair]struct{}
	last     uint64
}

// New lets clients in, on a free port of 127.0.0.1. Each is served in a
// goroutine of its own; when serve returns, its connections are closed.
func New(upstream string, serve func(*Pair)) (*Relay, error) {
	port, err := freeport.Take()
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", upstream, err)
	}
	r := &Relay{
		addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), upstream: upstream,
		serve: serve, pairs: map[*Pair]struct{}{},
	}
	return r, r.Open()
}

// Addr is where clients find the relay.
func (r *Relay) Addr() string { return r.addr }

// Through gives a URL that leads to the relay instead of the server.
func (r *Relay) Through(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return "", errors.New("what is to lead through a relay is not a URL with a host") // err would show the password
	}
	u.Host = r.addr
	return u.String(), nil
}

// Open lets clients in (again).
func (r *Relay) Open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		return fmt.Errorf("relay to %s: %w", r.upstream, err)
	}
	r.listener = l
	r.serving.Go(func() { r.accept(l) })
	return nil
}

// Shut refuses clients from now on. Those that are there stay.
func (r *Relay) Shut() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		return nil
	}
	err := r.listener.Close()
	r.listener = nil
	return err
}

// Reset breaks all connections but these: client and server both see a reset.
func (r *Relay) Reset(but ...*Pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		if !slices.Contains(but, p) {
			p.Reset()
		}
	}
}

// Close shuts the relay, breaks all connections and waits until nothing of it
// runs.
func (r *Relay) Close() error {
	err := r.Shut()
	r.Reset()
	r.serving.Wait()
	return err
}

func (r *Relay) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // shut
		}
		p := &Pair{upstream: r.upstream, gone: make(chan struct{}), Client: client.(*net.TCPConn)}
		r.mu.Lock()
		if r.listener != l { // shut meanwhile, and those who were there reset
			p.Reset()
		}
		r.last++
		p.Number = r.last
		r.pairs[p] = struct{}{}
		r.mu.Unlock()
		r.serving.Go(func() {
			defer r.forget(p)
			r.serve(p)
		})
	}
}

func (r *Relay) forget(p *Pair) {
	p.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, p)
}
