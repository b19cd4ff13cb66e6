// Package tcprelay is the base of the fault-injecting TCP proxies: an address in
// front of a server, and a pair of connections per client.
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

// Relay accepts clients in front of a server.
type Relay struct {
	addr, upstream string
	serve          func(*Pair)
	serving        sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while shut
	pairs    map[*Pair]struct{}
	last     uint64
}

// New opens a relay on a free port of 127.0.0.1. It calls serve for each client
// in its own goroutine, and closes the pair's connections when serve returns.
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

// Addr returns the address that clients connect to.
func (r *Relay) Addr() string { return r.addr }

// Through returns the URL with the relay's address in place of the server's.
func (r *Relay) Through(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return "", errors.New("can't route through a relay: not a URL with a host") // err would show the password
	}
	u.Host = r.addr
	return u.String(), nil
}

// Open accepts clients (again). On an open relay it does nothing.
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

// Shut refuses new clients. Existing connections are kept.
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

// Reset breaks all connections except those of the given pairs: both client and
// server see a reset.
func (r *Relay) Reset(but ...*Pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		if !slices.Contains(but, p) {
			p.Reset()
		}
	}
}

// Close shuts the relay, breaks all connections and waits until all of its
// goroutines have ended.
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
		if r.listener != l { // shut in the meantime, and its pairs were reset
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
