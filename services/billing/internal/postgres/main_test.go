package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{
		Setup:    pgtest.Service(postgres.Schema, postgres.Migrations),
		Settings: map[string]string{"synchronous_standby_names": "nobody"}, // a standby that does not exist; it matters only where synchronous_commit is on
	})
}

// shop is a database with nine customers, users 1 to 9. User 9 is disabled.
type shop struct {
	*postgres.Store
	pool  *pgxpool.Pool
	admin *pgx.Conn
	db    pgtest.Database
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{db: pgtest.New(t)}
	s.Store, s.pool = s.open(t, s.db.URL("billing"))
	var err error
	if s.admin, err = pgx.Connect(t.Context(), s.db.AdminURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.admin.Close(context.WithoutCancel(t.Context())) })
	for id := range int64(9) {
		c := billing.Customer{UserID: id + 1, Login: fmt.Sprint("user", id+1), Role: "user", Status: "active", Version: 1}
		if c.UserID == 9 {
			c.Status = "disabled"
		}
		if err := s.SaveCustomer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// open opens another Store on the same database, as another replica would, and
// also returns the pool that its groups use.
func (s *shop) open(t *testing.T, url string) (*postgres.Store, *pgxpool.Pool) {
	t.Helper()
	reads, err := pg.Open(t.Context(), url, "billing", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reads.Close)
	groups, err := pg.OpenForGroups(t.Context(), url, "billing ledger", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(groups.Close)
	pools := pg.OnePool(reads)
	t.Cleanup(pools.Close)
	return postgres.New(pools, groups, slog.New(slog.DiscardHandler)), groups
}

// exec runs a statement as the superuser.
func (s *shop) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *shop) balance(t *testing.T, bill int64) money.Amount {
	t.Helper()
	var b money.Amount
	if err := s.admin.QueryRow(t.Context(), `SELECT balance FROM billing.bills WHERE id = $1`, bill).Scan(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *shop) count(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := s.admin.QueryRow(t.Context(), `SELECT count(*) FROM `+sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// verify checks the whole ledger, as billing verify does.
func (s *shop) verify(t *testing.T) {
	t.Helper()
	if _, err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func payment(id, user, bill int64, amount money.Amount) *billing.Payment {
	return &billing.Payment{ID: id, UserID: user, BillID: bill, Amount: amount, AmountText: amount.String()}
}

func purchase(user, bill int64, amount money.Amount) *billing.ChargeRequest {
	return &billing.ChargeRequest{
		PurchaseID: uuid.New(), UserID: user, BillID: bill, Amount: amount, ExpiresAt: time.Now().Add(time.Hour),
	}
}
