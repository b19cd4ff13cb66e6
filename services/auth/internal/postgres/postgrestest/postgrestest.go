// Package postgrestest prepares databases for the tests of auth's packages.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
	"lavka/libs/pgtest"
	"lavka/services/auth/internal/postgres"
)

// Setup makes the roles as an installation does, and migrates as their owner.
func Setup(ctx context.Context, adminURL string) error {
	sql, err := roles()
	if err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, string(sql))
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	owner, err := pgtest.RoleURL(ctx, adminURL, "auth_owner")
	if err != nil {
		return err
	}
	if _, err := pgtest.RoleURL(ctx, adminURL, "auth"); err != nil {
		return err
	}
	return pg.Migrate(ctx, owner, postgres.Schema, postgres.Migrations(), slog.New(slog.DiscardHandler))
}

// roles looks for the file in the folders above: it belongs to another module,
// which services do not import.
func roles() ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "deploy", "postgres", "roles.sql"))
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return text, err
		}
		dir = filepath.Dir(dir)
	}
}
