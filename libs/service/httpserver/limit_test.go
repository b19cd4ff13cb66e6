package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/service/cors"
	"lavka/libs/service/httpserver"
	"lavka/libs/testkit/waittest"
)

const page = "https://front.example"

func TestThePublicPortIsFull(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	r := serveWith(t, e, httpserver.Config{Ready: func(context.Context) error { return nil }, MaxConnections: 3, CORSOrigins: cors.Origins{page}})
	connections := func(n int) func() bool {
		return func() bool {
			_, text := get(t, r.internal+"/metrics")
			return strings.Contains(text, fmt.Sprintf("\nhttp_server_connections %d\n", n))
		}
	}
	var held []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	waittest.Eventually(t, "it is full", connections(3))
	client := &http.Client{Transport: &http.Transport{}}
	asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/things/7", nil)
	if err != nil {
		t.Fatal(err)
	}
	asked.Header.Set("Origin", page)
	resp, err := client.Do(asked)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.Header.Get("Access-Control-Allow-Origin") != page || resp.Header.Get("Vary") != "Origin" {
		t.Errorf("a page can't read it: %v", resp.Header)
	}
	if err != nil || resp.StatusCode != 503 || !strings.Contains(string(text), `"too_many_connections"`) || resp.Header.Get("Retry-After") == "" || !resp.Close {
		t.Errorf("%s %v %s %v", resp.Status, resp.Header, text, err)
	}
	if status, _ := get(t, r.internal+"/readyz"); status != 200 {
		t.Errorf("readyz while the public port is full: %d", status)
	}
	held[0].Close()
	waittest.Eventually(t, "one has gone", connections(2))
	if resp, err := client.Get(r.public + "/things/7"); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %v", resp, err)
	}
	client.CloseIdleConnections()
}

// Clients that send a byte now and then are disconnected within the limits, and do
// not keep other clients from being served.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	r := serve(t, e, func(context.Context) error { return nil })
	for name, c := range map[string]struct {
		begin  string
		limit  time.Duration
		answer string
	}{
		"header": {"GET /things/7 HTTP/1.1\r\nHost: shop\r\nX-Slow: ", 5 * time.Second, ""},
		"body":   {"POST /things HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{", 15 * time.Second, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var slow sync.WaitGroup
			for range 50 {
				slow.Go(func() { trickle(t, strings.TrimPrefix(r.public, "http://"), c.begin, c.limit, c.answer) })
			}
			served := 0
			ended := make(chan struct{})
			go func() { slow.Wait(); close(ended) }()
			for done := false; !done; served++ {
				if status, _ := get(t, r.public+"/things/7"); status != 200 {
					t.Errorf("another client: %d", status)
				}
				select {
				case <-ended:
					done = true
				case <-time.After(50 * time.Millisecond):
				}
			}
			t.Logf("%d requests of others meanwhile", served)
		})
	}
}

// trickle sends a byte a second until the server has had enough, which it
// must have at limit, and checks how its answer begins ("" for none).
func trickle(t *testing.T, addr, begin string, limit time.Duration, answer string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	start := time.Now()
	got := make(chan string, 1)
	go func() {
		// A reset is an end like any other.
		text, _ := io.ReadAll(c)
		got <- string(text)
	}()
	if _, err := io.WriteString(c, begin); err != nil {
		t.Error(err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case text := <-got:
			if took := time.Since(start); took < limit-time.Second || took > limit+10*time.Second {
				t.Errorf("ended after %v, want %v", took, limit)
			}
			if _, status, _ := strings.Cut(text, " "); !strings.HasPrefix(status, answer) || answer == "" && text != "" {
				t.Errorf("the answer is %q, want %q", text, answer)
			}
			return
		case <-tick.C:
			if _, err := io.WriteString(c, "x"); err != nil {
				continue // the end is about to be read
			}
		}
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	r := serve(t, e, func(context.Context) error { return nil })
	for size, want := range map[int]int{15 << 10: 200, 21 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET /things/7 HTTP/1.1\r\nHost: shop\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", size)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a header of %d bytes: %s", size, resp.Status)
		}
	}
}
