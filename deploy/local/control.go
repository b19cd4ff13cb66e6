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

// control takes requests from the tools beside a running shop: POST /restart/{service}. It listens on the loopback address, and accepts a
// request only with its token, which running.json (mode 0600) holds.
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

// serve begins to take requests. They end with ctx; close waits for that.
func (c *control) serve(ctx context.Context, restart func(ctx context.Context, service string) error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /restart/{service}", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+c.at.Token)) != 1 {
			http.Error(w, "the token is not the one in running.json", http.StatusUnauthorized)
			return
		}
		// The service is replaced even when the tool that asked for it has gone.
		if err := restart(ctx, r.PathValue("service")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = c.server.Serve(c.listener) }() // nothing to do without it but restarts
}

// close waits for restarts that are under way.
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
