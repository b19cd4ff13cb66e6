package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"lavka/libs/domain/problem"
	"lavka/services/auth/internal/auth"
)

// bootstrap creates the configured first admin while the rest of the service starts.
// It retries errors such as an unreachable database. Only while the shop has no admin
// does a login or password that can't be used stop the service: what the first start
// needs may be gone at later ones.
type bootstrap struct {
	cfg     Config
	admins  *auth.Admins
	changed func()
	log     *slog.Logger
	done    atomic.Bool // auth can serve
	isAdmin atomic.Bool // ADMIN_LOGIN is an admin's, or none is configured
}

func newBootstrap(cfg Config, admins *auth.Admins, changed func(), log *slog.Logger) *bootstrap {
	return &bootstrap{cfg: cfg, admins: admins, changed: changed, log: log}
}

// IsAdmin reports whether the configured login is an admin's, as of the last minute. It
// is true if none is configured.
func (b *bootstrap) IsAdmin() bool { return b.isAdmin.Load() }

// Ready returns a check that passes when ready passes and the first admin exists.
func (b *bootstrap) Ready(ready func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		if !b.done.Load() {
			return errors.New("auth has not yet looked for the first admin")
		}
		return nil
	}
}

// Run retries until the admin exists or ctx ends. It returns an error if the
// configured login or password can't be used and the shop has no admin. If the login
// is not an admin's and auth can serve all the same, Run logs it once and looks again
// every minute. Without a login it does nothing.
func (b *bootstrap) Run(ctx context.Context) error {
	if b.cfg.AdminLogin == "" {
		b.isAdmin.Store(true)
		b.done.Store(true)
		return nil
	}
	for {
		created, err := b.admins.Bootstrap(ctx, b.cfg.AdminLogin, b.cfg.AdminPassword.Reveal())
		switch {
		case err == nil:
			if created {
				b.log.InfoContext(ctx, "created the first admin", "login", b.cfg.AdminLogin)
				b.changed()
			}
			b.isAdmin.Store(true)
			b.done.Store(true)
			return nil
		case errors.Is(err, auth.ErrNotAdmin):
			if !b.done.Swap(true) {
				b.log.WarnContext(ctx, "ADMIN_LOGIN is not an admin's, and auth starts without it; to make an admin, run `auth admin create LOGIN`, or `auth admin grant LOGIN` for a user whom you know", "error", plain(err))
			}
		case problem.From(err).Kind == problem.Invalid && !b.done.Load():
			return fmt.Errorf("can't create the first admin from ADMIN_LOGIN and ADMIN_PASSWORD: %w; set them, or run `auth admin create LOGIN`", plain(err))
		case ctx.Err() != nil:
			return nil
		default:
			b.log.WarnContext(ctx, "can't create the first admin yet; retrying", "error", err)
		}
		wait := 500 * time.Millisecond
		if b.done.Load() {
			wait = time.Minute
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
