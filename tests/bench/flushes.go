package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
)

// flushes are those of Postgres's log (WAL) to the disk, and how long they took in all. Each
// purchase waits for three of them, one after another, so a slow disk shows here first.
type flushes struct {
	count int64
	took  time.Duration
}

func (f flushes) since(before flushes) flushes {
	return flushes{f.count - before.count, f.took - before.took}
}

func (f flushes) String() string {
	if f.count == 0 {
		return ""
	}
	return fmt.Sprintf("; %d flushes of %s", f.count, ms(f.took/time.Duration(f.count)))
}

// timeFlushes turns on the measurement, which costs two readings of the clock for each flush.
func (h *hosted) timeFlushes(ctx context.Context) error {
	return h.admin(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `ALTER SYSTEM SET track_wal_io_timing = on`); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, `SELECT pg_reload_conf()`)
		return err
	})
}

// flushed returns the flushes so far. Sessions report theirs at most once a second.
func (h *hosted) flushed(ctx context.Context) (f flushes, err error) {
	var milliseconds float64
	err = h.admin(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT wal_sync, wal_sync_time FROM pg_stat_wal`).Scan(&f.count, &milliseconds)
	})
	f.took = time.Duration(milliseconds * float64(time.Millisecond))
	return f, err
}

func (h *hosted) admin(ctx context.Context, do func(conn *pgx.Conn) error) error {
	cfg, err := pgconfig.Parse(h.AdminDatabaseURL)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(conn)
}
