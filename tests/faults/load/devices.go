package load

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lavka/tests/faults/history"
)

// Member is a user with several devices who often forgets their password.
type Member struct {
	*Account

	known    int // the password that the last reset may have set; 0 is the one of the registration
	resets   int // passwords that were sent with resets
	links    int
	sessions int
}

// device is a session of the member's.
type device struct {
	session         int
	access, refresh string
}

func passwordNumber(n int) string {
	if n == 0 {
		return password
	}
	return fmt.Sprintf("%s-%d", password, n)
}

// devices logs the member in on two devices until ctx ends, ends the session of one or
// resets the password, and shows both devices' tokens to every replica.
func (w *World) devices(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	for ; ctx.Err() == nil; rest(ctx, time.Duration(100+r.IntN(200))*time.Millisecond) {
		stays, goes := w.startSession(ctx, c), w.startSession(ctx, c)
		if stays == nil || goes == nil {
			w.reset(ctx) // perhaps the password of a reset without a response is the right one
			continue
		}
		both := []*device{stays, goes}
		w.show(ctx, c, both)
		byReset := r.IntN(3) == 0
		if byReset {
			w.reset(ctx)
		} else {
			w.endOthers(ctx, c, stays)
		}
		for range 6 {
			rest(ctx, time.Duration(100+r.IntN(200))*time.Millisecond)
			w.show(ctx, c, both)
		}
		w.renew(ctx, c, goes)
		w.renew(ctx, c, stays)
	}
}

// startSession logs the member in, and returns nil if that fails.
func (w *World) startSession(ctx context.Context, c *client) *device {
	m := w.accounts.Member
	m.sessions++
	login := history.Login{UserID: m.ID, Session: m.sessions, Password: m.known}
	var r reply
	login.Call, r, _ = c.call(context.WithoutCancel(ctx), "POST", w.target.Gateway+"/auth/login", "", map[string]string{"login": m.Login, "password": passwordNumber(m.known)})
	w.rec.Add(func(h *history.History) { h.Logins = append(h.Logins, login) })
	if login.Status != http.StatusOK {
		return nil
	}
	return &device{login.Session, r.AccessToken, r.RefreshToken}
}

// endOthers ends the sessions of the member's other devices.
func (w *World) endOthers(ctx context.Context, c *client, d *device) {
	end := history.Ending{UserID: w.accounts.Member.ID, Session: d.session}
	end.Call, _, _ = c.call(context.WithoutCancel(ctx), "DELETE", w.target.Gateway+"/auth/sessions?others=true", d.access, nil)
	w.rec.Add(func(h *history.History) { h.Endings = append(h.Endings, end) })
}

// show sends the access tokens of devices to every replica of catalog and billing.
func (w *World) show(ctx context.Context, c *client, devices []*device) {
	for _, url := range append(paths(w.target.Billing, "/bills?limit=1"), paths(w.target.Catalog, "/purchases?limit=1")...) {
		for _, d := range devices {
			use := history.Use{UserID: w.accounts.Member.ID, Session: d.session, Replica: url}
			use.Call, _, _ = c.call(context.WithoutCancel(ctx), "GET", url, d.access, nil)
			w.rec.Add(func(h *history.History) { h.Uses = append(h.Uses, use) })
		}
	}
}

// renew refreshes a device's tokens. A device does it once.
func (w *World) renew(ctx context.Context, c *client, d *device) {
	use := history.Use{UserID: w.accounts.Member.ID, Session: d.session, Refresh: true, Replica: w.target.Gateway}
	use.Call, _, _ = c.call(context.WithoutCancel(ctx), "POST", w.target.Gateway+"/auth/refresh", "", map[string]string{"refresh_token": d.refresh})
	w.rec.Add(func(h *history.History) { h.Uses = append(h.Uses, use) })
}

// reset gets two links for the member from the admin, and uses each three times at
// once, each time for another password.
func (w *World) reset(ctx context.Context) {
	m := w.accounts.Member
	c := w.client()
	var all sync.WaitGroup
	var set atomic.Int64
	set.Store(int64(m.known))
	for range 2 {
		var token string
		w.asAdmin(ctx, c, func(admin string) history.Call {
			call, r, _ := c.call(context.WithoutCancel(ctx), "POST", fmt.Sprintf("%s/users/%d/password-reset", w.target.Gateway, m.ID), admin, nil)
			_, token, _ = strings.Cut(r.Link, "#token=")
			return call
		})
		if token == "" {
			continue
		}
		m.links++
		for range 3 {
			m.resets++
			reset := history.Reset{UserID: m.ID, Link: m.links, Password: m.resets}
			one := w.client()
			all.Go(func() {
				reset.Call, _, _ = one.call(context.WithoutCancel(ctx), "POST", w.target.Gateway+"/auth/password-reset/confirm", "",
					map[string]string{"token": token, "new_password": passwordNumber(reset.Password)})
				w.rec.Add(func(h *history.History) { h.Resets = append(h.Resets, reset) })
				if reset.Status == http.StatusNoContent {
					set.Store(int64(reset.Password))
				}
			})
		}
	}
	all.Wait()
	m.known = int(set.Load())
}
