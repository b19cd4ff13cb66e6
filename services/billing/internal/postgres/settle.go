package postgres

import (
	"context"
	"errors"
	"slices"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// tries is the maximum number of attempts for a group that lose a race, and of attempts
// that fail for other reasons, before its items fail.
const tries = 3

// Settle decides the items in one transaction. How it handles a failure depends
// on the failure. A lost race, connection or COMMIT is retried: the second attempt
// finds what the first one did. A bill that another transaction has locked is
// skipped. If the server refuses some of the data, each item is settled alone, to
// find the ones that are refused.
//
// The end of a request must not cancel ctx: the outcome of a cancelled COMMIT is
// unknown.
func (s *Store) Settle(ctx context.Context, items []billing.Item) []billing.Result {
	results, err := s.settleAgain(ctx, items, wait)
	if pg.LockTimeout(err) {
		results, err = s.settleAgain(ctx, items, skip)
	}
	if err == nil {
		return results
	}
	if pg.BadData(err) && len(items) == 1 {
		return []billing.Result{billing.Poisoned{Err: err}}
	}
	if pg.BadData(err) || pg.LockTimeout(err) {
		s.log.WarnContext(ctx, "a group could not be settled together; settling each item alone", "items", len(items), "error", err)
		return s.settleEach(ctx, items)
	}
	s.log.ErrorContext(ctx, "a group could not be settled", "items", len(items), "error", err)
	return slices.Repeat([]billing.Result{billing.Failed{Err: err}}, len(items))
}

// settleEach settles each item alone, to find the ones that the database refuses.
// It does not wait for locks: items on a locked bill would wait one after another.
// Once the database does not respond, the remaining items fail without an attempt.
func (s *Store) settleEach(ctx context.Context, items []billing.Item) []billing.Result {
	results := make([]billing.Result, len(items))
	for i, item := range items {
		alone, err := s.settleAgain(ctx, []billing.Item{item}, skip)
		switch {
		case err == nil:
			results[i] = alone[0]
		case pg.LockTimeout(err):
			results[i] = billing.Held{}
		case pg.BadData(err):
			results[i] = billing.Poisoned{Err: err}
		case pg.Passing(err):
			for rest := range results[i:] {
				results[i+rest] = billing.Failed{Err: err}
			}
			return results
		default:
			results[i] = billing.Failed{Err: err}
		}
	}
	return results
}

func (s *Store) settleAgain(ctx context.Context, items []billing.Item, l lock) ([]billing.Result, error) {
	results, err := s.settleTries(ctx, items, l, false)
	if errors.Is(err, errNoBill) {
		return s.settleTries(ctx, items, l, true)
	}
	return results, err
}

// settleTries counts lost races apart from other failures. A group may lose one in its
// last attempt, after it has lost its sessions: the id that it has met is then not bad
// data, and the next attempt sees it.
func (s *Store) settleTries(ctx context.Context, items []billing.Item, l lock, createBills bool) ([]billing.Result, error) {
	for lost, failed := 0, 0; ; {
		limited, cancel := context.WithTimeout(ctx, groupTimeout)
		results, err := s.settle(limited, items, l, createBills)
		cancel()
		if err == nil {
			return results, nil
		}
		if !pg.Again(err) && !errors.Is(err, errUnusedBill) {
			return nil, err
		}
		if _, race := pg.UniqueViolation(err); race {
			lost++
		} else {
			failed++
		}
		if lost == tries || failed == tries {
			return nil, err
		}
	}
}
