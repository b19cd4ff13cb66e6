package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Limits of the connections to a replica.
const (
	maxIdle     = 1024             // otherwise each burst would open new connections
	idleLimit   = 30 * time.Second // below the services' own (httpserver.IdleTimeout): this side closes, so that no request meets a closing connection
	maxHead     = 64 << 10         // bytes of a response's status line and headers
	dialLimit   = 3 * time.Second
	inMemory    = 16 << 10 // bytes of a body that is read before a connection is taken
	connBuffers = 4 << 10
)

// upstream is the connections to one replica. It writes a request and reads the head of
// the response on the caller's goroutine. net/http's Transport has two goroutines for each
// connection; handing each request to them and back was a quarter of the gateway's cost
// (docs/adr/0095). Requests whose body is not in memory still go through Transport.
type upstream struct {
	addr      string
	dialer    net.Dialer
	streaming *http.Transport

	mu   sync.Mutex
	idle []*upstreamConn // the one that was used last is the last
}

func newUpstream(addr string) *upstream {
	u := &upstream{addr: addr, dialer: net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}}
	u.streaming = &http.Transport{
		DialContext:           u.dialer.DialContext,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleLimit,
		ResponseHeaderTimeout: answerTime,
		DisableCompression:    true, // bodies are passed on unchanged
	}
	return u
}

// RoundTrip sends a request. Once a byte may have been sent, it retries only a request on a
// connection that turned out closed, and only if it is a GET, HEAD, OPTIONS or TRACE, or has
// an Idempotency-Key and no body, as http.Transport does.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	if hasBody(r) && r.GetBody == nil { // it is not in memory
		return u.streaming.RoundTrip(r)
	}
	for {
		c, used, err := u.take(r.Context())
		if err != nil {
			return nil, err
		}
		resp, err := c.send(r)
		if err == nil || !used || !c.closedUnread(err) || !replayable(r) || r.Context().Err() != nil {
			return resp, err
		}
	}
}

// take returns a connection, and whether it has been used before.
func (u *upstream) take(ctx context.Context) (c *upstreamConn, used bool, err error) {
	for c := u.pop(); c != nil; c = u.pop() {
		if c.usable() {
			return c, true, nil
		}
		_ = c.Close()
	}
	raw, err := u.dialer.DialContext(ctx, "tcp", u.addr)
	if err != nil {
		return nil, false, err
	}
	c = &upstreamConn{Conn: raw, to: u}
	c.r, c.w = bufio.NewReaderSize(c, connBuffers), bufio.NewWriterSize(raw, connBuffers)
	return c, false, nil
}

func (u *upstream) pop() *upstreamConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := len(u.idle) - 1
	if last < 0 {
		return nil
	}
	c := u.idle[last]
	u.idle[last] = nil
	u.idle = u.idle[:last]
	return c
}

func (u *upstream) keep(c *upstreamConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.idle) >= maxIdle {
		_ = c.Close()
		return
	}
	c.idleSince = time.Now()
	u.idle = append(u.idle, c)
}

// closeIdle closes the connections that have been idle for longer than limit.
func (u *upstream) closeIdle(limit time.Duration) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for n < len(u.idle) && now.Sub(u.idle[n].idleSince) >= limit {
		_ = u.idle[n].Close()
		n++
	}
	u.idle = slices.Delete(u.idle, 0, n)
	if limit == 0 {
		u.streaming.CloseIdleConnections()
	}
}

// upstreamConn is a connection to a replica, for one request at a time.
type upstreamConn struct {
	net.Conn
	to        *upstream
	r         *bufio.Reader
	w         *bufio.Writer
	idleSince time.Time
	left      int64 // bytes that may still be read
	read      bool  // whether a byte of the response was
}

// Read is for the buffer.
func (c *upstreamConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the response's headers are too large")
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.read = c.read || n > 0
	return n, err
}

// usable reports whether the other end has neither closed the connection nor sent
// something that nothing asked for.
func (c *upstreamConn) usable() bool {
	if time.Since(c.idleSince) >= idleLimit || c.r.Buffered() > 0 {
		return false
	}
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// send writes a request and reads the head of the response.
func (c *upstreamConn) send(r *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (*http.Response, error) {
		stop()
		_ = c.Close()
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		return nil, err
	}
	c.left, c.read = maxHead, false
	err := c.SetDeadline(time.Now().Add(answerTime))
	if r.Context().Err() != nil { // its deadline was perhaps replaced by this one
		return fail(context.Cause(r.Context()))
	}
	if err == nil {
		err = errors.Join(r.Write(c.w), c.w.Flush())
	}
	if err != nil {
		return fail(err)
	}
	var resp *http.Response
	for {
		if resp, err = http.ReadResponse(c.r, r); err != nil {
			return fail(err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	c.left = math.MaxInt64
	if err := c.SetDeadline(time.Time{}); err != nil {
		return fail(err)
	}
	if r.Context().Err() != nil {
		return fail(context.Cause(r.Context()))
	}
	b := &answer{body: resp.Body, conn: c, stop: stop, reusable: !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols}
	if resp.Body == http.NoBody {
		b.end(true)
	} else {
		resp.Body = b
	}
	return resp, nil
}

// closedUnread reports whether the connection had been closed before the other end
// answered.
func (c *upstreamConn) closedUnread(err error) bool {
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return !c.read && closed && !errors.Is(err, os.ErrDeadlineExceeded)
}

// answer is the body of a response. Read to its end, it gives the connection back.
type answer struct {
	body     io.ReadCloser
	conn     *upstreamConn
	stop     func() bool
	reusable bool
	once     sync.Once
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if err != nil {
		a.end(errors.Is(err, io.EOF))
	}
	return n, err
}

func (a *answer) Close() error {
	a.end(false)
	return nil
}

func (a *answer) end(whole bool) {
	a.once.Do(func() {
		if going := a.stop(); whole && going && a.reusable {
			a.conn.to.keep(a.conn)
			return
		}
		_ = a.conn.Close()
	})
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

func replayable(r *http.Request) bool {
	if hasBody(r) {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := r.Header["Idempotency-Key"]
	return key
}
