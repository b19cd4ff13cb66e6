package catalog

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
)

// Answer is billing's decision on a purchase.
type Answer struct {
	PurchaseID    uuid.UUID
	Status        Status        // Completed or Declined
	Reason        Reason        // if declined
	Balance       *money.Amount // if declined for insufficient funds
	TransactionID *int64        // if completed
}

// on returns a pending purchase as settled by the answer.
func (a Answer) on(p Purchase, at time.Time) Purchase {
	p.Status, p.Reason, p.Balance, p.TransactionID, p.SettledAt = a.Status, a.Reason, a.Balance, a.TransactionID, &at
	return p
}

// Settlement is the result of writing answers.
type Settlement struct {
	Written []Settled  // purchases that this settled
	Before  []Purchase // purchases that were settled before
	Waiting int        // declined purchases that stay pending, because their stock is locked
}

// Settled identifies a purchase whose answer has just been written. The rest of
// its row is unchanged.
type Settled struct {
	PurchaseID uuid.UUID
	UserID     int64
	At         time.Time
}

// Answered enqueues an answer without blocking; done is called once the group
// that contains it has been settled. Answered reports whether there was room in
// the queue; if not, done is never called, and the sweeper will send the request
// again.
func (s *Purchases) Answered(ctx context.Context, a Answer, done func()) bool {
	err := s.answers.Add(ctx, a, func(struct{}) { done() })
	if err != nil {
		s.Metrics.AnswerDropped()
	}
	return err == nil
}

// settle writes a group of answers and then wakes the requests that wait for
// them, so that a later GET shows what the buyer was told.
func (s *Purchases) settle(ctx context.Context, answers []Answer) []struct{} {
	byID := distinct(answers)
	settled, err := s.Store.Settle(ctx, slices.Collect(maps.Values(byID)))
	if err != nil {
		s.Metrics.AnswersUnwritten()
		s.Log.ErrorContext(ctx, "can't write billing's answers; the sweeper will resend the requests", "answers", len(answers), "error", err)
	}
	if settled.Waiting > 0 {
		s.Log.WarnContext(ctx, "declined purchases stay pending, because the stock of their products is locked; the sweeper will resend the requests", "purchases", settled.Waiting)
	}
	for _, p := range settled.Written {
		s.Backlog.add(p.UserID, -1)
		if byID[p.PurchaseID].counts() {
			s.Declines.add(p.UserID)
		}
		s.waiters.settle(byID[p.PurchaseID], p.At)
		s.Watch.settled(p.PurchaseID)
	}
	for _, p := range settled.Before {
		s.waiters.wake(p)
		s.Watch.settled(p.ID)
	}
	s.orders.Recheck()
	return make([]struct{}, len(answers))
}

// distinct keeps one answer for each purchase. Billing gives the same answer
// every time.
func distinct(answers []Answer) map[uuid.UUID]Answer {
	kept := make(map[uuid.UUID]Answer, len(answers))
	for _, a := range answers {
		kept[a.PurchaseID] = a
	}
	return kept
}
