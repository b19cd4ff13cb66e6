package postgres_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/services/catalog/internal/catalog"
)

// The times of refunds differ from those in their ids by less than the margin. Each list
// shows exactly the refunds of a time, oldest first, in pages of any size.
func TestRefundsOfATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const n = 600
	s.exec(t, `
		INSERT INTO catalog.refunds (id, purchase_id, idempotency_key, user_id, bill_id, amount, reason, note, force, admin_id, status, decline_reason, transaction_id, settled_at, next_send_at, created_at)
		SELECT `+idSQL+`, gen_random_uuid(), 'k', 1, 7, 1, 'x', '', false, 1, status, CASE status WHEN 'declined' THEN 'bill_owes' END, CASE status WHEN 'completed' THEN n END,
			CASE WHEN status <> 'pending' THEN now() END, now(), to_timestamp(1700000000 + n + hashint4(n) % 29)
		FROM generate_series(1, $1::int) n, LATERAL (SELECT CASE n % 7 WHEN 1 THEN 'pending' WHEN 2 THEN 'declined' ELSE 'completed' END AS status) kind`, n)
	all, err := s.AllRefunds(t.Context(), catalog.RefundFilter{Limit: n})
	if err != nil || len(all) != n {
		t.Fatalf("%d refunds: %v", len(all), err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	at := func(second int) *time.Time { return new(time.Unix(1700000000+int64(second), 0)) }
	for range 12 {
		from := random.IntN(n+100) - 50
		for _, r := range []filter.Range{{}, {To: at(from)}, {From: at(from), To: at(from + 1 + random.IntN(40))}, {From: at(from), To: at(from + 200)}} {
			for _, status := range []catalog.Status{"", catalog.Pending} {
				var want []uuid.UUID
				for _, one := range all {
					if (status == "" || one.Status == status) && (r.From == nil || !one.CreatedAt.Before(*r.From)) && (r.To == nil || one.CreatedAt.Before(*r.To)) {
						want = append(want, one.ID)
					}
				}
				for _, size := range []int{7, 101, n} {
					var got []uuid.UUID
					for f := (catalog.RefundFilter{Status: status, When: r, Limit: size}); ; {
						rows, err := s.AllRefunds(t.Context(), f)
						if err != nil {
							t.Fatal(err)
						}
						for _, row := range rows {
							got = append(got, row.ID)
						}
						if len(rows) < size {
							break
						}
						f.After = &got[len(got)-1]
					}
					if !slices.Equal(got, want) {
						t.Errorf("status %q, %v to %v, pages of %d: %d refunds, want %d", status, r.From, r.To, size, len(got), len(want))
					}
				}
			}
		}
	}
}
