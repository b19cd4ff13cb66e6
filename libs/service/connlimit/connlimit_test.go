package connlimit_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lavka/libs/service/connlimit"
	"lavka/libs/service/httpproblem"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 30 * time.Second

// serve starts a server that answers on at most max connections.
func serve(t *testing.T, max int) *connlimit.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := connlimit.Admit(w, r); err != nil {
			httpproblem.Write(w, r, err)
			return
		}
		fmt.Fprint(w, "served")
	})}
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
	for range 3 { // as often as he comes
		late := dial(t, l)
		resp, body := late.ask()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, `"too_many_connections"`) {
			t.Errorf("%s %v %s", resp.Status, resp.Header, body)
		}
		if _, err := late.in.ReadByte(); err != io.EOF {
			t.Errorf("the connection stays open: %v", err)
		}
		until(t, l, 4)
	}
	if _, body := held[0].ask(); body != "served" {
		t.Errorf("one who was there before: %s", body)
	}
	held[0].Close()
	until(t, l, 3)
	if _, body := dial(t, l).ask(); body != "served" {
		t.Errorf("when another had gone: %s", body)
	}
}

// A refusal that comes before the request has been read to its end must not
// be lost with a reset of the connection.
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

// Past the bound and those who are being told so, clients wait outside; and
// not for ever.
func TestTheSilentHoldNoMoreThanTheBound(t *testing.T) {
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
	outside.ask() // whatever he hears, he hears something
	outside.Close()
	until(t, l, 0)
	if _, body := dial(t, l).ask(); body != "served" {
		t.Errorf("when they had gone: %s", body)
	}
}
