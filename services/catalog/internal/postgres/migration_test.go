package postgres_test

import (
	"os"
	"testing"

	"lavka/libs/testkit/migrationtest"
	"lavka/services/catalog/internal/postgres"
)

var migrations = migrationtest.Service{
	Schema:     postgres.Schema,
	Migrations: postgres.Migrations,
	Guarded: []string{
		`INSERT INTO catalog.purchases (id, user_id, idempotency_key, product_id, title, price, bill_id, expires_at, next_send_at)
			VALUES (gen_random_uuid(), 1, 'once', 1, 'tea', 1, 1, now() + '15 minutes', now())`,
	},
	Load: [][]string{
		{
			`INSERT INTO catalog.products (title, title_folded, description, price) VALUES ('tea', 'tea', '', $1)`,
			`UPDATE catalog.products SET title_folded = 'green tea' WHERE id = $1::bigint`,
		},
		{
			`INSERT INTO catalog.purchases (id, user_id, idempotency_key, product_id, title, price, bill_id, expires_at, next_send_at)
				VALUES (md5($1::bigint::text)::uuid, 1, 'key ' || $1::bigint, 1, 'tea', 1, 1, now() + '15 minutes', now()) ON CONFLICT DO NOTHING`,
			`UPDATE catalog.purchases SET status = 'completed', settled_at = now(), transaction_id = 1 WHERE id = md5($1::bigint::text)::uuid`,
		},
		{`SELECT FROM catalog.purchases WHERE user_id = $1::bigint % 8 ORDER BY id DESC LIMIT 20`},
	},
}

func TestMigrationsKeepTheRules(t *testing.T) { migrations.Rules(t) }
func TestMigrationsUnderLoad(t *testing.T)    { migrations.UnderLoad(t) }
func TestEveryEarlierSchemaEndsAlike(t *testing.T) {
	migrations.Upgrades(t, os.DirFS("testdata/v0.6.0"))
}
func TestEveryUniqueIndexIsExpected(t *testing.T) { migrations.Expected(t, postgres.Expected.Guards) }
