package postgres_test

import (
	"os"
	"testing"

	"lavka/libs/testkit/migrationtest"
	"lavka/services/billing/internal/postgres"
)

var migrations = migrationtest.Service{
	Schema:     postgres.Schema,
	Migrations: postgres.Migrations,
	Rows: []string{
		`INSERT INTO billing.customers (user_id, role, status) VALUES (1, 'user', 'active') ON CONFLICT DO NOTHING`,
		`INSERT INTO billing.bills (id, user_id) SELECT n, 1 FROM generate_series(1, 8) n ON CONFLICT DO NOTHING`,
	},
	Guarded: []string{
		`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id) VALUES (nextval('billing.transaction_ids'), 1, 1, 1, 1, -1)`,
		`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, purchase_id) VALUES (nextval('billing.transaction_ids'), 1, 1, -1, 1, '00000000-0000-7000-8000-000000000000')`,
		`INSERT INTO billing.charges (purchase_id, outcome) VALUES ('00000000-0000-7000-8000-000000000000', 'expired')`,
		`INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason) VALUES ('x', 1, 1, 1, '1', 'x')`,
	},
	Load: [][]string{
		{
			`UPDATE billing.bills SET balance = balance + 1 WHERE id = 1 + $1::bigint % 8`,
			`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id)
				VALUES (nextval('billing.transaction_ids'), 1 + $1::bigint % 8, 1, 1, 1, $1)`,
		},
		{
			`UPDATE billing.bills SET balance = balance + 1 WHERE id = 1 + $1::bigint % 8`,
			`INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, purchase_id)
				VALUES (nextval('billing.transaction_ids'), 1 + $1::bigint % 8, 1, -1, 1, md5($1::text)::uuid)`,
			`INSERT INTO billing.charges (purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id)
				VALUES (md5($1::bigint::text)::uuid, 1, 1, 1, 'settled', 1, $1)`,
		},
		{`SELECT FROM billing.transactions WHERE bill_id = $1::bigint % 8 ORDER BY id DESC LIMIT 20`},
	},
}

func TestMigrationsKeepTheRules(t *testing.T) { migrations.Rules(t) }
func TestMigrationsUnderLoad(t *testing.T)    { migrations.UnderLoad(t) }
func TestEveryEarlierSchemaEndsAlike(t *testing.T) {
	migrations.Upgrades(t, os.DirFS("testdata/v0.6.0"))
}
func TestEveryUniqueIndexIsExpected(t *testing.T) { migrations.Expected(t, postgres.Expected.Guards) }
