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
			storming := func() bool { return !strings.Contains(r.metrics(), "\nauth_hash_queue 0\n") }
			waittest.Eventually(t, "the storm has begun", storming)
			for range 12 {
				if a := r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}); a.status != 200 {
					t.Errorf("login: %s", a.text)
				}
			}
			if !storming() {
				t.Error("the storm ended before the logins")
			}
			waittest.Eventually(t, "newcomers are served as well", func() bool { return w.count(`auth.activations`) > before })
			for status := range stop() {
				if status != 201 && status != 429 && status != 503 {
					t.Errorf("the storm got %d", status)
				}
			}
		})
	}
}

// A crowd with the right passwords is served, not refused as guesses: different users
// of one address, and one user with many requests.
func TestACrowdLogsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	r.user("anna")
	w.exec(`INSERT INTO auth.users (login, password_hash, role, activated_at)
		SELECT 'user' || i, password_hash, 'user', now() FROM auth.users, generate_series(1, 8) i WHERE login = 'anna'`)
	var all sync.WaitGroup
	for i := range 16 {
		login := "anna"
		if i < 8 {
			login = fmt.Sprint("user", i+1)
		}
		all.Go(func() {
			a, err := r.patient("POST", "/auth/login", "", object{"login": login, "password": goodPassword})
			if err != nil || a.status != 200 {
				t.Errorf("%s: %v %s", login, err, a.text)
			}
		})
	}
	all.Wait()
}
