// Package postgrestest prepares databases for tests of the catalog.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
	"lavka/libs/pgtest"
	"lavka/services/catalog/internal/postgres"
)

// Setup makes the roles as an installation does, and migrates as their owner:
// for pgtest.Config.
func Setup(ctx context.Context, adminURL string) error {
	roles, err := readRoles()
	if err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = admin.Exec(ctx, roles)
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	if _, err := pgtest.RoleURL(ctx, adminURL, "catalog"); err != nil {
		return err
	}
	owner, err := pgtest.RoleURL(ctx, adminURL, "catalog_owner")
	if err != nil {
		return err
	}
	return pg.Migrate(ctx, owner, postgres.Schema, postgres.Migrations(), slog.New(slog.DiscardHandler))
}

// readRoles finds the script above the directory of whatever package is tested.
func readRoles() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "deploy", "postgres", "roles.sql"))
		if err == nil {
			return string(text), nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", fmt.Errorf("find the roles' script: %w", err)
	}
}
