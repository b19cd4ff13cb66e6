// Package postgres prepares a PostgreSQL database for the shop: a schema for each service, and roles that can access only that schema.
package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
)

//go:embed roles.sql
var rolesSQL string

// Services returns the names of all services. Each has a schema and a role of that name, and an owner role (see Owner).
func Services() []string { return []string{"auth", "catalog", "billing"} }

// Owner returns the role that owns and migrates a service's schema.
func Owner(service string) string { return service + "_owner" }

// Apply creates the roles and schemas in the database of adminURL, all or none. It is idempotent.
func Apply(ctx context.Context, adminURL string) error {
	conn, err := pgconfig.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("connect as the administrator: %w", err)
	}
	_, err = conn.Exec(ctx, rolesSQL)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("create the roles: %w", err)
	}
	return nil
}

// SetPassword sets a role's password. Only its verifier is sent to the server, and so may appear in its log.
func SetPassword(ctx context.Context, conn *pgx.Conn, role, password string) error {
	verifier, err := Verifier(password)
	if err != nil {
		return fmt.Errorf("derive the password's verifier: %w", err)
	}
	if _, err := conn.Exec(ctx, "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" PASSWORD '"+verifier+"'"); err != nil {
		return fmt.Errorf("set the password of %s: %w", role, err)
	}
	return nil
}
