package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"lavka/deploy/local/payment"
	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// reverse takes back a part of a payment, until the reversal is decided or finally
// refused. The totals of a payment rise, and some arrive out of order.
func (w *World) reverse(ctx context.Context, c *client, r *rand.Rand, of history.Pay) {
	total := 1 + r.Int64N(of.Amount/2)
	w.mu.Lock()
	if before := w.reversed[of.PaymentID]; r.IntN(4) > 0 && total <= before {
		total = min(before+1+r.Int64N(50), of.Amount)
	}
	w.reversed[of.PaymentID] = max(w.reversed[of.PaymentID], total)
	w.mu.Unlock()
	what := history.Reversal{ReversalID: w.paymentID(), PaymentID: of.PaymentID, Total: total}
	n := r.IntN(len(w.target.Billing))
	try := func(ctx context.Context) bool {
		n++
		got := w.sendReversal(context.WithoutCancel(ctx), c, what, n)
		return got.Status != 0 && got.Status < 500
	}
	for end, pause := c.rec.Now()+patience, 50*time.Millisecond; c.rec.Now() < end && ctx.Err() == nil; pause *= 2 {
		if try(ctx) {
			if r.IntN(3) == 0 {
				try(ctx) // again: the same answer
			}
			return
		}
		rest(ctx, pause/2+time.Duration(r.Int64N(int64(pause))))
	}
	w.leaveOpen(fmt.Sprintf("the provider does not know the outcome of reversal %d", what.ReversalID), try)
}

// sendReversal is one reversal, sent to one of billing's replicas.
func (w *World) sendReversal(ctx context.Context, c *client, what history.Reversal, replica int) history.Reversal {
	id, of := json.Number(strconv.FormatInt(what.ReversalID, 10)), json.Number(strconv.FormatInt(what.PaymentID, 10))
	header, body := payment.SignedReversal(w.target.SigningKey, id, of, money.Amount(what.Total).String())
	var headers []string
	for name := range header {
		headers = append(headers, name, header.Get(name))
	}
	call, r, _ := c.call(ctx, http.MethodPost, w.target.Billing[replica%len(w.target.Billing)]+"/payment/reversals", "", body, headers...)
	what.Call = call
	if r.Debited != nil && r.Shortfall != nil {
		what.Debited, what.Shortfall = int64(*r.Debited), int64(*r.Shortfall)
	}
	w.rec.Add(func(h *history.History) { h.Reversals = append(h.Reversals, what) })
	return what
}
