package natsconn

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialLimit is how long a connection may take: its name is looked up, the server
// accepts it, and sends its greeting.
const dialLimit = 2 * time.Second

// errDialing means that the connection is being made in the background; the next
// attempt may take it.
var errDialing = errors.New("the server has not answered yet")

// dialer makes connections in the background. nats.go dials, and reads the server's
// greeting, while it holds a lock that every publish needs, and even the question
// whether there is a connection. So an address that drops packets, a name server that
// does not answer, or a frozen server would block all of them, and with them
// purchases, for seconds at a time and again and again.
type dialer struct {
	begun atomic.Bool // the first connection is made in the foreground: only [Connect] waits for it
	mu    sync.Mutex
	calls map[string]*dialing // by address
}

// dialing is a connection that is being made, or that waits to be taken.
type dialing struct {
	conn net.Conn // nil while it is being made
}

// Dial returns a connection whose server has sent its greeting, or at once an error.
// After an error, a call for the same address a moment later may succeed.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	if !d.begun.Swap(true) {
		return greeted(network, address)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	call := d.calls[address]
	switch {
	case call == nil:
		call = &dialing{}
		d.calls[address] = call
		go d.make(call, network, address)
		return nil, errDialing
	case call.conn == nil:
		return nil, errDialing
	}
	delete(d.calls, address)
	return call.conn, nil
}

// make makes the connection, and closes it if nats.go does not take it in time,
// because it has connected to another server or has been closed.
func (d *dialer) make(call *dialing, network, address string) {
	conn, err := greeted(network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		delete(d.calls, address)
		return
	}
	call.conn = conn
	time.AfterFunc(dialLimit, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.calls[address] == call {
			delete(d.calls, address)
			_ = conn.Close() // nothing was sent on it
		}
	})
}

// greeted returns a connection to a server of NATS, which speaks first.
func greeted(network, address string) (net.Conn, error) {
	begin := time.Now()
	conn, err := net.DialTimeout(network, address, dialLimit)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	err = conn.SetReadDeadline(begin.Add(dialLimit))
	if err == nil {
		_, err = r.Peek(1)
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close() // err says more
		return nil, err
	}
	return peeked{conn, r}, nil
}

// peeked is a connection of which r has read the beginning.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }
