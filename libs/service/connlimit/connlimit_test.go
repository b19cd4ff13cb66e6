package connlimit_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/service/connlimit"
	"lavka/libs/service/httpproblem"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for a response.
const patience = 30 * time.Second

// serve starts a server that answers on at most max connections.
func serve(t *testing.T, max int) *connlimit.Listener { return serveWith(t, &http.Server{}, max) }

func serveWith(t *testing.T, s *http.Server, max int) *connlimit.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := connlimit.Admit(w, r); err != nil {
			httpproblem.Write(w, r, err)
			return
		}
		fmt.Fprint(w, "served")
	})
	bounded := connlimit.Bound(s, l, max)
	done := make(chan error, 1)
	go func() { done <- s.Serve(bounded) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
		until(t, bounded, 0)
	})
	return bounded
}

// client is one connection.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, l net.Listener) *client {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) ask() (*http.Response, string) {
	c.t.Helper()
	if _, err := io.WriteString(c, "POST /purchases HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(body)
}

// closed waits for the end of the connection.
func (c *client) closed() error {
	_, err := io.Copy(io.Discard, c.in)
	return err
}

func until(t *testing.T, l *connlimit.Listener, open int) {
	t.Helper()
	waittest.Eventually(t, fmt.Sprintf("%d connections are open", open), func() bool { return l.Open() == open })
}

func TestBound(t *testing.T) {
	t.Parallel()
	l := serve(t, 4)
	var held []*client
	for range 4 {
		c := dial(t, l)
		if _, body := c.ask(); body != "served" {
			t.Fatal(body)
		}
		held = append(held, c)
	}
	for range 3 { // each new connection is refused
		late := dial(t, l)
		resp, body := late.ask()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, `"too_many_connections"`) {
			t.Errorf("%s %v %s", resp.Status, resp.Header, body)
		}
		if _, err := late.in.ReadByte(); err != io.EOF {
			t.Errorf("the refused connection stays open: %v", err)
		}
		until(t, l, 4)
	}
	if _, body := held[0].ask(); body != "served" {
		t.Errorf("on a connection opened before the limit was reached: %s", body)
	}
	held[0].Close()
	until(t, l, 3)
	if _, body := dial(t, l).ask(); body != "served" {
		t.Errorf("after another connection was closed: %s", body)
	}
}

// A refusal that is sent before the whole request has been read must not be lost
// to a connection reset.
func TestAnEarlyAnswerArrives(t *testing.T) {
	t.Parallel()
	l := serve(t, 1)
	held := dial(t, l)
	held.ask()
	for range 4 {
		c := dial(t, l)
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 500_000)); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%v %v", resp, err)
		}
		c.Close()
	}
}

// Clients beyond the limit and beyond those being refused wait in the operating
// system's queue, but not forever.
func TestSilentConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	l := serve(t, 8)
	var silent []*client
	for range 20 {
		silent = append(silent, dial(t, l))
	}
	until(t, l, 10) // 8 and 2 to be refused
	outside := dial(t, l)
	for _, c := range silent {
		c.Close()
	}
	outside.ask() // served or refused, but answered
	outside.Close()
	until(t, l, 0)
	if _, body := dial(t, l).ask(); body != "served" {
		t.Errorf("after all connections were closed: %s", body)
	}
}

// A connection that has sent nothing stays open like one between two requests. A pool
// of connections, such as a gateway's, opens more than it needs and uses them later. The
// time limit of a header counts from its first byte.
func TestAConnectionMayBeSilent(t *testing.T) {
	t.Parallel()
	l := serveWith(t, &http.Server{ReadHeaderTimeout: 50 * time.Millisecond, IdleTimeout: time.Minute}, 2)
	silent, slow, late := dial(t, l), dial(t, l), (*client)(nil)
	until(t, l, 2)
	if late = dial(t, l); late.closed() != nil { // beyond the limit, it was waited for as long as for a header
		t.Error("a silent connection beyond the limit stays open")
	}
	if _, err := io.WriteString(slow, "P"); err != nil {
		t.Fatal(err)
	}
	if err := slow.closed(); err != nil {
		t.Errorf("a connection with a part of a header: %v", err)
	}
	if _, body := silent.ask(); body != "served" {
		t.Errorf("a connection that was silent for longer than a header may take: %s", body)
	}
}

// A connection that stays silent is closed, at the latest with the server.
func TestASilentConnectionEnds(t *testing.T) {
	t.Parallel()
	l := serveWith(t, &http.Server{IdleTimeout: 50 * time.Millisecond}, 2)
	if err := dial(t, l).closed(); err != nil {
		t.Errorf("after IdleTimeout: %v", err)
	}
	s := &http.Server{}
	l = serveWith(t, s, 2)
	c := dial(t, l)
	until(t, l, 1)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.closed(); err != nil {
		t.Errorf("after the server has stopped: %v", err)
	}
}

// A client that takes nothing is disconnected, and until then little waits for it
// outside of Go's memory. One that takes something now and then gets everything.
func TestStalledReaders(t *testing.T) {
	t.Parallel()
	const whole = 3 << 19
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var taken atomic.Int64 // of the stalled client's response, by the operating system
	ended := make(chan error, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // without a WriteTimeout
		w.Header().Set("Content-Length", fmt.Sprint(whole))
		for range whole >> 10 {
			n, err := w.Write(make([]byte, 1<<10))
			if r.URL.Path == "/stalled" {
				if taken.Add(int64(n)); err != nil {
					ended <- err
					return
				}
			}
		}
	})}
	bounded := connlimit.Bound(s, l, 8)
	go s.Serve(bounded)
	t.Cleanup(func() { s.Close() })
	ask := func(path string, buffer int) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ask("/stalled", 4<<10)
	slow := ask("/slow", 64<<10)
	began, got := time.Now(), 0
	tick := time.NewTicker(connlimit.Stall / 8)
	defer tick.Stop()
	for part := make([]byte, 128<<10); ; {
		n, err := io.ReadFull(slow, part)
		got += n
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			t.Fatalf("the slow client lost its connection after %d bytes: %v", got, err)
		}
		<-tick.C
	}
	if got < whole || time.Since(began) < connlimit.Stall {
		t.Errorf("the slow client has %d bytes after %v", got, time.Since(began))
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the stalled client's response ended: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the stalled client is still connected")
	}
	if n := taken.Load(); n > 512<<10 {
		t.Errorf("%d bytes waited for the stalled client", n)
	}
	until(t, bounded, 0)
}
