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
	Reason        Reason        // of a decline
	Balance       *money.Amount // of insufficient funds
	TransactionID *int64        // of a completed one
}

// on is the purchase, which was pending, as the answer leaves it.
func (a Answer) on(p Purchase, at time.Time) Purchase {
	p.Status, p.Reason, p.Balance, p.TransactionID, p.SettledAt = a.Status, a.Reason, a.Balance, a.TransactionID, &at
	return p
}

// Settlement is what became of answers.
type Settlement struct {
	Written []Settled  // were pending until now
	Before  []Purchase // were not
}

// Settled is a purchase whose row has an answer now. The rest of the row is as
// it was.
type Settled struct {
	PurchaseID uuid.UUID
	UserID     int64
	At         time.Time
}

// Answered takes an answer and does not wait; done hears when it has been written.
// It says whether there was room for it; if not, done is never called, and
// billing can be asked again.
func (s *Purchases) Answered(ctx context.Context, a Answer, done func()) bool {
	err := s.answers.Add(ctx, a, func(struct{}) { done() })
	if err != nil {
		s.Metrics.dropped.Inc()
	}
	return err == nil
}

// settle writes a group of answers and then wakes who waits for them: what a
// buyer is told, a later look shows.
func (s *Purchases) settle(ctx context.Context, answers []Answer) []struct{} {
	byID := distinct(answers)
	settled, err := s.Store.Settle(ctx, slices.Collect(maps.Values(byID)))
	if err != nil {
		s.Metrics.unwritten.Inc()
		s.Log.ErrorContext(ctx, "billing's answers can't be written; it will be asked again", "answers", len(answers), "error", err)
	}
	for _, p := range settled.Written {
		s.Backlog.add(p.UserID, -1)
		s.waiters.settle(byID[p.PurchaseID], p.At)
	}
	for _, p := range settled.Before {
		s.waiters.wake(p)
	}
	s.orders.Recheck()
	return make([]struct{}, len(answers))
}

// distinct keeps one answer on each purchase; they are all the same.
func distinct(answers []Answer) map[uuid.UUID]Answer {
	kept := make(map[uuid.UUID]Answer, len(answers))
	for _, a := range answers {
		kept[a.PurchaseID] = a
	}
	return kept
}
