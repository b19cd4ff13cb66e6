package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/service/pgconfig"
)

// connect opens a session as the database's administrator, not through a link.
func (s *shop) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgconfig.Parse(s.AdminDatabaseURL())
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["default_transaction_read_only"] = "off" // one of the faults turns it on
	cfg.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// sql runs a statement as the database's administrator.
func (s *shop) sql(ctx context.Context, statement string) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

// value reads one value as the database's administrator.
func value[T any](ctx context.Context, s *shop, query string, args ...any) (v T, err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return v, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, query, args...).Scan(&v)
	return v, err
}

// operate runs f as the operator of NATS, for at most 10 s.
func (s *shop) operate(ctx context.Context, f func(context.Context, jetstream.JetStream) error) error {
	nc, err := nats.Connect(s.NATSURL(), nats.Timeout(10*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return f(ctx, js)
}

// arm makes the first process that reaches a point end ("kill") or freeze
// ("stop").
func (s *shop) arm(name, what string) error {
	tmp := filepath.Join(s.dir, "arming-"+name)
	if err := os.WriteFile(tmp, []byte(what), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, "points", name))
}

// reached waits up to three minutes until a process has reached an armed point,
// and returns its id.
func (s *shop) reached(ctx context.Context, name string) (pid int, err error) {
	file := filepath.Join(s.dir, "points", name+".reached")
	err = awaitFor(ctx, 3*time.Minute, "a process to reach "+name, func() bool { // other faults may prevent it for a while
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(string(text))
		return err == nil
	})
	return pid, errors.Join(err, removeIfThere(file), removeIfThere(filepath.Join(s.dir, "points", name)))
}

func removeIfThere(file string) error {
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
