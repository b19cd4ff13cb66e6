package postgres_test

import (
	"testing"

	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// behindProxy returns a shop that sells tea, and a replica that connects to its
// database through a proxy.
func behindProxy(t *testing.T) (s *shop, tea catalog.Product, p *proxy, replica *postgres.Store) {
	t.Helper()
	s = newShop(t)
	p, url := newProxy(t, s.db.URL("catalog"))
	return s, s.product(t, "tea", 350), p, openStore(t, url)
}

func TestACommitOfUnknownOutcomeEndsWithOneRow(t *testing.T) {
	t.Parallel()
	for name, fates := range map[string][]fate{
		"not done":                  {cutBefore},
		"done, answer lost":         {cutAfter},
		"lost twice":                {cutBefore, cutAfter},
		"lost four times":           {cutBefore, cutBefore, cutBefore, cutAfter},
		"done, and the next is cut": {cutAfter, cutBefore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, tea, cut, replica := behindProxy(t)
			cut.next(false, fates...)
			orders := []catalog.Order{order(1, tea.ID, "k"), order(1, tea.ID, ""), order(1, tea.ID, "k"), order(1, 999_999, "")}
			got := place(t, replica, orders...)
			for i := range 3 {
				if got[i].Err != nil {
					t.Errorf("order %d: %v", i, got[i].Err)
				}
			}
			if got[0].Purchase.ID != orders[0].ID || got[0].Replayed || got[1].Purchase.ID != orders[1].ID || got[2].Purchase.ID != orders[0].ID || !got[2].Replayed {
				t.Errorf("placements %+v", got[:3])
			}
			if problem.From(got[3].Err).Code != "product_not_found" {
				t.Errorf("order 3: %v", got[3].Err)
			}
			if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 2 {
				t.Errorf("%d purchases, want 2", n)
			}
			if cut.seen() <= len(fates)-1 {
				t.Errorf("the proxy saw %d COMMITs, want at least %d", cut.seen(), len(fates))
			}
		})
	}
}

func TestAnUnknownOutcomeIsSaidWhenTheDatabaseStaysAway(t *testing.T) {
	t.Parallel()
	s, tea, cut, replica := behindProxy(t)
	s.mustPlace(t, order(1, tea.ID, "earlier"))
	cut.next(true, cutAfter)
	orders := []catalog.Order{order(1, tea.ID, "k"), order(1, tea.ID, "k"), order(1, 999_999, ""), order(1, tea.ID, "earlier")}
	got := place(t, replica, orders...)
	for i := range 2 {
		p := problem.From(got[i].Err)
		if p.Code != "outcome_unknown" || p.Extra["purchase_id"] != orders[0].ID || p.RetryAfter == 0 {
			t.Errorf("order %d: %v with %v", i, got[i].Err, p.Extra)
		}
	}
	if problem.From(got[2].Err).Code != "product_not_found" {
		t.Errorf("order 2: %v", got[2].Err)
	}
	// Its row was read, but the COMMIT that would have waited for the standby did not happen.
	if p := problem.From(got[3].Err); p.Code != "outcome_unknown" || p.Extra["purchase_id"] != nil {
		t.Errorf("a repeat: %+v", got[3])
	}
	if _, err := s.Purchase(t.Context(), 1, orders[0].ID); err != nil {
		t.Errorf("the purchase whose id the error gave: %v", err)
	}
}

// Another transaction has used one key of the group in the meantime, and then the
// database becomes unreachable: what the group committed is still bought.
func TestACommittedPurchaseIsReported(t *testing.T) {
	t.Parallel()
	s, tea, away, replica := behindProxy(t)
	away.next(false, offAfter)
	away.beforeCommit(func() { s.mustPlace(t, order(2, tea.ID, "k")) })
	got := place(t, replica, order(1, tea.ID, ""), order(2, tea.ID, "k"))
	if got[0].Err != nil || s.number(t, `SELECT count(*) FROM catalog.purchases WHERE user_id = 1`) != 1 {
		t.Errorf("the one that was committed: %+v", got[0])
	}
	if p := problem.From(got[1].Err); p.Code != "outcome_unknown" {
		t.Errorf("the one whose key was used: %+v", got[1])
	}
}

func TestNothingIsBoughtWhileTheDatabaseIsUnreachable(t *testing.T) {
	t.Parallel()
	_, tea, away, replica := behindProxy(t)
	away.switchOff()
	p := problem.From(place(t, replica, order(1, tea.ID, ""))[0].Err)
	if p.Code != "unavailable" || p.Kind != problem.Unavailable || p.RetryAfter == 0 {
		t.Errorf("placing: %v", p)
	}
	// Whether the key was used for an earlier purchase can't be checked now.
	p = problem.From(place(t, replica, order(1, tea.ID, "k"))[0].Err)
	if p.Code != "outcome_unknown" || p.Kind != problem.Unavailable || p.RetryAfter == 0 {
		t.Errorf("placing with a key: %v", p)
	}
	_, err := replica.Product(t.Context(), tea.ID)
	if problem.From(err).Code != "unavailable" {
		t.Errorf("reading: %v", err)
	}
	away.switchOn()
	if got := place(t, replica, order(1, tea.ID, "k"))[0]; got.Err != nil || got.Replayed {
		t.Errorf("afterwards: %+v", got)
	}
	// Sessions that a restart has ended are replaced without an error.
	away.switchOff()
	away.switchOn()
	if got := place(t, replica, order(1, tea.ID, "k2"))[0]; got.Err != nil || got.Replayed {
		t.Errorf("with dead sessions: %+v", got)
	}
}
