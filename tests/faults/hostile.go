package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lavka/deploy/local/stack"
	"lavka/tests/hostile"
)

// addHostileUser adds a user with a large history.
func addHostileUser(ctx context.Context, t *trial) (err error) {
	if t.hostile, err = t.accounts.Add(ctx, fmt.Sprintf("hostile-%d", t.worlds)); err != nil {
		return err
	}
	rows, products := hostile.Rows, hostile.Products
	if !t.long {
		rows, products = rows/5, products/5
	}
	return hostile.Fill(ctx, t.AdminDatabaseURL(), t.hostile.ID, rows, products)
}

// hostileUser has one user with a large history send expensive requests over 500
// connections, and checks that every replica stays ready and that all requests of
// other users are answered and none is refused.
func hostileUser(ctx context.Context, t *trial) (err error) {
	const connections = 500
	begin := t.rec.Now()
	flooding, calm := context.WithTimeout(ctx, t.span(4*time.Second, 30*time.Second))
	defer calm()
	var failed failures
	var others sync.WaitGroup
	watch := func(what, url, token string) {
		others.Go(func() {
			for flooding.Err() == nil {
				if got := status(ctx, url, token); got != http.StatusOK {
					failed.add(what, got, "")
				}
				if last(flooding, 50*time.Millisecond) != nil {
					return
				}
			}
		})
	}
	for _, service := range stack.Services() {
		for _, r := range t.Replicas(service) {
			watch(r.Name+" /readyz", r.InternalURL()+"/readyz", "")
		}
	}
	for i, path := range []string{"/users/me", "/products", fmt.Sprint("/products/", t.world.Products[0]), "/purchases", "/bills", "/transactions"} {
		watch("GET "+path, t.GatewayURL()+path, t.accounts.Buyers[i%len(t.accounts.Buyers)].Token())
	}
	statuses := t.world.Flood(flooding, t.hostile, connections, hostile.Path)
	others.Wait()
	end := t.rec.Now()
	for what, c := range t.rec.History().Calls() {
		if c.Start >= begin && c.Start < end && (c.Status == 0 || c.Status == http.StatusTooManyRequests || c.Status >= 500) {
			failed.add(what, c.Status, c.Code+c.Failure)
		}
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusServiceUnavailable] == 0 {
		err = fmt.Errorf("want some of the hostile user's requests answered and some refused, got responses by status: %v", statuses)
	}
	return errors.Join(err, failed.err())
}

// failures are requests that were refused or not answered.
type failures struct {
	mu  sync.Mutex
	all []string
}

func (f *failures) add(what string, status int, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, strings.TrimSpace(fmt.Sprintf("%s: %d %s", what, status, why)))
}

func (f *failures) err() error {
	if len(f.all) == 0 {
		return nil
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(f.all)))
	return fmt.Errorf("%d requests of others failed, for example: %s", len(f.all), strings.Join(kinds[:min(5, len(kinds))], "; "))
}
