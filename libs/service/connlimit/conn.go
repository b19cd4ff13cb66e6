package connlimit

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	// Stall is how long a client may take nothing of a response. Then its
	// connection is closed, because what waits for it occupies memory.
	Stall = 10 * time.Second
	// sendBuffer is the size of the operating system's buffer for what a client has
	// not taken yet, in bytes; Linux doubles it. By default it grows to megabytes,
	// which count towards a container's memory limit and not towards Go's.
	sendBuffer = 32 << 10
	// piece is how much is written before the client is given another Stall.
	piece = 16 << 10
)

// conn is a connection that ends a write when its client takes nothing for stall,
// or at the server's own deadline.
type conn struct {
	net.Conn
	past  bool   // beyond the limit
	first []byte // the first byte, until the server has read it

	mu       sync.Mutex
	stall    time.Duration
	deadline time.Time // the server's, or zero
}

// limited returns c with these limits. Only tests use other connections than TCP.
func limited(c net.Conn) *conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		// An error would come again, from the first read or write.
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	return &conn{Conn: c, stall: Stall}
}

// speaks waits for the first byte, for at most silence; 0 means without a limit. It
// returns false if there is none.
func (c *conn) speaks(silence time.Duration) bool {
	if silence > 0 && c.Conn.SetReadDeadline(time.Now().Add(silence)) != nil {
		return false
	}
	var first [1]byte
	if _, err := io.ReadFull(c.Conn, first[:]); err != nil {
		return false
	}
	c.first = first[:]
	return c.Conn.SetReadDeadline(time.Time{}) == nil
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = nil
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite lets clients read a response that was sent before the end of their
// request.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Write writes p, piece by piece.
func (c *conn) Write(p []byte) (written int, err error) {
	for {
		next := p[written:min(len(p), written+piece)]
		if err := c.Conn.SetWriteDeadline(c.next()); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(next)
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}

// next returns when the piece that is about to be written must have been taken.
func (c *conn) next() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := time.Now().Add(c.stall)
	if !c.deadline.IsZero() && c.deadline.Before(next) {
		return c.deadline
	}
	return next
}

// patient sets how long the client may take nothing, and returns what it was.
func (c *conn) patient(stall time.Duration) (before time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.stall = c.stall, stall
	return before
}

// SetWriteDeadline sets the server's deadline.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets the server's deadline, for reads too.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

// ReadFrom writes what r has. The TCP connection's own would bypass Write.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}
