package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/tests/faults/history"
)

// postgresFaults break the database.
func postgresFaults() []fault {
	faults := []fault{
		{
			name: "postgres-stop", story: "Postgres is stopped cleanly for a while; 503 with Retry-After, /livez up, /readyz correct", blind: true, alone: true,
			strike: func(ctx context.Context, t *trial) error {
				err := t.Postgres().Stop()
				broken := t.databaseAway(ctx)
				return errors.Join(err, broken, last(ctx, t.span(time.Second, 15*time.Second)), t.Postgres().Start(ctx))
			},
		},
		{
			name: "postgres-restart", story: "Postgres is stopped cleanly and started at once", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				return errors.Join(t.Postgres().Stop(), t.Postgres().Start(ctx))
			},
		},
		{
			name: "postgres-immediate", story: "Postgres is stopped in immediate mode: as after a crash, it has to recover", blind: true, forgets: true,
			strike: func(ctx context.Context, t *trial) error { return t.signalPostgres(ctx, syscall.SIGQUIT) },
		},
		{
			name: "postgres-kill", story: "SIGKILL of Postgres", blind: true, forgets: true,
			strike: func(ctx context.Context, t *trial) error {
				return errors.Join(t.Postgres().Crash(), t.Postgres().Start(ctx))
			},
		},
		{
			name: "sessions-cut", story: "pg_terminate_backend of every session, repeatedly, in the middle of transactions", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				for end := time.Now().Add(t.span(2*time.Second, 20*time.Second)); time.Now().Before(end); {
					if err := t.sql(ctx, endSessions); err != nil {
						return err
					}
					if err := last(ctx, 20*time.Millisecond+t.moment()); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name: "connections-gone", story: "another client takes all connections of the database server for a while", blind: true, alone: true,
			strike: noConnections,
		},
		{
			name: "read-only", story: "the database is read-only for a while, like a standby", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				readOnly := `ALTER DATABASE lavka SET default_transaction_read_only = on`
				writable := `ALTER DATABASE lavka RESET default_transaction_read_only`
				err := errors.Join(t.sql(ctx, readOnly), t.sql(ctx, endSessions))
				err = errors.Join(err, last(ctx, t.span(2*time.Second, 20*time.Second)))
				return errors.Join(err, t.sql(ctx, writable), t.sql(ctx, endSessions))
			},
		},
		{
			name: "disk-full", story: "the database's disk (a small tmpfs) is full for a while", kind: "small-disk", blind: true, forgets: true, alone: true,
			strike: diskFull,
		},
		{
			name: "commits-held", story: "commits wait for 15 s (3 s) because a synchronous standby is missing: a reader who follows complete_until misses no transaction", blind: true,
			strike: commitsHeld,
		},
	}
	for i := range faults {
		faults[i].part = "postgres"
	}
	return faults
}

// commitsHeld makes each COMMIT wait, and then waits until the reader who follows the
// list of transactions has passed the time at which they were released.
func commitsHeld(ctx context.Context, t *trial) error {
	begun := t.rec.Now()
	standbys := func(change string) error {
		return errors.Join(t.sql(ctx, `ALTER SYSTEM `+change), t.sql(ctx, `SELECT pg_reload_conf()`))
	}
	err := standbys(`SET synchronous_standby_names = 'missing'`)
	err = errors.Join(err, last(ctx, t.span(3*time.Second, 15*time.Second)), standbys(`RESET synchronous_standby_names`))
	if err != nil {
		return err
	}
	released := time.Now()
	err = t.promise(ctx, "a reader of complete_until passes the time at which commits were released", func() bool { return t.world.Tailed().After(released) })
	if err != nil || t.mixed {
		return err
	}
	// Otherwise the reader could not have missed any.
	for _, p := range t.rec.History().Pays {
		if p.Start > begun && p.Answered() && p.End-p.Start > 2*time.Second {
			return nil
		}
	}
	return errors.New("no payment had to wait for its COMMIT")
}

// endSessions ends the services' sessions.
const endSessions = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('auth', 'catalog', 'billing')`

// signalPostgres ends the server with a signal and waits until the launcher has
// restarted it.
func (t *trial) signalPostgres(ctx context.Context, s syscall.Signal) error {
	pid, err := t.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal Postgres: %w", err)
	}
	return await(ctx, "Postgres to run again", func() bool {
		again, err := t.postmaster()
		return err == nil && again != pid && t.sql(ctx, `SELECT 1`) == nil
	})
}

// postmaster returns the server's process id, from its data directory.
func (t *trial) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "data", "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// noConnections takes every connection of the server, including those reserved
// for administrators, and for a while each one that becomes free.
func noConnections(ctx context.Context, t *trial) (err error) {
	var taken []*pgx.Conn
	defer func() {
		for _, c := range taken {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
		}
	}()
	var end time.Time // from when the server was full
	for filling := time.Now().Add(time.Minute); ; {
		conn, err := t.connect(ctx)
		switch {
		case err == nil:
			taken = append(taken, conn)
		case pg.Code(err) != tooManyConnections:
			return fmt.Errorf("take a connection: %w", err)
		case end.IsZero():
			end = time.Now().Add(t.span(2*time.Second, 20*time.Second))
		}
		if err != nil {
			// Full: take the connections that the services still hold.
			if _, err := taken[0].Exec(ctx, endSessions); err != nil {
				return err
			}
			if err := last(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if now := time.Now(); now.After(filling) && end.IsZero() {
			return fmt.Errorf("the server still accepts connections after %d", len(taken))
		} else if !end.IsZero() && now.After(end) {
			return nil
		}
	}
}

const tooManyConnections = "53300" // PostgreSQL, appendix A

// diskFull fills the disk, waits until payments fail, and frees the disk.
func diskFull(ctx context.Context, t *trial) error {
	filler := filepath.Join(t.dir, "data", "filler")
	if err := fill(filler); err != nil {
		return errors.Join(err, os.Remove(filler))
	}
	failing := await(ctx, "a payment to fail because the disk is full", func() bool {
		return t.rec.Reached(func(h history.History) bool { return len(h.Pays) > 0 && h.Pays[len(h.Pays)-1].Status == 503 })
	})
	err := last(ctx, t.span(time.Second, 15*time.Second))
	return errors.Join(failing, err, os.Remove(filler), await(ctx, "Postgres to write again", func() bool {
		return t.sql(ctx, `CREATE TEMPORARY TABLE room AS SELECT 1`) == nil
	}))
}

func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			if len(block) == 1 {
				return nil
			}
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
}
