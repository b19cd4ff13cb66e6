package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"lavka/deploy/local/stack"
)

// control serves requests of the tools to the launcher: POST /restart/{service}. It listens on the loopback address, and accepts only requests
// with its token, which is in running.json (mode 0600).
type control struct {
	at       stack.Control
	listener net.Listener
	server   *http.Server
}

func newControl(ctx context.Context) (*control, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the tools: %w", err)
	}
	return &control{at: stack.Control{URL: "http://" + l.Addr().String(), Token: rand.Text()}, listener: l}, nil
}

// serve starts to accept requests. When ctx ends, those in flight are cancelled; close waits for them.
func (c *control) serve(ctx context.Context, restart func(ctx context.Context, service string) error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /restart/{service}", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+c.at.Token)) != 1 {
			http.Error(w, "the token is not the one in running.json", http.StatusUnauthorized)
			return
		}
		// With ctx, not the request's context: the restart completes even if the tool is interrupted.
		if err := restart(ctx, r.PathValue("service")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = c.server.Serve(c.listener) }() // without it, only restarts fail
}

// close waits for restarts in flight, at most 15 s.
func (c *control) close() error {
	if c.server == nil {
		return c.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := c.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop listening for the tools: %w", err), c.server.Close())
	}
	return nil
}
