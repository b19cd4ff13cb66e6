package postgres

import (
	"context"
	"errors"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// tries is how often a group is run before its items are given back.
const tries = 3

// Settle decides the items in one transaction. When that fails it does what
// the failure asks for: a lost race, connection or COMMIT is run again, since
// the second run finds what the first has done; a bill that somebody holds is
// skipped; data that the server refuses is found by settling each item alone.
//
// No request's end may end ctx: a cancelled COMMIT is of unknown outcome.
func (s *Store) Settle(ctx context.Context, items []billing.Item) []billing.Result {
	results, err := s.settleAgain(ctx, items, wait)
	if pg.LockTimeout(err) {
		results, err = s.settleAgain(ctx, items, skip)
	}
	if err == nil {
		return results
	}
	if pg.BadData(err) && len(items) == 1 {
		return []billing.Result{{Poison: err}}
	}
	if pg.BadData(err) || pg.LockTimeout(err) {
		s.log.WarnContext(ctx, "a group was refused; settling each item alone", "items", len(items), "error", err)
		return s.settleEach(ctx, items)
	}
	s.log.ErrorContext(ctx, "a group could not be settled", "items", len(items), "error", err)
	results = make([]billing.Result, len(items))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// settleEach finds the items that the database refuses. It waits for no lock:
// many items on a held bill would wait one after the other. A database that does
// not answer is not asked for each of them either.
func (s *Store) settleEach(ctx context.Context, items []billing.Item) []billing.Result {
	results := make([]billing.Result, len(items))
	for i, item := range items {
		alone, err := s.settleAgain(ctx, []billing.Item{item}, skip)
		switch {
		case err == nil:
			results[i] = alone[0]
		case pg.LockTimeout(err):
			results[i].Held = true
		case pg.BadData(err):
			results[i].Poison = err
		case pg.Passing(err):
			for rest := range results[i:] {
				results[i+rest].Err = err
			}
			return results
		default:
			results[i].Err = err
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

func (s *Store) settleTries(ctx context.Context, items []billing.Item, l lock, making bool) ([]billing.Result, error) {
	var err error
	for range tries {
		var results []billing.Result
		limited, cancel := context.WithTimeout(ctx, groupTimeout)
		results, err = s.settle(limited, items, l, making)
		cancel()
		if err == nil {
			return results, nil
		}
		if !pg.Again(err) && !errors.Is(err, errUnusedBill) {
			return nil, err
		}
	}
	return nil, err
}
