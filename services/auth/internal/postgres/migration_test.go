package postgres_test

import (
	"os"
	"testing"

	"lavka/libs/testkit/migrationtest"
	"lavka/services/auth/internal/postgres"
)

var migrations = migrationtest.Service{
	Schema:     postgres.Schema,
	Migrations: postgres.Migrations,
	Rows: []string{
		`INSERT INTO auth.users (login, password_hash, role) VALUES ('rosa', 'x', 'user') ON CONFLICT DO NOTHING`,
		`INSERT INTO auth.sessions (user_id, expires_at) SELECT id, now() + '1 hour' FROM auth.users WHERE login = 'rosa'`,
	},
	Guarded: []string{
		`INSERT INTO auth.users (login, password_hash, role) VALUES ('ROSA', 'x', 'user')`,
		`INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) SELECT sha256('once'), min(id), now() FROM auth.sessions`,
	},
	Load: [][]string{
		{
			`INSERT INTO auth.users (login, password_hash, role) VALUES ('user' || $1::bigint, 'x', 'user')`,
			`UPDATE auth.users SET version = version + 1, changed_at = now() WHERE lower(login COLLATE "C") = 'user' || $1::bigint`,
		},
		{`
			WITH session AS (
				INSERT INTO auth.sessions (user_id, expires_at) SELECT id, now() + '1 hour' FROM auth.users WHERE lower(login COLLATE "C") = 'rosa' RETURNING id
			)
			INSERT INTO auth.refresh_tokens (token_hash, session_id, expires_at) SELECT sha256($1::bigint::text::bytea), id, now() + '1 hour' FROM session`},
		{`SELECT FROM auth.users WHERE id = $1::bigint`},
	},
}

func TestMigrationsKeepTheRules(t *testing.T) { migrations.Rules(t) }
func TestMigrationsUnderLoad(t *testing.T)    { migrations.UnderLoad(t) }
func TestEveryEarlierSchemaEndsAlike(t *testing.T) {
	migrations.Upgrades(t, os.DirFS("testdata/v0.6.0"))
}
func TestEveryUniqueIndexIsExpected(t *testing.T) { migrations.Expected(t, postgres.Expected.Guards) }
