package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lavka/libs/testkit/waittest"
)

// storm repeats a request over many connections until it is stopped. Like an
// attacker, it never waits. stop returns the number of responses by status.
func (r *replica) storm(connections int, path string, body func(n int64) string) (stop func() map[int]int) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	var all sync.WaitGroup
	var mu sync.Mutex
	var n atomic.Int64
	got := map[int]int{}
	for range connections {
		all.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, "POST", r.url+path, strings.NewReader(body(n.Add(1))))
				if err != nil {
					r.t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					continue // stopped
				}
				resp.Body.Close()
				mu.Lock()
				got[resp.StatusCode]++
				mu.Unlock()
			}
		})
	}
	return func() map[int]int {
		cancel()
		all.Wait()
		client.CloseIdleConnections()
		return got
	}
}

// A flood of requests that need no account must not keep users from logging in.
func TestLoginsDuringAStorm(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]func(n int64) string{
		"/auth/register":   func(n int64) string { return fmt.Sprintf(`{"login":"storm%d","password":"%s"}`, n, goodPassword) },
		"/auth/activation": func(int64) string { return fmt.Sprintf(`{"login":"bert","password":"%s"}`, goodPassword) },
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.start()
			r.user("anna")
			r.register("bert")
			stop := r.storm(80, path, body)
			before := w.count(`auth.activations`)
			waittest.Eventually(t, "the storm has begun", func() bool { return !strings.Contains(r.metrics(), "\nauth_hash_queue 0\n") })
			for range 12 {
				if a := r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}); a.status != 200 {
					t.Errorf("login: %s", a.text)
				}
			}
			waittest.Eventually(t, "newcomers are served as well", func() bool { return w.count(`auth.activations`) > before })
			if got := stop(); got[503]+got[429] == 0 {
				t.Errorf("no request was refused, so there was no storm: %v", got)
			}
		})
	}
}
