package catalog

import (
	"context"

	"github.com/google/uuid"

	"lavka/libs/money"
)

// Answer is billing's decision on a purchase.
type Answer struct {
	PurchaseID    uuid.UUID
	Status        Status        // Completed or Declined
	Reason        Reason        // of a decline
	Balance       *money.Amount // of insufficient funds
	TransactionID *int64        // of a completed one
}

// Settlement is what became of answers.
type Settlement struct {
	Written []Purchase // were pending until now
	Before  []Purchase // were not
}

// Answered takes an answer and does not wait. It says whether there was room
// for it; billing can be asked again.
func (s *Purchases) Answered(a Answer) bool {
	err := s.answers.Add(a, func(struct{}) {})
	if err != nil {
		s.Metrics.dropped.Inc()
	}
	return err == nil
}

// settle writes a group of answers and then wakes who waits for them: what a
// buyer is told, a later look shows.
func (s *Purchases) settle(answers []Answer) []struct{} {
	s.Metrics.group("answers", len(answers))
	ctx := context.Background()
	settled, err := s.Store.Settle(ctx, distinct(answers))
	if err != nil {
		s.Metrics.unwritten.Inc()
		s.Log.ErrorContext(ctx, "billing's answers can't be written; it will be asked again", "answers", len(answers), "error", err)
	}
	for _, p := range settled.Written {
		s.Backlog.add(p.UserID, -1)
		s.waiters.wake(p)
	}
	for _, p := range settled.Before {
		s.waiters.wake(p)
	}
	return make([]struct{}, len(answers))
}

// distinct keeps the first answer on each purchase; they are all the same.
func distinct(answers []Answer) []Answer {
	seen := make(map[uuid.UUID]bool, len(answers))
	kept := make([]Answer, 0, len(answers))
	for _, a := range answers {
		if !seen[a.PurchaseID] {
			seen[a.PurchaseID] = true
			kept = append(kept, a)
		}
	}
	return kept
}
