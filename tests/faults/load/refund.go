package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// refund gives back money of purchases until ctx ends: parts of it and all of it,
// sometimes several times at once, and in sum often more than was paid.
func (w *World) refund(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	for ctx.Err() == nil {
		rest(ctx, time.Duration(20+r.IntN(80))*time.Millisecond)
		of, ok := w.bought(r)
		if !ok {
			continue
		}
		at := 1
		if r.IntN(3) == 0 {
			at = 3
		}
		var all sync.WaitGroup
		for range at {
			what := history.Refund{PurchaseID: of.PurchaseID, Key: w.key(), Amount: *of.Amount/2 + r.Int64N(*of.Amount/2) + 1, Force: r.IntN(2) == 0}
			if r.IntN(4) == 0 {
				what.Amount = 0
			}
			if r.IntN(2) == 0 {
				what.Restock = r.Int64N(max(1, of.Quantity) + 1)
			}
			client, own := w.client(), rand.New(rand.NewPCG(r.Uint64(), 0))
			all.Go(func() { w.followRefund(ctx, client, own, what) })
		}
		all.Wait()
	}
}

// bought returns one of the latest purchases.
func (w *World) bought(r *rand.Rand) (history.Buy, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sold) == 0 {
		return history.Buy{}, false
	}
	return w.sold[len(w.sold)-1-r.IntN(min(len(w.sold), 5))], true
}

// followRefund retries with the same key until the outcome is final.
func (w *World) followRefund(ctx context.Context, c *client, r *rand.Rand, what history.Refund) {
	try := func(ctx context.Context) bool {
		got := w.sendRefund(context.WithoutCancel(ctx), c, what)
		return !w.accounts.refused(ctx, c, w.accounts.Admin, got.Call) && got.Status != 0 && got.Status < 500 && got.Status != http.StatusAccepted
	}
	for end, pause := c.rec.Now()+patience, 50*time.Millisecond; c.rec.Now() < end && ctx.Err() == nil; pause *= 2 {
		if try(ctx) {
			if r.IntN(4) == 0 {
				try(ctx) // again: the same answer
			}
			return
		}
		rest(ctx, pause/2+time.Duration(r.Int64N(int64(pause))))
	}
	w.leaveOpen(fmt.Sprintf("the admin does not know the outcome of a refund of purchase %s (key %q)", what.PurchaseID, what.Key), try)
}

// sendRefund is one POST /purchases/{id}/refunds.
func (w *World) sendRefund(ctx context.Context, c *client, what history.Refund) history.Refund {
	body := map[string]any{"reason": "a test", "force": what.Force}
	if what.Amount > 0 {
		body["amount"] = money.Amount(what.Amount)
	}
	if what.Restock > 0 {
		body["restock"] = what.Restock
	}
	token, _ := w.accounts.Admin.current()
	call, r, _ := c.call(ctx, http.MethodPost, w.target.Gateway+"/purchases/"+what.PurchaseID+"/refunds", token, body, "Idempotency-Key", what.Key)
	what.Call = call
	what.RefundID, what.State, what.TransactionID = r.ID, r.state(), r.TransactionID
	if r.Amount != nil {
		what.Refunded = int64(*r.Amount)
	}
	if r.RefundID != "" {
		what.RefundID, what.State = r.RefundID, "declined"
	}
	w.rec.Add(func(h *history.History) { h.Refunds = append(h.Refunds, what) })
	return what
}
