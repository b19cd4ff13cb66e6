package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/services/catalog/internal/catalog"
)

func TestInspectingAPurchase(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := order(1, s.product(t, "tea", 350).ID, "k")
	o.Trace = "00-6ebc852d0a54f1d344a408a3f8fbb310-00f067aa0ba902b7-01"
	p := s.mustPlace(t, o)
	got, err := s.InspectPurchase(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != p.ID || got.UserID != 1 || got.Status != catalog.Pending || got.Trace != o.Trace || got.Resent != 0 {
		t.Errorf("%+v", got)
	}
	if got.NextSendAt.Sub(p.CreatedAt) != 3*time.Second || got.ReadAt.Before(p.CreatedAt) {
		t.Errorf("created %v, sent next %v, read %v", p.CreatedAt, got.NextSendAt, got.ReadAt)
	}
	s.exec(t, `UPDATE catalog.purchases SET next_send_at = now()`)
	if _, err := s.Due(t.Context(), 1, func(int) time.Duration { return time.Hour }); err != nil {
		t.Fatal(err)
	}
	answer := catalog.Answer{PurchaseID: p.ID, Status: catalog.Declined, Reason: catalog.InsufficientFunds, Balance: new(money.Amount(12))}
	if _, err := s.Settle(t.Context(), []catalog.Answer{answer}); err != nil {
		t.Fatal(err)
	}
	got, err = s.InspectPurchase(t.Context(), p.ID)
	if err != nil || got.Status != catalog.Declined || got.Reason != catalog.InsufficientFunds || got.Resent != 1 || got.SettledAt == nil {
		t.Errorf("after a decline: %+v, %v", got, err)
	}
	if _, err := s.InspectPurchase(t.Context(), uuid.New()); !errors.Is(err, catalog.ErrPurchaseNotFound) {
		t.Errorf("an unknown id: %v", err)
	}
}

func TestOldestPending(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if oldest, total, err := s.OldestPending(t.Context(), 2); err != nil || total != 0 || len(oldest) != 0 {
		t.Errorf("an empty shop: %d of %d, %v", len(oldest), total, err)
	}
	tea := s.product(t, "tea", 350)
	var placed []catalog.Purchase
	for user := range int64(4) {
		placed = append(placed, s.mustPlace(t, order(1+user, tea.ID, "")))
	}
	settled := catalog.Answer{PurchaseID: placed[0].ID, Status: catalog.Completed, TransactionID: new(int64(1))}
	if _, err := s.Settle(t.Context(), []catalog.Answer{settled}); err != nil {
		t.Fatal(err)
	}
	oldest, total, err := s.OldestPending(t.Context(), 2)
	if err != nil || total != 3 || len(oldest) != 2 {
		t.Fatalf("%d of %d, %v", len(oldest), total, err)
	}
	for i, p := range oldest {
		if p.ID != placed[i+1].ID {
			t.Errorf("number %d is %v, want %v", i, p.ID, placed[i+1].ID)
		}
	}
}
