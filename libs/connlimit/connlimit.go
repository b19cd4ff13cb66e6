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

	"golang.org/x/net/netutil"

	"lavka/libs/problem"
)

var errTooMany = problem.New(problem.Unavailable, "too_many_connections", "more connections are open than can be served; nothing was done").Retry(time.Second)

// Listener takes the connections of a bounded server and counts them.
type Listener struct {
	net.Listener
	max  int64
	open atomic.Int64
}

// Bound lets a server that has not begun to serve answer on at most max
// connections of l: serve on the Listener that it returns, and ask Admit of
// each request. An eighth more connections are taken at a time to be told of
// the bound; the others wait in the system's queue, for no longer than the
// server waits for a request's header.
func Bound(s *http.Server, l net.Listener, max int) *Listener {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*conn); ok && c.past {
			return context.WithValue(ctx, pastKey{}, true)
		}
		return ctx
	}
	return &Listener{Listener: netutil.LimitListener(l, max+max/8+1), max: int64(max)}
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

// Accept takes the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, past: l.open.Add(1) > l.max, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
}

type pastKey struct{}

type conn struct {
	net.Conn
	past   bool
	closed func()
}

func (c *conn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
