package httpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/host/freeport"
	"lavka/libs/service/access"
	"lavka/libs/service/httpserver"
	"lavka/libs/testkit/waittest"
)

// running is Serve on ports of its own.
type running struct {
	public, internal string
	stop             func() error
}

func serve(t *testing.T, h http.Handler, ready func(context.Context) error) running {
	t.Helper()
	return serveWith(t, h, httpserver.Config{Ready: ready, MaxConnections: 1000})
}

func serveWith(t *testing.T, h http.Handler, cfg httpserver.Config) running {
	t.Helper()
	cfg.Addr, cfg.InternalAddr = address(t), address(t)
	cfg.ShutdownTimeout = 20 * time.Second
	cfg.Registry, cfg.Log = httpserver.NewRegistry(), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- httpserver.Serve(ctx, cfg, h) }()
	r := running{"http://" + cfg.Addr, "http://" + cfg.InternalAddr, sync.OnceValue(func() error { cancel(); return <-done })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	waittest.Eventually(t, "it listens", func() bool {
		conn, err := net.Dial("tcp", cfg.InternalAddr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return r
}

func address(t *testing.T) string {
	t.Helper()
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	r := serve(t, e, func(context.Context) error { return nil })
	for target, want := range map[string]int{"/things/7": 200, "/nothing": 404, "/raw": 405, "/broken": 500} {
		resp, err := http.Head(r.public + target)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || len(body) != 0 || resp.Header.Get("Content-Type") == "" {
			t.Errorf("HEAD %s: %s %v %q", target, resp.Status, err, body)
		}
	}
}

func TestDraining(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-finish
		w.WriteHeader(http.StatusTeapot)
	})
	r := serve(t, slow, func(context.Context) error { return nil })
	if status, _ := get(t, r.internal+"/readyz"); status != 200 {
		t.Fatalf("not ready: %d", status)
	}
	if err := httpserver.Healthcheck(t.Context(), strings.TrimPrefix(r.internal, "http://")); err != nil {
		t.Error(err)
	}
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get(r.public)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	waittest.Eventually(t, "it says that it drains", func() bool {
		status, text := get(t, r.internal+"/readyz")
		return status == 503 && strings.Contains(text, `"draining"`)
	})
	if status, _ := get(t, r.internal+"/livez"); status != 200 {
		t.Errorf("not alive while it drains: %d", status)
	}
	if err := httpserver.Healthcheck(t.Context(), strings.TrimPrefix(r.internal, "http://")); err == nil {
		t.Error("healthy while it drains")
	}
	waittest.Eventually(t, "it takes no new connections", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.public, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(finish)
	if status := <-answered; status != http.StatusTeapot {
		t.Errorf("the request under way: %d", status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Until who balances has noticed, a draining replica serves as before; but it
// has its clients take their next request elsewhere.
func TestServingWhileItDrains(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	ready := func(context.Context) error { return nil }
	r := serveWith(t, e, httpserver.Config{Ready: ready, MaxConnections: 1000, DrainDelay: 3 * time.Second})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func() (*http.Response, error) {
		resp, err := client.Get(r.public + "/things/7")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return resp, err
	}
	if resp, err := ask(); err != nil || resp.StatusCode != 200 || resp.Close {
		t.Fatalf("%v %v", resp, err)
	}
	stopped := make(chan error, 1)
	begin := time.Now()
	go func() { stopped <- r.stop() }()
	waittest.Eventually(t, "it says that it drains", func() bool {
		status, text := get(t, r.internal+"/readyz")
		return status == 503 && strings.Contains(text, `"draining"`)
	})
	for range 2 { // on the connection of before, and on a new one
		if resp, err := ask(); err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Errorf("while it drains: %v %v", resp, err)
		}
	}
	if err := <-stopped; err != nil || time.Since(begin) < 3*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(begin), err)
	}
	if _, err := ask(); err == nil {
		t.Error("it serves after its end")
	}
}

// A request that does not end does not keep the server from stopping.
func TestTheEndIsBounded(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	defer close(finish)
	cfg := httpserver.Config{
		Addr: address(t), InternalAddr: address(t), DrainDelay: 50 * time.Millisecond, ShutdownTimeout: 50 * time.Millisecond,
		MaxConnections: 1000, Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- httpserver.Serve(ctx, cfg, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(started); <-finish }))
	}()
	waittest.Eventually(t, "it listens", func() bool {
		conn, err := net.Dial("tcp", cfg.Addr)
		if err != nil {
			return false
		}
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
		return err == nil
	})
	<-started
	stop()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not end")
	}
}

func TestStoppedBeforeItServes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := httpserver.Serve(ctx, httpserver.Config{Addr: "nowhere", DrainDelay: time.Hour}, http.NotFoundHandler()); err != nil {
		t.Error(err)
	}
}

func TestInternalPort(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	r := serve(t, e, func(context.Context) error { return errors.New("postgres://auth:hunter2@db is unreachable") })
	if status, _ := get(t, r.internal+"/livez"); status != 200 {
		t.Errorf("livez: %d", status)
	}
	if status, text := get(t, r.internal+"/readyz"); status != 503 || !strings.Contains(text, `"not_ready"`) || strings.Contains(text, "hunter2") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if status, text := get(t, r.internal+"/metrics"); status != 200 || !strings.Contains(text, "go_goroutines") {
		t.Errorf("metrics: %d", status)
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if status, _ := get(t, r.public+path); status != 404 {
			t.Errorf("%s on the public port: %d", path, status)
		}
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, cfg := range []httpserver.Config{
		{Addr: l.Addr().String(), InternalAddr: address(t)}, {Addr: address(t), InternalAddr: l.Addr().String()},
	} {
		cfg.Log, cfg.Registry = slog.New(slog.DiscardHandler), httpserver.NewRegistry()
		err := httpserver.Serve(t.Context(), cfg, http.NotFoundHandler())
		if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("%v", err)
		}
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	api := func(contract string) httpserver.API {
		return httpserver.API{
			Service: "test", Contract: []byte(contract), Guard: access.NewGuard(nil, nil),
			Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		}
	}
	e, _, err := httpserver.NewAPI(api("openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if w, _ := do(e, "GET", "/test/openapi.json", "", nil); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, _, err := httpserver.NewAPI(api("{")); err == nil {
		t.Error("a contract that is not valid YAML is accepted")
	}
}
