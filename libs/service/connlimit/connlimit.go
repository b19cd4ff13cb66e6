// Package connlimit bounds the connections of an HTTP server. Who comes past
// the bound is told so at once, instead of waiting without an answer.
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

var errTooMany = problem.New(problem.Unavailable, "too_many_connections", "more connections are open than can be served; nothing was done").Retry(time.Second)

// Listener takes the connections of a bounded server.
type Listener struct {
	net.Listener
	open   atomic.Int64
	room   chan struct{} // one for each connection, and one for the next
	closed chan struct{}
	close  sync.Once
}

type pastKey struct{}

// Bound lets a server that has not begun to serve answer on at most max
// connections of l: serve on the Listener that it returns, and ask Admit of
// each request. An eighth more connections are taken at a time to be told of
// the bound; the others wait in the system's queue, for no longer than the
// server waits for a request's header.
//
// It counts in the server's hooks and leaves the connections as they are: a
// wrapped one has no CloseWrite, and then clients lose the answers that are
// given before a request has been read to its end.
func Bound(s *http.Server, l net.Listener, max int) *Listener {
	bounded := &Listener{Listener: l, room: make(chan struct{}, max+max/8+1), closed: make(chan struct{})}
	s.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
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

// Admit is 503 too_many_connections for a request whose connection is past the
// bound. That connection ends with the answer.
func Admit(w http.ResponseWriter, r *http.Request) error {
	if r.Context().Value(pastKey{}) == nil {
		return nil
	}
	w.Header().Set("Connection", "close")
	return errTooMany
}

// Open is the number of connections that are open.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Accept takes the next connection when there is room for it.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
	}
	return c, err
}

// Close takes no more connections.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
