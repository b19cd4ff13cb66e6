package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{
		Setup:    pgtest.Service(postgres.Schema, postgres.Migrations),
		Settings: map[string]string{"synchronous_standby_names": "missing"}, // matters only to tests that turn synchronous_commit on
	})
}

// shop is a database for one test, with the store of one replica.
type shop struct {
	*postgres.Store
	db    pgtest.Database
	owner *pgx.Conn
}

func newShop(t testing.TB) *shop {
	t.Helper()
	s := &shop{db: pgtest.New(t)}
	s.Store = openStore(t, s.db.URL("catalog"))
	var err error
	if s.owner, err = pgx.Connect(t.Context(), s.db.URL("catalog_owner")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.owner.Close(context.WithoutCancel(t.Context())) })
	return s
}

// openStore returns the store of one more replica.
func openStore(t testing.TB, url string) *postgres.Store {
	t.Helper()
	pools := pg.OnePool(openPool(t, url, pg.Open))
	t.Cleanup(pools.Close)
	return postgres.New(pools, openPool(t, url, pg.OpenForGroups), postgres.Terms{Wait: 3 * time.Second, Expiry: 15 * time.Minute})
}

func openPool(t testing.TB, url string, open func(context.Context, string, string, int32) (*pgxpool.Pool, error)) *pgxpool.Pool {
	t.Helper()
	pool, err := open(t.Context(), url, "catalog", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// exec runs a statement as the owner of the schema.
func (s *shop) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// admin opens a session of the superuser.
func (s *shop) admin(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.db.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// number reads one number as the owner of the schema.
func (s *shop) number(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := s.owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// admin is the user id of the admin who changes products.
const admin = 99

func (s *shop) product(t *testing.T, title string, price money.Amount) catalog.Product {
	t.Helper()
	p, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: title, Description: "of the finest", Price: price})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// place places orders in one group.
func place(t *testing.T, store *postgres.Store, orders ...catalog.Order) []catalog.Placement {
	t.Helper()
	backlog := catalog.NewBacklog(catalog.Limits{Pending: 1000, PendingPerUser: 1000, StockPerUser: 10})
	group := catalog.NewOrders(orders, backlog, lenient())
	store.Place(t.Context(), group)
	return group.Placements()
}

// lenient allows any number of declines that a test makes.
func lenient() *catalog.Declines {
	d, err := catalog.NewDeclines(1_000_000, time.Now)
	if err != nil {
		panic(err) // a size above zero is valid
	}
	return d
}

func (s *shop) mustPlace(t *testing.T, o catalog.Order) catalog.Purchase {
	t.Helper()
	p := place(t, s.Store, o)[0]
	if p.Err != nil {
		t.Fatal(p.Err)
	}
	return p.Purchase
}

func order(userID, productID int64, key string) catalog.Order {
	return catalog.Order{ID: uuid.Must(uuid.NewV7()), UserID: userID, ProductID: productID, BillID: 7, Key: key}
}

// always allows every change.
func always(catalog.Product) error { return nil }
