package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"lavka/libs/service/connlimit"
	"lavka/libs/testkit/waittest"
)

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	addr, _ := frontWith(t, allOf(t), func(g *Gateway) { g.maxConnections = 2 })
	const request = "GET /products HTTP/1.1\r\nHost: shop\r\n\r\n"
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil { // so that it is counted
			t.Fatal(err)
		}
		held = append(held, c)
	}
	resp, body := raw(t, addr, request)
	wantProblem(t, resp, body, 503, "too_many_connections")
	if resp.Header.Get("Retry-After") != "1" || !resp.Close {
		t.Errorf("%v", resp.Header)
	}
	held[0].Close()
	waittest.Eventually(t, "there is room again", func() bool { resp, _ := raw(t, addr, request); return resp.StatusCode == 200 })
}

// Clients that send a byte a second are disconnected within the limits, however many there are, and other clients are still served.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	for name, c := range map[string]struct {
		begin  string
		limit  time.Duration
		status int // 0: no answer
	}{
		"header": {"GET /products HTTP/1.1\r\nHost: shop\r\nX-Slow: ", 5 * time.Second, 0},
		"body":   {"POST /purchases HTTP/1.1\r\nHost: shop\r\nContent-Length: 60000\r\n\r\n{", 15 * time.Second, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var slow sync.WaitGroup
			for range 50 {
				slow.Go(func() {
					took, status := trickle(t, addr, c.begin)
					if took < c.limit-time.Second || took > c.limit+10*time.Second || status != c.status {
						t.Errorf("%d after %v, want %d after %v", status, took, c.status, c.limit)
					}
				})
			}
			over := make(chan struct{})
			go func() { slow.Wait(); close(over) }()
			for {
				if resp, body := raw(t, addr, "POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"); resp.StatusCode != 200 {
					t.Errorf("another client: %s %s", resp.Status, body)
				}
				select {
				case <-over:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
}

// trickle sends a byte a second until the gateway ends the request. It returns how long that took, and the status.
func trickle(t *testing.T, addr, begin string) (took time.Duration, status int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer c.Close()
	began := time.Now()
	end := make(chan int, 1)
	go func() {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			end <- 0
			return
		}
		resp.Body.Close()
		end <- resp.StatusCode
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for text := begin; ; text = "x" {
		// The write fails when the gateway has closed the connection; the response is still there to be read.
		_, _ = io.WriteString(c, text)
		select {
		case status := <-end:
			return time.Since(began), status
		case <-tick.C:
		}
	}
}

// A client of an export may take nothing for longer than those of other responses.
func TestSlowExports(t *testing.T) {
	t.Parallel()
	const whole = 8 << 20
	done := make(chan error, 1)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		w.Header().Set("Content-Type", "text/csv")
		_, err := w.Write(make([]byte, whole))
		done <- err
	}))
	t.Cleanup(large.Close)
	addr := front(t, map[string][]Replica{"billing": {{Addr: large.Listener.Addr().String(), InternalAddr: large.Listener.Addr().String()}}})
	for accept, passes := range map[string]bool{"text/csv": true, "application/json": false} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /transactions HTTP/1.1\r\nHost: shop\r\nAccept: "+accept+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(connlimit.Stall + 2*time.Second) // the client that is tested
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if (err == nil && n == whole) != passes {
			t.Errorf("%s: %d bytes, %v", accept, n, err)
		}
		if err := <-done; (err == nil) != passes {
			t.Errorf("%s: the service: %v", accept, err)
		}
	}
}

// A client that does not read its response is disconnected, long before the limit of the whole response.
func TestStalledReaders(t *testing.T) {
	t.Parallel()
	const whole = 64 << 20
	done := make(chan time.Duration, 1)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		began := time.Now()
		for range whole >> 15 {
			if _, err := w.Write(make([]byte, 1<<15)); err != nil {
				break
			}
		}
		done <- time.Since(began)
	}))
	t.Cleanup(large.Close)
	addr := front(t, map[string][]Replica{"catalog": {{Addr: large.Listener.Addr().String(), InternalAddr: large.Listener.Addr().String()}}})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /products HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case took := <-done:
		if limit := answerTime + 10*time.Second; took < connlimit.Stall-time.Second || took > limit-5*time.Second {
			t.Errorf("the service's response ended after %v, want %v; the limit of the whole response is %v", took, connlimit.Stall, limit)
		}
	case <-time.After(time.Minute):
		t.Error("the client is still connected")
	}
}
