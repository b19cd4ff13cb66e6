package load

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"lavka/tests/faults/history"
)

// limited returns the product whose stock is limited.
func (w *World) limited() int64 { return w.Products[len(w.Products)-1] }

// restock changes the stock of the product that is limited until ctx ends: it adds about
// as much as is sold, and sometimes takes some away, so that the product is sold out
// again and again.
func (w *World) restock(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	for ctx.Err() == nil {
		rest(ctx, time.Duration(50+r.IntN(150))*time.Millisecond)
		change := history.Stocking{ProductID: w.limited(), Key: w.key(), Change: 1 + r.Int64N(6)}
		if r.IntN(5) == 0 {
			change.Change = -1 - r.Int64N(3)
		}
		w.followStocking(ctx, w.client(), change)
	}
}

// followStocking retries with the same key until the outcome is final.
func (w *World) followStocking(ctx context.Context, c *client, change history.Stocking) {
	try := func(ctx context.Context) bool {
		got := w.sendStocking(context.WithoutCancel(ctx), c, change)
		return !w.accounts.refused(ctx, c, w.accounts.Admin, got.Call) && got.Status != 0 && got.Status < 500
	}
	for end, pause := c.rec.Now()+patience, 50*time.Millisecond; c.rec.Now() < end && ctx.Err() == nil; pause *= 2 {
		if try(ctx) {
			return
		}
		rest(ctx, pause)
	}
	w.leaveOpen(fmt.Sprintf("the admin does not know the outcome of a change of the stock of product %d (key %q)", change.ProductID, change.Key), try)
}

// sendStocking is one POST /products/{id}/stock.
func (w *World) sendStocking(ctx context.Context, c *client, change history.Stocking) history.Stocking {
	token, _ := w.accounts.Admin.current()
	call, r, _ := c.call(ctx, http.MethodPost, fmt.Sprint(w.target.Gateway, "/products/", change.ProductID, "/stock"), token,
		map[string]any{"change": change.Change, "reason": "a test"}, "Idempotency-Key", change.Key)
	change.Call = call
	if r.OnHand != nil {
		change.OnHand = *r.OnHand
	}
	w.rec.Add(func(h *history.History) { h.Stockings = append(h.Stockings, change) })
	return change
}
