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

// patience is how long a buyer retries one purchase before going on; Finish
// retries it again.
const patience = 2 * time.Second

// buyer is a client with an account.
type buyer struct {
	*client
	w       *World
	account *Account
	bills   []int64
	r       *rand.Rand
	prices  map[int64]int64 // as this buyer last saw them
}

func (w *World) buy(ctx context.Context, account *Account) {
	c := w.client()
	b := &buyer{client: c, w: w, account: account, bills: w.billsOf(account.ID), r: w.random(c), prices: map[int64]int64{}}
	for ctx.Err() == nil {
		switch n := b.r.IntN(100); {
		case n < 40:
			b.purchase(ctx, "")
		case n < 70:
			b.purchase(ctx, b.w.key())
		case n < 80:
			b.look(ctx, b.w.Products[b.r.IntN(len(b.w.Products))])
		case n < 92:
			b.readBill(ctx, b.bill())
		default:
			b.readPage(ctx, b.bill())
		}
		rest(ctx, time.Duration(b.r.IntN(10))*time.Millisecond)
	}
}

func (w *World) key() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys++
	return fmt.Sprintf("key-%d-%d", w.serial, w.keys)
}

// bill returns the first bill most of the time, so that it is hot.
func (b *buyer) bill() int64 {
	if b.r.IntN(4) > 0 {
		return b.bills[0]
	}
	return b.bills[b.r.IntN(len(b.bills))]
}

func (b *buyer) token() string {
	token, _ := b.account.current()
	return token
}

// look reads a product's price, to expect it later.
func (b *buyer) look(ctx context.Context, product int64) {
	call, r, _ := b.call(ctx, "GET", fmt.Sprint(b.w.target.Gateway, "/products/", product), b.token(), nil)
	if call.Status == http.StatusOK && r.Price != nil {
		b.prices[product] = int64(*r.Price)
	}
}

func (b *buyer) readBill(ctx context.Context, bill int64) {
	call, r, _ := b.call(ctx, "GET", fmt.Sprint(b.w.target.Gateway, "/bills/", bill), b.token(), nil)
	read := history.BillRead{Call: call, UserID: b.account.ID, BillID: bill}
	if call.Status == http.StatusOK && r.Balance != nil {
		read.Balance = int64(*r.Balance)
	}
	b.rec.Add(func(h *history.History) { h.BillReads = append(h.BillReads, read) })
}

func (b *buyer) readPage(ctx context.Context, bill int64) {
	call, r, _ := b.call(ctx, "GET", fmt.Sprint(b.w.target.Gateway, "/transactions?bill_id=", bill), b.token(), nil)
	page := history.Page{Call: call, UserID: b.account.ID, BillID: bill, Lines: lines(r.Items)}
	b.rec.Add(func(h *history.History) { h.Pages = append(h.Pages, page) })
}

// purchase buys a product, and retries until its outcome is final, at most for
// patience.
func (b *buyer) purchase(ctx context.Context, key string) {
	want := history.Buy{
		UserID: b.account.ID, ProductID: b.w.Products[b.r.IntN(len(b.w.Products))], BillID: b.bill(), Key: key,
	}
	if b.r.IntN(4) == 0 {
		want.Quantity = 1 + b.r.Int64N(3)
	}
	// Orders of another user's bill are declined. What they took of a limited stock goes
	// back.
	declined := 50
	if want.ProductID == b.w.limited() {
		declined = 5
	}
	if b.r.IntN(declined) == 0 {
		want.BillID = b.w.billsOf(b.w.accounts.Suspect.ID)[0]
	}
	if price, ok := b.prices[want.ProductID]; ok && b.r.IntN(2) == 0 {
		want.Expected = &price
	}
	b.follow(ctx, want)
}

// follow retries until the outcome is known, as a careful client does: with the
// same key; without a key it reads the purchase, if it knows its id, and never
// retries.
func (b *buyer) follow(ctx context.Context, want history.Buy) {
	first := true
	lookAt := ""
	try := func(ctx context.Context) bool {
		if lookAt != "" {
			switch state, found := b.lookAt(ctx, lookAt); {
			case !found:
				return b.w.finishing.Load() // nothing was bought, and once all faults have healed nothing will be
			default:
				return state == "completed" || state == "declined"
			}
		}
		if !first && want.Key == "" {
			return true // this buyer never learns the outcome; the databases must have it
		}
		first = false
		got := b.order(ctx, want)
		switch {
		case got.Status == http.StatusAccepted, got.Code == "outcome_unknown" && want.Key == "":
			lookAt = got.PurchaseID
			return lookAt == ""
		case b.w.accounts.refused(ctx, b.client, b.account, got.Call), got.Status == 0, got.Status >= 500, got.Status == http.StatusTooManyRequests:
			return want.Key == ""
		}
		return true
	}
	for end, pause := b.rec.Now()+patience, 50*time.Millisecond; b.rec.Now() < end && ctx.Err() == nil; pause *= 2 {
		if try(ctx) {
			return
		}
		rest(ctx, pause/2+time.Duration(b.r.Int64N(int64(pause))))
	}
	b.w.leaveOpen(fmt.Sprintf("user %d does not know the outcome of a purchase (key %q, id %q)", want.UserID, want.Key, lookAt), try)
}

// order is one POST /purchases.
func (b *buyer) order(ctx context.Context, want history.Buy) history.Buy {
	return b.orderAt(ctx, b.w.target.Gateway, want)
}

func (b *buyer) orderAt(ctx context.Context, at string, want history.Buy) history.Buy {
	body := map[string]any{"product_id": want.ProductID, "bill_id": want.BillID}
	if want.Expected != nil {
		body["expected_price"] = money.Amount(*want.Expected)
	}
	if want.Quantity > 0 {
		body["quantity"] = want.Quantity
	}
	var headers []string
	if want.Key != "" {
		headers = []string{"Idempotency-Key", want.Key}
	}
	// The end of the load must not cancel the request.
	call, r, _ := b.call(context.WithoutCancel(ctx), "POST", at+"/purchases", b.token(), body, headers...)
	got := want
	got.Call = call
	got.PurchaseID, got.State, got.Price = r.ID, r.state(), minor(r.Price)
	got.Amount = minor(r.Amount)
	got.Balance, got.TransactionID = minor(r.Balance), r.TransactionID
	if r.PurchaseID != "" {
		got.PurchaseID = r.PurchaseID
		if call.Status < 500 {
			got.State = "declined"
		}
	}
	b.rec.Add(func(h *history.History) { h.Buys = append(h.Buys, got) })
	if got.Status == http.StatusCreated && got.Amount != nil {
		b.w.mu.Lock()
		b.w.sold = append(b.w.sold, got)
		b.w.mu.Unlock()
	}
	return got
}

// lookAt is one GET /purchases/{id}. Found is false only after a 404.
func (b *buyer) lookAt(ctx context.Context, purchase string) (state string, found bool) {
	call, r, _ := b.call(context.WithoutCancel(ctx), "GET", b.w.target.Gateway+"/purchases/"+purchase, b.token(), nil)
	look := history.Look{Call: call, UserID: b.account.ID, PurchaseID: purchase}
	if call.Status == http.StatusOK {
		look.State, look.Reason, look.TransactionID = r.state(), r.DeclineReason, r.TransactionID
		if r.Price != nil {
			look.Price = int64(*r.Price)
		}
	}
	b.rec.Add(func(h *history.History) { h.Looks = append(h.Looks, look) })
	return look.State, call.Status != http.StatusNotFound
}

// BuyAt buys at one replica of catalog until a purchase is answered 201 or 402. It
// fails if ctx ends first.
func (w *World) BuyAt(ctx context.Context, catalog string) error {
	account := w.accounts.Buyers[0]
	b := &buyer{client: w.client(), w: w, account: account}
	for {
		got := b.orderAt(ctx, catalog, history.Buy{UserID: account.ID, ProductID: w.Products[0], BillID: w.billsOf(account.ID)[0]})
		if got.Status == http.StatusCreated || got.Status == http.StatusPaymentRequired {
			return nil
		}
		if rest(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("a purchase was answered %d %s %s", got.Status, got.Code, got.Failure)
		}
	}
}

// SameKey makes several clients, started by start, send purchases with the same
// key until ctx ends.
func (w *World) SameKey(ctx context.Context, clients int, start func(func())) {
	account := w.accounts.Buyers[0]
	want := history.Buy{UserID: account.ID, ProductID: w.Products[0], BillID: w.billsOf(account.ID)[0], Key: w.key()}
	for range clients {
		c := w.client()
		b := &buyer{client: c, w: w, account: account, r: w.random(c)}
		start(func() {
			for ctx.Err() == nil {
				b.order(ctx, want)
				rest(ctx, time.Duration(20+b.r.IntN(80))*time.Millisecond)
			}
			b.follow(ctx, want)
		})
	}
}

// Storm sends purchases at a rate per second until ctx ends, without waiting for
// answers. It returns how many were sent, when all have been answered or have
// timed out.
func (w *World) Storm(ctx context.Context, rate float64) (sent int) {
	var buyers sync.WaitGroup
	defer buyers.Wait()
	c := w.client()
	r := w.random(c)
	for begin := time.Now(); ; sent++ {
		rest(ctx, time.Until(begin.Add(time.Duration(float64(sent)/rate*float64(time.Second)))))
		if ctx.Err() != nil {
			return sent
		}
		account := w.accounts.Buyers[r.IntN(len(w.accounts.Buyers))]
		b := &buyer{client: w.client(), w: w, account: account}
		want := history.Buy{UserID: account.ID, ProductID: w.Products[0], BillID: w.billsOf(account.ID)[0], Key: w.key()}
		buyers.Go(func() {
			if got := b.order(ctx, want); got.Status == http.StatusAccepted || got.Status == 0 || got.Status >= 500 {
				b.w.leaveOpen(fmt.Sprintf("user %d does not know the outcome of a purchase sent under overload (key %q)", want.UserID, want.Key), func(ctx context.Context) bool {
					again := b.order(ctx, want)
					return again.Answered() && again.Status != http.StatusAccepted && again.Status < 500
				})
			}
		})
	}
}
