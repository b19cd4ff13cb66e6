package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// restored takes a backup of a shop in use, and restores it later, as docs/operations.md does. What was bought before the backup is paid for, what was bought after
// it is gone, and tokens from before the restore are refused.
func (d *day) restored(ctx context.Context) error {
	const before, after = 5, 3
	var b *buyer
	var dump string
	if err := d.shop.reached(d, ctx, func() (err error) {
		if b, err = d.newBuyer(ctx); err != nil {
			return err
		}
		if err := b.buyTimes(ctx, before); err != nil {
			return err
		}
		if dump, err = d.Kubectl(ctx, "-n", "lavka", "exec", "postgres-0", "--", "pg_dump", "-U", "postgres", "--format=custom", "lavka"); err != nil {
			return err
		}
		if err := b.buyTimes(ctx, after); err != nil {
			return err
		}
		return b.charged(ctx, before+after)
	}); err != nil {
		return err
	}
	if err := d.restore(ctx, []byte(dump)); err != nil {
		return err
	}
	return d.shop.reached(d, ctx, func() error {
		if _, err := b.do(ctx, http.MethodGet, "/users/me", nil, nil, http.StatusUnauthorized); err != nil {
			return fmt.Errorf("with a token from before the restore: %w", err)
		}
		if err := b.logIn(ctx); err != nil {
			return err
		}
		return b.charged(ctx, before)
	})
}

// restore replaces the database with a dump.
func (d *day) restore(ctx context.Context, dump []byte) error {
	stop := []string{"-n", "lavka", "scale", "--replicas=0"}
	for _, s := range services {
		stop = append(stop, "deployment/"+s)
	}
	roles, err := os.ReadFile(filepath.Join(d.Deploy, "postgres/roles.sql"))
	if err != nil {
		return err
	}
	for _, command := range []struct {
		input []byte
		args  []string
	}{
		{nil, stop},
		{nil, []string{"-n", "lavka", "wait", "pod", "-l", "app.kubernetes.io/component=server", "--for=delete", "--timeout=2m"}},
		{nil, inPostgres("psql", "-U", "postgres", "-c", "ALTER DATABASE lavka RENAME TO lavka_before", "-c", "CREATE DATABASE lavka")},
		{roles, inPostgres("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "lavka")},
		{dump, inPostgres("pg_restore", "-U", "postgres", "--dbname=lavka", "--clean", "--if-exists", "--exit-on-error", "--single-transaction")},
	} {
		if _, err := d.KubectlWith(ctx, command.input, command.args...); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(d.secrets(), "signing-keys")); err != nil {
		return err
	}
	if err := d.applySecrets(ctx); err != nil {
		return err
	}
	if _, err := d.Script(ctx, "k8s/after-restore"); err != nil {
		return err
	}
	// The script starts two replicas of each service.
	return errors.Join(d.Settled(ctx), d.scale(ctx, 1))
}

func inPostgres(command ...string) []string {
	return append([]string{"-n", "lavka", "exec", "-i", "postgres-0", "--"}, command...)
}

// buyTimes buys one after another.
func (b *buyer) buyTimes(ctx context.Context, times int) error {
	for range times {
		if _, err := b.buy(ctx, rand.Text()); err != nil {
			return err
		}
	}
	return nil
}
