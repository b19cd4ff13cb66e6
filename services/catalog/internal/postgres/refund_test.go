package postgres_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/testkit/waittest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// sold returns a completed purchase of 3.50.
func (s *shop) sold(t *testing.T) catalog.Purchase {
	t.Helper()
	p := s.mustPlace(t, order(1, s.product(t, "tea", 350).ID, ""))
	if _, err := s.Settle(t.Context(), []catalog.Answer{{PurchaseID: p.ID, Status: catalog.Completed, TransactionID: new(int64(time.Now().UnixNano()))}}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *shop) refund(t *testing.T, of catalog.Purchase, key string, amount money.Amount) catalog.Refund {
	t.Helper()
	r, err := catalog.NewRefund(of.ID, key, &amount, "x", "", false, 0, 9)
	if err != nil {
		t.Fatal(err)
	}
	r.ID = uuid.Must(uuid.NewV7())
	placed, repeat, err := s.PlaceRefund(t.Context(), r)
	if err != nil || repeat || placed.CreatedAt.IsZero() {
		t.Fatalf("%+v, repeat %v, %v", placed, repeat, err)
	}
	return placed
}

// Answers are written once: the sum in the purchase rises by what is settled now, also
// when an answer comes twice, in a group and alone.
func TestAnswersAboutRefundsAreWrittenOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, other := s.sold(t), s.sold(t)
	a, b, c, d := s.refund(t, p, "a", 100), s.refund(t, p, "b", 50), s.refund(t, p, "c", 7), s.refund(t, other, "a", 350)
	yes := func(r catalog.Refund, transaction int64) catalog.RefundAnswer {
		return catalog.RefundAnswer{RefundID: r.ID, Status: catalog.Completed, TransactionID: &transaction}
	}
	no := catalog.RefundAnswer{RefundID: c.ID, Status: catalog.Declined, Declined: catalog.RefundExceeds, Refundable: new(money.Amount(200))}
	unknown := catalog.RefundAnswer{RefundID: uuid.New(), Status: catalog.Completed, TransactionID: new(int64(1))}
	for range 2 {
		settled, err := s.SettleRefunds(t.Context(), []catalog.RefundAnswer{yes(a, 1001), no, yes(b, 1002), yes(d, 1003), unknown})
		if err != nil || len(settled) != 4 {
			t.Fatalf("%+v, %v", settled, err)
		}
		i := slices.IndexFunc(settled, func(r catalog.Refund) bool { return r.ID == c.ID })
		if r := settled[i]; r.Declined != catalog.RefundExceeds || *r.Refundable != 200 || r.SettledAt == nil {
			t.Errorf("%+v", r)
		}
	}
	if settled, err := s.SettleRefunds(t.Context(), []catalog.RefundAnswer{yes(c, 1004)}); err != nil || settled[0].Status != catalog.Declined {
		t.Errorf("another answer later: %+v, %v", settled, err)
	}
	for id, want := range map[uuid.UUID]money.Amount{p.ID: 150, other.ID: 350} {
		if got, err := s.Purchase(t.Context(), 1, id); err != nil || got.Refunded != want || got.Status != catalog.Completed {
			t.Errorf("%+v, %v, want %s refunded", got, err, want)
		}
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	s.exec(t, `UPDATE catalog.purchases SET refunded = 151 WHERE id = $1`, p.ID)
	if err := s.Verify(t.Context()); !errors.Is(err, postgres.ErrDifference) || !strings.Contains(err.Error(), "shows 1.51 as refunded, and its refunds sum to 1.5") {
		t.Errorf("%v", err)
	}
	s.exec(t, `UPDATE catalog.purchases SET refunded = 150, price = 149 WHERE id = $1`, p.ID)
	if err := s.Verify(t.Context()); !errors.Is(err, postgres.ErrDifference) {
		t.Errorf("more than the price: %v", err)
	}
}

// A refund that is due is claimed by one replica at a time.
func TestDueRefunds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.sold(t)
	r := s.refund(t, p, "a", 100)
	s.exec(t, `UPDATE catalog.refunds SET next_send_at = now() - interval '1 s'`)
	due, err := s.DueRefunds(t.Context(), 10, func(claimed int) time.Duration { return time.Duration(claimed+1) * time.Hour })
	if err != nil || len(due) != 1 || due[0].ID != r.ID || due[0].Amount != 100 || due[0].BillID != p.BillID || due[0].UserID != 1 {
		t.Fatalf("%+v, %v", due, err)
	}
	if due, err := s.DueRefunds(t.Context(), 10, func(int) time.Duration { return 0 }); err != nil || len(due) != 0 {
		t.Errorf("claimed twice: %+v, %v", due, err)
	}
}

// A refund waits for another one of the same purchase, in another replica, and then
// counts it.
func TestARefundWaitsForAnother(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.sold(t)
	admin := s.admin(t)
	other, err := admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback(t.Context())
	if _, err := other.Exec(t.Context(), `SELECT FROM catalog.purchases WHERE id = $1 FOR NO KEY UPDATE`, p.ID); err != nil {
		t.Fatal(err)
	}
	placed := make(chan error, 1)
	go func() {
		_, _, err := s.PlaceRefund(t.Context(), catalog.Refund{ID: uuid.New(), PurchaseID: p.ID, Key: "a", Asked: new(money.Amount(100)), Reason: "x"})
		placed <- err
	}()
	waittest.Eventually(t, "it waits for the purchase's row", func() bool {
		return len(placed) > 0 || s.number(t, `SELECT count(*) FROM pg_locks WHERE NOT granted`) > 0
	})
	if _, err := other.Exec(t.Context(), `
		INSERT INTO catalog.refunds (id, purchase_id, idempotency_key, user_id, bill_id, amount, reason, note, force, admin_id, next_send_at)
		VALUES (gen_random_uuid(), $1, 'b', 1, 1, 251, 'x', '', false, 9, now())`, p.ID); err != nil {
		t.Fatal(err)
	}
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-placed; problem.From(err).Code != "refund_exceeds" {
		t.Errorf("%v, want refund_exceeds: of 3.50, the other one takes 2.51", err)
	}
}
