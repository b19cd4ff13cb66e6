package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"lavka/deploy/local/payment"
	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// pay is the payment provider: it sends payments, repeats some that were credited
// long ago, takes back some, and sometimes sends two at once with the same id and different
// contents, as no provider should.
func (w *World) pay(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	var bills []int64
	for bill := range w.Bills {
		bills = append(bills, bill)
	}
	slices.Sort(bills)
	for ctx.Err() == nil {
		switch n := r.IntN(100); {
		case n < 25:
			if old, ok := w.sent(r); ok {
				w.deliver(ctx, c, r, old)
			}
		case n < 35:
			w.quarrel(ctx, r, bills)
		case n < 42:
			if old, ok := w.sent(r); ok {
				w.reverse(ctx, c, r, old)
			}
		default:
			w.deliver(ctx, c, r, w.payment(r, bills))
		}
		rest(ctx, time.Duration(r.IntN(15))*time.Millisecond)
	}
}

func (w *World) payment(r *rand.Rand, bills []int64) history.Pay {
	// The first bill of each user is the hot one.
	bill := bills[r.IntN(len(bills))]
	if r.IntN(2) == 0 {
		bill = bills[billsOfEach*(1+r.IntN(len(bills)/billsOfEach-1))]
	}
	return history.Pay{PaymentID: w.paymentID(), UserID: w.Bills[bill], BillID: bill, Amount: 100 + r.Int64N(900)}
}

func (w *World) sent(r *rand.Rand) (history.Pay, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.payments) == 0 {
		return history.Pay{}, false
	}
	return w.payments[r.IntN(len(w.payments))], true
}

// quarrel sends two payments with the same id at the same time, for different
// bills. At most one may be credited.
func (w *World) quarrel(ctx context.Context, r *rand.Rand, bills []int64) {
	one := w.payment(r, bills)
	other := one
	for other.BillID == one.BillID {
		other.BillID = bills[r.IntN(len(bills))]
	}
	other.UserID = w.Bills[other.BillID]
	var both sync.WaitGroup
	for i, p := range []history.Pay{one, other} {
		both.Go(func() { w.send(context.WithoutCancel(ctx), w.client(), p, i) })
	}
	both.Wait()
}

// deliver sends a payment until it is credited or finally refused.
func (w *World) deliver(ctx context.Context, c *client, r *rand.Rand, p history.Pay) {
	n := r.IntN(len(w.target.Billing))
	try := func(ctx context.Context) bool {
		n++
		p.Call = w.send(context.WithoutCancel(ctx), c, p, n)
		return p.Status != 0 && p.Status < 500 && p.Status != http.StatusNotFound
	}
	for end, pause := c.rec.Now()+patience, 50*time.Millisecond; c.rec.Now() < end && ctx.Err() == nil; pause *= 2 {
		if try(ctx) {
			w.mu.Lock()
			w.payments = append(w.payments, p)
			w.mu.Unlock()
			return
		}
		rest(ctx, pause/2+time.Duration(r.Int64N(int64(pause))))
	}
	w.leaveOpen(fmt.Sprintf("the provider does not know the outcome of payment %d", p.PaymentID), try)
}

// send is one call of the webhook, at one of billing's replicas.
func (w *World) send(ctx context.Context, c *client, p history.Pay, replica int) history.Call {
	at := w.target.Billing[replica%len(w.target.Billing)]
	body := payment.Signed(w.target.PaymentKey, p.PaymentID, p.UserID, p.BillID, money.Amount(p.Amount))
	p.Call, _, _ = c.call(ctx, "POST", at+"/payment/webhook", "", body)
	w.rec.Add(func(h *history.History) { h.Pays = append(h.Pays, p) })
	return p.Call
}
