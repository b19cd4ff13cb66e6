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
)

// postgresFaults break the database.
func postgresFaults() []fault {
	faults := []fault{
		{
			name: "postgres-stop", story: "Postgres stopped in good order for a while; 503 with Retry-After, /livez up, /readyz honest", blind: true, alone: true,
			strike: func(ctx context.Context, t *trial) error {
				err := t.Postgres().Stop()
				broken := t.databaseAway(ctx)
				return errors.Join(err, broken, last(ctx, t.span(time.Second, 15*time.Second)), t.Postgres().Start(ctx))
			},
		},
		{
			name: "postgres-restart", story: "Postgres stopped in good order and started at once", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				return errors.Join(t.Postgres().Stop(), t.Postgres().Start(ctx))
			},
		},
		{
			name: "postgres-immediate", story: "Postgres stopped with immediate: as in a crash, it has to recover", blind: true, forgets: true,
			strike: func(ctx context.Context, t *trial) error { return t.signalPostgres(ctx, syscall.SIGQUIT) },
		},
		{
			name: "postgres-kill", story: "SIGKILL of Postgres", blind: true, forgets: true,
			strike: func(ctx context.Context, t *trial) error {
				return errors.Join(t.Postgres().Crash(), t.Postgres().Start(ctx))
			},
		},
		{
			name: "sessions-cut", story: "pg_terminate_backend of every session, again and again, in the middle of transactions", blind: true,
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
			name: "connections-gone", story: "all connections of the server taken by somebody else for a while", blind: true, alone: true,
			strike: noConnections,
		},
		{
			name: "read-only", story: "the database is read-only for a while, as a standby is", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				readOnly := `ALTER DATABASE lavka SET default_transaction_read_only = on`
				writable := `ALTER DATABASE lavka RESET default_transaction_read_only`
				err := errors.Join(t.sql(ctx, readOnly), t.sql(ctx, endSessions))
				err = errors.Join(err, last(ctx, t.span(2*time.Second, 20*time.Second)))
				return errors.Join(err, t.sql(ctx, writable), t.sql(ctx, endSessions))
			},
		},
		{
			name: "disk-full", story: "no room on the database's disk (a small tmpfs) for a while", kind: "small-disk", blind: true, forgets: true, alone: true,
			strike: diskFull,
		},
	}
	for i := range faults {
		faults[i].part = "postgres"
	}
	return faults
}

// endSessions ends those of the services.
const endSessions = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('auth', 'catalog', 'billing')`

// signalPostgres ends the server by a signal; the launcher starts it again.
func (t *trial) signalPostgres(ctx context.Context, s syscall.Signal) error {
	pid, err := t.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal Postgres: %w", err)
	}
	return await(ctx, "Postgres runs again", func() bool {
		again, err := t.postmaster()
		return err == nil && again != pid && t.sql(ctx, `SELECT 1`) == nil
	})
}

// postmaster is the server's process id, as its data directory has it.
func (t *trial) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "data", "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// noConnections takes every connection that the server has, those kept for
// administrators too, and for a while whatever becomes free.
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
			// Full. What the services still have is taken from them.
			if _, err := taken[0].Exec(ctx, endSessions); err != nil {
				return err
			}
			if err := last(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if now := time.Now(); now.After(filling) && end.IsZero() {
			return fmt.Errorf("%d connections did not fill the server", len(taken))
		} else if !end.IsZero() && now.After(end) {
			return nil
		}
	}
}

const tooManyConnections = "53300" // PostgreSQL, appendix A

// diskFull fills the disk, waits until the database suffers, and frees it.
func diskFull(ctx context.Context, t *trial) error {
	filler := filepath.Join(t.dir, "data", "filler")
	if err := fill(filler); err != nil {
		return errors.Join(err, os.Remove(filler))
	}
	suffers := await(ctx, "a payment fails for want of room", func() bool {
		h := t.rec.History()
		return len(h.Pays) > 0 && h.Pays[len(h.Pays)-1].Status == 503
	})
	err := last(ctx, t.span(time.Second, 15*time.Second))
	return errors.Join(suffers, err, os.Remove(filler), await(ctx, "Postgres runs again", func() bool {
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
