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
// It retries errors such as an unreachable database; a login or password that can't
// be used stops the service.
type bootstrap struct {
	cfg     Config
	admins  *auth.Admins
	changed func()
	log     *slog.Logger
	done    atomic.Bool
}

func newBootstrap(cfg Config, admins *auth.Admins, changed func(), log *slog.Logger) *bootstrap {
	return &bootstrap{cfg: cfg, admins: admins, changed: changed, log: log}
}

// Ready returns a check that passes when ready passes and the first admin exists.
func (b *bootstrap) Ready(ready func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		if !b.done.Load() {
			return errors.New("the first admin has not been created yet")
		}
		return nil
	}
}

// Run retries until the admin exists or ctx ends. It returns an error if the
// configured login or password can't be used. Without a login it does nothing.
func (b *bootstrap) Run(ctx context.Context) error {
	if b.cfg.AdminLogin == "" {
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
			b.done.Store(true)
			return nil
		case errors.Is(err, auth.ErrNotAdmin):
			return err
		case problem.From(err).Kind == problem.Invalid:
			return fmt.Errorf("can't create the first admin from ADMIN_LOGIN and ADMIN_PASSWORD: %w", plain(err))
		case ctx.Err() != nil:
			return nil
		}
		b.log.WarnContext(ctx, "can't create the first admin yet; retrying", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}
