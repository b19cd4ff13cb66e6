package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"lavka/libs/testkit/pgtest"
	"lavka/tests/faults/link"
)

// patience is how long a test waits for what has to come, and moment for what
// must not.
const (
	patience = 60 * time.Second
	moment   = 200 * time.Millisecond
)

func TestMain(m *testing.M) { pgtest.Main(m, pgtest.Config{}) }

// wire is a link to a server that the test plays.
type wire struct {
	*link.Link
	t      *testing.T
	server net.Listener
}

func newWire(t *testing.T) *wire {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { server.Close() })
	l, err := link.New(server.Addr().String())
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return &wire{Link: l, t: t, server: server}
}

// dial connects both ends, which a good link must let.
func (w *wire) dial() (client, server *end) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.Addr())
	must(w.t, err)
	client = w.end(c)
	must(w.t, w.server.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
	s, err := w.server.Accept()
	must(w.t, err)
	return client, w.end(s)
}

func (w *wire) end(c net.Conn) *end {
	w.t.Cleanup(func() { c.Close() })
	return &end{t: w.t, TCPConn: c.(*net.TCPConn)}
}

// end is one end of a connection.
type end struct {
	*net.TCPConn
	t *testing.T
}

func (e *end) say(text string) {
	e.t.Helper()
	_, err := e.Write([]byte(text))
	must(e.t, err)
}

func (e *end) hear(want string) {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(e, got); err != nil || string(got) != want {
		e.t.Errorf("received %q, %v, want %q", got, err, want)
	}
}

// hearNothing wants silence: neither a byte nor an end.
func (e *end) hearNothing() {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(moment)))
	if n, err := e.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		e.t.Errorf("received %d bytes, %v, want nothing", n, err)
	}
}

// hearEnd wants the connection to end with an error, after whatever.
func (e *end) hearEnd(want error) {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, e.TCPConn)
	if err == nil {
		err = io.EOF
	}
	if !errors.Is(err, want) {
		e.t.Errorf("it ended with %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
