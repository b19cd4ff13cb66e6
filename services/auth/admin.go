package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
	"lavka/libs/service/program"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

const adminUsage = "use: auth admin create LOGIN (its password in ADMIN_PASSWORD or on standard input), auth admin grant LOGIN, auth admin revoke LOGIN"

// runAdmin makes admins in the database. A running replica publishes the
// change.
func runAdmin(ctx context.Context, cfg Config, args []string, std program.Streams) error {
	if len(args) != 2 {
		return errors.New(adminUsage)
	}
	command, login := args[0], args[1]
	pool, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), service+" admin", 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	store := postgres.New(pool)
	credentials, _, err := newCredentials(store)
	if err != nil {
		return err
	}
	admins := auth.NewAdmins(store, credentials)
	switch command {
	case "create":
		password := cfg.AdminPassword.Reveal()
		if password == "" {
			if password, err = readPassword(std.In); err != nil {
				return err
			}
		}
		user, err := admins.Create(ctx, login, password)
		if err != nil {
			return plain(err)
		}
		fmt.Fprintf(std.Out, "%s is an admin, with id %d\n", user.Login, user.ID)
		return nil
	case "grant":
		return setRole(ctx, admins, login, auth.RoleAdmin, std.Out)
	case "revoke":
		return setRole(ctx, admins, login, auth.RoleUser, std.Out)
	}
	return errors.New(adminUsage)
}

func setRole(ctx context.Context, admins *auth.Admins, login string, role auth.Role, out io.Writer) error {
	changed, err := admins.SetRole(ctx, login, role)
	if err != nil {
		return plain(err)
	}
	if !changed {
		fmt.Fprintf(out, "%s has the role %s already\n", login, role)
		return nil
	}
	fmt.Fprintf(out, "%s has the role %s now; older access tokens are no longer valid\n", login, role)
	return nil
}

func readPassword(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", errors.New("no password: give it in ADMIN_PASSWORD or as a line on standard input")
	}
	return password, nil
}

// bootstrap makes the configured admin while the rest of the service starts: a
// database that is away delays it, and anything else ends the service.
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

// Ready is ready, but not before the admin is there.
func (b *bootstrap) Ready(ready func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		if !b.done.Load() {
			return errors.New("the first admin is still being made")
		}
		return nil
	}
}

// Run tries until the admin is there.
func (b *bootstrap) Run(ctx context.Context) error {
	if b.cfg.AdminLogin == "" {
		b.done.Store(true)
		return nil
	}
	for {
		made, err := b.admins.Bootstrap(ctx, b.cfg.AdminLogin, b.cfg.AdminPassword.Reveal())
		switch {
		case err == nil:
			if made {
				b.log.InfoContext(ctx, "the first admin has been made", "login", b.cfg.AdminLogin)
				b.changed()
			}
			b.done.Store(true)
			return nil
		case errors.Is(err, auth.ErrNotAdmin):
			return err
		case problem.From(err).Kind == problem.Invalid:
			return fmt.Errorf("ADMIN_LOGIN and ADMIN_PASSWORD can't make the first admin: %w", plain(err))
		case ctx.Err() != nil:
			return nil
		}
		b.log.WarnContext(ctx, "the first admin can't be made yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// plain gives the text of a problem, for a terminal.
func plain(err error) error {
	var p *problem.Error
	if !errors.As(err, &p) {
		return err
	}
	texts := []string{}
	for _, f := range p.Fields {
		texts = append(texts, f.Field+" "+f.Message)
	}
	if len(texts) == 0 {
		texts = append(texts, p.Detail)
	}
	if p.Cause != nil {
		texts = append(texts, p.Cause.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}
