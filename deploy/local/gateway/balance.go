package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// balancer sends each request to the next replica of its service, and on to the one after that when a replica can't be reached at all.
// Once a byte of a request may have been sent it is never sent again from here: it could be a purchase. (net/http's Transport repeats
// a request on a connection that turns out closed only if it is a GET, HEAD, OPTIONS or TRACE, or has an Idempotency-Key and no body.)
type balancer struct {
	transport *http.Transport
	replicas  map[string][]string
	next      map[string]*atomic.Uint64
}

func newBalancer(replicas map[string][]string) *balancer {
	b := &balancer{
		transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: time.Second, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   1024,             // each burst would otherwise open its connections anew
			IdleConnTimeout:       30 * time.Second, // below the services' own 90 s: we close, so no request meets a closing connection
			ResponseHeaderTimeout: answerTime,
			DisableCompression:    true, // bodies go through as they are
		},
		replicas: replicas,
		next:     map[string]*atomic.Uint64{},
	}
	for service := range replicas {
		b.next[service] = new(atomic.Uint64)
	}
	return b
}

// errNoReplica stands for a service that has no replicas at all.
var errNoReplica = errors.New("the service has no replicas")

// RoundTrip reads the service's name where the URL has its host.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	service := r.URL.Host
	replicas := b.replicas[service]
	if len(replicas) == 0 {
		return nil, errNoReplica
	}
	first := b.next[service].Add(1)
	var err error
	for i := range uint64(len(replicas)) {
		var resp *http.Response
		resp, err = b.transport.RoundTrip(aimed(r, replicas[(first+i)%uint64(len(replicas))]))
		if err == nil || !notSent(err) || r.Context().Err() != nil {
			return resp, err
		}
	}
	return nil, err
}

// aimed is a copy of r for one replica. Its body outlives a failed attempt; ReverseProxy closes the real one.
func aimed(r *http.Request, addr string) *http.Request {
	out := *r
	u := *r.URL
	u.Host = addr
	out.URL = &u
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = io.NopCloser(r.Body)
	}
	return &out
}

// notSent means that no connection came about, so the service has seen nothing of the request.
func notSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, errNoReplica) || ok && op.Op == "dial"
}
