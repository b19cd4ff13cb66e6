package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// balancer sends each request to the next ready replica of its service, and tries the one after that only if no connection can be made.
// Once a byte of a request may have been sent, the balancer never retries it: it could be a purchase. (upstream says which request is
// sent again on a connection that turned out closed.)
type balancer struct {
	services map[string]*service
	probes   *http.Transport
	stop     context.CancelFunc
	watching sync.WaitGroup
}

// service is the replicas of one service.
type service struct {
	replicas []*replica
	turn     atomic.Uint64
}

// newBalancer starts to watch the replicas, until close.
func newBalancer(services map[string][]Replica, log *slog.Logger) *balancer {
	ctx, stop := context.WithCancel(context.Background())
	b := &balancer{services: map[string]*service{}, probes: &http.Transport{MaxIdleConnsPerHost: 1}, stop: stop}
	for name, replicas := range services {
		s := &service{}
		for _, at := range replicas {
			r := newReplica(at)
			s.replicas = append(s.replicas, r)
			b.watching.Go(func() { r.watch(ctx, b.probes, log.With("upstream", name, "addr", at.Addr)) })
		}
		b.services[name] = s
	}
	return b
}

func (b *balancer) close() {
	b.stop()
	b.watching.Wait()
	b.probes.CloseIdleConnections()
	for _, s := range b.services {
		for _, r := range s.replicas {
			r.upstream.closeIdle(0)
		}
	}
}

// opened reports whether every replica of the given services has been ready at least once.
func (b *balancer) opened(services []string) bool {
	for _, name := range services {
		for _, r := range b.services[name].replicas {
			if !r.opened.Load() {
				return false
			}
		}
	}
	return true
}

var (
	// errNoReplica means that a service has no replicas at all.
	errNoReplica = errors.New("the service has no replicas")
	// errStarting means that no replica of a service has been ready yet: the shop is starting, and nothing is wrong.
	errStarting = errors.New("the service is starting")
)

// RoundTrip takes the service's name from the host of the URL.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	s, ok := b.services[r.URL.Host]
	if !ok || len(s.replicas) == 0 {
		return nil, errNoReplica
	}
	var err error
	for _, replica := range s.inTurn() {
		var resp *http.Response
		resp, err = replica.upstream.RoundTrip(aimed(r, replica.Addr))
		if err == nil || !notSent(err) || r.Context().Err() != nil {
			return resp, err
		}
	}
	if !s.hasOpened() {
		err = fmt.Errorf("%w: %w", errStarting, err)
	}
	return nil, err
}

// inTurn returns the ready replicas, rotated by one for each request, and after them the others: when no replica is ready, the service's own
// response is better than none.
func (s *service) inTurn() []*replica {
	ready, rest := make([]*replica, 0, len(s.replicas)), []*replica(nil)
	for _, r := range s.replicas {
		if r.ready.Load() {
			ready = append(ready, r)
		} else {
			rest = append(rest, r)
		}
	}
	turn := s.turn.Add(1)
	return append(rotated(ready, turn), rotated(rest, turn)...)
}

func rotated(list []*replica, by uint64) []*replica {
	if len(list) == 0 {
		return nil
	}
	first := by % uint64(len(list))
	return append(list[first:len(list):len(list)], list[:first]...)
}

func (s *service) hasOpened() bool {
	for _, r := range s.replicas {
		if r.opened.Load() {
			return true
		}
	}
	return false
}

// aimed returns a copy of r for one replica. A failed attempt does not close the body: ReverseProxy does.
func aimed(r *http.Request, addr string) *http.Request {
	out := *r
	u := *r.URL
	u.Host = addr
	out.URL = &u
	switch text := passageOf(r.Context()).text; {
	case text != nil:
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		out.Body, _ = out.GetBody() // it never fails
	case hasBody(r):
		out.Body = io.NopCloser(r.Body)
	}
	return &out
}

// notSent reports whether no connection was made, so that the service has received nothing of the request.
func notSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, errNoReplica) || ok && op.Op == "dial"
}
