// Package connlimit limits the connections of an HTTP server: their number, and what
// each holds for a client that does not read. Clients beyond the limit are refused at
// once rather than left waiting.
package connlimit

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lavka/libs/domain/problem"
)

var errTooMany = problem.New(problem.Unavailable, "too_many_connections", "too many open connections; the request was not processed; retry").Retry(time.Second)

// Listener accepts the connections of a server with a limit.
type Listener struct {
	net.Listener
	open   atomic.Int64
	room   chan struct{} // a slot for each connection, and one for the next
	closed chan struct{}
	close  sync.Once
}

type (
	pastKey struct{}
	connKey struct{}
)

// Bound limits a server that is not serving yet to max connections of l. Serve
// on the Listener that it returns, and call Admit for each request. Up to max/8
// more connections are accepted at a time, only to be refused; the others wait in
// the operating system's queue, for no longer than the server waits for a
// request's header.
//
// A connection is closed when its client takes nothing of a response for Stall.
//
// Bound counts connections in the server's hooks, not in their Close, which the
// server may call more than once.
func Bound(s *http.Server, l net.Listener, max int) *Listener {
	bounded := &Listener{Listener: l, room: make(chan struct{}, max+max/8+1), closed: make(chan struct{})}
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx = context.WithValue(ctx, connKey{}, c)
		if bounded.open.Add(1) > int64(max) {
			return context.WithValue(ctx, pastKey{}, true)
		}
		return ctx
	}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			bounded.open.Add(-1)
			<-bounded.room
		}
	}
	return bounded
}

// Admit returns the problem 503 too_many_connections for a request on a
// connection beyond the limit, and has the connection closed after the response.
func Admit(w http.ResponseWriter, r *http.Request) error {
	if r.Context().Value(pastKey{}) == nil {
		return nil
	}
	w.Header().Set("Connection", "close")
	return errTooMany
}

// Patient gives the client of a request more time than Stall to take something of the
// response, until the returned function is called: the connection may serve other
// requests then.
func Patient(ctx context.Context, stall time.Duration) (restore func()) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	before := c.patient(stall)
	return func() { c.patient(before) }
}

// Open returns the number of open connections, including those to be refused.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Accept waits until there is room for a connection, then accepts the next one.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return limited(c), nil
}

// Close stops accepting connections.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
