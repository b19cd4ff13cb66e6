package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
)

// Ledger stores decisions. Its methods take at most as long as the database's
// own time limits allow.
type Ledger interface {
	// Settle decides the items in one transaction and returns a result for each.
	Settle(ctx context.Context, items []Item) []Result
	// RecordRefused records a correctly signed payment that was refused.
	RecordRefused(ctx context.Context, p Payment, reason string) error
	// FindPayment returns the payment that was credited with an id, or nil. It takes no
	// lock: what was credited never changes.
	FindPayment(ctx context.Context, id int64) (*Payment, error)
	// RecordRefusedReversal records a correctly signed reversal that was refused.
	RecordRefusedReversal(ctx context.Context, r Reversal, reason string) error
	// KnownUsers returns those of the users who are customers.
	KnownUsers(ctx context.Context, ids []int64) ([]int64, error)
}

const (
	// heldFor is how long a payment or a reversal waits for a bill that is locked by another
	// transaction.
	heldFor = 2 * time.Second
	// payLimit is the time limit for a payment or a reversal as a whole.
	payLimit = 20 * time.Second
)

var (
	errOverloaded = problem.New(problem.Unavailable, "overloaded", "billing is overloaded; nothing was booked; retry the same request").Retry(time.Second)
	errBillBusy   = problem.New(problem.Unavailable, "bill_busy", "the bill is locked by another operation; retry the same request").Retry(2 * time.Second)
	errNotSettled = problem.New(problem.Internal, "internal", "this request could not be booked; it was recorded for an operator to review")
	errUnknown    = problem.New(problem.Unavailable, "outcome_unknown", "the ledger did not respond, so the outcome is unknown; retry the same request").Retry(2 * time.Second)
)

// Settler settles payments, reversals, purchases and refunds together, in groups.
type Settler struct {
	ledger    Ledger
	group     *group.Group[Item, Result]
	newcomers newcomers
}

// NewSettler starts a Settler. Close stops it.
func NewSettler(ledger Ledger, cfg group.Config) *Settler {
	return &Settler{ledger: ledger, group: group.New(cfg, ledger.Settle), newcomers: newcomers{known: ledger.KnownUsers, limit: newcomerFor}}
}

// Close settles the items already accepted and returns once every result has
// been delivered.
func (s *Settler) Close() {
	s.group.Close()
	s.newcomers.looks.Wait()
}

// Waiting returns the number of items waiting for a group.
func (s *Settler) Waiting() int { return s.group.Waiting() }

// Charge enqueues a purchase and later calls done with the result; done must
// not block. An error means that nothing was enqueued, and done is not called.
// Cancelling ctx has no effect.
func (s *Settler) Charge(ctx context.Context, r ChargeRequest, done func(Result)) error {
	return s.group.Add(ctx, &r, done)
}

// Refund enqueues a refund, as Charge does a purchase.
func (s *Settler) Refund(ctx context.Context, r RefundRequest, done func(Result)) error {
	return s.group.Add(ctx, &r, done)
}

// Pay credits a payment and returns after the commit. It reports whether the
// payment had been credited before. A refusal is recorded before it is returned.
// A payment for an unknown user waits for the user before it is refused, unless
// too many do. An Unavailable problem means that the same payment must be retried.
func (s *Settler) Pay(ctx context.Context, p Payment) (repeat bool, err error) {
	provider := ctx
	// A provider that disconnects must not prevent a refusal from being recorded.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	result, err := s.settle(ctx, &p)
	if r, ok := result.(Refused); ok && errors.Is(r.Problem, ErrUnknownUser) && s.newcomers.wait(provider, p.UserID) {
		result, err = s.settle(ctx, &p)
	}
	if err != nil {
		return false, err
	}
	switch r := result.(type) {
	case Credited:
		return false, nil
	case CreditedBefore:
		return true, nil
	case Refused:
		return false, s.Refuse(ctx, p, r.Problem)
	case Poisoned:
		return false, s.refuse(ctx, p, "not_settled", errNotSettled.Because(r.Err))
	default: // the other results are for other items only
		return false, errUnknown.Because(fmt.Errorf("settle payment: unexpected result %T", r))
	}
}

// Reverse decides on a reversal and returns the decision after the commit. It reports
// whether it had been decided before. A refusal is recorded before it is returned. An
// Unavailable problem means that the same reversal must be retried, and so does the
// problem ErrPaymentNotFound: the payment may be credited later.
func (s *Settler) Reverse(ctx context.Context, r Reversal) (d *ReversalDecision, repeat bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	if r.Payment, err = s.ledger.FindPayment(ctx, r.PaymentID); err != nil {
		return nil, false, errUnknown.Because(err)
	}
	result, err := s.settle(ctx, &r)
	if err != nil {
		return nil, false, err
	}
	switch result := result.(type) {
	case Reversed:
		return result.Decision, false, nil
	case ReversedBefore:
		return result.Decision, true, nil
	case Refused:
		return nil, false, s.RefuseReversal(ctx, r, result.Problem)
	case Poisoned:
		return nil, false, s.refuseReversal(ctx, r, "not_settled", errNotSettled.Because(result.Err))
	default: // the other results are for other items only
		return nil, false, errUnknown.Because(fmt.Errorf("settle reversal: unexpected result %T", result))
	}
}

// settle returns the result of an item for which a caller waits. While the item's bill
// is held, it retries for heldFor.
func (s *Settler) settle(ctx context.Context, item Item) (Result, error) {
	giveUp := time.Now().Add(heldFor)
	for wait := 25 * time.Millisecond; ; wait = min(2*wait, 400*time.Millisecond) {
		r, err := s.group.Do(ctx, item)
		switch {
		case errors.Is(err, group.ErrFull), errors.Is(err, group.ErrClosed):
			return nil, errOverloaded.Because(err)
		case err != nil:
			return nil, errUnknown.Because(err)
		}
		switch r := r.(type) {
		case Held:
			if time.Now().After(giveUp) {
				return nil, errBillBusy
			}
		case Failed:
			return nil, errUnknown.Because(r.Err)
		default:
			return r, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errBillBusy.Because(ctx.Err())
		}
	}
}

// Refuse records a correctly signed payment and returns the refusal. If the payment
// can't be recorded, Refuse returns an Unavailable problem instead, so that the
// provider retries.
func (s *Settler) Refuse(ctx context.Context, p Payment, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	return s.refuse(ctx, p, problem.From(refusal).Code, refusal)
}

func (s *Settler) refuse(ctx context.Context, p Payment, reason string, refusal error) error {
	if err := s.ledger.RecordRefused(ctx, p, reason); err != nil {
		return errUnknown.Because(fmt.Errorf("record refused payment: %w", err))
	}
	return refusal
}

// RefuseReversal is Refuse for a reversal.
func (s *Settler) RefuseReversal(ctx context.Context, r Reversal, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	return s.refuseReversal(ctx, r, problem.From(refusal).Code, refusal)
}

func (s *Settler) refuseReversal(ctx context.Context, r Reversal, reason string, refusal error) error {
	if err := s.ledger.RecordRefusedReversal(ctx, r, reason); err != nil {
		return errUnknown.Because(fmt.Errorf("record refused reversal: %w", err))
	}
	return refusal
}
