// Package postgrestest prepares databases for the tests of billing's packages.
package postgrestest

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
	"lavka/libs/pgtest"
	"lavka/services/billing/internal/postgres"
)

// roles is seen from any package directly below internal/.
const roles = "../../../../deploy/postgres/roles.sql"

// Setup makes the roles as an installation does, and migrates as their owner.
func Setup(ctx context.Context, adminURL string) error {
	sql, err := os.ReadFile(roles)
	if err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, string(sql)); err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	ownerURL, err := pgtest.RoleURL(ctx, adminURL, "billing_owner")
	if err != nil {
		return err
	}
	if _, err := pgtest.RoleURL(ctx, adminURL, "billing"); err != nil {
		return err
	}
	return pg.Migrate(ctx, ownerURL, postgres.Schema, postgres.Migrations(), slog.New(slog.DiscardHandler))
}
