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

// storm sends a request over many connections, again and again, until it is
// stopped. It never waits, as an attacker doesn't. Stopping gives the statuses
// that were answered.
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
					continue // it was stopped
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

// Whoever floods what needs no account must not keep those out who have one.
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
			waittest.Eventually(t, "the storm is there", func() bool { return !strings.Contains(r.metrics(), "\nauth_hash_queue 0\n") })
			for range 12 {
				if a := r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}); a.status != 200 {
					t.Errorf("login: %s", a.text)
				}
			}
			waittest.Eventually(t, "newcomers are served too", func() bool { return w.count(`auth.activations`) > before })
			if got := stop(); got[503]+got[429] == 0 {
				t.Errorf("that was no storm: %v", got)
			}
		})
	}
}
