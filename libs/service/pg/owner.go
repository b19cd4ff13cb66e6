package pg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
)

// ConnectOwner opens the session of an operator's command that works as the owner of a
// schema. Name is its application_name. It waits at most 5 s for a lock, and runs each
// statement for at most limit; 0 means without a limit. It waits for up to 10 s while the
// server refuses connections. Its errors do not show the URL.
func ConnectOwner(ctx context.Context, url, name string, limit time.Duration) (*pgx.Conn, error) {
	if url == "" {
		return nil, errors.New("MIGRATE_DATABASE_URL is not set")
	}
	cfg, err := pgconfig.Parse(url)
	if err != nil {
		return nil, errors.New("MIGRATE_DATABASE_URL can't be read as a Postgres URL")
	}
	cfg.RuntimeParams["application_name"] = name
	cfg.RuntimeParams["lock_timeout"] = "5000"
	cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt(limit.Milliseconds(), 10)
	var conn *pgx.Conn
	err = whileRefused(ctx, func() (err error) {
		conn, err = pgx.ConnectConfig(ctx, cfg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// endingLimit is how long sessions that have just been closed may take to end: that of a
// migration, or those of a replica that was stopped.
const endingLimit = 10 * time.Second

// AwaitNone calls others until it finds no sessions, for at most 10 s, and returns what
// it found last.
func AwaitNone(ctx context.Context, others func() (string, error)) (string, error) {
	for end := time.Now().Add(endingLimit); ; {
		found, err := others()
		if err != nil || found == "" || time.Now().After(end) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
