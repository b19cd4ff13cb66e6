// Package load drives a shop the way its clients would: buyers with keys and
// without, who retry when they get no response; a payment provider that repeats
// payments, and sometimes sends conflicting ones; an administrator who changes
// prices and stock, disables a user, gives back money, and reads and exports everything; a
// user with several devices who forgets their password; a program that follows the list
// of all transactions. Every call is recorded.
//
// A seed decides which requests are sent. When they are sent depends on the
// machine, so a seed reproduces a run's plan but not its exact timing.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// World is the bills and products of one run. Each run has its own, so that runs
// on one shop are checked separately.
type World struct {
	Bills    map[int64]int64 // owner by bill
	Products []int64         // the last one has limited stock, once that is open

	target   Target
	accounts *Accounts
	rec      *history.Recorder
	seed     uint64
	serial   int64
	hc       *http.Client

	finishing atomic.Bool               // all faults have healed
	tailed    atomic.Pointer[time.Time] // up to when transactions were read as they became complete

	mu       sync.Mutex
	payments []history.Pay   // that were sent
	sold     []history.Buy   // answered 201
	reversed map[int64]int64 // the greatest total that was sent, by payment
	next     int64           // payment id
	keys     int
	clients  int
	open     []unfinished
}

// unfinished is a request whose outcome a client does not know yet. try repeats it
// and reports whether the outcome is now known.
type unfinished struct {
	what string
	try  func(context.Context) bool
}

// block is how many payment and bill ids are reserved for a world.
const block = 1_000_000

// Config configures a World.
type Config struct {
	Target   Target
	Accounts *Accounts
	Recorder *history.Recorder
	Seed     uint64
	Serial   int64 // which world of the shop this is, from 1
}

const (
	products     = 4
	firstStock   = 20
	billsOfEach  = 2
	firstPrice   = 500    // minor units
	firstPayment = 10_000 // on each bill
)

// New creates products, and opens bills by paying money into them.
func New(ctx context.Context, cfg Config) (*World, error) {
	w := &World{
		Bills: map[int64]int64{}, target: cfg.Target, accounts: cfg.Accounts, rec: cfg.Recorder, seed: cfg.Seed, serial: cfg.Serial,
		reversed: map[int64]int64{}, hc: newHTTPClient(), next: cfg.Serial * block,
	}
	c := w.client()
	for i := range products {
		id, err := w.offer(ctx, c, firstPrice, i == products-1)
		if err != nil {
			return nil, err
		}
		w.Products = append(w.Products, id)
	}
	bill := cfg.Serial * block
	for _, u := range append([]*Account{cfg.Accounts.Suspect}, cfg.Accounts.Buyers...) {
		for range billsOfEach {
			bill++
			w.Bills[bill] = u.ID
			if err := w.deposit(ctx, c, u.ID, bill); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// Range returns the range of ids of the world's bills and payments: from from up
// to, but not including, to.
func (w *World) Range() (from, to int64) { return w.serial * block, (w.serial + 1) * block }

func (w *World) billsOf(owner int64) []int64 {
	var bills []int64
	for bill, user := range w.Bills {
		if user == owner {
			bills = append(bills, bill)
		}
	}
	slices.Sort(bills)
	return bills
}

func (w *World) client() *client {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients++
	return &client{id: int(w.serial)*1000 + w.clients, rec: w.rec, hc: w.hc}
}

func (w *World) offer(ctx context.Context, c *client, price int64, limited bool) (int64, error) {
	body := map[string]any{"title": "tea", "description": "", "price": money.Amount(price)}
	if limited {
		body["stock"] = firstStock
	}
	var call history.Call
	var raw []byte
	for range 20 {
		call, _, raw = c.call(ctx, "POST", w.target.Gateway+"/products", w.accounts.Admin.Token(), body)
		if call.Code == "not_open_yet" { // the limit is set later
			delete(body, "stock")
			continue
		}
		if !w.accounts.refused(ctx, c, w.accounts.Admin, call) {
			break
		}
	}
	if call.Status != http.StatusCreated {
		return 0, fmt.Errorf("offer a product: %d %s %s", call.Status, raw, call.Failure)
	}
	product, err := id(raw)
	w.rec.Add(func(h *history.History) {
		h.Reprices = append(h.Reprices, history.Reprice{Call: call, ProductID: product, Price: price})
	})
	return product, err
}

// ErrUnknownUser means that billing does not know a user 30 s after they were
// activated and logged in.
var ErrUnknownUser = errors.New("billing does not know a user")

// deposit pays money into a bill. Like a provider, it retries until billing knows
// the user, for 30 s.
func (w *World) deposit(ctx context.Context, c *client, user, bill int64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pay := history.Pay{PaymentID: w.paymentID(), UserID: user, BillID: bill, Amount: firstPayment}
	for {
		pay.Call = w.send(context.WithoutCancel(ctx), c, pay, 0)
		switch {
		case pay.Status == http.StatusOK:
			return nil
		case pay.Status == http.StatusNotFound && ctx.Err() != nil:
			return fmt.Errorf("%w: %d", ErrUnknownUser, user)
		case pay.Status != http.StatusNotFound && pay.Status != http.StatusServiceUnavailable && pay.Status != 0 || ctx.Err() != nil:
			return fmt.Errorf("deposit: %d %s %s", pay.Status, pay.Code, pay.Failure)
		}
		rest(ctx, 50*time.Millisecond)
	}
}

func (w *World) paymentID() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return w.next
}

func (w *World) random(c *client) *rand.Rand { return rand.New(rand.NewPCG(w.seed, uint64(c.id))) }

// Mix is the number of clients of each kind.
type Mix struct{ Buyers, Providers, Admins int }

// Usual is the mix for most faults.
var Usual = Mix{Buyers: 8, Providers: 3, Admins: 1}

// Run puts the shop under load until ctx ends.
func (w *World) Run(ctx context.Context, mix Mix) {
	var clients sync.WaitGroup
	for i := range mix.Buyers {
		clients.Go(func() { w.buy(ctx, w.accounts.Buyers[i%len(w.accounts.Buyers)]) })
	}
	for range mix.Providers {
		clients.Go(func() { w.pay(ctx) })
	}
	if mix.Admins > 0 {
		clients.Go(func() { w.reprice(ctx) })
		clients.Go(func() { w.suspect(ctx) })
		clients.Go(func() { w.devices(ctx) })
		clients.Go(func() { w.refund(ctx) })
		clients.Go(func() { w.audit(ctx) })
		clients.Go(func() { w.restock(ctx) })
		clients.Go(func() { w.tail(ctx) })
	}
	clients.Wait()
}

// Finish makes every client retry its requests with unknown outcomes until ctx
// ends. Outcomes that are still unknown then are an error.
func (w *World) Finish(ctx context.Context) error {
	w.finishing.Store(true)
	w.mu.Lock()
	open := w.open
	w.open = nil
	w.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, u := range open {
		all.Go(func() {
			for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
				slots <- struct{}{}
				done := u.try(ctx)
				<-slots
				if done {
					return
				}
				if ctx.Err() != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, errors.New(u.what))
					return
				}
				rest(ctx, pause)
			}
		})
	}
	all.Wait()
	if len(errs) > maxTold {
		errs = append(errs[:maxTold], fmt.Errorf("and %d more", len(errs)-maxTold))
	}
	return errors.Join(errs...)
}

// maxTold is how many unknown outcomes the error lists.
const maxTold = 3

func (w *World) leaveOpen(what string, try func(context.Context) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, unfinished{what, try})
}

// rest is a client's pause.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
