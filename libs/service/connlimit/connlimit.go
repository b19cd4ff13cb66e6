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
	silence     time.Duration // how long a connection may send nothing at first
	pastSilence time.Duration // the same for one beyond the limit
	max         int64
	open        atomic.Int64
	room        chan struct{} // a slot for each connection, and one for the next
	spoken      chan *conn    // connections that have sent something, for the server
	failed      chan error
	start       sync.Once
	closed      context.Context // ends with close
	close       context.CancelFunc
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
// The server gets a connection with its first byte, and only then waits for the rest
// of the header. Until then the connection is as good as one between two requests, and
// stays open for s.IdleTimeout: clients with a pool open connections that they use much
// later, and would lose the request that they send when the server closes one.
//
// A connection is closed when its client takes nothing of a response for Stall.
//
// Bound counts connections in the server's hooks, not in their Close, which the
// server may call more than once.
func Bound(s *http.Server, l net.Listener, max int) *Listener {
	bounded := &Listener{
		Listener: l, silence: s.IdleTimeout, pastSilence: s.ReadHeaderTimeout, max: int64(max), room: make(chan struct{}, max+max/8+1),
		spoken: make(chan *conn), failed: make(chan error),
	}
	bounded.closed, bounded.close = context.WithCancel(context.Background())
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx = context.WithValue(ctx, connKey{}, c)
		if c.(*conn).past {
			return context.WithValue(ctx, pastKey{}, true)
		}
		return ctx
	}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			bounded.ended()
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

// Accept returns the next connection that has sent something.
func (l *Listener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.acceptAll() })
	select {
	case c := <-l.spoken:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// acceptAll accepts connections while there is room, until the listener is closed.
func (l *Listener) acceptAll() {
	for {
		select {
		case l.room <- struct{}{}:
		case <-l.closed.Done():
			return
		}
		accepted, err := l.Listener.Accept()
		if err != nil {
			<-l.room
			select {
			case l.failed <- err:
				continue
			case <-l.closed.Done():
				return
			}
		}
		c := limited(accepted)
		c.past = l.open.Add(1) > l.max
		go l.listen(c)
	}
}

// listen waits until a connection sends something, and gives it to the server. Until
// then, closing the listener closes it.
func (l *Listener) listen(c *conn) {
	silence := l.silence
	if c.past {
		silence = l.pastSilence
	}
	stop := context.AfterFunc(l.closed, func() { c.Close() })
	spoke := c.speaks(silence)
	if stop() && spoke {
		select {
		case l.spoken <- c:
			return
		case <-l.closed.Done():
		}
	}
	c.Close()
	l.ended()
}

// ended makes room for another connection.
func (l *Listener) ended() {
	l.open.Add(-1)
	<-l.room
}

// Close stops accepting connections, and closes those that have sent nothing yet.
func (l *Listener) Close() error {
	l.close()
	return l.Listener.Close()
}
