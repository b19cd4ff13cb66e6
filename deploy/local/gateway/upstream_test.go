package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lavka/libs/testkit/waittest"
)

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// scripted is a service that answers the nth request of its nth connection, both counted
// from 0, with a text. It closes the connection if the text is empty, and after one that
// is of HTTP/1.0.
type scripted struct {
	addr        string
	connections atomic.Int64
	mu          sync.Mutex
	open        []net.Conn
}

func newScripted(t *testing.T, answer func(connection, request int) string) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{addr: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, conn)
			s.mu.Unlock()
			connection := int(s.connections.Add(1)) - 1
			serving.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for request := 0; ; request++ {
					got, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, err = io.Copy(io.Discard, got.Body)
					text := answer(connection, request)
					if err != nil || text == "" {
						return
					}
					if _, err := io.WriteString(conn, text); err != nil || strings.HasPrefix(text, "HTTP/1.0") {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		s.closeAll()
		serving.Wait()
	})
	return s
}

func (s *scripted) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.open {
		_ = conn.Close()
	}
}

// ask sends a request, and returns the response's body or the error.
func ask(ctx context.Context, u *upstream, method, text string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+u.addr+"/", strings.NewReader(text))
	if err != nil {
		return "", err
	}
	resp, err := u.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func connectionsOf(t *testing.T, s *scripted) *upstream {
	t.Helper()
	u := newUpstream(s.addr)
	t.Cleanup(func() { u.closeIdle(0) })
	return u
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	s := newScripted(t, func(int, int) string { return fine })
	u := connectionsOf(t, s)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if body, err := ask(t.Context(), u, method, map[string]string{"POST": "{}"}[method]); err != nil || body != "ok" {
			t.Errorf("%s: %q, %v", method, body, err)
		}
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	u.closeIdle(time.Hour)
	if c := u.pop(); c == nil || c.idleSince.IsZero() {
		t.Error("the idle connection was closed too early")
	} else {
		c.idleSince = time.Now().Add(-idleLimit)
		u.idle = append(u.idle, c)
	}
	if body, err := ask(t.Context(), u, "POST", "{}"); err != nil || body != "ok" || s.connections.Load() != 2 {
		t.Errorf("after a long time: %q, %v, %d connections", body, err, s.connections.Load())
	}
	u.closeIdle(0)
	if u.pop() != nil {
		t.Error("an idle connection is left")
	}
}

// A connection is not reused if the service may have sent something else on it: the next
// client would read it as their response.
func TestConnectionsThatAreNotReused(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"a second response":     fine + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
		"a byte too many":       fine + "x",
		"Connection: close":     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"without a length":      "HTTP/1.0 200 OK\r\n\r\nok",
		"after an information":  "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"chunks with something": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
	} {
		s := newScripted(t, func(_, request int) string {
			if request == 0 {
				return text
			}
			return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain"
		})
		u := connectionsOf(t, s)
		for range 2 {
			body, err := ask(t.Context(), u, "POST", "{}")
			if err != nil || body != "ok" {
				t.Errorf("%s: %q, %v", what, body, err)
			}
		}
		if n := s.connections.Load(); n != 2 {
			t.Errorf("%s: %d connections, want 2", what, n)
		}
	}
}

// The service has closed an idle connection, such as when it was restarted: no request is
// sent on it, so that none is lost.
func TestClosedConnectionsAreNotUsed(t *testing.T) {
	t.Parallel()
	s := newScripted(t, func(int, int) string { return fine })
	u := connectionsOf(t, s)
	if _, err := ask(t.Context(), u, "GET", ""); err != nil {
		t.Fatal(err)
	}
	s.closeAll()
	waittest.Eventually(t, "the connection is seen to be closed", func() bool {
		c := u.pop()
		if c == nil {
			return false
		}
		defer func() { u.idle = append(u.idle, c) }()
		return !c.usable()
	})
	if body, err := ask(t.Context(), u, "POST", "{}"); err != nil || body != "ok" {
		t.Errorf("%q, %v", body, err)
	}
}

// The service closes a connection when it has read the next request. Only a request that
// changes nothing, or has a key and no body, is sent again.
func TestRequestsThatAreSentAgain(t *testing.T) {
	t.Parallel()
	for method, again := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "DELETE": false, "POST": false, "POST with a body": false} {
		s := newScripted(t, func(_, request int) string {
			if request == 0 {
				return "HTTP/1.1 204 No Content\r\n\r\n"
			}
			return ""
		})
		u := connectionsOf(t, s)
		if _, err := ask(t.Context(), u, "GET", ""); err != nil {
			t.Fatal(err)
		}
		method, _, with := strings.Cut(method, " ")
		text := ""
		if with {
			text = "{}"
		}
		if _, err := ask(t.Context(), u, method, text); (err == nil) != again || s.connections.Load() != map[bool]int64{true: 2, false: 1}[again] {
			t.Errorf("%s: %v, %d connections", method, err, s.connections.Load())
		}
		// A connection that is new is not given a second try.
		if _, err := ask(t.Context(), connectionsOf(t, newScripted(t, func(int, int) string { return "" })), method, text); err == nil {
			t.Errorf("%s: no error although the service closes every connection", method)
		}
	}
}

func TestLongHeads(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]bool{maxHead / 2: true, 2 * maxHead: false} {
		s := newScripted(t, func(int, int) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("x", size), 3*maxHead, strings.Repeat("b", 3*maxHead))
		})
		if body, err := ask(t.Context(), connectionsOf(t, s), "GET", ""); (err == nil) != want || want && len(body) != 3*maxHead {
			t.Errorf("a head of %d bytes: %d bytes of body, %v", size, len(body), err)
		}
	}
}

// When the client has gone, the service sees its connection close, before and after the
// head of the response.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso far"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		closed := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				closed <- err
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				closed <- err
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				closed <- err
				return
			}
			leave()
			_, err = conn.Read(make([]byte, 1))
			closed <- err
		}()
		u := newUpstream(l.Addr().String())
		if body, err := ask(ctx, u, "GET", ""); err == nil {
			t.Errorf("no error, %q", body)
		}
		if err := <-closed; !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the service: %v", err)
		}
		if u.pop() != nil {
			t.Error("the connection was kept")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
