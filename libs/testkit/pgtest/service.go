package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"lavka/libs/service/pg"
)

// Service returns the Setup for a service's tests. It creates the same roles as
// an installation (deploy/postgres/roles.sql), lets <name> and <name>_owner log
// in, and migrates the schema <name> as its owner.
func Service(name string, migrations fs.FS) func(ctx context.Context, adminURL string) error {
	return func(ctx context.Context, adminURL string) error {
		roles, err := findRoles()
		if err != nil {
			return fmt.Errorf("find deploy/postgres/roles.sql: %w", err)
		}
		if err := execute(ctx, adminURL, string(roles)); err != nil {
			return fmt.Errorf("create roles: %w", err)
		}
		if _, err := RoleURL(ctx, adminURL, name); err != nil {
			return err
		}
		owner, err := RoleURL(ctx, adminURL, name+"_owner")
		if err != nil {
			return err
		}
		return pg.Migrate(ctx, owner, name, migrations, slog.New(slog.DiscardHandler))
	}
}

// findRoles searches upward from the working directory: tests run in the directory of their package.
func findRoles() ([]byte, error) {
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
