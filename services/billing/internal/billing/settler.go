package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
)

// Ledger stores decisions. It takes as long as its database's limits allow.
type Ledger interface {
	// Settle decides the items in one transaction and gives a result for each.
	Settle(ctx context.Context, items []Item) []Result
	// RecordRefused keeps a correctly signed payment that was refused.
	RecordRefused(ctx context.Context, p Payment, reason string) error
}

const (
	// heldFor is how long a payment waits for a bill that somebody else holds.
	heldFor = 2 * time.Second
	// payLimit bounds a payment altogether.
	payLimit = 20 * time.Second
)

var (
	errOverloaded = problem.New(problem.Unavailable, "overloaded", "billing is overloaded; nothing was credited").Retry(time.Second)
	errBillBusy   = problem.New(problem.Unavailable, "bill_busy", "the bill is locked by another operation; retry the same payment").Retry(2 * time.Second)
	errNotSettled = problem.New(problem.Internal, "internal", "this payment could not be credited; it was recorded for an operator to review")
	errUnknown    = problem.New(problem.Unavailable, "outcome_unknown", "the ledger did not respond, so the outcome is unknown; retry the same payment").Retry(2 * time.Second)
)

// Settler has payments and purchases settled together, in groups.
type Settler struct {
	ledger Ledger
	group  *group.Group[Item, Result]
}

// NewSettler starts a Settler; Close ends it.
func NewSettler(ledger Ledger, cfg group.Config) *Settler {
	return &Settler{ledger: ledger, group: group.New(cfg, ledger.Settle)}
}

// Close settles what was taken and returns when all of it has been answered.
func (s *Settler) Close() { s.group.Close() }

// Waiting is the number of items that wait for a group.
func (s *Settler) Waiting() int { return s.group.Waiting() }

// Charge has a purchase decided; done hears of it and must not block. An error
// means that nothing was taken. The end of ctx changes nothing.
func (s *Settler) Charge(ctx context.Context, r ChargeRequest, done func(Result)) error {
	return s.group.Add(ctx, Item{Charge: &r}, done)
}

// Pay credits a payment and returns after the commit. Repeat tells that it had
// been credited before. Any refusal is kept before it is returned; 503 means:
// send the same payment again.
func (s *Settler) Pay(ctx context.Context, p Payment) (repeat bool, err error) {
	// A provider who hangs up must not keep a refusal from being kept.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	giveUp := time.Now().Add(heldFor)
	for wait := 25 * time.Millisecond; ; wait = min(2*wait, 400*time.Millisecond) {
		r, err := s.group.Do(ctx, Item{Payment: &p})
		switch {
		case errors.Is(err, group.ErrFull), errors.Is(err, group.ErrClosed):
			return false, errOverloaded.Because(err)
		case err != nil:
			return false, errUnknown.Because(err)
		case r.Credited:
			return r.Repeat, nil
		case r.Refusal != nil:
			return false, s.Refuse(ctx, p, r.Refusal)
		case r.Poison != nil:
			return false, s.refuse(ctx, p, "not_settled", errNotSettled.Because(r.Poison))
		case r.Err != nil:
			return false, errUnknown.Because(r.Err)
		case time.Now().After(giveUp):
			return false, errBillBusy
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, errBillBusy.Because(ctx.Err())
		}
	}
}

// Refuse keeps a correctly signed payment and returns why it was refused. When
// it can't be kept the answer is 503: the provider asks again.
func (s *Settler) Refuse(ctx context.Context, p Payment, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	return s.refuse(ctx, p, problem.From(refusal).Code, refusal)
}

func (s *Settler) refuse(ctx context.Context, p Payment, reason string, refusal error) error {
	if err := s.ledger.RecordRefused(ctx, p, reason); err != nil {
		return errUnknown.Because(fmt.Errorf("keep refused payment: %w", err))
	}
	return refusal
}
