// Package postgres prepares a PostgreSQL database for the shop: a schema for each service, and roles that can reach no other.
package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

//go:embed roles.sql
var rolesSQL string

// Services are all of the shop's. Each has a schema, an owner role (see Owner) and a role of the same name.
func Services() []string { return []string{"auth", "catalog", "billing"} }

// Owner is the role that migrates a service's schema.
func Owner(service string) string { return service + "_owner" }

// Apply makes the roles and schemas in the database of adminURL, all or nothing. Where they are already, it changes nothing.
func Apply(ctx context.Context, adminURL string) error {
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("connect as the administrator: %w", err)
	}
	_, err = conn.Exec(ctx, rolesSQL)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("make the roles: %w", err)
	}
	return nil
}

// SetPassword gives a role a password. Only its verifier goes over the wire and into the server's log.
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
