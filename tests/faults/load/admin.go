package load

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// reprice changes prices until ctx ends.
func (w *World) reprice(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	for ctx.Err() == nil {
		change := history.Reprice{ProductID: w.Products[r.IntN(len(w.Products))], Price: 200 + r.Int64N(800)}
		token, _ := w.accounts.Admin.current()
		change.Call, _, _ = c.call(context.WithoutCancel(ctx), "PATCH", fmt.Sprint(w.target.Gateway, "/products/", change.ProductID), token,
			map[string]any{"price": money.Amount(change.Price)})
		w.rec.Add(func(h *history.History) { h.Reprices = append(h.Reprices, change) })
		rest(ctx, time.Duration(50+r.IntN(200))*time.Millisecond)
	}
}

// suspect disables and enables a user until ctx ends, and meanwhile sends that
// user's requests to every replica.
func (w *World) suspect(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	s := w.accounts.Suspect
	for round := 0; ctx.Err() == nil; round++ {
		w.tryToGetIn(ctx, c, 3)
		if w.setEnabled(ctx, c, s, false) {
			for range 8 {
				rest(ctx, time.Duration(100+r.IntN(150))*time.Millisecond)
				w.tryToGetIn(ctx, c, 1)
			}
		}
		w.enable(ctx, c)
		rest(ctx, time.Duration(r.IntN(100))*time.Millisecond)
	}
	w.leaveOpen(fmt.Sprintf("user %d can't be enabled", s.ID), func(ctx context.Context) bool { return w.enable(ctx, c) })
}

// enable enables the suspect and gets a new token.
func (w *World) enable(ctx context.Context, c *client) bool {
	if !w.setEnabled(ctx, c, w.accounts.Suspect, true) {
		return false
	}
	call, _ := w.accounts.login(ctx, c, w.accounts.Suspect)
	return call.Status == http.StatusOK
}

func (w *World) setEnabled(ctx context.Context, c *client, u *Account, enabled bool) bool {
	token, _ := w.accounts.Admin.current()
	change := history.Switch{UserID: u.ID, Enabled: enabled}
	change.Call, _, _ = c.call(context.WithoutCancel(ctx), "PATCH", fmt.Sprint(w.target.Gateway, "/users/", u.ID), token, map[string]any{"enabled": enabled})
	w.rec.Add(func(h *history.History) { h.Switches = append(h.Switches, change) })
	return change.Status == http.StatusOK
}

// tryToGetIn sends the suspect's token to every replica of catalog and billing,
// and tries to buy.
func (w *World) tryToGetIn(ctx context.Context, c *client, times int) {
	s := w.accounts.Suspect
	for range times {
		for _, url := range append(paths(w.target.Billing, "/bills?limit=1"), paths(w.target.Catalog, "/purchases?limit=1")...) {
			w.enter(ctx, c, url)
		}
		b := &buyer{client: c, w: w, account: s}
		b.order(ctx, history.Buy{UserID: s.ID, ProductID: w.Products[0], BillID: w.billsOf(s.ID)[0]})
		rest(ctx, 10*time.Millisecond)
	}
}

// enter sends one request of the suspect's to one replica.
func (w *World) enter(ctx context.Context, c *client, url string) (status int) {
	token, from := w.accounts.Suspect.current()
	access := history.Access{UserID: w.accounts.Suspect.ID, TokenFrom: from, Replica: url}
	access.Call, _, _ = c.call(context.WithoutCancel(ctx), "GET", url, token, nil)
	w.rec.Add(func(h *history.History) { h.Accesses = append(h.Accesses, access) })
	return access.Status
}

// RevokedEverywhere waits until each of the URLs accepts the suspect's token, disables
// the suspect, waits until each URL refuses the token, and enables the suspect
// again. It fails if ctx ends first.
func (w *World) RevokedEverywhere(ctx context.Context, urls []string) error {
	c := w.client()
	until := func(what string, done func() bool) error {
		for !done() {
			if rest(ctx, 50*time.Millisecond); ctx.Err() != nil {
				return fmt.Errorf("user %d %s", w.accounts.Suspect.ID, what)
			}
		}
		return nil
	}
	answered := func(status int) func() bool {
		return func() bool {
			urls = slices.DeleteFunc(urls, func(url string) bool { return w.enter(ctx, c, url) == status })
			return len(urls) == 0
		}
	}
	all := slices.Clone(urls)
	if err := until("can't be enabled", func() bool { return w.enable(ctx, c) }); err != nil {
		return err
	}
	if err := until("is active and has a new token, but has no access", answered(http.StatusOK)); err != nil {
		return fmt.Errorf("%w at %v", err, urls)
	}
	if err := until("can't be disabled", func() bool { return w.setEnabled(ctx, c, w.accounts.Suspect, false) }); err != nil {
		return err
	}
	urls = all
	if err := until("is disabled, but still has access", answered(http.StatusUnauthorized)); err != nil {
		return fmt.Errorf("%w at %v", err, urls)
	}
	return until("can't be enabled", func() bool { return w.enable(ctx, c) })
}

func paths(replicas []string, path string) []string {
	var urls []string
	for _, r := range replicas {
		urls = append(urls, r+path)
	}
	return urls
}
